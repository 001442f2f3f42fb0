/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Capture of streams, as far as it concerns who does not capture: which calls a thread may not make while somebody
 * does, and that such a call spoils the capture. What is queued on a captured stream is refused, so a graph is empty.
 */
#include <stdlib.h>

#include "internal.h"

enum { STATUS_NONE, STATUS_ACTIVE, STATUS_SPOILED };

/* By the manual they may wait, or change what a graph would use. Those of streams are refused by it only for captured
 * ones; here, and in drivers that were met, for all. */
static const bool unsafe[CALL_COUNT] = {
    [CALL_cuCtxSynchronize] = true,
    [CALL_cuMemAlloc_v2] = true,
    [CALL_cuMemFree_v2] = true,
    [CALL_cuMemHostAlloc] = true,
    [CALL_cuMemFreeHost] = true,
    [CALL_cuMemHostRegister_v2] = true,
    [CALL_cuMemHostUnregister] = true,
    [CALL_cuMemCreate] = true,
    [CALL_cuMemRelease] = true,
    [CALL_cuMemMap] = true,
    [CALL_cuMemUnmap] = true,
    [CALL_cuMemSetAccess] = true,
    [CALL_cuMemAddressReserve] = true,
    [CALL_cuMemAddressFree] = true,
    [CALL_cuMemcpyHtoD_v2] = true,
    [CALL_cuMemcpyDtoH_v2] = true,
    [CALL_cuMemcpyDtoD_v2] = true,
    [CALL_cuMemsetD8_v2] = true,
    [CALL_cuMemsetD32_v2] = true,
    [CALL_cuStreamQuery] = true,
    [CALL_cuStreamSynchronize] = true,
    [CALL_cuEventQuery] = true,
    [CALL_cuEventSynchronize] = true,
    [CALL_cuStreamDestroy_v2] = true,
    [CALL_cuModuleLoadDataEx] = true,
    [CALL_cuModuleUnload] = true,
    [CALL_cuDevicePrimaryCtxRetain] = true,
    [CALL_cuDevicePrimaryCtxRelease_v2] = true,
};

/* A capture forbids it to the thread that began it, unless that was relaxed about it, and a global one to all. */
static bool is_against(const struct stream *stream)
{
    if (!stream->captured || stream->capture_mode == CU_CAPTURE_RELAXED)
        return false;
    return stream->captured_by == &fc_thread ||
           (stream->capture_mode == CU_CAPTURE_GLOBAL && fc_thread.capture_mode == CU_CAPTURE_GLOBAL);
}

cu_result fc_capture_forbids(enum call call)
{
    cu_result code = CU_OK;

    if (!unsafe[call] || fc_thread.capture_mode == CU_CAPTURE_RELAXED)
        return CU_OK;
    for (struct stream *stream = fc.streams; stream; stream = stream->next) {
        if (is_against(stream)) {
            stream->spoiled = true;
            code = CU_STREAM_CAPTURE_UNSUPPORTED;
        }
    }
    return code;
}

static struct stream *of_handle(cu_stream handle)
{
    return (uintptr_t)handle > 2 ? fc_handle_get(KIND_STREAM, (uintptr_t)handle) : NULL;
}

cu_result cuStreamBeginCapture_v2(cu_stream handle, cu_capture_mode mode)
{
    cu_result code = fc_enter(CALL_cuStreamBeginCapture_v2, USES_CONTEXT);
    if (code != CU_OK)
        return code;
    struct stream *stream = of_handle(handle);
    if (!stream || mode > CU_CAPTURE_RELAXED)
        return fc_leave((uintptr_t)handle <= 2 ? CU_STREAM_CAPTURE_UNSUPPORTED : CU_INVALID_VALUE);
    if (stream->captured)
        return fc_leave(CU_ILLEGAL_STATE);
    stream->captured = true;
    stream->spoiled = false;
    stream->capture_mode = mode;
    stream->captured_by = &fc_thread;
    return fc_leave(CU_OK);
}

static cu_result end_capture(struct stream *stream, cu_graph *graph)
{
    if (!stream->captured)
        return CU_ILLEGAL_STATE;
    if (stream->captured_by != &fc_thread && stream->capture_mode != CU_CAPTURE_RELAXED)
        return CU_STREAM_CAPTURE_WRONG_THREAD;
    stream->captured = false;
    *graph = NULL;
    if (stream->spoiled)
        return CU_STREAM_CAPTURE_INVALIDATED;
    *graph = (cu_graph)(uintptr_t)fc_handle_make(KIND_GRAPH, stream->context);
    return *graph ? CU_OK : CU_OUT_OF_MEMORY;
}

cu_result cuStreamEndCapture(cu_stream handle, cu_graph *graph)
{
    cu_result code = fc_enter(CALL_cuStreamEndCapture, USES_CONTEXT);
    if (code != CU_OK)
        return code;
    struct stream *stream = of_handle(handle);
    return fc_leave(stream && graph ? end_capture(stream, graph) : CU_INVALID_VALUE);
}

cu_result cuStreamIsCapturing(cu_stream handle, cu_capture_status *status)
{
    cu_result code = fc_enter(CALL_cuStreamIsCapturing, USES_CONTEXT);
    if (code != CU_OK)
        return code;
    struct stream *stream = of_handle(handle);
    if (!status || (!stream && (uintptr_t)handle > 2))
        return fc_leave(CU_INVALID_VALUE);
    *status = !stream || !stream->captured ? STATUS_NONE : stream->spoiled ? STATUS_SPOILED : STATUS_ACTIVE;
    return fc_leave(CU_OK);
}

cu_result cuThreadExchangeStreamCaptureMode(cu_capture_mode *mode)
{
    cu_result code = fc_enter(CALL_cuThreadExchangeStreamCaptureMode, NEEDS_INIT);
    if (code != CU_OK)
        return code;
    if (!mode || *mode > CU_CAPTURE_RELAXED)
        return fc_leave(CU_INVALID_VALUE);
    cu_capture_mode before = fc_thread.capture_mode;
    fc_thread.capture_mode = *mode;
    *mode = before;
    return fc_leave(CU_OK);
}

cu_result cuGraphDestroy(cu_graph graph)
{
    cu_result code = fc_enter(CALL_cuGraphDestroy, USES_CONTEXT);
    if (code != CU_OK)
        return code;
    if (!fc_handle_get(KIND_GRAPH, (uintptr_t)graph))
        return fc_leave(CU_INVALID_VALUE);
    fc_handle_drop((uintptr_t)graph);
    return fc_leave(CU_OK);
}
