/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handles: kind, generation and place in a table. They are no addresses, so that nobody reads through one, and one that
 * was given back is known for what it was: the real driver would read freed memory, here the call fails and is named.
 */
#include <stdlib.h>

#include "internal.h"

enum { INDEX_BITS = 20, GENERATION_BITS = 28, KIND_SHIFT = INDEX_BITS + GENERATION_BITS };
#define INDEX_MAX      ((1u << INDEX_BITS) - 1)
#define GENERATION_MAX ((1u << GENERATION_BITS) - 1)

static struct slot {
    enum fc_kind kind; /* of what is, or was, here */
    unsigned     generation;
    void        *object;
    unsigned     next_free;
} * slots;

static unsigned slot_count, slot_room, first_free;

static bool grow(void)
{
    unsigned     room = slot_room ? slot_room * 2 : 256;
    struct slot *more = room <= INDEX_MAX ? realloc(slots, room * sizeof *slots) : NULL;
    if (!more)
        return false;
    slots = more;
    slot_room = room;
    if (slot_count == 0)
        slots[slot_count++] = (struct slot){ .object = NULL }; /* nothing is number 0 */
    return true;
}

uint64_t fc_handle_make(enum fc_kind kind, void *object)
{
    unsigned n = first_free;
    if (n) {
        first_free = slots[n].next_free;
    } else {
        if (slot_count == slot_room && !grow())
            return 0;
        n = slot_count++;
        slots[n] = (struct slot){ .generation = 0 };
    }
    slots[n].kind = kind;
    slots[n].object = object;
    return (uint64_t)kind << KIND_SHIFT | (uint64_t)slots[n].generation << INDEX_BITS | n;
}

void *fc_handle_get(enum fc_kind kind, uint64_t handle)
{
    static const char *const names[] = { "", "context", "stream", "event", "module", "memory" };
    unsigned n = (unsigned)(handle & INDEX_MAX), generation = (unsigned)(handle >> INDEX_BITS & GENERATION_MAX);
    if (handle >> KIND_SHIFT != kind || n == 0 || n >= slot_count)
        return NULL;
    if (slots[n].object && slots[n].kind == kind && slots[n].generation == generation)
        return slots[n].object;
    if (generation < slots[n].generation)
        fc_violation(fc_thread.call, "%s %#llx is used after it was given back", names[kind],
                     (unsigned long long)handle);
    return NULL;
}

void fc_handle_drop(uint64_t handle)
{
    unsigned n = (unsigned)(handle & INDEX_MAX);
    slots[n].object = NULL;
    slots[n].generation = (slots[n].generation + 1) & GENERATION_MAX;
    slots[n].next_free = first_free;
    first_free = n;
}

void *fc_handle_next(enum fc_kind kind, size_t *cursor)
{
    while (++*cursor < slot_count) {
        if (slots[*cursor].kind == kind && slots[*cursor].object)
            return slots[*cursor].object;
    }
    return NULL;
}
