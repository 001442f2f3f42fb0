/* SPDX-License-Identifier: Apache-2.0 */
/* Mutators that know what they change: most random bytes end at the first check of a parser. Each takes the place of
 * LLVMFuzzerMutate() for a piece of an input, and leaves to it what is not of the form that it knows. */
#ifndef TESTS_FUZZ_MUTATE_H
#define TESTS_FUZZ_MUTATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* libFuzzer's own, and what it calls instead where a target has one. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t size_max);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed);

struct mutator {
    uint64_t random;
};

struct mutator mutator_new(unsigned seed);
uint32_t       mutator_below(struct mutator *m, uint32_t n); /* 0 .. n - 1 */
uint64_t       mutator_number(struct mutator *m);            /* one that is likely to matter */

/* Each returns the new size. size_max may be 0. */
size_t mutate_bytes(uint8_t *data, size_t size, size_t size_max); /* as bytes, without a form */
size_t mutate_json(struct mutator *m, uint8_t *text, size_t size, size_t size_max);
size_t mutate_safetensors(struct mutator *m, uint8_t *file, size_t size, size_t size_max);
size_t mutate_gguf(struct mutator *m, uint8_t *file, size_t size, size_t size_max); /* without its magic number */

#endif
