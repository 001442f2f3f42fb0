/* SPDX-License-Identifier: Apache-2.0 */
/* Sorting pointers. Not qsort(): that one allocates behind our back, is not stable, and may be quadratic. */
#ifndef SGI_BASE_SORT_H
#define SGI_BASE_SORT_H

#include <stddef.h>

/* Negative, 0 or positive, as for qsort(); given the items themselves, not pointers to them. */
typedef int (*sgi__compare_fn)(const void *a, const void *b);

/* Stable, n log n at worst, n if sorted already. `scratch` has room for `count` pointers; the result is in `items`. */
void sgi__sort(const void **items, const void **scratch, size_t count, sgi__compare_fn compare);

#endif
