/* SPDX-License-Identifier: Apache-2.0 */
/* The lives of the test place: what each holds, its events on their way out, its death and what is left of it. */
#include "test_place_state.h"

#include <assert.h>

#include "base/error.h"

/* ------------------------------------------------------ what is held, under the mutex */

struct held_instance *life_find_instance(const struct incarnation *life, uint64_t id)
{
    struct held_instance *i = life->instances;
    while (i && i->id != id)
        i = i->next;
    return i;
}

struct held_model *life_find_model(const struct incarnation *life, sgi_model id)
{
    struct held_model *m = life->models;
    while (m && m->id != id)
        m = m->next;
    return m;
}

static void forget_instance(struct incarnation *life, uint64_t id)
{
    for (struct held_instance **at = &life->instances; *at; at = &(*at)->next)
        if ((*at)->id == id) {
            struct held_instance *i = *at;
            *at = i->next;
            free(i);
            return;
        }
}

void life_forget_call(struct incarnation *life, uint64_t id)
{
    for (struct held_call **at = &life->calls; *at; at = &(*at)->next)
        if ((*at)->id == id) {
            struct held_call *c = *at;
            *at = c->next;
            free(c);
            return;
        }
}

static void add_instance(struct incarnation *life, const struct sgi__place_event *e)
{
    struct held_instance *i = must(calloc(1, sizeof *i));
    i->id = e->instance;
    i->model = e->model;
    i->device = e->device;
    i->next = life->instances;
    life->instances = i;
}

/* An op of this life is on its way. A context is shut from when it is asked to open, or to close. */
void life_asked(struct incarnation *life, const struct op_job *j)
{
    struct held_instance *i = life_find_instance(life, j->instance);

    if (j->what == OP_CONTEXT_OPEN || j->what == OP_CONTEXT_CLOSE)
        life->contexts[j->device] = CONTEXT_SHUT;
    if (j->what == OP_LOAD)
        i->loading = true;
    if ((j->what == OP_LOAD && j->keep == SGI__KEEP_PACKED) || (j->what == OP_RESERVE && j->packed))
        life_find_model(life, j->model)->packer = j->instance;
}

void life_canceled(struct incarnation *life, uint64_t instance)
{
    pthread_mutex_lock(&life->tp->mutex);
    struct held_instance *i = life_find_instance(life, instance);
    if (i && !i->canceled) {
        i->canceled = true;
        steps_leave_gate(life, -1, instance);
    }
    pthread_mutex_unlock(&life->tp->mutex);
}

static void learn(struct incarnation *life, const struct sgi__place_event *e)
{
    struct held_model    *m = life_find_model(life, e->model);
    struct held_instance *i = life_find_instance(life, e->instance);
    bool                  good = e->status == SGI_OK;

    switch (e->kind) {
    case SGI__PLACE_RESERVED:
        if (good) {
            add_instance(life, e);
            m->residence = m->residence && (m->borrower != e->instance || m->packed || steps_own(life->tp, e->device));
        }
        break;
    case SGI__PLACE_LOADED:
        m->packed = e->bytes > 0 ? m->packer == e->instance : m->packed;
        m->residence = m->residence || e->bytes > 0;
        i->loading = false;
        steps_leave_gate(life, -1, i->id);
        break;
    case SGI__PLACE_CONTEXT_OPENED:
        life->contexts[e->device] = good ? CONTEXT_OPEN : CONTEXT_FAILED;
        steps_leave_gate(life, e->device, 0);
        break;
    case SGI__PLACE_ENGINE_STARTED:
        i->up = good;
        break;
    case SGI__PLACE_ENGINE_STOPPED:
        i->up = false;
        break;
    case SGI__PLACE_KEPT:
        m->residence = true;
        m->packed = m->packer == e->instance;
        forget_instance(life, e->instance);
        break;
    case SGI__PLACE_FREED:
        forget_instance(life, e->instance);
        break;
    case SGI__PLACE_DROPPED:
        m->residence = m->packed = false;
        break;
    case SGI__PLACE_PREPARED:
        m->prepared = good;
        break;
    case SGI__PLACE_DISCARDED:
        m->prepared = false;
        break;
    case SGI__PLACE_CALLED:
        life_forget_call(life, e->op);
        break;
    default:
        break;
    }
}

/* --------------------------------------------------------------- events on their way out */

/* `telling` has been raised. */
static void tell(struct test_place *tp, const struct sgi__place_event *event)
{
    tp->config.sink.event(tp->config.sink.user, event);
    pthread_mutex_lock(&tp->mutex);
    tp->told[event->kind]++;
    tp->telling--;
    pthread_cond_broadcast(&tp->changed);
    pthread_mutex_unlock(&tp->mutex);
}

static void hold_event(struct test_place *tp, const struct sgi__place_event *event)
{
    struct held_event *h = must(calloc(1, sizeof *h)), **at = &tp->held;

    h->event = *event;
    if (event->error) {
        h->error = *event->error;
        h->event.error = &h->error;
    }
    while (*at)
        at = &(*at)->next;
    *at = h;
}

/* From the place inside, on its threads or ours. */
static void inner_event(void *user, const struct sgi__place_event *event)
{
    struct incarnation *life = user;
    struct test_place  *tp = life->tp;

    bool answers = event->kind != SGI__PLACE_FOREIGN; /* an op that is out */

    pthread_mutex_lock(&tp->mutex);
    learn(life, event);
    assert(!answers || life->out > 0);
    life->out -= answers;
    bool forward = !life->dead && !tp->hold[event->kind];
    tp->telling += forward;
    if (life->dead)
        tp->lost++;
    else if (!forward)
        hold_event(tp, event);
    pthread_cond_broadcast(&tp->changed);
    pthread_mutex_unlock(&tp->mutex);
    if (forward)
        tell(tp, event);
    if (event->kind == SGI__PLACE_CALLED || !answers)
        return;
    pthread_mutex_lock(&tp->mutex);
    if (life->running > 0) /* 0: a life is being taken apart */
        life->running--;
    pthread_cond_broadcast(&tp->changed);
    pthread_mutex_unlock(&tp->mutex);
}

static bool is_dead(struct incarnation *life)
{
    pthread_mutex_lock(&life->tp->mutex);
    bool dead = life->dead;
    pthread_mutex_unlock(&life->tp->mutex);
    return dead;
}

static sgi_status inner_engine_bytes(void *user, uint64_t instance, uint64_t bytes, bool at_least, uint64_t *before_out,
                                     sgi_error *err)
{
    struct incarnation           *life = user;
    const struct sgi__place_sink *sink = &life->tp->config.sink;
    if (is_dead(life))
        return sgi__error(err, SGI_E_DEVICE_LOST, "the place has died");
    return sink->engine_bytes(sink->user, instance, bytes, at_least, before_out, err);
}

static sgi_status inner_piece(void *user, uint64_t call, const void *piece, size_t bytes)
{
    struct incarnation           *life = user;
    const struct sgi__place_sink *sink = &life->tp->config.sink;
    return is_dead(life) ? SGI_E_CANCELED : sink->piece(sink->user, call, piece, bytes);
}

/* -------------------------------------------------------------------- lives */

struct incarnation *life_new(struct test_place *tp, sgi_error *err)
{
    struct incarnation      *life = must(calloc(1, sizeof *life));
    struct sgi__place_config config = tp->config;

    life->tp = tp;
    config.sink = (struct sgi__place_sink){
        .user = life, .event = inner_event, .engine_bytes = inner_engine_bytes, .piece = inner_piece
    };
    if (inside->open(&config, &life->inner, err) != SGI_OK) {
        free(life);
        return NULL;
    }
    return life;
}

sgi_status life_add_model(struct incarnation *life, const struct sgi__place_model *spec, sgi_error *err)
{
    sgi_status st = inside->model_add(life->inner, spec, err);
    if (st != SGI_OK)
        return st;
    struct held_model *m = must(calloc(1, sizeof *m));
    m->id = spec->id;
    pthread_mutex_lock(&life->tp->mutex);
    m->next = life->models;
    life->models = m;
    pthread_mutex_unlock(&life->tp->mutex);
    return SGI_OK;
}

static void wait_quiet(struct incarnation *life)
{
    pthread_mutex_lock(&life->tp->mutex);
    while (life->out > 0 || life->inside > 0)
        pthread_cond_wait(&life->tp->changed, &life->tp->mutex);
    pthread_mutex_unlock(&life->tp->mutex);
}

static void one_out(struct incarnation *life)
{
    pthread_mutex_lock(&life->tp->mutex);
    life->out++;
    pthread_mutex_unlock(&life->tp->mutex);
}

/* Nobody else works on it any more: give everything back, in order, and close it. */
void life_take_apart(struct incarnation *life)
{
    while (life->instances) {
        struct held_instance *i = life->instances;
        if (i->up) {
            one_out(life);
            inside->engine_stop(life->inner, 1, i->model, i->id);
            wait_quiet(life);
        }
        one_out(life);
        inside->free(life->inner, 1, i->model, i->id);
        wait_quiet(life);
    }
    while (life->models) {
        struct held_model *m = life->models;
        if (m->residence) {
            one_out(life);
            inside->drop(life->inner, 1, m->id);
            wait_quiet(life);
        }
        if (m->prepared) {
            one_out(life);
            inside->discard(life->inner, 1, m->id);
            wait_quiet(life);
        }
        inside->model_remove(life->inner, m->id);
        life->models = m->next;
        free(m);
    }
    inside->close(life->inner);
}

static void reap(struct sgi__job *job)
{
    struct incarnation *life = (struct incarnation *)job;
    struct test_place  *tp = life->tp;

    wait_quiet(life);
    life_take_apart(life);
    pthread_mutex_lock(&tp->mutex);
    life->reaped = true;
    pthread_cond_broadcast(&tp->changed);
    pthread_mutex_unlock(&tp->mutex);
}

void test_place_die(struct test_place *tp)
{
    pthread_mutex_lock(&tp->mutex);
    struct incarnation *life = tp->live;
    assert(life);
    tp->live = NULL;
    tp->deaths++;
    life->dead = true;
    while (tp->held) {
        struct held_event *h = tp->held;
        tp->held = h->next;
        tp->lost++;
        free(h);
    }
    steps_forget(tp);
    tp->telling++;
    pthread_mutex_unlock(&tp->mutex);
    tell(tp, &(struct sgi__place_event){ .kind = SGI__PLACE_DIED });

    pthread_mutex_lock(&tp->mutex);
    for (struct held_call *c = life->calls; c; c = c->next)
        inside->call_cancel(life->inner, c->id, c->instance);
    for (struct held_instance *i = life->instances; i; i = i->next)
        inside->cancel(life->inner, i->id);
    pthread_mutex_unlock(&tp->mutex);
    life->reap.run = reap;
    if (sgi__pool_submit(tp->pool, &life->reap) != 0)
        abort();
}

void test_place_up(struct test_place *tp)
{
    struct incarnation *life = must(life_new(tp, NULL));

    for (const struct known_model *k = tp->models; k;
         k = k->next) /* no model is added or removed meanwhile: the test sees to it */
        if (life_add_model(life, &k->spec, NULL) != SGI_OK)
            abort();
    pthread_mutex_lock(&tp->mutex);
    assert(!tp->live);
    life->next = tp->lives;
    tp->lives = life;
    tp->live = life;
    tp->telling++;
    pthread_mutex_unlock(&tp->mutex);
    tell(tp, &(struct sgi__place_event){ .kind = SGI__PLACE_UP });
}

void lives_wait_reaped(struct test_place *tp)
{
    for (const struct incarnation *life = tp->lives; life;) {
        if (life->dead && !life->reaped) {
            pthread_cond_wait(&tp->changed, &tp->mutex);
            life = tp->lives;
        } else {
            life = life->next;
        }
    }
}

void test_place_wait_reaped(struct test_place *tp)
{
    pthread_mutex_lock(&tp->mutex);
    lives_wait_reaped(tp);
    pthread_mutex_unlock(&tp->mutex);
}

uint64_t test_place_lost(struct test_place *tp)
{
    pthread_mutex_lock(&tp->mutex);
    uint64_t lost = tp->lost;
    pthread_mutex_unlock(&tp->mutex);
    return lost;
}

static void tell_of_device(struct test_place *tp, const struct sgi__place_event *event)
{
    pthread_mutex_lock(&tp->mutex);
    tp->telling++;
    pthread_mutex_unlock(&tp->mutex);
    tell(tp, event);
}

void test_place_lose_device(struct test_place *tp, int32_t device)
{
    tell_of_device(tp, &(struct sgi__place_event){ .kind = SGI__PLACE_CONTEXT_LOST, .device = device });
}

void test_place_device_back(struct test_place *tp, int32_t device)
{
    tell_of_device(tp, &(struct sgi__place_event){ .kind = SGI__PLACE_CONTEXT_BACK, .device = device });
}

/* ------------------------------------------------------------ holding events */

void test_place_hold(struct test_place *tp, enum sgi__place_event_kind kind)
{
    pthread_mutex_lock(&tp->mutex);
    tp->hold[kind] = true;
    pthread_mutex_unlock(&tp->mutex);
}

static bool holds(const struct test_place *tp, enum sgi__place_event_kind kind)
{
    const struct held_event *h = tp->held;
    while (h && h->event.kind != kind)
        h = h->next;
    return h != NULL;
}

void test_place_wait_held(struct test_place *tp, enum sgi__place_event_kind kind)
{
    pthread_mutex_lock(&tp->mutex);
    while (!holds(tp, kind))
        pthread_cond_wait(&tp->changed, &tp->mutex);
    pthread_mutex_unlock(&tp->mutex);
}

void test_place_wait_told(struct test_place *tp, enum sgi__place_event_kind kind, uint32_t count)
{
    pthread_mutex_lock(&tp->mutex);
    while (tp->told[kind] < count)
        pthread_cond_wait(&tp->changed, &tp->mutex);
    pthread_mutex_unlock(&tp->mutex);
}

void test_place_let_go(struct test_place *tp, enum sgi__place_event_kind kind)
{
    struct held_event *go = NULL, **tail = &go;

    pthread_mutex_lock(&tp->mutex);
    tp->hold[kind] = false;
    for (struct held_event **at = &tp->held; *at;) {
        struct held_event *h = *at;
        if (h->event.kind != kind) {
            at = &h->next;
            continue;
        }
        *at = h->next;
        h->next = NULL;
        tp->telling++;
        *tail = h;
        tail = &h->next;
    }
    pthread_mutex_unlock(&tp->mutex);
    while (go) {
        struct held_event *h = go;
        go = h->next;
        tell(tp, &h->event);
        free(h);
    }
}
