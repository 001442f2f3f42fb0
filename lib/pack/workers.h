/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The same work for number 0, 1, 2, ... on several threads, each number once, taken in their order. Where it fails for
 * some, the failure of the lowest number is the one that is told: every number below it has been done.
 */
#ifndef SGI_PACK_WORKERS_H
#define SGI_PACK_WORKERS_H

#include <stdbool.h>
#include <stdint.h>

#include <sgi/pack.h>

#define SGI__PROGRESS_EVERY_NS UINT64_C(50000000)

struct sgi__workers; /* one run */

struct sgi__work {
    uint32_t jobs; /* threads at most; not 0 */
    uint64_t count;
    uint64_t bytes; /* of all numbers together, for the progress */
    void    *user;
    /* What a thread has for itself. */
    sgi_status (*begin)(void *user, void **mine_out, sgi_error *err);
    sgi_status (*each)(void *user, void *mine, struct sgi__workers *w, uint64_t number, sgi_error *err);
    void (*end)(void *user, void *mine);
    /* NULL: nobody wants to know. On the thread that called, under no lock, and last when all of it is done; not 0 ends
     * it all: SGI_E_CANCELED, then too. */
    sgi_progress_fn progress;
    void           *progress_user;
    uint64_t       *failed_at_out; /* NULL: not wanted. Written where it is some number that has failed */
};

/* Blocks until all is done, or nothing goes on. The first failure; SGI_E_CANCELED; SGI_E_SYSTEM, SGI_E_NO_MEMORY. */
sgi_status sgi__workers_run(const struct sgi__work *work, sgi_error *err);

/* From `each`. So many bytes more are done. */
void sgi__workers_done(struct sgi__workers *w, uint64_t bytes);
/* Waits until every number below has had its turn. False: one of them has failed, or all of it is given up. */
bool sgi__workers_turn(struct sgi__workers *w, uint64_t number);
void sgi__workers_turn_over(struct sgi__workers *w);

#endif
