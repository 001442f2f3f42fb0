/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every engine behind io/io.h must do, run over both. A test that holds for one engine and not for the other is a
 * bug in an engine or does not belong here; test_io_uring.c has what only a ring can get wrong.
 */
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "conformance/test_io.h"

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

/* Open now; a test that fails leaves some, and a thread in a fault that nobody answers keeps the process from
 * ending. */
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
        stuck->request = a_request(stuck->pipe[0], 0, stuck->memory, 1);
        return;
    }
    stuck->faults = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
    struct uffdio_api      api = { .api = UFFD_API };
    struct uffdio_register all = { .range = { (uintptr_t)stuck->memory, PAGE }, .mode = UFFDIO_REGISTER_MODE_MISSING };
    if (stuck->faults < 0 || ioctl(stuck->faults, UFFDIO_API, &api) != 0 ||
        ioctl(stuck->faults, UFFDIO_REGISTER, &all) != 0) {
        print_message("skipped: a reading thread can be held only with userfaultfd, which is refused here: %s\n",
                      strerror(errno));
        if (stuck->faults >= 0)
            close(stuck->faults);
        munmap(stuck->memory, PAGE);
        skip();
    }
    hold(stuck->faults);
    stuck->request = a_request(file.cached_fd, 0, stuck->memory, 1);
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

static void read_all(const struct sgi__io_engine *engine, uint32_t depth, int fd, uint64_t first, uint64_t block,
                     uint8_t *dst)
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
            requests[i] = a_request(fd, next, dst + next, block);
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
    static const uint64_t blocks[] = { 4093, 65536, 1 << 20, 3000017 }, firsts[] = { 0, 1, 511, 4096, 8 * MIB + 1233 };
    uint8_t              *dst = map_pages(FILE_BYTES + 4 * MIB);
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
            requests[i] = a_request(direct ? file.direct_fd : file.cached_fd, offset, memory + i * SLOT, bytes);
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
    struct sgi__io_request request = { .fd = file.cached_fd, .offset = FILE_BYTES - 10, .dst = dst, .bytes = PAGE };
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
                requests[i] = a_request(file.cached_fd, i * PAGE, dst + i * PAGE, PAGE);
                requests[i].user = &seen[i];
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
        fast[i] = a_request(file.cached_fd, i * PAGE, dst + i * PAGE, PAGE);
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
    /* One thread: once it is stuck, the reads before it are finished. */
    sgi__fault_plan(SGI__FAULT_THREAD, 2, 100, EAGAIN);
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
            requests[slot] = a_request(file.cached_fd, (started % 2000) * PAGE, dst + slot * PAGE, PAGE);
            requests[slot].user = dst;
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
            requests[i] = a_request(fd, i % 32 * block, dst + i * block, block);
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
        assert_ptr_equal(mmap(dst, DEPTH_MAX * block, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
                              -1, 0),
                         dst);
        memset(dst, 0xaa, DEPTH_MAX * block);
        uint8_t *other = map_pages(PAGE);
        assert_int_equal(read_one(engine, queue, a_request(file.cached_fd, 0, other, PAGE)), PAGE);
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
    struct sgi__io_queue   *queue = open_queue(engine, 1);
    uint8_t                *dst = map_pages(PAGE);
    struct sgi__io_request *start = &stuck.request, *done[1];
    engine->submit(queue, &start, 1);
    stuck_wait_until_held(&stuck);
    engine->cancel(queue);
    if (!stuck.over_pipe)
        stuck_release(&stuck); /* a thread inside pread cannot be called back; a ring needs no help */
    assert_ptr_equal(reap_one(engine, queue), &stuck.request);
    assert_int_equal(stuck.request.result, stuck.over_pipe ? -ECANCELED : 1);

    /* The queue is as good as new. */
    assert_int_equal(read_one(engine, queue, a_request(file.cached_fd, 0, dst, PAGE)), PAGE);
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
    struct stuck           stuck[READERS];
    struct sgi__io_request queued[QUEUED], *start[READERS + QUEUED], *done[READERS + QUEUED];
    uint8_t               *dst = map_pages(PAGE);
    memset(dst, 0xaa, PAGE);
    for (size_t i = 0; i < READERS; i++) {
        stuck_open(&stuck[i], state);
        start[i] = &stuck[i].request;
    }
    for (size_t i = 0; i < QUEUED; i++) {
        queued[i] = a_request(file.cached_fd, 0, dst, PAGE);
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

/* ------------------------------------------------------------ open and close */

#ifdef SGI_FAULT_POINTS
static void the_queue_works_with_as_many_threads_as_it_got(void **state)
{
    const struct sgi__io_engine *engine = engine_of(state);
    uint8_t                     *dst = map_pages(FILE_BYTES + MIB);
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
            requests[k] = a_request(file.cached_fd, k * PAGE, dst + k * PAGE, PAGE);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(cached_reads_deliver_the_file_at_any_offset_size_and_depth, let_go_of_all),
        BOTH(direct_reads_deliver_the_file_at_any_offset_size_and_depth, let_go_of_all),
        BOTH(a_thousand_random_requests_match_the_reference, let_go_of_all),
        BOTH(a_read_at_or_past_the_end_of_file_returns_what_is_there, let_go_of_all),
        BOTH(an_error_comes_back_as_its_errno_and_hurts_nobody_else, let_go_of_all),
        BOTH(a_direct_read_off_its_alignment_is_einval, let_go_of_all),
        BOTH(as_many_as_the_depth_are_in_flight_and_each_comes_back_once, let_go_of_all),
        BOTH(reap_returns_zero_when_nothing_is_in_flight, let_go_of_all),
        BOTH(a_slow_read_does_not_hold_up_the_ones_after_it, let_go_of_all),
        BOTH(wake_ends_a_blocked_reap_from_another_thread, let_go_of_all),
        BOTH(a_wake_before_reap_is_kept_and_several_count_as_one, let_go_of_all),
        BOTH(a_wake_with_nothing_in_flight_is_answered_at_once, let_go_of_all),
        BOTH(a_finished_read_does_not_use_the_wake_up, let_go_of_all),
        BOTH(wakes_from_many_threads_neither_lose_nor_repeat_a_read, let_go_of_all),
        BOTH(cancel_brings_everything_back_and_then_nothing_touches_the_memory, let_go_of_all),
        BOTH(cancel_ends_what_can_be_ended_and_wake_works_after_it, let_go_of_all),
        OVER(threads, reads_waiting_for_a_thread_are_canceled_without_being_started, let_go_of_all),
        BOTH(a_hundred_queues_leave_nothing_behind, let_go_of_all),
#ifdef SGI_FAULT_POINTS
        OVER(threads, the_queue_works_with_as_many_threads_as_it_got, let_go_of_all),
        BOTH(probe_says_why_not, let_go_of_all),
#endif
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
