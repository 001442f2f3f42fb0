/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Models that stay packed in host memory, while the system fails at the first passing, the second, and so on until it
 * is not met any more: what fails says so, no byte is ever wrong, what is kept is charged right, the next request
 * succeeds, and nothing is left in the end.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/fault.h"
#include "faults/arm.h"
#include "faults/ledger.h"
#include "pack/pack_host.h"
#include "support/calls.h"

enum { NTH_MAX = 3000, MODELS = 2 };

static const struct test_fault faults[] = {
    { "openat", CALL_OPENAT, EMFILE },
    { "pread", CALL_PREAD, EIO },
    { "mmap", CALL_MMAP, ENOMEM },
    { "madvise", CALL_MADVISE, EINVAL },
    { "decoder", CALL_ZSTD_DECODER, 1 },
    { "allocation", CALL_COUNT, SGI__FAULT_ALLOC },
    { "thread", CALL_COUNT, SGI__FAULT_THREAD },
    { "touch", CALL_COUNT, SGI__FAULT_TOUCH },
};
enum { FAULTS = sizeof faults / sizeof *faults };

static const struct test_tensor some[] = { { "same", MIB(4) }, { "own", MIB(1) + 5 } };
static struct test_file         files[MODELS];
static char                     packed[MODELS][512];

static void make_models(void)
{
    char name[16];

    for (int n = 0; n < MODELS; n++) {
        snprintf(name, sizeof name, "m%d", n);
        test_file_make(&files[n], &folder, name, 0, some, 2);
        for (size_t at = files[n].data_offset; at + 1 < files[n].bytes; at += 2)
            files[n].data[at + 1] = 0x3c; /* so that it gets smaller */
        if (n > 0)
            memcpy(files[n].data + files[n].data_offset, files[0].data + files[0].data_offset, MIB(4));
        test_file_write(&files[n]);
        snprintf(packed[n], sizeof packed[n], "%s/m%d.sgi", folder.path, n);
        is_ok(pack_one(files[n].path, packed[n], NULL, NULL));
    }
}

static void has_its_bytes(sgi_runtime *rt, sgi_lease lease, const struct test_file *file)
{
    size_t at = file->data_offset;

    for (uint64_t n = 0; n < 2; n++) {
        sgi_view view = host_tensor(rt, lease, n);
        assert_memory_equal(view.data, file->data + at, some[n].bytes);
        at += some[n].bytes;
    }
}

static sgi_status prefetch(sgi_runtime *rt, sgi_model model)
{
    sgi_status st = sgi_model_prefetch(rt, model, SGI_TIER_DRAM, NULL, NULL, NULL, NULL, &err);
    if (st != SGI_OK)
        return st;
    sgi_completion completion = host_next(rt);
    err = completion.error;
    return completion.status;
}

/* Its bytes are right, wherever they are from; then it leaves its device again. */
static sgi_status use(sgi_runtime *rt, sgi_model model, const struct test_file *file)
{
    sgi_lease  lease = 0;
    sgi_status st = sgi_model_acquire_wait(rt, model, NULL, &lease, &err);

    if (st != SGI_OK)
        return st;
    has_its_bytes(rt, lease, file);
    host_release(rt, lease);
    is_ok(sgi_model_evict(rt, model, SGI_TIER_DRAM));
    host_wait_state(rt, model, SGI_MODEL_COLD);
    return SGI_OK;
}

static void is_charged_right(sgi_runtime *rt, const sgi_model models[MODELS])
{
    uint64_t alone = 0;

    host_wait_threads(rt, 1); /* what goes has gone */
    sgi_runtime_info info = host_info(rt);

    for (int n = 0; n < MODELS; n++)
        alone += host_state(rt, models[n]).dram_bytes;
    assert_int_equal(info.dram_bytes + info.dram_shared_bytes, alone);
}

/* What happens in a life, as far as it comes: SGI_OK, or what ended it. */
static sgi_status live(sgi_runtime *rt, const sgi_model models[MODELS])
{
    sgi_status st = prefetch(rt, models[0]);

    for (int round = 0; round < 2 && st == SGI_OK; round++) /* from disk, and from where that has left it */
        st = use(rt, models[1], &files[1]);
    if (st == SGI_OK)
        st = use(rt, models[0], &files[0]);
    return st;
}

static bool life_with(size_t fault, uint64_t nth)
{
    char               what[96];
    struct ledger      before = ledger_take();
    sgi_runtime_config config = host_config();
    sgi_model          models[MODELS];

    snprintf(what, sizeof what, "number %llu of %s failing", (unsigned long long)nth, faults[fault].name);
    config.dram_bytes_max = MIB(64);
    config.io_engine = SGI_IO_THREADS;
    sgi_runtime *rt = host_open(&config);
    for (int n = 0; n < MODELS; n++) {
        sgi_model_config model = host_model(n ? "b" : "a", packed[n], NULL);
        model.residence = SGI_RESIDENCE_PACKED;
        models[n] = host_register(rt, &model);
    }
    test_fault_arm(&faults[fault], nth, ENOMEM);
    err = (sgi_error)SGI_ERROR_INIT;
    sgi_status st = live(rt, models);
    bool       met = test_fault_disarm(&faults[fault], nth);
    if (st != SGI_OK && (!met || err.code != st || !err.message[0] || st == SGI_E_CHECK)) /* nothing is damaged */
        fail_msg("%s: %s '%s'", what, sgi_status_name(st), err.message);
    is_charged_right(rt, models);
    for (int n = 0; n < MODELS; n++)
        is_ok(use(rt, models[n], &files[n]));
    is_charged_right(rt, models);
    assert_true(host_info(rt).dram_shared_bytes > MIB(2)); /* the 4 MiB that they have in common, packed */
    is_ok(sgi_runtime_trim(rt, 0));
    host_close(rt);
    ledger_compare(&before, what);
    return met;
}

static void whatever_fails_the_next_one_works(void **state)
{
    (void)state;
    make_models();
    for (size_t fault = 0; fault < FAULTS; fault++)
        for (uint64_t nth = 1; life_with(fault, nth); nth++)
            assert_true(nth < NTH_MAX);
    for (int n = 0; n < MODELS; n++)
        test_file_free(&files[n]);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(whatever_fails_the_next_one_works) };
    return cmocka_run_group_tests_name("faults_kept", tests, pack_set_up, pack_tear_down);
}
