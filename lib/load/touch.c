/* SPDX-License-Identifier: Apache-2.0 */
#include "load/touch.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <time.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/fault.h"
#include "base/thread.h"

#define AHEAD_BYTES    (UINT64_C(64) << 20)
#define WORTH_A_THREAD (UINT64_C(4) << 20)
enum { TRIES_MAX = 1000 }; /* a millisecond apart, while the kernel says that it is short of something for now */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

struct sgi__touch {
    const struct sgi__plan  *plan;
    const struct sgi__image *image;
    pthread_t                thread;
    atomic_uint_fast64_t     touched; /* chunks; written by the thread, read by the loader without the mutex */
    pthread_mutex_t          mutex;
    pthread_cond_t           changed;
    /* under the mutex */
    uint64_t                submitted;
    bool                    stop;
    int                     failed; /* errno */
    struct sgi__touch_times times;
};

static bool worth_it(const struct sgi__image *image)
{
    uint64_t fresh = 0;
    for (uint32_t n = 0; n < image->parts_count; n++)
        if (image->parts[n]->fresh)
            fresh += image->parts[n]->bytes;
    return fresh >= WORTH_A_THREAD;
}

static bool is_stopped(struct sgi__touch *t)
{
    pthread_mutex_lock(&t->mutex);
    bool stop = t->stop;
    pthread_mutex_unlock(&t->mutex);
    return stop;
}

int sgi__touch_range(uint8_t *at, uint64_t bytes, struct sgi__touch *touch)
{
    static const struct timespec a_moment = { .tv_nsec = 1000000 };

    for (int tries = 0;; tries++) {
        int fault = sgi__fault(SGI__FAULT_TOUCH);
        if ((fault ? (errno = fault, -1) : madvise(at, bytes, MADV_POPULATE_WRITE)) == 0)
            return 0;
        if (errno == EINVAL)
            return 0;
        if ((errno != EINTR && errno != EAGAIN) || tries == TRIES_MAX || (touch && is_stopped(touch)))
            return errno;
        if (errno == EAGAIN)
            nanosleep(&a_moment, NULL); /* lint: allow nanosleep: the kernel does not say when */
    }
}

static int touch_chunk(struct sgi__touch *t, const struct sgi__chunk *c)
{
    const struct sgi__region *region = t->image->parts[c->part];
    uint64_t                  from = sgi__align_down(c->dst, SGI__PLACE_ALIGN);
    uint64_t                  to = sgi__align_up(c->dst + c->bytes, SGI__PLACE_ALIGN);

    return region->fresh ? sgi__touch_range(region->base + from, to - from, t) : 0;
}

static void *run(void *arg)
{
    struct sgi__touch      *t = arg;
    const struct sgi__plan *plan = t->plan;
    uint64_t                ahead = 0, counted = 0; /* bytes touched beyond what was submitted; chunks taken off it */
    uint64_t                busy = 0;

    t->times.start_ns = sgi__clock_now_ns();
    for (uint64_t n = 0; n < plan->chunks_count; n++) {
        pthread_mutex_lock(&t->mutex);
        for (;;) {
            for (; counted < t->submitted && counted < n; counted++)
                ahead -= plan->chunks[counted].bytes;
            if (t->stop || ahead < AHEAD_BYTES)
                break;
            pthread_cond_wait(&t->changed, &t->mutex);
        }
        bool stop = t->stop;
        pthread_mutex_unlock(&t->mutex);
        if (stop)
            break;

        uint64_t before = sgi__clock_now_ns();
        int      e = touch_chunk(t, &plan->chunks[n]);
        busy += sgi__clock_now_ns() - before;
        ahead += plan->chunks[n].bytes;

        pthread_mutex_lock(&t->mutex);
        t->failed = e;
        if (e == 0)
            atomic_store_explicit(&t->touched, n + 1, memory_order_release); /* pairs with sgi__touch_ready() */
        pthread_cond_broadcast(&t->changed);
        pthread_mutex_unlock(&t->mutex);
        if (e)
            break;
    }
    t->times.busy_ns = busy;
    t->times.cpu_ns = sgi__clock_thread_cpu_ns();
    return NULL;
}

sgi_status sgi__touch_start(const struct sgi__plan *plan, const struct sgi__image *image, struct sgi__touch **touch_out,
                            sgi_error *err)
{
    *touch_out = NULL;
    if (!worth_it(image))
        return SGI_OK;
    struct sgi__touch *t = sgi__alloc_zero(1, sizeof *t);
    if (!t)
        return sgi__error(err, SGI_E_NO_MEMORY, "out of memory for a load");
    t->plan = plan;
    t->image = image;
    pthread_mutex_init(&t->mutex, NULL);
    int e = sgi__cond_init(&t->changed);
    if (!e) {
        e = sgi__thread_start(&t->thread, "sgi-touch", run, t);
        if (e)
            pthread_cond_destroy(&t->changed);
    }
    if (e) { /* slower without it, not wrong */
        pthread_mutex_destroy(&t->mutex);
        sgi__free(t);
        return SGI_OK;
    }
    *touch_out = t;
    return SGI_OK;
}

bool sgi__touch_ready(struct sgi__touch *touch, uint64_t n)
{
    return !touch || atomic_load_explicit(&touch->touched, memory_order_acquire) > n;
}

sgi_status sgi__touch_wait(struct sgi__touch *touch, uint64_t n, sgi_error *err)
{
    if (sgi__touch_ready(touch, n))
        return SGI_OK;
    pthread_mutex_lock(&touch->mutex);
    while (!touch->failed && !sgi__touch_ready(touch, n))
        pthread_cond_wait(&touch->changed, &touch->mutex);
    int e = sgi__touch_ready(touch, n) ? 0 : touch->failed;
    pthread_mutex_unlock(&touch->mutex);
    if (e)
        return sgi__error_sys(err, SGI_E_DEVICE_MEMORY, e, "no memory behind the image");
    return SGI_OK;
}

void sgi__touch_submitted(struct sgi__touch *touch, uint64_t n)
{
    if (!touch)
        return;
    pthread_mutex_lock(&touch->mutex);
    touch->submitted = n;
    pthread_cond_broadcast(&touch->changed);
    pthread_mutex_unlock(&touch->mutex);
}

void sgi__touch_stop(struct sgi__touch *touch, struct sgi__touch_times *times_out)
{
    *times_out = (struct sgi__touch_times){ 0 };
    if (!touch)
        return;
    pthread_mutex_lock(&touch->mutex);
    touch->stop = true;
    pthread_cond_broadcast(&touch->changed);
    pthread_mutex_unlock(&touch->mutex);
    pthread_join(touch->thread, NULL);
    *times_out = touch->times;
    pthread_cond_destroy(&touch->changed);
    pthread_mutex_destroy(&touch->mutex);
    sgi__free(touch);
}
