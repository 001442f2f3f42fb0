/* SPDX-License-Identifier: Apache-2.0 */
/* Those who look: they move nothing, wait for nothing, and are told what they missed. And what they get stays bounded,
 * and adds up, however many models come and go meanwhile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/fault.h"
#include "observing.h"

static struct test_folder folder;
static struct test_file   file;

/* ---- reading ---- */

static void reading_leaves_the_idle_timer_alone(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    sgi_model   m = host_add(f.rt, "m", file.path, NULL);
    struct text t = { 0 };
    sgi_event   e = { .struct_size = sizeof e };

    host_release(f.rt, host_acquire(f.rt, m));
    for (uint32_t ms = 0; ms < IDLE_MS; ms += 100) {
        assert_int_equal(host_state(f.rt, m).idle_left_ms, IDLE_MS - ms);
        struct text now = metrics(f.rt);
        free(now.data);
        assert_int_equal(sgi_trace_write(f.rt, collect, &t), SGI_OK);
        while (sgi_events_read(f.rt, f.events, &e) == SGI_OK) {
        }
        assert_int_equal(host_state(f.rt, m).idle_left_ms, IDLE_MS - ms);
        assert_int_equal(host_state(f.rt, m).state, SGI_MODEL_READY);
        advance(&f, 100);
    }
    host_wait_state(f.rt, m, SGI_MODEL_COLD);
    free(t.data);
    tear_down(&f);
}

static void a_slow_reader_loses_the_oldest_and_holds_nobody_up(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    sgi_model  m = host_add(f.rt, "m", file.path, NULL);
    sgi_events slow = 0;
    sgi_event  e = { .struct_size = sizeof e };
    int        fd = -1;

    expect(&f, "registered");
    assert_int_equal(sgi_events_open(f.rt, 2, 0, &slow, &f.err), SGI_OK);
    assert_int_equal(sgi_events_fd(f.rt, slow, &fd), SGI_OK);
    struct pollfd p = { .fd = fd, .events = POLLIN };
    assert_int_equal(poll(&p, 1, 0), 0);
    host_release(f.rt, host_acquire(f.rt, m)); /* eight of them, the last being "granted" and "idle" */
    assert_int_equal(poll(&p, 1, 0), 1);
    is(&f, "sgi_events_dropped_total", 6);
    is(&f, "sgi_event_readers", 2);
    assert_int_equal(sgi_events_read(f.rt, slow, &e), SGI_OK);
    assert_true(e.kind == SGI_EVENT_GRANTED && e.dropped == 6);
    assert_int_equal(poll(&p, 1, 0), 1);
    assert_int_equal(sgi_events_read(f.rt, slow, &e), SGI_OK);
    assert_true(e.kind == SGI_EVENT_IDLE && e.dropped == 0);
    assert_int_equal(poll(&p, 1, 0), 0);
    assert_int_equal(sgi_events_read(f.rt, slow, &e), SGI_E_WOULD_BLOCK);
    assert_int_equal(e.kind, SGI_EVENT_IDLE); /* outputs are written only on success */
    expect(&f, "queued device_open admitted load_start load_done ready granted idle"); /* the other one has them all */
    assert_int_equal(sgi_events_close(f.rt, slow), SGI_OK);
    assert_int_equal(sgi_events_close(f.rt, slow), SGI_E_STALE);
    assert_int_equal(sgi_events_read(f.rt, slow, &e), SGI_E_STALE);
    assert_int_equal(sgi_events_fd(f.rt, slow, &fd), SGI_E_STALE);
    tear_down(&f);
}

static void readers_are_bounded_and_their_ids_are_their_own(void **state)
{
    (void)state;
    struct fixture f, other;
    set_up(&f);
    set_up(&other);
    sgi_events readers[SGI_EVENTS_READERS_MAX], one_more = 0;
    sgi_model  m = host_add(f.rt, "m", file.path, NULL);
    sgi_event  e = { .struct_size = sizeof e }, unset = { 0 };

    for (uint32_t n = 1; n < SGI_EVENTS_READERS_MAX; n++)
        assert_int_equal(sgi_events_open(f.rt, 1, 0, &readers[n], &f.err), SGI_OK);
    assert_int_equal(sgi_events_open(f.rt, 1, 0, &one_more, &f.err), SGI_E_BUSY);
    host_error_is(&f.err, SGI_E_BUSY, SGI_STEP_NONE, "16 readers");
    assert_int_equal(sgi_events_close(f.rt, readers[3]), SGI_OK);
    assert_int_equal(sgi_events_open(f.rt, 1, 0, &one_more, &f.err), SGI_OK);
    assert_true(one_more != readers[3]);
    assert_int_equal(sgi_events_read(f.rt, readers[3], &e), SGI_E_STALE);
    assert_int_equal(sgi_events_read(f.rt, other.events, &e), SGI_E_STALE);
    assert_int_equal(sgi_events_read(f.rt, m, &e), SGI_E_STALE);
    assert_int_equal(sgi_events_read(f.rt, 0, &e), SGI_E_STALE);
    assert_int_equal(sgi_call_end(f.rt, one_more), SGI_E_STALE);
    assert_int_equal(sgi_lease_release(f.rt, one_more), SGI_E_STALE);
    assert_int_equal(sgi_events_read(f.rt, one_more, NULL), SGI_E_INVALID);
    assert_int_equal(sgi_events_read(f.rt, one_more, &unset), SGI_E_INVALID);
    assert_int_equal(sgi_events_open(f.rt, SGI_EVENTS_RECORDS_MAX + 1, 0, &one_more, &f.err), SGI_E_INVALID);
    assert_int_equal(sgi_events_open(f.rt, 1, 1, &one_more, &f.err), SGI_E_INVALID);
    assert_int_equal(sgi_events_open(f.rt, 1, UINT64_C(1) << 63, &one_more, &f.err), SGI_E_INVALID);
    host_error_is(&f.err, SGI_E_INVALID, SGI_STEP_NONE, "kinds");
    tear_down(&other);
    tear_down(&f); /* with its readers open */
}

static void no_memory_and_no_descriptor_are_said(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    sgi_events  events = 0;
    struct text t = { 0 };
    int         fd = -1;

    sgi__fault_plan(SGI__FAULT_ALLOC, 1, 1, 1);
    assert_int_equal(sgi_events_open(f.rt, 9, 0, &events, &f.err), SGI_E_NO_MEMORY);
    sgi__fault_plan(SGI__FAULT_ALLOC, 1, 1, 1);
    assert_int_equal(sgi_metrics_write(f.rt, collect, &t), SGI_E_NO_MEMORY);
    assert_int_equal(t.bytes, 0);
    sgi__fault_clear();
    assert_int_equal(sgi_events_open(f.rt, 9, 0, &events, &f.err), SGI_OK);
    sgi__fault_plan(SGI__FAULT_EVENTFD, 1, 1, 1);
    assert_int_equal(sgi_events_fd(f.rt, events, &fd), SGI_E_SYSTEM);
    sgi__fault_clear();
    assert_int_equal(sgi_events_fd(f.rt, events, &fd), SGI_OK);
    tear_down(&f);
}

/* ---- many ---- */

static uint32_t lines_of(struct fixture *f, size_t *bytes_out)
{
    struct text t = metrics(f->rt);
    uint32_t    lines = 0;
    for (const char *c = t.data; *c; c++)
        lines += *c == '\n';
    *bytes_out = t.bytes;
    free(t.data);
    return lines;
}

static void a_thousand_models_make_no_longer_output_than_a_hundred(void **state)
{
    (void)state;
    enum { MANY = 1000, LOADED = 300 };
    struct fixture f;
    set_up(&f);
    static sgi_model models[MANY];
    char             name[32];
    size_t           bytes = 0, more_bytes = 0;
    uint32_t         lines = 0;

    for (uint32_t n = 0; n < MANY; n++) {
        snprintf(name, sizeof name, "m%03u", n);
        models[n] = host_add(f.rt, name, file.path, NULL);
        if (n == SGI_METRICS_MODELS_MAX - 1)
            lines = lines_of(&f, &bytes);
    }
    assert_int_equal(lines_of(&f, &more_bytes), lines);
    assert_int_equal(more_bytes, bytes + 1); /* "1000 models are cold" */
    is(&f, "sgi_models{state=\"cold\"}", MANY);

    /* The ones that have no series of their own are in the sum; none is forgotten when it goes. */
    for (uint32_t n = 0; n < MANY; n += MANY / 10)
        host_release(f.rt, host_acquire(f.rt, models[n]));
    is(&f, "sgi_acquire_total{model=\"m000\",result=\"ok\",path=\"disk\"}", 1);
    is(&f, "sgi_acquire_total{model=\"\",result=\"ok\",path=\"disk\"}", 9);
    double image = metric(f.rt, "sgi_resident_bytes{model=\"m000\",tier=\"device\"}");
    is(&f, "sgi_resident_bytes{model=\"\",tier=\"device\"}", 9 * image);
    host_release(f.rt, host_acquire(f.rt, models[0]));
    is(&f, "sgi_acquire_total{model=\"m000\",result=\"ok\",path=\"hit\"}", 1);
    is(&f, "sgi_acquire_total{model=\"\",result=\"ok\",path=\"hit\"}", 0);
    assert_int_equal(sgi_model_unregister(f.rt, models[0], HOST_WAIT_MS, &f.err), SGI_OK);
    is(&f, "sgi_acquire_total{model=\"\",result=\"ok\",path=\"hit\"}", 1);
    assert_int_equal(sgi_model_unregister(f.rt, models[500], HOST_WAIT_MS, &f.err), SGI_OK);
    is(&f, "sgi_acquire_total{model=\"\",result=\"ok\",path=\"disk\"}", 10);
    is(&f, "sgi_resident_bytes{model=\"\",tier=\"device\"}", 8 * image);
    host_add(f.rt, "next", file.path, NULL); /* takes the series that has become free */
    is(&f, "sgi_acquire_total{model=\"next\",result=\"ok\",path=\"disk\"}", 0);
    assert_int_equal(lines_of(&f, &more_bytes), lines);
    tear_down(&f);
}

/* ---- at once ---- */

struct crowd {
    sgi_runtime *rt;
    sgi_model    models[4];
    atomic_int   stop;
    atomic_uint  uses, bad, read;
};

static int count_bytes(void *user, const char *text, size_t bytes)
{
    (void)text;
    *(size_t *)user += bytes;
    return 0;
}

static int count_samples(void *user, const sgi_sample *sample)
{
    *(size_t *)user += sample->struct_size;
    return 0;
}

static void *watch(void *arg)
{
    struct crowd *c = arg;
    size_t        bytes = 0;

    while (!atomic_load(&c->stop)) {
        sgi_events events = 0;
        sgi_event  e = { .struct_size = sizeof e };
        uint64_t   time_ns = 0;
        if (sgi_events_open(c->rt, 16, 0, &events, NULL) != SGI_OK)
            continue;
        for (int n = 0; n < 200; n++) {
            sgi_status st = sgi_events_read(c->rt, events, &e);
            if ((st != SGI_OK && st != SGI_E_WOULD_BLOCK) || (st == SGI_OK && e.time_ns < time_ns))
                atomic_fetch_add(&c->bad, 1);
            if (st == SGI_OK) {
                time_ns = e.time_ns;
                atomic_fetch_add(&c->read, 1);
            } else {
                sched_yield(); /* there is something to read when others have done something */
            }
        }
        if (sgi_metrics_write(c->rt, count_bytes, &bytes) != SGI_OK ||
            sgi_metrics_snapshot(c->rt, count_samples, &bytes) != SGI_OK ||
            sgi_trace_write(c->rt, count_bytes, &bytes) != SGI_OK || sgi_events_close(c->rt, events) != SGI_OK)
            atomic_fetch_add(&c->bad, 1);
    }
    return NULL;
}

static void *use(void *arg)
{
    struct crowd *c = arg;

    for (uint32_t n = 0; n < 150 || atomic_load(&c->read) == 0; n++) {
        sgi_lease lease = 0;
        atomic_fetch_add(&c->uses, 1);
        if (sgi_model_acquire_wait(c->rt, c->models[n % 3], NULL, &lease, NULL) == SGI_OK &&
            sgi_lease_release(c->rt, lease) != SGI_OK)
            atomic_fetch_add(&c->bad, 1);
        if (n % 3 == 0)
            sgi_model_evict(c->rt, c->models[n % 2], n % 2 ? SGI_TIER_DRAM : SGI_EVICT_ALL);
    }
    return NULL;
}

static void readers_and_loads_do_not_disturb_each_other(void **state)
{
    (void)state;
    enum { WATCHERS = 3, USERS = 3 };
    struct fixture     f;
    struct crowd       c = { 0 };
    pthread_t          watchers[WATCHERS], users[USERS];
    sgi_runtime_config config = observe_config();
    double             sum = 0;

    config.idle_timeout_ms = SGI_IDLE_NEVER; /* the clock stands still */
    open_over(&f, &config, NULL);
    c.rt = f.rt;
    for (uint32_t n = 0; n < 3; n++)
        c.models[n] = host_add(f.rt, (const char *[]){ "a", "b", "c" }[n], file.path, NULL);
    for (uint32_t n = 0; n < WATCHERS; n++)
        pthread_create(&watchers[n], NULL, watch, &c);
    for (uint32_t n = 0; n < USERS; n++)
        pthread_create(&users[n], NULL, use, &c);
    for (uint32_t n = 0; n < 20; n++) { /* models come and go while they are counted */
        sgi_model m = host_add(f.rt, "passing", file.path, NULL);
        host_release(f.rt, host_acquire(f.rt, m));
        assert_int_equal(sgi_model_unregister(f.rt, m, HOST_WAIT_MS, &f.err), SGI_OK);
    }
    for (uint32_t n = 0; n < USERS; n++)
        pthread_join(users[n], NULL);
    atomic_store(&c.stop, 1);
    for (uint32_t n = 0; n < WATCHERS; n++)
        pthread_join(watchers[n], NULL);
    assert_int_equal(atomic_load(&c.bad), 0);
    static const char *const paths[] = { "hit", "join", "ram", "disk" };
    for (uint32_t n = 0; n < 4; n++)
        sum += acquires(&f, "a", "ok", paths[n]) + acquires(&f, "b", "ok", paths[n]) +
               acquires(&f, "c", "ok", paths[n]) + acquires(&f, "", "ok", paths[n]);
    assert_true(sum == (double)atomic_load(&c.uses) + 20); /* every one of them, once */
    tear_down(&f);
}

static int make_files(void **state)
{
    (void)state;
    test_folder_make(&folder);
    test_file_make_one(&file, &folder, "m.safetensors", MIB(1) + 77);
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
        cmocka_unit_test(reading_leaves_the_idle_timer_alone),
        cmocka_unit_test(a_slow_reader_loses_the_oldest_and_holds_nobody_up),
        cmocka_unit_test(readers_are_bounded_and_their_ids_are_their_own),
        cmocka_unit_test(no_memory_and_no_descriptor_are_said),
        cmocka_unit_test(a_thousand_models_make_no_longer_output_than_a_hundred),
        cmocka_unit_test(readers_and_loads_do_not_disturb_each_other),
    };
    return cmocka_run_group_tests_name("readers", tests, make_files, remove_files);
}
