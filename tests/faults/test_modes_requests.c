/* SPDX-License-Identifier: Apache-2.0 */
/* Failure modes of requests that meet something on its way: a timer, another request, an unload. Each is tried at
 * every step that a start or a stop has, in both orders; README.md is the list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "modes.h"

enum { WAITERS = 3 };

/* Over the place whose results wait. */
static void open_held(struct modes *m, uint64_t dram_bytes)
{
    sgi_runtime_config config = modes_config(1, MIB(8));
    config.dram_bytes_max = dram_bytes;
    modes_open(m, &config, &test_place_ops);
}

static sgi_model add(struct modes *m)
{
    return modes_add(m, 0, true, WAITERS);
}

static int started(struct modes *m)
{
    return test_engine_count(&m->engine, ENGINE_START);
}

static int stopped(struct modes *m)
{
    return test_engine_count(&m->engine, ENGINE_STOP);
}

/* ---- 1 ---- */

/* The clock, and which deadline the library's own thread saw when it last looked at it. */
static sgi_runtime *watched;
static uint64_t     deadline_seen; /* under the runtime's mutex */

static uint64_t watched_now(void *user)
{
    struct test_clock *clock = user;
    if (pthread_equal(pthread_self(), watched->thread))
        deadline_seen = sgi__core_wake_at(watched->core);
    return atomic_load(&clock->now_ns);
}

static void watch_deadlines(struct modes *m)
{
    watched = m->rt;
    pthread_mutex_lock(&m->rt->mutex);
    m->rt->clock.now_ns = watched_now;
    pthread_mutex_unlock(&m->rt->mutex);
}

/* From its look until it sleeps that thread has the mutex. */
static bool sleeps_towards_the_deadline(void *user)
{
    sgi_runtime *rt = user;
    pthread_mutex_lock(&rt->mutex);
    bool asleep = deadline_seen == sgi__core_wake_at(rt->core);
    pthread_mutex_unlock(&rt->mutex);
    return asleep;
}

/* 1. llama-swap #946: the timer stops the process behind the scheduler's back; a request that arrives while it stops
 * waits for a start that nobody makes, every later one joins it, and all hang until their clients give up. Ollama's
 * "premature expired" is the other order: the timer takes what a request has just got. */
static void mode_01_idle_timer_fires_while_acquire_arrives(void **state)
{
    static const enum sgi__place_event_kind ends[] = { SGI__PLACE_ENGINE_STOPPED, SGI__PLACE_FREED, SGI__PLACE_KEPT };
    struct modes                            m;
    (void)state;

    /* The request first: the time is over, and nobody has looked yet. */
    open_held(&m, SGI_NONE);
    watch_deadlines(&m);
    sgi_model model = add(&m);
    modes_use(&m, model, 0);
    test_wait_until(sleeps_towards_the_deadline, m.rt, "the library's thread does not look at its deadline");
    atomic_fetch_add(&m.clock.now_ns, IDLE_MS * UINT64_C(1000000));
    sgi_lease lease = modes_granted(&m, modes_ask(&m, model));
    modes_advance(&m, 1); /* now somebody looks */
    assert_int_equal(host_state(m.rt, model).state, SGI_MODEL_BUSY);
    assert_int_equal(host_state(m.rt, model).loads_count, 1);
    assert_int_equal(stopped(&m), 0);
    modes_same(&m, model, lease, 0);
    host_release(m.rt, lease);
    modes_close(&m);

    /* The timer first: whatever of the stop is still out, who comes then is served after it, and so is the next. */
    for (int n = 0; n < 3; n++) {
        bool kept = ends[n] == SGI__PLACE_KEPT;
        open_held(&m, kept ? MIB(8) : SGI_NONE);
        model = add(&m);
        modes_use(&m, model, 0);
        test_place_hold(m.tp, ends[n]);
        modes_advance(&m, IDLE_MS);
        test_place_wait_held(m.tp, ends[n]);
        assert_int_equal(host_state(m.rt, model).state, SGI_MODEL_STOPPING);
        assert_int_equal(sgi_model_try_acquire(m.rt, model, NULL, &lease), SGI_E_WOULD_BLOCK);
        sgi_ticket one = modes_ask(&m, model), two = modes_ask(&m, model);
        assert_int_equal(host_state(m.rt, model).requests_waiting, 2);
        test_place_let_go(m.tp, ends[n]);
        lease = modes_granted(&m, one);
        host_release(m.rt, modes_granted(&m, two));
        modes_same(&m, model, lease, 0);
        assert_int_equal(host_timing(m.rt, lease).tier, kept ? SGI_TIER_DRAM : SGI_TIER_DISK);
        host_release(m.rt, lease);
        assert_int_equal(host_state(m.rt, model).loads_count, 2);
        assert_int_equal(stopped(&m), 1);
        modes_use(&m, model, 0);
        assert_int_equal(host_state(m.rt, model).loads_count, 2);
        modes_close(&m);
    }
}

/* ---- 2 ---- */

/* 2. Ollama #8398: one client goes away while a model loads, the load is canceled with its context, and everybody else
 * who waited for it gets the error. */
static void mode_02_a_waiter_cancels_a_shared_load(void **state)
{
    (void)state;
    for (int step = 0; step < MODES_STEPS; step++)
        for (int leaver = 0; leaver < WAITERS; leaver++) {
            struct modes m;
            sgi_ticket   tickets[WAITERS];
            sgi_lease    lease = 0;
            open_held(&m, SGI_NONE);
            sgi_model model = add(&m);
            test_place_hold(m.tp, modes_steps[step]);
            for (int n = 0; n < WAITERS; n++)
                tickets[n] = modes_ask(&m, model);
            test_place_wait_held(m.tp, modes_steps[step]);
            assert_int_equal(sgi_acquire_cancel(m.rt, tickets[leaver]), SGI_OK);
            assert_int_equal(modes_end(&m, tickets[leaver], &lease), SGI_E_CANCELED);
            test_place_let_go(m.tp, modes_steps[step]);
            for (int n = 0; n < WAITERS; n++)
                if (n != leaver) {
                    lease = modes_granted(&m, tickets[n]);
                    modes_same(&m, model, lease, 0);
                    host_release(m.rt, lease);
                }
            assert_int_equal(host_state(m.rt, model).loads_count, 1);
            assert_int_equal(host_state(m.rt, model).failures_count, 0);
            assert_int_equal(started(&m), 1);
            modes_close(&m);
        }
}

/* 2, the other way round: when all have left nothing stays behind, and who comes before that has ended is served. */
static void mode_02_the_last_waiter_cancels_and_another_one_comes(void **state)
{
    (void)state;
    for (int step = 0; step < MODES_STEPS; step++)
        for (int another = 0; another < 2; another++) {
            struct modes m;
            sgi_ticket   tickets[WAITERS], next = 0;
            sgi_lease    lease = 0;
            open_held(&m, SGI_NONE);
            sgi_model model = add(&m);
            test_place_hold(m.tp, modes_steps[step]);
            for (int n = 0; n < WAITERS; n++)
                tickets[n] = modes_ask(&m, model);
            test_place_wait_held(m.tp, modes_steps[step]);
            for (int n = 0; n < WAITERS; n++) {
                assert_int_equal(sgi_acquire_cancel(m.rt, tickets[n]), SGI_OK);
                assert_int_equal(modes_end(&m, tickets[n], &lease), SGI_E_CANCELED);
            }
            if (another)
                next = modes_ask(&m, model);
            test_place_let_go(m.tp, modes_steps[step]);
            if (another) {
                lease = modes_granted(&m, next);
                modes_same(&m, model, lease, 0);
                host_release(m.rt, lease);
            }
            modes_evict(&m, model);
            modes_hold_nothing(&m);
            assert_int_equal(host_state(m.rt, model).failures_count, 0); /* nobody's failure */
            modes_close(&m);
        }
}

/* ---- 9 ---- */

/* 9. Triton #7018: two clients ask for a model at the same time and it is loaded twice, with twice the memory until
 * one of them is dropped again; Ollama #9625 likewise. */
static void mode_09_two_loads_of_one_model_are_one(void **state)
{
    (void)state;
    for (int step = 0; step < MODES_STEPS; step++)
        for (int prefetch_first = 0; prefetch_first < 2; prefetch_first++) {
            struct modes m;
            sgi_ticket   first = 0, second = 0, asks[2];
            sgi_lease    none = 0, lease = 0;
            open_held(&m, SGI_NONE);
            sgi_model model = add(&m);
            test_place_hold(m.tp, modes_steps[step]);
            if (prefetch_first)
                sgi_model_prefetch(m.rt, model, SGI_TIER_DEVICE, NULL, &first, NULL, NULL, NULL);
            else
                first = modes_ask(&m, model);
            test_place_wait_held(m.tp, modes_steps[step]);
            if (prefetch_first)
                second = modes_ask(&m, model);
            else
                sgi_model_prefetch(m.rt, model, SGI_TIER_DEVICE, NULL, &second, NULL, NULL, NULL);
            for (int n = 0; n < 2; n++)
                asks[n] = modes_ask(&m, model);
            test_place_let_go(m.tp, modes_steps[step]);
            for (int n = 0; n < 2; n++) {
                lease = modes_granted(&m, asks[n]);
                assert_int_equal(host_timing(m.rt, lease).joined, 1);
                modes_same(&m, model, lease, 0);
                host_release(m.rt, lease);
            }
            lease = modes_granted(&m, prefetch_first ? second : first);
            assert_int_equal(modes_end(&m, prefetch_first ? first : second, &none), SGI_OK);
            sgi_model_info info = { .struct_size = sizeof info };
            assert_int_equal(sgi_model_describe(m.rt, model, &info), SGI_OK);
            assert_int_equal(host_info(m.rt).device_bytes, info.image_bytes);
            assert_int_equal(host_state(m.rt, model).loads_count, 1);
            assert_int_equal(started(&m), 1);
            assert_int_equal(test_engine_count(&m.engine, ENGINE_PREPARE), 1);
            host_release(m.rt, lease);
            modes_close(&m);
        }
}

/* ---- 13 ---- */

/* 13. Ollama #5724: while one model loads the scheduler is busy with that, and requests for others that are in memory
 * wait until it has ended. */
static void mode_13_loading_does_not_block_hits_on_other_models(void **state)
{
    (void)state;
    for (int step = 0; step < MODES_STEPS; step++) {
        struct test_request request = { .kind = REQUEST_EMIT, .pieces = 1, .piece_bytes = 3 };
        struct modes        m;
        struct test_engine  engine;
        sgi_lease           lease = 0, second = 0;
        sgi_runtime_config  config = modes_config(2, MIB(8)); /* of which the other has no context yet */
        config.loads_max = 1;
        modes_open(&m, &config, &test_place_ops);
        test_engine_init(&engine, false, false);
        sgi_model hit = modes_add(&m, 1, true, 2);
        sgi_model loading = host_add(m.rt, "loading", modes_files[0].path, &engine);
        modes_use(&m, hit, 1);
        if (modes_steps[step] == SGI__PLACE_PREPARED) { /* this one has no such step: its start takes the time */
            gate_close(&engine.gates[ENGINE_START]);
        } else {
            test_place_hold(m.tp, modes_steps[step]);
        }
        sgi_ticket ticket = modes_ask(&m, loading);
        if (modes_steps[step] == SGI__PLACE_PREPARED)
            gate_wait_arrived(&engine.gates[ENGINE_START], 1);
        else
            test_place_wait_held(m.tp, modes_steps[step]);
        assert_int_equal(sgi_model_try_acquire(m.rt, hit, NULL, &lease), SGI_OK);
        second = modes_granted(&m, modes_ask(&m, hit));
        modes_same(&m, hit, second, 1);
        assert_int_equal(sgi_lease_call(m.rt, lease, &request, sizeof request, HOST_WAIT_MS, NULL, NULL, &m.err),
                         SGI_OK);
        host_release(m.rt, lease);
        host_release(m.rt, second);
        assert_int_equal(host_state(m.rt, hit).loads_count, 1);
        assert_true(host_state(m.rt, loading).requests_waiting == 1 && host_state(m.rt, loading).loads_count == 0);
        gate_open(&engine.gates[ENGINE_START]);
        test_place_let_go(m.tp, modes_steps[step]);
        lease = modes_granted(&m, ticket);
        modes_same(&m, loading, lease, 0);
        host_release(m.rt, lease);
        modes_close(&m);
        test_engine_fini(&engine);
    }
}

/* ---- 16 ---- */

/* 16. Triton's own tests send unload and load for one model at the same time, in both orders (server #6150): what is
 * asked last has to hold, and the server may neither crash nor say one thing and do the other. Unload first. */
static void mode_16_an_unload_in_flight_and_then_a_load(void **state)
{
    static const enum sgi__place_event_kind ends[] = { SGI__PLACE_ENGINE_STOPPED, SGI__PLACE_FREED,
                                                       SGI__PLACE_DISCARDED };
    (void)state;
    for (int n = 0; n < 3; n++) {
        struct modes m;
        open_held(&m, SGI_NONE);
        sgi_model model = add(&m);
        modes_use(&m, model, 0);
        test_place_hold(m.tp, ends[n]);
        assert_int_equal(sgi_model_evict(m.rt, model, SGI_EVICT_ALL), SGI_OK);
        test_place_wait_held(m.tp, ends[n]);
        sgi_ticket ticket = modes_ask(&m, model);
        assert_int_equal(host_state(m.rt, model).leases_count, 0);
        test_place_let_go(m.tp, ends[n]);
        sgi_lease lease = modes_granted(&m, ticket);
        modes_same(&m, model, lease, 0);
        assert_true(host_state(m.rt, model).state == SGI_MODEL_BUSY && host_state(m.rt, model).loads_count == 2);
        assert_true(started(&m) == 2 && stopped(&m) == 1);
        host_release(m.rt, lease);
        modes_close(&m);
    }
}

/* 16, load first: an eviction says that it cannot be, and changes nothing; unregistering ends the load. */
static void mode_16_a_load_in_flight_and_then_an_unload(void **state)
{
    (void)state;
    for (int step = 0; step < MODES_STEPS; step++) {
        struct modes m;
        sgi_lease    lease = 0;
        sgi_model    found = 0;
        open_held(&m, SGI_NONE);
        sgi_model        model = add(&m);
        sgi_model_config again = host_model("a", modes_files[0].path, &m.engine);
        test_place_hold(m.tp, modes_steps[step]);
        sgi_ticket ticket = modes_ask(&m, model);
        test_place_wait_held(m.tp, modes_steps[step]);
        assert_int_equal(sgi_model_evict(m.rt, model, SGI_EVICT_ALL), SGI_E_BUSY);
        assert_int_equal(sgi_runtime_evict(m.rt, SGI_EVICT_ALL), SGI_OK);
        test_place_let_go(m.tp, modes_steps[step]);
        lease = modes_granted(&m, ticket);
        modes_same(&m, model, lease, 0);
        host_release(m.rt, lease);
        assert_int_equal(host_state(m.rt, model).loads_count, 1);
        modes_evict(&m, model);

        test_place_hold(m.tp, modes_steps[step]);
        if (modes_steps[step] == SGI__PLACE_CONTEXT_OPENED) { /* it is open still, and this is held nowhere */
            modes_close(&m);
            continue;
        }
        ticket = modes_ask(&m, model);
        test_place_wait_held(m.tp, modes_steps[step]);
        assert_int_equal(sgi_model_unregister(m.rt, model, 1, &m.err), SGI_E_TIMEOUT);
        assert_int_equal(modes_end(&m, ticket, &lease), SGI_E_STALE);
        assert_int_equal(sgi_model_register(m.rt, &again, &found, &m.err), SGI_E_EXISTS); /* not twice at a time */
        test_place_let_go(m.tp, modes_steps[step]);
        assert_int_equal(sgi_model_unregister(m.rt, model, HOST_WAIT_MS, &m.err), SGI_OK);
        modes_hold_nothing(&m);
        sgi_model next = host_register(m.rt, &again);
        assert_int_equal(sgi_model_acquire_wait(m.rt, model, NULL, &lease, NULL), SGI_E_STALE);
        modes_use(&m, next, 0);
        modes_close(&m);
    }
}

/* ---- 21 ---- */

/* 21. KServe #1247, #1641: a start takes longer than the time after which an idle service goes to zero, the autoscaler
 * counts from the beginning, and the pod is taken away before it was ever ready: again and again. */
static void mode_21_scale_to_zero_leaves_a_start_alone(void **state)
{
    (void)state;
    for (int step = 0; step < MODES_STEPS; step++)
        for (int prefetch = 0; prefetch < 2; prefetch++) {
            struct modes m;
            sgi_ticket   ticket = 0;
            sgi_lease    lease = 0;
            open_held(&m, SGI_NONE);
            sgi_model model = add(&m);
            test_place_hold(m.tp, modes_steps[step]);
            if (prefetch)
                sgi_model_prefetch(m.rt, model, SGI_TIER_DEVICE, NULL, &ticket, NULL, NULL, NULL);
            else
                ticket = modes_ask(&m, model);
            test_place_wait_held(m.tp, modes_steps[step]);
            for (int n = 0; n < 10; n++)
                modes_advance(&m, IDLE_MS);
            assert_int_equal(sgi_runtime_evict(m.rt, SGI_EVICT_ALL), SGI_OK); /* whoever wants everything at zero */
            test_place_let_go(m.tp, modes_steps[step]);
            lease = 0;
            assert_int_equal(modes_end(&m, ticket, &lease), SGI_OK);
            assert_true(stopped(&m) == 0 && host_state(m.rt, model).loads_count == 1);
            if (!prefetch) {
                modes_advance(&m, 10 * IDLE_MS);
                modes_same(&m, model, lease, 0);
                host_release(m.rt, lease);
            }
            assert_int_equal(host_state(m.rt, model).state, SGI_MODEL_READY);
            assert_int_equal(host_state(m.rt, model).idle_left_ms, IDLE_MS); /* all of it, from here on */
            modes_advance(&m, IDLE_MS - 1);
            assert_int_equal(host_state(m.rt, model).state, SGI_MODEL_READY);
            modes_advance(&m, 1);
            host_wait_state(m.rt, model, SGI_MODEL_COLD);
            modes_close(&m);
        }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        MODE(mode_01_idle_timer_fires_while_acquire_arrives),        MODE(mode_02_a_waiter_cancels_a_shared_load),
        MODE(mode_02_the_last_waiter_cancels_and_another_one_comes), MODE(mode_09_two_loads_of_one_model_are_one),
        MODE(mode_13_loading_does_not_block_hits_on_other_models),   MODE(mode_16_an_unload_in_flight_and_then_a_load),
        MODE(mode_16_a_load_in_flight_and_then_an_unload),           MODE(mode_21_scale_to_zero_leaves_a_start_alone),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("modes: requests", tests, modes_set_up, modes_tear_down);
}
