/* SPDX-License-Identifier: Apache-2.0 */
/* Packed manifests that are whole, and say what cannot be: each such thing is refused in words of its own. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "format/pack.h"
#include "formats/make_files.h"
#include "io/io.h"
#include "pack_host.h"

static const struct test_tensor some[] = { { "a", MIB(2) + 4096 }, { "b", 300 }, { "c", MIB(1) } };
static struct test_file         file;
static char                     path[512], altered[512];

static struct sgi__manifest *read_manifest(const char *from, sgi_status expected)
{
    static const struct sgi__fs_posix none;
    struct sgi__fs                    fs = sgi__fs_posix_table(&none);
    struct sgi__format_options        options = { .flags = SGI__FORMAT_METADATA };
    struct sgi__manifest             *m = NULL;

    assert_int_equal(sgi__format_open(&fs, from, &options, &m, &err), expected);
    return m;
}

/* All of the packed file, with room behind it. */
static uint8_t *read_whole(size_t room, size_t *bytes_out)
{
    struct stat st;
    int         from = open(path, O_RDONLY | O_CLOEXEC);

    assert_int_equal(fstat(from, &st), 0);
    uint8_t *whole = malloc((size_t)st.st_size + room);
    assert_non_null(whole);
    assert_int_equal(read(from, whole, (size_t)st.st_size), st.st_size);
    close(from);
    *bytes_out = (size_t)st.st_size;
    return whole;
}

static void write_altered(const uint8_t *whole, size_t bytes)
{
    int to = open(altered, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_int_equal(write(to, whole, bytes), (ssize_t)bytes);
    close(to);
}

/* The packed file with another manifest behind the same chunks, its checks right. */
static void write_manifest(const uint8_t *bytes, size_t count)
{
    struct sgi__pack_head head;
    size_t                used;
    uint8_t              *whole = read_whole(count, &used);

    assert_int_equal(sgi__pack_head_take(path, whole, &head, NULL), SGI_OK);
    head.bytes = head.manifest_at + count;
    head.manifest_bytes = count;
    head.manifest_check = sgi__hash(bytes, count);
    memcpy(whole + head.manifest_at, bytes, count);
    sgi__pack_head_put(&head, whole);
    write_altered(whole, (size_t)head.bytes);
    free(whole);
}

static void write_with(const struct sgi__manifest *m)
{
    uint8_t *bytes = NULL;
    size_t   count = 0;

    assert_int_equal(sgi__pack_manifest_put(m, SGI__PACK_CHUNK_BYTES, &bytes, &count, NULL), SGI_OK);
    write_manifest(bytes, count);
    sgi__free(bytes);
}

#define CASE(name, ...)                                              \
    static void name(struct sgi__manifest *m, struct sgi__packed *p) \
    {                                                                \
        (void)m;                                                     \
        (void)p;                                                     \
        __VA_ARGS__;                                                 \
    }

CASE(nothing, (void)0)
CASE(huge_part, m->files[0].bytes = UINT64_MAX / 2)
CASE(short_part, m->files[0].data_offset = m->files[0].bytes + 4096)
CASE(odd_part, m->files[0].data_offset += 1)
CASE(other_file, p->parts[0].exact = true)
CASE(short_source, p->parts[0].source_bytes += 1)
CASE(moved_tensor, m->tensors[1].offset += 1)
CASE(moved_source, p->source_offsets[1] += 1)
CASE(wrong_bytes, m->tensors[2].bytes -= 1)
CASE(no_blocks, m->tensors[2].block_bytes = 0)
CASE(other_dtype, m->tensors[2].dtype = "F32")
CASE(not_known, m->tensors[2].block_elements = m->tensors[2].block_bytes = 0)
CASE(known_here, not_known(m, p); m->tensors[2].bytes -= 1)
CASE(no_file, p->chunks[0].file = SGI__PACK_BASE)
CASE(no_part, p->chunks[0].part = 9)
CASE(no_bytes, p->chunks[0].bytes = 0)
CASE(odd_offset, p->chunks[1].offset += 1)
CASE(odd_place, p->chunks[0].at += 1)
CASE(in_head, p->chunks[0].at = 0)
CASE(behind_end, p->chunks[0].at = UINT64_C(1) << 40)
CASE(much_stored, p->chunks[0].stored_bytes = p->chunks[0].bytes + 1)
CASE(a_gap, p->chunks[1].offset += 4096)
CASE(too_short, p->chunks_count--)
CASE(unlike, p->chunks[1].at = p->chunks[0].at; p->chunks[1].stored_bytes = 1)

static const struct {
    const char *what;
    void (*alter)(struct sgi__manifest *m, struct sgi__packed *p);
    const char *words; /* NULL: it is read */
} cases[] = {
    { "nothing", nothing, NULL },
    { "a huge part", huge_part, "too large to be true" },
    { "a part that ends before its data", short_part, "ends before its data" },
    { "data that begin at an odd place", odd_part, "does not begin where it should" },
    { "a part that is its file", other_file, "is not the file it says it is" },
    { "a source that is longer", short_source, "is not the file it says it is" },
    { "a tensor that is not aligned", moved_tensor, "is not aligned" },
    { "a tensor elsewhere in its source", moved_source, "is not where it should be in the file it comes from" },
    { "a tensor of other bytes", wrong_bytes, "does not have the bytes that its shape makes" },
    { "blocks of nothing", no_blocks, "has blocks of nothing" },
    { "a dtype of other blocks", other_dtype, "has other blocks than its dtype" },
    { "a dtype that its writer did not know", not_known, NULL },
    { "one that does not have its bytes", known_here, "does not have the bytes that its shape makes" },
    { "a chunk in a base that there is not", no_file, "is in a file that there is not" },
    { "a chunk of no part", no_part, "is of no part" },
    { "a chunk of no bytes", no_bytes, "is of no part, or not as a chunk may be" },
    { "a chunk at an odd offset", odd_offset, "is of no part, or not as a chunk may be" },
    { "a chunk stored at an odd place", odd_place, "is stored where it cannot be" },
    { "a chunk in the head", in_head, "is stored where it cannot be" },
    { "a chunk behind the end", behind_end, "is stored where it cannot be" },
    { "a chunk that became more", much_stored, "is stored where it cannot be" },
    { "a gap in a part", a_gap, "does not begin where the one before it" },
    { "a part without its end", too_short, "chunks" },
    { "two of one place that are not alike", unlike, "chunk" },
};

static int set_up(void **state)
{
    pack_set_up(state);
    test_file_make(&file, &folder, "m.safetensors", 0, some, 3);
    snprintf(path, sizeof path, "%s", in(&folder, "m.sgi"));
    snprintf(altered, sizeof altered, "%s", in(&folder, "altered.sgi"));
    is_ok(pack_one(file.path, path, NULL, NULL));
    return 0;
}

static int tear_down(void **state)
{
    test_file_free(&file);
    return pack_tear_down(state);
}

static void what_cannot_be_is_refused_in_words(void **state)
{
    (void)state;
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        struct sgi__manifest *m = read_manifest(path, SGI_OK), *again;
        cases[n].alter(m, (struct sgi__packed *)(uintptr_t)m->packed);
        write_with(m);
        sgi__manifest_free(m);
        err.message[0] = '\0';
        again = read_manifest(altered, cases[n].words ? SGI_E_FORMAT : SGI_OK);
        if (cases[n].words && (!strstr(err.message, cases[n].words) || !strstr(err.message, "altered.sgi")))
            fail_msg("%s: '%s'", cases[n].what, err.message);
        if (again)
            assert_true(again->tensors[2].block_elements == 1 && again->tensors[2].block_bytes == 1);
        sgi__manifest_free(again);
    }
}

/* ---- what another library may have made ---- */

static void altered_is_refused(sgi_status expected, const char *words)
{
    err.message[0] = '\0';
    read_manifest(altered, expected);
    is_error(expected, expected, words);
    assert_non_null(strstr(err.message, "altered.sgi"));
}

static void altered_loads(void)
{
    sgi_runtime_config config = host_config();
    sgi_runtime       *rt = host_open(&config);
    sgi_model          model = host_add(rt, "m", altered, NULL);
    sgi_lease          lease = host_acquire(rt, model);
    const uint8_t     *data = file.data + file.data_offset;

    for (size_t n = 0; n < sizeof some / sizeof *some; data += some[n++].bytes) {
        sgi_tensor tensor = { .struct_size = sizeof tensor };
        assert_int_equal(sgi_model_tensor_find(rt, model, some[n].name, &tensor), SGI_OK);
        sgi_view view = host_tensor(rt, lease, tensor.index);
        assert_int_equal(view.bytes, some[n].bytes);
        assert_memory_equal(view.data, data, view.bytes);
    }
    host_release(rt, lease);
    host_close(rt);
    is_ok(verify_one(altered, NULL, 0));
}

static void set_number(uint8_t *at, uint64_t value, unsigned bytes)
{
    for (unsigned n = 0; n < bytes; n++)
        at[n] = (uint8_t)(value >> (8 * n));
}

static const struct {
    unsigned    at, bytes; /* in the head */
    uint64_t    value;
    sgi_status  status;
    const char *words;
} heads[] = {
    { 8, 4, 0, SGI_E_UNSUPPORTED, "packed in version 0 of the format; version 1 is known here" },
    { 8, 4, 2, SGI_E_UNSUPPORTED, "packed in version 2 of the format" },
    { 8, 4, UINT32_MAX, SGI_E_UNSUPPORTED, "packed in version 4294967295 of the format" },
    { 12, 4, 0, SGI_E_FORMAT, "the head of this packed file is not as it should be" },
    { 12, 4, 4088, SGI_E_FORMAT, "the head of this packed file is not as it should be" },
    { 12, 4, 8192, SGI_E_FORMAT, "the head of this packed file is not as it should be" },
    { 16, 8, 2, SGI_E_UNSUPPORTED, "features that are not known here (bits 0x2)" },
    { 16, 8, 3, SGI_E_UNSUPPORTED, "features that are not known here (bits 0x2)" },
    { 16, 8, UINT64_C(1) << 63, SGI_E_UNSUPPORTED, "features that are not known here (bits 0x8000000000000000)" },
    { 16, 8, 1, SGI_E_FORMAT, "a section out of its place" }, /* a base, of which nothing is said */
    { 24, 8, UINT64_MAX, SGI_OK, NULL },                      /* what may be known */
    { 64, 8, 1, SGI_OK, NULL },                               /* SHA-256, for those who look at it */
    { 88, 8, 1, SGI_OK, NULL },
    { 96, 1, 1, SGI_E_FORMAT, "the head of this packed file is not as it should be" },
    { 4087, 1, 1, SGI_E_FORMAT, "the head of this packed file is not as it should be" },
    { 32, 8, 1, SGI_E_FORMAT, "a packed file of 1 bytes was made" },
    { 40, 8, 4096, SGI_E_FORMAT, "leads to no manifest" },
    { 40, 8, UINT64_MAX - 4095, SGI_E_FORMAT, "leads to no manifest" },
    { 48, 8, UINT64_MAX, SGI_E_FORMAT, "leads to no manifest" },
    { 56, 8, 1, SGI_E_CHECK, "the manifest of this packed file is damaged" },
};

static void heads_of_another_version_are_refused_in_words(void **state)
{
    size_t   bytes;
    uint8_t *whole = read_whole(0, &bytes);

    (void)state;
    for (size_t n = 0; n < sizeof heads / sizeof *heads; n++) {
        uint8_t head[SGI__PACK_HEAD_BYTES];
        memcpy(head, whole, sizeof head);
        set_number(whole + heads[n].at, heads[n].value, heads[n].bytes);
        set_number(whole + 4088, sgi__hash(whole, 4088), 8); /* nothing is damaged */
        write_altered(whole, bytes);
        if (heads[n].words)
            altered_is_refused(heads[n].status, heads[n].words);
        else
            altered_loads();
        memcpy(whole, head, sizeof head);
    }
    free(whole);
}

/* Where the sections of a manifest begin, and its end. */
static size_t find_sections(const uint8_t *bytes, size_t count, size_t *begins)
{
    size_t found = 0, at = 0;

    for (; at < count; found++) {
        uint64_t length = 0;
        for (unsigned n = 0; n < 8; n++)
            length |= (uint64_t)bytes[at + 8 + n] << (8 * n);
        begins[found] = at;
        at += 16 + (size_t)length;
    }
    assert_int_equal(at, count);
    begins[found] = at;
    return found;
}

/* With a section more before the one that begins there, of two words, or told to be of so many bytes. */
static void write_with_section(const uint8_t *bytes, size_t count, size_t at, uint32_t kind, uint32_t required,
                               uint64_t length)
{
    uint8_t *more = calloc(1, count + 32);

    assert_non_null(more);
    memcpy(more, bytes, at);
    set_number(more + at, kind, 4);
    set_number(more + at + 4, required, 4);
    set_number(more + at + 8, length, 8);
    memset(more + at + 16, 0xa5, 16);
    memcpy(more + at + 32, bytes + at, count - at);
    write_manifest(more, count + 32);
    free(more);
}

static void unknown_sections_are_passed_over_where_they_may_be(void **state)
{
    static const uint32_t kinds[] = { 8, 100, UINT32_MAX };
    struct sgi__manifest *m = read_manifest(path, SGI_OK);
    uint8_t              *bytes = NULL;
    size_t                count = 0, begins[16];
    char                  words[80];

    (void)state;
    is_ok(sgi__pack_manifest_put(m, SGI__PACK_CHUNK_BYTES, &bytes, &count, &err));
    sgi__manifest_free(m);
    size_t sections = find_sections(bytes, count, begins);
    assert_int_equal(sections, 6);
    for (size_t n = 0; n < sizeof kinds / sizeof *kinds; n++)
        for (size_t at = 0; at <= sections; at++) {
            write_with_section(bytes, count, begins[at], kinds[n], 0, 16);
            altered_loads();
            write_with_section(bytes, count, begins[at], kinds[n], 1, 16);
            snprintf(words, sizeof words, "not known here (section %u): a newer library reads it", kinds[n]);
            altered_is_refused(SGI_E_UNSUPPORTED, words);
        }
    for (uint32_t required = 0; required < 2; required++) {
        write_with_section(bytes, count, count, 8, required, 15);
        altered_is_refused(SGI_E_FORMAT, "ends within a section");
        write_with_section(bytes, count, count, 8, required, 24);
        altered_is_refused(SGI_E_FORMAT, "ends within a section");
        write_with_section(bytes, count, count, 8, required, UINT64_MAX - 15);
        altered_is_refused(SGI_E_FORMAT, "ends within a section");
        write_with_section(bytes, count, count, 0, required, 16);
        altered_is_refused(SGI_E_FORMAT, "a section out of its place (0)");
        write_with_section(bytes, count, count, 7, required, 16);
        altered_is_refused(SGI_E_FORMAT, "a section out of its place (7)");
    }
    for (size_t n = 0; n < sections; n++) { /* without one that there has to be */
        uint8_t *less = malloc(count);
        size_t   length = begins[n + 1] - begins[n];
        assert_non_null(less);
        memcpy(less, bytes, begins[n]);
        memcpy(less + begins[n], bytes + begins[n + 1], count - begins[n + 1]);
        write_manifest(less, count - length);
        altered_is_refused(SGI_E_FORMAT, n + 1 < sections ? "a section out of its place" : "ends before its chunks");
        free(less);
    }
    sgi__free(bytes);
}

/* ---- how large it may be ---- */

static void both_sides_have_one_limit(void **state)
{
    static const uint64_t large[] = { MIB(257), SGI__PACK_MANIFEST_MAX + 8 };
    uint8_t               bytes[SGI__PACK_HEAD_BYTES];

    (void)state;
    for (size_t n = 0; n < sizeof large / sizeof *large; n++) { /* nothing but its length, so its check is wrong */
        struct sgi__pack_head head = { .bytes = SGI__PACK_HEAD_BYTES + large[n],
                                       .manifest_at = SGI__PACK_HEAD_BYTES,
                                       .manifest_bytes = large[n],
                                       .manifest_check = 1 };
        bool                  over = large[n] > SGI__PACK_MANIFEST_MAX;
        sgi__pack_head_put(&head, bytes);
        int fd = open(altered, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        assert_int_equal(write(fd, bytes, sizeof bytes), sizeof bytes);
        assert_int_equal(ftruncate(fd, (off_t)head.bytes), 0);
        close(fd);
        read_manifest(altered, over ? SGI_E_FORMAT : SGI_E_CHECK);
        is_error(err.code, err.code, over ? "more than the 1073741824 allowed" : "manifest of this packed file is dam");
    }
    assert_int_equal(unlink(altered), 0);

    struct sgi__manifest *m = read_manifest(path, SGI_OK);
    struct sgi__value     huge = { .kind = SGI__VALUE_TEXT };
    uint8_t              *put = NULL;
    size_t                count = 0;
    huge.text.bytes = SGI__PACK_MANIFEST_MAX; /* never looked at: it has no place there */
    huge.text.text = mmap(NULL, (size_t)huge.text.bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_ptr_not_equal(huge.text.text, MAP_FAILED);
    is_ok(sgi__manifest_add_metadata(m, "huge", &huge, &err));
    is_error(sgi__pack_manifest_put(m, SGI__PACK_CHUNK_BYTES, &put, &count, &err), SGI_E_FORMAT,
             "m.sgi: too large to be packed: its manifest would have more than 1073741824 bytes");
    assert_null(put);
    munmap((void *)(uintptr_t)huge.text.text, (size_t)huge.text.bytes);
    sgi__manifest_free(m);
}

/* Each item takes more memory than bytes of the file. */
static void arrays_are_counted_together(void **state)
{
    static const uint64_t beyond[] = { 0, 1 };
    uint64_t              half = SGI__ARRAY_ITEMS_MAX / 2;
    struct sgi__value     array = { .kind = SGI__VALUE_ARRAY };

    (void)state;
    array.array.items = calloc(half + 1, sizeof *array.array.items);
    assert_non_null(array.array.items);
    for (size_t n = 0; n < 2; n++) {
        struct sgi__manifest *m = read_manifest(path, SGI_OK);
        array.array.count = half;
        is_ok(sgi__manifest_add_metadata(m, "one", &array, &err));
        array.array.count = half + beyond[n];
        is_ok(sgi__manifest_add_metadata(m, "two", &array, &err));
        write_with(m);
        sgi__manifest_free(m);
        sgi__manifest_free(read_manifest(altered, n == 0 ? SGI_OK : SGI_E_FORMAT));
    }
    is_error(err.code, SGI_E_FORMAT, "altered.sgi: the arrays of the metadata have more than 8388608 items");
    free(array.array.items);
    assert_int_equal(unlink(altered), 0);
}

/* ---- metadata ---- */

struct text {
    char   bytes[8192];
    size_t used;
};

static int append(void *user, const char *piece, size_t bytes)
{
    struct text *t = user;
    assert_true(t->used + bytes < sizeof t->bytes);
    memcpy(t->bytes + t->used, piece, bytes);
    t->used += bytes;
    return 0;
}

/* What is said of a model from its metadata on. */
static const char *metadata_of(const char *model, struct text *t)
{
    t->used = 0;
    is_ok(sgi_inspect(model, SGI_INSPECT_JSON, append, t, &err));
    t->bytes[t->used] = '\0';
    const char *from = strstr(t->bytes, "\"metadata\"");
    assert_non_null(from);
    return from;
}

static void metadata_of_all_kinds_come_back(void **state)
{
    static const uint64_t shape[] = { 4 };
    static struct text    plain, from_pack;
    struct bytes          b = { .data = NULL };
    char                  source[512], packed[512];
    (void)state;
    gguf_begin(&b, 3, 1, 13);
    gguf_key_text(&b, "general.architecture", "test");
    gguf_key(&b, "u8", GGUF_U8), put_u8(&b, 200);
    gguf_key(&b, "i8", GGUF_I8), put_u8(&b, 200);
    gguf_key(&b, "u16", GGUF_U16), put_u16(&b, 65000);
    gguf_key(&b, "i16", GGUF_I16), put_u16(&b, 65000);
    gguf_key(&b, "i32", GGUF_I32), put_u32(&b, UINT32_MAX - 4);
    gguf_key(&b, "f32", GGUF_F32), put_u32(&b, 0x3e200000);
    gguf_key(&b, "truth", GGUF_BOOL), put_u8(&b, 1);
    gguf_key(&b, "u64", GGUF_U64), put_u64(&b, UINT64_MAX);
    gguf_key(&b, "i64", GGUF_I64), put_u64(&b, UINT64_MAX - 6);
    gguf_key(&b, "f64", GGUF_F64), put_u64(&b, UINT64_C(0x4009210000000000));
    gguf_key(&b, "words", GGUF_ARRAY), put_u32(&b, GGUF_STRING), put_u64(&b, 2), gguf_text(&b, "one"),
        gguf_text(&b, "\xc3\xa9");
    gguf_key(&b, "numbers", GGUF_ARRAY), put_u32(&b, GGUF_F32), put_u64(&b, 2), put_u32(&b, 0x40490fdb),
        put_u32(&b, 0x7f800000);
    gguf_tensor(&b, "w", GGML_F32, 0, 1, shape);
    gguf_align(&b, 32);
    put_zeros(&b, 16);
    gguf_align(&b, 32);
    snprintf(source, sizeof source, "%s", in(&folder, "kinds.gguf"));
    int fd = open(source, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, b.data, b.size), (ssize_t)b.size);
    close(fd);
    snprintf(packed, sizeof packed, "%s", in(&folder, "kinds.sgi"));
    is_ok(pack_one(source, packed, NULL, NULL));
    const char *said = metadata_of(source, &plain), *also = metadata_of(packed, &from_pack);
    assert_memory_equal(said, also, strcspn(said, "}")); /* what is packed says more behind it */
    assert_non_null(strstr(said, "0.15625"));
    is_ok(unpack_one(packed, out.path, 0));
    has_bytes(in(&out, "kinds.gguf"), b.data, b.size);
    bytes_free(&b);
    unlink(source);
}

/* ---- what safetensors allow ---- */

static void a_shape_of_an_unknown_dtype_may_be_anything(void **state)
{
    struct bytes b = { .data = NULL };
    char         source[512], packed[512];

    (void)state;
    make_safetensors(&b, "{\"w\":{\"dtype\":\"X9\",\"shape\":[1099511627776,1099511627776],\"data_offsets\":[0,5]}}",
                     5);
    snprintf(source, sizeof source, "%s", in(&folder, "unknown.safetensors"));
    int fd = open(source, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, b.data, b.size), (ssize_t)b.size);
    close(fd);
    snprintf(packed, sizeof packed, "%s", in(&folder, "unknown.sgi"));
    is_ok(pack_one(source, packed, NULL, NULL));
    is_ok(unpack_one(packed, out.path, 0));
    has_bytes(in(&out, "unknown.safetensors"), b.data, b.size);
    bytes_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_cannot_be_is_refused_in_words),
        cmocka_unit_test(heads_of_another_version_are_refused_in_words),
        cmocka_unit_test(unknown_sections_are_passed_over_where_they_may_be),
        cmocka_unit_test(both_sides_have_one_limit),
        cmocka_unit_test(arrays_are_counted_together),
        cmocka_unit_test(metadata_of_all_kinds_come_back),
        cmocka_unit_test(a_shape_of_an_unknown_dtype_may_be_anything),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
