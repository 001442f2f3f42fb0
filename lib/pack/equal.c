/* SPDX-License-Identifier: Apache-2.0 */
#include "pack/equal.h"

#include "base/alloc.h"

bool sgi__equal_init(struct sgi__equal *e, uint64_t chunks_max)
{
    e->room = 16;
    while (e->room < 2 * chunks_max)
        e->room *= 2;
    e->table = sgi__alloc_zero((size_t)e->room, sizeof(void *));
    return e->table != NULL;
}

void sgi__equal_fini(struct sgi__equal *e)
{
    sgi__free(e->table);
    e->table = NULL;
}

static bool alike(const struct sgi__stored_chunk *a, const struct sgi__stored_chunk *b)
{
    return a->bytes == b->bytes && a->digest[0] == b->digest[0] && a->digest[1] == b->digest[1];
}

/* Where it is, or is to be. */
static uint64_t slot_of(const struct sgi__equal *e, const struct sgi__stored_chunk *c)
{
    uint64_t slot = c->digest[0] & (e->room - 1);
    while (e->table[slot] && !alike(e->table[slot], c))
        slot = (slot + 1) & (e->room - 1);
    return slot;
}

const struct sgi__stored_chunk *sgi__equal_find(const struct sgi__equal *e, const struct sgi__stored_chunk *c)
{
    return e->table[slot_of(e, c)];
}

void sgi__equal_add(struct sgi__equal *e, const struct sgi__stored_chunk *c)
{
    uint64_t slot = slot_of(e, c);
    if (!e->table[slot])
        e->table[slot] = c;
}
