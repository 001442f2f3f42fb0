/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls: one inference each, from the request to the last piece. The engine writes pieces into a bounded ring, the user
 * reads them out; either may be slow, either may leave first. A call lives as long as one of them has to do with it.
 */
#include <assert.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "base/thread.h"
#include "runtime/runtime.h"

enum { LENGTH_BYTES = 4, FRAGMENT_BYTES_MAX = CALL_BUFFER_BYTES / 2, SERIAL_SHIFT = 12 };
#define REQUEST_BYTES_MAX ((size_t)1 << 30)

/* Ids have the kind that the core gives to instances, which no user ever sees. */
#define CALL_KIND (UINT64_C(3) << 62)

/* ---- the table ---- */

static struct call *find(const sgi_runtime *rt, uint64_t id)
{
    uint32_t slot = (uint32_t)id & ((1u << SERIAL_SHIFT) - 1);
    if (id >> 62 != 3 || slot >= rt->calls_max)
        return NULL;
    struct call *c = rt->calls[slot];
    return c && c->id == id ? c : NULL;
}

/* As its user sees it, with a reference. */
static struct call *hold(sgi_runtime *rt, sgi_call id)
{
    struct call *c = find(rt, id);
    if (!c || c->detached)
        return NULL;
    c->refs++;
    return c;
}

static void let_go(sgi_runtime *rt, struct call *c)
{
    if (--c->refs > 0)
        return;
    rt->calls[(uint32_t)c->id & ((1u << SERIAL_SHIFT) - 1)] = NULL;
    rt->calls_count--;
    if (c->cancel_due)
        rt->cancels_due--;
    if (c->readable)
        sgi__completion_drop(rt, c->readable);
    if (c->ended)
        sgi__completion_drop(rt, c->ended);
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->mutex);
    sgi__free(c->ring);
    sgi__free(c);
}

/* The same from outside the mutex, and back: the runtime does not go meanwhile, whoever ends the call. */
static struct call *hold_outside(sgi_runtime *rt, sgi_call id)
{
    pthread_mutex_lock(&rt->mutex);
    struct call *c = hold(rt, id);
    rt->inside += c != NULL;
    pthread_mutex_unlock(&rt->mutex);
    return c;
}

static void let_go_outside(sgi_runtime *rt, struct call *c)
{
    pthread_mutex_lock(&rt->mutex);
    let_go(rt, c);
    sgi__rt_outside(rt);
    pthread_mutex_unlock(&rt->mutex);
}

/* ---- the ring; under the call's mutex ---- */

static void ring_put(struct call *c, const void *data, uint32_t bytes)
{
    uint32_t at = (c->head + c->used) % CALL_BUFFER_BYTES;
    uint32_t first = CALL_BUFFER_BYTES - at < bytes ? CALL_BUFFER_BYTES - at : bytes;
    memcpy(c->ring + at, data, first);
    memcpy(c->ring, (const uint8_t *)data + first, bytes - first);
    c->used += bytes;
}

static void ring_peek(const struct call *c, void *data, uint32_t bytes)
{
    uint32_t first = CALL_BUFFER_BYTES - c->head < bytes ? CALL_BUFFER_BYTES - c->head : bytes;
    memcpy(data, c->ring + c->head, first);
    memcpy((uint8_t *)data + first, c->ring, bytes - first);
}

static void ring_skip(struct call *c, uint32_t bytes)
{
    c->head = (c->head + bytes) % CALL_BUFFER_BYTES;
    c->used -= bytes;
}

/* The next piece, or as much of it as fits; the rest gets a length of its own, where its first bytes' room has become
 * free. */
static size_t ring_read(struct call *c, void *buffer, size_t capacity)
{
    uint32_t length;

    assert(c->used >= LENGTH_BYTES);
    ring_peek(c, &length, LENGTH_BYTES);
    ring_skip(c, LENGTH_BYTES);
    uint32_t take = length <= capacity ? length : (uint32_t)capacity;
    ring_peek(c, buffer, take);
    ring_skip(c, take);
    if (take < length) {
        uint32_t rest = length - take;
        c->head = (c->head + CALL_BUFFER_BYTES - LENGTH_BYTES) % CALL_BUFFER_BYTES;
        uint8_t bytes[LENGTH_BYTES];
        memcpy(bytes, &rest, LENGTH_BYTES);
        for (uint32_t n = 0; n < LENGTH_BYTES; n++)
            c->ring[(c->head + n) % CALL_BUFFER_BYTES] = bytes[n];
        c->used += LENGTH_BYTES;
    }
    return take;
}

/* ---- begin ---- */

static struct call *call_new(uint64_t tag, bool blocking)
{
    struct call *c = sgi__alloc_zero(1, sizeof *c);
    if (!c)
        return NULL;
    c->ring = sgi__alloc(CALL_BUFFER_BYTES);
    c->tag = tag;
    c->blocking = blocking;
    if (!blocking) {
        c->readable = sgi__completion_new(SGI_COMPLETION_READABLE, tag);
        c->ended = sgi__completion_new(SGI_COMPLETION_CALL, tag);
    }
    if (!c->ring || (!blocking && (!c->readable || !c->ended)) || sgi__cond_init(&c->changed)) {
        sgi__free(c->readable);
        sgi__free(c->ended);
        sgi__free(c->ring);
        sgi__free(c);
        return NULL;
    }
    pthread_mutex_init(&c->mutex, NULL);
    sgi__error_init(&c->error);
    return c;
}

static void call_free(struct call *c)
{
    sgi__free(c->readable);
    sgi__free(c->ended);
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->mutex);
    sgi__free(c->ring);
    sgi__free(c);
}

static void put_in_table(sgi_runtime *rt, struct call *c, sgi_lease lease, sgi_model model)
{
    uint32_t slot = 0;
    while (rt->calls[slot])
        slot++;
    c->id = CALL_KIND | (++rt->call_serial << SERIAL_SHIFT & ~CALL_KIND) | slot;
    c->lease = lease;
    c->model = model;
    c->refs = 3; /* the user's, the engine's, and begin's own */
    rt->calls[slot] = c;
    rt->calls_count++;
    for (struct completion *k = c->readable; k; k = k == c->ended ? NULL : c->ended) {
        k->body.call = c->id;
        k->body.lease = lease;
        k->user = c;
    }
}

/* Under the mutex: why the lease's model takes no call now. */
static void begin_refused(const sgi_runtime *rt, sgi_model model, sgi_status st, sgi_error *err)
{
    const struct record *r = sgi__rt_record(rt, model);

    if (st == SGI_E_BUSY)
        sgi__error(err, st, "a call is open on this lease, or one that was given up has not come back yet");
    else if (st == SGI_E_TIMEOUT)
        sgi__error(err, st, "the lease has outlived its lease_ms");
    else if (st == SGI_E_UNSUPPORTED)
        sgi__error(err, st, "it was registered without an engine, so there is nothing to call");
    else if (r && r->last_error.code == st)
        sgi__error_copy(err, &r->last_error);
    else
        sgi__error(err, st, "%s", sgi_status_text(st));
    sgi__rt_name_model(rt, model, err);
}

static void finish_dead(sgi_runtime *rt, struct call *c);

/* Under the mutex: the place has it. What happened to the call while it was on its way there did not reach the
 * place. */
static void handed_over(sgi_runtime *rt, struct call *c)
{
    c->handed = true;
    if (c->died) {
        finish_dead(rt, c);
    } else if (c->canceled && !c->back && !c->cancel_due) {
        c->cancel_due = true;
        rt->cancels_due++;
    }
}

sgi_status sgi__rt_call_begin(sgi_runtime *rt, sgi_lease lease, const void *request, size_t bytes, uint64_t tag,
                              bool blocking, sgi_call *call_out, sgi_error *err)
{
    if (bytes > REQUEST_BYTES_MAX)
        return sgi__error(err, SGI_E_INVALID, "a request of %zu bytes; the maximum is %zu", bytes, REQUEST_BYTES_MAX);
    struct call *c = call_new(tag, blocking);
    if (!c)
        return sgi__error(err, SGI_E_NO_MEMORY, "out of memory for a call");

    struct sgi__core_lease_view view;
    sgi__rt_enter(rt);
    sgi_status st = sgi__core_lease_view(rt->core, lease, &view); /* a stale id is that, however many calls are open */
    if (st != SGI_OK) {
        sgi__rt_stale(err, blocking ? "sgi_lease_call" : "sgi_call_begin", SGI__ID_LEASE, lease);
    } else if (rt->calls_count >= rt->calls_max) {
        st = sgi__error(err, SGI_E_BUSY, "%u calls are open already: calls_max", rt->calls_max);
    } else {
        st = sgi__core_call_begin(rt->core, sgi__rt_now(rt), lease, &c->instance);
        if (st == SGI_OK)
            put_in_table(rt, c, lease, view.model);
        else
            begin_refused(rt, view.model, st, err);
    }
    sgi__rt_leave(rt);
    if (st != SGI_OK) {
        call_free(c);
        return st;
    }
    /* From here on the engine may be done, and its user may end the call, at any moment. */
    sgi_call id = c->id;
    st = rt->place_ops->call(rt->place, id, c->instance, request, bytes, err);
    sgi__rt_enter(rt);
    if (st == SGI_OK) {
        handed_over(rt, c);
        *call_out = id;
    } else { /* it never began: undo the other two references */
        uint64_t now = sgi__rt_now(rt);
        sgi__core_call_detach(rt->core, now, lease, false);
        sgi__core_call_back(rt->core, now, c->instance, c->canceled, false);
        let_go(rt, c);
        let_go(rt, c);
    }
    let_go(rt, c);
    sgi__rt_leave(rt);
    return st;
}

/* ---- the engine's side ---- */

sgi_status sgi__rt_piece(void *user, uint64_t call, const void *piece, size_t bytes)
{
    sgi_runtime   *rt = user;
    const uint8_t *from = piece;

    pthread_mutex_lock(&rt->mutex);
    struct call *c = find(rt, call);
    if (c) {
        c->refs++;
        rt->inside++;
    }
    pthread_mutex_unlock(&rt->mutex);
    if (!c)
        return SGI_E_CANCELED;

    pthread_mutex_lock(&c->mutex);
    while (bytes > 0 && !c->unwanted && !c->done) { /* done: its place died */
        uint32_t length = bytes < FRAGMENT_BYTES_MAX ? (uint32_t)bytes : FRAGMENT_BYTES_MAX;
        if (CALL_BUFFER_BYTES - c->used < length + LENGTH_BYTES) {
            pthread_cond_wait(&c->changed, &c->mutex);
            continue;
        }
        ring_put(c, &length, LENGTH_BYTES);
        ring_put(c, from, length);
        from += length;
        bytes -= length;
        pthread_cond_broadcast(&c->changed);
        pthread_mutex_unlock(&c->mutex);

        pthread_mutex_lock(&rt->mutex);
        if (!c->blocking && !c->detached && !c->done && !c->readable_queued) { /* done: its end has been said */
            c->readable_queued = true;
            sgi__completion_post(rt, c->readable);
        }
        pthread_mutex_unlock(&rt->mutex);
        pthread_mutex_lock(&c->mutex);
    }
    sgi_status st = c->unwanted || c->done ? SGI_E_CANCELED : SGI_OK;
    pthread_mutex_unlock(&c->mutex);
    let_go_outside(rt, c);
    return st;
}

/* Under the mutex: this is how it ended for its user. Whether the engine has come back is another matter. */
static void finish(sgi_runtime *rt, struct call *c, sgi_status status, const sgi_error *error)
{
    if (c->done)
        return;
    pthread_mutex_lock(&c->mutex);
    c->done = true;
    c->status = status;
    if (error && status != SGI_OK) {
        sgi__error_copy(&c->error, error);
        c->error.code = status;
    }
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->mutex);
    rt->metrics.calls[status == SGI_OK           ? SGI__CALL_OK
                      : status == SGI_E_CANCELED ? SGI__CALL_CANCELED
                                                 : SGI__CALL_FAILED]++;
    if (!c->blocking && !c->detached) {
        c->ended->body.status = c->status;
        c->ended->body.error = c->error;
        sgi__completion_post(rt, c->ended);
    }
}

void sgi__rt_called(sgi_runtime *rt, const struct sgi__place_event *event)
{
    sgi__rt_enter(rt);
    struct call *c = find(rt, event->op);
    if (c && !c->back && !c->died) { /* else its place died before */
        c->back = true;
        sgi__core_call_back(rt->core, sgi__rt_now(rt), event->instance, c->canceled, c->detached);
        finish(rt, c, event->status, event->error);
        let_go(rt, c);
    }
    sgi__rt_leave(rt);
}

/* Under the mutex: with its place. */
static void finish_dead(sgi_runtime *rt, struct call *c)
{
    sgi_error error;

    sgi__error_init(&error);
    sgi__error(&error, SGI_E_DEVICE_LOST, "the place where the call ran has died");
    sgi__error_step(&error, SGI_E_DEVICE_LOST, SGI_STEP_CALL);
    c->back = true;
    finish(rt, c, SGI_E_DEVICE_LOST, &error);
    let_go(rt, c);
}

void sgi__rt_calls_wedged(sgi_runtime *rt, sgi_model model, uint64_t instance)
{
    const struct record *r = sgi__rt_record(rt, model);
    sgi_error            error;

    sgi__error_init(&error);
    sgi__error(&error, SGI_E_WEDGED, "model '%s': its engine's call has not come back for %llu ms", r->name,
               (unsigned long long)(r->hang_ns / 1000000u));
    sgi__error_step(&error, SGI_E_WEDGED, SGI_STEP_CALL);
    for (uint32_t slot = 0; slot < rt->calls_max; slot++)
        if (rt->calls[slot] && rt->calls[slot]->instance == instance && rt->calls[slot]->canceled)
            finish(rt, rt->calls[slot], SGI_E_WEDGED, &error);
}

void sgi__rt_calls_died(sgi_runtime *rt)
{
    for (uint32_t slot = 0; slot < rt->calls_max; slot++) {
        struct call *c = rt->calls[slot];
        if (!c || c->back)
            continue;
        if (c->handed)
            finish_dead(rt, c);
        else
            c->died = true; /* whether it has begun at all is for its begin to say */
    }
}

uint32_t sgi__rt_calls_open(const sgi_runtime *rt, sgi_model model)
{
    uint32_t count = 0;
    for (uint32_t slot = 0; slot < rt->calls_max; slot++)
        count += rt->calls[slot] && rt->calls[slot]->model == model && !rt->calls[slot]->detached;
    return count;
}

/* ---- the user's side ---- */

void sgi__rt_call_completion_taken(struct completion *k)
{
    struct call *c = k->user;
    if (k == c->readable)
        c->readable_queued = false;
    else
        c->ended = NULL; /* whoever took it frees it */
}

/* Under the mutex: no more pieces are wanted, and the engine is to come back. */
static void cancel(sgi_runtime *rt, struct call *c)
{
    if (c->canceled)
        return;
    c->canceled = true;
    pthread_mutex_lock(&c->mutex);
    c->unwanted = true;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->mutex);
    if (c->back)
        return;
    c->cancel_due = true;
    rt->cancels_due++;
    sgi__core_call_cancel(rt->core, sgi__rt_now(rt), c->instance);
}

void sgi__rt_calls_tell_canceled(sgi_runtime *rt)
{
    for (uint32_t slot = 0; slot < rt->calls_max && rt->cancels_due > 0; slot++) {
        struct call *c = rt->calls[slot];
        if (!c || !c->cancel_due)
            continue;
        c->cancel_due = false;
        rt->cancels_due--;
        uint64_t id = c->id, instance = c->instance;
        pthread_mutex_unlock(&rt->mutex);
        rt->place_ops->call_cancel(rt->place, id, instance);
        pthread_mutex_lock(&rt->mutex);
    }
}

void sgi__rt_lease_overdue(sgi_runtime *rt, sgi_lease lease)
{
    for (uint32_t slot = 0; slot < rt->calls_max; slot++)
        if (rt->calls[slot] && rt->calls[slot]->lease == lease && !rt->calls[slot]->detached)
            cancel(rt, rt->calls[slot]);
    rt->overdue_count++;
}

/* Of a call that is held: what its user is told names the model. */
static void name_outside(sgi_runtime *rt, const struct call *c, sgi_error *err)
{
    pthread_mutex_lock(&rt->mutex);
    sgi__rt_name_model(rt, c->model, err);
    pthread_mutex_unlock(&rt->mutex);
}

/* Waits for a piece or the end. false: the deadline passed. */
static bool wait_changed(struct call *c, uint64_t deadline)
{
    bool in_time = true;
    pthread_mutex_lock(&c->mutex);
    while (in_time && c->used == 0 && !c->done && !c->detached)
        in_time = sgi__cond_wait(&c->changed, &c->mutex, deadline);
    pthread_mutex_unlock(&c->mutex);
    return in_time;
}

sgi_status sgi__rt_call_read(sgi_runtime *rt, sgi_call call, void *buffer, size_t capacity, size_t *bytes_out,
                             sgi_error *err)
{
    sgi_status st = SGI_OK;

    struct call *c = hold_outside(rt, call);
    if (!c)
        return sgi__rt_stale(err, "sgi_call_read", SGI__ID_CALL, call);
    pthread_mutex_lock(&c->mutex);
    if (c->used > 0) {
        *bytes_out = ring_read(c, buffer, capacity);
        pthread_cond_broadcast(&c->changed);
    } else if (!c->done) {
        st = SGI_E_WOULD_BLOCK;
    } else if (c->status == SGI_OK) {
        st = SGI_E_END;
    } else {
        st = c->status;
        sgi__error_copy(err, &c->error);
    }
    pthread_mutex_unlock(&c->mutex);
    let_go_outside(rt, c);
    return st;
}

sgi_status sgi__rt_call_wait_piece(sgi_runtime *rt, sgi_call call, uint32_t timeout_ms, sgi_error *err)
{
    uint64_t deadline = sgi__rt_wait_deadline(timeout_ms);

    struct call *c = hold_outside(rt, call);
    if (!c)
        return sgi__rt_stale(err, "sgi_call_wait", SGI__ID_CALL, call);
    bool in_time = wait_changed(c, deadline);
    pthread_mutex_lock(&c->mutex);
    bool given_up = c->detached; /* by another thread, meanwhile */
    pthread_mutex_unlock(&c->mutex);
    sgi_status st = SGI_OK;
    if (given_up) {
        st = sgi__rt_stale(err, "sgi_call_wait", SGI__ID_CALL, call);
    } else if (!in_time) {
        st = sgi__error(err, SGI_E_TIMEOUT, "the call has said nothing for %u ms", timeout_ms);
        name_outside(rt, c, err);
    }
    let_go_outside(rt, c);
    return st;
}

sgi_status sgi__rt_lease_cancel(sgi_runtime *rt, sgi_lease lease)
{
    struct sgi__core_lease_view view;

    sgi__rt_enter(rt);
    sgi_status st = sgi__core_lease_view(rt->core, lease, &view);
    for (uint32_t slot = 0; st == SGI_OK && view.call_open && slot < rt->calls_max; slot++)
        if (rt->calls[slot] && rt->calls[slot]->lease == lease && !rt->calls[slot]->detached)
            cancel(rt, rt->calls[slot]);
    sgi__rt_leave(rt);
    return st;
}

sgi_status sgi__rt_call_cancel(sgi_runtime *rt, sgi_call call)
{
    sgi__rt_enter(rt);
    struct call *c = hold(rt, call);
    if (c) {
        cancel(rt, c);
        let_go(rt, c);
    }
    sgi__rt_leave(rt);
    return c ? SGI_OK : SGI_E_STALE;
}

sgi_status sgi__rt_call_end(sgi_runtime *rt, sgi_call call)
{
    sgi__rt_enter(rt);
    struct call *c = hold(rt, call);
    if (c) {
        pthread_mutex_lock(&c->mutex); /* a thread in sgi_call_wait() waits in vain from here on */
        c->detached = true;
        pthread_cond_broadcast(&c->changed);
        pthread_mutex_unlock(&c->mutex);
        cancel(rt, c);
        sgi__core_call_detach(rt->core, sgi__rt_now(rt), c->lease, !c->back);
        if (c->readable) {
            sgi__completion_drop(rt, c->readable);
            c->readable = NULL;
        }
        if (c->ended) {
            sgi__completion_drop(rt, c->ended);
            c->ended = NULL;
        }
        let_go(rt, c); /* the one just taken, */
        let_go(rt, c); /* and the user's */
    }
    sgi__rt_leave(rt);
    return c ? SGI_OK : SGI_E_STALE;
}

sgi_status sgi__rt_call_wait(sgi_runtime *rt, sgi_lease lease, const void *request, size_t bytes, uint32_t timeout_ms,
                             sgi_piece_fn on_piece, void *user, sgi_error *err)
{
    uint64_t   deadline = sgi__rt_wait_deadline(timeout_ms);
    sgi_call   id = 0;
    uint8_t    piece[4096];
    size_t     got = 0;
    sgi_status st = sgi__rt_call_begin(rt, lease, request, bytes, 0, true, &id, err);
    if (st != SGI_OK)
        return st;

    struct call *c = hold_outside(rt, id);
    for (;;) {
        if (!wait_changed(c, deadline)) {
            st = sgi__error(err, SGI_E_TIMEOUT, "the call took longer than %u ms and was canceled", timeout_ms);
            name_outside(rt, c, err);
            break;
        }
        st = sgi__rt_call_read(rt, id, piece, sizeof piece, &got, err);
        if (st == SGI_E_WOULD_BLOCK)
            continue;
        if (st == SGI_E_END)
            st = SGI_OK;
        else if (st == SGI_OK && (!on_piece || on_piece(user, piece, got) == 0))
            continue;
        else if (st == SGI_OK) {
            st = sgi__error(err, SGI_E_CANCELED, "the caller wanted no more pieces");
            name_outside(rt, c, err);
        }
        break;
    }
    sgi__rt_call_end(rt, id);
    let_go_outside(rt, c);
    return st;
}
