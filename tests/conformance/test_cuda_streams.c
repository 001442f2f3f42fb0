/* SPDX-License-Identifier: Apache-2.0 */
/* Streams and events of a driver. See test_cuda_driver.c. */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cuda_fixture.h"

/* ---------------------------------------------------------------------------------------------- streams and events */

static void an_event_never_recorded_is_done(void **state)
{
    (void)state;
    enter();
    cu_event event = event_new();
    OK(cu.cuEventQuery(event));
    OK(cu.cuEventSynchronize(event));
    OK(cu.cuEventDestroy_v2(event));
    leave();
}

/* The ring of the loader: slots that are filled again once the event behind their copy is done. */
static void a_slot_is_free_when_the_event_behind_its_copy_is_done(void **state)
{
    enum { SLOTS = 3, ROUNDS = 24, SLOT = 256 * KIB };
    cu_ptr   at = 0;
    cu_event events[SLOTS];
    (void)state;
    enter();
    cu_stream      stream = stream_new();
    unsigned char *ring = host_pages(SLOTS * SLOT), *want = host_pages(SLOT), *back = host_pages(SLOT);
    OK(cu.cuMemHostRegister_v2(ring, SLOTS * SLOT, CU_HOST_PORTABLE));
    OK(cu.cuMemAlloc_v2(&at, ROUNDS * SLOT));
    for (unsigned n = 0; n < SLOTS; n++)
        events[n] = event_new();
    for (unsigned n = 0; n < ROUNDS; n++) {
        unsigned char *slot = ring + n % SLOTS * SLOT;
        OK(cu.cuEventSynchronize(events[n % SLOTS]));
        number(slot, SLOT, n);
        OK(cu.cuMemcpyHtoDAsync_v2(at + n * SLOT, slot, SLOT, stream));
        OK(cu.cuEventRecord(events[n % SLOTS], stream));
    }
    OK(cu.cuStreamSynchronize(stream));
    for (unsigned n = 0; n < ROUNDS; n++) {
        number(want, SLOT, n);
        OK(cu.cuMemcpyDtoH_v2(back, at + n * SLOT, SLOT));
        assert_memory_equal(back, want, SLOT);
    }
    for (unsigned n = 0; n < SLOTS; n++)
        OK(cu.cuEventDestroy_v2(events[n]));
    OK(cu.cuMemHostUnregister(ring));
    OK(cu.cuMemFree_v2(at));
    OK(cu.cuStreamDestroy_v2(stream));
    munmap(ring, SLOTS * SLOT);
    munmap(want, SLOT);
    munmap(back, SLOT);
    leave();
}

static void a_stream_waits_for_an_event_of_another(void **state)
{
    enum { BYTES = 4 * MIB };
    cu_ptr at = 0, copy = 0;
    (void)state;
    enter();
    cu_stream      first = stream_new(), second = stream_new();
    cu_event       event = event_new();
    unsigned char *host = host_pages(BYTES), *back = host_pages(BYTES);
    OK(cu.cuMemHostRegister_v2(host, BYTES, CU_HOST_PORTABLE));
    OK(cu.cuMemHostRegister_v2(back, BYTES, CU_HOST_PORTABLE));
    OK(cu.cuMemAlloc_v2(&at, BYTES));
    OK(cu.cuMemAlloc_v2(&copy, BYTES));
    for (unsigned round = 0; round < 8; round++) {
        number(host, BYTES, round);
        OK(cu.cuMemcpyHtoDAsync_v2(at, host, BYTES, first));
        OK(cu.cuEventRecord(event, first));
        OK(cu.cuStreamWaitEvent(second, event, 0));
        OK(cu.cuMemcpyDtoDAsync_v2(copy, at, BYTES, second));
        OK(cu.cuMemcpyDtoHAsync_v2(back, copy, BYTES, second));
        OK(cu.cuStreamSynchronize(second)); /* and with it what it waited for */
        assert_memory_equal(host, back, BYTES);
    }
    OK(cu.cuStreamQuery(first));
    OK(cu.cuMemHostUnregister(host));
    OK(cu.cuMemHostUnregister(back));
    OK(cu.cuMemFree_v2(at));
    OK(cu.cuMemFree_v2(copy));
    OK(cu.cuEventDestroy_v2(event));
    OK(cu.cuStreamDestroy_v2(first));
    OK(cu.cuStreamDestroy_v2(second));
    munmap(host, BYTES);
    munmap(back, BYTES);
    leave();
}

static void work_of_a_destroyed_stream_is_done(void **state)
{
    enum { BYTES = 4 * MIB };
    cu_ptr at = 0;
    (void)state;
    enter();
    cu_stream      stream = stream_new();
    cu_event       event = event_new();
    unsigned char *host = host_pages(BYTES), *back = host_pages(BYTES);
    number(host, BYTES, 9);
    OK(cu.cuMemHostRegister_v2(host, BYTES, CU_HOST_PORTABLE));
    OK(cu.cuMemAlloc_v2(&at, BYTES));
    OK(cu.cuMemcpyHtoDAsync_v2(at, host, BYTES, stream));
    OK(cu.cuEventRecord(event, stream));
    OK(cu.cuStreamDestroy_v2(stream));
    OK(cu.cuEventSynchronize(event));
    OK(cu.cuMemcpyDtoH_v2(back, at, BYTES));
    assert_memory_equal(host, back, BYTES);
    OK(cu.cuEventDestroy_v2(event));
    OK(cu.cuMemHostUnregister(host));
    OK(cu.cuMemFree_v2(at));
    munmap(host, BYTES);
    munmap(back, BYTES);
    leave();
}

static void the_default_stream_waits_for_those_that_block_on_it(void **state)
{
    enum { BYTES = 4 * MIB };
    cu_ptr    at = 0;
    cu_stream stream = NULL;
    (void)state;
    enter();
    unsigned char *host = host_pages(BYTES), *back = host_pages(BYTES);
    number(host, BYTES, 3);
    OK(cu.cuStreamCreate(&stream, 0));
    OK(cu.cuMemHostRegister_v2(host, BYTES, CU_HOST_PORTABLE));
    OK(cu.cuMemAlloc_v2(&at, BYTES));
    OK(cu.cuMemcpyHtoDAsync_v2(at, host, BYTES, stream));
    OK(cu.cuMemcpyDtoH_v2(back, at, BYTES)); /* in the default stream */
    assert_memory_equal(host, back, BYTES);
    OK(cu.cuMemHostUnregister(host));
    OK(cu.cuMemFree_v2(at));
    OK(cu.cuStreamDestroy_v2(stream));
    munmap(host, BYTES);
    munmap(back, BYTES);
    leave();
}

static void pageable_bytes_are_taken_in_the_call(void **state)
{
    enum { BYTES = MIB };
    cu_ptr at = 0;
    (void)state;
    enter();
    cu_stream      stream = stream_new();
    unsigned char *host = host_pages(BYTES), *want = host_pages(BYTES), *back = host_pages(BYTES);
    number(host, BYTES, 4);
    number(want, BYTES, 4);
    OK(cu.cuMemAlloc_v2(&at, BYTES));
    OK(cu.cuMemcpyHtoDAsync_v2(at, host, BYTES, stream));
    memset(host, 0, BYTES);
    OK(cu.cuMemcpyDtoHAsync_v2(back, at, BYTES, stream)); /* pageable too: done on return */
    assert_memory_equal(back, want, BYTES);
    OK(cu.cuStreamSynchronize(stream));
    OK(cu.cuMemFree_v2(at));
    OK(cu.cuStreamDestroy_v2(stream));
    munmap(host, BYTES);
    munmap(want, BYTES);
    munmap(back, BYTES);
    leave();
}

static void only_whole_flags_and_real_streams(void **state)
{
    cu_stream stream = NULL;
    (void)state;
    enter();
    assert_int_equal(cu.cuStreamCreate(&stream, 0x40), CU_INVALID_VALUE);
    assert_int_equal(cu.cuStreamCreate(NULL, 0), CU_INVALID_VALUE);
    OK(cu.cuStreamQuery(NULL));
    OK(cu.cuStreamSynchronize(NULL));
    leave();
}

static void ran_on_the_driver_s_thread(void *user)
{
    int      count = 0;
    int64_t *said = user;
    said[0] = (int64_t)gettid();
    said[1] = cu.cuDeviceGetCount(&count); /* no call of the driver's in here */
}

static void a_host_function_runs_in_stream_order_on_another_thread(void **state)
{
    int64_t said[2] = { 0, 0 };
    (void)state;
    enter();
    cu_stream stream = stream_new();
    OK(cu.cuLaunchHostFunc(stream, ran_on_the_driver_s_thread, said));
    OK(cu.cuStreamSynchronize(stream));
    assert_int_not_equal(said[0], 0);
    assert_int_not_equal(said[0], gettid());
    assert_true(said[1] == CU_NOT_PERMITTED || said[1] == CU_OK); /* "may be an error, not required" */
    OK(cu.cuStreamDestroy_v2(stream));
    leave();
}

static void time_between_events(void **state)
{
    cu_event first = NULL, last = NULL;
    float    ms = -1;
    (void)state;
    enter();
    cu_stream stream = stream_new();
    OK(cu.cuEventCreate(&first, CU_EVENT_SLEEPS));
    OK(cu.cuEventCreate(&last, CU_EVENT_SLEEPS));
    assert_int_equal(cu.cuEventElapsedTime(&ms, first, last), CU_INVALID_HANDLE); /* never recorded */
    OK(cu.cuEventRecord(first, stream));
    OK(cu.cuEventRecord(last, stream));
    OK(cu.cuEventSynchronize(last));
    OK(cu.cuEventElapsedTime(&ms, first, last));
    assert_true(ms >= 0);
    OK(cu.cuEventDestroy_v2(first));
    OK(cu.cuEventDestroy_v2(last));
    OK(cu.cuStreamDestroy_v2(stream));
    leave();
}

int cuda_stream_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_event_never_recorded_is_done),
        cmocka_unit_test(a_slot_is_free_when_the_event_behind_its_copy_is_done),
        cmocka_unit_test(a_stream_waits_for_an_event_of_another),
        cmocka_unit_test(work_of_a_destroyed_stream_is_done),
        cmocka_unit_test(the_default_stream_waits_for_those_that_block_on_it),
        cmocka_unit_test(pageable_bytes_are_taken_in_the_call),
        cmocka_unit_test(only_whole_flags_and_real_streams),
        cmocka_unit_test(a_host_function_runs_in_stream_order_on_another_thread),
        cmocka_unit_test(time_between_events),
    };
    return cmocka_run_group_tests_name("streams of a driver", tests, NULL, NULL);
}
