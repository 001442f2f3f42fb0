/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cuda device: its context, and what it says of itself.
 *
 * The context is the primary one, which every framework in the process shares: it is retained while somebody needs it,
 * given up afterwards, and never reset, for others may hold it.
 */
#include "device/cuda.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/fault.h"
#include "base/log.h"

/* Contexts that code which was let in may leave on a thread and have taken off again. */
enum { LEFT_MAX = 16 };

static cu_context context_of(struct cuda_device *c)
{
    pthread_mutex_lock(&c->mutex);
    cu_context context = c->context;
    pthread_mutex_unlock(&c->mutex);
    return context;
}

static void set_context(struct cuda_device *c, cu_context context, bool others)
{
    pthread_mutex_lock(&c->mutex);
    c->context = context;
    c->others = others;
    pthread_mutex_unlock(&c->mutex);
}

static unsigned flags_of(struct cuda_device *c)
{
    unsigned flags = 0;
    int      active;
    return c->cuda.cuDevicePrimaryCtxGetState(c->device, &flags, &active) == CU_OK
               ? flags & ~(unsigned)CU_PRIMARY_SCHEDULING
               : 0;
}

static bool is_active(struct cuda_device *c)
{
    unsigned flags;
    int      active = 0;
    return c->cuda.cuDevicePrimaryCtxGetState(c->device, &flags, &active) == CU_OK && active;
}

/* ---- what it says ---- */

static struct sgi__device_room room(struct sgi__device *d)
{
    struct cuda_device     *c = sgi__cuda_device(d);
    cu_context              context = context_of(c), popped;
    struct sgi__device_room r = { 0 };
    size_t                  left = 0, total = 0;

    if (sgi__nvml_memory(&c->nvml, &r.free, &r.total))
        return r;
    if (!context || c->cuda.cuCtxPushCurrent_v2(context) != CU_OK) /* without one, the driver does not say */
        return (struct sgi__device_room){ 0 };
    if (c->cuda.cuMemGetInfo_v2(&left, &total) == CU_OK)
        r = (struct sgi__device_room){ left, total };
    c->cuda.cuCtxPopCurrent_v2(&popped);
    return r;
}

/* While ours is open it is not to be told who else has it: then what was so before. */
static bool others(struct sgi__device *d)
{
    struct cuda_device *c = sgi__cuda_device(d);

    pthread_mutex_lock(&c->mutex);
    bool open = c->context != NULL, before = c->others;
    pthread_mutex_unlock(&c->mutex);
    return open ? before : is_active(c);
}

/* ---- others of its kind ---- */

static const struct sgi__device_ops ops;

static void share_with(struct sgi__device *d, struct sgi__device *const *others, uint32_t count)
{
    struct cuda_device *c = sgi__cuda_device(d);

    for (uint32_t n = 0; n < count && c->peers_count < CUDA_PEERS_MAX; n++) {
        int can = 0;
        if (others[n] == d || others[n]->ops != &ops)
            continue;
        cu_device other = sgi__cuda_device(others[n])->device;
        if (other != c->device && c->cuda.cuDeviceCanAccessPeer(&can, other, c->device) == CU_OK && can)
            c->peers[c->peers_count++] = other;
    }
}

static bool reaches(const struct sgi__device *d, const struct sgi__device *other)
{
    const struct cuda_device *c = (const struct cuda_device *)d, *from = (const struct cuda_device *)other;

    for (uint32_t n = 0; other->ops == &ops && n < from->peers_count; n++)
        if (from->peers[n] == c->device)
            return true;
    return false;
}

/* ---- context ---- */

cu_capture_mode sgi__cuda_relax(struct cuda_device *c)
{
    cu_capture_mode mode = CU_CAPTURE_RELAXED;
    return c->cuda.cuThreadExchangeStreamCaptureMode(&mode) == CU_OK ? mode : CU_CAPTURE_NOT_KNOWN;
}

void sgi__cuda_unrelax(struct cuda_device *c, cu_capture_mode mode)
{
    if (mode != CU_CAPTURE_NOT_KNOWN)
        c->cuda.cuThreadExchangeStreamCaptureMode(&mode);
}

static sgi_status context_open(struct sgi__device *d, sgi_error *err)
{
    struct cuda_device *c = sgi__cuda_device(d);
    bool                active = is_active(c);
    cu_context          context = NULL;

    if (sgi__fault(SGI__FAULT_CONTEXT))
        return sgi__error(err, SGI_E_DEVICE, "%s: its context does not open (injected)", d->name);
    /* Whoever waits for the device sleeps, instead of spinning on a core. A wish: others may have decided already. */
    if (!active)
        c->cuda.cuDevicePrimaryCtxSetFlags_v2(c->device, flags_of(c) | CU_PRIMARY_BLOCKING_SYNC);
    cu_capture_mode mode = sgi__cuda_relax(c);
    cu_result       code = c->cuda.cuDevicePrimaryCtxRetain(&context, c->device);
    sgi__cuda_unrelax(c, mode);
    if (code != CU_OK)
        return sgi__cuda_failed(err, code, "%s: cuDevicePrimaryCtxRetain", d->name);
    set_context(c, context, active);
    return SGI_OK;
}

/* What is left of us afterwards. Where the driver does not tell processes apart it is not known, and said to be
 * nothing. */
static uint64_t context_close(struct sgi__device *d)
{
    struct cuda_device *c = sgi__cuda_device(d);
    cu_context          context = context_of(c), popped;
    uint64_t            used = 0;
    cu_capture_mode     mode = sgi__cuda_relax(c);

    assert(context);
    cu_result code;
    bool      inside = SGI__CUDA_AT_LAST(code, c->cuda.cuCtxPushCurrent_v2(context)) == CU_OK;
    sgi__cuda_unpin_all(d, inside);
    if (inside)
        c->cuda.cuCtxPopCurrent_v2(&popped);
    set_context(c, NULL, false);
    SGI__CUDA_AT_LAST(code, c->cuda.cuDevicePrimaryCtxRelease_v2(c->device));
    sgi__cuda_unrelax(c, mode);
    if (code != CU_OK) {
        sgi_error err;
        sgi__error_init(&err);
        sgi__cuda_failed(&err, code, "%s: cuDevicePrimaryCtxRelease", d->name);
        sgi__log(SGI_LOG_WARN, "%s", err.message);
    }
    return !is_active(c) && sgi__nvml_own(&c->nvml, &used) ? used : 0; /* others' is not ours to tell */
}

static sgi_status enter(struct sgi__device *d, struct sgi__device_scope *scope, sgi_error *err)
{
    struct cuda_device *c = sgi__cuda_device(d);
    cu_context          context = context_of(c), before = NULL;

    assert(context);
    cu_result code = c->cuda.cuCtxGetCurrent(&before);
    if (code == CU_OK)
        code = c->cuda.cuCtxPushCurrent_v2(context);
    if (code == CU_INVALID_CONTEXT || code == CU_CONTEXT_IS_DESTROYED) { /* though we hold it */
        sgi__error_driver(err, SGI_E_DEVICE_LOST, (int32_t)code,
                          "%s: its context is gone: somebody has reset the device", d->name);
        return SGI_E_DEVICE_LOST;
    }
    if (code != CU_OK)
        return sgi__cuda_failed(err, code, "%s: cuCtxPushCurrent", d->name);
    scope->before = before;
    scope->mode = sgi__cuda_relax(c);
    return SGI_OK;
}

static bool lost_alone(const struct sgi__device *d, const sgi_error *err)
{
    (void)d;
    return err && (err->driver_code == CU_INVALID_CONTEXT || err->driver_code == CU_CONTEXT_IS_DESTROYED);
}

static void lend(struct sgi__device *d, const struct sgi__device_scope *scope)
{
    sgi__cuda_unrelax(sgi__cuda_device(d), scope->mode);
}

static cu_result pop(struct cuda_device *c, cu_context *popped)
{
    cu_result code = c->cuda.cuCtxPopCurrent_v2(popped);
    return code == CU_OK || code == CU_INVALID_CONTEXT /* the stack is empty */ ? code
                                                                                : c->cuda.cuCtxPopCurrent_v2(popped);
}

/* Ours is not there any more: another one has taken its place on the stack, or nothing. */
static void put_right(struct cuda_device *c, cu_context before)
{
    cu_context popped = NULL, now = NULL;
    bool       one = pop(c, &popped) == CU_OK;

    if (c->cuda.cuCtxGetCurrent(&now) == CU_OK && now == before)
        return;
    if (one)
        c->cuda.cuCtxPushCurrent_v2(popped);
    if (c->cuda.cuCtxGetCurrent(&now) != CU_OK || now != before)
        c->cuda.cuCtxSetCurrent(before);
}

/* Takes ours off the stack, and what was left on it above. False: ours is not there any more, and the stack is as it
 * was. */
static bool pop_ours(struct cuda_device *c, cu_context ours, bool *was_first, cu_result *code_out)
{
    cu_context popped[LEFT_MAX];
    uint32_t   count = 0;

    *code_out = CU_OK;
    while (count < LEFT_MAX && (*code_out = pop(c, &popped[count])) == CU_OK) {
        *was_first = count == 0;
        if (popped[count++] == ours)
            return true;
    }
    while (count > 0)
        c->cuda.cuCtxPushCurrent_v2(popped[--count]);
    return false;
}

/* What ran in between may have pushed and not popped, or popped ours. */
static sgi_status leave(struct sgi__device *d, const struct sgi__device_scope *scope, sgi_error *err)
{
    struct cuda_device *c = sgi__cuda_device(d);
    cu_context          now = NULL;
    cu_result           code;
    bool                first = false;
    bool                popped = pop_ours(c, context_of(c), &first, &code);

    sgi__cuda_unrelax(c, scope->mode);

    if (popped)
        code = c->cuda.cuCtxGetCurrent(&now);
    if (popped && code == CU_OK && first && now == scope->before)
        return SGI_OK;
    if (!popped)
        put_right(c, scope->before);
    else if (now != scope->before)
        c->cuda.cuCtxSetCurrent(scope->before);
    if (code != CU_OK && code != CU_INVALID_CONTEXT)
        return sgi__cuda_failed(err, code, "%s: cuCtxPopCurrent", d->name);
    return sgi__error(err, SGI_E_ENGINE, "%s: what ran on it left another context current", d->name);
}

/* ---- the device ---- */

static void close_device(struct sgi__device *d)
{
    struct cuda_device *c = d ? sgi__cuda_device(d) : NULL;

    if (!c)
        return;
    assert(!c->context && !c->pins);
    sgi__nvml_close(&c->nvml);
    pthread_mutex_destroy(&c->mutex);
    sgi__free(c);
}

static const struct sgi__device_ops ops = {
    .abi = SGI__DEVICE_ABI,
    .kind = "cuda",
    .close = close_device,
    .room = room,
    .others = others,
    .context_open = context_open,
    .context_close = context_close,
    .arena_new = sgi__cuda_arena_new,
    .arena_map = sgi__cuda_arena_map,
    .arena_grow = sgi__cuda_arena_grow,
    .arena_free = sgi__cuda_arena_free,
    .share_with = share_with,
    .reaches = reaches,
    .enter = enter,
    .leave = leave,
    .lend = lend,
    .lost_alone = lost_alone,
    .stream_new = sgi__cuda_stream_new,
    .stream_free = sgi__cuda_stream_free,
    .stream_native = sgi__cuda_stream_native,
    .stream_wait = sgi__cuda_stream_wait,
    .copy_in = sgi__cuda_copy_in,
    .copy_out = sgi__cuda_copy_out,
    .copy_over = sgi__cuda_copy_over,
    .zero = sgi__cuda_zero,
    .mark_new = sgi__cuda_mark_new,
    .mark_free = sgi__cuda_mark_free,
    .mark_set = sgi__cuda_mark_set,
    .mark_reached = sgi__cuda_mark_reached,
    .mark_wait = sgi__cuda_mark_wait,
    .mark_order = sgi__cuda_mark_order,
    .pin = sgi__cuda_pin,
    .unpin = sgi__cuda_unpin,
};

/* What has to be there, and what it is like. */
static sgi_status look_at(struct cuda_device *c, sgi_error *err)
{
    cu_allocation prop = { .type = CU_ALLOCATION_PINNED };
    char          pci[32] = "";
    int           vmm = 0, mode = 0;
    size_t        total = 0, granularity = 0;
    const char   *call = "cuDeviceGet";
    cu_result     code = c->cuda.cuDeviceGet(&c->device, (int)c->ordinal);

    prop.location = (cu_location){ CU_LOCATION_DEVICE, c->device };
    if (code == CU_OK)
        code = c->cuda.cuDeviceTotalMem_v2(&total, c->device), call = "cuDeviceTotalMem";
    if (code == CU_OK)
        code = c->cuda.cuDeviceGetAttribute(&vmm, CU_ATTRIBUTE_VMM, c->device), call = "cuDeviceGetAttribute";
    if (code == CU_OK)
        code = c->cuda.cuDeviceGetAttribute(&mode, CU_ATTRIBUTE_COMPUTE_MODE, c->device);
    if (code == CU_OK && !vmm)
        return sgi__error(err, SGI_E_UNSUPPORTED, "%s: the device has no virtual memory management", c->base.name);
    if (code == CU_OK && mode == CU_COMPUTE_PROHIBITED)
        return sgi__error(err, SGI_E_UNSUPPORTED, "%s: the device is in compute mode 'prohibited'", c->base.name);
    if (code == CU_OK)
        code = c->cuda.cuMemGetAllocationGranularity(&granularity, &prop, CU_GRANULARITY_RECOMMENDED),
        call = "cuMemGetAllocationGranularity";
    if (code == CU_OK)
        code = c->cuda.cuDeviceGetPCIBusId(pci, sizeof pci, c->device), call = "cuDeviceGetPCIBusId";
    if (code != CU_OK)
        return sgi__cuda_failed(err, code, "%s: %s", c->base.name, call);
    c->base.bytes = total;
    c->base.page_bytes = granularity;
    sgi__nvml_open(&c->nvml, pci, total);
    return SGI_OK;
}

sgi_status sgi__device_cuda(uint32_t ordinal, struct sgi__device **device_out, sgi_error *err)
{
    struct cuda_device *c = sgi__alloc_zero(1, sizeof *c);

    if (!c)
        return sgi__error(err, SGI_E_NO_MEMORY, "cuda:%u: out of memory", ordinal);
    c->base.ops = &ops;
    c->ordinal = ordinal;
    snprintf(c->base.name, sizeof c->base.name, "cuda:%u", ordinal);
    sgi_status st = sgi__cuda_open(&c->cuda, err);
    if (st != SGI_OK) {
        char subject[40];
        snprintf(subject, sizeof subject, "%s: ", c->base.name);
        sgi__error_prefix(err, subject);
    }
    if (st == SGI_OK && ordinal >= (uint32_t)c->cuda.devices_count)
        st = sgi__error(err, SGI_E_NOT_FOUND, "cuda:%u: there is no such device; the driver shows %d", ordinal,
                        c->cuda.devices_count);
    if (st == SGI_OK)
        st = look_at(c, err);
    if (st != SGI_OK) {
        sgi__free(c);
        return st;
    }
    pthread_mutex_init(&c->mutex, NULL);
    *device_out = &c->base;
    return SGI_OK;
}
