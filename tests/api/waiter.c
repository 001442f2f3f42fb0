/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/engine.h"
#include "waiter.h"

void *wait_for_lease(void *waiter)
{
    struct waiter *w = waiter;
    w->status = sgi_model_acquire_wait(w->rt, w->model, NULL, &w->lease, &w->err);
    atomic_store(&w->ended, 1);
    return NULL;
}

void *wait_for_ticket(void *waiter)
{
    struct waiter *w = waiter;
    w->status = sgi_ticket_wait(w->rt, w->ticket, SGI_FOREVER, &w->lease, &w->err);
    atomic_store(&w->ended, 1);
    return NULL;
}

void *wait_for_answer(void *waiter)
{
    struct waiter      *w = waiter;
    struct test_request r = { .kind = w->request_kind };
    w->status = sgi_lease_call(w->rt, w->lease, &r, sizeof r, SGI_FOREVER, NULL, NULL, &w->err);
    atomic_store(&w->ended, 1);
    return NULL;
}

void *wait_for_piece(void *waiter)
{
    struct waiter *w = waiter;
    w->status = sgi_call_wait(w->rt, w->call, SGI_FOREVER, &w->err);
    atomic_store(&w->ended, 1);
    return NULL;
}

void waiter_start(struct waiter *w, sgi_runtime *rt, void *(*run)(void *waiter))
{
    w->rt = rt;
    w->err = (sgi_error)SGI_ERROR_INIT;
    assert_int_equal(pthread_create(&w->thread, NULL, run, w), 0);
}

sgi_status waiter_end(struct waiter *w)
{
    pthread_join(w->thread, NULL);
    return w->status;
}
