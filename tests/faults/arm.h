/* SPDX-License-Identifier: Apache-2.0 */
/* One row of a table of what may fail: a call to the system, or a point inside the library. */
#ifndef TESTS_FAULTS_ARM_H
#define TESTS_FAULTS_ARM_H

#include <stdbool.h>
#include <stdint.h>

#include "support/calls.h"

struct test_fault {
    const char    *name;
    enum test_call call;     /* CALL_COUNT: a point of base/fault.h, */
    int            os_errno; /* this one */
};

/* From here on the nth passing of it fails, once; a point with `point_errno`. */
void test_fault_arm(const struct test_fault *fault, uint64_t nth, int point_errno);
/* Nothing fails any more. True if it was passed so often. */
bool test_fault_disarm(const struct test_fault *fault, uint64_t nth);

#endif
