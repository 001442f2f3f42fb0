/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams: each is a queue and the thread that carries it out, in order, later than it was handed over.
 *
 * Work that was carried out is kept until the host has waited for it: by the stream, the context, an event recorded
 * behind it, or through another stream that waited for such an event. Until then its memory is in use, whatever the
 * time: so a missing wait is found in every run, and not only in those in which the copy happened to be late.
 */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "internal.h"

/* ------------------------------------------------------------------------------------------------ work and records */

struct work *fc_work_new(enum work_kind kind)
{
    struct work *work = calloc(1, sizeof *work);
    if (work)
        work->kind = kind;
    return work;
}

void fc_work_free(struct work *work)
{
    fc_parts_drop(&work->to);
    fc_parts_drop(&work->from);
    fc_record_unref(work->record);
    free(work->staged);
    free(work);
}

struct record *fc_record_new(struct stream *stream, uint64_t serial)
{
    struct record *record = calloc(1, sizeof *record);
    if (!record)
        return NULL;
    *record = (struct record){ .refs = 1, .stream = stream, .serial = serial };
    stream->refs++;
    return record;
}

void fc_record_unref(struct record *record)
{
    if (!record || --record->refs > 0)
        return;
    fc_stream_unref(record->stream);
    free(record);
}

bool fc_record_is_done(const struct record *record)
{
    return record->stream->done >= record->serial;
}

/* ------------------------------------------------------------------------------------------------------ the thread */

/* Held streams still say what has been done, and wait for others: it is bytes that do not move. */
static bool may_go_on(const struct stream *stream)
{
    if (!stream->queue)
        return false;
    if (!fc.held && !stream->held)
        return true;
    return fc.steps > 0 || fc.sticky != CU_OK || stream->queue->kind == WORK_RECORD || stream->queue->kind == WORK_WAIT;
}

static void carried_out(struct stream *stream, struct work *work)
{
    stream->queue = work->next;
    if (!stream->queue)
        stream->queue_end = &stream->queue;
    work->next = NULL;
    free(work->staged);
    work->staged = NULL;
    *stream->past_end = work;
    stream->past_end = &work->next;
    stream->done = work->serial;
    if (work->kind == WORK_RECORD)
        fc_edge_in(work->record);
    fc_edge_in(stream);
    fc_process_pending(-1);
    fc_broadcast(&fc.done);
}

static void *serve(void *user)
{
    struct stream *stream = user;
    fc_own_begin();
    fc_lock();
    while (!fc.ending) {
        struct work *work = stream->queue;
        if (!may_go_on(stream)) {
            if (stream->ending && !work)
                break;
            fc_wait(&stream->more);
            continue;
        }
        if ((fc.held || stream->held) && fc.steps > 0 && work->kind != WORK_RECORD && work->kind != WORK_WAIT)
            fc.steps--;
        stream->running = true;
        fc_carry_out(stream, work);
        stream->running = false;
        if (!fc.ending)
            carried_out(stream, work);
    }
    fc_stream_unref(stream);
    fc_unlock();
    fc_own_end();
    return NULL;
}

struct stream *fc_stream_start(struct context *context, unsigned flags, cu_result *code)
{
    static uint64_t started;
    sigset_t        all, before;
    pthread_attr_t  attributes;
    pthread_t       thread;
    struct stream  *made = calloc(1, sizeof *made);
    *code = CU_OUT_OF_MEMORY;
    if (!made)
        return NULL;
    *made = (struct stream){ .context = context, .device = context->device, .flags = flags, .refs = 2 };
    made->queue_end = &made->queue;
    made->past_end = &made->past;
    made->random = fc_config.seed * 1000003u + ++started;

    /* A driver's threads take no signals of the program's. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    int failed = pthread_create(&thread, &attributes, serve, made);
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) {
        free(made);
        return NULL;
    }
    made->next = fc.streams;
    fc.streams = made;
    *code = CU_OK;
    return made;
}

/* Nothing more comes; what was handed over is carried out. */
void fc_stream_end(struct stream *stream)
{
    if (stream->handle)
        fc_handle_drop((uintptr_t)stream->handle);
    stream->handle = NULL;
    stream->ending = true;
    fc_broadcast(&stream->more);
    fc_stream_unref(stream);
}

static void stream_free_if_unused(struct stream *stream)
{
    struct stream **link = &fc.streams;
    if (stream->refs > 0 || stream->past)
        return;
    while (*link && *link != stream)
        link = &(*link)->next;
    if (*link)
        *link = stream->next;
    free(stream);
}

void fc_stream_unref(struct stream *stream)
{
    stream->refs--;
    stream_free_if_unused(stream);
}

/* ------------------------------------------------------------------------------------------- handing over, waiting */

static void append(struct stream *stream, struct work *work)
{
    work->serial = ++stream->submitted;
    fc_parts_hold(&work->to);
    fc_parts_hold(&work->from);
    *stream->queue_end = work;
    stream->queue_end = &work->next;
    fc_process_pending(1);
    fc_edge_in(work);
    fc_broadcast(&stream->more);
}

/* `stream` goes on when `other` is as far as it has been told to go by now. */
static void wait_for_other(struct stream *stream, struct stream *other)
{
    struct work *wait = other->observed < other->submitted ? fc_work_new(WORK_WAIT) : NULL;
    if (!wait)
        return;
    wait->record = fc_record_new(other, other->submitted);
    if (!wait->record) {
        free(wait);
        return;
    }
    wait->record->implied = true;
    append(stream, wait);
}

/* The legacy default stream and those that block on it take turns. */
static void take_turns(struct stream *stream)
{
    struct stream *legacy = stream->context->legacy;
    if (stream != legacy) {
        if (legacy && (stream->flags & CU_STREAM_DOES_NOT_BLOCK) == 0)
            wait_for_other(stream, legacy);
        return;
    }
    for (struct stream *other = fc.streams; other; other = other->next) {
        if (other != legacy && other->context == stream->context && (other->flags & CU_STREAM_DOES_NOT_BLOCK) == 0)
            wait_for_other(stream, other);
    }
}

uint64_t fc_submit(struct stream *stream, struct work *work)
{
    take_turns(stream);
    append(stream, work);
    return stream->submitted;
}

void fc_await(struct stream *stream, uint64_t serial)
{
    stream->refs++;
    while (stream->done < serial && fc.sticky == CU_OK)
        fc_wait(&fc.done);
    fc_settle();
    fc_edge_out(stream);
    fc_stream_unref(stream);
}

/* The host knows now that it is done. What the stream itself waited for is done then too. */
void fc_observe(struct stream *stream, uint64_t serial)
{
    stream->refs++;
    while (stream->past && stream->past->serial <= serial) {
        struct work *work = stream->past;
        stream->past = work->next;
        if (!stream->past)
            stream->past_end = &stream->past;
        if (work->kind == WORK_WAIT)
            fc_observe(work->record->stream, work->record->serial);
        fc_work_free(work);
    }
    if (stream->observed < serial)
        stream->observed = serial;
    fc_stream_unref(stream);
}

static struct stream *unfinished(const struct context *context)
{
    for (struct stream *stream = fc.streams; stream; stream = stream->next) {
        if (stream->context == context && stream->observed < stream->submitted)
            return stream;
    }
    return NULL;
}

cu_result fc_context_await(struct context *context)
{
    for (struct stream *stream; (stream = unfinished(context)) != NULL;) {
        uint64_t serial = stream->submitted;
        stream->refs++;
        fc_await(stream, serial);
        if (stream->done < serial) { /* what has failed is not waited for */
            fc_stream_unref(stream);
            break;
        }
        fc_observe(stream, serial);
        fc_stream_unref(stream);
    }
    return fc.sticky;
}

/* ----------------------------------------------------------------------------------------------------------- calls */

struct stream *fc_stream_of(cu_stream handle, cu_result *code)
{
    struct context *context = fc_current();
    *code = CU_OK;
    if ((uintptr_t)handle == 2) { /* the default stream of the thread: not here */
        *code = CU_NOT_SUPPORTED;
        return NULL;
    }
    if ((uintptr_t)handle > 1) {
        struct stream *found = fc_handle_get(KIND_STREAM, (uintptr_t)handle);
        *code = !found ? CU_INVALID_HANDLE : found->captured ? CU_NOT_SUPPORTED : CU_OK;
        return *code == CU_OK ? found : NULL;
    }
    if (!context->legacy)
        context->legacy = fc_stream_start(context, 0, code);
    return context->legacy;
}

static cu_result create(cu_stream *stream, unsigned flags)
{
    cu_result code;
    if (!stream || flags > CU_STREAM_DOES_NOT_BLOCK)
        return CU_INVALID_VALUE;
    struct stream *made = fc_stream_start(fc_current(), flags, &code);
    if (!made)
        return code;
    made->handle = (cu_stream)(uintptr_t)fc_handle_make(KIND_STREAM, made);
    *stream = made->handle;
    return CU_OK;
}

cu_result cuStreamCreate(cu_stream *stream, unsigned int flags)
{
    cu_result code = fc_enter(CALL_cuStreamCreate, USES_CONTEXT);
    return code == CU_OK ? fc_leave(create(stream, flags)) : code;
}

cu_result cuStreamCreateWithPriority(cu_stream *stream, unsigned int flags, int priority)
{
    (void)priority; /* copies have none */
    cu_result code = fc_enter(CALL_cuStreamCreateWithPriority, USES_CONTEXT);
    return code == CU_OK ? fc_leave(create(stream, flags)) : code;
}

cu_result cuStreamDestroy_v2(cu_stream stream)
{
    cu_result code = fc_enter(CALL_cuStreamDestroy_v2, USES_CONTEXT);
    if (code != CU_OK)
        return code;
    struct stream *found = (uintptr_t)stream > 2 ? fc_stream_of(stream, &code) : NULL;
    if (!found)
        return fc_leave(CU_INVALID_HANDLE);
    fc_stream_end(found);
    return fc_leave(CU_OK);
}

cu_result cuStreamQuery(cu_stream stream)
{
    cu_result code = fc_enter(CALL_cuStreamQuery, USES_CONTEXT);
    if (code != CU_OK)
        return code;
    struct stream *found = fc_stream_of(stream, &code);
    if (!found)
        return fc_leave(code);
    if (found->done < found->submitted)
        return fc_leave(CU_NOT_READY);
    fc_edge_out(found);
    fc_observe(found, found->submitted);
    return fc_leave(CU_OK);
}

cu_result cuStreamSynchronize(cu_stream stream)
{
    cu_result code = fc_enter(CALL_cuStreamSynchronize, USES_CONTEXT);
    if (code != CU_OK)
        return code;
    struct stream *found = fc_stream_of(stream, &code);
    if (!found)
        return fc_leave(code);
    uint64_t serial = found->submitted;
    found->refs++;
    fc_await(found, serial);
    if (fc.sticky == CU_OK)
        fc_observe(found, serial);
    fc_stream_unref(found);
    return fc_leave(fc.sticky);
}

cu_result cuStreamGetCtx(cu_stream stream, cu_context *context)
{
    cu_result code = fc_enter(CALL_cuStreamGetCtx, USES_CONTEXT);
    if (code != CU_OK)
        return code;
    struct stream *found = fc_stream_of(stream, &code);
    if (!found || !context)
        return fc_leave(found ? CU_INVALID_VALUE : code);
    *context = found->context->handle;
    return fc_leave(CU_OK);
}

cu_result cuStreamGetFlags(cu_stream stream, unsigned int *flags)
{
    cu_result code = fc_enter(CALL_cuStreamGetFlags, USES_CONTEXT);
    if (code != CU_OK)
        return code;
    struct stream *found = fc_stream_of(stream, &code);
    if (!found || !flags)
        return fc_leave(found ? CU_INVALID_VALUE : code);
    *flags = found->flags;
    return fc_leave(CU_OK);
}

void fc_wake_streams(void)
{
    for (struct stream *stream = fc.streams; stream; stream = stream->next)
        fc_broadcast(&stream->more);
    fc_broadcast(&fc.done);
}
