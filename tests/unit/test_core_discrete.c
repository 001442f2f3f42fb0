/* SPDX-License-Identifier: Apache-2.0 */
/* The core: devices with memory of their own. What an image takes there, the copy that a load leaves in DRAM, and
 * starts that read it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sim/sim.h"

enum { HOST = 1, GPU = 2 }; /* hints in mixed() */

static struct sim *with_gpu(uint64_t device_mib, uint64_t dram_mib)
{
    return sim_new(&(struct sim_config){
        .seed = 7, .discrete = true, .vram_bytes = MIB(device_mib), .dram_bytes = MIB(dram_mib) });
}

/* A host device and one with memory of its own. */
static struct sim *mixed(uint64_t device_mib, uint64_t dram_mib)
{
    return sim_new(&(struct sim_config){ .seed = 7,
                                         .devices_count = 2,
                                         .discrete_devices = 2,
                                         .vram_bytes = MIB(device_mib),
                                         .dram_bytes = MIB(dram_mib) });
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

static sgi_lease acquire_on(struct sim *s, sgi_model m, uint32_t device)
{
    struct sim_outcome o = sim_wait(s, sim_ask(s, m, &(struct sim_ask){ .device = device }));
    assert_int_equal(o.status, SGI_OK);
    return o.lease;
}

static uint32_t tier_of(struct sim *s, sgi_model m)
{
    struct sim_outcome o = sim_wait(s, sim_ask(s, m, NULL));
    assert_int_equal(o.status, SGI_OK);
    sim_release(s, o.lease);
    return o.tier;
}

/* ---- what it takes ---- */

static void an_image_takes_what_it_takes_on_its_device(void **state)
{
    (void)state;
    struct sim               *s = mixed(1000, 1000);
    sgi_model                 m = sim_model(s, &(struct sim_model){ .bytes = MIB(300),
                                                                    .device_bytes = MIB(400),
                                                                    .engine = true,
                                                                    .engine_bytes = MIB(50),
                                                                    .idle_ms = 100 });
    struct sgi__core_estimate e;

    assert_int_equal(sgi__core_estimate(sim_core(s), sim_now(s), m, 1, &e, NULL, 0), SGI_OK);
    assert_int_equal(e.bytes, MIB(450));
    sgi_lease lease = acquire_on(s, m, GPU);
    assert_int_equal(sim_device_used(s, 1), MIB(450));
    assert_int_equal(sim_view(s, m).device_bytes, MIB(450));
    assert_int_equal(sim_view(s, m).dram_bytes, MIB(300)); /* beside it */
    assert_int_equal(sim_view(s, m).tier, SGI_TIER_DEVICE);
    sim_release(s, lease);
    sim_advance_ms(s, 100);
    assert_int_equal(sgi__core_estimate(sim_core(s), sim_now(s), m, 0, &e, NULL, 0), SGI_OK);
    assert_int_equal(e.bytes, MIB(350));
    lease = acquire_on(s, m, HOST);
    assert_int_equal(sim_device_used(s, 0), MIB(350));
    sim_release(s, lease);
    sim_free(s);
}

static void what_fits_in_host_memory_may_not_fit_on_the_device(void **state)
{
    (void)state;
    struct sim *s = mixed(500, 0);
    sgi_model   m = sim_model(s, &(struct sim_model){ .bytes = MIB(400), .device_bytes = MIB(600), .idle_ms = 100 });
    sgi_model   gpu = sim_model(s, &(struct sim_model){
                                       .bytes = MIB(400), .device_bytes = MIB(600), .devices = 2, .idle_ms = 100 });
    sgi_lease   lease = acquire_on(s, m, GPU);

    assert_int_equal(sim_device_used(s, 0), MIB(400));
    assert_int_equal(sim_acquire_status(s, gpu), SGI_E_NO_ROOM);
    sim_release(s, lease);
    sim_free(s);
}

/* ---- the copy ---- */

static void a_load_leaves_a_copy_from_which_the_next_start_comes(void **state)
{
    (void)state;
    struct sim *s = with_gpu(1000, 500);
    sgi_model   m = model(s, 300);

    sim_hold(s, SGI__ACT_START_LOAD);
    sgi_ticket t = sim_ask(s, m, NULL);
    assert_int_equal(sim_kept(s), 1);
    assert_int_equal(sim_dram_used(s), MIB(300)); /* charged while it fills, */
    assert_false(sim_in_dram(s, m));              /* and of no use yet */
    sim_let_go(s, SGI__ACT_START_LOAD);
    assert_true(sim_in_dram(s, m));
    sim_release(s, sim_outcome(s, t).lease);
    sim_advance_ms(s, 100);
    assert_int_equal(sim_vram_used(s), 0);
    assert_int_equal(sim_view(s, m).tier, SGI_TIER_DRAM);

    assert_int_equal(tier_of(s, m), SGI_TIER_DRAM);
    assert_int_equal(sim_vram_used(s), MIB(300)); /* both at once: it is read where it is */
    assert_int_equal(sim_dram_used(s), MIB(300));
    sim_advance_ms(s, 100);
    assert_int_equal(sim_dram_used(s), MIB(300));
    assert_int_equal(sim_actions(s, SGI__ACT_CHECK_SOURCE), 1);
    assert_int_equal(sim_actions(s, SGI__ACT_KEEP), 0);
    assert_int_equal(sim_actions(s, SGI__ACT_FREE), 2);
    assert_int_equal(sim_kept(s), 1);
    sim_free(s);
}

static void without_host_memory_for_it_there_is_no_copy(void **state)
{
    (void)state;
    struct sim *s = with_gpu(1000, 500);
    sgi_model   m = model(s, 300);

    sim_no_copies(s, true);
    use_up(s, m);
    assert_int_equal(sim_kept(s), 1);
    assert_int_equal(sim_dram_used(s), 0);
    sim_no_copies(s, false);
    assert_int_equal(tier_of(s, m), SGI_TIER_DISK);
    assert_true(sim_in_dram(s, m));
    sim_free(s);
}

static void without_a_budget_nothing_is_kept(void **state)
{
    (void)state;
    struct sim *s = with_gpu(1000, 0);
    use_up(s, model(s, 300));
    assert_int_equal(sim_kept(s), 0);
    sim_free(s);
}

static void a_load_that_fails_or_is_canceled_leaves_none(void **state)
{
    (void)state;
    struct sim *s = with_gpu(1000, 500);
    sgi_model   m = model(s, 300);

    sim_fail(s, SGI__ACT_START_LOAD, SGI_E_CHECK, SGI_STEP_VERIFY, 1);
    assert_int_equal(sim_acquire_status(s, m), SGI_E_CHECK);
    assert_int_equal(sim_dram_used(s), 0);
    sim_takes_ms(s, SGI__ACT_START_LOAD, 50);
    sim_takes_ms(s, SGI__ACT_CANCEL_LOAD, 5);
    sgi_ticket t = sim_ask(s, m, NULL);
    sim_advance_ms(s, 10);
    sim_cancel(s, t);
    assert_int_equal(sim_dram_used(s), MIB(300)); /* it is written to until the load has ended */
    sim_advance_ms(s, 5);
    assert_int_equal(sim_dram_used(s), 0);
    sim_free(s);
}

static void a_copy_needs_the_engines_part(void **state)
{
    (void)state;
    struct sim *s = with_gpu(1000, 500);
    sgi_model   m = sim_model(s,
                              &(struct sim_model){ .bytes = MIB(300), .idle_ms = 100, .engine = true, .prefix = true });

    sim_takes_ms(s, SGI__ACT_FILL_PREFIX, 20);
    sim_fail(s, SGI__ACT_FILL_PREFIX, SGI_E_ENGINE, SGI_STEP_PREFIX, 1);
    sgi_ticket t = sim_ask(s, m, NULL);
    assert_false(sim_in_dram(s, m)); /* every byte of the files is there */
    assert_int_equal(sim_dram_used(s), MIB(300));
    assert_int_equal(sim_wait(s, t).status, SGI_E_ENGINE);
    assert_int_equal(sim_actions(s, SGI__ACT_DROP), 1);
    assert_int_equal(sim_dram_used(s), 0);
    assert_int_equal(tier_of(s, m), SGI_TIER_DISK);
    assert_true(sim_in_dram(s, m));
    sim_free(s);
}

static void a_prefix_that_hangs_keeps_the_room_of_the_copy(void **state)
{
    (void)state;
    static const struct sim_model slow = {
        .bytes = MIB(300), .idle_ms = 100, .engine = true, .prefix = true, .hang_ms = 50
    };
    struct sim *s = with_gpu(1000, 500);
    sgi_model   m = sim_model(s, &slow);

    sim_hold(s, SGI__ACT_FILL_PREFIX);
    sgi_ticket t = sim_ask(s, m, NULL);
    sim_advance_ms(s, 50);
    assert_int_equal(sim_outcome(s, t).status, SGI_E_WEDGED);
    assert_int_equal(sim_dram_used(s), MIB(300));
    sgi_ticket fill = sim_ask(s, m, &(struct sim_ask){ .prefetch = true, .tier = SGI_TIER_DRAM });
    assert_int_equal(sim_wait(s, fill).status, SGI_E_WEDGED); /* there is one on its way, for ever */
    sim_let_go(s, SGI__ACT_FILL_PREFIX);
    assert_true(sim_in_dram(s, m));
    assert_int_equal(tier_of(s, m), SGI_TIER_DRAM);
    sim_free(s);
}

/* ---- room for it ---- */

static void a_load_waits_until_there_is_room_for_its_copy(void **state)
{
    (void)state;
    struct sim *s = with_gpu(1000, 500);
    sgi_model   a = model(s, 300), b = model(s, 400);

    use_up(s, a);
    sim_hold(s, SGI__ACT_RESERVE);
    sim_hold(s, SGI__ACT_DROP);
    sgi_ticket t = sim_ask(s, b, NULL);
    assert_int_equal(sim_actions(s, SGI__ACT_DROP), 1); /* beside memory and context */
    sim_let_go(s, SGI__ACT_RESERVE);
    assert_int_equal(sim_actions_of(s, SGI__ACT_START_LOAD, b), 0);
    sim_let_go(s, SGI__ACT_DROP);
    assert_int_equal(sim_outcome(s, t).status, SGI_OK);
    assert_int_equal(sim_kept(s), 2);
    assert_true(sim_in_dram(s, b));
    sim_free_releasing(s);
}

static void who_waits_for_room_for_its_copy_may_be_canceled(void **state)
{
    (void)state;
    struct sim *s = with_gpu(1000, 500);
    sgi_model   a = model(s, 300), b = model(s, 400);

    use_up(s, a);
    sim_hold(s, SGI__ACT_DROP);
    sgi_ticket t = sim_ask(s, b, NULL);
    sim_cancel(s, t);
    assert_int_equal(sim_vram_used(s), 0);
    sim_let_go(s, SGI__ACT_DROP);
    assert_int_equal(sim_actions_of(s, SGI__ACT_START_LOAD, b), 0);
    assert_int_equal(sim_dram_used(s), 0);
    sim_free(s);
}

static void where_there_is_no_room_it_loads_without(void **state)
{
    (void)state;
    struct sim *s = with_gpu(2000, 500);
    sgi_model   a = model(s, 300), b = model(s, 400), c = model(s, 600);

    use_up(s, a);
    assert_int_equal(sim_pin(s, a, SGI_TIER_DRAM), SGI_OK);
    assert_int_equal(tier_of(s, b), SGI_TIER_DISK); /* beside what is pinned */
    assert_int_equal(tier_of(s, c), SGI_TIER_DISK); /* in the whole of it */
    assert_int_equal(sim_kept(s), 1);
    assert_int_equal(sim_actions(s, SGI__ACT_DROP), 0);
    sim_free(s);
}

static void what_is_pinned_to_dram_has_room_for_its_copy(void **state)
{
    (void)state;
    struct sim *s = with_gpu(2000, 500);
    sgi_model   a = model(s, 200), b = model(s, 300), c = model(s, 250);

    assert_int_equal(sim_pin(s, a, SGI_TIER_DRAM), SGI_OK);
    use_up(s, b);
    assert_true(sim_in_dram(s, b));
    use_up(s, c); /* in the place of b: what is reserved stays so */
    assert_false(sim_in_dram(s, b));
    use_up(s, a);
    assert_true(sim_in_dram(s, a) && sim_in_dram(s, c));
    assert_int_equal(sim_evict(s, a, SGI_TIER_DISK), SGI_OK);
    assert_int_equal(tier_of(s, a), SGI_TIER_DISK);
    assert_true(sim_in_dram(s, a));
    sim_free(s);
}

static void a_copy_that_fills_is_not_dropped(void **state)
{
    (void)state;
    struct sim *s = with_gpu(2000, 500);
    sgi_model   a = model(s, 300), b = model(s, 300);

    sim_hold_of(s, SGI__ACT_START_LOAD, a);
    sgi_ticket t = sim_ask(s, a, NULL);
    use(s, b);
    assert_int_equal(sim_kept(s), 1);
    assert_int_equal(sim_pin(s, b, SGI_TIER_DRAM), SGI_E_BUSY);
    sim_let_go_of(s, SGI__ACT_START_LOAD, a);
    assert_int_equal(sim_pin(s, b, SGI_TIER_DRAM), SGI_OK); /* now it may be */
    assert_false(sim_in_dram(s, a));
    sim_release(s, sim_outcome(s, t).lease);
    sim_free(s);
}

/* The one that it had is being dropped: a model has one. */
static void the_copy_from_before_goes_first(void **state)
{
    (void)state;
    struct sim *s = with_gpu(1000, 800);
    sgi_model   m = model(s, 300);

    use_up(s, m);
    sim_hold(s, SGI__ACT_DROP);
    assert_int_equal(sim_evict(s, m, SGI_TIER_DISK), SGI_OK);
    sgi_ticket t = sim_ask(s, m, NULL);
    assert_int_equal(sim_actions(s, SGI__ACT_START_LOAD), 1);
    sim_let_go(s, SGI__ACT_DROP);
    assert_int_equal(sim_outcome(s, t).status, SGI_OK);
    assert_true(sim_in_dram(s, m));
    sim_free_releasing(s);
}

static void a_refused_reserve_is_tried_again_with_a_copy(void **state)
{
    (void)state;
    struct sim *s = with_gpu(1000, 500);
    sgi_model   a = model(s, 300), b = model(s, 300);

    use(s, a); /* idle, and would fit beside b */
    sim_fail(s, SGI__ACT_RESERVE, SGI_E_DEVICE_MEMORY, SGI_STEP_MEMORY, 1);
    assert_int_equal(tier_of(s, b), SGI_TIER_DISK);
    assert_true(sim_in_dram(s, b));
    assert_false(sim_in_dram(s, a));
    sim_advance_ms(s, 100);

    sgi_model c = model(s, 100);
    use(s, c);
    sim_fail(s, SGI__ACT_RESERVE, SGI_E_DEVICE_MEMORY, SGI_STEP_MEMORY, 1);
    assert_int_equal(tier_of(s, b), SGI_TIER_DRAM); /* what it was to read stays, and is read then */
    sim_free(s);
}

/* ---- reading it ---- */

static void what_a_load_reads_is_not_dropped(void **state)
{
    (void)state;
    struct sim *s = with_gpu(2000, 500);
    sgi_model   a = model(s, 300), b = model(s, 400);

    use_up(s, a);
    sim_takes_ms(s, SGI__ACT_CANCEL_LOAD, 50);
    sim_hold_of(s, SGI__ACT_START_LOAD, a);
    sgi_ticket t = sim_ask(s, a, NULL);
    assert_int_equal(sim_evict(s, a, SGI_TIER_DISK), SGI_E_BUSY);
    sim_cancel(s, t);
    use(s, b);
    assert_int_equal(sim_kept(s), 1); /* nobody wants a any more, and yet */
    assert_int_equal(sim_pin(s, b, SGI_TIER_DRAM), SGI_E_BUSY);
    assert_int_equal(sim_evict(s, a, SGI_TIER_DISK), SGI_OK); /* once it may go, it does */
    assert_true(sim_in_dram(s, a));
    sim_let_go_of(s, SGI__ACT_START_LOAD, a);
    sim_advance_ms(s, 50);
    assert_false(sim_in_dram(s, a));
    sim_free(s);
}

static void a_drain_waits_for_what_is_read(void **state)
{
    (void)state;
    struct sim *s = with_gpu(2000, 500);
    sgi_model   m = model(s, 300);

    use_up(s, m);
    sim_takes_ms(s, SGI__ACT_START_LOAD, 50);
    sim_takes_ms(s, SGI__ACT_CANCEL_LOAD, 20);
    sim_ask(s, m, NULL);
    sim_drain_model(s, m, SGI_E_STALE);
    assert_true(sim_in_dram(s, m));
    sim_advance_ms(s, 20);
    assert_int_equal(sim_dram_used(s), 0);
    assert_int_equal(sim_drained(s), 1);
    assert_int_equal(sim_remove(s, m), SGI_OK);
    sim_free(s);
}

static void its_last_use_says_when_a_residence_goes(void **state)
{
    (void)state;
    struct sim *s = with_gpu(2000, 700);
    sgi_model   a = model(s, 300), b = model(s, 300), c = model(s, 300);

    sgi_lease lease = sim_acquire(s, a);
    sim_advance_ms(s, 10);
    use_up(s, b); /* its copy is the younger one, */
    sim_release(s, lease);
    sim_advance_ms(s, 100); /* and a was in use for longer */
    use_up(s, c);
    assert_true(sim_in_dram(s, a));
    assert_false(sim_in_dram(s, b));
    sim_free(s);
}

static void beside_a_running_instance_it_goes_when_it_is_asked_to(void **state)
{
    (void)state;
    struct sim *s = with_gpu(2000, 500);
    sgi_model   a = model(s, 300), b = model(s, 400), c = model(s, 200);

    sgi_lease lease = sim_acquire(s, a);
    assert_int_equal(sim_evict(s, a, SGI_TIER_DISK), SGI_E_BUSY);
    use(s, b); /* room for another copy */
    assert_false(sim_in_dram(s, a));
    assert_int_equal(sim_view(s, a).dram_bytes, 0);
    sim_release(s, lease);
    use(s, c);
    assert_int_equal(sim_evict(s, c, SGI_TIER_DRAM), SGI_OK);
    assert_true(sim_in_dram(s, c));
    use(s, c);
    assert_int_equal(sim_evict(s, c, SGI_TIER_DISK), SGI_OK);
    assert_int_equal(sim_model_dram(s, c), 0);
    assert_int_equal(sim_view(s, c).device_bytes, 0);
    sim_free(s);
}

static void a_prefetch_to_dram_is_done_where_it_is_nearer(void **state)
{
    (void)state;
    struct sim *s = with_gpu(1000, 500);
    sgi_model   m = model(s, 300);

    sim_no_copies(s, true);
    use(s, m);
    sgi_ticket t = sim_ask(s, m, &(struct sim_ask){ .prefetch = true, .tier = SGI_TIER_DRAM });
    assert_int_equal(sim_outcome(s, t).status, SGI_OK);
    assert_int_equal(sim_dram_used(s), 0);
    sim_advance_ms(s, 100);
    t = sim_ask(s, m, &(struct sim_ask){ .prefetch = true, .tier = SGI_TIER_DRAM });
    assert_int_equal(sim_wait(s, t).status, SGI_OK);
    assert_true(sim_in_dram(s, m));
    assert_int_equal(tier_of(s, m), SGI_TIER_DRAM);
    sim_free(s);
}

/* ---- what happens meanwhile ---- */

static void a_drain_waits_for_a_copy_that_fills(void **state)
{
    (void)state;
    struct sim *s = with_gpu(1000, 500);
    sgi_model   m = model(s, 300);

    sim_takes_ms(s, SGI__ACT_START_LOAD, 50);
    sim_takes_ms(s, SGI__ACT_CANCEL_LOAD, 20);
    sim_ask(s, m, NULL);
    sim_drain_model(s, m, SGI_E_STALE);
    assert_int_equal(sim_remove(s, m), SGI_E_BUSY);
    assert_int_equal(sim_dram_used(s), MIB(300));
    sim_advance_ms(s, 20);
    assert_int_equal(sim_dram_used(s), 0);
    assert_int_equal(sim_remove(s, m), SGI_OK);
    sim_free(s);
}

/* An early lease keeps the load going. */
static void a_copy_that_fills_for_a_drained_model_is_dropped(void **state)
{
    (void)state;
    struct sim *s = with_gpu(1000, 500);
    sgi_model   m = model(s, 300);

    sim_takes_ms(s, SGI__ACT_START_LOAD, 50);
    sgi_ticket t = sim_ask(s, m, &(struct sim_ask){ .early = true });
    assert_int_equal(sim_outcome(s, t).status, SGI_OK);
    sim_drain_model(s, m, SGI_E_STALE);
    assert_int_equal(sim_dram_used(s), MIB(300));
    sim_advance_ms(s, 50);
    assert_int_equal(sim_dram_used(s), 0);
    sim_release(s, sim_outcome(s, t).lease);
    sim_free(s);
}

static void an_evict_while_it_fills_is_remembered(void **state)
{
    (void)state;
    struct sim *s = with_gpu(1000, 500);
    sgi_model   m = model(s, 300);

    sim_hold(s, SGI__ACT_START_LOAD);
    sgi_ticket t = sim_ask(s, m, NULL);
    assert_int_equal(sim_evict(s, m, SGI_TIER_DISK), SGI_E_BUSY);
    sim_cancel(s, t);
    assert_int_equal(sim_evict(s, m, SGI_TIER_DISK), SGI_OK);
    assert_int_equal(sim_dram_used(s), MIB(300));
    sim_let_go(s, SGI__ACT_START_LOAD);
    assert_int_equal(sim_dram_used(s), 0);
    sim_free(s);
}

static void a_lost_device_leaves_the_copy_that_was_complete(void **state)
{
    (void)state;
    struct sim *s = sim_new(&(struct sim_config){ .seed = 7,
                                                  .discrete = true,
                                                  .devices_count = 2,
                                                  .dram_bytes = MIB(500),
                                                  .device_bytes = { MIB(1000), MIB(1000) } });
    sgi_model   a = model(s, 200), b = model(s, 200);

    sim_lose_device(s, 1);
    sim_takes_ms(s, SGI__ACT_START_LOAD, 50);
    sgi_ticket t = sim_ask(s, a, NULL);
    sim_device_back(s, 1);
    sim_lose_device(s, 0);
    assert_int_equal(sim_outcome(s, t).status, SGI_E_DEVICE_LOST);
    sim_advance_ms(s, 50);
    assert_int_equal(sim_dram_used(s), 0); /* the load failed with it */

    sim_be_host(s); /* what is under way ends well all the same */
    sim_takes_ms(s, SGI__ACT_CANCEL_LOAD, 50);
    t = sim_ask(s, b, NULL);
    sim_lose_device(s, 1);
    sim_device_back(s, 0);
    sim_run_out(s);
    assert_int_equal(sim_outcome(s, t).status, SGI_E_DEVICE_LOST);
    assert_int_equal(sim_vram_used(s), 0);
    assert_int_equal(sim_dram_used(s), 0); /* canceled */
    sim_free(s);
}

static void a_place_that_dies_takes_what_fills_and_what_is_read(void **state)
{
    (void)state;
    struct sim *s = with_gpu(1000, 600);
    sgi_model   a = model(s, 200), b = model(s, 300);

    use_up(s, a);
    sim_hold(s, SGI__ACT_START_LOAD);
    sgi_ticket ta = sim_ask(s, a, NULL), tb = sim_ask(s, b, NULL);
    assert_int_equal(sim_dram_used(s), MIB(500));
    sim_kill_place(s);
    assert_int_equal(sim_outcome(s, ta).status, SGI_E_DEVICE_LOST);
    assert_int_equal(sim_outcome(s, tb).status, SGI_E_DEVICE_LOST);
    assert_int_equal(sim_dram_used(s), 0);
    sim_let_go(s, SGI__ACT_START_LOAD);
    sim_place_up(s);
    assert_int_equal(tier_of(s, a), SGI_TIER_DISK);
    sim_free(s);
}

/* Of what died only its lease is left; that reads nothing. */
static void what_died_does_not_read_any_more(void **state)
{
    (void)state;
    struct sim *s = sim_new(
        &(struct sim_config){ .seed = 7, .discrete = true, .devices_count = 2, .dram_bytes = MIB(500) });
    sgi_model m = sim_model(s, &(struct sim_model){ .bytes = MIB(300), .idle_ms = 100, .instances = 2 });

    use_up(s, m);
    sim_hold(s, SGI__ACT_START_LOAD);
    sgi_ticket t = sim_ask(s, m, &(struct sim_ask){ .early = true });
    assert_int_equal(sim_outcome(s, t).tier, SGI_TIER_DRAM);
    sim_kill_place(s);
    sim_let_go(s, SGI__ACT_START_LOAD);
    sim_place_up(s);
    sgi_ticket fill = sim_ask(s, m, &(struct sim_ask){ .prefetch = true, .tier = SGI_TIER_DRAM });
    assert_int_equal(sim_wait(s, fill).status, SGI_OK);
    assert_true(sim_in_dram(s, m));
    sim_drain_model(s, m, SGI_E_STALE);
    assert_int_equal(sim_dram_used(s), 0);
    sim_release(s, sim_outcome(s, t).lease);
    assert_int_equal(sim_drained(s), 1);
    sim_free(s);
}

/* A prefetch that was canceled still reads into DRAM: that is one copy, if only for a while. */
static void beside_a_fill_that_ends_a_load_leaves_no_copy(void **state)
{
    (void)state;
    struct sim *s = sim_new(
        &(struct sim_config){ .seed = 7, .discrete = true, .devices_count = 2, .dram_bytes = MIB(700) });
    sgi_model m = sim_model(s, &(struct sim_model){ .bytes = MIB(300), .idle_ms = 100, .instances = 2 });

    sim_hold(s, SGI__ACT_START_LOAD);
    sgi_ticket fill = sim_ask(s, m, &(struct sim_ask){ .prefetch = true, .tier = SGI_TIER_DRAM });
    sim_cancel(s, fill);
    sgi_ticket t = sim_ask(s, m, NULL);
    assert_int_equal(sim_actions(s, SGI__ACT_START_LOAD), 2);
    sim_let_go(s, SGI__ACT_START_LOAD);
    assert_int_equal(sim_outcome(s, t).status, SGI_OK);
    assert_int_equal(sim_kept(s), 0);
    sim_free_releasing(s);
}

/* ---- beside host devices ---- */

static void a_residence_is_not_taken_while_it_is_read(void **state)
{
    (void)state;
    struct sim *s = mixed(1000, 500);
    sgi_model m = sim_model(s, &(struct sim_model){ .bytes = MIB(300), .idle_ms = 100, .instances = 2, .devices = 3 });
    sgi_model busy = sim_model(s, &(struct sim_model){ .bytes = MIB(900), .devices = 2, .idle_ms = 100 });

    sim_release(s, acquire_on(s, m, GPU));
    sim_advance_ms(s, 100);
    sim_hold_of(s, SGI__ACT_START_LOAD, m);
    sgi_ticket gpu = sim_ask(s, m, &(struct sim_ask){ .device = GPU });
    sim_cancel(s, gpu); /* it reads until its load has ended */
    sgi_ticket host = sim_ask(s, m, &(struct sim_ask){ .device = HOST });
    sim_ask(s, busy, NULL);
    assert_int_equal(sim_actions_of(s, SGI__ACT_RESERVE, m), 2);
    sim_let_go_of(s, SGI__ACT_START_LOAD, m);
    assert_int_equal(sim_outcome(s, host).status, SGI_OK);
    assert_int_equal(sim_outcome(s, host).tier, SGI_TIER_DRAM);
    assert_int_equal(sim_device_used(s, 0), MIB(300)); /* it has moved */
    assert_int_equal(sim_dram_used(s), 0);
    sim_free_releasing(s);
}

static void one_copy_is_enough_for_both_kinds(void **state)
{
    (void)state;
    struct sim *s = mixed(1000, 1000);
    sgi_model   m = sim_model(s, &(struct sim_model){ .bytes = MIB(300),
                                                      .device_bytes = MIB(200),
                                                      .idle_ms = 100,
                                                      .instances = 2,
                                                      .leases_max = 1 });

    sgi_lease host = acquire_on(s, m, HOST);
    sgi_lease gpu = acquire_on(s, m, GPU);
    assert_true(sim_in_dram(s, m)); /* the host's image is in use: it is none */
    sim_release(s, host);
    sim_advance_ms(s, 100);
    assert_int_equal(sim_actions(s, SGI__ACT_KEEP), 0);
    assert_int_equal(sim_dram_used(s), MIB(300));
    host = acquire_on(s, m, HOST); /* takes it */
    assert_int_equal(sim_dram_used(s), 0);
    sim_release(s, gpu);
    sim_advance_ms(s, 100);
    gpu = acquire_on(s, m, GPU); /* from disk, and leaves none beside the one that will come back */
    assert_int_equal(sim_kept(s), 1);
    sim_release(s, host);
    sim_advance_ms(s, 100);
    assert_int_equal(sim_actions(s, SGI__ACT_KEEP), 1);
    assert_true(sim_in_dram(s, m));
    sim_release(s, gpu);
    sim_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_image_takes_what_it_takes_on_its_device),
        cmocka_unit_test(what_fits_in_host_memory_may_not_fit_on_the_device),
        cmocka_unit_test(a_load_leaves_a_copy_from_which_the_next_start_comes),
        cmocka_unit_test(without_host_memory_for_it_there_is_no_copy),
        cmocka_unit_test(without_a_budget_nothing_is_kept),
        cmocka_unit_test(a_load_that_fails_or_is_canceled_leaves_none),
        cmocka_unit_test(a_copy_needs_the_engines_part),
        cmocka_unit_test(a_prefix_that_hangs_keeps_the_room_of_the_copy),
        cmocka_unit_test(a_load_waits_until_there_is_room_for_its_copy),
        cmocka_unit_test(who_waits_for_room_for_its_copy_may_be_canceled),
        cmocka_unit_test(where_there_is_no_room_it_loads_without),
        cmocka_unit_test(what_is_pinned_to_dram_has_room_for_its_copy),
        cmocka_unit_test(a_copy_that_fills_is_not_dropped),
        cmocka_unit_test(the_copy_from_before_goes_first),
        cmocka_unit_test(a_refused_reserve_is_tried_again_with_a_copy),
        cmocka_unit_test(what_a_load_reads_is_not_dropped),
        cmocka_unit_test(a_drain_waits_for_what_is_read),
        cmocka_unit_test(its_last_use_says_when_a_residence_goes),
        cmocka_unit_test(beside_a_running_instance_it_goes_when_it_is_asked_to),
        cmocka_unit_test(a_prefetch_to_dram_is_done_where_it_is_nearer),
        cmocka_unit_test(a_drain_waits_for_a_copy_that_fills),
        cmocka_unit_test(a_copy_that_fills_for_a_drained_model_is_dropped),
        cmocka_unit_test(an_evict_while_it_fills_is_remembered),
        cmocka_unit_test(a_lost_device_leaves_the_copy_that_was_complete),
        cmocka_unit_test(a_place_that_dies_takes_what_fills_and_what_is_read),
        cmocka_unit_test(what_died_does_not_read_any_more),
        cmocka_unit_test(beside_a_fill_that_ends_a_load_leaves_no_copy),
        cmocka_unit_test(a_residence_is_not_taken_while_it_is_read),
        cmocka_unit_test(one_copy_is_enough_for_both_kinds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
