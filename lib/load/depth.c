/* SPDX-License-Identifier: Apache-2.0 */
#include "load/depth.h"

enum {
    WINDOW_MS = 30,       /* a measurement takes at least so long, */
    WINDOW_BYTES_MIB = 64 /* and so much */
};
#define NS_PER_MS UINT64_C(1000000)

void sgi__depth_init(struct sgi__depth *d, uint32_t begin, uint32_t max)
{
    *d = (struct sgi__depth){ .now = begin, .max = max, .good = begin, .settled = begin >= max };
}

static void begin_window(struct sgi__depth *d, uint64_t now_ns)
{
    d->since_ns = now_ns;
    d->bytes = 0;
}

void sgi__depth_landed(struct sgi__depth *d, uint64_t now_ns, uint64_t bytes)
{
    if (d->settled)
        return;
    if (d->since_ns == 0) { /* the first read waited for nobody: time runs from its end */
        begin_window(d, now_ns);
        return;
    }
    d->bytes += bytes;
    if (d->bytes < (uint64_t)WINDOW_BYTES_MIB << 20 || now_ns - d->since_ns < WINDOW_MS * NS_PER_MS)
        return;
    uint64_t rate = d->bytes / ((now_ns - d->since_ns) / NS_PER_MS);
    if (d->good_rate > 0 && rate < d->good_rate + d->good_rate / 8) { /* less would be noise */
        d->now = d->good;
        d->settled = true;
        return;
    }
    d->good = d->now;
    d->good_rate = rate;
    if (d->now == d->max) {
        d->settled = true;
        return;
    }
    d->now = d->now <= d->max / 2 ? d->now * 2 : d->max;
    begin_window(d, now_ns);
}
