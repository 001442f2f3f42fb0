/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Host memory that the driver knows. A pin belongs to the context that made it and goes with it. Stricter than the real
 * driver: pins do not share a page; who works on pinned memory that is not mapped any more, or takes the pin away while
 * work that uses it was not waited for, is told.
 */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"

static void whole_pages(cu_ptr *at, size_t *bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    cu_ptr end = (*at + *bytes + page - 1) / page * page;
    *at = *at / page * page;
    *bytes = (size_t)(end - *at);
}

bool fc_still_mapped(const void *at, size_t bytes)
{
    cu_ptr from = (uintptr_t)at;
    whole_pages(&from, &bytes);
    return msync((void *)(uintptr_t)from, bytes, MS_ASYNC) == 0; /* does nothing but look */
}

/* May all of it be read; may it be written? Of what the kernel says of this process. */
static bool protection_of(cu_ptr at, size_t bytes, bool *writable)
{
    char               line[512], flags[8];
    unsigned long long begin, end;
    cu_ptr             covered = at;
    FILE              *maps = fopen("/proc/self/maps", "re");
    *writable = true;
    while (maps && covered < at + bytes && fgets(line, sizeof line, maps)) {
        if (sscanf(line, "%llx-%llx %4s", &begin, &end, flags) != 3 || end <= covered)
            continue;
        if (begin > covered || flags[0] != 'r')
            break;
        *writable = *writable && flags[1] == 'w';
        covered = end;
    }
    if (maps)
        fclose(maps);
    return covered >= at + bytes;
}

static cu_result register_pin(struct context *context, void *at, size_t bytes, unsigned flags)
{
    bool   writable;
    cu_ptr from = (uintptr_t)at;
    size_t whole = bytes;
    whole_pages(&from, &whole);
    for (struct span *span = fc.spans; span; span = span->next) {
        cu_ptr begin = span->at;
        size_t length = span->bytes;
        whole_pages(&begin, &length);
        if (begin < from + whole && from < begin + length)
            return span->memory ? CU_INVALID_VALUE : CU_HOST_MEMORY_ALREADY_REGISTERED;
    }
    if (!protection_of((uintptr_t)at, bytes, &writable) || (!writable && (flags & CU_HOST_READ_ONLY) == 0))
        return CU_INVALID_VALUE;
    if (bytes > fc_config.pins_max - fc.host_pinned)
        return CU_OUT_OF_MEMORY;
    struct span span = { .kind = SPAN_PIN, .at = (uintptr_t)at, .bytes = bytes, .reach = at, .context = context };
    span.flags = flags;
    if (!fc_span_add(&span))
        return CU_OUT_OF_MEMORY;
    fc.host_pinned += bytes;
    return CU_OK;
}

cu_result cuMemHostRegister_v2(void *at, size_t bytes, unsigned int flags)
{
    cu_result code = fc_enter(CALL_cuMemHostRegister_v2, USES_CONTEXT);
    if (code != CU_OK)
        return code;
    if (!at || bytes == 0 || bytes > SIZE_MAX / 2 || flags > 0xF)
        return fc_leave(CU_INVALID_VALUE);
    return fc_leave(register_pin(fc_current(), at, bytes, flags));
}

static void check_unused(const struct span *span, const char *call)
{
    if (span->unobserved > 0)
        fc_violation(call, "%#llx of %zu bytes: nobody has waited for %u pieces of work that use it", span->at,
                     span->bytes, span->unobserved);
}

cu_result cuMemHostUnregister(void *at)
{
    cu_result code = fc_enter(CALL_cuMemHostUnregister, USES_CONTEXT);
    if (code != CU_OK)
        return code;
    struct span *span = fc_span_at((uintptr_t)at);
    if (!at)
        return fc_leave(CU_INVALID_VALUE);
    if (!span || span->kind != SPAN_PIN || span->at != (uintptr_t)at ||
        (span->context != fc_current() && (span->flags & CU_HOST_PORTABLE) == 0))
        return fc_leave(CU_HOST_MEMORY_NOT_REGISTERED);
    check_unused(span, "cuMemHostUnregister");
    if (!fc_still_mapped(at, span->bytes))
        fc_violation("cuMemHostUnregister", "%p of %zu bytes was unmapped while it was pinned", at, span->bytes);
    fc_span_remove(span);
    return fc_leave(CU_OK);
}

void fc_pins_check(const char *when)
{
    for (struct span *span = fc.spans; span; span = span->next) {
        if (span->kind == SPAN_PIN && !fc_still_mapped(span->reach, span->bytes))
            fc_violation(when, "%p of %zu bytes was unmapped while it was pinned", (void *)span->reach, span->bytes);
    }
}

/* ---------------------------------------------------------------------------------------------- made by the driver */

cu_result cuMemHostAlloc(void **at, size_t bytes, unsigned int flags)
{
    cu_result code = fc_enter(CALL_cuMemHostAlloc, USES_CONTEXT);
    if (code != CU_OK)
        return code;
    if (!at || bytes == 0 || flags > 0x7)
        return fc_leave(CU_INVALID_VALUE);
    if (bytes > fc_config.pins_max - fc.host_pinned)
        return fc_leave(CU_OUT_OF_MEMORY);
    void *made = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (made == MAP_FAILED)
        return fc_leave(CU_OUT_OF_MEMORY);
    struct span span = { .kind = SPAN_HOST_ALLOCATION, .at = (uintptr_t)made, .bytes = bytes, .reach = made };
    span.context = fc_current();
    span.flags = flags;
    if (!fc_span_add(&span)) {
        munmap(made, bytes);
        return fc_leave(CU_OUT_OF_MEMORY);
    }
    fc.host_pinned += bytes;
    *at = made;
    return fc_leave(CU_OK);
}

cu_result cuMemFreeHost(void *at)
{
    cu_result code = fc_enter(CALL_cuMemFreeHost, USES_CONTEXT);
    if (code != CU_OK)
        return code;
    struct span *span = fc_span_at((uintptr_t)at);
    if (!at)
        return fc_leave(CU_OK);
    if (!span || span->kind != SPAN_HOST_ALLOCATION || span->at != (uintptr_t)at)
        return fc_leave(CU_INVALID_VALUE);
    check_unused(span, "cuMemFreeHost");
    fc_span_remove(span);
    return fc_leave(CU_OK);
}

static struct span *host_span(const void *at)
{
    struct span *span = fc_span_at((uintptr_t)at);
    return span && !span->memory ? span : NULL;
}

cu_result cuMemHostGetFlags(unsigned int *flags, void *at)
{
    cu_result code = fc_enter(CALL_cuMemHostGetFlags, USES_CONTEXT);
    if (code != CU_OK)
        return code;
    struct span *span = host_span(at);
    if (!flags || !span)
        return fc_leave(CU_INVALID_VALUE);
    *flags = span->flags;
    return fc_leave(CU_OK);
}

/* The same address: all devices can use it (attribute 91). */
cu_result cuMemHostGetDevicePointer_v2(cu_ptr *device, void *host, unsigned int flags)
{
    cu_result code = fc_enter(CALL_cuMemHostGetDevicePointer_v2, USES_CONTEXT);
    if (code != CU_OK)
        return code;
    if (!device || flags != 0 || !host_span(host))
        return fc_leave(CU_INVALID_VALUE);
    *device = (uintptr_t)host;
    return fc_leave(CU_OK);
}

/* ------------------------------------------------------------------------------------------------------ for copies */

/* What pins all of a host range for this context; NULL with CU_OK: pageable. Partly pinned is an error, as is what only
 * a device can reach. */
struct span *fc_pin_of(const void *host, size_t bytes, const struct context *context, cu_result *code)
{
    cu_ptr       at = (uintptr_t)host;
    struct span *span = fc_span_at(at);
    *code = CU_OK;
    if (!span) {
        bool reserved = false;
        for (struct reservation *r = fc.reservations; r; r = r->next)
            reserved = reserved || (at < r->at + r->bytes && r->at < at + bytes);
        if (reserved || fc_span_overlaps(at, bytes))
            *code = CU_INVALID_VALUE;
        return NULL;
    }
    if (span->bytes - (size_t)(at - span->at) < bytes || (span->memory && !span->host_access)) {
        *code = CU_INVALID_VALUE;
        return NULL;
    }
    /* Made by the driver it is every context's; registered it is, if it was said to be. */
    bool usable = span->kind != SPAN_PIN || span->context == context || (span->flags & CU_HOST_PORTABLE) != 0;
    return usable ? span : NULL;
}
