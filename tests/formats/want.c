/* SPDX-License-Identifier: Apache-2.0 */
#include "want.h"

#include "base/error.h"

static const char file_path[] = "/models/one.file";

struct sgi__manifest *want_open(struct fs_memory *fs, const char *path, uint32_t flags)
{
    struct sgi__format_options options = { .flags = flags };
    struct sgi__manifest      *m = NULL;
    sgi_error                  err;
    sgi__error_init(&err);
    if (sgi__format_open(&fs->table, path, &options, &m, &err) != SGI_OK)
        fail_msg("refused: %s", err.message);
    assert_non_null(m);
    assert_int_equal(fs->open_files, 0);
    return m;
}

struct sgi__manifest *want_file(struct bytes *b, uint32_t flags)
{
    struct fs_memory *fs = fs_memory_new();
    fs_memory_add(fs, file_path, b->data, b->size);
    bytes_free(b);
    struct sgi__manifest *m = want_open(fs, file_path, flags);
    fs_memory_free(fs);
    return m;
}

static void want_refused_with(struct fs_memory *fs, const char *path, const struct sgi__format_options *options,
                              const char *what, const char *also)
{
    struct sgi__manifest *m = NULL;
    sgi_error             err;
    sgi__error_init(&err);
    sgi_status st = sgi__format_open(&fs->table, path, options, &m, &err);
    if (st == SGI_OK)
        fail_msg("accepted, although '%s'", what);
    if (st != SGI_E_FORMAT || err.code != st || strncmp(err.message, path, strlen(path)) != 0 ||
        !strstr(err.message, what) || (also && !strstr(err.message, also)) || strchr(err.message, '\n'))
        fail_msg("%s: %s; expected '%s' and '%s'", sgi_status_name(st), err.message, what, also ? also : what);
    assert_null(m);
    assert_int_equal(fs->open_files, 0);
}

void want_refused(struct fs_memory *fs, const char *path, const char *what, const char *also)
{
    want_refused_with(fs, path, NULL, what, also);
}

void want_file_refused(struct bytes *b, uint64_t max, const char *what, const char *also)
{
    struct fs_memory *fs = fs_memory_new();
    fs_memory_add(fs, file_path, b->data, b->size);
    bytes_free(b);
    struct sgi__format_options options = { .header_bytes_max = max };
    want_refused_with(fs, file_path, &options, what, also);
    options.flags = SGI__FORMAT_METADATA;
    want_refused_with(fs, file_path, &options, what, also);
    fs_memory_free(fs);
}

void want_tensor(const struct sgi__manifest *m, const char *name, const char *dtype, uint32_t file, uint64_t offset,
                 uint64_t bytes, uint32_t rank, const uint64_t *shape)
{
    int64_t at = sgi__manifest_find(m, name);
    if (at < 0)
        fail_msg("no tensor '%s'", name);
    const struct sgi__tensor *tensor = &m->tensors[at];
    assert_string_equal(tensor->name, name);
    assert_string_equal(tensor->dtype, dtype);
    assert_int_equal(tensor->file, file);
    assert_int_equal(tensor->offset, offset);
    assert_int_equal(tensor->bytes, bytes);
    assert_int_equal(tensor->rank, rank);
    for (uint32_t i = 0; i < rank; i++)
        assert_int_equal(m->shapes[tensor->shape_at + i], shape[i]);
}

static const struct sgi__metadata *find_value(const struct sgi__manifest *m, const char *key)
{
    for (uint64_t i = 0; i < m->metadata_count; i++)
        if (strcmp(m->metadata[i].key, key) == 0)
            return &m->metadata[i];
    return NULL;
}

const struct sgi__value *want_value(const struct sgi__manifest *m, const char *key, enum sgi__value_kind kind)
{
    const struct sgi__metadata *found = find_value(m, key);
    if (!found)
        fail_msg("no metadata '%s'", key);
    assert_int_equal(found->value.kind, kind);
    return &found->value;
}

void want_no_value(const struct sgi__manifest *m, const char *key)
{
    if (find_value(m, key))
        fail_msg("metadata '%s' is there", key);
}
