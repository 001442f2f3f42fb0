/* SPDX-License-Identifier: Apache-2.0 */
/* What the fuzz targets of lib/format share. */
#ifndef TESTS_FUZZ_FUZZ_FORMATS_H
#define TESTS_FUZZ_FUZZ_FORMATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs_memory.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Opens `path` with and without SGI__FORMAT_METADATA. Both have to agree; what is accepted has to keep every promise
 * of a manifest and make valid JSON; what is refused has to say why in one line that begins with a path. Anything
 * else aborts. */
void fuzz_open(struct fs_memory *fs, const char *path);

/* The same for a file with its checks beside it, which are those at `checks_path` too, if there are any: it has to make
 * no difference which of the two is looked at. */
void fuzz_open_checked(struct fs_memory *fs, const char *path, const char *checks_path, bool there);

/* The same with one folder to look for shards in. */
void fuzz_open_with(struct fs_memory *fs, const char *path, const char *folder);

#endif
