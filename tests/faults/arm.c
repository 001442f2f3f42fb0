/* SPDX-License-Identifier: Apache-2.0 */
#include "faults/arm.h"

#include "base/fault.h"

void test_fault_arm(const struct test_fault *fault, uint64_t nth, int point_errno)
{
    if (fault->call == CALL_COUNT)
        sgi__fault_plan((enum sgi__fault_point)fault->os_errno, nth, 1, point_errno);
    else
        test_call_fail(fault->call, nth, 1, fault->os_errno);
}

bool test_fault_disarm(const struct test_fault *fault, uint64_t nth)
{
    bool met = fault->call == CALL_COUNT ? sgi__fault_passed((enum sgi__fault_point)fault->os_errno) >= nth
                                         : test_call_passed(fault->call) >= nth;
    sgi__fault_clear();
    test_calls_clear();
    return met;
}
