/* SPDX-License-Identifier: Apache-2.0 */
/* The core: host memory that is wanted back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sim/sim.h"

static struct sim *with_dram(uint64_t dram_mib)
{
    return sim_new(&(struct sim_config){ .seed = 7, .vram_bytes = MIB(2000), .dram_bytes = MIB(dram_mib) });
}

static sgi_model model(struct sim *s)
{
    return sim_model(s, &(struct sim_model){ .bytes = MIB(100), .idle_ms = 100 });
}

static void use_up(struct sim *s, sgi_model m, int times)
{
    while (times-- > 0) {
        sim_release(s, sim_acquire(s, m));
        sim_advance_ms(s, 100);
    }
}

static void a_trim_leaves_so_much_of_what_is_worth_most(void **state)
{
    (void)state;
    struct sim *s = with_dram(1000);
    sgi_model   m[8];

    for (int n = 0; n < 8; n++) {
        m[n] = model(s);
        use_up(s, m[n], 8 - n);
    }
    assert_int_equal(sim_dram_used(s), MIB(800));
    sim_trim(s, MIB(350));
    assert_int_equal(sim_dram_used(s), MIB(300));
    for (int n = 0; n < 8; n++)
        assert_int_equal(sim_in_dram(s, m[n]), n < 3);
    sim_trim(s, MIB(350)); /* nothing to do */
    assert_int_equal(sim_dram_used(s), MIB(300));
    use_up(s, m[7], 1); /* once, and over */
    assert_int_equal(sim_dram_used(s), MIB(400));
    sim_trim(s, 0);
    assert_int_equal(sim_dram_used(s), 0);
    sim_free(s);
}

static void a_trim_is_over_though_things_go_slowly(void **state)
{
    (void)state;
    struct sim *s = with_dram(1000);
    sgi_model   before = model(s), after[4];

    sim_takes_ms(s, SGI__ACT_DROP, 5000);
    use_up(s, before, 1);
    sim_trim(s, 0);
    for (int n = 0; n < 4; n++) {
        after[n] = model(s);
        use_up(s, after[n], 1);
        sim_advance_ms(s, 1000);
        assert_true(sim_in_dram(s, after[n]));
    }
    sim_advance_ms(s, 5000);
    assert_int_equal(sim_dram_used(s), MIB(400));
    sim_free(s);
}

static void a_trim_leaves_what_is_pinned_or_waited_for(void **state)
{
    (void)state;
    struct sim *s = with_dram(1000);
    sgi_model   pinned = model(s), wanted = model(s), used = model(s);

    use_up(s, pinned, 1);
    use_up(s, wanted, 1);
    use_up(s, used, 1);
    sim_pin(s, pinned, SGI_TIER_DRAM);
    sgi_model  full = sim_model(s, &(struct sim_model){ .bytes = MIB(1950) });
    sgi_lease  in_the_way = sim_acquire(s, full);
    sgi_ticket ticket = sim_ask(s, wanted, NULL);
    sim_trim(s, 0);
    assert_true(sim_in_dram(s, pinned));
    assert_true(sim_in_dram(s, wanted));
    assert_false(sim_in_dram(s, used));
    sim_release(s, in_the_way);
    assert_int_equal(sim_wait(s, ticket).tier, SGI_TIER_DRAM);
    sim_free_releasing(s);
}

static void what_goes_of_a_family_goes_until_enough_has(void **state)
{
    (void)state;
    struct sim_model spec = {
        .bytes = MIB(300), .packed_bytes = MIB(200), .common_bytes = MIB(150), .residence = SGI_RESIDENCE_PACKED
    };
    struct sim *s = with_dram(1000);

    sim_takes_ms(s, SGI__ACT_DROP, 5);
    for (int n = 0; n < 4; n++)
        sim_wait(s, sim_ask(s, sim_model(s, &spec), &(struct sim_ask){ .prefetch = true, .tier = SGI_TIER_DRAM }));
    assert_int_equal(sim_dram_used(s), MIB(200 + 3 * 50));
    sim_trim(s, MIB(220)); /* one of them seems enough, and is not */
    sim_advance_ms(s, 100);
    assert_int_equal(sim_dram_used(s), MIB(200));
    sim_free(s);
}

static void under_pressure_a_quarter_goes_and_less_is_kept_for_a_while(void **state)
{
    (void)state;
    struct sim *s = with_dram(800);
    sgi_model   m[8], another = model(s);

    for (int n = 0; n < 8; n++) {
        m[n] = model(s);
        use_up(s, m[n], 1);
    }
    assert_int_equal(sim_dram_used(s), MIB(800));
    sim_pressure(s);
    assert_int_equal(sim_dram_used(s), MIB(600));
    use_up(s, another, 1); /* in the place of another one */
    assert_true(sim_in_dram(s, another));
    assert_int_equal(sim_dram_used(s), MIB(600));
    sim_pressure(s);
    assert_int_equal(sim_dram_used(s), MIB(400)); /* 450 may stay */
    sim_advance_ms(s, 10000);
    use_up(s, m[0], 1);
    assert_int_equal(sim_dram_used(s), MIB(500)); /* of 550 */
    for (int n = 0; n < 4; n++)
        sim_advance_ms(s, 10000);
    for (int n = 0; n < 8; n++)
        use_up(s, m[n], 1);
    assert_int_equal(sim_dram_used(s), MIB(800));
    sim_free(s);
}

static void a_pin_holds_under_pressure(void **state)
{
    (void)state;
    struct sim *s = with_dram(400);
    sgi_model   pinned = model(s), other = model(s);

    sim_pin(s, pinned, SGI_TIER_DRAM);
    use_up(s, pinned, 1);
    for (int n = 0; n < 10; n++)
        sim_pressure(s);
    assert_true(sim_in_dram(s, pinned));
    use_up(s, other, 1);
    assert_false(sim_in_dram(s, other));
    use_up(s, pinned, 1);
    assert_true(sim_in_dram(s, pinned));
    sim_free(s);
}

static void a_prefetch_finds_no_room_under_pressure(void **state)
{
    (void)state;
    struct sim *s = with_dram(400);
    sgi_model   m = model(s);

    sim_pressure(s); /* nothing is there, and nothing may be */
    assert_int_equal(sim_wait(s, sim_ask(s, m, &(struct sim_ask){ .prefetch = true, .tier = SGI_TIER_DRAM })).status,
                     SGI_E_BUSY);
    sim_advance_ms(s, 30000);
    assert_int_equal(sim_wait(s, sim_ask(s, m, &(struct sim_ask){ .prefetch = true, .tier = SGI_TIER_DRAM })).status,
                     SGI_OK);
    sim_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_trim_leaves_so_much_of_what_is_worth_most),
        cmocka_unit_test(a_trim_is_over_though_things_go_slowly),
        cmocka_unit_test(a_trim_leaves_what_is_pinned_or_waited_for),
        cmocka_unit_test(what_goes_of_a_family_goes_until_enough_has),
        cmocka_unit_test(under_pressure_a_quarter_goes_and_less_is_kept_for_a_while),
        cmocka_unit_test(a_pin_holds_under_pressure),
        cmocka_unit_test(a_prefetch_finds_no_room_under_pressure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
