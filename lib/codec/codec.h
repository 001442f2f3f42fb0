/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the bytes of a chunk are stored, and back. lib/format/PACK.md has the layout of what is stored; numbers here are
 * those that stand in files.
 *
 * What is decoded is hostile: nothing outside the two buffers is touched, and what does not give exactly the bytes it
 * should is refused. An encoder or decoder is one thread's at a time.
 */
#ifndef SGI_CODEC_CODEC_H
#define SGI_CODEC_CODEC_H

#include "base/error.h"

enum {
    SGI__CODEC_RAW = 0,    /* as they are */
    SGI__CODEC_ZSTD = 1,   /* one frame of zstd */
    SGI__CODEC_PLANES = 2, /* elements taken apart, see planes.h; each plane by itself as it is or in frames of zstd */
};

enum {
    SGI__CODED_BYTES_MAX = 16 << 20,        /* of a chunk that is not raw, before and after */
    SGI__PLANES_BLOCK_ELEMENTS = 128 << 10, /* elements whose planes are coded together: they fit a cache */
    SGI__CODEC_LEVEL_MIN = 1,               /* zstd's own levels */
    SGI__CODEC_LEVEL_MAX = 19,
};

/* "raw", "zstd", "planes": static. NULL: there is no such codec. */
const char *sgi__codec_name(uint32_t codec);

struct sgi__encoder; /* opaque */

/* SGI_E_NO_MEMORY. */
sgi_status sgi__encoder_new(int level, struct sgi__encoder **encoder_out, sgi_error *err);
void       sgi__encoder_free(struct sgi__encoder *encoder); /* NULL is fine */

/* What `bytes` become with that codec (not RAW), or 0 where that is not less than `room`. `width`, for PLANES: bytes of
 * an element, 1, 2 or 4. */
size_t sgi__encode(struct sgi__encoder *encoder, uint32_t codec, uint32_t width, const void *raw, size_t bytes,
                   void *stored, size_t room);

struct sgi__decoder; /* opaque */

/* SGI_E_NO_MEMORY. */
sgi_status sgi__decoder_new(struct sgi__decoder **decoder_out, sgi_error *err);
void       sgi__decoder_free(struct sgi__decoder *decoder); /* NULL is fine */

/* All `bytes` of the chunk to `raw`, of which nothing may be relied on where it fails. NULL, or what is wrong: static
 * text, the end of a sentence that names the chunk. */
const char *sgi__decode(struct sgi__decoder *decoder, uint32_t codec, uint32_t width, const void *stored,
                        size_t stored_bytes, void *raw, size_t bytes);

#endif
