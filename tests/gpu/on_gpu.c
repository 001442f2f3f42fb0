/* SPDX-License-Identifier: Apache-2.0 */
#include "gpu/on_gpu.h"

#include <stdio.h>
#include <time.h>

sgi_runtime_config on_gpu_config(void)
{
    static sgi_device_config devices[ON_DEVICES];
    sgi_runtime_config       config = host_config();

    for (int n = 0; n < ON_DEVICES; n++)
        sgi_device_config_init(&devices[n], sizeof devices[n]);
    devices[ON_GPU].name = "cuda:0";
    devices[ON_HOST].name = "host:0";
    config.devices = devices;
    config.devices_count = ON_DEVICES;
    return config;
}

bool on_gpu_possible(void)
{
    sgi_runtime_config config = on_gpu_config();
    sgi_error          err = SGI_ERROR_INIT;
    sgi_runtime       *rt;

    if (sgi_runtime_open(&config, &rt, &err) != SGI_OK) {
        printf("%s\n", err.message);
        return false;
    }
    host_close(rt);
    return true;
}

sgi_model on_gpu_add(sgi_runtime *rt, const char *name, const char *path, int device)
{
    sgi_model_config config = host_model(name, path, NULL);

    config.devices_mask = 1u << device;
    return host_register(rt, &config);
}

void on_gpu_same_bytes(sgi_runtime *rt, sgi_model model, sgi_lease lease, const struct test_file *files)
{
    sgi_tensor tensor = { .struct_size = sizeof tensor };
    sgi_error  err = SGI_ERROR_INIT;
    uint64_t   got;

    for (uint64_t n = 0; sgi_model_tensor_at(rt, model, n, &tensor) == SGI_OK; n++) {
        assert_int_equal(sgi_lease_tensor_digest(rt, lease, n, &got, &err), SGI_OK);
        assert_true(got == test_xxh3(files[tensor.part].data + tensor.file_offset, tensor.bytes));
    }
    assert_true(tensor.index > 0 || tensor.bytes > 0);
}

void on_gpu_wait_zero(sgi_runtime *rt)
{
    struct timespec pause = { .tv_nsec = 1000000 };

    for (int ms = 0; ms < HOST_WAIT_MS; ms++) {
        sgi_device_info device = host_device(rt, ON_GPU);
        if (device.bytes_used == 0 && device.instances_count == 0 && device.context != SGI_CONTEXT_OURS &&
            device.context != SGI_CONTEXT_SHARED)
            return;
        nanosleep(&pause, NULL);
    }
    fail_msg("the device is not empty");
}
