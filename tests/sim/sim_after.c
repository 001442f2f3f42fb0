/* SPDX-License-Identifier: Apache-2.0 */
/* The rules for what must hold after every event, and when nobody uses anything. */
#include "sim/sim_state.h"

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
        if (v.lost != (d->lost || !s->up) || v.bytes_foreign != d->foreign || v.bytes_residue != d->residue)
            sim__broken(s, "what is known of device %u is what was reported", n);
    }
}

/* From when it is admitted until its load has ended, or is not to begin and it has gone. */
static bool takes_loader(const struct world_instance *i)
{
    return i->tier == SGI_TIER_DISK && !i->died && (i->load == NOT || i->load == UNDER_WAY);
}

static void check_totals(struct sim *s)
{
    struct sgi__core_totals t;
    sgi__core_totals(s->core, &t);
    if (s->dram_used > s->dram_max)
        sim__broken(s, "DRAM residences stay within their budget");
    if (t.dram_bytes != s->dram_used)
        sim__broken(s, "the books of DRAM agree with what it holds (%llu, %llu)", (unsigned long long)t.dram_bytes,
                    (unsigned long long)s->dram_used);
    /* What a trim could not drop at once it drops only if it was there already. */
    uint64_t most = s->trims && s->dram_trim < s->ceiling ? s->dram_trim : s->ceiling, leaving = sim__dram_leaving(s);
    for (uint32_t n = 0; s->dram_used > leaving && s->dram_used - leaving > most && n < s->models.size; n++) {
        const struct world_model *m = s->models.at[n];
        if (m && m->id && !m->dropping && m->dram_event != s->event && sim__droppable(s, m) &&
            (s->trims || s->ceiling == s->ceiling_before))
            sim__broken(s, "what is wanted back goes");
    }
    if (leaving == 0 && s->sharing == 0)
        s->dram_trim = UINT64_MAX;
    s->trims = false;
    if (t.wants != s->wants_count || t.leases != s->leases_count || t.wants > s->config.wants_max)
        sim__broken(s, "wants and leases are counted truly and bounded");
    if (s->spare_limit > s->dram_max - s->dram_used)
        sim__broken(s, "spare memory and residences together stay within the DRAM budget");
    uint32_t calls = 0;
    s->loads_count = 0;
    for (uint32_t n = 0; n < s->instances.size; n++) {
        const struct world_instance *i = s->instances.at[n];
        if (!i || !i->id)
            continue;
        calls += i->calls;
        s->loads_count += takes_loader(i);
    }
    if (t.calls != calls)
        sim__broken(s, "calls are counted truly (%u, %u)", t.calls, calls);
    if (t.loads != s->loads_count)
        sim__broken(s, "loads are counted truly (%u, %u)", t.loads, s->loads_count);
    if (t.loads > s->config.loads_max)
        sim__broken(s, "loads stay within loads_max");
}

static bool something_is_dropped(const struct sim *s)
{
    for (uint32_t n = 0; n < s->models.size; n++) {
        const struct world_model *m = s->models.at[n];
        if (m && m->id && m->dropping)
            return true;
    }
    return false;
}

/* It has what it needs, unless what is dropped makes room for the copy that it leaves. */
static void check_begun(const struct sim *s, const struct world_instance *i)
{
    const struct world_device *d = i->device < 0 ? NULL : &s->devices[i->device];
    bool                       context = !d || d->own || (d->context == DONE && !d->closing);
    bool waits = (i->own || sim__has_to_pack(i->model)) && i->tier == SGI_TIER_DISK && something_is_dropped(s);

    if (sim__coming(i) && i->reserve == DONE && i->load == NOT && context && !waits)
        sim__broken(s, "a load begins once its memory is there, and the context where it cannot wait for that");
}

static void check_copies(const struct sim *s)
{
    for (uint32_t n = 0; n < s->instances.size; n++) {
        const struct world_instance *i = s->instances.at[n];
        if (i && i->id)
            check_begun(s, i);
    }
    for (uint32_t n = 0; n < s->models.size; n++) {
        const struct world_model *m = s->models.at[n];
        if (!m || !m->id)
            continue;
        if (m->filling != (sim__filler(m) != NULL) || m->spoiled)
            sim__broken(s, "a copy that is not complete, and will not be, is dropped");
        if ((m->draining || s->closing || m->evict_dram) && sim__resident(m) && !sim__is_read(m) &&
            !(m->packed && s->sharing > 0))
            sim__broken(s, "a residence that is to go is dropped once nobody reads it");
    }
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
        if (!i || !i->id || !sim__idle(i) || i->leaving || !i->rest_known || sim__held(s, i))
            continue;
        if (wake > i->idle_until)
            sim__broken(s, "somebody wakes for every idle instance");
        if (ticked && s->event_type == 't' && s->now >= i->idle_until)
            sim__broken(s, "nothing idle stays past its time");
    }
}

static void check_instance(const struct sim *s, const struct world_instance *i)
{
    struct sgi__core_instance_view v;
    if (sgi__core_instance_view(s->core, i->id, &v) != SGI_OK || v.model != i->model->id || v.device != i->device)
        sim__broken(s, "an instance that holds memory can be looked at");
    if (v.leases != i->leases || v.calls != i->calls ||
        v.device_bytes != (i->device < 0 ? 0 : i->image_bytes + i->engine_bytes))
        sim__broken(s, "an instance's view tells what it holds, and who uses it");
}

static void check_views(const struct sim *s, const struct world_model *m)
{
    struct sgi__core_model_view v;
    if (sgi__core_model_view(s->core, m->id, &v) != SGI_OK)
        sim__broken(s, "a model that is there can be looked at");
    uint64_t device = 0, dram = m->dram_bytes;
    for (const struct world_instance *i = m->instances; i; i = i->next) {
        *(i->device < 0 ? &dram : &device) += i->image_bytes + i->engine_bytes;
        check_instance(s, i);
    }
    if (v.leases != m->leases || v.wants != m->wants || v.pinned_tier != m->pinned_tier ||
        v.draining != (m->draining || s->closing))
        sim__broken(s, "a model's view counts its leases and wants");
    if (v.device_bytes != device || v.dram_bytes != dram)
        sim__broken(s, "a model's view tells what it holds");
    if (v.instances > m->config.instances_max)
        sim__broken(s, "instances stay within instances_max");
    if (v.prepared_bytes != m->prepared_bytes)
        sim__broken(s, "a model's view tells what prepare made");
}

static void check_lease(const struct sim *s, const struct world_lease *l)
{
    struct sgi__core_lease_view  v;
    const struct world_instance *i = sim__get(&s->instances, l->instance);
    if (sgi__core_lease_view(s->core, l->id, &v) != SGI_OK)
        sim__broken(s, "a lease lives until it is released");
    if (!i || v.model != l->model->id || v.instance != l->instance || v.device != i->device ||
        v.call_open != l->call_open)
        sim__broken(s, "a lease's view tells what it is for");
    bool gone = i->died || i->lost;
    if (gone && (!v.lost || v.lost_status != SGI_E_DEVICE_LOST))
        sim__broken(s, "a lease on what is gone says so");
    if (!v.lost && (i->load == FAILED || i->end != NOT))
        sim__broken(s, "a lease says when its load failed");
    if (!v.lost && v.loading != (i->load == UNDER_WAY || (i->own && !i->in_context)))
        sim__broken(s, "a lease says whether its load goes on");
}

/* Looking at everything is most of the work, so between two full looks an event is answered for by its own model, and
 * by one lease in turn. */
static void check_looks(const struct sim *s)
{
    bool all = s->event % SIM_LOOK_ALL == 0;

    for (uint32_t n = 0; all && n < s->models.size; n++) {
        const struct world_model *m = s->models.at[n];
        if (m && m->id)
            check_views(s, m);
    }
    if (!all && s->event_model && s->event_model->id)
        check_views(s, s->event_model);
    for (uint32_t n = 0; n < s->leases.size; n++) {
        const struct world_lease *l = s->leases.at[n];
        if (l && l->id && (all || n == s->event % s->leases.size))
            check_lease(s, l);
    }
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

/* Nor is the oldest want of all passed for ever where it may be started on several devices (for one that has only one
 * sim_waits.c is exact): when all is calm it has ended by a bound that no legal day comes near. */
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

/* Each device that a model fits on has an instance of it that hangs; or as many hang as it may have. */
static bool hangs_everywhere(const struct sim *s, const struct world_model *m)
{
    uint32_t hang = 0, left = 0;
    if (sim__here(m, -1) || m->checked == UNDER_WAY) /* DRAM is somewhere else, and first that comes to its end */
        return false;
    for (const struct world_instance *i = m->instances; i; i = i->next) {
        if (sim__serves(s, i) || sim__coming(i))
            return false;
        hang += i->wedged && sim__engine_hung(s, i);
    }
    for (uint32_t d = 0; d < s->devices_count; d++) {
        const struct world_instance *i = sim__here(m, (int32_t)d);
        bool                         fits = sim__may_be_on(s, m, d) && !s->devices[d].lost && s->up;
        left += fits && !(i && i->wedged && sim__engine_hung(s, i));
    }
    return hang > 0 && (hang >= m->config.instances_max || left == 0);
}

/* A load that somebody waits for is as urgent as the most urgent of them. */
static void check_urgency(const struct sim *s)
{
    for (uint32_t n = 0; n < s->instances.size; n++) {
        const struct world_instance *i = s->instances.at[n];
        if (!i || !i->id || i->died || i->load != UNDER_WAY || i->tier != SGI_TIER_DISK || i->failed || i->canceled ||
            i->lost || i->hung || i->leaving || i->model->draining || s->closing)
            continue;
        int32_t most = i->priority_early;
        for (uint32_t k = 0; i->model->wants > 0 && k < s->wants.size; k++) {
            const struct world_want *w = s->wants.at[k];
            if (w && w->id && w->model == i->model && w->spec.priority > most)
                most = w->spec.priority;
        }
        if (i->priority != most)
            sim__broken(s, "a load is as urgent as the most urgent who waits for it (%d, not %d)", most, i->priority);
    }
}

void sim__check_all(struct sim *s)
{
    if (s->early && s->early->load == NOT) /* replies are taken before actions */
        sim__broken(s, "an early grant comes when the load has begun");
    s->early = NULL;
    if (s->refused_image && s->refused_image <= sim__dram_left(s))
        sim__broken(s, "a prefetch into DRAM is refused only when there is no room");
    s->refused_image = 0;
    check_devices(s);
    check_totals(s);
    sim__check_unseen(s);
    check_deadlines(s);
    check_urgency(s);
    check_copies(s);
    for (uint32_t n = 0; s->event_type == 't' && s->wedged > 0 && n < s->wants.size; n++) {
        const struct world_want *w = s->wants.at[n];
        if (w && w->id && w->spec.tier == SGI_TIER_DEVICE && w->spec.deadline > s->now && hangs_everywhere(s, w->model))
            sim__broken(s, "a model that is wedged wherever it may be refuses");
    }
    for (uint32_t n = 0; s->event_type == 't' && n < s->out_count; n++) { /* a prepare counts as failed while nobody
                                                                             asks, too */
        struct world_model        *m = sim__model(s, s->out[n]->action.model);
        enum sgi__core_action_kind kind = s->out[n]->action.kind;
        if ((kind == SGI__ACT_PREPARE || kind == SGI__ACT_DISCARD) && s->now - s->out[n]->since >= m->config.hang_ns)
            m->failed_event[-SGI_E_WEDGED] = s->event;
    }
    check_looks(s);
    sim__check_waits(s);
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
            sim__broken(s, "no instance is left when nobody uses it (model %u: %u)", sgi__core_slot(m->id), v.state);
    }
    struct sgi__core_totals t;
    sgi__core_totals(s->core, &t);
    if (t.loads != 0 || t.calls != 0 || t.device_bytes != 0)
        sim__broken(s, "nothing is counted when nobody uses it");
}
