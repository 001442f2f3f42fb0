/* SPDX-License-Identifier: Apache-2.0 */
/* The rules for replies: each is checked when it is given, against what the world knows. */
#include "sim/sim_state.h"

/* ---- replies ---- */

static void check_up(const struct sim *s, const struct world_instance *i)
{
    if (!i || i->died || i->lost || i->failed || i->leaving)
        sim__broken(s, "what is granted is there");
    if (sim__free_leases(s, i) == 0)
        sim__broken(s, "leases on one instance stay within leases_max");
}

static bool would_grant(const struct sim *s, const struct world_instance *i)
{
    return sim__serves(s, i) && sim__free_leases(s, i) > 0 && !sim__yields(s, i);
}

/* Of several that would: the one on the hinted device, else one in use, so that the others may become idle. */
static void check_choice(const struct sim *s, const struct world_instance *i, int32_t hint)
{
    bool in_use = i->leases > 0 || i->calls > 0;
    for (const struct world_instance *other = i->model->instances; other; other = other->next) {
        if (other == i || i->device == hint || !would_grant(s, other))
            continue;
        if (other->device == hint)
            sim__broken(s, "a lease is on the device that was hinted at, if there is room on it");
        if (!in_use && (other->leases > 0 || other->calls > 0))
            sim__broken(s, "a lease is on what is in use already, if there is room on it");
    }
}

static void check_ready(const struct sim *s, const struct world_instance *i, int32_t hint)
{
    check_up(s, i);
    check_choice(s, i, hint);
    if (i->device < 0 || i->load != DONE || i->prefix != DONE ||
        (i->model->config.has_engine && (i->engine != DONE || i->stop != NOT)))
        sim__broken(s, "no grant without every byte and a started engine");
    if (i->own && !i->in_context)
        sim__broken(s, "no grant before the context is open");
}

void sim__check_try(struct sim *s, struct world_model *m, const struct world_instance *i)
{
    if (!m || !i || i->model != m || m->draining || s->closing)
        sim__broken(s, "try_acquire never gives what is not there");
    check_ready(s, i, -1);
    if (m->wants > 0)
        sim__broken(s, "try_acquire does not pass those who wait");
}

/* Who found a load under way joined it, if that is what it got. */
static void check_joined(const struct sim *s, const struct sgi__core_reply *r, const struct world_want *w,
                         const struct world_instance *i)
{
    bool found_it_up = i->up_seq > 0 && w->seq > i->up_seq;
    bool found_it_coming = w->seq > i->admitted_seq && !found_it_up;
    if (found_it_up ? r->joined : found_it_coming && !r->joined)
        sim__broken(s, "a want has joined the load that it found under way, and no other");
}

static void check_grant(struct sim *s, const struct sgi__core_reply *r, const struct world_want *w)
{
    struct world_model    *m = w->model;
    struct world_instance *i = sim__get(&s->instances, r->instance);

    if (m->draining || s->closing)
        sim__broken(s, "nothing is granted while draining");
    if (w->spec.deadline != SGI__NEVER && s->now > w->spec.deadline + s->habits.tick_late)
        sim__broken(s, "no grant after the deadline");
    if (r->model != m->id || (r->lease != 0) == w->spec.prefetch || (r->instance && (!i || i->model != m)))
        sim__broken(s, "a grant names what it gives");
    if (w->spec.prefetch && w->spec.tier == SGI_TIER_DRAM && sim__resident(m))
        return;
    if (w->spec.prefetch) { /* it takes no lease, so a full instance is as good */
        if (!i || i->died || i->lost || i->load != DONE || i->prefix != DONE || i->device < 0 ||
            (m->config.has_engine && i->engine != DONE) || i->stop != NOT)
            sim__broken(s, "a prefetch ends well when every byte is there");
    } else if (w->spec.early) {
        check_up(s, i);
        if (sim__up(i))
            check_choice(s, i, w->spec.device_hint);
        if (i->device < 0 || i->reserve != DONE || i->load == FAILED)
            sim__broken(s, "an early grant comes when memory is there");
        s->early = i;
    } else {
        check_ready(s, i, w->spec.device_hint);
    }
    check_joined(s, r, w, i);
    if (r->tier != SGI_TIER_DEVICE && r->tier != i->tier)
        sim__broken(s, "a grant says where the bytes came from");
}

/* The status was what a step of this model's start ended with, in this event or in what it backs off from. */
static bool failed_with(const struct sim *s, const struct world_model *m, const struct sgi__core_reply *r)
{
    uint64_t event = -r->status < SIM_STATUSES ? m->failed_event[-r->status] : 0;
    if (event == s->event)
        return true;
    struct sgi__core_model_view view;
    sgi__core_model_view(s->core, m->id, &view);
    return event > 0 && view.failed_until > s->now && r->retry_after_ns == view.failed_until - s->now;
}

/* It could not fit anywhere, or only where there is nothing left to run on. */
static bool fits_nowhere(const struct sim *s, const struct world_want *w, bool even_empty)
{
    if (w->spec.prefetch && w->spec.tier == SGI_TIER_DRAM && even_empty && sim__least(w->model) > s->dram_max)
        return true;
    for (uint32_t d = 0; d < s->devices_count; d++)
        if (sim__may_be_on(s, w->model, d) && (even_empty || (!s->devices[d].lost && s->up)))
            return false;
    return true;
}

/* What is left of the DRAM budget beside what is reserved for those who pinned. */
uint64_t sim__dram_left(const struct sim *s)
{
    uint64_t taken = 0;
    for (uint32_t n = 0; n < s->models.size; n++) {
        const struct world_model *m = s->models.at[n];
        if (m && m->id)
            taken += m->pinned_tier == SGI_TIER_DRAM && !m->dropping ? sim__most(m) : sim__dram_taken(m);
    }
    uint64_t max = s->ceiling_before < s->dram_max ? s->ceiling_before : s->dram_max;
    return taken < max ? max - taken : 0;
}

/* What hung has come back, and what was canceled with it has not. */
static bool ends_of_hung(const struct world_model *m)
{
    for (const struct world_instance *i = m->instances; i; i = i->next)
        if (i->hung && i->calls > 0)
            return true;
    return false;
}

static void check_reject(struct sim *s, const struct sgi__core_reply *r, const struct world_want *w)
{
    struct world_model *m = w->model;
    bool                fair = true;

    if (m->draining && !s->closing && r->status == m->drain_reason)
        return;
    switch (r->status) {
    case SGI_OK:
        fair = false;
        break;
    case SGI_E_TIMEOUT:
        fair = s->now >= w->spec.deadline;
        break;
    case SGI_E_CANCELED:
        fair = w->canceled || failed_with(s, m, r);
        break;
    case SGI_E_CLOSED:
        fair = s->closing;
        break;
    case SGI_E_NO_ROOM:
        fair = fits_nowhere(s, w, true);
        break;
    case SGI_E_BUSY: /* a residence for which there is no room beside what is pinned or in use */
        fair = w->spec.prefetch && w->spec.tier == SGI_TIER_DRAM;
        s->refused_image = sim__least(m); /* checked when what is kept or lent in this same event is known */
        break;
    case SGI_E_WEDGED:
        if (sim__hung(s, m) || ends_of_hung(m))
            m->failed_event[-SGI_E_WEDGED] = s->event;
        fair = failed_with(s, m, r);
        break;
    case SGI_E_DEVICE_LOST:
        fair = fits_nowhere(s, w, false) || failed_with(s, m, r);
        break;
    default:
        fair = failed_with(s, m, r);
        break;
    }
    if (!fair)
        sim__broken(s, "a want ends with a status that is true (%d, step %u)", r->status, r->step);
    bool asked_for = r->status == SGI_E_TIMEOUT || r->status == SGI_E_CLOSED || w->canceled;
    if (!asked_for && sim__server(s, m))
        sim__broken(s, "no want ends for what happened to one instance while another one serves (%d)", r->status);
}

static void want_ended(struct sim *s, const struct sgi__core_reply *r, struct world_want *w)
{
    struct world_want      want = *w;
    struct world_instance *i = sim__get(&s->instances, r->instance);
    bool                   grant = r->kind == SGI__REPLY_GRANT;

    s->outcome_tickets[s->outcomes_count % SIM_OUTCOMES] = r->ticket;
    s->outcomes[s->outcomes_count++ % SIM_OUTCOMES] = (struct sim_outcome){
        .ended = true,
        .status = grant ? SGI_OK : r->status,
        .step = r->step,
        .tier = r->tier,
        .joined = r->joined,
        .lease = r->lease,
        .instance = r->instance,
        .retry_after_ns = r->retry_after_ns,
        .at = s->now,
    };
    s->score.granted += grant;
    s->score.rejected += !grant;
    s->score.canceled += r->status == SGI_E_CANCELED;
    s->score.timeouts += r->status == SGI_E_TIMEOUT;
    w->id = 0;
    want.model->wants--;
    want.model->dram_event = s->event;
    if (grant)
        want.model->granted_event = s->event;
    s->wants_count--;
    if (grant && r->lease && i->load != DONE && want.spec.priority > i->priority_early)
        i->priority_early = want.spec.priority;
    if (grant && r->lease)
        sim__lease_made(s, r->lease, i, want.spec.idle_ns, want.spec.lease_ns);
    if (grant && want.spec.prefetch && want.spec.tier == SGI_TIER_DEVICE && i && sim__idle(i)) {
        i->idle_ns = want.spec.idle_ns == SGI__IDLE_OF_MODEL ? want.model->config.idle_ns : want.spec.idle_ns;
        i->last_used = s->now;
        sim__rests(s, i);
    }
}

static void check_overdue(struct sim *s, const struct sgi__core_reply *r)
{
    struct world_lease *l = sim__get(&s->leases, r->lease);
    if (!l || l->overdue || s->now < l->due || r->model != l->model->id || r->instance != l->instance)
        sim__broken(s, "a lease is overdue once, and after its time");
    l->overdue = true;
    s->overdue++;
}

static void check_wedged(struct sim *s, const struct sgi__core_reply *r)
{
    struct world_instance *i = sim__get(&s->instances, r->instance);
    if (!i || i->model->id != r->model || !sim__instance_hung(s, i))
        sim__broken(s, "an instance is wedged when a callback of it is out for too long");
    i->wedged = true;
    s->wedged_event = s->upset_event = s->event;
    s->wedged++;
}

static void check_drained(struct sim *s, const struct sgi__core_reply *r)
{
    struct world_model *m = sim__model(s, r->model);
    if (!m || m->drained || !(m->draining || s->closing))
        sim__broken(s, "a drain ends once");
    if (m->instances || m->leases > 0 || m->wants > 0 || m->dram_bytes > 0 || m->prepare != NOT ||
        m->checked == UNDER_WAY)
        sim__broken(s, "a drain ends when nothing is held");
    m->drained = true;
    s->drained++;
}

static void check_closed(const struct sim *s)
{
    bool held = s->wants_count > 0 || s->leases_count > 0 || s->stopping > 0;
    for (uint32_t d = 0; d < s->devices_count; d++)
        held = held || s->devices[d].used > 0 || s->devices[d].context != NOT;
    for (uint32_t n = 0; n < s->models.size; n++) {
        const struct world_model *m = s->models.at[n];
        held = held || (m && m->id && !m->drained);
    }
    if (!s->closing || s->closed > 0 || held)
        sim__broken(s, "CLOSED comes once, when nothing is held");
}

static void check_note(struct sim *s, const struct sgi__core_reply *r)
{
    bool                   ends = r->note == SGI__NOTE_STOPS || r->note == SGI__NOTE_RELEASED;
    struct world_instance *i = sim__get(&s->instances, r->instance);

    if (r->note == SGI__NOTE_READY && i)
        i->last_used = s->now;
    s->stopping += r->note == SGI__NOTE_STOPS;
    if ((ends || r->note == SGI__NOTE_DROPS) && r->cause == SGI_CAUSE_NONE)
        sim__broken(s, "whatever leaves has a cause");
    if (r->note == SGI__NOTE_RELEASED && s->stopping-- == 0)
        sim__broken(s, "what is released was noted to stop");
}

void sim__check_reply(struct sim *s, const struct sgi__core_reply *r)
{
    struct world_want *w = sim__get(&s->wants, r->ticket);

    sim__log(s, 'r', (uint8_t)r->kind, INT32_MIN, r->status, r->ticket, r->lease, r->retry_after_ns);
    switch (r->kind) {
    case SGI__REPLY_GRANT:
    case SGI__REPLY_REJECT:
        if (!w)
            sim__broken(s, "each want ends exactly once");
        if (r->kind == SGI__REPLY_GRANT)
            check_grant(s, r, w);
        else
            check_reject(s, r, w);
        want_ended(s, r, w);
        break;
    case SGI__REPLY_OVERDUE:
        check_overdue(s, r);
        break;
    case SGI__REPLY_WEDGED:
        check_wedged(s, r);
        break;
    case SGI__REPLY_DRAINED:
        check_drained(s, r);
        break;
    case SGI__REPLY_CLOSED:
        check_closed(s);
        s->closed++;
        break;
    case SGI__REPLY_NOTE:
        check_note(s, r);
        break;
    }
}
