/* SPDX-License-Identifier: Apache-2.0 */
/* What to read, in which order, to where: a flat list of chunks. Made once when a model is registered; the order of
 * reading is the files' own, except that chunks with wished tensors come first. */
#ifndef SGI_LOAD_PLAN_H
#define SGI_LOAD_PLAN_H

#include "load/layout.h"

struct sgi__chunk {
    uint64_t offset; /* in the file; of a packed model, in the part */
    uint64_t dst;    /* in the part's memory */
    uint64_t bytes;  /* of the file */
    uint32_t part;
    uint32_t file;      /* that it is read from: the part's, or one of the pack's */
    bool     bounce;    /* shares its block with the engine's prefix: read aside, then copied */
    bool     unaligned; /* realigned part: only through the page cache */
    /* Of a packed model: what it is stored in, which becomes `pieces` chunks from this one on, and what of it is before
     * the first of them. Of the others of these `pieces` is 0. */
    const struct sgi__stored_chunk *stored;
    uint32_t                        pieces, skip;
};

struct sgi__plan {
    struct sgi__chunk *chunks;
    uint64_t           chunks_count;
};

/* A window of the plan on the fly would do too, but a chunk costs 64 bytes for each 2 MiB: 32 MiB for a terabyte.
 * order: indices of tensors wished first, NULL: none. SGI_E_NO_MEMORY. */
sgi_status sgi__plan_new(const struct sgi__manifest *m, const struct sgi__layout *layout, uint64_t block_bytes,
                         const uint64_t *order, uint64_t order_count, struct sgi__plan **plan_out, sgi_error *err);
/* Of a packed model, in the order it is stored in, cut into pieces of `piece_bytes` where a stored chunk has more. */
sgi_status sgi__plan_new_packed(const struct sgi__manifest *m, const struct sgi__layout *layout, uint64_t piece_bytes,
                                const uint64_t *order, uint64_t order_count, struct sgi__plan **plan_out,
                                sgi_error *err);
/* Stored chunks with something of these tensors first, in the tensors' order, then the others as they are stored.
 * `list` has room for all of them. SGI_E_NO_MEMORY. */
sgi_status sgi__stored_order(const struct sgi__manifest *m, const uint64_t *order, uint64_t order_count,
                             const struct sgi__stored_chunk **list, sgi_error *err);
void       sgi__plan_free(struct sgi__plan *plan);

/* What of a tensor lies in a chunk: offsets in the file. An empty tensor has nothing in any. */
struct sgi__chunk_part {
    uint64_t from, to;
};
/* Whether this tensor has something in it; false: those behind have not either. sgi__manifest_tensor_at() of where it
 * begins is the first that may. */
bool sgi__chunk_part(const struct sgi__manifest *m, const struct sgi__chunk *c, uint64_t tensor,
                     struct sgi__chunk_part *part_out);

#endif
