/* SPDX-License-Identifier: Apache-2.0 */
/* XXH3-64 with seed 0, compiled into the library: the distribution's build runs at a third of the speed. */
#ifndef SGI_LOAD_HASH_H
#define SGI_LOAD_HASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t sgi__hash(const void *data, size_t bytes);
uint64_t sgi__hash_avx2(const void *data, size_t bytes); /* only where the processor has it: sgi__hash() asks */

#endif
