/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pieces of an image that are pinned for a device, so that copies from there run beside everything else. A pin is the
 * context's: it ends with it, and the next start pins again, ahead of its copies. One device's at a time, and one
 * load's. */
#ifndef SGI_LOAD_PINS_H
#define SGI_LOAD_PINS_H

#include "device/image.h"
#include "load/staging.h"

/* A copy never crosses from one into the next: the driver takes them for different memory. */
#define SGI__PIN_BYTES (UINT64_C(16) << 20)

struct sgi__pins; /* opaque */

/* NULL: out of memory. Nothing is pinned yet. The image outlives it. */
struct sgi__pins *sgi__pins_new(const struct sgi__image *image);
/* The piece that byte `at` of a part lies in, before the first copy from it [inside]. Where it is not to be had the
 * copy is slower: only SGI_E_DEVICE_LOST is an error. */
sgi_status sgi__pins_need(struct sgi__pins *pins, struct sgi__staging *staging, uint32_t part, uint64_t at,
                          sgi_error *err);
/* No copy is on its way. Before the memory goes, or is somebody else's. */
void     sgi__pins_off(struct sgi__pins *pins);
uint64_t sgi__pins_bytes(const struct sgi__pins *pins); /* pinned just now */
void     sgi__pins_free(struct sgi__pins *pins);        /* off; NULL is a no-op */

#endif
