/* SPDX-License-Identifier: Apache-2.0 */
/* Memory of a driver: by handle, of the context, and the host's that it knows. See test_cuda_driver.c. */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cuda_fixture.h"

/* ------------------------------------------------------------------------------------------------ memory by handle */

static void a_handle_needs_whole_granules(void **state)
{
    cu_allocation prop = property();
    cu_handle     handle = 0;
    (void)state;
    assert_int_equal(cu.cuMemCreate(&handle, granularity() / 2, &prop, 0), CU_INVALID_VALUE);
    assert_int_equal(cu.cuMemCreate(&handle, 0, &prop, 0), CU_INVALID_VALUE);
    assert_int_equal(cu.cuMemCreate(&handle, granularity(), &prop, 1), CU_INVALID_VALUE);
    prop.location.id = 1000;
    assert_int_not_equal(cu.cuMemCreate(&handle, granularity(), &prop, 0), CU_OK);
}

static void memory_by_handle_needs_no_context(void **state)
{
    (void)state;
    assert_int_equal(is_active(), 0);
    cu_handle handle = create(granularity());
    assert_int_equal(is_active(), 0);
    OK(cu.cuMemRelease(handle));
}

static void mapping_needs_offset_zero_and_a_free_reservation(void **state)
{
    size_t unit = granularity();
    cu_ptr at = 0;
    (void)state;
    enter();
    cu_handle handle = create(2 * unit), other = create(unit);
    OK(cu.cuMemAddressReserve(&at, 2 * unit, 0, 0, 0));
    assert_int_not_equal(cu.cuMemMap(at, unit, unit, handle, 0), CU_OK);
    assert_int_not_equal(cu.cuMemMap(at, 2 * unit, unit, handle, 0), CU_OK);
    assert_int_not_equal(cu.cuMemMap(at, 4 * unit, 0, handle, 0), CU_OK);
    OK(cu.cuMemMap(at, unit, 0, other, 0));
    assert_int_not_equal(cu.cuMemMap(at, 2 * unit, 0, handle, 0), CU_OK); /* a part of it is taken */
    OK(cu.cuMemUnmap(at, unit));
    OK(cu.cuMemMap(at, 2 * unit, 0, handle, 0));
    OK(cu.cuMemUnmap(at, 2 * unit));
    OK(cu.cuMemRelease(handle));
    OK(cu.cuMemRelease(other));
    OK(cu.cuMemAddressFree(at, 2 * unit));
    leave();
}

static void a_mapping_is_not_unmapped_in_part(void **state)
{
    size_t unit = granularity();
    (void)state;
    enter();
    cu_ptr at = arena(2 * unit);
    assert_int_not_equal(cu.cuMemUnmap(at, unit), CU_OK);
    assert_int_not_equal(cu.cuMemAddressFree(at, 2 * unit), CU_OK); /* nor freed with a mapping in it */
    arena_free(at, 2 * unit);
    leave();
}

static void access_is_set_over_many_handles_and_unset_by_mapping_anew(void **state)
{
    size_t             unit = granularity();
    cu_ptr             at = 0;
    cu_handle          handles[3];
    unsigned long long flags = 99;
    cu_location        here = { .type = CU_LOCATION_DEVICE, .id = 0 };
    (void)state;
    enter();
    OK(cu.cuMemAddressReserve(&at, 3 * unit, 0, 0, 0));
    for (unsigned n = 0; n < 3; n++) {
        handles[n] = create(unit);
        OK(cu.cuMemMap(at + n * unit, unit, 0, handles[n], 0));
    }
    OK(cu.cuMemGetAccess(&flags, &here, at));
    assert_int_equal(flags, 0);
    OK(set_access(at, 3 * unit, CU_ACCESS_READ_WRITE));
    OK(cu.cuMemGetAccess(&flags, &here, at + 2 * unit));
    assert_int_equal(flags, CU_ACCESS_READ_WRITE);
    OK(cu.cuMemUnmap(at + unit, unit));
    assert_int_not_equal(set_access(at, 3 * unit, CU_ACCESS_READ_WRITE), CU_OK); /* there is a hole */
    OK(cu.cuMemMap(at + unit, unit, 0, handles[1], 0));
    OK(cu.cuMemGetAccess(&flags, &here, at + unit));
    assert_int_equal(flags, 0);
    for (unsigned n = 0; n < 3; n++) {
        OK(cu.cuMemUnmap(at + n * unit, unit));
        OK(cu.cuMemRelease(handles[n]));
    }
    OK(cu.cuMemAddressFree(at, 3 * unit));
    leave();
}

static void copies_go_over_the_seams_of_an_arena(void **state)
{
    size_t    unit = granularity(), bytes = 2 * unit;
    cu_ptr    at = 0;
    cu_handle handles[2];
    (void)state;
    enter();
    OK(cu.cuMemAddressReserve(&at, bytes, 0, 0, 0));
    for (unsigned n = 0; n < 2; n++) {
        handles[n] = create(unit);
        OK(cu.cuMemMap(at + n * unit, unit, 0, handles[n], 0));
    }
    OK(set_access(at, bytes, CU_ACCESS_READ_WRITE));
    unsigned char *host = host_pages(bytes), *back = host_pages(bytes);
    number(host, bytes, 5);
    OK(cu.cuMemcpyHtoD_v2(at, host, bytes));
    OK(cu.cuMemcpyDtoH_v2(back, at, bytes));
    assert_memory_equal(host, back, bytes);
    OK(cu.cuCtxSynchronize());
    munmap(host, bytes);
    munmap(back, bytes);
    for (unsigned n = 0; n < 2; n++) {
        OK(cu.cuMemUnmap(at + n * unit, unit));
        OK(cu.cuMemRelease(handles[n]));
    }
    OK(cu.cuMemAddressFree(at, bytes));
    leave();
}

/* The bytes are there in the context's next life, at the same address. */
static void memory_by_handle_outlives_the_context(void **state)
{
    size_t         unit = granularity();
    unsigned char *host = host_pages(unit), *back = host_pages(unit);
    (void)state;
    number(host, unit, 1);
    enter();
    cu_ptr at = arena(unit);
    OK(cu.cuMemcpyHtoD_v2(at, host, unit));
    OK(cu.cuCtxSynchronize());
    leave();
    assert_int_equal(is_active(), 0);
    enter();
    OK(set_access(at, unit, CU_ACCESS_READ_WRITE));
    OK(cu.cuMemcpyDtoH_v2(back, at, unit));
    assert_memory_equal(host, back, unit);
    arena_free(at, unit);
    leave();
    munmap(host, unit);
    munmap(back, unit);
}

static void a_descriptor_holds_the_memory_and_brings_it_back(void **state)
{
    size_t        unit = granularity();
    cu_allocation prop = property();
    cu_handle     handle = 0, again = 0;
    cu_ptr        at = 0;
    int           fd = -1;
    uint32_t      word = 0;
    (void)state;
    enter();
    prop.handle_types = CU_HANDLE_FD;
    OK(cu.cuMemCreate(&handle, unit, &prop, 0));
    OK(cu.cuMemAddressReserve(&at, unit, 0, 0, 0));
    OK(cu.cuMemMap(at, unit, 0, handle, 0));
    OK(set_access(at, unit, CU_ACCESS_READ_WRITE));
    OK(cu.cuMemsetD32_v2(at, 0xC0FFEE, unit / 4));
    OK(cu.cuCtxSynchronize());
    OK(cu.cuMemExportToShareableHandle(&fd, handle, CU_HANDLE_FD, 0));
    assert_true(fd >= 0);
    OK(cu.cuMemUnmap(at, unit));
    OK(cu.cuMemRelease(handle));
    OK(cu.cuMemImportFromShareableHandle(&again, (void *)(intptr_t)fd, CU_HANDLE_FD));
    close(fd); /* stays ours */
    OK(cu.cuMemMap(at, unit, 0, again, 0));
    OK(set_access(at, unit, CU_ACCESS_READ_WRITE));
    OK(cu.cuMemcpyDtoH_v2(&word, at + unit - 4, sizeof word));
    assert_int_equal(word, 0xC0FFEE);
    OK(cu.cuMemUnmap(at, unit));
    OK(cu.cuMemRelease(again));
    OK(cu.cuMemAddressFree(at, unit));
    leave();
}

static void only_what_was_made_for_it_is_exported(void **state)
{
    int fd = -1;
    (void)state;
    cu_handle handle = create(granularity());
    assert_int_not_equal(cu.cuMemExportToShareableHandle(&fd, handle, CU_HANDLE_FD, 0), CU_OK);
    assert_int_equal(fd, -1);
    OK(cu.cuMemRelease(handle));
}

static void more_than_the_device_has_is_out_of_memory(void **state)
{
    size_t        free_bytes, total, unit = granularity();
    cu_allocation prop = property();
    cu_handle     handle = 0;
    cu_ptr        at = 0;
    (void)state;
    enter();
    OK(cu.cuMemGetInfo_v2(&free_bytes, &total));
    assert_int_equal(cu.cuMemCreate(&handle, (total / unit + 1) * unit, &prop, 0), CU_OUT_OF_MEMORY);
    assert_int_equal(cu.cuMemAlloc_v2(&at, total + unit), CU_OUT_OF_MEMORY);
    OK(cu.cuMemAlloc_v2(&at, MIB)); /* and that is no lasting error */
    OK(cu.cuMemFree_v2(at));
    leave();
}

/* ------------------------------------------------------------------------------------------- memory of the context */

static void nothing_is_freed_well_and_a_stranger_is_not(void **state)
{
    cu_ptr at = 0;
    (void)state;
    enter();
    OK(cu.cuMemFree_v2(0));
    OK(cu.cuMemFreeHost(NULL));
    assert_int_equal(cu.cuMemHostUnregister(NULL), CU_INVALID_VALUE);
    OK(cu.cuMemAlloc_v2(&at, MIB));
    assert_int_equal(cu.cuMemFree_v2(at + 512), CU_INVALID_VALUE);
    assert_int_equal(cu.cuMemAlloc_v2(&at, 0), CU_INVALID_VALUE);
    OK(cu.cuMemFree_v2(at));
    leave();
}

/* Far over its end: the real driver rounds an allocation up. */
static void a_copy_over_the_end_of_an_allocation_is_refused(void **state)
{
    cu_ptr at = 0;
    (void)state;
    enter();
    unsigned char *host = host_pages((size_t)64 * MIB);
    OK(cu.cuMemAlloc_v2(&at, MIB));
    assert_int_equal(cu.cuMemcpyHtoD_v2(at, host, (size_t)64 * MIB), CU_INVALID_VALUE);
    OK(cu.cuMemcpyHtoD_v2(at, host, MIB));
    OK(cu.cuCtxSynchronize());
    OK(cu.cuMemFree_v2(at));
    munmap(host, (size_t)64 * MIB);
    leave();
}

static void fills_arrive(void **state)
{
    cu_ptr        at = 0;
    unsigned char back[64];
    (void)state;
    enter();
    cu_stream stream = stream_new();
    OK(cu.cuMemAlloc_v2(&at, 64));
    OK(cu.cuMemsetD8Async(at, 7, 64, stream));
    OK(cu.cuMemsetD32Async(at + 16, 0x01020304, 4, stream));
    OK(cu.cuStreamSynchronize(stream));
    OK(cu.cuMemcpyDtoH_v2(back, at, 64));
    assert_int_equal(back[15], 7);
    assert_int_equal(back[16], 4);
    assert_int_equal(back[31], 1);
    assert_int_equal(back[32], 7);
    OK(cu.cuStreamDestroy_v2(stream));
    OK(cu.cuMemFree_v2(at));
    leave();
}

/* ------------------------------------------------------------------------------------------------------------ pins */

static void a_range_is_pinned_once(void **state)
{
    (void)state;
    enter();
    unsigned char *host = host_pages(64 * KIB);
    OK(cu.cuMemHostRegister_v2(host, 64 * KIB, CU_HOST_PORTABLE));
    assert_int_equal(cu.cuMemHostRegister_v2(host, 64 * KIB, CU_HOST_PORTABLE), CU_HOST_MEMORY_ALREADY_REGISTERED);
    assert_int_equal(cu.cuMemHostRegister_v2(host + 32 * KIB, 4 * KIB, CU_HOST_PORTABLE),
                     CU_HOST_MEMORY_ALREADY_REGISTERED);
    OK(cu.cuMemHostUnregister(host));
    assert_int_equal(cu.cuMemHostUnregister(host), CU_HOST_MEMORY_NOT_REGISTERED);
    OK(cu.cuMemHostRegister_v2(host, 4 * KIB, CU_HOST_PORTABLE));
    OK(cu.cuMemHostUnregister(host));
    assert_int_equal(cu.cuMemHostRegister_v2(NULL, 4 * KIB, 0), CU_INVALID_VALUE);
    assert_int_equal(cu.cuMemHostRegister_v2(host, 0, 0), CU_INVALID_VALUE);
    munmap(host, 64 * KIB);
    leave();
}

static void pinned_memory_is_known_to_the_driver(void **state)
{
    unsigned flags = 99, type = 0;
    cu_ptr   seen = 0;
    (void)state;
    enter();
    unsigned char *host = host_pages(64 * KIB);
    assert_int_not_equal(cu.cuMemHostGetFlags(&flags, host), CU_OK);
    OK(cu.cuMemHostRegister_v2(host, 64 * KIB, CU_HOST_PORTABLE));
    OK(cu.cuMemHostGetFlags(&flags, host));
    assert_true((flags & CU_HOST_PORTABLE) != 0);
    OK(cu.cuMemHostGetDevicePointer_v2(&seen, host, 0));
    OK(cu.cuPointerGetAttribute(&type, CU_POINTER_MEMORY_TYPE, (cu_ptr)(uintptr_t)host));
    assert_int_equal(type, 1);
    OK(cu.cuMemHostUnregister(host));
    munmap(host, 64 * KIB);
    leave();
}

int cuda_memory_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_handle_needs_whole_granules),
        cmocka_unit_test(memory_by_handle_needs_no_context),
        cmocka_unit_test(mapping_needs_offset_zero_and_a_free_reservation),
        cmocka_unit_test(a_mapping_is_not_unmapped_in_part),
        cmocka_unit_test(access_is_set_over_many_handles_and_unset_by_mapping_anew),
        cmocka_unit_test(copies_go_over_the_seams_of_an_arena),
        cmocka_unit_test(memory_by_handle_outlives_the_context),
        cmocka_unit_test(a_descriptor_holds_the_memory_and_brings_it_back),
        cmocka_unit_test(only_what_was_made_for_it_is_exported),
        cmocka_unit_test(more_than_the_device_has_is_out_of_memory),
        cmocka_unit_test(nothing_is_freed_well_and_a_stranger_is_not),
        cmocka_unit_test(a_copy_over_the_end_of_an_allocation_is_refused),
        cmocka_unit_test(fills_arrive),
        cmocka_unit_test(a_range_is_pinned_once),
        cmocka_unit_test(pinned_memory_is_known_to_the_driver),
    };
    return cmocka_run_group_tests_name("memory of a driver", tests, NULL, NULL);
}
