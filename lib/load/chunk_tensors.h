/* SPDX-License-Identifier: Apache-2.0 */
/* Which tensors a stored chunk holds something of: what its damage means. */
#ifndef SGI_LOAD_CHUNK_TENSORS_H
#define SGI_LOAD_CHUNK_TENSORS_H

#include <sgi/pack.h>

#include "model/manifest.h"

struct sgi__chunk_tensors {
    const char *names[SGI_DAMAGE_TENSORS_MAX]; /* of the first, by their index */
    uint64_t    count;                         /* of all */
};

/* Chunks that are alike are stored once: the tensors of each of them count. Without memory for that, this one's do. */
void sgi__chunk_tensors(const struct sgi__manifest *m, const struct sgi__stored_chunk *c,
                        struct sgi__chunk_tensors *tensors_out);

#endif
