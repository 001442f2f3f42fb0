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

/* SGI_OK, and then its bytes are right; or why not. `root`: where files may be; NULL: anywhere. */
static sgi_status load_by(const char *path, const char *checks_path, const char *root, const struct test_file *files)
{
    sgi_runtime_config config = host_config();
    config.allowed_roots = &root;
    config.allowed_roots_count = root != NULL;
    sgi_runtime     *rt = host_open(&config);
    sgi_model_config mc = host_model("m", path, NULL);
    sgi_model        model;
    sgi_lease        lease;

    mc.checks_path = checks_path;

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

static sgi_status load(const char *path, const struct test_file *files)
{
    return load_by(path, NULL, NULL, files);
}

static int count_bytes(void *user, const char *text, size_t bytes)
{
    (void)text;
    *(size_t *)user += bytes;
    return 0;
}

/* By whoever takes a path of checks: one status, and one sentence that names it. */
static void refused_by(const struct test_file *file, const char *checks_path, sgi_status expected, const char *names)
{
    sgi_model_config mc;
    size_t           written = 0;

    sgi_model_config_init(&mc, sizeof mc);
    mc.path = file->path;
    mc.checks_path = checks_path;
    is_error(load_by(file->path, checks_path, NULL, file), expected, names);
    is_error(sgi_inspect_config(&mc, SGI_INSPECT_JSON, count_bytes, &written, &err), expected, names);
    assert_int_equal(written, 0);
    is_error(verify_one(file->path, checks_path, 0), expected, names);
}

static void a_file_with_checks_loads_as_before(void **state)
{
    (void)state;
    for (uint32_t rest = 0; rest < 8; rest += 3) { /* also one whose data is moved in memory */
        struct test_file file;
        test_file_make(&file, &folder, "m.safetensors", rest, some, SOME);
        is_error(verify_one(file.path, NULL, 0), SGI_E_UNSUPPORTED, "without checks");
        is_ok(digest_one(file.path, NULL, 2));
        is_ok(verify_one(file.path, NULL, 0));
        is_ok(load(file.path, &file));
        assert_int_equal(unlink(sums_of(&file)), 0);
        test_file_free(&file);
    }
}

static void a_name_too_long_for_checks_has_none(void **state)
{
    struct test_file file;
    char             name[256], told[300];

    (void)state;
    for (size_t bytes = 247; bytes <= 255; bytes++) { /* with its suffix 254 to 262, and 255 is what there may be */
        bool fits = bytes + strlen(".sgisum") <= 255;
        memset(name, 'n', sizeof name);
        snprintf(name + bytes - strlen(".safetensors"), sizeof ".safetensors", ".safetensors");
        test_file_make(&file, &folder, name, 0, some, SOME);
        is_ok(load(file.path, &file));
        is_ok(load_by(file.path, NULL, folder.path, &file));
        is_error(verify_one(file.path, NULL, 0), SGI_E_UNSUPPORTED, "without checks");
        snprintf(told, sizeof told, ".sgisum: %s", fits ? "No such file" : "File name too long");
        is_error(load_by(file.path, out.path, NULL, &file), SGI_E_IO, told); /* where there have to be some */
        if (fits)
            is_ok(digest_one(file.path, NULL, 0));
        else
            is_error(digest_one(file.path, NULL, 0), SGI_E_IO, "File name too long");
        unlink(sums_of(&file));
        is_ok(digest_one(file.path, in(&out, "short.sgisum"), 0));
        is_ok(load_by(file.path, in(&out, "short.sgisum"), NULL, &file));
        assert_int_equal(unlink(in(&out, "short.sgisum")), 0);
        test_file_free(&file);
    }
}

static void each_shard_has_its_own(void **state)
{
    struct test_shards shards;

    (void)state;
    test_shards_make(&shards, &folder, MIB(1));
    is_ok(digest_one(shards.path, NULL, 0));
    is_ok(load(shards.path, shards.shards));
    is_ok(verify_one(shards.path, NULL, 0));
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

/* Of the file, or of its checks: verifying names it, and loading too, where it is asked for. */
static void flipped_is_named(const struct test_file *file, bool load_too)
{
    sgi_status status = verify_one(file->path, NULL, 2);

    assert_true(status == SGI_E_CHECK || status == SGI_E_FORMAT || status == SGI_E_CHANGED ||
                status == SGI_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "m.safetensors"));
    if (!load_too)
        return;
    assert_int_not_equal(load(file->path, file), SGI_OK);
    assert_non_null(strstr(err.message, "m.safetensors"));
}

static void every_flipped_byte_is_named(void **state)
{
    struct test_file file;

    (void)state;
    test_file_make(&file, &folder, "m.safetensors", 0, some, SOME);
    is_ok(digest_one(file.path, NULL, 0));
    int fd = open(file.path, O_RDWR | O_CLOEXEC);
    for (int n = 0; n < 2000; n++) {
        uint64_t at = random64() % (n % 2 == 0 ? file.data_offset : file.bytes);
        uint8_t  was = flip(fd, at);
        flipped_is_named(&file, n % 10 == 0);
        put_back(fd, at, was);
    }
    close(fd);
    is_ok(verify_one(file.path, NULL, 0));
    is_ok(load(file.path, &file));
    assert_int_equal(unlink(sums_of(&file)), 0);
    test_file_free(&file);
}

static void every_bit_of_the_checks_is_checked(void **state)
{
    static const struct test_tensor large[] = { { "a", MIB(60) } }; /* a table of 31 */
    struct test_file                file;
    struct stat                     st;
    uint8_t                         was, is;

    (void)state;
    test_file_make(&file, &folder, "m.safetensors", 0, large, 1);
    is_ok(digest_one(file.path, NULL, 0));
    int fd = open(sums_of(&file), O_RDWR | O_CLOEXEC);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, 64 + 31 * 8);
    for (off_t bit = 0; bit < 8 * st.st_size; bit++) {
        assert_int_equal(pread(fd, &was, 1, bit / 8), 1);
        is = was ^ (uint8_t)(1u << bit % 8);
        assert_int_equal(pwrite(fd, &is, 1, bit / 8), 1);
        flipped_is_named(&file, bit % 10 == 0);
        put_back(fd, (uint64_t)bit / 8, was);
    }
    close(fd);
    is_ok(verify_one(file.path, NULL, 0));
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
    is_ok(digest_one(file.path, NULL, 0));
    snprintf(moved, sizeof moved, "%s", sums_of(&other));
    assert_int_equal(rename(sums_of(&file), moved), 0);
    is_error(load(other.path, &other), SGI_E_CHANGED, "other.safetensors.sgisum: checks of another file");
    is_ok(load(file.path, &file));
    assert_int_equal(truncate(moved, 30), 0);
    is_error(load(other.path, &other), SGI_E_FORMAT, "too short");
    is_ok(digest_one(other.path, NULL, 0)); /* it makes them anew */
    is_ok(load(other.path, &other));
    assert_int_equal(unlink(moved), 0);
    test_file_free(&file);
    test_file_free(&other);
}

static void checks_of_another_version_are_refused(void **state)
{
    static const struct {
        unsigned    at, bytes;
        uint64_t    value;
        sgi_status  status;
        const char *words;
    } heads[] = { { 8, 4, 0, SGI_E_UNSUPPORTED, "checks in version 0 of their format; version 1 is known here" },
                  { 8, 4, 2, SGI_E_UNSUPPORTED, "checks in version 2 of their format" },
                  { 12, 4, KIB(32), SGI_E_FORMAT, "checks that are not as they should be" },
                  { 12, 4, MIB(32), SGI_E_FORMAT, "checks that are not as they should be" },
                  { 12, 4, MIB(2) + KIB(64), SGI_E_FORMAT, "checks that are not as they should be" },
                  { 48, 8, 1, SGI_E_FORMAT, "checks that are not as they should be" } };
    struct test_file file;
    uint8_t          head[64], other[64];

    (void)state;
    test_file_make(&file, &folder, "m.safetensors", 0, some, SOME);
    is_ok(digest_one(file.path, NULL, 0));
    int fd = open(sums_of(&file), O_RDWR | O_CLOEXEC);
    assert_int_equal(pread(fd, head, sizeof head, 0), sizeof head);
    for (size_t n = 0; n < sizeof heads / sizeof *heads; n++) {
        uint64_t check;
        memcpy(other, head, sizeof head);
        for (unsigned byte = 0; byte < heads[n].bytes; byte++)
            other[heads[n].at + byte] = (uint8_t)(heads[n].value >> (8 * byte));
        check = test_xxh3(other, 56); /* nothing is damaged */
        for (unsigned byte = 0; byte < 8; byte++)
            other[56 + byte] = (uint8_t)(check >> (8 * byte));
        assert_int_equal(pwrite(fd, other, sizeof other, 0), sizeof other);
        refused_by(&file, NULL, heads[n].status, heads[n].words);
        assert_non_null(strstr(err.message, "m.safetensors.sgisum"));
    }
    close(fd);
    assert_int_equal(unlink(sums_of(&file)), 0);
    test_file_free(&file);
}

/* ---- what damage is told of ---- */

static void the_first_bad_chunk_is_told_with_its_tensors(void **state)
{
    static const struct test_tensor few[] = { { "a", MIB(3) }, { "none", 0 }, { "b", 77 }, { "c", MIB(9) } };
    struct test_file                file;
    char                            expected[200];

    (void)state;
    test_file_make(&file, &folder, "m.safetensors", 0, few, 4);
    is_ok(digest_one(file.path, NULL, 0));
    is_ok(verify_damage(file.path, NULL, 3));
    assert_string_equal(damage_told(), "");
    int fd = open(file.path, O_RDWR | O_CLOEXEC);
    flip(fd, file.bytes - 1);
    is_error(verify_damage(file.path, NULL, 1), SGI_E_CHECK, "it holds tensor 'c'");
    snprintf(expected, sizeof expected, "m.safetensors: 6, %zu bytes at 12582912; 1: c", file.bytes - (size_t)MIB(12));
    assert_string_equal(damage_told(), expected);
    for (uint64_t at = MIB(4) + 1; at < MIB(12); at += MIB(2))
        flip(fd, at);
    flip(fd, MIB(3));
    for (int n = 0; n < 20; n++) { /* whichever thread meets which of them first */
        is_error(verify_damage(file.path, NULL, 8), SGI_E_CHECK, "chunk 1 at offset 2097152 is damaged");
        assert_non_null(strstr(err.message, "it holds tensor 'a' and 2 more")); /* none of them the empty one */
        assert_string_equal(damage_told(), "m.safetensors: 1, 2097152 bytes at 2097152; 3: a b c");
    }
    is_error(verify_one(file.path, NULL, 8), SGI_E_CHECK, "chunk 1 "); /* who asks for no more */
    close(fd);
    is_ok(digest_one(file.path, NULL, 0));
    fd = open(sums_of(&file), O_RDWR | O_CLOEXEC);
    flip(fd, 66);
    is_error(verify_damage(file.path, NULL, 0), SGI_E_CHECK, "damaged themselves"); /* of no chunk */
    assert_string_equal(damage_told(), "");
    close(fd);
    assert_int_equal(unlink(sums_of(&file)), 0);
    test_file_free(&file);
}

static void of_many_tensors_some_are_named(void **state)
{
    char               names[30][16];
    struct test_tensor many[30];
    struct test_file   file;
    char               expected[200];

    (void)state;
    for (int count = SGI_DAMAGE_TENSORS_MAX - 1; count <= 30; count += count == 9 ? 21 : 1) {
        for (int n = 0; n < count; n++) {
            snprintf(names[n], sizeof names[n], "t%d", n);
            many[n] = (struct test_tensor){ names[n], 100 };
        }
        test_file_make(&file, &folder, "m.safetensors", 0, many, (uint32_t)count);
        is_ok(digest_one(file.path, NULL, 0));
        int fd = open(file.path, O_RDWR | O_CLOEXEC);
        flip(fd, file.data_offset);
        close(fd);
        snprintf(expected, sizeof expected, "it holds tensor 't0' and %d more", count - 1);
        is_error(verify_damage(file.path, NULL, 0), SGI_E_CHECK, expected);
        snprintf(expected, sizeof expected, "m.safetensors: 0, %zu bytes at 0; %d: t0 t1 t2 t3 t4 t5 t6%s", file.bytes,
                 count, count > 7 ? " t7" : "");
        assert_string_equal(damage_told(), expected);
        assert_int_equal(unlink(sums_of(&file)), 0);
        test_file_free(&file);
    }
}

static void chunks_are_counted_over_all_shards(void **state)
{
    struct test_shards shards;

    (void)state;
    test_shards_make(&shards, &folder, MIB(2));
    is_ok(digest_one(shards.path, out.path, 0));
    int fd = open(shards.shards[1].path, O_RDWR | O_CLOEXEC);
    flip(fd, shards.shards[1].data_offset);
    close(fd);
    is_error(verify_damage(shards.path, out.path, 0), SGI_E_CHECK, "two.safetensors: chunk 2 at offset 0 ");
    assert_string_equal(damage_told(), "two.safetensors: 2, 2097152 bytes at 0; 2: c d");
    assert_int_equal(unlink(in(&out, "one.safetensors.sgisum")), 0);
    assert_int_equal(unlink(in(&out, "two.safetensors.sgisum")), 0);
    test_shards_free(&shards);
}

/* ---- elsewhere than beside the files ---- */

static void checks_may_be_in_another_folder(void **state)
{
    struct test_file file;
    char             sums[512];

    (void)state;
    test_file_make(&file, &folder, "m.safetensors", 0, some, SOME);
    snprintf(sums, sizeof sums, "%s", in(&out, "m.safetensors.sgisum"));
    is_ok(digest_one(file.path, out.path, 2));
    assert_int_equal(access(sums_of(&file), F_OK), -1);
    const char *const places[] = { out.path, in(&out, ""), sums };
    for (size_t n = 0; n < sizeof places / sizeof *places; n++) {
        is_ok(verify_one(file.path, places[n], 0));
        is_ok(load_by(file.path, places[n], NULL, &file));
    }
    is_error(verify_one(file.path, NULL, 0), SGI_E_UNSUPPORTED, "without checks");

    int     fd = open(file.path, O_RDWR | O_CLOEXEC);
    uint8_t was = flip(fd, file.bytes - 1);
    is_ok(digest_one(file.path, in(&folder, "flipped"), 0)); /* a file that is not there yet */
    is_ok(verify_one(file.path, in(&folder, "flipped"), 0));
    for (size_t n = 0; n < sizeof places / sizeof *places; n++)
        is_error(load_by(file.path, places[n], NULL, &file), SGI_E_CHECK, "m.safetensors: chunk 1 ");
    put_back(fd, file.bytes - 1, was);
    close(fd);
    /* Those beside the file do not count then, whatever they say. */
    assert_int_equal(rename(in(&folder, "flipped"), sums_of(&file)), 0);
    is_error(load(file.path, &file), SGI_E_CHECK, "m.safetensors: chunk 1 ");
    is_ok(load_by(file.path, out.path, NULL, &file));
    assert_int_equal(unlink(sums_of(&file)), 0);
    assert_int_equal(unlink(sums), 0);
    test_file_free(&file);
}

static void each_shard_has_to_have_its_own_elsewhere(void **state)
{
    struct test_shards shards;
    char               one[512], two[512];

    (void)state;
    test_shards_make(&shards, &folder, MIB(1));
    snprintf(one, sizeof one, "%s", in(&out, "one.safetensors.sgisum"));
    snprintf(two, sizeof two, "%s", in(&out, "two.safetensors.sgisum"));
    is_ok(digest_one(shards.path, out.path, 0));
    is_ok(load_by(shards.path, out.path, NULL, shards.shards));
    is_ok(verify_one(shards.path, out.path, 0));
    is_error(load_by(shards.path, one, NULL, shards.shards), SGI_E_INVALID,
             "one file, but the model has 2: it has to be a folder");
    is_error(digest_one(shards.path, one, 0), SGI_E_INVALID, "one file, but the model has 2");
    is_error(digest_one(shards.path, in(&out, "nowhere"), 0), SGI_E_IO,
             "nowhere has to be a folder that is there: the model has 2 files: No such file");

    char kept[512];
    snprintf(kept, sizeof kept, "%s", in(&out, "kept"));
    assert_int_equal(rename(two, kept), 0);
    is_error(load_by(shards.path, out.path, NULL, shards.shards), SGI_E_IO, "two.safetensors.sgisum: No such file");
    assert_int_equal(rename(one, two), 0);
    assert_int_equal(rename(kept, one), 0);
    is_error(load_by(shards.path, out.path, NULL, shards.shards), SGI_E_CHANGED, "one.safetensors.sgisum: checks of");
    assert_int_equal(unlink(one), 0);
    assert_int_equal(unlink(two), 0);
    test_shards_free(&shards);
}

static void what_is_not_there_as_it_should_be_is_named(void **state)
{
    struct test_file file;
    char             sums[512], named[512], link[512];
    struct stat      st;

    (void)state;
    test_file_make(&file, &folder, "m.safetensors", 0, some, SOME);
    snprintf(sums, sizeof sums, "%s", in(&out, "m.safetensors.sgisum"));
    snprintf(named, sizeof named, "%s", in(&out, "named"));
    snprintf(link, sizeof link, "%s", in(&out, "link"));
    is_ok(digest_one(file.path, NULL, 0)); /* of no use to any of these */
    refused_by(&file, out.path, SGI_E_IO, "m.safetensors.sgisum: No such file");
    refused_by(&file, named, SGI_E_IO, "named: No such file");
    refused_by(&file, "", SGI_E_INVALID, "checks_path: it is empty");
    assert_int_equal(symlink("nobody", link), 0);
    refused_by(&file, link, SGI_E_IO, "link is a symbolic link that leads nowhere");

    const char *const paths[] = { out.path, named };
    assert_int_equal(mkdir(sums, 0700), 0);
    refused_by(&file, out.path, SGI_E_IO, "m.safetensors.sgisum is a folder");
    refused_by(&file, sums, SGI_E_IO, "m.safetensors.sgisum/m.safetensors.sgisum: No such file");
    is_error(digest_one(file.path, out.path, 0), SGI_E_INVALID, "m.safetensors.sgisum is a folder");
    assert_int_equal(rmdir(sums), 0);
    assert_int_equal(mkfifo(sums, 0600), 0);
    assert_int_equal(mkfifo(named, 0600), 0);
    refused_by(&file, out.path, SGI_E_IO, "m.safetensors.sgisum is a FIFO");
    refused_by(&file, named, SGI_E_IO, "named is a FIFO");
    is_error(digest_one(file.path, out.path, 0), SGI_E_INVALID, "m.safetensors.sgisum is a FIFO");
    is_error(digest_one(file.path, named, 0), SGI_E_IO, "named is a FIFO");
    assert_int_equal(unlink(sums), 0);
    assert_int_equal(unlink(named), 0);

    is_ok(digest_one(file.path, out.path, 0));
    is_ok(digest_one(file.path, named, 0));
    for (int n = 0; n < 2; n++) {
        const char *path = n == 0 ? sums : named;
        int         fd = open(path, O_RDWR | O_CLOEXEC);
        uint8_t     was = flip(fd, 70); /* of the table */
        refused_by(&file, paths[n], SGI_E_CHECK, "these checks are damaged themselves");
        assert_non_null(strstr(err.message, path + strlen(out.path)));
        put_back(fd, 70, was);
        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(ftruncate(fd, st.st_size + 1), 0);
        refused_by(&file, paths[n], SGI_E_FORMAT, "17 bytes of checks, where there are to be 16");
        assert_int_equal(ftruncate(fd, st.st_size - 8), 0);
        refused_by(&file, paths[n], SGI_E_FORMAT, "8 bytes of checks, where there are to be 16");
        assert_int_equal(ftruncate(fd, 0), 0);
        refused_by(&file, paths[n], SGI_E_FORMAT, "too short for checks");
        close(fd);
    }
    refused_by(&file, file.path, SGI_E_FORMAT, "m.safetensors: not a file of checks, as sgi digest");

    test_file_write(&file); /* the same bytes, and then others */
    is_ok(digest_one(file.path, out.path, 0));
    is_ok(load_by(file.path, out.path, NULL, &file));
    test_file_free(&file);
    test_file_make(&file, &folder, "m.safetensors", 0, some, SOME - 1);
    refused_by(&file, out.path, SGI_E_CHANGED, "m.safetensors.sgisum: checks of another file");
    assert_int_equal(unlink(in(&folder, "m.safetensors.sgisum")), 0);
    assert_int_equal(unlink(sums), 0);
    assert_int_equal(unlink(named), 0);
    assert_int_equal(unlink(link), 0);
    test_file_free(&file);
}

static void allowed_roots_hold_for_checks(void **state)
{
    struct test_file file;
    char             sums[512], inside[512];

    (void)state;
    test_file_make(&file, &folder, "m.safetensors", 0, some, SOME);
    snprintf(sums, sizeof sums, "%s", in(&out, "m.safetensors.sgisum"));
    snprintf(inside, sizeof inside, "%s", in(&folder, "inside"));
    is_ok(digest_one(file.path, out.path, 0));
    is_error(load_by(file.path, out.path, folder.path, &file), SGI_E_DENIED, out.path);
    is_error(load_by(file.path, sums, folder.path, &file), SGI_E_DENIED, "m.safetensors.sgisum");
    is_error(load_by(file.path, "/nowhere/at/all", folder.path, &file), SGI_E_DENIED, "/nowhere/at/all");
    assert_int_equal(symlink(sums, inside), 0); /* the resolved path counts */
    is_error(load_by(file.path, inside, folder.path, &file), SGI_E_DENIED, "inside");
    assert_int_equal(unlink(inside), 0);
    is_ok(digest_one(file.path, inside, 0));
    is_ok(load_by(file.path, inside, folder.path, &file));
    assert_int_equal(unlink(inside), 0);
    assert_int_equal(unlink(sums), 0);
    test_file_free(&file);
}

static void a_packed_file_takes_no_other_checks(void **state)
{
    struct test_file file;

    (void)state;
    test_file_make(&file, &folder, "m.safetensors", 0, some, SOME);
    is_ok(pack_one(file.path, in(&folder, "m.sgi"), NULL, NULL));
    is_ok(digest_one(file.path, out.path, 0));
    is_error(load_by(in(&folder, "m.sgi"), out.path, NULL, &file), SGI_E_UNSUPPORTED, "m.sgi: a packed file");
    is_error(verify_one(in(&folder, "m.sgi"), out.path, 0), SGI_E_UNSUPPORTED, "takes no others");
    is_error(digest_one(in(&folder, "m.sgi"), out.path, 0), SGI_E_UNSUPPORTED, "a packed file");
    assert_int_equal(unlink(in(&folder, "m.sgi")), 0);
    assert_int_equal(unlink(in(&out, "m.safetensors.sgisum")), 0);
    test_file_free(&file);
}

static void no_model_is_replaced_by_its_checks(void **state)
{
    struct test_file file;

    (void)state;
    test_file_make(&file, &folder, "m.safetensors", 0, some, SOME);
    assert_int_equal(link(file.path, in(&folder, "link")), 0);
    is_error(digest_one(file.path, file.path, 0), SGI_E_INVALID,
             "m.safetensors is there already and is not a file of checks");
    is_error(digest_one(file.path, in(&folder, "link"), 0), SGI_E_INVALID,
             "link is there already and is not a file of checks");
    is_ok(digest_one(file.path, in(&folder, "m.sgisum"), 0));
    is_ok(digest_one(file.path, in(&folder, "m.sgisum"), 0));
    assert_int_equal(unlink(in(&folder, "m.sgisum")), 0);
    is_error(digest_one(file.path, "", 0), SGI_E_INVALID, "checks_path: it is empty");
    is_error(digest_one(file.path, in(&folder, "none/"), 0), SGI_E_INVALID, "no name for a file");
    has_bytes(file.path, file.data, file.bytes);
    assert_int_equal(unlink(in(&folder, "link")), 0);
    test_file_free(&file);
}

/* Wherever the checks are, and whatever order its chunks are packed in. */
static void what_does_not_match_its_checks_is_not_packed(void **state)
{
    static const char *const last[] = { "c" };
    struct test_file         file;
    sgi_pack_options         options;
    char                     sums[512], packed[512];

    (void)state;
    test_file_make(&file, &folder, "p.safetensors", 0, some, SOME);
    snprintf(packed, sizeof packed, "%s", in(&folder, "q.sgi"));
    for (unsigned n = 0; n < 4; n++) {
        bool elsewhere = n & 1, ordered = n & 2;
        sgi_pack_options_init(&options, sizeof options);
        snprintf(sums, sizeof sums, "%s", in(&folder, elsewhere ? "p.sgisum" : "p.safetensors.sgisum"));
        options.checks_path = elsewhere ? sums : NULL;
        options.order = ordered ? last : NULL;
        options.order_count = ordered ? 1 : 0;
        is_ok(digest_one(file.path, options.checks_path, 0));
        int fd = open(file.path, O_RDWR | O_CLOEXEC);
        assert_true(fd >= 0);
        for (int times = 0; times < 20; times++) {
            uint64_t at = file.data_offset + random64() % (file.bytes - file.data_offset);
            uint8_t  was = flip(fd, at);
            is_error(pack_one(file.path, packed, &options, NULL), SGI_E_CHECK, "p.safetensors: the ");
            assert_int_equal(access(packed, F_OK), -1);
            put_back(fd, at, was);
        }
        close(fd);
        is_ok(pack_one(file.path, packed, &options, NULL));
        assert_int_equal(unlink(packed), 0);
        assert_int_equal(unlink(sums), 0);
    }
    test_file_free(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_does_not_match_its_checks_is_not_packed),
        cmocka_unit_test(a_file_with_checks_loads_as_before),
        cmocka_unit_test(a_name_too_long_for_checks_has_none),
        cmocka_unit_test(each_shard_has_its_own),
        cmocka_unit_test(every_flipped_byte_is_named),
        cmocka_unit_test(every_bit_of_the_checks_is_checked),
        cmocka_unit_test(checks_of_another_file_are_refused),
        cmocka_unit_test(checks_of_another_version_are_refused),
        cmocka_unit_test(the_first_bad_chunk_is_told_with_its_tensors),
        cmocka_unit_test(of_many_tensors_some_are_named),
        cmocka_unit_test(chunks_are_counted_over_all_shards),
        cmocka_unit_test(checks_may_be_in_another_folder),
        cmocka_unit_test(each_shard_has_to_have_its_own_elsewhere),
        cmocka_unit_test(what_is_not_there_as_it_should_be_is_named),
        cmocka_unit_test(allowed_roots_hold_for_checks),
        cmocka_unit_test(a_packed_file_takes_no_other_checks),
        cmocka_unit_test(no_model_is_replaced_by_its_checks),
    };
    return cmocka_run_group_tests_name("sums", tests, pack_set_up, pack_tear_down);
}
