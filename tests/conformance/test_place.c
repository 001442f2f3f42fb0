/* SPDX-License-Identifier: Apache-2.0 */
/* What the runtime must do over any place: the same suite over the local one and over the test place, which is as
 * awkward as places get. Time is the test's. What only an awkward place does is in test_place_awkward.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "place_fixture.h"

static const struct subject local = { "local", &sgi__place_local, 0 };
static const struct subject awkward = { "test", &test_place_ops, 1 };
static const struct subject other = { "test, another seed", &test_place_ops, 77 };

/* ------------------------------------------------------------- up and down */

static void a_cold_load_gives_the_files_bytes(void **state)
{
    struct fixture f;
    set_up(&f, state);

    sgi_lease lease = host_acquire(f.rt, f.model), plain = host_acquire(f.rt, f.plain);
    host_same_bytes(f.rt, f.model, lease, &f.file);
    host_same_bytes(f.rt, f.plain, plain, &f.plain_file);
    assert_int_equal(host_timing(f.rt, lease).tier, SGI_TIER_DISK);
    assert_int_equal(host_timing(f.rt, lease).bytes, f.file.bytes - f.file.data_offset);
    host_release(f.rt, lease);
    host_release(f.rt, plain);
    tear_down(&f);
}

static void idle_models_go_to_zero_after_their_time_and_not_before(void **state)
{
    struct fixture     f;
    sgi_runtime_config config = place_config();
    config.dram_bytes_max = SGI_NONE;
    set_up_with(&f, *state, &config);

    sgi_lease lease = host_acquire(f.rt, f.model);
    uint64_t  bytes = device_bytes(&f);
    advance(&f, 100 * IDLE_MS); /* held: its timer does not run */
    assert_int_equal(device_bytes(&f), bytes);
    host_release(f.rt, lease);
    assert_int_equal(host_state(f.rt, f.model).idle_left_ms, IDLE_MS);
    advance(&f, IDLE_MS - 1);
    assert_int_equal(host_state(f.rt, f.model).state, SGI_MODEL_READY);
    advance(&f, 1);
    host_wait_state(f.rt, f.model, SGI_MODEL_COLD);
    assert_int_equal(device_bytes(&f), 0);
    assert_int_equal(host_info(f.rt).dram_bytes, 0);
    host_wait_threads(f.rt, 1);
    assert_int_equal(atomic_load(&f.engine.live), 0);

    assert_int_equal(host_device(f.rt, 0).context, SGI_CONTEXT_OURS); /* it lingers */
    advance(&f, LINGER_MS - 1);
    assert_int_equal(host_device(f.rt, 0).context, SGI_CONTEXT_OURS);
    advance(&f, 1);
    test_wait_until(context_closed, f.rt, "the context does not close");
    tear_down(&f);
}

static void what_is_kept_in_dram_is_adopted_without_reading(void **state)
{
    struct fixture f;
    set_up(&f, state);
    sgi_model_info info = { .struct_size = sizeof info };
    sgi_model_describe(f.rt, f.model, &info);

    host_release(f.rt, host_acquire(f.rt, f.model));
    advance(&f, IDLE_MS);
    host_wait_state(f.rt, f.model, SGI_MODEL_COLD);
    assert_int_equal(device_bytes(&f), 0);
    assert_int_equal(host_state(f.rt, f.model).dram_bytes, info.image_bytes); /* once, and here only */
    assert_int_equal(host_state(f.rt, f.model).tier, SGI_TIER_DRAM);
    host_wait_threads(f.rt, 1);

    int fills = test_engine_count(&f.engine, ENGINE_PREFIX_FILL);
    unlink(f.file.path); /* what was verified and is ours does not need the file any more */
    sgi_lease lease = host_acquire(f.rt, f.model);
    host_same_bytes(f.rt, f.model, lease, &f.file);
    assert_int_equal(host_timing(f.rt, lease).tier, SGI_TIER_DRAM);
    assert_int_equal(host_state(f.rt, f.model).dram_bytes, 0);
    assert_int_equal(device_bytes(&f), info.image_bytes + MIB(1));
    assert_int_equal(test_engine_count(&f.engine, ENGINE_PREFIX_FILL), fills); /* it is in the image already */
    host_release(f.rt, lease);
    tear_down(&f);
}

static bool prefix_is_filled(struct fixture *f, sgi_lease lease)
{
    sgi_image image = { .struct_size = sizeof image };

    assert_int_equal(sgi_lease_image(f->rt, lease, 0, &image, NULL), SGI_OK);
    assert_int_equal(image.file_offset, f->file.data_offset);
    assert_int_equal(image.prefix_bytes % 4096, f->file.data_offset % 4096);
    assert_true(image.prefix_bytes >= f->engine.prefix_bytes);
    assert_int_equal(image.bytes, image.prefix_bytes + f->file.bytes - f->file.data_offset);
    for (uint64_t at = 0; at < image.prefix_bytes; at++)
        if (((const uint8_t *)image.base)[at] != test_engine_prefix_byte(0, at))
            return false;
    return memcmp((const uint8_t *)image.base + image.prefix_bytes, f->file.data + f->file.data_offset,
                  f->file.bytes - f->file.data_offset) == 0;
}

static void the_prefix_stands_before_the_data_and_survives_dram(void **state)
{
    struct fixture f;
    set_up(&f, state);

    sgi_lease lease = host_acquire(f.rt, f.model);
    assert_true(prefix_is_filled(&f, lease));
    host_release(f.rt, lease);
    advance(&f, IDLE_MS);
    host_wait_state(f.rt, f.model, SGI_MODEL_COLD);
    lease = host_acquire(f.rt, f.model);
    assert_true(prefix_is_filled(&f, lease));
    host_release(f.rt, lease);
    tear_down(&f);
}

static int position(struct fixture *f, enum engine_step step)
{
    unsigned count = atomic_load(&f->engine.order_count);
    for (unsigned n = 0; n < count; n++)
        if (f->engine.order[n] == step)
            return (int)n;
    fail_msg("a step of the engine did not happen");
    return -1;
}

static void the_engines_callbacks_come_in_their_order(void **state)
{
    struct fixture f;
    set_up(&f, state);
    struct test_request request = { .kind = REQUEST_EMIT, .pieces = 1, .piece_bytes = 5 };
    char                out[16];
    size_t              bytes;
    sgi_error           err = { .struct_size = sizeof err };

    sgi_lease lease = host_acquire(f.rt, f.model);
    assert_int_equal(host_info(f.rt).prepared_bytes, 321);
    assert_int_equal(host_call(f.rt, lease, &request, sizeof request, out, sizeof out, &bytes, &err), SGI_OK);
    host_release(f.rt, lease);
    assert_int_equal(sgi_model_evict(f.rt, f.model, SGI_TIER_DISK), SGI_OK);
    host_wait_state(f.rt, f.model, SGI_MODEL_COLD);
    assert_int_equal(atomic_load(&f.engine.prepared_live), 1); /* kept while the model is cold */
    host_release(f.rt, host_acquire(f.rt, f.model));
    assert_int_equal(test_engine_count(&f.engine, ENGINE_PREPARE), 1);
    assert_int_equal(test_engine_count(&f.engine, ENGINE_START), 2);
    assert_int_equal(sgi_model_unregister(f.rt, f.model, HOST_WAIT_MS, &err), SGI_OK);

    assert_int_equal(position(&f, ENGINE_PREFIX_BYTES), 0);
    assert_true(position(&f, ENGINE_PREPARE) < position(&f, ENGINE_START));
    assert_true(position(&f, ENGINE_START) < position(&f, ENGINE_CALL));
    assert_true(position(&f, ENGINE_CALL) < position(&f, ENGINE_STOP));
    assert_int_equal(test_engine_count(&f.engine, ENGINE_STOP), 2);
    assert_int_equal(test_engine_count(&f.engine, ENGINE_DISCARD), 1);
    assert_int_equal(position(&f, ENGINE_DISCARD), atomic_load(&f.engine.order_count) - 1);
    assert_int_equal(host_info(f.rt).prepared_bytes, 0);
    tear_down(&f);
}

static bool dropped(void *user)
{
    struct fixture *f = user;
    return host_info(f->rt).dram_bytes == 0;
}

static void evict_and_prefetch_move_between_the_tiers(void **state)
{
    struct fixture f;
    set_up(&f, state);
    sgi_ticket     ticket;
    sgi_completion c;

    host_release(f.rt, host_acquire(f.rt, f.model));
    assert_int_equal(sgi_model_evict(f.rt, f.model, SGI_TIER_DRAM), SGI_OK);
    host_wait_state(f.rt, f.model, SGI_MODEL_COLD);
    assert_int_equal(host_state(f.rt, f.model).tier, SGI_TIER_DRAM);
    assert_int_equal(sgi_model_evict(f.rt, f.model, SGI_TIER_DISK), SGI_OK);
    test_wait_until(dropped, &f, "a residence does not go");
    assert_int_equal(host_state(f.rt, f.model).tier, SGI_TIER_DISK);

    int starts = test_engine_count(&f.engine, ENGINE_START);
    assert_int_equal(sgi_model_prefetch(f.rt, f.model, SGI_TIER_DRAM, NULL, &ticket, NULL, NULL, NULL), SGI_OK);
    c = host_next(f.rt);
    assert_true(c.kind == SGI_COMPLETION_PREFETCH && c.ticket == ticket && c.lease == 0);
    assert_int_equal(c.status, SGI_OK);
    host_wait_state(f.rt, f.model, SGI_MODEL_COLD);
    assert_int_equal(host_state(f.rt, f.model).tier, SGI_TIER_DRAM);
    assert_int_equal(device_bytes(&f), 0);
    assert_int_equal(test_engine_count(&f.engine, ENGINE_START), starts);

    assert_int_equal(sgi_model_prefetch(f.rt, f.model, SGI_TIER_DEVICE, NULL, &ticket, NULL, NULL, NULL), SGI_OK);
    assert_int_equal(host_next(f.rt).status, SGI_OK);
    assert_int_equal(host_state(f.rt, f.model).state, SGI_MODEL_READY); /* its idle timer runs */
    sgi_lease lease = 0;
    assert_int_equal(sgi_model_try_acquire(f.rt, f.model, NULL, &lease), SGI_OK);
    host_same_bytes(f.rt, f.model, lease, &f.file);
    assert_int_equal(sgi_model_evict(f.rt, f.model, SGI_TIER_DISK), SGI_E_BUSY);
    host_release(f.rt, lease);
    advance(&f, IDLE_MS);
    host_wait_state(f.rt, f.model, SGI_MODEL_COLD);

    assert_int_equal(sgi_model_evict(f.rt, f.model, SGI_EVICT_ALL), SGI_OK);
    test_wait_until(dropped, &f, "a residence does not go");
    gate_wait_arrived(&f.engine.gates[ENGINE_DISCARD], 1);
    tear_down(&f);
}

static void a_pinned_model_stays_until_the_pin_comes_off(void **state)
{
    struct fixture f;
    set_up(&f, state);

    assert_int_equal(sgi_model_pin(f.rt, f.plain, SGI_TIER_DEVICE, NULL), SGI_OK);
    assert_int_equal(host_state(f.rt, f.plain).state, SGI_MODEL_COLD); /* it does not load */
    host_release(f.rt, host_acquire(f.rt, f.plain));
    advance(&f, 100 * IDLE_MS);
    assert_int_equal(host_state(f.rt, f.plain).state, SGI_MODEL_READY);
    assert_int_equal(host_state(f.rt, f.plain).pinned_tier, SGI_TIER_DEVICE);
    assert_int_equal(host_state(f.rt, f.plain).idle_left_ms, SGI_IDLE_NEVER);
    assert_int_equal(sgi_model_pin(f.rt, f.plain, SGI_TIER_DISK, NULL), SGI_OK);
    advance(&f, IDLE_MS);
    host_wait_state(f.rt, f.plain, SGI_MODEL_COLD);
    tear_down(&f);
}

/* ------------------------------------------------------------------- engine */

static void engine_memory_is_charged_and_given_back(void **state)
{
    struct fixture f;
    set_up(&f, state);
    sgi_model_info info = { .struct_size = sizeof info };
    sgi_model_describe(f.rt, f.model, &info);
    assert_int_equal(info.engine_bytes, MIB(1));

    f.engine.report_bytes = MIB(2);
    f.engine.alloc_bytes = MIB(3) - 5;
    sgi_lease lease = host_acquire(f.rt, f.model);
    assert_int_equal(host_device(f.rt, 0).bytes_engine, MIB(5));
    assert_int_equal(host_device(f.rt, 0).bytes_used, info.image_bytes + MIB(5));
    assert_int_equal(host_state(f.rt, f.model).device_bytes, info.image_bytes + MIB(5));
    host_release(f.rt, lease);
    advance(&f, IDLE_MS);
    host_wait_state(f.rt, f.model, SGI_MODEL_COLD);
    assert_int_equal(host_device(f.rt, 0).bytes_used, 0);
    assert_int_equal(host_device(f.rt, 0).bytes_engine, 0);
    sgi_model_describe(f.rt, f.model, &info);
    assert_int_equal(info.engine_bytes, MIB(5)); /* what the next start reserves */

    sgi_error err = { .struct_size = sizeof err };
    f.engine.report_bytes = UINT64_MAX;
    f.engine.alloc_bytes = MIB(16);
    sgi__fault_plan(SGI__FAULT_MAP, 1, UINT64_MAX, ENOMEM); /* from DRAM: the engine's is the only memory it takes */
    assert_int_equal(host_acquire_fails(f.rt, f.model, &err), SGI_E_DEVICE_MEMORY);
    assert_int_equal(sgi__fault_passed(SGI__FAULT_MAP), 1);
    sgi__fault_clear();
    sgi_model_describe(f.rt, f.model, &info);
    assert_int_equal(info.engine_bytes, MIB(5)); /* what it did not get is not charged, now or later */
    f.engine.alloc_bytes = 0;
    host_release(f.rt, host_acquire(f.rt, f.model));
    assert_int_equal(host_device(f.rt, 0).bytes_engine, MIB(5));
    tear_down(&f);
}

static void pieces_come_as_they_were_emitted(void **state)
{
    struct fixture f;
    set_up(&f, state);
    struct test_request request = { .kind = REQUEST_EMIT, .pieces = 400, .piece_bytes = 1023 };
    size_t              room = MIB(1), bytes = 0;
    uint8_t            *out = malloc(room);
    sgi_error           err = { .struct_size = sizeof err };

    sgi_lease lease = host_acquire(f.rt, f.model);
    assert_int_equal(host_call(f.rt, lease, &request, sizeof request, out, room, &bytes, &err), SGI_OK);
    assert_int_equal(bytes, 400 * 1023);
    for (uint32_t n = 0; n < 400; n++)
        for (uint32_t at = 0; at < 1023; at++)
            if (out[n * 1023 + at] != test_engine_piece_byte(n, at))
                fail_msg("byte %u of piece %u", at, n);
    host_release(f.rt, lease);
    free(out);
    tear_down(&f);
}

static void a_reader_that_does_not_read_holds_the_engine_up_and_can_leave(void **state)
{
    struct fixture f;
    set_up(&f, state);
    struct test_request request = { .kind = REQUEST_UNTIL_CANCELED };
    sgi_error           err = { .struct_size = sizeof err };
    sgi_call            call = 0;
    char                piece[8];
    size_t              got;

    sgi_lease lease = host_acquire(f.rt, f.model);
    assert_int_equal(sgi_call_begin(f.rt, lease, &request, sizeof request, 5, &call, &err), SGI_OK);
    assert_int_equal(host_next(f.rt).kind, SGI_COMPLETION_READABLE);
    assert_int_equal(sgi_call_read(f.rt, call, piece, sizeof piece, &got, &err), SGI_OK);
    assert_int_equal(sgi_call_cancel(f.rt, call), SGI_OK);
    sgi_completion c = host_next(f.rt);
    while (c.kind == SGI_COMPLETION_READABLE)
        c = host_next(f.rt);
    assert_true(c.kind == SGI_COMPLETION_CALL && c.call == call && c.tag == 5 && c.status == SGI_E_CANCELED);
    assert_int_equal(sgi_lease_release(f.rt, lease), SGI_E_BUSY);
    assert_int_equal(sgi_call_end(f.rt, call), SGI_OK);
    host_release(f.rt, lease);
    tear_down(&f);
}

static void a_call_given_up_keeps_its_instance_busy_until_it_is_back(void **state)
{
    struct fixture f;
    set_up(&f, state);
    struct test_request request = { .kind = REQUEST_DEAF };
    sgi_error           err = { .struct_size = sizeof err };
    sgi_call            call = 0;

    sgi_lease lease = host_acquire(f.rt, f.model);
    gate_close(&f.engine.gates[ENGINE_CALL]);
    assert_int_equal(sgi_call_begin(f.rt, lease, &request, sizeof request, 0, &call, &err), SGI_OK);
    gate_wait_arrived(&f.engine.gates[ENGINE_CALL], 1);
    assert_int_equal(sgi_call_end(f.rt, call), SGI_OK);
    assert_int_equal(sgi_call_end(f.rt, call), SGI_E_STALE);
    host_release(f.rt, lease);
    advance(&f, HANG_MS - 1);
    assert_int_equal(host_state(f.rt, f.model).state, SGI_MODEL_BUSY);
    gate_open(&f.engine.gates[ENGINE_CALL]);
    host_wait_state(f.rt, f.model, SGI_MODEL_READY);
    advance(&f, IDLE_MS);
    host_wait_state(f.rt, f.model, SGI_MODEL_COLD);
    tear_down(&f);
}

/* ----------------------------------------------------------------- failures */

/* The next acquire fails with `code` at `step`, names the model or its file, and leaves nothing; once the cause is gone
 * it works. */
static void fails_then_works(struct fixture *f, sgi_status code, uint32_t step, const char *names)
{
    sgi_error err;
    assert_int_equal(host_acquire_fails(f->rt, f->model, &err), code);
    host_error_is(&err, code, step, names);
    host_wait_state(f->rt, f->model, SGI_MODEL_COLD);
    assert_int_equal(device_bytes(f), 0); /* bytes that were loaded and verified may have stayed in DRAM */
    assert_int_equal(host_state(f->rt, f->model).last_error, code);
    assert_int_equal(atomic_load(&f->engine.live), 0);
    for (int n = 0; n < ENGINE_STEPS; n++)
        atomic_store(&f->engine.fail[n], SGI_OK);
    sgi__fault_clear();
    host_wait_threads(f->rt, 1); /* nothing is out that could count as hung: */
    advance(f, 60000);           /* past any back-off */
    sgi_lease lease = host_acquire(f->rt, f->model);
    host_same_bytes(f->rt, f->model, lease, &f->file);
    assert_int_equal(host_state(f->rt, f->model).last_error, SGI_OK);
    host_release(f->rt, lease);
    assert_int_equal(sgi_model_evict(f->rt, f->model, SGI_EVICT_ALL), SGI_OK);
    host_wait_state(f->rt, f->model, SGI_MODEL_COLD);
    test_wait_until(dropped, f, "a residence does not go");
}

static void each_step_that_fails_says_so_and_leaves_nothing(void **state)
{
    struct fixture f;
    set_up(&f, state);

    atomic_store(&f.engine.fail[ENGINE_PREPARE], SGI_E_ENGINE);
    fails_then_works(&f, SGI_E_ENGINE, SGI_STEP_PREPARE, "'m'");
    atomic_store(&f.engine.fail[ENGINE_PREFIX_FILL], SGI_E_UNSUPPORTED);
    fails_then_works(&f, SGI_E_UNSUPPORTED, SGI_STEP_PREFIX, "'m'");
    atomic_store(&f.engine.fail[ENGINE_START], SGI_E_ENGINE);
    fails_then_works(&f, SGI_E_ENGINE, SGI_STEP_START, "'m'");
    sgi__fault_plan(SGI__FAULT_RESERVE, 1, UINT64_MAX, 1);
    fails_then_works(&f, SGI_E_DEVICE_MEMORY, SGI_STEP_MEMORY, "'m'");
    sgi__fault_plan(SGI__FAULT_MAP, 1, UINT64_MAX, 12);
    fails_then_works(&f, SGI_E_DEVICE_MEMORY, SGI_STEP_MEMORY, "'m'");
    sgi__fault_plan(SGI__FAULT_OPEN, 1, UINT64_MAX, 5);
    fails_then_works(&f, SGI_E_IO, SGI_STEP_OPEN, "engine.safetensors");
    sgi__fault_plan(SGI__FAULT_READ, 1, UINT64_MAX, 5);
    fails_then_works(&f, SGI_E_IO, SGI_STEP_READ, "engine.safetensors");
    tear_down(&f);
}

static void an_engine_that_says_nothing_is_spoken_for(void **state)
{
    struct fixture f;
    set_up(&f, state);
    f.engine.silent = true;

    atomic_store(&f.engine.fail[ENGINE_START], SGI_E_ENGINE);
    fails_then_works(&f, SGI_E_ENGINE, SGI_STEP_START, "'m'");
    atomic_store(&f.engine.fail[ENGINE_PREPARE], 12345); /* no status of ours */
    fails_then_works(&f, SGI_E_ENGINE, SGI_STEP_PREPARE, "'m'");
    tear_down(&f);
}

static void a_context_that_does_not_open_is_told(void **state)
{
    struct fixture f;
    set_up(&f, state);
    sgi__fault_plan(SGI__FAULT_CONTEXT, 1, UINT64_MAX, 1);
    fails_then_works(&f, SGI_E_DEVICE, SGI_STEP_CONTEXT, "host:0");
    tear_down(&f);
}

static void a_failed_call_leaves_the_lease_good(void **state)
{
    struct fixture f;
    set_up(&f, state);
    struct test_request request = { .kind = REQUEST_EMIT, .pieces = 2, .piece_bytes = 3, .status = SGI_E_UNSUPPORTED };
    char                out[16];
    size_t              bytes;
    sgi_error           err = { .struct_size = sizeof err };

    sgi_lease lease = host_acquire(f.rt, f.model);
    assert_int_equal(host_call(f.rt, lease, &request, sizeof request, out, sizeof out, &bytes, &err),
                     SGI_E_UNSUPPORTED);
    assert_int_equal(bytes, 6); /* its pieces come before its end */
    host_error_is(&err, SGI_E_UNSUPPORTED, SGI_STEP_CALL, "'m'");
    request.status = SGI_OK;
    assert_int_equal(host_call(f.rt, lease, &request, sizeof request, out, sizeof out, &bytes, &err), SGI_OK);
    host_release(f.rt, lease);
    tear_down(&f);
}

/* The next completion, with the clock moved on until it comes: a start is timed from when its weights are there, and
 * when that is depends on the disk. */
static sgi_completion next_in_time(struct fixture *f)
{
    sgi_completion c = { .struct_size = sizeof c };
    struct pollfd  poller = { .events = POLLIN };

    assert_int_equal(sgi_completion_fd(f->rt, &poller.fd), SGI_OK);
    for (int n = 0; n < 6000; n++) {
        advance(f, HANG_MS);
        if (poll(&poller, 1, 10) == 1)
            break;
    }
    assert_int_equal(sgi_completion_next(f->rt, &c), SGI_OK);
    return c;
}

static void a_callback_that_hangs_wedges_its_model_alone_and_heals(void **state)
{
    static const struct {
        enum engine_step hangs;
        uint32_t         named;
        bool             again; /* the second start: what was kept of the first is not out beside it */
        bool             ending;
        uint32_t         evict;
    } cases[] = {
        { ENGINE_PREPARE, SGI_STEP_PREPARE, false, false, 0 },
        { ENGINE_PREFIX_FILL, SGI_STEP_PREFIX, true, false, SGI_TIER_DISK },
        { ENGINE_START, SGI_STEP_START, true, false, SGI_TIER_DRAM },
        { ENGINE_STOP, SGI_STEP_STOP, false, true, SGI_TIER_DISK },
        { ENGINE_DISCARD, SGI_STEP_STOP, false, true, SGI_EVICT_ALL },
    };

    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        struct fixture f;
        sgi_ticket     ticket;
        sgi_error      err;
        set_up(&f, state);

        struct gate *gate = &f.engine.gates[cases[n].hangs];
        if (cases[n].again || cases[n].ending)
            host_release(f.rt, host_acquire(f.rt, f.model));
        if (cases[n].again) {
            assert_int_equal(sgi_model_evict(f.rt, f.model, cases[n].evict), SGI_OK);
            host_wait_state(f.rt, f.model, SGI_MODEL_COLD);
        }
        gate_close(gate);
        uint32_t arrived = gate_arrived(gate);
        if (cases[n].ending) {
            assert_int_equal(sgi_model_evict(f.rt, f.model, cases[n].evict), SGI_OK);
            gate_wait_arrived(gate, arrived + 1);
        }
        assert_int_equal(sgi_model_acquire(f.rt, f.model, NULL, &ticket, NULL, NULL, NULL), SGI_OK);
        gate_wait_arrived(gate, arrived + 1);
        sgi_completion c = next_in_time(&f);
        assert_int_equal(c.status, SGI_E_WEDGED);
        host_error_is(&c.error, SGI_E_WEDGED, cases[n].named, "'m'");
        host_wait_state(f.rt, f.model, SGI_MODEL_WEDGED);
        assert_int_equal(host_acquire_fails(f.rt, f.model, &err), SGI_E_WEDGED);
        host_release(f.rt, host_acquire(f.rt, f.plain)); /* everything else goes on */

        sgi_error close_err = { .struct_size = sizeof close_err };
        assert_int_equal(sgi_model_unregister(f.rt, f.plain, HOST_WAIT_MS, &close_err), SGI_OK);
        gate_open(gate);
        host_wait_state(f.rt, f.model, SGI_MODEL_COLD);
        advance(&f, 60000);
        sgi_lease lease = host_acquire(f.rt, f.model);
        host_same_bytes(f.rt, f.model, lease, &f.file);
        host_release(f.rt, lease);
        tear_down(&f);
    }
}

static void close_drains_what_is_on_its_way(void **state)
{
    struct fixture f;
    set_up(&f, state);
    sgi_ticket ticket;

    gate_close(&f.engine.gates[ENGINE_START]);
    assert_int_equal(sgi_model_acquire(f.rt, f.model, NULL, &ticket, NULL, NULL, NULL), SGI_OK);
    gate_wait_arrived(&f.engine.gates[ENGINE_START], 1);
    sgi_error err = { .struct_size = sizeof err };
    assert_int_equal(sgi_runtime_close(f.rt, 1, &err), SGI_E_TIMEOUT);
    assert_non_null(strstr(err.message, "'m'"));
    sgi_completion c = host_next(f.rt);
    assert_true(c.ticket == ticket && c.status == SGI_E_CLOSED);
    gate_open(&f.engine.gates[ENGINE_START]);
    tear_down(&f);
}

#define OVER_ALL(test) OVER(local, test), OVER(awkward, test), OVER(other, test)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        OVER_ALL(a_cold_load_gives_the_files_bytes),
        OVER_ALL(idle_models_go_to_zero_after_their_time_and_not_before),
        OVER_ALL(what_is_kept_in_dram_is_adopted_without_reading),
        OVER_ALL(the_prefix_stands_before_the_data_and_survives_dram),
        OVER_ALL(the_engines_callbacks_come_in_their_order),
        OVER_ALL(evict_and_prefetch_move_between_the_tiers),
        OVER_ALL(a_pinned_model_stays_until_the_pin_comes_off),
        OVER_ALL(engine_memory_is_charged_and_given_back),
        OVER_ALL(pieces_come_as_they_were_emitted),
        OVER_ALL(a_reader_that_does_not_read_holds_the_engine_up_and_can_leave),
        OVER_ALL(a_call_given_up_keeps_its_instance_busy_until_it_is_back),
        OVER_ALL(each_step_that_fails_says_so_and_leaves_nothing),
        OVER_ALL(an_engine_that_says_nothing_is_spoken_for),
        OVER_ALL(a_context_that_does_not_open_is_told),
        OVER_ALL(a_failed_call_leaves_the_lease_good),
        OVER_ALL(a_callback_that_hangs_wedges_its_model_alone_and_heals),
        OVER_ALL(close_drains_what_is_on_its_way),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("place", tests, make_folder, remove_folder);
}
