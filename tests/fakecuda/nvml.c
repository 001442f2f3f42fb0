/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A libnvidia-ml.so.1: it sees the fake devices and what all processes hold of them, without cuInit and without a
 * context. It has no more than is in its list: an older NVML has fewer functions too.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "../../bench/gpu_probe_cuda.h"
#include "ledger.h"

enum { NVML_UNINITIALIZED = 1, NVML_INVALID = 2, NVML_NOT_FOUND = 6, NVML_SMALL = 7, NVML_MISMATCH = 25 };

#define FAKENVML_CALLS(X)                                                       \
    SGI__NVML_CALLS(X)                                                          \
    X(nvmlSystemGetDriverVersion, (char *version, unsigned int length))         \
    X(nvmlDeviceGetCount_v2, (unsigned int *count))                             \
    X(nvmlDeviceGetHandleByIndex_v2, (unsigned int index, nvml_device *device)) \
    X(nvmlDeviceGetComputeRunningProcesses_v3,                                  \
      (nvml_device device, unsigned int *count, struct nvml_process *processes))

#define DECLARE(name, parameters) __attribute__((visibility("default"))) int name parameters;
FAKENVML_CALLS(DECLARE)

static int      users; /* nvmlInit counts, atomically */
static char     devices[FC_DEVICES_MAX];
static unsigned count_all(void)
{
    uint64_t count = fc_bytes_of(getenv("FAKECUDA_DEVICES"), 1);
    return count > FC_DEVICES_MAX ? FC_DEVICES_MAX : (unsigned)count;
}

static int index_of(nvml_device device)
{
    for (unsigned n = 0; n < count_all(); n++) {
        if (device == (nvml_device)(void *)&devices[n])
            return (int)n;
    }
    return -1;
}

static int is_ready(void)
{
    return __atomic_load_n(&users, __ATOMIC_ACQUIRE) > 0;
}

int nvmlInit_v2(void)
{
    fc_ledger_folder();
    __atomic_fetch_add(&users, 1, __ATOMIC_ACQ_REL);
    return NVML_OK;
}

int nvmlShutdown(void)
{
    if (!is_ready())
        return NVML_UNINITIALIZED;
    __atomic_fetch_sub(&users, 1, __ATOMIC_ACQ_REL);
    return NVML_OK;
}

int nvmlSystemGetDriverVersion(char *version, unsigned int length)
{
    const char *driver = getenv("FAKECUDA_DRIVER");
    if (!is_ready())
        return NVML_UNINITIALIZED;
    snprintf(version, length, "%s.0", driver && *driver ? driver : "580");
    return NVML_OK;
}

int nvmlDeviceGetCount_v2(unsigned int *count)
{
    if (!is_ready())
        return NVML_UNINITIALIZED;
    *count = count_all();
    return NVML_OK;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvml_device *device)
{
    if (!is_ready())
        return NVML_UNINITIALIZED;
    if (index >= count_all())
        return NVML_INVALID;
    *device = (nvml_device)(void *)&devices[index];
    return NVML_OK;
}

/* With the domain in four digits, as CUDA says it, or in eight, as NVML does. */
int nvmlDeviceGetHandleByPciBusId_v2(const char *id, nvml_device *device)
{
    unsigned domain, bus, slot, function;
    char     end;
    if (!is_ready())
        return NVML_UNINITIALIZED;
    if (!id || sscanf(id, "%x:%x:%x.%x%c", &domain, &bus, &slot, &function, &end) != 4)
        return NVML_INVALID;
    if (domain != 0 || slot != 0 || function != 0 || bus < 1 || bus > count_all())
        return NVML_NOT_FOUND;
    *device = (nvml_device)(void *)&devices[bus - 1];
    return NVML_OK;
}

static uint64_t total_of(int device, uint64_t *used)
{
    uint64_t total = fc_bytes_of(getenv("FAKECUDA_VRAM"), 1ull << 30);
    uint64_t card = fc_bytes_of(getenv("FAKECUDA_CARD"), total);
    *used = fc_ledger_used(device, 0) + fc_bytes_of(getenv("FAKECUDA_FOREIGN"), 0);
    if (card > total) { /* the device is a part of it, and somebody else has the rest */
        *used += card - total;
        total = card;
    }
    if (*used > total)
        *used = total;
    return total;
}

int nvmlDeviceGetMemoryInfo(nvml_device device, struct nvml_memory *memory)
{
    uint64_t used;
    int      index = index_of(device);
    if (!is_ready())
        return NVML_UNINITIALIZED;
    if (index < 0 || !memory)
        return NVML_INVALID;
    uint64_t total = total_of(index, &used);
    *memory = (struct nvml_memory){ .total = total, .free = total - used, .used = used };
    return NVML_OK;
}

int nvmlDeviceGetMemoryInfo_v2(nvml_device device, struct nvml_memory_v2 *memory)
{
    uint64_t used;
    int      index = index_of(device);
    if (!is_ready())
        return NVML_UNINITIALIZED;
    if (index < 0 || !memory)
        return NVML_INVALID;
    if (memory->version != (sizeof *memory | 2u << 24))
        return NVML_MISMATCH;
    uint64_t total = total_of(index, &used);
    memory->total = total;
    memory->reserved = 0;
    memory->free = total - used;
    memory->used = used;
    return NVML_OK;
}

/* Who has a context: who only holds memory by handle is not seen, as with the real one. */
int nvmlDeviceGetComputeRunningProcesses_v3(nvml_device device, unsigned int *count, struct nvml_process *processes)
{
    struct fc_user found[256];
    int            index = index_of(device);
    if (!is_ready())
        return NVML_UNINITIALIZED;
    if (index < 0 || !count)
        return NVML_INVALID;
    unsigned there = fc_ledger_users(index, found, 256), room = *count;
    *count = there;
    if (there > room || there > 256)
        return NVML_SMALL;
    for (unsigned n = 0; n < there; n++)
        processes[n] = (struct nvml_process){ (unsigned)found[n].pid, found[n].bytes, ~0u, ~0u };
    return NVML_OK;
}
