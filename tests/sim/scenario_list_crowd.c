/* SPDX-License-Identifier: Apache-2.0 */
/* Many at once, in stories whose end does not depend on who comes first. */
#include "sim/scenario_list.h"

#define EIGHT(n, ...)                                                                                \
    ACQUIRE((n), __VA_ARGS__), ACQUIRE((n) + 1, __VA_ARGS__), ACQUIRE((n) + 2, __VA_ARGS__),         \
        ACQUIRE((n) + 3, __VA_ARGS__), ACQUIRE((n) + 4, __VA_ARGS__), ACQUIRE((n) + 5, __VA_ARGS__), \
        ACQUIRE((n) + 6, __VA_ARGS__), ACQUIRE((n) + 7, __VA_ARGS__)

#define EIGHT_CANCELS(n)                                                                                             \
    CANCEL(n), CANCEL((n) + 1), CANCEL((n) + 2), CANCEL((n) + 3), CANCEL((n) + 4), CANCEL((n) + 5), CANCEL((n) + 6), \
        CANCEL((n) + 7)

#define EIGHT_RELEASES(n)                                                                                 \
    RELEASE(n), RELEASE((n) + 1), RELEASE((n) + 2), RELEASE((n) + 3), RELEASE((n) + 4), RELEASE((n) + 5), \
        RELEASE((n) + 6), RELEASE((n) + 7)

const struct scenario scenario_crowds[] = {
    { .name = "a crowd at a cold model",
      .any_order = true,
      .models = { { .units = 3 } },
      .steps = { EIGHT(0, 0), EIGHT(8, 0), EIGHT(16, 0), EIGHT(24, 0), GRANTED(31), LOADS(0, 1), BEGUN(0, 1) } },

    { .name = "a crowd at a cold model with an engine",
      .any_order = true,
      .models = { { .units = 3, .engine = true, .prepare = true, .prefix = true, .leases_max = 40 } },
      .steps = { EIGHT(0, 0), EIGHT(8, 0), EIGHT(16, 0), EIGHT(24, 0), LOADS(0, 1), EIGHT_RELEASES(0),
                 EIGHT_RELEASES(8), EIGHT_RELEASES(16), EIGHT_RELEASES(24), STATE(0, READY), ADVANCE(10000),
                 STATE(0, COLD) } },

    { .name = "a crowd at several models",
      .any_order = true,
      .models = { { .units = 3 }, { .units = 4, .engine = true, .prepare = true, .leases_max = 8 }, { .units = 2 } },
      .steps = { EIGHT(0, 0), EIGHT(8, 1), EIGHT(16, 2), EIGHT(24, 2), LOADS(0, 1), LOADS(1, 1), LOADS(2, 1) } },

    { .name = "half of a crowd cancels",
      .any_order = true,
      .models = { { .units = 3 } },
      .steps = { HOLD(READ, 0), EIGHT(0, 0), EIGHT(8, 0), EIGHT_CANCELS(0), EIGHT(16, 0), EIGHT_CANCELS(16),
                 LET_GO(READ, 0), GRANTED(8), LOADS(0, 1), EIGHT_RELEASES(8), STATE(0, READY) } },

    { .name = "all of a crowd cancels",
      .models = { { .units = 3 } },
      .steps = { HOLD(READ, 0), EIGHT(0, 0), EIGHT_CANCELS(0), LET_GO(READ, 0), LOADS(0, 0), STATE(0, COLD) } },

    { .name = "a crowd at a model that fails",
      .any_order = true,
      .models = { { .units = 3, .engine = true, .prepare = true } },
      .steps = { HOLD(READ, 0), FAIL(READ, 0), EIGHT(0, 0), EIGHT(8, 0), LET_GO(READ, 0), ENDED(0, SGI_E_IO, READ),
                 ENDED(15, SGI_E_IO, READ), BEGUN(0, 1), FAILURES(0, 1) } },

    { .name = "a crowd that has no time",
      .any_order = true,
      .models = { { .units = 3 } },
      .steps = { HOLD(READ, 0), EIGHT(0, 0, .deadline_ms = 100), EIGHT(8, 0, .deadline_ms = 100),
                 EIGHT(16, 0, .deadline_ms = 200), ADVANCE(100), ENDED(15, SGI_E_TIMEOUT, READ), WAITS(16),
                 LET_GO(READ, 0), GRANTED(23), LOADS(0, 1) } },

    { .name = "one lease for a crowd",
      .any_order = true,
      .models = { { .units = 3, .leases_max = 1 } },
      .steps = { EIGHT(0, 0), EIGHT(8, 0), GRANTED(0), WAITS(1), ADVANCE(1), DRAIN(),
                 ENDED(15, SGI_E_CLOSED, QUEUE) } },

    { .name = "a crowd and a drain",
      .any_order = true,
      .models = { { .units = 3, .engine = true, .prepare = true, .leases_max = 40 } },
      .steps = { HOLD(READ, 0), EIGHT(0, 0), ADVANCE(1), DRAIN(), EIGHT(8, 0), ENDED(0, SGI_E_CLOSED, READ),
                 ENDED(15, SGI_E_CLOSED, NONE), LET_GO(READ, 0), STATE(0, COLD) } },

    { .name = "a crowd at a model that leaves",
      .any_order = true,
      .models = { { .units = 3 } },
      .steps = { HOLD(READ, 0), EIGHT(0, 0), UNREGISTER(0), EIGHT(8, 0), ENDED(0, SGI_E_STALE, READ),
                 ENDED(15, SGI_E_STALE, NONE), LET_GO(READ, 0), GONE(0) } },

    { .name = "a crowd, evicted and prefetched and pinned meanwhile",
      .dram = 8,
      .models = { { .units = 3 }, { .units = 3, .idle_ms = NOW } },
      .steps = { EIGHT(0, 0), EIGHT(8, 1), EVICT(0, SGI_TIER_DISK), PREFETCH(16, 1, .tier = SGI_TIER_DRAM),
                 PIN(0, SGI_TIER_DRAM), EIGHT_RELEASES(0), EVICT(0, SGI_TIER_DRAM),
                 PREFETCH(17, 0, .tier = SGI_TIER_DEVICE), EIGHT_RELEASES(8), EVICT_OTHERS(SGI_TIER_DISK),
                 PIN(0, SGI_TIER_DISK), EIGHT(18, 1) } },

    { .name = "more crowds than room",
      .devices = { 7 },
      .starve_ms = 100,
      .dram = 5,
      .models = { { .units = 3 }, { .units = 4, .engine = true, .leases_max = 8 }, { .units = 5 } },
      .steps = { EIGHT(0, 0), EIGHT(8, 1), EIGHT(16, 2), ADVANCE(200), EIGHT_RELEASES(0), EIGHT_RELEASES(8),
                 ADVANCE(200), EIGHT_RELEASES(16), EIGHT_RELEASES(0), EIGHT_RELEASES(8) } },
};

const uint32_t scenario_crowds_count = sizeof scenario_crowds / sizeof *scenario_crowds;
