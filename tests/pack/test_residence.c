/* SPDX-License-Identifier: Apache-2.0 */
/* Models that stay packed in host memory: the same bytes from there, what they have in common once. */
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

#include "base/fault.h"
#include "pack_host.h"
#include "runtime/runtime.h"

static const struct test_tensor some[] = {
    { "embedding", MIB(5) }, { "small", 100 }, { "none", 0 }, { "odd", KIB(300) + 1 }
};
enum { SOME = sizeof some / sizeof *some };

/* A packed model of floats; `changed`: all but its first tensor are another's. */
static const char *make(struct test_file *file, const char *name, const struct test_file *like)
{
    static char packed[4][512];
    static int  next;
    char       *path = packed[next++ % 4];

    test_file_make(file, &folder, name, 0, some, SOME);
    for (size_t n = file->data_offset; n + 1 < file->bytes; n += 2)
        file->data[n + 1] = (uint8_t)(0x3b + random64() % 3);
    if (like)
        memcpy(file->data + file->data_offset, like->data + like->data_offset, MIB(5));
    test_file_write(file);
    snprintf(path, sizeof packed[0], "%s/%s.sgi", folder.path, name);
    is_ok(pack_one(file->path, path, NULL, NULL));
    return path;
}

static sgi_runtime *open_with(uint64_t dram_bytes)
{
    sgi_runtime_config config = host_config();
    config.dram_bytes_max = dram_bytes;
    return host_open(&config);
}

static sgi_model add(sgi_runtime *rt, const char *name, const char *path, uint32_t residence)
{
    sgi_model_config config = host_model(name, path, NULL);
    config.residence = residence;
    return host_register(rt, &config);
}

static sgi_status prefetch(sgi_runtime *rt, sgi_model model)
{
    sgi_ticket ticket = 0;
    is_ok(sgi_model_prefetch(rt, model, SGI_TIER_DRAM, NULL, &ticket, NULL, NULL, &err));
    sgi_completion completion = host_next(rt);
    assert_int_equal(completion.ticket, ticket);
    err = completion.error;
    return completion.status;
}

static void has_its_bytes(sgi_runtime *rt, sgi_lease lease, sgi_model model, const struct test_file *file)
{
    uint8_t *found = malloc(file->bytes);
    size_t   at = file->data_offset;

    assert_non_null(found);
    for (uint32_t n = 0; n < SOME; n++) {
        sgi_tensor tensor = { .struct_size = sizeof tensor };
        is_ok(sgi_model_tensor_find(rt, model, some[n].name, &tensor));
        is_ok(sgi_lease_tensor_read(rt, lease, tensor.index, 0, found, some[n].bytes, &err));
        assert_memory_equal(found, file->data + at, some[n].bytes);
        at += some[n].bytes;
    }
    free(found);
}

/* From where it is kept, and it is right; then it leaves its device again. */
static void use(sgi_runtime *rt, sgi_model model, uint32_t tier, const struct test_file *file)
{
    sgi_lease  lease = host_acquire(rt, model);
    sgi_timing timing = host_timing(rt, lease);

    assert_int_equal(timing.tier, tier);
    has_its_bytes(rt, lease, model, file);
    host_release(rt, lease);
    is_ok(sgi_model_evict(rt, model, SGI_TIER_DRAM));
    host_wait_state(rt, model, SGI_MODEL_COLD);
}

static uint64_t image_bytes(sgi_runtime *rt, sgi_model model)
{
    sgi_model_info info = { .struct_size = sizeof info };
    is_ok(sgi_model_describe(rt, model, &info));
    return info.image_bytes;
}

/* ---- one ---- */

static void what_was_read_ahead_packed_starts_without_its_files(void **state)
{
    struct test_file file;
    const char      *path = make(&file, "m", NULL);
    sgi_runtime     *rt = open_with(MIB(64));
    sgi_model        model = add(rt, "m", path, SGI_RESIDENCE_PACKED);
    (void)state;

    is_ok(prefetch(rt, model));
    sgi_model_state s = host_state(rt, model);
    assert_int_equal(s.residence, SGI_RESIDENCE_PACKED);
    assert_true(s.dram_bytes > 0 && s.dram_bytes < image_bytes(rt, model) * 7 / 8);
    assert_int_equal(host_info(rt).dram_bytes, s.dram_bytes);
    unlink(path);
    use(rt, model, SGI_TIER_DRAM, &file);
    use(rt, model, SGI_TIER_DRAM, &file);
    assert_int_equal(host_info(rt).dram_bytes, s.dram_bytes); /* it stays, whoever was made from it */
    is_ok(sgi_model_evict(rt, model, SGI_TIER_DISK));
    host_wait_threads(rt, 1);
    assert_int_equal(host_info(rt).dram_bytes, 0);
    assert_int_equal(host_state(rt, model).residence, 0);
    host_close(rt);
    test_file_free(&file);
}

static void a_load_leaves_it_packed(void **state)
{
    struct test_file file;
    const char      *path = make(&file, "m", NULL);
    sgi_runtime     *rt = open_with(MIB(64));
    sgi_model        model = add(rt, "m", path, SGI_RESIDENCE_PACKED);
    (void)state;

    use(rt, model, SGI_TIER_DISK, &file);
    assert_int_equal(host_state(rt, model).residence, SGI_RESIDENCE_PACKED);
    use(rt, model, SGI_TIER_DRAM, &file);
    is_ok(sgi_model_evict(rt, model, SGI_TIER_DISK));
    host_wait_threads(rt, 1);
    assert_int_equal(host_info(rt).dram_bytes, 0);
    host_close(rt);
    test_file_free(&file);
}

static void by_itself_it_is_packed_where_the_room_is_short(void **state)
{
    struct test_file a, b;
    const char      *path_a = make(&a, "a", NULL), *path_b = make(&b, "b", NULL);
    sgi_runtime     *rt = open_with(MIB(10));
    sgi_model        one = add(rt, "a", path_a, SGI_RESIDENCE_AUTO), two = add(rt, "b", path_b, SGI_RESIDENCE_AUTO);
    (void)state;

    is_ok(prefetch(rt, one));
    is_ok(prefetch(rt, two));
    assert_int_equal(host_state(rt, one).residence, SGI_RESIDENCE_UNPACKED);
    assert_int_equal(host_state(rt, two).residence, SGI_RESIDENCE_PACKED);
    use(rt, two, SGI_TIER_DRAM, &b);
    host_close(rt);
    test_file_free(&a);
    test_file_free(&b);
}

static void what_does_not_fit_is_told_in_the_form_that_it_would_have(void **state)
{
    struct test_file file;
    const char      *path = make(&file, "m", NULL);
    sgi_runtime     *rt = open_with(SGI_NONE), *large = open_with(MIB(64)), *small = open_with(MIB(6));
    char             expected[160];
    (void)state;

    sgi_model packed = add(large, "packed", path, SGI_RESIDENCE_PACKED);
    is_ok(prefetch(large, packed));
    uint64_t image = image_bytes(large, packed), bytes = host_state(large, packed).dram_bytes;

    assert_int_equal(prefetch(rt, add(rt, "packed", path, SGI_RESIDENCE_PACKED)), SGI_E_NO_ROOM);
    snprintf(expected, sizeof expected, "needs %llu bytes in DRAM, packed, of which models may take 0",
             (unsigned long long)bytes);
    assert_non_null(strstr(err.message, expected));
    assert_int_equal(prefetch(rt, add(rt, "auto", path, SGI_RESIDENCE_AUTO)), SGI_E_NO_ROOM);
    snprintf(expected, sizeof expected, "needs %llu bytes in DRAM, packed %llu, of which models may take 0",
             (unsigned long long)image, (unsigned long long)bytes);
    assert_non_null(strstr(err.message, expected));
    assert_int_equal(prefetch(rt, add(rt, "unpacked", path, SGI_RESIDENCE_UNPACKED)), SGI_E_NO_ROOM);
    snprintf(expected, sizeof expected, "needs %llu bytes in DRAM, of which", (unsigned long long)image);
    assert_non_null(strstr(err.message, expected));

    is_ok(sgi_model_pin(small, add(small, "one", path, SGI_RESIDENCE_UNPACKED), SGI_TIER_DRAM, &err));
    is_error(sgi_model_pin(small, add(small, "two", path, SGI_RESIDENCE_UNPACKED), SGI_TIER_DRAM, &err), SGI_E_NO_ROOM,
             "");
    snprintf(expected, sizeof expected,
             "its %llu bytes do not fit into the DRAM budget of %llu, of which other pins have reserved %llu",
             (unsigned long long)image, (unsigned long long)MIB(6), (unsigned long long)image);
    assert_non_null(strstr(err.message, expected));
    host_close(small);
    host_close(large);
    host_close(rt);
    test_file_free(&file);
}

/* ---- several ---- */

static void what_two_have_in_common_is_there_once(void **state)
{
    struct test_file a, b;
    const char      *path_a = make(&a, "a", NULL), *path_b = make(&b, "b", &a);
    sgi_runtime     *rt = open_with(MIB(64));
    sgi_model        one = add(rt, "a", path_a, SGI_RESIDENCE_PACKED), two = add(rt, "b", path_b, SGI_RESIDENCE_PACKED);
    (void)state;

    is_ok(prefetch(rt, one));
    uint64_t alone = host_info(rt).dram_bytes;
    assert_int_equal(host_info(rt).dram_shared_bytes, 0);
    is_ok(prefetch(rt, two));
    sgi_runtime_info info = host_info(rt);
    assert_true(info.dram_shared_bytes > MIB(3)); /* 5 MiB, packed */
    assert_int_equal(info.dram_bytes + info.dram_shared_bytes,
                     host_state(rt, one).dram_bytes + host_state(rt, two).dram_bytes);
    use(rt, one, SGI_TIER_DRAM, &a);
    use(rt, two, SGI_TIER_DRAM, &b);

    is_ok(sgi_model_evict(rt, one, SGI_TIER_DISK));
    host_wait_threads(rt, 1);
    info = host_info(rt);
    assert_int_equal(info.dram_shared_bytes, 0);
    assert_int_equal(info.dram_bytes, host_state(rt, two).dram_bytes); /* all of it is its own now */
    assert_true(info.dram_bytes <= alone + KIB(8));
    use(rt, two, SGI_TIER_DRAM, &b);
    use(rt, one, SGI_TIER_DISK, &a);
    assert_true(host_info(rt).dram_shared_bytes > MIB(3));
    host_close(rt);
    test_file_free(&a);
    test_file_free(&b);
}

/* All of a family stays where there is room for what it takes together, and not for two of it side by side. */
static void a_family_fits_where_it_is_there_once(void **state)
{
    enum { FAMILY = 4 };
    struct test_file files[FAMILY];
    sgi_model        models[FAMILY];
    sgi_model_state  seen = { .struct_size = sizeof seen };
    char             names[FAMILY][16];
    uint64_t         one = 0;

    (void)state;
    sgi_runtime *rt = open_with(MIB(64));
    const char  *path = make(&files[0], "f0", NULL);
    models[0] = add(rt, "f0", path, SGI_RESIDENCE_PACKED);
    is_ok(prefetch(rt, models[0]));
    is_ok(sgi_model_query(rt, models[0], &seen));
    one = seen.dram_bytes;
    host_close(rt);

    rt = open_with(one + one / 2);
    models[0] = add(rt, "f0", path, SGI_RESIDENCE_PACKED);
    is_ok(prefetch(rt, models[0]));
    for (int n = 1; n < FAMILY; n++) {
        snprintf(names[n], sizeof names[n], "f%d", n);
        models[n] = add(rt, names[n], make(&files[n], names[n], &files[0]), SGI_RESIDENCE_PACKED);
        if (n % 2)
            is_ok(prefetch(rt, models[n]));
        else
            use(rt, models[n], SGI_TIER_DISK, &files[n]); /* its load leaves it there */
    }
    for (int n = 0; n < FAMILY; n++) {
        is_ok(sgi_model_query(rt, models[n], &seen));
        assert_true(seen.dram_bytes > 0);
        use(rt, models[n], SGI_TIER_DRAM, &files[n]);
        test_file_free(&files[n]);
    }
    host_close(rt);
}

static void the_same_model_under_many_names_is_there_once(void **state)
{
    enum { NAMES = 6 };
    struct test_file file;
    const char      *path = make(&file, "m", NULL);
    sgi_runtime     *rt = open_with(MIB(16)); /* three of them would not fit */
    sgi_model        models[NAMES];
    char             name[16];
    (void)state;

    for (int n = 0; n < NAMES; n++) {
        snprintf(name, sizeof name, "m%d", n);
        models[n] = add(rt, name, path, SGI_RESIDENCE_PACKED);
        is_ok(prefetch(rt, models[n]));
    }
    uint64_t one = host_state(rt, models[0]).dram_bytes;
    assert_int_equal(host_info(rt).dram_bytes, one);
    assert_int_equal(host_info(rt).dram_shared_bytes, (NAMES - 1) * one);
    for (int n = 0; n < NAMES; n++)
        use(rt, models[n], SGI_TIER_DRAM, &file);
    for (int n = 0; n + 1 < NAMES; n++)
        is_ok(sgi_model_unregister(rt, models[n], SGI_FOREVER, &err));
    assert_int_equal(host_info(rt).dram_bytes, one);
    use(rt, models[NAMES - 1], SGI_TIER_DRAM, &file);
    host_close(rt);
    test_file_free(&file);
}

static void files_with_checks_are_kept_in_chunks_too(void **state)
{
    struct test_file file;
    (void)state;
    make(&file, "checked", NULL);
    is_ok(digest_one(file.path, NULL, 0));
    sgi_runtime *rt = open_with(MIB(64));
    sgi_model one = add(rt, "a", file.path, SGI_RESIDENCE_PACKED), two = add(rt, "b", file.path, SGI_RESIDENCE_PACKED);

    use(rt, one, SGI_TIER_DISK, &file);
    use(rt, two, SGI_TIER_DISK, &file);
    assert_int_equal(host_info(rt).dram_shared_bytes, host_state(rt, one).dram_bytes);
    use(rt, one, SGI_TIER_DRAM, &file);
    use(rt, two, SGI_TIER_DRAM, &file);
    host_close(rt);
    test_file_free(&file);
}

static void plain_files_are_kept_in_chunks_too(void **state)
{
    struct test_file file, other;
    (void)state;
    make(&file, "m", NULL);
    make(&other, "n", &file);
    sgi_runtime *rt = open_with(MIB(64));
    sgi_model    one = add(rt, "a", file.path, SGI_RESIDENCE_PACKED);
    sgi_model    two = add(rt, "b", other.path, SGI_RESIDENCE_PACKED);
    sgi_model    three = add(rt, "c", file.path, SGI_RESIDENCE_AUTO); /* no chunks, no packed form */

    use(rt, one, SGI_TIER_DISK, &file);
    is_ok(prefetch(rt, two));
    assert_int_equal(host_info(rt).dram_shared_bytes, MIB(4)); /* cut at every 2 MiB, headers and all */
    is_ok(prefetch(rt, three));
    assert_int_equal(host_state(rt, three).residence, SGI_RESIDENCE_UNPACKED);
    use(rt, one, SGI_TIER_DRAM, &file);
    use(rt, two, SGI_TIER_DRAM, &other);
    host_close(rt);
    test_file_free(&file);
    test_file_free(&other);
}

/* A prefetch looks at no tensor's check. The start that does says so, and the next one reads the files. */
static void what_does_not_match_any_more_is_read_again(void **state)
{
    sgi_tensor_check check = { .name = "embedding" };
    struct test_file file;
    (void)state;
    make(&file, "m", NULL);
    sgi_runtime     *rt = open_with(MIB(64));
    sgi_model_config config = host_model("m", file.path, NULL);
    config.residence = SGI_RESIDENCE_PACKED;
    config.checks = &check;
    config.checks_count = 1;
    check.xxh3 = test_xxh3(file.data + file.data_offset, MIB(5));
    file.data[file.data_offset + 77] ^= 1;
    int fd = open(file.path, O_RDWR | O_CLOEXEC);
    assert_int_equal(pwrite(fd, &file.data[file.data_offset + 77], 1, (off_t)(file.data_offset + 77)), 1);
    sgi_model model = host_register(rt, &config);
    is_ok(prefetch(rt, model));

    sgi_error own = SGI_ERROR_INIT;
    assert_int_equal(host_acquire_fails(rt, model, &own), SGI_E_CHECK);
    host_error_is(&own, SGI_E_CHECK, SGI_STEP_VERIFY, "embedding");
    host_wait_threads(rt, 1);
    assert_int_equal(host_state(rt, model).residence, 0);
    assert_int_equal(host_acquire_fails(rt, model, &own), SGI_E_CHECK); /* the file, now */
    close(fd);
    host_close(rt);
    test_file_free(&file);
}

/* ---- what else comes out of it ---- */

static void an_engine_s_part_is_filled_again(void **state)
{
    struct test_engine engine;
    struct test_file   file;
    (void)state;
    if (!host_is_host()) /* an image in host memory is there only */
        skip();
    const char *path = make(&file, "m", NULL);
    test_engine_init(&engine, true, false);
    engine.look = true;
    sgi_runtime     *rt = open_with(MIB(64));
    sgi_model_config config = host_model("m", path, &engine);
    config.residence = SGI_RESIDENCE_PACKED;
    sgi_model model = host_register(rt, &config);
    is_ok(prefetch(rt, model));
    assert_int_equal(test_engine_count(&engine, ENGINE_PREFIX_FILL), 0);
    for (int n = 1; n <= 2; n++) {
        use(rt, model, SGI_TIER_DRAM, &file);
        assert_int_equal(test_engine_count(&engine, ENGINE_PREFIX_FILL), n);
        assert_int_equal(atomic_load(&engine.start_status), SGI_OK);
    }
    host_close(rt);
    test_engine_fini(&engine);
    test_file_free(&file);
}

static void data_that_start_at_an_odd_address_do_so_from_there_too(void **state)
{
    struct test_file file;
    (void)state;
    test_file_make(&file, &folder, "odd", 3, some, SOME);
    sgi_runtime *rt = open_with(MIB(64));
    sgi_model    model = add(rt, "m", file.path, SGI_RESIDENCE_PACKED);
    use(rt, model, SGI_TIER_DISK, &file);
    use(rt, model, SGI_TIER_DRAM, &file);
    host_close(rt);
    test_file_free(&file);
}

static void tensors_are_there_one_by_one(void **state)
{
    struct test_file    file;
    const char         *path = make(&file, "m", NULL);
    sgi_runtime        *rt = open_with(MIB(64));
    sgi_model           model = add(rt, "m", path, SGI_RESIDENCE_PACKED);
    sgi_acquire_options options;
    sgi_lease           lease = 0;
    (void)state;
    is_ok(prefetch(rt, model));
    sgi_acquire_options_init(&options, sizeof options);
    options.flags = SGI_ACQUIRE_EARLY;
    is_ok(sgi_model_acquire_wait(rt, model, &options, &lease, &err));
    for (uint64_t n = 0; n < SOME; n++)
        is_ok(sgi_lease_tensor_wait(rt, lease, n, SGI_FOREVER, &err));
    has_its_bytes(rt, lease, model, &file);
    host_release(rt, lease);
    host_close(rt);
    test_file_free(&file);
}

static void a_runtime_is_closed_in_the_middle_of_it(void **state)
{
    struct test_file file;
    const char      *path = make(&file, "m", NULL);
    (void)state;
    for (int n = 0; n < 8; n++) {
        sgi_runtime *rt = open_with(MIB(64));
        sgi_model    model = add(rt, "m", path, SGI_RESIDENCE_PACKED);
        sgi_ticket   ticket = 0;
        is_ok(prefetch(rt, model));
        is_ok(sgi_model_acquire(rt, model, NULL, &ticket, NULL, NULL, &err));
        is_ok(sgi_runtime_drain(rt));
        sgi_completion end = host_next(rt);
        assert_true(end.status == SGI_OK || end.status == SGI_E_CLOSED);
        if (end.status == SGI_OK)
            host_release(rt, end.lease);
        host_close(rt);
    }
    test_file_free(&file);
}

static void what_is_mended_in_the_image_is_not_kept_as_it_was(void **state)
{
    sgi_tensor_check check = { .name = "embedding" };
    struct test_file file;
    (void)state;
    make(&file, "mended", NULL);
    sgi_runtime     *rt = open_with(MIB(64));
    sgi_model_config config = host_model("m", file.path, NULL);
    config.residence = SGI_RESIDENCE_PACKED;
    config.checks = &check;
    config.checks_count = 1;
    check.xxh3 = test_xxh3(file.data + file.data_offset, MIB(5));
    sgi_model model = host_register(rt, &config);
    sgi__fault_plan(SGI__FAULT_CORRUPT, 2, 1, 1);
    sgi_lease lease = host_acquire(rt, model);
    sgi__fault_clear();
    has_its_bytes(rt, lease, model, &file);
    assert_int_equal(host_timing(rt, lease).reread_bytes, MIB(5));
    assert_int_equal(host_state(rt, model).residence, 0);
    host_release(rt, lease);
    host_close(rt);
    test_file_free(&file);
}

/* ---- and goes ---- */

static void under_pressure_it_goes(void **state)
{
    struct test_file file;
    const char      *path = make(&file, "m", NULL);
    sgi_runtime     *rt = open_with(MIB(64));
    sgi_model        model = add(rt, "m", path, SGI_RESIDENCE_PACKED);
    (void)state;
    is_ok(prefetch(rt, model));
    sgi__rt_pressure(rt);
    host_wait_threads(rt, 1);
    assert_int_equal(host_info(rt).dram_bytes, 0);
    assert_int_equal(prefetch(rt, model), SGI_E_BUSY); /* for now */
    use(rt, model, SGI_TIER_DISK, &file);
    assert_int_equal(host_state(rt, model).residence, 0);
    host_close(rt);
    test_file_free(&file);
}

static void a_file_of_too_many_chunks_is_refused(void **state)
{
    static const char header[] =
        "{\"w\":{\"dtype\":\"U8\",\"shape\":[8796097216512],\"data_offsets\":[0,8796097216512]}}";
    uint64_t         bytes = sizeof header - 1;
    const char      *path = in(&folder, "sparse.safetensors");
    sgi_runtime     *rt = open_with(MIB(64));
    sgi_model_config config = host_model("m", path, NULL);
    sgi_model        model = 0;
    int              fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, &bytes, 8, 0), 8);
    assert_int_equal(pwrite(fd, header, bytes, 8), (ssize_t)bytes);
    if (ftruncate(fd, (off_t)(8 + bytes + UINT64_C(8796097216512))) != 0) {
        close(fd);
        host_close(rt);
        skip(); /* a file system without such files */
    }
    config.residence = SGI_RESIDENCE_PACKED;
    assert_int_equal(sgi_model_register(rt, &config, &model, &err), SGI_E_FORMAT);
    is_error(err.code, SGI_E_FORMAT, "chunks");
    close(fd);
    host_close(rt);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_read_ahead_packed_starts_without_its_files),
        cmocka_unit_test(a_load_leaves_it_packed),
        cmocka_unit_test(by_itself_it_is_packed_where_the_room_is_short),
        cmocka_unit_test(what_does_not_fit_is_told_in_the_form_that_it_would_have),
        cmocka_unit_test(what_two_have_in_common_is_there_once),
        cmocka_unit_test(a_family_fits_where_it_is_there_once),
        cmocka_unit_test(the_same_model_under_many_names_is_there_once),
        cmocka_unit_test(files_with_checks_are_kept_in_chunks_too),
        cmocka_unit_test(plain_files_are_kept_in_chunks_too),
        cmocka_unit_test(what_does_not_match_any_more_is_read_again),
        cmocka_unit_test(an_engine_s_part_is_filled_again),
        cmocka_unit_test(data_that_start_at_an_odd_address_do_so_from_there_too),
        cmocka_unit_test(tensors_are_there_one_by_one),
        cmocka_unit_test(a_runtime_is_closed_in_the_middle_of_it),
        cmocka_unit_test(what_is_mended_in_the_image_is_not_kept_as_it_was),
        cmocka_unit_test(under_pressure_it_goes),
        cmocka_unit_test(a_file_of_too_many_chunks_is_refused),
    };
    return cmocka_run_group_tests(tests, pack_set_up, pack_tear_down);
}
