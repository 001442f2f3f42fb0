/* SPDX-License-Identifier: Apache-2.0 */
/* Engines: every callback that fails, hangs or takes its time, what they may say, and what the stage gives them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "support/host.h"

static struct test_folder folder;
static struct test_file   file;

struct fixture {
    struct test_engine engine;
    sgi_runtime       *rt;
    sgi_model          model, plain;
    sgi_error          err;
};

static sgi_runtime_config engine_config(void)
{
    static const sgi_device_config device = { .struct_size = sizeof device, .name = "host", .bytes_max = MIB(64) };
    sgi_runtime_config             config = host_config();
    config.devices = &device;
    config.devices_count = 1;
    config.backoff_ms = config.backoff_max_ms = 1;
    return config;
}

/* Without its model: a test may still change the engine's settings. */
static void set_up_with(struct fixture *f, const sgi_runtime_config *config)
{
    memset(f, 0, sizeof *f);
    f->err.struct_size = sizeof f->err;
    test_engine_init(&f->engine, true, true);
    f->engine.look = true;
    f->rt = host_open(config);
    f->plain = host_add(f->rt, "plain", file.path, NULL);
}

static void add(struct fixture *f)
{
    sgi_model_config mc = host_model("m", file.path, &f->engine);
    mc.engine_bytes = MIB(1);
    f->model = host_register(f->rt, &mc);
}

static void set_up(struct fixture *f)
{
    sgi_runtime_config config = engine_config();
    set_up_with(f, &config);
    add(f);
}

static void tear_down(struct fixture *f)
{
    host_close(f->rt);
    test_engine_fini(&f->engine);
}

/* ---- failing ---- */

static void works_again(struct fixture *f)
{
    sgi_lease lease = 0;
    while (sgi_model_acquire_wait(f->rt, f->model, NULL, &lease, &f->err) != SGI_OK)
        assert_true(f->err.retry_after_ms > 0); /* backing off */
    host_same_bytes(f->rt, f->model, lease, &file);
    host_release(f->rt, lease);
    assert_int_equal(sgi_model_evict(f->rt, f->model, SGI_EVICT_ALL), SGI_OK);
    host_wait_state(f->rt, f->model, SGI_MODEL_COLD);
    host_wait_threads(f->rt, 1);
    assert_int_equal(host_info(f->rt).device_bytes, 0);
}

static void a_callback_that_fails_is_named_and_undone(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    static const struct {
        enum engine_step step;
        uint32_t         named;
        sgi_status       status;
    } cases[] = {
        { ENGINE_PREPARE, SGI_STEP_PREPARE, SGI_E_ENGINE },    { ENGINE_PREPARE, SGI_STEP_PREPARE, SGI_E_NO_MEMORY },
        { ENGINE_PREFIX_FILL, SGI_STEP_PREFIX, SGI_E_FORMAT }, { ENGINE_START, SGI_STEP_START, SGI_E_UNSUPPORTED },
        { ENGINE_START, SGI_STEP_START, SGI_E_DEVICE_MEMORY },
    };
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        atomic_store(&f.engine.fail[cases[n].step], cases[n].status);
        assert_int_equal(host_acquire_fails(f.rt, f.model, &f.err), cases[n].status);
        host_error_is(&f.err, cases[n].status, cases[n].named, "'m'");
        assert_non_null(strstr(f.err.message, "was told to fail")); /* its own words */
        int stops = test_engine_count(&f.engine, ENGINE_STOP);
        atomic_store(&f.engine.fail[cases[n].step], SGI_OK);
        works_again(&f);
        assert_int_equal(test_engine_count(&f.engine, ENGINE_STOP), stops + 1); /* of the good start only */
    }
    tear_down(&f);
}

static void a_prefix_that_cannot_be_sized_is_no_model(void **state)
{
    (void)state;
    struct fixture     f;
    sgi_runtime_config config = engine_config();
    sgi_model          model = 0;
    set_up_with(&f, &config);

    atomic_store(&f.engine.fail[ENGINE_PREFIX_BYTES], SGI_E_ENGINE);
    sgi_model_config mc = host_model("m", file.path, &f.engine);
    assert_int_equal(sgi_model_register(f.rt, &mc, &model, &f.err), SGI_E_ENGINE);
    host_error_is(&f.err, SGI_E_ENGINE, SGI_STEP_PREFIX, "'m'");
    atomic_store(&f.engine.fail[ENGINE_PREFIX_BYTES], SGI_OK);
    f.engine.prefix_bytes = UINT64_C(1) << 40;
    assert_int_equal(sgi_model_register(f.rt, &mc, &model, &f.err), SGI_E_ENGINE);
    assert_int_equal(model, 0);
    f.engine.prefix_bytes = 5;
    add(&f);
    works_again(&f);
    tear_down(&f);
}

static void a_status_that_is_none_is_an_engine_failure(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    static const sgi_status odd[] = { 1, 77, -9999, SGI_E_WOULD_BLOCK, SGI_E_END, SGI_E_STALE, INT32_MIN };

    f.engine.silent = true;
    for (size_t n = 0; n < sizeof odd / sizeof *odd; n++) {
        atomic_store(&f.engine.fail[ENGINE_START], odd[n]);
        assert_int_equal(host_acquire_fails(f.rt, f.model, &f.err), SGI_E_ENGINE);
        host_error_is(&f.err, SGI_E_ENGINE, SGI_STEP_START, "'m'");
        atomic_store(&f.engine.fail[ENGINE_START], SGI_OK);
        works_again(&f);
    }
    tear_down(&f);
}

static void a_load_that_fails_ends_the_starts_waits(void **state)
{
    (void)state;
    struct fixture     f;
    sgi_runtime_config config = engine_config();
    sgi_tensor_check   check = { .name = "b", .xxh3 = 1 };
    set_up_with(&f, &config);
    sgi_model_config mc = host_model("m", file.path, &f.engine);
    mc.checks = &check;
    mc.checks_count = 1;
    f.model = host_register(f.rt, &mc);

    assert_int_equal(host_acquire_fails(f.rt, f.model, &f.err), SGI_E_CHECK);
    host_error_is(&f.err, SGI_E_CHECK, SGI_STEP_VERIFY, "'b'");
    host_wait_state(f.rt, f.model, SGI_MODEL_COLD);
    assert_int_equal(atomic_load(&f.engine.start_status), SGI_E_CHECK); /* it was told why, */
    host_error_is(&f.engine.start_error, SGI_E_CHECK, SGI_STEP_VERIFY, "'b'");
    assert_int_equal(test_engine_count(&f.engine, ENGINE_STOP), 0); /* and is not stopped: it never was up */
    tear_down(&f);
}

/* ---- what an engine may say ---- */

static const sgi_status no_word_of_an_engine[] = { SGI_E_WOULD_BLOCK, SGI_E_END,      SGI_E_STALE, SGI_E_TIMEOUT,
                                                   SGI_E_BUSY,        SGI_E_CANCELED, -9999,       1 };
static const sgi_status words_of_an_engine[] = { SGI_E_INVALID, SGI_E_NOT_FOUND, SGI_E_UNSUPPORTED, SGI_E_DEVICE_MEMORY,
                                                 SGI_E_ENGINE };

#define COUNT(array) (sizeof(array) / sizeof *(array))

static void start_fails(struct fixture *f, sgi_status said, sgi_status reported, int32_t driver_code)
{
    atomic_store(&f->engine.fail[ENGINE_START], said);
    assert_int_equal(host_acquire_fails(f->rt, f->model, &f->err), reported);
    host_error_is(&f->err, reported, SGI_STEP_START, "model 'm'");
    assert_int_equal(f->err.driver_code, driver_code);
    atomic_store(&f->engine.fail[ENGINE_START], SGI_OK);
    host_release(f->rt, host_acquire(f->rt, f->model)); /* a success: the next failure is a first one again */
    assert_int_equal(sgi_model_evict(f->rt, f->model, SGI_TIER_DISK), SGI_OK);
    host_wait_state(f->rt, f->model, SGI_MODEL_COLD);
}

static bool nothing_is_out(void *user)
{
    struct fixture *f = user;
    return host_state(f->rt, f->model).calls_out == 0;
}

static void call_fails(struct fixture *f, sgi_lease lease, sgi_status said, sgi_status reported, int32_t driver_code)
{
    sgi_call call = 0;

    atomic_store(&f->engine.fail[ENGINE_CALL], said);
    assert_int_equal(sgi_lease_call(f->rt, lease, NULL, 0, SGI_FOREVER, NULL, NULL, &f->err), reported);
    host_error_is(&f->err, reported, SGI_STEP_CALL, "model 'm'");
    assert_int_equal(f->err.driver_code, driver_code);
    test_wait_until(nothing_is_out, f, "a call does not come back");
    assert_int_equal(sgi_call_begin(f->rt, lease, NULL, 0, 0, &call, &f->err), SGI_OK);
    sgi_completion c = host_next(f->rt);
    assert_true(c.kind == SGI_COMPLETION_CALL && c.status == reported && c.error.driver_code == driver_code);
    assert_int_equal(sgi_call_end(f->rt, call), SGI_OK);
}

static void what_is_not_an_engines_to_say_is_an_engine_failure(void **state)
{
    (void)state;
    struct fixture     f;
    sgi_runtime_config config = host_config(); /* backs off as long as it does by default */
    set_up_with(&f, &config);
    add(&f);
    for (int silent = 0; silent < 2; silent++) {
        f.engine.silent = silent != 0;
        for (size_t n = 0; n < COUNT(no_word_of_an_engine); n++)
            start_fails(&f, no_word_of_an_engine[n], SGI_E_ENGINE, no_word_of_an_engine[n]);
        for (size_t n = 0; n < COUNT(words_of_an_engine); n++)
            start_fails(&f, words_of_an_engine[n], words_of_an_engine[n], 0);
        sgi_lease lease = host_acquire(f.rt, f.model);
        for (size_t n = 0; n < COUNT(no_word_of_an_engine); n++)
            call_fails(&f, lease, no_word_of_an_engine[n], SGI_E_ENGINE, no_word_of_an_engine[n]);
        for (size_t n = 0; n < COUNT(words_of_an_engine); n++)
            call_fails(&f, lease, words_of_an_engine[n], words_of_an_engine[n], 0);
        host_release(f.rt, lease);
        assert_int_equal(sgi_model_evict(f.rt, f.model, SGI_TIER_DISK), SGI_OK);
        host_wait_state(f.rt, f.model, SGI_MODEL_COLD);
    }
    tear_down(&f);
}

/* Whichever of the two is given holds; the other's default is not in its way. */
static void a_back_off_that_is_given_is_not_cut_by_a_default(void **state)
{
    (void)state;
    static const struct {
        uint32_t backoff_ms, backoff_max_ms, waits_ms;
    } cases[] = { { 60000, 0, 60000 }, { 0, 50, 50 }, { 0, 60000, 100 }, { 60000, 60000, 60000 } };

    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        struct fixture     f;
        sgi_runtime_config config = engine_config();
        config.backoff_ms = cases[n].backoff_ms;
        config.backoff_max_ms = cases[n].backoff_max_ms;
        set_up_with(&f, &config);
        add(&f);
        atomic_store(&f.engine.fail[ENGINE_START], SGI_E_ENGINE);
        for (int failure = 0; failure < 2; failure++) {
            host_wait_state(f.rt, f.model, SGI_MODEL_COLD);
            assert_int_equal(host_acquire_fails(f.rt, f.model, &f.err), SGI_E_ENGINE);
        }
        assert_in_range(f.err.retry_after_ms, cases[n].waits_ms - cases[n].waits_ms / 6, cases[n].waits_ms);
        tear_down(&f);
    }
}

/* ---- the stage ---- */

static void engine_memory_beyond_the_estimate_is_reserved_or_refused(void **state)
{
    (void)state;
    struct fixture     f;
    sgi_runtime_config config = engine_config();
    sgi_model_info     info = { .struct_size = sizeof info };
    char               number[32];
    set_up_with(&f, &config);
    add(&f);
    sgi_model_describe(f.rt, f.model, &info);

    f.engine.alloc_bytes = KIB(512); /* within the estimate */
    sgi_lease lease = host_acquire(f.rt, f.model);
    assert_int_equal(host_device(f.rt, 0).bytes_engine, MIB(1));
    host_release(f.rt, lease);
    sgi_model_evict(f.rt, f.model, SGI_TIER_DISK);
    host_wait_state(f.rt, f.model, SGI_MODEL_COLD);

    f.engine.alloc_bytes = MIB(20);
    lease = host_acquire(f.rt, f.model);
    assert_int_equal(host_device(f.rt, 0).bytes_engine, MIB(20));
    assert_int_equal(host_device(f.rt, 0).bytes_used, info.image_bytes + MIB(20));
    host_release(f.rt, lease);
    sgi_model_evict(f.rt, f.model, SGI_TIER_DISK);
    host_wait_state(f.rt, f.model, SGI_MODEL_COLD);
    assert_int_equal(host_device(f.rt, 0).bytes_used, 0);

    f.engine.alloc_bytes = MIB(80);
    assert_int_equal(host_acquire_fails(f.rt, f.model, &f.err), SGI_E_DEVICE_MEMORY);
    snprintf(number, sizeof number, "%llu", (unsigned long long)MIB(80));
    assert_non_null(strstr(f.err.message, number));
    assert_non_null(strstr(f.err.message, "'m'"));
    f.engine.alloc_bytes = 0;
    f.engine.report_bytes = MIB(30);
    works_again(&f);
    f.engine.report_bytes = MIB(2); /* less than the last estimate is fine and lowers it */
    host_release(f.rt, host_acquire(f.rt, f.model));
    assert_int_equal(host_device(f.rt, 0).bytes_engine, MIB(2));
    sgi_model_describe(f.rt, f.model, &info);
    assert_int_equal(info.engine_bytes, MIB(2));
    tear_down(&f);
}

struct looks {
    struct fixture *f;
    sgi_status      no_part, no_tensor, no_view, no_memory, absurd, huge_report;
    int32_t         device;
    void           *stream;
    int             canceled;
};

static void look_around(void *user, sgi_stage *stage)
{
    struct looks *l = user;
    sgi_image     image = { .struct_size = sizeof image };
    sgi_view      view = { .struct_size = sizeof view };
    void         *memory;

    l->no_part = sgi_stage_image(stage, 1, &image, NULL);
    l->no_tensor = sgi_stage_tensor(stage, 99, &view, NULL);
    l->no_view = sgi_stage_tensor(stage, 0, NULL, NULL);
    l->no_memory = sgi_stage_alloc(stage, 0, &memory, NULL);
    l->absurd = sgi_stage_alloc(stage, UINT64_MAX, &memory, NULL);
    l->huge_report = sgi_stage_report_bytes(stage, UINT64_MAX, NULL);
    l->device = sgi_stage_device(stage);
    l->stream = sgi_stage_stream(stage);
    l->canceled = sgi_stage_canceled(stage);
}

static void the_stage_refuses_what_is_not_there(void **state)
{
    (void)state;
    struct fixture     f;
    sgi_runtime_config config = engine_config();
    set_up_with(&f, &config);
    struct looks l = { .f = &f, .device = 9, .canceled = 9 };
    f.engine.in_start = look_around;
    f.engine.user = &l;
    add(&f);

    host_release(f.rt, host_acquire(f.rt, f.model));
    assert_int_equal(l.no_part, SGI_E_NOT_FOUND);
    assert_int_equal(l.no_tensor, SGI_E_NOT_FOUND);
    assert_int_equal(l.no_view, SGI_E_INVALID);
    assert_int_equal(l.no_memory, SGI_E_INVALID);
    assert_int_equal(l.absurd, SGI_E_INVALID);
    assert_int_equal(l.huge_report, SGI_E_INVALID);
    assert_true(l.device == 0 && l.stream == NULL && l.canceled == 0);
    tear_down(&f);
}

struct asked {
    sgi_status at, past, found, not_found, sizeless;
    uint64_t   count, bytes, found_index;
    char       name[16];
};

static void ask(void *user, sgi_stage *stage)
{
    struct asked     *a = user;
    const sgi_source *source = sgi_stage_source(stage);
    sgi_tensor        t = { .struct_size = sizeof t };

    a->count = source->tensors_count;
    a->at = sgi_source_tensor_at(source, 0, &t);
    a->bytes = t.bytes;
    strncat(a->name, source->name, sizeof a->name - 1);
    a->past = sgi_source_tensor_at(source, source->tensors_count, &t);
    a->found = sgi_source_tensor_find(source, "b", &t);
    a->found_index = t.index;
    a->not_found = sgi_source_tensor_find(source, "x", &t);
    a->sizeless = sgi_source_tensor_at(source, 0, &(sgi_tensor){ 0 });
}

static void an_engine_sees_the_tensors_of_its_source(void **state)
{
    (void)state;
    struct fixture     f;
    sgi_runtime_config config = engine_config();
    struct asked       a = { .found_index = 9 };
    set_up_with(&f, &config);
    f.engine.in_start = ask;
    f.engine.user = &a;
    add(&f);

    host_release(f.rt, host_acquire(f.rt, f.model));
    assert_true(a.at == SGI_OK && a.found == SGI_OK && a.found_index == 2 && a.count == 3);
    assert_int_equal(a.bytes, MIB(1) + 3);
    assert_string_equal(a.name, "m");
    assert_int_equal(a.past, SGI_E_NOT_FOUND);
    assert_int_equal(a.not_found, SGI_E_NOT_FOUND);
    assert_int_equal(a.sizeless, SGI_E_INVALID);
    tear_down(&f);
}

static void wait_for_cancel(void *user, sgi_stage *stage)
{
    struct fixture *f = user;
    gate_pass(&f->engine.gates[ENGINE_DISCARD]); /* says that it is here */
    while (!sgi_stage_canceled(stage))
        sched_yield();
}

static void a_start_nobody_wants_any_more_is_told(void **state)
{
    (void)state;
    struct fixture     f;
    sgi_runtime_config config = engine_config();
    sgi_ticket         ticket;
    set_up_with(&f, &config);
    f.engine.in_start = wait_for_cancel;
    f.engine.user = &f;
    add(&f);

    assert_int_equal(sgi_model_acquire(f.rt, f.model, NULL, &ticket, NULL, NULL, NULL), SGI_OK);
    gate_wait_arrived(&f.engine.gates[ENGINE_DISCARD], 1);
    assert_int_equal(sgi_acquire_cancel(f.rt, ticket), SGI_OK);
    assert_int_equal(host_next(f.rt).status, SGI_E_CANCELED);
    host_wait_state(f.rt, f.model, SGI_MODEL_COLD); /* hangs if the start is not told */
    tear_down(&f);
}

/* ---- blocking calls from callbacks ---- */

struct blocked {
    struct fixture *f;
    sgi_status      acquire, close, unregister, lease_call, wait;
};

static void try_to_block(void *user)
{
    struct blocked *b = user;
    sgi_lease       lease = 0;
    b->acquire = sgi_model_acquire_wait(b->f->rt, b->f->plain, NULL, &lease, NULL);
    b->close = sgi_runtime_close(b->f->rt, 1, NULL);
    b->unregister = sgi_model_unregister(b->f->rt, b->f->plain, 1, NULL);
    b->lease_call = sgi_lease_call(b->f->rt, 1, NULL, 0, 1, NULL, NULL, NULL);
    b->wait = sgi_lease_tensor_wait(b->f->rt, 1, 0, 1, NULL);
}

static void try_in_start(void *user, sgi_stage *stage)
{
    (void)stage;
    try_to_block(user);
}

static void assert_all_deadlock(const struct blocked *b)
{
    assert_int_equal(b->acquire, SGI_E_DEADLOCK);
    assert_int_equal(b->close, SGI_E_DEADLOCK);
    assert_int_equal(b->unregister, SGI_E_DEADLOCK);
    assert_int_equal(b->lease_call, SGI_E_DEADLOCK);
    assert_int_equal(b->wait, SGI_E_DEADLOCK);
}

static void blocking_calls_from_callbacks_are_deadlocks(void **state)
{
    (void)state;
    struct fixture     f;
    sgi_runtime_config config = engine_config();
    char               out[4];
    size_t             bytes;
    set_up_with(&f, &config);
    struct blocked b = { .f = &f };
    f.engine.user = &b;
    f.engine.in_start = try_in_start;
    add(&f);

    sgi_lease lease = host_acquire(f.rt, f.model);
    assert_all_deadlock(&b);
    b = (struct blocked){ .f = &f };
    f.engine.in_call = try_to_block;
    assert_int_equal(host_call(f.rt, lease, NULL, 0, out, sizeof out, &bytes, &f.err), SGI_OK);
    assert_all_deadlock(&b);
    host_release(f.rt, lease);
    sgi_lease plain = host_acquire(f.rt, f.plain); /* this thread is nobody's callback */
    host_release(f.rt, plain);
    tear_down(&f);
}

/* ---- slow and hanging ---- */

static void a_slow_callback_delays_its_own_model_only(void **state)
{
    (void)state;
    static const enum engine_step steps[] = { ENGINE_PREPARE, ENGINE_PREFIX_FILL, ENGINE_START, ENGINE_STOP,
                                              ENGINE_DISCARD };

    for (size_t n = 0; n < sizeof steps / sizeof *steps; n++) {
        struct fixture     f;
        struct test_engine other;
        sgi_ticket         ticket;
        set_up(&f);
        test_engine_init(&other, true, true);
        sgi_model second = host_add(f.rt, "second", file.path, &other);

        if (steps[n] == ENGINE_STOP || steps[n] == ENGINE_DISCARD)
            host_release(f.rt, host_acquire(f.rt, f.model));
        gate_close(&f.engine.gates[steps[n]]);
        if (steps[n] == ENGINE_STOP || steps[n] == ENGINE_DISCARD)
            assert_int_equal(sgi_model_evict(f.rt, f.model, SGI_EVICT_ALL), SGI_OK);
        else
            assert_int_equal(sgi_model_acquire(f.rt, f.model, NULL, &ticket, NULL, NULL, NULL), SGI_OK);
        gate_wait_arrived(&f.engine.gates[steps[n]], 1);

        sgi_lease lease = host_acquire(f.rt, second);
        host_same_bytes(f.rt, second, lease, &file);
        host_release(f.rt, lease);
        assert_int_equal(sgi_model_unregister(f.rt, second, HOST_WAIT_MS, &f.err), SGI_OK);
        assert_int_equal(gate_passed(&f.engine.gates[steps[n]]), 0);
        gate_open(&f.engine.gates[steps[n]]);
        if (steps[n] != ENGINE_STOP && steps[n] != ENGINE_DISCARD)
            host_release(f.rt, host_next(f.rt).lease);
        test_engine_fini(&other);
        tear_down(&f);
    }
}

/* Neither do many: as many calls as may be open, and a model beside them still loads and answers. */
static void calls_at_their_maximum_delay_no_other_model(void **state)
{
    (void)state;
    enum { CALLS = 256 };
    static const struct test_request request = { .kind = REQUEST_POLL };
    struct fixture                   f;
    sgi_runtime_config               config = engine_config();
    sgi_lease                        leases[CALLS];
    sgi_call                         calls[CALLS];
    set_up_with(&f, &config);
    sgi_model_config mc = host_model("m", file.path, &f.engine);
    mc.leases_max = CALLS;
    f.model = host_register(f.rt, &mc);

    for (int n = 0; n < CALLS; n++) {
        leases[n] = host_acquire(f.rt, f.model);
        assert_int_equal(sgi_call_begin(f.rt, leases[n], &request, sizeof request, 0, &calls[n], &f.err), SGI_OK);
    }
    gate_wait_arrived(&f.engine.gates[ENGINE_CALL], CALLS);
    host_release(f.rt, host_acquire(f.rt, f.plain));
    for (int n = 0; n < CALLS; n++) {
        assert_int_equal(sgi_call_end(f.rt, calls[n]), SGI_OK);
        host_release(f.rt, leases[n]);
    }
    tear_down(&f);
}

static void a_hanging_callback_wedges_its_model_and_heals(void **state)
{
    (void)state;
    static const struct {
        enum engine_step step;
        uint32_t         named;
    } cases[] = {
        { ENGINE_PREPARE, SGI_STEP_PREPARE },
        { ENGINE_START, SGI_STEP_START },
        { ENGINE_STOP, SGI_STEP_STOP },
    };
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        struct fixture     f;
        sgi_runtime_config config = engine_config();
        sgi_lease          lease = 0;
        config.hang_timeout_ms = 50;
        set_up_with(&f, &config);
        add(&f);

        if (cases[n].step == ENGINE_STOP)
            host_release(f.rt, host_acquire(f.rt, f.model));
        gate_close(&f.engine.gates[cases[n].step]);
        if (cases[n].step == ENGINE_STOP)
            assert_int_equal(sgi_model_evict(f.rt, f.model, SGI_TIER_DISK), SGI_OK);
        assert_int_equal(host_acquire_fails(f.rt, f.model, &f.err), SGI_E_WEDGED);
        host_error_is(&f.err, SGI_E_WEDGED, cases[n].named, "'m'");
        assert_non_null(strstr(f.err.message, "50 ms"));
        host_wait_state(f.rt, f.model, SGI_MODEL_WEDGED);
        assert_int_equal(host_acquire_fails(f.rt, f.model, &f.err), SGI_E_WEDGED);
        assert_int_equal(sgi_model_try_acquire(f.rt, f.model, NULL, &lease), SGI_E_WOULD_BLOCK);
        if (cases[n].step != ENGINE_PREPARE)
            assert_true(host_state(f.rt, f.model).device_bytes > 0);          /* charged and quarantined */
        assert_int_equal(sgi_runtime_close(f.rt, 20, &f.err), SGI_E_TIMEOUT); /* it does not hang, and says who does */
        assert_non_null(strstr(f.err.message, "'m'"));
        gate_open(&f.engine.gates[cases[n].step]);
        tear_down(&f);

        set_up_with(&f, &config); /* and healing, in a runtime that is not closing */
        add(&f);
        if (cases[n].step == ENGINE_STOP)
            host_release(f.rt, host_acquire(f.rt, f.model));
        gate_close(&f.engine.gates[cases[n].step]);
        if (cases[n].step == ENGINE_STOP)
            assert_int_equal(sgi_model_evict(f.rt, f.model, SGI_TIER_DISK), SGI_OK);
        assert_int_equal(host_acquire_fails(f.rt, f.model, &f.err), SGI_E_WEDGED);
        host_release(f.rt, host_acquire(f.rt, f.plain)); /* everything else goes on */
        assert_int_equal(sgi_model_unregister(f.rt, f.plain, HOST_WAIT_MS, &f.err), SGI_OK);
        gate_open(&f.engine.gates[cases[n].step]);
        host_wait_state(f.rt, f.model, SGI_MODEL_COLD);
        host_wait_threads(f.rt, 1);
        works_again(&f);
        tear_down(&f);
    }
}

static void a_call_that_does_not_end_wedges_its_model(void **state)
{
    (void)state;
    struct fixture      f;
    sgi_runtime_config  config = engine_config();
    struct test_request request = { .kind = REQUEST_DEAF };
    sgi_call            call = 0;
    config.hang_timeout_ms = 50;
    set_up_with(&f, &config);
    add(&f);

    sgi_lease lease = host_acquire(f.rt, f.model);
    gate_close(&f.engine.gates[ENGINE_CALL]);
    assert_int_equal(sgi_call_begin(f.rt, lease, &request, sizeof request, 0, &call, &f.err), SGI_OK);
    gate_wait_arrived(&f.engine.gates[ENGINE_CALL], 1);
    assert_int_equal(sgi_call_end(f.rt, call), SGI_OK); /* from here on it may count as hung */
    host_release(f.rt, lease);
    host_wait_state(f.rt, f.model, SGI_MODEL_WEDGED);
    assert_int_equal(host_acquire_fails(f.rt, f.model, &f.err), SGI_E_WEDGED);
    host_error_is(&f.err, SGI_E_WEDGED, SGI_STEP_CALL, "'m'");
    assert_true(host_state(f.rt, f.model).device_bytes > 0);
    gate_open(&f.engine.gates[ENGINE_CALL]);
    host_wait_state(f.rt, f.model, SGI_MODEL_COLD);
    host_wait_threads(f.rt, 1);
    works_again(&f);
    tear_down(&f);
}

/* ---- prepare ---- */

static void prepare_runs_once_and_is_kept_until_it_is_given_back(void **state)
{
    (void)state;
    struct fixture     f;
    sgi_runtime_config config = engine_config();
    sgi_ticket         ticket;
    set_up_with(&f, &config);
    f.engine.prepared_bytes = 12345;
    sgi_model_config mc = host_model("m", file.path, &f.engine);
    mc.leases_max = 4;
    f.model = host_register(f.rt, &mc);
    assert_int_equal(test_engine_count(&f.engine, ENGINE_PREPARE), 0); /* not at register */

    for (int n = 0; n < 4; n++)
        assert_int_equal(sgi_model_acquire(f.rt, f.model, NULL, &ticket, NULL, NULL, NULL), SGI_OK);
    for (int n = 0; n < 4; n++)
        host_release(f.rt, host_next(f.rt).lease);
    assert_int_equal(test_engine_count(&f.engine, ENGINE_PREPARE), 1);
    assert_int_equal(host_info(f.rt).prepared_bytes, 12345);
    assert_int_equal(host_state(f.rt, f.model).prepared_bytes, 12345);
    assert_int_equal(sgi_model_evict(f.rt, f.model, SGI_TIER_DISK), SGI_OK);
    host_wait_state(f.rt, f.model, SGI_MODEL_COLD);
    assert_int_equal(host_info(f.rt).prepared_bytes, 12345);
    host_release(f.rt, host_acquire(f.rt, f.model));
    assert_int_equal(test_engine_count(&f.engine, ENGINE_PREPARE), 1);
    assert_int_equal(sgi_model_evict(f.rt, f.model, SGI_EVICT_ALL), SGI_OK);
    gate_wait_arrived(&f.engine.gates[ENGINE_DISCARD], 1);
    host_wait_threads(f.rt, 1);
    assert_int_equal(host_info(f.rt).prepared_bytes, 0);
    host_release(f.rt, host_acquire(f.rt, f.model));
    assert_int_equal(test_engine_count(&f.engine, ENGINE_PREPARE), 2);
    tear_down(&f);
    assert_int_equal(test_engine_count(&f.engine, ENGINE_DISCARD), 2);
}

/* Who comes while it still runs for somebody who has left joins it. */
static void a_prepare_that_is_out_is_joined(void **state)
{
    (void)state;
    struct fixture f;
    sgi_ticket     ticket;
    set_up(&f);

    gate_close(&f.engine.gates[ENGINE_PREPARE]);
    for (int n = 0; n < 3; n++) {
        assert_int_equal(sgi_model_acquire(f.rt, f.model, NULL, &ticket, NULL, NULL, NULL), SGI_OK);
        gate_wait_arrived(&f.engine.gates[ENGINE_PREPARE], 1);
        assert_int_equal(sgi_acquire_cancel(f.rt, ticket), SGI_OK);
        assert_int_equal(host_next(f.rt).status, SGI_E_CANCELED);
        host_wait_state(f.rt, f.model, SGI_MODEL_COLD);
    }
    assert_int_equal(sgi_model_acquire(f.rt, f.model, NULL, &ticket, NULL, NULL, NULL), SGI_OK);
    gate_open(&f.engine.gates[ENGINE_PREPARE]);
    sgi_completion c = host_next(f.rt);
    assert_int_equal(c.status, SGI_OK);
    host_release(f.rt, c.lease);
    assert_int_equal(test_engine_count(&f.engine, ENGINE_PREPARE), 1);
    tear_down(&f);
}

static int make_files(void **state)
{
    (void)state;
    const struct test_tensor tensors[] = { { "a", MIB(1) + 3 }, { "none", 0 }, { "b", KIB(300) } };
    test_folder_make(&folder);
    test_file_make(&file, &folder, "a.safetensors", 0, tensors, 3);
    return 0;
}

static int remove_files(void **state)
{
    (void)state;
    test_file_free(&file);
    test_folder_remove(&folder);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_callback_that_fails_is_named_and_undone),
        cmocka_unit_test(a_prefix_that_cannot_be_sized_is_no_model),
        cmocka_unit_test(a_status_that_is_none_is_an_engine_failure),
        cmocka_unit_test(a_load_that_fails_ends_the_starts_waits),
        cmocka_unit_test(what_is_not_an_engines_to_say_is_an_engine_failure),
        cmocka_unit_test(a_back_off_that_is_given_is_not_cut_by_a_default),
        cmocka_unit_test(engine_memory_beyond_the_estimate_is_reserved_or_refused),
        cmocka_unit_test(the_stage_refuses_what_is_not_there),
        cmocka_unit_test(an_engine_sees_the_tensors_of_its_source),
        cmocka_unit_test(a_start_nobody_wants_any_more_is_told),
        cmocka_unit_test(blocking_calls_from_callbacks_are_deadlocks),
        cmocka_unit_test(a_slow_callback_delays_its_own_model_only),
        cmocka_unit_test(calls_at_their_maximum_delay_no_other_model),
        cmocka_unit_test(a_hanging_callback_wedges_its_model_and_heals),
        cmocka_unit_test(a_call_that_does_not_end_wedges_its_model),
        cmocka_unit_test(prepare_runs_once_and_is_kept_until_it_is_given_back),
        cmocka_unit_test(a_prepare_that_is_out_is_joined),
    };
    return cmocka_run_group_tests_name("engine", tests, make_files, remove_files);
}
