/* SPDX-License-Identifier: Apache-2.0 */
/* Who does not come back in time: engines that are still in a call given up or canceled, and leases past their
 * lease_ms. What each of them keeps, and what the host is told meanwhile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdatomic.h>
#include <string.h>

#include "support/host.h"
#include "waiter.h"

static struct test_folder folder;
static struct test_file   file;

static const struct test_request deaf_request = { .kind = REQUEST_DEAF };

struct fixture {
    struct test_engine engine;
    sgi_runtime       *rt;
    sgi_model          model;
    sgi_error          err;
};

static void set_up_with(struct fixture *f, const sgi_runtime_config *config, uint32_t leases_max)
{
    memset(f, 0, sizeof *f);
    f->err = (sgi_error)SGI_ERROR_INIT;
    test_engine_init(&f->engine, false, true);
    f->rt = host_open(config);
    sgi_model_config mc = host_model("m", file.path, &f->engine);
    mc.leases_max = leases_max;
    f->model = host_register(f->rt, &mc);
}

static void set_up(struct fixture *f)
{
    sgi_runtime_config config = host_config();
    set_up_with(f, &config, 0);
}

static void set_up_impatient(struct fixture *f)
{
    sgi_runtime_config config = host_config();
    config.hang_timeout_ms = 50;
    set_up_with(f, &config, 0);
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

static bool one_waits(void *user)
{
    struct fixture *f = user;
    return host_info(f->rt).requests_waiting == 1;
}

static bool nothing_is_out(void *user)
{
    struct fixture *f = user;
    return host_state(f->rt, f->model).calls_out == 0;
}

/* ---- calls given up, engines that hang ---- */

static void a_call_given_up_has_its_lease_until_the_engine_is_back(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    struct test_request empty = { .kind = REQUEST_EMIT };
    sgi_lease           lease = host_acquire(f.rt, f.model), none = 0;
    sgi_call            call = 0, next = 0;
    struct waiter       t = { .model = f.model };

    gate_close(&f.engine.gates[ENGINE_CALL]);
    assert_int_equal(sgi_call_begin(f.rt, lease, &deaf_request, sizeof deaf_request, 0, &call, &f.err), SGI_OK);
    gate_wait_arrived(&f.engine.gates[ENGINE_CALL], 1);
    assert_int_equal(sgi_call_end(f.rt, call), SGI_OK);
    assert_int_equal(sgi_call_begin(f.rt, lease, &empty, sizeof empty, 0, &next, &f.err), SGI_E_BUSY);
    host_error_is(&f.err, SGI_E_BUSY, SGI_STEP_NONE, "given up");
    host_release(f.rt, lease);
    assert_int_equal(sgi_lease_release(f.rt, lease), SGI_E_STALE);
    assert_int_equal(sgi_model_try_acquire(f.rt, f.model, NULL, &none), SGI_E_WOULD_BLOCK);
    assert_int_equal(host_state(f.rt, f.model).state, SGI_MODEL_BUSY);
    assert_int_equal(host_state(f.rt, f.model).leases_count, 0);
    assert_int_equal(host_state(f.rt, f.model).calls_out, 1);
    waiter_start(&t, f.rt, wait_for_lease);
    test_wait_until(one_waits, &f, "nobody waits");
    assert_int_equal(sgi_model_try_acquire(f.rt, f.model, NULL, &none), SGI_E_WOULD_BLOCK);
    assert_int_equal(atomic_load(&t.ended), 0);
    gate_open(&f.engine.gates[ENGINE_CALL]);
    assert_int_equal(waiter_end(&t), SGI_OK);
    assert_int_equal(sgi_lease_call(f.rt, t.lease, &empty, sizeof empty, SGI_FOREVER, NULL, NULL, &f.err), SGI_OK);
    assert_int_equal(atomic_load(&f.engine.calls_at_once_max), 1);
    host_release(f.rt, t.lease);
    tear_down(&f);
}

static void of_two_leases_one_call_given_up_takes_one(void **state)
{
    (void)state;
    struct fixture     f;
    sgi_runtime_config config = host_config();
    set_up_with(&f, &config, 2);
    sgi_lease lease = host_acquire(f.rt, f.model), other = 0, none = 0;
    sgi_call  call = 0;

    gate_close(&f.engine.gates[ENGINE_CALL]);
    assert_int_equal(sgi_call_begin(f.rt, lease, &deaf_request, sizeof deaf_request, 0, &call, &f.err), SGI_OK);
    gate_wait_arrived(&f.engine.gates[ENGINE_CALL], 1);
    assert_int_equal(sgi_call_end(f.rt, call), SGI_OK);
    host_release(f.rt, lease);
    assert_int_equal(sgi_model_try_acquire(f.rt, f.model, NULL, &other), SGI_OK);
    assert_int_equal(sgi_model_try_acquire(f.rt, f.model, NULL, &none), SGI_E_WOULD_BLOCK);
    gate_open(&f.engine.gates[ENGINE_CALL]);
    test_wait_until(nothing_is_out, &f, "a call does not come back");
    assert_int_equal(sgi_model_try_acquire(f.rt, f.model, NULL, &lease), SGI_OK);
    host_release(f.rt, lease);
    host_release(f.rt, other);
    tear_down(&f);
}

static void a_wedged_call_ends_for_its_user_while_the_engine_is_out(void **state)
{
    (void)state;
    struct fixture f;
    set_up_impatient(&f);
    sgi_lease lease = host_acquire(f.rt, f.model);
    sgi_call  call = 0, next = 0;
    char      buffer[8];
    size_t    bytes;

    gate_close(&f.engine.gates[ENGINE_CALL]);
    assert_int_equal(sgi_call_begin(f.rt, lease, &deaf_request, sizeof deaf_request, 6, &call, &f.err), SGI_OK);
    gate_wait_arrived(&f.engine.gates[ENGINE_CALL], 1);
    struct waiter t = { .call = call };
    waiter_start(&t, f.rt, wait_for_piece);
    assert_int_equal(sgi_call_cancel(f.rt, call), SGI_OK);
    sgi_completion c = host_next(f.rt);
    assert_true(c.kind == SGI_COMPLETION_CALL && c.call == call && c.tag == 6);
    assert_int_equal(c.status, SGI_E_WEDGED);
    host_error_is(&c.error, SGI_E_WEDGED, SGI_STEP_CALL, "'m'");
    assert_int_equal(waiter_end(&t), SGI_OK);
    for (int n = 0; n < 2; n++) {
        assert_int_equal(sgi_call_read(f.rt, call, buffer, sizeof buffer, &bytes, &f.err), SGI_E_WEDGED);
        host_error_is(&f.err, SGI_E_WEDGED, SGI_STEP_CALL, "50 ms");
    }
    assert_int_equal(host_state(f.rt, f.model).state, SGI_MODEL_WEDGED);
    assert_int_equal(host_state(f.rt, f.model).calls_out, 1);
    assert_int_equal(sgi_call_end(f.rt, call), SGI_OK);
    assert_int_equal(sgi_call_begin(f.rt, lease, &deaf_request, sizeof deaf_request, 0, &next, &f.err), SGI_E_WEDGED);
    host_error_is(&f.err, SGI_E_WEDGED, SGI_STEP_NONE, "model 'm': ");
    assert_int_equal(sgi_lease_call(f.rt, lease, &deaf_request, sizeof deaf_request, 1, NULL, NULL, &f.err),
                     SGI_E_WEDGED);
    host_error_is(&f.err, SGI_E_WEDGED, SGI_STEP_NONE, "model 'm': ");
    assert_int_equal(test_engine_count(&f.engine, ENGINE_CALL), 1);
    assert_int_equal(gate_passed(&f.engine.gates[ENGINE_CALL]), 0);
    gate_open(&f.engine.gates[ENGINE_CALL]);
    host_release(f.rt, lease);
    host_wait_state(f.rt, f.model, SGI_MODEL_COLD);
    no_completion(&f); /* the engine's own end comes too late to be told */
    tear_down(&f);
}

static void a_blocking_call_ends_when_its_engine_hangs(void **state)
{
    (void)state;
    struct fixture f;
    set_up_impatient(&f);
    struct waiter t = { .lease = host_acquire(f.rt, f.model), .request_kind = REQUEST_DEAF };

    gate_close(&f.engine.gates[ENGINE_CALL]);
    waiter_start(&t, f.rt, wait_for_answer);
    gate_wait_arrived(&f.engine.gates[ENGINE_CALL], 1);
    assert_int_equal(sgi_lease_cancel(f.rt, t.lease), SGI_OK);
    assert_int_equal(waiter_end(&t), SGI_E_WEDGED);
    host_error_is(&t.err, SGI_E_WEDGED, SGI_STEP_CALL, "'m'");
    assert_int_equal(gate_passed(&f.engine.gates[ENGINE_CALL]), 0);
    gate_open(&f.engine.gates[ENGINE_CALL]);
    host_release(f.rt, t.lease);
    tear_down(&f);
}

/* ---- leases ---- */

static bool one_is_overdue(void *user)
{
    struct fixture *f = user;
    return host_state(f->rt, f->model).leases_overdue == 1;
}

static void an_overdue_lease_is_named_and_begins_no_call(void **state)
{
    (void)state;
    struct fixture     f;
    sgi_runtime_config config = host_config();
    set_up_with(&f, &config, 2);
    sgi_acquire_options o;
    sgi_lease           late = 0, other = host_acquire(f.rt, f.model);
    sgi_call            call = 0;

    sgi_acquire_options_init(&o, sizeof o);
    o.lease_ms = 10;
    assert_int_equal(sgi_model_acquire_wait(f.rt, f.model, &o, &late, &f.err), SGI_OK);
    test_wait_until(one_is_overdue, &f, "the lease does not become overdue");
    assert_int_equal(host_state(f.rt, f.model).leases_count, 2);
    assert_int_equal(sgi_call_begin(f.rt, late, NULL, 0, 0, &call, &f.err), SGI_E_TIMEOUT);
    host_error_is(&f.err, SGI_E_TIMEOUT, SGI_STEP_NONE, "lease_ms");
    assert_int_equal(sgi_lease_call(f.rt, late, NULL, 0, SGI_FOREVER, NULL, NULL, &f.err), SGI_E_TIMEOUT);
    assert_int_equal(sgi_lease_call(f.rt, other, NULL, 0, SGI_FOREVER, NULL, NULL, &f.err), SGI_OK);
    host_same_bytes(f.rt, f.model, late, &file); /* its memory stays */
    assert_int_equal(sgi_model_unregister(f.rt, f.model, 1, &f.err), SGI_E_TIMEOUT);
    host_error_is(&f.err, SGI_E_TIMEOUT, SGI_STEP_NONE, "2 leases, 1 overdue");
    assert_int_equal(sgi_runtime_close(f.rt, 1, &f.err), SGI_E_TIMEOUT);
    host_error_is(&f.err, SGI_E_TIMEOUT, SGI_STEP_NONE, "model 'm': 2 leases, 1 overdue");
    host_release(f.rt, late);
    assert_int_equal(host_state(f.rt, f.model).leases_overdue, 0);
    assert_int_equal(sgi_runtime_close(f.rt, 1, &f.err), SGI_E_TIMEOUT);
    assert_null(strstr(f.err.message, "overdue"));
    host_release(f.rt, other);
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
        cmocka_unit_test(a_call_given_up_has_its_lease_until_the_engine_is_back),
        cmocka_unit_test(of_two_leases_one_call_given_up_takes_one),
        cmocka_unit_test(a_wedged_call_ends_for_its_user_while_the_engine_is_out),
        cmocka_unit_test(a_blocking_call_ends_when_its_engine_hangs),
        cmocka_unit_test(an_overdue_lease_is_named_and_begins_no_call),
    };
    return cmocka_run_group_tests_name("overdue", tests, make_files, remove_files);
}
