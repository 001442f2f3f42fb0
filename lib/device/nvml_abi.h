/* SPDX-License-Identifier: Apache-2.0 */
/* What is used of NVML, declared by hand like cuda_abi.h. It knows of devices without a context on any. */
#ifndef SGI_DEVICE_NVML_ABI_H
#define SGI_DEVICE_NVML_ABI_H

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

enum { NVML_OK = 0, NVML_NOT_SUPPORTED = 3 };

/* X(name as NVML exports it, parameters): what the library calls. */
#define SGI__NVML_CALLS(X)                                                              \
    X(nvmlInit_v2, (void))                                                              \
    X(nvmlShutdown, (void))                                                             \
    X(nvmlDeviceGetHandleByPciBusId_v2, (const char *id, nvml_device *device))          \
    X(nvmlDeviceGetMemoryInfo, (nvml_device device, struct nvml_memory * memory))       \
    X(nvmlDeviceGetMemoryInfo_v2, (nvml_device device, struct nvml_memory_v2 * memory)) \
    X(nvmlDeviceGetComputeRunningProcesses_v3,                                          \
      (nvml_device device, unsigned int *count, struct nvml_process *processes))

#endif
