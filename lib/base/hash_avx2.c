/* SPDX-License-Identifier: Apache-2.0 */
/* hash.c again for processors with AVX2: the build compiles this file with -mavx2, and xxhash picks its code by
 * that. */
#include "base/hash.h"

#if defined(__x86_64__)

#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t sgi__hash_avx2(const void *data, size_t bytes)
{
    return XXH3_64bits(data, bytes);
}

void sgi__hash_begin_avx2(void *state)
{
    XXH3_64bits_reset(state);
}

void sgi__hash_more_avx2(void *state, const void *data, size_t bytes)
{
    XXH3_64bits_update(state, data, bytes);
}

void sgi__hash128_more_avx2(void *state, const void *data, size_t bytes)
{
    XXH3_128bits_update(state, data, bytes);
}

#else
typedef int sgi__hash_avx2_has_no_code; /* ISO C wants one declaration in a file */
#endif
