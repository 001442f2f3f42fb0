/* SPDX-License-Identifier: Apache-2.0 */
/* The core: several instances of a model, each on a device of its own. Each test runs the simulator's rules after every
 * event beside what it says itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sim/sim.h"

/* Devices of 512 MiB, reads that take 100 ms. */
static struct sim *devices(uint32_t count)
{
    struct sim *s = sim_new(
        &(struct sim_config){ .seed = 7, .devices_count = count, .vram_bytes = MIB(512), .dram_bytes = GIB(1) });
    sim_takes_ms(s, SGI__ACT_START_LOAD, 100);
    return s;
}

/* One of them fits on a device. */
static sgi_model some_model(struct sim *s, uint32_t instances)
{
    return sim_model(s, &(struct sim_model){
                            .bytes = MIB(300), .leases_max = 1, .instances = instances, .idle_ms = 1000 });
}

static sgi_lease on_device(struct sim *s, sgi_ticket ticket, int32_t device)
{
    struct sim_outcome          o = sim_outcome(s, ticket);
    struct sgi__core_lease_view v = { .device = -2 };

    assert_int_equal(o.status, SGI_OK);
    assert_int_equal(sgi__core_lease_view(sim_core(s), o.lease, &v), SGI_OK);
    assert_int_equal(v.device, device);
    assert_true(v.instance == o.instance);
    return o.lease;
}

/* Leases on two instances, on the devices 0 and 1, as fast as they come up. */
static void two_up(struct sim *s, sgi_model m, sgi_lease leases[2])
{
    sgi_ticket first = sim_ask(s, m, NULL), second = sim_ask(s, m, NULL);
    sim_wait(s, second);
    leases[0] = on_device(s, first, 0);
    leases[1] = on_device(s, second, 1);
}

/* ---- when one more is worth it ---- */

static void one_more_comes_when_somebody_has_waited_longer_than_a_start(void **state)
{
    (void)state;
    struct sim *s = devices(2);
    sgi_model   m = some_model(s, 2);
    sgi_lease   first = sim_acquire(s, m); /* took 100 ms; how long leases are held is not known */
    sgi_ticket  next = sim_ask(s, m, NULL);

    sim_advance_ms(s, 100);
    sim_foreign(s, 1, 0); /* the scheduler looks again */
    assert_int_equal(sim_view(s, m).instances, 1);
    sim_advance_ns(s, 1);
    assert_int_equal(sim_view(s, m).instances, 2);
    sim_advance_ms(s, 99);
    assert_false(sim_outcome(s, next).ended);
    sim_advance_ms(s, 1);
    sim_release(s, on_device(s, next, 1));
    sim_release(s, first);
    sim_free(s);
}

static void one_more_comes_at_once_when_the_queue_will_take_longer_than_a_start(void **state)
{
    (void)state;
    struct sim *s = devices(2);
    sgi_model   m = some_model(s, 2);
    sgi_lease   lease = sim_acquire(s, m);

    sim_advance_ms(s, 60);
    sim_release(s, lease); /* that is how long they are held */
    lease = sim_acquire(s, m);
    sgi_ticket one = sim_ask(s, m, NULL);
    assert_int_equal(sim_view(s, m).instances, 1); /* 60 ms in the queue, 100 ms for a start */
    sgi_ticket two = sim_ask(s, m, NULL);
    assert_int_equal(sim_view(s, m).instances, 2); /* 120 ms */
    sim_release(s, lease);
    sim_release(s, on_device(s, one, 0));
    sim_release(s, on_device(s, two, 0)); /* nothing is lost by it, and what comes is there for the next */
    sim_advance_ms(s, 100);
    assert_int_equal(sim_state(s, sim_on_device(s, m, 1)), SGI_MODEL_READY);
    sim_free(s);
}

static void a_queue_over_several_instances_is_shorter(void **state)
{
    (void)state;
    struct sim *s = devices(3);
    sgi_model   m = some_model(s, 3);
    sgi_lease   lease = sim_acquire(s, m), two[2];

    sim_advance_ms(s, 60);
    sim_release(s, lease);
    two_up(s, m, two); /* the second request waited for 100 ms */
    sgi_ticket t[3];
    for (int n = 0; n < 2; n++)
        t[n] = sim_ask(s, m, NULL); /* one turn of both */
    assert_int_equal(sim_view(s, m).instances, 2);
    t[2] = sim_ask(s, m, NULL);
    assert_int_equal(sim_view(s, m).instances, 3);
    for (int n = 0; n < 3; n++)
        sim_cancel(s, t[n]);
    sim_release(s, two[0]);
    sim_release(s, two[1]);
    sim_free(s);
}

static void what_a_start_takes_depends_on_where_it_comes_from(void **state)
{
    (void)state;
    struct sim *s = devices(2);
    sgi_model   m = some_model(s, 2);

    sim_wait(s, sim_ask(s, m, &(struct sim_ask){ .prefetch = true, .tier = SGI_TIER_DRAM }));
    sim_advance_ms(s, 10);
    sim_takes_ms(s, SGI__ACT_START_LOAD, 1); /* from DRAM */
    sgi_lease lease = sim_acquire(s, m);
    sim_takes_ms(s, SGI__ACT_START_LOAD, 100);
    sgi_ticket next = sim_ask(s, m, NULL);
    sim_advance_ms(s, 100);
    assert_int_equal(sim_view(s, m).instances, 1); /* the next one will be read from disk */
    sim_advance_ms(s, 101);
    assert_int_equal(sim_outcome(s, next).tier, SGI_TIER_DISK);
    sim_release(s, on_device(s, next, 1));
    sim_release(s, lease);
    sim_free(s);
}

static void who_is_out_of_time_is_no_reason_for_one_more(void **state)
{
    (void)state;
    struct sim *s = devices(2);
    sgi_model   m = some_model(s, 2);
    sgi_lease   lease = sim_acquire(s, m);
    sgi_ticket  late = sim_ask(s, m, &(struct sim_ask){ .deadline_ms = 50 });

    sim_advance_ms(s, 1000);
    assert_int_equal(sim_outcome(s, late).status, SGI_E_TIMEOUT);
    assert_int_equal(sim_view(s, m).instances, 1);
    assert_true(sgi__core_wake_at(sim_core(s)) == SGI__NEVER); /* nobody wakes for those who have left */
    sim_release(s, lease);
    sim_free(s);
}

/* ---- where, and how many ---- */

static void there_are_no_more_than_it_may_have(void **state)
{
    (void)state;
    struct sim *s = devices(3);
    sgi_model   m = some_model(s, 2);
    sgi_lease   two[2];

    two_up(s, m, two);
    sgi_ticket next = sim_ask(s, m, NULL);
    sim_advance_ms(s, 10000);
    assert_int_equal(sim_view(s, m).instances, 2);
    assert_int_equal(sim_device_used(s, 2), 0);
    sim_release(s, two[1]);
    sim_release(s, on_device(s, next, 1));
    sim_release(s, two[0]);
    sim_free(s);
}

static void any_number_may_be_asked_for(void **state)
{
    (void)state;
    struct sim *s = devices(2);
    sgi_model   m = some_model(s, UINT32_MAX);
    sgi_lease   two[2];

    two_up(s, m, two);
    sim_release(s, two[0]);
    sim_release(s, two[1]);
    sim_free(s);
}

static void a_device_has_one_of_a_model(void **state)
{
    (void)state;
    struct sim *s = sim_new(&(struct sim_config){
        .seed = 7, .devices_count = 2, .device_bytes = { GIB(1), MIB(100) } }); /* only the first is large enough */
    sgi_model   m = some_model(s, 2);
    sgi_lease   lease = sim_acquire(s, m);
    sgi_ticket  next = sim_ask(s, m, NULL);

    sim_advance_ms(s, 10000);
    assert_int_equal(sim_view(s, m).instances, 1);
    sim_release(s, lease);
    sim_release(s, on_device(s, next, 0));
    sim_free(s);
}

static void a_device_has_one_of_a_model_though_it_is_the_emptiest(void **state)
{
    (void)state;
    struct sim *s = sim_new(
        &(struct sim_config){ .seed = 7, .devices_count = 2, .device_bytes = { GIB(1), MIB(512) } });
    sgi_model m = some_model(s, 2);
    sgi_lease two[2];

    two_up(s, m, two);
    sim_release(s, two[0]);
    sim_release(s, two[1]);
    sim_free(s);
}

static void a_lost_device_gets_none(void **state)
{
    (void)state;
    struct sim *s = devices(2);
    sgi_model   m = some_model(s, 2);
    sgi_lease   lease = sim_acquire(s, m);

    sim_lose_device(s, 1);
    sgi_ticket next = sim_ask(s, m, NULL);
    sim_advance_ms(s, 10000);
    assert_int_equal(sim_view(s, m).instances, 1);
    sim_device_back(s, 1);
    assert_int_equal(sim_view(s, m).instances, 2);
    sim_advance_ms(s, 100);
    sim_release(s, on_device(s, next, 1));
    sim_release(s, lease);
    sim_free(s);
}

static void they_come_one_at_a_time(void **state)
{
    (void)state;
    struct sim *s = devices(3);
    sgi_model   m = some_model(s, 3);
    sgi_lease   lease = sim_acquire(s, m);
    sgi_ticket  second = sim_ask(s, m, NULL), third = sim_ask(s, m, NULL);

    sim_advance_ms(s, 199);
    assert_int_equal(sim_view(s, m).instances, 2); /* though both wait for long */
    sim_advance_ms(s, 2);
    sim_release(s, on_device(s, second, 1));
    sim_release(s, lease);
    lease = on_device(s, third, 1);
    sim_release(s, lease);
    sim_free(s);
}

static void a_further_one_takes_what_is_idle_but_closes_nothing(void **state)
{
    (void)state;
    struct sim *s = devices(2);
    sgi_model   m = some_model(s, 2);
    sgi_model   other = sim_model(s, &(struct sim_model){ .bytes = MIB(300), .leases_max = 2 });
    sgi_lease   lease = sim_acquire(s, m), used = sim_acquire(s, other);
    sgi_ticket  next = sim_ask(s, m, NULL);

    sim_advance_ms(s, 20000); /* starve_ms has passed four times */
    assert_int_equal(sim_view(s, m).instances, 2);
    sgi_lease more = sim_acquire(s, other); /* at once */
    assert_int_equal(sim_view(s, other).leases, 2);
    sim_release(s, used);
    assert_int_equal(sim_view(s, other).state, SGI_MODEL_BUSY);
    sim_release(s, more);
    assert_true(sim_on_device(s, m, 1) != 0); /* now nobody uses the other */
    sim_wait(s, next);
    sim_release(s, on_device(s, next, 1));
    sim_release(s, lease);
    sim_free(s);
}

/* ---- who gets the lease ---- */

static void leases_go_to_the_busy_one_so_that_the_other_idles_out(void **state)
{
    (void)state;
    struct sim_model two_each = { .bytes = MIB(300), .leases_max = 2, .instances = 2, .idle_ms = 1000 };
    struct sim      *s = devices(2);
    sgi_model        m = sim_model(s, &two_each);
    sgi_lease        a = sim_acquire(s, m), b = sim_acquire(s, m);
    sgi_ticket       third = sim_ask(s, m, NULL);

    sim_wait(s, third);
    sim_release(s, on_device(s, third, 1)); /* used last, and free */
    for (int n = 0; n < 4; n++) {
        sim_release(s, b);
        sgi_ticket t = sim_ask(s, m, NULL);
        b = on_device(s, t, 0);
        sim_advance_ms(s, 249);
    }
    assert_int_equal(sim_device_used(s, 1), MIB(300));
    sim_advance_ms(s, 4);
    assert_int_equal(sim_device_used(s, 1), 0);
    assert_int_equal(sim_device_used(s, 0), MIB(300));
    sim_release(s, a);
    sim_release(s, b);
    sim_advance_ms(s, 999);
    assert_int_equal(sim_device_used(s, 0), MIB(300));
    sim_advance_ms(s, 1);
    assert_int_equal(sim_vram_used(s), 0);
    sim_free(s);
}

static void each_idles_by_its_own_time(void **state)
{
    (void)state;
    struct sim *s = devices(2);
    sgi_model   m = some_model(s, 2);
    sgi_lease   two[2];

    two_up(s, m, two);
    sim_release(s, two[0]);
    sim_advance_ms(s, 400);
    sim_release(s, two[1]);
    sim_advance_ms(s, 599);
    assert_int_equal(sim_device_used(s, 0), MIB(300));
    sim_advance_ms(s, 1);
    assert_int_equal(sim_device_used(s, 0), 0);
    sim_advance_ms(s, 399);
    assert_int_equal(sim_device_used(s, 1), MIB(300));
    sim_advance_ms(s, 1);
    assert_int_equal(sim_vram_used(s), 0);
    assert_int_equal(sim_view(s, m).state, SGI_MODEL_COLD);
    sim_free(s);
}

static void a_hint_picks_the_one_on_that_device(void **state)
{
    (void)state;
    struct sim *s = devices(2);
    sgi_model   m = some_model(s, 2);
    sgi_lease   two[2];

    two_up(s, m, two);
    sim_release(s, two[0]);
    sim_release(s, two[1]);
    for (uint32_t n = 0; n < 4; n++) {
        sgi_ticket t = sim_ask(s, m, &(struct sim_ask){ .device = 1 + n % 2 });
        sim_release(s, on_device(s, t, (int32_t)n % 2));
    }
    sgi_lease  held = on_device(s, sim_ask(s, m, &(struct sim_ask){ .device = 1 + 1 }), 1);
    sgi_ticket t = sim_ask(s, m, &(struct sim_ask){ .device = 1 + 1 });
    sim_release(s, on_device(s, t, 0)); /* that one is full, and the hint is one */
    sim_release(s, held);
    sim_free(s);
}

static void who_gets_the_one_that_was_up_has_not_joined_the_load_of_the_other(void **state)
{
    (void)state;
    struct sim *s = devices(2);
    sgi_model   m = some_model(s, 2);
    sgi_lease   lease = sim_acquire(s, m);
    sgi_ticket  first = sim_ask(s, m, NULL);

    sim_advance_ms(s, 150);
    assert_int_equal(sim_view(s, m).instances, 2);
    sgi_ticket second = sim_ask(s, m, NULL); /* the load of another one is under way */
    sim_release(s, lease);
    sim_release(s, on_device(s, first, 0));
    assert_int_equal(sim_outcome(s, second).tier, SGI_TIER_DEVICE);
    assert_false(sim_outcome(s, second).joined);
    sim_release(s, on_device(s, second, 0));
    lease = on_device(s, sim_ask(s, m, NULL), 0);
    sgi_ticket third = sim_ask(s, m, NULL);
    sim_advance_ms(s, 100);
    assert_true(sim_outcome(s, third).joined);
    sim_release(s, on_device(s, third, 1));
    sim_release(s, lease);
    sim_free(s);
}

/* ---- when one of them fails ---- */

static void one_more_that_fails_leaves_the_first_serving(void **state)
{
    (void)state;
    struct sim *s = devices(2);
    sgi_model   m = some_model(s, 2);
    sgi_lease   lease = sim_acquire(s, m);
    sgi_ticket  next = sim_ask(s, m, NULL);

    sim_fail(s, SGI__ACT_START_LOAD, SGI_E_IO, SGI_STEP_READ, 3);
    sim_advance_ms(s, 301); /* the first failure is tried again at once, */
    assert_int_equal(sim_view(s, m).failures, 2);
    assert_int_equal(sim_view(s, m).instances, 1);
    assert_false(sim_outcome(s, next).ended);
    assert_int_equal(sim_view(s, m).state, SGI_MODEL_BUSY);
    sim_advance_ms(s, 99);
    assert_int_equal(sim_view(s, m).instances, 1); /* the second after 100 ms */
    sim_advance_ms(s, 1);
    assert_int_equal(sim_view(s, m).instances, 2);
    sim_release(s, lease);
    sim_release(s, on_device(s, next, 0));
    sim_free(s);
}

static void one_more_whose_source_has_changed_leaves_the_first_serving(void **state)
{
    (void)state;
    struct sim *s = devices(2);
    sgi_model   m = some_model(s, 2);
    sgi_lease   lease = sim_acquire(s, m);
    sgi_ticket  next = sim_ask(s, m, NULL);

    sim_break_source(s, m, SGI_E_CHANGED);
    sim_advance_ms(s, 5000);
    assert_false(sim_outcome(s, next).ended);
    assert_true(sim_view(s, m).failures > 2);
    assert_int_equal(sim_actions(s, SGI__ACT_START_LOAD), 1);
    sim_release(s, lease);
    sim_release(s, on_device(s, next, 0));
    sim_free(s);
}

static void one_more_that_hangs_leaves_the_first_serving(void **state)
{
    (void)state;
    struct sim *s = devices(2);
    sgi_model   m = sim_model(s,
                              &(struct sim_model){ .bytes = MIB(300), .engine = true, .instances = 2, .hang_ms = 500 });
    sgi_lease   lease = sim_acquire(s, m);
    sgi_ticket  next = sim_ask(s, m, NULL);

    sim_hold(s, SGI__ACT_START_ENGINE);
    sim_advance_ms(s, 1000);
    assert_int_equal(sim_wedged(s), 1);
    assert_int_equal(sim_state(s, sim_on_device(s, m, 1)), SGI_MODEL_WEDGED);
    assert_int_equal(sim_view(s, m).state, SGI_MODEL_BUSY);
    assert_false(sim_outcome(s, next).ended);
    sim_release(s, lease);
    sim_release(s, on_device(s, next, 0));
    sim_let_go(s, SGI__ACT_START_ENGINE);
    assert_int_equal(sim_device_used(s, 1), 0);
    sim_free(s);
}

static void who_waits_for_the_other_is_not_refused_when_one_hangs(void **state)
{
    (void)state;
    struct sim *s = devices(2);
    sgi_model   m = sim_model(s,
                              &(struct sim_model){ .bytes = MIB(300), .engine = true, .instances = 2, .hang_ms = 150 });
    sgi_lease   lease = sim_acquire(s, m);
    sgi_ticket  next = sim_ask(s, m, NULL);

    assert_int_equal(sim_call_begin(s, lease), SGI_OK);
    sim_call_detach(s, lease);
    sim_release(s, lease); /* the call goes on and takes its place, until it counts as hung */
    sim_advance_ms(s, 160);
    assert_int_equal(sim_wedged(s), 1);
    assert_false(sim_outcome(s, next).ended);
    sim_advance_ms(s, 50);
    sim_release(s, on_device(s, next, 1));
    assert_int_equal(sim_acquire_status(s, m), SGI_OK);
    sim_call_back(s, lease);
    sim_free(s);
}

static void a_model_that_hangs_on_the_only_device_for_it_refuses(void **state)
{
    (void)state;
    struct sim *s = sim_new(
        &(struct sim_config){ .seed = 7, .devices_count = 2, .device_bytes = { MIB(512), MIB(100) } });
    sgi_model m = sim_model(s,
                            &(struct sim_model){ .bytes = MIB(300), .engine = true, .instances = 2, .hang_ms = 500 });

    sim_hold(s, SGI__ACT_START_ENGINE);
    assert_int_equal(sim_acquire_status(s, m), SGI_E_WEDGED);
    assert_int_equal(sim_acquire_status(s, m), SGI_E_WEDGED); /* at once: there is nothing to wait for */
    assert_int_equal(sim_actions(s, SGI__ACT_CHECK_SOURCE), 1);
    sim_let_go(s, SGI__ACT_START_ENGINE);
    assert_int_equal(sim_acquire_status(s, m), SGI_OK);
    sim_free(s);
}

static void a_model_that_hangs_on_the_only_device_left_refuses(void **state)
{
    (void)state;
    struct sim_model one_each = { .bytes = MIB(300), .engine = true, .instances = 2, .hang_ms = 500 };
    struct sim      *s = devices(2);
    sgi_model        m = sim_model(s, &one_each);
    sgi_lease        lease = sim_acquire(s, m);
    sgi_ticket       next = sim_ask(s, m, NULL);

    sim_hold(s, SGI__ACT_START_ENGINE);
    sim_advance_ms(s, 1000);
    sim_lose_device(s, 0);
    assert_int_equal(sim_outcome(s, next).status, SGI_E_WEDGED); /* though a lease on what is lost is still held */
    sim_release(s, lease);
    sim_let_go(s, SGI__ACT_START_ENGINE);
    sim_free(s);
}

static void one_on_a_lost_device_leaves_the_other_serving(void **state)
{
    (void)state;
    struct sim                 *s = devices(2);
    sgi_model                   m = some_model(s, 2);
    sgi_lease                   two[2];
    struct sgi__core_lease_view v;

    two_up(s, m, two);
    sgi_ticket next = sim_ask(s, m, NULL);
    sim_lose_device(s, 1);
    assert_false(sim_outcome(s, next).ended);
    assert_int_equal(sgi__core_lease_view(sim_core(s), two[1], &v), SGI_OK);
    assert_true(v.lost);
    assert_int_equal(sgi__core_lease_view(sim_core(s), two[0], &v), SGI_OK);
    assert_false(v.lost);
    sim_release(s, two[1]);
    assert_false(sim_outcome(s, next).ended); /* not on what is lost */
    sim_release(s, two[0]);
    sim_release(s, on_device(s, next, 0));
    sim_free(s);
}

static void one_more_that_loses_its_device_leaves_the_first_serving(void **state)
{
    (void)state;
    struct sim *s = devices(2);
    sgi_model   m = some_model(s, 2);
    sgi_lease   lease = sim_acquire(s, m);
    sgi_ticket  next = sim_ask(s, m, NULL);

    sim_advance_ms(s, 150);
    assert_true(sim_on_device(s, m, 1) != 0);
    sim_lose_device(s, 1);
    assert_int_equal(sim_view(s, m).instances, 1);
    assert_false(sim_outcome(s, next).ended);
    sim_release(s, lease);
    sim_release(s, on_device(s, next, 0));
    sim_free(s);
}

static void a_prefetch_is_not_answered_by_what_is_lost(void **state)
{
    (void)state;
    struct sim *s = devices(1);
    sgi_model   m = some_model(s, 1);
    sgi_lease   lease = sim_acquire(s, m);

    sim_lose_device(s, 0);
    sgi_ticket t = sim_ask(s, m, &(struct sim_ask){ .prefetch = true });
    assert_int_equal(sim_outcome(s, t).status, SGI_E_DEVICE_LOST);
    sim_release(s, lease);
    sim_free(s);
}

/* ---- pins, evicts, drains ---- */

static void a_pin_to_the_device_keeps_the_last_one(void **state)
{
    (void)state;
    struct sim *s = devices(2);
    sgi_model   m = some_model(s, 2);
    sgi_lease   two[2];

    two_up(s, m, two);
    assert_int_equal(sim_pin(s, m, SGI_TIER_DEVICE), SGI_OK);
    sim_release(s, two[1]);
    sim_release(s, two[0]);
    sim_advance_ms(s, 60000);
    assert_int_equal(sim_vram_used(s), MIB(300));
    assert_int_equal(sim_view(s, m).state, SGI_MODEL_READY);
    sim_pin(s, m, SGI_TIER_DISK);
    sim_advance_ms(s, 999);
    assert_int_equal(sim_vram_used(s), MIB(300));
    sim_advance_ms(s, 1);
    assert_int_equal(sim_vram_used(s), 0);
    sim_free(s);
}

static void whom_a_pin_held_alone_idles_once_another_one_is_up(void **state)
{
    (void)state;
    struct sim *s = devices(2);
    sgi_model   m = some_model(s, 2);
    sgi_lease   lease = sim_acquire(s, m);

    sim_pin(s, m, SGI_TIER_DEVICE);
    sgi_ticket next = sim_ask(s, m, &(struct sim_ask){ .device = 1 + 1 });
    sim_advance_ms(s, 150);
    sim_release(s, lease);
    sim_release(s, on_device(s, next, 0)); /* the pin holds it: the other one is on its way */
    sim_advance_ms(s, 51);
    sgi_lease held = on_device(s, sim_ask(s, m, &(struct sim_ask){ .device = 1 + 1 }), 1);
    sim_advance_ms(s, 998);
    assert_int_equal(sim_device_used(s, 0), MIB(300));
    sim_advance_ms(s, 2);
    assert_int_equal(sim_device_used(s, 0), 0);
    sim_release(s, held);
    sim_advance_ms(s, 60000);
    assert_int_equal(sim_device_used(s, 1), MIB(300));
    sim_free(s);
}

static void room_is_made_of_all_but_the_last_of_a_pinned_model(void **state)
{
    (void)state;
    struct sim *s = devices(2);
    sgi_model   m = some_model(s, 2), other = some_model(s, 2);
    sgi_lease   two[2];

    two_up(s, m, two);
    sim_pin(s, m, SGI_TIER_DEVICE);
    sim_release(s, two[0]);
    sim_release(s, two[1]);
    sgi_lease  lease = sim_acquire(s, other);
    sgi_ticket next = sim_ask(s, other, NULL);
    assert_int_equal(sim_view(s, m).instances, 1);
    sim_advance_ms(s, 20000);
    assert_int_equal(sim_view(s, m).instances, 1);
    assert_false(sim_outcome(s, next).ended);
    sim_cancel(s, next);
    sim_release(s, lease);
    sim_free(s);
}

static void an_evict_reaches_all_of_them(void **state)
{
    (void)state;
    struct sim *s = devices(2);
    sgi_model   m = some_model(s, 2);
    sgi_lease   two[2];

    two_up(s, m, two);
    sim_release(s, two[1]);
    assert_int_equal(sim_evict(s, m, SGI_TIER_DISK), SGI_E_BUSY);
    assert_int_equal(sim_device_used(s, 1), MIB(300));
    sim_release(s, two[0]);
    assert_int_equal(sim_evict(s, m, SGI_TIER_DISK), SGI_OK);
    assert_int_equal(sim_vram_used(s) + sim_dram_used(s), 0);
    sim_free(s);
}

static void a_drain_reaches_all_of_them_and_waits_for_the_last(void **state)
{
    (void)state;
    struct sim *s = devices(3);
    sgi_model   m = some_model(s, 3);
    sgi_lease   two[2];

    two_up(s, m, two);
    sgi_ticket next = sim_ask(s, m, NULL);
    sim_advance_ms(s, 150);
    assert_int_equal(sim_view(s, m).instances, 3); /* one of them on its way */
    sim_release(s, two[1]);
    sim_release(s, on_device(s, next, 1));
    sim_drain_model(s, m, SGI_E_STALE);
    sim_advance_ms(s, 1);
    assert_int_equal(sim_vram_used(s), MIB(300));
    assert_int_equal(sim_drained(s), 0);
    sim_release(s, two[0]);
    assert_int_equal(sim_drained(s), 1);
    assert_int_equal(sim_vram_used(s), 0);
    sim_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_more_comes_when_somebody_has_waited_longer_than_a_start),
        cmocka_unit_test(one_more_comes_at_once_when_the_queue_will_take_longer_than_a_start),
        cmocka_unit_test(a_queue_over_several_instances_is_shorter),
        cmocka_unit_test(what_a_start_takes_depends_on_where_it_comes_from),
        cmocka_unit_test(who_is_out_of_time_is_no_reason_for_one_more),
        cmocka_unit_test(there_are_no_more_than_it_may_have),
        cmocka_unit_test(any_number_may_be_asked_for),
        cmocka_unit_test(a_device_has_one_of_a_model),
        cmocka_unit_test(a_device_has_one_of_a_model_though_it_is_the_emptiest),
        cmocka_unit_test(a_lost_device_gets_none),
        cmocka_unit_test(they_come_one_at_a_time),
        cmocka_unit_test(a_further_one_takes_what_is_idle_but_closes_nothing),
        cmocka_unit_test(leases_go_to_the_busy_one_so_that_the_other_idles_out),
        cmocka_unit_test(each_idles_by_its_own_time),
        cmocka_unit_test(a_hint_picks_the_one_on_that_device),
        cmocka_unit_test(who_gets_the_one_that_was_up_has_not_joined_the_load_of_the_other),
        cmocka_unit_test(one_more_that_fails_leaves_the_first_serving),
        cmocka_unit_test(one_more_whose_source_has_changed_leaves_the_first_serving),
        cmocka_unit_test(one_more_that_hangs_leaves_the_first_serving),
        cmocka_unit_test(who_waits_for_the_other_is_not_refused_when_one_hangs),
        cmocka_unit_test(a_model_that_hangs_on_the_only_device_for_it_refuses),
        cmocka_unit_test(a_model_that_hangs_on_the_only_device_left_refuses),
        cmocka_unit_test(one_on_a_lost_device_leaves_the_other_serving),
        cmocka_unit_test(one_more_that_loses_its_device_leaves_the_first_serving),
        cmocka_unit_test(a_prefetch_is_not_answered_by_what_is_lost),
        cmocka_unit_test(a_pin_to_the_device_keeps_the_last_one),
        cmocka_unit_test(whom_a_pin_held_alone_idles_once_another_one_is_up),
        cmocka_unit_test(room_is_made_of_all_but_the_last_of_a_pinned_model),
        cmocka_unit_test(an_evict_reaches_all_of_them),
        cmocka_unit_test(a_drain_reaches_all_of_them_and_waits_for_the_last),
    };
    return cmocka_run_group_tests_name("core_instances", tests, NULL, NULL);
}
