/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory is never used again while reads into it are out. A load is given up with its reads kept; another model, which
 * fits into that memory exactly, comes up meanwhile; then the reads come back and write a pattern, as late as the
 * kernel could.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "device/image.h"
#include "io/reader.h"
#include "stand.h"
#include "support/reads.h"

enum { SPARE_MIB = 64 };

static struct test_folder folder;
static struct test_file   first, second; /* as large as each other */

/* What a test runs over; its `state`. */
struct below {
    const struct sgi__io_engine *(*engine)(void);
    uint32_t flags; /* of both models */
};

static const struct sgi__io_engine *threads_engine(void)
{
    return &sgi__io_threads;
}

static const struct below threads = { threads_engine, 0 }, uring = { sgi__io_uring, 0 },
                          threads_fd = { threads_engine, SGI_IMAGE_FD };

struct fixture {
    struct stand stand;
    sgi_model    first, second;
};

static sgi_model add(struct fixture *f, const char *name, const struct test_file *file, uint32_t flags)
{
    sgi_model_config mc = host_model(name, file->path, NULL);
    mc.flags = flags;
    return host_register(f->stand.rt, &mc);
}

static void set_up(struct fixture *f, void **state)
{
    const struct below          *below = *state;
    const struct sgi__io_engine *engine = below->engine();
    sgi_runtime_config           config = stand_config();

    if (!engine || engine->probe(NULL) != SGI_OK) {
        print_message("skipped: io_uring is not usable here\n");
        skip();
    }
    config.dram_bytes_max = config.spare_bytes_max = MIB(SPARE_MIB);
    stand_open(&f->stand, test_reads_place(engine), &config);
    f->first = add(f, "first", &first, below->flags);
    f->second = add(f, "second", &second, below->flags);
}

static void right(struct fixture *f, sgi_model model, sgi_lease lease)
{
    host_same_bytes(f->stand.rt, model, lease, model == f->first ? &first : &second);
}

static void up_and_down(struct fixture *f, sgi_model model)
{
    sgi_lease lease = host_acquire(f->stand.rt, model);
    right(f, model, lease);
    host_release(f->stand.rt, lease);
    assert_int_equal(sgi_model_evict(f->stand.rt, model, SGI_TIER_DISK), SGI_OK);
    host_wait_state(f->stand.rt, model, SGI_MODEL_COLD);
}

/* The first model is on its way up in memory that was used before. Its reads are kept, all but the first `answered`;
 * the first of those fails, if there is one. */
static bool one_read_has_failed(void *user)
{
    (void)user;
    return sgi__fault_passed(SGI__FAULT_READ) > 0;
}

static sgi_ticket start_in_spare_memory(struct fixture *f, uint64_t answered)
{
    sgi_runtime *rt = f->stand.rt;

    up_and_down(f, f->first);
    assert_true(host_info(rt).spare_bytes > 0);
    test_reads_hold(answered + 1, 1000, true);
    sgi__fault_plan(SGI__FAULT_READ, answered > 0, 1, EBADF); /* not one that is tried again */
    sgi_ticket ticket = stand_ask(&f->stand, f->first, SGI_FOREVER);
    test_reads_wait_held(3);
    if (answered > 0) /* or one of the second model's would */
        test_wait_until(one_read_has_failed, NULL, "no read comes back");
    assert_int_equal(host_info(rt).spare_bytes, 0); /* that is where they go */
    return ticket;
}

/* The second model is up, in other memory; nothing that is kept lies over it. */
static sgi_lease another_comes_up(struct fixture *f)
{
    test_reads_hold(1000000, 1, false);
    sgi_lease lease = host_acquire(f->stand.rt, f->second);
    sgi_view  view = host_tensor(f->stand.rt, lease, 0);
    assert_true(test_reads_held() >= 3);
    assert_false(test_reads_held_over(view.data, view.bytes));
    right(f, f->second, lease);
    return lease;
}

/* Everything that is spare now is used, with the pattern in it. */
static void both_are_right(struct fixture *f)
{
    uint64_t spare = host_info(f->stand.rt).spare_bytes;

    for (int n = 0; n < 3; n++) {
        sgi_lease one = host_acquire(f->stand.rt, f->first), two = host_acquire(f->stand.rt, f->second);
        right(f, f->first, one);
        right(f, f->second, two);
        host_release(f->stand.rt, one);
        host_release(f->stand.rt, two);
        up_and_down(f, f->first);
        up_and_down(f, f->second);
    }
    assert_true(host_info(f->stand.rt).spare_bytes >= spare && spare > 0);
}

static bool nothing_loads(void *runtime)
{
    return host_info(runtime).loads_running == 0;
}

static void after_a_cancel_memory_waits_for_its_reads(void **state)
{
    struct fixture f;
    set_up(&f, state);
    sgi_ticket ticket = start_in_spare_memory(&f, 0);

    assert_int_equal(sgi_acquire_cancel(f.stand.rt, ticket), SGI_OK);
    assert_int_equal(stand_end(&f.stand, ticket, NULL), SGI_E_CANCELED);
    sgi_lease lease = another_comes_up(&f);
    assert_int_equal(host_state(f.stand.rt, f.first).state, SGI_MODEL_STOPPING);
    assert_int_equal(host_info(f.stand.rt).spare_bytes, 0);
    test_reads_let_go(TEST_READS_PATTERN);
    host_wait_state(f.stand.rt, f.first, SGI_MODEL_COLD);
    right(&f, f.second, lease);
    host_release(f.stand.rt, lease);
    assert_true(host_info(f.stand.rt).spare_bytes > 0); /* the very memory */
    both_are_right(&f);
    stand_close(&f.stand);
}

static void after_a_failure_memory_waits_for_its_reads(void **state)
{
    struct fixture f;
    set_up(&f, state);
    sgi_ticket ticket = start_in_spare_memory(&f, 1);

    sgi_lease lease = another_comes_up(&f);
    assert_false(stand_has_ended(&f.stand, ticket)); /* it has failed, and waits */
    test_reads_let_go(TEST_READS_PATTERN);
    assert_int_equal(stand_end(&f.stand, ticket, NULL), SGI_E_IO);
    host_error_is(&f.stand.err, SGI_E_IO, SGI_STEP_READ, "first.safetensors");
    right(&f, f.second, lease);
    host_release(f.stand.rt, lease);
    host_wait_state(f.stand.rt, f.first, SGI_MODEL_COLD);
    assert_true(host_info(f.stand.rt).spare_bytes > 0);
    both_are_right(&f);
    stand_close(&f.stand);
}

/* Its lease is no reason to free the memory, nor is its release. */
static void after_an_early_lease_memory_waits_for_its_reads(void **state)
{
    struct fixture      f;
    sgi_acquire_options o;
    sgi_lease           early = 0;
    sgi_error           err = SGI_ERROR_INIT;
    set_up(&f, state);
    up_and_down(&f, f.first);
    sgi_acquire_options_init(&o, sizeof o);
    o.flags = SGI_ACQUIRE_EARLY;

    test_reads_hold(1, 1000, true);
    assert_int_equal(sgi_model_acquire_wait(f.stand.rt, f.first, &o, &early, &err), SGI_OK);
    test_reads_wait_held(3);
    sgi_lease lease = another_comes_up(&f);
    assert_int_equal(sgi_lease_tensor_wait(f.stand.rt, early, 0, 1, &err), SGI_E_TIMEOUT);
    sgi_view view = host_tensor(f.stand.rt, early, 0);
    assert_true(test_reads_held_over(view.data, view.bytes));
    assert_int_equal(sgi_model_evict(f.stand.rt, f.first, SGI_TIER_DISK), SGI_E_BUSY);
    host_release(f.stand.rt, early);
    assert_int_equal(host_info(f.stand.rt).spare_bytes, 0);
    assert_true(host_state(f.stand.rt, f.first).device_bytes > 0);
    test_reads_let_go(TEST_READS_PATTERN); /* and EIO: it is read again, or it has been given up */
    test_wait_until(nothing_loads, f.stand.rt, "a load does not end");
    right(&f, f.second, lease);
    host_release(f.stand.rt, lease);
    up_and_down(&f, f.first);
    both_are_right(&f);
    stand_close(&f.stand);
}

static void a_close_waits_for_reads_into_spare_memory(void **state)
{
    struct fixture f;
    set_up(&f, state);
    sgi_ticket ticket = start_in_spare_memory(&f, 0);

    assert_int_equal(sgi_runtime_close(f.stand.rt, 1, &f.stand.err), SGI_E_TIMEOUT);
    host_error_is(&f.stand.err, SGI_E_TIMEOUT, SGI_STEP_NONE, "model 'first': reads of its files");
    assert_int_equal(stand_end(&f.stand, ticket, NULL), SGI_E_CLOSED);
    test_reads_let_go(TEST_READS_PATTERN);
    stand_close(&f.stand);
}

/* ---- what is asserted ---- */

/* How a child ends that does that. Nothing in it has threads. */
static int ends_with(void (*wrong)(void))
{
    int   status = 0;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        if (!freopen("/dev/null", "w", stderr))
            _exit(3);
        wrong();
        _exit(2);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static struct sgi__image_memory *memory;
static struct sgi__image        *image;

static void free_an_image(void)
{
    sgi__image_free(memory, image);
}

static void memory_with_reads_in_flight_is_not_freed(void **state)
{
    static const uint64_t bytes[] = { MIB(1), MIB(2) };

    (void)state;
    memory = sgi__image_memory_new(0);
    assert_int_equal(sgi__image_new(memory, bytes, 2, 0, 0, &image, NULL), SGI_OK);
    assert_int_equal(ends_with(free_an_image), 0);
    image->parts[1]->reads = 1;
    assert_int_equal(ends_with(free_an_image), SIGABRT);
    image->parts[1]->reads = 0;
    sgi__image_free(memory, image);
    sgi__image_memory_free(memory);
}

/* An engine from which nothing ever comes back. */
static sgi_status open_dead(uint32_t depth, struct sgi__io_queue **queue_out, sgi_error *err)
{
    (void)depth;
    (void)err;
    *queue_out = NULL;
    return SGI_OK;
}

static void submit_dead(struct sgi__io_queue *queue, struct sgi__io_request **requests, uint32_t count)
{
    (void)queue;
    (void)requests;
    (void)count;
}

static uint32_t reap_dead(struct sgi__io_queue *queue, struct sgi__io_request **done, uint32_t max)
{
    (void)queue;
    (void)done;
    (void)max;
    return 0;
}

static void close_dead(struct sgi__io_queue *queue)
{
    (void)queue;
}

static struct sgi__reader *reader;

static void close_a_reader(void)
{
    sgi__reader_close(reader, NULL);
}

static void a_reader_with_reads_in_flight_is_not_closed(void **state)
{
    static const struct sgi__io_engine dead = { .abi = SGI__IO_ABI,
                                                .name = "dead",
                                                .open = open_dead,
                                                .submit = submit_dead,
                                                .reap = reap_dead,
                                                .cancel = close_dead,
                                                .close = close_dead };
    struct sgi__io_file                file;
    struct sgi__read                  *back = NULL;
    uint8_t                            block[64];

    (void)state;
    assert_int_equal(sgi__io_file_open(first.path, NULL, false, &file, NULL), SGI_OK);
    assert_int_equal(sgi__reader_open(&dead, 1, &reader, NULL), SGI_OK);
    assert_int_equal(ends_with(close_a_reader), 0);
    struct sgi__read read = { .file = &file, .path = first.path, .dst = block, .bytes = sizeof block };
    sgi__reader_submit(reader, &read);
    assert_int_equal(sgi__reader_wait(reader, &back, NULL), SGI_OK);
    assert_int_equal(ends_with(close_a_reader), SIGABRT);
    sgi__reader_cancel(reader);
    assert_int_equal(ends_with(close_a_reader), SIGABRT); /* a cancel is a wish */
    sgi__io_file_close(&file);
    sgi__free(reader); /* which nothing can close any more */
}

static int make_files(void **state)
{
    test_folder_make(&folder);
    test_file_make_one(&first, &folder, "first.safetensors", KIB(700));
    test_file_make_one(&second, &folder, "second.safetensors", KIB(700));
    return loop_set_up(state);
}

static int remove_files(void **state)
{
    test_file_free(&first);
    test_file_free(&second);
    test_folder_remove(&folder);
    return loop_tear_down(state);
}

static int clear(void **state)
{
    test_reads_clear();
    return loop_clear(state);
}

#define OVER(below, test)                                                       \
    {                                                                           \
#test " (" #below ")", test, NULL, clear, (void *)(uintptr_t) & (below) \
    }
#define ALL(test) OVER(threads, test), OVER(uring, test), OVER(threads_fd, test)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        ALL(after_a_cancel_memory_waits_for_its_reads),
        ALL(after_a_failure_memory_waits_for_its_reads),
        ALL(after_an_early_lease_memory_waits_for_its_reads),
        ALL(a_close_waits_for_reads_into_spare_memory),
        cmocka_unit_test_teardown(memory_with_reads_in_flight_is_not_freed, clear),
        cmocka_unit_test_teardown(a_reader_with_reads_in_flight_is_not_closed, clear),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("recycle", tests, make_files, remove_files);
}
