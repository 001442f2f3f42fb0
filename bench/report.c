/* SPDX-License-Identifier: Apache-2.0 */
#include "report.h"

#include <stdio.h>
#include <string.h>

#include "options.h"

void report_line(json_t *line)
{
    if (!line || json_dumpf(line, stdout, JSON_COMPACT | JSON_REAL_PRECISION(7)) != 0 || putchar('\n') == EOF ||
        fflush(stdout) != 0)
        die("cannot write a line of results");
    json_decref(line);
}

static struct samples *samples_of(struct summary *s, const char *name)
{
    for (uint32_t n = 0; n < s->count; n++)
        if (strcmp(s->names[n], name) == 0)
            return &s->samples[n];
    if (s->count == SUMMARY_MAX)
        die("more than %d kinds of results", (int)SUMMARY_MAX);
    s->names[s->count] = name;
    return &s->samples[s->count++];
}

void summary_add(struct summary *s, const char *name, double value)
{
    samples_add(samples_of(s, name), value);
}

void summary_free(struct summary *s)
{
    for (uint32_t n = 0; n < s->count; n++)
        samples_free(&s->samples[n]);
    s->count = 0;
}

json_t *summary_json(struct summary *s)
{
    json_t *object = json_object();
    for (uint32_t n = 0; n < s->count; n++)
        json_object_set_new(object, s->names[n], samples_json(&s->samples[n]));
    summary_free(s);
    return object;
}

void summary_report(struct summary *s, const char *command, const char *path, json_t *more)
{
    json_t *line = json_pack("{s:s, s:s}", "what", "summary", "command", command), *samples = summary_json(s);
    json_object_update(line, samples);
    json_decref(samples);
    if (more) {
        json_object_update(line, more);
        json_decref(more);
    }
    json_object_set_new(line, "machine", machine_facts(path));
    report_line(line);
}
