/* SPDX-License-Identifier: Apache-2.0 */
/* One safetensors file. Where a test says "as the reference", the Python package safetensors 0.8 was asked. */
#include "want.h"

#include <stdio.h>
#include <stdlib.h>

#define ENTRY(name, dtype, shape, begin, end) \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":[" shape "],\"data_offsets\":[" #begin "," #end "]}"

static struct bytes made(const char *header, size_t data_bytes)
{
    struct bytes b = { .data = NULL };
    make_safetensors(&b, header, data_bytes);
    return b;
}

static struct sgi__manifest *accepted(const char *header, size_t data_bytes)
{
    struct bytes b = made(header, data_bytes);
    return want_file(&b, SGI__FORMAT_METADATA);
}

static void refused(const char *header, size_t data_bytes, const char *what, const char *also)
{
    struct bytes b = made(header, data_bytes);
    want_file_refused(&b, 0, what, also);
}

/* --------------------------------------------------------------------------------------------------- what is legal */

static void every_field_is_read(void **state)
{
    (void)state;
    const char metadata[] = "\"__metadata__\":{\"format\":\"pt\",\"by\":\"a test\"}";
    const char second[] = ENTRY("w", "F32", "2,3", 4, 28), first[] = ENTRY("b", "F16", "2", 0, 4);
    char       header[400];
    snprintf(header, sizeof header, "{%s,%s,%s}", metadata, second, first);
    struct sgi__manifest *m = accepted(header, 28);
    uint64_t              data = 8 + strlen(header);
    assert_string_equal(m->format, "safetensors");
    assert_int_equal(m->format_version, 0);
    assert_int_equal(m->files_count, 1);
    assert_string_equal(m->files[0].path, "/models/one.file");
    assert_string_equal(m->files[0].name, "one.file");
    assert_int_equal(m->files[0].data_offset, data);
    assert_int_equal(m->files[0].id.bytes, data + 28);
    assert_int_equal(m->files[0].tensor_first, 0);
    assert_int_equal(m->files[0].tensor_count, 2);
    assert_int_equal(m->tensors_count, 2);
    assert_string_equal(m->tensors[0].name, "b"); /* by offset */
    want_tensor(m, "b", "F16", 0, data, 4, 1, (const uint64_t[]){ 2 });
    want_tensor(m, "w", "F32", 0, data + 4, 24, 2, (const uint64_t[]){ 2, 3 });
    assert_int_equal(m->tensors[1].block_elements, 1);
    assert_int_equal(m->tensors[1].block_bytes, 4);
    assert_int_equal(m->metadata_count, 2);
    assert_string_equal(want_value(m, "format", SGI__VALUE_TEXT)->text.text, "pt");
    assert_string_equal(want_value(m, "by", SGI__VALUE_TEXT)->text.text, "a test");
    sgi__manifest_free(m);
}

static void every_dtype_has_its_size(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        unsigned    elements, bytes;
    } dtypes[] = {
        { "BOOL", 1, 1 },    { "U8", 1, 1 },  { "I8", 1, 1 },          { "F8_E5M2", 1, 1 },     { "F8_E4M3", 1, 1 },
        { "F8_E8M0", 1, 1 }, { "F4", 2, 1 },  { "F8_E4M3FNUZ", 1, 1 }, { "F8_E5M2FNUZ", 1, 1 }, { "F6_E2M3", 4, 3 },
        { "F6_E3M2", 4, 3 }, { "I16", 1, 2 }, { "U16", 1, 2 },         { "F16", 1, 2 },         { "BF16", 1, 2 },
        { "I32", 1, 4 },     { "U32", 1, 4 }, { "F32", 1, 4 },         { "C64", 1, 8 },         { "F64", 1, 8 },
        { "I64", 1, 8 },     { "U64", 1, 8 },
    };
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++) {
        struct bytes header = { .data = NULL }, b = { .data = NULL };
        unsigned     elements = 3 * dtypes[i].elements, bytes = 3 * dtypes[i].bytes;
        put_format(&header, "{\"t\":{\"dtype\":\"%s\",\"shape\":[%u],\"data_offsets\":[0,%u]}}", dtypes[i].name,
                   elements, bytes);
        put_u8(&header, 0);
        make_safetensors(&b, (const char *)header.data, bytes);
        struct sgi__manifest *m = want_file(&b, 0);
        want_tensor(m, "t", dtypes[i].name, 0, 8 + header.size - 1, bytes, 1, (const uint64_t[]){ elements });
        assert_int_equal(m->tensors[0].block_elements, dtypes[i].elements);
        assert_int_equal(m->tensors[0].block_bytes, dtypes[i].bytes);
        sgi__manifest_free(m);
        bytes_free(&header);
    }
}

static void an_unknown_dtype_is_kept_as_text(void **state)
{
    (void)state;
    struct sgi__manifest *m = accepted("{" ENTRY("a", "INT3_PACKED", "5,5", 0, 7) "," ENTRY("b", "INT3_PACKED", "1", 7,
                                                                                            9) "}",
                                       9);
    int64_t               a = sgi__manifest_find(m, "a");
    assert_string_equal(m->tensors[a].dtype, "INT3_PACKED");
    assert_int_equal(m->tensors[a].bytes, 7);
    assert_int_equal(m->tensors[a].block_elements, 0);
    assert_int_equal(m->tensors[a].block_bytes, 0);
    assert_ptr_equal(m->tensors[0].dtype, m->tensors[1].dtype); /* once, not per tensor */
    sgi__manifest_free(m);
}

static void an_odd_data_start_is_legal(void **state)
{
    (void)state;
    const char header[] = "{" ENTRY("a", "F64", "1", 0, 8) "}   \n\t"; /* and white space behind the object */
    struct sgi__manifest *m = accepted(header, 8);
    assert_int_equal(m->tensors[0].offset % 8, (8 + strlen(header)) % 8);
    assert_int_not_equal(m->tensors[0].offset % 2, 0);
    sgi__manifest_free(m);
}

static void scalars_and_empty_tensors_are_legal(void **state)
{
    (void)state;
    const char scalar[] = ENTRY("scalar", "F32", "", 0, 4), last[] = ENTRY("last", "U8", "3,0", 6, 6);
    const char empty[] = ENTRY("empty", "F32", "0,7", 4, 4), rest[] = ENTRY("rest", "U8", "2", 4, 6);
    char       header[400];
    snprintf(header, sizeof header, " {%s,%s,%s,%s}", scalar, last, empty, rest);
    struct sgi__manifest *m = accepted(header, 6);
    uint64_t              data = 8 + strlen(header);
    want_tensor(m, "scalar", "F32", 0, data, 4, 0, NULL);
    want_tensor(m, "empty", "F32", 0, data + 4, 0, 2, (const uint64_t[]){ 0, 7 });
    want_tensor(m, "rest", "U8", 0, data + 4, 2, 1, (const uint64_t[]){ 2 });
    want_tensor(m, "last", "U8", 0, data + 6, 0, 2, (const uint64_t[]){ 3, 0 });
    sgi__manifest_free(m);
}

static void a_file_without_tensors_is_legal(void **state)
{
    (void)state;
    struct sgi__manifest *m = accepted("{}", 0);
    assert_int_equal(m->tensors_count, 0);
    assert_int_equal(m->files[0].data_offset, 10);
    assert_int_equal(sgi__manifest_find(m, "a"), -1);
    sgi__manifest_free(m);
    m = accepted("{\"__metadata__\": null\n}", 0); /* as the reference */
    assert_int_equal(m->metadata_count, 0);
    sgi__manifest_free(m);
    m = accepted("{\"__metadata__\": {\"only\": \"words\"}}", 0);
    assert_int_equal(m->metadata_count, 1);
    sgi__manifest_free(m);
}

static void unknown_members_of_a_tensor_are_ignored(void **state)
{
    (void)state;
    sgi__manifest_free(
        accepted("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"note\":[[{\"x\":null}],1.5]}}", 1));
}

static void names_may_be_any_text(void **state)
{
    (void)state;
    struct sgi__manifest *m = accepted("{" ENTRY("", "U8", "1", 0,
                                                 1) "," ENTRY("\\u00fc\\n\\\"\\ud83d\\ude00{[,:", "U8", "1", 1, 2) "}",
                                       2);
    assert_int_equal(sgi__manifest_find(m, ""), 0);
    assert_int_equal(sgi__manifest_find(m, "\xc3\xbc\n\"\xf0\x9f\x98\x80{[,:"), 1);
    sgi__manifest_free(m);
    m = accepted("{" ENTRY("\\/\\\\\\b\\f\\n\\r\\t\\u0041\\u07ff\\u0800\\uffff\\ud800\\udc00\\udbff\\udfff", "U8", "1",
                           0, 1) "}",
                 1);
    assert_int_equal(
        sgi__manifest_find(m, "/\\\b\f\n\r\tA\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"), 0);
    sgi__manifest_free(m);
}

static void eight_dimensions_are_read(void **state)
{
    (void)state;
    struct sgi__manifest *m = accepted("{" ENTRY("a", "U8", "1,1,2,1,1,1,1,1", 0, 2) "}", 2);
    assert_int_equal(m->tensors[0].rank, 8);
    sgi__manifest_free(m);
}

static void long_texts_are_kept_only_when_asked_for(void **state)
{
    (void)state;
    struct bytes header = { .data = NULL };
    put_format(&header, "{\"__metadata__\":{\"short\":\"%01024d\",\"long\":\"%01025d\"}}", 0, 0);
    put_u8(&header, 0);
    struct bytes          b = made((const char *)header.data, 0);
    struct sgi__manifest *m = want_file(&b, 0);
    assert_int_equal(want_value(m, "short", SGI__VALUE_TEXT)->text.bytes, 1024);
    want_no_value(m, "long");
    sgi__manifest_free(m);
    m = accepted((const char *)header.data, 0);
    assert_int_equal(want_value(m, "long", SGI__VALUE_TEXT)->text.bytes, 1025);
    sgi__manifest_free(m);
    bytes_free(&header);
}

static void a_header_larger_than_the_window_is_read_once(void **state)
{
    (void)state;
    enum { TENSORS = 2000 };
    struct bytes      header = { .data = NULL }, b = { .data = NULL };
    struct fs_memory *fs = fs_memory_new();
    for (int i = TENSORS - 1; i >= 0; i--) /* backwards: they have to be sorted */
        put_format(&header, "%c\"t%d\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[%d,%d]}",
                   i == TENSORS - 1 ? '{' : ',', i, 3 * i, 3 * i + 3);
    put_bytes(&header, "}", 2);
    make_safetensors(&b, (const char *)header.data, 3 * TENSORS);
    fs_memory_add(fs, "/big", b.data, b.size);
    struct sgi__manifest *m = want_open(fs, "/big", 0);
    assert_true(header.size > 65536);
    assert_true(fs->bytes_read <= 8 + header.size);
    assert_int_equal(m->tensors_count, TENSORS);
    for (int i = 0; i < TENSORS; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%d", i);
        assert_int_equal(sgi__manifest_find(m, name), i);
    }
    assert_int_equal(sgi__manifest_find(m, "t2000"), -1);
    sgi__manifest_free(m);
    fs_memory_free(fs);
    bytes_free(&header);
    bytes_free(&b);
}

static void messages_name_the_path_that_was_asked_for(void **state)
{
    (void)state;
    struct fs_memory *fs = fs_memory_new();
    struct bytes      b = made("{" ENTRY("a", "U8", "1", 0, 1) "}", 2);
    fs_memory_add(fs, "/blobs/0123abcd", b.data, b.size);
    fs_memory_link(fs, "/models/model.safetensors", "/blobs/0123abcd");
    want_refused(fs, "/models/model.safetensors", "1 bytes follow the last tensor, 'a'", NULL);
    fs_memory_add(fs, "/blobs/0123abcd", b.data, b.size - 1);
    struct sgi__manifest *m = want_open(fs, "/models/model.safetensors", 0);
    assert_string_equal(m->files[0].path, "/blobs/0123abcd");
    assert_string_equal(m->files[0].asked, "/models/model.safetensors");
    assert_string_equal(m->files[0].name, "model.safetensors");
    sgi__manifest_free(m);
    fs_memory_free(fs);
    bytes_free(&b);
}

/* ------------------------------------------------------------------------------------------------- what is refused */

static void bad_places_are_refused_with_the_tensor(void **state)
{
    (void)state;
    refused("{" ENTRY("ten", "U8", "1", 0, 1) "," ENTRY("sor", "U8", "1", 2, 3) "}", 3,
            "'sor' has a hole of 1 bytes before it", NULL);
    refused("{" ENTRY("ten", "U8", "1", 1, 2) "}", 2, "'ten' has a hole of 1 bytes before it", NULL);
    refused("{" ENTRY("ten", "U8", "2", 0, 2) "," ENTRY("sor", "U8", "2", 1, 3) "}", 3, "'sor' overlaps 'ten'", NULL);
    refused("{" ENTRY("ten", "U8", "2", 0, 2) "," ENTRY("sor", "U8", "2", 0, 2) "}", 2, "'sor' overlaps 'ten'", NULL);
    refused("{" ENTRY("ten", "U8", "4", 0, 4) "," ENTRY("sor", "U8", "0", 2, 2) "}", 4,
            "'sor' is empty and stands within", NULL);
    refused("{" ENTRY("ten", "U8", "4", 0, 4) "}", 3, "'ten' reaches past the end", NULL);
    refused("{" ENTRY("ten", "U8", "0", 4, 4) "}", 3, "'ten' reaches past the end", NULL);
    refused("{" ENTRY("ten", "U8", "4", 0, 4) "}", 6, "2 bytes follow the last tensor, 'ten'", NULL);
    refused("{" ENTRY("ten", "U8", "4", 4, 0) "}", 4, "'ten' ends before it begins", NULL);
    refused("{" ENTRY("ten", "X", "4", 0, 9223372036854775807) "}", 4, "'ten' reaches past the end", NULL);
    refused("{}", 1, "1 bytes follow a header without tensors", NULL);
}

static void bad_sizes_are_refused_with_the_tensor(void **state)
{
    (void)state;
    refused("{" ENTRY("t", "F32", "2", 0, 7) "}", 7, "'t' needs 8 bytes for its shape and F32, its offsets give it 7",
            NULL);
    refused("{" ENTRY("t", "F32", "", 0, 0) "}", 0, "'t' needs 4 bytes", NULL);
    refused("{" ENTRY("t", "F4", "3", 0, 2) "}", 2, "'t' of F4 does not end on a whole byte", NULL);
    refused("{" ENTRY("t", "F6_E2M3", "5", 0, 4) "}", 4, "'t' of F6_E2M3 does not end on a whole byte", NULL);
    refused("{" ENTRY("t", "F4", "3", 0, 1) "}", 1, "'t' of F4", NULL);
    /* 2^40 * 2^40, as elements and as bytes; a last 0 does not make it well, as the reference */
    refused("{" ENTRY("t", "U8", "1099511627776,1099511627776", 0, 0) "}", 0, "'t' has a shape that is too large",
            NULL);
    refused("{" ENTRY("t", "U8", "1099511627776,1099511627776,0", 0, 0) "}", 0, "'t' has a shape that is too large",
            NULL);
    refused("{" ENTRY("t", "I64", "4611686018427387904", 0, 0) "}", 0, "'t' has a shape that is too large", NULL);
    refused("{" ENTRY("t", "U8", "1,1,1,1,1,1,1,1,1", 0, 1) "}", 1, "'t' has 9 dimensions, more than the 8 supported",
            NULL);
}

static void bad_entries_are_refused_with_the_tensor(void **state)
{
    (void)state;
    refused("{\"t\":7}", 0, "tensor 't' is not described by an object", NULL);
    refused("{\"t\":{}}", 0, "tensor 't' has no dtype", NULL);
    refused("{\"t\":{\"dtype\":3,\"shape\":[],\"data_offsets\":[0,1]}}", 1, "tensor 't' has no dtype", NULL);
    refused("{\"t\":{\"dtype\":\"\",\"shape\":[],\"data_offsets\":[0,1]}}", 1, "tensor 't' has no dtype", NULL);
    refused("{\"t\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, "tensor 't' has no shape", NULL);
    refused("{\"t\":{\"dtype\":\"U8\",\"shape\":[1.0],\"data_offsets\":[0,1]}}", 1,
            "tensor 't' has a dimension that is no size", NULL);
    refused("{\"t\":{\"dtype\":\"U8\",\"shape\":[-1],\"data_offsets\":[0,1]}}", 1,
            "tensor 't' has a dimension that is no size", NULL);
    refused("{\"t\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, "tensor 't' has no pair of data_offsets", NULL);
    refused("{\"t\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1,2]}}", 1,
            "tensor 't' has no pair of data_offsets", NULL);
    refused("{\"t\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,\"1\"]}}", 1, "tensor 't' has no pair", NULL);
    refused("{\"t\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[-1,1]}}", 1, "tensor 't' has no pair", NULL);
    refused("{\"t\":{\"dtype\":\"U8\",\"shape\":[99999999999999999999],\"data_offsets\":[0,1]}}", 1,
            "tensor 't' is not valid JSON", "too big integer");
    refused("{\"t\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
            "tensor 't' is not valid JSON", "duplicate");
    refused("{\"t\":{\"dtype\":\"\xff\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "tensor 't' is not valid JSON",
            NULL);
}

static void names_given_twice_are_refused(void **state)
{
    (void)state;
    refused("{" ENTRY("again", "U8", "1", 0, 1) "," ENTRY("b", "U8", "1", 1, 2) "," ENTRY("again", "U8", "1", 2, 3) "}",
            3, "tensor 'again' is there twice", NULL);
    refused("{\"__metadata__\":{\"k\":\"1\",\"j\":\"2\",\"k\":\"3\"}}", 0, "metadata 'k' is there twice", NULL);
    refused("{\"__metadata__\":{},\"__metadata__\":{}}", 0, "__metadata__ is there twice", NULL);
}

static void bad_metadata_are_refused_with_the_key(void **state)
{
    (void)state;
    refused("{\"__metadata__\":{\"k\":1}}", 0, "metadata 'k' is not a string", NULL);
    refused("{\"__metadata__\":{\"k\":\"\\u0000\"}}", 0, "metadata 'k' is not valid JSON", NULL);
    refused("{\"__metadata__\":{\"k\":tru}}", 0, "metadata 'k' is not valid JSON", NULL);
    refused("{\"__metadata__\":nul}", 0, "__metadata__ is not a JSON object", NULL);
    refused("{\"__metadata__\":[]}", 0, "__metadata__ is not a JSON object", NULL);
    refused("{\"__metadata__\":{\"k\" \"v\"}}", 0, "__metadata__ has a member without a value", NULL);
}

static void text_that_is_no_object_is_refused(void **state)
{
    (void)state;
    refused("", 0, "the header is not a JSON object", NULL);
    refused("[]", 0, "the header is not a JSON object", NULL);
    refused("{", 0, "the header ends early", NULL);
    refused("{\"a", 0, "the header ends within a string", NULL);
    refused("{\"a\\\"", 0, "the header ends within a string", NULL);
    refused("{\"a\"", 0, "the header has a member without a value", NULL);
    refused("{\"a\":", 0, "the header ends early", NULL);
    refused("{\"a\":{\"b", 0, "the header ends within a string", NULL);
    refused("{\"a\":}", 0, "tensor 'a' is not valid JSON", NULL);
    refused("{\"a\":{]}}", 0, "tensor 'a' is not valid JSON", NULL);
    refused("{a:1}", 0, "the header has a member without a name", NULL);
    refused("{,}", 0, "the header has a member without a name", NULL);
    refused("{" ENTRY("a", "U8", "1", 0, 1) ",}", 1, "the header has a member without a name", NULL);
    refused("{" ENTRY("a", "U8", "1", 0, 1) " " ENTRY("b", "U8", "1", 1, 2) "}", 2, "tensor 'a' is not valid JSON",
            NULL);
    refused("{" ENTRY("a", "U8", "1", 0, 1) "]", 1, "the header has no comma between two members", NULL);
    refused("{" ENTRY("a", "U8", "1", 0, 1) "}}", 1, "the header goes on after its closing brace", NULL);
    refused("{\"\xff\":1}", 0, "a tensor's name is not valid JSON", NULL);
    refused("{\"a\\u0000b\":1}", 0, "a tensor's name is not valid JSON", NULL); /* a name ends at its first zero in C */
}

static void nesting_is_bounded(void **state)
{
    (void)state;
    struct bytes header = { .data = NULL };
    put_format(&header, "{\"t\":");
    for (int i = 0; i < 100000; i++)
        put_u8(&header, '[');
    put_u8(&header, 0);
    refused((const char *)header.data, 0, "the header is nested too deeply", NULL);
    bytes_free(&header);
    for (int depth = SGI__JSON_DEPTH_MAX; depth <= SGI__JSON_DEPTH_MAX + 1; depth++) {
        struct bytes at_bound = { .data = NULL };
        put_format(&at_bound, "{\"t\":");
        for (int i = 0; i < depth; i++)
            put_u8(&at_bound, '[');
        for (int i = 0; i < depth; i++)
            put_u8(&at_bound, ']');
        put_format(&at_bound, "}");
        put_u8(&at_bound, 0);
        refused((const char *)at_bound.data, 0,
                depth > SGI__JSON_DEPTH_MAX ? "the header is nested too deeply" : "'t' is not described by an object",
                NULL);
        bytes_free(&at_bound);
    }
}

static void lengths_are_bounded(void **state)
{
    (void)state;
    struct bytes header = { .data = NULL };
    put_format(&header, "{\"n%01024d\":{}}", 0);
    put_u8(&header, 0);
    refused((const char *)header.data, 0, "tensor 'n000", "has a name of more than 1024 bytes");
    bytes_free(&header);
    put_format(&header, "{\"t\":{\"x\":\"%065529d\"}}", 0); /* 65537 bytes */
    put_u8(&header, 0);
    refused((const char *)header.data, 0, "tensor 't' is described by too many bytes", NULL);
    bytes_free(&header);
    put_format(&header, "{\"t\":{\"x\":\"%065528d\"}}", 0);
    put_u8(&header, 0);
    refused((const char *)header.data, 0, "tensor 't' has no dtype", NULL);
    bytes_free(&header);
    put_format(&header, "{\"t\":{\"dtype\":\"%065d\"}}", 0);
    put_u8(&header, 0);
    refused((const char *)header.data, 0, "tensor 't' has no dtype, or one that is no name", NULL);
    bytes_free(&header);
    put_format(&header, "{\"__metadata__\":{\"%065536d\":\"\"}}", 0);
    put_u8(&header, 0);
    refused((const char *)header.data, 0, "a key of __metadata__ is longer than 65535 bytes", NULL);
    bytes_free(&header);
    put_format(&header, "{\"__metadata__\":{\"0\":\"\"");
    for (int i = 1; i <= 65536; i++)
        put_format(&header, ",\"%d\":\"\"", i);
    put_bytes(&header, "}}", 3);
    refused((const char *)header.data, 0, "__metadata__ has more than 65536 keys", NULL);
    bytes_free(&header);
}

static void the_header_has_a_maximum(void **state)
{
    (void)state;
    struct bytes b = made("{}  ", 0);
    want_file_refused(&b, 3, "the header has 4 bytes, more than the 3 allowed", NULL);

    struct fs_memory *fs = fs_memory_new();
    size_t            size = (16u << 20) + 1;
    char             *spaces = malloc(size + 1);
    assert_non_null(spaces);
    memset(spaces, ' ', size);
    spaces[0] = '{';
    spaces[1] = '}';
    spaces[size] = '\0';
    b = made(spaces, 0);
    fs_memory_add(fs, "/big", b.data, b.size);
    want_refused(fs, "/big", "the header has 16777217 bytes, more than the 16777216 allowed", NULL);
    assert_true(fs->bytes_read <= 65536); /* refused before it was read */
    free(spaces);
    bytes_free(&b);
    fs_memory_free(fs);
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    struct bytes b = made("{\"__metadata__\":{\"k\":\"v\"}," ENTRY("a", "F32", "2", 0, 8) "}", 8);
    for (size_t size = 0; size < b.size; size++) {
        struct bytes cut = { .data = NULL };
        put_bytes(&cut, b.data, size);
        if (size < 8)
            want_file_refused(&cut, 0, "too short for a model file", NULL);
        else if (size < b.size - 8)
            want_file_refused(&cut, 0, "cut short", NULL);
        else
            want_file_refused(&cut, 0, "tensor 'a' reaches past the end", NULL);
    }
    bytes_free(&b);
}

static void names_in_messages_are_one_line_and_short(void **state)
{
    (void)state;
    struct bytes header = { .data = NULL };
    put_format(&header, "{\"a\\n\\u001b[31m%0200d\":{}}", 0);
    put_u8(&header, 0);
    refused((const char *)header.data, 0, "tensor 'a??[31m00000", "...' has no dtype");
    bytes_free(&header);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_is_read),
        cmocka_unit_test(every_dtype_has_its_size),
        cmocka_unit_test(an_unknown_dtype_is_kept_as_text),
        cmocka_unit_test(an_odd_data_start_is_legal),
        cmocka_unit_test(scalars_and_empty_tensors_are_legal),
        cmocka_unit_test(a_file_without_tensors_is_legal),
        cmocka_unit_test(unknown_members_of_a_tensor_are_ignored),
        cmocka_unit_test(names_may_be_any_text),
        cmocka_unit_test(eight_dimensions_are_read),
        cmocka_unit_test(long_texts_are_kept_only_when_asked_for),
        cmocka_unit_test(a_header_larger_than_the_window_is_read_once),
        cmocka_unit_test(messages_name_the_path_that_was_asked_for),
        cmocka_unit_test(bad_places_are_refused_with_the_tensor),
        cmocka_unit_test(bad_sizes_are_refused_with_the_tensor),
        cmocka_unit_test(bad_entries_are_refused_with_the_tensor),
        cmocka_unit_test(names_given_twice_are_refused),
        cmocka_unit_test(bad_metadata_are_refused_with_the_key),
        cmocka_unit_test(text_that_is_no_object_is_refused),
        cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(lengths_are_bounded),
        cmocka_unit_test(the_header_has_a_maximum),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(names_in_messages_are_one_line_and_short),
    };
    return cmocka_run_group_tests_name("formats: safetensors", tests, NULL, NULL);
}
