/* SPDX-License-Identifier: Apache-2.0 */
/* What a request would meet, without making it: the scheduler's own functions, on an instance that is not there. */
#include "core/room.h"

enum { VICTIMS_MAX = 64 }; /* named; what is beyond is counted */

uint64_t sgi__start_ns(const struct sgi__core *core, const struct model *m, uint32_t tier)
{
    if (m->start_ns[tier] > 0)
        return m->start_ns[tier];
    uint64_t rate = core->load_rate[tier], limit = core->config.read_bytes_per_s_max;
    if (tier == SGI_TIER_DISK && limit > 0 && rate > limit / 1000)
        rate = limit < 1000 ? 1
                            : limit / 1000; /* what went faster was small enough to be read before the limit was felt */
    return rate > 0 ? m->config.image_bytes / rate * 1000000 : SGI__NEVER;
}

/* Something of it is up, and full. */
static void wait_for_lease(uint64_t now, const struct model *m, struct sgi__core_estimate *e)
{
    uint64_t since;
    e->outlook = SGI__OUTLOOK_WAIT;
    e->expected_ns = m->lease_ns > 0 ? sgi__queue_ns(now, m, 1, &since) : SGI__NEVER;
    if (m->instances_count < m->config.instances_max && e->expected_ns > sgi__next_start_ns(m))
        e->expected_ns = sgi__next_start_ns(m); /* it would have another one started */
}

static void join(const struct sgi__core *core, uint64_t now, const struct instance *i, struct sgi__core_estimate *e)
{
    uint64_t whole = sgi__start_ns(core, i->model, i->tier), gone = i->state == ST_QUEUED ? 0 : now - i->admitted_at;
    e->outlook = SGI__OUTLOOK_JOIN;
    e->tier = i->tier;
    e->device = i->state == ST_QUEUED ? -1 : i->device;
    e->expected_ns = whole == SGI__NEVER ? whole : whole > gone ? whole - gone : 0;
}

static void start(const struct sgi__core *core, const struct model *m, int32_t hint, struct sgi__core_estimate *e,
                  sgi_model *victims, uint32_t victims_max)
{
    struct instance  probe = { .model = (struct model *)m, .state = ST_QUEUED, .blocked_device = -1 };
    struct instance *leaving[VICTIMS_MAX];

    probe.tier = m->residence == RES_KEPT ? SGI_TIER_DRAM : SGI_TIER_DISK;
    e->tier = probe.tier;
    e->expected_ns = sgi__start_ns(core, m, probe.tier);
    e->device = sgi__room_now(core, &probe, hint);
    if (e->device >= 0) {
        e->outlook = SGI__OUTLOOK_LOAD;
        return;
    }
    e->outlook = SGI__OUTLOOK_WAIT;
    e->device = sgi__room_later(core, &probe, hint);
    if (e->device < 0) {
        e->expected_ns = SGI__NEVER;
        return;
    }
    const struct device *d = &core->devices[e->device];
    uint64_t             need = sgi__instance_need(&probe, d);
    e->lacking_bytes = sgi__room_lacking(d, need, 0);
    e->victims_count = sgi__room_victims(d, need + d->promised, leaving, VICTIMS_MAX);
    if (e->victims_count > 0 && !sgi__room_kept_from(d, &probe))
        e->outlook = SGI__OUTLOOK_EVICT;
    else if (sgi__room_lacking(d, need + d->promised, sgi__room_leaving(d)) > 0)
        e->expected_ns = SGI__NEVER; /* until somebody lets go */
    for (uint32_t n = 0; n < e->victims_count && n < victims_max && n < VICTIMS_MAX; n++)
        victims[n] = leaving[n]->model->id;
}

/* While it is not known where, as on the first device that it may be on. */
static uint64_t would_take(const struct sgi__core *core, const struct model *m, int32_t device)
{
    uint32_t n = device < 0 ? 0 : (uint32_t)device;
    while (device < 0 && n + 1 < core->config.devices_count && !sgi__model_may_be_on(&m->config, n))
        n++;
    return sgi__image_on(m, &core->devices[n]) + m->engine_bytes;
}

static void estimate(const struct sgi__core *core, uint64_t now, const struct model *m, int32_t hint,
                     struct sgi__core_estimate *e, sgi_model *victims, uint32_t victims_max)
{
    *e = (struct sgi__core_estimate){ .device = -1, .tier = SGI_TIER_DEVICE };

    const struct instance *i = m->wants == 0 ? sgi__model_grants(m, hint) : NULL;
    if (i) {
        e->outlook = SGI__OUTLOOK_WARM;
        e->device = i->device;
        e->bytes = i->charged;
        return;
    }
    if (sgi__model_serves(m)) {
        wait_for_lease(now, m, e);
        return;
    }
    if (m->coming && !m->coming->to_dram) {
        join(core, now, m->coming, e);
        return;
    }
    bool fill = m->coming && m->coming->state == ST_QUEUED; /* which would be started on a device instead */
    bool full = m->instances_count - fill == m->config.instances_max;
    e->status = full ? sgi__ending_refused(core, m, false, &e->step) : sgi__cold_refused(core, now, m, false, &e->step);
    if (e->status != SGI_OK || full) { /* what ends has to be gone first */
        e->outlook = e->status != SGI_OK ? SGI__OUTLOOK_REFUSED : SGI__OUTLOOK_WAIT;
        e->retry_after_ns = !full && now < m->failed_until && !m->hung_step ? m->failed_until - now : 0;
        e->expected_ns = SGI__NEVER;
        return;
    }
    start(core, m, hint, e, victims, victims_max);
}

sgi_status sgi__core_estimate(const struct sgi__core *core, uint64_t now, sgi_model model, int32_t hint,
                              struct sgi__core_estimate *estimate_out, sgi_model *victims, uint32_t victims_max)
{
    const struct model        *m = sgi__core_model(core, model);
    struct sgi__core_estimate *e = estimate_out;

    if (!m)
        return SGI_E_STALE;
    if (core->draining)
        return SGI_E_CLOSED;
    if (m->draining)
        return SGI_E_STALE;
    estimate(core, now, m, hint, e, victims, victims_max);
    if (e->outlook != SGI__OUTLOOK_WARM)
        e->bytes = would_take(core, m, e->device);
    return SGI_OK;
}
