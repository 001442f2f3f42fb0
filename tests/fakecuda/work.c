/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a stream's thread carries out, and when. The source of a copy is read here, not where it was asked for, unless
 * it was pageable: a slot that is filled again too early arrives wrong.
 */
#include <string.h>
#include <unistd.h>

#include "internal.h"

/* The first error stays, and is what every call ends with that would show it, until the process ends. */
void fc_sticky(cu_result code, const char *why)
{
    fc_log("%s: %u from now on%s", why, code, fc_config.deaf ? ", ignored" : "");
    if (fc.sticky != CU_OK || fc_config.deaf)
        return;
    fc.sticky = code;
    if (fc_config.mps && code != CU_MPS_CLIENT_TERMINATED)
        fc_ledger_fail_clients((int)getpid());
    fc_wake_streams();
}

/* A copy that was under way when another stream failed still touches the program's memory, which is free to go once the
 * error has been told. */
void fc_settle(void)
{
    while (fc.sticky != CU_OK && fc.moving > 0)
        fc_wait(&fc.done);
}

/* Later than now: by the pace, and by the link, which copies of a device share and which takes one after the other. */
static uint64_t begin_ns(struct stream *stream, const struct work *work, unsigned more_ms)
{
    uint64_t now = fc_now_ns(), *link = &fc.link_free_ns[stream->device];
    uint64_t at = now + fc_config.delay_us * 1000ull + more_ms * 1000000ull;
    if (fc_config.jitter_us > 0)
        at += fc_random(&stream->random) % (fc_config.jitter_us * 1000ull);
    if (work->kind == WORK_COPY && (fc_config.link_mib_s > 0 || fc_config.copy_us > 0)) {
        uint64_t takes = fc_config.copy_us * 1000ull;
        if (fc_config.link_mib_s > 0)
            takes += (uint64_t)((double)work->bytes * 1e9 / ((double)fc_config.link_mib_s * 1048576.0));
        *link = (*link > at ? *link : at) + takes;
        at = *link;
    }
    return at;
}

static void move(const struct work *work)
{
    struct part staged = { NULL, work->staged, work->bytes };
    struct part from = work->staged ? staged : work->from.list[0], to = work->to.list[0];
    unsigned    next_from = 1, next_to = 1;
    for (size_t left = work->bytes; left > 0;) {
        size_t piece = from.bytes < to.bytes ? from.bytes : to.bytes;
        memcpy(to.reach, from.reach, piece);
        left -= piece;
        from.reach += piece, to.reach += piece;
        from.bytes -= piece, to.bytes -= piece;
        if (from.bytes == 0 && left > 0)
            from = work->from.list[next_from++];
        if (to.bytes == 0 && left > 0)
            to = work->to.list[next_to++];
    }
}

static void set(const struct work *work)
{
    for (unsigned n = 0; n < work->to.count; n++) {
        const struct part *to = &work->to.list[n];
        if (work->value_bytes == 1)
            memset(to->reach, (int)work->value, to->bytes);
        for (size_t at = 0; work->value_bytes == 4 && at < to->bytes; at += 4)
            memcpy(to->reach + at, &work->value, 4);
    }
}

/* Memory that went away under it: the device would fault, or read what is somebody else's by now. */
static cu_result check_parts(const struct parts *parts)
{
    for (unsigned n = 0; n < parts->count; n++) {
        const struct part *part = &parts->list[n];
        if (part->span->gone && part->span->memory)
            return CU_ILLEGAL_ADDRESS;
        if (part->span->kind == SPAN_PIN && !fc_still_mapped(part->reach, part->bytes)) {
            fc_violation("@copy", "%p of %zu bytes, pinned, was unmapped while a copy was under way",
                         (void *)part->reach, part->bytes);
            return CU_ILLEGAL_ADDRESS;
        }
    }
    return CU_OK;
}

/* Without the lock, and seen by a sanitizer: these are the program's bytes. */
static void run(struct work *work)
{
    bool bytes = work->kind != WORK_HOST;
    fc.moving += bytes;
    fc_unlock();
    fc_own_end();
    fc_edge_out(work);
    if (work->kind == WORK_COPY) {
        move(work);
    } else if (work->kind == WORK_SET) {
        set(work);
    } else if (work->kind == WORK_KERNEL) {
        if (work->kernel->run)
            work->kernel->run(work);
    } else {
        fc_thread.in_host_function = true;
        work->function(work->user);
        fc_thread.in_host_function = false;
    }
    fc_own_begin();
    fc_lock();
    fc.moving -= bytes;
    fc_broadcast(&fc.done);
}

static unsigned counted_as(enum work_kind kind)
{
    return kind == WORK_COPY ? DONE_COPY : kind == WORK_SET ? DONE_SET : DONE_KERNEL;
}

static void carry_out_bytes(struct stream *stream, struct work *work)
{
    int               value = 0;
    enum fault_action fault = FAULT_NONE;
    if (work->kind != WORK_HOST) {
        fc.calls[counted_as(work->kind)]++;
        fault = fc_fault_at(counted_as(work->kind), &value);
    }
    uint64_t at = begin_ns(stream, work, fault == FAULT_DELAY ? (unsigned)value : 0);
    fc_unlock();
    fc_sleep_until(at);
    fc_lock();
    if (fc.sticky != CU_OK || fc.ending)
        return; /* nor is a host function called any more */
    cu_result code = fault == FAULT_STICKY ? (cu_result)value : work->fault;
    if (code == CU_OK)
        code = check_parts(&work->to);
    if (code == CU_OK)
        code = check_parts(&work->from);
    if (code != CU_OK) {
        fc_sticky(code, "a stream");
        if (!fc_config.deaf)
            return;
        if (work->fault != CU_OK)
            return;
    }
    run(work);
    if (fault == FAULT_CORRUPT)
        work->to.list[0].reach[work->to.list[0].bytes / 2] ^= 1;
}

void fc_carry_out(struct stream *stream, struct work *work)
{
    if (work->kind == WORK_RECORD) {
        work->record->done_ns = fc_now_ns();
        return;
    }
    if (work->kind != WORK_WAIT) {
        carry_out_bytes(stream, work);
        return;
    }
    while (!fc_record_is_done(work->record) && fc.sticky == CU_OK && !fc.ending)
        fc_wait(&fc.done);
    fc_edge_out(work->record->implied ? (void *)work->record->stream : (void *)work->record);
}
