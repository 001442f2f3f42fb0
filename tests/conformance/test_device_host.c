/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a device owes the runtime above it, on the host: budgets that hold, bytes counted once and truly, memory that is
 * really given back, several devices side by side, and a DRAM tier where the least recently used leaves first. The same
 * for every kind of image memory. Time is the test's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "support/clock.h"
#include "support/host.h"

#if defined(SGI_SANITIZES_ADDRESS) || defined(SGI_SANITIZES_THREAD)
enum { MEMORY_IS_TRUE = 0 };
#else
enum { MEMORY_IS_TRUE = 1 };
#endif

enum { MODELS = 4, IDLE_MS = 100 };

static struct test_folder folder;
static struct test_file   files[MODELS]; /* images of not quite 4 MiB, or of two huge pages */

struct kind {
    const char *name;
    uint32_t    flags;
};

static const struct kind anonymous = { "anonymous", 0 };
static const struct kind memfd = { "memfd", SGI_IMAGE_FD };
static const struct kind hugetlb = { "hugetlb",
                                     SGI_IMAGE_FD | SGI_IMAGE_HUGETLB }; /* or a memfd where none are reserved */

struct fixture {
    struct test_clock clock;
    sgi_runtime      *rt;
    sgi_model         models[MODELS];
    uint64_t          image_bytes;
};

static void set_up(struct fixture *f, void **state, const sgi_runtime_config *config)
{
    const struct kind *kind = *state;
    sgi_error          err = { .struct_size = sizeof err };
    sgi_model_info     info = { .struct_size = sizeof info };
    char               name[16];

    test_clock_init(&f->clock);
    if (sgi__runtime_open_with(config, NULL, &f->clock.table, &f->rt, &err) != SGI_OK)
        fail_msg("open: %s", err.message);
    for (uint32_t n = 0; n < MODELS; n++) {
        snprintf(name, sizeof name, "m%u", n);
        sgi_model_config mc = host_model(name, files[n].path, NULL);
        mc.flags = kind->flags;
        f->models[n] = host_register(f->rt, &mc);
    }
    sgi_model_describe(f->rt, f->models[0], &info);
    f->image_bytes = info.image_bytes;
}

static void advance(struct fixture *f, uint64_t ms)
{
    test_clock_advance_ms(&f->clock, f->rt, ms);
}

static sgi_runtime_config device_config(const sgi_device_config *devices, uint32_t count, uint64_t dram_bytes)
{
    sgi_runtime_config c = host_config();
    c.devices = devices;
    c.devices_count = count;
    c.dram_bytes_max = dram_bytes;
    c.idle_timeout_ms = IDLE_MS;
    return c;
}

static uint64_t resident_bytes(void)
{
    FILE         *status = fopen("/proc/self/status", "r");
    char          line[256];
    unsigned long kib;
    uint64_t      sum = 0;
    while (status && fgets(line, sizeof line, status))
        if (sscanf(line, "RssAnon: %lu", &kib) == 1 || sscanf(line, "RssShmem: %lu", &kib) == 1)
            sum += KIB(kib);
    if (status)
        fclose(status);
    return sum;
}

/* ---- bytes ---- */

static void bytes_are_counted_once_wherever_they_are(void **state)
{
    struct fixture     f;
    sgi_device_config  device = { .struct_size = sizeof device, .name = "host", .bytes_max = MIB(64) };
    sgi_runtime_config config = device_config(&device, 1, MIB(64));
    set_up(&f, state, &config);

    assert_int_equal(host_info(f.rt).device_bytes, 0);
    sgi_lease lease = host_acquire(f.rt, f.models[0]);
    assert_int_equal(host_device(f.rt, 0).bytes_used, f.image_bytes);
    assert_int_equal(host_info(f.rt).device_bytes, f.image_bytes);
    assert_int_equal(host_info(f.rt).dram_bytes, 0); /* it is the same memory: not both */
    assert_int_equal(host_device(f.rt, 0).instances_count, 1);
    host_release(f.rt, lease);
    advance(&f, IDLE_MS);
    host_wait_state(f.rt, f.models[0], SGI_MODEL_COLD);
    assert_int_equal(host_info(f.rt).device_bytes, 0);
    assert_int_equal(host_info(f.rt).dram_bytes, f.image_bytes);
    assert_int_equal(host_device(f.rt, 0).instances_count, 0);
    lease = host_acquire(f.rt, f.models[0]);
    assert_int_equal(host_info(f.rt).device_bytes, f.image_bytes);
    assert_int_equal(host_info(f.rt).dram_bytes, 0);
    host_release(f.rt, lease);
    host_close(f.rt);
}

static void what_is_given_back_is_gone_from_the_process(void **state)
{
    struct fixture     f;
    sgi_device_config  device = { .struct_size = sizeof device, .name = "host", .bytes_max = MIB(64) };
    sgi_runtime_config config = device_config(&device, 1, SGI_NONE);
    set_up(&f, state, &config);

    host_release(f.rt, host_acquire(f.rt, f.models[0])); /* warms up what a first load takes */
    advance(&f, IDLE_MS);
    host_wait_state(f.rt, f.models[0], SGI_MODEL_COLD);
    host_wait_threads(f.rt, 1);
    malloc_trim(0);
    uint64_t  before = resident_bytes();
    sgi_lease leases[MODELS];
    for (int n = 0; n < MODELS; n++)
        leases[n] = host_acquire(f.rt, f.models[n]);
    uint64_t loaded = resident_bytes();
    for (int n = 0; n < MODELS; n++)
        host_release(f.rt, leases[n]);
    advance(&f, IDLE_MS);
    for (int n = 0; n < MODELS; n++)
        host_wait_state(f.rt, f.models[n], SGI_MODEL_COLD);
    host_wait_threads(f.rt, 1);
    malloc_trim(0);
    if (MEMORY_IS_TRUE) {
        const struct kind *kind = *state;
        if (!(kind->flags & SGI_IMAGE_HUGETLB)) /* those are no Rss of anybody */
            assert_true(loaded >= before + MODELS * (MIB(4) - KIB(8)));
        assert_true(resident_bytes() <= before + MIB(1));
    }
    host_close(f.rt);
}

/* ---- budgets ---- */

static void a_device_never_holds_more_than_its_budget(void **state)
{
    struct fixture     f;
    sgi_device_config  device = { .struct_size = sizeof device, .name = "host", .bytes_max = MIB(9) }; /* two of four */
    sgi_runtime_config config = device_config(&device, 1, SGI_NONE);
    set_up(&f, state, &config);

    for (uint32_t n = 0; n < 3 * MODELS; n++) {
        sgi_lease lease = host_acquire(f.rt, f.models[n % MODELS]);
        host_same_bytes(f.rt, f.models[n % MODELS], lease, &files[n % MODELS]);
        assert_true(host_device(f.rt, 0).bytes_used <= MIB(9));
        host_release(f.rt, lease);
        advance(&f, 1); /* so that one is older than the other */
    }
    /* The two used last are there, the others had to go. */
    assert_int_equal(host_state(f.rt, f.models[2]).state, SGI_MODEL_READY);
    assert_int_equal(host_state(f.rt, f.models[3]).state, SGI_MODEL_READY);
    assert_int_equal(host_state(f.rt, f.models[0]).state, SGI_MODEL_COLD);
    host_release(f.rt, host_acquire(f.rt, f.models[2]));
    assert_int_equal(host_state(f.rt, f.models[2]).loads_count, 3); /* warm */
    advance(&f, 1);
    host_release(f.rt, host_acquire(f.rt, f.models[0]));
    assert_int_equal(host_state(f.rt, f.models[2]).state, SGI_MODEL_READY); /* used since: the other one went */
    assert_int_equal(host_state(f.rt, f.models[3]).state, SGI_MODEL_COLD);
    host_close(f.rt);
}

static void the_least_recently_used_residence_leaves_first(void **state)
{
    struct fixture     f;
    sgi_device_config  device = { .struct_size = sizeof device, .name = "host", .bytes_max = MIB(64) };
    sgi_runtime_config config = device_config(&device, 1, MIB(9));
    set_up(&f, state, &config);

    for (int n = 0; n < 3; n++) {
        host_release(f.rt, host_acquire(f.rt, f.models[n]));
        advance(&f, IDLE_MS);
        host_wait_state(f.rt, f.models[n], SGI_MODEL_COLD);
        assert_true(host_info(f.rt).dram_bytes <= MIB(9));
    }
    host_wait_threads(f.rt, 1);
    assert_int_equal(host_state(f.rt, f.models[0]).tier, SGI_TIER_DISK);
    assert_int_equal(host_state(f.rt, f.models[1]).tier, SGI_TIER_DRAM);
    assert_int_equal(host_state(f.rt, f.models[2]).tier, SGI_TIER_DRAM);
    assert_int_equal(sgi_model_pin(f.rt, f.models[1], SGI_TIER_DRAM, NULL), SGI_OK); /* now the older one may not go */
    host_release(f.rt, host_acquire(f.rt, f.models[3]));
    advance(&f, IDLE_MS);
    host_wait_state(f.rt, f.models[3], SGI_MODEL_COLD);
    host_wait_threads(f.rt, 1);
    assert_int_equal(host_state(f.rt, f.models[1]).tier, SGI_TIER_DRAM);
    assert_int_equal(host_state(f.rt, f.models[2]).tier, SGI_TIER_DISK);
    assert_int_equal(host_state(f.rt, f.models[3]).tier, SGI_TIER_DRAM);
    host_close(f.rt);
}

static void spare_memory_is_inside_the_dram_budget_and_leaves_before_residences(void **state)
{
    struct fixture     f;
    sgi_device_config  device = { .struct_size = sizeof device, .name = "host", .bytes_max = MIB(64) };
    sgi_runtime_config config = device_config(&device, 1, MIB(9));
    config.spare_bytes_max = MIB(64);
    set_up(&f, state, &config);

    sgi_lease a = host_acquire(f.rt, f.models[0]), b = host_acquire(f.rt, f.models[1]);
    host_release(f.rt, a);
    host_release(f.rt, b);
    for (int n = 0; n < 2; n++) {
        assert_int_equal(sgi_model_evict(f.rt, f.models[n], SGI_TIER_DISK), SGI_OK);
        host_wait_state(f.rt, f.models[n], SGI_MODEL_COLD);
    }
    host_wait_threads(f.rt, 1);
    sgi_runtime_info info = host_info(f.rt);
    assert_true(info.spare_bytes > 0 && info.spare_bytes <= MIB(9));
    assert_int_equal(info.dram_bytes, info.spare_bytes);
    for (int n = 2; n < 4; n++) {
        host_release(f.rt, host_acquire(f.rt, f.models[n]));
        assert_int_equal(sgi_model_evict(f.rt, f.models[n], SGI_TIER_DRAM), SGI_OK);
        host_wait_state(f.rt, f.models[n], SGI_MODEL_COLD);
        host_wait_threads(f.rt, 1);
        info = host_info(f.rt);
        assert_true(info.dram_bytes <= MIB(9));
    }
    assert_int_equal(host_state(f.rt, f.models[2]).tier, SGI_TIER_DRAM); /* both residences fit, since the spare went */
    assert_int_equal(host_state(f.rt, f.models[3]).tier, SGI_TIER_DRAM);
    host_close(f.rt);
}

/* ---- several devices ---- */

static void two_devices_are_filled_side_by_side(void **state)
{
    struct fixture     f;
    sgi_device_config  devices[] = { { .struct_size = sizeof *devices, .name = "host:0", .bytes_max = MIB(9) },
                                     { .struct_size = sizeof *devices, .name = "host:1", .bytes_max = MIB(5) } };
    sgi_runtime_config config = device_config(devices, 2, SGI_NONE);
    sgi_lease          leases[3];
    set_up(&f, state, &config);

    for (int n = 0; n < 3; n++)
        leases[n] = host_acquire(f.rt, f.models[n]);
    assert_int_equal(host_device(f.rt, 0).bytes_used, 2 * f.image_bytes);
    assert_int_equal(host_device(f.rt, 1).bytes_used, f.image_bytes);
    assert_true(host_device(f.rt, 0).context == SGI_CONTEXT_OURS && host_device(f.rt, 1).context == SGI_CONTEXT_OURS);
    for (int n = 0; n < 3; n++)
        host_same_bytes(f.rt, f.models[n], leases[n], &files[n]);
    int32_t on_one = host_state(f.rt, f.models[0]).device == 1 ? 0 : host_state(f.rt, f.models[1]).device == 1 ? 1 : 2;
    host_release(f.rt, leases[on_one]);
    sgi_lease lease = host_acquire(f.rt, f.models[3]); /* only there is somebody idle */
    assert_int_equal(host_state(f.rt, f.models[3]).device, 1);
    assert_int_equal(host_state(f.rt, f.models[on_one]).state, SGI_MODEL_COLD);
    host_release(f.rt, lease);
    for (int n = 0; n < 3; n++)
        if (n != on_one)
            host_release(f.rt, leases[n]);
    host_close(f.rt);
}

static void a_residence_may_go_to_another_device(void **state)
{
    struct fixture      f;
    sgi_device_config   devices[] = { { .struct_size = sizeof *devices, .name = "host:0", .bytes_max = MIB(9) },
                                      { .struct_size = sizeof *devices, .name = "host:1", .bytes_max = MIB(9) } };
    sgi_runtime_config  config = device_config(devices, 2, MIB(32));
    sgi_acquire_options o;
    sgi_lease           lease = 0;
    set_up(&f, state, &config);

    for (int32_t device = 0; device < 2; device++) {
        sgi_acquire_options_init(&o, sizeof o);
        o.device_hint = device;
        assert_int_equal(sgi_model_acquire_wait(f.rt, f.models[0], &o, &lease, NULL), SGI_OK);
        assert_int_equal(host_state(f.rt, f.models[0]).device, device);
        assert_int_equal(host_device(f.rt, (uint32_t)device).bytes_used, f.image_bytes);
        assert_int_equal(host_device(f.rt, 1 - (uint32_t)device).bytes_used, 0);
        host_same_bytes(f.rt, f.models[0], lease, &files[0]);
        assert_int_equal(host_timing(f.rt, lease).tier, device == 0 ? SGI_TIER_DISK : SGI_TIER_DRAM);
        host_release(f.rt, lease);
        advance(&f, IDLE_MS);
        host_wait_state(f.rt, f.models[0], SGI_MODEL_COLD);
    }
    host_close(f.rt);
}

static int make_files(void **state)
{
    (void)state;
    char name[32];
    test_folder_make(&folder);
    for (uint32_t n = 0; n < MODELS; n++) {
        snprintf(name, sizeof name, "m%u.safetensors", n);
        test_file_make_one(&files[n], &folder, name, MIB(4) - KIB(8));
    }
    return 0;
}

static int remove_files(void **state)
{
    (void)state;
    for (uint32_t n = 0; n < MODELS; n++)
        test_file_free(&files[n]);
    test_folder_remove(&folder);
    return 0;
}

#define OVER(kind, test)                                                     \
    {                                                                        \
#test " (" #kind ")", test, NULL, NULL, (void *)(uintptr_t) & (kind) \
    }
#define OVER_ALL(test) OVER(anonymous, test), OVER(memfd, test), OVER(hugetlb, test)

int main(void)
{
    const struct CMUnitTest tests[] = {
        OVER_ALL(bytes_are_counted_once_wherever_they_are),
        OVER_ALL(what_is_given_back_is_gone_from_the_process),
        OVER_ALL(a_device_never_holds_more_than_its_budget),
        OVER_ALL(the_least_recently_used_residence_leaves_first),
        OVER_ALL(spare_memory_is_inside_the_dram_budget_and_leaves_before_residences),
        OVER_ALL(two_devices_are_filled_side_by_side),
        OVER_ALL(a_residence_may_go_to_another_device),
    };
    return cmocka_run_group_tests_name("device host", tests, make_files, remove_files);
}
