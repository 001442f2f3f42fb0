/* SPDX-License-Identifier: Apache-2.0 */
/* What every function says to arguments that are no good: NULL, structs without a size, ids of other kinds, times and
 * runtimes; and what callers of other ages, or with a small error, get. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/host.h"

static struct test_folder folder;
static struct test_file   file;

struct fixture {
    struct test_engine engine;
    sgi_runtime       *rt;
    sgi_model          model, plain;
};

static void set_up(struct fixture *f)
{
    sgi_runtime_config config = host_config();
    test_engine_init(&f->engine, false, false);
    f->rt = host_open(&config);
    f->model = host_add(f->rt, "engine", file.path, &f->engine);
    f->plain = host_add(f->rt, "plain", file.path, NULL);
}

static void tear_down(struct fixture *f)
{
    host_close(f->rt);
    test_engine_fini(&f->engine);
}

static int write_nothing(void *user, const char *text, size_t bytes)
{
    (void)user;
    (void)text;
    (void)bytes;
    return 0;
}

static int sample_nothing(void *user, const sgi_sample *sample)
{
    (void)user;
    (void)sample;
    return 0;
}

static sgi_status run_nothing(void *user, void *stream, sgi_error *err)
{
    (void)user;
    (void)err;
    return stream ? SGI_E_INVALID : SGI_OK;
}

#define INVALID(call) assert_int_equal((call), SGI_E_INVALID)

static void null_is_refused_everywhere(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    sgi_runtime     *rt = f.rt;
    sgi_model        model = 0;
    sgi_lease        lease = host_acquire(rt, f.plain);
    sgi_model_config mc = host_model("another", file.path, NULL);
    sgi_view         view = { .struct_size = sizeof view };
    sgi_image        image = { .struct_size = sizeof image };
    sgi_timing       timing = { .struct_size = sizeof timing };
    sgi_tensor       tensor = { .struct_size = sizeof tensor };
    sgi_model_info   info = { .struct_size = sizeof info };
    sgi_model_state  model_state = { .struct_size = sizeof model_state };
    sgi_runtime_info runtime_info = { .struct_size = sizeof runtime_info };
    sgi_device_info  device_info = { .struct_size = sizeof device_info };
    sgi_completion   completion = { .struct_size = sizeof completion };
    sgi_event        event = { .struct_size = sizeof event };
    sgi_events       events = 0;
    uint64_t         digest;
    void            *stream;
    sgi_call         call;
    size_t           bytes;
    char             buffer[8];
    int              fd;

    INVALID(sgi_runtime_open(NULL, NULL, NULL));
    INVALID(sgi_runtime_close(NULL, 1, NULL));
    INVALID(sgi_runtime_query(NULL, &runtime_info));
    INVALID(sgi_runtime_query(rt, NULL));
    INVALID(sgi_device_query(NULL, 0, &device_info));
    INVALID(sgi_device_query(rt, 0, NULL));
    INVALID(sgi_completion_fd(NULL, &fd));
    INVALID(sgi_completion_fd(rt, NULL));
    INVALID(sgi_completion_next(NULL, &completion));
    INVALID(sgi_completion_next(rt, NULL));
    INVALID(sgi_model_register(NULL, &mc, &model, NULL));
    INVALID(sgi_model_register(rt, NULL, &model, NULL));
    INVALID(sgi_model_register(rt, &mc, NULL, NULL));
    INVALID(sgi_model_unregister(NULL, f.plain, 1, NULL));
    INVALID(sgi_model_find(NULL, "plain", &model));
    INVALID(sgi_model_find(rt, NULL, &model));
    INVALID(sgi_model_find(rt, "plain", NULL));
    INVALID(sgi_model_describe(NULL, f.plain, &info));
    INVALID(sgi_model_describe(rt, f.plain, NULL));
    INVALID(sgi_model_query(NULL, f.plain, &model_state));
    INVALID(sgi_model_query(rt, f.plain, NULL));
    INVALID(sgi_model_tensor_at(NULL, f.plain, 0, &tensor));
    INVALID(sgi_model_tensor_at(rt, f.plain, 0, NULL));
    INVALID(sgi_model_tensor_find(NULL, f.plain, "w", &tensor));
    INVALID(sgi_model_tensor_find(rt, f.plain, NULL, &tensor));
    INVALID(sgi_model_tensor_find(rt, f.plain, "w", NULL));
    INVALID(sgi_model_evict(NULL, f.plain, SGI_TIER_DISK));
    INVALID(sgi_model_pin(NULL, f.plain, SGI_TIER_DISK, NULL));
    INVALID(sgi_model_try_acquire(NULL, f.plain, NULL, &lease));
    INVALID(sgi_model_try_acquire(rt, f.plain, NULL, NULL));
    INVALID(sgi_model_acquire_wait(NULL, f.plain, NULL, &lease, NULL));
    INVALID(sgi_model_acquire_wait(rt, f.plain, NULL, NULL, NULL));
    INVALID(sgi_model_acquire(NULL, f.plain, NULL, NULL, NULL, NULL, NULL));
    INVALID(sgi_model_prefetch(NULL, f.plain, SGI_TIER_DEVICE, NULL, NULL, NULL, NULL, NULL));
    INVALID(sgi_acquire_cancel(NULL, 1));
    INVALID(sgi_lease_release(NULL, lease));
    INVALID(sgi_lease_tensor(NULL, lease, 0, &view, NULL));
    INVALID(sgi_lease_tensor(rt, lease, 0, NULL, NULL));
    INVALID(sgi_lease_tensor_wait(NULL, lease, 0, 1, NULL));
    INVALID(sgi_lease_tensor_digest(NULL, lease, 0, &digest, NULL));
    INVALID(sgi_lease_tensor_digest(rt, lease, 0, NULL, NULL));
    INVALID(sgi_lease_tensor_read(NULL, lease, 0, 0, &digest, 1, NULL));
    INVALID(sgi_lease_tensor_read(rt, lease, 0, 0, NULL, 1, NULL));
    INVALID(sgi_lease_tensor_on(NULL, lease, 0, NULL, NULL));
    INVALID(sgi_lease_image(NULL, lease, 0, &image, NULL));
    INVALID(sgi_lease_image(rt, lease, 0, NULL, NULL));
    INVALID(sgi_lease_run(NULL, lease, run_nothing, NULL, NULL));
    INVALID(sgi_lease_run(rt, lease, NULL, NULL, NULL));
    INVALID(sgi_lease_stream(NULL, lease, &stream, NULL));
    INVALID(sgi_lease_stream(rt, lease, NULL, NULL));
    INVALID(sgi_lease_timing(NULL, lease, &timing));
    INVALID(sgi_lease_timing(rt, lease, NULL));
    INVALID(sgi_call_begin(NULL, lease, "x", 1, 0, &call, NULL));
    INVALID(sgi_call_begin(rt, lease, NULL, 1, 0, &call, NULL));
    INVALID(sgi_call_begin(rt, lease, "x", 1, 0, NULL, NULL));
    INVALID(sgi_call_read(NULL, 1, buffer, sizeof buffer, &bytes, NULL));
    INVALID(sgi_call_read(rt, 1, NULL, sizeof buffer, &bytes, NULL));
    INVALID(sgi_call_read(rt, 1, buffer, 0, &bytes, NULL));
    INVALID(sgi_call_read(rt, 1, buffer, sizeof buffer, NULL, NULL));
    INVALID(sgi_call_cancel(NULL, 1));
    INVALID(sgi_call_end(NULL, 1));
    INVALID(sgi_lease_call(NULL, lease, "x", 1, 1, NULL, NULL, NULL));
    INVALID(sgi_lease_call(rt, lease, NULL, 1, 1, NULL, NULL, NULL));
    INVALID(sgi_trace_write(NULL, write_nothing, NULL));
    INVALID(sgi_trace_write(rt, NULL, NULL));
    INVALID(sgi_metrics_write(NULL, write_nothing, NULL));
    INVALID(sgi_metrics_write(rt, NULL, NULL));
    INVALID(sgi_metrics_snapshot(NULL, sample_nothing, NULL));
    INVALID(sgi_metrics_snapshot(rt, NULL, NULL));
    INVALID(sgi_events_open(NULL, 0, 0, &events, NULL));
    INVALID(sgi_events_open(rt, 0, 0, NULL, NULL));
    INVALID(sgi_events_read(NULL, 1, &event));
    INVALID(sgi_events_read(rt, 1, NULL));
    INVALID(sgi_events_fd(NULL, 1, &fd));
    INVALID(sgi_events_fd(rt, 1, NULL));
    INVALID(sgi_events_close(NULL, 1));
    INVALID(sgi_feature_at(0, NULL));
    INVALID(sgi_inspect(NULL, 0, write_nothing, NULL, NULL));
    INVALID(sgi_inspect("", 0, write_nothing, NULL, NULL));
    INVALID(sgi_inspect(file.path, 0, NULL, NULL, NULL));
    INVALID(sgi_inspect(file.path, 1u << 7, write_nothing, NULL, NULL));
    INVALID(sgi_inspect_config(NULL, 0, write_nothing, NULL, NULL));
    INVALID(sgi_inspect_config(&mc, 0, NULL, NULL, NULL));
    INVALID(sgi_inspect_config(&mc, 1u << 7, write_nothing, NULL, NULL));
    mc.path = NULL;
    INVALID(sgi_inspect_config(&mc, 0, write_nothing, NULL, NULL));
    assert_int_equal(model, 0);
    host_release(rt, lease);
    tear_down(&f);
}

static void structs_without_a_size_are_refused(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    sgi_runtime        *rt = f.rt, *other = NULL;
    sgi_model           model = 0;
    sgi_lease           lease = host_acquire(rt, f.plain), no_lease = 0;
    sgi_error           err = { .struct_size = sizeof err };
    sgi_runtime_config  rc = host_config();
    sgi_device_config   dc = { .name = "host" };
    sgi_model_config    mc = host_model("another", file.path, NULL);
    sgi_acquire_options o = { .device_hint = SGI_DEVICE_ANY };

    INVALID(sgi_runtime_query(rt, &(sgi_runtime_info){ 0 }));
    INVALID(sgi_device_query(rt, 0, &(sgi_device_info){ 0 }));
    INVALID(sgi_completion_next(rt, &(sgi_completion){ 0 }));
    INVALID(sgi_model_describe(rt, f.plain, &(sgi_model_info){ 0 }));
    INVALID(sgi_model_query(rt, f.plain, &(sgi_model_state){ 0 }));
    INVALID(sgi_model_tensor_at(rt, f.plain, 0, &(sgi_tensor){ 0 }));
    INVALID(sgi_model_tensor_find(rt, f.plain, "w", &(sgi_tensor){ 0 }));
    INVALID(sgi_lease_tensor(rt, lease, 0, &(sgi_view){ 0 }, NULL));
    INVALID(sgi_lease_image(rt, lease, 0, &(sgi_image){ 0 }, NULL));
    INVALID(sgi_lease_timing(rt, lease, &(sgi_timing){ 0 }));
    INVALID(sgi_feature_at(0, &(sgi_feature){ 0 }));

    rc.struct_size = 0;
    INVALID(sgi_runtime_open(&rc, &other, &err));
    assert_non_null(strstr(err.message, "sgi_runtime_config"));
    rc = host_config();
    rc.devices = &dc;
    rc.devices_count = 1;
    INVALID(sgi_runtime_open(&rc, &other, &err));
    assert_non_null(strstr(err.message, "sgi_device_config"));
    mc.struct_size = 0;
    INVALID(sgi_model_register(rt, &mc, &model, &err));
    INVALID(sgi_inspect_config(&mc, 0, write_nothing, NULL, &err));
    assert_non_null(strstr(err.message, "sgi_model_config"));
    mc = host_model("another", file.path, &f.engine);
    sgi_engine table = f.engine.table;
    table.struct_size = 0;
    mc.engine = &table;
    INVALID(sgi_model_register(rt, &mc, &model, &err));
    assert_non_null(strstr(err.message, "engine"));
    INVALID(sgi_model_try_acquire(rt, f.plain, &o, &no_lease));
    INVALID(sgi_model_acquire_wait(rt, f.plain, &o, &no_lease, &err));
    INVALID(sgi_model_acquire(rt, f.plain, &o, NULL, NULL, NULL, NULL));
    INVALID(sgi_model_prefetch(rt, f.plain, SGI_TIER_DEVICE, &o, NULL, NULL, NULL, NULL));
    assert_true(other == NULL && model == 0 && no_lease == 0);
    host_release(rt, lease);
    tear_down(&f);
}

static void init_functions_fill_what_fits(void **state)
{
    (void)state;
    sgi_acquire_options o;
    sgi_engine          e;
    memset(&o, 0xff, sizeof o);
    assert_int_equal(sgi_acquire_options_init(&o, sizeof o), SGI_OK);
    assert_int_equal(o.device_hint, SGI_DEVICE_ANY);
    assert_true(o.struct_size == sizeof o && o.flags == 0 && o.deadline_ms == SGI_FOREVER && o.tag == 0);
    memset(&e, 0xff, sizeof e);
    assert_int_equal(sgi_engine_init(&e, sizeof e), SGI_OK);
    assert_true(e.struct_size == sizeof e && !e.start && !e.user);
    INVALID(sgi_runtime_config_init(NULL, 64));
    INVALID(sgi_runtime_config_init(&(sgi_runtime_config){ 0 }, 3));
    INVALID(sgi_device_config_init(NULL, 64));
    INVALID(sgi_device_config_init(&(sgi_device_config){ 0 }, 0));
    INVALID(sgi_model_config_init(NULL, 64));
    INVALID(sgi_model_config_init(&(sgi_model_config){ 0 }, 1));
    INVALID(sgi_engine_init(NULL, 64));
    INVALID(sgi_engine_init(&e, 2));
    INVALID(sgi_acquire_options_init(NULL, 64));
    INVALID(sgi_acquire_options_init(&o, 0));
}

static sgi_status prefix_bytes(void *user, const sgi_source *source, uint32_t part, uint64_t *bytes, sgi_error *err)
{
    (void)user;
    (void)source;
    (void)part;
    (void)err;
    *bytes = 1;
    return SGI_OK;
}

static void unknown_bits_and_values_are_refused_by_name(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    sgi_model           model = 0;
    sgi_lease           lease = 0;
    sgi_error           err = { .struct_size = sizeof err };
    sgi_acquire_options o;

    sgi_acquire_options_init(&o, sizeof o);
    o.flags = 1u << 9;
    INVALID(sgi_model_acquire_wait(f.rt, f.plain, &o, &lease, &err));
    assert_non_null(strstr(err.message, "flags"));
    o.flags = 0;
    o.device_hint = 1;
    INVALID(sgi_model_acquire_wait(f.rt, f.plain, &o, &lease, &err));
    assert_non_null(strstr(err.message, "device_hint"));
    o.device_hint = -2;
    INVALID(sgi_model_try_acquire(f.rt, f.plain, &o, &lease));
    o.device_hint = SGI_DEVICE_ANY;
    o.flags = SGI_ACQUIRE_EARLY; /* for models without an engine */
    INVALID(sgi_model_acquire_wait(f.rt, f.model, &o, &lease, &err));
    assert_non_null(strstr(err.message, "SGI_ACQUIRE_EARLY"));
    INVALID(sgi_model_acquire(f.rt, f.model, &o, NULL, NULL, NULL, NULL));
    INVALID(sgi_model_prefetch(f.rt, f.plain, SGI_TIER_DEVICE, &o, NULL, NULL, NULL,
                               NULL)); /* there is no lease to grant early */
    INVALID(sgi_model_prefetch(f.rt, f.plain, SGI_TIER_DISK, NULL, NULL, NULL, NULL, NULL));
    INVALID(sgi_model_prefetch(f.rt, f.plain, 7, NULL, NULL, NULL, NULL, NULL));
    INVALID(sgi_model_evict(f.rt, f.plain, SGI_TIER_DEVICE));
    INVALID(sgi_model_pin(f.rt, f.plain, 3, NULL));

    sgi_model_config mc = host_model("another", file.path, NULL);
    mc.flags = 1u << 6;
    INVALID(sgi_model_register(f.rt, &mc, &model, &err));
    assert_non_null(strstr(err.message, "flags"));
    sgi_engine table = f.engine.table;
    table.stop = NULL; /* start, call and stop come together */
    mc = host_model("another", file.path, NULL);
    mc.engine = &table;
    INVALID(sgi_model_register(f.rt, &mc, &model, &err));
    table = f.engine.table;
    table.prefix_bytes = prefix_bytes; /* comes with prefix_fill */
    INVALID(sgi_model_register(f.rt, &mc, &model, &err));
    assert_int_equal(model, 0);
    tear_down(&f);
}

/* ---- ids ---- */

#define STALE(call) assert_int_equal((call), SGI_E_STALE)

static void is_no_model(sgi_runtime *rt, uint64_t id)
{
    sgi_tensor      tensor = { .struct_size = sizeof tensor };
    sgi_model_info  info = { .struct_size = sizeof info };
    sgi_model_state model_state = { .struct_size = sizeof model_state };
    sgi_lease       lease = 0;
    sgi_ticket      ticket = 0;

    STALE(sgi_model_unregister(rt, id, 1, NULL));
    STALE(sgi_model_describe(rt, id, &info));
    STALE(sgi_model_query(rt, id, &model_state));
    STALE(sgi_model_tensor_at(rt, id, 0, &tensor));
    STALE(sgi_model_tensor_find(rt, id, "w", &tensor));
    STALE(sgi_model_evict(rt, id, SGI_TIER_DISK));
    STALE(sgi_model_pin(rt, id, SGI_TIER_DISK, NULL));
    STALE(sgi_model_try_acquire(rt, id, NULL, &lease));
    STALE(sgi_model_acquire_wait(rt, id, NULL, &lease, NULL));
    STALE(sgi_model_acquire(rt, id, NULL, &ticket, NULL, NULL, NULL));
    STALE(sgi_model_prefetch(rt, id, SGI_TIER_DEVICE, NULL, &ticket, NULL, NULL, NULL));
    assert_true(lease == 0 && ticket == 0 && info.parts_count == 0 && model_state.loads_count == 0);
}

static void is_no_lease(sgi_runtime *rt, uint64_t id)
{
    sgi_view   view = { .struct_size = sizeof view };
    sgi_image  image = { .struct_size = sizeof image };
    sgi_timing timing = { .struct_size = sizeof timing };
    sgi_error  err = { .struct_size = sizeof err };
    uint64_t   digest = 0;
    void      *stream = NULL;
    sgi_call   call = 0;

    STALE(sgi_lease_release(rt, id));
    STALE(sgi_lease_tensor(rt, id, 0, &view, &err));
    assert_int_equal(err.code, SGI_E_STALE);
    assert_true(strlen(err.message) > 0);
    STALE(sgi_lease_tensor_wait(rt, id, 0, 1, &err));
    STALE(sgi_lease_tensor_digest(rt, id, 0, &digest, &err));
    STALE(sgi_lease_tensor_read(rt, id, 0, 0, &digest, 1, &err));
    STALE(sgi_lease_tensor_on(rt, id, 0, NULL, &err));
    STALE(sgi_lease_image(rt, id, 0, &image, &err));
    STALE(sgi_lease_run(rt, id, run_nothing, NULL, &err));
    STALE(sgi_lease_stream(rt, id, &stream, NULL));
    STALE(sgi_lease_timing(rt, id, &timing));
    STALE(sgi_call_begin(rt, id, "x", 1, 0, &call, &err));
    STALE(sgi_lease_call(rt, id, "x", 1, 1, NULL, NULL, &err));
    assert_true(call == 0 && view.data == NULL && image.base == NULL && digest == 0);
}

static void is_no_call(sgi_runtime *rt, uint64_t id)
{
    char      buffer[8];
    size_t    bytes = 99;
    sgi_error err = { .struct_size = sizeof err };

    STALE(sgi_call_read(rt, id, buffer, sizeof buffer, &bytes, &err));
    assert_int_equal(err.code, SGI_E_STALE);
    assert_int_equal(bytes, 99);
    STALE(sgi_call_cancel(rt, id));
    STALE(sgi_call_end(rt, id));
}

static void is_nothing(sgi_runtime *rt, uint64_t id)
{
    is_no_model(rt, id);
    is_no_lease(rt, id);
    is_no_call(rt, id);
    STALE(sgi_acquire_cancel(rt, id));
}

static void ids_of_another_kind_time_or_runtime_are_stale(void **state)
{
    (void)state;
    struct fixture f, g;
    set_up(&f);
    set_up(&g);
    struct test_request request = { .kind = REQUEST_POLL };
    sgi_lease           lease = host_acquire(f.rt, f.model), plain = host_acquire(f.rt, f.plain);
    sgi_lease           other_lease = host_acquire(g.rt, g.model);
    sgi_call            call = 0, other_call = 0;
    sgi_ticket          ticket = 0;
    sgi_error           err = { .struct_size = sizeof err };

    assert_int_equal(sgi_call_begin(f.rt, lease, &request, sizeof request, 0, &call, &err), SGI_OK);
    assert_int_equal(sgi_call_begin(g.rt, other_lease, &request, sizeof request, 0, &other_call, &err), SGI_OK);
    assert_int_equal(sgi_model_acquire(f.rt, f.model, NULL, &ticket, NULL, NULL, NULL),
                     SGI_OK); /* waits: one lease at once */

    const uint64_t never[] = { 0,       1,           2,          UINT64_MAX,  UINT64_C(1) << 63,  g.model,
                               g.plain, other_lease, other_call, f.model + 1, lease + (1u << 21), call + 1 };
    for (size_t n = 0; n < sizeof never / sizeof *never; n++)
        is_nothing(f.rt, never[n]);
    is_no_model(f.rt, lease);
    is_no_model(f.rt, call);
    is_no_model(f.rt, ticket);
    is_no_lease(f.rt, f.model);
    is_no_lease(f.rt, call);
    is_no_lease(f.rt, ticket);
    is_no_call(f.rt, f.model);
    is_no_call(f.rt, lease);
    is_no_call(f.rt, ticket);
    STALE(sgi_acquire_cancel(f.rt, f.model));
    STALE(sgi_acquire_cancel(f.rt, lease));
    STALE(sgi_acquire_cancel(f.rt, call));

    assert_int_equal(sgi_acquire_cancel(f.rt, ticket), SGI_OK);
    is_nothing(f.rt, ticket);
    assert_int_equal(sgi_call_end(f.rt, call), SGI_OK);
    is_nothing(f.rt, call);
    host_release(f.rt, lease);
    is_nothing(f.rt, lease);
    host_release(f.rt, plain);
    host_wait_state(f.rt, f.model, SGI_MODEL_READY);
    assert_int_equal(sgi_model_unregister(f.rt, f.model, HOST_WAIT_MS, &err), SGI_OK);
    is_nothing(f.rt, f.model);
    /* The same slots in use again: the old ids stay stale. */
    sgi_model again = host_add(f.rt, "again", file.path, NULL);
    sgi_lease again_lease = host_acquire(f.rt, again);
    is_nothing(f.rt, f.model);
    is_nothing(f.rt, lease);
    host_release(f.rt, again_lease);

    assert_int_equal(sgi_call_end(g.rt, other_call), SGI_OK);
    host_release(g.rt, other_lease);
    tear_down(&f);
    tear_down(&g);
}

/* ---- callers of other ages ---- */

static void an_older_callers_structs_end_earlier(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    struct {
        uint32_t struct_size, parts_count;
        uint64_t after;
    } info = { .struct_size = 8, .after = 0x77 };
    struct {
        uint32_t struct_size, state;
        uint64_t after;
    } model_state = { .struct_size = 8, .after = 0x77 };
    struct {
        uint32_t struct_size;
        int32_t  code;
        uint64_t after;
    } err = { .struct_size = 8, .after = 0x77 };

    assert_int_equal(sgi_model_describe(f.rt, f.plain, (sgi_model_info *)&info), SGI_OK);
    assert_true(info.parts_count == 1 && info.after == 0x77);
    assert_int_equal(sgi_model_query(f.rt, f.plain, (sgi_model_state *)&model_state), SGI_OK);
    assert_int_equal(model_state.after, 0x77);
    STALE(sgi_model_unregister(f.rt, 1, 1, (sgi_error *)&err));
    assert_true(err.code == SGI_E_STALE && err.after == 0x77);

    /* Options that end before device_hint: any device, not the first. */
    struct {
        uint32_t struct_size, flags, deadline_ms;
    } o = { .struct_size = 12 };
    sgi_lease lease = 0;
    assert_int_equal(sgi_model_acquire_wait(f.rt, f.plain, (sgi_acquire_options *)&o, &lease, NULL), SGI_OK);
    host_release(f.rt, lease);

    /* Devices are as far apart as the caller's struct is large. */
    struct {
        uint32_t    struct_size, reserved0;
        const char *name;
    } devices[] = { { 16, 0, "host:0" }, { 16, 0, "host:1" } };
    sgi_runtime_config config = host_config();
    config.devices = (const sgi_device_config *)devices;
    config.devices_count = 2;
    sgi_runtime *two = host_open(&config);
    assert_string_equal(host_device(two, 1).name, "host:1");
    assert_true(host_device(two, 0).bytes_max > 0);
    assert_int_equal(host_device(two, 0).bytes_max, host_device(two, 1).bytes_max); /* shared evenly */
    host_close(two);
    tear_down(&f);
}

static void a_newer_callers_structs_are_fine_while_they_ask_nothing_new(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    struct {
        sgi_model_info now;
        uint64_t       more;
    } info = { .now.struct_size = sizeof info, .more = 5 };
    struct {
        sgi_acquire_options now;
        uint64_t            more;
    } o = { .more = 0 };
    struct {
        sgi_model_config now;
        uint64_t         more;
    } mc = { .more = 1 };
    sgi_lease lease = 0;
    sgi_model model = 0;
    sgi_error err = { .struct_size = sizeof err };

    assert_int_equal(sgi_model_describe(f.rt, f.plain, &info.now), SGI_OK);
    assert_true(info.now.tensors_count == 1 && info.more == 0); /* what this library does not know is 0 */
    sgi_acquire_options_init(&o.now, sizeof o);
    assert_int_equal(sgi_model_acquire_wait(f.rt, f.plain, &o.now, &lease, &err), SGI_OK);
    host_release(f.rt, lease);
    o.more = 3;
    INVALID(sgi_model_acquire_wait(f.rt, f.plain, &o.now, &lease, &err));
    assert_non_null(strstr(err.message, "newer"));
    mc.now = host_model("newer", file.path, NULL);
    mc.now.struct_size = sizeof mc;
    INVALID(sgi_model_register(f.rt, &mc.now, &model, &err));
    assert_non_null(strstr(err.message, "newer"));
    mc.more = 0;
    assert_int_equal(sgi_model_register(f.rt, &mc.now, &model, &err), SGI_OK);
    tear_down(&f);
}

static void errors_may_be_left_out(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    sgi_lease lease = 0;
    sgi_model model = 0;

    sgi_model_config mc = host_model("none", "/does/not/exist", NULL);
    assert_int_equal(sgi_model_register(f.rt, &mc, &model, NULL), SGI_E_IO);
    atomic_store(&f.engine.fail[ENGINE_START], SGI_E_ENGINE);
    assert_int_equal(sgi_model_acquire_wait(f.rt, f.model, NULL, &lease, NULL), SGI_E_ENGINE);
    tear_down(&f);
}

/* ---- small errors ---- */

enum { SMALL = 40 };

union small {
    sgi_error err;
    uint8_t   bytes[sizeof(sgi_error)];
};

static void small_init(union small *s)
{
    memset(s->bytes, 0xee, sizeof s->bytes);
    s->err.struct_size = SMALL;
}

/* Filled as far as it reaches, with an end to its text, and nothing behind it touched. */
static void small_is(union small *s, sgi_status code, const char *begins)
{
    const size_t at = offsetof(sgi_error, message);
    assert_int_equal(s->err.struct_size, SMALL);
    assert_int_equal(s->err.code, code);
    assert_non_null(memchr(s->bytes + at, 0, SMALL - at));
    if (strncmp(s->err.message, begins, strlen(begins)) != 0)
        fail_msg("'%.16s' does not begin with '%s'", s->err.message, begins);
    for (size_t n = SMALL; n < sizeof s->bytes; n++)
        assert_int_equal(s->bytes[n], 0xee);
    small_init(s);
}

static void an_error_that_is_small_is_filled_as_far_as_it_goes(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    union small        s;
    sgi_runtime_config config = host_config();
    sgi_runtime       *no_runtime = NULL;
    sgi_model_config   missing = host_model("x", "/nowhere/at/all.safetensors", NULL);
    sgi_model          model = host_add(f.rt, "m", file.path, &f.engine), no_model = 0;
    sgi_ticket         ticket = 0;
    sgi_lease          lease = 0;

    small_init(&s);
    assert_int_equal(sgi_error_set(&s.err, SGI_E_ENGINE, "a text of more than sixteen bytes"), SGI_E_ENGINE);
    small_is(&s, SGI_E_ENGINE, "a text of more ");
    config.read_depth = 1000000;
    assert_int_equal(sgi_runtime_open(&config, &no_runtime, &s.err), SGI_E_INVALID);
    small_is(&s, SGI_E_INVALID, "");
    assert_int_equal(sgi_model_register(f.rt, &missing, &no_model, &s.err), SGI_E_IO);
    small_is(&s, SGI_E_IO, "");
    atomic_store(&f.engine.fail[ENGINE_START], SGI_E_ENGINE);
    assert_int_equal(sgi_model_acquire_wait(f.rt, model, NULL, &lease, &s.err), SGI_E_ENGINE); /* copied */
    small_is(&s, SGI_E_ENGINE, "model 'm': ");
    atomic_store(&f.engine.fail[ENGINE_START], SGI_OK);

    lease = host_acquire(f.rt, model);
    assert_int_equal(sgi_model_acquire(f.rt, model, NULL, &ticket, NULL, NULL, NULL), SGI_OK);
    assert_int_equal(sgi_acquire_cancel(f.rt, ticket), SGI_OK);
    assert_int_equal(sgi_ticket_wait(f.rt, ticket, SGI_FOREVER, &lease, &s.err), SGI_E_CANCELED);
    small_is(&s, SGI_E_CANCELED, "the request for");
    atomic_store(&f.engine.fail[ENGINE_CALL], SGI_E_INVALID);
    assert_int_equal(sgi_lease_call(f.rt, lease, NULL, 0, SGI_FOREVER, NULL, NULL, &s.err), SGI_E_INVALID);
    small_is(&s, SGI_E_INVALID, "model 'm': ");
    assert_int_equal(sgi_lease_tensor_wait(f.rt, lease, 1000, 1, &s.err), SGI_E_NOT_FOUND);
    small_is(&s, SGI_E_NOT_FOUND, "");
    assert_int_equal(sgi_runtime_close(f.rt, 1, &s.err), SGI_E_TIMEOUT);
    small_is(&s, SGI_E_TIMEOUT, "still in use ");
    host_release(f.rt, lease);
    tear_down(&f);
}

/* ---- names ---- */

static void statuses_and_steps_have_names_and_texts(void **state)
{
    (void)state;
    assert_string_equal(sgi_status_name(SGI_E_STALE), "SGI_E_STALE");
    assert_string_equal(sgi_status_name(-9999), "SGI_E_?");
    assert_string_equal(sgi_status_name(1), "SGI_E_?");
    assert_string_equal(sgi_step_name(SGI_STEP_READ), "read");
    assert_string_equal(sgi_step_name(99), "?");
#define CHECK(name, code, text)                        \
    assert_string_equal(sgi_status_name(code), #name); \
    assert_string_equal(sgi_status_text(code), text);  \
    assert_true((text)[strlen(text) - 1] != '.');
    SGI_STATUS_LIST(CHECK)
#undef CHECK
#define CHECK(name, number, text) assert_string_equal(sgi_step_name(number), text);
    SGI_STEP_LIST(CHECK)
#undef CHECK
    assert_int_equal(sgi_version(), SGI_VERSION);
}

static void features_are_listed_until_not_found(void **state)
{
    (void)state;
    sgi_feature feature = { .struct_size = sizeof feature };
    uint32_t    count = 0;
    sgi_status  st;
    while ((st = sgi_feature_at(count, &feature)) == SGI_OK) {
        assert_true(strlen(feature.name) > 0 && strlen(feature.detail) > 0 && feature.usable <= 1);
        count++;
    }
    assert_int_equal(st, SGI_E_NOT_FOUND);
    assert_true(count >= 5);
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

/* Whatever an output is not set up for: nothing is written to it, and nothing is lost for it. */
static void an_output_that_is_not_set_up_takes_nothing(void **state)
{
    (void)state;
    static const uint32_t sizes[] = { 0, 1, 3, 65537, 0xa5a5a5a5 };
    struct fixture        f;
    set_up(&f);
    for (size_t n = 0; n < sizeof sizes / sizeof *sizes; n++) {
        sgi_runtime_info info = { .struct_size = sizes[n] };
        sgi_completion   c = { .struct_size = sizes[n] };
        sgi_model_state  s = { .struct_size = sizes[n] };
        assert_int_equal(sgi_runtime_query(f.rt, &info), SGI_E_INVALID);
        assert_int_equal(sgi_model_query(f.rt, f.plain, &s), SGI_E_INVALID);
        assert_int_equal(sgi_model_acquire(f.rt, f.plain, NULL, NULL, NULL, NULL, NULL), SGI_OK);
        host_wait_state(f.rt, f.plain, SGI_MODEL_BUSY);
        assert_int_equal(sgi_completion_next(f.rt, &c), SGI_E_INVALID);
        host_release(f.rt, host_next(f.rt).lease); /* it is there still */
    }
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(null_is_refused_everywhere),
        cmocka_unit_test(structs_without_a_size_are_refused),
        cmocka_unit_test(init_functions_fill_what_fits),
        cmocka_unit_test(unknown_bits_and_values_are_refused_by_name),
        cmocka_unit_test(ids_of_another_kind_time_or_runtime_are_stale),
        cmocka_unit_test(an_older_callers_structs_end_earlier),
        cmocka_unit_test(a_newer_callers_structs_are_fine_while_they_ask_nothing_new),
        cmocka_unit_test(errors_may_be_left_out),
        cmocka_unit_test(an_error_that_is_small_is_filled_as_far_as_it_goes),
        cmocka_unit_test(statuses_and_steps_have_names_and_texts),
        cmocka_unit_test(features_are_listed_until_not_found),
        cmocka_unit_test(an_output_that_is_not_set_up_takes_nothing),
    };
    return cmocka_run_group_tests_name("arguments", tests, make_files, remove_files);
}
