/* SPDX-License-Identifier: Apache-2.0 */
/* What can be said of a scenario without carrying it out: what it is made of, which of its steps apply, and which take
 * everything back at its end. */
#include "sim/scenario.h"

#include <string.h>

uint32_t scenario_models(const struct scenario *s)
{
    uint32_t count = 0;
    while (count < MODELS_MAX && s->models[count].units > 0)
        count++;
    return count;
}

uint32_t scenario_devices(const struct scenario *s)
{
    return s->devices[1] > 0 ? 2 : 1;
}

uint32_t scenario_device_units(const struct scenario *s, uint32_t device)
{
    return s->devices[device] ? s->devices[device] : 100;
}

/* Memory of a cuda device comes in pages of 2 MiB. */
uint64_t scenario_bytes(const struct scenario *s, uint32_t units)
{
    return (uint64_t)units << (s->cuda ? 21 : 16);
}

/* There cannot be, on a cuda device:
 *
 * - an engine's prefix, which is bytes of an image in host memory: who has one is refused when it is registered;
 * - a device that is lost, or comes back: what the driver has lost stays lost until the process ends, with all of its
 *   devices (tests/cuda/test_cuda_lost.c).
 *
 * A story that was written down expects what follows from each of its steps; a seed's expects nothing. */
static bool is_on_cuda(const struct step *step)
{
    bool of_prefix = step->kind >= STEP_HOLD && step->kind <= STEP_MEND && step->what == WORK_PREFIX;
    return !of_prefix && step->kind != STEP_LOSE_DEVICE && step->kind != STEP_DEVICE_BACK;
}

bool scenario_on_cuda(const struct scenario *s, struct scenario *out)
{
    uint32_t count = 0;
    bool     whole = true, expects = false;

    *out = *s;
    out->cuda = true;
    memset(out->steps, 0, sizeof out->steps);
    for (uint32_t m = 0; m < MODELS_MAX; m++)
        out->models[m].prefix = false;
    for (uint32_t n = 0; n < STEPS_MAX && s->steps[n].kind != STEP_END; n++) {
        expects = expects || s->steps[n].kind == STEP_EXPECT;
        if (is_on_cuda(&s->steps[n]))
            out->steps[count++] = s->steps[n];
        else
            whole = false;
    }
    return whole || !expects;
}

bool scenario_cancels(const struct scenario *s, int32_t want)
{
    for (uint32_t n = 0; n < STEPS_MAX && s->steps[n].kind != STEP_END; n++)
        if (s->steps[n].kind == STEP_CANCEL && s->steps[n].want == want)
            return true;
    return false;
}

bool scenario_waits(const struct scenario *s, const struct step *ask)
{
    return ask->kind == STEP_ACQUIRE && ask->want % 4 == 3 && !scenario_cancels(s, ask->want);
}

bool scenario_applies(const struct scenario *s, const struct progress *p, const struct step *step)
{
    const struct scenario_model *m = &s->models[step->model];
    int8_t                       d = step->device;

    if ((uint32_t)step->model >= scenario_models(s) || (uint32_t)step->want >= WANTS_MAX ||
        step->hint > scenario_devices(s))
        return false;
    switch (step->kind) {
    case STEP_ACQUIRE:
    case STEP_TRY:
    case STEP_PREFETCH:
        return !p->asked[step->want] && !(step->early && m->engine);
    case STEP_LOSE_DEVICE:
        return !p->dead && (uint32_t)d < scenario_devices(s) && !p->lost[d];
    case STEP_DEVICE_BACK:
        return !p->dead && (uint32_t)d < scenario_devices(s) && p->lost[d];
    case STEP_PLACE_DIES:
        return !p->dead;
    case STEP_PLACE_UP:
        return p->dead;
    case STEP_DRAIN:
        return !p->drained;
    case STEP_GROW: /* of the last start, which is the one that is up */
        return m->engine && m->instances <= 1;
    default:
        return true;
    }
}

void scenario_note(struct progress *p, const struct step *step)
{
    switch (step->kind) {
    case STEP_ACQUIRE:
    case STEP_TRY:
    case STEP_PREFETCH:
        p->asked[step->want] = true;
        break;
    case STEP_LOSE_DEVICE:
    case STEP_DEVICE_BACK:
        p->lost[step->device] = step->kind == STEP_LOSE_DEVICE;
        break;
    case STEP_PLACE_DIES:
    case STEP_PLACE_UP:
        p->dead = step->kind == STEP_PLACE_DIES;
        memset(p->lost, 0, sizeof p->lost);
        break;
    case STEP_DRAIN:
        p->drained = true;
        break;
    case STEP_HOLD:
    case STEP_LET_GO:
        p->held[step->what][step->model] = step->kind == STEP_HOLD;
        break;
    case STEP_FAIL:
    case STEP_MEND:
        p->failing[step->what][step->model] = step->kind == STEP_FAIL;
        break;
    default:
        break;
    }
}

static void add(struct step *steps, uint32_t *count, struct step step)
{
    steps[(*count)++] = step;
}

uint32_t scenario_give_back(const struct progress *p, struct step steps[BACK_MAX])
{
    uint32_t count = 0;

    for (int what = 0; what < WORKS; what++)
        for (int m = 0; m < MODELS_MAX; m++) {
            if (p->failing[what][m])
                add(steps, &count, (struct step){ .kind = STEP_MEND, .what = (uint8_t)what, .model = (int8_t)m });
            if (p->held[what][m])
                add(steps, &count, (struct step){ .kind = STEP_LET_GO, .what = (uint8_t)what, .model = (int8_t)m });
        }
    add(steps, &count, (struct step){ .kind = STEP_PLACE_UP });
    for (int d = 0; d < DEVICES_MAX; d++)
        add(steps, &count, (struct step){ .kind = STEP_DEVICE_BACK, .device = (int8_t)d });
    add(steps, &count, (struct step){ .kind = STEP_DRAIN });
    for (int32_t n = 0; n < WANTS_MAX; n++) {
        if (!p->asked[n])
            continue;
        add(steps, &count, (struct step){ .kind = STEP_CALL_BACK, .want = n });
        add(steps, &count, (struct step){ .kind = STEP_CALL_END, .want = n });
        add(steps, &count, (struct step){ .kind = STEP_RELEASE, .want = n });
    }
    return count;
}
