/* SPDX-License-Identifier: Apache-2.0 */
/* Time on the fake: work stays where the test wants it, and is in use until somebody has waited for it. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "test_fake.h"

static bool arrived(const struct lane *lane, unsigned seed)
{
    unsigned char *want = host_pages(lane->bytes), *back = host_pages(lane->bytes);
    number(want, lane->bytes, seed);
    assert_int_equal(fake.fakecuda_peek(lane->at, back, lane->bytes), 0);
    bool same = memcmp(want, back, lane->bytes) == 0;
    munmap(want, lane->bytes);
    munmap(back, lane->bytes);
    return same;
}

static void a_held_copy_is_not_done_and_nor_is_its_event(void **state)
{
    struct lane lane;
    (void)state;
    lane_open(&lane);
    fake.fakecuda_hold();
    lane_copy(&lane);
    assert_int_equal(cu.cuEventQuery(lane.event), CU_NOT_READY);
    assert_int_equal(cu.cuStreamQuery(lane.stream), CU_NOT_READY);
    assert_false(arrived(&lane, 1));
    assert_int_equal(fake.fakecuda_stream_queued(lane.stream), 2);
    fake.fakecuda_go();
    OK(cu.cuEventSynchronize(lane.event));
    assert_true(arrived(&lane, 1));
    OK(cu.cuEventQuery(lane.event));
    lane_close(&lane);
}

static void steps_let_so_many_copies_pass(void **state)
{
    struct lane lane;
    (void)state;
    lane_open(&lane);
    cu_event second = event_new();
    fake.fakecuda_hold();
    lane_copy(&lane);
    OK(cu.cuMemcpyHtoDAsync_v2(lane.at, lane.host, lane.bytes, lane.stream));
    OK(cu.cuEventRecord(second, lane.stream));
    fake.fakecuda_step(1);
    OK(cu.cuEventSynchronize(lane.event));
    assert_int_equal(cu.cuEventQuery(second), CU_NOT_READY);
    fake.fakecuda_go();
    OK(cu.cuEventSynchronize(second));
    OK(cu.cuEventDestroy_v2(second));
    lane_close(&lane);
}

static void one_stream_stands_still_and_another_goes_on(void **state)
{
    struct lane lane;
    (void)state;
    lane_open(&lane);
    cu_stream other = stream_new();
    fake.fakecuda_stream_hold(lane.stream, 1);
    lane_copy(&lane);
    OK(cu.cuMemcpyHtoDAsync_v2(lane.at + MIB, lane.host, lane.bytes, other)); /* elsewhere: it would be a race */
    OK(cu.cuStreamSynchronize(other));
    assert_int_equal(cu.cuStreamQuery(lane.stream), CU_NOT_READY);
    fake.fakecuda_stream_hold(lane.stream, 0);
    OK(cu.cuStreamDestroy_v2(other));
    lane_close(&lane);
}

static void an_event_recorded_again_stands_for_the_later_place(void **state)
{
    struct lane lane;
    (void)state;
    lane_open(&lane);
    cu_stream other = stream_new();
    fake.fakecuda_hold();
    lane_copy(&lane);
    OK(cu.cuStreamWaitEvent(other, lane.event, 0)); /* for the first place, whatever comes */
    lane_copy(&lane);
    fake.fakecuda_step(1);
    OK(cu.cuStreamSynchronize(other));
    assert_int_equal(cu.cuEventQuery(lane.event), CU_NOT_READY);
    fake.fakecuda_go();
    OK(cu.cuEventSynchronize(lane.event));
    OK(cu.cuStreamDestroy_v2(other));
    lane_close(&lane);
}

static void a_stream_waits_for_an_event_of_another_device(void **state)
{
    struct lane lane;
    cu_context  there = NULL;
    cu_stream   other = NULL;
    (void)state;
    lane_open(&lane);
    fake.fakecuda_hold();
    lane_copy(&lane);
    OK(cu.cuDevicePrimaryCtxRetain(&there, 1));
    OK(cu.cuCtxPushCurrent_v2(there));
    OK(cu.cuStreamCreate(&other, CU_STREAM_DOES_NOT_BLOCK));
    assert_int_equal(cu.cuEventRecord(lane.event, other), CU_INVALID_HANDLE); /* recorded it is in its own only */
    OK(cu.cuStreamWaitEvent(other, lane.event, 0));
    assert_int_equal(cu.cuStreamQuery(other), CU_NOT_READY);
    fake.fakecuda_go();
    OK(cu.cuStreamSynchronize(other));
    OK(cu.cuStreamDestroy_v2(other));
    OK(cu.cuCtxPopCurrent_v2(NULL));
    OK(cu.cuDevicePrimaryCtxRelease_v2(1));
    lane_close(&lane); /* waiting there was waiting here */
}

static void a_plain_copy_of_pageable_bytes_arrives_later(void **state)
{
    struct lane    lane;
    unsigned char *pageable = host_pages(MIB);
    (void)state;
    lane_open(&lane);
    number(pageable, MIB, 6);
    fake.fakecuda_hold();
    OK(cu.cuMemcpyHtoD_v2(lane.at, pageable, MIB));
    memset(pageable, 0, MIB); /* it has been taken */
    assert_false(arrived(&lane, 6));
    fake.fakecuda_go();
    OK(cu.cuCtxSynchronize());
    assert_true(arrived(&lane, 6));
    munmap(pageable, MIB);
    lane_close(&lane);
}

static void a_fill_is_not_done_on_return(void **state)
{
    struct lane   lane;
    unsigned char byte = 1;
    (void)state;
    lane_open(&lane);
    fake.fakecuda_hold();
    OK(cu.cuMemsetD8_v2(lane.at, 9, MIB));
    assert_int_equal(fake.fakecuda_peek(lane.at, &byte, 1), 0);
    assert_int_equal(byte, 0);
    fake.fakecuda_go();
    OK(cu.cuCtxSynchronize());
    assert_int_equal(fake.fakecuda_peek(lane.at + MIB - 1, &byte, 1), 0);
    assert_int_equal(byte, 9);
    lane_close(&lane);
}

static void call_the_driver(void *user)
{
    int count;
    *(cu_result *)user = cu.cuDeviceGetCount(&count);
}

static void a_host_function_may_not_call_the_driver(void **state)
{
    struct lane lane;
    cu_result   code = CU_OK;
    int         count;
    (void)state;
    lane_open(&lane);
    OK(cu.cuLaunchHostFunc(lane.stream, call_the_driver, &code));
    OK(cu.cuStreamSynchronize(lane.stream));
    assert_int_equal(code, CU_NOT_PERMITTED);
    OK(cu.cuDeviceGetCount(&count)); /* this thread may */
    lane_close(&lane);
}

/* ------------------------------------------------------------------------------------------------------ violations */

static void memory_is_in_use_until_somebody_has_waited(void **state)
{
    struct lane lane;
    (void)state;
    lane_open(&lane);
    lane_copy(&lane);
    fake.fakecuda_idle(); /* it is done, and nobody knows */
    assert_int_equal(ledger().unobserved, 2);
    lax_begin();
    OK(cu.cuMemUnmap(lane.at, (size_t)2 * MIB));
    assert_one_violation("cuMemUnmap: ");
    lax_begin();
    OK(cu.cuMemHostUnregister(lane.host));
    assert_one_violation("cuMemHostUnregister: ");
    OK(cu.cuEventQuery(lane.event)); /* now it is known */
    assert_int_equal(ledger().unobserved, 0);
    OK(cu.cuMemAddressFree(lane.at, (size_t)2 * MIB));
    lane.at = arena((size_t)2 * MIB);
    OK(cu.cuMemHostRegister_v2(lane.host, lane.bytes, CU_HOST_PORTABLE));
    lane_close(&lane);
}

static void allocations_are_in_use_too(void **state)
{
    struct lane lane;
    cu_ptr      at = 0;
    void       *made = NULL;
    (void)state;
    lane_open(&lane);
    OK(cu.cuMemAlloc_v2(&at, MIB));
    OK(cu.cuMemHostAlloc(&made, MIB, 0));
    memset(made, 1, MIB);
    OK(cu.cuMemcpyHtoDAsync_v2(at, made, MIB, lane.stream));
    fake.fakecuda_idle();
    lax_begin();
    OK(cu.cuMemFree_v2(at));
    assert_one_violation("cuMemFree_v2: ");
    lax_begin();
    OK(cu.cuMemFreeHost(made));
    assert_one_violation("cuMemFreeHost: ");
    lane_close(&lane);
}

static void what_was_given_back_is_known(void **state)
{
    struct lane lane;
    (void)state;
    lane_open(&lane);
    cu_stream stream = stream_new();
    cu_event  event = event_new();
    cu_handle handle = create((size_t)2 * MIB);
    OK(cu.cuStreamDestroy_v2(stream));
    OK(cu.cuEventDestroy_v2(event));
    OK(cu.cuMemRelease(handle));
    lax_begin();
    assert_int_equal(cu.cuStreamSynchronize(stream), CU_INVALID_HANDLE);
    assert_one_violation("cuStreamSynchronize: stream");
    lax_begin();
    assert_int_equal(cu.cuEventQuery(event), CU_INVALID_HANDLE);
    assert_one_violation("cuEventQuery: event");
    lax_begin();
    assert_int_equal(cu.cuMemRelease(handle), CU_INVALID_VALUE);
    assert_one_violation("cuMemRelease: memory");
    cu_event second = event_new(); /* in the place of the first, and not the same */
    lax_begin();
    assert_int_equal(cu.cuEventRecord(event, lane.stream), CU_INVALID_HANDLE);
    assert_one_violation("cuEventRecord: event");
    OK(cu.cuEventDestroy_v2(second));
    assert_int_equal(cu.cuStreamSynchronize((cu_stream)(uintptr_t)0x1234560), CU_INVALID_HANDLE); /* never was one */
    lane_close(&lane);
}

static void a_context_that_is_gone_is_no_context(void **state)
{
    size_t free_bytes, total;
    (void)state;
    cu_context context = enter();
    OK(cu.cuDevicePrimaryCtxRelease_v2(0)); /* and it stays on the stack */
    lax_begin();
    assert_int_equal(cu.cuMemGetInfo_v2(&free_bytes, &total), 709);
    assert_one_violation("cuMemGetInfo_v2: context");
    OK(cu.cuCtxPopCurrent_v2(NULL));
    cu_context again = retain();
    assert_ptr_not_equal(context, again);
    lax_begin();
    assert_int_equal(cu.cuCtxPushCurrent_v2(context), CU_INVALID_CONTEXT);
    assert_one_violation("cuCtxPushCurrent_v2: context");
    OK(cu.cuDevicePrimaryCtxRelease_v2(0));
    assert_nothing_is_held();
}

static void pinned_memory_that_was_unmapped_is_found(void **state)
{
    struct lane lane;
    (void)state;
    lane_open(&lane);
    unsigned char *pages = host_pages(MIB);
    OK(cu.cuMemHostRegister_v2(pages, MIB, 0));
    munmap(pages + 512 * KIB, 64 * KIB);
    lax_begin();
    OK(cu.cuMemHostUnregister(pages));
    assert_one_violation("cuMemHostUnregister: ");
    munmap(pages, MIB);
    lane_close(&lane);
}

/* ---------------------------------------------------------------------------------------------------------- faults */

static void the_nth_call_fails_and_the_next_does_not(void **state)
{
    (void)state;
    cu_allocation prop = property();
    cu_handle     handle = 0;
    uint64_t      before = fake.fakecuda_calls("cuMemCreate");
    assert_int_equal(fake.fakecuda_fault("cuMemCreate 2 error 2"), 0);
    OK(cu.cuMemRelease(create((size_t)2 * MIB)));
    assert_int_equal(cu.cuMemCreate(&handle, (size_t)2 * MIB, &prop, 0), CU_OUT_OF_MEMORY);
    OK(cu.cuMemRelease(create((size_t)2 * MIB)));
    assert_int_equal(fake.fakecuda_calls("cuMemCreate") - before, 3);
    fake.fakecuda_faults_clear();
    assert_int_equal(fake.fakecuda_fault("cuMemCreate 2+ error 999 # all the rest"), 0);
    OK(cu.cuMemRelease(create((size_t)2 * MIB)));
    assert_int_equal(cu.cuMemCreate(&handle, (size_t)2 * MIB, &prop, 0), CU_UNKNOWN);
    assert_int_equal(cu.cuMemCreate(&handle, (size_t)2 * MIB, &prop, 0), CU_UNKNOWN);
    fake.fakecuda_faults_clear();
    assert_nothing_is_held();
}

/* The loop of a fault test: whatever is called fails once, until a run comes through without. */
static void any_call_can_be_the_nth(void **state)
{
    int failed = 0, runs = 0;
    (void)state;
    for (int nth = 1; failed == nth - 1; nth++, runs++) {
        char       line[64];
        cu_context context = NULL;
        int        version, count;
        snprintf(line, sizeof line, "@any %d error 999", nth);
        assert_int_equal(fake.fakecuda_fault(line), 0);
        bool good = cu.cuDriverGetVersion(&version) == CU_OK && cu.cuDeviceGetCount(&count) == CU_OK &&
                    cu.cuDevicePrimaryCtxRetain(&context, 0) == CU_OK;
        fake.fakecuda_faults_clear();
        failed += !good;
        if (context)
            OK(cu.cuDevicePrimaryCtxRelease_v2(0));
    }
    assert_int_equal(runs, 4);
    assert_nothing_is_held();
}

static void one_in_so_many_fails_by_the_seed(void **state)
{
    int failed = 0;
    (void)state;
    assert_int_equal(fake.fakecuda_fault("cuDriverGetVersion %30 error 999"), 0);
    for (int n = 0; n < 200; n++) {
        int version;
        failed += cu.cuDriverGetVersion(&version) == CU_UNKNOWN;
    }
    fake.fakecuda_faults_clear();
    assert_in_range(failed, 30, 90);
}

static void a_plan_that_makes_no_sense_is_refused(void **state)
{
    static const char *const lines[] = {
        "cuNothing 1 error 2", "cuInit 0 error 2",    "cuInit 1 explode",   "cuInit 1 error",
        "cuInit 1 error -3",   "cuInit 1 hang 3",     "cuInit 1",           "@copy 1 error 2",
        "cuInit 1 corrupt",    "cuInit %101 error 2", "cuInit 1 error 2 3", "cuInit x error 2"
    };
    (void)state;
    for (size_t n = 0; n < sizeof lines / sizeof lines[0]; n++) {
        if (fake.fakecuda_fault(lines[n]) == 0)
            fail_msg("'%s' is taken", lines[n]);
    }
    assert_int_equal(fake.fakecuda_fault("  # nothing"), 0);
}

static void a_corrupt_copy_is_one_bit_off(void **state)
{
    struct lane    lane;
    unsigned char *back = host_pages(MIB);
    unsigned       wrong = 0;
    (void)state;
    lane_open(&lane);
    assert_int_equal(fake.fakecuda_fault("@copy 1 corrupt"), 0);
    lane_copy(&lane);
    OK(cu.cuEventSynchronize(lane.event));
    OK(cu.cuMemcpyDtoH_v2(back, lane.at, MIB));
    for (size_t n = 0; n < MIB; n++)
        wrong += (unsigned)__builtin_popcount(back[n] ^ lane.host[n]);
    assert_int_equal(wrong, 1);
    fake.fakecuda_faults_clear();
    munmap(back, MIB);
    lane_close(&lane);
}

static void a_delayed_copy_is_as_late_as_was_said(void **state)
{
    struct lane lane;
    cu_event    first = NULL, last = NULL;
    float       ms = 0;
    (void)state;
    lane_open(&lane);
    OK(cu.cuEventCreate(&first, 0));
    OK(cu.cuEventCreate(&last, 0));
    assert_int_equal(fake.fakecuda_fault("@copy 1 delay 50"), 0);
    OK(cu.cuEventRecord(first, lane.stream));
    lane_copy(&lane);
    OK(cu.cuEventRecord(last, lane.stream));
    OK(cu.cuEventSynchronize(last));
    OK(cu.cuEventElapsedTime(&ms, first, last));
    assert_true(ms >= 50);
    fake.fakecuda_faults_clear();
    OK(cu.cuEventDestroy_v2(first));
    OK(cu.cuEventDestroy_v2(last));
    lane_close(&lane);
}

/* ------------------------------------------------------------------------------------------------------------ many */

enum { THREADS = 4, ROUNDS = 30, BYTES = 64 * KIB };

/* No assertions of cmocka's in a thread: what failed is returned. */
#define GOOD(call)           \
    do {                     \
        if ((call) != CU_OK) \
            return __LINE__; \
    } while (0)

static int one_life(unsigned seed, unsigned char *in, unsigned char *out)
{
    cu_context context;
    cu_stream  first, second;
    cu_event   event;
    cu_ptr     at, copy;
    GOOD(cu.cuDevicePrimaryCtxRetain(&context, (cu_device)(seed % 2)));
    GOOD(cu.cuCtxPushCurrent_v2(context));
    GOOD(cu.cuStreamCreate(&first, CU_STREAM_DOES_NOT_BLOCK));
    GOOD(cu.cuStreamCreate(&second, CU_STREAM_DOES_NOT_BLOCK));
    GOOD(cu.cuEventCreate(&event, CU_EVENT_NO_TIMING));
    GOOD(cu.cuMemAlloc_v2(&at, BYTES));
    GOOD(cu.cuMemAlloc_v2(&copy, BYTES));
    GOOD(cu.cuMemHostRegister_v2(in, BYTES, 0));
    GOOD(cu.cuMemHostRegister_v2(out, BYTES, 0));
    number(in, BYTES, seed);
    GOOD(cu.cuMemcpyHtoDAsync_v2(at, in, BYTES, first));
    GOOD(cu.cuEventRecord(event, first));
    GOOD(cu.cuStreamWaitEvent(second, event, 0));
    GOOD(cu.cuMemcpyDtoDAsync_v2(copy, at, BYTES, second));
    GOOD(cu.cuMemcpyDtoHAsync_v2(out, copy, BYTES, second));
    GOOD(cu.cuStreamSynchronize(second));
    if (memcmp(in, out, BYTES) != 0)
        return __LINE__;
    GOOD(cu.cuMemHostUnregister(in));
    GOOD(cu.cuMemHostUnregister(out));
    GOOD(cu.cuMemFree_v2(at));
    if (seed % 3 != 0) { /* else they go with the context, if it goes */
        GOOD(cu.cuMemFree_v2(copy));
        GOOD(cu.cuEventDestroy_v2(event));
        GOOD(cu.cuStreamDestroy_v2(first));
        GOOD(cu.cuStreamDestroy_v2(second));
    }
    GOOD(cu.cuCtxPopCurrent_v2(NULL));
    GOOD(cu.cuDevicePrimaryCtxRelease_v2((cu_device)(seed % 2)));
    return 0;
}

static void *live_often(void *user)
{
    unsigned       thread = *(unsigned *)user;
    unsigned char *in = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned char *out = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uintptr_t      failed = in == MAP_FAILED || out == MAP_FAILED;
    for (unsigned round = 0; round < ROUNDS && !failed; round++)
        failed = (uintptr_t)one_life(thread * ROUNDS + round, in, out);
    munmap(in, BYTES);
    munmap(out, BYTES);
    return (void *)failed;
}

static void contexts_come_and_go_under_many_threads(void **state)
{
    pthread_t threads[THREADS];
    unsigned  numbers[THREADS];
    (void)state;
    for (unsigned n = 0; n < THREADS; n++) {
        numbers[n] = n;
        assert_int_equal(pthread_create(&threads[n], NULL, live_often, &numbers[n]), 0);
    }
    for (unsigned n = 0; n < THREADS; n++) {
        void *failed_at = NULL;
        pthread_join(threads[n], &failed_at);
        assert_int_equal((uintptr_t)failed_at, 0);
    }
    assert_nothing_is_held();
}

/* As nvcc makes one: magic, version, length of the header, of what is behind it. */
struct fatbin {
    uint32_t magic;
    uint16_t version, header_bytes;
    uint64_t bytes;
    char     inside[64];
};

static void a_fatbin_has_the_kernels_that_it_names(void **state)
{
    struct fatbin named = { 0xBA55ED50u, 1, 16, 64, "infer_norm infer_pool" },
                  other = { 0xBA55ED50u, 1, 16, 64, "mine" };
    cu_module   module = NULL;
    cu_function function = NULL;
    (void)state;
    enter();
    assert_int_equal(cu.cuModuleLoadDataEx(&module, &other, 0, NULL, NULL), CU_NO_BINARY_FOR_GPU);
    OK(cu.cuModuleLoadDataEx(&module, &named, 0, NULL, NULL));
    OK(cu.cuModuleGetFunction(&function, module, "infer_pool"));
    assert_int_equal(cu.cuModuleGetFunction(&function, module, "infer_embed"), CU_NOT_FOUND);
    OK(cu.cuModuleUnload(module));
    leave();
    assert_nothing_is_held();
}

static void a_kernel_s_arguments_are_in_use_until_somebody_has_waited(void **state)
{
    struct fatbin named = { 0xBA55ED50u, 1, 16, 64, "infer_pool" };
    cu_module     module = NULL;
    cu_function   function = NULL;
    uint32_t      tokens = 2, width = 32;
    float         ones[64], out[32];
    struct lane   lane;
    (void)state;
    lane_open(&lane);
    for (size_t n = 0; n < 64; n++)
        ones[n] = 1;
    cu_ptr to = lane.at + sizeof ones;
    void  *parameters[] = { &lane.at, &to, &tokens, &width };
    OK(cu.cuModuleLoadDataEx(&module, &named, 0, NULL, NULL));
    OK(cu.cuModuleGetFunction(&function, module, "infer_pool"));
    OK(cu.cuMemcpyHtoDAsync_v2(lane.at, ones, sizeof ones, lane.stream));
    OK(cu.cuLaunchKernel(function, 1, 1, 1, 128, 1, 1, 0, lane.stream, parameters, NULL));
    OK(cu.cuMemcpyDtoHAsync_v2(out, to, sizeof out, lane.stream));
    OK(cu.cuStreamSynchronize(lane.stream));
    for (size_t n = 0; n < 32; n++)
        assert_true(out[n] > 0.1767f && out[n] < 0.1768f); /* 1 / sqrt(32) */
    OK(cu.cuLaunchKernel(function, 1, 1, 1, 128, 1, 1, 0, lane.stream, parameters, NULL));
    fake.fakecuda_idle(); /* it is done, and nobody knows */
    lax_begin();
    OK(cu.cuMemUnmap(lane.at, (size_t)2 * MIB));
    assert_one_violation("cuMemUnmap: ");
    OK(cu.cuMemAddressFree(lane.at, (size_t)2 * MIB));
    lane.at = arena((size_t)2 * MIB);
    OK(cu.cuModuleUnload(module));
    lane_close(&lane);
}

struct bystander {
    struct lane    *lane;
    cu_capture_mode mode;
    cu_result       said;
};

static void *looks_at_an_event(void *arg)
{
    struct bystander *b = arg;
    cu.cuThreadExchangeStreamCaptureMode(&b->mode);
    cu.cuCtxPushCurrent_v2(b->lane->context);
    b->said = cu.cuEventQuery(b->lane->event);
    return NULL;
}

/* What the capture comes to while another thread, in its mode, looks at an event. */
static cu_result capture_beside(struct lane *lane, cu_capture_mode mode, cu_capture_mode beside, cu_result *said)
{
    struct bystander  b = { .lane = lane, .mode = beside };
    cu_graph          graph = NULL;
    cu_capture_status status = 0;
    pthread_t         thread;

    OK(cu.cuStreamBeginCapture_v2(lane->stream, mode));
    OK(cu.cuStreamIsCapturing(lane->stream, &status));
    assert_int_equal(status, 1);
    assert_int_equal(cu.cuEventRecord(lane->event, lane->stream), CU_NOT_SUPPORTED);
    assert_int_equal(pthread_create(&thread, NULL, looks_at_an_event, &b), 0);
    pthread_join(thread, NULL);
    *said = b.said;
    cu_result code = cu.cuStreamEndCapture(lane->stream, &graph);
    assert_true((code == CU_OK) == (graph != NULL));
    if (graph)
        OK(cu.cuGraphDestroy(graph));
    return code;
}

static void a_global_capture_is_spoiled_by_who_does_not_know(void **state)
{
    struct lane lane;
    cu_result   said;

    (void)state;
    lane_open(&lane);
    assert_int_equal(capture_beside(&lane, CU_CAPTURE_GLOBAL, CU_CAPTURE_GLOBAL, &said), CU_STREAM_CAPTURE_INVALIDATED);
    assert_int_equal(said, CU_STREAM_CAPTURE_UNSUPPORTED);
    assert_int_equal(capture_beside(&lane, CU_CAPTURE_GLOBAL, CU_CAPTURE_RELAXED, &said), CU_OK);
    assert_int_equal(said, CU_OK);
    assert_int_equal(capture_beside(&lane, CU_CAPTURE_RELAXED, CU_CAPTURE_GLOBAL, &said), CU_OK);
    assert_int_equal(said, CU_OK);
    lane_close(&lane);
}

int fake_stream_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_held_copy_is_not_done_and_nor_is_its_event),
        cmocka_unit_test(steps_let_so_many_copies_pass),
        cmocka_unit_test(one_stream_stands_still_and_another_goes_on),
        cmocka_unit_test(an_event_recorded_again_stands_for_the_later_place),
        cmocka_unit_test(a_stream_waits_for_an_event_of_another_device),
        cmocka_unit_test(a_plain_copy_of_pageable_bytes_arrives_later),
        cmocka_unit_test(a_host_function_may_not_call_the_driver),
        cmocka_unit_test(a_fill_is_not_done_on_return),
        cmocka_unit_test(memory_is_in_use_until_somebody_has_waited),
        cmocka_unit_test(allocations_are_in_use_too),
        cmocka_unit_test(what_was_given_back_is_known),
        cmocka_unit_test(a_context_that_is_gone_is_no_context),
        cmocka_unit_test(pinned_memory_that_was_unmapped_is_found),
        cmocka_unit_test(the_nth_call_fails_and_the_next_does_not),
        cmocka_unit_test(any_call_can_be_the_nth),
        cmocka_unit_test(one_in_so_many_fails_by_the_seed),
        cmocka_unit_test(a_plan_that_makes_no_sense_is_refused),
        cmocka_unit_test(a_corrupt_copy_is_one_bit_off),
        cmocka_unit_test(a_fatbin_has_the_kernels_that_it_names),
        cmocka_unit_test(a_kernel_s_arguments_are_in_use_until_somebody_has_waited),
        cmocka_unit_test(contexts_come_and_go_under_many_threads),
        cmocka_unit_test(a_delayed_copy_is_as_late_as_was_said),
        cmocka_unit_test(a_global_capture_is_spoiled_by_who_does_not_know),
    };
    return cmocka_run_group_tests_name("streams of the fake", tests, NULL, NULL);
}
