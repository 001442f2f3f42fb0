/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "make_model.h"

enum { CHUNK_WORDS = 4096 };

/* One word of a tensor. Mixed, so that no two tensors share a block that a wrong read could come from. */
static uint64_t word_at(unsigned file, unsigned tensor, uint64_t i)
{
    uint64_t x = ((uint64_t)file << 48 | (uint64_t)tensor << 40 | i) * 0x9e3779b97f4a7c15u;

    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    return x ^ x >> 27;
}

static uint64_t sum_words(uint64_t sum, const unsigned char *data, size_t words)
{
    uint64_t word;

    for (size_t i = 0; i < words; i++) {
        memcpy(&word, data + i * sizeof word, sizeof word);
        sum = (sum ^ word) * 0x100000001b3u;
        sum ^= sum >> 29;
    }
    return sum;
}

uint64_t model_sum(const void *data, size_t bytes)
{
    return sum_words(0, data, bytes / sizeof(uint64_t));
}

static int write_tensor(FILE *out, unsigned file, unsigned tensor, uint64_t words, uint64_t *sum_out)
{
    uint64_t chunk[CHUNK_WORDS];
    uint64_t sum = 0;

    for (uint64_t done = 0; done < words;) {
        size_t count = words - done < CHUNK_WORDS ? (size_t)(words - done) : CHUNK_WORDS;

        for (size_t i = 0; i < count; i++)
            chunk[i] = word_at(file, tensor, done + i);
        sum = sum_words(sum, (const unsigned char *)chunk, count);
        if (fwrite(chunk, sizeof *chunk, count, out) != count)
            return -1;
        done += count;
    }
    *sum_out = sum;
    return 0;
}

/* A safetensors file: the length of its header in 8 bytes, the header as JSON, then the tensors. */
static int write_file(model_file *file, unsigned number, size_t bytes)
{
    char     header[512];
    uint64_t words = bytes / sizeof(uint64_t) / MODEL_TENSORS; /* of each tensor */
    uint64_t length = 0;
    FILE    *out = fopen(file->path, "wb");
    int      rc = 0;

    if (!out)
        return -1;
    for (unsigned t = 0; t < MODEL_TENSORS; t++)
        length += (uint64_t)snprintf(header + length, sizeof header - length,
                                     "%s\"t%u\":{\"dtype\":\"U64\",\"shape\":[%" PRIu64 "],\"data_offsets\":[%" PRIu64
                                     ",%" PRIu64 "]}",
                                     t ? "," : "{", t, words, t * words * 8, (t + 1) * words * 8);
    header[length++] = '}';
    while (length % 8) /* the padding that safetensors' own writer makes, so that data is aligned */
        header[length++] = ' ';

    if (fwrite(&length, sizeof length, 1, out) != 1 || fwrite(header, length, 1, out) != 1)
        rc = -1;
    for (unsigned t = 0; t < MODEL_TENSORS && rc == 0; t++)
        rc = write_tensor(out, number, t, words, &file->sums[t]);
    if (fclose(out) != 0)
        rc = -1;
    return rc;
}

const char *model_folder_place(void)
{
    const char *tmp = getenv("TMPDIR");

    return tmp && *tmp ? tmp : "/tmp";
}

int model_folder_make(model_folder *folder, unsigned count, size_t bytes)
{
    int saved;

    memset(folder, 0, sizeof *folder);
    folder->files = calloc(count, sizeof *folder->files);
    if (!folder->files)
        return -1;
    errno = ENAMETOOLONG;
    if (snprintf(folder->path, sizeof folder->path, "%s/sgi-hosts-XXXXXX", model_folder_place()) >=
            (int)sizeof folder->path ||
        !mkdtemp(folder->path)) {
        saved = errno;
        free(folder->files);
        errno = saved;
        return -1;
    }
    for (unsigned i = 0; i < count; i++) {
        model_file *file = &folder->files[i];

        snprintf(file->name, sizeof file->name, "model-%02u", i % 100);
        snprintf(file->path, sizeof file->path, "%s/%02u.safetensors", folder->path, i % 100);
        folder->count = i + 1;
        if (write_file(file, i, bytes) != 0) {
            saved = errno;
            model_folder_remove(folder);
            errno = saved;
            return -1;
        }
    }
    return 0;
}

void model_folder_remove(model_folder *folder)
{
    for (unsigned i = 0; i < folder->count; i++)
        unlink(folder->files[i].path);
    rmdir(folder->path);
    free(folder->files);
    memset(folder, 0, sizeof *folder);
}
