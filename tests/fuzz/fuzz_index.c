/* SPDX-License-Identifier: Apache-2.0 */
/* The input is the text of an index up to the first zero byte, then a shard, "a". A second shard, "b" with tensors
 * "x" and "y", is always there. Opened as a file, as what a folder holds, and with a further folder that has "c" as
 * well, "a" once more, and another "d" than there is beside the index. */
#include "fuzz_formats.h"

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
