/* SPDX-License-Identifier: Apache-2.0 */
#include "load/verify.h"

#include <stddef.h>

#include "base/alloc.h"

struct sgi__verify_one {
    uint64_t               tensor;
    uint64_t               hashed;                         /* so many bytes from its beginning */
    struct sgi__piece      pieces[SGI__VERIFY_PIECES_MAX]; /* landed beyond that, in no order */
    uint32_t               pieces_count;
    bool                   lost; /* some of it went by unhashed */
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
    one->lost = false;
    sgi__hash_begin(&one->state);
    v->open[v->open_count++] = one;
    return one;
}

static void hash(struct sgi__verify_one *one, const struct sgi__piece *piece)
{
    sgi__hash_more(&one->state, piece->bytes, (size_t)(piece->to - piece->from));
    one->hashed = piece->to;
}

static void let_go(const struct sgi__piece *piece)
{
    if (piece->holds)
        --*piece->holds;
}

/* Those that have waited for this one, each of which may be what another waits for. */
static void catch_up(struct sgi__verify_one *one)
{
    for (uint32_t n = 0; n < one->pieces_count; n++)
        if (one->pieces[n].from == one->hashed) {
            struct sgi__piece piece = one->pieces[n];
            one->pieces[n] = one->pieces[--one->pieces_count];
            hash(one, &piece);
            let_go(&piece);
            n = UINT32_MAX; /* from the first again */
        }
}

/* Its hash will not come to an end, so nothing need wait for it. */
static void lose(struct sgi__verify_one *one)
{
    for (uint32_t n = 0; n < one->pieces_count; n++)
        let_go(&one->pieces[n]);
    one->pieces_count = 0;
    one->lost = true;
}

void sgi__verify_landed(struct sgi__verify *v, uint64_t tensor, const struct sgi__piece *piece, bool first)
{
    struct sgi__verify_one **at = find(v, tensor), *one = at ? *at : first ? begin(v, tensor) : NULL;

    if (!one || one->lost)
        return;
    if (piece->from == one->hashed) {
        hash(one, piece);
        catch_up(one);
    } else if (one->pieces_count < SGI__VERIFY_PIECES_MAX) {
        one->pieces[one->pieces_count++] = *piece;
        if (piece->holds)
            ++*piece->holds;
    } else {
        lose(one);
    }
}

bool sgi__verify_give_up(struct sgi__verify *v)
{
    bool any = false;

    for (uint32_t n = 0; n < v->open_count; n++)
        if (v->open[n]->pieces_count > 0) {
            lose(v->open[n]);
            any = true;
        }
    return any;
}

bool sgi__verify_end(struct sgi__verify *v, uint64_t tensor, uint64_t bytes, uint64_t *xxh3_out)
{
    struct sgi__verify_one **at = find(v, tensor), *one = at ? *at : NULL;
    bool                     whole = one && !one->lost && one->hashed == bytes;

    if (!one)
        return false;
    if (whole)
        *xxh3_out = sgi__hash_so_far(&one->state);
    lose(one);
    *at = v->open[--v->open_count];
    sgi__free(v->spare);
    v->spare = one;
    return whole;
}

void sgi__verify_fini(struct sgi__verify *v)
{
    for (uint32_t n = 0; n < v->open_count; n++)
        sgi__free(v->open[n]);
    v->open_count = 0;
    sgi__free(v->spare);
    v->spare = NULL;
}
