/* SPDX-License-Identifier: Apache-2.0 */
/* The cursor that cannot leave its buffer, and arithmetic that says when it does not fit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/bytes.h"

static void numbers_are_little_endian(void **state)
{
    (void)state;
    const uint8_t      data[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };
    struct sgi__cursor c;
    sgi__cursor_init(&c, data, sizeof data);
    assert_int_equal(sgi__cursor_u8(&c), 1);
    assert_int_equal(sgi__cursor_u16(&c), 0x0302);
    assert_int_equal(sgi__cursor_u32(&c), 0x07060504);
    assert_int_equal(sgi__cursor_u64(&c), UINT64_C(0x0f0e0d0c0b0a0908));
    assert_int_equal(sgi__cursor_left(&c), 0);
    assert_false(c.failed);
}

static void a_read_past_the_end_fails_for_good(void **state)
{
    (void)state;
    const uint8_t      data[] = { 1, 2, 3 };
    struct sgi__cursor c;
    sgi__cursor_init(&c, data, sizeof data);
    assert_int_equal(sgi__cursor_u32(&c), 0);
    assert_true(c.failed);
    assert_int_equal(sgi__cursor_u8(&c), 0); /* though there is one */
    assert_int_equal(sgi__cursor_left(&c), 0);
    assert_null(sgi__cursor_take(&c, 0));

    sgi__cursor_init(&c, data, sizeof data);
    assert_ptr_equal(sgi__cursor_take(&c, 3), data);
    assert_non_null(sgi__cursor_take(&c, 0));
    assert_null(sgi__cursor_take(&c, UINT64_MAX)); /* at + bytes would wrap */
    assert_true(c.failed);
}

static void sums_and_products_say_when_they_do_not_fit(void **state)
{
    (void)state;
    uint64_t out = 5;
    assert_true(sgi__add_u64(UINT64_MAX - 1, 1, &out));
    assert_int_equal(out, UINT64_MAX);
    assert_false(sgi__add_u64(UINT64_MAX, 1, &out));
    assert_true(sgi__mul_u64(UINT64_C(1) << 32, UINT64_C(1) << 31, &out));
    assert_int_equal(out, UINT64_C(1) << 63);
    assert_false(sgi__mul_u64(UINT64_C(1) << 32, UINT64_C(1) << 32, &out));
    assert_true(sgi__mul_u64(0, UINT64_MAX, &out));
    assert_int_equal(out, 0);
}

static void alignment_goes_both_ways(void **state)
{
    (void)state;
    assert_int_equal(sgi__align_up(0, 4096), 0);
    assert_int_equal(sgi__align_up(1, 4096), 4096);
    assert_int_equal(sgi__align_up(4096, 4096), 4096);
    assert_int_equal(sgi__align_down(4095, 4096), 0);
    assert_int_equal(sgi__align_down(4097, 4096), 4096);
    assert_int_equal(sgi__align_up(UINT64_MAX - 4095, 4096), UINT64_MAX - 4095);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_little_endian),
        cmocka_unit_test(a_read_past_the_end_fails_for_good),
        cmocka_unit_test(sums_and_products_say_when_they_do_not_fit),
        cmocka_unit_test(alignment_goes_both_ways),
    };
    return cmocka_run_group_tests_name("bytes", tests, NULL, NULL);
}
