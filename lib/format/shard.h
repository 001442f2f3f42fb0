/* SPDX-License-Identifier: Apache-2.0 */
/* One file of a model that has several: where it is, and open. */
#ifndef SGI_FORMAT_SHARD_H
#define SGI_FORMAT_SHARD_H

#include "format/source.h"

struct sgi__shard {
    struct sgi__source source;
    char              *path;
};

/* `name` is one path component. It is looked for in `folder`, which ends with a slash or is empty, and in the folders
 * of the parse; it has to be in exactly one of them. One file that is reached through several is one. `asker` is the
 * path of the file that says there is such a shard, named where there is not; NULL: a folder lists it. On failure there
 * is nothing to close. */
sgi_status sgi__shard_open(struct sgi__parse *p, const char *folder, const char *name, const char *asker,
                           struct sgi__shard *shard, sgi_error *err);
void       sgi__shard_close(struct sgi__shard *shard);

/* `folder` and `name` with what they need between them; the caller's. NULL: out of memory. */
char *sgi__path_join(const char *folder, const char *name);

/* The folder a path is in, as sgi__shard_open() takes it; the caller's. NULL: out of memory. */
char *sgi__path_folder(const char *path);

#endif
