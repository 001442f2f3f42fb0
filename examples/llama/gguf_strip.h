/* SPDX-License-Identifier: Apache-2.0 */
/* A GGUF header without its vocabulary, of an exact length.
 *
 * An image of a model is [stripped header][tensor data exactly as in the file]. llama.cpp opens it like any GGUF file,
 * and skips what costs it most at every start: parsing the token list, which a vocab-only model has read already.
 * All vocabulary calls then go to that one; on a model opened from the image they assert.
 *
 * What changes against the source header:
 *   - strings and arrays under `tokenizer.` are dropped, `tokenizer.ggml.model` becomes "none", and
 *     `<architecture>.vocab_size` is set, once, to the length of the token list;
 *   - one more string value, always there, pads the header to the length asked for.
 * A header without a token list (the later files of a split model, or one that is stripped already) is only padded.
 * Tensor names, shapes, types and relative offsets stay byte for byte, so the data needs no moving.
 *
 * Needs nothing but the C library. The source is hostile: every count and length is checked against its size.
 */
#ifndef EXAMPLES_LLAMA_GGUF_STRIP_H
#define EXAMPLES_LLAMA_GGUF_STRIP_H

#include <stddef.h>
#include <stdint.h>

struct gguf_source {
    /* As pread: how many bytes arrived (fewer than asked is fine), 0 at the end, or a negative errno. */
    int64_t (*read_at)(void *user, void *dst, size_t bytes, uint64_t offset);
    void    *user;
    uint64_t bytes; /* size of the file; nothing past it is read */
};

struct gguf_strip_size {
    uint64_t bytes_min;   /* the shortest stripped header, a multiple of `alignment` */
    uint64_t alignment;   /* general.alignment, or GGUF's default of 32 */
    uint64_t data_offset; /* where tensor data begins in the source file */
};

/**
 * How long the stripped header has to be at least.
 *
 * @param err  takes one sentence on failure; may be NULL with `err_bytes` 0
 * @return 0, or -1 with `err` filled and `*out` untouched
 * Threads: any. Blocks: on read_at.
 */
int gguf_strip_measure(const struct gguf_source *src, struct gguf_strip_size *out, char *err, size_t err_bytes);

/**
 * Write a stripped header of exactly `bytes`: tensor data appended to it begins where a reader looks for it.
 *
 * @param bytes  at least bytes_min and a multiple of `alignment`. One that is congruent to `data_offset` modulo a page
 *               always is, as long as the alignment is no larger than the page.
 * @return 0, or -1 with `err` filled and the content of `dst` undefined
 * Threads: any. Blocks: on read_at.
 */
int gguf_strip_fill(const struct gguf_source *src, void *dst, uint64_t bytes, char *err, size_t err_bytes);

#endif
