/* SPDX-License-Identifier: Apache-2.0 */
/* A struct sgi__fs over memory: files by path, folders wherever a path has a parent, links, and things that are no
 * files. Counts what is open, and can make any one of its calls fail. Not for several threads. */
#ifndef TESTS_SUPPORT_FS_MEMORY_H
#define TESTS_SUPPORT_FS_MEMORY_H

#include <stdint.h>

#include "base/fs.h"

struct fs_memory {
    struct sgi__fs         table; /* give this to the code under test */
    struct fs_memory_node *nodes;
    uint64_t               calls;     /* to kind, list, open and read */
    uint64_t               fail_call; /* this one gives SGI_E_IO; 0: none */
    uint64_t               bytes_read;
    uint64_t               open_files; /* 0 after a test */
};

struct fs_memory *fs_memory_new(void);
void              fs_memory_free(struct fs_memory *fs); /* aborts if a file is still open */

void fs_memory_add(struct fs_memory *fs, const char *path, const void *data, size_t bytes); /* copied; replaces */
void fs_memory_link(struct fs_memory *fs, const char *path, const char *target); /* a symbolic link to a file */
void fs_memory_special(struct fs_memory *fs, const char *path);                  /* a FIFO, say */

#endif
