/* SPDX-License-Identifier: Apache-2.0 */
/* Models that come and go without a lease: prefetches that tell nobody, and everything evicted at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdatomic.h>
#include <string.h>

#include "support/host.h"

static struct test_folder folder;
static struct test_file   file;

struct fixture {
    struct test_engine engine;
    sgi_runtime       *rt;
    sgi_model          model, plain; /* with the engine, and without one */
    sgi_error          err;
};

static void set_up_with(struct fixture *f, const sgi_runtime_config *config)
{
    memset(f, 0, sizeof *f);
    f->err = (sgi_error)SGI_ERROR_INIT;
    test_engine_init(&f->engine, false, true);
    f->rt = host_open(config);
    f->model = host_add(f->rt, "m", file.path, &f->engine);
    f->plain = host_add(f->rt, "plain", file.path, NULL);
}

static void set_up(struct fixture *f)
{
    sgi_runtime_config config = host_config();
    set_up_with(f, &config);
}

static void tear_down(struct fixture *f)
{
    host_close(f->rt);
    test_engine_fini(&f->engine);
}

static void no_completion(struct fixture *f)
{
    sgi_completion none = { .struct_size = sizeof none };
    assert_int_equal(sgi_completion_next(f->rt, &none), SGI_E_WOULD_BLOCK);
}

static void evicting_all_skips_pinned_leased_and_wanted_models(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    struct test_engine slow;
    test_engine_init(&slow, false, false);
    sgi_model  pinned = host_add(f.rt, "pinned", file.path, NULL), leased = host_add(f.rt, "leased", file.path, NULL);
    sgi_model  wanted = host_add(f.rt, "wanted", file.path, &slow);
    sgi_ticket ticket = 0;
    sgi_lease  granted = 0;

    host_release(f.rt, host_acquire(f.rt, f.model));
    host_release(f.rt, host_acquire(f.rt, f.plain));
    host_release(f.rt, host_acquire(f.rt, pinned));
    assert_int_equal(sgi_model_pin(f.rt, pinned, SGI_TIER_DEVICE, NULL), SGI_OK);
    sgi_lease lease = host_acquire(f.rt, leased);
    gate_close(&slow.gates[ENGINE_START]);
    assert_int_equal(sgi_model_acquire(f.rt, wanted, NULL, &ticket, NULL, NULL, NULL), SGI_OK);
    gate_wait_arrived(&slow.gates[ENGINE_START], 1);

    assert_int_equal(sgi_runtime_evict(f.rt, SGI_TIER_DEVICE), SGI_E_INVALID);
    assert_int_equal(sgi_runtime_evict(f.rt, 77), SGI_E_INVALID);
    assert_int_equal(sgi_runtime_evict(f.rt, SGI_TIER_DISK), SGI_OK);
    host_wait_state(f.rt, f.model, SGI_MODEL_COLD);
    host_wait_state(f.rt, f.plain, SGI_MODEL_COLD);
    assert_int_equal(host_state(f.rt, pinned).state, SGI_MODEL_READY);
    assert_int_equal(host_state(f.rt, leased).state, SGI_MODEL_BUSY);
    assert_int_equal(test_engine_count(&f.engine, ENGINE_STOP), 1);
    assert_int_equal(test_engine_count(&f.engine, ENGINE_DISCARD), 0); /* that is SGI_EVICT_ALL */
    gate_open(&slow.gates[ENGINE_START]);
    assert_int_equal(sgi_ticket_wait(f.rt, ticket, HOST_WAIT_MS, &granted, &f.err), SGI_OK);
    host_release(f.rt, granted);
    host_same_bytes(f.rt, leased, lease, &file);
    host_release(f.rt, lease);

    assert_int_equal(sgi_runtime_evict(f.rt, SGI_EVICT_ALL), SGI_OK);
    host_wait_state(f.rt, leased, SGI_MODEL_COLD);
    gate_wait_arrived(&f.engine.gates[ENGINE_DISCARD], 1);
    assert_int_equal(host_state(f.rt, pinned).state, SGI_MODEL_READY);
    tear_down(&f);
    test_engine_fini(&slow);
}

static bool has_failed(void *user)
{
    struct fixture *f = user;
    return host_state(f->rt, f->model).failures_count > 0;
}

static void a_silent_prefetch_works_and_tells_nobody(void **state)
{
    (void)state;
    struct fixture     f;
    sgi_runtime_config config = host_config();
    config.requests_max = 2;
    set_up_with(&f, &config);
    sgi_acquire_options o;
    sgi_ticket          ticket = 0;
    sgi_lease           lease = 0;

    sgi_acquire_options_init(&o, sizeof o);
    o.flags = SGI_PREFETCH_SILENT;
    for (int n = 0; n < 6; n++) { /* more than requests_max, and none is left unread */
        assert_int_equal(sgi_model_prefetch(f.rt, f.plain, SGI_TIER_DEVICE, &o, &ticket, NULL, NULL, NULL), SGI_OK);
        host_wait_state(f.rt, f.plain, SGI_MODEL_READY);
    }
    assert_int_equal(host_state(f.rt, f.plain).loads_count, 1);
    no_completion(&f);
    assert_int_equal(sgi_model_try_acquire(f.rt, f.plain, NULL, &lease), SGI_OK);
    host_same_bytes(f.rt, f.plain, lease, &file);
    host_release(f.rt, lease);

    atomic_store(&f.engine.fail[ENGINE_START], SGI_E_ENGINE);
    assert_int_equal(sgi_model_prefetch(f.rt, f.model, SGI_TIER_DEVICE, &o, &ticket, NULL, NULL, NULL), SGI_OK);
    test_wait_until(has_failed, &f, "it does not fail");
    no_completion(&f);
    /* A lease that nobody is told of would be held for ever. */
    assert_int_equal(sgi_model_acquire(f.rt, f.plain, &o, &ticket, NULL, NULL, NULL), SGI_E_INVALID);
    assert_int_equal(host_info(f.rt).leases_count, 0);
    tear_down(&f);
}

static int make_files(void **state)
{
    (void)state;
    test_folder_make(&folder);
    test_file_make_one(&file, &folder, "m.safetensors", 20000);
    return 0;
}

static int remove_files(void **state)
{
    (void)state;
    test_file_free(&file);
    test_folder_remove(&folder);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(evicting_all_skips_pinned_leased_and_wanted_models),
        cmocka_unit_test(a_silent_prefetch_works_and_tells_nobody),
    };
    return cmocka_run_group_tests_name("tiers", tests, make_files, remove_files);
}
