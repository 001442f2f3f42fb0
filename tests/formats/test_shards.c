/* SPDX-License-Identifier: Apache-2.0 */
/* Safetensors in several files, folders, and telling one kind of file from another. */
#include "want.h"

#include <stdio.h>
#include <stdlib.h>

static void add_text(struct fs_memory *fs, const char *path, const char *text)
{
    fs_memory_add(fs, path, text, strlen(text));
}

/* A shard with the given tensors of one byte each, separated by spaces, and metadata as JSON text or NULL. */
static void add_shard(struct fs_memory *fs, const char *path, const char *names, const char *metadata)
{
    struct bytes header = { .data = NULL }, b = { .data = NULL };
    char        *copy = strdup(names), *rest = NULL;
    unsigned     at = 0;
    put_format(&header, "{");
    if (metadata)
        put_format(&header, "\"__metadata__\":%s", metadata);
    for (char *name = strtok_r(copy, " ", &rest); name; name = strtok_r(NULL, " ", &rest)) {
        put_format(&header, "%s\"%s\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%u,%u]}",
                   metadata || at > 0 ? "," : "", name, at, at + 1);
        at++;
    }
    put_bytes(&header, "}", 2);
    make_safetensors(&b, (const char *)header.data, at);
    fs_memory_add(fs, path, b.data, b.size);
    bytes_free(&header);
    bytes_free(&b);
    free(copy);
}

/* /m/one.safetensors with a, b; /m/two.safetensors with c; an index of the given map. */
static struct fs_memory *two_shards(const char *map)
{
    struct fs_memory *fs = fs_memory_new();
    char              text[1024];
    add_shard(fs, "/m/one.safetensors", "a b", NULL);
    add_shard(fs, "/m/two.safetensors", "c", NULL);
    snprintf(text, sizeof text, "{\"metadata\": {\"total_size\": 3}, \"weight_map\": %s}\n", map);
    add_text(fs, "/m/model.safetensors.index.json", text);
    return fs;
}

static void index_refused(const char *map, const char *what, const char *also)
{
    struct fs_memory *fs = two_shards(map);
    want_refused(fs, "/m/model.safetensors.index.json", what, also);
    fs_memory_free(fs);
}

/* ----------------------------------------------------------------------------------------------------------- index */

static void an_index_brings_its_shards_together(void **state)
{
    (void)state;
    struct fs_memory *fs = two_shards(
        "{\"c\": \"two.safetensors\", \"b\": \"one.safetensors\", \"a\": \"one.safetensors\"}");
    add_shard(fs, "/m/other.safetensors", "a", NULL); /* not in the index, not in the model */
    struct sgi__manifest *m = want_open(fs, "/m/model.safetensors.index.json", 0);
    assert_string_equal(m->format, "safetensors");
    assert_int_equal(m->files_count, 2); /* in the order of their names */
    assert_string_equal(m->files[0].name, "one.safetensors");
    assert_string_equal(m->files[0].path, "/m/one.safetensors");
    assert_string_equal(m->files[1].name, "two.safetensors");
    assert_int_equal(m->files[0].tensor_first, 0);
    assert_int_equal(m->files[0].tensor_count, 2);
    assert_int_equal(m->files[1].tensor_first, 2);
    assert_int_equal(m->files[1].tensor_count, 1);
    assert_int_equal(m->tensors_count, 3);
    want_tensor(m, "a", "U8", 0, m->files[0].data_offset, 1, 1, (const uint64_t[]){ 1 });
    want_tensor(m, "b", "U8", 0, m->files[0].data_offset + 1, 1, 1, (const uint64_t[]){ 1 });
    want_tensor(m, "c", "U8", 1, m->files[1].data_offset, 1, 1, (const uint64_t[]){ 1 });
    sgi__manifest_free(m);
    fs_memory_free(fs);
}

static void shards_are_looked_for_beside_the_index_as_asked_for(void **state)
{
    (void)state;
    struct fs_memory *fs = fs_memory_new(); /* as the Hugging Face cache has it: links into a folder of blobs */
    add_shard(fs, "/blobs/1111", "a", NULL);
    add_text(fs, "/blobs/2222", "{\"weight_map\":{\"a\":\"x.safetensors\"}}");
    fs_memory_link(fs, "/snapshot/x.safetensors", "/blobs/1111");
    fs_memory_link(fs, "/snapshot/model.safetensors.index.json", "/blobs/2222");
    struct sgi__manifest *m = want_open(fs, "/snapshot", 0);
    assert_string_equal(m->files[0].path, "/blobs/1111");
    assert_string_equal(m->files[0].name, "x.safetensors");
    sgi__manifest_free(m);
    add_shard(fs, "x.safetensors", "a", NULL);
    add_text(fs, "here.json", "{\"weight_map\":{\"a\":\"x.safetensors\"}}");
    m = want_open(fs, "here.json", 0); /* a path without a folder */
    assert_string_equal(m->files[0].path, "x.safetensors");
    sgi__manifest_free(m);
    fs_memory_free(fs);
}

static void tensors_that_the_index_does_not_name_belong_to_the_model(void **state)
{
    (void)state;
    struct fs_memory     *fs = two_shards("{\"a\": \"one.safetensors\", \"c\": \"two.safetensors\"}");
    struct sgi__manifest *m = want_open(fs, "/m/model.safetensors.index.json", 0);
    assert_int_equal(m->tensors_count, 3);
    assert_int_equal(m->tensors[sgi__manifest_find(m, "b")].file, 0);
    sgi__manifest_free(m);
    fs_memory_free(fs);
}

static void metadata_of_the_first_shard_count(void **state)
{
    (void)state;
    struct fs_memory *fs = fs_memory_new();
    add_shard(fs, "/m/x-00001-of-00003.safetensors", "a", "{\"format\":\"pt\",\"only1\":\"1\",\"n\":\"one\"}");
    add_shard(fs, "/m/x-00002-of-00003.safetensors", "b", "{\"n\":\"two\",\"only2\":\"2\",\"format\":\"np\"}");
    add_shard(fs, "/m/x-00003-of-00003.safetensors", "c", "{\"n\":\"three\",\"only2\":\"3\"}");
    struct sgi__manifest *m = want_open(fs, "/m", 0);
    assert_int_equal(m->metadata_count, 4);
    assert_string_equal(want_value(m, "format", SGI__VALUE_TEXT)->text.text, "pt");
    assert_string_equal(want_value(m, "only1", SGI__VALUE_TEXT)->text.text, "1");
    assert_string_equal(want_value(m, "n", SGI__VALUE_TEXT)->text.text, "one");
    assert_string_equal(want_value(m, "only2", SGI__VALUE_TEXT)->text.text, "2");
    sgi__manifest_free(m);
    fs_memory_free(fs);
}

static void a_map_that_is_not_true_is_refused(void **state)
{
    (void)state;
    index_refused("{\"a\":\"two.safetensors\",\"b\":\"one.safetensors\"}", "tensor 'a' is not in 'two.safetensors'",
                  NULL);
    index_refused("{\"a\":\"one.safetensors\",\"zz\":\"two.safetensors\"}", "tensor 'zz' is not in 'two.safetensors'",
                  NULL);
    index_refused("{\"a\":\"one.safetensors\",\"a\":\"one.safetensors\"}", "tensor 'a' is in weight_map twice", NULL);
    index_refused("{}", "weight_map names no file", NULL);
    index_refused("[]", "weight_map is not a JSON object", NULL);
    index_refused("{\"a\":1}", "the shard of tensor 'a' is not a string", NULL);
    index_refused("{\"a\":\"one.safetensors\" \"b\":1}", "the shard of tensor 'a' is not valid JSON", NULL);
    index_refused("{\"a\\u0000\":\"one.safetensors\"}", "a tensor's name is not valid JSON", NULL);
    index_refused("{\"a\":\"one.safetensors\"},\"weight_map\":{}", "weight_map is there twice", NULL);
    index_refused("{\"a\":\"one.safetensors\"},\"x\":[1,2", "the index ends early", NULL);
    index_refused("{\"a\":\"one.safetensors\"},\"x\":[1,,2]", "a member of the index is not valid JSON", NULL);
}

static void shard_names_are_one_path_component(void **state)
{
    (void)state;
    index_refused("{\"a\":\"../one.safetensors\"}", "tensor 'a' is said to be in '../one.safetensors'",
                  "not the name of a file");
    index_refused("{\"a\":\"/m/one.safetensors\"}", "tensor 'a' is said to be in '/m/one.safetensors'",
                  "not the name of a file");
    index_refused("{\"a\":\"sub/one.safetensors\"}", "tensor 'a' is said to be in 'sub/one.safetensors'",
                  "not the name of a file");
    index_refused("{\"a\":\"\"}", "tensor 'a' is said to be in ''", "not the name of a file");
    index_refused("{\"a\":\".\"}", "tensor 'a' is said to be in '.'", "not the name of a file");
    index_refused("{\"a\":\"..\"}", "tensor 'a' is said to be in '..'", "not the name of a file");
    char map[400];
    snprintf(map, sizeof map, "{\"a\":\"%0256d\"}", 0);
    index_refused(map, "tensor 'a' is said to be in '0000", "not the name of a file");
}

static void shards_that_do_not_fit_together_are_refused(void **state)
{
    (void)state;
    struct fs_memory *fs = two_shards("{\"a\": \"one.safetensors\", \"c\": \"two.safetensors\"}");
    add_shard(fs, "/m/two.safetensors", "c a", NULL);
    want_refused(fs, "/m", "tensor 'a' is also in one.safetensors", NULL);
    struct bytes b = { .data = NULL };
    make_safetensors(&b, "{\"c\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 3);
    fs_memory_add(fs, "/m/two.safetensors", b.data, b.size);
    bytes_free(&b);
    want_refused(fs, "/m", "/two.safetensors: 2 bytes follow the last tensor, 'c'", NULL);
    fs_memory_free(fs);
}

static void a_missing_shard_is_named(void **state)
{
    (void)state;
    struct sgi__manifest *m = NULL;
    sgi_error             err = { .struct_size = sizeof err };
    struct fs_memory     *fs = two_shards("{\"a\": \"one.safetensors\", \"c\": \"three.safetensors\"}");
    assert_int_equal(sgi__format_open(&fs->table, "/m", NULL, &m, &err), SGI_E_IO);
    assert_string_equal(err.message, "/m/three.safetensors: no such file; model.safetensors.index.json asks for it");
    fs_memory_free(fs);
}

/* Which of the folders are given: "n", "o", or both. */
static sgi_status open_in(struct fs_memory *fs, const char *given, sgi_error *err)
{
    const char                *folders[] = { "/n", "/o/" };
    struct sgi__format_options options = { .folders = folders + (given[0] == 'o'),
                                           .folders_count = (uint32_t)strlen(given) };
    struct sgi__manifest      *m = NULL;
    *err = (sgi_error){ .struct_size = sizeof *err };
    sgi_status st = sgi__format_open(&fs->table, "/m", &options, &m, err);
    assert_int_equal(fs->open_files, 0);
    if (st == SGI_OK) {
        assert_int_equal(m->files_count, 2); /* in the order of their names, wherever they are */
        assert_string_equal(m->files[0].name, "one.safetensors");
        assert_string_equal(m->files[1].name, "two.safetensors");
        assert_int_equal(m->tensors[sgi__manifest_find(m, "c")].file, 1);
    }
    sgi__manifest_free(m);
    return st;
}

static void shards_are_looked_for_in_further_folders(void **state)
{
    (void)state;
    struct fs_memory *fs = fs_memory_new();
    sgi_error         err;
    add_text(fs, "/m/i.safetensors.index.json",
             "{\"weight_map\":{\"a\":\"one.safetensors\",\"c\":\"two.safetensors\"}}");
    add_shard(fs, "/n/one.safetensors", "a", NULL);
    add_shard(fs, "/o/two.safetensors", "c", NULL);
    assert_int_equal(open_in(fs, "no", &err), SGI_OK);
    assert_int_equal(open_in(fs, "", &err), SGI_E_IO);
    assert_string_equal(err.message, "/m/one.safetensors: no such file; i.safetensors.index.json asks for it");
    assert_int_equal(open_in(fs, "n", &err), SGI_E_FORMAT);
    assert_string_equal(err.message, "/m/two.safetensors: not there, nor in /n; i.safetensors.index.json asks for it");
    assert_int_equal(open_in(fs, "o", &err), SGI_E_FORMAT);
    assert_string_equal(err.message, "/m/one.safetensors: not there, nor in /o/; i.safetensors.index.json asks for it");
    fs_memory_link(fs, "/m/two.safetensors", "/o/two.safetensors"); /* one file, two ways to it */
    assert_int_equal(open_in(fs, "no", &err), SGI_OK);
    assert_int_equal(open_in(fs, "n", &err), SGI_OK);
    add_shard(fs, "/n/two.safetensors", "c", NULL);
    assert_int_equal(open_in(fs, "no", &err), SGI_E_FORMAT);
    assert_string_equal(err.message, "/m/two.safetensors: also in /n/two.safetensors");
    fs_memory_special(fs, "/n/two.safetensors"); /* what cannot be opened is not looked for elsewhere */
    assert_int_equal(open_in(fs, "no", &err), SGI_E_IO);
    assert_string_equal(err.message, "/n/two.safetensors: not a regular file");
    fs_memory_free(fs);
}

static void the_index_has_maxima(void **state)
{
    (void)state;
    struct fs_memory          *fs = two_shards("{\"a\": \"one.safetensors\"}");
    struct sgi__format_options options = { .header_bytes_max = 60 };
    struct sgi__manifest      *m = NULL;
    sgi_error                  err = { .struct_size = sizeof err };
    assert_int_equal(sgi__format_open(&fs->table, "/m/model.safetensors.index.json", &options, &m, &err), SGI_E_FORMAT);
    assert_non_null(strstr(err.message, "/m/model.safetensors.index.json: the index has "));
    assert_non_null(strstr(err.message, "more than the 60 allowed"));

    struct bytes text = { .data = NULL };
    put_format(&text, "{\"weight_map\":{");
    for (int i = 0; i <= 4096; i++)
        put_format(&text, "%s\"t%d\":\"s%d\"", i == 0 ? "" : ",", i, i);
    put_format(&text, "}}");
    fs_memory_add(fs, "/m/many.json", text.data, text.size);
    want_refused(fs, "/m/many.json", "weight_map names more than 4096 files", NULL);
    bytes_free(&text);
    put_format(&text, "{\"metadata\":\"%065535d\",\"weight_map\":{}}", 0); /* 65537 bytes with its quotes */
    fs_memory_add(fs, "/m/long.json", text.data, text.size);
    want_refused(fs, "/m/long.json", "more than 65536 bytes beside weight_map", NULL);
    bytes_free(&text);
    put_format(&text, "{\"metadata\":\"%065534d\",\"weight_map\":{\"a\":\"one.safetensors\"}}", 0);
    fs_memory_add(fs, "/m/full.json", text.data, text.size);
    sgi__manifest_free(want_open(fs, "/m/full.json", 0));
    bytes_free(&text);
    fs_memory_free(fs);
}

/* ---------------------------------------------------------------------------------------------------------- folders */

static void a_folder_with_one_model_is_opened(void **state)
{
    (void)state;
    struct fs_memory *fs = fs_memory_new();
    struct bytes      b = { .data = NULL };
    add_text(fs, "/m/config.json", "{}");
    add_text(fs, "/m/._model.safetensors", "a note of another system");
    add_text(fs, "/m/deeper/model.safetensors", "not this one");
    add_shard(fs, "/m/model.sgi", "p", NULL);
    struct sgi__manifest *m = want_open(fs, "/m", 0);
    assert_string_equal(m->files[0].path, "/m/model.sgi");
    sgi__manifest_free(m);

    make_gguf(&b, 32);
    fs_memory_add(fs, "/m/model.gguf", b.data, b.size);
    bytes_free(&b);
    m = want_open(fs, "/m", 0); /* before a .sgi */
    assert_string_equal(m->format, "gguf");
    assert_string_equal(m->files[0].path, "/m/model.gguf");
    sgi__manifest_free(m);

    add_shard(fs, "/m/model.safetensors", "a", NULL); /* before a .gguf */
    m = want_open(fs, "/m/", 0);
    assert_string_equal(m->files[0].path, "/m/model.safetensors");
    sgi__manifest_free(m);

    add_shard(fs, "/m/part.bin", "b", NULL); /* told by its bytes, not its name */
    add_text(fs, "/m/x.safetensors.index.json", "{\"weight_map\":{\"b\":\"part.bin\"}}"); /* before everything */
    m = want_open(fs, "/m", 0);
    assert_int_equal(m->files_count, 1);
    assert_string_equal(m->files[0].path, "/m/part.bin");
    sgi__manifest_free(m);
    fs_memory_free(fs);
}

static void a_complete_set_without_an_index_is_opened(void **state)
{
    (void)state;
    struct fs_memory *fs = fs_memory_new();
    add_shard(fs, "/m/x-00002-of-00003.safetensors", "c", NULL);
    add_shard(fs, "/m/x-00003-of-00003.safetensors", "", NULL);
    add_shard(fs, "/m/x-00001-of-00003.safetensors", "d b", NULL);
    struct sgi__manifest *m = want_open(fs, "/m", 0);
    assert_int_equal(m->files_count, 3);
    assert_string_equal(m->files[0].name, "x-00001-of-00003.safetensors");
    assert_int_equal(m->files[2].tensor_first, 3);
    assert_int_equal(m->files[2].tensor_count, 0);
    assert_int_equal(m->tensors_count, 3);
    assert_int_equal(m->tensors[sgi__manifest_find(m, "c")].file, 1);
    sgi__manifest_free(m);
    fs_memory_free(fs);
}

/* A folder with these (empty) files, separated by spaces, is refused. */
static void folder_refused(const char *names, const char *what, const char *also)
{
    struct fs_memory *fs = fs_memory_new();
    char             *copy = strdup(names), *rest = NULL;
    for (char *name = strtok_r(copy, " ", &rest); name; name = strtok_r(NULL, " ", &rest)) {
        char path[200];
        snprintf(path, sizeof path, "/folder/%s", name);
        add_text(fs, path, "");
    }
    want_refused(fs, "/folder", what, also);
    fs_memory_free(fs);
    free(copy);
}

static void a_folder_that_is_not_one_model_is_refused(void **state)
{
    (void)state;
    folder_refused("config.json pytorch_model.bin", "a folder without a model", "among 2 names");
    folder_refused(".safetensors .hidden", "a folder without a model", "among 0 names");
    folder_refused("b.gguf a.gguf c.gguf", "a folder with 3 .gguf files ('a.gguf', 'b.gguf', ...): name the one", NULL);
    folder_refused("b.sgi config.json a.sgi", "a folder with 2 .sgi files ('a.sgi', 'b.sgi'): name the one", NULL);
    folder_refused("b.sgi a.sgi b.gguf a.gguf", "a folder with 2 .gguf files ('a.gguf', 'b.gguf')", NULL);
    folder_refused("b.safetensors a.safetensors",
                   "a folder with 2 .safetensors files and no index ('a.safetensors', 'b.safetensors')", NULL);
    folder_refused("a.safetensors.index.json b.safetensors.index.json x.safetensors",
                   "a folder with 2 indices ('a.safetensors.index.json'", NULL);
    folder_refused("x-00001-of-00003.safetensors x-00003-of-00003.safetensors",
                   "shard 2 of 3 is missing before 'x-00003-of-00003", NULL);
    folder_refused("x-00002-of-00003.safetensors x-00003-of-00003.safetensors",
                   "shard 1 of 3 is missing before 'x-00002-of-00003", NULL);
    folder_refused("x-00001-of-00003.safetensors x-00002-of-00003.safetensors",
                   "2 of 3 shards: none follows 'x-00002-of-00003.safetensors'", NULL);
    folder_refused("x-00001-of-00002.safetensors y-00002-of-00002.safetensors",
                   ".safetensors files of several models and no index", NULL);
    folder_refused("x-00001-of-00002.safetensors x-00002-of-00003.safetensors",
                   ".safetensors files of several models and no index", NULL);
    folder_refused("x-00001-of-00002.safetensors x-0000b-of-00002.safetensors", "2 .safetensors files and no index",
                   NULL);
    folder_refused("x-00001-of-00002.safetensors x-00002_of_00002.safetensors", "2 .safetensors files and no index",
                   NULL);
}

static sgi_status list_many(void *user, const char *path, uint32_t names_max,
                            sgi_status (*each)(void *each_user, const char *name, sgi_error *err), void *each_user,
                            sgi_error *err)
{
    (void)user, (void)path, (void)each, (void)each_user, (void)err;
    assert_int_equal(names_max, SGI__FOLDER_NAMES_MAX); /* the bound is the fs's to keep */
    return SGI_E_FORMAT;
}

static void the_names_of_a_folder_have_a_maximum(void **state)
{
    (void)state;
    struct fs_memory     *fs = fs_memory_new();
    struct sgi__manifest *m = NULL;
    add_text(fs, "/m/model.safetensors", "");
    fs->table.list = list_many;
    assert_int_equal(sgi__format_open(&fs->table, "/m", NULL, &m, NULL), SGI_E_FORMAT);
    fs_memory_free(fs);
}

/* ----------------------------------------------------------------------------------------------------- other things */

static void what_is_no_model_file_is_refused(void **state)
{
    (void)state;
    struct fs_memory     *fs = fs_memory_new();
    struct sgi__manifest *m = NULL;
    sgi_error             err = { .struct_size = sizeof err };
    add_text(fs, "/empty", "");
    add_text(fs, "/short", "GGU");
    add_text(fs, "/brace", "{}");
    add_text(fs, "/list", "[1, 2, 3]");
    add_text(fs, "/config.json", "{\"architectures\": [\"X\"]}");
    add_text(fs, "/words", "It was a dark and stormy night.");
    fs_memory_add(fs, "/sums", "\x89SUM\r\n\x1a\n", 8);
    fs_memory_add(fs, "/zeros", "\0\0\0\0\0\0\0\0\0", 9);
    fs_memory_special(fs, "/fifo");
    fs_memory_link(fs, "/dangling", "/nowhere");
    want_refused(fs, "/empty", "too short for a model file: 0 bytes", NULL);
    want_refused(fs, "/short", "too short for a model file: 3 bytes", NULL);
    want_refused(fs, "/brace", "no weight_map in it, so it is no index", NULL);
    want_refused(fs, "/list", "neither GGUF nor safetensors", NULL);
    want_refused(fs, "/config.json", "no weight_map in it, so it is no index", NULL);
    want_refused(fs, "/words", "neither GGUF nor safetensors nor packed, or cut short", NULL);
    want_refused(fs, "/sums", "checks of a model's file, as sgi digest writes them, and no model", NULL);
    want_refused(fs, "/zeros", "the header is not a JSON object", NULL);
    assert_int_equal(sgi__format_open(&fs->table, "/fifo", NULL, &m, &err), SGI_E_IO);
    assert_non_null(strstr(err.message, "/fifo"));
    assert_int_equal(sgi__format_open(&fs->table, "/dangling", NULL, &m, &err), SGI_E_IO);
    assert_non_null(strstr(err.message, "/dangling"));
    assert_int_equal(sgi__format_open(&fs->table, "/nowhere", NULL, &m, NULL), SGI_E_IO);
    assert_int_equal(sgi__format_open(&fs->table, "/words", NULL, &m, NULL), SGI_E_FORMAT);
    assert_null(m);
    fs_memory_free(fs);
}

static void a_cut_safetensors_file_is_not_taken_for_an_index(void **state)
{
    (void)state;
    struct fs_memory *fs = fs_memory_new();
    fs_memory_add(fs, "/m", "{\0\0\0\0\0\0\0{\"a\":", 13); /* a header of 123 bytes: '{' */
    want_refused(fs, "/m", "it announces a header of 123 bytes, and 5 follow", NULL);
    fs_memory_free(fs);
}

static void long_paths_are_named_by_their_end(void **state)
{
    (void)state;
    struct fs_memory     *fs = fs_memory_new();
    struct sgi__manifest *m = NULL;
    sgi_error             err = { .struct_size = sizeof err };
    char                  path[300];
    snprintf(path, sizeof path, "/%0250d/model.safetensors", 0);
    add_text(fs, path, "");
    assert_int_equal(sgi__format_open(&fs->table, path, NULL, &m, &err), SGI_E_FORMAT);
    assert_non_null(strstr(err.message, "0/model.safetensors: too short for a model file: 0 bytes"));
    assert_int_equal(strncmp(err.message, "...000", 6), 0);
    fs_memory_free(fs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_index_brings_its_shards_together),
        cmocka_unit_test(shards_are_looked_for_beside_the_index_as_asked_for),
        cmocka_unit_test(tensors_that_the_index_does_not_name_belong_to_the_model),
        cmocka_unit_test(metadata_of_the_first_shard_count),
        cmocka_unit_test(a_map_that_is_not_true_is_refused),
        cmocka_unit_test(shard_names_are_one_path_component),
        cmocka_unit_test(shards_that_do_not_fit_together_are_refused),
        cmocka_unit_test(a_missing_shard_is_named),
        cmocka_unit_test(shards_are_looked_for_in_further_folders),
        cmocka_unit_test(the_index_has_maxima),
        cmocka_unit_test(a_folder_with_one_model_is_opened),
        cmocka_unit_test(a_complete_set_without_an_index_is_opened),
        cmocka_unit_test(a_folder_that_is_not_one_model_is_refused),
        cmocka_unit_test(the_names_of_a_folder_have_a_maximum),
        cmocka_unit_test(what_is_no_model_file_is_refused),
        cmocka_unit_test(a_cut_safetensors_file_is_not_taken_for_an_index),
        cmocka_unit_test(long_paths_are_named_by_their_end),
    };
    return cmocka_run_group_tests_name("formats: shards and folders", tests, NULL, NULL);
}
