/* SPDX-License-Identifier: Apache-2.0 */
/* The input is the text of an index up to the first zero byte, then a shard, "a". A second shard, "b" with tensors
 * "x" and "y", is always there. Opened as a file, as what a folder holds, and with a further folder that has "c" as
 * well, "a" once more, and another "d" than there is beside the index. */
#include "fuzz_formats.h"
#include "mutate.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char b[] = "\x68\0\0\0\0\0\0\0"
                            "{\"x\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
                            "\"y\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[2,3]}}123";
    const uint8_t    *zero = size > 0 ? memchr(data, 0, size) : NULL;
    size_t            index_bytes = zero ? (size_t)(zero - data) : size;
    struct fs_memory *fs = fs_memory_new();
    fs_memory_add(fs, "/m/model.safetensors.index.json", data, index_bytes);
    fs_memory_add(fs, "/m/b", b, sizeof b - 1);
    if (zero)
        fs_memory_add(fs, "/m/a", zero + 1, size - index_bytes - 1);
    fuzz_open(fs, "/m/model.safetensors.index.json");
    fuzz_open(fs, "/m");
    fs_memory_add(fs, "/n/c", b, sizeof b - 1);
    fs_memory_add(fs, "/n/d", b, sizeof b - 1);
    fs_memory_add(fs, "/m/d", b, sizeof b - 1);
    if (zero)
        fs_memory_link(fs, "/n/a", "/m/a");
    fuzz_open_with(fs, "/m", "/n");
    fs_memory_free(fs);
    return 0;
}

/* The index or the shard, each on its own. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed)
{
    struct mutator m = mutator_new(seed);
    uint8_t       *zero = size > 0 ? memchr(data, 0, size) : NULL;

    if (!zero)
        return mutate_json(&m, data, size, size_max);
    size_t index = (size_t)(zero - data), shard = size - index; /* with the zero */
    if (mutator_below(&m, 2))
        return index + 1 + mutate_safetensors(&m, zero + 1, shard - 1, size_max - index - 1);
    uint8_t *behind = malloc(shard);
    if (!behind)
        abort();
    memcpy(behind, zero, shard);
    index = mutate_json(&m, data, index, size_max - shard);
    memcpy(data + index, behind, shard);
    free(behind);
    return index + shard;
}
