/* SPDX-License-Identifier: Apache-2.0 */
/* Checks beside files that are stored as they are: SUMS.md. */
#ifndef SGI_FORMAT_SUMS_H
#define SGI_FORMAT_SUMS_H

#include <stdbool.h>

#include "format/source.h"

#define SGI__SUMS_SUFFIX ".sgisum"

enum { SGI__SUMS_HEAD_BYTES = 64, SGI__SUMS_CHUNK_BYTES = 2 << 20 };

struct sgi__sums {
    uint32_t chunk_bytes;
    uint64_t file_bytes, header_bytes, header_check;
};

/* Whether a file that begins so is one of checks. */
bool sgi__sums_begins(const void *bytes, size_t count);
/* All of a file of checks from its table, `count` checks in little-endian; `bytes` has room for both. */
void     sgi__sums_put(const struct sgi__sums *sums, const uint8_t *table, uint64_t count, uint8_t *bytes);
uint64_t sgi__sums_count(uint64_t file_bytes, uint32_t chunk_bytes);

/* Whether `checks_path`, of a model in so many files, is a folder; else it is that of the checks of its one file. With
 * `new_too` that need not be there yet. SGI_E_INVALID where it is one file for several; the fs's own. */
sgi_status sgi__sums_where(const struct sgi__fs *fs, const char *checks_path, uint32_t files_count, bool new_too,
                           bool *folder_out, sgi_error *err);

/* The path of a file's checks; the caller's. `checks_path` NULL: beside it. NULL: out of memory. */
char *sgi__sums_path(const struct sgi__file *f, const char *checks_path, bool folder);

/* Looks for the checks of each file of a finished manifest: where p->checks_path says, and then each has to have some;
 * or beside it. Where there are any, or with SGI__FORMAT_CHUNKS, m->packed is set: raw chunks of the files as they are.
 * SGI_E_CHECK where the checks themselves are damaged; SGI_E_CHANGED where they are of another file; SGI_E_UNSUPPORTED,
 * SGI_E_FORMAT, SGI_E_NO_MEMORY, SGI_E_IO, SGI_E_DENIED; SGI_E_INVALID as above. */
sgi_status sgi__sums_read(struct sgi__parse *p, sgi_error *err);

#endif
