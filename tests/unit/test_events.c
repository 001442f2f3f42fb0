/* SPDX-License-Identifier: Apache-2.0 */
/* The ring of one reader: what fits, what is lost, and how that is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "observe/events.h"

enum { ALL = 0x7ffffffe };

static sgi_event numbered(uint32_t kind, uint64_t n)
{
    return (sgi_event){ .struct_size = sizeof(sgi_event), .kind = kind, .bytes = n };
}

static bool add(struct sgi__events *e, uint32_t kind, uint64_t n)
{
    sgi_event event = numbered(kind, n);
    return sgi__events_add(e, &event);
}

static void they_come_out_in_order(void **state)
{
    (void)state;
    struct sgi__events *e = sgi__events_new(3, ALL);
    sgi_event           got;
    uint64_t            next = 0, n = 0;

    assert_false(sgi__events_take(e, &got));
    for (int round = 0; round < 5; round++) {
        assert_true(add(e, SGI_EVENT_READY, n++));
        assert_true(add(e, SGI_EVENT_IDLE, n++));
        for (int k = 0; k < 2; k++) {
            assert_true(sgi__events_take(e, &got));
            assert_int_equal(got.bytes, next++);
            assert_int_equal(got.dropped, 0);
        }
        assert_false(sgi__events_take(e, &got));
    }
    sgi__events_free(e);
}

static void a_full_ring_loses_the_oldest_and_says_how_many(void **state)
{
    (void)state;
    struct sgi__events *e = sgi__events_new(3, ALL);
    sgi_event           got;

    for (uint64_t n = 0; n < 10; n++)
        assert_int_equal(add(e, SGI_EVENT_READY, n), n < 3);
    assert_true(sgi__events_take(e, &got));
    assert_int_equal(got.bytes, 7);
    assert_int_equal(got.dropped, 7); /* 0 to 6 */
    assert_false(!add(e, SGI_EVENT_READY, 10));
    assert_false(add(e, SGI_EVENT_READY, 11)); /* 8 is lost */
    for (uint64_t n = 9; n < 12; n++) {
        assert_true(sgi__events_take(e, &got));
        assert_int_equal(got.bytes, n);
        assert_int_equal(got.dropped, n == 9 ? 1 : 0);
    }
    assert_false(sgi__events_take(e, &got));
    sgi__events_free(e);
}

static void kinds_that_are_not_wanted_take_no_room(void **state)
{
    (void)state;
    struct sgi__events *e = sgi__events_new(1, UINT64_C(1) << SGI_EVENT_FAILED);
    sgi_event           got;

    for (uint32_t kind = 1; kind < SGI__EVENT_COUNT; kind++)
        assert_true(add(e, kind, kind));
    assert_true(sgi__events_take(e, &got));
    assert_int_equal(got.kind, SGI_EVENT_FAILED);
    assert_int_equal(got.dropped, 0);
    assert_false(sgi__events_take(e, &got));
    sgi__events_free(e);
}

static void each_kind_and_cause_has_a_name_of_its_own(void **state)
{
    (void)state;
    for (uint32_t a = 1; a < SGI__EVENT_COUNT; a++) {
        assert_string_not_equal(sgi_event_name(a), "?");
        for (uint32_t b = 1; b < a; b++)
            assert_string_not_equal(sgi_event_name(a), sgi_event_name(b));
    }
    for (uint32_t a = 0; a < SGI__CAUSE_COUNT; a++) {
        assert_string_not_equal(sgi_cause_name(a), "?");
        for (uint32_t b = 0; b < a; b++)
            assert_string_not_equal(sgi_cause_name(a), sgi_cause_name(b));
    }
    assert_string_equal(sgi_event_name(0), "?");
    assert_string_equal(sgi_event_name(SGI__EVENT_COUNT), "?");
    assert_string_equal(sgi_event_name(UINT32_MAX), "?");
    assert_string_equal(sgi_cause_name(SGI__CAUSE_COUNT), "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(they_come_out_in_order),
        cmocka_unit_test(a_full_ring_loses_the_oldest_and_says_how_many),
        cmocka_unit_test(kinds_that_are_not_wanted_take_no_room),
        cmocka_unit_test(each_kind_and_cause_has_a_name_of_its_own),
    };
    return cmocka_run_group_tests_name("events", tests, NULL, NULL);
}
