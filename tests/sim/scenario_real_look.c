/* SPDX-License-Identifier: Apache-2.0 */
/* What is seen of the real runtime: what it tells, what it says when it is asked, and, of a lease, where it is. */
#include <string.h>

#include "sim/scenario_real.h"

static int64_t ms_of(uint64_t ns)
{
    return ns == UINT64_MAX ? -1 : (int64_t)((ns + 999999) / 1000000);
}

static int32_t index_of(const struct real *x, sgi_model model)
{
    for (uint32_t m = 0; m < x->models_count; m++)
        if (x->models[m].id == model)
            return (int32_t)m;
    return -1;
}

/* ---- what is told ---- */

static void add(struct real *x, const struct told *t)
{
    if (x->told_count < TOLD_MAX)
        x->told[x->told_count] = *t;
    x->told_count++;
}

static int32_t want_of(struct real *x, sgi_ticket ticket)
{
    for (int32_t n = 0; n < WANTS_MAX; n++)
        if (ticket != 0 && x->wants[n].ticket == ticket)
            return n;
    return -1;
}

/* Who asks by sgi_model_acquire_wait() learns no ticket; the event of this step that has an unknown one is its. */
static void queued(struct real *x, sgi_ticket ticket)
{
    if (want_of(x, ticket) < 0 && x->waiting_form >= 0)
        x->wants[x->waiting_form].ticket = ticket;
}

static void hear(struct real *x, const sgi_event *e)
{
    struct told t = {
        .kind = e->kind,
        .model = index_of(x, e->model),
        .want = -1,
        .device = e->device,
        .status = e->status,
        .step = e->step,
        .cause = e->cause,
        .tier = e->tier,
        .bytes = (int64_t)e->bytes,
        .ms = ms_of(e->duration_ns),
    };

    switch (e->kind) {
    case SGI_EVENT_GRANTED:
    case SGI_EVENT_REFUSED:
        t.want = want_of(x, e->ticket);
        t.ms = 0;
        add(x, &t);
        break;
    case SGI_EVENT_OVERDUE:
    case SGI_EVENT_READY:
    case SGI_EVENT_FAILED:
    case SGI_EVENT_WEDGED:
    case SGI_EVENT_IDLE:
    case SGI_EVENT_STOPPING:
    case SGI_EVENT_RELEASED:
    case SGI_EVENT_DROPPED:
        add(x, &t);
        break;
    case SGI_EVENT_QUEUED:
        queued(x, e->ticket);
        break;
    case SGI_EVENT_ADMITTED:
        x->models[t.model].admitted++;
        break;
    case SGI_EVENT_LOAD_START:
        x->models[t.model].begun++;
        break;
    default:
        break;
    }
}

void real_hear(struct real *x)
{
    sgi_event e = { .struct_size = sizeof e };

    while (sgi_events_read(x->rt, x->events, &e) == SGI_OK)
        hear(x, &e);
}

/* ---- what it says when it is asked ---- */

static void see_want(struct real *x, const struct real_want *w, struct want_seen *seen)
{
    struct sgi__core_lease_view v;
    sgi_timing                  t = { .struct_size = sizeof t };

    uint8_t piece[8];
    size_t  bytes = 0;

    *seen = (struct want_seen){ .asked = w->asked,
                                .ended = w->ended,
                                .status = w->status,
                                .step = w->at,
                                .retry_after_ms = w->retry_after_ms,
                                .leased = w->lease != 0 };
    if (w->call_open)
        seen->call = sgi_call_read(x->rt, w->call, piece, sizeof piece, &bytes, NULL);
    if (!w->lease)
        return;
    pthread_mutex_lock(&x->rt->mutex);
    sgi_status st = sgi__core_lease_view(x->rt->core, w->lease, &v);
    pthread_mutex_unlock(&x->rt->mutex);
    if (st != SGI_OK)
        return;
    seen->device = v.device;
    seen->lost = v.lost_status;
    seen->overdue = v.overdue;
    bool timed = sgi_lease_timing(x->rt, w->lease, &t) == SGI_OK; /* not while an early one loads */
    seen->tier = timed ? t.tier : v.tier;
    seen->joined = timed ? t.joined : v.joined;
}

static void see_outlook(struct real *x, const struct real_model *m, struct model_seen *seen)
{
    sgi_estimate e = { .struct_size = sizeof e };
    sgi_model    victims[2] = { 0 };

    seen->outlook_status = sgi_model_estimate(x->rt, m->id, NULL, &e, victims, 2);
    if (seen->outlook_status != SGI_OK)
        return;
    seen->outlook = e.outlook;
    seen->outlook_status = e.status;
    seen->outlook_retry_ms = e.retry_after_ms;
    seen->outlook_device = e.device;
    seen->outlook_tier = e.tier;
    seen->outlook_bytes = (int64_t)e.device_bytes;
    seen->outlook_lacking = (int64_t)e.lacking_bytes;
    seen->outlook_ns = (int64_t)e.expected_ns;
    seen->outlook_victims = e.evicted_count;
    seen->first_victim = e.evicted_count > 0 ? index_of(x, victims[0]) : -1;
    seen->second_victim = e.evicted_count > 1 ? index_of(x, victims[1]) : -1;
}

static void see_model(struct real *x, const struct real_model *m, struct model_seen *seen)
{
    sgi_model_state s = { .struct_size = sizeof s };

    *seen = (struct model_seen){ .gone = sgi_model_query(x->rt, m->id, &s) == SGI_E_STALE };
    if (seen->gone)
        return;
    seen->state = s.state;
    seen->device = s.device;
    seen->tier = s.tier;
    seen->leases = s.leases_count;
    seen->waiting = s.requests_waiting;
    seen->pinned = s.pinned_tier;
    seen->idle_left_ms = s.idle_left_ms;
    seen->device_bytes = (int64_t)s.device_bytes;
    seen->dram_bytes = (int64_t)s.dram_bytes;
    seen->prepared_bytes = (int64_t)s.prepared_bytes;
    seen->loads = (int64_t)s.loads_count;
    seen->failures = (int64_t)s.failures_count;
    seen->last_error = s.last_error;
    seen->retry_after_ms = s.retry_after_ms;
    seen->overdue = s.leases_overdue;
    seen->calls_out = s.calls_out;
    seen->instances = s.instances_count;
    seen->admitted = m->admitted;
    seen->begun = m->begun;
    see_outlook(x, m, seen);
}

void real_observe(struct real *x, struct seen *seen)
{
    sgi_runtime_info info = { .struct_size = sizeof info };

    memset(seen, 0, sizeof *seen);
    sgi_runtime_query(x->rt, &info);
    seen->whole = (struct whole_seen){ .waiting = info.requests_waiting,
                                       .leases = info.leases_count,
                                       .loads = info.loads_running,
                                       .dram_bytes = (int64_t)info.dram_bytes,
                                       .device_bytes = (int64_t)info.device_bytes,
                                       .prepared_bytes = (int64_t)info.prepared_bytes };
    for (uint32_t n = 0; n < WANTS_MAX; n++)
        see_want(x, &x->wants[n], &seen->wants[n]);
    for (uint32_t m = 0; m < x->models_count; m++)
        see_model(x, &x->models[m], &seen->models[m]);
    for (uint32_t d = 0; d < x->devices_count; d++) {
        sgi_device_info device = { .struct_size = sizeof device };
        sgi_device_query(x->rt, d, &device);
        seen->devices[d] = (struct device_seen){ .used = (int64_t)device.bytes_used,
                                                 .engine = (int64_t)device.bytes_engine,
                                                 .context = device.context,
                                                 .instances = device.instances_count,
                                                 .lost = device.lost };
    }
    seen->told_count = x->told_count;
    memcpy(seen->told, x->told, sizeof seen->told);
}
