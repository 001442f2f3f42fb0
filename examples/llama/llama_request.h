/* SPDX-License-Identifier: Apache-2.0 */
/* A request, out of its JSON: see llama_engine.h for what the fields mean. */
#ifndef EXAMPLES_LLAMA_LLAMA_REQUEST_H
#define EXAMPLES_LLAMA_LLAMA_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>
#include <llama.h>
#include <sgi/ext.h>

struct llama_request {
    json_t                    *root; /* owns the strings below */
    const char                *prompt;
    struct llama_chat_message *messages; /* set where `prompt` is NULL */
    size_t                     messages_count;
    bool                       use_template;
    bool                       template_given;
    uint32_t                   max_tokens;
    uint32_t                   seed;
    int32_t                    top_k;
    float                      top_p;
    float                      temperature;
};

/* SGI_OK: end it with llama_request_fini(). Else `err` names the field, and there is nothing to end. */
sgi_status llama_request_init(struct llama_request *request, const void *text, size_t bytes, sgi_error *err);
void       llama_request_fini(struct llama_request *request);

#endif
