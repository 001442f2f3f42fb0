/* SPDX-License-Identifier: Apache-2.0 */
#include "format/pack_check.h"

#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/sort.h"
#include "base/text.h"
#include "format/names.h"
#include "format/readers.h"
#include "format/shard.h"

/* Far from the end of the numbers, so that sums of a few sizes need no look. */
#define BYTES_MAX (UINT64_C(1) << 56)

static sgi_status wrong_part(const char *path, const struct sgi__file *f, const char *what, sgi_error *err)
{
    struct sgi__shown shown;
    return sgi__refuse_path(path, err, "part '%s' %s", sgi__show_name(&shown, f->name), what);
}

static sgi_status wrong_tensor(const char *path, const struct sgi__tensor *t, const char *what, sgi_error *err)
{
    struct sgi__shown shown;
    return sgi__refuse_path(path, err, "tensor '%s' %s", sgi__show_name(&shown, t->name), what);
}

sgi_status sgi__pack_check_part(const char *path, const struct sgi__file *f, const struct sgi__packed_part *part,
                                sgi_error *err)
{
    if (f->bytes > BYTES_MAX || part->source_bytes > BYTES_MAX)
        return wrong_part(path, f, "is too large to be true", err);
    if (f->data_offset > f->bytes || part->source_data_offset > part->source_bytes)
        return wrong_part(path, f, "ends before its data", err);
    if (part->exact && (f->bytes != part->source_bytes || f->data_offset != part->source_data_offset))
        return wrong_part(path, f, "is not the file it says it is", err);
    if (!part->exact && (f->data_offset % SGI__PACK_ALIGN != 0 || part->source_data_offset > f->data_offset))
        return wrong_part(path, f, "has data that does not begin where it should", err);
    return SGI_OK;
}

/* Whoever computes with it goes by the name. */
static sgi_status check_dtype(const char *path, const char *format, struct sgi__tensor *t, sgi_error *err)
{
    const struct sgi__dtype *known = strcmp(format, "gguf") == 0 ? sgi__gguf_dtype(t->dtype)
                                                                 : sgi__safetensors_dtype(t->dtype);

    if ((t->block_elements == 0) != (t->block_bytes == 0))
        return wrong_tensor(path, t, "has blocks of nothing", err);
    if (known && t->block_elements > 0 &&
        (t->block_elements != known->block_elements || t->block_bytes != known->block_bytes))
        return wrong_tensor(path, t, "has other blocks than its dtype", err);
    if (known) {
        t->block_elements = known->block_elements;
        t->block_bytes = known->block_bytes;
    }
    return SGI_OK;
}

sgi_status sgi__pack_check_tensor(const char *path, const char *format, struct sgi__tensor *t, const uint64_t *shape,
                                  sgi_error *err)
{
    uint64_t   elements = 1, bytes;
    sgi_status st = check_dtype(path, format, t, err);

    if (st != SGI_OK)
        return st;
    for (uint32_t d = 0; d < t->rank && t->block_elements > 0; d++) /* of an unknown dtype nothing follows from it */
        if (!sgi__mul_u64(elements, shape[d], &elements))
            return wrong_tensor(path, t, "has a shape that is too large to be true", err);
    if (t->block_elements > 0 &&
        (elements % t->block_elements != 0 || !sgi__mul_u64(elements / t->block_elements, t->block_bytes, &bytes) ||
         bytes != t->bytes))
        return wrong_tensor(path, t, "does not have the bytes that its shape makes", err);
    return SGI_OK;
}

/* ---- tensors ---- */

/* Of a part that is no exact copy: its file is the header and its tensors, with nothing between them. */
static sgi_status check_aligned(const char *path, const struct sgi__manifest *m, const struct sgi__file *f,
                                const struct sgi__packed_part *part, sgi_error *err)
{
    uint64_t end = part->source_data_offset;

    for (uint64_t n = f->tensor_first; n < f->tensor_first + f->tensor_count; n++) {
        const struct sgi__tensor *t = &m->tensors[n];
        if (t->offset % SGI__PACK_TENSOR_ALIGN != 0)
            return wrong_tensor(path, t, "is not aligned", err);
        if (m->packed->source_offsets[n] != end)
            return wrong_tensor(path, t, "is not where it should be in the file it comes from", err);
        end += t->bytes;
    }
    return end == part->source_bytes ? SGI_OK : wrong_part(path, f, "is not the file it says it is", err);
}

static sgi_status check_exact(const char *path, const struct sgi__manifest *m, const struct sgi__file *f,
                              sgi_error *err)
{
    for (uint64_t n = f->tensor_first; n < f->tensor_first + f->tensor_count; n++)
        if (m->packed->source_offsets[n] != m->tensors[n].offset)
            return wrong_tensor(path, &m->tensors[n], "is not where it should be in the file it comes from", err);
    return SGI_OK;
}

/* ---- chunks ---- */

static sgi_status wrong_chunk(const char *path, const struct sgi__manifest *m, const struct sgi__stored_chunk *c,
                              const char *what, sgi_error *err)
{
    return sgi__refuse_path(path, err, "chunk %llu %s", (unsigned long long)(c - m->packed->chunks), what);
}

static sgi_status check_chunk(const char *path, const struct sgi__manifest *m, const struct sgi__stored_chunk *c,
                              uint64_t manifest_at, sgi_error *err)
{
    bool     based = c->file == SGI__PACK_BASE;
    uint64_t end = based ? m->packed->files[SGI__PACK_BASE].id.bytes : manifest_at;

    if (c->file >= SGI__PACK_STORES || (based && !m->packed->base_name))
        return wrong_chunk(path, m, c, "is in a file that there is not", err);
    if (c->part >= m->files_count || c->bytes == 0 || c->bytes > SGI__PACK_CHUNK_BYTES_MAX ||
        c->offset % SGI__PACK_ALIGN != 0)
        return wrong_chunk(path, m, c, "is of no part, or not as a chunk may be", err);
    if (c->at % SGI__PACK_ALIGN != 0 || c->at < SGI__PACK_HEAD_BYTES || c->at > end || c->stored_bytes > end - c->at ||
        c->stored_bytes == 0 || c->stored_bytes > c->bytes)
        return wrong_chunk(path, m, c, "is stored where it cannot be", err);
    return SGI_OK;
}

static int by_offset(const void *a, const void *b)
{
    const struct sgi__stored_chunk *x = a, *y = b;
    if (x->part != y->part)
        return x->part < y->part ? -1 : 1;
    return x->offset == y->offset ? 0 : x->offset < y->offset ? -1 : 1;
}

static int by_place(const void *a, const void *b)
{
    const struct sgi__stored_chunk *x = a, *y = b;
    if (x->file != y->file)
        return x->file < y->file ? -1 : 1;
    return x->at == y->at ? 0 : x->at < y->at ? -1 : 1;
}

/* Each byte of each part once. */
static sgi_status check_cover(const char *path, const struct sgi__manifest *m, const void *const *sorted,
                              sgi_error *err)
{
    uint64_t n = 0, count = m->packed->chunks_count;

    for (uint32_t part = 0; part < m->files_count; part++) {
        uint64_t end = 0;
        for (; n < count; n++) {
            const struct sgi__stored_chunk *c = sorted[n];
            if (c->part != part)
                break;
            if (c->offset != end)
                return wrong_chunk(path, m, c, "does not begin where the one before it in its part ends", err);
            end += c->bytes;
        }
        if (end != m->files[part].bytes)
            return wrong_part(path, &m->files[part], "is longer or shorter than its chunks", err);
    }
    return SGI_OK;
}

static bool stored_alike(const struct sgi__stored_chunk *a, const struct sgi__stored_chunk *b)
{
    return a->stored_bytes == b->stored_bytes && a->bytes == b->bytes && a->codec == b->codec && a->width == b->width &&
           a->check == b->check;
}

/* One behind the other from the head to the manifest, so that no byte of the file is without a check. Those of a base
 * are its own matter, as long as they are told alike. */
static sgi_status check_places(const char *path, const struct sgi__manifest *m, const void *const *sorted,
                               uint64_t manifest_at, sgi_error *err)
{
    const struct sgi__stored_chunk *before = NULL;
    uint64_t                        end = SGI__PACK_HEAD_BYTES;

    for (uint64_t n = 0; n < m->packed->chunks_count; n++) {
        const struct sgi__stored_chunk *c = sorted[n];
        if (before && before->file == c->file && before->at == c->at) {
            if (!stored_alike(before, c))
                return wrong_chunk(path, m, c, "is stored with another that is not like it", err);
            continue;
        }
        before = c;
        if (c->file != SGI__PACK_ITSELF)
            continue;
        if (c->at != end)
            return wrong_chunk(path, m, c, "is not stored right behind the one before it", err);
        end = sgi__align_up(c->at + c->stored_bytes, SGI__PACK_ALIGN);
    }
    return end == manifest_at ? SGI_OK : sgi__refuse_path(path, err, "the manifest is not right behind the chunks");
}

static sgi_status check_chunks(const char *path, const struct sgi__manifest *m, uint64_t manifest_at, sgi_error *err)
{
    size_t       count = (size_t)m->packed->chunks_count;
    const void **items = sgi__realloc_array(NULL, count + 1, 2 * sizeof *items);
    sgi_status   st = SGI_OK;

    if (!items)
        return sgi__no_memory(path, err);
    for (size_t n = 0; n < count && st == SGI_OK; n++) {
        st = check_chunk(path, m, &m->packed->chunks[n], manifest_at, err);
        items[n] = &m->packed->chunks[n];
    }
    if (st == SGI_OK) {
        sgi__sort(items, items + count, count, by_offset);
        st = check_cover(path, m, items, err);
    }
    if (st == SGI_OK) {
        sgi__sort(items, items + count, count, by_place);
        st = check_places(path, m, items, manifest_at, err);
    }
    sgi__free(items);
    return st;
}

/* ---- names of files ---- */

static sgi_status check_names(const char *path, const struct sgi__manifest *m, sgi_error *err)
{
    struct sgi__names names = { .list = NULL };
    struct sgi__shown shown;
    bool              added = true;
    const char       *twice;

    for (uint32_t n = 0; n < m->files_count && added; n++)
        added = sgi__names_add(&names, m->files[n].name);
    for (uint32_t n = 0; n < m->packed->others_count && added; n++)
        added = sgi__names_add(&names, m->packed->others[n].name);
    sgi_status st = added && sgi__names_sort(&names) ? SGI_OK : sgi__no_memory(path, err);
    if (st == SGI_OK && (twice = sgi__names_twice(&names)))
        st = sgi__refuse_path(path, err, "two files in it are named '%s'", sgi__show_name(&shown, twice));
    sgi__names_free(&names);
    return st;
}

sgi_status sgi__pack_check(const char *path, const struct sgi__manifest *m, uint64_t manifest_at, sgi_error *err)
{
    sgi_status st = check_names(path, m, err);

    for (uint32_t n = 0; n < m->files_count && st == SGI_OK; n++)
        st = m->packed->parts[n].exact ? check_exact(path, m, &m->files[n], err)
                                       : check_aligned(path, m, &m->files[n], &m->packed->parts[n], err);
    return st == SGI_OK ? check_chunks(path, m, manifest_at, err) : st;
}

/* ---- the base ---- */

static sgi_status look_at_base(struct sgi__source *base, const struct sgi__pack_file *expected, const char *asker,
                               sgi_error *err)
{
    struct sgi__pack_head head;
    struct sgi__shown     shown, other;
    const void           *view;

    if (base->id.bytes < SGI__PACK_HEAD_BYTES)
        return sgi__refuse(base, err, "too short for a packed file");
    sgi_status st = sgi__source_view(base, SGI__PACK_HEAD_BYTES, &view, err);
    if (st != SGI_OK)
        return st;
    if (!sgi__pack_begins(view, SGI__PACK_HEAD_BYTES))
        return sgi__refuse(base, err, "no packed file");
    st = sgi__pack_head_take(base->path, view, &head, err);
    if (st != SGI_OK)
        return st;
    if (head.based)
        return sgi__refuse(base, err, "has a base itself, so it cannot be the one of %s",
                           sgi__show_path(&other, asker));
    if (base->id.bytes != expected->id.bytes || head.manifest_check != expected->check)
        return sgi__error(err, SGI_E_CHANGED, "%s: not the base that %s was packed against",
                          sgi__show_path(&shown, base->path), sgi__show_path(&other, asker));
    return SGI_OK;
}

sgi_status sgi__pack_find_base(struct sgi__source *s, struct sgi__packed *packed, sgi_error *err)
{
    struct sgi__pack_file *base = &packed->files[SGI__PACK_BASE];
    struct sgi__manifest  *m = s->parse->m;
    struct sgi__shard      shard;
    char                  *folder = sgi__path_folder(s->path);
    sgi_status             st = folder ? SGI_OK : sgi__no_memory(s->path, err);

    if (st == SGI_OK)
        st = sgi__shard_open(s->parse, folder, packed->base_name, s->path, &shard, err);
    sgi__free(folder);
    if (st != SGI_OK)
        return st;
    st = look_at_base(&shard.source, base, s->path, err);
    if (st == SGI_OK) {
        base->id = shard.source.id;
        base->path = sgi__manifest_text(m, shard.source.resolved, strlen(shard.source.resolved));
        base->asked = sgi__manifest_text(m, shard.path, strlen(shard.path));
        packed->files_count = 2;
        if (!base->path || !base->asked)
            st = sgi__no_memory(s->path, err);
    }
    sgi__shard_close(&shard);
    return st;
}
