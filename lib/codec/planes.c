/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/planes.h"

#include <assert.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

/* ---- any processor ---- */

static void split2(const uint8_t *elements, size_t from, size_t count, uint8_t *high, uint8_t *low)
{
    for (size_t n = from; n < count; n++) {
        uint32_t bits = (uint32_t)elements[2 * n] | (uint32_t)elements[2 * n + 1] << 8;
        bits = bits << 1 | bits >> 15;
        high[n] = (uint8_t)(bits >> 8);
        low[n] = (uint8_t)bits;
    }
}

static void merge2(const uint8_t *high, const uint8_t *low, size_t from, size_t count, uint8_t *elements)
{
    for (size_t n = from; n < count; n++) {
        uint32_t bits = (uint32_t)high[n] << 8 | low[n];
        bits = bits >> 1 | bits << 15;
        elements[2 * n] = (uint8_t)bits;
        elements[2 * n + 1] = (uint8_t)(bits >> 8);
    }
}

static void split4(const uint8_t *elements, size_t from, size_t count, uint8_t *const *planes)
{
    for (size_t n = from; n < count; n++) {
        const uint8_t *e = elements + 4 * n;
        uint32_t       bits = (uint32_t)e[0] | (uint32_t)e[1] << 8 | (uint32_t)e[2] << 16 | (uint32_t)e[3] << 24;
        bits = bits << 1 | bits >> 31;
        for (unsigned plane = 0; plane < 4; plane++)
            planes[plane][n] = (uint8_t)(bits >> (24 - 8 * plane));
    }
}

static void merge4(const uint8_t *const *planes, size_t from, size_t count, uint8_t *elements)
{
    for (size_t n = from; n < count; n++) {
        uint8_t *e = elements + 4 * n;
        uint32_t bits = (uint32_t)planes[0][n] << 24 | (uint32_t)planes[1][n] << 16 | (uint32_t)planes[2][n] << 8 |
                        planes[3][n];
        bits = bits >> 1 | bits << 31;
        for (unsigned byte = 0; byte < 4; byte++)
            e[byte] = (uint8_t)(bits >> (8 * byte));
    }
}

static void split_from(const uint8_t *elements, size_t from, size_t count, unsigned width, uint8_t *const *planes)
{
    assert(width == 2 || width == 4);
    if (width == 2)
        split2(elements, from, count, planes[0], planes[1]);
    else
        split4(elements, from, count, planes);
}

static void merge_from(const uint8_t *const *planes, size_t from, size_t count, unsigned width, uint8_t *elements)
{
    assert(width == 2 || width == 4);
    if (width == 2)
        merge2(planes[0], planes[1], from, count, elements);
    else
        merge4(planes, from, count, elements);
}

void sgi__planes_split_portable(const uint8_t *elements, size_t count, unsigned width, uint8_t *const *planes)
{
    split_from(elements, 0, count, width, planes);
}

void sgi__planes_merge_portable(const uint8_t *const *planes, size_t count, unsigned width, uint8_t *elements)
{
    merge_from(planes, 0, count, width, elements);
}

/* ---- sixteen elements at a time ---- */

#if defined(__SSE2__) /* every x86-64 */

enum { STEP = 16 };

static __m128i load(const uint8_t *at)
{
    return _mm_loadu_si128((const __m128i *)(const void *)at);
}

static void store(uint8_t *at, __m128i value)
{
    _mm_storeu_si128((__m128i *)(void *)at, value);
}

static __m128i sign_down16(__m128i v)
{
    return _mm_or_si128(_mm_slli_epi16(v, 1), _mm_srli_epi16(v, 15));
}

static __m128i sign_up16(__m128i v)
{
    return _mm_or_si128(_mm_srli_epi16(v, 1), _mm_slli_epi16(v, 15));
}

static __m128i sign_down32(__m128i v)
{
    return _mm_or_si128(_mm_slli_epi32(v, 1), _mm_srli_epi32(v, 31));
}

static __m128i sign_up32(__m128i v)
{
    return _mm_or_si128(_mm_srli_epi32(v, 1), _mm_slli_epi32(v, 31));
}

/* The lower bytes of eight and eight, and the higher ones. */
static __m128i lower(__m128i a, __m128i b)
{
    const __m128i mask = _mm_set1_epi16(0xff);
    return _mm_packus_epi16(_mm_and_si128(a, mask), _mm_and_si128(b, mask));
}

static __m128i higher(__m128i a, __m128i b)
{
    return _mm_packus_epi16(_mm_srli_epi16(a, 8), _mm_srli_epi16(b, 8));
}

static size_t split2_fast(const uint8_t *elements, size_t count, uint8_t *const *planes)
{
    size_t n = 0;

    for (; count - n >= STEP; n += STEP) {
        __m128i a = sign_down16(load(elements + 2 * n)), b = sign_down16(load(elements + 2 * n + 16));
        store(planes[0] + n, higher(a, b));
        store(planes[1] + n, lower(a, b));
    }
    return n;
}

static size_t merge2_fast(const uint8_t *const *planes, size_t count, uint8_t *elements)
{
    size_t n = 0;

    for (; count - n >= STEP; n += STEP) {
        __m128i high = load(planes[0] + n), low = load(planes[1] + n);
        store(elements + 2 * n, sign_up16(_mm_unpacklo_epi8(low, high)));
        store(elements + 2 * n + 16, sign_up16(_mm_unpackhi_epi8(low, high)));
    }
    return n;
}

static size_t split4_fast(const uint8_t *elements, size_t count, uint8_t *const *planes)
{
    size_t n = 0;

    for (; count - n >= STEP; n += STEP) {
        const uint8_t *e = elements + 4 * n;
        __m128i        a = sign_down32(load(e)), b = sign_down32(load(e + 16));
        __m128i        c = sign_down32(load(e + 32)), d = sign_down32(load(e + 48));
        /* Bytes 0 and 2 of each element, then 1 and 3. */
        __m128i even1 = lower(a, b), even2 = lower(c, d), odd1 = higher(a, b), odd2 = higher(c, d);
        store(planes[0] + n, higher(odd1, odd2));
        store(planes[1] + n, higher(even1, even2));
        store(planes[2] + n, lower(odd1, odd2));
        store(planes[3] + n, lower(even1, even2));
    }
    return n;
}

static size_t merge4_fast(const uint8_t *const *planes, size_t count, uint8_t *elements)
{
    size_t n = 0;

    for (; count - n >= STEP; n += STEP) {
        uint8_t *e = elements + 4 * n;
        __m128i  p0 = load(planes[0] + n), p1 = load(planes[1] + n);
        __m128i  p2 = load(planes[2] + n), p3 = load(planes[3] + n);
        __m128i  low1 = _mm_unpacklo_epi8(p3, p2), low2 = _mm_unpackhi_epi8(p3, p2);
        __m128i  high1 = _mm_unpacklo_epi8(p1, p0), high2 = _mm_unpackhi_epi8(p1, p0);
        store(e, sign_up32(_mm_unpacklo_epi16(low1, high1)));
        store(e + 16, sign_up32(_mm_unpackhi_epi16(low1, high1)));
        store(e + 32, sign_up32(_mm_unpacklo_epi16(low2, high2)));
        store(e + 48, sign_up32(_mm_unpackhi_epi16(low2, high2)));
    }
    return n;
}

#else

static size_t split2_fast(const uint8_t *elements, size_t count, uint8_t *const *planes)
{
    (void)elements, (void)count, (void)planes;
    return 0;
}

static size_t merge2_fast(const uint8_t *const *planes, size_t count, uint8_t *elements)
{
    (void)planes, (void)count, (void)elements;
    return 0;
}

#define split4_fast split2_fast
#define merge4_fast merge2_fast

#endif

void sgi__planes_split(const uint8_t *elements, size_t count, unsigned width, uint8_t *const *planes)
{
    size_t done = width == 2 ? split2_fast(elements, count, planes) : split4_fast(elements, count, planes);
    split_from(elements, done, count, width, planes);
}

void sgi__planes_merge(const uint8_t *const *planes, size_t count, unsigned width, uint8_t *elements)
{
    size_t done = width == 2 ? merge2_fast(planes, count, elements) : merge4_fast(planes, count, elements);
    merge_from(planes, done, count, width, elements);
}
