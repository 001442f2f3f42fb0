/* SPDX-License-Identifier: Apache-2.0 */
#include "clock.h"

static uint64_t now_ns(void *user)
{
    struct test_clock *clock = user;
    return atomic_load(&clock->now_ns);
}

void test_clock_init(struct test_clock *clock)
{
    clock->table = (struct sgi__clock){ .now_ns = now_ns, .user = clock };
    atomic_init(&clock->now_ns, sgi__clock_now_ns());
}

void test_clock_advance_ms(struct test_clock *clock, sgi_runtime *rt, uint64_t ms)
{
    atomic_fetch_add(&clock->now_ns, ms * 1000000u);
    sgi__rt_poke(rt);
}
