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

void test_place_die(struct test_place *tp); /* DIED has been told when it returns */
void test_place_up(struct test_place *tp);  /* a fresh one, with all models; UP has been told */
void test_place_wait_reaped(
    struct test_place *tp);                      /* until nothing of the dead ones is left: their callbacks are back */
uint64_t test_place_lost(struct test_place *tp); /* results that never came out */
void     test_place_lose_device(struct test_place *tp, int32_t device);
void     test_place_device_back(struct test_place *tp, int32_t device);

#endif
