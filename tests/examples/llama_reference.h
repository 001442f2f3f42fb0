/* SPDX-License-Identifier: Apache-2.0 */
/* llama.cpp on its own: the file through its own loader, its own vocabulary, greedy. What the engine has to equal. */
#ifndef TESTS_EXAMPLES_LLAMA_REFERENCE_H
#define TESTS_EXAMPLES_LLAMA_REFERENCE_H

#include <stdbool.h>
#include <stdint.h>

#include "llama_engine.h"

struct reference {
    const char                 *path;
    struct llama_engine_options options; /* n_ctx, n_batch, n_ubatch and threads all set */
    bool                        use_template;
    uint32_t                    max_tokens;
};

/* The answer, to be freed. *pieces_out: how many of its tokens have a text. Ends the program on failure. */
char *reference_answer(const struct reference *reference, const char *prompt, uint64_t *pieces_out);

#endif
