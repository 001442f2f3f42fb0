/* SPDX-License-Identifier: Apache-2.0 */
/* The public functions that take a runtime: check the arguments, call in. What they promise stands in sgi.h. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/sized.h"
#include "base/thread.h"
#include "model/describe.h"
#include "runtime/runtime.h"

#define NOT_NULL(argument)                                                                \
    do {                                                                                  \
        if (!(argument))                                                                  \
            return sgi__error(err, SGI_E_INVALID, "%s: " #argument " is NULL", __func__); \
    } while (0)

#define SIZED(out)                                                                                                 \
    do {                                                                                                           \
        if (!sgi__sized_is(out))                                                                                   \
            return sgi__error(err, SGI_E_INVALID, "%s: " #out " is NULL or its struct_size is not set", __func__); \
    } while (0)

static sgi_status not_here(sgi_error *err, const char *function)
{
    return sgi__error(err, SGI_E_DEADLOCK, "%s: it would block a thread of the library", function);
}

static sgi_status stale(sgi_error *err)
{
    return sgi__error(err, SGI_E_STALE, "%s", sgi_status_text(SGI_E_STALE));
}

/* ---- runtime ---- */

sgi_status sgi_runtime_open(const sgi_runtime_config *config, sgi_runtime **rt_out, sgi_error *err)
{
    NOT_NULL(rt_out);
    return sgi__runtime_open_with(config, NULL, NULL, rt_out, err);
}

sgi_status sgi_runtime_close(sgi_runtime *rt, uint32_t timeout_ms, sgi_error *err)
{
    NOT_NULL(rt);
    if (sgi__thread_in_library())
        return not_here(err, __func__);
    return sgi__runtime_close(rt, timeout_ms, err);
}

sgi_status sgi_runtime_drain(sgi_runtime *rt)
{
    sgi_error *err = NULL;
    NOT_NULL(rt);
    sgi__rt_enter(rt);
    sgi__core_drain(rt->core, sgi__rt_now(rt));
    sgi__rt_leave(rt);
    return SGI_OK;
}

sgi_status sgi_runtime_query(sgi_runtime *rt, sgi_runtime_info *info_out)
{
    sgi_error *err = NULL;
    NOT_NULL(rt);
    SIZED(info_out);
    struct sgi__core_totals t;
    sgi_runtime_info        info = { 0 };

    pthread_mutex_lock(&rt->mutex);
    rt->inside++; /* the place does not go meanwhile */
    sgi__core_totals(rt->core, &t);
    info.calls_count = rt->calls_count;
    pthread_mutex_unlock(&rt->mutex);
    uint64_t spare = rt->place_ops->spare_bytes(rt->place);
    info.threads_count = rt->place_ops->threads(rt->place) + sgi__pool_threads(rt->done_pool) + 1;
    pthread_mutex_lock(&rt->mutex);
    sgi__rt_outside(rt);
    pthread_mutex_unlock(&rt->mutex);
    info.devices_count = rt->core_config.devices_count;
    info.models_count = t.models;
    info.requests_waiting = t.wants;
    info.leases_count = t.leases;
    info.loads_running = t.loads;
    info.device_bytes = t.device_bytes;
    if (spare > t.dram_bytes_max - t.dram_bytes) /* what the budget no longer leaves is being freed this moment */
        spare = t.dram_bytes_max - t.dram_bytes;
    info.dram_bytes = t.dram_bytes + spare;
    info.dram_bytes_max = t.dram_bytes_max;
    info.spare_bytes = spare;
    info.prepared_bytes = t.prepared_bytes;
    snprintf(info.io_engine, sizeof info.io_engine, "%s", rt->io_name);
    sgi__sized_out(info_out, &info, sizeof info);
    return SGI_OK;
}

sgi_status sgi_device_query(sgi_runtime *rt, uint32_t index, sgi_device_info *info_out)
{
    sgi_error *err = NULL;
    NOT_NULL(rt);
    SIZED(info_out);
    if (index >= rt->core_config.devices_count)
        return SGI_E_NOT_FOUND;
    struct sgi__core_device_view v;
    pthread_mutex_lock(&rt->mutex);
    sgi__core_device_view(rt->core, index, &v);
    pthread_mutex_unlock(&rt->mutex);
    sgi_device_info info = { .context = v.context_open ? SGI_CONTEXT_OURS : SGI_CONTEXT_NONE,
                             .bytes_max = v.bytes_max,
                             .bytes_used = v.bytes_used,
                             .bytes_engine = v.bytes_engine,
                             .bytes_foreign = v.bytes_foreign,
                             .instances_count = v.instances,
                             .lost = v.lost };
    memcpy(info.name, rt->device_names[index], sizeof info.name);
    sgi__sized_out(info_out, &info, sizeof info);
    return SGI_OK;
}

/* ---- completions ---- */

sgi_status sgi_completion_fd(sgi_runtime *rt, int *fd_out)
{
    sgi_error *err = NULL;
    NOT_NULL(rt);
    NOT_NULL(fd_out);
    return sgi__completion_fd(rt, fd_out);
}

sgi_status sgi_completion_next(sgi_runtime *rt, sgi_completion *completion_out)
{
    sgi_error *err = NULL;
    NOT_NULL(rt);
    SIZED(completion_out);
    return sgi__completion_next(rt, completion_out);
}

/* ---- models ---- */

sgi_status sgi_model_register(sgi_runtime *rt, const sgi_model_config *config, sgi_model *model_out, sgi_error *err)
{
    NOT_NULL(rt);
    NOT_NULL(config);
    NOT_NULL(model_out);
    return sgi__rt_register(rt, config, model_out, err);
}

sgi_status sgi_model_unregister(sgi_runtime *rt, sgi_model model, uint32_t timeout_ms, sgi_error *err)
{
    NOT_NULL(rt);
    if (sgi__thread_in_library())
        return not_here(err, __func__);
    return sgi__rt_unregister(rt, model, timeout_ms, err);
}

sgi_status sgi_model_find(sgi_runtime *rt, const char *name, sgi_model *model_out)
{
    sgi_error *err = NULL;
    NOT_NULL(rt);
    NOT_NULL(name);
    NOT_NULL(model_out);
    pthread_mutex_lock(&rt->mutex);
    const struct record *r = (const struct record *)sgi__registry_find(&rt->registry, name);
    if (r)
        *model_out = r->id;
    pthread_mutex_unlock(&rt->mutex);
    return r ? SGI_OK : SGI_E_NOT_FOUND;
}

static uint64_t sum_bytes(const struct sgi__manifest *m, bool files)
{
    uint64_t sum = 0;
    for (uint32_t n = 0; files && n < m->files_count; n++)
        sum += m->files[n].id.bytes;
    for (uint64_t n = 0; !files && n < m->tensors_count; n++)
        sum += m->tensors[n].bytes;
    return sum;
}

sgi_status sgi_model_describe(sgi_runtime *rt, sgi_model model, sgi_model_info *info_out)
{
    sgi_error *err = NULL;
    NOT_NULL(rt);
    SIZED(info_out);
    struct sgi__core_model_view v;
    pthread_mutex_lock(&rt->mutex);
    const struct record *r = sgi__rt_record(rt, model);
    if (r) {
        sgi__core_model_view(rt->core, model, &v);
        sgi_model_info info = { .parts_count = r->manifest->files_count,
                                .name = r->name,
                                .format = r->manifest->format,
                                .tensors_count = r->manifest->tensors_count,
                                .file_bytes = sum_bytes(r->manifest, true),
                                .tensor_bytes = sum_bytes(r->manifest, false),
                                .image_bytes = r->layout->image_bytes,
                                .engine_bytes = v.engine_bytes };
        sgi__sized_out(info_out, &info, sizeof info);
    }
    pthread_mutex_unlock(&rt->mutex);
    return r ? SGI_OK : SGI_E_STALE;
}

static uint32_t ms_until(uint64_t deadline, uint64_t now)
{
    if (deadline == SGI__NEVER)
        return SGI_IDLE_NEVER;
    uint64_t ms = deadline > now ? (deadline - now + 999999u) / 1000000u : 0;
    return ms < SGI_IDLE_NOW ? (uint32_t)ms : SGI_IDLE_NOW - 1;
}

sgi_status sgi_model_query(sgi_runtime *rt, sgi_model model, sgi_model_state *state_out)
{
    sgi_error *err = NULL;
    NOT_NULL(rt);
    SIZED(state_out);
    struct sgi__core_model_view v;
    struct sgi__place_progress  progress = { 0 };

    pthread_mutex_lock(&rt->mutex);
    uint64_t   now = sgi__rt_now(rt);
    sgi_status st = sgi__core_model_view(rt->core, model, &v);
    bool       loading = st == SGI_OK && v.state == SGI_MODEL_LOADING;
    rt->inside += loading;
    pthread_mutex_unlock(&rt->mutex);
    if (st != SGI_OK)
        return st;
    bool backing_off = v.state == SGI_MODEL_COLD && v.failed_until > now;
    if (loading) {
        rt->place_ops->progress(rt->place, v.instance,
                                &progress); /* stale: it has just ended, and zeros are as true as anything */
        pthread_mutex_lock(&rt->mutex);
        sgi__rt_outside(rt);
        pthread_mutex_unlock(&rt->mutex);
    }
    sgi_model_state state = {
        .state = backing_off ? SGI_MODEL_FAILED : v.state,
        .device = v.device,
        .tier = v.tier,
        .leases_count = v.leases,
        .requests_waiting = v.wants,
        .pinned_tier = v.pinned_tier,
        .idle_left_ms = v.state == SGI_MODEL_READY ? ms_until(v.idle_deadline, now) : 0,
        .device_bytes = v.device_bytes,
        .dram_bytes = v.dram_bytes,
        .prepared_bytes = v.prepared_bytes,
        .loaded_bytes = progress.done,
        .loading_bytes = progress.total,
        .loads_count = v.loads,
        .failures_count = v.failures,
        .last_error = v.last_error,
        .retry_after_ms = backing_off ? ms_until(v.failed_until, now) : 0,
        .leases_overdue = v.leases_overdue,
        .instances_count = v.instances,
        .calls_out = v.calls,
    };
    sgi__sized_out(state_out, &state, sizeof state);
    return SGI_OK;
}

sgi_status sgi_model_part_at(sgi_runtime *rt, sgi_model model, uint32_t part, sgi_model_part *part_out)
{
    sgi_error *err = NULL;
    NOT_NULL(rt);
    SIZED(part_out);
    sgi_status st = SGI_E_STALE;
    pthread_mutex_lock(&rt->mutex);
    const struct record *r = sgi__rt_record(rt, model);
    if (r) {
        st = part < r->layout->parts_count ? SGI_OK : SGI_E_NOT_FOUND;
        if (st == SGI_OK) {
            const struct sgi__part *p = &r->layout->parts[part];
            sgi_model_part          full = { .path = r->manifest->files[part].path,
                                             .file_bytes = r->manifest->files[part].id.bytes,
                                             .data_offset = p->data_offset,
                                             .prefix_bytes = p->prefix_bytes,
                                             .image_bytes = p->region_bytes };
            sgi__sized_out(part_out, &full, sizeof full);
        }
    }
    pthread_mutex_unlock(&rt->mutex);
    return st;
}

sgi_status sgi_model_tensor_at(sgi_runtime *rt, sgi_model model, uint64_t index, sgi_tensor *tensor_out)
{
    sgi_error *err = NULL;
    NOT_NULL(rt);
    SIZED(tensor_out);
    sgi_status st = SGI_E_STALE;
    pthread_mutex_lock(&rt->mutex);
    const struct record *r = sgi__rt_record(rt, model);
    if (r) {
        st = index < r->manifest->tensors_count ? SGI_OK : SGI_E_NOT_FOUND;
        if (st == SGI_OK)
            sgi__describe_tensor(r->manifest, index, tensor_out);
    }
    pthread_mutex_unlock(&rt->mutex);
    return st;
}

sgi_status sgi_model_tensor_find(sgi_runtime *rt, sgi_model model, const char *name, sgi_tensor *tensor_out)
{
    sgi_error *err = NULL;
    NOT_NULL(rt);
    NOT_NULL(name);
    SIZED(tensor_out);
    sgi_status st = SGI_E_STALE;
    pthread_mutex_lock(&rt->mutex);
    const struct record *r = sgi__rt_record(rt, model);
    if (r) {
        int64_t index = sgi__manifest_find(r->manifest, name);
        st = index >= 0 ? SGI_OK : SGI_E_NOT_FOUND;
        if (st == SGI_OK)
            sgi__describe_tensor(r->manifest, (uint64_t)index, tensor_out);
    }
    pthread_mutex_unlock(&rt->mutex);
    return st;
}

sgi_status sgi_model_evict(sgi_runtime *rt, sgi_model model, uint32_t tier)
{
    sgi_error *err = NULL;
    NOT_NULL(rt);
    if (tier != SGI_TIER_DISK && tier != SGI_TIER_DRAM && tier != SGI_EVICT_ALL)
        return SGI_E_INVALID;
    sgi__rt_enter(rt);
    sgi_status st = sgi__core_evict(rt->core, sgi__rt_now(rt), model, tier);
    sgi__rt_leave(rt);
    return st;
}

sgi_status sgi_runtime_evict(sgi_runtime *rt, uint32_t tier)
{
    sgi_error *err = NULL;
    NOT_NULL(rt);
    if (tier != SGI_TIER_DISK && tier != SGI_TIER_DRAM && tier != SGI_EVICT_ALL)
        return SGI_E_INVALID;
    sgi__rt_enter(rt);
    sgi__core_evict_all(rt->core, sgi__rt_now(rt), tier);
    sgi__rt_leave(rt);
    return SGI_OK;
}

sgi_status sgi_model_pin(sgi_runtime *rt, sgi_model model, uint32_t tier, sgi_error *err)
{
    NOT_NULL(rt);
    if (tier > SGI_TIER_DEVICE)
        return sgi__error(err, SGI_E_INVALID, "sgi_model_pin: there is no tier %u", tier);
    return sgi__rt_pin(rt, model, tier, err);
}

/* ---- acquire ---- */

/* NULL: defaults. */
static sgi_status take_options(const sgi_runtime *rt, const sgi_acquire_options *given, sgi_acquire_options *o,
                               sgi_error *err)
{
    *o = (sgi_acquire_options){ .struct_size = sizeof *o, .device_hint = SGI_DEVICE_ANY };
    if (!given)
        return SGI_OK;
    if (!sgi__sized_in(given, o, sizeof *o))
        return sgi__error(err, SGI_E_INVALID,
                          "sgi_acquire_options: struct_size is not set, or it is from a newer library");
    if (given->struct_size <= offsetof(sgi_acquire_options, device_hint))
        o->device_hint = SGI_DEVICE_ANY;
    if (o->flags & ~(uint32_t)(SGI_ACQUIRE_EARLY | SGI_PREFETCH_SILENT))
        return sgi__error(err, SGI_E_INVALID, "sgi_acquire_options: flags has unknown bits: 0x%x", o->flags);
    if (o->reserved0)
        return sgi__error(err, SGI_E_INVALID, "sgi_acquire_options: reserved0 is not 0");
    if (o->device_hint < SGI_DEVICE_ANY || o->device_hint >= (int32_t)rt->core_config.devices_count)
        return sgi__error(err, SGI_E_INVALID, "sgi_acquire_options: device_hint %d: the runtime has devices 0 to %u",
                          o->device_hint, rt->core_config.devices_count - 1);
    return SGI_OK;
}

sgi_status sgi_model_try_acquire(sgi_runtime *rt, sgi_model model, const sgi_acquire_options *options,
                                 sgi_lease *lease_out)
{
    sgi_error          *err = NULL;
    sgi_acquire_options o;
    NOT_NULL(rt);
    NOT_NULL(lease_out);
    sgi_status st = take_options(rt, options, &o, err);
    if (st != SGI_OK)
        return st;
    sgi__rt_enter(rt);
    st = sgi__core_try_acquire(rt->core, sgi__rt_now(rt), model, sgi__rt_idle_ns(o.idle_timeout_ms, SGI__IDLE_OF_MODEL),
                               o.lease_ms == SGI_FOREVER ? SGI__NEVER : (uint64_t)o.lease_ms * 1000000u, lease_out);
    sgi__rt_leave(rt);
    return st;
}

sgi_status sgi_model_acquire_wait(sgi_runtime *rt, sgi_model model, const sgi_acquire_options *options,
                                  sgi_lease *lease_out, sgi_error *err)
{
    sgi_acquire_options o;
    NOT_NULL(rt);
    NOT_NULL(lease_out);
    if (sgi__thread_in_library())
        return not_here(err, __func__);
    sgi_status st = take_options(rt, options, &o, err);
    return st == SGI_OK ? sgi__rt_acquire_wait(rt, model, &o, lease_out, err) : st;
}

sgi_status sgi_model_acquire(sgi_runtime *rt, sgi_model model, const sgi_acquire_options *options,
                             sgi_ticket *ticket_out, sgi_done_fn done, void *user, sgi_error *err)
{
    sgi_acquire_options o;
    NOT_NULL(rt);
    sgi_status st = take_options(rt, options, &o, err);
    if (st != SGI_OK)
        return st;
    if (o.flags & SGI_PREFETCH_SILENT)
        return sgi__error(
            err, SGI_E_INVALID,
            "sgi_model_acquire: a lease that nobody is told of (SGI_PREFETCH_SILENT) would be held for ever");
    return sgi__rt_acquire(rt, model, &o, SGI_TIER_DEVICE, false, ticket_out, done, user, err);
}

sgi_status sgi_model_prefetch(sgi_runtime *rt, sgi_model model, uint32_t tier, const sgi_acquire_options *options,
                              sgi_ticket *ticket_out, sgi_done_fn done, void *user, sgi_error *err)
{
    sgi_acquire_options o;
    NOT_NULL(rt);
    if (tier != SGI_TIER_DRAM && tier != SGI_TIER_DEVICE)
        return sgi__error(err, SGI_E_INVALID, "sgi_model_prefetch: %u is no tier to bring bytes to", tier);
    sgi_status st = take_options(rt, options, &o, err);
    if (st != SGI_OK)
        return st;
    if (o.flags & SGI_ACQUIRE_EARLY)
        return sgi__error(err, SGI_E_INVALID, "sgi_model_prefetch: SGI_ACQUIRE_EARLY is for leases");
    return sgi__rt_acquire(rt, model, &o, tier, true, ticket_out, done, user, err);
}

sgi_status sgi_model_estimate(sgi_runtime *rt, sgi_model model, const sgi_acquire_options *options,
                              sgi_estimate *estimate_out, sgi_model *evicted, uint32_t evicted_max)
{
    static const uint8_t outlooks[] = {
        [SGI__OUTLOOK_WARM] = SGI_ESTIMATE_WARM, [SGI__OUTLOOK_JOIN] = SGI_ESTIMATE_JOIN,
        [SGI__OUTLOOK_LOAD] = SGI_ESTIMATE_LOAD, [SGI__OUTLOOK_EVICT] = SGI_ESTIMATE_EVICT,
        [SGI__OUTLOOK_WAIT] = SGI_ESTIMATE_WAIT, [SGI__OUTLOOK_REFUSED] = SGI_ESTIMATE_REFUSED,
    };
    sgi_error                *err = NULL;
    sgi_acquire_options       o;
    struct sgi__core_estimate e;
    NOT_NULL(rt);
    SIZED(estimate_out);
    sgi_status st = take_options(rt, options, &o, err);
    if (st != SGI_OK)
        return st;
    sgi__rt_enter(rt);
    st = sgi__core_estimate(rt->core, sgi__rt_now(rt), model, o.device_hint, &e, evicted, evicted ? evicted_max : 0);
    sgi__rt_leave(rt);
    if (st != SGI_OK)
        return st;
    sgi_estimate full = {
        .outlook = outlooks[e.outlook],
        .status = e.status,
        .retry_after_ms = (uint32_t)((e.retry_after_ns + 999999) / 1000000),
        .device = e.device,
        .tier = e.tier,
        .device_bytes = e.bytes,
        .lacking_bytes = e.lacking_bytes,
        .expected_ns = e.expected_ns,
        .evicted_count = e.victims_count,
    };
    sgi__sized_out(estimate_out, &full, sizeof full);
    return SGI_OK;
}

sgi_status sgi_acquire_cancel(sgi_runtime *rt, sgi_ticket ticket)
{
    sgi_error *err = NULL;
    NOT_NULL(rt);
    sgi__rt_enter(rt);
    sgi_status st = sgi__core_cancel(rt->core, sgi__rt_now(rt), ticket);
    sgi__rt_leave(rt);
    return st;
}

sgi_status sgi_ticket_wait(sgi_runtime *rt, sgi_ticket ticket, uint32_t timeout_ms, sgi_lease *lease_out,
                           sgi_error *err)
{
    NOT_NULL(rt);
    NOT_NULL(lease_out);
    if (sgi__thread_in_library())
        return not_here(err, __func__);
    return sgi__rt_ticket_wait(rt, ticket, timeout_ms, lease_out, err);
}

/* ---- leases ---- */

sgi_status sgi_lease_release(sgi_runtime *rt, sgi_lease lease)
{
    sgi_error *err = NULL;
    NOT_NULL(rt);
    sgi__rt_enter(rt);
    sgi_status st = sgi__core_release(rt->core, sgi__rt_now(rt), lease);
    sgi__rt_leave(rt);
    return st;
}

/* The lease cannot be released until let_go(), so its instance stays. */
static sgi_status hold(sgi_runtime *rt, sgi_lease lease, struct sgi__core_lease_view *v, sgi_error *err)
{
    pthread_mutex_lock(&rt->mutex);
    sgi_status           st = sgi__core_lease_hold(rt->core, lease, v);
    bool                 lost = st == SGI_OK && v->lost;
    const struct record *r = lost ? sgi__rt_record(rt, v->model) : NULL;
    if (lost)
        sgi__core_lease_unhold(rt->core, lease);
    if (r && r->last_error.code == v->lost_status)
        sgi__error_copy(err, &r->last_error);
    else if (lost)
        sgi__error(err, v->lost_status, "%s", sgi_status_text(v->lost_status));
    pthread_mutex_unlock(&rt->mutex);
    if (st != SGI_OK)
        return stale(err);
    return lost ? v->lost_status : SGI_OK;
}

static void let_go(sgi_runtime *rt, sgi_lease lease)
{
    pthread_mutex_lock(&rt->mutex);
    sgi__core_lease_unhold(rt->core, lease);
    pthread_mutex_unlock(&rt->mutex);
}

sgi_status sgi_lease_tensor(sgi_runtime *rt, sgi_lease lease, uint64_t index, sgi_view *view_out, sgi_error *err)
{
    struct sgi__core_lease_view v;
    sgi_view                    view = { 0 };
    NOT_NULL(rt);
    SIZED(view_out);
    sgi_status st = hold(rt, lease, &v, err);
    if (st != SGI_OK)
        return st;
    st = rt->place_ops->tensor(rt->place, v.instance, index, &view, err);
    let_go(rt, lease);
    if (st == SGI_OK)
        sgi__sized_out(view_out, &view, sizeof view);
    return st;
}

sgi_status sgi_lease_tensor_wait(sgi_runtime *rt, sgi_lease lease, uint64_t index, uint32_t timeout_ms, sgi_error *err)
{
    struct sgi__core_lease_view v;
    NOT_NULL(rt);
    if (sgi__thread_in_library())
        return not_here(err, __func__);
    sgi_status st = hold(rt, lease, &v, err);
    if (st != SGI_OK)
        return st;
    st = rt->place_ops->tensor_wait(rt->place, v.instance, index, sgi__rt_wait_deadline(timeout_ms), err);
    let_go(rt, lease);
    return st;
}

sgi_status sgi_lease_tensor_digest(sgi_runtime *rt, sgi_lease lease, uint64_t index, uint64_t *xxh3_out, sgi_error *err)
{
    struct sgi__core_lease_view v;
    NOT_NULL(rt);
    NOT_NULL(xxh3_out);
    if (sgi__thread_in_library())
        return not_here(err, __func__);
    sgi_status st = hold(rt, lease, &v, err);
    if (st != SGI_OK)
        return st;
    st = rt->place_ops->tensor_digest(rt->place, v.instance, index, xxh3_out, err);
    let_go(rt, lease);
    return st;
}

sgi_status sgi_lease_image(sgi_runtime *rt, sgi_lease lease, uint32_t part, sgi_image *image_out, sgi_error *err)
{
    struct sgi__core_lease_view v;
    sgi_image                   image = { .fd = -1 };
    NOT_NULL(rt);
    SIZED(image_out);
    sgi_status st = hold(rt, lease, &v, err);
    if (st != SGI_OK)
        return st;
    if (v.loading)
        st = sgi__error(err, SGI_E_BUSY, "the model is still loading: wait for its tensors first");
    else
        st = rt->place_ops->image(rt->place, v.instance, part, &image, err);
    let_go(rt, lease);
    if (st == SGI_OK)
        sgi__sized_out(image_out, &image, sizeof image);
    return st;
}

sgi_status sgi_lease_run(sgi_runtime *rt, sgi_lease lease, sgi_run_fn fn, void *user, sgi_error *err)
{
    struct sgi__core_lease_view v;
    NOT_NULL(rt);
    NOT_NULL(fn);
    sgi_status st = hold(rt, lease, &v, err);
    if (st != SGI_OK)
        return st;
    st = rt->place_ops->run(rt->place, v.instance, fn, user, err);
    let_go(rt, lease);
    return st;
}

sgi_status sgi_lease_stream(sgi_runtime *rt, sgi_lease lease, void **stream_out)
{
    sgi_error                  *err = NULL;
    struct sgi__core_lease_view v;
    NOT_NULL(rt);
    NOT_NULL(stream_out);
    pthread_mutex_lock(&rt->mutex);
    sgi_status st = sgi__core_lease_view(rt->core, lease, &v);
    pthread_mutex_unlock(&rt->mutex);
    if (st == SGI_OK)
        *stream_out = NULL; /* every device of this version is a host */
    return st;
}

/* What was done for an earlier start cost this request nothing: only steps that ended after the request count, from the
 * request on. */
static void fill_phases(const struct sgi__report *report, uint64_t request, uint64_t grant, sgi_timing *t)
{
    for (uint32_t step = 0; step < SGI_STEP_COUNT; step++) {
        uint64_t start = report->steps[step].start_ns, end = start + report->steps[step].ns;
        if (start == 0 || end <= request)
            continue;
        uint64_t from = start > request ? start - request : 0;
        t->phases[step] = (sgi_phase){ .start_ns = from, .duration_ns = end - request - from };
    }
    uint64_t queued = report->load_start_ns > request ? report->load_start_ns - request : 0;
    if (queued > grant - request)
        queued = grant - request;
    t->phases[SGI_STEP_QUEUE].duration_ns = queued;
}

sgi_status sgi_lease_timing(sgi_runtime *rt, sgi_lease lease, sgi_timing *timing_out)
{
    sgi_error                  *err = NULL;
    struct sgi__core_lease_view v;
    struct sgi__report          report;
    NOT_NULL(rt);
    SIZED(timing_out);
    sgi_status st = hold(rt, lease, &v, err);
    if (st != SGI_OK)
        return st;
    sgi_timing t = {
        .tier = v.tier, .joined = v.joined, .request_ns = v.requested_at, .total_ns = v.granted_at - v.requested_at
    };
    if (v.loading)
        st = SGI_E_BUSY;
    else if (v.tier != SGI_TIER_DEVICE)
        st = rt->place_ops->report(rt->place, v.instance, &report);
    if (st == SGI_OK && v.tier != SGI_TIER_DEVICE) {
        fill_phases(&report, v.requested_at, v.granted_at, &t);
        t.load_ns = report.load_end_ns - report.load_start_ns;
        t.bytes = report.bytes;
        t.cpu_ns = report.cpu_ns;
        t.bounced_bytes = report.bounced_bytes;
        t.reread_bytes = report.reread_bytes;
        t.direct = report.direct;
        memcpy(t.engine, report.engine, sizeof t.engine);
    }
    let_go(rt, lease);
    if (st == SGI_OK)
        sgi__sized_out(timing_out, &t, sizeof t);
    return st;
}

/* ---- calls ---- */

sgi_status sgi_call_begin(sgi_runtime *rt, sgi_lease lease, const void *request, size_t request_bytes, uint64_t tag,
                          sgi_call *call_out, sgi_error *err)
{
    NOT_NULL(rt);
    NOT_NULL(call_out);
    if (request_bytes > 0)
        NOT_NULL(request);
    return sgi__rt_call_begin(rt, lease, request, request_bytes, tag, false, call_out, err);
}

sgi_status sgi_call_read(sgi_runtime *rt, sgi_call call, void *buffer, size_t capacity, size_t *bytes_out,
                         sgi_error *err)
{
    NOT_NULL(rt);
    NOT_NULL(buffer);
    NOT_NULL(bytes_out);
    if (capacity == 0)
        return sgi__error(err, SGI_E_INVALID, "%s: capacity is 0", __func__);
    return sgi__rt_call_read(rt, call, buffer, capacity, bytes_out, err);
}

sgi_status sgi_call_wait(sgi_runtime *rt, sgi_call call, uint32_t timeout_ms, sgi_error *err)
{
    NOT_NULL(rt);
    if (sgi__thread_in_library())
        return not_here(err, __func__);
    return sgi__rt_call_wait_piece(rt, call, timeout_ms, err);
}

sgi_status sgi_call_cancel(sgi_runtime *rt, sgi_call call)
{
    sgi_error *err = NULL;
    NOT_NULL(rt);
    return sgi__rt_call_cancel(rt, call);
}

sgi_status sgi_call_end(sgi_runtime *rt, sgi_call call)
{
    sgi_error *err = NULL;
    NOT_NULL(rt);
    return sgi__rt_call_end(rt, call);
}

sgi_status sgi_lease_call(sgi_runtime *rt, sgi_lease lease, const void *request, size_t request_bytes,
                          uint32_t timeout_ms, sgi_piece_fn on_piece, void *user, sgi_error *err)
{
    NOT_NULL(rt);
    if (request_bytes > 0)
        NOT_NULL(request);
    if (sgi__thread_in_library())
        return not_here(err, __func__);
    return sgi__rt_call_wait(rt, lease, request, request_bytes, timeout_ms, on_piece, user, err);
}

sgi_status sgi_lease_cancel(sgi_runtime *rt, sgi_lease lease)
{
    sgi_error *err = NULL;
    NOT_NULL(rt);
    return sgi__rt_lease_cancel(rt, lease);
}

/* ---- observation ---- */

sgi_status sgi_trace_write(sgi_runtime *rt, sgi_write_fn write, void *user)
{
    sgi_error *err = NULL;
    NOT_NULL(rt);
    NOT_NULL(write);
    struct sgi__trace *copy = sgi__trace_new();
    if (!copy)
        return SGI_E_NO_MEMORY;
    pthread_mutex_lock(&rt->mutex);
    if (rt->trace)
        *copy = *rt->trace; /* so that `write`, which is the caller's, runs without the mutex */
    pthread_mutex_unlock(&rt->mutex);
    sgi_status st = sgi__trace_write(copy, write, user);
    sgi__trace_free(copy);
    return st;
}

sgi_status sgi_metrics_write(sgi_runtime *rt, sgi_write_fn write, void *user)
{
    sgi_error *err = NULL;
    NOT_NULL(rt);
    NOT_NULL(write);
    struct sgi__metrics_snapshot *copy = sgi__rt_metrics(rt);
    if (!copy)
        return SGI_E_NO_MEMORY;
    sgi_status st = sgi__metrics_text(copy, write, user);
    sgi__free(copy);
    return st;
}

sgi_status sgi_metrics_snapshot(sgi_runtime *rt, sgi_sample_fn each, void *user)
{
    sgi_error *err = NULL;
    NOT_NULL(rt);
    NOT_NULL(each);
    struct sgi__metrics_snapshot *copy = sgi__rt_metrics(rt);
    if (!copy)
        return SGI_E_NO_MEMORY;
    sgi_status st = sgi__metrics_each(copy, each, user);
    sgi__free(copy);
    return st;
}

sgi_status sgi_events_open(sgi_runtime *rt, uint32_t records_max, uint64_t kinds, sgi_events *events_out,
                           sgi_error *err)
{
    NOT_NULL(rt);
    NOT_NULL(events_out);
    return sgi__rt_events_open(rt, records_max, kinds, events_out, err);
}

sgi_status sgi_events_read(sgi_runtime *rt, sgi_events events, sgi_event *event_out)
{
    sgi_error *err = NULL;
    NOT_NULL(rt);
    SIZED(event_out);
    return sgi__rt_events_read(rt, events, event_out);
}

sgi_status sgi_events_fd(sgi_runtime *rt, sgi_events events, int *fd_out)
{
    sgi_error *err = NULL;
    NOT_NULL(rt);
    NOT_NULL(fd_out);
    return sgi__rt_events_fd(rt, events, fd_out);
}

sgi_status sgi_events_close(sgi_runtime *rt, sgi_events events)
{
    sgi_error *err = NULL;
    NOT_NULL(rt);
    return sgi__rt_events_close(rt, events);
}
