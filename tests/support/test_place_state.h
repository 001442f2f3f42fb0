/* SPDX-License-Identifier: Apache-2.0 */
/* What the two halves of the test place share: test_place.c, which its owner calls, and test_place_lives.c, which looks
 * after the local places inside and the events they send. */
#ifndef TESTS_SUPPORT_TEST_PLACE_STATE_H
#define TESTS_SUPPORT_TEST_PLACE_STATE_H

#include <stdlib.h>

#include "base/pool.h"
#include "core/core.h"
#include "test_place.h"

enum { EVENT_KINDS = SGI__PLACE_CALLED + 1, HELD_OPS_MAX = 64 };

struct op_job;

/* What an incarnation holds, learned from the events of the place inside. */
struct held_instance {
    uint64_t              id;
    sgi_model             model;
    int32_t               device;
    bool                  up;
    bool                  loading;  /* its load is out */
    bool                  canceled; /* it waits for no context */
    struct held_instance *next;
};

struct held_model {
    sgi_model          id;
    uint64_t           borrower; /* the last instance that was to take the residence */
    uint64_t           packer;   /* the last instance that was to leave a packed one, or become it */
    bool               residence, prepared;
    bool               packed; /* the residence is: whatever is made from it, it stays */
    struct held_model *next;
};

struct held_call {
    uint64_t          id, instance;
    struct held_call *next;
};

/* Of a device with memory of its own: what is to be there waits for it. */
enum held_context { CONTEXT_SHUT, CONTEXT_OPEN, CONTEXT_FAILED };

/* One life of the place. */
struct incarnation {
    struct sgi__job    reap; /* first: the job that takes a dead one apart */
    struct test_place *tp;
    struct sgi__place *inner;
    /* under tp's mutex */
    bool                  dead, reaped;
    uint32_t              out;     /* ops and calls given to `inner`, or about to be, that have not reported */
    uint32_t              inside;  /* threads in one of its functions */
    uint32_t              running; /* of `out`: ops that have begun */
    uint32_t              parked;  /* of `out`: ops that do not begin, for they are held */
    struct held_instance *instances;
    struct held_model    *models;
    struct held_call     *calls;
    enum held_context     contexts[SGI__DEVICES_MAX];
    struct incarnation   *next; /* in tp->lives */
};

struct held_event {
    struct sgi__place_event event;
    sgi_error               error;
    struct held_event      *next;
};

/* An op on its way. */
struct op_job {
    struct sgi__job     job;  /* first */
    struct op_job      *next; /* stepped: the next that waits */
    struct incarnation *life;
    enum test_place_op  what;
    uint64_t            op, instance;
    sgi_model           model;
    int32_t             device;
    uint32_t            tier;
    int32_t             priority;
    enum sgi__keep      keep;
    bool                packed;
    uint64_t            shared_bytes;
    bool                at_gate; /* stepped: its turn has come, and it waits for a context or a load */
    uint32_t            delay_us;
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
    bool                     stepped;
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
    uint32_t            telling; /* threads that tell, or are about to */
    struct op_job      *waiting; /* stepped: in their order */
    struct {
        enum test_place_op what;
        sgi_model          model; /* 0: of all */
    } held_ops[HELD_OPS_MAX];
    uint32_t held_ops_count;
    uint32_t let_go; /* how often */
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
void                  life_asked(struct incarnation *life, const struct op_job *j);

void                life_canceled(struct incarnation *life, uint64_t instance);
struct incarnation *life_new(struct test_place *tp, sgi_error *err); /* without models; NULL: err says why */
sgi_status          life_add_model(struct incarnation *life, const struct sgi__place_model *spec, sgi_error *err);
void                life_take_apart(struct incarnation *life);

/* test_place_steps.c, under the mutex */
void steps_park(struct incarnation *life); /* until something was let go */
bool steps_held(const struct test_place *tp, const struct op_job *j);
bool steps_wait(const struct test_place *tp, const struct op_job *j); /* held, or at the gate */
void steps_add(struct test_place *tp, struct op_job *j);
void steps_forget(struct test_place *tp); /* all that wait: their life is over */
/* What waits at the gate goes on, behind all that is asked for already: of a device, an instance, or both. */
void steps_leave_gate(struct incarnation *life, int32_t device, uint64_t instance);
bool steps_own(const struct test_place *tp, int32_t device); /* it has memory of its own */

void lives_wait_reaped(struct test_place *tp); /* test_place_wait_reaped() under the mutex */

#endif
