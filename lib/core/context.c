/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Device contexts: opened when the first instance is admitted, beside its memory and, on a device with memory of its
 * own, its load; closed a while after the last one has gone. And the ways a device leaves us: lost alone, or with the
 * whole place.
 */
#include <assert.h>

#include "core/state.h"

void sgi__context_need(struct sgi__core *core, uint64_t now, struct device *d)
{
    (void)now;
    sgi__timer_unset(&d->linger);
    if (d->context == CTX_CLOSED && !d->lost) {
        d->context = CTX_OPENING;
        sgi__core_act_context(core, SGI__ACT_OPEN_CONTEXT, d);
    }
}

static void close_context(struct sgi__core *core, struct device *d)
{
    sgi__timer_unset(&d->linger);
    d->context = CTX_CLOSING;
    sgi__core_act_context(core, SGI__ACT_CLOSE_CONTEXT, d);
}

void sgi__context_rest(struct sgi__core *core, uint64_t now, struct device *d)
{
    if (d->context != CTX_OPEN || d->instances_count > 0)
        return;
    if (core->draining || core->config.linger_ns == 0)
        close_context(core, d);
    else if (core->config.linger_ns != SGI__NEVER)
        sgi__timer_set(core, &d->linger, now + core->config.linger_ns);
}

void sgi__context_lingered(struct sgi__core *core, struct device *d)
{
    if (d->context == CTX_OPEN && d->instances_count == 0)
        close_context(core, d);
}

bool sgi__context_awaited(const struct sgi__core *core, const struct instance *i)
{
    const struct device *d = i->device == SGI__DRAM ? NULL : &core->devices[i->device];
    return d && !d->unified && !i->lost && (d->context == CTX_OPENING || d->context == CTX_CLOSING);
}

/* Calls `each` for every instance on a device; `each` may take it off the list. */
static void each_instance(struct sgi__core *core, uint64_t now, struct device *d,
                          void (*each)(struct sgi__core *, uint64_t, struct instance *))
{
    for (struct instance *i = d->instances, *next; i; i = next) {
        next = i->device_next;
        each(core, now, i);
    }
}

/* It needs the context, whether it has come to that or not. */
static bool comes_up(const struct instance *i)
{
    return i->state == ST_RESERVING || i->state == ST_LOADING;
}

static void opened(struct sgi__core *core, uint64_t now, struct instance *i)
{
    sgi__instance_watch_start(core, now, i);
    sgi__instance_advance(core, now, i);
}

static void lose_instance(struct sgi__core *core, uint64_t now, struct instance *i)
{
    i->lost = true;
    i->closing = true;
    sgi__instance_watch_start(core, now, i);
    sgi__instance_loan_ends(core, i);
    if (comes_up(i))
        sgi__instance_fail(core, now, i, SGI_E_DEVICE_LOST, SGI_STEP_CONTEXT);
    else if (i->state == ST_READY)
        sgi__instance_stop(core, now, i, false);
    /* BUSY: its leases are good for release only, then it stops. STOPPING and WEDGED go on. */
}

static void not_opened(struct sgi__core *core, uint64_t now, struct device *d, sgi_status status)
{
    for (struct instance *i = d->instances, *next; i; i = next) {
        next = i->device_next;
        sgi__instance_watch_start(core, now, i);
        if (comes_up(i))
            sgi__instance_fail(core, now, i, status, SGI_STEP_CONTEXT);
    }
}

static void lost(struct sgi__core *core, uint64_t now, struct device *d)
{
    d->lost = true;
    d->context = CTX_CLOSED; /* there is nothing left to close */
    d->op_context = 0;
    sgi__timer_unset(&d->linger);
    core->looks_due &= ~(1u << (d - core->devices));
    each_instance(core, now, d, lose_instance);
    core->dirty = true;
}

static void back(struct sgi__core *core, uint64_t now, struct device *d)
{
    d->lost = false;
    core->dirty = true;
    if (d->instances_count > 0) /* some still end; their context is not the new one, and none needs it */
        return;
    sgi__context_rest(core, now, d);
}

void sgi__context_event(struct sgi__core *core, uint64_t now, const struct sgi__core_event *event)
{
    struct device *d = &core->devices[event->device];

    switch (event->kind) {
    case SGI__EV_CONTEXT_OPENED:
        d->op_context = 0;
        d->context = event->status == SGI_OK ? CTX_OPEN : CTX_CLOSED;
        if (event->status == SGI_OK)
            d->residue = 0;
        if (event->status == SGI_OK)
            each_instance(core, now, d, opened);
        else
            not_opened(core, now, d, event->status);
        sgi__context_rest(core, now, d); /* whoever wanted it may have left meanwhile */
        break;
    case SGI__EV_CONTEXT_CLOSED:
        d->op_context = 0;
        d->context = CTX_CLOSED;
        d->residue = event->bytes;
        if (d->instances_count > 0) /* somebody came while it closed */
            sgi__context_need(core, now, d);
        break;
    case SGI__EV_CONTEXT_LOST:
        if (!d->lost)
            lost(core, now, d);
        break;
    case SGI__EV_CONTEXT_BACK:
        if (d->lost)
            back(core, now, d);
        break;
    default:
        assert(0);
    }
    core->dirty = true;
}

void sgi__place_died(struct sgi__core *core, uint64_t now)
{
    core->dram.lost = true;
    core->dram.used += (uint64_t)core->dram_shared; /* as if each had had its own */
    core->dram_shared = 0;
    core->sharing = 0;
    core->drop_waits = false;
    core->dram_lending = 0;
    core->looks_due = 0;
    for (uint32_t n = 0; n < core->config.devices_count; n++) {
        struct device *d = &core->devices[n];
        d->lost = true;
        d->context = CTX_CLOSED;
        d->op_context = 0;
        d->residue = 0;
        sgi__timer_unset(&d->linger);
    }
    for (uint32_t n = 0; n < core->models.count; n++) {
        struct model *m = core->models.items[n];
        if (!m->id)
            continue;
        sgi__residence_clear(core, m);
        m->op_check = 0;
        m->op_prepare = m->op_discard = 0;
        core->prepared_bytes -= m->prepared_bytes;
        m->prepared = false;
        m->prepared_bytes = 0;
        sgi__model_unwatch(now, m);
        for (struct instance *i = m->instances, *next; i; i = next) {
            next = i->model_next;
            i->shares = 0;
            sgi__instance_died(core, now, i);
        }
        sgi__wants_reject(core, m, SGI_E_DEVICE_LOST, SGI_STEP_CONTEXT, 0);
        sgi__model_advance(core, now, m);
    }
    core->dirty = true;
}
