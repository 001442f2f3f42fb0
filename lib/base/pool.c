/* SPDX-License-Identifier: Apache-2.0 */
#include "base/pool.h"

#include <pthread.h>
#include <stdbool.h>

#include "base/alloc.h"
#include "base/thread.h"

struct sgi__pool {
    const char     *name;
    uint32_t        threads_max;
    pthread_mutex_t mutex;
    pthread_cond_t  none; /* threads became 0 */
    /* under the mutex */
    struct sgi__job *head, *tail;
    uint32_t         queued;
    uint32_t         threads;  /* alive: they have work, or are about to look for it */
    uint32_t         looking;  /* of them: will take a queued job without being told */
    bool             has_left; /* the last one that left; whoever comes next joins it */
    pthread_t        left;
};

struct sgi__pool *sgi__pool_new(const char *thread_name, uint32_t threads_max)
{
    struct sgi__pool *pool = sgi__alloc_zero(1, sizeof *pool);
    if (!pool)
        return NULL;
    pool->name = thread_name;
    pool->threads_max = threads_max;
    pthread_mutex_init(&pool->mutex, NULL);
    if (sgi__cond_init(&pool->none)) {
        pthread_mutex_destroy(&pool->mutex);
        sgi__free(pool);
        return NULL;
    }
    return pool;
}

static struct sgi__job *take(struct sgi__pool *pool)
{
    struct sgi__job *job = pool->head;
    if (job) {
        pool->head = job->next;
        if (!pool->head)
            pool->tail = NULL;
        pool->queued--;
    }
    return job;
}

static void *worker(void *arg)
{
    struct sgi__pool *pool = arg;
    struct sgi__job  *job;

    pthread_mutex_lock(&pool->mutex);
    while ((job = take(pool)) != NULL) {
        pool->looking--;
        pthread_mutex_unlock(&pool->mutex);
        job->run(job);
        pthread_mutex_lock(&pool->mutex);
        pool->looking++;
    }
    pool->looking--;
    bool      join_other = pool->has_left;
    pthread_t other = pool->left;
    pool->has_left = true;
    pool->left = pthread_self();
    if (--pool->threads == 0)
        pthread_cond_broadcast(&pool->none);
    pthread_mutex_unlock(&pool->mutex); /* sgi__pool_free() joins this thread, and the pool is gone after that */
    if (join_other)
        pthread_join(other, NULL);
    return NULL;
}

int sgi__pool_submit(struct sgi__pool *pool, struct sgi__job *job)
{
    int e = 0;

    pthread_mutex_lock(&pool->mutex);
    if (pool->looking <= pool->queued && pool->threads < pool->threads_max) {
        pthread_t thread;
        e = sgi__thread_start(&thread, pool->name, worker, pool);
        if (e == 0) {
            pool->threads++;
            pool->looking++;
        }
    }
    if (e == 0) {
        job->next = NULL;
        *(pool->tail ? &pool->tail->next : &pool->head) = job;
        pool->tail = job;
        pool->queued++;
    }
    pthread_mutex_unlock(&pool->mutex);
    return e;
}

uint32_t sgi__pool_threads(struct sgi__pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    uint32_t threads = pool->threads;
    pthread_mutex_unlock(&pool->mutex);
    return threads;
}

void sgi__pool_free(struct sgi__pool *pool)
{
    if (!pool)
        return;
    pthread_mutex_lock(&pool->mutex);
    while (pool->threads > 0)
        pthread_cond_wait(&pool->none, &pool->mutex);
    pthread_mutex_unlock(&pool->mutex);
    if (pool->has_left)
        pthread_join(pool->left, NULL);
    pthread_cond_destroy(&pool->none);
    pthread_mutex_destroy(&pool->mutex);
    sgi__free(pool);
}
