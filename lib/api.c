/* SPDX-License-Identifier: Apache-2.0 */
/* The public functions that take a runtime, but for those of leases (api_lease.c) and of who only looks
 * (api_observe.c): check the arguments, call in. What they promise stands in sgi.h. */
#include <stdio.h>
#include <string.h>

#include "api_check.h"
#include "base/thread.h"
#include "model/describe.h"
#include "runtime/runtime.h"

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
    info.threads_count = rt->place_ops->threads(rt->place) + sgi__pool_threads(rt->done_pool) + 1 +
                         rt->pressure.listens;
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
    info.dram_shared_bytes = t.shared_bytes;
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
    sgi_device_info info = { .context = rt->place_ops->context(rt->place, (int32_t)index, v.context_open),
                             .bytes_max = v.bytes_max,
                             .bytes_used = v.bytes_used,
                             .bytes_engine = v.bytes_engine,
                             .bytes_foreign = v.bytes_foreign,
                             .bytes_residue = v.bytes_residue,
                             .instances_count = v.instances,
                             .lost = v.lost };
    memcpy(info.name, rt->devices[index]->name, sizeof info.name);
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
        sum += m->files[n].bytes;
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
        .residence = v.residence,
    };
    sgi__sized_out(state_out, &state, sizeof state);
    return SGI_OK;
}

static const char *base_of(const struct sgi__manifest *m)
{
    return sgi__manifest_is_packed(m) && m->packed->base_name ? m->packed->files[SGI__PACK_BASE].path : NULL;
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
                                             .file_bytes = r->manifest->files[part].bytes,
                                             .data_offset = p->data_offset,
                                             .prefix_bytes = p->prefix_bytes,
                                             .image_bytes = p->region_bytes,
                                             .base = base_of(r->manifest) };
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

sgi_status sgi_runtime_trim(sgi_runtime *rt, uint64_t dram_bytes)
{
    sgi_error *err = NULL;
    NOT_NULL(rt);
    sgi__rt_enter(rt);
    sgi__core_trim(rt->core, sgi__rt_now(rt), dram_bytes);
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
static sgi_status take_options(const sgi_runtime *rt, const char *function, const sgi_acquire_options *given,
                               sgi_acquire_options *o, sgi_error *err)
{
    *o = (sgi_acquire_options){ .struct_size = sizeof *o, .device_hint = SGI_DEVICE_ANY };
    if (!given)
        return SGI_OK;
    if (!sgi__sized_in(given, o, sizeof *o))
        return sgi__sized_refuse(err, function, "sgi_acquire_options", given, sizeof *o);
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

static sgi_status take_lease_options(const sgi_runtime *rt, const char *function, const sgi_acquire_options *given,
                                     sgi_acquire_options *o, sgi_error *err)
{
    sgi_status st = take_options(rt, function, given, o, err);
    if (st == SGI_OK && (o->flags & SGI_PREFETCH_SILENT))
        return sgi__error(err, SGI_E_INVALID,
                          "%s: SGI_PREFETCH_SILENT is for prefetches: a lease that nobody is told of would be held for "
                          "ever",
                          function);
    return st;
}

sgi_status sgi_model_try_acquire(sgi_runtime *rt, sgi_model model, const sgi_acquire_options *options,
                                 sgi_lease *lease_out)
{
    sgi_error          *err = NULL;
    sgi_acquire_options o;
    NOT_NULL(rt);
    NOT_NULL(lease_out);
    sgi_status st = take_lease_options(rt, __func__, options, &o, err);
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
    sgi_status st = take_lease_options(rt, __func__, options, &o, err);
    return st == SGI_OK ? sgi__rt_acquire_wait(rt, model, &o, lease_out, err) : st;
}

sgi_status sgi_model_acquire(sgi_runtime *rt, sgi_model model, const sgi_acquire_options *options,
                             sgi_ticket *ticket_out, sgi_done_fn done, void *user, sgi_error *err)
{
    sgi_acquire_options o;
    NOT_NULL(rt);
    sgi_status st = take_lease_options(rt, __func__, options, &o, err);
    return st == SGI_OK ? sgi__rt_acquire(rt, model, &o, SGI_TIER_DEVICE, false, ticket_out, done, user, err) : st;
}

sgi_status sgi_model_prefetch(sgi_runtime *rt, sgi_model model, uint32_t tier, const sgi_acquire_options *options,
                              sgi_ticket *ticket_out, sgi_done_fn done, void *user, sgi_error *err)
{
    sgi_acquire_options o;
    NOT_NULL(rt);
    if (tier != SGI_TIER_DRAM && tier != SGI_TIER_DEVICE)
        return sgi__error(err, SGI_E_INVALID, "sgi_model_prefetch: %u is no tier to bring bytes to", tier);
    sgi_status st = take_options(rt, __func__, options, &o, err);
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
    sgi_status st = take_options(rt, __func__, options, &o, err);
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
