/* SPDX-License-Identifier: Apache-2.0 */
/* The load as others see it: what is ready, what failed, who waits. The pipeline that feeds it is in pipeline.c. */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/text.h"
#include "base/thread.h"
#include "load/state.h"

/* How often somebody with a deadline looks whether a copy is done: they take milliseconds. */
#define COPY_LOOK_NS UINT64_C(200000)

static sgi_status load_new(const struct sgi__load_spec *spec, bool done, struct sgi__load **load_out, sgi_error *err)
{
    struct sgi__load *load = sgi__alloc_zero(1, sizeof *load);
    uint64_t          tensors = spec->manifest->tensors_count;

    if (load && !done)
        load->ready = sgi__alloc_zero((size_t)tensors, sizeof *load->ready);
    if (!load || (!done && !load->ready) || sgi__cond_init(&load->changed)) {
        if (load)
            sgi__free(load->ready);
        sgi__free(load);
        return sgi__error(err, SGI_E_NO_MEMORY, "model '%s': out of memory for its load", spec->name);
    }
    pthread_mutex_init(&load->mutex, NULL);
    load->spec = *spec;
    load->turn.priority = spec->priority;
    load->run_done = load->prefixes_done = done;
    load->begun = !spec->staging;
    sgi__error_init(&load->error);
    for (uint64_t n = 0; !done && n < tensors; n++)
        if (spec->manifest->tensors[n].bytes == 0)
            load->ready[n] = SGI__TENSOR_HERE;
    if (!spec->layout->engine_prefix)
        load->prefixes_done = true;
    load->total_bytes = spec->layout->data_bytes;
    *load_out = load;
    return SGI_OK;
}

sgi_status sgi__load_new(const struct sgi__load_spec *spec, struct sgi__load **load_out, sgi_error *err)
{
    return load_new(spec, false, load_out, err);
}

sgi_status sgi__load_new_done(const struct sgi__load_spec *spec, struct sgi__load **load_out, sgi_error *err)
{
    sgi_status st = load_new(spec, true, load_out, err);
    if (st == SGI_OK) {
        (*load_out)->report.tier = SGI_TIER_DRAM;
        (*load_out)->report.bytes = (*load_out)->total_bytes;
        (*load_out)->report.load_start_ns = (*load_out)->report.load_end_ns = sgi__clock_now_ns();
        atomic_store(&(*load_out)->done_bytes, (*load_out)->total_bytes);
    }
    return st;
}

void sgi__load_keep(struct sgi__load *load, struct sgi__image *image, struct sgi__pins *pins)
{
    load->spec.image = image;
    load->spec.pins = pins;
}

void sgi__load_keep_stored(struct sgi__load *load, struct sgi__kept *kept)
{
    load->spec.kept = kept;
}

void sgi__load_from(struct sgi__load *load, uint64_t arena_base)
{
    load->spec.from_arena = arena_base;
    load->spec.image = NULL;
    load->spec.kept = NULL;
    load->spec.from_image = load->spec.from_kept = false;
}

void sgi__load_free(struct sgi__load *load)
{
    struct sgi__device *device = load && load->spec.staging ? sgi__staging_device(load->spec.staging) : NULL;

    if (!load)
        return;
    for (uint32_t n = 0; device && n < SGI__LOAD_MARKS; n++)
        device->ops->mark_free(device, load->marks[n]);
    pthread_cond_destroy(&load->changed);
    pthread_mutex_destroy(&load->mutex);
    sgi__free(load->ready);
    sgi__free(load);
}

/* ---- what the pipeline and the prefixes report ---- */

/* The first cause is kept. */
void sgi__load_failed(struct sgi__load *load, sgi_status status, const sgi_error *err)
{
    pthread_mutex_lock(&load->mutex);
    if (load->failed == SGI_OK) {
        load->failed = status;
        sgi__error_copy(&load->error, err);
    }
    pthread_cond_broadcast(&load->changed);
    pthread_mutex_unlock(&load->mutex);
}

void sgi__load_begun(struct sgi__load *load)
{
    pthread_mutex_lock(&load->mutex);
    load->begun = true;
    pthread_cond_broadcast(&load->changed);
    pthread_mutex_unlock(&load->mutex);
}

void sgi__load_ready(struct sgi__load *load, uint64_t tensor, uint32_t how)
{
    pthread_mutex_lock(&load->mutex);
    load->ready[tensor] = how;
    if (load->waiters > 0)
        pthread_cond_broadcast(&load->changed);
    pthread_mutex_unlock(&load->mutex);
}

/* The first cause, not what followed from it. */
static sgi_status first_cause(struct sgi__load *load, sgi_status status, sgi_error *err)
{
    if (load->failed == SGI_OK)
        return status;
    sgi__error_copy(err, &load->error);
    return load->failed;
}

sgi_status sgi__load_run_done(struct sgi__load *load, sgi_status status, sgi_error *err)
{
    if (status != SGI_OK)
        sgi__load_failed(load, status, err);
    pthread_mutex_lock(&load->mutex);
    load->run_done = true;
    status = first_cause(load, status, err);
    pthread_cond_broadcast(&load->changed);
    pthread_mutex_unlock(&load->mutex);
    return status;
}

sgi_status sgi__load_fill_prefixes(struct sgi__load *load, sgi_error *err)
{
    const struct sgi__load_spec *spec = &load->spec;
    sgi_status                   st = SGI_OK;
    uint64_t                     start = sgi__clock_now_ns();

    for (uint32_t n = 0; n < spec->layout->parts_count && st == SGI_OK; n++) {
        const struct sgi__part *part = &spec->layout->parts[n];
        if (part->engine_prefix)
            st = spec->prefix_fill(spec->prefix_user, n, spec->image->parts[n]->base, part->prefix_bytes, err);
    }
    if (st != SGI_OK) {
        sgi__error_step(err, st, SGI_STEP_PREFIX);
        sgi__load_failed(load, st, err);
        sgi__load_cancel(load);
    }
    pthread_mutex_lock(&load->mutex);
    load->report.steps[SGI_STEP_PREFIX].start_ns = start;
    load->report.steps[SGI_STEP_PREFIX].ns = sgi__clock_now_ns() - start;
    load->prefixes_done = true;
    st = first_cause(load, st, err);
    pthread_cond_broadcast(&load->changed);
    pthread_mutex_unlock(&load->mutex);
    return st;
}

void sgi__load_cancel(struct sgi__load *load)
{
    atomic_store(&load->canceled, true);
    pthread_mutex_lock(&load->mutex);
    if (load->reader)
        sgi__reader_wake(load->reader);
    sgi__rate_cancel(load->spec.rate, &load->turn);
    pthread_mutex_unlock(&load->mutex);
    if (load->spec.staging)
        sgi__staging_wake(load->spec.staging);
}

void sgi__load_priority(struct sgi__load *load, int32_t priority)
{
    pthread_mutex_lock(&load->mutex);
    load->spec.priority = priority;
    sgi__rate_priority(load->spec.rate, &load->turn, priority);
    if (load->shares)
        sgi__share_priority(load->spec.share, &load->sharer, priority);
    pthread_mutex_unlock(&load->mutex);
}

bool sgi__load_canceled(struct sgi__load *load)
{
    return atomic_load(&load->canceled);
}

/* ---- waiting ---- */

/* Until a tensor is there, or on its way on a stream: *how_out is what it is then. */
static sgi_status wait_ready(struct sgi__load *load, uint64_t tensor, uint64_t deadline_ns, uint32_t *how_out,
                             sgi_error *err)
{
    struct sgi__shown shown;
    sgi_status        st = SGI_OK;

    pthread_mutex_lock(&load->mutex);
    load->waiters++;
    /* A tensor that is there stays there, even if the load fails later. */
    while (!(load->run_done && load->failed == SGI_OK) && load->ready && load->ready[tensor] == SGI__TENSOR_NOT) {
        if (load->failed != SGI_OK) {
            st = first_cause(load, SGI_OK, err);
            break;
        }
        if (!sgi__cond_wait(&load->changed, &load->mutex, deadline_ns)) {
            st = sgi__error(err, SGI_E_TIMEOUT, "model '%s': tensor '%s' has not arrived in time", load->spec.name,
                            sgi__show_name(&shown, load->spec.manifest->tensors[tensor].name));
            break;
        }
    }
    bool all = !load->ready || (load->run_done && load->failed == SGI_OK);
    *how_out = all ? SGI__TENSOR_HERE : load->ready[tensor];
    load->waiters--;
    pthread_mutex_unlock(&load->mutex);
    return st;
}

/* Its copy is on its way: whoever has no deadline sleeps until it is done; the others look, for a driver that knows of
 * no deadlines. */
static sgi_status wait_copied(struct sgi__load *load, uint64_t tensor, uint32_t copy, uint64_t deadline_ns,
                              sgi_error *err)
{
    struct sgi__device *device = sgi__staging_device(load->spec.staging);
    struct sgi__mark   *mark = load->marks[copy % SGI__LOAD_MARKS]; /* or a later copy's, set since */
    struct sgi__shown   shown;

    if (deadline_ns == UINT64_MAX)
        return device->ops->mark_wait(device, mark, err);
    for (;;) {
        sgi_status st = device->ops->mark_reached(device, mark, err);
        if (st != SGI_E_WOULD_BLOCK)
            return st;
        uint64_t now = sgi__clock_now_ns(), next = now + COPY_LOOK_NS;
        if (now >= deadline_ns)
            return sgi__error(err, SGI_E_TIMEOUT, "model '%s': tensor '%s' has not arrived in time", load->spec.name,
                              sgi__show_name(&shown, load->spec.manifest->tensors[tensor].name));
        pthread_mutex_lock(&load->mutex);
        sgi__cond_wait(&load->changed, &load->mutex, next < deadline_ns ? next : deadline_ns);
        pthread_mutex_unlock(&load->mutex);
    }
}

sgi_status sgi__load_wait_tensor(struct sgi__load *load, uint64_t tensor, uint64_t deadline_ns, sgi_error *err)
{
    struct sgi__device_scope scope;
    uint32_t                 how;
    sgi_status               st = wait_ready(load, tensor, deadline_ns, &how, err);

    if (st != SGI_OK || how == SGI__TENSOR_HERE)
        return st;
    struct sgi__device *device = sgi__staging_device(load->spec.staging);
    st = device->ops->enter(device, &scope, err);
    if (st != SGI_OK)
        return st;
    st = wait_copied(load, tensor, how, deadline_ns, err);
    device->ops->leave(device, &scope, NULL);
    return st;
}

sgi_status sgi__load_order_tensor(struct sgi__load *load, uint64_t tensor, void *native_stream, sgi_error *err)
{
    uint32_t   how;
    sgi_status st = wait_ready(load, tensor, UINT64_MAX, &how, err);

    if (st != SGI_OK || how == SGI__TENSOR_HERE)
        return st;
    struct sgi__device *device = sgi__staging_device(load->spec.staging);
    return device->ops->mark_order(device, load->marks[how % SGI__LOAD_MARKS], native_stream, err);
}

sgi_status sgi__load_wait_begun(struct sgi__load *load, sgi_error *err)
{
    pthread_mutex_lock(&load->mutex);
    while (!load->begun && load->failed == SGI_OK)
        pthread_cond_wait(&load->changed, &load->mutex);
    sgi_status st = load->begun ? SGI_OK : first_cause(load, SGI_OK, err);
    pthread_mutex_unlock(&load->mutex);
    return st;
}

bool sgi__load_has_begun(struct sgi__load *load)
{
    pthread_mutex_lock(&load->mutex);
    bool begun = load->begun;
    pthread_mutex_unlock(&load->mutex);
    return begun;
}

sgi_status sgi__load_wait_prefixes(struct sgi__load *load, sgi_error *err)
{
    pthread_mutex_lock(&load->mutex);
    while (!load->prefixes_done && load->failed == SGI_OK)
        pthread_cond_wait(&load->changed, &load->mutex);
    sgi_status st = first_cause(load, SGI_OK, err);
    pthread_mutex_unlock(&load->mutex);
    return st;
}

sgi_status sgi__load_wait(struct sgi__load *load, sgi_error *err)
{
    pthread_mutex_lock(&load->mutex);
    while (!(load->run_done && load->prefixes_done) && load->failed == SGI_OK)
        pthread_cond_wait(&load->changed, &load->mutex);
    sgi_status st = first_cause(load, SGI_OK, err);
    pthread_mutex_unlock(&load->mutex);
    return st;
}

void sgi__load_progress(struct sgi__load *load, uint64_t *done_out, uint64_t *total_out)
{
    *done_out = atomic_load(&load->done_bytes);
    *total_out = load->total_bytes;
}

void sgi__load_report(struct sgi__load *load, struct sgi__report *report_out)
{
    pthread_mutex_lock(&load->mutex);
    *report_out = load->report;
    pthread_mutex_unlock(&load->mutex);
}
