/* SPDX-License-Identifier: Apache-2.0 */
/* Checks beside plain files: what is not what it was is refused by name, and nothing else changes. */
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

#include "pack_host.h"

static const struct test_tensor some[] = { { "a", MIB(3) + 5 }, { "b", 77 }, { "c", KIB(700) } };
enum { SOME = sizeof some / sizeof *some };

static const char *sums_of(const struct test_file *file)
{
    static char path[400];
    snprintf(path, sizeof path, "%s.sgisum", file->path);
    return path;
}

/* SGI_OK, and then its bytes are right; or why not. */
static sgi_status load(const char *path, const struct test_file *files)
{
    sgi_runtime_config config = host_config();
    sgi_runtime       *rt = host_open(&config);
    sgi_model_config   mc = host_model("m", path, NULL);
    sgi_model          model;
    sgi_lease          lease;

    sgi_status st = sgi_model_register(rt, &mc, &model, &err);
    if (st == SGI_OK)
        st = sgi_model_acquire_wait(rt, model, NULL, &lease, &err);
    if (st == SGI_OK) {
        host_same_bytes(rt, model, lease, files);
        host_release(rt, lease);
    }
    host_close(rt);
    return st;
}

static void a_file_with_checks_loads_as_before(void **state)
{
    (void)state;
    for (uint32_t rest = 0; rest < 8; rest += 3) { /* also one whose data is moved in memory */
        struct test_file file;
        test_file_make(&file, &folder, "m.safetensors", rest, some, SOME);
        is_error(sgi_verify(file.path, 0, NULL, NULL, &err), SGI_E_UNSUPPORTED, "without checks");
        is_ok(sgi_digest(file.path, 2, NULL, NULL, &err));
        is_ok(sgi_verify(file.path, 0, NULL, NULL, &err));
        is_ok(load(file.path, &file));
        assert_int_equal(unlink(sums_of(&file)), 0);
        test_file_free(&file);
    }
}

static void each_shard_has_its_own(void **state)
{
    struct test_shards shards;

    (void)state;
    test_shards_make(&shards, &folder, MIB(1));
    is_ok(sgi_digest(shards.path, 0, NULL, NULL, &err));
    is_ok(load(shards.path, shards.shards));
    is_ok(sgi_verify(shards.path, 0, NULL, NULL, &err));
    int fd = open(shards.shards[1].path, O_RDWR | O_CLOEXEC);
    flip(fd, shards.shards[1].bytes - 10);
    is_error(load(shards.path, shards.shards), SGI_E_CHECK, "two.safetensors");
    /* One that has none goes unchecked, beside one that has. */
    assert_int_equal(unlink(sums_of(&shards.shards[0])), 0);
    is_error(load(shards.path, shards.shards), SGI_E_CHECK, "two.safetensors");
    close(fd);
    assert_int_equal(unlink(sums_of(&shards.shards[1])), 0);
    test_shards_free(&shards);
}

static void every_flipped_byte_is_named(void **state)
{
    struct test_file file;
    struct stat      st;

    (void)state;
    test_file_make(&file, &folder, "m.safetensors", 0, some, SOME);
    is_ok(sgi_digest(file.path, 0, NULL, NULL, &err));
    int fd = open(file.path, O_RDWR | O_CLOEXEC), sums = open(sums_of(&file), O_RDWR | O_CLOEXEC);
    assert_int_equal(fstat(sums, &st), 0);
    for (int n = 0; n < 1500; n++) {
        bool       of_sums = n % 3 == 0;
        uint64_t   at = random64() % (of_sums ? (uint64_t)st.st_size : n % 3 == 1 ? file.data_offset : file.bytes);
        uint8_t    was = flip(of_sums ? sums : fd, at);
        sgi_status status = sgi_verify(file.path, 2, NULL, NULL, &err);
        assert_true(status == SGI_E_CHECK || status == SGI_E_FORMAT || status == SGI_E_CHANGED ||
                    status == SGI_E_UNSUPPORTED);
        assert_non_null(strstr(err.message, "m.safetensors"));
        if (n % 10 == 0)
            assert_int_not_equal(load(file.path, &file), SGI_OK);
        put_back(of_sums ? sums : fd, at, was);
    }
    is_ok(sgi_verify(file.path, 0, NULL, NULL, &err));
    is_ok(load(file.path, &file));
    close(fd);
    close(sums);
    assert_int_equal(unlink(sums_of(&file)), 0);
    test_file_free(&file);
}

static void checks_of_another_file_are_refused(void **state)
{
    struct test_file file, other;
    char             moved[400];

    (void)state;
    test_file_make(&file, &folder, "m.safetensors", 0, some, SOME);
    test_file_make(&other, &folder, "other.safetensors", 0, some, SOME - 1);
    is_ok(sgi_digest(file.path, 0, NULL, NULL, &err));
    snprintf(moved, sizeof moved, "%s", sums_of(&other));
    assert_int_equal(rename(sums_of(&file), moved), 0);
    is_error(load(other.path, &other), SGI_E_CHANGED, "other.safetensors.sgisum: checks of another file");
    is_ok(load(file.path, &file));
    assert_int_equal(truncate(moved, 30), 0);
    is_error(load(other.path, &other), SGI_E_FORMAT, "too short");
    is_ok(sgi_digest(other.path, 0, NULL, NULL, &err)); /* it makes them anew */
    is_ok(load(other.path, &other));
    assert_int_equal(unlink(moved), 0);
    test_file_free(&file);
    test_file_free(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_with_checks_loads_as_before),
        cmocka_unit_test(each_shard_has_its_own),
        cmocka_unit_test(every_flipped_byte_is_named),
        cmocka_unit_test(checks_of_another_file_are_refused),
    };
    return cmocka_run_group_tests_name("sums", tests, pack_set_up, pack_tear_down);
}
