/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scenarios: one story about models, leases and trouble, written down once as data and carried out twice: by the
 * simulator (scenario_sim.c) and by the real runtime over real files, memory and engines (scenario_real.c). After every
 * step, when nothing is under way any more, what can be seen of the two is compared, word for word.
 *
 * Time is the test's in both: it moves with ADVANCE only, and stops at every deadline on its way. In the real one the
 * place is the test place, stepped: what the runtime asks for is carried out for real, in its order, and the next thing
 * begins when the result of the last was taken in. So both cores see the same events in the same order, and what is
 * compared needs no tolerance.
 *
 * The devices are hosts, or with scenario_on_cuda() those of the fake CUDA driver. There loads wait for contexts and
 * starts for loads; in the test place they wait before they begin, so that they go on in an order.
 *
 * A step that does not apply (a release of a lease that is not there) does nothing in both: a scenario from which steps
 * are left out is a scenario, which is how one that fails is made short.
 */
#ifndef SGI_SIM_SCENARIO_H
#define SGI_SIM_SCENARIO_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <sgi/sgi.h>

enum { MODELS_MAX = 6, DEVICES_MAX = 2, WANTS_MAX = 32, STEPS_MAX = 112 };

#define ANY   (-1)         /* no device in particular */
#define NOW   SGI_IDLE_NOW /* for idle_ms */
#define NEVER SGI_IDLE_NEVER

enum step_kind {
    STEP_END, /* of the list */
    STEP_ACQUIRE,
    STEP_TRY,
    STEP_PREFETCH,
    STEP_CANCEL,
    STEP_RELEASE,
    STEP_EVICT,
    STEP_EVICT_OTHERS, /* sgi_runtime_evict() */
    STEP_TRIM,         /* sgi_runtime_trim() to so many units */
    STEP_PIN,
    STEP_CALL,
    STEP_CALL_CANCEL,
    STEP_CALL_BACK, /* the engine comes back from it */
    STEP_CALL_END,
    STEP_GROW, /* the engine of a model says how many units it takes */
    STEP_UNREGISTER,
    STEP_DRAIN,
    STEP_ADVANCE,
    STEP_HOLD,
    STEP_LET_GO,
    STEP_FAIL, /* from now on, until mended */
    STEP_MEND,
    STEP_LOSE_DEVICE,
    STEP_DEVICE_BACK,
    STEP_PLACE_DIES, /* and everything that was held is let go */
    STEP_PLACE_UP,
    STEP_EXPECT,
    STEP_KINDS
};

/* What is held, or fails. */
enum work {
    WORK_SOURCE,
    WORK_CONTEXT,
    WORK_MEMORY,
    WORK_OPEN,  /* fails only */
    WORK_READ,  /* held: the whole load */
    WORK_CHECK, /* fails only */
    WORK_PREFIX,
    WORK_PREPARE,
    WORK_START,
    WORK_STOP, /* held only, as all from here on */
    WORK_FREE,
    WORK_KEEP,
    WORK_DROP,
    WORK_CHANGED, /* fails only: another file stands there */
    WORKS
};

/* What a scenario says about itself; both have to agree with that too. */
enum expected {
    EXPECT_ENDED,     /* a want: value is its status, step where */
    EXPECT_WAITS,     /* a want */
    EXPECT_ON,        /* a want was granted on the device `value` */
    EXPECT_CAME_FROM, /* a want: its bytes, from the tier `value` */
    EXPECT_RETRY,     /* a want: retry_after_ms */
    EXPECT_STATE,     /* a model: SGI_MODEL_ */
    EXPECT_IN,        /* a model: the nearest tier that has it */
    EXPECT_BEGUN,     /* a model: loads that were begun, ever */
    EXPECT_LOADS,     /* a model: loads that were completed, ever */
    EXPECT_FAILURES,  /* a model */
    EXPECT_OUTLOOK,   /* a model: SGI_ESTIMATE_ */
    EXPECT_LEFT,      /* a model: how often it has left a tier, ever, for the cause `what` */
    EXPECT_INSTANCES, /* a model */
    EXPECT_GONE,      /* a model: unregistered */
    EXPECT_EMPTY,     /* a device: nothing is charged, no context */
    EXPECT_CALL,      /* a want: what its call has to say: SGI_E_WOULD_BLOCK, SGI_E_END, ... */
    EXPECT_SAID       /* the step before returned `value` */
};

struct step {
    uint8_t  kind, what;
    int8_t   device;
    bool     early;
    int32_t  want;
    int8_t   model; /* right behind `want`: so the words for who asks can take them without names */
    int32_t  priority;
    uint32_t tier;
    uint32_t hint; /* 1 + device; 0: any */
    uint32_t ms, deadline_ms, lease_ms, idle_ms;
    uint32_t units;
    uint32_t at; /* SGI_STEP_, SGI_CAUSE_ */
    int64_t  value;
};

struct scenario_model {
    uint32_t units; /* of weights; 0: there is no such model */
    uint32_t engine_units;
    uint32_t idle_ms, hang_ms; /* 10 s, 60 s */
    uint32_t leases_max, instances;
    bool     engine, prepare, prefix;
    bool     packed; /* in host memory, always */
};

struct scenario {
    const char           *name;
    uint32_t              devices[DEVICES_MAX]; /* their units; 0 for the first: 100; for the second: there is none */
    uint32_t              dram;                 /* units; 0: none */
    uint32_t              requests_max, loads_max, linger_ms, starve_ms, backoff_ms, backoff_max_ms; /* 0: defaults */
    bool                  any_order; /* how many end how does not depend on who comes first */
    bool                  cuda;      /* its devices are cuda: by scenario_on_cuda() */
    struct scenario_model models[MODELS_MAX];
    struct step           steps[STEPS_MAX];
};

/* The words that scenarios are written in; those of the test's output too. n: the number of a want, m: of a model,
 * d: of a device. Who asks says want, model, and how: ACQUIRE(3, 0, .deadline_ms = 50). */
/* clang-format off */
#define ACQUIRE(...)    { .kind = STEP_ACQUIRE, .want = __VA_ARGS__ }
#define TRY(...)        { .kind = STEP_TRY, .want = __VA_ARGS__ }
#define PREFETCH(...)   { .kind = STEP_PREFETCH, .want = __VA_ARGS__ }
#define CANCEL(n)       { .kind = STEP_CANCEL, .want = (n) }
#define RELEASE(n)      { .kind = STEP_RELEASE, .want = (n) }
#define EVICT(m, t)     { .kind = STEP_EVICT, .model = (m), .tier = (t) }
#define EVICT_OTHERS(t) { .kind = STEP_EVICT_OTHERS, .tier = (t) }
#define TRIM(u)         { .kind = STEP_TRIM, .units = (u) }
#define PIN(m, t)       { .kind = STEP_PIN, .model = (m), .tier = (t) }
#define CALL(n)         { .kind = STEP_CALL, .want = (n) }
#define CALL_CANCEL(n)  { .kind = STEP_CALL_CANCEL, .want = (n) }
#define CALL_BACK(n)    { .kind = STEP_CALL_BACK, .want = (n) }
#define CALL_END(n)     { .kind = STEP_CALL_END, .want = (n) }
#define GROW(m, u)      { .kind = STEP_GROW, .model = (m), .units = (u) }
#define UNREGISTER(m)   { .kind = STEP_UNREGISTER, .model = (m) }
#define DRAIN()         { .kind = STEP_DRAIN }
#define ADVANCE(t)      { .kind = STEP_ADVANCE, .ms = (t) }
#define HOLD(w, m)      { .kind = STEP_HOLD, .what = WORK_##w, .model = (m) }
#define LET_GO(w, m)    { .kind = STEP_LET_GO, .what = WORK_##w, .model = (m) }
#define FAIL(w, m)      { .kind = STEP_FAIL, .what = WORK_##w, .model = (m) } /* the model counts for files only */
#define MEND(w, m)      { .kind = STEP_MEND, .what = WORK_##w, .model = (m) }
#define LOSE_DEVICE(d)  { .kind = STEP_LOSE_DEVICE, .device = (d) }
#define DEVICE_BACK(d)  { .kind = STEP_DEVICE_BACK, .device = (d) }
#define PLACE_DIES()    { .kind = STEP_PLACE_DIES }
#define PLACE_UP()      { .kind = STEP_PLACE_UP }

#define EXPECT_(w, ...) { .kind = STEP_EXPECT, .what = EXPECT_##w, __VA_ARGS__ }
#define GRANTED(n)      EXPECT_(ENDED, .want = (n), .value = SGI_OK)
#define ENDED(n, st, s) EXPECT_(ENDED, .want = (n), .value = (st), .at = SGI_STEP_##s)
#define WAITS(n)        EXPECT_(WAITS, .want = (n))
#define ON(n, d)        EXPECT_(ON, .want = (n), .value = (d))
#define CAME_FROM(n, t) EXPECT_(CAME_FROM, .want = (n), .value = (t))
#define RETRY(n, t)     EXPECT_(RETRY, .want = (n), .value = (t))
#define STATE(m, s)     EXPECT_(STATE, .model = (m), .value = SGI_MODEL_##s)
#define IN(m, t)        EXPECT_(IN, .model = (m), .value = (t))
#define BEGUN(m, n)     EXPECT_(BEGUN, .model = (m), .value = (n))
#define LOADS(m, n)     EXPECT_(LOADS, .model = (m), .value = (n))
#define FAILURES(m, n)  EXPECT_(FAILURES, .model = (m), .value = (n))
#define OUTLOOK(m, o)   EXPECT_(OUTLOOK, .model = (m), .value = SGI_ESTIMATE_##o)
#define LEFT(m, c, n)   EXPECT_(LEFT, .model = (m), .at = SGI_CAUSE_##c, .value = (n))
#define INSTANCES(m, n) EXPECT_(INSTANCES, .model = (m), .value = (n))
#define GONE(m)         EXPECT_(GONE, .model = (m), .value = 1)
#define EMPTY(d)        EXPECT_(EMPTY, .device = (d))
#define CALL_IS(n, st)  EXPECT_(CALL, .want = (n), .value = (st))
#define SAID(st)        EXPECT_(SAID, .value = (st))
/* clang-format on */

/* ---- what is seen, of either ---- */

/* clang-format off */
#define WANT_SEEN(X)                                                                                                  \
    X(asked) X(ended) X(status) X(step) X(retry_after_ms) X(leased) X(device) X(tier) X(joined) X(lost) X(overdue) \
    X(call)
#define MODEL_SEEN(X)                                                                                                 \
    X(gone) X(state) X(device) X(tier) X(leases) X(waiting) X(pinned) X(idle_left_ms) X(device_bytes) X(dram_bytes)   \
    X(prepared_bytes) X(loads) X(failures) X(last_error) X(retry_after_ms) X(overdue) X(calls_out) X(instances)       \
    X(admitted) X(begun) X(outlook) X(outlook_status) X(outlook_retry_ms) X(outlook_device) X(outlook_tier)           \
    X(outlook_bytes) X(outlook_lacking) X(outlook_ns) X(outlook_victims) X(first_victim) X(second_victim)
#define DEVICE_SEEN(X) X(used) X(engine) X(context) X(instances) X(lost)
#define WHOLE_SEEN(X)  X(said) X(waiting) X(leases) X(loads) X(dram_bytes) X(device_bytes) X(prepared_bytes)
/* clang-format on */

#define SEEN_FIELD(name) int64_t name;
struct want_seen {
    WANT_SEEN(SEEN_FIELD)
};
struct model_seen {
    MODEL_SEEN(SEEN_FIELD)
};
struct device_seen {
    DEVICE_SEEN(SEEN_FIELD)
};
struct whole_seen {
    WHOLE_SEEN(SEEN_FIELD)
};

/* Something that was told, in its order: SGI_EVENT_GRANTED and so on. */
#define TOLD(X) X(kind) X(model) X(want) X(device) X(status) X(step) X(cause) X(tier) X(bytes) X(ms)
struct told {
    TOLD(SEEN_FIELD)
};

enum { TOLD_MAX = 256 };

struct seen {
    struct whole_seen  whole;
    struct want_seen   wants[WANTS_MAX];
    struct model_seen  models[MODELS_MAX];
    struct device_seen devices[DEVICES_MAX];
    uint32_t           told_count; /* by the step; those past TOLD_MAX are counted only */
    struct told        told[TOLD_MAX];
};

/* ---- scenario.c ---- */

/* How far one has come, in either world. */
struct progress {
    bool asked[WANTS_MAX];
    bool dead, drained, lost[DEVICES_MAX];
    bool held[WORKS][MODELS_MAX], failing[WORKS][MODELS_MAX];
};

enum { BACK_MAX = 2 * WORKS * MODELS_MAX + DEVICES_MAX + 2 + 3 * WANTS_MAX };

uint32_t scenario_models(const struct scenario *s);
uint32_t scenario_devices(const struct scenario *s);
uint32_t scenario_device_units(const struct scenario *s, uint32_t device);
uint64_t scenario_bytes(const struct scenario *s, uint32_t units);
/* The same on cuda devices, without what there cannot be. false: that is what it is about. */
bool scenario_on_cuda(const struct scenario *s, struct scenario *out);
/* Whether somebody asks by sgi_model_acquire_wait(), which takes what is there before it queues. Else one of those who
 * queue, in one of their ways. They must all come to the same. */
bool scenario_waits(const struct scenario *s, const struct step *ask);
bool scenario_cancels(const struct scenario *s, int32_t want); /* some step does */
/* Steps that would be a mistake of whoever writes them are left out, in all worlds. */
bool scenario_applies(const struct scenario *s, const struct progress *p, const struct step *step);
void scenario_note(struct progress *p, const struct step *step);
/* What takes everything back: the world is mended, the runtime drained, and what was granted released. */
uint32_t scenario_give_back(const struct progress *p, struct step steps[BACK_MAX]);

/* ---- who carries one out ---- */

/* What a model's weights take, in host memory and on a device with memory of its own. */
struct scenario_image {
    uint64_t bytes, device_bytes, packed_bytes;
};

struct executor {
    const char *name;
    /* images: of each model; written by the real one, which knows what its files need, and read by the other. */
    void *(*begin)(const struct scenario *s, struct scenario_image images[MODELS_MAX]);
    /* What the call said; NOTHING where it did not apply or says nothing. Returns when all is quiet. */
    int64_t (*step)(void *executor, const struct step *step);
    void (*observe)(void *executor, struct seen *seen); /* everything but `said` */
    void (*end)(void *executor);                        /* all leases are released, and it is drained */
};

#define NOTHING INT64_MIN

extern const struct executor scenario_simulated, scenario_real;

/* scenario_compare.c */

/* Carries it out in both, and then takes everything back. false: they disagree, or it is not as the scenario says; then
 * `out` (or NULL) says where. */
bool scenario_agrees(const struct scenario *s, FILE *out);

/* scenario_random.c */
void scenario_random(uint64_t seed, struct scenario *out);

/* scenario_print.c: as it would be written in scenario_list.c */
void scenario_print(const struct scenario *s, FILE *out);
void scenario_print_step(const struct step *step, FILE *out);

/* scenario_crowd.c: the steps that do not depend on one another at once, from several threads. false: what must hold in
 * any order does not. */
bool scenario_crowd(const struct scenario *s, uint64_t seed, FILE *out);

#endif
