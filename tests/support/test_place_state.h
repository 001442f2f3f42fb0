/* SPDX-License-Identifier: Apache-2.0 */
/* What the two halves of the test place share: test_place.c, which its owner calls, and test_place_lives.c, which looks
 * after the local places inside and the events they send. */
#ifndef TESTS_SUPPORT_TEST_PLACE_STATE_H
#define TESTS_SUPPORT_TEST_PLACE_STATE_H

#include <stdlib.h>

#include "base/pool.h"
#include "test_place.h"

enum { EVENT_KINDS = SGI__PLACE_CALLED + 1 };

/* What an incarnation holds, learned from the events of the place inside. */
struct held_instance {
    uint64_t              id;
    sgi_model             model;
    bool                  up;
    struct held_instance *next;
};

struct held_model {
    sgi_model          id;
    bool               residence, prepared;
    struct held_model *next;
};

struct held_call {
    uint64_t          id, instance;
    struct held_call *next;
};

/* One life of the place. */
struct incarnation {
    struct sgi__job    reap; /* first: the job that takes a dead one apart */
    struct test_place *tp;
    struct sgi__place *inner;
    /* under tp's mutex */
    bool                  dead, reaped;
    uint32_t              out;    /* ops and calls given to `inner`, or about to be, that have not reported */
    uint32_t              inside; /* threads in one of its functions */
    struct held_instance *instances;
    struct held_model    *models;
    struct held_call     *calls;
    struct incarnation   *next; /* in tp->lives */
};

struct held_event {
    struct sgi__place_event event;
    sgi_error               error;
    struct held_event      *next;
};

struct known_model {
    struct sgi__place_model spec;
    struct known_model     *next;
};

struct test_place {
    struct sgi__place_config config; /* the owner's */
    struct sgi__pool        *pool;
    struct gate              call_gate, load_gate;
    uint32_t                 delay_us_max;
    pthread_mutex_t          mutex;
    pthread_cond_t           changed;
    /* under the mutex */
    uint64_t            random;
    struct incarnation *live;  /* NULL while dead */
    struct incarnation *lives; /* all that are not closed yet */
    struct known_model *models;
    bool                hold[EVENT_KINDS];
    struct held_event  *held;
    uint64_t            lost, deaths;
    uint32_t            told[EVENT_KINDS];
};

static const struct sgi__place_ops *const inside = &sgi__place_local;

static inline void *must(void *memory)
{
    if (!memory)
        abort();
    return memory;
}

/* What a life holds, under the mutex. NULL: not this. */
struct held_instance *life_find_instance(const struct incarnation *life, uint64_t id);
struct held_model    *life_find_model(const struct incarnation *life, sgi_model id);
void                  life_forget_call(struct incarnation *life, uint64_t id);

struct incarnation *life_new(struct test_place *tp, sgi_error *err); /* without models; NULL: err says why */
sgi_status          life_add_model(struct incarnation *life, const struct sgi__place_model *spec, sgi_error *err);
void                life_take_apart(struct incarnation *life);

void lives_wait_reaped(struct test_place *tp); /* test_place_wait_reaped() under the mutex */

#endif
