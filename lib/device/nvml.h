/* SPDX-License-Identifier: Apache-2.0 */
/* NVML, where it is: what a device's memory is used for by all processes, without a context on it. Everything here is
 * for reports: without NVML they know less, and nothing else changes. */
#ifndef SGI_DEVICE_NVML_H
#define SGI_DEVICE_NVML_H

#include <stdbool.h>
#include <stdint.h>

#include "device/nvml_abi.h"

/* NOLINTNEXTLINE(bugprone-macro-parentheses): a list of parameters */
#define SGI__NVML_MEMBER(name, parameters) int(*name) parameters;
struct sgi__nvml {
    SGI__NVML_CALLS(SGI__NVML_MEMBER)
    nvml_device device; /* NULL: there is no NVML, or it does not know the device */
};
#undef SGI__NVML_MEMBER

/* For the device at a PCI address as CUDA writes it. */
void sgi__nvml_open(struct sgi__nvml *nvml, const char *pci, uint64_t total);
void sgi__nvml_close(struct sgi__nvml *nvml);

/* By all processes together. false: not known. */
bool sgi__nvml_memory(const struct sgi__nvml *nvml, uint64_t *free_out, uint64_t *total_out);
/* By this process. false: it has nothing there, or it is called otherwise in its container, or the driver does not
 * say. */
bool sgi__nvml_own(const struct sgi__nvml *nvml, uint64_t *used_out);

#endif
