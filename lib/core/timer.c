/* SPDX-License-Identifier: Apache-2.0 */
/* One binary heap of deadlines. It is changed by events only, so equal keys come up in the same order in every
 * replay. */
#include <assert.h>

#include "base/alloc.h"
#include "core/state.h"

void sgi__timer_init(struct timer *t, enum timer_kind kind, void *owner)
{
    *t = (struct timer){ .due = SGI__NEVER, .key = SGI__NEVER, .at = NO_SLOT, .kind = (uint8_t)kind, .owner = owner };
}

sgi_status sgi__timer_room(struct sgi__core *core, uint32_t timers)
{
    if (timers <= core->heap_capacity)
        return SGI_OK;
    uint32_t capacity = core->heap_capacity ? core->heap_capacity : 64;
    while (capacity < timers)
        capacity *= 2;
    void *grown = sgi__realloc_array(core->heap, capacity, sizeof *core->heap);
    if (!grown)
        return SGI_E_NO_MEMORY;
    core->heap = grown;
    core->heap_capacity = capacity;
    return SGI_OK;
}

static void put(struct sgi__core *core, uint32_t at, struct timer *t)
{
    core->heap[at] = t;
    t->at = at;
}

static void sift_up(struct sgi__core *core, uint32_t at, struct timer *t)
{
    while (at > 0) {
        uint32_t parent = (at - 1) / 2;
        if (core->heap[parent]->key <= t->key)
            break;
        put(core, at, core->heap[parent]);
        at = parent;
    }
    put(core, at, t);
}

static void sift_down(struct sgi__core *core, uint32_t at, struct timer *t)
{
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= core->heap_count)
            break;
        if (child + 1 < core->heap_count && core->heap[child + 1]->key < core->heap[child]->key)
            child++;
        if (t->key <= core->heap[child]->key)
            break;
        put(core, at, core->heap[child]);
        at = child;
    }
    put(core, at, t);
}

void sgi__timer_set(struct sgi__core *core, struct timer *t, uint64_t due)
{
    if (due == SGI__NEVER) {
        sgi__timer_unset(t);
        return;
    }
    t->due = due;
    if (t->at == NO_SLOT) {
        assert(core->heap_count < core->heap_capacity);
        t->key = due;
        sift_up(core, core->heap_count++, t);
    } else if (due < t->key) {
        t->key = due;
        sift_up(core, t->at, t);
    }
}

void sgi__timer_unset(struct timer *t)
{
    t->due = SGI__NEVER;
}

void sgi__timer_remove(struct sgi__core *core, struct timer *t)
{
    t->due = SGI__NEVER;
    if (t->at == NO_SLOT)
        return;
    uint32_t      at = t->at;
    struct timer *last = core->heap[--core->heap_count];
    t->at = NO_SLOT;
    if (last == t)
        return;
    if (at > 0 && last->key < core->heap[(at - 1) / 2]->key)
        sift_up(core, at, last);
    else
        sift_down(core, at, last);
}

struct timer *sgi__timer_pop_due(struct sgi__core *core, uint64_t now)
{
    while (core->heap_count > 0 && core->heap[0]->key <= now) {
        struct timer *t = core->heap[0];
        if (t->due != SGI__NEVER && t->due > now) { /* it was moved later since */
            t->key = t->due;
            sift_down(core, 0, t);
            continue;
        }
        bool due = t->due != SGI__NEVER;
        sgi__timer_remove(core, t);
        if (due)
            return t;
    }
    return NULL;
}

uint64_t sgi__core_wake_at(const struct sgi__core *core)
{
    return core->heap_count > 0 ? core->heap[0]->key : SGI__NEVER;
}
