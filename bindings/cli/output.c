/* SPDX-License-Identifier: Apache-2.0 */
#include "output.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void output_init(struct output *out, int fd)
{
    out->fd = fd;
    out->os_errno = 0;
    out->comma = false;
    out->used = 0;
}

void output_flush(struct output *out)
{
    size_t at = 0;
    while (at < out->used && !out->os_errno) {
        ssize_t n = write(out->fd, out->buffer + at, out->used - at);
        if (n >= 0)
            at += (size_t)n;
        else if (errno != EINTR)
            out->os_errno = errno;
    }
    out->used = 0;
}

void output_bytes(struct output *out, const char *bytes, size_t count)
{
    while (count > 0) {
        if (out->used == sizeof out->buffer)
            output_flush(out);
        size_t room = sizeof out->buffer - out->used;
        size_t n = count < room ? count : room;
        memcpy(out->buffer + out->used, bytes, n);
        out->used += n;
        bytes += n;
        count -= n;
    }
}

void output_text(struct output *out, const char *text)
{
    output_bytes(out, text, strlen(text));
}

void output_format(struct output *out, const char *format, ...)
{
    char    text[1024];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n > 0)
        output_bytes(out, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

/* ------------------------------------------------------ text from elsewhere */

size_t utf8_step(const char *text, bool shown)
{
    /* Stops at the terminating zero by itself: it is no continuation byte. */
    const unsigned char *p = (const unsigned char *)text;
    if (p[0] < 0x80)
        return shown && (p[0] < 0x20 || p[0] == 0x7f) ? 0 : 1;
    /* No overlong forms, no surrogates, nothing past U+10FFFF: behind four of the first bytes fewer may follow. */
    size_t        length = p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
    unsigned char low = p[0] == 0xe0 ? 0xa0 : p[0] == 0xf0 ? 0x90 : 0x80;
    unsigned char high = p[0] == 0xed ? 0x9f : p[0] == 0xf4 ? 0x8f : 0xbf;
    if (length == 0 || p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return shown && p[0] == 0xc2 && p[1] < 0xa0 ? 0 : length; /* C1 controls */
}

void output_shown(struct output *out, const char *text)
{
    while (*text) {
        size_t step = utf8_step(text, true);
        output_bytes(out, step ? text : "?", step ? step : 1);
        text += step ? step : 1;
    }
}

struct size_text size_text(uint64_t bytes)
{
    static const char *const units[] = { "KiB", "MiB", "GiB", "TiB" };
    struct size_text         t;
    double                   size = (double)bytes / 1024;
    size_t                   unit = 0;
    if (bytes < 1024) {
        snprintf(t.text, sizeof t.text, "%" PRIu64 " bytes", bytes);
        return t;
    }
    for (; size >= 1024 && unit + 1 < sizeof units / sizeof *units; unit++)
        size /= 1024;
    snprintf(t.text, sizeof t.text, "%.1f %s", size, units[unit]);
    return t;
}

/* --------------------------------------------------------------------- JSON */

static void begin_value(struct output *out)
{
    if (out->comma)
        output_text(out, ",");
    out->comma = true;
}

void put_open(struct output *out, char bracket)
{
    begin_value(out);
    output_bytes(out, &bracket, 1);
    out->comma = false;
}

void put_close(struct output *out, char bracket)
{
    output_bytes(out, &bracket, 1);
    out->comma = true;
}

void put_key(struct output *out, const char *key)
{
    put_string(out, key);
    output_text(out, ":");
    out->comma = false;
}

void put_string(struct output *out, const char *text)
{
    begin_value(out);
    output_text(out, "\"");
    while (*text) {
        size_t step = utf8_step(text, false);
        if (step == 0) {
            output_text(out, "\\ufffd");
            step = 1;
        } else if (step == 1 && (*text == '"' || *text == '\\')) {
            output_format(out, "\\%c", *text);
        } else if (step == 1 && ((unsigned char)*text < 0x20 || *text == 0x7f)) {
            output_format(out, "\\u%04x", (unsigned)*text);
        } else {
            output_bytes(out, text, step);
        }
        text += step;
    }
    output_text(out, "\"");
}

void put_u64(struct output *out, uint64_t value)
{
    begin_value(out);
    output_format(out, "%" PRIu64, value);
}

void put_decimal(struct output *out, double value, int digits)
{
    begin_value(out);
    output_format(out, "%.*f", digits, value); /* no setlocale here: the point is a point */
}

void put_hex64(struct output *out, uint64_t value)
{
    begin_value(out);
    output_format(out, "\"%016" PRIx64 "\"", value);
}

void put_bool(struct output *out, bool value)
{
    begin_value(out);
    output_text(out, value ? "true" : "false");
}

void put_null(struct output *out)
{
    begin_value(out);
    output_text(out, "null");
}

void put_line_end(struct output *out)
{
    output_text(out, "\n");
    out->comma = false;
}
