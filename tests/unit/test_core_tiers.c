/* SPDX-License-Identifier: Apache-2.0 */
/* The core: the DRAM tier, prefetch, evict by tier, contexts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sim/sim.h"

static struct sim *with_dram(uint64_t device_bytes, uint64_t dram_bytes)
{
    return sim_new(&(struct sim_config){ .seed = 7, .vram_bytes = device_bytes, .dram_bytes = dram_bytes });
}

static sgi_model model(struct sim *s, uint64_t mib)
{
    return sim_model(s, &(struct sim_model){ .bytes = MIB(mib), .idle_ms = 100 });
}

static void use(struct sim *s, sgi_model m)
{
    sim_release(s, sim_acquire(s, m));
}

/* Used, and idle for so long that it left its device. */
static void use_up(struct sim *s, sgi_model m)
{
    use(s, m);
    sim_advance_ms(s, 100);
}

static struct sim_outcome prefetch(struct sim *s, sgi_model m, uint32_t tier)
{
    return sim_wait(s, sim_ask(s, m, &(struct sim_ask){ .prefetch = true, .tier = tier }));
}

/* ---- residences ---- */

static void an_idle_model_stays_in_dram_and_comes_back_from_there(void **state)
{
    (void)state;
    struct sim *s = with_dram(MIB(1000), MIB(500));
    sgi_model   m = model(s, 300);

    use_up(s, m);
    assert_int_equal(sim_vram_used(s), 0);
    assert_int_equal(sim_dram_used(s), MIB(300));
    assert_int_equal(sim_view(s, m).tier, SGI_TIER_DRAM);
    struct sim_outcome o = sim_wait(s, sim_ask(s, m, NULL));
    assert_int_equal(o.tier, SGI_TIER_DRAM);
    assert_int_equal(sim_vram_used(s), MIB(300)); /* the same bytes: counted once, where they are used */
    assert_int_equal(sim_dram_used(s), 0);
    assert_int_equal(sim_actions(s, SGI__ACT_CHECK_SOURCE), 1); /* verified once, and ours since */
    sim_release(s, o.lease);
    sim_advance_ms(s, 100);
    assert_int_equal(sim_dram_used(s), MIB(300));
    sim_free(s);
}

static void a_residence_does_not_need_its_files(void **state)
{
    (void)state;
    struct sim *s = with_dram(MIB(1000), MIB(500));
    sgi_model   m = model(s, 300);

    use_up(s, m);
    sim_break_source(s, m, SGI_E_IO);
    use_up(s, m); /* failure mode 20 */
    sim_evict(s, m, SGI_TIER_DISK);
    assert_int_equal(sim_acquire_status(s, m), SGI_E_IO);
    sim_free(s);
}

static void the_least_recently_used_residence_leaves_first(void **state)
{
    (void)state;
    struct sim *s = with_dram(MIB(1000), MIB(700));
    sgi_model   a = model(s, 300), b = model(s, 300), c = model(s, 300);

    use_up(s, a);
    use_up(s, b);
    use_up(s, a); /* b is the oldest now */
    use_up(s, c);
    assert_int_equal(sim_model_dram(s, a), MIB(300));
    assert_int_equal(sim_model_dram(s, b), 0);
    assert_int_equal(sim_model_dram(s, c), MIB(300));
    sim_free(s);
}

static void what_does_not_fit_the_budget_is_freed(void **state)
{
    (void)state;
    struct sim *s = with_dram(MIB(1000), MIB(500));
    sgi_model   small = model(s, 200), big = model(s, 501);

    use_up(s, small);
    use_up(s, big);
    assert_int_equal(sim_model_dram(s, big), 0);
    assert_int_equal(sim_model_dram(s, small), MIB(200)); /* nothing was dropped in vain */
    sim_free(s);
}

static void without_a_budget_nothing_is_kept(void **state)
{
    (void)state;
    struct sim *s = with_dram(MIB(1000), 0);
    sgi_model   m = model(s, 300);

    use_up(s, m);
    assert_int_equal(sim_actions(s, SGI__ACT_KEEP), 0);
    assert_int_equal(sim_actions(s, SGI__ACT_FREE), 1);
    sim_free(s);
}

static void a_pinned_residence_is_not_dropped_for_another(void **state)
{
    (void)state;
    struct sim *s = with_dram(MIB(1000), MIB(500));
    sgi_model   a = model(s, 300), b = model(s, 300);

    sim_pin(s, a, SGI_TIER_DRAM);
    use_up(s, a);
    assert_int_equal(sim_vram_used(s), 0); /* that pin does not hold the device */
    use_up(s, b);
    assert_int_equal(sim_model_dram(s, a), MIB(300));
    assert_int_equal(sim_model_dram(s, b), 0);
    sim_free(s);
}

static void a_pin_to_dram_reserves_its_room(void **state)
{
    (void)state;
    struct sim *s = with_dram(MIB(1000), MIB(500));
    sgi_model   pinned = model(s, 300), big = model(s, 300), small = model(s, 200);

    use_up(s, big);
    use_up(s, small);
    assert_int_equal(sim_pin(s, pinned, SGI_TIER_DRAM), SGI_OK);
    assert_int_equal(sim_model_dram(s, big), 0); /* it makes room at once, least recently used first, */
    assert_int_equal(sim_model_dram(s, small), MIB(200));
    assert_int_equal(sim_actions(s, SGI__ACT_START_LOAD), 2); /* and loads nothing */
    use_up(s, big);
    assert_int_equal(sim_model_dram(s, big), 0); /* the rest of the budget is too small for it */
    assert_int_equal(sim_model_dram(s, small), MIB(200));
    use_up(s, pinned);
    assert_int_equal(sim_model_dram(s, pinned), MIB(300));
    assert_int_equal(sim_model_dram(s, small), MIB(200));
    sim_pin(s, pinned, SGI_TIER_DISK);
    use_up(s, big);
    assert_int_equal(sim_model_dram(s, big), MIB(300)); /* the one unused longest went for it */
    sim_free(s);
}

static void pins_to_dram_fit_together_or_are_refused(void **state)
{
    (void)state;
    struct sim *s = with_dram(MIB(1000), MIB(500));
    sgi_model   a = model(s, 300), b = model(s, 200), c = model(s, 1), huge = model(s, 501), up = model(s, 250);

    assert_int_equal(sim_pin(s, huge, SGI_TIER_DRAM), SGI_E_NO_ROOM);
    assert_int_equal(sim_pin(s, a, SGI_TIER_DRAM), SGI_OK);
    assert_int_equal(sim_pin(s, a, SGI_TIER_DRAM), SGI_OK); /* once is enough */
    assert_int_equal(sim_pin(s, b, SGI_TIER_DRAM), SGI_OK);
    assert_int_equal(sim_pin(s, c, SGI_TIER_DRAM), SGI_E_NO_ROOM);
    assert_int_equal(sim_view(s, c).pinned_tier, SGI_TIER_DISK);
    sim_pin(s, a, SGI_TIER_DEVICE); /* the device's bytes are not host memory's */
    assert_int_equal(sim_pin(s, c, SGI_TIER_DRAM), SGI_OK);
    assert_int_equal(sim_pin(s, a, SGI_TIER_DRAM), SGI_E_NO_ROOM);
    sim_pin(s, c, SGI_TIER_DISK);

    sim_hold(s, SGI__ACT_START_LOAD);
    sim_ask(s, up, &(struct sim_ask){ .prefetch = true, .tier = SGI_TIER_DRAM });
    assert_int_equal(sim_pin(s, a, SGI_TIER_DRAM), SGI_E_BUSY); /* what is on its way into DRAM is not dropped */
    assert_int_equal(sim_view(s, a).pinned_tier, SGI_TIER_DEVICE);
    sim_let_go(s, SGI__ACT_START_LOAD);
    assert_int_equal(sim_model_dram(s, up), MIB(250));
    assert_int_equal(sim_pin(s, a, SGI_TIER_DRAM), SGI_OK); /* what is there and not asked for is */
    assert_int_equal(sim_model_dram(s, up), 0);
    sim_free(s);
}

static void a_failed_keep_counts_as_freed(void **state)
{
    (void)state;
    struct sim *s = with_dram(MIB(1000), MIB(500));
    sgi_model   m = model(s, 300);

    sim_fail(s, SGI__ACT_KEEP, SGI_E_NO_MEMORY, SGI_STEP_STOP, 1);
    use_up(s, m);
    assert_int_equal(sim_vram_used(s), 0);
    assert_int_equal(sim_dram_used(s), 0);
    assert_int_equal(sim_wait(s, sim_ask(s, m, NULL)).tier, SGI_TIER_DISK);
    sim_free_releasing(s);
}

static void bytes_that_never_all_came_are_not_kept(void **state)
{
    (void)state;
    struct sim *s = with_dram(MIB(1000), MIB(500));
    sgi_model   m = model(s, 300);

    sim_fail(s, SGI__ACT_START_LOAD, SGI_E_CHECK, SGI_STEP_VERIFY, 1);
    assert_int_equal(sim_acquire_status(s, m), SGI_E_CHECK);
    assert_int_equal(sim_dram_used(s), 0);
    sim_free(s);
}

static void verified_bytes_are_kept_when_the_engine_fails(void **state)
{
    (void)state;
    struct sim *s = with_dram(MIB(1000), MIB(500));
    sgi_model   m = sim_model(s, &(struct sim_model){ .bytes = MIB(300), .engine = true });

    sim_takes_ms(s, SGI__ACT_START_ENGINE, 10);
    sim_fail(s, SGI__ACT_START_ENGINE, SGI_E_ENGINE, SGI_STEP_START, 1);
    assert_int_equal(sim_acquire_status(s, m), SGI_E_ENGINE);
    assert_int_equal(sim_dram_used(s), MIB(300));
    assert_int_equal(sim_wait(s, sim_ask(s, m, NULL)).tier, SGI_TIER_DRAM);
    sim_free_releasing(s);
}

static void a_residence_that_was_refused_by_the_device_is_one_still(void **state)
{
    (void)state;
    struct sim *s = with_dram(MIB(1000), MIB(500));
    sgi_model   a = model(s, 300), b = model(s, 300);

    use_up(s, a);
    use(s, b); /* idle on the device */
    sim_hold(s, SGI__ACT_RESERVE);
    sim_fail(s, SGI__ACT_RESERVE, SGI_E_DEVICE, SGI_STEP_MEMORY, 1);
    sgi_ticket t = sim_ask(s, a, NULL);
    sim_advance_ms(s, 200); /* b wants to stay in DRAM meanwhile: a may need the room again */
    sim_let_go(s, SGI__ACT_RESERVE);
    assert_int_equal(sim_outcome(s, t).status, SGI_E_DEVICE);
    assert_int_equal(sim_model_dram(s, a), MIB(300));
    assert_int_equal(sim_model_dram(s, b), 0);
    sim_free(s);
}

static void an_instance_waits_with_its_image_until_an_older_one_was_dropped(void **state)
{
    (void)state;
    struct sim *s = with_dram(MIB(1000), MIB(500));
    sgi_model   a = model(s, 300), b = model(s, 300);

    use_up(s, a);
    sim_takes_ms(s, SGI__ACT_DROP, 50);
    use_up(s, b);
    assert_int_equal(sim_vram_used(s), MIB(300));
    assert_int_equal(sim_view(s, b).state, SGI_MODEL_STOPPING);
    sim_advance_ms(s, 50);
    assert_int_equal(sim_vram_used(s), 0);
    assert_int_equal(sim_model_dram(s, b), MIB(300));
    sim_free(s);
}

static void a_model_has_one_residence_at_a_time(void **state)
{
    (void)state;
    struct sim *s = with_dram(MIB(1000), MIB(900));
    sgi_model   m = model(s, 300);

    use_up(s, m);
    sim_takes_ms(s, SGI__ACT_DROP, 1000);
    sim_evict(s, m, SGI_TIER_DISK); /* the drop takes its time */
    use_up(s, m);                   /* loaded from disk, and idle again before it has ended */
    assert_int_equal(sim_actions(s, SGI__ACT_KEEP), 1);
    sim_advance_ms(s, 1000);
    assert_int_equal(sim_actions(s, SGI__ACT_KEEP), 2);
    assert_int_equal(sim_dram_used(s), MIB(300));
    sim_free(s);
}

/* ---- prefetch ---- */

static void a_prefetch_into_dram_touches_no_device(void **state)
{
    (void)state;
    struct sim        *s = with_dram(MIB(1000), MIB(500));
    sgi_model          m = sim_model(s, &(struct sim_model){ .bytes = MIB(300), .engine = true, .prepare = true });
    struct sim_outcome o = prefetch(s, m, SGI_TIER_DRAM);

    assert_int_equal(o.status, SGI_OK);
    assert_int_equal(o.lease, 0);
    assert_int_equal(sim_dram_used(s), MIB(300));
    assert_int_equal(sim_actions(s, SGI__ACT_OPEN_CONTEXT), 0);
    assert_int_equal(sim_actions(s, SGI__ACT_PREPARE), 0);
    o = sim_wait(s, sim_ask(s, m, NULL));
    assert_int_equal(o.tier, SGI_TIER_DRAM);
    assert_int_equal(sim_actions(s, SGI__ACT_CHECK_SOURCE), 1);
    sim_free_releasing(s);
}

static void an_acquire_during_a_prefetch_into_dram_comes_after_it(void **state)
{
    (void)state;
    struct sim *s = with_dram(MIB(1000), MIB(500));
    sgi_model   m = model(s, 300);

    sim_takes_ms(s, SGI__ACT_START_LOAD, 50);
    sgi_ticket dram = sim_ask(s, m, &(struct sim_ask){ .prefetch = true, .tier = SGI_TIER_DRAM });
    sim_advance_ms(s, 10);
    sgi_ticket device = sim_ask(s, m, NULL);
    sim_wait(s, device);
    assert_int_equal(sim_outcome(s, dram).status, SGI_OK);
    assert_int_equal(sim_outcome(s, device).tier, SGI_TIER_DRAM);
    assert_int_equal(sim_actions(s, SGI__ACT_RESERVE), 2);
    assert_int_equal(sim_actions(s, SGI__ACT_CHECK_SOURCE), 1); /* the files were read once */
    sim_free_releasing(s);
}

static void a_nearer_tier_satisfies_a_prefetch_at_once(void **state)
{
    (void)state;
    struct sim *s = with_dram(MIB(1000), MIB(500));
    sgi_model   m = model(s, 300);
    sgi_lease   lease = sim_acquire(s, m);

    sgi_ticket t = sim_ask(s, m, &(struct sim_ask){ .prefetch = true, .tier = SGI_TIER_DRAM });
    assert_true(sim_outcome(s, t).ended);
    assert_int_equal(sim_outcome(s, t).status, SGI_OK);
    assert_int_equal(sim_dram_used(s), 0);
    sim_release(s, lease);
    sim_free(s);
}

static void a_prefetch_to_the_device_sets_its_idle_timer(void **state)
{
    (void)state;
    struct sim        *s = with_dram(MIB(1000), 0);
    sgi_model          m = sim_model(s, &(struct sim_model){ .bytes = MIB(300), .engine = true, .idle_ms = 100 });
    sgi_lease          lease = 0;
    struct sim_outcome o = prefetch(s, m, SGI_TIER_DEVICE);

    assert_int_equal(o.status, SGI_OK);
    assert_int_equal(o.lease, 0);
    sim_advance_ms(s, 99);
    assert_int_equal(sim_try_acquire(s, m, &lease), SGI_OK);
    sim_release(s, lease);
    sim_advance_ms(s, 100);
    assert_int_equal(sim_vram_used(s), 0);
    sim_wait(s, sim_ask(s, m, &(struct sim_ask){ .prefetch = true, .idle_ms = 500 }));
    sim_advance_ms(s, 499);
    assert_int_equal(sim_vram_used(s), MIB(300));
    sim_advance_ms(s, 1);
    assert_int_equal(sim_vram_used(s), 0);
    sim_free(s);
}

static void a_prefetch_that_idles_gives_way_at_once(void **state)
{
    (void)state;
    struct sim *s = with_dram(MIB(1000), 0);
    sgi_model   a = model(s, 600), b = model(s, 600);

    sim_hold(s, SGI__ACT_START_LOAD);
    sgi_ticket ta = sim_ask(s, a, &(struct sim_ask){ .prefetch = true, .idle_ms = SIM_IDLE_NEVER });
    sgi_ticket tb = sim_ask(s, b, &(struct sim_ask){ .priority = 1 });
    sim_let_go(s, SGI__ACT_START_LOAD); /* the one ends, and the other waits for what it left idle */
    assert_int_equal(sim_outcome(s, ta).status, SGI_OK);
    assert_int_equal(sim_outcome(s, tb).status, SGI_OK);
    sim_free_releasing(s);
}

static void a_prefetch_into_dram_is_refused_when_there_is_no_room(void **state)
{
    (void)state;
    struct sim *s = with_dram(MIB(1000), MIB(500));
    sgi_model   big = model(s, 501), pinned = model(s, 300), m = model(s, 300);

    assert_int_equal(prefetch(s, big, SGI_TIER_DRAM).status, SGI_E_NO_ROOM);
    sim_pin(s, pinned, SGI_TIER_DRAM);
    prefetch(s, pinned, SGI_TIER_DRAM);
    assert_int_equal(prefetch(s, m, SGI_TIER_DRAM).status, SGI_E_BUSY);
    sim_pin(s, pinned, SGI_TIER_DISK);
    assert_int_equal(prefetch(s, m, SGI_TIER_DRAM).status, SGI_OK);
    assert_int_equal(sim_model_dram(s, pinned), 0);
    sim_free(s);
}

static void an_acquire_is_not_refused_because_a_prefetch_has_no_room(void **state)
{
    (void)state;
    struct sim *s = with_dram(MIB(1000), MIB(500));
    sgi_model   pinned = model(s, 300), m = model(s, 300);

    sim_pin(s, pinned, SGI_TIER_DRAM);
    prefetch(s, pinned, SGI_TIER_DRAM);
    sim_hold(s, SGI__ACT_CHECK_SOURCE);
    sgi_ticket dram = sim_ask(s, m, &(struct sim_ask){ .prefetch = true, .tier = SGI_TIER_DRAM });
    sgi_ticket device = sim_ask(s, m, NULL);
    sim_let_go(s, SGI__ACT_CHECK_SOURCE);
    assert_int_equal(sim_outcome(s, device).status, SGI_OK);
    assert_int_equal(sim_outcome(s, dram).status, SGI_OK); /* a nearer tier is as good */
    sim_free_releasing(s);
}

static void a_prefetch_that_cannot_be_kept_fails_and_is_not_tried_for_ever(void **state)
{
    (void)state;
    struct sim *s = with_dram(MIB(1000), MIB(500));
    sgi_model   m = model(s, 300);

    sim_fail(s, SGI__ACT_KEEP, SGI_E_NO_MEMORY, SGI_STEP_STOP, 1);
    assert_int_equal(prefetch(s, m, SGI_TIER_DRAM).status, SGI_E_NO_MEMORY);
    assert_int_equal(sim_actions(s, SGI__ACT_START_LOAD), 1);
    assert_int_equal(sim_dram_used(s), 0);
    assert_int_equal(prefetch(s, m, SGI_TIER_DRAM).status, SGI_OK);
    sim_free(s);
}

/* ---- evict ---- */

static void evict_goes_as_far_as_it_is_told(void **state)
{
    (void)state;
    struct sim *s = with_dram(MIB(1000), MIB(500));
    sgi_model   m = sim_model(s, &(struct sim_model){
                                     .bytes = MIB(300), .engine = true, .prepare = true, .idle_ms = SIM_IDLE_NEVER });

    use(s, m);
    assert_int_equal(sim_evict(s, m, SGI_TIER_DRAM), SGI_OK);
    assert_int_equal(sim_vram_used(s), 0);
    assert_int_equal(sim_dram_used(s), MIB(300));
    assert_int_equal(sim_evict(s, m, SGI_TIER_DISK), SGI_OK);
    assert_int_equal(sim_dram_used(s), 0);
    assert_int_equal(sim_view(s, m).prepared_bytes, MIB(1));
    assert_int_equal(sim_evict(s, m, SGI_EVICT_ALL), SGI_OK);
    assert_int_equal(sim_view(s, m).prepared_bytes, 0);
    assert_int_equal(sim_evict(s, m, SGI_EVICT_ALL), SGI_OK); /* nothing to do is fine */

    use(s, m); /* and all at once, from the device */
    assert_int_equal(sim_actions(s, SGI__ACT_PREPARE), 2);
    assert_int_equal(sim_evict(s, m, SGI_EVICT_ALL), SGI_OK);
    assert_int_equal(sim_vram_used(s) + sim_dram_used(s) + sim_view(s, m).prepared_bytes, 0);
    sim_free(s);
}

static void what_is_used_or_loading_is_not_evicted(void **state)
{
    (void)state;
    struct sim *s = with_dram(MIB(1000), MIB(500));
    sgi_model   m = model(s, 300);

    sim_hold(s, SGI__ACT_START_LOAD);
    sgi_ticket t = sim_ask(s, m, NULL);
    assert_int_equal(sim_evict(s, m, SGI_TIER_DISK), SGI_E_BUSY);
    sim_let_go(s, SGI__ACT_START_LOAD);
    assert_int_equal(sim_evict(s, m, SGI_TIER_DISK), SGI_E_BUSY);
    sim_release(s, sim_outcome(s, t).lease);
    assert_int_equal(sim_evict(s, m, SGI_TIER_DISK), SGI_OK);
    assert_int_equal(sim_vram_used(s) + sim_dram_used(s), 0);
    sim_free(s);
}

static void evict_is_stronger_than_a_pin(void **state)
{
    (void)state;
    struct sim *s = with_dram(MIB(1000), MIB(500));
    sgi_model   m = model(s, 300);

    sim_pin(s, m, SGI_TIER_DEVICE);
    use(s, m);
    sim_advance_ms(s, 1000);
    assert_int_equal(sim_vram_used(s), MIB(300));
    assert_int_equal(sim_evict(s, m, SGI_TIER_DISK), SGI_OK);
    assert_int_equal(sim_vram_used(s) + sim_dram_used(s), 0);
    sim_free(s);
}

static void an_evict_while_it_stops_is_not_forgotten(void **state)
{
    (void)state;
    struct sim *s = with_dram(MIB(1000), MIB(500));
    sgi_model   m = sim_model(s, &(struct sim_model){ .bytes = MIB(300), .engine = true, .idle_ms = 100 });

    sim_takes_ms(s, SGI__ACT_STOP_ENGINE, 50);
    use(s, m);
    sim_advance_ms(s, 110); /* on its way to DRAM */
    assert_int_equal(sim_evict(s, m, SGI_TIER_DISK), SGI_OK);
    sim_advance_ms(s, 100);
    assert_int_equal(sim_vram_used(s) + sim_dram_used(s), 0);
    sim_free(s);
}

/* ---- contexts ---- */

static void the_context_opens_beside_the_memory_and_lingers(void **state)
{
    (void)state;
    struct sim *s = sim_new(&(struct sim_config){ .seed = 7, .linger_ms = 500 });
    sgi_model   m = model(s, 300);

    assert_false(sim_context_open(s, 0));
    sim_hold(s, SGI__ACT_OPEN_CONTEXT);
    sgi_ticket t = sim_ask(s, m, NULL);
    assert_int_equal(sim_actions(s, SGI__ACT_RESERVE), 1);    /* beside it */
    assert_int_equal(sim_actions(s, SGI__ACT_START_LOAD), 0); /* not before it */
    sim_let_go(s, SGI__ACT_OPEN_CONTEXT);
    sim_release(s, sim_outcome(s, t).lease);
    sim_advance_ms(s, 100);
    assert_int_equal(sim_vram_used(s), 0);
    sim_advance_ms(s, 499);
    assert_true(sim_context_open(s, 0));
    sim_advance_ms(s, 1);
    assert_false(sim_context_open(s, 0));
    assert_true(sgi__core_wake_at(sim_core(s)) == SGI__NEVER);
    sim_free(s);
}

static void a_lingering_context_is_used_again(void **state)
{
    (void)state;
    struct sim *s = sim_new(&(struct sim_config){ .seed = 7, .linger_ms = 500 });
    sgi_model   m = model(s, 300);

    use_up(s, m);
    sim_advance_ms(s, 400);
    use_up(s, m);
    sim_advance_ms(s, 400); /* 500 after the first end: it began anew */
    assert_true(sim_context_open(s, 0));
    assert_int_equal(sim_actions(s, SGI__ACT_OPEN_CONTEXT), 1);
    sim_advance_ms(s, 100);
    assert_false(sim_context_open(s, 0));
    sim_free(s);
}

static void a_want_while_the_context_closes_opens_it_again(void **state)
{
    (void)state;
    struct sim *s = sim_new(&(struct sim_config){ .seed = 7, .linger_ms = 500 });
    sgi_model   m = model(s, 300);

    use_up(s, m);
    sim_takes_ms(s, SGI__ACT_CLOSE_CONTEXT, 50);
    sim_advance_ms(s, 510);
    sgi_ticket t = sim_ask(s, m, NULL);
    assert_int_equal(sim_actions(s, SGI__ACT_OPEN_CONTEXT), 1);
    sim_wait(s, t);
    assert_int_equal(sim_outcome(s, t).status, SGI_OK);
    assert_int_equal(sim_actions(s, SGI__ACT_OPEN_CONTEXT), 2);
    sim_free_releasing(s);
}

static void each_device_has_its_own_context(void **state)
{
    (void)state;
    struct sim *s = sim_new(&(struct sim_config){ .seed = 7, .devices_count = 2 });
    sgi_model   m = model(s, 300);

    sim_wait(s, sim_ask(s, m, &(struct sim_ask){ .device = 2 }));
    assert_true(!sim_context_open(s, 0) && sim_context_open(s, 1));
    sim_free_releasing(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_idle_model_stays_in_dram_and_comes_back_from_there),
        cmocka_unit_test(a_residence_does_not_need_its_files),
        cmocka_unit_test(the_least_recently_used_residence_leaves_first),
        cmocka_unit_test(what_does_not_fit_the_budget_is_freed),
        cmocka_unit_test(without_a_budget_nothing_is_kept),
        cmocka_unit_test(a_pinned_residence_is_not_dropped_for_another),
        cmocka_unit_test(a_pin_to_dram_reserves_its_room),
        cmocka_unit_test(pins_to_dram_fit_together_or_are_refused),
        cmocka_unit_test(a_failed_keep_counts_as_freed),
        cmocka_unit_test(bytes_that_never_all_came_are_not_kept),
        cmocka_unit_test(verified_bytes_are_kept_when_the_engine_fails),
        cmocka_unit_test(a_residence_that_was_refused_by_the_device_is_one_still),
        cmocka_unit_test(an_instance_waits_with_its_image_until_an_older_one_was_dropped),
        cmocka_unit_test(a_model_has_one_residence_at_a_time),
        cmocka_unit_test(a_prefetch_into_dram_touches_no_device),
        cmocka_unit_test(an_acquire_during_a_prefetch_into_dram_comes_after_it),
        cmocka_unit_test(a_nearer_tier_satisfies_a_prefetch_at_once),
        cmocka_unit_test(a_prefetch_to_the_device_sets_its_idle_timer),
        cmocka_unit_test(a_prefetch_that_idles_gives_way_at_once),
        cmocka_unit_test(a_prefetch_into_dram_is_refused_when_there_is_no_room),
        cmocka_unit_test(an_acquire_is_not_refused_because_a_prefetch_has_no_room),
        cmocka_unit_test(a_prefetch_that_cannot_be_kept_fails_and_is_not_tried_for_ever),
        cmocka_unit_test(evict_goes_as_far_as_it_is_told),
        cmocka_unit_test(what_is_used_or_loading_is_not_evicted),
        cmocka_unit_test(evict_is_stronger_than_a_pin),
        cmocka_unit_test(an_evict_while_it_stops_is_not_forgotten),
        cmocka_unit_test(the_context_opens_beside_the_memory_and_lingers),
        cmocka_unit_test(a_lingering_context_is_used_again),
        cmocka_unit_test(a_want_while_the_context_closes_opens_it_again),
        cmocka_unit_test(each_device_has_its_own_context),
    };
    return cmocka_run_group_tests_name("core_tiers", tests, NULL, NULL);
}
