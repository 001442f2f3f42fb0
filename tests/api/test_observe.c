/* SPDX-License-Identifier: Apache-2.0 */
/* Metrics and events over lives whose every step is known. Time is the test's; what is told is compared event by event,
 * what is counted number by number. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "support/clock.h"
#include "support/host.h"
#include "support/test_place.h"

enum { IDLE_MS = 500, LINGER_MS = 200, HANG_MS = 5000, LAST_MAX = 16 };
#define MS UINT64_C(1000000)

static struct test_folder folder;
static struct test_file   file, other_file;

struct fixture {
    struct test_clock  clock;
    struct test_engine engine;
    sgi_runtime       *rt;
    sgi_events         events;
    sgi_event          last[LAST_MAX]; /* as expect() found them */
    sgi_error          err;
    uint64_t           image_bytes; /* of `file` */
};

static sgi_runtime_config observe_config(void)
{
    sgi_runtime_config c = host_config();
    c.idle_timeout_ms = IDLE_MS;
    c.context_linger_ms = LINGER_MS;
    c.hang_timeout_ms = HANG_MS;
    c.dram_bytes_max = MIB(16);
    return c;
}

static void open_over(struct fixture *f, const sgi_runtime_config *config, const struct sgi__place_ops *place)
{
    memset(f, 0, sizeof *f);
    f->err = (sgi_error)SGI_ERROR_INIT;
    test_clock_init(&f->clock);
    test_engine_init(&f->engine, false, true);
    f->engine.prepared_bytes = 321;
    if (sgi__runtime_open_with(config, place, &f->clock.table, &f->rt, &f->err) != SGI_OK ||
        sgi_events_open(f->rt, 0, 0, &f->events, &f->err) != SGI_OK)
        fail_msg("open: %s", f->err.message);
}

static void set_up(struct fixture *f)
{
    sgi_runtime_config config = observe_config();
    open_over(f, &config, NULL);
}

static void tear_down(struct fixture *f)
{
    host_close(f->rt);
    test_engine_fini(&f->engine);
}

static void advance(struct fixture *f, uint64_t ms)
{
    test_clock_advance_ms(&f->clock, f->rt, ms);
}

/* ---- events ---- */

static sgi_event next_event(struct fixture *f)
{
    sgi_event e = { .struct_size = sizeof e };
    int       fd = -1;

    assert_int_equal(sgi_events_fd(f->rt, f->events, &fd), SGI_OK);
    for (;;) {
        sgi_status    st = sgi_events_read(f->rt, f->events, &e);
        struct pollfd p = { .fd = fd, .events = POLLIN };
        if (st == SGI_OK)
            return e;
        assert_int_equal(st, SGI_E_WOULD_BLOCK);
        if (poll(&p, 1, HOST_WAIT_MS) != 1)
            fail_msg("no event comes");
    }
}

/* "queued admitted ...": these come next, and are in f->last then. */
static void expect(struct fixture *f, const char *names)
{
    char     got[512] = "", wanted[512];
    size_t   used = 0;
    uint32_t count = 1;
    uint64_t time_ns = 0;

    for (const char *at = names; *at; at++)
        count += *at == ' ';
    assert_true(count <= LAST_MAX);
    for (uint32_t n = 0; n < count; n++) {
        f->last[n] = next_event(f);
        assert_int_equal(f->last[n].struct_size, sizeof(sgi_event));
        assert_int_equal(f->last[n].dropped, 0);
        assert_true(f->last[n].time_ns >= time_ns);
        time_ns = f->last[n].time_ns;
        used += (size_t)snprintf(got + used, sizeof got - used, "%s%s", n ? " " : "", sgi_event_name(f->last[n].kind));
        snprintf(wanted, sizeof wanted, "%.*s", (int)used, names);
        if (strcmp(got, wanted) != 0)
            fail_msg("the events are '%s', they should be '%s'", got, names);
    }
}

static void quiet(struct fixture *f)
{
    sgi_event e = { .struct_size = sizeof e };
    if (sgi_events_read(f->rt, f->events, &e) != SGI_E_WOULD_BLOCK)
        fail_msg("'%s' is told, where nothing should be", sgi_event_name(e.kind));
}

/* ---- metrics ---- */

struct text {
    char  *data;
    size_t bytes;
};

static int collect(void *user, const char *text, size_t bytes)
{
    struct text *t = user;
    t->data = realloc(t->data, t->bytes + bytes + 1);
    memcpy(t->data + t->bytes, text, bytes);
    t->bytes += bytes;
    t->data[t->bytes] = '\0';
    return 0;
}

static struct text metrics(sgi_runtime *rt)
{
    struct text t = { 0 };
    assert_int_equal(sgi_metrics_write(rt, collect, &t), SGI_OK);
    return t;
}

/* The value of a series, its labels written as in the text. */
static double metric(sgi_runtime *rt, const char *series)
{
    struct text t = metrics(rt);
    const char *at = strstr(t.data, series);

    while (at && (at == t.data || at[-1] != '\n' || at[strlen(series)] != ' '))
        at = strstr(at + 1, series);
    if (!at)
        fail_msg("there is no series '%s'", series);
    double value = strtod(at + strlen(series), NULL);
    free(t.data);
    return value;
}

static void is(struct fixture *f, const char *series, double wanted)
{
    double value = metric(f->rt, series);
    if (value != wanted)
        fail_msg("%s is %f, it should be %f", series, value, wanted);
}

static double acquires(struct fixture *f, const char *model, const char *result, const char *path)
{
    char series[400];
    snprintf(series, sizeof series, "sgi_acquire_total{model=\"%s\",result=\"%s\",path=\"%s\"}", model, result, path);
    return metric(f->rt, series);
}

/* ---- one life ---- */

static void a_life_is_told_step_by_step(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    sgi_model      m = host_add(f.rt, "m", file.path, NULL);
    sgi_model_info info = { .struct_size = sizeof info };
    assert_int_equal(sgi_model_describe(f.rt, m, &info), SGI_OK);
    expect(&f, "registered");
    assert_int_equal(f.last[0].model, m);
    assert_int_equal(f.last[0].bytes, info.image_bytes);

    sgi_lease lease = host_acquire(f.rt, m);
    expect(&f, "queued device_open admitted load_start load_done ready granted");
    for (int n = 0; n < 7; n++)
        assert_true(f.last[n].model == (n == 1 ? 0 : m) && f.last[n].cause == SGI_CAUSE_NONE);
    assert_true(f.last[0].ticket != 0 && f.last[0].ticket == f.last[6].ticket);
    assert_true(f.last[1].device == 0 && f.last[2].device == 0 && f.last[3].device == 0 && f.last[5].device == 0);
    assert_true(f.last[2].tier == SGI_TIER_DISK && f.last[2].bytes == info.image_bytes);
    assert_true(f.last[4].tier == SGI_TIER_DISK && f.last[4].bytes == info.tensor_bytes);
    assert_true(f.last[4].duration_ns > 0);
    assert_true(f.last[5].bytes == info.image_bytes && f.last[6].tier == SGI_TIER_DISK);

    host_release(f.rt, lease);
    expect(&f, "idle");
    assert_true(f.last[0].device == 0 && f.last[0].duration_ns == IDLE_MS * MS);
    advance(&f, IDLE_MS - 1);
    quiet(&f);
    advance(&f, 1);
    expect(&f, "stopping kept released");
    assert_int_equal(f.last[0].cause, SGI_CAUSE_IDLE);
    assert_true(f.last[0].device == 0 && f.last[0].bytes == info.image_bytes);
    assert_int_equal(f.last[0].duration_ns, IDLE_MS * MS); /* its age */
    assert_int_equal(f.last[1].bytes, info.image_bytes);
    assert_true(f.last[2].cause == SGI_CAUSE_IDLE && f.last[2].tier == SGI_TIER_DRAM);
    assert_true(f.last[2].bytes == info.image_bytes && f.last[2].residue_bytes == 0);
    advance(&f, LINGER_MS);
    expect(&f, "device_zero");
    assert_int_equal(f.last[0].device, 0);

    lease = host_acquire(f.rt, m);
    expect(&f, "queued device_open admitted load_start load_done ready granted");
    assert_true(f.last[2].tier == SGI_TIER_DRAM && f.last[4].tier == SGI_TIER_DRAM);
    assert_int_equal(f.last[6].tier, SGI_TIER_DRAM);
    sgi_lease more[3];
    for (int n = 0; n < 3; n++)
        assert_int_equal(sgi_model_try_acquire(f.rt, m, NULL, &more[n]), SGI_OK);
    for (int n = 0; n < 3; n++)
        host_release(f.rt, more[n]);
    host_release(f.rt, lease);
    expect(&f, "idle"); /* warm leases come and go untold; only the last release starts the timer */
    assert_int_equal(sgi_model_evict(f.rt, m, SGI_EVICT_ALL), SGI_OK);
    expect(&f, "stopping released");
    assert_true(f.last[0].cause == SGI_CAUSE_EVICT && f.last[0].duration_ns == 0);
    assert_int_equal(f.last[1].tier, SGI_TIER_DISK);
    assert_int_equal(sgi_model_unregister(f.rt, m, HOST_WAIT_MS, &f.err), SGI_OK);
    expect(&f, "unregistered");
    quiet(&f);
    tear_down(&f);
}

static void a_life_is_counted(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    sgi_model m = host_add(f.rt, "m", file.path, NULL), idle = host_add(f.rt, "idle", file.path, NULL);
    sgi_lease lease = host_acquire(f.rt, m), warm = host_acquire(f.rt, m);

    is(&f, "sgi_leases", 2);
    is(&f, "sgi_models{state=\"busy\"}", 1);
    is(&f, "sgi_models{state=\"cold\"}", 1);
    is(&f, "sgi_device_contexts{device=\"host:0\"}", 1);
    is(&f, "sgi_device_instances{device=\"host:0\"}", 1);
    double image = metric(f.rt, "sgi_resident_bytes{model=\"m\",tier=\"device\"}");
    assert_true(image > (double)MIB(1));
    is(&f, "sgi_resident_bytes{model=\"idle\",tier=\"device\"}", 0);
    is(&f, "sgi_device_bytes{device=\"host:0\",kind=\"used\"}", image);
    is(&f, "sgi_device_bytes{device=\"host:0\",kind=\"total\"}", (double)host_device(f.rt, 0).bytes_max);
    host_release(f.rt, warm);
    host_release(f.rt, lease);
    advance(&f, IDLE_MS);
    host_wait_state(f.rt, m, SGI_MODEL_COLD);
    is(&f, "sgi_dram_bytes", image);
    is(&f, "sgi_dram_limit_bytes", (double)MIB(16));
    is(&f, "sgi_resident_bytes{model=\"m\",tier=\"dram\"}", image);
    is(&f, "sgi_resident_bytes{model=\"m\",tier=\"device\"}", 0);
    lease = host_acquire(f.rt, m);
    for (int n = 0; n < 3; n++) {
        assert_int_equal(sgi_model_try_acquire(f.rt, m, NULL, &warm), SGI_OK);
        host_release(f.rt, warm);
    }
    host_release(f.rt, lease);
    assert_int_equal(sgi_model_evict(f.rt, m, SGI_TIER_DRAM), SGI_OK);
    host_wait_state(f.rt, m, SGI_MODEL_COLD);
    assert_int_equal(sgi_model_evict(f.rt, m, SGI_TIER_DISK), SGI_OK);

    assert_true(acquires(&f, "m", "ok", "disk") == 1 && acquires(&f, "m", "ok", "dram") == 1);
    assert_true(acquires(&f, "m", "ok", "hit") == 4 && acquires(&f, "m", "ok", "join") == 0);
    assert_true(acquires(&f, "idle", "ok", "hit") == 0 && acquires(&f, "", "ok", "hit") == 0);
    is(&f, "sgi_acquire_wait_seconds_count{path=\"disk\"}", 1);
    is(&f, "sgi_acquire_wait_seconds_count{path=\"dram\"}", 1);
    is(&f, "sgi_acquire_wait_seconds_count{path=\"hit\"}", 0); /* who does not wait is not in it */
    is(&f, "sgi_cold_start_seconds_count{phase=\"total\"}", 2);
    is(&f, "sgi_cold_start_seconds_count{phase=\"queue\"}", 2);
    is(&f, "sgi_cold_start_seconds_count{phase=\"read\"}", 1);  /* not from DRAM */
    is(&f, "sgi_cold_start_seconds_count{phase=\"start\"}", 0); /* no engine */
    is(&f, "sgi_load_bytes_total{tier=\"disk\"}", (double)MIB(1) + 77);
    is(&f, "sgi_load_seconds_count{tier=\"disk\"}", 1);
    is(&f, "sgi_load_seconds_count{tier=\"dram\"}", 1);
    is(&f, "sgi_evictions_total{tier=\"device\",reason=\"idle\"}", 1);
    is(&f, "sgi_evictions_total{tier=\"device\",reason=\"evict\"}", 1);
    is(&f, "sgi_evictions_total{tier=\"device\",reason=\"room\"}", 0);
    is(&f, "sgi_evictions_total{tier=\"dram\",reason=\"evict\"}", 1);
    is(&f, "sgi_age_at_eviction_seconds_sum", 0.5);
    is(&f, "sgi_age_at_eviction_seconds_count", 2);
    is(&f, "sgi_unload_seconds_count", 2);
    is(&f, "sgi_unload_residual_bytes_total", 0);
    is(&f, "sgi_leases", 0);
    (void)idle;
    tear_down(&f);
}

static void an_engine_is_told_and_its_calls_are_counted(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    struct test_request good = { .kind = REQUEST_EMIT }, bad = { .kind = REQUEST_EMIT, .status = SGI_E_ENGINE };
    struct test_request polls = { .kind = REQUEST_POLL };
    sgi_model           m = host_add(f.rt, "m", file.path, &f.engine);
    uint64_t            kinds = UINT64_C(1) << SGI_EVENT_PREPARED | UINT64_C(1) << SGI_EVENT_DISCARDED;
    sgi_call            call = 0;

    assert_int_equal(sgi_events_close(f.rt, f.events), SGI_OK);
    assert_int_equal(sgi_events_open(f.rt, 8, kinds, &f.events, &f.err), SGI_OK);
    sgi_lease lease = host_acquire(f.rt, m);
    expect(&f, "prepared");
    assert_int_equal(f.last[0].bytes, 321);
    is(&f, "sgi_prepared_bytes", 321);
    assert_int_equal(sgi_lease_call(f.rt, lease, &good, sizeof good, SGI_FOREVER, NULL, NULL, &f.err), SGI_OK);
    assert_int_equal(sgi_lease_call(f.rt, lease, &good, sizeof good, SGI_FOREVER, NULL, NULL, &f.err), SGI_OK);
    assert_int_equal(sgi_lease_call(f.rt, lease, &bad, sizeof bad, SGI_FOREVER, NULL, NULL, &f.err), SGI_E_ENGINE);
    assert_int_equal(sgi_call_begin(f.rt, lease, &polls, sizeof polls, 0, &call, &f.err), SGI_OK);
    is(&f, "sgi_calls", 1);
    assert_int_equal(sgi_call_cancel(f.rt, call), SGI_OK);
    while (host_next(f.rt).kind != SGI_COMPLETION_CALL) {
    }
    assert_int_equal(sgi_call_end(f.rt, call), SGI_OK);
    is(&f, "sgi_calls_total{result=\"ok\"}", 2);
    is(&f, "sgi_calls_total{result=\"failed\"}", 1);
    is(&f, "sgi_calls_total{result=\"canceled\"}", 1);
    is(&f, "sgi_cold_start_seconds_count{phase=\"start\"}", 1);
    is(&f, "sgi_cold_start_seconds_count{phase=\"prepare\"}", 1);
    host_release(f.rt, lease);
    assert_int_equal(sgi_model_evict(f.rt, m, SGI_EVICT_ALL), SGI_OK);
    expect(&f, "discarded");
    quiet(&f);
    tear_down(&f);
}

/* ---- why they leave ---- */

static void who_makes_room_is_told_from_who_is_idle(void **state)
{
    (void)state;
    struct fixture     f;
    sgi_device_config  device = { .struct_size = sizeof device, .name = "host", .bytes_max = KIB(1500) };
    sgi_runtime_config config = observe_config();
    config.devices = &device;
    config.devices_count = 1;
    config.dram_bytes_max = KIB(1500); /* one, here as there */
    config.context_linger_ms = SGI_IDLE_NEVER;
    open_over(&f, &config, NULL);
    sgi_model a = host_add(f.rt, "a", file.path, NULL), b = host_add(f.rt, "b", other_file.path, NULL);
    expect(&f, "registered registered");

    host_release(f.rt, host_acquire(f.rt, a));
    expect(&f, "queued device_open admitted load_start load_done ready granted idle");
    advance(&f, 100);
    host_release(f.rt, host_acquire(f.rt, b));
    expect(&f, "queued stopping kept released admitted load_start load_done ready granted idle");
    assert_true(f.last[0].model == b && f.last[1].model == a && f.last[3].model == a && f.last[4].model == b);
    assert_int_equal(f.last[1].cause, SGI_CAUSE_ROOM);
    assert_int_equal(f.last[1].duration_ns, 100 * MS);
    advance(&f, IDLE_MS); /* b wants to stay in DRAM, where a is */
    expect(&f, "stopping dropped kept released");
    assert_true(f.last[0].model == b && f.last[0].cause == SGI_CAUSE_IDLE);
    assert_true(f.last[1].model == a && f.last[1].cause == SGI_CAUSE_ROOM);
    assert_true(f.last[2].model == b && f.last[3].tier == SGI_TIER_DRAM);
    is(&f, "sgi_evictions_total{tier=\"device\",reason=\"room\"}", 1);
    is(&f, "sgi_evictions_total{tier=\"device\",reason=\"idle\"}", 1);
    is(&f, "sgi_evictions_total{tier=\"dram\",reason=\"room\"}", 1);

    /* Both ways out of the registry: from the device, and from host memory. */
    host_release(f.rt, host_acquire(f.rt, a));
    assert_int_equal(sgi_model_unregister(f.rt, a, HOST_WAIT_MS, &f.err), SGI_OK);
    assert_int_equal(sgi_model_unregister(f.rt, b, HOST_WAIT_MS, &f.err), SGI_OK);
    expect(&f, "queued admitted load_start load_done ready granted idle stopping released unregistered");
    assert_true(f.last[7].cause == SGI_CAUSE_DRAIN && f.last[8].cause == SGI_CAUSE_DRAIN);
    expect(&f, "dropped unregistered");
    assert_int_equal(f.last[0].cause, SGI_CAUSE_DRAIN);
    is(&f, "sgi_evictions_total{tier=\"device\",reason=\"drain\"}", 1);
    is(&f, "sgi_evictions_total{tier=\"dram\",reason=\"drain\"}", 1);
    assert_int_equal(acquires(&f, "", "ok", "disk"), 3); /* what is counted is not forgotten with the model */
    tear_down(&f);
}

static void a_prefetch_to_dram_is_kept_and_never_on_a_device(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    sgi_model m = host_add(f.rt, "m", file.path, NULL);

    for (int n = 0; n < 2; n++) {
        assert_int_equal(sgi_model_prefetch(f.rt, m, SGI_TIER_DRAM, NULL, NULL, NULL, NULL, &f.err), SGI_OK);
        assert_int_equal(host_next(f.rt).status, SGI_OK);
    }
    expect(&f, "registered queued admitted load_start load_done kept granted queued granted");
    assert_true(f.last[2].device == -1 && f.last[3].device == -1);
    quiet(&f);
    is(&f, "sgi_prefetch_total{result=\"ok\",path=\"hit\"}", 2);
    assert_int_equal(acquires(&f, "m", "ok", "hit") + acquires(&f, "m", "ok", "disk"), 0);
    is(&f, "sgi_unload_seconds_count", 0);
    tear_down(&f);
}

static void requests_that_come_to_nothing_say_why(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    sgi_model           m = host_add(f.rt, "m", file.path, &f.engine);
    sgi_ticket          ticket = 0, late = 0;
    sgi_acquire_options o;

    gate_close(&f.engine.gates[ENGINE_START]);
    sgi_acquire_options_init(&o, sizeof o);
    o.deadline_ms = 50;
    assert_int_equal(sgi_model_acquire(f.rt, m, NULL, &ticket, NULL, NULL, &f.err), SGI_OK);
    gate_wait_arrived(&f.engine.gates[ENGINE_START], 1);
    assert_int_equal(sgi_model_acquire(f.rt, m, &o, &late, NULL, NULL, &f.err), SGI_OK);
    is(&f, "sgi_queue_depth", 2);
    advance(&f, 50);
    assert_int_equal(sgi_acquire_cancel(f.rt, ticket), SGI_OK);
    gate_open(&f.engine.gates[ENGINE_START]);
    host_wait_state(f.rt, m, SGI_MODEL_COLD);
    assert_true(acquires(&f, "m", "timeout", "none") == 1 && acquires(&f, "m", "canceled", "none") == 1);
    is(&f, "sgi_queue_depth", 0);
    is(&f, "sgi_evictions_total{tier=\"device\",reason=\"canceled\"}", 0); /* it was not up */

    bool timeout = false, canceled = false, stopping = false;
    for (sgi_event e = next_event(&f); e.kind != SGI_EVENT_RELEASED; e = next_event(&f)) {
        assert_true(e.kind != SGI_EVENT_FAILED && e.kind != SGI_EVENT_GRANTED);
        if (e.kind == SGI_EVENT_REFUSED && e.status == SGI_E_TIMEOUT)
            timeout = e.ticket == late && e.duration_ns == 50 * MS && e.step != SGI_STEP_NONE && !canceled;
        if (e.kind == SGI_EVENT_REFUSED && e.status == SGI_E_CANCELED)
            canceled = e.ticket == ticket;
        if (e.kind == SGI_EVENT_STOPPING)
            stopping = e.cause == SGI_CAUSE_CANCELED;
    }
    assert_true(timeout && canceled && stopping);
    tear_down(&f);
}

static void a_busy_queue_is_counted(void **state)
{
    (void)state;
    struct fixture     f;
    sgi_runtime_config config = observe_config();
    config.requests_max = 1;
    open_over(&f, &config, NULL);
    sgi_model  m = host_add(f.rt, "m", file.path, &f.engine);
    sgi_ticket ticket = 0;

    gate_close(&f.engine.gates[ENGINE_START]);
    assert_int_equal(sgi_model_acquire(f.rt, m, NULL, &ticket, NULL, NULL, &f.err), SGI_OK);
    assert_int_equal(sgi_model_acquire(f.rt, m, NULL, NULL, NULL, NULL, &f.err), SGI_E_BUSY);
    assert_int_equal(host_acquire_fails(f.rt, m, &f.err), SGI_E_BUSY);
    assert_int_equal(sgi_model_prefetch(f.rt, m, SGI_TIER_DEVICE, NULL, NULL, NULL, NULL, &f.err), SGI_E_BUSY);
    assert_int_equal(acquires(&f, "m", "busy", "none"), 2);
    is(&f, "sgi_prefetch_total{result=\"busy\",path=\"none\"}", 1);
    assert_int_equal(sgi_acquire_cancel(f.rt, ticket), SGI_OK);
    gate_open(&f.engine.gates[ENGINE_START]);
    tear_down(&f);
}

static void a_start_that_fails_says_where(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    sgi_model        m = host_add(f.rt, "m", file.path, &f.engine);
    sgi_tensor_check check = { .name = "w", .xxh3 = 1 };
    sgi_model_config mc = host_model("checked", file.path, NULL);
    mc.checks = &check;
    mc.checks_count = 1;
    sgi_model checked = host_register(f.rt, &mc);
    sgi_event e;
    bool      failed = false;

    atomic_store(&f.engine.fail[ENGINE_START], SGI_E_ENGINE);
    host_acquire_fails(f.rt, m, &f.err);
    for (e = next_event(&f); e.kind != SGI_EVENT_RELEASED; e = next_event(&f)) {
        assert_true(e.kind != SGI_EVENT_READY && e.kind != SGI_EVENT_GRANTED);
        if (e.kind == SGI_EVENT_FAILED) {
            assert_false(failed);
            failed = e.status == SGI_E_ENGINE && e.step == SGI_STEP_START && e.duration_ns == 0;
        }
        if (e.kind == SGI_EVENT_REFUSED)
            assert_true(failed && e.status == SGI_E_ENGINE);
    }
    assert_true(failed && e.cause == SGI_CAUSE_FAILED);
    is(&f, "sgi_load_failures_total{step=\"start\"}", 1);
    assert_int_equal(acquires(&f, "m", "failed", "none"), 1);
    host_acquire_fails(f.rt, m, &f.err); /* from the second one on there is a pause */
    while ((e = next_event(&f)).kind != SGI_EVENT_FAILED) {
    }
    assert_int_equal(e.duration_ns, 100 * MS);
    host_wait_state(f.rt, m, SGI_MODEL_FAILED);
    is(&f, "sgi_models{state=\"failed\"}", 1);
    while (next_event(&f).kind != SGI_EVENT_RELEASED) {
    }

    assert_int_equal(host_acquire_fails(f.rt, checked, &f.err), SGI_E_CHECK);
    while ((e = next_event(&f)).kind != SGI_EVENT_CHECK_FAILED)
        assert_int_not_equal(e.kind, SGI_EVENT_FAILED);
    assert_int_equal(e.model, checked);
    while ((e = next_event(&f)).kind != SGI_EVENT_FAILED) {
    }
    assert_true(e.status == SGI_E_CHECK && e.step == SGI_STEP_VERIFY);
    is(&f, "sgi_load_failures_total{step=\"verify\"}", 1);
    is(&f, "sgi_load_failures_total{step=\"start\"}", 2);
    tear_down(&f);
}

static void bytes_that_are_good_the_second_time_are_told(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    sgi_tensor_check check = { .name = "w", .xxh3 = test_xxh3(file.data + file.data_offset, MIB(1) + 77) };
    sgi_model_config mc = host_model("checked", file.path, NULL);
    mc.checks = &check;
    mc.checks_count = 1;
    sgi_model checked = host_register(f.rt, &mc);

    sgi__fault_plan(SGI__FAULT_CORRUPT, 1, 1, 1);
    host_release(f.rt, host_acquire(f.rt, checked));
    sgi__fault_clear();
    expect(&f, "registered queued device_open admitted load_start check_failed load_done ready granted idle");
    assert_int_equal(f.last[5].bytes, MIB(1) + 77);
    is(&f, "sgi_load_reread_bytes_total", (double)MIB(1) + 77);
    is(&f, "sgi_load_failures_total{step=\"verify\"}", 0);
    tear_down(&f);
}

static void a_hanging_engine_and_an_overdue_lease_are_told(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    sgi_model           m = host_add(f.rt, "m", file.path, &f.engine);
    struct test_request deaf = { .kind = REQUEST_DEAF };
    sgi_acquire_options o;
    sgi_lease           lease = 0;
    sgi_call            call = 0;

    sgi_acquire_options_init(&o, sizeof o);
    o.lease_ms = 1000;
    assert_int_equal(sgi_model_acquire_wait(f.rt, m, &o, &lease, &f.err), SGI_OK);
    gate_close(&f.engine.gates[ENGINE_CALL]);
    assert_int_equal(sgi_call_begin(f.rt, lease, &deaf, sizeof deaf, 0, &call, &f.err), SGI_OK);
    gate_wait_arrived(&f.engine.gates[ENGINE_CALL], 1);
    while (next_event(&f).kind != SGI_EVENT_GRANTED) {
    }
    advance(&f, 1000);
    expect(&f, "overdue");
    advance(&f, HANG_MS);
    expect(&f, "stopping wedged");
    assert_true(f.last[0].model == m && f.last[0].cause == SGI_CAUSE_FAILED && f.last[1].step == SGI_STEP_CALL);
    is(&f, "sgi_leases_overdue_total", 1);
    is(&f, "sgi_wedged_total", 1);
    is(&f, "sgi_models{state=\"wedged\"}", 1);
    is(&f, "sgi_load_failures_total{step=\"call\"}", 1);
    gate_open(&f.engine.gates[ENGINE_CALL]);
    assert_int_equal(sgi_call_end(f.rt, call), SGI_OK);
    host_release(f.rt, lease);
    expect(&f, "released");
    assert_int_equal(f.last[0].cause, SGI_CAUSE_FAILED);
    tear_down(&f);
}

static void devices_that_go_and_come_back_are_told(void **state)
{
    (void)state;
    struct fixture     f;
    sgi_runtime_config config = observe_config();
    test_place_next = (struct test_place_settings){ .seed = 1 };
    open_over(&f, &config, &test_place_ops);
    struct test_place *tp = test_place_last();
    sgi_model          m = host_add(f.rt, "m", file.path, NULL);

    host_release(f.rt, host_acquire(f.rt, m));
    while (next_event(&f).kind != SGI_EVENT_IDLE) {
    }
    test_place_lose_device(tp, 0);
    while (next_event(&f).kind != SGI_EVENT_DEVICE_LOST) {
    }
    expect(&f, "stopping released");
    assert_true(f.last[0].cause == SGI_CAUSE_LOST && f.last[1].cause == SGI_CAUSE_LOST);
    is(&f, "sgi_device_lost{device=\"host:0\"}", 1);
    test_place_device_back(tp, 0);
    expect(&f, "device_back");
    assert_int_equal(f.last[0].device, 0);
    is(&f, "sgi_device_lost{device=\"host:0\"}", 0);
    host_release(f.rt, host_acquire(f.rt, m));
    while (next_event(&f).kind != SGI_EVENT_IDLE) {
    }
    test_place_die(tp);
    expect(&f, "device_lost stopping released");
    assert_int_equal(f.last[1].cause, SGI_CAUSE_LOST);
    is(&f, "sgi_evictions_total{tier=\"device\",reason=\"lost\"}", 2);
    test_place_up(tp);
    expect(&f, "device_back");
    host_release(f.rt, host_acquire(f.rt, m));
    test_place_wait_reaped(tp);
    tear_down(&f);
}

/* ---- reading ---- */

static void reading_leaves_the_idle_timer_alone(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    sgi_model   m = host_add(f.rt, "m", file.path, NULL);
    struct text t = { 0 };
    sgi_event   e = { .struct_size = sizeof e };

    host_release(f.rt, host_acquire(f.rt, m));
    for (uint32_t ms = 0; ms < IDLE_MS; ms += 100) {
        assert_int_equal(host_state(f.rt, m).idle_left_ms, IDLE_MS - ms);
        struct text now = metrics(f.rt);
        free(now.data);
        assert_int_equal(sgi_trace_write(f.rt, collect, &t), SGI_OK);
        while (sgi_events_read(f.rt, f.events, &e) == SGI_OK) {
        }
        assert_int_equal(host_state(f.rt, m).idle_left_ms, IDLE_MS - ms);
        assert_int_equal(host_state(f.rt, m).state, SGI_MODEL_READY);
        advance(&f, 100);
    }
    host_wait_state(f.rt, m, SGI_MODEL_COLD);
    free(t.data);
    tear_down(&f);
}

static void a_slow_reader_loses_the_oldest_and_holds_nobody_up(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    sgi_model  m = host_add(f.rt, "m", file.path, NULL);
    sgi_events slow = 0;
    sgi_event  e = { .struct_size = sizeof e };
    int        fd = -1;

    expect(&f, "registered");
    assert_int_equal(sgi_events_open(f.rt, 2, 0, &slow, &f.err), SGI_OK);
    assert_int_equal(sgi_events_fd(f.rt, slow, &fd), SGI_OK);
    struct pollfd p = { .fd = fd, .events = POLLIN };
    assert_int_equal(poll(&p, 1, 0), 0);
    host_release(f.rt, host_acquire(f.rt, m)); /* eight of them, the last being "granted" and "idle" */
    assert_int_equal(poll(&p, 1, 0), 1);
    is(&f, "sgi_events_dropped_total", 6);
    is(&f, "sgi_event_readers", 2);
    assert_int_equal(sgi_events_read(f.rt, slow, &e), SGI_OK);
    assert_true(e.kind == SGI_EVENT_GRANTED && e.dropped == 6);
    assert_int_equal(poll(&p, 1, 0), 1);
    assert_int_equal(sgi_events_read(f.rt, slow, &e), SGI_OK);
    assert_true(e.kind == SGI_EVENT_IDLE && e.dropped == 0);
    assert_int_equal(poll(&p, 1, 0), 0);
    assert_int_equal(sgi_events_read(f.rt, slow, &e), SGI_E_WOULD_BLOCK);
    assert_int_equal(e.kind, SGI_EVENT_IDLE); /* outputs are written only on success */
    expect(&f, "queued device_open admitted load_start load_done ready granted idle"); /* the other one has them all */
    assert_int_equal(sgi_events_close(f.rt, slow), SGI_OK);
    assert_int_equal(sgi_events_close(f.rt, slow), SGI_E_STALE);
    assert_int_equal(sgi_events_read(f.rt, slow, &e), SGI_E_STALE);
    assert_int_equal(sgi_events_fd(f.rt, slow, &fd), SGI_E_STALE);
    tear_down(&f);
}

static void readers_are_bounded_and_their_ids_are_their_own(void **state)
{
    (void)state;
    struct fixture f, other;
    set_up(&f);
    set_up(&other);
    sgi_events readers[SGI_EVENTS_READERS_MAX], one_more = 0;
    sgi_model  m = host_add(f.rt, "m", file.path, NULL);
    sgi_event  e = { .struct_size = sizeof e }, unset = { 0 };

    for (uint32_t n = 1; n < SGI_EVENTS_READERS_MAX; n++)
        assert_int_equal(sgi_events_open(f.rt, 1, 0, &readers[n], &f.err), SGI_OK);
    assert_int_equal(sgi_events_open(f.rt, 1, 0, &one_more, &f.err), SGI_E_BUSY);
    host_error_is(&f.err, SGI_E_BUSY, SGI_STEP_NONE, "16 readers");
    assert_int_equal(sgi_events_close(f.rt, readers[3]), SGI_OK);
    assert_int_equal(sgi_events_open(f.rt, 1, 0, &one_more, &f.err), SGI_OK);
    assert_true(one_more != readers[3]);
    assert_int_equal(sgi_events_read(f.rt, readers[3], &e), SGI_E_STALE);
    assert_int_equal(sgi_events_read(f.rt, other.events, &e), SGI_E_STALE);
    assert_int_equal(sgi_events_read(f.rt, m, &e), SGI_E_STALE);
    assert_int_equal(sgi_events_read(f.rt, 0, &e), SGI_E_STALE);
    assert_int_equal(sgi_call_end(f.rt, one_more), SGI_E_STALE);
    assert_int_equal(sgi_lease_release(f.rt, one_more), SGI_E_STALE);
    assert_int_equal(sgi_events_read(f.rt, one_more, NULL), SGI_E_INVALID);
    assert_int_equal(sgi_events_read(f.rt, one_more, &unset), SGI_E_INVALID);
    assert_int_equal(sgi_events_open(f.rt, SGI_EVENTS_RECORDS_MAX + 1, 0, &one_more, &f.err), SGI_E_INVALID);
    assert_int_equal(sgi_events_open(f.rt, 1, 1, &one_more, &f.err), SGI_E_INVALID);
    assert_int_equal(sgi_events_open(f.rt, 1, UINT64_C(1) << 63, &one_more, &f.err), SGI_E_INVALID);
    host_error_is(&f.err, SGI_E_INVALID, SGI_STEP_NONE, "kinds");
    tear_down(&other);
    tear_down(&f); /* with its readers open */
}

static void no_memory_and_no_descriptor_are_said(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    sgi_events  events = 0;
    struct text t = { 0 };
    int         fd = -1;

    sgi__fault_plan(SGI__FAULT_ALLOC, 1, 1, 1);
    assert_int_equal(sgi_events_open(f.rt, 9, 0, &events, &f.err), SGI_E_NO_MEMORY);
    sgi__fault_plan(SGI__FAULT_ALLOC, 1, 1, 1);
    assert_int_equal(sgi_metrics_write(f.rt, collect, &t), SGI_E_NO_MEMORY);
    assert_int_equal(t.bytes, 0);
    sgi__fault_clear();
    assert_int_equal(sgi_events_open(f.rt, 9, 0, &events, &f.err), SGI_OK);
    sgi__fault_plan(SGI__FAULT_EVENTFD, 1, 1, 1);
    assert_int_equal(sgi_events_fd(f.rt, events, &fd), SGI_E_SYSTEM);
    sgi__fault_clear();
    assert_int_equal(sgi_events_fd(f.rt, events, &fd), SGI_OK);
    tear_down(&f);
}

/* ---- many ---- */

static uint32_t lines_of(struct fixture *f, size_t *bytes_out)
{
    struct text t = metrics(f->rt);
    uint32_t    lines = 0;
    for (const char *c = t.data; *c; c++)
        lines += *c == '\n';
    *bytes_out = t.bytes;
    free(t.data);
    return lines;
}

static void a_thousand_models_make_no_longer_output_than_a_hundred(void **state)
{
    (void)state;
    enum { MANY = 1000, LOADED = 300 };
    struct fixture f;
    set_up(&f);
    static sgi_model models[MANY];
    char             name[32];
    size_t           bytes = 0, more_bytes = 0;
    uint32_t         lines = 0;

    for (uint32_t n = 0; n < MANY; n++) {
        snprintf(name, sizeof name, "m%03u", n);
        models[n] = host_add(f.rt, name, file.path, NULL);
        if (n == SGI_METRICS_MODELS_MAX - 1)
            lines = lines_of(&f, &bytes);
    }
    assert_int_equal(lines_of(&f, &more_bytes), lines);
    assert_int_equal(more_bytes, bytes + 1); /* "1000 models are cold" */
    is(&f, "sgi_models{state=\"cold\"}", MANY);

    /* The ones that have no series of their own are in the sum; none is forgotten when it goes. */
    for (uint32_t n = 0; n < MANY; n += MANY / 10)
        host_release(f.rt, host_acquire(f.rt, models[n]));
    is(&f, "sgi_acquire_total{model=\"m000\",result=\"ok\",path=\"disk\"}", 1);
    is(&f, "sgi_acquire_total{model=\"\",result=\"ok\",path=\"disk\"}", 9);
    double image = metric(f.rt, "sgi_resident_bytes{model=\"m000\",tier=\"device\"}");
    is(&f, "sgi_resident_bytes{model=\"\",tier=\"device\"}", 9 * image);
    assert_int_equal(sgi_model_unregister(f.rt, models[0], HOST_WAIT_MS, &f.err), SGI_OK);
    assert_int_equal(sgi_model_unregister(f.rt, models[500], HOST_WAIT_MS, &f.err), SGI_OK);
    is(&f, "sgi_acquire_total{model=\"\",result=\"ok\",path=\"disk\"}", 10);
    is(&f, "sgi_resident_bytes{model=\"\",tier=\"device\"}", 8 * image);
    host_add(f.rt, "next", file.path, NULL); /* takes the series that has become free */
    is(&f, "sgi_acquire_total{model=\"next\",result=\"ok\",path=\"disk\"}", 0);
    assert_int_equal(lines_of(&f, &more_bytes), lines);
    tear_down(&f);
}

/* ---- at once ---- */

struct crowd {
    sgi_runtime *rt;
    sgi_model    models[4];
    atomic_int   stop;
    atomic_uint  bad, read;
};

static int count_bytes(void *user, const char *text, size_t bytes)
{
    (void)text;
    *(size_t *)user += bytes;
    return 0;
}

static int count_samples(void *user, const sgi_sample *sample)
{
    *(size_t *)user += sample->struct_size;
    return 0;
}

static void *watch(void *arg)
{
    struct crowd *c = arg;
    size_t        bytes = 0;

    while (!atomic_load(&c->stop)) {
        sgi_events events = 0;
        sgi_event  e = { .struct_size = sizeof e };
        uint64_t   time_ns = 0;
        if (sgi_events_open(c->rt, 16, 0, &events, NULL) != SGI_OK)
            continue;
        for (int n = 0; n < 200; n++) {
            sgi_status st = sgi_events_read(c->rt, events, &e);
            if ((st != SGI_OK && st != SGI_E_WOULD_BLOCK) || (st == SGI_OK && e.time_ns < time_ns))
                atomic_fetch_add(&c->bad, 1);
            if (st == SGI_OK) {
                time_ns = e.time_ns;
                atomic_fetch_add(&c->read, 1);
            }
        }
        if (sgi_metrics_write(c->rt, count_bytes, &bytes) != SGI_OK ||
            sgi_metrics_snapshot(c->rt, count_samples, &bytes) != SGI_OK ||
            sgi_trace_write(c->rt, count_bytes, &bytes) != SGI_OK || sgi_events_close(c->rt, events) != SGI_OK)
            atomic_fetch_add(&c->bad, 1);
    }
    return NULL;
}

static void *use(void *arg)
{
    struct crowd *c = arg;

    for (uint32_t n = 0; n < 150; n++) {
        sgi_lease lease = 0;
        if (sgi_model_acquire_wait(c->rt, c->models[n % 3], NULL, &lease, NULL) == SGI_OK &&
            sgi_lease_release(c->rt, lease) != SGI_OK)
            atomic_fetch_add(&c->bad, 1);
        if (n % 3 == 0)
            sgi_model_evict(c->rt, c->models[n % 2], n % 2 ? SGI_TIER_DRAM : SGI_EVICT_ALL);
    }
    return NULL;
}

static void readers_and_loads_do_not_disturb_each_other(void **state)
{
    (void)state;
    enum { WATCHERS = 3, USERS = 3 };
    struct fixture     f;
    struct crowd       c = { 0 };
    pthread_t          watchers[WATCHERS], users[USERS];
    sgi_runtime_config config = observe_config();
    double             sum = 0;

    config.idle_timeout_ms = SGI_IDLE_NEVER; /* the clock stands still */
    open_over(&f, &config, NULL);
    c.rt = f.rt;
    for (uint32_t n = 0; n < 3; n++)
        c.models[n] = host_add(f.rt, (const char *[]){ "a", "b", "c" }[n], file.path, NULL);
    for (uint32_t n = 0; n < WATCHERS; n++)
        pthread_create(&watchers[n], NULL, watch, &c);
    for (uint32_t n = 0; n < USERS; n++)
        pthread_create(&users[n], NULL, use, &c);
    for (uint32_t n = 0; n < 20; n++) { /* models come and go while they are counted */
        sgi_model m = host_add(f.rt, "passing", file.path, NULL);
        host_release(f.rt, host_acquire(f.rt, m));
        assert_int_equal(sgi_model_unregister(f.rt, m, HOST_WAIT_MS, &f.err), SGI_OK);
    }
    for (uint32_t n = 0; n < USERS; n++)
        pthread_join(users[n], NULL);
    atomic_store(&c.stop, 1);
    for (uint32_t n = 0; n < WATCHERS; n++)
        pthread_join(watchers[n], NULL);
    assert_int_equal(atomic_load(&c.bad), 0);
    assert_true(atomic_load(&c.read) > 0);
    static const char *const paths[] = { "hit", "join", "dram", "disk" };
    for (uint32_t n = 0; n < 4; n++)
        sum += acquires(&f, "a", "ok", paths[n]) + acquires(&f, "b", "ok", paths[n]) +
               acquires(&f, "c", "ok", paths[n]) + acquires(&f, "", "ok", paths[n]);
    assert_true(sum == USERS * 150 + 20); /* every one of them, once */
    tear_down(&f);
}

static int make_files(void **state)
{
    (void)state;
    test_folder_make(&folder);
    test_file_make_one(&file, &folder, "m.safetensors", MIB(1) + 77);
    test_file_make_one(&other_file, &folder, "other.safetensors", MIB(1) + 78);
    return 0;
}

static int remove_files(void **state)
{
    (void)state;
    test_file_free(&file);
    test_file_free(&other_file);
    test_folder_remove(&folder);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_life_is_told_step_by_step),
        cmocka_unit_test(a_life_is_counted),
        cmocka_unit_test(an_engine_is_told_and_its_calls_are_counted),
        cmocka_unit_test(who_makes_room_is_told_from_who_is_idle),
        cmocka_unit_test(a_prefetch_to_dram_is_kept_and_never_on_a_device),
        cmocka_unit_test(requests_that_come_to_nothing_say_why),
        cmocka_unit_test(a_busy_queue_is_counted),
        cmocka_unit_test(a_start_that_fails_says_where),
        cmocka_unit_test(bytes_that_are_good_the_second_time_are_told),
        cmocka_unit_test(a_hanging_engine_and_an_overdue_lease_are_told),
        cmocka_unit_test(devices_that_go_and_come_back_are_told),
        cmocka_unit_test(reading_leaves_the_idle_timer_alone),
        cmocka_unit_test(a_slow_reader_loses_the_oldest_and_holds_nobody_up),
        cmocka_unit_test(readers_are_bounded_and_their_ids_are_their_own),
        cmocka_unit_test(no_memory_and_no_descriptor_are_said),
        cmocka_unit_test(a_thousand_models_make_no_longer_output_than_a_hundred),
        cmocka_unit_test(readers_and_loads_do_not_disturb_each_other),
    };
    return cmocka_run_group_tests_name("observe", tests, make_files, remove_files);
}
