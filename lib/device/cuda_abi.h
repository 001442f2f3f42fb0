/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is used of the CUDA driver, declared by hand: the library is built where no toolkit is.
 *
 * Names are those of the ABI, not of the source: cuda.h renames cuMemAlloc to cuMemAlloc_v2, and dlsym() finds the
 * latter. tests/abi compares all of this with cuda.h where there is one; that is why the types can be left out
 * (SGI__CUDA_OWN_TYPES) and the functions are a list.
 */
#ifndef SGI_DEVICE_CUDA_ABI_H
#define SGI_DEVICE_CUDA_ABI_H

#include <stddef.h>
#include <stdint.h>

/* X(name in cuda.h after CUDA_ERROR_, code, 1 if CUDA is over for the process once it has come). The ones that say so
 * in cuda.h, and those that hardware reports: there is nothing to go on with. */
#define SGI__CUDA_CODES(X)                    \
    X(INVALID_VALUE, 1, 0)                    \
    X(OUT_OF_MEMORY, 2, 0)                    \
    X(NOT_INITIALIZED, 3, 0)                  \
    X(DEINITIALIZED, 4, 1)                    \
    X(STUB_LIBRARY, 34, 0)                    \
    X(CALL_REQUIRES_NEWER_DRIVER, 36, 0)      \
    X(DEVICE_UNAVAILABLE, 46, 0)              \
    X(NO_DEVICE, 100, 0)                      \
    X(INVALID_DEVICE, 101, 0)                 \
    X(DEVICE_NOT_LICENSED, 102, 0)            \
    X(INVALID_IMAGE, 200, 0)                  \
    X(INVALID_CONTEXT, 201, 0)                \
    X(MAP_FAILED, 205, 0)                     \
    X(UNMAP_FAILED, 206, 0)                   \
    X(ALREADY_MAPPED, 208, 0)                 \
    X(NO_BINARY_FOR_GPU, 209, 0)              \
    X(NOT_MAPPED, 211, 0)                     \
    X(ECC_UNCORRECTABLE, 214, 1)              \
    X(PEER_ACCESS_UNSUPPORTED, 217, 0)        \
    X(INVALID_PTX, 218, 0)                    \
    X(NVLINK_UNCORRECTABLE, 220, 1)           \
    X(JIT_COMPILER_NOT_FOUND, 221, 0)         \
    X(UNSUPPORTED_PTX_VERSION, 222, 0)        \
    X(JIT_COMPILATION_DISABLED, 223, 0)       \
    X(CONTAINED, 226, 1)                      \
    X(OPERATING_SYSTEM, 304, 0)               \
    X(INVALID_HANDLE, 400, 0)                 \
    X(ILLEGAL_STATE, 401, 0)                  \
    X(NOT_FOUND, 500, 0)                      \
    X(NOT_READY, 600, 0)                      \
    X(ILLEGAL_ADDRESS, 700, 1)                \
    X(LAUNCH_OUT_OF_RESOURCES, 701, 0)        \
    X(LAUNCH_TIMEOUT, 702, 1)                 \
    X(PRIMARY_CONTEXT_ACTIVE, 708, 0)         \
    X(CONTEXT_IS_DESTROYED, 709, 1)           \
    X(ASSERT, 710, 1)                         \
    X(HOST_MEMORY_ALREADY_REGISTERED, 712, 0) \
    X(HOST_MEMORY_NOT_REGISTERED, 713, 0)     \
    X(HARDWARE_STACK_ERROR, 714, 1)           \
    X(ILLEGAL_INSTRUCTION, 715, 1)            \
    X(MISALIGNED_ADDRESS, 716, 1)             \
    X(INVALID_ADDRESS_SPACE, 717, 1)          \
    X(INVALID_PC, 718, 1)                     \
    X(LAUNCH_FAILED, 719, 1)                  \
    X(TENSOR_MEMORY_LEAK, 721, 1)             \
    X(NOT_PERMITTED, 800, 0)                  \
    X(NOT_SUPPORTED, 801, 0)                  \
    X(SYSTEM_NOT_READY, 802, 0)               \
    X(SYSTEM_DRIVER_MISMATCH, 803, 0)         \
    X(COMPAT_NOT_SUPPORTED_ON_DEVICE, 804, 0) \
    X(MPS_CONNECTION_FAILED, 805, 0)          \
    X(MPS_CLIENT_TERMINATED, 810, 1)          \
    X(STREAM_CAPTURE_UNSUPPORTED, 900, 0)     \
    X(STREAM_CAPTURE_INVALIDATED, 901, 0)     \
    X(STREAM_CAPTURE_MERGE, 902, 0)           \
    X(STREAM_CAPTURE_UNMATCHED, 903, 0)       \
    X(STREAM_CAPTURE_UNJOINED, 904, 0)        \
    X(STREAM_CAPTURE_ISOLATION, 905, 0)       \
    X(STREAM_CAPTURE_IMPLICIT, 906, 0)        \
    X(CAPTURED_EVENT, 907, 0)                 \
    X(STREAM_CAPTURE_WRONG_THREAD, 908, 0)    \
    X(TIMEOUT, 909, 0)                        \
    X(EXTERNAL_DEVICE, 911, 1)                \
    X(UNKNOWN, 999, 1)

#define SGI__CUDA_CODE(name, code, over) CU_##name = (code),
enum { CU_OK = 0, SGI__CUDA_CODES(SGI__CUDA_CODE) CU_CODES_END_ = 1000 };
#undef SGI__CUDA_CODE

enum {
    CU_PRIMARY_BLOCKING_SYNC = 0x4,
    CU_PRIMARY_SCHEDULING = 0x7, /* the bits of which that is one */
    CU_STREAM_DOES_NOT_BLOCK = 0x1,
    CU_CAPTURE_GLOBAL = 0,    /* while somebody captures in it, no other thread may do what could spoil that, unless */
    CU_CAPTURE_NOT_KNOWN = 3, /* ours */
    CU_CAPTURE_RELAXED = 2,   /* it says that this does not */
    CU_EVENT_SLEEPS = 0x1,    /* who waits for it sleeps instead of spinning */
    CU_EVENT_NO_TIMING = 0x2,
    CU_HOST_PORTABLE = 0x1,

    CU_COMPUTE_PROHIBITED = 2,

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
};

#ifndef SGI__CUDA_OWN_TYPES
typedef unsigned int          cu_enum; /* what gcc and clang make of an enum without negative values */
typedef cu_enum               cu_result, cu_attribute, cu_handle_type, cu_granularity, cu_capture_mode;
typedef int                   cu_device;
typedef unsigned long long    cu_ptr, cu_handle;
typedef struct cu_context_st *cu_context;
typedef struct cu_stream_st  *cu_stream;
typedef struct cu_event_st   *cu_event;
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
#endif

/* X(name as the driver exports it, parameters): what the library calls. All of it is in every driver from 550 on. */
#define SGI__CUDA_CALLS(X)                                                                                   \
    X(cuInit, (unsigned int flags))                                                                          \
    X(cuDriverGetVersion, (int *version))                                                                    \
    X(cuDeviceGetCount, (int *count))                                                                        \
    X(cuDeviceGet, (cu_device * device, int ordinal))                                                        \
    X(cuDeviceGetName, (char *name, int length, cu_device device))                                           \
    X(cuDeviceGetUuid_v2, (cu_uuid * uuid, cu_device device))                                                \
    X(cuDeviceGetPCIBusId, (char *id, int length, cu_device device))                                         \
    X(cuDeviceTotalMem_v2, (size_t * bytes, cu_device device))                                               \
    X(cuDeviceGetAttribute, (int *value, cu_attribute attribute, cu_device device))                          \
    X(cuDeviceCanAccessPeer, (int *can, cu_device device, cu_device peer))                                   \
    X(cuDevicePrimaryCtxSetFlags_v2, (cu_device device, unsigned int flags))                                 \
    X(cuDevicePrimaryCtxRetain, (cu_context * context, cu_device device))                                    \
    X(cuDevicePrimaryCtxRelease_v2, (cu_device device))                                                      \
    X(cuDevicePrimaryCtxGetState, (cu_device device, unsigned int *flags, int *active))                      \
    X(cuCtxGetCurrent, (cu_context * context))                                                               \
    X(cuCtxPushCurrent_v2, (cu_context context))                                                             \
    X(cuCtxPopCurrent_v2, (cu_context * context))                                                            \
    X(cuCtxSetCurrent, (cu_context context))                                                                 \
    X(cuMemGetInfo_v2, (size_t * free_bytes, size_t * total_bytes))                                          \
    X(cuMemGetAllocationGranularity, (size_t * bytes, const cu_allocation *prop, cu_granularity option))     \
    X(cuMemAddressReserve, (cu_ptr * at, size_t bytes, size_t align, cu_ptr hint, unsigned long long flags)) \
    X(cuMemAddressFree, (cu_ptr at, size_t bytes))                                                           \
    X(cuMemCreate, (cu_handle * handle, size_t bytes, const cu_allocation *prop, unsigned long long flags))  \
    X(cuMemRelease, (cu_handle handle))                                                                      \
    X(cuMemMap, (cu_ptr at, size_t bytes, size_t offset, cu_handle handle, unsigned long long flags))        \
    X(cuMemUnmap, (cu_ptr at, size_t bytes))                                                                 \
    X(cuMemSetAccess, (cu_ptr at, size_t bytes, const cu_access *access, size_t count))                      \
    X(cuMemHostRegister_v2, (void *at, size_t bytes, unsigned int flags))                                    \
    X(cuMemHostUnregister, (void *at))                                                                       \
    X(cuMemcpyHtoDAsync_v2, (cu_ptr to, const void *from, size_t bytes, cu_stream stream))                   \
    X(cuMemcpyDtoHAsync_v2, (void *to, cu_ptr from, size_t bytes, cu_stream stream))                         \
    X(cuMemcpyDtoDAsync_v2, (cu_ptr to, cu_ptr from, size_t bytes, cu_stream stream))                        \
    X(cuMemsetD8Async, (cu_ptr at, unsigned char value, size_t bytes, cu_stream stream))                     \
    X(cuStreamCreate, (cu_stream * stream, unsigned int flags))                                              \
    X(cuStreamDestroy_v2, (cu_stream stream))                                                                \
    X(cuStreamQuery, (cu_stream stream))                                                                     \
    X(cuThreadExchangeStreamCaptureMode, (cu_capture_mode * mode))                                           \
    X(cuCtxSynchronize, (void))                                                                              \
    X(cuStreamSynchronize, (cu_stream stream))                                                               \
    X(cuStreamWaitEvent, (cu_stream stream, cu_event event, unsigned int flags))                             \
    X(cuEventCreate, (cu_event * event, unsigned int flags))                                                 \
    X(cuEventDestroy_v2, (cu_event event))                                                                   \
    X(cuEventRecord, (cu_event event, cu_stream stream))                                                     \
    X(cuEventQuery, (cu_event event))                                                                        \
    X(cuEventSynchronize, (cu_event event))

#endif
