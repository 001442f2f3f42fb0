/* SPDX-License-Identifier: Apache-2.0 */
#include "base/alloc.h"
#include "base/error.h"
#include "base/sort.h"
#include "load/plan.h"

static sgi_status no_memory(const struct sgi__manifest *m, sgi_error *err)
{
    sgi__error(err, SGI_E_NO_MEMORY, "out of memory for a plan of %llu chunks",
               (unsigned long long)m->packed->chunks_count);
    return SGI_E_NO_MEMORY;
}

/* ---- the order ---- */

static int by_offset(const void *a, const void *b)
{
    const struct sgi__stored_chunk *x = a, *y = b;
    if (x->part != y->part)
        return x->part < y->part ? -1 : 1;
    return x->offset == y->offset ? 0 : x->offset < y->offset ? -1 : 1;
}

/* In `sorted`, the first that ends behind where the tensor begins. */
static uint64_t first_of(const void *const *sorted, uint64_t count, const struct sgi__tensor *t)
{
    uint64_t low = 0, high = count;
    while (low < high) {
        uint64_t                        middle = low + (high - low) / 2;
        const struct sgi__stored_chunk *c = sorted[middle];
        if (c->part < t->file || (c->part == t->file && c->offset + c->bytes <= t->offset))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

sgi_status sgi__stored_order(const struct sgi__manifest *m, const uint64_t *order, uint64_t order_count,
                             const struct sgi__stored_chunk **list, sgi_error *err)
{
    const struct sgi__packed *p = m->packed;
    uint64_t                  count = p->chunks_count, used = 0;
    const void              **sorted = sgi__realloc_array(NULL, (size_t)count + 1, 2 * sizeof *sorted);
    uint8_t                  *taken = sgi__alloc_zero((size_t)count + 1, 1);

    if (!sorted || !taken) {
        sgi__free(sorted);
        sgi__free(taken);
        return no_memory(m, err);
    }
    for (uint64_t n = 0; n < count; n++)
        sorted[n] = &p->chunks[n];
    sgi__sort(sorted, sorted + count, (size_t)count, by_offset);
    for (uint64_t n = 0; n < order_count; n++) {
        const struct sgi__tensor *t = &m->tensors[order[n]];
        for (uint64_t at = first_of(sorted, count, t); at < count; at++) {
            const struct sgi__stored_chunk *c = sorted[at];
            if (c->part != t->file || c->offset >= t->offset + t->bytes)
                break;
            if (!taken[c - p->chunks])
                list[used++] = c;
            taken[c - p->chunks] = 1;
        }
    }
    for (uint64_t n = 0; n < count; n++)
        if (!taken[n])
            list[used++] = &p->chunks[n];
    sgi__free(sorted);
    sgi__free(taken);
    return SGI_OK;
}

/* ---- pieces ---- */

/* Those of one stored chunk; none where it is all header. With `chunks` NULL they are only counted. */
static uint64_t cut(const struct sgi__layout *layout, const struct sgi__stored_chunk *c, uint64_t piece_bytes,
                    struct sgi__chunk *chunks)
{
    const struct sgi__part *part = &layout->parts[c->part];
    uint64_t                end = c->offset + c->bytes, count = 0;
    uint64_t                from = c->offset > part->data_offset ? c->offset : part->data_offset;

    for (uint64_t at = from; at < end; count++) {
        uint64_t bytes = end - at < piece_bytes ? end - at : piece_bytes;
        if (chunks)
            chunks[count] = (struct sgi__chunk){ .offset = at,
                                                 .dst = part->prefix_bytes + (at - part->data_offset),
                                                 .bytes = bytes,
                                                 .part = c->part,
                                                 .file = c->file,
                                                 .stored = c };
        at += bytes;
    }
    if (chunks && count > 0) {
        chunks[0].pieces = (uint32_t)count;
        chunks[0].skip = (uint32_t)(from - c->offset);
    }
    return count;
}

sgi_status sgi__plan_new_packed(const struct sgi__manifest *m, const struct sgi__layout *layout, uint64_t piece_bytes,
                                const uint64_t *order, uint64_t order_count, struct sgi__plan **plan_out,
                                sgi_error *err)
{
    uint64_t                         stored = m->packed->chunks_count, count = 0;
    struct sgi__plan                *plan = sgi__alloc_zero(1, sizeof *plan);
    const struct sgi__stored_chunk **list = sgi__realloc_array(NULL, (size_t)stored + 1, sizeof *list);
    sgi_status                       st = plan && list ? SGI_OK : no_memory(m, err);

    for (uint64_t n = 0; n < stored && st == SGI_OK; n++)
        list[n] = &m->packed->chunks[n];
    if (st == SGI_OK && order_count > 0)
        st = sgi__stored_order(m, order, order_count, list, err);
    for (uint64_t n = 0; n < stored && st == SGI_OK; n++)
        count += cut(layout, list[n], piece_bytes, NULL);
    if (st == SGI_OK && !(plan->chunks = sgi__alloc_zero((size_t)count + 1, sizeof *plan->chunks)))
        st = no_memory(m, err);
    for (uint64_t n = 0; n < stored && st == SGI_OK; n++)
        plan->chunks_count += cut(layout, list[n], piece_bytes, plan->chunks + plan->chunks_count);
    sgi__free(list);
    if (st == SGI_OK)
        *plan_out = plan;
    else
        sgi__plan_free(plan);
    return st;
}
