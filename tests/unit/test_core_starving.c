/* SPDX-License-Identifier: Apache-2.0 */
/* The core: what is made room with for one that starves, and what becomes of that room. Who starves and what is kept
 * for it is in test_core_room.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sim/sim.h"

static sgi_model model(struct sim *s, uint64_t mib, uint32_t devices)
{
    return sim_model(s, &(struct sim_model){ .bytes = MIB(mib), .devices = devices });
}

static void takes(struct sim *s, sgi_model m, sgi_status expected)
{
    sgi_lease lease;
    assert_int_equal(sim_try_acquire(s, m, &lease), expected);
    if (expected == SGI_OK)
        sim_release(s, lease);
}

/* It waits for a loader only, which who comes from DRAM does not need. */
static void room_that_was_made_waits_for_a_loader(void **state)
{
    (void)state;
    struct sim *s = sim_new(&(struct sim_config){ .seed = 7,
                                                  .devices_count = 2,
                                                  .vram_bytes = MIB(1000),
                                                  .dram_bytes = MIB(2000),
                                                  .loads_max = 1,
                                                  .starve_ms = 100 });
    sgi_model   kept = model(s, 600, 2), a = model(s, 600, 1), b = model(s, 700, 2), slow = model(s, 50, 1);
    sgi_model   starves = model(s, 700, 0);

    sim_release(s, sim_acquire(s, kept));
    assert_int_equal(sim_evict(s, kept, SGI_TIER_DRAM), SGI_OK);
    sim_acquire(s, a);
    sgi_lease on_b = sim_acquire(s, b);
    sim_hold_of(s, SGI__ACT_START_LOAD, slow);
    sim_ask(s, slow, NULL);
    sgi_ticket first = sim_ask(s, starves, NULL); /* on device 0 it lacks less */
    sim_advance_ms(s, 100);
    sgi_ticket second = sim_ask(s, kept, NULL);
    sim_release(s, on_b);
    assert_int_equal(sim_device_used(s, 1), 0); /* there is room at once, and there it is for the first */
    assert_false(sim_outcome(s, second).ended);
    sim_let_go_of(s, SGI__ACT_START_LOAD, slow);
    assert_int_equal(sim_outcome(s, first).status, SGI_OK);
    assert_int_equal(sim_device_used(s, 1), MIB(700));
    sim_free_releasing(s);
}

/* Nothing is evicted for one more of a model that serves, before there is a loader for it. */
static void one_more_makes_no_room_without_a_loader(void **state)
{
    (void)state;
    struct sim *s = sim_new(&(struct sim_config){
        .seed = 7, .devices_count = 2, .vram_bytes = MIB(1000), .loads_max = 1, .starve_ms = 100 });
    sgi_model   m = sim_model(s, &(struct sim_model){ .bytes = MIB(600), .instances = 2, .leases_max = 1 });
    sgi_model   idle = model(s, 700, 2), slow = model(s, 50, 1);

    sim_release(s, sim_acquire(s, idle));
    sim_acquire(s, m);
    sim_hold_of(s, SGI__ACT_START_LOAD, slow);
    sim_ask(s, slow, NULL);
    sgi_ticket t = sim_ask(s, m, NULL);
    sim_advance_ms(s, 200);
    assert_int_equal(sim_device_used(s, 1), MIB(700));
    sim_let_go_of(s, SGI__ACT_START_LOAD, slow);
    assert_int_equal(sim_wait(s, t).status, SGI_OK);
    assert_int_equal(sim_device_used(s, 1), MIB(600));
    sim_free_releasing(s);
}

/* What goes for another reason counts among those that let go: nobody has to in its place. */
static void who_lets_go_is_not_replaced_when_it_is_drained(void **state)
{
    (void)state;
    struct sim *s = sim_new(&(struct sim_config){ .seed = 7, .vram_bytes = MIB(1000), .starve_ms = 100 });
    sgi_model   models[3] = { model(s, 300, 0), model(s, 200, 0), model(s, 400, 0) };
    sgi_model   starves = model(s, 500, 0);
    sgi_lease   leases[3];

    for (int n = 0; n < 3; n++) {
        leases[n] = sim_acquire(s, models[n]);
        sim_advance_ms(s, 1);
    }
    sgi_ticket t = sim_ask(s, starves, NULL);
    sim_advance_ms(s, 100);
    takes(s, models[0], SGI_E_WOULD_BLOCK); /* used longest ago, and together enough */
    takes(s, models[1], SGI_E_WOULD_BLOCK);
    takes(s, models[2], SGI_OK);
    sim_drain_model(s, models[1], SGI_E_STALE);
    takes(s, models[2], SGI_OK);
    takes(s, models[0], SGI_E_WOULD_BLOCK);
    sim_release(s, leases[0]);
    assert_false(sim_outcome(s, t).ended);
    sim_release(s, leases[1]);
    assert_int_equal(sim_wait(s, t).status, SGI_OK);
    sim_free_releasing(s);
}

/* Nor do those that were chosen change places with what is drained later. */
static void who_was_chosen_stays_so_when_another_is_drained(void **state)
{
    (void)state;
    struct sim *s = sim_new(&(struct sim_config){ .seed = 7, .vram_bytes = MIB(1000), .starve_ms = 100 });
    sgi_model   first = model(s, 500, 0), other = model(s, 500, 0), starves = model(s, 500, 0);

    sgi_lease lease = sim_acquire(s, first), early = sim_acquire(s, first);
    sim_advance_ms(s, 1);
    sim_acquire(s, other);
    sgi_ticket t = sim_ask(s, starves, NULL);
    sim_advance_ms(s, 100);
    takes(s, first, SGI_E_WOULD_BLOCK);
    sim_release(s, early); /* now the other is the one that was used longest ago */
    sim_drain_model(s, other, SGI_E_STALE);
    takes(s, first, SGI_E_WOULD_BLOCK);
    sim_release(s, lease);
    assert_int_equal(sim_wait(s, t).status, SGI_OK);
    sim_free_releasing(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(room_that_was_made_waits_for_a_loader),
        cmocka_unit_test(one_more_makes_no_room_without_a_loader),
        cmocka_unit_test(who_lets_go_is_not_replaced_when_it_is_drained),
        cmocka_unit_test(who_was_chosen_stays_so_when_another_is_drained),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
