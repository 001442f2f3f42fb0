/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Devices and contexts. The primary context lives from the first retain to the last release, and takes with it what
 * belongs to it: streams, events, modules, memory of cuMemAlloc, and pins. Memory by handle stays. In its next life it
 * has another handle, so that whoever kept the old one is found out.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

bool fc_device_good(cu_device device)
{
    return device >= 0 && device < fc.visible_count;
}

/* --------------------------------------------------------------------------------------------------------- devices */

cu_result cuDeviceGetCount(int *count)
{
    cu_result code = fc_enter(CALL_cuDeviceGetCount, NEEDS_INIT);
    if (code != CU_OK)
        return code;
    if (!count)
        return fc_leave(CU_INVALID_VALUE);
    *count = fc.visible_count;
    return fc_leave(CU_OK);
}

cu_result cuDeviceGet(cu_device *device, int ordinal)
{
    cu_result code = fc_enter(CALL_cuDeviceGet, NEEDS_INIT);
    if (code != CU_OK)
        return code;
    if (!device || !fc_device_good(ordinal))
        return fc_leave(device ? CU_INVALID_DEVICE : CU_INVALID_VALUE);
    *device = ordinal;
    return fc_leave(CU_OK);
}

cu_result cuDeviceGetName(char *name, int length, cu_device device)
{
    cu_result code = fc_enter(CALL_cuDeviceGetName, NEEDS_INIT);
    if (code != CU_OK)
        return code;
    if (!name || length <= 0 || !fc_device_good(device))
        return fc_leave(fc_device_good(device) ? CU_INVALID_VALUE : CU_INVALID_DEVICE);
    snprintf(name, (size_t)length, "Fake %d", fc.visible[device]);
    return fc_leave(CU_OK);
}

cu_result cuDeviceGetUuid_v2(cu_uuid *uuid, cu_device device)
{
    cu_result code = fc_enter(CALL_cuDeviceGetUuid_v2, NEEDS_INIT);
    if (code != CU_OK)
        return code;
    if (!uuid || !fc_device_good(device))
        return fc_leave(uuid ? CU_INVALID_DEVICE : CU_INVALID_VALUE);
    memset(uuid, 0x10 + fc.visible[device], sizeof *uuid);
    return fc_leave(CU_OK);
}

cu_result cuDeviceGetPCIBusId(char *id, int length, cu_device device)
{
    cu_result code = fc_enter(CALL_cuDeviceGetPCIBusId, NEEDS_INIT);
    if (code != CU_OK)
        return code;
    if (!id || length < 13 || !fc_device_good(device))
        return fc_leave(fc_device_good(device) ? CU_INVALID_VALUE : CU_INVALID_DEVICE);
    snprintf(id, (size_t)length, "0000:%02X:00.0", fc.visible[device] + 1);
    return fc_leave(CU_OK);
}

cu_result cuDeviceTotalMem_v2(size_t *bytes, cu_device device)
{
    cu_result code = fc_enter(CALL_cuDeviceTotalMem_v2, NEEDS_INIT);
    if (code != CU_OK)
        return code;
    if (!bytes || !fc_device_good(device))
        return fc_leave(bytes ? CU_INVALID_DEVICE : CU_INVALID_VALUE);
    *bytes = fc_config.vram;
    return fc_leave(CU_OK);
}

/* As of a Hopper; without what the fake does not have: pools, dma-buf, MPS, decompression. */
static int attribute_of(cu_attribute attribute)
{
    switch (attribute) {
    case CU_ATTRIBUTE_SMS:
        return 132;
    case CU_ATTRIBUTE_COPY_ENGINES:
        return 3;
    case CU_ATTRIBUTE_CC_MAJOR:
        return 9;
    case 41: /* UNIFIED_ADDRESSING */
    case 91: /* CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM */
    case CU_ATTRIBUTE_VMM:
    case CU_ATTRIBUTE_POSIX_FD:
    case CU_ATTRIBUTE_READ_ONLY_REGISTER:
    case CU_ATTRIBUTE_HOST_NUMA_VMM:
    case CU_ATTRIBUTE_HOST_VMM:
        return 1;
    default:
        return 0;
    }
}

cu_result cuDeviceGetAttribute(int *value, cu_attribute attribute, cu_device device)
{
    cu_result code = fc_enter(CALL_cuDeviceGetAttribute, NEEDS_INIT);
    if (code != CU_OK)
        return code;
    /* An older driver does not know of later attributes. */
    unsigned last = fc_config.version >= 13000 ? CU_ATTRIBUTE_HOST_VMM + 2 : CU_ATTRIBUTE_HOST_NUMA_VMM - 1;
    if (!value || attribute == 0 || attribute > last)
        return fc_leave(CU_INVALID_VALUE);
    if (!fc_device_good(device))
        return fc_leave(CU_INVALID_DEVICE);
    *value = attribute_of(attribute);
    return fc_leave(CU_OK);
}

cu_result cuDeviceCanAccessPeer(int *can, cu_device device, cu_device peer)
{
    cu_result code = fc_enter(CALL_cuDeviceCanAccessPeer, NEEDS_INIT);
    if (code != CU_OK)
        return code;
    if (!can || !fc_device_good(device) || !fc_device_good(peer))
        return fc_leave(can ? CU_INVALID_DEVICE : CU_INVALID_VALUE);
    *can = device != peer && fc_config.peers;
    return fc_leave(CU_OK);
}

/* ---------------------------------------------------------------------------------------------- making, destroying */

static struct context *context_make(cu_device device, bool primary, cu_result *code)
{
    struct context *made = calloc(1, sizeof *made);
    *code = CU_OUT_OF_MEMORY;
    if (!made)
        return NULL;
    made->device = device;
    made->primary = primary;
    made->charge = fc_ledger_take('c', fc.visible[device], fc_config.context_bytes,
                                  fc_config.vram - fc_config.foreign_bytes);
    if (made->charge < 0) {
        free(made);
        return NULL;
    }
    made->handle = (cu_context)(uintptr_t)fc_handle_make(KIND_CONTEXT, made);
    *code = CU_OK;
    return made;
}

static void destroy_events(const struct context *context)
{
    struct event *event;
    for (size_t cursor = 0; (event = fc_handle_next(KIND_EVENT, &cursor)) != NULL;) {
        if (event->context != context)
            continue;
        fc_handle_drop((uintptr_t)event->handle);
        fc_record_unref(event->record);
        free(event);
    }
}

static void destroy_modules(const struct context *context)
{
    struct module *module;
    for (size_t cursor = 0; (module = fc_handle_next(KIND_MODULE, &cursor)) != NULL;) {
        if (module->context != context)
            continue;
        fc_handle_drop((uintptr_t)module->handle);
        free(module);
    }
}

static void destroy_spans(const struct context *context)
{
    for (struct span *span = fc.spans, *next; span; span = next) {
        next = span->next;
        if (span->context == context)
            fc_span_remove(span);
    }
}

/* Waits for its work, as the real one does. The lock is given up meanwhile. */
cu_result fc_context_destroy(struct context *context)
{
    struct stream *stream;
    if (context->primary)
        fc.primary[context->device] = NULL; /* who retains it meanwhile gets another */
    cu_result code = fc_context_await(context);
    for (size_t cursor = 0; (stream = fc_handle_next(KIND_STREAM, &cursor)) != NULL;) {
        if (stream->context == context)
            fc_stream_end(stream);
    }
    if (context->legacy)
        fc_stream_end(context->legacy);
    context->legacy = NULL;
    destroy_events(context);
    destroy_modules(context);
    destroy_spans(context);
    fc_handle_drop((uintptr_t)context->handle);
    close(context->charge);
    free(context);
    return code;
}

/* --------------------------------------------------------------------------------------------- the primary context */

cu_result cuDevicePrimaryCtxSetFlags_v2(cu_device device, unsigned int flags)
{
    cu_result code = fc_enter(CALL_cuDevicePrimaryCtxSetFlags_v2, NEEDS_INIT);
    if (code != CU_OK)
        return code;
    if (!fc_device_good(device))
        return fc_leave(CU_INVALID_DEVICE);
    unsigned scheduling = flags & 7u;
    if (flags > 0xFF || (scheduling & (scheduling - 1)) != 0) /* one way of scheduling */
        return fc_leave(CU_INVALID_VALUE);
    fc.primary_flags[device] = flags; /* of an active one too: since 11.0 that is no error */
    return fc_leave(CU_OK);
}

cu_result cuDevicePrimaryCtxRetain(cu_context *context, cu_device device)
{
    cu_result code = fc_enter(CALL_cuDevicePrimaryCtxRetain, USES_DEVICE);
    if (code != CU_OK)
        return code;
    if (!context || !fc_device_good(device))
        return fc_leave(context ? CU_INVALID_DEVICE : CU_INVALID_VALUE);
    if (!fc.primary[device])
        fc.primary[device] = context_make(device, true, &code);
    if (fc.primary[device]) {
        fc.retains[device]++;
        *context = fc.primary[device]->handle;
    }
    return fc_leave(code);
}

cu_result cuDevicePrimaryCtxRelease_v2(cu_device device)
{
    cu_result code = fc_enter(CALL_cuDevicePrimaryCtxRelease_v2, NEEDS_INIT);
    if (code != CU_OK)
        return code;
    if (!fc_device_good(device))
        return fc_leave(CU_INVALID_DEVICE);
    if (fc.retains[device] == 0)
        return fc_leave(CU_INVALID_CONTEXT);
    if (--fc.retains[device] == 0 && fc.primary[device])
        code = fc_context_destroy(fc.primary[device]);
    return fc_leave(code);
}

/* References stay, and are to be released: what is reset is what they stand for. */
cu_result cuDevicePrimaryCtxReset_v2(cu_device device)
{
    cu_result code = fc_enter(CALL_cuDevicePrimaryCtxReset_v2, NEEDS_INIT);
    if (code != CU_OK)
        return code;
    if (!fc_device_good(device))
        return fc_leave(CU_INVALID_DEVICE);
    if (fc.primary[device])
        code = fc_context_destroy(fc.primary[device]);
    return fc_leave(code);
}

cu_result cuDevicePrimaryCtxGetState(cu_device device, unsigned int *flags, int *active)
{
    cu_result code = fc_enter(CALL_cuDevicePrimaryCtxGetState, NEEDS_INIT);
    if (code != CU_OK)
        return code;
    if (!fc_device_good(device) || !flags || !active)
        return fc_leave(flags && active ? CU_INVALID_DEVICE : CU_INVALID_VALUE);
    *flags = fc.primary_flags[device];
    *active = fc.primary[device] != NULL;
    return fc_leave(CU_OK);
}

/* -------------------------------------------------------------------------------------- what is current (a thread) */

/* One that was destroyed stays on the stacks of others: using it is an error of its own, and a violation. */
struct context *fc_current(void)
{
    if (fc_thread.depth == 0)
        return NULL;
    return fc_handle_get(KIND_CONTEXT, (uintptr_t)fc_thread.stack[fc_thread.depth - 1]);
}

cu_result cuCtxGetCurrent(cu_context *context)
{
    cu_result code = fc_enter(CALL_cuCtxGetCurrent, NEEDS_INIT);
    if (code != CU_OK)
        return code;
    if (!context)
        return fc_leave(CU_INVALID_VALUE);
    *context = fc_thread.depth ? fc_thread.stack[fc_thread.depth - 1] : NULL;
    return fc_leave(CU_OK);
}

/* NULL takes the top away; else the top is replaced. */
cu_result cuCtxSetCurrent(cu_context context)
{
    cu_result code = fc_enter(CALL_cuCtxSetCurrent, NEEDS_INIT);
    if (code != CU_OK)
        return code;
    if (context && !fc_handle_get(KIND_CONTEXT, (uintptr_t)context))
        return fc_leave(CU_INVALID_CONTEXT);
    if (context && fc_thread.depth == 0)
        fc_thread.depth = 1;
    if (context)
        fc_thread.stack[fc_thread.depth - 1] = context;
    else if (fc_thread.depth > 0)
        fc_thread.depth--;
    return fc_leave(CU_OK);
}

cu_result cuCtxPushCurrent_v2(cu_context context)
{
    cu_result code = fc_enter(CALL_cuCtxPushCurrent_v2, NEEDS_INIT);
    if (code != CU_OK)
        return code;
    if (!fc_handle_get(KIND_CONTEXT, (uintptr_t)context) || fc_thread.depth == STACK_MAX)
        return fc_leave(CU_INVALID_CONTEXT);
    fc_thread.stack[fc_thread.depth++] = context;
    return fc_leave(CU_OK);
}

cu_result cuCtxPopCurrent_v2(cu_context *context)
{
    cu_result code = fc_enter(CALL_cuCtxPopCurrent_v2, NEEDS_INIT);
    if (code != CU_OK)
        return code;
    if (fc_thread.depth == 0)
        return fc_leave(CU_INVALID_CONTEXT);
    fc_thread.depth--;
    if (context)
        *context = fc_thread.stack[fc_thread.depth];
    return fc_leave(CU_OK);
}

/* --------------------------------------------------------------------------------------------- contexts of our own */

cu_result cuCtxCreate_v2(cu_context *context, unsigned int flags, cu_device device)
{
    cu_result code = fc_enter(CALL_cuCtxCreate_v2, USES_DEVICE);
    if (code != CU_OK)
        return code;
    if (!context || flags > 0xFF || !fc_device_good(device))
        return fc_leave(fc_device_good(device) ? CU_INVALID_VALUE : CU_INVALID_DEVICE);
    if (fc_thread.depth == STACK_MAX)
        return fc_leave(CU_INVALID_CONTEXT);
    struct context *made = context_make(device, false, &code);
    if (made) {
        fc_thread.stack[fc_thread.depth++] = made->handle;
        *context = made->handle;
    }
    return fc_leave(code);
}

cu_result cuCtxDestroy_v2(cu_context context)
{
    cu_result code = fc_enter(CALL_cuCtxDestroy_v2, NEEDS_INIT);
    if (code != CU_OK)
        return code;
    struct context *found = fc_handle_get(KIND_CONTEXT, (uintptr_t)context);
    if (!found || found->primary)
        return fc_leave(CU_INVALID_CONTEXT);
    if (fc_thread.depth > 0 && fc_thread.stack[fc_thread.depth - 1] == context)
        fc_thread.depth--;
    return fc_leave(fc_context_destroy(found));
}

cu_result cuCtxSynchronize(void)
{
    cu_result code = fc_enter(CALL_cuCtxSynchronize, USES_CONTEXT);
    return code == CU_OK ? fc_leave(fc_context_await(fc_current())) : code;
}

cu_result cuCtxGetDevice(cu_device *device)
{
    cu_result code = fc_enter(CALL_cuCtxGetDevice, NEEDS_CONTEXT);
    if (code != CU_OK)
        return code;
    if (!device)
        return fc_leave(CU_INVALID_VALUE);
    *device = fc_current()->device;
    return fc_leave(CU_OK);
}

cu_result cuCtxGetFlags(unsigned int *flags)
{
    cu_result code = fc_enter(CALL_cuCtxGetFlags, NEEDS_CONTEXT);
    if (code != CU_OK)
        return code;
    if (!flags)
        return fc_leave(CU_INVALID_VALUE);
    *flags = fc_current()->primary ? fc.primary_flags[fc_current()->device] : 0;
    return fc_leave(CU_OK);
}
