/* SPDX-License-Identifier: Apache-2.0 */
#include "observe/events.h"

#include "base/alloc.h"

struct sgi__events *sgi__events_new(uint32_t capacity, uint64_t kinds)
{
    struct sgi__events *e = sgi__alloc_zero(1, sizeof *e + capacity * sizeof e->records[0]);
    if (!e)
        return NULL;
    e->kinds = kinds;
    e->capacity = capacity;
    return e;
}

void sgi__events_free(struct sgi__events *events)
{
    sgi__free(events);
}

bool sgi__events_add(struct sgi__events *e, const sgi_event *event)
{
    bool full = e->count == e->capacity;

    if (!(e->kinds >> event->kind & 1))
        return true;
    if (full) {
        e->head = (e->head + 1) % e->capacity;
        e->count--;
        e->dropped++;
    }
    e->records[(e->head + e->count++) % e->capacity] = *event;
    return !full;
}

bool sgi__events_take(struct sgi__events *e, sgi_event *event_out)
{
    if (e->count == 0)
        return false;
    *event_out = e->records[e->head];
    event_out->dropped = e->dropped;
    e->dropped = 0;
    e->head = (e->head + 1) % e->capacity;
    e->count--;
    return true;
}
