/* SPDX-License-Identifier: Apache-2.0 */
/* The core: wants on their way. One load for all, order, deadlines, cancelling, bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <base/fault.h>

#include "sim/sim.h"

enum { LOAD_MS = 50 };

/* A sim with one device of 1 GiB, where a load takes LOAD_MS. */
static struct sim *slow_loads(void)
{
    struct sim *s = sim_new(&(struct sim_config){ .seed = 7 });
    sim_takes_ms(s, SGI__ACT_START_LOAD, LOAD_MS);
    return s;
}

static void two_wants_join_one_load(void **state)
{
    (void)state;
    struct sim *s = slow_loads();
    sgi_model   m = sim_model(s, &(struct sim_model){ .bytes = MIB(300) });
    sgi_ticket  a = sim_ask(s, m, NULL), b = sim_ask(s, m, NULL);

    assert_int_equal(sim_actions(s, SGI__ACT_CHECK_SOURCE), 1);
    assert_int_equal(sim_actions(s, SGI__ACT_RESERVE), 1);
    sim_advance_ms(s, LOAD_MS);
    assert_int_equal(sim_actions(s, SGI__ACT_START_LOAD), 1);
    assert_int_equal(sim_vram_used(s), MIB(300));
    assert_true(sim_outcome(s, a).lease != 0 && sim_outcome(s, b).lease != 0);
    assert_false(sim_outcome(s, a).joined);
    assert_true(sim_outcome(s, b).joined);
    assert_int_equal(sim_outcome(s, a).tier, SGI_TIER_DISK);
    assert_int_equal(sim_outcome(s, b).tier, SGI_TIER_DISK);
    struct sim_outcome warm = sim_wait(s, sim_ask(s, m, NULL));
    assert_int_equal(warm.tier, SGI_TIER_DEVICE);
    assert_false(warm.joined);
    sim_free_releasing(s);
}

static void a_herd_of_wants_loads_once(void **state)
{
    (void)state;
    struct sim *s = sim_new(&(struct sim_config){ .seed = 7, .wants_max = 500 });
    sgi_model   m = sim_model(s, &(struct sim_model){
                                     .bytes = MIB(300), .engine = true, .prepare = true, .leases_max = 500 });

    sim_takes_ms(s, SGI__ACT_START_LOAD, LOAD_MS);
    for (int n = 0; n < 500; n++)
        sim_ask(s, m, NULL);
    sim_advance_ms(s, LOAD_MS);
    assert_int_equal(sim_view(s, m).leases, 500);
    assert_int_equal(sim_actions(s, SGI__ACT_START_LOAD), 1);
    assert_int_equal(sim_actions(s, SGI__ACT_PREPARE), 1);
    assert_int_equal(sim_actions(s, SGI__ACT_START_ENGINE), 1);
    sim_free_releasing(s);
}

static void a_waiter_that_leaves_does_not_hurt_the_rest(void **state)
{
    (void)state;
    struct sim *s = slow_loads();
    sgi_model   m = sim_model(s, &(struct sim_model){ .bytes = MIB(300) });
    sgi_ticket  first = sim_ask(s, m, NULL), second = sim_ask(s, m, NULL);

    sim_advance_ms(s, LOAD_MS / 2);
    assert_int_equal(sim_cancel(s, first), SGI_OK); /* the one that started it */
    assert_int_equal(sim_outcome(s, first).status, SGI_E_CANCELED);
    assert_int_equal(sim_actions(s, SGI__ACT_CANCEL_LOAD), 0);
    sim_advance_ms(s, LOAD_MS / 2);
    assert_int_equal(sim_outcome(s, second).status, SGI_OK);
    assert_int_equal(sim_cancel(s, first), SGI_E_STALE);
    sim_free_releasing(s);
}

static void the_last_waiter_that_cancels_ends_the_load(void **state)
{
    (void)state;
    struct sim *s = slow_loads();
    sgi_model   m = sim_model(s, &(struct sim_model){ .bytes = MIB(300) });
    sgi_ticket  a = sim_ask(s, m, NULL), b = sim_ask(s, m, NULL);

    sim_cancel(s, a);
    assert_int_equal(sim_vram_used(s), MIB(300));
    sim_cancel(s, b);
    assert_int_equal(sim_actions(s, SGI__ACT_CANCEL_LOAD), 1);
    assert_int_equal(sim_vram_used(s), 0);
    assert_int_equal(sim_view(s, m).state, SGI_MODEL_COLD);
    assert_int_equal(sim_view(s, m).failures, 0); /* nobody's fault */
    sim_release(s, sim_acquire(s, m));
    sim_free(s);
}

static void a_deadline_that_passes_lets_the_load_go_on(void **state)
{
    (void)state;
    struct sim *s = slow_loads();
    sgi_model   m = sim_model(s, &(struct sim_model){ .bytes = MIB(300), .idle_ms = 100 });
    sgi_ticket  t = sim_ask(s, m, &(struct sim_ask){ .deadline_ms = 20 });

    sim_advance_ms(s, 19);
    assert_false(sim_outcome(s, t).ended);
    sim_advance_ms(s, 1);
    assert_int_equal(sim_outcome(s, t).status, SGI_E_TIMEOUT);
    assert_int_equal(sim_outcome(s, t).step, SGI_STEP_READ);
    assert_int_equal(sim_actions(s, SGI__ACT_CANCEL_LOAD), 0);
    sim_advance_ms(s, LOAD_MS - 20);
    assert_int_equal(sim_view(s, m).state, SGI_MODEL_READY); /* whoever asks again finds it warm */
    sim_advance_ms(s, 100);
    assert_int_equal(sim_vram_used(s), 0);
    sim_free(s);
}

static void a_deadline_ends_a_want_that_queues_for_room(void **state)
{
    (void)state;
    struct sim *s = slow_loads();
    sgi_model   big = sim_model(s, &(struct sim_model){ .bytes = MIB(900) });
    sgi_model   m = sim_model(s, &(struct sim_model){ .bytes = MIB(300) });
    sgi_lease   held = sim_acquire(s, big);
    uint64_t    start = sim_now(s);
    sgi_ticket  t = sim_ask(s, m, &(struct sim_ask){ .deadline_ms = 20 });

    struct sim_outcome o = sim_wait(s, t);
    assert_int_equal(o.status, SGI_E_TIMEOUT);
    assert_int_equal(o.step, SGI_STEP_QUEUE);
    assert_int_equal(o.at - start, MS(20));
    assert_int_equal(sim_view(s, m).state, SGI_MODEL_COLD);
    sim_release(s, held);
    sim_free(s);
}

static void higher_priority_goes_first_and_then_age(void **state)
{
    (void)state;
    struct sim *s = sim_new(&(struct sim_config){ .seed = 7 });
    sgi_model   m = sim_model(s, &(struct sim_model){ .bytes = MIB(300), .leases_max = 1 });
    sgi_lease   held = sim_acquire(s, m);
    sgi_ticket  low = sim_ask(s, m, &(struct sim_ask){ .priority = -1 });
    sgi_ticket  first = sim_ask(s, m, NULL), second = sim_ask(s, m, NULL);
    sgi_ticket  high = sim_ask(s, m, &(struct sim_ask){ .priority = 5 });
    sgi_ticket  order[] = { high, first, second, low };

    for (int n = 0; n < 4; n++) {
        assert_false(sim_outcome(s, order[n]).ended);
        sim_release(s, held);
        held = sim_outcome(s, order[n]).lease;
        assert_true(held != 0);
    }
    sim_release(s, held);
    sim_free(s);
}

static void higher_priority_gets_the_room_first(void **state)
{
    (void)state;
    struct sim *s = sim_new(&(struct sim_config){ .seed = 7 });
    sgi_model   holder = sim_model(s, &(struct sim_model){ .bytes = MIB(900), .idle_ms = SIM_IDLE_NOW });
    sgi_model   a = sim_model(s, &(struct sim_model){ .bytes = MIB(600), .idle_ms = SIM_IDLE_NOW });
    sgi_model   b = sim_model(s, &(struct sim_model){ .bytes = MIB(600), .idle_ms = SIM_IDLE_NOW });
    sgi_lease   held = sim_acquire(s, holder);
    sgi_ticket  normal = sim_ask(s, a, NULL), urgent = sim_ask(s, b, &(struct sim_ask){ .priority = 1 });

    sim_release(s, held);
    assert_true(sim_outcome(s, urgent).lease != 0);
    assert_false(sim_outcome(s, normal).ended); /* and nobody is interrupted for a higher one */
    sim_release(s, sim_outcome(s, urgent).lease);
    assert_true(sim_outcome(s, normal).lease != 0);
    sim_release(s, sim_outcome(s, normal).lease);
    sim_free(s);
}

static void the_queue_is_bounded(void **state)
{
    (void)state;
    struct sim *s = sim_new(&(struct sim_config){ .seed = 7, .wants_max = 3 });
    sgi_model   m = sim_model(s, &(struct sim_model){ .bytes = MIB(300), .leases_max = 1 });
    sgi_lease   held = sim_acquire(s, m);
    sgi_ticket  t[3], refused = 0;

    for (int n = 0; n < 3; n++)
        t[n] = sim_ask(s, m, NULL);
    assert_int_equal(sim_ask_status(s, m, NULL, &refused), SGI_E_BUSY);
    assert_int_equal(refused, 0);
    sim_cancel(s, t[1]);
    assert_int_equal(sim_ask_status(s, m, NULL, &refused), SGI_OK); /* one place is free again */
    sim_cancel(s, refused);
    sim_cancel(s, t[0]);
    sim_cancel(s, t[2]);
    sim_release(s, held);
    sim_free(s);
}

static void a_want_that_comes_while_it_stops_is_served_after(void **state)
{
    (void)state;
    struct sim *s = sim_new(&(struct sim_config){ .seed = 7 });
    sgi_model   m = sim_model(s, &(struct sim_model){ .bytes = MIB(300), .engine = true, .idle_ms = 100 });

    sim_takes_ms(s, SGI__ACT_STOP_ENGINE, 30);
    sim_release(s, sim_acquire(s, m));
    sim_advance_ms(s, 110);
    assert_int_equal(sim_view(s, m).state, SGI_MODEL_STOPPING);
    sgi_ticket t = sim_ask(s, m, NULL);
    assert_int_equal(sim_actions(s, SGI__ACT_START_LOAD), 1);
    sim_advance_ms(s, 20);
    assert_int_equal(sim_outcome(s, t).status, SGI_OK);
    assert_int_equal(sim_actions(s, SGI__ACT_START_LOAD), 2);
    assert_int_equal(sim_outcome(s, t).tier, SGI_TIER_DISK);
    sim_free_releasing(s);
}

static void a_want_at_the_idle_deadline_finds_it_warm(void **state)
{
    (void)state;
    struct sim *s = sim_new(&(struct sim_config){ .seed = 7 });
    sgi_model   m = sim_model(s, &(struct sim_model){ .bytes = MIB(300), .idle_ms = 100 });

    sim_release(s, sim_acquire(s, m));
    sim_advance_ns(s, MS(100) - 1);
    sgi_lease lease = sim_acquire(s, m); /* the last nanosecond: failure mode 1 of platforms.md section 15 */
    sim_advance_ms(s, 1000);
    assert_int_equal(sim_vram_used(s), MIB(300));
    assert_int_equal(sim_actions(s, SGI__ACT_START_LOAD), 1);
    sim_release(s, lease);
    sim_free(s);
}

static void loads_stay_within_their_number(void **state)
{
    (void)state;
    struct sim *s = sim_new(&(struct sim_config){ .seed = 7, .loads_max = 2 });
    sgi_ticket  t[3];

    sim_takes_ms(s, SGI__ACT_START_LOAD, LOAD_MS);
    for (int n = 0; n < 3; n++)
        t[n] = sim_ask(s, sim_model(s, &(struct sim_model){ .bytes = MIB(100) }), NULL);
    assert_int_equal(sim_actions(s, SGI__ACT_START_LOAD), 2);
    sim_advance_ms(s, LOAD_MS);
    assert_true(sim_outcome(s, t[0]).ended && sim_outcome(s, t[1]).ended && !sim_outcome(s, t[2]).ended);
    sim_advance_ms(s, LOAD_MS);
    assert_true(sim_outcome(s, t[2]).ended);
    sim_free_releasing(s);
}

static void a_hit_is_not_held_up_by_a_load(void **state)
{
    (void)state;
    struct sim *s = sim_new(&(struct sim_config){ .seed = 7, .loads_max = 1 });
    sgi_model   warm = sim_model(s, &(struct sim_model){ .bytes = MIB(100) });
    sgi_model   cold = sim_model(s, &(struct sim_model){ .bytes = MIB(100) });

    sim_release(s, sim_acquire(s, warm));
    sim_takes_ms(s, SGI__ACT_START_LOAD, LOAD_MS);
    sgi_ticket loading = sim_ask(s, cold, NULL), hit = sim_ask(s, warm, NULL);
    assert_true(sim_outcome(s, hit).lease != 0); /* failure mode 13 */
    assert_false(sim_outcome(s, loading).ended);
    sim_wait(s, loading);
    sim_free_releasing(s);
}

static void looking_touches_no_idle_timer(void **state)
{
    (void)state;
    struct sim *s = sim_new(&(struct sim_config){ .seed = 7 });
    sgi_model   m = sim_model(s, &(struct sim_model){ .bytes = MIB(300), .idle_ms = 100 });

    sim_release(s, sim_acquire(s, m));
    uint64_t deadline = sim_view(s, m).idle_deadline;
    for (int n = 0; n < 99; n++) { /* failure mode 12 */
        struct sgi__core_totals totals;
        sim_advance_ms(s, 1);
        sgi__core_totals(sim_core(s), &totals);
        assert_int_equal(sim_view(s, m).idle_deadline, deadline);
    }
    sim_advance_ms(s, 1);
    assert_int_equal(sim_vram_used(s), 0);
    sim_free(s);
}

/* ---- short of memory ---- */

static void short_memory_refuses_a_model_and_nothing_else(void **state)
{
    (void)state;
    struct sim      *s = sim_new(&(struct sim_config){ .seed = 7 });
    struct sim_model spec = { .bytes = MIB(1) };
    sgi_model        before = sim_model(s, &spec), m = 0;
    uint64_t         nth = 0;
    sgi_status       st;

    do { /* fill what was made ahead, failing each allocation on the way once */
        sgi__fault_plan(SGI__FAULT_ALLOC, ++nth, 1, 1);
        st = sim_model_status(s, &spec, &m);
        sgi__fault_clear();
        if (st != SGI_OK)
            assert_int_equal(st, SGI_E_NO_MEMORY);
    } while (st != SGI_OK);
    assert_true(nth > 1);
    sim_release(s, sim_acquire(s, before));
    sim_release(s, sim_acquire(s, m));
    sim_free(s);
}

static void short_memory_refuses_a_want_or_a_lease_before_anything_happens(void **state)
{
    (void)state;
    struct sim *s = sim_new(&(struct sim_config){ .seed = 7, .wants_max = 4 });
    sgi_model   m = sim_model(s, &(struct sim_model){ .bytes = MIB(300) });
    sgi_lease   leases[200], lease = 0;
    sgi_ticket  ticket;
    uint32_t    count = 0, refused = 0;

    while (count < 200) { /* each time room for more leases has to be made, that fails first */
        sgi__fault_plan(SGI__FAULT_ALLOC, 1, UINT64_MAX, 1);
        sgi_status st = count % 2 ? sim_ask_status(s, m, NULL, &ticket) : sim_try_acquire(s, m, &lease);
        sgi__fault_clear();
        if (st == SGI_E_NO_MEMORY) {
            refused++;
            assert_int_equal(sim_view(s, m).leases, count);
            assert_int_equal(sim_view(s, m).wants, 0);
            leases[count++] = sim_acquire(s, m);
        } else if (st == SGI_OK) {
            leases[count] = count % 2 ? sim_outcome(s, ticket).lease : lease;
            assert_true(leases[count] != 0);
            count++;
        } else {
            assert_int_equal(st, SGI_E_WOULD_BLOCK); /* only before the first */
            leases[count++] = sim_acquire(s, m);
        }
    }
    assert_true(refused > 1);
    while (count > 0)
        assert_int_equal(sim_release(s, leases[--count]), SGI_OK);
    sim_free(s);
}

/* Told when it changes, and only the newest; the simulator compares it after every event. */
static void a_load_is_as_urgent_as_the_most_urgent_who_waits(void **state)
{
    (void)state;
    struct sim *s = sim_new(&(struct sim_config){ .seed = 3 });
    sgi_model   m = sim_model(s, &(struct sim_model){ .bytes = MIB(300), .leases_max = 4 });

    sim_takes_ms(s, SGI__ACT_START_LOAD, LOAD_MS);
    sgi_ticket first = sim_ask(s, m, &(struct sim_ask){ .priority = 1, .deadline_ms = LOAD_MS / 2 });
    assert_int_equal(sim_actions(s, SGI__ACT_LOAD_PRIORITY), 0); /* it is told with the load */
    sim_ask(s, m, &(struct sim_ask){ .priority = 1 });
    assert_int_equal(sim_actions(s, SGI__ACT_LOAD_PRIORITY), 0);
    sgi_ticket urgent = sim_ask(s, m, &(struct sim_ask){ .priority = 7 });
    assert_int_equal(sim_actions(s, SGI__ACT_LOAD_PRIORITY), 1);
    sim_cancel(s, urgent);
    assert_int_equal(sim_actions(s, SGI__ACT_LOAD_PRIORITY), 2);
    sim_advance_ms(s, LOAD_MS / 2);
    assert_int_equal(sim_outcome(s, first).status, SGI_E_TIMEOUT); /* another one of the same waits still */
    assert_int_equal(sim_actions(s, SGI__ACT_LOAD_PRIORITY), 2);
    sgi_ticket early = sim_ask(s, m, &(struct sim_ask){ .priority = 9, .early = true });
    assert_true(sim_outcome(s, early).lease != 0); /* it has a lease, and waits for the bytes all the same */
    assert_int_equal(sim_actions(s, SGI__ACT_LOAD_PRIORITY), 3);
    sim_advance_ms(s, LOAD_MS);
    assert_int_equal(sim_actions(s, SGI__ACT_LOAD_PRIORITY), 3); /* over: nobody is told any more */
    sim_ask(s, m, &(struct sim_ask){ .priority = 11 });
    assert_int_equal(sim_actions(s, SGI__ACT_LOAD_PRIORITY), 3);
    sim_free_releasing(s);
}

static void a_load_that_hangs_is_as_urgent_as_nobody(void **state)
{
    (void)state;
    struct sim *s = sim_new(&(struct sim_config){ .seed = 3 });
    sgi_model   m = sim_model(s, &(struct sim_model){
                                     .bytes = MIB(300), .leases_max = 4, .prefix = true, .hang_ms = LOAD_MS / 2 });

    sim_takes_ms(s, SGI__ACT_START_LOAD, LOAD_MS);
    sim_hold(s, SGI__ACT_FILL_PREFIX);
    sgi_ticket waits = sim_ask(s, m, &(struct sim_ask){ .priority = 1 });
    sim_advance_ms(s, LOAD_MS / 2 + 1);
    assert_int_equal(sim_outcome(s, waits).status, SGI_E_WEDGED);
    assert_int_equal(sim_actions(s, SGI__ACT_LOAD_PRIORITY), 1);
    sim_let_go(s, SGI__ACT_FILL_PREFIX);
    sim_advance_ms(s, LOAD_MS);
    sim_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_wants_join_one_load),
        cmocka_unit_test(a_herd_of_wants_loads_once),
        cmocka_unit_test(a_waiter_that_leaves_does_not_hurt_the_rest),
        cmocka_unit_test(the_last_waiter_that_cancels_ends_the_load),
        cmocka_unit_test(a_deadline_that_passes_lets_the_load_go_on),
        cmocka_unit_test(a_deadline_ends_a_want_that_queues_for_room),
        cmocka_unit_test(higher_priority_goes_first_and_then_age),
        cmocka_unit_test(higher_priority_gets_the_room_first),
        cmocka_unit_test(the_queue_is_bounded),
        cmocka_unit_test(a_want_that_comes_while_it_stops_is_served_after),
        cmocka_unit_test(a_want_at_the_idle_deadline_finds_it_warm),
        cmocka_unit_test(loads_stay_within_their_number),
        cmocka_unit_test(a_hit_is_not_held_up_by_a_load),
        cmocka_unit_test(looking_touches_no_idle_timer),
        cmocka_unit_test(short_memory_refuses_a_model_and_nothing_else),
        cmocka_unit_test(short_memory_refuses_a_want_or_a_lease_before_anything_happens),
        cmocka_unit_test(a_load_is_as_urgent_as_the_most_urgent_who_waits),
        cmocka_unit_test(a_load_that_hangs_is_as_urgent_as_nobody),
    };
    return cmocka_run_group_tests_name("core_wants", tests, NULL, NULL);
}
