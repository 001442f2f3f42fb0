/* SPDX-License-Identifier: Apache-2.0 */
/* A base that is not what it was: whoever verifies what depends on it hears of it, wherever it is damaged. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "format/pack.h"
#include "io/io.h"
#include "pack_host.h"

enum { FLIPS = 4000, FLIPS_LOADED = 10 };

/* Each a chunk of its own, but for the last. The model that is packed against the base has others of the second and
 * the last. */
static const struct test_tensor parts[] = { { "a", KIB(260) }, { "b", KIB(300) + 7 }, { "c", KIB(280) }, { "d", 300 } };
enum { PARTS = sizeof parts / sizeof *parts };

static struct test_file base, tuned;
static char             base_path[512], path[512];

/* Bytes as weights have them, so that chunks end within a page. */
static void make_floats(struct test_file *file, size_t from, size_t bytes)
{
    for (size_t n = file->data_offset + from; n + 1 < file->data_offset + from + bytes; n += 2)
        file->data[n + 1] = (uint8_t)(0x3b + random64() % 3);
}

static int set_up(void **state)
{
    sgi_pack_options options;
    sgi_pack_report  report = { .struct_size = sizeof report };

    pack_set_up(state);
    test_file_make(&base, &folder, "base.safetensors", 0, parts, PARTS);
    test_file_make(&tuned, &folder, "tuned.safetensors", 0, parts, PARTS);
    make_floats(&base, 0, base.bytes - base.data_offset);
    test_file_write(&base);
    memcpy(tuned.data, base.data, base.bytes);
    make_floats(&tuned, KIB(260), KIB(300) + 7);
    tuned.data[tuned.bytes - 1] ^= 1;
    test_file_write(&tuned);
    snprintf(base_path, sizeof base_path, "%s", in(&folder, "base.sgi"));
    snprintf(path, sizeof path, "%s", in(&folder, "tuned.sgi"));
    is_ok(pack_one(base.path, base_path, NULL, NULL));
    sgi_pack_options_init(&options, sizeof options);
    options.base = base_path;
    is_ok(pack_one(tuned.path, path, &options, &report));
    assert_true(report.base_bytes >= KIB(500) && report.base_bytes < KIB(600));
    return 0;
}

static int tear_down(void **state)
{
    test_file_free(&base);
    test_file_free(&tuned);
    return pack_tear_down(state);
}

static struct sgi__manifest *read_manifest(const char *from)
{
    static const struct sgi__fs_posix none;
    struct sgi__fs                    fs = sgi__fs_posix_table(&none);
    struct sgi__format_options        options = { .flags = SGI__FORMAT_METADATA };
    struct sgi__manifest             *m = NULL;

    is_ok(sgi__format_open(&fs, from, &options, &m, &err));
    return m;
}

/* A byte of the base: of its head, of its manifest, of any chunk, of what fills the last page of one. */
static uint64_t place_of_flip(const struct sgi__manifest *m, int turn)
{
    const struct sgi__packed       *packed = m->packed;
    const struct sgi__stored_chunk *c = &packed->chunks[random64() % packed->chunks_count];
    uint64_t                        end = 0, bytes = packed->files[SGI__PACK_ITSELF].id.bytes;

    for (uint64_t n = 0; n < packed->chunks_count; n++)
        if (packed->chunks[n].at + packed->chunks[n].stored_bytes > end)
            end = sgi__align_up(packed->chunks[n].at + packed->chunks[n].stored_bytes, SGI__PACK_ALIGN);
    switch (turn % 4) {
    case 0:
        return random64() % SGI__PACK_HEAD_BYTES;
    case 1:
        return end + random64() % (bytes - end);
    case 2:
        return c->at + random64() % c->stored_bytes;
    default:
        while (c->stored_bytes % SGI__PACK_ALIGN == 0)
            c = &packed->chunks[random64() % packed->chunks_count];
        return c->at + c->stored_bytes +
               random64() % (sgi__align_up(c->stored_bytes, SGI__PACK_ALIGN) - c->stored_bytes);
    }
}

/* Right, or refused by the name of the base. */
static bool loads(void)
{
    sgi_runtime_config config = host_config();
    sgi_runtime       *rt = host_open(&config);
    sgi_model_config   mc = host_model("m", path, NULL);
    sgi_model          model;
    sgi_lease          lease;
    const uint8_t     *data = tuned.data + tuned.data_offset;

    bool loaded = sgi_model_register(rt, &mc, &model, &err) == SGI_OK &&
                  sgi_model_acquire_wait(rt, model, NULL, &lease, &err) == SGI_OK;
    for (size_t n = 0; n < PARTS && loaded; data += parts[n++].bytes) {
        sgi_tensor tensor = { .struct_size = sizeof tensor };
        assert_int_equal(sgi_model_tensor_find(rt, model, parts[n].name, &tensor), SGI_OK);
        sgi_view view = host_tensor(rt, lease, tensor.index);
        assert_int_equal(view.bytes, parts[n].bytes);
        assert_memory_equal(view.data, data, view.bytes);
    }
    if (loaded)
        host_release(rt, lease);
    else
        assert_non_null(strstr(err.message, "base.sgi"));
    host_close(rt);
    return loaded;
}

static void every_flipped_byte_of_a_base_is_named(void **state)
{
    struct sgi__manifest *m = read_manifest(base_path);
    int                   fd = open(base_path, O_RDWR | O_CLOEXEC), loaded = 0, refused = 0;

    (void)state;
    assert_true(fd >= 0);
    for (int n = 0; n < FLIPS; n++) {
        uint64_t   at = place_of_flip(m, n);
        uint8_t    was = flip(fd, at);
        sgi_status status = verify_damage(path, NULL, 2);
        if (status == SGI_OK)
            fail_msg("byte %llu of the base can be anything", (unsigned long long)at);
        assert_true(status == SGI_E_CHECK || status == SGI_E_FORMAT || status == SGI_E_UNSUPPORTED);
        assert_non_null(strstr(err.message, "base.sgi"));
        if (n % 4 >= 2) /* of a chunk */
            assert_memory_equal(damage_told(), "base.sgi: ", strlen("base.sgi: "));
        if (n / 4 % FLIPS_LOADED == 0)
            *(loads() ? &loaded : &refused) += 1;
        put_back(fd, at, was);
    }
    assert_true(loaded > 50 && refused > 50); /* what the model does not need does it no harm */
    close(fd);
    is_ok(verify_one(path, NULL, 0));
    assert_true(loads());
    sgi__manifest_free(m);
}

/* ---- what is told ---- */

static uint64_t told_total;

static int keep_total(void *user, uint64_t done_bytes, uint64_t total_bytes)
{
    (void)user, (void)done_bytes;
    told_total = total_bytes;
    return 0;
}

static void what_both_have_is_read_once(void **state)
{
    struct sgi__manifest *m = read_manifest(base_path);
    uint64_t              both = m->files[0].bytes, alone;
    sgi_files_options     options;

    (void)state;
    sgi_files_options_init(&options, sizeof options);
    options.progress = keep_total;
    is_ok(sgi_verify(base_path, &options, &err));
    assert_int_equal(told_total, both);
    alone = both - KIB(540); /* "a" and "c" are verified with the model that has them, and with it the pages about */
    is_ok(sgi_verify(path, &options, &err));
    assert_in_range(told_total, both + alone - KIB(16), both + alone + KIB(16));
    sgi__manifest_free(m);
}

static void what_only_the_base_has_is_told_as_its_own(void **state)
{
    struct sgi__manifest *m = read_manifest(base_path);
    int64_t               b = sgi__manifest_find(m, "b");
    char                  expected[200];

    (void)state;
    assert_true(b >= 0);
    for (uint64_t n = 0; n < m->packed->chunks_count; n++) {
        const struct sgi__stored_chunk *c = &m->packed->chunks[n];
        if (c->offset != m->tensors[b].offset)
            continue;
        int     fd = open(base_path, O_RDWR | O_CLOEXEC);
        uint8_t was = flip(fd, c->at);
        is_error(verify_damage(path, NULL, 2), SGI_E_CHECK, "base.sgi: chunk ");
        snprintf(expected, sizeof expected, "base.sgi: %llu, %u bytes at %llu; 1: b", (unsigned long long)n,
                 c->stored_bytes, (unsigned long long)c->at);
        assert_string_equal(damage_told(), expected);
        put_back(fd, c->at, was);
        close(fd);
    }
    assert_non_null(strstr(damage_told(), " b"));
    is_ok(verify_one(path, NULL, 0));
    sgi__manifest_free(m);
}

/* Its manifest and its length are as they were; only its head says otherwise. */
static void a_base_with_a_base_is_none(void **state)
{
    uint8_t               bytes[SGI__PACK_HEAD_BYTES], based[SGI__PACK_HEAD_BYTES];
    struct sgi__pack_head head;
    int                   fd = open(base_path, O_RDWR | O_CLOEXEC);

    (void)state;
    assert_int_equal(pread(fd, bytes, sizeof bytes, 0), sizeof bytes);
    is_ok(sgi__pack_head_take(base_path, bytes, &head, &err));
    head.based = true;
    sgi__pack_head_put(&head, based);
    assert_int_equal(pwrite(fd, based, sizeof based, 0), sizeof based);
    is_error(verify_one(path, NULL, 0), SGI_E_FORMAT, "base.sgi: has a base itself");
    assert_false(loads());
    assert_int_equal(pwrite(fd, bytes, sizeof bytes, 0), sizeof bytes);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_both_have_is_read_once),
        cmocka_unit_test(what_only_the_base_has_is_told_as_its_own),
        cmocka_unit_test(a_base_with_a_base_is_none),
        cmocka_unit_test(every_flipped_byte_of_a_base_is_named),
    };
    return cmocka_run_group_tests_name("base", tests, set_up, tear_down);
}
