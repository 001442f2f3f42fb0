/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory by handle, and the addresses it is mapped at. A handle is a file of the ledger, so that what is exported is a
 * real descriptor that another process can import, and memory counts until the last who has it has let go. None of it
 * belongs to a context. Stricter than the real driver: memory that work is still under way to or from, as far as the
 * host has waited for it, is not to be unmapped.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"

/* ------------------------------------------------------------------------------------------------- physical memory */

struct memory *fc_memory_new(int device, size_t bytes, cu_result *code)
{
    struct memory *made = calloc(1, sizeof *made);
    *code = CU_OUT_OF_MEMORY;
    if (!made)
        return NULL;
    *made = (struct memory){ .device = device, .bytes = bytes, .refs = 1 };
    made->fd = fc_ledger_take('m', device < 0 ? -1 : fc.visible[device], bytes,
                              fc_config.vram - fc_config.foreign_bytes);
    if (made->fd < 0) {
        if (errno)
            *code = CU_OPERATING_SYSTEM;
        free(made);
        return NULL;
    }
    *code = CU_OK;
    return made;
}

void fc_memory_unref(struct memory *memory)
{
    if (--memory->refs > 0)
        return;
    if (memory->shared)
        __atomic_fetch_sub(&fc.process->shared, 1, __ATOMIC_RELAXED);
    close(memory->fd);
    free(memory);
}

char *fc_memory_reach(const struct memory *memory)
{
    char *reach = mmap(NULL, memory->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory->fd, 0);
    if (reach == MAP_FAILED)
        return NULL;
    madvise(reach, memory->bytes, MADV_DONTFORK);
    madvise(reach, memory->bytes, MADV_DONTDUMP);
    return reach;
}

static cu_result check_properties(const cu_allocation *prop)
{
    if (!prop || prop->type != CU_ALLOCATION_PINNED)
        return CU_INVALID_VALUE;
    if (prop->handle_types != CU_HANDLE_NONE && prop->handle_types != CU_HANDLE_FD)
        return CU_INVALID_VALUE;
    if (prop->location.type == CU_LOCATION_DEVICE)
        return fc_device_good(prop->location.id) ? CU_OK : CU_INVALID_DEVICE;
    if (prop->location.type == CU_LOCATION_HOST)
        return prop->handle_types == CU_HANDLE_NONE ? CU_OK : CU_INVALID_VALUE;
    return prop->location.type == CU_LOCATION_HOST_NUMA && prop->location.id == 0 ? CU_OK : CU_INVALID_VALUE;
}

cu_result cuMemGetAllocationGranularity(size_t *bytes, const cu_allocation *prop, cu_granularity option)
{
    cu_result code = fc_enter(CALL_cuMemGetAllocationGranularity, NEEDS_INIT);
    if (code != CU_OK)
        return code;
    code = check_properties(prop);
    if (!bytes || option > CU_GRANULARITY_RECOMMENDED)
        code = CU_INVALID_VALUE;
    if (code == CU_OK)
        *bytes = GRANULE;
    return fc_leave(code);
}

static cu_result name_memory(struct memory *memory, cu_handle *handle)
{
    memory->handle = fc_handle_make(KIND_MEMORY, memory);
    memory->handle_refs = 1;
    if (!memory->handle) {
        fc_memory_unref(memory);
        return CU_OUT_OF_MEMORY;
    }
    *handle = memory->handle;
    return CU_OK;
}

cu_result cuMemCreate(cu_handle *handle, size_t bytes, const cu_allocation *prop, unsigned long long flags)
{
    cu_result code = fc_enter(CALL_cuMemCreate, USES_DEVICE);
    if (code != CU_OK)
        return code;
    code = check_properties(prop);
    if (code == CU_OK && (!handle || bytes == 0 || bytes % GRANULE != 0 || flags != 0))
        code = CU_INVALID_VALUE;
    if (code != CU_OK)
        return fc_leave(code);
    struct memory *made = fc_memory_new(prop->location.type == CU_LOCATION_DEVICE ? prop->location.id : -1, bytes,
                                        &code);
    if (!made)
        return fc_leave(code);
    made->exportable = prop->handle_types == CU_HANDLE_FD;
    return fc_leave(name_memory(made, handle));
}

cu_result cuMemRelease(cu_handle handle)
{
    cu_result code = fc_enter(CALL_cuMemRelease, USES_DEVICE);
    if (code != CU_OK)
        return code;
    struct memory *memory = fc_handle_get(KIND_MEMORY, handle);
    if (!memory)
        return fc_leave(CU_INVALID_VALUE);
    if (--memory->handle_refs == 0) {
        fc_handle_drop(handle);
        memory->handle = 0;
        fc_memory_unref(memory);
    }
    return fc_leave(CU_OK);
}

cu_result cuMemRetainAllocationHandle(cu_handle *handle, void *at)
{
    cu_result code = fc_enter(CALL_cuMemRetainAllocationHandle, USES_DEVICE);
    if (code != CU_OK)
        return code;
    struct span *span = fc_span_at((uintptr_t)at);
    if (!handle || !span || span->kind != SPAN_MAPPING)
        return fc_leave(CU_INVALID_VALUE);
    if (span->memory->handle) {
        span->memory->handle_refs++;
        *handle = span->memory->handle;
        return fc_leave(CU_OK);
    }
    span->memory->refs++;
    return fc_leave(name_memory(span->memory, handle));
}

/* ---------------------------------------------------------------------------------------------- to other processes */

static void set_shared(struct memory *memory)
{
    if (!memory->shared)
        __atomic_fetch_add(&fc.process->shared, 1, __ATOMIC_RELAXED);
    memory->shared = true;
}

cu_result cuMemExportToShareableHandle(void *shareable, cu_handle handle, cu_handle_type type, unsigned long long flags)
{
    cu_result code = fc_enter(CALL_cuMemExportToShareableHandle, USES_DEVICE);
    if (code != CU_OK)
        return code;
    struct memory *memory = fc_handle_get(KIND_MEMORY, handle);
    if (!shareable || !memory || !memory->exportable || type != CU_HANDLE_FD || flags != 0)
        return fc_leave(CU_INVALID_VALUE);
    int fd = fcntl(memory->fd, F_DUPFD_CLOEXEC, 3); /* of the same open file: it holds the memory as a handle does */
    if (fd < 0)
        return fc_leave(CU_OPERATING_SYSTEM);
    set_shared(memory);
    *(int *)shareable = fd;
    return fc_leave(CU_OK);
}

static int ordinal_of(int device)
{
    for (int n = 0; n < fc.visible_count; n++) {
        if (fc.visible[n] == device)
            return n;
    }
    return -1;
}

/* The descriptor stays the caller's: memory has one of its own. */
static cu_result import(int fd, cu_handle *handle)
{
    char     kind;
    int      device;
    uint64_t bytes;
    if (!fc_ledger_piece(fd, &kind, &device, &bytes) || kind != 'm')
        return CU_INVALID_VALUE;
    int ordinal = ordinal_of(device);
    if (device >= 0 && ordinal < 0)
        return CU_INVALID_DEVICE;
    struct memory *made = calloc(1, sizeof *made);
    int            own = made ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;
    if (own < 0) {
        free(made);
        return CU_OUT_OF_MEMORY;
    }
    *made = (struct memory){ .fd = own, .bytes = bytes, .device = ordinal, .exportable = true, .refs = 1 };
    set_shared(made);
    return name_memory(made, handle);
}

cu_result cuMemImportFromShareableHandle(cu_handle *handle, void *os_handle, cu_handle_type type)
{
    cu_result code = fc_enter(CALL_cuMemImportFromShareableHandle, USES_DEVICE);
    if (code != CU_OK)
        return code;
    if (!handle || type != CU_HANDLE_FD)
        return fc_leave(CU_INVALID_VALUE);
    return fc_leave(import((int)(intptr_t)os_handle, handle));
}

/* ------------------------------------------------------------------------------------------------------- addresses */

static struct reservation **reservation_of(cu_ptr at, size_t bytes)
{
    for (struct reservation **link = &fc.reservations; *link; link = &(*link)->next) {
        if (at >= (*link)->at && at - (*link)->at <= (*link)->bytes && bytes <= (*link)->bytes - (at - (*link)->at))
            return link;
    }
    return NULL;
}

cu_result cuMemAddressReserve(cu_ptr *at, size_t bytes, size_t align, cu_ptr hint, unsigned long long flags)
{
    cu_result code = fc_enter(CALL_cuMemAddressReserve, USES_DEVICE);
    if (code != CU_OK)
        return code;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (!at || bytes == 0 || bytes % page != 0 || (align & (align - 1)) != 0 || hint % page != 0 || flags != 0)
        return fc_leave(CU_INVALID_VALUE);
    struct reservation *made = malloc(sizeof *made);
    char               *got = made ? fc_reserve_address(bytes, align) : NULL;
    if (!got) {
        free(made);
        return fc_leave(CU_OUT_OF_MEMORY);
    }
    *made = (struct reservation){ (uintptr_t)got, bytes, fc.reservations };
    fc.reservations = made;
    *at = made->at;
    return fc_leave(CU_OK);
}

cu_result cuMemAddressFree(cu_ptr at, size_t bytes)
{
    cu_result code = fc_enter(CALL_cuMemAddressFree, USES_DEVICE);
    if (code != CU_OK)
        return code;
    struct reservation **link = reservation_of(at, bytes), *found = link ? *link : NULL;
    if (!found || found->at != at || found->bytes != bytes || fc_span_overlaps(at, bytes))
        return fc_leave(CU_INVALID_VALUE);
    *link = found->next;
    munmap((void *)(uintptr_t)at, bytes);
    free(found);
    return fc_leave(CU_OK);
}

/* All of a handle or none: its offset must be 0, as in the real driver, and the slice of one is not supported there. */
static cu_result map(cu_ptr at, size_t bytes, struct memory *memory)
{
    if (bytes != memory->bytes)
        return bytes < memory->bytes ? CU_NOT_SUPPORTED : CU_INVALID_VALUE;
    if (!reservation_of(at, bytes) || fc_span_overlaps(at, bytes))
        return CU_INVALID_VALUE;
    struct span span = { .kind = SPAN_MAPPING, .at = at, .bytes = bytes, .memory = memory };
    span.reach = fc_memory_reach(memory);
    if (!span.reach || !fc_span_add(&span)) {
        if (span.reach)
            munmap(span.reach, memory->bytes);
        return CU_OUT_OF_MEMORY;
    }
    memory->refs++;
    return CU_OK;
}

cu_result cuMemMap(cu_ptr at, size_t bytes, size_t offset, cu_handle handle, unsigned long long flags)
{
    cu_result code = fc_enter(CALL_cuMemMap, USES_DEVICE);
    if (code != CU_OK)
        return code;
    struct memory *memory = fc_handle_get(KIND_MEMORY, handle);
    if (!memory || bytes == 0 || at % GRANULE != 0 || bytes % GRANULE != 0 || offset != 0 || flags != 0)
        return fc_leave(CU_INVALID_VALUE);
    return fc_leave(map(at, bytes, memory));
}

/* Is the range a row of whole mappings? Its first, or NULL. */
static struct span *whole_mappings(cu_ptr at, size_t bytes)
{
    struct span *first = fc_span_at(at), *span = first;
    if (bytes == 0 || !first || first->at != at)
        return NULL;
    for (cu_ptr end = at; end < at + bytes; span = span->next) {
        if (!span || span->kind != SPAN_MAPPING || span->at != end || span->bytes > at + bytes - end)
            return NULL;
        end += span->bytes;
    }
    return first;
}

static void hide_from_host(struct span *span)
{
    void *hidden = span->host_access ? mmap((void *)(uintptr_t)span->at, span->bytes, PROT_NONE,
                                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0)
                                     : NULL;
    if (hidden == MAP_FAILED)
        fc_log("the host still reaches %#llx", span->at);
    span->host_access = 0;
}

cu_result cuMemUnmap(cu_ptr at, size_t bytes)
{
    cu_result code = fc_enter(CALL_cuMemUnmap, USES_DEVICE);
    if (code != CU_OK)
        return code;
    struct span *span = whole_mappings(at, bytes);
    if (!span)
        return fc_leave(CU_INVALID_VALUE);
    for (struct span *next; span && span->at < at + bytes; span = next) {
        next = span->next;
        if (span->unobserved > 0)
            fc_violation("cuMemUnmap", "%#llx of %zu bytes: nobody has waited for %u pieces of work that use it",
                         span->at, span->bytes, span->unobserved);
        hide_from_host(span);
        fc_span_remove(span);
    }
    return fc_leave(CU_OK);
}

/* ---------------------------------------------------------------------------------------------------------- access */

static cu_result check_one_access(const struct span *first, cu_ptr end, const cu_access *access)
{
    if (access->flags != 0 && access->flags != CU_ACCESS_READ && access->flags != CU_ACCESS_READ_WRITE)
        return CU_INVALID_VALUE;
    bool host = access->location.type == CU_LOCATION_HOST || access->location.type == CU_LOCATION_HOST_NUMA;
    if (!host && access->location.type != CU_LOCATION_DEVICE)
        return CU_INVALID_VALUE;
    if (!host && !fc_device_good(access->location.id))
        return CU_INVALID_DEVICE;
    for (const struct span *span = first; span && span->at < end; span = span->next) {
        if (host && span->memory->device >= 0)
            return CU_INVALID_VALUE; /* the host has no way to a device's memory */
        if (!host && span->memory->device >= 0 && span->memory->device != access->location.id && !fc_config.peers)
            return CU_INVALID_DEVICE;
    }
    return CU_OK;
}

static cu_result show_host(struct span *span, unsigned flags)
{
    hide_from_host(span);
    if (flags == 0)
        return CU_OK;
    int   protection = flags == CU_ACCESS_READ ? PROT_READ : PROT_READ | PROT_WRITE;
    void *got = mmap((void *)(uintptr_t)span->at, span->bytes, protection, MAP_SHARED | MAP_FIXED, span->memory->fd, 0);
    if (got == MAP_FAILED)
        return CU_OUT_OF_MEMORY;
    span->host_access = (unsigned char)flags;
    return CU_OK;
}

cu_result cuMemSetAccess(cu_ptr at, size_t bytes, const cu_access *access, size_t count)
{
    cu_result code = fc_enter(CALL_cuMemSetAccess, USES_DEVICE);
    if (code != CU_OK)
        return code;
    struct span *first = whole_mappings(at, bytes);
    if (!first || !access || count == 0)
        return fc_leave(CU_INVALID_VALUE);
    for (size_t n = 0; n < count && code == CU_OK; n++)
        code = check_one_access(first, at + bytes, &access[n]);
    for (size_t n = 0; n < count && code == CU_OK; n++) {
        for (struct span *span = first; span && span->at < at + bytes && code == CU_OK; span = span->next) {
            if (access[n].location.type == CU_LOCATION_DEVICE)
                span->access[access[n].location.id] = (unsigned char)access[n].flags;
            else
                code = show_host(span, access[n].flags);
        }
    }
    return fc_leave(code);
}

cu_result cuMemGetAccess(unsigned long long *flags, const cu_location *location, cu_ptr at)
{
    cu_result code = fc_enter(CALL_cuMemGetAccess, USES_DEVICE);
    if (code != CU_OK)
        return code;
    struct span *span = fc_span_at(at);
    if (!flags || !location || !span || span->kind != SPAN_MAPPING)
        return fc_leave(CU_INVALID_VALUE);
    if (location->type == CU_LOCATION_DEVICE && !fc_device_good(location->id))
        return fc_leave(CU_INVALID_DEVICE);
    *flags = location->type == CU_LOCATION_DEVICE ? span->access[location->id] : span->host_access;
    return fc_leave(CU_OK);
}
