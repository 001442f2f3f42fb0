/* SPDX-License-Identifier: Apache-2.0 */
#include "device/nvml.h"

#include <dlfcn.h>
#include <unistd.h>

#include "device/symbol.h"

enum { PROCESSES_MAX = 256 };

/* It is never closed again, like the driver. */
/* A part of a card (MIG) has the address of the whole, and NVML answers for that one. */
static bool is_of_more(const struct sgi__nvml *nvml, uint64_t total)
{
    uint64_t left, all;
    return sgi__nvml_memory(nvml, &left, &all) && all > total + total / 4;
}

void sgi__nvml_open(struct sgi__nvml *nvml, const char *pci, uint64_t total)
{
    void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);

    *nvml = (struct sgi__nvml){ 0 };
    if (!library)
        return;
#define FIND(call, parameters) sgi__symbol(library, #call, &nvml->call, sizeof nvml->call) &&
    bool all = SGI__NVML_CALLS(FIND) true;
#undef FIND
    if (!all || nvml->nvmlInit_v2() != NVML_OK)
        return;
    if (nvml->nvmlDeviceGetHandleByPciBusId_v2(pci, &nvml->device) != NVML_OK || !nvml->device ||
        is_of_more(nvml, total)) {
        nvml->device = NULL;
        nvml->nvmlShutdown();
    }
}

void sgi__nvml_close(struct sgi__nvml *nvml)
{
    if (nvml->device)
        nvml->nvmlShutdown();
    nvml->device = NULL;
}

/* What the driver keeps for itself, which the newer form tells apart, is nobody's to have. */
bool sgi__nvml_memory(const struct sgi__nvml *nvml, uint64_t *free_out, uint64_t *total_out)
{
    struct nvml_memory_v2 now = { .version = (unsigned)sizeof now | 2u << 24 };
    struct nvml_memory    before = { 0 };

    if (!nvml->device)
        return false;
    if (nvml->nvmlDeviceGetMemoryInfo_v2(nvml->device, &now) == NVML_OK) {
        *free_out = now.free;
        *total_out = now.free + now.used;
        return true;
    }
    if (nvml->nvmlDeviceGetMemoryInfo(nvml->device, &before) != NVML_OK)
        return false;
    *free_out = before.free;
    *total_out = before.total;
    return true;
}

bool sgi__nvml_own(const struct sgi__nvml *nvml, uint64_t *used_out)
{
    struct nvml_process processes[PROCESSES_MAX];
    unsigned            count = PROCESSES_MAX;

    if (!nvml->device || nvml->nvmlDeviceGetComputeRunningProcesses_v3(nvml->device, &count, processes) != NVML_OK)
        return false;
    for (unsigned n = 0; n < count && n < PROCESSES_MAX; n++)
        if (processes[n].pid == (unsigned)getpid() && processes[n].used != ~0ull) {
            *used_out = processes[n].used;
            return true;
        }
    return false;
}
