/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the reader makes of each outcome of a read, over an engine that does as it is told: it holds requests until
 * reap, then ends the oldest one as the next line of the script says, or else as a healthy kernel would.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/fault.h"
#include "io/reader.h"

enum { ALIGN = 4096, CACHED_FD = 1001, DIRECT_FD = 1002, SCRIPT_MAX = 256, LOG_MAX = 1024 };
#define MIB ((uint64_t)1 << 20)

/* -------------------------------------------------------------- fake engine */

#define HEALTHY INT64_MIN

struct sgi__io_queue {
    uint32_t                depth;
    struct sgi__io_request *flying[SGI__IO_DEPTH_MAX];
    uint32_t                flying_count;
};

/* One queue at a time; every test starts with reset(). */
static struct {
    struct sgi__io_queue queue;
    uint64_t             real_bytes;         /* of the file as the kernel has it now */
    int64_t              script[SCRIPT_MAX]; /* results in order: bytes, -errno, or HEALTHY */
    uint32_t             script_count, script_at;
    struct {
        int      fd;
        uint64_t offset, bytes;
        void    *dst;
    } log[LOG_MAX]; /* every request, as it was submitted */
    uint32_t log_count;
    uint32_t batches; /* calls of submit */
    uint32_t batch_last;
    uint32_t reap_max; /* how many come back at once */
    bool     woken, canceled, opened;
} fake;

static uint8_t expected_at(uint64_t offset)
{
    return (uint8_t)(offset * 31 + offset / 4096 + 7);
}

static sgi_status fake_probe(sgi_error *err)
{
    (void)err;
    return SGI_OK;
}

static sgi_status fake_open(uint32_t depth, struct sgi__io_queue **queue_out, sgi_error *err)
{
    (void)err;
    assert_false(fake.opened);
    fake.opened = true;
    fake.queue.depth = depth;
    *queue_out = &fake.queue;
    return SGI_OK;
}

static void fake_submit(struct sgi__io_queue *q, struct sgi__io_request **requests, uint32_t count)
{
    assert_in_range(q->flying_count + count, 1, q->depth);
    fake.batches++;
    fake.batch_last = count;
    for (uint32_t i = 0; i < count; i++) {
        assert_true(fake.log_count < LOG_MAX);
        fake.log[fake.log_count].fd = requests[i]->fd;
        fake.log[fake.log_count].offset = requests[i]->offset;
        fake.log[fake.log_count].bytes = requests[i]->bytes;
        fake.log[fake.log_count++].dst = requests[i]->dst;
        q->flying[q->flying_count++] = requests[i];
    }
}

/* As the kernel does it: up to the end of file, zeroes behind it when direct. */
static int64_t deliver(const struct sgi__io_request *request, uint64_t at_most)
{
    uint64_t left = request->offset < fake.real_bytes ? fake.real_bytes - request->offset : 0;
    uint64_t bytes = request->bytes < left ? request->bytes : left;
    if (bytes > at_most)
        bytes = at_most;
    for (uint64_t i = 0; i < bytes; i++)
        ((uint8_t *)request->dst)[i] = expected_at(request->offset + i);
    if (request->fd == DIRECT_FD)
        memset((uint8_t *)request->dst + bytes, 0, request->bytes - bytes);
    return (int64_t)bytes;
}

static uint32_t fake_reap(struct sgi__io_queue *q, struct sgi__io_request **done, uint32_t max)
{
    if (fake.woken) {
        fake.woken = false;
        return 0;
    }
    uint32_t count = 0;
    while (q->flying_count && count < max && count < fake.reap_max) {
        struct sgi__io_request *request = q->flying[0];
        memmove(q->flying, q->flying + 1, --q->flying_count * sizeof q->flying[0]);
        int64_t next = fake.script_at < fake.script_count ? fake.script[fake.script_at++] : HEALTHY;
        if (next == HEALTHY)
            request->result = deliver(request, UINT64_MAX);
        else
            request->result = next > 0 ? deliver(request, (uint64_t)next) : next;
        done[count++] = request;
    }
    return count;
}

static void fake_wake(struct sgi__io_queue *q)
{
    (void)q;
    fake.woken = true;
}

static void fake_cancel(struct sgi__io_queue *q)
{
    (void)q;
    fake.canceled = true;
}

static void fake_close(struct sgi__io_queue *q)
{
    assert_int_equal(q->flying_count, 0);
    fake.opened = false;
}

static const struct sgi__io_engine fake_engine = {
    .abi = SGI__IO_ABI,
    .name = "fake",
    .probe = fake_probe,
    .open = fake_open,
    .submit = fake_submit,
    .reap = fake_reap,
    .wake = fake_wake,
    .cancel = fake_cancel,
    .close = fake_close,
};

/* ------------------------------------------------------------------ fixture */

static struct sgi__io_file file;
static uint8_t            *memory; /* 2 MiB and a bit, aligned, 0xaa everywhere */
static struct sgi__reader *reader;

static void reset(uint64_t file_bytes, uint32_t depth)
{
    memset(&fake, 0, sizeof fake);
    fake.real_bytes = file_bytes;
    fake.reap_max = UINT32_MAX;
    file = (struct sgi__io_file){
        .cached_fd = CACHED_FD, .direct_fd = DIRECT_FD, .direct_align = ALIGN, .id.bytes = file_bytes
    };
    memset(memory, 0xaa, 4 * MIB);
    sgi_error err = { .struct_size = sizeof err };
    assert_int_equal(sgi__reader_open(&fake_engine, depth, &reader, &err), SGI_OK);
}

static void script(uint32_t count, const int64_t *results)
{
    memcpy(fake.script, results, count * sizeof results[0]);
    fake.script_count = count;
}

#define SCRIPT(...) script(sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t), (int64_t[]){ __VA_ARGS__ })

static struct sgi__read a_read(uint64_t offset, uint64_t bytes, bool direct)
{
    return (struct sgi__read){ .file = &file,
                               .path = "/models/some.gguf",
                               .offset = offset,
                               .dst = memory + offset,
                               .bytes = bytes,
                               .direct = direct };
}

/* Submits one and waits for it. */
static sgi_status run(struct sgi__read *read, sgi_error *err)
{
    struct sgi__read *back;
    sgi__reader_submit(reader, read);
    sgi_status status = sgi__reader_wait(reader, &back, err);
    assert_ptr_equal(back, read);
    assert_int_equal(sgi__reader_in_flight(reader), 0);
    return status;
}

static void assert_log(uint32_t i, int fd, uint64_t offset, uint64_t bytes)
{
    assert_true(i < fake.log_count);
    assert_int_equal(fake.log[i].fd, fd);
    assert_int_equal(fake.log[i].offset, offset);
    assert_int_equal(fake.log[i].bytes, bytes);
    assert_ptr_equal(fake.log[i].dst, memory + offset);
}

static void assert_landed(uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i < to; i++) {
        if (memory[i] != expected_at(i))
            fail_msg("byte %llu is wrong", (unsigned long long)i);
    }
}

static void assert_filled(uint64_t from, uint64_t to, uint8_t value)
{
    for (uint64_t i = from; i < to; i++) {
        if (memory[i] != value)
            fail_msg("byte %llu is %02x, not %02x", (unsigned long long)i, memory[i], value);
    }
}

static struct sgi__reader_stats finish(void)
{
    struct sgi__reader_stats stats;
    sgi__reader_close(reader, &stats);
    assert_int_equal(fake.script_at, fake.script_count); /* every line of the script was used */
    return stats;
}

/* ------------------------------------------------------------- short reads */

static void a_short_cached_read_is_resumed_where_it_stopped(void **state)
{
    (void)state;
    reset(MIB, 1);
    SCRIPT(1000, 1, 500);
    struct sgi__read read = a_read(10, 5000, false);
    assert_int_equal(run(&read, NULL), SGI_OK);
    assert_int_equal(read.done, 5000);
    assert_log(0, CACHED_FD, 10, 5000);
    assert_log(1, CACHED_FD, 1010, 4000);
    assert_log(2, CACHED_FD, 1011, 3999);
    assert_log(3, CACHED_FD, 1511, 3499);
    assert_int_equal(fake.log_count, 4);
    assert_landed(10, 5010);
    assert_filled(5010, 6000, 0xaa);
    assert_int_equal(finish().shorts, 3);
}

static void a_direct_read_that_stops_at_a_block_is_resumed_direct(void **state)
{
    (void)state;
    reset(MIB, 1);
    SCRIPT(3 * ALIGN, ALIGN);
    struct sgi__read read = a_read(2 * ALIGN, 8 * ALIGN, true);
    assert_int_equal(run(&read, NULL), SGI_OK);
    assert_log(1, DIRECT_FD, 5 * ALIGN, 5 * ALIGN);
    assert_log(2, DIRECT_FD, 6 * ALIGN, 4 * ALIGN);
    assert_int_equal(fake.log_count, 3);
    assert_landed(2 * ALIGN, 10 * ALIGN);
    assert_true(read.direct);
    struct sgi__reader_stats stats = finish();
    assert_int_equal(stats.shorts, 2);
    assert_int_equal(stats.downgrades, 0);
}

static void a_direct_read_that_stops_inside_a_block_goes_on_cached_from_there(void **state)
{
    (void)state;
    reset(MIB, 1);
    SCRIPT(ALIGN + 100);
    struct sgi__read read = a_read(0, 4 * ALIGN, true);
    assert_int_equal(run(&read, NULL), SGI_OK);
    assert_log(1, CACHED_FD, ALIGN + 100, 3 * ALIGN - 100);
    assert_int_equal(fake.log_count, 2);
    assert_landed(0, 4 * ALIGN);
    assert_false(read.direct);
    assert_int_equal(finish().downgrades, 1);
}

static void a_read_above_one_gib_is_made_of_several_requests(void **state)
{
    (void)state;
    reset(3 * 1024 * MIB, 1);
    SCRIPT(-EBADF);
    struct sgi__read read = a_read(0, 3 * 1024 * MIB, true);
    assert_int_equal(run(&read, NULL), SGI_E_IO);
    assert_log(0, DIRECT_FD, 0, 1024 * MIB);
    finish();
}

/* -------------------------------------------------------------- end of file */

static void a_direct_request_ends_at_the_rounded_end_of_file(void **state)
{
    (void)state;
    reset(2 * ALIGN + 10, 1);
    struct sgi__read read = a_read(ALIGN, 8 * ALIGN, true); /* a careless owner: far past the end */
    assert_int_equal(run(&read, NULL), SGI_OK);
    assert_log(0, DIRECT_FD, ALIGN, 2 * ALIGN);
    assert_int_equal(fake.log_count, 1); /* nothing is read after the tail */
    assert_int_equal(read.done, ALIGN + 10);
    assert_landed(ALIGN, 2 * ALIGN + 10);
    assert_filled(2 * ALIGN + 10, 3 * ALIGN, 0);
    assert_filled(3 * ALIGN, 10 * ALIGN, 0xaa);
    assert_int_equal(finish().shorts, 0);
}

static void a_file_may_end_one_byte_before_a_block(void **state)
{
    (void)state;
    reset(2 * ALIGN - 1, 1);
    struct sgi__read read = a_read(0, 2 * ALIGN, true);
    assert_int_equal(run(&read, NULL), SGI_OK);
    assert_int_equal(fake.log_count, 1);
    assert_int_equal(read.done, 2 * ALIGN - 1);
    assert_landed(0, 2 * ALIGN - 1);
    assert_filled(2 * ALIGN - 1, 2 * ALIGN, 0);
    finish();
}

static void past_the_end_is_zero_even_when_the_tail_came_cached(void **state)
{
    (void)state;
    reset(2 * ALIGN + 10, 1);
    SCRIPT(-EINVAL);
    struct sgi__read read = a_read(0, 3 * ALIGN, true);
    assert_int_equal(run(&read, NULL), SGI_OK);
    assert_log(1, CACHED_FD, 0, 2 * ALIGN + 10); /* not past the end: that could be read only as short */
    assert_landed(0, 2 * ALIGN + 10);
    assert_filled(2 * ALIGN + 10, 3 * ALIGN, 0);
    assert_filled(3 * ALIGN, 4 * ALIGN, 0xaa);
    finish();
}

static void bytes_appended_during_the_load_do_not_show(void **state)
{
    (void)state;
    reset(2 * ALIGN + 10, 1);
    fake.real_bytes = 4 * ALIGN;
    struct sgi__read read = a_read(0, 3 * ALIGN, true);
    assert_int_equal(run(&read, NULL), SGI_OK);
    assert_int_equal(read.done, 2 * ALIGN + 10);
    assert_filled(2 * ALIGN + 10, 3 * ALIGN, 0);
    finish();
}

static void a_file_that_became_shorter_is_changed(void **state)
{
    (void)state;
    static const uint64_t now[] = { 0, 1, ALIGN, ALIGN + 1, 4 * ALIGN - 1 };
    for (int direct = 0; direct < 2; direct++) {
        for (size_t i = 0; i < sizeof now / sizeof now[0]; i++) {
            reset(4 * ALIGN, 1);
            fake.real_bytes = now[i];
            sgi_error        err = { .struct_size = sizeof err };
            struct sgi__read read = a_read(0, 4 * ALIGN, direct);
            assert_int_equal(run(&read, &err), SGI_E_CHANGED);
            assert_non_null(strstr(err.message, "/models/some.gguf"));
            assert_in_range(fake.log_count, 1, 2);
            finish();
        }
    }
}

static void a_direct_read_that_begins_past_the_end_is_changed_and_reads_nothing(void **state)
{
    (void)state;
    reset(ALIGN, 1);
    struct sgi__read read = a_read(ALIGN, ALIGN, true);
    assert_int_equal(run(&read, NULL), SGI_E_CHANGED);
    assert_int_equal(fake.log_count, 0);
    finish();
}

static void zero_bytes_are_there_at_once(void **state)
{
    (void)state;
    reset(ALIGN, 1);
    struct sgi__read read = a_read(0, 0, false);
    assert_int_equal(run(&read, NULL), SGI_OK);
    assert_int_equal(fake.log_count, 0);
    finish();
}

/* ------------------------------------------------------------------- errors */

static void eintr_and_eagain_are_retried(void **state)
{
    (void)state;
    reset(MIB, 1);
    SCRIPT(-EINTR, -EAGAIN, 100, -EAGAIN, -EINTR);
    struct sgi__read read = a_read(0, 4096, false);
    assert_int_equal(run(&read, NULL), SGI_OK);
    assert_log(5, CACHED_FD, 100, 3996);
    assert_landed(0, 4096);
    struct sgi__reader_stats stats = finish();
    assert_int_equal(stats.retries, 4);
    assert_int_equal(stats.shorts, 1);
}

static void a_storm_of_eintr_or_eagain_ends(void **state)
{
    (void)state;
    static const int which[] = { EINTR, EAGAIN };
    for (size_t k = 0; k < 2; k++) {
        reset(MIB, 1);
        int64_t results[SCRIPT_MAX];
        for (int i = 0; i <= SGI__READ_AGAINS_MAX; i++)
            results[i] = -which[k];
        script(SGI__READ_AGAINS_MAX + 1, results);
        sgi_error        err = { .struct_size = sizeof err };
        struct sgi__read read = a_read(4096, 4096, false);
        assert_int_equal(run(&read, &err), SGI_E_IO);
        assert_int_equal(err.os_errno, which[k]);
        assert_int_equal(fake.log_count, SGI__READ_AGAINS_MAX + 1);
        assert_int_equal(finish().retries, SGI__READ_AGAINS_MAX);
    }
}

static void a_byte_in_between_begins_the_count_anew(void **state)
{
    (void)state;
    reset(MIB, 1);
    int64_t results[2 * SGI__READ_AGAINS_MAX + 1];
    for (int i = 0; i <= 2 * SGI__READ_AGAINS_MAX; i++)
        results[i] = i == SGI__READ_AGAINS_MAX ? 1 : -EINTR;
    script(2 * SGI__READ_AGAINS_MAX + 1, results);
    struct sgi__read read = a_read(0, 100, false);
    assert_int_equal(run(&read, NULL), SGI_OK);
    assert_int_equal(finish().retries, 2 * SGI__READ_AGAINS_MAX);
}

static void after_eagain_nothing_starts_before_another_read_has_finished(void **state)
{
    (void)state;
    reset(MIB, 3);
    fake.reap_max = 1;
    SCRIPT(-EAGAIN, -EAGAIN, HEALTHY);
    struct sgi__read reads[3], *back;
    for (uint64_t i = 0; i < 3; i++) {
        reads[i] = a_read(i * ALIGN, ALIGN, false);
        sgi__reader_submit(reader, &reads[i]);
    }
    assert_int_equal(fake.batches, 1);
    assert_int_equal(sgi__reader_wait(reader, &back, NULL), SGI_OK);
    assert_ptr_equal(back, &reads[2]);
    assert_int_equal(fake.batches, 2); /* both in one batch, and only now */
    assert_int_equal(fake.batch_last, 2);
    for (int i = 0; i < 2; i++)
        assert_int_equal(sgi__reader_wait(reader, &back, NULL), SGI_OK);
    assert_landed(0, 3 * ALIGN);
    assert_int_equal(finish().retries, 2);
}

static void after_eagain_nobody_waits_for_reads_that_came_back_together(void **state)
{
    (void)state;
    reset(MIB, 3);
    SCRIPT(HEALTHY, HEALTHY, -EAGAIN, HEALTHY);
    struct sgi__read reads[3], *back;
    for (uint64_t i = 0; i < 3; i++) {
        reads[i] = a_read(i * ALIGN, ALIGN, false);
        sgi__reader_submit(reader, &reads[i]);
    }
    for (int i = 0; i < 3; i++) {
        assert_int_equal(sgi__reader_wait(reader, &back, NULL), SGI_OK);
        assert_ptr_equal(back, &reads[i]); /* NULL: it counts on one that is no longer in the engine */
    }
    assert_landed(0, 3 * ALIGN);
    assert_int_equal(finish().retries, 1);
}

static void eio_is_retried_and_may_pass(void **state)
{
    (void)state;
    reset(MIB, 1);
    SCRIPT(ALIGN, -EIO, ALIGN, -EIO, -EIO);
    struct sgi__read read = a_read(0, 4 * ALIGN, true);
    assert_int_equal(run(&read, NULL), SGI_OK);
    assert_landed(0, 4 * ALIGN);
    assert_int_equal(finish().retries, 3);
}

static void eio_that_stays_fails_with_path_offset_and_cause(void **state)
{
    (void)state;
    reset(MIB, 1);
    SCRIPT(2 * ALIGN, -EIO, -EIO, -EIO, -EIO);
    sgi_error        err = { .struct_size = sizeof err };
    struct sgi__read read = a_read(ALIGN, 4 * ALIGN, true);
    assert_int_equal(run(&read, &err), SGI_E_IO);
    assert_int_equal(fake.log_count, 1 + 1 + SGI__READ_RETRIES_MAX);
    assert_int_equal(err.code, SGI_E_IO);
    assert_int_equal(err.os_errno, EIO);
    assert_string_equal(err.message, "read /models/some.gguf at offset 12288: Input/output error");
    finish();
}

static void progress_does_not_forgive_eio(void **state)
{
    (void)state;
    reset(MIB, 1);
    SCRIPT(1, -EIO, 1, -EIO, 1, -EIO, 1, -EIO);
    struct sgi__read read = a_read(0, 100, false);
    assert_int_equal(run(&read, NULL), SGI_E_IO);
    finish();
}

static void what_no_retry_can_help_fails_at_once(void **state)
{
    (void)state;
    static const int which[] = { EBADF, EFAULT, EISDIR, ESPIPE };
    for (size_t i = 0; i < sizeof which / sizeof which[0]; i++) {
        reset(MIB, 1);
        SCRIPT(-which[i]);
        sgi_error        err = { .struct_size = sizeof err };
        struct sgi__read read = a_read(0, ALIGN, true);
        assert_int_equal(run(&read, &err), SGI_E_IO);
        assert_int_equal(err.os_errno, which[i]);
        assert_int_equal(fake.log_count, 1);
        finish();
    }
}

static void einval_moves_a_direct_read_to_the_page_cache_and_only_that_one(void **state)
{
    (void)state;
    reset(MIB, 1);
    SCRIPT(ALIGN, -EINVAL);
    struct sgi__read read = a_read(0, 4 * ALIGN, true);
    assert_int_equal(run(&read, NULL), SGI_OK);
    assert_log(1, DIRECT_FD, ALIGN, 3 * ALIGN);
    assert_log(2, CACHED_FD, ALIGN, 3 * ALIGN);
    assert_landed(0, 4 * ALIGN);
    assert_false(read.direct);

    struct sgi__read next = a_read(4 * ALIGN, ALIGN, true);
    assert_int_equal(run(&next, NULL), SGI_OK);
    assert_log(3, DIRECT_FD, 4 * ALIGN, ALIGN);
    assert_int_equal(finish().downgrades, 1);
}

static void einval_on_a_cached_read_is_an_error(void **state)
{
    (void)state;
    reset(MIB, 1);
    SCRIPT(-EINVAL, -EINVAL);
    struct sgi__read read = a_read(0, ALIGN, true);
    assert_int_equal(run(&read, NULL), SGI_E_IO);
    assert_int_equal(fake.log_count, 2);
    finish();
}

static void one_read_failing_leaves_the_others_alone(void **state)
{
    (void)state;
    reset(MIB, 3);
    SCRIPT(HEALTHY, -EBADF, HEALTHY);
    struct sgi__read reads[3], *back;
    for (uint64_t i = 0; i < 3; i++) {
        reads[i] = a_read(i * ALIGN, ALIGN, true);
        sgi__reader_submit(reader, &reads[i]);
    }
    for (uint32_t i = 0; i < 3; i++) {
        sgi_status status = sgi__reader_wait(reader, &back, NULL);
        assert_int_equal(status, back == &reads[1] ? SGI_E_IO : SGI_OK);
        assert_int_equal(sgi__reader_in_flight(reader), 2 - i);
    }
    finish();
}

/* ------------------------------------------------------------------ batches */

static void reads_start_together_when_the_queue_is_full_or_at_wait(void **state)
{
    (void)state;
    reset(MIB, 4);
    struct sgi__read reads[4], *back;
    for (uint64_t i = 0; i < 4; i++) {
        assert_false(sgi__reader_full(reader));
        reads[i] = a_read(i * ALIGN, ALIGN, false);
        sgi__reader_submit(reader, &reads[i]);
        assert_int_equal(fake.batches, i == 3);
    }
    assert_true(sgi__reader_full(reader));
    assert_int_equal(fake.batch_last, 4);
    for (int i = 0; i < 4; i++)
        assert_int_equal(sgi__reader_wait(reader, &back, NULL), SGI_OK);

    for (uint64_t i = 0; i < 2; i++) {
        reads[i] = a_read(i * ALIGN, ALIGN, false);
        sgi__reader_submit(reader, &reads[i]);
    }
    assert_int_equal(fake.batches, 1);
    assert_int_equal(sgi__reader_wait(reader, &back, NULL), SGI_OK);
    assert_int_equal(fake.batches, 2);
    assert_int_equal(fake.batch_last, 2);
    assert_int_equal(sgi__reader_wait(reader, &back, NULL), SGI_OK);
    finish();
}

static void a_new_read_starts_while_finished_ones_still_wait_for_the_owner(void **state)
{
    (void)state;
    reset(MIB, 3);
    struct sgi__read reads[4], *back;
    for (uint64_t i = 0; i < 4; i++)
        reads[i] = a_read(i * ALIGN, ALIGN, false);
    for (int i = 0; i < 3; i++)
        sgi__reader_submit(reader, &reads[i]);
    sgi__reader_wait(reader, &back, NULL); /* all three came back, one was handed out */
    sgi__reader_submit(reader, &reads[3]);
    assert_int_equal(fake.batches, 2);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(sgi__reader_wait(reader, &back, NULL), SGI_OK);
        assert_non_null(back);
    }
    sgi__reader_wait(reader, &back, NULL);
    assert_null(back);
    finish();
}

static void a_resumed_read_does_not_wait_for_the_owner(void **state)
{
    (void)state;
    reset(MIB, 2);
    SCRIPT(100, HEALTHY);
    struct sgi__read reads[2] = { a_read(0, ALIGN, false), a_read(ALIGN, ALIGN, false) }, *back;
    sgi__reader_submit(reader, &reads[0]);
    sgi__reader_submit(reader, &reads[1]);
    sgi__reader_wait(reader, &back, NULL);
    assert_ptr_equal(back, &reads[1]);
    assert_int_equal(fake.log_count, 3); /* the rest of the first is on its way already */
    sgi__reader_wait(reader, &back, NULL);
    assert_ptr_equal(back, &reads[0]);
    finish();
}

/* ----------------------------------------------------------- wake and cancel */

static void wait_with_nothing_in_flight_returns_no_read(void **state)
{
    (void)state;
    reset(MIB, 2);
    struct sgi__read *back = (struct sgi__read *)memory;
    assert_int_equal(sgi__reader_wait(reader, &back, NULL), SGI_OK);
    assert_null(back);
    finish();
}

static void wake_returns_no_read_and_the_reads_go_on(void **state)
{
    (void)state;
    reset(MIB, 2);
    struct sgi__read read = a_read(0, ALIGN, false), *back = &read;
    sgi__reader_submit(reader, &read);
    sgi__reader_wake(reader);
    assert_int_equal(sgi__reader_wait(reader, &back, NULL), SGI_OK);
    assert_null(back);
    assert_int_equal(sgi__reader_in_flight(reader), 1);
    assert_int_equal(sgi__reader_wait(reader, &back, NULL), SGI_OK);
    assert_ptr_equal(back, &read);
    finish();
}

static void cancel_brings_back_queued_and_flying_reads_as_canceled(void **state)
{
    (void)state;
    reset(MIB, 4);
    SCRIPT(100, HEALTHY, -ECANCELED); /* one stops short, one lands whole, one is stopped by the engine */
    fake.reap_max = 1;
    struct sgi__read reads[4], *back;
    for (uint64_t i = 0; i < 4; i++)
        reads[i] = a_read(i * ALIGN, ALIGN, false);
    for (int i = 0; i < 3; i++)
        sgi__reader_submit(reader, &reads[i]);
    sgi__reader_wake(reader);
    sgi__reader_wait(reader, &back, NULL); /* starts the three */
    sgi__reader_submit(reader, &reads[3]); /* full: starts too */
    assert_int_equal(fake.log_count, 4);
    sgi__reader_cancel(reader);
    assert_true(fake.canceled);
    for (uint32_t i = 0; i < 4; i++) {
        sgi_error err = { .struct_size = sizeof err };
        assert_int_equal(sgi__reader_in_flight(reader), 4 - i);
        assert_int_equal(sgi__reader_wait(reader, &back, &err), SGI_E_CANCELED);
        assert_non_null(back);
        assert_int_equal(err.code, SGI_E_CANCELED);
    }
    assert_int_equal(sgi__reader_in_flight(reader), 0);
    assert_int_equal(fake.log_count, 4); /* nothing was resumed */
    finish();
}

static void cancel_before_the_start_reads_nothing_and_later_reads_are_canceled_too(void **state)
{
    (void)state;
    reset(MIB, 4);
    struct sgi__read reads[2] = { a_read(0, ALIGN, false), a_read(ALIGN, ALIGN, false) }, *back;
    sgi__reader_submit(reader, &reads[0]);
    sgi__reader_cancel(reader);
    sgi__reader_cancel(reader); /* a second one changes nothing */
    sgi__reader_submit(reader, &reads[1]);
    assert_int_equal(sgi__reader_wait(reader, &back, NULL), SGI_E_CANCELED);
    assert_ptr_equal(back, &reads[0]);
    assert_int_equal(sgi__reader_wait(reader, &back, NULL), SGI_E_CANCELED);
    assert_ptr_equal(back, &reads[1]);
    assert_int_equal(fake.log_count, 0);
    assert_filled(0, 2 * ALIGN, 0xaa);
    finish();
}

static void ecanceled_that_nobody_asked_for_is_retried(void **state)
{
    (void)state;
    reset(MIB, 1);
    SCRIPT(-ECANCELED);
    struct sgi__read read = a_read(0, ALIGN, true);
    assert_int_equal(run(&read, NULL), SGI_OK);
    assert_int_equal(finish().retries, 1);
}

/* --------------------------------------------------------------------- open */

static void a_wrong_abi_or_depth_is_refused(void **state)
{
    (void)state;
    struct sgi__reader   *r = NULL;
    struct sgi__io_engine old = fake_engine;
    old.abi = SGI__IO_ABI + 1;
    memset(&fake, 0, sizeof fake);
    assert_int_equal(sgi__reader_open(&old, 4, &r, NULL), SGI_E_INVALID);
    assert_int_equal(sgi__reader_open(&fake_engine, 0, &r, NULL), SGI_E_INVALID);
    assert_int_equal(sgi__reader_open(&fake_engine, SGI__IO_DEPTH_MAX + 1, &r, NULL), SGI_E_INVALID);
    assert_null(r);
    assert_false(fake.opened);
}

static void a_long_path_leaves_room_for_the_cause(void **state)
{
    (void)state;
    reset(MIB, 1);
    SCRIPT(-EBADF);
    char long_path[600];
    memset(long_path, 'x', sizeof long_path);
    memcpy(long_path + sizeof long_path - 11, "model.gguf", 11);
    sgi_error        err = { .struct_size = sizeof err };
    struct sgi__read read = a_read(0, ALIGN, false);
    read.path = long_path;
    assert_int_equal(run(&read, &err), SGI_E_IO);
    assert_non_null(strstr(err.message, "model.gguf at offset 0: Bad file descriptor"));
    finish();
}

static int map_memory(void **state)
{
    (void)state;
    return posix_memalign((void **)&memory, ALIGN, 4 * MIB);
}

static int free_memory(void **state)
{
    (void)state;
    free(memory);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_short_cached_read_is_resumed_where_it_stopped),
        cmocka_unit_test(a_direct_read_that_stops_at_a_block_is_resumed_direct),
        cmocka_unit_test(a_direct_read_that_stops_inside_a_block_goes_on_cached_from_there),
        cmocka_unit_test(a_read_above_one_gib_is_made_of_several_requests),
        cmocka_unit_test(a_direct_request_ends_at_the_rounded_end_of_file),
        cmocka_unit_test(a_file_may_end_one_byte_before_a_block),
        cmocka_unit_test(past_the_end_is_zero_even_when_the_tail_came_cached),
        cmocka_unit_test(bytes_appended_during_the_load_do_not_show),
        cmocka_unit_test(a_file_that_became_shorter_is_changed),
        cmocka_unit_test(a_direct_read_that_begins_past_the_end_is_changed_and_reads_nothing),
        cmocka_unit_test(zero_bytes_are_there_at_once),
        cmocka_unit_test(eintr_and_eagain_are_retried),
        cmocka_unit_test(a_storm_of_eintr_or_eagain_ends),
        cmocka_unit_test(a_byte_in_between_begins_the_count_anew),
        cmocka_unit_test(after_eagain_nothing_starts_before_another_read_has_finished),
        cmocka_unit_test(after_eagain_nobody_waits_for_reads_that_came_back_together),
        cmocka_unit_test(eio_is_retried_and_may_pass),
        cmocka_unit_test(eio_that_stays_fails_with_path_offset_and_cause),
        cmocka_unit_test(progress_does_not_forgive_eio),
        cmocka_unit_test(what_no_retry_can_help_fails_at_once),
        cmocka_unit_test(einval_moves_a_direct_read_to_the_page_cache_and_only_that_one),
        cmocka_unit_test(einval_on_a_cached_read_is_an_error),
        cmocka_unit_test(one_read_failing_leaves_the_others_alone),
        cmocka_unit_test(reads_start_together_when_the_queue_is_full_or_at_wait),
        cmocka_unit_test(a_new_read_starts_while_finished_ones_still_wait_for_the_owner),
        cmocka_unit_test(a_resumed_read_does_not_wait_for_the_owner),
        cmocka_unit_test(wait_with_nothing_in_flight_returns_no_read),
        cmocka_unit_test(wake_returns_no_read_and_the_reads_go_on),
        cmocka_unit_test(cancel_brings_back_queued_and_flying_reads_as_canceled),
        cmocka_unit_test(cancel_before_the_start_reads_nothing_and_later_reads_are_canceled_too),
        cmocka_unit_test(ecanceled_that_nobody_asked_for_is_retried),
        cmocka_unit_test(a_wrong_abi_or_depth_is_refused),
        cmocka_unit_test(a_long_path_leaves_room_for_the_cause),
    };
    return cmocka_run_group_tests(tests, map_memory, free_memory);
}
