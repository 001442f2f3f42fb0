/* SPDX-License-Identifier: Apache-2.0 */
#include "format/output.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void sgi__output_begin(struct sgi__output *o, sgi_write_fn write, void *user)
{
    o->write = write;
    o->user = user;
    o->stopped = false;
    o->used = 0;
}

static void flush(struct sgi__output *o)
{
    if (!o->stopped && o->used > 0)
        o->stopped = o->write(o->user, o->buffer, o->used) != 0;
    o->used = 0;
}

void sgi__output_bytes(struct sgi__output *o, const char *text, size_t bytes)
{
    while (bytes > 0 && !o->stopped) {
        if (o->used == sizeof o->buffer)
            flush(o);
        size_t room = sizeof o->buffer - o->used;
        size_t now = bytes < room ? bytes : room;
        memcpy(o->buffer + o->used, text, now);
        o->used += now;
        text += now;
        bytes -= now;
    }
}

void sgi__output_text(struct sgi__output *o, const char *text)
{
    sgi__output_bytes(o, text, strlen(text));
}

void sgi__output_u64(struct sgi__output *o, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, value);
    sgi__output_text(o, text);
}

void sgi__output_i64(struct sgi__output *o, int64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, value);
    sgi__output_text(o, text);
}

/* The host's locale may have another decimal point, of several bytes even. */
static void put_point(char *text)
{
    char *to = text;
    bool  point = false;
    for (const char *from = text; *from; from++) {
        if (strchr("0123456789+-e", *from))
            *to++ = *from;
        else if (!point) {
            *to++ = '.';
            point = true;
        }
    }
    *to = '\0';
    if (!strpbrk(text, ".e"))
        memcpy(to, ".0", 3);
}

/* A float's double is written like any other: readers of JSON have doubles, and FLT_DECIMAL_DIG digits read as
 * another one. */
void sgi__output_number(struct sgi__output *o, double value)
{
    static const int digits[] = { 6, 15, 16, 17 }; /* 17 tell any two doubles apart */
    char             text[48];
    for (size_t i = 0; i < sizeof digits / sizeof *digits; i++) {
        snprintf(text, sizeof text - 3, "%.*g", digits[i], value);
        double back = strtod(text, NULL);
        /* NOLINTNEXTLINE(bugprone-suspicious-memory-comparison,cert-*): bit by bit, since -0 equals 0 */
        if (memcmp(&back, &value, sizeof back) == 0)
            break;
    }
    put_point(text);
    sgi__output_text(o, text);
}

sgi_status sgi__output_end(struct sgi__output *o, sgi_error *err)
{
    flush(o);
    return o->stopped ? sgi__error(err, SGI_E_CANCELED, "the receiver of the text stopped it") : SGI_OK;
}
