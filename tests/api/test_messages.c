/* SPDX-License-Identifier: Apache-2.0 */
/* What errors say, for who has nothing but the text: the function, the kind of id, the model, the number that was
 * wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "support/host.h"

static struct test_folder folder;
static struct test_file   file;

struct fixture {
    struct test_engine engine;
    sgi_runtime       *rt;
    sgi_model          model, plain; /* with an engine, and without */
    sgi_error          err;
};

static void set_up(struct fixture *f)
{
    sgi_runtime_config config = host_config();
    f->err = (sgi_error)SGI_ERROR_INIT;
    test_engine_init(&f->engine, false, false);
    f->rt = host_open(&config);
    f->model = host_add(f->rt, "answers", file.path, &f->engine);
    f->plain = host_add(f->rt, "weights", file.path, NULL);
}

static void tear_down(struct fixture *f)
{
    host_close(f->rt);
    test_engine_fini(&f->engine);
}

/* The whole message, so that nothing more is said than is true. */
static void says(struct fixture *f, sgi_status got, sgi_status expected, const char *format, ...)
{
    char    text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    assert_int_equal(got, expected);
    assert_int_equal(f->err.code, expected);
    assert_string_equal(f->err.message, text);
    f->err = (sgi_error)SGI_ERROR_INIT;
}

static sgi_status run_nothing(void *user, void *stream, sgi_error *err)
{
    (void)user;
    (void)stream;
    (void)err;
    return SGI_OK;
}

/* ---- ids ---- */

static void a_model_that_is_gone_is_called_a_model(void **state)
{
    (void)state;
    static const char ends[] = "it was unregistered, or is being so, or it is of another runtime";
    struct fixture    f;
    sgi_lease         lease;
    set_up(&f);
    assert_int_equal(sgi_model_unregister(f.rt, f.plain, SGI_FOREVER, NULL), SGI_OK);
    unsigned long long id = f.plain;

    says(&f, sgi_model_acquire_wait(f.rt, id, NULL, &lease, &f.err), SGI_E_STALE,
         "sgi_model_acquire_wait: there is no model 0x%llx: %s", id, ends);
    says(&f, sgi_model_acquire(f.rt, id, NULL, NULL, NULL, NULL, &f.err), SGI_E_STALE,
         "sgi_model_acquire: there is no model 0x%llx: %s", id, ends);
    says(&f, sgi_model_prefetch(f.rt, id, SGI_TIER_DEVICE, NULL, NULL, NULL, NULL, &f.err), SGI_E_STALE,
         "sgi_model_prefetch: there is no model 0x%llx: %s", id, ends);
    says(&f, sgi_model_pin(f.rt, id, SGI_TIER_DEVICE, &f.err), SGI_E_STALE,
         "sgi_model_pin: there is no model 0x%llx: %s", id, ends);
    says(&f, sgi_model_unregister(f.rt, id, 1, &f.err), SGI_E_STALE,
         "sgi_model_unregister: there is no model 0x%llx: %s", id, ends);
    tear_down(&f);
}

static void a_lease_that_is_gone_is_called_a_lease(void **state)
{
    (void)state;
    static const char ends[] = "it was released, or it is of another runtime";
    struct fixture    f;
    sgi_view          view = { .struct_size = sizeof view };
    sgi_image         image = { .struct_size = sizeof image };
    uint64_t          digest;
    sgi_call          call;
    set_up(&f);
    sgi_lease lease = host_acquire(f.rt, f.plain);
    host_release(f.rt, lease);
    unsigned long long id = lease;

    says(&f, sgi_lease_tensor(f.rt, lease, 0, &view, &f.err), SGI_E_STALE,
         "sgi_lease_tensor: there is no lease 0x%llx: %s", id, ends);
    says(&f, sgi_lease_tensor_wait(f.rt, lease, 0, 1, &f.err), SGI_E_STALE,
         "sgi_lease_tensor_wait: there is no lease 0x%llx: %s", id, ends);
    says(&f, sgi_lease_tensor_digest(f.rt, lease, 0, &digest, &f.err), SGI_E_STALE,
         "sgi_lease_tensor_digest: there is no lease 0x%llx: %s", id, ends);
    says(&f, sgi_lease_image(f.rt, lease, 0, &image, &f.err), SGI_E_STALE,
         "sgi_lease_image: there is no lease 0x%llx: %s", id, ends);
    says(&f, sgi_lease_run(f.rt, lease, run_nothing, NULL, &f.err), SGI_E_STALE,
         "sgi_lease_run: there is no lease 0x%llx: %s", id, ends);
    says(&f, sgi_call_begin(f.rt, lease, NULL, 0, 0, &call, &f.err), SGI_E_STALE,
         "sgi_call_begin: there is no lease 0x%llx: %s", id, ends);
    says(&f, sgi_lease_call(f.rt, lease, NULL, 0, 1, NULL, NULL, &f.err), SGI_E_STALE,
         "sgi_lease_call: there is no lease 0x%llx: %s", id, ends);
    says(&f, sgi_lease_tensor(f.rt, 0, 0, &view, &f.err), SGI_E_STALE,
         "sgi_lease_tensor: the lease is 0, which is no id");
    says(&f, sgi_lease_tensor(f.rt, f.plain, 0, &view, &f.err), SGI_E_STALE,
         "sgi_lease_tensor: 0x%llx is not the id of a lease", (unsigned long long)f.plain);
    tear_down(&f);
}

static void tickets_and_calls_that_are_gone_are_called_so(void **state)
{
    (void)state;
    struct fixture f;
    sgi_ticket     ticket;
    sgi_lease      lease, other;
    sgi_call       call;
    char           piece[8];
    size_t         bytes;
    set_up(&f);

    assert_int_equal(sgi_model_acquire(f.rt, f.model, NULL, &ticket, NULL, NULL, NULL), SGI_OK);
    assert_int_equal(sgi_ticket_wait(f.rt, ticket, SGI_FOREVER, &lease, NULL), SGI_OK);
    says(&f, sgi_ticket_wait(f.rt, ticket, SGI_FOREVER, &other, &f.err), SGI_E_STALE,
         "sgi_ticket_wait: there is no ticket 0x%llx: it has ended, and its completion was taken, or it is of another "
         "runtime",
         (unsigned long long)ticket);
    struct test_request request = { .kind = REQUEST_EMIT };
    assert_int_equal(sgi_call_begin(f.rt, lease, &request, sizeof request, 0, &call, NULL), SGI_OK);
    assert_int_equal(sgi_call_end(f.rt, call), SGI_OK);
    says(&f, sgi_call_read(f.rt, call, piece, sizeof piece, &bytes, &f.err), SGI_E_STALE,
         "sgi_call_read: there is no call 0x%llx: it was given up by sgi_call_end(), or it is of another runtime",
         (unsigned long long)call);
    says(&f, sgi_call_wait(f.rt, call, 1, &f.err), SGI_E_STALE,
         "sgi_call_wait: there is no call 0x%llx: it was given up by sgi_call_end(), or it is of another runtime",
         (unsigned long long)call);
    says(&f, sgi_call_wait(f.rt, ticket, 1, &f.err), SGI_E_STALE, "sgi_call_wait: 0x%llx is not the id of a call",
         (unsigned long long)ticket);
    host_release(f.rt, lease);
    tear_down(&f);
}

/* ---- struct sizes ---- */

static void a_struct_size_is_said_to_be_unset_absurd_or_too_new(void **state)
{
    (void)state;
    struct fixture f;
    sgi_lease      lease;
    sgi_model      model;
    struct {
        sgi_acquire_options now;
        uint64_t            more;
    } o = { .more = 3 };
    sgi_view           view = { .struct_size = 0 };
    sgi_runtime_config rc = { .struct_size = 0 };
    sgi_runtime       *rt;
    set_up(&f);
    lease = host_acquire(f.rt, f.plain);

    says(&f, sgi_lease_tensor(f.rt, lease, 0, NULL, &f.err), SGI_E_INVALID, "sgi_lease_tensor: view_out is NULL");
    says(&f, sgi_lease_tensor(f.rt, lease, 0, &view, &f.err), SGI_E_INVALID,
         "sgi_lease_tensor: view_out: struct_size is 0, not set");
    view.struct_size = 3;
    says(&f, sgi_lease_tensor(f.rt, lease, 0, &view, &f.err), SGI_E_INVALID,
         "sgi_lease_tensor: view_out: struct_size is 3, which is the size of no struct");
    view.struct_size = 65537;
    says(&f, sgi_lease_tensor(f.rt, lease, 0, &view, &f.err), SGI_E_INVALID,
         "sgi_lease_tensor: view_out: struct_size is 65537, which is the size of no struct");
    says(&f, sgi_runtime_open(&rc, &rt, &f.err), SGI_E_INVALID,
         "sgi_runtime_open: sgi_runtime_config: struct_size is 0, not set");
    says(&f, sgi_model_register(f.rt, &(sgi_model_config){ .name = "x" }, &model, &f.err), SGI_E_INVALID,
         "sgi_model_register: sgi_model_config: struct_size is 0, not set");

    sgi_acquire_options_init(&o.now, sizeof o);
    o.more = 3;
    says(&f, sgi_model_acquire(f.rt, f.plain, &o.now, NULL, NULL, NULL, &f.err), SGI_E_INVALID,
         "sgi_model_acquire: sgi_acquire_options: struct_size is %zu, and what lies beyond the %zu bytes that this "
         "library knows is not 0: it is from a newer one",
         sizeof o, sizeof o.now);
    host_release(f.rt, lease);
    tear_down(&f);
}

/* ---- models ---- */

static void what_cannot_be_called_is_named(void **state)
{
    (void)state;
    struct fixture      f;
    sgi_acquire_options o;
    sgi_call            call, next;
    sgi_lease           lease, none;
    sgi_image           image = { .struct_size = sizeof image };
    struct test_request poll = { .kind = REQUEST_POLL };
    set_up(&f);

    lease = host_acquire(f.rt, f.plain);
    says(&f, sgi_call_begin(f.rt, lease, NULL, 0, 0, &call, &f.err), SGI_E_UNSUPPORTED,
         "model 'weights': it was registered without an engine, so there is nothing to call");
    says(&f, sgi_lease_image(f.rt, lease, 1, &image, &f.err), SGI_E_NOT_FOUND,
         "model 'weights' has 1 part, no number 1");
    host_release(f.rt, lease);
    assert_int_equal(sgi_model_unregister(f.rt, f.plain, SGI_FOREVER, NULL), SGI_OK); /* so that it holds nothing */

    sgi_acquire_options_init(&o, sizeof o);
    o.flags = SGI_ACQUIRE_EARLY;
    says(&f, sgi_model_acquire_wait(f.rt, f.model, &o, &none, &f.err), SGI_E_INVALID,
         "model 'answers': SGI_ACQUIRE_EARLY is for models without an engine, and this one has one");
    says(&f, sgi_model_acquire(f.rt, f.model, &o, NULL, NULL, NULL, &f.err), SGI_E_INVALID,
         "model 'answers': SGI_ACQUIRE_EARLY is for models without an engine, and this one has one");

    lease = host_acquire(f.rt, f.model);
    assert_int_equal(sgi_call_begin(f.rt, lease, &poll, sizeof poll, 0, &call, NULL), SGI_OK);
    says(&f, sgi_call_begin(f.rt, lease, NULL, 0, 0, &next, &f.err), SGI_E_BUSY,
         "model 'answers': a call is open on this lease, or one that was given up has not come back yet");
    says(&f, sgi_call_wait(f.rt, call, 1, &f.err), SGI_E_TIMEOUT,
         "model 'answers': the call has said nothing for 1 ms");
    says(&f, sgi_runtime_close(f.rt, 1, &f.err), SGI_E_TIMEOUT,
         "still in use after 1 ms: model 'answers': 1 lease, 1 call open");
    says(&f, sgi_model_unregister(f.rt, f.model, 1, &f.err), SGI_E_TIMEOUT,
         "model 'answers' is still in use: 1 lease, 1 call open");
    assert_int_equal(sgi_call_end(f.rt, call), SGI_OK);
    says(&f, sgi_model_unregister(f.rt, f.model, 1, &f.err), SGI_E_TIMEOUT,
         "model 'answers' is still in use: 1 lease"); /* the call is no longer what keeps it */
    host_release(f.rt, lease);
    tear_down(&f);
}

static int one_is_enough(void *user, const void *piece, size_t bytes)
{
    (void)user;
    (void)piece;
    (void)bytes;
    return 1;
}

static void a_call_that_is_cut_short_names_its_model(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    struct test_request poll = { .kind = REQUEST_POLL }, emit = { .kind = REQUEST_UNTIL_CANCELED };
    sgi_lease           lease = host_acquire(f.rt, f.model);

    says(&f, sgi_lease_call(f.rt, lease, &poll, sizeof poll, 1, NULL, NULL, &f.err), SGI_E_TIMEOUT,
         "model 'answers': the call took longer than 1 ms and was canceled");
    host_release(f.rt, lease);
    lease = host_acquire(f.rt, f.model); /* not before the engine is back */
    says(&f, sgi_lease_call(f.rt, lease, &emit, sizeof emit, SGI_FOREVER, one_is_enough, NULL, &f.err), SGI_E_CANCELED,
         "model 'answers': the caller wanted no more pieces");
    host_release(f.rt, lease);
    tear_down(&f);
}

static void a_field_of_a_model_names_the_model(void **state)
{
    (void)state;
    struct fixture f;
    const char    *folders[] = { "" };
    sgi_model      model;
    set_up(&f);
    sgi_model_config mc = host_model("sharded", file.path, NULL);
    mc.folders = folders;
    mc.folders_count = 1;
    says(&f, sgi_model_register(f.rt, &mc, &model, &f.err), SGI_E_INVALID,
         "model 'sharded': folders: number 0 is missing");
    tear_down(&f);
}

/* ---- flags ---- */

static void a_silent_lease_is_refused_by_whoever_gives_leases(void **state)
{
    (void)state;
    struct fixture      f;
    sgi_acquire_options o;
    sgi_lease           lease = 0;
    set_up(&f);
    sgi_acquire_options_init(&o, sizeof o);
    o.flags = SGI_PREFETCH_SILENT;
    static const char why[] = "SGI_PREFETCH_SILENT is for prefetches: a lease that nobody is told of would be held for "
                              "ever";

    says(&f, sgi_model_acquire(f.rt, f.plain, &o, NULL, NULL, NULL, &f.err), SGI_E_INVALID, "sgi_model_acquire: %s",
         why);
    says(&f, sgi_model_acquire_wait(f.rt, f.plain, &o, &lease, &f.err), SGI_E_INVALID, "sgi_model_acquire_wait: %s",
         why);
    host_release(f.rt, host_acquire(f.rt, f.plain)); /* up: a lease would be there */
    assert_int_equal(sgi_model_try_acquire(f.rt, f.plain, &o, &lease), SGI_E_INVALID);
    assert_int_equal(lease, 0);
    assert_int_equal(sgi_model_prefetch(f.rt, f.plain, SGI_TIER_DEVICE, &o, NULL, NULL, NULL, &f.err), SGI_OK);
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
        cmocka_unit_test(a_model_that_is_gone_is_called_a_model),
        cmocka_unit_test(a_lease_that_is_gone_is_called_a_lease),
        cmocka_unit_test(tickets_and_calls_that_are_gone_are_called_so),
        cmocka_unit_test(a_struct_size_is_said_to_be_unset_absurd_or_too_new),
        cmocka_unit_test(what_cannot_be_called_is_named),
        cmocka_unit_test(a_call_that_is_cut_short_names_its_model),
        cmocka_unit_test(a_field_of_a_model_names_the_model),
        cmocka_unit_test(a_silent_lease_is_refused_by_whoever_gives_leases),
    };
    return cmocka_run_group_tests_name("messages", tests, make_files, remove_files);
}
