/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GGUF files, version 2 or 3: counts, metadata, tensor descriptions, padding, tensor data.
 *
 * Every tensor stands at a multiple of the alignment and is followed by padding up to the next one, or by the end of
 * the file with or without padding; nothing else may be in between. The order of the descriptions need not be that of
 * the data.
 */
#include "format/gguf.h"

#include <string.h>

#include "base/bytes.h"
#include "base/text.h"
#include "format/readers.h"

enum {
    ALIGNMENT_DEFAULT = 32,
    PAIR_BYTES_MIN = 8 + 4 + 1,       /* an empty key, its type, a byte */
    TENSOR_BYTES_MIN = 8 + 4 + 4 + 8, /* an empty name, rank 0, type, offset */
};

static sgi_status refuse_tensor(const struct sgi__gguf *g, sgi_error *err, const char *what)
{
    struct sgi__shown shown;
    return sgi__refuse(g->source, err, "tensor '%s' %s", sgi__show_name(&shown, g->source->name), what);
}

static sgi_status check_version(struct sgi__source *s, uint32_t version, sgi_error *err)
{
    if (version == 2 || version == 3)
        return SGI_OK;
    if (version != 0 && (version & 0xffff) == 0)
        return sgi__refuse(s, err, "a big-endian GGUF file, which is not supported");
    return sgi__refuse(s, err, "GGUF version %u is not supported (2 and 3 are)", version);
}

/* A count that the rest of the header could not hold is not worth a loop, let alone memory. */
static sgi_status check_count(struct sgi__source *s, const char *of, uint64_t count, uint64_t count_max,
                              uint64_t bytes_min, sgi_error *err)
{
    if (count > count_max)
        return sgi__refuse(s, err, "%llu %s, more than the %llu supported", (unsigned long long)count, of,
                           (unsigned long long)count_max);
    if (count > sgi__source_left(s) / bytes_min)
        return sgi__refuse(s, err, "%llu %s do not fit into a file of %llu bytes", (unsigned long long)count, of,
                           (unsigned long long)s->id.bytes);
    return SGI_OK;
}

static sgi_status read_counts(struct sgi__gguf *g, uint64_t *tensors_out, uint64_t *pairs_out, sgi_error *err)
{
    struct sgi__source *s = g->source;
    uint32_t            version = 0;
    const void         *magic;
    sgi_status          st = sgi__source_view(s, 4, &magic, err);
    if (st == SGI_OK && memcmp(magic, "GGUF", 4) != 0) /* only of a set's first file it is known */
        st = sgi__refuse(s, err, "no GGUF file");
    if (st == SGI_OK)
        st = sgi__source_u32(s, &version, err);
    if (st == SGI_OK)
        st = check_version(s, version, err);
    if (st == SGI_OK)
        st = sgi__source_u64(s, tensors_out, err);
    if (st == SGI_OK)
        st = sgi__source_u64(s, pairs_out, err);
    if (st == SGI_OK)
        st = check_count(s, "tensors", *tensors_out, SGI__TENSORS_MAX, TENSOR_BYTES_MIN, err);
    if (st == SGI_OK)
        st = check_count(s, "metadata keys", *pairs_out, SGI__METADATA_MAX, PAIR_BYTES_MIN, err);
    if (!g->first)
        s->parse->m->format_version = version;
    return st;
}

/* ---------------------------------------------------------------------------------------------------------- tensors */

static sgi_status read_shape(struct sgi__gguf *g, struct sgi__tensor *tensor, uint64_t *shape, sgi_error *err)
{
    struct sgi__shown shown;
    sgi_status        st = sgi__source_u32(g->source, &tensor->rank, err);
    if (st == SGI_OK && tensor->rank > SGI__GGUF_RANK_MAX)
        st = sgi__refuse(g->source, err, "tensor '%s' has %u dimensions, more than the %d of GGUF",
                         sgi__show_name(&shown, tensor->name), tensor->rank, (int)SGI__GGUF_RANK_MAX);
    for (uint32_t i = 0; st == SGI_OK && i < tensor->rank; i++)
        st = sgi__source_u64(g->source, &shape[i], err);
    return st;
}

static sgi_status read_type(struct sgi__gguf *g, struct sgi__tensor *tensor, sgi_error *err)
{
    struct sgi__shown shown;
    const char       *removed;
    uint32_t          number;
    sgi_status        st = sgi__source_u32(g->source, &number, err);
    if (st != SGI_OK)
        return st;
    const struct sgi__dtype *type = sgi__ggml_type(number, &removed);
    if (!type && removed)
        return sgi__refuse(g->source, err, "tensor '%s' is of type %s, which ggml has removed",
                           sgi__show_name(&shown, tensor->name), removed);
    if (!type)
        return sgi__refuse(g->source, err, "tensor '%s' is of type %u, which is not known",
                           sgi__show_name(&shown, tensor->name), number);
    tensor->dtype = type->name;
    tensor->block_elements = type->block_elements;
    tensor->block_bytes = type->block_bytes;
    return SGI_OK;
}

static sgi_status compute_bytes(struct sgi__gguf *g, struct sgi__tensor *tensor, const uint64_t *shape, sgi_error *err)
{
    struct sgi__shown shown;
    uint64_t          elements = 1;
    for (uint32_t i = 0; i < tensor->rank; i++)
        if (!sgi__mul_u64(elements, shape[i], &elements))
            return refuse_tensor(g, err, "has a shape that is too large to be true");
    uint64_t row = tensor->rank > 0 ? shape[0] : 1;
    if (row % tensor->block_elements != 0)
        return sgi__refuse(g->source, err,
                           "tensor '%s' has rows of %llu elements, no multiple of the %u in a block of %s",
                           sgi__show_name(&shown, tensor->name), (unsigned long long)row, tensor->block_elements,
                           tensor->dtype);
    if (!sgi__mul_u64(elements / tensor->block_elements, tensor->block_bytes, &tensor->bytes))
        return refuse_tensor(g, err, "has a shape that is too large to be true");
    return SGI_OK;
}

/* Leaves the offset relative to the data, whose beginning is not known yet. */
static sgi_status read_tensor(struct sgi__gguf *g, sgi_error *err)
{
    uint64_t           shape[SGI__GGUF_RANK_MAX] = { 0 };
    struct sgi__tensor tensor = { .file = g->file };
    struct sgi__shown  shown;

    sgi_status st = sgi__gguf_read_name(g, "tensor", SGI__NAME_BYTES_MAX, &tensor.name, err);
    if (st == SGI_OK)
        st = read_shape(g, &tensor, shape, err);
    if (st == SGI_OK)
        st = read_type(g, &tensor, err);
    if (st == SGI_OK)
        st = sgi__source_u64(g->source, &tensor.offset, err);
    if (st == SGI_OK)
        st = compute_bytes(g, &tensor, shape, err);
    if (st == SGI_OK && tensor.offset % g->alignment != 0)
        st = sgi__refuse(g->source, err, "tensor '%s' is not aligned to %u bytes", sgi__show_name(&shown, tensor.name),
                         g->alignment);
    if (st == SGI_OK && tensor.offset > g->source->id.bytes)
        st = refuse_tensor(g, err, "begins past the end of the file");
    if (st == SGI_OK)
        st = sgi__manifest_add_tensor(g->source->parse->m, &tensor, shape, err);
    return st;
}

/* ----------------------------------------------------------------------------------------------------------- layout */

/* Where tensor data begins. A file without any may end with its header, before the padding. Sums stay below twice
 * the size of a file plus an alignment, far from overflow. */
static void place_tensors(struct sgi__gguf *g)
{
    struct sgi__manifest *m = g->source->parse->m;
    struct sgi__file     *file = &m->files[g->file];
    uint64_t              begin = sgi__align_up(sgi__source_at(g->source), g->alignment);
    if (m->tensors_count == g->tensor_first && begin > file->bytes)
        begin = file->bytes;
    file->data_offset = begin;
    file->alignment = g->alignment;
    for (uint64_t i = g->tensor_first; i < m->tensors_count; i++)
        m->tensors[i].offset += begin;
}

/* Of the finished manifest. */
static sgi_status check_layout(const struct sgi__manifest *m, const struct sgi__file *file, sgi_error *err)
{
    const struct sgi__tensor *tensor = NULL;
    struct sgi__shown         shown;
    uint64_t                  end = file->data_offset; /* of what stands before, padding included */
    for (uint64_t i = 0; i < file->tensor_count; i++) {
        tensor = &m->tensors[file->tensor_first + i];
        if (tensor->offset > end)
            return sgi__refuse_path(file->asked, err, "tensor '%s' has a hole of %llu bytes before it",
                                    sgi__show_name(&shown, tensor->name), (unsigned long long)(tensor->offset - end));
        if (tensor->offset < end) /* an empty one: others would overlap */
            return sgi__refuse_path(file->asked, err, "tensor '%s' is empty and stands within another",
                                    sgi__show_name(&shown, tensor->name));
        end = sgi__align_up(tensor->offset + tensor->bytes, file->alignment);
    }
    if (file->bytes <= end)
        return SGI_OK;
    uint64_t behind = file->bytes - end;
    if (!tensor)
        return sgi__refuse_path(file->asked, err, "%llu bytes follow a header without tensors",
                                (unsigned long long)behind);
    return sgi__refuse_path(file->asked, err, "%llu bytes follow the last tensor, '%s', and its padding",
                            (unsigned long long)behind, sgi__show_name(&shown, tensor->name));
}

static sgi_status read_header(struct sgi__gguf *g, sgi_error *err)
{
    struct sgi__source *s = g->source;
    struct sgi__shown   shown;
    uint64_t            tensors, pairs;

    sgi_status st = read_counts(g, &tensors, &pairs, err);
    for (uint64_t i = 0; st == SGI_OK && i < pairs; i++)
        st = sgi__gguf_read_pair(g, err);
    if (st != SGI_OK)
        return st;
    if (!sgi__names_sort(&g->keys))
        return sgi__no_memory(s->path, err);
    const char *twice = sgi__names_twice(&g->keys);
    if (twice)
        return sgi__refuse(s, err, "metadata '%s' is there twice", sgi__show_name(&shown, twice));
    st = sgi__gguf_check_set(g, err);
    for (uint64_t i = 0; st == SGI_OK && i < tensors; i++)
        st = read_tensor(g, err);
    return st;
}

sgi_status sgi__gguf_add(struct sgi__gguf *g, uint64_t *header_left, sgi_error *err)
{
    struct sgi__source *s = g->source;
    g->alignment = ALIGNMENT_DEFAULT;
    g->tensor_first = s->parse->m->tensors_count;
    if (s->limit > *header_left)
        s->limit = *header_left;
    sgi_status st = sgi__source_add(s, &g->file, err);
    if (st == SGI_OK)
        st = read_header(g, err);
    sgi__names_free(&g->keys);
    if (st != SGI_OK)
        return st;
    *header_left -= sgi__source_at(s);
    place_tensors(g);
    return SGI_OK;
}

sgi_status sgi__gguf_read(struct sgi__source *s, sgi_error *err)
{
    struct sgi__manifest *m = s->parse->m;
    struct sgi__gguf      g = { .source = s };
    uint64_t              header_left = s->parse->header_bytes_max ? s->parse->header_bytes_max : SGI__GGUF_HEADER_MAX;

    m->format = "gguf";
    sgi_status st = sgi__gguf_add(&g, &header_left, err);
    if (st == SGI_OK)
        st = sgi__gguf_read_others(&g, header_left, err);
    if (st == SGI_OK)
        st = sgi__manifest_finish(m, err);
    for (uint32_t i = 0; i < m->files_count && st == SGI_OK; i++)
        st = check_layout(m, &m->files[i], err);
    return st;
}
