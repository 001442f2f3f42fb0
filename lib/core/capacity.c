/* SPDX-License-Identifier: Apache-2.0 */
/* What is made ahead, so that no event has to allocate: room for the objects, timers, actions and replies of all that
 * can be there at once. */
#include <assert.h>
#include <string.h>

#include "base/alloc.h"
#include "core/state.h"

/* Undrained actions of one model are few, since each waits for the result of the one before; the worst case is
 * CHECK, PREPARE, DISCARD, DROP and an instance's RESERVE, LOAD, PREFIX, START, CANCEL, STOP, FREE. */
enum { ACTIONS_PER_MODEL = 6, ACTIONS_PER_INSTANCE = 8, ACTIONS_PER_DEVICE = 2 };
enum { TIMERS_PER_MODEL = 2, TIMERS_PER_INSTANCE = 3, TIMERS_PER_DEVICE = 2, TIMERS_MORE = 1 };

/* What one event makes of every model at once is that its instances stop and are gone, and that it drops what it
 * keeps. */
enum { NOTES_PER_MODEL = 1, NOTES_PER_INSTANCE = 2, NOTES_MORE = 64 };

static sgi_status ring_room(void **ring, uint32_t *capacity, uint32_t *head, uint32_t count, uint32_t needed,
                            size_t bytes)
{
    if (needed <= *capacity)
        return SGI_OK;
    uint32_t grown = *capacity ? *capacity : 64;
    while (grown < needed)
        grown *= 2;
    assert(count <= *capacity);
    char *to = sgi__alloc_zero(grown, bytes);
    if (!to)
        return SGI_E_NO_MEMORY;
    for (uint32_t n = 0; n < count; n++)
        memcpy(to + n * bytes, (char *)*ring + (*head + n) % *capacity * bytes, bytes);
    sgi__free(*ring);
    *ring = to;
    *head = 0;
    *capacity = grown;
    return SGI_OK;
}

static uint32_t timers_max(const struct sgi__core *core, struct crowd c)
{
    return c.models * TIMERS_PER_MODEL + c.instances * TIMERS_PER_INSTANCE + c.leases + core->config.wants_max +
           core->config.devices_count * TIMERS_PER_DEVICE + TIMERS_MORE;
}

static uint32_t actions_max(const struct sgi__core *core, struct crowd c)
{
    return c.models * ACTIONS_PER_MODEL + c.instances * ACTIONS_PER_INSTANCE +
           core->config.devices_count * ACTIONS_PER_DEVICE;
}

static uint32_t notes_max(const struct sgi__core *core, struct crowd c)
{
    return core->config.notes ? c.models * NOTES_PER_MODEL + c.instances * NOTES_PER_INSTANCE + NOTES_MORE : 0;
}

/* Replies are taken after each event; one event can end every want, mark every lease, wedge every instance and drain
 * every model. */
static uint32_t replies_max(const struct sgi__core *core, struct crowd c)
{
    return core->config.wants_max + c.leases + c.instances + c.models + 1 + notes_max(core, c);
}

/* The slots come last: should memory end before, there are no more of them than there is room for. */
sgi_status sgi__capacity(struct sgi__core *core, struct crowd c)
{
    void      *actions = core->actions, *replies = core->replies;
    sgi_status st;

    if (c.leases < core->leases.count)
        c.leases = core->leases.count;
    st = sgi__timer_room(core, timers_max(core, c));
    if (st == SGI_OK)
        st = ring_room(&actions, &core->actions_capacity, &core->actions_head, core->actions_count,
                       actions_max(core, c), sizeof *core->actions);
    core->actions = actions;
    if (st == SGI_OK)
        st = ring_room(&replies, &core->replies_capacity, &core->replies_head, core->replies_count,
                       replies_max(core, c), sizeof *core->replies);
    core->replies = replies;
    if (st == SGI_OK)
        core->notes_max = notes_max(core, c);
    if (st == SGI_OK)
        st = sgi__slots_room(&core->models, c.models);
    if (st == SGI_OK)
        st = sgi__slots_room(&core->instances, c.instances);
    if (st == SGI_OK)
        st = sgi__slots_room(&core->wants, core->config.wants_max);
    return st == SGI_OK ? sgi__slots_room(&core->leases, c.leases) : st;
}

uint32_t sgi__models_in_use(const struct sgi__core *core)
{
    return core->models.count - core->models.free_count;
}

bool sgi__capacity_is_there(const struct sgi__core *core)
{
    struct crowd c = { sgi__models_in_use(core), core->instances_max, core->leases.count };

    return core->instances.count >= c.instances && core->wants.count >= core->config.wants_max &&
           core->leases.free_count >= core->wants_count && core->heap_capacity >= timers_max(core, c) &&
           core->actions_capacity >= actions_max(core, c) && core->replies_capacity >= replies_max(core, c);
}
