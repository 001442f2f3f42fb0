/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file that is there whole or not at all: written without a name where the file system can do that, synced, and then
 * linked or renamed to its place at once. A process that is killed on the way leaves what was there before, and nothing
 * else as long as its file had no name. It has one for the time of a rename that replaces something, or all the time
 * where it cannot be without: a hidden one that no other writer has, under a lock. What has such a name and no lock was
 * left behind, and goes with the next write to anything in that folder; where there are no locks (NFS without them) it
 * stays.
 *
 * Any number may write to one path: all are good, and who ends last stays.
 */
#ifndef SGI_IO_OUTPUT_H
#define SGI_IO_OUTPUT_H

#include <stdbool.h>

#include "base/fs.h"

/* What may be replaced, told by how it begins; an empty file may, too. */
struct sgi__io_kind {
    const char *what; /* "a packed file" */
    bool (*begins)(const void *bytes, size_t count);
};

struct sgi__io_output {
    int   fd, folder_fd;
    char *path;       /* as it was asked for, for messages */
    char *name;       /* in the folder */
    char  hidden[40]; /* the name on the way */
    bool  is_hidden;  /* it has that now */
    /* What may be in the way; NULL: any file. */
    const struct sgi__io_kind *kind;
};

/* `kind` NULL: any file is replaced. SGI_E_INVALID where something else is there; SGI_E_DENIED, SGI_E_IO,
 * SGI_E_NO_MEMORY. */
sgi_status sgi__io_output_open(const char *path, const struct sgi__io_kind *kind, struct sgi__io_output *o,
                               sgi_error *err);
/* Whether that would be refused, before anything is done for it. */
sgi_status sgi__io_output_check(const char *path, const struct sgi__io_kind *kind, sgi_error *err);
/* Any thread. All of it, or SGI_E_IO. */
sgi_status sgi__io_output_write(const struct sgi__io_output *o, const void *from, size_t bytes, uint64_t offset,
                                sgi_error *err);
/* What has been written, again. */
sgi_status sgi__io_output_read(const struct sgi__io_output *o, void *to, size_t bytes, uint64_t offset, sgi_error *err);
/* On the disk and in its place; closed, whatever comes of it. */
sgi_status sgi__io_output_commit(struct sgi__io_output *o, sgi_error *err);
void       sgi__io_output_discard(struct sgi__io_output *o); /* nothing is left of it. Also after a failed open */

#endif
