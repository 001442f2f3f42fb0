/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first fault loop: a runtime's whole life, from open to close, and in it every Nth passing of every fault point
 * fails, for
 * N = 1, 2, ... until a run passes the point fewer than N times. Whatever fails says so truly, nothing is left
 * behind or stuck, and once the cause is gone the next acquire works. Each point fails once, and from the Nth time on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "support/host.h"

enum { N_MAX = 2000, STATUSES_MAX = 3 };

static struct test_folder folder;
static struct test_shards shards;
static sgi_tensor_check   checks[4];

/* A point, the value it fails with, and what may be said when it does. */
struct point {
    const char           *name;
    enum sgi__fault_point point;
    int                   value;
    sgi_status            may_say[STATUSES_MAX]; /* none: it must be survived */
    uint32_t              io_engine;
};

struct run {
    const struct point *p;
    uint64_t            nth, times;
    uint32_t            failures;
    struct test_engine  engine;
    sgi_runtime        *rt;
    sgi_model           model;
};

/* OK, or true: one of what the point may lead to, with words. */
static bool good(struct run *r, const char *what, sgi_status st, const sgi_error *err)
{
    if (st == SGI_OK)
        return true;
    r->failures++;
    bool expected = false;
    for (int n = 0; n < STATUSES_MAX; n++)
        expected |= r->p->may_say[n] != SGI_OK && r->p->may_say[n] == st;
    if (!expected)
        fail_msg("%s, failing %llu: %s said %s (%s)", r->p->name, (unsigned long long)r->nth, what, sgi_status_name(st),
                 err ? err->message : "");
    if (err && (err->code != st || strlen(err->message) == 0))
        fail_msg("%s, failing %llu: %s said %s, and its error %s '%s'", r->p->name, (unsigned long long)r->nth, what,
                 sgi_status_name(st), sgi_status_name(err->code), err->message);
    return false;
}

static void use_lease(struct run *r, sgi_lease lease)
{
    struct test_request request = { .kind = REQUEST_EMIT, .pieces = 5, .piece_bytes = 100 };
    sgi_error           err = { .struct_size = sizeof err };
    sgi_image           image = { .struct_size = sizeof image };
    sgi_call            call = 0;
    char                buffer[512];
    size_t              bytes, total = 0;

    host_same_bytes(r->rt, r->model, lease, shards.shards); /* granted means right, whatever failed on the way */
    if (good(r, "image", sgi_lease_image(r->rt, lease, 0, &image, &err), &err))
        close(image.fd);
    if (good(r, "blocking call", sgi_lease_call(r->rt, lease, &request, sizeof request, SGI_FOREVER, NULL, NULL, &err),
             &err) &&
        good(r, "call", sgi_call_begin(r->rt, lease, &request, sizeof request, 0, &call, &err), &err)) {
        sgi_status st;
        while ((st = sgi_call_read(r->rt, call, buffer, sizeof buffer, &bytes, &err)) == SGI_OK ||
               st == SGI_E_WOULD_BLOCK)
            total += st == SGI_OK ? bytes : 0;
        assert_true(st == SGI_E_END && total == 500);
        assert_int_equal(sgi_call_end(r->rt, call), SGI_OK);
    }
}

struct done {
    struct gate gate;
    sgi_status  status;
    sgi_lease   lease;
    sgi_error   error;
};

static void on_done(void *user, const sgi_completion *c)
{
    struct done *d = user;
    d->status = c->status;
    d->lease = c->lease;
    d->error = c->error;
    gate_pass(&d->gate);
}

static void acquire_with_callback(struct run *r)
{
    struct done d = { .status = SGI_OK };
    gate_init(&d.gate);
    if (good(r, "acquire", sgi_model_acquire(r->rt, r->model, NULL, NULL, on_done, &d, NULL), NULL)) {
        gate_wait_arrived(&d.gate, 1);
        while (gate_passed(&d.gate) == 0) {
        }
        if (good(r, "acquired", d.status, &d.error)) {
            host_same_bytes(r->rt, r->model, d.lease, shards.shards);
            host_release(r->rt, d.lease);
        }
    }
    gate_fini(&d.gate);
}

static bool is_quiet(void *user)
{
    struct run     *r = user;
    sgi_model_state s = host_state(r->rt, r->model);
    return s.state != SGI_MODEL_STOPPING && s.state != SGI_MODEL_LOADING && s.state != SGI_MODEL_QUEUED;
}

static void quiet(struct run *r)
{
    test_wait_until(is_quiet, r, "the model is stuck");
}

static void evict(struct run *r, uint32_t tier)
{
    quiet(r);
    sgi_status      st = sgi_model_evict(r->rt, r->model, tier);
    sgi_model_state s = host_state(r->rt, r->model);
    if (st != SGI_OK)
        fail_msg("%s, failing %llu: evict said %s; state %u, %u leases, %u calls out, %u requests", r->p->name,
                 (unsigned long long)r->nth, sgi_status_name(st), s.state, s.leases_count, s.calls_out,
                 s.requests_waiting);
    quiet(r);
}

static void live(struct run *r)
{
    sgi_error      err = { .struct_size = sizeof err };
    sgi_lease      lease = 0;
    sgi_completion c = { .struct_size = sizeof c };
    int            fd = -1;

    good(r, "completion fd", sgi_completion_fd(r->rt, &fd), NULL);
    if (good(r, "cold acquire", sgi_model_acquire_wait(r->rt, r->model, NULL, &lease, &err), &err)) {
        use_lease(r, lease);
        host_release(r->rt, lease);
    }
    quiet(r);
    evict(r, SGI_TIER_DRAM);
    if (good(r, "warm acquire", sgi_model_acquire_wait(r->rt, r->model, NULL, &lease, &err), &err))
        host_release(r->rt, lease);
    evict(r, SGI_EVICT_ALL);
    acquire_with_callback(r);
    evict(r, SGI_TIER_DISK);
    if (good(r, "prefetch", sgi_model_prefetch(r->rt, r->model, SGI_TIER_DRAM, NULL, NULL, NULL, NULL, NULL), NULL)) {
        while (sgi_completion_next(r->rt, &c) == SGI_E_WOULD_BLOCK) {
        }
        good(r, "prefetched", c.status, &c.error);
    }
    quiet(r);
}

/* What the fault has left must be as good as new. */
static void still_works(struct run *r)
{
    sgi_lease lease = 0;
    sgi_error err = { .struct_size = sizeof err };
    while (sgi_model_acquire_wait(r->rt, r->model, NULL, &lease, &err) != SGI_OK)
        if (err.retry_after_ms == 0) /* else it is backing off */
            fail_msg("%s, failing %llu: afterwards: %s", r->p->name, (unsigned long long)r->nth, err.message);
    use_lease(r, lease);
    host_release(r->rt, lease);
    evict(r, SGI_EVICT_ALL);
    host_wait_threads(r->rt, 1);
    sgi_runtime_info info = host_info(r->rt);
    assert_true(info.device_bytes == 0 && info.dram_bytes == 0 && info.prepared_bytes == 0);
    assert_true(info.leases_count == 0 && info.calls_count == 0 && info.requests_waiting == 0 &&
                info.loads_running == 0);
}

static bool open_and_register(struct run *r)
{
    sgi_runtime_config config = host_config();
    sgi_error          err = { .struct_size = sizeof err };

    config.dram_bytes_max = MIB(32);
    config.io_engine = r->p->io_engine;
    config.backoff_ms = config.backoff_max_ms = 1;
    config.read_block_bytes = KIB(64);
    config.requests_max = 8; /* what is made for each of them at open fails alike */
    config.calls_max = 4;
    if (!good(r, "open", sgi_runtime_open(&config, &r->rt, &err), &err)) {
        assert_null(r->rt);
        return false;
    }
    sgi_model_config mc = host_model("m", shards.path, &r->engine);
    mc.flags = SGI_IMAGE_FD;
    mc.engine_bytes = KIB(64);
    mc.checks = checks;
    mc.checks_count = 4;
    if (good(r, "register", sgi_model_register(r->rt, &mc, &r->model, &err), &err))
        return true;
    assert_int_equal(r->model, 0);
    assert_int_equal(host_info(r->rt).models_count, 0);
    sgi__fault_clear();
    r->model = host_register(r->rt, &mc); /* its name is still free */
    return true;
}

static uint32_t open_descriptors(void)
{
    DIR     *dir = opendir("/proc/self/fd");
    uint32_t count = 0;
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

/* Whether the fault came at all. */
static bool one_run(const struct point *p, uint64_t nth, uint64_t times, bool from_open)
{
    struct run r = { .p = p, .nth = nth, .times = times };
    uint32_t   descriptors = open_descriptors();

    test_engine_init(&r.engine, true, true);
    r.engine.alloc_bytes = KIB(16);
    r.engine.look = true;
    if (from_open)
        sgi__fault_plan(p->point, nth, times, p->value);
    if (open_and_register(&r)) {
        if (!from_open)
            sgi__fault_plan(p->point, nth, times, p->value);
        live(&r);
        uint64_t passed = sgi__fault_passed(p->point);
        sgi__fault_clear();
        still_works(&r);
        host_close(r.rt);
        test_engine_fini(&r.engine);
        assert_int_equal(open_descriptors(), descriptors);
        return passed >= nth || r.failures > 0;
    }
    sgi__fault_clear();
    test_engine_fini(&r.engine);
    assert_int_equal(open_descriptors(), descriptors);
    return true;
}

/* The close itself, and the last release, with the fault on. */
static void the_end_survives(const struct point *p)
{
    struct run r = { .p = p };
    sgi_error  err = { .struct_size = sizeof err };

    test_engine_init(&r.engine, true, true);
    assert_true(open_and_register(&r));
    sgi_lease lease = host_acquire(r.rt, r.model);
    sgi__fault_plan(p->point, 1, UINT64_MAX, p->value);
    host_release(r.rt, lease);
    assert_int_equal(sgi_model_evict(r.rt, r.model, SGI_TIER_DRAM),
                     SGI_OK); /* giving back needs nothing that may fail */
    quiet(&r);
    assert_int_equal(sgi_runtime_close(r.rt, HOST_WAIT_MS, &err), SGI_OK);
    sgi__fault_clear();
    test_engine_fini(&r.engine);
}

/* Where io_uring is not in the build, or refused by the system, no ring is ever set up. */
static bool passes_here(const struct point *p)
{
    sgi_feature uring = { .struct_size = sizeof uring };
    return p->point != SGI__FAULT_RING || (sgi_feature_at(0, &uring) == SGI_OK && uring.usable);
}

static void every_passing_fails_once(void **state)
{
    const struct point *p = *state;
    uint64_t            nth = 1;

    if (!passes_here(p)) {
        print_message("skipped: io_uring is not usable here\n");
        skip();
    }
    while (one_run(p, nth, 1, true)) {
        if (++nth > N_MAX)
            fail_msg("%s: no end", p->name);
    }
    assert_true(nth > 1 || p->point == SGI__FAULT_HEADER);
    print_message("%s: %llu passings\n", p->name, (unsigned long long)nth - 1);
}

static void every_passing_fails_from_there_on(void **state)
{
    const struct point *p = *state;
    for (uint64_t nth = 1; one_run(p, nth, UINT64_MAX, false) && nth < N_MAX;)
        nth += nth < 20 ? 1 : 7;
    the_end_survives(p);
}

static int set_up(void **state)
{
    (void)state;
    test_folder_make(&folder);
    test_shards_make(&shards, &folder, KIB(150));
    sgi_runtime *rt = host_open(NULL);
    sgi_model    model = host_add(rt, "m", shards.path, NULL);
    for (uint64_t n = 0; n < 4; n++) {
        static const char *const names[] = { "a", "b", "c", "d" };
        sgi_tensor               t = { .struct_size = sizeof t };
        if (sgi_model_tensor_find(rt, model, names[n], &t) != SGI_OK)
            return -1;
        checks[n].name = names[n];
        checks[n].xxh3 = test_xxh3(shards.shards[t.part].data + t.file_offset, t.bytes);
    }
    host_close(rt);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    sgi__fault_clear();
    test_shards_free(&shards);
    test_folder_remove(&folder);
    return 0;
}

static int clear_faults(void **state)
{
    (void)state;
    sgi__fault_clear();
    return 0;
}

#define AUTO SGI_IO_AUTO
static struct point points[] = {
    { "alloc", SGI__FAULT_ALLOC, 1, { SGI_E_NO_MEMORY }, AUTO },
    { "map", SGI__FAULT_MAP, ENOMEM, { SGI_E_DEVICE_MEMORY }, AUTO },
    { "memfd", SGI__FAULT_MEMFD, EMFILE, { SGI_E_SYSTEM }, AUTO },
    { "open", SGI__FAULT_OPEN, EMFILE, { SGI_E_IO }, AUTO },
    { "header", SGI__FAULT_HEADER, EIO, { SGI_E_IO }, AUTO },
    { "read, threads", SGI__FAULT_READ, EIO, { SGI_E_IO }, SGI_IO_THREADS },
    { "read, auto", SGI__FAULT_READ, EIO, { SGI_E_IO }, AUTO },
    { "short read", SGI__FAULT_READ_SHORT, 1, { SGI_OK }, AUTO },
    { "corrupt", SGI__FAULT_CORRUPT, 1, { SGI_E_CHECK }, AUTO },
    { "ring", SGI__FAULT_RING, EPERM, { SGI_OK }, AUTO },
    { "thread", SGI__FAULT_THREAD, EAGAIN, { SGI_E_SYSTEM, SGI_E_NO_MEMORY }, AUTO },
    { "eventfd", SGI__FAULT_EVENTFD, EMFILE, { SGI_E_SYSTEM }, AUTO },
    { "reserve", SGI__FAULT_RESERVE, 1, { SGI_E_DEVICE_MEMORY }, AUTO },
    { "context", SGI__FAULT_CONTEXT, 1, { SGI_E_DEVICE }, AUTO },
};

int main(int argc, char **argv)
{
    enum { COUNT = sizeof points / sizeof *points };
    struct CMUnitTest tests[2 * COUNT];
    static char       names[2 * COUNT][64];

    for (int n = 0; n < COUNT; n++) {
        snprintf(names[2 * n], sizeof names[0], "every_passing_fails_once (%s)", points[n].name);
        snprintf(names[2 * n + 1], sizeof names[0], "every_passing_fails_from_there_on (%s)", points[n].name);
        tests[2 * n] = (struct CMUnitTest){ names[2 * n], every_passing_fails_once, NULL, clear_faults, &points[n] };
        tests[2 * n + 1] = (struct CMUnitTest){ names[2 * n + 1], every_passing_fails_from_there_on, NULL, clear_faults,
                                                &points[n] };
    }
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("first loop", tests, set_up, tear_down);
}
