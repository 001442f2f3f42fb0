/* SPDX-License-Identifier: Apache-2.0 */
/* The ceiling of what comes from host memory: pinned memory of a whole image, copied piece by piece on one stream. No
 * code of the library. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "gpu.h"
#include "measure.h"
#include "options.h"
#include "report.h"

#define HUGE_PAGE ((uint64_t)2 << 20)
#define PIECE     ((uint64_t)8 << 20)

struct link {
    struct gpu_driver g;
    cu_context        context;
    cu_stream         stream;
    cu_ptr            device;
    char             *host;
    uint64_t          bytes;
};

static char *pages(uint64_t bytes)
{
    char *at = mmap(NULL, bytes + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        die("%llu bytes of memory: %s", (unsigned long long)bytes, strerror(errno));
    at = (char *)(((uintptr_t)at + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE);
    madvise(at, bytes, MADV_HUGEPAGE);
    memset(at, 0x5a, bytes);
    return at;
}

static void link_open(struct link *l, const struct link_side *side)
{
    gpu_driver_open(&l->g, side->ordinal);
    l->bytes = (side->bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    l->host = pages(l->bytes);
    l->g.fn.cuDevicePrimaryCtxSetFlags_v2(l->g.device, CU_PRIMARY_BLOCKING_SYNC); /* a preference */
    gpu_check("cuDevicePrimaryCtxRetain", l->g.fn.cuDevicePrimaryCtxRetain(&l->context, l->g.device));
    gpu_check("cuCtxSetCurrent", l->g.fn.cuCtxSetCurrent(l->context));
    gpu_check("cuMemHostRegister", l->g.fn.cuMemHostRegister_v2(l->host, l->bytes, CU_HOST_PORTABLE));
    gpu_check("cuMemAlloc", l->g.fn.cuMemAlloc_v2(&l->device, l->bytes));
    gpu_check("cuStreamCreate", l->g.fn.cuStreamCreate(&l->stream, CU_STREAM_DOES_NOT_BLOCK));
}

static void link_close(struct link *l)
{
    gpu_check("cuStreamDestroy", l->g.fn.cuStreamDestroy_v2(l->stream));
    gpu_check("cuMemFree", l->g.fn.cuMemFree_v2(l->device));
    gpu_check("cuMemHostUnregister", l->g.fn.cuMemHostUnregister(l->host));
    gpu_check("cuDevicePrimaryCtxRelease", l->g.fn.cuDevicePrimaryCtxRelease_v2(l->g.device));
}

static double copy_all(struct link *l)
{
    double begin = seconds_now();
    for (uint64_t at = 0; at < l->bytes; at += PIECE) {
        uint64_t some = l->bytes - at < PIECE ? l->bytes - at : PIECE;
        gpu_check("cuMemcpyHtoDAsync", l->g.fn.cuMemcpyHtoDAsync_v2(l->device + at, l->host + at, some, l->stream));
    }
    gpu_check("cuStreamSynchronize", l->g.fn.cuStreamSynchronize(l->stream));
    return seconds_now() - begin;
}

int link_side_run(void *user)
{
    const struct link_side *side = user;
    struct turns            turns = { .repeat = side->repeat, .on_line = true };
    struct link             l = { .bytes = 0 };

    link_open(&l, side);
    while (next_turn(&turns)) {
        double cpu = cpu_seconds(), seconds = copy_all(&l), gib = (double)l.bytes / GIB;
        report_line(json_pack("{s:s, s:I, s:f, s:f, s:f, s:o}", "what", "link", "bytes", (json_int_t)l.bytes, "seconds",
                              seconds, "gib_s", gib / seconds, "cpu_core_s_per_gib", (cpu_seconds() - cpu) / gib,
                              "card", gpu_driver_facts(&l.g)));
    }
    link_close(&l);
    return EXIT_GOOD;
}
