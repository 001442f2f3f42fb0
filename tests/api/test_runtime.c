/* SPDX-License-Identifier: Apache-2.0 */
/* Opening, closing, draining, and several runtimes in one process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/host.h"
#include "waiter.h"

static struct test_folder folder;
static struct test_file   file;

static uint32_t entries(const char *path)
{
    DIR     *dir = opendir(path);
    uint32_t count = 0;
    while (readdir(dir))
        count++;
    closedir(dir);
    return count - 2;
}

static void defaults_open_and_hold_one_thread(void **state)
{
    (void)state;
    host_close(host_open(NULL)); /* a sanitizer's own thread is there from the first one on */
    uint32_t         threads = entries("/proc/self/task"), descriptors = entries("/proc/self/fd");
    sgi_runtime     *rt = host_open(NULL);
    sgi_runtime_info info = host_info(rt);
    sgi_device_info  device = host_device(rt, 0);

    assert_true(info.devices_count == 1 && info.models_count == 0 && info.threads_count == 1);
    assert_true(info.device_bytes == 0 && info.dram_bytes == 0 && info.dram_bytes_max > 0);
    assert_true(strcmp(info.io_engine, "uring") == 0 || strcmp(info.io_engine, "threads") == 0);
    assert_string_equal(device.name, "host:0");
    assert_true(device.bytes_max > 0 && device.context == SGI_CONTEXT_NONE && device.lost == 0);
    assert_int_equal(entries("/proc/self/task"), threads + 1);
    assert_int_equal(entries("/proc/self/fd"), descriptors);
    host_close(rt);
    assert_int_equal(entries("/proc/self/task"), threads); /* joined */
    assert_int_equal(entries("/proc/self/fd"), descriptors);
}

static void refused(const sgi_runtime_config *config, sgi_status code, const char *names)
{
    sgi_runtime *rt = NULL;
    sgi_error    err = { .struct_size = sizeof err };
    assert_int_equal(sgi_runtime_open(config, &rt, &err), code);
    assert_null(rt);
    if (!strstr(err.message, names))
        fail_msg("'%s' does not name '%s'", err.message, names);
}

static void a_config_that_cannot_be_is_refused_by_its_field(void **state)
{
    (void)state;
    sgi_device_config  devices[17];
    sgi_runtime_config good = host_config(), c = good;

    c.requests_max = (1u << 20) + 1;
    refused(&c, SGI_E_INVALID, "requests_max");
    c = good;
    c.calls_max = 4097;
    refused(&c, SGI_E_INVALID, "calls_max");
    c = good;
    c.loads_max = 257;
    refused(&c, SGI_E_INVALID, "loads_max is larger than 256");
    c.loads_max = UINT32_MAX;
    refused(&c, SGI_E_INVALID, "loads_max is larger than 256");
    c = good;
    c.backoff_ms = 200;
    c.backoff_max_ms = 199;
    refused(&c, SGI_E_INVALID, "backoff_max_ms is smaller than backoff_ms");
    c = good;
    c.read_depth = 65;
    refused(&c, SGI_E_INVALID, "read_depth");
    c = good;
    c.read_block_bytes = 4097;
    refused(&c, SGI_E_INVALID, "read_block_bytes");
    c.read_block_bytes = (64u << 20) + 4096;
    refused(&c, SGI_E_INVALID, "read_block_bytes");
    c = good;
    c.io_engine = 3;
    refused(&c, SGI_E_INVALID, "io_engine");
    c = good;
    c.devices_count = 1;
    refused(&c, SGI_E_INVALID, "devices");
    c = good;
    c.allowed_roots_count = 1;
    refused(&c, SGI_E_INVALID, "allowed_roots");
    c = good;
    for (int n = 0; n < 17; n++)
        devices[n] = (sgi_device_config){ .struct_size = sizeof *devices, .name = "host" };
    c.devices = devices;
    c.devices_count = 17;
    refused(&c, SGI_E_INVALID, "devices_count");
    c.devices_count = 2;
    refused(&c, SGI_E_INVALID, "host:0"); /* twice */
    c.devices_count = 1;
    devices[0].name = "cuda:0";
    refused(&c, SGI_E_UNSUPPORTED, "cuda:0");
    devices[0].name = "host:x";
    refused(&c, SGI_E_UNSUPPORTED, "host:x");
    static const char *const others[] = {
        "host:00", "host:01", "host:1000", "host:9999", "host:-1", "host: 1",
        "host:",   "cuda:",   "cuda:01",   "cuda:1000", "cudas",   "gpu:0",
    };
    for (size_t n = 0; n < sizeof others / sizeof *others; n++) {
        devices[0].name = others[n];
        refused(&c, SGI_E_UNSUPPORTED, "': names are 'host', 'host:0' to 'host:999', 'cuda', 'cuda:0'");
    }
    devices[0].name = "";
    refused(&c, SGI_E_INVALID, "name");
    devices[0].name = NULL;
    refused(&c, SGI_E_INVALID, "name");
}

static void sixteen_devices_are_as_configured(void **state)
{
    (void)state;
    sgi_device_config  devices[16];
    char               names[16][16];
    sgi_runtime_config c = host_config();

    for (uint32_t n = 0; n < 16; n++) {
        snprintf(names[n], sizeof names[n], "host:%u", 15 - n);
        devices[n] = (sgi_device_config){ .struct_size = sizeof *devices, .name = names[n], .bytes_max = MIB(n + 1) };
    }
    c.devices = devices;
    c.devices_count = 16;
    sgi_runtime *rt = host_open(&c);
    for (uint32_t n = 0; n < 16; n++) {
        assert_string_equal(host_device(rt, n).name, names[n]);
        assert_int_equal(host_device(rt, n).bytes_max, MIB(n + 1));
    }
    host_close(rt);
}

/* All that the limits allow, at once. */
static void the_largest_limits_work(void **state)
{
    (void)state;
    enum { MODELS = 20 };
    sgi_runtime_config c = host_config();
    sgi_device_config  device = { .struct_size = sizeof device, .name = "host:999" };
    char               name[16];
    c.devices = &device;
    c.devices_count = 1;
    c.requests_max = 1u << 20;
    c.calls_max = 4096;
    c.loads_max = 256;
    sgi_runtime *rt = host_open(&c);
    assert_string_equal(host_device(rt, 0).name, "host:999");
    for (int n = 0; n < MODELS; n++) {
        snprintf(name, sizeof name, "m%d", n);
        sgi_model m = host_add(rt, name, file.path, NULL);
        assert_int_equal(sgi_model_acquire(rt, m, NULL, NULL, NULL, NULL, NULL), SGI_OK);
    }
    for (int n = 0; n < MODELS; n++) {
        sgi_completion end = host_next(rt);
        assert_int_equal(end.status, SGI_OK);
        host_release(rt, end.lease);
    }
    host_close(rt);
}

static void two_runtimes_share_nothing(void **state)
{
    (void)state;
    sgi_runtime_config c = host_config();
    struct test_engine engine;
    test_engine_init(&engine, false, false);
    sgi_runtime *a = host_open(&c), *b = host_open(&c);
    sgi_model    in_a = host_add(a, "same name", file.path, &engine), in_b = host_add(b, "same name", file.path, NULL);

    assert_int_not_equal(in_a, in_b);
    sgi_lease lease_a = host_acquire(a, in_a), lease_b = host_acquire(b, in_b);
    assert_int_equal(sgi_lease_release(b, lease_a), SGI_E_STALE);
    assert_int_equal(sgi_lease_release(a, lease_b), SGI_E_STALE);
    assert_true(host_tensor(a, lease_a, 0).data != host_tensor(b, lease_b, 0).data);
    assert_int_equal(host_info(a).leases_count, 1);
    host_release(a, lease_a);
    host_close(a);
    host_same_bytes(b, in_b, lease_b, &file); /* the other goes on */
    host_release(b, lease_b);
    host_close(b);
    test_engine_fini(&engine);
}

static void load_once(void)
{
    sgi_runtime_config c = host_config();
    sgi_runtime       *rt = host_open(&c);
    sgi_model          model = host_add(rt, "m", file.path, NULL);
    sgi_lease          lease = host_acquire(rt, model);
    host_same_bytes(rt, model, lease, &file);
    host_release(rt, lease);
    host_close(rt);
}

/* Nothing is left of a runtime that was closed: a process may have had some and fork then, as servers do. */
static void a_forked_child_may_open_a_runtime_of_its_own(void **state)
{
    (void)state;
    int status = -1;
    load_once();
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        alarm(TEST_HANG_SECONDS);
        load_once();
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    load_once();
}

/* ---- closing ---- */

static void close_names_who_holds_what_and_succeeds_afterwards(void **state)
{
    (void)state;
    sgi_runtime_config c = host_config();
    sgi_runtime       *rt = host_open(&c);
    sgi_error          err = { .struct_size = sizeof err };
    sgi_model          models[6];
    sgi_lease          leases[6], none = 0;
    char               name[24];

    for (int n = 0; n < 6; n++) {
        snprintf(name, sizeof name, "holder-%d", n);
        models[n] = host_add(rt, name, file.path, NULL);
        leases[n] = host_acquire(rt, models[n]);
    }
    assert_int_equal(sgi_runtime_close(rt, 5, &err), SGI_E_TIMEOUT);
    assert_non_null(strstr(err.message, "5 ms"));
    assert_non_null(strstr(err.message, "'holder-0': 1 lease"));
    assert_non_null(strstr(err.message, "and 3 more"));
    /* It refuses new requests, and what is held is good. */
    assert_int_equal(sgi_model_acquire_wait(rt, models[0], NULL, &none, &err), SGI_E_CLOSED);
    assert_int_equal(sgi_model_try_acquire(rt, models[0], NULL, &none), SGI_E_CLOSED);
    assert_int_equal(sgi_model_acquire(rt, models[0], NULL, NULL, NULL, NULL, NULL), SGI_E_CLOSED);
    assert_int_equal(sgi_model_prefetch(rt, models[0], SGI_TIER_DEVICE, NULL, NULL, NULL, NULL, NULL), SGI_E_CLOSED);
    sgi_model_config mc = host_model("late", file.path, NULL);
    assert_int_equal(sgi_model_register(rt, &mc, &models[0], &err), SGI_E_CLOSED);
    for (int n = 0; n < 6; n++)
        host_same_bytes(rt, models[n], leases[n], &file);
    for (int n = 0; n < 6; n++) {
        assert_int_equal(sgi_runtime_close(rt, 1, &err), SGI_E_TIMEOUT);
        host_release(rt, leases[n]);
    }
    host_close(rt);
}

static void a_lease_in_an_unread_completion_is_held(void **state)
{
    (void)state;
    sgi_runtime_config c = host_config();
    sgi_runtime       *rt = host_open(&c);
    sgi_error          err = { .struct_size = sizeof err };
    sgi_model          model = host_add(rt, "m", file.path, NULL);

    assert_int_equal(sgi_model_acquire(rt, model, NULL, NULL, NULL, NULL, NULL), SGI_OK);
    host_wait_state(rt, model, SGI_MODEL_BUSY);
    assert_int_equal(sgi_runtime_close(rt, 1, &err), SGI_E_TIMEOUT);
    sgi_completion done = host_next(rt);
    assert_int_equal(done.status, SGI_OK);
    host_release(rt, done.lease);
    host_close(rt);
}

struct closer {
    sgi_runtime *rt;
    sgi_model    model;
    sgi_status   status;
    atomic_int   started;
};

static void *close_it(void *arg)
{
    struct closer *c = arg;
    atomic_store(&c->started, 1);
    c->status = sgi_runtime_close(c->rt, HOST_WAIT_MS, NULL);
    return NULL;
}

static bool one_waits(void *runtime)
{
    return host_info(runtime).requests_waiting == 1;
}

static bool is_closing(void *user)
{
    struct closer *c = user;
    sgi_lease      lease = 0;
    return sgi_model_try_acquire(c->rt, c->model, NULL, &lease) == SGI_E_CLOSED;
}

static void a_waiting_acquire_ends_with_closed_and_a_second_closer_is_busy(void **state)
{
    (void)state;
    sgi_runtime_config c = host_config();
    struct test_engine engine;
    pthread_t          closer_thread;
    test_engine_init(&engine, false, false);
    sgi_runtime  *rt = host_open(&c);
    sgi_model     model = host_add(rt, "m", file.path, &engine);
    sgi_lease     lease = host_acquire(rt, model);
    struct waiter w = { .model = model };
    struct closer cl = { .rt = rt, .model = model };

    waiter_start(&w, rt, wait_for_lease);
    test_wait_until(one_waits, rt, "nobody waits");
    pthread_create(&closer_thread, NULL, close_it, &cl);
    assert_int_equal(waiter_end(&w), SGI_E_CLOSED); /* it is let go at once, though the lease is held */
    assert_int_equal(w.lease, 0);
    test_wait_until(is_closing, &cl, "it does not close");
    assert_int_equal(sgi_runtime_close(rt, 1, NULL), SGI_E_BUSY);
    host_release(rt, lease);
    pthread_join(closer_thread, NULL);
    assert_int_equal(cl.status, SGI_OK);
    test_engine_fini(&engine);
}

static void release_later(void *user, const sgi_completion *c)
{
    struct closer *closer = user;
    atomic_store(&closer->started, 1);
    if (c->lease)
        sgi_lease_release(closer->rt, c->lease);
}

static void done_callbacks_are_let_finish(void **state)
{
    (void)state;
    for (int round = 0; round < 30; round++) {
        sgi_runtime_config c = host_config();
        sgi_runtime       *rt = host_open(&c);
        struct closer      d = { .rt = rt };
        d.model = host_add(rt, "m", file.path, NULL);
        for (int n = 0; n < 5; n++)
            assert_int_equal(sgi_model_acquire(rt, d.model, NULL, NULL, release_later, &d, NULL), SGI_OK);
        host_close(rt);
        assert_int_equal(atomic_load(&d.started), 1);
    }
}

/* ---- draining ---- */

static bool nothing_is_out(void *user)
{
    struct waiter *w = user;
    return host_state(w->rt, w->model).calls_out == 0;
}

static void a_drain_refuses_and_lets_go_and_leases_go_on(void **state)
{
    (void)state;
    sgi_runtime_config c = host_config();
    struct test_engine engine;
    test_engine_init(&engine, false, true);
    sgi_runtime     *rt = host_open(&c);
    sgi_error        err = SGI_ERROR_INIT;
    sgi_model        model = host_add(rt, "m", file.path, &engine), plain = host_add(rt, "plain", file.path, NULL);
    struct waiter    in_acquire = { .model = model }, in_ticket = { 0 };
    sgi_model_config mc = host_model("late", file.path, NULL);
    sgi_model        late = 0;
    sgi_ticket       ticket = 0;
    sgi_lease        lease = host_acquire(rt, model), none = 0;
    struct {
        struct test_request r;
        char                text[4];
    } echo = { { .kind = REQUEST_ECHO }, "abc" };
    char   out[8];
    size_t bytes = 0;

    host_release(rt, host_acquire(rt, plain));
    waiter_start(&in_acquire, rt, wait_for_lease);
    test_wait_until(one_waits, rt, "nobody waits");
    assert_int_equal(sgi_model_acquire(rt, model, NULL, &in_ticket.ticket, NULL, NULL, NULL), SGI_OK);
    waiter_start(&in_ticket, rt, wait_for_ticket);
    assert_int_equal(sgi_model_acquire(rt, model, NULL, &ticket, NULL, NULL, NULL), SGI_OK);

    for (int n = 0; n < 2; n++)
        assert_int_equal(sgi_runtime_drain(rt), SGI_OK);
    assert_int_equal(waiter_end(&in_acquire), SGI_E_CLOSED);
    assert_int_equal(waiter_end(&in_ticket), SGI_E_CLOSED);
    sgi_completion done = host_next(rt);
    assert_true(done.ticket == ticket && done.status == SGI_E_CLOSED && done.lease == 0);

    assert_int_equal(sgi_model_register(rt, &mc, &late, &err), SGI_E_CLOSED);
    assert_int_equal(sgi_model_try_acquire(rt, plain, NULL, &none), SGI_E_CLOSED);
    assert_int_equal(host_acquire_fails(rt, model, &err), SGI_E_CLOSED);
    assert_int_equal(sgi_model_acquire(rt, plain, NULL, &ticket, NULL, NULL, NULL), SGI_E_CLOSED);
    assert_int_equal(sgi_model_prefetch(rt, plain, SGI_TIER_DEVICE, NULL, &ticket, NULL, NULL, NULL), SGI_E_CLOSED);
    host_wait_state(rt, plain, SGI_MODEL_COLD); /* what nobody uses goes */

    host_same_bytes(rt, model, lease, &file);
    for (int n = 0; n < 2; n++) { /* calls begin and end as before */
        assert_int_equal(host_call(rt, lease, &echo, sizeof echo, out, sizeof out, &bytes, &err), SGI_OK);
        assert_memory_equal(out, echo.text, sizeof echo.text);
        test_wait_until(nothing_is_out, &in_acquire, "a call does not come back");
        assert_int_equal(sgi_lease_call(rt, lease, &echo, sizeof echo, SGI_FOREVER, NULL, NULL, &err), SGI_OK);
        test_wait_until(nothing_is_out, &in_acquire, "a call does not come back");
    }
    assert_int_equal(sgi_runtime_close(rt, 1, &err), SGI_E_TIMEOUT);
    host_error_is(&err, SGI_E_TIMEOUT, SGI_STEP_NONE, "model 'm': 1 lease");
    host_release(rt, lease);
    host_wait_state(rt, model, SGI_MODEL_COLD);
    assert_int_equal(host_info(rt).device_bytes, 0); /* and still there to be asked */
    host_close(rt);
    test_engine_fini(&engine);
}

/* ---- descriptors run out ---- */

static void without_descriptors_it_says_so_and_recovers(void **state)
{
    (void)state;
    sgi_runtime_config c = host_config();
    struct rlimit      limit, none;
    sgi_error          err = { .struct_size = sizeof err };
    int                fd = -1;
    c.io_engine = SGI_IO_THREADS;
    sgi_runtime *rt = host_open(&c);
    sgi_model    model = host_add(rt, "m", file.path, NULL);

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = limit;
    int lowest = dup(0);
    close(lowest);
    none.rlim_cur = (rlim_t)lowest; /* the next descriptor would be this one */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    sgi_status fd_status = sgi_completion_fd(rt, &fd);
    sgi_lease  lease = 0;
    sgi_status load_status = sgi_model_acquire_wait(rt, model, NULL, &lease, &err);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(fd_status, SGI_E_SYSTEM);
    assert_int_equal(fd, -1);
    assert_true(load_status == SGI_E_IO || load_status == SGI_E_SYSTEM);
    assert_non_null(strstr(err.message, "a.safetensors"));
    assert_int_equal(sgi_completion_fd(rt, &fd), SGI_OK);
    host_release(rt, host_acquire(rt, model));
    host_close(rt);
}

/* ---- trace and log ---- */

struct text {
    char  *data;
    size_t bytes;
};

static int collect(void *user, const char *text, size_t bytes)
{
    struct text *t = user;
    t->data = realloc(t->data, t->bytes + bytes + 1);
    memcpy(t->data + t->bytes, text, bytes);
    t->bytes += bytes;
    t->data[t->bytes] = '\0';
    return 0;
}

static int stop_at_once(void *user, const char *text, size_t bytes)
{
    (void)user;
    (void)text;
    (void)bytes;
    return 1;
}

static void the_trace_is_json_with_a_row_for_each_cold_start(void **state)
{
    (void)state;
    sgi_runtime_config c = host_config();
    sgi_runtime       *rt = host_open(&c);
    struct text        t = { 0 };
    json_error_t       error;
    size_t             n, starts = 0, reads = 0;
    json_t            *event;

    sgi_model model = host_add(rt, "a \"quoted\" name", file.path, NULL);
    for (int round = 0; round < 3; round++) {
        host_release(rt, host_acquire(rt, model));
        host_release(rt, host_acquire(rt, model)); /* warm: no start */
        assert_int_equal(sgi_model_evict(rt, model, SGI_TIER_DISK), SGI_OK);
        host_wait_state(rt, model, SGI_MODEL_COLD);
    }
    assert_int_equal(sgi_trace_write(rt, stop_at_once, NULL), SGI_E_CANCELED);
    assert_int_equal(sgi_trace_write(rt, collect, &t), SGI_OK);
    json_t *root = json_loads(t.data, JSON_REJECT_DUPLICATES, &error);
    if (!root)
        fail_msg("line %d: %s", error.line, error.text);
    json_array_foreach(json_object_get(root, "traceEvents"), n, event)
    {
        const char *name = json_string_value(json_object_get(event, "name"));
        starts += strcmp(name, "start") == 0 && json_object_get(event, "dur");
        reads += strcmp(name, "read") == 0;
    }
    assert_int_equal(starts, 3);
    assert_int_equal(reads, 3);
    json_decref(root);
    free(t.data);
    host_close(rt);
}

static struct {
    pthread_mutex_t mutex;
    char            last[600];
    uint32_t        count, severity;
} logged = { .mutex = PTHREAD_MUTEX_INITIALIZER };

static void sink(void *user, uint32_t severity, const char *text)
{
    assert_ptr_equal(user, &logged);
    pthread_mutex_lock(&logged.mutex);
    snprintf(logged.last, sizeof logged.last, "%s", text);
    logged.severity = severity;
    logged.count++;
    pthread_mutex_unlock(&logged.mutex);
}

static bool was_logged(void *user)
{
    (void)user;
    pthread_mutex_lock(&logged.mutex);
    bool was = logged.count > 0;
    pthread_mutex_unlock(&logged.mutex);
    return was;
}

static void failures_reach_the_log_and_a_null_sink_drops_them(void **state)
{
    (void)state;
    sgi_runtime_config c = host_config();
    struct test_engine engine;
    sgi_error          err;
    test_engine_init(&engine, false, false);
    sgi_runtime *rt = host_open(&c);
    sgi_model    model = host_add(rt, "m", file.path, &engine);

    sgi_log_set_sink(sink, &logged, SGI_LOG_WARN);
    atomic_store(&engine.fail[ENGINE_START], SGI_E_ENGINE);
    assert_int_equal(host_acquire_fails(rt, model, &err), SGI_E_ENGINE);
    test_wait_until(was_logged, NULL, "nothing is logged");
    pthread_mutex_lock(&logged.mutex);
    assert_int_equal(logged.severity, SGI_LOG_WARN);
    assert_non_null(strstr(logged.last, "'m'"));
    assert_null(strchr(logged.last, '\n'));
    pthread_mutex_unlock(&logged.mutex);
    host_wait_threads(rt, 1);
    sgi_log_set_sink(sink, &logged, SGI_LOG_ERROR); /* below: not delivered */
    logged.count = 0;
    host_wait_state(rt, model, SGI_MODEL_COLD);
    assert_int_equal(host_acquire_fails(rt, model, &err), SGI_E_ENGINE);
    host_wait_threads(rt, 1);
    assert_int_equal(logged.count, 0);
    sgi_log_set_sink(NULL, NULL, 0);
    host_close(rt);
    test_engine_fini(&engine);
}

static int make_files(void **state)
{
    (void)state;
    test_folder_make(&folder);
    test_file_make_one(&file, &folder, "a.safetensors", 50000);
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
        cmocka_unit_test(defaults_open_and_hold_one_thread),
        cmocka_unit_test(a_config_that_cannot_be_is_refused_by_its_field),
        cmocka_unit_test(sixteen_devices_are_as_configured),
        cmocka_unit_test(the_largest_limits_work),
        cmocka_unit_test(a_forked_child_may_open_a_runtime_of_its_own),
        cmocka_unit_test(two_runtimes_share_nothing),
        cmocka_unit_test(close_names_who_holds_what_and_succeeds_afterwards),
        cmocka_unit_test(a_lease_in_an_unread_completion_is_held),
        cmocka_unit_test(a_waiting_acquire_ends_with_closed_and_a_second_closer_is_busy),
        cmocka_unit_test(done_callbacks_are_let_finish),
        cmocka_unit_test(a_drain_refuses_and_lets_go_and_leases_go_on),
        cmocka_unit_test(without_descriptors_it_says_so_and_recovers),
        cmocka_unit_test(the_trace_is_json_with_a_row_for_each_cold_start),
        cmocka_unit_test(failures_reach_the_log_and_a_null_sink_drops_them),
    };
    return cmocka_run_group_tests_name("runtime", tests, make_files, remove_files);
}
