/* SPDX-License-Identifier: Apache-2.0 */
#include "gpu.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "measure.h"
#include "options.h"

#define MIB (1024.0 * 1024.0)

enum { SETTLED_MS = 300, POLL_US = 2000 };

static bool find(void *library, const char *name, void *to)
{
    void *found = dlsym(library, name);
    memcpy(to, &found, sizeof found); /* ISO C lets no function be a void * */
    return found != NULL;
}

void gpu_check(const char *call, cu_result code)
{
    if (code != CU_OK)
        die("%s: CUDA error %u", call, code);
}

/* The library needs all of these, and says so; the others are gpu_probe's. */
#define FIND(name, parameters)              \
    if (!find(library, #name, &g->fn.name)) \
        die("the CUDA driver has no " #name);

void gpu_driver_open(struct gpu_driver *g, unsigned ordinal)
{
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library)
        die("there is no CUDA driver (libcuda.so.1) here");
    SGI__CUDA_CALLS(FIND)
    FIND(cuMemAlloc_v2, )
    FIND(cuMemFree_v2, )
    gpu_check("cuInit", g->fn.cuInit(0));
    gpu_check("cuDeviceGet", g->fn.cuDeviceGet(&g->device, (int)ordinal));
    gpu_check("cuDeviceGetPCIBusId", g->fn.cuDeviceGetPCIBusId(g->pci, sizeof g->pci, g->device));
}

bool gpu_is_cuda(const char *device, unsigned *ordinal_out)
{
    return sscanf(device, "cuda:%u", ordinal_out) == 1;
}

json_t *gpu_driver_facts(const struct gpu_driver *g)
{
    struct gpu_view view;
    char            name[128] = "", driver[96] = "";
    size_t          bytes = 0;
    int             version = 0;

    g->fn.cuDeviceGetName(name, sizeof name, g->device);
    g->fn.cuDeviceTotalMem_v2(&bytes, g->device);
    g->fn.cuDriverGetVersion(&version);
    gpu_view_open(&view, g->pci);
    if (view.usable && view.fn.nvmlSystemGetDriverVersion)
        view.fn.nvmlSystemGetDriverVersion(driver, sizeof driver);
    return json_pack("{s:s, s:s, s:I, s:i, s:s}", "name", name, "pci", g->pci, "bytes", (json_int_t)bytes, "cuda",
                     version, "driver", driver);
}

/* ---- NVML ---- */

#define FIND_NVML(name, parameters) find(library, #name, &v->fn.name);

void gpu_view_open(struct gpu_view *v, const char *pci)
{
    void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);

    *v = (struct gpu_view){ .usable = false };
    if (!library)
        return;
    GPU_PROBE_NVML(FIND_NVML)
    v->usable = v->fn.nvmlInit_v2 && v->fn.nvmlDeviceGetHandleByPciBusId_v2 && v->fn.nvmlDeviceGetMemoryInfo &&
                v->fn.nvmlInit_v2() == NVML_OK && v->fn.nvmlDeviceGetHandleByPciBusId_v2(pci, &v->device) == NVML_OK;
}

double gpu_view_used_mib(const struct gpu_view *v)
{
    struct nvml_memory_v2 now = { .version = (unsigned)sizeof now | 2u << 24 };
    struct nvml_memory    before;

    if (!v->usable)
        return -1;
    if (v->fn.nvmlDeviceGetMemoryInfo_v2 && v->fn.nvmlDeviceGetMemoryInfo_v2(v->device, &now) == NVML_OK)
        return (double)now.used / MIB;
    return v->fn.nvmlDeviceGetMemoryInfo(v->device, &before) == NVML_OK ? (double)before.used / MIB : -1;
}

double gpu_view_settled_mib(const struct gpu_view *v)
{
    double least = gpu_view_used_mib(v), since = seconds_now();

    while (least >= 0 && (seconds_now() - since) * 1e3 < SETTLED_MS) {
        double now = gpu_view_used_mib(v);
        if (now < least) {
            least = now;
            since = seconds_now();
        }
        nap_us(POLL_US);
    }
    return least;
}
