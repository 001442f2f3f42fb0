/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Errors that stay: the driver says them from then on, on every device of the process. So each story, named by the
 * argument, has a process of its own.
 */
#include "cuda_host.h"

#include <string.h>

static const struct test_tensor tensors[] = { { "a", KIB(256) }, { "b", MIB(1) } };
static struct test_file         file;

enum { CUDA_0, CUDA_1, HOST };

struct story {
    struct fixture f;
    sgi_model      lost, beside, host; /* kept to cuda:0, to cuda:1, to the host */
};

static sgi_model kept_to(struct story *s, const char *name, uint32_t device)
{
    sgi_model_config c = host_model(name, file.path, NULL);
    c.devices_mask = 1u << device;
    return host_register(s->f.rt, &c);
}

static void begin(struct story *s, uint64_t dram)
{
    sgi_runtime_config config = cuda_config("cuda:0 cuda:1 host", 0);

    config.dram_bytes_max = dram ? dram : SGI_NONE;
    config.idle_timeout_ms = SGI_IDLE_NEVER;
    cuda_open(&s->f, &config);
    s->lost = kept_to(s, "lost", CUDA_0);
    s->beside = kept_to(s, "beside", CUDA_1);
    s->host = kept_to(s, "host", HOST);
}

static void refused(struct story *s, sgi_model model)
{
    assert_int_equal(host_acquire_fails(s->f.rt, model, &s->f.err), SGI_E_DEVICE_LOST);
    assert_true(strlen(s->f.err.message) > 0);
}

/* All devices of the kind are gone, in every word that is asked for; the host goes on; close does not hang. */
static void end(struct story *s)
{
    for (uint32_t n = CUDA_0; n <= CUDA_1; n++) {
        sgi_device_info info = host_device(s->f.rt, n);
        assert_int_equal(info.lost, 1);
    }
    assert_int_equal(host_device(s->f.rt, HOST).lost, 0);
    refused(s, s->lost);
    refused(s, s->beside);
    assert_memory_equal(s->f.err.message, "model 'beside': ", strlen("model 'beside': "));
    sgi_lease lease = host_acquire(s->f.rt, s->host);
    host_same_bytes(s->f.rt, s->host, lease, &file);
    host_release(s->f.rt, lease);
    host_close(s->f.rt);
    fake_cuda_no_violations();
}

/* ---- stories ---- */

static void mode_23_a_copy_of_a_load(void **state)
{
    struct story s;

    (void)state;
    begin(&s, 0);
    host_release(s.f.rt, host_acquire(s.f.rt, s.beside)); /* it is up there, and goes down with the rest */
    fake_cuda_fault("@copy 3 sticky 700");
    assert_int_equal(host_acquire_fails(s.f.rt, s.lost, &s.f.err), SGI_E_DEVICE_LOST);
    assert_int_equal(s.f.err.driver_code, CU_ILLEGAL_ADDRESS);
    end(&s);
}

static sgi_status fault(void *user, void *stream, sgi_error *err)
{
    static uint8_t seen[64];
    (void)err;
    fake_cuda_fault("@copy 1 sticky 719");
    return cu.cuMemcpyDtoHAsync_v2(seen, *(cu_ptr *)user, sizeof seen, (cu_stream)stream) == CU_OK ? SGI_OK
                                                                                                   : SGI_E_ENGINE;
}

/* It came from a user's code, which said that all was well. */
static void mode_23_a_users_kernel(void **state)
{
    struct story s;
    sgi_view     view = { .struct_size = sizeof view };

    (void)state;
    begin(&s, 0);
    sgi_lease lease = host_acquire(s.f.rt, s.lost), other = host_acquire(s.f.rt, s.beside);
    cu_ptr    at = (uintptr_t)host_tensor(s.f.rt, lease, 0).data;
    assert_int_equal(sgi_lease_run(s.f.rt, lease, fault, &at, &s.f.err), SGI_E_DEVICE_LOST);
    assert_int_equal(s.f.err.driver_code, CU_LAUNCH_FAILED);
    assert_int_equal(sgi_lease_run(s.f.rt, lease, fault, &at, &s.f.err), SGI_E_DEVICE_LOST); /* and is not run again */
    assert_int_equal(sgi_lease_tensor(s.f.rt, other, 0, &view, &s.f.err), SGI_E_DEVICE_LOST);
    host_release(s.f.rt, lease); /* good for that */
    host_release(s.f.rt, other);
    end(&s);
}

/* What is in DRAM is none of the device's. */
static void mode_23_a_residence_is_left(void **state)
{
    struct story s;

    (void)state;
    begin(&s, MIB(64));
    sgi_model both = host_add(s.f.rt, "both", file.path, NULL);
    host_release(s.f.rt, host_acquire(s.f.rt, both));
    assert_true(host_state(s.f.rt, both).device == CUDA_0 && host_state(s.f.rt, both).dram_bytes > 0);
    fake_cuda_fault("@copy 2 sticky 700");
    assert_int_equal(host_acquire_fails(s.f.rt, s.lost, &s.f.err), SGI_E_DEVICE_LOST);
    host_wait_state(s.f.rt, both, SGI_MODEL_COLD);
    sgi_lease lease = host_acquire(s.f.rt, both);
    assert_int_equal(host_state(s.f.rt, both).device, HOST);
    assert_int_equal(host_timing(s.f.rt, lease).tier, SGI_TIER_DRAM);
    host_same_bytes(s.f.rt, both, lease, &file);
    host_release(s.f.rt, lease);
    end(&s);
}

/* It is met while the context opens, before anything else of it. */
static void mode_23_an_opening_context(void **state)
{
    struct story s;

    (void)state;
    begin(&s, 0);
    fake_cuda_fault("cuDevicePrimaryCtxRetain 1 sticky 214");
    assert_int_equal(host_acquire_fails(s.f.rt, s.lost, &s.f.err), SGI_E_DEVICE_LOST);
    end(&s);
}

/* Somebody takes the primary context away from all who have it. Nothing of ours works any more, nor is given back. */
static sgi_status reset(void *user, void *stream, sgi_error *err)
{
    (void)user, (void)stream, (void)err;
    return cu.cuDevicePrimaryCtxReset_v2(0) == CU_OK ? SGI_OK : SGI_E_ENGINE;
}

static void mode_23_a_reset_by_somebody(void **state)
{
    struct story s;

    (void)state;
    begin(&s, MIB(64));
    sgi_lease lease = host_acquire(s.f.rt, s.lost), other = host_acquire(s.f.rt, s.beside);
    fake.fakecuda_strict(0); /* what it takes along is held by us, and used once more before we know */
    fake.fakecuda_leaks(0);
    assert_int_equal(sgi_lease_run(s.f.rt, lease, reset, NULL, &s.f.err), SGI_E_DEVICE_LOST);
    assert_non_null(strstr(s.f.err.message, "somebody has reset the device"));
    host_release(s.f.rt, lease);
    refused(&s, s.lost);
    assert_int_equal(host_device(s.f.rt, CUDA_0).lost, 1);

    assert_int_equal(host_device(s.f.rt, CUDA_1).lost, 0); /* that one is not reset */
    cuda_same_bytes(&s.f, s.beside, other, &file);
    host_release(s.f.rt, other);
    host_release(s.f.rt, host_acquire(s.f.rt, s.beside));
    fake.fakecuda_forgive();
    host_close(s.f.rt);
}

/* Looked for after a load: whoever meets it, says it. */
static void mode_23_a_digest(void **state)
{
    struct story s;
    uint64_t     digest;

    (void)state;
    begin(&s, 0);
    sgi_lease lease = host_acquire(s.f.rt, s.lost);
    fake_cuda_fault("@copy 1 sticky 700");
    assert_int_equal(sgi_lease_tensor_digest(s.f.rt, lease, 0, &digest, &s.f.err), SGI_E_DEVICE_LOST);
    assert_int_equal(s.f.err.driver_code, CU_ILLEGAL_ADDRESS);
    host_release(s.f.rt, lease);
    end(&s);
}

static void mode_23_a_read(void **state)
{
    struct story s;
    uint8_t      bytes[64];

    (void)state;
    begin(&s, 0);
    sgi_lease lease = host_acquire(s.f.rt, s.lost);
    fake_cuda_fault("@copy 1 sticky 700");
    assert_int_equal(sgi_lease_tensor_read(s.f.rt, lease, 0, 0, bytes, sizeof bytes, &s.f.err), SGI_E_DEVICE_LOST);
    host_release(s.f.rt, lease);
    end(&s);
}

static void alloc_after_a_fault(void *user, sgi_stage *stage)
{
    void     *memory;
    sgi_error err = SGI_ERROR_INIT;

    sgi_stage_wait(stage, NULL);
    fake_cuda_fault("@set 1 sticky 700");
    *(sgi_status *)user = sgi_stage_alloc(stage, MIB(1), &memory, &err);
}

/* Its engine does not care. */
static void mode_23_an_engines_memory(void **state)
{
    struct story       s;
    struct test_engine engine;
    sgi_status         alloc = SGI_OK;

    (void)state;
    begin(&s, 0);
    test_engine_init(&engine, false, false);
    engine.in_start = alloc_after_a_fault;
    engine.user = &alloc;
    sgi_model_config mc = host_model("served", file.path, &engine);
    mc.devices_mask = 1u << CUDA_0;
    assert_int_equal(host_acquire_fails(s.f.rt, host_register(s.f.rt, &mc), &s.f.err), SGI_E_DEVICE_LOST);
    assert_non_null(strstr(s.f.err.message, "ILLEGAL_ADDRESS"));
    end(&s);
    assert_int_equal(alloc,
                     SGI_E_DEVICE_LOST); /* not before: the request ends as soon as the device is known to be gone */
    test_engine_fini(&engine);
}

static int make_files(void **state)
{
    if (cuda_set_up(state) != 0)
        return -1;
    test_file_make(&file, &cuda_folder, "m.safetensors", 0, tensors, 2);
    return 0;
}

static int remove_files(void **state)
{
    test_file_free(&file);
    return cuda_tear_down(state);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mode_23_a_copy_of_a_load),
        cmocka_unit_test(mode_23_a_users_kernel),
        cmocka_unit_test(mode_23_a_residence_is_left),
        cmocka_unit_test(mode_23_an_opening_context),
        cmocka_unit_test(mode_23_a_reset_by_somebody),
        cmocka_unit_test(mode_23_a_digest),
        cmocka_unit_test(mode_23_a_read),
        cmocka_unit_test(mode_23_an_engines_memory),
    };
    cmocka_set_test_filter(argc > 1 ? argv[1] : "mode_23_a_copy_of_a_load");
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
