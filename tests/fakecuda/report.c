/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the process holds, what it did that the real driver leaves undefined, and the end of the process, where it
 * should hold nothing. Violations are told when they happen and counted; FAKECUDA_STRICT=1 ends the process there, so
 * that no test passes over one.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

enum { EXIT_WITH_VIOLATIONS = 86 };

void fc_log(const char *format, ...)
{
    va_list arguments;
    if (!fc_config.log)
        return;
    va_start(arguments, format);
    fprintf(fc_config.log, "%d ", (int)getpid());
    vfprintf(fc_config.log, format, arguments);
    fputc('\n', fc_config.log);
    fflush(fc_config.log);
    va_end(arguments);
}

static void tell(const char *call, const char *format, va_list arguments)
{
    int length = snprintf(fc.violation, sizeof fc.violation, "%s: ", call);
    vsnprintf(fc.violation + length, sizeof fc.violation - (size_t)length, format, arguments);
    fc.violations++;
    fprintf(stderr, "fakecuda: violation: %s\n", fc.violation);
    fc_log("violation: %s", fc.violation);
}

void fc_violation(const char *call, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    tell(call, format, arguments);
    va_end(arguments);
    if (fc_config.strict)
        abort();
}

/* ---------------------------------------------------------------------------------------------------------- ledger */

static uint64_t count_handles(enum fc_kind kind)
{
    uint64_t count = 0;
    for (size_t cursor = 0; fc_handle_next(kind, &cursor);)
        count++;
    return count;
}

static void add_span(const struct span *span, struct fakecuda_ledger *ledger)
{
    switch (span->kind) {
    case SPAN_MAPPING:
        ledger->mappings++;
        ledger->mapped_bytes += span->bytes;
        break;
    case SPAN_ALLOCATION:
        ledger->allocations++;
        ledger->allocated_bytes += span->bytes;
        break;
    case SPAN_PIN:
        ledger->pins++;
        ledger->pinned_bytes += span->bytes;
        break;
    case SPAN_HOST_ALLOCATION:
        ledger->host_allocations++;
        ledger->host_bytes += span->bytes;
        break;
    }
}

static void gather(struct fakecuda_ledger *ledger)
{
    struct memory *memory;
    *ledger = (struct fakecuda_ledger){ .contexts = count_handles(KIND_CONTEXT),
                                        .streams = count_handles(KIND_STREAM),
                                        .events = count_handles(KIND_EVENT),
                                        .modules = count_handles(KIND_MODULE),
                                        .violations = fc.violations,
                                        .sticky = fc.sticky };
    for (int n = 0; n < DEVICES_MAX; n++)
        ledger->retains += fc.retains[n];
    for (size_t cursor = 0; (memory = fc_handle_next(KIND_MEMORY, &cursor)) != NULL;) {
        ledger->handles += memory->handle_refs;
        ledger->handle_bytes += memory->bytes;
    }
    for (const struct span *span = fc.spans; span; span = span->next)
        add_span(span, ledger);
    for (const struct reservation *r = fc.reservations; r; r = r->next) {
        ledger->reservations++;
        ledger->reserved_bytes += r->bytes;
    }
    for (const struct stream *stream = fc.streams; stream; stream = stream->next) {
        ledger->queued += stream->submitted - stream->done;
        ledger->unobserved += stream->submitted - stream->observed;
    }
}

/* Whoever runs under a fault of the device cannot give anything back: the real one would not take it either. */
static void count_leaks(void)
{
    struct fakecuda_ledger held;
    gather(&held);
    const struct {
        const char *what;
        uint64_t    count, bytes;
    } kinds[] = { { "contexts", held.contexts, 0 },
                  { "references to primary contexts", held.retains, 0 },
                  { "streams", held.streams, 0 },
                  { "events", held.events, 0 },
                  { "modules", held.modules, 0 },
                  { "memory handles", held.handles, held.handle_bytes },
                  { "mappings", held.mappings, held.mapped_bytes },
                  { "address reservations", held.reservations, held.reserved_bytes },
                  { "allocations", held.allocations, held.allocated_bytes },
                  { "pins", held.pins, held.pinned_bytes },
                  { "host allocations", held.host_allocations, held.host_bytes } };
    for (size_t n = 0; n < sizeof kinds / sizeof kinds[0]; n++) {
        if (kinds[n].count == 0)
            continue;
        fc.violations++;
        fprintf(stderr, "fakecuda: violation: left at exit: %llu %s", (unsigned long long)kinds[n].count,
                kinds[n].what);
        fprintf(stderr, kinds[n].bytes ? " of %llu bytes\n" : "\n", (unsigned long long)kinds[n].bytes);
    }
}

__attribute__((destructor)) static void at_exit(void)
{
    if (fc.forked)
        return;
    fc_own_begin();
    fc_lock();
    if (fc.initialized) {
        bool strict = fc_config.strict;
        fc_config.strict = false; /* it is ending already: all of it is told */
        fc_pins_check("exit");
        if (fc_config.count_leaks && fc.sticky == CU_OK)
            count_leaks();
        fc_config.strict = strict;
    }
    fc.ending = true;
    fc_wake_streams();
    fc_unlock();
    fc_ledger_remove();
    fc_own_end();
    if (fc.violations > 0)
        fprintf(stderr, "fakecuda: %llu violations\n", (unsigned long long)fc.violations);
    if (fc.violations > 0 && fc_config.strict) {
        fflush(NULL);
        _exit(EXIT_WITH_VIOLATIONS);
    }
}

/* ------------------------------------------------------------------------------------------------- for tests: look */

void fakecuda_ledger(struct fakecuda_ledger *ledger)
{
    struct fakecuda_ledger held;
    fc_own_begin();
    fc_lock();
    gather(&held);
    fc_unlock();
    fc_own_end();
    *ledger = held;
}

uint64_t fakecuda_used(int device)
{
    fc_own_begin();
    fc_lock();
    fc_ledger_folder();
    uint64_t used = fc_ledger_used(device, 0);
    fc_unlock();
    fc_own_end();
    return used;
}

uint64_t fakecuda_violations(char *text, size_t room)
{
    fc_own_begin();
    fc_lock();
    uint64_t count = fc.violations;
    if (text && room > 0)
        snprintf(text, room, "%s", fc.violation);
    fc_unlock();
    fc_own_end();
    return count;
}

void fakecuda_forgive(void)
{
    fc_lock();
    fc.violations = 0;
    fc.violation[0] = '\0';
    fc_unlock();
}

void fakecuda_strict(int on)
{
    fc_lock();
    fc_config.strict = on != 0;
    fc_unlock();
}

void fakecuda_leaks(int count)
{
    fc_lock();
    fc_config.count_leaks = count != 0;
    fc_unlock();
}

int fakecuda_peek(cu_ptr at, void *to, size_t bytes)
{
    int result = 0;
    fc_own_begin();
    fc_lock();
    for (size_t done = 0; done < bytes && result == 0;) {
        struct span *span = fc_span_at(at + done);
        size_t       offset = span ? (size_t)(at + done - span->at) : 0, here = span ? span->bytes - offset : 0;
        if (span)
            memcpy((char *)to + done, span->reach + offset, here < bytes - done ? here : bytes - done);
        else
            result = -1;
        done += here;
    }
    fc_unlock();
    fc_own_end();
    return result;
}

/* ------------------------------------------------------------------------------------------------- for tests: pace */

void fakecuda_hold(void)
{
    fc_lock();
    fc.held = true;
    fc.steps = 0;
    fc_unlock();
}

void fakecuda_go(void)
{
    fc_lock();
    fc.held = false;
    fc.steps = 0;
    fc_wake_streams();
    fc_unlock();
}

void fakecuda_step(unsigned int count)
{
    fc_lock();
    fc.steps += count;
    fc_wake_streams();
    fc_unlock();
}

static struct stream *looked_at(cu_stream handle)
{
    struct context *context = fc_current();
    if (handle)
        return fc_handle_get(KIND_STREAM, (uintptr_t)handle);
    return context ? context->legacy : NULL;
}

void fakecuda_stream_hold(cu_stream stream, int hold)
{
    fc_lock();
    struct stream *found = looked_at(stream);
    if (found) {
        found->held = hold != 0;
        fc_wake_streams();
    }
    fc_unlock();
}

uint64_t fakecuda_stream_queued(cu_stream stream)
{
    fc_lock();
    struct stream *found = looked_at(stream);
    uint64_t       count = found ? found->submitted - found->done : 0;
    fc_unlock();
    return count;
}

static bool is_busy(void)
{
    for (const struct stream *stream = fc.streams; stream; stream = stream->next) {
        bool stopped = (fc.held || stream->held) && fc.steps == 0 && fc.sticky == CU_OK;
        bool waits = stream->queue && stream->queue->kind == WORK_WAIT; /* for one that is busy itself, or stopped */
        if (stream->queue && !waits && (!stopped || stream->running))
            return true;
    }
    return false;
}

void fakecuda_idle(void)
{
    fc_own_begin();
    fc_lock();
    while (is_busy())
        fc_wait(&fc.done);
    fc_unlock();
    fc_own_end();
}

void fakecuda_pace(unsigned int delay_us, unsigned int jitter_us, uint64_t seed)
{
    fc_lock();
    fc_config.delay_us = delay_us;
    fc_config.jitter_us = jitter_us;
    fc_config.seed = seed;
    fc_unlock();
}
