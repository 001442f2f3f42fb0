/* SPDX-License-Identifier: Apache-2.0 */
/* How many reads a load keeps in flight: it begins with a few and takes more for as long as that reads faster. A disk
 * nearby is saturated by the first few, and more of them would only make its other users wait; one far away is not. */
#ifndef SGI_LOAD_DEPTH_H
#define SGI_LOAD_DEPTH_H

#include <stdbool.h>
#include <stdint.h>

struct sgi__depth {
    uint32_t now; /* so many reads at once */
    uint32_t max;
    uint32_t good;            /* the last one known to be worth it, */
    uint64_t good_rate;       /* in bytes a millisecond; 0: nothing was measured yet */
    uint64_t since_ns, bytes; /* of the measurement under way; 0: not begun */
    bool     settled;
};

void sgi__depth_init(struct sgi__depth *d, uint32_t begin, uint32_t max);
/* A read of `bytes` has landed. */
void sgi__depth_landed(struct sgi__depth *d, uint64_t now_ns, uint64_t bytes);

#endif
