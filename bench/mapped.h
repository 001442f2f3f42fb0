/* SPDX-License-Identifier: Apache-2.0 */
/* New memory of the two kinds that images have. No code of the library. */
#ifndef SGI_BENCH_MAPPED_H
#define SGI_BENCH_MAPPED_H

#include <stdint.h>

#define HUGE_PAGE ((uint64_t)2 << 20)

/* Both take whole huge pages, hold no page yet, and go with munmap(). */
uint8_t *map_anonymous(uint64_t bytes); /* in huge pages, where the kernel gives any */
uint8_t *map_memfd(uint64_t bytes);     /* as an image with SGI_IMAGE_FD: 4 KiB pages, wherever the kernel finds them */

#endif
