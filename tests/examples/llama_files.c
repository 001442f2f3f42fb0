/* SPDX-License-Identifier: Apache-2.0 */
#include "llama_files.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ggml.h>
#include <gguf.h>

enum { HEADER_BYTES = 2 << 20 }; /* at most so much of the model is looked at for patching */

static void must(bool condition, const char *what)
{
    if (condition)
        return;
    perror(what);
    exit(1);
}

void remove_model(char *path)
{
    unlink(path);
    free(path);
}

/* ---------------------------------------------------------------------------------------------------------- patched */

/* `find` becomes `put` once, or everywhere where that is the value of a key. */
static void patch(char *header, const char *key, const char *find, const char *put)
{
    char    *at = header, *end = header + HEADER_BYTES;
    int      hits = 0;
    uint64_t value_bytes;

    if (key != NULL) {
        at = memmem(header, HEADER_BYTES, key, strlen(key));
        must(at != NULL, key);
        at += strlen(key) + 4; /* past its type */
        memcpy(&value_bytes, at, sizeof value_bytes);
        end = at + sizeof value_bytes + value_bytes;
    }
    while (at < end && (at = memmem(at, (size_t)(end - at), find, strlen(find))) != NULL) {
        memcpy(at, put, strlen(find));
        hits++;
        if (key == NULL)
            break;
    }
    must(hits > 0, find);
}

char *patched_model(const char *path, const char *key, const char *find, const char *put)
{
    char       *copy = NULL, *image;
    struct stat st;
    int         fd = open(path, O_RDONLY | O_CLOEXEC);

    must(strlen(put) == strlen(find), find);
    must(fd >= 0 && fstat(fd, &st) == 0, path);
    image = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    must(image != MAP_FAILED, path);
    close(fd);
    patch(image, key, find, put);

    must(asprintf(&copy, "patched-%d.gguf", (int)getpid()) > 0, path);
    fd = open(copy, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    must(fd >= 0, copy);
    for (off_t done = 0; done < st.st_size;) {
        ssize_t n = write(fd, image + done, (size_t)(st.st_size - done));

        must(n > 0, copy);
        done += n;
    }
    close(fd);
    munmap(image, (size_t)st.st_size);
    return copy;
}

/* ------------------------------------------------------------------------------------------------------------ split */

struct source {
    struct gguf_context *gguf;
    struct ggml_context *tensors;
    FILE                *file;
    unsigned             files;
};

char *split_path(const char *stem, unsigned number, unsigned files)
{
    char *path = NULL;

    must(asprintf(&path, "%s-%05u-of-%05u.gguf", stem, number, files) > 0, stem);
    return path;
}

static void copy_tensor(const struct source *s, int64_t id, FILE *out)
{
    size_t bytes = gguf_get_tensor_size(s->gguf, id), alignment = gguf_get_alignment(s->gguf);
    size_t padded = (bytes + alignment - 1) / alignment * alignment;
    char  *data = calloc(1, padded);

    must(data != NULL, "a tensor");
    must(fseek(s->file, (long)(gguf_get_data_offset(s->gguf) + gguf_get_tensor_offset(s->gguf, id)), SEEK_SET) == 0 &&
             fread(data, 1, bytes, s->file) == bytes,
         "read a tensor");
    must(fwrite(data, 1, padded, out) == padded, "write a tensor");
    free(data);
}

/* Tensors [begin, end) into file `no`, from 0. */
static void write_file(const struct source *s, const char *path, unsigned no, int64_t begin, int64_t end)
{
    struct gguf_context *header = gguf_init_empty();
    FILE                *out;

    if (no == 0)
        gguf_set_kv(header, s->gguf);
    gguf_set_val_u16(header, "split.no", (uint16_t)no);
    gguf_set_val_u16(header, "split.count", (uint16_t)s->files);
    gguf_set_val_i32(header, "split.tensors.count", (int32_t)gguf_get_n_tensors(s->gguf));
    for (int64_t id = begin; id < end; id++)
        gguf_add_tensor(header, ggml_get_tensor(s->tensors, gguf_get_tensor_name(s->gguf, id)));
    must(gguf_write_to_file(header, path, true), path);
    gguf_free(header);
    out = fopen(path, "ab");
    must(out != NULL, path);
    for (int64_t id = begin; id < end; id++)
        copy_tensor(s, id, out);
    must(fclose(out) == 0, path);
}

char *split_model(const char *path, const char *stem, unsigned files, bool first_empty)
{
    struct source s = { .files = files };
    unsigned      with_tensors = files - first_empty;
    int64_t       count, end = 0;

    s.gguf = gguf_init_from_file(path, (struct gguf_init_params){ .no_alloc = true, .ctx = &s.tensors });
    s.file = fopen(path, "rb");
    must(s.gguf != NULL && s.file != NULL, path);
    count = gguf_get_n_tensors(s.gguf);
    for (unsigned no = 0; no < files; no++) {
        char   *target = split_path(stem, no + 1, files);
        int64_t begin = end;

        if (no >= first_empty)
            end = count * (no - first_empty + 1) / with_tensors;
        write_file(&s, target, no, begin, end);
        free(target);
    }
    fclose(s.file);
    gguf_free(s.gguf);
    ggml_free(s.tensors);
    return split_path(stem, 1, files);
}

void split_remove(char *first, const char *stem, unsigned files)
{
    for (unsigned number = 1; number <= files; number++) {
        char *path = split_path(stem, number, files);

        unlink(path);
        free(path);
    }
    free(first);
}
