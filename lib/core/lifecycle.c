/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One instance from cold to cold. `state` says where it is, the facts beside it say what has been reported and what is
 * still out; sgi__instance_advance() looks at both and emits what may come next. Every ending, good or bad, goes
 * through STOPPING, which waits for what is out, stops the engine if it is up, gives the memory back or keeps it, and
 * only then uncharges.
 */
#include <assert.h>
#include <string.h>

#include "core/state.h"

/* XX: no caller can produce this pair. */
/* clang-format off */
enum { XX = 0xff, COLD = ST_COLD, QUEUED = ST_QUEUED, RESERVNG = ST_RESERVING, LOADING = ST_LOADING, READY = ST_READY,
       BUSY = ST_BUSY, STOPPING = ST_STOPPING, WEDGED = ST_WEDGED };

static const uint8_t next_state[ST_COUNT][EV_COUNT] = {
    /*                WANTED  ADMITTED  REFUSED  PLACED   READY  LEASED   UNUSED    STOP      HUNG    HEALED    GONE */
    [ST_COLD]      = { QUEUED, XX,       XX,      XX,      XX,    XX,      XX,       XX,       XX,     XX,       XX },
    [ST_QUEUED]    = { XX,     RESERVNG, XX,      XX,      XX,    XX,      XX,       XX,       XX,     XX,       COLD },
    [ST_RESERVING] = { XX,     XX,       QUEUED,  LOADING, XX,    XX,      XX,       STOPPING, XX,     XX,       XX },
    [ST_LOADING]   = { XX,     XX,       XX,      XX,      READY, LOADING, LOADING,  STOPPING, WEDGED, XX,       XX },
    [ST_READY]     = { XX,     XX,       XX,      XX,      XX,    BUSY,    XX,       STOPPING, XX,     XX,       XX },
    [ST_BUSY]      = { XX,     XX,       XX,      XX,      XX,    BUSY,    READY,    STOPPING, WEDGED, XX,       XX },
    [ST_STOPPING]  = { XX,     XX,       XX,      XX,      XX,    XX,      STOPPING, STOPPING, WEDGED, XX,       COLD },
    [ST_WEDGED]    = { XX,     XX,       XX,      XX,      XX,    XX,      WEDGED,   WEDGED,   WEDGED, STOPPING, XX },
};
/* clang-format on */

void sgi__instance_move(struct instance *i, enum instance_event event)
{
    uint8_t next = next_state[i->state][event];
    assert(next != XX);
    i->state = next;
    if (i->model->coming == i && (next < ST_QUEUED || next > ST_LOADING))
        i->model->coming = NULL;
}

bool sgi__instance_unused(const struct instance *i)
{
    return i->leases == 0 && i->calls == 0;
}

bool sgi__instance_serves(const struct instance *i)
{
    return (i->state == ST_READY || i->state == ST_BUSY) && !i->lost;
}

bool sgi__model_serves(const struct model *m)
{
    for (const struct instance *i = m->instances; i; i = i->model_next)
        if (sgi__instance_serves(i))
            return true;
    return false;
}

bool sgi__instance_pinned(const struct instance *i)
{
    if (i->model->pinned_tier != SGI_TIER_DEVICE || i->state == ST_STOPPING)
        return false;
    for (const struct instance *other = i->model->instances; other; other = other->model_next)
        if (other != i && sgi__instance_serves(other))
            return false;
    return true;
}

bool sgi__instance_filled(const struct instance *i)
{
    return i->loaded && i->prefixed;
}

uint64_t sgi__image_on(const struct model *m, const struct device *d)
{
    return d->unified ? m->config.image_bytes : m->config.device_bytes;
}

uint64_t sgi__image_of(const struct instance *i, const struct device *d)
{
    return i->to_dram ? sgi__residence_bytes(i->model, i->packs) : sgi__image_on(i->model, d);
}

uint64_t sgi__instance_need(const struct instance *i, const struct device *d)
{
    return sgi__image_of(i, d) + (i->to_dram ? 0 : i->model->engine_bytes);
}

/* ---- what it holds ---- */

static void charge(struct sgi__core *core, struct instance *i, int32_t device)
{
    struct device *d = sgi__core_device(core, device);

    i->device = device;
    i->charged = sgi__instance_need(i, d);
    i->charged_engine = i->to_dram ? 0 : i->model->engine_bytes;
    d->used += i->charged;
    d->used_engine += i->charged_engine;
    if (device == SGI__DRAM)
        return;
    i->device_prev = NULL;
    i->device_next = d->instances;
    if (d->instances)
        d->instances->device_prev = i;
    d->instances = i;
    d->instances_count++;
}

static void uncharge(struct sgi__core *core, struct instance *i)
{
    struct device *d = sgi__core_device(core, i->device);

    sgi__shares_end(core, i);
    assert(d->used >= i->charged && d->used_engine >= i->charged_engine);
    d->used -= i->charged;
    d->used_engine -= i->charged_engine;
    i->charged = i->charged_engine = 0;
}

static void leave_device(struct sgi__core *core, uint64_t now, struct instance *i)
{
    uncharge(core, i);
    if (i->device == SGI__DRAM)
        return;
    struct device *d = &core->devices[i->device];
    *(i->device_prev ? &i->device_prev->device_next : &d->instances) = i->device_next;
    if (i->device_next)
        i->device_next->device_prev = i->device_prev;
    i->device_prev = i->device_next = NULL;
    d->instances_count--;
    sgi__context_rest(core, now, d);
}

static void load_slot_give(struct sgi__core *core, struct instance *i)
{
    if (!i->counts_load)
        return;
    i->counts_load = false;
    core->loads--;
    core->dirty = true; /* somebody may wait for a loader only */
}

static void timers_unset(struct instance *i)
{
    sgi__timer_unset(&i->idle);
    sgi__timer_unset(&i->hang);
    sgi__timer_unset(&i->starve);
}

/* ---- its engine's callbacks ---- */

static bool is_hung(const struct instance *i, uint64_t now, int callback)
{
    return i->hung_at[callback] && i->hung_at[callback] <= now;
}

static void watch_first(struct sgi__core *core, struct instance *i)
{
    uint64_t first = SGI__NEVER;
    for (int n = 0; n < CB_COUNT; n++)
        if (i->hung_at[n] && i->hung_at[n] < first)
            first = i->hung_at[n];
    sgi__timer_set(core, &i->hang, first);
}

void sgi__instance_watch(struct sgi__core *core, uint64_t since, struct instance *i, enum callback callback)
{
    uint64_t hang = i->model->config.hang_ns;
    if (hang >= SGI__NEVER - since)
        return;
    i->hung_at[callback] = since + hang;
    watch_first(core, i);
}

void sgi__instance_unwatch(struct sgi__core *core, struct instance *i, enum callback callback)
{
    i->hung_at[callback] = 0;
    watch_first(core, i);
}

/* While its weights or its context are on their way a start may wait for them as long as that takes. */
void sgi__instance_watch_start(struct sgi__core *core, uint64_t now, struct instance *i)
{
    if (i->op_start && !i->op_load && !i->op_prefix && !sgi__context_awaited(core, i) && !i->hung_at[CB_START])
        sgi__instance_watch(core, now, i, CB_START);
}

static void gone(struct sgi__core *core, uint64_t now, struct instance *i)
{
    struct model *m = i->model;

    assert(i->leases == 0 && i->calls == 0 && i->charged == 0);
    assert(i->op_reserve == 0 && i->op_load == 0 && i->op_prefix == 0);
    assert(i->op_start == 0 && i->op_stop == 0 && i->op_end == 0);
    load_slot_give(core, i);
    sgi__instance_move(i, EV_GONE);
    *(i->model_prev ? &i->model_prev->model_next : &m->instances) = i->model_next;
    if (i->model_next)
        i->model_next->model_prev = i->model_prev;
    m->instances_count--;
    for (uint32_t n = 0; n < core->config.devices_count; n++)
        if (core->devices[n].kept_for == i)
            core->devices[n].kept_for = NULL;
    sgi__timer_remove(core, &i->idle);
    sgi__timer_remove(core, &i->hang);
    sgi__timer_remove(core, &i->starve);
    sgi__slots_give(&core->instances, i);
    core->dirty = true;
    sgi__model_advance(core, now, m);
}

/* ---- up ---- */

static void model_watch(struct sgi__core *core, uint64_t now, struct model *m)
{
    if (m->config.hang_ns < SGI__NEVER - now)
        sgi__timer_set(core, &m->hang, now + m->config.hang_ns);
}

void sgi__model_unwatch(uint64_t now, struct model *m)
{
    if (m->hung_step) /* nothing is left to back off from */
        m->failed_until = now;
    m->hung_step = 0;
    sgi__timer_unset(&m->hang);
}

void sgi__prepare(struct sgi__core *core, uint64_t now, struct model *m)
{
    if (!m->config.has_prepare || m->prepared || m->op_prepare || m->op_discard)
        return;
    m->op_prepare = sgi__core_act(core, SGI__ACT_PREPARE, m, NULL);
    model_watch(core, now, m);
}

/* QUEUED: the scheduler admits it once its source has been checked and there is room. */
void sgi__instance_start(struct sgi__core *core, uint64_t now, struct model *m, bool to_dram)
{
    struct instance *i = sgi__slots_take(&core->instances, core, ID_INSTANCE);

    assert(!m->coming && m->instances_count < m->config.instances_max);
    sgi__value_use(m, now);
    i->model = m;
    i->to_dram = to_dram;
    i->keep = true;
    i->rest_ns = SGI__IDLE_OF_MODEL;
    i->priority_early = INT32_MIN;
    sgi__timer_init(&i->idle, TIMER_IDLE, i);
    sgi__timer_init(&i->hang, TIMER_HANG, i);
    sgi__timer_init(&i->starve, TIMER_STARVE, i);
    i->model_next = m->instances;
    if (m->instances)
        m->instances->model_prev = i;
    m->instances = m->coming = i;
    m->instances_count++;
    sgi__instance_move(i, EV_WANTED);

    if (!to_dram && m->residence == RES_KEPT) {
        i->tier = SGI_TIER_DRAM;
        i->source_ok = true; /* what was verified once and is ours does not depend on the files any more */
        sgi__prepare(core, now, m);
    } else {
        i->tier = SGI_TIER_DISK;
        sgi__instance_check(core, i);
    }
}

/* Is its source what it was? And what has it in common with what is in DRAM now? */
void sgi__instance_check(struct sgi__core *core, struct instance *i)
{
    struct model *m = i->model;

    i->source_ok = false;
    if (m->op_check)
        return;
    m->op_check = sgi__core_act(core, SGI__ACT_CHECK_SOURCE, m, i);
    m->check_as_of = sgi__packed_as_of(core);
    m->check_come = core->packed_come;
}

void sgi__instance_admit(struct sgi__core *core, uint64_t now, struct instance *i, int32_t device)
{
    struct model *m = i->model;

    core->admitted++;
    i->blocked = false;
    i->admitted_at = now;
    sgi__timer_unset(&i->starve);
    if (i->tier == SGI_TIER_DRAM && sgi__residence_moves(m, sgi__core_device(core, device))) {
        sgi__residence_lend(core, m);
    } else if (i->tier == SGI_TIER_DRAM) {
        sgi__read_begin(core, i);
    } else {
        core->loads++;
        i->counts_load = true;
    }
    charge(core, i, device);
    sgi__instance_move(i, EV_ADMITTED);
    if (device != SGI__DRAM)
        sgi__context_need(core, now, &core->devices[device]);
    i->op_reserve = sgi__core_act(core, SGI__ACT_RESERVE, m, i);
    sgi__copy_expect(core, i);
}

/* A pin to the device holds the last of its model that serves. Now that another one does, whom it held begins its idle
 * time. */
static void rest_unpinned(struct sgi__core *core, uint64_t now, struct model *m)
{
    for (struct instance *i = m->instances; i; i = i->model_next)
        if (i->state == ST_READY && i->idle.due == SGI__NEVER && i->idle_ns != SGI__NEVER && !sgi__instance_pinned(i))
            sgi__instance_rest(core, now, i, i->idle_ns);
}

static void ready(struct sgi__core *core, uint64_t now, struct instance *i)
{
    struct model *m = i->model;

    sgi__instance_move(i, EV_READY);
    i->ready_seq = core->seq;
    i->last_used = now;
    if (!i->to_dram || m->start_ns[i->tier] == 0) /* a fill says how long reading takes at least */
        m->start_ns[i->tier] = now - i->admitted_at;
    core->load_rate[i->tier] = m->config.image_bytes / ((now - i->admitted_at) / 1000000 + 1);
    sgi__residence_revalue(core, now, m); /* now that it is known what a start takes */
    m->failures = 0;
    m->failed_until = 0;
    m->last_error = SGI_OK;
    m->loads_total++;
    core->dirty = true;
    sgi__note_ready(core, i);
    if (i->to_dram) {
        sgi__instance_stop(core, now, i, true);
        return;
    }
    if (!sgi__instance_unused(i))
        sgi__instance_move(i, EV_LEASED);
    else if (m->draining)
        sgi__instance_stop(core, now, i, false);
    else
        sgi__instance_rest(core, now, i, i->rest_ns); /* wants that wait take it from here before any timer */
    if (m->pinned_tier == SGI_TIER_DEVICE)
        rest_unpinned(core, now, m);
}

static bool has_context(const struct sgi__core *core, const struct instance *i)
{
    return i->device == SGI__DRAM || core->devices[i->device].context == CTX_OPEN;
}

/* On a device with memory of its own a load begins while the context is on its way: it reads until it comes to need
 * that, and waits for it by itself. */
static bool may_load(struct sgi__core *core, struct instance *i)
{
    bool placed = has_context(core, i) || !core->devices[i->device].unified;
    return i->memory_ready && placed && sgi__copy_begin(core, i);
}

/* What is kept of it as an image has its engine's part already, what is packed has not, and needs none. */
static bool has_prefix_to_fill(const struct instance *i)
{
    if (!i->model->config.has_prefix || (i->to_dram && i->packs))
        return false;
    return i->tier == SGI_TIER_DISK || i->model->residence_packed;
}

static void advance_up(struct sgi__core *core, uint64_t now, struct instance *i)
{
    struct model *m = i->model;

    if (i->state == ST_RESERVING && may_load(core, i)) {
        sgi__instance_move(i, EV_PLACED);
        i->priority = sgi__urgency(i);
        i->op_load = sgi__core_act(core, SGI__ACT_START_LOAD, m, i);
        if (has_prefix_to_fill(i)) {
            i->op_prefix = sgi__core_act(core, SGI__ACT_FILL_PREFIX, m, i);
            sgi__instance_watch(core, now, i, CB_PREFIX);
        } else {
            i->prefixed = true;
        }
        core->dirty = true; /* early wants can be granted */
    }
    if (i->state != ST_LOADING)
        return;
    bool engine = m->config.has_engine && !i->to_dram;
    if (engine && !i->start_sent && (m->prepared || !m->config.has_prepare)) {
        i->start_sent = true;
        i->op_start = sgi__core_act(core, SGI__ACT_START_ENGINE, m, i);
        sgi__instance_watch_start(core, now, i);
    }
    /* The context may be said to be open a moment after the load that waited for it has ended. */
    if (sgi__instance_filled(i) && (!engine || i->engine_up) && has_context(core, i))
        ready(core, now, i);
}

/* ---- down ---- */

const struct instance *sgi__model_filling(const struct model *m)
{
    const struct instance *i = m->instances;
    while (i && (i->device != SGI__DRAM || i->charged == 0) && !i->fills)
        i = i->model_next;
    return i;
}

/* Its image will not be the residence again, so the model may come by another one. */
void sgi__instance_loan_ends(struct sgi__core *core, struct instance *i)
{
    if (!i->borrows)
        return;
    i->borrows = false;
    sgi__residence_clear(core, i->model);
}

bool sgi__instance_keeps(const struct sgi__core *core, const struct instance *i)
{
    const struct model *m = i->model;
    bool                none = m->residence == RES_NONE || m->residence == RES_DROPPING || i->borrows;

    if (i->device == SGI__DRAM ? !none : !none || sgi__model_filling(m)) /* one copy is enough */
        return false;
    if (i->device != SGI__DRAM && sgi__residence_only_packed(m))
        return false;
    bool stays = i->device == SGI__DRAM ||
                 (core->devices[i->device].unified && m->config.image_bytes <= core->dram.bytes_max);
    return stays && i->keep && sgi__instance_filled(i) && !i->lost && !m->draining && !m->evict_dram;
}

/* Give the image back to the host's memory tier if it may stay, else free it. False: wait for room. */
static bool end_memory(struct sgi__core *core, uint64_t now, struct instance *i)
{
    struct model *m = i->model;
    bool          keep = sgi__instance_keeps(core, i);
    enum room     room = ROOM_NOW;

    if (keep && m->residence == RES_DROPPING)
        room = ROOM_SOON; /* it has one residence at a time: the one from before goes first */
    else if (keep && i->device != SGI__DRAM)
        room = sgi__residence_room(core, m, false);
    sgi__residence_wait(core, i, keep && room == ROOM_SOON);
    if (keep && room == ROOM_SOON)
        return false;

    if (!keep || room == ROOM_NONE) {
        sgi__instance_loan_ends(core, i);
        sgi__residence_used(core, now, m, i->last_used); /* if it has been beside it */
        i->op_end = sgi__core_act(core, SGI__ACT_FREE, m, i);
        return true;
    }
    /* It is the same memory before and after, so its charge moves now; the engine's part stays until it is freed. */
    struct device *d = sgi__core_device(core, i->device);
    d->used -= sgi__image_of(i, d);
    i->charged -= sgi__image_of(i, d);
    i->keeping = true;
    i->borrows = false;
    sgi__residence_keep(core, i);
    i->op_end = sgi__core_act(core, SGI__ACT_KEEP, m, i);
    core->dirty = true; /* there is room on the device already */
    return true;
}

/* What is out still reports; it is asked to do so soon. */
static void cancel(struct sgi__core *core, struct instance *i)
{
    if (i->cancel_sent || (!i->op_load && !i->op_prefix && !i->op_start))
        return;
    i->cancel_sent = true;
    sgi__core_act(core, SGI__ACT_CANCEL_LOAD, i->model, i);
}

static void advance_down(struct sgi__core *core, uint64_t now, struct instance *i)
{
    cancel(core, i);
    if (!sgi__instance_unused(i) || i->op_reserve || i->op_load || i->op_prefix || i->op_start || i->op_stop ||
        i->op_end)
        return;
    sgi__read_end(core, i); /* it had not begun to */
    if (i->engine_up) {
        i->op_stop = sgi__core_act(core, SGI__ACT_STOP_ENGINE, i->model, i);
        sgi__instance_watch(core, now, i, CB_STOP);
        return;
    }
    if (i->memory_ready) {
        end_memory(core, now, i);
        return;
    }
    sgi__note_released(core, now, i, 0);
    leave_device(core, now, i);
    gone(core, now, i);
}

void sgi__instance_advance(struct sgi__core *core, uint64_t now, struct instance *i)
{
    if (i->state == ST_RESERVING || i->state == ST_LOADING)
        advance_up(core, now, i);
    else if (i->state == ST_STOPPING)
        advance_down(core, now, i);
}

void sgi__instance_stop(struct sgi__core *core, uint64_t now, struct instance *i, bool keep)
{
    sgi__note_stops(core, now, i);
    sgi__timer_unset(&i->idle);
    i->keep = i->keep && keep;
    if (!i->keep)
        sgi__instance_loan_ends(core, i);
    i->closing = true;
    sgi__instance_move(i, EV_STOP);
    sgi__load_urgency(core, i);
    core->dirty = true;
    sgi__instance_advance(core, now, i);
}

/* Counts against the model, and tells everybody who waits for it why; unless another instance serves them. */
void sgi__model_failed(struct sgi__core *core, uint64_t now, struct model *m, sgi_status status, uint32_t step)
{
    const struct sgi__core_config *c = &core->config;

    m->failed = m->last_error = status;
    m->failed_step = step;
    m->failures_total++;
    if (m->failures > 0 && m->failed_until > 0 && now >= m->failed_until &&
        now - m->failed_until >= c->failure_expiry_ns)
        m->failures = 0;
    m->failures++;
    m->failed_until = now;
    if (m->failures > 1) { /* the first failure may be a passing one: the next request tries at once */
        uint64_t wait = c->backoff_ns;
        for (uint32_t n = 2; n < m->failures && wait < c->backoff_max_ns; n++)
            wait *= 2;
        m->failed_until = now + (wait < c->backoff_max_ns ? wait : c->backoff_max_ns);
    }
    sgi__note_failed(core, m, status, step, m->failed_until - now);
    if (!sgi__model_serves(m))
        sgi__wants_reject(core, m, status, step, m->failed_until - now);
}

void sgi__instance_fail(struct sgi__core *core, uint64_t now, struct instance *i, sgi_status status, uint32_t step)
{
    if (i->state == ST_STOPPING || i->state == ST_WEDGED)
        return; /* the first cause is the one that is told */
    i->failed = status;
    i->failed_step = step;
    sgi__model_failed(core, now, i->model, status, step);
    if (i->state == ST_QUEUED) {
        gone(core, now, i);
        return;
    }
    sgi__instance_stop(core, now, i, true); /* keeps only what was loaded and verified */
}

/* Nobody wants it any more. Who canceled meant it; who ran out of time will likely ask again, so that load goes on. */
void sgi__instance_abandon(struct sgi__core *core, uint64_t now, struct model *m, bool canceled)
{
    struct instance *i = m->coming;

    if (m->wants > 0 || !i)
        return;
    if (i->state == ST_QUEUED)
        gone(core, now, i);
    else if (canceled && i->leases == 0)
        sgi__instance_stop(core, now, i, true);
}

void sgi__instance_rest(struct sgi__core *core, uint64_t now, struct instance *i, uint64_t idle_ns)
{
    assert(i->state == ST_READY);
    i->last_used = now;
    if (idle_ns == SGI__IDLE_OF_MODEL)
        idle_ns = i->model->config.idle_ns;
    i->idle_ns = idle_ns;
    bool stays = sgi__instance_pinned(i) || idle_ns >= SGI__NEVER - now;
    if (core->watched && i->model->wants == 0) /* else it is granted right away */
        sgi__note_idle(core, i, stays ? SGI__NEVER : idle_ns);
    if (stays)
        sgi__timer_unset(&i->idle);
    else
        sgi__timer_set(core, &i->idle, now + idle_ns);
}

/* ---- what places report ---- */

static void reserved(struct sgi__core *core, uint64_t now, struct instance *i, const struct sgi__core_event *event)
{
    struct model *m = i->model;

    i->op_reserve = 0;
    if (i->tier == SGI_TIER_DRAM && !i->reads) {
        sgi__residence_lent(core, now, m, event->status == SGI_OK);
        i->borrows = event->status == SGI_OK;
        if (!i->keep || i->lost)
            sgi__instance_loan_ends(core, i);
    }
    if (event->status == SGI_OK) {
        i->memory_ready = true;
        return;
    }
    if (i->state != ST_RESERVING)
        return;
    /* The books said there was room. Give back something idle and try once more, then believe it. */
    if (i->device != SGI__DRAM && !i->retried && m->wants > 0 && event->status == SGI_E_DEVICE_MEMORY &&
        sgi__evict_one(core, now, &core->devices[i->device])) {
        sgi__read_end(core, i);
        leave_device(core, now, i);
        load_slot_give(core, i);
        i->retried = true;
        sgi__instance_move(i, EV_REFUSED);
        core->dirty = true;
        return;
    }
    sgi__instance_fail(core, now, i, event->status, SGI_STEP_MEMORY);
}

static void ended(struct sgi__core *core, uint64_t now, struct instance *i, const struct sgi__core_event *event)
{
    struct model *m = i->model;

    i->op_end = 0;
    i->memory_ready = false;
    sgi__shares_end(core, i);
    if (i->keeping) {
        bool kept = event->kind == SGI__EV_KEPT && event->status == SGI_OK;
        if (kept)
            sgi__residence_kept(core, now, m, event->shared_bytes);
        else
            sgi__residence_clear(core, m);
        if (!kept && i->to_dram) { /* that was all it was for */
            sgi__model_failed(core, now, m, event->status ? event->status : SGI_E_NO_MEMORY, SGI_STEP_MEMORY);
            sgi__instance_abandon(core, now, m, false); /* another one may be queued for those who were told */
        }
    }
    sgi__note_released(core, now, i, event->kind == SGI__EV_FREED ? event->bytes : 0);
    leave_device(core, now, i);
    gone(core, now, i);
}

void sgi__instance_event(struct sgi__core *core, uint64_t now, struct instance *i, const struct sgi__core_event *event)
{
    struct model *m = i->model;

    switch (event->kind) {
    case SGI__EV_RESERVED:
        reserved(core, now, i, event);
        break;
    case SGI__EV_LOADED:
        i->op_load = 0;
        sgi__load_urgency(core, i);
        load_slot_give(core, i);
        sgi__instance_watch_start(core, now, i);
        /* What is kept is not what it should be: the files may be. Once this has failed nobody waits for it. */
        if (i->reads && event->status == SGI_E_CHECK && i->state == ST_LOADING && !sgi__model_serves(m))
            m->evict_dram = m->residence_spoiled = true;
        sgi__read_end(core, i);
        sgi__copy_left(core, i, event->status == SGI_OK ? event->bytes : 0, event->shared_bytes);
        if (event->status == SGI_OK)
            i->loaded = true;
        else
            sgi__instance_fail(core, now, i, event->status, event->step);
        break;
    case SGI__EV_PREFIX_FILLED:
        i->op_prefix = 0;
        sgi__instance_unwatch(core, i, CB_PREFIX);
        sgi__instance_watch_start(core, now, i);
        if (event->status == SGI_OK)
            i->prefixed = true;
        else
            sgi__instance_fail(core, now, i, event->status, event->step);
        break;
    case SGI__EV_ENGINE_STARTED:
        i->op_start = 0;
        sgi__instance_unwatch(core, i, CB_START);
        if (event->status == SGI_OK)
            i->engine_up = true;
        else
            sgi__instance_fail(core, now, i, event->status, event->step);
        break;
    case SGI__EV_ENGINE_STOPPED:
        i->op_stop = 0;
        i->engine_up = false;
        sgi__instance_unwatch(core, i, CB_STOP);
        break;
    case SGI__EV_FREED:
    case SGI__EV_KEPT:
        ended(core, now, i, event);
        return;
    default:
        assert(0);
    }
    sgi__copy_settle(core, now, i);
    sgi__instance_heal(core, now, i);
    sgi__instance_advance(core, now, i);
    sgi__model_advance(core, now, m); /* its residence may be dropped now */
}

/* ---- callbacks that do not come back, and places that go ---- */

void sgi__instance_hung(struct sgi__core *core, uint64_t now, struct instance *i)
{
    static const uint8_t steps[CB_COUNT] = { SGI_STEP_PREFIX, SGI_STEP_START, SGI_STEP_STOP, SGI_STEP_CALL };
    uint32_t             step = SGI_STEP_NONE;

    for (int n = 0; n < CB_COUNT && step == SGI_STEP_NONE; n++)
        if (is_hung(i, now, n))
            step = steps[n];

    i->closing = true;
    i->keep = false; /* whatever hangs may still write to it */
    sgi__instance_loan_ends(core, i);
    sgi__timer_unset(&i->idle);
    sgi__instance_move(i, EV_HUNG);
    sgi__load_urgency(core, i); /* nobody waits for it any more */
    i->failed = SGI_E_WEDGED;
    i->failed_step = step;
    sgi__note_stops(core, now, i);
    i->model->last_error = SGI_E_WEDGED;
    i->model->failures_total++;
    if (!sgi__model_serves(i->model) && !i->model->coming) /* they wait for another one else */
        sgi__wants_reject(core, i->model, SGI_E_WEDGED, step, 0);
    sgi__core_reply(core, &(struct sgi__core_reply){
                              .kind = SGI__REPLY_WEDGED, .step = step, .model = i->model->id, .instance = i->id });
    cancel(core, i);
    core->dirty = true;
}

void sgi__instance_heal(struct sgi__core *core, uint64_t now, struct instance *i)
{
    if (i->state != ST_WEDGED)
        return;
    for (int n = 0; n < CB_COUNT; n++)
        if (is_hung(i, now, n))
            return;
    watch_first(core, i); /* what else is out may hang too */
    sgi__instance_move(i, EV_HEALED);
    core->dirty = true;
    sgi__instance_advance(core, now, i);
}

void sgi__instance_died(struct sgi__core *core, uint64_t now, struct instance *i)
{
    if (i->state == ST_QUEUED) {
        gone(core, now, i);
        return;
    }
    i->lost = i->closing = true;
    i->failed = SGI_E_DEVICE_LOST;
    i->failed_step = SGI_STEP_CONTEXT;
    sgi__note_stops(core, now, i);
    i->op_reserve = i->op_load = i->op_prefix = i->op_start = i->op_stop = i->op_end = 0;
    i->memory_ready = i->loaded = i->prefixed = i->engine_up = i->borrows = i->fills = false;
    sgi__read_end(core, i);
    sgi__load_urgency(core, i);
    core->calls -= i->calls;
    i->calls = i->calls_ending = i->calls_detached = 0;
    sgi__residence_wait(core, i, false);
    uncharge(core, i); /* its memory went with the place, whoever still holds a lease */
    load_slot_give(core, i);
    timers_unset(i);
    memset(i->hung_at, 0, sizeof i->hung_at);
    if (i->state == ST_WEDGED)
        sgi__instance_move(i, EV_HEALED);
    else
        sgi__instance_move(i, EV_STOP);
    sgi__instance_advance(core, now, i);
}

/* ---- the model around it ---- */

void sgi__model_advance(struct sgi__core *core, uint64_t now, struct model *m)
{
    bool cold = !m->instances;

    if (m->residence == RES_KEPT && (m->draining || (m->evict_dram && m->wants == 0)) && sgi__residence_may_go(core, m))
        sgi__residence_drop(core, m,
                            m->draining            ? SGI_CAUSE_DRAIN
                            : m->residence_spoiled ? SGI_CAUSE_FAILED
                                                   : SGI_CAUSE_EVICT);
    if (cold && m->residence == RES_NONE) /* until then what still stops must not be kept */
        m->evict_dram = false;
    if (cold && m->prepared && !m->op_discard && (m->draining || (m->discard_wanted && m->wants == 0))) {
        m->discard_wanted = false;
        m->prepared = false;
        m->op_discard = sgi__core_act(core, SGI__ACT_DISCARD, m, NULL);
        model_watch(core, now, m);
    }
    if (!m->draining || m->drained_said || !cold || m->residence != RES_NONE || m->prepared || m->op_prepare ||
        m->op_discard || m->op_check)
        return;
    m->drained_said = true;
    sgi__core_reply(core, &(struct sgi__core_reply){ .kind = SGI__REPLY_DRAINED, .model = m->id });
    core->dirty = true;
}
