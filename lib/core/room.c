/* SPDX-License-Identifier: Apache-2.0 */
#include "core/room.h"

uint64_t sgi__device_foreign(const struct device *d)
{
    uint64_t theirs = d->bytes_total > d->bytes_max ? d->bytes_total - d->bytes_max : 0;
    return d->foreign > theirs ? d->foreign - theirs : 0;
}

static uint64_t free_bytes(const struct device *d)
{
    uint64_t taken = d->used + sgi__device_foreign(d);
    return taken < d->bytes_max ? d->bytes_max - taken : 0;
}

uint64_t sgi__room_lacking(const struct device *d, uint64_t need, uint64_t going)
{
    uint64_t taken = d->used - going + sgi__device_foreign(d) + need;
    return taken > d->bytes_max ? taken - d->bytes_max : 0;
}

static bool may_evict(const struct instance *i)
{
    return i->state == ST_READY && !sgi__instance_pinned(i) && i->model->wants == 0;
}

uint64_t sgi__room_leaving(const struct device *d)
{
    uint64_t bytes = 0;
    for (const struct instance *i = d->instances; i; i = i->device_next)
        if (i->state == ST_STOPPING && sgi__instance_unused(i))
            bytes += i->charged;
    return bytes;
}

static uint64_t idle_bytes(const struct device *d)
{
    uint64_t bytes = 0;
    for (const struct instance *i = d->instances; i; i = i->device_next)
        if (may_evict(i))
            bytes += i->charged;
    return bytes;
}

static bool left_before(const struct instance *a, const struct instance *b)
{
    return a->last_used != b->last_used ? a->last_used < b->last_used : a->id < b->id;
}

/* Who leaves next, unused longest first; `after`: the one before, NULL for the first. */
static struct instance *next_to_leave(const struct device *d, const struct instance *after)
{
    struct instance *next = NULL;
    for (struct instance *i = d->instances; i; i = i->device_next)
        if (may_evict(i) && (!after || left_before(after, i)) && (!next || left_before(i, next)))
            next = i;
    return next;
}

bool sgi__evict_one(struct sgi__core *core, uint64_t now, struct device *d)
{
    struct instance *victim = next_to_leave(d, NULL);
    if (victim)
        sgi__instance_stop(core, now, victim, true);
    return victim != NULL;
}

bool sgi__model_may_be_on(const struct sgi__core_model_config *config, uint32_t device)
{
    return config->devices_mask == 0 || (config->devices_mask >> device & 1);
}

bool sgi__room_is_for(const struct sgi__core *core, const struct device *d, const struct model *m)
{
    return sgi__model_may_be_on(&m->config, (uint32_t)(d - core->devices)) &&
           sgi__image_on(m, d) + m->engine_bytes <= d->bytes_max;
}

bool sgi__fits_somewhere(const struct sgi__core *core, const struct model *m, bool to_dram, sgi_status *why_not)
{
    if (to_dram) {
        bool fits = sgi__residence_least(m) <= core->dram.bytes_max;
        *why_not = fits ? SGI_E_DEVICE_LOST : SGI_E_NO_ROOM;
        return fits && !core->dram.lost;
    }
    *why_not = SGI_E_NO_ROOM;
    for (uint32_t n = 0; n < core->config.devices_count; n++) {
        const struct device *d = &core->devices[n];
        if (!sgi__room_is_for(core, d, m))
            continue;
        if (!d->lost)
            return true;
        *why_not = SGI_E_DEVICE_LOST;
    }
    return false;
}

const struct instance *sgi__room_holds(const struct sgi__core *core, const struct device *d, const struct model *m)
{
    const struct instance *i = m->instances;
    while (i && (i->state == ST_QUEUED || i->device != (int32_t)(d - core->devices)))
        i = i->model_next;
    return i;
}

static bool usable(const struct sgi__core *core, const struct device *d, const struct instance *i)
{
    const struct model *m = i->model;

    /* It cannot be taken away from those who read it. */
    if (i->tier == SGI_TIER_DRAM && sgi__residence_moves(m, d) && m->residence_readers > 0)
        return false;
    return !d->lost && sgi__room_is_for(core, d, m) && !sgi__room_holds(core, d, m);
}

bool sgi__room_awaited(const struct sgi__core *core, const struct device *d)
{
    for (const struct model *m = core->pending_head; m; m = m->pending_next) {
        const struct instance *i = m->coming;
        if (i && i->state == ST_QUEUED && i->blocked && usable(core, d, i))
            return true;
    }
    return false;
}

bool sgi__room_kept_from(const struct device *d, const struct instance *i)
{
    return d->kept_for && d->kept_for != i && d->kept_for->state == ST_QUEUED;
}

static bool something_stops(const struct device *d)
{
    for (const struct instance *i = d->instances; i; i = i->device_next)
        if (i->state == ST_STOPPING && i->charged > 0) /* else it died with its place: only leases are left of it */
            return true;
    return false;
}

/* Room right now: the hinted device, else the emptiest. -1: none. */
int32_t sgi__room_now(const struct sgi__core *core, const struct instance *i, int32_t hint)
{
    int32_t  best = -1;
    uint64_t best_free = 0;

    for (int32_t n = 0; n < (int32_t)core->config.devices_count; n++) {
        const struct device *d = &core->devices[n];
        uint64_t             need = sgi__instance_need(i, d);
        if (!usable(core, d, i) || sgi__room_kept_from(d, i) || free_bytes(d) < need ||
            sgi__room_lacking(d, need + d->promised, sgi__room_leaving(d)) > 0)
            continue;
        if (i->retried && something_stops(d)) /* the books said yes once before; let what was evicted go first */
            continue;
        if (n == hint)
            return n;
        if (best < 0 || free_bytes(d) > best_free) {
            best = n;
            best_free = free_bytes(d);
        }
    }
    return best;
}

/* What cannot be waited for: somebody else's, what hangs, what is pinned. */
static uint64_t stuck_bytes(const struct device *d)
{
    uint64_t bytes = sgi__device_foreign(d);
    for (const struct instance *i = d->instances; i; i = i->device_next)
        if (i->state == ST_WEDGED || sgi__instance_pinned(i))
            bytes += i->charged;
    return bytes;
}

bool sgi__room_can_come(const struct sgi__core *core, const struct device *d, const struct instance *i)
{
    uint64_t stuck = stuck_bytes(d);
    return usable(core, d, i) && stuck < d->bytes_max && sgi__instance_need(i, d) <= d->bytes_max - stuck;
}

/* Where to wait: where evicting is enough, else where leases that end can be, else anywhere; of those where the least
 * is lacking. -1: nowhere now. */
int32_t sgi__room_later(const struct sgi__core *core, const struct instance *i, int32_t hint)
{
    int32_t  best = -1;
    uint64_t best_lacking = 0;
    int      best_hope = -1;

    if (i->blocked && i->blocked_device >= 0) { /* where its room is on the way already */
        const struct device *d = &core->devices[i->blocked_device];
        if (usable(core, d, i) && !sgi__room_kept_from(d, i) &&
            sgi__room_lacking(d, sgi__instance_need(i, d) + d->promised, sgi__room_leaving(d)) == 0)
            return i->blocked_device;
    }

    for (int32_t n = 0; n < (int32_t)core->config.devices_count; n++) {
        const struct device *d = &core->devices[n];
        if (!usable(core, d, i))
            continue;
        uint64_t need = sgi__instance_need(i, d);
        uint64_t lacking = sgi__room_lacking(d, need + d->promised, sgi__room_leaving(d));
        bool     enough = lacking <= idle_bytes(d) && !sgi__room_kept_from(d, i);
        if (n == hint && enough)
            return n;
        int hope = enough ? 2 : sgi__room_can_come(core, d, i) ? 1 : 0;
        if (hope > best_hope || (hope == best_hope && lacking < best_lacking)) {
            best = n;
            best_lacking = lacking;
            best_hope = hope;
        }
    }
    /* What is kept for it stays so: else it might be passed on one device after the other. */
    bool stays = best_hope < 2 && i->blocked && i->blocked_device >= 0 &&
                 core->devices[i->blocked_device].kept_for == i;
    return stays ? i->blocked_device : best;
}

uint32_t sgi__room_victims(const struct device *d, uint64_t need, struct instance **victims, uint32_t victims_max)
{
    uint64_t going = sgi__room_leaving(d);
    uint32_t count = 0;

    if (sgi__room_lacking(d, need, going) > idle_bytes(d))
        return 0;
    for (struct instance *i = NULL; sgi__room_lacking(d, need, going) > 0 && (i = next_to_leave(d, i)) != NULL;
         count++) {
        going += i->charged;
        if (count < victims_max)
            victims[count] = i;
    }
    return count;
}

void sgi__room_make(struct sgi__core *core, uint64_t now, struct device *d, uint64_t need)
{
    for (uint32_t count = sgi__room_victims(d, need, NULL, 0); count > 0; count--)
        sgi__evict_one(core, now, d);
}
