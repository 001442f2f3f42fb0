/* SPDX-License-Identifier: Apache-2.0 */
/* What is counted and told, where the driver or somebody's code does what it should not. */
#include "cuda_host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct test_tensor tensors[] = { { "a", KIB(16) } };
static struct test_file         file;

static int make_files(void **state)
{
    if (cuda_set_up(state) != 0)
        return -1;
    test_file_make(&file, &cuda_folder, "m.safetensors", 0, tensors, 1);
    return 0;
}

static int remove_files(void **state)
{
    test_file_free(&file);
    return cuda_tear_down(state);
}

static struct fakecuda_ledger ledger(void)
{
    struct fakecuda_ledger l;
    fake.fakecuda_ledger(&l);
    return l;
}

static sgi_runtime_config without_timers(void)
{
    sgi_runtime_config c = cuda_config("cuda:0", 0);
    c.idle_timeout_ms = SGI_IDLE_NEVER;
    return c;
}

static void unload(struct fixture *f, sgi_model model)
{
    assert_int_equal(sgi_model_evict(f->rt, model, SGI_TIER_DISK), SGI_OK);
    host_wait_state(f->rt, model, SGI_MODEL_COLD);
}

/* ---- what there is ---- */

static void cuda_can_be_used(void **state)
{
    sgi_feature feature = { .struct_size = sizeof feature };

    (void)state;
    for (uint32_t n = 0; sgi_feature_at(n, &feature) == SGI_OK && strcmp(feature.name, "cuda") != 0; n++)
        ;
    assert_string_equal(feature.name, "cuda");
    assert_int_equal(feature.usable, 1);
    assert_non_null(strstr(feature.detail, "shows 1 device"));
}

/* A device that is a part of a card: what NVML says of the card, most of which others have, is not of the device. */
static void a_part_of_a_card_is_not_full_with_the_rest(void **state)
{
    struct fixture     f;
    sgi_runtime_config config = without_timers();

    (void)state;
    assert_int_equal(setenv("FAKECUDA_CARD", "80G", 1), 0);
    cuda_open(&f, &config);
    sgi_model model = host_add(f.rt, "m", file.path, NULL);
    for (int round = 0; round < 3; round++) {
        host_release(f.rt, host_acquire(f.rt, model));
        assert_true(host_device(f.rt, 0).bytes_foreign <= MIB(64));
        unload(&f, model);
    }
    cuda_close(&f);
    assert_int_equal(unsetenv("FAKECUDA_CARD"), 0);
}

static void what_does_not_fit_is_told_with_the_device(void **state)
{
    struct fixture     f;
    sgi_runtime_config config = cuda_config("cuda:0 host", MIB(2));
    struct test_file   large;
    sgi_ticket         ticket;
    sgi_lease          lease;

    (void)state;
    test_file_make_one(&large, &cuda_folder, "large.safetensors", MIB(2) + 1);
    cuda_open(&f, &config);
    sgi_model_config mc = host_model("m", large.path, NULL);
    mc.devices_mask = 1;
    sgi_model model = host_register(f.rt, &mc);
    assert_int_equal(host_acquire_fails(f.rt, model, &f.err), SGI_E_NO_ROOM);
    assert_string_equal(f.err.message, "model 'm' needs 4194304 bytes on cuda:0, and 0 for its engine; "
                                       "models may take 2097152 there");
    mc.name = "host";
    mc.devices_mask = 2;
    model = host_register(f.rt, &mc);
    assert_int_equal(sgi_model_prefetch(f.rt, model, SGI_TIER_DRAM, NULL, &ticket, NULL, NULL, &f.err), SGI_OK);
    assert_int_equal(sgi_ticket_wait(f.rt, ticket, HOST_WAIT_MS, &lease, &f.err), SGI_E_NO_ROOM);
    assert_non_null(strstr(f.err.message, "bytes in DRAM, of which models may take 0"));
    cuda_close(&f);
    test_file_free(&large);
}

/* ---- whose memory it is ---- */

struct calls {
    const char *name;
    uint64_t    count;
};

static bool are_made(void *user)
{
    const struct calls *c = user;
    return fake.fakecuda_calls(c->name) >= c->count;
}

/* One tensor of zeros, which no byte of a disk is behind. */
static void make_sparse(char *path, size_t room, uint64_t bytes)
{
    char     text[128];
    uint64_t length = (uint64_t)snprintf(text, sizeof text,
                                         "{\"w\":{\"dtype\":\"U8\",\"shape\":[%llu],\"data_offsets\":[0,%llu]}}",
                                         (unsigned long long)bytes, (unsigned long long)bytes);

    snprintf(path, room, "%s/sparse.safetensors", cuda_folder.path);
    FILE *out = fopen(path, "we");
    assert_non_null(out);
    assert_int_equal(fwrite(&length, sizeof length, 1, out), 1);
    assert_int_equal(fwrite(text, length, 1, out), 1);
    assert_int_equal(fclose(out), 0);
    assert_int_equal(truncate(path, (off_t)(sizeof length + length + bytes)), 0);
}

/* A start takes a handle of 512 MiB, and then the driver takes its time for the rest. */
static void what_is_being_taken_is_not_somebody_elses(void **state)
{
    char               path[320];
    struct fixture     f;
    sgi_runtime_config config = without_timers();
    sgi_ticket         ticket;
    sgi_lease          lease;

    (void)state;
    make_sparse(path, sizeof path, MIB(600));
    cuda_open(&f, &config);
    sgi_model big = host_add(f.rt, "big", path, NULL), small = host_add(f.rt, "small", file.path, NULL);
    host_release(f.rt, host_acquire(f.rt, small)); /* the context is open */
    uint64_t before = host_device(f.rt, 0).bytes_foreign;
    unload(&f, small);

    struct calls more = { "cuMemCreate", fake.fakecuda_calls("cuMemCreate") + 2 };
    fake_cuda_fault("cuMemCreate 2 delay 500");
    assert_int_equal(sgi_model_acquire(f.rt, big, NULL, &ticket, NULL, NULL, &f.err), SGI_OK);
    test_wait_until(are_made, &more, "a start does not take its memory");
    host_release(f.rt, host_acquire(f.rt, small)); /* its arena is looked behind */
    assert_int_equal(host_device(f.rt, 0).bytes_foreign, before);
    assert_int_equal(sgi_acquire_cancel(f.rt, ticket), SGI_OK);
    assert_int_equal(sgi_ticket_wait(f.rt, ticket, HOST_WAIT_MS, &lease, &f.err), SGI_E_CANCELED);
    cuda_close(&f);
    unlink(path);
}

struct greedy {
    sgi_status large, small;
    sgi_error  err;
};

static void take_too_much(void *user, sgi_stage *stage)
{
    struct greedy *g = user;
    void          *memory;

    g->err = (sgi_error)SGI_ERROR_INIT;
    g->large = sgi_stage_alloc(stage, MIB(600), &memory, &g->err);
    g->small = sgi_stage_alloc(stage, MIB(8), &memory, NULL);
}

/* The books say that there is room, and the driver has none: nothing is charged for it, nor kept for next time. */
static void memory_that_was_not_to_be_had_is_not_charged(void **state)
{
    struct fixture     f;
    sgi_runtime_config config = without_timers();
    struct greedy      g;
    struct test_engine engine;
    sgi_model_info     info = { .struct_size = sizeof info };

    (void)state;
    cuda_open(&f, &config);
    test_engine_init(&engine, false, false);
    engine.in_start = take_too_much;
    engine.user = &g;
    sgi_model model = host_add(f.rt, "m", file.path, &engine);
    fake_cuda_fault("cuMemCreate 2 error 2");
    host_release(f.rt, host_acquire(f.rt, model));
    assert_int_equal(g.large, SGI_E_DEVICE_MEMORY);
    assert_non_null(strstr(g.err.message, "are free"));
    assert_int_equal(g.small, SGI_OK);
    assert_int_equal(host_device(f.rt, 0).bytes_engine, MIB(8));
    assert_int_equal(host_device(f.rt, 0).bytes_used, ledger().handle_bytes);
    assert_int_equal(sgi_model_describe(f.rt, model, &info), SGI_OK);
    assert_int_equal(info.engine_bytes, MIB(8));
    cuda_close(&f);
    test_engine_fini(&engine);
}

/* ---- whose word counts ---- */

static sgi_status says_lost(void *user, void *stream, sgi_error *err)
{
    (void)user, (void)stream;
    err->code = SGI_E_DEVICE_LOST;
    snprintf(err->message, sizeof err->message, "so it says");
    return SGI_E_DEVICE_LOST;
}

static void somebodys_word_loses_no_device(void **state)
{
    struct fixture     f;
    sgi_runtime_config config = without_timers();

    (void)state;
    cuda_open(&f, &config);
    sgi_model model = host_add(f.rt, "m", file.path, NULL);
    sgi_lease lease = host_acquire(f.rt, model);
    assert_int_equal(sgi_lease_run(f.rt, lease, says_lost, NULL, &f.err), SGI_E_DEVICE_LOST);
    assert_string_equal(f.err.message, "so it says");
    assert_int_equal(host_device(f.rt, 0).lost, 0);
    host_release(f.rt, lease);
    unload(&f, model);
    host_release(f.rt, host_acquire(f.rt, model));
    cuda_close(&f);
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
    cuda_advance(r->f, 1); /* it backs off */
    return false;
}

/* The driver says the same code twice, for two reasons. */
static void a_failure_is_told_with_its_own_reason(void **state)
{
    struct fixture     f;
    sgi_runtime_config config = cuda_config("cuda:0", 0);

    (void)state;
    cuda_open(&f, &config);
    sgi_model model = host_add(f.rt, "m", file.path, NULL);
    fake_cuda_fault("cuMemcpyHtoDAsync_v2 1 error 304");
    assert_int_equal(host_acquire_fails(f.rt, model, &f.err), SGI_E_DEVICE);
    assert_non_null(strstr(f.err.message, "cuMemcpyHtoDAsync"));
    host_release(f.rt, host_acquire(f.rt, model));
    cuda_wait_zero(&f, 0);
    for (int n = 0; n < 10; n++) {
        fake_cuda_fault("cuDevicePrimaryCtxRetain 1 error 46");
        assert_int_equal(host_acquire_fails(f.rt, model, &f.err), SGI_E_DEVICE);
        host_error_is(&f.err, SGI_E_DEVICE, SGI_STEP_CONTEXT, "cuDevicePrimaryCtxRetain");
        test_wait_until(is_cold, &(struct resting){ &f, model }, "a model does not become cold");
        fake.fakecuda_faults_clear();
    }
    cuda_close(&f);
}

/* ---- threads ---- */

enum { CROWD = 300 };

/* All who come while a context closes wait for the next one, and none of them in the way of its opening. */
static void a_crowd_waits_for_a_context(void **state)
{
    static sgi_model   models[CROWD];
    static sgi_ticket  tickets[CROWD];
    struct fixture     f;
    sgi_runtime_config config = cuda_config("cuda:0", 0);
    struct calls       closes = { "cuDevicePrimaryCtxRelease_v2", 0 };
    sgi_lease          lease;

    (void)state;
    config.idle_timeout_ms = config.context_linger_ms = SGI_IDLE_NOW;
    config.dram_bytes_max = MIB(64);
    config.calls_max = 1;
    cuda_open(&f, &config);
    for (int n = 0; n < CROWD; n++) {
        char name[16];
        snprintf(name, sizeof name, "m%d", n);
        models[n] = host_add(f.rt, name, file.path, NULL);
        assert_int_equal(sgi_model_prefetch(f.rt, models[n], SGI_TIER_DRAM, NULL, &tickets[n], NULL, NULL, &f.err),
                         SGI_OK);
        assert_int_equal(sgi_ticket_wait(f.rt, tickets[n], HOST_WAIT_MS, &lease, &f.err), SGI_OK);
    }
    lease = host_acquire(f.rt, models[0]);
    closes.count = fake.fakecuda_calls(closes.name) + 1;
    fake_cuda_fault("cuDevicePrimaryCtxRelease_v2 1 delay 300");
    host_release(f.rt, lease);
    test_wait_until(are_made, &closes, "a context does not close");
    for (int n = 0; n < CROWD; n++)
        assert_int_equal(sgi_model_acquire(f.rt, models[n], NULL, &tickets[n], NULL, NULL, &f.err), SGI_OK);
    for (int n = 0; n < CROWD; n++) {
        if (sgi_ticket_wait(f.rt, tickets[n], HOST_WAIT_MS, &lease, &f.err) != SGI_OK)
            fail_msg("number %d: %s", n, f.err.message);
        host_release(f.rt, lease);
    }
    cuda_close(&f);
}

/* ---- what is waited for ---- */

static bool copies_are_out(void *user)
{
    (void)user;
    return ledger().queued > 0;
}

/* A call of the driver takes its time: who does not want to wait for it is told what it is. */
static void unregister_is_told(struct fixture *f, const char *name, const char *call, const char *fault,
                               const char *held)
{
    sgi_ticket   ticket;
    sgi_lease    lease;
    sgi_model    model = host_add(f->rt, name, file.path, NULL);
    struct calls made = { call, fake.fakecuda_calls(call) + 1 };

    if (fault)
        fake_cuda_fault("%s", fault);
    else
        fake.fakecuda_hold();
    assert_int_equal(sgi_model_acquire(f->rt, model, NULL, &ticket, NULL, NULL, &f->err), SGI_OK);
    test_wait_until(are_made, &made, "a call is not made");
    assert_int_equal(sgi_model_unregister(f->rt, model, 1, &f->err), SGI_E_TIMEOUT);
    host_error_is(&f->err, SGI_E_TIMEOUT, SGI_STEP_NONE, held);
    if (!fault)
        fake.fakecuda_go();
    assert_int_equal(sgi_ticket_wait(f->rt, ticket, HOST_WAIT_MS, &lease, &f->err), SGI_E_STALE);
    assert_int_equal(sgi_model_unregister(f->rt, model, HOST_WAIT_MS, &f->err), SGI_OK);
}

static void who_is_waited_for_is_told(void **state)
{
    struct fixture      f;
    sgi_runtime_config  config = without_timers();
    sgi_acquire_options soon;
    sgi_ticket          ticket;
    sgi_lease           lease;

    (void)state;
    config.dram_bytes_max = MIB(1);
    cuda_open(&f, &config);
    unregister_is_told(&f, "memory", "cuMemCreate", "cuMemCreate 1 delay 300", "its memory, on the way here or back");
    unregister_is_told(&f, "copies", "cuMemcpyHtoDAsync_v2", NULL,
                       "reads or copies of its bytes that have not come back");

    sgi_model model = host_add(f.rt, "m", file.path, NULL);
    host_release(f.rt, host_acquire(f.rt, model));
    assert_int_equal(sgi_model_evict(f.rt, model, SGI_TIER_DRAM), SGI_OK);
    host_wait_state(f.rt, model, SGI_MODEL_COLD);
    fake.fakecuda_hold();
    sgi_acquire_options_init(&soon, sizeof soon);
    soon.deadline_ms = 100;
    assert_int_equal(sgi_model_acquire(f.rt, model, &soon, &ticket, NULL, NULL, &f.err), SGI_OK);
    test_wait_until(copies_are_out, NULL, "nothing is copied");
    cuda_advance(&f, 101);
    assert_int_equal(sgi_ticket_wait(f.rt, ticket, HOST_WAIT_MS, &lease, &f.err), SGI_E_TIMEOUT);
    assert_int_equal(f.err.step, SGI_STEP_COPY);
    fake.fakecuda_go();
    host_wait_state(f.rt, model, SGI_MODEL_READY); /* who runs out of time will ask again */

    fake_cuda_fault("cuDevicePrimaryCtxRelease_v2 1 delay 300");
    struct calls closes = { "cuDevicePrimaryCtxRelease_v2", fake.fakecuda_calls("cuDevicePrimaryCtxRelease_v2") + 1 };
    unload(&f, model);
    cuda_advance(&f, LINGER_MS);
    test_wait_until(are_made, &closes, "a context does not close");
    assert_int_equal(sgi_runtime_close(f.rt, 1, &f.err), SGI_E_TIMEOUT);
    host_error_is(&f.err, SGI_E_TIMEOUT, SGI_STEP_NONE, "still in use after 1 ms: the context of device 'cuda:0'");
    cuda_close(&f);
}

/* ---- what does not go: last, for it stays ---- */

struct reading {
    sgi_runtime *rt;
    sgi_events   reader;
    sgi_event    event;
};

static bool says_something(void *user)
{
    struct reading *r = user;
    r->event.struct_size = sizeof r->event;
    return sgi_events_read(r->rt, r->reader, &r->event) == SGI_OK;
}

static void what_the_driver_keeps_is_told(void **state)
{
    struct fixture     f;
    sgi_runtime_config config = without_timers();
    struct reading     r;

    (void)state;
    fake.fakecuda_leaks(0);
    cuda_open(&f, &config);
    sgi_model model = host_add(f.rt, "m", file.path, NULL);
    r.rt = f.rt;
    assert_int_equal(sgi_events_open(f.rt, 0, 0, &r.reader, &f.err), SGI_OK);
    host_release(f.rt, host_acquire(f.rt, model));
    uint64_t held = ledger().handle_bytes, others = host_device(f.rt, 0).bytes_foreign;
    fake_cuda_fault("cuMemRelease 1+ error 304");
    unload(&f, model);
    fake.fakecuda_faults_clear();
    do
        test_wait_until(says_something, &r, "nobody says that a model has left");
    while (r.event.kind != SGI_EVENT_RELEASED);
    assert_true(held > 0 && ledger().handle_bytes == held);
    assert_int_equal(r.event.residue_bytes, held);
    assert_true(cuda_metric(&f, "sgi_unload_residual_bytes") == (double)held);
    assert_int_equal(host_device(f.rt, 0).bytes_used, 0);
    assert_int_equal(host_device(f.rt, 0).bytes_foreign, others + held); /* nobody is promised it again */
    cuda_advance(&f, LINGER_MS);
    do
        test_wait_until(says_something, &r, "nobody says that a device is at zero");
    while (r.event.kind != SGI_EVENT_DEVICE_ZERO);
    assert_int_equal(r.event.residue_bytes, held);
    assert_int_equal(host_device(f.rt, 0).bytes_residue, held);
    host_close(f.rt);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(cuda_can_be_used, cuda_clear),
        cmocka_unit_test_setup(a_part_of_a_card_is_not_full_with_the_rest, cuda_clear),
        cmocka_unit_test_setup(what_does_not_fit_is_told_with_the_device, cuda_clear),
        cmocka_unit_test_setup(what_is_being_taken_is_not_somebody_elses, cuda_clear),
        cmocka_unit_test_setup(memory_that_was_not_to_be_had_is_not_charged, cuda_clear),
        cmocka_unit_test_setup(somebodys_word_loses_no_device, cuda_clear),
        cmocka_unit_test_setup(a_failure_is_told_with_its_own_reason, cuda_clear),
        cmocka_unit_test_setup(a_crowd_waits_for_a_context, cuda_clear),
        cmocka_unit_test_setup(who_is_waited_for_is_told, cuda_clear),
        cmocka_unit_test_setup(what_the_driver_keeps_is_told, cuda_clear),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
