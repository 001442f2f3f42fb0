/* SPDX-License-Identifier: Apache-2.0 */
/* Acquires and prefetches: from the caller's options to the core's want, and from its reply to the one end each request
 * has. */
#include "runtime/runtime.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/text.h"
#include "base/thread.h"

uint64_t sgi__rt_idle_ns(uint32_t idle_timeout_ms, uint64_t of_default)
{
    switch (idle_timeout_ms) {
    case SGI_IDLE_DEFAULT:
        return of_default;
    case SGI_IDLE_NOW:
        return 0;
    case SGI_IDLE_NEVER:
        return SGI__NEVER;
    default:
        return (uint64_t)idle_timeout_ms * 1000000u;
    }
}

uint64_t sgi__rt_hang_ns(uint32_t hang_timeout_ms, uint64_t of_default)
{
    return hang_timeout_ms == 0                ? of_default
           : hang_timeout_ms == SGI_IDLE_NEVER ? SGI__NEVER
                                               : (uint64_t)hang_timeout_ms * 1000000u;
}

static struct sgi__core_want want_of(const sgi_acquire_options *o, uint32_t tier, bool prefetch, uint64_t now)
{
    return (struct sgi__core_want){
        .tier = tier,
        .prefetch = prefetch,
        .early = (o->flags & SGI_ACQUIRE_EARLY) != 0,
        .priority = o->priority,
        .device_hint = o->device_hint,
        .deadline = o->deadline_ms == SGI_FOREVER ? SGI__NEVER : now + (uint64_t)o->deadline_ms * 1000000u,
        .idle_ns = sgi__rt_idle_ns(o->idle_timeout_ms, SGI__IDLE_OF_MODEL),
        .lease_ns = o->lease_ms == SGI_FOREVER ? SGI__NEVER : (uint64_t)o->lease_ms * 1000000u,
    };
}

/* ---- submitting ---- */

/* Said before the runtime is left: whoever closes it may be waiting for just that. */
static sgi_status refused(const sgi_runtime *rt, const char *function, sgi_model model, sgi_status st, sgi_error *err)
{
    if (st == SGI_E_STALE)
        return sgi__rt_stale(err, function, SGI__ID_MODEL, model);
    if (st == SGI_E_BUSY)
        return sgi__error(err, st, "%u requests wait already: requests_max", rt->core_config.wants_max);
    if (st == SGI_E_INVALID)
        sgi__error(err, st, "SGI_ACQUIRE_EARLY is for models without an engine, and this one has one");
    else
        sgi__error(err, st, "%s", sgi_status_text(st));
    if (st != SGI_E_CLOSED)
        sgi__rt_name_model(rt, model, err);
    return st;
}

/* Who would be refused for good is told that, and not to come again later. */
static bool takes_requests(const sgi_runtime *rt, const struct record *record)
{
    struct sgi__core_model_view view;
    return record && sgi__core_model_view(rt->core, record->id, &view) == SGI_OK && !view.draining;
}

sgi_status sgi__rt_acquire(sgi_runtime *rt, sgi_model model, const sgi_acquire_options *options, uint32_t tier,
                           bool prefetch, sgi_ticket *ticket_out, sgi_done_fn done, void *user, sgi_error *err)
{
    const char        *function = prefetch ? "sgi_model_prefetch" : "sgi_model_acquire";
    struct completion *c = NULL; /* stays NULL when nobody is to be told */
    sgi_ticket         ticket;

    if (!(options->flags & SGI_PREFETCH_SILENT)) {
        c = sgi__completion_new(prefetch ? SGI_COMPLETION_PREFETCH : SGI_COMPLETION_ACQUIRE, options->tag);
        if (!c)
            return sgi__error(err, SGI_E_NO_MEMORY, "out of memory for a request");
        c->done = done;
        c->user = user;
    }
    sgi__rt_enter(rt);
    struct record *record = sgi__rt_record(rt, model);
    sgi_status     st = SGI_OK;
    bool           queued = c && !done;
    if (record && record->has_engine && (options->flags & SGI_ACQUIRE_EARLY))
        st = refused(rt, function, model, SGI_E_INVALID, err);
    else if (queued && rt->completions_count >= rt->core_config.wants_max && takes_requests(rt, record))
        st = sgi__error(err, SGI_E_BUSY, "%u completions wait unread: requests_max", rt->completions_count);
    if (st == SGI_OK) {
        uint64_t              now = sgi__rt_now(rt);
        struct sgi__core_want want = want_of(options, tier, prefetch, now);
        st = sgi__core_want(rt->core, now, model, &want, &ticket);
        if (st == SGI_OK) {
            if (c)
                c->body.ticket = ticket;
            rt->tickets[sgi__core_slot(ticket)] = (struct ticket){ .id = ticket,
                                                                   .completion = c,
                                                                   .request_ns = now,
                                                                   .deadline_ms = options->deadline_ms,
                                                                   .prefetch = prefetch };
            sgi__rt_observe_queued(rt, record, ticket);
            rt->completions_count += queued;
            if (ticket_out)
                *ticket_out = ticket; /* before any reply can be seen */
        } else {
            refused(rt, function, model, st, err);
        }
    }
    if (st == SGI_E_BUSY)
        sgi__rt_observe_busy(rt, record, prefetch);
    sgi__rt_leave(rt);
    if (st != SGI_OK)
        sgi__free(c);
    return st;
}

sgi_status sgi__rt_acquire_wait(sgi_runtime *rt, sgi_model model, const sgi_acquire_options *options,
                                sgi_lease *lease_out, sgi_error *err)
{
    struct waiter waiter = { .status = SGI_OK };
    sgi_ticket    ticket;

    sgi__rt_enter(rt);
    uint64_t              now = sgi__rt_now(rt);
    struct sgi__core_want want = want_of(options, SGI_TIER_DEVICE, false, now);
    struct record        *record = sgi__rt_record(rt, model);
    sgi_status            st = SGI_E_INVALID;
    if (!record || !record->has_engine || !want.early)
        st = sgi__core_try_acquire(rt->core, now, model, want.idle_ns, want.lease_ns, lease_out);
    if (st != SGI_E_WOULD_BLOCK) {
        if (st != SGI_OK)
            refused(rt, "sgi_model_acquire_wait", model, st, err);
        sgi__rt_leave(rt);
        return st;
    }
    if (sgi__cond_init(&waiter.cond)) {
        sgi__rt_leave(rt);
        return sgi__error(err, SGI_E_SYSTEM, "cannot wait: no condition variable");
    }
    sgi__error_init(&waiter.error);
    st = sgi__core_want(rt->core, now, model, &want, &ticket);
    if (st == SGI_OK) {
        rt->tickets[sgi__core_slot(ticket)] = (struct ticket){
            .id = ticket, .waiter = &waiter, .request_ns = now, .deadline_ms = options->deadline_ms
        };
        sgi__rt_observe_queued(rt, record, ticket);
    } else {
        refused(rt, "sgi_model_acquire_wait", model, st, err);
    }
    if (st == SGI_E_BUSY)
        sgi__rt_observe_busy(rt, record, false);
    rt->inside += st == SGI_OK;
    sgi__rt_leave(rt);
    if (st == SGI_OK) {
        pthread_mutex_lock(&rt->mutex);
        while (!waiter.ended)
            pthread_cond_wait(&waiter.cond, &rt->mutex);
        sgi__rt_outside(rt);
        pthread_mutex_unlock(&rt->mutex);
        if (waiter.status == SGI_OK)
            *lease_out = waiter.lease;
        else
            sgi__error_copy(err, &waiter.error);
        st = waiter.status;
    }
    pthread_cond_destroy(&waiter.cond);
    return st;
}

/* ---- ending ---- */

static void end(sgi_runtime *rt, sgi_ticket id, sgi_status status, sgi_lease lease, const sgi_error *error)
{
    struct ticket *t = &rt->tickets[sgi__core_slot(id)];

    if (t->waiter) {
        t->waiter->status = status;
        t->waiter->lease = lease;
        if (error)
            t->waiter->error = *error;
        t->waiter->ended = true;
        pthread_cond_signal(&t->waiter->cond); /* under the mutex: the waiter is gone once it has been let go */
        if (t->completion) {
            rt->completions_count--;
            sgi__free(t->completion);
        }
    } else if (t->completion) {
        t->completion->body.status = status;
        t->completion->body.lease = lease;
        if (error)
            t->completion->body.error = *error;
        sgi__completion_post(rt, t->completion);
    }
    *t = (struct ticket){ 0 };
}

/* ---- waiting for one that was submitted ---- */

/* Under the mutex. SGI_OK: it has not ended, and the waiter is with it now. */
static sgi_status join_ticket(sgi_runtime *rt, sgi_ticket ticket, struct waiter *waiter, sgi_error *err)
{
    uint32_t       slot = sgi__core_slot(ticket);
    struct ticket *t = slot < rt->core_config.wants_max ? &rt->tickets[slot] : NULL;

    if (!t || ticket == 0 || t->id != ticket)
        return sgi__rt_stale(err, "sgi_ticket_wait", SGI__ID_TICKET, ticket);
    if (t->waiter)
        return sgi__error(err, SGI_E_BUSY, "another thread waits for this request");
    if (!t->completion || t->completion->done)
        return sgi__error(err, SGI_E_INVALID, "this request ends in its callback, or silently");
    t->waiter = waiter;
    return SGI_OK;
}

sgi_status sgi__rt_ticket_wait(sgi_runtime *rt, sgi_ticket ticket, uint32_t timeout_ms, sgi_lease *lease_out,
                               sgi_error *err)
{
    uint64_t      deadline = sgi__rt_wait_deadline(timeout_ms);
    struct waiter waiter = { .status = SGI_OK };
    bool          in_time = true;

    sgi__error_init(&waiter.error);
    if (sgi__cond_init(&waiter.cond))
        return sgi__error(err, SGI_E_SYSTEM, "cannot wait: no condition variable");
    pthread_mutex_lock(&rt->mutex);
    rt->inside++;
    sgi_status         st = SGI_OK;
    struct completion *c = sgi__completion_take_ticket(rt, ticket);
    if (c) {
        waiter.status = c->body.status;
        waiter.lease = c->body.lease;
        waiter.error = c->body.error;
        sgi__free(c);
    } else {
        st = join_ticket(rt, ticket, &waiter, err);
        while (st == SGI_OK && in_time && !waiter.ended)
            in_time = sgi__cond_wait(&waiter.cond, &rt->mutex, deadline);
        if (st == SGI_OK && !waiter.ended) {
            rt->tickets[sgi__core_slot(ticket)].waiter = NULL;
            st = sgi__error(err, SGI_E_TIMEOUT, "the request has not ended within %u ms; it goes on", timeout_ms);
        }
    }
    sgi__rt_outside(rt);
    pthread_mutex_unlock(&rt->mutex);
    pthread_cond_destroy(&waiter.cond);
    if (st != SGI_OK)
        return st;
    if (waiter.status == SGI_OK)
        *lease_out = waiter.lease;
    else
        sgi__error_copy(err, &waiter.error);
    return waiter.status;
}

/* A cold start has come to its end: this is how it went. */
static void add_trace(sgi_runtime *rt, const struct record *record, const struct sgi__core_reply *reply)
{
    const struct sgi__report   *report = &record->report;
    struct sgi__core_model_view view;
    struct sgi__trace_start     start = { .request_ns = rt->tickets[sgi__core_slot(reply->ticket)].request_ns,
                                          .grant_ns = sgi__rt_now(rt),
                                          .tier = reply->tier,
                                          .bytes = report->bytes };

    if (!rt->trace)
        rt->trace = sgi__trace_new();
    if (!rt->trace) /* then there is no trace, and that is all */
        return;
    sgi__core_model_view(rt->core, reply->model, &view);
    start.device = view.device;
    memcpy(start.engine, report->engine, sizeof start.engine);
    memcpy(start.name, record->name, strnlen(record->name, sizeof start.name - 1));
    for (uint32_t step = 0; step < SGI_STEP_COUNT; step++)
        if (report->steps[step].start_ns >= start.request_ns) { /* what was prepared for an earlier start cost this one
                                                                   nothing */
            start.steps[step].start_ns = report->steps[step].start_ns;
            start.steps[step].ns = report->steps[step].ns;
        }
    sgi__trace_add(rt->trace, &start);
}

void sgi__rt_granted(sgi_runtime *rt, const struct sgi__core_reply *reply)
{
    struct record *record = sgi__rt_record(rt, reply->model);
    if (record && reply->tier != SGI_TIER_DEVICE && !reply->joined)
        add_trace(rt, record, reply);
    sgi__rt_observe_end(rt, record, &rt->tickets[sgi__core_slot(reply->ticket)], reply);
    end(rt, reply->ticket, SGI_OK, reply->lease, NULL);
}

/* In the form that it would be kept in. Where it may be either and no word of ours says so, packed counts where that
 * is too large too: else it does not gain enough to be kept so. */
static void describe_no_dram(const sgi_runtime *rt, const struct record *r, sgi_error *err)
{
    uint64_t max = rt->core_config.dram_bytes_max, bytes = r->layout->image_bytes;
    char     packed[48] = "";

    if (r->residence == SGI_RESIDENCE_PACKED && r->packed_bytes > 0) {
        bytes = r->packed_bytes;
        snprintf(packed, sizeof packed, ", packed");
    } else if (r->residence == SGI_RESIDENCE_AUTO && r->packed_bytes > max) {
        snprintf(packed, sizeof packed, ", packed %llu", (unsigned long long)r->packed_bytes);
    }
    sgi__error(err, SGI_E_NO_ROOM, "model '%s' needs %llu bytes in DRAM%s, of which models may take %llu", r->name,
               (unsigned long long)bytes, packed, (unsigned long long)max);
}

/* The device with the most room of those that it may be on: if it would fit even there, it was DRAM that it is too
 * large for. */
static void describe_no_room(const sgi_runtime *rt, const struct record *record, sgi_error *err)
{
    const struct sgi__core_config *c = &rt->core_config;
    struct sgi__core_model_view    view;
    uint32_t                       best = 0;
    uint64_t                       most = 0;

    sgi__core_model_view(rt->core, record->id, &view);
    for (uint32_t n = 0; n < c->devices_count; n++)
        if ((record->devices_mask >> n & 1) && c->devices[n].bytes_max >= most) {
            best = n;
            most = c->devices[n].bytes_max;
        }
    uint64_t image = c->devices[best].unified ? record->layout->image_bytes : record->layout->device_bytes;
    if (image + view.engine_bytes <= most)
        describe_no_dram(rt, record, err);
    else
        sgi__error(err, SGI_E_NO_ROOM,
                   "model '%s' needs %llu bytes on %s, and %llu for its engine; models may take %llu there",
                   record->name, (unsigned long long)image, rt->devices[best]->name,
                   (unsigned long long)view.engine_bytes, (unsigned long long)most);
}

/* That stays, and so does what is said of it; for whom it did not happen to, it was before. */
static void describe_lost(const sgi_runtime *rt, const char *name, sgi_error *err)
{
    struct sgi__shown shown;
    char              own[SGI__SHOWN_NAME_BYTES + 16];

    *err = rt->context_error;
    snprintf(own, sizeof own, "model '%s': ", sgi__show_name(&shown, name));
    if (strncmp(err->message, own, strlen(own)) == 0)
        return;
    sgi__error_prefix(err, "its device has been lost: ");
    sgi__error_name_model(err, name);
}

static void describe(const sgi_runtime *rt, const struct sgi__core_reply *reply, const struct record *record,
                     uint32_t deadline_ms, sgi_error *err)
{
    const char *name = record ? record->name : "?", *step = sgi_step_name(reply->step);

    switch (reply->status) {
    case SGI_E_TIMEOUT:
        sgi__error(err, reply->status, "model '%s' was not ready within %u ms; it was at step '%s'", name, deadline_ms,
                   step);
        break;
    case SGI_E_CANCELED:
        sgi__error(err, reply->status, "the request for model '%s' was canceled", name);
        break;
    case SGI_E_NO_ROOM:
        if (record) {
            describe_no_room(rt, record, err);
            break;
        } /* fall through */
    default:
        if (rt->context_error.code == reply->status && reply->step == SGI_STEP_CONTEXT &&
            reply->status != SGI_E_DEVICE_LOST)
            *err = rt->context_error;
        else if (record && record->last_error.code == reply->status)
            *err = record->last_error;
        else if (rt->context_error.code == reply->status && reply->status == SGI_E_DEVICE_LOST)
            describe_lost(rt, name, err);
        else if (reply->status == SGI_E_WEDGED)
            sgi__error(err, reply->status, "model '%s': its engine's %s has not come back for %llu ms", name, step,
                       (unsigned long long)((record ? record->hang_ns : rt->hang_ns) / 1000000u));
        else
            sgi__error(err, reply->status, "model '%s': %s", name, sgi_status_text(reply->status));
    }
    if (err->step == SGI_STEP_NONE)
        err->step = reply->step;
    err->retry_after_ms = (uint32_t)((reply->retry_after_ns + 999999u) / 1000000u);
}

void sgi__rt_rejected(sgi_runtime *rt, const struct sgi__core_reply *reply)
{
    const struct ticket *t = &rt->tickets[sgi__core_slot(reply->ticket)];
    sgi_error            error;

    sgi__error_init(&error);
    struct record *record = sgi__rt_record(rt, reply->model);
    describe(rt, reply, record, t->deadline_ms, &error);
    sgi__rt_observe_end(rt, record, t, reply);
    end(rt, reply->ticket, reply->status, 0, &error);
}
