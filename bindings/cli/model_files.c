/* SPDX-License-Identifier: Apache-2.0 */
#include "model_files.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command.h"

/* A million names of a kilobyte would be more, but nobody orders those by hand. */
enum { ORDER_BYTES_MAX = 64 << 20, NAMES_MAX = 1 << 20 };

void names_free(struct names *names)
{
    for (uint32_t i = 0; i < names->count; i++)
        free(names->list[i]);
    free(names->list);
    *names = (struct names){ 0 };
}

static bool names_add(struct names *names, const char *text, size_t bytes)
{
    if ((names->count & (names->count - 1)) == 0) { /* full at every power of two */
        size_t room = names->count ? 2 * (size_t)names->count : 1;
        char **grown = reallocarray(names->list, room, sizeof *grown);
        if (!grown)
            return false;
        names->list = grown;
    }
    char *name = malloc(bytes + 1);
    if (!name)
        return false;
    memcpy(name, text, bytes);
    name[bytes] = '\0';
    names->list[names->count++] = name;
    return true;
}

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

/* The shards of an index or a folder are named nowhere in sgi.h but in what sgi_inspect() writes. */
static int files_from_inspect(const char *path, struct names *files)
{
    struct text text = { 0 };
    sgi_error   err = { .struct_size = sizeof err };
    sgi_status  st = sgi_inspect(path, SGI_INSPECT_JSON, text_add, &text, &err);
    /* Whole numbers of metadata may be larger than jansson's; none of them matters here. */
    json_t *root = st == SGI_OK ? json_loadb(text.bytes, text.used, JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL, NULL)
                                : NULL;
    free(text.bytes);
    if (st != SGI_OK)
        return st == SGI_E_CANCELED ? failure(path, "out of memory") : failure_status(path, st, &err);

    json_t *list = json_object_get(root, "files");
    int     code = json_array_size(list) > 0 ? EXIT_GOOD : failure(path, "its description does not name its files");
    for (size_t i = 0; i < json_array_size(list) && code == EXIT_GOOD; i++) {
        const char *file = json_string_value(json_object_get(json_array_get(list, i), "path"));
        if (!file || !names_add(files, file, strlen(file)))
            code = failure(path, file ? "out of memory" : "its description has a file without a path");
    }
    json_decref(root);
    return code;
}

int model_files(const char *path, const sgi_model_info *info, struct names *files_out)
{
    struct stat st;
    if (info->parts_count == 1 && stat(path, &st) == 0 && S_ISREG(st.st_mode) &&
        (uint64_t)st.st_size == info->file_bytes)
        return names_add(files_out, path, strlen(path)) ? EXIT_GOOD : failure(path, "out of memory");
    return files_from_inspect(path, files_out);
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
    int         code = read_all(path, &text);
    for (size_t at = 0; code == EXIT_GOOD && at < text.used;) {
        const char *line = text.bytes + at;
        const char *end = memchr(line, '\n', text.used - at);
        size_t      bytes = end ? (size_t)(end - line) : text.used - at;
        at += bytes + 1;
        if (bytes > 0 && line[bytes - 1] == '\r')
            bytes--;
        if (bytes > 0 && order_out->count == NAMES_MAX)
            code = failure(path, "has more than 1048576 names");
        else if (bytes > 0 && !names_add(order_out, line, bytes))
            code = failure(path, "out of memory");
    }
    free(text.bytes);
    return code;
}
