/* SPDX-License-Identifier: Apache-2.0 */
/* A scenario with everybody at once: the steps of users that do not need one another are taken by several threads, over
 * a place whose work takes its time. Compared is what must hold in any order; and, where the scenario says that the
 * order does not matter, how many ended how and what was loaded, with the simulator. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "sim/scenario.h"
#include "sim/scenario_real.h"

enum { CROWD = 8 };

struct crowd {
    const struct scenario *s;
    struct real           *x;
    struct progress        so_far;
    const struct step     *batch[STEPS_MAX];
    uint32_t               count;
    atomic_uint            next;
    FILE                  *out;
};

/* ---- at once ---- */

static void *take_some(void *arg)
{
    struct crowd *c = arg;

    for (uint32_t n; (n = atomic_fetch_add(&c->next, 1)) < c->count;)
        real_user_step(c->x, c->batch[n]);
    return NULL;
}

static void take_batch(struct crowd *c)
{
    pthread_t threads[CROWD];
    uint32_t  count = c->count < CROWD ? c->count : CROWD;

    atomic_store(&c->next, 0);
    for (uint32_t n = 0; n < count; n++)
        if (pthread_create(&threads[n], NULL, take_some, c) != 0)
            abort();
    for (uint32_t n = 0; n < count; n++)
        pthread_join(threads[n], NULL);
    c->count = 0;
    real_settle(c->x);
}

/* Two steps with one want come one after the other, but for a cancel: that may come at any time. So do two models that
 * leave: it may be the same. */
static bool is_free(const struct crowd *c, const struct step *step)
{
    bool asks = step->kind == STEP_ACQUIRE || step->kind == STEP_TRY || step->kind == STEP_PREFETCH;
    bool uses = step->kind == STEP_RELEASE || (step->kind >= STEP_CALL && step->kind <= STEP_CALL_END);

    for (uint32_t n = 0; n < c->count; n++)
        if (step->kind == STEP_UNREGISTER && c->batch[n]->kind == STEP_UNREGISTER)
            return false;
        else if ((asks || uses) && c->batch[n]->want == step->want && c->batch[n]->kind != STEP_CANCEL)
            return false;
    return true;
}

static void take(struct crowd *c, const struct step *step)
{
    if (step->kind == STEP_EXPECT || step->kind == STEP_GROW || !scenario_applies(c->s, &c->so_far, step))
        return; /* GROW: nobody says when its engine is gone */
    scenario_note(&c->so_far, step);
    if (step->kind < STEP_ADVANCE) {
        if (!is_free(c, step))
            take_batch(c);
        if (step->kind == STEP_ACQUIRE || step->kind == STEP_PREFETCH)
            c->x->wants[step->want].asked = true; /* so that who cancels it waits for it */
        c->batch[c->count++] = step;
        return;
    }
    take_batch(c);
    real_world_step(c->x, step);
    real_settle(c->x);
}

/* ---- what must hold ---- */

static bool all_has_ended(struct crowd *c, const struct seen *seen)
{
    const struct whole_seen *w = &seen->whole;
    bool                     good = true;

    for (uint32_t n = 0; n < WANTS_MAX; n++)
        good = good && seen->wants[n].asked == seen->wants[n].ended;
    good = good && w->leases == 0 && w->waiting == 0 && w->loads == 0 && w->device_bytes == 0 && w->dram_bytes == 0 &&
           w->prepared_bytes == 0;
    if (!good && c->out)
        fprintf(c->out,
                "%s: at once: %" PRId64 " leases, %" PRId64 " waiting, %" PRId64 " loads, %" PRId64 " + %" PRId64
                " bytes and %" PRId64 " prepared are left\n",
                c->s->name, w->leases, w->waiting, w->loads, w->device_bytes, w->dram_bytes, w->prepared_bytes);
    return good;
}

static uint32_t ended_in(const struct seen *seen, sgi_status status)
{
    uint32_t count = 0;
    for (uint32_t n = 0; n < WANTS_MAX; n++)
        count += seen->wants[n].ended && seen->wants[n].status == status;
    return count;
}

static void simulate(const struct scenario *s, struct scenario_image images[MODELS_MAX], struct seen *seen)
{
    struct step     back[BACK_MAX];
    struct progress so_far = { 0 };
    void           *sim = scenario_simulated.begin(s, images);

    for (uint32_t n = 0; n < STEPS_MAX && s->steps[n].kind != STEP_END; n++) {
        const struct step *step = &s->steps[n];
        if (step->kind == STEP_EXPECT || !scenario_applies(s, &so_far, step))
            continue;
        scenario_note(&so_far, step);
        scenario_simulated.step(sim, step);
    }
    uint32_t count = scenario_give_back(&so_far, back);
    for (uint32_t n = 0; n < count; n++)
        if (scenario_applies(s, &so_far, &back[n]))
            scenario_simulated.step(sim, &back[n]);
    scenario_simulated.observe(sim, seen);
    scenario_simulated.end(sim);
}

/* In any order as many are granted, canceled, refused, and as much is loaded. */
static bool as_many(struct crowd *c, const struct seen *sim, const struct seen *real)
{
    bool good = true;

    for (sgi_status st = 0; st > -400; st--) {
        uint32_t by_sim = ended_in(sim, st), by_real = ended_in(real, st);
        if (by_sim != by_real && c->out)
            fprintf(c->out, "%s: at once: %" PRIu32 " ended in %s in the simulator, %" PRIu32 " in the runtime\n",
                    c->s->name, by_sim, sgi_status_name(st), by_real);
        good = good && by_sim == by_real;
    }
    for (uint32_t m = 0; m < scenario_models(c->s); m++) {
        const struct model_seen *a = &sim->models[m], *b = &real->models[m];
        if (a->gone || b->gone || (a->begun == b->begun && a->loads == b->loads && a->failures == b->failures))
            continue;
        if (c->out)
            fprintf(c->out,
                    "%s: at once: of model %" PRIu32 " %" PRId64 " loads begun, %" PRId64 " completed, %" PRId64
                    " failures in the simulator, %" PRId64 ", %" PRId64 " and %" PRId64 " in the runtime\n",
                    c->s->name, m, a->begun, a->loads, a->failures, b->begun, b->loads, b->failures);
        good = false;
    }
    return good;
}

bool scenario_crowd(const struct scenario *s, uint64_t seed, FILE *out)
{
    static struct seen    by_sim, by_real;
    struct scenario_image images[MODELS_MAX] = { 0 };
    struct step           back[BACK_MAX];
    struct crowd         *c = calloc(1, sizeof *c);

    if (!c)
        abort();
    c->s = s;
    c->out = out;
    c->x = real_begin(s, false, seed, images);
    for (uint32_t n = 0; n < STEPS_MAX && s->steps[n].kind != STEP_END; n++)
        take(c, &s->steps[n]);
    take_batch(c);
    uint32_t count = scenario_give_back(&c->so_far, back);
    for (uint32_t n = 0; n < count; n++)
        take(c, &back[n]);
    take_batch(c);
    real_hear(c->x);
    real_observe(c->x, &by_real);
    bool good = all_has_ended(c, &by_real);
    if (good && s->any_order) {
        simulate(s, images, &by_sim);
        good = as_many(c, &by_sim, &by_real);
    }
    if (good)
        real_end(c->x);
    free(c);
    return good;
}
