/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a model's way onto a GPU costs: beside the bare copies of pinned memory and the bare reads of the disk, which
 * are its ceilings, in turn, each in a process of its own. This process never opens the driver: the others are its
 * forks.
 */
#include <stdio.h>
#include <string.h>

#include "child.h"
#include "commands.h"
#include "files.h"
#include "gpu.h"
#include "measure.h"
#include "options.h"
#include "report.h"
#include "session.h"

enum { LINK, RAW, DRAM, REOPENED, DISK, SIDES };

struct options {
    const char *path, *device;
    uint64_t    bytes, repeat;
};

struct gpu_bench {
    const struct options *options;
    unsigned              ordinal;
    bool                  cuda; /* else it is only tried out, without the link */
    struct child          children[SIDES];
    struct summary        summary;
    json_t               *card;
};

/* ---- what comes out of it: one row each ---- */

/* reach: what it has to come to, of the median; 0: nothing. at_most: not more than that, instead of not less. */
static const struct row {
    const char *name, *unit, *text;
    double      reach;
    bool        at_most;
} rows[] = {
    { "link_gib_s", "GiB/s", "pinned copies, bare", 0, false },
    { "raw_gib_s", "GiB/s", "disk into memory, bare, cold", 0, false },
    { "dram_gib_s", "GiB/s", "DRAM to device, from the request", 0, false },
    { "dram_ratio", "of the bare copies", "DRAM to device", 0.95, false },
    { "reopened_ratio", "of the bare copies", "DRAM to device after its context was closed", 0.5, false },
    { "disk_gib_s", "GiB/s", "disk to device, cold, the load itself", 0, false },
    { "disk_ratio", "of the slower of the two", "disk to device, cold", 0.95, false },
    { "first_total_ms", "ms", "first load of a process, cold: from the request", 0, false },
    { "first_open_ms", "ms", "the same: from the fork to the request (cuInit, mostly)", 0, false },
    { "first_context_ms", "ms", "the same: opening the context", 0, false },
    { "first_memory_ms", "ms", "the same: memory, pinning among it", 0, false },
    { "zero_device_ms", "ms", "release to no byte charged", 300, true },
    { "zero_context_ms", "ms", "release to no context", 0, false },
    { "zero_nvml_ms", "ms", "release to empty, as NVML sees it", 0, false },
    { "zero_nvml_left_mib", "MiB", "left by the driver in a process that has used it", 0, false },
};

static bool is_reached(const struct row *row, double median)
{
    return row->at_most ? median <= row->reach : median >= row->reach;
}

static void put_row(struct summary *s, const struct row *row)
{
    uint32_t n = 0;
    while (n < s->count && strcmp(s->names[n], row->name) != 0)
        n++;
    if (n == s->count)
        return;
    json_t *line = json_pack("{s:s, s:s, s:s, s:s}", "what", "row", "name", row->name, "text", row->text, "unit",
                             row->unit);
    json_t *stats = samples_json(&s->samples[n]);
    json_object_update(line, stats);
    json_decref(stats);
    if (row->reach > 0) {
        json_object_set_new(line, row->at_most ? "at_most" : "at_least", json_real(row->reach));
        json_object_set_new(line, "reached", json_boolean(is_reached(row, samples_at(&s->samples[n], 0.5))));
    }
    report_line(line);
}

/* ---- rounds ---- */

static double number(const json_t *line, const char *name)
{
    return json_number_value(json_object_get(line, name));
}

static void add_number(struct gpu_bench *b, const char *name, const json_t *line, const char *key)
{
    if (json_is_number(json_object_get(line, key)))
        summary_add(&b->summary, name, number(line, key));
}

static void add_ratios(struct gpu_bench *b, json_t *const *lines)
{
    double link = number(lines[LINK], "gib_s"), raw = number(lines[RAW], "gib_s");

    summary_add(&b->summary, "link_gib_s", link);
    summary_add(&b->summary, "dram_ratio", number(lines[DRAM], "gib_s") / link);
    summary_add(&b->summary, "reopened_ratio", number(lines[REOPENED], "gib_s") / link);
    summary_add(&b->summary, "disk_ratio", number(lines[DISK], "gib_s") / (raw < link ? raw : link));
}

static void add_round(struct gpu_bench *b, json_t *const *lines)
{
    add_number(b, "raw_gib_s", lines[RAW], "gib_s");
    add_number(b, "dram_gib_s", lines[DRAM], "gib_s");
    add_number(b, "disk_gib_s", lines[DISK], "gib_s");
    if (b->cuda)
        add_ratios(b, lines);
}

/* The order turns from round to round. The first round pays for what is made once, and is not counted. */
static void one_round(struct gpu_bench *b, uint64_t round)
{
    static const char *const names[SIDES] = { "link", "raw", "dram", "reopened", "disk" };
    json_t                  *lines[SIDES] = { NULL }, *line = json_object();

    for (uint64_t n = 0; n < SIDES; n++) {
        uint64_t side = (round + n) % SIDES;
        if (side != LINK || b->cuda)
            lines[side] = child_turn(&b->children[side]);
    }
    if (round > 0)
        add_round(b, lines);
    if (lines[LINK] && !b->card)
        b->card = json_incref(json_object_get(lines[LINK], "card"));
    json_object_set_new(line, "what", json_string("round"));
    json_object_set_new(line, "round", json_integer((json_int_t)round));
    for (int side = 0; side < SIDES; side++)
        if (lines[side])
            json_object_set_new(line, names[side], lines[side]);
    report_line(line);
}

/* A process that has never used the device, each time. */
static void first_load(struct gpu_bench *b)
{
    struct load_side side = { .path = b->options->path, .device = b->options->device, .repeat = 1, .cold = true };
    struct child     child;
    double           begin = seconds_now(), total;

    child_start(&child, "first", load_side_run, &side);
    json_t *line = child_turn(&child), *phases = json_object_get(line, "phases_ms");
    total = number(line, "total_seconds") * 1e3;
    summary_add(&b->summary, "first_total_ms", total);
    summary_add(&b->summary, "first_open_ms", number(line, "before_ms"));
    add_number(b, "first_context_ms", phases, "context");
    add_number(b, "first_memory_ms", phases, "memory");
    json_object_set_new(line, "what", json_string("first"));
    json_object_set_new(line, "process_ms", json_real((seconds_now() - begin) * 1e3));
    report_line(line);
    child_end(&child);
}

/* By itself: NVML counts what everybody holds. */
static void run_zero(struct gpu_bench *b)
{
    const struct options *o = b->options;
    struct zero_side      side = { .path = o->path, .device = o->device, .repeat = o->repeat + 1 };
    struct child          child;

    child_start(&child, "zero", zero_side_run, &side);
    for (uint64_t round = 0; round < side.repeat; round++) {
        json_t *line = child_turn(&child);
        if (round > 0) {
            add_number(b, "zero_device_ms", line, "device_ms");
            add_number(b, "zero_context_ms", line, "context_ms");
            add_number(b, "zero_nvml_ms", line, "nvml_ms");
            add_number(b, "zero_nvml_left_mib", line, "nvml_left_mib");
        }
        report_line(line);
    }
    child_end(&child);
}

static void run_rounds(struct gpu_bench *b)
{
    const struct options *o = b->options;
    uint64_t              turns = o->repeat + 1;
    struct link_side      link = { .bytes = file_bytes(o->path), .repeat = turns, .ordinal = b->ordinal };
    struct raw_side       raw = { .path = o->path, .engine = "auto", .repeat = turns, .cold = true };
    struct load_side      dram = { .path = o->path, .device = o->device, .repeat = turns, .dram = true };
    struct load_side reopened = { .path = o->path, .device = o->device, .repeat = turns, .dram = true, .closed = true };
    struct load_side disk = { .path = o->path, .device = o->device, .repeat = turns, .cold = true };
    int (*const runs[SIDES])(void *user) = { link_side_run, raw_side_run, load_side_run, load_side_run, load_side_run };
    void *const              users[SIDES] = { &link, &raw, &dram, &reopened, &disk };
    static const char *const names[SIDES] = { "link", "raw", "DRAM", "DRAM, context closed", "disk" };

    for (int side = b->cuda ? LINK : RAW; side < SIDES; side++)
        child_start(&b->children[side], names[side], runs[side], users[side]);
    for (uint64_t round = 0; round <= o->repeat; round++)
        one_round(b, round);
    for (int side = SIDES; side-- > (b->cuda ? LINK : RAW);)
        child_end(&b->children[side]);
}

static int run(const struct options *o)
{
    struct gpu_bench b = { .options = o };

    b.cuda = gpu_is_cuda(o->device, &b.ordinal);
    for (uint64_t n = 0; n < o->repeat; n++)
        first_load(&b);
    run_rounds(&b);
    run_zero(&b);
    for (size_t n = 0; n < sizeof rows / sizeof *rows; n++)
        put_row(&b.summary, &rows[n]);
    summary_report(&b.summary, "gpu", o->path,
                   json_pack("{s:s, s:o}", "device", o->device, "card", b.card ? b.card : json_null()));
    return EXIT_GOOD;
}

int gpu_main(int argc, char **argv)
{
    static const struct bench_command command = {
        .name = "gpu",
        .operands = "[FILE]",
        .operands_max = 1,
        .purpose =
            "A model onto a GPU, in turn with what bounds it: bare copies of pinned memory of its size (link), and a\n"
            "bare loop that reads its file (raw). From DRAM with the context kept open, from DRAM into a context that\n"
            "opens anew and pins again, from the disk; then back to zero, as the library and as NVML see it. Before\n"
            "that the first load of a process, again and again. A line for each, then a row for each figure.\n"
            "On host:0 nothing is measured: it is for trying the command out where there is no GPU.\n",
    };
    struct options            o = { .device = "cuda:0", .bytes = UINT64_C(1) << 30, .repeat = 5 };
    const struct bench_option options[] = {
        OPTION_WHERE_TO(&o),
        OPTION_MODEL_BYTES(&o),
        OPTION_REPEAT(&o),
    };
    options_parse(&command, options, sizeof options / sizeof *options, argc, argv, &o.path);
    if (!o.path)
        o.path = model_file(o.bytes, 64);
    return run(&o);
}
