/* SPDX-License-Identifier: Apache-2.0 */
/* One scenario in two worlds, step by step, and whether they agree. */
#include <inttypes.h>
#include <string.h>

#include "sim/scenario.h"

enum { LEFT_CAUSES = SGI_CAUSE_PRESSURE + 1 };

struct pair {
    const struct scenario *s;
    void                  *sim, *real;
    struct seen            by_sim, by_real;
    struct progress        so_far;
    uint32_t               left[MODELS_MAX][LEFT_CAUSES];
    uint32_t               at;   /* the step */
    struct step            last; /* that was taken: another one while everything is given back */
    FILE                  *out;
};

/* ---- differences ---- */

static const char *const want_names[] = {
#define NAME(name) #name,
    WANT_SEEN(NAME)
};
static const char *const model_names[] = { MODEL_SEEN(NAME) };
static const char *const device_names[] = { DEVICE_SEEN(NAME) };
static const char *const whole_names[] = { WHOLE_SEEN(NAME) };
static const char *const told_names[] = { TOLD(NAME) };
#undef NAME

enum {
/* NOLINTNEXTLINE(bugprone-macro-parentheses): a sum is made of them */
#define ONE(name) +1
    WANT_FIELDS = 0 WANT_SEEN(ONE),
    MODEL_FIELDS = 0 MODEL_SEEN(ONE),
    DEVICE_FIELDS = 0 DEVICE_SEEN(ONE),
    WHOLE_FIELDS = 0 WHOLE_SEEN(ONE),
    TOLD_FIELDS = 0 TOLD(ONE)
#undef ONE
};

static void say_where(const struct pair *p)
{
    bool back = p->at == STEPS_MAX || p->s->steps[p->at].kind == STEP_END;

    fprintf(p->out, "%s: step %" PRIu32 ": ", p->s->name, p->at);
    scenario_print_step(back ? &p->last : &p->s->steps[p->at], p->out);
    fputs(back ? " (everything is given back): " : ": ", p->out);
}

static void say_told(const struct pair *p, const char *by, const struct seen *seen)
{
    for (uint32_t n = 0; n < seen->told_count && n < TOLD_MAX; n++) {
        const struct told *t = &seen->told[n];
        fprintf(p->out, "    %s: %s model %" PRId64 " want %" PRId64 " device %" PRId64 " %s %s %s\n", by,
                sgi_event_name((uint32_t)t->kind), t->model, t->want, t->device, sgi_status_name((sgi_status)t->status),
                sgi_step_name((uint32_t)t->step), sgi_cause_name((uint32_t)t->cause));
    }
}

static bool same(const struct pair *p, const char *what, uint32_t index, const char *const *names, uint32_t count,
                 const int64_t *sim, const int64_t *real)
{
    for (uint32_t n = 0; n < count; n++) {
        if (sim[n] == real[n])
            continue;
        if (p->out) {
            say_where(p);
            fprintf(p->out, "%s %" PRIu32 ": %s is %" PRId64 " in the simulator, %" PRId64 " in the runtime\n", what,
                    index, names[n], sim[n], real[n]);
            say_told(p, "simulator", &p->by_sim);
            say_told(p, "runtime", &p->by_real);
        }
        return false;
    }
    return true;
}

static bool same_told(const struct pair *p)
{
    const struct seen *a = &p->by_sim, *b = &p->by_real;
    uint32_t           count = a->told_count < b->told_count ? a->told_count : b->told_count;

    for (uint32_t n = 0; n < count && n < TOLD_MAX; n++)
        if (!same(p, "what was told as number", n, told_names, TOLD_FIELDS, &a->told[n].kind, &b->told[n].kind))
            return false;
    if (a->told_count == b->told_count)
        return true;
    if (p->out) {
        const struct seen *more = a->told_count > count ? a : b;
        say_where(p);
        fprintf(p->out,
                "%" PRIu32 " things were told in the simulator, %" PRIu32 " in the runtime; first is missing %s of "
                "model %" PRId64 "\n",
                a->told_count, b->told_count, count < TOLD_MAX ? sgi_event_name((uint32_t)more->told[count].kind) : "?",
                count < TOLD_MAX ? more->told[count].model : -1);
    }
    return false;
}

/* Nothing may differ. Where the simulator's world went its own way it has the rules of sim_be_host() now, and says why;
 * whoever finds another such difference adds to those. */
static bool same_seen(const struct pair *p)
{
    const struct seen *a = &p->by_sim, *b = &p->by_real;

    if (!same(p, "the whole", 0, whole_names, WHOLE_FIELDS, &a->whole.said, &b->whole.said))
        return false;
    for (uint32_t n = 0; n < WANTS_MAX; n++)
        if (!same(p, "want", n, want_names, WANT_FIELDS, &a->wants[n].asked, &b->wants[n].asked))
            return false;
    for (uint32_t n = 0; n < MODELS_MAX; n++)
        if (!same(p, "model", n, model_names, MODEL_FIELDS, &a->models[n].gone, &b->models[n].gone))
            return false;
    for (uint32_t n = 0; n < DEVICES_MAX; n++)
        if (!same(p, "device", n, device_names, DEVICE_FIELDS, &a->devices[n].used, &b->devices[n].used))
            return false;
    return same_told(p);
}

/* ---- what the scenario says itself ---- */

static bool as_expected(const struct pair *p, const struct step *e)
{
    const struct want_seen   *w = &p->by_real.wants[e->want];
    const struct model_seen  *m = &p->by_real.models[e->model];
    const struct device_seen *d = &p->by_real.devices[e->device];

    switch ((enum expected)e->what) {
    case EXPECT_ENDED:
        return w->ended && w->status == e->value && w->step == e->at;
    case EXPECT_WAITS:
        return w->asked && !w->ended;
    case EXPECT_ON:
        return w->leased && w->device == e->value;
    case EXPECT_CAME_FROM:
        return w->leased && w->tier == e->value;
    case EXPECT_RETRY:
        return w->ended && w->retry_after_ms == e->value;
    case EXPECT_STATE:
        return m->state == e->value;
    case EXPECT_IN:
        return m->tier == e->value;
    case EXPECT_BEGUN:
        return m->begun == e->value;
    case EXPECT_LOADS:
        return m->loads == e->value;
    case EXPECT_FAILURES:
        return m->failures == e->value;
    case EXPECT_OUTLOOK:
        return m->outlook == e->value;
    case EXPECT_LEFT:
        return p->left[e->model][e->at] == e->value;
    case EXPECT_INSTANCES:
        return m->instances == e->value;
    case EXPECT_GONE:
        return m->gone == e->value;
    case EXPECT_EMPTY:
        return d->used == 0 && d->context == SGI_CONTEXT_NONE;
    case EXPECT_CALL:
        return w->call == e->value;
    case EXPECT_SAID:
        return p->by_real.whole.said == e->value;
    }
    return false;
}

static void say_unexpected(const struct pair *p, const struct step *e)
{
    const struct want_seen  *w = &p->by_real.wants[e->want];
    const struct model_seen *m = &p->by_real.models[e->model];

    say_where(p);
    fprintf(p->out,
            "it is not so, in both: want %" PRId32 ": asked %" PRId64 " ended %" PRId64 " %s at %s retry %" PRId64
            " device %" PRId64 " tier %" PRId64 "; model %d: state %" PRId64 " tier %" PRId64 " begun %" PRId64
            " loads %" PRId64 " failures %" PRId64 " outlook %" PRId64 " instances %" PRId64 "; said %" PRId64 "\n",
            e->want, w->asked, w->ended, sgi_status_name((sgi_status)w->status), sgi_step_name((uint32_t)w->step),
            w->retry_after_ms, w->device, w->tier, e->model, m->state, m->tier, m->begun, m->loads, m->failures,
            m->outlook, m->instances, p->by_real.whole.said);
}

/* ---- step by step ---- */

static void look(struct pair *p)
{
    scenario_simulated.observe(p->sim, &p->by_sim);
    scenario_real.observe(p->real, &p->by_real);
}

static bool take(struct pair *p, const struct step *step)
{
    if (step->kind == STEP_EXPECT) {
        bool good = as_expected(p, step);
        if (!good && p->out)
            say_unexpected(p, step);
        return good;
    }
    if (!scenario_applies(p->s, &p->so_far, step))
        return true;
    scenario_note(&p->so_far, step);
    p->last = *step;
    int64_t by_sim = scenario_simulated.step(p->sim, step);
    int64_t by_real = scenario_real.step(p->real, step);
    look(p);
    p->by_sim.whole.said = by_sim;
    p->by_real.whole.said = by_real;
    for (uint32_t n = 0; n < p->by_real.told_count && n < TOLD_MAX; n++) {
        const struct told *t = &p->by_real.told[n];
        if ((t->kind == SGI_EVENT_STOPPING || t->kind == SGI_EVENT_DROPPED) && t->model >= 0 && t->cause < LEFT_CAUSES)
            p->left[t->model][t->cause]++;
    }
    return same_seen(p);
}

/* ---- and back: each step of it is compared too ---- */

static bool give_back(struct pair *p)
{
    struct step steps[BACK_MAX];
    uint32_t    count = scenario_give_back(&p->so_far, steps);
    bool        good = true;

    for (uint32_t n = 0; n < count && good; n++)
        good = take(p, &steps[n]);

    if (!good)
        return false;
    const struct whole_seen *w = &p->by_real.whole;
    if (w->leases == 0 && w->waiting == 0 && w->device_bytes == 0 && w->dram_bytes == 0 && w->prepared_bytes == 0)
        return true;
    if (p->out) {
        say_where(p);
        fprintf(p->out,
                "%" PRId64 " leases, %" PRId64 " waiting, %" PRId64 " + %" PRId64 " bytes and %" PRId64
                " prepared are left\n",
                w->leases, w->waiting, w->device_bytes, w->dram_bytes, w->prepared_bytes);
    }
    return false;
}

/* Worlds that disagree are not taken apart: what they hold is not what one of them thinks. */
bool scenario_agrees(const struct scenario *s, FILE *out)
{
    static struct pair    p;
    struct scenario_image images[MODELS_MAX] = { 0 };
    bool                  good = true;

    p = (struct pair){ .s = s, .out = out };
    p.real = scenario_real.begin(s, images);
    p.sim = scenario_simulated.begin(s, images);
    look(&p);
    good = same_seen(&p);
    for (; p.at < STEPS_MAX && s->steps[p.at].kind != STEP_END && good; p.at += good)
        good = take(&p, &s->steps[p.at]);
    if (!good || !give_back(&p))
        return false;
    scenario_simulated.end(p.sim);
    scenario_real.end(p.real);
    return true;
}
