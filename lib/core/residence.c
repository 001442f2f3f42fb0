/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The DRAM tier: what stays in host memory when no device uses it. A residence is charged to the DRAM budget from the
 * moment it is decided on (KEEPING) to the moment its memory is gone (DROPPING ends); while an instance has its image
 * (LENT) it is charged there instead, so no byte is counted twice.
 *
 * A device with memory of its own takes no image: bytes pass through host memory on their way to it, so a load from
 * disk may leave a copy (FILLING) that is a residence once it is complete, and a start from DRAM reads the residence
 * where it is. Both are there at once then, the image on its device and the residence here, each charged where it is.
 *
 * A residence may be packed: the model as it is stored, in fewer bytes. Then it is a copy too, wherever the model runs,
 * for it has to be decoded. What packed ones have in common is there once: each is charged in full until it is
 * complete, then without what was there already (`shared`), and when one goes, what it shared stays charged. Whatever
 * order these are heard of in, no more is there than is charged, and no word about them charges more than before.
 * Where that is all that there is room for, one is charged from the beginning without what was there when its source
 * was checked (`shares`): until it is complete no packed residence goes.
 *
 * A pin to DRAM reserves the image's bytes: whenever the model leaves its device, there is room for it. What others
 * keep stays within the rest of the budget.
 */
#include <assert.h>

#include "core/state.h"

/* ---- what it takes ---- */

uint64_t sgi__residence_bytes(const struct model *m, bool packed)
{
    return packed ? m->config.packed_bytes : m->config.image_bytes;
}

static uint64_t bytes_now(const struct model *m)
{
    return sgi__residence_bytes(m, m->residence_packed);
}

/* Worth decoding it for: it is an eighth smaller at least. */
static bool gains(const struct model *m)
{
    return m->config.packed_bytes > 0 && m->config.packed_bytes <= m->config.image_bytes / 8 * 7;
}

static bool always_packs(const struct model *m)
{
    return m->config.residence == SGI_RESIDENCE_PACKED && m->config.packed_bytes > 0;
}

bool sgi__residence_only_packed(const struct model *m)
{
    return always_packs(m) && m->pinned_tier != SGI_TIER_DRAM;
}

uint64_t sgi__residence_least(const struct model *m)
{
    bool may_pack = always_packs(m) || (m->config.residence == SGI_RESIDENCE_AUTO && gains(m));
    return sgi__residence_bytes(m, may_pack);
}

uint64_t sgi__residence_most(const struct model *m)
{
    bool larger = always_packs(m) && m->config.packed_bytes > m->config.image_bytes;
    return sgi__residence_bytes(m, larger);
}

bool sgi__residence_moves(const struct model *m, const struct device *d)
{
    return d->unified && !m->residence_packed;
}

/* So much of them is there once, for several. */
static void share(struct sgi__core *core, uint64_t bytes)
{
    assert(core->dram.used >= bytes);
    core->dram.used -= bytes;
    core->dram_shared += (int64_t)bytes;
}

static void unshare(struct sgi__core *core, uint64_t bytes)
{
    core->dram.used += bytes;
    core->dram_shared -= (int64_t)bytes;
}

/* ---- what is counted on ---- */

uint64_t sgi__packed_as_of(const struct sgi__core *core)
{
    return core->packed_leaving > 0 ? SGI__NEVER : core->packed_gone;
}

/* What it would share for certain: all that had it when its source was checked are there still. */
static uint64_t may_count_on(const struct sgi__core *core, const struct instance *i)
{
    uint64_t most = i->model->config.packed_bytes;

    if (!i->packs || core->drop_waits || i->shares_as_of != core->packed_gone)
        return 0;
    return i->shares_seen < most ? i->shares_seen : most;
}

void sgi__fill_begins(struct sgi__core *core, struct instance *i)
{
    if (i->packs)
        i->fill_number = ++core->packed_fills;
    if (i->shares == 0)
        return;
    share(core, i->shares);
    core->sharing++;
}

void sgi__shares_end(struct sgi__core *core, struct instance *i)
{
    if (i->shares == 0)
        return;
    unshare(core, i->shares);
    i->shares = 0;
    core->sharing_over = --core->sharing == 0;
}

void sgi__shares_over(struct sgi__core *core, uint64_t now)
{
    if (!core->sharing_over || core->sharing > 0)
        return;
    core->sharing_over = core->drop_waits = false;
    core->dirty = true; /* who waits for room that they may make now */
    for (struct model *m = core->kept_head, *next; m; m = next) {
        next = m->kept_next;
        sgi__model_advance(core, now, m);
    }
    sgi__give_back(core); /* likewise a trim, before the next fill counts on what it would drop */
}

static bool counted_on(const struct sgi__core *core, const struct model *m)
{
    return m->residence_packed && core->sharing > 0;
}

/* Fills that come one after the other would keep it there for ever: who waits for it to go comes before the next. */
bool sgi__residence_may_go(struct sgi__core *core, const struct model *m)
{
    if (m->residence_readers > 0)
        return false;
    core->drop_waits |= counted_on(core, m);
    return !counted_on(core, m);
}

/* ---- where it stands ---- */

static bool goes_before(const struct model *a, const struct model *b)
{
    return a->residence_value != b->residence_value ? a->residence_value < b->residence_value
                                                    : a->residence_used < b->residence_used;
}

static void list_add(struct sgi__core *core, uint64_t now, struct model *m)
{
    struct model *after = core->kept_tail;

    m->residence_value = sgi__value(core, m, bytes_now(m), now);
    while (after && goes_before(m, after))
        after = after->kept_prev;
    m->kept_prev = after;
    m->kept_next = after ? after->kept_next : core->kept_head;
    *(after ? &after->kept_next : &core->kept_head) = m;
    *(m->kept_next ? &m->kept_next->kept_prev : &core->kept_tail) = m;
}

static void list_remove(struct sgi__core *core, struct model *m)
{
    *(m->kept_prev ? &m->kept_prev->kept_next : &core->kept_head) = m->kept_next;
    *(m->kept_next ? &m->kept_next->kept_prev : &core->kept_tail) = m->kept_prev;
    m->kept_prev = m->kept_next = NULL;
}

/* From now on it is one. */
static void kept(struct sgi__core *core, uint64_t now, struct model *m)
{
    core->packed_come += m->residence_packed;
    m->residence = RES_KEPT;
    m->residence_serial = ++core->residences;
    list_add(core, now, m);
}

void sgi__residence_keep(struct sgi__core *core, struct instance *i)
{
    struct model *m = i->model;

    assert(m->residence == RES_NONE || m->residence == RES_LENT);
    m->residence = RES_KEEPING;
    m->residence_packed = i->to_dram && i->packs;
    m->residence_used = i->last_used;
    core->dram.used += bytes_now(m);
}

void sgi__residence_kept(struct sgi__core *core, uint64_t now, struct model *m, uint64_t shared)
{
    assert(m->residence == RES_KEEPING);
    share(core, shared);
    kept(core, now, m);
}

void sgi__residence_lend(struct sgi__core *core, struct model *m)
{
    assert(m->residence == RES_KEPT);
    list_remove(core, m);
    m->residence = RES_LENT;
    core->dram.used -= m->config.image_bytes;
    core->dram_lending += m->config.image_bytes;
}

void sgi__residence_lent(struct sgi__core *core, uint64_t now, struct model *m, bool taken)
{
    core->dram_lending -= m->config.image_bytes;
    if (taken)
        return;
    m->residence = RES_KEPT; /* the place did not take it, so it is a residence still */
    core->dram.used += m->config.image_bytes;
    list_add(core, now, m);
}

void sgi__residence_revalue(struct sgi__core *core, uint64_t now, struct model *m)
{
    if (m->residence != RES_KEPT)
        return;
    list_remove(core, m);
    list_add(core, now, m);
}

static void drop(struct sgi__core *core, struct model *m)
{
    m->residence = RES_DROPPING;
    core->packed_gone += m->residence_packed;
    core->packed_leaving += m->residence_packed;
    core->dram_leaving += bytes_now(m);
    m->op_drop = sgi__core_act(core, SGI__ACT_DROP, m, NULL);
}

void sgi__residence_drop(struct sgi__core *core, struct model *m, uint32_t cause)
{
    assert(m->residence == RES_KEPT && m->residence_readers == 0 && !counted_on(core, m));
    list_remove(core, m);
    drop(core, m);
    sgi__note_drops(core, m, cause);
}

void sgi__residence_used(struct sgi__core *core, uint64_t now, struct model *m, uint64_t at)
{
    if (m->residence != RES_KEPT || m->residence_used >= at)
        return;
    list_remove(core, m);
    m->residence_used = at;
    list_add(core, now, m);
}

/* Its memory is gone: freed, dropped, or lost with its place. */
void sgi__residence_clear(struct sgi__core *core, struct model *m)
{
    if (m->residence == RES_KEPT)
        list_remove(core, m);
    if (m->residence == RES_DROPPING) {
        core->dram_leaving -= bytes_now(m);
        core->packed_leaving -= m->residence_packed;
    }
    if (m->residence != RES_NONE && m->residence != RES_LENT) {
        assert(core->dram.used >= bytes_now(m));
        core->dram.used -= bytes_now(m);
    }
    m->residence = RES_NONE;
    m->residence_packed = m->residence_spoiled = false;
    m->op_drop = 0;
}

void sgi__residence_wait(struct sgi__core *core, struct instance *i, bool waits)
{
    if (i->keep_waiting == waits)
        return;
    i->keep_waiting = waits;
    core->keep_waiters += waits ? 1u : (uint32_t)-1;
}

void sgi__residence_dropped(struct sgi__core *core, uint64_t now, struct model *m, uint64_t shared)
{
    unshare(core, shared);
    sgi__residence_clear(core, m);
    core->dirty = true;
    /* The instances that wait for this to keep theirs or a copy; there are few, and only then is anybody looked for. */
    for (uint32_t n = 0; core->keep_waiters > 0 && n < core->models.count; n++) {
        const struct model *other = core->models.items[n];
        for (struct instance *i = other->id ? other->instances : NULL; i; i = i->model_next)
            if (i->keep_waiting) /* it emits actions at most: nobody leaves the list */
                sgi__instance_advance(core, now, i);
    }
    sgi__model_advance(core, now, m);
}

/* ---- room ---- */

/* What the budget holds: all of it, and how it divides between those who pinned and the others. */
struct budget {
    uint64_t taken;          /* charged, or lent and perhaps coming back; what leaves is in it still */
    uint64_t reserved;       /* for pinned models, */
    uint64_t reserved_taken; /* and what of that is taken */
};

/* Of a model, and not on its way out. */
static uint64_t taken_by(const struct model *m)
{
    bool     here = m->residence == RES_KEEPING || m->residence == RES_FILLING || m->residence == RES_KEPT;
    uint64_t bytes = here ? bytes_now(m) : 0;
    for (const struct instance *i = m->instances; i; i = i->model_next) {
        bool lending = i->tier == SGI_TIER_DRAM && i->op_reserve && !i->reads;
        if (i->device == SGI__DRAM)
            bytes += i->charged;
        else if (lending)
            bytes += m->config.image_bytes;
    }
    return bytes;
}

static struct budget budget_of(const struct sgi__core *core)
{
    struct budget b = { .taken = core->dram.used + core->dram_lending };
    for (const struct model *m = core->pinned_head; m; m = m->pinned_next) {
        b.reserved += sgi__residence_most(m);
        b.reserved_taken += taken_by(m);
    }
    if (b.reserved_taken > b.taken) /* they share some of it, and those bytes are there once */
        b.reserved_taken = b.taken;
    return b;
}

/* Nobody asks for it, nobody pinned it, and nobody reads it or counts on it. */
static bool may_drop(const struct sgi__core *core, const struct model *m)
{
    return m->pinned_tier < SGI_TIER_DRAM && m->wants == 0 && m->residence_readers == 0 && !counted_on(core, m);
}

/* Whoever comes from here on is worth no less than this one was. The clock goes on for ever, so it begins anew long
 * before it would be over. */
static void advance_clock(struct sgi__core *core, uint64_t value)
{
    if (value > core->dram_clock)
        core->dram_clock = value;
    if (core->dram_clock < UINT64_C(1) << 62)
        return;
    for (struct model *m = core->kept_head; m; m = m->kept_next)
        m->residence_value -= m->residence_value < core->dram_clock ? m->residence_value : core->dram_clock;
    core->dram_clock = 0;
}

/* Who may go for one that comes. */
enum goers { GO_ALL, GO_UNPACKED, GO_NONE };

static bool may_drop_for(const struct sgi__core *core, const struct model *for_model, enum goers goers,
                         const struct model *m)
{
    if (m == for_model || !may_drop(core, m))
        return false;
    return goers == GO_ALL || (goers == GO_UNPACKED && !m->residence_packed);
}

/* Drops the least valuable until `lacking` bytes leave; nothing at all if that would not be enough. */
static enum room make_room(struct sgi__core *core, const struct model *for_model, uint64_t lacking, enum goers goers)
{
    uint64_t droppable = 0;

    if (lacking == 0)
        return ROOM_NOW;
    for (const struct model *m = core->kept_head; m && lacking > core->dram_leaving + droppable; m = m->kept_next)
        if (may_drop_for(core, for_model, goers, m))
            droppable += bytes_now(m);
    if (lacking > core->dram_leaving + droppable)
        return ROOM_NONE;
    for (struct model *m = core->kept_head, *next; lacking > core->dram_leaving; m = next) {
        assert(m); /* or `droppable` was wrong */
        next = m->kept_next;
        if (!may_drop_for(core, for_model, goers, m))
            continue;
        advance_clock(core, m->residence_value);
        sgi__residence_drop(core, m, SGI_CAUSE_ROOM);
    }
    return ROOM_SOON;
}

/* UINT64_MAX: however much goes. */
static uint64_t lacking_for(const struct sgi__core *core, const struct model *m, uint64_t bytes)
{
    struct budget b = budget_of(core);
    uint64_t      max = core->dram.bytes_max, taken = b.taken;

    if (m->pinned_tier != SGI_TIER_DRAM) {
        max = sgi__dram_max(core);
        max -= b.reserved < max ? b.reserved : max;
        taken -= b.reserved_taken;
    }
    if (bytes > max)
        return UINT64_MAX;
    return taken > max - bytes ? taken - (max - bytes) : 0;
}

/* Unpacked it starts at once, packed there is room for more of them: packed where nothing would have to go for that. */
bool sgi__residence_packs(const struct sgi__core *core, const struct model *m)
{
    if (m->config.residence != SGI_RESIDENCE_AUTO)
        return always_packs(m);
    return gains(m) && lacking_for(core, m, m->config.image_bytes) > 0;
}

void sgi__residence_shrink(struct sgi__core *core, uint64_t bytes, uint64_t newest)
{
    for (struct model *m = core->kept_head, *next; m; m = next) {
        uint64_t taken = core->dram.used + core->dram_lending;
        next = m->kept_next;
        if (taken <= core->dram_leaving || taken - core->dram_leaving <= bytes)
            return;
        if (m->residence_serial > newest)
            continue;
        core->drop_waits |= counted_on(core, m);
        if (!may_drop(core, m))
            continue;
        advance_clock(core, m->residence_value);
        sgi__residence_drop(core, m, SGI_CAUSE_PRESSURE);
    }
}

enum room sgi__residence_room(struct sgi__core *core, const struct model *m, bool packed)
{
    uint64_t lacking = lacking_for(core, m, sgi__residence_bytes(m, packed));

    if (lacking == UINT64_MAX)
        return ROOM_NONE;
    enum room room = make_room(core, m, lacking, GO_ALL);
    /* That is what it is reserved for. Only what has been shared with one that was pinned may have come to be in the
     * way, when its user had that one evicted. */
    assert(room != ROOM_NONE || m->pinned_tier != SGI_TIER_DRAM || core->may_share);
    return room;
}

enum room sgi__fill_room(struct sgi__core *core, struct instance *i, uint64_t *shares_out)
{
    const struct model *m = i->model;

    i->packs = sgi__residence_packs(core, m);
    uint64_t bytes = sgi__residence_bytes(m, i->packs), shares = may_count_on(core, i);

    *shares_out = 0;
    if (shares > 0 && lacking_for(core, m, bytes) > 0) {
        /* Where most of it is there already, rather than what has that: which of the packed ones, nobody says. */
        enum goers goers = shares >= bytes / 2 ? GO_UNPACKED : GO_NONE;
        enum room  room = make_room(core, m, lacking_for(core, m, bytes - shares), goers);
        *shares_out = room == ROOM_NOW ? shares : 0;
        if (room != ROOM_NONE)
            return room;
    }
    return sgi__residence_room(core, m, i->packs);
}

static bool fills(const struct instance *i)
{
    return i->fill_number > 0 && (i->fills || i->to_dram);
}

/* What is read just now may be what it shares: of a family that is asked for at once the first is waited for. Not those
 * that began after there was no room for it: it would wait for ever. */
static bool awaits_fill(const struct sgi__core *core, struct instance *i)
{
    if (!i->packs)
        return false;
    if (i->fills_ahead == 0)
        i->fills_ahead = core->packed_fills;
    for (uint32_t n = 0; n < core->models.count; n++) {
        const struct model *m = core->models.items[n];
        for (const struct instance *other = m->id ? m->instances : NULL; other; other = other->model_next)
            if (fills(other) && other->fill_number <= i->fills_ahead)
                return true;
    }
    return false;
}

/* There was no room. A drop that was heard of before what it shared with (dram_shared below 0) has too much charged,
 * for a moment. */
bool sgi__fill_may_fit(const struct sgi__core *core, struct instance *i)
{
    return core->dram_shared < 0 || awaits_fill(core, i);
}

/* What is on its way out may be in DRAM still, so nobody says for certain what will be there without it. Not for what
 * begins to go later: that might never end. */
static bool awaits_drops(const struct sgi__core *core, struct instance *i)
{
    if (core->packed_leaving > 0 && i->drops_ahead == 0)
        i->drops_ahead = core->op;
    for (uint32_t n = 0; core->packed_leaving > 0 && n < core->models.count; n++) {
        const struct model *m = core->models.items[n];
        if (m->id && m->residence == RES_DROPPING && m->residence_packed && m->op_drop <= i->drops_ahead)
            return true;
    }
    return false;
}

bool sgi__fill_asks_again(struct sgi__core *core, struct instance *i)
{
    const struct model *m = i->model;
    bool                stale = i->shares_as_of != core->packed_gone || i->shares_come != core->packed_come;

    if (!stale || core->drop_waits || !sgi__residence_packs(core, m) ||
        lacking_for(core, m, sgi__residence_bytes(m, true)) == 0)
        return false;
    if (core->packed_leaving > 0)
        return awaits_drops(core, i);
    sgi__instance_check(core, i);
    return true;
}

/* ---- beside an instance ---- */

/* Of one on a host's device the image is kept at its end, unless it is to be packed. */
static bool may_leave_copy(const struct sgi__core *core, const struct instance *i)
{
    return !core->devices[i->device].unified || always_packs(i->model);
}

static enum room room_for_copy(struct sgi__core *core, struct instance *i, uint64_t *shares_out)
{
    const struct model *m = i->model;
    bool                none = m->residence == RES_NONE || m->residence == RES_DROPPING;

    if (i->device == SGI__DRAM || i->tier != SGI_TIER_DISK || core->dram.bytes_max == 0 || !may_leave_copy(core, i))
        return ROOM_NONE;
    if (!none || sgi__model_filling(m) || !i->keep || m->draining || m->evict_dram)
        return ROOM_NONE;
    if (m->residence == RES_DROPPING) /* it has one residence at a time: the one from before goes first */
        return ROOM_SOON;
    return sgi__fill_room(core, i, shares_out);
}

void sgi__copy_expect(struct sgi__core *core, struct instance *i)
{
    uint64_t shares;
    room_for_copy(core, i, &shares);
}

bool sgi__copy_begin(struct sgi__core *core, struct instance *i)
{
    uint64_t  shares = 0;
    enum room room = room_for_copy(core, i, &shares);

    sgi__residence_wait(core, i, room == ROOM_SOON);
    if (room == ROOM_NOW) {
        i->fills = true;
        i->model->residence = RES_FILLING;
        i->model->residence_packed = i->packs;
        core->dram.used += bytes_now(i->model);
        i->shares = shares;
        sgi__fill_begins(core, i);
    }
    return room != ROOM_SOON;
}

void sgi__copy_left(struct sgi__core *core, struct instance *i, uint64_t bytes, uint64_t shared)
{
    if (!i->fills)
        return;
    core->dirty = true;
    sgi__shares_end(core, i);
    if (bytes > 0) {
        share(core, shared);
        return;
    }
    i->fills = false;
    sgi__residence_clear(core, i->model);
}

void sgi__copy_settle(struct sgi__core *core, uint64_t now, struct instance *i)
{
    struct model *m = i->model;

    if (!i->fills || i->op_load || (i->op_prefix && !i->packs))
        return;
    i->fills = false;
    core->dirty = true;
    if (!i->loaded || (!i->prefixed && !i->packs)) { /* an image without the engine's part is of no use */
        drop(core, m);
        return;
    }
    m->residence_used = now;
    kept(core, now, m);
}

void sgi__read_begin(struct sgi__core *core, struct instance *i)
{
    (void)core;
    assert(i->model->residence == RES_KEPT);
    i->reads = true;
    i->model->residence_readers++;
}

void sgi__read_end(struct sgi__core *core, struct instance *i)
{
    if (!i->reads)
        return;
    i->reads = false;
    i->model->residence_readers--;
    core->dirty = true; /* who waits to take it, or for its room */
}

/* ---- pins ---- */

sgi_status sgi__residence_pin(struct sgi__core *core, struct model *m)
{
    struct budget b = budget_of(core);
    uint64_t      bytes = sgi__residence_most(m), max = core->dram.bytes_max;

    if (bytes > max || b.reserved > max - bytes)
        return SGI_E_NO_ROOM;
    uint64_t left = max - b.reserved - bytes, mine = taken_by(m), others = b.taken - b.reserved_taken;
    others -= mine < others ? mine : others;
    if (make_room(core, m, others > left ? others - left : 0, GO_ALL) == ROOM_NONE)
        return SGI_E_BUSY;
    m->pinned_next = core->pinned_head;
    if (m->pinned_next)
        m->pinned_next->pinned_prev = m;
    core->pinned_head = m;
    return SGI_OK;
}

void sgi__residence_unpin(struct sgi__core *core, struct model *m)
{
    *(m->pinned_prev ? &m->pinned_prev->pinned_next : &core->pinned_head) = m->pinned_next;
    if (m->pinned_next)
        m->pinned_next->pinned_prev = m->pinned_prev;
    m->pinned_prev = m->pinned_next = NULL;
}
