/* SPDX-License-Identifier: Apache-2.0 */
/* Failure modes that are races, as threads of a user have them: mode 7 at gates, where both orders are certain, and 1,
 * 2, 7 and 9 by several threads at once, many times, for ThreadSanitizer to look at. Public interface and the shared
 * library only. README.md is the list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <string.h>

#include "support/host.h"

#if defined(SGI_SANITIZES_ADDRESS) || defined(SGI_SANITIZES_THREAD)
enum { ROUNDS = 40 };
#else
enum { ROUNDS = 120 };
#endif
enum { THREADS = 3, BYTES = 96 << 10 };

static struct test_folder folder;
static struct test_file   file;

/* What a call of the engine finds in the weights that its start was given. */
static struct test_engine engine;
static sgi_view           weights;
static sgi_runtime       *runtime;
static _Atomic(sgi_lease) lease_in_call; /* 0: do not try to release it there */
static int                looks_a_call;  /* how long it stays in there */
static atomic_int         wrong_bytes, calls_after_stop, released_inside;

static void keep_view(void *user, sgi_stage *stage)
{
    sgi_error err = { .struct_size = sizeof err };
    (void)user;
    weights.struct_size = sizeof weights;
    if (sgi_stage_tensor(stage, 0, &weights, &err) != SGI_OK)
        memset(&weights, 0, sizeof weights); /* canceled: nobody will call */
}

static void look_at_weights(void *user)
{
    (void)user;
    for (int n = 0; n < looks_a_call; n++) {
        atomic_fetch_add(&calls_after_stop, atomic_load(&engine.live) != 1);
        if (weights.bytes != BYTES || memcmp(weights.data, file.data + file.data_offset, BYTES) != 0)
            atomic_fetch_add(&wrong_bytes, 1);
    }
    sgi_lease lease = atomic_load(&lease_in_call);
    if (lease)
        atomic_fetch_add(&released_inside, sgi_lease_release(runtime, lease) != SGI_E_BUSY);
}

struct world {
    sgi_runtime *rt;
    sgi_model    model;
};

/* idle_ms: after which the model leaves; NOW: with its last lease. */
static void open_world(struct world *w, bool with_engine, uint32_t leases_max, uint32_t idle_ms, uint64_t dram_bytes)
{
    sgi_runtime_config config = host_config();
    config.idle_timeout_ms = idle_ms;
    config.dram_bytes_max = dram_bytes;
    test_engine_init(&engine, false, false);
    engine.in_start = keep_view;
    engine.in_call = look_at_weights;
    looks_a_call = 1;
    atomic_store(&lease_in_call, 0);
    atomic_store(&wrong_bytes, 0);
    atomic_store(&calls_after_stop, 0);
    atomic_store(&released_inside, 0);
    runtime = w->rt = host_open(&config);
    sgi_model_config mc = host_model("m", file.path, with_engine ? &engine : NULL);
    mc.leases_max = leases_max;
    w->model = host_register(w->rt, &mc);
}

static void close_world(struct world *w)
{
    assert_true(atomic_load(&wrong_bytes) == 0 && atomic_load(&calls_after_stop) == 0);
    assert_int_equal(atomic_load(&released_inside), 0);
    host_close(w->rt);
    test_engine_fini(&engine);
}

/* ---- 7, order by order ---- */

static const struct test_request emit_three = { .kind = REQUEST_EMIT, .pieces = 3, .piece_bytes = 10 };

static sgi_call begin(struct world *w, sgi_lease lease)
{
    sgi_call  call = 0;
    sgi_error err = { .struct_size = sizeof err };
    gate_close(&engine.gates[ENGINE_CALL]);
    uint32_t before = gate_arrived(&engine.gates[ENGINE_CALL]);
    if (sgi_call_begin(w->rt, lease, &emit_three, sizeof emit_three, 0, &call, &err) != SGI_OK)
        fail_msg("call: %s", err.message);
    gate_wait_arrived(&engine.gates[ENGINE_CALL], before + 1);
    return call;
}

/* 7. vLLM #28714, #45520: putting the model to sleep while a request runs frees the memory under it: an illegal access,
 * and the engine is dead, though the answer was 200. */
static void mode_07_a_release_during_a_call_waits_for_it(void **state)
{
    struct world w;
    (void)state;
    open_world(&w, true, 1, SGI_IDLE_NOW, SGI_NONE);
    sgi_lease lease = host_acquire(w.rt, w.model);
    uint64_t  charged = host_info(w.rt).device_bytes;
    sgi_call  call = begin(&w, lease);
    atomic_store(&lease_in_call, lease); /* the callback tries it too */
    assert_int_equal(sgi_lease_release(w.rt, lease), SGI_E_BUSY);
    assert_int_equal(sgi_model_evict(w.rt, w.model, SGI_EVICT_ALL), SGI_E_BUSY);
    assert_int_equal(sgi_runtime_evict(w.rt, SGI_EVICT_ALL), SGI_OK);
    gate_open(&engine.gates[ENGINE_CALL]);
    sgi_completion c = host_next(w.rt);
    while (c.kind != SGI_COMPLETION_CALL)
        c = host_next(w.rt);
    assert_int_equal(c.status, SGI_OK);
    assert_int_equal(test_engine_count(&engine, ENGINE_STOP), 0);
    atomic_store(&lease_in_call, 0);
    assert_int_equal(sgi_call_end(w.rt, call), SGI_OK);
    host_release(w.rt, lease); /* callback first, release second */
    host_wait_state(w.rt, w.model, SGI_MODEL_COLD);
    assert_int_equal(host_info(w.rt).device_bytes, 0);

    lease = host_acquire(w.rt, w.model); /* release first: its user gives the call up, the engine is in it */
    call = begin(&w, lease);
    assert_int_equal(sgi_call_end(w.rt, call), SGI_OK);
    host_release(w.rt, lease);
    assert_int_equal(host_state(w.rt, w.model).state, SGI_MODEL_BUSY);
    assert_int_equal(host_state(w.rt, w.model).calls_out, 1);
    assert_int_equal(sgi_model_evict(w.rt, w.model, SGI_EVICT_ALL), SGI_E_BUSY);
    assert_int_equal(host_info(w.rt).device_bytes, charged);
    assert_int_equal(test_engine_count(&engine, ENGINE_STOP), 1);
    gate_open(&engine.gates[ENGINE_CALL]); /* only now it looks at the weights */
    host_wait_state(w.rt, w.model, SGI_MODEL_COLD);
    assert_int_equal(test_engine_count(&engine, ENGINE_STOP), 2);
    assert_int_equal(test_engine_count(&engine, ENGINE_CALL), 2);
    assert_int_equal(host_info(w.rt).device_bytes, 0);
    close_world(&w);
}

/* 7, when it is another model that wants the room. llama.cpp #21678: the router unloads the least recently used model
 * whether it is answering or not, and the answer breaks off. */
static void mode_07_another_models_need_waits_for_a_call(void **state)
{
    struct world       w;
    struct test_file   second_file;
    sgi_device_config  device = { .struct_size = sizeof device, .name = "host", .bytes_max = 3 * BYTES / 2 };
    sgi_runtime_config config = host_config();
    sgi_completion     c = { .struct_size = sizeof c };
    sgi_ticket         ticket = 0;
    (void)state;
    open_world(&w, true, 1, SGI_IDLE_NEVER, SGI_NONE);
    host_close(w.rt); /* once more, with room for one of them */
    config.devices = &device;
    config.devices_count = 1;
    runtime = w.rt = host_open(&config);
    w.model = host_add(w.rt, "m", file.path, &engine);
    test_file_make_one(&second_file, &folder, "second.safetensors", BYTES);
    sgi_model second = host_add(w.rt, "second", second_file.path, NULL);
    sgi_lease lease = host_acquire(w.rt, w.model);
    sgi_call  call = begin(&w, lease);
    assert_int_equal(sgi_call_end(w.rt, call), SGI_OK);
    host_release(w.rt, lease); /* no lease any more, but it is in the weights */
    assert_int_equal(sgi_model_acquire(w.rt, second, NULL, &ticket, NULL, NULL, NULL), SGI_OK);
    assert_int_equal(sgi_ticket_wait(w.rt, ticket, 20, &lease, NULL), SGI_E_TIMEOUT);
    assert_int_equal(host_state(w.rt, w.model).state, SGI_MODEL_BUSY);
    gate_open(&engine.gates[ENGINE_CALL]);
    assert_int_equal(sgi_ticket_wait(w.rt, ticket, HOST_WAIT_MS, &lease, NULL), SGI_OK);
    host_same_bytes(w.rt, second, lease, &second_file);
    assert_int_equal(test_engine_count(&engine, ENGINE_CALL), 1);
    assert_int_equal(sgi_completion_next(w.rt, &c), SGI_E_WOULD_BLOCK);
    host_release(w.rt, lease);
    close_world(&w);
    test_file_free(&second_file);
}

struct running {
    struct world *w;
    sgi_lease     lease;
    struct gate   gate;
    sgi_status    inside;
    bool          same;
};

static sgi_status in_run(void *user, void *stream, sgi_error *err)
{
    struct running *r = user;
    sgi_view        view = { .struct_size = sizeof view };
    (void)stream;
    r->inside = sgi_lease_release(r->w->rt, r->lease);
    gate_pass(&r->gate);
    sgi_status st = sgi_lease_tensor(r->w->rt, r->lease, 0, &view, err);
    r->same = st == SGI_OK && memcmp(view.data, file.data + file.data_offset, BYTES) == 0;
    return st;
}

static void *run_on_lease(void *user)
{
    struct running *r = user;
    sgi_error       err = { .struct_size = sizeof err };
    sgi_status      st = sgi_lease_run(r->w->rt, r->lease, in_run, r, &err);
    return (void *)(intptr_t)st;
}

/* 7, for users' own code on a lease's device. */
static void mode_07_a_release_during_a_run_is_refused(void **state)
{
    struct world w;
    pthread_t    thread;
    void        *status;
    (void)state;
    open_world(&w, false, 0, SGI_IDLE_NOW, SGI_NONE);
    struct running r = { .w = &w, .lease = host_acquire(w.rt, w.model) };
    gate_init(&r.gate);
    gate_close(&r.gate);
    assert_int_equal(pthread_create(&thread, NULL, run_on_lease, &r), 0);
    gate_wait_arrived(&r.gate, 1);
    assert_int_equal(r.inside, SGI_E_BUSY);                         /* by the function itself */
    assert_int_equal(sgi_lease_release(w.rt, r.lease), SGI_E_BUSY); /* by another thread */
    gate_open(&r.gate);
    pthread_join(thread, &status);
    assert_int_equal((intptr_t)status, SGI_OK);
    assert_true(r.same);
    host_release(w.rt, r.lease);
    assert_int_equal(sgi_lease_release(w.rt, r.lease), SGI_E_STALE);
    gate_fini(&r.gate);
    close_world(&w);
}

/* ---- many threads ---- */

struct user {
    struct world *w;
    uint32_t      number;
    uint64_t      random;
    uint32_t      granted, canceled;
    sgi_status    failed; /* the first that was not to be */
    const char   *where;
};

static uint32_t draw(struct user *u, uint32_t below)
{
    u->random = u->random * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (uint32_t)(u->random >> 33) % below;
}

static bool check(struct user *u, sgi_status st, const char *where)
{
    if (st != SGI_OK && u->failed == SGI_OK) {
        u->failed = st;
        u->where = where;
    }
    return st == SGI_OK;
}

static void check_bytes(struct user *u, sgi_lease lease)
{
    sgi_view view = { .struct_size = sizeof view };
    if (check(u, sgi_lease_tensor(u->w->rt, lease, 0, &view, NULL), "tensor") &&
        memcmp(view.data, file.data + file.data_offset, BYTES) != 0)
        check(u, SGI_E_CHECK, "bytes");
}

static void hammer(struct world *w, void *(*body)(void *), struct user *users)
{
    pthread_t threads[THREADS];
    for (uint32_t n = 0; n < THREADS; n++) {
        users[n] = (struct user){ .w = w, .number = n, .random = n + 1 };
        assert_int_equal(pthread_create(&threads[n], NULL, body, &users[n]), 0);
    }
    for (uint32_t n = 0; n < THREADS; n++)
        pthread_join(threads[n], NULL);
    for (uint32_t n = 0; n < THREADS; n++)
        if (users[n].failed != SGI_OK)
            fail_msg("thread %u: %s said %s", n, users[n].where, sgi_status_name(users[n].failed));
}

/* Comes back as the timer fires: what it finds is up still, on its way out, or gone. */
static void *come_back_at_the_deadline(void *arg)
{
    struct user    *u = arg;
    sgi_model_state s = { .struct_size = sizeof s };
    sgi_lease       lease;
    for (int n = 0; n < ROUNDS; n++) {
        if (!check(u, sgi_model_acquire_wait(u->w->rt, u->w->model, NULL, &lease, NULL), "acquire"))
            break;
        u->granted++;
        check_bytes(u, lease);
        check(u, sgi_lease_release(u->w->rt, lease), "release");
        bool late = draw(u, 2) == 0; /* else at the deadline, whoever is quicker */
        do
            sgi_model_query(u->w->rt, u->w->model, &s);
        while (s.state == SGI_MODEL_BUSY || (s.state == SGI_MODEL_READY && (late || s.idle_left_ms > 0)));
    }
    return NULL;
}

/* 1, by threads that come as the timer fires: with and without a DRAM tier. */
static void mode_01_idle_timer_and_acquire_hammered(void **state)
{
    struct user users[THREADS];
    (void)state;
    for (int dram = 0; dram < 2; dram++) {
        struct world w;
        open_world(&w, true, THREADS, 1, dram ? MIB(4) : SGI_NONE);
        hammer(&w, come_back_at_the_deadline, users);
        sgi_model_state s = host_state(w.rt, w.model);
        assert_true(s.loads_count > ROUNDS / 20); /* it did fire */
        assert_int_equal(s.failures_count, 0);
        host_wait_state(w.rt, w.model, SGI_MODEL_COLD);
        assert_int_equal(host_info(w.rt).device_bytes, 0);
        assert_int_equal(test_engine_count(&engine, ENGINE_START), test_engine_count(&engine, ENGINE_STOP));
        close_world(&w);
    }
}

static void *ask_and_perhaps_cancel(void *arg)
{
    struct user *u = arg;
    for (int n = 0; n < ROUNDS; n++) {
        sgi_ticket ticket = 0;
        sgi_lease  lease = 0;
        if (!check(u, sgi_model_acquire(u->w->rt, u->w->model, NULL, &ticket, NULL, NULL, NULL), "ask"))
            break;
        bool       leaves = draw(u, 2) == 0;
        sgi_status canceled = leaves ? sgi_acquire_cancel(u->w->rt, ticket) : SGI_OK;
        sgi_status st = sgi_ticket_wait(u->w->rt, ticket, HOST_WAIT_MS, &lease, NULL);
        if (leaves && st == SGI_E_CANCELED && canceled == SGI_OK) {
            u->canceled++;
            continue;
        }
        if (!check(u, st, "acquire of who stays")) /* or it was granted before the cancel came */
            break;
        u->granted++;
        check_bytes(u, lease);
        check(u, sgi_lease_release(u->w->rt, lease), "release");
    }
    return NULL;
}

/* 2, by threads: whoever does not cancel is served, whoever else does. */
static void mode_02_cancels_of_shared_loads_hammered(void **state)
{
    struct world w;
    struct user  users[THREADS];
    uint32_t     canceled = 0;
    (void)state;
    open_world(&w, true, THREADS, SGI_IDLE_NOW, SGI_NONE);
    hammer(&w, ask_and_perhaps_cancel, users);
    for (int n = 0; n < THREADS; n++)
        canceled += users[n].canceled;
    assert_true(canceled > 0); /* how many depends on what else the machine does */
    assert_int_equal(host_state(w.rt, w.model).failures_count, 0);
    host_wait_state(w.rt, w.model, SGI_MODEL_COLD);
    assert_int_equal(host_info(w.rt).device_bytes, 0);
    assert_int_equal(host_info(w.rt).requests_waiting, 0);
    close_world(&w);
}

static void *call_and_leave(void *arg)
{
    struct user *u = arg;
    for (int n = 0; n < ROUNDS; n++) {
        sgi_lease lease = 0;
        sgi_call  call = 0;
        size_t    bytes;
        char      piece[64];
        if (!check(u, sgi_model_acquire_wait(u->w->rt, u->w->model, NULL, &lease, NULL), "acquire"))
            break;
        if (check(u, sgi_call_begin(u->w->rt, lease, &emit_three, sizeof emit_three, 0, &call, NULL), "begin")) {
            for (uint32_t reads = draw(u, 4); reads > 0; reads--)
                if (sgi_call_wait(u->w->rt, call, HOST_WAIT_MS, NULL) == SGI_OK)
                    sgi_call_read(u->w->rt, call, piece, sizeof piece, &bytes, NULL);
            check(u, sgi_call_end(u->w->rt, call), "end");
        }
        check(u, sgi_lease_release(u->w->rt, lease), "release");
        u->granted++;
    }
    return NULL;
}

/* 7, by threads that give their calls up wherever those are, and their leases at once. */
static void mode_07_releases_and_calls_hammered(void **state)
{
    struct world w;
    struct user  users[THREADS];
    (void)state;
    open_world(&w, true, THREADS, SGI_IDLE_NOW, MIB(4));
    looks_a_call = 20; /* so that who does not read leaves before it is back */
    hammer(&w, call_and_leave, users);
    host_wait_state(w.rt, w.model, SGI_MODEL_COLD);
    assert_int_equal(test_engine_count(&engine, ENGINE_CALL), THREADS * ROUNDS);
    assert_int_equal(host_info(w.rt).device_bytes, 0);
    assert_int_equal(host_info(w.rt).calls_count, 0);
    close_world(&w);
}

static pthread_barrier_t barrier;

static void *ask_together(void *arg)
{
    struct user *u = arg;
    for (uint64_t n = 0; n < ROUNDS; n++) {
        sgi_lease       lease = 0;
        sgi_model_state s = { .struct_size = sizeof s };
        pthread_barrier_wait(&barrier);
        check(u, sgi_model_acquire_wait(u->w->rt, u->w->model, NULL, &lease, NULL), "acquire");
        check_bytes(u, lease);
        pthread_barrier_wait(&barrier);
        sgi_model_query(u->w->rt, u->w->model, &s);
        if (s.loads_count != n + 1 || s.leases_count != THREADS)
            check(u, SGI_E_EXISTS, "the count of loads");
        pthread_barrier_wait(&barrier);
        check(u, sgi_lease_release(u->w->rt, lease), "release"); /* the last one ends it: cold, or nearly, next time */
    }
    return NULL;
}

/* 9, by threads that ask at the same time for what is cold or on its way down: one load each time, for all of them. */
static void mode_09_loads_of_one_model_hammered(void **state)
{
    struct world w;
    struct user  users[THREADS];
    (void)state;
    pthread_barrier_init(&barrier, NULL, THREADS);
    open_world(&w, true, THREADS, SGI_IDLE_NOW, SGI_NONE);
    hammer(&w, ask_together, users);
    host_wait_state(w.rt, w.model, SGI_MODEL_COLD);
    assert_int_equal(test_engine_count(&engine, ENGINE_START), ROUNDS);
    assert_int_equal(test_engine_count(&engine, ENGINE_STOP), ROUNDS);
    close_world(&w);
    pthread_barrier_destroy(&barrier);
}

static int make_file(void **state)
{
    (void)state;
    test_folder_make(&folder);
    test_file_make_one(&file, &folder, "m.safetensors", BYTES);
    return 0;
}

static int remove_file(void **state)
{
    (void)state;
    test_file_free(&file);
    test_folder_remove(&folder);
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mode_01_idle_timer_and_acquire_hammered),
        cmocka_unit_test(mode_02_cancels_of_shared_loads_hammered),
        cmocka_unit_test(mode_07_a_release_during_a_call_waits_for_it),
        cmocka_unit_test(mode_07_a_release_during_a_run_is_refused),
        cmocka_unit_test(mode_07_another_models_need_waits_for_a_call),
        cmocka_unit_test(mode_07_releases_and_calls_hammered),
        cmocka_unit_test(mode_09_loads_of_one_model_hammered),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("modes: threads", tests, make_file, remove_file);
}
