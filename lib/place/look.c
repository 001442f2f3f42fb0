/* SPDX-License-Identifier: Apache-2.0 */
/* Looking at an instance of the local place. Whoever asks holds a lease on it, or is told that it is gone. */
#include "base/error.h"
#include "load/hash.h"
#include "place/instance.h"

sgi_status sgi__local_tensor(struct sgi__place *p, uint64_t instance, uint64_t index, sgi_view *view_out,
                             sgi_error *err)
{
    struct place_instance      *i = sgi__place_instance(p, instance);
    const struct sgi__manifest *m = i->model->spec.manifest;

    if (index >= m->tensors_count)
        return sgi__error(err, SGI_E_NOT_FOUND, "model '%s' has %llu tensors, no number %llu", i->model->spec.name,
                          (unsigned long long)m->tensors_count, (unsigned long long)index);
    const struct sgi__tensor *t = &m->tensors[index];
    view_out->bytes = t->bytes;
    view_out->data = t->bytes ? i->image->parts[t->file]->base + sgi__layout_tensor(i->model->spec.layout, t) : NULL;
    return SGI_OK;
}

sgi_status sgi__local_tensor_wait(struct sgi__place *p, uint64_t instance, uint64_t index, uint64_t deadline_ns,
                                  sgi_error *err)
{
    struct place_instance *i = sgi__place_instance(p, instance);
    sgi_view               view;
    sgi_status             st = sgi__local_tensor(p, instance, index, &view, err);
    return st == SGI_OK ? sgi__load_wait_tensor(i->load, index, deadline_ns, err) : st;
}

sgi_status sgi__local_tensor_digest(struct sgi__place *p, uint64_t instance, uint64_t index, uint64_t *xxh3_out,
                                    sgi_error *err)
{
    sgi_view   view = { 0 };
    sgi_status st = sgi__local_tensor_wait(p, instance, index, UINT64_MAX, err);
    if (st != SGI_OK)
        return st;
    sgi__local_tensor(p, instance, index, &view, NULL);
    *xxh3_out = sgi__hash(view.data, view.bytes);
    return SGI_OK;
}

sgi_status sgi__local_image(struct sgi__place *p, uint64_t instance, uint32_t part, sgi_image *image_out,
                            sgi_error *err)
{
    struct place_instance    *i = sgi__place_instance(p, instance);
    const struct sgi__layout *layout = i->model->spec.layout;

    if (part >= layout->parts_count)
        return sgi__error(err, SGI_E_NOT_FOUND, "model '%s' has %u part%s, no number %u", i->model->spec.name,
                          layout->parts_count, layout->parts_count == 1 ? "" : "s", part);
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

/* Nothing has to be made current for the host. */
sgi_status sgi__local_run(struct sgi__place *p, uint64_t instance, sgi_run_fn fn, void *user, sgi_error *err)
{
    (void)p;
    (void)instance;
    return fn(user, NULL, err);
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
            report_out->steps[SGI_STEP_CONTEXT].start_ns = p->contexts[i->device].begin_ns;
            report_out->steps[SGI_STEP_CONTEXT].ns = p->contexts[i->device].ns;
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
