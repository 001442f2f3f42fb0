/* SPDX-License-Identifier: Apache-2.0 */
/* How a chunk is best stored: tried on some of it, then done. */
#ifndef SGI_PACK_CHOOSE_H
#define SGI_PACK_CHOOSE_H

#include "codec/codec.h"

struct sgi__choice {
    uint32_t codec, width;
    size_t   stored_bytes;
};

/* Encodes `raw` into `stored`, which has room for as many bytes; a choice of RAW leaves nothing there. `wanted`: an
 * SGI_PACK_*. `width`: of the floats that it is, 0 for something else. */
struct sgi__choice sgi__choose(struct sgi__encoder *encoder, uint32_t wanted, uint32_t width, const uint8_t *raw,
                               size_t bytes, uint8_t *stored);

#endif
