/* SPDX-License-Identifier: Apache-2.0 */
/* The input is one file; whatever its first bytes make of it. */
#include "fuzz_formats.h"
#include "mutate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fs_memory *fs = fs_memory_new();
    fs_memory_add(fs, "/model.safetensors", data, size);
    fuzz_open(fs, "/model.safetensors");
    fs_memory_free(fs);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed)
{
    struct mutator m = mutator_new(seed);
    return mutate_safetensors(&m, data, size, size_max);
}
