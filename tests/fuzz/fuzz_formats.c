/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz_formats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/bytes.h"
#include "base/text.h"
#include "format/format.h"

#define CHECK(truth) ((truth) ? (void)0 : broken(#truth, __LINE__))

static void broken(const char *truth, int line)
{
    fprintf(stderr, "line %d: not true: %s\n", line, truth);
    abort();
}

static void check_tensor(const struct sgi__manifest *m, uint64_t index)
{
    const struct sgi__tensor *tensor = &m->tensors[index];
    CHECK(tensor->file < m->files_count);
    const struct sgi__file *file = &m->files[tensor->file];
    CHECK(tensor->rank <= SGI_RANK_MAX);
    CHECK(tensor->offset >= file->data_offset);
    CHECK(tensor->offset <= file->bytes && tensor->bytes <= file->bytes - tensor->offset);
    CHECK(index >= file->tensor_first && index - file->tensor_first < file->tensor_count);
    CHECK(sgi__manifest_find(m, tensor->name) == (int64_t)index);
    CHECK(sgi__utf8_valid(tensor->name, strlen(tensor->name)));
    CHECK((tensor->block_elements == 0) == (tensor->block_bytes == 0));
    if (tensor->block_elements > 0) {
        uint64_t elements = 1;
        for (uint32_t i = 0; i < tensor->rank; i++)
            CHECK(sgi__mul_u64(elements, m->shapes[tensor->shape_at + i], &elements));
        CHECK(elements / tensor->block_elements * tensor->block_bytes == tensor->bytes);
        CHECK(elements % tensor->block_elements == 0);
    }
    if (index == 0)
        return;
    const struct sgi__tensor *before = tensor - 1;
    CHECK(before->file <= tensor->file);
    if (before->file == tensor->file)
        CHECK(before->offset + before->bytes <= tensor->offset);
}

static int gather(void *user, const char *text, size_t bytes)
{
    FILE *out = user;
    return fwrite(text, 1, bytes, out) != bytes;
}

static void check_output(const struct sgi__manifest *m)
{
    char  *text = NULL;
    size_t bytes = 0;
    FILE  *out = open_memstream(&text, &bytes);
    CHECK(out != NULL);
    CHECK(sgi__format_write_json(m, gather, out, NULL) == SGI_OK);
    CHECK(fclose(out) == 0);
    /* integers as reals: jansson has none past 2^63 */
    json_t *json = json_loadb(text, bytes, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, NULL);
    CHECK(json != NULL);
    CHECK(json_array_size(json_object_get(json, "tensors")) == m->tensors_count);
    json_decref(json);
    free(text);
    out = open_memstream(&text, &bytes);
    CHECK(out != NULL);
    CHECK(sgi__format_write_text(m, gather, out, NULL) == SGI_OK);
    CHECK(fclose(out) == 0);
    CHECK(sgi__utf8_valid(text, bytes));
    free(text);
}

/* Each byte of each part is in one chunk, and all of it in its file. */
static void check_stored(const struct sgi__manifest *m)
{
    const struct sgi__packed *p = m->packed;
    uint64_t                  bytes = 0;

    for (uint32_t n = 0; n < m->files_count; n++)
        bytes += m->files[n].bytes;
    for (uint64_t n = 0; n < p->chunks_count; n++) {
        const struct sgi__stored_chunk *c = &p->chunks[n];
        CHECK(c->file < p->files_count && c->part < m->files_count);
        CHECK(c->offset % 4096 == 0 && c->offset + c->bytes <= m->files[c->part].bytes);
        CHECK(c->at % 4096 == 0 && c->at + c->stored_bytes <= p->files[c->file].id.bytes);
        CHECK(c->bytes > 0 && c->stored_bytes > 0 && c->stored_bytes <= c->bytes);
        bytes -= c->bytes;
    }
    CHECK(bytes == 0);
    for (uint32_t n = 0; n < sgi__manifest_disk_count(m); n++)
        CHECK(sgi__manifest_on_disk(m, n).path && sgi__manifest_on_disk(m, n).asked);
}

static sgi_status open_one(struct fs_memory *fs, const char *path, const struct sgi__format_options *options)
{
    struct sgi__manifest *m = NULL;
    sgi_error             err = { .struct_size = sizeof err };
    sgi_status            st = sgi__format_open(&fs->table, path, options, &m, &err);
    CHECK(fs->open_files == 0);
    CHECK(err.code == st);
    CHECK((st == SGI_OK) == (m != NULL));
    if (st != SGI_OK) {
        CHECK(st == SGI_E_FORMAT || st == SGI_E_IO || st == SGI_E_CHECK || st == SGI_E_CHANGED ||
              st == SGI_E_UNSUPPORTED);
        CHECK((err.message[0] == '/' || strncmp(err.message, "...", 3) == 0) && /* the end of a long path */
              strstr(err.message, ": ") && !strchr(err.message, '\n'));
        return st;
    }
    for (uint64_t i = 0; i < m->tensors_count; i++)
        check_tensor(m, i);
    check_output(m);
    if (m->packed)
        check_stored(m);
    sgi__manifest_free(m);
    return st;
}

void fuzz_open(struct fs_memory *fs, const char *path)
{
    fuzz_open_with(fs, path, NULL);
}

static sgi_status open_both(struct fs_memory *fs, const char *path, struct sgi__format_options options)
{
    sgi_status small = open_one(fs, path, &options);
    options.flags = SGI__FORMAT_METADATA;
    CHECK(open_one(fs, path, &options) == small);
    return small;
}

void fuzz_open_with(struct fs_memory *fs, const char *path, const char *folder)
{
    open_both(fs, path, (struct sgi__format_options){ .folders = &folder, .folders_count = folder != NULL });
}

void fuzz_open_checked(struct fs_memory *fs, const char *path, const char *checks_path, bool there)
{
    sgi_status beside = open_both(fs, path, (struct sgi__format_options){ 0 });
    sgi_status named = open_both(fs, path, (struct sgi__format_options){ .checks_path = checks_path });
    CHECK(there ? named == beside : beside == SGI_OK && named == SGI_E_IO);
}
