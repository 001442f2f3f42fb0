/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disks that are late, slow or gone: reads that are kept by a read engine between the library and the real one, and
 * calls into the file system that do not come back. Nothing but the model that is being read may notice; its memory
 * stays until the last read is back, whatever anybody has canceled, and a close says who holds it.
 */
#include <pthread.h>
#include <string.h>

#include "io/reader.h"
#include "stand.h"
#include "support/reads.h"

/* The `state` of most tests: what reads below. */
struct below {
    const char *name;
    const struct sgi__io_engine *(*engine)(void);
};

static const struct sgi__io_engine *threads_engine(void)
{
    return &sgi__io_threads;
}

static const struct below threads = { "threads", threads_engine }, uring = { "uring", sgi__io_uring };

/* The place over it, or a skip by name. */
static const struct sgi__place_ops *place_of(void **state)
{
    const struct below          *below = *state;
    const struct sgi__io_engine *engine = below->engine();
    sgi_error                    err = SGI_ERROR_INIT;

    if (engine && engine->probe(&err) == SGI_OK)
        return test_reads_place(engine);
    print_message("skipped: %s\n", engine ? err.message : "this build has no io_uring");
    skip();
    return NULL;
}

static int clear(void **state)
{
    test_reads_clear();
    return loop_clear(state);
}

/* ---- reads ---- */

static void a_slow_read_holds_up_its_own_model_only(void **state)
{
    struct stand s;
    sgi_lease    lease = 0;
    stand_open(&s, place_of(state), NULL);

    test_reads_hold(3, 1, false);
    sgi_ticket patient = stand_ask(&s, s.model, SGI_FOREVER), late = stand_ask(&s, s.model, 100);
    sgi_ticket canceled = stand_ask(&s, s.model, SGI_FOREVER);
    test_reads_wait_held(1);
    test_reads_hold(1000000, 1, false);
    stand_others_go_on(&s);
    assert_int_equal(sgi_model_try_acquire(s.rt, s.model, NULL, &lease), SGI_E_WOULD_BLOCK);
    assert_int_equal(sgi_model_evict(s.rt, s.model, SGI_TIER_DISK), SGI_E_BUSY);
    assert_int_equal(sgi_acquire_cancel(s.rt, canceled), SGI_OK);
    assert_int_equal(stand_end(&s, canceled, NULL), SGI_E_CANCELED);
    test_clock_advance_ms(&s.clock, s.rt, 101);
    assert_int_equal(stand_end(&s, late, NULL), SGI_E_TIMEOUT);
    host_error_is(&s.err, SGI_E_TIMEOUT, SGI_STEP_READ, "'m'");
    assert_int_equal(host_state(s.rt, s.model).state, SGI_MODEL_LOADING);
    assert_int_equal(test_reads_held(), 1);

    test_reads_let_go(TEST_READS_REAL);
    assert_int_equal(stand_end(&s, patient, &lease), SGI_OK);
    host_same_bytes(s.rt, s.model, lease, loop_shards()->shards);
    assert_int_equal(host_state(s.rt, s.model).loads_count, 1);
    host_release(s.rt, lease);
    stand_close(&s);
}

static void a_late_answer_that_is_an_error_is_read_again(void **state)
{
    struct stand s;
    sgi_lease    lease = 0;
    stand_open(&s, place_of(state), NULL);

    test_reads_hold(1, 4, false);
    sgi_ticket ticket = stand_ask(&s, s.model, SGI_FOREVER);
    test_reads_wait_held(4);
    test_reads_let_go(TEST_READS_PATTERN); /* over its memory, and EIO */
    assert_int_equal(stand_end(&s, ticket, &lease), SGI_OK);
    host_same_bytes(s.rt, s.model, lease, loop_shards()->shards);
    host_release(s.rt, lease);
    stand_close(&s);
}

static void reads_in_any_order_make_the_same_image(void **state)
{
    for (uint32_t others = 1; others <= 9; others++) {
        struct stand s;
        stand_open(&s, place_of(state), NULL);
        test_reads_put_off(others);
        stand_serves(&s, s.model);
        stand_others_go_on(&s);
        stand_close(&s);
        test_reads_clear();
    }
}

static void what_can_be_canceled_needs_no_answer(void **state)
{
    struct stand s;
    stand_open(&s, place_of(state), NULL);

    test_reads_hold(2, 3, false);
    sgi_ticket ticket = stand_ask(&s, s.model, SGI_FOREVER);
    test_reads_wait_held(3);
    assert_int_equal(sgi_acquire_cancel(s.rt, ticket), SGI_OK);
    assert_int_equal(stand_end(&s, ticket, NULL), SGI_E_CANCELED);
    host_wait_state(s.rt, s.model, SGI_MODEL_COLD); /* nobody has let go of anything */
    assert_int_equal(host_info(s.rt).device_bytes, 0);
    test_reads_clear();
    stand_serves(&s, s.model);
    stand_close(&s);
}

/* Not even by a cancel do they come back. */
static void a_hung_disk_keeps_the_memory_of_its_model_and_nothing_else(void **state)
{
    struct stand s;
    stand_open(&s, place_of(state), NULL);

    test_reads_hold(1, 3, true);
    sgi_ticket ticket = stand_ask(&s, s.model, SGI_FOREVER);
    test_reads_wait_held(3);
    test_reads_hold(1000000, 1, false);
    uint64_t bytes = host_state(s.rt, s.model).device_bytes;
    assert_int_equal(sgi_acquire_cancel(s.rt, ticket), SGI_OK);
    assert_int_equal(stand_end(&s, ticket, NULL), SGI_E_CANCELED);
    assert_int_equal(host_state(s.rt, s.model).state, SGI_MODEL_STOPPING);
    assert_true(bytes > 0 && host_state(s.rt, s.model).device_bytes == bytes);
    sgi_ticket next = stand_ask(&s, s.model, 100), last = stand_ask(&s, s.model, SGI_FOREVER);
    stand_others_go_on(&s);
    test_clock_advance_ms(&s.clock, s.rt, STAND_HANG_MS * 10); /* it is no callback that hangs */
    assert_int_equal(stand_end(&s, next, NULL), SGI_E_TIMEOUT);
    assert_int_equal(host_state(s.rt, s.model).state, SGI_MODEL_STOPPING);
    assert_int_equal(host_state(s.rt, s.model).device_bytes, bytes);
    assert_int_equal(sgi_model_unregister(s.rt, s.other, HOST_WAIT_MS, &s.err), SGI_OK);

    stand_close_times_out(&s, "reads of its files");
    assert_int_equal(stand_end(&s, last, NULL), SGI_E_CLOSED);
    stand_close_times_out(&s, "reads of its files");
    assert_int_equal(test_reads_held(), 3);
    test_reads_let_go(TEST_READS_PATTERN); /* memory that is not there any more would be a fault here */
    stand_close(&s);
}

static void a_disk_that_comes_back_serves_who_has_waited(void **state)
{
    struct stand s;
    sgi_lease    lease = 0;
    stand_open(&s, place_of(state), NULL);

    test_reads_hold(1, 5, true);
    sgi_ticket first = stand_ask(&s, s.model, SGI_FOREVER);
    test_reads_wait_held(5);
    assert_int_equal(sgi_acquire_cancel(s.rt, first), SGI_OK);
    sgi_ticket second = stand_ask(&s, s.model, SGI_FOREVER);
    assert_false(stand_has_ended(&s, second));
    test_reads_let_go(TEST_READS_PATTERN);
    assert_int_equal(stand_end(&s, second, &lease), SGI_OK);
    host_same_bytes(s.rt, s.model, lease, loop_shards()->shards);
    host_release(s.rt, lease);
    assert_int_equal(stand_end(&s, first, NULL), SGI_E_CANCELED);
    stand_close(&s);
}

/* ---- other calls ---- */

struct held_call {
    const char    *name;
    enum test_call call;
    uint32_t       step; /* where the model is meanwhile */
    const char    *holder;
};

static void a_call_that_hangs_is_waited_for(void **state)
{
    const struct held_call *c = *state;
    struct stand            s;
    sgi_lease               lease = 0;
    stand_open(&s, test_reads_place(&sgi__io_threads), NULL);

    test_call_hold(c->call, 1);
    sgi_ticket patient = stand_ask(&s, s.model, SGI_FOREVER), late = stand_ask(&s, s.model, 100);
    test_call_wait_held();
    assert_int_equal(sgi_model_try_acquire(s.rt, s.model, NULL, &lease), SGI_E_WOULD_BLOCK);
    stand_others_go_on(&s);
    test_clock_advance_ms(&s.clock, s.rt, 101);
    assert_int_equal(stand_end(&s, late, NULL), SGI_E_TIMEOUT);
    host_error_is(&s.err, SGI_E_TIMEOUT, c->step, "'m'");
    assert_true(test_call_is_held());
    test_call_let_go();
    assert_int_equal(stand_end(&s, patient, &lease), SGI_OK);
    host_same_bytes(s.rt, s.model, lease, loop_shards()->shards);
    host_release(s.rt, lease);
    stand_close(&s);
}

static void a_close_names_the_model_whose_call_hangs(void **state)
{
    const struct held_call *c = *state;
    struct stand            s;
    stand_open(&s, test_reads_place(&sgi__io_threads), NULL);

    test_call_hold(c->call, 1);
    sgi_ticket ticket = stand_ask(&s, s.model, SGI_FOREVER);
    test_call_wait_held();
    stand_close_times_out(&s, c->holder);
    assert_int_equal(stand_end(&s, ticket, NULL), SGI_E_CLOSED);
    assert_true(test_call_is_held());
    test_call_let_go();
    stand_close(&s);
}

/* A register reads headers on its caller's thread. */
struct registering {
    struct stand *stand;
    sgi_status    status;
    sgi_model     model;
    sgi_error     err;
};

static void *register_one(void *arg)
{
    struct registering *r = arg;
    sgi_model_config    mc = host_model("third", loop_file()->path, NULL);
    r->err = (sgi_error)SGI_ERROR_INIT;
    r->status = sgi_model_register(r->stand->rt, &mc, &r->model, &r->err);
    return NULL;
}

static void a_register_that_hangs_holds_up_a_close_and_nothing_else(void **state)
{
    struct stand       s;
    pthread_t          thread;
    struct registering r = { .stand = &s };

    (void)state;
    stand_open(&s, NULL, NULL);
    test_call_hold(CALL_PREAD, 1);
    assert_int_equal(pthread_create(&thread, NULL, register_one, &r), 0);
    test_call_wait_held();
    stand_serves(&s, s.model);
    assert_int_equal(sgi_model_evict(s.rt, s.model, SGI_EVICT_ALL), SGI_OK);
    stand_others_go_on(&s);
    host_wait_threads(s.rt, 1); /* nothing else is there that a close would have to wait for */
    assert_int_equal(sgi_runtime_close(s.rt, 1, &s.err), SGI_E_TIMEOUT);
    host_error_is(&s.err, SGI_E_TIMEOUT, SGI_STEP_NONE, "calls on their way back");
    test_call_let_go();
    pthread_join(thread, NULL);
    assert_int_equal(r.status, SGI_E_CLOSED);
    assert_int_equal(r.model, 0);
    stand_close(&s);
}

/* ---- the reader by itself ---- */

static void memory_with_reads_in_flight_is_known_to_be_so(void **state)
{
    static const struct sgi__io_engine *engine;
    struct sgi__io_file                 file;
    struct sgi__reader                 *reader = NULL;
    struct sgi__read                   *back = NULL;
    uint8_t                             memory[2][4096];

    (void)state;
    engine = test_reads_engine(&sgi__io_threads);
    assert_int_equal(sgi__io_file_open(loop_file()->path, NULL, false, &file, NULL), SGI_OK);
    assert_int_equal(sgi__reader_open(engine, 2, &reader, NULL), SGI_OK);
    struct sgi__read read = { .file = &file, .path = "f", .offset = 0, .dst = memory[0], .bytes = sizeof memory[0] };
    test_reads_hold(1, 1, true);
    sgi__reader_submit(reader, &read);
    sgi__reader_wake(reader);
    assert_int_equal(sgi__reader_wait(reader, &back, NULL), SGI_OK);
    assert_null(back);
    assert_true(test_reads_held_over(memory[0], sizeof memory[0]) && !test_reads_held_over(memory[1], 4096));
    sgi__reader_cancel(reader);
    sgi__reader_wake(reader);
    assert_int_equal(sgi__reader_wait(reader, &back, NULL), SGI_OK);
    assert_null(back);
    assert_int_equal(sgi__reader_in_flight(reader), 1); /* nobody may free it */
    memset(memory, 0, sizeof memory);
    test_reads_let_go(TEST_READS_PATTERN);
    assert_int_equal(sgi__reader_wait(reader, &back, NULL), SGI_E_CANCELED);
    assert_ptr_equal(back, &read);
    assert_int_equal(memory[0][4095], TEST_READS_BYTE);
    assert_int_equal(sgi__reader_in_flight(reader), 0);
    sgi__reader_close(reader, NULL);
    sgi__io_file_close(&file);
}

static const struct held_call at_stat = { "stat", CALL_STAT, SGI_STEP_SOURCE, "reads of its files" },
                              at_open = { "open", CALL_OPEN, SGI_STEP_READ, "reads of its files" },
                              at_fstat = { "fstat", CALL_FSTAT, SGI_STEP_READ, "reads of its files" },
                              at_pread = { "pread", CALL_PREAD, SGI_STEP_READ, "reads of its files" };

#define OVER(below, test)                                                       \
    {                                                                           \
#test " (" #below ")", test, NULL, clear, (void *)(uintptr_t) & (below) \
    }
#define BOTH(test)  OVER(threads, test), OVER(uring, test)
#define CALLS(test) OVER(at_stat, test), OVER(at_open, test), OVER(at_fstat, test), OVER(at_pread, test)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        BOTH(a_slow_read_holds_up_its_own_model_only),
        BOTH(a_late_answer_that_is_an_error_is_read_again),
        BOTH(reads_in_any_order_make_the_same_image),
        BOTH(what_can_be_canceled_needs_no_answer),
        BOTH(a_hung_disk_keeps_the_memory_of_its_model_and_nothing_else),
        BOTH(a_disk_that_comes_back_serves_who_has_waited),
        CALLS(a_call_that_hangs_is_waited_for),
        CALLS(a_close_names_the_model_whose_call_hangs),
        cmocka_unit_test_teardown(a_register_that_hangs_holds_up_a_close_and_nothing_else, clear),
        cmocka_unit_test_teardown(memory_with_reads_in_flight_is_known_to_be_so, clear),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("hung disk", tests, loop_set_up, loop_tear_down);
}
