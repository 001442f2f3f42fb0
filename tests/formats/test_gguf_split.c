/* SPDX-License-Identifier: Apache-2.0 */
/* GGUF in several files, as llama.cpp's gguf-split and the Python package gguf write it. */
#include "want.h"

#include <stdio.h>
#include <stdlib.h>

enum { NONE = -1000 };

/* One file of a set. Tensors of I8, one letter each, of as many bytes as their place in the alphabet. */
struct part {
    const char *tensors;
    int         no, count, total; /* NONE: that key is left out */
    const char *architecture;     /* NULL: none */
    uint32_t    alignment;        /* 0: the key is left out */
    uint32_t    no_type, total_type;
};

static void put_number(struct bytes *b, const char *key, uint32_t type, int value)
{
    gguf_key(b, key, type);
    if (type == GGUF_U16)
        put_u16(b, (uint16_t)value);
    else
        put_u32(b, (uint32_t)value);
}

static void make_part(struct bytes *b, const struct part *part)
{
    size_t   tensors = strlen(part->tensors), alignment = part->alignment ? part->alignment : 32, at = 0;
    uint64_t pairs = 0;
    pairs += part->no != NONE;
    pairs += part->count != NONE;
    pairs += part->total != NONE;
    pairs += part->architecture != NULL;
    pairs += part->alignment != 0;
    gguf_begin(b, 3, tensors, pairs);
    if (part->architecture)
        gguf_key_text(b, "general.architecture", part->architecture);
    if (part->alignment)
        gguf_key_u32(b, "general.alignment", part->alignment);
    if (part->no != NONE)
        put_number(b, "split.no", part->no_type ? part->no_type : GGUF_U16, part->no);
    if (part->count != NONE)
        put_number(b, "split.count", GGUF_U16, part->count);
    if (part->total != NONE)
        put_number(b, "split.tensors.count", part->total_type ? part->total_type : GGUF_I32, part->total);
    for (size_t i = 0; i < tensors; i++) {
        char     name[] = { part->tensors[i], '\0' };
        uint64_t size = (uint64_t)(part->tensors[i] - 'a') + 1;
        gguf_tensor(b, name, GGML_I8, at, 1, &size);
        at += (size + alignment - 1) / alignment * alignment;
    }
    gguf_align(b, alignment);
    put_zeros(b, at);
}

static void add_part(struct fs_memory *fs, const char *path, const struct part *part)
{
    struct bytes b = { .data = NULL };
    make_part(&b, part);
    fs_memory_add(fs, path, b.data, b.size);
    bytes_free(&b);
}

static const char first_path[] = "/m/x-00001-of-00003.gguf", second_path[] = "/m/x-00002-of-00003.gguf",
                  third_path[] = "/m/x-00003-of-00003.gguf";

/* a good set; what follows in a test makes it a bad one. */
static const struct part first = { "ba", 0, 3, 4, "test", 0, 0, 0 }, second = { "d", 1, 3, 4, NULL, 0, 0, 0 },
                         third = { "c", 2, 3, 4, NULL, 0, 0, 0 };

static struct fs_memory *three(const struct part *one, const struct part *two, const struct part *three)
{
    struct fs_memory *fs = fs_memory_new();
    add_part(fs, third_path, three);
    add_part(fs, first_path, one);
    add_part(fs, second_path, two);
    return fs;
}

/* With and without metadata: one line that says `what`. */
static void refused(struct fs_memory *fs, const char *path, sgi_status expected, const char *what)
{
    for (uint32_t flags = 0; flags <= SGI__FORMAT_METADATA; flags += SGI__FORMAT_METADATA) {
        struct sgi__format_options options = { .flags = flags };
        struct sgi__manifest      *m = NULL;
        sgi_error                  err = { .struct_size = sizeof err };
        sgi_status                 st = sgi__format_open(&fs->table, path, &options, &m, &err);
        assert_null(m);
        assert_int_equal(fs->open_files, 0);
        if (st != expected || err.code != st || !strstr(err.message, what) || strchr(err.message, '\n'))
            fail_msg("%s: %s; expected '%s'", sgi_status_name(st), err.message, what);
    }
}

static void set_refused(const struct part *one, const struct part *two, const struct part *last, const char *what)
{
    struct fs_memory *fs = three(one, two, last);
    refused(fs, first_path, SGI_E_FORMAT, what);
    fs_memory_free(fs);
}

static void two_refused(const struct part *two, const char *what)
{
    set_refused(&first, two, &third, what);
}

static void one_refused(const char *path, const struct part *part, const char *what)
{
    struct fs_memory *fs = fs_memory_new();
    add_part(fs, path, part);
    want_refused(fs, path, what, NULL);
    fs_memory_free(fs);
}

/* --------------------------------------------------------------------------------------------------- what is legal */

static void check_model(const struct sgi__manifest *m)
{
    assert_string_equal(m->format, "gguf");
    assert_int_equal(m->format_version, 3);
    assert_int_equal(m->files_count, 3);
    assert_string_equal(m->files[0].path, first_path);
    assert_string_equal(m->files[1].path, second_path);
    assert_string_equal(m->files[2].name, "x-00003-of-00003.gguf");
    assert_int_equal(m->tensors_count, 4);
    want_tensor(m, "b", "I8", 0, m->files[0].data_offset, 2, 1, (const uint64_t[]){ 2 });
    want_tensor(m, "a", "I8", 0, m->files[0].data_offset + 32, 1, 1, (const uint64_t[]){ 1 });
    want_tensor(m, "d", "I8", 1, m->files[1].data_offset, 4, 1, (const uint64_t[]){ 4 });
    want_tensor(m, "c", "I8", 2, m->files[2].data_offset, 3, 1, (const uint64_t[]){ 3 });
    assert_string_equal(m->tensors[0].name, "b"); /* in file order, and there by place */
    assert_string_equal(m->tensors[2].name, "d");
    assert_string_equal(m->tensors[3].name, "c");
    assert_int_equal(m->files[2].tensor_first, 3);
    assert_int_equal(m->files[2].tensor_count, 1);
    assert_int_equal(m->metadata_count, 4);
    assert_string_equal(want_value(m, "general.architecture", SGI__VALUE_TEXT)->text.text, "test");
    assert_int_equal(want_value(m, "split.no", SGI__VALUE_U64)->u64, 0);
    assert_int_equal(want_value(m, "split.count", SGI__VALUE_U64)->u64, 3);
    assert_int_equal(want_value(m, "split.tensors.count", SGI__VALUE_I64)->i64, 4);
}

static void the_first_file_leads_to_the_others(void **state)
{
    (void)state;
    struct fs_memory *fs = three(&first, &second, &third);
    for (uint32_t flags = 0; flags <= SGI__FORMAT_METADATA; flags += SGI__FORMAT_METADATA) {
        struct sgi__manifest *m = want_open(fs, first_path, flags);
        check_model(m);
        sgi__manifest_free(m);
    }
    fs_memory_free(fs);
}

static void a_folder_with_one_set_is_opened(void **state)
{
    (void)state;
    struct fs_memory *fs = three(&first, &second, &third);
    fs_memory_add(fs, "/m/README.md", "", 0);
    struct sgi__manifest *m = want_open(fs, "/m/", 0);
    check_model(m);
    sgi__manifest_free(m);
    add_part(fs, "/m/another.gguf", &third);
    want_refused(fs, "/m", "a folder with 4 .gguf files ('another.gguf', 'x-00001-of-00003.gguf', ...)",
                 "name the one");
    fs_memory_free(fs);
}

static void a_folder_without_a_whole_set_is_refused(void **state)
{
    (void)state;
    struct fs_memory *fs = fs_memory_new();
    add_part(fs, first_path, &first);
    add_part(fs, third_path, &third);
    want_refused(fs, "/m", "shard 2 of 3 is missing before 'x-00003-of-00003.gguf'", NULL);
    fs_memory_free(fs);
    fs = fs_memory_new();
    add_part(fs, first_path, &first);
    add_part(fs, second_path, &second);
    want_refused(fs, "/m", "2 of 3 shards: none follows 'x-00002-of-00003.gguf'", NULL);
    add_part(fs, "/m/y-00003-of-00003.gguf", &third);
    want_refused(fs, "/m", "3 .gguf files of several models", NULL);
    fs_memory_free(fs);
    fs = fs_memory_new();
    add_part(fs, third_path, &third);
    refused(fs, "/m", SGI_E_FORMAT, "open the first, x-00001-of-00003.gguf");
    fs_memory_free(fs);
}

static void names_may_be_links(void **state)
{
    (void)state;
    struct fs_memory *fs = fs_memory_new(); /* as the Hugging Face cache has it */
    add_part(fs, "/blobs/2", &first);
    add_part(fs, "/blobs/1", &second);
    add_part(fs, "/blobs/3", &third);
    fs_memory_link(fs, first_path, "/blobs/2");
    fs_memory_link(fs, second_path, "/blobs/1");
    fs_memory_link(fs, third_path, "/blobs/3");
    struct sgi__manifest *m = want_open(fs, first_path, 0);
    assert_string_equal(m->files[1].path, "/blobs/1");
    assert_string_equal(m->files[1].name, "x-00002-of-00003.gguf");
    sgi__manifest_free(m);
    refused(fs, "/blobs/2", SGI_E_FORMAT, "belong to a name that ends with -00001-of-00003.gguf");
    fs_memory_free(fs);
}

/* A path without a folder, a stem of nothing, and a stem that has numbers of its own. */
static void stems_are_whatever_stands_before_the_numbers(void **state)
{
    (void)state;
    static const char *const stems[] = { "x", "/m/", "", "/m/00001-of-00009-00001-of-00003.gguf" };
    for (size_t i = 0; i < sizeof stems / sizeof *stems; i++) {
        struct fs_memory *fs = fs_memory_new();
        const struct part parts[] = { first, second, third };
        char              path[100];
        for (int n = 3; n > 0; n--) {
            snprintf(path, sizeof path, "%s-%05d-of-00003.gguf", stems[i], n);
            add_part(fs, path, &parts[n - 1]);
        }
        struct sgi__manifest *m = want_open(fs, path, 0);
        assert_int_equal(m->files_count, 3);
        assert_int_equal(m->tensors[sgi__manifest_find(m, "c")].file, 2);
        sgi__manifest_free(m);
        fs_memory_free(fs);
    }
}

static void each_file_has_its_own_alignment(void **state)
{
    (void)state;
    struct part two = second, three_ = third;
    two.tensors = "dz"; /* after gguf-split, the key is in the first file only */
    two.alignment = 8;
    three_.tensors = "";
    struct part one = first;
    one.alignment = 128;
    struct fs_memory     *fs = three(&one, &two, &three_);
    struct sgi__manifest *m = want_open(fs, first_path, 0);
    want_tensor(m, "a", "I8", 0, m->files[0].data_offset + 128, 1, 1, (const uint64_t[]){ 1 });
    want_tensor(m, "z", "I8", 1, m->files[1].data_offset + 8, 26, 1, (const uint64_t[]){ 26 });
    assert_int_equal(m->files[0].data_offset % 128, 0);
    assert_int_equal(m->files[2].tensor_count, 0);
    assert_int_equal(want_value(m, "general.alignment", SGI__VALUE_U64)->u64, 128);
    sgi__manifest_free(m);
    fs_memory_free(fs);
}

/* gguf-split --no-tensor-first-split */
static void the_first_file_may_be_without_tensors(void **state)
{
    (void)state;
    struct part one = first;
    one.tensors = "";
    one.total = 2;
    struct part two = second, last = third;
    two.count = two.total = NONE; /* llama.cpp wants them in the first file only */
    last.total = 2;
    last.architecture = "test";
    struct fs_memory     *fs = three(&one, &two, &last);
    struct sgi__manifest *m = want_open(fs, first_path, 0);
    assert_int_equal(m->files[0].tensor_count, 0);
    assert_int_equal(m->files[1].tensor_count, 1);
    assert_int_equal(m->metadata_count, 4);
    sgi__manifest_free(m);
    fs_memory_free(fs);
}

/* A count of 0 is what gguf-split --merge leaves behind; llama.cpp makes no set of 1 either, whatever the name. */
static void counts_of_0_and_1_make_no_set(void **state)
{
    (void)state;
    static const char *const paths[] = { "/m/x.gguf", "/m/x-00001-of-00001.gguf", "/m/x-00001-of-00000.gguf" };
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        for (int count = NONE; count <= 1; count = count == NONE ? 0 : count + 1) {
            struct fs_memory     *fs = fs_memory_new();
            const struct part     part = { "abc", 0, count, 3, "test", 0, 0, 0 };
            struct sgi__manifest *m;
            add_part(fs, paths[i], &part);
            m = want_open(fs, paths[i], 0);
            assert_int_equal(m->files_count, 1);
            assert_int_equal(m->tensors_count, 3);
            sgi__manifest_free(m);
            fs_memory_free(fs);
        }
}

/* ------------------------------------------------------------------------------------------------- what is refused */

static void another_file_than_the_first_is_refused_with_its_name(void **state)
{
    (void)state;
    struct fs_memory *fs = three(&first, &second, &third);
    want_refused(fs, second_path, "file 2 of the 3 of a split model: open the first, x-00001-of-00003.gguf", NULL);
    want_refused(fs, third_path, "file 3 of the 3 of a split model: open the first, x-00001-of-00003.gguf", NULL);
    fs_memory_free(fs);
}

static void a_missing_file_is_named(void **state)
{
    (void)state;
    struct fs_memory *fs = fs_memory_new();
    add_part(fs, first_path, &first);
    add_part(fs, second_path, &second);
    refused(fs, first_path, SGI_E_IO, "/m/x-00003-of-00003.gguf: no such file; x-00001-of-00003.gguf asks for it");
    fs_memory_special(fs, third_path);
    refused(fs, first_path, SGI_E_IO, "/m/x-00003-of-00003.gguf: not a regular file");
    fs_memory_free(fs);
}

static void a_name_that_is_not_that_of_its_keys_is_refused(void **state)
{
    (void)state;
    one_refused("/m/x.gguf", &first,
                "split.no 0 and split.count 3 belong to a name that ends with -00001-of-00003.gguf");
    one_refused("/m/x-00001-of-00004.gguf", &first, "split.no 0 and split.count 3 belong to a name");
    one_refused("/m/x-00002-of-00003.gguf", &first, "ends with -00001-of-00003.gguf");
    one_refused("/m/x-00001-of-00003.gguf", &second, "ends with -00002-of-00003.gguf");
    one_refused("/m/x-00001-of-00003.GGUF", &first, "ends with -00001-of-00003.gguf");
    one_refused("/m/x-0001-of-0003.gguf", &first, "ends with -00001-of-00003.gguf");
    const struct part alone = { "a", NONE, NONE, NONE, "test", 0, 0, 0 }, merged = { "a", 0, 0, 1, "test", 0, 0, 0 };
    one_refused(first_path, &alone, "named as file 1 of 3, but it has no split.count");
    one_refused(first_path, &merged, "named as file 1 of 3, but its split.count is 0");
}

static void keys_that_are_missing_or_wrong_are_refused(void **state)
{
    (void)state;
    struct part bad = first;
    bad.no = NONE;
    one_refused(first_path, &bad, "split.count is 3, but there is no split.no");
    bad = first;
    bad.total = NONE;
    one_refused(first_path, &bad, "split.count is 3, but there is no split.tensors.count");
    bad = first;
    bad.no = 3;
    one_refused(first_path, &bad, "split.no is 3, but split.count is 3");
    bad = first;
    bad.count = 4097;
    one_refused(first_path, &bad, "split.count is 4097, more than the 4096 files supported");
    bad = first;
    bad.no_type = GGUF_U32;
    one_refused(first_path, &bad, "metadata 'split.no' is no 16-bit unsigned number");
    bad.no_type = GGUF_I32;
    one_refused(first_path, &bad, "metadata 'split.no' is no 16-bit unsigned number");
    bad = first;
    bad.total_type = GGUF_U32;
    one_refused(first_path, &bad, "metadata 'split.tensors.count' is no 32-bit signed number");

    struct bytes b = { .data = NULL };
    gguf_begin(&b, 3, 0, 1);
    gguf_key_text(&b, "split.count", "three");
    want_file_refused(&b, 0, "metadata 'split.count' is no 16-bit unsigned number", NULL);
    gguf_begin(&b, 3, 0, 1);
    gguf_key(&b, "split.tensors.count", GGUF_ARRAY);
    put_u32(&b, GGUF_I32);
    put_u64(&b, 1);
    put_u32(&b, 1);
    want_file_refused(&b, 0, "metadata 'split.tensors.count' is no 32-bit signed number", NULL);
}

static void later_files_have_to_be_of_the_set(void **state)
{
    (void)state;
    struct part bad = second;
    bad.no = NONE;
    two_refused(&bad, "/m/x-00002-of-00003.gguf: no split.no in it, where file 2 of 3 should be");
    bad.no = 2;
    two_refused(&bad, "/m/x-00002-of-00003.gguf: split.no is 2, where its name wants 1");
    bad.no = 0;
    two_refused(&bad, "/m/x-00002-of-00003.gguf: split.no is 0, where its name wants 1");
    bad = second;
    bad.count = 4;
    two_refused(&bad, "/m/x-00002-of-00003.gguf: split.count is 4, but 3 in the first file");
    bad.count = 0;
    two_refused(&bad, "/m/x-00002-of-00003.gguf: split.count is 0, but 3 in the first file");
    bad = second;
    bad.total = 5;
    two_refused(&bad, "/m/x-00002-of-00003.gguf: split.tensors.count is 5, but 4 in the first file");
    bad = second;
    bad.architecture = "other";
    two_refused(&bad, "/m/x-00002-of-00003.gguf: general.architecture is 'other', not that of the first file");
    bad.architecture = "tes";
    two_refused(&bad, "/m/x-00002-of-00003.gguf: general.architecture is 'tes', not that of the first file");
    bad.architecture = "test";
    struct part nameless = first;
    nameless.architecture = NULL;
    set_refused(&nameless, &bad, &third, "/m/x-00002-of-00003.gguf: general.architecture is 'test', not that");
    char long_name[2000];
    memset(long_name, 'l', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    bad.architecture = nameless.architecture = long_name;
    set_refused(&nameless, &bad, &third, "/m/x-00002-of-00003.gguf: general.architecture is not that of the first");
}

static void tensors_are_counted_and_named_once(void **state)
{
    (void)state;
    struct part bad = second;
    bad.tensors = "a";
    two_refused(&bad, "/m/x-00002-of-00003.gguf: tensor 'a' is also in x-00001-of-00003.gguf");
    bad.tensors = "de";
    two_refused(&bad, "/m/x-00001-of-00003.gguf: split.tensors.count is 4, but the 3 files have 5 tensors");
    bad.tensors = "";
    two_refused(&bad, "/m/x-00001-of-00003.gguf: split.tensors.count is 4, but the 3 files have 3 tensors");
    struct part one = first, two = second, last = third;
    one.total = two.total = last.total = -4;
    set_refused(&one, &two, &last, "/m/x-00001-of-00003.gguf: split.tensors.count is -4, but the 3 files have 4");
}

static void later_files_are_checked_like_the_first(void **state)
{
    (void)state;
    struct fs_memory *fs = three(&first, &second, &third);
    struct bytes      b = { .data = NULL };
    make_part(&b, &second);
    put_zeros(&b, 1);
    fs_memory_add(fs, second_path, b.data, b.size);
    refused(fs, first_path, SGI_E_FORMAT,
            "/m/x-00002-of-00003.gguf: 1 bytes follow the last tensor, 'd', and its padding");
    fs_memory_add(fs, second_path, b.data, b.size - 33);
    refused(fs, first_path, SGI_E_FORMAT, "/m/x-00002-of-00003.gguf: tensor 'd' is not within the file's data");
    fs_memory_add(fs, second_path, b.data, 40);
    refused(fs, first_path, SGI_E_FORMAT, "/m/x-00002-of-00003.gguf: ");
    fs_memory_add(fs, second_path, b.data, 0);
    refused(fs, first_path, SGI_E_FORMAT, "/m/x-00002-of-00003.gguf: the file ends within its header");
    b.data[0] = 'g';
    fs_memory_add(fs, second_path, b.data, b.size);
    refused(fs, first_path, SGI_E_FORMAT, "/m/x-00002-of-00003.gguf: no GGUF file");
    bytes_free(&b);
    fs_memory_free(fs);
}

/* ------------------------------------------------------------------------------------------------------- the bounds */

static sgi_status open_with(struct fs_memory *fs, uint64_t header_bytes_max, sgi_error *err)
{
    struct sgi__format_options options = { .header_bytes_max = header_bytes_max };
    struct sgi__manifest      *m = NULL;
    *err = (sgi_error){ .struct_size = sizeof *err };
    sgi_status st = sgi__format_open(&fs->table, first_path, &options, &m, err);
    sgi__manifest_free(m);
    return st;
}

static void the_headers_together_have_a_maximum(void **state)
{
    (void)state;
    struct fs_memory *fs = three(&first, &second, &third);
    sgi_error         err;
    uint64_t          enough = 0;
    while (open_with(fs, ++enough, &err) != SGI_OK) {
        assert_int_equal(err.code, SGI_E_FORMAT);
        assert_true(enough < 1000);
    }
    const struct part *const parts[] = { &first, &second, &third };
    uint64_t                 together = 0; /* without the padding behind them */
    for (int i = 0; i < 3; i++) {
        struct bytes b = { .data = NULL };
        make_part(&b, parts[i]);
        size_t tensors = strlen(parts[i]->tensors);
        together += b.size - 32 * tensors;
        bytes_free(&b);
    }
    assert_true(enough <= together && enough > together - 3 * 32);
    open_with(fs, enough - 1, &err);
    assert_non_null(strstr(err.message, "/m/x-00003-of-00003.gguf: the header is longer than the "));
    fs_memory_free(fs);
}

static void put_numbers(struct bytes *b, uint64_t items)
{
    gguf_key(b, "numbers", GGUF_ARRAY);
    put_u32(b, GGUF_U8);
    put_u64(b, items);
    put_zeros(b, items);
}

static void add_with_numbers(struct fs_memory *fs, const char *path, uint16_t no, uint64_t items)
{
    struct bytes b = { .data = NULL };
    gguf_begin(&b, 3, 0, 4);
    put_number(&b, "split.no", GGUF_U16, no);
    put_number(&b, "split.count", GGUF_U16, 3);
    put_number(&b, "split.tensors.count", GGUF_I32, 0);
    put_numbers(&b, items);
    gguf_align(&b, 32);
    fs_memory_add(fs, path, b.data, b.size);
    bytes_free(&b);
}

static void items_of_arrays_are_counted_over_all_files_and_kept_of_the_first(void **state)
{
    (void)state;
    struct fs_memory *fs = fs_memory_new();
    add_with_numbers(fs, first_path, 0, 10);
    add_with_numbers(fs, second_path, 1, 4 << 20);
    add_with_numbers(fs, third_path, 2, (4 << 20) - 10);
    struct sgi__manifest *m = want_open(fs, first_path, SGI__FORMAT_METADATA);
    assert_int_equal(want_value(m, "numbers", SGI__VALUE_ARRAY)->array.count, 10);
    assert_int_equal(m->metadata_count, 4);
    assert_true(m->text_bytes < 64 << 10);
    sgi__manifest_free(m);
    add_with_numbers(fs, third_path, 2, (4 << 20) - 9);
    refused(fs, first_path, SGI_E_FORMAT,
            "/m/x-00003-of-00003.gguf: metadata 'numbers' takes the items of all arrays past 8388608");
    fs_memory_free(fs);
}

static void as_many_files_as_a_model_may_have(void **state)
{
    (void)state;
    enum { MANY = 4096 };
    struct fs_memory *fs = fs_memory_new();
    char              path[40];
    for (int i = MANY - 1; i >= 0; i--) {
        const struct part part = { i == MANY - 1 ? "c" : "", i, MANY, 1, NULL, 0, 0, 0 };
        snprintf(path, sizeof path, "/m/x-%05d-of-%05d.gguf", i + 1, MANY);
        add_part(fs, path, &part);
    }
    struct sgi__manifest *m = want_open(fs, path, 0);
    assert_int_equal(m->files_count, MANY);
    assert_int_equal(m->tensors[0].file, MANY - 1);
    sgi__manifest_free(m);
    fs_memory_free(fs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_file_leads_to_the_others),
        cmocka_unit_test(a_folder_with_one_set_is_opened),
        cmocka_unit_test(a_folder_without_a_whole_set_is_refused),
        cmocka_unit_test(names_may_be_links),
        cmocka_unit_test(stems_are_whatever_stands_before_the_numbers),
        cmocka_unit_test(each_file_has_its_own_alignment),
        cmocka_unit_test(the_first_file_may_be_without_tensors),
        cmocka_unit_test(counts_of_0_and_1_make_no_set),
        cmocka_unit_test(another_file_than_the_first_is_refused_with_its_name),
        cmocka_unit_test(a_missing_file_is_named),
        cmocka_unit_test(a_name_that_is_not_that_of_its_keys_is_refused),
        cmocka_unit_test(keys_that_are_missing_or_wrong_are_refused),
        cmocka_unit_test(later_files_have_to_be_of_the_set),
        cmocka_unit_test(tensors_are_counted_and_named_once),
        cmocka_unit_test(later_files_are_checked_like_the_first),
        cmocka_unit_test(the_headers_together_have_a_maximum),
        cmocka_unit_test(items_of_arrays_are_counted_over_all_files_and_kept_of_the_first),
        cmocka_unit_test(as_many_files_as_a_model_may_have),
    };
    return cmocka_run_group_tests_name("formats: split GGUF", tests, NULL, NULL);
}
