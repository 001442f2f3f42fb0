/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies and fills. What can be known of the addresses is checked in the call: a range of which a part is nobody's,
 * goes over the end of an allocation, or is not this device's to use, is CU_INVALID_VALUE. A write to what the device
 * may only read is accepted, and faults the device when it is carried out.
 *
 * How synchronous they are is what the driver's manual promises, and not more:
 *   from pinned memory      async: later. Plain: done on return
 *   from pageable memory    taken during the call, both forms; it arrives later, also of the plain form
 *   to pinned memory        async: later. Plain: done on return
 *   to pageable memory      done on return, both forms
 *   within devices, fills   later, both forms
 */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

/* Of the current context, as the real driver wants it. */
cu_result fc_stream_and_current(cu_stream handle, struct stream **stream)
{
    cu_result code;
    *stream = fc_stream_of(handle, &code);
    if (*stream && (*stream)->context != fc_current())
        code = CU_INVALID_HANDLE;
    return code;
}

static bool is_on_device(const struct parts *parts)
{
    for (unsigned n = 0; n < parts->count; n++) {
        if (!parts->list[n].span->memory)
            return false;
    }
    return true;
}

/* Device memory of a copy to or from the host. */
static cu_result device_side(cu_ptr at, size_t bytes, int device, bool writing, struct parts *parts, cu_result *fault)
{
    cu_result code = fc_resolve(at, bytes, device, writing, parts, fault);
    if (code == CU_OK && !is_on_device(parts)) {
        free(parts->list);
        *parts = (struct parts){ .count = 0 };
        code = CU_INVALID_VALUE;
    }
    return code;
}

/* Parts are held from when work is handed over: before that, freeing them is freeing their list. */
static cu_result give_up(struct work *work, cu_result code)
{
    free(work->to.list);
    free(work->from.list);
    free(work->staged);
    free(work);
    return code;
}

static cu_result pinned_part(struct span *span, const void *host, size_t bytes, struct parts *parts)
{
    parts->list = malloc(sizeof *parts->list);
    if (!parts->list)
        return CU_OUT_OF_MEMORY;
    parts->list[0] = (struct part){ span, span->reach + ((uintptr_t)host - span->at), bytes };
    parts->count = 1;
    return CU_OK;
}

static void wait_and_observe(struct stream *stream, uint64_t serial)
{
    stream->refs++;
    fc_await(stream, serial);
    if (fc.sticky == CU_OK)
        fc_observe(stream, serial);
    fc_stream_unref(stream);
}

/* Pageable bytes are taken here, on the thread that asks: a sanitizer is to see that. */
static cu_result stage(struct work *work, const void *from)
{
    work->staged = malloc(work->bytes);
    if (!work->staged)
        return CU_OUT_OF_MEMORY;
    fc_own_end();
    memcpy(work->staged, from, work->bytes);
    fc_own_begin();
    return CU_OK;
}

static cu_result to_device(struct stream *stream, cu_ptr to, const void *from, size_t bytes, bool plain)
{
    cu_result    code;
    struct span *pin = fc_pin_of(from, bytes, stream->context, &code);
    struct work *work = code == CU_OK ? fc_work_new(WORK_COPY) : NULL;
    if (!work)
        return code == CU_OK ? CU_OUT_OF_MEMORY : code;
    work->bytes = bytes;
    code = device_side(to, bytes, stream->device, true, &work->to, &work->fault);
    if (code == CU_OK)
        code = pin ? pinned_part(pin, from, bytes, &work->from) : stage(work, from);
    if (code != CU_OK)
        return give_up(work, code);
    uint64_t serial = fc_submit(stream, work);
    if (plain && pin)
        wait_and_observe(stream, serial);
    return plain ? fc.sticky : CU_OK;
}

/* A part of no span: nobody's memory to hold, since the call does not return before it is written. */
static cu_result to_pageable(struct stream *stream, struct work *work, void *to)
{
    static struct span pageable = { .kind = SPAN_HOST_ALLOCATION, .refs = 1 };
    work->to.list = malloc(sizeof *work->to.list);
    if (!work->to.list)
        return give_up(work, CU_OUT_OF_MEMORY);
    work->to.list[0] = (struct part){ &pageable, to, work->bytes };
    work->to.count = 1;
    wait_and_observe(stream, fc_submit(stream, work));
    return fc.sticky;
}

static cu_result from_device(struct stream *stream, void *to, cu_ptr from, size_t bytes, bool plain)
{
    cu_result    code;
    struct span *pin = fc_pin_of(to, bytes, stream->context, &code);
    struct work *work = code == CU_OK ? fc_work_new(WORK_COPY) : NULL;
    if (!work)
        return code == CU_OK ? CU_OUT_OF_MEMORY : code;
    work->bytes = bytes;
    code = device_side(from, bytes, stream->device, false, &work->from, &work->fault);
    if (code == CU_OK && pin && (pin->flags & CU_HOST_READ_ONLY) != 0 && pin->kind == SPAN_PIN)
        code = CU_INVALID_VALUE;
    if (code == CU_OK && pin)
        code = pinned_part(pin, to, bytes, &work->to);
    if (code != CU_OK)
        return give_up(work, code);
    if (!pin)
        return to_pageable(stream, work, to);
    uint64_t serial = fc_submit(stream, work);
    if (plain)
        wait_and_observe(stream, serial);
    return plain ? fc.sticky : CU_OK;
}

static cu_result within(struct stream *stream, cu_ptr to, int to_device, cu_ptr from, int from_device, size_t bytes)
{
    struct work *work = fc_work_new(WORK_COPY);
    if (!work)
        return CU_OUT_OF_MEMORY;
    work->bytes = bytes;
    cu_result code = fc_resolve(to, bytes, to_device, true, &work->to, &work->fault);
    if (code == CU_OK)
        code = fc_resolve(from, bytes, from_device, false, &work->from, &work->fault);
    if (code != CU_OK)
        return give_up(work, code);
    fc_submit(stream, work);
    return CU_OK;
}

static cu_result fill(struct stream *stream, cu_ptr at, uint32_t value, unsigned value_bytes, size_t count)
{
    struct work *work = fc_work_new(WORK_SET);
    if (!work)
        return CU_OUT_OF_MEMORY;
    work->value = value;
    work->value_bytes = value_bytes;
    work->bytes = count * value_bytes;
    cu_result code = at % value_bytes != 0 || count > SIZE_MAX / value_bytes ? CU_INVALID_VALUE : CU_OK;
    if (code == CU_OK)
        code = fc_resolve(at, work->bytes, stream->device, true, &work->to, &work->fault);
    if (code != CU_OK)
        return give_up(work, code);
    fc_submit(stream, work);
    return CU_OK;
}

/* ----------------------------------------------------------------------------------------------------------- calls */

cu_result cuMemcpyHtoDAsync_v2(cu_ptr to, const void *from, size_t bytes, cu_stream stream)
{
    struct stream *on;
    cu_result      code = fc_enter(CALL_cuMemcpyHtoDAsync_v2, USES_CONTEXT);
    if (code != CU_OK)
        return code;
    code = fc_stream_and_current(stream, &on);
    if (code == CU_OK && bytes > 0)
        code = from ? to_device(on, to, from, bytes, false) : CU_INVALID_VALUE;
    return fc_leave(code);
}

cu_result cuMemcpyHtoD_v2(cu_ptr to, const void *from, size_t bytes)
{
    struct stream *on;
    cu_result      code = fc_enter(CALL_cuMemcpyHtoD_v2, USES_CONTEXT);
    if (code != CU_OK)
        return code;
    code = fc_stream_and_current(NULL, &on);
    if (code == CU_OK && bytes > 0)
        code = from ? to_device(on, to, from, bytes, true) : CU_INVALID_VALUE;
    return fc_leave(code);
}

cu_result cuMemcpyDtoHAsync_v2(void *to, cu_ptr from, size_t bytes, cu_stream stream)
{
    struct stream *on;
    cu_result      code = fc_enter(CALL_cuMemcpyDtoHAsync_v2, USES_CONTEXT);
    if (code != CU_OK)
        return code;
    code = fc_stream_and_current(stream, &on);
    if (code == CU_OK && bytes > 0)
        code = to ? from_device(on, to, from, bytes, false) : CU_INVALID_VALUE;
    return fc_leave(code);
}

cu_result cuMemcpyDtoH_v2(void *to, cu_ptr from, size_t bytes)
{
    struct stream *on;
    cu_result      code = fc_enter(CALL_cuMemcpyDtoH_v2, USES_CONTEXT);
    if (code != CU_OK)
        return code;
    code = fc_stream_and_current(NULL, &on);
    if (code == CU_OK && bytes > 0)
        code = to ? from_device(on, to, from, bytes, true) : CU_INVALID_VALUE;
    return fc_leave(code);
}

cu_result cuMemcpyDtoDAsync_v2(cu_ptr to, cu_ptr from, size_t bytes, cu_stream stream)
{
    struct stream *on;
    cu_result      code = fc_enter(CALL_cuMemcpyDtoDAsync_v2, USES_CONTEXT);
    if (code != CU_OK)
        return code;
    code = fc_stream_and_current(stream, &on);
    if (code == CU_OK && bytes > 0)
        code = within(on, to, on->device, from, on->device, bytes);
    return fc_leave(code);
}

cu_result cuMemcpyDtoD_v2(cu_ptr to, cu_ptr from, size_t bytes)
{
    struct stream *on;
    cu_result      code = fc_enter(CALL_cuMemcpyDtoD_v2, USES_CONTEXT);
    if (code != CU_OK)
        return code;
    code = fc_stream_and_current(NULL, &on);
    if (code == CU_OK && bytes > 0)
        code = within(on, to, on->device, from, on->device, bytes);
    return fc_leave(code);
}

/* Each side by its own context's device: nobody needs access to the other's memory. */
cu_result cuMemcpyPeerAsync(cu_ptr to, cu_context to_context, cu_ptr from, cu_context from_context, size_t bytes,
                            cu_stream stream)
{
    struct stream *on;
    cu_result      code = fc_enter(CALL_cuMemcpyPeerAsync, USES_CONTEXT);
    if (code != CU_OK)
        return code;
    struct context *there = fc_handle_get(KIND_CONTEXT, (uintptr_t)to_context);
    struct context *here = fc_handle_get(KIND_CONTEXT, (uintptr_t)from_context);
    code = there && here ? fc_stream_and_current(stream, &on) : CU_INVALID_CONTEXT;
    if (code == CU_OK && bytes > 0)
        code = within(on, to, there->device, from, here->device, bytes);
    return fc_leave(code);
}

static cu_result fill_on(enum call call, cu_stream stream, cu_ptr at, uint32_t value, unsigned value_bytes,
                         size_t count)
{
    struct stream *on;
    cu_result      code = fc_enter(call, USES_CONTEXT);
    if (code != CU_OK)
        return code;
    code = fc_stream_and_current(stream, &on);
    if (code == CU_OK && count > 0)
        code = fill(on, at, value, value_bytes, count);
    return fc_leave(code);
}

cu_result cuMemsetD8_v2(cu_ptr at, unsigned char value, size_t bytes)
{
    return fill_on(CALL_cuMemsetD8_v2, NULL, at, value, 1, bytes);
}

cu_result cuMemsetD8Async(cu_ptr at, unsigned char value, size_t bytes, cu_stream stream)
{
    return fill_on(CALL_cuMemsetD8Async, stream, at, value, 1, bytes);
}

cu_result cuMemsetD32_v2(cu_ptr at, unsigned int value, size_t words)
{
    return fill_on(CALL_cuMemsetD32_v2, NULL, at, value, 4, words);
}

cu_result cuMemsetD32Async(cu_ptr at, unsigned int value, size_t words, cu_stream stream)
{
    return fill_on(CALL_cuMemsetD32Async, stream, at, value, 4, words);
}

cu_result cuLaunchHostFunc(cu_stream stream, cu_host_function function, void *user)
{
    struct stream *on;
    cu_result      code = fc_enter(CALL_cuLaunchHostFunc, USES_CONTEXT);
    if (code != CU_OK)
        return code;
    code = fc_stream_and_current(stream, &on);
    struct work *work = code == CU_OK && function ? fc_work_new(WORK_HOST) : NULL;
    if (!work)
        return fc_leave(code != CU_OK ? code : function ? CU_OUT_OF_MEMORY : CU_INVALID_VALUE);
    work->function = function;
    work->user = user;
    fc_submit(on, work);
    return fc_leave(CU_OK);
}
