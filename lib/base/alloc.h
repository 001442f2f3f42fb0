/* SPDX-License-Identifier: Apache-2.0 */
/* Small memory. Everything the library allocates goes through here, so that a test can make the Nth one fail. */
#ifndef SGI_BASE_ALLOC_H
#define SGI_BASE_ALLOC_H

#include <stddef.h>
#include <stdint.h>

void *sgi__alloc(size_t bytes);                    /* not zeroed; NULL when out of memory */
void *sgi__alloc_zero(size_t count, size_t bytes); /* zeroed; NULL also when count * bytes overflows */
void *sgi__realloc_array(void *old, size_t count, size_t bytes);
char *sgi__strdup(const char *text);
void  sgi__free(void *memory);

#ifdef SGI_FAULT_POINTS
int64_t sgi__alloc_live(void); /* taken and not given back, in this process: what a run leaves is seen exactly */
#endif

#endif
