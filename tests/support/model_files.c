/* SPDX-License-Identifier: Apache-2.0 */
#include "model_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

static void must(int good, const char *what)
{
    if (good)
        return;
    perror(what);
    abort();
}

void test_folder_make(struct test_folder *folder)
{
    const char *tmp = getenv("TMPDIR");
    int         n = snprintf(folder->path, sizeof folder->path, "%s/sgi_test_XXXXXX", tmp ? tmp : "/tmp");
    must(n > 0 && (size_t)n < sizeof folder->path && mkdtemp(folder->path) != NULL, "mkdtemp");
}

void test_folder_remove(struct test_folder *folder)
{
    DIR           *dir = opendir(folder->path);
    struct dirent *entry;
    char           path[sizeof folder->path + sizeof entry->d_name + 2];

    must(dir != NULL, folder->path);
    while ((entry = readdir(dir)) != NULL) {
        snprintf(path, sizeof path, "%s/%s", folder->path, entry->d_name);
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            must(unlink(path) == 0, path);
    }
    closedir(dir);
    must(rmdir(folder->path) == 0, folder->path);
}

/* Every word of every file is another one, so that a block at the wrong place is seen. */
static void fill(uint8_t *data, size_t bytes)
{
    static atomic_uint_fast64_t files;
    uint64_t                    x = (atomic_fetch_add(&files, 1) + 1) << 40;

    for (size_t at = 0; at < bytes; at += sizeof x) {
        uint64_t word = (x + at / sizeof x + 1) * UINT64_C(0x9e3779b97f4a7c15);
        word ^= word >> 29;
        memcpy(data + at, &word, bytes - at < sizeof word ? bytes - at : sizeof word);
    }
}

static void write_file(const char *path, const void *data, size_t bytes)
{
    unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    must(fd >= 0, path);
    for (size_t done = 0; done < bytes;) {
        ssize_t n = write(fd, (const char *)data + done, bytes - done);
        must(n > 0, path);
        done += (size_t)n;
    }
    must(fsync(fd) == 0, path); /* clean pages: direct reads need not flush them first */
    close(fd);
}

void test_file_make(struct test_file *file, const struct test_folder *folder, const char *name, uint32_t rest,
                    const struct test_tensor *tensors, uint32_t tensors_count)
{
    char    *header = calloc(1, 64 + (size_t)tensors_count * 512);
    size_t   at = 0;
    uint64_t offset = 0;

    must(header != NULL, "calloc");
    header[at++] = '{';
    for (uint32_t n = 0; n < tensors_count; n++) {
        unsigned long long begin = offset, end = offset + tensors[n].bytes;
        at += (size_t)snprintf(header + at, 512,
                               "%s\"%s\":{\"dtype\":\"U8\",\"shape\":[%llu],\"data_offsets\":[%llu,%llu]}",
                               n ? "," : "", tensors[n].name, end - begin, begin, end);
        offset = end;
    }
    header[at++] = '}';
    while ((8 + at) % 8 != rest)
        header[at++] = ' ';

    snprintf(file->path, sizeof file->path, "%s/%s", folder->path, name);
    file->data_offset = 8 + at;
    file->bytes = file->data_offset + offset;
    file->data = malloc(file->bytes);
    must(file->data != NULL, "malloc");
    for (uint32_t n = 0; n < 8; n++)
        file->data[n] = (uint8_t)((uint64_t)at >> (8 * n));
    memcpy(file->data + 8, header, at);
    fill(file->data + file->data_offset, offset);
    write_file(file->path, file->data, file->bytes);
    free(header);
}

void test_file_make_one(struct test_file *file, const struct test_folder *folder, const char *name, uint64_t bytes)
{
    test_file_make(file, folder, name, 0, &(struct test_tensor){ "w", bytes }, 1);
}

void test_file_write(const struct test_file *file)
{
    write_file(file->path, file->data, file->bytes);
}

void test_file_free(struct test_file *file)
{
    unlink(file->path);
    free(file->data);
    memset(file, 0, sizeof *file);
}

void test_shards_make(struct test_shards *s, const struct test_folder *folder, uint64_t tensor_bytes)
{
    const struct test_tensor first[] = { { "a", tensor_bytes }, { "b", tensor_bytes / 2 + 3 } };
    const struct test_tensor second[] = { { "c", tensor_bytes / 3 + 1 }, { "d", tensor_bytes } };
    static const char        index[] = "{\"metadata\":{},\"weight_map\":{"
                                       "\"a\":\"one.safetensors\",\"b\":\"one.safetensors\","
                                       "\"c\":\"two.safetensors\",\"d\":\"two.safetensors\"}}";

    test_file_make(&s->shards[0], folder, "one.safetensors", 0, first, 2);
    test_file_make(&s->shards[1], folder, "two.safetensors", 0, second, 2);
    snprintf(s->path, sizeof s->path, "%s/model.safetensors.index.json", folder->path);
    write_file(s->path, index, sizeof index - 1);
}

void test_shards_free(struct test_shards *s)
{
    test_file_free(&s->shards[0]);
    test_file_free(&s->shards[1]);
    unlink(s->path);
}

uint64_t test_xxh3(const void *data, size_t bytes)
{
    return XXH3_64bits(data, bytes);
}
