/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The devices of the local place: their contexts, who else is there, and how somebody else's code is let onto them.
 *
 * A device that is lost takes all others of its kind in this process with it, for what the driver says from then on is
 * that error; unless it is only its context that somebody has taken away. The first call that meets it tells the owner.
 */
#include <assert.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "place/instance.h"

sgi_status sgi__contexts_init(struct sgi__place *p, sgi_error *err)
{
    uint32_t count = p->config.devices_count;

    p->devices = sgi__alloc_zero(count, sizeof *p->devices);
    if (!p->devices)
        return sgi__error(err, SGI_E_NO_MEMORY, "out of memory for the runtime");
    for (uint32_t n = 0; n < count; n++) {
        struct place_device *on = &p->devices[n];
        on->device = p->config.devices[n];
        if (on->device->ops->unified)
            continue;
        /* A block, and room for the end of it: direct reads come in whole pages. */
        on->staging = sgi__staging_new(on->device, p->config.block_bytes + SGI__PLACE_ALIGN, SGI__STAGING_BYTES_MAX);
        if (!on->staging)
            return sgi__error(err, SGI_E_NO_MEMORY, "%s: out of memory", on->device->name);
        on->device->ops->share_with(on->device, p->config.devices, count);
    }
    return SGI_OK;
}

/* A lost device's context was not closed by anybody: there was nothing left to wait for. */
void sgi__contexts_fini(struct sgi__place *p)
{
    for (uint32_t n = 0; p->devices && n < p->config.devices_count; n++) {
        struct place_device *on = &p->devices[n];
        if (on->open && on->staging) {
            sgi__staging_closes(on->staging);
            on->device->ops->context_close(on->device);
            sgi__staging_closed(on->staging);
        }
        sgi__staging_free(on->staging);
    }
    sgi__free(p->devices);
}

/* ---- what others have ---- */

struct ours {
    uint64_t least, most;
};

/* Under the mutex. */
static void see_ours(const struct place_device *on, struct ours *ours)
{
    uint64_t least = on->arena_bytes + on->reported_bytes, most = least + on->moving_bytes;

    ours->least = least < ours->least ? least : ours->least;
    ours->most = most > ours->most ? most : ours->most;
}

static uint64_t beyond(uint64_t taken, uint64_t ours)
{
    return taken > ours ? taken - ours : 0;
}

/* Whatever is taken and is not ours: other processes, other code in this one, contexts. While memory of ours moves, or
 * has moved since the driver was asked, that is known between two bounds only: then what was seen before, if it can be
 * so still. */
static bool foreign_bytes(struct sgi__place *p, struct place_device *on, uint64_t *bytes_out, uint64_t *look_out)
{
    struct ours ours = { .least = UINT64_MAX };

    pthread_mutex_lock(&p->mutex);
    see_ours(on, &ours);
    pthread_mutex_unlock(&p->mutex);
    struct sgi__device_room room = on->device->ops->room(on->device);
    if (room.total == 0)
        return false;
    pthread_mutex_lock(&p->mutex);
    see_ours(on, &ours);
    uint64_t least = beyond(room.total - room.free, ours.most), most = beyond(room.total - room.free, ours.least);
    if (on->foreign_bytes < least)
        on->foreign_bytes = least;
    if (on->foreign_bytes > most)
        on->foreign_bytes = most;
    *bytes_out = on->foreign_bytes;
    *look_out = ++on->looks;
    pthread_mutex_unlock(&p->mutex);
    return true;
}

void sgi__place_look(struct sgi__place *p, struct place_device *on)
{
    struct sgi__place_event event = { .kind = SGI__PLACE_FOREIGN, .device = (int32_t)(on - p->devices) };

    if (on->staging && foreign_bytes(p, on, &event.bytes, &event.look))
        sgi__place_report(p, &event);
}

static void work_look(struct job *job, sgi_error *err)
{
    struct sgi__place   *p = job->place;
    struct place_device *on = &p->devices[job->event.device];

    (void)err;
    if (foreign_bytes(p, on, &job->event.bytes, &job->event.look))
        return;
    pthread_mutex_lock(&p->mutex);
    job->event.bytes = on->foreign_bytes; /* nobody can say: as it was */
    job->event.look = ++on->looks;
    pthread_mutex_unlock(&p->mutex);
}

void sgi__local_look(struct sgi__place *p, int32_t device)
{
    struct sgi__place_event event = { .kind = SGI__PLACE_FOREIGN, .device = device };

    if (p->devices[device].staging)
        sgi__place_start(p, &(struct job){ .work = work_look, .event = event }, true);
    else
        sgi__place_report(p, &event);
}

uint32_t sgi__local_context(struct sgi__place *p, int32_t device, bool open)
{
    struct sgi__device *d = p->devices[device].device;
    bool                others = d->ops->others(d);

    if (open)
        return others ? SGI_CONTEXT_SHARED : SGI_CONTEXT_OURS;
    return others ? SGI_CONTEXT_FOREIGN : SGI_CONTEXT_NONE;
}

/* ---- contexts ---- */

static void work_open(struct job *job, sgi_error *err)
{
    struct sgi__place   *p = job->place;
    struct place_device *on = &p->devices[job->event.device];
    uint64_t             since = sgi__clock_now_ns();

    job->event.status = sgi__place_said(p, on, on->device->ops->context_open(on->device, err), err);
    sgi__error_step(err, job->event.status, SGI_STEP_CONTEXT);
    pthread_mutex_lock(&p->mutex);
    on->open = job->event.status == SGI_OK;
    on->begin_ns = since;
    on->ns = sgi__clock_now_ns() - since;
    pthread_mutex_unlock(&p->mutex);
    if (on->staging)
        sgi__staging_opened(on->staging, job->event.status, err);
    if (on->open)
        sgi__place_look(p, on);
}

static void context_job(struct sgi__place *p, struct job *job)
{
    if (p->devices[job->event.device].staging) {
        job->of_context = true;
        sgi__place_start(p, job, true);
        return;
    }
    sgi_error err; /* the host's is there at once */
    sgi__error_init(&err);
    job->place = p;
    job->work(job, &err);
    struct sgi__place_event event = job->event;
    event.error = &err;
    sgi__place_report(p, &event);
}

void sgi__local_context_open(struct sgi__place *p, uint64_t op, int32_t device)
{
    if (p->devices[device].staging)
        sgi__staging_opens(p->devices[device].staging);
    struct job job = { .work = work_open, .event = { .kind = SGI__PLACE_CONTEXT_OPENED, .op = op, .device = device } };
    context_job(p, &job);
}

static void work_close(struct job *job, sgi_error *err)
{
    struct place_device *on = &job->place->devices[job->event.device];
    (void)err;
    if (on->staging)
        sgi__staging_closes(on->staging);
    job->event.bytes = on->device->ops->context_close(on->device);
    if (on->staging)
        sgi__staging_closed(on->staging);
    pthread_mutex_lock(&job->place->mutex);
    on->open = false;
    if (job->event.bytes < on->kept_bytes) /* also where the driver does not say what this process has */
        job->event.bytes = on->kept_bytes;
    pthread_mutex_unlock(&job->place->mutex);
    sgi__place_look(job->place, on);
}

/* It is shut here, and not when the job runs: a load that is asked for next is one for the next context. */
void sgi__local_context_close(struct sgi__place *p, uint64_t op, int32_t device)
{
    if (p->devices[device].staging)
        sgi__staging_shuts(p->devices[device].staging);
    struct job job = { .work = work_close, .event = { .kind = SGI__PLACE_CONTEXT_CLOSED, .op = op, .device = device } };
    context_job(p, &job);
}

/* ---- lost ---- */

static void tell_lost(struct sgi__place *p, struct place_device *on, const sgi_error *err)
{
    pthread_mutex_lock(&p->mutex);
    bool news = !on->lost;
    on->lost = true;
    pthread_mutex_unlock(&p->mutex);
    if (news)
        sgi__place_report(p, &(struct sgi__place_event){ .kind = SGI__PLACE_CONTEXT_LOST,
                                                         .status = SGI_E_DEVICE_LOST,
                                                         .device = (int32_t)(on - p->devices),
                                                         .error = err });
}

/* The others first: whoever waits for this one is told next, and may look at all of them. */
sgi_status sgi__place_said(struct sgi__place *p, struct place_device *on, sgi_status status, const sgi_error *err)
{
    if (status != SGI_E_DEVICE_LOST || !on) /* no host is ever lost */
        return status;
    bool alone = on->device->ops->lost_alone(on->device, err);
    for (uint32_t n = 0; !alone && n < p->config.devices_count; n++)
        if (p->devices[n].staging && &p->devices[n] != on)
            tell_lost(p, &p->devices[n], err);
    tell_lost(p, on, err);
    return status;
}

/* ---- somebody else's code ---- */

sgi_status sgi__place_enter(struct sgi__place *p, struct place_instance *i, struct sgi__device_scope *scope,
                            sgi_error *err)
{
    return i->on ? sgi__place_said(p, i->on, i->on->device->ops->enter(i->on->device, scope, err), err) : SGI_OK;
}

void sgi__place_lend(const struct place_instance *i, const struct sgi__device_scope *scope)
{
    if (i->on)
        i->on->device->ops->lend(i->on->device, scope);
}

static sgi_status look_at_stream(struct sgi__device *d, struct sgi__stream *stream, sgi_error *err)
{
    struct sgi__device_scope scope;
    sgi_status               st = d->ops->enter(d, &scope, err);

    if (st != SGI_OK)
        return st; /* whoever gives the memory back waits */
    st = d->ops->stream_wait(d, stream, err);
    d->ops->leave(d, &scope, NULL);
    return st;
}

/* What it said comes first, unless the device is gone: then that is why. */
sgi_status sgi__place_leave(struct sgi__place *p, struct place_instance *i, const struct sgi__device_scope *scope,
                            struct sgi__stream *stream, sgi_status status, sgi_error *err)
{
    sgi_error  own;
    sgi_status st;

    if (!i->on)
        return status;
    sgi__error_init(&own);
    st = i->on->device->ops->leave(i->on->device, scope, &own);
    if (stream && st != SGI_E_DEVICE_LOST) {
        sgi_error  of_stream;
        sgi_status last;
        sgi__error_init(&of_stream);
        last = look_at_stream(i->on->device, stream, &of_stream);
        if (last != SGI_OK && (st == SGI_OK || last == SGI_E_DEVICE_LOST)) {
            st = last;
            own = of_stream;
        }
    }
    if (st == SGI_OK || (status != SGI_OK && st != SGI_E_DEVICE_LOST))
        return status; /* whatever that is: only the driver's word counts for a device */
    sgi__error_copy(err, &own);
    return sgi__place_said(p, i->on, st, &own);
}

sgi_status sgi__place_left(struct sgi__place *p, struct place_instance *i, const struct sgi__device_scope *scope,
                           sgi_status status, sgi_error *err)
{
    return sgi__place_leave(p, i, scope, NULL, sgi__place_said(p, i->on, status, err), err);
}
