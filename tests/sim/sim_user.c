/* SPDX-License-Identifier: Apache-2.0 */
/* What users do, scripted or seeded: wants, leases, evicts, pins, drains, calls. Each is one event of the core, and its
 * answer is compared with what the world knows. */
#include "sim/sim_state.h"

/* What was foretold for a want is what it met, as far as it shows in the same event. */
static void check_estimate(struct sim *s, const struct world_model *m, const struct sgi__core_estimate *e,
                           const sgi_model *victims, sgi_ticket ticket, bool alone, bool cold)
{
    struct sim_outcome o = sim_outcome(s, ticket);

    if (e->outlook == SGI__OUTLOOK_WARM && alone && (o.status != SGI_OK || !o.ended))
        sim__broken(s, "who is told that a lease is there gets one");
    if (e->outlook == SGI__OUTLOOK_REFUSED && cold &&
        (!o.ended || o.status != e->status || o.step != e->step || o.retry_after_ns != e->retry_after_ns))
        sim__broken(s, "who is told of a refusal is refused like that (%d, step %u)", e->status, e->step);
    bool late = s->habits.tick_late > 0 && o.status == SGI_E_WEDGED; /* a timer came with it, and ended it */
    if (e->outlook > SGI__OUTLOOK_JOIN && e->outlook < SGI__OUTLOOK_REFUSED && alone && o.ended && !late)
        sim__broken(s, "who is told to wait for a load or a lease does");
    if (e->tier != SGI_TIER_DRAM || !alone) /* from disk its source is checked first, and much may happen meanwhile */
        return;
    const struct world_instance *i = m->instances;
    if (e->outlook == SGI__OUTLOOK_LOAD && (!i || i->device != e->device || i->reserve == FAILED))
        sim__broken(s, "a start goes to the device that was named (%d)", e->device);
    for (uint32_t n = 0; e->outlook == SGI__OUTLOOK_EVICT && n < e->victims_count && n < SIM_VICTIMS; n++) {
        struct sgi__core_model_view v;
        if (sgi__core_model_view(s->core, victims[n], &v) != SGI_OK || (v.instances == 1 && v.state == SGI_MODEL_READY))
            sim__broken(s, "who was named to leave leaves");
    }
}

sgi_status sim_ask_status(struct sim *s, sgi_model model, const struct sim_ask *ask, sgi_ticket *ticket_out)
{
    static const struct sim_ask plain;
    struct world_model         *m = sim__model(s, model);
    const struct sim_ask       *a = ask ? ask : &plain;
    struct sgi__core_want       want = {
              .tier = a->tier ? a->tier : SGI_TIER_DEVICE,
              .prefetch = a->prefetch,
              .early = a->early,
              .priority = a->priority,
              .device_hint = (int32_t)a->device - 1,
              .deadline = a->deadline_ms ? s->now + MS(a->deadline_ms) : SGI__NEVER,
              .idle_ns = a->idle_ms == 0              ? SGI__IDLE_OF_MODEL
                         : a->idle_ms == SIM_IDLE_NOW ? 0
                                                      : sim__ns(a->idle_ms),
              .lease_ns = a->lease_ms ? MS(a->lease_ms) : SGI__NEVER,
    };
    sgi_ticket                ticket = 0;
    struct sgi__core_estimate estimate;
    sgi_model                 victims[SIM_VICTIMS];
    sgi_status known = sgi__core_estimate(s->core, s->now, model, want.device_hint, &estimate, victims, SIM_VICTIMS);

    struct sgi__core_model_view view = { 0 };
    bool                        cold = sgi__core_model_view(s->core, model, &view) == SGI_OK && view.instances == 0;
    sim__begin(s, 'u', m);
    sgi_status st = sgi__core_want(s->core, s->now, model, &want, &ticket);
    sim__log(s, 'u', 'w', want.device_hint, st, model, ticket, want.prefetch);
    if (st == SGI_OK) {
        struct world_want *w = sim__slot(&s->wants, ticket);
        if (!m || m->draining || s->closing || s->wants_count >= s->config.wants_max)
            sim__broken(s, "a want is accepted only while its model and the queue are open");
        if (w->id)
            sim__broken(s, "ids in use have different slots");
        *w = (struct world_want){ .id = ticket, .model = m, .spec = want, .since = s->now, .seq = ++s->want_seq };
        s->wants_count++;
        m->wants++;
        m->dram_event = s->event;
        m->evict_dram = m->evict_prepared = false; /* somebody needs it after all */
        if (ticket_out)
            *ticket_out = ticket;
    } else if ((st == SGI_E_STALE && m && !m->draining) || (st == SGI_E_BUSY && s->wants_count < s->config.wants_max) ||
               (st == SGI_E_CLOSED && !s->closing)) {
        sim__broken(s, "a want is refused for a reason that is true (%d)", st);
    }
    bool alone = s->wants_count == 1;
    sim__settle(s);
    bool late = s->wedged_event == s->event; /* a timer that was: what was foretold did not know what it found */
    if (st == SGI_OK && known == SGI_OK && !late && !want.prefetch && !want.early && want.deadline > s->now)
        check_estimate(s, m, &estimate, victims, ticket, alone, cold);
    sim__now_due(s);
    return st;
}

sgi_ticket sim_ask(struct sim *s, sgi_model model, const struct sim_ask *ask)
{
    sgi_ticket ticket = 0;
    sgi_status st = sim_ask_status(s, model, ask, &ticket);
    if (st != SGI_OK)
        sim__broken(s, "the want of a test is accepted (%d)", st);
    return ticket;
}

struct sim_outcome sim_outcome(const struct sim *s, sgi_ticket ticket)
{
    for (uint64_t n = s->outcomes_count; n > 0 && n + SIM_OUTCOMES > s->outcomes_count; n--)
        if (s->outcome_tickets[(n - 1) % SIM_OUTCOMES] == ticket)
            return s->outcomes[(n - 1) % SIM_OUTCOMES];
    return (struct sim_outcome){ .ended = false,
                                 .status = SGI_STATUS_END_ }; /* no status: nobody takes it for success */
}

struct sim_outcome sim_wait(struct sim *s, sgi_ticket ticket)
{
    while (!sim_outcome(s, ticket).ended)
        if (!sim__step(s, SGI__NEVER - 1))
            sim__broken(s, "a want ends while something can still happen");
    sim__now_due(s);
    return sim_outcome(s, ticket);
}

sgi_lease sim_acquire(struct sim *s, sgi_model model)
{
    struct sim_outcome o = sim_wait(s, sim_ask(s, model, NULL));
    if (o.status != SGI_OK)
        sim__broken(s, "the acquire of a test is granted (%d)", o.status);
    return o.lease;
}

sgi_status sim_acquire_status(struct sim *s, sgi_model model)
{
    struct sim_outcome o = sim_wait(s, sim_ask(s, model, NULL));
    if (o.lease)
        sim_release(s, o.lease);
    return o.status;
}

/* A grant as a reply or try_acquire gave it; sim_check.c has looked at it. */
void sim__lease_made(struct sim *s, sgi_lease id, struct world_instance *i, uint64_t idle_ns, uint64_t lease_ns)
{
    struct world_model *m = i->model;
    struct world_lease *l = sim__slot(&s->leases, id);
    if (l->id)
        sim__broken(s, "ids in use have different slots");
    *l = (struct world_lease){
        .id = id,
        .model = m,
        .instance = i->id,
        .idle_ns = idle_ns == SGI__IDLE_OF_MODEL ? m->config.idle_ns : idle_ns,
        .granted_at = s->now,
        .granted_event = s->event,
        .due = lease_ns == SGI__NEVER ? SGI__NEVER : s->now + lease_ns,
        .early = i->load != DONE,
    };
    i->leases++;
    i->last_used = s->now;
    i->rest_known = false;
    m->leases++;
    s->leases_count++;
    if (s->habits.on)
        sim__client_granted(s, l);
}

sgi_status sim__try_acquire(struct sim *s, sgi_model model, uint64_t idle_ns, uint64_t lease_ns, sgi_lease *lease_out)
{
    struct world_model *m = sim__model(s, model);
    sgi_lease           lease = 0;

    sim__begin(s, 'u', m);
    sgi_status st = sgi__core_try_acquire(s->core, s->now, model, idle_ns, lease_ns, &lease);
    sim__log(s, 'u', 't', INT32_MIN, st, model, lease, 0);
    if (st == SGI_OK) {
        struct sgi__core_lease_view v = { .instance = 0 };
        sgi__core_lease_view(s->core, lease, &v);
        struct world_instance *i = sim__get(&s->instances, v.instance);
        sim__check_try(s, m, i);
        sim__lease_made(s, lease, i, idle_ns, lease_ns);
        *lease_out = lease;
    }
    sim__settle(s);
    sim__now_due(s);
    return st;
}

sgi_status sim_try_acquire(struct sim *s, sgi_model model, sgi_lease *lease_out)
{
    return sim__try_acquire(s, model, SGI__IDLE_OF_MODEL, SGI__NEVER, lease_out);
}

sgi_status sim_cancel(struct sim *s, sgi_ticket ticket)
{
    struct world_want *w = sim__get(&s->wants, ticket);
    sim__begin(s, 'u', w ? w->model : NULL);
    if (w) {
        w->canceled = true;
        for (struct world_instance *i = w->model->instances; i; i = i->next)
            if (!sim__up(i) && w->model->wants == 1 && i->leases == 0)
                i->canceled = true;
    }
    sgi_status st = sgi__core_cancel(s->core, s->now, ticket);
    sim__log(s, 'u', 'c', INT32_MIN, st, w ? w->model->id : 0, ticket, 0);
    if (st != (w ? SGI_OK : SGI_E_STALE))
        sim__broken(s, "a ticket can be canceled until it has ended, and no longer (%d)", st);
    sim__settle(s);
    if (sim__get(&s->wants, ticket))
        sim__broken(s, "a canceled want ends");
    sim__now_due(s);
    return st;
}

sgi_status sim_release(struct sim *s, sgi_lease lease)
{
    struct world_lease *l = sim__get(&s->leases, lease);
    sim__begin(s, 'u', l ? l->model : NULL);
    sgi_status st = sgi__core_release(s->core, s->now, lease);
    sim__log(s, 'u', 'r', INT32_MIN, st, l ? l->model->id : 0, lease, 0);
    if (st != (!l ? SGI_E_STALE : l->call_open ? SGI_E_BUSY : SGI_OK))
        sim__broken(s, "a lease can be released once, with no call open on it (%d)", st);
    if (st == SGI_OK) {
        struct world_instance *i = sim__get(&s->instances, l->instance);
        if (i) {
            i->leases--;
            i->last_used = s->now;
            i->idle_ns = l->idle_ns; /* the last one released decides */
            sim__rests(s, i);
            if (i->died && i->leases == 0)
                i->id = 0;
        }
        l->model->leases--;
        s->leases_count--;
        l->id = 0;
    }
    sim__settle(s);
    sim__now_due(s);
    return st;
}

sgi_status sim_evict(struct sim *s, sgi_model model, uint32_t tier)
{
    struct world_model *m = sim__model(s, model);
    sim__begin(s, 'u', m);
    if (m)
        m->evicted = true;
    sgi_status st = sgi__core_evict(s->core, s->now, model, tier);
    sim__log(s, 'u', 'e', INT32_MIN, st, model, 0, tier);
    if (st == SGI_E_STALE && m)
        sim__broken(s, "a model that is there can be evicted");
    if (st == SGI_OK) {
        if (m->leases > 0)
            sim__broken(s, "a leased model is not evicted");
        m->evict_dram = m->evict_dram || tier != SGI_TIER_DRAM;
        for (struct world_instance *i = m->instances; i && tier != SGI_TIER_DRAM; i = i->next)
            i->unkept = true;
        m->evict_prepared = m->evict_prepared || tier == SGI_EVICT_ALL;
    }
    sim__settle(s);
    if (m)
        m->evicted = false; /* what it makes leave is leaving by now */
    sim__now_due(s);
    return st;
}

/* Nobody uses it or waits for it, and it is not on its way up. */
static bool evictable(struct sim *s, const struct world_model *m)
{
    for (const struct world_instance *i = m->instances; i; i = i->next) {
        uint32_t state = sim_state(s, i->id);
        if (state != SGI_MODEL_READY && state != SGI_MODEL_STOPPING)
            return false;
    }
    return m->pinned_tier == SGI_TIER_DISK && m->wants == 0 && m->leases == 0;
}

void sim_evict_all(struct sim *s, uint32_t tier)
{
    sim__begin(s, 'u', NULL);
    for (uint32_t n = 0; n < s->models.size; n++) {
        struct world_model *m = s->models.at[n];
        if (!m || !m->id || !evictable(s, m))
            continue;
        m->evicted = true;
        m->evict_dram = m->evict_dram || tier != SGI_TIER_DRAM;
        for (struct world_instance *i = m->instances; i && tier != SGI_TIER_DRAM; i = i->next)
            i->unkept = true;
        m->evict_prepared = m->evict_prepared || tier == SGI_EVICT_ALL;
    }
    sgi__core_evict_all(s->core, s->now, tier);
    sim__log(s, 'u', 'A', INT32_MIN, 0, 0, 0, tier);
    sim__settle(s);
    for (uint32_t n = 0; n < s->models.size; n++)
        if (s->models.at[n])
            ((struct world_model *)s->models.at[n])->evicted = false;
    sim__now_due(s);
}

void sim_sees_shared(struct sim *s)
{
    s->sees = true;
}

void sim_trim(struct sim *s, uint64_t dram_bytes)
{
    sim__begin(s, 'u', NULL);
    s->dram_trim = dram_bytes;
    s->trims = true;
    sgi__core_trim(s->core, s->now, dram_bytes);
    sim__log(s, 'u', 'T', INT32_MIN, 0, dram_bytes, 0, 0);
    sim__settle(s);
    sim__now_due(s);
}

void sim_pressure(struct sim *s)
{
    uint64_t max = s->ceiling < s->dram_max ? s->ceiling : s->dram_max, taken = s->dram_used;

    for (uint32_t n = 0; n < s->models.size; n++) {
        const struct world_model *m = s->models.at[n];
        for (const struct world_instance *i = m && m->id ? m->instances : NULL; i; i = i->next)
            taken += i->tier == SGI_TIER_DRAM && i->reserve == UNDER_WAY && !i->in_place ? i->image_bytes : 0;
    }
    sim__begin(s, 'u', NULL);
    s->ceiling = s->ceiling_before = (taken < max ? taken : max) / 4 * 3;
    s->relief_at = s->now + SIM_RELIEF_NS;
    sgi__core_pressure(s->core, s->now);
    sim__log(s, 'u', 'P', INT32_MIN, 0, s->ceiling, 0, 0);
    sim__settle(s);
    sim__now_due(s);
}

/* A pin to DRAM reserves the image's bytes, beside those of other pins and of what cannot be dropped now. */
static sgi_status pin_outcome(const struct sim *s, const struct world_model *m, uint32_t tier)
{
    uint64_t reserved = 0, others = 0, of_pinned = 0, droppable = 0, image = m ? sim__most(m) : 0;

    if (s->closing)
        return SGI_E_CLOSED;
    if (!m || m->draining)
        return SGI_E_STALE;
    if (tier != SGI_TIER_DRAM || m->pinned_tier == SGI_TIER_DRAM)
        return SGI_OK;
    for (uint32_t n = 0; n < s->models.size; n++) {
        const struct world_model *other = s->models.at[n];
        if (!other || !other->id)
            continue;
        others += sim__dram_taken(other);
        if (other == m || other->pinned_tier == SGI_TIER_DRAM)
            of_pinned += sim__dram_moving(other) + (other->dropping ? 0 : other->dram_bytes);
        if (other != m && other->pinned_tier == SGI_TIER_DRAM)
            reserved += sim__most(other);
        if (other->dropping || (other != m && other->pinned_tier != SGI_TIER_DRAM && sim__droppable(s, other)))
            droppable += other->dram_bytes;
    }
    others -= s->dram_shared; /* what is shared is there once */
    others -= of_pinned < others ? of_pinned : others;
    uint64_t stays = others > droppable ? others - droppable : 0;
    if (reserved + image > s->dram_max)
        return SGI_E_NO_ROOM;
    return reserved + image + stays > s->dram_max ? SGI_E_BUSY : SGI_OK;
}

sgi_status sim_pin(struct sim *s, sgi_model model, uint32_t tier)
{
    struct world_model *m = sim__model(s, model);
    sgi_status          due = pin_outcome(s, m, tier);

    const struct world_instance *held = m ? m->instances : NULL;
    while (held && !(sim__idle(held) && sim__held(s, held)))
        held = held->next;
    for (struct world_instance *i = m ? m->instances : NULL; i; i = i->next)
        i->ready = sim__idle(i) && sim__serves(s, i);
    sim__begin(s, 'u', m);
    sgi_status st = sgi__core_pin(s->core, s->now, model, tier);
    sim__log(s, 'u', 'p', INT32_MIN, st, model, 0, tier);
    if (st != due)
        sim__broken(s, "a pin says %d when there is room to keep it and %d when there is not (%d)", SGI_OK, due, st);
    if (st == SGI_OK) {
        bool changes = (m->pinned_tier == SGI_TIER_DEVICE) != (tier == SGI_TIER_DEVICE);
        m->pinned_tier = tier;
        m->dram_event = s->event;
        s->upset_event = s->event;
        for (struct world_instance *i = m->instances; i && changes; i = i->next)
            if (i == held || sim__held(s, i)) {
                i->last_used = i->ready ? s->now : i->last_used;
                sim__rests(s, i);
            }
    }
    sim__settle(s);
    sim__now_due(s);
    return st;
}

sgi_status sim_drain_model(struct sim *s, sgi_model model, sgi_status reason)
{
    struct world_model *m = sim__model(s, model);
    sim__begin(s, 'u', m);
    if (m) {
        m->draining = true;
        m->pinned_tier = SGI_TIER_DISK;
    }
    if (m && m->drain_reason == SGI_OK)
        m->drain_reason = reason;
    sgi_status st = sgi__core_model_drain(s->core, s->now, model, reason);
    sim__log(s, 'u', 'd', INT32_MIN, st, model, 0, 0);
    if (st != (m ? SGI_OK : SGI_E_STALE))
        sim__broken(s, "a model that is there can be drained (%d)", st);
    sim__settle(s);
    sim__now_due(s);
    return st;
}

void sim_drain(struct sim *s)
{
    sim__begin(s, 'u', NULL);
    s->closing = true;
    for (uint32_t n = 0; n < s->models.size; n++) {
        struct world_model *m = s->models.at[n];
        if (m)
            m->pinned_tier = SGI_TIER_DISK;
    }
    sim__log(s, 'u', 'D', INT32_MIN, 0, 0, 0, 0);
    sgi__core_drain(s->core, s->now);
    sim__settle(s);
    sim__now_due(s);
}

/* ---- calls ---- */

static struct world_call *find_call(struct sim *s, uint64_t lease, uint64_t instance)
{
    for (uint32_t n = 0; n < s->calls_count; n++)
        if (s->calls[n].lease == lease && (instance == 0 || s->calls[n].instance == instance))
            return &s->calls[n];
    return NULL;
}

sgi_status sim_call_begin(struct sim *s, sgi_lease lease)
{
    struct world_lease *l = sim__get(&s->leases, lease);
    uint64_t            instance = 0;

    sim__begin(s, 'u', l ? l->model : NULL);
    sgi_status st = sgi__core_call_begin(s->core, s->now, lease, &instance);
    sim__log(s, 'u', 'b', INT32_MIN, st, l ? l->model->id : 0, lease, 0);
    if (st == SGI_OK) {
        struct world_instance *i = sim__get(&s->instances, instance);
        if (!l || l->instance != instance || l->call_open || !i || i->lost || i->died || i->engine != DONE)
            sim__broken(s, "a call begins on a lease without one, whose engine runs");
        l->call_open = true;
        i->calls++;
        i->rest_known = false;
        s->calls = sim__array_add(s->calls, &s->calls_count, &s->calls_capacity, sizeof *s->calls);
        s->calls[s->calls_count - 1] = (struct world_call){
            .lease = lease,
            .instance = instance,
            .model = l->model,
            .granted_event = l->granted_event,
            .ending_since = SGI__NEVER,
        };
    }
    sim__settle(s);
    sim__now_due(s);
    return st;
}

void sim_call_cancel(struct sim *s, sgi_lease lease)
{
    struct world_call *call = find_call(s, lease, 0);
    if (!call || call->ending_since != SGI__NEVER)
        return;
    sim__begin(s, 'u', call->model);
    sim__log(s, 'u', 'k', INT32_MIN, 0, call->model->id, lease, 0);
    sgi__core_call_cancel(s->core, s->now, call->instance);
    call->ending_since = s->now;
    sim__settle(s);
    sim__now_due(s);
}

void sim_call_detach(struct sim *s, sgi_lease lease)
{
    struct world_lease *l = sim__get(&s->leases, lease);
    if (!l || !l->call_open)
        return;
    sim_call_cancel(s, lease); /* if it runs still */
    sim__begin(s, 'u', l->model);
    sim__log(s, 'u', 'y', INT32_MIN, 0, l->model->id, lease, 0);
    struct world_call *call = find_call(s, lease, 0);
    if (call)
        call->detached = true;
    sgi__core_call_detach(s->core, s->now, lease, call != NULL);
    l->call_open = false;
    sim__settle(s);
    sim__now_due(s);
}

void sim__call_back(struct sim *s, uint64_t lease, uint64_t instance)
{
    struct world_call *call = find_call(s, lease, instance);
    if (!call)
        return;
    struct world_instance *i = sim__get(&s->instances, call->instance);
    struct world_call      gone = *call;

    *call = s->calls[--s->calls_count];
    sim__begin(s, 'u', gone.model);
    sim__log(s, 'u', 'B', INT32_MIN, 0, gone.model->id, lease, 0);
    if (i && !i->died) {
        i->calls--;
        if (i->leases == 0 && i->calls == 0)
            i->last_used = s->now;
        sim__rests(s, i);
    }
    sgi__core_call_back(s->core, s->now, gone.instance, gone.ending_since != SGI__NEVER, gone.detached);
    sim__settle(s);
}

void sim_call_back(struct sim *s, sgi_lease lease)
{
    sim__call_back(s, lease, 0);
    sim__now_due(s);
}
