/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What stays of a model in host memory when no instance has it: an image, an instance's before or after, or a copy that
 * a load to a device with memory of its own leaves, and that such devices read where it is. Or it is packed: its stored
 * chunks, which a load leaves, and which all devices read where they are.
 */
#include <assert.h>

#include "base/error.h"
#include "base/log.h"
#include "place/instance.h"

/* ---- read where it is ---- */

/* What is read in place is pinned as it is read. A start that was given up may be at it still: the first to make a list
 * of pins makes it for all. */
sgi_status sgi__residence_read_in_place(struct sgi__place *p, struct place_instance *i, struct sgi__load_spec *spec,
                                        sgi_error *err)
{
    struct place_model *m = i->model;
    struct sgi__pins   *pins = sgi__pins_new(m->residence);

    if (!pins)
        return sgi__error(err, SGI_E_NO_MEMORY, "model '%s': out of memory", m->spec.name);
    pthread_mutex_lock(&p->mutex);
    if (!m->pins) {
        m->pins = pins;
        pins = NULL;
    }
    spec->pins = m->pins;
    pthread_mutex_unlock(&p->mutex);
    sgi__pins_free(pins);
    spec->image = m->residence;
    spec->from_image = true;
    return SGI_OK;
}

/* One load reads a residence at a time, for its pins are one device's. Whoever is at it still has been given up. False:
 * so has this one. */
bool sgi__residence_begin_reading(struct sgi__place *p, struct place_instance *i)
{
    struct place_model *m = i->model;

    pthread_mutex_lock(&p->mutex);
    while (m->is_read && !sgi__place_canceled(i))
        pthread_cond_wait(&p->let_go, &p->mutex);
    bool mine = !m->is_read;
    m->is_read = true;
    pthread_mutex_unlock(&p->mutex);
    return mine;
}

void sgi__residence_end_reading(struct sgi__place *p, struct place_model *m)
{
    pthread_mutex_lock(&p->mutex);
    m->is_read = false;
    pthread_cond_broadcast(&p->let_go);
    pthread_mutex_unlock(&p->mutex);
}

/* ---- left beside a load ---- */

struct sgi__pins *sgi__residence_make_room(struct sgi__place *p, struct place_instance *i)
{
    struct sgi__pins *pins;

    if (i->model->spec.layout->image_bytes == 0 || sgi__place_new_image(p, &i->model->spec, &i->image, NULL) != SGI_OK)
        return NULL;
    sgi__image_trim(i->image);
    pins = sgi__pins_new(i->image);
    if (pins) {
        sgi__load_keep(i->load, i->image, pins);
        return pins;
    }
    sgi__image_free(p->memory, i->image);
    i->image = NULL;
    return NULL;
}

struct sgi__kept *sgi__residence_make_packed(struct sgi__place *p, struct place_instance *i, uint64_t shared_bytes)
{
    const struct sgi__place_model *m = &i->model->spec;
    struct sgi__kept              *kept = NULL;

    if (sgi__kept_new(p->store, m->manifest, m->layout, shared_bytes, &kept, NULL) == SGI_OK)
        sgi__load_keep_stored(i->load, kept);
    return kept;
}

static void forget_pins(struct sgi__pins *pins)
{
    if (pins)
        sgi__pins_off(pins);
    sgi__pins_free(pins);
}

/* It becomes the model's residence, or goes again. */
void sgi__residence_end_filling(struct job *job, struct sgi__pins *pins)
{
    struct place_instance *i = job->instance;

    if (job->event.status == SGI_OK) {
        i->model->residence = i->image;
        i->model->pins = pins;
        job->event.bytes = i->model->spec.layout->image_bytes;
    } else {
        forget_pins(pins);
        sgi__image_free(job->place->memory, i->image);
    }
    i->image = NULL;
}

/* Likewise. */
void sgi__residence_end_packing(struct job *job, struct sgi__kept *kept)
{
    struct place_model *m = job->model;

    if (job->event.status == SGI_OK && sgi__kept_is_whole(kept)) {
        job->event.shared_bytes = sgi__kept_complete(kept);
        job->event.bytes = sgi__kept_bytes_max(m->spec.manifest, m->spec.layout);
        m->kept = kept;
        return;
    }
    if (job->event.status == SGI_OK)
        sgi__log(SGI_LOG_WARN, "model '%s': it does not stay packed: out of memory, or read twice", m->spec.name);
    sgi__kept_free(kept);
}

/* ---- kept and dropped ---- */

/* An instance that is read into host memory only has nothing but that. */
static void work_keep_packed(struct job *job, sgi_error *err)
{
    struct place_instance *i = job->instance;
    struct place_model    *m = job->model;
    (void)err;
    m->kept = i->kept;
    job->event.shared_bytes = sgi__kept_complete(m->kept);
    job->event.bytes = sgi__kept_bytes_max(m->spec.manifest, m->spec.layout);
    sgi__place_remove(job->place, i);
    sgi__place_instance_free(i);
}

void sgi__local_keep(struct sgi__place *p, uint64_t op, sgi_model model, uint64_t instance)
{
    struct place_instance  *i = sgi__place_instance(p, instance);
    struct place_model     *m = i->model;
    struct sgi__place_event event = { .kind = SGI__PLACE_KEPT, .op = op, .model = model, .instance = instance };

    assert(!i->on && !m->residence && !m->kept && !m->pins);
    if (i->kept) { /* many chunks are counted then */
        sgi__place_start(p, &(struct job){ .model = m, .instance = i, .work = work_keep_packed, .event = event }, true);
        return;
    }
    m->residence = i->image;
    event.bytes = m->spec.layout->image_bytes;
    sgi__place_remove(p, i);
    sgi__place_instance_free(i);
    sgi__place_report(p, &event);
}

static void work_drop(struct job *job, sgi_error *err)
{
    struct place_model *m = job->model;
    struct sgi__image  *image = m->residence;
    struct sgi__kept   *kept = m->kept;
    (void)err;
    forget_pins(m->pins);
    m->pins = NULL;
    m->residence = NULL;
    m->kept = NULL;
    sgi__image_free(job->place->memory, image);
    job->event.shared_bytes = sgi__kept_free(kept);
}

void sgi__local_drop(struct sgi__place *p, uint64_t op, sgi_model model)
{
    sgi__place_start(p,
                     &(struct job){ .model = sgi__place_model(p, model),
                                    .work = work_drop,
                                    .event = { .kind = SGI__PLACE_DROPPED, .op = op, .model = model } },
                     true);
}
