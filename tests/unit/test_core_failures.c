/* SPDX-License-Identifier: Apache-2.0 */
/* The core: what goes wrong. Steps that fail, back-off, callbacks that do not come back, devices and places that go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sim/sim.h"

static struct sim *plain(void)
{
    return sim_new(&(struct sim_config){ .seed = 7 });
}

/* With an engine that has all callbacks. */
static sgi_model full_model(struct sim *s, uint64_t hang_ms)
{
    return sim_model(s, &(struct sim_model){ .bytes = MIB(300),
                                             .engine_bytes = MIB(50),
                                             .engine = true,
                                             .prepare = true,
                                             .prefix = true,
                                             .leases_max = 4,
                                             .hang_ms = hang_ms });
}

static void use(struct sim *s, sgi_model m)
{
    sim_release(s, sim_acquire(s, m));
}

/* ---- every step ---- */

static const struct {
    enum sgi__core_action_kind kind;
    sgi_status                 status;
    uint32_t                   step;
} steps[] = {
    { SGI__ACT_CHECK_SOURCE, SGI_E_CHANGED, SGI_STEP_SOURCE },
    { SGI__ACT_OPEN_CONTEXT, SGI_E_DEVICE, SGI_STEP_CONTEXT },
    { SGI__ACT_RESERVE, SGI_E_NO_MEMORY, SGI_STEP_MEMORY },
    { SGI__ACT_START_LOAD, SGI_E_IO, SGI_STEP_READ },
    { SGI__ACT_START_LOAD, SGI_E_CHECK, SGI_STEP_VERIFY },
    { SGI__ACT_FILL_PREFIX, SGI_E_ENGINE, SGI_STEP_PREFIX },
    { SGI__ACT_PREPARE, SGI_E_ENGINE, SGI_STEP_PREPARE },
    { SGI__ACT_START_ENGINE, SGI_E_ENGINE, SGI_STEP_START },
};

static void a_step_that_fails_gives_everything_back_and_says_so_to_all(void **state)
{
    (void)state;
    for (size_t n = 0; n < sizeof steps / sizeof steps[0]; n++) {
        struct sim *s = plain();
        sgi_model   m = full_model(s, 0);

        sim_takes_ms(s, SGI__ACT_CHECK_SOURCE, 1);
        sim_takes_ms(s, SGI__ACT_START_LOAD, 50);
        sim_fail(s, steps[n].kind, steps[n].status, steps[n].step, 1);
        sgi_ticket t[3];
        for (int k = 0; k < 3; k++)
            t[k] = sim_ask(s, m, NULL);
        sim_advance_ms(s, 100);
        for (int k = 0; k < 3; k++) {
            assert_int_equal(sim_outcome(s, t[k]).status, steps[n].status);
            assert_int_equal(sim_outcome(s, t[k]).step, steps[n].step);
            assert_int_equal(sim_outcome(s, t[k]).retry_after_ns, 0); /* the first may be a passing one */
        }
        assert_int_equal(sim_vram_used(s), 0);
        assert_int_equal(sim_view(s, m).state, SGI_MODEL_COLD);
        assert_int_equal(sim_view(s, m).failures, 1);
        assert_int_equal(sim_view(s, m).last_error, steps[n].status);
        assert_int_equal(sim_acquire_status(s, m), SGI_OK); /* at once */
        assert_int_equal(sim_view(s, m).last_error, SGI_OK);
        sim_free(s);
    }
}

static void the_first_cause_is_the_one_that_is_told(void **state)
{
    (void)state;
    struct sim *s = plain();
    sgi_model   m = full_model(s, 0);

    sim_hold(s, SGI__ACT_START_LOAD);
    sim_fail(s, SGI__ACT_START_LOAD, SGI_E_IO, SGI_STEP_READ, 1);
    sim_fail(s, SGI__ACT_START_ENGINE, SGI_E_ENGINE, SGI_STEP_START, 1);
    sgi_ticket t = sim_ask(s, m, NULL);
    assert_int_equal(sim_outcome(s, t).status, SGI_E_ENGINE); /* the load is still out: it is canceled */
    assert_int_equal(sim_actions(s, SGI__ACT_CANCEL_LOAD), 1);
    assert_int_equal(sim_vram_used(s), MIB(350));
    sim_let_go(s, SGI__ACT_START_LOAD);
    assert_int_equal(sim_vram_used(s), 0);
    assert_int_equal(sim_view(s, m).last_error, SGI_E_ENGINE);
    assert_int_equal(sim_view(s, m).failures, 1);
    sim_free(s);
}

static void a_load_that_fails_under_a_started_engine_stops_it(void **state)
{
    (void)state;
    struct sim *s = plain();
    sgi_model   m = full_model(s, 0);

    sim_takes_ms(s, SGI__ACT_START_LOAD, 50);
    sim_fail(s, SGI__ACT_START_LOAD, SGI_E_CHECK, SGI_STEP_VERIFY, 1);
    assert_int_equal(sim_acquire_status(s, m), SGI_E_CHECK); /* failure mode 3 */
    assert_int_equal(sim_actions(s, SGI__ACT_STOP_ENGINE), 1);
    assert_int_equal(sim_actions(s, SGI__ACT_FREE), 1);
    assert_int_equal(sim_vram_used(s), 0);
    sim_free(s);
}

static void a_failing_model_does_not_touch_the_others(void **state)
{
    (void)state;
    struct sim *s = plain();
    sgi_model   good = full_model(s, 0), bad = full_model(s, 0);

    use(s, good);
    sim_break_source(s, bad, SGI_E_IO);
    assert_int_equal(sim_acquire_status(s, bad), SGI_E_IO);
    assert_int_equal(sim_view(s, good).state, SGI_MODEL_READY);
    assert_int_equal(sim_actions_of(s, SGI__ACT_START_LOAD, good), 1);
    use(s, good);
    sim_free(s);
}

/* ---- back-off ---- */

/* Fails now, telling until when not to try again. */
static uint64_t fail_once(struct sim *s, sgi_model m)
{
    struct sim_outcome o = sim_wait(s, sim_ask(s, m, NULL));
    assert_int_equal(o.status, SGI_E_IO);
    return o.retry_after_ns;
}

static void back_off_doubles_from_the_second_failure_on(void **state)
{
    (void)state;
    struct sim           *s = sim_new(&(struct sim_config){ .seed = 7, .backoff_ms = 100, .backoff_max_ms = 350 });
    sgi_model             m = full_model(s, 0);
    static const uint64_t waits_ms[] = { 0, 100, 200, 350, 350 };

    sim_break_source(s, m, SGI_E_IO);
    for (size_t n = 0; n < sizeof waits_ms / sizeof waits_ms[0]; n++) {
        assert_int_equal(fail_once(s, m), MS(waits_ms[n]));
        assert_int_equal(sim_actions(s, SGI__ACT_CHECK_SOURCE), n + 1);
        if (waits_ms[n] == 0)
            continue;
        sim_advance_ms(s, waits_ms[n] - 1);
        assert_int_equal(fail_once(s, m), MS(1)); /* refused at once, with what it failed with and when to come again */
        assert_int_equal(sim_actions(s, SGI__ACT_CHECK_SOURCE), n + 1);
        sim_advance_ms(s, 1);
    }
    sim_break_source(s, m, SGI_OK);
    use(s, m); /* failure mode 10: nothing sticks */
    sim_break_source(s, m, SGI_E_IO);
    sim_evict(s, m, SGI_TIER_DISK);
    assert_int_equal(fail_once(s, m), 0); /* a success begins it anew */
    sim_free(s);
}

static void failures_are_forgotten_after_a_while(void **state)
{
    (void)state;
    struct sim *s = sim_new(&(struct sim_config){ .seed = 7, .backoff_ms = 100, .failure_expiry_ms = 1000 });
    sgi_model   m = full_model(s, 0);

    sim_break_source(s, m, SGI_E_IO);
    fail_once(s, m);
    assert_int_equal(fail_once(s, m), MS(100));
    sim_advance_ms(s, 100 + 999);
    assert_int_equal(fail_once(s, m), MS(200));
    sim_advance_ms(s, 200 + 1000);
    assert_int_equal(fail_once(s, m), 0);
    sim_free(s);
}

static void back_off_holds_up_nobody_else(void **state)
{
    (void)state;
    struct sim *s = plain();
    sgi_model   bad = full_model(s, 0), good = full_model(s, 0);

    sim_break_source(s, bad, SGI_E_IO);
    fail_once(s, bad);
    fail_once(s, bad);
    assert_true(sim_view(s, bad).failed_until > sim_now(s));
    use(s, good);
    sim_free(s);
}

/* ---- callbacks that do not come back ---- */

static void check_wedged(struct sim *s, sgi_model m, uint64_t bytes)
{
    assert_int_equal(sim_view(s, m).state, SGI_MODEL_WEDGED);
    assert_int_equal(sim_acquire_status(s, m), SGI_E_WEDGED);
    assert_int_equal(sim_vram_used(s), bytes); /* charged: whatever hangs may use it still */
}

static void a_start_that_hangs_wedges_the_model_until_it_is_back(void **state)
{
    (void)state;
    for (int fails = 0; fails < 2; fails++) {
        struct sim *s = plain();
        sgi_model   m = full_model(s, 1000), other = full_model(s, 1000);

        sim_hold(s, SGI__ACT_START_ENGINE);
        if (fails)
            sim_fail(s, SGI__ACT_START_ENGINE, SGI_E_ENGINE, SGI_STEP_START, 1);
        sgi_ticket t = sim_ask(s, m, NULL);
        sim_advance_ms(s, 999);
        assert_false(sim_outcome(s, t).ended);
        sim_advance_ms(s, 1);
        assert_int_equal(sim_outcome(s, t).status, SGI_E_WEDGED);
        assert_int_equal(sim_outcome(s, t).step, SGI_STEP_START);
        assert_int_equal(sim_wedged(s), 1);
        check_wedged(s, m, MIB(350));
        sim_let_go(s, SGI__ACT_START_ENGINE); /* the late return heals it */
        assert_int_equal(sim_actions(s, SGI__ACT_STOP_ENGINE), fails ? 0 : 1);
        assert_int_equal(sim_vram_used(s), 0);
        use(s, m);
        use(s, other);
        sim_free(s);
    }
}

static void a_start_may_wait_for_its_weights_but_not_longer(void **state)
{
    (void)state;
    struct sim *s = plain();
    sgi_model   m = full_model(s, 1000);

    sim_hold(s, SGI__ACT_START_ENGINE);
    sim_takes_ms(s, SGI__ACT_START_LOAD, 60000);
    sgi_ticket t = sim_ask(s, m, NULL);
    sim_advance_ms(s, 60999); /* it waits tensor by tensor: its time counts from the last */
    assert_false(sim_outcome(s, t).ended);
    sim_advance_ms(s, 1);
    assert_int_equal(sim_outcome(s, t).status, SGI_E_WEDGED);
    sim_let_go(s, SGI__ACT_START_ENGINE);

    sim_takes_ms(s, SGI__ACT_START_LOAD, 0);
    sim_takes_ms(s, SGI__ACT_PREPARE, 500);
    sim_evict(s, m, SGI_EVICT_ALL);
    sim_hold(s, SGI__ACT_START_ENGINE);
    t = sim_ask(s, m, NULL); /* the weights are there first now */
    sim_advance_ms(s, 1499);
    assert_false(sim_outcome(s, t).ended);
    sim_advance_ms(s, 1);
    assert_int_equal(sim_outcome(s, t).status, SGI_E_WEDGED);
    sim_let_go(s, SGI__ACT_START_ENGINE);
    sim_free(s);
}

static void others_go_on_beside_a_wedged_model(void **state)
{
    (void)state;
    struct sim *s = plain();
    sgi_model   m = full_model(s, 1000);
    sgi_model   other = sim_model(s, &(struct sim_model){ .bytes = MIB(300), .idle_ms = SIM_IDLE_NEVER });
    sgi_model   big = sim_model(s, &(struct sim_model){ .bytes = MIB(700) });

    sim_hold(s, SGI__ACT_START_ENGINE);
    sim_ask(s, m, NULL);
    sim_advance_ms(s, 1000);
    check_wedged(s, m, MIB(350));
    use(s, other);
    sgi_ticket t = sim_ask(s, big, &(struct sim_ask){ .deadline_ms = 10000 });
    sim_advance_ms(s, 10000);
    assert_int_equal(sim_outcome(s, t).status, SGI_E_TIMEOUT);   /* its bytes are quarantined, */
    assert_int_equal(sim_view(s, other).state, SGI_MODEL_READY); /* and nothing is evicted for what cannot fit beside
                                                                    them */
    sim_let_go(s, SGI__ACT_START_ENGINE);
    use(s, big);
    sim_free(s);
}

static void a_stop_that_hangs_wedges_the_model_until_it_is_back(void **state)
{
    (void)state;
    struct sim *s = plain();
    sgi_model   m = full_model(s, 1000);

    use(s, m);
    sim_hold(s, SGI__ACT_STOP_ENGINE);
    sim_evict(s, m, SGI_TIER_DISK);
    sgi_ticket t = sim_ask(s, m, NULL);
    sim_advance_ms(s, 1000);
    assert_int_equal(sim_outcome(s, t).status, SGI_E_WEDGED);
    assert_int_equal(sim_outcome(s, t).step, SGI_STEP_STOP);
    check_wedged(s, m, MIB(350));
    sim_let_go(s, SGI__ACT_STOP_ENGINE);
    assert_int_equal(sim_vram_used(s), 0);
    use(s, m);
    sim_free(s);
}

static void a_prepare_that_hangs_wedges_the_model_until_it_is_back(void **state)
{
    (void)state;
    struct sim *s = plain();
    sgi_model   m = full_model(s, 1000);

    sim_hold(s, SGI__ACT_PREPARE);
    sgi_ticket t = sim_ask(s, m, NULL);
    sim_advance_ms(s, 1000);
    assert_int_equal(sim_outcome(s, t).status, SGI_E_WEDGED);
    assert_int_equal(sim_outcome(s, t).step, SGI_STEP_PREPARE);
    check_wedged(s, m, 0); /* it holds nothing of a device */
    assert_int_equal(sim_actions(s, SGI__ACT_PREPARE), 1);
    sim_let_go(s, SGI__ACT_PREPARE);
    use(s, m);
    assert_int_equal(sim_actions(s, SGI__ACT_PREPARE), 1); /* what it made in the end is used */
    sim_free(s);
}

static void a_discard_that_hangs_wedges_the_model_until_it_is_back(void **state)
{
    (void)state;
    struct sim *s = plain();
    sgi_model   m = full_model(s, 1000);

    use(s, m);
    sim_hold(s, SGI__ACT_DISCARD);
    sim_evict(s, m, SGI_EVICT_ALL);
    sgi_ticket t = sim_ask(s, m, NULL);
    sim_advance_ms(s, 999);
    assert_false(sim_outcome(s, t).ended);
    sim_advance_ms(s, 1);
    assert_int_equal(sim_outcome(s, t).status, SGI_E_WEDGED);
    assert_int_equal(sim_outcome(s, t).step, SGI_STEP_STOP);
    check_wedged(s, m, 0);
    sim_let_go(s, SGI__ACT_DISCARD);
    use(s, m);
    assert_int_equal(sim_actions(s, SGI__ACT_PREPARE), 2);
    sim_free(s);
}

static void a_prefix_that_hangs_wedges_the_model_until_it_is_back(void **state)
{
    (void)state;
    struct sim *s = plain();
    sgi_model   m = full_model(s, 1000);

    sim_hold(s, SGI__ACT_FILL_PREFIX);
    sim_hold(s, SGI__ACT_START_ENGINE); /* it waits for the prefix: it is not what hangs */
    sgi_ticket t = sim_ask(s, m, NULL);
    sim_advance_ms(s, 999);
    assert_false(sim_outcome(s, t).ended);
    sim_advance_ms(s, 1);
    assert_int_equal(sim_outcome(s, t).status, SGI_E_WEDGED);
    assert_int_equal(sim_outcome(s, t).step, SGI_STEP_PREFIX);
    check_wedged(s, m, MIB(350));
    sim_let_go(s, SGI__ACT_FILL_PREFIX);
    assert_int_equal(sim_view(s, m).state, SGI_MODEL_STOPPING); /* nothing hangs now, */
    sim_advance_ms(s, 1000);
    check_wedged(s, m, MIB(350)); /* but what is still out may hang as well */
    sim_let_go(s, SGI__ACT_START_ENGINE);
    assert_int_equal(sim_vram_used(s), 0);
    use(s, m);
    sim_free(s);
}

static void a_call_may_take_as_long_as_it_likes_until_it_is_canceled(void **state)
{
    (void)state;
    struct sim *s = plain();
    sgi_model   m = full_model(s, 1000);
    sgi_lease   lease = sim_acquire(s, m);

    sim_call_begin(s, lease);
    sim_advance_ms(s, 100000);
    assert_int_equal(sim_view(s, m).state, SGI_MODEL_BUSY);
    sim_call_cancel(s, lease);
    sim_advance_ms(s, 999);
    assert_int_equal(sim_view(s, m).state, SGI_MODEL_BUSY);
    sim_advance_ms(s, 1);
    check_wedged(s, m, MIB(350));
    sim_call_detach(s, lease);
    sim_release(s, lease);
    assert_int_equal(sim_vram_used(s), MIB(350)); /* failure mode 7: not while the callback is out */
    sim_call_back(s, lease);
    assert_int_equal(sim_vram_used(s), 0);
    use(s, m);
    sim_free(s);
}

static void the_leases_of_a_wedged_instance_are_good_for_release_only(void **state)
{
    (void)state;
    struct sim                 *s = plain();
    sgi_model                   m = full_model(s, 1000);
    sgi_lease                   hung = sim_acquire(s, m), other = sim_acquire(s, m);
    struct sgi__core_lease_view v;

    sim_call_begin(s, hung);
    sim_call_cancel(s, hung);
    sim_advance_ms(s, 1000);
    sgi__core_lease_view(sim_core(s), other, &v);
    assert_true(v.lost);
    assert_int_equal(v.lost_status, SGI_E_WEDGED);
    assert_int_equal(sim_call_begin(s, other), SGI_E_WEDGED);
    sim_call_back(s, hung);
    sgi__core_lease_view(sim_core(s), other, &v);
    assert_true(v.lost); /* it ends now, whatever came back */
    assert_true(sim_call_begin(s, other) != SGI_OK);
    assert_int_equal(sim_vram_used(s), MIB(350));
    sim_call_detach(s, hung);
    sim_release(s, hung);
    sim_release(s, other);
    assert_int_equal(sim_vram_used(s), 0);
    use(s, m);
    sim_free(s);
}

static void a_call_canceled_later_is_not_hung_sooner(void **state)
{
    (void)state;
    struct sim *s = plain();
    sgi_model   m = full_model(s, 1000);
    sgi_lease   a = sim_acquire(s, m), b = sim_acquire(s, m);

    sim_call_begin(s, a);
    sim_call_begin(s, b);
    sim_call_cancel(s, a);
    sim_advance_ms(s, 900);
    sim_call_cancel(s, b);
    sim_advance_ms(s, 50);
    sim_call_back(s, a); /* in time */
    sim_advance_ms(s, 949);
    assert_int_equal(sim_wedged(s), 0);
    sim_advance_ms(s, 1); /* 1000 after its own cancel */
    assert_int_equal(sim_wedged(s), 1);
    sim_call_back(s, b);
    sim_call_detach(s, a);
    sim_call_detach(s, b);
    sim_release(s, a);
    sim_release(s, b);
    sim_free(s);
}

static void it_stays_wedged_until_all_that_hangs_is_back(void **state)
{
    (void)state;
    struct sim *s = plain();
    sgi_model   m = full_model(s, 1000);
    sgi_lease   a = sim_acquire(s, m), b = sim_acquire(s, m);

    sim_call_begin(s, a);
    sim_call_begin(s, b);
    sim_call_cancel(s, a);
    sim_call_cancel(s, b);
    sim_advance_ms(s, 1000);
    check_wedged(s, m, MIB(350));
    sim_call_back(s, a);
    check_wedged(s, m, MIB(350));
    sim_call_back(s, b);
    sim_call_detach(s, a);
    sim_call_detach(s, b);
    sim_release(s, a);
    sim_release(s, b);
    assert_int_equal(sim_vram_used(s), 0);
    use(s, m);
    sim_free(s);
}

static void without_a_limit_nothing_is_ever_hung(void **state)
{
    (void)state;
    struct sim *s = plain();
    sgi_model   m = full_model(s, SIM_HANG_NEVER);

    sim_hold(s, SGI__ACT_START_ENGINE);
    sgi_ticket t = sim_ask(s, m, NULL);
    sim_advance_ms(s, 100u * 3600 * 1000);
    assert_false(sim_outcome(s, t).ended);
    sim_let_go(s, SGI__ACT_START_ENGINE);
    assert_int_equal(sim_outcome(s, t).status, SGI_OK);
    sim_free_releasing(s);
}

/* ---- devices and places ---- */

static void a_lost_device_ends_its_leases_and_fails_its_loads(void **state)
{
    (void)state;
    struct sim *s = sim_new(
        &(struct sim_config){ .seed = 7, .devices_count = 2, .device_bytes = { MIB(1000), MIB(200) } });
    sgi_model                   used = full_model(s, 0), loading = full_model(s, 0), idle = full_model(s, 0);
    sgi_model                   small = sim_model(s, &(struct sim_model){ .bytes = MIB(100) });
    struct sgi__core_lease_view v;

    use(s, idle);
    sgi_lease lease = sim_acquire(s, used);
    sim_evict(s, idle, SGI_TIER_DISK);
    use(s, idle);
    sim_hold(s, SGI__ACT_START_LOAD);
    sim_evict(s, idle, SGI_TIER_DISK);
    sgi_ticket t = sim_ask(s, loading, NULL);
    sim_lose_device(s, 0); /* failure mode 23 */
    assert_int_equal(sim_outcome(s, t).status, SGI_E_DEVICE_LOST);
    sgi__core_lease_view(sim_core(s), lease, &v);
    assert_true(v.lost);
    assert_int_equal(v.lost_status, SGI_E_DEVICE_LOST);
    assert_int_equal(sim_call_begin(s, lease), SGI_E_DEVICE_LOST);
    sim_let_go(s, SGI__ACT_START_LOAD);
    assert_int_equal(sim_acquire_status(s, loading), SGI_E_DEVICE_LOST); /* it fits nowhere else */
    use(s, small);                                                       /* the other device goes on */
    assert_int_equal(sim_release(s, lease), SGI_OK);
    assert_int_equal(sim_device_used(s, 0), 0);
    sim_free(s);
}

static void a_want_that_queues_for_a_device_that_is_lost_ends(void **state)
{
    (void)state;
    struct sim *s = plain();
    sgi_model   holder = sim_model(s, &(struct sim_model){ .bytes = MIB(900) }), m = full_model(s, 0);
    sgi_lease   lease = sim_acquire(s, holder);
    sgi_ticket  t = sim_ask(s, m, NULL);

    assert_false(sim_outcome(s, t).ended);
    sim_lose_device(s, 0);
    assert_int_equal(sim_outcome(s, t).status, SGI_E_DEVICE_LOST);
    sim_release(s, lease);
    sim_free(s);
}

static void a_device_that_is_back_is_used_again(void **state)
{
    (void)state;
    struct sim *s = plain();
    sgi_model   m = full_model(s, 0);

    use(s, m);
    sim_lose_device(s, 0);
    assert_int_equal(sim_vram_used(s), 0);
    assert_int_equal(sim_acquire_status(s, m), SGI_E_DEVICE_LOST);
    sim_device_back(s, 0);
    use(s, m);
    assert_int_equal(sim_actions(s, SGI__ACT_OPEN_CONTEXT), 2);
    sim_free(s);
}

static void a_place_that_dies_takes_everything_but_the_leases(void **state)
{
    (void)state;
    struct sim *s = sim_new(&(struct sim_config){ .seed = 7, .dram_bytes = MIB(500) });
    sgi_model   used = full_model(s, 0), kept = full_model(s, 0),
              loading = sim_model(s, &(struct sim_model){ .bytes = MIB(100) });
    struct sgi__core_lease_view v;
    struct sgi__core_totals     totals;

    use(s, kept);
    sim_evict(s, kept, SGI_TIER_DRAM);
    sgi_lease lease = sim_acquire(s, used), with_call = sim_acquire(s, used);
    sim_call_begin(s, with_call);
    sim_hold(s, SGI__ACT_START_LOAD);
    sgi_ticket t = sim_ask(s, loading, NULL);
    sim_kill_place(s);
    assert_int_equal(sim_outcome(s, t).status, SGI_E_DEVICE_LOST);
    sgi__core_totals(sim_core(s), &totals);
    assert_int_equal(totals.device_bytes + totals.dram_bytes + totals.prepared_bytes, 0);
    assert_int_equal(totals.calls, 0);
    assert_int_equal(totals.leases, 2);
    sgi__core_lease_view(sim_core(s), lease, &v);
    assert_true(v.lost);
    assert_int_equal(sim_acquire_status(s, kept), SGI_E_DEVICE_LOST);
    assert_int_equal(sim_outcome(s, sim_ask(s, used, NULL)).status, SGI_E_DEVICE_LOST); /* held or not */
    sgi_ticket dram = sim_ask(s, kept, &(struct sim_ask){ .prefetch = true, .tier = SGI_TIER_DRAM });
    assert_int_equal(sim_outcome(s, dram).status, SGI_E_DEVICE_LOST);

    sim_place_up(s);
    sim_let_go(s, SGI__ACT_START_LOAD);
    use(s, kept);
    sgi_ticket waits = sim_ask(s, used, NULL); /* until who held it has let go */
    assert_false(sim_outcome(s, waits).ended);
    sim_release(s, lease);
    sim_call_back(s, with_call); /* late, for an instance that is gone */
    sim_call_detach(s, with_call);
    sim_release(s, with_call);
    assert_int_equal(sim_outcome(s, waits).status, SGI_OK);
    sim_free_releasing(s);
}

static void a_drain_ends_though_the_place_died(void **state)
{
    (void)state;
    struct sim *s = plain();
    sgi_model   m = full_model(s, 0);
    sgi_lease   lease = sim_acquire(s, m);

    sim_kill_place(s);
    sim_drain(s);
    assert_int_equal(sim_closed(s), 0);
    sim_release(s, lease);
    assert_int_equal(sim_closed(s), 1);
    sim_free(s);
}

/* Of what died with its place nothing is left to go first but its leases, which may last. */
static void a_second_try_does_not_wait_for_what_died(void **state)
{
    (void)state;
    struct sim *s = sim_new(&(struct sim_config){ .seed = 7 });
    sgi_model   died = full_model(s, 0), idle = full_model(s, 0), m = full_model(s, 0);
    sgi_lease   lease = sim_acquire(s, died);

    sim_kill_place(s);
    sim_place_up(s);
    use(s, idle);
    sim_fail(s, SGI__ACT_RESERVE, SGI_E_DEVICE_MEMORY, SGI_STEP_MEMORY, 1);
    assert_int_equal(sim_acquire_status(s, m), SGI_OK);
    sim_release(s, lease);
    sim_free(s);
}

/* ---- late and double results ---- */

static void a_result_counts_once(void **state)
{
    (void)state;
    static const enum sgi__core_action_kind kinds[] = {
        SGI__ACT_CHECK_SOURCE, SGI__ACT_OPEN_CONTEXT, SGI__ACT_RESERVE,      SGI__ACT_START_LOAD,
        SGI__ACT_FILL_PREFIX,  SGI__ACT_PREPARE,      SGI__ACT_START_ENGINE, SGI__ACT_STOP_ENGINE,
        SGI__ACT_KEEP,         SGI__ACT_DROP,         SGI__ACT_DISCARD,      SGI__ACT_CLOSE_CONTEXT,
    };
    struct sim *s = sim_new(&(struct sim_config){ .seed = 7, .dram_bytes = MIB(500) });
    sgi_model   m = full_model(s, 0);

    use(s, m);
    for (size_t n = 0; n < 7; n++)
        assert_false(sim_repeat(s, kinds[n])); /* while it is up */
    assert_int_equal(sim_view(s, m).state, SGI_MODEL_READY);
    sim_evict(s, m, SGI_TIER_DRAM);
    sim_evict(s, m, SGI_EVICT_ALL);
    sim_advance_ms(s, 10000);
    for (size_t n = 0; n < sizeof kinds / sizeof kinds[0]; n++)
        assert_false(sim_repeat(s, kinds[n])); /* while it is cold */
    sim_hold(s, SGI__ACT_START_LOAD);
    sgi_ticket t = sim_ask(s, m, NULL);
    for (size_t n = 0; n < sizeof kinds / sizeof kinds[0]; n++)
        assert_false(sim_repeat(s, kinds[n])); /* and those of the start before, during the next */
    assert_false(sim_outcome(s, t).ended);
    sim_let_go(s, SGI__ACT_START_LOAD);
    assert_int_equal(sim_outcome(s, t).status, SGI_OK);
    sim_free_releasing(s);
}

static void the_result_of_an_earlier_check_does_not_count_for_the_next(void **state)
{
    (void)state;
    struct sim *s = sim_new(&(struct sim_config){ .seed = 7 });
    sgi_model   m = full_model(s, 0);

    use(s, m);
    sim_evict(s, m, SGI_EVICT_ALL);
    sim_advance_ms(s, 10000);
    sim_hold(s, SGI__ACT_CHECK_SOURCE);
    sgi_ticket t = sim_ask(s, m, NULL);
    assert_false(sim_repeat(s, SGI__ACT_CHECK_SOURCE));
    assert_int_equal(sim_actions(s, SGI__ACT_START_LOAD), 1); /* that of before */
    sim_let_go(s, SGI__ACT_CHECK_SOURCE);
    assert_int_equal(sim_wait(s, t).status, SGI_OK);
    sim_free_releasing(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_step_that_fails_gives_everything_back_and_says_so_to_all),
        cmocka_unit_test(the_first_cause_is_the_one_that_is_told),
        cmocka_unit_test(a_load_that_fails_under_a_started_engine_stops_it),
        cmocka_unit_test(a_failing_model_does_not_touch_the_others),
        cmocka_unit_test(back_off_doubles_from_the_second_failure_on),
        cmocka_unit_test(failures_are_forgotten_after_a_while),
        cmocka_unit_test(back_off_holds_up_nobody_else),
        cmocka_unit_test(a_start_that_hangs_wedges_the_model_until_it_is_back),
        cmocka_unit_test(a_start_may_wait_for_its_weights_but_not_longer),
        cmocka_unit_test(others_go_on_beside_a_wedged_model),
        cmocka_unit_test(a_stop_that_hangs_wedges_the_model_until_it_is_back),
        cmocka_unit_test(a_prepare_that_hangs_wedges_the_model_until_it_is_back),
        cmocka_unit_test(a_discard_that_hangs_wedges_the_model_until_it_is_back),
        cmocka_unit_test(a_prefix_that_hangs_wedges_the_model_until_it_is_back),
        cmocka_unit_test(a_call_may_take_as_long_as_it_likes_until_it_is_canceled),
        cmocka_unit_test(the_leases_of_a_wedged_instance_are_good_for_release_only),
        cmocka_unit_test(a_call_canceled_later_is_not_hung_sooner),
        cmocka_unit_test(it_stays_wedged_until_all_that_hangs_is_back),
        cmocka_unit_test(without_a_limit_nothing_is_ever_hung),
        cmocka_unit_test(a_lost_device_ends_its_leases_and_fails_its_loads),
        cmocka_unit_test(a_want_that_queues_for_a_device_that_is_lost_ends),
        cmocka_unit_test(a_device_that_is_back_is_used_again),
        cmocka_unit_test(a_place_that_dies_takes_everything_but_the_leases),
        cmocka_unit_test(a_drain_ends_though_the_place_died),
        cmocka_unit_test(a_second_try_does_not_wait_for_what_died),
        cmocka_unit_test(a_result_counts_once),
        cmocka_unit_test(the_result_of_an_earlier_check_does_not_count_for_the_next),
    };
    return cmocka_run_group_tests_name("core_failures", tests, NULL, NULL);
}
