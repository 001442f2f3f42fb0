/* SPDX-License-Identifier: Apache-2.0 */
/* What drives the core: events in, replies and actions out, and the one thread that wakes for deadlines. */
#include "runtime/runtime.h"

#include "base/error.h"
#include "base/log.h"
#include "base/thread.h"

uint64_t sgi__rt_now(const sgi_runtime *rt)
{
    return rt->clock.now_ns ? rt->clock.now_ns(rt->clock.user) : sgi__clock_now_ns();
}

uint64_t sgi__rt_wait_deadline(uint32_t timeout_ms)
{
    return timeout_ms == SGI_FOREVER ? UINT64_MAX : sgi__clock_now_ns() + (uint64_t)timeout_ms * 1000000u;
}

void sgi__rt_enter(sgi_runtime *rt)
{
    pthread_mutex_lock(&rt->mutex);
    rt->inside++;
}

/* The last thing a thread does with the runtime; under the mutex. */
void sgi__rt_outside(sgi_runtime *rt)
{
    rt->inside--;
    if (rt->closed)
        pthread_cond_broadcast(&rt->changed);
}

/* ---- out: replies ---- */

static void hand_on_replies(sgi_runtime *rt)
{
    struct sgi__core_reply reply;

    while (sgi__core_take_reply(rt->core, &reply))
        switch (reply.kind) {
        case SGI__REPLY_GRANT:
            sgi__rt_granted(rt, &reply);
            break;
        case SGI__REPLY_REJECT:
            sgi__rt_rejected(rt, &reply);
            break;
        case SGI__REPLY_OVERDUE:
            sgi__rt_lease_overdue(rt, reply.lease);
            sgi__rt_tell(rt, &(sgi_event){ .kind = SGI_EVENT_OVERDUE, .model = reply.model, .device = -1 });
            break;
        case SGI__REPLY_WEDGED:
            sgi__rt_calls_wedged(rt, reply.model, reply.instance);
            sgi__rt_observe_wedged(rt, reply.model, reply.step);
            break;
        case SGI__REPLY_NOTE:
            sgi__rt_observe_note(rt, &reply);
            break;
        case SGI__REPLY_DRAINED:
            pthread_cond_broadcast(&rt->changed);
            break;
        case SGI__REPLY_CLOSED:
            rt->closed = true;
            pthread_cond_broadcast(&rt->changed);
            break;
        }
}

/* ---- out: actions ---- */

static void carry_out(sgi_runtime *rt, const struct sgi__core_action *a)
{
    const struct sgi__place_ops *ops = rt->place_ops;
    struct sgi__place           *p = rt->place;

    switch (a->kind) {
    case SGI__ACT_CHECK_SOURCE:
        ops->check_source(p, a->op, a->model);
        break;
    case SGI__ACT_OPEN_CONTEXT:
        ops->context_open(p, a->op, a->device);
        break;
    case SGI__ACT_CLOSE_CONTEXT:
        ops->context_close(p, a->op, a->device);
        break;
    case SGI__ACT_RESERVE:
        ops->reserve(p, a->op, a->model, a->instance, a->device, a->tier, a->packed, a->shared_bytes);
        break;
    case SGI__ACT_START_LOAD:
        ops->load(p, a->op, a->model, a->instance, a->priority,
                  !a->keep    ? SGI__KEEP_NOTHING
                  : a->packed ? SGI__KEEP_PACKED
                              : SGI__KEEP_IMAGE,
                  a->shared_bytes);
        break;
    case SGI__ACT_FILL_PREFIX:
        ops->fill_prefix(p, a->op, a->model, a->instance);
        break;
    case SGI__ACT_CANCEL_LOAD:
        ops->cancel(p, a->instance);
        break;
    case SGI__ACT_LOAD_PRIORITY:
        ops->load_priority(p, a->instance, a->priority);
        break;
    case SGI__ACT_PREPARE:
        ops->prepare(p, a->op, a->model);
        break;
    case SGI__ACT_DISCARD:
        ops->discard(p, a->op, a->model);
        break;
    case SGI__ACT_START_ENGINE:
        ops->engine_start(p, a->op, a->model, a->instance);
        break;
    case SGI__ACT_STOP_ENGINE:
        ops->engine_stop(p, a->op, a->model, a->instance);
        break;
    case SGI__ACT_FREE:
        ops->free(p, a->op, a->model, a->instance);
        break;
    case SGI__ACT_KEEP:
        ops->keep(p, a->op, a->model, a->instance);
        break;
    case SGI__ACT_DROP:
        ops->drop(p, a->op, a->model);
        break;
    case SGI__ACT_SPARE_LIMIT:
        ops->spare_limit(p, a->bytes);
        break;
    case SGI__ACT_LOOK:
        ops->look(p, a->device);
        break;
    }
}

void sgi__rt_leave(sgi_runtime *rt)
{
    struct sgi__core_action action;

    hand_on_replies(rt);
    if (!rt->dispatching) {
        rt->dispatching = true; /* one thread at a time, so that actions are carried out in their order */
        while (sgi__core_take_action(rt->core, &action)) {
            sgi__rt_observe_action(rt, &action);
            pthread_mutex_unlock(&rt->mutex);
            carry_out(rt, &action);
            pthread_mutex_lock(&rt->mutex);
            hand_on_replies(rt);
        }
        rt->dispatching = false;
    }
    if (rt->cancels_due > 0)
        sgi__rt_calls_tell_canceled(rt);
    uint64_t wake = sgi__core_wake_at(rt->core);
    if (wake < rt->armed) {
        rt->armed = wake;
        pthread_cond_signal(&rt->wake);
    }
    if (!rt->done_head) {
        sgi__rt_outside(rt);
        pthread_mutex_unlock(&rt->mutex);
        return;
    }
    struct completion *done = rt->done_head;
    rt->done_head = rt->done_tail = NULL;
    pthread_mutex_unlock(&rt->mutex);
    sgi__completions_hand_over(rt, done);
    pthread_mutex_lock(&rt->mutex);
    sgi__rt_outside(rt);
    pthread_mutex_unlock(&rt->mutex);
}

/* ---- in: what places report ---- */

static enum sgi__core_event_kind core_kind(enum sgi__place_event_kind kind)
{
    static const uint8_t map[] = {
        [SGI__PLACE_SOURCE_CHECKED] = SGI__EV_SOURCE_CHECKED,
        [SGI__PLACE_CONTEXT_OPENED] = SGI__EV_CONTEXT_OPENED,
        [SGI__PLACE_CONTEXT_CLOSED] = SGI__EV_CONTEXT_CLOSED,
        [SGI__PLACE_CONTEXT_LOST] = SGI__EV_CONTEXT_LOST,
        [SGI__PLACE_CONTEXT_BACK] = SGI__EV_CONTEXT_BACK,
        [SGI__PLACE_RESERVED] = SGI__EV_RESERVED,
        [SGI__PLACE_LOADED] = SGI__EV_LOADED,
        [SGI__PLACE_PREFIX_FILLED] = SGI__EV_PREFIX_FILLED,
        [SGI__PLACE_ENGINE_STARTED] = SGI__EV_ENGINE_STARTED,
        [SGI__PLACE_ENGINE_STOPPED] = SGI__EV_ENGINE_STOPPED,
        [SGI__PLACE_PREPARED] = SGI__EV_PREPARED,
        [SGI__PLACE_DISCARDED] = SGI__EV_DISCARDED,
        [SGI__PLACE_FREED] = SGI__EV_FREED,
        [SGI__PLACE_KEPT] = SGI__EV_KEPT,
        [SGI__PLACE_DROPPED] = SGI__EV_DROPPED,
        [SGI__PLACE_DIED] = SGI__EV_PLACE_DIED,
        [SGI__PLACE_UP] = SGI__EV_PLACE_UP,
        [SGI__PLACE_FOREIGN] = SGI__EV_FOREIGN,
    };
    return (enum sgi__core_event_kind)map[kind];
}

/* A callback may return anything; what is not one of ours would be read wrongly further up. */
static sgi_status own_status(sgi_status status)
{
    return status > 0 || sgi_status_name(status)[6] == '?' ? SGI_E_ENGINE : status;
}

/* The core tells the first cause; what else fails on the way out, perhaps only because that is canceled, must not take
 * the place of its words. A residence that could not be made is a cause of its own. */
static bool is_cause(const sgi_runtime *rt, const struct sgi__core_event *event)
{
    struct sgi__core_instance_view view;

    if (event->instance == 0 || event->kind == SGI__EV_KEPT)
        return true;
    return sgi__core_instance_view(rt->core, event->instance, &view) == SGI_OK && view.state != SGI_MODEL_STOPPING &&
           view.state != SGI_MODEL_WEDGED;
}

/* Under the mutex. Two looks may come here in another order than they were made in: the bytes of the later one. */
static uint64_t latest_look(sgi_runtime *rt, const struct sgi__place_event *event)
{
    struct look *last = &rt->looks[event->device];

    if (event->look >= last->number)
        *last = (struct look){ event->look, event->bytes };
    return last->bytes;
}

void sgi__rt_place_event(void *user, const struct sgi__place_event *event)
{
    sgi_runtime *rt = user;

    if (event->kind == SGI__PLACE_CALLED) {
        sgi__rt_called(rt, event);
        return;
    }
    struct sgi__core_event e = { .kind = core_kind(event->kind),
                                 .status = own_status(event->status),
                                 .device = event->device,
                                 .op = event->op,
                                 .model = event->model,
                                 .instance = event->instance,
                                 .bytes = event->bytes,
                                 .shared_bytes = event->shared_bytes };
    if (event->error)
        e.step = event->error->step;

    /* Asked now, for once the core knows of it the instance may be granted, released and gone. */
    struct sgi__report report = { 0 };
    bool               reports = e.status == SGI_OK && (e.kind == SGI__EV_LOADED || e.kind == SGI__EV_ENGINE_STARTED) &&
                   rt->place_ops->report(rt->place, e.instance, &report) == SGI_OK;

    sgi__rt_enter(rt);
    struct record *record = event->model ? sgi__rt_record(rt, event->model) : NULL;
    if (record && (reports || e.kind == SGI__EV_RESERVED))
        record->report = report;
    if (e.status != SGI_OK && event->error && is_cause(rt, &e)) {
        sgi_error *keep = record ? &record->last_error : &rt->context_error;
        sgi__error_copy(keep, event->error);
        keep->code = e.status;
    }
    if (e.kind == SGI__EV_PLACE_DIED)
        sgi__rt_calls_died(rt);
    if (e.kind == SGI__EV_FOREIGN)
        e.bytes = latest_look(rt, event);
    if (sgi__core_event(rt->core, sgi__rt_now(rt), &e))
        sgi__rt_observe_place(rt, &e, reports ? &report : NULL);
    rt->metrics.scrub_bytes += event->scrub_bytes;
    rt->metrics.scrub_ns += event->scrub_ns;
    sgi__rt_leave(rt);

    if (e.status != SGI_OK && e.status != SGI_E_CANCELED && event->error)
        sgi__log(SGI_LOG_WARN, "%s: %s (%s)", sgi_step_name(e.step), sgi__error_message(event->error, e.status),
                 sgi_status_name(e.status));
}

sgi_status sgi__rt_engine_bytes(void *user, uint64_t instance, uint64_t bytes, bool at_least, uint64_t *before_out,
                                sgi_error *err)
{
    sgi_runtime            *rt = user;
    struct sgi__core_charge charge = { 0 };

    sgi__rt_enter(rt);
    sgi_status st = sgi__core_engine_bytes(rt->core, sgi__rt_now(rt), instance, bytes, at_least, &charge);
    sgi__rt_leave(rt);
    *before_out = charge.before;
    if (st == SGI_E_DEVICE_MEMORY)
        return sgi__error(err, st, "the engine needs %llu bytes beside the weights; the device has %llu for it",
                          (unsigned long long)bytes, (unsigned long long)charge.room);
    if (st != SGI_OK)
        return sgi__error(err, st, st == SGI_E_DEVICE_LOST ? "the device is gone" : "the instance is gone");
    return SGI_OK;
}

/* ---- the thread ---- */

static void *library_thread(void *arg)
{
    sgi_runtime *rt = arg;

    sgi__thread_enter_library();
    pthread_mutex_lock(&rt->mutex);
    while (!rt->stop) {
        if (rt->orphans_head) {
            sgi__completions_run_orphans(rt);
            continue;
        }
        uint64_t wake = sgi__core_wake_at(rt->core);
        if (wake <= sgi__rt_now(rt)) {
            rt->armed = 0; /* awake: nobody needs to signal */
            rt->inside++;
            sgi__core_tick(rt->core, sgi__rt_now(rt));
            sgi__rt_leave(rt);
            pthread_mutex_lock(&rt->mutex);
            continue;
        }
        rt->armed = wake;
        /* With another clock than the real one, whoever moves it pokes. */
        sgi__cond_wait(&rt->wake, &rt->mutex, rt->clock.now_ns ? UINT64_MAX : wake);
    }
    pthread_mutex_unlock(&rt->mutex);
    sgi__thread_leave_library();
    return NULL;
}

sgi_status sgi__rt_thread_start(sgi_runtime *rt, sgi_error *err)
{
    int e = sgi__thread_start(&rt->thread, "sgi-timer", library_thread, rt);
    return e ? sgi__error_sys(err, SGI_E_SYSTEM, e, "start the library thread") : SGI_OK;
}

void sgi__rt_thread_stop(sgi_runtime *rt)
{
    pthread_mutex_lock(&rt->mutex);
    rt->stop = true;
    pthread_cond_signal(&rt->wake);
    pthread_mutex_unlock(&rt->mutex);
    pthread_join(rt->thread, NULL);
}

void sgi__rt_pressure(void *user)
{
    sgi_runtime *rt = user;

    sgi__rt_enter(rt);
    sgi__core_pressure(rt->core, sgi__rt_now(rt));
    sgi__rt_leave(rt);
}

void sgi__rt_poke(sgi_runtime *rt)
{
    sgi__rate_poke(&rt->rate);
    sgi__rt_enter(rt);
    sgi__core_tick(rt->core, sgi__rt_now(rt));
    sgi__rt_leave(rt);
}
