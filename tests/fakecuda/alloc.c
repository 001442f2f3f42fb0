/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory of a context: cuMemAlloc, which the real driver does not clear and the fake fills with something that is
 * nobody's data, and what is known of an address. It is as large as was asked for: the real one rounds up in silence.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"

cu_result cuMemGetInfo_v2(size_t *free_bytes, size_t *total_bytes)
{
    cu_result code = fc_enter(CALL_cuMemGetInfo_v2, USES_CONTEXT);
    if (code != CU_OK)
        return code;
    if (!free_bytes || !total_bytes)
        return fc_leave(CU_INVALID_VALUE);
    uint64_t used = fc_ledger_used(fc.visible[fc_current()->device], 0) + fc_config.foreign_bytes;
    *total_bytes = fc_config.vram;
    *free_bytes = used < fc_config.vram ? fc_config.vram - used : 0;
    return fc_leave(CU_OK);
}

static void poison(char *at, size_t bytes)
{
    uint32_t value = fc_config.poison;
    for (size_t done = 0; done < bytes; done += sizeof value)
        memcpy(at + done, &value, bytes - done < sizeof value ? bytes - done : sizeof value);
}

static cu_result allocate(struct context *context, size_t bytes, cu_ptr *at)
{
    size_t         whole = (bytes + GRANULE - 1) / GRANULE * GRANULE;
    cu_result      code;
    struct memory *memory = whole >= bytes ? fc_memory_new(context->device, whole, &code) : NULL;
    if (!memory)
        return whole >= bytes ? code : CU_OUT_OF_MEMORY;
    struct span span = { .kind = SPAN_ALLOCATION, .bytes = bytes, .memory = memory, .context = context };
    char       *address = fc_reserve_address(whole, 0);
    span.at = (uintptr_t)address;
    span.reach = address ? fc_memory_reach(memory) : NULL;
    if (!span.reach || !fc_span_add(&span)) {
        if (span.reach)
            munmap(span.reach, whole);
        if (address)
            munmap(address, whole);
        fc_memory_unref(memory);
        return CU_OUT_OF_MEMORY;
    }
    poison(span.reach, bytes);
    *at = span.at;
    return CU_OK;
}

cu_result cuMemAlloc_v2(cu_ptr *at, size_t bytes)
{
    cu_result code = fc_enter(CALL_cuMemAlloc_v2, USES_CONTEXT);
    if (code != CU_OK)
        return code;
    if (!at || bytes == 0)
        return fc_leave(CU_INVALID_VALUE);
    return fc_leave(allocate(fc_current(), bytes, at));
}

cu_result cuMemFree_v2(cu_ptr at)
{
    cu_result code = fc_enter(CALL_cuMemFree_v2, USES_CONTEXT);
    if (code != CU_OK)
        return code;
    struct span *span = at ? fc_span_at(at) : NULL;
    if (at == 0)
        return fc_leave(CU_OK);
    if (!span || span->at != at || span->kind != SPAN_ALLOCATION)
        return fc_leave(CU_INVALID_VALUE);
    if (span->unobserved > 0)
        fc_violation("cuMemFree_v2", "%#llx of %zu bytes: nobody has waited for %u pieces of work that use it", at,
                     span->bytes, span->unobserved);
    fc_span_remove(span);
    return fc_leave(CU_OK);
}

cu_result cuMemGetAddressRange_v2(cu_ptr *base, size_t *bytes, cu_ptr at)
{
    cu_result code = fc_enter(CALL_cuMemGetAddressRange_v2, USES_CONTEXT);
    if (code != CU_OK)
        return code;
    struct span *span = fc_span_at(at);
    if (!span || span->kind == SPAN_PIN)
        return fc_leave(CU_NOT_FOUND);
    if (base)
        *base = span->at;
    if (bytes)
        *bytes = span->bytes;
    return fc_leave(CU_OK);
}

/* The memory type: 1 is the host's, 2 a device's. Memory that the driver does not know has none. */
cu_result cuPointerGetAttribute(void *value, cu_pointer_attribute attribute, cu_ptr at)
{
    cu_result code = fc_enter(CALL_cuPointerGetAttribute, USES_CONTEXT);
    if (code != CU_OK)
        return code;
    struct span *span = fc_span_at(at);
    if (!value || !span || attribute != CU_POINTER_MEMORY_TYPE)
        return fc_leave(CU_INVALID_VALUE);
    bool     device = span->memory && span->memory->device >= 0;
    unsigned type = device ? 2 : 1;
    memcpy(value, &type, sizeof type);
    return fc_leave(CU_OK);
}
