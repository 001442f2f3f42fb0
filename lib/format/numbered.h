/* SPDX-License-Identifier: Apache-2.0 */
/* Names of files that are one model together: "<stem>-00002-of-00005.safetensors", the same with ".gguf". */
#ifndef SGI_FORMAT_NUMBERED_H
#define SGI_FORMAT_NUMBERED_H

#include <stdbool.h>
#include <stddef.h>

struct sgi__numbered {
    size_t   stem_bytes;
    unsigned number, count; /* as they stand there: the first is number 1 */
};

/* Whether `name` is such a name with this `end`. */
bool sgi__numbered_take(const char *name, const char *end, struct sgi__numbered *out);

/* Makes `name`, of which `numbered` was taken, the name of file `number` of the same set. At most 99999. */
void sgi__numbered_put(char *name, const struct sgi__numbered *numbered, unsigned number);

#endif
