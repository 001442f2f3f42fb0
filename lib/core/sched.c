/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who goes next. One pass serves the models that have wants, in the order of their first want: leases on what is up,
 * then starts for what is not, each where there is room, evicting what nobody uses. A small model may pass a larger one
 * that waits for room until that one has waited `starve_ns`; from then on its device is kept for it: nothing else is
 * admitted there, and what runs there grants no more leases than it takes to make the room. Those who have waited so
 * long are served first, the oldest first: a loader that is free, too, goes to them before more urgent ones.
 */
#include <assert.h>

#include "core/room.h"

/* ---- leases ---- */

static bool grants(const struct instance *i)
{
    return (i->state == ST_READY || i->state == ST_BUSY) && !i->closing &&
           i->calls_detached < i->model->config.leases_max - i->leases;
}

/* Of two that would: the one on the hinted device, else the one in use, so that the other may become idle. */
static bool grants_rather(const struct instance *a, const struct instance *b, int32_t hint)
{
    if ((a->device == hint) != (b->device == hint))
        return a->device == hint;
    return a->state != b->state ? a->state == ST_BUSY : a->last_used > b->last_used;
}

struct instance *sgi__model_grants(const struct model *m, int32_t hint)
{
    struct instance *best = NULL;
    for (struct instance *i = m->instances; i; i = i->model_next)
        if (grants(i) && (!best || grants_rather(i, best, hint)))
            best = i;
    return best;
}

struct lease *sgi__lease_grant(struct sgi__core *core, uint64_t now, struct instance *i, uint64_t idle_ns,
                               uint64_t lease_ns)
{
    struct lease *l = sgi__slots_take(&core->leases, core, ID_LEASE);

    l->instance = i;
    l->instance_id = i->id;
    l->idle_ns = idle_ns;
    l->requested_at = l->granted_at = now;
    l->tier = SGI_TIER_DEVICE;
    sgi__timer_init(&l->overdue, TIMER_LEASE, l);
    sgi__timer_set(core, &l->overdue, lease_ns >= SGI__NEVER - now ? SGI__NEVER : now + lease_ns);
    i->leases++;
    i->served = true;
    core->dirty = core->dirty || core->devices_kept; /* having served those who came first, it may yield from now on */
    i->model->leases++;
    i->last_used = now;
    core->leases_count++;
    sgi__timer_unset(&i->idle);
    sgi__instance_move(i, EV_LEASED);
    return l;
}

static const struct want *oldest_want(const struct model *m)
{
    const struct want *oldest = m->wants_head;
    for (const struct want *w = m->wants_head; w; w = w->next)
        if (w->seq < oldest->seq)
            oldest = w;
    return oldest;
}

/* Since when a device (or anything) is waited for, by who is in time; SGI__NEVER: by nobody. */
static uint64_t waits_since(const struct model *m, uint64_t now, bool for_device)
{
    uint64_t since = SGI__NEVER;
    for (const struct want *w = m->wants_head; w; w = w->next)
        if ((!for_device || w->spec.tier == SGI_TIER_DEVICE) && w->spec.deadline > now && w->since < since)
            since = w->since;
    return since;
}

/* The timers follow the scheduler, and may be late: nothing is started or evicted for those whose time is over. */
static bool in_time(const struct model *m, uint64_t now, bool for_device)
{
    return waits_since(m, now, for_device) != SGI__NEVER;
}

/* Who waited long enough may have ended meanwhile: then the timer was early, and whoever looks finds nobody starving
 * yet. Nor is it who waits for one more beside an instance that serves: that would only help. */
static bool starves(const struct sgi__core *core, uint64_t now, const struct instance *i)
{
    uint64_t since = waits_since(i->model, now, !i->to_dram);
    return since != SGI__NEVER && now - since >= core->config.starve_ns && !sgi__model_serves(i->model);
}

/* It waits for room or a loader: somebody wakes when it starves. */
static void watch_starving(struct sgi__core *core, uint64_t now, struct instance *i)
{
    uint64_t starve = core->config.starve_ns, since = waits_since(i->model, now, !i->to_dram);

    if (starve < SGI__NEVER - since && now < since + starve)
        sgi__timer_set(core, &i->starve, since + starve);
}

static void block(struct sgi__core *core, uint64_t now, struct instance *i, int32_t device)
{
    /* A device where it has not waited in this run of the scheduler is to be kept from now on. */
    if (device >= 0 && (!i->blocked || i->blocked_device != device) && !(i->waited_on >> device & 1) &&
        starves(core, now, i))
        core->dirty = true;
    i->waited_on |= device >= 0 ? 1u << device : 0;
    i->blocked = true;
    i->blocked_device = device;
    watch_starving(core, now, i);
}

static bool has_loader(const struct sgi__core *core, const struct instance *i)
{
    return i->tier != SGI_TIER_DISK || core->loads < core->config.loads_max;
}

static void place_to_dram(struct sgi__core *core, uint64_t now, struct instance *i)
{
    if (sgi__model_filling(i->model)) /* the one before is on its way out: there is room for one */
        return;
    uint64_t shares;
    if (sgi__fill_asks_again(core, i))
        return;
    switch (sgi__fill_room(core, i, &shares)) {
    case ROOM_NOW:
        i->shares = shares;
        sgi__instance_admit(core, now, i, SGI__DRAM);
        sgi__fill_begins(core, i);
        break;
    case ROOM_SOON:
        break;      /* each drop that ends brings the scheduler back */
    case ROOM_NONE: /* pinned or in use: a prefetch is not worth waiting for that */
        if (sgi__fill_may_fit(core, i))
            break;
        sgi__wants_reject(core, i->model, SGI_E_BUSY, SGI_STEP_QUEUE, 0);
        sgi__instance_abandon(core, now, i->model, true);
        break;
    }
}

static bool kept_elsewhere(const struct sgi__core *core, const struct device *d, const struct instance *i)
{
    for (uint32_t n = 0; n < core->config.devices_count; n++)
        if (core->devices[n].kept_for == i && &core->devices[n] != d)
            return true;
    return false;
}

/* For this pass: neither a smaller one nor one that needs no loader must take what is there for it, or will be. */
static void promise(struct sgi__core *core, struct instance *i, struct device *d)
{
    i->promised = true;
    d->promised += sgi__instance_need(i, d);
    core->devices_kept = true;
    core->dirty = core->dirty || kept_elsewhere(core, d, i); /* it needs one of them only */
}

/* True: there is room for it. It begins then, if there is a loader too; if not, it starves. */
static bool place_now(struct sgi__core *core, uint64_t now, struct instance *i)
{
    int32_t device = sgi__room_now(core, i, i->model->wants_head->spec.device_hint);

    if (device < 0)
        return false;
    if (has_loader(core, i)) {
        sgi__instance_admit(core, now, i, device);
        core->dirty = core->dirty || core->devices_kept; /* who came before had less to choose from than there is now */
    } else {
        promise(core, i, &core->devices[device]);
    }
    return true;
}

/* QUEUED, and its source is good: start it where there is room, or make some. */
static void place(struct sgi__core *core, uint64_t now, struct instance *i)
{
    bool loader = has_loader(core, i);

    if (!loader)
        watch_starving(core, now, i);
    if (i->promised || (!loader && (i->to_dram || !starves(core, now, i)))) /* one that starves has its room made now */
        return;
    if (i->to_dram) {
        place_to_dram(core, now, i);
        return;
    }
    if (place_now(core, now, i))
        return;
    int32_t device = sgi__room_later(core, i, i->model->wants_head->spec.device_hint);
    block(core, now, i, device);
    if (device < 0 || sgi__room_kept_from(&core->devices[device], i))
        return;
    struct device *d = &core->devices[device];
    uint64_t       need = sgi__instance_need(i, d) + d->promised;
    sgi__room_make(core, now, d, need);
    if (place_now(core, now, i)) /* an image that is kept in DRAM has left at once */
        return;
    if (sgi__room_lacking(d, need, sgi__room_leaving(d)) == 0)
        promise(core, i, d);
}

/* ---- starvation ---- */

/* What has just come up serves those it was brought up for first: two that starve for one device would else take it
 * from each other for ever. And who waits for it may have waited longer than the one that starves. What goes anyway
 * (closing) is chosen like the others: those that were chosen before it stay so. */
static bool yields(const struct device *d, const struct instance *i)
{
    const struct model *m = i->model;

    if ((i->state != ST_READY && i->state != ST_BUSY) || i->chosen || sgi__instance_pinned(i))
        return false;
    return i->closing || m->wants == 0 || (i->served && oldest_want(m)->seq > oldest_want(d->kept_for->model)->seq);
}

/* Who leaves first: what is unused, then what was chosen before (or two that are busy would take turns for ever), then
 * what was unused longest. */
static struct instance *first_to_yield(const struct device *d)
{
    struct instance *first = NULL;
    for (struct instance *i = d->instances; i; i = i->device_next) {
        if (!yields(d, i))
            continue;
        bool ready = i->state == ST_READY;
        bool better = !first || ready > (first->state == ST_READY);
        if (first && ready == (first->state == ST_READY))
            better = i->yielding != first->yielding ? i->yielding : i->last_used < first->last_used;
        if (better)
            first = i;
    }
    return first;
}

/* Those who starve, the one that has waited longest first. Most come in that order. */
static struct instance *starving(struct sgi__core *core, uint64_t now)
{
    struct instance *first = NULL, *last = NULL;

    for (struct model *m = core->pending_head; m; m = m->pending_next) {
        struct instance *i = m->coming;
        if (!i || i->state != ST_QUEUED || !i->source_ok || !starves(core, now, i))
            continue;
        uint64_t          seq = oldest_want(m)->seq;
        struct instance **at = last && oldest_want(last->model)->seq < seq ? &last->starving_next : &first;
        while (*at && oldest_want((*at)->model)->seq < seq)
            at = &(*at)->starving_next;
        i->starving_next = *at;
        *at = i;
        if (!i->starving_next)
            last = i;
    }
    return first;
}

/* The device where it has room, or where its room can come, unless somebody has waited longer for that. */
static void keep_for(struct sgi__core *core, struct instance *i)
{
    int32_t device = i->to_dram ? SGI__DRAM : sgi__room_now(core, i, i->model->wants_head->spec.device_hint);

    if (device < 0 && i->blocked && !i->to_dram)
        device = i->blocked_device;
    if (device >= 0 && !core->devices[device].kept_for &&
        sgi__room_can_come(core, &core->devices[device], i)) /* else letting go would not help */
        core->devices[device].kept_for = i;
}

/* What there must let go for the one that a device is kept for. */
static void let_go(struct sgi__core *core, uint64_t now, struct device *d)
{
    uint64_t         need = sgi__instance_need(d->kept_for, d), going = sgi__room_leaving(d);
    struct instance *victim;

    while (sgi__room_lacking(d, need, going) > 0 && (victim = first_to_yield(d)) != NULL) {
        victim->chosen = victim->closing = true;
        if (victim->state == ST_READY)
            sgi__instance_stop(core, now, victim, true);
        going += victim->charged; /* less of it, where its image is kept: that is not counted as used any more */
    }
}

/* For each device who has starved for it longest. Decided anew in each pass, so that it ends when the want does.
 * Returns all who starve. */
static struct instance *keep_devices(struct sgi__core *core, uint64_t now)
{
    core->devices_kept = false;
    for (uint32_t n = 0; n < core->config.devices_count; n++) {
        struct device *d = &core->devices[n];
        d->kept_for = NULL;
        d->promised = 0;
        for (struct instance *i = d->instances; i; i = i->device_next)
            if (i->state == ST_READY || i->state == ST_BUSY) {
                i->yielding = i->chosen;
                i->chosen = false;
                i->closing = i->lost || i->model->draining;
            }
    }
    for (struct model *m = core->pending_head; m; m = m->pending_next)
        if (m->coming)
            m->coming->promised = false;
    struct instance *first = starving(core, now);
    for (struct instance *i = first; i; i = i->starving_next)
        keep_for(core, i);
    for (uint32_t n = 0; n < core->config.devices_count; n++)
        if (core->devices[n].kept_for) {
            core->devices_kept = true;
            let_go(core, now, &core->devices[n]);
        }
    return first;
}

/* ---- what is up ---- */

/* Of those that are up: what was used last. */
static struct instance *any_up(const struct model *m)
{
    struct instance *best = NULL;
    for (struct instance *i = m->instances; i; i = i->model_next)
        if (sgi__instance_serves(i) && (!best || i->last_used > best->last_used))
            best = i;
    return best;
}

/* What the instances that are up can give. */
static void serve_up(struct sgi__core *core, uint64_t now, struct model *m)
{
    for (struct want *w = m->wants_head, *next; w; w = next) {
        struct instance *i = sgi__model_grants(m, w->spec.device_hint);
        next = w->next;
        if (!w->spec.prefetch) {
            if (i)
                sgi__want_grant(core, now, w, i);
            continue;
        }
        if (!i) /* busy or not, it is there */
            i = any_up(m);
        if (!i)
            continue;
        uint64_t idle_ns = w->spec.idle_ns;
        bool     device = w->spec.tier == SGI_TIER_DEVICE;
        sgi__want_grant(core, now, w, i);
        if (device && i->state == ST_READY && !i->closing)
            sgi__instance_rest(core, now, i, idle_ns);
    }
    struct instance *up = any_up(m);
    if (m->wants == 0 && up && up->state == ST_READY) /* only prefetches: who came before could not have its room */
        core->dirty = true;
}

static void serve_early(struct sgi__core *core, uint64_t now, struct instance *i)
{
    struct model *m = i->model;
    if (i->to_dram || i->closing)
        return;
    /* Whose turn is sooner: their leases are set aside, or a stream of early wants would pass them for ever. */
    uint32_t before = 0;
    for (struct want *w = m->wants_head, *next; w; w = next) {
        next = w->next;
        if (w->spec.prefetch)
            continue;
        if (i->leases >= m->config.leases_max || before >= m->config.leases_max - i->leases)
            break;
        if (w->spec.early)
            sgi__want_grant(core, now, w, i);
        else
            before++;
    }
}

/* Prefetches into DRAM are done once the bytes are there, whoever brought them. */
static void serve_kept(struct sgi__core *core, uint64_t now, struct model *m)
{
    for (struct want *w = m->wants_head, *next; w; w = next) {
        next = w->next;
        if (w->spec.tier == SGI_TIER_DRAM)
            sgi__want_grant(core, now, w, NULL);
    }
}

static bool wants_device(const struct model *m)
{
    const struct want *w = m->wants_head;
    while (w && w->spec.tier != SGI_TIER_DEVICE)
        w = w->next;
    return w != NULL;
}

/* One that ends leaves its image in DRAM: from there a start is quick, and does not read it all again. */
static bool about_to_be_kept(const struct sgi__core *core, const struct model *m)
{
    for (const struct instance *i = m->instances; i; i = i->model_next)
        if (i->keeping || (i->state == ST_STOPPING && !i->op_end && sgi__instance_keeps(core, i)))
            return true;
    return false;
}

/* Wherever it fits there is one of it, and what hangs may never give its device back. */
static bool hangs_everywhere(const struct sgi__core *core, const struct model *m, bool to_dram, uint32_t *step_out)
{
    const struct instance *filling = sgi__model_filling(m);
    bool                   hangs = to_dram && filling && filling->state == ST_WEDGED;

    if (hangs)
        *step_out = filling->failed_step;
    if (to_dram)
        return hangs;
    for (uint32_t n = 0; n < core->config.devices_count; n++) {
        const struct device   *d = &core->devices[n];
        const struct instance *i = sgi__room_holds(core, d, m);
        if (d->lost || !sgi__room_is_for(core, d, m))
            continue;
        if (!i || i->state != ST_WEDGED)
            return false;
        hangs = true;
        *step_out = i->failed_step;
    }
    return hangs;
}

sgi_status sgi__cold_refused(const struct sgi__core *core, uint64_t now, const struct model *m, bool to_dram,
                             uint32_t *step_out)
{
    sgi_status why_not;

    *step_out = m->hung_step;
    if (m->hung_step)
        return SGI_E_WEDGED;
    *step_out = m->failed_step;
    if (now < m->failed_until)
        return m->failed;
    *step_out = SGI_STEP_QUEUE;
    if (!sgi__fits_somewhere(core, m, to_dram, &why_not))
        return why_not;
    return hangs_everywhere(core, m, to_dram, step_out) ? SGI_E_WEDGED : SGI_OK;
}

/* Nothing of it is up: the first who wants it has it started. */
static void serve_cold(struct sgi__core *core, uint64_t now, struct model *m)
{
    bool       to_dram = !wants_device(m);
    uint32_t   step;
    sgi_status why_not = sgi__cold_refused(core, now, m, to_dram, &step);

    if (why_not != SGI_OK)
        sgi__wants_reject(core, m, why_not, step, now < m->failed_until && !m->hung_step ? m->failed_until - now : 0);
    else if (!about_to_be_kept(core, m))
        sgi__instance_start(core, now, m, to_dram);
}

/* ---- one more ---- */

static bool fits_beside(const struct sgi__core *core, const struct model *m)
{
    for (uint32_t n = 0; n < core->config.devices_count; n++) {
        const struct device *d = &core->devices[n];
        if (!d->lost && sgi__room_is_for(core, d, m) && !sgi__room_holds(core, d, m))
            return true;
    }
    return false;
}

uint64_t sgi__queue_ns(uint64_t now, const struct model *m, uint32_t more, uint64_t *since_out)
{
    uint64_t waiting = more, at_once = 0, longest = 0;

    for (const struct want *w = m->wants_head; w; w = w->next)
        if (!w->spec.prefetch && w->spec.deadline > now) {
            waiting++;
            longest = now - w->since > longest ? now - w->since : longest;
        }
    *since_out = now - longest;
    for (const struct instance *i = m->instances; i; i = i->model_next)
        if (sgi__instance_serves(i) && !i->closing)
            at_once += m->config.leases_max;
    if (waiting == 0 || at_once == 0)
        return waiting == 0 ? 0 : SGI__NEVER;
    uint64_t turns = (waiting + at_once - 1) / at_once;
    uint64_t expected = m->lease_ns > SGI__NEVER / turns ? SGI__NEVER : turns * m->lease_ns;
    return expected > longest ? expected : longest;
}

uint64_t sgi__next_start_ns(const struct model *m)
{
    uint64_t disk = m->start_ns[SGI_TIER_DISK], dram = m->start_ns[SGI_TIER_DRAM];
    return m->residence == RES_KEPT && dram > 0 ? dram : disk > dram ? disk : dram;
}

/* Another instance is worth its start when the queue for those there are costs more than that. */
static void serve_more(struct sgi__core *core, uint64_t now, struct model *m)
{
    uint64_t start = sgi__next_start_ns(m), since, queue = sgi__queue_ns(now, m, 0, &since);

    if (m->hung_step || !in_time(m, now, true) || !fits_beside(core, m) || about_to_be_kept(core, m))
        return;
    if (now >= m->failed_until && queue > start) {
        sgi__instance_start(core, now, m, false);
        return;
    }
    uint64_t then = start < SGI__NEVER - 1 - since ? since + start + 1 : SGI__NEVER;
    sgi__timer_set(core, &m->more, now < m->failed_until ? m->failed_until : then);
}

/* ---- one model ---- */

/* While it queues, what it is wanted for may change, and another one of its model may have left its image in DRAM. */
static void retarget(struct sgi__core *core, uint64_t now, struct instance *i)
{
    bool to_dram = !wants_device(i->model);
    if (i->tier != SGI_TIER_DISK)
        return;
    if (!to_dram && i->model->residence == RES_KEPT) {
        i->tier = SGI_TIER_DRAM;
        i->source_ok = true;
    } else if (i->to_dram == to_dram) {
        return;
    }
    i->to_dram = to_dram;
    if (!to_dram && i->source_ok)
        sgi__prepare(core, now, i->model);
}

static void serve_queued(struct sgi__core *core, uint64_t now, struct instance *i)
{
    struct model *m = i->model;
    sgi_status    why_not;
    uint32_t      step;

    retarget(core, now, i);
    if (!i->source_ok || !in_time(m, now, !i->to_dram) || about_to_be_kept(core, m))
        return;
    if (sgi__model_serves(m)) { /* one more */
        if (fits_beside(core, m))
            place(core, now, i);
    } else if (!sgi__fits_somewhere(core, m, i->to_dram, &why_not)) {
        /* the device was lost, or the engine turned out larger, while it queued */
        sgi__wants_reject(core, m, why_not, SGI_STEP_QUEUE, 0);
        sgi__instance_abandon(core, now, m, true);
    } else if (hangs_everywhere(core, m, i->to_dram, &step)) {
        sgi__wants_reject(core, m, SGI_E_WEDGED, step, 0);
        sgi__instance_abandon(core, now, m, true);
    } else {
        place(core, now, i);
    }
}

sgi_status sgi__ending_refused(const struct sgi__core *core, const struct model *m, bool to_dram, uint32_t *step_out)
{
    bool       lost = false, ends = false;
    sgi_status why_not;

    *step_out = SGI_STEP_NONE;
    for (const struct instance *i = m->instances; i; i = i->model_next) {
        lost |= i->lost;
        ends |= i->state != ST_WEDGED;
        if (i->state == ST_WEDGED)
            *step_out = i->failed_step;
    }
    if (!ends || hangs_everywhere(core, m, to_dram, step_out))
        return SGI_E_WEDGED;
    *step_out = SGI_STEP_CONTEXT;
    return lost && !sgi__fits_somewhere(core, m, false, &why_not) ? why_not : SGI_OK;
}

static void serve_ending(struct sgi__core *core, struct model *m)
{
    uint32_t   step;
    sgi_status why_not = sgi__ending_refused(core, m, !wants_device(m), &step);
    if (why_not != SGI_OK)
        sgi__wants_reject(core, m, why_not, step, 0);
}

static void serve(struct sgi__core *core, uint64_t now, struct model *m)
{
    const struct want *first = m->wants_head;

    if (m->residence == RES_KEPT)
        serve_kept(core, now, m);
    serve_up(core, now, m);
    if (m->wants == 0) {
        sgi__instance_abandon(core, now, m, false);
        return;
    }
    if (m->wants_head != first) { /* nothing is started before it is its turn, which may be another one now */
        core->dirty = true;
        return;
    }
    bool serves = sgi__model_serves(m), room = m->instances_count < m->config.instances_max;
    if (!m->coming && room && serves)
        serve_more(core, now, m);
    else if (!m->coming && room && in_time(m, now, false))
        serve_cold(core, now, m);
    else if (!m->coming && !room && !serves)
        serve_ending(core, m);
    if (m->coming && m->coming->state == ST_QUEUED)
        serve_queued(core, now, m->coming);
    else if (m->coming && m->coming->state == ST_LOADING)
        serve_early(core, now, m->coming);
}

/* Those who starve, before anybody else: the oldest that can begin does. False: none can. */
static bool start_starving(struct sgi__core *core, uint64_t now, struct instance *first)
{
    uint64_t admitted = core->admitted;

    for (struct instance *i = first, *next; i && core->admitted == admitted; i = next) {
        next = i->starving_next; /* serving a model ends wants and instances of its own only */
        serve(core, now, i->model);
    }
    return core->admitted != admitted;
}

/* Others leave a device without a word: who waits for what they have taken there has it looked at again. Host memory is
 * given by the configuration, and nobody else's. */
static void watch_foreign(struct sgi__core *core, uint64_t now)
{
    for (uint32_t n = 0; n < core->config.devices_count; n++) {
        struct device *d = &core->devices[n];
        if (d->unified || sgi__device_foreign(d) == 0 || !sgi__room_awaited(core, d))
            sgi__timer_unset(&d->look);
        else if (d->look.due == SGI__NEVER)
            sgi__timer_set(core, &d->look, d->look_next > now ? d->look_next : now);
    }
}

void sgi__sched_run(struct sgi__core *core, uint64_t now)
{
    bool runs = core->dirty;

    for (struct model *m = core->dirty ? core->pending_head : NULL; m; m = m->pending_next)
        if (m->coming)
            m->coming->waited_on = 0;
    while (core->dirty) {
        core->dirty = false;
        if (!core->pending_head && !core->devices_kept)
            break;
        if (start_starving(core, now, keep_devices(core, now))) {
            core->dirty = true; /* what is kept now, and for whom, is another matter */
            continue;
        }
        for (struct model *m = core->pending_head, *next; m; m = next) {
            next = m->pending_next;
            serve(core, now, m);
        }
    }
    if (runs)
        watch_foreign(core, now);
}
