/* SPDX-License-Identifier: Apache-2.0 */
#include "host.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static sgi_error error_new(void)
{
    return (sgi_error){ .struct_size = sizeof(sgi_error) };
}

static void good(sgi_status st, const sgi_error *err, const char *what)
{
    if (st != SGI_OK)
        fail_msg("%s: %s: step %s: %s", what, sgi_status_name(st), err ? sgi_step_name(err->step) : "?",
                 err ? err->message : "");
}

/* "cuda:0 cuda:1": the suite runs on these instead of a host, where the environment says so. */
static void take_devices(sgi_runtime_config *c, const char *names)
{
    static char              name[16][16];
    static sgi_device_config devices[16];
    int                      used;

    c->devices = devices;
    for (; c->devices_count < 16 && sscanf(names, "%15s%n", name[c->devices_count], &used) == 1; names += used) {
        sgi_device_config_init(&devices[c->devices_count], sizeof *devices);
        devices[c->devices_count].name = name[c->devices_count];
        c->devices_count++;
    }
}

bool host_is_host(void)
{
    return getenv("SGI_TEST_DEVICES") == NULL;
}

sgi_runtime_config host_config(void)
{
    sgi_runtime_config c;
    assert_int_equal(sgi_runtime_config_init(&c, sizeof c), SGI_OK);
    if (!host_is_host())
        take_devices(&c, getenv("SGI_TEST_DEVICES"));
    c.dram_bytes_max = SGI_NONE;
    c.idle_timeout_ms = SGI_IDLE_NEVER;
    c.context_linger_ms = SGI_IDLE_NEVER;
    return c;
}

sgi_runtime *host_open(const sgi_runtime_config *config)
{
    sgi_runtime *rt = NULL;
    sgi_error    err = error_new();
    good(sgi_runtime_open(config, &rt, &err), &err, "open");
    return rt;
}

void host_close(sgi_runtime *rt)
{
    sgi_error err = error_new();
    good(sgi_runtime_close(rt, HOST_WAIT_MS, &err), &err, "close");
}

sgi_model_config host_model(const char *name, const char *path, const struct test_engine *engine)
{
    sgi_model_config c;
    assert_int_equal(sgi_model_config_init(&c, sizeof c), SGI_OK);
    c.name = name;
    c.path = path;
    c.engine = engine ? &engine->table : NULL;
    return c;
}

sgi_model host_register(sgi_runtime *rt, const sgi_model_config *config)
{
    sgi_model model = 0;
    sgi_error err = error_new();
    good(sgi_model_register(rt, config, &model, &err), &err, "register");
    assert_int_not_equal(model, 0);
    return model;
}

sgi_model host_add(sgi_runtime *rt, const char *name, const char *path, const struct test_engine *engine)
{
    sgi_model_config c = host_model(name, path, engine);
    return host_register(rt, &c);
}

sgi_lease host_acquire(sgi_runtime *rt, sgi_model model)
{
    sgi_lease lease = 0;
    sgi_error err = error_new();
    good(sgi_model_acquire_wait(rt, model, NULL, &lease, &err), &err, "acquire");
    assert_int_not_equal(lease, 0);
    return lease;
}

void host_release(sgi_runtime *rt, sgi_lease lease)
{
    good(sgi_lease_release(rt, lease), NULL, "release");
}

sgi_status host_acquire_fails(sgi_runtime *rt, sgi_model model, sgi_error *err)
{
    sgi_lease lease = 0;
    *err = error_new();
    sgi_status st = sgi_model_acquire_wait(rt, model, NULL, &lease, err);
    assert_int_not_equal(st, SGI_OK);
    assert_int_equal(lease, 0); /* outputs are written only on success */
    return st;
}

sgi_model_state host_state(sgi_runtime *rt, sgi_model model)
{
    sgi_model_state s = { .struct_size = sizeof s };
    good(sgi_model_query(rt, model, &s), NULL, "query");
    return s;
}

sgi_runtime_info host_info(sgi_runtime *rt)
{
    sgi_runtime_info info = { .struct_size = sizeof info };
    good(sgi_runtime_query(rt, &info), NULL, "query");
    return info;
}

sgi_device_info host_device(sgi_runtime *rt, uint32_t index)
{
    sgi_device_info info = { .struct_size = sizeof info };
    good(sgi_device_query(rt, index, &info), NULL, "query");
    return info;
}

sgi_timing host_timing(sgi_runtime *rt, sgi_lease lease)
{
    sgi_timing t = { .struct_size = sizeof t };
    good(sgi_lease_timing(rt, lease, &t), NULL, "timing");
    return t;
}

struct wanted {
    sgi_runtime *rt;
    sgi_model    model;
    uint32_t     value;
};

static bool state_is(void *user)
{
    const struct wanted *w = user;
    return host_state(w->rt, w->model).state == w->value;
}

void host_wait_state(sgi_runtime *rt, sgi_model model, uint32_t state)
{
    test_wait_until(state_is, &(struct wanted){ rt, model, state }, "a model does not come to its state");
}

static bool threads_are(void *user)
{
    const struct wanted *w = user;
    return host_info(w->rt).threads_count == w->value;
}

void host_wait_threads(sgi_runtime *rt, uint32_t threads)
{
    test_wait_until(threads_are, &(struct wanted){ rt, 0, threads }, "threads do not leave");
}

sgi_completion host_next(sgi_runtime *rt)
{
    sgi_completion c = { .struct_size = sizeof c };
    int            fd = -1;

    good(sgi_completion_fd(rt, &fd), NULL, "completion fd");
    for (;;) {
        sgi_status st = sgi_completion_next(rt, &c);
        if (st == SGI_OK)
            return c;
        assert_int_equal(st, SGI_E_WOULD_BLOCK);
        struct pollfd p = { .fd = fd, .events = POLLIN };
        if (poll(&p, 1, HOST_WAIT_MS) != 1)
            fail_msg("no completion comes");
    }
}

sgi_view host_tensor(sgi_runtime *rt, sgi_lease lease, uint64_t index)
{
    sgi_view  view = { .struct_size = sizeof view };
    sgi_error err = error_new();
    good(sgi_lease_tensor(rt, lease, index, &view, &err), &err, "tensor");
    return view;
}

void host_same_bytes(sgi_runtime *rt, sgi_model model, sgi_lease lease, const struct test_file *files)
{
    sgi_tensor t = { .struct_size = sizeof t };
    uint64_t   count = 0;

    for (; sgi_model_tensor_at(rt, model, count, &t) == SGI_OK; count++) {
        sgi_view  view = host_tensor(rt, lease, count);
        uint64_t  digest = 0;
        sgi_error err = error_new();
        assert_int_equal(view.bytes, t.bytes);
        if (host_is_host() && t.bytes > 0 && memcmp(view.data, files[t.part].data + t.file_offset, t.bytes) != 0)
            fail_msg("tensor %s: its bytes are not the file's", t.name);
        uint8_t  some[64];
        uint64_t some_bytes = t.bytes < sizeof some ? t.bytes : sizeof some, from = t.bytes - some_bytes;
        good(sgi_lease_tensor_read(rt, lease, count, from, some, some_bytes, &err), &err, "read");
        if (some_bytes > 0 && memcmp(some, files[t.part].data + t.file_offset + from, some_bytes) != 0)
            fail_msg("tensor %s: what is read of it is not the file's", t.name);
        good(sgi_lease_tensor_digest(rt, lease, count, &digest, &err), &err, "digest");
        if (digest != test_xxh3(files[t.part].data + t.file_offset, t.bytes))
            fail_msg("tensor %s: its digest is not the file's", t.name);
    }
    sgi_model_info info = { .struct_size = sizeof info };
    good(sgi_model_describe(rt, model, &info), NULL, "describe");
    assert_int_equal(info.tensors_count, count);
}

void host_error_is(const sgi_error *err, sgi_status code, uint32_t step, const char *names)
{
    if (err->code != code || err->step != step || !strstr(err->message, names))
        fail_msg("the error says %s at step %s: '%s'; it should be %s at step %s, naming '%s'",
                 sgi_status_name(err->code), sgi_step_name(err->step), err->message, sgi_status_name(code),
                 sgi_step_name(step), names);
}

sgi_status host_call(sgi_runtime *rt, sgi_lease lease, const void *request, size_t bytes, void *out, size_t room,
                     size_t *bytes_out, sgi_error *err)
{
    sgi_call call = 0;
    size_t   total = 0;
    bool     ended = false;

    good(sgi_call_begin(rt, lease, request, bytes, 77, &call, err), err, "call");
    for (;;) {
        size_t     got = 0;
        sgi_status st = sgi_call_read(rt, call, (char *)out + total, room - total, &got, err);
        total += got;
        if (st == SGI_OK)
            continue;
        if (st == SGI_E_WOULD_BLOCK) {
            sgi_completion c = host_next(rt);
            assert_true(c.call == call && c.lease == lease && c.tag == 77);
            assert_true(c.kind == SGI_COMPLETION_READABLE || (c.kind == SGI_COMPLETION_CALL && !ended));
            ended |= c.kind == SGI_COMPLETION_CALL;
            continue;
        }
        assert_int_equal(sgi_call_end(rt, call), SGI_OK);
        *bytes_out = total;
        return st == SGI_E_END ? SGI_OK : st;
    }
}
