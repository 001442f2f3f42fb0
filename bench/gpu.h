/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the command `gpu`: its sides, each for child_start(), and what they find of the driver. */
#ifndef SGI_BENCH_GPU_H
#define SGI_BENCH_GPU_H

#include <jansson.h>
#include <stdbool.h>

#include "gpu_probe_cuda.h"

/* ---- gpu_driver.c: what a side needs of the driver and of NVML. What fails ends the program. */

struct gpu_driver {
    struct cuda fn;
    cu_device   device;
    char        pci[32];
};

void    gpu_driver_open(struct gpu_driver *g, unsigned ordinal); /* cuInit, no context */
void    gpu_check(const char *call, cu_result code);
json_t *gpu_driver_facts(const struct gpu_driver *g); /* name, pci, bytes, cuda, driver */

struct gpu_view {
    struct nvml fn;
    nvml_device device;
    bool        usable;
};

void   gpu_view_open(struct gpu_view *v, const char *pci);
double gpu_view_used_mib(const struct gpu_view *v); /* by all processes; negative: not known */
/* The least that it says, once it has said nothing less for a while: what is freed is wiped before it is free. */
double gpu_view_settled_mib(const struct gpu_view *v);

/* ---- sides: each turn is a line */

/* The ceiling: image-sized pinned memory to as much on the device, nothing but copies. */
struct link_side {
    uint64_t bytes, repeat;
    unsigned ordinal;
};
int link_side_run(void *user);

/* From the last release to a device with nothing of ours. */
struct zero_side {
    const char *path, *device;
    uint64_t    repeat;
};
int zero_side_run(void *user);

/* Of a device's name: true and its number for "cuda:N". */
bool gpu_is_cuda(const char *device, unsigned *ordinal_out);

#endif
