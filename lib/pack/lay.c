/* SPDX-License-Identifier: Apache-2.0 */
#include "pack/lay.h"

#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "load/plan.h"

/* A tensor of so many bytes has chunks of its own, so that it is cut alike in every model that has it. */
#define ANCHOR_BYTES (UINT64_C(256) << 10)
/* And from here on it begins at a page, in parts where tensors may be moved. */
#define PAGE_TENSOR_BYTES (UINT64_C(64) << 10)

static sgi_status no_memory(sgi_error *err)
{
    return sgi__error(err, SGI_E_NO_MEMORY, "out of memory to lay out a packed model");
}

static void *room_for(struct sgi__manifest *m, uint64_t count, size_t bytes)
{
    void *room = sgi__manifest_alloc(m, count * bytes + 1);
    if (room)
        memset(room, 0, (size_t)(count * bytes));
    return room;
}

/* ---- parts ---- */

/* Engines map GGUF as it stands in its file. What reads safetensors asks where each tensor is. */
static bool is_moved(const struct sgi__manifest *m)
{
    return strcmp(m->format, "gguf") != 0;
}

static void move_tensors(struct sgi__manifest *m, struct sgi__file *f)
{
    uint64_t at = sgi__align_up(f->data_offset, SGI__PACK_ALIGN);

    f->data_offset = at;
    for (uint64_t n = f->tensor_first; n < f->tensor_first + f->tensor_count; n++) {
        struct sgi__tensor *t = &m->tensors[n];
        at = sgi__align_up(at, t->bytes >= PAGE_TENSOR_BYTES ? SGI__PACK_ALIGN : SGI__PACK_TENSOR_ALIGN);
        t->offset = at;
        at += t->bytes;
    }
    f->bytes = at;
}

static sgi_status lay_parts(struct sgi__manifest *m, struct sgi__pack_source **sources_out, sgi_error *err)
{
    struct sgi__packed      *packed = room_for(m, 1, sizeof *packed);
    struct sgi__pack_source *sources = room_for(m, m->files_count, sizeof *sources);

    if (packed) {
        packed->files = room_for(m, SGI__PACK_STORES, sizeof *packed->files);
        packed->parts = room_for(m, m->files_count, sizeof *packed->parts);
        packed->source_offsets = room_for(m, m->tensors_count, sizeof *packed->source_offsets);
    }
    if (!packed || !sources || !packed->files || !packed->parts || !packed->source_offsets)
        return no_memory(err);
    for (uint64_t n = 0; n < m->tensors_count; n++)
        packed->source_offsets[n] = m->tensors[n].offset;
    for (uint32_t n = 0; n < m->files_count; n++) {
        struct sgi__file *f = &m->files[n];
        sources[n] = (struct sgi__pack_source){ .path = f->path, .asked = f->asked, .id = f->id };
        packed->parts[n] = (struct sgi__packed_part){ .exact = !is_moved(m),
                                                      .source_bytes = f->bytes,
                                                      .source_data_offset = f->data_offset };
        if (is_moved(m))
            move_tensors(m, f);
    }
    m->packed = packed;
    *sources_out = sources;
    return SGI_OK;
}

/* ---- chunks ---- */

/* Counts first, then writes. */
struct cutting {
    struct sgi__stored_chunk *chunks; /* NULL: only counted */
    uint64_t                  count;
    uint32_t                  part;
};

/* [from, to), in pieces of the usual size. */
static void cut(struct cutting *c, uint64_t from, uint64_t to)
{
    while (from < to) {
        uint64_t bytes = to - from < SGI__PACK_CHUNK_BYTES ? to - from : SGI__PACK_CHUNK_BYTES;
        if (c->chunks)
            c->chunks[c->count] = (struct sgi__stored_chunk){ .offset = from,
                                                              .bytes = (uint32_t)bytes,
                                                              .part = c->part };
        c->count++;
        from += bytes;
    }
}

static void cut_part(struct cutting *c, const struct sgi__manifest *m, const struct sgi__file *f)
{
    uint64_t at = sgi__align_down(f->data_offset, SGI__PACK_ALIGN), end = f->tensor_first + f->tensor_count;

    cut(c, 0, at);
    for (uint64_t n = f->tensor_first; n < end; n++) {
        const struct sgi__tensor *t = &m->tensors[n];
        uint64_t                  begin = sgi__align_down(t->offset, SGI__PACK_ALIGN), stop = t->offset + t->bytes;
        uint64_t next = n + 1 < end ? m->tensors[n + 1].offset : f->bytes, up = sgi__align_up(stop, SGI__PACK_ALIGN);
        if (t->bytes < ANCHOR_BYTES)
            continue;
        stop = up <= next ? up : sgi__align_down(stop, SGI__PACK_ALIGN);
        if (begin > at) {
            cut(c, at, begin);
            at = begin;
        }
        cut(c, at, stop);
        at = stop;
    }
    cut(c, at, f->bytes);
}

static sgi_status cut_parts(struct sgi__manifest *m, sgi_error *err)
{
    struct cutting c = { .chunks = NULL };

    for (int round = 0; round < 2; round++) {
        c.count = 0;
        for (c.part = 0; c.part < m->files_count; c.part++)
            cut_part(&c, m, &m->files[c.part]);
        if (c.count > SGI__PACK_CHUNKS_MAX)
            return sgi__error(err, SGI_E_FORMAT, "%s: too large to be packed: %llu chunks, and %d are supported",
                              m->files[0].asked, (unsigned long long)c.count, (int)SGI__PACK_CHUNKS_MAX);
        if (!c.chunks && !(c.chunks = room_for(m, c.count, sizeof *c.chunks)))
            return no_memory(err);
    }
    m->packed->chunks = c.chunks;
    m->packed->chunks_count = c.count;
    return SGI_OK;
}

/* ---- order ---- */

static sgi_status put_first(struct sgi__manifest *m, const uint64_t *order, uint64_t order_count, sgi_error *err)
{
    struct sgi__packed              *p = m->packed;
    struct sgi__stored_chunk        *sorted = room_for(m, p->chunks_count, sizeof *sorted);
    const struct sgi__stored_chunk **list = sgi__realloc_array(NULL, (size_t)p->chunks_count + 1, sizeof *list);

    if (!sorted || !list) {
        sgi__free(list);
        return no_memory(err);
    }
    sgi_status st = sgi__stored_order(m, order, order_count, list, err);
    for (uint64_t n = 0; n < p->chunks_count && st == SGI_OK; n++)
        sorted[n] = *list[n];
    if (st == SGI_OK)
        p->chunks = sorted;
    sgi__free(list);
    return st;
}

sgi_status sgi__pack_lay(struct sgi__manifest *m, const uint64_t *order, uint64_t order_count,
                         struct sgi__pack_source **sources_out, sgi_error *err)
{
    sgi_status st = lay_parts(m, sources_out, err);

    if (st == SGI_OK)
        st = cut_parts(m, err);
    return st == SGI_OK && order_count > 0 ? put_first(m, order, order_count, err) : st;
}

/* ---- what is in a chunk ---- */

static uint32_t width_of(const struct sgi__tensor *t)
{
    static const struct {
        const char *dtype;
        uint32_t    width;
    } floats[] = { { "BF16", 2 }, { "F16", 2 }, { "F32", 4 }, { "F8_E4M3", 1 }, { "F8_E5M2", 1 } };

    for (size_t n = 0; n < sizeof floats / sizeof *floats; n++)
        if (strcmp(t->dtype, floats[n].dtype) == 0)
            return floats[n].width;
    return 0;
}

/* What of [at, at + bytes) of the part, which stands at `source` in its file, is in the chunk. */
static bool piece_of(const struct sgi__stored_chunk *c, uint64_t at, uint64_t bytes, uint64_t source,
                     struct sgi__pack_piece *piece_out)
{
    uint64_t from = at > c->offset ? at : c->offset, end = c->offset + c->bytes;
    uint64_t to = at + bytes < end ? at + bytes : end;

    if (from >= to)
        return false;
    piece_out->at = (size_t)(from - c->offset);
    piece_out->bytes = (size_t)(to - from);
    piece_out->source = source + (from - at);
    return true;
}

bool sgi__pack_piece(const struct sgi__manifest *m, const struct sgi__stored_chunk *c, struct sgi__pack_walk *walk,
                     struct sgi__pack_piece *piece_out)
{
    const struct sgi__file        *f = &m->files[c->part];
    const struct sgi__packed_part *part = &m->packed->parts[c->part];
    uint64_t                       end = f->tensor_first + f->tensor_count;

    if (!walk->begun) {
        walk->begun = true;
        walk->tensor = part->exact ? end : sgi__manifest_tensor_at(m, c->part, c->offset);
        if (piece_of(c, 0, part->exact ? f->bytes : part->source_data_offset, 0, piece_out))
            return true;
    }
    while (walk->tensor < end && m->tensors[walk->tensor].offset < c->offset + c->bytes) {
        const struct sgi__tensor *t = &m->tensors[walk->tensor];
        if (piece_of(c, t->offset, t->bytes, m->packed->source_offsets[walk->tensor++], piece_out))
            return true;
    }
    return false;
}

uint32_t sgi__pack_width(const struct sgi__manifest *m, const struct sgi__stored_chunk *c)
{
    const struct sgi__file *f = &m->files[c->part];
    uint64_t                by_width[5] = { 0 }, end = c->offset + c->bytes;
    uint32_t                most = 0;

    for (uint64_t n = sgi__manifest_tensor_at(m, c->part, c->offset);
         n < f->tensor_first + f->tensor_count && m->tensors[n].offset < end; n++) {
        const struct sgi__tensor *t = &m->tensors[n];
        uint64_t                  from = t->offset > c->offset ? t->offset : c->offset;
        uint64_t                  to = t->offset + t->bytes < end ? t->offset + t->bytes : end;
        by_width[width_of(t)] += to > from ? to - from : 0;
    }
    for (uint32_t width = 1; width < 5; width++)
        if (by_width[width] > by_width[most])
            most = width;
    return most;
}
