/* SPDX-License-Identifier: Apache-2.0 */
/* Our numbers and structs against those of cuda.h. Compiled only: what differs does not compile. */
#include <cuda.h>

#include "calls.h"

#define SAME(ours, theirs) _Static_assert((int)(ours) == (int)(theirs), #ours " is not " #theirs)
#define SIZE(ours, theirs) _Static_assert(sizeof(ours) == sizeof(theirs), #ours " has another size than " #theirs)
#define FIELD(ours, a, theirs, b)                                                                                  \
    _Static_assert(offsetof(ours, a) == offsetof(theirs, b) && sizeof(((ours *)0)->a) == sizeof(((theirs *)0)->b), \
                   #ours "." #a " is not " #theirs "." #b)

SAME(CU_OK, CUDA_SUCCESS);
#if CUDA_VERSION >= 13000 /* an older one has fewer */
#define CODE(name, code, over) SAME(CU_##name, CUDA_ERROR_##name);
SGI__CUDA_CODES(CODE)
#endif
SAME(CU_PRIMARY_BLOCKING_SYNC, CU_CTX_SCHED_BLOCKING_SYNC);
SAME(CU_STREAM_DOES_NOT_BLOCK, CU_STREAM_NON_BLOCKING);
SAME(CU_EVENT_SLEEPS, CU_EVENT_BLOCKING_SYNC);
SAME(CU_EVENT_NO_TIMING, CU_EVENT_DISABLE_TIMING);
SAME(CU_HOST_PORTABLE, CU_MEMHOSTREGISTER_PORTABLE);
SAME(CU_HOST_PORTABLE, CU_MEMHOSTALLOC_PORTABLE);
SAME(CU_COMPUTE_PROHIBITED, CU_COMPUTEMODE_PROHIBITED);
SAME(CU_ATTRIBUTE_SMS, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
SAME(CU_ATTRIBUTE_COMPUTE_MODE, CU_DEVICE_ATTRIBUTE_COMPUTE_MODE);
SAME(CU_ATTRIBUTE_COPY_ENGINES, CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT);
SAME(CU_ATTRIBUTE_CC_MAJOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
SAME(CU_ATTRIBUTE_CC_MINOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
SAME(CU_ATTRIBUTE_PAGEABLE_ACCESS, CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS);
SAME(CU_ATTRIBUTE_HOST_PAGE_TABLES, CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS_USES_HOST_PAGE_TABLES);
SAME(CU_ATTRIBUTE_VMM, CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED);
SAME(CU_ATTRIBUTE_POSIX_FD, CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED);
SAME(CU_ATTRIBUTE_READ_ONLY_REGISTER, CU_DEVICE_ATTRIBUTE_READ_ONLY_HOST_REGISTER_SUPPORTED);
SAME(CU_ATTRIBUTE_POOLS, CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED);
SAME(CU_ATTRIBUTE_DMA_BUF, CU_DEVICE_ATTRIBUTE_DMA_BUF_SUPPORTED);
SAME(CU_ATTRIBUTE_MPS, CU_DEVICE_ATTRIBUTE_MPS_ENABLED);
SAME(CU_ATTRIBUTE_HOST_NUMA_ID, CU_DEVICE_ATTRIBUTE_HOST_NUMA_ID);
SAME(CU_LOCATION_DEVICE, CU_MEM_LOCATION_TYPE_DEVICE);
SAME(CU_LOCATION_HOST, CU_MEM_LOCATION_TYPE_HOST);
SAME(CU_LOCATION_HOST_NUMA, CU_MEM_LOCATION_TYPE_HOST_NUMA);
SAME(CU_ALLOCATION_PINNED, CU_MEM_ALLOCATION_TYPE_PINNED);
SAME(CU_HANDLE_NONE, CU_MEM_HANDLE_TYPE_NONE);
SAME(CU_HANDLE_FD, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
SAME(CU_ACCESS_READ, CU_MEM_ACCESS_FLAGS_PROT_READ);
SAME(CU_ACCESS_READ_WRITE, CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
SAME(CU_GRANULARITY_MINIMUM, CU_MEM_ALLOC_GRANULARITY_MINIMUM);
SAME(CU_GRANULARITY_RECOMMENDED, CU_MEM_ALLOC_GRANULARITY_RECOMMENDED);
SAME(CU_POINTER_MEMORY_TYPE, CU_POINTER_ATTRIBUTE_MEMORY_TYPE);
SAME(CU_JIT_ERROR_LOG, CU_JIT_ERROR_LOG_BUFFER);
SAME(CU_JIT_ERROR_LOG_BYTES, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES);
SAME(CU_HOST_READ_ONLY, CU_MEMHOSTREGISTER_READ_ONLY);
SAME(CU_PROC_LEGACY_STREAM, CU_GET_PROC_ADDRESS_LEGACY_STREAM);
SAME(CU_PROC_PER_THREAD_STREAM, CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM);
SAME(CU_FOUND, CU_GET_PROC_ADDRESS_SUCCESS);
SAME(CU_FOUND_NOT, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
SAME(CU_FOUND_TOO_NEW, CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT);
#if CUDA_VERSION >= 12080
SAME(CU_ATTRIBUTE_DECOMPRESS_MASK, CU_DEVICE_ATTRIBUTE_MEM_DECOMPRESS_ALGORITHM_MASK);
SAME(CU_PROCESS_RUNNING, CU_PROCESS_STATE_RUNNING);
SAME(CU_PROCESS_LOCKED, CU_PROCESS_STATE_LOCKED);
SAME(CU_PROCESS_CHECKPOINTED, CU_PROCESS_STATE_CHECKPOINTED);
SAME(CU_PROCESS_FAILED, CU_PROCESS_STATE_FAILED);
#endif
#if CUDA_VERSION >= 13000
SAME(CU_ATTRIBUTE_HOST_NUMA_VMM, CU_DEVICE_ATTRIBUTE_HOST_NUMA_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED);
SAME(CU_ATTRIBUTE_HOST_VMM, CU_DEVICE_ATTRIBUTE_HOST_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED);
#endif

SIZE(cu_result, CUresult);
SIZE(cu_attribute, CUdevice_attribute);
SIZE(cu_handle_type, CUmemAllocationHandleType);
SIZE(cu_granularity, CUmemAllocationGranularity_flags);
SIZE(cu_pointer_attribute, CUpointer_attribute);
SIZE(cu_jit_option, CUjit_option);
SIZE(cu_device, CUdevice);
SIZE(cu_ptr, CUdeviceptr);
SIZE(cu_handle, CUmemGenericAllocationHandle);
SIZE(cu_uuid, CUuuid);
SIZE(cu_location, CUmemLocation);
FIELD(cu_location, type, CUmemLocation, type);
FIELD(cu_location, id, CUmemLocation, id);
SIZE(cu_allocation, CUmemAllocationProp);
FIELD(cu_allocation, type, CUmemAllocationProp, type);
FIELD(cu_allocation, handle_types, CUmemAllocationProp, requestedHandleTypes);
FIELD(cu_allocation, location, CUmemAllocationProp, location);
FIELD(cu_allocation, win32, CUmemAllocationProp, win32HandleMetaData);
FIELD(cu_allocation, flags.compression, CUmemAllocationProp, allocFlags.compressionType);
FIELD(cu_allocation, flags.rdma, CUmemAllocationProp, allocFlags.gpuDirectRDMACapable);
FIELD(cu_allocation, flags.usage, CUmemAllocationProp, allocFlags.usage);
SIZE(cu_access, CUmemAccessDesc);
FIELD(cu_access, location, CUmemAccessDesc, location);
FIELD(cu_access, flags, CUmemAccessDesc, flags);
#if CUDA_VERSION >= 12080
SIZE(cu_process_state, CUprocessState);
SIZE(cu_lock_args, CUcheckpointLockArgs);
FIELD(cu_lock_args, timeout_ms, CUcheckpointLockArgs, timeoutMs);
FIELD(cu_lock_args, reserved1, CUcheckpointLockArgs, reserved1);
SIZE(cu_checkpoint_args, CUcheckpointCheckpointArgs);
SIZE(cu_restore_args, CUcheckpointRestoreArgs);
SIZE(cu_unlock_args, CUcheckpointUnlockArgs);
#endif
#if CUDA_VERSION >= 13000 /* before, the restore had no pairs, and reserved them */
FIELD(cu_restore_args, pairs, CUcheckpointRestoreArgs, gpuPairs);
FIELD(cu_restore_args, pairs_count, CUcheckpointRestoreArgs, gpuPairsCount);
#endif
