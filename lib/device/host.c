/* SPDX-License-Identifier: Apache-2.0 */
/* The host as a device: its memory is everybody's, so there is nothing to open, and a copy is over when it returns. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/fault.h"
#include "device/device.h"

#define PAGE_BYTES UINT64_C(4096)

static void close_device(struct sgi__device *d)
{
    sgi__free(d);
}

static struct sgi__device_room room(struct sgi__device *d)
{
    (void)d;
    return (struct sgi__device_room){ 0 };
}

static bool others(struct sgi__device *d)
{
    (void)d;
    return false;
}

static sgi_status context_open(struct sgi__device *d, sgi_error *err)
{
    if (sgi__fault(SGI__FAULT_CONTEXT))
        return sgi__error(err, SGI_E_DEVICE, "%s: its context does not open (injected)", d->name);
    return SGI_OK;
}

static uint64_t context_close(struct sgi__device *d)
{
    (void)d;
    return 0;
}

/* ---- memory ---- */

/* All of its addresses are a mapping from the start, whose pages come when they are touched. */
static sgi_status arena_new(struct sgi__device *d, uint64_t bytes, uint64_t reserve_bytes,
                            struct sgi__arena **arena_out, sgi_error *err)
{
    uint64_t           reserved = sgi__align_up(reserve_bytes > bytes ? reserve_bytes : bytes, PAGE_BYTES);
    struct sgi__arena *arena = sgi__alloc_zero(1, sizeof *arena);

    if (!arena)
        return sgi__error(err, SGI_E_NO_MEMORY, "%s: out of memory", d->name);
    int   fault = sgi__fault(SGI__FAULT_RESERVE);
    void *at = fault ? (errno = fault, MAP_FAILED)
                     : mmap(NULL, reserved, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) {
        int e = errno;
        sgi__free(arena);
        return sgi__error_sys(err, SGI_E_DEVICE_MEMORY, e, "%s: %llu bytes of memory", d->name,
                              (unsigned long long)reserved);
    }
    *arena = (struct sgi__arena){ .base = (uint64_t)(uintptr_t)at, .bytes = bytes, .reserved = reserved };
    *arena_out = arena;
    return SGI_OK;
}

static sgi_status arena_map(struct sgi__device *d, struct sgi__arena *arena, sgi_error *err)
{
    (void)d, (void)arena, (void)err;
    return SGI_OK;
}

static sgi_status arena_grow(struct sgi__device *d, struct sgi__arena *arena, uint64_t bytes, sgi_error *err)
{
    if (sgi__fault(SGI__FAULT_RESERVE) || bytes > arena->reserved - arena->bytes)
        return sgi__error(err, SGI_E_DEVICE_MEMORY, "%s: %llu bytes more are beyond the %llu that were reserved",
                          d->name, (unsigned long long)bytes, (unsigned long long)arena->reserved);
    arena->bytes += bytes;
    return SGI_OK;
}

static uint64_t arena_free(struct sgi__device *d, struct sgi__arena *arena, sgi_error *err)
{
    uint64_t kept = 0;

    if (arena && munmap((void *)(uintptr_t)arena->base, arena->reserved) != 0) {
        kept = arena->bytes;
        sgi__error_sys(err, SGI_E_SYSTEM, errno, "%s: %llu bytes of it were not given back", d->name,
                       (unsigned long long)kept);
    }
    sgi__free(arena);
    return kept;
}

/* ---- what there is nothing of ---- */

static sgi_status enter(struct sgi__device *d, struct sgi__device_scope *scope, sgi_error *err)
{
    (void)d, (void)err;
    *scope = (struct sgi__device_scope){ 0 };
    return SGI_OK;
}

static sgi_status leave(struct sgi__device *d, const struct sgi__device_scope *scope, sgi_error *err)
{
    (void)d, (void)scope, (void)err;
    return SGI_OK;
}

static bool lost_alone(const struct sgi__device *d, const sgi_error *err)
{
    (void)d, (void)err;
    return true;
}

static void lend(struct sgi__device *d, const struct sgi__device_scope *scope)
{
    (void)d, (void)scope;
}

static void share_with(struct sgi__device *d, struct sgi__device *const *others, uint32_t count)
{
    (void)d, (void)others, (void)count;
}

static bool reaches(const struct sgi__device *d, const struct sgi__device *other)
{
    (void)d, (void)other; /* there is one memory, and nobody copies from one device of it to another */
    return false;
}

/* A stream and a mark have to be something that is not NULL, and are never looked into. */
static sgi_status stream_new(struct sgi__device *d, struct sgi__stream **stream_out, sgi_error *err)
{
    (void)err;
    *stream_out = (struct sgi__stream *)(void *)d;
    return SGI_OK;
}

static void stream_free(struct sgi__device *d, struct sgi__stream *stream)
{
    (void)d, (void)stream;
}

static void *stream_native(struct sgi__stream *stream)
{
    (void)stream;
    return NULL;
}

static sgi_status stream_wait(struct sgi__device *d, struct sgi__stream *stream, sgi_error *err)
{
    (void)d, (void)stream, (void)err;
    return SGI_OK;
}

static sgi_status mark_new(struct sgi__device *d, struct sgi__mark **mark_out, sgi_error *err)
{
    (void)err;
    *mark_out = (struct sgi__mark *)(void *)d;
    return SGI_OK;
}

static void mark_free(struct sgi__device *d, struct sgi__mark *mark)
{
    (void)d, (void)mark;
}

static sgi_status mark_set(struct sgi__device *d, struct sgi__mark *mark, struct sgi__stream *stream, sgi_error *err)
{
    (void)d, (void)mark, (void)stream, (void)err;
    return SGI_OK;
}

static sgi_status mark_reached(struct sgi__device *d, struct sgi__mark *mark, sgi_error *err)
{
    (void)d, (void)mark, (void)err;
    return SGI_OK;
}

static sgi_status mark_order(struct sgi__device *d, struct sgi__mark *mark, void *native_stream, sgi_error *err)
{
    (void)d, (void)mark, (void)native_stream, (void)err;
    return SGI_OK;
}

static sgi_status pin(struct sgi__device *d, void *at, uint64_t bytes, sgi_error *err)
{
    (void)d, (void)at, (void)bytes, (void)err;
    return SGI_OK;
}

static void unpin(struct sgi__device *d, void *at)
{
    (void)d, (void)at;
}

/* ---- copies ---- */

static sgi_status copy_in(struct sgi__device *d, struct sgi__stream *stream, uint64_t dst, const void *src,
                          uint64_t bytes, sgi_error *err)
{
    (void)d, (void)stream, (void)err;
    memcpy((void *)(uintptr_t)dst, src, bytes);
    return SGI_OK;
}

static sgi_status copy_out(struct sgi__device *d, struct sgi__stream *stream, void *dst, uint64_t src, uint64_t bytes,
                           sgi_error *err)
{
    (void)d, (void)stream, (void)err;
    memcpy(dst, (const void *)(uintptr_t)src, bytes);
    return SGI_OK;
}

static sgi_status copy_over(struct sgi__device *d, struct sgi__stream *stream, uint64_t dst, uint64_t src,
                            uint64_t bytes, sgi_error *err)
{
    return copy_in(d, stream, dst, (const void *)(uintptr_t)src, bytes, err);
}

static sgi_status zero(struct sgi__device *d, struct sgi__stream *stream, uint64_t dst, uint64_t bytes, sgi_error *err)
{
    (void)d, (void)stream, (void)err;
    memset((void *)(uintptr_t)dst, 0, bytes);
    return SGI_OK;
}

static const struct sgi__device_ops ops = {
    .abi = SGI__DEVICE_ABI,
    .kind = "host",
    .unified = true,
    .zeroed = true,
    .close = close_device,
    .room = room,
    .others = others,
    .context_open = context_open,
    .context_close = context_close,
    .arena_new = arena_new,
    .arena_map = arena_map,
    .arena_grow = arena_grow,
    .arena_free = arena_free,
    .share_with = share_with,
    .reaches = reaches,
    .enter = enter,
    .leave = leave,
    .lend = lend,
    .lost_alone = lost_alone,
    .stream_new = stream_new,
    .stream_free = stream_free,
    .stream_native = stream_native,
    .stream_wait = stream_wait,
    .copy_in = copy_in,
    .copy_out = copy_out,
    .copy_over = copy_over,
    .zero = zero,
    .mark_new = mark_new,
    .mark_free = mark_free,
    .mark_set = mark_set,
    .mark_reached = mark_reached,
    .mark_wait = mark_reached,
    .mark_order = mark_order,
    .pin = pin,
    .unpin = unpin,
};

sgi_status sgi__device_host(uint32_t ordinal, struct sgi__device **device_out, sgi_error *err)
{
    struct sgi__device *d = sgi__alloc_zero(1, sizeof *d);

    if (!d)
        return sgi__error(err, SGI_E_NO_MEMORY, "host:%u: out of memory", ordinal);
    d->ops = &ops;
    d->page_bytes = PAGE_BYTES;
    snprintf(d->name, sizeof d->name, "host:%u", ordinal);
    *device_out = d;
    return SGI_OK;
}
