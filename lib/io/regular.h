/* SPDX-License-Identifier: Apache-2.0 */
/* Opening what must be a regular file, and telling whether it is still the same one. A path may come from anyone: a
 * FIFO, a device or a dangling link there is refused by name, and nothing blocks on it. */
#ifndef SGI_IO_REGULAR_H
#define SGI_IO_REGULAR_H

#include <stdbool.h>
#include <sys/stat.h>

#include "base/fs.h"

/* SGI_E_IO naming what is wrong, SGI_E_DENIED where access is refused. The descriptor is O_CLOEXEC and blocking. */
sgi_status sgi__io_regular_open(const char *path, int *fd_out, struct stat *st_out, sgi_error *err);
/* Likewise, and it is still the one that was seen before: SGI_E_CHANGED. */
sgi_status sgi__io_regular_open_same(const char *path, const struct sgi__file_id *expected, int *fd_out,
                                     sgi_error *err);
/* The same questions without opening: stat, symbolic links followed. */
sgi_status sgi__io_regular_stat(const char *path, struct stat *st_out, sgi_error *err);

/* For a path that could not be reached: says so, and whether a link there leads nowhere. `doing` is what was tried, as
 * in "open"; NULL: nothing but to see what is there. */
sgi_status sgi__io_path_error(const char *path, int os_errno, const char *doing, sgi_error *err);
/* "a FIFO", "a folder", ... Static. */
const char *sgi__io_kind_text(mode_t mode);
/* The end of a path, short enough to leave room for the cause in a message. */
const char *sgi__io_path_shown(const char *path);

struct sgi__file_id sgi__io_id(const struct stat *st);
/* SGI_E_CHANGED naming what differs. */
sgi_status sgi__io_id_compare(const char *path, const struct sgi__file_id *expected, const struct sgi__file_id *found,
                              sgi_error *err);

#endif
