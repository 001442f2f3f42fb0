/* SPDX-License-Identifier: Apache-2.0 */
/* What tests and seeds do to the world: how its actions end and when, what breaks, who comes and goes. */
#include "sim/sim_state.h"

/* ---- how actions end ---- */

void sim_takes_ms(struct sim *s, enum sgi__core_action_kind kind, uint64_t ms)
{
    s->takes[kind] = MS(ms);
}

void sim_hold(struct sim *s, enum sgi__core_action_kind kind)
{
    s->hold[kind] = true;
}

/* model 0: of all */
static void let_go(struct sim *s, enum sgi__core_action_kind kind, sgi_model model)
{
    uint32_t kept = 0, count = s->held_count;
    for (uint32_t n = 0; n < count; n++) {
        const struct sgi__core_action *a = &s->held[n]->action;
        if (a->kind == kind && (model == 0 || a->model == model))
            sim__queue(s, &(struct queued){ .at = s->now, .kind = Q_RESULT, .op = s->held[n] });
        else
            s->held[kept++] = s->held[n];
    }
    s->held_count = kept;
    while (!s->habits.on && sim__step(s, s->now))
        ;
}

void sim_let_go(struct sim *s, enum sgi__core_action_kind kind)
{
    s->hold[kind] = false;
    for (uint32_t n = 0; n < s->models.size; n++)
        if (s->models.at[n])
            ((struct world_model *)s->models.at[n])->hold[kind] = false;
    let_go(s, kind, 0);
}

void sim_hold_of(struct sim *s, enum sgi__core_action_kind kind, sgi_model model)
{
    sim__model(s, model)->hold[kind] = true;
}

void sim_let_go_of(struct sim *s, enum sgi__core_action_kind kind, sgi_model model)
{
    sim__model(s, model)->hold[kind] = false;
    if (!s->hold[kind])
        let_go(s, kind, model);
}

void sim_fail(struct sim *s, enum sgi__core_action_kind kind, sgi_status status, uint32_t step, uint32_t times)
{
    s->fail[kind].status = status;
    s->fail[kind].step = step;
    s->fail[kind].times = times;
}

void sim_be_host(struct sim *s)
{
    s->host = true;
}

void sim_break_source(struct sim *s, sgi_model model, sgi_status status)
{
    sim__model(s, model)->source = status;
}

/* ---- what happens by itself ---- */

static void place_event(struct sim *s, enum sgi__core_event_kind kind, int32_t device, uint64_t bytes)
{
    struct sgi__core_event event = { .kind = kind, .device = device, .bytes = bytes };
    s->upset_event = s->event + 1;
    sim__event(s, &event, true);
    while (!s->habits.on && sim__step(s, s->now))
        ;
}

void sim_lose_device(struct sim *s, uint32_t device)
{
    sim__world_loses_device(s, device);
    place_event(s, SGI__EV_CONTEXT_LOST, (int32_t)device, 0);
}

void sim_device_back(struct sim *s, uint32_t device)
{
    s->devices[device].lost = false;
    place_event(s, SGI__EV_CONTEXT_BACK, (int32_t)device, 0);
}

void sim_foreign(struct sim *s, uint32_t device, uint64_t bytes)
{
    s->devices[device].foreign = s->devices[device].foreign_now = bytes;
    place_event(s, SGI__EV_FOREIGN, (int32_t)device, bytes);
}

void sim_foreign_unseen(struct sim *s, uint32_t device, uint64_t bytes)
{
    s->devices[device].foreign_now = bytes;
}

void sim__world_looked(struct sim *s, uint32_t device)
{
    sim_foreign(s, device, s->devices[device].foreign_now);
}

void sim_residue(struct sim *s, uint32_t device, uint64_t bytes)
{
    s->devices[device].residue_next = bytes;
}

void sim_no_copies(struct sim *s, bool none)
{
    s->no_copies = none;
}

void sim_kill_place(struct sim *s)
{
    sim__world_dies(s);
    place_event(s, SGI__EV_PLACE_DIED, 0, 0);
}

void sim_place_up(struct sim *s)
{
    s->up = true;
    for (uint32_t d = 0; d < s->devices_count; d++)
        s->devices[d].lost = false;
    place_event(s, SGI__EV_PLACE_UP, 0, 0);
}

/* ---- what an engine asks for, and what comes twice ---- */

sgi_status sim__engine_bytes(struct sim *s, struct world_instance *i, uint64_t bytes, bool at_least, uint64_t *free_out)
{
    struct world_model        *m = i->model;
    const struct world_device *d = &s->devices[i->device];
    struct sgi__core_charge    charge = { 0 };
    uint64_t                   others = d->used - i->engine_bytes + sim__foreign(s, (uint32_t)i->device);
    uint64_t                   room = others < d->bytes_max ? d->bytes_max - others : 0;

    sim__begin(s, 'u', m);
    sgi_status st = sgi__core_engine_bytes(s->core, s->now, i->id, bytes, at_least, &charge);
    sim__log(s, 'u', 'E', i->device, st, m->id, i->id, bytes);
    bool fits = bytes <= i->engine_bytes || bytes <= room;
    if (st != (i->lost ? SGI_E_DEVICE_LOST : fits ? SGI_OK : SGI_E_DEVICE_MEMORY))
        sim__broken(s, "an engine's bytes are charged if there is room on a device that is there, and only then (%d)",
                    st);
    if (st == SGI_E_DEVICE_MEMORY && charge.room != room)
        sim__broken(s, "an engine that does not fit is told how much there is");
    if (st == SGI_OK && charge.before != i->engine_bytes)
        sim__broken(s, "an engine is told what it was charged before");
    if (st == SGI_OK && !(at_least && bytes <= i->engine_bytes)) {
        sim__charge(s, i, i->image_bytes, bytes);
        m->engine_bytes = bytes;
        s->upset_event = s->event;
    }
    if (free_out)
        *free_out = charge.room;
    sim__settle(s);
    while (!s->habits.on && sim__step(s, s->now))
        ;
    return st;
}

sgi_status sim_engine_bytes(struct sim *s, sgi_model model, uint64_t bytes, bool at_least, uint64_t *free_out)
{
    return sim__engine_bytes(s, sim__model(s, model)->instances, bytes, at_least, free_out);
}

bool sim_repeat(struct sim *s, enum sgi__core_action_kind kind)
{
    for (uint64_t n = s->done_count; n > 0 && n + SIM_DONE_OPS > s->done_count; n--) {
        const struct world_op *op = &s->done[(n - 1) % SIM_DONE_OPS];
        if (op->action.kind != kind)
            continue;
        struct sgi__core_event event = sim__world_event(op);
        sim__begin(s, 'e', NULL);
        bool taken = sgi__core_event(s->core, s->now, &event);
        sim__settle(s);
        return taken;
    }
    sim__broken(s, "a result to repeat has come before");
}
