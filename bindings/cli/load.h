/* SPDX-License-Identifier: Apache-2.0 */
/* Inside `sgi load`: what was asked for, and what one repetition was like. */
#ifndef SGI_CLI_LOAD_H
#define SGI_CLI_LOAD_H

#include <sgi/sgi.h>

#include "command.h"
#include "output.h"
#include "page_cache.h"

struct load_options {
    const char *path;
    const char *order_path;  /* NULL: none */
    const char *device;      /* NULL: "host" */
    const char *checks_path; /* NULL: beside the files, if at all */
    uint32_t    io_engine;   /* SGI_IO_AUTO, ... */
    uint32_t    repeat;
    uint32_t    block_bytes, depth; /* 0: the library's own */
    uint64_t    rate;               /* bytes a second; 0: no limit */
    bool        cold, digest, json;

    struct folders folders;
};

enum { LOAD_REPEAT_MAX = 1000000 };

extern const char load_help[];

/* EXIT_GOOD; EXIT_USAGE after the usage error; -1 when the help was asked for and has been put out. */
int load_options_parse(struct output *out, int argc, char **argv, struct load_options *options);

/* One repetition, and its end. */
struct load_run {
    uint32_t      number; /* from 1 */
    bool          cold;   /* asked for, and as far as is known so */
    struct cached cached; /* with --cold: what stayed in the page cache all the same */
    sgi_timing    timing;
    const char   *device;

    /* Of the whole process, from request to grant: beside the loading threads, those the kernel has for their reads. */
    double process_cpu_ms;

    uint64_t kept_bytes;    /* in host memory, beside those on the device */
    uint64_t residue_bytes; /* that could not be given back */

    const uint64_t *digests; /* by tensor index; NULL without --digest */
    double          digest_ms;
};

double gib_per_s(uint64_t bytes, double ms);

/* `sgi load` for people: the model before the first repetition, each repetition, and a summary of several. */
void report_model(struct output *out, const struct load_options *options, const sgi_model_info *info,
                  const char *device);
void report_run(struct output *out, const struct load_run *run);
void report_digests(struct output *out, sgi_runtime *rt, sgi_model model, const sgi_model_info *info,
                    const struct load_run *run);
void report_summary(struct output *out, double *load_ms, uint32_t count, uint64_t bytes); /* sorts load_ms */

/* One line of JSON. */
void report_json(struct output *out, const struct load_options *options, sgi_runtime *rt, sgi_model model,
                 const sgi_model_info *info, const struct load_run *run);

#endif
