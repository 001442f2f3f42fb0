/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chunks coded and decoded. One of planes is:
 *
 *     for each block of elements, for each plane: u32, bytes it takes; the highest bit: it is a frame of zstd
 *     the same again: those bytes
 *     what is left of a last element, as it is
 */
#include <assert.h>
#include <string.h>

#include <zstd.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "codec/codec.h"
#include "codec/planes.h"

enum {
    BLOCK = SGI__PLANES_BLOCK_ELEMENTS,
    /* A plane that saves less than one byte in this many is not worth decoding. */
    WORTH = 32,
    /* Exponents repeat without any order: matches are not looked for, symbols are counted. That is smaller than what
     * zstd's levels make of them and three times as fast in both directions. */
    LITERALS_HASH_LOG = 6,
    LITERALS_MIN_MATCH = 7,
};

#define IS_FRAME UINT32_C(0x80000000)

const char *sgi__codec_name(uint32_t codec)
{
    static const char *const names[] = { "raw", "zstd", "planes" };
    return codec < sizeof names / sizeof *names ? names[codec] : NULL;
}

/* How a chunk is cut. */
struct cut {
    uint32_t width;
    size_t   elements, blocks, rest;
    size_t   table_bytes;
};

static struct cut cut(uint32_t width, size_t bytes)
{
    struct cut c = { .width = width, .elements = bytes / width, .rest = bytes % width };
    c.blocks = (c.elements + BLOCK - 1) / BLOCK;
    c.table_bytes = c.blocks * width * sizeof(uint32_t);
    return c;
}

static size_t elements_of(const struct cut *c, size_t block)
{
    return block + 1 < c->blocks ? BLOCK : c->elements - block * BLOCK;
}

static void put_u32(uint8_t *at, uint32_t value)
{
    for (unsigned n = 0; n < 4; n++)
        at[n] = (uint8_t)(value >> (8 * n));
}

/* ---- encoding ---- */

struct sgi__encoder {
    ZSTD_CCtx *literals, *level; /* level: NULL where it would be no other than the first */
    int        level_number;
    uint8_t    planes[SGI__PLANES_MAX][BLOCK];
    uint8_t    best[BLOCK];
};

static bool set(ZSTD_CCtx *context, ZSTD_cParameter parameter, int value)
{
    return !ZSTD_isError(ZSTD_CCtx_setParameter(context, parameter, value));
}

sgi_status sgi__encoder_new(int level, struct sgi__encoder **encoder_out, sgi_error *err)
{
    struct sgi__encoder *e = sgi__alloc_zero(1, sizeof *e);

    assert(level >= SGI__CODEC_LEVEL_MIN && level <= SGI__CODEC_LEVEL_MAX);
    if (e) {
        e->level_number = level;
        e->literals = ZSTD_createCCtx();
        e->level = ZSTD_createCCtx();
    }
    if (!e || !e->literals || !e->level || !set(e->level, ZSTD_c_compressionLevel, level) ||
        !set(e->literals, ZSTD_c_compressionLevel, 1) || !set(e->literals, ZSTD_c_hashLog, LITERALS_HASH_LOG) ||
        !set(e->literals, ZSTD_c_minMatch, LITERALS_MIN_MATCH)) {
        sgi__encoder_free(e);
        return sgi__error(err, SGI_E_NO_MEMORY, "out of memory for an encoder of zstd");
    }
    *encoder_out = e;
    return SGI_OK;
}

void sgi__encoder_free(struct sgi__encoder *e)
{
    if (!e)
        return;
    ZSTD_freeCCtx(e->literals);
    ZSTD_freeCCtx(e->level);
    sgi__free(e);
}

/* 0: not less than `room`. */
static size_t frame(ZSTD_CCtx *context, const void *raw, size_t bytes, void *stored, size_t room)
{
    size_t made = ZSTD_compress2(context, stored, room, raw, bytes);
    return ZSTD_isError(made) || made >= room ? 0 : made;
}

/* The smallest of what it may be, to `to`: as it is, symbols counted, and for higher levels with matches too. */
static size_t encode_plane(struct sgi__encoder *e, const uint8_t *plane, size_t bytes, uint8_t *to, size_t room,
                           uint32_t *entry_out)
{
    size_t worth = bytes - bytes / WORTH, limit = worth < room ? worth : room;
    size_t made = frame(e->literals, plane, bytes, to, limit);

    if (e->level_number > 1) {
        size_t other = frame(e->level, plane, bytes, e->best, made ? made : limit);
        if (other)
            memcpy(to, e->best, made = other);
    }
    if (made) {
        *entry_out = (uint32_t)made | IS_FRAME;
        return made;
    }
    if (bytes >= room)
        return 0;
    memcpy(to, plane, bytes);
    *entry_out = (uint32_t)bytes;
    return bytes;
}

static size_t encode_planes(struct sgi__encoder *e, uint32_t width, const uint8_t *raw, size_t bytes, uint8_t *stored,
                            size_t room)
{
    struct cut     c = cut(width, bytes);
    size_t         at = c.table_bytes;
    const uint8_t *planes[SGI__PLANES_MAX] = { e->planes[0], e->planes[1], e->planes[2], e->planes[3] };
    uint8_t       *split[SGI__PLANES_MAX] = { e->planes[0], e->planes[1], e->planes[2], e->planes[3] };

    if (at + c.rest >= room)
        return 0;
    room -= c.rest;
    for (size_t block = 0; block < c.blocks; block++) {
        size_t         count = elements_of(&c, block);
        const uint8_t *elements = raw + block * BLOCK * width;
        if (width == 1)
            planes[0] = elements;
        else
            sgi__planes_split(elements, count, width, split);
        for (uint32_t plane = 0; plane < width; plane++) {
            uint32_t entry;
            size_t   made = encode_plane(e, planes[plane], count, stored + at, room - at, &entry);
            if (!made)
                return 0;
            put_u32(stored + (block * width + plane) * sizeof entry, entry);
            at += made;
        }
    }
    memcpy(stored + at, raw + bytes - c.rest, c.rest);
    return at + c.rest;
}

size_t sgi__encode(struct sgi__encoder *e, uint32_t codec, uint32_t width, const void *raw, size_t bytes, void *stored,
                   size_t room)
{
    assert(bytes <= SGI__CODED_BYTES_MAX);
    if (codec == SGI__CODEC_ZSTD)
        return frame(e->level, raw, bytes, stored, room);
    assert(codec == SGI__CODEC_PLANES && (width == 1 || width == 2 || width == 4));
    return encode_planes(e, width, raw, bytes, stored, room);
}

/* ---- decoding ---- */

struct sgi__decoder {
    ZSTD_DCtx *context;
    uint8_t    planes[SGI__PLANES_MAX][BLOCK];
};

sgi_status sgi__decoder_new(struct sgi__decoder **decoder_out, sgi_error *err)
{
    struct sgi__decoder *d = sgi__alloc(sizeof *d);

    if (d && !(d->context = ZSTD_createDCtx())) {
        sgi__free(d);
        d = NULL;
    }
    if (!d)
        return sgi__error(err, SGI_E_NO_MEMORY, "out of memory for a decoder of zstd");
    *decoder_out = d;
    return SGI_OK;
}

void sgi__decoder_free(struct sgi__decoder *d)
{
    if (!d)
        return;
    ZSTD_freeDCtx(d->context);
    sgi__free(d);
}

/* One frame and nothing behind it, of exactly `bytes`. */
static const char *unframe(struct sgi__decoder *d, const void *stored, size_t stored_bytes, void *raw, size_t bytes)
{
    size_t made = ZSTD_decompressDCtx(d->context, raw, bytes, stored, stored_bytes);
    if (ZSTD_isError(made))
        return "what zstd made of it cannot be decoded";
    return made == bytes ? NULL : "zstd makes fewer bytes of it than it should have";
}

static const char *decode_planes(struct sgi__decoder *d, uint32_t width, const uint8_t *stored, size_t stored_bytes,
                                 uint8_t *raw, size_t bytes)
{
    struct cut         c = cut(width, bytes);
    struct sgi__cursor table, data;
    const uint8_t     *planes[SGI__PLANES_MAX] = { NULL };

    if (c.table_bytes > stored_bytes)
        return "its table of planes does not fit into it";
    sgi__cursor_init(&table, stored, c.table_bytes);
    sgi__cursor_init(&data, stored + c.table_bytes, stored_bytes - c.table_bytes);
    for (size_t block = 0; block < c.blocks; block++) {
        size_t   count = elements_of(&c, block);
        uint8_t *elements = raw + block * BLOCK * width;
        for (uint32_t plane = 0; plane < width; plane++) {
            uint32_t       entry = sgi__cursor_u32(&table), size = entry & ~IS_FRAME;
            const uint8_t *taken = sgi__cursor_take(&data, size);
            if (!taken)
                return "its planes are longer than it is";
            if (!(entry & IS_FRAME) && size != count)
                return "a plane of it has the wrong length";
            uint8_t    *to = width == 1 ? elements : d->planes[plane];
            const char *wrong = entry & IS_FRAME ? unframe(d, taken, size, to, count) : NULL;
            if (wrong)
                return wrong;
            planes[plane] = entry & IS_FRAME ? to : taken;
        }
        if (width > 1)
            sgi__planes_merge(planes, count, width, elements);
        else if (planes[0] != elements)
            memcpy(elements, planes[0], count);
    }
    const uint8_t *rest = sgi__cursor_take(&data, c.rest);
    if (!rest || sgi__cursor_left(&data) > 0)
        return "its planes are not as long as it is";
    memcpy(raw + bytes - c.rest, rest, c.rest);
    return NULL;
}

const char *sgi__decode(struct sgi__decoder *d, uint32_t codec, uint32_t width, const void *stored, size_t stored_bytes,
                        void *raw, size_t bytes)
{
    if (bytes > SGI__CODED_BYTES_MAX || stored_bytes > SGI__CODED_BYTES_MAX)
        return "it is larger than a chunk may be";
    switch (codec) {
    case SGI__CODEC_ZSTD:
        return unframe(d, stored, stored_bytes, raw, bytes);
    case SGI__CODEC_PLANES:
        if (width != 1 && width != 2 && width != 4)
            return "its elements have no width that there is";
        return decode_planes(d, width, stored, stored_bytes, raw, bytes);
    default:
        return "its codec is none that there is";
    }
}
