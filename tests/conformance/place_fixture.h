/* SPDX-License-Identifier: Apache-2.0 */
/* A runtime over a place of the test's choice, with the test's clock: one model with an engine, one without. */
#ifndef TESTS_CONFORMANCE_PLACE_FIXTURE_H
#define TESTS_CONFORMANCE_PLACE_FIXTURE_H

#include "support/clock.h"
#include "support/host.h"
#include "support/test_place.h"

enum { IDLE_MS = 500, LINGER_MS = 200, HANG_MS = 5000 };

/* What a test runs over; its `state`. */
struct subject {
    const char                  *name;
    const struct sgi__place_ops *ops;
    uint64_t                     seed; /* of the test place */
};

struct fixture {
    struct test_clock  clock;
    struct test_engine engine; /* with prefix and prepare; looks at everything in start */
    struct test_file   file, plain_file;
    sgi_runtime       *rt;
    sgi_model          model, plain; /* "m" and "plain" */
    struct test_place *tp;           /* NULL over the local one */
};

sgi_runtime_config place_config(void);
void               set_up_with(struct fixture *f, const struct subject *subject, const sgi_runtime_config *config);
void               set_up(struct fixture *f, void **state); /* place_config() over the subject that is the state */
void               tear_down(struct fixture *f);

void     advance(struct fixture *f, uint64_t ms);
uint64_t device_bytes(struct fixture *f);
bool     context_closed(void *runtime); /* for test_wait_until() */

/* Around the group, and after each test. */
int make_folder(void **state);
int remove_folder(void **state);
int clear_faults(void **state);

/* One test over one subject. */
#define OVER(subject, test)                                                                \
    {                                                                                      \
#test " (" #subject ")", test, NULL, clear_faults, (void *)(uintptr_t) & (subject) \
    }

#endif
