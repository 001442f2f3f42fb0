/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ways in which users were let down (tests/faults/README.md), where it takes a driver to show them. A second
 * process on the same device is this program once more, as `hold BYTES`: it takes memory there until its input ends.
 */
#include "cuda_host.h"

#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct test_tensor tensors[] = { { "a", KIB(300) }, { "b", 77 }, { "c", MIB(1) } };
enum { TENSORS = sizeof tensors / sizeof *tensors };

static struct test_file file;
static const char      *program;

static int make_files(void **state)
{
    if (cuda_set_up(state) != 0)
        return -1;
    test_file_make(&file, &cuda_folder, "m.safetensors", 0, tensors, TENSORS);
    return 0;
}

static int remove_files(void **state)
{
    test_file_free(&file);
    return cuda_tear_down(state);
}

static void open_one(struct fixture *f, uint64_t bytes_max, uint64_t dram_bytes, sgi_model *model_out)
{
    sgi_runtime_config config = cuda_config("cuda:0", bytes_max);

    config.dram_bytes_max = dram_bytes;
    config.context_linger_ms = SGI_IDLE_NEVER;
    cuda_open(f, &config);
    *model_out = host_add(f->rt, "m", file.path, NULL);
}

static void unload(struct fixture *f, sgi_model model, uint32_t tier)
{
    assert_int_equal(sgi_model_evict(f->rt, model, tier), SGI_OK);
    host_wait_state(f->rt, model, SGI_MODEL_COLD);
}

struct resting {
    struct fixture *f;
    sgi_model       model;
};

static bool is_cold(void *user)
{
    struct resting *r = user;
    if (host_state(r->f->rt, r->model).state == SGI_MODEL_COLD)
        return true;
    cuda_advance(r->f, 1); /* it may back off */
    return false;
}

static void wait_cold(struct fixture *f, sgi_model model)
{
    test_wait_until(is_cold, &(struct resting){ f, model }, "a model does not become cold");
}

/* ---- somebody else ---- */

struct holder {
    pid_t pid;
    int   input;
};

static struct holder somebody_takes(uint64_t bytes)
{
    struct holder              h;
    posix_spawn_file_actions_t actions;
    int                        to[2], from[2];
    char                       count[32], ready;
    char *const                argv[] = { (char *)(uintptr_t)program, "hold", count, NULL };

    snprintf(count, sizeof count, "%llu", (unsigned long long)bytes);
    assert_true(pipe(to) == 0 && pipe(from) == 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, to[0], 0);
    posix_spawn_file_actions_adddup2(&actions, from[1], 1);
    posix_spawn_file_actions_addclose(&actions, to[1]);
    assert_int_equal(posix_spawn(&h.pid, program, &actions, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(to[0]);
    close(from[1]);
    assert_int_equal(read(from[0], &ready, 1), 1);
    close(from[0]);
    h.input = to[1];
    return h;
}

static void somebody_leaves(struct holder *h)
{
    int status = 0;
    close(h->input);
    assert_int_equal(waitpid(h->pid, &status, 0), h->pid);
    assert_int_equal(status, 0);
}

static int hold(uint64_t bytes)
{
    cu_handle handle = 0;
    char      end;

    if (!fake_cuda_find() || cu.cuInit(0) != CU_OK)
        return 1;
    handle = create(bytes);
    if (write(1, "r", 1) != 1 || read(0, &end, 1) != 0)
        return 1;
    return cu.cuMemRelease(handle) == CU_OK ? 0 : 1;
}

/* ---- the modes ---- */

/* vLLM#34600: what was mapped before it failed stays. */
static void mode_03_a_load_that_dies_at_any_copy_leaves_no_device_memory(void **state)
{
    struct fixture         f;
    struct fakecuda_ledger l;
    sgi_model              model;
    uint64_t               n = 0, died = 0;

    (void)state;
    open_one(&f, 0, SGI_NONE, &model);
    for (;;) {
        sgi_lease lease = 0;
        fake_cuda_fault("cuMemcpyHtoDAsync_v2 %llu error 304", (unsigned long long)++n);
        if (sgi_model_acquire_wait(f.rt, model, NULL, &lease, &f.err) == SGI_OK) {
            fake.fakecuda_faults_clear();
            host_release(f.rt, lease);
            break;
        }
        died++;
        host_error_is(&f.err, SGI_E_DEVICE, SGI_STEP_COPY, "cuMemcpyHtoDAsync");
        wait_cold(&f, model);
        fake.fakecuda_ledger(&l);
        assert_true(l.handles == 0 && l.mappings == 0 && l.reservations == 0 && l.streams == 0 && l.events == 0);
        assert_int_equal(host_device(f.rt, 0).bytes_used, 0);
    }
    assert_true(died > 10);
    cuda_close(&f);
}

/* Ollama: the estimate says that it fits, the driver says no. */
static void mode_04_the_driver_has_less_than_the_books_say(void **state)
{
    struct fixture f;
    sgi_model      model;

    (void)state;
    open_one(&f, MIB(900), SGI_NONE, &model);
    sgi_model idle = host_add(f.rt, "idle", file.path, NULL);
    host_release(f.rt, host_acquire(f.rt, idle));
    fake_cuda_fault("cuMemCreate 1 error 2");
    host_release(f.rt, host_acquire(f.rt, model)); /* what was idle has left for it */
    assert_int_equal(host_state(f.rt, idle).state, SGI_MODEL_COLD);
    fake_cuda_fault("cuMemCreate 1+ error 2");
    assert_int_equal(host_acquire_fails(f.rt, idle, &f.err), SGI_E_DEVICE_MEMORY); /* once more, then it is believed */
    host_error_is(&f.err, SGI_E_DEVICE_MEMORY, SGI_STEP_MEMORY, "cuda:0: cuMemCreate of 2097152 bytes, 0 were had; ");
    assert_non_null(strstr(f.err.message, " of 1073741824 are free"));
    fake.fakecuda_faults_clear();
    cuda_close(&f);
}

/* cuda-checkpoint#44: a restore that finds no memory takes the process with it. Here it is a start from DRAM. */
static void mode_05_a_start_from_dram_without_memory_can_be_tried_again(void **state)
{
    struct fixture f;
    sgi_model      model;

    (void)state;
    open_one(&f, 0, MIB(64), &model);
    host_release(f.rt, host_acquire(f.rt, model));
    unload(&f, model, SGI_TIER_DRAM);
    fake_cuda_fault("cuMemCreate 1+ error 2");
    assert_int_equal(host_acquire_fails(f.rt, model, &f.err), SGI_E_DEVICE_MEMORY);
    fake.fakecuda_faults_clear();
    assert_true(host_state(f.rt, model).dram_bytes > 0);
    wait_cold(&f, model);
    sgi_lease lease = host_acquire(f.rt, model);
    assert_int_equal(host_timing(f.rt, lease).tier, SGI_TIER_DRAM);
    cuda_same_bytes(&f, model, lease, &file);
    host_release(f.rt, lease);
    cuda_close(&f);
}

/* llama-swap#97: unloaded is said, and the driver has not freed it yet. */
static void mode_06_unloaded_is_said_when_the_driver_has_the_memory_back(void **state)
{
    struct fixture f;
    sgi_model      model;
    uint64_t       empty;

    (void)state;
    open_one(&f, 0, SGI_NONE, &model);
    host_release(f.rt, host_acquire(f.rt, model));
    unload(&f, model, SGI_TIER_DISK);
    empty = fake.fakecuda_used(0); /* the context stays */
    for (int n = 0; n < 50; n++) {
        host_release(f.rt, host_acquire(f.rt, model));
        assert_int_equal(fake.fakecuda_used(0), empty + MIB(2));
        unload(&f, model, SGI_TIER_DISK);
        assert_int_equal(fake.fakecuda_used(0), empty);
    }
    cuda_close(&f);
}

/* vLLM#37065: two processes each take what both have seen to be free. The one that comes second is told, and goes on.
 * */
static void mode_08_another_process_takes_what_was_seen_to_be_free(void **state)
{
    struct fixture f;
    sgi_model      model;

    (void)state;
    open_one(&f, UINT64_C(1) << 30, SGI_NONE, &model);
    struct holder h = somebody_takes((UINT64_C(1) << 30) - MIB(2)); /* not even the context fits any more */
    sgi_status    st = host_acquire_fails(f.rt, model, &f.err);
    assert_true(st == SGI_E_DEVICE_MEMORY);
    somebody_leaves(&h);
    wait_cold(&f, model);
    sgi_lease lease = host_acquire(f.rt, model);
    cuda_same_bytes(&f, model, lease, &file);
    host_release(f.rt, lease);
    cuda_close(&f);
}

/* vLLM#29341: all is well, and the bytes are wrong: buffers are used again while copies from them are late. */
static void mode_17_the_bytes_are_right_however_late_the_copies_are(void **state)
{
    struct fixture f;
    sgi_model      model;

    (void)state;
    for (int n = 0; n < 12; n++) {
        fake.fakecuda_pace((unsigned)n * 50, (unsigned)n * 100, (uint64_t)n);
        open_one(&f, 0, n % 2 ? MIB(64) : SGI_NONE, &model);
        for (int round = 0; round < 3; round++) {
            sgi_lease lease = host_acquire(f.rt, model);
            cuda_same_bytes(&f, model, lease, &file);
            host_release(f.rt, lease);
            unload(&f, model, SGI_TIER_DRAM);
        }
        cuda_close(&f);
    }
    fake.fakecuda_pace(20, 80, 1);
}

/* mistral.rs#2113 and others: hundreds of megabytes stay in the process, or are there before any model. */
static void mode_18_what_contexts_take_is_seen_and_goes_with_them(void **state)
{
    struct fixture     f;
    sgi_runtime_config config = cuda_config("cuda:0", 0);
    sgi_events         events = 0;
    sgi_event          event = { .struct_size = sizeof event };

    (void)state;
    cuda_open(&f, &config);
    assert_int_equal(sgi_events_open(f.rt, 64, UINT64_C(1) << SGI_EVENT_DEVICE_ZERO, &events, &f.err), SGI_OK);
    sgi_model model = host_add(f.rt, "m", file.path, NULL);
    assert_int_equal(fake.fakecuda_used(0), 0); /* before any model: nothing */
    host_release(f.rt, host_acquire(f.rt, model));
    assert_true(host_device(f.rt, 0).bytes_foreign >= MIB(64)); /* the fake's context */
    cuda_wait_zero(&f, 0);
    assert_int_equal(sgi_events_read(f.rt, events, &event), SGI_OK);
    assert_true(event.kind == SGI_EVENT_DEVICE_ZERO && event.residue_bytes == 0);
    assert_int_equal(host_device(f.rt, 0).bytes_residue, 0);
    assert_int_equal(fake.fakecuda_used(0), 0);
    cuda_close(&f);
}

static bool is_granted(void *user)
{
    struct fixture *f = user;
    cuda_advance(f, 250); /* whoever is blocked has others looked at so often */
    return host_info(f->rt).requests_waiting == 0;
}

/* It is seen, waited for, and noticed when it goes; without polling once nobody waits. */
static void mode_19_memory_that_another_process_holds_is_waited_for(void **state)
{
    struct fixture f;
    sgi_model      first, model;
    sgi_ticket     ticket;
    sgi_lease      lease = 0;

    (void)state;
    open_one(&f, UINT64_C(1) << 30, SGI_NONE, &first);
    host_release(f.rt, host_acquire(f.rt, first)); /* so that there is a context, and somebody looks */
    struct holder h = somebody_takes(MIB(900));
    unload(&f, first, SGI_TIER_DISK);
    assert_true(host_device(f.rt, 0).bytes_foreign >= MIB(964));
    sgi_model_config   mc = host_model("large", file.path, NULL);
    struct test_engine engine;
    test_engine_init(&engine, false, false);
    mc.engine = &engine.table;
    mc.engine_bytes = MIB(200);
    model = host_register(f.rt, &mc);
    assert_int_equal(sgi_model_acquire(f.rt, model, NULL, &ticket, NULL, NULL, &f.err), SGI_OK);
    for (int n = 0; n < 10; n++)
        cuda_advance(&f, 250);
    assert_int_equal(host_state(f.rt, model).state, SGI_MODEL_QUEUED);
    somebody_leaves(&h);
    test_wait_until(is_granted, &f, "nobody notices that there is room again");
    assert_int_equal(sgi_ticket_wait(f.rt, ticket, HOST_WAIT_MS, &lease, &f.err), SGI_OK);
    host_release(f.rt, lease);
    cuda_close(&f);
    test_engine_fini(&engine);
}

/* Triton#3320, #7727: each cycle leaves a little. */
static void mode_24_no_cycle_leaves_anything_with_the_driver(void **state)
{
    struct fixture         f;
    struct fakecuda_ledger first, then;
    sgi_model              model;

    (void)state;
    open_one(&f, 0, MIB(64), &model);
    for (int n = 0; n < 200; n++) {
        host_release(f.rt, host_acquire(f.rt, model));
        unload(&f, model, n % 3 ? SGI_TIER_DRAM : SGI_TIER_DISK);
        fake.fakecuda_ledger(n == 0 ? &first : &then);
        assert_true(n == 0 || (then.handles == 0 && then.streams == 0 && then.events == 0 && then.mappings == 0 &&
                               then.reservations == 0 && then.contexts == first.contexts));
    }
    cuda_close(&f);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(mode_03_a_load_that_dies_at_any_copy_leaves_no_device_memory, cuda_clear),
        cmocka_unit_test_setup(mode_04_the_driver_has_less_than_the_books_say, cuda_clear),
        cmocka_unit_test_setup(mode_05_a_start_from_dram_without_memory_can_be_tried_again, cuda_clear),
        cmocka_unit_test_setup(mode_06_unloaded_is_said_when_the_driver_has_the_memory_back, cuda_clear),
        cmocka_unit_test_setup(mode_08_another_process_takes_what_was_seen_to_be_free, cuda_clear),
        cmocka_unit_test_setup(mode_17_the_bytes_are_right_however_late_the_copies_are, cuda_clear),
        cmocka_unit_test_setup(mode_18_what_contexts_take_is_seen_and_goes_with_them, cuda_clear),
        cmocka_unit_test_setup(mode_19_memory_that_another_process_holds_is_waited_for, cuda_clear),
        cmocka_unit_test_setup(mode_24_no_cycle_leaves_anything_with_the_driver, cuda_clear),
    };
    if (argc > 2 && strcmp(argv[1], "hold") == 0)
        return hold(strtoull(argv[2], NULL, 10));
    program = argv[0];
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
