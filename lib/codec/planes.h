/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Floats taken apart by their bytes. An element's sign is moved to its lowest bit first, so that its highest byte is
 * the exponent, which compresses, and the others are sign and mantissa, which do not. Plane 0 is the highest byte of
 * each element, plane 1 the next, and so on; an element is little-endian. Nothing is lost, whatever the bytes mean.
 */
#ifndef SGI_CODEC_PLANES_H
#define SGI_CODEC_PLANES_H

#include <stddef.h>
#include <stdint.h>

enum { SGI__PLANES_MAX = 4 };

/* `width` is 2 or 4 and the number of planes; each has `count` bytes. Nothing overlaps; no alignment is asked for. */
void sgi__planes_split(const uint8_t *elements, size_t count, unsigned width, uint8_t *const *planes);
void sgi__planes_merge(const uint8_t *const *planes, size_t count, unsigned width, uint8_t *elements);

/* The same for any processor, which those two use for what is left over, or for everything. */
void sgi__planes_split_portable(const uint8_t *elements, size_t count, unsigned width, uint8_t *const *planes);
void sgi__planes_merge_portable(const uint8_t *const *planes, size_t count, unsigned width, uint8_t *elements);

#endif
