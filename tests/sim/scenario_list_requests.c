/* SPDX-License-Identifier: Apache-2.0 */
/* Who asks, who waits, who uses: the order of grants, deadlines, cancels, leases and calls. */
#include "sim/scenario_list.h"

const struct scenario scenario_requests[] = {
    { .name = "one load for all who want it",
      .any_order = true,
      .models = { { .units = 4 } },
      .steps = { HOLD(READ, 0), ACQUIRE(1, 0), ACQUIRE(2, 0), ACQUIRE(3, 0), WAITS(1), WAITS(2), WAITS(3), BEGUN(0, 1),
                 LET_GO(READ, 0), GRANTED(1), GRANTED(2), GRANTED(3), LOADS(0, 1), CAME_FROM(1, SGI_TIER_DISK),
                 RELEASE(1), RELEASE(2), STATE(0, BUSY), RELEASE(3), STATE(0, READY) } },

    { .name = "the more urgent is served first",
      .models = { { .units = 2, .leases_max = 1 } },
      .steps = { ACQUIRE(1, 0), ACQUIRE(2, 0), ACQUIRE(4, 0, .priority = 2), ACQUIRE(5, 0, .priority = 1),
                 OUTLOOK(0, WAIT), RELEASE(1), GRANTED(4), WAITS(5), WAITS(2), RELEASE(4), GRANTED(5), WAITS(2),
                 RELEASE(5), GRANTED(2) } },

    { .name = "equals are served in their order",
      .models = { { .units = 2, .leases_max = 1 } },
      .steps = { ACQUIRE(1, 0), ACQUIRE(2, 0), ACQUIRE(3, 0), ACQUIRE(4, 0), RELEASE(1), GRANTED(2), WAITS(3), WAITS(4),
                 RELEASE(2), GRANTED(3), WAITS(4), RELEASE(3), GRANTED(4) } },

    { .name = "the most urgent model is loaded first",
      .loads_max = 1,
      .models = { { .units = 2 }, { .units = 2 }, { .units = 2 } },
      .steps = { HOLD(READ, 0), HOLD(READ, 2), ACQUIRE(1, 0), ACQUIRE(2, 1), ACQUIRE(4, 2, .priority = 1),
                 STATE(1, QUEUED), STATE(2, QUEUED), LET_GO(READ, 0), GRANTED(1), STATE(2, LOADING), STATE(1, QUEUED),
                 LET_GO(READ, 2), GRANTED(4), GRANTED(2) } },

    { .name = "a deadline passes in the queue",
      .models = { { .units = 2, .leases_max = 1 } },
      .steps = { ACQUIRE(1, 0), ACQUIRE(2, 0, .deadline_ms = 100), ACQUIRE(3, 0, .deadline_ms = 150), ADVANCE(99),
                 WAITS(2), ADVANCE(1), ENDED(2, SGI_E_TIMEOUT, QUEUE), WAITS(3), ADVANCE(50),
                 ENDED(3, SGI_E_TIMEOUT, QUEUE), RELEASE(1), STATE(0, READY) } },

    { .name = "a deadline passes and the load goes on",
      .models = { { .units = 2 } },
      .steps = { HOLD(READ, 0), ACQUIRE(1, 0, .deadline_ms = 50), ADVANCE(50), ENDED(1, SGI_E_TIMEOUT, READ),
                 STATE(0, LOADING), LET_GO(READ, 0), STATE(0, READY), ACQUIRE(2, 0), GRANTED(2),
                 CAME_FROM(2, SGI_TIER_DEVICE), LOADS(0, 1) } },

    { .name = "one of two cancels",
      .any_order = true,
      .models = { { .units = 2 } },
      .steps = { HOLD(READ, 0), ACQUIRE(1, 0), ACQUIRE(2, 0), CANCEL(1), ENDED(1, SGI_E_CANCELED, READ),
                 STATE(0, LOADING), LET_GO(READ, 0), GRANTED(2), LOADS(0, 1) } },

    { .name = "the last one cancels",
      .models = { { .units = 2 } },
      .steps = { HOLD(READ, 0), ACQUIRE(1, 0), ACQUIRE(2, 0), CANCEL(2), CANCEL(1), ENDED(1, SGI_E_CANCELED, READ),
                 STATE(0, STOPPING), LET_GO(READ, 0), STATE(0, COLD), LOADS(0, 0), LEFT(0, CANCELED, 1), FAILURES(0, 0),
                 ACQUIRE(4, 0), GRANTED(4) } },

    { .name = "what was canceled half way is not kept",
      .dram = 10,
      .models = { { .units = 2 } },
      .steps = { HOLD(READ, 0), ACQUIRE(1, 0), CANCEL(1), LET_GO(READ, 0), STATE(0, COLD), IN(0, SGI_TIER_DISK),
                 ACQUIRE(2, 0), CAME_FROM(2, SGI_TIER_DISK) } },

    { .name = "what has ended is not canceled",
      .models = { { .units = 2 } },
      .steps = { ACQUIRE(1, 0), CANCEL(1), SAID(SGI_E_STALE), GRANTED(1), RELEASE(1), SAID(SGI_OK), RELEASE(1),
                 SAID(NOTHING), CANCEL(1), SAID(SGI_E_STALE) } },

    { .name = "canceled while it waits for room",
      .devices = { 6 },
      .models = { { .units = 4 }, { .units = 4 } },
      .steps = { ACQUIRE(1, 0), ACQUIRE(2, 1), STATE(1, QUEUED), CANCEL(2), ENDED(2, SGI_E_CANCELED, QUEUE),
                 STATE(1, COLD), RELEASE(1), STATE(0, READY), BEGUN(1, 0) } },

    { .name = "too many wait",
      .requests_max = 2,
      .models = { { .units = 2, .leases_max = 1 } },
      .steps = { ACQUIRE(1, 0), ACQUIRE(2, 0), ACQUIRE(3, 0), ACQUIRE(4, 0), ENDED(4, SGI_E_BUSY, NONE), ACQUIRE(7, 0),
                 ENDED(7, SGI_E_BUSY, NONE), RELEASE(1), GRANTED(2), WAITS(3), ACQUIRE(5, 0), WAITS(5) } },

    { .name = "refused for good, though too many wait",
      .requests_max = 2,
      .models = { { .units = 2, .leases_max = 1 }, { .units = 2 } },
      .steps = { ACQUIRE(1, 0), ACQUIRE(4, 1), ACQUIRE(2, 0), ACQUIRE(5, 0), UNREGISTER(1), ACQUIRE(6, 1),
                 ENDED(6, SGI_E_STALE, NONE), ACQUIRE(8, 0), ENDED(8, SGI_E_BUSY, NONE), RELEASE(4), GONE(1) } },

    { .name = "who only tries takes what is there",
      .models = { { .units = 2, .leases_max = 2 } },
      .steps = { TRY(1, 0), ENDED(1, SGI_E_WOULD_BLOCK, NONE), BEGUN(0, 0), STATE(0, COLD), ACQUIRE(2, 0), TRY(4, 0),
                 GRANTED(4), ACQUIRE(5, 0), WAITS(5), RELEASE(4), GRANTED(5), TRY(6, 0),
                 ENDED(6, SGI_E_WOULD_BLOCK, NONE) } },

    { .name = "leases up to their maximum",
      .any_order = true,
      .models = { { .units = 2, .leases_max = 2 } },
      .steps = { ACQUIRE(1, 0), ACQUIRE(2, 0), ACQUIRE(3, 0), GRANTED(1), GRANTED(2), WAITS(3), RELEASE(1), GRANTED(3),
                 RELEASE(2), RELEASE(3), /* at once, any of them may be the one that waits */
                 LOADS(0, 1) } },

    { .name = "an early lease, and its load",
      .models = { { .units = 3 } },
      .steps = { HOLD(READ, 0), ACQUIRE(1, 0, .early = true), GRANTED(1), STATE(0, LOADING), ACQUIRE(2, 0), WAITS(2),
                 LET_GO(READ, 0), GRANTED(2), STATE(0, BUSY), LOADS(0, 1) } },

    { .name = "an early lease whose load fails",
      .models = { { .units = 3 } },
      .steps = { HOLD(READ, 0), ACQUIRE(1, 0, .early = true), ACQUIRE(2, 0), FAIL(READ, 0), LET_GO(READ, 0),
                 ENDED(2, SGI_E_IO, READ), GRANTED(1), STATE(0, STOPPING), RELEASE(1), SAID(SGI_OK), STATE(0, COLD),
                 FAILURES(0, 1) } },

    { .name = "the last release decides the idle time",
      .models = { { .units = 2 } },
      .steps = { ACQUIRE(1, 0, .idle_ms = NOW), ACQUIRE(2, 0, .idle_ms = 500), RELEASE(1), RELEASE(2), STATE(0, READY),
                 ADVANCE(499), STATE(0, READY), ADVANCE(1), STATE(0, COLD), LEFT(0, IDLE, 1) } },

    { .name = "nothing is left of a model nobody uses",
      .linger_ms = 300,
      .models = { { .units = 2, .idle_ms = 1000, .engine = true, .prepare = true, .engine_units = 1 } },
      .steps = { ACQUIRE(1, 0), RELEASE(1), ADVANCE(999), STATE(0, READY), ADVANCE(1), STATE(0, COLD), ADVANCE(299),
                 ADVANCE(1), EMPTY(0), LEFT(0, IDLE, 1) } },

    { .name = "a lease in time keeps the context",
      .linger_ms = 300,
      .models = { { .units = 2, .idle_ms = NOW } },
      .steps = { ACQUIRE(1, 0), RELEASE(1), STATE(0, COLD), ADVANCE(200), ACQUIRE(2, 0), ADVANCE(200), RELEASE(2),
                 ADVANCE(299), ADVANCE(1), EMPTY(0), LOADS(0, 2) } },

    { .name = "a lease outlives its time",
      .models = { { .units = 2, .engine = true } },
      .steps = { ACQUIRE(1, 0, .lease_ms = 100), CALL(1), SAID(SGI_OK), ADVANCE(100), CALL_IS(1, SGI_E_WOULD_BLOCK),
                 CALL_BACK(1), CALL_IS(1, SGI_E_CANCELED), CALL_END(1), CALL(1), SAID(SGI_E_TIMEOUT), STATE(0, BUSY),
                 RELEASE(1), SAID(SGI_OK), STATE(0, READY) } },

    { .name = "a call holds its lease",
      .models = { { .units = 2, .engine = true } },
      .steps = { ACQUIRE(1, 0), CALL(1), RELEASE(1), SAID(SGI_E_BUSY), CALL_BACK(1), CALL_IS(1, SGI_E_END), RELEASE(1),
                 SAID(SGI_E_BUSY), CALL_END(1), RELEASE(1), SAID(SGI_OK) } },

    { .name = "a call given up takes the place of a lease",
      .models = { { .units = 2, .engine = true } },
      .steps = { ACQUIRE(1, 0), CALL(1), CALL_END(1), RELEASE(1), SAID(SGI_OK), STATE(0, BUSY), ACQUIRE(2, 0), WAITS(2),
                 CALL_BACK(1), GRANTED(2) } },
};

const uint32_t scenario_requests_count = sizeof scenario_requests / sizeof *scenario_requests;
