/* SPDX-License-Identifier: Apache-2.0 */
#include "model_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command.h"

/* A million names of a kilobyte would be more, but nobody orders those by hand. */
enum { ORDER_BYTES_MAX = 64 << 20, NAMES_MAX = 1 << 20 };

/* ----------------------------------------------------------------- growing */

struct text {
    char  *bytes;
    size_t used, room;
};

static int text_add(void *user, const char *bytes, size_t count)
{
    struct text *t = user;
    if (count > t->room - t->used) {
        size_t room = t->room ? t->room : 4096;
        while (count > room - t->used && room <= SIZE_MAX / 2)
            room *= 2;
        char *grown = count <= room - t->used ? realloc(t->bytes, room) : NULL;
        if (!grown)
            return -1;
        t->bytes = grown;
        t->room = room;
    }
    memcpy(t->bytes + t->used, bytes, count);
    t->used += count;
    return 0;
}

/* ------------------------------------------------------------------- files */

size_t folder_of(const char *path)
{
    struct stat st;
    const char *slash = strrchr(path, '/');
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return strlen(path);
    return slash ? (size_t)(slash + 1 - path) : 0;
}

static bool add_once(struct names *files, const char *path)
{
    for (uint32_t n = 0; n < files->count; n++)
        if (strcmp(files->list[n], path) == 0)
            return true;
    return names_add(files, path, strlen(path), 0);
}

int model_files(const char *path, sgi_runtime *rt, sgi_model model, const sgi_model_info *info, struct names *files_out)
{
    struct stat st;
    bool        itself = info->parts_count == 1 && stat(path, &st) == 0 && S_ISREG(st.st_mode) &&
                  (uint64_t)st.st_size == info->file_bytes; /* messages name what was asked for */

    for (uint32_t i = 0; i < info->parts_count; i++) {
        sgi_model_part part = { .struct_size = sizeof part };
        sgi_status     status = sgi_model_part_at(rt, model, i, &part);
        if (status != SGI_OK)
            return failure_status(path, status, NULL);
        if (!add_once(files_out, itself ? path : part.path) || (part.base && !add_once(files_out, part.base)))
            return failure(path, "out of memory");
    }
    return EXIT_GOOD;
}

/* ------------------------------------------------------------------- order */

static int read_all(const char *path, struct text *text)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return failure_sys(path, errno, "open");
    char    block[4096];
    ssize_t n;
    int     code = EXIT_GOOD;
    while (code == EXIT_GOOD && (n = read(fd, block, sizeof block)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            code = failure_sys(path, errno, "read");
        else if (memchr(block, 0, (size_t)n))
            code = failure(path, "is not a text file: it has zero bytes");
        else if ((size_t)n > ORDER_BYTES_MAX - text->used)
            code = failure(path, "is longer than 64 MiB; an order is one tensor name on each line");
        else if (text_add(text, block, (size_t)n) != 0)
            code = failure(path, "out of memory");
    }
    close(fd);
    return code;
}

int order_read(const char *path, struct names *order_out)
{
    struct text text = { 0 };
    uint32_t    number = 0;
    int         code = read_all(path, &text);
    for (size_t at = 0; code == EXIT_GOOD && at < text.used;) {
        const char *line = text.bytes + at;
        const char *end = memchr(line, '\n', text.used - at);
        size_t      bytes = end ? (size_t)(end - line) : text.used - at;
        at += bytes + 1;
        number++;
        if (bytes > 0 && line[bytes - 1] == '\r')
            bytes--;
        if (bytes > 0 && order_out->count == NAMES_MAX)
            code = failure(path, "has more than 1048576 names");
        else if (bytes > 0 && !names_add(order_out, line, bytes, number))
            code = failure(path, "out of memory");
    }
    free(text.bytes);
    return code;
}
