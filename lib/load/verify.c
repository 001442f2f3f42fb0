/* SPDX-License-Identifier: Apache-2.0 */
#include "load/verify.h"

#include <stdbool.h>
#include <stddef.h>

#include "base/alloc.h"

struct piece {
    uint64_t from, to;
};

struct sgi__verify_one {
    uint64_t               tensor;
    uint64_t               hashed;                         /* so many bytes from its beginning */
    struct piece           pieces[SGI__VERIFY_PIECES_MAX]; /* landed beyond that, in no order */
    uint32_t               pieces_count;
    struct sgi__hash_state state;
};

static struct sgi__verify_one **find(struct sgi__verify *v, uint64_t tensor)
{
    for (uint32_t n = 0; n < v->open_count; n++)
        if (v->open[n]->tensor == tensor)
            return &v->open[n];
    return NULL;
}

/* NULL: there is no room for another. */
static struct sgi__verify_one *begin(struct sgi__verify *v, uint64_t tensor)
{
    struct sgi__verify_one *one = v->spare;
    if (v->open_count == SGI__VERIFY_OPEN_MAX)
        return NULL;
    v->spare = NULL;
    if (!one && !(one = sgi__alloc(sizeof *one)))
        return NULL;
    one->tensor = tensor;
    one->hashed = 0;
    one->pieces_count = 0;
    sgi__hash_begin(&one->state);
    v->open[v->open_count++] = one;
    return one;
}

static void hash(struct sgi__verify_one *one, const uint8_t *data, uint64_t to)
{
    sgi__hash_more(&one->state, data + one->hashed, (size_t)(to - one->hashed));
    one->hashed = to;
}

/* Those that have waited for this one, each of which may be what another waits for. */
static void catch_up(struct sgi__verify_one *one, const uint8_t *data)
{
    for (uint32_t n = 0; n < one->pieces_count; n++)
        if (one->pieces[n].from == one->hashed) {
            uint64_t to = one->pieces[n].to;
            one->pieces[n] = one->pieces[--one->pieces_count];
            hash(one, data, to);
            n = UINT32_MAX; /* from the first again */
        }
}

void sgi__verify_landed(struct sgi__verify *v, uint64_t tensor, const uint8_t *data, uint64_t from, uint64_t to)
{
    struct sgi__verify_one **at = find(v, tensor), *one = at ? *at : begin(v, tensor);
    if (!one)
        return;
    if (from == one->hashed) {
        hash(one, data, to);
        catch_up(one, data);
    } else if (one->pieces_count < SGI__VERIFY_PIECES_MAX) {
        one->pieces[one->pieces_count++] = (struct piece){ .from = from, .to = to };
    } /* else a gap that is never filled: the end sees it */
}

uint64_t sgi__verify_end(struct sgi__verify *v, uint64_t tensor, const uint8_t *data, uint64_t bytes)
{
    struct sgi__verify_one **at = find(v, tensor), *one = at ? *at : NULL;
    bool                     whole = !one || one->hashed < bytes;
    uint64_t                 value = whole ? sgi__hash(data, (size_t)bytes) : sgi__hash_so_far(&one->state);

    if (one) {
        *at = v->open[--v->open_count];
        sgi__free(v->spare);
        v->spare = one;
    }
    return value;
}

void sgi__verify_fini(struct sgi__verify *v)
{
    for (uint32_t n = 0; n < v->open_count; n++)
        sgi__free(v->open[n]);
    v->open_count = 0;
    sgi__free(v->spare);
    v->spare = NULL;
}
