/* SPDX-License-Identifier: Apache-2.0 */
/* The reader over each engine and a real file: that the two fit, and what a fault in the middle does to them. The
 * rules of the reader one by one are in unit/test_io_reader.c. */
#include "conformance/test_io.h"
#include "io/reader.h"

/* ----------------------------------------------------------------- loading */

static struct sgi__reader *open_reader(const struct sgi__io_engine *engine, uint32_t depth)
{
    struct sgi__reader *r = NULL;
    sgi_error           err = { .struct_size = sizeof err };
    if (sgi__reader_open(engine, depth, &r, &err) != SGI_OK)
        fail_msg("open: %s", err.message);
    return r;
}

/* Reads the file in blocks; the first status that is not SGI_OK, after everything has come back. */
static sgi_status load(struct sgi__reader *r, bool direct, uint64_t block, uint8_t *dst, sgi_error *err)
{
    struct sgi__read reads[DEPTH_MAX], *unused[DEPTH_MAX];
    uint32_t         unused_count = 0;
    for (uint32_t i = 0; i < DEPTH_MAX; i++)
        unused[unused_count++] = &reads[i];
    sgi_status failed = SGI_OK;
    uint64_t   next = 0;
    for (;;) {
        while (next < FILE_BYTES && !sgi__reader_full(r) && failed == SGI_OK) {
            struct sgi__read *read = unused[--unused_count];
            uint64_t          left = FILE_BYTES - next, bytes = left < block ? left : block;
            if (direct)
                bytes = (bytes + file.direct_align - 1) & ~(uint64_t)(file.direct_align - 1);
            *read = (struct sgi__read){
                .file = &file, .path = path, .offset = next, .dst = dst + next, .bytes = bytes, .direct = direct
            };
            sgi__reader_submit(r, read);
            next += block;
        }
        struct sgi__read *read;
        sgi_status        status = sgi__reader_wait(r, &read, failed == SGI_OK ? err : NULL);
        if (!read)
            break;
        unused[unused_count++] = read;
        if (status != SGI_OK && failed == SGI_OK) {
            failed = status;
            sgi__reader_cancel(r);
        }
    }
    assert_int_equal(sgi__reader_in_flight(r), 0);
    return failed;
}

static void the_reader_loads_the_file_and_zeroes_past_its_end_only(void **state)
{
    const struct sgi__io_engine *engine = engine_of(state);
    const size_t                 room = FILE_BYTES + 2 * MIB;
    uint8_t                     *dst = map_pages(room);
    for (int direct = 0; direct <= (file.direct_fd >= 0); direct++) {
        for (uint32_t depth = 1; depth <= DEPTH_MAX; depth *= 4) {
            memset(dst, 0xaa, room);
            struct sgi__reader *r = open_reader(engine, depth);
            assert_int_equal(load(r, direct, MIB, dst, NULL), SGI_OK);
            struct sgi__reader_stats stats;
            sgi__reader_close(r, &stats);
            assert_int_equal(stats.downgrades, 0);
            assert_bytes(dst, 0, FILE_BYTES);
            size_t end = FILE_BYTES;
            if (direct)
                end = (end + file.direct_align - 1) & ~(size_t)(file.direct_align - 1);
            assert_filled(dst + FILE_BYTES, 0, end - FILE_BYTES);
            assert_filled(dst + end, 0xaa, room - end);
        }
    }
    munmap(dst, room);
}

static void a_file_cut_short_during_the_load_is_changed(void **state)
{
    const struct sgi__io_engine *engine = engine_of(state);
    char                         cut[64];
    snprintf(cut, sizeof cut, "%.40s_cut", path);
    int      fd = open(cut, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    uint8_t *dst = map_pages(4 * PAGE);
    assert_true(fd >= 0);
    for (int direct = 0; direct <= 1; direct++) {
        struct sgi__io_file source;
        sgi_error           err = { .struct_size = sizeof err };
        assert_int_equal(ftruncate(fd, 3 * PAGE), 0);
        assert_int_equal(sgi__io_file_open(cut, NULL, direct, &source, NULL), SGI_OK);
        assert_int_equal(ftruncate(fd, PAGE + 100), 0); /* inside a block: a direct read stops in the middle of it */
        struct sgi__reader *r = open_reader(engine, 1);
        struct sgi__read    read = {
               .file = &source, .path = cut, .dst = dst, .bytes = 3 * PAGE, .direct = source.direct_fd >= 0
        };
        struct sgi__read *back;
        sgi__reader_submit(r, &read);
        assert_int_equal(sgi__reader_wait(r, &back, &err), SGI_E_CHANGED);
        assert_ptr_equal(back, &read);
        assert_non_null(strstr(err.message, cut));
        sgi__reader_close(r, NULL);
        sgi__io_file_close(&source);
    }
    munmap(dst, 4 * PAGE);
    close(fd);
    unlink(cut);
}

#ifdef SGI_FAULT_POINTS
static void injected_read_faults_look_like_the_kernels(void **state)
{
    const struct sgi__io_engine *engine = engine_of(state);
    const size_t                 room = FILE_BYTES + PAGE;
    uint8_t                     *dst = map_pages(room);
    bool                         direct = file.direct_fd >= 0;
    sgi_error                    err = { .struct_size = sizeof err };
    struct sgi__reader_stats     stats;

    sgi__fault_plan(SGI__FAULT_READ, 3, 2, EIO);
    struct sgi__reader *r = open_reader(engine, 4);
    assert_int_equal(load(r, direct, MIB, dst, &err), SGI_OK);
    sgi__reader_close(r, &stats);
    assert_int_equal(stats.retries, 2);
    assert_bytes(dst, 0, FILE_BYTES);

    sgi__fault_plan(SGI__FAULT_READ, 3, 1000, EIO);
    r = open_reader(engine, 4);
    assert_int_equal(load(r, direct, MIB, dst, &err), SGI_E_IO);
    assert_int_equal(err.os_errno, EIO);
    assert_non_null(strstr(err.message, path));
    sgi__reader_close(r, NULL);
    sgi__fault_clear();

    sgi__fault_plan(SGI__FAULT_READ, 1, 1, EINVAL);
    r = open_reader(engine, 4);
    memset(dst, 0, room);
    assert_int_equal(load(r, direct, MIB, dst, &err), direct ? SGI_OK : SGI_E_IO);
    sgi__reader_close(r, &stats);
    assert_int_equal(stats.downgrades, direct);
    if (direct)
        assert_bytes(dst, 0, FILE_BYTES);

    /* Every read is short, until halving gets below a block and on. */
    sgi__fault_clear();
    sgi__fault_plan(SGI__FAULT_READ_SHORT, 1, 60, 1);
    memset(dst, 0, room);
    r = open_reader(engine, 4);
    assert_int_equal(load(r, direct, MIB, dst, &err), SGI_OK);
    sgi__reader_close(r, &stats);
    assert_true(stats.shorts >= 50);
    assert_bytes(dst, 0, FILE_BYTES);

    sgi__fault_clear();
    sgi__fault_plan(SGI__FAULT_CORRUPT, 2, 1, 1);
    r = open_reader(engine, 1);
    assert_int_equal(load(r, direct, MIB, dst, &err), SGI_OK);
    sgi__reader_close(r, NULL);
    uint64_t wrong = 0;
    for (uint64_t i = 0; i < FILE_BYTES; i++)
        wrong += dst[i] != expected_at(i);
    assert_int_equal(wrong, 1);
    sgi__fault_clear();
    munmap(dst, room);
}

/* Each point in turn, at its every passing: a true status, nothing left open, and the next try works. */
static void opening_fails_cleanly_at_every_fault_point(void **state)
{
    const struct sgi__io_engine *engine = engine_of(state);
    static const struct {
        enum sgi__fault_point point;
        int                   value;
    } faults[] = {
        { SGI__FAULT_ALLOC, 1 },       { SGI__FAULT_RING, EPERM },     { SGI__FAULT_RING, ENOMEM },
        { SGI__FAULT_THREAD, EAGAIN }, { SGI__FAULT_EVENTFD, EMFILE },
    };
    uint32_t before = open_descriptors();
    for (size_t f = 0; f < sizeof faults / sizeof faults[0]; f++) {
        for (uint64_t nth = 1;; nth++) {
            struct sgi__reader *r = NULL;
            sgi_error           err = { .struct_size = sizeof err };
            sgi__fault_plan(faults[f].point, nth, 1000, faults[f].value);
            sgi_status status = sgi__reader_open(engine, 8, &r, &err);
            uint64_t   passed = sgi__fault_passed(faults[f].point);
            sgi__fault_clear();
            if (status == SGI_OK) {
                uint8_t         *dst = map_pages(PAGE);
                struct sgi__read read = { .file = &file, .path = path, .dst = dst, .bytes = PAGE }, *back;
                sgi__reader_submit(r, &read);
                assert_int_equal(sgi__reader_wait(r, &back, NULL), SGI_OK);
                assert_bytes(dst, 0, PAGE);
                sgi__reader_close(r, NULL);
                munmap(dst, PAGE);
            } else {
                assert_null(r);
                assert_int_equal(err.code, status);
                assert_true(err.message[0] != '\0');
                assert_int_equal(status, faults[f].point == SGI__FAULT_ALLOC ? SGI_E_NO_MEMORY
                                         : faults[f].value == EPERM          ? SGI_E_UNSUPPORTED
                                                                             : SGI_E_SYSTEM);
                if (faults[f].point != SGI__FAULT_ALLOC)
                    assert_int_equal(err.os_errno, faults[f].value);
            }
            assert_int_equal(open_descriptors(), before);
            if (passed < nth)
                break;
        }
    }
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(the_reader_loads_the_file_and_zeroes_past_its_end_only, NULL),
        BOTH(a_file_cut_short_during_the_load_is_changed, NULL),
#ifdef SGI_FAULT_POINTS
        BOTH(injected_read_faults_look_like_the_kernels, NULL),
        BOTH(opening_fails_cleanly_at_every_fault_point, NULL),
#endif
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
