/* SPDX-License-Identifier: Apache-2.0 */
/* Packed models: the same bytes again, whichever way they are read, and a word for every byte that is not. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <sgi/pack.h>

#include "pack_host.h"

enum { FLIPS = 3000, FLIPS_LOADED = 10 };

static const char *pack(const struct test_file *file, const char *name, const sgi_pack_options *options,
                        sgi_pack_report *report)
{
    const char *path = in(&folder, name);
    report->struct_size = sizeof *report;
    is_ok(pack_one(file->path, path, options, report));
    return path;
}

/* Bytes as weights have them: what is packed of them gets less. */
static void make_floats(struct test_file *file)
{
    for (size_t n = file->data_offset; n + 1 < file->bytes; n += 2)
        file->data[n + 1] = (uint8_t)(0x3b + random64() % 3);
    test_file_write(file);
}

/* ---- the same bytes ---- */

static const struct test_tensor some[] = {
    { "small", 100 },        { "none", 0 },       { "large", MIB(2) + 4096 * 3 + 10 },
    { "odd", KIB(300) + 1 }, { "page", KIB(64) }, { "last", 3 }
};
enum { SOME = sizeof some / sizeof *some };

static void loads_the_same(const char *path, const struct test_file *file)
{
    sgi_runtime_config config = host_config();
    sgi_runtime       *rt = host_open(&config);
    sgi_model          model = host_add(rt, "m", path, NULL);
    sgi_lease          lease = host_acquire(rt, model);

    for (uint32_t n = 0; n < SOME; n++) {
        sgi_tensor tensor = { .struct_size = sizeof tensor };
        uint64_t   plain = 0, at = file->data_offset;
        assert_int_equal(sgi_model_tensor_find(rt, model, some[n].name, &tensor), SGI_OK);
        for (; strcmp(some[plain].name, some[n].name) != 0; plain++)
            at += some[plain].bytes;
        sgi_view view = host_tensor(rt, lease, tensor.index);
        assert_int_equal(view.bytes, some[n].bytes);
        if (view.bytes > 0)
            assert_memory_equal(view.data, file->data + at, view.bytes);
        if (view.bytes > 0)
            assert_int_equal((uintptr_t)view.data % 256, 0);
    }
    host_release(rt, lease);
    host_close(rt);
}

static void a_model_comes_back_and_loads(void **state)
{
    static const uint32_t codecs[] = { SGI_PACK_AUTO, SGI_PACK_RAW, SGI_PACK_ZSTD, SGI_PACK_PLANES };
    struct test_file      file;
    sgi_pack_options      options;
    sgi_pack_report       report = { 0 };

    (void)state;
    test_file_make(&file, &folder, "model.safetensors", 0, some, SOME);
    make_floats(&file);
    for (size_t n = 0; n < sizeof codecs / sizeof *codecs; n++) {
        sgi_pack_options_init(&options, sizeof options);
        options.codec = codecs[n];
        options.jobs = (uint32_t)n + 1;
        const char *path = pack(&file, "model.sgi", &options, &report);
        assert_int_equal(report.source_bytes, file.bytes);
        assert_true(codecs[n] == SGI_PACK_RAW || report.packed_bytes < file.bytes);
        assert_int_equal(report.chunks, report.chunks_raw + report.chunks_zstd + report.chunks_planes);
        is_ok(verify_one(path, NULL, 2));
        is_ok(unpack_one(path, out.path, 2));
        has_bytes(in(&out, "model.safetensors"), file.data, file.bytes);
        loads_the_same(path, &file);
    }
    test_file_free(&file);
}

static void wished_tensors_come_first(void **state)
{
    static const char *const order[] = { "page", "small" }, *const wrong[] = { "page", "nobody" };
    struct test_file file;
    sgi_pack_options options;
    sgi_pack_report  report = { 0 };

    (void)state;
    test_file_make(&file, &folder, "model.safetensors", 0, some, SOME);
    sgi_pack_options_init(&options, sizeof options);
    options.order = order;
    options.order_count = 2;
    const char *path = pack(&file, "ordered.sgi", &options, &report);
    is_ok(verify_one(path, NULL, 0));
    is_ok(unpack_one(path, out.path, 0));
    has_bytes(in(&out, "model.safetensors"), file.data, file.bytes);
    loads_the_same(path, &file);
    options.order = wrong;
    is_error(pack_one(file.path, path, &options, NULL), SGI_E_NOT_FOUND, "nobody");
    is_ok(verify_one(path, NULL, 0)); /* the one from before */
    test_file_free(&file);
}

static void equal_parts_are_stored_once(void **state)
{
    static const struct test_tensor twins[] = { { "a", MIB(3) }, { "b", MIB(3) } };
    struct test_file                file;
    sgi_pack_report                 report = { 0 };

    (void)state;
    test_file_make(&file, &folder, "twins.safetensors", 0, twins, 2);
    memcpy(file.data + file.data_offset + MIB(3), file.data + file.data_offset, MIB(3));
    test_file_write(&file);
    const char *path = pack(&file, "twins.sgi", NULL, &report);
    assert_int_equal(report.twice_bytes, MIB(3));
    assert_true(report.packed_bytes < MIB(3) + KIB(64));
    is_ok(verify_one(path, NULL, 0));
    is_ok(unpack_one(path, out.path, 0));
    has_bytes(in(&out, "twins.safetensors"), file.data, file.bytes);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    flip(fd, MIB(1)); /* of both of them, as a load says too */
    is_error(verify_damage(path, NULL, 0), SGI_E_CHECK, "it holds tensor 'a' and 1 more");
    assert_non_null(strstr(damage_told(), "; 2: a b"));
    close(fd);
    test_file_free(&file);
}

/* ---- a base ---- */

static void what_a_base_has_is_not_stored_again(void **state)
{
    static const struct test_tensor parts[] = { { "a", MIB(1) }, { "b", MIB(1) }, { "c", MIB(1) }, { "d", KIB(300) } };
    struct test_file                base, tuned;
    sgi_pack_options                options;
    sgi_pack_report                 report = { 0 };
    char                            base_path[512], path[512];

    (void)state;
    test_file_make(&base, &folder, "base.safetensors", 0, parts, 4);
    test_file_make(&tuned, &folder, "tuned.safetensors", 0, parts, 4);
    memcpy(tuned.data, base.data, base.bytes);
    for (size_t n = 0; n < KIB(300); n += 100)
        tuned.data[tuned.bytes - 1 - n] ^= 1; /* of "d" */
    test_file_write(&tuned);
    snprintf(base_path, sizeof base_path, "%s", pack(&base, "base.sgi", NULL, &report));
    sgi_pack_options_init(&options, sizeof options);
    options.base = base_path;
    snprintf(path, sizeof path, "%s", pack(&tuned, "tuned.sgi", &options, &report));
    assert_true(report.base_bytes >= MIB(3) && report.packed_bytes < KIB(400));
    is_ok(verify_one(path, NULL, 0));
    is_ok(unpack_one(path, out.path, 0));
    has_bytes(in(&out, "tuned.safetensors"), tuned.data, tuned.bytes);

    /* Damaged: named as what it is. */
    int     fd = open(base_path, O_RDWR | O_CLOEXEC);
    uint8_t was = flip(fd, 3 * 4096);
    is_error(verify_damage(path, NULL, 0), SGI_E_CHECK, "base.sgi");
    assert_memory_equal(damage_told(), "base.sgi: ", strlen("base.sgi: "));
    put_back(fd, 3 * 4096, was);
    close(fd);
    is_ok(verify_one(path, NULL, 0));

    /* Another, and none. */
    sgi_pack_options_init(&options, sizeof options);
    options.codec = SGI_PACK_RAW;
    options.level = 2;
    test_file_free(&base);
    test_file_make(&base, &folder, "base.safetensors", 0, parts, 4);
    is_ok(pack_one(base.path, base_path, &options, NULL));
    is_error(verify_one(path, NULL, 0), SGI_E_CHANGED, "base.sgi");
    assert_int_equal(unlink(base_path), 0);
    is_error(verify_one(path, NULL, 0), SGI_E_IO, "base.sgi");
    assert_non_null(strstr(err.message, "tuned.sgi asks for it"));
    test_file_free(&base);
    test_file_free(&tuned);
}

struct spoiling {
    const char *path;
    bool        done;
};

/* At the end, when all is read. */
static int spoil_base(void *user, uint64_t done_bytes, uint64_t total_bytes)
{
    struct spoiling *s = user;

    if (done_bytes == total_bytes && !s->done) {
        int fd = open(s->path, O_RDWR | O_CLOEXEC);
        flip(fd, 20);
        close(fd);
        s->done = true;
    }
    return 0;
}

static void what_nobody_could_read_takes_no_place(void **state)
{
    static const struct test_tensor parts[] = { { "a", MIB(1) }, { "b", KIB(300) } };
    struct test_file                base, tuned;
    sgi_pack_options                options;
    sgi_pack_report                 report = { 0 };
    char                            base_path[512], path[512];
    struct spoiling                 spoiling = { .path = base_path };

    (void)state;
    test_file_make(&base, &folder, "b.safetensors", 0, parts, 2);
    test_file_make(&tuned, &folder, "t.safetensors", 0, parts, 2);
    snprintf(base_path, sizeof base_path, "%s", pack(&base, "spoiled.sgi", NULL, &report));
    snprintf(path, sizeof path, "%s", pack(&tuned, "stays.sgi", NULL, &report));
    sgi_pack_options_init(&options, sizeof options);
    options.base = base_path;
    options.progress = spoil_base;
    options.user = &spoiling;
    is_error(pack_one(base.path, path, &options, NULL), SGI_E_CHECK, "spoiled.sgi: the head of this packed file");
    is_ok(verify_one(path, NULL, 0));
    is_ok(unpack_one(path, out.path, 0)); /* the one from before */
    has_bytes(in(&out, "t.safetensors"), tuned.data, tuned.bytes);
    test_file_free(&base);
    test_file_free(&tuned);
}

static void a_base_is_asked_for_by_its_own_name(void **state)
{
    static const struct test_tensor parts[] = { { "a", MIB(1) }, { "b", KIB(300) } };
    struct test_file                base, tuned;
    sgi_pack_options                options;
    sgi_pack_report                 report = { .struct_size = sizeof report };
    struct test_folder              lone; /* with one model in it */

    (void)state;
    test_folder_make(&lone);
    test_file_make(&base, &folder, "b.safetensors", 0, parts, 2);
    test_file_make(&tuned, &folder, "t.safetensors", 0, parts, 2);
    memcpy(tuned.data, base.data, base.bytes);
    tuned.data[tuned.bytes - 1] ^= 1;
    test_file_write(&tuned);
    is_ok(pack_one(base.path, in(&lone, "base.safetensors"), NULL, NULL));
    sgi_pack_options_init(&options, sizeof options);
    options.base = lone.path;
    is_ok(pack_one(tuned.path, in(&lone, "tuned.sgi"), &options, &report));
    assert_true(report.base_bytes > 0);
    is_ok(verify_one(in(&lone, "tuned.sgi"), NULL, 0));
    test_folder_remove(&lone);
    test_file_free(&base);
    test_file_free(&tuned);
}

static void a_base_that_has_nothing_of_it_is_not_asked_for(void **state)
{
    static const struct test_tensor one[] = { { "a", KIB(500) } }, another[] = { { "b", KIB(700) } };
    struct test_file                base, file;
    sgi_pack_options                options;
    sgi_pack_report                 report = { 0 };
    char                            base_path[512];

    (void)state;
    test_file_make(&base, &folder, "nothing.safetensors", 0, one, 1);
    test_file_make(&file, &folder, "own.safetensors", 0, another, 1);
    sgi_pack_options_init(&options, sizeof options);
    snprintf(base_path, sizeof base_path, "%s", pack(&base, "nothing.sgi", NULL, &report));
    options.base = base_path;
    const char *path = pack(&file, "own.sgi", &options, &report);
    assert_int_equal(report.base_bytes, 0);
    assert_int_equal(unlink(base_path), 0);
    is_ok(verify_one(path, NULL, 0));
    test_file_free(&base);
    test_file_free(&file);
}

/* ---- what is in the way ---- */

static int drop(void *user, const char *text, size_t bytes)
{
    (void)user, (void)text, (void)bytes;
    return 0;
}

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void only_what_is_packed_is_replaced(void **state)
{
    static const struct test_tensor one[] = { { "a", KIB(500) } };
    static const char               text[] = "not to be lost";
    struct test_file                file;
    sgi_pack_report                 report = { 0 };

    (void)state;
    test_file_make(&file, &folder, "new.safetensors", 0, one, 1);
    write_text(in(&folder, "notes.txt"), text);
    is_error(pack_one(file.path, in(&folder, "notes.txt"), NULL, NULL), SGI_E_INVALID,
             "notes.txt is there already and is not a packed file");
    has_bytes(in(&folder, "notes.txt"), (const uint8_t *)text, strlen(text));
    pack(&file, "new.sgi", NULL, &report);
    pack(&file, "new.sgi", NULL, &report);
    write_text(in(&folder, "empty.sgi"), ""); /* as mktemp leaves it */
    pack(&file, "empty.sgi", NULL, &report);
    test_file_free(&file);
}

/* Of a file, of an index, of the base. */
static void names_that_no_reader_takes_are_refused_at_once(void **state)
{
    static const struct test_tensor one[] = { { "a", KIB(500) } };
    struct test_file                file, odd;
    struct test_shards              shards;
    sgi_pack_options                options;
    char                            path[512], renamed[512];

    (void)state;
    test_file_make(&file, &folder, "even.safetensors", 0, one, 1);
    test_file_make(&odd, &folder, "odd\xff.safetensors", 0, one, 1);
    snprintf(path, sizeof path, "%s", in(&folder, "named.sgi"));
    is_ok(sgi_inspect(odd.path, SGI_INSPECT_JSON, drop, NULL, &err)); /* a model as good as any, otherwise */
    is_error(pack_one(odd.path, path, NULL, NULL), SGI_E_FORMAT, "odd?.safetensors: its name is not UTF-8");

    test_shards_make(&shards, &folder, KIB(100));
    snprintf(renamed, sizeof renamed, "%s", in(&folder, "\xc3.safetensors.index.json"));
    assert_int_equal(rename(shards.path, renamed), 0);
    is_error(pack_one(renamed, path, NULL, NULL), SGI_E_FORMAT, "?.safetensors.index.json: its name is not UTF-8");
    assert_int_equal(rename(renamed, shards.path), 0);
    test_shards_free(&shards);

    snprintf(renamed, sizeof renamed, "%s", in(&folder, "base\xe4.sgi"));
    is_ok(pack_one(file.path, renamed, NULL, NULL)); /* by its own name nobody asks */
    is_ok(verify_one(renamed, NULL, 0));
    sgi_pack_options_init(&options, sizeof options);
    options.base = renamed;
    is_error(pack_one(file.path, path, &options, NULL), SGI_E_FORMAT, "base?.sgi: its name is not UTF-8");
    assert_int_equal(access(path, F_OK), -1);
    test_file_free(&file);
    test_file_free(&odd);
}

static void nothing_is_unpacked_over_what_it_is_in(void **state)
{
    static const struct test_tensor parts[] = { { "a", MIB(1) }, { "b", KIB(300) } };
    struct test_file                base, tuned;
    sgi_pack_options                options;
    sgi_pack_report                 report = { .struct_size = sizeof report };
    char                            base_path[512], path[512];

    (void)state;
    test_file_make(&base, &folder, "other.sgi", 0, parts, 2);
    test_file_make(&tuned, &folder, "itself.sgi", 0, parts, 2);
    memcpy(tuned.data, base.data, base.bytes);
    tuned.data[tuned.bytes - 1] ^= 1;
    test_file_write(&tuned);
    snprintf(base_path, sizeof base_path, "%s", in(&out, "other.sgi"));
    is_ok(pack_one(base.path, base_path, NULL, NULL));
    sgi_pack_options_init(&options, sizeof options);
    options.base = base_path;
    snprintf(path, sizeof path, "%s", in(&out, "itself.sgi"));
    is_ok(pack_one(tuned.path, path, &options, &report));
    assert_true(report.base_bytes > 0);
    is_error(unpack_one(path, out.path, 0), SGI_E_INVALID, "itself.sgi: holds what is unpacked");
    is_ok(verify_one(path, NULL, 0));
    is_ok(pack_one(base.path, path, &options, &report)); /* the part is called like its base */
    is_error(unpack_one(path, out.path, 0), SGI_E_INVALID, "other.sgi: holds what is unpacked");
    is_ok(unpack_one(path, folder.path, 0));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(unlink(base_path), 0);
    test_file_free(&base);
    test_file_free(&tuned);
}

/* ---- what is told of files ---- */

static char told[1000];

static void keep_file(void *user, const sgi_file_done *done)
{
    size_t      used = strlen(told);
    const char *slash = strrchr(done->path, '/');

    assert_ptr_equal(user, told);
    assert_int_equal(done->struct_size, sizeof *done);
    assert_int_equal(done->unchecked, 0);
    snprintf(told + used, sizeof told - used, "%s %llu %llu%s; ", slash + 1, (unsigned long long)done->bytes,
             (unsigned long long)done->chunks, done->is_base ? " base" : "");
}

static uint64_t bytes_of(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return (uint64_t)st.st_size;
}

static void each_file_that_is_done_is_told(void **state)
{
    static const struct test_tensor parts[] = { { "a", MIB(1) }, { "b", KIB(300) } };
    struct test_folder              elsewhere;
    struct test_file                base, tuned;
    const char                     *folders[1];
    sgi_pack_options                options;
    sgi_files_options               all;
    sgi_pack_report                 report = { .struct_size = sizeof report };
    char                            base_path[512], path[512], expected[600];

    (void)state;
    test_folder_make(&elsewhere);
    test_file_make(&base, &folder, "of_base.safetensors", 0, parts, 2);
    test_file_make(&tuned, &folder, "of_tuned.safetensors", 0, parts, 2);
    memcpy(tuned.data, base.data, base.bytes);
    tuned.data[tuned.bytes - 1] ^= 1;
    test_file_write(&tuned);
    snprintf(base_path, sizeof base_path, "%s", in(&elsewhere, "far.sgi"));
    is_ok(pack_one(base.path, base_path, NULL, &report));
    uint64_t of_base = report.chunks;
    sgi_pack_options_init(&options, sizeof options);
    options.base = base_path;
    snprintf(path, sizeof path, "%s", in(&folder, "near.sgi"));
    is_ok(pack_one(tuned.path, path, &options, &report));

    sgi_files_options_init(&all, sizeof all);
    all.file = keep_file;
    all.user = told;
    is_error(sgi_verify(path, &all, &err), SGI_E_IO, "far.sgi"); /* it is not beside it */
    folders[0] = elsewhere.path;
    all.folders = folders;
    all.folders_count = 1;
    told[0] = '\0';
    is_ok(sgi_verify(path, &all, &err));
    snprintf(expected, sizeof expected, "near.sgi %llu 1; far.sgi %llu %llu base; ", (unsigned long long)bytes_of(path),
             (unsigned long long)bytes_of(base_path), (unsigned long long)of_base);
    assert_string_equal(told, expected);
    told[0] = '\0';
    is_ok(sgi_unpack(path, out.path, &all, &err));
    snprintf(expected, sizeof expected, "of_tuned.safetensors %llu 0; ", (unsigned long long)tuned.bytes);
    assert_string_equal(told, expected);
    has_bytes(in(&out, "of_tuned.safetensors"), tuned.data, tuned.bytes);
    told[0] = '\0';
    all.checks_path = in(&out, "of.sgisum");
    is_ok(sgi_digest(tuned.path, &all, &err));
    snprintf(expected, sizeof expected, "of.sgisum %llu 1; ", (unsigned long long)tuned.bytes);
    assert_string_equal(told, expected);
    is_error(sgi_unpack(path, out.path, &all, &err), SGI_E_UNSUPPORTED, "takes no others");
    all.reserved0 = 1;
    is_error(sgi_verify(path, &all, &err), SGI_E_INVALID, "reserved0");
    all.struct_size = 3;
    is_error(sgi_verify(path, &all, &err), SGI_E_INVALID, "sgi_files_options: struct_size");
    test_folder_remove(&elsewhere);
    test_file_free(&base);
    test_file_free(&tuned);
}

/* ---- bytes that are not what they were ---- */

/* Refused, or right. */
static void loads_right_or_not_at_all(const char *path, const struct test_file *file)
{
    sgi_runtime_config config = host_config();
    sgi_runtime       *rt = host_open(&config);
    sgi_model_config   mc = host_model("m", path, NULL);
    sgi_model          model;
    sgi_lease          lease;

    if (sgi_model_register(rt, &mc, &model, &err) == SGI_OK &&
        sgi_model_acquire_wait(rt, model, NULL, &lease, &err) == SGI_OK) {
        sgi_tensor tensor = { .struct_size = sizeof tensor };
        assert_int_equal(sgi_model_tensor_find(rt, model, "large", &tensor), SGI_OK);
        sgi_view view = host_tensor(rt, lease, tensor.index);
        assert_memory_equal(view.data, file->data + file->data_offset + 100, view.bytes);
        host_release(rt, lease);
    } else {
        assert_non_null(strstr(err.message, "flipped.sgi"));
    }
    host_close(rt);
}

static void every_flipped_byte_is_named(void **state)
{
    struct test_file file;
    sgi_pack_report  report = { 0 };
    struct stat      st;

    (void)state;
    test_file_make(&file, &folder, "model.safetensors", 0, some, SOME);
    make_floats(&file);
    const char *path = pack(&file, "flipped.sgi", NULL, &report);
    int         fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    for (int n = 0; n < FLIPS; n++) {
        uint64_t bytes = (uint64_t)st.st_size, at = random64() % bytes;
        if (n % 3 == 0) /* the manifest, which is the smallest part */
            at = bytes - 1 - random64() % 1500;
        if (n % 3 == 1)
            at = random64() % 4096;
        uint8_t    was = flip(fd, at);
        sgi_status status = verify_one(path, NULL, 2);
        if (status == SGI_OK)
            fail_msg("byte %llu can be anything", (unsigned long long)at);
        assert_true(status == SGI_E_CHECK || status == SGI_E_FORMAT || status == SGI_E_UNSUPPORTED);
        assert_non_null(strstr(err.message, "flipped.sgi"));
        if (n % FLIPS_LOADED == 0)
            loads_right_or_not_at_all(path, &file);
        put_back(fd, at, was);
    }
    close(fd);
    is_ok(verify_one(path, NULL, 0));
    test_file_free(&file);
}

static void a_file_that_is_cut_is_named(void **state)
{
    struct test_file file;
    sgi_pack_report  report = { 0 };
    struct stat      st;

    (void)state;
    test_file_make(&file, &folder, "model.safetensors", 0, some, SOME);
    for (int n = 0; n < 40; n++) {
        const char *path = pack(&file, "cut.sgi", NULL, &report);
        assert_int_equal(stat(path, &st), 0);
        off_t to = n < 2 ? n * 8 : (off_t)(random64() % (uint64_t)st.st_size);
        assert_int_equal(truncate(path, to), 0);
        assert_int_not_equal(verify_one(path, NULL, 0), SGI_OK);
        assert_non_null(strstr(err.message, "cut.sgi"));
    }
    test_file_free(&file);
}

/* ---- what it leaves ---- */

static int stop_soon(void *user, uint64_t done_bytes, uint64_t total_bytes)
{
    (void)done_bytes, (void)total_bytes;
    return --*(int *)user <= 0;
}

static void a_canceled_one_leaves_what_was_there(void **state)
{
    struct test_file  file;
    sgi_pack_options  options;
    sgi_files_options all;
    sgi_pack_report   report = { 0 };
    int               calls = 1;

    (void)state;
    test_file_make(&file, &folder, "model.safetensors", 0, some, SOME);
    const char *path = pack(&file, "kept.sgi", NULL, &report);
    size_t      files = count_files(&folder);
    sgi_pack_options_init(&options, sizeof options);
    options.progress = stop_soon;
    options.user = &calls;
    options.jobs = 1;
    is_error(pack_one(file.path, path, &options, NULL), SGI_E_CANCELED, "canceled");
    assert_int_equal(count_files(&folder), files);
    is_ok(verify_one(path, NULL, 0));
    calls = 1;
    sgi_files_options_init(&all, sizeof all);
    all.progress = stop_soon;
    all.user = &calls;
    is_error(sgi_unpack(path, out.path, &all, &err), SGI_E_CANCELED, "canceled");
    test_file_free(&file);
}

struct told {
    uint64_t stop_percent; /* from here on; 100: when all is done */
    uint64_t calls, between, done, total;
};

static int stop_from(void *user, uint64_t done_bytes, uint64_t total_bytes)
{
    struct told *t = user;

    assert_true(done_bytes >= t->done && done_bytes <= total_bytes);
    assert_true(t->calls == 0 || total_bytes == t->total);
    t->calls++;
    t->between += done_bytes > total_bytes / 2 && done_bytes < total_bytes;
    t->done = done_bytes;
    t->total = total_bytes;
    return done_bytes >= total_bytes / 100 * t->stop_percent && (t->stop_percent < 100 || done_bytes == total_bytes);
}

/* Whether it is what is read for the second time, or what is done but not yet in its place. */
static void it_is_canceled_until_it_is_in_its_place(void **state)
{
    const struct test_tensor large[] = { { "a", MIB(9) }, { "b", MIB(1) } };
    const char *const        order[] = { "b" };
    struct test_file         file;
    sgi_pack_options         options;
    sgi_files_options        all;
    sgi_pack_report          report = { 0 };

    (void)state;
    test_file_make(&file, &folder, "large.safetensors", 0, large, 2);
    const char *path = pack(&file, "large.sgi", NULL, &report);
    size_t      files = count_files(&folder), before = count_files(&out);
    for (uint64_t percent = 51; percent <= 100; percent += 49) {
        struct told t = { .stop_percent = percent };
        sgi_pack_options_init(&options, sizeof options);
        options.progress = stop_from;
        options.user = &t;
        options.order = order;
        options.order_count = 1;
        is_error(pack_one(file.path, in(&folder, "ordered.sgi"), &options, NULL), SGI_E_CANCELED, "canceled");
        assert_int_equal(t.done == t.total, percent == 100);
        assert_true(t.between > 0); /* it goes on being told while it is read again */
        assert_int_equal(count_files(&folder), files);

        t = (struct told){ .stop_percent = percent };
        sgi_files_options_init(&all, sizeof all);
        all.progress = stop_from;
        all.user = &t;
        is_error(sgi_unpack(path, out.path, &all, &err), SGI_E_CANCELED, "canceled");
        assert_int_equal(t.done == t.total, percent == 100);
        assert_true(t.between > 0);
        assert_int_equal(count_files(&out), before);
    }
    struct told t = { .stop_percent = 100 };
    options.order_count = 0;
    options.user = &t;
    is_error(pack_one(file.path, in(&folder, "last.sgi"), &options, NULL), SGI_E_CANCELED, "canceled");
    t = (struct told){ .stop_percent = 100 };
    all.user = &t;
    is_error(sgi_digest(file.path, &all, &err), SGI_E_CANCELED, "canceled");
    assert_int_equal(count_files(&folder), files);
    t = (struct told){ .stop_percent = 100 };
    is_error(sgi_verify(path, &all, &err), SGI_E_CANCELED, "canceled");
    t = (struct told){ .stop_percent = 101 };
    is_ok(sgi_unpack(path, out.path, &all, &err));
    assert_int_equal(t.done, t.total);
    has_bytes(in(&out, "large.safetensors"), file.data, file.bytes);
    test_file_free(&file);
}

static int append(void *user, uint64_t done_bytes, uint64_t total_bytes)
{
    FILE *file = fopen(user, "a");

    (void)done_bytes, (void)total_bytes;
    assert_non_null(file);
    assert_true(fputs("\n", file) >= 0); /* JSON as it was */
    fclose(file);
    return 0;
}

static void sources_stay_what_they_were_at_its_beginning(void **state)
{
    struct test_shards shards;
    sgi_pack_options   options;

    (void)state;
    test_shards_make(&shards, &folder, MIB(1));
    sgi_pack_options_init(&options, sizeof options);
    options.progress = append;
    const char *const changing[] = { shards.path, shards.shards[1].path };
    for (size_t n = 0; n < sizeof changing / sizeof *changing; n++) {
        options.user = (void *)(uintptr_t)changing[n];
        is_error(pack_one(shards.path, in(&folder, "shards.sgi"), &options, NULL), SGI_E_CHANGED, changing[n]);
        assert_int_equal(access(in(&folder, "shards.sgi"), F_OK), -1);
    }
    test_shards_free(&shards);
}

static void what_makes_no_sense_is_refused(void **state)
{
    struct test_file file;
    sgi_pack_options options;
    sgi_pack_report  report = { 0 };
    char             path[512];

    (void)state;
    test_file_make(&file, &folder, "model.safetensors", 0, some, SOME);
    snprintf(path, sizeof path, "%s", pack(&file, "good.sgi", NULL, &report));
    is_error(pack_one(in(&folder, "nowhere"), path, NULL, NULL), SGI_E_IO, "nowhere");
    is_error(pack_one(file.path, folder.path, NULL, NULL), SGI_E_INVALID, "a folder");
    is_error(pack_one(file.path, in(&folder, "no/such/folder.sgi"), NULL, NULL), SGI_E_IO, "no/such");
    is_error(pack_one(file.path, file.path, NULL, NULL), SGI_E_INVALID, "is not a packed file");
    has_bytes(file.path, file.data, file.bytes);
    is_error(pack_one(path, in(&folder, "again.sgi"), NULL, NULL), SGI_E_UNSUPPORTED, "packed already");
    is_error(verify_one(file.path, NULL, 0), SGI_E_UNSUPPORTED, "not a packed one");
    is_error(unpack_one(path, in(&folder, "nowhere"), 0), SGI_E_IO, "nowhere");
    sgi_pack_options_init(&options, sizeof options);
    options.base = file.path;
    is_error(pack_one(file.path, path, &options, NULL), SGI_E_UNSUPPORTED, "not a packed one");
    options.base = path;
    is_error(pack_one(file.path, path, &options, NULL), SGI_E_INVALID, "the base");
    is_error(pack_one(file.path, in(&out, "good.sgi"), &options, NULL), SGI_E_INVALID,
             "good.sgi: has the name of its base, ");
    assert_non_null(strstr(err.message, path));
    assert_int_equal(access(in(&out, "good.sgi"), F_OK), -1);
    is_ok(pack_one(file.path, in(&out, "other.sgi"), &options, NULL)); /* for those who say where the base is */
    assert_int_equal(unlink(in(&out, "other.sgi")), 0);
    is_ok(pack_one(file.path, in(&folder, "based.sgi"), &options, NULL));
    options.base = in(&folder, "based.sgi");
    is_error(pack_one(file.path, in(&folder, "third.sgi"), &options, NULL), SGI_E_UNSUPPORTED, "has a base itself");
    options = (sgi_pack_options){ .struct_size = sizeof options, .codec = 9 };
    is_error(pack_one(file.path, path, &options, NULL), SGI_E_INVALID, "codec");
    options = (sgi_pack_options){ .struct_size = sizeof options, .level = 20 };
    is_error(pack_one(file.path, path, &options, NULL), SGI_E_INVALID, "level");
    options = (sgi_pack_options){ .struct_size = sizeof options, .jobs = 257 };
    is_error(pack_one(file.path, path, &options, NULL), SGI_E_INVALID, "jobs");
    options = (sgi_pack_options){ .struct_size = 0 };
    is_error(pack_one(file.path, path, &options, NULL), SGI_E_INVALID, "sgi_pack_options");
    is_error(pack_one(NULL, path, NULL, NULL), SGI_E_INVALID, "path number 0");
    is_error(sgi_pack(NULL, 1, path, NULL, NULL, &err), SGI_E_INVALID, "sources");
    is_error(pack_one(file.path, NULL, NULL, NULL), SGI_E_INVALID, "path");
    is_error(verify_one("", NULL, 0), SGI_E_INVALID, "path");
    is_error(unpack_one(path, NULL, 0), SGI_E_INVALID, "folder");
    is_ok(verify_one(path, NULL, 0));
    test_file_free(&file);
}

static void several_files_are_one_model(void **state)
{
    static const struct test_tensor first[] = { { "a", KIB(700) } }, second[] = { { "b", KIB(900) } };
    struct test_file                files[2];
    sgi_runtime_config              config = host_config();
    char                            packed[512];

    (void)state;
    test_file_make(&files[0], &folder, "one.safetensors", 0, first, 1);
    test_file_make(&files[1], &folder, "two.safetensors", 0, second, 1);
    const char *const paths[] = { files[0].path, files[1].path }, *const twice[] = { files[0].path, files[0].path };
    snprintf(packed, sizeof packed, "%s", in(&folder, "both.sgi"));
    is_ok(sgi_pack(paths, 2, packed, NULL, NULL, &err));
    is_ok(unpack_one(packed, out.path, 0));
    has_bytes(in(&out, "one.safetensors"), files[0].data, files[0].bytes);
    has_bytes(in(&out, "two.safetensors"), files[1].data, files[1].bytes);
    sgi_runtime *rt = host_open(&config);
    sgi_model    model = host_add(rt, "m", packed, NULL);
    sgi_lease    lease = host_acquire(rt, model);
    host_release(rt, lease);
    host_close(rt);
    is_error(sgi_pack(twice, 2, packed, NULL, NULL, &err), SGI_E_FORMAT, "two of the files are named");
    const char *const kinds[] = { files[0].path, packed };
    is_error(sgi_pack(kinds, 2, in(&folder, "no.sgi"), NULL, NULL, &err), SGI_E_FORMAT, "no safetensors file");
    test_file_free(&files[0]);
    test_file_free(&files[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_model_comes_back_and_loads),
        cmocka_unit_test(several_files_are_one_model),
        cmocka_unit_test(wished_tensors_come_first),
        cmocka_unit_test(equal_parts_are_stored_once),
        cmocka_unit_test(what_a_base_has_is_not_stored_again),
        cmocka_unit_test(what_nobody_could_read_takes_no_place),
        cmocka_unit_test(a_base_is_asked_for_by_its_own_name),
        cmocka_unit_test(a_base_that_has_nothing_of_it_is_not_asked_for),
        cmocka_unit_test(only_what_is_packed_is_replaced),
        cmocka_unit_test(names_that_no_reader_takes_are_refused_at_once),
        cmocka_unit_test(nothing_is_unpacked_over_what_it_is_in),
        cmocka_unit_test(each_file_that_is_done_is_told),
        cmocka_unit_test(every_flipped_byte_is_named),
        cmocka_unit_test(a_file_that_is_cut_is_named),
        cmocka_unit_test(a_canceled_one_leaves_what_was_there),
        cmocka_unit_test(it_is_canceled_until_it_is_in_its_place),
        cmocka_unit_test(sources_stay_what_they_were_at_its_beginning),
        cmocka_unit_test(what_makes_no_sense_is_refused),
    };
    return cmocka_run_group_tests_name("pack", tests, pack_set_up, pack_tear_down);
}
