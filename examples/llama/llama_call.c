/* SPDX-License-Identifier: Apache-2.0 */
/* One request, one answer: prompt -> tokens -> llama_decode and a sampler, in turns -> text. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "llama_engine.h"
#include "llama_internal.h"
#include "llama_request.h"

enum {
    PIECE_BYTES = 256,
    /* No vocabulary has tokens as long as this: what is longer cannot fit, and is not worth the tokenizer's time. */
    TOKEN_TEXT_MAX = 512,
};

/* Text that came out of tokens and may end in the middle of a character. */
struct text {
    char  *bytes;
    size_t count, room;
};

struct answer {
    struct instance            *instance;
    const struct llama_request *request;
    sgi_reply                  *reply;
    sgi_error                  *err;
    llama_token                *tokens; /* of the prompt */
    uint32_t                    tokens_count;
    struct text                 text;
};

/* ----------------------------------------------------------------------------------------------------------- prompt */

/* The prompt as the model wants it. *owned is what to free. */
static sgi_status render(struct answer *a, const char **text_out, char **owned)
{
    const struct prepared           *prepared = a->instance->prepared;
    const struct llama_request      *request = a->request;
    struct llama_chat_message        single = { .role = "user", .content = request->prompt };
    const struct llama_chat_message *messages = request->messages != NULL ? request->messages : &single;
    size_t                           count = request->messages != NULL ? request->messages_count : 1;
    int32_t                          bytes, again;

    *owned = NULL;
    if (prepared->chat_template == NULL && (request->messages != NULL || request->template_given) &&
        request->use_template)
        return llama_refuse(a->err, SGI_E_UNSUPPORTED,
                            "the model has no chat template; it takes a 'prompt' with 'template' false");
    if (prepared->chat_template == NULL || !request->use_template) {
        *text_out = request->prompt;
        return SGI_OK;
    }
    bytes = llama_chat_apply_template(prepared->chat_template, messages, count, true, NULL, 0);
    if (bytes < 0)
        return llama_refuse(a->err, SGI_E_INVALID, "the model's chat template does not take these messages");
    *owned = malloc((size_t)bytes + 1);
    if (*owned == NULL)
        return llama_refuse(a->err, SGI_E_NO_MEMORY, "no memory for a prompt of %d bytes", bytes);
    again = llama_chat_apply_template(prepared->chat_template, messages, count, true, *owned, bytes);
    if (again != bytes)
        return llama_refuse(a->err, SGI_E_ENGINE, "llama.cpp renders the chat template differently each time");
    (*owned)[bytes] = '\0';
    *text_out = *owned;
    return SGI_OK;
}

static sgi_status tokenize(struct answer *a, const char *text)
{
    const struct llama_vocab *vocab = a->instance->prepared->vocab;
    uint32_t                  n_ctx = llama_n_ctx(a->instance->context);
    size_t                    bytes = strlen(text);
    int32_t                   count;

    if (bytes / TOKEN_TEXT_MAX >= n_ctx)
        return llama_refuse(a->err, SGI_E_INVALID, "a prompt of %zu bytes cannot fit a context of %u tokens (n_ctx)",
                            bytes, n_ctx);
    /* Specials are parsed: they are what a chat template consists of. */
    count = -llama_tokenize(vocab, text, (int32_t)bytes, NULL, 0, true, true);
    if (count <= 0)
        return llama_refuse(a->err, SGI_E_INVALID, "the prompt is empty");
    if ((uint32_t)count >= n_ctx)
        return llama_refuse(a->err, SGI_E_INVALID,
                            "the prompt has %d tokens, and the context has room for %u with an answer (n_ctx)", count,
                            n_ctx);
    a->tokens = malloc((size_t)count * sizeof *a->tokens);
    if (a->tokens == NULL)
        return llama_refuse(a->err, SGI_E_NO_MEMORY, "no memory for a prompt of %d tokens", count);
    if (llama_tokenize(vocab, text, (int32_t)bytes, a->tokens, count, true, true) != count)
        return llama_refuse(a->err, SGI_E_ENGINE, "llama.cpp tokenizes the prompt differently each time");
    a->tokens_count = (uint32_t)count;
    return SGI_OK;
}

static sgi_status take_prompt(struct answer *a)
{
    const char *text = NULL;
    char       *owned;
    sgi_status  st = render(a, &text, &owned);

    if (st == SGI_OK)
        st = tokenize(a, text);
    free(owned);
    return st;
}

/* ----------------------------------------------------------------------------------------------------------- decode */

static sgi_status decode(struct answer *a, llama_token *tokens, uint32_t count)
{
    int32_t rc;

    if (sgi_reply_canceled(a->reply))
        return llama_refuse(a->err, SGI_E_CANCELED, "canceled");
    llama_words_clear();
    rc = llama_decode(a->instance->context, llama_batch_get_one(tokens, (int32_t)count));
    if (rc == 0)
        return SGI_OK;
    if (rc == 2 || sgi_reply_canceled(a->reply))
        return llama_refuse(a->err, SGI_E_CANCELED, "canceled");
    return llama_refuse(a->err, SGI_E_ENGINE, "llama.cpp cannot decode: %s", llama_words("it does not say why"));
}

static sgi_status decode_prompt(struct answer *a)
{
    uint32_t   n_batch = llama_n_batch(a->instance->context);
    sgi_status st = SGI_OK;

    for (uint32_t at = 0; at < a->tokens_count && st == SGI_OK; at += n_batch) {
        uint32_t left = a->tokens_count - at;

        st = decode(a, a->tokens + at, left < n_batch ? left : n_batch);
    }
    return st;
}

static struct llama_sampler *make_sampler(const struct llama_request *request)
{
    struct llama_sampler *chain;

    if (request->temperature <= 0)
        return llama_sampler_init_greedy();
    chain = llama_sampler_chain_init(llama_sampler_chain_default_params());
    if (request->top_k > 0)
        llama_sampler_chain_add(chain, llama_sampler_init_top_k(request->top_k));
    if (request->top_p < 1)
        llama_sampler_chain_add(chain, llama_sampler_init_top_p(request->top_p, 1));
    llama_sampler_chain_add(chain, llama_sampler_init_temp(request->temperature));
    llama_sampler_chain_add(chain, llama_sampler_init_dist(request->seed));
    return chain;
}

/* ------------------------------------------------------------------------------------------------------------- text */

/* How many bytes of `text` do not end in the middle of a UTF-8 character. Bytes that are no UTF-8 count as whole. */
static size_t whole_characters(const struct text *text)
{
    for (size_t back = 1; back <= 3 && back <= text->count; back++) {
        unsigned char c = (unsigned char)text->bytes[text->count - back];

        if ((c & 0xc0) != 0x80) {
            size_t length = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 1;

            return length > back ? text->count - back : text->count;
        }
    }
    return text->count;
}

static sgi_status flush(struct answer *a, size_t bytes)
{
    if (bytes == 0)
        return SGI_OK;
    if (sgi_reply_emit(a->reply, a->text.bytes, bytes) != SGI_OK)
        return llama_refuse(a->err, SGI_E_CANCELED, "canceled");
    memmove(a->text.bytes, a->text.bytes + bytes, a->text.count - bytes);
    a->text.count -= bytes;
    return SGI_OK;
}

static bool make_room(struct text *text, size_t bytes)
{
    char *larger;

    if (text->room - text->count >= bytes)
        return true;
    larger = realloc(text->bytes, text->count + bytes);
    if (larger == NULL)
        return false;
    text->bytes = larger;
    text->room = text->count + bytes;
    return true;
}

static sgi_status emit(struct answer *a, llama_token token)
{
    const struct llama_vocab *vocab = a->instance->prepared->vocab;
    struct text              *text = &a->text;
    int32_t                   bytes = -PIECE_BYTES;

    while (bytes < 0) { /* twice at most: it says how much room it wants */
        if (!make_room(text, (size_t)-bytes))
            return llama_refuse(a->err, SGI_E_NO_MEMORY, "no memory for the text of a token");
        bytes = llama_token_to_piece(vocab, token, text->bytes + text->count, (int32_t)(text->room - text->count), 0,
                                     false);
    }
    text->count += (size_t)bytes;
    return flush(a, whole_characters(text));
}

static sgi_status write_answer(struct answer *a, struct llama_sampler *sampler)
{
    struct llama_context     *context = a->instance->context;
    const struct llama_vocab *vocab = a->instance->prepared->vocab;
    uint32_t                  n_ctx = llama_n_ctx(context);
    sgi_status                st;

    for (uint32_t n = 0; n < a->request->max_tokens; n++) {
        llama_token token = llama_sampler_sample(sampler, context, -1);

        if (llama_vocab_is_eog(vocab, token))
            break;
        st = emit(a, token);
        if (st != SGI_OK)
            return st;
        if (n + 1 == a->request->max_tokens)
            break;
        if (a->tokens_count + n >= n_ctx) {
            flush(a, a->text.count);
            return llama_refuse(a->err, SGI_E_INVALID,
                                "the context is full: %u tokens of prompt and %u of answer, where n_ctx is %u",
                                a->tokens_count, n + 1, n_ctx);
        }
        st = decode(a, &token, 1);
        if (st != SGI_OK)
            return st;
    }
    return flush(a, a->text.count);
}

static sgi_status answer(struct answer *a)
{
    struct llama_sampler *sampler;
    sgi_status            st = take_prompt(a);

    if (st != SGI_OK)
        return st;
    /* Requests know nothing of each other; and whatever a canceled one has left goes here. */
    llama_memory_clear(llama_get_memory(a->instance->context), false);
    st = decode_prompt(a);
    if (st != SGI_OK)
        return st;
    sampler = make_sampler(a->request);
    st = write_answer(a, sampler);
    llama_sampler_free(sampler);
    return st;
}

sgi_status llama_call(void *user, void *instance, const void *request, size_t bytes, sgi_reply *reply, sgi_error *err)
{
    struct instance     *i = instance;
    struct llama_request parsed;
    struct answer        a = { .instance = i, .request = &parsed, .reply = reply, .err = err };
    sgi_status           st;

    (void)user;
    if (atomic_flag_test_and_set(&i->busy))
        return llama_refuse(err, SGI_E_BUSY,
                            "an instance of llama.cpp answers one request at a time: leases_max must be 1");
    st = llama_request_init(&parsed, request, bytes, err);
    if (st == SGI_OK) {
        i->reply = reply;
        st = answer(&a);
        i->reply = NULL;
        llama_request_fini(&parsed);
    }
    free(a.tokens);
    free(a.text.bytes);
    atomic_flag_clear(&i->busy);
    return st;
}
