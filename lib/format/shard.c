/* SPDX-License-Identifier: Apache-2.0 */
#include "format/shard.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/text.h"

char *sgi__path_join(const char *folder, const char *name)
{
    size_t folder_bytes = strlen(folder), name_bytes = strlen(name);
    bool   slash = folder_bytes > 0 && folder[folder_bytes - 1] != '/';
    char  *path = sgi__alloc(folder_bytes + slash + name_bytes + 1);
    if (!path)
        return NULL;
    memcpy(path, folder, folder_bytes);
    if (slash)
        path[folder_bytes] = '/';
    memcpy(path + folder_bytes + slash, name, name_bytes + 1);
    return path;
}

char *sgi__path_folder(const char *path)
{
    char *folder = sgi__strdup(path);
    if (!folder)
        return NULL;
    char *slash = strrchr(folder, '/');
    *(slash ? slash + 1 : folder) = '\0';
    return folder;
}

static sgi_status open_in(struct sgi__parse *p, const char *folder, const char *name, struct sgi__shard *shard,
                          sgi_error *err)
{
    shard->path = sgi__path_join(folder, name);
    if (!shard->path)
        return sgi__no_memory(name, err);
    sgi_status st = sgi__source_open(p, shard->path, &shard->source, err);
    if (st != SGI_OK) {
        sgi__free(shard->path);
        shard->path = NULL;
    }
    return st;
}

void sgi__shard_close(struct sgi__shard *shard)
{
    sgi__source_close(&shard->source);
    sgi__free(shard->path);
    shard->path = NULL;
}

/* Only a file that is not there at all lets the search go on: one that may not be read is not somewhere else. */
static sgi_status look_in(struct sgi__parse *p, const char *folder, const char *name, struct sgi__shard *shard,
                          sgi_error *err)
{
    sgi_error own;
    sgi__error_init(&own);
    sgi_status st = open_in(p, folder, name, shard, &own);
    if (st == SGI_E_IO && own.os_errno == ENOENT)
        return SGI_OK;
    if (st != SGI_OK)
        sgi__error_copy(err, &own);
    return st;
}

static const char *show_asker(struct sgi__shown *shown, const char *asker)
{
    const char *slash = strrchr(asker, '/');
    return sgi__show_name(shown, slash ? slash + 1 : asker);
}

static sgi_status open_here(struct sgi__parse *p, const char *folder, const char *name, const char *asker,
                            struct sgi__shard *shard, sgi_error *err)
{
    struct sgi__shown shown;
    sgi_error         own;
    sgi__error_init(&own);
    sgi_status st = open_in(p, folder, name, shard, &own);
    if (st == SGI_OK)
        return st;
    size_t used = strlen(own.message);
    if (own.os_errno == ENOENT && asker)
        snprintf(own.message + used, sizeof own.message - used, "; %s asks for it", show_asker(&shown, asker));
    sgi__error_copy(err, &own);
    return st;
}

static sgi_status refuse_missing(const struct sgi__parse *p, const char *folder, const char *name, const char *asker,
                                 sgi_error *err)
{
    struct sgi__shown other, shown;
    char             *path = sgi__path_join(folder, name), more[32] = "", asks[80] = "";
    if (!path)
        return sgi__no_memory(name, err);
    if (p->folders_count > 1)
        snprintf(more, sizeof more, " or %u more", p->folders_count - 1);
    if (asker)
        snprintf(asks, sizeof asks, "; %s asks for it", show_asker(&shown, asker));
    sgi_status st = sgi__refuse_path(path, err, "not there, nor in %s%s%s", sgi__show_path(&other, p->folders[0]), more,
                                     asks);
    sgi__free(path);
    return st;
}

static sgi_status refuse_twice(const struct sgi__shard *one, const struct sgi__shard *two, sgi_error *err)
{
    struct sgi__shown other;
    return sgi__refuse_path(one->path, err, "also in %s", sgi__show_path(&other, two->path));
}

sgi_status sgi__shard_open(struct sgi__parse *p, const char *folder, const char *name, const char *asker,
                           struct sgi__shard *shard, sgi_error *err)
{
    *shard = (struct sgi__shard){ .path = NULL };
    if (p->folders_count == 0)
        return open_here(p, folder, name, asker, shard, err);
    sgi_status st = look_in(p, folder, name, shard, err);
    for (uint32_t i = 0; i < p->folders_count && st == SGI_OK; i++) {
        struct sgi__shard other = { .path = NULL };
        st = look_in(p, p->folders[i], name, &other, err);
        if (!other.path)
            continue;
        if (!shard->path) {
            *shard = other;
            continue;
        }
        if (other.source.id.device != shard->source.id.device || other.source.id.inode != shard->source.id.inode)
            st = refuse_twice(shard, &other, err);
        sgi__shard_close(&other);
    }
    if (st == SGI_OK && !shard->path)
        st = refuse_missing(p, folder, name, asker, err);
    if (st != SGI_OK && shard->path)
        sgi__shard_close(shard);
    return st;
}
