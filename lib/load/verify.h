/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hashes of tensors while their bytes land, so that a long one never leaves the disk idle. Chunks land in any order:
 * what continues a tensor's beginning is hashed at once, what lies beyond a gap when the gap has been filled. Where
 * that is not to be had, as for more tensors or pieces at once than there is room for, the end says so. One load's, on
 * its thread.
 */
#ifndef SGI_LOAD_VERIFY_H
#define SGI_LOAD_VERIFY_H

#include <stdbool.h>

#include "base/hash.h"

enum { SGI__VERIFY_OPEN_MAX = 64, SGI__VERIFY_PIECES_MAX = 80 };

struct sgi__verify_one; /* a tensor of which something has landed */

/* Bytes stay where they are until their tensor's end; or, with `holds`, while that is raised: once for each piece in
 * the same memory that waits for its turn. */
struct sgi__piece {
    const uint8_t *bytes; /* the first of them */
    uint64_t       from, to;
    uint32_t      *holds;
};

/* 0 at first. */
struct sgi__verify {
    struct sgi__verify_one *open[SGI__VERIFY_OPEN_MAX];
    uint32_t                open_count;
    struct sgi__verify_one *spare; /* of an ended one: for the next */
};

/* [from, to) of a tensor has landed, the `first` of it or more. Each byte lands once. */
void sgi__verify_landed(struct sgi__verify *v, uint64_t tensor, const struct sgi__piece *piece, bool first);
/* The memory is wanted back: nothing is held any more, and what waited is not hashed. False: nothing was. */
bool sgi__verify_give_up(struct sgi__verify *v);
/* All `bytes` of it have: their hash. False: there was no room to hash all of it while it landed. */
bool sgi__verify_end(struct sgi__verify *v, uint64_t tensor, uint64_t bytes, uint64_t *xxh3_out);
void sgi__verify_fini(struct sgi__verify *v);

#endif
