/* SPDX-License-Identifier: Apache-2.0 */
/* The world's ledger: what instances and residences hold, and what follows from it. The core's word is taken only for
 * how far it has come with an instance, where no action shows that. */
#include "sim/sim_state.h"

/* What an instance holds from now on. */
void sim__charge(struct sim *s, struct world_instance *i, uint64_t image_bytes, uint64_t engine_bytes)
{
    if (i->device < 0) {
        s->dram_used += image_bytes - i->image_bytes;
    } else {
        struct world_device *d = &s->devices[i->device];
        d->used += image_bytes + engine_bytes - i->image_bytes - i->engine_bytes;
        d->used_engine += engine_bytes - i->engine_bytes;
    }
    i->image_bytes = image_bytes;
    i->engine_bytes = engine_bytes;
}

/* What a model's residence holds from now on. */
void sim__keep(struct sim *s, struct world_model *m, uint64_t dram_bytes)
{
    s->dram_used += dram_bytes - m->dram_bytes;
    m->dram_bytes = dram_bytes;
}

/* ---- where an instance stands ---- */

bool sim__up(const struct world_instance *i)
{
    bool engine = i->model->config.has_engine && i->device >= 0;
    return i->id && !i->died && i->load == DONE && i->prefix == DONE && (!i->own || i->in_context) &&
           (!engine || i->engine == DONE);
}

bool sim__idle(const struct world_instance *i)
{
    return sim__up(i) && i->device >= 0 && i->leases == 0 && i->calls == 0 && i->stop == NOT && i->end == NOT;
}

bool sim__coming(const struct world_instance *i)
{
    return i->id && !i->died && !sim__up(i) && i->stop == NOT && i->end == NOT && !i->failed && !i->lost && !i->hung &&
           !i->canceled;
}

bool sim__serves(const struct sim *s, const struct world_instance *i)
{
    struct sgi__core_instance_view v;
    if (!sim__up(i) || i->device < 0 || i->stop != NOT || i->end != NOT || i->failed || i->lost || i->hung ||
        i->leaving)
        return false;
    return sgi__core_instance_view(s->core, i->id, &v) == SGI_OK &&
           (v.state == SGI_MODEL_READY || v.state == SGI_MODEL_BUSY);
}

bool sim__held(const struct sim *s, const struct world_instance *i)
{
    if (i->model->pinned_tier != SGI_TIER_DEVICE)
        return false;
    for (const struct world_instance *other = i->model->instances; other; other = other->next)
        if (other != i && sim__serves(s, other))
            return false;
    return true;
}

uint32_t sim__free_leases(const struct sim *s, const struct world_instance *i)
{
    uint32_t taken = i->leases; /* calls that were given up and are out still take the place of a lease */
    for (uint32_t n = 0; n < s->calls_count; n++)
        taken += s->calls[n].instance == i->id && s->calls[n].detached;
    return taken < i->model->config.leases_max ? i->model->config.leases_max - taken : 0;
}

/* ---- the instances of a model ---- */

const struct world_instance *sim__here(const struct world_model *m, int32_t device)
{
    const struct world_instance *i = m->instances;
    while (i && i->device != device)
        i = i->next;
    return i;
}

const struct world_instance *sim__server(const struct sim *s, const struct world_model *m)
{
    const struct world_instance *i = m->instances;
    while (i && !sim__serves(s, i))
        i = i->next;
    return i;
}

const struct world_instance *sim__keeper(const struct world_model *m)
{
    const struct world_instance *i = m->instances;
    while (i && !i->keeping)
        i = i->next;
    return i;
}

const struct world_instance *sim__borrower(const struct world_model *m)
{
    const struct world_instance *i = m->instances;
    while (i && (i->tier != SGI_TIER_DRAM || i->in_place || i->end != NOT || i->hung || i->lost || i->unkept))
        i = i->next;
    return i;
}

const struct world_instance *sim__filler(const struct world_model *m)
{
    const struct world_instance *i = m->instances;
    while (i && !i->copies)
        i = i->next;
    return i;
}

uint64_t sim__image_on(const struct sim *s, const struct world_model *m, int32_t device)
{
    bool own = device >= 0 && s->devices[device].own;
    return own && m->config.device_bytes ? m->config.device_bytes : m->config.image_bytes;
}

uint64_t sim__need(const struct sim *s, const struct world_model *m, uint32_t device)
{
    return sim__image_on(s, m, (int32_t)device) + m->engine_bytes;
}

uint64_t sim__foreign(const struct sim *s, uint32_t device)
{
    const struct world_device *d = &s->devices[device];
    uint64_t                   theirs = d->bytes_total > d->bytes_max ? d->bytes_total - d->bytes_max : 0;
    return d->foreign > theirs ? d->foreign - theirs : 0;
}

bool sim__may_be_on(const struct sim *s, const struct world_model *m, uint32_t device)
{
    bool allowed = m->config.devices_mask == 0 || (m->config.devices_mask >> device & 1);
    return allowed && sim__need(s, m, device) <= s->devices[device].bytes_max;
}

uint32_t sim__instances_of(const struct sim *s, const struct world_model *m)
{
    uint32_t count = 0;
    for (uint32_t n = 0; n < s->instances.size; n++) {
        const struct world_instance *i = s->instances.at[n];
        count += i && i->id && i->model == m; /* one that died with its place lives as long as its leases */
    }
    return count;
}

bool sim__one_comes(const struct world_model *m)
{
    for (const struct world_instance *i = m->instances; i; i = i->next)
        if (sim__coming(i))
            return true;
    return false;
}

bool sim__waits_for_room(const struct sim *s, const struct world_model *m)
{
    return m->id && m->wants > 0 && !sim__one_comes(m) && sim__instances_of(s, m) < m->config.instances_max &&
           (m->checked == DONE || m->dram_bytes > 0);
}

/* ---- DRAM ---- */

uint64_t sim__form_bytes(const struct world_model *m, bool packed)
{
    return packed ? m->config.packed_bytes : m->config.image_bytes;
}

bool sim__has_to_pack(const struct world_model *m)
{
    return m->config.packed_bytes > 0 && m->config.residence == SGI_RESIDENCE_PACKED;
}

bool sim__packs(const struct world_model *m)
{
    bool gains = m->config.packed_bytes > 0 && m->config.packed_bytes <= m->config.image_bytes / 8 * 7;
    return sim__has_to_pack(m) || (m->config.residence == SGI_RESIDENCE_AUTO && gains);
}

uint64_t sim__least(const struct world_model *m)
{
    return sim__form_bytes(m, sim__packs(m));
}

uint64_t sim__most(const struct world_model *m)
{
    uint64_t image = m->config.image_bytes;
    return sim__has_to_pack(m) && m->config.packed_bytes > image ? m->config.packed_bytes : image;
}

uint64_t sim__share(struct sim *s, struct world_model *m)
{
    if (!m->packed || m->spec.common_bytes == 0 || m->counted)
        return 0;
    m->counted = true;
    return s->families[m->spec.family]++ > 0 ? m->spec.common_bytes : 0;
}

uint64_t sim__would_share(const struct sim *s, const struct world_model *m)
{
    bool others = m->spec.common_bytes > 0 && !m->counted && s->families[m->spec.family] > 0;
    return others ? m->spec.common_bytes : 0;
}

uint64_t sim__unshare(struct sim *s, struct world_model *m)
{
    if (!m->counted)
        return 0;
    m->counted = false;
    return --s->families[m->spec.family] > 0 ? m->spec.common_bytes : 0;
}

bool sim__resident(const struct world_model *m)
{
    return m->dram_bytes > 0 && !m->dropping && !m->filling && !m->spoiled && !sim__keeper(m);
}

bool sim__reads(const struct world_instance *i)
{
    bool begins = i->reserve == UNDER_WAY || (i->reserve == DONE && i->load == NOT && i->end == NOT);
    return i->in_place && (begins || i->load == UNDER_WAY);
}

bool sim__is_read(const struct world_model *m)
{
    const struct world_instance *i = m->instances;
    while (i && !sim__reads(i))
        i = i->next;
    return i != NULL;
}

static bool leaves(const struct sim *s, const struct world_model *m, enum gone gone)
{
    bool changed = m->dram_event == s->event; /* perhaps it had to stay before */
    return m->dropping ? gone != GONE_NONE : gone == GONE_DROPPABLE && sim__droppable(s, m) && !changed;
}

static uint64_t less(uint64_t bytes, uint64_t by)
{
    return bytes > by ? bytes - by : 0;
}

/* Those that are pinned may fill the budget, each with one image; the others have what that leaves. What is shared is
 * there once; how much of that is whose nobody says. */
bool sim__dram_fits(const struct sim *s, const struct world_model *m, uint64_t bytes, enum gone gone)
{
    bool     pinned = m->pinned_tier == SGI_TIER_DRAM;
    uint64_t all = 0, leaving = 0, of_pinned = 0, reserved = 0;

    for (uint32_t n = 0; n < s->models.size; n++) {
        const struct world_model *other = s->models.at[n];
        if (!other || !other->id)
            continue;
        all += other->dram_bytes + sim__dram_moving(other);
        leaving += leaves(s, other, gone) ? other->dram_bytes : 0;
        if (other->pinned_tier != SGI_TIER_DRAM)
            continue;
        reserved += sim__most(other);
        of_pinned += sim__dram_moving(other) + (other->dropping ? 0 : other->dram_bytes);
    }
    all -= s->dram_shared;
    /* Under pressure the others have less, whatever is due at this moment. */
    uint64_t beside = reserved + less(less(all, of_pinned), leaving), max = s->dram_max;
    uint64_t ceiling = gone == GONE_NONE ? s->ceiling : s->ceiling_before;
    if (pinned && gone == GONE_DROPPED && beside > s->dram_max) /* its pin asks others to go, too */
        return false;
    if (!pinned && ceiling < max)
        max = ceiling > reserved ? ceiling : reserved;
    return (pinned ? less(all, leaving) : beside) + bytes <= max;
}

uint64_t sim__dram_leaving(const struct sim *s)
{
    uint64_t bytes = 0;
    for (uint32_t n = 0; n < s->models.size; n++) {
        const struct world_model *m = s->models.at[n];
        bytes += m && m->id && m->dropping ? m->dram_bytes : 0;
    }
    return bytes;
}

uint64_t sim__dram_moving(const struct world_model *m)
{
    uint64_t bytes = 0;
    for (const struct world_instance *i = m->instances; i; i = i->next) {
        bool filling = i->device < 0 && !i->keeping;
        bool lending = i->tier == SGI_TIER_DRAM && i->reserve == UNDER_WAY && !i->in_place;
        if (filling || lending)
            bytes += i->image_bytes;
    }
    return bytes;
}

uint64_t sim__dram_taken(const struct world_model *m)
{
    return m->dram_bytes + sim__dram_moving(m);
}

bool sim__droppable(const struct sim *s, const struct world_model *m)
{
    if (m->dropping)
        return true;
    if (m->packed && s->sharing > 0)
        return false;
    return sim__resident(m) && !sim__is_read(m) && m->wants == 0 && m->pinned_tier < SGI_TIER_DRAM;
}

/* ---- callbacks that do not come back ---- */

/* A start whose weights or context are on their way may be waiting for them. */
static bool op_hung(const struct sim *s, const struct world_op *op, const struct world_model *m)
{
    bool waits = op->action.kind == SGI__ACT_START_ENGINE && !op->counts;
    return !waits && s->now - op->since >= m->config.hang_ns;
}

bool sim__engine_hung(const struct sim *s, const struct world_instance *i)
{
    for (uint32_t n = 0; n < s->out_count; n++) {
        const struct world_op     *op = s->out[n];
        enum sgi__core_action_kind kind = op->action.kind;
        bool engine = kind == SGI__ACT_FILL_PREFIX || kind == SGI__ACT_START_ENGINE || kind == SGI__ACT_STOP_ENGINE;
        if (engine && op->action.instance == i->id && op_hung(s, op, i->model))
            return true;
    }
    return false;
}

bool sim__instance_hung(const struct sim *s, const struct world_instance *i)
{
    if (i->died)
        return false;
    for (uint32_t n = 0; n < s->calls_count; n++) {
        const struct world_call *call = &s->calls[n];
        if (call->instance == i->id && call->ending_since != SGI__NEVER &&
            s->now - call->ending_since >= i->model->config.hang_ns)
            return true;
    }
    return sim__engine_hung(s, i);
}

bool sim__prepare_hung(const struct sim *s, const struct world_model *m)
{
    for (uint32_t n = 0; n < s->out_count; n++) {
        const struct world_op     *op = s->out[n];
        enum sgi__core_action_kind kind = op->action.kind;
        if ((kind == SGI__ACT_PREPARE || kind == SGI__ACT_DISCARD) && op->action.model == m->id && op_hung(s, op, m))
            return true;
    }
    return false;
}

bool sim__hung(const struct sim *s, const struct world_model *m)
{
    for (const struct world_instance *i = m->instances; i; i = i->next)
        if (sim__instance_hung(s, i))
            return true;
    return sim__prepare_hung(s, m);
}

/* The core gave an instance up because something hangs, if it has noticed by now. */
void sim__mark_hung(struct sim *s)
{
    for (uint32_t n = 0; n < s->models.size; n++) {
        const struct world_model *m = s->models.at[n];
        if (!m || !m->id || !m->instances || !sim__hung(s, m))
            continue;
        bool prepare = sim__prepare_hung(s, m);
        for (struct world_instance *i = m->instances; i; i = i->next) {
            struct sgi__core_instance_view v;
            if ((prepare || sim__instance_hung(s, i)) && sgi__core_instance_view(s->core, i->id, &v) == SGI_OK &&
                (v.state == SGI_MODEL_WEDGED || v.state == SGI_MODEL_STOPPING))
                i->hung = true;
        }
    }
}

/* ---- idle times ---- */

/* Another one serves: whom a pin held begins its idle time. */
static void unpinned(const struct sim *s, struct world_model *m)
{
    for (struct world_instance *i = m->instances; i; i = i->next)
        if (sim__idle(i) && !sim__held(s, i) && i->idle_until == SGI__NEVER && i->idle_ns != SGI__NEVER) {
            i->idle_until = s->now + i->idle_ns;
            i->last_used = s->now;
        }
}

/* Who has come up in this event; and whose idle time has passed while its pin held it. */
void sim__mark_up(struct sim *s)
{
    for (uint32_t n = 0; n < s->instances.size; n++) {
        struct world_instance *i = s->instances.at[n];
        if (!i || !i->id || i->died)
            continue;
        if (i->up_seq == 0 && sim__up(i)) {
            if (i->device < 0 && !i->failed && !i->canceled) /* of others a note says when they are up */
                i->last_used = s->now;
            i->up_seq = s->want_seq;
            i->up_event = s->event;
            unpinned(s, i->model);
        }
        if (i->rest_known && i->idle_until <= s->now && sim__held(s, i))
            i->idle_until = SGI__NEVER;
    }
}

/* If nobody uses the instance, its idle time begins now; unless its pin holds it. */
void sim__rests(const struct sim *s, struct world_instance *i)
{
    if (!sim__idle(i)) /* granted early and released early: the end of the load decides */
        return;
    i->rest_known = true;
    i->idle_due = i->idle_ns == SGI__NEVER ? SGI__NEVER : s->now + i->idle_ns;
    i->idle_until = sim__held(s, i) ? SGI__NEVER : i->idle_due;
}
