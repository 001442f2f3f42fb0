/* SPDX-License-Identifier: Apache-2.0 */
/* How headers are read: a table, so that parsers run the same over real files (io/fs_posix), over memory (fuzzers)
 * and over files that fail. Weights do not go this way; see io/io.h. */
#ifndef SGI_BASE_FS_H
#define SGI_BASE_FS_H

#include <stddef.h>
#include <stdint.h>

#include <sgi/sgi.h>

/* What makes a file the same file: compared before and after every load. */
struct sgi__file_id {
    uint64_t device;
    uint64_t inode;
    uint64_t bytes;
    int64_t  mtime_sec;
    int64_t  mtime_nsec;
};

enum sgi__fs_kind { SGI__FS_FILE, SGI__FS_FOLDER };

/* All return a status and fill `err` with the path and the cause. */
struct sgi__fs {
    void *user;
    /* What stands at `path`, symbolic links followed. SGI_E_IO naming a FIFO, a device, a dangling link... for what
     * is neither a regular file nor a folder. Never blocks on a FIFO. */
    sgi_status (*kind)(void *user, const char *path, enum sgi__fs_kind *kind_out, sgi_error *err);
    /* Calls `each` for the names in a folder, in no order; stops with SGI_E_FORMAT past `names_max`. */
    sgi_status (*list)(void *user, const char *path, uint32_t names_max,
                       sgi_status (*each)(void *each_user, const char *name, sgi_error *err), void *each_user,
                       sgi_error *err);
    /* Opens a regular file for reading; SGI_E_DENIED when its resolved path is outside the allowed roots, SGI_E_IO with
     * ENOENT in `os_errno` when there is none.
     * `resolved_out` is allocated with sgi__alloc and the caller's. */
    sgi_status (*open)(void *user, const char *path, void **file_out, struct sgi__file_id *id_out, char **resolved_out,
                       sgi_error *err);
    /* Reads exactly `bytes` at `offset`; fewer is an error. */
    sgi_status (*read)(void *user, void *file, uint64_t offset, void *dst, size_t bytes, sgi_error *err);
    void (*close)(void *user, void *file);
};

#endif
