/* SPDX-License-Identifier: Apache-2.0 */
/* Ids that are never used twice, and the objects behind them. */
#include <assert.h>
#include <string.h>

#include "base/alloc.h"
#include "core/state.h"

static uint64_t *id_of(void *item)
{
    return item;
}

uint64_t sgi__core_new_id(struct sgi__core *core, enum id_kind kind, uint32_t slot)
{
    const uint64_t mask = (UINT64_C(1) << SERIAL_BITS) - 1;

    core->serial = (core->serial + 1) & mask;
    if (core->serial == 0)
        core->serial = 1; /* so that no id is 0 */
    return (uint64_t)kind << (SERIAL_BITS + SLOT_BITS) | core->serial << SLOT_BITS | slot;
}

uint32_t sgi__core_slot(uint64_t id)
{
    return (uint32_t)id & (SLOTS_MAX - 1);
}

void *sgi__slots_get(const struct slots *s, uint64_t id, enum id_kind kind)
{
    uint32_t slot = sgi__core_slot(id);
    if (id == 0 || id >> (SERIAL_BITS + SLOT_BITS) != (uint64_t)kind || slot >= s->count)
        return NULL;
    void *item = s->items[slot];
    return *id_of(item) == id ? item : NULL;
}

sgi_status sgi__slots_room(struct slots *s, uint32_t items)
{
    if (items > SLOTS_MAX)
        return SGI_E_NO_MEMORY;
    if (items > s->capacity) {
        uint32_t capacity = s->capacity ? s->capacity : 16;
        while (capacity < items)
            capacity *= 2;
        void *grown = sgi__realloc_array(s->items, capacity, sizeof *s->items);
        if (!grown)
            return SGI_E_NO_MEMORY;
        s->items = grown;
        grown = sgi__realloc_array(s->free, capacity, sizeof *s->free);
        if (!grown)
            return SGI_E_NO_MEMORY;
        s->free = grown;
        s->capacity = capacity;
    }
    while (s->count < items) {
        void *item = sgi__alloc_zero(1, s->item_bytes);
        if (!item)
            return SGI_E_NO_MEMORY;
        s->items[s->count] = item;
        s->free[s->free_count++] = s->count++;
    }
    return SGI_OK;
}

void *sgi__slots_take(struct slots *s, struct sgi__core *core, enum id_kind kind)
{
    assert(s->free_count > 0);
    uint32_t slot = s->free[--s->free_count];
    void    *item = s->items[slot];
    memset(item, 0, s->item_bytes);
    *id_of(item) = sgi__core_new_id(core, kind, slot);
    return item;
}

void sgi__slots_give(struct slots *s, void *item)
{
    s->free[s->free_count++] = sgi__core_slot(*id_of(item));
    *id_of(item) = 0;
}

void sgi__slots_fini(struct slots *s)
{
    for (uint32_t n = 0; n < s->count; n++)
        sgi__free(s->items[n]);
    sgi__free(s->items);
    sgi__free(s->free);
    *s = (struct slots){ 0 };
}
