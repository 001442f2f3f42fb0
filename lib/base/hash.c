/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hash.h"

#include <stdalign.h>
#include <stdbool.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

_Static_assert(sizeof(struct sgi__hash_state) >= sizeof(XXH3_state_t) + alignof(XXH3_state_t),
               "room for xxhash's state wherever this one lies");

static bool has_avx2(void)
{
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx2");
#else
    return false;
#endif
}

uint64_t sgi__hash(const void *data, size_t bytes)
{
    if (bytes == 0)
        data = ""; /* a tensor of no bytes lies nowhere */
#if defined(__x86_64__)
    if (has_avx2())
        return sgi__hash_avx2(data, bytes);
#endif
    return XXH3_64bits(data, bytes);
}

/* ---- piece by piece ---- */

static XXH3_state_t *aligned(const struct sgi__hash_state *state)
{
    uintptr_t at = (uintptr_t)state->room, align = alignof(XXH3_state_t);
    return (XXH3_state_t *)((at + align - 1) & ~(align - 1));
}

void sgi__hash_begin(struct sgi__hash_state *state)
{
#if defined(__x86_64__)
    if (has_avx2()) {
        sgi__hash_begin_avx2(aligned(state));
        return;
    }
#endif
    XXH3_64bits_reset(aligned(state));
}

void sgi__hash_more(struct sgi__hash_state *state, const void *data, size_t bytes)
{
#if defined(__x86_64__)
    if (has_avx2()) {
        sgi__hash_more_avx2(aligned(state), data, bytes);
        return;
    }
#endif
    XXH3_64bits_update(aligned(state), data, bytes);
}

uint64_t sgi__hash_so_far(const struct sgi__hash_state *state)
{
    return XXH3_64bits_digest(aligned(state)); /* the state is the same for every processor */
}

/* ---- 128 bits ---- */

void sgi__hash128_begin(struct sgi__hash_state *state)
{
    XXH3_128bits_reset(aligned(state));
}

void sgi__hash128_more(struct sgi__hash_state *state, const void *data, size_t bytes)
{
#if defined(__x86_64__)
    if (has_avx2()) {
        sgi__hash128_more_avx2(aligned(state), data, bytes);
        return;
    }
#endif
    XXH3_128bits_update(aligned(state), data, bytes);
}

void sgi__hash128_so_far(const struct sgi__hash_state *state, uint64_t *halves_out)
{
    XXH128_hash_t hash = XXH3_128bits_digest(aligned(state));
    halves_out[0] = hash.low64;
    halves_out[1] = hash.high64;
}

void sgi__hash128(const void *data, size_t bytes, uint64_t *halves_out)
{
    struct sgi__hash_state state;
    sgi__hash128_begin(&state);
    sgi__hash128_more(&state, bytes > 0 ? data : "", bytes);
    sgi__hash128_so_far(&state, halves_out);
}
