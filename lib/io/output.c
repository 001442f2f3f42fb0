/* SPDX-License-Identifier: Apache-2.0 */
#include "io/output.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"
#include "io/regular.h"

enum {
    TRIES_MAX = 16, /* of a name that somebody else has, or takes away */
    KIND_BYTES = 8
};

static sgi_status failed(const struct sgi__io_output *o, const char *doing, sgi_error *err)
{
    return sgi__io_path_error(o->path, errno, doing, err);
}

/* ---- open ---- */

static sgi_status open_folder(struct sgi__io_output *o, sgi_error *err)
{
    char       *slash = strrchr(o->path, '/');
    const char *folder = slash == o->path ? "/" : slash ? o->path : ".";

    o->name = sgi__strdup(slash ? slash + 1 : o->path);
    if (!o->name)
        return sgi__error(err, SGI_E_NO_MEMORY, "out of memory");
    if (!*o->name || strcmp(o->name, ".") == 0 || strcmp(o->name, "..") == 0)
        return sgi__error(err, SGI_E_INVALID, "'%s' is no name for a file", sgi__io_path_shown(o->path));
    if (slash && slash != o->path)
        *slash = '\0';
    o->folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    sgi_status st = o->folder_fd >= 0 ? SGI_OK : sgi__io_path_error(folder, errno, "open the folder", err);
    if (slash && slash != o->path)
        *slash = '/';
    return st;
}

static sgi_status check_kind(const struct sgi__io_output *o, const struct sgi__io_kind *kind, sgi_error *err)
{
    uint8_t begin[KIND_BYTES];
    int     fd = openat(o->folder_fd, o->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

    if (fd < 0)
        return failed(o, "look into", err);
    ssize_t    count = pread(fd, begin, sizeof begin, 0);
    sgi_status st = count < 0 ? failed(o, "look into", err) : SGI_OK;
    if (st == SGI_OK && !kind->begins(begin, (size_t)count))
        st = sgi__error(err, SGI_E_INVALID, "%s is there already and is not %s, so it is not replaced",
                        sgi__io_path_shown(o->path), kind->what);
    close(fd);
    return st;
}

static sgi_status check_target(const struct sgi__io_output *o, const struct sgi__io_kind *kind, sgi_error *err)
{
    struct stat st;

    if (fstatat(o->folder_fd, o->name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? SGI_OK : failed(o, "look at", err);
    if (!S_ISREG(st.st_mode))
        return sgi__error(err, SGI_E_INVALID, "%s is %s, not a file that could be replaced",
                          sgi__io_path_shown(o->path), sgi__io_kind_text(st.st_mode));
    return kind && st.st_size > 0 ? check_kind(o, kind, err) : SGI_OK;
}

/* Where files cannot be without a name: it has one that is held by a lock, which a process that ends gives up. */
static sgi_status open_hidden(struct sgi__io_output *o, sgi_error *err)
{
    for (int tries = 0; tries < TRIES_MAX; tries++) {
        o->fd = openat(o->folder_fd, o->hidden, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
        if (o->fd >= 0) {
            o->is_hidden = true;
            return flock(o->fd, LOCK_EX | LOCK_NB) == 0 ? SGI_OK : failed(o, "lock", err);
        }
        if (errno != EEXIST)
            return failed(o, "create", err);
        int other = openat(o->folder_fd, o->hidden, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (other < 0)
            continue;
        bool left = flock(other, LOCK_EX | LOCK_NB) == 0;
        if (left)
            unlinkat(o->folder_fd, o->hidden, 0);
        close(other);
        if (!left)
            break;
    }
    return sgi__error(err, SGI_E_BUSY, "%s is being written by another process", sgi__io_path_shown(o->path));
}

static sgi_status begin(const char *path, const struct sgi__io_kind *kind, struct sgi__io_output *o, sgi_error *err)
{
    *o = (struct sgi__io_output){ .fd = -1, .folder_fd = -1, .path = sgi__strdup(path) };
    if (!o->path)
        return sgi__error(err, SGI_E_NO_MEMORY, "out of memory");
    sgi_status st = open_folder(o, err);
    return st == SGI_OK ? check_target(o, kind, err) : st;
}

sgi_status sgi__io_output_check(const char *path, const struct sgi__io_kind *kind, sgi_error *err)
{
    struct sgi__io_output o;
    sgi_status            st = begin(path, kind, &o, err);

    sgi__io_output_discard(&o);
    return st;
}

sgi_status sgi__io_output_open(const char *path, const struct sgi__io_kind *kind, struct sgi__io_output *o,
                               sgi_error *err)
{
    sgi_status st = begin(path, kind, o, err);

    if (st != SGI_OK)
        return st;
    snprintf(o->hidden, sizeof o->hidden, ".sgi-%016" PRIx64, sgi__hash(o->name, strlen(o->name)));
    o->fd = openat(o->folder_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);
    if (o->fd >= 0)
        return SGI_OK;
    return errno == EOPNOTSUPP || errno == EISDIR || errno == ENOENT ? open_hidden(o, err) : failed(o, "create", err);
}

/* ---- bytes ---- */

sgi_status sgi__io_output_write(const struct sgi__io_output *o, const void *from, size_t bytes, uint64_t offset,
                                sgi_error *err)
{
    const uint8_t *at = from;

    while (bytes > 0) {
        ssize_t n = pwrite(o->fd, at, bytes, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return sgi__error_sys(err, SGI_E_IO, n < 0 ? errno : ENOSPC, "write %s at offset %" PRIu64,
                                  sgi__io_path_shown(o->path), offset);
        at += n;
        offset += (uint64_t)n;
        bytes -= (size_t)n;
    }
    return SGI_OK;
}

sgi_status sgi__io_output_read(const struct sgi__io_output *o, void *to, size_t bytes, uint64_t offset, sgi_error *err)
{
    uint8_t *at = to;

    while (bytes > 0) {
        ssize_t n = pread(o->fd, at, bytes, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return sgi__error_sys(err, SGI_E_IO, n < 0 ? errno : EIO, "read %s at offset %" PRIu64,
                                  sgi__io_path_shown(o->path), offset);
        at += n;
        offset += (uint64_t)n;
        bytes -= (size_t)n;
    }
    return SGI_OK;
}

/* ---- end ---- */

/* A name for what has none, for as long as it takes to rename it. One that is there already was left behind. */
static sgi_status give_name(struct sgi__io_output *o, sgi_error *err)
{
    char self[32];

    snprintf(self, sizeof self, "/proc/self/fd/%d", o->fd);
    for (int tries = 0; tries < TRIES_MAX; tries++) {
        if (linkat(AT_FDCWD, self, o->folder_fd, o->hidden, AT_SYMLINK_FOLLOW) == 0) {
            o->is_hidden = true;
            return SGI_OK;
        }
        if (errno != EEXIST)
            return failed(o, "name", err);
        unlinkat(o->folder_fd, o->hidden, 0);
    }
    return sgi__error(err, SGI_E_BUSY, "%s is being written by another process", sgi__io_path_shown(o->path));
}

sgi_status sgi__io_output_commit(struct sgi__io_output *o, sgi_error *err)
{
    sgi_status st = fsync(o->fd) == 0 ? SGI_OK : failed(o, "sync", err);

    if (st == SGI_OK && !o->is_hidden)
        st = give_name(o, err);
    if (st == SGI_OK && renameat(o->folder_fd, o->hidden, o->folder_fd, o->name) != 0)
        st = failed(o, "put in its place", err);
    if (st == SGI_OK) {
        o->is_hidden = false;
        if (fsync(o->folder_fd) != 0)
            st = failed(o, "sync the folder of", err);
    }
    sgi__io_output_discard(o);
    return st;
}

void sgi__io_output_discard(struct sgi__io_output *o)
{
    if (o->is_hidden)
        unlinkat(o->folder_fd, o->hidden, 0);
    if (o->fd >= 0)
        close(o->fd);
    if (o->folder_fd >= 0)
        close(o->folder_fd);
    sgi__free(o->path);
    sgi__free(o->name);
    *o = (struct sgi__io_output){ .fd = -1, .folder_fd = -1 };
}
