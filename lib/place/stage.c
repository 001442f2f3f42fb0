/* SPDX-License-Identifier: Apache-2.0 */
/* What ext.h offers an engine inside its callbacks. */
#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/sized.h"
#include "load/chunk_reader.h"
#include "model/describe.h"
#include "place/instance.h"

sgi_status sgi_source_tensor_at(const sgi_source *source, uint64_t index, sgi_tensor *tensor_out)
{
    if (!source || !source->library || !tensor_out)
        return SGI_E_INVALID;
    const struct sgi__manifest *m = source->library;
    if (index >= m->tensors_count)
        return SGI_E_NOT_FOUND;
    return sgi__describe_tensor(m, index, tensor_out) ? SGI_OK : SGI_E_INVALID;
}

sgi_status sgi_source_tensor_find(const sgi_source *source, const char *name, sgi_tensor *tensor_out)
{
    if (!source || !source->library || !name)
        return SGI_E_INVALID;
    int64_t index = sgi__manifest_find(source->library, name);
    return index < 0 ? SGI_E_NOT_FOUND : sgi_source_tensor_at(source, (uint64_t)index, tensor_out);
}

sgi_status sgi_source_read(const sgi_source *source, uint32_t file, uint64_t offset, void *dst, uint64_t bytes,
                           sgi_error *err)
{
    if (!source || !source->library || (!dst && bytes > 0))
        return sgi__error(err, SGI_E_INVALID, "sgi_source_read: %s",
                          !source || !source->library ? "source is none of ours" : "dst is NULL");
    if (file >= source->files_count)
        return sgi__error(err, SGI_E_NOT_FOUND, "sgi_source_read: model '%s' has %u files, and no number %u",
                          source->name, source->files_count, file);
    uint64_t all = source->files[file].bytes;
    if (offset > all || bytes > all - offset)
        return sgi__error(err, SGI_E_INVALID, "sgi_source_read: file %u of model '%s' ends at %llu", file, source->name,
                          (unsigned long long)all);
    return bytes > 0 ? sgi__part_read(source->library, file, offset, dst, bytes, err) : SGI_OK;
}

const sgi_source *sgi_stage_source(sgi_stage *stage)
{
    return stage->instance->model->spec.source;
}

int32_t sgi_stage_device(sgi_stage *stage)
{
    return stage->instance->device;
}

void *sgi_stage_stream(sgi_stage *stage)
{
    const struct place_instance *i = stage->instance;
    return i->on ? i->on->device->ops->stream_native(i->stream) : NULL; /* the host has none */
}

sgi_status sgi_stage_image(sgi_stage *stage, uint32_t part, sgi_image *image_out, sgi_error *err)
{
    struct place_instance    *i = stage->instance;
    const struct sgi__layout *layout = i->model->spec.layout;
    sgi_image                 full = { .fd = -1 };

    if (!sgi__sized_is(image_out))
        return sgi__sized_refuse(err, __func__, "image_out", image_out, sizeof *image_out);
    if (part >= layout->parts_count)
        return sgi__error(err, SGI_E_NOT_FOUND, "model '%s' has %u part%s, no number %u", i->model->spec.name,
                          layout->parts_count, layout->parts_count == 1 ? "" : "s", part);
    if (i->on)
        return sgi__place_no_image(i, err);
    sgi_status st = sgi__load_wait_prefixes(i->load, err);
    if (st != SGI_OK)
        return st;
    struct sgi__region *region = i->image->parts[part];
    pthread_mutex_lock(&i->mutex);
    st = sgi__region_fd(region, &full.fd, err);
    pthread_mutex_unlock(&i->mutex);
    if (st != SGI_OK)
        return st;
    full.base = region->base;
    full.bytes = layout->parts[part].bytes;
    full.prefix_bytes = layout->parts[part].prefix_bytes;
    full.file_offset = layout->parts[part].data_offset;
    sgi__sized_out(image_out, &full, sizeof full);
    return SGI_OK;
}

static sgi_status check_tensor(const struct place_instance *i, const char *function, uint64_t index,
                               const sgi_view *view_out, sgi_error *err)
{
    if (!sgi__sized_is(view_out))
        return sgi__sized_refuse(err, function, "view_out", view_out, sizeof *view_out);
    return sgi__place_has_tensor(i, index, err);
}

static void show_tensor(const struct place_instance *i, uint64_t index, sgi_view *view_out)
{
    sgi_view full = { .bytes = i->model->spec.manifest->tensors[index].bytes, .data = sgi__place_tensor(i, index) };
    sgi__sized_out(view_out, &full, sizeof full);
}

sgi_status sgi_stage_tensor(sgi_stage *stage, uint64_t index, sgi_view *view_out, sgi_error *err)
{
    struct place_instance *i = stage->instance;
    sgi_status             st = check_tensor(i, __func__, index, view_out, err);

    if (st == SGI_OK)
        st = sgi__local_tensor_wait(stage->place, i->id, index, UINT64_MAX, err);
    if (st == SGI_OK)
        show_tensor(i, index, view_out);
    return st;
}

sgi_status sgi_stage_tensor_on(sgi_stage *stage, uint64_t index, void *stream, sgi_view *view_out, sgi_error *err)
{
    struct place_instance *i = stage->instance;
    sgi_status             st = check_tensor(i, __func__, index, view_out, err);

    if (st == SGI_OK)
        st = sgi__local_tensor_order(stage->place, i->id, index, stream, err);
    if (st == SGI_OK)
        show_tensor(i, index, view_out);
    return st;
}

sgi_status sgi_stage_wait(sgi_stage *stage, sgi_error *err)
{
    return sgi__load_wait(stage->instance->load, err);
}

int sgi_stage_canceled(sgi_stage *stage)
{
    return sgi__place_canceled(stage->instance) || sgi__load_canceled(stage->instance->load);
}

/* ---- memory for the engine ---- */

static sgi_status charge(sgi_stage *stage, uint64_t bytes, bool at_least, uint64_t *before_out, sgi_error *err)
{
    const struct sgi__place_sink *sink = &stage->place->config.sink;
    return sink->engine_bytes(sink->user, stage->instance->id, bytes, at_least, before_out, err);
}

/* The sum is published before it is asked for: two threads of an engine must not both fit into the same rest. */
static sgi_status charge_scratch(sgi_stage *stage, uint64_t more, uint64_t *before_out, sgi_error *err)
{
    struct place_instance *i = stage->instance;

    pthread_mutex_lock(&i->mutex);
    i->scratch_bytes += more;
    uint64_t total = i->scratch_bytes + i->reported_bytes;
    pthread_mutex_unlock(&i->mutex);
    sgi_status st = charge(stage, total, true, before_out, err);
    if (st != SGI_OK) {
        pthread_mutex_lock(&i->mutex);
        i->scratch_bytes -= more;
        pthread_mutex_unlock(&i->mutex);
    }
    return st;
}

/* It was charged, and is not to be had: what was charged before, unless more has been taken meanwhile. */
static void uncharge_scratch(sgi_stage *stage, uint64_t less, uint64_t before)
{
    struct place_instance *i = stage->instance;

    pthread_mutex_lock(&i->mutex);
    i->scratch_bytes -= less;
    uint64_t total = i->scratch_bytes + i->reported_bytes;
    pthread_mutex_unlock(&i->mutex);
    charge(stage, total > before ? total : before, false, &before, NULL);
}

static sgi_status alloc_in_host(sgi_stage *stage, uint64_t bytes, void **memory_out, sgi_error *err)
{
    struct place_instance *i = stage->instance;
    struct scratch        *s = sgi__alloc_zero(1, sizeof *s);
    uint64_t               before;

    if (!s)
        return sgi__error(err, SGI_E_NO_MEMORY, "out of memory");
    s->bytes = bytes;
    sgi_status mapped = sgi__scratch_new(bytes, &s->memory, err); /* first, for it costs nothing until it is touched */
    if (mapped != SGI_OK) {
        sgi__free(s);
        return mapped;
    }

    pthread_mutex_lock(&i->growing);
    sgi_status st = charge_scratch(stage, bytes, &before, err);
    pthread_mutex_unlock(&i->growing);
    if (st != SGI_OK) {
        sgi__scratch_free(s->memory, bytes);
        sgi__free(s);
        return st;
    }
    pthread_mutex_lock(&i->mutex);
    s->next = i->scratches;
    i->scratches = s;
    pthread_mutex_unlock(&i->mutex);
    *memory_out = s->memory;
    return SGI_OK;
}

/* More of the arena, charged before it is taken; it comes in whole pages of the device. */
static sgi_status grow(sgi_stage *stage, uint64_t bytes, sgi_error *err)
{
    struct place_instance *i = stage->instance;
    struct sgi__device    *d = i->on->device;
    uint64_t               more = sgi__align_up(bytes, d->page_bytes), before;
    sgi_status             st = charge_scratch(stage, more, &before, err);

    if (st != SGI_OK)
        return st;
    sgi__place_count(stage->place, i->on, 0, (int64_t)more);
    st = d->ops->arena_grow(d, i->arena, more, err);
    sgi__place_count(stage->place, i->on, st == SGI_OK ? (int64_t)more : 0, -(int64_t)more);
    if (st != SGI_OK)
        uncharge_scratch(stage, more, before);
    return st;
}

/* One behind the other; nothing is given back before the instance ends. Memory of the driver may be anybody's. */
static sgi_status alloc_inside(sgi_stage *stage, uint64_t bytes, void **memory_out, sgi_error *err)
{
    struct place_instance *i = stage->instance;
    struct sgi__device    *d = i->on->device;
    uint64_t               at = sgi__align_up(i->arena_used, SGI__PLACE_ALIGN);
    sgi_status             st = SGI_OK;

    if (at + bytes > i->arena->bytes)
        st = grow(stage, at + bytes - i->arena->bytes, err);
    if (st == SGI_OK && !d->ops->zeroed)
        st = sgi__place_zero(d, i->arena->base + at, bytes, err);
    if (st != SGI_OK)
        return st;
    i->arena_used = at + bytes;
    *memory_out = (void *)(uintptr_t)(i->arena->base + at);
    return SGI_OK;
}

static sgi_status alloc_on_device(sgi_stage *stage, uint64_t bytes, void **memory_out, sgi_error *err)
{
    struct place_instance   *i = stage->instance;
    struct sgi__device_scope scope;
    sgi_status               st = sgi__place_enter(stage->place, i, &scope, err);

    if (st != SGI_OK)
        return st;
    pthread_mutex_lock(&i->growing);
    st = alloc_inside(stage, bytes, memory_out, err);
    pthread_mutex_unlock(&i->growing);
    return sgi__place_left(stage->place, i, &scope, st, err);
}

sgi_status sgi_stage_alloc(sgi_stage *stage, uint64_t bytes, void **memory_out, sgi_error *err)
{
    if (!memory_out || bytes == 0 || bytes > UINT64_MAX / 4)
        return sgi__error(err, SGI_E_INVALID, "sgi_stage_alloc: %s",
                          memory_out ? "bytes is 0 or absurd" : "memory_out is NULL");
    bytes = sgi__align_up(bytes, SGI__PLACE_ALIGN);
    return stage->instance->on ? alloc_on_device(stage, bytes, memory_out, err)
                               : alloc_in_host(stage, bytes, memory_out, err);
}

sgi_status sgi_stage_report_bytes(sgi_stage *stage, uint64_t bytes, sgi_error *err)
{
    struct place_instance *i = stage->instance;
    uint64_t               before;

    if (bytes > UINT64_MAX / 4)
        return sgi__error(err, SGI_E_INVALID, "sgi_stage_report_bytes: %llu bytes are absurd",
                          (unsigned long long)bytes);
    /* What sgi_stage_alloc() charges meanwhile would be lost. */
    pthread_mutex_lock(&i->growing);
    pthread_mutex_lock(&i->mutex);
    uint64_t total = i->scratch_bytes + bytes;
    pthread_mutex_unlock(&i->mutex);
    sgi_status st = charge(stage, total, false, &before, err);
    if (st != SGI_OK) {
        pthread_mutex_unlock(&i->growing);
        return st;
    }
    pthread_mutex_lock(&i->mutex);
    before = i->reported_bytes;
    i->reported_bytes = bytes;
    pthread_mutex_unlock(&i->mutex);
    pthread_mutex_unlock(&i->growing);
    if (i->on) {
        pthread_mutex_lock(&stage->place->mutex);
        i->on->reported_bytes += bytes - before;
        pthread_mutex_unlock(&stage->place->mutex);
    }
    return SGI_OK;
}

void sgi__stage_free(struct place_instance *i)
{
    while (i->scratches) {
        struct scratch *s = i->scratches;
        i->scratches = s->next;
        sgi__scratch_free(s->memory, s->bytes);
        sgi__free(s);
    }
}

sgi_status sgi_reply_emit(sgi_reply *reply, const void *piece, size_t bytes)
{
    const struct sgi__place_sink *sink = &reply->place->config.sink;
    if (bytes > 0 && !piece)
        return SGI_E_INVALID;
    sgi_status st = sink->piece(sink->user, reply->call, piece, bytes);
    if (st == SGI_E_CANCELED) /* the reader said so before the place was told: the engine may hand it on */
        atomic_store_explicit(&reply->canceled, 1, memory_order_relaxed);
    return st;
}

int sgi_reply_canceled(sgi_reply *reply)
{
    /* It carries no data with it: the engine only learns that it may stop. */
    return atomic_load_explicit(&reply->canceled, memory_order_relaxed);
}
