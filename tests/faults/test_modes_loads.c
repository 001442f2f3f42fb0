/* SPDX-License-Identifier: Apache-2.0 */
/* Failure modes of starts that fail: what is left of them, what is said, and what the next request meets. README.md is
 * the list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "modes.h"

enum { CHUNKS_MAX = 200, BAD_DISK = 5 }; /* failures in a row, with pauses, before somebody mends it */
#if defined(SGI_SANITIZES_THREAD)
enum { STRIDE = 5 }; /* it is many times slower, and looks for something else */
#else
enum { STRIDE = 1 };
#endif

static bool uring_works(void)
{
    sgi_feature uring = { .struct_size = sizeof uring };
    return sgi_feature_at(0, &uring) == SGI_OK && uring.usable;
}

/* ---- 3 ---- */

/* How a load dies. */
struct death {
    const char           *name;
    enum sgi__fault_point point;
    int                   value;
    sgi_status            status;
    uint32_t              step, flags, io_engine;
    uint32_t              times_min; /* it can die at so many places at least, or this is not the load it should be */
};

static sgi_model add_checked(struct modes *m, const struct death *d, sgi_tensor_check *checks)
{
    static const char *const names[] = { "a", "b", "c", "d" };
    sgi_model                plain = host_add(m->rt, "plain", modes_shards.path, NULL);
    for (int n = 0; n < 4; n++) {
        sgi_tensor t = { .struct_size = sizeof t };
        assert_int_equal(sgi_model_tensor_find(m->rt, plain, names[n], &t), SGI_OK);
        checks[n].name = names[n];
        checks[n].xxh3 = test_xxh3(modes_shards.shards[t.part].data + t.file_offset, t.bytes);
    }
    sgi_model_config mc = host_model("m", modes_shards.path, &m->engine);
    mc.flags = d->flags;
    mc.checks = checks;
    mc.checks_count = 4;
    return host_register(m->rt, &mc);
}

static void nothing_is_left(struct modes *m, sgi_model model, uint32_t descriptors)
{
    modes_evict(m, model); /* what was prepared is no part of the load */
    modes_hold_nothing(m);
    assert_int_equal(atomic_load(&m->engine.live), 0);
    assert_int_equal(modes_entries("/proc/self/fd"), descriptors);
    assert_int_equal(modes_image_maps(), 0);
}

/* False: the load has not so many chunks, and went well. */
static bool dies_at(struct modes *m, sgi_model model, const struct death *d, uint64_t k, uint32_t descriptors)
{
    sgi_lease lease = 0;

    sgi__fault_plan(d->point, k, UINT64_MAX, d->value);
    m->err = (sgi_error)SGI_ERROR_INIT;
    sgi_status st = sgi_model_acquire_wait(m->rt, model, NULL, &lease, &m->err);
    bool       reached = sgi__fault_passed(d->point) >= k;
    sgi__fault_clear();
    if (!reached) {
        assert_int_equal(st, SGI_OK);
        host_release(m->rt, lease);
        return false;
    }
    assert_int_equal(lease, 0);
    if (st != d->status)
        fail_msg("%s %llu: %s: %s", d->name, (unsigned long long)k, sgi_status_name(st), m->err.message);
    host_error_is(&m->err, d->status, d->step, "'m'");
    nothing_is_left(m, model, descriptors);
    lease = host_acquire(m->rt, model);
    host_same_bytes(m->rt, model, lease, modes_shards.shards);
    host_release(m->rt, lease);
    nothing_is_left(m, model, descriptors);
    return true;
}

/* 3. vLLM #34600: the memory gives out in the middle of waking up; what was mapped until then stays mapped, is known
 * to nobody, and the next try has even less. */
static void mode_03_a_load_that_dies_at_any_chunk_leaves_nothing(void **state)
{
    const struct death deaths[] = {
        { "read", SGI__FAULT_READ, EIO, SGI_E_IO, SGI_STEP_READ, 0, SGI_IO_THREADS, 15 },
        { "read by uring", SGI__FAULT_READ, EIO, SGI_E_IO, SGI_STEP_READ, SGI_IMAGE_FD, SGI_IO_URING, 15 },
        { "bytes", SGI__FAULT_CORRUPT, 1, SGI_E_CHECK, SGI_STEP_VERIFY, 0, SGI_IO_AUTO, 15 },
        { "page", SGI__FAULT_TOUCH, ENOMEM, SGI_E_DEVICE_MEMORY, SGI_STEP_MEMORY, 0, SGI_IO_AUTO, 15 },
        { "part", SGI__FAULT_MAP, ENOMEM, SGI_E_DEVICE_MEMORY, SGI_STEP_MEMORY, SGI_IMAGE_FD, SGI_IO_AUTO, 2 },
        { "part's file", SGI__FAULT_MEMFD, EMFILE, SGI_E_SYSTEM, SGI_STEP_MEMORY, SGI_IMAGE_FD, SGI_IO_AUTO, 2 },
        { "shard", SGI__FAULT_OPEN, EMFILE, SGI_E_IO, SGI_STEP_OPEN, 0, SGI_IO_AUTO, 2 },
    };
    (void)state;
    for (size_t n = 0; n < sizeof deaths / sizeof *deaths; n++) {
        const struct death *d = &deaths[n];
        struct modes        m;
        sgi_tensor_check    checks[4];
        sgi_runtime_config  config = modes_config(1, MIB(8));
        uint64_t            k = 1;
        if (d->io_engine == SGI_IO_URING && !uring_works())
            continue;
        config.io_engine = d->io_engine;
        config.read_block_bytes = KIB(256);
        modes_open(&m, &config, NULL);
        sgi_model model = add_checked(&m, d, checks);
        modes_evict(&m, model);
        host_release(m.rt, host_acquire(m.rt, model)); /* what only a first load takes */
        modes_evict(&m, model);
        host_wait_threads(m.rt, 1);
        uint32_t descriptors = modes_entries("/proc/self/fd");
        uint64_t resident = modes_resident();
        for (; dies_at(&m, model, d, k, descriptors); k += STRIDE)
            assert_true(k < CHUNKS_MAX);
        if (k <= d->times_min)
            fail_msg("%s: the load could die at %llu places only", d->name, (unsigned long long)k - 1);
        modes_evict(&m, model);
        host_wait_threads(m.rt, 1);
        assert_true(modes_resident() <= resident + KIB(512)); /* an image is larger, and there were many */
        modes_close(&m);
    }
}

/* ---- 4 ---- */

static sgi_estimate estimate(struct modes *m, sgi_model model)
{
    sgi_estimate e = { .struct_size = sizeof e };
    assert_int_equal(sgi_model_estimate(m->rt, model, NULL, &e, NULL, 0), SGI_OK);
    return e;
}

static sgi_status ask_refused(struct modes *m, sgi_model model)
{
    return host_acquire_fails(m->rt, model, &m->err);
}

/* 4. Ollama: the estimate says that a model fits, the driver says no, and a server that believes the one or the other
 * tries for ever, or gives up at once. Here it is one more try after one eviction, and then the truth. */
static void mode_04_memory_that_was_not_there_is_tried_once_more_and_then_told(void **state)
{
    struct modes       m;
    sgi_runtime_config config = modes_config(1, MIB(8));
    (void)state;
    modes_open(&m, &config, NULL);
    sgi_model older = modes_add(&m, 0, false, 0), newer = modes_add(&m, 1, false, 0), want = modes_add(&m, 2, false, 0);

    modes_use(&m, older, 0);
    modes_advance(&m, 1);
    modes_use(&m, newer, 1);
    assert_int_equal(estimate(&m, want).outlook, SGI_ESTIMATE_LOAD); /* the books say that it fits */
    sgi__fault_plan(SGI__FAULT_RESERVE, 1, 1, 1);
    modes_use(&m, want, 2);
    assert_int_equal(sgi__fault_passed(SGI__FAULT_RESERVE), 2);
    assert_int_equal(host_state(m.rt, older).state, SGI_MODEL_COLD);
    assert_int_equal(host_state(m.rt, newer).state, SGI_MODEL_READY);
    assert_int_equal(host_state(m.rt, want).failures_count, 0);
    modes_evict(&m, want);

    modes_use(&m, older, 0); /* again two that could go: only one of them does, then it fails */
    sgi__fault_plan(SGI__FAULT_RESERVE, 1, UINT64_MAX, 1);
    assert_int_equal(ask_refused(&m, want), SGI_E_DEVICE_MEMORY);
    host_error_is(&m.err, SGI_E_DEVICE_MEMORY, SGI_STEP_MEMORY, "'c'");
    assert_int_equal(sgi__fault_passed(SGI__FAULT_RESERVE), 2);
    assert_int_equal(host_state(m.rt, newer).state, SGI_MODEL_COLD);
    assert_int_equal(host_state(m.rt, older).state, SGI_MODEL_READY);

    sgi_lease held = host_acquire(m.rt, older); /* nothing that could go: no second try */
    sgi__fault_plan(SGI__FAULT_RESERVE, 1, UINT64_MAX, 1);
    assert_int_equal(ask_refused(&m, want), SGI_E_DEVICE_MEMORY);
    assert_int_equal(sgi__fault_passed(SGI__FAULT_RESERVE), 1);
    modes_same(&m, older, held, 0);
    assert_int_equal(ask_refused(&m, want), SGI_E_DEVICE_MEMORY); /* and for a while nobody asks the driver again */
    assert_int_equal(sgi__fault_passed(SGI__FAULT_RESERVE), 1);
    assert_int_equal(m.err.retry_after_ms, BACKOFF_MS);
    sgi__fault_clear();
    modes_advance(&m, BACKOFF_MS);
    modes_use(&m, want, 2);
    host_release(m.rt, held);
    modes_close(&m);
}

/* ---- 5 ---- */

/* Fails one restore of a model that lies in DRAM; then it has to come up from there. */
static void restore_again(struct modes *m, sgi_model model, enum sgi__fault_point point, uint64_t nth, int value)
{
    uint64_t in_dram = host_info(m->rt).dram_bytes;
    assert_true(in_dram >= FILE_BYTES);
    sgi__fault_plan(point, nth, 1, value);
    sgi_status st = ask_refused(m, model);
    assert_true(st == SGI_E_DEVICE_MEMORY || st == SGI_E_NO_MEMORY);
    sgi__fault_clear();
    host_wait_state(m->rt, model, SGI_MODEL_COLD);
    assert_int_equal(host_info(m->rt).device_bytes, 0);
    assert_int_equal(host_info(m->rt).dram_bytes, in_dram);
    sgi_lease lease = host_acquire(m->rt, model);
    assert_int_equal(host_timing(m->rt, lease).tier, SGI_TIER_DRAM);
    modes_same(m, model, lease, 0);
    host_release(m->rt, lease);
    assert_int_equal(sgi_model_evict(m->rt, model, SGI_TIER_DRAM), SGI_OK);
    host_wait_state(m->rt, model, SGI_MODEL_COLD);
}

/* 5. cuda-checkpoint #44: a restore that finds too little memory leaves the process stuck half way; once there is
 * memory again every further restore fails too, and killing it is all that helps. What can be restored without a GPU
 * is a model in DRAM: for its image, and for its engine's memory. */
static void mode_05_a_restore_without_memory_can_be_tried_again(void **state)
{
    struct modes       m;
    sgi_runtime_config config = modes_config(1, MIB(8));
    (void)state;
    config.dram_bytes_max = MIB(8);
    modes_open(&m, &config, NULL);
    m.engine.alloc_bytes = KIB(64);
    sgi_model model = modes_add(&m, 0, true, 1);

    modes_use(&m, model, 0);
    assert_int_equal(sgi_model_evict(m.rt, model, SGI_TIER_DRAM), SGI_OK);
    host_wait_state(m.rt, model, SGI_MODEL_COLD);
    host_wait_threads(m.rt, 1);
    restore_again(&m, model, SGI__FAULT_MAP, 1, ENOMEM); /* the engine's memory: of the image there is nothing to map */
    host_wait_threads(m.rt, 1);
    restore_again(&m, model, SGI__FAULT_ALLOC, 1, 1);
    assert_int_equal(atomic_load(&m.engine.live), 0);
    modes_close(&m);
}

/* ---- 10 ---- */

static void fails_until_mended(struct modes *m, sgi_model model, sgi_status status)
{
    uint64_t wait = 0;
    for (int n = 0; n < BAD_DISK; n++) {
        assert_int_equal(ask_refused(m, model), status);
        assert_int_equal(m->err.retry_after_ms, wait = n == 0 ? 0 : n == 1 ? BACKOFF_MS : wait * 2);
        modes_quiet(m, model);
        sgi_model_state s = host_state(m->rt, model);
        assert_int_equal(s.state, n == 0 ? SGI_MODEL_COLD : SGI_MODEL_FAILED);
        assert_int_equal(s.failures_count, n + 1);
        assert_int_equal(s.last_error, status);
        if (n > 0) { /* until then it says no at once, and counts nothing */
            assert_int_equal(ask_refused(m, model), status);
            assert_int_equal(host_state(m->rt, model).failures_count, n + 1);
        }
        modes_advance(m, wait);
    }
}

/* 10. llama-swap #92, #120: a model whose start has failed once is failed until somebody restarts the server;
 * elsewhere it says LOADING for ever. Whatever step fails. */
static void mode_10_a_failed_model_is_tried_again_and_nothing_loads_for_ever(void **state)
{
    static const enum engine_step callbacks[] = { ENGINE_PREPARE, ENGINE_PREFIX_FILL, ENGINE_START };
    (void)state;
    for (int n = 0; n < 3 + 3; n++) {
        struct modes       m;
        sgi_runtime_config config = modes_config(1, MIB(8));
        modes_open(&m, &config, NULL);
        sgi_model model = modes_add(&m, 0, true, 1);
        if (n < 3) {
            atomic_store(&m.engine.fail[callbacks[n]], SGI_E_ENGINE);
            fails_until_mended(&m, model, SGI_E_ENGINE);
            atomic_store(&m.engine.fail[callbacks[n]], SGI_OK);
        } else {
            static const enum sgi__fault_point points[] = { SGI__FAULT_CONTEXT, SGI__FAULT_RESERVE, SGI__FAULT_READ };
            sgi__fault_plan(points[n - 3], 1, UINT64_MAX, EIO);
            fails_until_mended(&m, model, n == 3 ? SGI_E_DEVICE : n == 4 ? SGI_E_DEVICE_MEMORY : SGI_E_IO);
            sgi__fault_clear();
        }
        modes_use(&m, model, 0);
        assert_int_equal(host_state(m.rt, model).last_error, SGI_OK);
        assert_int_equal(host_state(m.rt, model).state, SGI_MODEL_READY);
        modes_evict(&m, model);
        sgi__fault_plan(SGI__FAULT_READ, 1, UINT64_MAX, EIO); /* a failure after that is a first one again */
        assert_int_equal(ask_refused(&m, model), SGI_E_IO);
        assert_int_equal(m.err.retry_after_ms, 0);
        sgi__fault_clear();
        modes_close(&m);
    }
}

/* 10, for ever: a start that does not come back makes it WEDGED, and it heals when that is back. */
static void mode_10_a_start_that_hangs_is_told_and_heals(void **state)
{
    struct modes       m;
    sgi_runtime_config config = modes_config(1, MIB(8));
    sgi_lease          lease = 0;
    (void)state;
    config.hang_timeout_ms = 1000;
    modes_open(&m, &config, &test_place_ops);
    sgi_model model = modes_add(&m, 0, true, 1);
    gate_close(&m.engine.gates[ENGINE_START]);
    sgi_ticket ticket = modes_ask(&m, model);
    gate_wait_arrived(&m.engine.gates[ENGINE_START], 1);
    test_place_wait_told(m.tp, SGI__PLACE_LOADED, 1); /* while bytes arrive it may wait for them */
    test_place_wait_told(m.tp, SGI__PLACE_PREFIX_FILLED, 1);
    assert_int_equal(host_state(m.rt, model).state, SGI_MODEL_LOADING);
    modes_advance(&m, 1000);
    assert_int_equal(modes_end(&m, ticket, &lease), SGI_E_WEDGED);
    assert_int_equal(host_state(m.rt, model).state, SGI_MODEL_WEDGED);
    assert_int_equal(ask_refused(&m, model), SGI_E_WEDGED);
    gate_open(&m.engine.gates[ENGINE_START]);
    host_wait_state(m.rt, model, SGI_MODEL_COLD);
    modes_use(&m, model, 0);
    modes_close(&m);
}

/* ---- 11 ---- */

static void still_warm(struct modes *m, sgi_model warm, sgi_events stops)
{
    sgi_event e = { .struct_size = sizeof e };
    assert_int_equal(sgi_events_read(m->rt, stops, &e), SGI_E_WOULD_BLOCK);
    modes_use(m, warm, 0);
    assert_int_equal(host_state(m->rt, warm).loads_count, 1);
}

/* 11. Ray Serve's multiplexing first takes the least recently used model out and then loads the new one: when that
 * fails a good model is gone for nothing. */
static void mode_11_a_load_that_cannot_be_evicts_nobody(void **state)
{
    struct modes       m;
    struct test_file   bad, big;
    sgi_events         stops = 0;
    sgi_runtime_config config = modes_config(1, KIB(2300)); /* two of 1 MiB, not three */
    sgi_lease          lease = 0;
    (void)state;
    modes_open(&m, &config, NULL);
    test_file_make_one(&bad, &modes_folder, "bad.safetensors", FILE_BYTES);
    test_file_make_one(&big, &modes_folder, "big.safetensors", 2 * FILE_BYTES);
    sgi_model warm = modes_add(&m, 0, false, 0), held = modes_add(&m, 1, false, 0);
    sgi_model broken = host_add(m.rt, "broken", bad.path, NULL), large = host_add(m.rt, "large", big.path, NULL);

    sgi_lease other = host_acquire(m.rt, held);
    modes_use(&m, warm, 0);
    assert_int_equal(sgi_events_open(m.rt, 0, UINT64_C(1) << SGI_EVENT_STOPPING, &stops, &m.err), SGI_OK);
    assert_int_equal(truncate(bad.path, 100), 0); /* changed */
    assert_int_equal(ask_refused(&m, broken), SGI_E_CHANGED);
    still_warm(&m, warm, stops);
    unlink(bad.path); /* deleted */
    assert_int_equal(ask_refused(&m, broken), SGI_E_IO);
    still_warm(&m, warm, stops);
    test_file_write(&bad);
    assert_int_equal(ask_refused(&m, broken), SGI_E_IO); /* backing off */
    assert_int_not_equal(m.err.retry_after_ms, 0);
    still_warm(&m, warm, stops);

    assert_int_equal(estimate(&m, large).outlook, SGI_ESTIMATE_WAIT);
    sgi_ticket ticket = modes_ask(&m, large); /* it would not be enough: the other one is in use */
    still_warm(&m, warm, stops);
    assert_int_equal(sgi_acquire_cancel(m.rt, ticket), SGI_OK);
    assert_int_equal(modes_end(&m, ticket, &lease), SGI_E_CANCELED);
    sgi_model never = host_add(m.rt, "never", modes_shards.path, NULL);
    assert_int_equal(ask_refused(&m, never), SGI_E_NO_ROOM);
    still_warm(&m, warm, stops);
    host_release(m.rt, other);
    modes_close(&m);
    test_file_free(&bad);
    test_file_free(&big);
}

/* ---- 23 ---- */

/* 23. The GPU falls off the bus, or says Xid, while a model loads: servers hang, or go on sending requests to a device
 * that is not there. What a real driver says then is not here: the place says it instead. */
static void mode_23_a_device_is_lost_during_a_load_and_the_other_takes_over(void **state)
{
    (void)state;
    for (int step = 0; step < MODES_STEPS; step++) {
        struct modes       m;
        sgi_runtime_config config = modes_config(2, KIB(1300));
        sgi_lease          lease = 0;
        sgi_view           view = { .struct_size = sizeof view };
        modes_open(&m, &config, &test_place_ops);
        sgi_model model = modes_add(&m, 0, true, 1);
        test_place_hold(m.tp, modes_steps[step]);
        sgi_ticket ticket = modes_ask(&m, model);
        test_place_wait_held(m.tp, modes_steps[step]);
        int32_t  on = host_state(m.rt, model).device;
        uint32_t lost = on < 0 ? 0 : (uint32_t)on, other = 1 - lost;
        test_place_lose_device(m.tp, (int32_t)lost);
        test_place_let_go(m.tp, modes_steps[step]);
        if (on < 0) { /* it was nowhere yet */
            lease = modes_granted(&m, ticket);
        } else {
            assert_int_equal(modes_end(&m, ticket, &lease), SGI_E_DEVICE_LOST);
            assert_int_equal(m.err.step, SGI_STEP_CONTEXT);
            lease = modes_granted(&m, modes_ask(&m, model));
        }
        assert_int_equal(host_state(m.rt, model).device, other);
        modes_same(&m, model, lease, 0);
        assert_true(host_device(m.rt, lost).lost == 1 && host_device(m.rt, other).lost == 0);
        assert_int_equal(host_device(m.rt, lost).bytes_used, 0);

        test_place_lose_device(m.tp, (int32_t)other); /* now under a lease, and the last one */
        assert_int_equal(sgi_lease_tensor(m.rt, lease, 0, &view, &m.err), SGI_E_DEVICE_LOST);
        assert_int_equal(ask_refused(&m, model), SGI_E_DEVICE_LOST);
        host_release(m.rt, lease);
        test_place_device_back(m.tp, (int32_t)lost);
        lease = modes_granted(&m, modes_ask(&m, model));
        assert_int_equal(host_state(m.rt, model).device, lost);
        modes_same(&m, model, lease, 0);
        host_release(m.rt, lease);
        modes_close(&m);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        MODE(mode_03_a_load_that_dies_at_any_chunk_leaves_nothing),
        MODE(mode_04_memory_that_was_not_there_is_tried_once_more_and_then_told),
        MODE(mode_05_a_restore_without_memory_can_be_tried_again),
        MODE(mode_10_a_failed_model_is_tried_again_and_nothing_loads_for_ever),
        MODE(mode_10_a_start_that_hangs_is_told_and_heals),
        MODE(mode_11_a_load_that_cannot_be_evicts_nobody),
        MODE(mode_23_a_device_is_lost_during_a_load_and_the_other_takes_over),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("modes: loads", tests, modes_set_up, modes_tear_down);
}
