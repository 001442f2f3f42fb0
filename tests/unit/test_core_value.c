/* SPDX-License-Identifier: Apache-2.0 */
/* The core: which residence goes first where room is short in DRAM. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sim/sim.h"

#define DAY_MS (UINT64_C(86400) * 1000)

static struct sim *with_dram(uint64_t dram_mib)
{
    return sim_new(&(struct sim_config){ .seed = 7, .vram_bytes = MIB(2000), .dram_bytes = MIB(dram_mib) });
}

static sgi_model model(struct sim *s, uint64_t mib)
{
    return sim_model(s, &(struct sim_model){ .bytes = MIB(mib), .idle_ms = 100 });
}

/* Used so many times, and idle for so long after each that it left its device. */
static void use_up(struct sim *s, sgi_model m, int times)
{
    while (times-- > 0) {
        sim_release(s, sim_acquire(s, m));
        sim_advance_ms(s, 100);
    }
}

static void who_starts_often_stays(void **state)
{
    (void)state;
    struct sim *s = with_dram(700);
    sgi_model   often = model(s, 300), once = model(s, 300), another = model(s, 300);

    use_up(s, often, 5);
    use_up(s, once, 1);
    use_up(s, another, 1);
    assert_true(sim_in_dram(s, often));
    assert_false(sim_in_dram(s, once)); /* though it was used last */
    assert_true(sim_in_dram(s, another));
    sim_free(s);
}

static void of_equals_the_one_unused_longest_goes(void **state)
{
    (void)state;
    struct sim *s = with_dram(700);
    sgi_model   first = model(s, 300), second = model(s, 300), third = model(s, 300);

    use_up(s, first, 1);
    use_up(s, second, 1);
    use_up(s, third, 1);
    assert_false(sim_in_dram(s, first));
    assert_true(sim_in_dram(s, second));
    assert_true(sim_in_dram(s, third));
    sim_free(s);
}

static void who_is_slow_to_read_stays(void **state)
{
    (void)state;
    struct sim *s = with_dram(700);
    sgi_model   slow = model(s, 300), fast = model(s, 300), another = model(s, 300);

    sim_takes_ms(s, SGI__ACT_START_LOAD, 5000);
    use_up(s, slow, 1);
    sim_takes_ms(s, SGI__ACT_START_LOAD, 100);
    use_up(s, fast, 1);
    use_up(s, another, 1);
    assert_true(sim_in_dram(s, slow));
    assert_false(sim_in_dram(s, fast));
    sim_free(s);
}

/* They save the same, and one takes three times as much for it. */
static void who_is_large_for_what_it_saves_goes(void **state)
{
    (void)state;
    struct sim *s = with_dram(900);
    sgi_model   large = model(s, 600), small = model(s, 200), another = model(s, 200);

    sim_takes_ms(s, SGI__ACT_START_LOAD, 1000);
    use_up(s, small, 1);
    use_up(s, large, 1);
    use_up(s, another, 1);
    assert_false(sim_in_dram(s, large)); /* though it was used last */
    assert_true(sim_in_dram(s, small));
    sim_free(s);
}

static void uses_of_long_ago_count_for_little(void **state)
{
    (void)state;
    struct sim *s = with_dram(700);
    sgi_model   before = model(s, 300), now = model(s, 300), another = model(s, 300);

    use_up(s, before, 20);
    sim_evict(s, before, SGI_TIER_DISK);
    sim_advance_ms(s, 10 * DAY_MS);
    use_up(s, before, 1); /* 1.02 by now */
    use_up(s, now, 2);
    use_up(s, another, 1);
    assert_false(sim_in_dram(s, before));
    assert_true(sim_in_dram(s, now));
    sim_free(s);
}

static void a_day_is_half_of_it(void **state)
{
    (void)state;
    struct sim *s = with_dram(1000);
    sgi_model   m = model(s, 300);
    uint64_t    value[4];

    sim_takes_ms(s, SGI__ACT_START_LOAD, 1000);
    use_up(s, m, 1);
    sim_takes_ms(s, SGI__ACT_START_LOAD, 0); /* from DRAM, from now on */
    value[0] = sim_view(s, m).residence_value;
    for (int n = 1; n < 4; n++) { /* 1, 1/2 + 1, 3/4 + 1, 7/8 + 1 */
        sim_advance_ms(s, DAY_MS - 100);
        use_up(s, m, 1);
        value[n] = sim_view(s, m).residence_value;
        double expected = (double)value[0] * (2 - 1.0 / (1 << n));
        assert_true((double)value[n] > expected * 0.99 && (double)value[n] < expected * 1.01);
    }
    sim_free(s);
}

/* Who was worth much once goes after others have come and gone often enough. */
static void nobody_stays_for_ever(void **state)
{
    (void)state;
    struct sim *s = with_dram(700);
    sgi_model   once = model(s, 300), others[8];
    int         rounds = 0;

    use_up(s, once, 8);
    for (int n = 0; n < 8; n++)
        others[n] = model(s, 300);
    for (; sim_in_dram(s, once) && rounds < 100; rounds++)
        use_up(s, others[rounds % 8], 1);
    assert_in_range(rounds, 3, 60);
    sim_free(s);
}

static void a_pin_is_worth_more_than_anything(void **state)
{
    (void)state;
    struct sim *s = with_dram(700);
    sgi_model   pinned = model(s, 300), often = model(s, 300), another = model(s, 300);

    use_up(s, pinned, 1);
    assert_int_equal(sim_pin(s, pinned, SGI_TIER_DRAM), SGI_OK);
    use_up(s, often, 10);
    use_up(s, another, 1);
    assert_true(sim_in_dram(s, pinned));
    assert_false(sim_in_dram(s, often));
    sim_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_starts_often_stays),
        cmocka_unit_test(of_equals_the_one_unused_longest_goes),
        cmocka_unit_test(who_is_slow_to_read_stays),
        cmocka_unit_test(who_is_large_for_what_it_saves_goes),
        cmocka_unit_test(uses_of_long_ago_count_for_little),
        cmocka_unit_test(a_day_is_half_of_it),
        cmocka_unit_test(nobody_stays_for_ever),
        cmocka_unit_test(a_pin_is_worth_more_than_anything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
