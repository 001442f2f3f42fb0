/* SPDX-License-Identifier: Apache-2.0 */
/* How far a call is that does several things one after the other: its user is told of all of them as one. */
#ifndef SGI_PACK_PROGRESS_H
#define SGI_PACK_PROGRESS_H

#include <stdint.h>

#include <sgi/pack.h>

/* Threads: the one that called. */
struct sgi__progress {
    sgi_progress_fn tell; /* NULL: nobody wants to know */
    void           *user;
    uint64_t        total;
    uint64_t        before;  /* done, by those that have ended */
    uint64_t        next_ns; /* when it is told again */
};

/* As the sgi_progress_fn of a sgi__work, whose bytes are done beside those before; `tell` is not NULL. */
int sgi__progress_beside(void *progress, uint64_t done_bytes, uint64_t total_bytes);
/* So many more are done: it is told now and then, and of the last one. SGI_E_CANCELED. */
sgi_status sgi__progress_more(struct sgi__progress *progress, uint64_t bytes, sgi_error *err);

#endif
