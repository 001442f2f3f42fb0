/* SPDX-License-Identifier: Apache-2.0 */
/* The world: carries out the core's actions on modelled devices, sources and engines, and reports how they ended. */
#include <stdlib.h>
#include <string.h>

#include "sim/sim_state.h"

/* ---- how an action will end ---- */

static const struct failure {
    sgi_status status;
    uint32_t   step;
} failures[SIM_ACTS][4] = {
    [SGI__ACT_CHECK_SOURCE] = { { SGI_E_IO, SGI_STEP_SOURCE },
                                { SGI_E_CHANGED, SGI_STEP_SOURCE },
                                { SGI_E_DENIED, SGI_STEP_SOURCE },
                                { SGI_E_IO, SGI_STEP_SOURCE } },
    [SGI__ACT_OPEN_CONTEXT] = { { SGI_E_DEVICE, SGI_STEP_CONTEXT },
                                { SGI_E_DEVICE_MEMORY, SGI_STEP_CONTEXT },
                                { SGI_E_DEVICE, SGI_STEP_CONTEXT },
                                { SGI_E_DEVICE, SGI_STEP_CONTEXT } },
    [SGI__ACT_RESERVE] = { { SGI_E_DEVICE_MEMORY, SGI_STEP_MEMORY },
                           { SGI_E_DEVICE_MEMORY, SGI_STEP_MEMORY },
                           { SGI_E_NO_MEMORY, SGI_STEP_MEMORY },
                           { SGI_E_DEVICE, SGI_STEP_MEMORY } },
    [SGI__ACT_START_LOAD] = { { SGI_E_IO, SGI_STEP_OPEN },
                              { SGI_E_IO, SGI_STEP_READ },
                              { SGI_E_CHECK, SGI_STEP_VERIFY },
                              { SGI_E_SYSTEM, SGI_STEP_COPY } },
    [SGI__ACT_FILL_PREFIX] = { { SGI_E_ENGINE, SGI_STEP_PREFIX },
                               { SGI_E_NO_MEMORY, SGI_STEP_PREFIX },
                               { SGI_E_SYSTEM, SGI_STEP_PREFIX },
                               { SGI_E_ENGINE, SGI_STEP_PREFIX } },
    [SGI__ACT_PREPARE] = { { SGI_E_ENGINE, SGI_STEP_PREPARE },
                           { SGI_E_NO_MEMORY, SGI_STEP_PREPARE },
                           { SGI_E_ENGINE, SGI_STEP_PREPARE },
                           { SGI_E_ENGINE, SGI_STEP_PREPARE } },
    [SGI__ACT_START_ENGINE] = { { SGI_E_ENGINE, SGI_STEP_START },
                                { SGI_E_DEVICE_MEMORY, SGI_STEP_START },
                                { SGI_E_ENGINE, SGI_STEP_START },
                                { SGI_E_SYSTEM, SGI_STEP_START } },
    [SGI__ACT_KEEP] = { { SGI_E_NO_MEMORY, SGI_STEP_STOP },
                        { SGI_E_SYSTEM, SGI_STEP_STOP },
                        { SGI_E_SYSTEM, SGI_STEP_STOP },
                        { SGI_E_SYSTEM, SGI_STEP_STOP } },
};

/* One that has the model whole, on another device with memory of its own: it is copied from there. */
static bool has_peer(const struct world_instance *i)
{
    const struct world_instance *other = i->model->instances;

    while (other && (other == i || !i->own || !other->own || other->load != DONE))
        other = other->next;
    return other != NULL;
}

/* A host's op that nothing keeps from ending well: what comes from DRAM, or from another device, is not read; and on
 * the host it needs no memory either. Of a cuda device it is the driver's memory that is short, and only that. */
static bool is_spared(struct sim *s, const struct world_op *op)
{
    const struct world_instance *i = sim__get(&s->instances, op->action.instance);

    if (op->action.kind == SGI__ACT_RESERVE)
        return s->config.discrete ? !i->own : op->action.tier == SGI_TIER_DRAM && !i->in_place;
    return op->action.kind == SGI__ACT_START_LOAD && (op->action.tier == SGI_TIER_DRAM || has_peer(i));
}

static void decide_end(struct sim *s, struct world_op *op)
{
    enum sgi__core_action_kind kind = op->action.kind;
    struct world_model        *m = sim__model(s, op->action.model);
    bool                       spared = s->host && is_spared(s, op);

    if (s->fail[kind].times > 0 && !spared) {
        s->fail[kind].times--;
        op->status = s->fail[kind].status;
        op->step = s->fail[kind].step;
    }
    if (s->host && kind == SGI__ACT_START_LOAD && !spared && m->source != SGI_OK && op->step != SGI_STEP_OPEN) {
        op->status = m->source;
        op->step = SGI_STEP_OPEN;
    }
    if (op->status == SGI_OK && kind == SGI__ACT_CHECK_SOURCE && m->source != SGI_OK) {
        op->status = m->source;
        op->step = SGI_STEP_SOURCE;
    }
    if (op->status == SGI_OK && failures[kind][0].status && sim__chance(s, s->habits.fail[kind])) {
        const struct failure *f = &failures[kind][sim__random(s, 4)];
        op->status = f->status;
        op->step = f->step;
    }
    if (op->status != SGI_OK)
        s->score.faults++;
    if (op->action.keep)
        op->bytes = s->no_copies || sim__chance(s, s->habits.no_copy) || (s->host && spared) ? 0 : op->action.bytes;
    if (kind == SGI__ACT_CLOSE_CONTEXT) {
        struct world_device *d = &s->devices[op->action.device];
        op->bytes = s->habits.on && d->own ? sim__random(s, MIB(64)) : d->residue_next;
    }
    if (kind == SGI__ACT_PREPARE && op->status == SGI_OK)
        op->bytes = MIB(1) + (s->habits.on ? sim__random(s, MIB(64)) : 0);
}

/* What of a residence that is complete was there already; what of one that goes stays. */
static void decide_shared(struct sim *s, struct world_op *op, struct world_model *m)
{
    bool comes = op->action.kind == SGI__ACT_KEEP || (op->action.kind == SGI__ACT_START_LOAD && op->bytes > 0);

    if (op->shared_known)
        return;
    op->shared_known = true;
    if (op->action.kind == SGI__ACT_DROP)
        op->shared = sim__unshare(s, m);
    else if (op->action.kind == SGI__ACT_CHECK_SOURCE)
        op->shared = s->sees || (s->random_packed && !s->host && sim__packed_now(s)) ? sim__would_share(s, m) : 0;
    else if (comes && op->status == SGI_OK)
        op->shared = sim__share(s, m);
}

/* So much more of what is kept is there once only. */
static void shared(struct sim *s, uint64_t bytes)
{
    s->dram_shared += bytes;
    s->dram_used -= bytes;
}

static void shares_begin(struct sim *s, struct world_instance *i, uint64_t bytes)
{
    i->shares = bytes;
    s->sharing += bytes > 0;
    shared(s, bytes);
}

static void shares_end(struct sim *s, struct world_instance *i)
{
    s->sharing -= i->shares > 0;
    shared(s, 0 - i->shares);
    i->shares = 0;
}

/* Now that it is complete; a copy may not be, for want of memory. */
static void check_share(const struct sim *s, const struct world_op *op, const struct world_instance *i)
{
    bool complete = op->status == SGI_OK && (op->action.kind == SGI__ACT_KEEP || op->bytes > 0);
    if (complete && i->shares > op->shared)
        sim__broken(s, "what a fill counts on stays until it has ended");
}

static uint64_t duration(struct sim *s, enum sgi__core_action_kind kind)
{
    return s->habits.on ? sim__between(s, s->habits.takes[kind]) : s->takes[kind];
}

/* ---- actions ---- */

static void start_load(struct sim *s, struct world_op *op)
{
    struct world_instance *i = sim__get(&s->instances, op->action.instance);

    i->load = UNDER_WAY;
    if (sim__bandwidth(s, op->action.tier) == 0) {
        sim__op_ends_at(s, op, s->now + duration(s, SGI__ACT_START_LOAD));
        return;
    }
    op->load_left = i->image_bytes;
    if (op->status != SGI_OK) /* it dies at chunk k */
        op->load_left = sim__random(s, op->load_left + 1);
    sim__load_joins(s, op);
}

/* A load and a start that are asked to end do so soon, mostly as canceled; what was nearly done may still succeed, and
 * a start that hangs does not listen. */
static void cancel_load(struct sim *s, uint64_t instance)
{
    struct world_op             *load = sim__op_find(s, SGI__ACT_START_LOAD, instance);
    struct world_op             *start = sim__op_find(s, SGI__ACT_START_ENGINE, instance);
    const struct world_instance *i = sim__get(&s->instances, instance);
    /* A host's has gone on from a gate that will not open, and fails with that in its turn. */
    bool fails = s->host && i->own && load && !load->at_gate && s->devices[i->device].gate == FAILED;

    if (load && !fails && !(s->host && load->action.tier == SGI_TIER_DRAM && !i->in_place)) {
        sim__load_leaves(s, load);
        sim__op_unschedule(s, load);
        load->at_gate = false;
        if (!s->habits.on || sim__random(s, 4) > 0) {
            load->status = SGI_E_CANCELED;
            load->step = SGI_STEP_READ;
        }
        sim__op_ends_at(s, load, s->now + duration(s, SGI__ACT_CANCEL_LOAD));
    }
    if (start && !start->hangs && s->habits.on) {
        sim__op_unschedule(s, start);
        start->at_gate = false;
        if (sim__random(s, 2) > 0) {
            start->status = SGI_E_CANCELED;
            start->step = SGI_STEP_START;
        }
        sim__op_ends_at(s, start, s->now + duration(s, SGI__ACT_CANCEL_LOAD));
    }
    sim__op_leaves_gate(s, start, MS(2));
}

static void reserve(struct sim *s, const struct sgi__core_action *action)
{
    struct world_model    *m = sim__model(s, action->model);
    struct world_instance *i = sim__slot(&s->instances, action->instance);

    /* A packed residence has nothing of the engine's, and an image has it. */
    bool has_prefix = m->config.has_prefix && !action->packed && (action->tier == SGI_TIER_DISK || m->packed);

    if (i->id)
        sim__broken(s, "ids in use have different slots");
    *i = (struct world_instance){
        .id = action->instance,
        .model = m,
        .device = action->device,
        .own = action->device >= 0 && s->devices[action->device].own,
        .in_context = action->device >= 0 && s->devices[action->device].context == DONE &&
                      !s->devices[action->device].closing,
        .tier = action->tier,
        .packed = action->packed,
        .in_place = action->tier == SGI_TIER_DRAM && (m->packed || s->devices[action->device].own),
        .reserve = UNDER_WAY,
        .prefix = has_prefix ? NOT : DONE,
        .idle_ns = m->config.idle_ns,
        .priority_early = INT32_MIN,
        .next = m->instances,
        .admitted_seq = s->want_seq,
        .admitted_event = s->event,
    };
    m->instances = i;
    s->admitted_event = s->event;
    if (action->tier == SGI_TIER_DRAM && !i->in_place)
        sim__keep(s, m, 0); /* it is the same memory */
    m->dram_event = s->event;
    sim__charge(s, i, action->bytes, action->device < 0 ? 0 : m->engine_bytes);
    shares_begin(s, i, action->shared_bytes);
    s->score.loads++;
    s->score.further += sim__server(s, m) != NULL;
}

/* It opens as the core is told, or a moment before. */
static void open_gate(struct sim *s, const struct world_op *open, uint64_t takes)
{
    uint32_t device = (uint32_t)open->action.device;

    if (!s->habits.on || !s->devices[device].own || sim__random(s, 2) > 0)
        return;
    uint64_t early = sim__random(s, takes < MS(20) ? takes + 1 : MS(20));
    sim__queue(s, &(struct queued){ .at = s->now + takes - early, .kind = Q_GATE, .a = device, .b = open->action.op });
}

void sim__world_action(struct sim *s, const struct sgi__core_action *action)
{
    struct world_model    *m = sim__model(s, action->model);
    struct world_instance *i = sim__get(&s->instances, action->instance);

    switch (action->kind) {
    case SGI__ACT_CANCEL_LOAD:
        cancel_load(s, action->instance);
        return;
    case SGI__ACT_LOAD_PRIORITY:
        i->priority = action->priority;
        return;
    case SGI__ACT_SPARE_LIMIT:
        return;
    case SGI__ACT_LOOK:
        s->devices[action->device].looked_at = s->now;
        sim__queue(s, &(struct queued){
                          .at = s->now + duration(s, action->kind), .kind = Q_LOOKED, .a = (uint64_t)action->device });
        return;
    case SGI__ACT_CHECK_SOURCE:
        m->checked = UNDER_WAY;
        m->refused = false;
        break;
    case SGI__ACT_OPEN_CONTEXT:
        s->devices[action->device].context = s->devices[action->device].gate = UNDER_WAY;
        break;
    case SGI__ACT_CLOSE_CONTEXT:
        s->devices[action->device].closing = true;
        s->devices[action->device].gate = NOT;
        break;
    case SGI__ACT_RESERVE:
        reserve(s, action);
        break;
    case SGI__ACT_START_LOAD:
        i->priority = action->priority;
        m->checked = NOT; /* the next start checks again */
        m->refused = false;
        if (action->keep) {
            i->copies = m->filling = true;
            m->packed = action->packed;
            sim__keep(s, m, sim__form_bytes(m, m->packed));
            shares_begin(s, i, action->shared_bytes);
            s->kept++;
        }
        break;
    case SGI__ACT_FILL_PREFIX:
        i->prefix = UNDER_WAY;
        break;
    case SGI__ACT_PREPARE:
        m->prepare = UNDER_WAY;
        break;
    case SGI__ACT_DISCARD:
        m->discarding = true;
        break;
    case SGI__ACT_START_ENGINE:
        i->engine = UNDER_WAY;
        break;
    case SGI__ACT_STOP_ENGINE:
        i->stop = UNDER_WAY;
        break;
    case SGI__ACT_KEEP:
        i->keeping = true;
        i->end = UNDER_WAY;
        uint64_t image = i->image_bytes;
        sim__charge(s, i, 0, i->engine_bytes);
        sim__keep(s, m, image);
        m->packed = i->packed;
        m->dram_used = i->last_used;
        m->dram_event = s->event;
        break;
    case SGI__ACT_FREE:
        i->end = UNDER_WAY;
        m->dram_event = s->event;
        if (sim__resident(m) && m->dram_used < i->last_used)
            m->dram_used = i->last_used;
        break;
    case SGI__ACT_DROP:
        m->dropping = true;
        m->spoiled = false;
        break;
    }

    struct world_op *op = sim__op_out(s, action);
    if (!s->host)
        decide_end(s, op);
    bool before = m && (action->kind == SGI__ACT_CHECK_SOURCE ||
                        (m->packed && (action->kind == SGI__ACT_DROP || action->kind == SGI__ACT_KEEP)));
    if (s->random_packed && before && sim__packed_now(s))
        decide_shared(s, op, m);
    if (action->kind == SGI__ACT_START_LOAD) {
        start_load(s, op);
        return;
    }
    uint64_t takes = duration(s, action->kind);
    if (sim__chance(s, s->habits.hang[action->kind])) {
        takes += sim__between(s, s->habits.hang_for);
        op->hangs = true;
        op->never = sim__never(s);
        s->score.faults++;
    }
    sim__op_ends_at(s, op, s->now + takes);
    if (action->kind == SGI__ACT_OPEN_CONTEXT)
        open_gate(s, op, takes);
    if (action->kind == SGI__ACT_START_ENGINE)
        sim__start_counts(s, i);
}

/* ---- results ---- */

static void instance_gone(struct sim *s, struct world_instance *i)
{
    struct world_instance **at = &i->model->instances;
    shares_end(s, i);
    sim__charge(s, i, 0, 0);
    while (*at != i)
        at = &(*at)->next;
    *at = i->next;
    i->id = 0;
}

static void failed(struct sim *s, struct world_model *m, sgi_status status)
{
    if (m && status != SGI_OK && -status < SIM_STATUSES)
        m->failed_event[-status] = s->event + 1; /* the event that is about to begin */
}

/* A step of a start ended: what that means for the instance, if its device is gone too. */
static enum fact step_ended(struct sim *s, struct world_op *op, struct world_instance *i)
{
    if (i->lost && op->status == SGI_OK && !s->host) {
        op->status = SGI_E_DEVICE_LOST;
        op->step = SGI_STEP_CONTEXT;
    }
    failed(s, i->model, op->status);
    i->failed = i->failed || op->status != SGI_OK;
    return op->status == SGI_OK ? DONE : FAILED;
}

static void reserve_ended(struct sim *s, struct world_op *op, struct world_instance *i)
{
    struct world_model *m = i->model;
    i->reserve = step_ended(s, op, i);
    if (i->reserve == DONE)
        return;
    m->refused = true;
    s->refused_event = s->event + 1;
    s->upset_event = s->event + 1;
    s->refused_device = i->device;
    if (i->tier == SGI_TIER_DRAM && !i->in_place)
        sim__keep(s, m, i->image_bytes);
    instance_gone(s, i);
}

static void context_opened(struct sim *s, struct world_op *op)
{
    struct world_device *d = &s->devices[op->action.device];
    bool                 open = op->status == SGI_OK;

    d->context = open ? DONE : NOT;
    d->residue = open ? 0 : d->residue;
    sim__gate_moves(s, (uint32_t)op->action.device, open ? DONE : FAILED, op->status);
    for (uint32_t n = 0; n < s->instances.size; n++) {
        struct world_instance *i = s->instances.at[n];
        if (!i || !i->id || i->died || i->device != op->action.device)
            continue;
        sim__start_counts(s, i);
        if (open) {
            i->in_context = true;
            sim__rests(s, i);
        } else if (i->load == NOT || i->own) {
            i->failed = true;
            failed(s, i->model, op->status);
        }
    }
}

static void residence_gone(struct sim *s, struct world_model *m)
{
    sim__keep(s, m, 0);
    m->packed = false;
}

static void kept(struct sim *s, struct world_op *op, struct world_instance *i)
{
    if (i->lost && !s->host)
        op->status = SGI_E_DEVICE_LOST;
    i->model->dram_event = s->event + 1;
    decide_shared(s, op, i->model);
    check_share(s, op, i);
    if (op->status != SGI_OK) {
        sim__unshare(s, i->model);
        residence_gone(s, i->model);
        op->shared = 0;
    }
    shared(s, op->shared);
    if (i->device < 0) /* it was for nothing else */
        failed(s, i->model, op->status);
    instance_gone(s, i);
}

static const enum sgi__core_event_kind event_of[SIM_ACTS] = {
    [SGI__ACT_CHECK_SOURCE] = SGI__EV_SOURCE_CHECKED,
    [SGI__ACT_OPEN_CONTEXT] = SGI__EV_CONTEXT_OPENED,
    [SGI__ACT_CLOSE_CONTEXT] = SGI__EV_CONTEXT_CLOSED,
    [SGI__ACT_RESERVE] = SGI__EV_RESERVED,
    [SGI__ACT_START_LOAD] = SGI__EV_LOADED,
    [SGI__ACT_FILL_PREFIX] = SGI__EV_PREFIX_FILLED,
    [SGI__ACT_PREPARE] = SGI__EV_PREPARED,
    [SGI__ACT_DISCARD] = SGI__EV_DISCARDED,
    [SGI__ACT_START_ENGINE] = SGI__EV_ENGINE_STARTED,
    [SGI__ACT_STOP_ENGINE] = SGI__EV_ENGINE_STOPPED,
    [SGI__ACT_FREE] = SGI__EV_FREED,
    [SGI__ACT_KEEP] = SGI__EV_KEPT,
    [SGI__ACT_DROP] = SGI__EV_DROPPED,
};

struct sgi__core_event sim__world_event(const struct world_op *op)
{
    return (struct sgi__core_event){
        .kind = event_of[op->action.kind],
        .status = op->status,
        .step = op->step,
        .device = op->action.device,
        .op = op->action.op,
        .model = op->action.model,
        .instance = op->action.instance,
        .bytes = op->bytes,
        .shared_bytes = op->shared,
    };
}

/* A copy is complete once its load and the engine's part of it have ended well. A packed one has no such part. */
static void copy_ended(struct sim *s, struct world_model *m, struct world_instance *i, bool copied)
{
    m->dram_event = s->event + 1;
    if (!i->copies)
        return;
    if (!copied)
        residence_gone(s, m);
    else if (i->load == UNDER_WAY || (i->prefix == UNDER_WAY && !m->packed))
        return;
    i->copies = m->filling = false;
    m->dram_used = s->now;
    m->spoiled = copied && i->prefix != DONE && !m->packed;
}

static bool is_held(const struct sim *s, const struct world_op *op)
{
    for (uint32_t n = 0; n < s->held_count; n++)
        if (s->held[n] == op)
            return true;
    return false;
}

/* With its load, before it has called out: where callbacks are held it is not. */
static void start_fails(struct sim *s, struct world_op *start)
{
    if (!start || (!start->at_gate && !is_held(s, start)))
        return;
    sim__op_unschedule(s, start);
    start->at_gate = false;
    sim__queue(s, &(struct queued){ .at = s->now, .kind = Q_RESULT, .op = start });
}

/* A load or a prefix ended. A start that waits at the gate waits for its load, too: not for one that has failed. */
static void filled(struct sim *s, struct world_instance *i)
{
    if (s->host && i->own && i->load == FAILED && !i->begun)
        start_fails(s, sim__op_find(s, SGI__ACT_START_ENGINE, i->id));
    else if (i->load == FAILED || s->host)
        sim__op_leaves_gate(s, sim__op_find(s, SGI__ACT_START_ENGINE, i->id), MS(2));
    sim__start_counts(s, i);
    sim__rests(s, i);
}

void sim__world_result(struct sim *s, struct world_op *op)
{
    struct world_model    *m = sim__model(s, op->action.model);
    struct world_instance *i = sim__get(&s->instances, op->action.instance);

    if (i && sim__op_waits(s, op, i))
        return;
    if (s->host && op->status == SGI_OK) /* else it was canceled */
        decide_end(s, op);
    switch (op->action.kind) {
    case SGI__ACT_CHECK_SOURCE:
        m->checked = op->status == SGI_OK ? DONE : FAILED;
        decide_shared(s, op, m);
        failed(s, m, op->status);
        break;
    case SGI__ACT_OPEN_CONTEXT:
        context_opened(s, op);
        break;
    case SGI__ACT_CLOSE_CONTEXT:
        s->devices[op->action.device].context = NOT;
        s->devices[op->action.device].closing = false;
        s->devices[op->action.device].residue = op->bytes;
        break;
    case SGI__ACT_RESERVE:
        m->dram_event = s->event + 1;
        reserve_ended(s, op, i);
        break;
    case SGI__ACT_START_LOAD:
        if (op->status == SGI_E_CHECK && i->in_place && sim__coming(i) && !sim__server(s, m))
            m->evict_dram = true; /* what is kept is not what it should be */
        i->load = step_ended(s, op, i);
        i->load_status = op->status;
        i->load_step = op->step;
        /* A tensor that does not match has come to the device; of a chunk nothing has. From another device something
         * comes before a cancel is looked at. */
        i->begun = op->status == SGI_OK || (op->step == SGI_STEP_VERIFY && !sim__has_to_pack(m)) ||
                   (op->status == SGI_E_CANCELED && has_peer(i));
        if (i->copies && i->load == DONE) {
            decide_shared(s, op, m);
            check_share(s, op, i);
            shared(s, op->shared);
        }
        if (i->copies)
            shares_end(s, i);
        copy_ended(s, m, i, i->load == DONE && op->bytes > 0);
        filled(s, i);
        break;
    case SGI__ACT_FILL_PREFIX:
        i->prefix = step_ended(s, op, i);
        copy_ended(s, m, i, true);
        filled(s, i);
        break;
    case SGI__ACT_PREPARE:
        m->prepare = op->status == SGI_OK ? DONE : NOT;
        m->prepared_bytes = op->bytes;
        failed(s, m, op->status);
        for (struct world_instance *each = m->instances; each && op->status != SGI_OK; each = each->next)
            if (each->device >= 0 && !sim__up(each)) /* a fill of DRAM does not need it */
                each->failed = true;
        break;
    case SGI__ACT_DISCARD:
        m->prepare = NOT;
        m->discarding = false;
        m->prepared_bytes = 0;
        break;
    case SGI__ACT_START_ENGINE:
        i->engine = step_ended(s, op, i);
        sim__rests(s, i);
        break;
    case SGI__ACT_STOP_ENGINE:
        i->stop = DONE;
        break;
    case SGI__ACT_FREE:
        instance_gone(s, i);
        break;
    case SGI__ACT_KEEP:
        kept(s, op, i);
        break;
    case SGI__ACT_DROP:
        decide_shared(s, op, m);
        shared(s, 0 - op->shared);
        residence_gone(s, m);
        m->dropping = false;
        break;
    case SGI__ACT_CANCEL_LOAD:
    case SGI__ACT_LOAD_PRIORITY:
    case SGI__ACT_SPARE_LIMIT:
    case SGI__ACT_LOOK:
        break;
    }

    struct sgi__core_event event = sim__world_event(op);
    if (sim__chance(s, s->habits.repeat)) {
        struct world_op *again = calloc(1, sizeof *again);
        if (!again)
            abort();
        *again = *op;
        sim__queue(s, &(struct queued){ .at = s->now + sim__random(s, MS(200)), .kind = Q_REPEAT, .op = again });
    }
    sim__op_in(s, op);
    sim__event(s, &event, true);
}

void sim__world_repeat(struct sim *s, struct world_op *op)
{
    struct sgi__core_event event = sim__world_event(op);
    free(op);
    sim__event(s, &event, false);
}

/* ---- what goes ---- */

/* A result that nobody waits for any more comes anyway, later. */
static void orphan(struct sim *s, struct world_op *op)
{
    sim__load_leaves(s, op);
    sim__op_unschedule(s, op);
    sim__op_forget(s, op);
    sim__queue(s, &(struct queued){
                      .at = s->now + (s->habits.on ? sim__random(s, MS(500)) : MS(1)), .kind = Q_REPEAT, .op = op });
}

void sim__world_loses_device(struct sim *s, uint32_t device)
{
    struct world_device *d = &s->devices[device];
    d->lost = true;
    d->context = NOT;
    d->closing = false;
    sim__gate_moves(s, device, NOT, SGI_E_DEVICE_LOST);
    for (uint32_t n = s->out_count; n-- > 0;) {
        struct world_op *op = s->out[n];
        if ((op->action.kind == SGI__ACT_OPEN_CONTEXT || op->action.kind == SGI__ACT_CLOSE_CONTEXT) &&
            op->action.device == (int32_t)device)
            orphan(s, op);
    }
    for (uint32_t n = 0; n < s->instances.size; n++) {
        struct world_instance *i = s->instances.at[n];
        if (i && i->id && i->device == (int32_t)device && !i->died) {
            i->lost = true;
            sim__start_counts(s, i);
            failed(s, i->model, SGI_E_DEVICE_LOST);
        }
    }
}

void sim__world_dies(struct sim *s)
{
    s->up = false;
    while (s->out_count > 0)
        orphan(s, s->out[0]);
    for (uint32_t d = 0; d < s->devices_count; d++) {
        s->devices[d].context = s->devices[d].gate = NOT;
        s->devices[d].closing = false;
        s->devices[d].residue = 0;
    }
    for (uint32_t n = 0; n < s->instances.size; n++) {
        struct world_instance *i = s->instances.at[n];
        if (!i || !i->id || i->died)
            continue;
        sim__charge(s, i, 0, 0);
        i->died = true;
        i->shares = 0;
        i->copies = false;
        i->calls = 0;
        if (i->leases == 0)
            i->id = 0;
    }
    shared(s, 0 - s->dram_shared);
    s->sharing = 0;
    memset(s->families, 0, sizeof s->families);
    for (uint32_t n = 0; n < s->models.size; n++) {
        struct world_model *m = s->models.at[n];
        if (!m || !m->id)
            continue;
        residence_gone(s, m);
        m->counted = false;
        m->instances = NULL;
        m->checked = m->prepare = NOT;
        m->prepared_bytes = 0;
        m->dropping = m->discarding = m->filling = m->spoiled = false;
        m->dram_event = s->event + 1;
        failed(s, m, SGI_E_DEVICE_LOST);
    }
}
