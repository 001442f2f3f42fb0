/* SPDX-License-Identifier: Apache-2.0 */
#include "load/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t sgi__hash(const void *data, size_t bytes)
{
    if (bytes == 0)
        data = ""; /* a tensor of no bytes lies nowhere */
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2"))
        return sgi__hash_avx2(data, bytes);
#endif
    return XXH3_64bits(data, bytes);
}
