/* SPDX-License-Identifier: Apache-2.0 */
/* The input is how many pages of chunks a packed file has, a byte, and its manifest: the head before it, with its
 * checks, is made here, or no mutation would ever come past them. With 0x40 in that byte one byte of the head is wrong,
 * with 0x80 it says that there is a base. */
#include "fuzz_formats.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "format/pack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fs_memory *fs = fs_memory_new();

    if (size < 1) {
        fs_memory_free(fs);
        return 0;
    }
    size_t                pages = data[0] % 32, count = size - 1, at = SGI__PACK_HEAD_BYTES + pages * SGI__PACK_ALIGN;
    struct sgi__pack_head head = { .bytes = at + count,
                                   .manifest_at = at,
                                   .manifest_bytes = count,
                                   .manifest_check = sgi__hash(data + 1, count),
                                   .based = data[0] & 0x80 };
    uint8_t              *file = calloc(1, at + count + 1);
    if (!file)
        abort();
    sgi__pack_head_put(&head, file);
    if (data[0] & 0x40)
        file[size * 37 % SGI__PACK_HEAD_BYTES] ^= (uint8_t)(1 + size % 255);
    memcpy(file + at, data + 1, count);
    fs_memory_add(fs, "/model.sgi", file, at + count);
    fs_memory_add(fs, "/base.sgi", file, at + count);
    free(file);
    fuzz_open(fs, "/model.sgi");
    fs_memory_free(fs);
    return 0;
}
