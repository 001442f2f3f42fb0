/* SPDX-License-Identifier: Apache-2.0 */
/* A manifest as JSON and as text. jansson reads the JSON back; compare_readers.py does it with Python. */
#include "want.h"

#include <jansson.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct text {
    struct bytes bytes;
    size_t       pieces, stop_at; /* stop_at: refuse this piece; 0: none */
};

static int take(void *user, const char *text, size_t bytes)
{
    struct text *t = user;
    assert_true(bytes > 0);
    if (++t->pieces == t->stop_at)
        return 1;
    put_bytes(&t->bytes, text, bytes);
    return 0;
}

static json_t *read_back(const struct sgi__manifest *m)
{
    struct text  text = { .pieces = 0 };
    json_error_t why;
    assert_int_equal(sgi__format_write_json(m, take, &text, NULL), SGI_OK);
    json_t *json = json_loadb((const char *)text.bytes.data, text.bytes.size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL,
                              &why);
    if (!json)
        fail_msg("line %d: %s", why.line, why.text);
    bytes_free(&text.bytes);
    return json;
}

static const json_t *at(const json_t *json, const char *list, size_t index)
{
    return json_array_get(json_object_get(json, list), index);
}

static const char *text_of(const json_t *json, const char *key)
{
    return json_string_value(json_object_get(json, key));
}

static json_int_t number_of(const json_t *json, const char *key)
{
    assert_true(json_is_integer(json_object_get(json, key)));
    return json_integer_value(json_object_get(json, key));
}

static void json_has_every_field(void **state)
{
    (void)state;
    struct bytes          b = { .data = NULL };
    size_t                data = make_gguf(&b, 32), size = b.size;
    struct sgi__manifest *m = want_file(&b, SGI__FORMAT_METADATA);
    json_t               *json = read_back(m);
    assert_string_equal(text_of(json, "format"), "gguf");
    assert_int_equal(number_of(json, "format_version"), 3);
    assert_int_equal(json_array_size(json_object_get(json, "files")), 1);
    assert_string_equal(text_of(at(json, "files", 0), "name"), "one.file");
    assert_string_equal(text_of(at(json, "files", 0), "path"), "/models/one.file");
    assert_int_equal(number_of(at(json, "files", 0), "bytes"), size);
    assert_int_equal(number_of(at(json, "files", 0), "data_offset"), data);
    assert_int_equal(json_array_size(json_object_get(json, "tensors")), 2);
    const json_t *tensor = at(json, "tensors", 0);
    assert_int_equal(json_object_size(tensor), 6);
    assert_string_equal(text_of(tensor, "name"), "a");
    assert_string_equal(text_of(tensor, "dtype"), "F32");
    assert_string_equal(text_of(tensor, "file"), "one.file");
    assert_int_equal(number_of(tensor, "offset"), data);
    assert_int_equal(number_of(tensor, "bytes"), 24);
    assert_int_equal(json_array_size(json_object_get(tensor, "shape")), 2);
    assert_int_equal(json_integer_value(at(tensor, "shape", 0)), 3);
    assert_int_equal(json_integer_value(at(tensor, "shape", 1)), 2);
    assert_int_equal(number_of(at(json, "tensors", 1), "offset"), data + 32);
    const json_t *metadata = json_object_get(json, "metadata");
    assert_int_equal(json_object_size(metadata), 2);
    assert_string_equal(text_of(metadata, "general.architecture"), "test");
    assert_int_equal(number_of(metadata, "general.alignment"), 32);
    json_decref(json);
    sgi__manifest_free(m);
}

static void an_empty_model_is_json_too(void **state)
{
    (void)state;
    struct bytes b = { .data = NULL };
    make_safetensors(&b, "{}", 0);
    struct sgi__manifest *m = want_file(&b, 0);
    json_t               *json = read_back(m);
    assert_string_equal(text_of(json, "format"), "safetensors");
    assert_null(json_object_get(json, "format_version"));
    assert_int_equal(json_array_size(json_object_get(json, "tensors")), 0);
    assert_int_equal(json_object_size(json_object_get(json, "metadata")), 0);
    json_decref(json);
    sgi__manifest_free(m);
}

/* A manifest of one text, or one number. */
static struct sgi__manifest *with_value(const struct sgi__value *value)
{
    struct sgi__manifest *m = sgi__manifest_new();
    m->format = "test";
    assert_int_equal(sgi__manifest_add_metadata(m, "key", value, NULL), SGI_OK);
    assert_int_equal(sgi__manifest_finish(m, NULL), SGI_OK);
    return m;
}

static void text_reads_back(const char *text, size_t bytes, const char *back, size_t back_bytes)
{
    struct sgi__manifest *m = with_value(&(struct sgi__value){ .kind = SGI__VALUE_TEXT, .text = { text, bytes } });
    json_t               *json = read_back(m);
    const json_t         *value = json_object_get(json_object_get(json, "metadata"), "key");
    assert_int_equal(json_string_length(value), back_bytes);
    assert_memory_equal(json_string_value(value), back, back_bytes);
    json_decref(json);
    sgi__manifest_free(m);
}

static void every_text_reads_back(void **state)
{
    (void)state;
    char all[256];
    for (int i = 0; i < 128; i++)
        all[i] = (char)i;
    text_reads_back(all, 128, all, 128); /* all of ASCII, with its zero */
    text_reads_back("", 0, "", 0);
    text_reads_back("\"\\/\b\f\n\r\t", 8, "\"\\/\b\f\n\r\t", 8);
    text_reads_back("\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", 21,
                    "\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", 21);
}

#define FFFD "\xef\xbf\xbd"

static void bytes_that_are_no_text_are_replaced(void **state)
{
    (void)state;
    text_reads_back("a\xff"
                    "b",
                    3, "a" FFFD "b", 5);
    text_reads_back("\xc3", 1, FFFD, 3); /* cut short */
    text_reads_back("\xe2\x82", 2, FFFD FFFD, 6);
    text_reads_back("\xc0\xaf", 2, FFFD FFFD, 6); /* overlong */
    text_reads_back("\xe0\x9f\xbf", 3, FFFD FFFD FFFD, 9);
    text_reads_back("\xed\xa0\x80", 3, FFFD FFFD FFFD, 9);           /* a surrogate */
    text_reads_back("\xf4\x90\x80\x80", 4, FFFD FFFD FFFD FFFD, 12); /* past the last character */
    text_reads_back("\xf5\x80", 2, FFFD FFFD, 6);
    text_reads_back("\x80\xc3\xbc\x80", 4, FFFD "\xc3\xbc" FFFD, 8);
    text_reads_back("\xe2\x28\xa1", 3, FFFD "(" FFFD, 7);
}

static const char *written(const struct sgi__value *value, char *out, size_t out_bytes)
{
    struct text           text = { .pieces = 0 };
    struct sgi__manifest *m = with_value(value);
    assert_int_equal(sgi__format_write_json(m, take, &text, NULL), SGI_OK);
    sgi__manifest_free(m);
    put_u8(&text.bytes, 0);
    const char *begin = strstr((const char *)text.bytes.data, "\"key\": ");
    assert_non_null(begin);
    begin += strlen("\"key\": ");
    snprintf(out, out_bytes, "%.*s", (int)strcspn(begin, "\n"), begin);
    bytes_free(&text.bytes);
    return out;
}

static const char *written_f64(double value, char *out, size_t out_bytes)
{
    return written(&(struct sgi__value){ .kind = SGI__VALUE_F64, .f64 = value }, out, out_bytes);
}

static void numbers_are_exact(void **state)
{
    (void)state;
    char out[64];
    assert_string_equal(written(&(struct sgi__value){ .kind = SGI__VALUE_U64, .u64 = UINT64_MAX }, out, sizeof out),
                        "18446744073709551615");
    assert_string_equal(written(&(struct sgi__value){ .kind = SGI__VALUE_I64, .i64 = INT64_MIN }, out, sizeof out),
                        "-9223372036854775808");
    assert_string_equal(written(&(struct sgi__value){ .kind = SGI__VALUE_BOOL, .boolean = true }, out, sizeof out),
                        "true");
    assert_string_equal(written(&(struct sgi__value){ .kind = SGI__VALUE_BOOL }, out, sizeof out), "false");
    assert_string_equal(written_f64(1, out, sizeof out), "1.0"); /* a float to every reader */
    assert_string_equal(written_f64(-0.0, out, sizeof out), "-0.0");
    assert_string_equal(written_f64(1e-5, out, sizeof out), "1e-05");
    assert_string_equal(written_f64(0.1, out, sizeof out), "0.1");
    assert_string_equal(written_f64((double)0.1f, out, sizeof out), "0.10000000149011612");
    const double hard[] = { 5e-324,         1.7976931348623157e308, 0.1 + 0.2, 9007199254740993.0,
                            (double)1e-45f, (double)3.4028235e38f,  1e22,      123456.5 };
    for (size_t i = 0; i < sizeof hard / sizeof *hard; i++) {
        written_f64(hard[i], out, sizeof out);
        assert_true(strtod(out, NULL) == hard[i]);
        assert_non_null(strpbrk(out, ".e"));
    }
}

static void what_json_has_no_number_for_is_text(void **state)
{
    (void)state;
    char out[64];
    assert_string_equal(written_f64((double)NAN, out, sizeof out), "\"NaN\"");
    assert_string_equal(written_f64(-(double)NAN, out, sizeof out), "\"NaN\"");
    assert_string_equal(written_f64((double)INFINITY, out, sizeof out), "\"Infinity\"");
    assert_string_equal(written(&(struct sgi__value){ .kind = SGI__VALUE_F32, .f64 = -(double)INFINITY }, out,
                                sizeof out),
                        "\"-Infinity\"");
}

static void a_locale_with_a_comma_changes_nothing(void **state)
{
    (void)state;
    static const char *const locales[] = { "de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "fr_FR.utf8" };
    const char              *set = NULL;
    char                     out[64];
    for (size_t i = 0; i < sizeof locales / sizeof *locales && !set; i++)
        set = setlocale(LC_NUMERIC, locales[i]);
    if (!set) {
        print_message("no locale with a decimal comma is installed\n");
        skip();
    }
    written_f64(0.5, out, sizeof out);
    setlocale(LC_NUMERIC, "C");
    assert_string_equal(out, "0.5");
}

static void arrays_are_written(void **state)
{
    (void)state;
    char              out[64];
    struct sgi__value items[3] = {
        { .kind = SGI__VALUE_TEXT, .text = { "a\"", 2 } },
        { .kind = SGI__VALUE_TEXT, .text = { "", 0 } },
        { .kind = SGI__VALUE_TEXT, .text = { "c", 1 } },
    };
    assert_string_equal(written(&(struct sgi__value){ .kind = SGI__VALUE_ARRAY, .array = { items, 3 } }, out,
                                sizeof out),
                        "[\"a\\\"\", \"\", \"c\"]");
    assert_string_equal(written(&(struct sgi__value){ .kind = SGI__VALUE_ARRAY, .array = { items, 0 } }, out,
                                sizeof out),
                        "[]");
}

static struct sgi__manifest *large(void)
{
    struct sgi__value  items[2000];
    struct sgi__value  array = { .kind = SGI__VALUE_ARRAY, .array = { items, 2000 } };
    struct sgi__value *kept;
    for (size_t i = 0; i < 2000; i++)
        items[i] = (struct sgi__value){ .kind = SGI__VALUE_U64, .u64 = i };
    struct sgi__manifest *m = sgi__manifest_new();
    m->format = "test";
    kept = sgi__manifest_alloc(m, sizeof items);
    memcpy(kept, items, sizeof items);
    array.array.items = kept;
    assert_int_equal(sgi__manifest_add_metadata(m, "key", &array, NULL), SGI_OK);
    assert_int_equal(sgi__manifest_finish(m, NULL), SGI_OK);
    return m;
}

static void a_receiver_that_stops_hears_no_more(void **state)
{
    (void)state;
    struct sgi__manifest *m = large();
    struct text           all = { .pieces = 0 }, some = { .stop_at = 2 };
    sgi_error             err = { .struct_size = sizeof err };
    assert_int_equal(sgi__format_write_json(m, take, &all, &err), SGI_OK);
    assert_true(all.pieces >= 3);
    assert_int_equal(sgi__format_write_json(m, take, &some, &err), SGI_E_CANCELED);
    assert_int_equal(err.code, SGI_E_CANCELED);
    assert_int_equal(some.pieces, 2);
    some.pieces = 0;
    some.stop_at = 1;
    assert_int_equal(sgi__format_write_text(m, take, &some, &err), SGI_E_CANCELED);
    assert_int_equal(some.pieces, 1);
    bytes_free(&all.bytes);
    bytes_free(&some.bytes);
    sgi__manifest_free(m);
}

static void text_is_for_people(void **state)
{
    (void)state;
    struct text  text = { .pieces = 0 };
    struct bytes b = { .data = NULL };
    make_gguf(&b, 32);
    struct sgi__manifest *m = want_file(&b, SGI__FORMAT_METADATA);
    assert_int_equal(sgi__format_write_text(m, take, &text, NULL), SGI_OK);
    put_u8(&text.bytes, 0);
    assert_string_equal((const char *)text.bytes.data, "gguf version 3: 2 tensors, 92 bytes in 1 file\n"
                                                       "  0  /models/one.file  320 bytes, data at 192\n"
                                                       "\nmetadata\n"
                                                       "  general.architecture = \"test\"\n"
                                                       "  general.alignment = 32\n"
                                                       "\n  tensor  dtype             offset        bytes  shape\n"
                                                       "  a       F32                  192           24  [3, 2]\n"
                                                       "  b       Q8_0                 224           68  [64]\n");
    bytes_free(&text.bytes);
    sgi__manifest_free(m);
}

static void text_shortens_and_cleans(void **state)
{
    (void)state;
    struct text           text = { .pieces = 0 };
    struct sgi__manifest *m = large();
    assert_int_equal(sgi__manifest_add_metadata(m, "esc\x1b[31m",
                                                &(struct sgi__value){ .kind = SGI__VALUE_F32, .f64 = 0.5 }, NULL),
                     SGI_OK);
    assert_int_equal(sgi__manifest_add_metadata(m, "yes",
                                                &(struct sgi__value){ .kind = SGI__VALUE_BOOL, .boolean = true }, NULL),
                     SGI_OK);
    assert_int_equal(sgi__manifest_add_metadata(m, "less", &(struct sgi__value){ .kind = SGI__VALUE_I64, .i64 = -7 },
                                                NULL),
                     SGI_OK);
    assert_int_equal(sgi__format_write_text(m, take, &text, NULL), SGI_OK);
    put_u8(&text.bytes, 0);
    assert_string_equal((const char *)text.bytes.data, "test: 0 tensors, 0 bytes in 0 files\n"
                                                       "\nmetadata\n"
                                                       "  key = [0, 1, 2, 3, ... 2000 items]\n"
                                                       "  esc?[31m = 0.5\n"
                                                       "  yes = true\n"
                                                       "  less = -7\n");
    bytes_free(&text.bytes);
    sgi__manifest_free(m);
}

static void text_tells_files_apart(void **state)
{
    (void)state;
    struct text           text = { .pieces = 0 };
    struct sgi__manifest *m = sgi__manifest_new();
    const uint64_t        bytes = 3 << 20;
    uint32_t              file;
    m->format = "test";
    for (int i = 0; i < 2; i++) {
        const char        *names[] = { "a", "blk.0.attn_norm.weight" };
        struct sgi__tensor tensor = { .name = names[i], .dtype = "U8", .bytes = bytes, .rank = 1 };
        assert_int_equal(sgi__manifest_add_file(m, "/f", "/f", &(struct sgi__file_id){ .bytes = bytes }, &file, NULL),
                         SGI_OK);
        tensor.file = file;
        assert_int_equal(sgi__manifest_add_tensor(m, &tensor, &bytes, NULL), SGI_OK);
    }
    struct sgi__value none = { .kind = SGI__VALUE_ARRAY }, one = { .kind = SGI__VALUE_ARRAY, .array = { &none, 1 } };
    assert_int_equal(sgi__manifest_add_metadata(m, "none", &none, NULL), SGI_OK);
    assert_int_equal(sgi__manifest_add_metadata(m, "one", &one, NULL), SGI_OK);
    assert_int_equal(sgi__manifest_finish(m, NULL), SGI_OK);
    assert_int_equal(sgi__format_write_text(m, take, &text, NULL), SGI_OK);
    put_u8(&text.bytes, 0);
    assert_string_equal((const char *)text.bytes.data,
                        "test: 2 tensors, 6.0 MiB in 2 files\n"
                        "  0  /f  3145728 bytes, data at 0\n"
                        "  1  /f  3145728 bytes, data at 0\n"
                        "\nmetadata\n"
                        "  none = []\n"
                        "  one = [[]]\n"
                        "\n  tensor                  dtype             offset        bytes  shape  file\n"
                        "  a                       U8                     0      3145728  [3145728]  0\n"
                        "  blk.0.attn_norm.weight  U8                     0      3145728  [3145728]  1\n");
    bytes_free(&text.bytes);
    sgi__manifest_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_has_every_field),
        cmocka_unit_test(an_empty_model_is_json_too),
        cmocka_unit_test(every_text_reads_back),
        cmocka_unit_test(bytes_that_are_no_text_are_replaced),
        cmocka_unit_test(numbers_are_exact),
        cmocka_unit_test(what_json_has_no_number_for_is_text),
        cmocka_unit_test(a_locale_with_a_comma_changes_nothing),
        cmocka_unit_test(arrays_are_written),
        cmocka_unit_test(a_receiver_that_stops_hears_no_more),
        cmocka_unit_test(text_is_for_people),
        cmocka_unit_test(text_shortens_and_cleans),
        cmocka_unit_test(text_tells_files_apart),
    };
    return cmocka_run_group_tests_name("formats: writing", tests, NULL, NULL);
}
