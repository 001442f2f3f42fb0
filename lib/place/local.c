/* SPDX-License-Identifier: Apache-2.0 */
/* The place in this process: loads and engine callbacks on threads that exist while they run. Cheap ops are done on the
 * thread that asks; what reads, calls out, or frees gigabytes is a job. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/thread.h"
#include "place/instance.h"

/* ---- tables ---- */

static uint32_t bucket_of(uint64_t id)
{
    return (uint32_t)(id * UINT64_C(0x9e3779b97f4a7c15) >> 54); /* the top ten bits: 1024 buckets */
}

struct place_model *sgi__place_model(struct sgi__place *p, sgi_model id)
{
    pthread_mutex_lock(&p->mutex);
    struct place_model *m = p->models[bucket_of(id)];
    while (m && m->spec.id != id)
        m = m->next;
    pthread_mutex_unlock(&p->mutex);
    assert(m); /* the core names a model until it is removed, and no longer */
    return m;
}

struct place_instance *sgi__place_instance_locked(struct sgi__place *p, uint64_t id)
{
    struct place_instance *i = p->instances[bucket_of(id)];
    while (i && i->id != id)
        i = i->next;
    return i;
}

struct place_instance *sgi__place_instance(struct sgi__place *p, uint64_t id)
{
    pthread_mutex_lock(&p->mutex);
    struct place_instance *i = sgi__place_instance_locked(p, id);
    pthread_mutex_unlock(&p->mutex);
    return i;
}

static sgi_status model_add(struct sgi__place *p, const struct sgi__place_model *model, sgi_error *err)
{
    struct place_model *m = sgi__alloc_zero(1, sizeof *m);
    if (!m)
        return sgi__error(err, SGI_E_NO_MEMORY, "model '%s': out of memory", model->name);
    m->spec = *model;
    uint32_t bucket = bucket_of(model->id);
    pthread_mutex_lock(&p->mutex);
    m->next = p->models[bucket];
    p->models[bucket] = m;
    pthread_mutex_unlock(&p->mutex);
    return SGI_OK;
}

static void model_remove(struct sgi__place *p, sgi_model model)
{
    pthread_mutex_lock(&p->mutex);
    struct place_model **at = &p->models[bucket_of(model)];
    while ((*at)->spec.id != model)
        at = &(*at)->next;
    struct place_model *m = *at;
    *at = m->next;
    pthread_mutex_unlock(&p->mutex);
    assert(!m->residence && !m->kept && !m->pins && !m->prepared);
    sgi__free(m);
}

void sgi__place_add(struct sgi__place *p, struct place_instance *i)
{
    uint32_t bucket = bucket_of(i->id);
    pthread_mutex_lock(&p->mutex);
    i->next = p->instances[bucket];
    p->instances[bucket] = i;
    pthread_mutex_unlock(&p->mutex);
}

void sgi__place_remove(struct sgi__place *p, struct place_instance *i)
{
    pthread_mutex_lock(&p->mutex);
    struct place_instance **at = &p->instances[bucket_of(i->id)];
    while (*at != i)
        at = &(*at)->next;
    *at = i->next;
    pthread_mutex_unlock(&p->mutex);
}

/* ---- jobs ---- */

void sgi__place_report(struct sgi__place *p, const struct sgi__place_event *event)
{
    p->config.sink.event(p->config.sink.user, event);
}

static void run_job(struct sgi__job *base)
{
    struct job *job = (struct job *)base;
    sgi_error   err;

    sgi__error_init(&err);
    sgi__thread_enter_library();
    job->work(job, &err);
    sgi__thread_leave_library();
    struct sgi__place      *place = job->place;
    struct sgi__place_event event = job->event;
    event.error = &err;
    if (!job->on_stack)
        sgi__free(job);
    sgi__place_report(place, &event);
}

void sgi__place_start(struct sgi__place *p, const struct job *prototype, bool must)
{
    struct job  here = *prototype;
    struct job *job = sgi__alloc(sizeof *job);
    int         e = ENOMEM;

    here.job.run = run_job;
    here.place = p;
    if (job) {
        *job = here;
        e = sgi__pool_submit(here.of_context ? p->context_pool : p->pool, &job->job);
        if (e == 0)
            return;
        sgi__free(job);
    }
    if (must) {
        here.on_stack = true;
        run_job(&here.job);
        return;
    }
    sgi_error err;
    sgi__error_init(&err);
    here.event.status = e == ENOMEM ? SGI_E_NO_MEMORY : SGI_E_SYSTEM;
    sgi__error_sys(&err, here.event.status, e, "model '%s': no thread to work on it", here.model->spec.name);
    here.event.error = &err;
    if (here.event.kind == SGI__PLACE_LOADED || here.event.kind == SGI__PLACE_PREFIX_FILLED)
        sgi__load_failed(here.instance->load, here.event.status, &err); /* its engine's start may wait for it */
    sgi__place_report(p, &here.event);
}

/* ---- source ---- */

static void work_check(struct job *job, sgi_error *err)
{
    const struct sgi__manifest *m = job->model->spec.manifest;
    uint64_t                    since = sgi__clock_now_ns();
    for (uint32_t n = 0; n < sgi__manifest_disk_count(m) && job->event.status == SGI_OK; n++) {
        struct sgi__on_disk file = sgi__manifest_on_disk(m, n);
        job->event.status = sgi__io_path_check(file.path, file.id, err);
    }
    pthread_mutex_lock(&job->place->mutex);
    job->model->check_begin_ns = since;
    job->model->check_ns = sgi__clock_now_ns() - since;
    pthread_mutex_unlock(&job->place->mutex);
    if (job->event.status == SGI_OK && m->packed)
        job->event.shared_bytes = sgi__store_shares(job->place->store, m, job->model->spec.layout);
    sgi__error_step(err, job->event.status, SGI_STEP_SOURCE);
    if (job->event.status != SGI_OK)
        sgi__error_name_model(err, job->model->spec.name);
}

static void check_source(struct sgi__place *p, uint64_t op, sgi_model model)
{
    sgi__place_start(p,
                     &(struct job){ .model = sgi__place_model(p, model),
                                    .work = work_check,
                                    .event = { .kind = SGI__PLACE_SOURCE_CHECKED, .op = op, .model = model } },
                     false);
}

/* ---- the place ---- */

static uint64_t spare_bytes(struct sgi__place *p)
{
    return sgi__image_memory_spare(p->memory);
}

static uint32_t threads(struct sgi__place *p)
{
    return sgi__pool_threads(p->pool) + sgi__pool_threads(p->context_pool) + sgi__decoding_threads(p->decoding);
}

static void close_place(struct sgi__place *p)
{
    sgi__pool_free(p->pool); /* the last job may still be on its way out */
    sgi__pool_free(p->context_pool);
    sgi__decoding_free(p->decoding);
    sgi__store_free(p->store);
    for (uint32_t n = 0; n < BUCKETS; n++)
        assert(!p->models[n] && !p->instances[n]);
    sgi__image_memory_free(p->memory);
    sgi__contexts_fini(p);
    sgi__share_fini(&p->share);
    pthread_cond_destroy(&p->let_go);
    pthread_mutex_destroy(&p->mutex);
    sgi__free(p);
}

static sgi_status open_place(const struct sgi__place_config *config, struct sgi__place **place_out, sgi_error *err)
{
    struct sgi__place *p = sgi__alloc_zero(1, sizeof *p);
    if (!p)
        return sgi__error(err, SGI_E_NO_MEMORY, "out of memory for the runtime");
    p->config = *config;
    pthread_mutex_init(&p->mutex, NULL);
    if (sgi__cond_init(&p->let_go)) {
        sgi__free(p);
        return sgi__error(err, SGI_E_NO_MEMORY, "out of memory for the runtime");
    }
    sgi__share_init(&p->share);
    p->pool = sgi__pool_new("sgi-work", config->threads_max);
    p->context_pool = sgi__pool_new("sgi-context", config->devices_count);
    p->decoding = sgi__decoding_new(0);
    p->store = sgi__store_new();
    p->memory = sgi__image_memory_new(config->spare_bytes_max);
    sgi_status st = p->pool && p->context_pool && p->decoding && p->store && p->memory
                        ? sgi__contexts_init(p, err)
                        : sgi__error(err, SGI_E_NO_MEMORY, "out of memory for the runtime");
    if (st != SGI_OK) {
        close_place(p);
        return st;
    }
    *place_out = p;
    return SGI_OK;
}

const struct sgi__place_ops sgi__place_local = {
    .abi = SGI__PLACE_ABI,
    .name = "local",
    .open = open_place,
    .close = close_place,
    .model_add = model_add,
    .model_remove = model_remove,
    .check_source = check_source,
    .context_open = sgi__local_context_open,
    .context_close = sgi__local_context_close,
    .prepare = sgi__local_prepare,
    .discard = sgi__local_discard,
    .reserve = sgi__local_reserve,
    .load = sgi__local_load,
    .fill_prefix = sgi__local_fill_prefix,
    .engine_start = sgi__local_engine_start,
    .engine_stop = sgi__local_engine_stop,
    .free = sgi__local_free,
    .keep = sgi__local_keep,
    .drop = sgi__local_drop,
    .cancel = sgi__local_cancel,
    .load_priority = sgi__local_load_priority,
    .spare_limit = sgi__local_spare_limit,
    .look = sgi__local_look,
    .call = sgi__local_call,
    .call_cancel = sgi__local_call_cancel,
    .tensor = sgi__local_tensor,
    .tensor_wait = sgi__local_tensor_wait,
    .tensor_digest = sgi__local_tensor_digest,
    .tensor_read = sgi__local_tensor_read,
    .image = sgi__local_image,
    .tensor_order = sgi__local_tensor_order,
    .run = sgi__local_run,
    .stream = sgi__local_stream,
    .context = sgi__local_context,
    .report = sgi__local_report,
    .progress = sgi__local_progress,
    .spare_bytes = spare_bytes,
    .threads = threads,
};
