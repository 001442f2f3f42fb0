/* SPDX-License-Identifier: Apache-2.0 */
/* The core: room on devices. What is evicted for whom, which device, who starves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sim/sim.h"

static struct sim *one_device(uint64_t bytes)
{
    return sim_new(&(struct sim_config){ .seed = 7, .vram_bytes = bytes });
}

static sgi_model model(struct sim *s, uint64_t mib)
{
    return sim_model(s, &(struct sim_model){ .bytes = MIB(mib) });
}

static void use(struct sim *s, sgi_model m)
{
    sim_release(s, sim_acquire(s, m));
}

static bool is_up(struct sim *s, sgi_model m)
{
    uint32_t state = sim_view(s, m).state;
    return state == SGI_MODEL_READY || state == SGI_MODEL_BUSY;
}

/* ---- eviction ---- */

static void the_least_recently_used_idle_model_leaves(void **state)
{
    (void)state;
    struct sim *s = one_device(MIB(1000));
    sgi_model   a = model(s, 300), b = model(s, 300), c = model(s, 300), d = model(s, 300);

    use(s, a);
    sim_advance_ms(s, 1);
    use(s, b);
    sim_advance_ms(s, 1);
    use(s, c);
    sim_advance_ms(s, 1);
    use(s, a); /* b is the oldest now */
    sim_advance_ms(s, 1);
    use(s, d);
    assert_true(is_up(s, a) && !is_up(s, b) && is_up(s, c) && is_up(s, d));
    assert_int_equal(sim_vram_used(s), MIB(900));
    sim_free(s);
}

static void one_byte_that_is_lacking_is_made_room_for(void **state)
{
    (void)state;
    struct sim *s = one_device(MIB(600) - 1);
    sgi_model   a = model(s, 300), b = model(s, 300);

    use(s, a);
    uint64_t now = sim_now(s);
    use(s, b);
    assert_int_equal(sim_now(s), now); /* it did not wait until the other's idle time was over */
    assert_true(!is_up(s, a) && is_up(s, b));
    sim_free(s);
}

static void no_more_is_evicted_than_is_lacking(void **state)
{
    (void)state;
    struct sim *s = one_device(MIB(1000));
    sgi_model   a = model(s, 300), b = model(s, 300), c = model(s, 300), big = model(s, 600);

    use(s, a);
    sim_advance_ms(s, 1);
    use(s, b);
    sim_advance_ms(s, 1);
    use(s, c);
    use(s, big);
    assert_true(!is_up(s, a) && !is_up(s, b) && is_up(s, c) && is_up(s, big));
    sim_free(s);
}

static void a_busy_model_is_never_evicted(void **state)
{
    (void)state;
    struct sim *s = one_device(MIB(1000));
    sgi_model   a = model(s, 600), b = model(s, 600);
    sgi_lease   held = sim_acquire(s, a);
    sgi_ticket  t = sim_ask(s, b, NULL);

    sim_advance_ms(s, 100000);
    assert_false(sim_outcome(s, t).ended);
    assert_int_equal(sim_device_used(s, 0), MIB(600));
    sim_release(s, held);
    assert_int_equal(sim_outcome(s, t).status, SGI_OK);
    sim_free_releasing(s);
}

static void a_model_with_a_call_out_is_never_evicted(void **state)
{
    (void)state;
    struct sim *s = one_device(MIB(1000));
    sgi_model   a = sim_model(s, &(struct sim_model){ .bytes = MIB(600), .engine = true, .hang_ms = SIM_HANG_NEVER });
    sgi_model   b = model(s, 600);
    sgi_lease   lease = sim_acquire(s, a);

    sim_call_begin(s, lease);
    sim_call_detach(s, lease);
    sim_release(s, lease); /* no lease any more, but the callback has not come back */
    sgi_ticket t = sim_ask(s, b, NULL);
    sim_advance_ms(s, 100000);
    assert_false(sim_outcome(s, t).ended);
    sim_call_back(s, lease);
    assert_int_equal(sim_outcome(s, t).status, SGI_OK);
    sim_free_releasing(s);
}

static void a_loading_model_is_never_evicted(void **state)
{
    (void)state;
    struct sim *s = one_device(MIB(1000));
    sgi_model   a = model(s, 600), b = model(s, 600);

    sim_hold(s, SGI__ACT_START_LOAD);
    sgi_ticket ta = sim_ask(s, a, &(struct sim_ask){ .deadline_ms = 10 });
    sim_advance_ms(s, 20); /* nobody waits for it any more, still it goes on */
    assert_int_equal(sim_outcome(s, ta).status, SGI_E_TIMEOUT);
    sgi_ticket tb = sim_ask(s, b, &(struct sim_ask){ .priority = 9 });
    sim_advance_ms(s, 1000);
    assert_false(sim_outcome(s, tb).ended);
    assert_int_equal(sim_actions(s, SGI__ACT_CANCEL_LOAD), 0);
    sim_let_go(s, SGI__ACT_START_LOAD); /* now it is idle, and leaves */
    assert_int_equal(sim_outcome(s, tb).status, SGI_OK);
    assert_false(is_up(s, a));
    sim_free_releasing(s);
}

static void a_pinned_model_is_never_evicted(void **state)
{
    (void)state;
    struct sim *s = one_device(MIB(1000));
    sgi_model   a = sim_model(s, &(struct sim_model){ .bytes = MIB(600), .idle_ms = 100 }), b = model(s, 600);

    assert_int_equal(sim_pin(s, a, SGI_TIER_DEVICE), SGI_OK);
    assert_int_equal(sim_vram_used(s), 0); /* a pin loads nothing */
    use(s, a);
    sgi_ticket t = sim_ask(s, b, NULL);
    sim_advance_ms(s, 100000); /* neither its idle time nor the one that starves */
    assert_true(is_up(s, a));
    assert_false(sim_outcome(s, t).ended);
    assert_int_equal(sim_pin(s, a, SGI_TIER_DISK), SGI_OK);
    assert_int_equal(sim_outcome(s, t).status, SGI_OK);
    sim_free_releasing(s);
}

static void the_idle_time_begins_when_the_pin_ends(void **state)
{
    (void)state;
    struct sim *s = one_device(MIB(1000));
    sgi_model   a = sim_model(s, &(struct sim_model){ .bytes = MIB(600), .idle_ms = 100 });

    sim_pin(s, a, SGI_TIER_DEVICE);
    use(s, a);
    sim_advance_ms(s, 1000);
    sim_pin(s, a, SGI_TIER_DISK);
    sim_advance_ms(s, 60);
    sim_pin(s, a, SGI_TIER_DRAM); /* no pin of the device tier began or ended: the timer runs on */
    sim_advance_ms(s, 39);
    assert_true(is_up(s, a));
    sim_advance_ms(s, 1);
    assert_false(is_up(s, a));
    sim_free(s);
}

static void nothing_is_evicted_for_a_model_that_cannot_fit(void **state)
{
    (void)state;
    struct sim *s = one_device(MIB(1000));
    sgi_model   idle = model(s, 300), too_big = model(s, 1001);
    sgi_model engine = sim_model(s, &(struct sim_model){ .bytes = MIB(900), .engine_bytes = MIB(101), .engine = true });

    use(s, idle);
    assert_int_equal(sim_acquire_status(s, too_big), SGI_E_NO_ROOM);
    assert_int_equal(sim_acquire_status(s, engine), SGI_E_NO_ROOM);
    assert_true(is_up(s, idle));
    assert_int_equal(sim_actions_of(s, SGI__ACT_CHECK_SOURCE, too_big), 0);
    sim_free(s);
}

static void nothing_is_evicted_while_it_would_not_be_enough(void **state)
{
    (void)state;
    struct sim *s = one_device(MIB(1000));
    sgi_model   busy = model(s, 500), idle = model(s, 300), big = model(s, 600);
    sgi_lease   held = sim_acquire(s, busy);

    use(s, idle);
    sgi_ticket t = sim_ask(s, big, NULL);
    sim_advance_ms(s, 1000);
    assert_true(is_up(s, idle)); /* 200 + 300 are not 600 */
    sim_release(s, held);
    assert_int_equal(sim_outcome(s, t).status, SGI_OK);
    sim_free_releasing(s);
}

static void nothing_is_evicted_for_a_source_that_is_broken(void **state)
{
    (void)state;
    struct sim *s = one_device(MIB(1000));
    sgi_model   idle = model(s, 600), broken = model(s, 600);

    use(s, idle);
    sim_break_source(s, broken, SGI_E_CHANGED);
    assert_int_equal(sim_acquire_status(s, broken), SGI_E_CHANGED); /* failure mode 11 */
    assert_true(is_up(s, idle));
    assert_int_equal(sim_actions_of(s, SGI__ACT_RESERVE, broken), 0);
    sim_free(s);
}

static void foreign_memory_is_not_given_away(void **state)
{
    (void)state;
    struct sim *s = one_device(MIB(1000));
    sgi_model   a = model(s, 600), idle = model(s, 100);

    use(s, idle);
    sim_foreign(s, 0, MIB(500));
    sgi_ticket t = sim_ask(s, a, NULL);
    sim_advance_ms(s, 1000);
    assert_false(sim_outcome(s, t).ended); /* failure mode 19 */
    assert_true(is_up(s, idle));
    sim_foreign(s, 0, MIB(1200)); /* more than there is left: still no reason to evict */
    sim_advance_ms(s, 1000);
    assert_true(is_up(s, idle));
    sim_foreign(s, 0, 0);
    assert_int_equal(sim_outcome(s, t).status, SGI_OK);
    sim_free_releasing(s);
}

static void what_is_emptied_for_one_is_not_taken_by_a_smaller_one(void **state)
{
    (void)state;
    struct sim *s = one_device(MIB(1000));
    sgi_model   idle = model(s, 500), big = model(s, 900), small = model(s, 400);

    use(s, idle);
    sim_takes_ms(s, SGI__ACT_FREE, 10);
    sgi_ticket first = sim_ask(s, big, NULL); /* 500 are free, 500 more on their way */
    sgi_ticket second = sim_ask(s, small, NULL);
    sim_advance_ms(s, 10);
    assert_int_equal(sim_outcome(s, first).status, SGI_OK);
    assert_false(sim_outcome(s, second).ended);
    sim_free_releasing(s);
}

static void alternating_models_take_turns_and_wait_for_leases(void **state)
{
    (void)state;
    struct sim *s = one_device(MIB(1000));
    sgi_model   a = model(s, 600), b = model(s, 600);

    for (int n = 0; n < 20; n++) { /* failure mode 14: each swap is one load, nothing more */
        sgi_lease  held = sim_acquire(s, n % 2 ? a : b);
        sgi_ticket next = sim_ask(s, n % 2 ? b : a, NULL);
        sim_advance_ms(s, 10);
        sim_release(s, held);
        sim_release(s, sim_wait(s, next).lease);
        use(s, n % 2 ? b : a);
    }
    assert_int_equal(sim_actions(s, SGI__ACT_START_LOAD), 21);
    sim_free(s);
}

/* ---- memory that was not there after all ---- */

static void a_refused_reserve_evicts_one_and_tries_once_more(void **state)
{
    (void)state;
    struct sim *s = one_device(MIB(1000));
    sgi_model   older = model(s, 200), newer = model(s, 200), m = model(s, 300);

    use(s, older);
    sim_advance_ms(s, 1);
    use(s, newer);
    sim_fail(s, SGI__ACT_RESERVE, SGI_E_DEVICE_MEMORY, SGI_STEP_MEMORY, 1);
    assert_int_equal(sim_acquire_status(s, m), SGI_OK); /* failure mode 4 */
    assert_true(!is_up(s, older) && is_up(s, newer));
    assert_int_equal(sim_actions_of(s, SGI__ACT_RESERVE, m), 2);
    assert_int_equal(sim_actions_of(s, SGI__ACT_CHECK_SOURCE, m), 1);
    assert_int_equal(sim_view(s, m).failures, 0);
    sim_free(s);
}

static void a_reserve_refused_twice_fails(void **state)
{
    (void)state;
    struct sim *s = one_device(MIB(1000));
    sgi_model   a = model(s, 200), b = model(s, 200), m = model(s, 300);

    use(s, a);
    sim_advance_ms(s, 1);
    use(s, b);
    sim_fail(s, SGI__ACT_RESERVE, SGI_E_DEVICE_MEMORY, SGI_STEP_MEMORY, 2);
    struct sim_outcome o = sim_wait(s, sim_ask(s, m, NULL));
    assert_int_equal(o.status, SGI_E_DEVICE_MEMORY);
    assert_int_equal(o.step, SGI_STEP_MEMORY);
    assert_true(!is_up(s, a) && is_up(s, b)); /* one was given up for it, not all */
    use(s, m);
    sim_free(s);
}

static void a_refused_reserve_with_nothing_to_evict_fails(void **state)
{
    (void)state;
    struct sim *s = one_device(MIB(1000));
    sgi_model   m = model(s, 300);

    sim_fail(s, SGI__ACT_RESERVE, SGI_E_DEVICE_MEMORY, SGI_STEP_MEMORY, 1);
    assert_int_equal(sim_acquire_status(s, m), SGI_E_DEVICE_MEMORY);
    assert_int_equal(sim_vram_used(s), 0);
    use(s, m);
    sim_free(s);
}

static void a_refused_reserve_that_nobody_waits_for_leaves_nothing(void **state)
{
    (void)state;
    struct sim *s = one_device(MIB(1000));
    sgi_model   idle = model(s, 200), m = model(s, 300);

    use(s, idle);
    sim_hold(s, SGI__ACT_RESERVE);
    sim_fail(s, SGI__ACT_RESERVE, SGI_E_DEVICE_MEMORY, SGI_STEP_MEMORY, 1);
    sgi_ticket t = sim_ask(s, m, &(struct sim_ask){ .deadline_ms = 10 });
    sim_advance_ms(s, 10);
    assert_int_equal(sim_outcome(s, t).status, SGI_E_TIMEOUT);
    sim_let_go(s, SGI__ACT_RESERVE);
    assert_true(is_up(s, idle));
    assert_int_equal(sim_view(s, m).state, SGI_MODEL_COLD);
    use(s, m);
    sim_free(s);
}

/* ---- engine bytes ---- */

static void engine_bytes_are_charged_with_the_image(void **state)
{
    (void)state;
    struct sim *s = one_device(MIB(1000));
    sgi_model   m = sim_model(s, &(struct sim_model){ .bytes = MIB(600), .engine_bytes = MIB(200), .engine = true });
    sgi_lease   lease = sim_acquire(s, m);
    struct sgi__core_device_view v;

    assert_int_equal(sim_vram_used(s), MIB(800));
    sgi__core_device_view(sim_core(s), 0, &v);
    assert_int_equal(v.bytes_engine, MIB(200));
    sim_release(s, lease);
    sim_evict(s, m, SGI_TIER_DISK);
    assert_int_equal(sim_vram_used(s), 0);
    sim_free(s);
}

static void an_engine_grows_if_there_is_room(void **state)
{
    (void)state;
    struct sim *s = one_device(MIB(1000));
    sgi_model   m = sim_model(s, &(struct sim_model){ .bytes = MIB(600), .engine_bytes = MIB(100), .engine = true });
    sgi_lease   lease = sim_acquire(s, m);
    uint64_t    left = 0;

    assert_int_equal(sim_engine_bytes(s, m, MIB(400), false, &left), SGI_OK);
    assert_int_equal(sim_vram_used(s), MIB(1000));
    assert_int_equal(sim_engine_bytes(s, m, MIB(401), false, &left), SGI_E_DEVICE_MEMORY);
    assert_int_equal(left, MIB(400));
    assert_int_equal(sim_vram_used(s), MIB(1000));
    assert_int_equal(sim_engine_bytes(s, m, MIB(50), true, &left), SGI_OK); /* at least: a larger charge stays */
    assert_int_equal(sim_vram_used(s), MIB(1000));
    assert_int_equal(sim_engine_bytes(s, m, MIB(50), false, &left), SGI_OK);
    assert_int_equal(sim_vram_used(s), MIB(650));
    sim_release(s, lease);
    sim_evict(s, m, SGI_TIER_DISK);
    lease = sim_acquire(s, m);
    assert_int_equal(sim_vram_used(s), MIB(650)); /* what it said is what the next start reserves */
    sim_release(s, lease);
    sim_free(s);
}

static void an_engine_that_grew_waits_next_time_and_evicts_nothing_in_vain(void **state)
{
    (void)state;
    struct sim *s = one_device(MIB(1000));
    sgi_model   m = sim_model(s, &(struct sim_model){ .bytes = MIB(600), .engine = true });
    sgi_model   other = model(s, 300);

    sim_release(s, sim_acquire(s, m));
    assert_int_equal(sim_engine_bytes(s, m, MIB(400), false, NULL), SGI_OK);
    sim_evict(s, m, SGI_TIER_DISK);
    sim_foreign(s, 0, MIB(1));
    use(s, other);
    sgi_ticket t = sim_ask(s, m, &(struct sim_ask){ .deadline_ms = 10 });
    assert_int_equal(sim_wait(s, t).status, SGI_E_TIMEOUT); /* others may give it back */
    assert_true(is_up(s, other));
    sim_free(s);
}

/* ---- several devices ---- */

static void a_warm_model_is_used_where_it_is(void **state)
{
    (void)state;
    struct sim *s = sim_new(
        &(struct sim_config){ .seed = 7, .devices_count = 2, .device_bytes = { MIB(500), MIB(1000) } });
    sgi_model m = model(s, 300);

    use(s, m);
    assert_int_equal(sim_view(s, m).device, 1);                     /* the emptiest */
    sgi_ticket t = sim_ask(s, m, &(struct sim_ask){ .device = 1 }); /* a hint is for loading only */
    assert_int_equal(sim_outcome(s, t).tier, SGI_TIER_DEVICE);
    assert_int_equal(sim_view(s, m).device, 1);
    assert_int_equal(sim_actions(s, SGI__ACT_START_LOAD), 1);
    sim_free_releasing(s);
}

static void a_hint_is_followed_where_there_is_room(void **state)
{
    (void)state;
    struct sim *s = sim_new(
        &(struct sim_config){ .seed = 7, .devices_count = 3, .device_bytes = { MIB(500), MIB(1000), MIB(400) } });
    sgi_model a = model(s, 300), b = model(s, 300), big = model(s, 900);

    sim_wait(s, sim_ask(s, a, &(struct sim_ask){ .device = 3 }));
    assert_int_equal(sim_view(s, a).device, 2);
    sim_wait(s, sim_ask(s, b, &(struct sim_ask){ .device = 3 })); /* a holds it: room elsewhere comes before waiting */
    assert_int_equal(sim_view(s, b).device, 1);
    sim_free_releasing(s);
    s = sim_new(&(struct sim_config){ .seed = 7, .devices_count = 2, .device_bytes = { MIB(500), MIB(1000) } });
    big = model(s, 900);
    sim_wait(s, sim_ask(s, big, &(struct sim_ask){ .device = 1 })); /* it never fits there */
    assert_int_equal(sim_view(s, big).device, 1);
    sim_free_releasing(s);
}

static void room_is_found_before_anything_is_evicted(void **state)
{
    (void)state;
    struct sim *s = sim_new(
        &(struct sim_config){ .seed = 7, .devices_count = 2, .device_bytes = { MIB(600), MIB(500) } });
    sgi_model a = model(s, 400), b = model(s, 400), c = model(s, 400);

    use(s, a);
    use(s, b);
    assert_true(is_up(s, a) && is_up(s, b));
    assert_true(sim_view(s, a).device != sim_view(s, b).device);
    sim_advance_ms(s, 1);
    use(s, b);
    use(s, c); /* one has to go */
    assert_int_equal(is_up(s, a) + is_up(s, b), 1);
    sim_free(s);
}

static void it_evicts_where_the_least_is_lacking(void **state)
{
    (void)state;
    struct sim *s = sim_new(
        &(struct sim_config){ .seed = 7, .devices_count = 2, .device_bytes = { MIB(1000), MIB(1000) } });
    sgi_model full = model(s, 900), half = model(s, 500), m = model(s, 600);

    sim_release(s, sim_wait(s, sim_ask(s, full, &(struct sim_ask){ .device = 1 })).lease);
    sim_release(s, sim_wait(s, sim_ask(s, half, &(struct sim_ask){ .device = 2 })).lease);
    use(s, m);
    assert_int_equal(sim_view(s, m).device, 1);
    assert_true(is_up(s, full) && !is_up(s, half));
    sim_free(s);
}

static void it_does_not_wait_where_a_hung_one_sits(void **state)
{
    (void)state;
    struct sim *s = sim_new(&(struct sim_config){
        .seed = 7, .devices_count = 2, .device_bytes = { MIB(1000), MIB(1000) }, .starve_ms = 100 });
    sgi_model   hung = sim_model(s, &(struct sim_model){ .bytes = MIB(500), .engine = true, .hang_ms = 50 });
    sgi_model   busy = model(s, 900), m = model(s, 600);

    sim_hold(s, SGI__ACT_START_ENGINE);
    sgi_ticket stuck = sim_ask(s, hung, &(struct sim_ask){ .device = 1 });
    sim_advance_ms(s, 50);
    assert_int_equal(sim_outcome(s, stuck).status, SGI_E_WEDGED);
    sgi_lease  lease = sim_wait(s, sim_ask(s, busy, &(struct sim_ask){ .device = 2 })).lease;
    sgi_ticket t = sim_ask(s, m, NULL); /* lacks 100 on the first, 500 on the second, and only the second can come free
                                           */
    sim_advance_ms(s, 200);
    sgi_ticket more = sim_ask(s, busy, NULL);
    assert_false(sim_outcome(s, more).ended); /* it is being emptied for the one that starves */
    sim_release(s, lease);
    assert_int_equal(sim_outcome(s, t).status, SGI_OK);
    assert_int_equal(sim_view(s, m).device, 1);
    sim_let_go(s, SGI__ACT_START_ENGINE);
    sim_free_releasing(s);
}

/* ---- starving ---- */

static void small_models_pass_a_large_one_until_it_starves(void **state)
{
    (void)state;
    struct sim *s = sim_new(&(struct sim_config){ .seed = 7, .vram_bytes = MIB(1000), .starve_ms = 1000 });
    sgi_model   holder = model(s, 500), big = model(s, 900), small = model(s, 300), other = model(s, 200);
    sgi_lease   held = sim_acquire(s, holder);
    sgi_ticket  blocked = sim_ask(s, big, NULL);

    sim_advance_ms(s, 500);
    sgi_ticket early = sim_ask(s, small, NULL);
    assert_int_equal(sim_outcome(s, early).status, SGI_OK); /* there is room, so it is used */
    sim_release(s, sim_outcome(s, early).lease);
    sim_advance_ms(s, 500);
    assert_false(is_up(s, small)); /* what is idle there leaves at once: its device is kept for it now */
    sgi_ticket late = sim_ask(s, other, NULL);
    assert_false(sim_outcome(s, late).ended);
    sgi_ticket more = sim_ask(s, holder, NULL);
    assert_false(sim_outcome(s, more).ended); /* and what runs there grants no more leases */
    sim_release(s, held);
    assert_int_equal(sim_outcome(s, blocked).status, SGI_OK);
    assert_false(sim_outcome(s, late).ended);
    sim_release(s, sim_outcome(s, blocked).lease);
    sim_advance_ms(s, 2000);
    assert_true(sim_outcome(s, late).ended && sim_outcome(s, more).ended);
    sim_free_releasing(s);
}

static void a_starving_want_that_leaves_frees_its_device(void **state)
{
    (void)state;
    struct sim *s = sim_new(&(struct sim_config){ .seed = 7, .vram_bytes = MIB(1000), .starve_ms = 1000 });
    sgi_model   holder = model(s, 500), big = model(s, 900), small = model(s, 300);
    sgi_lease   held = sim_acquire(s, holder);
    sgi_ticket  blocked = sim_ask(s, big, NULL);

    sim_advance_ms(s, 1000);
    sgi_ticket kept_out = sim_ask(s, small, NULL), more = sim_ask(s, holder, NULL);
    assert_false(sim_outcome(s, kept_out).ended || sim_outcome(s, more).ended);
    sim_cancel(s, blocked);
    assert_int_equal(sim_outcome(s, kept_out).status, SGI_OK);
    assert_int_equal(sim_outcome(s, more).status, SGI_OK);
    sim_release(s, held);
    sim_release(s, sim_outcome(s, more).lease);
    sim_advance_ms(s, 1);
    assert_true(is_up(s, holder)); /* it idles as ever: nobody needs its room */
    sim_free_releasing(s);
}

static void a_new_want_does_not_inherit_the_wait_of_one_that_ended(void **state)
{
    (void)state;
    struct sim *s = sim_new(&(struct sim_config){ .seed = 7, .vram_bytes = MIB(1000), .starve_ms = 1000 });
    sgi_model   holder = model(s, 500), big = model(s, 900), small = model(s, 300);

    sim_acquire(s, holder);
    sim_ask(s, big, &(struct sim_ask){ .deadline_ms = 999 });
    sim_advance_ms(s, 900);
    sim_ask(s, big, NULL);  /* joins, 900 ms after the first */
    sim_advance_ms(s, 500); /* 1400 after the first, which has gone; 500 of its own */
    sgi_ticket t = sim_ask(s, small, NULL);
    assert_int_equal(sim_outcome(s, t).status, SGI_OK);
    sim_free_releasing(s);
}

static void two_that_starve_for_one_device_are_both_served(void **state)
{
    (void)state;
    struct sim *s = sim_new(&(struct sim_config){ .seed = 7, .vram_bytes = MIB(1000), .starve_ms = 10 });
    sgi_model   holder = model(s, 900), a = model(s, 800), b = model(s, 800);
    sgi_lease   held = sim_acquire(s, holder);

    sim_takes_ms(s, SGI__ACT_START_LOAD, 20); /* longer than it takes to starve */
    sgi_ticket ta = sim_ask(s, a, NULL), tb = sim_ask(s, b, NULL);
    sim_advance_ms(s, 100);
    sim_release(s, held);
    sim_advance_ms(s, 20);
    assert_int_equal(sim_outcome(s, ta).status, SGI_OK);
    sim_release(s, sim_outcome(s, ta).lease);
    sim_advance_ms(s, 20);
    assert_int_equal(sim_outcome(s, tb).status, SGI_OK);
    assert_int_equal(sim_actions(s, SGI__ACT_START_LOAD), 3); /* neither was thrown out unused */
    sim_free_releasing(s);
}

static void who_waited_longer_for_what_is_up_goes_before_one_that_starves(void **state)
{
    (void)state;
    struct sim *s = sim_new(&(struct sim_config){ .seed = 7, .vram_bytes = MIB(1000), .starve_ms = 100 });
    sgi_model   up = sim_model(s, &(struct sim_model){ .bytes = MIB(800), .leases_max = 1 }), other = model(s, 800);
    sgi_lease   held = sim_acquire(s, up);
    sgi_ticket  older = sim_ask(s, up, NULL);

    sim_advance_ms(s, 10);
    sgi_ticket starving = sim_ask(s, other, NULL);
    sim_advance_ms(s, 10);
    sgi_ticket younger = sim_ask(s, up, NULL);
    sim_advance_ms(s, 200);
    sim_release(s, held);
    assert_int_equal(sim_outcome(s, older).status, SGI_OK);
    sim_release(s, sim_outcome(s, older).lease);
    assert_int_equal(sim_outcome(s, starving).status, SGI_OK); /* not the younger one */
    assert_false(sim_outcome(s, younger).ended);
    sim_release(s, sim_outcome(s, starving).lease);
    sim_wait(s, younger);
    sim_free_releasing(s);
}

static void busy_neighbours_do_not_take_turns_against_a_starving_one(void **state)
{
    (void)state;
    struct sim *s = sim_new(&(struct sim_config){ .seed = 7, .vram_bytes = MIB(1000), .starve_ms = 100 });
    sgi_model   a = sim_model(s, &(struct sim_model){ .bytes = MIB(300), .leases_max = 1 });
    sgi_model   b = sim_model(s, &(struct sim_model){ .bytes = MIB(300), .leases_max = 1 });
    sgi_model   big = model(s, 700);
    sgi_ticket  ta = sim_ask(s, a, NULL), tb = sim_ask(s, b, NULL), starving = sim_ask(s, big, NULL);

    for (int n = 0; n < 50 && !sim_outcome(s, starving).ended; n++) { /* each is wanted again before it is released */
        sgi_ticket next_a = sim_ask(s, a, NULL), next_b = sim_ask(s, b, NULL);
        sim_advance_ms(s, 20);
        if (sim_outcome(s, ta).ended)
            sim_release(s, sim_outcome(s, ta).lease);
        sim_advance_ms(s, 20);
        if (sim_outcome(s, tb).ended)
            sim_release(s, sim_outcome(s, tb).lease);
        ta = sim_outcome(s, ta).ended ? next_a : ta;
        tb = sim_outcome(s, tb).ended ? next_b : tb;
    }
    assert_int_equal(sim_outcome(s, starving).status, SGI_OK);
    sim_free_releasing(s);
}

static void what_was_loading_when_one_starved_serves_first(void **state)
{
    (void)state;
    struct sim *s = sim_new(&(struct sim_config){ .seed = 7, .vram_bytes = MIB(1000), .starve_ms = 100 });
    sgi_model   holder = model(s, 500), big = model(s, 900), small = model(s, 300);
    sgi_lease   held = sim_acquire(s, holder);
    sgi_ticket  starving = sim_ask(s, big, NULL);

    sim_advance_ms(s, 90);
    sim_takes_ms(s, SGI__ACT_START_LOAD, 20);
    sgi_ticket t = sim_ask(s, small, NULL); /* there is room, and nobody starves yet */
    sim_advance_ms(s, 20);
    assert_int_equal(sim_outcome(s, t).status, SGI_OK); /* what was loaded is not thrown away */
    sim_release(s, sim_outcome(s, t).lease);
    assert_false(is_up(s, small));
    sim_release(s, held);
    assert_int_equal(sim_wait(s, starving).status, SGI_OK);
    assert_int_equal(sim_actions_of(s, SGI__ACT_START_LOAD, small), 1);
    sim_free_releasing(s);
}

static void the_neighbour_chosen_for_a_starving_one_stays_chosen(void **state)
{
    (void)state;
    struct sim *s = sim_new(&(struct sim_config){ .seed = 7, .vram_bytes = MIB(1000), .starve_ms = 100 });
    sgi_model   n[2], big = model(s, 700);
    sgi_lease   held[2][2];

    for (int k = 0; k < 2; k++) { /* either would do, each with two leases */
        n[k] = sim_model(s, &(struct sim_model){ .bytes = MIB(300), .leases_max = 2 });
        held[k][0] = sim_acquire(s, n[k]);
        held[k][1] = sim_acquire(s, n[k]);
    }
    sgi_ticket starving = sim_ask(s, big, NULL);
    for (int k = 0; k < 2; k++) /* and more who wait for it */
        for (int w = 0; w < 8; w++)
            sim_ask(s, n[k], NULL);
    sim_advance_ms(s, 100);
    for (int w = 0; w < 2; w++) {
        for (int k = 0; k < 2; k++) { /* what was used last changes with each of these */
            sim_release(s, held[k][w]);
            sim_advance_ms(s, 1);
        }
    }
    assert_int_equal(sim_outcome(s, starving).status, SGI_OK);
    sim_free_releasing(s);
}

/* Urgent loads take every loader that comes free, one after the other; what has waited long enough goes before them. */
static void who_starves_for_a_loader_gets_the_next(void **state)
{
    (void)state;
    enum { URGENT = 3 };
    struct sim *s = sim_new(
        &(struct sim_config){ .seed = 7, .vram_bytes = GIB(64), .loads_max = 1, .starve_ms = 1000, .wants_max = 64 });
    sgi_model  low = sim_model(s, &(struct sim_model){ .bytes = MIB(100) }), urgent[URGENT];
    sgi_ticket running[URGENT] = { 0 };
    uint64_t   waited_ms = 0;

    sim_takes_ms(s, SGI__ACT_START_LOAD, 300);
    for (int n = 0; n < URGENT; n++)
        urgent[n] = sim_model(s, &(struct sim_model){ .bytes = MIB(100), .idle_ms = SIM_IDLE_NOW });
    sgi_ticket last = sim_ask(s, urgent[0], &(struct sim_ask){ .priority = 1 });
    sgi_ticket t = sim_ask(s, low, NULL);
    running[0] = last;
    for (; !sim_outcome(s, t).ended && waited_ms < 10000; waited_ms += 10) {
        for (int n = 0; n < URGENT; n++) {
            if (running[n] && sim_outcome(s, running[n]).ended) {
                sim_release(s, sim_outcome(s, running[n]).lease);
                running[n] = 0;
            }
            if (!running[n])
                running[n] = sim_ask(s, urgent[n], &(struct sim_ask){ .priority = 1 });
        }
        sim_advance_ms(s, 10);
    }
    assert_int_equal(sim_outcome(s, t).status, SGI_OK);
    assert_true(waited_ms > 1000); /* not before it starved, */
    assert_true(waited_ms < 1700); /* and then after the load that ran, and its own */
    sim_free_releasing(s);
}

/* A device that is gone is none to wait for, whatever was there before. */
static void one_that_starves_does_not_wait_for_a_lost_device(void **state)
{
    (void)state;
    struct sim *s = sim_new(&(struct sim_config){
        .seed = 7, .devices_count = 2, .device_bytes = { MIB(1000), MIB(1000) }, .starve_ms = 100 });
    sgi_model   on[2], large = sim_model(s, &(struct sim_model){ .bytes = MIB(900) });
    sgi_lease   lease[2];

    for (uint32_t d = 0; d < 2; d++) {
        on[d] = sim_model(s, &(struct sim_model){ .bytes = MIB(600) });
        sgi_ticket t = sim_ask(s, on[d], &(struct sim_ask){ .device = 1 + d });
        lease[d] = sim_wait(s, t).lease;
    }
    sgi_ticket t = sim_ask(s, large, &(struct sim_ask){ .device = 1 });
    sim_advance_ms(s, 200);
    assert_false(sim_outcome(s, t).ended);
    sim_lose_device(s, 0);
    sgi_ticket later = sim_ask(s, on[1], NULL); /* whoever wants the other device now has waited less */
    sim_advance_ms(s, 10);
    assert_false(sim_outcome(s, later).ended);
    assert_int_equal(sim_release(s, lease[1]), SGI_OK);
    assert_int_equal(sim_wait(s, t).status, SGI_OK);
    sim_free_releasing(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_least_recently_used_idle_model_leaves),
        cmocka_unit_test(one_byte_that_is_lacking_is_made_room_for),
        cmocka_unit_test(no_more_is_evicted_than_is_lacking),
        cmocka_unit_test(a_busy_model_is_never_evicted),
        cmocka_unit_test(a_model_with_a_call_out_is_never_evicted),
        cmocka_unit_test(a_loading_model_is_never_evicted),
        cmocka_unit_test(a_pinned_model_is_never_evicted),
        cmocka_unit_test(the_idle_time_begins_when_the_pin_ends),
        cmocka_unit_test(nothing_is_evicted_for_a_model_that_cannot_fit),
        cmocka_unit_test(nothing_is_evicted_while_it_would_not_be_enough),
        cmocka_unit_test(nothing_is_evicted_for_a_source_that_is_broken),
        cmocka_unit_test(foreign_memory_is_not_given_away),
        cmocka_unit_test(what_is_emptied_for_one_is_not_taken_by_a_smaller_one),
        cmocka_unit_test(alternating_models_take_turns_and_wait_for_leases),
        cmocka_unit_test(a_refused_reserve_evicts_one_and_tries_once_more),
        cmocka_unit_test(a_reserve_refused_twice_fails),
        cmocka_unit_test(a_refused_reserve_with_nothing_to_evict_fails),
        cmocka_unit_test(a_refused_reserve_that_nobody_waits_for_leaves_nothing),
        cmocka_unit_test(engine_bytes_are_charged_with_the_image),
        cmocka_unit_test(an_engine_grows_if_there_is_room),
        cmocka_unit_test(an_engine_that_grew_waits_next_time_and_evicts_nothing_in_vain),
        cmocka_unit_test(a_warm_model_is_used_where_it_is),
        cmocka_unit_test(a_hint_is_followed_where_there_is_room),
        cmocka_unit_test(room_is_found_before_anything_is_evicted),
        cmocka_unit_test(it_evicts_where_the_least_is_lacking),
        cmocka_unit_test(it_does_not_wait_where_a_hung_one_sits),
        cmocka_unit_test(small_models_pass_a_large_one_until_it_starves),
        cmocka_unit_test(a_starving_want_that_leaves_frees_its_device),
        cmocka_unit_test(a_new_want_does_not_inherit_the_wait_of_one_that_ended),
        cmocka_unit_test(two_that_starve_for_one_device_are_both_served),
        cmocka_unit_test(who_starves_for_a_loader_gets_the_next),
        cmocka_unit_test(one_that_starves_does_not_wait_for_a_lost_device),
        cmocka_unit_test(who_waited_longer_for_what_is_up_goes_before_one_that_starves),
        cmocka_unit_test(what_was_loading_when_one_starved_serves_first),
        cmocka_unit_test(the_neighbour_chosen_for_a_starving_one_stays_chosen),
        cmocka_unit_test(busy_neighbours_do_not_take_turns_against_a_starving_one),
    };
    return cmocka_run_group_tests_name("core_room", tests, NULL, NULL);
}
