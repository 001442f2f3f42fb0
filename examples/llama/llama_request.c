/* SPDX-License-Identifier: Apache-2.0 */
#include "llama_request.h"

#include <stdlib.h>
#include <string.h>

#include "llama_internal.h"

enum {
    REQUEST_BYTES_MAX = 16 << 20,
    MESSAGES_MAX = 4096,
    MAX_TOKENS_DEFAULT = 256,
};

static sgi_status take_integer(const json_t *value, const char *key, int64_t min, int64_t max, int64_t *out,
                               sgi_error *err)
{
    if (!json_is_integer(value) || json_integer_value(value) < min || json_integer_value(value) > max)
        return llama_refuse(err, SGI_E_INVALID, "'%s' must be an integer from %lld to %lld", key, (long long)min,
                            (long long)max);
    *out = json_integer_value(value);
    return SGI_OK;
}

static sgi_status take_number(const json_t *value, const char *key, double max, float *out, sgi_error *err)
{
    double number = json_number_value(value);

    if (!json_is_number(value) || !(number >= 0) || number > max)
        return llama_refuse(err, SGI_E_INVALID, "'%s' must be a number from 0 to %g", key, max);
    *out = (float)number;
    return SGI_OK;
}

static sgi_status take_messages(struct llama_request *request, const json_t *list, sgi_error *err)
{
    size_t count = json_array_size(list); /* 0 for what is no array */

    if (count == 0 || count > MESSAGES_MAX)
        return llama_refuse(err, SGI_E_INVALID, "'messages' must be an array of 1 to %d messages", MESSAGES_MAX);
    request->messages = calloc(count, sizeof *request->messages);
    if (request->messages == NULL)
        return llama_refuse(err, SGI_E_NO_MEMORY, "no memory for %zu messages", count);
    request->messages_count = count;
    for (size_t i = 0; i < count; i++) {
        const json_t *message = json_array_get(list, i);

        request->messages[i].role = json_string_value(json_object_get(message, "role"));
        request->messages[i].content = json_string_value(json_object_get(message, "content"));
        if (request->messages[i].role == NULL || request->messages[i].content == NULL || json_object_size(message) != 2)
            return llama_refuse(err, SGI_E_INVALID,
                                "message %zu must have the strings 'role' and 'content', and no more", i);
    }
    return SGI_OK;
}

static sgi_status take_field(struct llama_request *request, const char *key, const json_t *value, sgi_error *err)
{
    int64_t    integer = 0;
    sgi_status st;

    if (strcmp(key, "prompt") == 0) {
        request->prompt = json_string_value(value);
        return request->prompt != NULL ? SGI_OK : llama_refuse(err, SGI_E_INVALID, "'prompt' must be a string");
    }
    if (strcmp(key, "messages") == 0)
        return take_messages(request, value, err);
    if (strcmp(key, "template") == 0) {
        request->use_template = json_is_true(value);
        request->template_given = true;
        return json_is_boolean(value) ? SGI_OK : llama_refuse(err, SGI_E_INVALID, "'template' must be true or false");
    }
    if (strcmp(key, "max_tokens") == 0) {
        st = take_integer(value, key, 1, INT32_MAX, &integer, err);
        request->max_tokens = (uint32_t)integer;
        return st;
    }
    if (strcmp(key, "top_k") == 0) {
        st = take_integer(value, key, 0, INT32_MAX, &integer, err);
        request->top_k = (int32_t)integer;
        return st;
    }
    if (strcmp(key, "seed") == 0) {
        st = take_integer(value, key, 0, (int64_t)UINT32_MAX - 1, &integer, err);
        request->seed = (uint32_t)integer;
        return st;
    }
    if (strcmp(key, "temperature") == 0)
        return take_number(value, key, 100, &request->temperature, err);
    if (strcmp(key, "top_p") == 0)
        return take_number(value, key, 1, &request->top_p, err);
    return llama_refuse(err, SGI_E_INVALID, "the request has the unknown field '%.60s'", key);
}

void llama_request_fini(struct llama_request *request)
{
    free(request->messages);
    json_decref(request->root);
}

sgi_status llama_request_init(struct llama_request *request, const void *text, size_t bytes, sgi_error *err)
{
    const char  *key;
    json_t      *value;
    json_error_t why;
    sgi_status   st = SGI_OK;

    *request = (struct llama_request){
        .use_template = true,
        .max_tokens = MAX_TOKENS_DEFAULT,
        .seed = LLAMA_DEFAULT_SEED,
        .top_p = 1,
    };
    if (bytes > REQUEST_BYTES_MAX)
        return llama_refuse(err, SGI_E_INVALID, "the request has %zu bytes, at most %d are taken", bytes,
                            REQUEST_BYTES_MAX);
    request->root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &why);
    if (request->root == NULL)
        return llama_refuse(err, SGI_E_INVALID, "the request is not JSON: line %d: %s", why.line, why.text);
    if (!json_is_object(request->root)) {
        st = llama_refuse(err, SGI_E_INVALID, "the request is not a JSON object");
        goto undo;
    }
    json_object_foreach(request->root, key, value)
    {
        st = take_field(request, key, value, err);
        if (st != SGI_OK)
            goto undo;
    }
    if ((request->prompt != NULL) == (request->messages != NULL)) {
        st = llama_refuse(err, SGI_E_INVALID, "the request must have either 'prompt' or 'messages'");
        goto undo;
    }
    if (request->messages != NULL && !request->use_template) {
        st = llama_refuse(err, SGI_E_INVALID, "'messages' take the chat template: 'template' cannot be false");
        goto undo;
    }
    return SGI_OK;

undo:
    llama_request_fini(request);
    return st;
}
