/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads through a few threads in pread: for where io_uring is not to be had, which is most containers. Within a few
 * percent of the ring at the same block size (research/host.md 6).
 *
 * The owner and the reading threads share the two lists under `lock`, the only one here; it is never held across a
 * read.
 */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/thread.h"
#include "io/io.h"

enum { THREADS_MAX = 8 };

/* First in, first out. Never full: at most `depth` requests are in flight. */
struct list {
    struct sgi__io_request *items[SGI__IO_DEPTH_MAX];
    uint32_t                head, count;
};

struct sgi__io_queue {
    pthread_mutex_t lock;
    pthread_cond_t  work;     /* something to do, or closing: for the reading threads */
    pthread_cond_t  finished; /* something done, or woken: for the owner */
    /* all under lock */
    struct list todo, done;
    bool        woken;
    bool        closing;
    /* the owner's alone */
    uint32_t  in_flight;
    uint32_t  threads_count;
    pthread_t threads[THREADS_MAX];
};

static void list_put(struct list *list, struct sgi__io_request *request)
{
    assert(list->count < SGI__IO_DEPTH_MAX);
    list->items[(list->head + list->count++) % SGI__IO_DEPTH_MAX] = request;
}

static struct sgi__io_request *list_take(struct list *list)
{
    struct sgi__io_request *request = list->items[list->head];
    list->head = (list->head + 1) % SGI__IO_DEPTH_MAX;
    list->count--;
    return request;
}

static void *read_until_closed(void *user)
{
    struct sgi__io_queue *q = user;
    pthread_mutex_lock(&q->lock);
    for (;;) {
        while (!q->todo.count && !q->closing)
            pthread_cond_wait(&q->work, &q->lock);
        if (!q->todo.count)
            break;
        struct sgi__io_request *request = list_take(&q->todo);
        pthread_mutex_unlock(&q->lock);

        ssize_t got = pread(request->fd, request->dst, request->bytes, (off_t)request->offset);
        request->result = got < 0 ? -errno : got;

        pthread_mutex_lock(&q->lock);
        list_put(&q->done, request);
        pthread_cond_signal(&q->finished);
    }
    pthread_mutex_unlock(&q->lock);
    return NULL;
}

static void threads_submit(struct sgi__io_queue *q, struct sgi__io_request **requests, uint32_t count)
{
    q->in_flight += count;
    pthread_mutex_lock(&q->lock);
    for (uint32_t i = 0; i < count; i++) {
        list_put(&q->todo, requests[i]);
        pthread_cond_signal(&q->work);
    }
    pthread_mutex_unlock(&q->lock);
}

static uint32_t threads_reap(struct sgi__io_queue *q, struct sgi__io_request **done, uint32_t max)
{
    uint32_t count = 0;
    pthread_mutex_lock(&q->lock);
    while (q->in_flight && !q->done.count && !q->woken)
        pthread_cond_wait(&q->finished, &q->lock);
    while (q->done.count && count < max)
        done[count++] = list_take(&q->done);
    if (count == 0)
        q->woken = false;
    pthread_mutex_unlock(&q->lock);
    q->in_flight -= count;
    return count;
}

static void threads_wake(struct sgi__io_queue *q)
{
    pthread_mutex_lock(&q->lock);
    q->woken = true;
    pthread_cond_signal(&q->finished);
    pthread_mutex_unlock(&q->lock);
}

static void threads_cancel(struct sgi__io_queue *q)
{
    pthread_mutex_lock(&q->lock);
    while (q->todo.count) {
        struct sgi__io_request *request = list_take(&q->todo);
        request->result = -ECANCELED;
        list_put(&q->done, request);
    }
    pthread_mutex_unlock(&q->lock); /* the owner is here, so nobody waits for `finished` */
}

/* ------------------------------------------------------- probe, open, close */

/* As many as the depth can use. Fewer than asked for is slower, not wrong. */
static int start_threads(struct sgi__io_queue *q, uint32_t wanted)
{
    int rc = 0;
    while (rc == 0 && q->threads_count < wanted) {
        rc = sgi__thread_start(&q->threads[q->threads_count], "sgi-read", read_until_closed, q);
        q->threads_count += rc == 0;
    }
    return q->threads_count ? 0 : rc;
}

static sgi_status threads_probe(sgi_error *err)
{
    (void)err;
    return SGI_OK; /* POSIX has it; a process without room for threads finds out at open */
}

static sgi_status threads_open(uint32_t depth, struct sgi__io_queue **queue_out, sgi_error *err)
{
    assert(depth >= 1 && depth <= SGI__IO_DEPTH_MAX);
    struct sgi__io_queue *q = sgi__alloc_zero(1, sizeof *q);
    if (!q)
        return sgi__error(err, SGI_E_NO_MEMORY, "no memory for a read queue");
    pthread_mutex_init(&q->lock, NULL); /* these cannot fail with default attributes on Linux */
    pthread_cond_init(&q->work, NULL);
    pthread_cond_init(&q->finished, NULL);

    int rc = start_threads(q, depth < THREADS_MAX ? depth : THREADS_MAX);
    if (rc != 0) {
        pthread_cond_destroy(&q->finished);
        pthread_cond_destroy(&q->work);
        pthread_mutex_destroy(&q->lock);
        sgi__free(q);
        return sgi__error_sys(err, SGI_E_SYSTEM, rc, "start a reading thread");
    }
    *queue_out = q;
    return SGI_OK;
}

static void threads_close(struct sgi__io_queue *q)
{
    assert(q->in_flight == 0);
    pthread_mutex_lock(&q->lock);
    q->closing = true;
    pthread_cond_broadcast(&q->work);
    pthread_mutex_unlock(&q->lock);
    for (uint32_t i = 0; i < q->threads_count; i++)
        pthread_join(q->threads[i], NULL);
    pthread_cond_destroy(&q->finished);
    pthread_cond_destroy(&q->work);
    pthread_mutex_destroy(&q->lock);
    sgi__free(q);
}

const struct sgi__io_engine sgi__io_threads = {
    .abi = SGI__IO_ABI,
    .name = "threads",
    .probe = threads_probe,
    .open = threads_open,
    .submit = threads_submit,
    .reap = threads_reap,
    .wake = threads_wake,
    .cancel = threads_cancel,
    .close = threads_close,
};
