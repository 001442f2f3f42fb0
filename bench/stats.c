/* SPDX-License-Identifier: Apache-2.0 */
#include "stats.h"

#include <stdlib.h>

#include "options.h"

void samples_add(struct samples *s, double value)
{
    if (s->count == s->room) {
        s->room = s->room ? s->room * 2 : 64;
        double *larger = realloc(s->values, s->room * sizeof *larger);
        if (!larger)
            die("out of memory for %zu measurements", s->room);
        s->values = larger;
    }
    s->values[s->count++] = value;
}

static int by_value(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

/* Between two neighbours where it falls between them: the median of an even number is their middle. */
double samples_at(struct samples *s, double part)
{
    if (s->count == 0)
        return 0;
    qsort(s->values, s->count, sizeof *s->values, by_value);
    double at = part * (double)(s->count - 1);
    size_t low = (size_t)at, high = low + 1 < s->count ? low + 1 : low;
    return s->values[low] + (s->values[high] - s->values[low]) * (at - (double)low);
}

void samples_free(struct samples *s)
{
    free(s->values);
    *s = (struct samples){ 0 };
}

json_t *samples_json(struct samples *s)
{
    double median = samples_at(s, 0.5), min = samples_at(s, 0), max = samples_at(s, 1);
    return json_pack("{s:f, s:f, s:f, s:f, s:I}", "median", median, "min", min, "max", max, "spread",
                     median > 0 ? (max - min) / median : 0.0, "count", (json_int_t)s->count);
}
