/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A kernel that writes to an address that is nobody's, in somebody's lease: CUDA is over for the process. What was on
 * the device is lost and says so, what comes is refused with the cause, the host device goes on, and the runtime
 * closes. One test a process, therefore.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "gpu/on_gpu.h"

#include "../conformance/cuda_fixture.h"

enum { CLOSE_MS = 20000 };

static const char ptx[] = ".version 6.4\n"
                          ".target sm_70\n"
                          ".address_size 64\n"
                          ".visible .entry poke(.param .u64 at, .param .u32 value) {\n"
                          "  .reg .b64 %a; .reg .b32 %v;\n"
                          "  ld.param.u64 %a, [at]; ld.param.u32 %v, [value];\n"
                          "  st.u32 [%a], %v; ret; }\n";

/* Launched, and not waited for: that it has faulted is found out by whoever waits. */
static sgi_status write_into_nowhere(void *user, void *stream, sgi_error *err)
{
    cu_module   module = NULL;
    cu_function function = NULL;
    cu_ptr      at = 64;
    uint32_t    value = 1;
    void       *parameters[] = { &at, &value };

    (void)user, (void)err;
    OK(cu.cuModuleLoadDataEx(&module, ptx, 0, NULL, NULL));
    OK(cu.cuModuleGetFunction(&function, module, "poke"));
    OK(cu.cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, stream, parameters, NULL));
    return SGI_OK;
}

static void a_kernel_that_faults_takes_its_device_with_it_and_nothing_else(void **state)
{
    struct test_folder folder;
    struct test_file   file;
    sgi_error          err = SGI_ERROR_INIT;
    sgi_view           view = { .struct_size = sizeof view };

    (void)state;
    test_folder_make(&folder);
    test_file_make_one(&file, &folder, "model.safetensors", MIB(8));
    sgi_runtime_config config = on_gpu_config();
    sgi_runtime       *rt = host_open(&config);
    sgi_model          there = on_gpu_add(rt, "there", file.path, ON_GPU);
    sgi_model          other = on_gpu_add(rt, "other", file.path, ON_GPU);
    sgi_model          here = on_gpu_add(rt, "here", file.path, ON_HOST);
    sgi_lease          lost = host_acquire(rt, there), good = host_acquire(rt, here);

    assert_int_equal(sgi_lease_run(rt, lost, write_into_nowhere, NULL, &err), SGI_E_DEVICE_LOST);
    assert_int_equal(sgi_lease_tensor(rt, lost, 0, &view, NULL), SGI_E_DEVICE_LOST);
    assert_int_equal(sgi_lease_release(rt, lost), SGI_OK);
    assert_int_equal(host_device(rt, ON_GPU).lost, 1);
    assert_int_equal(host_acquire_fails(rt, there, &err), SGI_E_DEVICE_LOST);
    assert_int_equal(host_acquire_fails(rt, other, &err), SGI_E_DEVICE_LOST);
    printf("refused: %s (driver code %d)\n", err.message, err.driver_code);
    assert_true(err.driver_code == CU_ILLEGAL_ADDRESS || strstr(err.message, "CUDA_ERROR_ILLEGAL_ADDRESS"));

    on_gpu_same_bytes(rt, here, good, &file);
    host_release(rt, good);
    host_release(rt, host_acquire(rt, here));
    assert_int_equal(sgi_runtime_close(rt, CLOSE_MS, &err), SGI_OK);
    test_file_free(&file);
    test_folder_remove(&folder);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_kernel_that_faults_takes_its_device_with_it_and_nothing_else),
    };

    cuda_library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!cuda_library || !cuda_find()) {
        printf("there is no CUDA driver here, or it is older than 550\n");
        return ON_SKIPPED;
    }
    return on_gpu_possible() ? cmocka_run_group_tests(tests, NULL, NULL) : ON_SKIPPED;
}
