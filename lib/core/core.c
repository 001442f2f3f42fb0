/* SPDX-License-Identifier: Apache-2.0 */
/* The core's doors: every event comes in here, and everything that follows from it is settled before the call
 * returns. */
#include "core/core.h"

#include <assert.h>
#include <string.h>

#include "base/alloc.h"
#include "core/state.h"

enum { LOOK_NS = 250 * 1000 * 1000 }; /* between two looks at what others have taken */

/* ---- making ---- */

struct sgi__core *sgi__core_new(const struct sgi__core_config *config)
{
    struct sgi__core *core = sgi__alloc_zero(1, sizeof *core);
    if (!core)
        return NULL;
    core->config = *config;
    core->serial = config->id_seed;
    core->models.item_bytes = sizeof(struct model);
    core->instances.item_bytes = sizeof(struct instance);
    core->wants.item_bytes = sizeof(struct want);
    core->leases.item_bytes = sizeof(struct lease);
    core->dram.bytes_max = config->dram_bytes_max;
    core->dram.unified = true;
    core->dram_ceiling = core->dram_trim = UINT64_MAX;
    sgi__timer_init(&core->relief, TIMER_RELIEF, core);
    for (uint32_t n = 0; n < config->devices_count; n++) {
        struct device *d = &core->devices[n];
        d->bytes_max = config->devices[n].bytes_max;
        d->bytes_total = config->devices[n].bytes_total;
        d->unified = config->devices[n].unified;
        sgi__timer_init(&d->linger, TIMER_LINGER, d);
        sgi__timer_init(&d->look, TIMER_LOOK, d);
    }
    if (sgi__capacity(core, (struct crowd){ 0 }) != SGI_OK) {
        sgi__core_free(core);
        return NULL;
    }
    return core;
}

void sgi__core_free(struct sgi__core *core)
{
    if (!core)
        return;
    assert(core->wants_count == 0 && core->leases_count == 0 && core->loads == 0);
    assert(core->dram.used == 0 && core->prepared_bytes == 0);
    sgi__slots_fini(&core->models);
    sgi__slots_fini(&core->instances);
    sgi__slots_fini(&core->wants);
    sgi__slots_fini(&core->leases);
    sgi__free(core->heap);
    sgi__free(core->actions);
    sgi__free(core->replies);
    sgi__free(core);
}

sgi_status sgi__core_model_add(struct sgi__core *core, const struct sgi__core_model_config *config,
                               sgi_model *model_out)
{
    if (core->draining)
        return SGI_E_CLOSED;
    uint32_t instances = config->instances_max ? config->instances_max : 1;
    uint32_t devices = 0; /* each is on one of its own */
    for (uint32_t n = 0; n < core->config.devices_count; n++)
        devices += sgi__model_may_be_on(config, n);
    if (instances > devices)
        instances = devices ? devices : 1;
    sgi_status st = sgi__capacity(core, (struct crowd){ sgi__models_in_use(core) + 1, core->instances_max + instances,
                                                        core->leases_count + core->config.wants_max });
    if (st != SGI_OK)
        return st;
    struct model *m = sgi__slots_take(&core->models, core, ID_MODEL);
    m->config = *config;
    m->config.instances_max = instances;
    if (m->config.device_bytes == 0)
        m->config.device_bytes = config->image_bytes;
    core->instances_max += instances;
    core->may_share |= config->packed_bytes > 0;
    m->engine_bytes = config->engine_bytes;
    sgi__timer_init(&m->hang, TIMER_MODEL_HANG, m);
    sgi__timer_init(&m->more, TIMER_MODEL_MORE, m);
    *model_out = m->id;
    return SGI_OK;
}

sgi_status sgi__core_model_remove(struct sgi__core *core, sgi_model model)
{
    struct model *m = sgi__core_model(core, model);
    if (!m)
        return SGI_E_STALE;
    if (!m->drained_said)
        return SGI_E_BUSY;
    assert(m->wants == 0 && m->leases == 0 && !m->instances);
    sgi__timer_remove(core, &m->hang);
    sgi__timer_remove(core, &m->more);
    core->instances_max -= m->config.instances_max;
    sgi__slots_give(&core->models, m);
    return SGI_OK;
}

/* ---- finding and emitting ---- */

struct model *sgi__core_model(const struct sgi__core *core, sgi_model id)
{
    return sgi__slots_get(&core->models, id, ID_MODEL);
}

struct instance *sgi__core_instance(const struct sgi__core *core, sgi_model model, uint64_t id)
{
    struct instance *i = sgi__core_instance_of(core, id);
    return i && i->model->id == model ? i : NULL;
}

struct instance *sgi__core_instance_of(const struct sgi__core *core, uint64_t id)
{
    return sgi__slots_get(&core->instances, id, ID_INSTANCE);
}

struct device *sgi__core_device(struct sgi__core *core, int32_t device)
{
    return device == SGI__DRAM ? &core->dram : &core->devices[device];
}

static void put_action(struct sgi__core *core, const struct sgi__core_action *action)
{
    assert(core->actions_count < core->actions_capacity);
    core->actions[(core->actions_head + core->actions_count++) % core->actions_capacity] = *action;
}

uint64_t sgi__core_act(struct sgi__core *core, enum sgi__core_action_kind kind, const struct model *m,
                       const struct instance *i)
{
    struct sgi__core_action action = {
        .kind = kind, .op = ++core->op, .model = m->id, .bytes = m->config.image_bytes, .device = SGI__DRAM
    };
    if (i) {
        action.instance = i->id;
        action.tier = i->tier;
        action.priority = i->priority;
        action.keep = kind == SGI__ACT_START_LOAD && i->fills;
        action.packed = i->packs && (action.keep || i->to_dram);
        if (i->state != ST_QUEUED) {
            action.device = i->device;
            action.bytes = sgi__image_of(i, sgi__core_device(core, i->device));
        }
        if (kind == SGI__ACT_RESERVE || kind == SGI__ACT_START_LOAD)
            action.shared_bytes = i->shares;
    }
    put_action(core, &action);
    return action.op;
}

void sgi__core_act_context(struct sgi__core *core, enum sgi__core_action_kind kind, struct device *d)
{
    d->op_context = ++core->op;
    put_action(core,
               &(struct sgi__core_action){ .kind = kind, .op = d->op_context, .device = (int32_t)(d - core->devices) });
}

void sgi__core_reply(struct sgi__core *core, const struct sgi__core_reply *reply)
{
    assert(core->replies_count < core->replies_capacity);
    core->replies[(core->replies_head + core->replies_count++) % core->replies_capacity] = *reply;
}

bool sgi__core_take_reply(struct sgi__core *core, struct sgi__core_reply *reply_out)
{
    if (core->replies_count == 0)
        return false;
    *reply_out = core->replies[core->replies_head];
    core->replies_head = (core->replies_head + 1) % core->replies_capacity;
    if (--core->replies_count == 0)
        core->replies_head = 0; /* a ring has room for the worst case: what is never used is never touched */
    core->notes_count -= reply_out->kind == SGI__REPLY_NOTE;
    return true;
}

bool sgi__core_take_action(struct sgi__core *core, struct sgi__core_action *action_out)
{
    /* Spare memory is what the DRAM tier leaves over. Only the newest limit counts, so it is not queued. */
    uint64_t taken = core->dram.used + core->dram_lending, max = sgi__dram_max(core);
    uint64_t spare = max > taken && !core->spare_trim ? max - taken : 0;
    core->spare_trim = false; /* the next one to be taken is what it leaves over again */
    if (spare != core->spare_limit_said) {
        core->spare_limit_said = spare;
        *action_out = (struct sgi__core_action){ .kind = SGI__ACT_SPARE_LIMIT, .device = SGI__DRAM, .bytes = spare };
        return true;
    }
    struct instance *due = core->priorities_due;
    if (due && !(core->actions_count > 0 && due->op_load >= core->actions[core->actions_head].op)) {
        due->priority = sgi__urgency(due);
        sgi__load_urgency(core, due);
        *action_out = (struct sgi__core_action){ .kind = SGI__ACT_LOAD_PRIORITY,
                                                 .device = due->device,
                                                 .tier = due->tier,
                                                 .priority = due->priority,
                                                 .model = due->model->id,
                                                 .instance = due->id };
        return true;
    }
    if (core->looks_due) {
        int32_t device = 0;
        while (!(core->looks_due >> device & 1))
            device++;
        core->looks_due &= core->looks_due - 1;
        *action_out = (struct sgi__core_action){ .kind = SGI__ACT_LOOK, .device = device };
        return true;
    }
    if (core->actions_count == 0)
        return false;
    *action_out = core->actions[core->actions_head];
    core->actions_head = (core->actions_head + 1) % core->actions_capacity;
    if (--core->actions_count == 0)
        core->actions_head = 0; /* as with replies */
    return true;
}

/* ---- settling ---- */

static void timer_fired(struct sgi__core *core, uint64_t now, struct timer *t)
{
    switch ((enum timer_kind)t->kind) {
    case TIMER_IDLE: {
        struct instance *i = t->owner;
        if (i->state == ST_READY && !sgi__instance_pinned(i)) {
            i->cause = SGI_CAUSE_IDLE;
            sgi__instance_stop(core, now, i, true);
        }
        break;
    }
    case TIMER_HANG: {
        struct instance *i = t->owner;
        if (i->state != ST_WEDGED)
            sgi__instance_hung(core, now, i);
        break;
    }
    case TIMER_STARVE:
        core->dirty = true; /* the scheduler looks who starves */
        break;
    case TIMER_WANT: {
        struct want  *w = t->owner;
        struct model *m = w->model;
        sgi__want_reject(core, w, SGI_E_TIMEOUT, sgi__want_step(core, m), 0);
        sgi__instance_abandon(core, now, m, false);
        sgi__model_advance(core, now, m);
        core->dirty = true;
        break;
    }
    case TIMER_LEASE: {
        struct lease *l = t->owner;
        l->is_overdue = true;
        l->instance->model->leases_overdue++;
        sgi__core_reply(core, &(struct sgi__core_reply){ .kind = SGI__REPLY_OVERDUE,
                                                         .lease = l->id,
                                                         .model = l->instance->model->id,
                                                         .instance = l->instance_id });
        break;
    }
    case TIMER_LINGER:
        sgi__context_lingered(core, t->owner);
        break;
    case TIMER_MODEL_HANG: {
        struct model *m = t->owner;
        m->hung_step = m->op_prepare ? SGI_STEP_PREPARE : SGI_STEP_STOP;
        if (!m->instances)
            sgi__model_failed(core, now, m, SGI_E_WEDGED, m->hung_step);
        else if (m->coming && !m->coming->to_dram) /* a fill of DRAM does not need it */
            sgi__instance_fail(core, now, m->coming, SGI_E_WEDGED, m->hung_step);
        core->dirty = true; /* whoever waits until the others have ended need not */
        break;
    }
    case TIMER_MODEL_MORE:
        core->dirty = true; /* the scheduler looks whether another instance is worth it */
        break;
    case TIMER_LOOK: {
        struct device *d = t->owner;
        core->looks_due |= 1u << (d - core->devices);
        d->look_next = now + LOOK_NS;
        sgi__timer_set(core, t, d->look_next);
        break;
    }
    case TIMER_RELIEF:
        sgi__pressure_relieved(core, now);
        break;
    }
}

static void say_closed(struct sgi__core *core)
{
    if (!core->draining || core->closed_said || core->wants_count || core->leases_count)
        return;
    for (uint32_t n = 0; n < core->models.count; n++) {
        const struct model *m = core->models.items[n];
        if (m->id && !m->drained_said)
            return;
    }
    for (uint32_t n = 0; n < core->config.devices_count; n++)
        if (core->devices[n].context != CTX_CLOSED)
            return;
    core->closed_said = true;
    sgi__core_reply(core, &(struct sgi__core_reply){ .kind = SGI__REPLY_CLOSED });
}

/* The end of every event: whoever can go goes, then whatever is due happens, until nothing follows. */
void sgi__core_settle(struct sgi__core *core, uint64_t now)
{
    struct timer *t;

    sgi__shares_over(core, now);
    sgi__sched_run(core, now);
    while ((t = sgi__timer_pop_due(core, now)) != NULL) {
        timer_fired(core, now, t);
        sgi__sched_run(core, now);
    }
    sgi__give_back(core);
    if (core->draining)
        say_closed(core);
}

void sgi__core_tick(struct sgi__core *core, uint64_t now)
{
    sgi__core_settle(core, now);
}

/* ---- events from users ---- */

/* For the lease of one more want. */
static sgi_status leases_room(struct sgi__core *core)
{
    return sgi__capacity(core, (struct crowd){ sgi__models_in_use(core), core->instances_max,
                                               core->leases_count + core->wants_count + 1 });
}

sgi_status sgi__core_want(struct sgi__core *core, uint64_t now, sgi_model model, const struct sgi__core_want *want,
                          sgi_ticket *ticket_out)
{
    struct model *m = sgi__core_model(core, model);
    if (!m)
        return SGI_E_STALE;
    if (core->draining)
        return SGI_E_CLOSED;
    if (m->draining)
        return SGI_E_STALE;
    if (core->wants_count >= core->config.wants_max)
        return SGI_E_BUSY;
    sgi_status st = leases_room(core);
    if (st != SGI_OK)
        return st;

    struct want *w = sgi__slots_take(&core->wants, core, ID_TICKET);
    w->model = m;
    w->spec = *want;
    w->seq = ++core->seq;
    w->since = now;
    w->joined = m->coming != NULL;
    *ticket_out = w->id;
    sgi__want_add(core, w);
    m->evict_dram = m->discard_wanted = false; /* somebody needs it after all */
    sgi__core_settle(core, now);
    return SGI_OK;
}

sgi_status sgi__core_try_acquire(struct sgi__core *core, uint64_t now, sgi_model model, uint64_t idle_ns,
                                 uint64_t lease_ns, sgi_lease *lease_out)
{
    struct model *m = sgi__core_model(core, model);
    if (!m)
        return SGI_E_STALE;
    if (core->draining)
        return SGI_E_CLOSED;
    if (m->draining)
        return SGI_E_STALE;
    struct instance *i = m->wants > 0 ? NULL : sgi__model_grants(m, -1); /* nobody passes those who wait */
    if (!i)
        return SGI_E_WOULD_BLOCK;
    if (core->leases.free_count <= core->wants_count) {
        sgi_status st = leases_room(core);
        if (st != SGI_OK)
            return st;
    }
    m->hits_total++;
    *lease_out = sgi__lease_grant(core, now, i, idle_ns, lease_ns)->id;
    return SGI_OK;
}

sgi_status sgi__core_cancel(struct sgi__core *core, uint64_t now, sgi_ticket ticket)
{
    struct want *w = sgi__slots_get(&core->wants, ticket, ID_TICKET);
    if (!w)
        return SGI_E_STALE;
    struct model *m = w->model;
    sgi__want_reject(core, w, SGI_E_CANCELED, sgi__want_step(core, m), 0);
    sgi__instance_abandon(core, now, m, true);
    core->dirty = true; /* a device may have been kept for it */
    sgi__core_settle(core, now);
    return SGI_OK;
}

/* The instance has one lease or call fewer. */
void sgi__instance_less_used(struct sgi__core *core, uint64_t now, struct instance *i, uint64_t idle_ns)
{
    i->last_used = now;
    if (core->pending_head)
        core->dirty = true;
    if (!sgi__instance_unused(i))
        return;
    sgi__instance_move(i, EV_UNUSED);
    if (i->state == ST_LOADING && i->model->draining) {
        sgi__instance_stop(core, now, i, false); /* it went on only for the lease that was granted early */
    } else if (i->state == ST_READY) {
        if (i->lost || i->model->draining) {
            sgi__instance_stop(core, now, i, !i->lost);
        } else {
            sgi__instance_rest(core, now, i, idle_ns);
            core->dirty = core->dirty ||
                          i->closing; /* if somebody starves for its room still, the scheduler stops it */
        }
    } else {
        sgi__instance_advance(core, now, i);
    }
}

sgi_status sgi__core_release(struct sgi__core *core, uint64_t now, sgi_lease lease)
{
    struct lease *l = sgi__slots_get(&core->leases, lease, ID_LEASE);
    if (!l)
        return SGI_E_STALE;
    if (l->call_open || l->holds > 0)
        return SGI_E_BUSY;
    struct instance *i = l->instance;
    uint64_t         idle_ns = l->idle_ns;
    bool             was_overdue = l->is_overdue;

    sgi__timer_remove(core, &l->overdue);
    sgi__slots_give(&core->leases, l);
    core->leases_count--;
    i->leases--;
    i->model->leases--;
    i->model->leases_overdue -= was_overdue;
    uint64_t held = now - l->granted_at;
    i->model->lease_ns = i->model->lease_ns ? i->model->lease_ns - i->model->lease_ns / 8 + held / 8 : held;
    i->rest_ns = idle_ns;
    sgi__instance_less_used(core, now, i, idle_ns);
    sgi__core_settle(core, now);
    return SGI_OK;
}

static sgi_status evict(struct sgi__core *core, uint64_t now, struct model *m, uint32_t tier)
{
    if (m->wants > 0 || m->leases > 0)
        return SGI_E_BUSY;
    for (const struct instance *i = m->instances; i; i = i->model_next)
        if (i->state != ST_READY && i->state != ST_STOPPING)
            return SGI_E_BUSY;
    if (tier != SGI_TIER_DRAM)
        m->evict_dram = true;
    if (tier == SGI_EVICT_ALL)
        m->discard_wanted = true;
    for (struct instance *i = m->instances, *next; i; i = next) {
        next = i->model_next;
        if (i->state != ST_READY)
            continue;
        i->cause = SGI_CAUSE_EVICT;
        sgi__instance_stop(core, now, i, tier == SGI_TIER_DRAM);
    }
    sgi__model_advance(core, now, m);
    return SGI_OK;
}

sgi_status sgi__core_evict(struct sgi__core *core, uint64_t now, sgi_model model, uint32_t tier)
{
    struct model *m = sgi__core_model(core, model);
    if (!m)
        return SGI_E_STALE;
    sgi_status st = evict(core, now, m, tier);
    sgi__core_settle(core, now);
    return st;
}

void sgi__core_evict_all(struct sgi__core *core, uint64_t now, uint32_t tier)
{
    for (uint32_t n = 0; n < core->models.count; n++) {
        struct model *m = core->models.items[n];
        if (m->id && m->pinned_tier == SGI_TIER_DISK)
            evict(core, now, m, tier);
    }
    sgi__core_settle(core, now);
}

static void set_pin(struct sgi__core *core, struct model *m, uint32_t tier)
{
    if (m->pinned_tier == SGI_TIER_DRAM && tier != SGI_TIER_DRAM)
        sgi__residence_unpin(core, m);
    m->pinned_tier = tier;
}

/* The one that would be idle, were it not for the pin. */
static const struct instance *held_by_pin(const struct model *m)
{
    const struct instance *i = m->instances;
    while (i && !(i->state == ST_READY && sgi__instance_pinned(i)))
        i = i->model_next;
    return i;
}

sgi_status sgi__core_pin(struct sgi__core *core, uint64_t now, sgi_model model, uint32_t tier)
{
    struct model *m = sgi__core_model(core, model);
    if (core->draining)
        return SGI_E_CLOSED;
    if (!m || m->draining)
        return SGI_E_STALE;
    bool changes = (m->pinned_tier == SGI_TIER_DEVICE) != (tier == SGI_TIER_DEVICE);
    if (tier == SGI_TIER_DRAM && m->pinned_tier != SGI_TIER_DRAM) {
        sgi_status st = sgi__residence_pin(core, m);
        if (st != SGI_OK)
            return st;
    }
    const struct instance *held = held_by_pin(m);
    set_pin(core, m, tier);
    for (struct instance *i = m->instances; i && changes; i = i->model_next)
        if (i->state == ST_READY && (i == held || sgi__instance_pinned(i)))
            sgi__instance_rest(core, now, i, i->idle_ns); /* its idle time begins with the end of the pin */
    core->dirty = true;                                   /* what was pinned may be evicted now */
    sgi__core_settle(core, now);
    return SGI_OK;
}

static void drain_model(struct sgi__core *core, uint64_t now, struct model *m, sgi_status reason)
{
    m->draining = true;
    set_pin(core, m, SGI_TIER_DISK);
    sgi__wants_reject(core, m, reason, sgi__want_step(core, m), 0);
    for (struct instance *i = m->instances, *next; i; i = next) {
        next = i->model_next;
        i->closing = true;
        i->keep = false;
        if (i->state == ST_QUEUED)
            sgi__instance_abandon(core, now, m, true);
        else if (i->state == ST_READY || i->state == ST_RESERVING || (i->state == ST_LOADING && i->leases == 0))
            sgi__instance_stop(core, now, i, false);
        else
            sgi__instance_advance(core, now, i);
    }
    sgi__model_advance(core, now, m);
    core->dirty = true;
}

sgi_status sgi__core_model_drain(struct sgi__core *core, uint64_t now, sgi_model model, sgi_status reason)
{
    struct model *m = sgi__core_model(core, model);
    if (!m)
        return SGI_E_STALE;
    if (!m->draining)
        drain_model(core, now, m, reason);
    sgi__core_settle(core, now);
    return SGI_OK;
}

void sgi__core_drain(struct sgi__core *core, uint64_t now)
{
    if (!core->draining) {
        core->draining = true;
        for (uint32_t n = 0; n < core->models.count; n++) {
            struct model *m = core->models.items[n];
            if (m->id && !m->draining)
                drain_model(core, now, m, SGI_E_CLOSED);
        }
        for (uint32_t n = 0; n < core->config.devices_count; n++)
            sgi__context_rest(core, now, &core->devices[n]);
    }
    sgi__core_settle(core, now);
}

sgi_status sgi__core_lease_hold(struct sgi__core *core, sgi_lease lease, struct sgi__core_lease_view *view_out)
{
    struct lease *l = sgi__slots_get(&core->leases, lease, ID_LEASE);
    if (!l)
        return SGI_E_STALE;
    l->holds++;
    return sgi__core_lease_view(core, lease, view_out);
}

void sgi__core_lease_unhold(struct sgi__core *core, sgi_lease lease)
{
    struct lease *l = sgi__slots_get(&core->leases, lease, ID_LEASE);
    assert(l && l->holds > 0);
    l->holds--;
}

/* ---- events from places ---- */

static bool model_event(struct sgi__core *core, uint64_t now, struct model *m, const struct sgi__core_event *event)
{
    struct instance *i = m->coming;

    switch (event->kind) {
    case SGI__EV_SOURCE_CHECKED:
        if (!m->op_check || m->op_check != event->op)
            return false;
        m->op_check = 0;
        core->dirty = true;
        if (i && i->state == ST_QUEUED && !i->source_ok) {
            if (event->status != SGI_OK) {
                sgi__instance_fail(core, now, i, event->status, SGI_STEP_SOURCE);
            } else {
                i->source_ok = true;
                i->shares_seen = event->shared_bytes;
                i->shares_as_of = m->check_as_of;
                i->shares_come = m->check_come;
                if (!i->to_dram)
                    sgi__prepare(core, now, m);
            }
        }
        break;
    case SGI__EV_PREPARED:
        if (!m->op_prepare || m->op_prepare != event->op)
            return false;
        m->op_prepare = 0;
        sgi__model_unwatch(now, m);
        if (event->status == SGI_OK) {
            m->prepared = true;
            m->prepared_bytes = event->bytes;
            core->prepared_bytes += event->bytes;
            if (i)
                sgi__instance_advance(core, now, i);
        } else if (!i || i->to_dram) {
            m->last_error = event->status;
        } else {
            sgi__instance_fail(core, now, i, event->status, SGI_STEP_PREPARE);
        }
        core->dirty = true;
        break;
    case SGI__EV_DISCARDED:
        if (!m->op_discard || m->op_discard != event->op)
            return false;
        m->op_discard = 0;
        sgi__model_unwatch(now, m);
        core->prepared_bytes -= m->prepared_bytes;
        m->prepared_bytes = 0;
        if (i && !i->to_dram && i->source_ok)
            sgi__prepare(core, now, m); /* it was wanted again meanwhile */
        break;
    case SGI__EV_DROPPED:
        if (!m->op_drop || m->op_drop != event->op)
            return false;
        sgi__residence_dropped(core, now, m, event->shared_bytes);
        break;
    default:
        return false;
    }
    sgi__model_advance(core, now, m);
    return true;
}

static bool instance_expects(const struct instance *i, const struct sgi__core_event *event)
{
    switch (event->kind) {
    case SGI__EV_RESERVED:
        return i->op_reserve == event->op;
    case SGI__EV_LOADED:
        return i->op_load == event->op;
    case SGI__EV_PREFIX_FILLED:
        return i->op_prefix == event->op;
    case SGI__EV_ENGINE_STARTED:
        return i->op_start == event->op;
    case SGI__EV_ENGINE_STOPPED:
        return i->op_stop == event->op;
    case SGI__EV_FREED:
    case SGI__EV_KEPT:
        return i->op_end == event->op;
    default:
        return false;
    }
}

static bool take_event(struct sgi__core *core, uint64_t now, const struct sgi__core_event *event)
{
    bool known_device = event->device >= 0 && (uint32_t)event->device < core->config.devices_count;

    switch (event->kind) {
    case SGI__EV_CONTEXT_OPENED:
    case SGI__EV_CONTEXT_CLOSED:
        if (!known_device || !event->op || core->devices[event->device].op_context != event->op)
            return false;
        sgi__context_event(core, now, event);
        return true;
    case SGI__EV_CONTEXT_LOST:
    case SGI__EV_CONTEXT_BACK:
        if (!known_device)
            return false;
        sgi__context_event(core, now, event);
        return true;
    case SGI__EV_FOREIGN:
        if (!known_device)
            return false;
        core->devices[event->device].foreign = event->bytes;
        core->dirty = true;
        return true;
    case SGI__EV_PLACE_DIED:
        sgi__place_died(core, now);
        return true;
    case SGI__EV_PLACE_UP:
        core->dram.lost = false;
        for (uint32_t n = 0; n < core->config.devices_count; n++)
            core->devices[n].lost = false;
        core->dirty = true;
        return true;
    default:
        break;
    }
    struct model *m = sgi__core_model(core, event->model);
    if (!m || !event->op)
        return false;
    if (event->kind == SGI__EV_SOURCE_CHECKED || event->kind == SGI__EV_PREPARED || event->kind == SGI__EV_DISCARDED ||
        event->kind == SGI__EV_DROPPED)
        return model_event(core, now, m, event);
    struct instance *i = sgi__core_instance(core, event->model, event->instance);
    if (!i || !instance_expects(i, event))
        return false;
    sgi__instance_event(core, now, i, event);
    return true;
}

bool sgi__core_event(struct sgi__core *core, uint64_t now, const struct sgi__core_event *event)
{
    bool taken = take_event(core, now, event);
    sgi__core_settle(core, now);
    return taken;
}

sgi_status sgi__core_engine_bytes(struct sgi__core *core, uint64_t now, uint64_t instance, uint64_t bytes,
                                  bool at_least, struct sgi__core_charge *charge_out)
{
    struct instance *i = sgi__core_instance_of(core, instance);
    (void)now;
    if (!i || i->state == ST_COLD || i->state == ST_QUEUED || i->device == SGI__DRAM)
        return SGI_E_STALE;
    *charge_out = (struct sgi__core_charge){ .before = i->charged_engine };
    if (i->lost) /* there is nothing to charge it to */
        return SGI_E_DEVICE_LOST;
    struct device *d = &core->devices[i->device];
    uint64_t       others = d->used - i->charged_engine + sgi__device_foreign(d);
    uint64_t       left = others < d->bytes_max ? d->bytes_max - others : 0;

    charge_out->room = left;
    if (at_least && bytes <= i->charged_engine)
        return SGI_OK;
    if (bytes > i->charged_engine && bytes > left)
        return SGI_E_DEVICE_MEMORY;
    d->used = d->used - i->charged_engine + bytes;
    d->used_engine = d->used_engine - i->charged_engine + bytes;
    i->charged = i->charged - i->charged_engine + bytes;
    i->charged_engine = bytes;
    i->model->engine_bytes = bytes; /* what the next start reserves */
    core->dirty = true;
    sgi__core_settle(core, now);
    return SGI_OK;
}
