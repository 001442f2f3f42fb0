/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What lies at an address. Device addresses are reserved in the process and stay PROT_NONE: a host that touches one
 * faults. The bytes are reached through a second mapping of the same memory (span.reach), which nobody outside knows.
 */
#include <stdlib.h>
#include <sys/mman.h>

#include "internal.h"

struct span *fc_span_at(cu_ptr at)
{
    for (struct span *span = fc.spans; span && span->at <= at; span = span->next) {
        if (at - span->at < span->bytes)
            return span;
    }
    return NULL;
}

bool fc_span_overlaps(cu_ptr at, size_t bytes)
{
    for (struct span *span = fc.spans; span && span->at < at + bytes; span = span->next) {
        if (at < span->at + span->bytes)
            return true;
    }
    return false;
}

struct span *fc_span_add(const struct span *span)
{
    struct span **link = &fc.spans, *made = malloc(sizeof *made);
    if (!made)
        return NULL;
    while (*link && (*link)->at < span->at)
        link = &(*link)->next;
    *made = *span;
    made->refs = 1;
    made->next = *link;
    *link = made;
    return made;
}

void fc_span_remove(struct span *span)
{
    struct span **link = &fc.spans;
    while (*link != span)
        link = &(*link)->next;
    *link = span->next;
    span->gone = true;
    if (span->kind == SPAN_ALLOCATION)
        munmap((void *)(uintptr_t)span->at, (span->bytes + GRANULE - 1) / GRANULE * GRANULE);
    if (span->kind == SPAN_PIN || span->kind == SPAN_HOST_ALLOCATION)
        fc.host_pinned -= span->bytes;
    fc_span_unref(span);
}

void fc_span_unref(struct span *span)
{
    if (--span->refs > 0)
        return;
    if (span->memory) {
        munmap(span->reach, span->memory->bytes);
        fc_memory_unref(span->memory);
    }
    if (span->kind == SPAN_HOST_ALLOCATION)
        munmap(span->reach, span->bytes);
    free(span);
}

/* Anywhere: a hint is no promise. */
char *fc_reserve_address(size_t bytes, size_t align)
{
    if (align < GRANULE)
        align = GRANULE;
    if (bytes > SIZE_MAX / 2 - align)
        return NULL;
    char *got = mmap(NULL, bytes + align, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (got == MAP_FAILED)
        return NULL;
    char *at = (char *)(((uintptr_t)got + align - 1) / align * align);
    if (at > got)
        munmap(got, (size_t)(at - got));
    munmap(at + bytes, (size_t)(got + align - at));
    return at;
}

/* May `device` do this to the span? An error of the call; or *fault, where only the device finds out. */
static cu_result check_access(const struct span *span, int device, bool writing, cu_result *fault)
{
    if (span->kind == SPAN_PIN && writing && (span->flags & CU_HOST_READ_ONLY) != 0)
        return CU_INVALID_VALUE;
    if (span->kind != SPAN_MAPPING)
        return CU_OK;
    if (span->access[device] == 0)
        return CU_INVALID_VALUE;
    if (writing && span->access[device] != CU_ACCESS_READ_WRITE)
        *fault = CU_ILLEGAL_ADDRESS;
    return CU_OK;
}

/* A range may go on from one mapping to the next, as in an arena; it ends with an allocation, and with a pin. */
cu_result fc_resolve(cu_ptr at, size_t bytes, int device, bool writing, struct parts *parts, cu_result *fault)
{
    *parts = (struct parts){ .count = 0 };
    while (bytes > 0) {
        struct span *span = fc_span_at(at);
        cu_result    code = span ? check_access(span, device, writing, fault) : CU_INVALID_VALUE;
        size_t       offset = span ? (size_t)(at - span->at) : 0, here = span ? span->bytes - offset : 0;
        if (code == CU_OK && here < bytes && span->kind != SPAN_MAPPING)
            code = CU_INVALID_VALUE;
        struct part *list = code == CU_OK ? realloc(parts->list, (parts->count + 1) * sizeof *list) : NULL;
        if (!list) {
            free(parts->list);
            *parts = (struct parts){ .count = 0 };
            return code != CU_OK ? code : CU_OUT_OF_MEMORY;
        }
        parts->list = list;
        here = here < bytes ? here : bytes;
        list[parts->count++] = (struct part){ span, span->reach + offset, here };
        at += here;
        bytes -= here;
    }
    return CU_OK;
}

void fc_parts_hold(const struct parts *parts)
{
    for (unsigned n = 0; n < parts->count; n++) {
        parts->list[n].span->refs++;
        parts->list[n].span->unobserved++;
    }
}

void fc_parts_drop(struct parts *parts)
{
    for (unsigned n = 0; n < parts->count; n++) {
        parts->list[n].span->unobserved--;
        fc_span_unref(parts->list[n].span);
    }
    free(parts->list);
    *parts = (struct parts){ .count = 0 };
}
