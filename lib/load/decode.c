/* SPDX-License-Identifier: Apache-2.0 */
#include "load/decode.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/hash.h"
#include "codec/codec.h"

enum { THREADS_MAX = 64 };

struct sgi__decoding {
    struct sgi__pool *pool;
    uint32_t          threads_max;
    pthread_mutex_t   mutex;
    /* under the mutex: decoders that nobody uses just now */
    struct sgi__decoder *free[THREADS_MAX];
    uint32_t             free_count, loads;
};

static uint32_t cores(void)
{
    cpu_set_t cpus;
    int       count = sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? CPU_COUNT(&cpus) : 1;
    return count < THREADS_MAX ? (uint32_t)count : THREADS_MAX;
}

struct sgi__decoding *sgi__decoding_new(uint32_t threads_max)
{
    struct sgi__decoding *d = sgi__alloc_zero(1, sizeof *d);
    if (!d)
        return NULL;
    d->threads_max = threads_max == 0 ? cores() : threads_max < THREADS_MAX ? threads_max : THREADS_MAX;
    d->pool = sgi__pool_new("sgi-decode", d->threads_max);
    if (!d->pool) {
        sgi__free(d);
        return NULL;
    }
    pthread_mutex_init(&d->mutex, NULL);
    return d;
}

void sgi__decoding_free(struct sgi__decoding *d)
{
    if (!d)
        return;
    sgi__pool_free(d->pool);
    pthread_mutex_destroy(&d->mutex);
    sgi__free(d);
}

uint32_t sgi__decoding_threads(struct sgi__decoding *d)
{
    return sgi__pool_threads(d->pool);
}

uint32_t sgi__decoding_threads_max(const struct sgi__decoding *d)
{
    return d->threads_max;
}

/* ---- decoders ---- */

static struct sgi__decoder *take(struct sgi__decoding *d)
{
    struct sgi__decoder *decoder = NULL;

    pthread_mutex_lock(&d->mutex);
    if (d->free_count > 0)
        decoder = d->free[--d->free_count];
    pthread_mutex_unlock(&d->mutex);
    if (!decoder && sgi__decoder_new(&decoder, NULL) != SGI_OK)
        return NULL;
    return decoder;
}

void sgi__decoding_join(struct sgi__decoding *d)
{
    pthread_mutex_lock(&d->mutex);
    d->loads++;
    pthread_mutex_unlock(&d->mutex);
}

void sgi__decoding_leave(struct sgi__decoding *d)
{
    struct sgi__decoder *left[THREADS_MAX];
    uint32_t             count = 0;

    pthread_mutex_lock(&d->mutex);
    for (--d->loads; d->loads == 0 && d->free_count > 0;)
        left[count++] = d->free[--d->free_count];
    pthread_mutex_unlock(&d->mutex);
    while (count > 0)
        sgi__decoder_free(left[--count]);
}

static void give(struct sgi__decoding *d, struct sgi__decoder *decoder)
{
    pthread_mutex_lock(&d->mutex);
    bool kept = d->free_count < d->threads_max;
    if (kept)
        d->free[d->free_count++] = decoder;
    pthread_mutex_unlock(&d->mutex);
    if (!kept)
        sgi__decoder_free(decoder);
}

/* ---- a chunk ---- */

const char *sgi__stored_wrong(const struct sgi__stored_chunk *c, const uint8_t *stored, bool padded)
{
    uint64_t end = padded ? sgi__align_up(c->stored_bytes, SGI__PACK_ALIGN) : c->stored_bytes;

    if (c->unchecked)
        return NULL;
    if (sgi__hash(stored, c->stored_bytes) != c->check)
        return "it does not match its check";
    for (uint64_t n = c->stored_bytes; n < end; n++)
        if (stored[n] != 0)
            return "what fills its last page is not zero";
    return NULL;
}

const char *sgi__stored_take_raw(const struct sgi__stored_chunk *c, const uint8_t *stored, uint8_t *raw)
{
    if (c->stored_bytes != c->bytes)
        return "it has not the length that it should have";
    if (raw != stored)
        memcpy(raw, stored, c->bytes);
    return NULL;
}

/* ---- a job ---- */

static const char *decode(struct sgi__decode_job *job)
{
    const struct sgi__stored_chunk *c = job->chunk;

    if (c->codec == SGI__CODEC_RAW)
        return sgi__stored_take_raw(c, job->stored, job->raw);
    struct sgi__decoder *decoder = take(job->decoding);
    job->no_memory = !decoder;
    if (!decoder)
        return "out of memory";
    const char *wrong = sgi__decode(decoder, c->codec, c->width, job->stored, c->stored_bytes, job->raw, c->bytes);
    give(job->decoding, decoder);
    return wrong;
}

static void run(struct sgi__job *pool_job)
{
    struct sgi__decode_job *job = (struct sgi__decode_job *)((char *)pool_job - offsetof(struct sgi__decode_job, job));
    uint64_t                cpu = sgi__clock_thread_cpu_ns();

    job->start_ns = sgi__clock_now_ns();
    job->wrong = job->verified ? NULL : sgi__stored_wrong(job->chunk, job->stored, job->padded);
    uint64_t verified = sgi__clock_now_ns();
    job->verify_ns = verified - job->start_ns;
    job->is_broken = job->no_memory = false;
    if (!job->wrong && job->keep)
        sgi__kept_put(job->keep, job->chunk, job->stored); /* if not, its end finds that something is missing */
    uint64_t kept = sgi__clock_now_ns();
    job->keep_ns = kept - verified;
    if (!job->wrong && job->raw) {
        job->wrong = decode(job);
        job->is_broken = job->wrong != NULL;
    }
    job->decode_ns = sgi__clock_now_ns() - kept;
    job->cpu_ns = sgi__clock_thread_cpu_ns() - cpu;
    job->done(job);
}

void sgi__decode_submit(struct sgi__decoding *d, struct sgi__decode_job *job)
{
    job->decoding = d;
    job->job.run = run;
    if (sgi__pool_submit(d->pool, &job->job) != 0)
        run(&job->job);
}
