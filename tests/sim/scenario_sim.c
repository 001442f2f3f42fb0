/* SPDX-License-Identifier: Apache-2.0 */
/* A scenario in the simulator: each step is one of its calls. */
#include <stdlib.h>
#include <string.h>

#include "sim/scenario_sim.h"

static uint64_t idle_of(uint32_t ms)
{
    return ms == NOW ? SIM_IDLE_NOW : ms == NEVER ? SIM_IDLE_NEVER : ms;
}

/* ---- life ---- */

static void *begin(const struct scenario *s, struct scenario_image images[MODELS_MAX])
{
    struct simulated *x = calloc(1, sizeof *x);
    struct sim_config c = {
        .seed = 1,
        .devices_count = scenario_devices(s),
        .discrete = s->cuda,
        .dram_bytes = scenario_bytes(s, s->dram),
        .wants_max = s->requests_max,
        .loads_max = s->loads_max,
        .linger_ms = s->linger_ms,
        .starve_ms = s->starve_ms,
        .backoff_ms = s->backoff_ms,
        .backoff_max_ms = s->backoff_max_ms,
    };

    if (!x)
        abort();
    x->scenario = s;
    x->models_count = scenario_models(s);
    x->devices_count = c.devices_count;
    for (uint32_t d = 0; d < c.devices_count; d++)
        c.device_bytes[d] = scenario_bytes(s, scenario_device_units(s, d));
    x->s = sim_new(&c);
    sim_be_host(x->s);
    for (uint32_t m = 0; m < x->models_count; m++) {
        const struct scenario_model *model = &s->models[m];
        x->models[m] = sim_model(x->s, &(struct sim_model){
                                           .bytes = images[m].bytes,
                                           .device_bytes = images[m].device_bytes,
                                           .packed_bytes = images[m].packed_bytes,
                                           .residence = model->packed ? SGI_RESIDENCE_PACKED : SGI_RESIDENCE_AUTO,
                                           .engine_bytes = model->engine ? scenario_bytes(s, model->engine_units) : 0,
                                           .idle_ms = idle_of(model->idle_ms),
                                           .hang_ms = model->hang_ms,
                                           .leases_max = model->leases_max,
                                           .instances = model->instances,
                                           .engine = model->engine,
                                           .prepare = model->engine && model->prepare,
                                           .prefix = model->engine && model->prefix,
                                       });
    }
    sim_told(x->s, simulated_told, x);
    return x;
}

static void end(void *executor)
{
    struct simulated *x = executor;
    sim_free(x->s);
    free(x);
}

/* ---- steps ---- */

static struct sim_ask ask_of(const struct step *step)
{
    return (struct sim_ask){
        .deadline_ms = step->deadline_ms,
        .priority = step->priority,
        .device = step->hint,
        .idle_ms = idle_of(step->idle_ms),
        .lease_ms = step->lease_ms,
        .early = step->early,
        .prefetch = step->kind == STEP_PREFETCH,
        .tier = step->tier,
    };
}

static int32_t try_it(struct simulated *x, const struct step *step, sgi_lease *lease_out)
{
    uint64_t idle = step->idle_ms == 0 ? SGI__IDLE_OF_MODEL : step->idle_ms == NOW ? 0 : MS(step->idle_ms);

    return sim__try_acquire(x->s, x->models[step->model], idle, step->lease_ms ? MS(step->lease_ms) : SGI__NEVER,
                            lease_out);
}

static int64_t ask(struct simulated *x, const struct step *step)
{
    struct simulated_want *w = &x->wants[step->want];
    struct sim_ask         a = ask_of(step);

    *w = (struct simulated_want){ .asked = true, .model = step->model, .status = SGI_E_STALE };
    if (x->gone[step->model])
        return NOTHING;
    w->status = SGI_E_WOULD_BLOCK;
    if (step->kind == STEP_TRY || scenario_waits(x->scenario, step))
        w->status = try_it(x, step, &w->lease);
    if (step->kind != STEP_TRY && w->status == SGI_E_WOULD_BLOCK)
        w->status = sim_ask_status(x->s, x->models[step->model], &a, &w->ticket);
    return NOTHING;
}

static int64_t release(struct simulated *x, struct simulated_want *w)
{
    if (!w->lease)
        return NOTHING;
    sgi_status st = sim_release(x->s, w->lease);
    if (st == SGI_OK)
        w->lease = 0;
    return st;
}

static int64_t call(struct simulated *x, struct simulated_want *w)
{
    if (!w->lease || !x->scenario->models[w->model].engine || w->call_out || w->call_open)
        return NOTHING;
    sgi_status st = sim_call_begin(x->s, w->lease);
    w->call_out = w->call_open = st == SGI_OK;
    if (st != SGI_OK)
        return st;
    struct sgi__core_lease_view v;
    sgi__core_lease_view(sim_core(x->s), w->lease, &v);
    w->call_lease = w->lease;
    w->call_instance = v.instance;
    w->call_canceled = false;
    w->call_status = SGI_E_WOULD_BLOCK;
    return st;
}

static void call_ends(struct simulated_want *w, sgi_status status)
{
    if (w->call_open && w->call_status == SGI_E_WOULD_BLOCK)
        w->call_status = status;
}

static void call_back(struct simulated *x, struct simulated_want *w)
{
    if (!w->call_out)
        return;
    w->call_out = false;
    call_ends(w, w->call_canceled ? SGI_E_CANCELED : SGI_E_END);
    sim_call_back(x->s, w->call_lease);
}

static void call_cancel(struct simulated *x, sgi_lease lease)
{
    for (uint32_t n = 0; n < WANTS_MAX; n++)
        if (x->wants[n].call_open && x->wants[n].call_lease == lease)
            x->wants[n].call_canceled = true;
    sim_call_cancel(x->s, lease);
}

static int64_t grow(struct simulated *x, const struct step *step)
{
    if (x->gone[step->model])
        return NOTHING;
    struct sgi__core_model_view v = sim_view(x->s, x->models[step->model]);
    if (v.instances != 1 || (v.state != SGI_MODEL_READY && v.state != SGI_MODEL_BUSY))
        return NOTHING;
    return sim_engine_bytes(x->s, x->models[step->model], scenario_bytes(x->scenario, step->units), false, NULL);
}

/* ---- the world's steps ---- */

static const struct {
    uint8_t    kind; /* SGI__ACT_ */
    sgi_status status;
    uint8_t    step;
} works[WORKS] = {
    [WORK_SOURCE] = { SGI__ACT_CHECK_SOURCE, SGI_E_IO, SGI_STEP_SOURCE },
    [WORK_CONTEXT] = { SGI__ACT_OPEN_CONTEXT, SGI_E_DEVICE, SGI_STEP_CONTEXT },
    [WORK_MEMORY] = { SGI__ACT_RESERVE, SGI_E_DEVICE_MEMORY, SGI_STEP_MEMORY },
    [WORK_OPEN] = { SGI__ACT_START_LOAD, SGI_E_IO, SGI_STEP_OPEN },
    [WORK_READ] = { SGI__ACT_START_LOAD, SGI_E_IO, SGI_STEP_READ },
    [WORK_CHECK] = { SGI__ACT_START_LOAD, SGI_E_CHECK, SGI_STEP_VERIFY },
    [WORK_PREFIX] = { SGI__ACT_FILL_PREFIX, SGI_E_ENGINE, SGI_STEP_PREFIX },
    [WORK_PREPARE] = { SGI__ACT_PREPARE, SGI_E_ENGINE, SGI_STEP_PREPARE },
    [WORK_START] = { SGI__ACT_START_ENGINE, SGI_E_ENGINE, SGI_STEP_START },
    [WORK_STOP] = { SGI__ACT_STOP_ENGINE, 0, 0 },
    [WORK_FREE] = { SGI__ACT_FREE, 0, 0 },
    [WORK_KEEP] = { SGI__ACT_KEEP, 0, 0 },
    [WORK_DROP] = { SGI__ACT_DROP, 0, 0 },
    [WORK_CHANGED] = { SGI__ACT_CHECK_SOURCE, SGI_E_CHANGED, SGI_STEP_SOURCE },
};

static void fail(struct simulated *x, const struct step *step, bool fails)
{
    bool source = step->what == WORK_SOURCE || step->what == WORK_CHANGED;

    if (!source)
        sim_fail(x->s, works[step->what].kind, works[step->what].status, works[step->what].step,
                 fails ? UINT32_MAX : 0);
    else if (!x->gone[step->model])
        sim_break_source(x->s, x->models[step->model], fails ? works[step->what].status : SGI_OK);
}

static void hold(struct simulated *x, const struct step *step, bool holds)
{
    enum sgi__core_action_kind kind = works[step->what].kind;

    if (step->what == WORK_CONTEXT && holds)
        sim_hold(x->s, kind);
    else if (step->what == WORK_CONTEXT)
        sim_let_go(x->s, kind);
    else if (x->gone[step->model])
        return;
    else if (holds)
        sim_hold_of(x->s, kind, x->models[step->model]);
    else
        sim_let_go_of(x->s, kind, x->models[step->model]);
}

static void place_dies(struct simulated *x)
{
    for (uint32_t n = 0; n < WANTS_MAX; n++)
        call_ends(&x->wants[n], SGI_E_DEVICE_LOST);
    sim_kill_place(x->s);
    for (uint32_t kind = 0; kind < SIM_ACTS; kind++)
        sim_let_go(x->s, (enum sgi__core_action_kind)kind);
    for (uint32_t n = 0; n < WANTS_MAX; n++)
        call_back(x, &x->wants[n]);
}

static void advance(struct simulated *x, uint32_t ms)
{
    uint64_t until = x->s->now + MS(ms);

    while (sim__step(x->s, until))
        while (x->overdue_count > 0)
            call_cancel(x, x->overdue[--x->overdue_count]);
    x->s->now = until;
}

static void move_world(struct simulated *x, const struct step *step)
{
    switch (step->kind) {
    case STEP_ADVANCE:
        advance(x, step->ms);
        break;
    case STEP_HOLD:
    case STEP_LET_GO:
        hold(x, step, step->kind == STEP_HOLD);
        break;
    case STEP_FAIL:
    case STEP_MEND:
        fail(x, step, step->kind == STEP_FAIL);
        break;
    case STEP_LOSE_DEVICE:
        sim_lose_device(x->s, (uint32_t)step->device);
        break;
    case STEP_DEVICE_BACK:
        sim_device_back(x->s, (uint32_t)step->device);
        break;
    case STEP_PLACE_DIES:
        place_dies(x);
        break;
    case STEP_PLACE_UP:
        sim_place_up(x->s);
        break;
    default:
        break;
    }
}

static int64_t do_step(struct simulated *x, const struct step *step)
{
    struct simulated_want *w = &x->wants[step->want];
    sgi_model              model = x->gone[step->model] ? 0 : x->models[step->model];

    switch (step->kind) {
    case STEP_ACQUIRE:
    case STEP_TRY:
    case STEP_PREFETCH:
        return ask(x, step);
    case STEP_CANCEL:
        return w->ticket ? sim_cancel(x->s, w->ticket) : NOTHING;
    case STEP_RELEASE:
        return release(x, w);
    case STEP_EVICT:
        return model ? sim_evict(x->s, model, step->tier) : NOTHING;
    case STEP_TRIM:
        sim_trim(x->s, scenario_bytes(x->scenario, step->units));
        return SGI_OK;
    case STEP_EVICT_OTHERS:
        sim_evict_all(x->s, step->tier);
        return NOTHING;
    case STEP_PIN:
        return model ? sim_pin(x->s, model, step->tier) : NOTHING;
    case STEP_CALL:
        return call(x, w);
    case STEP_CALL_CANCEL:
        if (w->call_open)
            call_cancel(x, w->call_lease);
        return NOTHING;
    case STEP_CALL_BACK:
        call_back(x, w);
        return NOTHING;
    case STEP_CALL_END:
        if (w->call_open)
            sim_call_detach(x->s, w->lease);
        w->call_open = false;
        return NOTHING;
    case STEP_GROW:
        return grow(x, step);
    case STEP_UNREGISTER:
        if (model && !x->leaving[step->model])
            sim_drain_model(x->s, model, SGI_E_STALE);
        x->leaving[step->model] = true;
        return NOTHING;
    case STEP_DRAIN:
        sim_drain(x->s);
        return NOTHING;
    default:
        move_world(x, step);
        return NOTHING;
    }
}

static int64_t step_(void *executor, const struct step *step)
{
    struct simulated *x = executor;

    x->told_count = 0;
    int64_t said = do_step(x, step);
    for (uint32_t n = 0; n < WANTS_MAX; n++) {
        struct simulated_want *w = &x->wants[n];
        struct sim_outcome     o = sim_outcome(x->s, w->ticket);
        if (w->ticket && o.ended && !w->taken) {
            w->lease = o.lease;
            w->taken = true;
        }
    }
    for (uint32_t m = 0; m < x->models_count; m++)
        if (x->leaving[m] && !x->gone[m] && sim__model(x->s, x->models[m])->drained)
            x->gone[m] = sim_remove(x->s, x->models[m]) == SGI_OK;
    return said;
}

const struct executor scenario_simulated = { "simulator", begin, step_, simulated_observe, end };
