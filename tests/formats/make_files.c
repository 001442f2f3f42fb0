/* SPDX-License-Identifier: Apache-2.0 */
#include "make_files.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint8_t *grow(struct bytes *b, size_t size)
{
    if (b->size + size > b->room) {
        b->room = 2 * (b->size + size);
        b->data = realloc(b->data, b->room);
        if (!b->data)
            abort();
    }
    uint8_t *at = b->data + b->size;
    b->size += size;
    return at;
}

void put_bytes(struct bytes *b, const void *data, size_t size)
{
    if (size > 0)
        memcpy(grow(b, size), data, size);
}

void put_zeros(struct bytes *b, size_t size)
{
    if (size > 0)
        memset(grow(b, size), 0, size);
}

void put_format(struct bytes *b, const char *format, ...)
{
    va_list args;
    char   *text;
    va_start(args, format);
    int size = vasprintf(&text, format, args);
    va_end(args);
    if (size < 0)
        abort();
    put_bytes(b, text, (size_t)size);
    free(text);
}

static void store(uint8_t *at, uint64_t value, size_t size)
{
    for (size_t i = 0; i < size; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

void put_u8(struct bytes *b, uint8_t value)
{
    store(grow(b, 1), value, 1);
}

void put_u16(struct bytes *b, uint16_t value)
{
    store(grow(b, 2), value, 2);
}

void put_u32(struct bytes *b, uint32_t value)
{
    store(grow(b, 4), value, 4);
}

void put_u64(struct bytes *b, uint64_t value)
{
    store(grow(b, 8), value, 8);
}

void set_u32(struct bytes *b, size_t at, uint32_t value)
{
    if (at + 4 > b->size)
        abort();
    store(b->data + at, value, 4);
}

void set_u64(struct bytes *b, size_t at, uint64_t value)
{
    if (at + 8 > b->size)
        abort();
    store(b->data + at, value, 8);
}

void bytes_free(struct bytes *b)
{
    free(b->data);
    *b = (struct bytes){ .data = NULL };
}

void make_safetensors(struct bytes *b, const char *header, size_t data_bytes)
{
    put_u64(b, strlen(header));
    put_bytes(b, header, strlen(header));
    for (size_t i = 0; i < data_bytes; i++)
        put_u8(b, (uint8_t)(i + 1));
}

void gguf_begin(struct bytes *b, uint32_t version, uint64_t tensors, uint64_t pairs)
{
    put_bytes(b, "GGUF", 4);
    put_u32(b, version);
    put_u64(b, tensors);
    put_u64(b, pairs);
}

void gguf_text(struct bytes *b, const char *text)
{
    put_u64(b, strlen(text));
    put_bytes(b, text, strlen(text));
}

void gguf_key(struct bytes *b, const char *key, uint32_t type)
{
    gguf_text(b, key);
    put_u32(b, type);
}

void gguf_key_u32(struct bytes *b, const char *key, uint32_t value)
{
    gguf_key(b, key, GGUF_U32);
    put_u32(b, value);
}

void gguf_key_text(struct bytes *b, const char *key, const char *value)
{
    gguf_key(b, key, GGUF_STRING);
    gguf_text(b, value);
}

void gguf_tensor(struct bytes *b, const char *name, uint32_t type, uint64_t offset, uint32_t rank,
                 const uint64_t *shape)
{
    gguf_text(b, name);
    put_u32(b, rank);
    for (uint32_t i = 0; i < rank; i++)
        put_u64(b, shape[i]);
    put_u32(b, type);
    put_u64(b, offset);
}

void gguf_align(struct bytes *b, size_t alignment)
{
    put_zeros(b, (alignment - b->size % alignment) % alignment);
}

size_t make_gguf(struct bytes *b, uint32_t alignment)
{
    const uint64_t a_bytes = 24, b_bytes = 68, a_padded = (a_bytes + alignment - 1) / alignment * alignment;
    gguf_begin(b, 3, 2, 2);
    gguf_key_text(b, "general.architecture", "test");
    gguf_key_u32(b, "general.alignment", alignment);
    gguf_tensor(b, "a", GGML_F32, 0, 2, (const uint64_t[]){ 3, 2 });
    gguf_tensor(b, "b", GGML_Q8_0, a_padded, 1, (const uint64_t[]){ 64 });
    gguf_align(b, alignment);
    size_t data = b->size;
    put_zeros(b, (size_t)(a_padded + b_bytes));
    gguf_align(b, alignment);
    return data;
}
