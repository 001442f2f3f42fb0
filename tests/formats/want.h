/* SPDX-License-Identifier: Apache-2.0 */
/* Opening files made in a test, and what every refusal owes its reader. Included by test programs: cmocka needs its
 * headers first. */
#ifndef TESTS_FORMATS_WANT_H
#define TESTS_FORMATS_WANT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "format/format.h"
#include "fs_memory.h"
#include "make_files.h"

/* Opens `path`; fails the test with the message if that is refused. */
struct sgi__manifest *want_open(struct fs_memory *fs, const char *path, uint32_t flags);

/* The same for one file, whose bytes are freed. */
struct sgi__manifest *want_file(struct bytes *b, uint32_t flags);

/* Refused with SGI_E_FORMAT in one line that begins with the path and contains `what` (and `also`, unless NULL). */
void want_refused(struct fs_memory *fs, const char *path, const char *what, const char *also);

/* The same for one file, with and without SGI__FORMAT_METADATA; its bytes are freed. `max` is header_bytes_max. */
void want_file_refused(struct bytes *b, uint64_t max, const char *what, const char *also);

/* Compares everything there is to know about a tensor, found by name. `shape` ends with 0 dimensions past `rank`. */
void want_tensor(const struct sgi__manifest *m, const char *name, const char *dtype, uint32_t file, uint64_t offset,
                 uint64_t bytes, uint32_t rank, const uint64_t *shape);

const struct sgi__value *want_value(const struct sgi__manifest *m, const char *key, enum sgi__value_kind kind);
void                     want_no_value(const struct sgi__manifest *m, const char *key);

#endif
