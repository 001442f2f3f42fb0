/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arenas of the cuda device: one range of addresses, a few large handles mapped into it one behind the other, and one
 * grant of access for each piece that is mapped.
 *
 * Taking memory needs no context, so that it happens while the context opens, and is where it shows that there is not
 * enough. Nothing is taken from cuMemAlloc: its memory would go with the context, and be freed one by one.
 */
#include "base/alloc.h"
#include "base/bytes.h"
#include "base/fault.h"
#include "device/cuda.h"

/* A handle is mapped and released as a whole; larger ones would be fewer calls and longer ones. */
#define HANDLE_BYTES_MAX (UINT64_C(512) << 20)

struct piece {
    cu_handle handle;
    uint64_t  bytes;
};

struct cuda_arena {
    struct sgi__arena base;   /* first */
    uint64_t          mapped; /* bytes of it from the beginning that can be used */
    struct piece     *pieces;
    uint32_t          pieces_count, pieces_mapped;
};

static struct cuda_arena *arena_of(struct sgi__arena *arena)
{
    return (struct cuda_arena *)arena;
}

static cu_allocation allocation_of(const struct cuda_device *c)
{
    return (cu_allocation){ .type = CU_ALLOCATION_PINNED, .location = { CU_LOCATION_DEVICE, c->device } };
}

/* What the driver says that is free goes along: who asks wants to know whether it was us or somebody else. */
static sgi_status out_of_memory(struct cuda_device *c, cu_result code, uint64_t bytes, uint64_t had, sgi_error *err)
{
    struct sgi__device_room room = c->base.ops->room(&c->base);

    if (code != CU_OUT_OF_MEMORY || room.total == 0)
        return sgi__cuda_failed(err, code, "%s: cuMemCreate of %llu bytes", c->base.name, (unsigned long long)bytes);
    return sgi__cuda_failed(err, code, "%s: cuMemCreate of %llu bytes, %llu were had; %llu of %llu are free",
                            c->base.name, (unsigned long long)bytes, (unsigned long long)had,
                            (unsigned long long)room.free, (unsigned long long)room.total);
}

static void release_from(struct cuda_device *c, struct cuda_arena *a, uint32_t first)
{
    cu_result code;
    while (a->pieces_count > first) {
        const struct piece *p = &a->pieces[--a->pieces_count];
        SGI__CUDA_AT_LAST(code, c->cuda.cuMemRelease(p->handle));
    }
}

/* Handles for `bytes` more at the end; all of them or none. */
static sgi_status take(struct cuda_device *c, struct cuda_arena *a, uint64_t bytes, sgi_error *err)
{
    cu_allocation prop = allocation_of(c);
    uint32_t      before = a->pieces_count, more = (uint32_t)((bytes + HANDLE_BYTES_MAX - 1) / HANDLE_BYTES_MAX);
    struct piece *grown = sgi__realloc_array(a->pieces, before + more, sizeof *grown);

    if (!grown)
        return sgi__error(err, SGI_E_NO_MEMORY, "%s: out of memory", c->base.name);
    a->pieces = grown;
    for (uint64_t had = 0; had < bytes;) {
        struct piece *p = &a->pieces[a->pieces_count];
        p->bytes = bytes - had < HANDLE_BYTES_MAX ? bytes - had : HANDLE_BYTES_MAX;
        cu_result code = sgi__fault(SGI__FAULT_RESERVE) ? CU_OUT_OF_MEMORY
                                                        : c->cuda.cuMemCreate(&p->handle, p->bytes, &prop, 0);
        if (code != CU_OK) {
            release_from(c, a, before);
            return out_of_memory(c, code, bytes, had, err);
        }
        had += p->bytes;
        a->pieces_count++;
    }
    a->base.bytes += bytes;
    return SGI_OK;
}

static sgi_status arena_new(struct sgi__device *d, uint64_t bytes, uint64_t reserve_bytes,
                            struct sgi__arena **arena_out, sgi_error *err)
{
    struct cuda_device *c = sgi__cuda_device(d);
    uint64_t            taken = sgi__align_up(bytes, d->page_bytes);
    struct cuda_arena  *a = sgi__alloc_zero(1, sizeof *a);

    if (!a)
        return sgi__error(err, SGI_E_NO_MEMORY, "%s: out of memory", d->name);
    a->base.reserved = sgi__align_up(reserve_bytes > taken ? reserve_bytes : taken, d->page_bytes);
    if (a->base.reserved == 0)
        a->base.reserved = d->page_bytes;
    cu_ptr    at = 0;
    cu_result code = c->cuda.cuMemAddressReserve(&at, a->base.reserved, d->page_bytes, 0, 0);
    if (code != CU_OK) {
        sgi_status st = sgi__cuda_failed(err, code, "%s: cuMemAddressReserve of %llu bytes", d->name,
                                         (unsigned long long)a->base.reserved);
        sgi__free(a);
        return st;
    }
    a->base.base = at;
    sgi_status st = take(c, a, taken, err);
    if (st != SGI_OK) {
        SGI__CUDA_AT_LAST(code, c->cuda.cuMemAddressFree(at, a->base.reserved));
        sgi__free(a->pieces);
        sgi__free(a);
        return st;
    }
    *arena_out = &a->base;
    return SGI_OK;
}

/* Not inside, so the thread's mode is its own still. */
sgi_status sgi__cuda_arena_new(struct sgi__device *d, uint64_t bytes, uint64_t reserve_bytes,
                               struct sgi__arena **arena_out, sgi_error *err)
{
    cu_capture_mode mode = sgi__cuda_relax(sgi__cuda_device(d));
    sgi_status      st = arena_new(d, bytes, reserve_bytes, arena_out, err);
    sgi__cuda_unrelax(sgi__cuda_device(d), mode);
    return st;
}

/* Takes mappings off again, from the last one down to `first`. */
static void unmap_from(struct cuda_device *c, struct cuda_arena *a, uint32_t first)
{
    cu_result code;
    while (a->pieces_mapped > first) {
        struct piece *p = &a->pieces[--a->pieces_mapped];
        a->mapped -= p->bytes;
        SGI__CUDA_AT_LAST(code, c->cuda.cuMemUnmap(a->base.base + a->mapped, p->bytes));
    }
}

/* To this device, and with `share` to those that were named too, if the driver lets them. */
static cu_result give_access(struct cuda_device *c, struct cuda_arena *a, uint64_t from, bool share)
{
    cu_access list[1 + CUDA_PEERS_MAX] = { { .location = { CU_LOCATION_DEVICE, c->device },
                                             .flags = CU_ACCESS_READ_WRITE } };

    for (uint32_t n = 0; n < c->peers_count; n++)
        list[1 + n] = (cu_access){ .location = { CU_LOCATION_DEVICE, c->peers[n] }, .flags = CU_ACCESS_READ };
    bool shared = share && c->peers_count > 0 &&
                  c->cuda.cuMemSetAccess(a->base.base + from, a->mapped - from, list, 1 + c->peers_count) == CU_OK;
    if (share)
        a->base.shared = shared;
    return shared ? CU_OK : c->cuda.cuMemSetAccess(a->base.base + from, a->mapped - from, list, 1);
}

static sgi_status map_rest(struct sgi__device *d, struct cuda_arena *a, bool share, sgi_error *err)
{
    struct cuda_device *c = sgi__cuda_device(d);
    uint32_t            before = a->pieces_mapped;
    uint64_t            from = a->mapped;
    cu_result           code = CU_OK;

    for (; a->pieces_mapped < a->pieces_count; a->pieces_mapped++) {
        struct piece *p = &a->pieces[a->pieces_mapped];
        code = c->cuda.cuMemMap(a->base.base + a->mapped, p->bytes, 0, p->handle, 0);
        if (code != CU_OK) {
            unmap_from(c, a, before);
            return sgi__cuda_failed(err, code, "%s: cuMemMap of %llu bytes", d->name, (unsigned long long)p->bytes);
        }
        a->mapped += p->bytes;
    }
    if (a->mapped > from)
        code = give_access(c, a, from, share);
    if (code != CU_OK) {
        uint64_t bytes = a->mapped - from;
        unmap_from(c, a, before);
        return sgi__cuda_failed(err, code, "%s: cuMemSetAccess to %llu bytes", d->name, (unsigned long long)bytes);
    }
    return SGI_OK;
}

sgi_status sgi__cuda_arena_map(struct sgi__device *d, struct sgi__arena *arena, sgi_error *err)
{
    return map_rest(d, arena_of(arena), true, err);
}

sgi_status sgi__cuda_arena_grow(struct sgi__device *d, struct sgi__arena *arena, uint64_t bytes, sgi_error *err)
{
    struct cuda_device *c = sgi__cuda_device(d);
    struct cuda_arena  *a = arena_of(arena);
    uint64_t            more = sgi__align_up(bytes, d->page_bytes);
    uint32_t            before = a->pieces_count;

    if (more < bytes || more > arena->reserved - arena->bytes)
        return sgi__error(err, SGI_E_DEVICE_MEMORY, "%s: %llu bytes more are beyond the %llu that were reserved",
                          d->name, (unsigned long long)bytes, (unsigned long long)arena->reserved);
    sgi_status st = take(c, a, more, err);
    if (st != SGI_OK)
        return st;
    st = map_rest(d, a, false, err);
    if (st != SGI_OK) {
        release_from(c, a, before);
        arena->bytes -= more;
    }
    return st;
}

/* The memory of a piece is free again when it is neither mapped nor held. */
static cu_result give_piece(struct cuda_device *c, struct cuda_arena *a, uint32_t n, uint64_t at)
{
    struct piece *p = &a->pieces[n];
    cu_result     unmapped = CU_OK, released;

    if (n < a->pieces_mapped)
        SGI__CUDA_AT_LAST(unmapped, c->cuda.cuMemUnmap(a->base.base + at, p->bytes));
    SGI__CUDA_AT_LAST(released, c->cuda.cuMemRelease(p->handle));
    return unmapped != CU_OK ? unmapped : released;
}

/* After the device is lost each call fails at once; what it does not give back goes with the process. */
uint64_t sgi__cuda_arena_free(struct sgi__device *d, struct sgi__arena *arena, sgi_error *err)
{
    struct cuda_device *c = sgi__cuda_device(d);
    struct cuda_arena  *a = arena ? arena_of(arena) : NULL;
    uint64_t            at = 0, kept = 0;
    cu_result           code = CU_OK;

    if (!a)
        return 0;
    cu_capture_mode mode = sgi__cuda_relax(c);
    for (uint32_t n = 0; n < a->pieces_count; n++) {
        cu_result given = give_piece(c, a, n, at);
        at += a->pieces[n].bytes;
        kept += given == CU_OK ? 0 : a->pieces[n].bytes;
        code = code == CU_OK ? given : code;
    }
    cu_result addresses;
    SGI__CUDA_AT_LAST(addresses, c->cuda.cuMemAddressFree(a->base.base, a->base.reserved));
    sgi__cuda_unrelax(c, mode);
    if (code != CU_OK)
        sgi__cuda_failed(err, code, "%s: %llu bytes of it were not given back", d->name, (unsigned long long)kept);
    else if (addresses != CU_OK)
        sgi__cuda_failed(err, addresses, "%s: cuMemAddressFree of %llu bytes", d->name,
                         (unsigned long long)a->base.reserved);
    sgi__free(a->pieces);
    sgi__free(a);
    return kept;
}
