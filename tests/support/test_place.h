/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A place as awkward as one may be, around the local one: each op runs on a thread of its own after a seeded delay, its
 * events can be held back, devices can be lost, and the whole of it can die and come back. A place that has died loses
 * everything that was out; what the engine does in the dead one reaches nobody, as if its process were gone.
 */
#ifndef TESTS_SUPPORT_TEST_PLACE_H
#define TESTS_SUPPORT_TEST_PLACE_H

#include "gate.h"
#include "place/place.h"

struct test_place;

extern const struct sgi__place_ops test_place_ops;

/* For the next one that is opened. */
struct test_place_settings {
    uint64_t seed;
    uint32_t delay_us_max; /* 0: none */
    bool     stepped;      /* ops wait for test_place_begin() */
};
extern struct test_place_settings test_place_next;

struct test_place *test_place_last(void); /* the one opened last, while it is open */

/* Events of a kind wait from now on, until they are let go. What is held when the place dies is lost. */
void test_place_hold(struct test_place *tp, enum sgi__place_event_kind kind);
void test_place_wait_held(struct test_place *tp, enum sgi__place_event_kind kind); /* at least one */
void test_place_let_go(struct test_place *tp, enum sgi__place_event_kind kind);

/* Until so many events of a kind have been told, and taken in. */
void test_place_wait_told(struct test_place *tp, enum sgi__place_event_kind kind, uint32_t count);

/* `call` goes through it before it does anything, on the thread that asks; each load on its own, before it reads. */
struct gate *test_place_call_gate(struct test_place *tp);
struct gate *test_place_load_gate(struct test_place *tp);

/* What a place is asked to do. */
enum test_place_op {
    OP_CHECK,
    OP_CONTEXT_OPEN,
    OP_CONTEXT_CLOSE,
    OP_PREPARE,
    OP_DISCARD,
    OP_RESERVE,
    OP_LOAD,
    OP_PREFIX,
    OP_START,
    OP_STOP,
    OP_FREE,
    OP_KEEP,
    OP_DROP
};

/* Ops of a kind, of one model (0: of all), do not begin from now on, until they are let go. */
void test_place_hold_op(struct test_place *tp, enum test_place_op what, sgi_model model);
void test_place_let_go_op(struct test_place *tp, enum test_place_op what, sgi_model model);

/* Stepped: begins the oldest op that nothing holds, on a thread of its own. false: there is none. */
bool test_place_begin(struct test_place *tp, enum test_place_op *what_out, sgi_model *model_out);
/* Until no more than `count` of the ops that have begun are without a result that was taken in. */
void     test_place_wait_running(struct test_place *tp, uint32_t count);
uint32_t test_place_is_running(struct test_place *tp); /* likewise: how many those are */
/* Everything that was asked for has been told and taken in, but for what is held here and `blocked` more. */
bool test_place_quiet(struct test_place *tp, uint32_t blocked);

void test_place_die(struct test_place *tp); /* DIED has been told when it returns */
void test_place_up(struct test_place *tp);  /* a fresh one, with all models; UP has been told */
void test_place_wait_reaped(
    struct test_place *tp);                      /* until nothing of the dead ones is left: their callbacks are back */
uint64_t test_place_lost(struct test_place *tp); /* results that never came out */
void     test_place_lose_device(struct test_place *tp, int32_t device);
void     test_place_device_back(struct test_place *tp, int32_t device);

#endif
