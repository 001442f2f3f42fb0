/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a residence is worth: the time that it saves in a start, by how often there is one, by the bytes that it takes.
 * Uses of long ago count for less, half for each day; and who has been dropped last raises what a new one begins with
 * (`dram_clock`), so that nobody lives on what he was worth once. Integers only: a replay decides alike.
 */
#include "core/state.h"

enum { USES_BITS = 16 }; /* behind the point */

#define HALF_LIFE_NS   (UINT64_C(86400) * 1000000000)
#define USES_MAX       (UINT64_C(1) << (USES_BITS + 10))
#define SAVED_US_MAX   (UINT64_C(1) << 30)
#define SAVED_US_LEAST UINT64_C(1000)

/* Of what has never been read: as if from a disk of 1 GiB/s. */
#define DISK_BYTES_PER_US UINT64_C(1074)

/* count / 2^(ns / HALF_LIFE_NS): whole half-lives by shifting, of the rest a bit at a time. */
static uint64_t decayed(uint64_t count, uint64_t ns)
{
    /* 2^32 / 2^(1/2), 2^32 / 2^(1/4), ... */
    static const uint64_t roots[] = { 3037000500, 3611622603, 3938502376, 4112874773, 4202935003, 4248701965,
                                      4271771996, 4283353945, 4289156690, 4292061010, 4293513907, 4294240540 };
    uint64_t              halves = ns / HALF_LIFE_NS, rest = ns % HALF_LIFE_NS;

    if (halves >= 63)
        return 0;
    count >>= halves;
    for (uint32_t n = 0; n < sizeof roots / sizeof *roots; n++) {
        rest *= 2;
        if (rest < HALF_LIFE_NS)
            continue;
        rest -= HALF_LIFE_NS;
        count = count * roots[n] >> 32;
    }
    return count;
}

void sgi__value_use(struct model *m, uint64_t now)
{
    m->uses = decayed(m->uses, now - m->uses_at) + (UINT64_C(1) << USES_BITS);
    if (m->uses > USES_MAX)
        m->uses = USES_MAX;
    m->uses_at = now;
}

uint64_t sgi__value(const struct sgi__core *core, const struct model *m, uint64_t bytes, uint64_t now)
{
    uint64_t disk = sgi__start_ns(core, m, SGI_TIER_DISK), dram = sgi__start_ns(core, m, SGI_TIER_DRAM);
    uint64_t disk_us = disk == SGI__NEVER ? m->config.image_bytes / DISK_BYTES_PER_US : disk / 1000;
    uint64_t dram_us = dram == SGI__NEVER ? 0 : dram / 1000;
    uint64_t saved_us = disk_us > dram_us ? disk_us - dram_us : 0, mib = (bytes >> 20) + 1;

    if (saved_us < SAVED_US_LEAST)
        saved_us = SAVED_US_LEAST;
    if (saved_us > SAVED_US_MAX)
        saved_us = SAVED_US_MAX;
    return core->dram_clock + decayed(m->uses, now - m->uses_at) * saved_us / mib;
}
