/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a model's bytes lie in its image: one part for each source file, [prefix][data]. Data keeps its offset modulo
 * 4096, so that direct reads land in place; a file whose data starts at an odd address is placed aligned instead,
 * through the page cache. Made once when a model is registered, read-only afterwards. Numbers only: any place can use
 * it.
 */
#ifndef SGI_LOAD_LAYOUT_H
#define SGI_LOAD_LAYOUT_H

#include "model/manifest.h"

#define SGI__PLACE_ALIGN  UINT64_C(4096)
#define SGI__TENSOR_ALIGN UINT64_C(256) /* on a device with memory of its own */

struct sgi__part {
    uint64_t prefix_bytes; /* before the data; congruent to data_offset modulo 4096 unless realigned */
    uint64_t data_offset;  /* in the file */
    uint64_t data_bytes;
    uint64_t bytes;         /* of the part: prefix and data */
    uint64_t region_bytes;  /* what to reserve: room for the last block of a direct read too */
    bool     engine_prefix; /* the engine fills the prefix, so the first block must not be read over it */
    bool     realigned;
};

struct sgi__layout {
    uint32_t          parts_count;
    uint64_t          image_bytes; /* sum of region_bytes */
    uint64_t          data_bytes;
    bool              engine_prefix; /* of some part */
    struct sgi__part *parts;
    uint64_t *device_tensors; /* where each tensor lies on a device with memory of its own; NULL: not asked for */
    uint64_t  device_bytes;
};

/* prefix_bytes: what the engine asked for, by part; NULL: no prefixes. Regions are of whole pages of page_bytes, a
 * multiple of SGI__PLACE_ALIGN. SGI_E_NO_MEMORY; SGI_E_ENGINE when a prefix is absurd. */
sgi_status sgi__layout_new(const struct sgi__manifest *m, const uint64_t *prefix_bytes, uint64_t page_bytes,
                           struct sgi__layout **layout_out, sgi_error *err);
/* For devices with memory of their own too: tensors one behind the other, in their order in the files, each aligned;
 * what a file has between them stays behind. `page_bytes`: what their memory is made of. SGI_E_NO_MEMORY. */
sgi_status sgi__layout_for_devices(struct sgi__layout *layout, const struct sgi__manifest *m, uint64_t page_bytes,
                                   sgi_error *err);
void       sgi__layout_free(struct sgi__layout *layout);

/* Offset of a tensor's first byte in its part. */
uint64_t sgi__layout_tensor(const struct sgi__layout *layout, const struct sgi__tensor *tensor);

#endif
