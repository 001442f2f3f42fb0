/* SPDX-License-Identifier: Apache-2.0 */
/* What many measurements come to. */
#ifndef SGI_BENCH_STATS_H
#define SGI_BENCH_STATS_H

#include <jansson.h>
#include <stddef.h>

struct samples {
    double *values;
    size_t  count, room;
};

void   samples_add(struct samples *s, double value);
double samples_at(struct samples *s, double part); /* 0.5: the median; sorts. 0 where there are none */
void   samples_free(struct samples *s);
/* {"median", "min", "max", "spread": (max - min) / median, "count"} */
json_t *samples_json(struct samples *s);

#endif
