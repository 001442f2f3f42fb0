/* SPDX-License-Identifier: Apache-2.0 */
/* A model that nobody calls leaves the GPU, and NVML, which counts what every process holds, sees it leave. The card is
 * ours meanwhile, or what others do is taken for us. */
#include <stdio.h>

#include "gpu/on_gpu.h"

#include "../../bench/gpu.h"

enum { CYCLES = 3, IDLE_MS = 60, MODEL_MIB = 192, SLACK_MIB = 4 };

static void idle_models_leave_the_device(void **state)
{
    struct gpu_driver  driver;
    struct gpu_view    nvml;
    struct test_folder folder;
    struct test_file   file;
    double             before, held, left[CYCLES];

    (void)state;
    test_folder_make(&folder);
    test_file_make_one(&file, &folder, "model.safetensors", MIB(MODEL_MIB));
    sgi_runtime_config config = on_gpu_config();
    config.idle_timeout_ms = config.context_linger_ms = IDLE_MS;
    sgi_runtime *rt = host_open(&config);
    sgi_model    model = on_gpu_add(rt, "model", file.path, ON_GPU);
    gpu_driver_open(&driver, 0);
    gpu_view_open(&nvml, driver.pci);
    before = gpu_view_used_mib(&nvml);
    for (int n = 0; n < CYCLES; n++) {
        sgi_lease lease = host_acquire(rt, model);
        held = gpu_view_used_mib(&nvml);
        assert_int_equal(host_device(rt, ON_GPU).context, SGI_CONTEXT_OURS);
        assert_true(host_device(rt, ON_GPU).bytes_used >= MIB(MODEL_MIB));
        host_release(rt, lease);
        on_gpu_wait_zero(rt);
        left[n] = gpu_view_settled_mib(&nvml);
        printf("NVML: %.0f MiB before, %.0f held, %.0f left\n", before, held, left[n]);
        if (before < 0)
            continue; /* there is no NVML: the library's word is all there is */
        assert_true(held >= before + MODEL_MIB);
        assert_true(left[n] <= held - MODEL_MIB);
        assert_true(left[n] <= left[0] + SLACK_MIB); /* whatever the driver keeps, it keeps once */
    }
    host_close(rt);
    test_file_free(&file);
    test_folder_remove(&folder);
}

int main(void)
{
    static const struct CMUnitTest tests[] = { cmocka_unit_test(idle_models_leave_the_device) };

    return on_gpu_possible() ? cmocka_run_group_tests(tests, NULL, NULL) : ON_SKIPPED;
}
