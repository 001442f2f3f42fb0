/* SPDX-License-Identifier: Apache-2.0 */
#include "base/bytes.h"

#include <string.h>

void sgi__cursor_init(struct sgi__cursor *c, const void *data, size_t bytes)
{
    *c = (struct sgi__cursor){ .data = data, .bytes = bytes };
}

size_t sgi__cursor_left(const struct sgi__cursor *c)
{
    return c->failed ? 0 : c->bytes - c->at;
}

const void *sgi__cursor_take(struct sgi__cursor *c, uint64_t bytes)
{
    if (c->failed || bytes > c->bytes - c->at) {
        c->failed = true;
        return NULL;
    }
    const void *view = c->data + c->at;
    c->at += (size_t)bytes;
    return view;
}

static uint64_t take_le(struct sgi__cursor *c, size_t bytes)
{
    const uint8_t *p = sgi__cursor_take(c, bytes);
    uint64_t       value = 0;
    for (size_t i = 0; p && i < bytes; i++)
        value |= (uint64_t)p[i] << (8 * i);
    return value;
}

uint8_t sgi__cursor_u8(struct sgi__cursor *c)
{
    return (uint8_t)take_le(c, 1);
}

uint16_t sgi__cursor_u16(struct sgi__cursor *c)
{
    return (uint16_t)take_le(c, 2);
}

uint32_t sgi__cursor_u32(struct sgi__cursor *c)
{
    return (uint32_t)take_le(c, 4);
}

uint64_t sgi__cursor_u64(struct sgi__cursor *c)
{
    return take_le(c, 8);
}

bool sgi__add_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

bool sgi__mul_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

uint64_t sgi__align_up(uint64_t value, uint64_t align)
{
    return (value + align - 1) & ~(align - 1);
}

uint64_t sgi__align_down(uint64_t value, uint64_t align)
{
    return value & ~(align - 1);
}
