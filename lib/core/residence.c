/* SPDX-License-Identifier: Apache-2.0 */
/* The DRAM tier: what stays in host memory when no device uses it. A residence is charged to the DRAM budget from the
 * moment it is decided on (KEEPING) to the moment its memory is gone (DROPPING ends); while an instance has its image
 * (LENT) it is charged there instead, so no byte is counted twice. */
#include <assert.h>

#include "core/state.h"

/* Nobody asks for it and nobody pinned it. */
static bool may_drop(const struct model *m)
{
    return m->residence == RES_KEPT && m->pinned_tier < SGI_TIER_DRAM && m->wants == 0;
}

enum room sgi__residence_room(struct sgi__core *core, const struct model *for_model, uint64_t bytes)
{
    uint64_t max = core->dram.bytes_max, used = core->dram.used + core->dram_lending;
    uint64_t leaving = 0, droppable = 0;

    if (bytes > max)
        return ROOM_NONE;
    if (used <= max - bytes)
        return ROOM_NOW;

    for (uint32_t n = 0; n < core->models.count; n++) {
        const struct model *m = core->models.items[n];
        if (!m->id)
            continue;
        if (m->residence == RES_DROPPING)
            leaving += m->config.image_bytes;
        else if (m != for_model && may_drop(m))
            droppable += m->config.image_bytes;
    }
    uint64_t lacking = used - (max - bytes);
    if (lacking > leaving + droppable)
        return ROOM_NONE;

    while (lacking > leaving) { /* least recently used first */
        struct model *oldest = NULL;
        for (uint32_t n = 0; n < core->models.count; n++) {
            struct model *m = core->models.items[n];
            if (m->id && m != for_model && may_drop(m) && (!oldest || m->residence_used < oldest->residence_used))
                oldest = m;
        }
        leaving += oldest->config.image_bytes;
        sgi__residence_drop(core, oldest);
    }
    return ROOM_SOON;
}

void sgi__residence_drop(struct sgi__core *core, struct model *m)
{
    assert(m->residence == RES_KEPT);
    m->residence = RES_DROPPING;
    m->op_drop = sgi__core_act(core, SGI__ACT_DROP, m, NULL);
}

/* Its memory is gone, by DROP or with its place. */
void sgi__residence_clear(struct sgi__core *core, struct model *m)
{
    if (m->residence == RES_KEPT || m->residence == RES_DROPPING || m->residence == RES_KEEPING) {
        assert(core->dram.used >= m->config.image_bytes);
        core->dram.used -= m->config.image_bytes;
    }
    m->residence = RES_NONE;
    m->op_drop = 0;
}

void sgi__residence_dropped(struct sgi__core *core, uint64_t now, struct model *m)
{
    sgi__residence_clear(core, m);
    core->dirty = true;
    /* The instances that wait for this to keep theirs; there are few, and only then is anybody looked for. */
    for (uint32_t n = 0; core->keep_waiters > 0 && n < core->models.count; n++) {
        struct model *other = core->models.items[n];
        if (other->id && other->instance.keep_waiting)
            sgi__instance_advance(core, now, &other->instance);
    }
    sgi__model_advance(core, now, m);
}
