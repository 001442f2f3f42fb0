/* SPDX-License-Identifier: Apache-2.0 */
/* What a load takes of memory at its peak beyond the model itself, and what stays when the model has left. Each
 * repetition is a process of its own: a heap that has grown once says nothing about the next time. */
#include <string.h>

#include "child.h"
#include "commands.h"
#include "files.h"
#include "measure.h"
#include "options.h"
#include "report.h"
#include "session.h"

struct options {
    const char *path, *engine;
    uint64_t    bytes, repeat, rate;
    bool        fd, cold;
};

static int run_load(void *user)
{
    const struct options *o = user;
    sgi_runtime_config    config = session_config(o->engine, o->rate);
    sgi_timing            t;

    config.context_linger_ms = SGI_IDLE_NOW;
    sgi_runtime *rt = session_open(&config);
    sgi_model    model = session_register(rt, "memory", o->path, o->fd ? SGI_IMAGE_FD : 0);
    if (o->cold)
        drop_cached(o->path);
    uint64_t before = rss_bytes();
    rss_peak_reset();
    sgi_lease lease = session_acquire(rt, model, &t);
    uint64_t  peak = rss_peak_bytes() - before, loaded = rss_bytes() - before;
    session_release(rt, lease);
    session_evict(rt, model, SGI_TIER_DISK);
    session_wait_idle(rt);
    double left = (double)rss_bytes() - (double)before;
    double model_bytes = (double)session_info(rt, model).image_bytes; /* a packed one's file is smaller */
    report_line(json_pack("{s:s, s:s, s:b, s:I, s:I, s:I, s:I, s:f, s:f, s:I}", "what", "memory", "engine", t.engine,
                          "fd", o->fd, "bytes", (json_int_t)file_bytes(o->path), "image_bytes", (json_int_t)model_bytes,
                          "peak_bytes", (json_int_t)peak, "loaded_bytes", (json_int_t)loaded, "peak_over_model",
                          (double)peak / model_bytes, "residue_bytes", left, "idle_bytes", (json_int_t)before));
    session_close(rt);
    return EXIT_GOOD;
}

static double number(const json_t *line, const char *name)
{
    return json_number_value(json_object_get(line, name));
}

static int run(const struct options *o)
{
    struct summary kinds[2] = { 0 }, none = { 0 };

    for (uint64_t n = 0; n < 2 * o->repeat; n++) {
        struct options mine = *o;
        struct child   child;
        mine.fd = n % 2;
        child_start(&child, "memory", run_load, &mine);
        json_t *line = child_read(&child);
        child_end(&child);
        summary_add(&kinds[n % 2], "peak_bytes", number(line, "peak_bytes"));
        summary_add(&kinds[n % 2], "peak_over_model", number(line, "peak_over_model"));
        summary_add(&kinds[n % 2], "residue_bytes", number(line, "residue_bytes"));
        report_line(line);
    }
    summary_report(&none, "memory", o->path,
                   json_pack("{s:o, s:o}", "anonymous", summary_json(&kinds[0]), "memfd", summary_json(&kinds[1])));
    return EXIT_GOOD;
}

int memory_main(int argc, char **argv)
{
    static const struct bench_command command = {
        .name = "memory",
        .operands = "[FILE]",
        .operands_max = 1,
        .purpose =
            "Resident memory of a load, in a process of its own each time, with anonymous images and memfds in turn:\n"
            "at its peak and when loaded, beyond what the process had with the model registered, and what of it is\n"
            "left (residue_bytes) when the model has gone.\n",
    };
    struct options            o = { .engine = "auto", .bytes = UINT64_C(1) << 29, .repeat = 3 };
    const struct bench_option options[] = {
        { "engine", OPTION_CHOICE, &o.engine, 0, 0, session_engines, "how files are read" },
        OPTION_MODEL_BYTES(&o),
        OPTION_COLD(&o),
        OPTION_REPEAT(&o),
        OPTION_RATE(&o),
    };
    options_parse(&command, options, sizeof options / sizeof *options, argc, argv, &o.path);
    if (!o.path)
        o.path = model_file(o.bytes, 16);
    return run(&o);
}
