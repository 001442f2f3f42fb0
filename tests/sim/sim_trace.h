/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Traces of requests that others published, read for a replay: when each came, for which model, how long it takes.
 *
 * The first line tells the format:
 *   gentd26         Alibaba GenTD26, lora_request_trace.csv: time to the second, seconds of execution, model
 *   azure-llm       Azure LLM inference 2023: time, tokens in and out, no model
 *   mooncake        Mooncake, one JSON object a line: time in ms, tokens in and out, no model
 *   azure-2021      Azure Functions 2021: end and duration in seconds; a function is a model
 *   azure-2019      Azure Functions 2019: invocations a minute over a day, spread evenly; a function is a model
 * Where there is no model one is drawn, by Zipf's law with exponent 0.9; who is popular changes from hour to hour.
 * Where there are tokens instead of a time, the time follows from two rates.
 *
 * Files are hostile: the first line that is not as it should be ends the reading, with its number.
 */
#ifndef SGI_SIM_TRACE_H
#define SGI_SIM_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum {
    SIM_TRACE_LINE_MAX = 1 << 20,
    SIM_TRACE_COLUMNS_MAX = 2048,
    SIM_TRACE_REQUESTS_MAX = 1 << 22,
    SIM_TRACE_MODELS_MAX = 1 << 14,
};

struct sim_trace_request {
    uint64_t at_ns; /* since the first of them */
    uint64_t use_ns;
    uint32_t model;
};

struct sim_trace {
    const char               *format;
    bool                      drawn;    /* its models are not the trace's */
    struct sim_trace_request *requests; /* by time; those of one moment as they stood in the file */
    uint32_t                  count;
    char                    **models;
    uint32_t                  models_count;
};

/* Zero is the default named in the comment. */
struct sim_trace_options {
    uint64_t seed;
    uint32_t models;           /* to draw from; 100 */
    double   tokens_in_per_s;  /* 5000 */
    double   tokens_out_per_s; /* 50 */
    uint64_t use_ms;           /* where the trace tells nothing about it; 1 s */
    uint32_t requests;         /* only the first; all */
};

/* `name` stands in errors. false: `error` says why, as "name:line: what", and *out is empty. */
bool sim_trace_read(FILE *in, const char *name, const struct sim_trace_options *options, struct sim_trace *out,
                    char *error, size_t error_bytes);
void sim_trace_fini(struct sim_trace *trace);

#endif
