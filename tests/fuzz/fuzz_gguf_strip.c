/* SPDX-License-Identifier: Apache-2.0 */
/* The input is a GGUF file. A header that could be measured can be filled at every length that is offered, and what
 * comes out is a GGUF header itself: with the same data start, and nothing left to strip. */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../examples/llama/gguf_strip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct memory {
    const uint8_t *data;
    uint64_t       bytes;
};

/* Short reads are legal, so most are. */
static int64_t read_memory(void *user, void *dst, size_t bytes, uint64_t offset)
{
    const struct memory *m = user;

    if (offset >= m->bytes)
        return 0;
    if (bytes > m->bytes - offset)
        bytes = (size_t)(m->bytes - offset);
    if (bytes > 7 && offset % 3 == 0)
        bytes = bytes / 2;
    memcpy(dst, m->data + offset, bytes);
    return (int64_t)bytes;
}

static void must(bool condition)
{
    if (!condition)
        abort();
}

static void check_length(const struct gguf_source *src, const struct gguf_strip_size *size, uint64_t bytes)
{
    /* An allocation of its own, so that the first byte past it is noticed. */
    uint8_t               *header = malloc((size_t)bytes + size->alignment), *again = malloc((size_t)bytes);
    struct memory          memory = { header, bytes + size->alignment };
    struct gguf_source     stripped = { read_memory, &memory, bytes + size->alignment };
    struct gguf_strip_size second;
    char                   err[256];

    must(header != NULL && again != NULL);
    must(gguf_strip_fill(src, again, bytes, err, sizeof err) == 0);
    memcpy(header, again, (size_t)bytes);
    memset(header + bytes, 0, size->alignment); /* the tensor data, as far as anybody looks */
    must(gguf_strip_measure(&stripped, &second, err, sizeof err) == 0);
    must(second.data_offset == bytes && second.bytes_min == size->bytes_min && second.alignment == size->alignment);
    must(gguf_strip_fill(&stripped, again, bytes, err, sizeof err) == 0);
    must(memcmp(header, again, (size_t)bytes) == 0);
    free(header);
    free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct memory          memory = { data, size };
    struct gguf_source     src = { read_memory, &memory, size };
    struct gguf_strip_size measured;
    char                   err[256] = "";

    if (gguf_strip_measure(&src, &measured, err, sizeof err) < 0) {
        must(err[0] != '\0');
        return 0;
    }
    must(measured.alignment > 0 && measured.bytes_min % measured.alignment == 0);
    if (measured.alignment > 1 << 20)
        return 0;
    check_length(&src, &measured, measured.bytes_min);
    check_length(&src, &measured, measured.bytes_min + 3 * measured.alignment);
    must(gguf_strip_fill(&src, NULL, measured.bytes_min - measured.alignment, err, sizeof err) < 0);
    if (measured.alignment > 1)
        must(gguf_strip_fill(&src, NULL, measured.bytes_min + 1, err, sizeof err) < 0);
    return 0;
}
