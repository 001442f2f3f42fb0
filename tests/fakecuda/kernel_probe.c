/* SPDX-License-Identifier: Apache-2.0 */
/* Stand-ins for the kernels of gpu_probe. */
#include <string.h>

#include "internal.h"

static void take_stop(struct work *work, int device, void *const *parameters)
{
    (void)device, (void)parameters;
    work->fault = CU_LAUNCH_FAILED;
}

/* at, value */
static void take_poke(struct work *work, int device, void *const *parameters)
{
    work->value = fc_kernel_u32(parameters, 1);
    fc_kernel_writes(work, device, fc_kernel_u64(parameters, 0), 4);
}

static void poke(const struct work *work)
{
    memcpy(work->to.list[0].reach, &work->value, 4);
}

/* at, to */
static void take_peek(struct work *work, int device, void *const *parameters)
{
    fc_kernel_reads(work, device, fc_kernel_u64(parameters, 0), 4);
    fc_kernel_writes(work, device, fc_kernel_u64(parameters, 1), 4);
}

static void peek(const struct work *work)
{
    memcpy(work->to.list[0].reach, work->from.list[0].reach, 4);
}

/* at, words, value, to */
static void take_count(struct work *work, int device, void *const *parameters)
{
    work->words = fc_kernel_u64(parameters, 1);
    work->value = fc_kernel_u32(parameters, 2);
    fc_kernel_reads(work, device, fc_kernel_u64(parameters, 0), work->words * 4);
    fc_kernel_writes(work, device, fc_kernel_u64(parameters, 3), 8);
}

static void count(const struct work *work)
{
    uint64_t found;
    memcpy(&found, work->to.list[0].reach, sizeof found);
    for (unsigned n = 0; n < work->from.count; n++) {
        const struct part *part = &work->from.list[n];
        for (size_t at = 0; at < part->bytes; at += 4) {
            uint32_t value;
            memcpy(&value, part->reach + at, sizeof value);
            found += value == work->value;
        }
    }
    memcpy(work->to.list[0].reach, &found, sizeof found);
}

const struct kernel fc_probe_kernels[PROBE_KERNELS] = {
    { "noop", false, NULL, NULL },     { "stop", false, take_stop, NULL },   { "poke", true, take_poke, poke },
    { "peek", true, take_peek, peek }, { "count", true, take_count, count },
};
