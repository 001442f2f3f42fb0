/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A libcuda.so.1 for tests of gpu_probe: memory is the host's, handles are memfds, kernels are the few that gpu_probe
 * has, run where they are launched. What it shows is that gpu_probe's processes find and outlive each other and that
 * its answers are those the driver gave; it says nothing of what a real driver does.
 *
 * FAKE_CUDA: unset or "works"; "stub" (cuInit is 34); "none" (no device); "crash" (cuMemCreate); "hang" (cuMemCreate);
 * "dirty" (memory keeps what was in it); "deaf" (faults go unnoticed). FAKE_CUDA_FAILS names a function that always
 * fails. Built with FAKE_CUDA_EMPTY it is no driver, with FAKE_CUDA_OLD one of before checkpoints.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../bench/gpu_probe_cuda.h"

#ifdef FAKE_CUDA_EMPTY

int fake_cuda_is_empty(void);
int fake_cuda_is_empty(void)
{
    return 1;
}

#else

/* The list declares what is exported; a definition that differs does not compile. */
#define DECLARE(name, parameters) cu_result name parameters;
GPU_PROBE_CUDA(DECLARE)

enum { TABLE_MAX = 1024, MADE_DEVICES = 2 };

static struct range {
    void  *at;
    size_t bytes;
} allocations[TABLE_MAX], pins[TABLE_MAX];

static int      files[TABLE_MAX]; /* a handle's memfd, plus one */
static unsigned initialized, retained[MADE_DEVICES];
static int      sticky;
static char     contexts[MADE_DEVICES + 1], *current;

static int is(const char *mode)
{
    const char *set = getenv("FAKE_CUDA");
    return set && strcmp(set, mode) == 0;
}

/* Fails because somebody said that it should: FAKE_CUDA_FAILS is the function's name. */
static int told_to_fail(const char *function)
{
    const char *name = getenv("FAKE_CUDA_FAILS");
    return name && strcmp(name, function) == 0;
}

#define FAILS                       \
    do {                            \
        if (told_to_fail(__func__)) \
            return 999;             \
    } while (0)

/* What most functions begin with. */
#define READY                         \
    do {                              \
        FAILS;                        \
        if (!initialized)             \
            return 3;                 \
        if (sticky)                   \
            return (cu_result)sticky; \
    } while (0)
#define READY_WITH_CONTEXT \
    READY;                 \
    if (!current)          \
    return 201

static struct range *find(struct range *table, const void *at)
{
    for (int n = 0; n < TABLE_MAX; n++) {
        if (table[n].at == at)
            return &table[n];
    }
    return NULL;
}

/* Can all of it be read, or written? Asked of the kernel, page by page: it answers where a load would be a signal. */
static int reach(cu_ptr at, size_t bytes, int writing)
{
    static int ends[2] = { -1, -1 };
    if (ends[0] < 0 && pipe(ends) != 0)
        return 0;
    for (size_t done = 0; done < bytes; done += 4096) {
        void *byte = (void *)(uintptr_t)(at + done);
        char  drain;
        if (write(ends[1], byte, 1) != 1)
            return 0;
        if (read(ends[0], writing ? byte : &drain, 1) != 1) {
            if (read(ends[0], &drain, 1) != 1)
                return 0;
            return 0;
        }
    }
    return 1;
}

static cu_result fault(int code)
{
    if (!is("deaf"))
        sticky = code;
    return (cu_result)sticky;
}

/* ------------------------------------------------------------------------------------------------- device, context */

cu_result cuInit(unsigned int flags)
{
    FAILS;
    (void)flags;
    if (is("stub"))
        return 34;
    if (is("none"))
        return CU_NO_DEVICE;
    initialized = 1;
    return 0;
}

cu_result cuDriverGetVersion(int *version)
{
    FAILS;
    *version = 13000;
    return 0;
}

cu_result cuDeviceGetCount(int *count)
{
    FAILS;
    *count = getenv("CUDA_VISIBLE_DEVICES") ? 1 : MADE_DEVICES;
    return initialized ? 0 : 3;
}

cu_result cuDeviceGet(cu_device *device, int ordinal)
{
    READY;
    *device = ordinal;
    return ordinal < MADE_DEVICES ? 0 : 101;
}

cu_result cuDeviceGetName(char *name, int length, cu_device device)
{
    FAILS;
    snprintf(name, (size_t)length, "Fake %d", device);
    return 0;
}

cu_result cuDeviceGetUuid_v2(cu_uuid *uuid, cu_device device)
{
    FAILS;
    memset(uuid, 0x10 + device, sizeof *uuid);
    return 0;
}

cu_result cuDeviceGetPCIBusId(char *id, int length, cu_device device)
{
    FAILS;
    snprintf(id, (size_t)length, "0000:%02X:00.0", device + 1);
    return 0;
}

cu_result cuDeviceTotalMem_v2(size_t *bytes, cu_device device)
{
    FAILS;
    (void)device;
    *bytes = (size_t)1 << 30;
    return 0;
}

cu_result cuDeviceGetAttribute(int *value, cu_attribute attribute, cu_device device)
{
    FAILS;
    (void)device;
    *value = (int)attribute;
    return attribute == CU_ATTRIBUTE_HOST_VMM ? 1 : 0;
}

cu_result cuDevicePrimaryCtxSetFlags_v2(cu_device device, unsigned int flags)
{
    FAILS;
    (void)device;
    return flags == CU_PRIMARY_BLOCKING_SYNC ? 0 : 1;
}

cu_result cuDevicePrimaryCtxRetain(cu_context *context, cu_device device)
{
    READY;
    retained[device]++;
    *context = (cu_context)(void *)&contexts[device];
    return 0;
}

cu_result cuDevicePrimaryCtxRelease_v2(cu_device device)
{
    READY;
    if (retained[device] == 0)
        return 201;
    retained[device]--;
    return 0;
}

cu_result cuDevicePrimaryCtxReset_v2(cu_device device)
{
    READY;
    retained[device] = 0;
    return 0;
}

cu_result cuDevicePrimaryCtxGetState(cu_device device, unsigned int *flags, int *active)
{
    FAILS;
    *flags = CU_PRIMARY_BLOCKING_SYNC;
    *active = retained[device] > 0;
    return 0;
}

cu_result cuCtxCreate_v2(cu_context *context, unsigned int flags, cu_device device)
{
    (void)flags, (void)device;
    READY;
    current = &contexts[MADE_DEVICES];
    *context = (cu_context)(void *)current;
    return 0;
}

cu_result cuCtxDestroy_v2(cu_context context)
{
    READY;
    return context ? 0 : 201;
}

cu_result cuCtxSetCurrent(cu_context context)
{
    READY;
    current = (char *)(void *)context;
    return 0;
}

cu_result cuCtxSynchronize(void)
{
    READY_WITH_CONTEXT;
    return 0;
}

/* --------------------------------------------------------------------------------------------------------- kernels */

static const char *const kernels[] = { "noop", "stop", "poke", "peek", "count" };

cu_result cuModuleLoadDataEx(cu_module *module, const void *image, unsigned int count, cu_jit_option *options,
                             void **values)
{
    (void)options, (void)values;
    READY_WITH_CONTEXT;
    *module = (cu_module)(void *)&contexts[0];
    return count == 2 && strstr(image, ".visible .entry count(") ? 0 : 218;
}

cu_result cuModuleGetFunction(cu_function *function, cu_module module, const char *name)
{
    READY_WITH_CONTEXT;
    for (size_t n = 0; module && n < sizeof kernels / sizeof kernels[0]; n++) {
        if (strcmp(kernels[n], name) == 0) {
            *function = (cu_function)(void *)(uintptr_t)&kernels[n];
            return 0;
        }
    }
    return 500;
}

static void run_count(void **params)
{
    uint64_t  words = *(uint64_t *)params[1], *to = (uint64_t *)(uintptr_t) * (cu_ptr *)params[3];
    uint32_t *at = (uint32_t *)(uintptr_t) * (cu_ptr *)params[0], value = *(uint32_t *)params[2];
    for (uint64_t n = 0; n < words; n++)
        *to += at[n] == value;
}

/* A kernel's fault is not the launch's: it shows in what comes after. */
cu_result cuLaunchKernel(cu_function function, unsigned int grid_x, unsigned int grid_y, unsigned int grid_z,
                         unsigned int block_x, unsigned int block_y, unsigned int block_z, unsigned int shared_bytes,
                         cu_stream stream, void **params, void **extra)
{
    (void)grid_x, (void)grid_y, (void)grid_z, (void)block_x, (void)block_y, (void)block_z, (void)shared_bytes;
    (void)stream, (void)extra;
    READY_WITH_CONTEXT;
    const char *name = *(const char *const *)(void *)function;
    cu_ptr      at = params ? *(cu_ptr *)params[0] : 0;
    if (strcmp(name, "stop") == 0)
        fault(719);
    else if (strcmp(name, "poke") == 0 && !reach(at, 4, 1))
        fault(700);
    else if (strcmp(name, "poke") == 0)
        *(uint32_t *)(uintptr_t)at = *(uint32_t *)params[1];
    else if (strcmp(name, "peek") == 0 && !reach(at, 4, 0))
        fault(700);
    else if (strcmp(name, "peek") == 0)
        *(uint32_t *)(uintptr_t) * (cu_ptr *)params[1] = *(uint32_t *)(uintptr_t)at;
    else if (strcmp(name, "count") == 0)
        run_count(params);
    return 0;
}

cu_result cuStreamCreate(cu_stream *stream, unsigned int flags)
{
    (void)flags;
    READY_WITH_CONTEXT;
    *stream = (cu_stream)(void *)&contexts[0];
    return 0;
}

cu_result cuStreamSynchronize(cu_stream stream)
{
    READY_WITH_CONTEXT;
    return stream ? 0 : 400;
}

cu_result cuStreamDestroy_v2(cu_stream stream)
{
    READY_WITH_CONTEXT;
    return stream ? 0 : 400;
}

/* ---------------------------------------------------------------------------------------------------------- memory */

cu_result cuMemGetInfo_v2(size_t *free_bytes, size_t *total_bytes)
{
    READY_WITH_CONTEXT;
    *free_bytes = *total_bytes = (size_t)1 << 30;
    return 0;
}

cu_result cuMemAlloc_v2(cu_ptr *at, size_t bytes)
{
    READY_WITH_CONTEXT;
    struct range *slot = find(allocations, NULL);
    void         *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!slot || memory == MAP_FAILED)
        return 2;
    if (is("dirty")) {
        for (size_t n = 0; n < bytes / 4; n++)
            ((uint32_t *)memory)[n] = 0xA5C3F00D;
    }
    *slot = (struct range){ memory, bytes };
    *at = (cu_ptr)(uintptr_t)memory;
    return 0;
}

cu_result cuMemFree_v2(cu_ptr at)
{
    READY_WITH_CONTEXT;
    struct range *slot = at ? find(allocations, (void *)(uintptr_t)at) : NULL;
    if (!slot)
        return 1;
    munmap(slot->at, slot->bytes);
    slot->at = NULL;
    return 0;
}

cu_result cuMemcpyHtoD_v2(cu_ptr to, const void *from, size_t bytes)
{
    READY_WITH_CONTEXT;
    if (!reach(to, bytes, 1))
        return fault(700);
    memcpy((void *)(uintptr_t)to, from, bytes);
    return 0;
}

cu_result cuMemcpyDtoH_v2(void *to, cu_ptr from, size_t bytes)
{
    READY_WITH_CONTEXT;
    if (!reach(from, bytes, 0))
        return fault(700);
    memcpy(to, (void *)(uintptr_t)from, bytes);
    return 0;
}

cu_result cuMemcpyHtoDAsync_v2(cu_ptr to, const void *from, size_t bytes, cu_stream stream)
{
    READY_WITH_CONTEXT;
    memcpy((void *)(uintptr_t)to, from, bytes);
    return stream ? 0 : 400;
}

cu_result cuMemsetD32_v2(cu_ptr at, unsigned int value, size_t words)
{
    READY_WITH_CONTEXT;
    if (!reach(at, words * 4, 1))
        return fault(700);
    for (size_t n = 0; n < words; n++)
        ((uint32_t *)(uintptr_t)at)[n] = value;
    return 0;
}

cu_result cuMemHostAlloc(void **at, size_t bytes, unsigned int flags)
{
    FAILS;
    cu_ptr made;
    (void)flags;
    cu_result code = cuMemAlloc_v2(&made, bytes);
    if (code == 0)
        *at = (void *)(uintptr_t)made;
    return code;
}

cu_result cuMemFreeHost(void *at)
{
    FAILS;
    return cuMemFree_v2((cu_ptr)(uintptr_t)at);
}

/* A pin is the process's here: it outlives the context. */
cu_result cuMemHostRegister_v2(void *at, size_t bytes, unsigned int flags)
{
    (void)flags;
    READY_WITH_CONTEXT;
    struct range *slot = find(pins, NULL);
    if (find(pins, at))
        return 712;
    if (!slot)
        return 2;
    *slot = (struct range){ at, bytes };
    return 0;
}

cu_result cuMemHostUnregister(void *at)
{
    READY_WITH_CONTEXT;
    struct range *slot = at ? find(pins, at) : NULL;
    if (!slot)
        return 713;
    slot->at = NULL;
    return 0;
}

cu_result cuMemHostGetFlags(unsigned int *flags, void *at)
{
    READY_WITH_CONTEXT;
    *flags = CU_HOST_PORTABLE;
    return find(pins, at) ? 0 : 1;
}

cu_result cuMemHostGetDevicePointer_v2(cu_ptr *device, void *host, unsigned int flags)
{
    (void)flags;
    READY_WITH_CONTEXT;
    *device = (cu_ptr)(uintptr_t)host;
    return find(pins, host) ? 0 : 1;
}

cu_result cuPointerGetAttribute(void *value, cu_pointer_attribute attribute, cu_ptr at)
{
    READY_WITH_CONTEXT;
    unsigned int host = 1;
    if (attribute != CU_POINTER_MEMORY_TYPE || !find(pins, (void *)(uintptr_t)at))
        return 1;
    memcpy(value, &host, sizeof host);
    return 0;
}

/* ------------------------------------------------------------------------------------------------ memory by handle */

cu_result cuMemGetAllocationGranularity(size_t *bytes, const cu_allocation *prop, cu_granularity option)
{
    (void)option;
    READY;
    *bytes = (size_t)2 << 20;
    return prop->type == CU_ALLOCATION_PINNED ? 0 : 1;
}

cu_result cuMemAddressReserve(cu_ptr *at, size_t bytes, size_t align, cu_ptr hint, unsigned long long flags)
{
    (void)align, (void)hint, (void)flags;
    READY;
    void *memory = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    *at = (cu_ptr)(uintptr_t)memory;
    return memory == MAP_FAILED ? 2 : 0;
}

cu_result cuMemAddressFree(cu_ptr at, size_t bytes)
{
    READY;
    return munmap((void *)(uintptr_t)at, bytes) == 0 ? 0 : 1;
}

static cu_result handle_of(int fd, cu_handle *handle)
{
    for (int n = 0; n < TABLE_MAX && fd >= 0; n++) {
        if (files[n] == 0) {
            files[n] = fd + 1;
            *handle = (cu_handle)n + 1;
            return 0;
        }
    }
    return 2;
}

cu_result cuMemCreate(cu_handle *handle, size_t bytes, const cu_allocation *prop, unsigned long long flags)
{
    (void)flags;
    READY;
    if (is("crash"))
        abort();
    while (is("hang"))
        pause();
    if (bytes % ((size_t)2 << 20) != 0 || prop->type != CU_ALLOCATION_PINNED)
        return 1;
    int fd = memfd_create("fake", MFD_CLOEXEC);
    if (fd >= 0 && ftruncate(fd, (off_t)bytes) != 0)
        return 2;
    return handle_of(fd, handle);
}

cu_result cuMemRelease(cu_handle handle)
{
    READY;
    if (handle == 0 || handle > TABLE_MAX || files[handle - 1] == 0)
        return 1;
    close(files[handle - 1] - 1);
    files[handle - 1] = 0;
    return 0;
}

cu_result cuMemMap(cu_ptr at, size_t bytes, size_t offset, cu_handle handle, unsigned long long flags)
{
    (void)flags;
    READY;
    if (offset != 0 || handle == 0 || handle > TABLE_MAX || files[handle - 1] == 0)
        return 1;
    void *memory = mmap((void *)(uintptr_t)at, bytes, PROT_NONE, MAP_SHARED | MAP_FIXED, files[handle - 1] - 1, 0);
    return memory == MAP_FAILED ? 205 : 0;
}

cu_result cuMemUnmap(cu_ptr at, size_t bytes)
{
    READY;
    void *memory = mmap((void *)(uintptr_t)at, bytes, PROT_NONE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    return memory == MAP_FAILED ? 206 : 0;
}

cu_result cuMemSetAccess(cu_ptr at, size_t bytes, const cu_access *access, size_t count)
{
    READY;
    if (count != 1 || (access->flags != CU_ACCESS_READ && access->flags != CU_ACCESS_READ_WRITE))
        return 1;
    int protection = access->flags == CU_ACCESS_READ ? PROT_READ : PROT_READ | PROT_WRITE;
    return mprotect((void *)(uintptr_t)at, bytes, protection) == 0 ? 0 : 1;
}

cu_result cuMemExportToShareableHandle(void *shareable, cu_handle handle, cu_handle_type type, unsigned long long flags)
{
    (void)flags;
    READY;
    if (type != CU_HANDLE_FD || handle == 0 || handle > TABLE_MAX || files[handle - 1] == 0)
        return 1;
    int fd = dup(files[handle - 1] - 1);
    memcpy(shareable, &fd, sizeof fd);
    return fd < 0 ? 304 : 0;
}

cu_result cuMemImportFromShareableHandle(cu_handle *handle, void *os_handle, cu_handle_type type)
{
    READY;
    return type == CU_HANDLE_FD ? handle_of(dup((int)(uintptr_t)os_handle), handle) : 1;
}

#ifndef FAKE_CUDA_OLD

/* ------------------------------------------------------------------------------------------------------ checkpoint */

static unsigned process_state;

cu_result cuCheckpointProcessGetState(int pid, cu_process_state *state)
{
    READY;
    *state = process_state;
    return pid > 0 ? 0 : 1;
}

static cu_result move(int pid, unsigned from, unsigned to)
{
    char path[64];
    READY;
    /* The real one reaches the process through /proc, as it can only where it may look into it. */
    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return 304;
    close(folder);
    if (process_state != from)
        return 401;
    process_state = to;
    return 0;
}

cu_result cuCheckpointProcessLock(int pid, cu_lock_args *args)
{
    FAILS;
    return args->timeout_ms > 0 ? move(pid, CU_PROCESS_RUNNING, CU_PROCESS_LOCKED) : 1;
}

cu_result cuCheckpointProcessCheckpoint(int pid, cu_checkpoint_args *args)
{
    FAILS;
    return args ? move(pid, CU_PROCESS_LOCKED, CU_PROCESS_CHECKPOINTED) : 1;
}

cu_result cuCheckpointProcessRestore(int pid, cu_restore_args *args)
{
    FAILS;
    return args->pairs_count == 0 ? move(pid, CU_PROCESS_CHECKPOINTED, CU_PROCESS_LOCKED) : 1;
}

cu_result cuCheckpointProcessUnlock(int pid, cu_unlock_args *args)
{
    FAILS;
    return args ? move(pid, CU_PROCESS_LOCKED, CU_PROCESS_RUNNING) : 1;
}

#endif

#endif
