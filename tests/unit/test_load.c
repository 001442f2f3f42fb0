/* SPDX-License-Identifier: Apache-2.0 */
/* One load: a real file into an image, and what others see of it meanwhile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/fault.h"
#include "format/format.h"
#include "load/load.h"
#include "support/host.h"

static struct test_folder folder;

struct fixture {
    struct test_file          file;
    struct sgi__manifest     *manifest;
    struct sgi__layout       *layout;
    struct sgi__image_memory *memory;
    struct sgi__image        *image;
    struct sgi__load         *load;
    struct sgi__load_spec     spec;
    struct gate               prefix_gate;
    sgi_status                prefix_status;
};

static const struct test_tensor tensors[] = { { "a", KIB(300) }, { "none", 0 }, { "b", MIB(1) + 5 }, { "c", 77 } };

static sgi_status fill_prefix(void *user, uint32_t part, void *dst, uint64_t bytes, sgi_error *err)
{
    struct fixture *f = user;
    gate_pass(&f->prefix_gate);
    if (f->prefix_status == SGI_OK)
        memset(dst, (int)(0x70 + part), bytes);
    return f->prefix_status == SGI_OK ? SGI_OK : sgi__error(err, f->prefix_status, "told to fail");
}

static void set_up(struct fixture *f, uint64_t prefix, uint32_t rest)
{
    static const struct sgi__fs_posix everywhere;
    struct sgi__fs                    fs = sgi__fs_posix_table(&everywhere);
    struct sgi__format_options        options = { 0 };

    memset(f, 0, sizeof *f);
    gate_init(&f->prefix_gate);
    test_file_make(&f->file, &folder, "load.safetensors", rest, tensors, sizeof tensors / sizeof *tensors);
    assert_int_equal(sgi__format_open(&fs, f->file.path, &options, &f->manifest, NULL), SGI_OK);
    assert_int_equal(sgi__layout_new(f->manifest, prefix ? &prefix : NULL, SGI__PLACE_ALIGN, &f->layout, NULL), SGI_OK);
    f->memory = sgi__image_memory_new(0);
    assert_int_equal(sgi__image_new(f->memory, &f->layout->parts[0].region_bytes, 1, 0, 0, &f->image, NULL), SGI_OK);
    f->spec = (struct sgi__load_spec){ .name = "m",
                                       .manifest = f->manifest,
                                       .layout = f->layout,
                                       .image = f->image,
                                       .engine = &sgi__io_threads,
                                       .hot_engine = &sgi__io_threads,
                                       .block_bytes = KIB(64),
                                       .depth = 4,
                                       .depth_max = 4,
                                       .prefix_fill = fill_prefix,
                                       .prefix_user = f };
}

static void start(struct fixture *f)
{
    assert_int_equal(sgi__load_new(&f->spec, &f->load, NULL), SGI_OK);
}

static void tear_down(struct fixture *f)
{
    sgi__load_free(f->load);
    sgi__image_free(f->memory, f->image);
    sgi__image_memory_free(f->memory);
    sgi__layout_free(f->layout);
    sgi__manifest_free(f->manifest);
    test_file_free(&f->file);
    gate_fini(&f->prefix_gate);
}

static void assert_data(const struct fixture *f)
{
    const struct sgi__part *p = &f->layout->parts[0];
    assert_memory_equal(f->image->parts[0]->base + p->prefix_bytes, f->file.data + f->file.data_offset, p->data_bytes);
}

static void bytes_land_and_are_counted(void **state)
{
    (void)state;
    struct fixture     f;
    struct sgi__report report;
    uint64_t           done, total;

    set_up(&f, 0, 0);
    start(&f);
    sgi__load_progress(f.load, &done, &total);
    assert_int_equal(done, 0);
    assert_int_equal(total, f.file.bytes - f.file.data_offset);
    assert_int_equal(sgi__load_wait_tensor(f.load, 1, 0, NULL), SGI_OK); /* no bytes: there from the start */
    assert_int_equal(sgi__load_wait_tensor(f.load, 0, 0, NULL), SGI_E_TIMEOUT);
    assert_int_equal(sgi__load_run(f.load, NULL), SGI_OK);
    assert_data(&f);
    sgi__load_progress(f.load, &done, &total);
    assert_int_equal(done, total);
    sgi__load_report(f.load, &report);
    assert_int_equal(report.bytes, total);
    assert_int_equal(report.bounced_bytes, 0);
    assert_string_equal(report.engine, "threads");
    assert_true(report.load_end_ns >= report.load_start_ns);
    assert_true(report.steps[SGI_STEP_READ].start_ns >= report.load_start_ns);
    assert_int_equal(sgi__load_wait(f.load, NULL), SGI_OK);
    tear_down(&f);
}

/* What a file calls a tensor is hostile: none of it may break the line that names it, or hide the cause behind it. */
static void a_wait_that_is_over_names_its_tensor_in_one_short_line(void **state)
{
    (void)state;
    struct fixture f;
    sgi_error      err = SGI_ERROR_INIT;
    char           name[1025];

    set_up(&f, 0, 0);
    start(&f);
    f.manifest->tensors[0].name = "two\nlines\x1b[2J\xff";
    assert_int_equal(sgi__load_wait_tensor(f.load, 0, 0, &err), SGI_E_TIMEOUT);
    assert_string_equal(err.message, "model 'm': tensor 'two?lines?[2J?' has not arrived in time");
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    f.manifest->tensors[0].name = name;
    assert_int_equal(sgi__load_wait_tensor(f.load, 0, 0, &err), SGI_E_TIMEOUT);
    assert_non_null(strstr(err.message, "nnn...' has not arrived in time"));
    f.manifest->tensors[0].name = "a";
    assert_int_equal(sgi__load_run(f.load, NULL), SGI_OK);
    tear_down(&f);
}

static void an_odd_start_is_copied_and_reported(void **state)
{
    (void)state;
    struct fixture     f;
    struct sgi__report report;

    for (uint32_t rest = 1; rest < 8; rest += 3) {
        set_up(&f, rest == 4 ? 100 : 0, rest);
        start(&f);
        if (rest == 4)
            assert_int_equal(sgi__load_fill_prefixes(f.load, NULL), SGI_OK);
        assert_int_equal(sgi__load_run(f.load, NULL), SGI_OK);
        assert_data(&f);
        sgi__load_report(f.load, &report);
        assert_int_equal(report.bounced_bytes, f.layout->data_bytes);
        assert_int_equal(report.direct, 0);
        tear_down(&f);
    }
}

struct filler {
    struct fixture *f;
    sgi_status      status;
};

static void *fill(void *arg)
{
    struct filler *filler = arg;
    sgi_error      err;
    sgi__error_init(&err);
    filler->status = sgi__load_fill_prefixes(filler->f->load, &err);
    return NULL;
}

static void the_prefix_is_filled_beside_and_never_read_over(void **state)
{
    (void)state;
    struct fixture f;
    pthread_t      thread;

    set_up(&f, 5000, 0);
    start(&f);
    assert_true(f.layout->engine_prefix);
    struct filler filler = { .f = &f };
    gate_close(&f.prefix_gate);
    pthread_create(&thread, NULL, fill, &filler);
    gate_wait_arrived(&f.prefix_gate, 1);
    assert_int_equal(sgi__load_run(f.load, NULL), SGI_OK); /* it does not wait for the prefix */
    assert_data(&f);
    gate_open(&f.prefix_gate);
    assert_int_equal(sgi__load_wait_prefixes(f.load, NULL), SGI_OK);
    assert_int_equal(sgi__load_wait(f.load, NULL), SGI_OK);
    pthread_join(thread, NULL);
    assert_data(&f);
    for (uint64_t at = 0; at < f.layout->parts[0].prefix_bytes; at++)
        assert_int_equal(f.image->parts[0]->base[at], 0x70);
    tear_down(&f);
}

static void a_prefix_that_fails_fails_the_load_first(void **state)
{
    (void)state;
    struct fixture f;
    sgi_error      err, of_run;

    sgi__error_init(&err);
    sgi__error_init(&of_run);
    set_up(&f, 5000, 0);
    start(&f);
    f.prefix_status = SGI_E_UNSUPPORTED;
    assert_int_equal(sgi__load_fill_prefixes(f.load, &err), SGI_E_UNSUPPORTED);
    assert_int_equal(sgi__load_run(f.load, &of_run), SGI_E_UNSUPPORTED); /* the cause, not its consequence */
    assert_int_equal(of_run.step, SGI_STEP_PREFIX);
    assert_int_equal(sgi__load_wait(f.load, &err), SGI_E_UNSUPPORTED);
    assert_int_equal(err.step, SGI_STEP_PREFIX);
    assert_int_equal(sgi__load_wait_tensor(f.load, 0, UINT64_MAX, &err), SGI_E_UNSUPPORTED);
    assert_int_equal(sgi__load_wait_prefixes(f.load, &err), SGI_E_UNSUPPORTED);
    tear_down(&f);
}

static void checks_hold_or_name_the_tensor(void **state)
{
    (void)state;
    struct fixture     f;
    struct sgi__check  checks[2];
    struct sgi__report report;
    sgi_error          err;

    sgi__error_init(&err);
    set_up(&f, 0, 0);
    checks[0] = (struct sgi__check){ .tensor = 0,
                                     .xxh3 = test_xxh3(f.file.data + f.manifest->tensors[0].offset, KIB(300)) };
    checks[1] = (struct sgi__check){ .tensor = 2,
                                     .xxh3 = test_xxh3(f.file.data + f.manifest->tensors[2].offset, MIB(1) + 5) };
    f.spec.checks = checks;
    f.spec.checks_count = 2;
    start(&f);
    assert_int_equal(sgi__load_run(f.load, &err), SGI_OK);
    sgi__load_report(f.load, &report);
    assert_int_equal(report.reread_bytes, 0);
    assert_true(report.steps[SGI_STEP_VERIFY].ns > 0);
    sgi__load_free(f.load);

    checks[1].xxh3++;
    start(&f);
    assert_int_equal(sgi__load_run(f.load, &err), SGI_E_CHECK);
    host_error_is(&err, SGI_E_CHECK, SGI_STEP_VERIFY, "'b'");
    host_error_is(&err, SGI_E_CHECK, SGI_STEP_VERIFY, "load.safetensors");
    assert_int_equal(sgi__load_wait_tensor(f.load, 2, UINT64_MAX, &err), SGI_E_CHECK);
    sgi__load_report(f.load, &report);
    assert_int_equal(report.reread_bytes, MIB(1) + 5); /* it was given a second chance */
    tear_down(&f);
}

static void a_file_that_was_replaced_is_not_read(void **state)
{
    (void)state;
    struct fixture f;
    sgi_error      err;

    sgi__error_init(&err);
    set_up(&f, 0, 0);
    start(&f);
    test_file_write(&f.file); /* the same bytes, another file */
    assert_int_equal(sgi__load_run(f.load, &err), SGI_E_CHANGED);
    host_error_is(&err, SGI_E_CHANGED, SGI_STEP_OPEN, "load.safetensors");
    assert_int_equal(sgi__load_wait_tensor(f.load, 0, UINT64_MAX, &err), SGI_E_CHANGED);
    tear_down(&f);
}

/* The threads engine, but at its first read somebody writes to the file. */
static const char *touched_path;

static void submit_and_touch(struct sgi__io_queue *queue, struct sgi__io_request **requests, uint32_t count)
{
    if (touched_path)
        utimensat(AT_FDCWD, touched_path, (struct timespec[]){ { 9, 0 }, { 9, 0 } }, 0);
    touched_path = NULL;
    sgi__io_threads.submit(queue, requests, count);
}

static void a_file_that_changes_while_it_is_read_is_refused(void **state)
{
    (void)state;
    struct fixture        f;
    struct sgi__io_engine touching = sgi__io_threads;
    sgi_error             err;

    sgi__error_init(&err);
    set_up(&f, 0, 0);
    touching.submit = submit_and_touch;
    f.spec.engine = f.spec.hot_engine = &touching;
    start(&f);
    touched_path = f.file.path;
    assert_int_equal(sgi__load_run(f.load, &err), SGI_E_CHANGED);
    assert_null(touched_path);
    host_error_is(&err, SGI_E_CHANGED, SGI_STEP_READ, "load.safetensors");
    bool all = true; /* whoever waited for every tensor knows it too */
    for (uint64_t n = 0; n < f.manifest->tensors_count; n++)
        all &= sgi__load_wait_tensor(f.load, n, 0, NULL) == SGI_OK;
    assert_false(all);
    tear_down(&f);
}

/* The threads engine, but somebody cancels when so many reads have been submitted. */
static struct sgi__load *cancel_load;
static uint32_t          cancel_after, cancel_seen;

static void submit_and_cancel(struct sgi__io_queue *queue, struct sgi__io_request **requests, uint32_t count)
{
    cancel_seen += count;
    if (cancel_seen > cancel_after)
        sgi__load_cancel(cancel_load);
    sgi__io_threads.submit(queue, requests, count);
}

static void reading_again_can_be_canceled(void **state)
{
    (void)state;
    struct fixture        f;
    struct sgi__io_engine canceling = sgi__io_threads;
    struct sgi__check     check = { .tensor = 2, .xxh3 = 1 };
    struct sgi__report    report;

    set_up(&f, 0, 0);
    canceling.submit = submit_and_cancel;
    f.spec.engine = f.spec.hot_engine = &canceling;
    f.spec.checks = &check;
    f.spec.checks_count = 1;
    start(&f);
    cancel_load = f.load;
    cancel_seen = 0;
    cancel_after = (uint32_t)((f.file.bytes + KIB(64) - 1) / KIB(64)) + 3; /* three blocks into the second reading */
    assert_int_equal(sgi__load_run(f.load, NULL), SGI_E_CANCELED);
    assert_true(cancel_seen > cancel_after && cancel_seen <= cancel_after + 2);
    sgi__load_report(f.load, &report);
    assert_int_equal(report.reread_bytes, 0);
    tear_down(&f);
}

/* The threads engine, but somebody counts. */
static uint32_t flying, flying_most;

static void submit_and_count(struct sgi__io_queue *queue, struct sgi__io_request **requests, uint32_t count)
{
    flying += count;
    flying_most = flying > flying_most ? flying : flying_most;
    sgi__io_threads.submit(queue, requests, count);
}

static uint32_t reap_and_count(struct sgi__io_queue *queue, struct sgi__io_request **done, uint32_t max)
{
    uint32_t count = sgi__io_threads.reap(queue, done, max);
    flying -= count;
    return count;
}

static void beside_others_a_load_keeps_to_its_share(void **state)
{
    (void)state;
    static const struct {
        int32_t  priority, rivals;
        uint32_t most;
    } cases[] = { { 0, 1, 1 }, { 0, 0, 2 }, { 0, -1, 3 }, { -1, 0, 1 }, { 7, 3, 3 } };

    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        struct fixture        f;
        struct sgi__io_engine counting = sgi__io_threads;
        struct sgi__share     share;
        struct sgi__sharer    rival;

        set_up(&f, 0, 0);
        sgi__share_init(&share);
        sgi__share_join(&share, &rival, cases[n].rivals, 4);
        counting.submit = submit_and_count;
        counting.reap = reap_and_count;
        f.spec.engine = f.spec.hot_engine = &counting;
        f.spec.share = &share;
        start(&f);
        sgi__load_priority(f.load, cases[n].priority);
        flying = flying_most = 0;
        assert_int_equal(sgi__load_run(f.load, NULL), SGI_OK);
        assert_data(&f);
        assert_int_equal(flying_most, cases[n].most);
        assert_int_equal(atomic_load(&rival.allowed), 4); /* it has left */
        sgi__load_priority(f.load, 9);                    /* too late to matter */
        sgi__share_leave(&share, &rival);
        sgi__share_fini(&share);
        tear_down(&f);
    }
}

static uint32_t depth_asked;

static sgi_status open_and_note(uint32_t depth, struct sgi__io_queue **queue_out, sgi_error *err)
{
    depth_asked = depth;
    return sgi__io_threads.open(depth, queue_out, err);
}

/* A reading thread for a read that there is not costs more than a small model's reads do. */
static void a_reader_is_no_deeper_than_there_are_reads(void **state)
{
    (void)state;
    static const struct {
        uint64_t block;
        uint32_t depth;
    } cases[] = { { MIB(2), 1 }, { MIB(1), 2 }, { KIB(64), 4 } }; /* a file of 1.3 MiB; depth_max is 4 */

    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        struct fixture        f;
        struct sgi__io_engine noting = sgi__io_threads;
        set_up(&f, 0, 0);
        noting.open = open_and_note;
        f.spec.engine = f.spec.hot_engine = &noting;
        f.spec.block_bytes = cases[n].block;
        start(&f);
        assert_int_equal(sgi__load_run(f.load, NULL), SGI_OK);
        assert_data(&f);
        assert_int_equal(depth_asked, cases[n].depth);
        tear_down(&f);
    }
}

/* What arrives broken once is read again, past the cache, and is good then. */
static void a_flipped_byte_is_read_again(void **state)
{
    (void)state;
    struct fixture     f;
    struct sgi__report report;
    struct sgi__check  checks[4];

    set_up(&f, 0, 0);
    for (uint64_t n = 0; n < 4; n++)
        checks[n] = (struct sgi__check){
            .tensor = n, .xxh3 = test_xxh3(f.file.data + f.manifest->tensors[n].offset, f.manifest->tensors[n].bytes)
        };
    f.spec.checks = checks;
    f.spec.checks_count = 4;
    start(&f);
    sgi__fault_plan(SGI__FAULT_CORRUPT, 3, 1, 1);
    assert_int_equal(sgi__load_run(f.load, NULL), SGI_OK);
    assert_true(sgi__fault_passed(SGI__FAULT_CORRUPT) >= 3);
    sgi__fault_clear();
    assert_data(&f);
    sgi__load_report(f.load, &report);
    assert_true(report.reread_bytes > 0);
    tear_down(&f);
}

static void a_cancel_ends_it_and_nothing_touches_the_image_afterwards(void **state)
{
    (void)state;
    struct fixture f;
    sgi_error      err;

    sgi__error_init(&err);
    set_up(&f, 0, 0);
    start(&f);
    sgi__load_cancel(f.load);
    assert_true(sgi__load_canceled(f.load));
    assert_int_equal(sgi__load_run(f.load, &err), SGI_E_CANCELED);
    host_error_is(&err, SGI_E_CANCELED, SGI_STEP_READ, "'m'");
    assert_int_equal(sgi__load_wait(f.load, &err), SGI_E_CANCELED);
    sgi__image_free(f.memory, f.image); /* munmap: a late read would crash */
    f.image = NULL;
    tear_down(&f);
}

static void a_residence_is_a_load_that_is_done(void **state)
{
    (void)state;
    struct fixture     f;
    struct sgi__report report;
    uint64_t           done, total;

    set_up(&f, 5000, 0);
    assert_int_equal(sgi__load_new_done(&f.spec, &f.load, NULL), SGI_OK);
    for (uint64_t n = 0; n < 4; n++)
        assert_int_equal(sgi__load_wait_tensor(f.load, n, 0, NULL), SGI_OK);
    assert_int_equal(sgi__load_wait_prefixes(f.load, NULL), SGI_OK);
    assert_int_equal(sgi__load_wait(f.load, NULL), SGI_OK);
    sgi__load_progress(f.load, &done, &total);
    assert_int_equal(done, total);
    sgi__load_report(f.load, &report);
    assert_int_equal(report.tier, SGI_TIER_DRAM);
    tear_down(&f);
}

/* What a load maps for itself is no engine's, and lacking it is no failure to read. */
static void scratch_that_cannot_be_had_is_told_as_memory(void **state)
{
    (void)state;
    struct sgi__check check = { .tensor = 2, .xxh3 = 1 };
    for (int reads_again = 0; reads_again < 2; reads_again++) {
        struct fixture f;
        sgi_error      err;
        sgi__error_init(&err);
        set_up(&f, reads_again ? 0 : 5000, 0); /* the block that the prefix shares with the data is copied */
        f.spec.checks = &check;
        f.spec.checks_count = (uint32_t)reads_again;
        start(&f);
        sgi__fault_plan(SGI__FAULT_MAP, 1, 1, ENOMEM);
        assert_int_equal(sgi__load_run(f.load, &err), SGI_E_DEVICE_MEMORY);
        sgi__fault_clear();
        host_error_is(&err, SGI_E_DEVICE_MEMORY, SGI_STEP_MEMORY, "scratch");
        assert_null(strstr(err.message, "engine"));
        tear_down(&f);
    }
}

static void every_failure_leaves_nothing(void **state)
{
    (void)state;
    static const enum sgi__fault_point points[] = { SGI__FAULT_ALLOC, SGI__FAULT_OPEN, SGI__FAULT_READ,
                                                    SGI__FAULT_THREAD, SGI__FAULT_MAP };
    for (size_t n = 0; n < sizeof points / sizeof *points; n++)
        for (uint64_t nth = 1; nth < 200; nth++) {
            struct fixture f;
            sgi_error      err;
            sgi__error_init(&err);
            set_up(&f, n % 2 ? 5000 : 0, 0);
            start(&f);
            if (f.layout->engine_prefix)
                assert_int_equal(sgi__load_fill_prefixes(f.load, NULL), SGI_OK);
            sgi__fault_plan(points[n], nth, 10, EIO);
            sgi_status st = sgi__load_run(f.load, &err);
            bool       passed = sgi__fault_passed(points[n]) >= nth;
            sgi__fault_clear();
            if (st == SGI_OK) {
                assert_data(&f);
            } else {
                assert_int_equal(err.code, st);
                assert_int_not_equal(err.step, SGI_STEP_NONE);
                assert_true(strstr(err.message, "'m'") || strstr(err.message, "load.safetensors"));
                assert_int_equal(sgi__load_wait(f.load, NULL), st);
            }
            tear_down(&f);
            if (!passed)
                break;
        }
}

static int make_folder(void **state)
{
    (void)state;
    test_folder_make(&folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    test_folder_remove(&folder);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_land_and_are_counted),
        cmocka_unit_test(a_wait_that_is_over_names_its_tensor_in_one_short_line),
        cmocka_unit_test(an_odd_start_is_copied_and_reported),
        cmocka_unit_test(the_prefix_is_filled_beside_and_never_read_over),
        cmocka_unit_test(a_prefix_that_fails_fails_the_load_first),
        cmocka_unit_test(checks_hold_or_name_the_tensor),
        cmocka_unit_test(a_file_that_was_replaced_is_not_read),
        cmocka_unit_test(a_file_that_changes_while_it_is_read_is_refused),
        cmocka_unit_test(reading_again_can_be_canceled),
        cmocka_unit_test(beside_others_a_load_keeps_to_its_share),
        cmocka_unit_test(a_reader_is_no_deeper_than_there_are_reads),
        cmocka_unit_test(a_flipped_byte_is_read_again),
        cmocka_unit_test(a_cancel_ends_it_and_nothing_touches_the_image_afterwards),
        cmocka_unit_test(a_residence_is_a_load_that_is_done),
        cmocka_unit_test(scratch_that_cannot_be_had_is_told_as_memory),
        cmocka_unit_test(every_failure_leaves_nothing),
    };
    return cmocka_run_group_tests_name("load", tests, make_folder, remove_folder);
}
