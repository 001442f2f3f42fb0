/* SPDX-License-Identifier: Apache-2.0 */
#include "observe/trace.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/text.h"

struct sgi__trace *sgi__trace_new(void)
{
    return sgi__alloc_zero(1, sizeof(struct sgi__trace));
}

void sgi__trace_free(struct sgi__trace *trace)
{
    sgi__free(trace);
}

void sgi__trace_add(struct sgi__trace *trace, const struct sgi__trace_start *start)
{
    trace->starts[trace->count++ % SGI__TRACE_STARTS] = *start;
}

/* A name inside a JSON string. Names are UTF-8 without control characters, but may have been cut. */
static void json_safe(char dst[static 2 * SGI__TRACE_NAME_BYTES], const char *src)
{
    for (size_t left = strlen(src), length; left > 0; src += length, left -= length) {
        length = sgi__utf8_length(src, left);
        if (length == 0) {
            *dst++ = '?';
            length = 1;
            continue;
        }
        if (*src == '"' || *src == '\\')
            *dst++ = '\\';
        memcpy(dst, src, length);
        dst += length;
    }
    *dst = '\0';
}

static int put(sgi_write_fn write, void *user, const char *text)
{
    return write(user, text, strlen(text));
}

static int put_span(sgi_write_fn write, void *user, const char *name, uint64_t row, uint32_t lane, uint64_t start_ns,
                    uint64_t ns, const char *args)
{
    char line[512];
    snprintf(
        line, sizeof line,
        ",\n{\"name\":\"%s\",\"ph\":\"X\",\"pid\":%llu,\"tid\":%u,\"ts\":%llu.%03u,\"dur\":%llu.%03u,\"args\":{%s}}",
        name, (unsigned long long)row, lane, (unsigned long long)(start_ns / 1000), (unsigned)(start_ns % 1000),
        (unsigned long long)(ns / 1000), (unsigned)(ns % 1000), args);
    return put(write, user, line);
}

/* Each start is a process of its own in the viewer, and each of its steps a row: steps overlap, so they cannot nest. */
static int put_start(const struct sgi__trace_start *s, uint64_t row, sgi_write_fn write, void *user)
{
    static const char *const tiers[] = { "disk", "dram", "device" };
    char                     name[2 * SGI__TRACE_NAME_BYTES], text[2 * SGI__TRACE_NAME_BYTES + 128];
    int                      stop;

    json_safe(name, s->name);
    snprintf(text, sizeof text,
             ",\n{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":%llu,\"args\":{\"name\":\"%s from %s\"}}",
             (unsigned long long)row, name, s->tier < 3 ? tiers[s->tier] : "?");
    if ((stop = put(write, user, text)) != 0)
        return stop;
    snprintf(text, sizeof text, "\"bytes\":%llu,\"device\":%d,\"reader\":\"%s\"", (unsigned long long)s->bytes,
             s->device, s->engine);
    if ((stop = put_span(write, user, "start", row, 0, s->request_ns, s->grant_ns - s->request_ns, text)) != 0)
        return stop;
    for (uint32_t step = 1; step < SGI_STEP_COUNT; step++)
        if (s->steps[step].start_ns != 0 && (stop = put_span(write, user, sgi_step_name(step), row, step,
                                                             s->steps[step].start_ns, s->steps[step].ns, "")) != 0)
            return stop;
    return 0;
}

sgi_status sgi__trace_write(const struct sgi__trace *trace, sgi_write_fn write, void *user)
{
    uint64_t first = trace->count > SGI__TRACE_STARTS ? trace->count - SGI__TRACE_STARTS : 0;

    if (put(write, user,
            "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n{\"name\":\"libsgi\",\"ph\":\"M\",\"pid\":0,\"args\":{}"
            "}") != 0)
        return SGI_E_CANCELED;
    for (uint64_t n = first; n < trace->count; n++)
        if (put_start(&trace->starts[n % SGI__TRACE_STARTS], n + 1, write, user) != 0)
            return SGI_E_CANCELED;
    return put(write, user, "\n]}\n") == 0 ? SGI_OK : SGI_E_CANCELED;
}
