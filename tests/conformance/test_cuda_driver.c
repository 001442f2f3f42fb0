/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the cuda device relies on in a driver: the same assertions for the fake one and, where there is one with a
 * device, the real one. Nothing of the library is in it but the declarations. What only the fake does is in
 * fakecuda/test_fake.c.
 *
 * Nothing here uses what the manual leaves undefined, and nothing leaves the process with an error that stays.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "cuda_fixture.h"

/* --------------------------------------------------------------------------------------------- version and symbols */

static void version_is_one_that_has_all_of_it(void **state)
{
    int version = 0;
    (void)state;
    OK(cu.cuDriverGetVersion(&version));
    assert_true(version >= 12040);
    assert_int_equal(cu.cuDriverGetVersion(NULL), CU_INVALID_VALUE);
}

static void a_function_asked_for_by_name_is_the_form_of_that_version(void **state)
{
    cu_found status = 99;
    void    *found = NULL;
    (void)state;
    OK(cu.cuGetProcAddress_v2("cuMemAlloc", &found, 12000, CU_PROC_LEGACY_STREAM, &status));
    assert_ptr_equal(found, dlsym(cuda_library, "cuMemAlloc_v2"));
    assert_int_equal(status, CU_FOUND);
    OK(cu.cuGetProcAddress_v2("cuMemCreate", &found, 12000, CU_PROC_LEGACY_STREAM, NULL));
    assert_ptr_equal(found, dlsym(cuda_library, "cuMemCreate"));
}

static void a_function_that_is_not_there_is_null_and_no_error(void **state)
{
    cu_found status = 99;
    void    *found = &status;
    (void)state;
    OK(cu.cuGetProcAddress_v2("cuNoSuchFunction", &found, 12000, CU_PROC_LEGACY_STREAM, &status));
    assert_null(found);
    assert_int_equal(status, CU_FOUND_NOT);
    found = &status;
    OK(cu.cuGetProcAddress_v2("cuMemCreate", &found, 9000, CU_PROC_LEGACY_STREAM, &status));
    assert_null(found);
    assert_int_equal(status, CU_FOUND_TOO_NEW);
}

static void a_version_above_the_driver_s_is_refused(void **state)
{
    int      version = 0;
    cu_found status;
    void    *found = NULL;
    (void)state;
    OK(cu.cuDriverGetVersion(&version));
    assert_int_equal(cu.cuGetProcAddress_v2("cuMemAlloc", &found, version + 1000, CU_PROC_LEGACY_STREAM, &status),
                     CU_INVALID_VALUE);
}

static void errors_have_names(void **state)
{
    const char *text = NULL;
    (void)state;
    OK(cu.cuGetErrorName(CU_OUT_OF_MEMORY, &text));
    assert_string_equal(text, "CUDA_ERROR_OUT_OF_MEMORY");
    assert_int_equal(cu.cuGetErrorName(54321, &text), CU_INVALID_VALUE);
    assert_null(text);
}

/* --------------------------------------------------------------------------------------------------------- devices */

static void a_device_that_is_not_there_is_named(void **state)
{
    cu_device got;
    size_t    bytes;
    int       count = 0;
    (void)state;
    OK(cu.cuDeviceGetCount(&count));
    assert_int_equal(cu.cuDeviceGet(&got, count), CU_INVALID_DEVICE);
    assert_int_equal(cu.cuDeviceGet(&got, -1), CU_INVALID_DEVICE);
    OK(cu.cuDeviceGet(&got, 0));
    assert_int_equal(got, 0);
    OK(cu.cuDeviceTotalMem_v2(&bytes, 0));
    assert_true(bytes >= (size_t)64 * MIB);
}

static void what_the_library_needs_of_a_device_is_there(void **state)
{
    int value = 0;
    (void)state;
    OK(cu.cuDeviceGetAttribute(&value, CU_ATTRIBUTE_VMM, 0));
    assert_int_equal(value, 1);
    OK(cu.cuDeviceGetAttribute(&value, CU_ATTRIBUTE_COPY_ENGINES, 0));
    assert_true(value >= 1);
    assert_int_equal(cu.cuDeviceGetAttribute(&value, 100000, 0), CU_INVALID_VALUE);
}

/* -------------------------------------------------------------------------------------------------------- contexts */

static void retaining_makes_nothing_current(void **state)
{
    cu_context current = (cu_context)&current;
    (void)state;
    assert_int_equal(is_active(), 0);
    retain();
    assert_int_equal(is_active(), 1);
    OK(cu.cuCtxGetCurrent(&current));
    assert_null(current);
    OK(cu.cuDevicePrimaryCtxRelease_v2(0));
    assert_int_equal(is_active(), 0);
}

static void a_context_lives_until_its_last_release(void **state)
{
    (void)state;
    cu_context first = retain(), second = retain();
    assert_ptr_equal(first, second);
    OK(cu.cuDevicePrimaryCtxRelease_v2(0));
    assert_int_equal(is_active(), 1);
    OK(cu.cuDevicePrimaryCtxRelease_v2(0));
    assert_int_equal(is_active(), 0);
    assert_int_equal(cu.cuDevicePrimaryCtxRelease_v2(0), CU_INVALID_CONTEXT);
}

static void without_a_current_context_calls_say_so(void **state)
{
    size_t    free_bytes, total;
    cu_ptr    at;
    cu_stream stream;
    cu_event  event;
    (void)state;
    retain();
    unsigned char *page = host_pages(4 * KIB);
    assert_int_equal(cu.cuMemGetInfo_v2(&free_bytes, &total), CU_INVALID_CONTEXT);
    assert_int_equal(cu.cuMemAlloc_v2(&at, KIB), CU_INVALID_CONTEXT);
    assert_int_equal(cu.cuStreamCreate(&stream, 0), CU_INVALID_CONTEXT);
    assert_int_equal(cu.cuEventCreate(&event, 0), CU_INVALID_CONTEXT);
    assert_int_equal(cu.cuMemHostRegister_v2(page, 4 * KIB, 0), CU_INVALID_CONTEXT);
    assert_int_equal(cu.cuCtxSynchronize(), CU_INVALID_CONTEXT);
    assert_int_equal(cu.cuCtxPopCurrent_v2(NULL), CU_INVALID_CONTEXT);
    munmap(page, 4 * KIB);
    OK(cu.cuDevicePrimaryCtxRelease_v2(0));
}

static void contexts_are_stacked_and_set_current_changes_the_top(void **state)
{
    cu_context current = NULL, popped = NULL;
    (void)state;
    cu_context context = enter();
    OK(cu.cuCtxPushCurrent_v2(context));
    OK(cu.cuCtxSetCurrent(NULL)); /* takes one away */
    OK(cu.cuCtxGetCurrent(&current));
    assert_ptr_equal(current, context);
    OK(cu.cuCtxPopCurrent_v2(&popped));
    assert_ptr_equal(popped, context);
    OK(cu.cuCtxGetCurrent(&current));
    assert_null(current);
    OK(cu.cuCtxSetCurrent(context));
    OK(cu.cuCtxGetCurrent(&current));
    assert_ptr_equal(current, context);
    leave();
}

static void *look_at_current(void *user)
{
    cu.cuCtxGetCurrent(user);
    return NULL;
}

static void another_thread_has_a_stack_of_its_own(void **state)
{
    pthread_t  thread;
    cu_context seen = (cu_context)&thread;
    (void)state;
    enter();
    assert_int_equal(pthread_create(&thread, NULL, look_at_current, &seen), 0);
    pthread_join(thread, NULL);
    assert_null(seen);
    leave();
}

static void flags_are_kept_and_may_change_while_it_is_active(void **state)
{
    unsigned flags = 0;
    int      active = -1;
    (void)state;
    OK(cu.cuDevicePrimaryCtxSetFlags_v2(0, CU_PRIMARY_BLOCKING_SYNC));
    OK(cu.cuDevicePrimaryCtxGetState(0, &flags, &active));
    assert_int_equal(flags, CU_PRIMARY_BLOCKING_SYNC);
    retain();
    OK(cu.cuDevicePrimaryCtxSetFlags_v2(0, CU_PRIMARY_BLOCKING_SYNC));
    OK(cu.cuDevicePrimaryCtxRelease_v2(0));
}

static void a_context_takes_memory_and_gives_it_back(void **state)
{
    size_t before, with, after, total;
    (void)state;
    enter();
    OK(cu.cuMemGetInfo_v2(&before, &total));
    cu_ptr at = 0;
    OK(cu.cuMemAlloc_v2(&at, 32 * MIB));
    OK(cu.cuMemGetInfo_v2(&with, &total));
    assert_true(before - with >= (size_t)32 * MIB);
    leave(); /* with the memory in it */
    enter();
    OK(cu.cuMemGetInfo_v2(&after, &total));
    assert_true(after > with);
    leave();
}

/* ------------------------------------------------------------------------------------------------------------ main */

static int skipped(const char *why)
{
    printf("%s\n", why);
    return SKIPPED;
}

static void before_init(void **state)
{
    int           count = 0;
    cu_context    context = NULL;
    cu_handle     handle = 0;
    cu_allocation prop = property();
    (void)state;
    assert_int_equal(cu.cuDeviceGetCount(&count), CU_NOT_INITIALIZED);
    assert_int_equal(cu.cuDevicePrimaryCtxRetain(&context, 0), CU_NOT_INITIALIZED);
    assert_int_equal(cu.cuMemCreate(&handle, 2 * MIB, &prop, 0), CU_NOT_INITIALIZED);
    version_is_one_that_has_all_of_it(state);
    a_function_asked_for_by_name_is_the_form_of_that_version(state);
}

static int device_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_is_one_that_has_all_of_it),
        cmocka_unit_test(a_function_asked_for_by_name_is_the_form_of_that_version),
        cmocka_unit_test(a_function_that_is_not_there_is_null_and_no_error),
        cmocka_unit_test(a_version_above_the_driver_s_is_refused),
        cmocka_unit_test(errors_have_names),
        cmocka_unit_test(a_device_that_is_not_there_is_named),
        cmocka_unit_test(what_the_library_needs_of_a_device_is_there),
        cmocka_unit_test(retaining_makes_nothing_current),
        cmocka_unit_test(a_context_lives_until_its_last_release),
        cmocka_unit_test(without_a_current_context_calls_say_so),
        cmocka_unit_test(contexts_are_stacked_and_set_current_changes_the_top),
        cmocka_unit_test(another_thread_has_a_stack_of_its_own),
        cmocka_unit_test(flags_are_kept_and_may_change_while_it_is_active),
        cmocka_unit_test(a_context_takes_memory_and_gives_it_back),
    };
    return cmocka_run_group_tests_name("a driver with a device", tests, NULL, NULL);
}

/* "--any": whatever driver this machine has, or none. Otherwise it is the fake, and has to be there. */
int main(int argc, char **argv)
{
    const struct CMUnitTest early[] = { cmocka_unit_test(before_init) };
    bool                    any = argc > 1 && strcmp(argv[1], "--any") == 0;
    int                     count = 0;

    cuda_library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!cuda_library)
        return any ? skipped("no libcuda.so.1 here") : 1;
    if (!cuda_find())
        return any ? skipped("libcuda.so.1 has not all functions: no driver, or older than 550") : 1;
    int version_code = (int)cu.cuDriverGetVersion(&count);
    if (any && version_code != CU_OK)
        return skipped("libcuda.so.1 is a toolkit's stub");
    int failed = cmocka_run_group_tests_name("before cuInit", early, NULL, NULL);
    int code = (int)cu.cuInit(0);
    if (code == CU_OK)
        code = (int)cu.cuDeviceGetCount(&count);
    if (code != CU_OK || count == 0)
        return failed || !any ? 1 : skipped("the driver here has no device that it can use");
    failed += device_tests() + cuda_memory_tests() + cuda_stream_tests();
    return failed ? 1 : 0;
}
