/* SPDX-License-Identifier: Apache-2.0 */
/* The public functions that need no runtime: init functions, features, inspect. */
#include <sgi/ext.h>

#include "base/error.h"
#include "base/sized.h"
#include "format/format.h"
#include "io/io.h"
#include "observe/events.h"

uint32_t sgi_version(void)
{
    return SGI_VERSION;
}

const char *sgi_step_name(uint32_t step)
{
    switch (step) {
#define STEP(name, number, text) \
    case number:                 \
        return text;
        SGI_STEP_LIST(STEP)
#undef STEP
    default:
        return "?";
    }
}

const char *sgi_event_name(uint32_t kind)
{
    static const char *const names[SGI__EVENT_COUNT] = {
        [SGI_EVENT_REGISTERED] = "registered",
        [SGI_EVENT_UNREGISTERED] = "unregistered",
        [SGI_EVENT_QUEUED] = "queued",
        [SGI_EVENT_GRANTED] = "granted",
        [SGI_EVENT_REFUSED] = "refused",
        [SGI_EVENT_OVERDUE] = "overdue",
        [SGI_EVENT_ADMITTED] = "admitted",
        [SGI_EVENT_LOAD_START] = "load_start",
        [SGI_EVENT_LOAD_DONE] = "load_done",
        [SGI_EVENT_CHECK_FAILED] = "check_failed",
        [SGI_EVENT_PREPARED] = "prepared",
        [SGI_EVENT_READY] = "ready",
        [SGI_EVENT_FAILED] = "failed",
        [SGI_EVENT_WEDGED] = "wedged",
        [SGI_EVENT_IDLE] = "idle",
        [SGI_EVENT_STOPPING] = "stopping",
        [SGI_EVENT_RELEASED] = "released",
        [SGI_EVENT_KEPT] = "kept",
        [SGI_EVENT_DROPPED] = "dropped",
        [SGI_EVENT_DISCARDED] = "discarded",
        [SGI_EVENT_DEVICE_OPEN] = "device_open",
        [SGI_EVENT_DEVICE_ZERO] = "device_zero",
        [SGI_EVENT_DEVICE_LOST] = "device_lost",
        [SGI_EVENT_DEVICE_BACK] = "device_back",
    };
    return kind < SGI__EVENT_COUNT && names[kind] ? names[kind] : "?";
}

const char *sgi_cause_name(uint32_t cause)
{
    static const char *const names[SGI__CAUSE_COUNT] = {
        [SGI_CAUSE_NONE] = "none",         [SGI_CAUSE_IDLE] = "idle",   [SGI_CAUSE_ROOM] = "room",
        [SGI_CAUSE_EVICT] = "evict",       [SGI_CAUSE_DRAIN] = "drain", [SGI_CAUSE_FAILED] = "failed",
        [SGI_CAUSE_CANCELED] = "canceled", [SGI_CAUSE_LOST] = "lost",   [SGI_CAUSE_PRESSURE] = "pressure",
    };
    return cause < SGI__CAUSE_COUNT ? names[cause] : "?";
}

sgi_status sgi_error_set(sgi_error *err, sgi_status code, const char *message)
{
    return sgi__error(err, code, "%s", message ? message : "");
}

/* ---- init functions ---- */

sgi_status sgi_runtime_config_init(sgi_runtime_config *config, size_t size)
{
    return sgi__sized_init(config, size) ? SGI_OK : SGI_E_INVALID;
}

sgi_status sgi_device_config_init(sgi_device_config *config, size_t size)
{
    return sgi__sized_init(config, size) ? SGI_OK : SGI_E_INVALID;
}

sgi_status sgi_model_config_init(sgi_model_config *config, size_t size)
{
    return sgi__sized_init(config, size) ? SGI_OK : SGI_E_INVALID;
}

sgi_status sgi_engine_init(sgi_engine *engine, size_t size)
{
    return sgi__sized_init(engine, size) ? SGI_OK : SGI_E_INVALID;
}

sgi_status sgi_acquire_options_init(sgi_acquire_options *options, size_t size)
{
    if (!sgi__sized_init(options, size))
        return SGI_E_INVALID;
    if (size >= offsetof(sgi_acquire_options, device_hint) + sizeof options->device_hint)
        options->device_hint = SGI_DEVICE_ANY;
    return SGI_OK;
}

/* ---- inspect ---- */

static sgi_status inspect(const char *path, const struct sgi__format_options *options, uint32_t flags,
                          sgi_write_fn write, void *user, sgi_error *err)
{
    static const struct sgi__fs_posix everywhere;
    struct sgi__fs                    fs = sgi__fs_posix_table(&everywhere);
    struct sgi__manifest             *manifest;

    if (!path || !*path || !write || (flags & ~(uint32_t)SGI_INSPECT_TEXT))
        return sgi__error(err, SGI_E_INVALID, "sgi_inspect: %s",
                          !path || !*path ? "path is missing"
                          : !write        ? "write is NULL"
                                          : "unknown flags");
    sgi_status st = sgi__format_open(&fs, path, options, &manifest, err);
    if (st != SGI_OK)
        return st;
    if (flags & SGI_INSPECT_TEXT)
        st = sgi__format_write_text(manifest, write, user, err);
    else
        st = sgi__format_write_json(manifest, write, user, err);
    sgi__manifest_free(manifest);
    return st;
}

sgi_status sgi_inspect(const char *path, uint32_t flags, sgi_write_fn write, void *user, sgi_error *err)
{
    struct sgi__format_options options = { .flags = SGI__FORMAT_METADATA };
    return inspect(path, &options, flags, write, user, err);
}

sgi_status sgi_inspect_config(const sgi_model_config *config, uint32_t flags, sgi_write_fn write, void *user,
                              sgi_error *err)
{
    sgi_model_config c;
    if (!config || !sgi__sized_in(config, &c, sizeof c))
        return sgi__sized_refuse(err, __func__, "sgi_model_config", config, sizeof c);
    struct sgi__format_options options = { .flags = SGI__FORMAT_METADATA,
                                           .header_bytes_max = c.header_bytes_max,
                                           .folders = c.folders,
                                           .folders_count = c.folders_count,
                                           .checks_path = c.checks_path };
    return inspect(c.path, &options, flags, write, user, err);
}
