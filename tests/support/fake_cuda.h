/* SPDX-License-Identifier: Apache-2.0 */
/* The fake driver's own functions, for tests that run on it (tests/fakecuda). */
#ifndef TESTS_SUPPORT_FAKE_CUDA_H
#define TESTS_SUPPORT_FAKE_CUDA_H

#include <stdbool.h>

#include "../fakecuda/fakecuda.h"

/* NOLINTNEXTLINE(bugprone-macro-parentheses): a list of parameters */
#define FAKE_CUDA_MEMBER(result, name, parameters) result(*name) parameters;
struct fake_cuda {
    FAKECUDA_CONTROL(FAKE_CUDA_MEMBER)
};

extern struct fake_cuda fake;

/* Finds them, and the driver's own (`cu`, conformance/cuda_fixture.h). False: this is no fake. */
bool fake_cuda_find(void);

/* Fails the test if the process holds anything of the driver; `after` and `n` say after what. */
void fake_cuda_nothing_is_held(const char *after, uint64_t n);
/* The test's own mistakes are told apart from the library's: fails if the fake saw anything that is not allowed. */
void fake_cuda_no_violations(void);
/* Arms a line of a plan; fails the test if it makes no sense. */
void fake_cuda_fault(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
