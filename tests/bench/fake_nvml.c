/* SPDX-License-Identifier: Apache-2.0 */
/* A libnvidia-ml.so.1 for tests of gpu_probe: one device, known by its address, with a process and 100 MiB in use. */
#include <stdio.h>
#include <string.h>

#include "../../bench/gpu_probe_cuda.h"

/* Some are left out: an older NVML has fewer. */
int nvmlInit_v2(void);
int nvmlSystemGetDriverVersion(char *version, unsigned int length);
int nvmlDeviceGetHandleByPciBusId_v2(const char *id, nvml_device *device);
int nvmlDeviceGetMemoryInfo_v2(nvml_device device, struct nvml_memory_v2 *memory);
int nvmlDeviceGetComputeRunningProcesses_v3(nvml_device device, unsigned int *count, struct nvml_process *processes);

int nvmlInit_v2(void)
{
    return NVML_OK;
}

int nvmlSystemGetDriverVersion(char *version, unsigned int length)
{
    snprintf(version, length, "999.1");
    return NVML_OK;
}

int nvmlDeviceGetHandleByPciBusId_v2(const char *id, nvml_device *device)
{
    static char only;
    *device = (nvml_device)(void *)&only;
    return strcmp(id, "0000:01:00.0") == 0 ? NVML_OK : 6;
}

int nvmlDeviceGetMemoryInfo_v2(nvml_device device, struct nvml_memory_v2 *memory)
{
    if (!device || memory->version != (sizeof *memory | 2u << 24))
        return 25;
    memory->used = 100u << 20;
    return NVML_OK;
}

int nvmlDeviceGetComputeRunningProcesses_v3(nvml_device device, unsigned int *count, struct nvml_process *processes)
{
    if (!device || *count < 1)
        return 7;
    *count = 1;
    processes[0] = (struct nvml_process){ .pid = 1, .used = ~0ull };
    return NVML_OK;
}
