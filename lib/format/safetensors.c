/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One safetensors file: 8 bytes header length, a JSON object, tensor data to the end of the file.
 *
 * The rules are those of the reference implementation (crate `safetensors`): tensors in the order of their offsets,
 * each beginning where the one before it ends, the last one ending the file; an empty tensor has such a place too.
 * Beyond it this refuses names that are given twice, and accepts dtypes it has never heard of.
 */
#include "format/readers.h"

#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/text.h"
#include "format/json.h"

/* Every dtype of safetensors 0.8. Those of less than a byte fill whole bytes: a tensor's bits are a multiple of 8. */
static const struct sgi__dtype dtypes[] = {
    { "F32", 1, 4 },     { "F16", 1, 2 },     { "BF16", 1, 2 }, { "F64", 1, 8 },         { "I64", 1, 8 },
    { "I32", 1, 4 },     { "I16", 1, 2 },     { "I8", 1, 1 },   { "U64", 1, 8 },         { "U32", 1, 4 },
    { "U16", 1, 2 },     { "U8", 1, 1 },      { "BOOL", 1, 1 }, { "C64", 1, 8 },         { "F8_E4M3", 1, 1 },
    { "F8_E5M2", 1, 1 }, { "F8_E8M0", 1, 1 }, { "F4", 2, 1 },   { "F8_E4M3FNUZ", 1, 1 }, { "F8_E5M2FNUZ", 1, 1 },
    { "F6_E2M3", 4, 3 }, { "F6_E3M2", 4, 3 },
};

const struct sgi__dtype *sgi__safetensors_dtype(const char *name)
{
    for (size_t n = 0; n < sizeof dtypes / sizeof *dtypes; n++)
        if (strcmp(dtypes[n].name, name) == 0)
            return &dtypes[n];
    return NULL;
}

struct header {
    struct sgi__source *source;
    struct sgi__names   keys; /* of __metadata__ */
    uint32_t            file;
    uint64_t            data_offset;
};

/* ---------------------------------------------------------------------------------------------------------- tensors */

static sgi_status refuse_tensor(const struct header *h, const char *name, sgi_error *err, const char *what)
{
    struct sgi__shown shown;
    return sgi__refuse(h->source, err, "tensor '%s' %s", sgi__show_name(&shown, name), what);
}

static bool as_u64(const json_t *value, uint64_t *out)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *out = (uint64_t)json_integer_value(value);
    return true;
}

static sgi_status read_dtype(struct header *h, const json_t *value, struct sgi__tensor *tensor, sgi_error *err)
{
    struct sgi__manifest *m = h->source->parse->m;
    const char           *name = json_string_value(value);
    size_t                bytes = json_string_length(value);
    if (!name || bytes == 0 || bytes > SGI__DTYPE_BYTES_MAX)
        return refuse_tensor(h, tensor->name, err, "has no dtype, or one that is no name");
    const struct sgi__dtype *known = sgi__safetensors_dtype(name);
    if (known) {
        tensor->dtype = known->name;
        tensor->block_elements = known->block_elements;
        tensor->block_bytes = known->block_bytes;
        return SGI_OK;
    }
    /* One that we do not know: the text, shared by the tensors that follow each other with it. */
    const struct sgi__tensor *last = m->tensors_count > 0 ? &m->tensors[m->tensors_count - 1] : NULL;
    tensor->dtype = last && strcmp(last->dtype, name) == 0 ? last->dtype : sgi__manifest_text(m, name, bytes);
    return tensor->dtype ? SGI_OK : sgi__no_memory(h->source->path, err);
}

static sgi_status read_shape(struct header *h, const json_t *value, struct sgi__tensor *tensor, uint64_t *shape,
                             sgi_error *err)
{
    struct sgi__shown shown;
    if (!json_is_array(value))
        return refuse_tensor(h, tensor->name, err, "has no shape");
    size_t rank = json_array_size(value);
    if (rank > SGI_RANK_MAX)
        return sgi__refuse(h->source, err, "tensor '%s' has %zu dimensions, more than the %d supported",
                           sgi__show_name(&shown, tensor->name), rank, SGI_RANK_MAX);
    tensor->rank = (uint32_t)rank;
    for (size_t i = 0; i < rank; i++)
        if (!as_u64(json_array_get(value, i), &shape[i]))
            return refuse_tensor(h, tensor->name, err, "has a dimension that is no size");
    return SGI_OK;
}

static sgi_status read_offsets(struct header *h, const json_t *value, struct sgi__tensor *tensor, sgi_error *err)
{
    uint64_t begin, end;
    if (!json_is_array(value) || json_array_size(value) != 2 || !as_u64(json_array_get(value, 0), &begin) ||
        !as_u64(json_array_get(value, 1), &end))
        return refuse_tensor(h, tensor->name, err, "has no pair of data_offsets");
    if (end < begin)
        return refuse_tensor(h, tensor->name, err, "ends before it begins");
    if (end > h->source->id.bytes - h->data_offset)
        return refuse_tensor(h, tensor->name, err, "reaches past the end of the file");
    tensor->offset = h->data_offset + begin;
    tensor->bytes = end - begin;
    return SGI_OK;
}

/* In the reference's order, so that a shape whose product overflows is refused even if its last dimension is 0. */
static sgi_status check_size(const struct header *h, const struct sgi__tensor *tensor, const uint64_t *shape,
                             sgi_error *err)
{
    struct sgi__shown shown;
    uint64_t          elements = 1, bytes;
    if (tensor->block_elements == 0)
        return SGI_OK;
    for (uint32_t i = 0; i < tensor->rank; i++)
        if (!sgi__mul_u64(elements, shape[i], &elements))
            return refuse_tensor(h, tensor->name, err, "has a shape that is too large to be true");
    if (elements % tensor->block_elements != 0)
        return sgi__refuse(h->source, err, "tensor '%s' of %s does not end on a whole byte",
                           sgi__show_name(&shown, tensor->name), tensor->dtype);
    if (!sgi__mul_u64(elements / tensor->block_elements, tensor->block_bytes, &bytes))
        return refuse_tensor(h, tensor->name, err, "has a shape that is too large to be true");
    if (bytes != tensor->bytes)
        return sgi__refuse(h->source, err,
                           "tensor '%s' needs %llu bytes for its shape and %s, its offsets give it %llu",
                           sgi__show_name(&shown, tensor->name), (unsigned long long)bytes, tensor->dtype,
                           (unsigned long long)tensor->bytes);
    return SGI_OK;
}

static sgi_status read_tensor(struct header *h, const char *name, struct sgi__span piece, sgi_error *err)
{
    uint64_t           shape[SGI_RANK_MAX] = { 0 };
    struct sgi__tensor tensor = { .name = name, .file = h->file };
    json_t            *entry;

    if (piece.bytes > SGI__ENTRY_BYTES_MAX)
        return refuse_tensor(h, name, err, "is described by too many bytes");
    sgi_status st = sgi__json_load(h->source, piece, "tensor", name, &entry, err);
    if (st != SGI_OK)
        return st;
    if (!json_is_object(entry))
        st = refuse_tensor(h, name, err, "is not described by an object");
    if (st == SGI_OK)
        st = read_dtype(h, json_object_get(entry, "dtype"), &tensor, err);
    if (st == SGI_OK)
        st = read_shape(h, json_object_get(entry, "shape"), &tensor, shape, err);
    if (st == SGI_OK)
        st = read_offsets(h, json_object_get(entry, "data_offsets"), &tensor, err);
    json_decref(entry);
    if (st == SGI_OK)
        st = check_size(h, &tensor, shape, err);
    if (st != SGI_OK)
        return st;
    tensor.name = sgi__manifest_text(h->source->parse->m, name, strlen(name));
    if (!tensor.name)
        return sgi__no_memory(h->source->path, err);
    return sgi__manifest_add_tensor(h->source->parse->m, &tensor, shape, err);
}

/* --------------------------------------------------------------------------------------------------------- metadata */

static sgi_status keep_value(struct header *h, const char *key, const json_t *value, sgi_error *err)
{
    struct sgi__parse *p = h->source->parse;
    size_t             bytes = json_string_length(value);
    if (bytes > SGI__SHORT_TEXT_MAX && !(p->flags & SGI__FORMAT_METADATA))
        return SGI_OK;
    struct sgi__value kept = { .kind = SGI__VALUE_TEXT };
    kept.text.text = sgi__manifest_text(p->m, json_string_value(value), bytes);
    kept.text.bytes = bytes;
    const char *kept_key = sgi__manifest_text(p->m, key, strlen(key));
    if (!kept.text.text || !kept_key)
        return sgi__no_memory(h->source->path, err);
    return sgi__manifest_add_metadata(p->m, kept_key, &kept, err);
}

static sgi_status read_value(struct header *h, struct sgi__span key_piece, struct sgi__span piece, sgi_error *err)
{
    json_t    *key, *value;
    sgi_status st = sgi__json_load_text(h->source, key_piece, "a key of __metadata__", NULL, &key, err);
    if (st != SGI_OK)
        return st;
    if (json_string_length(key) > SGI__KEY_BYTES_MAX)
        st = sgi__refuse(h->source, err, "a key of __metadata__ is longer than %d bytes", (int)SGI__KEY_BYTES_MAX);
    else if (h->keys.count >= SGI__METADATA_MAX)
        st = sgi__refuse(h->source, err, "__metadata__ has more than %d keys", (int)SGI__METADATA_MAX);
    else if (!sgi__names_add(&h->keys, json_string_value(key)))
        st = sgi__no_memory(h->source->path, err);
    if (st == SGI_OK)
        st = sgi__json_load_text(h->source, piece, "metadata", json_string_value(key), &value, err);
    if (st == SGI_OK) {
        st = keep_value(h, json_string_value(key), value, err);
        json_decref(value);
    }
    json_decref(key);
    return st;
}

static bool is_null(struct sgi__span piece)
{
    const char *begin = piece.text, *end = piece.text + piece.bytes;
    while (begin < end && strchr(" \t\r\n", *begin))
        begin++;
    while (begin < end && strchr(" \t\r\n", end[-1]))
        end--;
    return end - begin == 4 && memcmp(begin, "null", 4) == 0;
}

static sgi_status read_metadata(struct header *h, struct sgi__span piece, sgi_error *err)
{
    struct sgi__json  json;
    struct sgi__span  key, value;
    struct sgi__shown shown;
    int               more = sgi__json_begin(&json, piece);
    if (is_null(piece)) /* as the reference has it */
        return SGI_OK;
    while (more == 0 && (more = sgi__json_next(&json, &key, &value)) == 1) {
        sgi_status st = read_value(h, key, value, err);
        if (st != SGI_OK)
            return st;
        more = 0;
    }
    if (more < 0)
        return sgi__refuse(h->source, err, "__metadata__ %s", json.wrong);
    if (!sgi__names_sort(&h->keys))
        return sgi__no_memory(h->source->path, err);
    const char *twice = sgi__names_twice(&h->keys);
    if (twice)
        return sgi__refuse(h->source, err, "metadata '%s' is there twice", sgi__show_name(&shown, twice));
    return SGI_OK;
}

/* ----------------------------------------------------------------------------------------------------------- header */

static sgi_status read_member(struct header *h, struct sgi__span key, struct sgi__span value, bool *metadata_seen,
                              sgi_error *err)
{
    json_t    *name;
    sgi_status st = sgi__json_load_text(h->source, key, "a tensor's name", NULL, &name, err);
    if (st != SGI_OK)
        return st;
    if (json_string_length(name) > SGI__NAME_BYTES_MAX) {
        struct sgi__shown shown;
        st = sgi__refuse(h->source, err, "tensor '%s' has a name of more than %d bytes",
                         sgi__show_name(&shown, json_string_value(name)), (int)SGI__NAME_BYTES_MAX);
    } else if (strcmp(json_string_value(name), "__metadata__") != 0) {
        st = read_tensor(h, json_string_value(name), value, err);
    } else if (*metadata_seen) {
        st = sgi__refuse(h->source, err, "__metadata__ is there twice");
    } else {
        *metadata_seen = true;
        st = read_metadata(h, value, err);
    }
    json_decref(name);
    return st;
}

static sgi_status read_members(struct header *h, struct sgi__span text, sgi_error *err)
{
    struct sgi__json json;
    struct sgi__span key, value;
    bool             metadata_seen = false;
    int              more = sgi__json_begin(&json, text);
    while (more == 0 && (more = sgi__json_next(&json, &key, &value)) == 1) {
        sgi_status st = read_member(h, key, value, &metadata_seen, err);
        if (st != SGI_OK)
            return st;
        more = 0;
    }
    return more < 0 ? sgi__refuse(h->source, err, "the header %s", json.wrong) : SGI_OK;
}

static sgi_status read_length(struct sgi__source *s, uint64_t *bytes_out, sgi_error *err)
{
    uint64_t   max = s->parse->header_bytes_max ? s->parse->header_bytes_max : SGI__SAFETENSORS_HEADER_MAX;
    uint64_t   bytes;
    sgi_status st = sgi__source_u64(s, &bytes, err);
    if (st != SGI_OK)
        return st;
    if (bytes > sgi__source_left(s))
        return sgi__refuse(
            s, err,
            "neither GGUF nor safetensors nor packed, or cut short: it announces a header of %llu bytes, "
            "and %llu follow",
            (unsigned long long)bytes, (unsigned long long)sgi__source_left(s));
    if (bytes > max)
        return sgi__refuse(s, err, "the header has %llu bytes, more than the %llu allowed", (unsigned long long)bytes,
                           (unsigned long long)max);
    *bytes_out = bytes;
    return SGI_OK;
}

sgi_status sgi__safetensors_add(struct sgi__source *s, sgi_error *err)
{
    struct header h = { .source = s };
    uint64_t      bytes = 0;
    char         *text;

    s->parse->m->format = "safetensors";
    sgi_status st = read_length(s, &bytes, err);
    if (st == SGI_OK)
        st = sgi__source_add(s, &h.file, err);
    if (st == SGI_OK)
        st = sgi__source_text(s, bytes, &text, err);
    if (st != SGI_OK)
        return st;
    h.data_offset = sgi__source_at(s);
    s->parse->m->files[h.file].data_offset = h.data_offset;
    st = read_members(&h, (struct sgi__span){ text, (size_t)bytes }, err);
    sgi__names_free(&h.keys);
    sgi__free(text);
    return st;
}

sgi_status sgi__safetensors_read(struct sgi__source *s, sgi_error *err)
{
    sgi_status st = sgi__safetensors_add(s, err);
    if (st == SGI_OK)
        st = sgi__manifest_finish(s->parse->m, err);
    if (st == SGI_OK)
        st = sgi__safetensors_check(s->parse->m, err);
    return st;
}

static sgi_status check_file(const struct sgi__manifest *m, const struct sgi__file *file, sgi_error *err)
{
    struct sgi__shown         shown;
    const struct sgi__tensor *tensor = NULL;
    uint64_t                  expected = file->data_offset;
    for (uint64_t i = 0; i < file->tensor_count; i++) {
        tensor = &m->tensors[file->tensor_first + i];
        if (tensor->offset > expected)
            return sgi__refuse_path(file->asked, err, "tensor '%s' has a hole of %llu bytes before it",
                                    sgi__show_name(&shown, tensor->name),
                                    (unsigned long long)(tensor->offset - expected));
        if (tensor->offset < expected) /* an empty one: others would overlap */
            return sgi__refuse_path(file->asked, err, "tensor '%s' is empty and stands within another",
                                    sgi__show_name(&shown, tensor->name));
        expected = tensor->offset + tensor->bytes;
    }
    uint64_t behind = file->bytes - expected;
    if (behind > 0 && tensor)
        return sgi__refuse_path(file->asked, err, "%llu bytes follow the last tensor, '%s'", (unsigned long long)behind,
                                sgi__show_name(&shown, tensor->name));
    if (behind > 0)
        return sgi__refuse_path(file->asked, err, "%llu bytes follow a header without tensors",
                                (unsigned long long)behind);
    return SGI_OK;
}

sgi_status sgi__safetensors_check(const struct sgi__manifest *m, sgi_error *err)
{
    for (uint32_t i = 0; i < m->files_count; i++) {
        sgi_status st = check_file(m, &m->files[i], err);
        if (st != SGI_OK)
            return st;
    }
    return SGI_OK;
}
