/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What only a ring can get wrong: a kernel without memory for requests, interrupted waits, older kernels' set-up flags,
 * a wait that spins. The two calls of liburing that enter the kernel are replaced by ones below that fail on request.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#ifdef SGI_HAVE_URING

#include <dlfcn.h>
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/error.h"
#include "io/io.h"

/* -------------------------------------------------------- liburing, replaced */

static struct {
    int      fail_with;             /* what entering answers ... */
    uint32_t fail_from, fail_times; /* ... from the so-and-so-many-th call on (0: the next), this often */
    uint32_t calls;
    uint32_t setups_refused; /* with EINVAL, as by an older kernel */
    uint32_t setups;
    unsigned flags; /* of the last set-up that went through */
} fake;

int io_uring_submit_and_wait(struct io_uring *ring, unsigned wait_nr)
{
    static int (*real)(struct io_uring *, unsigned);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "io_uring_submit_and_wait");
    uint32_t call = fake.calls++;
    if (call >= fake.fail_from && call - fake.fail_from < fake.fail_times)
        return -fake.fail_with;
    return real(ring, wait_nr);
}

int io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags)
{
    static int (*real)(unsigned, struct io_uring *, unsigned);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "io_uring_queue_init");
    if (fake.setups++ < fake.setups_refused)
        return -EINVAL;
    fake.flags = flags;
    return real(entries, ring, flags);
}

static void fail_entering(int os_errno, uint32_t from, uint32_t times)
{
    fake.fail_with = os_errno;
    fake.fail_from = fake.calls + from;
    fake.fail_times = times;
}

/* ------------------------------------------------------------------ fixture */

static const struct sgi__io_engine *engine;
static int                          source; /* 64 KiB of 'x' */
static struct sgi__io_queue        *queue;

static int make_source(void **state)
{
    (void)state;
    char name[] = "/tmp/sgi_uring_XXXXXX", data[65536];
    memset(data, 'x', sizeof data);
    source = mkstemp(name);
    unlink(name);
    return source >= 0 && write(source, data, sizeof data) == (ssize_t)sizeof data ? 0 : -1;
}

static int close_source(void **state)
{
    (void)state;
    return close(source);
}

static int open_queue(void **state)
{
    (void)state;
    sgi_error err = { .struct_size = sizeof err };
    engine = sgi__io_uring();
    fake.fail_times = fake.setups_refused = fake.setups = 0;
    if (engine->probe(&err) != SGI_OK) {
        print_message("skipped: %s\n", err.message);
        queue = NULL;
        return 0;
    }
    fake.setups = 0;
    return engine->open(4, &queue, NULL) == SGI_OK ? 0 : -1;
}

static int close_queue(void **state)
{
    (void)state;
    if (queue)
        engine->close(queue);
    return 0;
}

static void need_queue(void)
{
    if (!queue)
        skip();
}

static void start(struct sgi__io_request *request, void *dst, uint64_t bytes)
{
    *request = (struct sgi__io_request){ .fd = source, .dst = dst, .bytes = bytes };
    engine->submit(queue, &request, 1);
}

static void assert_back(const struct sgi__io_request *request, int64_t result)
{
    struct sgi__io_request *done[4];
    assert_int_equal(engine->reap(queue, done, 4), 1);
    assert_ptr_equal(done[0], request);
    assert_int_equal(request->result, result);
}

/* -------------------------------------------------------------------- tests */

static void what_the_kernel_does_not_take_comes_back_and_never_runs(void **state)
{
    (void)state;
    need_queue();
    struct sgi__io_request refused[3], after;
    char                   dst[3][16], other[16];
    memset(dst, 'a', sizeof dst);
    for (int i = 0; i < 3; i++) {
        fail_entering(EAGAIN, 0, 1);
        start(&refused[i], dst[i], 16);
        assert_back(&refused[i], -EAGAIN);
    }
    /* The entries are still in the ring and go in with the next one. */
    start(&after, other, 16);
    assert_back(&after, 16);
    assert_memory_equal(other, "xxxxxxxxxxxxxxxx", 16);
    for (int i = 0; i < 3; i++)
        assert_memory_equal(dst[i], "aaaaaaaaaaaaaaaa", 16);
    struct sgi__io_request *done[4];
    assert_int_equal(engine->reap(queue, done, 4), 0);
}

static void a_shortage_that_lasts_never_fills_the_ring_for_good(void **state)
{
    (void)state;
    need_queue();
    char dst[16];
    for (int i = 0; i < 300; i++) { /* more than the ring has entries */
        struct sgi__io_request request;
        fail_entering(ENOMEM, 0, 1);
        start(&request, dst, 16);
        struct sgi__io_request *done[4];
        assert_int_equal(engine->reap(queue, done, 4), 1);
        assert_true(request.result == -ENOMEM || request.result == -EAGAIN);
    }
    struct sgi__io_request request;
    start(&request, dst, 16); /* a full ring: this one may only clear it */
    struct sgi__io_request *done[4];
    assert_int_equal(engine->reap(queue, done, 4), 1);
    start(&request, dst, 16);
    assert_back(&request, 16);
}

static void a_shortage_while_waiting_does_not_lose_reads_or_wakes(void **state)
{
    (void)state;
    need_queue();
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    char                   dst[1];
    struct sgi__io_request stuck = { .fd = pipes[0], .dst = dst, .bytes = 1 }, *p = &stuck, *done[4];
    engine->submit(queue, &p, 1);
    engine->wake(queue);
    assert_int_equal(engine->reap(queue, done, 4), 0); /* the poll is to be armed again by the next reap ... */
    fail_entering(EAGAIN, 0, UINT32_MAX);              /* ... which the kernel will not have, however often */
    assert_int_equal(write(pipes[1], "x", 1), 1);
    assert_back(&stuck, 1);

    fake.fail_times = 0;
    engine->submit(queue, &p, 1);
    engine->wake(queue);
    assert_int_equal(engine->reap(queue, done, 4), 0);
    assert_int_equal(write(pipes[1], "x", 1), 1);
    assert_back(&stuck, 1);
    close(pipes[0]);
    close(pipes[1]);
}

static void an_interrupted_wait_goes_on(void **state)
{
    (void)state;
    need_queue();
    char                   dst[16];
    struct sgi__io_request request;
    fail_entering(EINTR, 0, 2);
    start(&request, dst, 16); /* tries until it is in */
    fail_entering(EINTR, 0, 2);
    assert_back(&request, 16);
}

struct waker {
    sem_t go;
};

static void *wake_when_told(void *user)
{
    struct waker *w = user;
    while (sem_wait(&w->go) != 0)
        ;
    engine->wake(queue);
    return NULL;
}

static void a_blocked_reap_sleeps_in_one_call(void **state)
{
    (void)state;
    need_queue();
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    char                   dst[1];
    struct waker           w;
    pthread_t              thread;
    struct sgi__io_request stuck = { .fd = pipes[0], .dst = dst, .bytes = 1 }, *p = &stuck, *done[4];
    sem_init(&w.go, 0, 0);
    assert_int_equal(pthread_create(&thread, NULL, wake_when_told, &w), 0);
    engine->submit(queue, &p, 1);
    uint32_t before = fake.calls;
    sem_post(&w.go);
    assert_int_equal(engine->reap(queue, done, 4), 0);
    assert_in_range(fake.calls - before, 0, 1); /* 0: the wake was there before the wait */
    pthread_join(thread, NULL);

    before = fake.calls;
    assert_int_equal(write(pipes[1], "x", 1), 1);
    assert_back(&stuck, 1);
    assert_in_range(fake.calls - before, 1, 2);
    sem_destroy(&w.go);
    close(pipes[0]);
    close(pipes[1]);
}

static void what_is_finished_is_taken_without_entering(void **state)
{
    (void)state;
    need_queue();
    struct sgi__io_request requests[4], *start_all[4], *done[4];
    char                   dst[4][16];
    for (int i = 0; i < 4; i++) {
        requests[i] = (struct sgi__io_request){ .fd = source, .dst = dst[i], .bytes = 16 };
        start_all[i] = &requests[i];
    }
    uint32_t before = fake.calls;
    engine->submit(queue, start_all, 4);
    assert_int_equal(fake.calls - before, 1); /* a batch is one call */
    uint32_t back = engine->reap(queue, done, 1);
    uint32_t waited = fake.calls;
    while (back < 4)
        back += engine->reap(queue, done, 1);
    assert_in_range(fake.calls - waited, 0, 3);
}

/* Refuses the first `n` set-ups, as kernels before 6.1 and 5.19 do. */
static void works_with_older_flags(uint32_t n, unsigned has, unsigned has_not)
{
    fake.setups = 0;
    fake.setups_refused = n;
    struct sgi__io_queue *newest = queue;
    assert_int_equal(engine->open(4, &queue, NULL), SGI_OK);
    fake.setups_refused = 0;
    assert_int_equal(fake.flags & has, has);
    assert_int_equal(fake.flags & has_not, 0);

    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    char                   dst[16], one[1];
    struct sgi__io_request request, stuck = { .fd = pipes[0], .dst = one, .bytes = 1 }, *p = &stuck, *done[4];
    start(&request, dst, 16);
    assert_back(&request, 16);
    engine->submit(queue, &p, 1);
    engine->wake(queue);
    assert_int_equal(engine->reap(queue, done, 4), 0);
    uint32_t before = fake.calls;
    engine->cancel(queue);
    assert_int_equal(fake.calls - before, 1); /* asked now, not at the next reap */
    assert_back(&stuck, -ECANCELED);
    engine->close(queue);
    queue = newest;
    close(pipes[0]);
    close(pipes[1]);
}

static void every_older_kernel_has_flags_that_work(void **state)
{
    (void)state;
    need_queue();
    works_with_older_flags(0, 0, 0);
    works_with_older_flags(1, IORING_SETUP_COOP_TASKRUN, IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SINGLE_ISSUER);
    works_with_older_flags(2, 0, IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL);

    struct sgi__io_queue *none = NULL;
    sgi_error             err = { .struct_size = sizeof err };
    fake.setups = 0;
    fake.setups_refused = 100;
    assert_int_equal(engine->open(4, &none, &err), SGI_E_UNSUPPORTED);
    assert_int_equal(err.os_errno, EINVAL);
    assert_int_equal(fake.setups, 3);
    assert_null(none);
    fake.setups_refused = 0;
}

static void a_sandbox_that_refuses_entering_is_found_by_the_probe(void **state)
{
    (void)state;
    need_queue();
    sgi_error err = { .struct_size = sizeof err };
    fail_entering(EPERM, 0, 1);
    assert_int_equal(engine->probe(&err), SGI_E_UNSUPPORTED);
    assert_int_equal(err.os_errno, EPERM);
    assert_non_null(strstr(err.message, "io_uring_enter"));
    fake.fail_times = 0;
    assert_int_equal(engine->probe(&err), SGI_OK);
}

#define WITH_QUEUE(test) cmocka_unit_test_setup_teardown(test, open_queue, close_queue)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_QUEUE(what_the_kernel_does_not_take_comes_back_and_never_runs),
        WITH_QUEUE(a_shortage_that_lasts_never_fills_the_ring_for_good),
        WITH_QUEUE(a_shortage_while_waiting_does_not_lose_reads_or_wakes),
        WITH_QUEUE(an_interrupted_wait_goes_on),
        WITH_QUEUE(a_blocked_reap_sleeps_in_one_call),
        WITH_QUEUE(what_is_finished_is_taken_without_entering),
        WITH_QUEUE(every_older_kernel_has_flags_that_work),
        WITH_QUEUE(a_sandbox_that_refuses_entering_is_found_by_the_probe),
    };
    return cmocka_run_group_tests(tests, make_source, close_source);
}

#else

int main(void)
{
    puts("skipped: this build has no io_uring");
    return 77;
}

#endif
