/* SPDX-License-Identifier: Apache-2.0 */
/* What lies in a device's own memory, brought back: for who wants to see it, or its hash. */
#ifndef SGI_LOAD_READ_BACK_H
#define SGI_LOAD_READ_BACK_H

#include "device/device.h"

/* Both are of what is there now [inside], and wait for nothing that others have queued. */
sgi_status sgi__read_back(struct sgi__device *device, uint64_t at, void *dst, uint64_t bytes, sgi_error *err);
/* XXH3-64, block by block. */
sgi_status sgi__read_back_hash(struct sgi__device *device, uint64_t at, uint64_t bytes, uint64_t *xxh3_out,
                               sgi_error *err);

#endif
