/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting: for a ticket, for a call that is canceled by its lease, for a piece; and what lets the waiting thread go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include "support/host.h"
#include "waiter.h"

static struct test_folder folder;
static struct test_file   file;

static const struct test_request poll_request = { .kind = REQUEST_POLL }, deaf_request = { .kind = REQUEST_DEAF };

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

static sgi_ticket ask(struct fixture *f, sgi_model model)
{
    sgi_ticket ticket = 0;
    assert_int_equal(sgi_model_acquire(f->rt, model, NULL, &ticket, NULL, NULL, NULL), SGI_OK);
    assert_int_not_equal(ticket, 0);
    return ticket;
}

static sgi_lease granted(struct fixture *f, sgi_ticket ticket)
{
    sgi_lease lease = 0;
    if (sgi_ticket_wait(f->rt, ticket, HOST_WAIT_MS, &lease, &f->err) != SGI_OK)
        fail_msg("ticket: %s", f->err.message);
    assert_int_not_equal(lease, 0);
    return lease;
}

/* Does not wait for what it asks about: it has ended, and cannot be had once more. */
static void is_stale(struct fixture *f, sgi_ticket ticket)
{
    sgi_lease lease = 5;
    assert_int_equal(sgi_ticket_wait(f->rt, ticket, SGI_FOREVER, &lease, &f->err), SGI_E_STALE);
    assert_int_equal(lease, 5);
}

static bool nothing_is_out(void *user)
{
    struct fixture *f = user;
    return host_state(f->rt, f->model).calls_out == 0;
}

static bool is_leased(void *user)
{
    struct fixture *f = user;
    return host_info(f->rt).leases_count == 1;
}

/* ---- sgi_ticket_wait ---- */

static void a_ticket_that_has_ended_is_taken_with_its_completion(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    sgi_lease  lease = 9;
    sgi_ticket ticket = ask(&f, f.plain);

    test_wait_until(is_leased, &f, "the request does not end");
    lease = granted(&f, ticket);
    no_completion(&f);
    is_stale(&f, ticket);
    host_same_bytes(f.rt, f.plain, lease, &file);
    host_release(f.rt, lease);

    ticket = ask(&f, f.plain);
    sgi_completion c = host_next(f.rt); /* the other way to take it */
    assert_true(c.ticket == ticket && c.status == SGI_OK);
    is_stale(&f, ticket);
    is_stale(&f, 0);
    is_stale(&f, ticket + 1);
    is_stale(&f, c.lease);
    host_release(f.rt, c.lease);

    assert_int_equal(sgi_model_prefetch(f.rt, f.plain, SGI_TIER_DEVICE, NULL, &ticket, NULL, NULL, NULL), SGI_OK);
    assert_int_equal(sgi_ticket_wait(f.rt, ticket, SGI_FOREVER, &lease, &f.err), SGI_OK);
    assert_int_equal(lease, 0);
    assert_int_equal(host_info(f.rt).leases_count, 0);
    tear_down(&f);
}

static void others_completions_stay_in_their_order(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    sgi_ticket tickets[5];

    host_release(f.rt, host_acquire(f.rt, f.plain)); /* each of them is granted as it is asked for */
    for (int n = 0; n < 5; n++)
        tickets[n] = ask(&f, f.plain);
    host_release(f.rt, granted(&f, tickets[4])); /* the last, the first, one in the middle */
    host_release(f.rt, granted(&f, tickets[0]));
    host_release(f.rt, granted(&f, tickets[2]));
    for (int n = 1; n < 5; n += 2) {
        sgi_completion c = host_next(f.rt);
        assert_int_equal(c.ticket, tickets[n]);
        host_release(f.rt, c.lease);
    }
    no_completion(&f);
    host_release(f.rt, granted(&f, ask(&f, f.plain)));
    tear_down(&f);
}

static void one_thread_waits_for_a_ticket_and_a_second_is_busy(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    struct waiter t[2] = { 0 };

    gate_close(&f.engine.gates[ENGINE_START]);
    t[0].ticket = t[1].ticket = ask(&f, f.model);
    waiter_start(&t[0], f.rt, wait_for_ticket);
    waiter_start(&t[1], f.rt, wait_for_ticket);
    while (!atomic_load(&t[0].ended) && !atomic_load(&t[1].ended))
        sched_yield();
    int busy = atomic_load(&t[0].ended) ? 0 : 1;
    assert_int_equal(waiter_end(&t[busy]), SGI_E_BUSY);
    host_error_is(&t[busy].err, SGI_E_BUSY, SGI_STEP_NONE, "another thread");
    assert_int_equal(t[busy].lease, 0);
    assert_int_equal(atomic_load(&t[!busy].ended), 0);
    gate_open(&f.engine.gates[ENGINE_START]);
    assert_int_equal(waiter_end(&t[!busy]), SGI_OK); /* it ended during the wait */
    host_release(f.rt, t[!busy].lease);
    no_completion(&f);
    tear_down(&f);
}

static void a_ticket_may_be_waited_for_again(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    sgi_acquire_options o;
    sgi_lease           lease = 7;

    gate_close(&f.engine.gates[ENGINE_START]);
    sgi_ticket ticket = ask(&f, f.model);
    for (int n = 0; n < 3; n++) {
        assert_int_equal(sgi_ticket_wait(f.rt, ticket, 5, &lease, &f.err), SGI_E_TIMEOUT);
        host_error_is(&f.err, SGI_E_TIMEOUT, SGI_STEP_NONE, "it goes on");
    }
    assert_int_equal(lease, 7);
    gate_open(&f.engine.gates[ENGINE_START]);
    lease = granted(&f, ticket);

    /* Its own deadline is another end, and says so. */
    sgi_acquire_options_init(&o, sizeof o);
    o.deadline_ms = 20;
    assert_int_equal(sgi_model_acquire(f.rt, f.model, &o, &ticket, NULL, NULL, NULL), SGI_OK);
    assert_int_equal(sgi_ticket_wait(f.rt, ticket, SGI_FOREVER, &(sgi_lease){ 0 }, &f.err), SGI_E_TIMEOUT);
    assert_non_null(strstr(f.err.message, "model 'm' was not ready within 20 ms"));
    is_stale(&f, ticket);

    /* One that nobody waits for any more ends in its completion. */
    ticket = ask(&f, f.model);
    assert_int_equal(sgi_ticket_wait(f.rt, ticket, 1, &(sgi_lease){ 0 }, &f.err), SGI_E_TIMEOUT);
    host_release(f.rt, lease);
    sgi_completion c = host_next(f.rt);
    assert_true(c.ticket == ticket && c.status == SGI_OK);
    host_release(f.rt, c.lease);
    tear_down(&f);
}

static void a_thread_that_waits_for_a_ticket_can_be_canceled(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    sgi_lease held = host_acquire(f.rt, f.model);

    for (int round = 0; round < 40; round++) {
        struct waiter t = { .ticket = ask(&f, f.model) };
        waiter_start(&t, f.rt, wait_for_ticket);
        for (int n = 0; n < round * 100; n++)
            sched_yield(); /* before its wait, and in it */
        assert_int_equal(sgi_acquire_cancel(f.rt, t.ticket), SGI_OK);
        assert_int_equal(waiter_end(&t), SGI_E_CANCELED);
        host_error_is(&t.err, SGI_E_CANCELED, t.err.step, "'m'");
        assert_int_equal(sgi_acquire_cancel(f.rt, t.ticket), SGI_E_STALE);
        no_completion(&f);
    }
    host_release(f.rt, held);
    tear_down(&f);
}

static void count_done(void *user, const sgi_completion *completion)
{
    struct waiter *t = user;
    t->status = sgi_ticket_wait(t->rt, completion->ticket, SGI_FOREVER, &t->lease, &t->err);
    sgi_lease_release(t->rt, completion->lease);
    atomic_store(&t->ended, 1);
}

static bool has_ended(void *user)
{
    struct waiter *t = user;
    return atomic_load(&t->ended) != 0;
}

static void what_ends_elsewhere_cannot_be_waited_for(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    struct waiter       t = { .rt = f.rt, .err = SGI_ERROR_INIT };
    sgi_acquire_options o;
    sgi_ticket          silent = 0, called = 0;
    sgi_lease           lease = 3;

    sgi_acquire_options_init(&o, sizeof o);
    o.flags = SGI_PREFETCH_SILENT;
    gate_close(&f.engine.gates[ENGINE_START]);
    assert_int_equal(sgi_model_acquire(f.rt, f.model, NULL, &called, count_done, &t, NULL), SGI_OK);
    assert_int_equal(sgi_model_prefetch(f.rt, f.model, SGI_TIER_DEVICE, &o, &silent, NULL, NULL, NULL), SGI_OK);
    assert_int_equal(sgi_ticket_wait(f.rt, called, SGI_FOREVER, &lease, &f.err), SGI_E_INVALID);
    host_error_is(&f.err, SGI_E_INVALID, SGI_STEP_NONE, "callback");
    assert_int_equal(sgi_ticket_wait(f.rt, silent, SGI_FOREVER, &lease, &f.err), SGI_E_INVALID);
    assert_int_equal(lease, 3);
    gate_open(&f.engine.gates[ENGINE_START]);
    test_wait_until(has_ended, &t, "done is not called");
    assert_int_equal(t.status, SGI_E_DEADLOCK); /* waiting is not for threads of the library */
    is_stale(&f, called);
    tear_down(&f);
}

static void tickets_that_were_waited_for_count_no_more(void **state)
{
    (void)state;
    enum { MAX = 3 };
    struct fixture     f;
    sgi_runtime_config config = host_config();
    config.requests_max = MAX;
    set_up_with(&f, &config);
    sgi_ticket tickets[MAX], none = 0;
    sgi_lease  lease = host_acquire(f.rt, f.model);

    for (int round = 0; round < 4; round++) {
        for (int n = 0; n < MAX; n++)
            tickets[n] = ask(&f, round % 2 ? f.model : f.plain);
        assert_int_equal(sgi_model_acquire(f.rt, f.plain, NULL, &none, NULL, NULL, NULL), SGI_E_BUSY);
        for (int n = 0; n < MAX; n++) {
            struct waiter t = { .ticket = tickets[n] };
            waiter_start(&t, f.rt, wait_for_ticket);
            if (round % 2) { /* it ends during the wait, or shortly before */
                host_release(f.rt, lease);
                lease = 0;
            }
            assert_int_equal(waiter_end(&t), SGI_OK);
            if (round % 2)
                lease = t.lease;
            else
                host_release(f.rt, t.lease);
        }
    }
    host_release(f.rt, lease);
    assert_int_equal(host_info(f.rt).requests_waiting, 0);
    tear_down(&f);
}

static void a_ticket_ends_in_what_its_load_failed_with(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    sgi_lease lease = 4;

    atomic_store(&f.engine.fail[ENGINE_START], SGI_E_ENGINE);
    assert_int_equal(sgi_ticket_wait(f.rt, ask(&f, f.model), SGI_FOREVER, &lease, &f.err), SGI_E_ENGINE);
    host_error_is(&f.err, SGI_E_ENGINE, SGI_STEP_START, "model 'm'");
    assert_int_equal(lease, 4);
    no_completion(&f);
    tear_down(&f);
}

/* ---- sgi_lease_cancel ---- */

static void a_leases_call_can_be_canceled_without_its_id(void **state)
{
    (void)state;
    static const uint32_t kinds[] = { REQUEST_POLL, REQUEST_UNTIL_CANCELED };
    struct fixture        f;
    set_up(&f);
    sgi_lease lease = host_acquire(f.rt, f.model);
    sgi_call  call = 0;

    assert_int_equal(sgi_lease_cancel(f.rt, lease), SGI_OK); /* none is open */
    for (uint32_t n = 0; n < 2; n++) {
        struct waiter t = { .lease = lease, .request_kind = kinds[n] };
        waiter_start(&t, f.rt, wait_for_answer);
        gate_wait_arrived(&f.engine.gates[ENGINE_CALL], n + 1);
        assert_int_equal(sgi_lease_cancel(f.rt, lease), SGI_OK);
        assert_int_equal(waiter_end(&t), SGI_E_CANCELED);
        assert_int_equal(t.err.code, SGI_E_CANCELED);
        assert_int_equal(sgi_lease_cancel(f.rt, lease), SGI_OK); /* it has ended */
        test_wait_until(nothing_is_out, &f, "a call does not come back");
    }
    no_completion(&f);

    assert_int_equal(sgi_call_begin(f.rt, lease, &poll_request, sizeof poll_request, 8, &call, &f.err), SGI_OK);
    assert_int_equal(sgi_lease_cancel(f.rt, lease), SGI_OK);
    sgi_completion c = host_next(f.rt);
    assert_true(c.kind == SGI_COMPLETION_CALL && c.call == call && c.status == SGI_E_CANCELED);
    assert_int_equal(sgi_call_end(f.rt, call), SGI_OK);

    host_release(f.rt, lease);
    assert_int_equal(sgi_lease_cancel(f.rt, lease), SGI_E_STALE);
    assert_int_equal(sgi_lease_cancel(f.rt, 0), SGI_E_STALE);
    tear_down(&f);
}

/* Each cancel may come before the call, on its way to the engine, or while that is in it: none is lost. And an engine
 * that heard of it from its emit, before anybody else told it, has been canceled all the same. */
static void a_cancel_finds_the_call_wherever_it_is(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    sgi_lease lease = host_acquire(f.rt, f.model);

    for (int round = 0; round < 600; round++) {
        struct waiter t = { .lease = lease, .request_kind = round % 4 ? REQUEST_UNTIL_CANCELED : REQUEST_POLL };
        waiter_start(&t, f.rt, wait_for_answer);
        while (host_info(f.rt).calls_count == 0)
            sched_yield();
        if (round % 2)
            gate_wait_arrived(&f.engine.gates[ENGINE_CALL], (uint32_t)round + 1);
        assert_int_equal(sgi_lease_cancel(f.rt, lease), SGI_OK); /* once */
        assert_int_equal(waiter_end(&t), SGI_E_CANCELED);
        test_wait_until(nothing_is_out, &f, "a call does not come back");
    }
    host_release(f.rt, lease);
    tear_down(&f);
}

/* ---- sgi_call_wait ---- */

static void a_call_is_waited_for_until_it_has_something_to_say(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    struct test_request two = { .kind = REQUEST_EMIT, .pieces = 2, .piece_bytes = 3 };
    sgi_lease           lease = host_acquire(f.rt, f.model);
    sgi_call            call = 0;
    char                buffer[8];
    size_t              bytes;

    gate_close(&f.engine.gates[ENGINE_CALL]);
    assert_int_equal(sgi_call_begin(f.rt, lease, &two, sizeof two, 0, &call, &f.err), SGI_OK);
    assert_int_equal(sgi_call_wait(f.rt, call, 5, &f.err), SGI_E_TIMEOUT);
    host_error_is(&f.err, SGI_E_TIMEOUT, SGI_STEP_NONE, "5 ms");
    struct waiter t = { .call = call };
    waiter_start(&t, f.rt, wait_for_piece);
    gate_open(&f.engine.gates[ENGINE_CALL]);
    assert_int_equal(waiter_end(&t), SGI_OK);
    for (int n = 0; n < 2; n++) {
        assert_int_equal(sgi_call_wait(f.rt, call, SGI_FOREVER, &f.err), SGI_OK);
        assert_int_equal(sgi_call_read(f.rt, call, buffer, sizeof buffer, &bytes, &f.err), SGI_OK);
        assert_int_equal(bytes, 3);
    }
    for (int n = 0; n < 2; n++) {
        assert_int_equal(sgi_call_wait(f.rt, call, SGI_FOREVER, &f.err), SGI_OK);
        assert_int_equal(sgi_call_read(f.rt, call, buffer, sizeof buffer, &bytes, &f.err), SGI_E_END);
    }
    assert_int_equal(sgi_call_end(f.rt, call), SGI_OK);
    assert_int_equal(sgi_call_wait(f.rt, call, SGI_FOREVER, &f.err), SGI_E_STALE);
    host_release(f.rt, lease);
    tear_down(&f);
}

static void who_waits_for_a_call_that_is_given_up_is_let_go(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    sgi_lease     lease = host_acquire(f.rt, f.model);
    struct waiter t = { 0 };
    char          byte;
    size_t        bytes;

    gate_close(&f.engine.gates[ENGINE_CALL]);
    assert_int_equal(sgi_call_begin(f.rt, lease, &deaf_request, sizeof deaf_request, 0, &t.call, &f.err), SGI_OK);
    gate_wait_arrived(&f.engine.gates[ENGINE_CALL], 1);
    waiter_start(&t, f.rt, wait_for_piece);
    assert_int_equal(sgi_call_wait(f.rt, t.call, 20, &f.err), SGI_E_TIMEOUT); /* the thread is in it by then */
    assert_int_equal(sgi_call_end(f.rt, t.call), SGI_OK);
    waiter_end(&t);                                             /* before the engine comes back */
    assert_true(t.status == SGI_E_STALE || t.status == SGI_OK); /* which is what a read has to say now */
    assert_int_equal(sgi_call_read(f.rt, t.call, &byte, 1, &bytes, &f.err), SGI_E_STALE);
    assert_int_equal(host_state(f.rt, f.model).calls_out, 1);
    gate_open(&f.engine.gates[ENGINE_CALL]);
    host_release(f.rt, lease);
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
        cmocka_unit_test(a_ticket_that_has_ended_is_taken_with_its_completion),
        cmocka_unit_test(others_completions_stay_in_their_order),
        cmocka_unit_test(one_thread_waits_for_a_ticket_and_a_second_is_busy),
        cmocka_unit_test(a_ticket_may_be_waited_for_again),
        cmocka_unit_test(a_thread_that_waits_for_a_ticket_can_be_canceled),
        cmocka_unit_test(what_ends_elsewhere_cannot_be_waited_for),
        cmocka_unit_test(tickets_that_were_waited_for_count_no_more),
        cmocka_unit_test(a_ticket_ends_in_what_its_load_failed_with),
        cmocka_unit_test(a_leases_call_can_be_canceled_without_its_id),
        cmocka_unit_test(a_cancel_finds_the_call_wherever_it_is),
        cmocka_unit_test(a_call_is_waited_for_until_it_has_something_to_say),
        cmocka_unit_test(who_waits_for_a_call_that_is_given_up_is_let_go),
    };
    return cmocka_run_group_tests_name("waiting", tests, make_files, remove_files);
}
