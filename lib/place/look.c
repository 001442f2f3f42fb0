/* SPDX-License-Identifier: Apache-2.0 */
/* Looking at an instance of the local place. Whoever asks holds a lease on it, or is told that it is gone. */
#include <string.h>

#include "base/error.h"
#include "base/hash.h"
#include "load/read_back.h"
#include "place/instance.h"

const void *sgi__place_tensor(const struct place_instance *i, uint64_t index)
{
    const struct sgi__place_model *m = &i->model->spec;
    const struct sgi__tensor      *t = &m->manifest->tensors[index];

    if (t->bytes == 0)
        return NULL;
    if (i->on) /* not an address of this process */
        return (const void *)(uintptr_t)(i->arena->base + m->layout->device_tensors[index]);
    return i->image->parts[t->file]->base + sgi__layout_tensor(m->layout, t);
}

sgi_status sgi__place_has_tensor(const struct place_instance *i, uint64_t index, sgi_error *err)
{
    uint64_t count = i->model->spec.manifest->tensors_count;

    if (index < count)
        return SGI_OK;
    return sgi__error(err, SGI_E_NOT_FOUND, "model '%s' has %llu tensors, no number %llu", i->model->spec.name,
                      (unsigned long long)count, (unsigned long long)index);
}

sgi_status sgi__local_tensor(struct sgi__place *p, uint64_t instance, uint64_t index, sgi_view *view_out,
                             sgi_error *err)
{
    struct place_instance *i = sgi__place_instance(p, instance);
    sgi_status             st = sgi__place_has_tensor(i, index, err);

    if (st != SGI_OK)
        return st;
    view_out->bytes = i->model->spec.manifest->tensors[index].bytes;
    view_out->data = sgi__place_tensor(i, index);
    return SGI_OK;
}

sgi_status sgi__local_tensor_wait(struct sgi__place *p, uint64_t instance, uint64_t index, uint64_t deadline_ns,
                                  sgi_error *err)
{
    struct place_instance *i = sgi__place_instance(p, instance);
    sgi_status             st = sgi__place_has_tensor(i, index, err);

    if (st == SGI_OK)
        st = sgi__load_wait_tensor(i->load, index, deadline_ns, err);
    return sgi__place_said(p, i->on, st, err);
}

sgi_status sgi__local_tensor_order(struct sgi__place *p, uint64_t instance, uint64_t index, void *stream,
                                   sgi_error *err)
{
    struct place_instance   *i = sgi__place_instance(p, instance);
    struct sgi__device_scope scope;
    sgi_status               st = sgi__place_has_tensor(i, index, err);

    if (st != SGI_OK)
        return st;
    if (!i->on)
        return sgi__load_wait_tensor(i->load, index, UINT64_MAX, err);
    st = sgi__load_wait_begun(i->load, err);
    if (st == SGI_OK)
        st = sgi__place_enter(p, i, &scope, err);
    if (st != SGI_OK)
        return st;
    st = sgi__load_order_tensor(i->load, index, stream, err);
    i->on->device->ops->leave(i->on->device, &scope, NULL);
    return sgi__place_said(p, i->on, st, err);
}

/* As it lies there: from a device with memory of its own it is read back. */
static sgi_status digest(struct sgi__place *p, struct place_instance *i, const sgi_view *view, uint64_t *xxh3_out,
                         sgi_error *err)
{
    struct sgi__device_scope scope;
    sgi_status               st;

    if (!i->on || view->bytes == 0) {
        *xxh3_out = sgi__hash(view->data, view->bytes);
        return SGI_OK;
    }
    st = sgi__place_enter(p, i, &scope, err);
    if (st != SGI_OK)
        return st;
    st = sgi__read_back_hash(i->on->device, (uint64_t)(uintptr_t)view->data, view->bytes, xxh3_out, err);
    return sgi__place_left(p, i, &scope, st, err);
}

sgi_status sgi__local_tensor_digest(struct sgi__place *p, uint64_t instance, uint64_t index, uint64_t *xxh3_out,
                                    sgi_error *err)
{
    sgi_view   view = { 0 };
    sgi_status st = sgi__local_tensor_wait(p, instance, index, UINT64_MAX, err);
    if (st != SGI_OK)
        return st;
    sgi__local_tensor(p, instance, index, &view, NULL);
    return digest(p, sgi__place_instance(p, instance), &view, xxh3_out, err);
}

sgi_status sgi__local_tensor_read(struct sgi__place *p, uint64_t instance, uint64_t index, uint64_t offset, void *dst,
                                  uint64_t bytes, sgi_error *err)
{
    struct place_instance   *i = sgi__place_instance(p, instance);
    struct sgi__device_scope scope;
    sgi_view                 view = { 0 };
    sgi_status               st = sgi__local_tensor_wait(p, instance, index, UINT64_MAX, err);

    if (st != SGI_OK)
        return st;
    sgi__local_tensor(p, instance, index, &view, NULL);
    if (offset > view.bytes || bytes > view.bytes - offset)
        return sgi__error(err, SGI_E_INVALID, "model '%s': tensor %llu has %llu bytes, not %llu from %llu on",
                          i->model->spec.name, (unsigned long long)index, (unsigned long long)view.bytes,
                          (unsigned long long)bytes, (unsigned long long)offset);
    if (bytes == 0)
        return SGI_OK;
    if (!i->on) {
        memcpy(dst, (const char *)view.data + offset, bytes);
        return SGI_OK;
    }
    st = sgi__place_enter(p, i, &scope, err);
    if (st != SGI_OK)
        return st;
    st = sgi__read_back(i->on->device, (uint64_t)(uintptr_t)view.data + offset, dst, bytes, err);
    return sgi__place_left(p, i, &scope, st, err);
}

sgi_status sgi__place_no_image(const struct place_instance *i, sgi_error *err)
{
    return sgi__error(err, SGI_E_UNSUPPORTED, "model '%s': on %s it has no image in host memory; ask for its tensors",
                      i->model->spec.name, i->on->device->name);
}

sgi_status sgi__local_image(struct sgi__place *p, uint64_t instance, uint32_t part, sgi_image *image_out,
                            sgi_error *err)
{
    struct place_instance    *i = sgi__place_instance(p, instance);
    const struct sgi__layout *layout = i->model->spec.layout;

    if (part >= layout->parts_count)
        return sgi__error(err, SGI_E_NOT_FOUND, "model '%s' has %u part%s, no number %u", i->model->spec.name,
                          layout->parts_count, layout->parts_count == 1 ? "" : "s", part);
    if (i->on)
        return sgi__place_no_image(i, err);
    struct sgi__region *region = i->image->parts[part];
    pthread_mutex_lock(&i->mutex);
    sgi_status st = sgi__region_share(region, &image_out->fd, err);
    pthread_mutex_unlock(&i->mutex);
    if (st != SGI_OK)
        return st;
    image_out->base = region->base;
    image_out->bytes = layout->parts[part].bytes;
    image_out->prefix_bytes = layout->parts[part].prefix_bytes;
    image_out->file_offset = layout->parts[part].data_offset;
    return SGI_OK;
}

/* Made when it is first asked for [inside]. */
static sgi_status lease_stream(struct place_instance *i, uint32_t lease_slot, struct sgi__stream **stream_out,
                               sgi_error *err)
{
    struct sgi__device  *d = i->on->device;
    struct sgi__stream **at = &i->lease_streams[lease_slot % LEASE_STREAMS_MAX];
    sgi_status           st = SGI_OK;

    pthread_mutex_lock(&i->growing);
    if (!*at)
        st = d->ops->stream_new(d, at, err);
    *stream_out = *at;
    pthread_mutex_unlock(&i->growing);
    return st;
}

/* An early lease may be there before the device is. */
static sgi_status enter_for_lease(struct sgi__place *p, struct place_instance *i, uint32_t lease_slot,
                                  struct sgi__device_scope *scope, struct sgi__stream **stream_out, sgi_error *err)
{
    sgi_status st = sgi__load_wait_begun(i->load, err);

    if (st == SGI_OK)
        st = sgi__place_enter(p, i, scope, err);
    if (st != SGI_OK)
        return st;
    st = lease_stream(i, lease_slot, stream_out, err);
    return st == SGI_OK ? st : sgi__place_left(p, i, scope, st, err);
}

sgi_status sgi__local_run(struct sgi__place *p, uint64_t instance, uint32_t lease_slot, sgi_run_fn fn, void *user,
                          sgi_error *err)
{
    struct place_instance   *i = sgi__place_instance(p, instance);
    struct sgi__device_scope scope;
    struct sgi__stream      *stream;

    if (!i->on)
        return fn(user, NULL, err);
    sgi_status st = enter_for_lease(p, i, lease_slot, &scope, &stream, err);
    if (st != SGI_OK)
        return st;
    sgi__place_lend(i, &scope);
    st = fn(user, i->on->device->ops->stream_native(stream), err);
    return sgi__place_leave(p, i, &scope, stream, st, err);
}

sgi_status sgi__local_stream(struct sgi__place *p, uint64_t instance, uint32_t lease_slot, void **stream_out,
                             sgi_error *err)
{
    struct place_instance   *i = sgi__place_instance(p, instance);
    struct sgi__device_scope scope;
    struct sgi__stream      *stream;

    *stream_out = NULL;
    if (!i->on)
        return SGI_OK;
    sgi_status st = enter_for_lease(p, i, lease_slot, &scope, &stream, err);
    if (st != SGI_OK)
        return st;
    *stream_out = i->on->device->ops->stream_native(stream);
    return sgi__place_leave(p, i, &scope, NULL, SGI_OK, err);
}

sgi_status sgi__local_report(struct sgi__place *p, uint64_t instance, struct sgi__report *report_out)
{
    pthread_mutex_lock(&p->mutex);
    struct place_instance *i = sgi__place_instance_locked(p, instance);
    if (i) {
        sgi__load_report(i->load, report_out);
        report_out->steps[SGI_STEP_SOURCE].start_ns = i->from_dram ? 0 : i->model->check_begin_ns;
        report_out->steps[SGI_STEP_SOURCE].ns = i->model->check_ns;
        if (i->device >= 0) {
            report_out->steps[SGI_STEP_CONTEXT].start_ns = p->devices[i->device].begin_ns;
            report_out->steps[SGI_STEP_CONTEXT].ns = p->devices[i->device].ns;
        }
        report_out->steps[SGI_STEP_PREPARE].start_ns = i->model->prepare_begin_ns;
        report_out->steps[SGI_STEP_PREPARE].ns = i->model->prepare_ns;
        pthread_mutex_lock(&i->mutex);
        report_out->steps[SGI_STEP_START].start_ns = i->start_begin_ns;
        report_out->steps[SGI_STEP_START].ns = i->start_ns;
        pthread_mutex_unlock(&i->mutex);
    }
    pthread_mutex_unlock(&p->mutex);
    return i ? SGI_OK : SGI_E_STALE;
}

sgi_status sgi__local_progress(struct sgi__place *p, uint64_t instance, struct sgi__place_progress *progress_out)
{
    pthread_mutex_lock(&p->mutex);
    struct place_instance *i = sgi__place_instance_locked(p, instance);
    if (i)
        sgi__load_progress(i->load, &progress_out->done, &progress_out->total);
    pthread_mutex_unlock(&p->mutex);
    return i ? SGI_OK : SGI_E_STALE;
}
