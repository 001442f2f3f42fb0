/* SPDX-License-Identifier: Apache-2.0 */
/* Two things measured in turn, since disks and neighbours drift by a factor of two over minutes: a ratio is taken
 * within its round, and the order of the two changes from round to round. */
#ifndef SGI_BENCH_AGAINST_H
#define SGI_BENCH_AGAINST_H

#include <stdint.h>

struct side {
    const char *name;
    int (*run)(void *user); /* rounds + 1 repetitions on cue, each a line of JSON with gib_s and cpu_core_s_per_gib */
    void *user;
};

/* A line a round, {"what": "round", each side's line, "ratio"}: of the first side's gib_s to the second's. Then the
 * summary. */
void against_run(const char *command, const char *path, const struct side sides[2], uint64_t rounds);

#endif
