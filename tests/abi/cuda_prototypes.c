/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Our functions against those of cuda.h: names as they are exported, and parameters, with the types taken from
 * cuda.h. Compiled only: what differs does not compile.
 */
#include <cuda.h>
#include <cudaTypedefs.h>

#define SGI__CUDA_OWN_TYPES
typedef CUresult                         cu_result;
typedef CUdevice_attribute               cu_attribute;
typedef CUmemAllocationHandleType        cu_handle_type;
typedef CUmemAllocationGranularity_flags cu_granularity;
typedef CUpointer_attribute              cu_pointer_attribute;
typedef CUjit_option                     cu_jit_option;
typedef CUprocessState                   cu_process_state;
typedef CUdevice                         cu_device;
typedef CUdeviceptr                      cu_ptr;
typedef CUmemGenericAllocationHandle     cu_handle;
typedef CUcontext                        cu_context;
typedef CUmodule                         cu_module;
typedef CUfunction                       cu_function;
typedef CUstream                         cu_stream;
typedef CUevent                          cu_event;
typedef CUuuid                           cu_uuid;
typedef CUmemAllocationProp              cu_allocation;
typedef CUmemAccessDesc                  cu_access;
typedef CUmemLocation                    cu_location;
typedef CUstreamCaptureMode              cu_capture_mode;
typedef CUstreamCaptureStatus            cu_capture_status;
typedef CUgraph                          cu_graph;
typedef CUcheckpointLockArgs             cu_lock_args;
typedef CUcheckpointCheckpointArgs       cu_checkpoint_args;
typedef CUcheckpointRestoreArgs          cu_restore_args;
typedef CUcheckpointUnlockArgs           cu_unlock_args;
typedef CUhostFn                         cu_host_function;
typedef CUdriverProcAddressQueryResult   cu_found;

#include "calls.h"

/* cuda.h renames it to a later form, and declares this one only for itself. */
extern __typeof__(*(PFN_cuCtxCreate_v3020)0) cuCtxCreate_v2;

#define CHECK(name, parameters)                                                              \
    _Static_assert(__builtin_types_compatible_p(__typeof__(&name), cu_result(*) parameters), \
                   #name " is declared otherwise in cuda.h");
FAKECUDA_CALLS(CHECK)
