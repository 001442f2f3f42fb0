/* SPDX-License-Identifier: Apache-2.0 */
/* The core: on a device with memory of its own a load begins before its context is open. What is said, held and given
 * back when that opens, does not, or goes meanwhile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sim/sim.h"

static struct sim *with_gpu(uint64_t dram_mib)
{
    struct sim *s = sim_new(
        &(struct sim_config){ .seed = 7, .discrete = true, .dram_bytes = MIB(dram_mib), .linger_ms = 10 });
    sim_takes_ms(s, SGI__ACT_OPEN_CONTEXT, 300);
    sim_takes_ms(s, SGI__ACT_START_LOAD, 50);
    return s;
}

static sgi_model model(struct sim *s, uint64_t mib)
{
    return sim_model(s, &(struct sim_model){ .bytes = MIB(mib), .idle_ms = 100 });
}

static sgi_model model_with_engine(struct sim *s, uint64_t hang_ms)
{
    return sim_model(s, &(struct sim_model){ .bytes = MIB(300), .idle_ms = 100, .hang_ms = hang_ms, .engine = true });
}

static void fails_with(struct sim *s, sgi_ticket t, sgi_status status, uint32_t step)
{
    struct sim_outcome o = sim_outcome(s, t);
    assert_true(o.ended);
    assert_int_equal(o.status, status);
    assert_int_equal(o.step, step);
}

/* A start failed once, and nothing of it is left, on its device or in DRAM. */
static void failed_once(struct sim *s, sgi_model m)
{
    assert_int_equal(sim_view(s, m).failures, 1);
    assert_int_equal(sim_vram_used(s), 0);
    assert_int_equal(sim_dram_used(s), 0);
}

static struct sgi__core_lease_view lease_of(struct sim *s, sgi_ticket t)
{
    struct sgi__core_lease_view v;
    assert_int_equal(sgi__core_lease_view(sim_core(s), sim_outcome(s, t).lease, &v), SGI_OK);
    return v;
}

/* ---- it opens ---- */

static void a_load_begins_while_the_context_opens(void **state)
{
    (void)state;
    struct sim *s = with_gpu(500);
    sgi_model   m = model(s, 300);

    sgi_ticket t = sim_ask(s, m, NULL);
    assert_int_equal(sim_actions(s, SGI__ACT_START_LOAD), 1);
    assert_int_equal(sim_kept(s), 1);
    assert_int_equal(sim_view(s, m).held, SGI__HELD_BY_CONTEXT);
    sim_advance_ms(s, 299);
    assert_false(sim_outcome(s, t).ended);
    assert_int_equal(sim_dram_used(s), MIB(300));
    assert_false(sim_in_dram(s, m));
    sim_advance_ms(s, 1);
    assert_int_equal(sim_outcome(s, t).status, SGI_OK); /* what there was to read was read long ago */
    assert_true(sim_in_dram(s, m));
    sim_free_releasing(s);
}

/* Its image is host memory: there is nothing to open, and nothing that could wait. */
static void on_a_host_it_waits(void **state)
{
    (void)state;
    struct sim *s = sim_new(&(struct sim_config){ .seed = 7 });
    sgi_model   m = model(s, 300);

    sim_takes_ms(s, SGI__ACT_OPEN_CONTEXT, 300);
    sgi_ticket t = sim_ask(s, m, NULL);
    sim_advance_ms(s, 299);
    assert_int_equal(sim_actions(s, SGI__ACT_START_LOAD), 0);
    sim_advance_ms(s, 1);
    assert_int_equal(sim_outcome(s, t).status, SGI_OK);
    sim_free_releasing(s);
}

static void a_load_begins_while_the_context_before_closes(void **state)
{
    (void)state;
    struct sim *s = with_gpu(0);
    sgi_model   a = model(s, 300), b = model(s, 200);

    sim_release(s, sim_acquire(s, a));
    sim_takes_ms(s, SGI__ACT_CLOSE_CONTEXT, 40);
    sim_advance_ms(s, 110); /* idle, gone, lingered */
    assert_int_equal(sim_actions(s, SGI__ACT_CLOSE_CONTEXT), 1);
    sgi_ticket t = sim_ask(s, b, NULL);
    assert_int_equal(sim_actions_of(s, SGI__ACT_START_LOAD, b), 1);
    assert_int_equal(sim_actions(s, SGI__ACT_OPEN_CONTEXT), 1);
    sim_advance_ms(s, 339);
    assert_int_equal(sim_actions(s, SGI__ACT_OPEN_CONTEXT), 2);
    assert_false(sim_outcome(s, t).ended);
    sim_advance_ms(s, 1);
    assert_int_equal(sim_outcome(s, t).status, SGI_OK);
    sim_free_releasing(s);
}

static void who_gives_up_meanwhile_is_told_what_it_waited_for(void **state)
{
    (void)state;
    struct sim *s = with_gpu(500);
    sgi_model   m = model(s, 300);

    sgi_ticket t = sim_ask(s, m, &(struct sim_ask){ .deadline_ms = 100 });
    sim_advance_ms(s, 100);
    fails_with(s, t, SGI_E_TIMEOUT, SGI_STEP_CONTEXT);
    sim_free(s);
}

/* ---- it does not ---- */

static void a_context_that_does_not_open_fails_what_loads(void **state)
{
    (void)state;
    struct sim *s = with_gpu(500);
    sgi_model   m = model(s, 300);

    sim_takes_ms(s, SGI__ACT_CANCEL_LOAD, 5);
    sim_takes_ms(s, SGI__ACT_START_LOAD, 400); /* it is not at the point where it needs it */
    sim_fail(s, SGI__ACT_OPEN_CONTEXT, SGI_E_DEVICE, SGI_STEP_CONTEXT, 1);
    sgi_ticket t = sim_ask(s, m, NULL);
    sim_advance_ms(s, 300);
    fails_with(s, t, SGI_E_DEVICE, SGI_STEP_CONTEXT);
    assert_int_equal(sim_actions(s, SGI__ACT_CANCEL_LOAD), 1);
    assert_int_equal(sim_dram_used(s), MIB(300)); /* the load may write to it until it has ended */
    sim_advance_ms(s, 5);
    failed_once(s, m);
    sim_takes_ms(s, SGI__ACT_START_LOAD, 0);
    assert_int_equal(sim_acquire_status(s, m), SGI_OK); /* tries again at once */
    assert_true(sim_in_dram(s, m));
    sim_free(s);
}

/* Which of the two is heard of first does not matter. */
static void a_load_that_fails_with_its_context_counts_once(void **state)
{
    (void)state;
    for (int load_first = 0; load_first < 2; load_first++) {
        struct sim *s = with_gpu(500);
        sgi_model   m = model(s, 300);

        sim_fail(s, SGI__ACT_OPEN_CONTEXT, SGI_E_DEVICE_MEMORY, SGI_STEP_CONTEXT, 1);
        if (load_first)
            sim_fail(s, SGI__ACT_START_LOAD, SGI_E_DEVICE_MEMORY, SGI_STEP_CONTEXT, 1);
        sgi_ticket t = sim_ask(s, m, NULL);
        sim_advance_ms(s, load_first ? 50 : 300);
        fails_with(s, t, SGI_E_DEVICE_MEMORY, SGI_STEP_CONTEXT);
        sim_advance_ms(s, 300);
        failed_once(s, m);
        assert_int_equal(sim_actions(s, SGI__ACT_CANCEL_LOAD), load_first ? 0 : 1);
        sim_free(s);
    }
}

static void what_a_failed_start_was_to_read_stays(void **state)
{
    (void)state;
    struct sim *s = with_gpu(500);
    sgi_model   m = model(s, 300);

    sim_release(s, sim_acquire(s, m));
    sim_run_out(s);
    assert_false(sim_context_open(s, 0));
    sim_fail(s, SGI__ACT_OPEN_CONTEXT, SGI_E_DEVICE, SGI_STEP_CONTEXT, 1);
    sgi_ticket t = sim_ask(s, m, NULL);
    assert_int_equal(sim_actions(s, SGI__ACT_START_LOAD), 2);
    assert_int_equal(sim_evict(s, m, SGI_TIER_DISK), SGI_E_BUSY);
    sim_advance_ms(s, 300);
    fails_with(s, t, SGI_E_DEVICE, SGI_STEP_CONTEXT);
    assert_true(sim_in_dram(s, m));
    assert_int_equal(sim_evict(s, m, SGI_TIER_DISK), SGI_OK); /* nobody reads it any more */
    failed_once(s, m);
    sim_free(s);
}

static void it_fails_all_who_are_there(void **state)
{
    (void)state;
    struct sim *s = with_gpu(0);
    sgi_model   a = model(s, 300), b = model(s, 200);

    sim_hold_of(s, SGI__ACT_RESERVE, b);
    sim_fail(s, SGI__ACT_OPEN_CONTEXT, SGI_E_DEVICE, SGI_STEP_CONTEXT, 1);
    sgi_ticket loads = sim_ask(s, a, NULL), waits = sim_ask(s, b, NULL);
    sim_advance_ms(s, 300);
    fails_with(s, loads, SGI_E_DEVICE, SGI_STEP_CONTEXT);
    fails_with(s, waits, SGI_E_DEVICE, SGI_STEP_CONTEXT);
    sim_let_go_of(s, SGI__ACT_RESERVE, b);
    assert_int_equal(sim_actions_of(s, SGI__ACT_START_LOAD, b), 0);
    failed_once(s, a);
    failed_once(s, b);
    sim_free(s);
}

/* ---- it goes, or nobody wants it any more ---- */

static void a_device_that_is_lost_while_it_opens_ends_the_load(void **state)
{
    (void)state;
    struct sim *s = with_gpu(500);
    sgi_model   m = model(s, 300);

    sgi_ticket t = sim_ask(s, m, NULL);
    sim_advance_ms(s, 100);
    sim_lose_device(s, 0);
    fails_with(s, t, SGI_E_DEVICE_LOST, SGI_STEP_CONTEXT);
    sim_run_out(s);
    failed_once(s, m);
    sim_device_back(s, 0);
    assert_int_equal(sim_acquire_status(s, m), SGI_OK);
    sim_free(s);
}

static void who_cancels_while_it_opens_does_not_wait_for_it(void **state)
{
    (void)state;
    struct sim *s = with_gpu(500);
    sgi_model   m = model(s, 300);

    sgi_ticket t = sim_ask(s, m, NULL);
    sim_advance_ms(s, 100);
    sim_cancel(s, t);
    assert_int_equal(sim_actions(s, SGI__ACT_CANCEL_LOAD), 1);
    assert_int_equal(sim_vram_used(s), 0);
    assert_int_equal(sim_dram_used(s), 0);
    assert_int_equal(sim_view(s, m).failures, 0);
    sim_advance_ms(s, 200);
    assert_true(sim_context_open(s, 0)); /* and lingers */
    sim_advance_ms(s, 10);
    assert_false(sim_context_open(s, 0));
    sim_free(s);
}

/* ---- engines and early leases ---- */

static void a_start_may_wait_for_the_context_as_long_as_that_takes(void **state)
{
    (void)state;
    struct sim *s = with_gpu(0);
    sgi_model   m = model_with_engine(s, 20);

    sim_hold(s, SGI__ACT_START_ENGINE);
    sgi_ticket t = sim_ask(s, m, NULL);
    assert_int_equal(sim_actions(s, SGI__ACT_START_ENGINE), 1);
    sim_advance_ms(s, 319);
    assert_int_equal(sim_wedged(s), 0);
    sim_advance_ms(s, 1); /* weights and context have been there for 20 ms */
    assert_int_equal(sim_wedged(s), 1);
    fails_with(s, t, SGI_E_WEDGED, SGI_STEP_START);
    sim_let_go(s, SGI__ACT_START_ENGINE);
    sim_free(s);
}

/* Its load has ended before, so nothing else begins its time. */
static void a_start_that_does_not_see_the_context_fail_hangs(void **state)
{
    (void)state;
    for (int lost = 0; lost < 2; lost++) {
        struct sim *s = with_gpu(0);
        sgi_model   m = model_with_engine(s, 20);

        sim_hold(s, SGI__ACT_START_ENGINE);
        sim_fail(s, SGI__ACT_OPEN_CONTEXT, SGI_E_DEVICE, SGI_STEP_CONTEXT, 1);
        sgi_ticket t = sim_ask(s, m, NULL);
        sim_cancel(s, t);
        sim_advance_ms(s, 299);
        assert_int_equal(sim_wedged(s), 0);
        if (lost)
            sim_lose_device(s, 0);
        sim_advance_ms(s, 20);
        assert_int_equal(sim_wedged(s), lost);
        sim_advance_ms(s, 1);
        assert_int_equal(sim_wedged(s), 1);
        sim_let_go(s, SGI__ACT_START_ENGINE);
        assert_int_equal(sim_vram_used(s), 0);
        sim_free(s);
    }
}

static void an_engine_starts_in_a_context_that_opened_late(void **state)
{
    (void)state;
    struct sim *s = with_gpu(0);
    sgi_model   m = model_with_engine(s, 20);

    sgi_ticket t = sim_ask(s, m, NULL);
    sim_advance_ms(s, 299);
    assert_false(sim_outcome(s, t).ended);
    sim_advance_ms(s, 1);
    assert_int_equal(sim_outcome(s, t).status, SGI_OK);
    assert_int_equal(sim_wedged(s), 0);
    sim_free_releasing(s);
}

static void an_early_lease_is_there_before_the_context(void **state)
{
    (void)state;
    struct sim *s = with_gpu(500);
    sgi_model   m = model(s, 300);

    sgi_ticket t = sim_ask(s, m, &(struct sim_ask){ .early = true });
    assert_int_equal(sim_outcome(s, t).status, SGI_OK);
    sim_advance_ms(s, 299);
    assert_true(lease_of(s, t).loading);
    sim_advance_ms(s, 1);
    assert_false(lease_of(s, t).loading);
    assert_int_equal(sim_view(s, m).state, SGI_MODEL_BUSY);
    sim_release(s, sim_outcome(s, t).lease);
    sim_free(s);
}

static void an_early_lease_says_that_the_context_failed(void **state)
{
    (void)state;
    struct sim *s = with_gpu(500);
    sgi_model   m = model(s, 300);

    sim_fail(s, SGI__ACT_OPEN_CONTEXT, SGI_E_DEVICE, SGI_STEP_CONTEXT, 1);
    sgi_ticket t = sim_ask(s, m, &(struct sim_ask){ .early = true });
    sim_advance_ms(s, 300);
    assert_true(lease_of(s, t).lost);
    assert_int_equal(lease_of(s, t).lost_status, SGI_E_DEVICE);
    assert_int_equal(sim_dram_used(s), 0); /* there will be no copy, whoever holds the rest */
    assert_int_equal(sim_vram_used(s), MIB(300));
    sim_release(s, sim_outcome(s, t).lease);
    failed_once(s, m);
    sim_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_load_begins_while_the_context_opens),
        cmocka_unit_test(on_a_host_it_waits),
        cmocka_unit_test(a_load_begins_while_the_context_before_closes),
        cmocka_unit_test(who_gives_up_meanwhile_is_told_what_it_waited_for),
        cmocka_unit_test(a_context_that_does_not_open_fails_what_loads),
        cmocka_unit_test(a_load_that_fails_with_its_context_counts_once),
        cmocka_unit_test(what_a_failed_start_was_to_read_stays),
        cmocka_unit_test(it_fails_all_who_are_there),
        cmocka_unit_test(a_device_that_is_lost_while_it_opens_ends_the_load),
        cmocka_unit_test(who_cancels_while_it_opens_does_not_wait_for_it),
        cmocka_unit_test(a_start_may_wait_for_the_context_as_long_as_that_takes),
        cmocka_unit_test(a_start_that_does_not_see_the_context_fail_hangs),
        cmocka_unit_test(an_engine_starts_in_a_context_that_opened_late),
        cmocka_unit_test(an_early_lease_is_there_before_the_context),
        cmocka_unit_test(an_early_lease_says_that_the_context_failed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
