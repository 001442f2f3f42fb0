/* SPDX-License-Identifier: Apache-2.0 */
#include "llama_reference.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <llama.h>

enum { PROMPT_MAX = 1 << 20 };

#define MUST(condition)                                                                \
    do {                                                                               \
        if (!(condition)) {                                                            \
            fprintf(stderr, "%s:%d: reference: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                                   \
        }                                                                              \
    } while (0)

static int32_t render(const struct llama_model *model, const char *prompt, bool use_template, char *text)
{
    struct llama_chat_message message = { .role = "user", .content = prompt };

    if (!use_template)
        return snprintf(text, PROMPT_MAX, "%s", prompt);
    return llama_chat_apply_template(llama_model_chat_template(model, NULL), &message, 1, true, text, PROMPT_MAX);
}

static llama_token likeliest(struct llama_context *context, int32_t n_vocab)
{
    const float *logits = llama_get_logits_ith(context, -1);
    llama_token  best = 0;

    for (llama_token i = 1; i < n_vocab; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}

char *reference_answer(const struct reference *reference, const char *prompt, uint64_t *pieces_out)
{
    struct llama_model_params   mp = llama_model_default_params();
    struct llama_context_params cp = llama_context_default_params();
    struct llama_model         *model;
    struct llama_context       *context;
    const struct llama_vocab   *vocab;
    char                       *prompt_text = malloc(PROMPT_MAX), *answer;
    llama_token                *tokens = malloc(PROMPT_MAX * sizeof *tokens);
    size_t                      answer_bytes;
    FILE                       *out = open_memstream(&answer, &answer_bytes);
    int32_t                     bytes, count;

    MUST(prompt_text != NULL && tokens != NULL && out != NULL);
    mp.use_extra_bufts = false; /* repacked weights are computed with in another order */
    model = llama_model_load_from_file(reference->path, mp);
    MUST(model != NULL);
    vocab = llama_model_get_vocab(model);
    cp.n_ctx = reference->options.n_ctx;
    cp.n_batch = reference->options.n_batch;
    cp.n_ubatch = reference->options.n_ubatch;
    cp.n_threads = cp.n_threads_batch = (int32_t)reference->options.threads;
    context = llama_init_from_model(model, cp);
    MUST(context != NULL);

    bytes = render(model, prompt, reference->use_template, prompt_text);
    MUST(bytes > 0 && bytes < PROMPT_MAX);
    count = llama_tokenize(vocab, prompt_text, bytes, tokens, PROMPT_MAX, true, true);
    MUST(count > 0);
    for (int32_t at = 0; at < count; at += (int32_t)cp.n_batch) {
        int32_t n = count - at < (int32_t)cp.n_batch ? count - at : (int32_t)cp.n_batch;

        MUST(llama_decode(context, llama_batch_get_one(tokens + at, n)) == 0);
    }

    *pieces_out = 0;
    for (uint32_t i = 0; i < reference->max_tokens; i++) {
        llama_token token = likeliest(context, llama_vocab_n_tokens(vocab));
        char        piece[512];
        int32_t     n;

        if (llama_vocab_is_eog(vocab, token))
            break;
        n = llama_token_to_piece(vocab, token, piece, sizeof piece, 0, false);
        MUST(n >= 0);
        fwrite(piece, 1, (size_t)n, out);
        *pieces_out += n > 0;
        if (i + 1 < reference->max_tokens)
            MUST(llama_decode(context, llama_batch_get_one(&token, 1)) == 0);
    }
    MUST(fclose(out) == 0);
    llama_free(context);
    llama_model_free(model);
    free(tokens);
    free(prompt_text);
    return answer;
}
