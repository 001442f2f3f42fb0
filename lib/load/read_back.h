/* SPDX-License-Identifier: Apache-2.0 */
/* Hashing what lies in a device's own memory: brought back block by block, and never kept. */
#ifndef SGI_LOAD_READ_BACK_H
#define SGI_LOAD_READ_BACK_H

#include "device/device.h"

/* XXH3-64 of what is there now [inside]. Waits for nothing that others have queued. */
sgi_status sgi__read_back_hash(struct sgi__device *device, uint64_t at, uint64_t bytes, uint64_t *xxh3_out,
                               sgi_error *err);

#endif
