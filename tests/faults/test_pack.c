/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packing, unpacking and making checks while the system fails, at the first passing, the second, and so on until it is
 * not met any more: it says so, leaves what was there before as it was, and nothing else; and afterwards it works.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fault.h"
#include "faults/arm.h"
#include "faults/ledger.h"
#include "pack/pack_host.h"
#include "support/calls.h"

enum { NTH_MAX = 400 };

static const struct test_fault faults[] = {
    /* of files that are written: these once more where no file can be without a name */
    { "openat", CALL_OPENAT, EMFILE },
    { "fdopendir", CALL_FDOPENDIR, ENOMEM },
    { "readdir", CALL_READDIR, EIO },
    { "getrandom", CALL_GETRANDOM, ENOSYS },
    { "fstat", CALL_FSTAT, EIO },
    { "fstatat", CALL_FSTATAT, EIO },
    { "pwrite", CALL_PWRITE, ENOSPC },
    { "fsync", CALL_FSYNC, EIO },
    { "linkat", CALL_LINKAT, EPERM },
    { "renameat", CALL_RENAMEAT, EACCES },
    { "flock", CALL_FLOCK, ENOLCK },
    /* of others */
    { "open", CALL_OPEN, EMFILE },
    { "pread", CALL_PREAD, EIO },
    { "stat", CALL_STAT, EIO },
    { "encoder", CALL_ZSTD_ENCODER, 1 },
    { "decoder", CALL_ZSTD_DECODER, 1 },
    { "allocation", CALL_COUNT, SGI__FAULT_ALLOC },
    { "thread", CALL_COUNT, SGI__FAULT_THREAD },
};
enum { FAULTS = sizeof faults / sizeof *faults, FAULTS_OF_WRITING = 11 };

static const struct test_tensor some[] = { { "a", MIB(3) + 5 }, { "b", 77 } };
static struct test_file         file;
static char                     packed[512], based[512], sums[512];

static sgi_status pack(void)
{
    return pack_one(file.path, packed, NULL, NULL);
}

static sgi_status unpack(void)
{
    return unpack_one(packed, out.path, 2);
}

static sgi_status verify(void)
{
    return verify_one(packed, NULL, 2);
}

static sgi_status pack_on_base(void)
{
    sgi_pack_options options;

    sgi_pack_options_init(&options, sizeof options);
    options.base = packed;
    return pack_one(file.path, based, &options, NULL);
}

static sgi_status verify_with_base(void)
{
    return verify_one(based, NULL, 2);
}

static sgi_status digest(void)
{
    return digest_one(file.path, NULL, 2);
}

static sgi_status digest_elsewhere(void)
{
    return digest_one(file.path, out.path, 2);
}

static sgi_status verify_elsewhere(void)
{
    return verify_one(file.path, out.path, 2);
}

static const struct {
    const char *name;
    sgi_status (*run)(void);
    bool writes;
} deeds[] = { { "pack", pack, true },
              { "unpack", unpack, true },
              { "verify", verify, false },
              { "pack on a base", pack_on_base, true },
              { "verify with a base", verify_with_base, false },
              { "digest", digest, true },
              { "digest to a folder", digest_elsewhere, true },
              { "verify by a folder", verify_elsewhere, false } };

/* What was there is there, whichever of the two it is; and nothing but that. */
static void nothing_is_left(size_t files_here, size_t files_out, const char *what)
{
    if (verify_one(packed, NULL, 0) != SGI_OK || verify_with_base() != SGI_OK)
        fail_msg("%s: %s", what, err.message);
    if (count_files(&folder) != files_here || count_files(&out) != files_out)
        fail_msg("%s leaves a file behind", what);
    has_bytes(in(&out, "m.safetensors"), file.data, file.bytes);
}

/* `named`: on a file system where no file is without a name. */
static void deed_with(size_t deed, size_t fault, bool named)
{
    size_t files_here = count_files(&folder), files_out = count_files(&out);
    bool   met = true;

    for (uint64_t nth = 1; met; nth++) {
        char          what[128];
        struct ledger before = ledger_take();
        assert_true(nth < NTH_MAX);
        test_call_fail(CALL_OPEN_UNNAMED, named, UINT64_MAX, EOPNOTSUPP);
        test_fault_arm(&faults[fault], nth, EAGAIN);
        err.message[0] = '\0';
        sgi_status st = deeds[deed].run();
        met = test_fault_disarm(&faults[fault], nth);
        snprintf(what, sizeof what, "%s%s, with number %llu of %s failing", deeds[deed].name,
                 named ? " without O_TMPFILE" : "", (unsigned long long)nth, faults[fault].name);
        if (st != SGI_OK && (!met || !err.message[0] || err.code != st))
            fail_msg("%s: %s '%s'", what, sgi_status_name(st), err.message);
        ledger_compare(&before, what);
        nothing_is_left(files_here, files_out, what);
    }
    is_ok(deeds[deed].run());
}

static void whatever_fails_is_told_and_leaves_nothing(void **state)
{
    (void)state;
    test_file_make(&file, &folder, "m.safetensors", 0, some, 2);
    snprintf(packed, sizeof packed, "%s", in(&folder, "m.sgi"));
    snprintf(based, sizeof based, "%s", in(&folder, "based.sgi"));
    snprintf(sums, sizeof sums, "%s.sgisum", file.path);
    is_ok(pack());
    is_ok(pack_on_base());
    is_ok(unpack());
    is_ok(digest());
    is_ok(digest_elsewhere());
    for (size_t deed = 0; deed < sizeof deeds / sizeof *deeds; deed++)
        for (size_t fault = 0; fault < FAULTS; fault++)
            for (int named = 0; named <= (deeds[deed].writes && fault < FAULTS_OF_WRITING); named++)
                deed_with(deed, fault, named);
    assert_int_equal(unlink(sums), 0);
    test_file_free(&file);
}

/* Which allocation ever fails: the damage is told, if with fewer tensors, or that there is no memory. */
static void damage_is_told_without_memory_too(void **state)
{
    static const struct test_tensor twins[] = { { "a", MIB(2) }, { "b", MIB(2) } };
    bool                            met = true, fewer = false;

    (void)state;
    test_file_make(&file, &folder, "twins.safetensors", 0, twins, 2);
    memcpy(file.data + file.data_offset + MIB(2), file.data + file.data_offset, MIB(2));
    test_file_write(&file);
    snprintf(packed, sizeof packed, "%s", in(&folder, "twins.sgi"));
    is_ok(pack());
    int fd = open(packed, O_RDWR | O_CLOEXEC);
    flip(fd, MIB(1));
    close(fd);
    for (uint64_t nth = 1; met; nth++) {
        struct ledger before = ledger_take();
        assert_true(nth < NTH_MAX);
        sgi__fault_plan(SGI__FAULT_ALLOC, nth, 1, ENOMEM);
        sgi_status st = verify_damage(packed, NULL, 1);
        met = sgi__fault_passed(SGI__FAULT_ALLOC) >= nth;
        sgi__fault_clear();
        assert_true(st == SGI_E_CHECK || (met && st == SGI_E_NO_MEMORY));
        assert_true((st == SGI_E_CHECK) == (strstr(damage_told(), ": a") != NULL));
        fewer = fewer || strstr(damage_told(), "; 1: a");
        ledger_compare(&before, "telling of damage");
    }
    assert_true(fewer);
    assert_non_null(strstr(damage_told(), "; 2: a b"));
    test_file_free(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_fails_is_told_and_leaves_nothing),
        cmocka_unit_test(damage_is_told_without_memory_too),
    };
    return cmocka_run_group_tests_name("faults_pack", tests, pack_set_up, pack_tear_down);
}
