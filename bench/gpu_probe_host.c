/* SPDX-License-Identifier: Apache-2.0 */
/* Host memory and the way to the device: pinning it, copying from it, host memory that the driver makes. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "gpu_probe.h"

enum { STREAMS_MAX = 4, REPEATS = 3 };

enum pages { PAGES_HUGE, PAGES_SMALL, PAGES_MEMFD, PAGES_KINDS };
static const char *const pages_names[PAGES_KINDS] = { "huge", "small", "memfd" };

struct host {
    uint8_t *base, *at;
    uint64_t bytes, mapped;
};

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static double gb_s(uint64_t bytes, double us)
{
    return us > 0 ? (double)bytes / us / 1e3 : 0;
}

static double per_gib(double us, uint64_t bytes)
{
    return us / 1e3 * (double)GIB / (double)bytes;
}

static void host_unmap(struct host *h)
{
    if (h->base)
        munmap(h->base, h->mapped);
    h->base = NULL;
}

static bool host_map(struct host *h, uint64_t bytes, enum pages kind)
{
    int fd = kind == PAGES_MEMFD ? memfd_create("gpu_probe", MFD_CLOEXEC) : -1;
    *h = (struct host){ .bytes = bytes, .mapped = bytes + HUGE_PAGE };
    if (kind == PAGES_MEMFD && (fd < 0 || ftruncate(fd, (off_t)h->mapped) != 0)) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    void *p = mmap(NULL, h->mapped, PROT_READ | PROT_WRITE, fd >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS, fd, 0);
    if (fd >= 0)
        close(fd);
    if (p == MAP_FAILED)
        return false;
    h->base = p;
    h->at = (uint8_t *)(((uintptr_t)p + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE);
    if (kind != PAGES_MEMFD)
        madvise(h->at, bytes, kind == PAGES_HUGE ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    return true;
}

/* ------------------------------------------------------------------------------------------------------------- h2d */

struct lane {
    cu_stream streams[STREAMS_MAX];
    unsigned  count;
    cu_ptr    device;
    uint64_t  device_bytes;
};

static bool lane_open(struct probe *p, struct lane *l, uint64_t bytes)
{
    *l = (struct lane){ .count = 0, .device_bytes = bytes };
    while (l->count < STREAMS_MAX && CU(p, cuStreamCreate, (&l->streams[l->count], CU_STREAM_DOES_NOT_BLOCK)))
        l->count++;
    return l->count > 0 && CU(p, cuMemAlloc_v2, (&l->device, bytes));
}

/* GB/s (10^9) from `host`, around and around, until `total` bytes have gone. Negative: it failed. */
static double copy_rate(struct probe *p, const struct lane *l, const uint8_t *host, uint64_t chunk, unsigned streams,
                        uint64_t total)
{
    uint64_t slots = l->device_bytes / chunk, count = total / chunk;
    bool     good = CU(p, cuCtxSynchronize, ());
    double   begin = now_us();
    for (uint64_t n = 0; n < count && good; n++) {
        uint64_t at = n % slots * chunk;
        good = CU(p, cuMemcpyHtoDAsync_v2, (l->device + at, host + at, chunk, l->streams[n % streams]));
    }
    for (unsigned s = 0; s < streams && good; s++)
        good = CU(p, cuStreamSynchronize, (l->streams[s]));
    return good ? gb_s(count * chunk, now_us() - begin) : -1;
}

static bool put_rate(struct probe *p, json_t *to, const char *key, const struct lane *l, const uint8_t *host,
                     uint64_t chunk, unsigned streams, uint64_t total)
{
    double rates[REPEATS];
    copy_rate(p, l, host, chunk, streams, least(total, 4 * chunk)); /* warms up */
    for (int n = 0; n < REPEATS; n++) {
        rates[n] = copy_rate(p, l, host, chunk, streams, total);
        if (rates[n] < 0)
            return false;
    }
    put_median(to, key, rates, REPEATS);
    return true;
}

static void sweep(struct probe *p, json_t *out, const struct lane *l, const uint8_t *host, uint64_t total)
{
    static const uint64_t chunks[] = { MIB / 16, MIB / 4, MIB, 2 * MIB, 4 * MIB, 8 * MIB, 16 * MIB, 64 * MIB };
    json_t               *list = put_array(out, "sweep_gb_s");
    for (size_t n = 0; n < sizeof chunks / sizeof chunks[0] && chunks[n] <= l->device_bytes; n++) {
        json_t *entry = json_object();
        json_array_append_new(list, entry);
        put_number(entry, "chunk_kib", (double)chunks[n] / 1024.0);
        step(p, "sweep");
        for (unsigned streams = 1; streams <= l->count; streams *= 2) {
            char key[16];
            snprintf(key, sizeof key, "streams_%u", streams);
            if (!put_rate(p, entry, key, l, host, chunks[n], streams, total))
                failure_put(p, entry);
        }
    }
}

/* A last chunk read back: a rate of copies that did not arrive is none. */
static void check_copy(struct probe *p, json_t *out, const struct lane *l, uint8_t *host)
{
    static uint8_t back[65536];
    for (size_t n = 0; n < sizeof back; n++)
        host[n] = (uint8_t)(n * 131u + 7u);
    if (copy_rate(p, l, host, sizeof back, 1, sizeof back) >= 0 &&
        CU(p, cuMemcpyDtoH_v2, (back, l->device, sizeof back)))
        json_object_set_new(out, "arrived", json_boolean(memcmp(host, back, sizeof back) == 0));
}

/* The same copy from other kinds of memory, 4 MiB on one stream. */
static void by_kind(struct probe *p, json_t *to, const struct lane *l, uint64_t bytes, uint64_t total)
{
    uint64_t    chunk = least(4 * MIB, l->device_bytes);
    struct host h;
    for (int kind = 0; kind < PAGES_KINDS; kind++) {
        char key[32];
        step(p, pages_names[kind]);
        if (!host_map(&h, bytes, (enum pages)kind))
            continue;
        memset(h.at, 1, bytes);
        snprintf(key, sizeof key, "pageable_%s", pages_names[kind]);
        put_rate(p, to, key, l, h.at, chunk, 1, least(total, 256 * MIB));
        if (CU(p, cuMemHostRegister_v2, (h.at, bytes, CU_HOST_PORTABLE))) {
            snprintf(key, sizeof key, "registered_%s", pages_names[kind]);
            put_rate(p, to, key, l, h.at, chunk, 1, total);
            CU(p, cuMemHostUnregister, (h.at));
        }
        failure_put(p, to);
        host_unmap(&h);
    }
    void *made = NULL;
    step(p, "cuMemHostAlloc");
    if (CU(p, cuMemHostAlloc, (&made, bytes, CU_HOST_PORTABLE))) {
        put_rate(p, to, "cuMemHostAlloc", l, made, chunk, 1, total);
        CU(p, cuMemFreeHost, (made));
    }
    failure_put(p, to);
}

void probe_h2d(struct probe *p, json_t *out)
{
    uint64_t    bytes = least(least(256 * MIB, p->bytes_max / 2), host_available()) / HUGE_PAGE * HUGE_PAGE;
    uint64_t    total = least(p->bytes_max, GIB);
    struct lane l;
    struct host h = { .base = NULL };

    step(p, "context");
    nvml_put_device(p, put_object(out, "link_before"));
    if (!cuda_context(p) || !lane_open(p, &l, bytes))
        return;
    put_number(out, "buffer_mib", (double)bytes / (double)MIB);
    if (host_map(&h, bytes, PAGES_HUGE)) {
        memset(h.at, 1, bytes);
        if (CU(p, cuMemHostRegister_v2, (h.at, bytes, CU_HOST_PORTABLE))) {
            sweep(p, out, &l, h.at, total);
            check_copy(p, out, &l, h.at);
            nvml_put_device(p, put_object(out, "link_after")); /* an idle link is often a slower one */
            CU(p, cuMemHostUnregister, (h.at));
        }
        host_unmap(&h);
    }
    failure_put(p, out);
    by_kind(p, put_object(out, "kinds_gb_s"), &l, bytes, total);
}

/* ------------------------------------------------------------------------------------------------------------- pin */

static void pin_once(struct probe *p, json_t *to, const struct host *h, const char *key)
{
    char   name[64];
    double begin = now_us();
    if (!CU(p, cuMemHostRegister_v2, (h->at, h->bytes, CU_HOST_PORTABLE)))
        return;
    snprintf(name, sizeof name, "register_%s_ms_per_gib", key);
    put_number(to, name, per_gib(now_us() - begin, h->bytes));
    begin = now_us();
    if (!CU(p, cuMemHostUnregister, (h->at)))
        return;
    snprintf(name, sizeof name, "unregister_%s_ms_per_gib", key);
    put_number(to, name, per_gib(now_us() - begin, h->bytes));
}

/* Fresh memory is faulted in by the driver, touched memory was before; once more shows what a first time adds. */
static void pin_kind(struct probe *p, json_t *to, uint64_t bytes, enum pages kind)
{
    struct host h;
    if (!host_map(&h, bytes, kind)) {
        skip(to, "no such memory");
        return;
    }
    pin_once(p, to, &h, "fresh");
    host_unmap(&h);
    if (!host_map(&h, bytes, kind))
        return;
    double begin = now_us();
    memset(h.at, 1, bytes);
    put_number(to, "touch_ms_per_gib", per_gib(now_us() - begin, bytes));
    put_number(to, "huge_mib", (double)proc_kib(getpid(), "smaps_rollup", "AnonHugePages:") / 1024.0);
    pin_once(p, to, &h, "touched");
    pin_once(p, to, &h, "touched_again");
    failure_put(p, to);
    host_unmap(&h);
}

static void pin_alloc(struct probe *p, json_t *to, uint64_t bytes)
{
    void  *made = NULL;
    double begin = now_us();
    if (CU(p, cuMemHostAlloc, (&made, bytes, CU_HOST_PORTABLE))) {
        put_number(to, "alloc_ms_per_gib", per_gib(now_us() - begin, bytes));
        begin = now_us();
        CU(p, cuMemFreeHost, (made));
        put_number(to, "free_ms_per_gib", per_gib(now_us() - begin, bytes));
    }
    failure_put(p, to);
}

void probe_pin(struct probe *p, json_t *out)
{
    static const uint64_t sizes[] = { 8 * MIB, 64 * MIB, GIB };
    uint64_t              most = least(p->bytes_max, host_available());
    step(p, "context");
    if (!cuda_context(p))
        return;
    json_t *list = put_array(out, "sizes");
    for (size_t n = 0; n < sizeof sizes / sizeof sizes[0] && sizes[n] <= most; n++) {
        json_t *entry = json_object();
        json_array_append_new(list, entry);
        put_number(entry, "mib", (double)sizes[n] / (double)MIB);
        for (int kind = 0; kind < PAGES_KINDS; kind++) {
            step(p, pages_names[kind]);
            pin_kind(p, put_object(entry, pages_names[kind]), sizes[n], (enum pages)kind);
        }
        step(p, "cuMemHostAlloc");
        pin_alloc(p, put_object(entry, "cuMemHostAlloc"), sizes[n]);
    }
}

/* ----------------------------------------------------------------------------------------------------- pin_release */

static void put_pin(struct probe *p, json_t *to, const struct host *h)
{
    unsigned int flags = 0, type = 0;
    cu_ptr       device = 0;
    put_code(to, "cuMemHostGetFlags", CU_CODE(p, cuMemHostGetFlags, (&flags, h->at)));
    put_code(to, "cuMemHostGetDevicePointer", CU_CODE(p, cuMemHostGetDevicePointer_v2, (&device, h->at, 0)));
    int code = CU_CODE(p, cuPointerGetAttribute, (&type, CU_POINTER_MEMORY_TYPE, (cu_ptr)(uintptr_t)h->at));
    put_code(to, "cuPointerGetAttribute", code);
    if (code == CU_OK)
        json_object_set_new(to, "memory_type", json_integer(type)); /* 1: host, known to the driver */
    put_number(to, "locked_mib", (double)proc_kib(getpid(), "status", "VmLck:") / 1024.0);
    put_number(to, "pinned_mib", (double)proc_kib(getpid(), "status", "VmPin:") / 1024.0);
    nvml_put(p, to, getpid());
}

static void put_pin_rate(struct probe *p, json_t *to, const struct host *h)
{
    struct lane l;
    if (lane_open(p, &l, h->bytes)) {
        put_rate(p, to, "copy_gb_s", &l, h->at, least(4 * MIB, h->bytes), 1, 4 * h->bytes);
        CU(p, cuMemFree_v2, (l.device));
    }
    for (unsigned n = 0; n < l.count; n++)
        CU(p, cuStreamDestroy_v2, (l.streams[n]));
    failure_put(p, to);
}

/* Registered in one life of the primary context, looked at in the next: by what the driver says, and by how fast a copy
 * is, which cannot be wrong. */
static void across_release(struct probe *p, json_t *out, const struct host *h)
{
    json_t *pinned = put_object(out, "pinned"), *released = put_object(out, "released"),
           *after = put_object(out, "after");
    put_pin(p, pinned, h);
    put_pin_rate(p, pinned, h);
    step(p, "release");
    if (!CU(p, cuCtxSetCurrent, (NULL)) || !CU(p, cuDevicePrimaryCtxRelease_v2, (p->device)))
        return;
    unsigned int flags;
    int          active = -1;
    if (CU_CODE(p, cuDevicePrimaryCtxGetState, (p->device, &flags, &active)) == CU_OK)
        json_object_set_new(released, "context_active", json_integer(active));
    put_pin(p, released, h);
    step(p, "retain");
    if (!CU(p, cuDevicePrimaryCtxRetain, (&p->context, p->device)) || !CU(p, cuCtxSetCurrent, (p->context)))
        return;
    put_pin(p, after, h);
    step(p, "copy");
    put_pin_rate(p, after, h);
    put_code(after, "register_again", CU_CODE(p, cuMemHostRegister_v2, (h->at, h->bytes, CU_HOST_PORTABLE)));
    put_code(after, "unregister", CU_CODE(p, cuMemHostUnregister, (h->at)));
    put_code(after, "unregister_again", CU_CODE(p, cuMemHostUnregister, (h->at)));
    put_pin(p, put_object(out, "unregistered"), h);
    put_pin_rate(p, json_object_get(out, "unregistered"), h); /* what a copy from pageable memory makes */
}

void probe_pin_release(struct probe *p, json_t *out)
{
    struct host h;
    uint64_t    bytes = least(256 * MIB, least(p->bytes_max / 2, host_available())) / HUGE_PAGE * HUGE_PAGE;
    step(p, "context");
    if (!cuda_context(p))
        return;
    if (!host_map(&h, bytes, PAGES_HUGE)) {
        skip(out, "no host memory");
        return;
    }
    memset(h.at, 1, bytes);
    put_number(out, "mib", (double)bytes / (double)MIB);
    if (CU(p, cuMemHostRegister_v2, (h.at, bytes, CU_HOST_PORTABLE)))
        across_release(p, out, &h);
    failure_put(p, out);
    host_unmap(&h);
}

/* ------------------------------------------------------------------------------------------------------- host_numa */

/* -1 and a driver that does not know the attribute: node 0, so that it is tried all the same. */
static cu_allocation on_host(struct probe *p, bool exportable)
{
    int           node = cuda_attribute(p, CU_ATTRIBUTE_HOST_NUMA_ID);
    cu_allocation prop = allocation_on(p, exportable);
    prop.location = (cu_location){ .type = CU_LOCATION_HOST_NUMA, .id = node < 0 ? 0 : node };
    return prop;
}

/* Access is asked for one place at a time: which of them is refused is the question. */
static void numa_access(struct probe *p, json_t *facts, const struct block *b, cu_location host)
{
    cu_access device = { .location = { .type = CU_LOCATION_DEVICE, .id = p->device }, .flags = CU_ACCESS_READ_WRITE };
    cu_access cpu = { .location = host, .flags = CU_ACCESS_READ_WRITE };
    cu_access anywhere = { .location = { .type = CU_LOCATION_HOST, .id = 0 }, .flags = CU_ACCESS_READ_WRITE };
    put_code(facts, "access_device", CU_CODE(p, cuMemSetAccess, (b->at, b->bytes, &device, 1)));
    int code = CU_CODE(p, cuMemSetAccess, (b->at, b->bytes, &cpu, 1));
    put_code(facts, "access_host_numa", code);
    if (code != CU_OK)
        put_code(facts, "access_host", CU_CODE(p, cuMemSetAccess, (b->at, b->bytes, &anywhere, 1)));
}

static bool numa_make(struct probe *p, json_t *facts, struct block *b, bool exportable)
{
    cu_allocation prop = on_host(p, exportable);
    double        begin = now_us();
    bool          good;
    if (p->fd >= 0)
        good = block_import(p, b, p->bytes_max, p->fd);
    else
        good = block_create(p, b, p->bytes_max, &prop);
    put_number(facts, p->fd >= 0 ? "import_us" : "create_us", now_us() - begin);
    json_object_set_new(facts, "node", json_integer(prop.location.id));
    begin = now_us();
    b->reserved = good && CU(p, cuMemAddressReserve, (&b->at, b->bytes, 0, 0, 0));
    b->mapped = b->reserved && CU(p, cuMemMap, (b->at, b->bytes, 0, b->handle, 0));
    put_number(facts, "map_us", now_us() - begin);
    if (b->mapped)
        numa_access(p, facts, b, prop.location);
    return b->mapped;
}

static void numa_copy(struct probe *p, json_t *facts, const struct block *b, const uint8_t *host)
{
    struct lane l;
    if (lane_open(p, &l, b->bytes))
        put_rate(p, facts, "copy_gb_s", &l, host, least(4 * MIB, b->bytes), 1, least(4 * b->bytes, GIB));
    failure_put(p, facts);
}

/* Touches memory that the host may not be allowed to touch: the stage before says what was granted, and a signal is an
 * answer. Args: "make", "made" (somebody else's, by fd). */
void role_numa(struct probe *p)
{
    struct block b = { .bytes = 0 };
    json_t      *facts = json_object();
    bool         good = cuda_context(p) && numa_make(p, facts, &b, false);
    failure_put(p, facts);
    stage(p, "mapped", facts);
    if (good) {
        volatile uint32_t *host = (volatile uint32_t *)(uintptr_t)b.at;
        facts = json_object();
        double begin = now_us();
        json_object_set_new(facts, "first_word", json_integer(host[0]));
        if (p->fd < 0)
            memset((void *)(uintptr_t)b.at, 1, b.bytes);
        put_number(facts, "touch_ms_per_gib", per_gib(now_us() - begin, b.bytes));
        stage(p, "touched", facts);
        facts = json_object();
        numa_copy(p, facts, &b, (const uint8_t *)(uintptr_t)b.at);
        stage(p, "copied", facts);
    }
    stage(p, "end", NULL);
}

/* Memory that stays pinned while those who use it come and go would be a DRAM residence worth having. */
static void numa_shared(struct probe *p, json_t *to, uint64_t bytes)
{
    struct probe        q = *p;
    struct block        b;
    struct role_options o = { .name = "numa", .arg = "made", .fd = -1 };
    cu_allocation       prop = on_host(p, true);
    if (block_create(p, &b, bytes, &prop)) {
        if (block_export(p, &b, &o.fd)) {
            q.bytes_max = b.bytes;
            role_run(&q, &o, put_object(to, "first_user"), NULL, NULL);
            role_run(&q, &o, put_object(to, "second_user"), NULL, NULL);
            p->nvml = q.nvml;
            close(o.fd);
        }
        block_free(p, &b);
    }
    failure_put(p, to);
}

void probe_host_numa(struct probe *p, json_t *out)
{
    uint64_t            bytes = least(256 * MIB, least(p->bytes_max / 2, host_available())) / HUGE_PAGE * HUGE_PAGE;
    struct probe        q = *p;
    struct role_options o = { .name = "numa", .arg = "make", .fd = -1 };

    q.bytes_max = bytes;
    put_number(out, "mib", (double)bytes / (double)MIB);
    role_run(&q, &o, put_object(out, "own"), NULL, NULL);
    p->nvml = q.nvml;
    step(p, "shared");
    if (cuda_init(p)) /* no context: an owner of shared memory should not need one */
        numa_shared(p, put_object(out, "shared"), bytes);
}
