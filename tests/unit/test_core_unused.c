/* SPDX-License-Identifier: Apache-2.0 */
/* The core: what becomes free is given to who waits for it in that same moment, and to nobody else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sim/sim.h"

static sgi_model model(struct sim *s, uint64_t mib)
{
    return sim_model(s, &(struct sim_model){ .bytes = MIB(mib) });
}

static void a_loader_is_free_when_the_bytes_are_there_and_the_engine_is_not(void **state)
{
    (void)state;
    struct sim *s = sim_new(&(struct sim_config){ .seed = 7, .vram_bytes = MIB(1000), .loads_max = 1 });
    sgi_model   first = sim_model(s, &(struct sim_model){ .bytes = MIB(300), .engine = true });
    sgi_model   second = model(s, 300);

    sim_hold(s, SGI__ACT_START_LOAD);
    sim_hold(s, SGI__ACT_START_ENGINE);
    sim_ask(s, first, NULL);
    sgi_ticket waits = sim_ask(s, second, NULL);
    assert_int_equal(sim_actions_of(s, SGI__ACT_RESERVE, second), 0);
    sim_let_go_of(s, SGI__ACT_START_LOAD, first);
    sim_let_go(s, SGI__ACT_START_LOAD);
    assert_int_equal(sim_actions_of(s, SGI__ACT_RESERVE, second), 1);
    assert_int_equal(sim_outcome(s, waits).status, SGI_OK);
    assert_int_equal(sim_view(s, first).state, SGI_MODEL_LOADING);
    sim_free_releasing(s);
}

/* Its image is the same memory before and after, and charged to DRAM from when it is decided on. */
static void what_is_kept_leaves_its_device_before_it_is_a_residence(void **state)
{
    (void)state;
    struct sim *s = sim_new(&(struct sim_config){ .seed = 7, .vram_bytes = MIB(1000), .dram_bytes = GIB(1) });
    sgi_model   idle = sim_model(s, &(struct sim_model){ .bytes = MIB(700), .engine = true });
    sgi_model   next = model(s, 700);

    sim_release(s, sim_acquire(s, idle));
    sim_hold(s, SGI__ACT_KEEP);
    sgi_ticket waits = sim_ask(s, next, NULL);
    assert_int_equal(sim_actions_of(s, SGI__ACT_KEEP, idle), 1);
    assert_int_equal(sim_actions_of(s, SGI__ACT_RESERVE, next), 1);
    assert_int_equal(sim_outcome(s, waits).status, SGI_OK);
    assert_int_equal(sim_view(s, idle).state, SGI_MODEL_STOPPING);
    sim_free_releasing(s);
}

/* Both neighbours have to go. The image of the first moves to DRAM at once: it makes room once, not twice. */
static void what_is_kept_makes_room_once_for_one_that_starves(void **state)
{
    (void)state;
    struct sim *s = sim_new(
        &(struct sim_config){ .seed = 7, .vram_bytes = MIB(1000), .dram_bytes = GIB(1), .starve_ms = 1000 });
    sgi_model  first = model(s, 400), second = model(s, 400), large = model(s, 900);
    sgi_lease  on_first = sim_acquire(s, first), on_second = sim_acquire(s, second);
    sgi_ticket starves = sim_ask(s, large, NULL);

    sim_advance_ms(s, 1000);
    sgi_ticket passes = sim_ask(s, second, NULL);
    assert_false(sim_outcome(s, passes).ended);
    sim_release(s, on_first);
    assert_int_equal(sim_actions_of(s, SGI__ACT_KEEP, first), 1);
    assert_false(sim_outcome(s, passes).ended);
    sim_release(s, on_second);
    assert_int_equal(sim_outcome(s, starves).status, SGI_OK);
    sim_free_releasing(s);
}

/* While a device is kept for one that starves, another one waits elsewhere. The first has its room, and there is room
 * beside it. */
static void who_waits_elsewhere_comes_beside_one_that_starved(void **state)
{
    (void)state;
    struct sim *s = sim_new(&(struct sim_config){
        .seed = 7, .devices_count = 2, .device_bytes = { MIB(1000), MIB(2000) }, .starve_ms = 1000 });
    sgi_model   on_small = model(s, 900), on_large = model(s, 1500), first = model(s, 1100), second = model(s, 800);
    sgi_lease   large = sim_acquire(s, on_large), small = sim_acquire(s, on_small);

    sim_hold_of(s, SGI__ACT_FREE, on_small);
    sgi_ticket one = sim_ask(s, first, NULL), other = sim_ask(s, second, NULL);
    sim_advance_ms(s, 1000);
    sim_release(s, small); /* leaves for the second, and does not come to its end */
    assert_int_equal(sim_actions_of(s, SGI__ACT_FREE, on_small), 1);
    assert_false(sim_outcome(s, one).ended || sim_outcome(s, other).ended);
    sim_hold(s, SGI__ACT_RESERVE); /* or whatever happens next would have it looked at again */
    sim_release(s, large);
    assert_int_equal(sim_actions_of(s, SGI__ACT_RESERVE, first), 1);
    assert_int_equal(sim_actions_of(s, SGI__ACT_RESERVE, second), 1);
    assert_true(sim_on_device(s, first, 1) && sim_on_device(s, second, 1));
    sim_free_releasing(s);
}

/* It comes up while its device is kept, and serves those it was brought up for. Nobody else is to pass the one that
 * starves, whether anything has happened meanwhile or not. */
static void what_has_served_its_own_gives_no_more_leases_beside_one_that_starves(void **state)
{
    (void)state;
    struct sim *s = sim_new(&(struct sim_config){ .seed = 7, .vram_bytes = MIB(1000), .starve_ms = 1000 });
    sgi_model   up = model(s, 500), large = model(s, 900);
    sgi_lease   more = 0;

    sim_hold_of(s, SGI__ACT_START_LOAD, up);
    sgi_ticket own = sim_ask(s, up, NULL), starves = sim_ask(s, large, NULL);
    sim_advance_ms(s, 1000);
    sim_let_go_of(s, SGI__ACT_START_LOAD, up);
    assert_int_equal(sim_outcome(s, own).status, SGI_OK);
    assert_int_equal(sim_try_acquire(s, up, &more), SGI_E_WOULD_BLOCK);
    sim_release(s, sim_outcome(s, own).lease);
    assert_int_equal(sim_outcome(s, starves).status, SGI_OK);
    sim_free_releasing(s);
}

/* It waited for a loader as long as that was what it lacked, and starves by the time that room is. */
static void who_starved_for_a_loader_is_not_passed_when_it_lacks_room(void **state)
{
    (void)state;
    struct sim *s = sim_new(
        &(struct sim_config){ .seed = 7, .vram_bytes = MIB(1000), .starve_ms = 1000, .loads_max = 1 });
    sgi_model up = model(s, 500), large = model(s, 900);
    sgi_lease more = 0;

    sim_hold_of(s, SGI__ACT_START_LOAD, up);
    sgi_ticket own = sim_ask(s, up, NULL), starves = sim_ask(s, large, NULL);
    sim_advance_ms(s, 1000);
    sim_let_go_of(s, SGI__ACT_START_LOAD, up);
    assert_int_equal(sim_outcome(s, own).status, SGI_OK);
    assert_int_equal(sim_try_acquire(s, up, &more), SGI_E_WOULD_BLOCK);
    sim_release(s, sim_outcome(s, own).lease);
    assert_int_equal(sim_outcome(s, starves).status, SGI_OK);
    sim_free_releasing(s);
}

/* A prefetch into DRAM takes no device: its wait is not the wait of who asked for one after it. */
static void who_starves_counts_from_when_a_device_was_asked_for(void **state)
{
    (void)state;
    struct sim *s = sim_new(
        &(struct sim_config){ .seed = 7, .vram_bytes = MIB(1000), .dram_bytes = GIB(1), .starve_ms = 1000 });
    sgi_model holder = model(s, 500), large = model(s, 900);
    sgi_lease held = sim_acquire(s, holder), more = 0;

    sim_hold_of(s, SGI__ACT_CHECK_SOURCE, large);
    sim_ask(s, large, &(struct sim_ask){ .prefetch = true, .tier = SGI_TIER_DRAM });
    sim_advance_ms(s, 500);
    sgi_ticket starves = sim_ask(s, large, NULL);
    sim_let_go_of(s, SGI__ACT_CHECK_SOURCE, large);
    sim_advance_ms(s, 999);
    assert_int_equal(sim_try_acquire(s, holder, &more), SGI_OK);
    sim_release(s, more);
    sim_advance_ms(s, 1);
    assert_int_equal(sim_try_acquire(s, holder, &more), SGI_E_WOULD_BLOCK);
    sim_release(s, held);
    assert_int_equal(sim_outcome(s, starves).status, SGI_OK);
    sim_free_releasing(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_loader_is_free_when_the_bytes_are_there_and_the_engine_is_not),
        cmocka_unit_test(what_is_kept_leaves_its_device_before_it_is_a_residence),
        cmocka_unit_test(what_is_kept_makes_room_once_for_one_that_starves),
        cmocka_unit_test(what_has_served_its_own_gives_no_more_leases_beside_one_that_starves),
        cmocka_unit_test(who_starved_for_a_loader_is_not_passed_when_it_lacks_room),
        cmocka_unit_test(who_starves_counts_from_when_a_device_was_asked_for),
        cmocka_unit_test(who_waits_elsewhere_comes_beside_one_that_starved),
    };
    return cmocka_run_group_tests_name("core_unused", tests, NULL, NULL);
}
