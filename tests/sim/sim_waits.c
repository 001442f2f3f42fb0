/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rules for those who wait. Nothing that is free is left idle beside them: neither a lease nor a device. And nobody
 * is passed for ever. What is compared with the core is the world's own ledger; the core's word is taken only for which
 * instances end, which no action shows until their engine stops.
 *
 * Where the rules are looser than DESIGN, because what the core has decided does not show, it is said beside them.
 */
#include "sim/sim_state.h"

/* ---- who waits ---- */

static bool in_time(const struct sim *s, const struct world_want *w)
{
    return w->spec.tier == SGI_TIER_DEVICE && w->spec.deadline > s->now;
}

static bool goes_before(const struct waiting *a, const struct waiting *b)
{
    return a->priority != b->priority ? a->priority > b->priority : a->first_seq < b->first_seq;
}

/* Of each model, what its wants ask for together. */
static void count_wants(struct sim *s)
{
    for (uint32_t n = 0; n < s->models.size; n++) {
        struct world_model *m = s->models.at[n];
        if (m)
            m->waiting = (struct waiting){ .oldest_seq = UINT64_MAX, .since = SGI__NEVER, .since_late = SGI__NEVER };
    }
    for (uint32_t n = 0; n < s->wants.size; n++) {
        const struct world_want *w = s->wants.at[n];
        if (!w || !w->id)
            continue;
        struct waiting *all = &w->model->waiting;
        struct waiting  one = { .priority = w->spec.priority, .first_seq = w->seq };
        if (all->oldest_seq == UINT64_MAX || goes_before(&one, all)) {
            all->priority = one.priority;
            all->first_seq = one.first_seq;
        }
        all->oldest_seq = w->seq < all->oldest_seq ? w->seq : all->oldest_seq;
        if (w->spec.tier == SGI_TIER_DEVICE && w->since < all->since_late)
            all->since_late = w->since;
        if (in_time(s, w) && w->since < all->since)
            all->since = w->since;
    }
}

/* A start from DRAM needs none. */
static bool has_loader(const struct sim *s, const struct world_model *m)
{
    return sim__resident(m) || s->loads_count < s->config.loads_max;
}

static bool is_in(const struct sim *s, const struct world_instance *i, uint32_t state)
{
    struct sgi__core_instance_view v;
    return sgi__core_instance_view(s->core, i->id, &v) == SGI_OK && v.state == state;
}

static bool ends(const struct sim *s, const struct world_instance *i)
{
    return is_in(s, i, SGI_MODEL_STOPPING);
}

/* One that ends may leave its image in DRAM, if that may hold it: its model starts from there then. What hangs may,
 * too, until the core has noticed, and what is being kept as its device is lost, until it is heard what came of it. */
static bool may_be_kept(const struct sim *s, const struct world_model *m)
{
    if (m->config.image_bytes > s->dram_max)
        return false;
    for (const struct world_instance *i = m->instances; i; i = i->next) {
        if (i->keeping)
            return true;
        if (!i->own && i->load == DONE && i->prefix == DONE && !i->lost && (!i->hung || ends(s, i)))
            return true;
    }
    return false;
}

/* Nothing but room and a loader is between it and its start. A further instance waits for more than that: until it is
 * worth its start. */
static bool is_startable(const struct sim *s, const struct world_model *m)
{
    return m->id && !s->closing && s->up && !m->draining && m->waiting.since != SGI__NEVER &&
           (m->checked == DONE || sim__resident(m)) && sim__waits_for_room(s, m) && !sim__server(s, m) &&
           !may_be_kept(s, m);
}

/* ---- where it may be started ---- */

static bool is_on(const struct sim *s, const struct world_model *m, uint32_t device)
{
    for (uint32_t n = 0; n < s->instances.size; n++) {
        const struct world_instance *i = s->instances.at[n];
        if (i && i->id && i->model == m && i->device == (int32_t)device) /* one that died with its place, too */
            return true;
    }
    return false;
}

static bool is_usable(const struct sim *s, const struct world_model *m, uint32_t device)
{
    const struct world_device *d = &s->devices[device];
    if (!d->own && sim__resident(m) && !m->packed && sim__is_read(m)) /* it is not taken away from them */
        return false;
    return !d->lost && sim__may_be_on(s, m, device) && !is_on(s, m, device);
}

static bool fits(const struct sim *s, uint32_t device, uint64_t need, uint64_t going)
{
    const struct world_device *d = &s->devices[device];
    return d->used - going + sim__foreign(s, device) + need <= d->bytes_max;
}

/* What its instances that end give back, and nobody uses any more. */
static uint64_t going_from(const struct sim *s, uint32_t device, bool *something_ends_out)
{
    uint64_t bytes = 0;
    *something_ends_out = false;
    for (uint32_t n = 0; n < s->instances.size; n++) {
        const struct world_instance *i = s->instances.at[n];
        if (!i || !i->id || i->died || i->device != (int32_t)device || !ends(s, i))
            continue;
        *something_ends_out = true;
        if (i->leases == 0 && i->calls == 0)
            bytes += i->image_bytes + i->engine_bytes;
    }
    return bytes;
}

/* What is being emptied for those who come before it, a further instance among them. On which device somebody waits
 * does not show: each may be it. Nor whether they had a loader when it was their turn, and the last has gone since. */
static uint64_t promised_before(const struct sim *s, const struct world_model *m, uint32_t device, uint64_t going)
{
    uint64_t bytes = 0;
    for (uint32_t n = 0; n < s->models.size; n++) {
        const struct world_model *other = s->models.at[n];
        if (other && other != m && sim__waits_for_room(s, other) && is_usable(s, other, device) &&
            goes_before(&other->waiting, &m->waiting) &&
            (other->refused || !fits(s, device, sim__need(s, other, device), 0)) &&
            fits(s, device, sim__need(s, other, device), going))
            bytes += sim__need(s, other, device);
    }
    return bytes;
}

/* ---- what is free is not left idle ---- */

static bool starves(const struct sim *s, const struct world_model *m)
{
    return m->waiting.since_late != SGI__NEVER && s->now - m->waiting.since_late >= MS(s->config.starve_ms) &&
           sim__waits_for_room(s, m) && !sim__server(s, m);
}

static bool has_room(const struct sim *s, const struct world_model *m, uint32_t device)
{
    bool something_ends;

    if (!is_usable(s, m, device) || !fits(s, device, sim__need(s, m, device), 0))
        return false;
    uint64_t going = going_from(s, device, &something_ends);
    if (m->refused && something_ends) /* the books said yes once before; what was evicted goes first */
        return false;
    return fits(s, device, sim__need(s, m, device) + promised_before(s, m, device, going), going);
}

/* Where it has room, and how many may be kept from it there: each of those that starve keeps one, where it fits. */
static uint32_t rooms(const struct sim *s, const struct world_model *m, uint32_t *kept_out)
{
    uint32_t devices = 0, count = 0;

    for (uint32_t d = 0; d < s->devices_count; d++)
        if (has_room(s, m, d)) {
            devices |= 1u << d;
            count++;
        }
    *kept_out = 0;
    for (uint32_t n = 0; count > 0 && n < s->models.size; n++) {
        const struct world_model *other = s->models.at[n];
        bool                      keeps = false;
        for (uint32_t d = 0; other && other->id && other != m && starves(s, other) && d < s->devices_count; d++)
            keeps |= (devices >> d & 1) && is_usable(s, other, d);
        *kept_out += keeps;
    }
    return count;
}

static void check_room(const struct sim *s, const struct world_model *m)
{
    uint32_t kept;

    if (has_loader(s, m) && rooms(s, m, &kept) > kept)
        sim__broken(s, "a device with room and a fitting want is idle only while it is kept for one that starves");
}

static void check_leases(const struct sim *s, const struct world_want *w)
{
    const struct world_model *m = w->model;
    if (w->spec.prefetch || !in_time(s, w) || m->draining || s->closing)
        return;
    for (const struct world_instance *i = m->instances; i; i = i->next)
        if (sim__serves(s, i) && sim__free_leases(s, i) > 0 && !sim__yields(s, i))
            sim__broken(s, "a lease that is free is given to who waits for it");
}

/*
 * ---- nobody is passed for ever ----
 *
 * Once the oldest want that waits for a device has waited starve_ms, nothing is in its way but what was there then:
 * leases that ran and their calls; instances on their way up, with those they were brought up for; instances that end.
 * No time is allowed for beyond what these take, so it starts with the last of them, and ends with its own start. Where
 * several devices would do it is kept one of them, so on one at least something of then goes on; unless its room is on
 * its way on another, where what is there was unused sooner: that may have come since, and has to end only.
 *
 * This holds in all seeds and with all priorities. The clock begins anew
 * - when what can be had changes in other ways: a device or the place lost or back, foreign memory, an engine that
 *   grows, a pin, a callback that hangs, a refused reserve;
 * and it stands still
 * - while somebody older waits for what runs there, or would fit there: that one goes first;
 * - while what is pinned, foreign or hanging leaves too little: letting go would not help;
 * - for a further instance: it would only help.
 *
 * A loader that is free goes to the oldest of those who have starved and lack only that, however urgent others are.
 */

/* Nobody has waited for longer who may be there: for room, or for what runs there. */
static bool is_oldest(const struct sim *s, const struct world_model *m, uint32_t device)
{
    for (uint32_t n = 0; n < s->models.size; n++) {
        const struct world_model *other = s->models.at[n];
        if (other && other->id && other->wants > 0 && other->waiting.oldest_seq < m->waiting.oldest_seq &&
            (is_on(s, other, device) || is_usable(s, other, device)))
            return false;
    }
    return true;
}

/* A pin holds the last of its model that serves. */
static bool is_pinned(const struct sim *s, const struct world_instance *i)
{
    if (i->model->pinned_tier != SGI_TIER_DEVICE || ends(s, i))
        return false;
    for (const struct world_instance *other = i->model->instances; other; other = other->next)
        if (other != i && sim__serves(s, other))
            return false;
    return true;
}

/* What cannot be waited for: somebody else's, what is pinned, what was given up because it hangs. */
static uint64_t stuck_on(const struct sim *s, uint32_t device)
{
    uint64_t bytes = sim__foreign(s, device);
    for (uint32_t n = 0; n < s->instances.size; n++) {
        const struct world_instance *i = s->instances.at[n];
        if (i && i->id && !i->died && i->device == (int32_t)device &&
            (is_in(s, i, SGI_MODEL_WEDGED) || is_pinned(s, i)))
            bytes += i->image_bytes + i->engine_bytes;
    }
    return bytes;
}

static bool was_running(const struct world_instance *i, uint64_t granted_event, uint64_t then)
{
    bool first = i->admitted_event <= then && (i->up_event == 0 || granted_event <= i->up_event);
    return granted_event <= then || first;
}

/* Something is on the device that was there `then` and goes on: a lease or its call, an instance on its way up, which
 * serves those it was brought up for before it goes, or one on its way out. */
static bool goes_on(const struct sim *s, const struct world_instance *i, uint64_t then)
{
    if (i->admitted_event <= then && !sim__serves(s, i))
        return true;
    for (uint32_t n = 0; n < s->leases.size; n++) {
        const struct world_lease *l = s->leases.at[n];
        if (l && l->id && l->instance == i->id && was_running(i, l->granted_event, then))
            return true;
    }
    for (uint32_t n = 0; n < s->calls_count; n++)
        if (s->calls[n].instance == i->id && was_running(i, s->calls[n].granted_event, then))
            return true;
    return false;
}

static bool something_goes_on(const struct sim *s, uint32_t device, uint64_t then)
{
    for (uint32_t n = 0; n < s->instances.size; n++) {
        const struct world_instance *i = s->instances.at[n];
        if (i && i->id && !i->died && i->device == (int32_t)device && goes_on(s, i, then))
            return true;
    }
    return false;
}

/* What ends there, and nobody uses any more, leaves it enough. */
static bool room_comes(const struct sim *s, const struct world_model *m, uint32_t device)
{
    bool     something_ends;
    uint64_t going = going_from(s, device, &something_ends);
    return something_ends && fits(s, device, sim__need(s, m, device), going);
}

/* What it may be started on: letting go there would help. */
static bool may_come(const struct sim *s, const struct world_model *m, uint32_t device)
{
    return is_usable(s, m, device) && stuck_on(s, device) + sim__need(s, m, device) <= s->devices[device].bytes_max;
}

/* The devices where its turn is the next; 0 while somebody older waits on one of them, too. */
static uint32_t first_on(const struct sim *s, const struct world_model *m)
{
    uint32_t devices = 0;
    for (uint32_t d = 0; d < s->devices_count; d++) {
        if (is_usable(s, m, d) && !is_oldest(s, m, d))
            return 0;
        devices |= may_come(s, m, d) ? 1u << d : 0;
    }
    return devices;
}

/* Its clock runs while it is the oldest that waits, from when it starves; anew when a device is no longer to be had,
 * which may be the one that was kept for it. */
static bool is_watched(const struct sim *s, struct world_model *m, uint32_t devices, uint64_t starves_at)
{
    if (!is_startable(s, m) || s->upset_event == s->event || s->now <= starves_at + s->habits.tick_late ||
        devices == 0) {
        m->kept_event = 0;
        return false;
    }
    if (m->kept_event == 0 || m->kept_seq != m->waiting.oldest_seq || (m->kept_devices & ~devices) != 0) {
        m->kept_event = s->event;
        m->kept_seq = m->waiting.oldest_seq;
    }
    m->kept_devices = devices;
    return true;
}

static void check_passed(struct sim *s, struct world_model *m)
{
    uint64_t starves_at = m->waiting.since + MS(s->config.starve_ms);
    uint32_t devices = first_on(s, m);
    bool     goes_on_somewhere = false;

    if (is_startable(s, m) && devices != 0 && s->now < starves_at && sgi__core_wake_at(s->core) > starves_at)
        sim__broken(s, "somebody wakes for every want that is to starve");
    if (!is_watched(s, m, devices, starves_at))
        return;
    for (uint32_t d = 0; d < s->devices_count; d++)
        goes_on_somewhere |= (devices >> d & 1) && (something_goes_on(s, d, m->kept_event) || room_comes(s, m, d));
    if (has_loader(s, m) && !goes_on_somewhere)
        sim__broken(s, "the oldest that waits for a device waits, once it has starved, for what ran there then");
}

/* A load that began in this event, for somebody who has waited less. */
static bool passed_by_a_load(const struct sim *s, const struct world_model *m)
{
    for (uint32_t n = 0; n < s->instances.size; n++) {
        const struct world_instance *i = s->instances.at[n];
        if (i && i->id && !i->died && i->admitted_event == s->event && i->tier == SGI_TIER_DISK &&
            i->model->wants > 0 && i->model->waiting.oldest_seq > m->waiting.oldest_seq)
            return true;
    }
    return false;
}

/* What leaves in the same event may do so after that one has begun. */
static bool something_leaves(const struct sim *s)
{
    for (uint32_t n = 0; n < s->out_count; n++)
        if (s->out[n]->action.kind == SGI__ACT_KEEP && s->out[n]->since == s->now)
            return true;
    return false;
}

/* It has room where it had room when that one began. */
static void check_loader(const struct sim *s, const struct world_model *m)
{
    uint32_t kept;

    if (!sim__resident(m) && starves(s, m) && passed_by_a_load(s, m) && !something_leaves(s) &&
        rooms(s, m, &kept) > kept)
        sim__broken(s, "a loader goes to the oldest that has starved and lacks only that");
}

/* ---- what others have taken ---- */

/* They leave without a word, so it is looked at as long as somebody waits for it. */
static void check_looked_at(const struct sim *s, const struct world_model *m)
{
    for (uint32_t d = 0; d < s->devices_count; d++) {
        uint64_t due = s->devices[d].looked_at + SIM_LOOK_NS;
        if (!s->devices[d].own || sim__foreign(s, d) == 0 || !is_usable(s, m, d) || !has_loader(s, m))
            continue;
        if (s->devices[d].looked_at == 0 || sgi__core_wake_at(s->core) > due || (s->event_type == 't' && s->now >= due))
            sim__broken(s, "what others have taken is looked at while somebody waits for it");
    }
}

void sim__check_waits(struct sim *s)
{
    if (s->wants_count == 0)
        return;
    count_wants(s);
    for (uint32_t n = 0; n < s->models.size; n++) {
        struct world_model *m = s->models.at[n];
        if (m && m->id && m->wants > 0) {
            if (is_startable(s, m)) {
                check_room(s, m);
                check_loader(s, m);
                check_looked_at(s, m);
            }
            check_passed(s, m);
        }
    }
    for (uint32_t n = 0; n < s->wants.size; n++) {
        const struct world_want *w = s->wants.at[n];
        if (w && w->id)
            check_leases(s, w);
    }
}
