/* SPDX-License-Identifier: Apache-2.0 */
/* The limit on how fast a runtime reads, over a clock that stands still until the test moves it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdatomic.h>
#include <stdbool.h>

#include "load/rate.h"
#include "support/gate.h"

#define MS  UINT64_C(1000000)
#define S   (UINT64_C(1000) * MS)
#define KIB UINT64_C(1024)

static atomic_uint_fast64_t time_ns;

static uint64_t now_ns(void *user)
{
    (void)user;
    return atomic_load(&time_ns);
}

static const struct sgi__clock test_clock = { .now_ns = now_ns };

static void set_up(struct sgi__rate *rate, uint64_t bytes_per_s)
{
    atomic_store(&time_ns, 1000 * S);
    sgi__rate_init(rate, bytes_per_s, &test_clock);
}

static void advance(uint64_t ns)
{
    atomic_fetch_add(&time_ns, ns);
}

/* As many reads of `bytes` as are given now. */
static uint64_t take_all(struct sgi__rate *rate, struct sgi__rate_turn *turn, uint64_t bytes)
{
    uint64_t count = 0;
    while (count < 1000000 && sgi__rate_take(rate, turn, bytes, false))
        count++;
    return count;
}

static void without_a_limit_everything_goes(void **state)
{
    (void)state;
    struct sgi__rate      rate;
    struct sgi__rate_turn turn = { 0 };

    assert_int_equal(take_all(NULL, &turn, 1 << 20), 1000000);
    set_up(&rate, 0);
    assert_int_equal(take_all(&rate, &turn, SGI__RATE_READ_MAX), 1000000);
    sgi__rate_charge(&rate, SGI__RATE_READ_MAX);
    assert_true(sgi__rate_take(&rate, &turn, 1, true));
    sgi__rate_fini(&rate);
}

/* Whatever the steps of time are, what is given over a long time is the limit, to the byte. */
static void over_time_the_rate_is_exact(void **state)
{
    (void)state;
    static const uint64_t limits[] = { 1000003, 64 * KIB, UINT64_C(1) << 30, UINT64_C(7777777777) };
    static const uint64_t steps[] = { 1, 3, 7, 49 };

    for (size_t l = 0; l < sizeof limits / sizeof *limits; l++)
        for (size_t s = 0; s < sizeof steps / sizeof *steps; s++) {
            struct sgi__rate      rate;
            struct sgi__rate_turn turn = { 0 };
            uint64_t              bytes = limits[l] / 1000 + 1, given, begin = 1000 * S;

            set_up(&rate, limits[l]);
            given = take_all(&rate, &turn, bytes) * bytes;
            while (atomic_load(&time_ns) < begin + 60 * S) {
                advance(steps[s] * MS);
                given += take_all(&rate, &turn, bytes) * bytes;
            }
            uint64_t passed_ms = (atomic_load(&time_ns) - begin + SGI__RATE_BURST_NS) / MS;
            uint64_t most = limits[l] / 1000 * passed_ms + limits[l] % 1000 * passed_ms / 1000;
            assert_true(given <= most + bytes);
            assert_true(given + bytes >= most);
            sgi__rate_leave(&rate, &turn);
            sgi__rate_fini(&rate);
        }
}

static void after_a_pause_so_much_comes_at_once_and_no_more(void **state)
{
    (void)state;
    struct sgi__rate      rate;
    struct sgi__rate_turn turn = { 0 };

    set_up(&rate, 1000 * KIB); /* a KiB a millisecond: 50 of them, and the one that begins when the last is paid */
    assert_int_equal(take_all(&rate, &turn, KIB), 51);
    advance(MS);
    assert_int_equal(take_all(&rate, &turn, KIB), 1);
    sgi__rate_leave(&rate, &turn); /* it has lined up again and would be given one meanwhile */
    advance(10 * 365 * 24 * 3600 * S);
    assert_int_equal(take_all(&rate, &turn, KIB), 51);
    sgi__rate_leave(&rate, &turn);
    advance(20 * MS);
    assert_int_equal(take_all(&rate, &turn, KIB), 20); /* half a pause gives half of it */
    sgi__rate_leave(&rate, &turn);
    sgi__rate_fini(&rate);
}

/* A read is given as soon as those before it are paid for, however large it is itself. */
static void the_slowest_and_the_fastest_stay_inside_64_bits(void **state)
{
    (void)state;
    struct sgi__rate      rate;
    struct sgi__rate_turn turn = { 0 };

    set_up(&rate, 1);
    assert_int_equal(take_all(&rate, &turn, SGI__RATE_READ_MAX), 1);
    advance(SGI__RATE_READ_MAX * S - SGI__RATE_BURST_NS - 1); /* 272 years */
    assert_false(sgi__rate_take(&rate, &turn, 1, false));
    advance(1);
    assert_true(sgi__rate_take(&rate, &turn, 1, false));
    for (int n = 0; n < 5; n++)
        sgi__rate_charge(&rate, SGI__RATE_READ_MAX);
    assert_int_equal(rate.paid_ns, UINT64_MAX); /* and not past it, to the beginning of time */
    assert_false(sgi__rate_take(&rate, &turn, 1, false));
    sgi__rate_leave(&rate, &turn);
    sgi__rate_fini(&rate);

    static const uint64_t fast[] = { (uint64_t)INT64_MAX - 1, (uint64_t)INT64_MAX, UINT64_MAX };
    for (size_t n = 0; n < sizeof fast / sizeof *fast; n++) {
        set_up(&rate, fast[n]);
        for (int reads = 0; reads < 1000; reads++) /* 8 TiB; at 2^63 bytes a second they take a microsecond */
            assert_true(sgi__rate_take(&rate, &turn, SGI__RATE_READ_MAX, false));
        assert_true(n == 0 ? rate.rest > 0 : rate.rest == 0); /* from 2^63 - 1 on nothing is counted */
        sgi__rate_fini(&rate);
    }
}

static void a_failed_try_is_paid_by_those_that_follow(void **state)
{
    (void)state;
    struct sgi__rate      rate;
    struct sgi__rate_turn turn = { 0 };

    set_up(&rate, 1000 * KIB);
    take_all(&rate, &turn, KIB);
    sgi__rate_charge(&rate, 100 * KIB);
    advance(100 * MS);
    assert_false(sgi__rate_take(&rate, &turn, KIB, false));
    advance(MS);
    assert_true(sgi__rate_take(&rate, &turn, KIB, false));
    sgi__rate_leave(&rate, &turn);
    sgi__rate_fini(&rate);
}

/* ---- several ---- */

/* Reads that each of two gets in `ms` milliseconds when both want one all the time. */
static void share_out(struct sgi__rate *rate, struct sgi__rate_turn *a, struct sgi__rate_turn *b, uint32_t ms,
                      uint32_t *a_out, uint32_t *b_out)
{
    *a_out = *b_out = 0;
    while (sgi__rate_take(rate, a, KIB, false)) {
    }
    assert_false(sgi__rate_take(rate, b, KIB, false));
    for (uint32_t n = 0; n < ms; n++) {
        advance(MS);
        *a_out += sgi__rate_take(rate, a, KIB, false);
        *b_out += sgi__rate_take(rate, b, KIB, false);
        assert_false(sgi__rate_take(rate, a, KIB, false)); /* both are in the line again */
        assert_false(sgi__rate_take(rate, b, KIB, false));
    }
}

static void two_share_it_by_urgency_and_neither_starves(void **state)
{
    (void)state;
    static const struct {
        int32_t  a, b;
        uint32_t a_reads, b_reads;
    } cases[] = { { 0, 0, 400, 400 }, { 5, 0, 700, 100 }, { 0, 1, 100, 700 }, { INT32_MIN, INT32_MAX, 100, 700 } };

    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        struct sgi__rate      rate;
        struct sgi__rate_turn a = { 0 }, b = { .priority = cases[n].b };
        uint32_t              a_reads, b_reads;

        set_up(&rate, 1000 * KIB);
        sgi__rate_priority(&rate, &a, cases[n].a);
        share_out(&rate, &a, &b, 800, &a_reads, &b_reads);
        assert_int_equal(a_reads + b_reads, 800); /* together no more and no less than the limit */
        assert_in_range(a_reads, cases[n].a_reads - 2, cases[n].a_reads + 2);
        assert_in_range(b_reads, cases[n].b_reads - 2, cases[n].b_reads + 2);
        sgi__rate_leave(&rate, &a);
        sgi__rate_leave(&rate, &b);
        sgi__rate_fini(&rate);
    }
}

/* The one whose turn it is may be busy. What is its own is kept, and others go on. */
static void one_that_does_not_look_holds_nobody_up(void **state)
{
    (void)state;
    struct sgi__rate      rate;
    struct sgi__rate_turn busy = { .priority = 9 }, other = { 0 };

    set_up(&rate, 1000 * KIB);
    take_all(&rate, &busy, KIB); /* it is in the line now */
    assert_false(sgi__rate_take(&rate, &other, KIB, false));
    advance(MS);
    assert_false(sgi__rate_take(&rate, &other, KIB, false)); /* that one was for the urgent one */
    advance(MS);
    assert_true(sgi__rate_take(&rate, &other, KIB, false));
    assert_true(sgi__rate_take(&rate, &busy, KIB, false));
    assert_false(sgi__rate_take(&rate, &busy, KIB, false));
    sgi__rate_leave(&rate, &busy);
    sgi__rate_leave(&rate, &other);
    sgi__rate_fini(&rate);
}

/* ---- waiting ---- */

struct waiting {
    struct sgi__rate     *rate;
    struct sgi__rate_turn turn;
    bool                  given;
};

static void *wait_for_turn(void *user)
{
    struct waiting *w = user;
    w->given = sgi__rate_take(w->rate, &w->turn, KIB, true);
    return NULL;
}

static bool lined_up(void *user)
{
    struct waiting *w = user;
    pthread_mutex_lock(&w->rate->mutex);
    bool waits = w->turn.waits;
    pthread_mutex_unlock(&w->rate->mutex);
    return waits;
}

static void a_wait_ends_when_its_time_has_come_or_it_is_canceled(void **state)
{
    (void)state;
    struct sgi__rate rate;
    struct waiting   waits[2] = { { .rate = &rate }, { .rate = &rate } };
    pthread_t        threads[2];

    set_up(&rate, 1000 * KIB);
    take_all(&rate, &waits[0].turn, KIB);
    sgi__rate_leave(&rate, &waits[0].turn);
    for (int n = 0; n < 2; n++) {
        assert_int_equal(pthread_create(&threads[n], NULL, wait_for_turn, &waits[n]), 0);
        test_wait_until(lined_up, &waits[n], "a line");
    }
    sgi__rate_cancel(&rate, &waits[0].turn); /* no time has passed */
    pthread_join(threads[0], NULL);
    assert_false(waits[0].given);
    assert_true(lined_up(&waits[1]));
    sgi__rate_leave(&rate, &waits[0].turn);
    advance(MS);
    sgi__rate_poke(&rate);
    pthread_join(threads[1], NULL);
    assert_true(waits[1].given);
    assert_false(sgi__rate_take(&rate, &waits[0].turn, KIB, true)); /* canceled before it waits: it does not */
    sgi__rate_leave(&rate, &waits[0].turn);
    sgi__rate_fini(&rate);
}

/* Over the real clock a wait ends by itself, and not early. */
static void a_wait_takes_real_time(void **state)
{
    (void)state;
    static const struct sgi__clock real;
    struct sgi__rate               rate;
    struct sgi__rate_turn          turn = { 0 };

    sgi__rate_init(&rate, 1000 * KIB, &real);
    uint64_t begin = sgi__clock_now_ns();
    for (int n = 0; n < 76; n++) /* 50 at once, 25 to be waited for */
        assert_true(sgi__rate_take(&rate, &turn, KIB, true));
    assert_true(sgi__clock_now_ns() - begin >= 25 * MS);
    sgi__rate_fini(&rate);
}

/* In whole pages, so that they go past the page cache; no larger than what comes at once. */
static void a_read_is_no_larger_than_the_burst(void **state)
{
    (void)state;
    const uint32_t block = 2 << 20;
    assert_int_equal(sgi__rate_block(0, block), block); /* no limit */
    assert_int_equal(sgi__rate_block(UINT64_MAX, block), block);
    assert_int_equal(sgi__rate_block((uint64_t)block * 20, block), block);
    assert_int_equal(sgi__rate_block((uint64_t)block * 20 - 1, block), block - 4096);
    assert_int_equal(sgi__rate_block(1024 * KIB, block), 49152);
    assert_int_equal(sgi__rate_block(1024 * KIB, 4096), 4096);
    assert_int_equal(sgi__rate_block(2 * 4096 * 20, block), 8192);
    assert_int_equal(sgi__rate_block(4096 * 20, block), 4096);
    assert_int_equal(sgi__rate_block(1, block), 4096); /* nothing smaller goes past the page cache */
}

/* It pays for what it reads, not for what it has waited for. */
static void who_asks_for_something_else_pays_for_that(void **state)
{
    (void)state;
    struct sgi__rate      rate;
    struct sgi__rate_turn turn = { 0 };

    set_up(&rate, 1000 * KIB);
    while (sgi__rate_take(&rate, &turn, 10 * KIB, false)) /* and then it is in the line for 10 KiB */
        ;
    advance(10 * MS);
    sgi__rate_poke(&rate); /* given, and not taken */
    assert_true(sgi__rate_take(&rate, &turn, 40 * KIB, false));
    advance(39 * MS);
    assert_false(sgi__rate_take(&rate, &turn, 10 * KIB, false));
    advance(1 * MS);
    assert_true(sgi__rate_take(&rate, &turn, 10 * KIB, false));

    assert_false(sgi__rate_take(&rate, &turn, 10 * KIB, false)); /* it thinks better of it while it waits */
    assert_false(sgi__rate_take(&rate, &turn, 100 * KIB, false));
    advance(10 * MS);
    assert_true(sgi__rate_take(&rate, &turn, 100 * KIB, false));
    advance(99 * MS);
    assert_false(sgi__rate_take(&rate, &turn, 10 * KIB, false));
    advance(1 * MS);
    assert_true(sgi__rate_take(&rate, &turn, 10 * KIB, false));

    assert_false(sgi__rate_take(&rate, &turn, 100 * KIB, false));
    advance(10 * MS);
    sgi__rate_poke(&rate);
    assert_true(sgi__rate_take(&rate, &turn, 3 * KIB, false));
    advance(3 * MS - 1);
    assert_false(sgi__rate_take(&rate, &turn, 10 * KIB, false));
    advance(1);
    assert_true(sgi__rate_take(&rate, &turn, 10 * KIB, false));
    sgi__rate_fini(&rate);
}

/* Or several that were given little would be over the limit by much, all at once. */
static void who_asks_for_more_may_have_to_wait_for_it(void **state)
{
    (void)state;
    struct sgi__rate      rate;
    struct sgi__rate_turn a = { 0 }, b = { 0 }, c = { 0 };

    set_up(&rate, 1000 * KIB);
    take_all(&rate, &a, 10 * KIB);
    assert_false(sgi__rate_take(&rate, &b, 10 * KIB, false));
    assert_false(sgi__rate_take(&rate, &c, 10 * KIB, false));
    advance(10 * MS);
    sgi__rate_poke(&rate);
    advance(10 * MS);
    sgi__rate_poke(&rate); /* both have been given theirs */
    assert_true(sgi__rate_take(&rate, &a, 40 * KIB, false));
    assert_false(sgi__rate_take(&rate, &b, 40 * KIB, false));
    advance(30 * MS - 1);
    assert_false(sgi__rate_take(&rate, &b, 40 * KIB, false));
    advance(1);
    assert_true(sgi__rate_take(&rate, &b, 40 * KIB, false)); /* before c, which has waited */
    advance(40 * MS);
    assert_true(sgi__rate_take(&rate, &c, 10 * KIB, false));
    sgi__rate_fini(&rate);
}

static void a_read_of_any_size_is_no_larger_either(void **state)
{
    (void)state;
    struct sgi__rate rate;

    assert_int_equal(sgi__rate_read_max(NULL), UINT64_MAX);
    set_up(&rate, 0);
    assert_int_equal(sgi__rate_read_max(&rate), UINT64_MAX);
    sgi__rate_fini(&rate);
    set_up(&rate, 1);
    assert_int_equal(sgi__rate_read_max(&rate), 4096);
    sgi__rate_fini(&rate);
    set_up(&rate, UINT64_C(1) << 30);
    assert_int_equal(sgi__rate_read_max(&rate), (UINT64_C(1) << 30) / 20 / 4096 * 4096);
    sgi__rate_fini(&rate);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_read_is_no_larger_than_the_burst),
        cmocka_unit_test(without_a_limit_everything_goes),
        cmocka_unit_test(over_time_the_rate_is_exact),
        cmocka_unit_test(after_a_pause_so_much_comes_at_once_and_no_more),
        cmocka_unit_test(the_slowest_and_the_fastest_stay_inside_64_bits),
        cmocka_unit_test(a_failed_try_is_paid_by_those_that_follow),
        cmocka_unit_test(two_share_it_by_urgency_and_neither_starves),
        cmocka_unit_test(one_that_does_not_look_holds_nobody_up),
        cmocka_unit_test(a_wait_ends_when_its_time_has_come_or_it_is_canceled),
        cmocka_unit_test(a_wait_takes_real_time),
        cmocka_unit_test(a_read_of_any_size_is_no_larger_either),
        cmocka_unit_test(who_asks_for_something_else_pays_for_that),
        cmocka_unit_test(who_asks_for_more_may_have_to_wait_for_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
