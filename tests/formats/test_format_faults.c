/* SPDX-License-Identifier: Apache-2.0 */
/* Every allocation and every call into the file system fails once: a true status, nothing left open or allocated (under
 * AddressSanitizer), and the same model opens afterwards. */
#include "want.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/fault.h"

/* Texts of more than half a block of the manifest's memory get one of their own: each such is an allocation that can
 * fail. */
static const char *long_text(char letter)
{
    static char texts[26][1000];
    memset(texts[letter - 'a'], letter, sizeof texts[0] - 1);
    return texts[letter - 'a'];
}

static void add_split(struct fs_memory *fs)
{
    for (int no = 0; no < 3; no++) {
        struct bytes b = { .data = NULL };
        char         path[40], name[] = { (char)('a' + no), '\0' };
        gguf_begin(&b, 3, 1, 4);
        gguf_key_text(&b, "general.architecture", "test");
        gguf_key(&b, "split.no", GGUF_U16);
        put_u16(&b, (uint16_t)no);
        gguf_key(&b, "split.count", GGUF_U16);
        put_u16(&b, 3);
        gguf_key(&b, "split.tensors.count", GGUF_I32);
        put_u32(&b, 3);
        gguf_tensor(&b, name, GGML_I8, 0, 1, (const uint64_t[]){ 1 });
        gguf_align(&b, 32);
        put_zeros(&b, 32);
        snprintf(path, sizeof path, "/split/x-%05d-of-00003.gguf", no + 1);
        fs_memory_add(fs, path, b.data, b.size);
        bytes_free(&b);
    }
}

/* Headers of more than a window: a text that stands across its end, and one that is as long. */
static void add_large(struct fs_memory *fs)
{
    struct bytes b = { .data = NULL }, header = { .data = NULL };

    gguf_begin(&b, 3, 0, 70);
    for (int i = 0; i < 70; i++) {
        char key[40];
        snprintf(key, sizeof key, "a.text.%d", i);
        gguf_key_text(&b, key, long_text('w'));
    }
    fs_memory_add(fs, "/window/model.gguf", b.data, b.size);
    bytes_free(&b);
    put_format(&header,
               "{\"t\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},\"__metadata__\":{\"k\":\"%70000s\"}}",
               "");
    put_u8(&header, 0);
    make_safetensors(&b, (const char *)header.data, 1);
    fs_memory_add(fs, "/large/model.safetensors", b.data, b.size);
    bytes_free(&header);
    bytes_free(&b);
}

static struct fs_memory *all_kinds(void)
{
    struct fs_memory *fs = fs_memory_new();
    struct bytes      b = { .data = NULL }, header = { .data = NULL };
    put_format(&header,
               "{\"__metadata__\":{\"a\":\"%s\",\"%s\":\"2\",\"b\":\"1\"},\"t\":{\"dtype\":\"X\",\"shape\":[2],\"data_"
               "offsets\":[1,3]},"
               "\"%s\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}",
               long_text('v'), long_text('k'), long_text('s'));
    put_u8(&header, 0);
    make_safetensors(&b, (const char *)header.data, 3);
    bytes_free(&header);
    fs_memory_add(fs, "/sharded/one.safetensors", b.data, b.size);
    char path[1100];
    snprintf(path, sizeof path, "/alone/%.999s.safetensors", long_text('f'));
    fs_memory_add(fs, path, b.data, b.size);
    bytes_free(&b);
    make_safetensors(&b,
                     "{\"__metadata__\":{\"b\":\"3\",\"\\u00fc and some more text\":\"a text that takes more than "
                     "jansson begins with\"},\"u\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}",
                     2);
    fs_memory_add(fs, "/sharded/two.safetensors", b.data, b.size);
    bytes_free(&b);
    const char index[] = "{\"metadata\":{},\"weight_map\":{\"u\":\"two.safetensors\",\"t\":\"one.safetensors\"}}";
    fs_memory_add(fs, "/sharded/model.safetensors.index.json", index, strlen(index));
    fs_memory_add(fs, "/spread/model.safetensors.index.json", index, strlen(index));
    fs_memory_add(fs, "/lost/model.safetensors.index.json", index, strlen(index));
    fs_memory_link(fs, "/further/two.safetensors", "/sharded/two.safetensors");

    gguf_begin(&b, 3, 303, 85);
    gguf_key_text(&b, "general.architecture", "test");
    gguf_key(&b, "words", GGUF_ARRAY);
    put_u32(&b, GGUF_STRING);
    put_u64(&b, 2);
    gguf_text(&b, "one");
    gguf_text(&b, "two");
    gguf_key(&b, "long", GGUF_STRING);
    put_u64(&b, 70000);
    put_zeros(&b, 70000);
    gguf_key_u32(&b, "number", 1);
    gguf_key_text(&b, long_text('g'), long_text('h'));
    for (int i = 0; i < 80; i++) { /* enough for several blocks of each kind, and for a second window */
        char key[40];
        snprintf(key, sizeof key, "an.array.of.some.kind.%d", i);
        gguf_key(&b, key, GGUF_ARRAY);
        put_u32(&b, GGUF_U16);
        put_u64(&b, (uint64_t)i);
        put_zeros(&b, 2 * (size_t)i);
    }
    for (int i = 0; i < 300; i++) {
        char name[40];
        snprintf(name, sizeof name, "some.layer.%d.weight", i);
        gguf_tensor(&b, name, GGML_I8, 64, 1, (const uint64_t[]){ 0 });
    }
    gguf_tensor(&b, long_text('n'), GGML_I8, 64, 1, (const uint64_t[]){ 0 });
    gguf_tensor(&b, "b", GGML_I8, 32, 1, (const uint64_t[]){ 1 });
    gguf_tensor(&b, "a", GGML_I8, 0, 1, (const uint64_t[]){ 1 });
    gguf_align(&b, 32);
    put_zeros(&b, 64);
    fs_memory_add(fs, "/gguf/model.gguf", b.data, b.size);
    bytes_free(&b);
    add_split(fs);
    add_large(fs);
    return fs;
}

static const char *const folders[] = { "/sharded", "/spread", "/alone", "/gguf", "/split", "/window", "/large", NULL };

static sgi_status try_open(struct fs_memory *fs, const char *path, sgi_error *err)
{
    static const char *const   further[] = { "/further", "/sharded" };
    struct sgi__format_options options = { .flags = SGI__FORMAT_METADATA };
    struct sgi__manifest      *m = NULL;
    *err = (sgi_error){ .struct_size = sizeof *err };
    if (strcmp(path, "/spread") == 0) {
        options.folders = further;
        options.folders_count = 2;
    } else if (strcmp(path, "/lost") == 0) {
        options.folders = &folders[2]; /* where its shards are not */
        options.folders_count = 2;
    }
    sgi_status st = sgi__format_open(&fs->table, path, &options, &m, err);
    assert_int_equal(fs->open_files, 0);
    assert_int_equal(err->code, st);
    assert_true((m != NULL) == (st == SGI_OK));
    assert_true((err->message[0] != '\0') == (st != SGI_OK));
    sgi__manifest_free(m);
    return st;
}

static void every_allocation_fails_once(void **state)
{
    (void)state;
    sgi_error err;
    for (const char *const *path = folders; *path; path++) {
        struct fs_memory *fs = all_kinds();
        uint64_t          nth = 0;
        sgi_status        st;
        do {
            sgi__fault_plan(SGI__FAULT_ALLOC, ++nth, 1, 1);
            st = try_open(fs, *path, &err);
            /* giving spare memory back is the one thing that may fail without a word */
            if (st != SGI_OK && st != SGI_E_NO_MEMORY)
                fail_msg("%s, allocation %d: %s", *path, (int)nth, err.message);
        } while (sgi__fault_passed(SGI__FAULT_ALLOC) >= nth);
        sgi__fault_clear();
        assert_int_equal(st, SGI_OK);
        assert_true(nth > 15);
        fs_memory_free(fs);
    }
}

/* What is refused anyway may end for want of memory, and in nothing else. */
static void every_allocation_of_a_refusal_fails_once(void **state)
{
    (void)state;
    static const struct {
        const char *path, *says;
    } refused[] = {
        { "/split/x-00002-of-00003.gguf", "open the first" },
        { "/lost", "not there" },
    };
    sgi_error err;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct fs_memory *fs = all_kinds();
        uint64_t          nth = 0, told = 0;
        do {
            sgi__fault_plan(SGI__FAULT_ALLOC, ++nth, 1, 1);
            sgi_status st = try_open(fs, refused[i].path, &err);
            told += st == SGI_E_NO_MEMORY;
            if (st != SGI_E_NO_MEMORY && (st != SGI_E_FORMAT || !strstr(err.message, refused[i].says)))
                fail_msg("%s, allocation %d: %d %s", refused[i].path, (int)nth, st, err.message);
        } while (sgi__fault_passed(SGI__FAULT_ALLOC) >= nth);
        sgi__fault_clear();
        assert_true(told > 0 && told + 1 >= nth - 1); /* all but those that give memory back */
        fs_memory_free(fs);
    }
}

static void a_gguf_header_may_end_nowhere(void **state)
{
    (void)state;
    struct bytes b = { .data = NULL };
    sgi_error    err;

    gguf_begin(&b, 3, 1, 3);
    gguf_key_text(&b, "general.architecture", "test");
    gguf_key(&b, "words", GGUF_ARRAY);
    put_u32(&b, GGUF_STRING);
    put_u64(&b, 2);
    gguf_text(&b, "one");
    gguf_text(&b, "two");
    gguf_key(&b, "last", GGUF_ARRAY); /* so near the end that its type and count can be missing */
    put_u32(&b, GGUF_U8);
    put_u64(&b, 0);
    gguf_tensor(&b, "t", GGML_I8, 0, 1, (const uint64_t[]){ 0 });
    for (size_t bytes = 0; bytes < b.size; bytes++) {
        struct fs_memory *fs = fs_memory_new();
        fs_memory_add(fs, "/model.gguf", b.data, bytes);
        assert_int_equal(try_open(fs, "/model.gguf", &err), SGI_E_FORMAT);
        fs_memory_free(fs);
    }
    bytes_free(&b);
}

static void every_call_of_the_file_system_fails_once(void **state)
{
    (void)state;
    sgi_error err;
    for (const char *const *path = folders; *path; path++) {
        struct fs_memory *fs = all_kinds();
        sgi_status        st;
        for (uint64_t nth = 1;; nth++) {
            fs->calls = 0;
            fs->fail_call = nth;
            st = try_open(fs, *path, &err);
            if (fs->calls < nth)
                break;
            assert_int_equal(st, SGI_E_IO);
            assert_int_equal(fs->calls, nth); /* and nothing is tried after it */
            assert_non_null(strstr(err.message, "made to fail"));
        }
        assert_int_equal(st, SGI_OK);
        assert_true(fs->calls >= 4); /* kind, list, open, read */
        fs_memory_free(fs);
    }
}

/* jansson has its own allocator, and cannot always tell a lack of memory from bad text. */
static size_t json_calls, json_fail_call;

static void *json_alloc(size_t bytes)
{
    return ++json_calls == json_fail_call ? NULL : malloc(bytes);
}

static void every_allocation_of_jansson_fails_once(void **state)
{
    (void)state;
    sgi_error err;
    json_set_alloc_funcs(json_alloc, free);
    for (const char *const *path = folders; *path; path++) {
        struct fs_memory *fs = all_kinds();
        sgi_status        st;
        size_t            told = 0;
        for (json_fail_call = 1;; json_fail_call++) {
            json_calls = 0;
            st = try_open(fs, *path, &err);
            if (json_calls < json_fail_call)
                break;
            told += st == SGI_E_NO_MEMORY;
            if ((st != SGI_E_NO_MEMORY && st != SGI_E_FORMAT) || strstr(err.message, "is not a string") ||
                err.message[strlen(err.message) - 1] == ' ') /* invalid without a cause: it was memory */
                fail_msg("%s, allocation %d: %d %s", *path, (int)json_fail_call, st, err.message);
        }
        assert_int_equal(st, SGI_OK);
        assert_true(told > 0 || json_calls == 0);
        fs_memory_free(fs);
    }
    json_set_alloc_funcs(malloc, free);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_fails_once),
        cmocka_unit_test(every_allocation_of_a_refusal_fails_once),
        cmocka_unit_test(a_gguf_header_may_end_nowhere),
        cmocka_unit_test(every_call_of_the_file_system_fails_once),
        cmocka_unit_test(every_allocation_of_jansson_fails_once),
    };
    return cmocka_run_group_tests_name("formats: faults", tests, NULL, NULL);
}
