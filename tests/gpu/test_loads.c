/* SPDX-License-Identifier: Apache-2.0 */
/* Loads onto a GPU: whatever the file looks like and wherever the bytes come from, read back they are the file's. */
#include <stdio.h>

#include "gpu/on_gpu.h"

enum { TENSORS = 300, TOGETHER = 4 };

static struct test_folder folder;

static sgi_runtime *open_with(uint64_t dram_bytes, uint32_t linger_ms)
{
    sgi_runtime_config config = on_gpu_config();

    config.dram_bytes_max = dram_bytes;
    config.context_linger_ms = linger_ms;
    return host_open(&config);
}

static void leave(sgi_runtime *rt, sgi_model model, uint32_t tier)
{
    assert_int_equal(sgi_model_evict(rt, model, tier), SGI_OK);
    host_wait_state(rt, model, SGI_MODEL_COLD);
}

/* ---- files ---- */

static void load_file(const struct test_file *files, const char *path)
{
    sgi_runtime *rt = open_with(SGI_NONE, SGI_IDLE_NEVER);
    sgi_model    model = on_gpu_add(rt, "model", path, ON_GPU);
    sgi_lease    lease = host_acquire(rt, model);

    on_gpu_same_bytes(rt, model, lease, files);
    host_release(rt, lease);
    host_close(rt);
}

static void one_large_tensor(void **state)
{
    struct test_file file;

    (void)state;
    test_file_make_one(&file, &folder, "large.safetensors", MIB(200) + 12345);
    load_file(&file, file.path);
    test_file_free(&file);
}

/* Of sizes from nothing to some pages, so that hardly one begins where the last block ended. */
static void many_small_tensors_at_any_offset(void **state)
{
    static const uint32_t rests[] = { 0, 1, 7 }; /* of where the data begins: 7 is bounced */
    struct test_tensor    tensors[TENSORS];
    char                  names[TENSORS][16];
    struct test_file      file;

    (void)state;
    for (unsigned n = 0; n < TENSORS; n++) {
        snprintf(names[n], sizeof names[n], "t%u", n);
        tensors[n] = (struct test_tensor){ names[n], (uint64_t)n * n * 37 % 70001 };
    }
    for (size_t n = 0; n < sizeof rests / sizeof *rests; n++) {
        test_file_make(&file, &folder, "small.safetensors", rests[n], tensors, TENSORS);
        load_file(&file, file.path);
        test_file_free(&file);
    }
}

static void a_model_in_two_files(void **state)
{
    struct test_shards shards;

    (void)state;
    test_shards_make(&shards, &folder, MIB(5) + 4097);
    load_file(shards.shards, shards.path);
    test_shards_free(&shards);
}

/* ---- ways ---- */

static void from_dram_it_is_the_same(void **state)
{
    static const uint32_t lingers[] = { SGI_IDLE_NEVER, SGI_IDLE_NOW }; /* NOW: pins end with the context */
    struct test_file      file;

    (void)state;
    test_file_make_one(&file, &folder, "kept.safetensors", MIB(40) + 3);
    for (size_t n = 0; n < sizeof lingers / sizeof *lingers; n++) {
        sgi_runtime *rt = open_with(MIB(200), lingers[n]);
        sgi_model    model = on_gpu_add(rt, "model", file.path, ON_GPU);

        for (int times = 0; times < 3; times++) {
            sgi_lease lease = host_acquire(rt, model);
            assert_int_equal(host_timing(rt, lease).tier, times == 0 ? SGI_TIER_DISK : SGI_TIER_DRAM);
            on_gpu_same_bytes(rt, model, lease, &file);
            host_release(rt, lease);
            leave(rt, model, SGI_TIER_DRAM);
            if (lingers[n] == SGI_IDLE_NOW)
                on_gpu_wait_zero(rt);
        }
        host_close(rt);
    }
    test_file_free(&file);
}

static void an_early_lease_waits_for_its_tensors(void **state)
{
    sgi_acquire_options options;
    struct test_shards  shards;
    sgi_error           err = SGI_ERROR_INIT;
    sgi_lease           lease;

    (void)state;
    test_shards_make(&shards, &folder, MIB(20));
    sgi_runtime *rt = open_with(SGI_NONE, SGI_IDLE_NEVER);
    sgi_model    model = on_gpu_add(rt, "model", shards.path, ON_GPU);
    sgi_acquire_options_init(&options, sizeof options);
    options.flags = SGI_ACQUIRE_EARLY;
    assert_int_equal(sgi_model_acquire_wait(rt, model, &options, &lease, &err), SGI_OK);
    on_gpu_same_bytes(rt, model, lease, shards.shards); /* a digest waits */
    host_release(rt, lease);
    host_close(rt);
    test_shards_free(&shards);
}

static void several_at_once_do_not_mix(void **state)
{
    struct test_file files[TOGETHER];
    sgi_ticket       tickets[TOGETHER];
    sgi_model        models[TOGETHER];
    sgi_error        err = SGI_ERROR_INIT;
    char             name[32];

    (void)state;
    sgi_runtime *rt = open_with(SGI_NONE, SGI_IDLE_NEVER);
    for (int n = 0; n < TOGETHER; n++) {
        snprintf(name, sizeof name, "together%d.safetensors", n);
        test_file_make_one(&files[n], &folder, name, MIB(24) + (uint64_t)n * 1001);
        models[n] = on_gpu_add(rt, name, files[n].path, ON_GPU);
    }
    for (int n = 0; n < TOGETHER; n++)
        assert_int_equal(sgi_model_acquire(rt, models[n], NULL, &tickets[n], NULL, NULL, &err), SGI_OK);
    for (int n = 0; n < TOGETHER; n++) {
        sgi_lease lease;
        assert_int_equal(sgi_ticket_wait(rt, tickets[n], SGI_FOREVER, &lease, &err), SGI_OK);
        on_gpu_same_bytes(rt, models[n], lease, &files[n]);
        host_release(rt, lease);
        test_file_free(&files[n]);
    }
    host_close(rt);
}

static void a_wrong_check_is_refused(void **state)
{
    sgi_tensor_check check = { .name = "w" };
    struct test_file file;
    sgi_error        err = SGI_ERROR_INIT;

    (void)state;
    test_file_make_one(&file, &folder, "checked.safetensors", MIB(9));
    sgi_runtime     *rt = open_with(SGI_NONE, SGI_IDLE_NEVER);
    sgi_model_config config = host_model("model", file.path, NULL);
    config.devices_mask = 1u << ON_GPU;
    config.checks = &check;
    config.checks_count = 1;
    check.xxh3 = test_xxh3(file.data + file.data_offset, MIB(9)) ^ 1;
    assert_int_equal(host_acquire_fails(rt, host_register(rt, &config), &err), SGI_E_CHECK);
    config.name = "right";
    check.xxh3 ^= 1;
    host_release(rt, host_acquire(rt, host_register(rt, &config)));
    host_close(rt);
    test_file_free(&file);
}

static int set_up(void **state)
{
    (void)state;
    test_folder_make(&folder);
    return 0;
}

static int take_down(void **state)
{
    (void)state;
    test_folder_remove(&folder);
    return 0;
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_large_tensor),
        cmocka_unit_test(many_small_tensors_at_any_offset),
        cmocka_unit_test(a_model_in_two_files),
        cmocka_unit_test(from_dram_it_is_the_same),
        cmocka_unit_test(an_early_lease_waits_for_its_tensors),
        cmocka_unit_test(several_at_once_do_not_mix),
        cmocka_unit_test(a_wrong_check_is_refused),
    };
    return on_gpu_possible() ? cmocka_run_group_tests(tests, set_up, take_down) : ON_SKIPPED;
}
