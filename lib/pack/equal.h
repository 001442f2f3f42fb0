/* SPDX-License-Identifier: Apache-2.0 */
/* Chunks by their digest: which one that is stored already is like this one. */
#ifndef SGI_PACK_EQUAL_H
#define SGI_PACK_EQUAL_H

#include <stdbool.h>

#include "model/packed.h"

struct sgi__equal {
    const struct sgi__stored_chunk **table;
    uint64_t                         room; /* a power of two */
};

bool sgi__equal_init(struct sgi__equal *e, uint64_t chunks_max); /* false: out of memory */
void sgi__equal_fini(struct sgi__equal *e);
/* NULL: none. Of equal ones the first that was added. */
const struct sgi__stored_chunk *sgi__equal_find(const struct sgi__equal *e, const struct sgi__stored_chunk *c);
void                            sgi__equal_add(struct sgi__equal *e, const struct sgi__stored_chunk *c);

#endif
