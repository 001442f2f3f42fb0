/* SPDX-License-Identifier: Apache-2.0 */
/* What users of the real runtime do: they ask in every way there is, from threads of their own. */
#include "sim/scenario_real.h"

#include <stdlib.h>
#include <string.h>

#include "support/fake_cuda.h"

static void *must_start(pthread_t *thread, void *(*run)(void *arg), void *arg)
{
    if (pthread_create(thread, NULL, run, arg) != 0)
        abort();
    return arg;
}

/* ---- ends ---- */

static void ended(struct real_want *w, sgi_status status, sgi_lease lease, const sgi_error *err)
{
    struct real *x = w->x;
    bool         said = status == SGI_OK || w->step.kind == STEP_TRY || (err->code == status && err->message[0]);

    pthread_mutex_lock(&x->mutex);
    if (w->ended || !said) {
        fprintf(stderr, "want %d ended %s\n", w->number, said ? "twice" : "without a word");
        abort();
    }
    w->ended = w->submitted = true;
    w->status = status;
    w->lease = status == SGI_OK ? lease : 0;
    w->at = status == SGI_OK ? 0 : err->step;
    w->retry_after_ms = status == SGI_OK ? 0 : err->retry_after_ms;
    pthread_cond_broadcast(&x->changed);
    pthread_mutex_unlock(&x->mutex);
}

static void on_done(void *user, const sgi_completion *c)
{
    ended(user, c->status, c->lease, &c->error);
}

/* A completion may be there before the thread that submitted has written its ticket down: the tag says whose it is. */
void real_take_completions(struct real *x)
{
    sgi_completion c = { .struct_size = sizeof c };

    while (sgi_completion_next(x->rt, &c) == SGI_OK)
        if (c.kind == SGI_COMPLETION_ACQUIRE || c.kind == SGI_COMPLETION_PREFETCH)
            ended(&x->wants[c.tag], c.status, c.lease, &c.error);
}

/* ---- asking ---- */

static sgi_acquire_options options_of(const struct step *s)
{
    sgi_acquire_options o;

    if (sgi_acquire_options_init(&o, sizeof o) != SGI_OK)
        abort();
    o.flags = s->early ? SGI_ACQUIRE_EARLY : 0;
    o.deadline_ms = s->deadline_ms;
    o.priority = s->priority;
    o.idle_timeout_ms = s->idle_ms;
    o.device_hint = (int32_t)s->hint - 1;
    o.lease_ms = s->lease_ms;
    o.tag = (uint64_t)s->want;
    return o;
}

static void *wait_for_lease(void *arg)
{
    struct real_want   *w = arg;
    sgi_acquire_options o = options_of(&w->step);
    sgi_error           err = SGI_ERROR_INIT;
    sgi_lease           lease = 0;
    sgi_status          st = sgi_model_acquire_wait(w->x->rt, w->x->models[w->step.model].id, &o, &lease, &err);

    ended(w, st, lease, &err);
    return NULL;
}

/* Its completion may have been taken before this thread came to wait for it; then all has been said. */
static void *wait_for_ticket(void *arg)
{
    struct real_want *w = arg;
    sgi_error         err = SGI_ERROR_INIT;
    sgi_lease         lease = 0;
    sgi_status        st = sgi_ticket_wait(w->x->rt, w->ticket, SGI_FOREVER, &lease, &err);

    if (st != SGI_E_STALE || err.step != SGI_STEP_NONE)
        ended(w, st, lease, &err);
    return NULL;
}

static enum form form_of(const struct real *x, const struct step *step)
{
    return scenario_waits(x->scenario, step) ? FORM_WAIT : (enum form)(step->want % FORM_WAIT);
}

static void submit(struct real_want *w)
{
    struct real        *x = w->x;
    sgi_model           model = x->models[w->step.model].id;
    sgi_acquire_options o = options_of(&w->step);
    sgi_error           err = SGI_ERROR_INIT;
    sgi_ticket          ticket = 0;
    sgi_done_fn         done = w->form == FORM_DONE ? on_done : NULL;
    sgi_status          st = w->step.kind == STEP_PREFETCH
                                 ? sgi_model_prefetch(x->rt, model, w->step.tier, &o, &ticket, done, w, &err)
                                 : sgi_model_acquire(x->rt, model, &o, &ticket, done, w, &err);

    if (st != SGI_OK) {
        ended(w, st, 0, &err);
        return;
    }
    pthread_mutex_lock(&x->mutex);
    w->ticket = ticket;
    w->submitted = true;
    pthread_cond_broadcast(&x->changed);
    pthread_mutex_unlock(&x->mutex);
    if (w->form == FORM_TICKET) {
        w->threaded = true;
        must_start(&w->thread, wait_for_ticket, w);
    }
}

static void ask(struct real *x, const struct step *step)
{
    struct real_want *w = &x->wants[step->want];

    pthread_mutex_lock(&x->mutex);
    w->step = *step;
    w->asked = true;
    w->form = form_of(x, step);
    pthread_mutex_unlock(&x->mutex);
    if (w->form != FORM_WAIT) {
        submit(w);
        return;
    }
    if (x->stepped)
        x->waiting_form = step->want;
    w->threaded = true;
    must_start(&w->thread, wait_for_lease, w);
}

static void try_it(struct real *x, const struct step *step)
{
    struct real_want   *w = &x->wants[step->want];
    sgi_acquire_options o = options_of(step);
    sgi_lease           lease = 0;
    sgi_error           none = SGI_ERROR_INIT;

    pthread_mutex_lock(&x->mutex); /* somebody may be canceling it */
    w->step = *step;
    w->asked = true;
    pthread_mutex_unlock(&x->mutex);
    sgi_status st = sgi_model_try_acquire(x->rt, x->models[step->model].id, &o, &lease);
    ended(w, st, lease, &none);
}

static int64_t cancel(struct real *x, struct real_want *w)
{
    pthread_mutex_lock(&x->mutex);
    while (w->asked && !w->submitted) /* by a thread beside this one */
        pthread_cond_wait(&x->changed, &x->mutex);
    sgi_ticket ticket = w->ticket;
    pthread_mutex_unlock(&x->mutex);
    return ticket ? sgi_acquire_cancel(x->rt, ticket) : NOTHING;
}

static int64_t release(struct real *x, struct real_want *w)
{
    pthread_mutex_lock(&x->mutex);
    sgi_lease lease = w->lease;
    pthread_mutex_unlock(&x->mutex);
    if (!lease)
        return NOTHING;
    sgi_status st = sgi_lease_release(x->rt, lease);
    pthread_mutex_lock(&x->mutex);
    if (st == SGI_OK)
        w->lease = 0;
    pthread_mutex_unlock(&x->mutex);
    return st;
}

/* ---- calls ---- */

static int64_t call(struct real *x, struct real_want *w)
{
    sgi_error err = SGI_ERROR_INIT;

    pthread_mutex_lock(&x->mutex);
    sgi_lease lease = w->lease;
    pthread_mutex_unlock(&x->mutex);
    if (!lease || !x->scenario->models[w->step.model].engine || w->call_out || w->call_open)
        return NOTHING;
    gate_close(&w->call_gate);
    sgi_status st = sgi_call_begin(x->rt, lease, &w, sizeof w, (uint64_t)w->number, &w->call, &err);
    w->call_out = w->call_open = st == SGI_OK;
    return st;
}

static void call_back(struct real *x, struct real_want *w)
{
    if (!w->call_out)
        return;
    w->call_out = false;
    gate_open(&w->call_gate);
    if (x->stepped)
        test_place_wait_told(x->tp, SGI__PLACE_CALLED, ++x->calls_back);
}

static void *unregister(void *arg)
{
    struct real_model *m = arg;
    sgi_error          err = SGI_ERROR_INIT;
    sgi_status         st = sgi_model_unregister(m->x->rt, m->id, SGI_FOREVER, &err);

    if (st != SGI_OK) {
        fprintf(stderr, "unregister: %s: %s\n", sgi_status_name(st), err.message);
        abort();
    }
    atomic_store(&m->gone, true);
    return NULL;
}

static int64_t grow(struct real *x, struct real_model *m, uint32_t units)
{
    sgi_model_state s = { .struct_size = sizeof s };
    sgi_error       err = SGI_ERROR_INIT;

    if (sgi_model_query(x->rt, m->id, &s) != SGI_OK)
        return NOTHING;
    if (s.instances_count != 1 || (s.state != SGI_MODEL_READY && s.state != SGI_MODEL_BUSY))
        return NOTHING;
    return sgi_stage_report_bytes(m->stage, scenario_bytes(x->scenario, units), &err);
}

int64_t real_user_step(struct real *x, const struct step *step)
{
    struct real_want  *w = &x->wants[step->want];
    struct real_model *m = &x->models[step->model];
    sgi_error          err = SGI_ERROR_INIT;
    bool               gone = atomic_load(&m->gone);

    switch (step->kind) {
    case STEP_ACQUIRE:
    case STEP_PREFETCH:
        ask(x, step);
        break;
    case STEP_TRY:
        try_it(x, step);
        break;
    case STEP_CANCEL:
        return cancel(x, w);
    case STEP_RELEASE:
        return release(x, w);
    case STEP_EVICT:
        return gone ? NOTHING : sgi_model_evict(x->rt, m->id, step->tier);
    case STEP_TRIM:
        return sgi_runtime_trim(x->rt, scenario_bytes(x->scenario, step->units));
    case STEP_EVICT_OTHERS:
        sgi_runtime_evict(x->rt, step->tier);
        break;
    case STEP_PIN:
        return gone ? NOTHING : sgi_model_pin(x->rt, m->id, step->tier, &err);
    case STEP_CALL:
        return call(x, w);
    case STEP_CALL_CANCEL:
        if (w->call_open)
            sgi_call_cancel(x->rt, w->call);
        break;
    case STEP_CALL_BACK:
        call_back(x, w);
        break;
    case STEP_CALL_END:
        if (w->call_open && sgi_call_end(x->rt, w->call) != SGI_OK)
            abort();
        w->call_open = false;
        break;
    case STEP_GROW:
        return gone ? NOTHING : grow(x, m, step->units);
    case STEP_UNREGISTER:
        if (!m->leaving)
            must_start(&m->unregister, unregister, m);
        m->leaving = true;
        break;
    case STEP_DRAIN:
        sgi_runtime_drain(x->rt);
        break;
    default:
        break;
    }
    return NOTHING;
}

/* ---- afterwards ---- */

void real_join(struct real *x)
{
    for (uint32_t n = 0; n < WANTS_MAX; n++)
        if (x->wants[n].threaded)
            pthread_join(x->wants[n].thread, NULL);
    for (uint32_t m = 0; m < x->models_count; m++)
        if (x->models[m].leaving)
            pthread_join(x->models[m].unregister, NULL);
}

/* As they lie on the device where they are. */
static const void *bytes_at(const struct real *x, const sgi_view *view)
{
    static uint8_t *seen;

    if (!x->scenario->cuda)
        return view->data;
    free(seen);
    seen = malloc(view->bytes);
    if (!seen || fake.fakecuda_peek((uintptr_t)view->data, seen, view->bytes) != 0)
        abort();
    return seen;
}

/* A lease is on the right bytes, whoever else came and went. */
void real_check_bytes(struct real *x)
{
    for (uint32_t n = 0; n < WANTS_MAX; n++) {
        struct real_want       *w = &x->wants[n];
        const struct test_file *f = x->models[w->step.model].file;
        sgi_view                view = { .struct_size = sizeof view };
        sgi_error               err = SGI_ERROR_INIT;
        if (!w->lease || w->checked || w->step.early || sgi_lease_tensor(x->rt, w->lease, 0, &view, &err) != SGI_OK)
            continue;
        w->checked = true;
        if (view.bytes != f->bytes - f->data_offset ||
            memcmp(bytes_at(x, &view), f->data + f->data_offset, view.bytes) != 0) {
            fprintf(stderr, "want %u: the bytes of its lease are not the file's\n", n);
            abort();
        }
    }
}
