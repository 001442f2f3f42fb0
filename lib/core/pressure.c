/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Host memory is wanted back. A trim is done once; pressure lowers what the DRAM tier may take (`dram_ceiling`) by a
 * quarter of what it has, and while none is felt that rises again, by an eighth of the budget at a time. Pins keep what
 * they have reserved.
 */
#include "core/state.h"

#define RELIEF_NS (UINT64_C(10) * 1000000000)

uint64_t sgi__dram_max(const struct sgi__core *core)
{
    return core->dram_ceiling < core->dram.bytes_max ? core->dram_ceiling : core->dram.bytes_max;
}

/* At the end of each event: what could not go before may do so now, and what went may have left some to others. */
void sgi__give_back(struct sgi__core *core)
{
    if (core->dram_trim != UINT64_MAX)
        sgi__residence_shrink(core, core->dram_trim, core->dram_trim_newest);
    if (core->dram_leaving == 0 && core->sharing == 0) /* no more of it will go */
        core->dram_trim = UINT64_MAX;
    if (core->dram_ceiling != UINT64_MAX)
        sgi__residence_shrink(core, core->dram_ceiling, UINT64_MAX);
}

void sgi__core_trim(struct sgi__core *core, uint64_t now, uint64_t dram_bytes)
{
    core->dram_trim = dram_bytes;
    core->dram_trim_newest = core->residences; /* what comes to be kept from now on stays */
    core->spare_trim = true;
    sgi__core_settle(core, now);
}

void sgi__core_pressure(struct sgi__core *core, uint64_t now)
{
    uint64_t taken = core->dram.used + core->dram_lending, max = sgi__dram_max(core);

    core->dram_ceiling = (taken < max ? taken : max) / 4 * 3;
    sgi__timer_set(core, &core->relief, now + RELIEF_NS);
    sgi__core_settle(core, now);
}

void sgi__pressure_relieved(struct sgi__core *core, uint64_t now)
{
    uint64_t step = core->dram.bytes_max / 8 + 1;

    if (core->dram_ceiling >= core->dram.bytes_max - (core->dram.bytes_max < step ? core->dram.bytes_max : step)) {
        core->dram_ceiling = UINT64_MAX;
        return;
    }
    core->dram_ceiling += step;
    sgi__timer_set(core, &core->relief, now + RELIEF_NS);
}
