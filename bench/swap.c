/* SPDX-License-Identifier: Apache-2.0 */
/* Two models that do not fit together, in turn: each acquire has the other one leave first. Beside it, in processes of
 * their own, the bare loop over the same files. */
#include <string.h>

#include "child.h"
#include "commands.h"
#include "files.h"
#include "measure.h"
#include "options.h"
#include "report.h"
#include "session.h"

struct options {
    const char *paths[2], *engine, *from;
    uint64_t    bytes, repeat, rate;
    bool        fd, cold;
};

struct swap {
    const struct options *options;
    sgi_runtime          *rt;
    sgi_model             models[2];
    struct child          library, raw[2];
    struct summary        summary, phases;
};

/* ---- the library's side ---- */

/* A device with room for the larger one and not for both. */
static uint64_t room_for_one(const struct options *o)
{
    sgi_runtime_config config = session_config(o->engine, 0);
    sgi_runtime       *rt = session_open(&config);
    uint64_t           bytes[2];
    for (int n = 0; n < 2; n++)
        bytes[n] = session_info(rt, session_register(rt, n ? "b" : "a", o->paths[n], 0)).image_bytes;
    session_close(rt);
    uint64_t smaller = bytes[0] < bytes[1] ? bytes[0] : bytes[1];
    return bytes[0] + bytes[1] - smaller + smaller / 2;
}

static void set_up(struct swap *s, const struct options *o)
{
    sgi_runtime_config config = session_config(o->engine, o->rate);
    sgi_device_config  device;

    sgi_device_config_init(&device, sizeof device);
    device.name = "host";
    device.bytes_max = room_for_one(o);
    config.devices = &device;
    config.devices_count = 1;
    config.dram_bytes_max = strcmp(o->from, "dram") == 0 ? SESSION_DRAM : SGI_NONE;
    s->rt = session_open(&config);
    for (int n = 0; n < 2; n++)
        s->models[n] = session_register(s->rt, n ? "b" : "a", o->paths[n], o->fd ? SGI_IMAGE_FD : 0);
}

/* On cue, each line of input a swap: to A, to B, to A, ... The first two are not measured: nothing leaves for the first
 * one, and DRAM has neither of them yet. */
static int run_library(void *user)
{
    struct swap  s = { .options = user };
    struct turns turns = { .repeat = 2 * (s.options->repeat + 1), .on_line = true };

    set_up(&s, s.options);
    while (next_turn(&turns)) {
        int        n = (int)((turns.done - 1) % 2);
        sgi_timing t;
        if (s.options->cold)
            drop_cached(s.options->paths[n]);
        double cpu = cpu_seconds();
        session_release(s.rt, session_acquire(s.rt, s.models[n], &t));
        cpu = cpu_seconds() - cpu;
        report_line(json_pack("{s:s, s:s, s:s, s:s, s:I, s:f, s:f, s:f, s:o}", "what", "swap", "to", n ? "b" : "a",
                              "engine", t.engine, "from", t.tier == SGI_TIER_DRAM ? "dram" : "disk", "bytes",
                              (json_int_t)t.bytes, "total_seconds", (double)t.total_ns / 1e9, "load_seconds",
                              (double)t.load_ns / 1e9, "cpu_seconds", cpu, "phases_ms", session_phases(&t)));
    }
    session_close(s.rt);
    return EXIT_GOOD;
}

/* ---- both sides ---- */

static double number(const json_t *line, const char *name)
{
    return json_number_value(json_object_get(line, name));
}

static void add_phases(struct summary *summary, const json_t *phases)
{
    for (uint32_t step = 0; step < SGI_STEP_COUNT; step++) {
        const json_t *ms = json_object_get(phases, sgi_step_name(step));
        if (ms)
            summary_add(summary, sgi_step_name(step), json_number_value(ms));
    }
}

/* The bare loop is on the same file, at once before or behind. */
static void swap_once(struct swap *s, uint64_t round, int to)
{
    json_t *swap = NULL, *raw = NULL;

    if (round % 2 == 0)
        raw = child_turn(&s->raw[to]);
    swap = child_turn(&s->library);
    if (!raw)
        raw = child_turn(&s->raw[to]);
    if (round > 0) { /* the first one pays for pages */
        double total = number(swap, "total_seconds"), bare = number(raw, "seconds");
        json_object_set_new(swap, "raw_seconds", json_real(bare));
        json_object_set_new(swap, "ratio", json_real(bare / total));
        summary_add(&s->summary, "total_seconds", total);
        summary_add(&s->summary, "load_seconds", number(swap, "load_seconds"));
        summary_add(&s->summary, "beside_load_seconds", total - number(swap, "load_seconds"));
        summary_add(&s->summary, "raw_seconds", bare);
        summary_add(&s->summary, "ratio", bare / total);
        add_phases(&s->phases, json_object_get(swap, "phases_ms"));
        report_line(json_incref(swap));
    }
    json_decref(swap);
    json_decref(raw);
}

static int run(const struct options *o)
{
    struct swap     s = { .options = o };
    struct raw_side raw[2];

    child_start(&s.library, "swap", run_library, (void *)(uintptr_t)o);
    for (int n = 0; n < 2; n++) {
        raw[n] = (struct raw_side){
            .path = o->paths[n], .engine = o->engine, .repeat = o->repeat + 1, .rate = o->rate, .cold = o->cold
        };
        child_start(&s.raw[n], "raw", raw_side_run, &raw[n]);
    }
    for (uint64_t round = 0; round <= o->repeat; round++)
        for (int to = 0; to < 2; to++)
            swap_once(&s, round, to);
    for (int n = 2; n-- > 0;)
        child_end(&s.raw[n]);
    child_end(&s.library);
    summary_report(&s.summary, "swap", o->paths[0],
                   json_pack("{s:s, s:o}", "from", o->from, "phases_ms", summary_json(&s.phases)));
    return EXIT_GOOD;
}

int swap_main(int argc, char **argv)
{
    static const char *const          sources[] = { "disk", "dram", NULL };
    static const struct bench_command command = {
        .name = "swap",
        .operands = "[FILE FILE]",
        .operands_max = 2,
        .purpose =
            "Two models in turn on a device with room for one: each acquire evicts the other. total_seconds is from\n"
            "request to grant, the eviction in it; ratio is what a bare loop over the same file takes, in the same\n"
            "round, to that. From disk the memory is fresh each time; from dram both models stay in host memory.\n",
    };
    struct options            o = { .engine = "auto", .from = "disk", .bytes = UINT64_C(1) << 29, .repeat = 5 };
    const struct bench_option options[] = {
        { "engine", OPTION_CHOICE, &o.engine, 0, 0, session_engines, "how files are read" },
        { "from", OPTION_CHOICE, &o.from, 0, 0, sources, "where the bytes are" },
        { "fd", OPTION_FLAG, &o.fd, 0, 0, NULL, "images are memfds" },
        OPTION_MODEL_BYTES(&o),
        OPTION_COLD(&o),
        OPTION_REPEAT(&o),
        OPTION_RATE(&o),
    };
    options_parse(&command, options, sizeof options / sizeof *options, argc, argv, o.paths);
    if (o.paths[0] && !o.paths[1])
        usage_error("swap", "it takes two files, or none");
    for (int n = 0; n < 2; n++)
        if (!o.paths[n])
            o.paths[n] = model_file(o.bytes, 16);
    return run(&o);
}
