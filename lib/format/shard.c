/* SPDX-License-Identifier: Apache-2.0 */
#include "format/shard.h"

#include <string.h>

#include "base/alloc.h"

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

sgi_status sgi__shard_open(struct sgi__parse *p, const char *folder, const char *name, struct sgi__shard *shard,
                           sgi_error *err)
{
    *shard = (struct sgi__shard){ .path = sgi__path_join(folder, name) };
    if (!shard->path)
        return sgi__no_memory(name, err);
    sgi_status st = sgi__source_open(p, shard->path, &shard->source, err);
    if (st != SGI_OK)
        sgi__free(shard->path);
    return st;
}

void sgi__shard_close(struct sgi__shard *shard)
{
    sgi__source_close(&shard->source);
    sgi__free(shard->path);
}
