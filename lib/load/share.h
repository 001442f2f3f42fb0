/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How loads that run at once share the disk. Reads in flight are what a disk can be divided by: each load is told how
 * many it may have. The budget is what helps the one that is helped by most. Every load keeps at least one, so none
 * stands still; the rest goes to the highest priority, evenly among its loads, and what those do not use, because they
 * want fewer, to the next.
 */
#ifndef SGI_LOAD_SHARE_H
#define SGI_LOAD_SHARE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

/* One load's part in it; the load's own memory. */
struct sgi__sharer {
    atomic_uint         allowed; /* reads in flight; the pipeline looks before each one */
    int32_t             priority;
    uint32_t            wanted; /* reads in flight that help it */
    struct sgi__sharer *next;
};

struct sgi__share {
    pthread_mutex_t mutex; /* a leaf */
    /* under the mutex */
    struct sgi__sharer *sharers;
};

void sgi__share_init(struct sgi__share *share);
void sgi__share_fini(struct sgi__share *share); /* nobody is in it */
void sgi__share_join(struct sgi__share *share, struct sgi__sharer *sharer, int32_t priority, uint32_t wanted);
void sgi__share_leave(struct sgi__share *share, struct sgi__sharer *sharer);
/* While it is in. */
void sgi__share_wants(struct sgi__share *share, struct sgi__sharer *sharer, uint32_t wanted);
void sgi__share_priority(struct sgi__share *share, struct sgi__sharer *sharer, int32_t priority);

#endif
