/* SPDX-License-Identifier: Apache-2.0 */
/* A load into a device's own memory, on the fake driver: the buffers it passes through, the image it leaves or comes
 * from, the gate it waits at, and what of it may fail. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "../conformance/cuda_fixture.h"
#include <sgi/pack.h>

#include "base/error.h"
#include "base/fault.h"
#include "base/thread.h"
#include "format/format.h"
#include "load/load.h"
#include "support/fake_cuda.h"
#include "support/host.h"

enum { SMALL = 60, TENSORS = SMALL + 4 };

static struct test_folder folder;
static sgi_error          err;

struct fixture {
    struct test_file          file;
    struct sgi__manifest     *manifest;
    struct sgi__layout       *layout;
    struct sgi__image_memory *memory;
    struct sgi__image        *image;
    struct sgi__pins         *pins;
    struct sgi__device       *device;
    struct sgi__staging      *staging;
    struct sgi__arena        *arena;
    struct sgi__load         *load;
    struct sgi__load_spec     spec;
    struct sgi__check         checks[TENSORS];
    bool                      open;
};

/* Some large, many small, of sizes that are multiples of nothing. */
static void make_file(struct test_file *file, uint32_t rest)
{
    struct test_tensor tensors[TENSORS];
    static char        names[SMALL][8];

    for (uint32_t n = 0; n < SMALL; n++) {
        snprintf(names[n], sizeof names[n], "s%u", n);
        tensors[n + 2] = (struct test_tensor){ names[n], n * 37 };
    }
    tensors[0] = (struct test_tensor){ "a", KIB(300) };
    tensors[1] = (struct test_tensor){ "b", MIB(1) + 5 };
    tensors[SMALL + 2] = (struct test_tensor){ "y", KIB(80) + 1 };
    tensors[SMALL + 3] = (struct test_tensor){ "z", MIB(2) };
    test_file_make(file, &folder, "load.safetensors", rest, tensors, TENSORS);
}

/* Of f->file, as it is at `path`. */
static void open_model(struct fixture *f, const char *path, uint64_t block, uint32_t buffers)
{
    static const struct sgi__fs_posix everywhere;
    struct sgi__fs                    fs = sgi__fs_posix_table(&everywhere);
    struct sgi__format_options        options = { 0 };

    assert_int_equal(sgi__format_open(&fs, path, &options, &f->manifest, NULL), SGI_OK);
    assert_int_equal(sgi__layout_new(f->manifest, NULL, SGI__PLACE_ALIGN, &f->layout, NULL), SGI_OK);
    assert_int_equal(sgi__layout_for_devices(f->layout, f->manifest, MIB(2), NULL), SGI_OK);
    assert_int_equal(sgi__device_cuda(0, &f->device, &err), SGI_OK);
    f->staging = sgi__staging_new(f->device, block + SGI__PLACE_ALIGN, (block + SGI__PLACE_ALIGN) * buffers);
    f->memory = sgi__image_memory_new(0);
    f->spec = (struct sgi__load_spec){ .name = "m",
                                       .manifest = f->manifest,
                                       .layout = f->layout,
                                       .staging = f->staging,
                                       .engine = &sgi__io_threads,
                                       .hot_engine = &sgi__io_threads,
                                       .block_bytes = block,
                                       .depth = 4,
                                       .depth_max = 4 };
}

static void set_up_with(struct fixture *f, uint64_t block, uint32_t rest, uint32_t buffers)
{
    memset(f, 0, sizeof *f);
    make_file(&f->file, rest);
    open_model(f, f->file.path, block, buffers);
    for (uint32_t n = 0; n < TENSORS; n++) {
        const struct sgi__tensor *t = &f->manifest->tensors[n];
        f->checks[n] = (struct sgi__check){ .tensor = n, .xxh3 = test_xxh3(f->file.data + t->offset, t->bytes) };
    }
    f->spec.checks = f->checks;
    f->spec.checks_count = TENSORS;
}

static void set_up(struct fixture *f, uint64_t block, uint32_t rest)
{
    set_up_with(f, block, rest, 4);
}

static void open_context(struct fixture *f)
{
    assert_int_equal(f->device->ops->context_open(f->device, &err), SGI_OK);
    f->open = true;
    sgi__staging_opened(f->staging, SGI_OK, NULL);
}

static void close_context(struct fixture *f)
{
    sgi__staging_closes(f->staging);
    f->device->ops->context_close(f->device);
    sgi__staging_closed(f->staging);
    f->open = false;
}

static void make_image(struct fixture *f)
{
    assert_int_equal(sgi__image_new(f->memory, &f->layout->parts[0].region_bytes, 1, 0, 0, &f->image, NULL), SGI_OK);
    f->spec.image = f->image;
    f->spec.pins = f->pins = sgi__pins_new(f->image);
}

static void start(struct fixture *f)
{
    assert_int_equal(f->device->ops->arena_new(f->device, f->layout->device_bytes, 0, &f->arena, &err), SGI_OK);
    f->spec.arena = f->arena;
    assert_int_equal(sgi__load_new(&f->spec, &f->load, &err), SGI_OK);
}

/* What a place does with an instance. */
static void stop(struct fixture *f)
{
    struct sgi__device_scope scope;
    bool                     inside = sgi__staging_try_enter(f->staging, &scope);

    sgi__load_free(f->load);
    if (inside)
        sgi__staging_leave(f->staging, &scope);
    f->device->ops->arena_free(f->device, f->arena, NULL);
    f->load = NULL;
    f->arena = NULL;
}

static void tear_down(struct fixture *f)
{
    if (f->pins)
        sgi__pins_off(f->pins);
    sgi__pins_free(f->pins);
    sgi__image_free(f->memory, f->image);
    sgi__image_memory_free(f->memory);
    if (f->open)
        close_context(f);
    sgi__staging_free(f->staging);
    f->device->ops->close(f->device);
    sgi__layout_free(f->layout);
    sgi__manifest_free(f->manifest);
    sgi__decoding_free(f->spec.decoding);
    test_file_free(&f->file);
    fake_cuda_nothing_is_held("a load", 0);
    fake_cuda_no_violations();
}

static bool tensor_is_there(const struct fixture *f, uint64_t n)
{
    const struct sgi__tensor *t = &f->manifest->tensors[n];
    static uint8_t            seen[MIB(2)];
    uint64_t                  at = f->arena->base + f->layout->device_tensors[n];

    assert_int_equal(at % 256, 0);
    return t->bytes == 0 ||
           (fake.fakecuda_peek(at, seen, t->bytes) == 0 && memcmp(seen, f->file.data + t->offset, t->bytes) == 0);
}

static void all_are_there(const struct fixture *f)
{
    for (uint64_t n = 0; n < TENSORS; n++) {
        assert_int_equal(sgi__load_wait_tensor(f->load, n, 0, NULL), SGI_OK);
        if (!tensor_is_there(f, n))
            fail_msg("tensor %s is not there", f->manifest->tensors[n].name);
    }
}

static void runs_well(struct fixture *f)
{
    sgi_status st = sgi__load_run(f->load, &err);
    if (st != SGI_OK)
        fail_msg("%s: %s", sgi_status_name(st), err.message);
    all_are_there(f);
}

static int clear(void **state)
{
    (void)state;
    sgi__error_init(&err);
    fake.fakecuda_faults_clear();
    sgi__fault_clear();
    return 0;
}

/* ---- bytes ---- */

/* Four buffers, each used many times, and copies that are late. */
static void bytes_pass_through_few_buffers(void **state)
{
    static const uint64_t blocks[] = { 4096, 12288, KIB(64), MIB(1) };
    struct fixture        f;

    (void)state;
    fake.fakecuda_pace(200, 400, 7);
    for (uint32_t n = 0; n < 8; n++) {
        set_up(&f, blocks[n % 4], n < 4 ? 0 : n);
        open_context(&f);
        start(&f);
        runs_well(&f);
        stop(&f);
        tear_down(&f);
    }
    fake.fakecuda_pace(20, 80, 1);
}

/* What is wished first ends in the middle of a chunk whose beginning is read last: the hash of its neighbour waits with
 * that buffer, and is right in the end. */
static void a_buffer_stays_while_a_hash_waits_for_it(void **state)
{
    static const uint64_t order[] = { SMALL + 3, 1 };
    struct fixture        f;
    struct sgi__report    report;

    (void)state;
    for (uint32_t buffers = 4; buffers < 8; buffers++) {
        set_up_with(&f, KIB(64), 0, buffers);
        f.spec.order = order;
        f.spec.order_count = 2;
        open_context(&f);
        start(&f);
        runs_well(&f);
        sgi__load_report(f.load, &report);
        assert_int_equal(report.reread_bytes, 0);
        stop(&f);
        tear_down(&f);
    }
}

/* Neighbours go together: what costs is the copy, not its bytes. */
static void small_tensors_go_side_by_side(void **state)
{
    struct fixture f;

    (void)state;
    set_up_with(&f, MIB(1), 0, 12);
    open_context(&f);
    start(&f);
    uint64_t before = fake.fakecuda_calls("cuMemcpyHtoDAsync_v2");
    runs_well(&f);
    uint64_t copies = fake.fakecuda_calls("cuMemcpyHtoDAsync_v2") - before;
    uint64_t chunks = (f.file.bytes + MIB(1) - 1) / MIB(1);
    if (copies > 3 * chunks + 4)
        fail_msg("%llu copies for %llu chunks", (unsigned long long)copies, (unsigned long long)chunks);
    stop(&f);
    tear_down(&f);
}

static void what_passes_through_may_stay(void **state)
{
    struct fixture     f;
    struct sgi__report report;
    uint64_t           pinned;

    (void)state;
    set_up(&f, KIB(64), 0);
    make_image(&f);
    open_context(&f);
    start(&f);
    runs_well(&f);
    const struct sgi__part *p = &f.layout->parts[0];
    assert_memory_equal(f.image->parts[0]->base + p->prefix_bytes, f.file.data + p->data_offset, p->data_bytes);
    assert_int_equal(sgi__pins_bytes(f.pins), f.image->parts[0]->bytes);
    stop(&f);

    f.spec.from_image = true; /* and come from there the next time */
    pinned = fake.fakecuda_calls("cuMemHostRegister_v2");
    start(&f);
    runs_well(&f);
    sgi__load_report(f.load, &report);
    assert_int_equal(report.tier, SGI_TIER_DRAM);
    assert_int_equal(report.bytes, p->data_bytes);
    assert_int_equal(fake.fakecuda_calls("cuMemHostRegister_v2"), pinned);
    stop(&f);

    close_context(&f); /* pins go with it */
    assert_int_equal(sgi__pins_bytes(f.pins), 0);
    open_context(&f);
    start(&f);
    runs_well(&f);
    assert_true(fake.fakecuda_calls("cuMemHostRegister_v2") > pinned);
    stop(&f);
    tear_down(&f);
}

/* Slower, not wrong. */
static void without_pins_it_goes_on(void **state)
{
    struct fixture f;

    (void)state;
    for (int with_image = 0; with_image < 2; with_image++) {
        clear(NULL);
        set_up(&f, KIB(64), 0);
        if (with_image)
            make_image(&f);
        open_context(&f);
        fake_cuda_fault("cuMemHostRegister_v2 * error 2");
        start(&f);
        runs_well(&f);
        stop(&f);
        fake.fakecuda_faults_clear();
        tear_down(&f);
    }
}

/* ---- on a thread of its own ---- */

struct runner {
    struct sgi__load *load;
    sgi_status        status;
    sgi_error         err;
    pthread_t         thread;
};

static void *run(void *arg)
{
    struct runner *r = arg;
    sgi__error_init(&r->err);
    r->status = sgi__load_run(r->load, &r->err);
    return NULL;
}

static void run_beside(struct runner *r, struct fixture *f)
{
    r->load = f->load;
    assert_int_equal(pthread_create(&r->thread, NULL, run, r), 0);
}

static uint64_t progress(const struct fixture *f)
{
    uint64_t done, total;
    sgi__load_progress(f->load, &done, &total);
    return done;
}

static bool has_read_all(void *user)
{
    const struct fixture *f = user;
    return progress(f) == f->layout->data_bytes;
}

static bool has_read_some(void *user)
{
    return progress(user) >= 3 * KIB(64);
}

/* ---- chunks that are stored ---- */

enum { LOADS = 3, BLOCKS = 30 };

/* The first chunk takes eight buffers once it is decoded, each of the others one from before it is read. */
static void set_up_packed(struct fixture *f)
{
    static const char *const first[] = { "w" };
    static char              names[BLOCKS][8];
    struct test_tensor       tensors[BLOCKS + 1] = { { "w", MIB(2) } };
    sgi_pack_options         options;
    char                     path[512];

    memset(f, 0, sizeof *f);
    for (uint32_t n = 0; n < BLOCKS; n++) {
        snprintf(names[n], sizeof names[n], "s%u", n);
        tensors[n + 1] = (struct test_tensor){ names[n], KIB(256) };
    }
    test_file_make(&f->file, &folder, "packed.safetensors", 0, tensors, BLOCKS + 1);
    snprintf(path, sizeof path, "%s/packed.sgi", folder.path);
    sgi_pack_options_init(&options, sizeof options);
    options.order = first;
    options.order_count = 1;
    const char *source = f->file.path;
    assert_int_equal(sgi_pack(&source, 1, path, &options, NULL, NULL), SGI_OK);
    open_model(f, path, KIB(256), 4);
    f->spec.decoding = sgi__decoding_new(2);
    f->spec.depth = f->spec.depth_max = 16;
}

static void packed_is_there(const struct fixture *f)
{
    static uint8_t seen[MIB(2)];

    for (uint64_t n = 0; n <= BLOCKS; n++) {
        const struct sgi__tensor *t = &f->manifest->tensors[n];
        const uint8_t            *is = f->file.data + f->manifest->packed->source_offsets[n];
        assert_int_equal(fake.fakecuda_peek(f->arena->base + f->layout->device_tensors[n], seen, t->bytes), 0);
        assert_memory_equal(seen, is, t->bytes);
    }
}

/* There are fewer buffers than each of them could have at once, and each needs more than it has when it has some. */
static void loads_in_pieces_do_not_wait_for_each_other_for_ever(void **state)
{
    struct fixture f, loads[LOADS];
    struct runner  runners[LOADS];

    (void)state;
    set_up_packed(&f);
    open_context(&f);
    for (int round = 0; round < 8; round++) {
        for (int n = 0; n < LOADS; n++) {
            loads[n] = f;
            start(&loads[n]);
        }
        for (int n = 0; n < LOADS; n++)
            run_beside(&runners[n], &loads[n]);
        for (int n = 0; n < LOADS; n++) {
            pthread_join(runners[n].thread, NULL);
            assert_int_equal(runners[n].status, SGI_OK);
            packed_is_there(&loads[n]);
            stop(&loads[n]);
        }
    }
    tear_down(&f);
}

/* ---- before the context is open ---- */

/* Into an image all of it, through buffers as much as there are. */
static void reading_does_not_wait_for_the_context(void **state)
{
    struct fixture f;
    struct runner  r;

    (void)state;
    for (int with_image = 0; with_image < 2; with_image++) {
        set_up(&f, KIB(64), 0);
        if (with_image)
            make_image(&f);
        start(&f);
        run_beside(&r, &f);
        test_wait_until(with_image ? has_read_all : has_read_some, &f, "nothing is read before the context is open");
        assert_int_equal(sgi__load_wait_tensor(f.load, 0, 0, NULL), SGI_E_TIMEOUT);
        open_context(&f);
        pthread_join(r.thread, NULL);
        assert_int_equal(r.status, SGI_OK);
        all_are_there(&f);
        stop(&f);
        tear_down(&f);
    }
}

static void a_context_that_does_not_open_ends_the_load(void **state)
{
    struct fixture f;
    struct runner  r;

    (void)state;
    set_up(&f, KIB(64), 0);
    start(&f);
    run_beside(&r, &f);
    sgi__error(&err, SGI_E_DEVICE, "no context");
    sgi__staging_opened(f.staging, SGI_E_DEVICE, &err);
    pthread_join(r.thread, NULL);
    host_error_is(&r.err, SGI_E_DEVICE, SGI_STEP_CONTEXT, "no context");
    assert_int_equal(sgi__load_wait_begun(f.load, &err), SGI_E_DEVICE);
    stop(&f);
    tear_down(&f);
}

/* What will be closed is as good as gone, long before it is: memory mapped in it would go with it. */
static void a_load_does_not_enter_a_context_that_will_be_closed(void **state)
{
    struct fixture f;
    struct runner  r;

    (void)state;
    set_up(&f, KIB(64), 0);
    open_context(&f);
    sgi__staging_shuts(f.staging);
    start(&f);
    run_beside(&r, &f);
    test_wait_until(has_read_some, &f, "nothing is read before the context is open");
    close_context(&f);
    assert_int_equal(sgi__load_wait_tensor(f.load, 0, 0, NULL), SGI_E_TIMEOUT);
    sgi__staging_opens(f.staging);
    open_context(&f);
    pthread_join(r.thread, NULL);
    assert_int_equal(r.status, SGI_OK);
    all_are_there(&f);
    stop(&f);
    tear_down(&f);
}

static void who_waits_at_the_gate_can_be_canceled(void **state)
{
    struct fixture f;
    struct runner  r;

    (void)state;
    set_up(&f, KIB(64), 0);
    start(&f);
    run_beside(&r, &f);
    test_wait_until(has_read_some, &f, "nothing is read");
    sgi__load_cancel(f.load);
    pthread_join(r.thread, NULL);
    assert_int_equal(r.status, SGI_E_CANCELED);
    stop(&f);
    tear_down(&f);
}

/* ---- tensors ---- */

static bool first_is_on_its_way(void *user)
{
    struct fixture *f = user;
    return fake.fakecuda_calls("cuEventRecord") > 0 && progress(f) > KIB(300) + KIB(64);
}

/* Read and verified is not there yet: the copy has to be done, which a stream can wait for instead of a thread. */
static void a_tensor_is_ready_when_its_copy_is_done(void **state)
{
    struct sgi__device_scope scope;
    struct fixture           f;
    struct runner            r;
    uint8_t                  seen[256];

    (void)state;
    set_up(&f, KIB(64), 0);
    make_image(&f);
    open_context(&f);
    start(&f);
    fake.fakecuda_hold();
    run_beside(&r, &f);
    test_wait_until(first_is_on_its_way, &f, "no copy is queued");
    assert_int_equal(sgi__load_wait_tensor(f.load, 0, 0, &err), SGI_E_TIMEOUT);

    assert_int_equal(f.device->ops->enter(f.device, &scope, &err), SGI_OK);
    cu_stream stream = stream_new();
    assert_int_equal(sgi__load_order_tensor(f.load, 0, stream, &err), SGI_OK);
    OK(cu.cuMemcpyDtoHAsync_v2(seen, f.arena->base + f.layout->device_tensors[0], 0, stream));
    assert_int_equal(cu.cuStreamQuery(stream), CU_NOT_READY);
    fake.fakecuda_go();
    assert_int_equal(sgi__load_wait_tensor(f.load, 0, UINT64_MAX, &err), SGI_OK);
    OK(cu.cuMemcpyDtoHAsync_v2(seen, f.arena->base + f.layout->device_tensors[0], sizeof seen, stream));
    OK(cu.cuStreamSynchronize(stream));
    assert_memory_equal(seen, f.file.data + f.manifest->tensors[0].offset, sizeof seen);
    OK(cu.cuStreamDestroy_v2(stream));
    f.device->ops->leave(f.device, &scope, NULL);

    pthread_join(r.thread, NULL);
    assert_int_equal(r.status, SGI_OK);
    all_are_there(&f);
    stop(&f);
    tear_down(&f);
}

/* A byte that a read got wrong is not what stays on the device, nor in the image. */
static void what_fails_its_check_is_read_and_copied_again(void **state)
{
    struct fixture     f;
    struct sgi__report report;

    (void)state;
    for (int with_image = 0; with_image < 2; with_image++)
        for (uint64_t nth = 1; nth < 40; nth += 6) {
            set_up(&f, KIB(64), 0);
            if (with_image)
                make_image(&f);
            open_context(&f);
            start(&f);
            sgi__fault_plan(SGI__FAULT_CORRUPT, nth, 1, 1);
            runs_well(&f);
            sgi__load_report(f.load, &report);
            assert_true(report.reread_bytes > 0);
            const struct sgi__part *p = &f.layout->parts[0];
            if (with_image)
                assert_memory_equal(f.image->parts[0]->base + p->prefix_bytes, f.file.data + p->data_offset,
                                    p->data_bytes);
            sgi__fault_clear();
            stop(&f);
            tear_down(&f);
        }
}

static void what_stays_wrong_is_refused(void **state)
{
    struct fixture f;

    (void)state;
    set_up(&f, KIB(64), 0);
    f.checks[1].xxh3++;
    open_context(&f);
    start(&f);
    assert_int_equal(sgi__load_run(f.load, &err), SGI_E_CHECK);
    host_error_is(&err, SGI_E_CHECK, SGI_STEP_VERIFY, "'b'");
    assert_int_equal(sgi__load_wait_tensor(f.load, 1, UINT64_MAX, NULL), SGI_E_CHECK);
    assert_int_equal(sgi__load_wait_tensor(f.load, 0, UINT64_MAX, NULL), SGI_OK);
    stop(&f);
    tear_down(&f);
}

/* Without memory to hash a tensor while it lands it is hashed where it is then: brought back from the device. */
static void what_could_not_be_hashed_on_its_way_is_read_back(void **state)
{
    struct fixture f;
    uint64_t       read_back = 0, failed = 0;

    (void)state;
    for (uint64_t nth = 1; nth < 100; nth++) {
        set_up(&f, KIB(64), 0);
        open_context(&f);
        start(&f);
        uint64_t before = fake.fakecuda_calls("cuMemcpyDtoHAsync_v2");
        sgi__fault_plan(SGI__FAULT_ALLOC, nth, 1, 1);
        sgi_status st = sgi__load_run(f.load, &err);
        bool       passed = sgi__fault_passed(SGI__FAULT_ALLOC) >= nth;
        sgi__fault_clear();
        if (st == SGI_OK)
            all_are_there(&f);
        else
            assert_int_equal(st, SGI_E_NO_MEMORY);
        failed += st != SGI_OK;
        read_back += st == SGI_OK && fake.fakecuda_calls("cuMemcpyDtoHAsync_v2") > before;
        stop(&f);
        tear_down(&f);
        if (!passed)
            break;
    }
    assert_true(read_back > 0 && failed > 0);
}

/* ---- ends ---- */

static void a_cancel_in_the_middle_leaves_nothing(void **state)
{
    struct fixture f;
    struct runner  r;

    (void)state;
    for (int with_image = 0; with_image < 2; with_image++) {
        set_up(&f, KIB(64), 0);
        if (with_image)
            make_image(&f);
        open_context(&f);
        start(&f);
        fake.fakecuda_hold();
        run_beside(&r, &f);
        test_wait_until(has_read_some, &f, "nothing is read");
        sgi__load_cancel(f.load);
        fake.fakecuda_go();
        pthread_join(r.thread, NULL);
        assert_true(r.status == SGI_E_CANCELED || (with_image && r.status == SGI_OK));
        stop(&f);
        tear_down(&f);
    }
}

static void each_call_may_fail(void **state)
{
    static const char *const calls[] = {
        "cuCtxGetCurrent",     "cuCtxPushCurrent_v2", "cuMemMap",     "cuMemSetAccess",     "cuStreamCreate",
        "cuEventCreate",       "cuEventRecord",       "cuEventQuery", "cuEventSynchronize", "cuMemcpyHtoDAsync_v2",
        "cuStreamSynchronize",
    };
    struct fixture f;

    (void)state;
    for (size_t c = 0; c < sizeof calls / sizeof *calls; c++) {
        uint64_t failed = 0;
        for (uint64_t n = 1; n < 200; n += n < 5 ? 1 : 17) {
            clear(NULL);
            set_up(&f, KIB(64), 0);
            if (n % 2)
                make_image(&f);
            open_context(&f);
            start(&f);
            fake_cuda_fault("%s %llu error 304", calls[c], (unsigned long long)n);
            sgi_status st = sgi__load_run(f.load, &err);
            fake.fakecuda_faults_clear();
            if (st != SGI_OK && (st != SGI_E_DEVICE || err.driver_code != 304))
                fail_msg("%s %llu: %s: %s", calls[c], (unsigned long long)n, sgi_status_name(st), err.message);
            failed += st != SGI_OK;
            stop(&f);
            tear_down(&f);
        }
        if (failed == 0)
            fail_msg("%s was not called, or nobody looked at what it said", calls[c]);
    }
}

static int set_up_all(void **state)
{
    (void)state;
    test_folder_make(&folder);
    return fake_cuda_find() ? 0 : -1;
}

static int tear_down_all(void **state)
{
    (void)state;
    test_folder_remove(&folder);
    return 0;
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(bytes_pass_through_few_buffers, clear),
        cmocka_unit_test_setup(a_buffer_stays_while_a_hash_waits_for_it, clear),
        cmocka_unit_test_setup(small_tensors_go_side_by_side, clear),
        cmocka_unit_test_setup(what_passes_through_may_stay, clear),
        cmocka_unit_test_setup(without_pins_it_goes_on, clear),
        cmocka_unit_test_setup(loads_in_pieces_do_not_wait_for_each_other_for_ever, clear),
        cmocka_unit_test_setup(reading_does_not_wait_for_the_context, clear),
        cmocka_unit_test_setup(a_context_that_does_not_open_ends_the_load, clear),
        cmocka_unit_test_setup(a_load_does_not_enter_a_context_that_will_be_closed, clear),
        cmocka_unit_test_setup(who_waits_at_the_gate_can_be_canceled, clear),
        cmocka_unit_test_setup(a_tensor_is_ready_when_its_copy_is_done, clear),
        cmocka_unit_test_setup(what_fails_its_check_is_read_and_copied_again, clear),
        cmocka_unit_test_setup(what_stays_wrong_is_refused, clear),
        cmocka_unit_test_setup(what_could_not_be_hashed_on_its_way_is_read_back, clear),
        cmocka_unit_test_setup(a_cancel_in_the_middle_leaves_nothing, clear),
        cmocka_unit_test_setup(each_call_may_fail, clear),
    };
    return cmocka_run_group_tests(tests, set_up_all, tear_down_all);
}
