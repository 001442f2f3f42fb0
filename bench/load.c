/* SPDX-License-Identifier: Apache-2.0 */
/* A model from its files, or from DRAM, onto a device, again and again; by itself, or in turn with what it is
 * measured against. With reused memory there is a load before the first repetition, which pays for the pages and is not
 * counted; where each repetition waits for its turn it is the first one, and is marked as fresh. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "against.h"
#include "commands.h"
#include "measure.h"
#include "options.h"
#include "report.h"
#include "session.h"

enum { LINGER_MS = 3600000 }; /* not to close between two turns */

struct options {
    const char *path, *engine, *memory, *from, *against, *device;
    uint64_t    repeat, rate;
    bool        fd, cold, checks, closed, on_line;
};

struct load {
    const struct options *options;
    sgi_runtime          *rt;
    sgi_model             model;
    sgi_tensor_check     *checks;
    uint64_t              checks_count;
    struct summary        summary;
    double                begin; /* of all of it */
};

/* ---- set-up ---- */

/* What the file holds now is what is checked from then on. A host reads it: a device's copy may be wrong. */
static void learn_checks(struct load *l)
{
    sgi_runtime_config config = session_config(l->options->engine, 0);
    sgi_error          err = SGI_ERROR_INIT;
    sgi_runtime       *rt = session_open(&config);
    sgi_model          model = session_register(rt, "learn", l->options->path, 0);
    sgi_model_info     info = session_info(rt, model);
    sgi_lease          lease = session_acquire(rt, model, NULL);

    l->checks = calloc(info.tensors_count ? info.tensors_count : 1, sizeof *l->checks);
    if (!l->checks)
        die("out of memory for %" PRIu64 " checks", info.tensors_count);
    for (; l->checks_count < info.tensors_count; l->checks_count++) {
        sgi_tensor        tensor = { .struct_size = sizeof tensor };
        sgi_tensor_check *check = &l->checks[l->checks_count];
        if (sgi_model_tensor_at(rt, model, l->checks_count, &tensor) != SGI_OK ||
            sgi_lease_tensor_digest(rt, lease, l->checks_count, &check->xxh3, &err) != SGI_OK)
            die("%s: its tensors cannot be hashed: %s", l->options->path, err.message);
        check->name = strdup(tensor.name);
    }
    session_release(rt, lease);
    session_close(rt);
}

static void set_up(struct load *l, const struct options *o)
{
    sgi_runtime_config config = session_config(o->engine, o->rate);
    sgi_device_config  device;
    sgi_model_config   model;
    sgi_error          err = SGI_ERROR_INIT;

    *l = (struct load){ .options = o, .begin = seconds_now() };
    session_on(&config, &device, o->device);
    config.context_linger_ms = o->closed ? SGI_IDLE_NOW : LINGER_MS;
    config.dram_bytes_max = SESSION_DRAM; /* spare memory counts in it too */
    if (strcmp(o->memory, "reused") == 0)
        config.spare_bytes_max = SESSION_DRAM;
    if (o->checks)
        learn_checks(l);
    l->rt = session_open(&config);
    sgi_model_config_init(&model, sizeof model);
    model.name = "bench";
    model.path = o->path;
    model.flags = o->fd ? SGI_IMAGE_FD : 0;
    model.residence = strcmp(o->from, "packed") == 0 ? SGI_RESIDENCE_PACKED : SGI_RESIDENCE_AUTO;
    model.checks = l->checks;
    model.checks_count = (uint32_t)l->checks_count;
    if (sgi_model_register(l->rt, &model, &l->model, &err) != SGI_OK)
        die("register: %s (%s)", err.message, sgi_status_name(err.code));
}

static void take_down(struct load *l)
{
    session_close(l->rt);
    for (uint64_t n = 0; n < l->checks_count; n++)
        free((char *)(uintptr_t)l->checks[n].name);
    free(l->checks);
}

/* ---- one repetition ---- */

/* In host memory, as an image or packed. */
static bool is_from_dram(const struct options *o)
{
    return strcmp(o->from, "disk") != 0;
}

static void put(struct load *l, const sgi_timing *t, double cpu, bool fresh, double before_ms)
{
    bool   dram = t->tier == SGI_TIER_DRAM;
    double total = (double)t->total_ns / 1e9, seconds = dram ? total : (double)t->load_ns / 1e9;
    double gib = (double)t->bytes / GIB;

    report_line(json_pack("{s:s, s:s, s:s, s:s, s:s, s:b, s:b, s:b, s:I, s:I, s:f, s:f, s:f, s:i, s:f, s:f, s:f, s:o}",
                          "what", "load", "device", l->options->device, "engine", t->engine, "memory",
                          fresh ? "fresh" : "reused", "from", l->options->from, "fd", l->options->fd, "checks",
                          l->options->checks, "cold", l->options->cold, "bytes", (json_int_t)t->bytes, "read_bytes",
                          (json_int_t)t->read_bytes, "seconds", seconds, "gib_s", gib / seconds, "cpu_core_s_per_gib",
                          cpu / gib, "direct", (int)t->direct, "total_seconds", total, "limited_seconds",
                          (double)t->limited_ns / 1e9, "before_ms", before_ms, "phases_ms", session_phases(t)));
    summary_add(&l->summary, "seconds", seconds);
    summary_add(&l->summary, "gib_s", gib / seconds);
    summary_add(&l->summary, "cpu_core_s_per_gib", cpu / gib);
    summary_add(&l->summary, "total_seconds", total);
}

static void once(struct load *l, bool first)
{
    const struct options *o = l->options;
    bool                  dram = is_from_dram(o), reused = strcmp(o->memory, "reused") == 0;
    bool                  uncounted = first && (dram || (reused && !o->on_line));
    sgi_timing            t;

    if (uncounted) { /* the bytes come into DRAM by it, or the pages that are used again */
        session_release(l->rt, session_acquire(l->rt, l->model, NULL));
        session_evict(l->rt, l->model, dram ? SGI_TIER_DRAM : SGI_TIER_DISK);
    }
    if (o->cold)
        drop_cached(o->path);
    if (o->closed)
        session_wait_idle(l->rt);
    double    cpu = cpu_seconds(), before_ms = (seconds_now() - l->begin) * 1e3;
    sgi_lease lease = session_acquire(l->rt, l->model, &t);
    cpu = cpu_seconds() - cpu;
    session_release(l->rt, lease);
    session_evict(l->rt, l->model, dram ? SGI_TIER_DRAM : SGI_TIER_DISK);
    if (dram != (t.tier == SGI_TIER_DRAM))
        die("the bytes came from another place than from %s", o->from);
    put(l, &t, cpu, !reused || (first && !uncounted), before_ms);
}

static int run(const struct options *o)
{
    struct load  l;
    struct turns turns = { .repeat = o->repeat, .on_line = o->on_line };

    set_up(&l, o);
    while (next_turn(&turns))
        once(&l, turns.done == 1);
    if (!o->on_line)
        summary_report(&l.summary, "load", o->path, NULL);
    summary_free(&l.summary);
    take_down(&l);
    return EXIT_GOOD;
}

/* ---- against something ---- */

static int run_side(void *user)
{
    return run(user);
}

int load_side_run(void *user)
{
    const struct load_side *side = user;

    return run(&(struct options){ .path = side->path,
                                  .device = side->device,
                                  .engine = "auto",
                                  .memory = "reused",
                                  .from = side->dram ? "dram" : "disk",
                                  .repeat = side->repeat,
                                  .cold = side->cold,
                                  .closed = side->closed,
                                  .on_line = true });
}

static int run_against(const struct options *o)
{
    struct options  mine = *o, other;
    struct raw_side raw = {
        .path = o->path, .engine = o->engine, .repeat = o->repeat + 1, .rate = o->rate, .cold = o->cold
    };
    struct side sides[] = { { "load", run_side, &mine }, { "raw", raw_side_run, &raw } };

    mine.repeat = o->repeat + 1;
    mine.on_line = true;
    mine.against = NULL;
    if (strcmp(o->against, "unchecked") == 0) {
        other = mine;
        other.checks = false;
        mine.checks = true;
        sides[0].name = "checked";
        sides[1] = (struct side){ "unchecked", run_side, &other };
    }
    against_run("load", o->path, sides, o->repeat);
    return EXIT_GOOD;
}

int load_main(int argc, char **argv)
{
    static const char *const          memories[] = { "reused", "fresh", NULL };
    static const char *const          sources[] = { "disk", "dram", "packed", NULL };
    static const char *const          others[] = { "raw", "unchecked", NULL };
    static const struct bench_command command = {
        .name = "load",
        .operands = "FILE",
        .operands_min = 1,
        .operands_max = 1,
        .purpose =
            "A model onto a device, through the library. reused memory is that of the load before: one load\n"
            "comes before the first repetition and is not counted (with --stdin it is the first one, and says fresh).\n"
            "fresh memory pays for its page faults. From dram nothing is read: the time is from request to grant;\n"
            "from packed neither, and the model is decoded from where it stays packed in host memory.\n"
            "--against takes turns with a bare loop (raw), or with the same load without checks (unchecked), each in\n"
            "a process of its own; one round that pays for pages is not counted.\n",
    };
    struct options o = { .engine = "auto", .memory = "reused", .from = "disk", .repeat = 1, .device = "host:0" };
    const struct bench_option options[] = {
        OPTION_WHERE_TO(&o),
        { "closed", OPTION_FLAG, &o.closed, 0, 0, NULL, "its context is closed before each repetition" },
        { "engine", OPTION_CHOICE, &o.engine, 0, 0, session_engines, "how files are read" },
        { "memory", OPTION_CHOICE, &o.memory, 0, 0, memories, "of the image" },
        { "fd", OPTION_FLAG, &o.fd, 0, 0, NULL, "the image is a memfd" },
        { "from", OPTION_CHOICE, &o.from, 0, 0, sources, "where the bytes are" },
        { "checks", OPTION_FLAG, &o.checks, 0, 0, NULL, "XXH3 of every tensor" },
        { "against", OPTION_CHOICE, &o.against, 0, 0, others, "what it takes turns with" },
        OPTION_COLD(&o),
        OPTION_REPEAT(&o),
        OPTION_RATE(&o),
        OPTION_STDIN(&o),
    };
    options_parse(&command, options, sizeof options / sizeof *options, argc, argv, &o.path);
    if (o.against && o.on_line)
        usage_error("load", "--against takes turns by itself: without --stdin");
    if (o.against && is_from_dram(&o))
        usage_error("load", "--against is about reads: without --from %s", o.from);
    if (o.cold && is_from_dram(&o))
        usage_error("load", "--cold is about reads: without --from %s, which has none", o.from);
    return o.against ? run_against(&o) : run(&o);
}
