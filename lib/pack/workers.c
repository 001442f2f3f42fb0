/* SPDX-License-Identifier: Apache-2.0 */
#include "pack/workers.h"

#include <pthread.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/thread.h"

struct sgi__workers {
    const struct sgi__work *work;
    pthread_mutex_t         mutex;
    pthread_cond_t          changed; /* a thread has ended, a turn is over */
    uint64_t                next, turn, done_bytes;
    uint64_t                failed_at; /* UINT64_MAX: nowhere */
    bool                    canceled;
    uint32_t                running;
    sgi_status              status;
    sgi_error               err;
};

static bool take(struct sgi__workers *w, uint64_t *number_out)
{
    pthread_mutex_lock(&w->mutex);
    bool more = !w->canceled && w->failed_at == UINT64_MAX && w->next < w->work->count;
    if (more)
        *number_out = w->next++;
    pthread_mutex_unlock(&w->mutex);
    return more;
}

static void note_failure(struct sgi__workers *w, uint64_t number, sgi_status st, const sgi_error *err)
{
    pthread_mutex_lock(&w->mutex);
    if (w->status == SGI_OK || number < w->failed_at) {
        w->failed_at = number;
        w->status = st;
        w->err = *err;
    }
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->mutex);
}

static void *run(void *arg)
{
    struct sgi__workers    *w = arg;
    const struct sgi__work *work = w->work;
    void                   *mine = NULL;
    uint64_t                number;
    sgi_error               err;

    sgi__error_init(&err);
    sgi_status st = work->begin(work->user, &mine, &err);
    if (st != SGI_OK)
        note_failure(w, UINT64_MAX - 1, st, &err);
    while (st == SGI_OK && take(w, &number)) {
        st = work->each(work->user, mine, w, number, &err);
        if (st != SGI_OK)
            note_failure(w, number, st, &err);
    }
    if (mine)
        work->end(work->user, mine);
    pthread_mutex_lock(&w->mutex);
    w->running--;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->mutex);
    return NULL;
}

void sgi__workers_done(struct sgi__workers *w, uint64_t bytes)
{
    pthread_mutex_lock(&w->mutex);
    w->done_bytes += bytes;
    pthread_mutex_unlock(&w->mutex);
}

bool sgi__workers_turn(struct sgi__workers *w, uint64_t number)
{
    pthread_mutex_lock(&w->mutex);
    while (w->turn != number && w->failed_at > number && !w->canceled)
        sgi__cond_wait(&w->changed, &w->mutex, UINT64_MAX);
    bool mine = w->turn == number;
    pthread_mutex_unlock(&w->mutex);
    return mine;
}

void sgi__workers_turn_over(struct sgi__workers *w)
{
    pthread_mutex_lock(&w->mutex);
    w->turn++;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->mutex);
}

/* Until the last thread has ended; tells the progress meanwhile. */
static void watch(struct sgi__workers *w)
{
    const struct sgi__work *work = w->work;

    pthread_mutex_lock(&w->mutex);
    while (w->running > 0) {
        uint64_t done = w->done_bytes;
        pthread_mutex_unlock(&w->mutex);
        bool     stop = work->progress && work->progress(work->progress_user, done, work->bytes) != 0;
        uint64_t next = work->progress ? sgi__clock_now_ns() + SGI__PROGRESS_EVERY_NS : UINT64_MAX;
        pthread_mutex_lock(&w->mutex);
        if (stop) {
            w->canceled = true;
            pthread_cond_broadcast(&w->changed);
        }
        while (w->running > 0 && sgi__cond_wait(&w->changed, &w->mutex, next))
            ;
    }
    pthread_mutex_unlock(&w->mutex);
}

static sgi_status start(struct sgi__workers *w, pthread_t *threads, sgi_error *err)
{
    const struct sgi__work *work = w->work;
    uint32_t                count = work->count < work->jobs ? (uint32_t)work->count : work->jobs, started = 0;
    int                     refused = 0;

    w->running = count;
    for (; started < count && refused == 0; started += refused == 0)
        refused = sgi__thread_start(&threads[started], "sgi-pack", run, w);
    if (refused) { /* those that are there do it all */
        pthread_mutex_lock(&w->mutex);
        w->running -= count - started;
        pthread_mutex_unlock(&w->mutex);
    }
    if (refused && started == 0)
        return sgi__error_sys(err, SGI_E_SYSTEM, refused, "no thread could be started");
    watch(w);
    for (uint32_t n = 0; n < started; n++)
        pthread_join(threads[n], NULL);
    return SGI_OK;
}

sgi_status sgi__workers_run(const struct sgi__work *work, sgi_error *err)
{
    struct sgi__workers w = { .work = work, .failed_at = UINT64_MAX };
    pthread_t          *threads = sgi__alloc_zero(work->jobs, sizeof *threads);

    if (!threads)
        return sgi__error(err, SGI_E_NO_MEMORY, "out of memory for %u threads", work->jobs);
    pthread_mutex_init(&w.mutex, NULL);
    sgi__cond_init(&w.changed);
    sgi_status st = start(&w, threads, err);
    if (st == SGI_OK && w.status != SGI_OK) {
        sgi__error_copy(err, &w.err);
        st = w.status;
        if (work->failed_at_out && w.failed_at < work->count)
            *work->failed_at_out = w.failed_at;
    }
    if (st == SGI_OK && !w.canceled && work->progress)
        w.canceled = work->progress(work->progress_user, work->bytes, work->bytes) != 0;
    if (st == SGI_OK && w.canceled)
        st = sgi__error(err, SGI_E_CANCELED, "canceled");
    pthread_cond_destroy(&w.changed);
    pthread_mutex_destroy(&w.mutex);
    sgi__free(threads);
    return st;
}
