/* SPDX-License-Identifier: Apache-2.0 */
/* A safetensors file with the tensors of all-MiniLM-L6-v2's encoder, by name and shape, one layer behind the other, of
 * random numbers: for where there is no network to fetch the real one by. */
#ifndef RANDOM_MODEL_H
#define RANDOM_MODEL_H

typedef struct random_model {
    char path[256];
} random_model;

/* Makes it under $TMPDIR or /tmp. 0, or -1 with errno; then nothing is left behind. */
int  random_model_make(random_model *model);
void random_model_remove(const random_model *model);

#endif
