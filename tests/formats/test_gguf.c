/* SPDX-License-Identifier: Apache-2.0 */
/* One GGUF file. Types, sizes and readings are those of the Python package gguf 0.19; compare_readers.py asks it
 * itself. */
#include "want.h"

#include <stdio.h>
#include <stdlib.h>

/* A file with the pairs that `pairs` holds, and no tensors. */
static struct bytes with_pairs(const struct bytes *pairs, uint64_t count)
{
    struct bytes b = { .data = NULL };
    gguf_begin(&b, 3, 0, count);
    put_bytes(&b, pairs->data, pairs->size);
    return b;
}

static void pairs_refused(struct bytes *pairs, uint64_t count, const char *what, const char *also)
{
    struct bytes b = with_pairs(pairs, count);
    bytes_free(pairs);
    want_file_refused(&b, 0, what, also);
}

/* A file with one tensor "t" described by these numbers and `data_bytes` bytes of data. */
static struct bytes with_tensor(uint32_t type, uint64_t offset, uint32_t rank, const uint64_t *shape, size_t data_bytes)
{
    struct bytes b = { .data = NULL };
    gguf_begin(&b, 3, 1, 0);
    gguf_tensor(&b, "t", type, offset, rank, shape);
    gguf_align(&b, 32);
    put_zeros(&b, data_bytes);
    return b;
}

static void tensor_refused(uint32_t type, uint64_t offset, uint32_t rank, const uint64_t *shape, size_t data_bytes,
                           const char *what)
{
    struct bytes b = with_tensor(type, offset, rank, shape, data_bytes);
    want_file_refused(&b, 0, "tensor 't'", what);
}

/* --------------------------------------------------------------------------------------------------- what is legal */

static void every_field_is_read(void **state)
{
    (void)state;
    for (uint32_t alignment = 8; alignment <= 4096; alignment *= 2) {
        struct bytes          b = { .data = NULL };
        size_t                data = make_gguf(&b, alignment), size = b.size;
        struct sgi__manifest *m = want_file(&b, 0);
        assert_string_equal(m->format, "gguf");
        assert_int_equal(m->format_version, 3);
        assert_int_equal(m->files_count, 1);
        assert_string_equal(m->files[0].path, "/models/one.file");
        assert_int_equal(m->files[0].id.bytes, size);
        assert_int_equal(m->files[0].data_offset, data);
        assert_int_equal(m->files[0].tensor_count, 2);
        assert_int_equal(m->tensors_count, 2);
        want_tensor(m, "a", "F32", 0, data, 24, 2, (const uint64_t[]){ 3, 2 }); /* the shape in the file's order */
        want_tensor(m, "b", "Q8_0", 0, data + (24 + alignment - 1) / alignment * alignment, 68, 1,
                    (const uint64_t[]){ 64 });
        assert_int_equal(m->tensors[1].block_elements, 32);
        assert_int_equal(m->tensors[1].block_bytes, 34);
        assert_int_equal(m->metadata_count, 2);
        assert_string_equal(want_value(m, "general.architecture", SGI__VALUE_TEXT)->text.text, "test");
        assert_int_equal(want_value(m, "general.alignment", SGI__VALUE_U64)->u64, alignment);
        sgi__manifest_free(m);
    }
}

static void every_type_has_its_block(void **state)
{
    (void)state;
    static const struct {
        uint32_t    number;
        const char *name;
        uint32_t    elements, bytes;
    } types[] = {
        { 0, "F32", 1, 4 },         { 1, "F16", 1, 2 },         { 2, "Q4_0", 32, 18 },      { 3, "Q4_1", 32, 20 },
        { 6, "Q5_0", 32, 22 },      { 7, "Q5_1", 32, 24 },      { 8, "Q8_0", 32, 34 },      { 9, "Q8_1", 32, 40 },
        { 10, "Q2_K", 256, 84 },    { 11, "Q3_K", 256, 110 },   { 12, "Q4_K", 256, 144 },   { 13, "Q5_K", 256, 176 },
        { 14, "Q6_K", 256, 210 },   { 15, "Q8_K", 256, 292 },   { 16, "IQ2_XXS", 256, 66 }, { 17, "IQ2_XS", 256, 74 },
        { 18, "IQ3_XXS", 256, 98 }, { 19, "IQ1_S", 256, 50 },   { 20, "IQ4_NL", 32, 18 },   { 21, "IQ3_S", 256, 110 },
        { 22, "IQ2_S", 256, 82 },   { 23, "IQ4_XS", 256, 136 }, { 24, "I8", 1, 1 },         { 25, "I16", 1, 2 },
        { 26, "I32", 1, 4 },        { 27, "I64", 1, 8 },        { 28, "F64", 1, 8 },        { 29, "IQ1_M", 256, 56 },
        { 30, "BF16", 1, 2 },       { 34, "TQ1_0", 256, 54 },   { 35, "TQ2_0", 256, 66 },   { 39, "MXFP4", 32, 17 },
        { 40, "NVFP4", 64, 36 },    { 41, "Q1_0", 128, 18 },
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        uint64_t              shape[] = { 2 * types[i].elements, 3 };
        struct bytes          b = with_tensor(types[i].number, 0, 2, shape, 6 * types[i].bytes);
        struct sgi__manifest *m = want_file(&b, 0);
        want_tensor(m, "t", types[i].name, 0, m->files[0].data_offset, 6 * types[i].bytes, 2, shape);
        assert_int_equal(m->tensors[0].block_elements, types[i].elements);
        assert_int_equal(m->tensors[0].block_bytes, types[i].bytes);
        sgi__manifest_free(m);
    }
}

static void put_every_scalar(struct bytes *b)
{
    const float  f32 = -0.1f;
    const double f64 = 1e300;
    gguf_key(b, "u8", GGUF_U8);
    put_u8(b, 250);
    gguf_key(b, "i8", GGUF_I8);
    put_u8(b, 250);
    gguf_key(b, "u16", GGUF_U16);
    put_u16(b, 65530);
    gguf_key(b, "i16", GGUF_I16);
    put_u16(b, 65530);
    gguf_key(b, "u32", GGUF_U32);
    put_u32(b, 4294967290u);
    gguf_key(b, "i32", GGUF_I32);
    put_u32(b, 4294967290u);
    gguf_key(b, "u64", GGUF_U64);
    put_u64(b, UINT64_MAX - 5);
    gguf_key(b, "i64", GGUF_I64);
    put_u64(b, UINT64_MAX - 5);
    gguf_key(b, "i64min", GGUF_I64);
    put_u64(b, (uint64_t)1 << 63);
    gguf_key(b, "f32", GGUF_F32);
    put_bytes(b, &f32, 4);
    gguf_key(b, "f64", GGUF_F64);
    put_bytes(b, &f64, 8);
    gguf_key(b, "yes", GGUF_BOOL);
    put_u8(b, 1);
    gguf_key(b, "no", GGUF_BOOL);
    put_u8(b, 0);
    gguf_key_text(b, "text", "a\xc3\xbc");
}

static void every_scalar_is_read(void **state)
{
    (void)state;
    struct bytes pairs = { .data = NULL };
    put_every_scalar(&pairs);
    struct bytes          b = with_pairs(&pairs, 14);
    struct sgi__manifest *m = want_file(&b, 0);
    assert_int_equal(want_value(m, "u8", SGI__VALUE_U64)->u64, 250);
    assert_int_equal(want_value(m, "i8", SGI__VALUE_I64)->i64, -6);
    assert_int_equal(want_value(m, "u16", SGI__VALUE_U64)->u64, 65530);
    assert_int_equal(want_value(m, "i16", SGI__VALUE_I64)->i64, -6);
    assert_int_equal(want_value(m, "u32", SGI__VALUE_U64)->u64, 4294967290u);
    assert_int_equal(want_value(m, "i32", SGI__VALUE_I64)->i64, -6);
    assert_true(want_value(m, "u64", SGI__VALUE_U64)->u64 == UINT64_MAX - 5);
    assert_int_equal(want_value(m, "i64", SGI__VALUE_I64)->i64, -6);
    assert_true(want_value(m, "i64min", SGI__VALUE_I64)->i64 == INT64_MIN);
    assert_true(want_value(m, "f32", SGI__VALUE_F32)->f64 == (double)-0.1f);
    assert_true(want_value(m, "f64", SGI__VALUE_F64)->f64 == 1e300);
    assert_true(want_value(m, "yes", SGI__VALUE_BOOL)->boolean);
    assert_false(want_value(m, "no", SGI__VALUE_BOOL)->boolean);
    assert_string_equal(want_value(m, "text", SGI__VALUE_TEXT)->text.text, "a\xc3\xbc");
    assert_int_equal(m->metadata_count, 14);
    assert_string_equal(m->metadata[0].key, "u8"); /* in the file's order */
    sgi__manifest_free(m);
    bytes_free(&pairs);
}

/* Two arrays and a long text between three keys. */
static struct bytes with_arrays(void)
{
    struct bytes pairs = { .data = NULL };
    gguf_key_u32(&pairs, "before", 1);
    gguf_key(&pairs, "words", GGUF_ARRAY);
    put_u32(&pairs, GGUF_STRING);
    put_u64(&pairs, 3);
    gguf_text(&pairs, "one");
    gguf_text(&pairs, "");
    put_u64(&pairs, 4);
    put_bytes(&pairs,
              "a\0\xff"
              "b",
              4);
    gguf_key_u32(&pairs, "between", 2);
    gguf_key(&pairs, "numbers", GGUF_ARRAY);
    put_u32(&pairs, GGUF_I16);
    put_u64(&pairs, 2);
    put_u16(&pairs, 7);
    put_u16(&pairs, 65535);
    gguf_key(&pairs, "none", GGUF_ARRAY);
    put_u32(&pairs, GGUF_F64);
    put_u64(&pairs, 0);
    gguf_key(&pairs, "long", GGUF_STRING);
    put_u64(&pairs, 100000);
    put_zeros(&pairs, 99999);
    put_u8(&pairs, 'z');
    gguf_key_u32(&pairs, "after", 3);
    struct bytes b = with_pairs(&pairs, 7);
    bytes_free(&pairs);
    return b;
}

static void arrays_and_long_texts_are_kept_when_asked_for(void **state)
{
    (void)state;
    struct bytes             b = with_arrays();
    struct sgi__manifest    *m = want_file(&b, SGI__FORMAT_METADATA);
    const struct sgi__value *words = want_value(m, "words", SGI__VALUE_ARRAY);
    assert_int_equal(words->array.count, 3);
    assert_int_equal(words->array.items[0].kind, SGI__VALUE_TEXT);
    assert_string_equal(words->array.items[0].text.text, "one");
    assert_int_equal(words->array.items[1].text.bytes, 0);
    assert_int_equal(words->array.items[2].text.bytes, 4);
    assert_memory_equal(words->array.items[2].text.text,
                        "a\0\xff"
                        "b",
                        5);
    const struct sgi__value *numbers = want_value(m, "numbers", SGI__VALUE_ARRAY);
    assert_int_equal(numbers->array.count, 2);
    assert_int_equal(numbers->array.items[0].kind, SGI__VALUE_I64);
    assert_int_equal(numbers->array.items[0].i64, 7);
    assert_int_equal(numbers->array.items[1].i64, -1);
    assert_int_equal(want_value(m, "none", SGI__VALUE_ARRAY)->array.count, 0);
    const struct sgi__value *text = want_value(m, "long", SGI__VALUE_TEXT);
    assert_int_equal(text->text.bytes, 100000);
    assert_int_equal(text->text.text[99999], 'z');
    assert_int_equal(text->text.text[100000], '\0');
    assert_int_equal(m->metadata_count, 7);
    sgi__manifest_free(m);
}

static void arrays_and_long_texts_are_skipped_otherwise(void **state)
{
    (void)state;
    struct bytes          b = with_arrays();
    struct sgi__manifest *m = want_file(&b, 0);
    assert_int_equal(m->metadata_count, 3);
    assert_int_equal(want_value(m, "before", SGI__VALUE_U64)->u64, 1);
    assert_int_equal(want_value(m, "between", SGI__VALUE_U64)->u64, 2);
    assert_int_equal(want_value(m, "after", SGI__VALUE_U64)->u64, 3);
    sgi__manifest_free(m);
}

/* A header as large models have it: 40 keys, a vocabulary of 150,000 words, a template. */
static struct bytes with_vocabulary(void)
{
    struct bytes b = { .data = NULL };
    gguf_begin(&b, 3, 1, 42);
    for (int i = 0; i < 40; i++) {
        char key[40];
        snprintf(key, sizeof key, "architecture.some_property_%d", i);
        gguf_key_u32(&b, key, (uint32_t)i);
    }
    gguf_key(&b, "tokenizer.ggml.tokens", GGUF_ARRAY);
    put_u32(&b, GGUF_STRING);
    put_u64(&b, 150000);
    for (int i = 0; i < 150000; i++)
        gguf_text(&b, "token");
    gguf_key(&b, "tokenizer.chat_template", GGUF_STRING);
    put_u64(&b, 5000);
    put_zeros(&b, 5000);
    gguf_tensor(&b, "t", GGML_F32, 0, 1, (const uint64_t[]){ 2 });
    gguf_align(&b, 32);
    put_zeros(&b, 8);
    return b;
}

static void a_registered_manifest_is_small(void **state)
{
    (void)state;
    struct bytes      b = with_vocabulary();
    struct fs_memory *fs = fs_memory_new();
    fs_memory_add(fs, "/m", b.data, b.size);
    struct sgi__manifest *m = want_open(fs, "/m", 0);
    assert_true(b.size > 1900000);
    assert_true(fs->bytes_read <= b.size); /* no byte twice */
    assert_int_equal(m->metadata_count, 40);
    assert_int_equal(m->metadata_room, 40);
    uint64_t bytes = sizeof *m + m->text_bytes + m->metadata_count * sizeof *m->metadata +
                     m->files_count * sizeof *m->files;
    assert_true(bytes <= 4096);
    sgi__manifest_free(m);
    m = want_open(fs, "/m", SGI__FORMAT_METADATA);
    assert_int_equal(want_value(m, "tokenizer.ggml.tokens", SGI__VALUE_ARRAY)->array.count, 150000);
    sgi__manifest_free(m);
    fs_memory_free(fs);
    bytes_free(&b);
}

static void version_2_is_read(void **state)
{
    (void)state;
    struct bytes b = { .data = NULL };
    make_gguf(&b, 32);
    set_u32(&b, 4, 2);
    struct sgi__manifest *m = want_file(&b, 0);
    assert_int_equal(m->format_version, 2);
    assert_int_equal(m->tensors_count, 2);
    sgi__manifest_free(m);
}

static void the_last_padding_may_be_missing(void **state)
{
    (void)state;
    for (size_t padding = 0; padding <= 28; padding++) { /* 68 bytes, aligned to 32 */
        struct bytes b = { .data = NULL };
        make_gguf(&b, 32);
        b.size -= 28 - padding;
        sgi__manifest_free(want_file(&b, 0));
    }
}

static void a_file_without_tensors_is_legal(void **state)
{
    (void)state;
    for (size_t padding = 0; padding <= 8; padding++) { /* the header alone has 24 */
        struct bytes b = { .data = NULL };
        gguf_begin(&b, 3, 0, 0);
        put_zeros(&b, padding);
        struct sgi__manifest *m = want_file(&b, 0);
        assert_int_equal(m->tensors_count, 0);
        assert_int_equal(m->files[0].data_offset, 24 + padding);
        sgi__manifest_free(m);
    }
}

static void scalars_and_empty_tensors_are_legal(void **state)
{
    (void)state;
    struct bytes b = { .data = NULL };
    gguf_begin(&b, 3, 4, 0);
    gguf_tensor(&b, "last", GGML_Q4_0, 64, 4, (const uint64_t[]){ 32, 1, 0, 2 });
    gguf_tensor(&b, "two", GGML_I8, 32, 1, (const uint64_t[]){ 1 }); /* the data need not be in this order */
    gguf_tensor(&b, "one", GGML_F32, 0, 0, NULL);
    gguf_tensor(&b, "none", GGML_F16, 32, 1, (const uint64_t[]){ 0 });
    gguf_align(&b, 32);
    put_zeros(&b, 64);
    struct sgi__manifest *m = want_file(&b, 0);
    uint64_t              data = m->files[0].data_offset;
    want_tensor(m, "one", "F32", 0, data, 4, 0, NULL);
    want_tensor(m, "none", "F16", 0, data + 32, 0, 1, (const uint64_t[]){ 0 });
    want_tensor(m, "two", "I8", 0, data + 32, 1, 1, (const uint64_t[]){ 1 });
    want_tensor(m, "last", "Q4_0", 0, data + 64, 0, 4, (const uint64_t[]){ 32, 1, 0, 2 });
    sgi__manifest_free(m);
}

/* ------------------------------------------------------------------------------------------------- what is refused */

static void other_versions_are_refused(void **state)
{
    (void)state;
    static const struct {
        uint32_t    version;
        const char *what;
    } versions[] = {
        { 0, "GGUF version 0 is not supported" },
        { 1, "GGUF version 1 is not supported (2 and 3 are)" },
        { 4, "GGUF version 4 is not supported" },
        { 0x03000000, "a big-endian GGUF file, which is not supported" },
    };
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) {
        struct bytes b = { .data = NULL };
        make_gguf(&b, 32);
        set_u32(&b, 4, versions[i].version);
        want_file_refused(&b, 0, versions[i].what, NULL);
    }
}

static void counts_are_checked_before_they_are_used(void **state)
{
    (void)state;
    static const struct {
        uint64_t    tensors, pairs;
        const char *what;
    } counts[] = {
        { 1048577, 0, "1048577 tensors, more than the 1048576 supported" },
        { UINT64_MAX, 0, "18446744073709551615 tensors, more than" },
        { 1000000, 0, "1000000 tensors do not fit into a file of 200 bytes" },
        { 8, 0, "8 tensors do not fit" },
        { 0, 65537, "65537 metadata keys, more than the 65536 supported" },
        { 0, UINT64_MAX, "18446744073709551615 metadata keys, more than" },
        { 0, 14, "14 metadata keys do not fit into a file of 200 bytes" },
    };
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        struct bytes b = { .data = NULL };
        gguf_begin(&b, 3, counts[i].tensors, counts[i].pairs);
        put_zeros(&b, 200 - 24);
        want_file_refused(&b, 0, counts[i].what, NULL);
    }
}

static void bad_keys_are_refused(void **state)
{
    (void)state;
    struct bytes pairs = { .data = NULL };
    gguf_key_u32(&pairs, "k", 1);
    gguf_key_u32(&pairs, "j", 1);
    gguf_key(&pairs, "k", GGUF_ARRAY); /* also when the second is not kept */
    put_u32(&pairs, GGUF_U8);
    put_u64(&pairs, 0);
    pairs_refused(&pairs, 3, "metadata 'k' is there twice", NULL);
    gguf_key_u32(&pairs, "k\xff", 1);
    pairs_refused(&pairs, 1, "metadata 'k?' has a name that is no text", NULL);
    put_u64(&pairs, 3);
    put_bytes(&pairs, "a\0b", 3);
    put_u32(&pairs, GGUF_U8);
    put_u8(&pairs, 1);
    pairs_refused(&pairs, 1, "metadata 'a?b' has a name that is no text", NULL);
    put_u64(&pairs, 65536);
    put_zeros(&pairs, 70000);
    pairs_refused(&pairs, 1, "a metadata name is longer than 65535 bytes", NULL);
    put_u64(&pairs, UINT64_MAX);
    put_zeros(&pairs, 100);
    pairs_refused(&pairs, 1, "a metadata name is longer than 65535 bytes", NULL);
    put_u64(&pairs, 1000);
    put_zeros(&pairs, 100);
    pairs_refused(&pairs, 1, "the file ends within its header, in metadata", NULL);
}

static void bad_values_are_refused_with_the_key(void **state)
{
    (void)state;
    struct bytes pairs = { .data = NULL };
    gguf_key(&pairs, "kk", 13);
    put_u64(&pairs, 1);
    pairs_refused(&pairs, 1, "metadata 'kk' has the unknown type 13", NULL);
    gguf_key(&pairs, "kk", GGUF_ARRAY);
    put_u32(&pairs, 13);
    put_u64(&pairs, 1);
    pairs_refused(&pairs, 1, "metadata 'kk' is an array of unknown type 13", NULL);
    gguf_key(&pairs, "kk", GGUF_ARRAY);
    put_u32(&pairs, GGUF_ARRAY);
    put_u64(&pairs, 0);
    pairs_refused(&pairs, 1, "metadata 'kk' is an array of arrays", NULL);
    gguf_key(&pairs, "kk", GGUF_ARRAY);
    put_u32(&pairs, GGUF_U8);
    put_u64(&pairs, 8388609);
    put_zeros(&pairs, 8388609);
    pairs_refused(&pairs, 1, "metadata 'kk' takes the items of all arrays past 8388608", NULL);
    gguf_key(&pairs, "kk", GGUF_ARRAY);
    put_u32(&pairs, GGUF_F64);
    put_u64(&pairs, UINT64_MAX / 8 + 2); /* 8 times that is 8 */
    put_u64(&pairs, 0);
    pairs_refused(&pairs, 1, "metadata 'kk' takes the items", NULL);
    gguf_key(&pairs, "kk", GGUF_ARRAY);
    put_u32(&pairs, GGUF_F64);
    put_u64(&pairs, 1000000);
    put_u64(&pairs, 0);
    pairs_refused(&pairs, 1, "the file ends within its header, in metadata 'kk'", NULL);
    gguf_key(&pairs, "kk", GGUF_ARRAY);
    put_u32(&pairs, GGUF_STRING);
    put_u64(&pairs, 1);
    put_u64(&pairs, UINT64_MAX - 3);
    pairs_refused(&pairs, 1, "the file ends within its header, in metadata 'kk'", NULL);
    gguf_key(&pairs, "kk", GGUF_STRING);
    put_u64(&pairs, UINT64_MAX);
    pairs_refused(&pairs, 1, "the file ends within its header, in metadata 'kk'", NULL);
    gguf_key(&pairs, "kk", GGUF_STRING);
    put_u64(&pairs, 70000);
    put_zeros(&pairs, 69999);
    pairs_refused(&pairs, 1, "the file ends within its header, in metadata 'kk'", NULL);
}

static void bad_alignments_are_refused(void **state)
{
    (void)state;
    static const uint32_t bad[] = { 0, 1, 4, 12, 24, 33, 0xffffffff };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct bytes pairs = { .data = NULL };
        gguf_key_u32(&pairs, "general.alignment", bad[i]);
        pairs_refused(&pairs, 1, "metadata 'general.alignment' is no power of two of at least 8", NULL);
    }
    struct bytes pairs = { .data = NULL };
    gguf_key(&pairs, "general.alignment", GGUF_U64);
    put_u64(&pairs, 32);
    pairs_refused(&pairs, 1, "metadata 'general.alignment' is no 32-bit unsigned number", NULL);
}

static void bad_types_are_refused_with_the_tensor(void **state)
{
    (void)state;
    static const struct {
        uint32_t    number;
        const char *what;
    } types[] = {
        { 4, "of type Q4_2, which ggml has removed" },
        { 5, "of type Q4_3, which ggml has removed" },
        { 31, "of type Q4_0_4_4, which ggml has removed" },
        { 32, "of type Q4_0_4_8, which ggml has removed" },
        { 33, "of type Q4_0_8_8, which ggml has removed" },
        { 36, "of type IQ4_NL_4_4, which ggml has removed" },
        { 37, "of type IQ4_NL_4_8, which ggml has removed" },
        { 38, "of type IQ4_NL_8_8, which ggml has removed" },
        { 42, "of type 42, which is not known" },
        { UINT32_MAX, "of type 4294967295, which is not known" },
    };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        tensor_refused(types[i].number, 0, 1, (const uint64_t[]){ 32 }, 32, types[i].what);
}

static void bad_shapes_are_refused_with_the_tensor(void **state)
{
    (void)state;
    tensor_refused(GGML_F32, 0, 5, (const uint64_t[]){ 1, 1, 1, 1, 1 }, 4, "has 5 dimensions, more than the 4 of GGUF");
    tensor_refused(GGML_Q4_0, 0, 2, (const uint64_t[]){ 48, 2 }, 54,
                   "has rows of 48 elements, no multiple of the 32 in a block of Q4_0");
    tensor_refused(GGML_Q4_0, 0, 0, NULL, 18, "has rows of 1 elements");
    tensor_refused(GGML_I8, 0, 2, (const uint64_t[]){ (uint64_t)1 << 32, (uint64_t)1 << 32 }, 1,
                   "has a shape that is too large");
    tensor_refused(GGML_F32, 0, 1, (const uint64_t[]){ (uint64_t)1 << 62 }, 4, "has a shape that is too large");
    tensor_refused(GGML_I8, 0, 1, (const uint64_t[]){ UINT64_MAX }, 4, "is not within the file's data");
}

static void bad_places_are_refused_with_the_tensor(void **state)
{
    (void)state;
    static const struct {
        uint64_t    offset, bytes, size;
        const char *what;
    } places[] = {
        { 32, 4, 36, "'t' has a hole of 32 bytes before it" },
        { 4, 4, 36, "'t' is not aligned to 32 bytes" },
        { 0, 40, 36, "'t' is not within the file's data" },
        { UINT64_MAX - 31, 4, 36, "'t' begins past the end of the file" },
        { 4096, 4, 36, "'t' begins past the end of the file" },
        { 64, 4, 36, "'t' is not within the file's data" },
        { 96, 4, 32, "'t' is not within the file's data" }, /* at its very end: 96 bytes */
        { 96, 4, 31, "'t' begins past the end of the file" },
        { 0, 4, 33, "1 bytes follow the last tensor, 't', and its padding" },
        { 0, 0, 1, "1 bytes follow the last tensor, 't', and its padding" },
    };
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        struct bytes b = with_tensor(GGML_I8, places[i].offset, 1, &places[i].bytes, places[i].size);
        want_file_refused(&b, 0, places[i].what, NULL);
    }
    struct bytes b = { .data = NULL };
    gguf_begin(&b, 3, 0, 0);
    put_zeros(&b, 9);
    want_file_refused(&b, 0, "1 bytes follow a header without tensors", NULL);
}

/* Two tensors, "ten" and "sor", of I8. */
static void two_refused(uint64_t ten_at, uint64_t ten_bytes, uint64_t sor_at, uint64_t sor_bytes, size_t size,
                        const char *what)
{
    struct bytes b = { .data = NULL };
    gguf_begin(&b, 3, 2, 0);
    gguf_tensor(&b, "ten", GGML_I8, ten_at, 1, &ten_bytes);
    gguf_tensor(&b, "sor", GGML_I8, sor_at, 1, &sor_bytes);
    gguf_align(&b, 32);
    put_zeros(&b, size);
    want_file_refused(&b, 0, what, NULL);
}

static void bad_neighbours_are_refused_with_the_tensor(void **state)
{
    (void)state;
    two_refused(0, 40, 32, 40, 80, "tensor 'sor' overlaps 'ten'");
    two_refused(32, 4, 0, 40, 80, "tensor 'ten' overlaps 'sor'");
    two_refused(0, 4, 0, 4, 32, "tensor 'sor' overlaps 'ten'");
    two_refused(0, 4, 64, 4, 96, "tensor 'sor' has a hole of 32 bytes before it");
    two_refused(0, 96, 32, 0, 96, "tensor 'sor' is empty and stands within another");
}

static void bad_tensor_names_are_refused(void **state)
{
    (void)state;
    struct bytes b = { .data = NULL };
    gguf_begin(&b, 3, 2, 0);
    gguf_tensor(&b, "same", GGML_I8, 0, 1, (const uint64_t[]){ 1 });
    gguf_tensor(&b, "same", GGML_I8, 32, 1, (const uint64_t[]){ 1 });
    gguf_align(&b, 32);
    put_zeros(&b, 64);
    want_file_refused(&b, 0, "tensor 'same' is there twice", NULL);

    gguf_begin(&b, 3, 1, 0);
    gguf_tensor(&b, "\xed\xa0\x80", GGML_I8, 0, 1, (const uint64_t[]){ 1 }); /* half a surrogate pair */
    put_zeros(&b, 64);
    want_file_refused(&b, 0, "tensor '\?\?\?' has a name that is no text", NULL);

    gguf_begin(&b, 3, 1, 0);
    put_u64(&b, 1025);
    put_zeros(&b, 2000);
    want_file_refused(&b, 0, "a tensor name is longer than 1024 bytes", NULL);
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    struct bytes b = { .data = NULL };
    size_t       data = make_gguf(&b, 32);
    for (size_t size = 0; size < b.size - 28; size++) {
        struct bytes cut = { .data = NULL };
        put_bytes(&cut, b.data, size);
        if (size < 4)
            want_file_refused(&cut, 0, "too short", NULL);
        else if (size < 24)
            want_file_refused(&cut, 0, "the file ends within its header", NULL);
        else if (size < data) /* for several reasons, the smaller ones because the counts cannot be true */
            want_file_refused(&cut, 0, "", NULL);
        else
            want_file_refused(&cut, 0, size < data + 24 ? "'a' is not within" : "'b' is not within", "the file's data");
    }
    bytes_free(&b);
}

static void the_header_has_a_maximum(void **state)
{
    (void)state;
    struct bytes b = with_arrays();
    want_file_refused(&b, 300, "the header is longer than the 300 bytes allowed, in metadata 'long'", NULL);
    b = with_vocabulary();
    struct fs_memory *fs = fs_memory_new();
    fs_memory_add(fs, "/m", b.data, b.size);
    struct sgi__format_options options = { .header_bytes_max = 1 << 20 };
    struct sgi__manifest      *m = NULL;
    sgi_error                  err = { .struct_size = sizeof err };
    assert_int_equal(sgi__format_open(&fs->table, "/m", &options, &m, &err), SGI_E_FORMAT);
    assert_string_equal(err.message,
                        "/m: the header is longer than the 1048576 bytes allowed, in metadata 'tokenizer.ggml.tokens'");
    assert_true(fs->bytes_read <= 1 << 20);
    bytes_free(&b);
    fs_memory_free(fs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_is_read),
        cmocka_unit_test(every_type_has_its_block),
        cmocka_unit_test(every_scalar_is_read),
        cmocka_unit_test(arrays_and_long_texts_are_kept_when_asked_for),
        cmocka_unit_test(arrays_and_long_texts_are_skipped_otherwise),
        cmocka_unit_test(a_registered_manifest_is_small),
        cmocka_unit_test(version_2_is_read),
        cmocka_unit_test(the_last_padding_may_be_missing),
        cmocka_unit_test(a_file_without_tensors_is_legal),
        cmocka_unit_test(scalars_and_empty_tensors_are_legal),
        cmocka_unit_test(other_versions_are_refused),
        cmocka_unit_test(counts_are_checked_before_they_are_used),
        cmocka_unit_test(bad_keys_are_refused),
        cmocka_unit_test(bad_values_are_refused_with_the_key),
        cmocka_unit_test(bad_alignments_are_refused),
        cmocka_unit_test(bad_types_are_refused_with_the_tensor),
        cmocka_unit_test(bad_shapes_are_refused_with_the_tensor),
        cmocka_unit_test(bad_places_are_refused_with_the_tensor),
        cmocka_unit_test(bad_neighbours_are_refused_with_the_tensor),
        cmocka_unit_test(bad_tensor_names_are_refused),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(the_header_has_a_maximum),
    };
    return cmocka_run_group_tests_name("formats: GGUF", tests, NULL, NULL);
}
