/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is counted and told: from requests and their ends, the core's actions and notes, and what places report. All of
 * it under the runtime's mutex, where these facts come true; nothing here allocates, waits or calls out. Readers of
 * events have rings of their own.
 */
#include <unistd.h>

#include "base/error.h"
#include "base/sized.h"
#include "runtime/runtime.h"

enum { RECORDS_DEFAULT = 1024, SLOT_BITS = 12 };

/* Beside the ids of calls, which have a smaller serial: see calls.c. */
#define READER_KIND (UINT64_C(7) << 61)
#define KINDS_ALL   ((UINT64_C(1) << SGI__EVENT_COUNT) - 2)

static uint64_t since(sgi_runtime *rt, uint64_t then)
{
    uint64_t now = sgi__rt_now(rt);
    return now > then ? now - then : 0;
}

/* ---- events ---- */

void sgi__rt_tell(sgi_runtime *rt, const sgi_event *event)
{
    if (rt->readers_count == 0)
        return;
    sgi_event e = *event;
    e.struct_size = sizeof e;
    e.time_ns = sgi__rt_now(rt);
    for (uint32_t n = 0; n < SGI_EVENTS_READERS_MAX; n++) {
        struct event_reader *r = &rt->readers[n];
        if (!r->id)
            continue;
        bool was_empty = r->events->count == 0;
        rt->metrics.events_dropped += !sgi__events_add(r->events, &e);
        if (was_empty && r->events->count > 0)
            sgi__ready_fd_set(r->fd);
    }
}

static struct event_reader *find(sgi_runtime *rt, sgi_events id)
{
    uint32_t slot = (uint32_t)id & ((1u << SLOT_BITS) - 1);
    if (id >> 61 != 7 || slot >= SGI_EVENTS_READERS_MAX || rt->readers[slot].id != id)
        return NULL;
    return &rt->readers[slot];
}

sgi_status sgi__rt_events_open(sgi_runtime *rt, uint32_t records_max, uint64_t kinds, sgi_events *events_out,
                               sgi_error *err)
{
    if (records_max > SGI_EVENTS_RECORDS_MAX)
        return sgi__error(err, SGI_E_INVALID, "sgi_events_open: records_max is larger than %u", SGI_EVENTS_RECORDS_MAX);
    if (kinds & ~KINDS_ALL)
        return sgi__error(err, SGI_E_INVALID, "sgi_events_open: kinds has unknown bits: 0x%llx",
                          (unsigned long long)(kinds & ~KINDS_ALL));
    struct sgi__events *events = sgi__events_new(records_max ? records_max : RECORDS_DEFAULT,
                                                 kinds ? kinds : KINDS_ALL);
    if (!events)
        return sgi__error(err, SGI_E_NO_MEMORY, "out of memory for %u records",
                          records_max ? records_max : RECORDS_DEFAULT);
    pthread_mutex_lock(&rt->mutex);
    uint32_t slot = 0;
    while (slot < SGI_EVENTS_READERS_MAX && rt->readers[slot].id)
        slot++;
    if (slot < SGI_EVENTS_READERS_MAX) {
        sgi_events id = READER_KIND | (++rt->call_serial << SLOT_BITS & ~READER_KIND) | slot;
        rt->readers[slot] = (struct event_reader){ .id = id, .events = events, .fd = -1 };
        if (rt->readers_count++ == 0)
            sgi__core_watch(rt->core, true);
        *events_out = id;
    }
    pthread_mutex_unlock(&rt->mutex);
    if (slot == SGI_EVENTS_READERS_MAX) {
        sgi__events_free(events);
        return sgi__error(err, SGI_E_BUSY, "%u readers of events are open already", SGI_EVENTS_READERS_MAX);
    }
    return SGI_OK;
}

sgi_status sgi__rt_events_read(sgi_runtime *rt, sgi_events events, sgi_event *event_out)
{
    sgi_event  event;
    sgi_status st = SGI_E_STALE;

    pthread_mutex_lock(&rt->mutex);
    struct event_reader *r = find(rt, events);
    if (r) {
        st = sgi__events_take(r->events, &event) ? SGI_OK : SGI_E_WOULD_BLOCK;
        if (st == SGI_OK && r->events->count == 0)
            sgi__ready_fd_clear(r->fd);
    }
    pthread_mutex_unlock(&rt->mutex);
    if (st == SGI_OK)
        sgi__sized_out(event_out, &event, sizeof event);
    return st;
}

sgi_status sgi__rt_events_fd(sgi_runtime *rt, sgi_events events, int *fd_out)
{
    sgi_status st = SGI_OK;

    pthread_mutex_lock(&rt->mutex);
    struct event_reader *r = find(rt, events);
    if (r && r->fd < 0)
        r->fd = sgi__ready_fd_open(r->events->count > 0);
    if (!r)
        st = SGI_E_STALE;
    else if (r->fd < 0)
        st = SGI_E_SYSTEM;
    else
        *fd_out = r->fd;
    pthread_mutex_unlock(&rt->mutex);
    return st;
}

static void free_reader(struct event_reader *r)
{
    if (!r->id)
        return;
    if (r->fd >= 0)
        close(r->fd);
    sgi__events_free(r->events);
    r->id = 0;
}

sgi_status sgi__rt_events_close(sgi_runtime *rt, sgi_events events)
{
    struct event_reader gone = { 0 };

    pthread_mutex_lock(&rt->mutex);
    struct event_reader *r = find(rt, events);
    if (r) {
        gone = *r;
        r->id = 0;
        if (--rt->readers_count == 0)
            sgi__core_watch(rt->core, false);
    }
    pthread_mutex_unlock(&rt->mutex);
    free_reader(&gone);
    return r ? SGI_OK : SGI_E_STALE;
}

void sgi__rt_readers_free(sgi_runtime *rt)
{
    for (uint32_t n = 0; n < SGI_EVENTS_READERS_MAX; n++)
        free_reader(&rt->readers[n]);
}

/* ---- models ---- */

void sgi__rt_observe_registered(sgi_runtime *rt, struct record *record)
{
    record->has_series = rt->models_with_series < SGI_METRICS_MODELS_MAX;
    rt->models_with_series += record->has_series;
    sgi__rt_tell(rt, &(sgi_event){ .kind = SGI_EVENT_REGISTERED,
                                   .model = record->id,
                                   .device = -1,
                                   .bytes = record->layout->image_bytes });
}

void sgi__rt_observe_removed(sgi_runtime *rt, const struct record *record)
{
    struct sgi__core_model_view view;

    sgi__core_model_view(rt->core, record->id, &view);
    for (uint32_t n = 0; n < SGI__RESULT_COUNT; n++)
        rt->metrics.removed.acquires[n] += record->counts.acquires[n];
    rt->metrics.removed.acquires[SGI__RESULT_HIT] += view.hits;
    rt->models_with_series -= record->has_series;
    rt->models_removed++;
    sgi__rt_tell(rt, &(sgi_event){ .kind = SGI_EVENT_UNREGISTERED, .model = record->id, .device = -1 });
}

/* ---- requests ---- */

void sgi__rt_observe_queued(sgi_runtime *rt, struct record *record, sgi_ticket ticket)
{
    if (record->queued_ns == 0)
        record->queued_ns = rt->tickets[sgi__core_slot(ticket)].request_ns;
    if (rt->readers_count > 0)
        sgi__rt_tell(rt, &(sgi_event){ .kind = SGI_EVENT_QUEUED, .model = record->id, .ticket = ticket, .device = -1 });
}

/* Nobody is left to be admitted for. */
static void end_queue(const sgi_runtime *rt, struct record *record)
{
    struct sgi__core_model_view view;
    if (record->queued_ns != 0 && sgi__core_model_view(rt->core, record->id, &view) == SGI_OK && view.wants == 0)
        record->queued_ns = 0;
}

static void count(sgi_runtime *rt, struct record *record, bool prefetch, enum sgi__result result)
{
    if (prefetch)
        rt->metrics.prefetches[result]++;
    else if (record)
        record->counts.acquires[result]++;
}

void sgi__rt_observe_busy(sgi_runtime *rt, struct record *record, bool prefetch)
{
    count(rt, record, prefetch, SGI__RESULT_BUSY);
}

/* Who began a cold start has been granted it: how long that took, and each step of it. What was done for an earlier
 * start counts only from the request on. */
static void count_start(sgi_runtime *rt, const struct sgi__report *report, uint64_t request_ns, uint64_t total_ns)
{
    struct sgi__metrics *m = &rt->metrics;
    uint64_t             queued = report->load_start_ns > request_ns ? report->load_start_ns - request_ns : 0;

    sgi__histogram_add(&m->cold_start, total_ns);
    sgi__histogram_add(&m->cold_steps[SGI_STEP_QUEUE], queued < total_ns ? queued : total_ns);
    for (uint32_t step = SGI_STEP_SOURCE; step < SGI_STEP_COUNT; step++) {
        uint64_t start = report->steps[step].start_ns, end = start + report->steps[step].ns;
        if (start != 0 && end > request_ns)
            sgi__histogram_add(&m->cold_steps[step], end - (start > request_ns ? start : request_ns));
    }
}

void sgi__rt_observe_end(sgi_runtime *rt, struct record *record, const struct ticket *ticket,
                         const struct sgi__core_reply *reply)
{
    uint64_t         waited = since(rt, ticket->request_ns);
    bool             granted = reply->kind == SGI__REPLY_GRANT, warm = reply->tier == SGI_TIER_DEVICE;
    enum sgi__result result = !granted                       ? sgi__result_of(reply->status)
                              : warm                         ? SGI__RESULT_HIT
                              : reply->joined                ? SGI__RESULT_JOIN
                              : reply->tier == SGI_TIER_DRAM ? SGI__RESULT_DRAM
                                                             : SGI__RESULT_DISK;

    count(rt, record, ticket->prefetch, result);
    if (record)
        end_queue(rt, record);
    if (granted && !ticket->prefetch)
        sgi__histogram_add(&rt->metrics.wait[result], waited);
    if (granted && record && !warm && !reply->joined)
        count_start(rt, &record->report, ticket->request_ns, waited);
    if (rt->readers_count > 0)
        sgi__rt_tell(rt, &(sgi_event){ .kind = granted ? SGI_EVENT_GRANTED : SGI_EVENT_REFUSED,
                                       .model = reply->model,
                                       .ticket = reply->ticket,
                                       .device = -1,
                                       .tier = granted ? reply->tier : 0,
                                       .status = reply->status,
                                       .step = reply->step,
                                       .duration_ns = waited });
}

/* ---- devices ---- */

/* Time with nothing on a device needs nobody to wake for it: it is counted when that ends, and when somebody asks. */
void sgi__rt_observe_devices(sgi_runtime *rt)
{
    struct sgi__core_device_view view;
    uint64_t                     now = sgi__rt_now(rt);

    for (uint32_t n = 0; n < rt->core_config.devices_count; n++) {
        struct zero *zero = &rt->zeros[n];
        sgi__core_device_view(rt->core, n, &view);
        if (zero->is && now > zero->since_ns)
            zero->ns += now - zero->since_ns;
        zero->is = !view.context_open && view.instances == 0 && !view.lost;
        zero->since_ns = now;
    }
}

/* ---- what the core decides ---- */

void sgi__rt_observe_action(sgi_runtime *rt, const struct sgi__core_action *action)
{
    if (action->kind == SGI__ACT_OPEN_CONTEXT || action->kind == SGI__ACT_RESERVE)
        sgi__rt_observe_devices(rt);
    if (action->kind != SGI__ACT_RESERVE && action->kind != SGI__ACT_START_LOAD)
        return;
    struct record *record = sgi__rt_record(rt, action->model);
    if (action->kind == SGI__ACT_RESERVE && record && record->queued_ns != 0) {
        sgi__histogram_add(&rt->metrics.queue_wait, since(rt, record->queued_ns));
        record->queued_ns = 0;
    }
    if (rt->readers_count == 0)
        return;
    sgi__rt_tell(rt, &(sgi_event){ .kind = action->kind == SGI__ACT_RESERVE ? SGI_EVENT_ADMITTED : SGI_EVENT_LOAD_START,
                                   .model = action->model,
                                   .device = action->device,
                                   .tier = action->tier,
                                   .bytes = action->bytes });
}

static void count_failure(sgi_runtime *rt, sgi_status status, uint32_t step)
{
    rt->metrics.failures[step < SGI_STEP_COUNT ? step : SGI_STEP_NONE]++;
    rt->metrics.wedged += status == SGI_E_WEDGED;
}

void sgi__rt_observe_wedged(sgi_runtime *rt, sgi_model model, uint32_t step)
{
    count_failure(rt, SGI_E_WEDGED, step);
    sgi__rt_tell(rt,
                 &(sgi_event){
                     .kind = SGI_EVENT_WEDGED, .model = model, .device = -1, .status = SGI_E_WEDGED, .step = step });
}

static void forget_error(sgi_runtime *rt, sgi_model model)
{
    struct record *record = sgi__rt_record(rt, model);
    if (record)
        sgi__error_init(&record->last_error);
}

static void count_note(sgi_runtime *rt, const struct sgi__core_reply *note)
{
    struct sgi__metrics *m = &rt->metrics;

    switch (note->note) {
    case SGI__NOTE_STOPS:
        if (note->was_up && note->device >= 0) {
            m->evictions[note->cause]++;
            sgi__age_add(&m->age, note->ns);
        }
        break;
    case SGI__NOTE_RELEASED:
        if (note->device >= 0)
            sgi__histogram_add(&m->unload, note->ns);
        m->residue_bytes += note->residue;
        break;
    case SGI__NOTE_DROPS:
        m->drops[note->cause]++;
        break;
    case SGI__NOTE_FAILED:
        count_failure(rt, note->status, note->step);
        break;
    case SGI__NOTE_READY: /* what its next failure is told with is to be its own */
        forget_error(rt, note->model);
        break;
    case SGI__NOTE_IDLE:
        break;
    }
}

void sgi__rt_observe_note(sgi_runtime *rt, const struct sgi__core_reply *note)
{
    static const uint8_t kinds[] = {
        [SGI__NOTE_READY] = SGI_EVENT_READY,    [SGI__NOTE_IDLE] = SGI_EVENT_IDLE,
        [SGI__NOTE_STOPS] = SGI_EVENT_STOPPING, [SGI__NOTE_RELEASED] = SGI_EVENT_RELEASED,
        [SGI__NOTE_DROPS] = SGI_EVENT_DROPPED,  [SGI__NOTE_FAILED] = SGI_EVENT_FAILED,
    };

    count_note(rt, note);
    if (rt->readers_count > 0)
        sgi__rt_tell(rt,
                     &(sgi_event){ .kind = kinds[note->note],
                                   .model = note->model,
                                   .device = note->device,
                                   .tier = note->tier,
                                   .status = note->status,
                                   .step = note->step,
                                   .cause = note->cause,
                                   .bytes = note->bytes,
                                   .residue_bytes = note->residue,
                                   .duration_ns = note->note == SGI__NOTE_FAILED ? note->retry_after_ns : note->ns });
}

/* ---- what places report ---- */

static void tell_kept(sgi_runtime *rt, sgi_model model, uint64_t bytes)
{
    sgi__rt_tell(rt, &(sgi_event){
                         .kind = SGI_EVENT_KEPT, .model = model, .device = -1, .tier = SGI_TIER_DRAM, .bytes = bytes });
}

static void observe_loaded(sgi_runtime *rt, const struct sgi__core_event *e, const struct sgi__report *report)
{
    struct sgi__metrics *m = &rt->metrics;
    sgi_event            told = { .model = e->model, .device = -1 };

    if (e->status == SGI_E_CHECK || (report && report->reread_bytes > 0)) {
        told.kind = SGI_EVENT_CHECK_FAILED;
        told.bytes = report ? report->reread_bytes : 0;
        m->reread_bytes += told.bytes;
        sgi__rt_tell(rt, &told);
    }
    if (e->status != SGI_OK)
        return; /* whether that is a failure of the model is the core's word */
    told.kind = SGI_EVENT_LOAD_DONE;
    if (report) {
        uint32_t tier = report->tier == SGI_TIER_DRAM ? SGI_TIER_DRAM : SGI_TIER_DISK;
        told.tier = tier;
        told.bytes = report->bytes;
        told.duration_ns = report->load_end_ns - report->load_start_ns;
        m->load_bytes[tier] += report->bytes;
        sgi__histogram_add(&m->load[tier], told.duration_ns);
    }
    sgi__rt_tell(rt, &told);
    if (e->bytes > 0) /* a copy stays beside it */
        tell_kept(rt, e->model, e->bytes);
}

static void tell_device(sgi_runtime *rt, uint32_t kind, int32_t device)
{
    sgi__rt_tell(rt, &(sgi_event){ .kind = kind, .device = device });
}

static void tell_devices(sgi_runtime *rt, uint32_t kind)
{
    for (uint32_t n = 0; n < rt->core_config.devices_count; n++)
        tell_device(rt, kind, (int32_t)n);
}

void sgi__rt_observe_place(sgi_runtime *rt, const struct sgi__core_event *e, const struct sgi__report *report)
{
    struct sgi__core_device_view view;

    sgi__rt_observe_devices(rt);
    switch (e->kind) {
    case SGI__EV_LOADED:
        observe_loaded(rt, e, report);
        break;
    case SGI__EV_PREPARED:
        if (e->status == SGI_OK)
            sgi__rt_tell(rt, &(sgi_event){
                                 .kind = SGI_EVENT_PREPARED, .model = e->model, .device = -1, .bytes = e->bytes });
        break;
    case SGI__EV_DISCARDED:
        sgi__rt_tell(rt, &(sgi_event){ .kind = SGI_EVENT_DISCARDED, .model = e->model, .device = -1 });
        break;
    case SGI__EV_KEPT:
        if (e->status == SGI_OK)
            tell_kept(rt, e->model, e->bytes);
        break;
    case SGI__EV_CONTEXT_OPENED:
        if (e->status == SGI_OK)
            tell_device(rt, SGI_EVENT_DEVICE_OPEN, e->device);
        break;
    case SGI__EV_CONTEXT_CLOSED:
        sgi__core_device_view(rt->core, (uint32_t)e->device, &view);
        if (!view.context_open && view.instances == 0)
            sgi__rt_tell(rt, &(sgi_event){ .kind = SGI_EVENT_DEVICE_ZERO,
                                           .device = e->device,
                                           .residue_bytes = view.bytes_residue });
        break;
    case SGI__EV_CONTEXT_LOST:
        tell_device(rt, SGI_EVENT_DEVICE_LOST, e->device);
        break;
    case SGI__EV_CONTEXT_BACK:
        tell_device(rt, SGI_EVENT_DEVICE_BACK, e->device);
        break;
    case SGI__EV_PLACE_DIED:
        tell_devices(rt, SGI_EVENT_DEVICE_LOST);
        break;
    case SGI__EV_PLACE_UP:
        tell_devices(rt, SGI_EVENT_DEVICE_BACK);
        break;
    default:
        break;
    }
}
