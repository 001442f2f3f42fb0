/* SPDX-License-Identifier: Apache-2.0 */
/* The sections of a packed file's manifest. It is checked as a whole before a byte of it is looked at, and looked at as
 * if it had not been. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/hash.h"
#include "base/text.h"
#include "format/pack.h"
#include "format/pack_check.h"
#include "format/pack_layout.h"

struct reading {
    struct sgi__source   *source;
    struct sgi__manifest *m;
    struct sgi__packed   *packed;
    struct sgi__pack_head head;
    struct sgi__cursor    c;           /* of the section */
    const char           *where;       /* what is being read, for messages */
    uint64_t              array_items; /* of all arrays so far */
};

static sgi_status cut_short(const struct reading *r, sgi_error *err)
{
    return sgi__refuse(r->source, err, "the packed manifest ends within its %s", r->where);
}

/* For so many of at least so many bytes each: are there? */
static sgi_status count_of(struct reading *r, uint64_t count, uint64_t max, uint64_t bytes_min, sgi_error *err)
{
    if (r->c.failed || count > sgi__cursor_left(&r->c) / bytes_min)
        return cut_short(r, err);
    if (count > max)
        return sgi__refuse(r->source, err, "%llu %s, more than the %llu supported", (unsigned long long)count, r->where,
                           (unsigned long long)max);
    return SGI_OK;
}

static void *room_for(struct reading *r, uint64_t count, size_t bytes)
{
    void *room = sgi__manifest_alloc(r->m, count * bytes + 1); /* + 1: none is not out of memory */
    if (room)
        memset(room, 0, (size_t)(count * bytes));
    return room;
}

static sgi_status no_memory(const struct reading *r, sgi_error *err)
{
    return sgi__no_memory(r->source->path, err);
}

/* A text that may be a name, in the manifest's text. */
static sgi_status take_text(struct reading *r, size_t bytes_max, const char **text_out, sgi_error *err)
{
    struct sgi__shown shown;
    uint32_t          bytes = sgi__cursor_u32(&r->c);
    const char       *view = sgi__cursor_take(&r->c, bytes);

    if (!view)
        return cut_short(r, err);
    if (bytes > bytes_max || !sgi__utf8_valid(view, bytes) || memchr(view, 0, bytes))
        return sgi__refuse(r->source, err, "'%s' among the %s of the packed manifest is no name",
                           sgi__show_bytes(&shown, view, bytes < 64 ? bytes : 64), r->where);
    *text_out = sgi__manifest_text(r->m, view, bytes);
    return *text_out ? SGI_OK : no_memory(r, err);
}

/* One that may be a file's name and no more. */
static sgi_status take_file_name(struct reading *r, const char **name_out, sgi_error *err)
{
    struct sgi__shown shown;
    const char       *name = "";
    sgi_status        st = take_text(r, SGI__FILE_NAME_BYTES_MAX, &name, err);

    if (st == SGI_OK && (!*name || strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0))
        st = sgi__refuse(r->source, err, "'%s' among the %s of the packed manifest is no file name",
                         sgi__show_name(&shown, name), r->where);
    *name_out = name;
    return st;
}

/* ---- sections ---- */

static sgi_status read_model(struct reading *r, sgi_error *err)
{
    static const char *const formats[] = { "safetensors", "gguf" };
    struct sgi__shown        shown;
    const char              *format = "";

    sgi_status st = take_text(r, SGI__SHORT_TEXT_MAX, &format, err);
    r->m->format_version = sgi__cursor_u32(&r->c);
    sgi__cursor_u64(&r->c); /* usual bytes of a chunk: for people */
    if (st != SGI_OK || r->c.failed)
        return st == SGI_OK ? cut_short(r, err) : st;
    for (size_t n = 0; n < sizeof formats / sizeof *formats; n++)
        if (strcmp(format, formats[n]) == 0)
            r->m->format = formats[n];
    return r->m->format ? SGI_OK
                        : sgi__refuse(r->source, err, "packed from files of the format '%s', which is not known",
                                      sgi__show_name(&shown, format));
}

static sgi_status read_part(struct reading *r, sgi_error *err)
{
    const char *name;
    uint32_t    index = 0;

    sgi_status st = take_file_name(r, &name, err);
    if (st == SGI_OK)
        st = sgi__source_add(r->source, &index, err);
    if (st != SGI_OK)
        return st;
    struct sgi__file        *f = &r->m->files[index];
    struct sgi__packed_part *part = &r->packed->parts[index];
    uint32_t                 exact = sgi__cursor_u32(&r->c);
    f->name = name;
    f->bytes = sgi__cursor_u64(&r->c);
    f->data_offset = sgi__cursor_u64(&r->c);
    part->exact = exact == 1;
    part->source_bytes = sgi__cursor_u64(&r->c);
    part->source_data_offset = sgi__cursor_u64(&r->c);
    f->alignment = sgi__cursor_u64(&r->c);
    part->digest[0] = sgi__cursor_u64(&r->c);
    part->digest[1] = sgi__cursor_u64(&r->c);
    const void *sha256 = sgi__cursor_take(&r->c, sizeof part->sha256);
    if (!sha256)
        return cut_short(r, err);
    memcpy(part->sha256, sha256, sizeof part->sha256);
    return exact <= 1 ? sgi__pack_check_part(r->source->path, f, part, err)
                      : sgi__refuse(r->source, err, "part '%s' is made in a way that is not known", f->name);
}

static sgi_status read_parts(struct reading *r, sgi_error *err)
{
    uint32_t   count = sgi__cursor_u32(&r->c);
    sgi_status st = count_of(r, count, SGI__FILES_MAX, SGI__PACK_PART_BYTES_MIN, err);

    if (st == SGI_OK && count == 0)
        st = sgi__refuse(r->source, err, "a packed model without a part");
    if (st == SGI_OK && !(r->packed->parts = room_for(r, count, sizeof *r->packed->parts)))
        st = no_memory(r, err);
    for (uint32_t n = 0; n < count && st == SGI_OK; n++)
        st = read_part(r, err);
    return st;
}

static sgi_status read_tensor(struct reading *r, uint64_t index, sgi_error *err)
{
    struct sgi__shown  shown;
    struct sgi__tensor t = { .name = NULL };
    uint64_t           shape[SGI_RANK_MAX];

    sgi_status st = take_text(r, SGI__NAME_BYTES_MAX, &t.name, err);
    if (st == SGI_OK)
        st = take_text(r, SGI__DTYPE_BYTES_MAX, &t.dtype, err);
    if (st != SGI_OK)
        return st;
    t.block_elements = sgi__cursor_u32(&r->c);
    t.block_bytes = sgi__cursor_u32(&r->c);
    t.file = sgi__cursor_u32(&r->c);
    t.rank = sgi__cursor_u32(&r->c);
    t.offset = sgi__cursor_u64(&r->c);
    r->packed->source_offsets[index] = sgi__cursor_u64(&r->c);
    t.bytes = sgi__cursor_u64(&r->c);
    if (!r->c.failed && (t.file >= r->m->files_count || t.rank > SGI_RANK_MAX))
        return sgi__refuse(r->source, err, "tensor '%s' is in no part, or has too many dimensions",
                           sgi__show_name(&shown, t.name));
    for (uint32_t d = 0; d < t.rank && !r->c.failed; d++)
        shape[d] = sgi__cursor_u64(&r->c);
    if (r->c.failed)
        return cut_short(r, err);
    st = sgi__pack_check_tensor(r->source->path, r->m->format, &t, shape, err);
    return st == SGI_OK ? sgi__manifest_add_tensor(r->m, &t, shape, err) : st;
}

static sgi_status read_tensors(struct reading *r, sgi_error *err)
{
    uint64_t   count = sgi__cursor_u64(&r->c);
    sgi_status st = count_of(r, count, SGI__TENSORS_MAX, SGI__PACK_TENSOR_BYTES_MIN, err);

    if (st == SGI_OK && !(r->packed->source_offsets = room_for(r, count, sizeof *r->packed->source_offsets)))
        st = no_memory(r, err);
    for (uint64_t n = 0; n < count && st == SGI_OK; n++)
        st = read_tensor(r, n, err);
    return st;
}

/* ---- metadata ---- */

static bool keeps_long(const struct reading *r)
{
    return (r->source->parse->flags & SGI__FORMAT_METADATA) != 0;
}

static sgi_status read_value(struct reading *r, uint8_t kind, bool keep_long, struct sgi__value *value, bool *kept_out,
                             sgi_error *err);

static sgi_status read_text_value(struct reading *r, bool keep_long, struct sgi__value *value, bool *kept_out,
                                  sgi_error *err)
{
    uint64_t    bytes = sgi__cursor_u64(&r->c);
    const void *view = sgi__cursor_take(&r->c, bytes);

    if (!view)
        return cut_short(r, err);
    value->text.bytes = bytes;
    *kept_out = keep_long || bytes <= SGI__SHORT_TEXT_MAX;
    if (*kept_out && !(value->text.text = sgi__manifest_text(r->m, view, bytes)))
        return no_memory(r, err);
    return SGI_OK;
}

static sgi_status read_array(struct reading *r, struct sgi__value *value, bool *kept_out, sgi_error *err)
{
    uint8_t    kind = sgi__cursor_u8(&r->c);
    uint64_t   count = sgi__cursor_u64(&r->c), bytes = sgi__cursor_u64(&r->c);
    bool       kept;
    sgi_status st = SGI_OK;

    if (r->c.failed || bytes > sgi__cursor_left(&r->c) || count > bytes)
        return cut_short(r, err);
    if (kind >= SGI__VALUE_ARRAY)
        return sgi__refuse(r->source, err, "an array of the metadata is of arrays");
    if (count > SGI__ARRAY_ITEMS_MAX - r->array_items)
        return sgi__refuse(r->source, err, "the arrays of the metadata have more than %d items",
                           (int)SGI__ARRAY_ITEMS_MAX);
    r->array_items += count;
    *kept_out = keeps_long(r);
    if (!*kept_out) {
        sgi__cursor_take(&r->c, bytes);
        return SGI_OK;
    }
    size_t end = r->c.at + (size_t)bytes;
    value->array.count = count;
    value->array.items = room_for(r, count, sizeof *value->array.items);
    if (!value->array.items)
        return no_memory(r, err);
    for (uint64_t n = 0; n < count && st == SGI_OK; n++)
        st = read_value(r, kind, true, &value->array.items[n], &kept, err);
    return st == SGI_OK && r->c.at != end ? cut_short(r, err) : st;
}

static sgi_status read_value(struct reading *r, uint8_t kind, bool keep_long, struct sgi__value *value, bool *kept_out,
                             sgi_error *err)
{
    uint64_t bits;
    uint32_t bits32;
    uint8_t  truth;
    float    f32;

    *kept_out = true;
    value->kind = kind;
    switch (kind) {
    case SGI__VALUE_U64:
        value->u64 = sgi__cursor_u64(&r->c);
        break;
    case SGI__VALUE_I64:
        value->i64 = (int64_t)sgi__cursor_u64(&r->c);
        break;
    case SGI__VALUE_F64:
        bits = sgi__cursor_u64(&r->c);
        memcpy(&value->f64, &bits, sizeof value->f64);
        break;
    case SGI__VALUE_F32:
        bits32 = sgi__cursor_u32(&r->c);
        memcpy(&f32, &bits32, sizeof f32);
        value->f64 = (double)f32;
        break;
    case SGI__VALUE_BOOL:
        truth = sgi__cursor_u8(&r->c);
        if (truth > 1)
            return sgi__refuse(r->source, err, "a truth among the metadata is %u", truth);
        value->boolean = truth;
        break;
    case SGI__VALUE_TEXT:
        return read_text_value(r, keep_long, value, kept_out, err);
    case SGI__VALUE_ARRAY:
        return read_array(r, value, kept_out, err);
    default:
        return sgi__refuse(r->source, err, "a value among the metadata is of the unknown kind %u", kind);
    }
    return r->c.failed ? cut_short(r, err) : SGI_OK;
}

static sgi_status read_metadata(struct reading *r, sgi_error *err)
{
    uint64_t   count = sgi__cursor_u64(&r->c);
    sgi_status st = count_of(r, count, SGI__METADATA_MAX, SGI__PACK_PAIR_BYTES_MIN, err);

    for (uint64_t n = 0; n < count && st == SGI_OK; n++) {
        struct sgi__value value = { .kind = SGI__VALUE_U64 };
        const char       *key;
        bool              kept = false;
        st = take_text(r, SGI__KEY_BYTES_MAX, &key, err);
        if (st == SGI_OK)
            st = read_value(r, sgi__cursor_u8(&r->c), keeps_long(r), &value, &kept, err);
        if (st == SGI_OK && kept)
            st = sgi__manifest_add_metadata(r->m, key, &value, err);
    }
    return st;
}

/* ---- what is stored ---- */

static sgi_status read_others(struct reading *r, sgi_error *err)
{
    uint32_t   count = sgi__cursor_u32(&r->c);
    sgi_status st = count_of(r, count, SGI__PACK_OTHERS_MAX, SGI__PACK_OTHER_BYTES_MIN, err);

    r->packed->others_count = count;
    if (st == SGI_OK && !(r->packed->others = room_for(r, count, sizeof *r->packed->others)))
        st = no_memory(r, err);
    for (uint32_t n = 0; n < count && st == SGI_OK; n++) {
        struct sgi__packed_other *other = &r->packed->others[n];
        st = take_file_name(r, &other->name, err);
        if (st != SGI_OK)
            return st;
        other->bytes = sgi__cursor_u64(&r->c);
        const void *content = sgi__cursor_take(&r->c, other->bytes);
        if (!content)
            return cut_short(r, err);
        if (keeps_long(r) && !(other->content = sgi__manifest_text(r->m, content, other->bytes)))
            return no_memory(r, err);
    }
    return st;
}

static sgi_status read_base(struct reading *r, sgi_error *err)
{
    struct sgi__pack_file *base = &r->packed->files[SGI__PACK_BASE];
    sgi_status             st = take_file_name(r, &r->packed->base_name, err);

    base->id.bytes = sgi__cursor_u64(&r->c);
    base->check = sgi__cursor_u64(&r->c);
    return st == SGI_OK && r->c.failed ? cut_short(r, err) : st;
}

static sgi_status read_chunks(struct reading *r, sgi_error *err)
{
    uint64_t   count = sgi__cursor_u64(&r->c);
    sgi_status st = count_of(r, count, SGI__PACK_CHUNKS_MAX, SGI__PACK_CHUNK_RECORD_BYTES, err);

    if (st == SGI_OK && !(r->packed->chunks = room_for(r, count, sizeof *r->packed->chunks)))
        st = no_memory(r, err);
    if (st != SGI_OK)
        return st;
    r->packed->chunks_count = count;
    for (uint64_t n = 0; n < count; n++) {
        struct sgi__stored_chunk *c = &r->packed->chunks[n];
        c->at = sgi__cursor_u64(&r->c);
        c->offset = sgi__cursor_u64(&r->c);
        c->stored_bytes = sgi__cursor_u32(&r->c);
        c->bytes = sgi__cursor_u32(&r->c);
        c->part = sgi__cursor_u32(&r->c);
        c->codec = sgi__cursor_u8(&r->c);
        c->width = sgi__cursor_u8(&r->c);
        c->file = sgi__cursor_u8(&r->c);
        uint8_t zero = sgi__cursor_u8(&r->c);
        c->check = sgi__cursor_u64(&r->c);
        c->digest[0] = sgi__cursor_u64(&r->c);
        c->digest[1] = sgi__cursor_u64(&r->c);
        if (zero != 0)
            return sgi__refuse(r->source, err, "chunk %llu has something where there is to be nothing",
                               (unsigned long long)n);
    }
    return SGI_OK;
}

/* ---- the whole ---- */

static const struct {
    const char *where;
    sgi_status (*read)(struct reading *r, sgi_error *err);
} sections[] = {
    [SGI__PACK_MODEL] = { "format", read_model },      [SGI__PACK_PARTS] = { "parts", read_parts },
    [SGI__PACK_TENSORS] = { "tensors", read_tensors }, [SGI__PACK_METADATA] = { "metadata", read_metadata },
    [SGI__PACK_OTHERS] = { "files", read_others },     [SGI__PACK_BASED] = { "base", read_base },
    [SGI__PACK_CHUNKS] = { "chunks", read_chunks },
};

static sgi_status read_section(struct reading *r, uint32_t kind, const void *bytes, uint64_t count, sgi_error *err)
{
    const uint8_t *rest;

    r->where = sections[kind].where;
    sgi__cursor_init(&r->c, bytes, (size_t)count);
    sgi_status st = sections[kind].read(r, err);
    if (st != SGI_OK)
        return st;
    size_t left = sgi__cursor_left(&r->c);
    rest = sgi__cursor_take(&r->c, left);
    for (size_t n = 0; n < left; n++)
        if (left >= 8 || rest[n] != 0)
            return sgi__refuse(r->source, err, "the packed manifest goes on behind its %s", r->where);
    return SGI_OK;
}

/* Which may follow the one before: in order, each once; only the base may be left out. */
static bool follows(uint32_t kind, uint32_t before, bool based)
{
    uint32_t next = before + 1 == SGI__PACK_BASED && !based ? SGI__PACK_CHUNKS : before + 1;
    return kind == next;
}

static sgi_status read_sections(struct reading *r, const uint8_t *bytes, uint64_t count, sgi_error *err)
{
    struct sgi__cursor c;
    uint32_t           before = 0;
    sgi_status         st = SGI_OK;

    sgi__cursor_init(&c, bytes, (size_t)count);
    while (st == SGI_OK && sgi__cursor_left(&c) > 0) {
        uint32_t    kind = sgi__cursor_u32(&c), required = sgi__cursor_u32(&c);
        uint64_t    section_bytes = sgi__cursor_u64(&c);
        const void *section = sgi__cursor_take(&c, section_bytes);
        if (!section || section_bytes % 8 != 0)
            return sgi__refuse(r->source, err, "the packed manifest ends within a section");
        if (kind > SGI__PACK_CHUNKS && !(required & SGI__PACK_REQUIRED))
            continue;
        if (kind > SGI__PACK_CHUNKS)
            return sgi__error(err, SGI_E_UNSUPPORTED,
                              "%s: packed with something that is not known here (section %u): a newer library reads it",
                              r->source->path, kind);
        if (!follows(kind, before, r->head.based))
            return sgi__refuse(r->source, err, "the packed manifest has a section out of its place (%u)", kind);
        st = read_section(r, kind, section, section_bytes, err);
        before = kind;
    }
    if (st == SGI_OK && before != SGI__PACK_CHUNKS)
        st = sgi__refuse(r->source, err, "the packed manifest ends before its chunks");
    return st;
}

static sgi_status read_head(struct reading *r, sgi_error *err)
{
    struct sgi__source *s = r->source;
    const void         *view;
    uint64_t            max = s->parse->header_bytes_max ? s->parse->header_bytes_max : SGI__PACK_MANIFEST_MAX;

    if (s->id.bytes < SGI__PACK_HEAD_BYTES)
        return sgi__refuse(s, err, "a packed file that is cut short: %llu bytes", (unsigned long long)s->id.bytes);
    sgi_status st = sgi__source_view(s, SGI__PACK_HEAD_BYTES, &view, err);
    if (st == SGI_OK)
        st = sgi__pack_head_take(s->path, view, &r->head, err);
    if (st != SGI_OK)
        return st;
    if (r->head.bytes != s->id.bytes)
        return sgi__refuse(s, err, "a packed file of %llu bytes was made, and here are %llu",
                           (unsigned long long)r->head.bytes, (unsigned long long)s->id.bytes);
    if (r->head.manifest_at % SGI__PACK_ALIGN != 0 || r->head.manifest_at < SGI__PACK_HEAD_BYTES ||
        r->head.manifest_at > s->id.bytes || r->head.manifest_bytes != s->id.bytes - r->head.manifest_at)
        return sgi__refuse(s, err, "the head of this packed file leads to no manifest");
    if (r->head.manifest_bytes > max)
        return sgi__refuse(s, err, "the packed manifest has %llu bytes, more than the %llu allowed",
                           (unsigned long long)r->head.manifest_bytes, (unsigned long long)max);
    return SGI_OK;
}

static sgi_status read_manifest(struct reading *r, sgi_error *err)
{
    struct sgi__source *s = r->source;
    struct sgi__shown   shown;
    char               *bytes = NULL;

    sgi_status st = sgi__source_skip(s, r->head.manifest_at - SGI__PACK_HEAD_BYTES, err);
    if (st == SGI_OK)
        st = sgi__source_text(s, r->head.manifest_bytes, &bytes, err);
    if (st != SGI_OK)
        return st;
    if (sgi__hash(bytes, (size_t)r->head.manifest_bytes) != r->head.manifest_check)
        st = sgi__error(err, SGI_E_CHECK, "%s: the manifest of this packed file is damaged",
                        sgi__show_path(&shown, s->path));
    else
        st = read_sections(r, (const uint8_t *)bytes, r->head.manifest_bytes, err);
    sgi__free(bytes);
    return st;
}

sgi_status sgi__pack_read(struct sgi__source *s, sgi_error *err)
{
    struct reading r = { .source = s, .m = s->parse->m };

    r.m->packed = r.packed = room_for(&r, 1, sizeof *r.packed);
    if (r.packed)
        r.packed->files = room_for(&r, SGI__PACK_STORES, sizeof *r.packed->files);
    if (!r.packed || !r.packed->files)
        return no_memory(&r, err);
    sgi_status st = read_head(&r, err);
    if (st == SGI_OK)
        st = read_manifest(&r, err);
    if (st == SGI_OK)
        st = sgi__manifest_finish(r.m, err);
    if (st != SGI_OK)
        return st;
    r.packed->files_count = 1;
    r.packed->files[SGI__PACK_ITSELF] = (struct sgi__pack_file){
        .path = r.m->files[0].path, .asked = r.m->files[0].asked, .id = s->id, .check = r.head.manifest_check
    };
    st = sgi__pack_check(s->path, r.m, r.head.manifest_at, err);
    if (st == SGI_OK && r.packed->base_name)
        st = sgi__pack_find_base(s, r.packed, err);
    return st;
}
