/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cuda device on the fake driver: what only a driver can do wrong. With an argument it is another process, for what
 * stays until a process ends: `reason TEXT` (there is no CUDA, and why), `lost`.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "../conformance/cuda_fixture.h"
#include "base/error.h"
#include "device/cuda_driver.h"
#include "device/device.h"
#include "support/fake_cuda.h"

#define BYTES ((uint64_t)4 << 20)

static sgi_error err;

static int set_up(void **state)
{
    (void)state;
    return fake_cuda_find() ? 0 : -1;
}

static int clear(void **state)
{
    (void)state;
    sgi__error_init(&err);
    fake.fakecuda_faults_clear();
    return 0;
}

/* ---- one life of a device, each step of which may fail ---- */

struct life {
    struct sgi__device *d;
    struct sgi__arena  *arena;
    struct sgi__stream *stream;
    struct sgi__mark   *mark;
    unsigned char      *host;
};

static sgi_status inside(struct life *l)
{
    const struct sgi__device_ops *ops = l->d->ops;
    sgi_status                    st = ops->arena_map(l->d, l->arena, &err);

    if (st == SGI_OK)
        st = ops->arena_grow(l->d, l->arena, BYTES, &err);
    if (st == SGI_OK)
        st = ops->pin(l->d, l->host, BYTES, &err);
    if (st == SGI_OK)
        st = ops->stream_new(l->d, &l->stream, &err);
    if (st == SGI_OK)
        st = ops->mark_new(l->d, &l->mark, &err);
    if (st == SGI_OK)
        st = ops->copy_in(l->d, l->stream, l->arena->base, l->host, BYTES, &err);
    if (st == SGI_OK)
        st = ops->mark_set(l->d, l->mark, l->stream, &err);
    if (st == SGI_OK)
        st = ops->mark_wait(l->d, l->mark, &err);
    if (st == SGI_OK)
        st = ops->mark_order(l->d, l->mark, ops->stream_native(l->stream), &err);
    if (st == SGI_OK)
        st = ops->zero(l->d, l->stream, l->arena->base, BYTES, &err);
    if (st == SGI_OK)
        st = ops->copy_out(l->d, l->stream, l->host, l->arena->base, BYTES, &err);
    if (st == SGI_OK)
        st = ops->stream_wait(l->d, l->stream, &err);
    if (st != SGI_OK && l->stream) /* what is on its way uses the memory still */
        ops->stream_wait(l->d, l->stream, NULL);
    ops->mark_free(l->d, l->mark);
    ops->stream_free(l->d, l->stream);
    ops->arena_free(l->d, l->arena, NULL);
    l->arena = NULL;
    ops->unpin(l->d, l->host);
    return st;
}

static sgi_status live(unsigned char *host)
{
    struct life              l = { .host = host };
    struct sgi__device_scope scope;
    sgi_status               st = sgi__device_cuda(0, &l.d, &err);

    if (st != SGI_OK)
        return st;
    st = l.d->ops->arena_new(l.d, BYTES, (uint64_t)64 << 20, &l.arena, &err);
    if (st == SGI_OK)
        st = l.d->ops->context_open(l.d, &err);
    if (st == SGI_OK) {
        st = l.d->ops->enter(l.d, &scope, &err);
        if (st == SGI_OK) {
            sgi_status left;
            st = inside(&l);
            left = l.d->ops->leave(l.d, &scope, st == SGI_OK ? &err : NULL);
            st = st == SGI_OK ? left : st;
        }
        l.d->ops->arena_free(l.d, l.arena, NULL); /* its memory outlives any context */
        l.arena = NULL;
        l.d->ops->context_close(l.d);
    }
    l.d->ops->arena_free(l.d, l.arena, NULL);
    l.d->ops->close(l.d);
    return st;
}

/* What takes something, or does something: after it has failed nothing is left, and the next life is as the first. */
static void each_call_may_fail(void **state)
{
    static const char *const calls[] = {
        "cuInit",
        "cuDeviceGetCount",
        "cuDeviceGet",
        "cuDeviceTotalMem_v2",
        "cuDeviceGetAttribute",
        "cuDeviceGetPCIBusId",
        "cuDevicePrimaryCtxRetain",
        "cuCtxGetCurrent",
        "cuCtxPushCurrent_v2",
        "cuMemGetAllocationGranularity",
        "cuMemAddressReserve",
        "cuMemCreate",
        "cuMemMap",
        "cuMemSetAccess",
        "cuMemHostRegister_v2",
        "cuStreamCreate",
        "cuEventCreate",
        "cuMemcpyHtoDAsync_v2",
        "cuMemcpyDtoHAsync_v2",
        "cuMemsetD8Async",
        "cuEventRecord",
        "cuEventSynchronize",
        "cuStreamWaitEvent",
        "cuStreamSynchronize",
    };
    unsigned char *host = host_pages(BYTES);
    char           line[96];

    (void)state;
    for (size_t c = 0; c < sizeof calls / sizeof calls[0]; c++) {
        uint64_t failed = 0;
        for (uint64_t n = 1; n < 100; n++) {
            clear(NULL);
            snprintf(line, sizeof line, "%s %llu error 304", calls[c], (unsigned long long)n);
            assert_int_equal(fake.fakecuda_fault(line), 0);
            sgi_status st = live(host);
            fake.fakecuda_faults_clear();
            fake_cuda_nothing_is_held(calls[c], n);
            if (st == SGI_OK)
                break;
            failed++;
            if (!strstr(err.message, "304") || err.driver_code != 304)
                fail_msg("%s %llu: %s: %s (%d)", calls[c], (unsigned long long)n, sgi_status_name(st), err.message,
                         err.driver_code);
        }
        if (failed == 0)
            fail_msg("%s was not called, or nobody looked at what it said", calls[c]);
        if (live(host) != SGI_OK)
            fail_msg("after %s: %s", calls[c], err.message);
    }
    munmap(host, BYTES);
}

static void out_of_memory_says_how_much_there_is(void **state)
{
    struct sgi__device *d = NULL;
    struct sgi__arena  *arena = NULL;

    (void)state;
    assert_int_equal(sgi__device_cuda(0, &d, &err), SGI_OK);
    assert_int_equal(fake.fakecuda_fault("cuMemCreate 2 error 2"), 0); /* the first half is there already */
    assert_int_equal(d->ops->arena_new(d, (uint64_t)600 << 20, 0, &arena, &err), SGI_E_DEVICE_MEMORY);
    assert_int_equal(err.driver_code, CU_OUT_OF_MEMORY);
    assert_non_null(strstr(err.message, "cuda:0: cuMemCreate of 629145600 bytes, 536870912 were had; "));
    assert_non_null(strstr(err.message, " are free"));
    fake_cuda_nothing_is_held("out of memory", 0);
    d->ops->close(d);
}

/* ---- contexts ---- */

static void nothing_opens_a_context_but_who_asks_for_it(void **state)
{
    struct sgi__device    *d = NULL;
    struct sgi__arena     *arena = NULL;
    struct fakecuda_ledger l;

    (void)state;
    assert_int_equal(sgi__device_cuda(0, &d, &err), SGI_OK);
    assert_int_equal(d->ops->arena_new(d, BYTES, 0, &arena, &err), SGI_OK);
    struct sgi__device_room room = d->ops->room(d); /* by NVML */
    assert_true(room.total > 0 && room.free < room.total);
    fake.fakecuda_ledger(&l);
    assert_int_equal(l.contexts, 0);
    assert_int_equal(is_active(), 0);
    d->ops->arena_free(d, arena, NULL);
    d->ops->close(d);
}

static void somebody_elses_context_is_seen_and_stays(void **state)
{
    struct sgi__device *d = NULL;

    (void)state;
    assert_int_equal(sgi__device_cuda(0, &d, &err), SGI_OK);
    assert_false(d->ops->others(d));
    retain();
    assert_true(d->ops->others(d));
    assert_int_equal(d->ops->context_open(d, &err), SGI_OK);
    assert_true(d->ops->others(d));
    d->ops->context_close(d);
    assert_int_equal(is_active(), 1); /* given up, not reset */
    OK(cu.cuDevicePrimaryCtxRelease_v2(0));
    assert_false(d->ops->others(d));
    d->ops->close(d);
    fake_cuda_nothing_is_held("somebody else", 0);
}

/* Whatever runs inside may leave another context current. Who called us finds what was there before. */
static void what_was_current_is_put_right(void **state)
{
    struct sgi__device      *d = NULL;
    struct sgi__device_scope scope;
    cu_context               outer = NULL, now = NULL, popped = NULL;

    (void)state;
    assert_int_equal(sgi__device_cuda(0, &d, &err), SGI_OK);
    OK(cu.cuDevicePrimaryCtxRetain(&outer, 1));
    OK(cu.cuCtxPushCurrent_v2(outer));
    assert_int_equal(d->ops->context_open(d, &err), SGI_OK);

    assert_int_equal(d->ops->enter(d, &scope, &err), SGI_OK);
    OK(cu.cuCtxPushCurrent_v2(outer)); /* and forgets it */
    assert_int_equal(d->ops->leave(d, &scope, &err), SGI_E_ENGINE);
    OK(cu.cuCtxGetCurrent(&now));
    assert_ptr_equal(now, outer);
    assert_int_equal(d->ops->enter(d, &scope, &err), SGI_OK);
    assert_int_equal(d->ops->leave(d, &scope, &err), SGI_OK);
    assert_int_equal(d->ops->enter(d, &scope, &err), SGI_OK);
    OK(cu.cuCtxPopCurrent_v2(&popped)); /* one that takes ours off, and puts others there */
    OK(cu.cuCtxPushCurrent_v2(outer));
    OK(cu.cuCtxPushCurrent_v2(outer));
    assert_int_equal(d->ops->leave(d, &scope, &err), SGI_E_ENGINE);
    OK(cu.cuCtxGetCurrent(&now));
    assert_ptr_equal(now, outer);

    while (cu.cuCtxPopCurrent_v2(&popped) == CU_OK)
        assert_ptr_equal(popped, outer);
    d->ops->context_close(d);
    OK(cu.cuDevicePrimaryCtxRelease_v2(1));
    d->ops->close(d);
    fake_cuda_nothing_is_held("contexts", 0);
}

/* What one device has another copies, where the hardware lets it: what was mapped first, and no engine's memory. */
static void a_device_copies_what_another_shares(void **state)
{
    struct sgi__device      *d[2] = { NULL, NULL };
    struct sgi__arena       *arena[2];
    struct sgi__stream      *stream;
    struct sgi__device_scope scope;
    unsigned char            seen[64], want[64];

    (void)state;
    for (uint32_t n = 0; n < 2; n++)
        assert_int_equal(sgi__device_cuda(n, &d[n], &err), SGI_OK);
    assert_false(d[0]->ops->reaches(d[0], d[1]));
    for (uint32_t n = 0; n < 2; n++) {
        d[n]->ops->share_with(d[n], d, 2);
        assert_int_equal(d[n]->ops->context_open(d[n], &err), SGI_OK);
        assert_int_equal(d[n]->ops->arena_new(d[n], BYTES, 2 * BYTES, &arena[n], &err), SGI_OK);
        assert_int_equal(d[n]->ops->enter(d[n], &scope, &err), SGI_OK);
        assert_int_equal(d[n]->ops->arena_map(d[n], arena[n], &err), SGI_OK);
        assert_int_equal(d[n]->ops->leave(d[n], &scope, &err), SGI_OK);
        assert_true(arena[n]->shared);
    }
    assert_true(d[0]->ops->reaches(d[0], d[1]) && d[1]->ops->reaches(d[1], d[0]));
    assert_false(d[0]->ops->reaches(d[0], d[0]));

    number(want, sizeof want, 3);
    assert_int_equal(d[1]->ops->enter(d[1], &scope, &err), SGI_OK);
    assert_int_equal(d[1]->ops->arena_grow(d[1], arena[1], BYTES, &err), SGI_OK);
    assert_int_equal(d[1]->ops->stream_new(d[1], &stream, &err), SGI_OK);
    assert_int_equal(d[1]->ops->copy_in(d[1], stream, arena[1]->base + 100, want, sizeof want, &err), SGI_OK);
    assert_int_equal(d[1]->ops->stream_wait(d[1], stream, &err), SGI_OK);
    d[1]->ops->stream_free(d[1], stream);
    assert_int_equal(d[1]->ops->leave(d[1], &scope, &err), SGI_OK);

    assert_int_equal(d[0]->ops->enter(d[0], &scope, &err), SGI_OK);
    assert_int_equal(d[0]->ops->stream_new(d[0], &stream, &err), SGI_OK);
    assert_int_equal(d[0]->ops->copy_over(d[0], stream, arena[0]->base, arena[1]->base + 100, 64, &err), SGI_OK);
    assert_int_equal(d[0]->ops->copy_out(d[0], stream, seen, arena[0]->base, 64, &err), SGI_OK);
    assert_int_equal(d[0]->ops->stream_wait(d[0], stream, &err), SGI_OK);
    assert_memory_equal(seen, want, 64);
    assert_int_equal(d[0]->ops->copy_over(d[0], stream, arena[0]->base, arena[1]->base + BYTES, 64, &err),
                     SGI_E_DEVICE);
    d[0]->ops->stream_free(d[0], stream);
    assert_int_equal(d[0]->ops->leave(d[0], &scope, &err), SGI_OK);
    for (uint32_t n = 0; n < 2; n++) {
        d[n]->ops->arena_free(d[n], arena[n], NULL);
        d[n]->ops->context_close(d[n]);
        d[n]->ops->close(d[n]);
    }
    fake_cuda_nothing_is_held("sharing", 0);
}

/* Pinned memory of ours is unpinned before the last reference goes, even where that is not ours. */
static void pins_go_with_our_reference(void **state)
{
    struct sgi__device      *d = NULL;
    struct sgi__device_scope scope;
    struct fakecuda_ledger   l;
    unsigned char           *at = host_pages(BYTES);

    (void)state;
    assert_int_equal(sgi__device_cuda(0, &d, &err), SGI_OK);
    retain(); /* somebody keeps it open */
    assert_int_equal(d->ops->context_open(d, &err), SGI_OK);
    assert_int_equal(d->ops->enter(d, &scope, &err), SGI_OK);
    assert_int_equal(d->ops->pin(d, at, BYTES, &err), SGI_OK);
    assert_int_equal(d->ops->pin(d, at, BYTES, &err), SGI_E_DEVICE); /* twice */
    assert_int_equal(err.driver_code, CU_HOST_MEMORY_ALREADY_REGISTERED);
    assert_int_equal(d->ops->leave(d, &scope, &err), SGI_OK);
    d->ops->context_close(d);
    fake.fakecuda_ledger(&l);
    assert_int_equal(l.pins, 0);
    OK(cu.cuDevicePrimaryCtxRelease_v2(0));
    d->ops->close(d);
    munmap(at, BYTES);
}

/* ---- what stays until the process ends ---- */

static int no_cuda(const char *reason)
{
    struct sgi__device *d = NULL;
    sgi_status          st = sgi__device_cuda(0, &d, &err);

    if (st == SGI_E_UNSUPPORTED && strstr(err.message, reason))
        return 0;
    printf("%s: %s\n", sgi_status_name(st), err.message);
    return 1;
}

static int lost(void)
{
    unsigned char *host = host_pages(BYTES);

    if (set_up(NULL) != 0 || live(host) != SGI_OK || fake.fakecuda_fault("@copy 1 sticky 700") != 0)
        return 1;
    sgi_status first = live(host), then = live(host); /* neither waits for what will not come */
    if (first == SGI_E_DEVICE_LOST && err.driver_code == CU_ILLEGAL_ADDRESS && then != SGI_OK)
        return 0;
    printf("%s, then %s: %s\n", sgi_status_name(first), sgi_status_name(then), err.message);
    return 1;
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(each_call_may_fail, clear),
        cmocka_unit_test_setup(out_of_memory_says_how_much_there_is, clear),
        cmocka_unit_test_setup(nothing_opens_a_context_but_who_asks_for_it, clear),
        cmocka_unit_test_setup(somebody_elses_context_is_seen_and_stays, clear),
        cmocka_unit_test_setup(what_was_current_is_put_right, clear),
        cmocka_unit_test_setup(a_device_copies_what_another_shares, clear),
        cmocka_unit_test_setup(pins_go_with_our_reference, clear),
    };

    sgi__error_init(&err);
    if (argc > 2 && strcmp(argv[1], "reason") == 0)
        return no_cuda(argv[2]);
    if (argc > 1 && strcmp(argv[1], "lost") == 0)
        return lost();
    return cmocka_run_group_tests(tests, set_up, NULL);
}
