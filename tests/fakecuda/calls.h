/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the fake driver exports: what the library and gpu_probe call, and what somebody who uses a stream of theirs may
 * call beside it. tests/abi compares all of it with cuda.h.
 */
#ifndef FAKECUDA_CALLS_H
#define FAKECUDA_CALLS_H

#include "../../bench/gpu_probe_cuda.h"

#ifndef SGI__CUDA_OWN_TYPES
typedef void (*cu_host_function)(void *user);
typedef cu_enum             cu_found, cu_capture_status;
typedef struct cu_graph_st *cu_graph;
#endif

enum {
    CU_HOST_READ_ONLY = 0x8,

    CU_PROC_LEGACY_STREAM = 1,
    CU_PROC_PER_THREAD_STREAM = 2,
    CU_FOUND = 0,
    CU_FOUND_NOT = 1,
    CU_FOUND_TOO_NEW = 2,
};

/* X(name as the driver exports it, parameters): what is only here. */
#define FAKECUDA_MORE(X)                                                                                        \
    X(cuGetProcAddress_v2, (const char *symbol, void **found, int version, uint64_t flags, cu_found *status))   \
    X(cuGetErrorName, (cu_result code, const char **text))                                                      \
    X(cuGetErrorString, (cu_result code, const char **text))                                                    \
    X(cuCtxGetDevice, (cu_device * device))                                                                     \
    X(cuCtxGetFlags, (unsigned int *flags))                                                                     \
    X(cuStreamGetCtx, (cu_stream stream, cu_context * context))                                                 \
    X(cuStreamGetFlags, (cu_stream stream, unsigned int *flags))                                                \
    X(cuStreamCreateWithPriority, (cu_stream * stream, unsigned int flags, int priority))                       \
    X(cuLaunchHostFunc, (cu_stream stream, cu_host_function function, void *user))                              \
    X(cuEventElapsedTime, (float *ms, cu_event from, cu_event to))                                              \
    X(cuEventElapsedTime_v2, (float *ms, cu_event from, cu_event to))                                           \
    X(cuMemcpyDtoD_v2, (cu_ptr to, cu_ptr from, size_t bytes))                                                  \
    X(cuMemcpyPeerAsync,                                                                                        \
      (cu_ptr to, cu_context to_context, cu_ptr from, cu_context from_context, size_t bytes, cu_stream stream)) \
    X(cuMemsetD8_v2, (cu_ptr at, unsigned char value, size_t bytes))                                            \
    X(cuMemsetD32Async, (cu_ptr at, unsigned int value, size_t words, cu_stream stream))                        \
    X(cuMemGetAccess, (unsigned long long *flags, const cu_location *location, cu_ptr at))                      \
    X(cuMemGetAddressRange_v2, (cu_ptr * base, size_t * bytes, cu_ptr at))                                      \
    X(cuMemRetainAllocationHandle, (cu_handle * handle, void *at))                                              \
    X(cuModuleUnload, (cu_module module))                                                                       \
    X(cuStreamBeginCapture_v2, (cu_stream stream, cu_capture_mode mode))                                        \
    X(cuStreamEndCapture, (cu_stream stream, cu_graph * graph))                                                 \
    X(cuStreamIsCapturing, (cu_stream stream, cu_capture_status * status))                                      \
    X(cuGraphDestroy, (cu_graph graph))

#define FAKECUDA_CALLS(X) GPU_PROBE_CUDA(X) FAKECUDA_MORE(X)

/*
 * X(export, what cuGetProcAddress calls it, first version with this form, first version with another or 0). A version
 * is 1000 * major + 10 * minor of the CUDA it came with. Where a form ends, the real driver has a later one that the
 * fake does not have: it is not found. `run` reads this list too: what is newer than its driver is taken out.
 */
#define FAKECUDA_SINCE(X)                                                             \
    X(cuInit, cuInit, 2000, 0)                                                        \
    X(cuDriverGetVersion, cuDriverGetVersion, 2020, 0)                                \
    X(cuDeviceGetCount, cuDeviceGetCount, 2000, 0)                                    \
    X(cuDeviceGet, cuDeviceGet, 2000, 0)                                              \
    X(cuDeviceGetName, cuDeviceGetName, 2000, 0)                                      \
    X(cuDeviceGetUuid_v2, cuDeviceGetUuid, 11040, 0)                                  \
    X(cuDeviceGetPCIBusId, cuDeviceGetPCIBusId, 4010, 0)                              \
    X(cuDeviceTotalMem_v2, cuDeviceTotalMem, 3020, 0)                                 \
    X(cuDeviceGetAttribute, cuDeviceGetAttribute, 2000, 0)                            \
    X(cuDeviceCanAccessPeer, cuDeviceCanAccessPeer, 4000, 0)                          \
    X(cuDevicePrimaryCtxSetFlags_v2, cuDevicePrimaryCtxSetFlags, 11000, 0)            \
    X(cuDevicePrimaryCtxRetain, cuDevicePrimaryCtxRetain, 7000, 0)                    \
    X(cuDevicePrimaryCtxRelease_v2, cuDevicePrimaryCtxRelease, 11000, 0)              \
    X(cuDevicePrimaryCtxReset_v2, cuDevicePrimaryCtxReset, 11000, 0)                  \
    X(cuDevicePrimaryCtxGetState, cuDevicePrimaryCtxGetState, 7000, 0)                \
    X(cuCtxGetCurrent, cuCtxGetCurrent, 4000, 0)                                      \
    X(cuCtxSetCurrent, cuCtxSetCurrent, 4000, 0)                                      \
    X(cuCtxPushCurrent_v2, cuCtxPushCurrent, 4000, 0)                                 \
    X(cuCtxPopCurrent_v2, cuCtxPopCurrent, 4000, 0)                                   \
    X(cuCtxCreate_v2, cuCtxCreate, 3020, 11040)                                       \
    X(cuCtxDestroy_v2, cuCtxDestroy, 4000, 0)                                         \
    X(cuCtxSynchronize, cuCtxSynchronize, 2000, 13000)                                \
    X(cuCtxGetDevice, cuCtxGetDevice, 2000, 13000)                                    \
    X(cuCtxGetFlags, cuCtxGetFlags, 7000, 0)                                          \
    X(cuMemGetInfo_v2, cuMemGetInfo, 3020, 0)                                         \
    X(cuMemGetAllocationGranularity, cuMemGetAllocationGranularity, 10020, 0)         \
    X(cuMemAddressReserve, cuMemAddressReserve, 10020, 0)                             \
    X(cuMemAddressFree, cuMemAddressFree, 10020, 0)                                   \
    X(cuMemCreate, cuMemCreate, 10020, 0)                                             \
    X(cuMemRelease, cuMemRelease, 10020, 0)                                           \
    X(cuMemMap, cuMemMap, 10020, 0)                                                   \
    X(cuMemUnmap, cuMemUnmap, 10020, 0)                                               \
    X(cuMemSetAccess, cuMemSetAccess, 10020, 0)                                       \
    X(cuMemGetAccess, cuMemGetAccess, 10020, 0)                                       \
    X(cuMemRetainAllocationHandle, cuMemRetainAllocationHandle, 11000, 0)             \
    X(cuMemExportToShareableHandle, cuMemExportToShareableHandle, 10020, 0)           \
    X(cuMemImportFromShareableHandle, cuMemImportFromShareableHandle, 10020, 0)       \
    X(cuMemGetAddressRange_v2, cuMemGetAddressRange, 3020, 0)                         \
    X(cuMemAlloc_v2, cuMemAlloc, 3020, 0)                                             \
    X(cuMemFree_v2, cuMemFree, 3020, 0)                                               \
    X(cuMemHostAlloc, cuMemHostAlloc, 2020, 0)                                        \
    X(cuMemFreeHost, cuMemFreeHost, 2000, 0)                                          \
    X(cuMemHostGetFlags, cuMemHostGetFlags, 2030, 0)                                  \
    X(cuMemHostGetDevicePointer_v2, cuMemHostGetDevicePointer, 3020, 0)               \
    X(cuMemHostRegister_v2, cuMemHostRegister, 6050, 0)                               \
    X(cuMemHostUnregister, cuMemHostUnregister, 4000, 0)                              \
    X(cuPointerGetAttribute, cuPointerGetAttribute, 4000, 0)                          \
    X(cuMemcpyHtoD_v2, cuMemcpyHtoD, 3020, 0)                                         \
    X(cuMemcpyDtoH_v2, cuMemcpyDtoH, 3020, 0)                                         \
    X(cuMemcpyDtoD_v2, cuMemcpyDtoD, 3020, 0)                                         \
    X(cuMemcpyHtoDAsync_v2, cuMemcpyHtoDAsync, 3020, 0)                               \
    X(cuMemcpyDtoHAsync_v2, cuMemcpyDtoHAsync, 3020, 0)                               \
    X(cuMemcpyDtoDAsync_v2, cuMemcpyDtoDAsync, 3020, 0)                               \
    X(cuMemcpyPeerAsync, cuMemcpyPeerAsync, 4000, 0)                                  \
    X(cuMemsetD8_v2, cuMemsetD8, 3020, 0)                                             \
    X(cuMemsetD8Async, cuMemsetD8Async, 3020, 0)                                      \
    X(cuMemsetD32_v2, cuMemsetD32, 3020, 0)                                           \
    X(cuMemsetD32Async, cuMemsetD32Async, 3020, 0)                                    \
    X(cuStreamCreate, cuStreamCreate, 2000, 0)                                        \
    X(cuStreamCreateWithPriority, cuStreamCreateWithPriority, 5050, 0)                \
    X(cuStreamDestroy_v2, cuStreamDestroy, 4000, 0)                                   \
    X(cuStreamQuery, cuStreamQuery, 2000, 0)                                          \
    X(cuStreamSynchronize, cuStreamSynchronize, 2000, 0)                              \
    X(cuStreamWaitEvent, cuStreamWaitEvent, 3020, 0)                                  \
    X(cuStreamGetCtx, cuStreamGetCtx, 9020, 12050)                                    \
    X(cuStreamGetFlags, cuStreamGetFlags, 5050, 0)                                    \
    X(cuStreamBeginCapture_v2, cuStreamBeginCapture, 10010, 0)                        \
    X(cuStreamEndCapture, cuStreamEndCapture, 10000, 0)                               \
    X(cuStreamIsCapturing, cuStreamIsCapturing, 10000, 0)                             \
    X(cuGraphDestroy, cuGraphDestroy, 10000, 0)                                       \
    X(cuThreadExchangeStreamCaptureMode, cuThreadExchangeStreamCaptureMode, 10010, 0) \
    X(cuLaunchHostFunc, cuLaunchHostFunc, 10000, 0)                                   \
    X(cuEventCreate, cuEventCreate, 2000, 0)                                          \
    X(cuEventDestroy_v2, cuEventDestroy, 4000, 0)                                     \
    X(cuEventRecord, cuEventRecord, 2000, 0)                                          \
    X(cuEventQuery, cuEventQuery, 2000, 0)                                            \
    X(cuEventSynchronize, cuEventSynchronize, 2000, 0)                                \
    X(cuEventElapsedTime, cuEventElapsedTime, 2000, 12080)                            \
    X(cuEventElapsedTime_v2, cuEventElapsedTime, 12080, 0)                            \
    X(cuModuleLoadDataEx, cuModuleLoadDataEx, 2010, 0)                                \
    X(cuModuleGetFunction, cuModuleGetFunction, 2000, 0)                              \
    X(cuModuleUnload, cuModuleUnload, 2000, 0)                                        \
    X(cuLaunchKernel, cuLaunchKernel, 4000, 0)                                        \
    X(cuGetProcAddress_v2, cuGetProcAddress, 12000, 0)                                \
    X(cuGetErrorName, cuGetErrorName, 6000, 0)                                        \
    X(cuGetErrorString, cuGetErrorString, 6000, 0)                                    \
    X(cuCheckpointProcessGetState, cuCheckpointProcessGetState, 12080, 0)             \
    X(cuCheckpointProcessLock, cuCheckpointProcessLock, 12080, 0)                     \
    X(cuCheckpointProcessCheckpoint, cuCheckpointProcessCheckpoint, 12080, 0)         \
    X(cuCheckpointProcessRestore, cuCheckpointProcessRestore, 12080, 0)               \
    X(cuCheckpointProcessUnlock, cuCheckpointProcessUnlock, 12080, 0)

#endif
