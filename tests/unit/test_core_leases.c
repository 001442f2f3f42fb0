/* SPDX-License-Identifier: Apache-2.0 */
/* The core: leases, idle times, calls. Each test runs the simulator's rules after every event beside what it says
 * itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/state.h"
#include "sim/sim.h"
#include "sim/sim_state.h"

static struct sim *one_device(uint64_t bytes)
{
    return sim_new(&(struct sim_config){ .seed = 7, .vram_bytes = bytes });
}

static void idle_timer_waits_for_the_last_lease(void **state)
{
    (void)state;
    struct sim *s = one_device(MIB(512));
    sgi_model   m = sim_model(s, &(struct sim_model){ .bytes = MIB(300), .idle_ms = 100 });
    sgi_lease   lease = sim_acquire(s, m);

    sim_advance_ms(s, 1000);
    assert_int_equal(sim_vram_used(s), MIB(300)); /* held: the timer must not run */
    assert_int_equal(sim_release(s, lease), SGI_OK);
    sim_advance_ms(s, 99);
    assert_int_equal(sim_vram_used(s), MIB(300));
    sim_advance_ms(s, 1);
    assert_int_equal(sim_vram_used(s), 0);
    assert_int_equal(sim_release(s, lease), SGI_E_STALE);
    sim_free(s);
}

static void two_leases_keep_it_until_both_are_released(void **state)
{
    (void)state;
    struct sim *s = one_device(MIB(512));
    sgi_model   m = sim_model(s, &(struct sim_model){ .bytes = MIB(300), .idle_ms = 100 });
    sgi_lease   a = sim_acquire(s, m), b = sim_acquire(s, m);

    assert_int_equal(sim_view(s, m).leases, 2);
    sim_release(s, a);
    sim_advance_ms(s, 1000);
    assert_int_equal(sim_vram_used(s), MIB(300));
    sim_release(s, b);
    sim_advance_ms(s, 100);
    assert_int_equal(sim_vram_used(s), 0);
    sim_free(s);
}

static void a_use_in_between_starts_the_idle_time_anew(void **state)
{
    (void)state;
    struct sim *s = one_device(MIB(512));
    sgi_model   m = sim_model(s, &(struct sim_model){ .bytes = MIB(300), .idle_ms = 100 });

    sim_release(s, sim_acquire(s, m));
    sim_advance_ms(s, 60);
    sim_release(s, sim_acquire(s, m));
    sim_advance_ms(s, 99); /* 159 after the first */
    assert_int_equal(sim_vram_used(s), MIB(300));
    sim_advance_ms(s, 1);
    assert_int_equal(sim_vram_used(s), 0);
    assert_int_equal(sim_actions(s, SGI__ACT_START_LOAD), 1);
    sim_free(s);
}

static void the_last_released_lease_decides_the_idle_time(void **state)
{
    (void)state;
    struct sim *s = one_device(MIB(512));
    sgi_model   m = sim_model(s, &(struct sim_model){ .bytes = MIB(300), .idle_ms = 100 });
    sgi_lease   longer = sim_wait(s, sim_ask(s, m, &(struct sim_ask){ .idle_ms = 500 })).lease;
    sgi_lease   plain = sim_acquire(s, m);

    sim_release(s, longer);
    sim_release(s, plain); /* the model's 100 ms */
    sim_advance_ms(s, 100);
    assert_int_equal(sim_vram_used(s), 0);

    plain = sim_acquire(s, m);
    longer = sim_wait(s, sim_ask(s, m, &(struct sim_ask){ .idle_ms = 500 })).lease;
    sim_release(s, plain);
    sim_release(s, longer);
    sim_advance_ms(s, 499);
    assert_int_equal(sim_vram_used(s), MIB(300));
    sim_advance_ms(s, 1);
    assert_int_equal(sim_vram_used(s), 0);
    sim_free(s);
}

static void idle_now_gives_back_at_the_release(void **state)
{
    (void)state;
    struct sim *s = one_device(MIB(512));
    sgi_model   m = sim_model(s, &(struct sim_model){ .bytes = MIB(300), .idle_ms = 100 });

    sim_release(s, sim_wait(s, sim_ask(s, m, &(struct sim_ask){ .idle_ms = SIM_IDLE_NOW })).lease);
    assert_int_equal(sim_vram_used(s), 0);
    sgi_model now = sim_model(s, &(struct sim_model){ .bytes = MIB(200), .idle_ms = SIM_IDLE_NOW });
    sim_release(s, sim_acquire(s, now));
    assert_int_equal(sim_vram_used(s), 0);
    sim_free(s);
}

static void idle_never_stays_without_a_timer(void **state)
{
    (void)state;
    struct sim *s = one_device(MIB(512));
    sgi_model   m = sim_model(s, &(struct sim_model){ .bytes = MIB(300), .idle_ms = 100 });

    sim_release(s, sim_wait(s, sim_ask(s, m, &(struct sim_ask){ .idle_ms = SIM_IDLE_NEVER })).lease);
    sim_advance_ms(s, 100u * 3600 * 1000);
    assert_int_equal(sim_vram_used(s), MIB(300));
    assert_true(sgi__core_wake_at(sim_core(s)) == SGI__NEVER);
    assert_int_equal(sim_view(s, m).idle_deadline, SGI__NEVER);
    sim_free(s);
}

static void try_acquire_takes_what_is_warm_and_never_loads(void **state)
{
    (void)state;
    struct sim *s = one_device(MIB(512));
    sgi_model   m = sim_model(s, &(struct sim_model){ .bytes = MIB(300) });
    sgi_lease   lease = 0;

    assert_int_equal(sim_try_acquire(s, m, &lease), SGI_E_WOULD_BLOCK);
    assert_int_equal(sim_actions(s, SGI__ACT_CHECK_SOURCE), 0);
    sim_release(s, sim_acquire(s, m));
    assert_int_equal(sim_try_acquire(s, m, &lease), SGI_OK);
    assert_int_equal(sim_actions(s, SGI__ACT_START_LOAD), 1);
    sim_release(s, lease);
    assert_int_equal(sim_evict(s, m, SGI_TIER_DISK), SGI_OK);
    assert_int_equal(sim_try_acquire(s, m, &lease), SGI_E_WOULD_BLOCK);
    sim_free(s);
}

static void try_acquire_passes_nobody_who_waits(void **state)
{
    (void)state;
    struct sim *s = one_device(MIB(512));
    sgi_model   m = sim_model(s, &(struct sim_model){ .bytes = MIB(300), .engine = true, .leases_max = 1 });
    sgi_lease   held = sim_acquire(s, m), lease = 0;
    sgi_ticket  first = sim_ask(s, m, NULL);

    assert_int_equal(sim_try_acquire(s, m, &lease), SGI_E_WOULD_BLOCK);
    sim_release(s, held);
    assert_int_equal(sim_outcome(s, first).status, SGI_OK);
    assert_int_equal(sim_try_acquire(s, m, &lease), SGI_E_WOULD_BLOCK);
    sim_release(s, sim_outcome(s, first).lease);
    sim_free(s);
}

static void leases_max_queues_in_order(void **state)
{
    (void)state;
    struct sim *s = one_device(MIB(512));
    sgi_model   m = sim_model(s, &(struct sim_model){ .bytes = MIB(300), .engine = true, .leases_max = 2 });
    sgi_ticket  t[4];

    for (int n = 0; n < 4; n++)
        t[n] = sim_ask(s, m, NULL);
    assert_true(sim_outcome(s, t[0]).lease != 0 && sim_outcome(s, t[1]).lease != 0);
    assert_false(sim_outcome(s, t[2]).ended);
    sim_release(s, sim_outcome(s, t[1]).lease);
    assert_true(sim_outcome(s, t[2]).lease != 0);
    assert_false(sim_outcome(s, t[3]).ended);
    sim_release(s, sim_outcome(s, t[0]).lease);
    sim_release(s, sim_outcome(s, t[2]).lease);
    assert_true(sim_outcome(s, t[3]).lease != 0);
    sim_release(s, sim_outcome(s, t[3]).lease);
    assert_int_equal(sim_actions(s, SGI__ACT_START_LOAD), 1);
    sim_free(s);
}

static void an_overdue_lease_is_reported_once_and_stays(void **state)
{
    (void)state;
    struct sim *s = one_device(MIB(512));
    sgi_model   m = sim_model(s, &(struct sim_model){ .bytes = MIB(300) });
    sgi_lease   lease = sim_wait(s, sim_ask(s, m, &(struct sim_ask){ .lease_ms = 50 })).lease;

    sim_advance_ms(s, 49);
    assert_int_equal(sim_overdue(s), 0);
    sim_advance_ms(s, 1);
    assert_int_equal(sim_overdue(s), 1);
    sim_advance_ms(s, 60000);
    assert_int_equal(sim_overdue(s), 1);
    assert_int_equal(sim_vram_used(s), MIB(300));
    assert_int_equal(sim_release(s, lease), SGI_OK);

    lease = sim_wait(s, sim_ask(s, m, &(struct sim_ask){ .lease_ms = 50 })).lease;
    sim_release(s, lease);
    sim_advance_ms(s, 100); /* released in time: nothing to report */
    assert_int_equal(sim_overdue(s), 1);
    sim_free(s);
}

static void ids_of_another_core_are_stale(void **state)
{
    (void)state;
    struct sim *s = sim_new(&(struct sim_config){ .id_seed = 1000 });
    struct sim *other = sim_new(&(struct sim_config){ .id_seed = 2000000 });
    sgi_model   m = sim_model(s, &(struct sim_model){ .bytes = MIB(1) });
    sgi_model   theirs = sim_model(other, &(struct sim_model){ .bytes = MIB(1) });
    sgi_lease   lease = sim_acquire(s, m), their_lease = sim_acquire(other, theirs);
    sgi_ticket  ticket = 0;

    assert_true(m != theirs && lease != their_lease);
    assert_int_equal(sim_ask_status(s, theirs, NULL, &ticket), SGI_E_STALE);
    assert_int_equal(sim_release(s, their_lease), SGI_E_STALE);
    assert_int_equal(sim_cancel(s, their_lease), SGI_E_STALE);
    assert_int_equal(sim_evict(s, theirs, SGI_TIER_DISK), SGI_E_STALE);
    assert_int_equal(sim_release(s, m), SGI_E_STALE); /* of another kind */
    assert_int_equal(sim_release(s, 0), SGI_E_STALE);
    assert_int_equal(sim_release(s, lease), SGI_OK);
    assert_int_equal(sim_release(other, their_lease), SGI_OK);
    sim_free(s);
    sim_free(other);
}

static void an_id_is_never_used_again(void **state)
{
    (void)state;
    struct sim *s = one_device(MIB(512));
    sgi_model   m = sim_model(s, &(struct sim_model){ .bytes = MIB(300) });
    sgi_lease   first = sim_acquire(s, m);

    sim_release(s, first);
    for (int n = 0; n < 100; n++) {
        sgi_lease next = sim_acquire(s, m);
        assert_true(next != first);
        assert_int_equal(sim_release(s, first), SGI_E_STALE);
        sim_release(s, next);
    }
    sim_free(s);
}

/* ---- early ---- */

static void an_early_lease_comes_with_the_memory(void **state)
{
    (void)state;
    struct sim                 *s = one_device(MIB(512));
    sgi_model                   m = sim_model(s, &(struct sim_model){ .bytes = MIB(300), .idle_ms = 100 });
    struct sgi__core_lease_view v;

    sim_takes_ms(s, SGI__ACT_START_LOAD, 50);
    sgi_ticket early = sim_ask(s, m, &(struct sim_ask){ .early = true }), plain = sim_ask(s, m, NULL);
    sgi_lease  lease = sim_outcome(s, early).lease;
    assert_true(lease != 0);
    assert_false(sim_outcome(s, plain).ended);
    assert_int_equal(sgi__core_lease_view(sim_core(s), lease, &v), SGI_OK);
    assert_true(v.loading && !v.lost);
    sim_advance_ms(s, 50);
    assert_true(sim_outcome(s, plain).lease != 0);
    sgi__core_lease_view(sim_core(s), lease, &v);
    assert_true(!v.loading && !v.lost);
    sim_release(s, lease);
    sim_release(s, sim_outcome(s, plain).lease);
    sim_free(s);
}

static void an_early_lease_released_before_the_end_decides_the_idle_time(void **state)
{
    (void)state;
    struct sim *s = one_device(MIB(512));
    sgi_model   m = sim_model(s, &(struct sim_model){ .bytes = MIB(300), .idle_ms = 100 });

    sim_takes_ms(s, SGI__ACT_START_LOAD, 50);
    sim_release(s, sim_wait(s, sim_ask(s, m, &(struct sim_ask){ .early = true, .idle_ms = 1000 })).lease);
    sim_advance_ms(s, 50 + 999);
    assert_int_equal(sim_view(s, m).state, SGI_MODEL_READY);
    sim_advance_ms(s, 1);
    assert_int_equal(sim_view(s, m).state, SGI_MODEL_COLD);
    sim_free(s);
}

static void an_early_lease_of_a_failed_load_holds_its_memory_until_released(void **state)
{
    (void)state;
    struct sim                 *s = one_device(MIB(512));
    sgi_model                   m = sim_model(s, &(struct sim_model){ .bytes = MIB(300) });
    struct sgi__core_lease_view v;

    sim_takes_ms(s, SGI__ACT_START_LOAD, 50);
    sim_fail(s, SGI__ACT_START_LOAD, SGI_E_CHECK, SGI_STEP_VERIFY, 1);
    sgi_lease lease = sim_wait(s, sim_ask(s, m, &(struct sim_ask){ .early = true })).lease;
    sim_advance_ms(s, 50);
    sgi__core_lease_view(sim_core(s), lease, &v);
    assert_true(v.lost);
    assert_int_equal(v.lost_status, SGI_E_CHECK);
    assert_int_equal(sim_vram_used(s), MIB(300));
    sim_release(s, lease);
    assert_int_equal(sim_vram_used(s), 0);
    sim_free(s);
}

static void early_wants_do_not_pass_older_ones(void **state)
{
    (void)state;
    struct sim *s = one_device(MIB(512));
    sgi_model   m = sim_model(s, &(struct sim_model){ .bytes = MIB(300), .leases_max = 1 });

    sim_takes_ms(s, SGI__ACT_START_LOAD, 50);
    sgi_ticket plain = sim_ask(s, m, NULL), early = sim_ask(s, m, &(struct sim_ask){ .early = true });
    assert_false(sim_outcome(s, early).ended);
    sim_advance_ms(s, 50);
    assert_true(sim_outcome(s, plain).lease != 0);
    assert_false(sim_outcome(s, early).ended);
    sim_release(s, sim_outcome(s, plain).lease);
    sim_release(s, sim_outcome(s, early).lease);
    sim_free(s);
}

static void an_early_lease_goes_on_through_a_drain(void **state)
{
    (void)state;
    struct sim                 *s = one_device(MIB(512));
    sgi_model                   m = sim_model(s, &(struct sim_model){ .bytes = MIB(300) });
    struct sgi__core_lease_view v;

    sim_takes_ms(s, SGI__ACT_START_LOAD, 50);
    sgi_lease lease = sim_wait(s, sim_ask(s, m, &(struct sim_ask){ .early = true })).lease;
    sim_drain_model(s, m, SGI_E_STALE);
    sgi__core_lease_view(sim_core(s), lease, &v);
    assert_true(v.loading && !v.lost);
    sim_advance_ms(s, 50);
    sgi__core_lease_view(sim_core(s), lease, &v);
    assert_true(!v.loading && !v.lost); /* every byte came after all */
    assert_int_equal(sim_drained(s), 0);
    sim_release(s, lease);
    assert_int_equal(sim_drained(s), 1);
    sim_free(s);
}

static void a_drained_load_ends_with_its_last_early_lease(void **state)
{
    (void)state;
    struct sim *s = one_device(MIB(512));
    sgi_model   m = sim_model(s, &(struct sim_model){ .bytes = MIB(300) });

    sim_takes_ms(s, SGI__ACT_START_LOAD, 60000);
    sgi_lease lease = sim_wait(s, sim_ask(s, m, &(struct sim_ask){ .early = true })).lease;
    sim_drain_model(s, m, SGI_E_STALE);
    assert_int_equal(sim_actions(s, SGI__ACT_CANCEL_LOAD), 0);
    sim_release(s, lease);
    assert_int_equal(sim_actions(s, SGI__ACT_CANCEL_LOAD), 1);
    assert_int_equal(sim_drained(s), 1);
    sim_free(s);
}

/* ---- calls ---- */

static void a_call_keeps_its_lease_and_its_instance(void **state)
{
    (void)state;
    struct sim *s = one_device(MIB(512));
    sgi_model   m = sim_model(s, &(struct sim_model){ .bytes = MIB(300), .engine = true, .idle_ms = 100 });
    sgi_lease   lease = sim_acquire(s, m);

    assert_int_equal(sim_call_begin(s, lease), SGI_OK);
    assert_int_equal(sim_call_begin(s, lease), SGI_E_BUSY);
    assert_int_equal(sim_release(s, lease), SGI_E_BUSY);
    sim_call_back(s, lease);
    assert_int_equal(sim_release(s, lease), SGI_E_BUSY); /* its end has not been taken yet */
    sim_call_detach(s, lease);
    assert_int_equal(sim_call_begin(s, lease), SGI_OK);
    sim_call_back(s, lease);
    sim_call_detach(s, lease);
    assert_int_equal(sim_release(s, lease), SGI_OK);
    sim_advance_ms(s, 100);
    assert_int_equal(sim_vram_used(s), 0);
    sim_free(s);
}

static void a_call_that_was_given_up_keeps_the_instance_busy(void **state)
{
    (void)state;
    struct sim *s = one_device(MIB(512));
    sgi_model   m = sim_model(s, &(struct sim_model){ .bytes = MIB(300), .engine = true, .idle_ms = 100 });
    sgi_lease   lease = sim_acquire(s, m);

    sim_call_begin(s, lease);
    sim_call_detach(s, lease);
    assert_int_equal(sim_release(s, lease), SGI_OK);
    sim_advance_ms(s, 1000);
    assert_int_equal(sim_view(s, m).state, SGI_MODEL_BUSY);
    assert_int_equal(sim_vram_used(s), MIB(300));
    sgi_ticket next = sim_ask(s, m, NULL); /* the callback still has the one place there is */
    assert_false(sim_outcome(s, next).ended);
    sim_call_back(s, lease);
    assert_true(sim_outcome(s, next).lease != 0);
    sim_release(s, sim_outcome(s, next).lease);
    sim_advance_ms(s, 100);
    assert_int_equal(sim_vram_used(s), 0);
    sim_free(s);
}

static void a_model_without_engine_takes_no_calls(void **state)
{
    (void)state;
    struct sim *s = one_device(MIB(512));
    sgi_model   m = sim_model(s, &(struct sim_model){ .bytes = MIB(300) });
    sgi_lease   lease = sim_acquire(s, m);

    assert_int_equal(sim_call_begin(s, lease), SGI_E_UNSUPPORTED);
    sim_release(s, lease);
    assert_int_equal(sim_call_begin(s, lease), SGI_E_STALE);
    sim_free(s);
}

/* They have room for what every model could cause at once. Going round in it would make all of that resident. */
/* Leases that were there once have left slots behind; what is taken of them later needs room for its timer still. */
static void leases_with_a_time_fit_beside_models_that_came_later(void **state)
{
    (void)state;
    enum { LEASES = 1016, MODELS = 20 };
    struct sim *s = sim_new(&(struct sim_config){ .seed = 7, .vram_bytes = GIB(64), .wants_max = 1 });
    sgi_model   a = sim_model(s, &(struct sim_model){ .bytes = MIB(1), .idle_ms = 1000 });
    sgi_lease   held = sim_acquire(s, a), leases[LEASES];

    for (int round = 0; round < 2; round++) {
        for (int n = 0; n < LEASES; n++)
            assert_int_equal(sgi__core_try_acquire(sim_core(s), sim_now(s), a, SGI__IDLE_OF_MODEL, MS(100), &leases[n]),
                             SGI_OK);
        sgi__core_check(sim_core(s));
        for (int n = 0; n < LEASES; n++)
            assert_int_equal(sgi__core_release(sim_core(s), sim_now(s), leases[n]), SGI_OK);
        for (int n = 0; round == 0 && n < MODELS; n++)
            sim_release(s, sim_acquire(s, sim_model(s, &(struct sim_model){ .bytes = MIB(1), .idle_ms = 1000 })));
    }
    sim_release(s, held);
    sim_advance_ms(s, 2000);
    assert_int_equal(sim_vram_used(s), 0);
    sim_free(s);
}

static void what_is_taken_leaves_the_rings_at_their_beginning(void **state)
{
    (void)state;
    struct sim *s = one_device(MIB(512));
    sgi_model   m = sim_model(s, &(struct sim_model){ .bytes = MIB(300), .idle_ms = 100 });

    for (int n = 0; n < 100; n++) {
        assert_int_equal(sim_release(s, sim_acquire(s, m)), SGI_OK);
        sim_advance_ms(s, 200);
        assert_true(s->core->actions_count == 0 && s->core->actions_head == 0);
        assert_true(s->core->replies_count == 0 && s->core->replies_head == 0);
    }
    sim_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(idle_timer_waits_for_the_last_lease),
        cmocka_unit_test(two_leases_keep_it_until_both_are_released),
        cmocka_unit_test(a_use_in_between_starts_the_idle_time_anew),
        cmocka_unit_test(the_last_released_lease_decides_the_idle_time),
        cmocka_unit_test(idle_now_gives_back_at_the_release),
        cmocka_unit_test(idle_never_stays_without_a_timer),
        cmocka_unit_test(try_acquire_takes_what_is_warm_and_never_loads),
        cmocka_unit_test(try_acquire_passes_nobody_who_waits),
        cmocka_unit_test(leases_max_queues_in_order),
        cmocka_unit_test(an_overdue_lease_is_reported_once_and_stays),
        cmocka_unit_test(ids_of_another_core_are_stale),
        cmocka_unit_test(an_id_is_never_used_again),
        cmocka_unit_test(an_early_lease_comes_with_the_memory),
        cmocka_unit_test(an_early_lease_released_before_the_end_decides_the_idle_time),
        cmocka_unit_test(an_early_lease_of_a_failed_load_holds_its_memory_until_released),
        cmocka_unit_test(early_wants_do_not_pass_older_ones),
        cmocka_unit_test(an_early_lease_goes_on_through_a_drain),
        cmocka_unit_test(a_drained_load_ends_with_its_last_early_lease),
        cmocka_unit_test(a_call_keeps_its_lease_and_its_instance),
        cmocka_unit_test(a_call_that_was_given_up_keeps_the_instance_busy),
        cmocka_unit_test(a_model_without_engine_takes_no_calls),
        cmocka_unit_test(leases_with_a_time_fit_beside_models_that_came_later),
        cmocka_unit_test(what_is_taken_leaves_the_rings_at_their_beginning),
    };
    return cmocka_run_group_tests_name("core_leases", tests, NULL, NULL);
}
