/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting, and being let go: for a ticket, for a piece, for a lease that a call given up still has, for the end; and
 * what a host is told when that does not come. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "support/host.h"

static struct test_folder folder;
static struct test_file   file;

static const struct test_request poll_request = { .kind = REQUEST_POLL }, deaf_request = { .kind = REQUEST_DEAF };

struct fixture {
    struct test_engine engine;
    sgi_runtime       *rt;
    sgi_model          model, plain; /* with the engine, and without one */
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
    f->plain = host_add(f->rt, "plain", file.path, NULL);
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

/* A thread in one of the calls that wait. */
struct thread {
    struct fixture *f;
    sgi_ticket      ticket;
    sgi_lease       lease;
    sgi_call        call;
    uint32_t        request_kind, timeout_ms;
    sgi_status      status;
    sgi_error       err;
    atomic_int      ended;
    pthread_t       thread;
};

static void *wait_for_ticket(void *arg)
{
    struct thread *t = arg;
    t->status = sgi_ticket_wait(t->f->rt, t->ticket, t->timeout_ms, &t->lease, &t->err);
    atomic_store(&t->ended, 1);
    return NULL;
}

static void *wait_for_lease(void *arg)
{
    struct thread *t = arg;
    t->status = sgi_model_acquire_wait(t->f->rt, t->f->model, NULL, &t->lease, &t->err);
    atomic_store(&t->ended, 1);
    return NULL;
}

static void *wait_for_answer(void *arg)
{
    struct thread      *t = arg;
    struct test_request r = { .kind = t->request_kind };
    t->status = sgi_lease_call(t->f->rt, t->lease, &r, sizeof r, t->timeout_ms, NULL, NULL, &t->err);
    atomic_store(&t->ended, 1);
    return NULL;
}

static void *wait_for_piece(void *arg)
{
    struct thread *t = arg;
    t->status = sgi_call_wait(t->f->rt, t->call, t->timeout_ms, &t->err);
    atomic_store(&t->ended, 1);
    return NULL;
}

static void start(struct thread *t, struct fixture *f, void *(*run)(void *))
{
    t->f = f;
    t->err = (sgi_error)SGI_ERROR_INIT;
    assert_int_equal(pthread_create(&t->thread, NULL, run, t), 0);
}

static sgi_status end(struct thread *t)
{
    pthread_join(t->thread, NULL);
    return t->status;
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
    struct thread t[2] = { 0 };

    gate_close(&f.engine.gates[ENGINE_START]);
    t[0].ticket = t[1].ticket = ask(&f, f.model);
    start(&t[0], &f, wait_for_ticket);
    start(&t[1], &f, wait_for_ticket);
    while (!atomic_load(&t[0].ended) && !atomic_load(&t[1].ended))
        sched_yield();
    int busy = atomic_load(&t[0].ended) ? 0 : 1;
    assert_int_equal(end(&t[busy]), SGI_E_BUSY);
    host_error_is(&t[busy].err, SGI_E_BUSY, SGI_STEP_NONE, "another thread");
    assert_int_equal(t[busy].lease, 0);
    assert_int_equal(atomic_load(&t[!busy].ended), 0);
    gate_open(&f.engine.gates[ENGINE_START]);
    assert_int_equal(end(&t[!busy]), SGI_OK); /* it ended during the wait */
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
        struct thread t = { .ticket = ask(&f, f.model) };
        start(&t, &f, wait_for_ticket);
        for (int n = 0; n < round * 100; n++)
            sched_yield(); /* before its wait, and in it */
        assert_int_equal(sgi_acquire_cancel(f.rt, t.ticket), SGI_OK);
        assert_int_equal(end(&t), SGI_E_CANCELED);
        host_error_is(&t.err, SGI_E_CANCELED, t.err.step, "'m'");
        assert_int_equal(sgi_acquire_cancel(f.rt, t.ticket), SGI_E_STALE);
        no_completion(&f);
    }
    host_release(f.rt, held);
    tear_down(&f);
}

static void count_done(void *user, const sgi_completion *completion)
{
    struct thread *t = user;
    t->status = sgi_ticket_wait(t->f->rt, completion->ticket, SGI_FOREVER, &t->lease, &t->err);
    sgi_lease_release(t->f->rt, completion->lease);
    atomic_store(&t->ended, 1);
}

static bool has_ended(void *user)
{
    struct thread *t = user;
    return atomic_load(&t->ended) != 0;
}

static void what_ends_elsewhere_cannot_be_waited_for(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    struct thread       t = { .f = &f, .err = SGI_ERROR_INIT };
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
    set_up_with(&f, &config, 0);
    sgi_ticket tickets[MAX], none = 0;
    sgi_lease  lease = host_acquire(f.rt, f.model);

    for (int round = 0; round < 4; round++) {
        for (int n = 0; n < MAX; n++)
            tickets[n] = ask(&f, round % 2 ? f.model : f.plain);
        assert_int_equal(sgi_model_acquire(f.rt, f.plain, NULL, &none, NULL, NULL, NULL), SGI_E_BUSY);
        for (int n = 0; n < MAX; n++) {
            struct thread t = { .ticket = tickets[n] };
            start(&t, &f, wait_for_ticket);
            if (round % 2) { /* it ends during the wait, or shortly before */
                host_release(f.rt, lease);
                lease = 0;
            }
            assert_int_equal(end(&t), SGI_OK);
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

/* ---- sgi_runtime_drain ---- */

static void a_drain_refuses_and_lets_go_and_leases_go_on(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    struct thread    in_acquire = { 0 }, in_ticket = { 0 };
    sgi_model_config config = host_model("late", file.path, NULL);
    sgi_model        late = 0;
    sgi_ticket       ticket = 0;
    sgi_lease        lease = host_acquire(f.rt, f.model), none = 0;
    struct {
        struct test_request r;
        char                text[4];
    } echo = { { .kind = REQUEST_ECHO }, "abc" };
    char   out[8];
    size_t bytes = 0;

    host_release(f.rt, host_acquire(f.rt, f.plain));
    start(&in_acquire, &f, wait_for_lease);
    test_wait_until(one_waits, &f, "nobody waits");
    in_ticket.ticket = ask(&f, f.model);
    start(&in_ticket, &f, wait_for_ticket);
    ticket = ask(&f, f.model);

    for (int n = 0; n < 2; n++)
        assert_int_equal(sgi_runtime_drain(f.rt), SGI_OK);
    assert_int_equal(end(&in_acquire), SGI_E_CLOSED);
    assert_int_equal(end(&in_ticket), SGI_E_CLOSED);
    sgi_completion c = host_next(f.rt);
    assert_true(c.ticket == ticket && c.status == SGI_E_CLOSED && c.lease == 0);

    assert_int_equal(sgi_model_register(f.rt, &config, &late, &f.err), SGI_E_CLOSED);
    assert_int_equal(sgi_model_try_acquire(f.rt, f.plain, NULL, &none), SGI_E_CLOSED);
    assert_int_equal(host_acquire_fails(f.rt, f.model, &f.err), SGI_E_CLOSED);
    assert_int_equal(sgi_model_acquire(f.rt, f.plain, NULL, &ticket, NULL, NULL, NULL), SGI_E_CLOSED);
    assert_int_equal(sgi_model_prefetch(f.rt, f.plain, SGI_TIER_DEVICE, NULL, &ticket, NULL, NULL, NULL), SGI_E_CLOSED);
    host_wait_state(f.rt, f.plain, SGI_MODEL_COLD); /* what nobody uses goes */

    host_same_bytes(f.rt, f.model, lease, &file);
    for (int n = 0; n < 2; n++) { /* calls begin and end as before */
        assert_int_equal(host_call(f.rt, lease, &echo, sizeof echo, out, sizeof out, &bytes, &f.err), SGI_OK);
        assert_memory_equal(out, echo.text, sizeof echo.text);
        test_wait_until(nothing_is_out, &f, "a call does not come back");
        assert_int_equal(sgi_lease_call(f.rt, lease, &echo, sizeof echo, SGI_FOREVER, NULL, NULL, &f.err), SGI_OK);
        test_wait_until(nothing_is_out, &f, "a call does not come back");
    }
    assert_int_equal(sgi_runtime_close(f.rt, 1, &f.err), SGI_E_TIMEOUT);
    host_error_is(&f.err, SGI_E_TIMEOUT, SGI_STEP_NONE, "model 'm': 1 lease");
    host_release(f.rt, lease);
    host_wait_state(f.rt, f.model, SGI_MODEL_COLD);
    assert_int_equal(host_info(f.rt).device_bytes, 0); /* and still there to be asked */
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
        struct thread t = { .lease = lease, .request_kind = kinds[n] };
        start(&t, &f, wait_for_answer);
        gate_wait_arrived(&f.engine.gates[ENGINE_CALL], n + 1);
        assert_int_equal(sgi_lease_cancel(f.rt, lease), SGI_OK);
        assert_int_equal(end(&t), SGI_E_CANCELED);
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
        struct thread t = { .lease = lease, .request_kind = round % 4 ? REQUEST_UNTIL_CANCELED : REQUEST_POLL };
        start(&t, &f, wait_for_answer);
        while (host_info(f.rt).calls_count == 0)
            sched_yield();
        if (round % 2)
            gate_wait_arrived(&f.engine.gates[ENGINE_CALL], (uint32_t)round + 1);
        assert_int_equal(sgi_lease_cancel(f.rt, lease), SGI_OK); /* once */
        assert_int_equal(end(&t), SGI_E_CANCELED);
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
    struct thread t = { .call = call };
    start(&t, &f, wait_for_piece);
    gate_open(&f.engine.gates[ENGINE_CALL]);
    assert_int_equal(end(&t), SGI_OK);
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
    struct thread t = { 0 };
    char          byte;
    size_t        bytes;

    gate_close(&f.engine.gates[ENGINE_CALL]);
    assert_int_equal(sgi_call_begin(f.rt, lease, &deaf_request, sizeof deaf_request, 0, &t.call, &f.err), SGI_OK);
    gate_wait_arrived(&f.engine.gates[ENGINE_CALL], 1);
    start(&t, &f, wait_for_piece);
    assert_int_equal(sgi_call_wait(f.rt, t.call, 20, &f.err), SGI_E_TIMEOUT); /* the thread is in it by then */
    assert_int_equal(sgi_call_end(f.rt, t.call), SGI_OK);
    end(&t);                                                    /* before the engine comes back */
    assert_true(t.status == SGI_E_STALE || t.status == SGI_OK); /* which is what a read has to say now */
    assert_int_equal(sgi_call_read(f.rt, t.call, &byte, 1, &bytes, &f.err), SGI_E_STALE);
    assert_int_equal(host_state(f.rt, f.model).calls_out, 1);
    gate_open(&f.engine.gates[ENGINE_CALL]);
    host_release(f.rt, lease);
    tear_down(&f);
}

/* ---- evicting and fetching ---- */

static void evicting_all_skips_pinned_leased_and_wanted_models(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    struct test_engine slow;
    test_engine_init(&slow, false, false);
    sgi_model pinned = host_add(f.rt, "pinned", file.path, NULL), leased = host_add(f.rt, "leased", file.path, NULL);
    sgi_model wanted = host_add(f.rt, "wanted", file.path, &slow);

    host_release(f.rt, host_acquire(f.rt, f.model));
    host_release(f.rt, host_acquire(f.rt, f.plain));
    host_release(f.rt, host_acquire(f.rt, pinned));
    assert_int_equal(sgi_model_pin(f.rt, pinned, SGI_TIER_DEVICE, NULL), SGI_OK);
    sgi_lease lease = host_acquire(f.rt, leased);
    gate_close(&slow.gates[ENGINE_START]);
    sgi_ticket ticket = ask(&f, wanted);
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
    host_release(f.rt, granted(&f, ticket));
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
    set_up_with(&f, &config, 0);
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

/* ---- sgi_model_part_at ---- */

static void parts_are_the_files_and_their_share_of_the_image(void **state)
{
    (void)state;
    struct fixture     f;
    struct test_shards shards;
    set_up(&f);
    test_shards_make(&shards, &folder, 5000);
    sgi_model_info info = { .struct_size = sizeof info };
    sgi_model_part part = { .struct_size = sizeof part }, unsized = { 0 };
    sgi_image      image = { .struct_size = sizeof image };
    uint64_t       total = 0;
    sgi_model      model = host_add(f.rt, "shards", shards.path, NULL);
    sgi_lease      lease = host_acquire(f.rt, model);

    assert_int_equal(sgi_model_describe(f.rt, model, &info), SGI_OK);
    assert_int_equal(info.parts_count, 2);
    for (uint32_t n = 0; n < 2; n++) {
        char *path = realpath(shards.shards[n].path, NULL);
        assert_int_equal(sgi_model_part_at(f.rt, model, n, &part), SGI_OK);
        assert_int_equal(sgi_lease_image(f.rt, lease, n, &image, &f.err), SGI_OK);
        assert_string_equal(part.path, path);
        assert_int_equal(part.file_bytes, shards.shards[n].bytes);
        assert_int_equal(part.data_offset, shards.shards[n].data_offset);
        assert_int_equal(part.prefix_bytes, image.prefix_bytes);
        assert_true(part.image_bytes >= image.bytes && part.image_bytes % 4096 == 0);
        total += part.image_bytes;
        free(path);
    }
    assert_int_equal(total, info.image_bytes);
    assert_int_equal(sgi_model_part_at(f.rt, model, 2, &part), SGI_E_NOT_FOUND);
    assert_int_equal(sgi_model_part_at(f.rt, model, UINT32_MAX, &part), SGI_E_NOT_FOUND);
    assert_int_equal(sgi_model_part_at(f.rt, lease, 0, &part), SGI_E_STALE);
    assert_int_equal(sgi_model_part_at(f.rt, model, 0, &unsized), SGI_E_INVALID);
    assert_int_equal(sgi_model_part_at(f.rt, model, 0, NULL), SGI_E_INVALID);
    host_release(f.rt, lease);
    tear_down(&f);
    test_shards_free(&shards);
}

/* ---- engines that have not come back ---- */

static void a_call_given_up_has_its_lease_until_the_engine_is_back(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    struct test_request empty = { .kind = REQUEST_EMIT };
    sgi_lease           lease = host_acquire(f.rt, f.model), none = 0;
    sgi_call            call = 0, next = 0;
    struct thread       t = { 0 };

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
    start(&t, &f, wait_for_lease);
    test_wait_until(one_waits, &f, "nobody waits");
    assert_int_equal(sgi_model_try_acquire(f.rt, f.model, NULL, &none), SGI_E_WOULD_BLOCK);
    assert_int_equal(atomic_load(&t.ended), 0);
    gate_open(&f.engine.gates[ENGINE_CALL]);
    assert_int_equal(end(&t), SGI_OK);
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
    struct thread t = { .call = call };
    start(&t, &f, wait_for_piece);
    assert_int_equal(sgi_call_cancel(f.rt, call), SGI_OK);
    sgi_completion c = host_next(f.rt);
    assert_true(c.kind == SGI_COMPLETION_CALL && c.call == call && c.tag == 6);
    assert_int_equal(c.status, SGI_E_WEDGED);
    host_error_is(&c.error, SGI_E_WEDGED, SGI_STEP_CALL, "'m'");
    assert_int_equal(end(&t), SGI_OK);
    for (int n = 0; n < 2; n++) {
        assert_int_equal(sgi_call_read(f.rt, call, buffer, sizeof buffer, &bytes, &f.err), SGI_E_WEDGED);
        host_error_is(&f.err, SGI_E_WEDGED, SGI_STEP_CALL, "50 ms");
    }
    assert_int_equal(host_state(f.rt, f.model).state, SGI_MODEL_WEDGED);
    assert_int_equal(host_state(f.rt, f.model).calls_out, 1);
    assert_int_equal(sgi_call_end(f.rt, call), SGI_OK);
    assert_int_equal(sgi_call_begin(f.rt, lease, &deaf_request, sizeof deaf_request, 0, &next, &f.err), SGI_E_WEDGED);
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
    struct thread t = { .lease = host_acquire(f.rt, f.model), .request_kind = REQUEST_DEAF };

    gate_close(&f.engine.gates[ENGINE_CALL]);
    start(&t, &f, wait_for_answer);
    gate_wait_arrived(&f.engine.gates[ENGINE_CALL], 1);
    assert_int_equal(sgi_lease_cancel(f.rt, t.lease), SGI_OK);
    assert_int_equal(end(&t), SGI_E_WEDGED);
    host_error_is(&t.err, SGI_E_WEDGED, SGI_STEP_CALL, "'m'");
    assert_int_equal(gate_passed(&f.engine.gates[ENGINE_CALL]), 0);
    gate_open(&f.engine.gates[ENGINE_CALL]);
    host_release(f.rt, t.lease);
    tear_down(&f);
}

/* ---- overdue ---- */

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

/* ---- what an engine may say ---- */

static const sgi_status no_word_of_an_engine[] = { SGI_E_WOULD_BLOCK, SGI_E_END,      SGI_E_STALE, SGI_E_TIMEOUT,
                                                   SGI_E_BUSY,        SGI_E_CANCELED, -9999,       1 };
static const sgi_status words_of_an_engine[] = { SGI_E_INVALID, SGI_E_NOT_FOUND, SGI_E_UNSUPPORTED, SGI_E_DEVICE_MEMORY,
                                                 SGI_E_ENGINE };

#define COUNT(array) (sizeof(array) / sizeof *(array))

static void start_fails(struct fixture *f, sgi_status said, sgi_status reported, int32_t driver_code)
{
    atomic_store(&f->engine.fail[ENGINE_START], said);
    assert_int_equal(host_acquire_fails(f->rt, f->model, &f->err), reported);
    host_error_is(&f->err, reported, SGI_STEP_START, "model 'm'");
    assert_int_equal(f->err.driver_code, driver_code);
    atomic_store(&f->engine.fail[ENGINE_START], SGI_OK);
    host_release(f->rt, host_acquire(f->rt, f->model)); /* a success: the next failure is a first one again */
    assert_int_equal(sgi_model_evict(f->rt, f->model, SGI_TIER_DISK), SGI_OK);
    host_wait_state(f->rt, f->model, SGI_MODEL_COLD);
}

static void call_fails(struct fixture *f, sgi_lease lease, sgi_status said, sgi_status reported, int32_t driver_code)
{
    sgi_call call = 0;

    atomic_store(&f->engine.fail[ENGINE_CALL], said);
    assert_int_equal(sgi_lease_call(f->rt, lease, NULL, 0, SGI_FOREVER, NULL, NULL, &f->err), reported);
    host_error_is(&f->err, reported, SGI_STEP_CALL, "model 'm'");
    assert_int_equal(f->err.driver_code, driver_code);
    test_wait_until(nothing_is_out, f, "a call does not come back");
    assert_int_equal(sgi_call_begin(f->rt, lease, NULL, 0, 0, &call, &f->err), SGI_OK);
    sgi_completion c = host_next(f->rt);
    assert_true(c.kind == SGI_COMPLETION_CALL && c.status == reported && c.error.driver_code == driver_code);
    assert_int_equal(sgi_call_end(f->rt, call), SGI_OK);
}

static void what_is_not_an_engines_to_say_is_an_engine_failure(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    for (int silent = 0; silent < 2; silent++) {
        f.engine.silent = silent != 0;
        for (size_t n = 0; n < COUNT(no_word_of_an_engine); n++)
            start_fails(&f, no_word_of_an_engine[n], SGI_E_ENGINE, no_word_of_an_engine[n]);
        for (size_t n = 0; n < COUNT(words_of_an_engine); n++)
            start_fails(&f, words_of_an_engine[n], words_of_an_engine[n], 0);
        sgi_lease lease = host_acquire(f.rt, f.model);
        for (size_t n = 0; n < COUNT(no_word_of_an_engine); n++)
            call_fails(&f, lease, no_word_of_an_engine[n], SGI_E_ENGINE, no_word_of_an_engine[n]);
        for (size_t n = 0; n < COUNT(words_of_an_engine); n++)
            call_fails(&f, lease, words_of_an_engine[n], words_of_an_engine[n], 0);
        host_release(f.rt, lease);
        assert_int_equal(sgi_model_evict(f.rt, f.model, SGI_TIER_DISK), SGI_OK);
        host_wait_state(f.rt, f.model, SGI_MODEL_COLD);
    }
    tear_down(&f);
}

/* ---- small errors ---- */

enum { SMALL = 40 };

union small {
    sgi_error err;
    uint8_t   bytes[sizeof(sgi_error)];
};

static void small_init(union small *s)
{
    memset(s->bytes, 0xee, sizeof s->bytes);
    s->err.struct_size = SMALL;
}

/* Filled as far as it reaches, with an end to its text, and nothing behind it touched. */
static void small_is(union small *s, sgi_status code, const char *begins)
{
    const size_t at = offsetof(sgi_error, message);
    assert_int_equal(s->err.struct_size, SMALL);
    assert_int_equal(s->err.code, code);
    assert_non_null(memchr(s->bytes + at, 0, SMALL - at));
    if (strncmp(s->err.message, begins, strlen(begins)) != 0)
        fail_msg("'%.16s' does not begin with '%s'", s->err.message, begins);
    for (size_t n = SMALL; n < sizeof s->bytes; n++)
        assert_int_equal(s->bytes[n], 0xee);
    small_init(s);
}

static void an_error_that_is_small_is_filled_as_far_as_it_goes(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    union small        s;
    sgi_runtime_config config = host_config();
    sgi_runtime       *no_runtime = NULL;
    sgi_model_config   missing = host_model("x", "/nowhere/at/all.safetensors", NULL);
    sgi_model          no_model = 0;
    sgi_lease          lease = 0;

    small_init(&s);
    assert_int_equal(sgi_error_set(&s.err, SGI_E_ENGINE, "a text of more than sixteen bytes"), SGI_E_ENGINE);
    small_is(&s, SGI_E_ENGINE, "a text of more ");
    config.read_depth = 1000000;
    assert_int_equal(sgi_runtime_open(&config, &no_runtime, &s.err), SGI_E_INVALID);
    small_is(&s, SGI_E_INVALID, "");
    assert_int_equal(sgi_model_register(f.rt, &missing, &no_model, &s.err), SGI_E_IO);
    small_is(&s, SGI_E_IO, "");
    atomic_store(&f.engine.fail[ENGINE_START], SGI_E_ENGINE);
    assert_int_equal(sgi_model_acquire_wait(f.rt, f.model, NULL, &lease, &s.err), SGI_E_ENGINE); /* copied */
    small_is(&s, SGI_E_ENGINE, "model 'm': ");
    atomic_store(&f.engine.fail[ENGINE_START], SGI_OK);

    lease = host_acquire(f.rt, f.model);
    sgi_ticket ticket = ask(&f, f.model);
    assert_int_equal(sgi_acquire_cancel(f.rt, ticket), SGI_OK);
    assert_int_equal(sgi_ticket_wait(f.rt, ticket, SGI_FOREVER, &lease, &s.err), SGI_E_CANCELED);
    small_is(&s, SGI_E_CANCELED, "the request for");
    atomic_store(&f.engine.fail[ENGINE_CALL], SGI_E_INVALID);
    assert_int_equal(sgi_lease_call(f.rt, lease, NULL, 0, SGI_FOREVER, NULL, NULL, &s.err), SGI_E_INVALID);
    small_is(&s, SGI_E_INVALID, "model 'm': ");
    assert_int_equal(sgi_lease_tensor_wait(f.rt, lease, 1000, 1, &s.err), SGI_E_NOT_FOUND);
    small_is(&s, SGI_E_NOT_FOUND, "");
    assert_int_equal(sgi_runtime_close(f.rt, 1, &s.err), SGI_E_TIMEOUT);
    small_is(&s, SGI_E_TIMEOUT, "still in use ");
    host_release(f.rt, lease);
    tear_down(&f);
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
        cmocka_unit_test(a_drain_refuses_and_lets_go_and_leases_go_on),
        cmocka_unit_test(a_leases_call_can_be_canceled_without_its_id),
        cmocka_unit_test(a_cancel_finds_the_call_wherever_it_is),
        cmocka_unit_test(a_call_is_waited_for_until_it_has_something_to_say),
        cmocka_unit_test(who_waits_for_a_call_that_is_given_up_is_let_go),
        cmocka_unit_test(evicting_all_skips_pinned_leased_and_wanted_models),
        cmocka_unit_test(a_silent_prefetch_works_and_tells_nobody),
        cmocka_unit_test(parts_are_the_files_and_their_share_of_the_image),
        cmocka_unit_test(a_call_given_up_has_its_lease_until_the_engine_is_back),
        cmocka_unit_test(of_two_leases_one_call_given_up_takes_one),
        cmocka_unit_test(a_wedged_call_ends_for_its_user_while_the_engine_is_out),
        cmocka_unit_test(a_blocking_call_ends_when_its_engine_hangs),
        cmocka_unit_test(an_overdue_lease_is_named_and_begins_no_call),
        cmocka_unit_test(what_is_not_an_engines_to_say_is_an_engine_failure),
        cmocka_unit_test(an_error_that_is_small_is_filled_as_far_as_it_goes),
    };
    test_folder_make(&folder);
    test_file_make_one(&file, &folder, "m.safetensors", 20000);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    test_file_free(&file);
    test_folder_remove(&folder);
    return failed;
}
