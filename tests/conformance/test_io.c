/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every engine behind io/io.h must do, run over both. A test that holds for one engine and not for the other is a bug in an
 * engine or does not belong here; test_io_uring.c has what only a ring can get wrong.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/fault.h"
#include "io/io.h"
#include "io/reader.h"

enum { PAGE = 4096, DEPTH_MAX = SGI__IO_DEPTH_MAX };
#define MIB ((size_t)1 << 20)
#define FILE_BYTES (8 * MIB + 1234) /* ends inside a block of every size */

/* ------------------------------------------------------------------ fixture */

struct subject {
    const char *name;
    const struct sgi__io_engine *(*engine)(void);
};

static const struct sgi__io_engine *threads_engine(void)
{
    return &sgi__io_threads;
}

static const struct subject uring = { "uring", sgi__io_uring };
static const struct subject threads = { "threads", threads_engine };

static char                path[64];
static struct sgi__io_file file;

/* The reference: what stands at an offset of the file. */
static uint8_t expected_at(uint64_t offset)
{
    uint64_t x = (offset / 8 + 1) * UINT64_C(0x9e3779b97f4a7c15);
    x ^= x >> 29;
    return (uint8_t)(x >> (8 * (offset % 8)));
}

static void assert_bytes(const void *data, uint64_t offset, uint64_t bytes)
{
    const uint8_t *p = data;
    for (uint64_t i = 0; i < bytes; i++) {
        if (p[i] != expected_at(offset + i))
            fail_msg("byte %llu of the file is wrong in memory", (unsigned long long)(offset + i));
    }
}

static void assert_filled(const void *data, uint8_t value, size_t bytes)
{
    const uint8_t *p = data;
    for (size_t i = 0; i < bytes; i++) {
        if (p[i] != value)
            fail_msg("byte %zu is %02x, not %02x", i, p[i], value);
    }
}

static void *map_pages(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(p, MAP_FAILED);
    return p;
}

static int make_file(void **state)
{
    (void)state;
    const char *folder = getenv("TMPDIR");
    snprintf(path, sizeof path, "%.40s/sgi_io_XXXXXX", folder ? folder : "/tmp");
    int fd = mkstemp(path);
    if (fd < 0)
        return -1;
    uint8_t *data = malloc(FILE_BYTES);
    for (uint64_t i = 0; data && i < FILE_BYTES; i++)
        data[i] = expected_at(i);
    bool written = data && write(fd, data, FILE_BYTES) == (ssize_t)FILE_BYTES && fsync(fd) == 0;
    free(data);
    close(fd);
    return written ? sgi__io_file_open(path, NULL, true, &file, NULL) : -1;
}

static int remove_file(void **state)
{
    (void)state;
    sgi__io_file_close(&file);
    return unlink(path);
}

/* The engine of this test, or a skip by name. */
static const struct sgi__io_engine *engine_of(void **state)
{
    const struct subject        *subject = *state;
    const struct sgi__io_engine *engine = subject->engine();
    sgi_error                    err = { .struct_size = sizeof err };
    if (!engine) {
        print_message("skipped: this build has no %s engine\n", subject->name);
        skip();
    }
    if (engine->probe(&err) == SGI_E_UNSUPPORTED) {
        print_message("skipped: %s\n", err.message);
        skip();
    }
    return engine;
}

static void need_direct(void)
{
    if (file.direct_fd < 0) {
        print_message("skipped: no direct reads on the file system of %s: %s\n", path, file.direct_refused);
        skip();
    }
}

static struct sgi__io_queue *open_queue(const struct sgi__io_engine *engine, uint32_t depth)
{
    struct sgi__io_queue *queue = NULL;
    sgi_error             err = { .struct_size = sizeof err };
    if (engine->open(depth, &queue, &err) != SGI_OK)
        fail_msg("open: %s", err.message);
    return queue;
}

static struct sgi__io_request *reap_one(const struct sgi__io_engine *engine, struct sgi__io_queue *queue)
{
    struct sgi__io_request *done = NULL;
    assert_int_equal(engine->reap(queue, &done, 1), 1);
    return done;
}

static int64_t read_one(const struct sgi__io_engine *engine, struct sgi__io_queue *queue, struct sgi__io_request request)
{
    struct sgi__io_request *p = &request;
    engine->submit(queue, &p, 1);
    assert_ptr_equal(reap_one(engine, queue), p);
    return request.result;
}

/* ------------------------------------------------- a read that does not end */

/* Something to hold a request in flight for as long as a test wants, without a clock: for uring an empty pipe, for a
 * reading thread memory whose page fault nobody answers yet. */
struct stuck {
    bool                   over_pipe;
    int                    pipe[2];
    int                    faults;
    void                  *memory;
    struct sgi__io_request request;
};

/* Open now; a test that fails leaves some, and a thread in a fault that nobody answers keeps the process from ending. */
static int held_faults[16];

static void hold(int fd)
{
    for (size_t i = 0; i < sizeof held_faults / sizeof held_faults[0]; i++) {
        if (held_faults[i] == 0) {
            held_faults[i] = fd;
            return;
        }
    }
    fail_msg("too many held reads");
}

static void let_go(int fd)
{
    close(fd); /* wakes who waits; the page is then an ordinary one */
    for (size_t i = 0; i < sizeof held_faults / sizeof held_faults[0]; i++) {
        if (held_faults[i] == fd)
            held_faults[i] = 0;
    }
}

static int let_go_of_all(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof held_faults / sizeof held_faults[0]; i++) {
        if (held_faults[i])
            let_go(held_faults[i]);
    }
    return 0;
}

static void stuck_open(struct stuck *stuck, void **state)
{
    *stuck = (struct stuck){ .over_pipe = *state == (const void *)&uring, .faults = -1, .memory = map_pages(PAGE) };
    if (stuck->over_pipe) {
        assert_int_equal(pipe(stuck->pipe), 0);
        stuck->request = (struct sgi__io_request){ .fd = stuck->pipe[0], .dst = stuck->memory, .bytes = 1 };
        return;
    }
    stuck->faults = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
    struct uffdio_api      api = { .api = UFFD_API };
    struct uffdio_register all = { .range = { (uintptr_t)stuck->memory, PAGE }, .mode = UFFDIO_REGISTER_MODE_MISSING };
    if (stuck->faults < 0 || ioctl(stuck->faults, UFFDIO_API, &api) != 0 || ioctl(stuck->faults, UFFDIO_REGISTER, &all) != 0) {
        print_message("skipped: a reading thread can be held only with userfaultfd, which is refused here: %s\n", strerror(errno));
        if (stuck->faults >= 0)
            close(stuck->faults);
        munmap(stuck->memory, PAGE);
        skip();
    }
    hold(stuck->faults);
    stuck->request = (struct sgi__io_request){ .fd = file.cached_fd, .dst = stuck->memory, .bytes = 1 };
}

/* Returns once a thread hangs in the fault; a ring holds its read from submit on. */
static void stuck_wait_until_held(struct stuck *stuck)
{
    struct uffd_msg message;
    if (!stuck->over_pipe)
        assert_int_equal(read(stuck->faults, &message, sizeof message), sizeof message);
}

static void stuck_release(struct stuck *stuck)
{
    if (stuck->over_pipe) {
        assert_int_equal(write(stuck->pipe[1], "x", 1), 1);
    } else if (stuck->faults >= 0) {
        let_go(stuck->faults);
        stuck->faults = -1;
    }
}

static void stuck_close(struct stuck *stuck)
{
    if (stuck->over_pipe) {
        close(stuck->pipe[0]);
        close(stuck->pipe[1]);
    } else if (stuck->faults >= 0) {
        let_go(stuck->faults);
    }
    munmap(stuck->memory, PAGE);
}

/* --------------------------------------------------------------------- data */

static void read_all(const struct sgi__io_engine *engine, uint32_t depth, int fd, uint64_t first, uint64_t block, uint8_t *dst)
{
    struct sgi__io_queue  *queue = open_queue(engine, depth);
    struct sgi__io_request requests[DEPTH_MAX], *start[DEPTH_MAX];
    bool                   used[DEPTH_MAX] = { false };
    uint64_t               next = first, landed = 0;
    uint32_t               in_flight = 0;
    do {
        uint32_t count = 0;
        for (uint32_t i = 0; i < depth && next < FILE_BYTES; i++) {
            if (used[i])
                continue;
            used[i] = true;
            requests[i] = (struct sgi__io_request){ .fd = fd, .offset = next, .dst = dst + next, .bytes = block };
            start[count++] = &requests[i];
            next += block;
        }
        engine->submit(queue, start, count);
        in_flight += count;

        struct sgi__io_request *done[DEPTH_MAX];
        uint32_t                back = engine->reap(queue, done, depth);
        assert_in_range(back, 1, in_flight);
        in_flight -= back;
        for (uint32_t i = 0; i < back; i++) {
            uint64_t left = FILE_BYTES - done[i]->offset;
            assert_int_equal(done[i]->result, left < block ? left : block);
            landed += (uint64_t)done[i]->result;
            used[done[i] - requests] = false;
        }
    } while (in_flight || next < FILE_BYTES);
    engine->close(queue);
    assert_int_equal(landed, FILE_BYTES - first);
    assert_bytes(dst + first, first, FILE_BYTES - first);
}

static void cached_reads_deliver_the_file_at_any_offset_size_and_depth(void **state)
{
    const struct sgi__io_engine *engine = engine_of(state);
    static const uint32_t        depths[] = { 1, 2, 7, 64 };
    static const uint64_t        blocks[] = { 4093, 65536, 1 << 20, 3000017 }, firsts[] = { 0, 1, 511, 4096, 8 * MIB + 1233 };
    uint8_t                     *dst = map_pages(FILE_BYTES + 4 * MIB);
    for (size_t d = 0; d < 4; d++) {
        for (size_t b = 0; b < 4; b++) {
            memset(dst, 0, FILE_BYTES);
            read_all(engine, depths[d], file.cached_fd, firsts[(d + b) % 5], blocks[b], dst);
        }
    }
    read_all(engine, 8, file.cached_fd, firsts[4], 65536, dst);
    munmap(dst, FILE_BYTES + 4 * MIB);
}

static void direct_reads_deliver_the_file_at_any_offset_size_and_depth(void **state)
{
    const struct sgi__io_engine *engine = engine_of(state);
    need_direct();
    static const uint32_t depths[] = { 1, 2, 7, 64 };
    static const uint64_t blocks[] = { 4096, 65536, 1 << 20, 3 << 20 }, firsts[] = { 0, 4096, 65536, 8 * MIB };
    uint8_t              *dst = map_pages(FILE_BYTES + 4 * MIB);
    for (size_t d = 0; d < 4; d++) {
        for (size_t b = 0; b < 4; b++) {
            memset(dst, 0, FILE_BYTES);
            read_all(engine, depths[d], file.direct_fd, firsts[(d + b) % 4], blocks[b], dst);
        }
    }
    munmap(dst, FILE_BYTES + 4 * MIB);
}

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static void a_thousand_random_requests_match_the_reference(void **state)
{
    const struct sgi__io_engine *engine = engine_of(state);
    enum { DEPTH = 16, SLOT = 256 * 1024, REQUESTS = 1000 };
    struct sgi__io_queue  *queue = open_queue(engine, DEPTH);
    struct sgi__io_request requests[DEPTH];
    uint8_t               *memory = map_pages(DEPTH * SLOT);
    uint64_t               seed = 0x5eed;
    uint32_t               started = 0, back = 0, in_flight = 0;
    bool                   used[DEPTH] = { false };
    while (back < REQUESTS) {
        for (uint32_t i = 0; i < DEPTH && started < REQUESTS; i++) {
            if (used[i])
                continue;
            bool     direct = file.direct_fd >= 0 && next_random(&seed) % 2;
            uint64_t offset = next_random(&seed) % FILE_BYTES, bytes = 1 + next_random(&seed) % SLOT;
            if (direct) {
                offset &= ~(uint64_t)(PAGE - 1);
                bytes = (bytes + PAGE - 1) & ~(uint64_t)(PAGE - 1);
            }
            requests[i] = (struct sgi__io_request){
                .fd = direct ? file.direct_fd : file.cached_fd, .offset = offset, .dst = memory + i * SLOT, .bytes = bytes
            };
            struct sgi__io_request *p = &requests[i];
            engine->submit(queue, &p, 1);
            used[i] = true;
            started++;
            in_flight++;
        }
        struct sgi__io_request *done[DEPTH];
        uint32_t                count = engine->reap(queue, done, 1 + (uint32_t)(next_random(&seed) % DEPTH));
        assert_in_range(count, 1, in_flight);
        for (uint32_t i = 0; i < count; i++) {
            uint64_t left = FILE_BYTES - done[i]->offset;
            assert_int_equal(done[i]->result, left < done[i]->bytes ? left : done[i]->bytes);
            assert_bytes(done[i]->dst, done[i]->offset, (uint64_t)done[i]->result);
            assert_true(used[done[i] - requests]);
            used[done[i] - requests] = false;
        }
        in_flight -= count;
        back += count;
    }
    assert_int_equal(in_flight, 0);
    engine->close(queue);
    munmap(memory, DEPTH * SLOT);
}

static void a_read_at_or_past_the_end_of_file_returns_what_is_there(void **state)
{
    const struct sgi__io_engine *engine = engine_of(state);
    struct sgi__io_queue        *queue = open_queue(engine, 2);
    uint8_t                     *dst = map_pages(PAGE);
    struct sgi__io_request       request = { .fd = file.cached_fd, .offset = FILE_BYTES - 10, .dst = dst, .bytes = PAGE };
    assert_int_equal(read_one(engine, queue, request), 10);
    assert_bytes(dst, FILE_BYTES - 10, 10);
    request.offset = FILE_BYTES;
    assert_int_equal(read_one(engine, queue, request), 0);
    request.offset = FILE_BYTES + MIB;
    assert_int_equal(read_one(engine, queue, request), 0);
    engine->close(queue);
    munmap(dst, PAGE);
}

/* ------------------------------------------------------------------- errors */

static void an_error_comes_back_as_its_errno_and_hurts_nobody_else(void **state)
{
    const struct sgi__io_engine *engine = engine_of(state);
    struct sgi__io_queue        *queue = open_queue(engine, 5);
    uint8_t                     *dst = map_pages(PAGE), *nowhere = map_pages(PAGE);
    assert_int_equal(mprotect(nowhere, PAGE, PROT_NONE), 0);
    int folder = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(folder >= 0);

    struct sgi__io_request requests[5] = {
        { .fd = -1, .dst = dst, .bytes = 100 },
        { .fd = file.cached_fd, .dst = nowhere, .bytes = 100 },
        { .fd = 1000000, .dst = dst, .bytes = 100 },
        { .fd = folder, .dst = dst, .bytes = 100 },
        { .fd = file.cached_fd, .offset = 5, .dst = dst, .bytes = 100 },
    };
    struct sgi__io_request *start[5], *done[5];
    for (int i = 0; i < 5; i++)
        start[i] = &requests[i];
    engine->submit(queue, start, 5);
    for (uint32_t back = 0; back < 5;)
        back += engine->reap(queue, done, 5);

    assert_int_equal(requests[0].result, -EBADF);
    assert_int_equal(requests[1].result, -EFAULT);
    assert_int_equal(requests[2].result, -EBADF);
    assert_int_equal(requests[3].result, -EISDIR);
    assert_int_equal(requests[4].result, 100);
    assert_bytes(dst, 5, 100);
    engine->close(queue);
    close(folder);
    munmap(nowhere, PAGE);
    munmap(dst, PAGE);
}

static void a_direct_read_off_its_alignment_is_einval(void **state)
{
    const struct sgi__io_engine *engine = engine_of(state);
    need_direct();
    struct sgi__io_queue  *queue = open_queue(engine, 1);
    uint8_t               *dst = map_pages(2 * PAGE);
    struct sgi__io_request request = { .fd = file.direct_fd, .offset = 1, .dst = dst, .bytes = PAGE };
    if (read_one(engine, queue, request) != -EINVAL)
        print_message("this file system takes direct reads at odd offsets\n");
    request.offset = 0;
    assert_int_equal(read_one(engine, queue, request), PAGE);
    engine->close(queue);
    munmap(dst, 2 * PAGE);
}

/* ------------------------------------------------------- queue depth, order */

static void as_many_as_the_depth_are_in_flight_and_each_comes_back_once(void **state)
{
    const struct sgi__io_engine *engine = engine_of(state);
    uint8_t                     *dst = map_pages(DEPTH_MAX * PAGE);
    for (uint32_t depth = 1; depth <= DEPTH_MAX; depth++) {
        struct sgi__io_queue  *queue = open_queue(engine, depth);
        struct sgi__io_request requests[DEPTH_MAX], *start[DEPTH_MAX], *done[DEPTH_MAX];
        for (uint32_t round = 0; round < 2; round++) {
            uint32_t seen[DEPTH_MAX] = { 0 };
            for (uint32_t i = 0; i < depth; i++) {
                requests[i] = (struct sgi__io_request){
                    .fd = file.cached_fd, .offset = i * PAGE, .dst = dst + i * PAGE, .bytes = PAGE, .user = &seen[i]
                };
                start[i] = &requests[i];
            }
            engine->submit(queue, start, depth);
            for (uint32_t back = 0; back < depth;) {
                uint32_t count = engine->reap(queue, done, 3);
                assert_in_range(count, 1, 3);
                back += count;
                for (uint32_t i = 0; i < count; i++)
                    ++*(uint32_t *)done[i]->user;
            }
            for (uint32_t i = 0; i < depth; i++)
                assert_int_equal(seen[i], 1);
            assert_bytes(dst, 0, depth * PAGE);
            assert_int_equal(engine->reap(queue, done, DEPTH_MAX), 0);
        }
        engine->close(queue);
    }
    munmap(dst, DEPTH_MAX * PAGE);
}

static void reap_returns_zero_when_nothing_is_in_flight(void **state)
{
    const struct sgi__io_engine *engine = engine_of(state);
    struct sgi__io_queue        *queue = open_queue(engine, 4);
    struct sgi__io_request      *done[4];
    assert_int_equal(engine->reap(queue, done, 4), 0);
    assert_int_equal(engine->reap(queue, done, 4), 0);
    engine->submit(queue, done, 0); /* nothing is a legal batch */
    assert_int_equal(engine->reap(queue, done, 4), 0);
    engine->cancel(queue);
    assert_int_equal(engine->reap(queue, done, 4), 0);
    engine->close(queue);
}

static void a_slow_read_does_not_hold_up_the_ones_after_it(void **state)
{
    const struct sgi__io_engine *engine = engine_of(state);
    struct stuck                 stuck;
    stuck_open(&stuck, state);
    struct sgi__io_queue  *queue = open_queue(engine, 4);
    uint8_t               *dst = map_pages(3 * PAGE);
    struct sgi__io_request fast[3], *start[4] = { &stuck.request };
    for (size_t i = 0; i < 3; i++) {
        fast[i] = (struct sgi__io_request){ .fd = file.cached_fd, .offset = i * PAGE, .dst = dst + i * PAGE, .bytes = PAGE };
        start[1 + i] = &fast[i];
    }
    engine->submit(queue, start, 4);
    for (size_t i = 0; i < 3; i++) {
        const struct sgi__io_request *done = reap_one(engine, queue);
        assert_ptr_not_equal(done, &stuck.request);
        assert_int_equal(done->result, PAGE);
    }
    assert_bytes(dst, 0, 3 * PAGE);
    stuck_release(&stuck);
    assert_ptr_equal(reap_one(engine, queue), &stuck.request);
    assert_int_equal(stuck.request.result, 1);
    engine->close(queue);
    munmap(dst, 3 * PAGE);
    stuck_close(&stuck);
}

/* --------------------------------------------------------------------- wake */

struct waker {
    const struct sgi__io_engine *engine;
    struct sgi__io_queue        *queue;
    sem_t                        go;
    uint32_t                     said; /* what the owner must see after the wake; ordered by it */
};

static void *wake_when_told(void *user)
{
    struct waker *w = user;
    while (sem_wait(&w->go) != 0)
        ;
    w->said = 7;
    w->engine->wake(w->queue);
    return NULL;
}

static void wake_ends_a_blocked_reap_from_another_thread(void **state)
{
    const struct sgi__io_engine *engine = engine_of(state);
    struct stuck                 stuck;
    stuck_open(&stuck, state);
    struct waker            w = { .engine = engine, .queue = open_queue(engine, 2) };
    struct sgi__io_request *start = &stuck.request, *done[2];
    sem_init(&w.go, 0, 0);
    engine->submit(w.queue, &start, 1);

    for (int round = 0; round < 50; round++) {
        pthread_t thread;
        w.said = 0;
        assert_int_equal(pthread_create(&thread, NULL, wake_when_told, &w), 0);
        sem_post(&w.go);
        assert_int_equal(engine->reap(w.queue, done, 2), 0); /* only the wake can end it: the read is stuck */
        assert_int_equal(w.said, 7);
        pthread_join(thread, NULL);
    }
    stuck_release(&stuck);
    assert_ptr_equal(reap_one(engine, w.queue), &stuck.request);
    engine->close(w.queue);
    sem_destroy(&w.go);
    stuck_close(&stuck);
}

static void a_wake_before_reap_is_kept_and_several_count_as_one(void **state)
{
    const struct sgi__io_engine *engine = engine_of(state);
    struct stuck                 stuck;
    stuck_open(&stuck, state);
    struct sgi__io_queue   *queue = open_queue(engine, 2);
    struct sgi__io_request *start = &stuck.request, *done[2];
    engine->submit(queue, &start, 1);
    engine->wake(queue);
    engine->wake(queue);
    engine->wake(queue);
    assert_int_equal(engine->reap(queue, done, 2), 0);
    stuck_release(&stuck);
    assert_int_equal(engine->reap(queue, done, 2), 1); /* not a second 0 */
    engine->close(queue);
    stuck_close(&stuck);
}

static void a_wake_with_nothing_in_flight_is_answered_at_once(void **state)
{
    const struct sgi__io_engine *engine = engine_of(state);
    struct stuck                 stuck;
    stuck_open(&stuck, state);
    struct sgi__io_queue   *queue = open_queue(engine, 2);
    struct sgi__io_request *start = &stuck.request, *done[2];
    engine->wake(queue);
    assert_int_equal(engine->reap(queue, done, 2), 0);
    engine->submit(queue, &start, 1);
    stuck_release(&stuck);
    assert_int_equal(engine->reap(queue, done, 2), 1); /* that wake has had its answer */
    engine->close(queue);
    stuck_close(&stuck);
}

static void a_finished_read_does_not_use_the_wake_up(void **state)
{
    const struct sgi__io_engine *engine = engine_of(state);
    struct stuck                 stuck;
    stuck_open(&stuck, state);
#ifdef SGI_FAULT_POINTS
    sgi__fault_plan(SGI__FAULT_THREAD, 2, 100, EAGAIN); /* one thread: once it is stuck, the reads before are finished */
#endif
    struct sgi__io_queue *queue = open_queue(engine, 3);
#ifdef SGI_FAULT_POINTS
    sgi__fault_clear();
#endif
    uint8_t               *dst = map_pages(2 * PAGE);
    struct sgi__io_request fast[2] = {
        { .fd = file.cached_fd, .dst = dst, .bytes = PAGE },
        { .fd = file.cached_fd, .dst = dst + PAGE, .bytes = PAGE },
    };
    struct sgi__io_request *start[3] = { &fast[0], &fast[1], &stuck.request }, *done[1];
    engine->submit(queue, start, 3);
    stuck_wait_until_held(&stuck);
    engine->wake(queue);
    uint32_t zeros = 0, back = 0;
    while (zeros == 0 || back < 2) {
        uint32_t count = engine->reap(queue, done, 1);
        back += count;
        zeros += count == 0;
    }
    assert_int_equal(zeros, 1);
    stuck_release(&stuck);
    assert_ptr_equal(reap_one(engine, queue), &stuck.request);
    engine->close(queue);
    munmap(dst, 2 * PAGE);
    stuck_close(&stuck);
}

struct storm {
    const struct sgi__io_engine *engine;
    struct sgi__io_queue        *queue;
    pthread_barrier_t            begin;
};

static void *wake_often(void *user)
{
    struct storm *s = user;
    pthread_barrier_wait(&s->begin);
    for (int i = 0; i < 2000; i++)
        s->engine->wake(s->queue);
    return NULL;
}

static void wakes_from_many_threads_neither_lose_nor_repeat_a_read(void **state)
{
    const struct sgi__io_engine *engine = engine_of(state);
    enum { WAKERS = 3, READS = 2000, DEPTH = 8 };
    struct storm           s = { .engine = engine, .queue = open_queue(engine, DEPTH) };
    struct sgi__io_request requests[DEPTH] = { 0 }; /* free while `user` is NULL */
    pthread_t              thread[WAKERS];
    uint8_t               *dst = map_pages(DEPTH * PAGE);
    pthread_barrier_init(&s.begin, NULL, WAKERS + 1);
    for (int i = 0; i < WAKERS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, wake_often, &s), 0);
    pthread_barrier_wait(&s.begin);

    uint32_t started = 0, back = 0;
    while (back < READS) {
        while (started - back < DEPTH && started < READS) {
            uint32_t slot = 0;
            while (requests[slot].user)
                slot++;
            requests[slot] = (struct sgi__io_request){
                .fd = file.cached_fd, .offset = (started % 2000) * PAGE, .dst = dst + slot * PAGE, .bytes = PAGE, .user = dst
            };
            struct sgi__io_request *p = &requests[slot];
            engine->submit(s.queue, &p, 1);
            started++;
        }
        struct sgi__io_request *done[DEPTH];
        uint32_t                count = engine->reap(s.queue, done, DEPTH);
        for (uint32_t i = 0; i < count; i++) {
            assert_non_null(done[i]->user);
            assert_int_equal(done[i]->result, PAGE);
            assert_bytes(done[i]->dst, done[i]->offset, 64);
            done[i]->user = NULL;
        }
        back += count;
    }
    assert_int_equal(back, READS);
    for (int i = 0; i < WAKERS; i++)
        pthread_join(thread[i], NULL);
    engine->close(s.queue);
    pthread_barrier_destroy(&s.begin);
    munmap(dst, DEPTH * PAGE);
}

/* ------------------------------------------------------------------- cancel */

static void cancel_brings_everything_back_and_then_nothing_touches_the_memory(void **state)
{
    const struct sgi__io_engine *engine = engine_of(state);
    const size_t                 block = MIB / 4;
    for (int round = 0; round < 5; round++) {
        struct sgi__io_queue  *queue = open_queue(engine, DEPTH_MAX);
        uint8_t               *dst = map_pages(DEPTH_MAX * block);
        struct sgi__io_request requests[DEPTH_MAX], *start[DEPTH_MAX], *done[DEPTH_MAX];
        int                    fd = file.direct_fd >= 0 ? file.direct_fd : file.cached_fd;
        for (uint32_t i = 0; i < DEPTH_MAX; i++) {
            requests[i] = (struct sgi__io_request){ .fd = fd, .offset = i % 32 * block, .dst = dst + i * block, .bytes = block };
            start[i] = &requests[i];
        }
        engine->submit(queue, start, DEPTH_MAX);
        engine->cancel(queue);
        for (uint32_t back = 0; back < DEPTH_MAX;) {
            uint32_t count = engine->reap(queue, done, DEPTH_MAX);
            assert_in_range(count, 1, DEPTH_MAX);
            back += count;
            for (uint32_t i = 0; i < count; i++) {
                if (done[i]->result != -ECANCELED && done[i]->result != -EINTR)
                    assert_int_equal(done[i]->result, block);
            }
        }
        /* Other memory at the same addresses: a late write would show. */
        assert_ptr_equal(mmap(dst, DEPTH_MAX * block, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), dst);
        memset(dst, 0xaa, DEPTH_MAX * block);
        uint8_t *other = map_pages(PAGE);
        assert_int_equal(read_one(engine, queue, (struct sgi__io_request){ .fd = file.cached_fd, .dst = other, .bytes = PAGE }), PAGE);
        engine->close(queue);
        assert_filled(dst, 0xaa, DEPTH_MAX * block);
        munmap(other, PAGE);
        munmap(dst, DEPTH_MAX * block);
    }
}

static void cancel_ends_what_can_be_ended_and_wake_works_after_it(void **state)
{
    const struct sgi__io_engine *engine = engine_of(state);
    struct stuck                 stuck;
    stuck_open(&stuck, state);
    struct sgi__io_queue  *queue = open_queue(engine, 1);
    uint8_t               *dst = map_pages(PAGE);
    struct sgi__io_request *start = &stuck.request, *done[1];
    engine->submit(queue, &start, 1);
    stuck_wait_until_held(&stuck);
    engine->cancel(queue);
    if (!stuck.over_pipe)
        stuck_release(&stuck); /* a thread inside pread cannot be called back; a ring needs no help */
    assert_ptr_equal(reap_one(engine, queue), &stuck.request);
    assert_int_equal(stuck.request.result, stuck.over_pipe ? -ECANCELED : 1);

    /* The queue is as good as new. */
    assert_int_equal(read_one(engine, queue, (struct sgi__io_request){ .fd = file.cached_fd, .dst = dst, .bytes = PAGE }), PAGE);
    assert_bytes(dst, 0, PAGE);
    stuck_close(&stuck);
    stuck_open(&stuck, state);
    engine->submit(queue, &start, 1);
    engine->wake(queue);
    assert_int_equal(engine->reap(queue, done, 1), 0);
    stuck_release(&stuck);
    assert_ptr_equal(reap_one(engine, queue), &stuck.request);
    engine->close(queue);
    munmap(dst, PAGE);
    stuck_close(&stuck);
}

static void reads_waiting_for_a_thread_are_canceled_without_being_started(void **state)
{
    const struct sgi__io_engine *engine = engine_of(state);
    enum { READERS = 8, QUEUED = 12 };
    struct stuck            stuck[READERS];
    struct sgi__io_request  queued[QUEUED], *start[READERS + QUEUED], *done[READERS + QUEUED];
    uint8_t                *dst = map_pages(PAGE);
    memset(dst, 0xaa, PAGE);
    for (size_t i = 0; i < READERS; i++) {
        stuck_open(&stuck[i], state);
        start[i] = &stuck[i].request;
    }
    for (size_t i = 0; i < QUEUED; i++) {
        queued[i] = (struct sgi__io_request){ .fd = file.cached_fd, .dst = dst, .bytes = PAGE };
        start[READERS + i] = &queued[i];
    }
    struct sgi__io_queue *queue = open_queue(engine, READERS + QUEUED);
    engine->submit(queue, start, READERS + QUEUED);
    for (size_t i = 0; i < READERS; i++)
        stuck_wait_until_held(&stuck[i]);
    engine->cancel(queue);
    assert_int_equal(engine->reap(queue, done, READERS + QUEUED), QUEUED); /* while all threads still hang */
    for (size_t i = 0; i < QUEUED; i++)
        assert_int_equal(queued[i].result, -ECANCELED);
    assert_filled(dst, 0xaa, PAGE);
    for (size_t i = 0; i < READERS; i++)
        stuck_release(&stuck[i]);
    for (uint32_t back = 0; back < READERS;)
        back += engine->reap(queue, done, READERS);
    engine->close(queue);
    for (size_t i = 0; i < READERS; i++)
        stuck_close(&stuck[i]);
    munmap(dst, PAGE);
}

/* ---------------------------------------------------- the reader over each */

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
            *read = (struct sgi__read){ .file = &file, .path = path, .offset = next, .dst = dst + next, .bytes = bytes, .direct = direct };
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
        struct sgi__read read = { .file = &source, .path = cut, .dst = dst, .bytes = 3 * PAGE, .direct = source.direct_fd >= 0 };
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

static uint32_t open_descriptors(void)
{
    uint32_t count = 0;
    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

/* Each point in turn, at its every passing: a true status, nothing left open, and the next try works. */
static void opening_fails_cleanly_at_every_fault_point(void **state)
{
    const struct sgi__io_engine *engine = engine_of(state);
    static const struct {
        enum sgi__fault_point point;
        int                   value;
    } faults[] = {
        { SGI__FAULT_ALLOC, 1 },      { SGI__FAULT_RING, EPERM },    { SGI__FAULT_RING, ENOMEM },
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

static void the_queue_works_with_as_many_threads_as_it_got(void **state)
{
    const struct sgi__io_engine *engine = engine_of(state);
    uint8_t *dst = map_pages(FILE_BYTES + MIB);
    for (uint64_t refused = 2; refused <= 8; refused++) {
        sgi__fault_plan(SGI__FAULT_THREAD, refused, 1, EAGAIN);
        memset(dst, 0, FILE_BYTES);
        read_all(engine, 8, file.cached_fd, 0, MIB, dst);
    }
    sgi__fault_plan(SGI__FAULT_THREAD, 1, 1, EAGAIN);
    struct sgi__io_queue *queue = NULL;
    sgi_error             err = { .struct_size = sizeof err };
    assert_int_equal(engine->open(8, &queue, &err), SGI_E_SYSTEM);
    assert_int_equal(err.os_errno, EAGAIN);
    sgi__fault_clear();
    munmap(dst, FILE_BYTES + MIB);
}

static void probe_says_why_not(void **state)
{
    const struct sgi__io_engine *engine = engine_of(state);
    sgi_error                    err = { .struct_size = sizeof err };
    sgi__fault_plan(SGI__FAULT_RING, 1, 10, EPERM);
    sgi_status status = engine->probe(&err);
    sgi__fault_clear();
    if (engine == &sgi__io_threads) {
        assert_int_equal(status, SGI_OK);
        return;
    }
    assert_int_equal(status, SGI_E_UNSUPPORTED);
    assert_int_equal(err.os_errno, EPERM);
    assert_non_null(strstr(err.message, "io_uring_setup"));
    assert_int_equal(engine->probe(NULL), SGI_OK);
}
#endif

/* Opens and closes with a wake and reads that nobody reaped one by one: what leaks shows in the sanitizer or here. */
static void a_hundred_queues_leave_nothing_behind(void **state)
{
    const struct sgi__io_engine *engine = engine_of(state);
    uint8_t                     *dst = map_pages(4 * PAGE);
    int                          lowest = dup(0);
    close(lowest);
    for (int i = 0; i < 100; i++) {
        struct sgi__io_queue  *queue = open_queue(engine, 4);
        struct sgi__io_request requests[4], *start[4], *done[4];
        for (size_t k = 0; k < 4; k++) {
            requests[k] = (struct sgi__io_request){ .fd = file.cached_fd, .offset = k * PAGE, .dst = dst + k * PAGE, .bytes = PAGE };
            start[k] = &requests[k];
        }
        engine->submit(queue, start, 4);
        engine->wake(queue);
        for (uint32_t back = 0; back < 4;)
            back += engine->reap(queue, done, 4);
        engine->close(queue);
    }
    int now = dup(0);
    close(now);
    assert_int_equal(now, lowest);
    munmap(dst, 4 * PAGE);
}

#define OVER(subject, test) { #subject ": " #test, test, NULL, let_go_of_all, (void *)&(subject) }
#define BOTH(test) OVER(threads, test), OVER(uring, test)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(cached_reads_deliver_the_file_at_any_offset_size_and_depth),
        BOTH(direct_reads_deliver_the_file_at_any_offset_size_and_depth),
        BOTH(a_thousand_random_requests_match_the_reference),
        BOTH(a_read_at_or_past_the_end_of_file_returns_what_is_there),
        BOTH(an_error_comes_back_as_its_errno_and_hurts_nobody_else),
        BOTH(a_direct_read_off_its_alignment_is_einval),
        BOTH(as_many_as_the_depth_are_in_flight_and_each_comes_back_once),
        BOTH(reap_returns_zero_when_nothing_is_in_flight),
        BOTH(a_slow_read_does_not_hold_up_the_ones_after_it),
        BOTH(wake_ends_a_blocked_reap_from_another_thread),
        BOTH(a_wake_before_reap_is_kept_and_several_count_as_one),
        BOTH(a_wake_with_nothing_in_flight_is_answered_at_once),
        BOTH(a_finished_read_does_not_use_the_wake_up),
        BOTH(wakes_from_many_threads_neither_lose_nor_repeat_a_read),
        BOTH(cancel_brings_everything_back_and_then_nothing_touches_the_memory),
        BOTH(cancel_ends_what_can_be_ended_and_wake_works_after_it),
        OVER(threads, reads_waiting_for_a_thread_are_canceled_without_being_started),
        BOTH(the_reader_loads_the_file_and_zeroes_past_its_end_only),
        BOTH(a_file_cut_short_during_the_load_is_changed),
        BOTH(a_hundred_queues_leave_nothing_behind),
#ifdef SGI_FAULT_POINTS
        BOTH(injected_read_faults_look_like_the_kernels),
        BOTH(opening_fails_cleanly_at_every_fault_point),
        OVER(threads, the_queue_works_with_as_many_threads_as_it_got),
        BOTH(probe_says_why_not),
#endif
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
