/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What gpu_probe uses of the CUDA driver and of NVML, declared by hand: it is built where neither is installed.
 *
 * Names are those of the ABI, not of the source: cuda.h renames cuMemAlloc to cuMemAlloc_v2, and dlsym() finds the
 * latter. tests/bench/ compares all of this with cuda.h where there is one; that is why the types can be left out
 * (GPU_PROBE_CUDA_OWN_TYPES) and the functions are a list.
 */
#ifndef GPU_PROBE_CUDA_H
#define GPU_PROBE_CUDA_H

#include <stddef.h>
#include <stdint.h>

enum {
    CU_OK = 0,
    CU_NO_DEVICE = 100,
    CU_NO_SYMBOL = -1, /* ours: the driver does not have the function */

    CU_PRIMARY_BLOCKING_SYNC = 0x4,
    CU_STREAM_DOES_NOT_BLOCK = 0x1,
    CU_HOST_PORTABLE = 0x1,

    CU_ATTRIBUTE_SMS = 16,
    CU_ATTRIBUTE_COMPUTE_MODE = 20,
    CU_ATTRIBUTE_COPY_ENGINES = 40,
    CU_ATTRIBUTE_CC_MAJOR = 75,
    CU_ATTRIBUTE_CC_MINOR = 76,
    CU_ATTRIBUTE_PAGEABLE_ACCESS = 88,
    CU_ATTRIBUTE_HOST_PAGE_TABLES = 100,
    CU_ATTRIBUTE_VMM = 102,
    CU_ATTRIBUTE_POSIX_FD = 103,
    CU_ATTRIBUTE_READ_ONLY_REGISTER = 113,
    CU_ATTRIBUTE_POOLS = 115,
    CU_ATTRIBUTE_DMA_BUF = 124,
    CU_ATTRIBUTE_MPS = 133,
    CU_ATTRIBUTE_HOST_NUMA_ID = 134,
    CU_ATTRIBUTE_DECOMPRESS_MASK = 136,
    CU_ATTRIBUTE_HOST_NUMA_VMM = 141,
    CU_ATTRIBUTE_HOST_VMM = 145,

    CU_LOCATION_DEVICE = 1,
    CU_LOCATION_HOST = 2,
    CU_LOCATION_HOST_NUMA = 3,
    CU_ALLOCATION_PINNED = 1,
    CU_HANDLE_NONE = 0,
    CU_HANDLE_FD = 1,
    CU_ACCESS_READ = 1,
    CU_ACCESS_READ_WRITE = 3,
    CU_GRANULARITY_MINIMUM = 0,
    CU_GRANULARITY_RECOMMENDED = 1,

    CU_POINTER_MEMORY_TYPE = 2,
    CU_JIT_ERROR_LOG = 5,
    CU_JIT_ERROR_LOG_BYTES = 6,

    CU_PROCESS_RUNNING = 0,
    CU_PROCESS_LOCKED = 1,
    CU_PROCESS_CHECKPOINTED = 2,
    CU_PROCESS_FAILED = 3,
};

#ifndef GPU_PROBE_CUDA_OWN_TYPES
typedef unsigned int           cu_enum; /* what gcc and clang make of an enum without negative values */
typedef cu_enum                cu_result, cu_attribute, cu_handle_type, cu_granularity, cu_pointer_attribute;
typedef cu_enum                cu_jit_option, cu_process_state;
typedef int                    cu_device;
typedef unsigned long long     cu_ptr, cu_handle;
typedef struct cu_context_st  *cu_context;
typedef struct cu_module_st   *cu_module;
typedef struct cu_function_st *cu_function;
typedef struct cu_stream_st   *cu_stream;
typedef struct {
    char bytes[16];
} cu_uuid;
typedef struct {
    cu_enum type;
    int     id;
} cu_location;
typedef struct {
    cu_enum     type, handle_types;
    cu_location location;
    void       *win32;
    struct {
        unsigned char  compression, rdma;
        unsigned short usage;
        unsigned char  reserved[4];
    } flags;
} cu_allocation;
typedef struct {
    cu_location location;
    cu_enum     flags;
} cu_access;
typedef struct {
    unsigned int timeout_ms, reserved0;
    uint64_t     reserved1[7];
} cu_lock_args;
typedef struct {
    uint64_t reserved[8];
} cu_checkpoint_args;
typedef struct {
    uint64_t reserved[8];
} cu_unlock_args;
typedef struct {
    void        *pairs;
    unsigned int pairs_count;
    char         reserved[52 - sizeof(void *)];
    uint64_t     reserved1;
} cu_restore_args;
#endif

/* X(name as the library exports it, parameters) */
#define GPU_PROBE_CUDA(X)                                                                                           \
    X(cuInit, (unsigned int flags))                                                                                 \
    X(cuDriverGetVersion, (int *version))                                                                           \
    X(cuDeviceGetCount, (int *count))                                                                               \
    X(cuDeviceGet, (cu_device * device, int ordinal))                                                               \
    X(cuDeviceGetName, (char *name, int length, cu_device device))                                                  \
    X(cuDeviceGetUuid_v2, (cu_uuid * uuid, cu_device device))                                                       \
    X(cuDeviceGetPCIBusId, (char *id, int length, cu_device device))                                                \
    X(cuDeviceTotalMem_v2, (size_t * bytes, cu_device device))                                                      \
    X(cuDeviceGetAttribute, (int *value, cu_attribute attribute, cu_device device))                                 \
    X(cuDevicePrimaryCtxSetFlags_v2, (cu_device device, unsigned int flags))                                        \
    X(cuDevicePrimaryCtxRetain, (cu_context * context, cu_device device))                                           \
    X(cuDevicePrimaryCtxRelease_v2, (cu_device device))                                                             \
    X(cuDevicePrimaryCtxReset_v2, (cu_device device))                                                               \
    X(cuDevicePrimaryCtxGetState, (cu_device device, unsigned int *flags, int *active))                             \
    X(cuCtxCreate_v2, (cu_context * context, unsigned int flags, cu_device device))                                 \
    X(cuCtxDestroy_v2, (cu_context context))                                                                        \
    X(cuCtxSetCurrent, (cu_context context))                                                                        \
    X(cuCtxSynchronize, (void))                                                                                     \
    X(cuModuleLoadDataEx,                                                                                           \
      (cu_module * module, const void *image, unsigned int count, cu_jit_option *options, void **values))           \
    X(cuModuleGetFunction, (cu_function * function, cu_module module, const char *name))                            \
    X(cuLaunchKernel, (cu_function function, unsigned int grid_x, unsigned int grid_y, unsigned int grid_z,         \
                       unsigned int block_x, unsigned int block_y, unsigned int block_z, unsigned int shared_bytes, \
                       cu_stream stream, void **params, void **extra))                                              \
    X(cuStreamCreate, (cu_stream * stream, unsigned int flags))                                                     \
    X(cuStreamSynchronize, (cu_stream stream))                                                                      \
    X(cuStreamDestroy_v2, (cu_stream stream))                                                                       \
    X(cuMemGetInfo_v2, (size_t * free_bytes, size_t * total_bytes))                                                 \
    X(cuMemAlloc_v2, (cu_ptr * at, size_t bytes))                                                                   \
    X(cuMemFree_v2, (cu_ptr at))                                                                                    \
    X(cuMemcpyHtoD_v2, (cu_ptr to, const void *from, size_t bytes))                                                 \
    X(cuMemcpyDtoH_v2, (void *to, cu_ptr from, size_t bytes))                                                       \
    X(cuMemcpyHtoDAsync_v2, (cu_ptr to, const void *from, size_t bytes, cu_stream stream))                          \
    X(cuMemsetD32_v2, (cu_ptr at, unsigned int value, size_t words))                                                \
    X(cuMemHostAlloc, (void **at, size_t bytes, unsigned int flags))                                                \
    X(cuMemFreeHost, (void *at))                                                                                    \
    X(cuMemHostRegister_v2, (void *at, size_t bytes, unsigned int flags))                                           \
    X(cuMemHostUnregister, (void *at))                                                                              \
    X(cuMemHostGetFlags, (unsigned int *flags, void *at))                                                           \
    X(cuMemHostGetDevicePointer_v2, (cu_ptr * device, void *host, unsigned int flags))                              \
    X(cuPointerGetAttribute, (void *value, cu_pointer_attribute attribute, cu_ptr at))                              \
    X(cuMemGetAllocationGranularity, (size_t * bytes, const cu_allocation *prop, cu_granularity option))            \
    X(cuMemAddressReserve, (cu_ptr * at, size_t bytes, size_t align, cu_ptr hint, unsigned long long flags))        \
    X(cuMemAddressFree, (cu_ptr at, size_t bytes))                                                                  \
    X(cuMemCreate, (cu_handle * handle, size_t bytes, const cu_allocation *prop, unsigned long long flags))         \
    X(cuMemRelease, (cu_handle handle))                                                                             \
    X(cuMemMap, (cu_ptr at, size_t bytes, size_t offset, cu_handle handle, unsigned long long flags))               \
    X(cuMemUnmap, (cu_ptr at, size_t bytes))                                                                        \
    X(cuMemSetAccess, (cu_ptr at, size_t bytes, const cu_access *access, size_t count))                             \
    X(cuMemExportToShareableHandle,                                                                                 \
      (void *shareable, cu_handle handle, cu_handle_type type, unsigned long long flags))                           \
    X(cuMemImportFromShareableHandle, (cu_handle * handle, void *os_handle, cu_handle_type type))                   \
    X(cuCheckpointProcessGetState, (int pid, cu_process_state *state))                                              \
    X(cuCheckpointProcessLock, (int pid, cu_lock_args *args))                                                       \
    X(cuCheckpointProcessCheckpoint, (int pid, cu_checkpoint_args *args))                                           \
    X(cuCheckpointProcessRestore, (int pid, cu_restore_args *args))                                                 \
    X(cuCheckpointProcessUnlock, (int pid, cu_unlock_args *args))

/* NOLINTNEXTLINE(bugprone-macro-parentheses): a list of parameters */
#define GPU_PROBE_MEMBER(name, parameters) cu_result(*name) parameters;
struct cuda {
    GPU_PROBE_CUDA(GPU_PROBE_MEMBER)
};

/* ------------------------------------------------------------------------------------------------------------ NVML */

typedef struct nvml_device_st *nvml_device;

struct nvml_memory {
    unsigned long long total, free, used;
};

/* `version` is the struct's size with 2 in the top byte. `used` leaves out what the driver keeps for itself. */
struct nvml_memory_v2 {
    unsigned int       version;
    unsigned long long total, reserved, free, used;
};

struct nvml_process {
    unsigned int       pid;
    unsigned long long used; /* all ones: not known */
    unsigned int       gpu_instance, compute_instance;
};

enum { NVML_OK = 0, NVML_NOT_SUPPORTED = 3, NVML_NO_SYMBOL = -1 };

#define GPU_PROBE_NVML(X)                                                                  \
    X(nvmlInit_v2, (void))                                                                 \
    X(nvmlShutdown, (void))                                                                \
    X(nvmlSystemGetDriverVersion, (char *version, unsigned int length))                    \
    X(nvmlDeviceGetHandleByPciBusId_v2, (const char *id, nvml_device *device))             \
    X(nvmlDeviceGetMemoryInfo, (nvml_device device, struct nvml_memory * memory))          \
    X(nvmlDeviceGetMemoryInfo_v2, (nvml_device device, struct nvml_memory_v2 * memory))    \
    X(nvmlDeviceGetComputeRunningProcesses_v3,                                             \
      (nvml_device device, unsigned int *count, struct nvml_process *processes))           \
    X(nvmlDeviceGetPersistenceMode, (nvml_device device, unsigned int *mode))              \
    X(nvmlDeviceGetCurrPcieLinkGeneration, (nvml_device device, unsigned int *generation)) \
    X(nvmlDeviceGetCurrPcieLinkWidth, (nvml_device device, unsigned int *width))           \
    X(nvmlDeviceGetMaxPcieLinkGeneration, (nvml_device device, unsigned int *generation))

/* NOLINTNEXTLINE(bugprone-macro-parentheses): a list of parameters */
#define GPU_PROBE_NVML_MEMBER(name, parameters) int(*name) parameters;
struct nvml {
    GPU_PROBE_NVML(GPU_PROBE_NVML_MEMBER)
};

#endif
