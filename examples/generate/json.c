/* SPDX-License-Identifier: Apache-2.0 */
/* The report as one JSON object on stdout: the numbers of the text, for scripts. */
#include <stdio.h>

#include <jansson.h>

#include "show.h"

static json_t *integer(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static json_t *milliseconds(uint64_t ns)
{
    return json_real((double)ns / 1e6);
}

static json_t *held_json(const struct held *held)
{
    json_t *o = json_object();

    json_object_set_new(o, "device_bytes", integer(held->device_bytes));
    json_object_set_new(o, "engine_bytes", integer(held->engine_bytes));
    json_object_set_new(o, "dram_bytes", integer(held->dram_bytes));
    json_object_set_new(o, "prepared_bytes", integer(held->prepared_bytes));
    json_object_set_new(o, "process_rss_bytes", integer(held->rss_bytes));
    json_object_set_new(o, "instances", integer(held->instances));
    json_object_set_new(o, "contexts", integer(held->contexts));
    json_object_set_new(o, "working_threads", integer(held->working_threads));
    json_object_set_new(o, "engine_threads", integer(held->engine_threads));
    return o;
}

static json_t *phases_json(const sgi_timing *timing)
{
    json_t *list = json_array();

    for (uint32_t i = SGI_STEP_QUEUE; i < SGI_STEP_COUNT; i++) {
        json_t *o;

        if (timing->phases[i].duration_ns == 0)
            continue;
        o = json_object();
        json_object_set_new(o, "step", json_string(sgi_step_name(i)));
        json_object_set_new(o, "start_ms", milliseconds(timing->phases[i].start_ns));
        json_object_set_new(o, "ms", milliseconds(timing->phases[i].duration_ns));
        json_array_append_new(list, o);
    }
    return list;
}

static json_t *run_json(const char *name, const struct asked *run)
{
    const sgi_timing *timing = &run->timing;
    json_t           *o = json_object();
    double            writing_s = (double)(run->end_ns - run->first_ns) / 1e9, load_s = (double)timing->load_ns / 1e9;
    json_t           *answer = json_stringn(run->answer, run->answer_bytes);

    json_object_set_new(o, "run", json_string(name));
    json_object_set_new(o, "tier", json_string(tier_names[timing->tier]));
    json_object_set_new(o, "first_token_ms", milliseconds(run->first_ns));
    json_object_set_new(o, "lease_ms", milliseconds(run->lease_ns));
    json_object_set_new(o, "load_ms", milliseconds(timing->load_ns));
    json_object_set_new(o, "total_ms", milliseconds(run->end_ns));
    json_object_set_new(o, "bytes", integer(timing->bytes));
    json_object_set_new(o, "gib_per_s",
                        timing->tier == SGI_TIER_DISK && load_s > 0
                            ? json_real((double)timing->bytes / (double)(1u << 30) / load_s)
                            : json_null());
    json_object_set_new(o, "cpu_ms", milliseconds(timing->cpu_ns));
    json_object_set_new(o, "io_engine", json_string(timing->engine));
    json_object_set_new(o, "direct", json_boolean(timing->direct == 1));
    json_object_set_new(o, "tokens", integer(run->pieces));
    json_object_set_new(o, "tokens_per_s",
                        writing_s > 0 ? json_real((double)(run->pieces - 1) / writing_s) : json_null());
    json_object_set_new(o, "phases", phases_json(timing));
    json_object_set_new(o, "answer", answer != NULL ? answer : json_null()); /* not UTF-8: the model's doing */
    return o;
}

int show_json(const struct report *report)
{
    static const char *const names[RUN_COUNT] = { "cold", "dram", "warm" };
    json_t                  *root = json_object(), *model = json_object(), *runs = json_array();
    int                      rc;

    json_object_set_new(model, "path", json_string(report->path));
    json_object_set_new(model, "format", json_string(report->model.format));
    json_object_set_new(model, "tensors", integer(report->model.tensors_count));
    json_object_set_new(model, "file_bytes", integer(report->model.file_bytes));
    json_object_set_new(model, "image_bytes", integer(report->model.image_bytes));
    json_object_set_new(root, "model", model);
    json_object_set_new(root, "prompt", json_string(report->prompt));
    json_object_set_new(root, "registered", held_json(&report->registered));
    json_object_set_new(root, "ready", held_json(&report->ready));
    json_object_set_new(root, "idle", held_json(&report->idle));
    json_object_set_new(root, "idle_timeout_ms", integer(report->idle_ms));
    json_object_set_new(root, "idle_after_ms", milliseconds(report->idle_ns));
    for (int i = 0; i < RUN_COUNT; i++)
        json_array_append_new(runs, run_json(names[i], &report->runs[i]));
    json_object_set_new(root, "runs", runs);
    rc = json_dumpf(root, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(7));
    json_decref(root);
    putchar('\n');
    return rc;
}
