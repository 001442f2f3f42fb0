/* SPDX-License-Identifier: Apache-2.0 */
/* What goes wrong with a model: each step of a start, and callbacks that do not come back. */
#include "sim/scenario_list.h"

/* The first failure may be a passing one; from the second on it backs off, twice as long each time; then it is well
 * again. */
#define FAILS_AT(work, st, at_)                                                                                   \
    {                                                                                                             \
        .name = "it fails at " #work ", backs off, and is well again",                                            \
        .models = { { .units = 3, .engine = true, .prepare = true, .prefix = true }, { .units = 2 } }, .steps = { \
            FAIL(work, 0),                                                                                        \
            ACQUIRE(1, 0),                                                                                        \
            ENDED(1, st, at_),                                                                                    \
            RETRY(1, 0),                                                                                          \
            STATE(0, COLD),                                                                                       \
            ACQUIRE(2, 0),                                                                                        \
            ENDED(2, st, at_),                                                                                    \
            RETRY(2, 100),                                                                                        \
            STATE(0, FAILED),                                                                                     \
            OUTLOOK(0, REFUSED),                                                                                  \
            ADVANCE(40),                                                                                          \
            ACQUIRE(3, 0),                                                                                        \
            ENDED(3, st, at_),                                                                                    \
            RETRY(3, 60),                                                                                         \
            FAILURES(0, 2),                                                                                       \
            ADVANCE(60),                                                                                          \
            ACQUIRE(4, 0),                                                                                        \
            ENDED(4, st, at_),                                                                                    \
            RETRY(4, 200),                                                                                        \
            MEND(work, 0),                                                                                        \
            ACQUIRE(5, 1),                                                                                        \
            GRANTED(5),                                                                                           \
            ADVANCE(200),                                                                                         \
            ACQUIRE(6, 0),                                                                                        \
            GRANTED(6),                                                                                           \
            FAILURES(0, 3),                                                                                       \
            LOADS(0, 1)                                                                                           \
        }                                                                                                         \
    }

const struct scenario scenario_failures[] = {
    FAILS_AT(SOURCE, SGI_E_IO, SOURCE),
    FAILS_AT(CHANGED, SGI_E_CHANGED, SOURCE),
    FAILS_AT(CONTEXT, SGI_E_DEVICE, CONTEXT),
    FAILS_AT(MEMORY, SGI_E_DEVICE_MEMORY, MEMORY),
    FAILS_AT(OPEN, SGI_E_IO, OPEN),
    FAILS_AT(READ, SGI_E_IO, READ),
    FAILS_AT(CHECK, SGI_E_CHECK, VERIFY),
    FAILS_AT(PREFIX, SGI_E_ENGINE, PREFIX),
    FAILS_AT(PREPARE, SGI_E_ENGINE, PREPARE),
    FAILS_AT(START, SGI_E_ENGINE, START),

    { .name = "the source changes while somebody waits for room",
      .devices = { 6 },
      .models = { { .units = 4 }, { .units = 4 } },
      .steps = { ACQUIRE(1, 0), ACQUIRE(2, 1), STATE(1, QUEUED), FAIL(CHANGED, 1), RELEASE(1),
                 ENDED(2, SGI_E_CHANGED, OPEN), STATE(1, COLD), FAILURES(1, 1) } },

    { .name = "the first cause is the one that is told",
      .models = { { .units = 5, .engine = true, .prefix = true } },
      .steps = { FAIL(PREFIX, 0), FAIL(START, 0), ACQUIRE(1, 0), ENDED(1, SGI_E_ENGINE, PREFIX), ACQUIRE(2, 0),
                 ENDED(2, SGI_E_ENGINE, PREFIX), STATE(0, FAILED), ACQUIRE(4, 0), ENDED(4, SGI_E_ENGINE, PREFIX),
                 RETRY(4, 100) } },

    { .name = "all who wait are told of a failure",
      .any_order = true,
      .models = { { .units = 4 } },
      .steps = { HOLD(READ, 0), FAIL(READ, 0), ACQUIRE(1, 0), ACQUIRE(2, 0), ACQUIRE(3, 0), LET_GO(READ, 0),
                 ENDED(1, SGI_E_IO, READ), ENDED(2, SGI_E_IO, READ), ENDED(3, SGI_E_IO, READ), FAILURES(0, 1),
                 BEGUN(0, 1) } },

    { .name = "long after a failure the next is a first one",
      .models = { { .units = 2 } },
      .steps = { FAIL(READ, 0), ACQUIRE(1, 0), ACQUIRE(2, 0), RETRY(2, 100), ADVANCE(60100), ACQUIRE(4, 0),
                 ENDED(4, SGI_E_IO, READ), RETRY(4, 0) } },

    { .name = "an engine hangs in start",
      .models = { { .units = 4, .engine = true, .engine_units = 1, .hang_ms = 500 }, { .units = 2 } },
      .steps = { HOLD(START, 0), ACQUIRE(1, 0), STATE(0, LOADING), ADVANCE(499), WAITS(1), ADVANCE(1),
                 ENDED(1, SGI_E_WEDGED, START), STATE(0, WEDGED), ACQUIRE(2, 0), ENDED(2, SGI_E_WEDGED, START),
                 ACQUIRE(4, 1), GRANTED(4), LET_GO(START, 0), STATE(0, COLD), ACQUIRE(5, 0), GRANTED(5) } },

    { .name = "an engine hangs in stop",
      .models = { { .units = 4, .engine = true, .hang_ms = 500, .idle_ms = NOW } },
      .steps = { ACQUIRE(1, 0), HOLD(STOP, 0), RELEASE(1), ACQUIRE(2, 0), WAITS(2), ADVANCE(500),
                 ENDED(2, SGI_E_WEDGED, STOP), STATE(0, WEDGED), LET_GO(STOP, 0), STATE(0, COLD), ACQUIRE(4, 0),
                 GRANTED(4) } },

    { .name = "an engine hangs in prepare",
      .models = { { .units = 4, .engine = true, .prepare = true, .hang_ms = 500 } },
      .steps = { HOLD(PREPARE, 0), ACQUIRE(1, 0), ADVANCE(500), ENDED(1, SGI_E_WEDGED, PREPARE), ACQUIRE(2, 0),
                 ENDED(2, SGI_E_WEDGED, PREPARE), LET_GO(PREPARE, 0), ACQUIRE(4, 0), GRANTED(4) } },

    { .name = "an engine hangs in its prefix",
      .models = { { .units = 4, .engine = true, .prefix = true, .hang_ms = 500 } },
      .steps = { HOLD(PREFIX, 0), ACQUIRE(1, 0), ADVANCE(500), ENDED(1, SGI_E_WEDGED, PREFIX), STATE(0, WEDGED),
                 LET_GO(PREFIX, 0), STATE(0, COLD), ACQUIRE(2, 0), GRANTED(2) } },

    { .name = "a call does not come back",
      .models = { { .units = 4, .engine = true, .hang_ms = 500 } },
      .steps = { ACQUIRE(1, 0),
                 CALL(1),
                 ADVANCE(60000),
                 STATE(0, BUSY),
                 CALL_CANCEL(1),
                 ADVANCE(499),
                 STATE(0, BUSY),
                 CALL_IS(1, SGI_E_WOULD_BLOCK),
                 ADVANCE(1),
                 STATE(0, WEDGED),
                 CALL_IS(1, SGI_E_WEDGED),
                 ACQUIRE(2, 0),
                 ENDED(2, SGI_E_WEDGED, CALL),
                 CALL_END(1),
                 RELEASE(1),
                 SAID(SGI_OK),
                 STATE(0, WEDGED),
                 CALL_BACK(1),
                 STATE(0, COLD),
                 ACQUIRE(4, 0),
                 GRANTED(4) } },

    { .name = "an overdue lease's call does not come back",
      .models = { { .units = 4, .engine = true, .hang_ms = 500 } },
      .steps = { ACQUIRE(1, 0, .lease_ms = 300), CALL(1), ADVANCE(799), STATE(0, BUSY), ADVANCE(1), STATE(0, WEDGED),
                 CALL_BACK(1), CALL_END(1), RELEASE(1), STATE(0, COLD) } },

    { .name = "a slow disk is no hanging engine",
      .models = { { .units = 4, .engine = true, .hang_ms = 500 } },
      .steps = { HOLD(READ, 0), ACQUIRE(1, 0), ADVANCE(60000), STATE(0, LOADING), LET_GO(READ, 0), GRANTED(1) } },

    { .name = "canceled while its engine starts",
      .models = { { .units = 4, .engine = true } },
      .steps = { HOLD(START, 0), ACQUIRE(1, 0), CANCEL(1), ENDED(1, SGI_E_CANCELED, START), STATE(0, STOPPING),
                 ACQUIRE(2, 0), WAITS(2), LET_GO(START, 0), GRANTED(2), LOADS(0, 1) } },

    { .name = "a context that two wait for does not open",
      .devices = { 12, 0 },
      .models = { { .units = 3, .idle_ms = NOW, .instances = 2, .engine = true, .prepare = true },
                  { .units = 3, .hang_ms = 700, .leases_max = 1, .instances = 2 } },
      .steps = { FAIL(CONTEXT, 0), HOLD(CONTEXT, 0), ACQUIRE(1, 0), ACQUIRE(2, 1), LET_GO(CONTEXT, 0),
                 ENDED(1, SGI_E_DEVICE, CONTEXT), ENDED(2, SGI_E_DEVICE, CONTEXT) } },
    { .name = "a context that two of weights alone wait for does not open",
      .devices = { 12, 0 },
      .models = { { .units = 3 }, { .units = 3 } },
      .steps = { FAIL(CONTEXT, 0), HOLD(CONTEXT, 0), ACQUIRE(1, 0), ACQUIRE(2, 1), LET_GO(CONTEXT, 0),
                 ENDED(1, SGI_E_DEVICE, CONTEXT), ENDED(2, SGI_E_DEVICE, CONTEXT) } },
};

const uint32_t scenario_failures_count = sizeof scenario_failures / sizeof *scenario_failures;
