/* SPDX-License-Identifier: Apache-2.0 */
/* The core: residences that are packed, and what they have in common. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sim/sim.h"

static struct sim *with_dram(bool discrete, uint64_t dram_mib)
{
    return sim_new(
        &(struct sim_config){ .seed = 7, .vram_bytes = MIB(1000), .dram_bytes = MIB(dram_mib), .discrete = discrete });
}

/* 300 MiB, of which 200 are stored. */
static sgi_model model(struct sim *s, uint32_t residence, uint64_t common_mib)
{
    return sim_model(s, &(struct sim_model){ .bytes = MIB(300),
                                             .packed_bytes = MIB(200),
                                             .common_bytes = MIB(common_mib),
                                             .residence = residence,
                                             .idle_ms = 100 });
}

static void use_up(struct sim *s, sgi_model m)
{
    sim_release(s, sim_acquire(s, m));
    sim_advance_ms(s, 100);
}

static sgi_ticket ask_ahead(struct sim *s, sgi_model m)
{
    return sim_ask(s, m, &(struct sim_ask){ .prefetch = true, .tier = SGI_TIER_DRAM });
}

static struct sim_outcome prefetch(struct sim *s, sgi_model m)
{
    return sim_wait(s, ask_ahead(s, m));
}

static uint64_t shared(struct sim *s)
{
    struct sgi__core_totals totals;
    sgi__core_totals(sim_core(s), &totals);
    return totals.shared_bytes;
}

/* ---- which form ---- */

static void what_is_to_be_packed_stays_beside_the_image_on_a_host(void **state)
{
    (void)state;
    struct sim *s = with_dram(false, 500);
    sgi_model   m = model(s, SGI_RESIDENCE_PACKED, 0);

    sgi_lease lease = sim_acquire(s, m);
    assert_int_equal(sim_vram_used(s), MIB(300));
    assert_int_equal(sim_dram_used(s), MIB(200));
    sim_release(s, lease);
    sim_advance_ms(s, 100);
    assert_int_equal(sim_vram_used(s), 0);
    assert_int_equal(sim_dram_used(s), MIB(200)); /* the image is not kept */

    struct sim_outcome o = sim_wait(s, sim_ask(s, m, NULL));
    assert_int_equal(o.tier, SGI_TIER_DRAM);
    assert_int_equal(sim_vram_used(s), MIB(300));
    assert_int_equal(sim_dram_used(s), MIB(200)); /* it was decoded from there, and stays */
    sim_release(s, o.lease);
    sim_free(s);
}

static void of_its_own_accord_it_is_packed_only_where_others_would_have_to_go(void **state)
{
    (void)state;
    for (int discrete = 0; discrete < 2; discrete++) {
        struct sim *s = with_dram(discrete, 500);
        sgi_model   a = model(s, SGI_RESIDENCE_AUTO, 0), b = model(s, SGI_RESIDENCE_AUTO, 0);
        assert_int_equal(prefetch(s, a).status, SGI_OK);
        assert_int_equal(sim_model_dram(s, a), MIB(300));
        assert_int_equal(prefetch(s, b).status, SGI_OK);
        assert_int_equal(sim_model_dram(s, b), MIB(200));
        assert_true(sim_in_dram(s, a));
        sim_free(s);
    }
}

static void on_a_host_what_may_choose_keeps_its_image(void **state)
{
    (void)state;
    struct sim *s = with_dram(false, 500);
    sgi_model   m = model(s, SGI_RESIDENCE_AUTO, 0);

    sgi_lease lease = sim_acquire(s, m);
    assert_int_equal(sim_dram_used(s), 0);
    sim_release(s, lease);
    sim_advance_ms(s, 100);
    assert_int_equal(sim_model_dram(s, m), MIB(300));
    sim_free(s);
}

static void it_is_packed_where_all_of_it_would_never_fit(void **state)
{
    (void)state;
    struct sim *s = with_dram(true, 250);
    sgi_model   a = model(s, SGI_RESIDENCE_AUTO, 0), b = model(s, SGI_RESIDENCE_UNPACKED, 0);

    assert_int_equal(prefetch(s, a).status, SGI_OK);
    assert_int_equal(sim_model_dram(s, a), MIB(200));
    assert_int_equal(prefetch(s, b).status, SGI_E_NO_ROOM);
    assert_true(sim_in_dram(s, a));
    sim_free(s);
}

static void what_gains_less_than_an_eighth_is_not_packed_by_itself(void **state)
{
    (void)state;
    struct sim *s = with_dram(true, 500);
    sgi_model   a = model(s, SGI_RESIDENCE_UNPACKED, 0);
    sgi_model   b = sim_model(s, &(struct sim_model){ .bytes = MIB(300), .packed_bytes = MIB(270) });

    prefetch(s, a);
    assert_int_equal(prefetch(s, b).status, SGI_OK);
    assert_int_equal(sim_model_dram(s, b), MIB(300));
    assert_false(sim_in_dram(s, a));
    sim_free(s);
}

static void an_engine_s_part_is_filled_again_from_what_is_packed(void **state)
{
    (void)state;
    struct sim *s = with_dram(false, 500);
    sgi_model   m = sim_model(s, &(struct sim_model){ .bytes = MIB(300),
                                                      .packed_bytes = MIB(200),
                                                      .residence = SGI_RESIDENCE_PACKED,
                                                      .engine = true,
                                                      .prefix = true,
                                                      .idle_ms = 100 });

    assert_int_equal(prefetch(s, m).status, SGI_OK);
    assert_int_equal(sim_actions(s, SGI__ACT_FILL_PREFIX), 0);
    use_up(s, m);
    use_up(s, m);
    assert_int_equal(sim_actions(s, SGI__ACT_FILL_PREFIX), 2);
    assert_int_equal(sim_actions(s, SGI__ACT_CHECK_SOURCE), 1); /* read once, and ours since */
    sim_free(s);
}

static void a_copy_is_packed_though_the_engine_s_part_fails(void **state)
{
    (void)state;
    struct sim *s = with_dram(false, 500);
    sgi_model   m = sim_model(s, &(struct sim_model){ .bytes = MIB(300),
                                                      .packed_bytes = MIB(200),
                                                      .residence = SGI_RESIDENCE_PACKED,
                                                      .engine = true,
                                                      .prefix = true,
                                                      .idle_ms = 100 });

    sim_takes_ms(s, SGI__ACT_FILL_PREFIX, 50);
    sim_fail(s, SGI__ACT_FILL_PREFIX, SGI_E_ENGINE, SGI_STEP_PREFIX, 1);
    assert_int_equal(sim_acquire_status(s, m), SGI_E_ENGINE);
    assert_true(sim_in_dram(s, m));
    assert_int_equal(sim_acquire_status(s, m), SGI_OK);
    sim_free(s);
}

static void what_is_packed_is_read_by_two_at_once_on_hosts(void **state)
{
    (void)state;
    struct sim *s = sim_new(
        &(struct sim_config){ .seed = 7, .vram_bytes = MIB(1000), .dram_bytes = MIB(500), .devices_count = 2 });
    sgi_model m = sim_model(s, &(struct sim_model){ .bytes = MIB(300),
                                                    .packed_bytes = MIB(200),
                                                    .residence = SGI_RESIDENCE_PACKED,
                                                    .leases_max = 1,
                                                    .instances = 2 });

    assert_int_equal(prefetch(s, m).status, SGI_OK);
    sgi_lease first = sim_acquire(s, m), second = sim_acquire(s, m);
    assert_int_equal(sim_vram_used(s), MIB(600));
    assert_int_equal(sim_dram_used(s), MIB(200));
    sim_release(s, first);
    sim_release(s, second);
    sim_free(s);
}

/* ---- in common ---- */

static void what_residences_have_in_common_is_charged_once(void **state)
{
    (void)state;
    struct sim *s = with_dram(true, 500);
    sgi_model   m[3];

    for (int n = 0; n < 3; n++) {
        m[n] = model(s, SGI_RESIDENCE_PACKED, 150);
        assert_int_equal(prefetch(s, m[n]).status, SGI_OK);
    }
    assert_int_equal(sim_dram_used(s), MIB(200 + 50 + 50)); /* 600 would not have fitted */
    assert_int_equal(shared(s), MIB(300));
    for (int n = 0; n < 3; n++)
        assert_int_equal(sim_view(s, m[n]).dram_bytes, MIB(200));
    sim_free(s);
}

static void what_one_that_goes_has_in_common_with_others_stays(void **state)
{
    (void)state;
    struct sim *s = with_dram(true, 500);
    sgi_model   a = model(s, SGI_RESIDENCE_PACKED, 150), b = model(s, SGI_RESIDENCE_PACKED, 150);

    prefetch(s, a);
    prefetch(s, b);
    assert_int_equal(sim_dram_used(s), MIB(250));
    sim_evict(s, a, SGI_TIER_DISK);
    assert_int_equal(sim_dram_used(s), MIB(200)); /* b has all of its own now */
    assert_int_equal(shared(s), 0);
    sim_evict(s, b, SGI_TIER_DISK);
    assert_int_equal(sim_dram_used(s), 0);
    sim_free(s);
}

static void room_is_made_until_there_is_enough_whatever_goes_shares(void **state)
{
    (void)state;
    struct sim *s = with_dram(true, 500);
    sgi_model   a = model(s, SGI_RESIDENCE_PACKED, 190), b = model(s, SGI_RESIDENCE_PACKED, 190);
    sgi_model   c = model(s, SGI_RESIDENCE_UNPACKED, 0), d = model(s, SGI_RESIDENCE_UNPACKED, 0);

    sim_takes_ms(s, SGI__ACT_DROP, 10);
    prefetch(s, a);
    prefetch(s, b);
    assert_int_equal(sim_dram_used(s), MIB(210));
    assert_int_equal(prefetch(s, c).status, SGI_OK); /* 10 MiB are lacking: a gives so much, for b keeps the rest */
    assert_false(sim_in_dram(s, a));
    assert_true(sim_in_dram(s, b));
    assert_int_equal(sim_dram_used(s), MIB(500));
    assert_int_equal(prefetch(s, d).status, SGI_OK); /* b does not suffice */
    assert_int_equal(sim_dram_used(s), MIB(300));
    sim_free(s);
}

static void a_place_that_dies_takes_all_of_it(void **state)
{
    (void)state;
    struct sim *s = with_dram(true, 500);
    sgi_model   a = model(s, SGI_RESIDENCE_PACKED, 150), b = model(s, SGI_RESIDENCE_PACKED, 150);

    prefetch(s, a);
    prefetch(s, b);
    sim_kill_place(s);
    assert_int_equal(sim_dram_used(s), 0);
    assert_int_equal(shared(s), 0);
    sim_place_up(s);
    prefetch(s, b);
    assert_int_equal(sim_dram_used(s), MIB(200));
    sim_free(s);
}

/* Carries out what a core asks for, but for drops and the KEEP of one model: how that ends is returned. */
static struct sgi__core_event carry_out(struct sgi__core *core, sgi_model held)
{
    struct sgi__core_event  left = { .op = 0 };
    struct sgi__core_action act;
    struct sgi__core_reply  reply;

    while (sgi__core_take_action(core, &act)) {
        struct sgi__core_event e = { .kind = act.kind == SGI__ACT_CHECK_SOURCE ? SGI__EV_SOURCE_CHECKED
                                             : act.kind == SGI__ACT_RESERVE    ? SGI__EV_RESERVED
                                             : act.kind == SGI__ACT_START_LOAD ? SGI__EV_LOADED
                                             : act.kind == SGI__ACT_KEEP       ? SGI__EV_KEPT
                                                                               : SGI__EV_DROPPED,
                                     .op = act.op,
                                     .model = act.model,
                                     .instance = act.instance };
        if (act.kind == SGI__ACT_DROP || (act.kind == SGI__ACT_KEEP && act.model == held))
            left = e;
        else if (act.kind != SGI__ACT_SPARE_LIMIT)
            sgi__core_event(core, 1000, &e);
        while (sgi__core_take_reply(core, &reply))
            ;
    }
    return left;
}

/* The place has shared before the other one went; the core hears of it in the other order. */
static void whichever_is_heard_first_no_more_is_charged_than_before(void **state)
{
    (void)state;
    struct sgi__core_config       config = { .devices_count = 1,
                                             .devices = { { .bytes_max = MIB(1000), .unified = true } },
                                             .dram_bytes_max = MIB(400),
                                             .wants_max = 8,
                                             .loads_max = 4,
                                             .starve_ns = MS(1000) };
    struct sgi__core_model_config model = { .image_bytes = MIB(300),
                                            .packed_bytes = MIB(200),
                                            .idle_ns = SGI__NEVER,
                                            .hang_ns = SGI__NEVER,
                                            .leases_max = 1,
                                            .residence = SGI_RESIDENCE_PACKED };
    struct sgi__core_want         want = { .tier = SGI_TIER_DRAM,
                                           .prefetch = true,
                                           .device_hint = -1,
                                           .deadline = SGI__NEVER,
                                           .idle_ns = SGI__IDLE_OF_MODEL,
                                           .lease_ns = SGI__NEVER };
    struct sgi__core             *core = sgi__core_new(&config);
    struct sgi__core_totals       totals;
    sgi_model                     first, second;
    sgi_ticket                    ticket;

    assert_non_null(core);
    assert_int_equal(sgi__core_model_add(core, &model, &first), SGI_OK);
    assert_int_equal(sgi__core_model_add(core, &model, &second), SGI_OK);
    assert_int_equal(sgi__core_want(core, 1000, first, &want, &ticket), SGI_OK);
    carry_out(core, 0);
    assert_int_equal(sgi__core_want(core, 1000, second, &want, &ticket), SGI_OK);
    struct sgi__core_event kept = carry_out(core, second);
    kept.shared_bytes = MIB(150);
    assert_int_equal(sgi__core_evict(core, 1000, first, SGI_TIER_DISK), SGI_OK);
    struct sgi__core_event dropped = carry_out(core, 0);
    dropped.shared_bytes = MIB(150);

    assert_true(sgi__core_event(core, 1000, &dropped));
    sgi__core_check(core);
    sgi__core_totals(core, &totals);
    assert_int_equal(totals.dram_bytes, MIB(350)); /* of 400 before; 200 are there */
    assert_int_equal(totals.shared_bytes, 0);
    assert_true(sgi__core_event(core, 1000, &kept));
    sgi__core_check(core);
    sgi__core_totals(core, &totals);
    assert_int_equal(totals.dram_bytes, MIB(200));
    assert_int_equal(totals.shared_bytes, 0);

    assert_int_equal(sgi__core_evict(core, 1000, second, SGI_TIER_DISK), SGI_OK);
    dropped = carry_out(core, 0);
    assert_true(sgi__core_event(core, 1000, &dropped));
    sgi__core_drain(core, 1000);
    carry_out(core, 0);
    sgi__core_free(core);
}

/* ---- pins ---- */

static void a_pin_reserves_what_is_kept_of_it(void **state)
{
    (void)state;
    struct sim *s = with_dram(false, 500);
    sgi_model   a = model(s, SGI_RESIDENCE_PACKED, 0), b = model(s, SGI_RESIDENCE_UNPACKED, 0);

    assert_int_equal(sim_pin(s, a, SGI_TIER_DRAM), SGI_OK);
    assert_int_equal(sim_pin(s, b, SGI_TIER_DRAM), SGI_E_NO_ROOM); /* a's image may be what is kept */
    use_up(s, a);
    assert_int_equal(sim_model_dram(s, a), MIB(200));
    sim_free(s);
}

static void one_that_was_pinned_while_it_ran_is_kept_as_its_image(void **state)
{
    (void)state;
    struct sim *s = with_dram(false, 400);
    sgi_model   a = model(s, SGI_RESIDENCE_PACKED, 0), b = model(s, SGI_RESIDENCE_UNPACKED, 0);

    assert_int_equal(sim_pin(s, b, SGI_TIER_DRAM), SGI_OK);
    sgi_lease lease = sim_acquire(s, a); /* without a copy: b's room is reserved */
    assert_int_equal(sim_dram_used(s), 0);
    assert_int_equal(sim_pin(s, b, SGI_TIER_DISK), SGI_OK);
    assert_int_equal(sim_pin(s, a, SGI_TIER_DRAM), SGI_OK);
    sim_release(s, lease);
    sim_advance_ms(s, 100);
    assert_int_equal(sim_model_dram(s, a), MIB(300));
    sim_free(s);
}

/* ---- counted on ---- */

/* Two that share most of themselves. The first is complete. */
static void family(struct sim *s, sgi_model *first_out, sgi_model *second_out)
{
    sim_sees_shared(s);
    *first_out = model(s, SGI_RESIDENCE_PACKED, 160);
    *second_out = model(s, SGI_RESIDENCE_PACKED, 160);
    assert_int_equal(prefetch(s, *first_out).status, SGI_OK);
}

/* Budget for one and what a second one has of its own. The first is complete. */
static struct sim *tight(bool discrete, sgi_model *first_out, sgi_model *second_out)
{
    struct sim *s = with_dram(discrete, 250);

    family(s, first_out, second_out);
    return s;
}

static void what_is_there_already_needs_no_room(void **state)
{
    (void)state;
    for (int discrete = 0; discrete < 2; discrete++) {
        sgi_model   a, b;
        struct sim *s = tight(discrete, &a, &b);

        if (discrete)
            use_up(s, b); /* a copy beside the load */
        else
            assert_int_equal(prefetch(s, b).status, SGI_OK);
        assert_int_equal(sim_actions(s, SGI__ACT_DROP), 0);
        assert_int_equal(sim_dram_used(s), MIB(240));
        assert_int_equal(shared(s), MIB(160));
        assert_int_equal(sim_evict(s, a, SGI_TIER_DISK), SGI_OK);
        sim_advance_ms(s, 10);
        assert_int_equal(sim_dram_used(s), MIB(200));
        sim_free(s);
    }
}

static void what_a_fill_counts_on_stays_until_it_has_ended(void **state)
{
    (void)state;
    for (int ends = 0; ends < 3; ends++) {
        sgi_model   a, b, other;
        struct sim *s = tight(true, &a, &b);

        other = model(s, SGI_RESIDENCE_PACKED, 0);
        if (ends == 1)
            sim_fail(s, SGI__ACT_START_LOAD, SGI_E_IO, SGI_STEP_READ, 1);
        sim_hold_of(s, SGI__ACT_START_LOAD, b);
        sgi_ticket t = sim_ask(s, b, ends == 2 ? NULL : &(struct sim_ask){ .prefetch = true, .tier = SGI_TIER_DRAM });
        sim_advance_ms(s, 1);
        assert_int_equal(sim_dram_used(s), MIB(240)); /* as if it were complete */
        if (ends == 0)
            sim_trim(s, 0);
        else
            assert_int_equal(sim_evict(s, a, SGI_TIER_DISK), SGI_OK);
        sgi_ticket waits = ask_ahead(s, other);
        sim_advance_ms(s, 1);
        assert_false(sim_outcome(s, waits).ended);
        sim_cancel(s, waits);
        assert_int_equal(sim_actions(s, SGI__ACT_DROP), 0);
        sim_let_go_of(s, SGI__ACT_START_LOAD, b);
        sim_wait(s, t);
        sim_advance_ms(s, 10);
        assert_int_equal(sim_model_dram(s, a), 0);
        assert_int_equal(sim_dram_used(s), ends == 1 ? 0 : MIB(200));
        sim_free_releasing(s);
    }
}

/* Or one after the other would keep it there for ever. */
static void nobody_else_counts_on_what_is_to_go(void **state)
{
    (void)state;
    for (int to_go = 0; to_go < 2; to_go++) {
        struct sim *s = with_dram(true, 290);
        sgi_model   a, b, c;

        family(s, &a, &b);
        c = model(s, SGI_RESIDENCE_PACKED, 160);
        sim_hold_of(s, SGI__ACT_START_LOAD, b);
        sgi_ticket t = ask_ahead(s, b);
        sim_advance_ms(s, 1);
        if (to_go)
            assert_int_equal(sim_evict(s, a, SGI_TIER_DISK), SGI_OK);
        sgi_ticket next = ask_ahead(s, c);
        sim_advance_ms(s, 1);
        assert_int_equal(sim_outcome(s, next).ended, !to_go);
        sim_let_go_of(s, SGI__ACT_START_LOAD, b);
        assert_int_equal(sim_wait(s, t).status, SGI_OK);
        assert_int_equal(sim_wait(s, next).status, SGI_OK);
        sim_advance_ms(s, 10);
        assert_int_equal(sim_model_dram(s, a), to_go ? 0 : MIB(200));
        assert_int_equal(sim_dram_used(s), to_go ? MIB(240) : MIB(280));
        sim_free(s);
    }
}

/* Nor when what counted on it has failed, and others have come to be told what they would share. */
static void what_is_wanted_back_goes_before_the_next_counts_on_it(void **state)
{
    (void)state;
    struct sim *s = with_dram(true, 290);
    sgi_model   a, b, c;

    family(s, &a, &b);
    c = model(s, SGI_RESIDENCE_PACKED, 160);
    sim_fail(s, SGI__ACT_START_LOAD, SGI_E_IO, SGI_STEP_READ, 1);
    sim_hold_of(s, SGI__ACT_START_LOAD, b);
    sim_hold_of(s, SGI__ACT_START_LOAD, c);
    sgi_ticket fails = ask_ahead(s, b);
    sim_advance_ms(s, 1);
    sim_trim(s, 0);
    sgi_ticket next = ask_ahead(s, c);
    sim_advance_ms(s, 1);
    assert_int_equal(sim_actions(s, SGI__ACT_DROP), 0); /* b counts on it, and c waits for b */
    sim_let_go_of(s, SGI__ACT_START_LOAD, b);
    assert_int_equal(sim_wait(s, fails).status, SGI_E_IO);
    sim_advance_ms(s, 10);
    assert_int_equal(sim_model_dram(s, a), 0);
    assert_false(sim_outcome(s, next).ended);
    sim_let_go_of(s, SGI__ACT_START_LOAD, c);
    assert_int_equal(sim_wait(s, next).status, SGI_OK);
    assert_int_equal(sim_dram_used(s), MIB(200));
    sim_free(s);
}

/* What makes room for it goes, and another one has the same. */
static void what_has_changed_since_is_asked_again(void **state)
{
    (void)state;
    sgi_model   a, b;
    struct sim *s = tight(true, &a, &b);
    sgi_model   c = model(s, SGI_RESIDENCE_PACKED, 160);

    assert_int_equal(prefetch(s, c).status, SGI_OK);
    assert_int_equal(sim_dram_used(s), MIB(240));
    sim_hold_of(s, SGI__ACT_START_LOAD, c); /* it is read, so it stays */
    sgi_ticket t = sim_ask(s, c, NULL);
    assert_int_equal(prefetch(s, b).status, SGI_OK);
    assert_int_equal(sim_model_dram(s, a), 0);
    assert_int_equal(sim_dram_used(s), MIB(240));
    sim_let_go_of(s, SGI__ACT_START_LOAD, c);
    sim_release(s, sim_wait(s, t).lease);
    sim_free(s);
}

static void a_family_that_is_asked_for_at_once_fits(void **state)
{
    (void)state;
    struct sim *s = with_dram(true, 290);
    sgi_model   m[3];
    sgi_ticket  t[3];

    sim_sees_shared(s);
    sim_takes_ms(s, SGI__ACT_START_LOAD, 100);
    for (int n = 0; n < 3; n++)
        m[n] = model(s, SGI_RESIDENCE_PACKED, 160);
    for (int n = 0; n < 3; n++)
        t[n] = ask_ahead(s, m[n]);
    for (int n = 0; n < 3; n++)
        assert_int_equal(sim_wait(s, t[n]).status, SGI_OK);
    assert_int_equal(sim_dram_used(s), MIB(280));
    assert_int_equal(sim_actions(s, SGI__ACT_DROP), 0);
    sim_free(s);
}

/* And what has nothing to do with those that are read is refused once they are, whoever comes after them. */
static void what_never_fits_is_refused_all_the_same(void **state)
{
    (void)state;
    struct sim *s = with_dram(true, 250);
    sgi_model   a = model(s, SGI_RESIDENCE_PACKED, 0), b = model(s, SGI_RESIDENCE_PACKED, 0);

    sim_takes_ms(s, SGI__ACT_START_LOAD, 100);
    sgi_ticket first = ask_ahead(s, a);
    sgi_ticket second = ask_ahead(s, b);
    assert_int_equal(sim_pin(s, a, SGI_TIER_DRAM), SGI_E_NO_ROOM); /* its image is larger than that */
    assert_int_equal(sim_wait(s, first).status, SGI_OK);
    assert_int_equal(sim_wait(s, second).status, SGI_OK); /* a may go for it */
    assert_int_equal(sim_model_dram(s, a), 0);
    sim_hold_of(s, SGI__ACT_START_LOAD, b);
    sgi_ticket reads = sim_ask(s, b, NULL);
    assert_int_equal(prefetch(s, a).status, SGI_E_BUSY); /* b is being read, and nothing is filled */
    sim_let_go_of(s, SGI__ACT_START_LOAD, b);
    sim_release(s, sim_wait(s, reads).lease);
    sim_free(s);
}

/* With the place goes what waited, and what it waited for. */
static void after_a_place_has_died_it_is_counted_on_as_before(void **state)
{
    (void)state;
    sgi_model   a, b;
    struct sim *s = tight(true, &a, &b);

    sim_hold_of(s, SGI__ACT_START_LOAD, b);
    ask_ahead(s, b);
    sim_advance_ms(s, 1);
    assert_int_equal(sim_evict(s, a, SGI_TIER_DISK), SGI_OK);
    sim_kill_place(s);
    sim_place_up(s);
    sim_let_go_of(s, SGI__ACT_START_LOAD, b);
    assert_int_equal(prefetch(s, a).status, SGI_OK);
    assert_int_equal(prefetch(s, b).status, SGI_OK);
    assert_int_equal(sim_dram_used(s), MIB(240));
    sim_free(s);
}

/* One that goes takes it along, though others hear of that later. */
static void what_went_since_is_not_counted_on(void **state)
{
    (void)state;
    sgi_model   a, b;
    struct sim *s = tight(true, &a, &b);

    sim_takes_ms(s, SGI__ACT_CHECK_SOURCE, 10);
    sim_takes_ms(s, SGI__ACT_DROP, 30);
    sgi_ticket t = ask_ahead(s, b);
    assert_int_equal(sim_evict(s, a, SGI_TIER_DISK), SGI_OK);
    assert_int_equal(sim_wait(s, t).status, SGI_OK);
    assert_int_equal(sim_dram_used(s), MIB(200));
    sim_free(s);
}

static void what_is_going_is_not_counted_on(void **state)
{
    (void)state;
    sgi_model   a, b;
    struct sim *s = tight(true, &a, &b);

    sim_takes_ms(s, SGI__ACT_DROP, 30);
    assert_int_equal(sim_evict(s, a, SGI_TIER_DISK), SGI_OK);
    assert_int_equal(prefetch(s, b).status, SGI_OK);
    assert_int_equal(sim_dram_used(s), MIB(200));
    sim_free(s);
}

/* It needs 40 MiB beside what it shares, and those are to be had soon. */
static void what_it_shares_does_not_go_for_it(void **state)
{
    (void)state;
    static const struct {
        bool packed, evicted, read;
    } cases[] = { { true, true, false }, { true, true, true },    { false, true, false },
                  { false, true, true }, { false, false, false }, { false, false, true } };

    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        struct sim      *s = with_dram(true, 270);
        struct sim_model small = { .bytes = MIB(45), .residence = SGI_RESIDENCE_UNPACKED };
        sgi_ticket       reads = 0;

        if (cases[n].packed)
            small = (struct sim_model){ .bytes = MIB(60), .packed_bytes = MIB(45), .residence = SGI_RESIDENCE_PACKED };
        sgi_model a, b, beside = sim_model(s, &small);
        family(s, &a, &b);
        assert_int_equal(prefetch(s, beside).status, SGI_OK);
        assert_int_equal(sim_dram_used(s), MIB(245));
        if (cases[n].read) { /* it could not go */
            sim_hold_of(s, SGI__ACT_START_LOAD, a);
            reads = sim_ask(s, a, NULL);
        }
        sim_takes_ms(s, SGI__ACT_DROP, 30);
        if (cases[n].evicted)
            assert_int_equal(sim_evict(s, beside, SGI_TIER_DISK), SGI_OK);
        assert_int_equal(prefetch(s, b).status, SGI_OK);
        assert_int_equal(sim_actions(s, SGI__ACT_DROP), 1);
        assert_int_equal(sim_model_dram(s, a), MIB(200));
        assert_int_equal(sim_dram_used(s), MIB(240));
        sim_let_go_of(s, SGI__ACT_START_LOAD, a);
        if (reads)
            sim_release(s, sim_wait(s, reads).lease);
        sim_free(s);
    }
}

/* The one that began to go later has gone first. */
static void all_that_leave_are_waited_for(void **state)
{
    (void)state;
    struct sim      *s = with_dram(true, 290);
    struct sim_model small = { .bytes = MIB(60), .packed_bytes = MIB(40), .residence = SGI_RESIDENCE_PACKED };

    sgi_model a, b, slow = sim_model(s, &small), quick = sim_model(s, &small);

    family(s, &a, &b);
    assert_int_equal(prefetch(s, slow).status, SGI_OK);
    assert_int_equal(prefetch(s, quick).status, SGI_OK);
    sim_hold_of(s, SGI__ACT_DROP, slow);
    assert_int_equal(sim_evict(s, slow, SGI_TIER_DISK), SGI_OK);
    sgi_ticket t = ask_ahead(s, b);
    sim_advance_ms(s, 1);
    assert_int_equal(sim_evict(s, quick, SGI_TIER_DISK), SGI_OK);
    sim_advance_ms(s, 10);
    assert_int_equal(sim_model_dram(s, quick), 0);
    assert_false(sim_outcome(s, t).ended);
    sim_let_go_of(s, SGI__ACT_DROP, slow);
    assert_int_equal(sim_wait(s, t).status, SGI_OK);
    assert_int_equal(sim_actions(s, SGI__ACT_DROP), 2);
    assert_int_equal(sim_dram_used(s), MIB(240));
    sim_free(s);
}

/* Then nobody else goes for that. */
static void little_in_common_keeps_nothing(void **state)
{
    (void)state;
    struct sim *s = with_dram(true, 320);

    sim_sees_shared(s);
    sgi_model a = model(s, SGI_RESIDENCE_PACKED, 90), b = model(s, SGI_RESIDENCE_PACKED, 90);
    sgi_model beside = sim_model(s, &(struct sim_model){ .bytes = MIB(110), .residence = SGI_RESIDENCE_UNPACKED });
    assert_int_equal(prefetch(s, a).status, SGI_OK);
    assert_int_equal(prefetch(s, beside).status, SGI_OK);
    assert_int_equal(prefetch(s, b).status, SGI_OK);
    assert_int_equal(sim_actions(s, SGI__ACT_DROP), 1);
    assert_int_equal(sim_model_dram(s, a), 0);
    assert_true(sim_in_dram(s, beside));
    sim_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_to_be_packed_stays_beside_the_image_on_a_host),
        cmocka_unit_test(of_its_own_accord_it_is_packed_only_where_others_would_have_to_go),
        cmocka_unit_test(on_a_host_what_may_choose_keeps_its_image),
        cmocka_unit_test(it_is_packed_where_all_of_it_would_never_fit),
        cmocka_unit_test(what_gains_less_than_an_eighth_is_not_packed_by_itself),
        cmocka_unit_test(an_engine_s_part_is_filled_again_from_what_is_packed),
        cmocka_unit_test(a_copy_is_packed_though_the_engine_s_part_fails),
        cmocka_unit_test(what_is_packed_is_read_by_two_at_once_on_hosts),
        cmocka_unit_test(what_residences_have_in_common_is_charged_once),
        cmocka_unit_test(what_one_that_goes_has_in_common_with_others_stays),
        cmocka_unit_test(what_is_there_already_needs_no_room),
        cmocka_unit_test(what_a_fill_counts_on_stays_until_it_has_ended),
        cmocka_unit_test(nobody_else_counts_on_what_is_to_go),
        cmocka_unit_test(what_is_wanted_back_goes_before_the_next_counts_on_it),
        cmocka_unit_test(what_has_changed_since_is_asked_again),
        cmocka_unit_test(a_family_that_is_asked_for_at_once_fits),
        cmocka_unit_test(what_never_fits_is_refused_all_the_same),
        cmocka_unit_test(after_a_place_has_died_it_is_counted_on_as_before),
        cmocka_unit_test(what_went_since_is_not_counted_on),
        cmocka_unit_test(what_is_going_is_not_counted_on),
        cmocka_unit_test(what_it_shares_does_not_go_for_it),
        cmocka_unit_test(all_that_leave_are_waited_for),
        cmocka_unit_test(little_in_common_keeps_nothing),
        cmocka_unit_test(room_is_made_until_there_is_enough_whatever_goes_shares),
        cmocka_unit_test(a_place_that_dies_takes_all_of_it),
        cmocka_unit_test(whichever_is_heard_first_no_more_is_charged_than_before),
        cmocka_unit_test(a_pin_reserves_what_is_kept_of_it),
        cmocka_unit_test(one_that_was_pinned_while_it_ran_is_kept_as_its_image),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
