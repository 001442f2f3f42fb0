/* SPDX-License-Identifier: Apache-2.0 */
/* Checks beside files that are stored as they are: SUMS.md. */
#ifndef SGI_FORMAT_SUMS_H
#define SGI_FORMAT_SUMS_H

#include "format/source.h"

#define SGI__SUMS_SUFFIX ".sgisum"

enum { SGI__SUMS_HEAD_BYTES = 64, SGI__SUMS_CHUNK_BYTES = 2 << 20 };

struct sgi__sums {
    uint32_t chunk_bytes;
    uint64_t file_bytes, header_bytes, header_check;
};

/* All of a file of checks from its table, `count` checks in little-endian; `bytes` has room for both. */
void     sgi__sums_put(const struct sgi__sums *sums, const uint8_t *table, uint64_t count, uint8_t *bytes);
uint64_t sgi__sums_count(uint64_t file_bytes, uint32_t chunk_bytes);

/* Looks for checks beside each file of a finished manifest. Where there are any, m->packed is set: raw chunks of the
 * files as they are. SGI_E_CHECK where the checks themselves are damaged; SGI_E_CHANGED where they are of another file;
 * SGI_E_UNSUPPORTED, SGI_E_FORMAT, SGI_E_NO_MEMORY, SGI_E_IO. */
sgi_status sgi__sums_read(struct sgi__parse *p, sgi_error *err);

#endif
