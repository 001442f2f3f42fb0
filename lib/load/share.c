/* SPDX-License-Identifier: Apache-2.0 */
#include "load/share.h"

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>

/* The highest priority below `below` that still wants something, and how many have it. */
static uint32_t next_class(const struct sgi__share *share, int64_t below, int32_t *priority_out)
{
    uint32_t count = 0;
    for (const struct sgi__sharer *s = share->sharers; s; s = s->next) {
        if (s->priority >= below || (count > 0 && s->priority < *priority_out))
            continue;
        count = count > 0 && s->priority == *priority_out ? count + 1 : 1;
        *priority_out = s->priority;
    }
    return count;
}

/* Gives one class its part of `left`; returns what it leaves. Those who want less than an even part leave the rest of
 * theirs to the others. */
static uint32_t divide(struct sgi__share *share, int32_t priority, uint32_t count, uint32_t left)
{
    for (bool again = true; again && left > 0 && count > 0;) {
        uint32_t part = left / count, extra = left % count;
        again = false;
        count = 0;
        for (struct sgi__sharer *s = share->sharers; s; s = s->next) {
            uint32_t has = atomic_load_explicit(&s->allowed, memory_order_relaxed);
            if (s->priority != priority || has >= s->wanted)
                continue;
            uint32_t more = part + (extra > 0 ? 1 : 0);
            extra -= extra > 0;
            if (more > s->wanted - has)
                more = s->wanted - has;
            atomic_store_explicit(&s->allowed, has + more, memory_order_relaxed);
            left -= more;
            again |= more > 0;
            count += has + more < s->wanted;
        }
    }
    return left;
}

static void divide_all(struct sgi__share *share)
{
    uint32_t loads = 0, budget = 0, count;
    for (struct sgi__sharer *s = share->sharers; s; s = s->next, loads++) {
        atomic_store_explicit(&s->allowed, 1, memory_order_relaxed);
        budget = s->wanted > budget ? s->wanted : budget;
    }
    uint32_t left = budget > loads ? budget - loads : 0;
    int32_t  priority = 0;
    for (int64_t below = INT64_MAX; left > 0 && (count = next_class(share, below, &priority)) > 0; below = priority)
        left = divide(share, priority, count, left);
}

void sgi__share_init(struct sgi__share *share)
{
    share->sharers = NULL;
    pthread_mutex_init(&share->mutex, NULL);
}

void sgi__share_fini(struct sgi__share *share)
{
    assert(!share->sharers);
    pthread_mutex_destroy(&share->mutex);
}

void sgi__share_join(struct sgi__share *share, struct sgi__sharer *sharer, int32_t priority, uint32_t wanted)
{
    pthread_mutex_lock(&share->mutex);
    *sharer = (struct sgi__sharer){ .priority = priority, .wanted = wanted, .next = share->sharers };
    share->sharers = sharer;
    divide_all(share);
    pthread_mutex_unlock(&share->mutex);
}

void sgi__share_leave(struct sgi__share *share, struct sgi__sharer *sharer)
{
    pthread_mutex_lock(&share->mutex);
    struct sgi__sharer **at = &share->sharers;
    while (*at != sharer)
        at = &(*at)->next;
    *at = sharer->next;
    divide_all(share);
    pthread_mutex_unlock(&share->mutex);
}

void sgi__share_wants(struct sgi__share *share, struct sgi__sharer *sharer, uint32_t wanted)
{
    pthread_mutex_lock(&share->mutex);
    sharer->wanted = wanted;
    divide_all(share);
    pthread_mutex_unlock(&share->mutex);
}

void sgi__share_priority(struct sgi__share *share, struct sgi__sharer *sharer, int32_t priority)
{
    pthread_mutex_lock(&share->mutex);
    sharer->priority = priority;
    divide_all(share);
    pthread_mutex_unlock(&share->mutex);
}
