/* SPDX-License-Identifier: Apache-2.0 */
/* The rules. Each action is checked when it is emitted, each reply when it is given, and everything after every event.
 * What is compared with the core is the world's own ledger, kept from actions and results alone. */
#include "sim/sim_state.h"

bool sim__idle(const struct world_instance *i)
{
    bool engine = i->model->config.has_engine;
    return i->id && !i->died && i->device >= 0 && i->leases == 0 && i->calls == 0 && i->load == DONE &&
           i->prefix == DONE && (!engine || i->engine == DONE) && i->stop == NOT && i->end == NOT;
}

/* ---- why an instance may leave ---- */

static uint64_t need(const struct world_model *m)
{
    return m->config.image_bytes + m->engine_bytes;
}

/* What is on a device for good, and what is there that does not leave already. */
static void look_at(struct sim *s, uint32_t device, uint64_t *stays_out, uint64_t *held_out)
{
    const struct world_device *d = &s->devices[device];
    uint64_t                   stays = d->foreign, held = d->foreign + d->used;

    for (uint32_t n = 0; n < s->instances.size; n++) {
        const struct world_instance *i = s->instances.at[n];
        if (!i || !i->id || i->died || i->device != (int32_t)device)
            continue;
        sim__mark_hung(s, i->model);
        uint64_t bytes = i->image_bytes + i->engine_bytes;
        bool     unused = i->leases == 0 && i->calls == 0;
        if (sim__instance_hung(s, i->model))
            stays += bytes;
        else if (unused && (i->leaving || i->canceled || i->failed || i->lost || i->hung || i->model->draining ||
                            i->model->evicted))
            held -= bytes;
        else if (!sim__idle(i) || i->model->pinned_tier == SGI_TIER_DEVICE)
            stays += bytes;
    }
    *stays_out = stays;
    *held_out = held;
}

static bool waits_for_room(const struct world_model *m)
{
    return m->id && m->wants > 0 && !m->instance && (m->checked == DONE || m->dram_bytes > 0);
}

/* Somebody waits whose source is good, who would fit if all that is idle left, and (unless it is too late to tell) not
 * everybody who waits fits without this. */
static bool makes_room(struct sim *s, const struct world_instance *i, bool late)
{
    const struct world_device *d = &s->devices[i->device];
    uint64_t                   stays, held, needed = 0;
    bool                       fits = false;

    if (s->refused_event == s->event && s->refused_device == i->device)
        return true;
    if (late && s->admitted_event ==
                    s->event) /* it has its room by now, here or where something else left in the same moment */
        return true;
    if (s->habits.tick_late > 0 && s->wedged_event == s->event) /* a timer that was late took back what it counted on */
        return true;
    look_at(s, (uint32_t)i->device, &stays, &held);
    for (uint32_t n = 0; n < s->models.size; n++) {
        const struct world_model *m = s->models.at[n];
        if (m && s->habits.tick_late > 0 && m->failed_event[-SGI_E_WEDGED] == s->event)
            return true; /* it was made for one that a late timer ended in this same event */
        if (!m || m == i->model || !waits_for_room(m) || need(m) > d->bytes_max)
            continue;
        needed += need(m);
        fits = fits || (stays <= d->bytes_max && need(m) <= d->bytes_max - stays);
    }
    return !d->lost && fits && (late || needed + held > d->bytes_max);
}

/* A starving want's device: what runs there leaves when it is next unused, whether or not all of it is idle now. */
static bool yields_to_starving(const struct sim *s, const struct world_instance *i)
{
    for (uint32_t n = 0; n < s->wants.size; n++) {
        const struct world_want *w = s->wants.at[n];
        if (w && w->id && w->model != i->model && waits_for_room(w->model) &&
            s->now - w->since >= MS(s->config.starve_ms) && need(w->model) <= s->devices[i->device].bytes_max)
            return true;
    }
    return false;
}

/* It has a reason of its own to go, whatever others need. */
static bool has_to_leave(const struct sim *s, const struct world_instance *i)
{
    const struct world_model *m = i->model;

    if (i->failed || i->lost || i->hung || i->canceled || i->device < 0)
        return true;
    if (m->draining || s->closing || m->evicted)
        return true;
    if (!sim__idle(i))
        sim__broken(s, "no loading instance loses memory");
    if (m->pinned_tier == SGI_TIER_DEVICE)
        sim__broken(s, "no pinned instance loses memory");
    return i->rest_known && s->now >= i->idle_until;
}

static void check_leaves(struct sim *s, struct world_instance *i, bool late)
{
    if (i->leases > 0 || i->calls > 0)
        sim__broken(s, "no busy instance loses memory");
    if (i->leaving)
        return;
    sim__mark_hung(s, i->model);
    if (!has_to_leave(s, i)) {
        if (!makes_room(s, i, late) && !yields_to_starving(s, i))
            sim__broken(s,
                        "an idle instance leaves before its time only for one that fits, is good, and needs the room");
        s->score.evictions++;
    }
    i->leaving = true;
}

static bool ends_unseen(const struct sim *s, const struct world_instance *i)
{
    struct sgi__core_model_view v;
    return i && i->id && !i->leaving && sim__idle(i) && sgi__core_model_view(s->core, i->model->id, &v) == SGI_OK &&
           v.state == SGI_MODEL_STOPPING;
}

/* An instance that ends may have to wait until a residence that is being dropped has made room for its image: no action
 * shows it, and it had its reason now or never. First those with a reason of their own: what leaves counts for the
 * others. */
static void check_keep_waiters(struct sim *s)
{
    bool dropping = false;
    for (uint32_t n = 0; n < s->models.size && !dropping; n++) {
        const struct world_model *m = s->models.at[n];
        dropping = m && m->id && m->dropping;
    }
    for (uint32_t n = 0; dropping && n < s->instances.size; n++) {
        struct world_instance *i = s->instances.at[n];
        if (ends_unseen(s, i) && i->leases == 0 && i->calls == 0 && i->model->pinned_tier != SGI_TIER_DEVICE)
            i->leaving = has_to_leave(s, i);
        else if (ends_unseen(s, i) && (i->model->evicted || i->model->draining))
            i->leaving = true;
    }
    for (uint32_t n = 0; dropping && n < s->instances.size; n++) {
        struct world_instance *i = s->instances.at[n];
        if (ends_unseen(s, i))
            check_leaves(s, i, true); /* who was chosen after it counts as leaving already */
    }
}

/* ---- actions ---- */

static void check_reserve(const struct sim *s, const struct sgi__core_action *a, const struct world_model *m)
{
    if (m->instance)
        sim__broken(s, "at most one load per model at once");
    if (a->bytes != m->config.image_bytes)
        sim__broken(s, "a RESERVE asks for the image");
    if (a->tier == SGI_TIER_DRAM ? m->dram_bytes == 0 || m->dropping : m->checked != DONE)
        sim__broken(s, "a source is checked, or the bytes are in DRAM, before memory is taken");
    if (m->wants == 0 && !sim__hung(s, m)) /* a timer that was late may have ended them in this same event */
        sim__broken(s, "nothing is loaded that nobody wants");
    if (a->device < 0) {
        if (s->dram_used + a->bytes > s->dram_max)
            sim__broken(s, "DRAM residences stay within their budget");
        return;
    }
    const struct world_device *d = &s->devices[a->device];
    if (d->lost)
        sim__broken(s, "nothing is admitted to a lost device");
    if (d->used + d->foreign + need(m) > d->bytes_max)
        sim__broken(s, "bytes on a device stay within its capacity");
}

static void check_start(const struct sim *s, const struct sgi__core_action *a, const struct world_model *m,
                        const struct world_instance *i)
{
    if (a->kind == SGI__ACT_FILL_PREFIX) {
        if (i->prefix != NOT || i->load != UNDER_WAY || i->failed || i->lost)
            sim__broken(s, "a prefix is filled once, from when its load begins");
        return;
    }
    if (a->kind == SGI__ACT_START_LOAD) {
        if (i->reserve != DONE || i->load != NOT || i->failed || i->lost)
            sim__broken(s, "a load starts once, after its memory is there");
        if (i->device >= 0 && s->devices[i->device].context != DONE)
            sim__broken(s, "a load starts in an open context");
        for (uint32_t n = 0; n < s->instances.size; n++) {
            const struct world_instance *other = s->instances.at[n];
            if (other && other->id && other != i && other->model == m && !other->died && other->load == UNDER_WAY)
                sim__broken(s, "at most one load per model at once");
        }
        return;
    }
    if (!m->config.has_engine || i->device < 0 || i->load == NOT || i->load == FAILED || i->engine != NOT)
        sim__broken(s, "an engine starts once, after its load has begun");
    if (m->config.has_prepare && (m->prepare != DONE || m->discarding))
        sim__broken(s, "an engine starts after prepare");
}

static void check_cancel(const struct sim *s, const struct world_model *m, struct world_instance *i)
{
    if (i->load != UNDER_WAY && i->prefix != UNDER_WAY && i->engine != UNDER_WAY)
        sim__broken(s, "only a load, prefix or start that is out is canceled");
    bool wanted = m->wants > 0 || i->leases > 0 || !i->canceled;
    i->canceled = true;
    if (wanted && !(i->failed || i->lost || m->draining || s->closing || sim__hung(s, m)))
        sim__broken(s, "a load is canceled only when the last who wants it cancels");
}

static void check_end(struct sim *s, const struct sgi__core_action *a, const struct world_model *m,
                      struct world_instance *i)
{
    if (a->kind == SGI__ACT_STOP_ENGINE) {
        if (i->engine != DONE || i->stop != NOT || i->load == UNDER_WAY || i->prefix == UNDER_WAY || i->end != NOT)
            sim__broken(s, "an engine is stopped once, after it started and its load ended");
        check_leaves(s, i, false);
        return;
    }
    if (i->reserve != DONE || i->load == UNDER_WAY || i->prefix == UNDER_WAY || i->end != NOT)
        sim__broken(s, "memory is given back once, after its load ended");
    if (i->engine == UNDER_WAY || (i->engine == DONE && i->stop != DONE))
        sim__broken(s, "memory is given back after the engine stopped");
    check_leaves(s, i, false);
    bool keepable = i->load == DONE && i->prefix == DONE && !i->lost && !i->hung && !i->unkept &&
                    !(i->device >= 0 && s->config.discrete);
    if (a->kind == SGI__ACT_FREE) {
        if (keepable && m->pinned_tier == SGI_TIER_DRAM && !m->evict_dram)
            sim__broken(s, "what is pinned to DRAM is kept there");
        return;
    }
    if (i->load != DONE || i->prefix != DONE || i->lost)
        sim__broken(s, "only verified bytes are kept");
    if (i->device >= 0 && s->config.discrete)
        sim__broken(s, "an image stays in host memory only if it is there");
    if (m->dram_bytes > 0 || m->dropping)
        sim__broken(s, "a model has one residence");
    if ((i->device < 0 ? s->dram_used : s->dram_used + i->image_bytes) > s->dram_max)
        sim__broken(s, "DRAM residences stay within their budget");
}

static void check_context(const struct sim *s, const struct sgi__core_action *a)
{
    const struct world_device *d = &s->devices[a->device];
    if (d->lost)
        sim__broken(s, "a lost device is left alone");
    if (a->kind == SGI__ACT_OPEN_CONTEXT) {
        if (d->context != NOT)
            sim__broken(s, "a context is opened once");
        return;
    }
    if (d->context != DONE || d->closing)
        sim__broken(s, "an open context is closed once");
    for (uint32_t n = 0; n < s->instances.size; n++) {
        const struct world_instance *i = s->instances.at[n];
        if (i && i->id && !i->died && i->device == a->device)
            sim__broken(s, "a context is closed after its last instance has gone");
    }
}

static void check_for_model(const struct sim *s, const struct sgi__core_action *a, const struct world_model *m)
{
    switch (a->kind) {
    case SGI__ACT_CHECK_SOURCE:
        if (m->checked == UNDER_WAY || (m->wants == 0 && !sim__hung(s, m)))
            sim__broken(s, "a source is checked for somebody, once at a time");
        break;
    case SGI__ACT_PREPARE:
        if (!m->config.has_prepare || m->prepare != NOT)
            sim__broken(s, "prepare runs once");
        if (m->checked != DONE && m->dram_bytes == 0 && !m->instance)
            sim__broken(s, "prepare runs after the source was found good");
        break;
    case SGI__ACT_DISCARD:
        if (m->prepare != DONE || m->discarding || m->instance)
            sim__broken(s, "what prepare made goes once, after the instance");
        if (!m->draining && !s->closing && !m->evict_prepared)
            sim__broken(s, "what prepare made stays until somebody wants it gone");
        break;
    case SGI__ACT_DROP:
        if (m->dram_bytes == 0 || m->dropping || (m->instance && m->instance->keeping))
            sim__broken(s, "a residence is dropped once, when it is one");
        if (m->draining || s->closing || m->evict_dram)
            break;
        if (m->pinned_tier >= SGI_TIER_DRAM)
            sim__broken(s, "no pinned residence is dropped");
        if (m->wants > 0)
            sim__broken(s, "no residence is dropped that somebody waits for");
        break;
    default:
        break;
    }
}

void sim__check_action(struct sim *s, const struct sgi__core_action *a)
{
    struct world_model    *m = sim__model(s, a->model);
    struct world_instance *i = sim__get(&s->instances, a->instance);

    if (a->kind == SGI__ACT_SPARE_LIMIT) {
        if (a->bytes > s->dram_max)
            sim__broken(s, "spare memory stays within the DRAM budget");
        s->spare_limit = a->bytes;
        return;
    }
    if (a->op <= s->last_op)
        sim__broken(s, "every action has an op of its own");
    s->last_op = a->op;
    if (!s->up)
        sim__broken(s, "nothing is asked of a place that is gone");
    if (a->kind == SGI__ACT_OPEN_CONTEXT || a->kind == SGI__ACT_CLOSE_CONTEXT) {
        check_context(s, a);
        return;
    }
    if (!m)
        sim__broken(s, "an action is for a model that is there");
    switch (a->kind) {
    case SGI__ACT_RESERVE:
        check_reserve(s, a, m);
        return;
    case SGI__ACT_START_LOAD:
    case SGI__ACT_FILL_PREFIX:
    case SGI__ACT_START_ENGINE:
    case SGI__ACT_CANCEL_LOAD:
    case SGI__ACT_STOP_ENGINE:
    case SGI__ACT_FREE:
    case SGI__ACT_KEEP:
        if (!i || i->died || i->model != m || i->device != a->device || i->tier != a->tier)
            sim__broken(s, "an action is for an instance that holds memory");
        if (a->kind == SGI__ACT_CANCEL_LOAD)
            check_cancel(s, m, i);
        else if (a->kind == SGI__ACT_START_LOAD || a->kind == SGI__ACT_FILL_PREFIX || a->kind == SGI__ACT_START_ENGINE)
            check_start(s, a, m, i);
        else
            check_end(s, a, m, i);
        return;
    default:
        check_for_model(s, a, m);
        return;
    }
}

/* ---- replies ---- */

static void check_up(const struct sim *s, const struct world_instance *i)
{
    uint32_t given_up = 0; /* calls that are out still, and take the place of a lease */

    if (!i || i->died || i->lost || i->failed || i->leaving)
        sim__broken(s, "what is granted is there");
    for (uint32_t n = 0; n < s->calls_count; n++)
        given_up += s->calls[n].instance == i->id && s->calls[n].detached;
    if (i->leases + given_up >= i->model->config.leases_max)
        sim__broken(s, "leases on one instance stay within leases_max");
}

static void check_ready(const struct sim *s, const struct world_instance *i)
{
    check_up(s, i);
    if (i->device < 0 || i->load != DONE || i->prefix != DONE ||
        (i->model->config.has_engine && (i->engine != DONE || i->stop != NOT)))
        sim__broken(s, "no grant without every byte and a started engine");
}

void sim__check_try(struct sim *s, struct world_model *m)
{
    if (!m || !m->instance || m->draining || s->closing)
        sim__broken(s, "try_acquire never gives what is not there");
    check_ready(s, m->instance);
    if (m->wants > 0)
        sim__broken(s, "try_acquire does not pass those who wait");
}

static void check_grant(struct sim *s, const struct sgi__core_reply *r, const struct world_want *w)
{
    struct world_model    *m = w->model;
    struct world_instance *i = m->instance;

    if (m->draining || s->closing)
        sim__broken(s, "nothing is granted while draining");
    if (w->spec.deadline != SGI__NEVER && s->now > w->spec.deadline + s->habits.tick_late)
        sim__broken(s, "no grant after the deadline");
    if (r->model != m->id || (r->lease != 0) == w->spec.prefetch || (r->instance && (!i || r->instance != i->id)))
        sim__broken(s, "a grant names what it gives");
    if (w->spec.prefetch && w->spec.tier == SGI_TIER_DRAM && m->dram_bytes > 0 && !m->dropping && !(i && i->keeping))
        return;
    if (w->spec.prefetch) { /* it takes no lease, so a full instance is as good */
        if (!i || i->died || i->load != DONE || i->prefix != DONE || i->device < 0 ||
            (m->config.has_engine && i->engine != DONE) || i->stop != NOT)
            sim__broken(s, "a prefetch ends well when every byte is there");
    } else if (w->spec.early) {
        check_up(s, i);
        if (i->device < 0 || i->reserve != DONE || i->load == FAILED)
            sim__broken(s, "an early grant comes when memory is there");
        s->early = i;
    } else {
        check_ready(s, i);
    }
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
    if (w->spec.prefetch && w->spec.tier == SGI_TIER_DRAM && even_empty && w->model->config.image_bytes > s->dram_max)
        return true;
    for (uint32_t d = 0; d < s->devices_count; d++)
        if (need(w->model) <= s->devices[d].bytes_max && (even_empty || (!s->devices[d].lost && s->up)))
            return false;
    return true;
}

/* Residences that a device is about to take: their room stays theirs until it has. */
/* What is left of the DRAM budget beside what is reserved for those who pinned. */
static uint64_t dram_left(const struct sim *s)
{
    uint64_t taken = 0;
    for (uint32_t n = 0; n < s->models.size; n++) {
        const struct world_model *m = s->models.at[n];
        if (m && m->id)
            taken += m->pinned_tier == SGI_TIER_DRAM && !m->dropping ? m->config.image_bytes : sim__dram_taken(m);
    }
    return taken < s->dram_max ? s->dram_max - taken : 0;
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
        s->refused_image = m->config.image_bytes; /* checked when what is kept or lent in this same event is known */
        break;
    case SGI_E_WEDGED:
        if (sim__hung(s, m) ||
            (m->instance && m->instance->hung && m->instance->calls > 0)) /* until all that ends has come back */
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
}

static void want_ended(struct sim *s, const struct sgi__core_reply *r, struct world_want *w)
{
    struct world_want want = *w;
    bool              grant = r->kind == SGI__REPLY_GRANT;

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
    s->wants_count--;
    if (grant && r->lease)
        sim__lease_made(s, r->lease, want.model->instance, want.spec.idle_ns, want.spec.lease_ns);
    struct world_instance *i = want.model->instance;
    if (grant && want.spec.prefetch && want.spec.tier == SGI_TIER_DEVICE && i && sim__idle(i)) {
        i->idle_ns = want.spec.idle_ns == SGI__IDLE_OF_MODEL ? want.model->config.idle_ns : want.spec.idle_ns;
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
    struct world_model *m = sim__model(s, r->model);
    if (!m || !m->instance || m->instance->id != r->instance || !sim__instance_hung(s, m))
        sim__broken(s, "an instance is wedged when a callback of it is out for too long");
    m->instance->wedged = true;
    s->wedged_event = s->event;
    s->wedged++;
}

static void check_drained(struct sim *s, const struct sgi__core_reply *r)
{
    struct world_model *m = sim__model(s, r->model);
    if (!m || m->drained || !(m->draining || s->closing))
        sim__broken(s, "a drain ends once");
    if (m->instance || m->leases > 0 || m->wants > 0 || m->dram_bytes > 0 || m->prepare != NOT ||
        m->checked == UNDER_WAY)
        sim__broken(s, "a drain ends when nothing is held");
    m->drained = true;
    s->drained++;
}

static void check_closed(const struct sim *s)
{
    bool held = s->wants_count > 0 || s->leases_count > 0;
    for (uint32_t d = 0; d < s->devices_count; d++)
        held = held || s->devices[d].used > 0 || s->devices[d].context != NOT;
    for (uint32_t n = 0; n < s->models.size; n++) {
        const struct world_model *m = s->models.at[n];
        held = held || (m && m->id && !m->drained);
    }
    if (!s->closing || s->closed > 0 || held)
        sim__broken(s, "CLOSED comes once, when nothing is held");
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
    }
}

/* ---- after every event ---- */

static void check_devices(const struct sim *s)
{
    for (uint32_t n = 0; n < s->devices_count; n++) {
        const struct world_device   *d = &s->devices[n];
        struct sgi__core_device_view v;
        sgi__core_device_view(s->core, n, &v);
        if (d->used > d->bytes_max)
            sim__broken(s, "bytes on device %u stay within its capacity", n);
        if (v.bytes_used != d->used || v.bytes_engine != d->used_engine)
            sim__broken(s, "the books of device %u agree with what it holds (%llu, %llu)", n,
                        (unsigned long long)v.bytes_used, (unsigned long long)d->used);
        if (v.lost != (d->lost || !s->up) || v.bytes_foreign != d->foreign)
            sim__broken(s, "what is known of device %u is what was reported", n);
    }
}

static void check_totals(const struct sim *s)
{
    struct sgi__core_totals t;
    sgi__core_totals(s->core, &t);
    if (s->dram_used > s->dram_max)
        sim__broken(s, "DRAM residences stay within their budget");
    if (t.dram_bytes != s->dram_used)
        sim__broken(s, "the books of DRAM agree with what it holds (%llu, %llu)", (unsigned long long)t.dram_bytes,
                    (unsigned long long)s->dram_used);
    if (t.wants != s->wants_count || t.leases != s->leases_count || t.wants > s->config.wants_max)
        sim__broken(s, "wants and leases are counted truly and bounded");
    if (s->spare_limit > s->dram_max - s->dram_used)
        sim__broken(s, "spare memory and residences together stay within the DRAM budget");
    uint32_t calls = 0;
    for (uint32_t n = 0; n < s->instances.size; n++) {
        const struct world_instance *i = s->instances.at[n];
        if (i && i->id)
            calls += i->calls;
    }
    if (t.calls != calls)
        sim__broken(s, "calls are counted truly (%u, %u)", t.calls, calls);
    if (t.loads > s->config.loads_max)
        sim__broken(s, "loads stay within loads_max");
}

static void check_deadlines(const struct sim *s)
{
    uint64_t wake = sgi__core_wake_at(s->core);
    bool     ticked = s->event_type == 't' || s->habits.tick_late == 0;

    for (uint32_t n = 0; n < s->wants.size; n++) {
        const struct world_want *w = s->wants.at[n];
        if (!w || !w->id || w->spec.deadline == SGI__NEVER)
            continue;
        if (wake > w->spec.deadline)
            sim__broken(s, "somebody wakes for every deadline");
        if (s->event_type == 't' ? s->now >= w->spec.deadline : s->now > w->spec.deadline + s->habits.tick_late)
            sim__broken(s, "no want waits past its deadline");
    }
    for (uint32_t n = 0; n < s->instances.size; n++) {
        const struct world_instance *i = s->instances.at[n];
        if (!i || !i->id || !sim__idle(i) || i->leaving || i->model->pinned_tier == SGI_TIER_DEVICE || !i->rest_known)
            continue;
        if (wake > i->idle_until)
            sim__broken(s, "somebody wakes for every idle instance");
        if (ticked && s->event_type == 't' && s->now >= i->idle_until)
            sim__broken(s, "nothing idle stays past its time");
    }
}

static void check_views(const struct sim *s, const struct world_model *m)
{
    struct sgi__core_model_view v;
    if (sgi__core_model_view(s->core, m->id, &v) != SGI_OK)
        sim__broken(s, "a model that is there can be looked at");
    const struct world_instance *i = m->instance;
    uint64_t                     device = i && i->device >= 0 ? i->image_bytes + i->engine_bytes : 0;
    uint64_t                     dram = m->dram_bytes + (i && i->device < 0 ? i->image_bytes : 0);
    if (v.leases != m->leases || v.wants != m->wants || v.pinned_tier != m->pinned_tier ||
        v.draining != (m->draining || s->closing))
        sim__broken(s, "a model's view counts its leases and wants");
    if (v.device_bytes != device || v.dram_bytes != dram)
        sim__broken(s, "a model's view tells what it holds");
    if (v.prepared_bytes != m->prepared_bytes)
        sim__broken(s, "a model's view tells what prepare made");
}

static void check_lease(const struct sim *s, const struct world_lease *l)
{
    struct sgi__core_lease_view  v;
    const struct world_instance *i = sim__get(&s->instances, l->instance);
    if (sgi__core_lease_view(s->core, l->id, &v) != SGI_OK)
        sim__broken(s, "a lease lives until it is released");
    if (!i || v.model != l->model->id || v.instance != l->instance || v.call_open != l->call_open)
        sim__broken(s, "a lease's view tells what it is for");
    bool gone = i->died || i->lost;
    if (gone && (!v.lost || v.lost_status != SGI_E_DEVICE_LOST))
        sim__broken(s, "a lease on what is gone says so");
    if (!v.lost && (i->load == FAILED || i->end != NOT))
        sim__broken(s, "a lease says when its load failed");
    if (!v.lost && v.loading != (i->load == UNDER_WAY))
        sim__broken(s, "a lease says whether its load goes on");
}

/* Somebody waits and nothing will ever happen: no result, lease, call or timer is out, and nothing is in the way for
 * good. */
static void check_not_stuck(const struct sim *s)
{
    if (s->wants_count == 0 || s->out_count > 0 || s->leases_count > 0 || s->calls_count > 0)
        return;
    for (uint32_t n = 0; n < s->models.size; n++) {
        const struct world_model *m = s->models.at[n];
        if (m && m->id && m->pinned_tier != SGI_TIER_DISK)
            return;
    }
    for (uint32_t d = 0; d < s->devices_count; d++)
        if (s->devices[d].foreign > 0 || s->devices[d].lost || !s->up)
            return;
    sim__broken(s, "no want waits for nothing");
}

/* The oldest want of all is not passed for ever: once it has waited starve_ms, it takes the leases then running and its
 * own start. */
static void check_starving(struct sim *s)
{
    const struct world_want *oldest = NULL;
    for (uint32_t n = 0; n < s->wants.size; n++) {
        const struct world_want *w = s->wants.at[n];
        if (w && w->id && (!oldest || w->seq < oldest->seq))
            oldest = w;
    }
    if (!oldest)
        return;
    if (oldest->seq != s->oldest_seq) {
        s->oldest_seq = oldest->seq;
        s->oldest_since = s->now;
    }
    uint64_t from = oldest->since + MS(s->config.starve_ms);
    if (from < s->oldest_since)
        from = s->oldest_since;
    if (s->now > from + s->habits.patience)
        sim__broken(s,
                    "the oldest want (%u) is granted or ended within starve_ms, the leases then running and its own "
                    "start (%.0f ms)",
                    sgi__core_slot(oldest->id), (double)s->habits.patience / 1e6);
}

void sim__check_all(struct sim *s)
{
    if (s->early && s->early->load == NOT) /* replies are taken before actions */
        sim__broken(s, "an early grant comes when the load has begun");
    s->early = NULL;
    if (s->refused_image && s->refused_image <= dram_left(s))
        sim__broken(s, "a prefetch into DRAM is refused only when there is no room");
    s->refused_image = 0;
    check_devices(s);
    check_totals(s);
    check_keep_waiters(s);
    check_deadlines(s);
    for (uint32_t n = 0; s->event_type == 't' && s->wedged > 0 && n < s->instances.size; n++) {
        const struct world_instance *i = s->instances.at[n];
        if (i && i->id && !i->died && i->wedged && i->model->wants > 0 && sim__engine_hung(s, i->model))
            sim__broken(s, "a wedged model refuses");
    }
    for (uint32_t n = 0; s->event_type == 't' && n < s->out_count; n++) { /* a prepare counts as failed while nobody
                                                                             asks, too */
        struct world_model        *m = sim__model(s, s->out[n]->action.model);
        enum sgi__core_action_kind kind = s->out[n]->action.kind;
        if ((kind == SGI__ACT_PREPARE || kind == SGI__ACT_DISCARD) && s->now - s->out[n]->since >= m->config.hang_ns)
            m->failed_event[-SGI_E_WEDGED] = s->event;
    }
    if (s->event_model && s->event_model->id)
        check_views(s, s->event_model);
    if (s->leases.size > 0) {
        const struct world_lease *l = s->leases.at[s->event % s->leases.size];
        if (l && l->id)
            check_lease(s, l);
    }
    check_not_stuck(s);
    if (s->habits.calm)
        check_starving(s);
    sgi__core_check(s->core);
}

/* Clients are quiet, and the last idle time and linger have passed. */
void sim__check_quiet(struct sim *s)
{
    if (s->out_count > 0)
        sim__broken(s, "everything asked of a place has ended");
    for (uint32_t d = 0; d < s->devices_count; d++) {
        struct sgi__core_device_view v;
        sgi__core_device_view(s->core, d, &v);
        if (s->devices[d].used != 0)
            sim__broken(s, "nothing is held on device %u when nobody uses it", d);
        if (s->devices[d].context != NOT || v.context_open || v.instances != 0)
            sim__broken(s, "no context is open on device %u when nobody uses it", d);
    }
    for (uint32_t n = 0; n < s->models.size; n++) {
        const struct world_model *m = s->models.at[n];
        if (!m || !m->id)
            continue;
        check_views(s, m);
        struct sgi__core_model_view v;
        sgi__core_model_view(s->core, m->id, &v);
        if (v.instance != 0 || v.state != SGI_MODEL_COLD)
            sim__broken(s, "no instance is left when nobody uses it");
    }
    struct sgi__core_totals t;
    sgi__core_totals(s->core, &t);
    if (t.loads != 0 || t.calls != 0 || t.device_bytes != 0)
        sim__broken(s, "nothing is counted when nobody uses it");
}
