/* SPDX-License-Identifier: Apache-2.0 */
/* Metrics and events over lives whose every step is known. Time is the test's; what is told is compared event by event,
 * what is counted number by number. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdatomic.h>

#include "base/fault.h"
#include "observing.h"
#include "support/test_place.h"

#define ZERO(device) "sgi_idle_zero_seconds_total{device=\"" device "\"}"

static struct test_folder folder;
static struct test_file   file, other_file;

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

    assert_true(acquires(&f, "m", "ok", "disk") == 1 && acquires(&f, "m", "ok", "ram") == 1);
    assert_true(acquires(&f, "m", "ok", "hit") == 4 && acquires(&f, "m", "ok", "join") == 0);
    assert_true(acquires(&f, "idle", "ok", "hit") == 0 && acquires(&f, "", "ok", "hit") == 0);
    is(&f, "sgi_acquire_wait_seconds_count{path=\"disk\"}", 1);
    is(&f, "sgi_acquire_wait_seconds_count{path=\"ram\"}", 1);
    is(&f, "sgi_acquire_wait_seconds_count{path=\"hit\"}", 0); /* who does not wait is not in it */
    is(&f, "sgi_queue_wait_seconds_count", 2);
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
    is(&f, "sgi_unload_residual_bytes", 0);
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

static void what_is_wanted_back_is_told(void **state)
{
    (void)state;
    struct fixture     f;
    sgi_runtime_config config = observe_config();
    config.dram_bytes_max = MIB(16);
    config.context_linger_ms = SGI_IDLE_NEVER;
    open_over(&f, &config, NULL);
    sgi_model a = host_add(f.rt, "a", file.path, NULL);
    expect(&f, "registered");
    host_release(f.rt, host_acquire(f.rt, a));
    expect(&f, "queued device_open admitted load_start load_done ready granted idle");
    advance(&f, IDLE_MS);
    expect(&f, "stopping kept released");
    uint64_t bytes = f.last[1].bytes;
    assert_int_equal(sgi_runtime_trim(f.rt, bytes), SGI_OK);
    assert_int_equal(host_info(f.rt).dram_bytes, bytes);
    assert_int_equal(sgi_runtime_trim(f.rt, bytes - 1), SGI_OK);
    expect(&f, "dropped");
    assert_true(f.last[0].model == a && f.last[0].cause == SGI_CAUSE_PRESSURE && f.last[0].bytes == bytes);
    is(&f, "sgi_evictions_total{tier=\"dram\",reason=\"pressure\"}", 1);
    is(&f, "sgi_dram_shared_bytes", 0);
    tear_down(&f);
}

static void waiting_for_room_is_measured(void **state)
{
    (void)state;
    struct fixture     f;
    sgi_device_config  device = { .struct_size = sizeof device, .name = "host", .bytes_max = KIB(1500) };
    sgi_runtime_config config = observe_config();
    config.devices = &device;
    config.devices_count = 1;
    open_over(&f, &config, NULL);
    sgi_model  a = host_add(f.rt, "a", file.path, NULL), b = host_add(f.rt, "b", other_file.path, NULL);
    sgi_lease  lease = host_acquire(f.rt, a);
    sgi_ticket ticket = 0;

    for (int n = 0; n < 2; n++) { /* who comes later does not make it shorter */
        assert_int_equal(sgi_model_acquire(f.rt, b, NULL, &ticket, NULL, NULL, &f.err), SGI_OK);
        advance(&f, 150);
    }
    is(&f, "sgi_queue_wait_seconds_count", 1); /* that of a */
    host_release(f.rt, lease);
    for (int n = 0; n < 2; n++)
        host_release(f.rt, host_next(f.rt).lease);
    is(&f, "sgi_queue_wait_seconds_count", 2);
    is(&f, "sgi_queue_wait_seconds_sum", 0.3);
    is(&f, "sgi_acquire_wait_seconds_count{path=\"join\"}", 1);
    is(&f, "sgi_acquire_wait_seconds_sum{path=\"join\"}", 0.15);
    is(&f, "sgi_acquire_wait_seconds_sum{path=\"disk\"}", 0.3);
    tear_down(&f);
}

static void a_device_that_is_needed_again_is_not_called_empty(void **state)
{
    (void)state;
    struct fixture     f;
    sgi_runtime_config config = observe_config();
    sgi_ticket         ticket = 0;
    test_place_next = (struct test_place_settings){ .seed = 2 };
    open_over(&f, &config, &test_place_ops);
    struct test_place *tp = test_place_last();
    sgi_model          m = host_add(f.rt, "m", file.path, NULL);

    host_release(f.rt, host_acquire(f.rt, m));
    test_place_hold(tp, SGI__PLACE_CONTEXT_CLOSED);
    assert_int_equal(sgi_model_evict(f.rt, m, SGI_TIER_DRAM), SGI_OK);
    while (next_event(&f).kind != SGI_EVENT_RELEASED) {
    }
    advance(&f, LINGER_MS);
    test_place_wait_held(tp, SGI__PLACE_CONTEXT_CLOSED);
    assert_int_equal(sgi_model_acquire(f.rt, m, NULL, &ticket, NULL, NULL, &f.err), SGI_OK);
    expect(&f, "queued admitted");
    test_place_let_go(tp, SGI__PLACE_CONTEXT_CLOSED);
    expect(&f, "device_open load_start load_done ready granted");
    host_release(f.rt, host_next(f.rt).lease);
    expect(&f, "idle");
    tear_down(&f);
}

/* What asks for it neither ends nor changes it, and what a device holds ends it from its admission on. */
static void time_with_nothing_on_a_device_is_counted(void **state)
{
    (void)state;
    struct fixture     f;
    sgi_device_config  devices[2] = { { .struct_size = sizeof *devices, .name = "host:0" },
                                      { .struct_size = sizeof *devices, .name = "host:1" } };
    sgi_runtime_config config = observe_config();
    sgi_lease          none = 0;
    config.devices = devices;
    config.devices_count = 2;
    config.backoff_ms = config.backoff_max_ms = 1;
    open_over(&f, &config, NULL);
    sgi_model m = host_add(f.rt, "m", file.path, NULL);

    advance(&f, 300); /* from the open on */
    is(&f, ZERO("host:0"), 0.3);
    is(&f, ZERO("host:0"), 0.3);
    assert_int_equal(sgi_model_prefetch(f.rt, m, SGI_TIER_DRAM, NULL, NULL, NULL, NULL, &f.err), SGI_OK);
    assert_int_equal(host_next(f.rt).status, SGI_OK);
    advance(&f, 100); /* host memory is no device */
    sgi_lease lease = host_acquire(f.rt, m);
    is(&f, ZERO("host:0"), 0.4);
    advance(&f, 1000);
    host_release(f.rt, lease);
    advance(&f, IDLE_MS); /* the context lingers: that is not nothing */
    host_wait_state(f.rt, m, SGI_MODEL_COLD);
    advance(&f, LINGER_MS);
    while (next_event(&f).kind != SGI_EVENT_DEVICE_ZERO) {
    }
    is(&f, ZERO("host:0"), 0.4);
    advance(&f, 250);
    is(&f, ZERO("host:0"), 0.65);
    is(&f, ZERO("host:1"), (1650 + IDLE_MS + LINGER_MS) / 1000.0);

    sgi__fault_plan(SGI__FAULT_CONTEXT, 1, 1, 1);
    assert_int_equal(sgi_model_acquire_wait(f.rt, m, NULL, &none, &f.err), SGI_E_DEVICE);
    sgi__fault_clear();
    host_wait_state(f.rt, m, SGI_MODEL_COLD);
    advance(&f, 50); /* a start that fails has left nothing either */
    is(&f, ZERO("host:0"), 0.7);
    tear_down(&f);
}

static void a_device_is_not_empty_from_the_moment_it_is_needed(void **state)
{
    (void)state;
    struct fixture     f;
    sgi_runtime_config config = observe_config();
    sgi_ticket         ticket = 0;
    test_place_next = (struct test_place_settings){ .seed = 3 };
    open_over(&f, &config, &test_place_ops);
    struct test_place *tp = test_place_last();
    sgi_model          m = host_add(f.rt, "m", file.path, NULL);

    assert_int_equal(sgi_model_prefetch(f.rt, m, SGI_TIER_DRAM, NULL, NULL, NULL, NULL, &f.err), SGI_OK);
    assert_int_equal(host_next(f.rt).status, SGI_OK); /* from there no check of its files comes first */
    test_place_hold(tp, SGI__PLACE_CONTEXT_OPENED);
    test_place_hold(tp, SGI__PLACE_RESERVED);
    assert_int_equal(sgi_model_acquire(f.rt, m, NULL, &ticket, NULL, NULL, &f.err), SGI_OK);
    test_place_wait_held(tp, SGI__PLACE_CONTEXT_OPENED);
    test_place_wait_held(tp, SGI__PLACE_RESERVED);
    advance(&f, 100); /* nobody has reported, or asked, since it was admitted */
    test_place_let_go(tp, SGI__PLACE_RESERVED);
    test_place_let_go(tp, SGI__PLACE_CONTEXT_OPENED);
    host_release(f.rt, host_next(f.rt).lease);
    is(&f, ZERO("host:0"), 0);
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
    is(&f, ZERO("host:0"), 0);
    advance(&f, 100);
    is(&f, ZERO("host:0"), 0); /* what is not there is not idle */
    test_place_device_back(tp, 0);
    expect(&f, "device_back");
    assert_int_equal(f.last[0].device, 0);
    advance(&f, 100);
    is(&f, ZERO("host:0"), 0.1);
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
        cmocka_unit_test(what_is_wanted_back_is_told),
        cmocka_unit_test(waiting_for_room_is_measured),
        cmocka_unit_test(a_device_that_is_needed_again_is_not_called_empty),
        cmocka_unit_test(time_with_nothing_on_a_device_is_counted),
        cmocka_unit_test(a_device_is_not_empty_from_the_moment_it_is_needed),
        cmocka_unit_test(a_prefetch_to_dram_is_kept_and_never_on_a_device),
        cmocka_unit_test(requests_that_come_to_nothing_say_why),
        cmocka_unit_test(a_busy_queue_is_counted),
        cmocka_unit_test(a_start_that_fails_says_where),
        cmocka_unit_test(bytes_that_are_good_the_second_time_are_told),
        cmocka_unit_test(a_hanging_engine_and_an_overdue_lease_are_told),
        cmocka_unit_test(devices_that_go_and_come_back_are_told),
    };
    return cmocka_run_group_tests_name("observe", tests, make_files, remove_files);
}
