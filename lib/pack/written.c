/* SPDX-License-Identifier: Apache-2.0 */
#include "pack/written.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/error.h"
#include "format/format.h"
#include "io/io.h"
#include "io/regular.h"

/* A table of files with two in it: the output, and its base. No folder is ever looked into. */
struct written {
    const struct sgi__io_output *output;
    const char                  *path, *base;
    struct sgi__fs               posix; /* that of the base */
};

static sgi_status written_kind(void *user, const char *path, enum sgi__fs_kind *kind_out, sgi_error *err)
{
    (void)user, (void)path, (void)err;
    *kind_out = SGI__FS_FILE;
    return SGI_OK;
}

static sgi_status open_output(struct written *w, void **file_out, struct sgi__file_id *id_out, char **resolved_out,
                              sgi_error *err)
{
    struct stat st;

    if (fstat(w->output->fd, &st) != 0)
        return sgi__error_sys(err, SGI_E_IO, errno, "look at %s", sgi__io_path_shown(w->path));
    *resolved_out = sgi__strdup(w->path);
    if (!*resolved_out)
        return sgi__error(err, SGI_E_NO_MEMORY, "no memory to open %s", sgi__io_path_shown(w->path));
    *id_out = sgi__io_id(&st);
    *file_out = w;
    return SGI_OK;
}

static sgi_status written_open(void *user, const char *path, void **file_out, struct sgi__file_id *id_out,
                               char **resolved_out, sgi_error *err)
{
    struct written *w = user;

    if (strcmp(path, w->path) == 0)
        return open_output(w, file_out, id_out, resolved_out, err);
    return w->posix.open(w->posix.user, w->base ? w->base : path, file_out, id_out, resolved_out, err);
}

static sgi_status written_read(void *user, void *file, uint64_t offset, void *dst, size_t bytes, sgi_error *err)
{
    struct written *w = user;

    return file == w ? sgi__io_output_read(w->output, dst, bytes, offset, err)
                     : w->posix.read(w->posix.user, file, offset, dst, bytes, err);
}

static void written_close(void *user, void *file)
{
    struct written *w = user;

    if (file != w)
        w->posix.close(w->posix.user, file);
}

sgi_status sgi__pack_written(const struct sgi__io_output *output, const char *path, const char *base, sgi_error *err)
{
    static const struct sgi__fs_posix everywhere;
    struct written w = { .output = output, .path = path, .base = base, .posix = sgi__fs_posix_table(&everywhere) };
    struct sgi__fs fs = {
        .user = &w, .kind = written_kind, .open = written_open, .read = written_read, .close = written_close
    };
    struct sgi__format_options options = { .flags = SGI__FORMAT_METADATA };
    struct sgi__manifest      *m = NULL;

    sgi_status st = sgi__format_open(&fs, path, &options, &m, err);
    sgi__manifest_free(m);
    return st;
}
