/* SPDX-License-Identifier: Apache-2.0 */
#include "io/output.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "io/regular.h"

enum {
    TRIES_MAX = 16, /* of a name that somebody else has, or takes away */
    KIND_BYTES = 8,
    SELF_BYTES = 32
};

static sgi_status failed(const struct sgi__io_output *o, const char *doing, sgi_error *err)
{
    return sgi__io_path_error(o->path, errno, doing, err);
}

/* ---- names on the way ---- */

static void choose_hidden(struct sgi__io_output *o)
{
    uint64_t random;

    if (getrandom(&random, sizeof random, GRND_NONBLOCK) != (ssize_t)sizeof random)
        random = sgi__clock_now_ns(); /* who has the same number sees it, and takes another: EEXIST */
    snprintf(o->hidden, sizeof o->hidden, ".sgi-%08" PRIx32 "-%016" PRIx64 ".tmp", (uint32_t)getpid(), random);
}

/* What that chooses, and nothing else: what has such a name may be taken away. */
static bool is_hidden_name(const char *name)
{
    static const char shape[] = ".sgi-########-################.tmp";

    if (strlen(name) != sizeof shape - 1)
        return false;
    for (const char *want = shape; *want; want++, name++)
        if (*want == '#' ? !strchr("0123456789abcdef", *name) : *name != *want)
            return false;
    return true;
}

static bool is_same(int folder_fd, const char *name, int flags, int fd)
{
    struct stat named, held;

    if (fstatat(folder_fd, name, &named, flags) != 0 || fstat(fd, &held) != 0)
        return false;
    if (named.st_dev == held.st_dev && named.st_ino == held.st_ino)
        return true;
    errno = ESTALE;
    return false;
}

/* Whether the name on the way still is that of the file: nobody else should touch it, but anybody could. */
static bool is_hidden_ours(const struct sgi__io_output *o)
{
    return is_same(o->folder_fd, o->hidden, AT_SYMLINK_NOFOLLOW, o->fd);
}

/* False: somebody else has it, who looks for what was left behind. Where there are no locks it goes on without: nobody
 * gets one there, so nobody takes anything away. */
static bool lock(int fd)
{
    return flock(fd, LOCK_EX | LOCK_NB) == 0 || (errno != EWOULDBLOCK && errno != EINTR);
}

/* The file, and the name on the way if it has one. */
static void drop_file(struct sgi__io_output *o)
{
    if (o->is_hidden && is_hidden_ours(o))
        unlinkat(o->folder_fd, o->hidden, 0);
    if (o->fd >= 0)
        close(o->fd);
    o->is_hidden = false;
    o->fd = -1;
}

/* ---- what others left ---- */

static void sweep_one(int folder_fd, const char *name)
{
    struct stat st;

    if (fstatat(folder_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode))
        return; /* before open: opening a device can have effects */
    /* For writing, if nothing is written: NFS locks a range of bytes instead, which takes that. */
    int fd = openat(folder_fd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return;
    /* Its writer may have put it in its place before the lock: then that is where it is to stay. */
    if (flock(fd, LOCK_EX | LOCK_NB) == 0 && is_same(folder_fd, name, AT_SYMLINK_NOFOLLOW, fd))
        unlinkat(folder_fd, name, 0);
    close(fd);
}

/* Takes away what writers left that were killed. What cannot be taken away is there for the next: nothing of this is an
 * error of who writes now. */
static void sweep(int folder_fd)
{
    const struct dirent *entry;
    int                  fd = openat(folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return;
    DIR *names = fdopendir(fd);
    if (!names) {
        close(fd);
        return;
    }
    while ((entry = readdir(names)) != NULL)
        if (is_hidden_name(entry->d_name))
            sweep_one(folder_fd, entry->d_name);
    closedir(names);
}

/* ---- open ---- */

static sgi_status open_folder(struct sgi__io_output *o, sgi_error *err)
{
    char       *slash = strrchr(o->path, '/');
    const char *folder = slash == o->path ? "/" : slash ? o->path : ".";

    o->name = sgi__strdup(slash ? slash + 1 : o->path);
    if (!o->name)
        return sgi__error(err, SGI_E_NO_MEMORY, "out of memory");
    if (!*o->name || strcmp(o->name, ".") == 0 || strcmp(o->name, "..") == 0 || is_hidden_name(o->name))
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

static sgi_status begin(const char *path, const struct sgi__io_kind *kind, struct sgi__io_output *o, sgi_error *err)
{
    *o = (struct sgi__io_output){ .fd = -1, .folder_fd = -1, .path = sgi__strdup(path), .kind = kind };
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

/* Where files cannot be without a name. */
static sgi_status open_hidden(struct sgi__io_output *o, sgi_error *err)
{
    for (int tries = 0; tries < TRIES_MAX; tries++) {
        choose_hidden(o);
        o->fd = openat(o->folder_fd, o->hidden, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
        if (o->fd < 0 && errno == EEXIST)
            continue;
        if (o->fd < 0)
            return failed(o, "create", err);
        o->is_hidden = true;
        /* Until it was locked it looked like one left behind, and may have been taken away. */
        if (lock(o->fd) && is_hidden_ours(o))
            return SGI_OK;
        drop_file(o);
    }
    return sgi__error(err, SGI_E_IO, "create %s: each name beside it is somebody else's, or taken away",
                      sgi__io_path_shown(o->path));
}

static const char *name_in_proc(const struct sgi__io_output *o, char self[SELF_BYTES])
{
    snprintf(self, SELF_BYTES, "/proc/self/fd/%d", o->fd);
    return self;
}

sgi_status sgi__io_output_open(const char *path, const struct sgi__io_kind *kind, struct sgi__io_output *o,
                               sgi_error *err)
{
    char       self[SELF_BYTES];
    sgi_status st = begin(path, kind, o, err);

    if (st != SGI_OK)
        return st;
    sweep(o->folder_fd);
    o->fd = openat(o->folder_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);
    if (o->fd < 0 && errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT)
        return failed(o, "create", err);
    /* It is by /proc that it gets a name in the end. Where that is not mounted it has one from the beginning: linkat
     * with AT_EMPTY_PATH takes privileges before Linux 6.10, and that they lack would show after all the work. */
    if (o->fd >= 0 && is_same(AT_FDCWD, name_in_proc(o, self), 0, o->fd))
        return SGI_OK;
    drop_file(o);
    return open_hidden(o, err);
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

static bool give_name(struct sgi__io_output *o, const char *name)
{
    char self[SELF_BYTES];

    return linkat(AT_FDCWD, name_in_proc(o, self), o->folder_fd, name, AT_SYMLINK_FOLLOW) == 0;
}

static sgi_status give_hidden_name(struct sgi__io_output *o, sgi_error *err)
{
    lock(o->fd); /* nobody else has seen it; from now on they may */
    for (int tries = 0; tries < TRIES_MAX && !o->is_hidden; tries++) {
        choose_hidden(o);
        o->is_hidden = give_name(o, o->hidden);
        if (!o->is_hidden && errno != EEXIST)
            break;
    }
    return o->is_hidden ? SGI_OK : failed(o, "name", err);
}

static sgi_status put_in_place(struct sgi__io_output *o, sgi_error *err)
{
    sgi_status st = SGI_OK;

    if (!o->is_hidden && give_name(o, o->name))
        return SGI_OK;                  /* nothing is there: it never had another name that a kill could leave */
    st = check_target(o, o->kind, err); /* it may be another by now */
    if (st == SGI_OK && !o->is_hidden)
        st = give_hidden_name(o, err);
    if (st == SGI_OK && !is_hidden_ours(o))
        st = failed(o, "find again what was written for", err);
    if (st == SGI_OK && renameat(o->folder_fd, o->hidden, o->folder_fd, o->name) != 0)
        st = failed(o, "put in its place", err);
    if (st == SGI_OK)
        o->is_hidden = false;
    return st;
}

sgi_status sgi__io_output_commit(struct sgi__io_output *o, sgi_error *err)
{
    sgi_status st = fsync(o->fd) == 0 ? SGI_OK : failed(o, "sync", err);

    if (st == SGI_OK)
        st = put_in_place(o, err);
    if (st == SGI_OK && fsync(o->folder_fd) != 0)
        st = failed(o, "sync the folder of", err);
    sgi__io_output_discard(o);
    return st;
}

void sgi__io_output_discard(struct sgi__io_output *o)
{
    drop_file(o);
    if (o->folder_fd >= 0)
        close(o->folder_fd);
    sgi__free(o->path);
    sgi__free(o->name);
    *o = (struct sgi__io_output){ .fd = -1, .folder_fd = -1 };
}
