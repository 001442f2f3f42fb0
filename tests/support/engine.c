/* SPDX-License-Identifier: Apache-2.0 */
#include "engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *const step_names[ENGINE_STEPS] = { "prepare", "discard", "prefix_bytes", "prefix_fill",
                                                      "start",   "call",    "stop" };

/* An instance or a prepared object: memory that ASan watches. */
struct object {
    struct test_engine *engine;
    sgi_stage          *stage;
    void               *memory;
    uint64_t            bytes;
};

static void enter(struct test_engine *e, enum engine_step step)
{
    unsigned at = atomic_fetch_add(&e->order_count, 1);
    if (at < sizeof e->order)
        e->order[at] = (uint8_t)step;
    atomic_fetch_add(&e->counts[step], 1);
    gate_pass(&e->gates[step]);
}

static sgi_status outcome(struct test_engine *e, enum engine_step step, sgi_error *err)
{
    char       text[64];
    sgi_status status = atomic_load(&e->fail[step]);
    uint64_t   now = atomic_fetch_add(&e->outcomes[step], 1) + 1, from = atomic_load(&e->fail_from[step]);
    uint64_t   times = atomic_load(&e->fail_times[step]);

    if (now < from || (times > 0 && now - from >= times))
        status = SGI_OK;
    if (status != SGI_OK && !e->silent) {
        snprintf(text, sizeof text, "the test engine's %s was told to fail", step_names[step]);
        sgi_error_set(err, status, text);
    }
    return status;
}

static sgi_status prepare(void *user, const sgi_source *source, void **prepared, uint64_t *bytes, sgi_error *err)
{
    struct test_engine *e = user;
    struct object      *o;

    enter(e, ENGINE_PREPARE);
    sgi_status st = outcome(e, ENGINE_PREPARE, err);
    if (st != SGI_OK)
        return st;
    if (!source->name || source->files_count == 0 || !source->files[0].path)
        return sgi_error_set(err, SGI_E_ENGINE, "prepare got no source");
    o = calloc(1, sizeof *o);
    if (!o)
        abort();
    o->engine = e;
    atomic_fetch_add(&e->prepared_live, 1);
    *prepared = o;
    *bytes = e->prepared_bytes;
    return SGI_OK;
}

static void discard(void *user, void *prepared)
{
    struct test_engine *e = user;
    enter(e, ENGINE_DISCARD);
    atomic_fetch_sub(&e->prepared_live, 1);
    free(prepared);
}

static sgi_status prefix_bytes(void *user, const sgi_source *source, uint32_t part, uint64_t *bytes, sgi_error *err)
{
    struct test_engine *e = user;
    (void)source;
    (void)part;
    enter(e, ENGINE_PREFIX_BYTES);
    sgi_status st = outcome(e, ENGINE_PREFIX_BYTES, err);
    if (st == SGI_OK)
        *bytes = e->prefix_bytes;
    return st;
}

uint8_t test_engine_prefix_byte(uint32_t part, uint64_t at)
{
    return (uint8_t)(at * 7 + part * 101 + 13);
}

static sgi_status prefix_fill(void *user, const sgi_source *source, uint32_t part, void *dst, uint64_t bytes,
                              sgi_error *err)
{
    struct test_engine *e = user;
    (void)source;
    enter(e, ENGINE_PREFIX_FILL);
    sgi_status st = outcome(e, ENGINE_PREFIX_FILL, err);
    for (uint64_t at = 0; st == SGI_OK && at < bytes; at++)
        ((uint8_t *)dst)[at] = test_engine_prefix_byte(part, at);
    return st;
}

/* Reads something of everything, so that a byte that is not there is a fault here. A prefix that no engine fills is
 * bytes of no meaning: the file's header may land in them at any time. */
static sgi_status look(const struct test_engine *e, sgi_stage *stage, sgi_error *err)
{
    sgi_status st = SGI_OK;
    sgi_view   view = { .struct_size = sizeof view };
    sgi_image  image = { .struct_size = sizeof image };
    unsigned   sum = 0;

    for (uint32_t part = 0; (st = sgi_stage_image(stage, part, &image, err)) == SGI_OK; part++)
        for (uint64_t at = 0; e->table.prefix_fill && at < image.prefix_bytes; at += 512)
            sum += ((const uint8_t *)image.base)[at];
    for (uint64_t n = 0; st == SGI_E_NOT_FOUND && (st = sgi_stage_tensor(stage, n, &view, err)) == SGI_OK; n++) {
        for (uint64_t at = 0; at < view.bytes; at += 512)
            sum += ((const uint8_t *)view.data)[at];
        st = SGI_E_NOT_FOUND;
    }
    __asm__ volatile("" : : "r"(sum)); /* the reads are not for nothing */
    return st == SGI_E_NOT_FOUND ? SGI_OK : st;
}

static sgi_status take_memory(struct test_engine *e, struct object *o, sgi_stage *stage, sgi_error *err)
{
    sgi_status st = SGI_OK;

    if (e->report_bytes != UINT64_MAX)
        st = sgi_stage_report_bytes(stage, e->report_bytes, err);
    if (st == SGI_OK && e->alloc_bytes > 0) {
        st = sgi_stage_alloc(stage, e->alloc_bytes, &o->memory, err);
        if (st == SGI_OK) {
            o->bytes = e->alloc_bytes;
            for (uint64_t at = 0; at < o->bytes && st == SGI_OK; at++)
                if (((uint8_t *)o->memory)[at] != 0)
                    st = sgi_error_set(err, SGI_E_ENGINE, "memory of the stage is not zeroed");
            memset(o->memory, 0xa5, o->bytes);
        }
    }
    atomic_store(&e->alloc_status, st);
    return st;
}

static sgi_status start(void *user, void *prepared, sgi_stage *stage, void **instance, sgi_error *err)
{
    struct test_engine *e = user;
    struct object      *o = calloc(1, sizeof *o);
    sgi_status          st;

    if (!o)
        abort();
    enter(e, ENGINE_START);
    if (e->table.prepare && (!prepared || ((struct object *)prepared)->engine != e)) {
        st = sgi_error_set(err, SGI_E_ENGINE, "start did not get what prepare made");
        goto undo;
    }
    if (e->in_start)
        e->in_start(e->user, stage);
    st = outcome(e, ENGINE_START, err);
    if (st == SGI_OK)
        st = take_memory(e, o, stage, err);
    if (st == SGI_OK && e->look)
        st = look(e, stage, err);
    if (st == SGI_OK && !e->no_wait)
        st = sgi_stage_wait(stage, err);
    atomic_store(&e->start_status, st);
    if (st != SGI_OK) {
        pthread_mutex_lock(&e->gates[ENGINE_START].mutex); /* two instances may fail at once */
        e->start_error = *err;
        pthread_mutex_unlock(&e->gates[ENGINE_START].mutex);
        goto undo;
    }
    o->engine = e;
    o->stage = stage;
    *instance = o;
    atomic_fetch_add(&e->live, 1);
    return SGI_OK;
undo:
    free(o);
    return st;
}

uint8_t test_engine_piece_byte(uint32_t piece, uint32_t at)
{
    return (uint8_t)(piece * 31 + at * 7 + 1);
}

static sgi_status emit_pieces(struct test_engine *e, const struct test_request *r, sgi_reply *reply)
{
    uint8_t   *piece = malloc(r->piece_bytes ? r->piece_bytes : 1);
    sgi_status st = SGI_OK;

    if (!piece)
        abort();
    for (uint32_t n = 0; n < r->pieces && st == SGI_OK; n++) {
        for (uint32_t at = 0; at < r->piece_bytes; at++)
            piece[at] = test_engine_piece_byte(n, at);
        st = sgi_reply_emit(reply, piece, r->piece_bytes);
        atomic_fetch_add(&e->emitted, st == SGI_OK);
    }
    free(piece);
    return st;
}

static sgi_status answer(struct test_engine *e, const struct test_request *r, const char *text, size_t text_bytes,
                         sgi_reply *reply)
{
    const struct timespec pause = { .tv_nsec = 200000 };
    sgi_status            st = SGI_OK;

    switch (r->kind) {
    case REQUEST_EMIT:
        return emit_pieces(e, r, reply);
    case REQUEST_UNTIL_CANCELED:
        while (st == SGI_OK)
            st = sgi_reply_emit(reply, "x", 1);
        return st;
    case REQUEST_POLL:
        while (!sgi_reply_canceled(reply))
            nanosleep(&pause, NULL);
        return SGI_E_CANCELED;
    case REQUEST_ECHO:
        return sgi_reply_emit(reply, text, text_bytes);
    default:
        return SGI_OK;
    }
}

static sgi_status call(void *user, void *instance, const void *request, size_t bytes, sgi_reply *reply, sgi_error *err)
{
    struct test_engine *e = user;
    struct test_request r = { 0 };

    int at_once = atomic_fetch_add(&e->calls_at_once, 1) + 1;
    int most = atomic_load(&e->calls_at_once_max);
    while (at_once > most && !atomic_compare_exchange_weak(&e->calls_at_once_max, &most, at_once)) {
    }
    enter(e, ENGINE_CALL);
    if (((struct object *)instance)->engine != e)
        abort();
    if (bytes >= sizeof r)
        memcpy(&r, request, sizeof r);
    if (e->in_call)
        e->in_call(e->user);
    sgi_status st = outcome(e, ENGINE_CALL, err);
    if (st == SGI_OK)
        st = answer(e, &r, (const char *)request + sizeof r, bytes > sizeof r ? bytes - sizeof r : 0, reply);
    if (st == SGI_E_CANCELED)
        atomic_fetch_add(&e->calls_canceled, 1);
    if (st == SGI_OK && r.status != SGI_OK)
        st = sgi_error_set(err, r.status, "the request asked for this end");
    atomic_fetch_sub(&e->calls_at_once, 1);
    return st;
}

static void stop(void *user, void *instance)
{
    struct test_engine *e = user;
    struct object      *o = instance;

    enter(e, ENGINE_STOP);
    for (uint64_t at = 0; at < o->bytes; at += 4096)
        if (((uint8_t *)o->memory)[at] != 0xa5) /* its memory is there until stop has returned */
            abort();
    atomic_fetch_sub(&e->live, 1);
    free(o);
}

void test_engine_init(struct test_engine *e, bool with_prefix, bool with_prepare)
{
    memset(e, 0, sizeof *e);
    sgi_engine_init(&e->table, sizeof e->table);
    e->table.name = "test";
    e->table.user = e;
    e->table.start = start;
    e->table.call = call;
    e->table.stop = stop;
    if (with_prepare) {
        e->table.prepare = prepare;
        e->table.discard = discard;
    }
    if (with_prefix) {
        e->table.prefix_bytes = prefix_bytes;
        e->table.prefix_fill = prefix_fill;
        e->prefix_bytes = 1000;
    }
    e->report_bytes = UINT64_MAX;
    for (int n = 0; n < ENGINE_STEPS; n++)
        gate_init(&e->gates[n]);
}

void test_engine_fini(struct test_engine *e)
{
    if (atomic_load(&e->live) != 0 || atomic_load(&e->prepared_live) != 0) {
        fprintf(stderr, "the test engine has %d instances and %d prepared objects left\n", atomic_load(&e->live),
                atomic_load(&e->prepared_live));
        abort();
    }
    for (int n = 0; n < ENGINE_STEPS; n++)
        gate_fini(&e->gates[n]);
}

int test_engine_count(struct test_engine *e, enum engine_step step)
{
    return atomic_load(&e->counts[step]);
}
