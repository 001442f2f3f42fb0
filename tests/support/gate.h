/* SPDX-License-Identifier: Apache-2.0 */
/* A place in a callback where a test can hold it up, and learn that it is there. Waits end the process after a minute:
 * that is a hang, and never part of what a test says. */
#ifndef TESTS_SUPPORT_GATE_H
#define TESTS_SUPPORT_GATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum { TEST_HANG_SECONDS = 60 };

struct gate {
    pthread_mutex_t mutex;
    pthread_cond_t  changed;
    bool            closed;
    uint32_t        arrived, passed; /* ever */
};

void     gate_init(struct gate *gate); /* open */
void     gate_fini(struct gate *gate);
void     gate_close(struct gate *gate);
void     gate_open(struct gate *gate);
void     gate_pass(struct gate *gate);                           /* waits while it is closed */
void     gate_wait_arrived(struct gate *gate, uint32_t arrived); /* until so many have come to it, ever */
uint32_t gate_arrived(struct gate *gate);
uint32_t gate_passed(struct gate *gate);

/* Until `good(user)`, asked again and again. For what has no other way to be waited for. */
void test_wait_until(bool (*good)(void *user), void *user, const char *what);

#endif
