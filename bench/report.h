/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of JSON on stdout: one for each repetition, and at the end one with what they come to and on which machine. */
#ifndef SGI_BENCH_REPORT_H
#define SGI_BENCH_REPORT_H

#include <jansson.h>
#include <stdint.h>

#include "stats.h"

/* One line, flushed at once; takes the object. */
void report_line(json_t *line);

enum { SUMMARY_MAX = 48 };

/* Samples by name. What starts with 0 is empty. */
struct summary {
    const char    *names[SUMMARY_MAX]; /* static text */
    struct samples samples[SUMMARY_MAX];
    uint32_t       count;
};

void    summary_add(struct summary *s, const char *name, double value);
json_t *summary_json(struct summary *s); /* {name: samples_json()}; empties it */
void    summary_free(struct summary *s);
/* {"what": "summary", "command", what summary_json() has, what `more` has (taken; may be NULL), "machine"}.
 * path: the file that was read, or NULL. */
void summary_report(struct summary *s, const char *command, const char *path, json_t *more);

/* facts.c: processor, memory, kernel, file system, library, load */
json_t *machine_facts(const char *path);

#endif
