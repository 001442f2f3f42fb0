/* SPDX-License-Identifier: Apache-2.0 */
/* Engines and users' own code on cuda devices: what is current around them, their streams, their memory, and that the
 * first layers can be computed while the last ones arrive. */
#include "cuda_host.h"

#include <pthread.h>
#include <string.h>

static const struct test_tensor tensors[] = { { "first", KIB(256) }, { "second", MIB(1) }, { "last", MIB(2) } };
static struct test_file         file;

static int make_files(void **state)
{
    if (cuda_set_up(state) != 0)
        return -1;
    test_file_make(&file, &cuda_folder, "m.safetensors", 0, tensors, 3);
    return 0;
}

static int remove_files(void **state)
{
    test_file_free(&file);
    return cuda_tear_down(state);
}

static const uint8_t *bytes_of(sgi_runtime *rt, sgi_model model, uint64_t index)
{
    sgi_tensor t = { .struct_size = sizeof t };
    assert_int_equal(sgi_model_tensor_at(rt, model, index, &t), SGI_OK);
    return file.data + t.file_offset;
}

static cu_context current(void)
{
    cu_context now = NULL;
    OK(cu.cuCtxGetCurrent(&now));
    return now;
}

/* ---- what is current ---- */

struct seen {
    cu_context context;
    void      *stream;
    sgi_status status;
    bool       forgets; /* leaves a context of its own current */
    cu_context other;
};

static sgi_status look(void *user, void *stream, sgi_error *err)
{
    struct seen *s = user;
    (void)err;
    s->context = current();
    s->stream = stream;
    if (s->forgets)
        cu.cuCtxPushCurrent_v2(s->other);
    return s->status;
}

static void code_runs_with_the_device_current_and_nothing_else_changes(void **state)
{
    struct fixture     f;
    sgi_runtime_config config = cuda_config("cuda:0", 0);
    struct seen        seen = { .status = SGI_E_UNSUPPORTED }, forgetful = { .forgets = true };
    cu_context         other = NULL;
    void              *stream = NULL, *again = NULL, *others = NULL;

    (void)state;
    cuda_open(&f, &config);
    sgi_model model = host_add(f.rt, "m", file.path, NULL);
    sgi_lease lease = host_acquire(f.rt, model), second = host_acquire(f.rt, model);
    OK(cu.cuDevicePrimaryCtxRetain(&other, 1));
    OK(cu.cuCtxPushCurrent_v2(other));

    assert_int_equal(sgi_lease_run(f.rt, lease, look, &seen, &f.err), SGI_E_UNSUPPORTED); /* what it said */
    assert_ptr_equal(current(), other);
    assert_true(seen.context && seen.context != other);
    assert_int_equal(sgi_lease_stream(f.rt, lease, &stream, &f.err), SGI_OK);
    assert_ptr_equal(stream, seen.stream);
    assert_int_equal(sgi_lease_stream(f.rt, lease, &again, &f.err), SGI_OK);
    assert_int_equal(sgi_lease_stream(f.rt, second, &others, &f.err), SGI_OK);
    assert_true(stream && stream == again && others && others != stream);

    forgetful.other = other;
    assert_int_equal(sgi_lease_run(f.rt, lease, look, &forgetful, &f.err), SGI_E_ENGINE);
    assert_non_null(strstr(f.err.message, "another context current"));
    assert_ptr_equal(current(), other);
    OK(cu.cuCtxPopCurrent_v2(&other));
    OK(cu.cuDevicePrimaryCtxRelease_v2(1));
    assert_null(current());
    host_release(f.rt, lease);
    host_release(f.rt, second);
    cuda_close(&f);
}

/* ---- an engine ---- */

struct engine {
    struct test_engine base;
    cu_context         in_start, in_call;
    void              *stream;
    uint64_t           alloc_bytes; /* asked for twice */
    sgi_status         alloc;
    void              *memory[2];
    sgi_error          err;
    uint8_t            first[KIB(4)]; /* of the first tensor, copied by the device behind its arrival */
};

static void in_start(void *user, sgi_stage *stage)
{
    struct engine *e = user;
    sgi_view       view = { .struct_size = sizeof view };

    e->in_start = current();
    e->stream = sgi_stage_stream(stage);
    for (int n = 0; n < 2 && e->alloc_bytes > 0 && e->alloc == SGI_OK; n++)
        e->alloc = sgi_stage_alloc(stage, e->alloc_bytes, &e->memory[n], &e->err);
    if (sgi_stage_tensor_on(stage, 0, e->stream, &view, NULL) != SGI_OK)
        return;
    cu.cuMemcpyDtoHAsync_v2(e->first, (uintptr_t)view.data, sizeof e->first, (cu_stream)e->stream);
    sgi_image image = { .struct_size = sizeof image };
    assert_int_equal(sgi_stage_image(stage, 0, &image, NULL), SGI_E_UNSUPPORTED);
}

static void in_call(void *user)
{
    ((struct engine *)user)->in_call = current();
}

static void engine_init(struct engine *e)
{
    memset(e, 0, sizeof *e);
    e->err = (sgi_error)SGI_ERROR_INIT;
    test_engine_init(&e->base, false, true);
    e->base.in_start = in_start;
    e->base.in_call = in_call;
    e->base.user = e;
}

static void an_engine_starts_serves_and_stops_on_its_device(void **state)
{
    struct fixture      f;
    struct engine       e;
    sgi_runtime_config  config = cuda_config("cuda:0", 0);
    struct test_request request = { .kind = REQUEST_EMIT, .pieces = 3, .piece_bytes = 10 };

    (void)state;
    engine_init(&e);
    e.alloc_bytes = MIB(3);
    cuda_open(&f, &config);
    sgi_model model = host_add(f.rt, "m", file.path, &e.base);
    sgi_lease lease = host_acquire(f.rt, model);
    assert_int_equal(e.alloc, SGI_OK);
    assert_true(e.in_start && e.stream);
    assert_memory_equal(e.first, bytes_of(f.rt, model, 0), sizeof e.first);
    assert_int_equal(sgi_lease_call(f.rt, lease, &request, sizeof request, SGI_FOREVER, NULL, NULL, &f.err), SGI_OK);
    assert_ptr_equal(e.in_call, e.in_start);
    sgi_device_info info = host_device(f.rt, 0);
    assert_int_equal(info.bytes_used,
                     MIB(4) + MIB(6)); /* 3.25 MiB of weights, twice 3 of the engine's: in pages of 2 */
    assert_int_equal(info.bytes_engine, MIB(6));
    host_release(f.rt, lease);
    cuda_wait_zero(&f, 0);
    assert_int_equal(test_engine_count(&e.base, ENGINE_STOP), 1);
    fake_cuda_nothing_is_held("an engine", 0);
    cuda_close(&f);
    test_engine_fini(&e.base);
}

/* What the driver gives may have been anybody's. */
static void an_engines_memory_is_zero(void **state)
{
    struct fixture     f;
    struct engine      e;
    sgi_runtime_config config = cuda_config("cuda:0", 0);
    static uint8_t     seen[MIB(1)], zero[MIB(1)];

    (void)state;
    engine_init(&e);
    e.alloc_bytes = MIB(1);
    config.idle_timeout_ms = SGI_IDLE_NEVER;
    cuda_open(&f, &config);
    sgi_model model = host_add(f.rt, "m", file.path, &e.base);
    for (int round = 0; round < 2; round++) {
        e.alloc = SGI_OK;
        sgi_lease lease = host_acquire(f.rt, model);
        for (int n = 0; n < 2; n++) {
            assert_int_equal(fake.fakecuda_peek((uintptr_t)e.memory[n], seen, sizeof seen), 0);
            assert_memory_equal(seen, zero, sizeof seen);
        }
        assert_true((char *)e.memory[1] - (char *)e.memory[0] == (ptrdiff_t)MIB(1));
        host_release(f.rt, lease);
        assert_int_equal(sgi_model_evict(f.rt, model, SGI_TIER_DISK), SGI_OK);
        host_wait_state(f.rt, model, SGI_MODEL_COLD);
    }
    cuda_close(&f);
    test_engine_fini(&e.base);
}

static void an_engine_that_asks_for_too_much_is_told_how_much_there_is(void **state)
{
    struct fixture     f;
    struct engine      e;
    sgi_runtime_config config = cuda_config("cuda:0", MIB(16));

    (void)state;
    engine_init(&e);
    e.alloc_bytes = MIB(8);
    cuda_open(&f, &config);
    sgi_model model = host_add(f.rt, "m", file.path, &e.base);
    host_release(f.rt, host_acquire(f.rt, model)); /* this engine lives without it */
    assert_int_equal(e.alloc, SGI_E_DEVICE_MEMORY);
    assert_non_null(
        strstr(e.err.message, "the engine needs 16777216 bytes beside the weights; the device has 12582912"));
    cuda_close(&f);
    test_engine_fini(&e.base);
}

/* ---- early ---- */

struct run_on {
    sgi_runtime *rt;
    sgi_lease    lease;
    uint8_t      seen[3][64];
    sgi_status   status;
};

static sgi_status copy_behind_arrival(void *user, void *stream, sgi_error *err)
{
    struct run_on *r = user;
    sgi_view       view = { .struct_size = sizeof view };

    for (uint64_t n = 0; n < 3 && r->status == SGI_OK; n++) {
        r->status = sgi_lease_tensor_on(r->rt, r->lease, n, stream, err);
        if (r->status == SGI_OK && sgi_lease_tensor(r->rt, r->lease, n, &view, err) == SGI_OK &&
            cu.cuMemcpyDtoHAsync_v2(r->seen[n], (uintptr_t)view.data, 64, (cu_stream)stream) != CU_OK)
            r->status = SGI_E_DEVICE;
    }
    return r->status;
}

/* A lease before anything is there: the stream waits for each tensor, the thread for none of their copies. */
static void an_early_lease_computes_while_weights_arrive(void **state)
{
    struct fixture      f;
    sgi_runtime_config  config = cuda_config("cuda:0", 0);
    sgi_acquire_options early;
    struct run_on       r = { 0 };

    (void)state;
    fake.fakecuda_pace(2000, 3000, 3);
    cuda_open(&f, &config);
    sgi_model model = host_add(f.rt, "m", file.path, NULL);
    sgi_acquire_options_init(&early, sizeof early);
    early.flags = SGI_ACQUIRE_EARLY;
    for (int round = 0; round < 3; round++) {
        r = (struct run_on){ .rt = f.rt };
        assert_int_equal(sgi_model_acquire_wait(f.rt, model, &early, &r.lease, &f.err), SGI_OK);
        assert_int_equal(sgi_lease_run(f.rt, r.lease, copy_behind_arrival, &r, &f.err), SGI_OK);
        for (uint64_t n = 0; n < 3; n++)
            assert_memory_equal(r.seen[n], bytes_of(f.rt, model, n), 64);
        host_release(f.rt, r.lease);
        cuda_wait_zero(&f, 0);
    }
    fake.fakecuda_pace(20, 80, 1);
    cuda_close(&f);
}

/* ---- what is left behind ---- */

static cu_context somebodys;

static sgi_status sets_another(void *user, void *stream, sgi_error *err)
{
    (void)user, (void)stream, (void)err;
    return cu.cuCtxSetCurrent(somebodys) == CU_OK ? SGI_OK : SGI_E_INVALID;
}

static uint32_t depth_of_stack(void)
{
    cu_context popped[16];
    uint32_t   depth = 0;

    while (depth < 16 && cu.cuCtxPopCurrent_v2(&popped[depth]) == CU_OK)
        depth++;
    for (uint32_t n = depth; n-- > 0;)
        OK(cu.cuCtxPushCurrent_v2(popped[n]));
    return depth;
}

/* As cudaSetDevice() does: another context in the place of ours. */
static void a_context_that_was_set_is_taken_off_again(void **state)
{
    struct fixture     f;
    sgi_runtime_config config = cuda_config("cuda:0", 0);

    (void)state;
    cuda_open(&f, &config);
    sgi_lease lease = host_acquire(f.rt, host_add(f.rt, "m", file.path, NULL));
    OK(cu.cuDevicePrimaryCtxRetain(&somebodys, 1));
    for (uint32_t depth = 0; depth < 3; depth++) {
        for (int round = 0; round < 3; round++) {
            assert_int_equal(sgi_lease_run(f.rt, lease, sets_another, NULL, &f.err), SGI_E_ENGINE);
            assert_int_equal(depth_of_stack(), depth);
            assert_ptr_equal(current(), depth == 0 ? NULL : somebodys);
        }
        OK(cu.cuCtxPushCurrent_v2(somebodys));
    }
    while (depth_of_stack() > 0)
        OK(cu.cuCtxPopCurrent_v2(&somebodys));
    OK(cu.cuDevicePrimaryCtxRelease_v2(1));
    host_release(f.rt, lease);
    cuda_close(&f);
}

static sgi_status queues_and_leaves(void *user, void *stream, sgi_error *err)
{
    (void)err;
    return cu.cuMemsetD8Async(*(cu_ptr *)user, 1, 64, (cu_stream)stream) == CU_OK ? SGI_OK : SGI_E_INVALID;
}

/* By somebody who has the lease's stream, or where the driver would not let us look: memory goes when it is done. */
static void work_that_was_left_is_waited_for(void **state)
{
    struct fixture     f;
    sgi_runtime_config config = cuda_config("cuda:0", 0);
    void              *stream = NULL;

    (void)state;
    config.idle_timeout_ms = SGI_IDLE_NEVER;
    cuda_open(&f, &config);
    sgi_model model = host_add(f.rt, "m", file.path, NULL);
    fake.fakecuda_pace(20000, 0, 1);
    for (int round = 0; round < 2; round++) {
        sgi_lease lease = host_acquire(f.rt, model);
        cu_ptr    at = (uintptr_t)host_tensor(f.rt, lease, 0).data;
        if (round == 0) {
            cu_context context = retain();
            assert_int_equal(sgi_lease_stream(f.rt, lease, &stream, &f.err), SGI_OK);
            OK(cu.cuCtxPushCurrent_v2(context));
            assert_int_equal(queues_and_leaves(&at, stream, NULL), SGI_OK);
            leave();
        } else {
            fake_cuda_fault("cuCtxPushCurrent_v2 2 error 304");
            assert_int_equal(sgi_lease_run(f.rt, lease, queues_and_leaves, &at, &f.err), SGI_E_DEVICE);
        }
        host_release(f.rt, lease);
        assert_int_equal(sgi_model_evict(f.rt, model, SGI_TIER_DISK), SGI_OK);
        host_wait_state(f.rt, model, SGI_MODEL_COLD);
    }
    fake.fakecuda_pace(20, 80, 1);
    cuda_close(&f);
}

/* ---- graphs ---- */

struct captures_in_start {
    sgi_status alloc;
    cu_result  ended;
    sgi_error  err;
};

static void capture_in_start(void *user, sgi_stage *stage)
{
    struct captures_in_start *c = user;
    cu_graph                  graph = NULL;
    cu_stream                 stream = (cu_stream)sgi_stage_stream(stage);
    void                     *memory;

    c->err = (sgi_error)SGI_ERROR_INIT;
    sgi_stage_wait(stage, NULL);
    OK(cu.cuStreamBeginCapture_v2(stream, CU_CAPTURE_GLOBAL));
    c->alloc = sgi_stage_alloc(stage, MIB(1), &memory, &c->err);
    c->ended = cu.cuStreamEndCapture(stream, &graph);
    if (graph)
        OK(cu.cuGraphDestroy(graph));
}

static void an_engine_may_ask_for_memory_while_it_captures(void **state)
{
    struct fixture           f;
    sgi_runtime_config       config = cuda_config("cuda:0", 0);
    struct test_engine       engine;
    struct captures_in_start c = { 0 };

    (void)state;
    cuda_open(&f, &config);
    test_engine_init(&engine, false, false);
    engine.in_start = capture_in_start;
    engine.user = &c;
    host_release(f.rt, host_acquire(f.rt, host_add(f.rt, "m", file.path, &engine)));
    if (c.alloc != SGI_OK || c.ended != CU_OK)
        fail_msg("the memory: %s; the capture ends with %u", c.err.message, c.ended);
    cuda_close(&f);
    test_engine_fini(&engine);
}

static sgi_status sees_mode(void *user, void *stream, sgi_error *err)
{
    cu_capture_mode *mode = user;
    (void)stream, (void)err;
    *mode = CU_CAPTURE_RELAXED;
    return cu.cuThreadExchangeStreamCaptureMode(mode) == CU_OK ? SGI_OK : SGI_E_INVALID;
}

/* Also where the driver did not take ours. */
static void a_threads_own_mode_stays(void **state)
{
    struct fixture     f;
    sgi_runtime_config config = cuda_config("cuda:0", 0);
    cu_capture_mode    mine = CU_CAPTURE_RELAXED, inside = 0;

    (void)state;
    cuda_open(&f, &config);
    sgi_lease lease = host_acquire(f.rt, host_add(f.rt, "m", file.path, NULL));
    OK(cu.cuThreadExchangeStreamCaptureMode(&mine));
    fake_cuda_fault("cuThreadExchangeStreamCaptureMode 1 error 304");
    assert_int_equal(sgi_lease_run(f.rt, lease, sees_mode, &inside, &f.err), SGI_OK);
    OK(cu.cuThreadExchangeStreamCaptureMode(&mine));
    assert_true(inside == CU_CAPTURE_RELAXED && mine == CU_CAPTURE_RELAXED);
    host_release(f.rt, lease);
    cuda_close(&f);
}

struct capture {
    struct fixture *f;
    sgi_model       beside;
    cu_result       ended;
    sgi_status      status;
};

/* As frameworks do: in the mode in which the driver takes offence at what any other thread does. */
static sgi_status capture(void *user, void *stream, sgi_error *err)
{
    struct capture *c = user;
    cu_graph        graph = NULL;
    cu_capture_mode mode = CU_CAPTURE_RELAXED;
    sgi_lease       lease;

    if (cu.cuThreadExchangeStreamCaptureMode(&mode) != CU_OK || mode != CU_CAPTURE_GLOBAL)
        return SGI_E_ENGINE; /* it is not as it was before the library came */
    if (cu.cuStreamBeginCapture_v2((cu_stream)stream, CU_CAPTURE_GLOBAL) != CU_OK)
        return SGI_E_ENGINE;
    c->status = sgi_model_acquire_wait(c->f->rt, c->beside, NULL, &lease, err);
    if (c->status == SGI_OK)
        c->status = sgi_lease_release(c->f->rt, lease);
    cuda_wait_zero(c->f, 1); /* it comes and goes, context and all */
    c->ended = cu.cuStreamEndCapture((cu_stream)stream, &graph);
    return c->ended == CU_OK && cu.cuGraphDestroy(graph) == CU_OK ? SGI_OK : SGI_E_ENGINE;
}

static void a_graph_is_captured_while_others_come_and_go(void **state)
{
    struct fixture     f;
    sgi_runtime_config config = cuda_config("cuda:0 cuda:1", 0);
    sgi_model_config   mc = host_model("beside", file.path, NULL);
    struct capture     c = { .f = &f };

    (void)state;
    config.dram_bytes_max = MIB(16);
    cuda_open(&f, &config);
    mc.devices_mask = 2;
    c.beside = host_register(f.rt, &mc);
    mc.name = "m";
    mc.devices_mask = 1;
    sgi_lease lease = host_acquire(f.rt, host_register(f.rt, &mc));
    if (sgi_lease_run(f.rt, lease, capture, &c, &f.err) != SGI_OK)
        fail_msg("the capture ends with %u, the start beside it with %s: %s", c.ended, sgi_status_name(c.status),
                 f.err.message);
    host_release(f.rt, lease);
    cuda_close(&f);
}

static void a_wait_with_a_deadline_ends_at_it(void **state)
{
    struct fixture      f;
    sgi_runtime_config  config = cuda_config("cuda:0", 0);
    sgi_acquire_options early;
    sgi_lease           lease = 0;

    (void)state;
    cuda_open(&f, &config);
    sgi_model model = host_add(f.rt, "m", file.path, NULL);
    sgi_acquire_options_init(&early, sizeof early);
    early.flags = SGI_ACQUIRE_EARLY;
    fake.fakecuda_hold();
    assert_int_equal(sgi_model_acquire_wait(f.rt, model, &early, &lease, &f.err), SGI_OK);
    assert_int_equal(sgi_lease_tensor_wait(f.rt, lease, 0, 20, &f.err), SGI_E_TIMEOUT);
    assert_non_null(strstr(f.err.message, "tensor 'first' has not arrived in time"));
    fake.fakecuda_go();
    assert_int_equal(sgi_lease_tensor_wait(f.rt, lease, 0, SGI_FOREVER, &f.err), SGI_OK);
    host_release(f.rt, lease);
    cuda_close(&f);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(code_runs_with_the_device_current_and_nothing_else_changes, cuda_clear),
        cmocka_unit_test_setup(an_engine_starts_serves_and_stops_on_its_device, cuda_clear),
        cmocka_unit_test_setup(an_engines_memory_is_zero, cuda_clear),
        cmocka_unit_test_setup(an_engine_that_asks_for_too_much_is_told_how_much_there_is, cuda_clear),
        cmocka_unit_test_setup(an_early_lease_computes_while_weights_arrive, cuda_clear),
        cmocka_unit_test_setup(a_context_that_was_set_is_taken_off_again, cuda_clear),
        cmocka_unit_test_setup(work_that_was_left_is_waited_for, cuda_clear),
        cmocka_unit_test_setup(an_engine_may_ask_for_memory_while_it_captures, cuda_clear),
        cmocka_unit_test_setup(a_threads_own_mode_stays, cuda_clear),
        cmocka_unit_test_setup(a_graph_is_captured_while_others_come_and_go, cuda_clear),
        cmocka_unit_test_setup(a_wait_with_a_deadline_ends_at_it, cuda_clear),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
