/* SPDX-License-Identifier: Apache-2.0 */
/* Where there is room for an instance, where it is worth waiting for, and who leaves for it. All but the last function
 * only look: the scheduler acts on what they say, and an estimate tells it. */
#ifndef SGI_CORE_ROOM_H
#define SGI_CORE_ROOM_H

#include "core/state.h"

/* What is lacking for `need` once `going` of what is used has gone. Others may have taken more than we left free. */
uint64_t sgi__room_lacking(const struct device *d, uint64_t need, uint64_t going);
uint64_t sgi__room_leaving(const struct device *d); /* what its instances that end already will give back */
/* The model may be there, and would fit if the device were empty. */
bool sgi__room_is_for(const struct sgi__core *core, const struct device *d, const struct model *m);
/* The instance of a model that is on a device, whatever it does there; there is one at most. NULL: none. */
const struct instance *sgi__room_holds(const struct sgi__core *core, const struct device *d, const struct model *m);
bool                   sgi__room_kept_from(const struct device *d, const struct instance *i); /* for one that starves */

bool sgi__room_awaited(const struct sgi__core *core, const struct device *d); /* by one that could be there */

/* For an instance that is QUEUED, or might be: a device, or -1. */
int32_t sgi__room_now(const struct sgi__core *core, const struct instance *i, int32_t hint);
/* Once others let go: it is usable, and not all of it is foreign, pinned or hanging. */
bool    sgi__room_can_come(const struct sgi__core *core, const struct device *d, const struct instance *i);
int32_t sgi__room_later(const struct sgi__core *core, const struct instance *i, int32_t hint);
/* Who would have to leave, in their order; those past victims_max are counted only. 0 when it would not be enough. */
uint32_t sgi__room_victims(const struct device *d, uint64_t need, struct instance **victims, uint32_t victims_max);

/* Evict what nobody uses, and no more of it than is lacking; nothing at all if that would not be enough. */
void sgi__room_make(struct sgi__core *core, uint64_t now, struct device *d, uint64_t need);

#endif
