/* SPDX-License-Identifier: Apache-2.0 */
/* Safetensors files whose every byte is known: what a test finds in memory it compares with the copy it kept. Sees
 * nothing of lib/. Running out of anything aborts. */
#ifndef TESTS_SUPPORT_MODEL_FILES_H
#define TESTS_SUPPORT_MODEL_FILES_H

#include <stddef.h>
#include <stdint.h>

struct test_folder {
    char path[200];
};

void test_folder_make(struct test_folder *folder);   /* under $TMPDIR */
void test_folder_remove(struct test_folder *folder); /* with the files in it */

struct test_tensor {
    const char *name;
    uint64_t    bytes;
};

struct test_file {
    char     path[320];
    uint8_t *data; /* the whole file */
    size_t   bytes;
    size_t   data_offset;
};

/* Tensors of U8 one behind the other, without holes. `rest`: data starts at 8 * n + rest; 0 is what well-behaved
 * writers do. The same (name, tensors) made twice gives other bytes. */
void test_file_make(struct test_file *file, const struct test_folder *folder, const char *name, uint32_t rest,
                    const struct test_tensor *tensors, uint32_t tensors_count);
/* One tensor "w" of `bytes`. */
void test_file_make_one(struct test_file *file, const struct test_folder *folder, const char *name, uint64_t bytes);
void test_file_write(const struct test_file *file); /* `data` to `path` once more: another inode */
void test_file_free(struct test_file *file);        /* and unlinks it */

/* Two shards of two tensors each behind an index at `path`. */
struct test_shards {
    char             path[320];
    struct test_file shards[2];
};
void test_shards_make(struct test_shards *s, const struct test_folder *folder, uint64_t tensor_bytes);
void test_shards_free(struct test_shards *s);

uint64_t test_xxh3(const void *data, size_t bytes);

#endif
