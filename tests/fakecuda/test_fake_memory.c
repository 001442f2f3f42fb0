/* SPDX-License-Identifier: Apache-2.0 */
/* Memory of the fake: whose it is, what it is full of, who may reach it, how it is counted. */
#include <dlfcn.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../lib/device/nvml_abi.h"
#include "test_fake.h"

enum { UNIT = 2 * MIB };

static void fresh_memory_is_nobody_s_data(void **state)
{
    unsigned char bytes[16];
    cu_ptr        at = 0;
    (void)state;
    enter();
    OK(cu.cuMemAlloc_v2(&at, MIB));
    OK(cu.cuMemcpyDtoH_v2(bytes, at + MIB - sizeof bytes, sizeof bytes));
    for (size_t n = 0; n < sizeof bytes; n++)
        assert_int_equal(bytes[n], 0xA5);
    OK(cu.cuMemFree_v2(at));
    at = arena(UNIT);
    OK(cu.cuMemcpyDtoH_v2(bytes, at, sizeof bytes));
    for (size_t n = 0; n < sizeof bytes; n++)
        assert_int_equal(bytes[n], 0);
    arena_free(at, UNIT);
    leave();
    assert_nothing_is_held();
}

/* To the byte: the real driver would let this pass, and not say so. */
static void an_allocation_ends_where_it_ends(void **state)
{
    unsigned char bytes[128] = { 0 };
    cu_ptr        at = 0;
    (void)state;
    enter();
    OK(cu.cuMemAlloc_v2(&at, 100));
    assert_int_equal(cu.cuMemcpyHtoD_v2(at, bytes, 101), CU_INVALID_VALUE);
    assert_int_equal(cu.cuMemsetD8_v2(at + 99, 0, 2), CU_INVALID_VALUE);
    OK(cu.cuMemcpyHtoD_v2(at, bytes, 100));
    OK(cu.cuCtxSynchronize());
    OK(cu.cuMemFree_v2(at));
    leave();
}

static bool host_faults_at(cu_ptr at)
{
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGSEGV, SIG_DFL); /* not a sanitizer's */
        _exit(*(volatile unsigned char *)(uintptr_t)at == 255 ? 1 : 0);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV;
}

static void a_device_address_faults_on_the_host(void **state)
{
    cu_ptr at = 0;
    (void)state;
    enter();
    OK(cu.cuMemAlloc_v2(&at, MIB));
    assert_true(host_faults_at(at));
    OK(cu.cuMemFree_v2(at));
    at = arena(UNIT);
    assert_true(host_faults_at(at));
    assert_int_equal(cu.cuMemHostRegister_v2((void *)(uintptr_t)at, UNIT, 0), CU_INVALID_VALUE);
    arena_free(at, UNIT);
    leave();
}

static void memory_of_the_host_by_handle_is_the_host_s_to_use(void **state)
{
    cu_allocation prop = property();
    cu_handle     handle = 0;
    cu_ptr        at = 0;
    cu_access     host = { .location = { .type = CU_LOCATION_HOST }, .flags = CU_ACCESS_READ_WRITE };
    (void)state;
    enter();
    prop.location = (cu_location){ .type = CU_LOCATION_HOST_NUMA };
    OK(cu.cuMemCreate(&handle, UNIT, &prop, 0));
    OK(cu.cuMemAddressReserve(&at, UNIT, 0, 0, 0));
    OK(cu.cuMemMap(at, UNIT, 0, handle, 0));
    OK(set_access(at, UNIT, CU_ACCESS_READ_WRITE));
    OK(cu.cuMemSetAccess(at, UNIT, &host, 1));
    OK(cu.cuMemsetD8_v2(at, 3, UNIT));
    OK(cu.cuCtxSynchronize());
    assert_int_equal(*(unsigned char *)(uintptr_t)(at + UNIT - 1), 3);
    OK(cu.cuMemUnmap(at, UNIT));
    assert_true(host_faults_at(at));
    OK(cu.cuMemMap(at, UNIT, 0, handle, 0));
    OK(cu.cuMemUnmap(at, UNIT));
    OK(cu.cuMemRelease(handle));
    OK(cu.cuMemAddressFree(at, UNIT));
    leave();
    cu_ptr device = 0;
    enter();
    device = arena(UNIT);
    assert_int_equal(cu.cuMemSetAccess(device, UNIT, &host, 1), CU_INVALID_VALUE);
    arena_free(device, UNIT);
    leave();
}

static void without_access_there_is_none(void **state)
{
    unsigned char byte = 1;
    cu_ptr        at = 0;
    (void)state;
    enter();
    cu_handle handle = create(UNIT);
    OK(cu.cuMemAddressReserve(&at, UNIT, 0, 0, 0));
    assert_int_equal(cu.cuMemcpyHtoD_v2(at, &byte, 1), CU_INVALID_VALUE); /* only reserved */
    OK(cu.cuMemMap(at, UNIT, 0, handle, 0));
    assert_int_equal(cu.cuMemcpyHtoD_v2(at, &byte, 1), CU_INVALID_VALUE); /* only mapped */
    OK(set_access(at, UNIT, CU_ACCESS_READ));
    OK(cu.cuMemcpyDtoH_v2(&byte, at, 1));
    OK(cu.cuMemUnmap(at, UNIT));
    assert_int_equal(cu.cuMemcpyDtoH_v2(&byte, at, 1), CU_INVALID_VALUE);
    OK(cu.cuMemRelease(handle));
    OK(cu.cuMemAddressFree(at, UNIT));
    leave();
}

static void another_device_reaches_what_it_was_granted(void **state)
{
    uint32_t   word = 0;
    cu_context there = NULL;
    cu_ptr     own = 0;
    int        can = 0;
    (void)state;
    enter();
    cu_ptr at = arena(UNIT);
    OK(cu.cuMemsetD32_v2(at, 77, UNIT / 4));
    OK(cu.cuCtxSynchronize());
    OK(cu.cuDeviceCanAccessPeer(&can, 1, 0));
    assert_int_equal(can, 1);
    OK(cu.cuDevicePrimaryCtxRetain(&there, 1));
    OK(cu.cuCtxPushCurrent_v2(there));
    OK(cu.cuMemAlloc_v2(&own, UNIT));
    assert_int_equal(cu.cuMemcpyDtoD_v2(own, at, UNIT), CU_INVALID_VALUE);
    cu_access both[2] = { { .location = { .type = CU_LOCATION_DEVICE, .id = 0 }, .flags = CU_ACCESS_READ_WRITE },
                          { .location = { .type = CU_LOCATION_DEVICE, .id = 1 }, .flags = CU_ACCESS_READ } };
    OK(cu.cuMemSetAccess(at, UNIT, both, 2));
    OK(cu.cuMemcpyDtoD_v2(own, at, UNIT));
    OK(cu.cuMemcpyDtoH_v2(&word, own + UNIT - 4, 4));
    assert_int_equal(word, 77);
    OK(cu.cuMemFree_v2(own));
    OK(cu.cuCtxPopCurrent_v2(NULL));
    OK(cu.cuDevicePrimaryCtxRelease_v2(1));
    arena_free(at, UNIT);
    leave();
    assert_nothing_is_held();
}

static void what_belongs_to_a_context_goes_with_it(void **state)
{
    cu_ptr at = 0;
    void  *made = NULL;
    (void)state;
    enter();
    unsigned char *host = host_pages(MIB);
    stream_new();
    event_new();
    cu_ptr kept = arena(UNIT);
    OK(cu.cuMemAlloc_v2(&at, MIB));
    OK(cu.cuMemHostAlloc(&made, MIB, 0));
    OK(cu.cuMemHostRegister_v2(host, MIB, CU_HOST_PORTABLE));
    leave();
    struct fakecuda_ledger held = ledger();
    assert_int_equal(held.contexts + held.streams + held.events + held.allocations + held.pins, 0);
    assert_int_equal(held.host_allocations, 0);
    assert_int_equal(held.mappings, 1);
    assert_int_equal(held.reservations, 1);
    enter();
    OK(cu.cuMemHostRegister_v2(host, MIB, CU_HOST_PORTABLE)); /* the pin is gone */
    OK(cu.cuMemHostUnregister(host));
    arena_free(kept, UNIT);
    leave();
    munmap(host, MIB);
    assert_nothing_is_held();
}

static void a_pin_counts_for_its_context_unless_it_is_portable(void **state)
{
    cu_context there = NULL;
    cu_stream  other = NULL;
    cu_ptr     at = 0;
    (void)state;
    enter();
    unsigned char *host = host_pages(MIB);
    memset(host, 5, MIB);
    OK(cu.cuMemHostRegister_v2(host, MIB, 0));
    OK(cu.cuDevicePrimaryCtxRetain(&there, 1));
    OK(cu.cuCtxPushCurrent_v2(there));
    OK(cu.cuStreamCreate(&other, CU_STREAM_DOES_NOT_BLOCK));
    OK(cu.cuMemAlloc_v2(&at, MIB));
    assert_int_equal(cu.cuMemHostUnregister(host), CU_HOST_MEMORY_NOT_REGISTERED);
    fake.fakecuda_hold();
    OK(cu.cuMemcpyHtoDAsync_v2(at, host, MIB, other)); /* as pageable: taken in the call */
    memset(host, 6, MIB);
    fake.fakecuda_go();
    unsigned char byte = 0;
    OK(cu.cuStreamSynchronize(other));
    OK(cu.cuMemcpyDtoH_v2(&byte, at, 1));
    assert_int_equal(byte, 5);
    OK(cu.cuMemFree_v2(at));
    OK(cu.cuStreamDestroy_v2(other));
    OK(cu.cuCtxPopCurrent_v2(NULL));
    OK(cu.cuDevicePrimaryCtxRelease_v2(1));
    OK(cu.cuMemHostUnregister(host));
    munmap(host, MIB);
    leave();
}

static void half_pinned_is_no_way_to_copy(void **state)
{
    struct lane lane;
    (void)state;
    lane_open(&lane);
    unsigned char *pages = host_pages(64 * KIB);
    OK(cu.cuMemHostRegister_v2(pages, 32 * KIB, 0));
    assert_int_equal(cu.cuMemcpyHtoDAsync_v2(lane.at, pages + 16 * KIB, 32 * KIB, lane.stream), CU_INVALID_VALUE);
    assert_int_equal(cu.cuMemHostRegister_v2(pages + 16 * KIB, 32 * KIB, 0), CU_HOST_MEMORY_ALREADY_REGISTERED);
    OK(cu.cuMemHostUnregister(pages));
    munmap(pages, 64 * KIB);
    lane_close(&lane);
}

static void a_copy_does_not_go_on_into_the_next_pin(void **state)
{
    struct lane lane;
    (void)state;
    lane_open(&lane);
    unsigned char *pages = host_pages(64 * KIB);
    cu_ptr         seam = (cu_ptr)(uintptr_t)pages + 32 * KIB;
    OK(cu.cuMemHostRegister_v2(pages, 32 * KIB, 0));
    OK(cu.cuMemHostRegister_v2(pages + 32 * KIB, 32 * KIB, 0));
    assert_int_equal(cu.cuMemcpyHtoDAsync_v2(lane.at, pages + 16 * KIB, 32 * KIB, lane.stream), CU_INVALID_VALUE);
    assert_int_equal(cu.cuMemcpyDtoDAsync_v2(lane.at, seam - KIB, 2 * KIB, lane.stream), CU_INVALID_VALUE);
    OK(cu.cuMemcpyDtoDAsync_v2(lane.at, seam - KIB, KIB, lane.stream)); /* addresses are one space */
    OK(cu.cuStreamSynchronize(lane.stream));
    OK(cu.cuMemHostUnregister(pages));
    OK(cu.cuMemHostUnregister(pages + 32 * KIB));
    munmap(pages, 64 * KIB);
    lane_close(&lane);
}

static void memory_that_may_only_be_read_is_pinned_as_such(void **state)
{
    struct lane lane;
    (void)state;
    lane_open(&lane);
    unsigned char *pages = host_pages(64 * KIB);
    mprotect(pages, 64 * KIB, PROT_READ);
    assert_int_equal(cu.cuMemHostRegister_v2(pages, 64 * KIB, 0), CU_INVALID_VALUE);
    OK(cu.cuMemHostRegister_v2(pages, 64 * KIB, CU_HOST_READ_ONLY));
    OK(cu.cuMemcpyHtoDAsync_v2(lane.at, pages, 64 * KIB, lane.stream));
    assert_int_equal(cu.cuMemcpyDtoHAsync_v2(pages, lane.at, 64 * KIB, lane.stream), CU_INVALID_VALUE);
    OK(cu.cuStreamSynchronize(lane.stream));
    OK(cu.cuMemHostUnregister(pages));
    munmap(pages, 64 * KIB);
    lane_close(&lane);
}

/* ---------------------------------------------------------------------------------------------------------- counts */

static void a_context_and_what_is_made_are_counted_to_the_byte(void **state)
{
    size_t free_bytes, total;
    (void)state;
    assert_int_equal(fake.fakecuda_used(0), 0);
    enter();
    assert_int_equal(fake.fakecuda_used(0), (size_t)64 * MIB);
    assert_int_equal(fake.fakecuda_used(1), 0);
    cu_handle handle = create((size_t)6 * MIB);
    OK(cu.cuMemGetInfo_v2(&free_bytes, &total));
    assert_int_equal(total - free_bytes, (size_t)70 * MIB);
    OK(cu.cuMemRelease(handle));
    leave();
    assert_int_equal(fake.fakecuda_used(0), 0);
}

static void a_mapping_or_a_descriptor_keeps_the_memory(void **state)
{
    cu_allocation prop = property();
    cu_handle     handle = 0;
    cu_ptr        at = 0;
    int           fd = -1;
    (void)state;
    prop.handle_types = CU_HANDLE_FD;
    OK(cu.cuMemCreate(&handle, UNIT, &prop, 0));
    OK(cu.cuMemAddressReserve(&at, UNIT, 0, 0, 0));
    OK(cu.cuMemMap(at, UNIT, 0, handle, 0));
    OK(cu.cuMemExportToShareableHandle(&fd, handle, CU_HANDLE_FD, 0));
    OK(cu.cuMemRelease(handle));
    assert_int_equal(fake.fakecuda_used(0), UNIT);
    OK(cu.cuMemUnmap(at, UNIT));
    assert_int_equal(fake.fakecuda_used(0), UNIT); /* the descriptor */
    close(fd);
    assert_int_equal(fake.fakecuda_used(0), 0);
    OK(cu.cuMemAddressFree(at, UNIT));
    assert_nothing_is_held();
}

static void a_handle_of_an_address_is_a_reference_more(void **state)
{
    cu_handle again = 0;
    cu_ptr    at = 0;
    (void)state;
    cu_handle handle = create(UNIT);
    OK(cu.cuMemAddressReserve(&at, UNIT, 0, 0, 0));
    OK(cu.cuMemMap(at, UNIT, 0, handle, 0));
    OK(cu.cuMemRetainAllocationHandle(&again, (void *)(uintptr_t)(at + MIB)));
    assert_int_equal(again, handle);
    assert_int_equal(ledger().handles, 2);
    OK(cu.cuMemRelease(handle));
    OK(cu.cuMemUnmap(at, UNIT));
    OK(cu.cuMemRelease(again));
    OK(cu.cuMemAddressFree(at, UNIT));
    assert_nothing_is_held();
}

static void find_in(void *nvml, void *to, const char *name)
{
    void *found = dlsym(nvml, name);
    assert_non_null(found);
    memcpy(to, &found, sizeof found);
}

static void nvml_sees_the_same(void **state)
{
    int (*init)(void), (*shutdown)(void), (*by_id)(const char *, nvml_device *),
        (*info)(nvml_device, struct nvml_memory *);
    nvml_device        device = NULL;
    struct nvml_memory memory;
    char               id[32];
    (void)state;
    void *nvml = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    assert_non_null(nvml);
    find_in(nvml, &init, "nvmlInit_v2");
    find_in(nvml, &shutdown, "nvmlShutdown");
    find_in(nvml, &by_id, "nvmlDeviceGetHandleByPciBusId_v2");
    find_in(nvml, &info, "nvmlDeviceGetMemoryInfo");
    OK(cu.cuDeviceGetPCIBusId(id, sizeof id, 1));
    assert_int_not_equal(by_id(id, &device), 0); /* not before its init */
    assert_int_equal(init(), 0);
    assert_int_equal(by_id(id, &device), 0);
    cu_context context = NULL;
    OK(cu.cuDevicePrimaryCtxRetain(&context, 1));
    assert_int_equal(info(device, &memory), 0);
    assert_int_equal(memory.used, (size_t)64 * MIB);
    assert_int_equal(memory.total, (size_t)1024 * MIB);
    assert_int_equal(memory.free, (size_t)960 * MIB);
    OK(cu.cuDevicePrimaryCtxRelease_v2(1));
    assert_int_equal(info(device, &memory), 0);
    assert_int_equal(memory.used, 0);
    assert_int_equal(shutdown(), 0);
}

int fake_memory_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fresh_memory_is_nobody_s_data),
        cmocka_unit_test(an_allocation_ends_where_it_ends),
        cmocka_unit_test(a_copy_does_not_go_on_into_the_next_pin),
        cmocka_unit_test(a_device_address_faults_on_the_host),
        cmocka_unit_test(memory_of_the_host_by_handle_is_the_host_s_to_use),
        cmocka_unit_test(without_access_there_is_none),
        cmocka_unit_test(another_device_reaches_what_it_was_granted),
        cmocka_unit_test(what_belongs_to_a_context_goes_with_it),
        cmocka_unit_test(a_pin_counts_for_its_context_unless_it_is_portable),
        cmocka_unit_test(half_pinned_is_no_way_to_copy),
        cmocka_unit_test(memory_that_may_only_be_read_is_pinned_as_such),
        cmocka_unit_test(a_context_and_what_is_made_are_counted_to_the_byte),
        cmocka_unit_test(a_mapping_or_a_descriptor_keeps_the_memory),
        cmocka_unit_test(a_handle_of_an_address_is_a_reference_more),
        cmocka_unit_test(nvml_sees_the_same),
    };
    return cmocka_run_group_tests_name("memory of the fake", tests, NULL, NULL);
}
