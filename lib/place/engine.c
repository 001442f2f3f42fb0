/* SPDX-License-Identifier: Apache-2.0 */
/* The engines of the local place: their callbacks, each on a thread of its own, with the instance's device current
 * where there is one. */
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/thread.h"
#include "place/instance.h"

/* A callback may return anything. What would read as the library's own word (a deadline, a stale id, no more pieces) or
 * is no status of ours becomes SGI_E_ENGINE, with the callback's own in driver_code; what speaks of the request, or of
 * a model's, a device's or the runtime's trouble stays. */
static sgi_status callback_status(sgi_status status, bool canceled, sgi_error *err)
{
    bool ours = status <= -100 && strcmp(sgi_status_name(status), "SGI_E_?") != 0;
    bool of_request = status == SGI_E_INVALID || status == SGI_E_NOT_FOUND || status == SGI_E_UNSUPPORTED;
    if (status == SGI_OK || ours || of_request || (status == SGI_E_CANCELED && canceled))
        return status;
    sgi_status said = status;
    if (!err->message[0])
        sgi__error(err, SGI_E_ENGINE, "its engine said %s (%d)", sgi_status_name(said), said);
    err->code = SGI_E_ENGINE;
    err->driver_code = said;
    return SGI_E_ENGINE;
}

/* What a callback said, or did not say, with its step and its model. An error of ours that it handed on has its
 * step. */
static void callback_failed(const struct place_model *m, sgi_status status, uint32_t step, sgi_error *err)
{
    if (status == SGI_OK || err->step != SGI_STEP_NONE)
        return;
    if (!err->message[0])
        sgi__error(err, status, "its engine's %s said %s", sgi_step_name(step), sgi_status_name(status));
    sgi__error_name_model(err, m->spec.name);
    err->step = step;
}

sgi_status sgi__prefix_fill(void *user, uint32_t part, void *dst, uint64_t bytes, sgi_error *err)
{
    const struct place_model *m = user;
    const sgi_engine         *e = m->spec.engine;
    sgi_status st = callback_status(e->prefix_fill(e->user, m->spec.source, part, dst, bytes, err), false, err);
    callback_failed(m, st, SGI_STEP_PREFIX, err);
    return st;
}

/* ---- prepare ---- */

static void work_prepare(struct job *job, sgi_error *err)
{
    struct place_model *m = job->model;
    const sgi_engine   *e = m->spec.engine;
    void               *prepared = NULL;
    uint64_t            bytes = 0, since = sgi__clock_now_ns();

    job->event.status = callback_status(e->prepare(e->user, m->spec.source, &prepared, &bytes, err), false, err);
    pthread_mutex_lock(&job->place->mutex);
    m->prepare_begin_ns = since;
    m->prepare_ns = sgi__clock_now_ns() - since;
    pthread_mutex_unlock(&job->place->mutex);
    if (job->event.status == SGI_OK) {
        m->prepared = prepared;
        job->event.bytes = bytes;
    }
    callback_failed(m, job->event.status, SGI_STEP_PREPARE, err);
}

void sgi__local_prepare(struct sgi__place *p, uint64_t op, sgi_model model)
{
    sgi__place_start(p,
                     &(struct job){ .model = sgi__place_model(p, model),
                                    .work = work_prepare,
                                    .event = { .kind = SGI__PLACE_PREPARED, .op = op, .model = model } },
                     false);
}

static void work_discard(struct job *job, sgi_error *err)
{
    struct place_model *m = job->model;
    const sgi_engine   *e = m->spec.engine;
    (void)err;
    if (e->discard)
        e->discard(e->user, m->prepared);
    m->prepared = NULL;
}

void sgi__local_discard(struct sgi__place *p, uint64_t op, sgi_model model)
{
    sgi__place_start(p,
                     &(struct job){ .model = sgi__place_model(p, model),
                                    .work = work_discard,
                                    .event = { .kind = SGI__PLACE_DISCARDED, .op = op, .model = model } },
                     true);
}

/* ---- start and stop ---- */

/* Until there is memory on the device, and a stream of its own. */
static sgi_status wait_device(struct sgi__place *p, struct place_instance *i, sgi_error *err)
{
    struct sgi__device_scope scope;
    sgi_status               st = sgi__load_wait_begun(i->load, err);

    if (st != SGI_OK || !i->on)
        return st;
    st = sgi__place_enter(p, i, &scope, err);
    if (st != SGI_OK)
        return st;
    st = i->on->device->ops->stream_new(i->on->device, &i->stream, err);
    i->on->device->ops->leave(i->on->device, &scope, NULL);
    return sgi__place_said(p, i->on, st, err);
}

/* The device may be lost: it is called all the same, for what it has of the host. */
static void stop(struct sgi__place *p, struct place_instance *i)
{
    const sgi_engine        *e = i->model->spec.engine;
    struct sgi__device_scope scope;
    bool                     inside = sgi__place_enter(p, i, &scope, NULL) == SGI_OK;

    if (!inside) /* once more: without it, it could give nothing back */
        inside = sgi__place_enter(p, i, &scope, NULL) == SGI_OK;
    if (inside)
        sgi__place_lend(i, &scope);
    e->stop(e->user, i->engine_instance);
    i->engine_instance = NULL;
    if (inside)
        sgi__place_leave(p, i, &scope, i->stream, SGI_OK, NULL);
}

static sgi_status start(struct sgi__place *p, struct place_instance *i, sgi_error *err)
{
    const sgi_engine        *e = i->model->spec.engine;
    struct sgi__device_scope scope;
    void                    *instance = NULL;
    sgi_status               st = sgi__place_enter(p, i, &scope, err);

    if (st != SGI_OK)
        return st;
    sgi__place_lend(i, &scope);
    st = e->start(e->user, i->model->prepared, &i->stage, &instance, err);
    sgi_status said = callback_status(st, sgi_stage_canceled(&i->stage), err);
    st = sgi__place_leave(p, i, &scope, i->stream, said, err);
    i->engine_instance = instance;
    if (said == SGI_OK && st != SGI_OK) /* it is up, and must not be */
        stop(p, i);
    return st;
}

static void work_start(struct job *job, sgi_error *err)
{
    struct place_instance *i = job->instance;
    uint64_t               since = sgi__clock_now_ns();

    job->event.status = wait_device(job->place, i, err);
    if (job->event.status == SGI_OK) {
        since = sgi__clock_now_ns();
        job->event.status = start(job->place, i, err);
    }
    pthread_mutex_lock(&i->mutex);
    i->start_begin_ns = since;
    i->start_ns = sgi__clock_now_ns() - since;
    pthread_mutex_unlock(&i->mutex);
    callback_failed(i->model, job->event.status, SGI_STEP_START, err);
    if (job->event.status != SGI_OK)
        sgi__stage_free(i);
}

void sgi__local_engine_start(struct sgi__place *p, uint64_t op, sgi_model model, uint64_t instance)
{
    struct place_instance *i = sgi__place_instance(p, instance);
    sgi__place_start(
        p,
        &(struct job){ .model = i->model,
                       .instance = i,
                       .work = work_start,
                       .event = { .kind = SGI__PLACE_ENGINE_STARTED, .op = op, .model = model, .instance = instance } },
        false);
}

static void work_stop(struct job *job, sgi_error *err)
{
    struct place_instance *i = job->instance;
    (void)err;
    stop(job->place, i);
    sgi__stage_free(i); /* here, for it may be gigabytes, and `keep` runs on anybody's thread */
}

void sgi__local_engine_stop(struct sgi__place *p, uint64_t op, sgi_model model, uint64_t instance)
{
    struct place_instance *i = sgi__place_instance(p, instance);
    sgi__place_start(
        p,
        &(struct job){ .model = i->model,
                       .instance = i,
                       .work = work_stop,
                       .event = { .kind = SGI__PLACE_ENGINE_STOPPED, .op = op, .model = model, .instance = instance } },
        true);
}

/* ---- calls ---- */

struct call_job {
    struct sgi__job        job; /* first */
    struct sgi_reply       reply;
    struct place_instance *instance;
    size_t                 bytes;
    uint8_t                request[];
};

static void call_ended(struct call_job *job)
{
    struct place_instance *i = job->instance;

    pthread_mutex_lock(&i->mutex);
    struct sgi_reply **at = &i->replies;
    while (*at != &job->reply)
        at = &(*at)->next;
    *at = job->reply.next;
    pthread_mutex_unlock(&i->mutex);
    sgi__free(job);
}

static sgi_status answer(struct call_job *job, sgi_error *err)
{
    struct place_instance   *i = job->instance;
    const sgi_engine        *e = i->model->spec.engine;
    struct sgi__place       *p = job->reply.place;
    struct sgi__device_scope scope;
    sgi_status               st = sgi__place_enter(p, i, &scope, err);

    if (st != SGI_OK)
        return st;
    sgi__place_lend(i, &scope);
    st = e->call(e->user, i->engine_instance, job->request, job->bytes, &job->reply, err);
    st = callback_status(st, sgi_reply_canceled(&job->reply), err);
    return sgi__place_leave(p, i, &scope, i->stream, st, err);
}

static void run_call(struct sgi__job *base)
{
    struct call_job        *job = (struct call_job *)base;
    struct place_instance  *i = job->instance;
    struct sgi__place      *p = job->reply.place;
    sgi_error               err;
    struct sgi__place_event event = {
        .kind = SGI__PLACE_CALLED, .op = job->reply.call, .instance = i->id, .model = i->model->spec.id, .error = &err
    };
    sgi__error_init(&err);
    sgi__thread_enter_library();
    event.status = answer(job, &err);
    sgi__thread_leave_library();
    callback_failed(i->model, event.status, SGI_STEP_CALL, &err);
    call_ended(job);
    sgi__place_report(p, &event);
}

sgi_status sgi__local_call(struct sgi__place *p, uint64_t call_id, uint64_t instance, const void *request, size_t bytes,
                           sgi_error *err)
{
    struct place_instance *i = sgi__place_instance(p, instance);
    struct call_job       *job = bytes > SIZE_MAX - sizeof *job ? NULL : sgi__alloc(sizeof *job + bytes);

    if (!job)
        return sgi__error(err, SGI_E_NO_MEMORY, "model '%s': out of memory for a request of %zu bytes",
                          i->model->spec.name, bytes);
    *job = (struct call_job){
        .job.run = run_call, .reply = { .place = p, .call = call_id }, .instance = i, .bytes = bytes
    };
    if (bytes > 0)
        memcpy(job->request, request, bytes);
    pthread_mutex_lock(&i->mutex);
    job->reply.next = i->replies;
    i->replies = &job->reply;
    pthread_mutex_unlock(&i->mutex);
    int e = sgi__pool_submit(p->pool, &job->job);
    if (e == 0)
        return SGI_OK;
    call_ended(job);
    return sgi__error_sys(err, SGI_E_SYSTEM, e, "model '%s': no thread for a call", i->model->spec.name);
}

void sgi__local_call_cancel(struct sgi__place *p, uint64_t call_id, uint64_t instance)
{
    pthread_mutex_lock(&p->mutex);
    struct place_instance *i = sgi__place_instance_locked(p, instance);
    if (i) {
        pthread_mutex_lock(&i->mutex);
        for (struct sgi_reply *r = i->replies; r; r = r->next)
            if (r->call == call_id)
                atomic_store(&r->canceled, 1);
        pthread_mutex_unlock(&i->mutex);
    }
    pthread_mutex_unlock(&p->mutex);
}
