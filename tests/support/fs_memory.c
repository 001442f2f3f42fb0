/* SPDX-License-Identifier: Apache-2.0 */
#include "fs_memory.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/text.h"

struct fs_memory_node {
    struct fs_memory_node *next;
    char                  *path, *target;
    uint8_t               *data; /* of exactly its size, so that ASan sees a read past the end */
    size_t                 bytes;
    uint64_t               inode;
    int                    special;
};

static void *must(void *memory)
{
    if (!memory)
        abort();
    return memory;
}

static struct fs_memory_node *find(const struct fs_memory *fs, const char *path)
{
    struct fs_memory_node *node = fs->nodes;
    while (node && strcmp(node->path, path) != 0)
        node = node->next;
    return node;
}

static struct fs_memory_node *follow(const struct fs_memory *fs, const char *path)
{
    struct fs_memory_node *node = find(fs, path);
    for (int hops = 0; node && node->target && hops < 8; hops++)
        node = find(fs, node->target);
    return node && node->target ? NULL : node;
}

/* The rest of `path` below `folder`, or NULL. */
static const char *below(const char *path, const char *folder)
{
    size_t bytes = strlen(folder);
    while (bytes > 0 && folder[bytes - 1] == '/')
        bytes--;
    return strncmp(path, folder, bytes) == 0 && path[bytes] == '/' ? path + bytes + 1 : NULL;
}

static sgi_status refuse(sgi_error *err, sgi_status st, const char *path, const char *what)
{
    struct sgi__shown shown;
    return sgi__error(err, st, "%s: %s", sgi__show_path(&shown, path), what);
}

static int fails(struct fs_memory *fs)
{
    return ++fs->calls == fs->fail_call;
}

static sgi_status memory_kind(void *user, const char *path, enum sgi__fs_kind *kind_out, sgi_error *err)
{
    struct fs_memory            *fs = user;
    const struct fs_memory_node *node = follow(fs, path);
    if (fails(fs))
        return refuse(err, SGI_E_IO, path, "made to fail");
    if (node && node->special)
        return refuse(err, SGI_E_IO, path, "neither a regular file nor a folder");
    *kind_out = SGI__FS_FILE;
    if (node)
        return SGI_OK;
    *kind_out = SGI__FS_FOLDER;
    for (node = fs->nodes; node; node = node->next)
        if (below(node->path, path))
            return SGI_OK;
    return refuse(err, SGI_E_IO, path, "no such file or folder");
}

static sgi_status memory_list(void *user, const char *path, uint32_t names_max,
                              sgi_status (*each)(void *each_user, const char *name, sgi_error *err), void *each_user,
                              sgi_error *err)
{
    struct fs_memory *fs = user;
    uint32_t          names = 0;
    if (fails(fs))
        return refuse(err, SGI_E_IO, path, "made to fail");
    for (struct fs_memory_node *node = fs->nodes; node; node = node->next) {
        const char *name = below(node->path, path);
        if (!name || strchr(name, '/'))
            continue;
        if (names++ == names_max)
            return refuse(err, SGI_E_FORMAT, path, "too many names");
        sgi_status st = each(each_user, name, err);
        if (st != SGI_OK)
            return st;
    }
    return SGI_OK;
}

static sgi_status memory_open(void *user, const char *path, void **file_out, struct sgi__file_id *id_out,
                              char **resolved_out, sgi_error *err)
{
    struct fs_memory      *fs = user;
    struct fs_memory_node *node = follow(fs, path);
    if (fails(fs))
        return refuse(err, SGI_E_IO, path, "made to fail");
    if (node && node->special)
        return refuse(err, SGI_E_IO, path, "not a regular file");
    if (!node) {
        refuse(err, SGI_E_IO, path, "no such file");
        if (err)
            err->os_errno = ENOENT;
        return SGI_E_IO;
    }
    char *resolved = sgi__strdup(node->path);
    if (!resolved)
        return refuse(err, SGI_E_NO_MEMORY, path, "no memory");
    *resolved_out = resolved;
    *id_out = (struct sgi__file_id){ .device = 1, .inode = node->inode, .bytes = node->bytes };
    *file_out = node;
    fs->open_files++;
    return SGI_OK;
}

static sgi_status memory_read(void *user, void *file, uint64_t offset, void *dst, size_t bytes, sgi_error *err)
{
    struct fs_memory            *fs = user;
    const struct fs_memory_node *node = file;
    if (fails(fs))
        return refuse(err, SGI_E_IO, node->path, "made to fail");
    if (offset > node->bytes || bytes > node->bytes - offset)
        return refuse(err, SGI_E_IO, node->path, "read past the end");
    if (bytes > 0)
        memcpy(dst, node->data + offset, bytes);
    fs->bytes_read += bytes;
    return SGI_OK;
}

static void memory_close(void *user, void *file)
{
    struct fs_memory *fs = user;
    (void)file;
    if (fs->open_files-- == 0)
        abort();
}

struct fs_memory *fs_memory_new(void)
{
    struct fs_memory *fs = must(calloc(1, sizeof *fs));
    fs->table = (struct sgi__fs){ .user = fs,
                                  .kind = memory_kind,
                                  .list = memory_list,
                                  .open = memory_open,
                                  .read = memory_read,
                                  .close = memory_close };
    return fs;
}

static void node_free(struct fs_memory_node *node)
{
    free(node->path);
    free(node->target);
    free(node->data);
    free(node);
}

void fs_memory_free(struct fs_memory *fs)
{
    if (fs->open_files != 0) {
        fprintf(stderr, "fs_memory: %llu files still open\n", (unsigned long long)fs->open_files);
        abort();
    }
    while (fs->nodes) {
        struct fs_memory_node *node = fs->nodes;
        fs->nodes = node->next;
        node_free(node);
    }
    free(fs);
}

static struct fs_memory_node *add(struct fs_memory *fs, const char *path)
{
    static uint64_t inode = 100;
    for (struct fs_memory_node **at = &fs->nodes; *at; at = &(*at)->next) {
        struct fs_memory_node *old = *at;
        if (strcmp(old->path, path) == 0) {
            *at = old->next;
            node_free(old);
            break;
        }
    }
    struct fs_memory_node *node = must(calloc(1, sizeof *node));
    node->path = must(strdup(path));
    node->inode = ++inode;
    node->next = fs->nodes;
    fs->nodes = node;
    return node;
}

void fs_memory_add(struct fs_memory *fs, const char *path, const void *data, size_t bytes)
{
    struct fs_memory_node *node = add(fs, path);
    if (bytes > 0) {
        node->data = must(malloc(bytes));
        memcpy(node->data, data, bytes);
    }
    node->bytes = bytes;
}

void fs_memory_link(struct fs_memory *fs, const char *path, const char *target)
{
    add(fs, path)->target = must(strdup(target));
}

void fs_memory_special(struct fs_memory *fs, const char *path)
{
    add(fs, path)->special = 1;
}
