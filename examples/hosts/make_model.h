/* SPDX-License-Identifier: Apache-2.0 */
/* A temporary folder of small safetensors files with known contents, for hosts that test themselves. */
#ifndef MAKE_MODEL_H
#define MAKE_MODEL_H

#include <stddef.h>
#include <stdint.h>

enum { MODEL_TENSORS = 3 };

typedef struct model_file {
    char     name[16]; /* "model-00", "model-01", ... */
    char     path[256];
    uint64_t sums[MODEL_TENSORS]; /* model_sum() of the tensors "t0", "t1", ... */
} model_file;

typedef struct model_folder {
    char        path[200];
    unsigned    count;
    model_file *files;
} model_folder;

/* Write `count` files with `bytes` bytes of tensors each, in a folder under $TMPDIR or /tmp. 0, or -1 with errno; then
 * nothing is left behind. */
int  model_folder_make(model_folder *folder, unsigned count, size_t bytes);
void model_folder_remove(model_folder *folder);

/* $TMPDIR or /tmp, for a message. */
const char *model_folder_place(void);

/* What the sums in model_file are made with: depends on every byte and on their order. */
uint64_t model_sum(const void *data, size_t bytes);

#endif
