/* SPDX-License-Identifier: Apache-2.0 */
/* The composition root: from a config to a runtime, the only file that names concrete places, devices and readers. And
 * its end. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "base/sized.h"
#include "base/text.h"
#include "base/thread.h"
#include "runtime/runtime.h"

#define MS UINT64_C(1000000)

enum {
    REQUESTS_MAX_DEFAULT = 1024,
    REQUESTS_MAX_MAX = 1 << 20,
    CALLS_MAX_DEFAULT = 256,
    CALLS_MAX_MAX = 4096, /* see calls.c: slots in an id */
    LOADS_MAX_DEFAULT = 4,
    LOADS_MAX_MAX = WORK_THREADS_MAX, /* each is on a thread of its own */
    BACKOFF_MS_DEFAULT = 100,
    BACKOFF_MAX_MS_DEFAULT = 10000,
    READ_BLOCK_DEFAULT = 2 << 20,
    READ_BLOCK_MAX = 64 << 20,
    READ_DEPTH_DEFAULT = 8,
    READ_DEPTH_GROWN = 32,
    READ_DEPTH_MAX = 64,
    ROOTS_MAX = 1024,
};

static uint32_t or_default(uint32_t value, uint32_t fallback)
{
    return value ? value : fallback;
}

static sgi_status check_limits(const sgi_runtime_config *c, sgi_error *err)
{
    const char *wrong = NULL;

    if (c->requests_max > REQUESTS_MAX_MAX)
        wrong = "requests_max is larger than 1048576";
    else if (c->calls_max > CALLS_MAX_MAX)
        wrong = "calls_max is larger than 4096";
    else if (c->loads_max > LOADS_MAX_MAX)
        wrong = "loads_max is larger than 256";
    else if (c->backoff_ms && c->backoff_max_ms && c->backoff_max_ms < c->backoff_ms)
        wrong = "backoff_max_ms is smaller than backoff_ms";
    else if (c->read_depth > READ_DEPTH_MAX)
        wrong = "read_depth is larger than 64";
    else if (c->read_block_bytes % 4096 || c->read_block_bytes > READ_BLOCK_MAX)
        wrong = "read_block_bytes is not a multiple of 4096 up to 64 MiB";
    else if (c->io_engine > SGI_IO_THREADS)
        wrong = "io_engine is not one of SGI_IO_AUTO, SGI_IO_URING, SGI_IO_THREADS";
    else if (c->devices_count > SGI__DEVICES_MAX)
        wrong = "devices_count is larger than 16";
    else if (!c->devices != !c->devices_count)
        wrong = "devices and devices_count: one is given without the other";
    else if (c->pressure_stall_ms > SGI__PRESSURE_WINDOW_MS)
        wrong = "pressure_stall_ms is larger than 2000";
    else if (c->reserved0 || c->reserved1)
        wrong = c->reserved0 ? "reserved0 is not 0" : "reserved1 is not 0";
    else if (c->allowed_roots_count > 0 && !c->allowed_roots)
        wrong = "allowed_roots is NULL and allowed_roots_count is not 0";
    else if (c->allowed_roots_count > ROOTS_MAX)
        wrong = "allowed_roots_count is larger than 1024";
    return wrong ? sgi__error(err, SGI_E_INVALID, "sgi_runtime_config: %s", wrong) : SGI_OK;
}

/* ---- devices ---- */

enum { KIND_HOST, KIND_CUDA, KINDS };

static const struct kind {
    const char *name;
    sgi_status (*open)(uint32_t ordinal, struct sgi__device **device_out, sgi_error *err);
} kinds[KINDS] = {
    [KIND_HOST] = { "host", sgi__device_host },
    [KIND_CUDA] = { "cuda", sgi__device_cuda },
};

/* "host:7" in one spelling, so that two names are two devices: numbers from 0 to 999, no zeros before them; "host" is
 * short for "host:0". False: it is not of this kind. */
static bool parse_name(const char *name, const struct kind *kind, uint32_t *ordinal_out)
{
    size_t      length = strlen(kind->name);
    const char *digits = name + length + 1;

    *ordinal_out = 0;
    if (strcmp(name, kind->name) == 0)
        return true;
    if (strncmp(name, kind->name, length) != 0 || name[length] != ':' || strlen(digits) < 1 || strlen(digits) > 3 ||
        strspn(digits, "0123456789") != strlen(digits) || (digits[0] == '0' && digits[1]))
        return false;
    *ordinal_out = (uint32_t)strtoul(digits, NULL, 10);
    return true;
}

static sgi_status open_device(const char *name, struct sgi__device **device_out, sgi_error *err)
{
    struct sgi__shown shown;
    uint32_t          ordinal;

    for (int n = 0; n < KINDS; n++)
        if (parse_name(name, &kinds[n], &ordinal))
            return kinds[n].open(ordinal, device_out, err);
    return sgi__error(err, SGI_E_UNSUPPORTED,
                      "device '%s': names are 'host', 'host:0' to 'host:999', 'cuda', 'cuda:0' to 'cuda:999'",
                      sgi__show_name(&shown, name));
}

/* What a context takes, and whoever else is there, needs room beside the models. */
static uint64_t default_bytes(const struct sgi__device *d, uint64_t share)
{
    uint64_t beside = d->bytes / 16;
    if (d->ops->unified)
        return share;
    return d->bytes - (beside < UINT64_C(1) << 30 ? beside : UINT64_C(1) << 30);
}

static sgi_status check_device(const sgi_runtime *rt, uint32_t n, const sgi_device_config *d, sgi_error *err)
{
    const struct sgi__device *device = rt->devices[n];

    for (uint32_t other = 0; other < n; other++)
        if (strcmp(rt->devices[other]->name, device->name) == 0)
            return sgi__error(err, SGI_E_INVALID, "device '%s' is given twice", device->name);
    if (!device->ops->unified && d->bytes_max > device->bytes)
        return sgi__error(err, SGI_E_INVALID, "device '%s': bytes_max is %llu, and it has %llu", device->name,
                          (unsigned long long)d->bytes_max, (unsigned long long)device->bytes);
    return SGI_OK;
}

static sgi_status set_device(sgi_runtime *rt, uint32_t n, const sgi_device_config *given, uint64_t share,
                             sgi_error *err)
{
    sgi_device_config d;

    if (!sgi__sized_in(given, &d, sizeof d)) {
        char which[32];
        snprintf(which, sizeof which, "sgi_device_config %u", n);
        return sgi__sized_refuse(err, "sgi_runtime_open", which, given, sizeof d);
    }
    if (!d.name || !*d.name)
        return sgi__error(err, SGI_E_INVALID, "sgi_device_config %u: name is missing", n);
    if (d.reserved0)
        return sgi__error(err, SGI_E_INVALID, "sgi_device_config %u: reserved0 is not 0", n);
    sgi_status st = open_device(d.name, &rt->devices[n], err);
    if (st == SGI_OK)
        st = check_device(rt, n, &d, err);
    if (st != SGI_OK)
        return st;
    const struct sgi__device *device = rt->devices[n];
    rt->core_config.devices[n] = (struct sgi__core_device_config){ .bytes_max = d.bytes_max
                                                                                    ? d.bytes_max
                                                                                    : default_bytes(device, share),
                                                                   .bytes_total = device->bytes,
                                                                   .unified = device->ops->unified };
    return SGI_OK;
}

/* Elements are as large as the caller's struct, which may be older than ours. */
static const sgi_device_config *device_given(const sgi_runtime_config *c, uint32_t n)
{
    return (const void *)((const char *)c->devices + (size_t)n * c->devices->struct_size);
}

static uint32_t hosts_given(const sgi_runtime_config *c)
{
    sgi_device_config d;
    uint32_t          count = 0, ordinal;

    for (uint32_t n = 0; c->devices && n < c->devices_count && sgi__sized_in(device_given(c, n), &d, sizeof d); n++)
        count += d.name && parse_name(d.name, &kinds[KIND_HOST], &ordinal);
    return count;
}

static sgi_status set_devices(sgi_runtime *rt, const sgi_runtime_config *c, uint64_t ram, sgi_error *err)
{
    static const sgi_device_config host = { .struct_size = sizeof host, .name = "host" };
    uint32_t                       count = c->devices ? c->devices_count : 0, hosts = hosts_given(c);
    uint64_t                       share = ram / 2 / (hosts ? hosts : 1);
    sgi_status                     st = SGI_OK;

    rt->core_config.devices_count = count ? count : 1;
    if (count == 0)
        return set_device(rt, 0, &host, share, err);
    for (uint32_t n = 0; n < count && st == SGI_OK; n++)
        st = set_device(rt, n, device_given(c, n), share, err);
    return st;
}

static void free_devices(sgi_runtime *rt)
{
    for (uint32_t n = 0; n < SGI__DEVICES_MAX; n++)
        if (rt->devices[n])
            rt->devices[n]->ops->close(rt->devices[n]);
}

/* ---- the rest of the config ---- */

static sgi_status set_roots(sgi_runtime *rt, const sgi_runtime_config *c, sgi_error *err)
{
    struct sgi__shown shown;

    if (c->allowed_roots_count == 0)
        return SGI_OK;
    rt->roots = sgi__alloc_zero(c->allowed_roots_count, sizeof *rt->roots);
    if (!rt->roots)
        return sgi__error(err, SGI_E_NO_MEMORY, "out of memory for the runtime");
    for (uint32_t n = 0; n < c->allowed_roots_count; n++) {
        if (!c->allowed_roots[n])
            return sgi__error(err, SGI_E_INVALID, "allowed_roots: number %u is NULL", n);
        char *resolved = realpath(c->allowed_roots[n], NULL);
        if (!resolved)
            return sgi__error_sys(err, SGI_E_INVALID, errno, "allowed_roots: '%s'",
                                  sgi__show_path(&shown, c->allowed_roots[n]));
        rt->roots[n] = sgi__strdup(resolved);
        free(resolved); /* lint: allow free: realpath's own */
        if (!rt->roots[n])
            return sgi__error(err, SGI_E_NO_MEMORY, "out of memory for the runtime");
        rt->roots_count = n + 1;
    }
    rt->fs_config = (struct sgi__fs_posix){ .roots = (const char *const *)rt->roots, .roots_count = rt->roots_count };
    return SGI_OK;
}

/* AUTO: whichever works for the disk, and for files in the page cache the one that copies on several cores. */
static sgi_status choose_readers(const sgi_runtime_config *c, struct sgi__place_config *place, sgi_error *err)
{
    const struct sgi__io_engine *uring = sgi__io_uring();
    sgi_status                   st = SGI_OK;

    place->engine = place->hot_engine = &sgi__io_threads;
    if (c->io_engine == SGI_IO_THREADS)
        return SGI_OK;
    if (!uring)
        st = sgi__error(err, SGI_E_UNSUPPORTED, "io_engine: this build has no io_uring");
    else
        st = uring->probe(c->io_engine == SGI_IO_URING ? err : NULL);
    if (st == SGI_OK) {
        place->engine = uring;
        if (c->io_engine == SGI_IO_URING)
            place->hot_engine = uring;
    }
    return c->io_engine == SGI_IO_URING ? st : SGI_OK;
}

static void set_times(sgi_runtime *rt, const sgi_runtime_config *c)
{
    struct sgi__core_config *core = &rt->core_config;

    rt->idle_ns = sgi__rt_idle_ns(c->idle_timeout_ms, 10000 * MS);
    rt->hang_ns = sgi__rt_hang_ns(c->hang_timeout_ms, 60000 * MS);
    core->linger_ns = sgi__rt_idle_ns(c->context_linger_ms, 1000 * MS);
    core->starve_ns = or_default(c->starve_ms, 5000) * MS;
    /* A default gives way to what is given. */
    core->backoff_ns = or_default(c->backoff_ms, BACKOFF_MS_DEFAULT) * MS;
    core->backoff_max_ns = or_default(c->backoff_max_ms, BACKOFF_MAX_MS_DEFAULT) * MS;
    if (c->backoff_ms == 0 && core->backoff_ns > core->backoff_max_ns)
        core->backoff_ns = core->backoff_max_ns;
    if (c->backoff_max_ms == 0 && core->backoff_max_ns < core->backoff_ns)
        core->backoff_max_ns = core->backoff_ns;
    core->failure_expiry_ns = 60000 * MS;
}

static uint64_t random_seed(void)
{
    uint64_t seed;
    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != (ssize_t)sizeof seed)
        seed = sgi__clock_now_ns() ^
               (uint64_t)(uintptr_t)&seed; /* ids stay unique; foreign ones are only less sure to be told */
    return seed >> 24;                     /* room to count up in an id's serial */
}

/* Where somebody asked for it, what cannot be had is no runtime. */
static sgi_status listen_for_pressure(sgi_runtime *rt, uint32_t stall_ms, sgi_error *err)
{
    int fd;

    if (stall_ms == 0)
        return SGI_OK;
    sgi_status st = sgi__pressure_open("", stall_ms, &fd, err);
    rt->pressure.felt = sgi__rt_pressure;
    rt->pressure.user = rt;
    return st == SGI_OK ? sgi__pressure_listen(&rt->pressure, fd, err) : st;
}

static void free_fields(sgi_runtime *rt)
{
    sgi__pressure_stop(&rt->pressure);
    sgi__pool_free(rt->done_pool);
    if (rt->place)
        rt->place_ops->close(rt->place);
    free_devices(rt);
    sgi__rate_fini(&rt->rate);
    sgi__core_free(rt->core);
    for (uint32_t n = 0; n < rt->roots_count; n++)
        sgi__free(rt->roots[n]);
    sgi__free(rt->roots);
    sgi__free(rt->records);
    sgi__registry_fini(&rt->registry);
    sgi__free(rt->tickets);
    sgi__free(rt->calls);
    sgi__trace_free(rt->trace);
    sgi__rt_readers_free(rt);
    pthread_cond_destroy(&rt->wake);
    pthread_cond_destroy(&rt->changed);
    pthread_mutex_destroy(&rt->mutex);
    sgi__free(rt);
}

static sgi_status set_up(sgi_runtime *rt, const sgi_runtime_config *c, sgi_error *err)
{
    uint64_t                 ram = sgi__ram_bytes();
    sgi_status               st = check_limits(c, err);
    struct sgi__place_config place = {
        .sink = { .user = rt,
                  .event = sgi__rt_place_event,
                  .engine_bytes = sgi__rt_engine_bytes,
                  .piece = sgi__rt_piece },
        .threads_max = WORK_THREADS_MAX +
                       or_default(c->calls_max, CALLS_MAX_DEFAULT), /* calls keep nobody else waiting */
        .block_bytes = sgi__rate_block(c->read_bytes_per_s_max, or_default(c->read_block_bytes, READ_BLOCK_DEFAULT)),
        .depth = or_default(c->read_depth, READ_DEPTH_DEFAULT),
        .depth_max = or_default(c->read_depth, READ_DEPTH_GROWN),
        .spare_bytes_max = c->spare_bytes_max == SGI_NONE ? 0 : c->spare_bytes_max,
        .rate = &rt->rate,
    };

    if (st != SGI_OK || (st = set_devices(rt, c, ram, err)) != SGI_OK || (st = set_roots(rt, c, err)) != SGI_OK ||
        (st = choose_readers(c, &place, err)) != SGI_OK)
        return st;
    set_times(rt, c);
    rt->io_name = place.engine->name;
    rt->calls_max = or_default(c->calls_max, CALLS_MAX_DEFAULT);
    rt->core_config.wants_max = or_default(c->requests_max, REQUESTS_MAX_DEFAULT);
    rt->core_config.loads_max = or_default(c->loads_max, LOADS_MAX_DEFAULT);
    rt->core_config.dram_bytes_max = c->dram_bytes_max == SGI_NONE ? 0
                                     : c->dram_bytes_max           ? c->dram_bytes_max
                                                                   : ram / 4;
    rt->core_config.read_bytes_per_s_max = c->read_bytes_per_s_max;
    rt->core_config.id_seed = rt->call_serial = random_seed();
    rt->core_config.notes = true;
    place.devices_count = rt->core_config.devices_count;
    place.devices = rt->devices;

    rt->core = sgi__core_new(&rt->core_config);
    rt->tickets = sgi__alloc_zero(rt->core_config.wants_max, sizeof *rt->tickets);
    rt->calls = sgi__alloc_zero(rt->calls_max, sizeof(struct call *));
    rt->done_pool = sgi__pool_new("sgi-done", DONE_THREADS_MAX);
    if (!rt->core || !rt->tickets || !rt->calls || !rt->done_pool)
        return sgi__error(err, SGI_E_NO_MEMORY, "out of memory for the runtime");
    sgi__rt_observe_devices(rt);
    st = rt->place_ops->open(&place, &rt->place, err);
    if (st == SGI_OK)
        st = listen_for_pressure(rt, c->pressure_stall_ms, err);
    return st == SGI_OK ? sgi__rt_thread_start(rt, err) : st;
}

sgi_status sgi__runtime_open_with(const sgi_runtime_config *config, const struct sgi__place_ops *place,
                                  const struct sgi__clock *clock, sgi_runtime **rt_out, sgi_error *err)
{
    sgi_runtime_config c = { .struct_size = sizeof c };

    if (config && !sgi__sized_in(config, &c, sizeof c))
        return sgi__sized_refuse(err, "sgi_runtime_open", "sgi_runtime_config", config, sizeof c);
    sgi_runtime *rt = sgi__alloc_zero(1, sizeof *rt);
    if (!rt)
        return sgi__error(err, SGI_E_NO_MEMORY, "out of memory for the runtime");
    rt->place_ops = place ? place : &sgi__place_local;
    if (clock)
        rt->clock = *clock;
    sgi__rate_init(&rt->rate, c.read_bytes_per_s_max, &rt->clock);
    rt->completion_fd = -1;
    rt->armed = SGI__NEVER;
    sgi__error_init(&rt->context_error);
    pthread_mutex_init(&rt->mutex, NULL);
    sgi__cond_init(&rt->changed);
    sgi__cond_init(&rt->wake);

    sgi_status st = rt->place_ops->abi == SGI__PLACE_ABI
                        ? set_up(rt, &c, err)
                        : sgi__error(err, SGI_E_UNSUPPORTED, "place '%s' is for another build", rt->place_ops->name);
    if (st != SGI_OK) {
        free_fields(rt);
        return st;
    }
    *rt_out = rt;
    return SGI_OK;
}

/* ---- closing ---- */

void sgi__rt_holder(const sgi_runtime *rt, sgi_model model, const struct sgi__core_model_view *view, char *text,
                    size_t bytes)
{
    static const char *const by[] = {
        [SGI__HELD_NOT] = "what it held is on its way back",
        [SGI__HELD_BY_CONTEXT] = "the context of its device, which its load waits for",
        [SGI__HELD_BY_READS] = "reads of its files that have not come back",
        [SGI__HELD_BY_LOAD] = "reads or copies of its bytes that have not come back",
        [SGI__HELD_BY_CALLBACK] = "a callback of its engine",
        [SGI__HELD_BY_MEMORY] = "its memory, on the way here or back",
    };
    char     overdue[24] = "", open[32] = "";
    uint32_t calls = sgi__rt_calls_open(rt, model);

    if (view->leases_overdue > 0)
        snprintf(overdue, sizeof overdue, ", %u overdue", view->leases_overdue);
    if (calls > 0)
        snprintf(open, sizeof open, ", %u call%s open", calls, calls == 1 ? "" : "s");
    if (view->leases > 0)
        snprintf(text, bytes, "%u lease%s%s%s", view->leases, view->leases == 1 ? "" : "s", overdue, open);
    else
        snprintf(text, bytes, "%s", view->calls > 0 ? "a call its engine is in" : by[view->held]);
}

/* Of devices: a context goes after the last model has. */
static const char *context_left(const sgi_runtime *rt)
{
    struct sgi__core_device_view view;

    for (uint32_t n = 0; n < rt->core_config.devices_count; n++) {
        sgi__core_device_view(rt->core, n, &view);
        if (view.context_open)
            return rt->devices[n]->name;
    }
    return NULL;
}

/* "model 'a': 2 leases; model 'b': a callback of its engine; and 3 more" */
static void name_holders(const sgi_runtime *rt, uint32_t timeout_ms, sgi_error *err)
{
    char                        text[240] = "";
    struct sgi__shown           shown;
    size_t                      used = 0;
    uint32_t                    named = 0, others = 0;
    struct sgi__core_model_view view;

    for (uint32_t slot = 0; slot < rt->records_capacity; slot++) {
        const struct record *r = rt->records[slot];
        if (!r || sgi__core_model_view(rt->core, r->id, &view) != SGI_OK || view.drained)
            continue;
        if (named == 3 || used > sizeof text - 140) {
            others++;
            continue;
        }
        char holder[SGI__HOLDER_BYTES];
        sgi__rt_holder(rt, r->id, &view, holder, sizeof holder);
        int n = snprintf(text + used, sizeof text - used, "%smodel '%s': %s", named ? "; " : "",
                         sgi__show_name(&shown, r->name), holder);
        used += n > 0 && (size_t)n < sizeof text - used ? (size_t)n : 0;
        named++;
    }
    const char *device = named ? NULL : context_left(rt);
    if (others)
        sgi__error(err, SGI_E_TIMEOUT, "still in use after %u ms: %s; and %u more", timeout_ms, text, others);
    else if (device)
        sgi__error(err, SGI_E_TIMEOUT, "still in use after %u ms: the context of device '%s'", timeout_ms, device);
    else
        sgi__error(err, SGI_E_TIMEOUT, "still in use after %u ms: %s", timeout_ms,
                   named ? text : "calls on their way back, or `done` callbacks");
}

static void remove_models(sgi_runtime *rt)
{
    for (uint32_t slot = 0; slot < rt->records_capacity; slot++) {
        struct record *r = rt->records[slot];
        if (!r)
            continue;
        sgi__core_model_remove(rt->core, r->id);
        rt->place_ops->model_remove(rt->place, r->id);
        sgi__rt_record_free(r);
    }
}

static void free_completions(sgi_runtime *rt)
{
    while (rt->completions_head) {
        struct completion *c = rt->completions_head;
        rt->completions_head = c->next;
        sgi__free(c);
    }
    if (rt->completion_fd >= 0)
        close(rt->completion_fd);
}

sgi_status sgi__runtime_close(sgi_runtime *rt, uint32_t timeout_ms, sgi_error *err)
{
    uint64_t deadline = sgi__rt_wait_deadline(timeout_ms);
    bool     in_time = true;

    sgi__rt_enter(rt);
    if (rt->closing) {
        sgi__rt_leave(rt);
        return sgi__error(err, SGI_E_BUSY, "another thread is closing the runtime");
    }
    rt->closing = true;
    sgi__core_drain(rt->core, sgi__rt_now(rt));
    sgi__rt_leave(rt);

    pthread_mutex_lock(&rt->mutex);
    while (in_time && (!rt->closed || rt->inside > 0))
        in_time = sgi__cond_wait(&rt->changed, &rt->mutex, deadline);
    if (!rt->closed || rt->inside > 0) {
        rt->closing = false;
        name_holders(rt, timeout_ms, err);
        pthread_mutex_unlock(&rt->mutex);
        return SGI_E_TIMEOUT;
    }
    pthread_mutex_unlock(&rt->mutex);

    sgi__pressure_stop(&rt->pressure);
    sgi__rt_thread_stop(rt);
    pthread_mutex_lock(&rt->mutex);
    sgi__completions_run_orphans(rt);
    pthread_mutex_unlock(&rt->mutex);
    sgi__pool_free(rt->done_pool); /* every callback has returned; its thread may be on its way out */
    rt->done_pool = NULL;
    remove_models(rt);
    free_completions(rt);
    free_fields(rt);
    return SGI_OK;
}
