/* SPDX-License-Identifier: Apache-2.0 */
/* A thread in one of the calls that wait, for as long as it takes; and what that call said. */
#ifndef TESTS_API_WAITER_H
#define TESTS_API_WAITER_H

#include <pthread.h>
#include <stdatomic.h>

#include <sgi/sgi.h>

struct waiter {
    sgi_runtime *rt;
    sgi_model    model;        /* for wait_for_lease() */
    sgi_ticket   ticket;       /* for wait_for_ticket() */
    sgi_lease    lease;        /* for wait_for_answer(); what the two above bring */
    sgi_call     call;         /* for wait_for_piece() */
    uint32_t     request_kind; /* for wait_for_answer() */
    sgi_status   status;       /* of the call, after waiter_end() */
    sgi_error    err;
    atomic_int   ended;
    pthread_t    thread;
};

/* What waiter_start() may run. */
void *wait_for_lease(void *waiter);  /* in sgi_model_acquire_wait() */
void *wait_for_ticket(void *waiter); /* in sgi_ticket_wait() */
void *wait_for_answer(void *waiter); /* in sgi_lease_call() */
void *wait_for_piece(void *waiter);  /* in sgi_call_wait() */

void       waiter_start(struct waiter *w, sgi_runtime *rt, void *(*run)(void *waiter));
sgi_status waiter_end(struct waiter *w); /* joins it */

#endif
