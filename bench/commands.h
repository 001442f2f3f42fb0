/* SPDX-License-Identifier: Apache-2.0 */
/* The subcommands; each is a file of its own and returns an exit status. */
#ifndef SGI_BENCH_COMMANDS_H
#define SGI_BENCH_COMMANDS_H

#include <stdbool.h>
#include <stdint.h>

int raw_main(int argc, char **argv);
int pages_main(int argc, char **argv);
int load_main(int argc, char **argv);
int warm_main(int argc, char **argv);
int idle_main(int argc, char **argv);
int swap_main(int argc, char **argv);
int memory_main(int argc, char **argv);
int release_main(int argc, char **argv);
int gpu_main(int argc, char **argv);

/* `raw` as the other side of a comparison: on cue, touched memory. For child_start(). */
struct raw_side {
    const char *path, *engine; /* "auto": uring where this build has it */
    uint64_t    repeat, rate;
    bool        cold, buffered;
};
int raw_side_run(void *user);

/* `load` likewise: onto a device, from the disk or from DRAM, the context kept open or closed before each turn. */
struct load_side {
    const char *path, *device;
    uint64_t    repeat;
    bool        dram, cold, closed;
};
int load_side_run(void *user);

#endif
