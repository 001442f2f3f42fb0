/* SPDX-License-Identifier: Apache-2.0 */
/* What can be done with a lease, and the calls made on one: check the arguments, call in. */
#include <string.h>

#include "api_check.h"
#include "base/thread.h"
#include "runtime/runtime.h"

/* ---- leases ---- */

sgi_status sgi_lease_release(sgi_runtime *rt, sgi_lease lease)
{
    sgi_error *err = NULL;
    NOT_NULL(rt);
    sgi__rt_enter(rt);
    sgi_status st = sgi__core_release(rt->core, sgi__rt_now(rt), lease);
    sgi__rt_leave(rt);
    return st;
}

/* Under the mutex: what took a lease's instance from it. */
static sgi_status why_lost(sgi_runtime *rt, const struct sgi__core_lease_view *v, sgi_error *err)
{
    const struct record *r = sgi__rt_record(rt, v->model);

    if (r && r->last_error.code == v->lost_status)
        sgi__error_copy(err, &r->last_error);
    else if (rt->context_error.code == v->lost_status) /* its device's, which is no model's */
        sgi__error_copy(err, &rt->context_error);
    else
        sgi__error(err, v->lost_status, "%s", sgi_status_text(v->lost_status));
    sgi__rt_name_model(rt, v->model, err);
    return v->lost_status;
}

/* The lease cannot be released until let_go(), so its instance stays. */
static sgi_status hold(sgi_runtime *rt, const char *function, sgi_lease lease, struct sgi__core_lease_view *v,
                       sgi_error *err)
{
    pthread_mutex_lock(&rt->mutex);
    sgi_status st = sgi__core_lease_hold(rt->core, lease, v);
    bool       lost = st == SGI_OK && v->lost;
    if (lost) {
        sgi__core_lease_unhold(rt->core, lease);
        st = why_lost(rt, v, err);
    }
    pthread_mutex_unlock(&rt->mutex);
    return st == SGI_OK || lost ? st : sgi__rt_stale(err, function, SGI__ID_LEASE, lease);
}

/* Of a lease that is held. */
static sgi_status still_loading(sgi_runtime *rt, sgi_model model, sgi_error *err)
{
    sgi__error(err, SGI_E_BUSY, "still loading: wait for its tensors first");
    pthread_mutex_lock(&rt->mutex);
    sgi__rt_name_model(rt, model, err);
    pthread_mutex_unlock(&rt->mutex);
    return SGI_E_BUSY;
}

/* Whoever waited for a load that was canceled is told what that was canceled for. */
static sgi_status let_go(sgi_runtime *rt, sgi_lease lease, sgi_status st, sgi_error *err)
{
    struct sgi__core_lease_view v;

    pthread_mutex_lock(&rt->mutex);
    if (st == SGI_E_CANCELED && sgi__core_lease_view(rt->core, lease, &v) == SGI_OK && v.lost)
        st = why_lost(rt, &v, err);
    sgi__core_lease_unhold(rt->core, lease);
    pthread_mutex_unlock(&rt->mutex);
    return st;
}

sgi_status sgi_lease_tensor(sgi_runtime *rt, sgi_lease lease, uint64_t index, sgi_view *view_out, sgi_error *err)
{
    struct sgi__core_lease_view v;
    sgi_view                    view = { 0 };
    NOT_NULL(rt);
    SIZED(view_out);
    sgi_status st = hold(rt, __func__, lease, &v, err);
    if (st != SGI_OK)
        return st;
    st = rt->place_ops->tensor(rt->place, v.instance, index, &view, err);
    st = let_go(rt, lease, st, err);
    if (st == SGI_OK)
        sgi__sized_out(view_out, &view, sizeof view);
    return st;
}

sgi_status sgi_lease_tensor_wait(sgi_runtime *rt, sgi_lease lease, uint64_t index, uint32_t timeout_ms, sgi_error *err)
{
    struct sgi__core_lease_view v;
    NOT_NULL(rt);
    if (sgi__thread_in_library())
        return not_here(err, __func__);
    sgi_status st = hold(rt, __func__, lease, &v, err);
    if (st != SGI_OK)
        return st;
    st = rt->place_ops->tensor_wait(rt->place, v.instance, index, sgi__rt_wait_deadline(timeout_ms), err);
    return let_go(rt, lease, st, err);
}

sgi_status sgi_lease_tensor_digest(sgi_runtime *rt, sgi_lease lease, uint64_t index, uint64_t *xxh3_out, sgi_error *err)
{
    struct sgi__core_lease_view v;
    NOT_NULL(rt);
    NOT_NULL(xxh3_out);
    if (sgi__thread_in_library())
        return not_here(err, __func__);
    sgi_status st = hold(rt, __func__, lease, &v, err);
    if (st != SGI_OK)
        return st;
    st = rt->place_ops->tensor_digest(rt->place, v.instance, index, xxh3_out, err);
    return let_go(rt, lease, st, err);
}

sgi_status sgi_lease_tensor_read(sgi_runtime *rt, sgi_lease lease, uint64_t index, uint64_t offset, void *dst,
                                 uint64_t bytes, sgi_error *err)
{
    struct sgi__core_lease_view v;
    NOT_NULL(rt);
    if (bytes > 0)
        NOT_NULL(dst);
    if (sgi__thread_in_library())
        return not_here(err, __func__);
    sgi_status st = hold(rt, __func__, lease, &v, err);
    if (st != SGI_OK)
        return st;
    st = rt->place_ops->tensor_read(rt->place, v.instance, index, offset, dst, bytes, err);
    return let_go(rt, lease, st, err);
}

sgi_status sgi_lease_image(sgi_runtime *rt, sgi_lease lease, uint32_t part, sgi_image *image_out, sgi_error *err)
{
    struct sgi__core_lease_view v;
    sgi_image                   image = { .fd = -1 };
    NOT_NULL(rt);
    SIZED(image_out);
    sgi_status st = hold(rt, __func__, lease, &v, err);
    if (st != SGI_OK)
        return st;
    if (v.loading)
        st = still_loading(rt, v.model, err);
    else
        st = rt->place_ops->image(rt->place, v.instance, part, &image, err);
    st = let_go(rt, lease, st, err);
    if (st == SGI_OK)
        sgi__sized_out(image_out, &image, sizeof image);
    return st;
}

sgi_status sgi_lease_run(sgi_runtime *rt, sgi_lease lease, sgi_run_fn fn, void *user, sgi_error *err)
{
    struct sgi__core_lease_view v;
    NOT_NULL(rt);
    NOT_NULL(fn);
    sgi_status st = hold(rt, __func__, lease, &v, err);
    if (st != SGI_OK)
        return st;
    st = rt->place_ops->run(rt->place, v.instance, sgi__core_slot(lease), fn, user, err);
    return let_go(rt, lease, st, err);
}

sgi_status sgi_lease_stream(sgi_runtime *rt, sgi_lease lease, void **stream_out, sgi_error *err)
{
    struct sgi__core_lease_view v;
    NOT_NULL(rt);
    NOT_NULL(stream_out);
    sgi_status st = hold(rt, __func__, lease, &v, err);
    if (st != SGI_OK)
        return st;
    st = rt->place_ops->stream(rt->place, v.instance, sgi__core_slot(lease), stream_out, err);
    return let_go(rt, lease, st, err);
}

sgi_status sgi_lease_tensor_on(sgi_runtime *rt, sgi_lease lease, uint64_t index, void *stream, sgi_error *err)
{
    struct sgi__core_lease_view v;
    NOT_NULL(rt);
    if (sgi__thread_in_library())
        return not_here(err, __func__);
    sgi_status st = hold(rt, __func__, lease, &v, err);
    if (st != SGI_OK)
        return st;
    st = rt->place_ops->tensor_order(rt->place, v.instance, index, stream, err);
    return let_go(rt, lease, st, err);
}

/* What was done for an earlier start cost this request nothing: only steps that ended after the request count, from the
 * request on. */
static void fill_phases(const struct sgi__report *report, uint64_t request, uint64_t grant, sgi_timing *t)
{
    for (uint32_t step = 0; step < SGI_STEP_COUNT; step++) {
        uint64_t start = report->steps[step].start_ns, end = start + report->steps[step].ns;
        if (start == 0 || end <= request)
            continue;
        uint64_t from = start > request ? start - request : 0;
        t->phases[step] = (sgi_phase){ .start_ns = from, .duration_ns = end - request - from };
    }
    uint64_t queued = report->load_start_ns > request ? report->load_start_ns - request : 0;
    if (queued > grant - request)
        queued = grant - request;
    t->phases[SGI_STEP_QUEUE].duration_ns = queued;
}

sgi_status sgi_lease_timing(sgi_runtime *rt, sgi_lease lease, sgi_timing *timing_out)
{
    sgi_error                  *err = NULL;
    struct sgi__core_lease_view v;
    struct sgi__report          report;
    NOT_NULL(rt);
    SIZED(timing_out);
    sgi_status st = hold(rt, __func__, lease, &v, err);
    if (st != SGI_OK)
        return st;
    sgi_timing t = {
        .tier = v.tier, .joined = v.joined, .request_ns = v.requested_at, .total_ns = v.granted_at - v.requested_at
    };
    if (v.loading)
        st = SGI_E_BUSY;
    else if (v.tier != SGI_TIER_DEVICE)
        st = rt->place_ops->report(rt->place, v.instance, &report);
    if (st == SGI_OK && v.tier != SGI_TIER_DEVICE) {
        fill_phases(&report, v.requested_at, v.granted_at, &t);
        t.load_ns = report.load_end_ns - report.load_start_ns;
        t.bytes = report.bytes;
        t.cpu_ns = report.cpu_ns;
        t.bounced_bytes = report.bounced_bytes;
        t.reread_bytes = report.reread_bytes;
        t.limited_ns = report.limited_ns;
        t.read_bytes = report.stored_bytes;
        t.direct = report.direct;
        memcpy(t.engine, report.engine, sizeof t.engine);
    }
    st = let_go(rt, lease, st, err);
    if (st == SGI_OK)
        sgi__sized_out(timing_out, &t, sizeof t);
    return st;
}

/* ---- calls ---- */

sgi_status sgi_call_begin(sgi_runtime *rt, sgi_lease lease, const void *request, size_t request_bytes, uint64_t tag,
                          sgi_call *call_out, sgi_error *err)
{
    NOT_NULL(rt);
    NOT_NULL(call_out);
    if (request_bytes > 0)
        NOT_NULL(request);
    return sgi__rt_call_begin(rt, lease, request, request_bytes, tag, false, call_out, err);
}

sgi_status sgi_call_read(sgi_runtime *rt, sgi_call call, void *buffer, size_t capacity, size_t *bytes_out,
                         sgi_error *err)
{
    NOT_NULL(rt);
    NOT_NULL(buffer);
    NOT_NULL(bytes_out);
    if (capacity == 0)
        return sgi__error(err, SGI_E_INVALID, "%s: capacity is 0", __func__);
    return sgi__rt_call_read(rt, call, buffer, capacity, bytes_out, err);
}

sgi_status sgi_call_wait(sgi_runtime *rt, sgi_call call, uint32_t timeout_ms, sgi_error *err)
{
    NOT_NULL(rt);
    if (sgi__thread_in_library())
        return not_here(err, __func__);
    return sgi__rt_call_wait_piece(rt, call, timeout_ms, err);
}

sgi_status sgi_call_cancel(sgi_runtime *rt, sgi_call call)
{
    sgi_error *err = NULL;
    NOT_NULL(rt);
    return sgi__rt_call_cancel(rt, call);
}

sgi_status sgi_call_end(sgi_runtime *rt, sgi_call call)
{
    sgi_error *err = NULL;
    NOT_NULL(rt);
    return sgi__rt_call_end(rt, call);
}

sgi_status sgi_lease_call(sgi_runtime *rt, sgi_lease lease, const void *request, size_t request_bytes,
                          uint32_t timeout_ms, sgi_piece_fn on_piece, void *user, sgi_error *err)
{
    NOT_NULL(rt);
    if (request_bytes > 0)
        NOT_NULL(request);
    if (sgi__thread_in_library())
        return not_here(err, __func__);
    return sgi__rt_call_wait(rt, lease, request, request_bytes, timeout_ms, on_piece, user, err);
}

sgi_status sgi_lease_cancel(sgi_runtime *rt, sgi_lease lease)
{
    sgi_error *err = NULL;
    NOT_NULL(rt);
    return sgi__rt_lease_cancel(rt, lease);
}
