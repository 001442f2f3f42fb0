/* SPDX-License-Identifier: Apache-2.0 */
/* Events: a place in a stream, as it was when it was last recorded. */
#include <stdlib.h>

#include "internal.h"

static struct event *event_of(cu_event handle)
{
    return fc_handle_get(KIND_EVENT, (uintptr_t)handle);
}

cu_result cuEventCreate(cu_event *event, unsigned int flags)
{
    cu_result code = fc_enter(CALL_cuEventCreate, USES_CONTEXT);
    if (code != CU_OK)
        return code;
    if (!event || flags > (CU_EVENT_SLEEPS | CU_EVENT_NO_TIMING))
        return fc_leave(CU_INVALID_VALUE);
    struct event *made = calloc(1, sizeof *made);
    if (!made)
        return fc_leave(CU_OUT_OF_MEMORY);
    *made = (struct event){ .context = fc_current(), .flags = flags };
    made->handle = (cu_event)(uintptr_t)fc_handle_make(KIND_EVENT, made);
    *event = made->handle;
    return fc_leave(CU_OK);
}

/* What waits for it has its record. */
cu_result cuEventDestroy_v2(cu_event event)
{
    cu_result code = fc_enter(CALL_cuEventDestroy_v2, USES_CONTEXT);
    if (code != CU_OK)
        return code;
    struct event *found = event_of(event);
    if (!found)
        return fc_leave(CU_INVALID_HANDLE);
    fc_handle_drop((uintptr_t)event);
    fc_record_unref(found->record);
    free(found);
    return fc_leave(CU_OK);
}

static cu_result record(struct event *event, struct stream *stream)
{
    struct work *work = fc_work_new(WORK_RECORD);
    if (!work)
        return CU_OUT_OF_MEMORY;
    work->record = fc_record_new(stream, 0);
    if (!work->record) {
        free(work);
        return CU_OUT_OF_MEMORY;
    }
    work->record->serial = fc_submit(stream, work);
    work->record->refs++;
    fc_record_unref(event->record);
    event->record = work->record;
    return CU_OK;
}

cu_result cuEventRecord(cu_event event, cu_stream stream)
{
    cu_result code = fc_enter(CALL_cuEventRecord, USES_CONTEXT);
    if (code != CU_OK)
        return code;
    struct event  *found = event_of(event);
    struct stream *on = fc_stream_of(stream, &code);
    if (!found || !on || found->context != on->context)
        return fc_leave(code == CU_OK ? CU_INVALID_HANDLE : code);
    return fc_leave(record(found, on));
}

cu_result cuEventQuery(cu_event event)
{
    cu_result code = fc_enter(CALL_cuEventQuery, USES_CONTEXT);
    if (code != CU_OK)
        return code;
    struct event *found = event_of(event);
    if (!found)
        return fc_leave(CU_INVALID_HANDLE);
    if (!found->record)
        return fc_leave(CU_OK);
    if (!fc_record_is_done(found->record))
        return fc_leave(CU_NOT_READY);
    fc_edge_out(found->record);
    fc_observe(found->record->stream, found->record->serial);
    return fc_leave(CU_OK);
}

cu_result cuEventSynchronize(cu_event event)
{
    cu_result code = fc_enter(CALL_cuEventSynchronize, USES_CONTEXT);
    if (code != CU_OK)
        return code;
    struct event *found = event_of(event);
    if (!found)
        return fc_leave(CU_INVALID_HANDLE);
    struct record *waited = found->record; /* another may take its place meanwhile */
    if (!waited)
        return fc_leave(CU_OK);
    waited->refs++;
    while (!fc_record_is_done(waited) && fc.sticky == CU_OK)
        fc_wait(&fc.done);
    fc_settle();
    if (fc.sticky == CU_OK) {
        fc_edge_out(waited);
        fc_observe(waited->stream, waited->serial);
    }
    fc_record_unref(waited);
    return fc_leave(fc.sticky);
}

cu_result cuStreamWaitEvent(cu_stream stream, cu_event event, unsigned int flags)
{
    cu_result code = fc_enter(CALL_cuStreamWaitEvent, USES_CONTEXT);
    if (code != CU_OK)
        return code;
    struct event  *found = event_of(event);
    struct stream *on = fc_stream_of(stream, &code);
    if (!found || !on)
        return fc_leave(code == CU_OK ? CU_INVALID_HANDLE : code);
    if (flags != 0)
        return fc_leave(CU_INVALID_VALUE);
    if (!found->record)
        return fc_leave(CU_OK);
    struct work *work = fc_work_new(WORK_WAIT);
    if (!work)
        return fc_leave(CU_OUT_OF_MEMORY);
    work->record = found->record;
    work->record->refs++;
    fc_submit(on, work);
    return fc_leave(CU_OK);
}

static cu_result elapsed(float *ms, cu_event from, cu_event to)
{
    struct event *first = event_of(from), *last = event_of(to);
    if (!ms)
        return CU_INVALID_VALUE;
    if (!first || !last || !first->record || !last->record || ((first->flags | last->flags) & CU_EVENT_NO_TIMING) != 0)
        return CU_INVALID_HANDLE;
    if (!fc_record_is_done(first->record) || !fc_record_is_done(last->record))
        return CU_NOT_READY;
    *ms = (float)((double)(int64_t)(last->record->done_ns - first->record->done_ns) / 1e6);
    return CU_OK;
}

cu_result cuEventElapsedTime(float *ms, cu_event from, cu_event to)
{
    cu_result code = fc_enter(CALL_cuEventElapsedTime, USES_CONTEXT);
    return code == CU_OK ? fc_leave(elapsed(ms, from, to)) : code;
}

cu_result cuEventElapsedTime_v2(float *ms, cu_event from, cu_event to)
{
    cu_result code = fc_enter(CALL_cuEventElapsedTime_v2, USES_CONTEXT);
    return code == CU_OK ? fc_leave(elapsed(ms, from, to)) : code;
}
