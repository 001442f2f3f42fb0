/* SPDX-License-Identifier: Apache-2.0 */
/* Where time comes from. The runtime asks its table, so that a test can hold the clock still and advance it. */
#ifndef SGI_BASE_CLOCK_H
#define SGI_BASE_CLOCK_H

#include <stdint.h>

uint64_t sgi__clock_now_ns(void);        /* CLOCK_MONOTONIC */
uint64_t sgi__clock_thread_cpu_ns(void); /* of the calling thread */

struct sgi__clock {
    uint64_t (*now_ns)(void *user); /* NULL: the real one */
    void *user;
};

#endif
