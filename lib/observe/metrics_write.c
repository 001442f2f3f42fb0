/* SPDX-License-Identifier: Apache-2.0 */
/* The Prometheus text format 0.0.4. Numbers are written from integers: a host's locale does not change them. */
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "observe/metrics.h"

/* Room for the longest sample: a model's name, each byte of it escaped or replaced by three. */
enum { LINE_BYTES = 3 * 256 + 512 };

struct writer {
    sgi_write_fn write;
    void        *user;
    const char  *family; /* whose HELP and TYPE have been written */
    char         line[LINE_BYTES];
    size_t       used;
};

static void text(struct writer *w, const char *from)
{
    size_t bytes = strlen(from), room = sizeof w->line - w->used;
    if (bytes > room) /* names are bounded, so there is room for all of them */
        bytes = room;
    memcpy(w->line + w->used, from, bytes);
    w->used += bytes;
}

/* A label's value: what would end it is escaped, what is no UTF-8 becomes U+FFFD. */
static void label_value(struct writer *w, const char *from)
{
    for (size_t left = strlen(from); left > 0;) {
        size_t length = sgi__utf8_length(from, left);
        char   piece[5] = { 0 };

        memcpy(piece, from, length <= 4 ? length : 0);
        if (length == 0)
            text(w, "\xef\xbf\xbd");
        else if (*from == '\n')
            text(w, "\\n");
        else if (*from == '\\' || *from == '"')
            text(w, *from == '"' ? "\\\"" : "\\\\");
        else
            text(w, piece);
        from += length ? length : 1;
        left -= length ? length : 1;
    }
}

static int begin_family(struct writer *w, const sgi_sample *sample)
{
    static const char *const types[] = { "untyped", "counter", "gauge", "histogram" };
    char                     line[512];

    w->family = sample->family;
    int n = snprintf(line, sizeof line, "# HELP %s %s\n# TYPE %s %s\n", sample->family, sample->help, sample->family,
                     types[sample->type]);
    return w->write(w->user, line, (size_t)n);
}

static int put(void *user, const struct sgi__sample *sample)
{
    struct writer    *w = user;
    const sgi_sample *s = &sample->base;
    char              number[48];
    int               stop;

    if (w->family != s->family && (stop = begin_family(w, s)) != 0)
        return stop;
    w->used = 0;
    text(w, s->name);
    for (uint32_t n = 0; n < s->labels_count; n++) {
        text(w, n == 0 ? "{" : ",");
        text(w, s->label_names[n]);
        text(w, "=\"");
        label_value(w, s->label_values[n]);
        text(w, "\"");
    }
    if (sample->is_ns)
        snprintf(number, sizeof number, "%s %llu.%09u\n", s->labels_count ? "}" : "",
                 (unsigned long long)(sample->number / 1000000000u), (unsigned)(sample->number % 1000000000u));
    else
        snprintf(number, sizeof number, "%s %llu\n", s->labels_count ? "}" : "", (unsigned long long)sample->number);
    text(w, number);
    return w->write(w->user, w->line, w->used);
}

sgi_status sgi__metrics_text(const struct sgi__metrics_snapshot *s, sgi_write_fn write, void *user)
{
    struct writer w = { .write = write, .user = user };
    return sgi__metrics_walk(s, put, &w);
}
