/* SPDX-License-Identifier: Apache-2.0 */
/* Who may have how many reads in flight while several loads run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "load/share.h"

static uint32_t draw(uint64_t *random)
{
    *random = *random * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (uint32_t)(*random >> 40);
}

static uint32_t allowed(struct sgi__sharer *s)
{
    return atomic_load(&s->allowed);
}

static void alone_it_has_what_helps_it(void **state)
{
    (void)state;
    struct sgi__share  share;
    struct sgi__sharer a;

    sgi__share_init(&share);
    sgi__share_join(&share, &a, 0, 8);
    assert_int_equal(allowed(&a), 8);
    sgi__share_wants(&share, &a, 32);
    assert_int_equal(allowed(&a), 32);
    sgi__share_leave(&share, &a);
    sgi__share_fini(&share);
}

static void equals_share_evenly_and_the_last_gets_all_back(void **state)
{
    (void)state;
    struct sgi__share  share;
    struct sgi__sharer a, b, c;

    sgi__share_init(&share);
    sgi__share_join(&share, &a, 5, 8);
    sgi__share_join(&share, &b, 5, 8);
    assert_int_equal(allowed(&a), 4);
    assert_int_equal(allowed(&b), 4);
    sgi__share_join(&share, &c, 5, 8);
    assert_int_equal(allowed(&a) + allowed(&b) + allowed(&c), 8);
    assert_true(allowed(&a) >= 2 && allowed(&b) >= 2 && allowed(&c) >= 2);
    sgi__share_leave(&share, &a);
    sgi__share_leave(&share, &c);
    assert_int_equal(allowed(&b), 8);
    sgi__share_leave(&share, &b);
    sgi__share_fini(&share);
}

static void an_urgent_one_gets_all_but_one_read_of_each(void **state)
{
    (void)state;
    struct sgi__share  share;
    struct sgi__sharer big, also_big, urgent;

    sgi__share_init(&share);
    sgi__share_join(&share, &big, 0, 8);
    sgi__share_join(&share, &also_big, 0, 8);
    sgi__share_join(&share, &urgent, 1, 8);
    assert_int_equal(allowed(&urgent), 6);
    assert_int_equal(allowed(&big), 1); /* never none */
    assert_int_equal(allowed(&also_big), 1);
    sgi__share_wants(&share, &urgent, 3); /* what it does not use is the others' */
    assert_int_equal(allowed(&urgent), 3);
    assert_int_equal(allowed(&big) + allowed(&also_big), 5);
    sgi__share_priority(&share, &big, 2);
    assert_int_equal(allowed(&big), 6);
    assert_int_equal(allowed(&urgent), 1);
    sgi__share_priority(&share, &big, INT32_MIN);
    assert_int_equal(allowed(&urgent), 3);
    sgi__share_leave(&share, &urgent);
    sgi__share_leave(&share, &big);
    sgi__share_leave(&share, &also_big);
    sgi__share_fini(&share);
}

static void more_loads_than_reads_have_one_each(void **state)
{
    (void)state;
    struct sgi__share  share;
    struct sgi__sharer s[12];

    sgi__share_init(&share);
    for (int n = 0; n < 12; n++)
        sgi__share_join(&share, &s[n], n, 8);
    for (int n = 0; n < 12; n++)
        assert_int_equal(allowed(&s[n]), 1);
    for (int n = 0; n < 12; n++)
        sgi__share_leave(&share, &s[n]);
    sgi__share_fini(&share);
}

/* Whatever they want: nobody has none, or more than it wants; the budget is kept, and spent while anybody wants. */
static void the_budget_is_kept_and_spent(void **state)
{
    (void)state;
    struct sgi__share  share;
    struct sgi__sharer s[8];

    uint64_t random = 3;
    for (int round = 0; round < 5000; round++) {
        uint32_t budget = 0, wanted = 0, has = 0;
        int      count = 2 + (int)(draw(&random) % 7);
        sgi__share_init(&share);
        for (int n = 0; n < count; n++) {
            uint32_t wants = 1 + draw(&random) % 16;
            sgi__share_join(&share, &s[n], (int32_t)(draw(&random) % 3) - 1, wants);
            wanted += wants;
            budget = wants > budget ? wants : budget;
        }
        for (int n = 0; n < count; n++) {
            assert_true(allowed(&s[n]) >= 1 && allowed(&s[n]) <= s[n].wanted);
            has += allowed(&s[n]);
            for (int m = 0; m < count; m++) /* nobody of a lower priority has more than its one while a higher wants */
                if (s[m].priority < s[n].priority && allowed(&s[n]) < s[n].wanted)
                    assert_int_equal(allowed(&s[m]), 1);
        }
        uint32_t floor = (uint32_t)count > budget ? (uint32_t)count : budget;
        assert_int_equal(has, wanted < floor ? wanted : floor);
        for (int n = 0; n < count; n++)
            sgi__share_leave(&share, &s[n]);
        sgi__share_fini(&share);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alone_it_has_what_helps_it),
        cmocka_unit_test(equals_share_evenly_and_the_last_gets_all_back),
        cmocka_unit_test(an_urgent_one_gets_all_but_one_read_of_each),
        cmocka_unit_test(more_loads_than_reads_have_one_each),
        cmocka_unit_test(the_budget_is_kept_and_spent),
    };
    return cmocka_run_group_tests_name("share", tests, NULL, NULL);
}
