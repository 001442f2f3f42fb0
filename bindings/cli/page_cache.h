/* SPDX-License-Identifier: Apache-2.0 */
/* Taking a file out of the page cache, and seeing whether it went. */
#ifndef SGI_CLI_PAGE_CACHE_H
#define SGI_CLI_PAGE_CACHE_H

#include <stdbool.h>
#include <stdint.h>

/* What the page cache holds of some files. */
struct cached {
    bool     known; /* false: the kernel does not say (cachestat is newer than it, or refused) */
    uint64_t bytes;
    uint64_t file_bytes; /* of all of them */
};

/* Writes a file's dirty pages out, drops its pages, and adds what stayed, and its size, to *cached. Returns EXIT_GOOD,
 * or EXIT_FAILED after the line that says why. */
int page_cache_drop(const char *path, struct cached *cached);

#endif
