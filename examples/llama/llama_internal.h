/* SPDX-License-Identifier: Apache-2.0 */
/* What the engine's two halves share: llama_engine.c brings models up and down, llama_call.c answers. */
#ifndef EXAMPLES_LLAMA_LLAMA_INTERNAL_H
#define EXAMPLES_LLAMA_LLAMA_INTERNAL_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <llama.h>
#include <sgi/ext.h>

/* Made by `prepare`, read only afterwards. */
struct prepared {
    struct llama_model       *vocab_model; /* for all calls about tokens: on the model of an image they abort */
    const struct llama_vocab *vocab;
    const char               *chat_template; /* NULL: the model has none, or `raw` */
    uint32_t                  files_count;
};

/* Made by `start`; its calls come one at a time (`leases_max` is 1, else `busy` refuses). */
struct instance {
    const struct prepared *prepared;
    struct llama_model    *model;
    struct llama_context  *context;
    sgi_stage             *stage; /* during `start` only */
    sgi_reply             *reply; /* during a call only, and only touched on its thread */
    atomic_flag            busy;
};

/* The engine's `call`. */
sgi_status llama_call(void *user, void *instance, const void *request, size_t bytes, sgi_reply *reply, sgi_error *err);

/* Fills `err` and returns `code`. */
__attribute__((format(printf, 3, 4))) sgi_status llama_refuse(sgi_error *err, sgi_status code, const char *format, ...);

/* llama.cpp says what went wrong only in its log, on the thread that called it. Forget what is there; the first error
 * since then, or `otherwise`. */
void        llama_words_clear(void);
const char *llama_words(const char *otherwise);

/* Memory of a context: caches and compute buffers, without the weights. In llama_bytes.cpp. */
uint64_t llama_context_bytes(const struct llama_context *context);

#endif
