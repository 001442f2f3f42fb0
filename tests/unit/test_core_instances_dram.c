/* SPDX-License-Identifier: Apache-2.0 */
/* The core: several instances of a model, and the one copy of it in DRAM. Each test runs the simulator's rules after
 * every event beside what it says itself. */
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

static void a_residence_is_lent_to_one_and_one_is_kept(void **state)
{
    (void)state;
    struct sim *s = devices(2);
    sgi_model   m = some_model(s, 2);
    sgi_lease   two[2];

    sim_wait(s, sim_ask(s, m, &(struct sim_ask){ .prefetch = true, .tier = SGI_TIER_DRAM }));
    sim_advance_ms(s, 10);
    sim_takes_ms(s, SGI__ACT_KEEP, 50);
    sim_takes_ms(s, SGI__ACT_FREE, 10); /* it ends while the other one is being kept */
    sgi_ticket first = sim_ask(s, m, NULL), second = sim_ask(s, m, NULL);
    sim_wait(s, second);
    two[0] = on_device(s, first, 0);
    two[1] = on_device(s, second, 1);
    assert_int_equal(sim_outcome(s, first).tier, SGI_TIER_DRAM);
    assert_int_equal(sim_outcome(s, second).tier, SGI_TIER_DISK);
    assert_int_equal(sim_dram_used(s), 0);
    sim_release(s, two[0]);
    sim_release(s, two[1]);
    assert_int_equal(sim_evict(s, m, SGI_TIER_DRAM), SGI_OK);
    sim_advance_ms(s, 20);
    assert_int_equal(sim_vram_used(s), 0);
    assert_int_equal(sim_dram_used(s), MIB(300));
    sim_advance_ms(s, 40);
    assert_int_equal(sim_model_dram(s, m), MIB(300));
    assert_int_equal(sim_actions(s, SGI__ACT_KEEP), 2);
    assert_int_equal(sim_actions(s, SGI__ACT_FREE), 1);
    assert_int_equal(sim_evict(s, m, SGI_TIER_DISK), SGI_OK);
    assert_int_equal(sim_dram_used(s), 0);
    sim_free(s);
}

static void the_one_that_borrowed_gives_back_after_another_has_ended(void **state)
{
    (void)state;
    struct sim *s = devices(2);
    sgi_model   m = some_model(s, 2);

    sim_wait(s, sim_ask(s, m, &(struct sim_ask){ .prefetch = true, .tier = SGI_TIER_DRAM }));
    sim_advance_ms(s, 10);
    sgi_ticket first = sim_ask(s, m, NULL), second = sim_ask(s, m, NULL);
    sim_wait(s, second);
    sim_release(s, sim_outcome(s, second).lease);
    sim_advance_ms(s, 1000); /* from disk: it may not be a second residence */
    assert_int_equal(sim_dram_used(s), 0);
    assert_int_equal(sim_device_used(s, 1), 0);
    sim_release(s, sim_outcome(s, first).lease);
    sim_advance_ms(s, 1000);
    assert_int_equal(sim_model_dram(s, m), MIB(300));
    sim_free(s);
}

static void a_start_waits_for_what_is_about_to_be_in_dram(void **state)
{
    (void)state;
    struct sim *s = devices(2);
    sgi_model   m = some_model(s, 2);

    sim_takes_ms(s, SGI__ACT_KEEP, 50);
    sim_release(s, sim_wait(s, sim_ask(s, m, &(struct sim_ask){ .idle_ms = SIM_IDLE_NOW })).lease);
    sgi_ticket next = sim_ask(s, m, NULL);
    sim_takes_ms(s, SGI__ACT_START_LOAD, 1);
    sim_advance_ms(s, 51);
    assert_int_equal(sim_outcome(s, next).tier, SGI_TIER_DRAM);
    sim_release(s, sim_outcome(s, next).lease);
    assert_int_equal(sim_actions(s, SGI__ACT_CHECK_SOURCE), 1);
    sim_free(s);
}

static void a_loan_ends_with_the_device_it_is_on(void **state)
{
    (void)state;
    struct sim *s = devices(2);
    sgi_model   m = some_model(s, 2);

    sim_wait(s, sim_ask(s, m, &(struct sim_ask){ .prefetch = true, .tier = SGI_TIER_DRAM }));
    sim_advance_ms(s, 10);
    sgi_lease lost = sim_acquire(s, m);
    sim_lose_device(s, 0);
    sgi_ticket t = sim_ask(s, m, &(struct sim_ask){ .prefetch = true, .tier = SGI_TIER_DRAM });
    sim_advance_ms(s, 101);
    assert_int_equal(sim_outcome(s, t).status, SGI_OK);
    assert_int_equal(sim_model_dram(s, m), MIB(300));
    assert_int_equal(sim_actions(s, SGI__ACT_START_LOAD), 3); /* and was read once for it */
    sim_release(s, lost);
    assert_int_equal(sim_model_dram(s, m), MIB(300));
    sim_free(s);
}

static void a_start_waits_for_an_engine_that_stops_before_its_image_is_kept(void **state)
{
    (void)state;
    struct sim *s = devices(2);
    sgi_model   m = sim_model(s, &(struct sim_model){ .bytes = MIB(300), .engine = true, .instances = 2 });

    sim_takes_ms(s, SGI__ACT_STOP_ENGINE, 50);
    sim_release(s, sim_wait(s, sim_ask(s, m, &(struct sim_ask){ .idle_ms = SIM_IDLE_NOW })).lease);
    sgi_ticket next = sim_ask(s, m, NULL);
    sim_advance_ms(s, 151);
    assert_int_equal(sim_outcome(s, next).tier, SGI_TIER_DRAM);
    sim_release(s, sim_outcome(s, next).lease);
    sim_free(s);
}

static void a_start_waits_for_nothing_that_dram_cannot_hold(void **state)
{
    (void)state;
    struct sim *s = sim_new(
        &(struct sim_config){ .seed = 7, .devices_count = 2, .vram_bytes = MIB(512), .dram_bytes = MIB(299) });
    sgi_model m = sim_model(s, &(struct sim_model){ .bytes = MIB(300), .engine = true, .instances = 2 });

    sim_takes_ms(s, SGI__ACT_START_LOAD, 100);
    sim_takes_ms(s, SGI__ACT_STOP_ENGINE, 500);
    sim_release(s, sim_wait(s, sim_ask(s, m, &(struct sim_ask){ .idle_ms = SIM_IDLE_NOW })).lease);
    sgi_ticket next = sim_ask(s, m, NULL);
    sim_advance_ms(s, 101); /* the first one stops still */
    sim_release(s, on_device(s, next, 1));
    sim_free(s);
}

static void one_that_queues_takes_what_another_has_left_in_dram(void **state)
{
    (void)state;
    struct sim *s = devices(2);
    sgi_model   m = some_model(s, 2), other = some_model(s, 1), starving = some_model(s, 1);
    sgi_lease   lease = sim_acquire(s, m), used = sim_acquire(s, other);
    sgi_ticket  first = sim_ask(s, starving, NULL), next = sim_ask(s, m, NULL);

    sim_advance_ms(s, 6000);
    assert_int_equal(sim_view(s, m).instances, 2); /* one queues, for disk, since there was no other way */
    sim_release(s, lease);                         /* and this one yields */
    sim_advance_ms(s, 101);
    sim_release(s, sim_outcome(s, first).lease);
    sim_release(s, used);
    sim_wait(s, next);
    assert_int_equal(sim_outcome(s, next).tier, SGI_TIER_DRAM);
    sim_release(s, sim_outcome(s, next).lease);
    sim_free(s);
}

static void a_loan_ends_when_the_one_that_has_it_hangs(void **state)
{
    (void)state;
    struct sim_model one_each = { .bytes = MIB(300), .engine = true, .instances = 2, .hang_ms = 500 };
    struct sim      *s = devices(2);
    sgi_model        m = sim_model(s, &one_each);
    struct sim_ask   to_dram = { .prefetch = true, .tier = SGI_TIER_DRAM };

    sim_wait(s, sim_ask(s, m, &to_dram));
    sim_advance_ms(s, 10);
    sim_hold(s, SGI__ACT_START_ENGINE);
    assert_int_equal(sim_acquire_status(s, m), SGI_E_WEDGED);
    sgi_ticket t = sim_ask(s, m, &to_dram);
    sim_advance_ms(s, 101);
    assert_int_equal(sim_outcome(s, t).status, SGI_OK);
    assert_int_equal(sim_actions(s, SGI__ACT_START_LOAD), 3);
    sim_let_go(s, SGI__ACT_START_ENGINE);
    assert_int_equal(sim_model_dram(s, m), MIB(300));
    sim_free(s);
}

static void a_fill_waits_for_the_one_before_to_be_gone(void **state)
{
    (void)state;
    struct sim    *s = devices(2);
    sgi_model      m = some_model(s, 2);
    struct sim_ask to_dram = { .prefetch = true, .tier = SGI_TIER_DRAM };

    sim_takes_ms(s, SGI__ACT_FREE, 50);
    sim_fail(s, SGI__ACT_START_LOAD, SGI_E_IO, SGI_STEP_READ, 1);
    assert_int_equal(sim_wait(s, sim_ask(s, m, &to_dram)).status, SGI_E_IO);
    sgi_ticket again = sim_ask(s, m, &to_dram);
    sim_advance_ms(s, 49);
    assert_int_equal(sim_actions(s, SGI__ACT_RESERVE), 1);
    sim_advance_ms(s, 1);
    assert_int_equal(sim_actions(s, SGI__ACT_RESERVE), 2);
    assert_int_equal(sim_wait(s, again).status, SGI_OK);
    sim_free(s);
}

/* Nobody waits for the fill any more, but for an instance that queues behind it. Its failure is told to them, and the
 * instance must not be left for nobody. */
static void a_fill_that_is_not_kept_leaves_nobody_queued(void **state)
{
    (void)state;
    struct sim *s = devices(2);
    sgi_model   m = sim_model(s,
                              &(struct sim_model){
                                  .bytes = MIB(300), .engine = true, .prefix = true, .instances = 2, .idle_ms = 1000 });

    sim_hold(s, SGI__ACT_FILL_PREFIX);
    sgi_ticket fill = sim_ask(s, m, &(struct sim_ask){ .prefetch = true, .tier = SGI_TIER_DRAM });
    sim_advance_ms(s, 100);
    sim_cancel(s, fill);
    sim_hold(s, SGI__ACT_CHECK_SOURCE);
    sgi_ticket queued = sim_ask(s, m, NULL);
    assert_int_equal(sim_view(s, m).instances, 2);
    sim_fail(s, SGI__ACT_KEEP, SGI_E_NO_MEMORY, SGI_STEP_MEMORY, 1);
    sim_let_go(s, SGI__ACT_FILL_PREFIX);
    assert_int_equal(sim_outcome(s, queued).status, SGI_E_NO_MEMORY);
    assert_int_equal(sim_view(s, m).instances, 0);
    sim_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_residence_is_lent_to_one_and_one_is_kept),
        cmocka_unit_test(the_one_that_borrowed_gives_back_after_another_has_ended),
        cmocka_unit_test(a_start_waits_for_what_is_about_to_be_in_dram),
        cmocka_unit_test(a_loan_ends_with_the_device_it_is_on),
        cmocka_unit_test(a_start_waits_for_an_engine_that_stops_before_its_image_is_kept),
        cmocka_unit_test(a_start_waits_for_nothing_that_dram_cannot_hold),
        cmocka_unit_test(one_that_queues_takes_what_another_has_left_in_dram),
        cmocka_unit_test(a_loan_ends_when_the_one_that_has_it_hangs),
        cmocka_unit_test(a_fill_waits_for_the_one_before_to_be_gone),
        cmocka_unit_test(a_fill_that_is_not_kept_leaves_nobody_queued),
    };
    return cmocka_run_group_tests_name("core_instances_dram", tests, NULL, NULL);
}
