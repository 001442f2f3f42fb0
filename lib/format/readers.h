/* SPDX-License-Identifier: Apache-2.0 */
/* What open.c calls: one function per kind of input. Each adds to parse->m and finishes it. */
#ifndef SGI_FORMAT_READERS_H
#define SGI_FORMAT_READERS_H

#include "format/names.h"
#include "format/source.h"

sgi_status sgi__gguf_read(struct sgi__source *s, sgi_error *err);
sgi_status sgi__safetensors_read(struct sgi__source *s, sgi_error *err);

/* An index: its shards are looked for beside it, beside the path as it was asked for, and in the folders. */
sgi_status sgi__index_read(struct sgi__source *s, sgi_error *err);

/* The files of one model in `folder`, which ends with a slash or is empty. `asker` as for sgi__shard_open(). */
sgi_status sgi__shards_read(struct sgi__parse *p, const char *folder, const struct sgi__names *shards,
                            const char *asker, sgi_error *err);

/* One header added to the manifest, which is not finished by this. */
sgi_status sgi__safetensors_add(struct sgi__source *s, sgi_error *err);

/* The finished manifest: no holes before, between or behind the tensors of a file. */
sgi_status sgi__safetensors_check(const struct sgi__manifest *m, sgi_error *err);

/* A dtype by its name; NULL: it is not known. */
const struct sgi__dtype *sgi__safetensors_dtype(const char *name);
const struct sgi__dtype *sgi__gguf_dtype(const char *name);

#endif
