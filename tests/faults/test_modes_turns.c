/* SPDX-License-Identifier: Apache-2.0 */
/* Failure modes of whose turn it is: thrash, starvation, unload against load, starts that take long, memory that
 * others take. In the real runtime where loads are real, and in the simulator where an hour costs nothing. What is
 * bounded is counted: loads, and time on the test's clock. README.md is the list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "modes.h"
#include "sim/sim.h"

/* ---- 14, 15 in the runtime ---- */

enum { REQUESTS = 8, LEASE_MS = 100 };

/* 14. llama-swap #612, #19: requests come as A B A A C A B C, each is served in its turn, and every one of them
 * unloads what the next but one needs. Here who is up serves all who wait for it first. */
static void mode_14_requests_that_alternate_cost_one_load_a_model(void **state)
{
    struct modes       m;
    sgi_runtime_config config = modes_config(1, KIB(1300)); /* one at a time */
    sgi_model          models[FILES];
    uint32_t           served = 0, switches = 0, before = FILES;
    (void)state;
    modes_open(&m, &config, NULL);
    for (uint32_t n = 0; n < FILES; n++)
        models[n] = modes_add(&m, n, false, 1);
    sgi_lease first = host_acquire(m.rt, models[0]); /* so that all the others wait */
    for (uint32_t n = 1; n < FILES * REQUESTS; n++) {
        sgi_acquire_options o;
        sgi_acquire_options_init(&o, sizeof o);
        o.tag = n % FILES;
        assert_int_equal(sgi_model_acquire(m.rt, models[n % FILES], &o, NULL, NULL, NULL, &m.err), SGI_OK);
        modes_advance(&m, 1);
    }
    host_release(m.rt, first);
    for (; served < FILES * REQUESTS - 1; served++) {
        sgi_completion c = host_next(m.rt);
        assert_int_equal(c.status, SGI_OK);
        modes_same(&m, models[c.tag], c.lease, (uint32_t)c.tag);
        switches += c.tag != before;
        before = (uint32_t)c.tag;
        modes_advance(&m, LEASE_MS);
        host_release(m.rt, c.lease);
    }
    assert_int_equal(switches, FILES);
    for (uint32_t n = 0; n < FILES; n++)
        assert_int_equal(host_state(m.rt, models[n]).loads_count, 1);
    modes_close(&m);
}

/* 14, where it cannot be helped, since each request comes after the answer to the one before: with room for it in DRAM
 * the disk is read once a model. */
static void mode_14_alternation_that_cannot_be_helped_reads_the_disk_once(void **state)
{
    struct modes       m;
    sgi_runtime_config config = modes_config(1, KIB(1300));
    sgi_model          models[2];
    uint32_t           from_disk = 0;
    (void)state;
    config.dram_bytes_max = MIB(4);
    modes_open(&m, &config, NULL);
    for (uint32_t n = 0; n < 2; n++)
        models[n] = modes_add(&m, n, false, 0);
    for (uint32_t n = 0; n < 2 * REQUESTS; n++) {
        sgi_lease lease = host_acquire(m.rt, models[n % 2]);
        from_disk += host_timing(m.rt, lease).tier == SGI_TIER_DISK;
        modes_same(&m, models[n % 2], lease, n % 2);
        host_release(m.rt, lease);
        modes_advance(&m, 1);
    }
    assert_int_equal(from_disk, 2);
    assert_int_equal(host_state(m.rt, models[0]).loads_count, REQUESTS); /* no more than one for each request */
    assert_int_equal(host_state(m.rt, models[1]).loads_count, REQUESTS);
    modes_close(&m);
}

/* 15. helix #628: one model is under constant load, its requests are served by what is up, and a request for another
 * one is never scheduled. */
static void mode_15_the_rare_model_waits_no_longer_than_was_configured(void **state)
{
    struct modes       m;
    sgi_runtime_config config = modes_config(1, KIB(1300));
    uint64_t           waited = 0;
    uint32_t           hot_served = 0;
    sgi_completion     c;
    (void)state;
    modes_open(&m, &config, &test_place_ops);
    sgi_model  hot = modes_add(&m, 0, false, 1), rare = modes_add(&m, 1, false, 1);
    sgi_ticket wanted = 0;
    for (int n = 0; n < 3; n++) /* there is always one that waits for it */
        modes_ask(&m, hot);
    for (;;) {
        c = host_next(m.rt);
        assert_int_equal(c.status, SGI_OK);
        if (!wanted) {
            wanted = modes_ask(&m, rare);
            test_place_wait_told(m.tp, SGI__PLACE_SOURCE_CHECKED, 2); /* the clock is quicker than the disk */
        }
        if (c.ticket == wanted)
            break;
        modes_advance(&m, LEASE_MS);
        waited += LEASE_MS;
        hot_served++;
        assert_true(waited <= 2 * STARVE_MS);
        modes_ask(&m, hot);
        host_release(m.rt, c.lease);
    }
    assert_true(waited >= STARVE_MS && waited <= STARVE_MS + LEASE_MS);
    assert_int_equal(hot_served, waited / LEASE_MS); /* until then the hot one lost nothing */
    assert_int_equal(host_state(m.rt, hot).loads_count, 1);
    modes_same(&m, rare, c.lease, 1);
    host_release(m.rt, c.lease);
    for (int n = 0; n < 3; n++) { /* and then it goes on */
        c = host_next(m.rt);
        assert_true(c.status == SGI_OK && c.ticket != wanted);
        host_release(m.rt, c.lease);
    }
    assert_int_equal(host_state(m.rt, hot).loads_count, 2);
    assert_int_equal(host_state(m.rt, rare).loads_count, 1);
    modes_close(&m);
}

/* ---- 14, 15 in the simulator ---- */

enum { CLIENTS_MAX = 4, HOLD_MS = 50, LOAD_MS = 300, STEP_MS = 10 };

/* Users of one model that ask again `pause_ms` after each answer. */
struct crowd {
    sgi_model model;
    uint32_t  clients, pause_ms;
    struct {
        sgi_ticket ticket;
        sgi_lease  lease;
        uint64_t   asked, until; /* ms; until: of its lease, or its pause */
    } of[CLIENTS_MAX];
    uint32_t served;
    uint64_t longest_ms;
};

static void crowd_step(struct sim *s, struct crowd *c, uint64_t now)
{
    for (uint32_t n = 0; n < c->clients; n++) {
        if (c->of[n].lease && c->of[n].until <= now) {
            assert_int_equal(sim_release(s, c->of[n].lease), SGI_OK);
            c->of[n].lease = 0;
            c->of[n].until = now + c->pause_ms;
        }
        if (!c->of[n].lease && !c->of[n].ticket && c->of[n].until <= now) {
            c->of[n].ticket = sim_ask(s, c->model, NULL);
            c->of[n].asked = now;
        }
        struct sim_outcome o = c->of[n].ticket ? sim_outcome(s, c->of[n].ticket) : (struct sim_outcome){ 0 };
        if (!o.ended)
            continue;
        assert_int_equal(o.status, SGI_OK);
        uint64_t waited = o.at / MS(1) - c->of[n].asked;
        c->longest_ms = waited > c->longest_ms ? waited : c->longest_ms;
        c->served++;
        c->of[n].lease = o.lease;
        c->of[n].ticket = 0;
        c->of[n].until = now + HOLD_MS;
    }
}

static void crowds_play(struct sim *s, struct crowd *crowds, uint32_t count, uint64_t ms)
{
    uint64_t begin = sim_now(s) / MS(1);
    for (uint64_t now = begin; now < begin + ms; now = sim_now(s) / MS(1)) {
        for (uint32_t n = 0; n < count; n++)
            crowd_step(s, &crowds[n], now);
        sim_advance_ms(s, STEP_MS);
    }
}

static struct sim *one_place(void)
{
    struct sim *s = sim_new(&(struct sim_config){ .seed = 7, .vram_bytes = MIB(1000), .starve_ms = STARVE_MS });
    sim_takes_ms(s, SGI__ACT_START_LOAD, LOAD_MS);
    return s;
}

static sgi_model sim_one(struct sim *s)
{
    return sim_model(s, &(struct sim_model){ .bytes = MIB(700), .leases_max = 1 });
}

/* 14 without end: two crowds that always wait, one place. They take turns of `starve_ms`, and a turn costs one load. */
static void mode_14_two_crowds_take_turns_in_the_simulator(void **state)
{
    enum { MINUTES = 5 };
    struct sim  *s = one_place();
    struct crowd crowds[2] = { { .model = sim_one(s), .clients = 3 }, { .model = sim_one(s), .clients = 3 } };
    uint64_t     ms = MINUTES * 60000, turn = STARVE_MS;
    (void)state;

    crowds_play(s, crowds, 2, ms);
    uint32_t loads = sim_actions(s, SGI__ACT_START_LOAD), served = crowds[0].served + crowds[1].served;
    print_message("mode 14: %u loads for %u requests in %d minutes; longest waits %llu and %llu ms\n", loads, served,
                  (int)MINUTES, (unsigned long long)crowds[0].longest_ms, (unsigned long long)crowds[1].longest_ms);
    assert_true(loads <= ms / turn + 2);
    assert_true(loads >= 10); /* but they do take turns */
    /* and lose no other time; a step is what these users need to notice that they have it */
    assert_true(served >= (ms - (uint64_t)loads * (LOAD_MS + HOLD_MS)) / (HOLD_MS + STEP_MS));
    for (int n = 0; n < 2; n++) /* who comes last in a turn waits for the other's, and both loads */
        assert_true(crowds[n].longest_ms <= turn + 2 * LOAD_MS + 4 * HOLD_MS);
    sim_free_releasing(s);
}

/* 15 without end: somebody wants the rare one every now and then, and the hot one never rests. */
static void mode_15_the_rare_model_is_served_in_the_simulator(void **state)
{
    enum { MINUTES = 10 };
    struct sim  *s = one_place();
    struct crowd crowds[2] = { { .model = sim_one(s), .clients = 4 },
                               { .model = sim_one(s), .clients = 1, .pause_ms = 20000 } };
    (void)state;

    crowds_play(s, crowds, 2, MINUTES * 60000);
    uint32_t loads = sim_actions(s, SGI__ACT_START_LOAD);
    print_message("mode 15: the rare model was served %u times, and waited %llu ms at most; %u loads\n",
                  crowds[1].served, (unsigned long long)crowds[1].longest_ms, loads);
    assert_true(crowds[1].served >= MINUTES * 60000 / (20000 + STARVE_MS + LOAD_MS + 2 * HOLD_MS) - 1);
    assert_true(crowds[1].longest_ms <= STARVE_MS + LOAD_MS + 2 * HOLD_MS);
    assert_true(loads <= 2 * crowds[1].served + 2); /* there and back, nothing more */
    sim_free_releasing(s);
}

/* ---- 16, 21, 19 in the simulator ---- */

static const enum sgi__core_action_kind ups[] = { SGI__ACT_CHECK_SOURCE, SGI__ACT_OPEN_CONTEXT, SGI__ACT_RESERVE,
                                                  SGI__ACT_PREPARE,      SGI__ACT_START_LOAD,   SGI__ACT_START_ENGINE };
static const enum sgi__core_action_kind downs[] = { SGI__ACT_STOP_ENGINE, SGI__ACT_FREE };

static sgi_model sim_full(struct sim *s, uint64_t idle_ms)
{
    return sim_model(s, &(struct sim_model){ .bytes = MIB(700),
                                             .engine = true,
                                             .prepare = true,
                                             .idle_ms = idle_ms,
                                             .hang_ms = SIM_HANG_NEVER });
}

/* 16, however long the unload or the load takes: one load for each that was asked for, and nothing left. */
static void mode_16_unload_and_load_in_both_orders_in_the_simulator(void **state)
{
    (void)state;
    for (size_t n = 0; n < sizeof downs / sizeof *downs; n++) {
        struct sim *s = one_place();
        sgi_model   m = sim_full(s, 1000);
        sim_release(s, sim_acquire(s, m));
        sim_takes_ms(s, downs[n], 30000);
        assert_int_equal(sim_evict(s, m, SGI_EVICT_ALL), SGI_OK);
        sim_advance_ms(s, 10000);
        uint64_t   asked = sim_now(s);
        sgi_ticket t = sim_ask(s, m, NULL);
        assert_int_equal(sim_wait(s, t).status, SGI_OK);
        assert_int_equal(sim_outcome(s, t).at - asked, MS(20000) + MS(LOAD_MS)); /* the rest of the stop, and a load */
        assert_int_equal(sim_actions(s, SGI__ACT_START_LOAD), 2);
        sim_free_releasing(s);
    }
    for (size_t n = 0; n < sizeof ups / sizeof *ups; n++) {
        struct sim *s = one_place();
        sgi_model   m = sim_full(s, 1000);
        sim_takes_ms(s, ups[n], 30000);
        sgi_ticket t = sim_ask(s, m, NULL);
        for (int second = 0; second < 20; second++) {
            sim_advance_ms(s, 1000);
            assert_int_equal(sim_evict(s, m, SGI_EVICT_ALL), SGI_E_BUSY);
        }
        assert_int_equal(sim_wait(s, t).status, SGI_OK);
        assert_int_equal(sim_actions(s, SGI__ACT_START_LOAD), 1);
        assert_int_equal(sim_actions(s, SGI__ACT_CANCEL_LOAD), 0);
        sim_release(s, sim_outcome(s, t).lease);
        assert_int_equal(sim_evict(s, m, SGI_EVICT_ALL), SGI_OK);
        assert_int_equal(sim_vram_used(s), 0);
        sim_free(s);
    }
}

/* 21 with starts of half an hour and an idle time of a second. */
static void mode_21_a_start_outlives_any_idle_time_in_the_simulator(void **state)
{
    enum { START_MS = 30 * 60000 };
    (void)state;
    for (size_t n = 0; n < sizeof ups / sizeof *ups; n++) {
        struct sim *s = one_place();
        sgi_model   m = sim_full(s, 1000);
        sim_takes_ms(s, ups[n], START_MS);
        uint64_t   asked = sim_now(s);
        sgi_ticket t = sim_ask(s, m, NULL);
        assert_int_equal(sim_wait(s, t).status, SGI_OK);
        uint64_t took = (sim_outcome(s, t).at - asked) / MS(1);
        assert_int_equal(took, START_MS + (n < 3 ? LOAD_MS : 0)); /* the others go on beside it, or are it */
        assert_int_equal(sim_actions(s, SGI__ACT_CANCEL_LOAD), 0);
        sim_release(s, sim_outcome(s, t).lease);
        sim_advance_ms(s, 999);
        assert_int_equal(sim_view(s, m).state, SGI_MODEL_READY);
        sim_advance_ms(s, 1);
        assert_int_equal(sim_vram_used(s), 0);
        assert_int_equal(sim_actions(s, SGI__ACT_START_LOAD), 1);
        sim_free(s);
    }
}

/* 19, where a device can see what others take (the host cannot): it is nobody's to give away, nothing is evicted in
 * vain for it, a load under way goes on, and when it is free again who waits is served at once. */
static void mode_19_memory_seen_to_be_taken_in_the_simulator(void **state)
{
    struct sim *s = one_place();
    sgi_model   warm = sim_model(s, &(struct sim_model){ .bytes = MIB(200), .idle_ms = SIM_IDLE_NEVER });
    sgi_model   m = sim_one(s);
    (void)state;

    sim_release(s, sim_acquire(s, warm));
    sgi_ticket t = sim_ask(s, m, NULL); /* both fit */
    sim_advance_ms(s, LOAD_MS / 2);
    sim_foreign(s, 0, MIB(600)); /* in the middle of it */
    assert_int_equal(sim_wait(s, t).status, SGI_OK);
    sim_release(s, sim_outcome(s, t).lease);
    assert_int_equal(sim_evict(s, m, SGI_TIER_DISK), SGI_OK);
    t = sim_ask(s, m, NULL); /* now it would not fit on a device that was empty of ours */
    sim_advance_ms(s, 60000);
    assert_false(sim_outcome(s, t).ended);
    assert_int_equal(sim_view(s, warm).state, SGI_MODEL_READY);
    sim_foreign(s, 0, MIB(200)); /* room for it, without the other one */
    assert_int_equal(sim_wait(s, t).status, SGI_OK);
    assert_int_equal(sim_view(s, warm).state, SGI_MODEL_COLD);
    assert_int_equal(sim_actions_of(s, SGI__ACT_START_LOAD, m), 2);
    sim_free_releasing(s);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        MODE(mode_14_requests_that_alternate_cost_one_load_a_model),
        MODE(mode_14_alternation_that_cannot_be_helped_reads_the_disk_once),
        MODE(mode_14_two_crowds_take_turns_in_the_simulator),
        MODE(mode_15_the_rare_model_waits_no_longer_than_was_configured),
        MODE(mode_15_the_rare_model_is_served_in_the_simulator),
        MODE(mode_16_unload_and_load_in_both_orders_in_the_simulator),
        MODE(mode_19_memory_seen_to_be_taken_in_the_simulator),
        MODE(mode_21_a_start_outlives_any_idle_time_in_the_simulator),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("modes: turns", tests, modes_set_up, modes_tear_down);
}
