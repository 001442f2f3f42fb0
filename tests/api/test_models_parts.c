/* SPDX-License-Identifier: Apache-2.0 */
/* Models in several files: shards in several folders, GGUF that was split. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/make_files.h"
#include "support/host.h"

/* Shards "one" beside the index and "two" in another folder. */
struct fixture {
    struct test_folder folder, other;
    struct test_shards shards;
    const char        *folders[2];
    sgi_runtime       *rt;
    sgi_error          err;
};

static void set_up_with(struct fixture *f, const sgi_runtime_config *config)
{
    char from[sizeof f->shards.path];
    memset(f, 0, sizeof *f);
    f->err.struct_size = sizeof f->err;
    test_folder_make(&f->folder);
    test_folder_make(&f->other);
    test_shards_make(&f->shards, &f->folder, KIB(300) + 77);
    memcpy(from, f->shards.shards[1].path, sizeof from);
    snprintf(f->shards.shards[1].path, sizeof from, "%s/two.safetensors", f->other.path);
    assert_int_equal(rename(from, f->shards.shards[1].path), 0);
    f->folders[0] = f->other.path;
    f->rt = host_open(config);
}

static void set_up(struct fixture *f)
{
    sgi_runtime_config config = host_config();
    set_up_with(f, &config);
}

static void tear_down(struct fixture *f)
{
    host_close(f->rt);
    test_shards_free(&f->shards);
    test_folder_remove(&f->folder);
    test_folder_remove(&f->other);
}

static sgi_model_config with_folders(struct fixture *f, uint32_t count)
{
    sgi_model_config mc = host_model("m", f->shards.path, NULL);
    mc.folders = f->folders;
    mc.folders_count = count;
    return mc;
}

struct text {
    char   bytes[8192];
    size_t used;
};

static int gather(void *user, const char *bytes, size_t count)
{
    struct text *text = user;
    assert_true(count < sizeof text->bytes - text->used);
    memcpy(text->bytes + text->used, bytes, count);
    text->used += count;
    text->bytes[text->used] = '\0';
    return 0;
}

/* By both functions that take such a config, with one status and one sentence. */
static void refused(struct fixture *f, const sgi_model_config *mc, sgi_status expected, const char *one,
                    const char *two)
{
    static struct text text;
    sgi_error          err = SGI_ERROR_INIT;
    sgi_model          model = 0;
    text.used = 0;
    assert_int_equal(sgi_inspect_config(mc, SGI_INSPECT_JSON, gather, &text, &err), expected);
    assert_int_equal(text.used, 0);
    assert_int_equal(sgi_model_register(f->rt, mc, &model, &f->err), expected);
    assert_int_equal(model, 0);
    /* A field is the model's, who has a name now; a path speaks for itself. */
    const char *after = strstr(f->err.message, "model 'm': ") == f->err.message ? f->err.message + 11 : f->err.message;
    assert_true((after != f->err.message) == (expected == SGI_E_INVALID));
    assert_string_equal(err.message, after);
    if (!strstr(err.message, one) || !strstr(err.message, two))
        fail_msg("'%s'; expected '%s' and '%s'", err.message, one, two);
}

/* ---- folders ---- */

static void load_and_compare(sgi_runtime *rt, const sgi_model_config *mc, const struct test_file *files)
{
    sgi_model model = host_register(rt, mc);
    sgi_lease lease = host_acquire(rt, model);
    host_same_bytes(rt, model, lease, files);
    host_release(rt, lease);
    assert_int_equal(sgi_model_unregister(rt, model, HOST_WAIT_MS, NULL), SGI_OK);
}

static void shards_in_several_folders_are_one_model(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    sgi_model_config mc = with_folders(&f, 1);
    load_and_compare(f.rt, &mc, f.shards.shards);
    f.folders[1] = f.folder.path; /* the index's own does no harm */
    mc = with_folders(&f, 2);
    load_and_compare(f.rt, &mc, f.shards.shards);
    mc.path = f.folder.path; /* and the folder holds one index */
    load_and_compare(f.rt, &mc, f.shards.shards);
    tear_down(&f);
}

static void a_config_is_described_without_being_registered(void **state)
{
    (void)state;
    static struct text text, plain;
    struct fixture     f;
    set_up(&f);
    sgi_model_config mc = with_folders(&f, 1);
    mc.name = NULL;
    text.used = plain.used = 0;
    assert_int_equal(sgi_inspect_config(&mc, SGI_INSPECT_JSON, gather, &text, &f.err), SGI_OK);
    assert_non_null(strstr(text.bytes, f.shards.shards[1].path));
    mc.path = f.shards.shards[0].path; /* a model that needs none of them: as sgi_inspect() has it */
    text.used = 0;
    assert_int_equal(sgi_inspect_config(&mc, SGI_INSPECT_TEXT, gather, &text, &f.err), SGI_OK);
    assert_int_equal(sgi_inspect(mc.path, SGI_INSPECT_TEXT, gather, &plain, &f.err), SGI_OK);
    assert_string_equal(text.bytes, plain.bytes);
    mc.header_bytes_max = 16;
    assert_int_equal(sgi_inspect_config(&mc, SGI_INSPECT_TEXT, gather, &text, &f.err), SGI_E_FORMAT);
    tear_down(&f);
}

static void a_shard_has_to_be_in_exactly_one_folder(void **state)
{
    (void)state;
    struct fixture f;
    char           missing[sizeof f.shards.path], copy[sizeof f.shards.path];
    set_up(&f);
    sgi_model_config mc = with_folders(&f, 1);
    snprintf(missing, sizeof missing, "%s/two.safetensors: not there", f.folder.path);
    snprintf(copy, sizeof copy, "%s/two.safetensors", f.folder.path);
    f.folders[0] = "/usr";
    refused(&f, &mc, SGI_E_FORMAT, missing, "nor in /usr");
    f.folders[1] = "/usr/lib";
    mc.folders_count = 2;
    refused(&f, &mc, SGI_E_FORMAT, missing, "nor in /usr or 1 more");
    f.folders[1] = f.other.path;
    assert_int_equal(link(f.shards.shards[1].path, copy), 0);
    load_and_compare(f.rt, &mc, f.shards.shards); /* one file with two names */
    unlink(copy);
    struct test_file second = f.shards.shards[1];
    memcpy(second.path, copy, sizeof copy);
    test_file_write(&second);
    refused(&f, &mc, SGI_E_FORMAT, copy, f.shards.shards[1].path);
    unlink(copy);
    tear_down(&f);
}

static void folders_are_checked(void **state)
{
    (void)state;
    const char    *many[65];
    struct fixture f;
    set_up(&f);
    sgi_model_config mc = with_folders(&f, 2);
    refused(&f, &mc, SGI_E_INVALID, "folders", "number 1 is missing");
    f.folders[1] = "";
    refused(&f, &mc, SGI_E_INVALID, "folders", "number 1 is missing");
    mc.folders = NULL;
    refused(&f, &mc, SGI_E_INVALID, "folders", "number 0 is missing");
    mc.folders = many;
    mc.folders_count = 65;
    for (int i = 0; i < 65; i++)
        many[i] = f.other.path;
    refused(&f, &mc, SGI_E_INVALID, "folders", "65 of them, more than the 64 supported");
    mc.folders_count = 64;
    load_and_compare(f.rt, &mc, f.shards.shards);
    many[3] = "/does/not/exist";
    refused(&f, &mc, SGI_E_IO, "/does/not/exist", "No such file");
    many[3] = f.shards.path;
    refused(&f, &mc, SGI_E_FORMAT, f.shards.path, "no folder");
    tear_down(&f);
}

static void allowed_roots_hold_for_each_folder(void **state)
{
    (void)state;
    struct fixture     f;
    const char        *roots[2] = { "/usr", NULL };
    sgi_runtime_config config = host_config();
    sgi_model          model = 0;
    config.allowed_roots = roots;
    config.allowed_roots_count = 1;
    set_up_with(&f, &config);
    host_close(f.rt);
    roots[0] = f.folder.path;
    f.rt = host_open(&config);

    sgi_model_config mc = with_folders(&f, 1);
    assert_int_equal(sgi_model_register(f.rt, &mc, &model, &f.err), SGI_E_DENIED);
    assert_non_null(strstr(f.err.message, f.other.path));
    host_close(f.rt);
    roots[1] = f.other.path;
    config.allowed_roots_count = 2;
    f.rt = host_open(&config);
    load_and_compare(f.rt, &mc, f.shards.shards);
    tear_down(&f);
}

static void a_shard_elsewhere_is_compared_before_a_load_too(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    sgi_model_config mc = with_folders(&f, 1);
    sgi_model        model = host_register(f.rt, &mc);
    test_file_write(&f.shards.shards[1]); /* another inode */
    assert_int_equal(host_acquire_fails(f.rt, model, &f.err), SGI_E_CHANGED);
    assert_non_null(strstr(f.err.message, "two.safetensors"));
    tear_down(&f);
}

/* Whoever was compiled before there were folders has something else behind the struct. */
static void an_older_config_has_no_folders(void **state)
{
    (void)state;
    struct fixture f;
    sgi_model      model = 0;
    set_up(&f);
    sgi_model_config mc = with_folders(&f, 1);
    mc.struct_size = offsetof(sgi_model_config, folders);
    assert_int_equal(sgi_model_register(f.rt, &mc, &model, &f.err), SGI_E_IO);
    assert_non_null(strstr(f.err.message, "two.safetensors"));
    tear_down(&f);
}

/* ---- split GGUF ---- */

enum { SPLIT = 3 };

static void make_split(struct test_file *files, const struct test_folder *folder)
{
    for (int no = 0; no < SPLIT; no++) {
        struct bytes   b = { .data = NULL };
        const uint64_t size = KIB(200) + (uint64_t)no;
        char           name[] = { (char)('a' + no), '\0' };
        gguf_begin(&b, 3, 1, 3);
        gguf_key(&b, "split.no", GGUF_U16);
        put_u16(&b, (uint16_t)no);
        gguf_key(&b, "split.count", GGUF_U16);
        put_u16(&b, SPLIT);
        gguf_key(&b, "split.tensors.count", GGUF_I32);
        put_u32(&b, SPLIT);
        gguf_tensor(&b, name, GGML_I8, 0, 1, &size);
        gguf_align(&b, 32);
        files[no].data_offset = b.size;
        for (uint64_t i = 0; i < size; i++)
            put_u8(&b, (uint8_t)(i * 7 + i / 253 + (uint64_t)no));
        gguf_align(&b, 32);
        snprintf(files[no].path, sizeof files[no].path, "%s/x-%05d-of-%05d.gguf", folder->path, no + 1, SPLIT);
        files[no].data = b.data;
        files[no].bytes = b.size;
        test_file_write(&files[no]);
    }
}

static void a_split_gguf_has_a_part_for_each_file(void **state)
{
    (void)state;
    struct fixture   f;
    struct test_file files[SPLIT];
    sgi_model_info   info = { .struct_size = sizeof info };
    sgi_model_part   part = { .struct_size = sizeof part };
    set_up(&f);
    make_split(files, &f.other);

    sgi_model_config mc = host_model("split", files[0].path, NULL);
    load_and_compare(f.rt, &mc, files);
    sgi_model model = host_register(f.rt, &mc);
    assert_int_equal(sgi_model_describe(f.rt, model, &info), SGI_OK);
    assert_true(info.parts_count == SPLIT && info.tensors_count == SPLIT);
    for (uint32_t n = 0; n < SPLIT; n++) {
        assert_int_equal(sgi_model_part_at(f.rt, model, n, &part), SGI_OK);
        assert_string_equal(part.path, files[n].path);
        assert_int_equal(part.data_offset, files[n].data_offset);
    }
    mc.name = "by another file";
    mc.path = files[1].path;
    refused(&f, &mc, SGI_E_FORMAT, files[1].path, "open the first, x-00001-of-00003.gguf");

    char moved[sizeof files[0].path];
    snprintf(moved, sizeof moved, "%s/x-00003-of-00003.gguf", f.folder.path);
    assert_int_equal(rename(files[2].path, moved), 0);
    mc.path = files[0].path;
    refused(&f, &mc, SGI_E_IO, files[2].path, "No such file");
    f.folders[0] = f.folder.path;
    mc.folders = f.folders;
    mc.folders_count = 1;
    load_and_compare(f.rt, &mc, files);
    assert_int_equal(rename(moved, files[2].path), 0);
    for (int n = 0; n < SPLIT; n++)
        test_file_free(&files[n]);
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shards_in_several_folders_are_one_model),
        cmocka_unit_test(a_config_is_described_without_being_registered),
        cmocka_unit_test(a_shard_has_to_be_in_exactly_one_folder),
        cmocka_unit_test(folders_are_checked),
        cmocka_unit_test(allowed_roots_hold_for_each_folder),
        cmocka_unit_test(a_shard_elsewhere_is_compared_before_a_load_too),
        cmocka_unit_test(an_older_config_has_no_folders),
        cmocka_unit_test(a_split_gguf_has_a_part_for_each_file),
    };
    return cmocka_run_group_tests_name("models in several files", tests, NULL, NULL);
}
