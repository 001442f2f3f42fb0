/* SPDX-License-Identifier: Apache-2.0 */
/* The plans are process-wide: only test builds have them, and a test process runs one plan at a time. */
#include "base/fault.h"

#ifdef SGI_FAULT_POINTS

#include <stdatomic.h>

struct plan {
    atomic_uint_fast64_t passed;
    atomic_uint_fast64_t nth; /* 0: never */
    atomic_uint_fast64_t times;
    atomic_int           value;
};

static struct plan plans[SGI__FAULT_COUNT];

int sgi__fault(enum sgi__fault_point point)
{
    struct plan *plan = &plans[point];
    uint64_t     now = atomic_fetch_add(&plan->passed, 1) + 1;
    uint64_t     nth = atomic_load(&plan->nth);
    if (nth == 0 || now < nth || now - nth >= atomic_load(&plan->times))
        return 0;
    return atomic_load(&plan->value);
}

void sgi__fault_plan(enum sgi__fault_point point, uint64_t nth, uint64_t times, int value)
{
    struct plan *plan = &plans[point];
    atomic_store(&plan->nth, 0);
    atomic_store(&plan->passed, 0);
    atomic_store(&plan->times, times);
    atomic_store(&plan->value, value);
    atomic_store(&plan->nth, nth);
}

uint64_t sgi__fault_passed(enum sgi__fault_point point)
{
    return atomic_load(&plans[point].passed);
}

void sgi__fault_clear(void)
{
    for (int i = 0; i < SGI__FAULT_COUNT; i++)
        sgi__fault_plan((enum sgi__fault_point)i, 0, 0, 0);
}

#else
typedef int sgi__fault_has_no_code; /* ISO C wants one declaration in a file */
#endif
