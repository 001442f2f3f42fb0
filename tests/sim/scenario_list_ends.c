/* SPDX-License-Identifier: Apache-2.0 */
/* Several devices and instances; devices and places that go; models and runtimes that are given up. */
#include "sim/scenario_list.h"

const struct scenario scenario_ends[] = {
    { .name = "a second instance for those who wait too long",
      .devices = { 8, 8 },
      .models = { { .units = 4, .leases_max = 1, .instances = 2 } },
      .steps = { ACQUIRE(1, 0), ON(1, 0), ACQUIRE(2, 0), WAITS(2), ADVANCE(10000), GRANTED(2), ON(2, 1),
                 INSTANCES(0, 2), ACQUIRE(4, 0), WAITS(4), RELEASE(2), GRANTED(4), ON(4, 1), RELEASE(1), RELEASE(4),
                 ADVANCE(20000), INSTANCES(0, 0), LEFT(0, IDLE, 2) } },

    { .name = "where there is room, and where it was asked for",
      .devices = { 6, 6 },
      .models = { { .units = 4 }, { .units = 4 }, { .units = 2 } },
      .steps = { ACQUIRE(1, 0, .hint = 2), ON(1, 1), ACQUIRE(2, 1), ON(2, 0), ACQUIRE(4, 2, .hint = 2), ON(4, 1),
                 ACQUIRE(5, 0, .hint = 1), ON(5, 1), LOADS(0, 1) } },

    { .name = "a device is lost and comes back",
      .models = { { .units = 4, .engine = true }, { .units = 2 } },
      .steps = { ACQUIRE(1, 0), HOLD(READ, 1), ACQUIRE(2, 1), LOSE_DEVICE(0), ENDED(2, SGI_E_DEVICE_LOST, CONTEXT),
                 CALL(1), SAID(SGI_E_DEVICE_LOST), ACQUIRE(4, 0), ENDED(4, SGI_E_DEVICE_LOST, CONTEXT), RELEASE(1),
                 SAID(SGI_OK), STATE(0, COLD), LET_GO(READ, 1), DEVICE_BACK(0), ACQUIRE(5, 0), GRANTED(5),
                 ACQUIRE(6, 1), GRANTED(6), LEFT(0, LOST, 1) } },

    { .name = "one of two devices is lost",
      .devices = { 6, 6 },
      .models = { { .units = 4 }, { .units = 4 } },
      .steps = { ACQUIRE(1, 0), ON(1, 0), ACQUIRE(2, 1), ON(2, 1), LOSE_DEVICE(0), ACQUIRE(4, 1), GRANTED(4),
                 ACQUIRE(5, 0), WAITS(5), RELEASE(1), WAITS(5), RELEASE(2), RELEASE(4), GRANTED(5), ON(5, 1),
                 DEVICE_BACK(0), ACQUIRE(6, 1), GRANTED(6), ON(6, 0) } },

    { .name = "a place dies and comes back",
      .dram = 10,
      .models = { { .units = 4, .engine = true, .prepare = true }, { .units = 4, .idle_ms = NOW } },
      .steps = { ACQUIRE(1, 0), ACQUIRE(2, 1), RELEASE(2), IN(1, SGI_TIER_DRAM), CALL(1), PLACE_DIES(),
                 IN(1, SGI_TIER_DISK), ACQUIRE(4, 1), ENDED(4, SGI_E_DEVICE_LOST, QUEUE), CALL_IS(1, SGI_E_DEVICE_LOST),
                 CALL_END(1), RELEASE(1), SAID(SGI_OK), PLACE_UP(), ACQUIRE(5, 1), CAME_FROM(5, SGI_TIER_DISK),
                 ACQUIRE(6, 0), GRANTED(6) } },

    { .name = "a place dies in the middle of a load",
      .models = { { .units = 4, .engine = true, .prepare = true }, { .units = 4 } },
      .steps = { HOLD(READ, 0), HOLD(START, 0), ACQUIRE(1, 0), ACQUIRE(2, 0), PLACE_DIES(),
                 ENDED(1, SGI_E_DEVICE_LOST, CONTEXT), ENDED(2, SGI_E_DEVICE_LOST, CONTEXT), PLACE_UP(), ACQUIRE(4, 0),
                 GRANTED(4) } },

    { .name = "a drain, and a lease that stays",
      .models = { { .units = 4, .engine = true, .prepare = true }, { .units = 4 }, { .units = 2, .idle_ms = NEVER } },
      .steps = { ACQUIRE(1, 0),
                 HOLD(READ, 1),
                 ACQUIRE(2, 1),
                 ACQUIRE(4, 0),
                 ACQUIRE(5, 2),
                 RELEASE(5),
                 DRAIN(),
                 ENDED(2, SGI_E_CLOSED, READ),
                 ENDED(4, SGI_E_CLOSED, QUEUE),
                 STATE(2, COLD),
                 ACQUIRE(6, 2),
                 ENDED(6, SGI_E_CLOSED, NONE),
                 CALL(1),
                 SAID(SGI_OK),
                 CALL_BACK(1),
                 CALL_END(1),
                 LET_GO(READ, 1),
                 RELEASE(1),
                 SAID(SGI_OK),
                 EMPTY(0),
                 LEFT(0, DRAIN, 1) } },

    { .name = "unregistered while somebody waits",
      .models = { { .units = 4, .leases_max = 1 } },
      .steps = { ACQUIRE(1, 0), ACQUIRE(2, 0), UNREGISTER(0), ENDED(2, SGI_E_STALE, QUEUE), ACQUIRE(4, 0),
                 ENDED(4, SGI_E_STALE, NONE), RELEASE(1), SAID(SGI_OK), GONE(0) } },

    { .name = "unregistered while it loads",
      .models = { { .units = 4, .engine = true, .prepare = true } },
      .steps = { HOLD(READ, 0), ACQUIRE(1, 0), UNREGISTER(0), ENDED(1, SGI_E_STALE, READ), STATE(0, STOPPING),
                 LET_GO(READ, 0), GONE(0) } },

    { .name = "unregistered with a callback out",
      .models = { { .units = 4, .engine = true, .idle_ms = NOW, .hang_ms = 500 } },
      .steps = { ACQUIRE(1, 0), HOLD(STOP, 0), RELEASE(1), UNREGISTER(0), ADVANCE(500), STATE(0, WEDGED),
                 LET_GO(STOP, 0), GONE(0) } },

    { .name = "unregistered while it backs off",
      .dram = 8,
      .models = { { .units = 4 }, { .units = 4, .idle_ms = NOW } },
      .steps = { FAIL(READ, 0), ACQUIRE(1, 0), ACQUIRE(2, 0), STATE(0, FAILED), UNREGISTER(0), GONE(0), MEND(READ, 0),
                 ACQUIRE(4, 1), RELEASE(4), IN(1, SGI_TIER_DRAM), UNREGISTER(1), GONE(1) } },

    { .name = "asked for where both are in use",
      .devices = { 6, 6 },
      .models = { { .units = 4 }, { .units = 4 }, { .units = 4 } },
      .steps = { ACQUIRE(1, 0), ACQUIRE(2, 1), ACQUIRE(4, 2, .deadline_ms = 100), WAITS(4), ADVANCE(100),
                 ENDED(4, SGI_E_TIMEOUT, QUEUE) } },
};

const uint32_t scenario_ends_count = sizeof scenario_ends / sizeof *scenario_ends;
