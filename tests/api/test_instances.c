/* SPDX-License-Identifier: Apache-2.0 */
/* A model on several devices at once, and what an estimate says of it. Which instance is started when is
 * tests/unit/test_core_instances.c; that estimates hold is the simulator's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "support/host.h"

enum { DEVICES_MAX = 8 };

static struct test_folder folder;
static struct test_file   file;

struct fixture {
    struct test_engine engine;
    sgi_device_config  devices[DEVICES_MAX];
    char               names[DEVICES_MAX][16];
    sgi_runtime       *rt;
    sgi_model          model;
    sgi_error          err;
};

static void set_up(struct fixture *f, uint32_t devices, uint64_t device_bytes, uint32_t instances_max)
{
    memset(f, 0, sizeof *f);
    f->err = (sgi_error)SGI_ERROR_INIT;
    test_engine_init(&f->engine, true, true);
    sgi_runtime_config config = host_config();
    for (uint32_t n = 0; n < devices; n++) {
        snprintf(f->names[n], sizeof f->names[n], "host:%u", n);
        f->devices[n] = (sgi_device_config){ .struct_size = sizeof f->devices[n],
                                             .name = f->names[n],
                                             .bytes_max = device_bytes };
    }
    config.devices = f->devices;
    config.devices_count = devices;
    config.dram_bytes_max = MIB(16);
    f->rt = host_open(&config);
    sgi_model_config mc = host_model("m", file.path, &f->engine);
    mc.instances_max = instances_max;
    f->model = host_register(f->rt, &mc);
}

static void tear_down(struct fixture *f)
{
    host_close(f->rt);
    assert_int_equal(atomic_load(&f->engine.live), 0);
    test_engine_fini(&f->engine);
}

static uint32_t instances_on(struct fixture *f, uint32_t devices)
{
    uint32_t count = 0;
    for (uint32_t n = 0; n < devices; n++) {
        assert_true(host_device(f->rt, n).instances_count <= 1);
        count += host_device(f->rt, n).instances_count;
    }
    return count;
}

static void who_would_wait_longer_than_a_start_gets_an_instance_of_its_own(void **state)
{
    (void)state;
    static const uint32_t devices[] = { 2, 8 };
    for (size_t n = 0; n < sizeof devices / sizeof *devices; n++) {
        struct fixture f;
        sgi_lease      leases[DEVICES_MAX];
        set_up(&f, devices[n], MIB(16), devices[n]);
        for (uint32_t k = 0; k < devices[n]; k++) { /* each takes one lease, and nobody gives one back */
            leases[k] = host_acquire(f.rt, f.model);
            host_same_bytes(f.rt, f.model, leases[k], &file);
            assert_int_equal(host_state(f.rt, f.model).instances_count, k + 1);
            assert_int_equal(instances_on(&f, devices[n]), k + 1);
        }
        assert_int_equal(atomic_load(&f.engine.live), devices[n]);
        assert_int_equal(test_engine_count(&f.engine, ENGINE_PREPARE), 1);
        struct test_request request = { .kind = REQUEST_EMIT, .pieces = 3, .piece_bytes = 100 };
        char                out[512];
        size_t              bytes;
        for (uint32_t k = 0; k < devices[n]; k++)
            assert_int_equal(host_call(f.rt, leases[k], &request, sizeof request, out, sizeof out, &bytes, &f.err),
                             SGI_OK);
        for (uint32_t k = 0; k < devices[n]; k++)
            host_release(f.rt, leases[k]);
        assert_int_equal(sgi_model_evict(f.rt, f.model, SGI_TIER_DRAM), SGI_OK);
        host_wait_state(f.rt, f.model, SGI_MODEL_COLD);
        host_wait_threads(f.rt, 1);
        assert_int_equal(host_info(f.rt).device_bytes, 0);
        sgi_model_info info = { .struct_size = sizeof info };
        sgi_model_describe(f.rt, f.model, &info);
        assert_int_equal(host_info(f.rt).dram_bytes, info.image_bytes); /* one of them is kept, the others are gone */
        tear_down(&f);
    }
}

static void there_are_no_more_than_were_allowed_or_fit(void **state)
{
    (void)state;
    static const struct {
        uint32_t devices, instances_max;
    } cases[] = { { 2, 1 }, { 1, 4 }, { 3, 2 } };
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        struct fixture      f;
        sgi_lease           leases[2], none = 0;
        sgi_acquire_options o;
        set_up(&f, cases[n].devices, MIB(16), cases[n].instances_max);
        uint32_t most = cases[n].devices < cases[n].instances_max ? cases[n].devices : cases[n].instances_max;
        for (uint32_t k = 0; k < most; k++)
            leases[k] = host_acquire(f.rt, f.model);
        sgi_acquire_options_init(&o, sizeof o);
        o.deadline_ms = 100;
        assert_int_equal(sgi_model_acquire_wait(f.rt, f.model, &o, &none, &f.err), SGI_E_TIMEOUT);
        assert_int_equal(host_state(f.rt, f.model).instances_count, most);
        for (uint32_t k = 0; k < most; k++)
            host_release(f.rt, leases[k]);
        tear_down(&f);
    }
    struct fixture f;
    set_up(&f, 1, MIB(16), 0);
    sgi_model_config mc = host_model("many", file.path, NULL);
    sgi_model        model = 0;
    mc.instances_max = 17;
    assert_int_equal(sgi_model_register(f.rt, &mc, &model, &f.err), SGI_E_INVALID);
    host_error_is(&f.err, SGI_E_INVALID, SGI_STEP_NONE, "instances_max");
    tear_down(&f);
}

/* A model runs where it may: a hint elsewhere, an emptier device elsewhere, and room elsewhere change nothing. */
static void a_model_runs_only_where_it_may(void **state)
{
    (void)state;
    struct fixture      f;
    sgi_acquire_options o;
    sgi_estimate        e = { .struct_size = sizeof e };
    sgi_lease           first = 0, second = 0;

    set_up(&f, 3, MIB(4), 0); /* room for one on each */
    sgi_model_config mc = host_model("a", file.path, NULL);
    mc.devices_mask = 1u << 1;
    sgi_model a = host_register(f.rt, &mc);
    mc.name = "b";
    sgi_model b = host_register(f.rt, &mc);
    sgi_acquire_options_init(&o, sizeof o);
    o.device_hint = 0;
    assert_int_equal(sgi_model_estimate(f.rt, a, &o, &e, NULL, 0), SGI_OK);
    assert_int_equal(e.device, 1);
    assert_int_equal(sgi_model_acquire_wait(f.rt, a, &o, &first, &f.err), SGI_OK);
    assert_int_equal(host_device(f.rt, 1).instances_count, 1);

    o.deadline_ms = 50; /* the others are empty, and not for it */
    assert_int_equal(sgi_model_acquire_wait(f.rt, b, &o, &second, &f.err), SGI_E_TIMEOUT);
    assert_int_equal(host_device(f.rt, 0).instances_count + host_device(f.rt, 2).instances_count, 0);
    host_release(f.rt, first);
    o.deadline_ms = 0;
    assert_int_equal(sgi_model_acquire_wait(f.rt, b, &o, &second, &f.err), SGI_OK);
    assert_int_equal(host_device(f.rt, 1).instances_count, 1);
    host_release(f.rt, second);

    mc.name = "c";
    mc.devices_mask = 1u << 3;
    assert_int_equal(sgi_model_register(f.rt, &mc, &a, &f.err), SGI_E_INVALID);
    host_error_is(&f.err, SGI_E_INVALID, SGI_STEP_NONE, "model 'c': devices_mask 0x8 names a device past number 2");
    mc.devices_mask = 0;
    mc.residence = 3;
    assert_int_equal(sgi_model_register(f.rt, &mc, &a, &f.err), SGI_E_INVALID);
    host_error_is(&f.err, SGI_E_INVALID, SGI_STEP_NONE, "residence 3");
    tear_down(&f);
}

/* It does not fit where it may be, and would elsewhere: that is told at once. */
static void one_that_fits_only_where_it_may_not_be_is_refused(void **state)
{
    (void)state;
    struct fixture f;
    sgi_error      err = SGI_ERROR_INIT;

    set_up(&f, 2, MIB(16), 0);
    host_close(f.rt);
    sgi_runtime_config config = host_config();
    f.devices[0].bytes_max = MIB(1);
    config.devices = f.devices;
    config.devices_count = 2;
    f.rt = host_open(&config);
    sgi_model_config mc = host_model("m", file.path, NULL);
    mc.devices_mask = 1;
    sgi_model m = host_register(f.rt, &mc);
    assert_int_equal(host_acquire_fails(f.rt, m, &err), SGI_E_NO_ROOM);
    tear_down(&f);
}

/* ---- what would happen ---- */

static sgi_estimate estimate(struct fixture *f, sgi_model model, sgi_model *evicted)
{
    sgi_estimate e = { .struct_size = sizeof e };
    assert_int_equal(sgi_model_estimate(f->rt, model, NULL, &e, evicted, evicted ? 1 : 0), SGI_OK);
    return e;
}

static void an_estimate_says_what_an_acquire_would_meet(void **state)
{
    (void)state;
    struct fixture f;
    sgi_model      evicted = 0;
    set_up(&f, 1, MIB(8), 1);
    sgi_model_config mc = host_model("other", file.path, NULL);
    sgi_model        other = host_register(f.rt, &mc);
    mc.name = "huge";
    mc.engine_bytes = MIB(64);
    mc.engine = &f.engine.table;
    sgi_model    huge = host_register(f.rt, &mc);
    sgi_estimate e = estimate(&f, f.model, NULL);

    assert_true(e.outlook == SGI_ESTIMATE_LOAD && e.device == 0 && e.tier == SGI_TIER_DISK);
    assert_true(e.expected_ns == UINT64_MAX); /* nothing is known yet */
    assert_int_equal(host_state(f.rt, f.model).state, SGI_MODEL_COLD);
    e = estimate(&f, huge, NULL);
    assert_true(e.outlook == SGI_ESTIMATE_REFUSED && e.status == SGI_E_NO_ROOM);

    sgi_lease lease = host_acquire(f.rt, f.model);
    e = estimate(&f, f.model, NULL);
    assert_true(e.outlook == SGI_ESTIMATE_WAIT && e.expected_ns == UINT64_MAX); /* no lease has ended yet */
    host_release(f.rt, lease);
    e = estimate(&f, f.model, NULL);
    assert_true(e.outlook == SGI_ESTIMATE_WARM && e.device == 0 && e.expected_ns == 0);
    assert_int_equal(e.device_bytes, host_state(f.rt, f.model).device_bytes);

    host_release(f.rt, host_acquire(f.rt, other));
    mc.name = "third";
    mc.engine_bytes = 0;
    mc.engine = NULL;
    sgi_model third = host_register(f.rt, &mc);
    e = estimate(&f, third, &evicted);
    assert_true(e.outlook == SGI_ESTIMATE_EVICT && e.evicted_count == 1 && evicted == f.model && e.lacking_bytes > 0);
    assert_true(e.expected_ns < UINT64_MAX); /* as fast as others were */
    host_release(f.rt, host_acquire(f.rt, third));
    assert_int_equal(host_state(f.rt, f.model).state, SGI_MODEL_COLD); /* and so it was */
    assert_int_equal(host_state(f.rt, other).state, SGI_MODEL_READY);
    e = estimate(&f, f.model, NULL);
    assert_int_equal(e.tier, SGI_TIER_DRAM);

    assert_int_equal(sgi_model_estimate(f.rt, f.model, NULL, NULL, NULL, 0), SGI_E_INVALID);
    assert_int_equal(sgi_model_estimate(f.rt, 5, NULL, &e, NULL, 0), SGI_E_STALE);
    assert_int_equal(sgi_runtime_drain(f.rt), SGI_OK);
    assert_int_equal(sgi_model_estimate(f.rt, f.model, NULL, &e, NULL, 0), SGI_E_CLOSED);
    tear_down(&f);
}

static int make_file(void **state)
{
    (void)state;
    test_folder_make(&folder);
    test_file_make_one(&file, &folder, "m.safetensors", MIB(3) + 77);
    return 0;
}

static int remove_file(void **state)
{
    (void)state;
    test_file_free(&file);
    test_folder_remove(&folder);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_would_wait_longer_than_a_start_gets_an_instance_of_its_own),
        cmocka_unit_test(there_are_no_more_than_were_allowed_or_fit),
        cmocka_unit_test(a_model_runs_only_where_it_may),
        cmocka_unit_test(one_that_fits_only_where_it_may_not_be_is_refused),
        cmocka_unit_test(an_estimate_says_what_an_acquire_would_meet),
    };
    return cmocka_run_group_tests_name("instances", tests, make_file, remove_file);
}
