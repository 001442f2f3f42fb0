/* SPDX-License-Identifier: Apache-2.0 */
/* Any thread; nothing here keeps state. */
#include "io/regular.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fault.h"

/* Of the 256 bytes of a message; the rest is for the cause. */
enum { PATH_SHOWN_MAX = 120 };

const char *sgi__io_path_shown(const char *path)
{
    size_t bytes = strlen(path);
    if (bytes <= PATH_SHOWN_MAX)
        return path;
    path += bytes - PATH_SHOWN_MAX;
    while (((unsigned char)*path & 0xc0) == 0x80) /* not into the middle of a UTF-8 character */
        path++;
    return path;
}

const char *sgi__io_kind_text(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
        return "a regular file";
    case S_IFDIR:
        return "a folder";
    case S_IFIFO:
        return "a FIFO";
    case S_IFSOCK:
        return "a socket";
    case S_IFCHR:
        return "a character device";
    case S_IFBLK:
        return "a block device";
    case S_IFLNK:
        return "a symbolic link";
    default:
        return "of an unknown kind";
    }
}

sgi_status sgi__io_path_error(const char *path, int os_errno, const char *doing, sgi_error *err)
{
    struct stat st;
    sgi_status  status = os_errno == EACCES || os_errno == EPERM ? SGI_E_DENIED : SGI_E_IO;
    if ((os_errno == ENOENT || os_errno == ELOOP) && lstat(path, &st) == 0 && S_ISLNK(st.st_mode))
        return sgi__error_sys(err, SGI_E_IO, os_errno, "%s is a symbolic link that leads nowhere",
                              sgi__io_path_shown(path));
    if (!doing)
        return sgi__error_sys(err, status, os_errno, "%s", sgi__io_path_shown(path));
    return sgi__error_sys(err, status, os_errno, "%s %s", doing, sgi__io_path_shown(path));
}

sgi_status sgi__io_regular_stat(const char *path, struct stat *st_out, sgi_error *err)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return sgi__io_path_error(path, errno, "open", err);
    if (!S_ISREG(st.st_mode))
        return sgi__error(err, SGI_E_IO, "%s is %s, not a regular file", sgi__io_path_shown(path),
                          sgi__io_kind_text(st.st_mode));
    *st_out = st;
    return SGI_OK;
}

sgi_status sgi__io_regular_open(const char *path, int *fd_out, struct stat *st_out, sgi_error *err)
{
    struct stat st;
    sgi_status  status = sgi__io_regular_stat(path, &st, err);
    if (status != SGI_OK)
        return status; /* before open: opening a device can have effects */

    int fault = sgi__fault(SGI__FAULT_OPEN);
    if (fault)
        return sgi__io_path_error(path, fault, "open", err);

    /* O_NONBLOCK and fstat: between stat and open the path may have become a FIFO. */
    int fd;
    do
        fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    while (fd < 0 && errno == EINTR);
    if (fd < 0)
        return sgi__io_path_error(path, errno, "open", err);
    if (fstat(fd, &st) != 0) {
        status = sgi__io_path_error(path, errno, "fstat", err);
        goto undo_open;
    }
    if (!S_ISREG(st.st_mode)) {
        status = sgi__error(err, SGI_E_IO, "%s is %s, not a regular file", sgi__io_path_shown(path),
                            sgi__io_kind_text(st.st_mode));
        goto undo_open;
    }
    /* It has done its work: left on, io_uring answers EAGAIN without end where a file system has no non-blocking
     * reads. Nobody shares this description yet, so changing its flags races with nobody. */
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) != 0) {
        status = sgi__io_path_error(path, errno, "fcntl", err);
        goto undo_open;
    }
    *fd_out = fd;
    *st_out = st;
    return SGI_OK;

undo_open:
    close(fd);
    return status;
}

struct sgi__file_id sgi__io_id(const struct stat *st)
{
    return (struct sgi__file_id){
        .device = (uint64_t)st->st_dev,
        .inode = (uint64_t)st->st_ino,
        .bytes = (uint64_t)st->st_size,
        .mtime_sec = st->st_mtim.tv_sec,
        .mtime_nsec = st->st_mtim.tv_nsec,
    };
}

sgi_status sgi__io_id_compare(const char *path, const struct sgi__file_id *expected, const struct sgi__file_id *found,
                              sgi_error *err)
{
    bool other = expected->device != found->device || expected->inode != found->inode;
    bool resized = expected->bytes != found->bytes;
    bool modified = expected->mtime_sec != found->mtime_sec || expected->mtime_nsec != found->mtime_nsec;
    if (!other && !resized && !modified)
        return SGI_OK;

    char inode[48] = "", size[64] = "";
    if (other)
        snprintf(inode, sizeof inode, ", another file (inode)");
    if (resized)
        snprintf(size, sizeof size, ", size %" PRIu64 " -> %" PRIu64, expected->bytes, found->bytes);
    return sgi__error(err, SGI_E_CHANGED, "%s has changed%s%s%s", sgi__io_path_shown(path), inode, size,
                      modified ? ", mtime" : "");
}

sgi_status sgi__io_regular_open_same(const char *path, const struct sgi__file_id *expected, int *fd_out, sgi_error *err)
{
    struct stat st = { .st_size = 0 };
    int         fd = -1;

    sgi_status status = sgi__io_regular_open(path, &fd, &st, err);
    if (status != SGI_OK)
        return status;
    struct sgi__file_id id = sgi__io_id(&st);
    status = sgi__io_id_compare(path, expected, &id, err);
    if (status == SGI_OK)
        *fd_out = fd;
    else
        close(fd);
    return status;
}
