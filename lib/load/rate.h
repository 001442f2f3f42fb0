/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A limit on the bytes a runtime reads in a second: a token bucket that all its loads take from, before each read.
 *
 * Time is what is counted: `paid_ns` is when the reads given so far have been paid for; while that lies ahead nobody
 * is given another. After a pause it lies at most SGI__RATE_BURST_NS back, so in any stretch of t seconds no more is
 * given than t + that, at the limit, and one read.
 *
 * Who finds nothing waits in a line. The most urgent one in it is given first, of equals the one that came first; every
 * SGI__RATE_FAIR_EVERYth read goes to the one that came first of all, so that the least urgent load goes on too.
 */
#ifndef SGI_LOAD_RATE_H
#define SGI_LOAD_RATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

#define SGI__RATE_BURST_NS UINT64_C(50000000)
enum { SGI__RATE_FAIR_EVERY = 8 };
/* Of one read at most; what keeps the arithmetic inside 64 bits. */
#define SGI__RATE_READ_MAX (UINT64_C(8) << 30)

/* One load in the line; the load's own memory, 0 at first. Everything in it is under the rate's mutex. */
struct sgi__rate_turn {
    int32_t                priority;
    uint64_t               bytes; /* it waits for */
    bool                   waits, given, canceled;
    struct sgi__rate_turn *next;
};

struct sgi__rate {
    uint64_t          bytes_per_s; /* 0: no limit */
    struct sgi__clock clock;
    pthread_mutex_t   mutex; /* a leaf */
    pthread_cond_t    changed;
    /* under the mutex */
    uint64_t               paid_ns, rest; /* rest: of a nanosecond, in 1 / bytes_per_s */
    uint64_t               reads;         /* given to somebody who waited in the line, ever */
    struct sgi__rate_turn *first;         /* in the order they came */
};

/* Size of a read under the limit: `block_bytes`, but no more than comes at once after a pause, in whole pages, at least
 * one. So a load, too, takes its bytes at the limit but for twice the burst, however low that is. */
uint32_t sgi__rate_block(uint64_t bytes_per_s, uint32_t block_bytes);

/* The same of a read that may have any size. No limit: UINT64_MAX. */
uint64_t sgi__rate_read_max(const struct sgi__rate *rate);

void sgi__rate_init(struct sgi__rate *rate, uint64_t bytes_per_s, const struct sgi__clock *clock);
void sgi__rate_fini(struct sgi__rate *rate); /* nobody is in the line */

/* All of these take NULL, which is no limit. */

/* The turn's load may read so many bytes now. false: not yet, and it is in the line: what it is given meanwhile is kept
 * for it until it asks again; for another number of bytes it comes first in the line instead. With `wait` it is false
 * only for a turn that was canceled. */
bool sgi__rate_take(struct sgi__rate *rate, struct sgi__rate_turn *turn, uint64_t bytes, bool wait);
/* Bytes that have been read without asking, as when a read failed and was tried again: others wait for them later. */
void sgi__rate_charge(struct sgi__rate *rate, uint64_t bytes);
void sgi__rate_priority(struct sgi__rate *rate, struct sgi__rate_turn *turn, int32_t priority);
/* From any thread: a wait of this turn ends, and so does each one to come. */
void sgi__rate_cancel(struct sgi__rate *rate, struct sgi__rate_turn *turn);
/* It wants no more. What it was given and did not use is lost. */
void sgi__rate_leave(struct sgi__rate *rate, struct sgi__rate_turn *turn);
void sgi__rate_poke(struct sgi__rate *rate); /* a clock that is not the real one has moved */

#endif
