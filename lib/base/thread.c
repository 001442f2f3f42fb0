/* SPDX-License-Identifier: Apache-2.0 */
#include "base/thread.h"

#include <errno.h>
#include <signal.h>

#include "base/fault.h"

int sgi__thread_start(pthread_t *thread, const char *name, void *(*run)(void *), void *arg)
{
    int fault = sgi__fault(SGI__FAULT_THREAD);
    if (fault)
        return fault;
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* a new thread inherits the mask */
    int e = pthread_create(thread, NULL, run, arg);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (e == 0)
        pthread_setname_np(*thread, name);
    return e;
}

int sgi__cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attr;
    int                e = pthread_condattr_init(&attr);
    if (e)
        return e;
    e = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    if (!e)
        e = pthread_cond_init(cond, &attr);
    pthread_condattr_destroy(&attr);
    return e;
}

bool sgi__cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex, uint64_t deadline_ns)
{
    if (deadline_ns == UINT64_MAX) {
        pthread_cond_wait(cond, mutex);
        return true;
    }
    struct timespec ts = { .tv_sec = (time_t)(deadline_ns / 1000000000u),
                           .tv_nsec = (long)(deadline_ns % 1000000000u) };
    return pthread_cond_timedwait(cond, mutex, &ts) != ETIMEDOUT;
}

/* A property of the thread, not state of the library: how many of our frames that call out are on its stack. */
static _Thread_local unsigned library_depth;

void sgi__thread_enter_library(void)
{
    library_depth++;
}

void sgi__thread_leave_library(void)
{
    library_depth--;
}

bool sgi__thread_in_library(void)
{
    return library_depth > 0;
}
