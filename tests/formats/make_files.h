/* SPDX-License-Identifier: Apache-2.0 */
/* Model files made byte by byte, well-formed or not. Running out of memory aborts. */
#ifndef TESTS_FORMATS_MAKE_FILES_H
#define TESTS_FORMATS_MAKE_FILES_H

#include <stddef.h>
#include <stdint.h>

struct bytes {
    uint8_t *data;
    size_t   size, room;
};

void put_bytes(struct bytes *b, const void *data, size_t size);
void put_zeros(struct bytes *b, size_t size);
void put_format(struct bytes *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void put_u8(struct bytes *b, uint8_t value);
void put_u16(struct bytes *b, uint16_t value);
void put_u32(struct bytes *b, uint32_t value); /* little-endian, like all of them */
void put_u64(struct bytes *b, uint64_t value);
void set_u32(struct bytes *b, size_t at, uint32_t value);
void set_u64(struct bytes *b, size_t at, uint64_t value);
void bytes_free(struct bytes *b);

/* 8 bytes length, `header`, `data_bytes` bytes that count up from 1. */
void make_safetensors(struct bytes *b, const char *header, size_t data_bytes);

/* The numbers of the GGUF format. */
enum {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64
};
enum { GGML_F32 = 0, GGML_F16 = 1, GGML_Q4_0 = 2, GGML_Q8_0 = 8, GGML_I8 = 24 };

void gguf_begin(struct bytes *b, uint32_t version, uint64_t tensors, uint64_t pairs);
void gguf_text(struct bytes *b, const char *text);
void gguf_key(struct bytes *b, const char *key, uint32_t type); /* the value follows */
void gguf_key_u32(struct bytes *b, const char *key, uint32_t value);
void gguf_key_text(struct bytes *b, const char *key, const char *value);
void gguf_tensor(struct bytes *b, const char *name, uint32_t type, uint64_t offset, uint32_t rank,
                 const uint64_t *shape);
void gguf_align(struct bytes *b, size_t alignment);

/* Version 3, 2 keys (general.architecture = "test", general.alignment), 2 tensors: "a" F32 [3, 2] at 0 and "b" Q8_0
 * [64] behind it; the last padding included. Returns where data begins. */
size_t make_gguf(struct bytes *b, uint32_t alignment);

#endif
