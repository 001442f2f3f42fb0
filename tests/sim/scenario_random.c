/* SPDX-License-Identifier: Apache-2.0 */
/* Scenarios out of a seed, in the same words: models that do not fit together, users in no order, trouble now and
 * then. */
#include <string.h>

#include "sim/scenario.h"

struct dice {
    uint64_t state;
    int32_t  wants; /* asked so far */
};

static uint32_t roll(struct dice *d, uint32_t below) /* splitmix64 */
{
    uint64_t z = d->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    z ^= z >> 31;
    return (uint32_t)(z % below);
}

static uint32_t one_of(struct dice *d, const uint32_t *values, uint32_t count)
{
    return values[roll(d, count)];
}

#define ONE_OF(d, ...) one_of(d, (const uint32_t[]){ __VA_ARGS__ }, sizeof((uint32_t[]){ __VA_ARGS__ }) / 4)

/* Here as below one draw is a statement: in an initializer the compiler chooses which comes first, and a seed would be
 * another story. */
static void some_models(struct dice *d, struct scenario *s)
{
    uint32_t count = 1 + roll(d, 5);

    for (uint32_t n = 0; n < count; n++) {
        struct scenario_model *m = &s->models[n];
        m->units = 2 + roll(d, 5);
        m->idle_ms = ONE_OF(d, 0, 0, 300, 1000, NOW, NEVER);
        m->hang_ms = ONE_OF(d, 0, 700);
        m->leases_max = roll(d, 3);
        m->instances = 1 + roll(d, 2);
        m->packed = roll(d, 4) == 0;
        m->engine = roll(d, 2) == 0;
        if (!m->engine)
            continue;
        m->engine_units = roll(d, 3);
        m->prepare = roll(d, 2) == 0;
        m->prefix = roll(d, 2) == 0;
    }
}

static struct step ask(struct dice *d, const struct scenario *s)
{
    struct step step = { .want = d->wants };

    step.kind = (uint8_t)ONE_OF(d, STEP_ACQUIRE, STEP_ACQUIRE, STEP_ACQUIRE, STEP_ACQUIRE, STEP_TRY, STEP_PREFETCH);
    step.model = (int8_t)roll(d, scenario_models(s));
    step.priority = (int32_t)ONE_OF(d, 0, 0, 1, 2);
    step.deadline_ms = ONE_OF(d, 0, 0, 0, 50, 800);
    step.lease_ms = ONE_OF(d, 0, 0, 0, 0, 400);
    step.idle_ms = ONE_OF(d, 0, 0, 0, NOW, 200);
    d->wants += d->wants < WANTS_MAX - 1;
    if (step.kind == STEP_PREFETCH)
        step.tier = ONE_OF(d, SGI_TIER_DRAM, SGI_TIER_DEVICE);
    if (scenario_devices(s) > 1)
        step.hint = ONE_OF(d, 0, 0, 1, 2);
    if (step.kind == STEP_ACQUIRE && !s->models[step.model].engine)
        step.early = roll(d, 6) == 0;
    return step;
}

/* One that was asked, rather lately. */
static int32_t some_want(struct dice *d)
{
    uint32_t count = (uint32_t)d->wants + 1, last = count < 4 ? count : 4;
    return (int32_t)(roll(d, 2) ? roll(d, count) : count - 1 - roll(d, last));
}

static struct step of_user(struct dice *d, const struct scenario *s)
{
    struct step step = { .want = some_want(d) };
    step.model = (int8_t)roll(d, scenario_models(s));

    step.kind = (uint8_t)ONE_OF(d, STEP_RELEASE, STEP_RELEASE, STEP_RELEASE, STEP_RELEASE, STEP_CANCEL, STEP_EVICT,
                                STEP_EVICT_OTHERS, STEP_PIN, STEP_CALL, STEP_CALL, STEP_CALL_BACK, STEP_CALL_BACK,
                                STEP_CALL_CANCEL, STEP_CALL_END, STEP_GROW, STEP_TRIM);
    if (step.kind == STEP_PIN)
        step.tier = ONE_OF(d, SGI_TIER_DISK, SGI_TIER_DISK, SGI_TIER_DRAM, SGI_TIER_DEVICE);
    else if (step.kind == STEP_EVICT || step.kind == STEP_EVICT_OTHERS)
        step.tier = ONE_OF(d, SGI_TIER_DRAM, SGI_TIER_DISK, SGI_EVICT_ALL);
    else if (step.kind == STEP_GROW || step.kind == STEP_TRIM)
        step.units = roll(d, 5);
    return step;
}

static struct step of_world(struct dice *d, const struct scenario *s)
{
    struct step step = { .model = (int8_t)roll(d, scenario_models(s)) };
    step.device = (int8_t)roll(d, scenario_devices(s));
    uint32_t dice = roll(d, 100);

    step.kind = dice < 30   ? STEP_HOLD
                : dice < 62 ? STEP_LET_GO
                : dice < 72 ? STEP_FAIL
                : dice < 88 ? STEP_MEND
                : dice < 91 ? STEP_LOSE_DEVICE
                : dice < 95 ? STEP_DEVICE_BACK
                : dice < 97 ? STEP_PLACE_DIES
                            : STEP_PLACE_UP;
    if (step.kind == STEP_HOLD || step.kind == STEP_LET_GO)
        step.what = (uint8_t)ONE_OF(d, WORK_READ, WORK_READ, WORK_READ, WORK_START, WORK_START, WORK_SOURCE,
                                    WORK_CONTEXT, WORK_MEMORY, WORK_PREFIX, WORK_PREPARE, WORK_STOP, WORK_FREE,
                                    WORK_KEEP, WORK_DROP);
    else if (step.kind == STEP_FAIL || step.kind == STEP_MEND)
        step.what = (uint8_t)ONE_OF(d, WORK_SOURCE, WORK_CONTEXT, WORK_MEMORY, WORK_OPEN, WORK_READ, WORK_CHECK,
                                    WORK_PREFIX, WORK_PREPARE, WORK_START, WORK_CHANGED);
    return step;
}

static struct step some_step(struct dice *d, const struct scenario *s)
{
    uint32_t dice = roll(d, 100);

    if (dice < 34 && d->wants < WANTS_MAX - 1)
        return ask(d, s);
    if (dice < 64)
        return of_user(d, s);
    if (dice < 84)
        return (struct step){ .kind = STEP_ADVANCE, .ms = ONE_OF(d, 1, 10, 100, 100, 300, 1000, 1000, 6000, 20000) };
    if (dice < 98)
        return of_world(d, s);
    bool drains = dice == 98 && roll(d, 3) == 0;
    return (struct step){ .kind = drains ? STEP_DRAIN : STEP_UNREGISTER, .model = (int8_t)roll(d, scenario_models(s)) };
}

void scenario_random(uint64_t seed, struct scenario *out)
{
    struct dice d = { .state = seed };
    uint32_t    count = 10 + roll(&d, 60);

    memset(out, 0, sizeof *out);
    out->name = "a seed";
    out->devices[0] = 6 + roll(&d, 12);
    out->devices[1] = roll(&d, 2) ? 0 : 4 + roll(&d, 10);
    out->dram = roll(&d, 3) ? 4 + roll(&d, 12) : 0;
    out->loads_max = ONE_OF(&d, 0, 0, 1, 2);
    out->requests_max = ONE_OF(&d, 0, 0, 0, 4);
    out->starve_ms = ONE_OF(&d, 0, 500);
    out->linger_ms = ONE_OF(&d, 0, 100);
    some_models(&d, out);
    for (uint32_t n = 0; n < count; n++)
        out->steps[n] = some_step(&d, out);
}
