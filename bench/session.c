/* SPDX-License-Identifier: Apache-2.0 */
#include "session.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "measure.h"
#include "options.h"

enum { POLL_US = 500, CLOSE_MS = 60000, FAILED_CLOSE_MS = 2000 };

const char *const session_engines[] = { "auto", "uring", "threads", NULL };

/* What die() leaves open: a device is given back by who took it, also after a failure. */
static struct {
    sgi_runtime *rt;
    pid_t        pid;
} left_open;

static void close_at_exit(void)
{
    if (left_open.rt && left_open.pid == getpid()) /* a fork's copy is nobody's to close */
        sgi_runtime_close(left_open.rt, FAILED_CLOSE_MS, NULL);
}

static _Noreturn void failed(const char *what, const sgi_error *err)
{
    die("%s: %s (%s)", what, err->message, sgi_status_name(err->code));
}

sgi_runtime_config session_config(const char *engine, uint64_t rate)
{
    sgi_runtime_config c;
    sgi_runtime_config_init(&c, sizeof c);
    c.io_engine = strcmp(engine, "uring") == 0     ? SGI_IO_URING
                  : strcmp(engine, "threads") == 0 ? SGI_IO_THREADS
                                                   : SGI_IO_AUTO;
    c.read_bytes_per_s_max = rate;
    c.idle_timeout_ms = SGI_IDLE_NEVER;
    c.dram_bytes_max = SGI_NONE;
    return c;
}

void session_on(sgi_runtime_config *config, sgi_device_config *device, const char *name)
{
    sgi_device_config_init(device, sizeof *device);
    device->name = name;
    config->devices = device;
    config->devices_count = 1;
}

sgi_runtime *session_open(const sgi_runtime_config *config)
{
    sgi_runtime *rt;
    sgi_error    err = SGI_ERROR_INIT;
    if (sgi_runtime_open(config, &rt, &err) != SGI_OK)
        failed("open a runtime", &err);
    if (!left_open.pid)
        atexit(close_at_exit);
    left_open.rt = rt;
    left_open.pid = getpid();
    return rt;
}

void session_close(sgi_runtime *rt)
{
    sgi_error err = SGI_ERROR_INIT;
    left_open.rt = NULL;
    if (sgi_runtime_close(rt, CLOSE_MS, &err) != SGI_OK)
        failed("close the runtime", &err);
}

sgi_model session_register(sgi_runtime *rt, const char *name, const char *path, uint32_t flags)
{
    sgi_model_config c;
    sgi_model        model;
    sgi_error        err = SGI_ERROR_INIT;
    sgi_model_config_init(&c, sizeof c);
    c.name = name;
    c.path = path;
    c.flags = flags;
    if (sgi_model_register(rt, &c, &model, &err) != SGI_OK)
        failed("register", &err);
    return model;
}

sgi_model_info session_info(sgi_runtime *rt, sgi_model model)
{
    sgi_model_info info = { .struct_size = sizeof info };
    if (sgi_model_describe(rt, model, &info) != SGI_OK)
        die("a model is gone");
    return info;
}

sgi_lease session_acquire(sgi_runtime *rt, sgi_model model, sgi_timing *timing_out)
{
    sgi_lease lease;
    sgi_error err = SGI_ERROR_INIT;
    if (sgi_model_acquire_wait(rt, model, NULL, &lease, &err) != SGI_OK)
        failed("acquire", &err);
    if (timing_out) {
        *timing_out = (sgi_timing){ .struct_size = sizeof *timing_out };
        sgi_lease_timing(rt, lease, timing_out);
    }
    return lease;
}

void session_release(sgi_runtime *rt, sgi_lease lease)
{
    sgi_status st = sgi_lease_release(rt, lease);
    if (st != SGI_OK)
        die("release: %s", sgi_status_name(st));
}

void session_evict(sgi_runtime *rt, sgi_model model, uint32_t tier)
{
    sgi_model_state state = { .struct_size = sizeof state };
    for (;;) {
        sgi_model_evict(rt, model, tier);
        if (sgi_model_query(rt, model, &state) != SGI_OK)
            die("a model is gone");
        if (state.state == SGI_MODEL_COLD && state.device_bytes == 0 &&
            (tier == SGI_TIER_DRAM || state.dram_bytes == 0))
            return;
        nap_us(POLL_US);
    }
}

void session_wait_idle(sgi_runtime *rt)
{
    sgi_runtime_info info = { .struct_size = sizeof info };
    sgi_device_info  device = { .struct_size = sizeof device };
    while (sgi_runtime_query(rt, &info) != SGI_OK || sgi_device_query(rt, 0, &device) != SGI_OK ||
           info.threads_count > 1 || info.device_bytes > 0 || device.context != SGI_CONTEXT_NONE)
        nap_us(POLL_US);
}

json_t *session_phases(const sgi_timing *timing)
{
    json_t *phases = json_object();
    for (uint32_t n = 0; n < sizeof timing->phases / sizeof *timing->phases; n++)
        if (timing->phases[n].duration_ns > 0)
            json_object_set_new(phases, sgi_step_name(n), json_real((double)timing->phases[n].duration_ns / 1e6));
    return phases;
}
