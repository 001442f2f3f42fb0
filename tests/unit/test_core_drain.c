/* SPDX-License-Identifier: Apache-2.0 */
/* The core: leaving. Draining one model, draining all, what a drain waits for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sim/sim.h"

static struct sim *with_dram(void)
{
    return sim_new(&(struct sim_config){ .seed = 7, .dram_bytes = MIB(500) });
}

static sgi_model full_model(struct sim *s)
{
    return sim_model(s, &(struct sim_model){ .bytes = MIB(300),
                                             .engine_bytes = MIB(50),
                                             .engine = true,
                                             .prepare = true,
                                             .leases_max = 2,
                                             .idle_ms = SIM_IDLE_NEVER });
}

static void a_cold_model_is_drained_at_once(void **state)
{
    (void)state;
    struct sim *s = with_dram();
    sgi_model   m = full_model(s);

    assert_int_equal(sim_remove(s, m), SGI_E_BUSY); /* not before its drain */
    assert_int_equal(sim_drain_model(s, m, SGI_E_STALE), SGI_OK);
    assert_int_equal(sim_drained(s), 1);
    assert_int_equal(sim_remove(s, m), SGI_OK);
    assert_int_equal(sim_remove(s, m), SGI_E_STALE);
    assert_int_equal(sim_ask_status(s, m, NULL, NULL), SGI_E_STALE);
    sim_free(s);
}

static void a_drain_gives_back_every_tier_and_what_was_prepared(void **state)
{
    (void)state;
    struct sim *s = with_dram();
    sgi_model   warm = full_model(s), kept = full_model(s);

    sim_release(s, sim_acquire(s, kept));
    sim_evict(s, kept, SGI_TIER_DRAM);
    sim_release(s, sim_acquire(s, warm));
    sim_pin(s, warm, SGI_TIER_DEVICE); /* a pin does not hold it */
    sim_drain_model(s, warm, SGI_E_STALE);
    assert_int_equal(sim_drained(s), 1);
    assert_int_equal(sim_vram_used(s), 0);
    assert_int_equal(sim_view(s, warm).prepared_bytes, 0);
    assert_int_equal(sim_actions_of(s, SGI__ACT_KEEP, warm), 0);
    assert_int_equal(sim_model_dram(s, kept), MIB(300)); /* the other is as before */
    sim_drain_model(s, kept, SGI_E_STALE);
    assert_int_equal(sim_drained(s), 2);
    assert_int_equal(sim_dram_used(s), 0);
    sim_free(s);
}

static void a_drain_ends_who_waits_and_waits_for_who_holds(void **state)
{
    (void)state;
    struct sim *s = with_dram();
    sgi_model   m = full_model(s);
    sgi_lease   a = sim_acquire(s, m), b = sim_acquire(s, m), lease = 0;
    sgi_ticket  waiting = sim_ask(s, m, NULL);

    sim_drain_model(s, m, SGI_E_STALE);
    assert_int_equal(sim_outcome(s, waiting).status, SGI_E_STALE);
    assert_int_equal(sim_ask_status(s, m, NULL, NULL), SGI_E_STALE);
    assert_int_equal(sim_try_acquire(s, m, &lease), SGI_E_STALE);
    sim_release(s, a);
    assert_int_equal(sim_drained(s), 0);
    assert_int_equal(sim_vram_used(s), MIB(350)); /* nothing in use is taken */
    sim_drain_model(s, m, SGI_E_STALE);           /* once more is fine */
    sim_release(s, b);
    assert_int_equal(sim_drained(s), 1);
    assert_int_equal(sim_vram_used(s), 0);
    assert_int_equal(sim_remove(s, m), SGI_OK);
    sim_free(s);
}

static void a_drain_waits_for_a_call_that_was_given_up(void **state)
{
    (void)state;
    struct sim *s = with_dram();
    sgi_model   m = full_model(s);
    sgi_lease   lease = sim_acquire(s, m);

    sim_call_begin(s, lease);
    sim_call_detach(s, lease);
    sim_release(s, lease);
    sim_drain_model(s, m, SGI_E_STALE);
    assert_int_equal(sim_drained(s), 0);
    sim_advance_ms(s, 70000); /* it is hung by now */
    assert_int_equal(sim_view(s, m).state, SGI_MODEL_WEDGED);
    assert_int_equal(sim_drained(s), 0);
    sim_call_back(s, lease);
    assert_int_equal(sim_drained(s), 1);
    sim_free(s);
}

static void a_drain_cancels_a_load(void **state)
{
    (void)state;
    struct sim *s = with_dram();
    sgi_model   m = full_model(s);

    sim_takes_ms(s, SGI__ACT_START_LOAD, 1000);
    sgi_ticket t = sim_ask(s, m, NULL);
    sim_drain_model(s, m, SGI_E_STALE);
    assert_int_equal(sim_outcome(s, t).status, SGI_E_STALE);
    assert_int_equal(sim_actions(s, SGI__ACT_CANCEL_LOAD), 1);
    assert_int_equal(sim_drained(s), 1);
    assert_int_equal(sim_vram_used(s) + sim_dram_used(s), 0);
    sim_free(s);
}

static void a_drain_waits_for_results_that_are_out(void **state)
{
    (void)state;
    static const enum sgi__core_action_kind kinds[] = {
        SGI__ACT_CHECK_SOURCE, SGI__ACT_RESERVE, SGI__ACT_PREPARE, SGI__ACT_START_LOAD, SGI__ACT_START_ENGINE,
    };
    for (size_t n = 0; n < sizeof kinds / sizeof kinds[0]; n++) {
        struct sim *s = with_dram();
        sgi_model   m = full_model(s);

        sim_hold(s, kinds[n]);
        sim_ask(s, m, NULL);
        sim_drain_model(s, m, SGI_E_STALE);
        assert_int_equal(sim_drained(s), 0);
        sim_let_go(s, kinds[n]);
        assert_int_equal(sim_drained(s), 1);
        assert_int_equal(sim_vram_used(s) + sim_dram_used(s), 0);
        sim_free(s);
    }
}

static void a_model_can_come_back_in_the_slot_of_one_that_left(void **state)
{
    (void)state;
    struct sim *s = with_dram();
    sgi_model   first = full_model(s);

    sim_release(s, sim_acquire(s, first));
    for (int n = 0; n < 50; n++) { /* failure mode 16 */
        sim_drain_model(s, first, SGI_E_STALE);
        assert_int_equal(sim_remove(s, first), SGI_OK);
        sgi_model next = full_model(s);
        assert_true(next != first);
        assert_int_equal(sgi__core_slot(next), sgi__core_slot(first));
        assert_int_equal(sim_evict(s, first, SGI_TIER_DISK), SGI_E_STALE);
        sim_release(s, sim_acquire(s, next));
        first = next;
    }
    sim_free(s);
}

static void draining_all_refuses_and_ends_and_closes(void **state)
{
    (void)state;
    struct sim *s = with_dram();
    sgi_model   idle = full_model(s), used = full_model(s), kept = full_model(s), m = 0;
    sgi_lease   lease = 0;

    sim_release(s, sim_acquire(s, kept));
    sim_evict(s, kept, SGI_TIER_DRAM);
    sim_release(s, sim_acquire(s, idle));
    sgi_lease  held = sim_acquire(s, used), more = sim_acquire(s, used);
    sgi_ticket t = sim_ask(s, used, NULL);
    sim_drain(s);
    assert_int_equal(sim_outcome(s, t).status, SGI_E_CLOSED);
    assert_int_equal(sim_ask_status(s, idle, NULL, NULL), SGI_E_CLOSED);
    assert_int_equal(sim_try_acquire(s, used, &lease), SGI_E_CLOSED);
    assert_int_equal(sim_model_status(s, &(struct sim_model){ .bytes = 1 }, &m), SGI_E_CLOSED);
    assert_int_equal(sim_vram_used(s), MIB(350));
    assert_int_equal(sim_dram_used(s), 0);
    assert_true(sim_context_open(s, 0));
    assert_int_equal(sim_drained(s), 2);
    sim_release(s, held);
    sim_drain(s); /* once more is fine */
    assert_int_equal(sim_closed(s), 0);
    sim_release(s, more);
    assert_int_equal(sim_drained(s), 3);
    assert_false(sim_context_open(s, 0)); /* without lingering */
    assert_int_equal(sim_closed(s), 1);
    sim_advance_ms(s, 100000);
    assert_int_equal(sim_closed(s), 1);
    sim_free(s);
}

static void draining_nothing_closes_at_once(void **state)
{
    (void)state;
    struct sim *s = with_dram();

    sim_drain(s);
    assert_int_equal(sim_closed(s), 1);
    sim_free(s);
}

static void draining_closes_a_context_that_lingers_or_opens(void **state)
{
    (void)state;
    struct sim *s = sim_new(&(struct sim_config){ .seed = 7, .linger_ms = 100000 });
    sgi_model   m = sim_model(s, &(struct sim_model){ .bytes = MIB(300), .idle_ms = 1 });

    sim_release(s, sim_acquire(s, m));
    sim_advance_ms(s, 10);
    assert_true(sim_context_open(s, 0));
    sim_drain(s);
    assert_false(sim_context_open(s, 0));
    assert_int_equal(sim_closed(s), 1);
    sim_free(s);

    s = sim_new(&(struct sim_config){ .seed = 7, .linger_ms = 100000 });
    m = sim_model(s, &(struct sim_model){ .bytes = MIB(300) });
    sim_hold(s, SGI__ACT_OPEN_CONTEXT);
    sim_ask(s, m, NULL);
    sim_drain(s);
    assert_int_equal(sim_closed(s), 0);
    sim_let_go(s, SGI__ACT_OPEN_CONTEXT);
    assert_false(sim_context_open(s, 0));
    assert_int_equal(sim_closed(s), 1);
    sim_free(s);
}

static void draining_waits_for_what_is_hung_and_holds_it(void **state)
{
    (void)state;
    struct sim *s = with_dram();
    sgi_model   m = full_model(s);

    sim_hold(s, SGI__ACT_STOP_ENGINE);
    sim_release(s, sim_acquire(s, m));
    sim_drain(s);
    sim_advance_ms(s, 100000);
    assert_int_equal(sim_closed(s), 0);
    assert_int_equal(sim_vram_used(s), MIB(350));
    assert_int_equal(sim_view(s, m).state, SGI_MODEL_WEDGED); /* who closes can be told what it waits for */
    sim_let_go(s, SGI__ACT_STOP_ENGINE);
    assert_int_equal(sim_closed(s), 1);
    assert_int_equal(sim_vram_used(s), 0);
    sim_free(s);
}

static void a_thousand_cycles_leave_nothing_behind(void **state)
{
    (void)state;
    struct sim *s = with_dram();
    sgi_model   a = full_model(s), b = sim_model(s, &(struct sim_model){ .bytes = MIB(400), .idle_ms = 5 });

    for (int n = 0; n < 1000; n++) { /* failure mode 24 */
        sim_release(s, sim_acquire(s, n % 3 ? a : b));
        sim_advance_ms(s, (uint64_t)(n % 7));
        if (n % 10 == 9) {
            sim_evict(s, a, SGI_EVICT_ALL);
            sim_evict(s, b, SGI_EVICT_ALL);
            assert_int_equal(sim_vram_used(s) + sim_dram_used(s), 0);
        }
    }
    sim_advance_ms(s, 100000);
    sim_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cold_model_is_drained_at_once),
        cmocka_unit_test(a_drain_gives_back_every_tier_and_what_was_prepared),
        cmocka_unit_test(a_drain_ends_who_waits_and_waits_for_who_holds),
        cmocka_unit_test(a_drain_waits_for_a_call_that_was_given_up),
        cmocka_unit_test(a_drain_cancels_a_load),
        cmocka_unit_test(a_drain_waits_for_results_that_are_out),
        cmocka_unit_test(a_model_can_come_back_in_the_slot_of_one_that_left),
        cmocka_unit_test(draining_all_refuses_and_ends_and_closes),
        cmocka_unit_test(draining_nothing_closes_at_once),
        cmocka_unit_test(draining_closes_a_context_that_lingers_or_opens),
        cmocka_unit_test(draining_waits_for_what_is_hung_and_holds_it),
        cmocka_unit_test(a_thousand_cycles_leave_nothing_behind),
    };
    return cmocka_run_group_tests_name("core_drain", tests, NULL, NULL);
}
