/* SPDX-License-Identifier: Apache-2.0 */
/* Trace, metrics and readers of events: check the arguments, call in. None of it touches an idle timer. */
#include "api_check.h"
#include "base/alloc.h"
#include "runtime/runtime.h"

sgi_status sgi_trace_write(sgi_runtime *rt, sgi_write_fn write, void *user)
{
    sgi_error *err = NULL;
    NOT_NULL(rt);
    NOT_NULL(write);
    struct sgi__trace *copy = sgi__trace_new();
    if (!copy)
        return SGI_E_NO_MEMORY;
    pthread_mutex_lock(&rt->mutex);
    if (rt->trace)
        *copy = *rt->trace; /* so that `write`, which is the caller's, runs without the mutex */
    pthread_mutex_unlock(&rt->mutex);
    sgi_status st = sgi__trace_write(copy, write, user);
    sgi__trace_free(copy);
    return st;
}

sgi_status sgi_metrics_write(sgi_runtime *rt, sgi_write_fn write, void *user)
{
    sgi_error *err = NULL;
    NOT_NULL(rt);
    NOT_NULL(write);
    struct sgi__metrics_snapshot *copy = sgi__rt_metrics(rt);
    if (!copy)
        return SGI_E_NO_MEMORY;
    sgi_status st = sgi__metrics_text(copy, write, user);
    sgi__free(copy);
    return st;
}

sgi_status sgi_metrics_snapshot(sgi_runtime *rt, sgi_sample_fn each, void *user)
{
    sgi_error *err = NULL;
    NOT_NULL(rt);
    NOT_NULL(each);
    struct sgi__metrics_snapshot *copy = sgi__rt_metrics(rt);
    if (!copy)
        return SGI_E_NO_MEMORY;
    sgi_status st = sgi__metrics_each(copy, each, user);
    sgi__free(copy);
    return st;
}

sgi_status sgi_events_open(sgi_runtime *rt, uint32_t records_max, uint64_t kinds, sgi_events *events_out,
                           sgi_error *err)
{
    NOT_NULL(rt);
    NOT_NULL(events_out);
    return sgi__rt_events_open(rt, records_max, kinds, events_out, err);
}

sgi_status sgi_events_read(sgi_runtime *rt, sgi_events events, sgi_event *event_out)
{
    sgi_error *err = NULL;
    NOT_NULL(rt);
    SIZED(event_out);
    return sgi__rt_events_read(rt, events, event_out);
}

sgi_status sgi_events_fd(sgi_runtime *rt, sgi_events events, int *fd_out)
{
    sgi_error *err = NULL;
    NOT_NULL(rt);
    NOT_NULL(fd_out);
    return sgi__rt_events_fd(rt, events, fd_out);
}

sgi_status sgi_events_close(sgi_runtime *rt, sgi_events events)
{
    sgi_error *err = NULL;
    NOT_NULL(rt);
    return sgi__rt_events_close(rt, events);
}
