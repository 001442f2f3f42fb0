/* SPDX-License-Identifier: Apache-2.0 */
/* Models on cuda devices, from the public interface, on the fake driver: coming up, staying, leaving, several at once.
 * */
#include "cuda_host.h"

#include <sgi/pack.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct test_tensor tensors[] = {
    { "a", KIB(300) }, { "none", 0 }, { "b", MIB(1) + 5 }, { "c", 77 }, { "d", 1000 }, { "e", 4 }, { "f", MIB(3) },
};
static struct test_file file;

static int make_files(void **state)
{
    if (cuda_set_up(state) != 0)
        return -1;
    test_file_make(&file, &cuda_folder, "m.safetensors", 0, tensors, sizeof tensors / sizeof *tensors);
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

/* ---- one model ---- */

static void nothing_is_opened_before_a_model_is_needed(void **state)
{
    struct fixture     f;
    sgi_runtime_config config = cuda_config("cuda:0", 0);

    (void)state;
    cuda_open(&f, &config);
    host_add(f.rt, "m", file.path, NULL);
    fake_cuda_nothing_is_held("register", 0);
    sgi_device_info info = host_device(f.rt, 0);
    assert_int_equal(info.context, SGI_CONTEXT_NONE);
    assert_string_equal(info.name, "cuda:0");
    assert_int_equal(info.bytes_max, (UINT64_C(1) << 30) - MIB(64)); /* of the fake's 1 GiB all but a sixteenth */
    cuda_close(&f);
}

static void a_model_comes_up_whole_and_leaves_nothing(void **state)
{
    struct fixture     f;
    sgi_runtime_config config = cuda_config("cuda:0", 0);

    (void)state;
    cuda_open(&f, &config);
    sgi_model model = host_add(f.rt, "m", file.path, NULL);
    for (int round = 0; round < 3; round++) {
        sgi_lease lease = host_acquire(f.rt, model);
        cuda_same_bytes(&f, model, lease, &file);
        sgi_device_info info = host_device(f.rt, 0);
        assert_int_equal(info.context, SGI_CONTEXT_OURS);
        assert_int_equal(info.bytes_used, MIB(6)); /* 4.3 MiB in pages of 2 */
        assert_int_equal(info.bytes_used, ledger().handle_bytes);
        sgi_timing t = host_timing(f.rt, lease);
        assert_int_equal(t.tier, SGI_TIER_DISK);
        assert_true(round > 0 ||
                    t.phases[SGI_STEP_COPY].duration_ns > 0); /* later the clock is ahead of the real one */
        host_release(f.rt, lease);
        cuda_wait_zero(&f, 0);
        fake_cuda_nothing_is_held("idle", (uint64_t)round);
    }
    cuda_close(&f);
}

struct in_dram {
    struct fixture *f;
    sgi_model       model;
};

static bool is_not_in_dram(void *user)
{
    struct in_dram *d = user;
    return host_state(d->f->rt, d->model).dram_bytes == 0;
}

/* The copy in DRAM is made by the first load, and stays beside it: the second reads no file, and pins nothing twice
 * while the context lives. */
static void the_second_start_is_a_copy_from_dram(void **state)
{
    struct fixture     f;
    sgi_runtime_config config = cuda_config("cuda:0", 0);

    (void)state;
    config.dram_bytes_max = MIB(64);
    cuda_open(&f, &config);
    sgi_model model = host_add(f.rt, "m", file.path, NULL);
    host_release(f.rt, host_acquire(f.rt, model));
    assert_true(host_state(f.rt, model).dram_bytes >= file.bytes - file.data_offset);
    uint64_t pins = fake.fakecuda_calls("cuMemHostRegister_v2");

    cuda_advance(&f, IDLE_MS);
    host_wait_state(f.rt, model, SGI_MODEL_COLD);
    sgi_lease  lease = host_acquire(f.rt, model); /* before the context goes */
    sgi_timing t = host_timing(f.rt, lease);
    assert_int_equal(t.tier, SGI_TIER_DRAM);
    assert_int_equal(t.phases[SGI_STEP_READ].duration_ns, 0);
    assert_int_equal(fake.fakecuda_calls("cuMemHostRegister_v2"), pins);
    cuda_same_bytes(&f, model, lease, &file);
    host_release(f.rt, lease);

    cuda_wait_zero(&f, 0); /* pins go with the context; the bytes stay */
    fake_cuda_nothing_is_held("idle", 0);
    assert_true(host_state(f.rt, model).dram_bytes > 0);
    lease = host_acquire(f.rt, model);
    assert_int_equal(host_timing(f.rt, lease).tier, SGI_TIER_DRAM);
    assert_true(fake.fakecuda_calls("cuMemHostRegister_v2") > pins);
    cuda_same_bytes(&f, model, lease, &file);
    host_release(f.rt, lease);

    cuda_advance(&f, IDLE_MS);
    host_wait_state(f.rt, model, SGI_MODEL_COLD);
    assert_int_equal(sgi_model_evict(f.rt, model, SGI_TIER_DISK), SGI_OK); /* with the context still open */
    cuda_wait_zero(&f, 0);
    test_wait_until(is_not_in_dram, &(struct in_dram){ &f, model }, "a residence does not go");
    fake_cuda_nothing_is_held("evict", 0);
    cuda_close(&f);
}

/* A copy that host and device both use, one after the other. */
static void a_residence_serves_host_and_device(void **state)
{
    struct fixture      f;
    sgi_runtime_config  config = cuda_config("cuda:0 host", 0);
    sgi_acquire_options here;
    sgi_lease           lease;

    (void)state;
    config.dram_bytes_max = MIB(64);
    config.idle_timeout_ms = SGI_IDLE_NOW;
    cuda_open(&f, &config);
    sgi_model model = host_add(f.rt, "m", file.path, NULL);
    sgi_acquire_options_init(&here, sizeof here);
    for (int round = 0; round < 6; round++) {
        here.device_hint = round % 2;
        assert_int_equal(sgi_model_acquire_wait(f.rt, model, &here, &lease, &f.err), SGI_OK);
        assert_int_equal(host_state(f.rt, model).device, round % 2);
        assert_int_equal(host_timing(f.rt, lease).tier, round == 0 ? SGI_TIER_DISK : SGI_TIER_DRAM);
        if (round % 2)
            host_same_bytes(f.rt, model, lease, &file);
        else
            cuda_same_bytes(&f, model, lease, &file);
        host_release(f.rt, lease);
        host_wait_state(f.rt, model, SGI_MODEL_COLD);
    }
    cuda_close(&f);
}

static void a_prefetch_to_dram_needs_no_device(void **state)
{
    struct fixture     f;
    sgi_runtime_config config = cuda_config("cuda:0", 0);
    sgi_ticket         ticket;
    sgi_lease          lease;

    (void)state;
    config.dram_bytes_max = MIB(64);
    cuda_open(&f, &config);
    sgi_model model = host_add(f.rt, "m", file.path, NULL);
    assert_int_equal(sgi_model_prefetch(f.rt, model, SGI_TIER_DRAM, NULL, &ticket, NULL, NULL, &f.err), SGI_OK);
    assert_int_equal(sgi_ticket_wait(f.rt, ticket, HOST_WAIT_MS, &lease, &f.err), SGI_OK);
    fake_cuda_nothing_is_held("a prefetch", 0);
    lease = host_acquire(f.rt, model);
    assert_int_equal(host_timing(f.rt, lease).tier, SGI_TIER_DRAM);
    cuda_same_bytes(&f, model, lease, &file);
    host_release(f.rt, lease);
    cuda_close(&f);
}

static void an_image_is_not_to_be_had(void **state)
{
    struct fixture     f;
    sgi_runtime_config config = cuda_config("cuda:0 host", 0);
    sgi_image          image = { .struct_size = sizeof image };
    struct test_engine engine;
    sgi_model          model = 0;

    (void)state;
    cuda_open(&f, &config);
    sgi_model_config mc = host_model("fd", file.path, NULL);
    mc.flags = SGI_IMAGE_FD;
    mc.devices_mask = 1;
    assert_int_equal(sgi_model_register(f.rt, &mc, &model, &f.err), SGI_E_UNSUPPORTED);
    assert_non_null(strstr(f.err.message, "model 'fd': SGI_IMAGE_FD asks for an image in host memory"));
    mc.devices_mask = 0; /* where there is one */
    sgi_lease lease = host_acquire(f.rt, host_register(f.rt, &mc));
    assert_int_equal(host_device(f.rt, 1).instances_count, 1);
    host_release(f.rt, lease);

    test_engine_init(&engine, true, false);
    mc = host_model("prefix", file.path, &engine);
    mc.devices_mask = 1;
    assert_int_equal(sgi_model_register(f.rt, &mc, &model, &f.err), SGI_E_UNSUPPORTED);
    assert_non_null(strstr(f.err.message, "its engine's prefixes need"));
    test_engine_fini(&engine);

    mc = host_model("plain", file.path, NULL);
    mc.devices_mask = 1;
    lease = host_acquire(f.rt, host_register(f.rt, &mc));
    assert_int_equal(sgi_lease_image(f.rt, lease, 0, &image, &f.err), SGI_E_UNSUPPORTED);
    assert_non_null(strstr(f.err.message, "on cuda:0 it has no image in host memory"));
    host_release(f.rt, lease);
    cuda_close(&f);
}

/* Before the driver has it back. */
static void what_is_to_be_scrubbed_is_zero_when_it_goes(void **state)
{
    struct fixture     f;
    sgi_runtime_config config = cuda_config("cuda:0", 0);
    sgi_model_config   mc = host_model("m", file.path, NULL);
    uint64_t           before = fake.fakecuda_calls("cuMemsetD8Async");

    (void)state;
    cuda_open(&f, &config);
    mc.flags = SGI_IMAGE_SCRUB;
    sgi_model model = host_register(f.rt, &mc);
    host_release(f.rt, host_acquire(f.rt, model));
    cuda_wait_zero(&f, 0);
    assert_int_equal(fake.fakecuda_calls("cuMemsetD8Async"), before + 1);
    assert_true(cuda_metric(&f, "sgi_scrub_bytes_total") == (double)MIB(6));
    assert_true(cuda_metric(&f, "sgi_scrub_seconds_total") > 0);
    cuda_close(&f);
}

/* ---- several ---- */

static bool is_granted(void *user)
{
    struct fixture *f = user;
    cuda_advance(f, 10); /* that it waits so long makes another instance worth it */
    return host_info(f->rt).requests_waiting == 0;
}

/* A second instance on another device: its bytes come from the first, which stays while they do. */
static void a_device_that_has_a_model_gives_it_to_another(void **state)
{
    struct fixture     f;
    sgi_runtime_config config = cuda_config("cuda:0 cuda:1", 0);
    sgi_model_config   mc = host_model("m", file.path, NULL);
    sgi_ticket         ticket;
    sgi_lease          second = 0;

    (void)state;
    config.dram_bytes_max = MIB(64);
    cuda_open(&f, &config);
    mc.leases_max = 1;
    mc.instances_max = 2;
    sgi_model model = host_register(f.rt, &mc);
    sgi_lease first = host_acquire(f.rt, model);
    fake.fakecuda_pace(3000, 1000, 1); /* so that the first is asked to go in the middle */
    assert_int_equal(sgi_model_acquire(f.rt, model, NULL, &ticket, NULL, NULL, &f.err), SGI_OK);
    test_wait_until(is_granted, &f, "no second instance comes up");
    assert_int_equal(sgi_ticket_wait(f.rt, ticket, HOST_WAIT_MS, &second, &f.err), SGI_OK);
    fake.fakecuda_pace(20, 80, 1);
    assert_string_equal(host_timing(f.rt, second).engine, "peer");
    assert_true(host_tensor(f.rt, first, 0).data != host_tensor(f.rt, second, 0).data);
    host_release(f.rt, first);
    cuda_same_bytes(&f, model, second, &file);
    host_release(f.rt, second);
    cuda_wait_zero(&f, 0);
    cuda_wait_zero(&f, 1);
    cuda_close(&f);
}

/* The driver says that a device reaches another, and a copy shows that it does not: then from the disk. */
static void a_model_comes_from_elsewhere_after_a_copy_has_failed(void **state)
{
    struct fixture     f;
    sgi_runtime_config config = cuda_config("cuda:0 cuda:1", 0);
    sgi_model_config   mc = host_model("m", file.path, NULL);
    sgi_ticket         ticket;
    sgi_lease          second = 0;

    (void)state;
    cuda_open(&f, &config);
    mc.leases_max = 1;
    mc.instances_max = 2;
    sgi_model model = host_register(f.rt, &mc);
    sgi_lease first = host_acquire(f.rt, model);
    uint64_t  copies = fake.fakecuda_calls("cuMemcpyDtoDAsync_v2");
    fake_cuda_fault("cuMemcpyDtoDAsync_v2 * error 304");
    assert_int_equal(sgi_model_acquire(f.rt, model, NULL, &ticket, NULL, NULL, &f.err), SGI_OK);
    test_wait_until(is_granted, &f, "no second instance comes up");
    assert_int_equal(sgi_ticket_wait(f.rt, ticket, HOST_WAIT_MS, &second, &f.err), SGI_OK);
    assert_int_equal(fake.fakecuda_calls("cuMemcpyDtoDAsync_v2"), copies + 1); /* one has been tried */
    assert_string_not_equal(host_timing(f.rt, second).engine, "peer");
    assert_true(host_tensor(f.rt, first, 0).data != host_tensor(f.rt, second, 0).data);
    cuda_same_bytes(&f, model, second, &file);
    host_release(f.rt, first);
    host_release(f.rt, second);
    cuda_close(&f);
}

static bool copies_are_queued(void *user)
{
    const uint64_t *count = user;
    return ledger().queued >= *count;
}

static bool has_no_instance(void *user)
{
    return host_device(((struct fixture *)user)->rt, 1).instances_count == 0;
}

/* The one that is copied from is asked to go meanwhile: it stays until the copies are done. */
static void nobody_goes_while_he_is_copied_from(void **state)
{
    struct fixture      f;
    sgi_runtime_config  config = cuda_config("cuda:0 cuda:1", 0);
    sgi_model_config    mc = host_model("m", file.path, NULL);
    sgi_acquire_options there;
    sgi_ticket          ticket;
    sgi_lease           lease = 0;
    uint64_t            some = 1;

    (void)state;
    cuda_open(&f, &config);
    mc.instances_max = 2;
    mc.leases_max = 1;
    sgi_model model = host_register(f.rt, &mc);
    sgi_lease first = host_acquire(f.rt, model);
    assert_int_equal(host_state(f.rt, model).device, 0);
    fake.fakecuda_hold();
    sgi_acquire_options_init(&there, sizeof there);
    there.device_hint = 1;
    assert_int_equal(sgi_model_acquire(f.rt, model, &there, &ticket, NULL, NULL, &f.err), SGI_OK);
    cuda_advance(&f, 1000);
    test_wait_until(copies_are_queued, &some, "no second instance is copied");
    uint64_t unmapped = fake.fakecuda_calls("cuMemUnmap");
    host_release(f.rt, first); /* who waited has this one now, and gives it back */
    assert_int_equal(sgi_ticket_wait(f.rt, ticket, HOST_WAIT_MS, &lease, &f.err), SGI_OK);
    host_release(f.rt, lease);
    cuda_advance(&f, IDLE_MS);
    host_wait_threads(f.rt, 3); /* the library's own, the load, and the free that waits for it */
    assert_int_equal(host_device(f.rt, 0).instances_count, 1);
    assert_int_equal(fake.fakecuda_calls("cuMemUnmap"), unmapped);
    fake.fakecuda_go();
    cuda_wait_zero(&f, 0);
    cuda_wait_zero(&f, 1);
    cuda_close(&f);
}

/* Two starts read one residence, the second once the first is out of it; given up, it does not wait for that. */
static void a_start_that_waits_for_a_residence_can_be_given_up(void **state)
{
    struct fixture      f;
    sgi_runtime_config  config = cuda_config("cuda:0 cuda:1", 0);
    sgi_model_config    mc = host_model("m", file.path, NULL);
    sgi_acquire_options where;
    sgi_ticket          tickets[2];
    sgi_lease           lease = 0;
    uint64_t            some = 1;

    (void)state;
    config.dram_bytes_max = MIB(64);
    cuda_open(&f, &config);
    mc.instances_max = 2;
    sgi_model model = host_register(f.rt, &mc);
    assert_int_equal(sgi_model_prefetch(f.rt, model, SGI_TIER_DRAM, NULL, &tickets[0], NULL, NULL, &f.err), SGI_OK);
    assert_int_equal(sgi_ticket_wait(f.rt, tickets[0], HOST_WAIT_MS, &lease, &f.err), SGI_OK);
    sgi_acquire_options_init(&where, sizeof where);
    fake.fakecuda_hold();
    for (uint32_t n = 0; n < 2; n++) {
        where.device_hint = (int32_t)n;
        assert_int_equal(sgi_model_acquire(f.rt, model, &where, &tickets[n], NULL, NULL, &f.err), SGI_OK);
        if (n == 0)
            test_wait_until(copies_are_queued, &some, "a start does not copy");
        else
            host_wait_state(f.rt, model, SGI_MODEL_LOADING);
        assert_int_equal(sgi_acquire_cancel(f.rt, tickets[n]), SGI_OK);
    }
    test_wait_until(has_no_instance, &f, "a start that was given up waits for another");
    fake.fakecuda_go();
    for (uint32_t n = 0; n < 2; n++)
        assert_int_equal(sgi_ticket_wait(f.rt, tickets[n], HOST_WAIT_MS, &lease, &f.err), SGI_E_CANCELED);
    lease = host_acquire(f.rt, model);
    cuda_same_bytes(&f, model, lease, &file);
    host_release(f.rt, lease);
    cuda_close(&f);
}

/* One each, on devices that are kept apart; they come, serve and go beside each other. */
struct user {
    struct fixture *f;
    sgi_model       model;
    pthread_t       thread;
};

static void *use(void *arg)
{
    struct user        *u = arg;
    sgi_acquire_options now;
    sgi_lease           lease;

    sgi_acquire_options_init(&now, sizeof now);
    now.idle_timeout_ms = SGI_IDLE_NOW;
    for (int n = 0; n < 6; n++) {
        uint64_t digest = 0;
        if (sgi_model_acquire_wait(u->f->rt, u->model, &now, &lease, NULL) != SGI_OK ||
            sgi_lease_tensor_digest(u->f->rt, lease, 6, &digest, NULL) != SGI_OK ||
            digest != test_xxh3(file.data + file.bytes - MIB(3), MIB(3)) ||
            sgi_lease_release(u->f->rt, lease) != SGI_OK)
            return arg;
    }
    return NULL;
}

static void models_come_and_go_beside_each_other(void **state)
{
    struct fixture     f;
    sgi_runtime_config config = cuda_config((const char *)*state, MIB(12)); /* two of them each */
    struct user        users[6];
    void              *failed;

    config.dram_bytes_max = MIB(10); /* two of them, too */
    cuda_open(&f, &config);
    for (int n = 0; n < 6; n++) {
        char name[16];
        snprintf(name, sizeof name, "m%d", n);
        users[n] = (struct user){ .f = &f, .model = host_add(f.rt, name, file.path, NULL) };
    }
    for (int n = 0; n < 6; n++)
        assert_int_equal(pthread_create(&users[n].thread, NULL, use, &users[n]), 0);
    for (int n = 0; n < 6; n++) {
        pthread_join(users[n].thread, &failed);
        assert_null(failed);
    }
    for (uint32_t n = 0; n < config.devices_count; n++)
        cuda_wait_zero(&f, n);
    cuda_close(&f);
}

/* ---- through the ring ---- */

static bool some_is_queued(void *user)
{
    (void)user;
    return ledger().queued > 0;
}

/* More than a piece of buffers at a time, which are made beside the reads; whole, and given up in the middle. */
static void a_large_model_passes_through_buffers(void **state)
{
    struct fixture     f;
    sgi_runtime_config config = cuda_config("cuda:0", 0);
    struct test_file   large;
    sgi_ticket         ticket;
    sgi_lease          lease;
    uint64_t           digest = 0;

    (void)state;
    test_file_make_one(&large, &cuda_folder, "large.safetensors", MIB(72));
    config.read_block_bytes = MIB(4);
    cuda_open(&f, &config);
    sgi_model model = host_add(f.rt, "m", large.path, NULL);
    for (int round = 0; round < 2; round++) {
        fake.fakecuda_hold();
        assert_int_equal(sgi_model_acquire(f.rt, model, NULL, &ticket, NULL, NULL, &f.err), SGI_OK);
        test_wait_until(some_is_queued, NULL, "nothing is copied");
        if (round == 0)
            assert_int_equal(sgi_acquire_cancel(f.rt, ticket), SGI_OK);
        fake.fakecuda_go();
        sgi_status st = sgi_ticket_wait(f.rt, ticket, HOST_WAIT_MS, &lease, &f.err);
        assert_int_equal(st, round == 0 ? SGI_E_CANCELED : SGI_OK);
    }
    assert_int_equal(sgi_lease_tensor_digest(f.rt, lease, 0, &digest, &f.err), SGI_OK);
    assert_int_equal(digest, test_xxh3(large.data + large.data_offset, MIB(72)));
    host_release(f.rt, lease);
    cuda_wait_zero(&f, 0);
    cuda_close(&f);
    test_file_free(&large);
}

/* Decoded to the copy that stays, to a buffer, and by way of several; checks beside a plain file likewise. */
static void stored_chunks_pass_however_they_must(void **state)
{
    static const uint32_t blocks[] = { 0, KIB(64) };
    struct test_file      plain;
    char                  path[340];

    (void)state;
    test_file_make_one(&plain, &cuda_folder, "stored.safetensors", MIB(5) + 123);
    for (size_t n = plain.data_offset; n < plain.bytes; n += 2)
        plain.data[n] = 0x3c; /* so that it is not stored as it is */
    test_file_write(&plain);
    for (int way = 0; way < 8; way++) {
        struct fixture     f;
        sgi_runtime_config config = cuda_config("cuda:0", 0);
        const char        *source = plain.path;
        bool               packed = way & 1;

        config.read_block_bytes = blocks[way >> 1 & 1];
        config.dram_bytes_max = way & 4 ? MIB(64) : 0;
        if (packed)
            snprintf(path, sizeof path, "%s/stored.sgi", cuda_folder.path);
        else
            snprintf(path, sizeof path, "%s", plain.path);
        assert_int_equal(packed ? sgi_pack(&source, 1, path, NULL, NULL, NULL) : sgi_digest(path, NULL, NULL), SGI_OK);
        cuda_open(&f, &config);
        sgi_model model = host_add(f.rt, "m", path, NULL);
        for (int round = 0; round < 2; round++) { /* the second from DRAM, if there is any */
            sgi_lease lease = host_acquire(f.rt, model);
            uint64_t  digest = 0;
            assert_int_equal(sgi_lease_tensor_digest(f.rt, lease, 0, &digest, &f.err), SGI_OK);
            assert_int_equal(digest, test_xxh3(plain.data + plain.data_offset, plain.bytes - plain.data_offset));
            assert_true(!packed || round > 0 || host_timing(f.rt, lease).read_bytes < MIB(4));
            host_release(f.rt, lease);
            cuda_wait_zero(&f, 0);
        }
        cuda_close(&f);
        snprintf(path, sizeof path, "%s/stored.safetensors.sgisum", cuda_folder.path);
        assert_true(packed || unlink(path) == 0);
    }
    test_file_free(&plain);
}

/* ---- contexts ---- */

static void a_context_of_others_is_shared_and_stays(void **state)
{
    struct fixture     f;
    sgi_runtime_config config = cuda_config("cuda:0", 0);

    (void)state;
    cuda_open(&f, &config);
    sgi_model model = host_add(f.rt, "m", file.path, NULL);
    retain();
    assert_int_equal(host_device(f.rt, 0).context, SGI_CONTEXT_FOREIGN);
    host_release(f.rt, host_acquire(f.rt, model));
    assert_int_equal(host_device(f.rt, 0).context, SGI_CONTEXT_SHARED);
    for (int n = 0; n < 100 && host_device(f.rt, 0).context != SGI_CONTEXT_FOREIGN; n++) {
        cuda_advance(&f, IDLE_MS);
        host_wait_threads(f.rt, 1);
    }
    assert_int_equal(host_device(f.rt, 0).context, SGI_CONTEXT_FOREIGN);
    struct fakecuda_ledger l = ledger();
    assert_int_equal(host_device(f.rt, 0).bytes_residue, 0); /* what there is of this process is not ours */
    assert_true(l.retains == 1 && l.pins == 0 && l.handles == 0 && l.streams == 0 && l.events == 0);
    OK(cu.cuDevicePrimaryCtxRelease_v2(0));
    cuda_close(&f);
}

static void a_context_that_does_not_open_is_told(void **state)
{
    struct fixture     f;
    sgi_runtime_config config = cuda_config("cuda:0", 0);

    (void)state;
    cuda_open(&f, &config);
    sgi_model model = host_add(f.rt, "m", file.path, NULL);
    fake_cuda_fault("cuDevicePrimaryCtxRetain 1 error 304");
    assert_int_equal(host_acquire_fails(f.rt, model, &f.err), SGI_E_DEVICE);
    host_error_is(&f.err, SGI_E_DEVICE, SGI_STEP_CONTEXT, "cuda:0: cuDevicePrimaryCtxRetain");
    assert_int_equal(f.err.driver_code, 304);
    host_wait_state(f.rt, model, SGI_MODEL_COLD);
    fake_cuda_nothing_is_held("a context that did not open", 0);
    host_release(f.rt, host_acquire(f.rt, model));
    cuda_close(&f);
}

int main(int argc, char **argv)
{
    static char one[] = "cuda:0", two[] = "cuda:0 cuda:1",
                eight[] = "cuda:0 cuda:1 cuda:2 cuda:3 cuda:4 cuda:5 cuda:6 cuda:7";
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(nothing_is_opened_before_a_model_is_needed, cuda_clear),
        cmocka_unit_test_setup(a_model_comes_up_whole_and_leaves_nothing, cuda_clear),
        cmocka_unit_test_setup(the_second_start_is_a_copy_from_dram, cuda_clear),
        cmocka_unit_test_setup(a_residence_serves_host_and_device, cuda_clear),
        cmocka_unit_test_setup(a_prefetch_to_dram_needs_no_device, cuda_clear),
        cmocka_unit_test_setup(an_image_is_not_to_be_had, cuda_clear),
        cmocka_unit_test_setup(what_is_to_be_scrubbed_is_zero_when_it_goes, cuda_clear),
        cmocka_unit_test_setup(a_device_that_has_a_model_gives_it_to_another, cuda_clear),
        cmocka_unit_test_setup(a_model_comes_from_elsewhere_after_a_copy_has_failed, cuda_clear),
        cmocka_unit_test_setup(nobody_goes_while_he_is_copied_from, cuda_clear),
        cmocka_unit_test_setup(a_start_that_waits_for_a_residence_can_be_given_up, cuda_clear),
        cmocka_unit_test_setup(a_large_model_passes_through_buffers, cuda_clear),
        cmocka_unit_test_setup(stored_chunks_pass_however_they_must, cuda_clear),
        cmocka_unit_test_setup(a_context_of_others_is_shared_and_stays, cuda_clear),
        cmocka_unit_test_setup(a_context_that_does_not_open_is_told, cuda_clear),
        cmocka_unit_test_prestate(models_come_and_go_beside_each_other, one),
        cmocka_unit_test_prestate(models_come_and_go_beside_each_other, two),
        cmocka_unit_test_prestate(models_come_and_go_beside_each_other, eight),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
