/* SPDX-License-Identifier: Apache-2.0 */
/* One reader's events: a ring that never grows and never waits. Guarded by the caller. */
#ifndef SGI_OBSERVE_EVENTS_H
#define SGI_OBSERVE_EVENTS_H

#include <stdbool.h>

#include <sgi/sgi.h>

enum { SGI__EVENT_COUNT = SGI_EVENT_DEVICE_BACK + 1, SGI__CAUSE_COUNT = SGI_CAUSE_PRESSURE + 1 };

struct sgi__events {
    uint64_t  kinds;   /* bit `kind` */
    uint64_t  dropped; /* since the oldest record that is left: it will say so */
    uint32_t  capacity, head, count;
    sgi_event records[];
};

struct sgi__events *sgi__events_new(uint32_t capacity, uint64_t kinds); /* NULL: out of memory */
void                sgi__events_free(struct sgi__events *events);
/* false: it was full, and the oldest record is lost. Kinds that are not wanted go nowhere. */
bool sgi__events_add(struct sgi__events *events, const sgi_event *event);
bool sgi__events_take(struct sgi__events *events, sgi_event *event_out); /* false: there is none */

#endif
