/* SPDX-License-Identifier: Apache-2.0 */
/* Which files of a folder are the model. */
#ifndef SGI_FORMAT_FOLDER_H
#define SGI_FORMAT_FOLDER_H

#include "base/fs.h"
#include "format/names.h"

/* One name: an index, a .safetensors, .gguf or .sgi file, or the first of a set of .gguf, which leads to the others.
 * Several: the .safetensors shards of one model, sorted, there being no index. SGI_E_FORMAT naming the folder and what
 * was found instead. */
sgi_status sgi__folder_search(const struct sgi__fs *fs, const char *path, struct sgi__names *files_out, sgi_error *err);

#endif
