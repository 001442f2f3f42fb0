/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A runtime's whole life on a cuda device, in which the Nth call of one function of the driver fails, once or from
 * there on, for N = 1, 2, ... until a life makes fewer. What fails says so; what is granted is right; once the cause is
 * gone the next acquire works; and in the end the driver holds nothing for us. --every: no N is left out.
 */
#include "cuda_host.h"

#include <stdio.h>
#include <string.h>

static const struct test_tensor tensors[] = { { "a", KIB(300) }, { "b", 77 }, { "c", 1000 }, { "d", KIB(700) } };
enum { TENSORS = sizeof tensors / sizeof *tensors };

static struct test_file file;
static sgi_tensor_check checks[TENSORS];
static bool             every;
static uint64_t         dram_bytes; /* with it each load leaves a copy there, and the next start comes from it */

static int make_files(void **state)
{
    if (cuda_set_up(state) != 0)
        return -1;
    test_file_make(&file, &cuda_folder, "m.safetensors", 0, tensors, TENSORS);
    uint64_t at = file.data_offset;
    for (size_t n = 0; n < TENSORS; n++) {
        checks[n] = (sgi_tensor_check){ .name = tensors[n].name, .xxh3 = test_xxh3(file.data + at, tensors[n].bytes) };
        at += tensors[n].bytes;
    }
    return 0;
}

static int remove_files(void **state)
{
    test_file_free(&file);
    return cuda_tear_down(state);
}

/* ---- one life ---- */

struct life {
    const char        *call;
    uint64_t           nth;
    uint32_t           code; /* that it fails with */
    uint32_t           failures;
    sgi_runtime       *rt;
    struct test_engine engine;
    sgi_model          served, plain;
    sgi_status         alloc; /* what its engine was told */
    sgi_error          alloc_err;
};

/* What a failing driver may lead to, and with its number. A start that waits for a load says what that failed with. */
static bool good(struct life *l, const char *what, sgi_status st, const sgi_error *err)
{
    if (st == SGI_OK)
        return true;
    l->failures++;
    bool said = st == SGI_E_DEVICE || st == SGI_E_DEVICE_MEMORY;
    if (!said || err->code != st || err->driver_code != (int32_t)l->code || strlen(err->message) == 0)
        fail_msg("%s %llu: %s said %s (%d) at step %s: %s", l->call, (unsigned long long)l->nth, what,
                 sgi_status_name(st), err->driver_code, sgi_step_name(err->step), err->message);
    return false;
}

/* Reading back is the driver's too; what comes back is right. */
static void same_bytes(struct life *l, sgi_lease lease)
{
    sgi_error err = SGI_ERROR_INIT;
    uint64_t  digest;

    for (uint64_t n = 0; n < TENSORS; n++)
        if (good(l, "digest", sgi_lease_tensor_digest(l->rt, lease, n, &digest, &err), &err) &&
            digest != checks[n].xxh3)
            fail_msg("%s %llu: tensor %s is not what the file has", l->call, (unsigned long long)l->nth,
                     tensors[n].name);
}

static sgi_status nothing(void *user, void *stream, sgi_error *err)
{
    (void)user, (void)stream, (void)err;
    return SGI_OK;
}

static void take_memory(void *user, sgi_stage *stage)
{
    struct life *l = user;
    sgi_view     view = { .struct_size = sizeof view };
    void        *memory;

    l->alloc_err = (sgi_error)SGI_ERROR_INIT;
    l->alloc = sgi_stage_alloc(stage, MIB(3), &memory, &l->alloc_err);
    if (l->alloc == SGI_OK)
        l->alloc = sgi_stage_tensor_on(stage, 0, sgi_stage_stream(stage), &view, &l->alloc_err);
}

static void serve(struct life *l)
{
    struct test_request request = { .kind = REQUEST_EMIT, .pieces = 2, .piece_bytes = 10 };
    sgi_error           err = SGI_ERROR_INIT;
    sgi_lease           lease = 0;
    void               *stream;

    if (!good(l, "acquire", sgi_model_acquire_wait(l->rt, l->served, NULL, &lease, &err), &err))
        return;
    good(l, "its engine's memory", l->alloc, &l->alloc_err);
    l->alloc = SGI_OK;
    same_bytes(l, lease);
    good(l, "call", sgi_lease_call(l->rt, lease, &request, sizeof request, SGI_FOREVER, NULL, NULL, &err), &err);
    good(l, "run", sgi_lease_run(l->rt, lease, nothing, NULL, &err), &err);
    good(l, "stream", sgi_lease_stream(l->rt, lease, &stream, &err), &err);
    host_release(l->rt, lease);
}

static void serve_early(struct life *l)
{
    sgi_acquire_options o;
    sgi_error           err = SGI_ERROR_INIT;
    sgi_lease           lease = 0;
    bool                there = true;

    sgi_acquire_options_init(&o, sizeof o);
    o.flags = SGI_ACQUIRE_EARLY;
    if (!good(l, "early acquire", sgi_model_acquire_wait(l->rt, l->plain, &o, &lease, &err), &err))
        return;
    for (uint64_t n = 0; n < TENSORS && there; n++)
        there = good(l, "on", sgi_lease_tensor_on(l->rt, lease, n, NULL, &err), &err) &&
                good(l, "wait", sgi_lease_tensor_wait(l->rt, lease, n, SGI_FOREVER, &err), &err);
    if (there)
        same_bytes(l, lease);
    host_release(l->rt, lease);
}

static bool rests(void *user)
{
    struct life *l = user;
    uint32_t     a = host_state(l->rt, l->served).state, b = host_state(l->rt, l->plain).state;
    return (a == SGI_MODEL_COLD || a == SGI_MODEL_READY) && (b == SGI_MODEL_COLD || b == SGI_MODEL_READY);
}

static void step_down(struct life *l, uint32_t tier)
{
    test_wait_until(rests, l, "a model is stuck");
    assert_int_equal(sgi_runtime_evict(l->rt, tier), SGI_OK);
    test_wait_until(rests, l, "a model is stuck");
}

static void open_life(struct life *l)
{
    sgi_runtime_config config = cuda_config("cuda:0", MIB(64));
    sgi_model_config   mc;
    sgi_error          err = SGI_ERROR_INIT;

    config.dram_bytes_max = dram_bytes;
    config.idle_timeout_ms = SGI_IDLE_NEVER;
    config.context_linger_ms = SGI_IDLE_NOW; /* each start has a context to open, and pages to pin */
    test_engine_init(&l->engine, false, false);
    l->engine.in_start = take_memory;
    l->engine.user = l;
    if (!good(l, "open", sgi_runtime_open(&config, &l->rt, &err), &err)) {
        fake.fakecuda_faults_clear(); /* all there is to it */
        assert_int_equal(sgi_runtime_open(&config, &l->rt, &err), SGI_OK);
    }
    mc = host_model("served", file.path, &l->engine);
    mc.checks = checks;
    mc.checks_count = TENSORS;
    l->served = host_register(l->rt, &mc);
    mc.name = "plain";
    mc.engine = NULL;
    l->plain = host_register(l->rt, &mc);
}

/* Failures; the life is as it should be in the end whatever they were. */
static uint32_t live(const char *call, uint64_t nth, const char *more, uint32_t code)
{
    struct life l = { .call = call, .nth = nth, .code = code };

    if (nth > 0)
        fake_cuda_fault("%s %llu%s error %u", call, (unsigned long long)nth, more, code);
    open_life(&l);
    serve(&l);
    step_down(&l, SGI_TIER_DRAM);
    serve(&l);
    serve_early(&l);
    step_down(&l, SGI_TIER_DRAM);
    serve_early(&l);
    step_down(&l, SGI_TIER_DISK);

    uint32_t failures = l.failures;
    fake.fakecuda_faults_clear();
    l.failures = 0;
    serve(&l);
    assert_int_equal(l.failures, 0);
    host_close(l.rt);
    test_engine_fini(&l.engine);
    fake_cuda_nothing_is_held(call, nth);
    fake_cuda_no_violations();
    return failures;
}

/* ---- the loop ---- */

static const struct subject {
    const char *call;
    bool        survived; /* it may fail, and nothing has to be said */
    bool        once;     /* without it nothing can be given back for ever */
} subjects[] = {
    { "cuDeviceGet", false, false },
    { "cuDeviceTotalMem_v2", false, false },
    { "cuDevicePrimaryCtxRetain", false, false },
    { "cuDevicePrimaryCtxSetFlags_v2", true, false },
    { "cuDevicePrimaryCtxGetState", true, false },
    { "cuCtxGetCurrent", false, true },
    { "cuCtxPushCurrent_v2", false, true },
    { "cuCtxPopCurrent_v2", true, true },
    { "cuThreadExchangeStreamCaptureMode", true, false },
    { "cuMemGetInfo_v2", true, false },
    { "cuDeviceGetAttribute", false, false },
    { "cuDeviceGetPCIBusId", false, false },
    { "cuMemGetAllocationGranularity", false, false },
    { "cuMemAddressReserve", false, false },
    { "cuMemCreate", false, false },
    { "cuMemMap", false, false },
    { "cuMemSetAccess", false, false },
    { "cuMemHostRegister_v2", true, false },
    { "cuStreamCreate", false, false },
    { "cuEventCreate", false, false },
    { "cuMemcpyHtoDAsync_v2", false, false },
    { "cuMemcpyDtoHAsync_v2", false, false },
    { "cuMemsetD8Async", false, false },
    { "cuEventRecord", false, false },
    { "cuEventQuery", true, false }, /* with a copy in DRAM nobody asks */
    { "cuEventSynchronize", false, false },
    { "cuStreamWaitEvent", false, false },
    { "cuStreamSynchronize", false, false },
    /* What gives back is tried once more. */
    { "cuDevicePrimaryCtxRelease_v2", true, true },
    { "cuMemUnmap", true, true },
    { "cuMemRelease", true, true },
    { "cuMemAddressFree", true, true },
    { "cuMemHostUnregister", true, true },
    { "cuStreamDestroy_v2", true, true },
    { "cuEventDestroy_v2", true, true },
};

static void one_call_fails(const struct subject *s, const char *more, uint32_t code)
{
    uint32_t failures = 0;

    for (uint64_t n = 1;; n += every ? 1 : 3 * n) {
        uint64_t before = fake.fakecuda_calls(s->call);
        failures += live(s->call, n, more, code);
        if (fake.fakecuda_calls(s->call) - before < n)
            break;
    }
    fake.fakecuda_faults_clear();
    if (!s->survived && failures == 0)
        fail_msg("nobody was told that %s failed", s->call);
}

static void each_call_fails(void **state)
{
    dram_bytes = *state ? MIB(16) : SGI_NONE;
    assert_int_equal(live("nothing", 0, "", 0), 0);
    for (size_t n = 0; n < sizeof subjects / sizeof *subjects; n++) {
        one_call_fails(&subjects[n], "", 304);
        if (every && !subjects[n].once)
            one_call_fails(&subjects[n], "+", 304);
    }
}

static void there_is_no_memory(void **state)
{
    static const struct subject takes[] = {
        { "cuMemCreate", false, false },    { "cuMemMap", false, false },
        { "cuStreamCreate", false, false }, { "cuMemHostRegister_v2", true, false },
        { "cuEventCreate", false, false },  { "cuDevicePrimaryCtxRetain", false, false },
    };

    dram_bytes = *state ? MIB(16) : SGI_NONE;
    for (size_t n = 0; n < sizeof takes / sizeof *takes; n++) {
        one_call_fails(&takes[n], "", CU_OUT_OF_MEMORY);
        if (every)
            one_call_fails(&takes[n], "+", CU_OUT_OF_MEMORY);
    }
}

int main(int argc, char **argv)
{
    static char             with_dram[] = "with DRAM";
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(each_call_fails, NULL),
        cmocka_unit_test_prestate(each_call_fails, with_dram),
        cmocka_unit_test_prestate(there_is_no_memory, NULL),
        cmocka_unit_test_prestate(there_is_no_memory, with_dram),
    };
    every = argc > 1 && strcmp(argv[1], "--every") == 0;
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
