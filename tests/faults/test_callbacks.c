/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine's callbacks: each fails, through the loop, the first time, the second, ... and from there on; each is
 * slow; each never comes back. What is slow or out delays its own model only; what is out for too long makes it
 * WEDGED: its memory stays, its requests are refused, everything else goes on, a close says who holds it, and should
 * the callback come back after all the model is as good as new.
 *
 * prefix_bytes is another matter: it runs on the thread that registers, and there is no model yet.
 */
#include "stand.h"

/* ---- failing: through the loop ---- */

#define CALLBACK(at, says) .kind = FAULT_CALLBACK, .which = (at), .name = (says)

static const struct fault faults[] = {
    { CALLBACK(ENGINE_PREPARE, "prepare"), .value = SGI_E_ENGINE, .may_say = { SGI_E_ENGINE },
      .step = SGI_STEP_PREPARE },
    { CALLBACK(ENGINE_PREPARE, "prepare, no memory"), .value = SGI_E_NO_MEMORY, .may_say = { SGI_E_NO_MEMORY },
      .step = SGI_STEP_PREPARE },
    { CALLBACK(ENGINE_PREFIX_BYTES, "prefix_bytes"), .value = SGI_E_ENGINE, .may_say = { SGI_E_ENGINE } },
    { CALLBACK(ENGINE_PREFIX_FILL, "prefix_fill"), .value = SGI_E_ENGINE, .may_say = { SGI_E_ENGINE },
      .step = SGI_STEP_PREFIX },
    { CALLBACK(ENGINE_START, "start"), .value = SGI_E_ENGINE, .may_say = { SGI_E_ENGINE }, .step = SGI_STEP_START },
    { CALLBACK(ENGINE_START, "start, with a word of the library's"), .value = SGI_E_TIMEOUT,
      .may_say = { SGI_E_ENGINE }, .step = SGI_STEP_START },
    { CALLBACK(ENGINE_START, "start, device memory"), .value = SGI_E_DEVICE_MEMORY, .may_say = { SGI_E_DEVICE_MEMORY },
      .step = SGI_STEP_START },
    { CALLBACK(ENGINE_CALL, "call"), .value = SGI_E_ENGINE, .may_say = { SGI_E_ENGINE }, .step = SGI_STEP_CALL },
};

/* ---- slow, and never back ---- */

/* A callback where the model is held; the `state` of the tests below. */
struct held {
    const char      *name;
    enum engine_step at;
    bool             going;      /* on its way down, not up */
    uint32_t         late_step;  /* what a deadline that passes meanwhile says */
    uint32_t         hung_step;  /* what is said once it counts as hung */
    bool             has_memory; /* the model's memory is in its hands */
};

static const struct held
    at_prepare = { "prepare", ENGINE_PREPARE, false, SGI_STEP_PREPARE, SGI_STEP_PREPARE, false },
    at_prefix = { "prefix_fill", ENGINE_PREFIX_FILL, false, SGI_STEP_PREFIX, SGI_STEP_PREFIX, true },
    at_start = { "start", ENGINE_START, false, SGI_STEP_START, SGI_STEP_START, true },
    at_stop = { "stop", ENGINE_STOP, true, SGI_STEP_QUEUE, SGI_STEP_STOP, true },
    at_discard = { "discard", ENGINE_DISCARD, true, SGI_STEP_STOP, SGI_STEP_STOP, false };

/* All its bytes are there, if it is on its way up. */
static bool is_loaded(void *user)
{
    struct stand   *s = user;
    sgi_model_state m = host_state(s->rt, s->model);
    return m.state == SGI_MODEL_STOPPING || (m.state == SGI_MODEL_LOADING && m.loading_bytes > 0 &&
                                             m.loaded_bytes == m.loading_bytes && host_info(s->rt).loads_running == 0);
}

/* The model is in the callback, and somebody waits for it. Nothing else of it is out. */
static sgi_ticket reach(struct stand *s, const struct held *h)
{
    struct gate *gate = &s->engine.gates[h->at];
    sgi_ticket   ticket = 0;

    if (h->going) {
        stand_serves(s, s->model);
        gate_close(gate);
        assert_int_equal(sgi_model_evict(s->rt, s->model, SGI_EVICT_ALL), SGI_OK);
        gate_wait_arrived(gate, 1);
        ticket = stand_ask(s, s->model, SGI_FOREVER);
    } else {
        gate_close(gate);
        ticket = stand_ask(s, s->model, SGI_FOREVER);
        gate_wait_arrived(gate, 1);
    }
    test_wait_until(is_loaded, s, "a load does not end");
    host_wait_threads(s->rt, h->at == ENGINE_PREFIX_FILL ? 3 : 2); /* the timer, and a start that waits for prefixes */
    return ticket;
}

static void served(struct stand *s, sgi_ticket ticket)
{
    sgi_lease lease = 0;
    if (stand_end(s, ticket, &lease) != SGI_OK)
        fail_msg("not served: %s", s->err.message);
    host_same_bytes(s->rt, s->model, lease, loop_shards()->shards);
    host_release(s->rt, lease);
}

/* With room for what leaves the device. */
static void open_with_dram(struct stand *s)
{
    sgi_runtime_config config = stand_config();
    config.dram_bytes_max = MIB(32);
    stand_open(s, NULL, &config);
}

static void a_slow_callback_holds_up_its_own_model_only(void **state)
{
    const struct held *h = *state;
    struct stand       s;
    sgi_lease          lease = 0;
    open_with_dram(&s);
    sgi_ticket patient = reach(&s, h);

    sgi_ticket late = stand_ask(&s, s.model, 100), canceled = stand_ask(&s, s.model, SGI_FOREVER);
    stand_others_go_on(&s);
    assert_int_equal(sgi_model_try_acquire(s.rt, s.model, NULL, &lease), SGI_E_WOULD_BLOCK);
    if (!h->going)
        assert_int_equal(sgi_model_evict(s.rt, s.model, SGI_TIER_DISK), SGI_E_BUSY);
    assert_int_equal(sgi_acquire_cancel(s.rt, canceled), SGI_OK);
    assert_int_equal(stand_end(&s, canceled, NULL), SGI_E_CANCELED);
    test_clock_advance_ms(&s.clock, s.rt, 101);
    assert_int_equal(stand_end(&s, late, NULL), SGI_E_TIMEOUT);
    host_error_is(&s.err, SGI_E_TIMEOUT, h->late_step, "'m'");
    test_clock_advance_ms(&s.clock, s.rt, STAND_HANG_MS - 102); /* just not too long */
    assert_false(stand_has_ended(&s, patient));
    assert_int_equal(gate_passed(&s.engine.gates[h->at]), 0);
    gate_open(&s.engine.gates[h->at]);
    served(&s, patient);
    stand_close(&s);
}

/* It has been out for too long: what was waited for has ended, and nothing of it is served. */
static uint64_t hang(struct stand *s, const struct held *h)
{
    sgi_ticket ticket = reach(s, h);
    uint64_t   bytes = host_state(s->rt, s->model).device_bytes;

    test_clock_advance_ms(&s->clock, s->rt, STAND_HANG_MS + 1);
    assert_int_equal(stand_end(s, ticket, NULL), SGI_E_WEDGED);
    host_error_is(&s->err, SGI_E_WEDGED, h->hung_step, "'m'");
    host_wait_state(s->rt, s->model, SGI_MODEL_WEDGED);
    return bytes;
}

static void a_callback_that_is_out_for_too_long_wedges_its_model(void **state)
{
    const struct held *h = *state;
    struct stand       s;
    sgi_estimate       estimate = { .struct_size = sizeof estimate };
    stand_open(&s, NULL, NULL);
    uint64_t bytes = hang(&s, h);

    assert_int_equal(host_acquire_fails(s.rt, s.model, &s.err), SGI_E_WEDGED);
    host_error_is(&s.err, SGI_E_WEDGED, h->hung_step, "'m'");
    assert_int_equal(sgi_model_estimate(s.rt, s.model, NULL, &estimate, NULL, 0), SGI_OK);
    assert_int_equal(estimate.outlook, SGI_ESTIMATE_REFUSED);
    assert_int_equal(estimate.status, SGI_E_WEDGED);
    assert_int_equal(host_state(s.rt, s.model).device_bytes, h->has_memory ? bytes : 0);
    assert_true(!h->has_memory || bytes > 0);
    stand_others_go_on(&s);
    assert_int_equal(gate_passed(&s.engine.gates[h->at]), 0);
    stand_close_times_out(&s, "a callback of its engine");
    stand_close_times_out(&s, "a callback of its engine");
    gate_open(&s.engine.gates[h->at]);
    stand_close(&s);
}

static void a_callback_that_comes_back_after_all_heals_its_model(void **state)
{
    const struct held *h = *state;
    struct stand       s;
    open_with_dram(&s);
    hang(&s, h);

    gate_open(&s.engine.gates[h->at]);
    host_wait_state(s.rt, s.model, SGI_MODEL_COLD);
    assert_int_equal(host_state(s.rt, s.model).device_bytes, 0);
    if (h->has_memory) /* what it has done to it meanwhile nobody knows */
        assert_int_equal(host_state(s.rt, s.model).dram_bytes, 0);
    stand_serves(&s, s.model);
    stand_close(&s);
}

/* ---- calls: they have their lease ---- */

static const struct test_request deaf = { .kind = REQUEST_DEAF };

static void a_call_that_never_comes_back_keeps_its_memory_and_is_named(void **state)
{
    struct stand s;
    sgi_call     call = 0;
    char         piece[8];
    size_t       bytes = 0;

    (void)state;
    stand_open(&s, NULL, NULL);
    sgi_lease lease = host_acquire(s.rt, s.model);
    uint64_t  charged = host_state(s.rt, s.model).device_bytes;
    gate_close(&s.engine.gates[ENGINE_CALL]);
    assert_int_equal(sgi_call_begin(s.rt, lease, &deaf, sizeof deaf, 0, &call, &s.err), SGI_OK);
    gate_wait_arrived(&s.engine.gates[ENGINE_CALL], 1);
    test_clock_advance_ms(&s.clock, s.rt, STAND_HANG_MS * 10); /* an answer may take as long as it likes */
    assert_int_equal(host_state(s.rt, s.model).state, SGI_MODEL_BUSY);
    assert_int_equal(sgi_model_evict(s.rt, s.model, SGI_TIER_DISK), SGI_E_BUSY);
    sgi_ticket waiting = stand_ask(&s, s.model, SGI_FOREVER);
    stand_others_go_on(&s);
    assert_int_equal(sgi_call_cancel(s.rt, call), SGI_OK);
    test_clock_advance_ms(&s.clock, s.rt, STAND_HANG_MS + 1);
    assert_int_equal(sgi_call_read(s.rt, call, piece, sizeof piece, &bytes, &s.err), SGI_E_WEDGED);
    assert_int_equal(stand_end(&s, waiting, NULL), SGI_E_WEDGED);
    host_error_is(&s.err, SGI_E_WEDGED, SGI_STEP_CALL, "'m'");
    assert_int_equal(sgi_call_end(s.rt, call), SGI_OK);
    host_release(s.rt, lease);
    assert_int_equal(host_state(s.rt, s.model).state, SGI_MODEL_WEDGED);
    assert_int_equal(host_state(s.rt, s.model).device_bytes, charged);
    stand_others_go_on(&s);
    stand_close_times_out(&s, "a call its engine is in");
    gate_open(&s.engine.gates[ENGINE_CALL]);
    stand_close(&s);
}

/* ---- prefix_bytes ---- */

struct registering {
    sgi_runtime     *rt;
    sgi_model_config config;
    pthread_t        thread;
    sgi_model        model;
    sgi_status       status;
    sgi_error        err;
};

static void *register_it(void *registering)
{
    struct registering *r = registering;
    r->status = sgi_model_register(r->rt, &r->config, &r->model, &r->err);
    return NULL;
}

/* Somebody registers "late" and is in its engine's prefix_bytes. */
static void begin_register(struct stand *s, struct registering *r)
{
    struct gate *gate = &s->engine.gates[ENGINE_PREFIX_BYTES];
    uint32_t     before = gate_arrived(gate);

    *r = (struct registering){ .rt = s->rt,
                               .config = host_model("late", loop_shards()->path, &s->engine),
                               .err = SGI_ERROR_INIT };
    gate_close(gate);
    assert_int_equal(pthread_create(&r->thread, NULL, register_it, r), 0);
    gate_wait_arrived(gate, before + 1);
}

static void end_register(struct stand *s, struct registering *r)
{
    gate_open(&s->engine.gates[ENGINE_PREFIX_BYTES]);
    pthread_join(r->thread, NULL);
}

static int count_samples(void *user, const sgi_sample *sample)
{
    *(uint32_t *)user += sample->labels_count <= SGI_LABELS_MAX;
    return 0;
}

/* Requests, deadlines, idle times, registering and unregistering, and whoever looks. */
static void everything_goes_on(struct stand *s)
{
    sgi_acquire_options o;
    sgi_lease           lease = 0;
    sgi_model           found = 0;
    uint32_t            samples = 0;

    stand_others_go_on(s);
    stand_serves(s, s->model); /* of the same engine */
    assert_int_equal(sgi_model_evict(s->rt, s->model, SGI_TIER_DISK), SGI_OK);
    host_wait_state(s->rt, s->model, SGI_MODEL_COLD);

    uint32_t starts = gate_arrived(&s->engine.gates[ENGINE_START]);
    gate_close(&s->engine.gates[ENGINE_START]);
    sgi_ticket late = stand_ask(s, s->model, 100), canceled = stand_ask(s, s->model, SGI_FOREVER);
    gate_wait_arrived(&s->engine.gates[ENGINE_START], starts + 1);
    assert_int_equal(sgi_acquire_cancel(s->rt, canceled), SGI_OK);
    assert_int_equal(stand_end(s, canceled, NULL), SGI_E_CANCELED);
    test_clock_advance_ms(&s->clock, s->rt, 101);
    assert_int_equal(stand_end(s, late, NULL), SGI_E_TIMEOUT);
    gate_open(&s->engine.gates[ENGINE_START]);
    host_wait_state(s->rt, s->model, SGI_MODEL_READY); /* its load has gone on */
    assert_int_equal(sgi_model_evict(s->rt, s->model, SGI_EVICT_ALL), SGI_OK);

    sgi_acquire_options_init(&o, sizeof o);
    o.idle_timeout_ms = 50;
    assert_int_equal(sgi_model_acquire_wait(s->rt, s->other, &o, &lease, &s->err), SGI_OK);
    host_release(s->rt, lease);
    test_clock_advance_ms(&s->clock, s->rt, 51);
    host_wait_state(s->rt, s->other, SGI_MODEL_COLD);

    sgi_model third = host_add(s->rt, "third", loop_file()->path, NULL);
    assert_int_equal(host_info(s->rt).models_count, 3);
    assert_int_equal(sgi_model_unregister(s->rt, third, HOST_WAIT_MS, &s->err), SGI_OK);
    assert_int_equal(sgi_model_find(s->rt, "late", &found), SGI_E_NOT_FOUND);
    assert_int_equal(sgi_metrics_snapshot(s->rt, count_samples, &samples), SGI_OK);
    assert_true(samples > 0);
    host_wait_threads(s->rt, 1); /* nothing else is out */
}

static void a_slow_prefix_bytes_holds_up_who_registers_only(void **state)
{
    struct stand       s;
    struct registering r;

    (void)state;
    stand_open(&s, NULL, NULL);
    begin_register(&s, &r);
    uint32_t passed = gate_passed(&s.engine.gates[ENGINE_PREFIX_BYTES]);
    everything_goes_on(&s);
    assert_int_equal(gate_passed(&s.engine.gates[ENGINE_PREFIX_BYTES]), passed);
    end_register(&s, &r);
    assert_int_equal(r.status, SGI_OK);
    stand_serves(&s, r.model);
    stand_close(&s);
}

/* The name is whose registering comes to its end first. */
static void a_name_is_not_taken_by_who_is_still_registering(void **state)
{
    struct stand       s;
    struct registering r;

    (void)state;
    stand_open(&s, NULL, NULL);
    begin_register(&s, &r);
    sgi_model first = host_add(s.rt, "late", loop_shards()->path, NULL);
    end_register(&s, &r);
    assert_int_equal(r.status, SGI_E_EXISTS);
    host_error_is(&r.err, SGI_E_EXISTS, SGI_STEP_NONE, "'late'");
    assert_int_equal(r.model, 0);
    stand_serves(&s, first);
    stand_close(&s);
}

/* No time is too long for it: there is nobody else who waits. Except a close. */
static void a_prefix_bytes_that_never_comes_back_keeps_a_close_waiting(void **state)
{
    struct stand       s;
    struct registering r;
    sgi_lease          lease = 0;

    (void)state;
    stand_open(&s, NULL, NULL);
    begin_register(&s, &r);
    test_clock_advance_ms(&s.clock, s.rt, STAND_HANG_MS * 10);
    everything_goes_on(&s);
    for (int n = 0; n < 2; n++) {
        assert_int_equal(sgi_runtime_close(s.rt, 1, &s.err), SGI_E_TIMEOUT);
        host_error_is(&s.err, SGI_E_TIMEOUT, SGI_STEP_NONE, "calls on their way back");
    }
    assert_int_equal(sgi_model_acquire_wait(s.rt, s.other, NULL, &lease, &s.err), SGI_E_CLOSED);
    assert_int_equal(host_info(s.rt).models_count, 2);
    end_register(&s, &r);
    assert_int_equal(r.status, SGI_E_CLOSED);
    host_error_is(&r.err, SGI_E_CLOSED, SGI_STEP_NONE, "");
    assert_int_equal(r.model, 0);
    stand_close(&s);
}

#define OVER(held, test)                                                           \
    {                                                                              \
#test " (" #held ")", test, NULL, loop_clear, (void *)(uintptr_t) & (held) \
    }
#define ALL(test) \
    OVER(at_prepare, test), OVER(at_prefix, test), OVER(at_start, test), OVER(at_stop, test), OVER(at_discard, test)

int main(int argc, char **argv)
{
    const struct CMUnitTest held[] = {
        ALL(a_slow_callback_holds_up_its_own_model_only),
        ALL(a_callback_that_is_out_for_too_long_wedges_its_model),
        ALL(a_callback_that_comes_back_after_all_heals_its_model),
        cmocka_unit_test_teardown(a_call_that_never_comes_back_keeps_its_memory_and_is_named, loop_clear),
        cmocka_unit_test_teardown(a_slow_prefix_bytes_holds_up_who_registers_only, loop_clear),
        cmocka_unit_test_teardown(a_name_is_not_taken_by_who_is_still_registering, loop_clear),
        cmocka_unit_test_teardown(a_prefix_bytes_that_never_comes_back_keeps_a_close_waiting, loop_clear),
    };
    return loop_main(argc, argv, "callbacks", faults, sizeof faults / sizeof *faults, held, sizeof held / sizeof *held);
}
