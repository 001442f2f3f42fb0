/* SPDX-License-Identifier: Apache-2.0 */
/* Registering: from a path to everything a load will need, and back. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/sized.h"
#include "base/text.h"
#include "base/thread.h"
#include "format/format.h"
#include "runtime/runtime.h"

enum { NAME_BYTES_MAX = 255 };

struct record *sgi__rt_record(const sgi_runtime *rt, sgi_model model)
{
    uint32_t       slot = sgi__core_slot(model);
    struct record *r = slot < rt->records_capacity ? rt->records[slot] : NULL;
    return r && r->id == model ? r : NULL;
}

void sgi__rt_name_model(const sgi_runtime *rt, sgi_model model, sgi_error *err)
{
    const struct record *r = sgi__rt_record(rt, model);
    if (r)
        sgi__error_name_model(err, r->name);
}

void sgi__rt_record_free(struct record *r)
{
    if (!r)
        return;
    sgi__free((void *)(uintptr_t)r->source.files);
    sgi__free(r->order);
    sgi__free(r->checks);
    sgi__layout_free(r->layout);
    sgi__manifest_free(r->manifest);
    sgi__free(r->name);
    sgi__free(r);
}

/* ---- checking the config ---- */

static sgi_status check_name(const char *name, sgi_error *err)
{
    if (!name || !*name)
        return sgi__error(err, SGI_E_INVALID, "sgi_model_config: name is missing");
    if (strnlen(name, NAME_BYTES_MAX + 1) > NAME_BYTES_MAX)
        return sgi__error(err, SGI_E_INVALID, "sgi_model_config: name is longer than %d bytes", NAME_BYTES_MAX);
    if (!sgi__utf8_valid(name, strlen(name)))
        return sgi__error(err, SGI_E_INVALID, "sgi_model_config: name is not UTF-8");
    for (const char *c = name; *c; c++)
        if ((uint8_t)*c < 0x20 || *c == 0x7f)
            return sgi__error(err, SGI_E_INVALID, "sgi_model_config: name has a control character");
    return SGI_OK;
}

static sgi_status check_engine(const sgi_engine *given, sgi_engine *engine, sgi_error *err)
{
    if (!sgi__sized_in(given, engine, sizeof *engine))
        return sgi__sized_refuse(err, "sgi_model_config", "engine", given, sizeof *engine);
    engine->struct_size = sizeof *engine;
    if (!engine->start || !engine->call || !engine->stop)
        return sgi__error(err, SGI_E_INVALID, "sgi_model_config: engine: start, call and stop are needed");
    if (!engine->prefix_bytes != !engine->prefix_fill)
        return sgi__error(err, SGI_E_INVALID, "sgi_model_config: engine: prefix_bytes and prefix_fill come together");
    return SGI_OK;
}

static sgi_status check_config(const sgi_runtime *rt, const sgi_model_config *given, sgi_model_config *c,
                               sgi_error *err)
{
    if (!given || !sgi__sized_in(given, c, sizeof *c))
        return sgi__sized_refuse(err, "sgi_model_register", "sgi_model_config", given, sizeof *c);
    sgi_status st = check_name(c->name, err);
    if (st != SGI_OK)
        return st;
    if (!c->path || !*c->path)
        return sgi__error(err, SGI_E_INVALID, "model '%s': path is missing", c->name);
    if (c->flags & ~(uint32_t)(SGI_IMAGE_FD | SGI_IMAGE_HUGETLB | SGI_IMAGE_SCRUB))
        return sgi__error(err, SGI_E_INVALID, "model '%s': flags has unknown bits: 0x%x", c->name, c->flags);
    if (c->engine_bytes > UINT64_MAX / 4)
        return sgi__error(err, SGI_E_INVALID, "model '%s': engine_bytes is absurd: %llu", c->name,
                          (unsigned long long)c->engine_bytes);
    if (c->instances_max > SGI__DEVICES_MAX)
        return sgi__error(err, SGI_E_INVALID, "model '%s': instances_max is larger than %d", c->name, SGI__DEVICES_MAX);
    if (c->residence > SGI_RESIDENCE_PACKED)
        return sgi__error(err, SGI_E_INVALID,
                          "model '%s': residence %u is none of SGI_RESIDENCE_AUTO, _UNPACKED, _PACKED", c->name,
                          c->residence);
    if (c->devices_mask >> rt->core_config.devices_count)
        return sgi__error(err, SGI_E_INVALID, "model '%s': devices_mask 0x%x names a device past number %u, the last",
                          c->name, c->devices_mask, rt->core_config.devices_count - 1);
    if ((c->order_count && !c->order) || (c->checks_count && !c->checks))
        return sgi__error(err, SGI_E_INVALID, "model '%s': %s is NULL and its count is not 0", c->name,
                          c->order_count && !c->order ? "order" : "checks");
    return SGI_OK;
}

/* ---- building the record ---- */

static sgi_status out_of_memory(const struct record *r, sgi_error *err)
{
    return sgi__error(err, SGI_E_NO_MEMORY, "model '%s': out of memory", r->name);
}

static sgi_status find_tensor(const struct record *r, const char *field, const char *name, uint64_t *index_out,
                              sgi_error *err)
{
    struct sgi__shown shown;
    int64_t           index = name ? sgi__manifest_find(r->manifest, name) : -1;
    if (index < 0)
        return sgi__error(err, SGI_E_INVALID, "model '%s': %s names a tensor it does not have: '%s'", r->name, field,
                          sgi__show_name(&shown, name ? name : "(NULL)"));
    *index_out = (uint64_t)index;
    return SGI_OK;
}

static int compare_checks(const void *a, const void *b)
{
    const struct sgi__check *x = a, *y = b;
    return x->tensor < y->tensor ? -1 : x->tensor > y->tensor;
}

static sgi_status take_order_and_checks(struct record *r, const sgi_model_config *c, sgi_error *err)
{
    struct sgi__shown shown;
    sgi_status        st = SGI_OK;

    r->order = sgi__alloc_zero(c->order_count, sizeof *r->order);
    r->checks = sgi__alloc_zero(c->checks_count, sizeof *r->checks);
    if (!r->order || !r->checks)
        return out_of_memory(r, err);
    for (uint32_t n = 0; n < c->order_count && st == SGI_OK; n++)
        st = find_tensor(r, "order", c->order[n], &r->order[n], err);
    for (uint32_t n = 0; n < c->checks_count && st == SGI_OK; n++) {
        st = find_tensor(r, "checks", c->checks[n].name, &r->checks[n].tensor, err);
        r->checks[n].xxh3 = c->checks[n].xxh3;
    }
    if (st != SGI_OK)
        return st;
    qsort(r->checks, c->checks_count, sizeof *r->checks, compare_checks);
    for (uint32_t n = 1; n < c->checks_count; n++)
        if (r->checks[n].tensor == r->checks[n - 1].tensor)
            return sgi__error(err, SGI_E_INVALID, "model '%s': checks names tensor '%s' twice", r->name,
                              sgi__show_name(&shown, r->manifest->tensors[r->checks[n].tensor].name));
    return SGI_OK;
}

static sgi_status make_source(struct record *r, sgi_error *err)
{
    const struct sgi__manifest *m = r->manifest;
    sgi_source_file            *files = sgi__alloc_zero(m->files_count, sizeof *files);
    if (!files)
        return out_of_memory(r, err);
    for (uint32_t n = 0; n < m->files_count; n++)
        files[n] = (sgi_source_file){ .path = m->files[n].path,
                                      .bytes = m->files[n].bytes,
                                      .data_offset = m->files[n].data_offset };
    r->source = (sgi_source){ .struct_size = sizeof r->source,
                              .files_count = m->files_count,
                              .name = r->name,
                              .format = m->format,
                              .files = files,
                              .tensors_count = m->tensors_count,
                              .library = m };
    return SGI_OK;
}

/* What memory of this kind is made of: each part takes whole ones. */
static uint64_t page_bytes(uint32_t flags)
{
    const uint32_t huge = SGI_IMAGE_FD | SGI_IMAGE_HUGETLB;
    return (flags & huge) == huge ? UINT64_C(2) << 20 : SGI__PLACE_ALIGN;
}

/* The engine's prefixes are asked for now, so that how much room the model needs is known before anything is evicted
 * for it. */
static sgi_status make_layout(struct record *r, uint64_t page, sgi_error *err)
{
    uint32_t   parts = r->manifest->files_count;
    uint64_t  *prefixes = NULL;
    sgi_status st = SGI_OK;

    if (r->has_engine && r->engine.prefix_bytes) {
        prefixes = sgi__alloc_zero(parts, sizeof *prefixes);
        if (!prefixes)
            return out_of_memory(r, err);
        sgi_error own; /* the engine is promised one that is not NULL */
        sgi__error_init(&own);
        sgi__thread_enter_library();
        for (uint32_t n = 0; n < parts && st == SGI_OK; n++)
            st = r->engine.prefix_bytes(r->engine.user, &r->source, n, &prefixes[n], &own);
        sgi__thread_leave_library();
        if (st != SGI_OK) {
            if (!own.message[0])
                sgi__error(&own, SGI_E_ENGINE, "its engine's prefix_bytes said %s", sgi_status_name(st));
            st = own.code = SGI_E_ENGINE;
            sgi__error_name_model(&own, r->name);
            sgi__error_step(&own, st, SGI_STEP_PREFIX);
            sgi__error_copy(err, &own);
        }
    }
    if (st == SGI_OK)
        st = sgi__layout_new(r->manifest, prefixes, page, &r->layout, err);
    sgi__free(prefixes);
    return st;
}

/* Where it runs. A device with memory of its own has no image: who needs one, or a file, runs on the others. */
static sgi_status choose_devices(const sgi_runtime *rt, const sgi_model_config *c, struct record *r, sgi_error *err)
{
    bool     needs_image = (c->flags & SGI_IMAGE_FD) || (r->has_engine && r->engine.prefix_bytes);
    uint64_t page_bytes = 0;

    r->devices_mask = 0;
    for (uint32_t n = 0; n < rt->core_config.devices_count; n++) {
        bool unified = rt->core_config.devices[n].unified;
        if ((c->devices_mask && !(c->devices_mask >> n & 1)) || (needs_image && !unified))
            continue;
        r->devices_mask |= 1u << n;
        if (!unified && rt->devices[n]->page_bytes > page_bytes)
            page_bytes = rt->devices[n]->page_bytes;
    }
    if (r->devices_mask == 0)
        return sgi__error(err, SGI_E_UNSUPPORTED,
                          "model '%s': %s an image in host memory, which none of the devices it may be on has", r->name,
                          c->flags & SGI_IMAGE_FD ? "SGI_IMAGE_FD asks for" : "its engine's prefixes need");
    return page_bytes > 0 ? sgi__layout_for_devices(r->layout, r->manifest, page_bytes, err) : SGI_OK;
}

static sgi_status build(sgi_runtime *rt, const sgi_model_config *c, struct record *r, sgi_error *err)
{
    struct sgi__fs             fs = sgi__fs_posix_table(&rt->fs_config);
    struct sgi__format_options options = { .header_bytes_max = c->header_bytes_max,
                                           .folders = c->folders,
                                           .folders_count = c->folders_count,
                                           .checks_path = c->checks_path,
                                           .flags = c->residence == SGI_RESIDENCE_PACKED ? SGI__FORMAT_CHUNKS : 0 };
    sgi_status                 st;

    r->name = sgi__strdup(c->name);
    if (!r->name)
        return sgi__error(err, SGI_E_NO_MEMORY, "model '%s': out of memory", c->name);
    r->entry.name = r->name;
    sgi__error_init(&r->last_error);
    if (c->engine) {
        r->has_engine = true;
        if ((st = check_engine(c->engine, &r->engine, err)) != SGI_OK)
            return st;
    }
    st = sgi__format_open(&fs, c->path, &options, &r->manifest, err);
    if (st == SGI_E_INVALID) /* a field; anything else is about a path, which it names */
        sgi__error_name_model(err, r->name);
    if (st != SGI_OK || (st = take_order_and_checks(r, c, err)) != SGI_OK || (st = make_source(r, err)) != SGI_OK ||
        (st = make_layout(r, page_bytes(c->flags), err)) != SGI_OK)
        return st;
    if (r->layout->image_bytes > UINT64_MAX / 4 - c->engine_bytes)
        return sgi__error(err, SGI_E_FORMAT, "model '%s': it is absurdly large", r->name);
    if ((st = choose_devices(rt, c, r, err)) != SGI_OK)
        return st;
    r->hang_ns = sgi__rt_hang_ns(c->hang_timeout_ms, rt->hang_ns);
    r->residence = c->residence;
    r->packed_bytes = r->manifest->packed ? sgi__kept_bytes_max(r->manifest, r->layout) : 0;
    r->place_model = (struct sgi__place_model){ .name = r->name,
                                                .flags = c->flags,
                                                .tenant = c->tenant,
                                                .manifest = r->manifest,
                                                .layout = r->layout,
                                                .engine = r->has_engine ? &r->engine : NULL,
                                                .source = &r->source,
                                                .order = r->order,
                                                .order_count = c->order_count,
                                                .checks = r->checks,
                                                .checks_count = c->checks_count };
    return SGI_OK;
}

/* ---- publishing it ---- */

static sgi_status room_for(sgi_runtime *rt, sgi_model id)
{
    uint32_t needed = sgi__core_slot(id) + 1;
    if (needed <= rt->records_capacity)
        return SGI_OK;
    uint32_t capacity = rt->records_capacity ? rt->records_capacity : 16;
    while (capacity < needed)
        capacity *= 2;
    struct record **grown = sgi__realloc_array(rt->records, capacity, sizeof(struct record *));
    if (!grown)
        return SGI_E_NO_MEMORY;
    memset(grown + rt->records_capacity, 0, (capacity - rt->records_capacity) * sizeof(struct record *));
    rt->records = grown;
    rt->records_capacity = capacity;
    return SGI_OK;
}

/* The core's half goes again; nothing has been held, so it drains at once. */
static void forget(sgi_runtime *rt, sgi_model id)
{
    sgi__core_model_drain(rt->core, sgi__rt_now(rt), id, SGI_E_STALE);
    sgi__core_model_remove(rt->core, id);
}

static sgi_status publish(sgi_runtime *rt, const sgi_model_config *c, struct record *r, sgi_error *err)
{
    struct sgi__core_model_config core_config = {
        .image_bytes = r->layout->image_bytes,
        .device_bytes = r->layout->device_bytes,
        .engine_bytes = r->has_engine ? c->engine_bytes : 0,
        .idle_ns = sgi__rt_idle_ns(c->idle_timeout_ms, rt->idle_ns),
        .hang_ns = r->hang_ns,
        .instances_max = c->instances_max,
        .devices_mask = r->devices_mask,
        .leases_max = c->leases_max   ? c->leases_max
                      : r->has_engine ? 1
                                      : UINT32_MAX,
        .has_engine = r->has_engine,
        .has_prepare = r->has_engine && r->engine.prepare,
        .has_prefix = r->layout->engine_prefix,
        .residence = r->residence,
        .packed_bytes = r->packed_bytes,
    };

    /* The id comes first, the name last: nobody can ask for the model before its place knows it. */
    sgi__rt_enter(rt);
    sgi_status st = sgi__registry_find(&rt->registry, r->name) ? SGI_E_EXISTS
                                                               : sgi__core_model_add(rt->core, &core_config, &r->id);
    if (st == SGI_OK && (st = room_for(rt, r->id)) != SGI_OK)
        forget(rt, r->id);
    sgi__rt_leave(rt);
    if (st == SGI_OK) {
        r->place_model.id = r->id;
        st = rt->place_ops->model_add(rt->place, &r->place_model, err);
        sgi__rt_enter(rt);
        bool placed = st == SGI_OK;
        if (placed)
            st = sgi__registry_add(&rt->registry, &r->entry);
        if (st == SGI_OK) {
            rt->records[sgi__core_slot(r->id)] = r;
            sgi__rt_observe_registered(rt, r);
        } else {
            forget(rt, r->id);
        }
        sgi__rt_leave(rt);
        if (placed && st != SGI_OK)
            rt->place_ops->model_remove(rt->place, r->id);
    }
    if (st == SGI_E_EXISTS)
        return sgi__error(err, st, "a model named '%s' is registered already", r->name);
    if (st == SGI_E_CLOSED)
        return sgi__error(err, st, "%s", sgi_status_text(st));
    return st == SGI_E_NO_MEMORY ? out_of_memory(r, err) : st;
}

sgi_status sgi__rt_register(sgi_runtime *rt, const sgi_model_config *config, sgi_model *model_out, sgi_error *err)
{
    sgi_model_config c = { 0 };
    sgi_status       st = check_config(rt, config, &c, err);
    if (st != SGI_OK)
        return st;
    struct record *r = sgi__alloc_zero(1, sizeof *r);
    if (!r)
        return sgi__error(err, SGI_E_NO_MEMORY, "model '%s': out of memory", c.name);
    pthread_mutex_lock(&rt->mutex); /* headers take a while: a close that begins meanwhile waits */
    rt->inside++;
    pthread_mutex_unlock(&rt->mutex);
    st = build(rt, &c, r, err);
    if (st == SGI_OK)
        st = publish(rt, &c, r, err);
    if (st == SGI_OK)
        *model_out = r->id;
    pthread_mutex_lock(&rt->mutex);
    sgi__rt_outside(rt);
    pthread_mutex_unlock(&rt->mutex);
    if (st != SGI_OK) {
        sgi__rt_record_free(r);
        return st;
    }
    return SGI_OK;
}

/* ---- and back ---- */

static sgi_status still_held(const sgi_runtime *rt, const struct record *r, const struct sgi__core_model_view *view,
                             sgi_error *err)
{
    char holder[SGI__HOLDER_BYTES];
    sgi__rt_holder(rt, r->id, view, holder, sizeof holder);
    return sgi__error(err, SGI_E_TIMEOUT, "model '%s' is still in use: %s", r->name, holder);
}

sgi_status sgi__rt_unregister(sgi_runtime *rt, sgi_model model, uint32_t timeout_ms, sgi_error *err)
{
    uint64_t                    deadline = sgi__rt_wait_deadline(timeout_ms);
    struct record              *r = NULL;
    struct sgi__core_model_view view;

    sgi__rt_enter(rt);
    sgi_status st = sgi__core_model_drain(rt->core, sgi__rt_now(rt), model, SGI_E_STALE);
    rt->inside += st == SGI_OK;
    sgi__rt_leave(rt);
    if (st != SGI_OK)
        return sgi__rt_stale(err, "sgi_model_unregister", SGI__ID_MODEL, model);

    pthread_mutex_lock(&rt->mutex);
    for (bool in_time = true;; in_time = sgi__cond_wait(&rt->changed, &rt->mutex, deadline)) {
        r = sgi__rt_record(rt, model);
        st = r ? sgi__core_model_view(rt->core, model, &view) : SGI_E_STALE; /* another thread has unregistered it */
        if (st == SGI_OK && view.drained)
            break;
        if (st == SGI_OK && !in_time)
            st = still_held(rt, r, &view, err);
        else if (st == SGI_OK)
            continue;
        else
            sgi__rt_stale(err, "sgi_model_unregister", SGI__ID_MODEL, model);
        sgi__rt_outside(rt);
        pthread_mutex_unlock(&rt->mutex);
        return st;
    }
    sgi__rt_observe_removed(rt, r);
    sgi__registry_remove(&rt->registry, &r->entry);
    rt->records[sgi__core_slot(model)] = NULL;
    sgi__core_model_remove(rt->core, model);
    pthread_cond_broadcast(&rt->changed);
    pthread_mutex_unlock(&rt->mutex);
    rt->place_ops->model_remove(rt->place, model);
    sgi__rt_record_free(r);
    pthread_mutex_lock(&rt->mutex);
    sgi__rt_outside(rt);
    pthread_mutex_unlock(&rt->mutex);
    return SGI_OK;
}

/* ---- pins ---- */

static uint64_t pin_bytes(const sgi_runtime *rt, const struct record *r)
{
    struct sgi__core_model_view view;
    return sgi__core_model_view(rt->core, r->id, &view) == SGI_OK ? view.pin_bytes : 0;
}

static uint64_t reserved_by_pins(const sgi_runtime *rt)
{
    struct sgi__core_model_view view;
    uint64_t                    bytes = 0;

    for (uint32_t n = 0; n < rt->records_capacity; n++) {
        const struct record *r = rt->records[n];
        if (r && sgi__core_model_view(rt->core, r->id, &view) == SGI_OK && view.pinned_tier == SGI_TIER_DRAM)
            bytes += view.pin_bytes;
    }
    return bytes;
}

static void describe_no_room_for_pin(const sgi_runtime *rt, const struct record *r, sgi_error *err)
{
    uint64_t reserved = reserved_by_pins(rt);
    char     beside[64] = "";

    if (reserved > 0)
        snprintf(beside, sizeof beside, ", of which other pins have reserved %llu", (unsigned long long)reserved);
    sgi__error(err, SGI_E_NO_ROOM, "model '%s': its %llu bytes do not fit into the DRAM budget of %llu%s", r->name,
               (unsigned long long)pin_bytes(rt, r), (unsigned long long)rt->core_config.dram_bytes_max, beside);
}

sgi_status sgi__rt_pin(sgi_runtime *rt, sgi_model model, uint32_t tier, sgi_error *err)
{
    sgi__rt_enter(rt);
    const struct record *r = sgi__rt_record(rt, model);
    sgi_status           st = sgi__core_pin(rt->core, sgi__rt_now(rt), model, tier);
    if (st == SGI_E_NO_ROOM)
        describe_no_room_for_pin(rt, r, err);
    else if (st == SGI_E_BUSY)
        sgi__error(err, st, "model '%s': its %llu bytes of DRAM are in use by models that cannot leave it now", r->name,
                   (unsigned long long)pin_bytes(rt, r));
    else if (st == SGI_E_STALE)
        sgi__rt_stale(err, "sgi_model_pin", SGI__ID_MODEL, model);
    else if (st != SGI_OK)
        sgi__error(err, st, "%s", sgi_status_text(st));
    sgi__rt_leave(rt);
    return st;
}
