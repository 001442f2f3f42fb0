/* SPDX-License-Identifier: Apache-2.0 */
/* How many reads are kept in flight, over disks that differ in what more of them bring. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "load/depth.h"

#define MIB(n) ((uint64_t)(n) << 20)
#define MS(n)  ((uint64_t)(n)*1000000u)

/* Reads `bytes` from a disk that gives each read in flight `each` MiB/s, up to `most` MiB/s altogether. */
static uint32_t read_from(struct sgi__depth *d, uint64_t bytes, uint64_t each, uint64_t most)
{
    uint64_t now = MS(1000), block = MIB(2);
    uint32_t highest = d->now;

    for (uint64_t done = 0; done < bytes; done += block) {
        uint64_t rate = d->now * each < most ? d->now * each : most;
        now += block * 1000000000u / MIB(rate);
        sgi__depth_landed(d, now, block);
        highest = d->now > highest ? d->now : highest;
    }
    return highest;
}

static void a_disk_nearby_is_not_crowded(void **state)
{
    (void)state;
    struct sgi__depth d;
    sgi__depth_init(&d, 8, 32);
    assert_int_equal(read_from(&d, MIB(4096), 500, 2500), 16); /* tried once, */
    assert_int_equal(d.now, 8);                                /* and it brought nothing */
    assert_true(d.settled);
}

static void a_disk_far_away_gets_more_reads(void **state)
{
    (void)state;
    struct sgi__depth d;
    sgi__depth_init(&d, 8, 32);
    read_from(&d, MIB(4096), 50, 100000);
    assert_int_equal(d.now, 32);
    sgi__depth_init(&d, 8, 32);
    read_from(&d, MIB(4096), 100, 1600);
    assert_int_equal(d.now, 16);
    sgi__depth_init(&d, 8, 24); /* not a power of two times what it began with */
    read_from(&d, MIB(4096), 50, 100000);
    assert_int_equal(d.now, 24);
}

static void what_was_asked_for_is_kept_to(void **state)
{
    (void)state;
    struct sgi__depth d;
    sgi__depth_init(&d, 5, 5);
    assert_int_equal(read_from(&d, MIB(4096), 50, 100000), 5);
}

static void a_small_model_is_over_before_anything_is_known(void **state)
{
    (void)state;
    struct sgi__depth d;
    sgi__depth_init(&d, 8, 32);
    assert_int_equal(read_from(&d, MIB(64), 50, 100000), 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_disk_nearby_is_not_crowded),
        cmocka_unit_test(a_disk_far_away_gets_more_reads),
        cmocka_unit_test(what_was_asked_for_is_kept_to),
        cmocka_unit_test(a_small_model_is_over_before_anything_is_known),
    };
    return cmocka_run_group_tests_name("depth", tests, NULL, NULL);
}
