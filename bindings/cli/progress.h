/* SPDX-License-Identifier: Apache-2.0 */
/* A progress bar on stderr, where that is a terminal; elsewhere nothing at all. */
#ifndef SGI_CLI_PROGRESS_H
#define SGI_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

enum { PROGRESS_INTERVAL_MS = 50 };

struct progress {
    bool     terminal;
    bool     drawn;
    uint64_t first_ns, first_bytes; /* the rate is taken from here on */
};

/* What the callbacks of one call have for a user: a bar, and where lines go when that is cleared. */
struct telling {
    struct progress bar; /* first: progress_told() has it */
    struct output  *out;
};

void progress_begin(struct progress *p);
void progress_draw(struct progress *p, uint64_t done, uint64_t total);
/* progress_draw() as an sgi_progress_fn: `user` is the bar. Never stops anything. */
int  progress_told(void *user, uint64_t done, uint64_t total);
void progress_clear(struct progress *p);

#endif
