/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What gpu_probe uses of the CUDA driver beside what the library does (lib/device), and of NVML, declared by
 * hand in the same way and compared with cuda.h by the same test.
 */
#ifndef GPU_PROBE_CUDA_H
#define GPU_PROBE_CUDA_H

#include "../lib/device/cuda_abi.h"
#include "../lib/device/nvml_abi.h"

enum {
    CU_NO_SYMBOL = -1, /* ours: the driver does not have the function */

    CU_POINTER_MEMORY_TYPE = 2,
    CU_JIT_ERROR_LOG = 5,
    CU_JIT_ERROR_LOG_BYTES = 6,

    CU_PROCESS_RUNNING = 0,
    CU_PROCESS_LOCKED = 1,
    CU_PROCESS_CHECKPOINTED = 2,
    CU_PROCESS_FAILED = 3,
};

#ifndef SGI__CUDA_OWN_TYPES
typedef cu_enum                cu_pointer_attribute, cu_jit_option, cu_process_state;
typedef struct cu_module_st   *cu_module;
typedef struct cu_function_st *cu_function;
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

/* X(name as the driver exports it, parameters): what only gpu_probe calls. */
#define GPU_PROBE_CUDA_MORE(X)                                                                                      \
    X(cuDevicePrimaryCtxReset_v2, (cu_device device))                                                               \
    X(cuCtxCreate_v2, (cu_context * context, unsigned int flags, cu_device device))                                 \
    X(cuCtxDestroy_v2, (cu_context context))                                                                        \
    X(cuModuleLoadDataEx,                                                                                           \
      (cu_module * module, const void *image, unsigned int count, cu_jit_option *options, void **values))           \
    X(cuModuleGetFunction, (cu_function * function, cu_module module, const char *name))                            \
    X(cuLaunchKernel, (cu_function function, unsigned int grid_x, unsigned int grid_y, unsigned int grid_z,         \
                       unsigned int block_x, unsigned int block_y, unsigned int block_z, unsigned int shared_bytes, \
                       cu_stream stream, void **params, void **extra))                                              \
    X(cuMemAlloc_v2, (cu_ptr * at, size_t bytes))                                                                   \
    X(cuMemFree_v2, (cu_ptr at))                                                                                    \
    X(cuMemcpyHtoD_v2, (cu_ptr to, const void *from, size_t bytes))                                                 \
    X(cuMemcpyDtoH_v2, (void *to, cu_ptr from, size_t bytes))                                                       \
    X(cuMemsetD32_v2, (cu_ptr at, unsigned int value, size_t words))                                                \
    X(cuMemHostAlloc, (void **at, size_t bytes, unsigned int flags))                                                \
    X(cuMemFreeHost, (void *at))                                                                                    \
    X(cuMemHostGetFlags, (unsigned int *flags, void *at))                                                           \
    X(cuMemHostGetDevicePointer_v2, (cu_ptr * device, void *host, unsigned int flags))                              \
    X(cuPointerGetAttribute, (void *value, cu_pointer_attribute attribute, cu_ptr at))                              \
    X(cuMemExportToShareableHandle,                                                                                 \
      (void *shareable, cu_handle handle, cu_handle_type type, unsigned long long flags))                           \
    X(cuMemImportFromShareableHandle, (cu_handle * handle, void *os_handle, cu_handle_type type))                   \
    X(cuCheckpointProcessGetState, (int pid, cu_process_state *state))                                              \
    X(cuCheckpointProcessLock, (int pid, cu_lock_args *args))                                                       \
    X(cuCheckpointProcessCheckpoint, (int pid, cu_checkpoint_args *args))                                           \
    X(cuCheckpointProcessRestore, (int pid, cu_restore_args *args))                                                 \
    X(cuCheckpointProcessUnlock, (int pid, cu_unlock_args *args))

#define GPU_PROBE_CUDA(X) SGI__CUDA_CALLS(X) GPU_PROBE_CUDA_MORE(X)

/* NOLINTNEXTLINE(bugprone-macro-parentheses): a list of parameters */
#define GPU_PROBE_MEMBER(name, parameters) cu_result(*name) parameters;
struct cuda {
    GPU_PROBE_CUDA(GPU_PROBE_MEMBER)
};

/* ------------------------------------------------------------------------------------------------------------ NVML */

enum { NVML_NO_SYMBOL = -1 };

/* What only gpu_probe calls. */
#define GPU_PROBE_NVML_MORE(X)                                                             \
    X(nvmlSystemGetDriverVersion, (char *version, unsigned int length))                    \
    X(nvmlDeviceGetPersistenceMode, (nvml_device device, unsigned int *mode))              \
    X(nvmlDeviceGetCurrPcieLinkGeneration, (nvml_device device, unsigned int *generation)) \
    X(nvmlDeviceGetCurrPcieLinkWidth, (nvml_device device, unsigned int *width))           \
    X(nvmlDeviceGetMaxPcieLinkGeneration, (nvml_device device, unsigned int *generation))

#define GPU_PROBE_NVML(X) SGI__NVML_CALLS(X) GPU_PROBE_NVML_MORE(X)

/* NOLINTNEXTLINE(bugprone-macro-parentheses): a list of parameters */
#define GPU_PROBE_NVML_MEMBER(name, parameters) int(*name) parameters;
struct nvml {
    GPU_PROBE_NVML(GPU_PROBE_NVML_MEMBER)
};

#endif
