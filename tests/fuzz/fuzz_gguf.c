/* SPDX-License-Identifier: Apache-2.0 */
/* The input is what follows the magic number of a GGUF file. */
#include "fuzz_formats.h"
#include "mutate.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fs_memory *fs = fs_memory_new();
    uint8_t          *file = malloc(size + 4);
    if (!file)
        abort();
    memcpy(file, "GGUF", 4);
    if (size > 0)
        memcpy(file + 4, data, size);
    fs_memory_add(fs, "/model.gguf", file, size + 4);
    free(file);
    fuzz_open(fs, "/model.gguf");
    fs_memory_free(fs);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed)
{
    struct mutator m = mutator_new(seed);
    return mutate_gguf(&m, data, size, size_max);
}
