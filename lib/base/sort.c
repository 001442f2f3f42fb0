/* SPDX-License-Identifier: Apache-2.0 */
#include "base/sort.h"

#include <string.h>

static void merge(const void **out, const void *const *left, size_t left_count, const void *const *right,
                  size_t right_count, sgi__compare_fn compare)
{
    while (left_count > 0 && right_count > 0) {
        if (compare(*left, *right) <= 0) {
            *out++ = *left++;
            left_count--;
        } else {
            *out++ = *right++;
            right_count--;
        }
    }
    memcpy(out, left, left_count * sizeof *left);
    memcpy(out + left_count, right, right_count * sizeof *right);
}

void sgi__sort(const void **items, const void **scratch, size_t count, sgi__compare_fn compare)
{
    size_t sorted = 1;
    while (sorted < count && compare(items[sorted - 1], items[sorted]) <= 0)
        sorted++;
    if (sorted >= count)
        return;

    const void **from = items, **to = scratch;
    for (size_t run = 1; run < count; run *= 2) {
        for (size_t at = 0; at < count; at += 2 * run) {
            size_t left = count - at < run ? count - at : run;
            size_t right = count - at - left < run ? count - at - left : run;
            merge(to + at, from + at, left, from + at + left, right, compare);
        }
        const void **swap = from;
        from = to;
        to = swap;
    }
    if (from != items)
        memcpy(items, from, count * sizeof *items);
}
