/* SPDX-License-Identifier: Apache-2.0 */
/* NVML, for what is seen from outside: it needs no context and no cuInit, and it counts what every process holds. */
#include <dlfcn.h>
#include <string.h>

#include "gpu_probe.h"

#define FIND(name, parameters)                     \
    do {                                           \
        void *found = dlsym(library, #name);       \
        memcpy(&v->fn.name, &found, sizeof found); \
    } while (0);

#define NVML(v, name, args) ((v)->fn.name ? (v)->fn.name args : NVML_NO_SYMBOL)

static const char *open_device(struct nvml_view *v, const char *pci)
{
    void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return "no libnvidia-ml.so.1";
    GPU_PROBE_NVML(FIND)
    if (NVML(v, nvmlInit_v2, ()) != NVML_OK)
        return "nvmlInit_v2 failed";
    if (!pci)
        return "the device's PCI address is not known";
    if (NVML(v, nvmlDeviceGetHandleByPciBusId_v2, (pci, &v->device)) != NVML_OK)
        return "nvmlDeviceGetHandleByPciBusId_v2 failed";
    return NULL;
}

bool nvml_open(struct probe *p)
{
    if (!p->nvml.opened) {
        p->nvml.opened = true;
        p->nvml.why = open_device(&p->nvml, p->pci);
    }
    return !p->nvml.why;
}

double nvml_used_mib(struct probe *p)
{
    struct nvml_memory_v2 v2 = { .version = (unsigned)sizeof v2 | 2u << 24 };
    struct nvml_memory    v1;
    if (!nvml_open(p))
        return -1;
    if (NVML(&p->nvml, nvmlDeviceGetMemoryInfo_v2, (p->nvml.device, &v2)) == NVML_OK)
        return (double)v2.used / (double)MIB;
    if (NVML(&p->nvml, nvmlDeviceGetMemoryInfo, (p->nvml.device, &v1)) == NVML_OK)
        return (double)v1.used / (double)MIB;
    return -1;
}

/* Process ids may be those of another namespace: the count says whether anybody was seen at all. */
static void put_processes(struct nvml_view *v, json_t *to, pid_t pid)
{
    static struct nvml_process list[256];
    unsigned int               count = sizeof list / sizeof list[0];
    int                        code = NVML(v, nvmlDeviceGetComputeRunningProcesses_v3, (v->device, &count, list));
    if (code != NVML_OK) {
        json_object_set_new(to, "nvml_processes_code", json_integer(code));
        return;
    }
    json_object_set_new(to, "nvml_processes", json_integer(count));
    json_object_set_new(to, "nvml_lists_it", json_false());
    for (unsigned int n = 0; n < count && n < sizeof list / sizeof list[0]; n++) {
        if (list[n].pid != (unsigned int)pid)
            continue;
        json_object_set_new(to, "nvml_lists_it", json_true());
        if (list[n].used != ~0ull)
            put_number(to, "nvml_process_mib", (double)list[n].used / (double)MIB);
    }
}

void nvml_put(struct probe *p, json_t *to, pid_t pid)
{
    if (!nvml_open(p)) {
        put_text(to, "nvml", p->nvml.why);
        return;
    }
    double used = nvml_used_mib(p);
    if (used >= 0)
        put_number(to, "nvml_used_mib", used);
    put_processes(&p->nvml, to, pid);
}

static void put_unsigned(json_t *to, const char *key, int code, unsigned int value)
{
    if (code == NVML_OK)
        json_object_set_new(to, key, json_integer(value));
}

void nvml_put_device(struct probe *p, json_t *to)
{
    char         text[128] = "";
    unsigned int value = 0;
    if (!nvml_open(p)) {
        put_text(to, "nvml", p->nvml.why);
        return;
    }
    if (NVML(&p->nvml, nvmlSystemGetDriverVersion, (text, sizeof text - 1)) == NVML_OK)
        put_text(to, "nvml_driver", text);
    int code = NVML(&p->nvml, nvmlDeviceGetPersistenceMode, (p->nvml.device, &value));
    put_unsigned(to, "persistence", code, value);
    code = NVML(&p->nvml, nvmlDeviceGetCurrPcieLinkGeneration, (p->nvml.device, &value));
    put_unsigned(to, "pcie_generation_now", code, value);
    code = NVML(&p->nvml, nvmlDeviceGetMaxPcieLinkGeneration, (p->nvml.device, &value));
    put_unsigned(to, "pcie_generation_max", code, value);
    code = NVML(&p->nvml, nvmlDeviceGetCurrPcieLinkWidth, (p->nvml.device, &value));
    put_unsigned(to, "pcie_width", code, value);
    nvml_put(p, to, 0);
}
