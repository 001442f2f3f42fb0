/* SPDX-License-Identifier: Apache-2.0 */
#include "load/rate.h"

#include <assert.h>

#include "base/thread.h"

#define NS_PER_S UINT64_C(1000000000)
/* Faster than any memory: no limit, and the sums below stay inside 64 bits. */
#define RATE_MAX ((uint64_t)INT64_MAX)
enum { PAGE_BYTES = 4096 }; /* what reads past the page cache are aligned to */

uint32_t sgi__rate_block(uint64_t bytes_per_s, uint32_t block_bytes)
{
    uint64_t burst = bytes_per_s / (NS_PER_S / SGI__RATE_BURST_NS);
    if (bytes_per_s == 0 || burst >= block_bytes)
        return block_bytes;
    return burst > PAGE_BYTES ? (uint32_t)(burst - burst % PAGE_BYTES) : PAGE_BYTES;
}

uint64_t sgi__rate_read_max(const struct sgi__rate *rate)
{
    return rate && rate->bytes_per_s > 0 ? sgi__rate_block(rate->bytes_per_s, UINT32_MAX) : UINT64_MAX;
}

void sgi__rate_init(struct sgi__rate *rate, uint64_t bytes_per_s, const struct sgi__clock *clock)
{
    *rate = (struct sgi__rate){ .bytes_per_s = bytes_per_s < RATE_MAX ? bytes_per_s : 0, .clock = *clock };
    sgi__cond_init(&rate->changed);
    pthread_mutex_init(&rate->mutex, NULL);
}

void sgi__rate_fini(struct sgi__rate *rate)
{
    assert(!rate->first);
    pthread_cond_destroy(&rate->changed);
    pthread_mutex_destroy(&rate->mutex);
}

static uint64_t now_ns(const struct sgi__rate *rate)
{
    return rate->clock.now_ns ? rate->clock.now_ns(rate->clock.user) : sgi__clock_now_ns();
}

static void pay(struct sgi__rate *rate, uint64_t now, uint64_t bytes)
{
    assert(bytes <= SGI__RATE_READ_MAX);
    if (now > SGI__RATE_BURST_NS && rate->paid_ns < now - SGI__RATE_BURST_NS) {
        rate->paid_ns = now - SGI__RATE_BURST_NS;
        rate->rest = 0;
    }
    uint64_t due = bytes * NS_PER_S + rate->rest, ns = due / rate->bytes_per_s;
    rate->rest = due % rate->bytes_per_s;
    rate->paid_ns = ns > UINT64_MAX - rate->paid_ns ? UINT64_MAX : rate->paid_ns + ns;
}

static void pay_back(struct sgi__rate *rate, uint64_t bytes)
{
    uint64_t due = bytes * NS_PER_S, ns = due / rate->bytes_per_s, rest = due % rate->bytes_per_s;
    if (rate->rest < rest) {
        rate->rest += rate->bytes_per_s;
        ns++;
    }
    rate->rest -= rest;
    rate->paid_ns -= ns;
}

/* ---- the line ---- */

static void line_up(struct sgi__rate_turn **at, struct sgi__rate_turn *turn)
{
    turn->waits = true;
    turn->next = *at;
    *at = turn;
}

static void line_up_last(struct sgi__rate *rate, struct sgi__rate_turn *turn)
{
    struct sgi__rate_turn **at = &rate->first;
    while (*at)
        at = &(*at)->next;
    line_up(at, turn);
}

static void step_out(struct sgi__rate *rate, struct sgi__rate_turn *turn)
{
    struct sgi__rate_turn **at = &rate->first;
    while (*at != turn)
        at = &(*at)->next;
    *at = turn->next;
    turn->waits = false;
}

static struct sgi__rate_turn *whose_turn(const struct sgi__rate *rate)
{
    struct sgi__rate_turn *turn = rate->first;
    if (rate->reads % SGI__RATE_FAIR_EVERY == SGI__RATE_FAIR_EVERY - 1)
        return turn;
    for (struct sgi__rate_turn *t = turn->next; t; t = t->next)
        if (t->priority > turn->priority)
            turn = t;
    return turn;
}

/* Whoever looks gives to everybody: the one whose turn it is may be busy with its reads. */
static void give(struct sgi__rate *rate)
{
    uint64_t now = now_ns(rate);
    bool     any = false;

    for (; rate->first && rate->paid_ns <= now; any = true) {
        struct sgi__rate_turn *turn = whose_turn(rate);
        step_out(rate, turn);
        turn->given = true;
        rate->reads++;
        pay(rate, now, turn->bytes);
    }
    if (any)
        pthread_cond_broadcast(&rate->changed);
}

bool sgi__rate_take(struct sgi__rate *rate, struct sgi__rate_turn *turn, uint64_t bytes, bool wait)
{
    if (!rate || rate->bytes_per_s == 0)
        return true;
    pthread_mutex_lock(&rate->mutex);
    if (turn->given && turn->bytes != bytes) { /* it has thought better of it, and comes first */
        pay_back(rate, turn->bytes);
        rate->reads--;
        turn->given = false;
        line_up(&rate->first, turn);
    } else if (!turn->waits && !turn->given) {
        line_up_last(rate, turn);
    }
    turn->bytes = bytes;
    give(rate);
    while (wait && !turn->given && !turn->canceled) {
        /* With another clock than the real one, whoever moves it pokes. */
        sgi__cond_wait(&rate->changed, &rate->mutex, rate->clock.now_ns ? UINT64_MAX : rate->paid_ns);
        give(rate);
    }
    bool given = turn->given && !(wait && turn->canceled);
    if (given)
        turn->given = false;
    pthread_mutex_unlock(&rate->mutex);
    return given;
}

void sgi__rate_charge(struct sgi__rate *rate, uint64_t bytes)
{
    if (!rate || rate->bytes_per_s == 0 || bytes == 0)
        return;
    pthread_mutex_lock(&rate->mutex);
    pay(rate, now_ns(rate), bytes);
    pthread_mutex_unlock(&rate->mutex);
}

void sgi__rate_priority(struct sgi__rate *rate, struct sgi__rate_turn *turn, int32_t priority)
{
    if (!rate)
        return;
    pthread_mutex_lock(&rate->mutex);
    turn->priority = priority;
    pthread_mutex_unlock(&rate->mutex);
}

void sgi__rate_cancel(struct sgi__rate *rate, struct sgi__rate_turn *turn)
{
    if (!rate)
        return;
    pthread_mutex_lock(&rate->mutex);
    turn->canceled = true;
    pthread_cond_broadcast(&rate->changed);
    pthread_mutex_unlock(&rate->mutex);
}

void sgi__rate_leave(struct sgi__rate *rate, struct sgi__rate_turn *turn)
{
    if (!rate)
        return;
    pthread_mutex_lock(&rate->mutex);
    if (turn->waits)
        step_out(rate, turn);
    turn->given = false;
    pthread_mutex_unlock(&rate->mutex);
}

void sgi__rate_poke(struct sgi__rate *rate)
{
    pthread_mutex_lock(&rate->mutex);
    give(rate);
    pthread_mutex_unlock(&rate->mutex);
}
