/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hashes of tensors while their bytes land, so that a long one never leaves the disk idle. Chunks land in any order:
 * what continues a tensor's beginning is hashed at once, what lies beyond a gap when the gap has been filled. Where
 * that is not to be had, as for more tensors or pieces at once than there is room for, the tensor is hashed at its end.
 * One load's, on its thread.
 */
#ifndef SGI_LOAD_VERIFY_H
#define SGI_LOAD_VERIFY_H

#include "load/hash.h"

enum { SGI__VERIFY_OPEN_MAX = 64, SGI__VERIFY_PIECES_MAX = 80 };

struct sgi__verify_one; /* a tensor of which something has landed */

/* 0 at first. */
struct sgi__verify {
    struct sgi__verify_one *open[SGI__VERIFY_OPEN_MAX];
    uint32_t                open_count;
    struct sgi__verify_one *spare; /* of an ended one: for the next */
};

/* [from, to) of a tensor has landed; `data` is its first byte. Each byte lands once. */
void sgi__verify_landed(struct sgi__verify *v, uint64_t tensor, const uint8_t *data, uint64_t from, uint64_t to);
/* All `bytes` of it have: their hash. */
uint64_t sgi__verify_end(struct sgi__verify *v, uint64_t tensor, const uint8_t *data, uint64_t bytes);
void     sgi__verify_fini(struct sgi__verify *v);

#endif
