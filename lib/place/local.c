/* SPDX-License-Identifier: Apache-2.0 */
/* The place in this process: image memory of the host, loads and engine callbacks on threads that exist while they run.
 * Cheap ops are done on the thread that asks; what reads, calls out, or frees gigabytes is a job. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/fault.h"
#include "base/thread.h"
#include "place/instance.h"

/* ---- tables ---- */

static uint32_t bucket_of(uint64_t id)
{
    return (uint32_t)(id * UINT64_C(0x9e3779b97f4a7c15) >> 54); /* the top ten bits: 1024 buckets */
}

static struct place_model *find_model(struct sgi__place *p, sgi_model id)
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
    assert(!m->residence && !m->prepared);
    sgi__free(m);
}

static void instance_add(struct sgi__place *p, struct place_instance *i)
{
    uint32_t bucket = bucket_of(i->id);
    pthread_mutex_lock(&p->mutex);
    i->next = p->instances[bucket];
    p->instances[bucket] = i;
    pthread_mutex_unlock(&p->mutex);
}

/* Its image has gone elsewhere. */
static void instance_end(struct sgi__place *p, struct place_instance *i)
{
    pthread_mutex_lock(&p->mutex);
    struct place_instance **at = &p->instances[bucket_of(i->id)];
    while (*at != i)
        at = &(*at)->next;
    *at = i->next;
    pthread_mutex_unlock(&p->mutex);
    sgi__stage_free(i);
    sgi__load_free(i->load);
    pthread_mutex_destroy(&i->mutex);
    sgi__free(i);
}

/* ---- jobs ---- */

struct job {
    struct sgi__job         job; /* first */
    struct sgi__place      *place;
    struct sgi__place_event event; /* what it will report */
    struct place_model     *model;
    struct place_instance  *instance;
    void (*work)(struct job *job, sgi_error *err);
    bool on_stack;
};

static void report(struct sgi__place *p, const struct sgi__place_event *event)
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
    report(place, &event);
}

/* `must`: it cannot fail, so when no thread is to be had it is done here and now. */
static void start_job(struct sgi__place *p, const struct job *prototype, bool must)
{
    struct job  here = *prototype;
    struct job *job = sgi__alloc(sizeof *job);
    int         e = ENOMEM;

    here.job.run = run_job;
    here.place = p;
    if (job) {
        *job = here;
        e = sgi__pool_submit(p->pool, &job->job);
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
    report(p, &here.event);
}

/* ---- source and contexts ---- */

static void work_check(struct job *job, sgi_error *err)
{
    const struct sgi__manifest *m = job->model->spec.manifest;
    uint64_t                    since = sgi__clock_now_ns();
    for (uint32_t n = 0; n < m->files_count && job->event.status == SGI_OK; n++)
        job->event.status = sgi__io_path_check(m->files[n].path, &m->files[n].id, err);
    pthread_mutex_lock(&job->place->mutex);
    job->model->check_begin_ns = since;
    job->model->check_ns = sgi__clock_now_ns() - since;
    pthread_mutex_unlock(&job->place->mutex);
    sgi__error_step(err, job->event.status, SGI_STEP_SOURCE);
    if (job->event.status != SGI_OK)
        sgi__error_name_model(err, job->model->spec.name);
}

static void check_source(struct sgi__place *p, uint64_t op, sgi_model model)
{
    start_job(p,
              &(struct job){ .model = find_model(p, model),
                             .work = work_check,
                             .event = { .kind = SGI__PLACE_SOURCE_CHECKED, .op = op, .model = model } },
              false);
}

/* The host has no context to open; the op is there so that its life is the same as a GPU's. */
static void context_open(struct sgi__place *p, uint64_t op, int32_t device)
{
    struct sgi__place_event event = { .kind = SGI__PLACE_CONTEXT_OPENED, .op = op, .device = device };
    uint64_t                since = sgi__clock_now_ns();
    sgi_error               err;

    sgi__error_init(&err);
    if (sgi__fault(SGI__FAULT_CONTEXT)) {
        event.status = sgi__error(&err, SGI_E_DEVICE, "device %d: its context does not open (injected)", device);
        sgi__error_step(&err, event.status, SGI_STEP_CONTEXT);
    }
    pthread_mutex_lock(&p->mutex);
    p->contexts[device].begin_ns = since;
    p->contexts[device].ns = sgi__clock_now_ns() - since;
    pthread_mutex_unlock(&p->mutex);
    event.error = &err;
    report(p, &event);
}

static void context_close(struct sgi__place *p, uint64_t op, int32_t device)
{
    report(p, &(struct sgi__place_event){ .kind = SGI__PLACE_CONTEXT_CLOSED, .op = op, .device = device });
}

/* ---- prepare ---- */

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

static void prepare(struct sgi__place *p, uint64_t op, sgi_model model)
{
    start_job(p,
              &(struct job){ .model = find_model(p, model),
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

static void discard(struct sgi__place *p, uint64_t op, sgi_model model)
{
    start_job(p,
              &(struct job){ .model = find_model(p, model),
                             .work = work_discard,
                             .event = { .kind = SGI__PLACE_DISCARDED, .op = op, .model = model } },
              true);
}

/* ---- memory and load ---- */

static sgi_status prefix_fill(void *user, uint32_t part, void *dst, uint64_t bytes, sgi_error *err)
{
    const struct place_model *m = user;
    const sgi_engine         *e = m->spec.engine;
    sgi_status st = callback_status(e->prefix_fill(e->user, m->spec.source, part, dst, bytes, err), false, err);
    callback_failed(m, st, SGI_STEP_PREFIX, err);
    return st;
}

static void load_spec(struct sgi__place *p, struct place_instance *i, struct sgi__load_spec *spec)
{
    const struct sgi__place_model *m = &i->model->spec;
    *spec = (struct sgi__load_spec){ .name = m->name,
                                     .manifest = m->manifest,
                                     .layout = m->layout,
                                     .order = m->order,
                                     .order_count = m->order_count,
                                     .checks = m->checks,
                                     .checks_count = m->checks_count,
                                     .image = i->image,
                                     .engine = p->config.engine,
                                     .hot_engine = p->config.hot_engine,
                                     .block_bytes = p->config.block_bytes,
                                     .depth = p->config.depth,
                                     .depth_max = p->config.depth_max,
                                     .share = &p->share,
                                     .rate = p->config.rate,
                                     .prefix_fill = prefix_fill,
                                     .prefix_user = i->model };
}

static sgi_status new_image(struct sgi__place *p, const struct sgi__place_model *m, struct sgi__image **image_out,
                            sgi_error *err)
{
    uint32_t  parts = m->layout->parts_count;
    uint64_t *bytes = sgi__alloc_zero(parts, sizeof *bytes);
    if (!bytes)
        return sgi__error(err, SGI_E_NO_MEMORY, "model '%s': out of memory for its image", m->name);
    for (uint32_t n = 0; n < parts; n++)
        bytes[n] = m->layout->parts[n].region_bytes;
    sgi_status st = sgi__image_new(p->memory, bytes, parts, m->flags, m->tenant, image_out, err);
    if (st != SGI_OK)
        sgi__error_name_model(err, m->name);
    sgi__free(bytes);
    return st;
}

static sgi_status make_instance(struct sgi__place *p, struct place_model *m, uint64_t id, int32_t device, uint32_t tier,
                                sgi_error *err)
{
    struct place_instance *i = sgi__alloc_zero(1, sizeof *i);
    struct sgi__load_spec  spec;
    sgi_status             st;

    if (!i)
        return sgi__error(err, SGI_E_NO_MEMORY, "model '%s': out of memory for an instance", m->spec.name);
    pthread_mutex_init(&i->mutex, NULL);
    i->id = id;
    i->device = device;
    i->model = m;
    i->from_dram = tier == SGI_TIER_DRAM;
    i->stage = (struct sgi_stage){ .place = p, .instance = i };
    if (i->from_dram) {
        assert(m->residence);
        i->image = m->residence;
        load_spec(p, i, &spec);
        st = sgi__load_new_done(&spec, &i->load, err);
    } else {
        st = new_image(p, &m->spec, &i->image, err);
        if (st != SGI_OK)
            goto undo_instance;
        load_spec(p, i, &spec);
        st = sgi__load_new(&spec, &i->load, err);
        if (st != SGI_OK)
            sgi__image_free(p->memory, i->image);
    }
    if (st != SGI_OK)
        goto undo_instance;
    if (i->from_dram)
        m->residence = NULL;
    instance_add(p, i);
    return SGI_OK;

undo_instance:
    pthread_mutex_destroy(&i->mutex);
    sgi__free(i);
    return st;
}

static void reserve(struct sgi__place *p, uint64_t op, sgi_model model, uint64_t instance, int32_t device,
                    uint32_t tier)
{
    sgi_error               err;
    struct sgi__place_event event = {
        .kind = SGI__PLACE_RESERVED, .op = op, .model = model, .instance = instance, .error = &err
    };

    sgi__error_init(&err);
    event.status = make_instance(p, find_model(p, model), instance, device, tier, &err);
    sgi__error_step(&err, event.status, SGI_STEP_MEMORY);
    report(p, &event);
}

static void work_load(struct job *job, sgi_error *err)
{
    sgi__image_trim(job->instance->image);
    job->event.status = sgi__load_run(job->instance->load, err);
}

static void load(struct sgi__place *p, uint64_t op, sgi_model model, uint64_t instance, int32_t priority, bool keep)
{
    struct place_instance  *i = sgi__place_instance(p, instance);
    struct sgi__place_event event = { .kind = SGI__PLACE_LOADED, .op = op, .model = model, .instance = instance };

    assert(!keep); /* an image in host memory moves; nothing of it is copied */
    (void)keep;
    sgi__load_priority(i->load, priority);
    if (i->from_dram)
        report(p, &event);
    else
        start_job(p, &(struct job){ .model = i->model, .instance = i, .work = work_load, .event = event }, false);
}

static void work_prefix(struct job *job, sgi_error *err)
{
    job->event.status = sgi__load_fill_prefixes(job->instance->load, err);
}

static void fill_prefix(struct sgi__place *p, uint64_t op, sgi_model model, uint64_t instance)
{
    struct place_instance *i = sgi__place_instance(p, instance);
    start_job(p,
              &(struct job){
                  .model = i->model,
                  .instance = i,
                  .work = work_prefix,
                  .event = { .kind = SGI__PLACE_PREFIX_FILLED, .op = op, .model = model, .instance = instance } },
              false);
}

static void cancel(struct sgi__place *p, uint64_t instance)
{
    pthread_mutex_lock(&p->mutex);
    struct place_instance *i = sgi__place_instance_locked(p, instance);
    if (i) {
        pthread_mutex_lock(&i->mutex);
        i->canceled = true;
        pthread_mutex_unlock(&i->mutex);
        sgi__load_cancel(i->load);
    }
    pthread_mutex_unlock(&p->mutex);
}

static void load_priority(struct sgi__place *p, uint64_t instance, int32_t priority)
{
    pthread_mutex_lock(&p->mutex);
    struct place_instance *i = sgi__place_instance_locked(p, instance);
    if (i)
        sgi__load_priority(i->load, priority);
    pthread_mutex_unlock(&p->mutex);
}

bool sgi__place_canceled(struct place_instance *i)
{
    pthread_mutex_lock(&i->mutex);
    bool canceled = i->canceled;
    pthread_mutex_unlock(&i->mutex);
    return canceled;
}

static void work_free(struct job *job, sgi_error *err)
{
    struct sgi__image *image = job->instance->image;
    (void)err;
    instance_end(job->place, job->instance);
    sgi__image_free(job->place->memory, image);
}

static void free_instance(struct sgi__place *p, uint64_t op, sgi_model model, uint64_t instance)
{
    struct place_instance *i = sgi__place_instance(p, instance);
    start_job(p,
              &(struct job){ .model = i->model,
                             .instance = i,
                             .work = work_free,
                             .event = { .kind = SGI__PLACE_FREED, .op = op, .model = model, .instance = instance } },
              true);
}

static void keep(struct sgi__place *p, uint64_t op, sgi_model model, uint64_t instance)
{
    struct place_instance *i = sgi__place_instance(p, instance);

    i->model->residence = i->image;
    instance_end(p, i);
    report(p, &(struct sgi__place_event){ .kind = SGI__PLACE_KEPT, .op = op, .model = model, .instance = instance });
}

static void work_drop(struct job *job, sgi_error *err)
{
    struct sgi__image *image = job->model->residence;
    (void)err;
    job->model->residence = NULL;
    sgi__image_free(job->place->memory, image);
}

static void drop(struct sgi__place *p, uint64_t op, sgi_model model)
{
    start_job(p,
              &(struct job){ .model = find_model(p, model),
                             .work = work_drop,
                             .event = { .kind = SGI__PLACE_DROPPED, .op = op, .model = model } },
              true);
}

struct spare_job {
    struct sgi__job     job; /* first */
    struct sgi__region *regions;
};

static void run_spare(struct sgi__job *base)
{
    struct spare_job *job = (struct spare_job *)base;
    sgi__regions_free(job->regions);
    sgi__free(job);
}

/* Nobody else takes the memory of a host device: its size is a promise of the configuration. */
static void look(struct sgi__place *p, int32_t device)
{
    report(p, &(struct sgi__place_event){ .kind = SGI__PLACE_FOREIGN, .device = device });
}

static void spare_limit(struct sgi__place *p, uint64_t bytes)
{
    struct sgi__region *excess = sgi__image_memory_limit(p->memory, bytes);
    struct spare_job   *job = excess ? sgi__alloc(sizeof *job) : NULL;

    if (!excess)
        return;
    if (job) {
        *job = (struct spare_job){ .job.run = run_spare, .regions = excess };
        if (sgi__pool_submit(p->pool, &job->job) == 0)
            return;
        sgi__free(job);
    }
    sgi__regions_free(excess); /* slower here, but it has to go */
}

/* ---- engine ---- */

static void work_start(struct job *job, sgi_error *err)
{
    struct place_instance *i = job->instance;
    const sgi_engine      *e = i->model->spec.engine;
    uint64_t               since = sgi__clock_now_ns();
    void                  *instance = NULL;

    sgi_status st = e->start(e->user, i->model->prepared, &i->stage, &instance, err);
    job->event.status = callback_status(st, sgi_stage_canceled(&i->stage), err);
    pthread_mutex_lock(&i->mutex);
    i->start_begin_ns = since;
    i->start_ns = sgi__clock_now_ns() - since;
    pthread_mutex_unlock(&i->mutex);
    i->engine_instance = instance;
    callback_failed(i->model, job->event.status, SGI_STEP_START, err);
    if (job->event.status != SGI_OK)
        sgi__stage_free(i);
}

static void engine_start(struct sgi__place *p, uint64_t op, sgi_model model, uint64_t instance)
{
    struct place_instance *i = sgi__place_instance(p, instance);
    start_job(p,
              &(struct job){
                  .model = i->model,
                  .instance = i,
                  .work = work_start,
                  .event = { .kind = SGI__PLACE_ENGINE_STARTED, .op = op, .model = model, .instance = instance } },
              false);
}

static void work_stop(struct job *job, sgi_error *err)
{
    struct place_instance *i = job->instance;
    const sgi_engine      *e = i->model->spec.engine;
    (void)err;
    e->stop(e->user, i->engine_instance);
    i->engine_instance = NULL;
    sgi__stage_free(i); /* here, for it may be gigabytes, and `keep` runs on anybody's thread */
}

static void engine_stop(struct sgi__place *p, uint64_t op, sgi_model model, uint64_t instance)
{
    struct place_instance *i = sgi__place_instance(p, instance);
    start_job(p,
              &(struct job){
                  .model = i->model,
                  .instance = i,
                  .work = work_stop,
                  .event = { .kind = SGI__PLACE_ENGINE_STOPPED, .op = op, .model = model, .instance = instance } },
              true);
}

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

static void run_call(struct sgi__job *base)
{
    struct call_job        *job = (struct call_job *)base;
    struct place_instance  *i = job->instance;
    const sgi_engine       *e = i->model->spec.engine;
    struct sgi__place      *p = job->reply.place;
    sgi_error               err;
    struct sgi__place_event event = {
        .kind = SGI__PLACE_CALLED, .op = job->reply.call, .instance = i->id, .model = i->model->spec.id, .error = &err
    };
    sgi__error_init(&err);
    sgi__thread_enter_library();
    sgi_status st = e->call(e->user, i->engine_instance, job->request, job->bytes, &job->reply, &err);
    event.status = callback_status(st, sgi_reply_canceled(&job->reply), &err);
    sgi__thread_leave_library();
    callback_failed(i->model, event.status, SGI_STEP_CALL, &err);
    call_ended(job);
    report(p, &event);
}

static sgi_status call(struct sgi__place *p, uint64_t call_id, uint64_t instance, const void *request, size_t bytes,
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

static void call_cancel(struct sgi__place *p, uint64_t call_id, uint64_t instance)
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

static uint64_t spare_bytes(struct sgi__place *p)
{
    return sgi__image_memory_spare(p->memory);
}

static uint32_t threads(struct sgi__place *p)
{
    return sgi__pool_threads(p->pool);
}

/* ---- the place ---- */

static void close_place(struct sgi__place *p)
{
    sgi__pool_free(p->pool); /* the last job may still be on its way out */
    for (uint32_t n = 0; n < BUCKETS; n++)
        assert(!p->models[n] && !p->instances[n]);
    sgi__image_memory_free(p->memory);
    sgi__free(p->contexts);
    sgi__share_fini(&p->share);
    pthread_mutex_destroy(&p->mutex);
    sgi__free(p);
}

static sgi_status open_place(const struct sgi__place_config *config, struct sgi__place **place_out, sgi_error *err)
{
    struct sgi__place *p = sgi__alloc_zero(1, sizeof *p);
    if (!p)
        return sgi__error(err, SGI_E_NO_MEMORY, "out of memory for the runtime");
    p->config = *config;
    p->pool = sgi__pool_new("sgi-work", config->threads_max);
    p->memory = sgi__image_memory_new(config->spare_bytes_max);
    p->contexts = sgi__alloc_zero(config->devices_count, sizeof *p->contexts);
    if (!p->pool || !p->memory || !p->contexts) {
        sgi__pool_free(p->pool);
        sgi__image_memory_free(p->memory);
        sgi__free(p->contexts);
        sgi__free(p);
        return sgi__error(err, SGI_E_NO_MEMORY, "out of memory for the runtime");
    }
    pthread_mutex_init(&p->mutex, NULL);
    sgi__share_init(&p->share);
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
    .context_open = context_open,
    .context_close = context_close,
    .prepare = prepare,
    .discard = discard,
    .reserve = reserve,
    .load = load,
    .fill_prefix = fill_prefix,
    .engine_start = engine_start,
    .engine_stop = engine_stop,
    .free = free_instance,
    .keep = keep,
    .drop = drop,
    .cancel = cancel,
    .load_priority = load_priority,
    .spare_limit = spare_limit,
    .look = look,
    .call = call,
    .call_cancel = call_cancel,
    .tensor = sgi__local_tensor,
    .tensor_wait = sgi__local_tensor_wait,
    .tensor_digest = sgi__local_tensor_digest,
    .image = sgi__local_image,
    .run = sgi__local_run,
    .report = sgi__local_report,
    .progress = sgi__local_progress,
    .spare_bytes = spare_bytes,
    .threads = threads,
};
