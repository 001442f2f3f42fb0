/* SPDX-License-Identifier: Apache-2.0 */
/* New memory of the two kinds that images have. No code of the library. */
#ifndef SGI_BENCH_MAPPED_H
#define SGI_BENCH_MAPPED_H

#include <stdint.h>

#define HUGE_PAGE ((uint64_t)2 << 20)

/* Ends the program, with a sentence, where so many bytes for `what` are more than three quarters of this machine's
 * memory: instead of it, the kernel would end something. */
void refuse_more_than_fits(uint64_t bytes, const char *what);

/* Both take whole huge pages, hold no page yet, and go with munmap(). */
uint8_t *map_anonymous(uint64_t bytes); /* in huge pages, where the kernel gives any */
uint8_t *map_memfd(uint64_t bytes);     /* as an image with SGI_IMAGE_FD: 4 KiB pages, wherever the kernel finds them */

#endif
