/* SPDX-License-Identifier: Apache-2.0 */
/* llama.cpp as an engine of libsgi: any GGUF model that llama.cpp knows, on a host device.
 *
 *     struct llama_engine_options options = { .n_ctx = 4096 };
 *     sgi_engine engine;
 *     llama_engine_init(&engine, &options);
 *     config.engine = &engine;
 *     config.flags = SGI_IMAGE_FD;      // llama.cpp opens files: it gets the image as one
 *
 * What happens when, and what it costs SmolLM2-135M on two cores:
 *   prepare  the vocabulary and the chat template, from a vocab-only load of the file: 80 ms, and 14 MiB of host
 *            memory that stay while the model is cold
 *   start    llama.cpp opens the image ([stripped header][tensor data as in the file], see gguf_strip.h), maps it,
 *            and makes its context while the weights are still arriving: 10 ms, and what zeroing the KV cache takes
 *   call     one request, one answer
 *   stop     everything of `start` goes, back to the operating system
 *
 * A request is a JSON object in UTF-8:
 *
 *   prompt       string: what the user says. Exactly one of `prompt` and `messages`
 *   messages     array of {"role": string, "content": string}: a conversation
 *   template     bool: put the prompt through the model's chat template. Default true; false with `prompt` only
 *   max_tokens   integer, at least 1: the answer ends there. Default 256
 *   temperature  number, 0 to 100. Default 0: greedy, the same answer every time
 *   top_k        integer: sample among the k likeliest. Default 0: all
 *   top_p        number: sample among the likeliest that make up this probability. Default 1: all
 *   seed         integer, 0 to 2^32 - 2: the same answer for the same seed. Default: another one each time
 *
 * A field it does not know is refused. The reply's pieces are the answer's text as the tokens come; a piece ends within
 * a UTF-8 character only where the model itself left one unfinished. The engine ends the call with
 *   SGI_OK            the model has finished, or max_tokens was reached
 *   SGI_E_INVALID     the request is not as above, or it does not fit the context: prompt and answer together take at
 *                     most n_ctx tokens. An answer that runs into that end has been handed over up to there
 *   SGI_E_UNSUPPORTED the request needs a chat template that the model does not have
 *   SGI_E_CANCELED    within the time of one graph node, well under a millisecond for small models
 *   SGI_E_ENGINE      llama.cpp failed; its own words are in the message
 * libsgi hands these on as they are.
 *
 * A model in several files (NAME-00001-of-00003.gguf, as gguf-split writes them) is registered by the first of them, or
 * by its folder, and works like one in a single file: llama.cpp gets an image for each. At most 256.
 *
 * A model whose chat template llama.cpp does not know fails in `prepare` and says so; with `raw` it can be used
 * without one.
 *
 * llama.cpp is one per process, and so is its log: the first prepare takes it over and drops all but what goes into
 * error messages. It is trusted with the file: a model made to crash llama.cpp crashes the process.
 */
#ifndef EXAMPLES_LLAMA_LLAMA_ENGINE_H
#define EXAMPLES_LLAMA_LLAMA_ENGINE_H

#include <stdint.h>

#include <sgi/ext.h>

struct llama_engine_options {
    uint32_t n_ctx; /* tokens of a request and its answer. 0: 2048, or what the model was trained for if that is less */
    uint32_t n_batch;  /* tokens of a prompt that are decoded in one go. 0: 512 */
    uint32_t n_ubatch; /* of those, computed at once: more is faster and takes more memory. 0: 512, at most n_batch */
    /* That compute. 0: one for each CPU that this process may use, less one for all else: llama.cpp's threads spin for
     * each other, and one that has to share its CPU makes all of them 10 to 30 times slower. */
    uint32_t threads;
    uint32_t raw; /* 1: never use the model's chat template: prompts go in as they are, `messages` are refused */
};

/**
 * Fill an engine table for sgi_model_config.engine. One table and its options may serve any number of models.
 *
 * @param options  NULL for defaults. Not copied: it must outlive the models
 * @return SGI_OK · SGI_E_INVALID
 */
sgi_status llama_engine_init(sgi_engine *engine, const struct llama_engine_options *options);

#endif
