/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the real executor share: a runtime with the test's clock over the test place, engines whose
 * callbacks wait at gates, and who asks in which way. */
#ifndef SGI_SIM_SCENARIO_REAL_H
#define SGI_SIM_SCENARIO_REAL_H

#include <pthread.h>

#include "sim/scenario.h"
#include "support/clock.h"
#include "support/engine.h"
#include "support/model_files.h"
#include "support/test_place.h"

enum { CLIENTS = 3 };

/* How somebody asks and learns the end. They must all come to the same. */
enum form {
    FORM_QUEUE,  /* sgi_completion_next() */
    FORM_DONE,   /* a `done` callback */
    FORM_TICKET, /* sgi_ticket_wait() on a thread of its own */
    FORM_WAIT    /* sgi_model_acquire_wait() on a thread of its own */
};

struct real;

struct real_want {
    struct real *x;
    int32_t      number;
    struct step  step; /* that asked */
    /* under x's mutex */
    bool        asked, submitted, ended;
    enum form   form;
    sgi_ticket  ticket;
    int32_t     status;
    uint32_t    at, retry_after_ms;
    sgi_lease   lease;
    bool        checked; /* the bytes it has are the file's */
    bool        threaded;
    pthread_t   thread;
    sgi_call    call;
    bool        call_out, call_open; /* the engine is in it; its user has not given it up */
    struct gate call_gate;
};

struct real_model {
    struct real       *x;
    sgi_model          id;
    struct test_engine engine;
    struct test_file  *file;
    sgi_stage         *stage;  /* of the last start */
    uint8_t            broken; /* WORK_SOURCE, WORK_CHANGED; else WORKS */
    bool               leaving;
    atomic_bool        gone;
    pthread_t          unregister;
    uint32_t           at_gate[ENGINE_STEPS]; /* callbacks that wait there */
    bool               gated[ENGINE_STEPS];
    uint32_t           admitted, begun;
};

struct client {
    struct real       *x;
    pthread_t          thread;
    const struct step *step; /* to carry out; under x's mutex */
    bool               stop;
    int64_t            said;
};

struct real {
    const struct scenario *scenario;
    bool                   stepped;
    struct test_clock      clock;
    sgi_runtime           *rt;
    struct test_place     *tp;
    sgi_events             events;
    struct real_model      models[MODELS_MAX];
    uint32_t               models_count, devices_count;
    uint32_t               blocked; /* of the ops that have begun: those at gates */
    uint32_t               calls_back;
    bool                   dead; /* the place */
    pthread_mutex_t        mutex;
    pthread_cond_t         changed;
    struct real_want       wants[WANTS_MAX];
    struct client          clients[CLIENTS];
    uint32_t               steps;        /* so far: who is next */
    int32_t                waiting_form; /* of this step: the want that asked by FORM_WAIT; -1 */
    uint32_t               told_count;
    struct told            told[TOLD_MAX];
};

struct real *real_begin(const struct scenario *s, bool stepped, uint64_t seed,
                        struct scenario_image images[MODELS_MAX]);
void         real_end(struct real *x);
void         real_files_remove(void); /* those that scenarios have made */

/* scenario_real_wants.c: what users do, on the calling thread */
int64_t real_user_step(struct real *x, const struct step *step);
void    real_take_completions(struct real *x);
void    real_join(struct real *x); /* every thread that asked; all have ended */
void    real_check_bytes(struct real *x);

/* scenario_real_world.c: clock, trouble, and until when to wait */
void real_world_step(struct real *x, const struct step *step);
void real_settle(struct real *x);

/* scenario_real_look.c */
void real_hear(struct real *x); /* takes the events of a step */
void real_observe(struct real *x, struct seen *seen);

#endif
