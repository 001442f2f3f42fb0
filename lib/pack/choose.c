/* SPDX-License-Identifier: Apache-2.0 */
#include "pack/choose.h"

#include <sgi/pack.h>

enum {
    SAMPLE_BYTES = 64 << 10, /* at each of three places; a multiple of every width */
    SAMPLES = 3,
    /* Of a hundred bytes: what saves less costs more time to decode than the disk takes to read it. Floats by their
     * bytes are decoded several times as fast as anything else. */
    WORTH_PERCENT_PLANES = 5,
    WORTH_PERCENT_ZSTD = 12,
};

/* Of all of them together. */
#define SAMPLED ((size_t)SAMPLES * SAMPLE_BYTES)

struct kind {
    uint32_t codec, width;
};

static size_t worth(size_t bytes, uint32_t wanted, struct kind kind)
{
    size_t percent = kind.codec == SGI__CODEC_PLANES && kind.width > 1 ? WORTH_PERCENT_PLANES : WORTH_PERCENT_ZSTD;
    return wanted == SGI_PACK_AUTO ? bytes - bytes / 100 * percent : bytes;
}

/* Bytes that so many of the chunk become, UINT64_MAX where nothing is gained. */
static uint64_t try_kind(struct sgi__encoder *encoder, struct kind kind, const uint8_t *raw, size_t bytes,
                         uint8_t *scratch)
{
    uint64_t sum = 0;

    for (size_t n = 0; n < SAMPLES; n++) {
        size_t at = (bytes - SAMPLE_BYTES) / (SAMPLES - 1) * n / SAMPLE_BYTES * SAMPLE_BYTES;
        size_t made = sgi__encode(encoder, kind.codec, kind.width, raw + at, SAMPLE_BYTES, scratch, SAMPLE_BYTES);
        sum += made ? made : SAMPLE_BYTES;
    }
    return sum < SAMPLED ? sum : UINT64_MAX;
}

/* What may gain, the likelier first. */
static size_t kinds_of(uint32_t wanted, uint32_t width, struct kind *kinds)
{
    size_t count = 0;

    if (wanted == SGI_PACK_RAW)
        return 0;
    if (wanted == SGI_PACK_PLANES && width > 0) {
        kinds[count++] = (struct kind){ SGI__CODEC_PLANES, width };
        return count;
    }
    if (wanted == SGI_PACK_AUTO)
        kinds[count++] = (struct kind){ SGI__CODEC_PLANES, width > 0 ? width : 1 };
    kinds[count++] = (struct kind){ SGI__CODEC_ZSTD, 0 };
    return count;
}

struct sgi__choice sgi__choose(struct sgi__encoder *encoder, uint32_t wanted, uint32_t width, const uint8_t *raw,
                               size_t bytes, uint8_t *stored)
{
    struct sgi__choice none = { .codec = SGI__CODEC_RAW, .stored_bytes = bytes };
    struct kind        kinds[2], best = { 0, 0 };
    uint64_t           least = UINT64_MAX;
    size_t             count = kinds_of(wanted, width, kinds);

    if (count == 0)
        return none;
    best = kinds[0];
    if (bytes >= 2 * SAMPLED) {
        for (size_t n = 0; n < count; n++) {
            uint64_t made = try_kind(encoder, kinds[n], raw, bytes, stored);
            if (made < least) {
                least = made;
                best = kinds[n];
            }
        }
        if (least >= worth(SAMPLED, wanted, best))
            return none;
    } else if (count > 1 && width == 0) {
        best = kinds[1]; /* text, and the like */
    }
    size_t made = sgi__encode(encoder, best.codec, best.width, raw, bytes, stored, worth(bytes, wanted, best));
    return made ? (struct sgi__choice){ .codec = best.codec, .width = best.width, .stored_bytes = made } : none;
}
