/* SPDX-License-Identifier: Apache-2.0 */
#include "gate.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static void hang(const char *what)
{
    fprintf(stderr, "hung for %d s: %s\n", TEST_HANG_SECONDS, what);
    abort();
}

void gate_init(struct gate *gate)
{
    pthread_mutex_init(&gate->mutex, NULL);
    pthread_cond_init(&gate->changed, NULL);
    gate->closed = false;
    gate->arrived = gate->passed = 0;
}

void gate_fini(struct gate *gate)
{
    pthread_cond_destroy(&gate->changed);
    pthread_mutex_destroy(&gate->mutex);
}

static void set_closed(struct gate *gate, bool closed)
{
    pthread_mutex_lock(&gate->mutex);
    gate->closed = closed;
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->mutex);
}

void gate_close(struct gate *gate)
{
    set_closed(gate, true);
}

void gate_open(struct gate *gate)
{
    set_closed(gate, false);
}

static void wait_changed(struct gate *gate, const char *what)
{
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += TEST_HANG_SECONDS;
    if (pthread_cond_timedwait(&gate->changed, &gate->mutex, &end) == ETIMEDOUT)
        hang(what);
}

void gate_pass(struct gate *gate)
{
    pthread_mutex_lock(&gate->mutex);
    gate->arrived++;
    pthread_cond_broadcast(&gate->changed);
    while (gate->closed)
        wait_changed(gate, "at a closed gate");
    gate->passed++;
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->mutex);
}

void gate_wait_arrived(struct gate *gate, uint32_t arrived)
{
    pthread_mutex_lock(&gate->mutex);
    while (gate->arrived < arrived)
        wait_changed(gate, "nobody comes to the gate");
    pthread_mutex_unlock(&gate->mutex);
}

uint32_t gate_arrived(struct gate *gate)
{
    pthread_mutex_lock(&gate->mutex);
    uint32_t arrived = gate->arrived;
    pthread_mutex_unlock(&gate->mutex);
    return arrived;
}

uint32_t gate_passed(struct gate *gate)
{
    pthread_mutex_lock(&gate->mutex);
    uint32_t passed = gate->passed;
    pthread_mutex_unlock(&gate->mutex);
    return passed;
}

void test_wait_until(bool (*good)(void *user), void *user, const char *what)
{
    const struct timespec pause = { .tv_nsec = 500000 };
    struct timespec       begin, now;

    clock_gettime(CLOCK_MONOTONIC, &begin);
    while (!good(user)) {
        nanosleep(&pause, NULL);
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec - begin.tv_sec > TEST_HANG_SECONDS)
            hang(what);
    }
}
