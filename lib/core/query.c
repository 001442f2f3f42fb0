/* SPDX-License-Identifier: Apache-2.0 */
/* Looking at the core without changing it, and the check of everything that must hold. */
#include <assert.h>

#include "core/state.h"

sgi_status sgi__core_lease_view(const struct sgi__core *core, sgi_lease lease, struct sgi__core_lease_view *view_out)
{
    const struct lease *l = sgi__slots_get(&core->leases, lease, ID_LEASE);
    if (!l)
        return SGI_E_STALE;
    const struct instance *i = l->instance;
    bool                   ends = i->state == ST_STOPPING || i->state == ST_WEDGED;
    bool                   bad = i->lost || (ends && (i->failed != SGI_OK ||
                                    !sgi__instance_filled(i))); /* a load that was given up never comes to its end */
    *view_out = (struct sgi__core_lease_view){
        .model = i->model->id,
        .instance = i->id,
        .device = i->device,
        .requested_at = l->requested_at,
        .granted_at = l->granted_at,
        .tier = l->tier,
        .joined = l->joined,
        .loading = i->state == ST_LOADING,
        .lost = bad,
        .lost_status = i->lost     ? SGI_E_DEVICE_LOST
                       : !bad      ? SGI_OK
                       : i->failed ? i->failed
                                   : SGI_E_CANCELED,
        .call_open = l->call_open,
        .overdue = l->is_overdue,
    };
    return SGI_OK;
}

static uint32_t public_state(const struct instance *i)
{
    static const uint8_t state[ST_COUNT] = {
        [ST_COLD] = SGI_MODEL_COLD,         [ST_QUEUED] = SGI_MODEL_QUEUED, [ST_RESERVING] = SGI_MODEL_LOADING,
        [ST_LOADING] = SGI_MODEL_LOADING,   [ST_READY] = SGI_MODEL_READY,   [ST_BUSY] = SGI_MODEL_BUSY,
        [ST_STOPPING] = SGI_MODEL_STOPPING, [ST_WEDGED] = SGI_MODEL_WEDGED,
    };
    return state[i->state];
}

static bool on_device(const struct instance *i)
{
    return i->state != ST_QUEUED && i->device != SGI__DRAM;
}

/* Of several instances the one that a user would call the model's state. NULL: it is cold. */
static const struct instance *furthest(const struct model *m)
{
    static const uint8_t rank[ST_COUNT] = {
        [ST_BUSY] = 7,   [ST_READY] = 6,  [ST_LOADING] = 5,  [ST_RESERVING] = 4,
        [ST_QUEUED] = 3, [ST_WEDGED] = 2, [ST_STOPPING] = 1,
    };
    const struct instance *best = NULL;
    for (const struct instance *i = m->instances; i; i = i->model_next)
        if (!best || rank[i->state] > rank[best->state])
            best = i;
    return best;
}

static uint64_t residence_bytes(const struct model *m)
{
    bool none = m->residence == RES_NONE || m->residence == RES_LENT;
    return none ? 0 : sgi__residence_bytes(m, m->residence_packed);
}

static enum sgi__held instance_held(const struct sgi__core *core, const struct instance *i)
{
    if (i->op_load && sgi__context_awaited(core, i))
        return SGI__HELD_BY_CONTEXT;
    if (i->op_load)
        return on_device(i) && !core->devices[i->device].unified ? SGI__HELD_BY_LOAD : SGI__HELD_BY_READS;
    if (i->op_prefix || i->op_start || i->op_stop)
        return SGI__HELD_BY_CALLBACK;
    return i->op_reserve || i->op_end ? SGI__HELD_BY_MEMORY : SGI__HELD_NOT;
}

/* The first there is, in the order of the enum: what comes later in it is waiting for that too, more often than not. */
static enum sgi__held held(const struct sgi__core *core, const struct model *m)
{
    enum sgi__held first = m->op_check                      ? SGI__HELD_BY_READS
                           : m->op_prepare || m->op_discard ? SGI__HELD_BY_CALLBACK
                           : m->op_drop                     ? SGI__HELD_BY_MEMORY
                                                            : SGI__HELD_NOT;
    for (const struct instance *i = m->instances; i; i = i->model_next) {
        enum sgi__held one = instance_held(core, i);
        if (one != SGI__HELD_NOT && (first == SGI__HELD_NOT || one < first))
            first = one;
    }
    return first;
}

sgi_status sgi__core_model_view(const struct sgi__core *core, sgi_model model, struct sgi__core_model_view *view_out)
{
    const struct model *m = sgi__core_model(core, model);
    if (!m)
        return SGI_E_STALE;
    const struct instance *f = furthest(m);
    *view_out = (struct sgi__core_model_view){
        .state = f              ? public_state(f)
                 : m->hung_step ? SGI_MODEL_WEDGED
                                : SGI_MODEL_COLD,
        .instances = m->instances_count,
        .device = f && on_device(f) ? f->device : -1,
        .tier = f && (f->state == ST_READY || f->state == ST_BUSY)     ? SGI_TIER_DEVICE
                : m->residence == RES_KEPT || m->residence == RES_LENT ? SGI_TIER_DRAM
                                                                       : SGI_TIER_DISK,
        .leases = m->leases,
        .leases_overdue = m->leases_overdue,
        .wants = m->wants,
        .pinned_tier = m->pinned_tier,
        .pin_bytes = sgi__residence_most(m),
        .idle_deadline = f && f->state == ST_READY ? f->idle.due : SGI__NEVER,
        .dram_bytes = residence_bytes(m),
        .residence = m->residence != RES_KEPT ? 0
                     : m->residence_packed    ? SGI_RESIDENCE_PACKED
                                              : SGI_RESIDENCE_UNPACKED,
        .residence_value = m->residence == RES_NONE ? 0 : m->residence_value,
        .prepared_bytes = m->prepared_bytes,
        .engine_bytes = m->engine_bytes,
        .loads = m->loads_total,
        .failures = m->failures_total,
        .hits = m->hits_total,
        .instance = f ? f->id : 0,
        .last_error = m->last_error,
        .failed_until = m->failures > 1 ? m->failed_until : 0,
        .draining = m->draining,
        .drained = m->drained_said,
        .held = held(core, m),
    };
    for (const struct instance *i = m->instances; i; i = i->model_next) {
        view_out->calls += i->calls;
        if (i->state != ST_QUEUED)
            *(i->device == SGI__DRAM ? &view_out->dram_bytes : &view_out->device_bytes) += i->charged;
    }
    return SGI_OK;
}

sgi_status sgi__core_instance_view(const struct sgi__core *core, uint64_t instance,
                                   struct sgi__core_instance_view *view_out)
{
    const struct instance *i = sgi__core_instance_of(core, instance);
    if (!i)
        return SGI_E_STALE;
    *view_out = (struct sgi__core_instance_view){
        .model = i->model->id,
        .state = public_state(i),
        .device = on_device(i) ? i->device : -1,
        .leases = i->leases,
        .calls = i->calls,
        .device_bytes = on_device(i) ? i->charged : 0,
        .idle_deadline = i->state == ST_READY ? i->idle.due : SGI__NEVER,
    };
    return SGI_OK;
}

void sgi__core_device_view(const struct sgi__core *core, uint32_t device, struct sgi__core_device_view *view_out)
{
    const struct device *d = &core->devices[device];
    *view_out = (struct sgi__core_device_view){
        .bytes_max = d->bytes_max,
        .bytes_used = d->used,
        .bytes_engine = d->used_engine,
        .bytes_foreign = d->foreign,
        .bytes_residue = d->residue,
        .instances = d->instances_count,
        .context_open = d->context != CTX_CLOSED,
        .lost = d->lost,
    };
}

void sgi__core_totals(const struct sgi__core *core, struct sgi__core_totals *totals_out)
{
    uint64_t device_bytes = 0;
    for (uint32_t n = 0; n < core->config.devices_count; n++)
        device_bytes += core->devices[n].used;
    *totals_out = (struct sgi__core_totals){
        .models = sgi__models_in_use(core),
        .wants = core->wants_count,
        .leases = core->leases_count,
        .loads = core->loads,
        .calls = core->calls,
        .dram_bytes = core->dram.used,
        .dram_bytes_max = core->dram.bytes_max,
        .shared_bytes = core->dram_shared > 0 ? (uint64_t)core->dram_shared : 0,
        .device_bytes = device_bytes,
        .prepared_bytes = core->prepared_bytes,
    };
}

sgi_model sgi__core_model_at(const struct sgi__core *core, uint32_t index)
{
    for (uint32_t n = 0; n < core->models.count; n++) {
        const struct model *m = core->models.items[n];
        if (m->id && index-- == 0)
            return m->id;
    }
    return 0;
}

/* ---- what must hold ---- */

#ifndef NDEBUG

static void check_instance(const struct sgi__core *core, const struct instance *i)
{
    bool admitted = i->state != ST_QUEUED;

    assert(i->id && i->state != ST_COLD);
    assert((i->model->coming == i) == (i->state >= ST_QUEUED && i->state <= ST_LOADING));
    assert(admitted || (i->charged == 0 && i->leases == 0 && i->calls == 0));
    assert(i->charged_engine <= i->charged);
    assert(i->calls_ending <= i->calls && i->calls_detached <= i->calls);
    assert(i->leases <= i->model->config.leases_max);
    assert(i->state != ST_READY || (sgi__instance_unused(i) && sgi__instance_filled(i)));
    assert(i->state != ST_BUSY || (!sgi__instance_unused(i) && sgi__instance_filled(i)));
    assert(i->state != ST_READY || !i->model->config.has_engine || i->engine_up || i->to_dram);
    assert(i->op_end == 0 ||
           (i->op_load == 0 && i->op_start == 0 && i->op_stop == 0 && !i->engine_up && i->leases == 0));
    assert(!i->fills || ((i->op_load || (i->op_prefix && !i->packs)) && i->model->residence == RES_FILLING));
    assert(!i->reads || (i->op_end == 0 && i->tier == SGI_TIER_DRAM && i->model->residence == RES_KEPT));
    assert(i->state == ST_READY || i->idle.due == SGI__NEVER);
    assert(!sgi__instance_serves(i) || core->devices[i->device].context == CTX_OPEN);
}

static void check_model(const struct sgi__core *core, const struct model *m, uint32_t *wants, uint32_t *leases,
                        uint32_t *sharing, uint64_t *dram)
{
    uint32_t own = 0, held = 0, instances = 0, fills = 0, reads = 0, shares = 0;

    for (const struct want *w = m->wants_head; w; w = w->next) {
        assert(w->model == m && (!w->next || w->next->prev == w));
        own++;
    }
    assert(own == m->wants && m->is_pending == (own > 0));
    for (const struct instance *i = m->instances; i; i = i->model_next) {
        assert(i->model == m && (!i->model_next || i->model_next->model_prev == i));
        check_instance(core, i);
        held += i->leases;
        instances++;
        fills += i->fills;
        reads += i->reads;
        shares += i->shares > 0;
        assert(i->shares == 0 || i->fills || i->to_dram);
        if (i->state != ST_QUEUED && i->device == SGI__DRAM)
            *dram += i->charged;
        for (const struct instance *other = i->model_next; other; other = other->model_next)
            assert(!on_device(i) || !on_device(other) || i->device != other->device);
    }
    assert(held == m->leases && instances == m->instances_count && instances <= m->config.instances_max);
    assert(fills == (m->residence == RES_FILLING) && reads == m->residence_readers);
    *sharing += shares;
    *wants += own;
    *leases += m->leases;
    *dram += residence_bytes(m);
}

void sgi__core_check(const struct sgi__core *core)
{
    uint32_t wants = 0, leases = 0, loads = 0, sharing = 0, packed_leaving = 0;
    uint64_t dram = 0;

    for (uint32_t n = 0; n < core->models.count; n++) {
        const struct model *m = core->models.items[n];
        if (!m->id)
            continue;
        check_model(core, m, &wants, &leases, &sharing, &dram);
        packed_leaving += m->residence == RES_DROPPING && m->residence_packed;
        for (const struct instance *i = m->instances; i; i = i->model_next)
            loads += i->counts_load;
    }
    assert(wants == core->wants_count && leases == core->leases_count && loads == core->loads);
    assert(core->wants_count <= core->config.wants_max && core->loads <= core->config.loads_max);
    assert(sharing == core->sharing && packed_leaving == core->packed_leaving && !core->sharing_over);
    assert(core->sharing > 0 || !core->drop_waits);
    assert(dram == core->dram.used + (uint64_t)core->dram_shared);
    assert(core->dram.used + core->dram_lending <= core->dram.bytes_max);

    for (uint32_t n = 0; n < core->config.devices_count; n++) {
        const struct device *d = &core->devices[n];
        uint64_t             used = 0, engine = 0;
        uint32_t             count = 0;
        for (const struct instance *i = d->instances; i; i = i->device_next, count++) {
            assert(i->device == (int32_t)n && i->state != ST_COLD && i->state != ST_QUEUED);
            used += i->charged;
            engine += i->charged_engine;
        }
        assert(used == d->used && engine == d->used_engine && count == d->instances_count);
        assert(d->used <= d->bytes_max);
    }
    assert(sgi__capacity_is_there(core));
    for (uint32_t n = 0; n < core->heap_count; n++)
        assert(core->heap[n]->at == n && core->heap[n]->key <= core->heap[n]->due &&
               (n == 0 || core->heap[(n - 1) / 2]->key <= core->heap[n]->key));
}

#else

void sgi__core_check(const struct sgi__core *core) /* it consists of assertions */
{
    (void)core;
}

#endif
