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
 * A pin to DRAM reserves the image's bytes: whenever the model leaves its device, there is room for it. What others
 * keep stays within the rest of the budget.
 */
#include <assert.h>

#include "core/state.h"

/* ---- where it stands ---- */

static void list_add(struct sgi__core *core, struct model *m)
{
    struct model *after = core->kept_tail;
    while (after && after->residence_used > m->residence_used)
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

void sgi__residence_keep(struct sgi__core *core, struct model *m, uint64_t used_at)
{
    assert(m->residence == RES_NONE || m->residence == RES_LENT);
    m->residence = RES_KEEPING;
    m->residence_used = used_at;
    core->dram.used += m->config.image_bytes;
}

void sgi__residence_kept(struct sgi__core *core, struct model *m)
{
    assert(m->residence == RES_KEEPING);
    m->residence = RES_KEPT;
    list_add(core, m);
}

void sgi__residence_lend(struct sgi__core *core, struct model *m)
{
    assert(m->residence == RES_KEPT);
    list_remove(core, m);
    m->residence = RES_LENT;
    core->dram.used -= m->config.image_bytes;
    core->dram_lending += m->config.image_bytes;
}

void sgi__residence_lent(struct sgi__core *core, struct model *m, bool taken)
{
    core->dram_lending -= m->config.image_bytes;
    if (taken)
        return;
    m->residence = RES_KEPT; /* the place did not take it, so it is a residence still */
    core->dram.used += m->config.image_bytes;
    list_add(core, m);
}

static void drop(struct sgi__core *core, struct model *m)
{
    m->residence = RES_DROPPING;
    core->dram_leaving += m->config.image_bytes;
    m->op_drop = sgi__core_act(core, SGI__ACT_DROP, m, NULL);
}

void sgi__residence_drop(struct sgi__core *core, struct model *m)
{
    assert(m->residence == RES_KEPT && m->residence_readers == 0);
    list_remove(core, m);
    drop(core, m);
    sgi__note_drops(core, m);
}

void sgi__residence_used(struct sgi__core *core, struct model *m, uint64_t at)
{
    if (m->residence != RES_KEPT || m->residence_used >= at)
        return;
    list_remove(core, m);
    m->residence_used = at;
    list_add(core, m);
}

/* Its memory is gone: freed, dropped, or lost with its place. */
void sgi__residence_clear(struct sgi__core *core, struct model *m)
{
    if (m->residence == RES_KEPT)
        list_remove(core, m);
    if (m->residence == RES_DROPPING)
        core->dram_leaving -= m->config.image_bytes;
    if (m->residence != RES_NONE && m->residence != RES_LENT) {
        assert(core->dram.used >= m->config.image_bytes);
        core->dram.used -= m->config.image_bytes;
    }
    m->residence = RES_NONE;
    m->op_drop = 0;
}

void sgi__residence_wait(struct sgi__core *core, struct instance *i, bool waits)
{
    if (i->keep_waiting == waits)
        return;
    i->keep_waiting = waits;
    core->keep_waiters += waits ? 1u : (uint32_t)-1;
}

void sgi__residence_dropped(struct sgi__core *core, uint64_t now, struct model *m)
{
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
    uint64_t reserved;       /* images of pinned models, */
    uint64_t reserved_taken; /* and what of that is taken */
};

/* Of a model, and not on its way out. */
static uint64_t taken_by(const struct model *m)
{
    bool     here = m->residence == RES_KEEPING || m->residence == RES_FILLING || m->residence == RES_KEPT;
    uint64_t bytes = here ? m->config.image_bytes : 0;
    for (const struct instance *i = m->instances; i; i = i->model_next) {
        bool filling = i->device == SGI__DRAM && i->charged > 0;
        bool lending = i->tier == SGI_TIER_DRAM && i->op_reserve && !i->reads;
        if (filling || lending)
            bytes += m->config.image_bytes;
    }
    return bytes;
}

static struct budget budget_of(const struct sgi__core *core)
{
    struct budget b = { .taken = core->dram.used + core->dram_lending };
    for (const struct model *m = core->pinned_head; m; m = m->pinned_next) {
        b.reserved += m->config.image_bytes;
        b.reserved_taken += taken_by(m);
    }
    return b;
}

/* Nobody asks for it, nobody pinned it, and nobody reads it. */
static bool may_drop(const struct model *m)
{
    return m->pinned_tier < SGI_TIER_DRAM && m->wants == 0 && m->residence_readers == 0;
}

/* Drops what was used least recently until `lacking` bytes leave; nothing at all if that would not be enough. */
static enum room make_room(struct sgi__core *core, const struct model *for_model, uint64_t lacking)
{
    uint64_t droppable = 0;

    if (lacking == 0)
        return ROOM_NOW;
    for (const struct model *m = core->kept_head; m && lacking > core->dram_leaving + droppable; m = m->kept_next)
        if (m != for_model && may_drop(m))
            droppable += m->config.image_bytes;
    if (lacking > core->dram_leaving + droppable)
        return ROOM_NONE;
    for (struct model *m = core->kept_head, *next; lacking > core->dram_leaving; m = next) {
        assert(m); /* or `droppable` was wrong */
        next = m->kept_next;
        if (m != for_model && may_drop(m))
            sgi__residence_drop(core, m);
    }
    return ROOM_SOON;
}

enum room sgi__residence_room(struct sgi__core *core, const struct model *m)
{
    struct budget b = budget_of(core);
    uint64_t      bytes = m->config.image_bytes, max = core->dram.bytes_max, taken = b.taken;

    if (m->pinned_tier != SGI_TIER_DRAM) {
        max -= b.reserved;
        taken -= b.reserved_taken;
    }
    if (bytes > max)
        return ROOM_NONE;
    enum room room = make_room(core, m, taken > max - bytes ? taken - (max - bytes) : 0);
    assert(room != ROOM_NONE || m->pinned_tier != SGI_TIER_DRAM); /* that is what it is reserved for */
    return room;
}

/* ---- beside a device with memory of its own ---- */

static enum room room_for_copy(struct sgi__core *core, const struct instance *i)
{
    const struct model *m = i->model;
    bool                none = m->residence == RES_NONE || m->residence == RES_DROPPING;

    if (sgi__core_device(core, i->device)->unified || i->tier != SGI_TIER_DISK || core->dram.bytes_max == 0)
        return ROOM_NONE;
    if (!none || sgi__model_filling(m) || !i->keep || m->draining || m->evict_dram)
        return ROOM_NONE;
    if (m->residence == RES_DROPPING) /* it has one residence at a time: the one from before goes first */
        return ROOM_SOON;
    return sgi__residence_room(core, m);
}

void sgi__copy_expect(struct sgi__core *core, const struct instance *i)
{
    room_for_copy(core, i);
}

bool sgi__copy_begin(struct sgi__core *core, struct instance *i)
{
    enum room room = room_for_copy(core, i);

    sgi__residence_wait(core, i, room == ROOM_SOON);
    if (room == ROOM_NOW) {
        i->fills = true;
        i->model->residence = RES_FILLING;
        core->dram.used += i->model->config.image_bytes;
    }
    return room != ROOM_SOON;
}

void sgi__copy_none(struct sgi__core *core, struct instance *i)
{
    if (!i->fills)
        return;
    i->fills = false;
    sgi__residence_clear(core, i->model);
    core->dirty = true;
}

void sgi__copy_settle(struct sgi__core *core, uint64_t now, struct instance *i)
{
    struct model *m = i->model;

    if (!i->fills || i->op_load || i->op_prefix)
        return;
    i->fills = false;
    core->dirty = true;
    if (!sgi__instance_filled(i)) { /* without the engine's part it is of no use */
        drop(core, m);
        return;
    }
    m->residence = RES_KEPT;
    m->residence_used = now;
    list_add(core, m);
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
    uint64_t      bytes = m->config.image_bytes, max = core->dram.bytes_max;

    if (bytes > max || b.reserved > max - bytes)
        return SGI_E_NO_ROOM;
    uint64_t left = max - b.reserved - bytes, others = b.taken - b.reserved_taken - taken_by(m);
    if (make_room(core, m, others > left ? others - left : 0) == ROOM_NONE)
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
