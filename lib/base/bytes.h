/* SPDX-License-Identifier: Apache-2.0 */
/* The only way bytes from a file are read: a cursor that cannot leave its buffer. After the first read past the end
 * the cursor is failed, every later read gives 0, and the caller checks once. */
#ifndef SGI_BASE_BYTES_H
#define SGI_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sgi__cursor {
    const uint8_t *data;
    size_t         bytes;
    size_t         at;
    bool           failed;
};

void        sgi__cursor_init(struct sgi__cursor *c, const void *data, size_t bytes);
size_t      sgi__cursor_left(const struct sgi__cursor *c);
uint8_t     sgi__cursor_u8(struct sgi__cursor *c);
uint16_t    sgi__cursor_u16(struct sgi__cursor *c); /* little-endian, like all of them */
uint32_t    sgi__cursor_u32(struct sgi__cursor *c);
uint64_t    sgi__cursor_u64(struct sgi__cursor *c);
const void *sgi__cursor_take(struct sgi__cursor *c, uint64_t bytes); /* a view of the next bytes, or NULL */

/* Sums and products that say when they do not fit: false, and *out is not touched. */
bool sgi__add_u64(uint64_t a, uint64_t b, uint64_t *out);
bool sgi__mul_u64(uint64_t a, uint64_t b, uint64_t *out);

/* `align` is a power of two and value + align - 1 fits. */
uint64_t sgi__align_up(uint64_t value, uint64_t align);
uint64_t sgi__align_down(uint64_t value, uint64_t align);

#endif
