/* SPDX-License-Identifier: Apache-2.0 */
/* An engine that does as it is told: counts, notes the order, fails, allocates, and waits at gates. Sees nothing of
 * lib/. */
#ifndef TESTS_SUPPORT_ENGINE_H
#define TESTS_SUPPORT_ENGINE_H

#include <stdatomic.h>

#include <sgi/ext.h>

#include "gate.h"

enum engine_step {
    ENGINE_PREPARE,
    ENGINE_DISCARD,
    ENGINE_PREFIX_BYTES,
    ENGINE_PREFIX_FILL,
    ENGINE_START,
    ENGINE_CALL,
    ENGINE_STOP,
    ENGINE_STEPS
};

struct test_engine {
    sgi_engine  table; /* for sgi_model_config.engine */
    struct gate gates[ENGINE_STEPS];
    atomic_int  counts[ENGINE_STEPS];
    atomic_int  fail[ENGINE_STEPS]; /* a status to return, SGI_OK: none */
    /* ... from the so-and-so-many-th time on (0: the first), this often (0: always) */
    atomic_uint_fast64_t fail_from[ENGINE_STEPS], fail_times[ENGINE_STEPS];
    bool                 silent; /* fails without filling err */

    /* settings, before the model is registered */
    uint64_t prefix_bytes;
    uint64_t prepared_bytes;
    uint64_t alloc_bytes;                           /* in start, of sgi_stage_alloc(); 0: none */
    uint64_t report_bytes;                          /* in start, of sgi_stage_report_bytes(); UINT64_MAX: none */
    bool     no_wait;                               /* start does not wait for the weights */
    bool     look;                                  /* start looks at every part and tensor through the stage */
    void (*in_start)(void *user, sgi_stage *stage); /* called in start; NULL: nothing */
    void (*in_call)(void *user);                    /* called in call */
    void *user;

    /* what it saw */
    atomic_int           calls_at_once, calls_at_once_max, live; /* instances between start and stop */
    atomic_int           prepared_live;                          /* objects between prepare and discard */
    atomic_int           calls_canceled;             /* ended because sgi_reply_canceled() or emit said so */
    atomic_uint          emitted;                    /* pieces that emit took */
    atomic_int           start_status, alloc_status; /* what the waits in the last start said */
    sgi_error            start_error;                /* after the start has returned */
    atomic_uint_fast64_t outcomes[ENGINE_STEPS];     /* times that one could have failed */
    atomic_uint          order_count;
    uint8_t              order[256]; /* enum engine_step, as they began */
};

void test_engine_init(struct test_engine *e, bool with_prefix, bool with_prepare);
void test_engine_fini(struct test_engine *e);
int  test_engine_count(struct test_engine *e, enum engine_step step);
/* How the prefix of a part is filled. */
uint8_t test_engine_prefix_byte(uint32_t part, uint64_t at);

enum request_kind {
    REQUEST_EMIT,           /* `pieces` pieces of `piece_bytes` */
    REQUEST_UNTIL_CANCELED, /* pieces of one byte until emit says so */
    REQUEST_POLL,           /* emits nothing, until sgi_reply_canceled() */
    REQUEST_DEAF,           /* the gate only: notices nothing */
    REQUEST_ECHO,           /* the rest of the request, as one piece */
};

/* What a request of this engine holds; anything behind it is the text of REQUEST_ECHO. */
struct test_request {
    uint32_t   kind;
    uint32_t   pieces;
    uint32_t   piece_bytes;
    sgi_status status; /* to return after it */
};

uint8_t test_engine_piece_byte(uint32_t piece, uint32_t at);

#endif
