/* SPDX-License-Identifier: Apache-2.0 */
/* Acquiring: one load for everybody, leases counted, ends that come exactly once, and models that come and go by
 * tier. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "support/host.h"

static struct test_folder folder;
static struct test_file   file, big_file;

struct fixture {
    struct test_engine engine;
    sgi_runtime       *rt;
    sgi_model          model, plain, big; /* big: 9 MiB */
    sgi_error          err;
};

static void set_up_with(struct fixture *f, const sgi_runtime_config *config, uint32_t leases_max)
{
    memset(f, 0, sizeof *f);
    f->err.struct_size = sizeof f->err;
    test_engine_init(&f->engine, false, false);
    f->rt = host_open(config);
    sgi_model_config mc = host_model("engine", file.path, &f->engine);
    mc.leases_max = leases_max;
    f->model = host_register(f->rt, &mc);
    f->plain = host_add(f->rt, "plain", file.path, NULL);
    f->big = host_add(f->rt, "big", big_file.path, NULL);
}

static void set_up(struct fixture *f)
{
    sgi_runtime_config config = host_config();
    set_up_with(f, &config, 0);
}

static void tear_down(struct fixture *f)
{
    host_close(f->rt);
    test_engine_fini(&f->engine);
}

static sgi_acquire_options options(void)
{
    sgi_acquire_options o;
    sgi_acquire_options_init(&o, sizeof o);
    return o;
}

/* ---- one load for all ---- */

enum { CALLERS = 16 };

struct caller {
    struct fixture *f;
    sgi_status      status;
    sgi_lease       lease;
};

static void *acquire(void *arg)
{
    struct caller *c = arg;
    c->status = sgi_model_acquire_wait(c->f->rt, c->f->model, NULL, &c->lease, NULL);
    return NULL;
}

static bool all_wait(void *user)
{
    struct fixture *f = user;
    return host_state(f->rt, f->model).requests_waiting == CALLERS;
}

static void sixteen_callers_share_one_load(void **state)
{
    (void)state;
    struct fixture     f;
    sgi_runtime_config config = host_config();
    set_up_with(&f, &config, CALLERS);
    pthread_t     threads[CALLERS];
    struct caller callers[CALLERS];
    uint32_t      joined = 0;

    gate_close(&f.engine.gates[ENGINE_START]);
    for (int n = 0; n < CALLERS; n++) {
        callers[n] = (struct caller){ .f = &f };
        pthread_create(&threads[n], NULL, acquire, &callers[n]);
    }
    test_wait_until(all_wait, &f, "not everybody waits");
    gate_open(&f.engine.gates[ENGINE_START]);
    for (int n = 0; n < CALLERS; n++) {
        pthread_join(threads[n], NULL);
        assert_int_equal(callers[n].status, SGI_OK);
        joined += host_timing(f.rt, callers[n].lease).joined;
        for (int k = 0; k < n; k++)
            assert_int_not_equal(callers[n].lease, callers[k].lease);
    }
    assert_int_equal(host_state(f.rt, f.model).loads_count, 1);
    assert_int_equal(test_engine_count(&f.engine, ENGINE_START), 1);
    assert_int_equal(host_state(f.rt, f.model).leases_count, CALLERS);
    assert_int_equal(joined, CALLERS - 1); /* one of them had started it */
    for (int n = 0; n < CALLERS; n++)
        host_release(f.rt, callers[n].lease);
    assert_int_equal(host_state(f.rt, f.model).leases_count, 0);
    tear_down(&f);
}

static void a_waiter_that_leaves_does_not_hurt_the_rest(void **state)
{
    (void)state;
    struct fixture     f;
    sgi_runtime_config config = host_config();
    set_up_with(&f, &config, 8);
    sgi_ticket tickets[4];

    gate_close(&f.engine.gates[ENGINE_START]);
    for (int n = 0; n < 4; n++)
        assert_int_equal(sgi_model_acquire(f.rt, f.model, NULL, &tickets[n], NULL, NULL, NULL), SGI_OK);
    gate_wait_arrived(&f.engine.gates[ENGINE_START], 1);
    for (int n = 0; n < 3; n++)
        assert_int_equal(sgi_acquire_cancel(f.rt, tickets[n]), SGI_OK);
    for (int n = 0; n < 3; n++) {
        sgi_completion c = host_next(f.rt);
        assert_true(c.status == SGI_E_CANCELED && c.ticket == tickets[n] && c.lease == 0);
        assert_non_null(strstr(c.error.message, "'engine'"));
    }
    gate_open(&f.engine.gates[ENGINE_START]);
    sgi_completion c = host_next(f.rt);
    assert_true(c.status == SGI_OK && c.ticket == tickets[3]);
    host_release(f.rt, c.lease);
    assert_int_equal(host_state(f.rt, f.model).loads_count, 1);
    tear_down(&f);
}

static void the_last_waiters_cancel_ends_the_load(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    sgi_ticket ticket;

    gate_close(&f.engine.gates[ENGINE_START]);
    assert_int_equal(sgi_model_acquire(f.rt, f.model, NULL, &ticket, NULL, NULL, NULL), SGI_OK);
    gate_wait_arrived(&f.engine.gates[ENGINE_START], 1);
    assert_int_equal(sgi_acquire_cancel(f.rt, ticket), SGI_OK);
    assert_int_equal(host_next(f.rt).status, SGI_E_CANCELED);
    gate_open(&f.engine.gates[ENGINE_START]);
    host_wait_state(f.rt, f.model, SGI_MODEL_COLD);
    assert_int_equal(host_info(f.rt).device_bytes, 0);
    assert_int_equal(host_state(f.rt, f.model).failures_count, 0); /* it was meant */
    host_release(f.rt, host_acquire(f.rt, f.model));
    tear_down(&f);
}

/* ---- leases ---- */

static void leases_max_is_kept(void **state)
{
    (void)state;
    struct fixture     f;
    sgi_runtime_config config = host_config();
    set_up_with(&f, &config, 2);
    sgi_lease  a = host_acquire(f.rt, f.model), b = host_acquire(f.rt, f.model), c = 0;
    sgi_ticket ticket;

    assert_int_equal(sgi_model_try_acquire(f.rt, f.model, NULL, &c), SGI_E_WOULD_BLOCK);
    assert_int_equal(sgi_model_acquire(f.rt, f.model, NULL, &ticket, NULL, NULL, NULL), SGI_OK);
    assert_int_equal(host_state(f.rt, f.model).requests_waiting, 1);
    host_release(f.rt, a);
    sgi_completion done = host_next(f.rt); /* it gets the free place, */
    assert_int_equal(done.status, SGI_OK);
    assert_int_equal(sgi_model_try_acquire(f.rt, f.model, NULL, &c), SGI_E_WOULD_BLOCK); /* and there is none left */
    host_release(f.rt, b);
    assert_int_equal(sgi_model_try_acquire(f.rt, f.model, NULL, &c), SGI_OK);
    host_release(f.rt, c);
    host_release(f.rt, done.lease);
    assert_int_equal(sgi_lease_release(f.rt, a), SGI_E_STALE);
    tear_down(&f);
}

static void by_default_an_engine_has_one_lease_and_weights_any_number(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    sgi_lease one = host_acquire(f.rt, f.model), none = 0, many[100];

    assert_int_equal(sgi_model_try_acquire(f.rt, f.model, NULL, &none), SGI_E_WOULD_BLOCK);
    for (int n = 0; n < 100; n++)
        many[n] = host_acquire(f.rt, f.plain);
    assert_int_equal(host_info(f.rt).leases_count, 101);
    for (int n = 0; n < 100; n++)
        host_release(f.rt, many[n]);
    host_release(f.rt, one);
    tear_down(&f);
}

static void try_acquire_never_loads(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    sgi_lease lease = 0;

    assert_int_equal(sgi_model_try_acquire(f.rt, f.plain, NULL, &lease), SGI_E_WOULD_BLOCK);
    assert_int_equal(host_state(f.rt, f.plain).state, SGI_MODEL_COLD);
    host_release(f.rt, host_acquire(f.rt, f.plain));
    assert_int_equal(sgi_model_try_acquire(f.rt, f.plain, NULL, &lease), SGI_OK);
    assert_int_equal(host_timing(f.rt, lease).tier, SGI_TIER_DEVICE); /* it was there */
    assert_int_equal(host_timing(f.rt, lease).bytes, 0);
    host_release(f.rt, lease);
    tear_down(&f);
}

/* ---- deadlines and limits ---- */

static void a_deadline_ends_the_wait_and_says_where_it_was(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    sgi_acquire_options o = options();
    sgi_lease           lease = 0;

    o.deadline_ms = 20;
    gate_close(&f.engine.gates[ENGINE_START]);
    assert_int_equal(sgi_model_acquire_wait(f.rt, f.model, &o, &lease, &f.err), SGI_E_TIMEOUT);
    assert_int_equal(lease, 0);
    assert_int_equal(f.err.code, SGI_E_TIMEOUT);
    assert_non_null(strstr(f.err.message, "'engine'"));
    assert_non_null(strstr(f.err.message, "20 ms"));
    gate_open(&f.engine.gates[ENGINE_START]);
    /* The load went on: who ran out of time will ask again. */
    host_wait_state(f.rt, f.model, SGI_MODEL_READY);
    lease = host_acquire(f.rt, f.model);
    assert_int_equal(host_state(f.rt, f.model).loads_count, 1);
    assert_int_equal(sgi_model_acquire_wait(f.rt, f.model, &o, &f.plain, &f.err),
                     SGI_E_TIMEOUT); /* waiting for a lease */
    host_release(f.rt, lease);
    tear_down(&f);
}

static void requests_max_is_a_limit_that_says_so(void **state)
{
    (void)state;
    struct fixture     f;
    sgi_runtime_config config = host_config();
    config.requests_max = 3;
    set_up_with(&f, &config, 0);
    sgi_ticket tickets[3], none = 0;
    sgi_lease  lease = host_acquire(f.rt, f.model), no_lease = 0;

    for (int n = 0; n < 3; n++)
        assert_int_equal(sgi_model_acquire(f.rt, f.model, NULL, &tickets[n], NULL, NULL, NULL), SGI_OK);
    assert_int_equal(host_info(f.rt).requests_waiting, 3);
    assert_int_equal(sgi_model_acquire(f.rt, f.model, NULL, &none, NULL, NULL, NULL), SGI_E_BUSY);
    assert_int_equal(sgi_model_prefetch(f.rt, f.plain, SGI_TIER_DEVICE, NULL, &none, NULL, NULL, NULL), SGI_E_BUSY);
    assert_int_equal(sgi_model_acquire_wait(f.rt, f.plain, NULL, &no_lease, &f.err), SGI_E_BUSY);
    assert_non_null(strstr(f.err.message, "requests_max"));
    assert_int_equal(sgi_acquire_cancel(f.rt, tickets[0]), SGI_OK);
    /* Its completion is not read yet: for requests that end in completions that counts too. */
    assert_int_equal(sgi_model_acquire(f.rt, f.model, NULL, &none, NULL, NULL, NULL), SGI_E_BUSY);
    assert_int_equal(host_next(f.rt).ticket, tickets[0]);
    assert_int_equal(sgi_model_acquire(f.rt, f.model, NULL, &tickets[0], NULL, NULL, NULL), SGI_OK);
    for (int n = 0; n < 3; n++)
        assert_int_equal(sgi_acquire_cancel(f.rt, tickets[n]), SGI_OK);
    for (int n = 0; n < 3; n++)
        assert_int_equal(host_next(f.rt).status, SGI_E_CANCELED);
    host_release(f.rt, lease);
    tear_down(&f);
}

static void what_can_never_fit_is_refused_with_the_numbers(void **state)
{
    (void)state;
    struct fixture     f;
    sgi_device_config  device = { .struct_size = sizeof device, .name = "host", .bytes_max = MIB(8) };
    sgi_runtime_config config = host_config();
    config.devices = &device;
    config.devices_count = 1;
    set_up_with(&f, &config, 0);
    char number[32];

    sgi_lease held = host_acquire(f.rt, f.plain);
    assert_int_equal(host_acquire_fails(f.rt, f.big, &f.err), SGI_E_NO_ROOM);
    snprintf(number, sizeof number, "%llu", (unsigned long long)MIB(8));
    assert_non_null(strstr(f.err.message, number));
    assert_non_null(strstr(f.err.message, "'big'"));
    assert_int_equal(host_state(f.rt, f.plain).state, SGI_MODEL_BUSY); /* nothing was evicted for it */
    host_release(f.rt, held);
    sgi_ticket ticket;
    assert_int_equal(sgi_model_prefetch(f.rt, f.big, SGI_TIER_DRAM, NULL, &ticket, NULL, NULL, NULL), SGI_OK);
    assert_int_equal(host_next(f.rt).status, SGI_E_NO_ROOM); /* there is no DRAM budget */
    tear_down(&f);
}

static void an_idle_model_makes_room_and_a_busy_one_does_not(void **state)
{
    (void)state;
    struct fixture     f;
    sgi_device_config  device = { .struct_size = sizeof device, .name = "host", .bytes_max = MIB(10) };
    sgi_runtime_config config = host_config();
    config.devices = &device;
    config.devices_count = 1;
    set_up_with(&f, &config, 0);
    sgi_acquire_options o = options();
    sgi_lease           lease = host_acquire(f.rt, f.plain), big = 0;

    o.deadline_ms = 20;
    assert_int_equal(sgi_model_acquire_wait(f.rt, f.big, &o, &big, &f.err), SGI_E_TIMEOUT);
    assert_int_equal(host_state(f.rt, f.plain).state, SGI_MODEL_BUSY);
    host_release(f.rt, lease);
    big = host_acquire(f.rt, f.big);
    assert_int_equal(host_state(f.rt, f.plain).state, SGI_MODEL_COLD);
    host_same_bytes(f.rt, f.big, big, &big_file);
    host_release(f.rt, big);
    tear_down(&f);
}

/* ---- completions and callbacks ---- */

static bool readable(int fd)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };
    return poll(&p, 1, 0) == 1;
}

static void no_completion_is_lost_and_the_fd_tells_truly(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    enum { MANY = 500 };
    static sgi_ticket tickets[MANY];
    int               fd = -1, again = -1;
    sgi_completion    c = { .struct_size = sizeof c };

    host_release(f.rt, host_acquire(f.rt, f.plain));
    for (uint64_t n = 0; n < MANY / 2; n++) { /* before anybody has asked for the fd */
        sgi_acquire_options o = options();
        o.tag = 1000 + n;
        assert_int_equal(sgi_model_acquire(f.rt, f.plain, &o, &tickets[n], NULL, NULL, NULL), SGI_OK);
    }
    assert_int_equal(sgi_completion_fd(f.rt, &fd), SGI_OK);
    assert_int_equal(sgi_completion_fd(f.rt, &again), SGI_OK);
    assert_int_equal(fd, again);
    assert_true(readable(fd));
    for (uint64_t n = MANY / 2; n < MANY; n++) {
        sgi_acquire_options o = options();
        o.tag = 1000 + n;
        assert_int_equal(sgi_model_acquire(f.rt, f.plain, &o, &tickets[n], NULL, NULL, NULL), SGI_OK);
    }
    for (uint64_t n = 0; n < MANY; n++) {
        assert_true(readable(fd));
        assert_int_equal(sgi_completion_next(f.rt, &c), SGI_OK);
        assert_true(c.kind == SGI_COMPLETION_ACQUIRE && c.status == SGI_OK);
        assert_true(c.ticket == tickets[n] && c.tag == 1000 + n); /* the oldest first */
        host_release(f.rt, c.lease);
    }
    assert_false(readable(fd));
    assert_int_equal(sgi_completion_next(f.rt, &c), SGI_E_WOULD_BLOCK);
    tear_down(&f);
}

struct done {
    struct fixture *f;
    struct gate     gate;
    atomic_int      calls, inside;
    pthread_t       submitter;
    bool            on_submitter, deadlocks_told;
    sgi_completion  last;
};

static void on_done(void *user, const sgi_completion *c)
{
    struct done *d = user;
    sgi_lease    lease = 0;
    uint64_t     digest = 0;
    sgi_error    err = { .struct_size = sizeof err };

    d->on_submitter |= pthread_equal(pthread_self(), d->submitter);
    d->last = *c;
    d->deadlocks_told = sgi_model_acquire_wait(d->f->rt, d->f->plain, NULL, &lease, &err) == SGI_E_DEADLOCK &&
                        err.code == SGI_E_DEADLOCK && sgi_runtime_close(d->f->rt, 1, NULL) == SGI_E_DEADLOCK &&
                        sgi_model_unregister(d->f->rt, d->f->plain, 1, NULL) == SGI_E_DEADLOCK &&
                        sgi_lease_call(d->f->rt, c->lease, NULL, 0, 1, NULL, NULL, NULL) == SGI_E_DEADLOCK &&
                        sgi_lease_tensor_wait(d->f->rt, c->lease, 0, 1, NULL) == SGI_E_DEADLOCK &&
                        sgi_lease_tensor_digest(d->f->rt, c->lease, 0, &digest, NULL) == SGI_E_DEADLOCK;
    if (c->lease)
        sgi_lease_release(d->f->rt, c->lease);                              /* it may release, */
    sgi_model_acquire(d->f->rt, d->f->plain, NULL, NULL, NULL, NULL, NULL); /* and submit */
    atomic_fetch_add(&d->calls, 1);
    gate_pass(&d->gate);
}

static void done_comes_once_on_a_thread_of_the_library(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    struct done         d = { .f = &f, .submitter = pthread_self() };
    sgi_acquire_options o = options();
    sgi_ticket          ticket = 0;
    gate_init(&d.gate);

    o.tag = 99;
    for (uint32_t n = 1; n <= 20; n++) {
        assert_int_equal(sgi_model_acquire(f.rt, f.plain, &o, &ticket, on_done, &d, NULL),
                         SGI_OK); /* warm from the second on */
        gate_wait_arrived(&d.gate, n);
        assert_int_equal(atomic_load(&d.calls), n);
        assert_true(d.last.kind == SGI_COMPLETION_ACQUIRE && d.last.status == SGI_OK && d.last.tag == 99);
        assert_int_equal(d.last.ticket, ticket);
        assert_true(d.deadlocks_told);
        sgi_completion c = host_next(f.rt); /* of the request that the callback has submitted */
        assert_int_equal(c.status, SGI_OK);
        host_release(f.rt, c.lease);
    }
    assert_false(d.on_submitter);
    assert_int_equal(sgi_model_prefetch(f.rt, f.plain, SGI_TIER_DEVICE, &o, &ticket, on_done, &d, NULL), SGI_OK);
    gate_wait_arrived(&d.gate, 21);
    assert_true(d.last.kind == SGI_COMPLETION_PREFETCH && d.last.lease == 0);
    host_release(f.rt, host_next(f.rt).lease);
    host_wait_threads(f.rt, 1);
    gate_fini(&d.gate);
    tear_down(&f);
}

static void hold_and_release(void *user, const sgi_completion *c)
{
    struct done *d = user;
    atomic_fetch_add(&d->inside, 1);
    gate_pass(&d->gate);
    if (c->lease)
        sgi_lease_release(d->f->rt, c->lease);
    atomic_fetch_sub(&d->inside, 1);
    atomic_fetch_add(&d->calls, 1);
}

static void a_slow_done_callback_delays_nobody_else(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    struct done d = { .f = &f }, quick = { .f = &f };
    gate_init(&d.gate);
    gate_init(&quick.gate);
    gate_close(&d.gate);

    assert_int_equal(sgi_model_acquire(f.rt, f.plain, NULL, NULL, hold_and_release, &d, NULL), SGI_OK);
    gate_wait_arrived(&d.gate, 1);
    assert_int_equal(sgi_model_acquire(f.rt, f.plain, NULL, NULL, hold_and_release, &quick, NULL), SGI_OK);
    gate_wait_arrived(&quick.gate, 1);
    host_release(f.rt, host_acquire(f.rt, f.model));
    host_release(f.rt, host_acquire(f.rt, f.big));
    assert_int_equal(atomic_load(&d.inside), 1);
    gate_open(&d.gate);
    host_wait_threads(f.rt, 1);
    assert_true(atomic_load(&d.calls) == 1 && atomic_load(&quick.calls) == 1);
    gate_fini(&d.gate);
    gate_fini(&quick.gate);
    tear_down(&f);
}

static void a_failed_acquire_tells_its_callback_why(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    struct done d = { .f = &f };
    gate_init(&d.gate);

    atomic_store(&f.engine.fail[ENGINE_START], SGI_E_ENGINE);
    assert_int_equal(sgi_model_acquire(f.rt, f.model, NULL, NULL, on_done, &d, NULL), SGI_OK);
    gate_wait_arrived(&d.gate, 1);
    assert_int_equal(d.last.status, SGI_E_ENGINE);
    host_error_is(&d.last.error, SGI_E_ENGINE, SGI_STEP_START, "'engine'");
    host_release(f.rt, host_next(f.rt).lease);
    host_wait_threads(f.rt, 1);
    gate_fini(&d.gate);
    tear_down(&f);
}

/* ---- early ---- */

static void early_grants_before_the_bytes_and_each_tensor_is_waited_for(void **state)
{
    (void)state;
    struct fixture           f;
    sgi_runtime_config       config = host_config();
    static const char *const order[] = { "last", "middle" };
    const struct test_tensor tensors[] = {
        { "first", MIB(12) }, { "middle", MIB(1) }, { "none", 0 }, { "last", MIB(3) + 5 }
    };
    struct test_file many;
    config.read_block_bytes = 4096;
    config.read_depth = 1;
    set_up_with(&f, &config, 0);
    test_file_make(&many, &folder, "many.safetensors", 0, tensors, 4);
    sgi_model_config mc = host_model("many", many.path, NULL);
    mc.order = order;
    mc.order_count = 2;
    sgi_model           model = host_register(f.rt, &mc);
    sgi_acquire_options o = options();
    sgi_lease           lease = 0;
    sgi_tensor          t = { .struct_size = sizeof t };
    uint64_t            digest = 0;

    o.flags = SGI_ACQUIRE_EARLY;
    assert_int_equal(sgi_model_acquire_wait(f.rt, model, &o, &lease, &f.err), SGI_OK);
    static const char *const names[] = { "none", "last", "middle", "first" };
    for (int n = 0; n < 4; n++) {
        assert_int_equal(sgi_model_tensor_find(f.rt, model, names[n], &t), SGI_OK);
        assert_int_equal(sgi_lease_tensor_wait(f.rt, lease, t.index, SGI_FOREVER, &f.err), SGI_OK);
        sgi_view view = host_tensor(f.rt, lease, t.index);
        if (t.bytes > 0 && host_is_host())
            assert_memory_equal(view.data, many.data + t.file_offset, t.bytes);
        assert_int_equal(sgi_lease_tensor_digest(f.rt, lease, t.index, &digest, &f.err), SGI_OK);
        assert_int_equal(digest, test_xxh3(many.data + t.file_offset, t.bytes));
    }
    host_wait_state(f.rt, model, SGI_MODEL_BUSY);
    host_same_bytes(f.rt, model, lease, &many);
    assert_int_equal(host_timing(f.rt, lease).bytes, MIB(16) + 5);
    host_release(f.rt, lease);
    assert_int_equal(sgi_model_unregister(f.rt, model, HOST_WAIT_MS, &f.err), SGI_OK);
    test_file_free(&many);
    tear_down(&f);
}

/* The check of the last tensor is wrong, so the load fails when nearly everything is there. */
static void an_early_lease_of_a_load_that_fails_is_good_for_release_only(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    const struct test_tensor tensors[] = { { "first", MIB(4) }, { "last", MIB(1) } };
    struct test_file         bad;
    sgi_tensor_check         check = { .name = "last", .xxh3 = 1 };
    sgi_acquire_options      o = options();
    sgi_lease                lease = 0, second = 0;
    sgi_view                 view = { .struct_size = sizeof view };
    sgi_image                image = { .struct_size = sizeof image };

    test_file_make(&bad, &folder, "bad.safetensors", 0, tensors, 2);
    sgi_model_config mc = host_model("bad", bad.path, NULL);
    mc.checks = &check;
    mc.checks_count = 1;
    sgi_model model = host_register(f.rt, &mc);
    o.flags = SGI_ACQUIRE_EARLY;
    assert_int_equal(sgi_model_acquire_wait(f.rt, model, &o, &lease, &f.err), SGI_OK);
    assert_int_equal(sgi_lease_tensor_wait(f.rt, lease, 1, SGI_FOREVER, &f.err), SGI_E_CHECK);
    host_error_is(&f.err, SGI_E_CHECK, SGI_STEP_VERIFY, "'last'");
    host_wait_state(f.rt, model, SGI_MODEL_STOPPING); /* its memory is there until the lease is given back */
    assert_true(host_info(f.rt).device_bytes > 0);
    assert_int_equal(sgi_lease_tensor_wait(f.rt, lease, 0, SGI_FOREVER, &f.err), SGI_E_CHECK);
    assert_int_equal(sgi_lease_tensor(f.rt, lease, 0, &view, &f.err), SGI_E_CHECK);
    assert_int_equal(sgi_lease_image(f.rt, lease, 0, &image, &f.err), SGI_E_CHECK);
    assert_int_equal(sgi_model_try_acquire(f.rt, model, &o, &second), SGI_E_WOULD_BLOCK);
    host_release(f.rt, lease);
    host_wait_state(f.rt, model, SGI_MODEL_COLD);
    assert_int_equal(host_info(f.rt).device_bytes, 0);
    assert_int_equal(sgi_model_unregister(f.rt, model, HOST_WAIT_MS, &f.err), SGI_OK);
    test_file_free(&bad);
    tear_down(&f);
}

/* ---- back-off, idle times ---- */

static void the_first_failure_is_tried_again_at_once_and_the_next_ones_less_often(void **state)
{
    (void)state;
    struct fixture     f;
    sgi_runtime_config config = host_config();
    config.backoff_ms = 60000;
    config.backoff_max_ms = 60000;
    set_up_with(&f, &config, 0);

    atomic_store(&f.engine.fail[ENGINE_START], SGI_E_ENGINE);
    assert_int_equal(host_acquire_fails(f.rt, f.model, &f.err), SGI_E_ENGINE);
    assert_int_equal(f.err.retry_after_ms, 0);
    host_wait_state(f.rt, f.model, SGI_MODEL_COLD);
    assert_int_equal(host_acquire_fails(f.rt, f.model, &f.err), SGI_E_ENGINE);
    assert_true(f.err.retry_after_ms > 50000 && f.err.retry_after_ms <= 60000);
    assert_int_equal(test_engine_count(&f.engine, ENGINE_START), 2);
    host_wait_state(f.rt, f.model, SGI_MODEL_FAILED);
    assert_int_equal(host_acquire_fails(f.rt, f.model, &f.err),
                     SGI_E_ENGINE); /* refused without a try, with the cause */
    host_error_is(&f.err, SGI_E_ENGINE, SGI_STEP_START, "'engine'");
    assert_int_equal(test_engine_count(&f.engine, ENGINE_START), 2);
    sgi_model_state s = host_state(f.rt, f.model);
    assert_true(s.failures_count == 2 && s.last_error == SGI_E_ENGINE && s.retry_after_ms > 50000);
    tear_down(&f);
}

static void idle_times_are_the_leases_then_the_models_then_the_runtimes(void **state)
{
    (void)state;
    struct fixture     f;
    sgi_runtime_config config = host_config();
    config.idle_timeout_ms = 50000;
    set_up_with(&f, &config, 0);
    sgi_acquire_options o = options();
    sgi_lease           lease = 0;

    host_release(f.rt, host_acquire(f.rt, f.plain));
    uint32_t left = host_state(f.rt, f.plain).idle_left_ms;
    assert_true(left > 40000 && left <= 50000);
    sgi_model_config mc = host_model("short", file.path, NULL);
    mc.idle_timeout_ms = 20000;
    sgi_model model = host_register(f.rt, &mc);
    host_release(f.rt, host_acquire(f.rt, model));
    left = host_state(f.rt, model).idle_left_ms;
    assert_true(left > 10000 && left <= 20000);
    o.idle_timeout_ms = 90000;
    assert_int_equal(sgi_model_acquire_wait(f.rt, model, &o, &lease, &f.err), SGI_OK);
    host_release(f.rt, lease);
    left = host_state(f.rt, model).idle_left_ms;
    assert_true(left > 80000 && left <= 90000);
    o.idle_timeout_ms = SGI_IDLE_NEVER;
    assert_int_equal(sgi_model_try_acquire(f.rt, model, &o, &lease), SGI_OK);
    host_release(f.rt, lease);
    assert_int_equal(host_state(f.rt, model).idle_left_ms, SGI_IDLE_NEVER);
    o.idle_timeout_ms = SGI_IDLE_NOW;
    assert_int_equal(sgi_model_try_acquire(f.rt, model, &o, &lease), SGI_OK);
    host_release(f.rt, lease);
    host_wait_state(f.rt, model, SGI_MODEL_COLD);
    tear_down(&f);
}

static void looking_does_not_touch_the_idle_timer(void **state)
{
    (void)state;
    struct fixture     f;
    sgi_runtime_config config = host_config();
    config.idle_timeout_ms = 60;
    set_up_with(&f, &config, 0);

    host_release(f.rt, host_acquire(f.rt, f.plain));
    host_wait_state(f.rt, f.plain, SGI_MODEL_COLD); /* it is asked for its state all the time */
    assert_int_equal(host_info(f.rt).device_bytes, 0);
    tear_down(&f);
}

static void an_overdue_lease_loses_its_calls_and_nothing_else(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    sgi_acquire_options o = options();
    struct test_request request = { .kind = REQUEST_POLL };
    sgi_lease           lease = 0;
    sgi_call            call = 0;

    o.lease_ms = 30;
    assert_int_equal(sgi_model_acquire_wait(f.rt, f.model, &o, &lease, &f.err), SGI_OK);
    assert_int_equal(sgi_call_begin(f.rt, lease, &request, sizeof request, 0, &call, &f.err), SGI_OK);
    sgi_completion c = host_next(f.rt);
    assert_true(c.kind == SGI_COMPLETION_CALL && c.status == SGI_E_CANCELED);
    assert_int_equal(host_state(f.rt, f.model).leases_count, 1); /* what is in use is not freed */
    host_same_bytes(f.rt, f.model, lease, &file);
    assert_int_equal(sgi_call_end(f.rt, call), SGI_OK);
    host_release(f.rt, lease);
    tear_down(&f);
}

/* ---- tiers ---- */

static void prefetch_evict_and_pin_by_tier(void **state)
{
    (void)state;
    struct fixture     f;
    sgi_runtime_config config = host_config();
    config.dram_bytes_max = MIB(64);
    set_up_with(&f, &config, 0);
    sgi_ticket ticket;

    assert_int_equal(sgi_model_prefetch(f.rt, f.plain, SGI_TIER_DRAM, NULL, &ticket, NULL, NULL, NULL), SGI_OK);
    assert_int_equal(host_next(f.rt).status, SGI_OK);
    host_wait_state(f.rt, f.plain, SGI_MODEL_COLD);
    assert_int_equal(host_state(f.rt, f.plain).tier, SGI_TIER_DRAM);
    assert_int_equal(host_info(f.rt).device_bytes, 0);
    assert_int_equal(host_info(f.rt).dram_bytes, host_state(f.rt, f.plain).dram_bytes);
    sgi_lease lease = host_acquire(f.rt, f.plain);
    host_same_bytes(f.rt, f.plain, lease, &file);
    assert_int_equal(host_timing(f.rt, lease).tier, SGI_TIER_DRAM);
    assert_int_equal(host_state(f.rt, f.plain).tier, SGI_TIER_DEVICE);
    assert_int_equal(sgi_model_evict(f.rt, f.plain, SGI_TIER_DRAM), SGI_E_BUSY);
    host_release(f.rt, lease);
    assert_int_equal(sgi_model_pin(f.rt, f.plain, SGI_TIER_DEVICE, NULL), SGI_OK);
    assert_int_equal(sgi_model_evict(f.rt, f.plain, SGI_TIER_DRAM), SGI_OK); /* the stronger word */
    host_wait_state(f.rt, f.plain, SGI_MODEL_COLD);
    assert_int_equal(host_state(f.rt, f.plain).tier, SGI_TIER_DRAM);
    assert_int_equal(sgi_model_pin(f.rt, f.plain, SGI_TIER_DISK, NULL), SGI_OK);
    assert_int_equal(sgi_model_evict(f.rt, f.plain, SGI_EVICT_ALL), SGI_OK);
    assert_int_equal(sgi_model_evict(f.rt, f.plain, SGI_EVICT_ALL), SGI_OK); /* nothing to do is fine too */
    tear_down(&f);
}

static void what_cannot_begin_says_why(void **state)
{
    (void)state;
    struct fixture     f;
    sgi_runtime_config config = host_config();
    config.dram_bytes_max = KIB(64);
    config.requests_max = 1;
    set_up_with(&f, &config, 0);
    sgi_error           err = { .struct_size = sizeof err };
    sgi_acquire_options o;
    sgi_ticket          ticket;

    assert_int_equal(sgi_model_pin(f.rt, f.plain, SGI_TIER_DRAM, &err), SGI_E_NO_ROOM);
    host_error_is(&err, SGI_E_NO_ROOM, SGI_STEP_NONE, "65536");
    assert_null(strstr(err.message, "other pins")); /* there are none */
    assert_int_equal(sgi_model_pin(f.rt, f.plain, 7, &err), SGI_E_INVALID);
    host_error_is(&err, SGI_E_INVALID, SGI_STEP_NONE, "tier 7");
    assert_int_equal(sgi_model_prefetch(f.rt, f.plain, SGI_TIER_DISK, NULL, &ticket, NULL, NULL, &err), SGI_E_INVALID);
    host_error_is(&err, SGI_E_INVALID, SGI_STEP_NONE, "0 is no tier");
    sgi_acquire_options_init(&o, sizeof o);
    o.device_hint = 9;
    assert_int_equal(sgi_model_acquire(f.rt, f.plain, &o, &ticket, NULL, NULL, &err), SGI_E_INVALID);
    host_error_is(&err, SGI_E_INVALID, SGI_STEP_NONE, "device_hint 9");
    assert_int_equal(sgi_model_acquire(f.rt, 12345, NULL, &ticket, NULL, NULL, &err), SGI_E_STALE);
    host_error_is(&err, SGI_E_STALE, SGI_STEP_NONE, "no model 0x3039");
    assert_int_equal(sgi_model_acquire(f.rt, f.plain, NULL, &ticket, NULL, NULL, &err), SGI_OK);
    assert_int_equal(sgi_model_acquire(f.rt, f.plain, NULL, &ticket, NULL, NULL, &err), SGI_E_BUSY);
    host_error_is(&err, SGI_E_BUSY, SGI_STEP_NONE, "requests_max");
    assert_int_equal(sgi_model_acquire(f.rt, 12345, NULL, &ticket, NULL, NULL, &err), SGI_E_STALE);
    host_release(f.rt, host_next(f.rt).lease);
    tear_down(&f);
}

static void a_hint_says_where_to_load(void **state)
{
    (void)state;
    struct fixture     f;
    sgi_device_config  devices[] = { { .struct_size = sizeof *devices, .name = "host:0", .bytes_max = MIB(32) },
                                     { .struct_size = sizeof *devices, .name = "host:7", .bytes_max = MIB(32) } };
    sgi_runtime_config config = host_config();
    config.devices = devices;
    config.devices_count = 2;
    set_up_with(&f, &config, 0);
    sgi_acquire_options o = options();
    sgi_lease           lease = 0;

    o.device_hint = 1;
    assert_int_equal(sgi_model_acquire_wait(f.rt, f.plain, &o, &lease, &f.err), SGI_OK);
    assert_int_equal(host_state(f.rt, f.plain).device, 1);
    assert_true(host_device(f.rt, 1).bytes_used > 0 && host_device(f.rt, 0).bytes_used == 0);
    assert_string_equal(host_device(f.rt, 1).name, "host:7");
    host_release(f.rt, lease);
    lease = host_acquire(f.rt, f.plain); /* warm first, wherever that is */
    assert_int_equal(host_state(f.rt, f.plain).device, 1);
    host_release(f.rt, lease);
    lease = host_acquire(f.rt, f.big); /* else where there is more room */
    assert_int_equal(host_state(f.rt, f.big).device, 0);
    host_release(f.rt, lease);
    sgi_device_info none = { .struct_size = sizeof none };
    assert_int_equal(sgi_device_query(f.rt, 2, &none), SGI_E_NOT_FOUND);
    tear_down(&f);
}

static int make_files(void **state)
{
    (void)state;
    test_folder_make(&folder);
    test_file_make_one(&file, &folder, "a.safetensors", MIB(2) + 5000);
    test_file_make_one(&big_file, &folder, "big.safetensors", MIB(9));
    return 0;
}

static int remove_files(void **state)
{
    (void)state;
    test_file_free(&file);
    test_file_free(&big_file);
    test_folder_remove(&folder);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sixteen_callers_share_one_load),
        cmocka_unit_test(a_waiter_that_leaves_does_not_hurt_the_rest),
        cmocka_unit_test(the_last_waiters_cancel_ends_the_load),
        cmocka_unit_test(leases_max_is_kept),
        cmocka_unit_test(by_default_an_engine_has_one_lease_and_weights_any_number),
        cmocka_unit_test(try_acquire_never_loads),
        cmocka_unit_test(a_deadline_ends_the_wait_and_says_where_it_was),
        cmocka_unit_test(requests_max_is_a_limit_that_says_so),
        cmocka_unit_test(what_can_never_fit_is_refused_with_the_numbers),
        cmocka_unit_test(an_idle_model_makes_room_and_a_busy_one_does_not),
        cmocka_unit_test(no_completion_is_lost_and_the_fd_tells_truly),
        cmocka_unit_test(done_comes_once_on_a_thread_of_the_library),
        cmocka_unit_test(a_slow_done_callback_delays_nobody_else),
        cmocka_unit_test(a_failed_acquire_tells_its_callback_why),
        cmocka_unit_test(early_grants_before_the_bytes_and_each_tensor_is_waited_for),
        cmocka_unit_test(an_early_lease_of_a_load_that_fails_is_good_for_release_only),
        cmocka_unit_test(the_first_failure_is_tried_again_at_once_and_the_next_ones_less_often),
        cmocka_unit_test(idle_times_are_the_leases_then_the_models_then_the_runtimes),
        cmocka_unit_test(looking_does_not_touch_the_idle_timer),
        cmocka_unit_test(an_overdue_lease_loses_its_calls_and_nothing_else),
        cmocka_unit_test(prefetch_evict_and_pin_by_tier),
        cmocka_unit_test(what_cannot_begin_says_why),
        cmocka_unit_test(a_hint_says_where_to_load),
    };
    return cmocka_run_group_tests_name("acquire", tests, make_files, remove_files);
}
