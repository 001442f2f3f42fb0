/* SPDX-License-Identifier: Apache-2.0 */
/* The input is one file; whatever its first bytes make of it. */
#include "fuzz_formats.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fs_memory *fs = fs_memory_new();
    fs_memory_add(fs, "/model.safetensors", data, size);
    fuzz_open(fs, "/model.safetensors");
    fs_memory_free(fs);
    return 0;
}
