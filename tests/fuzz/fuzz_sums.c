/* SPDX-License-Identifier: Apache-2.0 */
/* The input is what lies beside a model file as its checks, found there or by its path. With its first byte even, the
 * checks in it of itself are made good, so that what is behind them is met too. */
#include "fuzz_formats.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "format/sums.h"

static void put_u64(uint8_t *at, uint64_t value)
{
    for (unsigned n = 0; n < 8; n++)
        at[n] = (uint8_t)(value >> (8 * n));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char header[] = "\x38\0\0\0\0\0\0\0{\"t\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8]}}   ";
    struct fs_memory *fs = fs_memory_new();
    uint8_t           file[8 + 0x38 + 8] = { 0 }, *sums = malloc(size + 1);

    if (!sums)
        abort();
    memcpy(file, header, 8 + 0x38);
    memset(file + 8 + strlen(header + 8), ' ', 0x38 - strlen(header + 8));
    fs_memory_add(fs, "/model.safetensors", file, sizeof file);
    if (size > 0) {
        memcpy(sums, data + 1, size - 1);
        if (data[0] % 2 == 0 && size - 1 >= SGI__SUMS_HEAD_BYTES) {
            put_u64(sums + 32, sgi__hash(file, 8 + 0x38));
            put_u64(sums + 40, sgi__hash(sums + SGI__SUMS_HEAD_BYTES, size - 1 - SGI__SUMS_HEAD_BYTES));
            put_u64(sums + SGI__SUMS_HEAD_BYTES - 8, sgi__hash(sums, SGI__SUMS_HEAD_BYTES - 8));
        }
        fs_memory_add(fs, "/model.safetensors.sgisum", sums, size - 1);
    }
    free(sums);
    fuzz_open_checked(fs, "/model.safetensors", "/model.safetensors.sgisum", size > 0);
    fuzz_open_checked(fs, "/model.safetensors", "/", size > 0);
    fs_memory_free(fs);
    return 0;
}
