/* SPDX-License-Identifier: Apache-2.0 */
/* The input is the length of the first of two GGUF files, in two bytes, and then both without their magic numbers. The
 * third is empty of all but what makes it the third of 3: opened as a set of two it is not looked at. */
#include "fuzz_formats.h"
#include "mutate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void add(struct fs_memory *fs, unsigned number, unsigned count, const uint8_t *data, size_t size)
{
    char     path[40];
    uint8_t *file = malloc(size + 4);
    if (!file)
        abort();
    memcpy(file, "GGUF", 4);
    if (size > 0)
        memcpy(file + 4, data, size);
    snprintf(path, sizeof path, "/m%u/x-%05u-of-%05u.gguf", count, number, count);
    fs_memory_add(fs, path, file, size + 4);
    free(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t third[] = "\3\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\x8\0\0\0\0\0\0\0split.no\2\0\0\0\2";
    struct fs_memory    *fs = fs_memory_new();
    size_t               first = size >= 2 ? data[0] | (size_t)data[1] << 8 : 0;
    data += size >= 2 ? 2 : size;
    size -= size >= 2 ? 2 : size;
    if (first > size)
        first = size;
    for (unsigned count = 2; count <= 3; count++) {
        add(fs, 1, count, data, first);
        add(fs, 2, count, data + first, size - first);
    }
    add(fs, 3, 3, third, sizeof third);
    fuzz_open(fs, "/m2/x-00001-of-00002.gguf");
    fuzz_open(fs, "/m3/x-00002-of-00003.gguf");
    fuzz_open(fs, "/m2");
    fuzz_open(fs, "/m3");
    fs_memory_free(fs);
    return 0;
}

/* One of the two, and where the second begins. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed)
{
    struct mutator m = mutator_new(seed);
    size_t         first = size >= 2 ? data[0] | (size_t)data[1] << 8 : 0;

    if (size < 2 || first > size - 2 || size_max > 1 << 16 || mutator_below(&m, 8) == 0)
        return mutate_bytes(data, size, size_max);
    if (mutator_below(&m, 2))
        return 2 + first + mutate_gguf(&m, data + 2 + first, size - 2 - first, size_max - 2 - first);
    size_t   second = size - 2 - first;
    uint8_t *behind = malloc(second ? second : 1);
    if (!behind)
        abort();
    memcpy(behind, data + 2 + first, second);
    first = mutate_gguf(&m, data + 2, first, size_max - 2 - second);
    memcpy(data + 2 + first, behind, second);
    free(behind);
    data[0] = (uint8_t)first;
    data[1] = (uint8_t)(first >> 8);
    return 2 + first + second;
}
