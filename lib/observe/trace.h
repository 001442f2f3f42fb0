/* SPDX-License-Identifier: Apache-2.0 */
/* The last cold starts, for reading afterwards. Guarded by the caller. */
#ifndef SGI_OBSERVE_TRACE_H
#define SGI_OBSERVE_TRACE_H

#include <sgi/sgi.h>

enum { SGI__TRACE_STARTS = 256, SGI__TRACE_NAME_BYTES = 64 };

struct sgi__trace_start {
    char     name[SGI__TRACE_NAME_BYTES]; /* cut, always terminated */
    uint64_t request_ns, grant_ns;        /* CLOCK_MONOTONIC */
    uint64_t bytes;
    uint32_t tier;
    int32_t  device;
    char     engine[16];
    struct {
        uint64_t start_ns, ns;
    } steps[SGI_STEP_COUNT]; /* start 0: not needed */
};

struct sgi__trace {
    struct sgi__trace_start starts[SGI__TRACE_STARTS];
    uint64_t                count; /* ever */
};

struct sgi__trace *sgi__trace_new(void); /* empty; NULL: out of memory */
void               sgi__trace_free(struct sgi__trace *trace);
void               sgi__trace_add(struct sgi__trace *trace, const struct sgi__trace_start *start);
/* Chrome's trace event format: a process for each runtime, a row for each start's steps. SGI_E_CANCELED when `write`
 * stops it. */
sgi_status sgi__trace_write(const struct sgi__trace *trace, sgi_write_fn write, void *user);

#endif
