/* SPDX-License-Identifier: Apache-2.0 */
/* Names that a load needs beside the model's own: its files on disk, and tensors in a wished order. */
#ifndef SGI_CLI_MODEL_FILES_H
#define SGI_CLI_MODEL_FILES_H

#include <sgi/sgi.h>

#include "names.h"

/* The files that a load of a model reads, the base of a packed one too: as registered from `path`, and described so.
 * Each of these returns EXIT_GOOD, or EXIT_FAILED after the line that says why; names_free() is for after both. */
int model_files(const char *path, sgi_runtime *rt, sgi_model model, const sgi_model_info *info,
                struct names *files_out);

/* How much of a model's path is the folder that its files are in: all of it, if it is that. */
size_t folder_of(const char *path);

/* The lines of a text file; empty ones are left out. */
int order_read(const char *path, struct names *order_out);

#endif
