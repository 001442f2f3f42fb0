/* SPDX-License-Identifier: Apache-2.0 */
/* The real file system behind base/fs.h. Any thread; a file belongs to whoever opened it. */
#include "io/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/fault.h"
#include "io/regular.h"

struct posix_file {
    int  fd;
    char path[]; /* for errors */
};

/* ------------------------------------------------------------ allowed roots */

/* Whole components: "/models" allows "/models/a" and not "/models2/a". A root may be a single file. */
static bool is_under(const char *path, const char *root)
{
    size_t bytes = strlen(root);
    while (bytes > 0 && root[bytes - 1] == '/')
        bytes--;
    return strncmp(path, root, bytes) == 0 && (path[bytes] == '/' || (bytes > 0 && path[bytes] == '\0'));
}

static sgi_status check_roots(const struct sgi__fs_posix *config, const char *path, const char *resolved,
                              sgi_error *err)
{
    if (!config->roots)
        return SGI_OK;
    for (uint32_t i = 0; i < config->roots_count; i++) {
        if (is_under(resolved, config->roots[i]))
            return SGI_OK;
    }
    return sgi__error(err, SGI_E_DENIED, "%s is outside the allowed roots", sgi__io_path_shown(path));
}

/* What lies outside is not looked at, and not even said to exist: where nothing stands at `path`, what stands above it
 * counts. */
static sgi_status check_reach(const struct sgi__fs_posix *config, const char *path, sgi_error *err)
{
    char above[PATH_MAX], resolved[PATH_MAX];

    if (!config->roots)
        return SGI_OK;
    if (realpath(path, resolved))
        return check_roots(config, path, resolved, err);
    if (snprintf(above, sizeof above, "%s%s", path[0] == '/' ? "" : "./", path) >= (int)sizeof above)
        return sgi__error(err, SGI_E_DENIED, "%s is too long to be under the allowed roots", sgi__io_path_shown(path));
    for (char *slash; (slash = strrchr(above, '/')) != NULL;) {
        slash[slash == above ? 1 : 0] = '\0';
        if (realpath(above, resolved))
            return check_roots(config, path, resolved, err);
        if (slash == above)
            break;
    }
    return sgi__error(err, SGI_E_DENIED, "%s is outside the allowed roots", sgi__io_path_shown(path));
}

/* Where the open file really is. Asked of the descriptor and not of the path, which somebody may be changing
 * meanwhile. */
static sgi_status resolve(const struct sgi__fs_posix *config, const char *path, int fd, const struct stat *st,
                          char **resolved_out, sgi_error *err)
{
    char link[32], text[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t bytes = readlink(link, text, sizeof text - 1);
    if (bytes < 0) {
        if (config->roots)
            return sgi__error_sys(err, SGI_E_DENIED, errno,
                                  "%s cannot be shown to be under the allowed roots without /proc",
                                  sgi__io_path_shown(path));
        if (!realpath(path, text))
            return sgi__io_path_error(path, errno, "resolve", err);
        bytes = (ssize_t)strlen(text);
    }
    text[bytes] = '\0';

    /* A deleted file is shown as "/a/b (deleted)", which may also be somebody else's name. */
    struct stat there;
    bool        found = stat(text, &there) == 0;
    if (!found && errno != ENOENT && errno != ENOTDIR)
        return sgi__io_path_error(path, errno, NULL, err);
    if (!found || there.st_dev != st->st_dev || there.st_ino != st->st_ino)
        return sgi__error(err, SGI_E_CHANGED, "%s was moved or removed while it was being opened",
                          sgi__io_path_shown(path));

    sgi_status status = check_roots(config, path, text, err);
    if (status != SGI_OK)
        return status;
    *resolved_out = sgi__strdup(text);
    return *resolved_out ? SGI_OK
                         : sgi__error(err, SGI_E_NO_MEMORY, "no memory for the path of %s", sgi__io_path_shown(path));
}

/* ------------------------------------------------------- look, list, open */

static sgi_status posix_kind(void *user, const char *path, enum sgi__fs_kind *kind_out, sgi_error *err)
{
    struct stat st;
    sgi_status  status = check_reach(user, path, err);
    if (status != SGI_OK)
        return status;
    if (stat(path, &st) != 0)
        return sgi__io_path_error(path, errno, NULL, err);
    if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
        return sgi__error(err, SGI_E_IO, "%s is %s, neither a regular file nor a folder", sgi__io_path_shown(path),
                          sgi__io_kind_text(st.st_mode));
    *kind_out = S_ISDIR(st.st_mode) ? SGI__FS_FOLDER : SGI__FS_FILE;
    return SGI_OK;
}

static sgi_status posix_list(void *user, const char *path, uint32_t names_max,
                             sgi_status (*each)(void *each_user, const char *name, sgi_error *err), void *each_user,
                             sgi_error *err)
{
    sgi_status status = check_reach(user, path, err);
    if (status != SGI_OK)
        return status;
    DIR *folder = opendir(path); /* O_DIRECTORY: anything else is refused before it is opened */
    if (!folder)
        return sgi__io_path_error(path, errno, "list", err);

    uint32_t names = 0;
    while (status == SGI_OK) {
        errno = 0;
        const struct dirent *entry = readdir(folder);
        if (!entry) {
            if (errno)
                status = sgi__io_path_error(path, errno, "list", err);
            break;
        }
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (names++ == names_max)
            status = sgi__error(err, SGI_E_FORMAT, "%s holds more than %" PRIu32 " names", sgi__io_path_shown(path),
                                names_max);
        else
            status = each(each_user, entry->d_name, err);
    }
    closedir(folder);
    return status;
}

static sgi_status posix_open(void *user, const char *path, void **file_out, struct sgi__file_id *id_out,
                             char **resolved_out, sgi_error *err)
{
    const struct sgi__fs_posix *config = user;
    struct stat                 st;
    char                       *resolved = NULL;
    int                         fd;
    sgi_status                  status = check_reach(config, path, err);
    if (status == SGI_OK)
        status = sgi__io_regular_open(path, &fd, &st, err);
    if (status != SGI_OK)
        return status;
    status = resolve(config, path, fd, &st, &resolved, err);
    if (status != SGI_OK)
        goto undo_open;

    size_t             path_bytes = strlen(path) + 1;
    struct posix_file *file = sgi__alloc(sizeof *file + path_bytes);
    if (!file) {
        status = sgi__error(err, SGI_E_NO_MEMORY, "no memory to open %s", sgi__io_path_shown(path));
        goto undo_resolve;
    }
    file->fd = fd;
    memcpy(file->path, path, path_bytes);

    *file_out = file;
    *id_out = sgi__io_id(&st);
    *resolved_out = resolved;
    return SGI_OK;

undo_resolve:
    sgi__free(resolved);
undo_open:
    close(fd);
    return status;
}

/* ------------------------------------------------------------- read, close */

static sgi_status posix_read(void *user, void *opaque, uint64_t offset, void *dst, size_t bytes, sgi_error *err)
{
    (void)user;
    const struct posix_file *file = opaque;
    int                      fault = sgi__fault(SGI__FAULT_HEADER);
    if (fault)
        return sgi__error_sys(err, SGI_E_IO, fault, "read %s at offset %" PRIu64, sgi__io_path_shown(file->path),
                              offset);
    if (offset > INT64_MAX || bytes > INT64_MAX - offset)
        return sgi__error(err, SGI_E_IO, "read %s at offset %" PRIu64 ": past any file's end",
                          sgi__io_path_shown(file->path), offset);

    for (size_t done = 0; done < bytes;) {
        ssize_t got = pread(file->fd, (char *)dst + done, bytes - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return sgi__error_sys(err, SGI_E_IO, errno, "read %s at offset %" PRIu64, sgi__io_path_shown(file->path),
                                  offset + done);
        if (got == 0)
            return sgi__error(err, SGI_E_IO,
                              "%s ends at %" PRIu64 ", before the %zu bytes at offset %" PRIu64 " it should have",
                              sgi__io_path_shown(file->path), offset + done, bytes, offset);
        done += (size_t)got;
    }
    return SGI_OK;
}

static void posix_close(void *user, void *opaque)
{
    (void)user;
    struct posix_file *file = opaque;
    close(file->fd);
    sgi__free(file);
}

static const struct sgi__fs_posix no_roots;

struct sgi__fs sgi__fs_posix_table(const struct sgi__fs_posix *config)
{
    return (struct sgi__fs){
        .user = (void *)(config ? config : &no_roots), /* only read through it */
        .kind = posix_kind,
        .list = posix_list,
        .open = posix_open,
        .read = posix_read,
        .close = posix_close,
    };
}
