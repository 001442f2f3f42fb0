/* SPDX-License-Identifier: Apache-2.0 */
/* The rules for actions: each is checked when it is emitted. What is compared with the core is the world's own ledger,
 * kept from actions and results alone. */
#include "sim/sim_state.h"

/* ---- why an instance may leave ---- */

/* What is on a device for good, and what is there that does not leave already. */
static void look_at(struct sim *s, uint32_t device, uint64_t *stays_out, uint64_t *held_out)
{
    const struct world_device *d = &s->devices[device];
    uint64_t                   stays = sim__foreign(s, device), held = stays + d->used;

    for (uint32_t n = 0; n < s->instances.size; n++) {
        const struct world_instance *i = s->instances.at[n];
        if (!i || !i->id || i->died || i->device != (int32_t)device)
            continue;
        uint64_t bytes = i->image_bytes + i->engine_bytes;
        bool     unused = i->leases == 0 && i->calls == 0;
        if (sim__instance_hung(s, i))
            stays += bytes;
        else if (unused && (i->leaving || i->canceled || i->failed || i->lost || i->hung || i->model->draining ||
                            i->model->evicted))
            held -= bytes;
        else if (!sim__idle(i) || sim__held(s, i))
            stays += bytes;
    }
    *stays_out = stays;
    *held_out = held;
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
        if (m && m->config.instances_max > 1 && m->granted_event == s->event &&
            (m->checked == DONE || m->dram_bytes > 0))
            return true; /* it was made for a further one, when one that yielded need not after all */
        if (!m || m == i->model || !sim__waits_for_room(s, m) || !sim__may_be_on(s, m, (uint32_t)i->device) ||
            sim__here(m, i->device))
            continue;
        uint64_t need = sim__need(s, m, (uint32_t)i->device);
        needed += need;
        fits = fits || (stays <= d->bytes_max && need <= d->bytes_max - stays);
    }
    return !d->lost && fits && (late || needed + held > d->bytes_max);
}

/* A starving want's device: what runs there leaves when it is next unused, whether or not all of it is idle now. Not
 * for a further instance, though. */
bool sim__yields(const struct sim *s, const struct world_instance *i)
{
    for (uint32_t n = 0; n < s->wants.size; n++) {
        const struct world_want *w = s->wants.at[n];
        if (w && w->id && w->model != i->model && sim__waits_for_room(s, w->model) && !sim__server(s, w->model) &&
            s->now - w->since >= MS(s->config.starve_ms) && sim__may_be_on(s, w->model, (uint32_t)i->device))
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
    if (sim__held(s, i) && s->wedged_event != s->event) /* or another one served until it was found to hang just now */
        sim__broken(s, "the last of a pinned model that serves does not lose memory");
    return i->rest_known && s->now >= i->idle_due;
}

static void check_leaves(struct sim *s, struct world_instance *i, bool late)
{
    if (i->leases > 0 || i->calls > 0)
        sim__broken(s, "no busy instance loses memory");
    if (i->leaving)
        return;
    if (!has_to_leave(s, i)) {
        if (!makes_room(s, i, late) && !sim__yields(s, i))
            sim__broken(s,
                        "an idle instance leaves before its time only for one that fits, is good, and needs the room");
        s->score.evictions++;
    }
    i->leaving = true;
}

static bool ends_unseen(const struct sim *s, const struct world_instance *i)
{
    struct sgi__core_instance_view v;
    return i && i->id && !i->leaving && sim__idle(i) && sgi__core_instance_view(s->core, i->id, &v) == SGI_OK &&
           v.state == SGI_MODEL_STOPPING;
}

/* An instance that ends may have to wait until a residence that is being dropped has made room for its image: no action
 * shows it, and it had its reason now or never. First those with a reason of their own: what leaves counts for the
 * others. */
void sim__check_unseen(struct sim *s)
{
    bool dropping = false;
    for (uint32_t n = 0; n < s->models.size && !dropping; n++) {
        const struct world_model *m = s->models.at[n];
        dropping = m && m->id && m->dropping;
    }
    for (uint32_t n = 0; dropping && n < s->instances.size; n++) {
        struct world_instance *i = s->instances.at[n];
        if (ends_unseen(s, i) && i->leases == 0 && i->calls == 0 && !sim__held(s, i))
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

/* What serves takes no more leases, and the image is not about to be in DRAM anyway. */
static void check_one_more(struct sim *s, const struct world_model *m)
{
    bool yielded = s->admitted_event == s->event; /* to one that has its room by now */
    for (const struct world_instance *i = m->instances; i; i = i->next) {
        if (sim__serves(s, i) && sim__free_leases(s, i) > 0 && !sim__yields(s, i) && !yielded)
            sim__broken(s, "a further instance is started when those that serve are full");
        if (i->keeping)
            sim__broken(s, "nothing is started beside what is on its way to DRAM: it comes from there");
    }
}

/* In this same event a timer that was late may have ended who wants it, or one that yielded need not. */
static bool wanted(const struct sim *s, const struct world_model *m)
{
    return m->wants > 0 || sim__hung(s, m) || (m->config.instances_max > 1 && m->granted_event == s->event);
}

/* What it counts on is there now, and it has to stay until it is complete: DROP has the other half of this. */
static void check_shares(const struct sim *s, const struct sgi__core_action *a, const struct world_model *m)
{
    if (a->shared_bytes > 0 && (!a->packed || a->shared_bytes > sim__would_share(s, m)))
        sim__broken(s, "a fill counts on what others have, and no more");
}

static void check_reserve(struct sim *s, const struct sgi__core_action *a, const struct world_model *m)
{
    if (sim__one_comes(m))
        sim__broken(s, "at most one instance of a model is on its way up");
    if (a->device >= 0 && sim__here(m, a->device))
        sim__broken(s, "a device has one instance of a model");
    if (sim__instances_of(s, m) >= m->config.instances_max)
        sim__broken(s, "instances stay within instances_max");
    check_one_more(s, m);
    if (a->packed && (a->device >= 0 || !sim__packs(m)))
        sim__broken(s, "only what may be packed in DRAM is");
    if (a->device < 0 && !a->packed && sim__has_to_pack(m))
        sim__broken(s, "what is to be packed in DRAM is");
    if (a->bytes != (a->packed ? m->config.packed_bytes : sim__image_on(s, m, a->device)))
        sim__broken(s, "a RESERVE asks for the image");
    if (a->tier == SGI_TIER_DRAM ? !sim__resident(m) : m->checked != DONE)
        sim__broken(s, "a source is checked, or the bytes are in DRAM, before memory is taken");
    if (a->tier == SGI_TIER_DISK && sim__resident(m))
        sim__broken(s, "what is in DRAM is not read from disk");
    if (a->tier == SGI_TIER_DRAM && !s->devices[a->device].own && !m->packed && sim__is_read(m))
        sim__broken(s, "a residence is not taken while a load reads it");
    if (!wanted(s, m))
        sim__broken(s, "nothing is loaded that nobody wants");
    if (a->device < 0) {
        for (const struct world_instance *i = m->instances; i; i = i->next)
            if (i->device < 0 || i->keeping || i->copies)
                sim__broken(s, "a model is read into DRAM once");
        if (m->dram_bytes > 0 && !m->dropping)
            sim__broken(s, "what is in DRAM is not read into it again");
        if (s->dram_used + a->bytes - a->shared_bytes > s->dram_max)
            sim__broken(s, "DRAM residences stay within their budget");
        check_shares(s, a, m);
        return;
    }
    const struct world_device *d = &s->devices[a->device];
    if (d->lost)
        sim__broken(s, "nothing is admitted to a lost device");
    if (m->config.devices_mask != 0 && !(m->config.devices_mask >> a->device & 1))
        sim__broken(s, "a model is on devices only where it may be");
    if (d->used + sim__foreign(s, (uint32_t)a->device) + sim__need(s, m, (uint32_t)a->device) > d->bytes_max)
        sim__broken(s, "bytes on a device stay within its capacity");
}

/* Another copy of a model's image is in DRAM, was taken from there, or is read into it. */
static bool has_another_copy(const struct world_model *m, const struct world_instance *i)
{
    const struct world_instance *borrower = sim__borrower(m), *filling = sim__here(m, -1);
    return (m->dram_bytes > 0 && !m->dropping) || (borrower && borrower != i) || (filling && filling != i);
}

/* One that has the residence, or was to have it, ends: what becomes of it is not decided yet. */
static bool may_be_lent(const struct world_model *m)
{
    for (const struct world_instance *i = m->instances; i; i = i->next)
        if (i->tier == SGI_TIER_DRAM && !i->in_place && i->end == NOT && (i->reserve == UNDER_WAY || i->unkept))
            return true;
    return false;
}

/* What a load leaves in DRAM on its way to a device with memory of its own, or to any if it is packed: a copy, where
 * there is room for it, or once all has gone that may. */
static void check_copy(const struct sim *s, const struct sgi__core_action *a, const struct world_model *m,
                       const struct world_instance *i)
{
    bool may = (i->own || (i->device >= 0 && sim__has_to_pack(m))) && a->tier == SGI_TIER_DISK && s->dram_max > 0 &&
               !m->draining && !s->closing && !m->evict_dram && !has_another_copy(m, i) && !m->dropping;

    if (a->keep && !may)
        sim__broken(s, "only a load from disk leaves a copy in DRAM, beside a device and no other copy");
    if (a->keep && a->packed != i->packed && (a->packed ? !sim__packs(m) : sim__has_to_pack(m)))
        sim__broken(s, "a copy is packed where it may be, and where it has to");
    if (a->keep && !sim__dram_fits(s, m, sim__form_bytes(m, a->packed) - a->shared_bytes, GONE_NONE))
        sim__broken(s, "DRAM residences stay within their budget");
    if (a->keep && a->packed && !sim__has_to_pack(m) && sim__dram_fits(s, m, m->config.image_bytes, GONE_NONE))
        sim__broken(s, "a copy is packed only where there is no room for all of it");
    if (!a->keep && may && !may_be_lent(m) && sim__dram_fits(s, m, sim__least(m), GONE_DROPPABLE))
        sim__broken(s, "a load leaves a copy in DRAM where there is room for it");
}

/* With memory of its own a device takes loads from when its context is asked for. */
static void check_load_context(const struct sim *s, const struct world_instance *i)
{
    const struct world_device *d = i->device < 0 ? NULL : &s->devices[i->device];

    if (d && !d->own && (d->context != DONE || d->closing))
        sim__broken(s, "a load starts in an open context");
    if (d && d->own && (d->context == NOT || d->lost))
        sim__broken(s, "a load starts in a context that is open, or will be");
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
        check_load_context(s, i);
        check_copy(s, a, m, i);
        if (a->keep)
            check_shares(s, a, m);
        for (uint32_t n = 0; n < s->instances.size; n++) {
            const struct world_instance *other = s->instances.at[n];
            if (other && other->id && other != i && other->model == m && !other->died && other->load == UNDER_WAY &&
                (other->device == i->device || sim__coming(other)))
                sim__broken(s, "at most one load per model and device, and one that goes on");
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
    bool keepable = i->load == DONE && i->prefix == DONE && !i->lost && !i->hung && !i->unkept && !i->own;
    if (a->kind == SGI__ACT_FREE) {
        if (keepable && m->pinned_tier == SGI_TIER_DRAM && !m->evict_dram && !has_another_copy(m, i) && !may_be_lent(m))
            sim__broken(s, "what is pinned to DRAM is kept there");
        return;
    }
    if (i->load != DONE || i->prefix != DONE || i->lost)
        sim__broken(s, "only verified bytes are kept");
    if (i->own)
        sim__broken(s, "an image stays in host memory only if it is there");
    if (i->device >= 0 && sim__has_to_pack(m) && m->pinned_tier != SGI_TIER_DRAM)
        sim__broken(s, "what is to be packed in DRAM is not kept there as an image");
    if (has_another_copy(m, i) || m->dropping)
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

/* Somebody's image would not fit otherwise: of one that is brought up, ends, or is pinned. */
static bool dropping_helps(const struct sim *s, const struct world_model *m)
{
    for (uint32_t n = 0; n < s->models.size; n++) {
        const struct world_model *other = s->models.at[n];
        bool                      asks = other && other->id && other != m &&
                    (other->wants > 0 || other->instances || other->dram_event == s->event);
        bool fits = !asks || (sim__dram_fits(s, other, sim__least(other), GONE_DROPPED) &&
                              sim__dram_fits(s, other, other->config.image_bytes, GONE_DROPPED));
        if (!fits)
            return true;
    }
    return false;
}

/* What the core holds of it: how that comes about, tests of its own say. */
static uint64_t value(const struct sim *s, const struct world_model *m)
{
    struct sgi__core_model_view v;
    return sgi__core_model_view(s->core, m->id, &v) == SGI_OK ? v.residence_value : 0;
}

/* Who asks for room would share most of itself with what is packed: rather than that, what is not goes. */
static bool is_shared(const struct sim *s, const struct world_model *m)
{
    for (uint32_t n = 0; n < s->models.size && m->packed; n++) {
        const struct world_model *other = s->models.at[n];
        if (other && other->id && other != m && (other->wants > 0 || other->instances) &&
            sim__would_share(s, other) > 0 && sim__would_share(s, other) >= sim__form_bytes(other, true) / 2)
            return true;
    }
    return false;
}

/* For room: the least valuable, and no more than is needed. */
static void check_drop(const struct sim *s, const struct world_model *m)
{
    if (m->pinned_tier >= SGI_TIER_DRAM)
        sim__broken(s, "no pinned residence is dropped");
    if (m->wants > 0)
        sim__broken(s, "no residence is dropped that somebody waits for");
    for (uint32_t n = 0; n < s->models.size; n++) {
        const struct world_model *other = s->models.at[n];
        if (s->dram_trim == UINT64_MAX && /* which leaves what has come since */
            other && other->id && other != m && !other->dropping && other->dram_event != s->event &&
            sim__droppable(s, other) && !(is_shared(s, other) && !m->packed) &&
            (value(s, other) < value(s, m) || (value(s, other) == value(s, m) && other->dram_used < m->dram_used)))
            sim__broken(s,
                        "the residence that is worth least is dropped first (%u before %u, worth %llu and %llu, last "
                        "used %.6f and %.6f ms)",
                        sgi__core_slot(m->id), sgi__core_slot(other->id), (unsigned long long)value(s, m),
                        (unsigned long long)value(s, other), (double)m->dram_used / 1e6,
                        (double)other->dram_used / 1e6);
    }
    uint64_t most = s->dram_trim < s->ceiling_before ? s->dram_trim : s->ceiling_before, lent = 0;
    for (uint32_t n = 0; n < s->models.size; n++) {
        const struct world_model *other = s->models.at[n];
        lent += other && other->id ? sim__dram_moving(other) : 0;
    }
    bool wanted_back = s->dram_used + lent > most && s->dram_used + lent - most > sim__dram_leaving(s);
    if (!wanted_back && !dropping_helps(s, m))
        sim__broken(s, "a residence is dropped for somebody who needs the room, or because it is wanted back");
}

static void check_look(const struct sim *s, const struct sgi__core_action *a)
{
    const struct world_device *d = &s->devices[a->device];
    bool                       waits = false;

    for (uint32_t n = 0; n < s->models.size; n++) {
        const struct world_model *m = s->models.at[n];
        bool now = m && m->id && sim__waits_for_room(s, m) && sim__may_be_on(s, m, (uint32_t)a->device);
        waits = waits || now || (m && m->dram_event == s->event); /* or did, before something else came due */
    }
    if (!d->own || d->lost || sim__foreign(s, (uint32_t)a->device) == 0 || !waits)
        sim__broken(s, "a device is looked at while somebody waits for what others have taken there");
    if (d->looked_at > 0 && s->now < d->looked_at + SIM_LOOK_NS)
        sim__broken(s, "a device is looked at once in a while");
}

static void check_for_model(const struct sim *s, const struct sgi__core_action *a, const struct world_model *m)
{
    switch (a->kind) {
    case SGI__ACT_CHECK_SOURCE:
        if (m->checked == UNDER_WAY || !wanted(s, m))
            sim__broken(s, "a source is checked for somebody, once at a time");
        break;
    case SGI__ACT_PREPARE:
        if (!m->config.has_prepare || m->prepare != NOT)
            sim__broken(s, "prepare runs once");
        if (m->checked != DONE && m->dram_bytes == 0 && !m->instances)
            sim__broken(s, "prepare runs after the source was found good");
        break;
    case SGI__ACT_DISCARD:
        if (m->prepare != DONE || m->discarding || m->instances)
            sim__broken(s, "what prepare made goes once, after the instances");
        if (!m->draining && !s->closing && !m->evict_prepared)
            sim__broken(s, "what prepare made stays until somebody wants it gone");
        break;
    case SGI__ACT_DROP:
        if (!sim__resident(m) && !m->spoiled)
            sim__broken(s, "a residence is dropped once, when it is one");
        if (sim__is_read(m))
            sim__broken(s, "no residence is dropped that a load reads");
        if (m->packed && s->sharing > 0)
            sim__broken(s, "no packed residence is dropped while a fill counts on what there is");
        if (!m->draining && !s->closing && !m->evict_dram && !m->spoiled)
            check_drop(s, m);
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
    if (a->kind == SGI__ACT_LOAD_PRIORITY) {
        if (!i || i->died || i->load != UNDER_WAY || i->tier != SGI_TIER_DISK || i->priority == a->priority)
            sim__broken(s, "a load that is out is told how urgent it is, when that has changed");
        return;
    }
    if (a->kind == SGI__ACT_LOOK) {
        if (!s->up)
            sim__broken(s, "nothing is asked of a place that is gone");
        check_look(s, a);
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
