/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver of gpu_probe: opening it, keeping what failed, the context, a few kernels, memory by handle.
 *
 * Any function may be missing, in an old driver or a fake one: nothing is called that was not found.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "gpu_probe.h"

static const struct {
    int         code;
    const char *name;
} names[] = { { CU_NO_SYMBOL, "the driver has no such function" },
              { CU_OK, "CUDA_SUCCESS" },
#define NAME(name, code, over) { code, "CUDA_ERROR_" #name },
              SGI__CUDA_CODES(NAME)
#undef NAME
};

/* The driver's own names are not asked for: a stub has none, and a broken driver is what this is for. */
const char *cu_name(int code)
{
    for (size_t n = 0; n < sizeof names / sizeof names[0]; n++) {
        if (names[n].code == code)
            return names[n].name;
    }
    return "not in gpu_probe's table";
}

bool cu_ended(struct probe *p, const char *call, int code)
{
    if (code == CU_OK)
        return true;
    if (!p->call) {
        p->call = call;
        p->code = code;
    }
    return false;
}

json_t *cu_code_json(int code)
{
    return json_pack("{s:i, s:s}", "code", code, "name", cu_name(code));
}

json_t *failure_json(const struct probe *p)
{
    if (!p->call)
        return json_null();
    json_t *failure = json_pack("{s:s, s:i, s:s}", "call", p->call, "code", p->code, "name", cu_name(p->code));
    if (p->jit_log[0])
        put_text(failure, "jit_log", p->jit_log);
    return failure;
}

void failure_clear(struct probe *p)
{
    p->call = NULL;
    p->code = CU_OK;
    p->jit_log[0] = '\0';
}

void failure_put(struct probe *p, json_t *to)
{
    if (p->call)
        json_object_set_new(to, "error", failure_json(p));
    failure_clear(p);
}

/* --------------------------------------------------------------------------------------------------------- opening */

static void *find(void *library, const char *name)
{
    return dlsym(library, name);
}

/* POSIX lets a void * be a function; ISO C does not, hence the copy of its bytes. */
#define FIND(name, parameters)                     \
    do {                                           \
        void *found = find(library, #name);        \
        memcpy(&p->cu.name, &found, sizeof found); \
    } while (0);

/* Never closed again: the driver has threads and handlers of its own. */
bool cuda_open(struct probe *p, json_t *reason_to)
{
    char reason[512];
    if (p->library)
        return true;
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        const char *why = dlerror();
        snprintf(reason, sizeof reason, "dlopen libcuda.so.1: %s", why ? why : "no reason given");
        put_text(reason_to, "reason", reason);
        return false;
    }
    GPU_PROBE_CUDA(FIND)
    if (!p->cu.cuInit) {
        put_text(reason_to, "reason", "libcuda.so.1 has no cuInit: not a CUDA driver");
        return false;
    }
    Dl_info info;
    void   *init;
    memcpy(&init, &p->cu.cuInit, sizeof init);
    p->library = dladdr(init, &info) && info.dli_fname ? info.dli_fname : "libcuda.so.1";
    return true;
}

bool cuda_init(struct probe *p)
{
    if (!cuda_open(p, p->out))
        return cu_ended(p, "dlopen", CU_NO_SYMBOL);
    return CU(p, cuInit, (0)) && CU(p, cuDeviceGet, (&p->device, p->ordinal));
}

bool cuda_context(struct probe *p)
{
    if (!cuda_init(p))
        return false;
    CU_CODE(p, cuDevicePrimaryCtxSetFlags_v2, (p->device, CU_PRIMARY_BLOCKING_SYNC)); /* a preference: may be refused */
    return CU(p, cuDevicePrimaryCtxRetain, (&p->context, p->device)) && CU(p, cuCtxSetCurrent, (p->context));
}

int cuda_attribute(struct probe *p, int attribute)
{
    int value;
    if (CU_CODE(p, cuDeviceGetAttribute, (&value, (cu_attribute)attribute, p->device)) != CU_OK)
        return INT32_MIN;
    return value;
}

/* --------------------------------------------------------------------------------------------------------- kernels */

/* Compiled by the driver for whatever it finds. trap is a fault that has nothing to do with an address. */
static const char ptx[] =
    ".version 6.4\n"
    ".target sm_70\n"
    ".address_size 64\n"
    ".visible .entry noop() { ret; }\n"
    ".visible .entry stop() { trap; ret; }\n"
    ".visible .entry poke(.param .u64 at, .param .u32 value) {\n"
    "  .reg .b64 %a; .reg .b32 %v;\n"
    "  ld.param.u64 %a, [at]; ld.param.u32 %v, [value];\n"
    "  st.u32 [%a], %v; ret; }\n"
    ".visible .entry peek(.param .u64 at, .param .u64 to) {\n"
    "  .reg .b64 %a, %t; .reg .b32 %v;\n"
    "  ld.param.u64 %a, [at]; ld.param.u64 %t, [to];\n"
    "  ld.u32 %v, [%a]; st.u32 [%t], %v; ret; }\n"
    ".visible .entry count(.param .u64 at, .param .u64 words, .param .u32 value, .param .u64 to) {\n"
    "  .reg .b64 %a, %n, %t, %i, %s, %p, %f; .reg .b32 %v, %w, %b, %d, %x, %g; .reg .pred %q;\n"
    "  ld.param.u64 %a, [at]; ld.param.u64 %n, [words]; ld.param.u32 %v, [value]; ld.param.u64 %t, [to];\n"
    "  mov.u32 %b, %ctaid.x; mov.u32 %d, %ntid.x; mov.u32 %x, %tid.x; mov.u32 %g, %nctaid.x;\n"
    "  mul.wide.u32 %i, %b, %d; cvt.u64.u32 %s, %x; add.u64 %i, %i, %s;\n"
    "  mul.wide.u32 %s, %g, %d;\n"
    "  mov.u64 %f, 0;\n"
    "LOOP: setp.ge.u64 %q, %i, %n; @%q bra DONE;\n"
    "  shl.b64 %p, %i, 2; add.u64 %p, %a, %p;\n"
    "  ld.u32 %w, [%p]; setp.eq.u32 %q, %w, %v; @%q add.u64 %f, %f, 1;\n"
    "  add.u64 %i, %i, %s; bra LOOP;\n"
    "DONE: atom.add.u64 %p, [%t], %f; ret; }\n";

bool cuda_module(struct probe *p)
{
    cu_jit_option options[2] = { CU_JIT_ERROR_LOG, CU_JIT_ERROR_LOG_BYTES };
    void         *values[2] = { p->jit_log, (void *)(uintptr_t)(sizeof p->jit_log - 1) };
    if (!CU(p, cuModuleLoadDataEx, (&p->module, ptx, 2, options, values)))
        return false;
    p->jit_log[0] = '\0';
    return true;
}

static int launch(struct probe *p, const char *name, unsigned blocks, unsigned threads, void **params)
{
    cu_function function;
    int         code = CU_CODE(p, cuModuleGetFunction, (&function, p->module, name));
    if (code != CU_OK)
        return code;
    return CU_CODE(p, cuLaunchKernel, (function, blocks, 1, 1, threads, 1, 1, 0, NULL, params, NULL));
}

int kernel_noop(struct probe *p)
{
    return launch(p, "noop", 1, 1, NULL);
}

int kernel_trap(struct probe *p)
{
    return launch(p, "stop", 1, 1, NULL);
}

int kernel_poke(struct probe *p, cu_ptr at, uint32_t value)
{
    void *params[] = { &at, &value };
    return launch(p, "poke", 1, 1, params);
}

int kernel_peek(struct probe *p, cu_ptr at, cu_ptr to)
{
    void *params[] = { &at, &to };
    return launch(p, "peek", 1, 1, params);
}

bool kernel_count(struct probe *p, cu_ptr at, uint64_t words, uint32_t value, uint64_t *found)
{
    cu_ptr sum = 0;
    if (!CU(p, cuMemAlloc_v2, (&sum, sizeof *found)))
        return false;
    void *params[] = { &at, &words, &value, &sum };
    bool  done = CU(p, cuMemsetD32_v2, (sum, 0, 2)) &&
                cu_ended(p, "cuLaunchKernel(count)", launch(p, "count", 1024, 256, params)) &&
                CU(p, cuCtxSynchronize, ()) && CU(p, cuMemcpyDtoH_v2, (found, sum, sizeof *found));
    CU_CODE(p, cuMemFree_v2, (sum));
    return done;
}

/* ------------------------------------------------------------------------------------------------ memory by handle */

cu_allocation allocation_on(const struct probe *p, bool exportable)
{
    cu_allocation prop;
    memset(&prop, 0, sizeof prop);
    prop.type = CU_ALLOCATION_PINNED;
    prop.handle_types = exportable ? CU_HANDLE_FD : CU_HANDLE_NONE;
    prop.location = (cu_location){ .type = CU_LOCATION_DEVICE, .id = p->device };
    return prop;
}

uint64_t granularity(struct probe *p, const cu_allocation *prop)
{
    size_t bytes = 0;
    if (CU_CODE(p, cuMemGetAllocationGranularity, (&bytes, prop, CU_GRANULARITY_MINIMUM)) != CU_OK || bytes == 0)
        return HUGE_PAGE;
    return bytes;
}

bool block_create(struct probe *p, struct block *b, uint64_t bytes, const cu_allocation *prop)
{
    uint64_t unit = granularity(p, prop);
    *b = (struct block){ .bytes = (bytes + unit - 1) / unit * unit };
    b->created = CU(p, cuMemCreate, (&b->handle, b->bytes, prop, 0));
    return b->created;
}

/* The driver wants the number itself where a pointer is declared. The fd stays the caller's. */
bool block_import(struct probe *p, struct block *b, uint64_t bytes, int fd)
{
    *b = (struct block){ .bytes = bytes };
    b->created = CU(p, cuMemImportFromShareableHandle, (&b->handle, (void *)(uintptr_t)fd, CU_HANDLE_FD));
    return b->created;
}

bool block_map(struct probe *p, struct block *b, unsigned access)
{
    cu_access want = { .location = { .type = CU_LOCATION_DEVICE, .id = p->device }, .flags = access };
    b->reserved = CU(p, cuMemAddressReserve, (&b->at, b->bytes, 0, 0, 0));
    b->mapped = b->reserved && CU(p, cuMemMap, (b->at, b->bytes, 0, b->handle, 0));
    return b->mapped && CU(p, cuMemSetAccess, (b->at, b->bytes, &want, 1));
}

bool block_export(struct probe *p, const struct block *b, int *fd)
{
    return CU(p, cuMemExportToShareableHandle, (fd, b->handle, CU_HANDLE_FD, 0));
}

void block_free(struct probe *p, struct block *b)
{
    if (b->mapped)
        CU(p, cuMemUnmap, (b->at, b->bytes));
    if (b->reserved)
        CU(p, cuMemAddressFree, (b->at, b->bytes));
    if (b->created)
        CU(p, cuMemRelease, (b->handle));
    *b = (struct block){ .bytes = 0 };
}

/* ---------------------------------------------------------------------------------------------- the probe `driver` */

static void put_attributes(struct probe *p, json_t *to)
{
    static const struct {
        const char *name;
        int         attribute;
    } wanted[] = {
        { "sms", CU_ATTRIBUTE_SMS },
        { "compute_mode", CU_ATTRIBUTE_COMPUTE_MODE },
        { "copy_engines", CU_ATTRIBUTE_COPY_ENGINES },
        { "cc_major", CU_ATTRIBUTE_CC_MAJOR },
        { "cc_minor", CU_ATTRIBUTE_CC_MINOR },
        { "pageable_access", CU_ATTRIBUTE_PAGEABLE_ACCESS },
        { "host_page_tables", CU_ATTRIBUTE_HOST_PAGE_TABLES },
        { "vmm", CU_ATTRIBUTE_VMM },
        { "posix_fd", CU_ATTRIBUTE_POSIX_FD },
        { "read_only_register", CU_ATTRIBUTE_READ_ONLY_REGISTER },
        { "memory_pools", CU_ATTRIBUTE_POOLS },
        { "dma_buf", CU_ATTRIBUTE_DMA_BUF },
        { "mps", CU_ATTRIBUTE_MPS },
        { "host_numa_id", CU_ATTRIBUTE_HOST_NUMA_ID },
        { "decompress_mask", CU_ATTRIBUTE_DECOMPRESS_MASK },
        { "host_numa_vmm", CU_ATTRIBUTE_HOST_NUMA_VMM },
        { "host_vmm", CU_ATTRIBUTE_HOST_VMM },
    };
    for (size_t n = 0; n < sizeof wanted / sizeof wanted[0]; n++) {
        int value = cuda_attribute(p, wanted[n].attribute);
        json_object_set_new(to, wanted[n].name, value == INT32_MIN ? json_null() : json_integer(value));
    }
}

static void put_uuid(struct probe *p, json_t *to)
{
    cu_uuid       uuid;
    unsigned char u[sizeof uuid];
    char          text[64];
    if (CU_CODE(p, cuDeviceGetUuid_v2, (&uuid, p->device)) != CU_OK)
        return;
    memcpy(u, &uuid, sizeof u);
    snprintf(text, sizeof text, "GPU-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0], u[1],
             u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]);
    put_text(to, "uuid", text);
}

static void put_device(struct probe *p, json_t *to)
{
    char   text[256] = "";
    size_t bytes;
    if (CU_CODE(p, cuDeviceGetName, (text, sizeof text - 1, p->device)) == CU_OK)
        put_text(to, "name", text);
    if (CU_CODE(p, cuDeviceGetPCIBusId, (text, sizeof text - 1, p->device)) == CU_OK)
        put_text(to, "pci", text);
    if (CU_CODE(p, cuDeviceTotalMem_v2, (&bytes, p->device)) == CU_OK)
        put_number(to, "total_mib", (double)bytes / (double)MIB);
    put_uuid(p, to);
    put_attributes(p, put_object(to, "attributes"));
}

static void put_missing(struct probe *p, json_t *to)
{
#define MISSING(name, parameters) \
    if (!p->cu.name)              \
        json_array_append_new(to, json_string(#name));
    GPU_PROBE_CUDA(MISSING)
}

/* Says why when there is nothing to measure: "reason" is what the whole run then ends with. */
void probe_driver(struct probe *p, json_t *out)
{
    char reason[256];
    int  version = 0, count = 0;

    if (!cuda_open(p, out))
        return;
    put_text(out, "library", p->library);
    put_missing(p, put_array(out, "missing"));
    if (CU_CODE(p, cuDriverGetVersion, (&version)) == CU_OK)
        json_object_set_new(out, "cuda_version", json_integer(version));
    step(p, "cuInit");
    if (!CU(p, cuInit, (0)) || !CU(p, cuDeviceGetCount, (&count))) {
        snprintf(reason, sizeof reason, "%s: %d %s", p->call, p->code, cu_name(p->code));
        put_text(out, "reason", reason);
        failure_put(p, out);
        return;
    }
    json_object_set_new(out, "devices", json_integer(count));
    if (p->ordinal >= count) {
        snprintf(reason, sizeof reason, "device %d of %d: there is no such device", p->ordinal, count);
        put_text(out, "reason", reason);
        return;
    }
    step(p, "device");
    if (!CU(p, cuDeviceGet, (&p->device, p->ordinal))) {
        snprintf(reason, sizeof reason, "%s: %d %s", p->call, p->code, cu_name(p->code));
        put_text(out, "reason", reason);
        failure_put(p, out);
        return;
    }
    json_t *device = put_object(out, "device");
    put_device(p, device);
    p->pci = json_string_value(json_object_get(device, "pci"));
    step(p, "nvml");
    nvml_put_device(p, put_object(out, "nvml"));
}
