/* SPDX-License-Identifier: Apache-2.0 */
/* Threads that exist only while there is work: one is started for a job when none is free, and leaves when there is
 * none left. A job may take as long as it likes; up to `threads_max` others are not held up by it. */
#ifndef SGI_BASE_POOL_H
#define SGI_BASE_POOL_H

#include <stdint.h>

struct sgi__pool;

struct sgi__job {
    void (*run)(struct sgi__job *job); /* may free the job */
    struct sgi__job *next;             /* the pool's while it is queued */
};

struct sgi__pool *sgi__pool_new(const char *thread_name, uint32_t threads_max); /* NULL: out of memory */
void              sgi__pool_free(struct sgi__pool *pool); /* runs what is queued, joins; not from a job */

/* 0: it will run on a thread of the pool. An errno: it needs a thread and none could be started; the job was not taken.
 * It does not wait for one of those that are there: that one may be waiting for just this job. */
int      sgi__pool_submit(struct sgi__pool *pool, struct sgi__job *job);
uint32_t sgi__pool_threads(struct sgi__pool *pool);

#endif
