/* SPDX-License-Identifier: Apache-2.0 */
/* Threads and conditions as the library uses them: named threads with signals blocked, conditions on the monotonic
 * clock. */
#ifndef SGI_BASE_THREAD_H
#define SGI_BASE_THREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* The host's signal handlers never run on a thread of ours. 0, or an errno. `name`: at most 15 bytes. */
int sgi__thread_start(pthread_t *thread, const char *name, void *(*run)(void *), void *arg);

int sgi__cond_init(pthread_cond_t *cond);
/* deadline_ns on CLOCK_MONOTONIC, UINT64_MAX: none. false: the deadline passed. */
bool sgi__cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex, uint64_t deadline_ns);

/* Marks the calling thread as one of the library's, inside a callback: blocking calls check it. Nests. */
void sgi__thread_enter_library(void);
void sgi__thread_leave_library(void);
bool sgi__thread_in_library(void);

#endif
