/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "model/manifest.h"

/* A manifest with files of these sizes, data at 100 in each. */
static struct sgi__manifest *with_files(uint32_t count, uint64_t bytes)
{
    struct sgi__manifest *m = sgi__manifest_new();
    assert_non_null(m);
    for (uint32_t i = 0; i < count; i++) {
        char     path[32];
        uint32_t index;
        snprintf(path, sizeof path, "/m/file%u", i);
        assert_int_equal(sgi__manifest_add_file(m, path, path, &(struct sgi__file_id){ .bytes = bytes }, &index, NULL),
                         SGI_OK);
        assert_int_equal(index, i);
        m->files[i].data_offset = 100;
    }
    return m;
}

static void add(struct sgi__manifest *m, const char *name, uint32_t file, uint64_t offset, uint64_t bytes)
{
    struct sgi__tensor tensor = {
        .name = name, .dtype = "U8", .file = file, .offset = offset, .bytes = bytes, .rank = 1
    };
    assert_int_equal(sgi__manifest_add_tensor(m, &tensor, &bytes, NULL), SGI_OK);
}

static void refused(struct sgi__manifest *m, const char *message)
{
    sgi_error err = { .struct_size = sizeof err };
    assert_int_equal(sgi__manifest_finish(m, &err), SGI_E_FORMAT);
    assert_int_equal(err.code, SGI_E_FORMAT);
    assert_string_equal(err.message, message);
    sgi__manifest_free(m);
}

static void tensors_are_sorted_by_file_and_offset(void **state)
{
    (void)state;
    static const char *const order[] = { "e", "z1", "z0", "a", "d", "c" };
    struct sgi__manifest    *m = with_files(4, 1000);
    add(m, "c", 3, 100, 10);
    add(m, "a", 1, 110, 20);
    add(m, "z1", 1, 110, 0); /* empty ones first, otherwise as they came */
    add(m, "z0", 1, 110, 0);
    add(m, "d", 1, 130, 20);
    add(m, "e", 1, 100, 10);
    assert_int_equal(sgi__manifest_finish(m, NULL), SGI_OK);
    for (int i = 0; i < 6; i++) {
        assert_string_equal(m->tensors[i].name, order[i]);
        assert_int_equal(sgi__manifest_find(m, order[i]), i);
        assert_int_equal(m->shapes[m->tensors[i].shape_at], m->tensors[i].bytes);
    }
    static const uint64_t ranges[4][2] = { { 0, 0 }, { 0, 5 }, { 5, 0 }, { 5, 1 } };
    for (int i = 0; i < 4; i++) {
        assert_int_equal(m->files[i].tensor_first, ranges[i][0]);
        assert_int_equal(m->files[i].tensor_count, ranges[i][1]);
    }
    sgi__manifest_free(m);
}

static void find_knows_every_name_and_no_other(void **state)
{
    (void)state;
    enum { COUNT = 1000 };
    struct sgi__manifest *m = with_files(1, 100 + COUNT);
    char                  name[16];
    for (unsigned i = 0; i < COUNT; i++) {
        snprintf(name, sizeof name, "t%u", i * 7919 % COUNT);
        const char *kept = sgi__manifest_text(m, name, strlen(name));
        assert_non_null(kept);
        add(m, kept, 0, 100 + i * 7919 % COUNT, 1);
    }
    assert_int_equal(sgi__manifest_find(m, "t0"), -1); /* not before it is finished */
    assert_int_equal(sgi__manifest_finish(m, NULL), SGI_OK);
    for (int i = 0; i < COUNT; i++) {
        snprintf(name, sizeof name, "t%d", i);
        assert_int_equal(sgi__manifest_find(m, name), i);
    }
    assert_int_equal(sgi__manifest_find(m, ""), -1);
    assert_int_equal(sgi__manifest_find(m, "t"), -1);
    assert_int_equal(sgi__manifest_find(m, "t1000"), -1);
    assert_int_equal(sgi__manifest_find(m, "zzz"), -1);
    sgi__manifest_free(m);
}

static void an_empty_manifest_is_fine(void **state)
{
    (void)state;
    struct sgi__manifest *m = sgi__manifest_new();
    assert_int_equal(sgi__manifest_finish(m, NULL), SGI_OK);
    assert_int_equal(sgi__manifest_find(m, "a"), -1);
    sgi__manifest_free(m);
    sgi__manifest_free(NULL);
}

static void names_are_unique(void **state)
{
    (void)state;
    struct sgi__manifest *m = with_files(2, 1000);
    add(m, "twin", 0, 100, 1);
    add(m, "x", 0, 101, 1);
    add(m, "twin", 0, 102, 1);
    refused(m, "/m/file0: tensor 'twin' is there twice");
    m = with_files(2, 1000);
    add(m, "twin", 1, 100, 1);
    add(m, "twin", 0, 100, 1);
    refused(m, "/m/file1: tensor 'twin' is also in file0");
}

static void tensors_are_within_their_file(void **state)
{
    (void)state;
    static const uint64_t bad[][2] = { { 99, 1 },         { 100, 901 },      { 1000, 1 },        { 1001, 0 },
                                       { UINT64_MAX, 1 }, { UINT64_MAX, 0 }, { 100, UINT64_MAX } };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct sgi__manifest *m = with_files(1, 1000);
        add(m, "fine", 0, 100, 0);
        add(m, "t", 0, bad[i][0], bad[i][1]);
        refused(m, "/m/file0: tensor 't' is not within the file's data");
    }
    struct sgi__manifest *m = with_files(1, 1000);
    add(m, "whole", 0, 100, 900);
    add(m, "end", 0, 1000, 0);
    assert_int_equal(sgi__manifest_finish(m, NULL), SGI_OK);
    sgi__manifest_free(m);
}

static void tensors_do_not_overlap(void **state)
{
    (void)state;
    struct sgi__manifest *m = with_files(2, 1000);
    add(m, "b", 0, 109, 10);
    add(m, "a", 0, 100, 10);
    refused(m, "/m/file0: tensor 'b' overlaps 'a'");
    m = with_files(2, 1000);
    add(m, "outer", 1, 100, 100);
    add(m, "none", 1, 120, 0); /* between them: overlaps nothing, hides nothing */
    add(m, "inner", 1, 150, 1);
    refused(m, "/m/file1: tensor 'inner' overlaps 'outer'");
    m = with_files(2, 1000);
    add(m, "a", 0, 100, 10); /* the same place in two files */
    add(m, "b", 1, 100, 10);
    add(m, "c", 0, 110, 10);
    add(m, "none", 0, 105, 0);
    assert_int_equal(sgi__manifest_finish(m, NULL), SGI_OK);
    sgi__manifest_free(m);
}

static void counts_have_maxima(void **state)
{
    (void)state;
    sgi_error             err = { .struct_size = sizeof err };
    uint32_t              index;
    struct sgi__manifest *m = with_files(SGI__FILES_MAX, 1000);
    assert_int_equal(sgi__manifest_add_file(m, "/m/more", "/m/more", &(struct sgi__file_id){ .bytes = 1 }, &index,
                                            &err),
                     SGI_E_FORMAT);
    assert_string_equal(err.message, "/m/more: the model has more files than the 4096 supported");
    sgi__manifest_free(m);

    m = with_files(1, 1000);
    struct sgi__tensor tensor = { .name = "t", .dtype = "U8", .offset = 100 };
    for (int i = 0; i < SGI__TENSORS_MAX; i++)
        if (sgi__manifest_add_tensor(m, &tensor, NULL, &err) != SGI_OK)
            fail();
    assert_int_equal(sgi__manifest_add_tensor(m, &tensor, NULL, &err), SGI_E_FORMAT);
    assert_string_equal(err.message, "/m/file0: the model has more tensors than the 1048576 supported");
    struct sgi__value value = { .kind = SGI__VALUE_BOOL };
    for (int i = 0; i < SGI__METADATA_MAX; i++)
        if (sgi__manifest_add_metadata(m, "k", &value, &err) != SGI_OK)
            fail();
    assert_int_equal(sgi__manifest_add_metadata(m, "k", &value, &err), SGI_E_FORMAT);
    assert_string_equal(err.message, "/m/file0: the model has more metadata keys than the 65536 supported");
    sgi__manifest_free(m);
}

static void memory_lives_as_long_as_the_manifest(void **state)
{
    (void)state;
    struct sgi__manifest *m = sgi__manifest_new();
    const char           *texts[500];
    uint64_t             *numbers[500];
    char                  text[5000];
    memset(text, 'x', sizeof text);
    for (unsigned i = 0; i < 500; i++) { /* small and large, texts and numbers, in turn */
        texts[i] = sgi__manifest_text(m, text, i * 37 % 5000);
        numbers[i] = sgi__manifest_alloc(m, sizeof **numbers);
        assert_non_null(texts[i]);
        assert_int_equal((uintptr_t)numbers[i] % _Alignof(max_align_t), 0);
        *numbers[i] = i;
    }
    for (unsigned i = 0; i < 500; i++) {
        assert_int_equal(strlen(texts[i]), i * 37 % 5000);
        assert_int_equal(*numbers[i], i);
    }
    assert_string_equal(sgi__manifest_text(m, NULL, 0), "");
    assert_null(sgi__manifest_text(m, text, UINT64_MAX));
    assert_null(sgi__manifest_alloc(m, UINT64_MAX - 8));
    sgi__manifest_free(m);
}

static void a_small_manifest_takes_little_memory(void **state)
{
    (void)state;
    struct sgi__manifest *m = with_files(1, 1000);
    for (int i = 0; i < 20; i++) {
        const char *key = sgi__manifest_text(m, "some.metadata.key", 17);
        assert_int_equal(sgi__manifest_add_metadata(m, key, &(struct sgi__value){ .kind = SGI__VALUE_BOOL }, NULL),
                         SGI_OK);
    }
    assert_int_equal(sgi__manifest_finish(m, NULL), SGI_OK);
    assert_int_equal(m->text_bytes, 1024);
    assert_int_equal(m->metadata_room, 20);
    assert_int_equal(m->files_room, 1);
    sgi__manifest_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_are_sorted_by_file_and_offset),
        cmocka_unit_test(find_knows_every_name_and_no_other),
        cmocka_unit_test(an_empty_manifest_is_fine),
        cmocka_unit_test(names_are_unique),
        cmocka_unit_test(tensors_are_within_their_file),
        cmocka_unit_test(tensors_do_not_overlap),
        cmocka_unit_test(counts_have_maxima),
        cmocka_unit_test(memory_lives_as_long_as_the_manifest),
        cmocka_unit_test(a_small_manifest_takes_little_memory),
    };
    return cmocka_run_group_tests_name("manifest", tests, NULL, NULL);
}
