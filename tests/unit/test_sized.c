/* SPDX-License-Identifier: Apache-2.0 */
/* Structs that grow: what an older or a newer caller gets and gives. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/sized.h"

struct old {
    uint32_t struct_size, a;
};

struct now {
    uint32_t struct_size, a;
    uint64_t b;
};

struct newer {
    uint32_t struct_size, a;
    uint64_t b, c;
};

static void init_zeroes_what_the_caller_has(void **state)
{
    (void)state;
    struct newer n;
    memset(&n, 0xff, sizeof n);
    assert_true(sgi__sized_init(&n, sizeof n));
    assert_int_equal(n.struct_size, sizeof n);
    assert_true(n.a == 0 && n.b == 0 && n.c == 0);
    assert_false(sgi__sized_init(&n, 3));
    assert_false(sgi__sized_init(&n, SGI__SIZED_MAX + 1));
    assert_false(sgi__sized_init(NULL, sizeof n));
    uint32_t alone = 7;
    assert_true(sgi__sized_init(&alone, sizeof alone));
    assert_int_equal(alone, sizeof alone);
}

static void out_ends_where_the_callers_struct_ends(void **state)
{
    (void)state;
    const struct now full = { .struct_size = sizeof full, .a = 1, .b = 2 };
    struct {
        struct old old;
        uint64_t   after;
    } o = { .old.struct_size = sizeof(struct old), .after = 0x5555 };
    assert_true(sgi__sized_out(&o.old, &full, sizeof full));
    assert_int_equal(o.old.struct_size, sizeof(struct old));
    assert_int_equal(o.old.a, 1);
    assert_int_equal(o.after, 0x5555);

    struct newer n = { .struct_size = sizeof n, .c = 99 };
    assert_true(sgi__sized_out(&n, &full, sizeof full));
    assert_int_equal(n.struct_size, sizeof n);
    assert_true(n.a == 1 && n.b == 2 && n.c == 0); /* not known here: 0 */

    struct now none = { .struct_size = 0, .a = 3 };
    assert_false(sgi__sized_out(&none, &full, sizeof full));
    assert_int_equal(none.a, 3);
    assert_false(sgi__sized_out(NULL, &full, sizeof full));

    struct now never_set = { .struct_size = 0xa5a5a5a5, .a = 3 };
    assert_false(sgi__sized_out(&never_set, &full, sizeof full));
    assert_int_equal(never_set.a, 3);
}

static void in_takes_defaults_and_refuses_what_it_does_not_know(void **state)
{
    (void)state;
    struct now       full;
    const struct old o = { .struct_size = sizeof o, .a = 5 };
    memset(&full, 0xff, sizeof full);
    assert_true(sgi__sized_in(&o, &full, sizeof full));
    assert_true(full.a == 5 && full.b == 0);

    struct newer n = { .struct_size = sizeof n, .a = 6, .b = 7 };
    assert_true(sgi__sized_in(&n, &full, sizeof full));
    assert_true(full.a == 6 && full.b == 7);
    const struct now never_set = { .struct_size = 0xa5a5a5a5 };
    assert_false(sgi__sized_in(&never_set, &full, sizeof full));
    n.c = 1; /* asks for something that this library cannot do */
    assert_false(sgi__sized_in(&n, &full, sizeof full));
    n.struct_size = 0;
    assert_false(sgi__sized_in(&n, &full, sizeof full));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(init_zeroes_what_the_caller_has),
        cmocka_unit_test(out_ends_where_the_callers_struct_ends),
        cmocka_unit_test(in_takes_defaults_and_refuses_what_it_does_not_know),
    };
    return cmocka_run_group_tests_name("sized", tests, NULL, NULL);
}
