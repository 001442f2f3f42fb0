/* SPDX-License-Identifier: Apache-2.0 */
/* One question to a model: acquire a lease, call the engine, read the answer as it comes, release. */
#ifndef EXAMPLES_GENERATE_ASK_H
#define EXAMPLES_GENERATE_ASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sgi/sgi.h>

struct asked {
    uint64_t   lease_ns; /* from acquire to the lease */
    uint64_t   first_ns; /* from acquire to the first piece of the answer */
    uint64_t   end_ns;   /* from acquire to the answer's end */
    uint64_t   pieces;   /* about one a token */
    sgi_timing timing;
    char      *answer; /* to free */
    size_t     answer_bytes;
};

struct asker {
    sgi_runtime *rt;
    sgi_model    model;
    const char  *request;
    /* What the user sees meanwhile; each may be NULL. */
    void (*on_loading)(uint64_t loaded_bytes, uint64_t loading_bytes); /* every now and then; 0, 0 when that is over */
    void (*on_piece)(const char *piece, size_t bytes);
};

/* On SGI_OK *asked is filled and its `answer` the caller's. Else nothing is held any more. */
sgi_status ask(const struct asker *asker, struct asked *asked, sgi_error *err);

uint64_t now_ns(void);

#endif
