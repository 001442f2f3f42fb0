/* SPDX-License-Identifier: Apache-2.0 */
/* Calls: from the request to the last piece, with readers and engines that are slow, early, gone or deaf. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "support/host.h"

enum { RING_BYTES = 64 * 1024 };

static struct test_folder folder;
static struct test_file   file;

struct fixture {
    struct test_engine engine;
    sgi_runtime       *rt;
    sgi_model          model;
    sgi_lease          lease;
    sgi_error          err;
};

static void set_up_with(struct fixture *f, const sgi_runtime_config *config, uint32_t leases_max)
{
    memset(f, 0, sizeof *f);
    f->err.struct_size = sizeof f->err;
    test_engine_init(&f->engine, false, false);
    f->rt = host_open(config);
    sgi_model_config mc = host_model("m", file.path, &f->engine);
    mc.leases_max = leases_max;
    f->model = host_register(f->rt, &mc);
    f->lease = host_acquire(f->rt, f->model);
}

static void set_up(struct fixture *f)
{
    sgi_runtime_config config = host_config();
    set_up_with(f, &config, 0);
}

static void tear_down(struct fixture *f)
{
    if (f->lease)
        host_release(f->rt, f->lease);
    host_close(f->rt);
    test_engine_fini(&f->engine);
}

static sgi_call begin(struct fixture *f, struct test_request request)
{
    sgi_call call = 0;
    if (sgi_call_begin(f->rt, f->lease, &request, sizeof request, 42, &call, &f->err) != SGI_OK)
        fail_msg("call: %s", f->err.message);
    return call;
}

static sgi_completion wait_end(struct fixture *f, sgi_call call)
{
    sgi_completion c = host_next(f->rt);
    while (c.kind == SGI_COMPLETION_READABLE)
        c = host_next(f->rt);
    assert_true(c.kind == SGI_COMPLETION_CALL && c.call == call && c.lease == f->lease && c.tag == 42);
    return c;
}

static void an_answer_is_the_request_back(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    struct {
        struct test_request r;
        char                text[20];
    } request = { { .kind = REQUEST_ECHO }, "what is a lease?" };
    char   out[64];
    size_t bytes;

    assert_int_equal(host_call(f.rt, f.lease, &request, sizeof request, out, sizeof out, &bytes, &f.err), SGI_OK);
    assert_int_equal(bytes, sizeof request.text);
    assert_memory_equal(out, request.text, sizeof request.text);
    tear_down(&f);
}

static void an_empty_request_and_an_empty_answer_are_fine(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    char   out[8];
    size_t bytes = 9;
    assert_int_equal(host_call(f.rt, f.lease, NULL, 0, out, sizeof out, &bytes, &f.err), SGI_OK);
    assert_int_equal(bytes, 0);
    tear_down(&f);
}

/* The next read, waiting for it; false at the end, whose status is left in *st. */
static bool read_some(struct fixture *f, sgi_call call, void *buffer, size_t room, size_t *bytes, sgi_status *st)
{
    while ((*st = sgi_call_read(f->rt, call, buffer, room, bytes, &f->err)) == SGI_E_WOULD_BLOCK)
        host_next(f->rt);
    return *st == SGI_OK;
}

static void pieces_of_every_size_come_whole_and_in_order(void **state)
{
    (void)state;
    static const uint32_t sizes[] = { 1,
                                      3,
                                      4,
                                      5,
                                      4095,
                                      4096,
                                      4097,
                                      RING_BYTES / 2 - 4,
                                      RING_BYTES / 2,
                                      RING_BYTES / 2 + 1,
                                      RING_BYTES - 4,
                                      RING_BYTES - 3,
                                      RING_BYTES,
                                      RING_BYTES + 1,
                                      3 * RING_BYTES + 17,
                                      1000000 };
    struct fixture        f;
    uint8_t              *buffer = malloc(1 << 21);
    set_up(&f);

    for (size_t n = 0; n < sizeof sizes / sizeof *sizes; n++) {
        uint32_t            pieces = sizes[n] < 5000 ? 50 : 3;
        struct test_request request = { .kind = REQUEST_EMIT, .pieces = pieces, .piece_bytes = sizes[n] };
        sgi_call            call = begin(&f, request);
        uint64_t            at = 0;
        size_t              bytes;
        sgi_status          st;
        while (read_some(&f, call, buffer, 1 << 21, &bytes, &st)) {
            assert_true(bytes > 0);
            if (sizes[n] <= RING_BYTES / 2)
                assert_int_equal(bytes, sizes[n]); /* a piece is a piece */
            for (size_t k = 0; k < bytes; k++, at++)
                if (buffer[k] != test_engine_piece_byte((uint32_t)(at / sizes[n]), (uint32_t)(at % sizes[n])))
                    fail_msg("size %u: byte %llu", sizes[n], (unsigned long long)at);
        }
        assert_int_equal(st, SGI_E_END);
        assert_int_equal(at, (uint64_t)pieces * sizes[n]);
        assert_int_equal(sgi_call_read(f.rt, call, buffer, 8, &bytes, &f.err), SGI_E_END); /* and stays there */
        assert_int_equal(sgi_call_end(f.rt, call), SGI_OK);
    }
    free(buffer);
    tear_down(&f);
}

struct patience {
    struct fixture *f;
    int             polls;
};

static bool came_back_or_waits(void *user)
{
    struct patience *p = user;
    return atomic_load(&p->f->engine.calls_at_once) == 0 || --p->polls == 0;
}

/* Two fragments that with their lengths are one byte more than the buffer holds: the second waits for a reader. */
static void a_buffer_that_lacks_one_byte_is_full(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    enum { BYTES = RING_BYTES + 1 - 2 * 4 };
    struct patience patience = { .f = &f, .polls = 20 };
    uint8_t        *buffer = malloc(BYTES);
    uint64_t        at = 0;
    size_t          bytes;
    sgi_status      st;

    sgi_call call = begin(&f, (struct test_request){ .kind = REQUEST_EMIT, .pieces = 1, .piece_bytes = BYTES });
    assert_int_equal(host_next(f.rt).kind, SGI_COMPLETION_READABLE);
    test_wait_until(came_back_or_waits, &patience, "the call");
    assert_int_equal(atomic_load(&f.engine.calls_at_once), 1);
    while (read_some(&f, call, buffer, BYTES, &bytes, &st))
        for (size_t n = 0; n < bytes; n++, at++)
            assert_int_equal(buffer[n], test_engine_piece_byte(0, (uint32_t)at));
    assert_int_equal(st, SGI_E_END);
    assert_int_equal(at, BYTES);
    assert_int_equal(sgi_call_end(f.rt, call), SGI_OK);
    free(buffer);
    tear_down(&f);
}

static void a_piece_may_be_read_in_several(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    static const size_t rooms[] = { 1, 2, 3, 5, 7, 100, 999 };

    for (size_t n = 0; n < sizeof rooms / sizeof *rooms; n++) {
        sgi_call   call = begin(&f, (struct test_request){ .kind = REQUEST_EMIT, .pieces = 200, .piece_bytes = 1000 });
        uint8_t    buffer[1000];
        uint64_t   at = 0;
        size_t     bytes;
        sgi_status st;
        while (read_some(&f, call, buffer, rooms[n], &bytes, &st)) {
            assert_true(bytes > 0 && bytes <= rooms[n]);
            for (size_t k = 0; k < bytes; k++, at++)
                assert_int_equal(buffer[k], test_engine_piece_byte((uint32_t)(at / 1000), (uint32_t)(at % 1000)));
        }
        assert_int_equal(st, SGI_E_END);
        assert_int_equal(at, 200000);
        assert_int_equal(sgi_call_end(f.rt, call), SGI_OK);
        sgi_completion c = { .struct_size = sizeof c };
        assert_int_equal(sgi_completion_next(f.rt, &c), SGI_E_WOULD_BLOCK); /* nothing of it is left behind */
    }
    tear_down(&f);
}

static bool one_call_waits(void *user)
{
    struct fixture *f = user;
    return gate_passed(&f->engine.gates[ENGINE_CALL]) > 0;
}

static void a_slow_reader_holds_the_engine_up(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    uint8_t    buffer[4096];
    size_t     bytes;
    sgi_status st;
    uint64_t   at = 0;

    sgi_call call = begin(&f, (struct test_request){ .kind = REQUEST_EMIT, .pieces = 100, .piece_bytes = 4000 });
    test_wait_until(one_call_waits, &f, "the call does not begin");
    assert_int_equal(host_next(f.rt).kind, SGI_COMPLETION_READABLE);
    assert_int_equal(atomic_load(&f.engine.calls_at_once), 1); /* 400 KB do not fit: it has not come back */
    while (read_some(&f, call, buffer, sizeof buffer, &bytes, &st))
        at += bytes;
    assert_int_equal(st, SGI_E_END);
    assert_int_equal(at, 400000);
    assert_int_equal(sgi_call_end(f.rt, call), SGI_OK);
    tear_down(&f);
}

static void readable_is_said_once_until_it_is_taken(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    uint8_t buffer[64];
    size_t  bytes;

    sgi_call call = begin(&f, (struct test_request){ .kind = REQUEST_EMIT, .pieces = 20, .piece_bytes = 10 });
    /* The end is queued behind it: both are there, and no third. */
    sgi_completion c = host_next(f.rt);
    assert_true(c.kind == SGI_COMPLETION_READABLE && c.call == call && c.tag == 42 && c.status == SGI_OK);
    uint32_t more = 0;
    while ((c = host_next(f.rt)).kind == SGI_COMPLETION_READABLE)
        more++;
    assert_true(more <= 19);
    assert_int_equal(c.kind, SGI_COMPLETION_CALL);
    for (int n = 0; n < 20; n++)
        assert_int_equal(sgi_call_read(f.rt, call, buffer, sizeof buffer, &bytes, &f.err), SGI_OK);
    assert_int_equal(sgi_call_read(f.rt, call, buffer, sizeof buffer, &bytes, &f.err), SGI_E_END);
    assert_int_equal(sgi_call_end(f.rt, call), SGI_OK);
    tear_down(&f);
}

static void a_cancel_in_the_middle_ends_it_after_its_pieces(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    static const uint32_t kinds[] = { REQUEST_UNTIL_CANCELED, REQUEST_POLL };
    uint8_t               buffer[1024];
    size_t                bytes;
    sgi_status            st;

    for (int n = 0; n < 2; n++) {
        sgi_call call = begin(&f, (struct test_request){ .kind = kinds[n] });
        gate_wait_arrived(&f.engine.gates[ENGINE_CALL], (uint32_t)n + 1);
        assert_int_equal(sgi_call_cancel(f.rt, call), SGI_OK);
        assert_int_equal(sgi_call_cancel(f.rt, call), SGI_OK); /* once more changes nothing */
        sgi_completion c = wait_end(&f, call);
        assert_int_equal(c.status, SGI_E_CANCELED);
        assert_int_equal(c.error.code, SGI_E_CANCELED);
        while (read_some(&f, call, buffer, sizeof buffer, &bytes, &st))
            assert_true(n == 0);
        assert_int_equal(st, SGI_E_CANCELED);
        assert_int_equal(sgi_call_cancel(f.rt, call), SGI_OK);
        assert_int_equal(sgi_call_end(f.rt, call), SGI_OK);
        assert_int_equal(atomic_load(&f.engine.calls_canceled), n + 1);
    }
    tear_down(&f);
}

static void an_engine_that_ignores_a_cancel_ends_as_it_says(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);

    gate_close(&f.engine.gates[ENGINE_CALL]);
    sgi_call call = begin(&f, (struct test_request){ .kind = REQUEST_DEAF });
    gate_wait_arrived(&f.engine.gates[ENGINE_CALL], 1);
    assert_int_equal(sgi_call_cancel(f.rt, call), SGI_OK);
    gate_open(&f.engine.gates[ENGINE_CALL]);
    assert_int_equal(wait_end(&f, call).status, SGI_OK);
    assert_int_equal(sgi_call_end(f.rt, call), SGI_OK);
    tear_down(&f);
}

static void a_call_can_follow_a_canceled_one_on_the_same_lease(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    struct test_request request = { .kind = REQUEST_EMIT, .pieces = 1, .piece_bytes = 4 };
    char                out[8];
    size_t              bytes;

    sgi_call call = begin(&f, (struct test_request){ .kind = REQUEST_POLL }), second = 0;
    assert_int_equal(sgi_call_begin(f.rt, f.lease, NULL, 0, 0, &second, &f.err), SGI_E_BUSY); /* one at a time */
    assert_true(second == 0 && strlen(f.err.message) > 0);
    assert_int_equal(sgi_call_cancel(f.rt, call), SGI_OK);
    wait_end(&f, call);
    assert_int_equal(sgi_call_begin(f.rt, f.lease, NULL, 0, 0, &second, &f.err),
                     SGI_E_BUSY); /* ended, but not given up */
    assert_int_equal(sgi_call_end(f.rt, call), SGI_OK);
    assert_int_equal(host_call(f.rt, f.lease, &request, sizeof request, out, sizeof out, &bytes, &f.err), SGI_OK);
    assert_int_equal(bytes, 4);
    tear_down(&f);
}

static void a_running_call_can_be_given_up_and_its_lease_at_once(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);

    gate_close(&f.engine.gates[ENGINE_CALL]);
    sgi_call call = begin(&f, (struct test_request){ .kind = REQUEST_POLL });
    gate_wait_arrived(&f.engine.gates[ENGINE_CALL], 1);
    assert_int_equal(sgi_lease_release(f.rt, f.lease), SGI_E_BUSY);
    assert_int_equal(sgi_call_end(f.rt, call), SGI_OK);
    host_release(f.rt, f.lease);
    f.lease = 0;
    sgi_model_state s = host_state(f.rt, f.model);
    assert_true(s.state == SGI_MODEL_BUSY && s.leases_count == 0); /* until the engine has come back */
    assert_int_equal(sgi_model_evict(f.rt, f.model, SGI_TIER_DISK), SGI_E_BUSY);
    gate_open(&f.engine.gates[ENGINE_CALL]);
    host_wait_state(f.rt, f.model, SGI_MODEL_READY);
    assert_int_equal(atomic_load(&f.engine.calls_canceled), 1); /* it was told */
    sgi_completion c = { .struct_size = sizeof c };
    assert_int_equal(sgi_completion_next(f.rt, &c), SGI_E_WOULD_BLOCK); /* and nobody else hears of it */
    tear_down(&f);
}

static bool nothing_is_out(void *user)
{
    struct fixture *f = user;
    return atomic_load(&f->engine.calls_at_once) == 0 && host_state(f->rt, f->model).calls_out == 0;
}

static void completions_of_a_call_given_up_are_dropped(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);

    for (int n = 0; n < 50; n++) {
        sgi_call call = begin(&f, (struct test_request){ .kind = REQUEST_EMIT, .pieces = 3, .piece_bytes = 3 });
        if (n % 2)
            host_next(f.rt);
        assert_int_equal(sgi_call_end(f.rt, call), SGI_OK);
        sgi_completion c = { .struct_size = sizeof c };
        assert_int_equal(sgi_completion_next(f.rt, &c), SGI_E_WOULD_BLOCK);
        test_wait_until(nothing_is_out, &f, "a call does not come back"); /* its lease has no other before that */
    }
    tear_down(&f);
}

static void calls_max_is_a_limit_that_says_so(void **state)
{
    (void)state;
    struct fixture     f;
    sgi_runtime_config config = host_config();
    config.calls_max = 2;
    set_up_with(&f, &config, 3);
    sgi_lease leases[2] = { host_acquire(f.rt, f.model), host_acquire(f.rt, f.model) };
    sgi_call  calls[3] = { 0 };

    struct test_request request = { .kind = REQUEST_POLL };
    for (int n = 0; n < 2; n++)
        assert_int_equal(sgi_call_begin(f.rt, leases[n], &request, sizeof request, 0, &calls[n], &f.err), SGI_OK);
    assert_int_equal(host_info(f.rt).calls_count, 2);
    assert_int_equal(sgi_call_begin(f.rt, f.lease, &request, sizeof request, 0, &calls[2], &f.err), SGI_E_BUSY);
    assert_non_null(strstr(f.err.message, "calls_max"));
    assert_int_equal(sgi_call_begin(f.rt, f.model, &request, sizeof request, 0, &calls[2], &f.err), SGI_E_STALE);
    for (int n = 0; n < 2; n++) {
        assert_int_equal(sgi_call_end(f.rt, calls[n]), SGI_OK);
        host_release(f.rt, leases[n]);
    }
    tear_down(&f);
}

static void a_model_without_an_engine_has_no_calls(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    sgi_model plain = host_add(f.rt, "plain", file.path, NULL);
    sgi_lease lease = host_acquire(f.rt, plain);
    sgi_call  call = 0;
    assert_int_equal(sgi_call_begin(f.rt, lease, NULL, 0, 0, &call, &f.err), SGI_E_UNSUPPORTED);
    assert_int_equal(sgi_lease_call(f.rt, lease, NULL, 0, 1, NULL, NULL, &f.err), SGI_E_UNSUPPORTED);
    host_release(f.rt, lease);
    tear_down(&f);
}

static void a_request_larger_than_the_maximum_is_refused(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    sgi_call call = 0;
    assert_int_equal(sgi_call_begin(f.rt, f.lease, "x", ((size_t)1 << 30) + 1, 0, &call, &f.err), SGI_E_INVALID);
    assert_int_equal(call, 0);
    tear_down(&f);
}

/* ---- the blocking form ---- */

struct collected {
    uint8_t  bytes[300000];
    uint64_t count, stop_after;
};

static int collect(void *user, const void *piece, size_t bytes)
{
    struct collected *c = user;
    assert_true(c->count + bytes <= sizeof c->bytes);
    memcpy(c->bytes + c->count, piece, bytes);
    c->count += bytes;
    return c->stop_after > 0 && c->count >= c->stop_after;
}

static void the_blocking_form_hands_pieces_over_and_makes_no_completions(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    struct collected   *c = calloc(1, sizeof *c);
    struct test_request request = { .kind = REQUEST_EMIT, .pieces = 25, .piece_bytes = 10000 };

    assert_int_equal(sgi_lease_call(f.rt, f.lease, &request, sizeof request, SGI_FOREVER, collect, c, &f.err), SGI_OK);
    assert_int_equal(c->count, 250000);
    for (uint32_t at = 0; at < 250000; at++)
        assert_int_equal(c->bytes[at], test_engine_piece_byte(at / 10000, at % 10000));
    assert_int_equal(sgi_lease_call(f.rt, f.lease, &request, sizeof request, SGI_FOREVER, NULL, NULL, &f.err), SGI_OK);
    sgi_completion none = { .struct_size = sizeof none };
    assert_int_equal(sgi_completion_next(f.rt, &none), SGI_E_WOULD_BLOCK);
    free(c);
    tear_down(&f);
}

static void the_blocking_form_can_be_stopped_by_its_reader_or_its_time(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    struct collected   *c = calloc(1, sizeof *c);
    struct test_request endless = { .kind = REQUEST_UNTIL_CANCELED }, silent = { .kind = REQUEST_POLL };
    struct test_request failing = {
        .kind = REQUEST_EMIT, .pieces = 1, .piece_bytes = 2, .status = SGI_E_DEVICE_MEMORY
    };

    c->stop_after = 10;
    assert_int_equal(sgi_lease_call(f.rt, f.lease, &endless, sizeof endless, SGI_FOREVER, collect, c, &f.err),
                     SGI_E_CANCELED);
    assert_true(c->count >= 10);
    test_wait_until(nothing_is_out, &f, "a call does not come back");
    assert_int_equal(sgi_lease_call(f.rt, f.lease, &silent, sizeof silent, 20, NULL, NULL, &f.err), SGI_E_TIMEOUT);
    assert_non_null(strstr(f.err.message, "20 ms"));
    test_wait_until(nothing_is_out, &f, "a call does not come back");
    assert_int_equal(sgi_lease_call(f.rt, f.lease, &failing, sizeof failing, SGI_FOREVER, NULL, NULL, &f.err),
                     SGI_E_DEVICE_MEMORY);
    host_error_is(&f.err, SGI_E_DEVICE_MEMORY, SGI_STEP_CALL, "asked for this end");
    free(c);
    tear_down(&f);
}

/* ---- many at once ---- */

struct worker {
    struct fixture *f;
    uint32_t        seed, bad;
};

static void *work(void *arg)
{
    struct worker *w = arg;
    sgi_error      err = { .struct_size = sizeof err };

    for (int n = 0; n < 60; n++) {
        sgi_lease           lease = 0;
        struct test_request request = { .kind = (w->seed + (uint32_t)n) % 3, .pieces = 20, .piece_bytes = 777 };
        sgi_call            call = 0;
        uint8_t             buffer[500];
        size_t              bytes;
        if (sgi_model_acquire_wait(w->f->rt, w->f->model, NULL, &lease, &err) != SGI_OK ||
            sgi_call_begin(w->f->rt, lease, &request, sizeof request, 0, &call, &err) != SGI_OK) {
            w->bad++;
            break;
        }
        for (uint32_t k = 0; k < (w->seed * 7 + (uint32_t)n) % 5; k++)
            sgi_call_read(w->f->rt, call, buffer, sizeof buffer, &bytes, NULL);
        if (n % 2)
            w->bad += sgi_call_cancel(w->f->rt, call) != SGI_OK;
        w->bad += sgi_call_end(w->f->rt, call) != SGI_OK;
        w->bad += sgi_call_end(w->f->rt, call) != SGI_E_STALE;
        w->bad += sgi_lease_release(w->f->rt, lease) != SGI_OK;
    }
    return NULL;
}

static void many_callers_begin_read_cancel_and_leave(void **state)
{
    (void)state;
    struct fixture     f;
    sgi_runtime_config config = host_config();
    set_up_with(&f, &config, 4);
    pthread_t     threads[8];
    struct worker workers[8];

    host_release(f.rt, f.lease);
    f.lease = 0;
    for (uint32_t n = 0; n < 8; n++) {
        workers[n] = (struct worker){ .f = &f, .seed = n };
        pthread_create(&threads[n], NULL, work, &workers[n]);
    }
    for (int n = 0; n < 8; n++) {
        pthread_join(threads[n], NULL);
        assert_int_equal(workers[n].bad, 0);
    }
    host_wait_state(f.rt, f.model, SGI_MODEL_READY);
    assert_int_equal(host_info(f.rt).calls_count, 0);
    sgi_completion none = { .struct_size = sizeof none };
    assert_int_equal(sgi_completion_next(f.rt, &none), SGI_E_WOULD_BLOCK);
    tear_down(&f);
}

static int make_files(void **state)
{
    (void)state;
    test_folder_make(&folder);
    test_file_make_one(&file, &folder, "a.safetensors", 5000);
    return 0;
}

static int remove_files(void **state)
{
    (void)state;
    test_file_free(&file);
    test_folder_remove(&folder);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_is_the_request_back),
        cmocka_unit_test(an_empty_request_and_an_empty_answer_are_fine),
        cmocka_unit_test(pieces_of_every_size_come_whole_and_in_order),
        cmocka_unit_test(a_buffer_that_lacks_one_byte_is_full),
        cmocka_unit_test(a_piece_may_be_read_in_several),
        cmocka_unit_test(a_slow_reader_holds_the_engine_up),
        cmocka_unit_test(readable_is_said_once_until_it_is_taken),
        cmocka_unit_test(a_cancel_in_the_middle_ends_it_after_its_pieces),
        cmocka_unit_test(an_engine_that_ignores_a_cancel_ends_as_it_says),
        cmocka_unit_test(a_call_can_follow_a_canceled_one_on_the_same_lease),
        cmocka_unit_test(a_running_call_can_be_given_up_and_its_lease_at_once),
        cmocka_unit_test(completions_of_a_call_given_up_are_dropped),
        cmocka_unit_test(calls_max_is_a_limit_that_says_so),
        cmocka_unit_test(a_model_without_an_engine_has_no_calls),
        cmocka_unit_test(a_request_larger_than_the_maximum_is_refused),
        cmocka_unit_test(the_blocking_form_hands_pieces_over_and_makes_no_completions),
        cmocka_unit_test(the_blocking_form_can_be_stopped_by_its_reader_or_its_time),
        cmocka_unit_test(many_callers_begin_read_cancel_and_leave),
    };
    return cmocka_run_group_tests_name("calls", tests, make_files, remove_files);
}
