/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Touching fresh image memory ahead of the reads. A page fault inside a read stalls the disk, and touching everything
 * first leaves the disk idle; so one thread stays a few tens of MiB ahead of what is submitted. Not needed, and not
 * started, for recycled memory.
 */
#ifndef SGI_LOAD_TOUCH_H
#define SGI_LOAD_TOUCH_H

#include "device/image.h"
#include "load/plan.h"

struct sgi__touch; /* opaque */

/* *touch_out NULL with SGI_OK: there is nothing to touch, or it is too little to be worth a thread. `image` and `plan`
 * outlive it. */
sgi_status sgi__touch_start(const struct sgi__plan *plan, const struct sgi__image *image, struct sgi__touch **touch_out,
                            sgi_error *err);
/* Chunk number n may be read into. All of these take NULL. */
bool sgi__touch_ready(struct sgi__touch *touch, uint64_t n);
/* Waits for that; SGI_E_DEVICE_MEMORY when the system has no more memory. */
sgi_status sgi__touch_wait(struct sgi__touch *touch, uint64_t n, sgi_error *err);
/* Chunks before n were submitted: it may go on that far ahead of them. */
void sgi__touch_submitted(struct sgi__touch *touch, uint64_t n);
/* Ends and joins the thread. */
struct sgi__touch_times {
    uint64_t start_ns, busy_ns, cpu_ns;
};
void sgi__touch_stop(struct sgi__touch *touch, struct sgi__touch_times *times_out);

/* Pages behind whole pages of addresses, here and now; with `touch` until that is stopped. 0, or an errno. A kernel
 * that does not know the call leaves it to whoever uses them. */
int sgi__touch_range(uint8_t *at, uint64_t bytes, struct sgi__touch *touch);

#endif
