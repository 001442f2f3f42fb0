/* SPDX-License-Identifier: Apache-2.0 */
#include "load/plan.h"

#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"

/* Cuts one part at multiples of the block, counted from the aligned start of its data. With `chunks` NULL it only
 * counts. */
static uint64_t cut_part(const struct sgi__part *part, uint32_t number, uint64_t block, struct sgi__chunk *chunks)
{
    uint64_t count = 0, end = part->data_offset + part->data_bytes;
    uint64_t lead = part->realigned ? 0 : part->data_offset % SGI__PLACE_ALIGN;
    /* Without an engine's prefix the block that data begins in is read whole: the header's tail lands before the data.
     * */
    bool     aside = part->engine_prefix && lead > 0;
    uint64_t at = aside || part->realigned ? part->data_offset : part->data_offset - lead;

    if (part->data_bytes == 0)
        return 0;
    while (at < end) {
        uint64_t stop = part->realigned ? at + block : sgi__align_down(at, SGI__PLACE_ALIGN) + block;
        bool     bounce = aside && at == part->data_offset;
        if (bounce)
            stop = sgi__align_up(at, SGI__PLACE_ALIGN);
        if (stop > end)
            stop = end;
        if (chunks)
            chunks[count] = (struct sgi__chunk){ .offset = at,
                                                 .dst = part->prefix_bytes + at - part->data_offset,
                                                 .bytes = stop - at,
                                                 .part = number,
                                                 .file = number,
                                                 .bounce = bounce,
                                                 .unaligned = part->realigned };
        count++;
        at = stop;
    }
    return count;
}

/* The chunks that hold some of a tensor are contiguous in the natural order; the first by binary search. */
static uint64_t first_chunk_of(const struct sgi__chunk *chunks, uint64_t count, const struct sgi__tensor *t)
{
    uint64_t low = 0, high = count;
    while (low < high) {
        uint64_t                 mid = low + (high - low) / 2;
        const struct sgi__chunk *c = &chunks[mid];
        if (c->part < t->file || (c->part == t->file && c->offset + c->bytes <= t->offset))
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static sgi_status put_first(const struct sgi__manifest *m, struct sgi__plan *plan, const uint64_t *order,
                            uint64_t order_count, sgi_error *err)
{
    struct sgi__chunk *sorted = sgi__alloc_zero(plan->chunks_count, sizeof *sorted);
    uint8_t           *taken = sgi__alloc_zero(plan->chunks_count, 1);
    uint64_t           count = 0;

    if (!sorted || !taken) {
        sgi__free(sorted);
        sgi__free(taken);
        return sgi__error(err, SGI_E_NO_MEMORY, "out of memory for a plan of %llu chunks",
                          (unsigned long long)plan->chunks_count);
    }
    for (uint64_t n = 0; n < order_count; n++) {
        const struct sgi__tensor *t = &m->tensors[order[n]];
        for (uint64_t c = first_chunk_of(plan->chunks, plan->chunks_count, t);
             t->bytes > 0 && c < plan->chunks_count && plan->chunks[c].part == t->file &&
             plan->chunks[c].offset < t->offset + t->bytes;
             c++)
            if (!taken[c]) {
                taken[c] = 1;
                sorted[count++] = plan->chunks[c];
            }
    }
    for (uint64_t c = 0; c < plan->chunks_count; c++)
        if (!taken[c])
            sorted[count++] = plan->chunks[c];
    sgi__free(taken);
    sgi__free(plan->chunks);
    plan->chunks = sorted;
    return SGI_OK;
}

sgi_status sgi__plan_new(const struct sgi__manifest *m, const struct sgi__layout *layout, uint64_t block_bytes,
                         const uint64_t *order, uint64_t order_count, struct sgi__plan **plan_out, sgi_error *err)
{
    struct sgi__plan *plan = sgi__alloc_zero(1, sizeof *plan);
    uint64_t          count = 0;

    for (uint32_t n = 0; n < layout->parts_count; n++)
        count += cut_part(&layout->parts[n], n, block_bytes, NULL);
    if (plan)
        plan->chunks = sgi__alloc_zero((size_t)count, sizeof *plan->chunks);
    if (!plan || !plan->chunks) {
        sgi__plan_free(plan);
        return sgi__error(err, SGI_E_NO_MEMORY, "out of memory for a plan of %llu chunks", (unsigned long long)count);
    }
    plan->chunks_count = count;
    count = 0;
    for (uint32_t n = 0; n < layout->parts_count; n++)
        count += cut_part(&layout->parts[n], n, block_bytes, plan->chunks + count);
    if (order_count > 0) {
        sgi_status st = put_first(m, plan, order, order_count, err);
        if (st != SGI_OK) {
            sgi__plan_free(plan);
            return st;
        }
    }
    *plan_out = plan;
    return SGI_OK;
}

void sgi__plan_free(struct sgi__plan *plan)
{
    if (plan)
        sgi__free(plan->chunks);
    sgi__free(plan);
}

bool sgi__chunk_part(const struct sgi__manifest *m, const struct sgi__chunk *c, uint64_t tensor,
                     struct sgi__chunk_part *part_out)
{
    const struct sgi__file   *file = &m->files[c->part];
    const struct sgi__tensor *t = &m->tensors[tensor];
    uint64_t                  end = c->offset + c->bytes;

    if (tensor >= file->tensor_first + file->tensor_count || t->offset >= end)
        return false;
    part_out->from = t->offset > c->offset ? t->offset : c->offset;
    part_out->to = t->offset + t->bytes < end ? t->offset + t->bytes : end;
    return true;
}
