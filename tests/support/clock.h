/* SPDX-License-Identifier: Apache-2.0 */
/* A clock that stands still until the test moves it. It starts at the real time, so that what is measured with the real
 * one beside it stays near. */
#ifndef TESTS_SUPPORT_CLOCK_H
#define TESTS_SUPPORT_CLOCK_H

#include <stdatomic.h>

#include "runtime/runtime.h"

struct test_clock {
    struct sgi__clock    table; /* for sgi__runtime_open_with() */
    atomic_uint_fast64_t now_ns;
};

void test_clock_init(struct test_clock *clock);
/* Moves it and has the runtime look at what is due. */
void test_clock_advance_ms(struct test_clock *clock, sgi_runtime *rt, uint64_t ms);

#endif
