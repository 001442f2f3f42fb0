/* SPDX-License-Identifier: Apache-2.0 */
#include "reads.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "gate.h"

enum state { IS_NONE, IS_HELD, IS_PUT_OFF, IS_LET_GO };

struct kept {
    struct sgi__io_request *request;
    enum state              state;
    bool                    deaf;
    uint32_t                others; /* that must come back before it */
};

struct sgi__io_queue {
    struct sgi__io_queue *real;
    uint32_t              started; /* in the real one; the owner's */
    /* under the mutex */
    struct kept           kept[SGI__IO_DEPTH_MAX];
    bool                  woken;
    struct sgi__io_queue *next;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t  changed = PTHREAD_COND_INITIALIZER;
/* under the mutex */
static struct sgi__io_queue *queues;
static uint64_t              seen, hold_from, hold_count;
static bool                  hold_deaf;
static uint32_t              put_off;
static enum test_reads_end   ending;

static const struct sgi__io_engine *real;

/* Around the real engine's open and close. liburing maps and unmaps by bare system calls, which ThreadSanitizer does
 * not see: to it a ring where another thread's was before is the same memory, and a race without this. */
static pthread_mutex_t rings = PTHREAD_MUTEX_INITIALIZER;

/* ---- what is kept ---- */

static void keep(struct sgi__io_queue *q, const struct kept *kept)
{
    for (int n = 0; n < SGI__IO_DEPTH_MAX; n++)
        if (q->kept[n].state == IS_NONE) {
            q->kept[n] = *kept;
            return;
        }
    abort(); /* more than the depth */
}

static uint32_t count_of(const struct sgi__io_queue *q, enum state state)
{
    uint32_t count = 0;
    for (int n = 0; n < SGI__IO_DEPTH_MAX; n++)
        count += q->kept[n].state == state;
    return count;
}

static bool any_kept(const struct sgi__io_queue *q)
{
    return count_of(q, IS_NONE) < SGI__IO_DEPTH_MAX;
}

/* Takes what has been let go off the queue; it is started, or ends here. */
static uint32_t end_some(struct sgi__io_queue *q, struct sgi__io_request **done, uint32_t max)
{
    struct sgi__io_request *start[SGI__IO_DEPTH_MAX];
    uint32_t                starts = 0, count = 0;

    pthread_mutex_lock(&mutex);
    for (int n = 0; n < SGI__IO_DEPTH_MAX && count < max; n++) {
        struct kept *k = &q->kept[n];
        if (k->state != IS_LET_GO)
            continue;
        k->state = IS_NONE;
        if (k->request->result == -ECANCELED) {
            done[count++] = k->request;
        } else if (ending == TEST_READS_REAL) {
            start[starts++] = k->request;
        } else {
            memset(k->request->dst, TEST_READS_BYTE, k->request->bytes);
            k->request->result = -EIO;
            done[count++] = k->request;
        }
    }
    pthread_mutex_unlock(&mutex);
    q->started += starts;
    if (starts)
        real->submit(q->real, start, starts);
    return count;
}

/* So many others have come back. */
static void count_down(struct sgi__io_queue *q, uint32_t others)
{
    pthread_mutex_lock(&mutex);
    for (int n = 0; n < SGI__IO_DEPTH_MAX; n++) {
        struct kept *k = &q->kept[n];
        if (k->state != IS_PUT_OFF)
            continue;
        k->others -= k->others < others ? k->others : others;
        if (k->others == 0)
            k->state = IS_LET_GO;
    }
    pthread_mutex_unlock(&mutex);
}

/* Nothing is under way: what was put off goes on, and what is held is waited for. False: woken. */
static bool wait_for_kept(struct sgi__io_queue *q)
{
    pthread_mutex_lock(&mutex);
    if (count_of(q, IS_PUT_OFF) > 0 && count_of(q, IS_LET_GO) == 0)
        for (int n = SGI__IO_DEPTH_MAX; n-- > 0;) /* the newest first: as out of order as can be */
            if (q->kept[n].state == IS_PUT_OFF) {
                q->kept[n].state = IS_LET_GO;
                break;
            }
    while (!q->woken && count_of(q, IS_LET_GO) == 0)
        pthread_cond_wait(&changed, &mutex);
    bool woken = q->woken && count_of(q, IS_LET_GO) == 0;
    if (woken)
        q->woken = false;
    pthread_mutex_unlock(&mutex);
    return !woken;
}

/* ---- the engine ---- */

static sgi_status probe(sgi_error *err)
{
    return real->probe(err);
}

static sgi_status open_queue(uint32_t depth, struct sgi__io_queue **queue_out, sgi_error *err)
{
    struct sgi__io_queue *q = calloc(1, sizeof *q);
    if (!q)
        abort();
    pthread_mutex_lock(&rings);
    sgi_status st = real->open(depth, &q->real, err);
    pthread_mutex_unlock(&rings);
    if (st != SGI_OK) {
        free(q);
        return st;
    }
    pthread_mutex_lock(&mutex);
    q->next = queues;
    queues = q;
    pthread_mutex_unlock(&mutex);
    *queue_out = q;
    return SGI_OK;
}

static void submit(struct sgi__io_queue *q, struct sgi__io_request **requests, uint32_t count)
{
    struct sgi__io_request *start[SGI__IO_DEPTH_MAX];
    uint32_t                starts = 0;

    pthread_mutex_lock(&mutex);
    for (uint32_t n = 0; n < count; n++) {
        uint64_t now = ++seen;
        requests[n]->result = 0;
        if (hold_from && now >= hold_from && now - hold_from < hold_count)
            keep(q, &(struct kept){ requests[n], IS_HELD, hold_deaf, 0 });
        else if (put_off)
            keep(q, &(struct kept){ requests[n], IS_PUT_OFF, false, put_off });
        else
            start[starts++] = requests[n];
    }
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
    q->started += starts;
    if (starts)
        real->submit(q->real, start, starts);
}

/* Asked for or not: a wake of the real queue may be one of ours. */
static bool take_wake(struct sgi__io_queue *q)
{
    pthread_mutex_lock(&mutex);
    bool woken = q->woken;
    q->woken = false;
    pthread_mutex_unlock(&mutex);
    return woken;
}

static uint32_t reap(struct sgi__io_queue *q, struct sgi__io_request **done, uint32_t max)
{
    for (;;) {
        uint32_t count = end_some(q, done, max);
        if (count == 0 && q->started > 0) {
            count = real->reap(q->real, done, max);
            q->started -= count;
            if (count == 0 && take_wake(q))
                return 0;
        } else if (count == 0) {
            pthread_mutex_lock(&mutex);
            bool any = any_kept(q);
            pthread_mutex_unlock(&mutex);
            if (!any) {
                take_wake(q);
                return 0;
            }
            if (!wait_for_kept(q))
                return 0;
        }
        if (count > 0) {
            count_down(q, count);
            return count;
        }
    }
}

static void wake(struct sgi__io_queue *q)
{
    pthread_mutex_lock(&mutex);
    q->woken = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
    real->wake(q->real);
}

static void cancel(struct sgi__io_queue *q)
{
    pthread_mutex_lock(&mutex);
    for (int n = 0; n < SGI__IO_DEPTH_MAX; n++) {
        struct kept *k = &q->kept[n];
        if (k->state == IS_NONE || k->deaf)
            continue;
        k->request->result = -ECANCELED;
        k->state = IS_LET_GO;
    }
    pthread_mutex_unlock(&mutex);
    real->cancel(q->real);
}

static void close_queue(struct sgi__io_queue *q)
{
    pthread_mutex_lock(&mutex);
    assert(!any_kept(q) && q->started == 0);
    struct sgi__io_queue **at = &queues;
    while (*at != q)
        at = &(*at)->next;
    *at = q->next;
    pthread_mutex_unlock(&mutex);
    pthread_mutex_lock(&rings);
    real->close(q->real);
    pthread_mutex_unlock(&rings);
    free(q);
}

const struct sgi__io_engine *test_reads_engine(const struct sgi__io_engine *engine)
{
    static struct sgi__io_engine table;

    real = engine;
    table = (struct sgi__io_engine){ .abi = SGI__IO_ABI,
                                     .name = engine->name,
                                     .probe = probe,
                                     .open = open_queue,
                                     .submit = submit,
                                     .reap = reap,
                                     .wake = wake,
                                     .cancel = cancel,
                                     .close = close_queue };
    return &table;
}

/* ---- the place ---- */

static const struct sgi__io_engine *place_engine;

static sgi_status open_place(const struct sgi__place_config *config, struct sgi__place **place_out, sgi_error *err)
{
    struct sgi__place_config c = *config;
    c.engine = c.hot_engine = place_engine;
    return sgi__place_local.open(&c, place_out, err);
}

const struct sgi__place_ops *test_reads_place(const struct sgi__io_engine *engine)
{
    static struct sgi__place_ops ops;

    place_engine = test_reads_engine(engine);
    ops = sgi__place_local;
    ops.open = open_place;
    return &ops;
}

/* ---- the test ---- */

void test_reads_hold(uint64_t nth, uint64_t count, bool deaf)
{
    pthread_mutex_lock(&mutex);
    hold_from = seen + nth;
    hold_count = count;
    hold_deaf = deaf;
    pthread_mutex_unlock(&mutex);
}

void test_reads_let_go(enum test_reads_end how)
{
    pthread_mutex_lock(&mutex);
    ending = how;
    hold_from = 0;
    for (struct sgi__io_queue *q = queues; q; q = q->next) {
        for (int n = 0; n < SGI__IO_DEPTH_MAX; n++)
            if (q->kept[n].state == IS_HELD)
                q->kept[n].state = IS_LET_GO;
        real->wake(q->real);
    }
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
}

uint32_t test_reads_held(void)
{
    uint32_t held = 0;
    pthread_mutex_lock(&mutex);
    for (const struct sgi__io_queue *q = queues; q; q = q->next)
        held += count_of(q, IS_HELD);
    pthread_mutex_unlock(&mutex);
    return held;
}

static bool enough_held(void *user)
{
    return test_reads_held() >= *(const uint32_t *)user;
}

void test_reads_wait_held(uint32_t count)
{
    test_wait_until(enough_held, &count, "no read comes that could be held");
}

bool test_reads_held_over(const void *memory, size_t bytes)
{
    const uint8_t *from = memory;
    bool           over = false;

    pthread_mutex_lock(&mutex);
    for (const struct sgi__io_queue *q = queues; q; q = q->next)
        for (int n = 0; n < SGI__IO_DEPTH_MAX; n++) {
            if (q->kept[n].state != IS_HELD)
                continue;
            const struct sgi__io_request *r = q->kept[n].request;
            const uint8_t                *dst = r->dst;
            over |= dst < from + bytes && from < dst + r->bytes;
        }
    pthread_mutex_unlock(&mutex);
    return over;
}

void test_reads_put_off(uint32_t others)
{
    pthread_mutex_lock(&mutex);
    put_off = others;
    pthread_mutex_unlock(&mutex);
}

uint64_t test_reads_seen(void)
{
    pthread_mutex_lock(&mutex);
    uint64_t count = seen;
    pthread_mutex_unlock(&mutex);
    return count;
}

void test_reads_clear(void)
{
    test_reads_let_go(TEST_READS_REAL);
    pthread_mutex_lock(&mutex);
    seen = put_off = 0;
    hold_from = hold_count = 0;
    pthread_mutex_unlock(&mutex);
}
