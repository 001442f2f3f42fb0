/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stored chunks that stay in host memory: packed residences of models. Equal chunks are there once, whichever models
 * they are of. That two are equal is found by their bytes; checks only say where to look, for they can be made to meet.
 *
 * A model's chunks lie one behind the other in an extent, but for those that lie in another's. An extent whose model
 * has gone stays for as long as others use some of it; the rest of its pages goes at once.
 */
#ifndef SGI_LOAD_STORE_H
#define SGI_LOAD_STORE_H

#include "load/layout.h"
#include "model/packed.h"

struct sgi__store; /* one for each place */
struct sgi__kept;  /* the chunks of one model in it */

struct sgi__store *sgi__store_new(void);                  /* NULL: out of memory */
void               sgi__store_free(struct sgi__store *s); /* nothing is kept in it (asserted); NULL is a no-op */

/* What a model takes there when it has nothing in common with any; chunks that are all header are not kept. */
uint64_t sgi__kept_bytes_max(const struct sgi__manifest *m, const struct sgi__layout *layout);

/* Of that, what is there of models that are complete, as far as checks say; no more than one would find that is put in
 * while they stay. */
uint64_t sgi__store_shares(struct sgi__store *s, const struct sgi__manifest *m, const struct sgi__layout *layout);

/* Addresses for all of a model's chunks, which has some; nothing behind them yet. What it points to outlives it.
 * counts_on: so many bytes are to be those of others that are complete; where fewer are, it will never be whole, and
 * takes no more than the rest. SGI_E_NO_MEMORY, SGI_E_DEVICE_MEMORY. */
sgi_status sgi__kept_new(struct sgi__store *s, const struct sgi__manifest *m, const struct sgi__layout *layout,
                         uint64_t counts_on, struct sgi__kept **kept_out, sgi_error *err);
/* One of its chunks, as it was read and verified: copied, unless an equal one is there. Any thread, each chunk once.
 * Without memory for it it is not there: it will never be whole. */
void sgi__kept_put(struct sgi__kept *k, const struct sgi__stored_chunk *c, const uint8_t *stored);
void sgi__kept_spoil(struct sgi__kept *k);          /* some of it is not right: it will never be whole */
bool sgi__kept_is_whole(const struct sgi__kept *k); /* all that it has has been put */
/* One that is whole is from now on counted with the others: bytes of it that these had there already. */
uint64_t sgi__kept_complete(struct sgi__kept *k);
/* Of one that is whole; from then on on any thread, until it is freed. */
const uint8_t *sgi__kept_at(const struct sgi__kept *k, const struct sgi__stored_chunk *c);
/* Complete or not. Returns bytes of it that stay, for others that are complete; 0 where it was not. NULL is a no-op. */
uint64_t sgi__kept_free(struct sgi__kept *k);

#endif
