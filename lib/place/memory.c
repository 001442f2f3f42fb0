/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory of the local place's instances: images in host memory, arenas of devices that have their own, and the
 * loads that fill them. An image is an instance's, or the model's residence, or both: a device with memory of its own
 * reads the residence where it is, and what it reads from disk may stay there too.
 */
#include <assert.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/log.h"
#include "place/instance.h"

/* ---- made ---- */

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
                                     .arena = i->arena,
                                     .staging = i->on ? i->on->staging : NULL,
                                     .engine = p->config.engine,
                                     .hot_engine = p->config.hot_engine,
                                     .block_bytes = p->config.block_bytes,
                                     .depth = p->config.depth,
                                     .depth_max = p->config.depth_max,
                                     .share = &p->share,
                                     .rate = p->config.rate,
                                     .decoding = p->decoding,
                                     .kept = i->from_kept ? i->model->kept : NULL,
                                     .from_kept = i->from_kept,
                                     .prefix_fill = sgi__prefix_fill,
                                     .prefix_user = i->model };
}

sgi_status sgi__place_new_image(struct sgi__place *p, const struct sgi__place_model *m, struct sgi__image **image_out,
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

/* An instance without memory. */
static struct place_instance *instance_new(struct sgi__place *p, struct place_model *m, uint64_t id, int32_t device,
                                           uint32_t tier, sgi_error *err)
{
    struct place_instance *i = sgi__alloc_zero(1, sizeof *i);

    if (!i) {
        sgi__error(err, SGI_E_NO_MEMORY, "model '%s': out of memory for an instance", m->spec.name);
        return NULL;
    }
    pthread_mutex_init(&i->mutex, NULL);
    pthread_mutex_init(&i->growing, NULL);
    i->id = id;
    i->device = device;
    i->on = device >= 0 && p->devices[device].staging ? &p->devices[device] : NULL;
    i->model = m;
    i->from_dram = tier == SGI_TIER_DRAM;
    i->from_kept = i->from_dram && m->kept;
    i->stage = (struct sgi_stage){ .place = p, .instance = i };
    return i;
}

void sgi__place_instance_free(struct place_instance *i)
{
    sgi__stage_free(i);
    sgi__load_free(i->load);
    pthread_mutex_destroy(&i->growing);
    pthread_mutex_destroy(&i->mutex);
    sgi__free(i);
}

/* It is read into host memory as it is stored, and nowhere else. */
static sgi_status take_packed(struct sgi__place *p, struct place_instance *i, uint64_t shared_bytes, sgi_error *err)
{
    const struct sgi__place_model *m = &i->model->spec;
    struct sgi__load_spec          spec;

    sgi_status st = sgi__kept_new(p->store, m->manifest, m->layout, shared_bytes, &i->kept, err);
    if (st != SGI_OK)
        return st;
    load_spec(p, i, &spec);
    spec.kept = i->kept;
    st = sgi__load_new(&spec, &i->load, err);
    if (st != SGI_OK)
        sgi__kept_free(i->kept);
    return st;
}

static sgi_status take_image(struct sgi__place *p, struct place_instance *i, sgi_error *err)
{
    struct place_model   *m = i->model;
    struct sgi__load_spec spec;
    bool                  taken = i->from_dram && !i->from_kept;
    sgi_status            st = SGI_OK;

    if (taken) {
        assert(m->residence);
        if (m->pins) /* a device has read it; now its pages will be somebody else's */
            sgi__pins_off(m->pins);
        sgi__pins_free(m->pins);
        m->pins = NULL;
        i->image = m->residence;
    } else {
        st = sgi__place_new_image(p, &m->spec, &i->image, err);
    }
    if (st != SGI_OK)
        return st;
    load_spec(p, i, &spec);
    st = taken ? sgi__load_new_done(&spec, &i->load, err) : sgi__load_new(&spec, &i->load, err);
    if (st == SGI_OK && taken)
        m->residence = NULL;
    else if (st != SGI_OK && !taken)
        sgi__image_free(p->memory, i->image);
    return st;
}

void sgi__place_count(struct sgi__place *p, struct place_device *on, int64_t ours, int64_t moving)
{
    pthread_mutex_lock(&p->mutex);
    on->arena_bytes += (uint64_t)ours;
    on->moving_bytes += (uint64_t)moving;
    pthread_mutex_unlock(&p->mutex);
}

/* Bytes that the driver did not take back. They are not counted as ours any more: whoever looks sees them as somebody
 * else's. */
static uint64_t give_arena(struct sgi__place *p, struct place_instance *i)
{
    struct sgi__device *d = i->on->device;
    int64_t             bytes = (int64_t)i->arena->bytes;
    sgi_error           err;

    sgi__error_init(&err);
    sgi__place_count(p, i->on, -bytes, bytes);
    uint64_t kept = d->ops->arena_free(d, i->arena, &err);
    i->arena = NULL;
    sgi__place_count(p, i->on, 0, -bytes);
    pthread_mutex_lock(&p->mutex);
    i->on->kept_bytes += kept;
    pthread_mutex_unlock(&p->mutex);
    if (err.code != SGI_OK) {
        sgi__log(SGI_LOG_WARN, "model '%s': %s", i->model->spec.name, err.message);
        sgi__place_said(p, i->on, err.code, &err);
    }
    return kept;
}

/* Addresses for all that the device has are reserved with it: its engine's memory comes right behind the weights. */
static sgi_status take_arena(struct sgi__place *p, struct place_instance *i, sgi_error *err)
{
    struct sgi__device   *d = i->on->device;
    uint64_t              bytes = sgi__align_up(i->model->spec.layout->device_bytes, d->page_bytes);
    struct sgi__load_spec spec;

    sgi__place_count(p, i->on, 0, (int64_t)bytes);
    sgi_status st = sgi__place_said(p, i->on, d->ops->arena_new(d, bytes, bytes + d->bytes, &i->arena, err), err);
    sgi__place_count(p, i->on, st == SGI_OK ? (int64_t)bytes : 0, -(int64_t)bytes);
    if (st != SGI_OK)
        return st;
    i->arena_used = i->model->spec.layout->device_bytes;
    load_spec(p, i, &spec);
    if (i->from_dram && !i->from_kept)
        st = sgi__residence_read_in_place(p, i, &spec, err);
    if (st == SGI_OK)
        st = sgi__load_new(&spec, &i->load, err);
    if (st != SGI_OK) {
        give_arena(p, i);
        return st;
    }
    sgi__place_look(p, i->on);
    return SGI_OK;
}

static sgi_status make_instance(const struct job *job, sgi_error *err)
{
    const struct sgi__place_event *e = &job->event;
    struct sgi__place             *p = job->place;
    struct place_instance         *i = instance_new(p, job->model, e->instance, e->device, (uint32_t)e->bytes, err);
    sgi_status                     st;

    if (!i)
        return SGI_E_NO_MEMORY;
    st = i->on         ? take_arena(p, i, err)
         : job->packed ? take_packed(p, i, job->shared_bytes, err)
                       : take_image(p, i, err);
    if (st != SGI_OK) {
        sgi__error_name_model(err, job->model->spec.name);
        sgi__place_instance_free(i);
        return st;
    }
    sgi__place_add(p, i);
    return SGI_OK;
}

static void work_reserve(struct job *job, sgi_error *err)
{
    struct sgi__place_event *e = &job->event;
    e->status = make_instance(job, err);
    e->bytes = 0;
    sgi__error_step(err, e->status, SGI_STEP_MEMORY);
}

/* Mapping an image costs nothing; a driver, or pins that go, may take their time. */
void sgi__local_reserve(struct sgi__place *p, uint64_t op, sgi_model model, uint64_t instance, int32_t device,
                        uint32_t tier, bool packed, uint64_t shared_bytes)
{
    sgi_error  err;
    struct job job = { .place = p,
                       .model = sgi__place_model(p, model),
                       .work = work_reserve,
                       .packed = packed,
                       .shared_bytes = shared_bytes,
                       .event = { .kind = SGI__PLACE_RESERVED,
                                  .op = op,
                                  .model = model,
                                  .instance = instance,
                                  .device = device,
                                  .bytes = tier } };

    if ((device >= 0 && p->devices[device].staging) || (tier == SGI_TIER_DRAM && job.model->pins)) {
        sgi__place_start(p, &job, false);
        return;
    }
    sgi__error_init(&err);
    work_reserve(&job, &err);
    job.event.error = &err;
    sgi__place_report(p, &job.event);
}

/* ---- from another device ---- */

/* One that has the model whole, on a device that this one reaches; it does not go while it is copied from. */
static struct place_instance *take_peer(struct sgi__place *p, const struct place_instance *i)
{
    struct sgi__device    *d = i->on->device;
    struct place_instance *found = NULL;

    pthread_mutex_lock(&p->mutex);
    for (uint32_t bucket = 0; bucket < BUCKETS && !found && !i->on->peers_fail; bucket++)
        for (struct place_instance *other = p->instances[bucket]; other && !found; other = other->next)
            if (other->model == i->model && other != i && other->whole && other->arena->shared && !other->on->lost &&
                d->ops->reaches(d, other->on->device))
                found = other;
    if (found)
        found->copying++;
    pthread_mutex_unlock(&p->mutex);
    return found;
}

static void give_peer(struct sgi__place *p, struct place_instance *peer)
{
    pthread_mutex_lock(&p->mutex);
    peer->copying--;
    pthread_cond_broadcast(&p->let_go);
    pthread_mutex_unlock(&p->mutex);
}

static void set_whole(struct sgi__place *p, struct place_instance *i)
{
    pthread_mutex_lock(&p->mutex);
    i->whole = true;
    pthread_mutex_unlock(&p->mutex);
}

/* Nobody begins to copy from it any more, and those who do are waited for. */
static void end_copying(struct sgi__place *p, struct place_instance *i)
{
    pthread_mutex_lock(&p->mutex);
    i->whole = false;
    while (i->copying > 0)
        pthread_cond_wait(&p->let_go, &p->mutex);
    pthread_mutex_unlock(&p->mutex);
}

/* ---- filled ---- */

static void run_load(struct job *job, sgi_error *err)
{
    struct place_instance *i = job->instance;
    job->event.status = sgi__place_said(job->place, i->on, sgi__load_run(i->load, err), err);
}

/* The driver may offer access that a machine does not have. The start that found out has failed; the next does not try
 * it. */
static void distrust_peers(struct job *job, const struct place_instance *peer, const sgi_error *err)
{
    struct place_device *on = job->instance->on;

    sgi__log(SGI_LOG_WARN, "%s: no more copies from other devices, after one from %s: %s", on->device->name,
             peer->on->device->name, err->message);
    pthread_mutex_lock(&job->place->mutex);
    on->peers_fail = true;
    pthread_mutex_unlock(&job->place->mutex);
}

static void load_from_peer(struct job *job, struct place_instance *peer, sgi_error *err)
{
    sgi__load_from(job->instance->load, peer->arena->base);
    run_load(job, err);
    if (job->event.status == SGI_E_DEVICE)
        distrust_peers(job, peer, err);
    give_peer(job->place, peer);
}

static void load_from_dram(struct job *job, sgi_error *err)
{
    if (job->instance->from_kept) { /* there are no pins to get in each other's way */
        run_load(job, err);
        return;
    }
    if (!sgi__residence_begin_reading(job->place, job->instance)) {
        job->event.status = sgi__error(err, SGI_E_CANCELED, "model '%s': the load was canceled", job->model->spec.name);
        sgi__load_failed(job->instance->load, SGI_E_CANCELED, err);
        return;
    }
    run_load(job, err);
    sgi__residence_end_reading(job->place, job->model);
}

static void load_from_disk(struct job *job, sgi_error *err)
{
    struct sgi__place *p = job->place;
    struct sgi__pins  *pins = job->keep == SGI__KEEP_IMAGE ? sgi__residence_make_room(p, job->instance) : NULL;
    struct sgi__kept  *kept = job->keep == SGI__KEEP_PACKED
                                  ? sgi__residence_make_packed(p, job->instance, job->shared_bytes)
                                  : NULL;

    run_load(job, err);
    if (pins)
        sgi__residence_end_filling(job, pins);
    if (kept)
        sgi__residence_end_packing(job, kept);
}

static void work_load_on(struct job *job, sgi_error *err)
{
    struct place_instance *peer = take_peer(job->place, job->instance);

    if (peer)
        load_from_peer(job, peer, err);
    else if (job->instance->from_dram)
        load_from_dram(job, err);
    else
        load_from_disk(job, err);
    if (job->event.status == SGI_OK)
        set_whole(job->place, job->instance);
}

static void work_load_image(struct job *job, sgi_error *err)
{
    sgi__image_trim(job->instance->image);
    if (job->instance->from_dram)
        load_from_dram(job, err);
    else
        load_from_disk(job, err);
}

static void work_load_packed(struct job *job, sgi_error *err)
{
    struct place_instance *i = job->instance;

    run_load(job, err);
    if (job->event.status == SGI_OK && !sgi__kept_is_whole(i->kept))
        job->event.status = sgi__error_step(err,
                                            sgi__error(err, SGI_E_NO_MEMORY,
                                                       "model '%s': out of memory to keep it packed",
                                                       i->model->spec.name),
                                            SGI_STEP_MEMORY);
}

void sgi__local_load(struct sgi__place *p, uint64_t op, sgi_model model, uint64_t instance, int32_t priority,
                     enum sgi__keep keep, uint64_t shared_bytes)
{
    struct place_instance  *i = sgi__place_instance(p, instance);
    struct sgi__place_event event = { .kind = SGI__PLACE_LOADED, .op = op, .model = model, .instance = instance };
    struct job job = { .model = i->model, .instance = i, .event = event, .keep = keep, .shared_bytes = shared_bytes };

    assert(keep == SGI__KEEP_NOTHING || (!i->from_dram && !i->kept && (i->on || keep == SGI__KEEP_PACKED)));
    sgi__load_priority(i->load, priority);
    if (i->from_dram && !i->from_kept && !i->on) {
        sgi__place_report(p, &event);
        return;
    }
    job.work = i->on ? work_load_on : i->kept ? work_load_packed : work_load_image;
    sgi__place_start(p, &job, false);
}

static void work_prefix(struct job *job, sgi_error *err)
{
    job->event.status = sgi__load_fill_prefixes(job->instance->load, err);
}

void sgi__local_fill_prefix(struct sgi__place *p, uint64_t op, sgi_model model, uint64_t instance)
{
    struct place_instance *i = sgi__place_instance(p, instance);
    sgi__place_start(
        p,
        &(struct job){ .model = i->model,
                       .instance = i,
                       .work = work_prefix,
                       .event = { .kind = SGI__PLACE_PREFIX_FILLED, .op = op, .model = model, .instance = instance } },
        false);
}

void sgi__local_cancel(struct sgi__place *p, uint64_t instance)
{
    pthread_mutex_lock(&p->mutex);
    struct place_instance *i = sgi__place_instance_locked(p, instance);
    if (i) {
        pthread_mutex_lock(&i->mutex);
        i->canceled = true;
        pthread_mutex_unlock(&i->mutex);
        sgi__load_cancel(i->load);
        pthread_cond_broadcast(&p->let_go); /* it may wait for the one before it */
    }
    pthread_mutex_unlock(&p->mutex);
}

void sgi__local_load_priority(struct sgi__place *p, uint64_t instance, int32_t priority)
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

/* ---- given back ---- */

/* On a stream of its own: an engine's may hold work that waits for its callback, or be captured. */
sgi_status sgi__place_zero(struct sgi__device *d, uint64_t at, uint64_t bytes, sgi_error *err)
{
    struct sgi__stream *stream = NULL;
    sgi_status          st = d->ops->stream_new(d, &stream, err);

    if (st != SGI_OK)
        return st;
    st = d->ops->zero(d, stream, at, bytes, err);
    sgi_status waited = d->ops->stream_wait(d, stream, st == SGI_OK ? err : NULL);
    d->ops->stream_free(d, stream);
    return st == SGI_OK ? waited : st;
}

/* What was on the device is nobody else's business. */
static void scrub(struct sgi__place *p, struct place_instance *i, struct sgi__place_event *event)
{
    uint64_t  since = sgi__clock_now_ns();
    sgi_error err;

    if (!(i->model->spec.flags & SGI_IMAGE_SCRUB) || !sgi__load_has_begun(i->load))
        return;
    sgi__error_init(&err);
    sgi_status st = sgi__place_zero(i->on->device, i->arena->base, i->arena->bytes, &err);
    if (st != SGI_OK)
        st = sgi__place_zero(i->on->device, i->arena->base, i->arena->bytes, &err);
    if (st != SGI_OK) {
        sgi__log(SGI_LOG_WARN, "model '%s': its memory was not scrubbed: %s", i->model->spec.name, err.message);
        sgi__place_said(p, i->on, st, &err);
        return;
    }
    event->scrub_bytes = i->arena->bytes;
    event->scrub_ns = sgi__clock_now_ns() - since;
}

/* Somebody may have queued work there and not waited for it: memory that it uses is not taken from under it. */
static void end_stream(struct sgi__device *d, struct sgi__stream *stream, bool inside)
{
    if (stream && inside)
        d->ops->stream_wait(d, stream, NULL);
    d->ops->stream_free(d, stream);
}

/* What needs the context goes first. Where that did not open, there is nothing; where it is lost, nothing is waited
 * for. */
static void free_arena(struct sgi__place *p, struct place_instance *i, struct sgi__place_event *event)
{
    struct sgi__device      *d = i->on->device;
    struct sgi__device_scope scope;
    bool                     inside = sgi__staging_try_enter(i->on->staging, &scope);

    if (inside)
        scrub(p, i, event);
    for (uint32_t n = 0; n < LEASE_STREAMS_MAX; n++)
        end_stream(d, i->lease_streams[n], inside);
    end_stream(d, i->stream, inside);
    sgi__load_free(i->load);
    i->load = NULL;
    if (inside)
        sgi__staging_leave(i->on->staging, &scope);
    event->bytes = give_arena(p, i);
    pthread_mutex_lock(&p->mutex);
    i->on->reported_bytes -= i->reported_bytes;
    pthread_mutex_unlock(&p->mutex);
    sgi__place_look(p, i->on);
}

static void work_free(struct job *job, sgi_error *err)
{
    struct place_instance *i = job->instance;
    struct sgi__image     *image = i->image;
    struct sgi__kept      *kept = i->kept;
    (void)err;
    if (i->on)
        end_copying(job->place, i);
    sgi__place_remove(job->place, i);
    if (i->on)
        free_arena(job->place, i, &job->event);
    sgi__place_instance_free(i);
    sgi__image_free(job->place->memory, image);
    sgi__kept_free(kept);
}

void sgi__local_free(struct sgi__place *p, uint64_t op, sgi_model model, uint64_t instance)
{
    struct place_instance *i = sgi__place_instance(p, instance);
    sgi__place_start(p,
                     &(struct job){
                         .model = i->model,
                         .instance = i,
                         .work = work_free,
                         .event = { .kind = SGI__PLACE_FREED, .op = op, .model = model, .instance = instance } },
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

void sgi__local_spare_limit(struct sgi__place *p, uint64_t bytes)
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
