/* SPDX-License-Identifier: Apache-2.0 */
/* A file whose bytes come by in their order: what its digest is, and that they match its checks where it has some. */
#ifndef SGI_PACK_PASSING_H
#define SGI_PACK_PASSING_H

#include "base/hash.h"
#include "model/manifest.h"

struct sgi__passing {
    const struct sgi__packed *checks; /* of all files, those of each in their order; NULL: there are none */
    struct sgi__hash_state    digest, check;
    uint64_t                  bytes; /* that have come by */
    uint64_t                  chunk; /* of the checks: that the next byte is in */
};

void sgi__passing_begin(struct sgi__passing *p, const struct sgi__packed *checks, uint32_t file);
/* SGI_E_CHECK naming the file and the place. */
sgi_status sgi__passing_more(struct sgi__passing *p, const void *bytes, size_t count, sgi_error *err);

#endif
