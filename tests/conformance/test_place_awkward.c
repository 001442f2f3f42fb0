/* SPDX-License-Identifier: Apache-2.0 */
/* What the runtime does when a place takes its time, loses devices, or dies with everything in it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "place_fixture.h"

static const struct subject awkward = { "test", &test_place_ops, 1 };

/* A place may report before its op returns. Whoever is still in that op will touch the runtime again. */
static struct gate in_context_close;

static void context_close_slowly(struct sgi__place *p, uint64_t op, int32_t device)
{
    sgi__place_local.context_close(p, op, device);
    gate_pass(&in_context_close);
}

/* For a thread of its own: it may stay in there. */
static void *advance_linger(void *arg)
{
    advance(arg, LINGER_MS);
    return NULL;
}

static void close_waits_for_a_thread_that_is_still_in_an_op(void **state)
{
    struct sgi__place_ops ops = sgi__place_local;
    const struct subject  slow = { "slow", &ops, 0 };
    sgi_runtime_config    config = place_config();
    struct fixture        f;
    pthread_t             beside;
    sgi_error             err = { .struct_size = sizeof err };
    (void)state;

    gate_init(&in_context_close);
    ops.context_close = context_close_slowly;
    set_up_with(&f, &slow, &config);
    host_release(f.rt, host_acquire(f.rt, f.plain));
    gate_close(&in_context_close);
    assert_int_equal(sgi_model_evict(f.rt, f.plain, SGI_TIER_DISK), SGI_OK);
    host_wait_state(f.rt, f.plain, SGI_MODEL_COLD);
    assert_int_equal(pthread_create(&beside, NULL, advance_linger, &f), 0); /* closes the context, and stays in there */
    gate_wait_arrived(&in_context_close, 1);
    assert_int_equal(sgi_runtime_close(f.rt, 20, &err), SGI_E_TIMEOUT);
    gate_open(&in_context_close);
    tear_down(&f);
    pthread_join(beside, NULL);
    gate_fini(&in_context_close);
}

/* Under nothing: one thread at a time is in an op. */
static bool in_reserve, loaded_within;

static void reserve_marked(struct sgi__place *p, uint64_t op, sgi_model model, uint64_t instance, int32_t device,
                           uint32_t tier, bool packed, uint64_t shared_bytes)
{
    in_reserve = true;
    sgi__place_local.reserve(p, op, model, instance, device, tier, packed,
                             shared_bytes); /* reports before it returns */
    in_reserve = false;
}

static void load_marked(struct sgi__place *p, uint64_t op, sgi_model model, uint64_t instance, int32_t priority,
                        enum sgi__keep keep, uint64_t shared_bytes)
{
    loaded_within |= in_reserve;
    sgi__place_local.load(p, op, model, instance, priority, keep, shared_bytes);
}

static void an_op_ends_before_the_next_one_begins(void **state)
{
    struct sgi__place_ops ops = sgi__place_local;
    const struct subject  marked = { "marked", &ops, 0 };
    sgi_runtime_config    config = place_config();
    struct fixture        f;
    (void)state;

    in_reserve = loaded_within = false;
    ops.reserve = reserve_marked;
    ops.load = load_marked;
    set_up_with(&f, &marked, &config);
    host_release(f.rt, host_acquire(f.rt, f.plain));
    assert_int_equal(sgi_model_evict(f.rt, f.plain, SGI_EVICT_ALL), SGI_OK);
    host_wait_state(f.rt, f.plain, SGI_MODEL_COLD);
    host_release(f.rt, host_acquire(f.rt, f.plain)); /* its context is there still: the load follows at once */
    assert_false(loaded_within);
    tear_down(&f);
}

static void results_may_take_their_time(void **state)
{
    static const enum sgi__place_event_kind kinds[] = { SGI__PLACE_SOURCE_CHECKED, SGI__PLACE_CONTEXT_OPENED,
                                                        SGI__PLACE_RESERVED,       SGI__PLACE_LOADED,
                                                        SGI__PLACE_PREPARED,       SGI__PLACE_ENGINE_STARTED };
    for (size_t n = 0; n < sizeof kinds / sizeof *kinds; n++) {
        struct fixture f;
        sgi_ticket     ticket;
        sgi_completion c = { .struct_size = sizeof c };
        set_up(&f, state);

        test_place_hold(f.tp, kinds[n]);
        assert_int_equal(sgi_model_acquire(f.rt, f.model, NULL, &ticket, NULL, NULL, NULL), SGI_OK);
        test_place_wait_held(f.tp, kinds[n]);
        assert_int_equal(sgi_completion_next(f.rt, &c), SGI_E_WOULD_BLOCK); /* a grant needs every one of them */
        assert_int_equal(host_state(f.rt, f.model).leases_count, 0);
        test_place_let_go(f.tp, kinds[n]);
        c = host_next(f.rt);
        assert_int_equal(c.status, SGI_OK);
        host_same_bytes(f.rt, f.model, c.lease, &f.file);
        host_release(f.rt, c.lease);
        tear_down(&f);
    }
}

static void a_cancel_while_a_result_is_out_gives_everything_back(void **state)
{
    static const enum sgi__place_event_kind kinds[] = { SGI__PLACE_SOURCE_CHECKED, SGI__PLACE_CONTEXT_OPENED,
                                                        SGI__PLACE_RESERVED,       SGI__PLACE_LOADED,
                                                        SGI__PLACE_PREPARED,       SGI__PLACE_ENGINE_STARTED };
    for (size_t n = 0; n < sizeof kinds / sizeof *kinds; n++) {
        struct fixture f;
        sgi_ticket     ticket;
        set_up(&f, state);

        test_place_hold(f.tp, kinds[n]);
        assert_int_equal(sgi_model_acquire(f.rt, f.model, NULL, &ticket, NULL, NULL, NULL), SGI_OK);
        test_place_wait_held(f.tp, kinds[n]);
        assert_int_equal(sgi_acquire_cancel(f.rt, ticket), SGI_OK);
        assert_int_equal(sgi_acquire_cancel(f.rt, ticket), SGI_E_STALE);
        assert_int_equal(host_next(f.rt).status, SGI_E_CANCELED);
        test_place_let_go(f.tp, kinds[n]);
        host_wait_state(f.rt, f.model, SGI_MODEL_COLD);
        assert_int_equal(device_bytes(&f), 0);
        sgi_lease lease = host_acquire(f.rt, f.model);
        host_same_bytes(f.rt, f.model, lease, &f.file);
        host_release(f.rt, lease);
        tear_down(&f);
    }
}

static void a_place_that_dies_takes_its_leases_and_calls_and_nothing_else(void **state)
{
    struct fixture f;
    set_up(&f, state);
    struct test_request request = { .kind = REQUEST_POLL };
    sgi_error           err = { .struct_size = sizeof err };
    sgi_view            view = { .struct_size = sizeof view };
    sgi_call            call = 0;
    size_t              got;
    char                piece[8];

    sgi_lease lease = host_acquire(f.rt, f.model), plain = host_acquire(f.rt, f.plain);
    assert_int_equal(sgi_call_begin(f.rt, lease, &request, sizeof request, 9, &call, &err), SGI_OK);
    gate_wait_arrived(&f.engine.gates[ENGINE_CALL], 1);
    test_place_die(f.tp);

    sgi_completion c = host_next(f.rt);
    assert_true(c.kind == SGI_COMPLETION_CALL && c.call == call && c.tag == 9);
    assert_int_equal(c.status, SGI_E_DEVICE_LOST);
    assert_int_equal(sgi_call_read(f.rt, call, piece, sizeof piece, &got, &err), SGI_E_DEVICE_LOST);
    assert_true(strlen(err.message) > 0);
    assert_int_equal(device_bytes(&f), 0); /* its memory went with it, whoever still holds a lease */
    assert_int_equal(host_device(f.rt, 0).lost, 1);

    /* Good for release only. */
    assert_int_equal(sgi_lease_tensor(f.rt, plain, 0, &view, &err), SGI_E_DEVICE_LOST);
    assert_int_equal(sgi_lease_tensor_wait(f.rt, plain, 0, 1, &err), SGI_E_DEVICE_LOST);
    assert_int_equal(sgi_call_begin(f.rt, lease, NULL, 0, 0, &call, &err), SGI_E_DEVICE_LOST);
    sgi_model third = host_add(f.rt, "third", f.plain_file.path, NULL);
    assert_int_equal(host_acquire_fails(f.rt, third, &err), SGI_E_DEVICE_LOST);
    assert_true(strlen(err.message) > 0);

    test_place_up(f.tp);
    assert_int_equal(host_device(f.rt, 0).lost, 0);
    host_release(f.rt, host_acquire(f.rt, third));
    assert_int_equal(sgi_lease_release(f.rt, lease), SGI_E_BUSY); /* its call is not ended yet */
    assert_int_equal(sgi_call_end(f.rt, c.call), SGI_OK);
    host_release(f.rt, lease);
    host_release(f.rt, plain);
    assert_int_equal(sgi_lease_release(f.rt, plain), SGI_E_STALE);
    lease = host_acquire(f.rt, f.model);
    plain = host_acquire(f.rt, f.plain);
    host_same_bytes(f.rt, f.model, lease, &f.file);
    host_same_bytes(f.rt, f.plain, plain, &f.plain_file);
    host_release(f.rt, lease);
    host_release(f.rt, plain);
    assert_int_equal(host_info(f.rt).leases_count, 0);
    tear_down(&f);
}

static void a_place_that_dies_in_the_middle_of_anything_can_be_used_again(void **state)
{
    static const enum sgi__place_event_kind kinds[] = { SGI__PLACE_SOURCE_CHECKED, SGI__PLACE_CONTEXT_OPENED,
                                                        SGI__PLACE_RESERVED,       SGI__PLACE_LOADED,
                                                        SGI__PLACE_PREPARED,       SGI__PLACE_ENGINE_STARTED };
    for (size_t n = 0; n < sizeof kinds / sizeof *kinds; n++) {
        struct fixture f;
        sgi_ticket     ticket;
        set_up(&f, state);

        host_release(f.rt, host_acquire(f.rt, f.plain)); /* a residence goes with it too */
        advance(&f, IDLE_MS);
        host_wait_state(f.rt, f.plain, SGI_MODEL_COLD);
        test_place_hold(f.tp, kinds[n]);
        advance(&f, LINGER_MS); /* so that there is a context to open */
        test_wait_until(context_closed, f.rt, "the context does not close");
        assert_int_equal(sgi_model_acquire(f.rt, f.model, NULL, &ticket, NULL, NULL, NULL), SGI_OK);
        test_place_wait_held(f.tp, kinds[n]);
        test_place_die(f.tp);
        sgi_completion c = host_next(f.rt);
        assert_true(c.ticket == ticket && c.status == SGI_E_DEVICE_LOST);
        assert_true(strlen(c.error.message) > 0);
        assert_true(test_place_lost(f.tp) > 0);
        assert_int_equal(host_info(f.rt).device_bytes, 0);
        assert_int_equal(host_info(f.rt).dram_bytes, 0);
        assert_int_equal(host_info(f.rt).prepared_bytes, 0);
        test_place_let_go(f.tp, kinds[n]);
        test_place_up(f.tp);
        sgi_lease lease = host_acquire(f.rt, f.model), plain = host_acquire(f.rt, f.plain);
        host_same_bytes(f.rt, f.model, lease, &f.file);
        host_same_bytes(f.rt, f.plain, plain, &f.plain_file);
        host_release(f.rt, lease);
        host_release(f.rt, plain);
        tear_down(&f);
    }
}

static void a_runtime_closes_over_a_dead_place(void **state)
{
    struct fixture f;
    set_up(&f, state);
    sgi_error err = { .struct_size = sizeof err };

    sgi_lease lease = host_acquire(f.rt, f.model);
    test_place_die(f.tp);
    assert_int_equal(sgi_runtime_close(f.rt, 1, &err), SGI_E_TIMEOUT);
    assert_non_null(strstr(err.message, "'m'"));
    host_release(f.rt, lease);
    tear_down(&f);
}

static bool the_buffer_is_full(void *user)
{
    struct fixture *f = user;
    return atomic_load(&f->engine.emitted) == 15; /* of 4 KiB: the next does not fit */
}

/* The pieces of a call whose place has died have no way out: whoever writes them is told so, and does not wait for a
 * reader. */
static void nobody_writes_into_a_call_that_died(void **state)
{
    struct fixture f;
    set_up(&f, state);
    struct test_request request = { .kind = REQUEST_EMIT, .pieces = 100, .piece_bytes = 4096 };
    sgi_error           err = { .struct_size = sizeof err };
    sgi_call            call = 0;

    sgi_lease lease = host_acquire(f.rt, f.model);
    assert_int_equal(sgi_call_begin(f.rt, lease, &request, sizeof request, 0, &call, &err), SGI_OK);
    test_wait_until(the_buffer_is_full, &f, "the buffer does not fill");
    test_place_die(f.tp);
    test_place_wait_reaped(f.tp); /* the engine has come back, though nobody has read or ended anything */
    assert_int_equal(atomic_load(&f.engine.calls_canceled), 1);
    assert_int_equal(sgi_call_end(f.rt, call), SGI_OK);
    host_release(f.rt, lease);
    tear_down(&f);
}

struct caller {
    struct fixture *f;
    sgi_lease       lease;
    sgi_status      status;
    sgi_call        call;
    sgi_error       err;
};

static void *begin_call(void *arg)
{
    static const struct test_request request = { .kind = REQUEST_POLL };
    struct caller                   *c = arg;
    c->err.struct_size = sizeof c->err;
    c->status = sgi_call_begin(c->f->rt, c->lease, &request, sizeof request, 0, &c->call, &c->err);
    return NULL;
}

static void a_place_may_die_while_a_call_is_handed_to_it(void **state)
{
    struct fixture f;
    set_up(&f, state);
    pthread_t     thread;
    struct caller c = { .f = &f, .lease = host_acquire(f.rt, f.model) };

    gate_close(test_place_call_gate(f.tp));
    pthread_create(&thread, NULL, begin_call, &c);
    gate_wait_arrived(test_place_call_gate(f.tp), 1);
    test_place_die(f.tp);
    gate_open(test_place_call_gate(f.tp));
    pthread_join(thread, NULL);
    assert_int_equal(c.status, SGI_E_DEVICE_LOST);
    assert_int_equal(c.call, 0);
    sgi_completion none = { .struct_size = sizeof none };
    assert_int_equal(sgi_completion_next(f.rt, &none), SGI_E_WOULD_BLOCK); /* a call that never began does not end */
    assert_int_equal(host_info(f.rt).calls_count, 0);
    host_release(f.rt, c.lease);
    tear_down(&f);
}

static void a_call_canceled_before_its_place_has_it_is_canceled(void **state)
{
    struct fixture f;
    set_up(&f, state);
    sgi_acquire_options o;
    pthread_t           thread;
    sgi_error           err = { .struct_size = sizeof err };
    struct caller       c = { .f = &f };

    sgi_acquire_options_init(&o, sizeof o);
    o.lease_ms = 100;
    assert_int_equal(sgi_model_acquire_wait(f.rt, f.model, &o, &c.lease, &err), SGI_OK);
    gate_close(test_place_call_gate(f.tp));
    pthread_create(&thread, NULL, begin_call, &c);
    gate_wait_arrived(test_place_call_gate(f.tp), 1);
    advance(&f, 100); /* overdue: its calls are canceled */
    gate_open(test_place_call_gate(f.tp));
    pthread_join(thread, NULL);
    assert_int_equal(c.status, SGI_OK);
    sgi_completion done = host_next(f.rt); /* the engine polls until it is told: this hangs if nobody tells it */
    assert_true(done.kind == SGI_COMPLETION_CALL && done.status == SGI_E_CANCELED);
    assert_int_equal(sgi_call_end(f.rt, c.call), SGI_OK);
    host_release(f.rt, c.lease);
    tear_down(&f);
}

/* A start that waits for its weights is not out: however long the disk takes, that is no hang of the engine's. */
static void a_slow_disk_is_no_hanging_engine(void **state)
{
    struct fixture f;
    sgi_ticket     ticket;
    set_up(&f, state);

    gate_close(test_place_load_gate(f.tp));
    assert_int_equal(sgi_model_acquire(f.rt, f.model, NULL, &ticket, NULL, NULL, NULL), SGI_OK);
    gate_wait_arrived(&f.engine.gates[ENGINE_START], 1);
    gate_wait_arrived(test_place_load_gate(f.tp), 1);
    test_place_wait_told(f.tp, SGI__PLACE_PREFIX_FILLED, 1);
    advance(&f, 10 * HANG_MS);
    assert_int_equal(host_state(f.rt, f.model).state, SGI_MODEL_LOADING);
    gate_open(test_place_load_gate(f.tp));
    sgi_completion c = host_next(f.rt);
    assert_int_equal(c.status, SGI_OK);
    host_same_bytes(f.rt, f.model, c.lease, &f.file);
    host_release(f.rt, c.lease);
    tear_down(&f);
}

static void a_lost_device_refuses_until_it_is_back(void **state)
{
    struct fixture f;
    set_up(&f, state);
    sgi_error err = { .struct_size = sizeof err };
    sgi_view  view = { .struct_size = sizeof view };

    sgi_lease lease = host_acquire(f.rt, f.model);
    test_place_lose_device(f.tp, 0);
    assert_int_equal(host_device(f.rt, 0).lost, 1);
    assert_int_equal(sgi_lease_tensor(f.rt, lease, 0, &view, &err), SGI_E_DEVICE_LOST);
    assert_int_equal(host_acquire_fails(f.rt, f.plain, &err), SGI_E_DEVICE_LOST);
    host_release(f.rt, lease);
    host_wait_state(f.rt, f.model, SGI_MODEL_COLD);
    assert_int_equal(device_bytes(&f), 0);
    test_place_device_back(f.tp, 0);
    lease = host_acquire(f.rt, f.model);
    host_same_bytes(f.rt, f.model, lease, &f.file);
    host_release(f.rt, lease);
    tear_down(&f);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(close_waits_for_a_thread_that_is_still_in_an_op),
        cmocka_unit_test(an_op_ends_before_the_next_one_begins),
        OVER(awkward, results_may_take_their_time),
        OVER(awkward, a_cancel_while_a_result_is_out_gives_everything_back),
        OVER(awkward, a_place_that_dies_takes_its_leases_and_calls_and_nothing_else),
        OVER(awkward, a_place_that_dies_in_the_middle_of_anything_can_be_used_again),
        OVER(awkward, a_runtime_closes_over_a_dead_place),
        OVER(awkward, nobody_writes_into_a_call_that_died),
        OVER(awkward, a_place_may_die_while_a_call_is_handed_to_it),
        OVER(awkward, a_call_canceled_before_its_place_has_it_is_canceled),
        OVER(awkward, a_slow_disk_is_no_hanging_engine),
        OVER(awkward, a_lost_device_refuses_until_it_is_back),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("awkward place", tests, make_folder, remove_folder);
}
