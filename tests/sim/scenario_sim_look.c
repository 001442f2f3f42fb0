/* SPDX-License-Identifier: Apache-2.0 */
/* What is seen of the simulator: the core's replies, its views, and the simulator's own books. */
#include <string.h>

#include "sim/scenario_sim.h"

static int64_t ms_of(uint64_t ns)
{
    return ns == UINT64_MAX ? -1 : (int64_t)((ns + 999999) / 1000000);
}

static int32_t index_of(const struct simulated *x, sgi_model model)
{
    for (uint32_t m = 0; m < x->models_count; m++)
        if (x->models[m] == model)
            return (int32_t)m;
    return -1;
}

static int32_t want_of(const struct simulated *x, sgi_ticket ticket)
{
    for (int32_t n = 0; n < WANTS_MAX; n++)
        if (ticket && x->wants[n].ticket == ticket)
            return n;
    return -1;
}

/* ---- what is told ---- */

static void calls_wedged(struct simulated *x, uint64_t instance)
{
    for (uint32_t n = 0; n < WANTS_MAX; n++) {
        struct simulated_want *w = &x->wants[n];
        if (w->call_open && w->call_canceled && w->call_instance == instance && w->call_status == SGI_E_WOULD_BLOCK)
            w->call_status = SGI_E_WEDGED;
    }
}

void simulated_told(void *user, const struct sgi__core_reply *r)
{
    static const uint8_t notes[] = {
        [SGI__NOTE_READY] = SGI_EVENT_READY,    [SGI__NOTE_IDLE] = SGI_EVENT_IDLE,
        [SGI__NOTE_STOPS] = SGI_EVENT_STOPPING, [SGI__NOTE_RELEASED] = SGI_EVENT_RELEASED,
        [SGI__NOTE_DROPS] = SGI_EVENT_DROPPED,  [SGI__NOTE_FAILED] = SGI_EVENT_FAILED,
    };
    struct simulated *x = user;
    struct told       t = { .model = index_of(x, r->model), .want = -1, .device = -1 };

    switch (r->kind) {
    case SGI__REPLY_GRANT:
        t.kind = SGI_EVENT_GRANTED;
        t.tier = r->tier;
        break;
    case SGI__REPLY_REJECT:
        t.kind = SGI_EVENT_REFUSED;
        t.status = r->status;
        t.step = r->step;
        break;
    case SGI__REPLY_OVERDUE:
        t.kind = SGI_EVENT_OVERDUE;
        x->overdue[x->overdue_count++] = r->lease;
        break;
    case SGI__REPLY_WEDGED:
        calls_wedged(x, r->instance);
        t.kind = SGI_EVENT_WEDGED;
        t.status = SGI_E_WEDGED;
        t.step = r->step;
        break;
    case SGI__REPLY_NOTE:
        t.kind = notes[r->note];
        t.device = r->device;
        t.tier = r->tier;
        t.status = r->status;
        t.step = r->step;
        t.cause = r->cause;
        t.bytes = (int64_t)r->bytes;
        t.ms = ms_of(r->note == SGI__NOTE_FAILED ? r->retry_after_ns : r->ns);
        break;
    case SGI__REPLY_DRAINED:
    case SGI__REPLY_CLOSED:
        return;
    }
    if (t.kind == SGI_EVENT_GRANTED || t.kind == SGI_EVENT_REFUSED)
        t.want = (int64_t)r->ticket; /* its number is not known before the call that asks has returned */
    if (x->told_count < TOLD_MAX)
        x->told[x->told_count] = t;
    x->told_count++;
}

/* ---- what it says when it is asked ---- */

static void see_want(struct simulated *x, const struct simulated_want *w, struct want_seen *seen)
{
    struct sim_outcome          o = sim_outcome(x->s, w->ticket);
    struct sgi__core_lease_view v;

    *seen = (struct want_seen){ .asked = w->asked, .leased = w->lease != 0 };
    if (!w->asked)
        return;
    seen->call = w->call_open ? w->call_status : 0;
    seen->ended = !w->ticket || o.ended;
    if (seen->ended) {
        seen->status = w->ticket ? o.status : w->status;
        seen->step = w->ticket && o.status != SGI_OK ? o.step : 0;
        seen->retry_after_ms = w->ticket && o.status != SGI_OK ? ms_of(o.retry_after_ns) : 0;
    }
    if (w->lease && sgi__core_lease_view(sim_core(x->s), w->lease, &v) == SGI_OK) {
        seen->device = v.device;
        seen->tier = v.tier;
        seen->joined = v.joined;
        seen->lost = v.lost_status;
        seen->overdue = v.overdue;
    }
}

/* What sgi.h says of a model's state, said once more. */
static void see_model(struct simulated *x, uint32_t m, struct model_seen *seen)
{
    struct sgi__core_estimate e;
    sgi_model                 victims[2] = { 0 };
    uint64_t                  now = sim_now(x->s);

    *seen = (struct model_seen){ .gone = x->gone[m] };
    if (x->gone[m])
        return;
    struct sgi__core_model_view v = sim_view(x->s, x->models[m]);
    bool                        failed = v.state == SGI_MODEL_COLD && v.failed_until > now;
    seen->state = failed ? SGI_MODEL_FAILED : v.state;
    seen->device = v.device;
    seen->tier = v.tier;
    seen->leases = v.leases;
    seen->waiting = v.wants;
    seen->pinned = v.pinned_tier;
    if (v.state == SGI_MODEL_READY)
        seen->idle_left_ms = v.idle_deadline == SGI__NEVER ? SGI_IDLE_NEVER
                             : v.idle_deadline > now       ? ms_of(v.idle_deadline - now)
                                                           : 0;
    seen->device_bytes = (int64_t)v.device_bytes;
    seen->dram_bytes = (int64_t)v.dram_bytes;
    seen->prepared_bytes = (int64_t)v.prepared_bytes;
    seen->loads = (int64_t)v.loads;
    seen->failures = (int64_t)v.failures;
    seen->last_error = v.last_error;
    seen->retry_after_ms = failed ? ms_of(v.failed_until - now) : 0;
    seen->overdue = v.leases_overdue;
    seen->calls_out = v.calls;
    seen->instances = v.instances;
    seen->admitted = sim_actions_of(x->s, SGI__ACT_RESERVE, x->models[m]);
    seen->begun = sim_actions_of(x->s, SGI__ACT_START_LOAD, x->models[m]);
    seen->outlook_status = sgi__core_estimate(sim_core(x->s), now, x->models[m], ANY, &e, victims, 2);
    if (seen->outlook_status != SGI_OK)
        return;
    seen->outlook = e.outlook + 1; /* the public names begin at 1 */
    seen->outlook_status = e.status;
    seen->outlook_retry_ms = ms_of(e.retry_after_ns);
    seen->outlook_device = e.device;
    seen->outlook_tier = e.tier;
    seen->outlook_bytes = (int64_t)e.bytes;
    seen->outlook_lacking = (int64_t)e.lacking_bytes;
    seen->outlook_ns = (int64_t)e.expected_ns;
    seen->outlook_victims = e.victims_count;
    seen->first_victim = e.victims_count > 0 ? index_of(x, victims[0]) : -1;
    seen->second_victim = e.victims_count > 1 ? index_of(x, victims[1]) : -1;
}

void simulated_observe(void *executor, struct seen *seen)
{
    struct simulated       *x = executor;
    struct sgi__core_totals t;

    memset(seen, 0, sizeof *seen);
    sgi__core_totals(sim_core(x->s), &t);
    seen->whole = (struct whole_seen){ .waiting = t.wants,
                                       .leases = t.leases,
                                       .loads = t.loads,
                                       .dram_bytes = (int64_t)sim_dram_used(x->s),
                                       .device_bytes = (int64_t)sim_vram_used(x->s),
                                       .prepared_bytes = (int64_t)t.prepared_bytes };
    for (uint32_t n = 0; n < WANTS_MAX; n++)
        see_want(x, &x->wants[n], &seen->wants[n]);
    for (uint32_t m = 0; m < x->models_count; m++)
        see_model(x, m, &seen->models[m]);
    for (uint32_t d = 0; d < x->devices_count; d++) {
        struct sgi__core_device_view v;
        sgi__core_device_view(sim_core(x->s), d, &v);
        seen->devices[d] = (struct device_seen){ .used = (int64_t)sim_device_used(x->s, d),
                                                 .engine = (int64_t)x->s->devices[d].used_engine,
                                                 .context = v.context_open ? SGI_CONTEXT_OURS : SGI_CONTEXT_NONE,
                                                 .instances = v.instances,
                                                 .lost = v.lost };
    }
    seen->told_count = x->told_count;
    memcpy(seen->told, x->told, sizeof seen->told);
    for (uint32_t n = 0; n < x->told_count && n < TOLD_MAX; n++)
        if (seen->told[n].kind == SGI_EVENT_GRANTED || seen->told[n].kind == SGI_EVENT_REFUSED)
            seen->told[n].want = want_of(x, (sgi_ticket)seen->told[n].want);
}
