/* SPDX-License-Identifier: Apache-2.0 */
/* GGUF metadata: keys and typed values. What is not kept is walked over without being read where its size is known. */
#include "format/gguf.h"

#include <assert.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/text.h"

enum value_type {
    TYPE_U8,
    TYPE_I8,
    TYPE_U16,
    TYPE_I16,
    TYPE_U32,
    TYPE_I32,
    TYPE_F32,
    TYPE_BOOL,
    TYPE_STRING,
    TYPE_ARRAY,
    TYPE_U64,
    TYPE_I64,
    TYPE_F64,
    TYPE_COUNT
};

static const struct {
    uint8_t              bytes; /* of a scalar; of a string's length */
    enum sgi__value_kind kind;
} value_types[TYPE_COUNT] = {
    [TYPE_U8] = { 1, SGI__VALUE_U64 },      [TYPE_I8] = { 1, SGI__VALUE_I64 },
    [TYPE_U16] = { 2, SGI__VALUE_U64 },     [TYPE_I16] = { 2, SGI__VALUE_I64 },
    [TYPE_U32] = { 4, SGI__VALUE_U64 },     [TYPE_I32] = { 4, SGI__VALUE_I64 },
    [TYPE_F32] = { 4, SGI__VALUE_F32 },     [TYPE_BOOL] = { 1, SGI__VALUE_BOOL },
    [TYPE_STRING] = { 8, SGI__VALUE_TEXT }, [TYPE_ARRAY] = { 0, SGI__VALUE_ARRAY },
    [TYPE_U64] = { 8, SGI__VALUE_U64 },     [TYPE_I64] = { 8, SGI__VALUE_I64 },
    [TYPE_F64] = { 8, SGI__VALUE_F64 },
};

static sgi_status refuse_key(const struct sgi__gguf *g, sgi_error *err, const char *what)
{
    struct sgi__shown shown;
    return sgi__refuse(g->source, err, "metadata '%s' %s", sgi__show_name(&shown, g->source->name), what);
}

sgi_status sgi__gguf_read_name(struct sgi__gguf *g, const char *part, uint32_t bytes_max, const char **name_out,
                               sgi_error *err)
{
    struct sgi__source *s = g->source;
    struct sgi__shown   shown;
    uint64_t            bytes;
    const void         *view;
    assert(bytes_max <= SGI__SOURCE_WINDOW);
    s->part = part;
    s->name = NULL;
    sgi_status st = sgi__source_u64(s, &bytes, err);
    if (st != SGI_OK)
        return st;
    if (bytes > bytes_max)
        return sgi__refuse(s, err, "a %s name is longer than %u bytes", part, bytes_max);
    st = sgi__source_view(s, (size_t)bytes, &view, err);
    if (st != SGI_OK)
        return st;
    if (!sgi__utf8_valid(view, (size_t)bytes) || memchr(view, 0, (size_t)bytes))
        return sgi__refuse(s, err, "%s '%s' has a name that is no text", part,
                           sgi__show_bytes(&shown, view, (size_t)bytes));
    *name_out = sgi__manifest_text(s->parse->m, view, bytes);
    if (!*name_out)
        return sgi__no_memory(s->path, err);
    s->name = *name_out;
    return SGI_OK;
}

static int64_t sign_extend(uint64_t bits, unsigned bytes)
{
    uint64_t sign = (uint64_t)1 << (8 * bytes - 1);
    return (int64_t)((bits ^ sign) - sign);
}

static sgi_status read_scalar(struct sgi__gguf *g, uint32_t type, struct sgi__value *value, sgi_error *err)
{
    const void *view;
    unsigned    bytes = value_types[type].bytes;
    sgi_status  st = sgi__source_view(g->source, bytes, &view, err);
    if (st != SGI_OK)
        return st;

    struct sgi__cursor c;
    sgi__cursor_init(&c, view, bytes);
    uint64_t bits = bytes == 1   ? sgi__cursor_u8(&c)
                    : bytes == 2 ? sgi__cursor_u16(&c)
                    : bytes == 4 ? sgi__cursor_u32(&c)
                                 : sgi__cursor_u64(&c);
    uint32_t bits32 = (uint32_t)bits;
    float    f32;
    value->kind = value_types[type].kind;
    switch (value->kind) {
    case SGI__VALUE_I64:
        value->i64 = sign_extend(bits, bytes);
        break;
    case SGI__VALUE_F32:
        memcpy(&f32, &bits32, sizeof f32);
        value->f64 = (double)f32;
        break;
    case SGI__VALUE_F64:
        memcpy(&value->f64, &bits, sizeof value->f64);
        break;
    case SGI__VALUE_BOOL:
        value->boolean = bits != 0;
        break;
    default:
        value->u64 = bits;
        break;
    }
    return SGI_OK;
}

/* The metadata of a model are those of its first file. */
static bool keeps_long(const struct sgi__gguf *g)
{
    return !g->first && (g->source->parse->flags & SGI__FORMAT_METADATA) != 0;
}

/* *kept_out tells whether `value` was filled. */
static sgi_status read_string(struct sgi__gguf *g, bool keep_long, struct sgi__value *value, bool *kept_out,
                              sgi_error *err)
{
    struct sgi__source   *s = g->source;
    struct sgi__manifest *m = s->parse->m;
    const void           *view;
    uint64_t              bytes;
    sgi_status            st = sgi__source_u64(s, &bytes, err);
    if (st == SGI_OK)
        st = sgi__source_need(s, bytes, err);
    if (st != SGI_OK)
        return st;
    *kept_out = keep_long || bytes <= SGI__SHORT_TEXT_MAX;
    if (!*kept_out)
        return sgi__source_skip(s, bytes, err);
    value->kind = SGI__VALUE_TEXT;
    value->text.bytes = bytes;
    if (bytes <= SGI__SOURCE_WINDOW) {
        st = sgi__source_view(s, (size_t)bytes, &view, err);
        if (st != SGI_OK)
            return st;
        value->text.text = sgi__manifest_text(m, view, bytes);
        return value->text.text ? SGI_OK : sgi__no_memory(s->path, err);
    }
    char *text = sgi__manifest_alloc(m, bytes + 1);
    if (!text)
        return sgi__no_memory(s->path, err);
    text[bytes] = '\0';
    value->text.text = text;
    return sgi__source_copy(s, text, bytes, err);
}

static sgi_status skip_items(struct sgi__gguf *g, uint32_t type, uint64_t count, sgi_error *err)
{
    uint64_t   bytes;
    sgi_status st = SGI_OK;
    if (type != TYPE_STRING)
        return sgi__source_skip(g->source, count * value_types[type].bytes, err);
    for (uint64_t i = 0; i < count && st == SGI_OK; i++) {
        st = sgi__source_u64(g->source, &bytes, err);
        if (st == SGI_OK)
            st = sgi__source_skip(g->source, bytes, err);
    }
    return st;
}

static sgi_status read_items(struct sgi__gguf *g, uint32_t type, uint64_t count, struct sgi__value *value,
                             sgi_error *err)
{
    bool               kept;
    sgi_status         st = SGI_OK;
    struct sgi__value *items = sgi__manifest_alloc(g->source->parse->m, count * sizeof *items);
    if (!items)
        return sgi__no_memory(g->source->path, err);
    for (uint64_t i = 0; i < count && st == SGI_OK; i++)
        st = type == TYPE_STRING ? read_string(g, true, &items[i], &kept, err) : read_scalar(g, type, &items[i], err);
    value->kind = SGI__VALUE_ARRAY;
    value->array.items = items;
    value->array.count = count;
    return st;
}

static sgi_status read_array(struct sgi__gguf *g, struct sgi__value *value, bool *kept_out, sgi_error *err)
{
    struct sgi__shown shown;
    uint32_t          type;
    uint64_t          count;
    sgi_status        st = sgi__source_u32(g->source, &type, err);
    if (st == SGI_OK)
        st = sgi__source_u64(g->source, &count, err);
    if (st != SGI_OK)
        return st;
    if (type == TYPE_ARRAY)
        return refuse_key(g, err, "is an array of arrays, which is not supported");
    if (type >= TYPE_COUNT)
        return sgi__refuse(g->source, err, "metadata '%s' is an array of unknown type %u",
                           sgi__show_name(&shown, g->source->name), type);
    if (count > SGI__ARRAY_ITEMS_MAX - g->array_items)
        return sgi__refuse(g->source, err, "metadata '%s' takes the items of all arrays past %d",
                           sgi__show_name(&shown, g->source->name), (int)SGI__ARRAY_ITEMS_MAX);
    g->array_items += count;
    st = sgi__source_need(g->source, count * value_types[type].bytes, err);
    if (st != SGI_OK)
        return st;
    *kept_out = keeps_long(g);
    return *kept_out ? read_items(g, type, count, value, err) : skip_items(g, type, count, err);
}

static sgi_status read_value(struct sgi__gguf *g, uint32_t type, struct sgi__value *value, bool *kept_out,
                             sgi_error *err)
{
    struct sgi__shown shown;
    if (type >= TYPE_COUNT)
        return sgi__refuse(g->source, err, "metadata '%s' has the unknown type %u",
                           sgi__show_name(&shown, g->source->name), type);
    if (type == TYPE_ARRAY)
        return read_array(g, value, kept_out, err);
    if (type == TYPE_STRING)
        return read_string(g, keeps_long(g), value, kept_out, err);
    *kept_out = true;
    return read_scalar(g, type, value, err);
}

/* The one key that says how to read the rest of the file. */
static sgi_status use_alignment(struct sgi__gguf *g, uint32_t type, const struct sgi__value *value, sgi_error *err)
{
    if (type != TYPE_U32)
        return refuse_key(g, err, "is no 32-bit unsigned number");
    if (value->u64 == 0 || value->u64 % 8 != 0 || (value->u64 & (value->u64 - 1)) != 0)
        return refuse_key(g, err, "is no power of two of at least 8");
    g->alignment = (uint32_t)value->u64;
    return SGI_OK;
}

/* The keys that this reader has a use for itself. */
static sgi_status use_value(struct sgi__gguf *g, const char *key, uint32_t type, const struct sgi__value *value,
                            bool kept, sgi_error *err)
{
    if (strcmp(key, "general.alignment") == 0)
        return use_alignment(g, type, value, err);
    if (strcmp(key, "general.architecture") == 0) {
        g->set.has_architecture = true;
        if (kept && type == TYPE_STRING && value->text.bytes <= SGI__SHORT_TEXT_MAX)
            g->set.architecture = *value;
        return SGI_OK;
    }
    return sgi__gguf_note_set(g, key, value, type == TYPE_U16, type == TYPE_I32, err);
}

sgi_status sgi__gguf_read_pair(struct sgi__gguf *g, sgi_error *err)
{
    struct sgi__value value = { .kind = SGI__VALUE_U64 };
    const char       *key = "";
    uint32_t          type;
    bool              kept = false;

    sgi_status st = sgi__gguf_read_name(g, "metadata", SGI__KEY_BYTES_MAX, &key, err);
    if (st != SGI_OK)
        return st;
    if (!sgi__names_add(&g->keys, key))
        return sgi__no_memory(g->source->path, err);
    st = sgi__source_u32(g->source, &type, err);
    if (st == SGI_OK)
        st = read_value(g, type, &value, &kept, err);
    if (st == SGI_OK)
        st = use_value(g, key, type, &value, kept, err);
    if (st == SGI_OK && kept && !g->first)
        st = sgi__manifest_add_metadata(g->source->parse->m, key, &value, err);
    return st;
}
