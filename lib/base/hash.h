/* SPDX-License-Identifier: Apache-2.0 */
/* XXH3 with seed 0, of 64 bits and of 128, compiled into the library: the distribution's build runs at a third of the
 * speed. */
#ifndef SGI_BASE_HASH_H
#define SGI_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t sgi__hash(const void *data, size_t bytes);
uint64_t sgi__hash_avx2(const void *data, size_t bytes); /* only where the processor has it: sgi__hash() asks */

/* The same, piece by piece. Plain memory: it may lie anywhere and needs no end. */
struct sgi__hash_state {
    unsigned char room[704]; /* xxhash's own state and what aligns it; hash.c checks */
};

void     sgi__hash_begin(struct sgi__hash_state *state);
void     sgi__hash_more(struct sgi__hash_state *state, const void *data, size_t bytes);
uint64_t sgi__hash_so_far(const struct sgi__hash_state *state);
void     sgi__hash_begin_avx2(void *state);
void     sgi__hash_more_avx2(void *state, const void *data, size_t bytes);

/* Of 128 bits, low half first, where equal means to be the same and not only to be whole. The state is of one kind or
 * the other from its beginning. */
void sgi__hash128(const void *data, size_t bytes, uint64_t *halves_out);
void sgi__hash128_begin(struct sgi__hash_state *state);
void sgi__hash128_more(struct sgi__hash_state *state, const void *data, size_t bytes);
void sgi__hash128_so_far(const struct sgi__hash_state *state, uint64_t *halves_out);
void sgi__hash128_more_avx2(void *state, const void *data, size_t bytes);

#endif
