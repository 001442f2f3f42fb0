/* SPDX-License-Identifier: Apache-2.0 */
/* What the user sees, and the same numbers as JSON. Text goes to stdout, the progress bar to stderr if that is a
 * terminal. */
#ifndef EXAMPLES_GENERATE_SHOW_H
#define EXAMPLES_GENERATE_SHOW_H

#include <stdint.h>

#include <sgi/sgi.h>

#include "ask.h"

/* What is held at one moment, by libsgi and by this process. */
struct held {
    uint64_t device_bytes;   /* weights and engine */
    uint64_t engine_bytes;   /* of those */
    uint64_t dram_bytes;     /* kept in host memory while no device has it */
    uint64_t prepared_bytes; /* kept in host memory: the vocabulary */
    uint64_t rss_bytes;      /* of the whole process */
    uint32_t instances;
    uint32_t contexts;        /* devices with a context open */
    uint32_t working_threads; /* of libsgi: all but the one that sleeps */
    uint32_t engine_threads;  /* all others in this process but its main thread */
};

enum { RUN_COLD, RUN_DRAM, RUN_WARM, RUN_COUNT };

/* Everything that is reported. */
struct report {
    const char    *path, *prompt;
    sgi_model_info model;
    struct held    registered, ready, idle;
    uint64_t       idle_ns; /* from the release to nothing held */
    uint32_t       idle_ms; /* of those, what the timer was set to */
    struct asked   runs[RUN_COUNT];
};

extern const char *const run_names[RUN_COUNT];
extern const char *const tier_names[];

/* Once, before all others. Quiet: nothing but the JSON. */
void show_init(int quiet);

void show_model(const struct report *report);
void show_heading(const char *heading, const char *text);
void show_held(const struct held *held);
void show_loading(uint64_t loaded_bytes, uint64_t loading_bytes);
void show_piece(const char *piece, size_t bytes);
void show_answer_end(void);
void show_timeline(const struct asked *run);
void show_table(const struct report *report);
int  show_json(const struct report *report);

#endif
