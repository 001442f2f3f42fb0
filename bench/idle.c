/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Thousands of models that nobody calls: what each costs in memory, and that together they cost no processor time. The
 * models live in a process of their own, which waits for a line of input; its threads are looked at from outside.
 *
 * Two variants: registered only, and each loaded once and gone idle. What a tensor costs in the index is found by
 * registering models with one number of tensors and with twice that; what a model costs beyond it is the rest. Where
 * those are few tensors the heap's own steps are larger than they, and both are null.
 */
#include <dirent.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "child.h"
#include "commands.h"
#include "files.h"
#include "measure.h"
#include "options.h"
#include "report.h"
#include "session.h"

enum { MODELS_SAMPLED = 1000, TENSORS_SAMPLED_MIN = 2000 };

struct options {
    const char *engine;
    uint64_t    models, tensors, seconds, repeat, rate;
    bool        files; /* one for each model */
};

struct variant {
    const struct options *options;
    const char          **paths;         /* one, or one for each model */
    const char           *small, *large; /* with `tensors` tensors, and with twice that */
    bool                  loaded;
};

/* ---- the process with the models ---- */

static void register_all(sgi_runtime *rt, const char *const *paths, bool each, uint64_t count, sgi_model *models_out)
{
    char name[32];
    for (uint64_t n = 0; n < count; n++) {
        snprintf(name, sizeof name, "model-%07" PRIu64, n);
        sgi_model model = session_register(rt, name, paths[each ? n : 0], 0);
        if (models_out)
            models_out[n] = model;
    }
}

/* Heap that `count` models of one file take. */
static double heap_of(const struct options *o, const char *path, uint64_t count)
{
    sgi_runtime_config config = session_config(o->engine, o->rate);
    sgi_runtime       *rt = session_open(&config);
    uint64_t           before = heap_bytes();
    register_all(rt, &path, false, count, NULL);
    uint64_t after = heap_bytes();
    session_close(rt);
    return (double)after - (double)before;
}

static json_t *real_if(bool known, double value)
{
    return known ? json_real(value) : json_null();
}

static int run_models(void *user)
{
    const struct variant *v = user;
    const struct options *o = v->options;
    uint64_t              few = o->models < MODELS_SAMPLED ? o->models : MODELS_SAMPLED;
    double                small = heap_of(o, v->small, few), large = heap_of(o, v->large, few);
    double                tensor = (large - small) / (double)(few * o->tensors);
    bool                  known = few * o->tensors >= TENSORS_SAMPLED_MIN && tensor > 0;
    sgi_runtime_config    config = session_config(o->engine, o->rate);
    sgi_model            *models = malloc(o->models * sizeof *models);
    char                  line[16];

    if (!models)
        die("out of memory for %" PRIu64 " ids", o->models);
    memset(models, 0, o->models * sizeof *models);
    config.idle_timeout_ms = SGI_IDLE_NOW;
    malloc_trim(0); /* or what was measured before would lend its pages */
    sgi_runtime *rt = session_open(&config);
    uint64_t     heap = heap_bytes(), rss = rss_bytes();
    double       begin = seconds_now();
    register_all(rt, v->paths, o->files, o->models, models);
    double registered = seconds_now();
    for (uint64_t n = 0; v->loaded && n < o->models; n++)
        session_release(rt, session_acquire(rt, models[n], NULL));
    session_wait_idle(rt);
    double done = seconds_now();
    double model = ((double)heap_bytes() - (double)heap) / (double)o->models;
    double resident = ((double)rss_bytes() - (double)rss) / (double)o->models, index = tensor * (double)o->tensors;
    report_line(json_pack("{s:s, s:s, s:I, s:I, s:o, s:f, s:f, s:o, s:o, s:f, s:f}", "what", "idle", "variant",
                          v->loaded ? "loaded once" : "registered", "models", (json_int_t)o->models, "tensors",
                          (json_int_t)o->tensors, "index_bytes_per_tensor", real_if(known, tensor),
                          "heap_bytes_per_model", model, "rss_bytes_per_model", resident,
                          "beyond_index_heap_bytes_per_model", real_if(known, model - index),
                          "beyond_index_bytes_per_model", real_if(known, resident - index), "register_us_per_model",
                          (registered - begin) * 1e6 / (double)o->models, "load_us_per_model",
                          (done - registered) * 1e6 / (double)o->models));
    bool told = fgets(line, sizeof line, stdin); /* until the other side has seen enough, or is gone */
    session_close(rt);
    free(models);
    return told ? EXIT_GOOD : EXIT_BAD;
}

/* ---- the process that looks ---- */

struct activity {
    uint64_t threads, switches, ticks, slices, run_ns;
    bool     detailed; /* slices and run_ns are known */
};

static FILE *open_task(pid_t pid, const char *task, const char *name)
{
    char path[320];
    snprintf(path, sizeof path, "/proc/%d/task/%s/%s", (int)pid, task, name);
    return fopen(path, "re");
}

static void add_switches(struct activity *a, pid_t pid, const char *task)
{
    char     line[256];
    uint64_t count;
    FILE    *file = open_task(pid, task, "status");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "voluntary_ctxt_switches: %" SCNu64, &count) == 1 ||
            sscanf(line, "nonvoluntary_ctxt_switches: %" SCNu64, &count) == 1)
            a->switches += count;
    if (file)
        fclose(file);
}

static void add_times(struct activity *a, pid_t pid, const char *task)
{
    char     line[1024] = "";
    uint64_t user = 0, system = 0, run_ns = 0, slices = 0;
    FILE    *file = open_task(pid, task, "stat");
    if (file && fgets(line, sizeof line, file)) {
        const char *behind = strrchr(line, ')'); /* a thread's name may hold anything */
        if (!behind || sscanf(behind + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64, &user,
                              &system) != 2)
            die("/proc has no times of thread %s", task);
    }
    a->ticks += user + system;
    if (file)
        fclose(file);
    file = open_task(pid, task, "schedstat");
    a->detailed &= file && fscanf(file, "%" SCNu64 " %*u %" SCNu64, &run_ns, &slices) == 2;
    a->run_ns += run_ns;
    a->slices += slices;
    if (file)
        fclose(file);
}

static struct activity activity_of(pid_t pid)
{
    struct activity a = { .detailed = true };
    char            path[64];
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *tasks = opendir(path);
    if (!tasks)
        die("%s cannot be read", path);
    for (const struct dirent *d; (d = readdir(tasks));) {
        if (d->d_name[0] == '.')
            continue;
        a.threads++;
        add_switches(&a, pid, d->d_name);
        add_times(&a, pid, d->d_name);
    }
    closedir(tasks);
    return a;
}

/* It has said that it is ready, and is on its way to its wait for input. */
static struct activity settled(pid_t pid)
{
    struct activity before, now = activity_of(pid);
    for (int tries = 0; tries < 100; tries++) {
        before = now;
        nap_us(50000);
        now = activity_of(pid);
        if (now.switches == before.switches && now.threads == before.threads)
            break;
    }
    return now;
}

static void add_known(struct summary *summary, const json_t *line, const char *name)
{
    const json_t *value = json_object_get(line, name);
    if (json_is_real(value))
        summary_add(summary, name, json_real_value(value));
}

static void measure(struct variant *v, struct summary *summary)
{
    struct child child;

    child_start(&child, v->loaded ? "loaded once" : "registered", run_models, v);
    json_t         *line = child_read(&child);
    struct activity before = settled(child.pid);
    nap_us((uint32_t)(v->options->seconds * 1000000));
    struct activity after = activity_of(child.pid);

    uint64_t switches = after.switches - before.switches, ticks = after.ticks - before.ticks;
    json_object_set_new(line, "seconds", json_integer((json_int_t)v->options->seconds));
    json_object_set_new(line, "threads", json_integer((json_int_t)after.threads));
    json_object_set_new(line, "context_switches", json_integer((json_int_t)switches));
    json_object_set_new(line, "cpu_ticks", json_integer((json_int_t)ticks));
    bool detailed = before.detailed && after.detailed;
    json_object_set_new(line, "wakeups",
                        detailed ? json_integer((json_int_t)(after.slices - before.slices)) : json_null());
    json_object_set_new(line, "cpu_ns",
                        detailed ? json_integer((json_int_t)(after.run_ns - before.run_ns)) : json_null());
    summary_add(summary, "context_switches", (double)switches);
    summary_add(summary, "cpu_ticks", (double)ticks);
    add_known(summary, line, "beyond_index_bytes_per_model");
    add_known(summary, line, "index_bytes_per_tensor");
    report_line(line);
    fputc('\n', child.to);
    child_end(&child);
}

static const char **make_paths(const struct options *o, const char *small)
{
    uint64_t     count = o->files ? o->models : 1;
    const char **paths = malloc(count * sizeof *paths);
    if (!paths)
        die("out of memory for %" PRIu64 " paths", count);
    for (uint64_t n = 0; n < count; n++)
        paths[n] = o->files ? model_file(o->tensors * 64, (uint32_t)o->tensors) : small;
    return paths;
}

static int run(const struct options *o)
{
    const char    *small = model_file(o->tensors * 64, (uint32_t)o->tensors);
    const char    *large = model_file(o->tensors * 128, (uint32_t)o->tensors * 2);
    const char   **paths = make_paths(o, small);
    struct summary registered = { 0 }, loaded = { 0 }, none = { 0 };

    for (uint64_t n = 0; n < o->repeat; n++)
        for (int after = 0; after < 2; after++) {
            struct variant v = { .options = o, .paths = paths, .small = small, .large = large, .loaded = after };
            measure(&v, after ? &loaded : &registered);
        }
    summary_report(&none, "idle", small,
                   json_pack("{s:I, s:o, s:o}", "models", (json_int_t)o->models, "registered",
                             summary_json(&registered), "loaded_once", summary_json(&loaded)));
    free(paths);
    return EXIT_GOOD;
}

int idle_main(int argc, char **argv)
{
    static const struct bench_command command = {
        .name = "idle",
        .operands = "",
        .purpose =
            "Models that nobody calls, registered only and after each was loaded once: bytes of each beyond the index\n"
            "of its tensors, and what the process did in so many seconds: context switches, ticks of processor time,\n"
            "wakeups and nanoseconds on a processor (null where this kernel does not say). What a tensor costs, and\n"
            "what is beyond it, is null where --models times --tensors is below 2000: too small to tell.\n",
    };
    struct options            o = { .engine = "auto", .models = 10000, .tensors = 64, .seconds = 10, .repeat = 1 };
    const struct bench_option options[] = {
        { "models", OPTION_NUMBER, &o.models, 1, 1000000, NULL, "how many" },
        { "tensors", OPTION_NUMBER, &o.tensors, 1, 100000, NULL, "of each" },
        { "seconds", OPTION_NUMBER, &o.seconds, 1, 3600, NULL, "to look for" },
        { "files", OPTION_FLAG, &o.files, 0, 0, NULL, "a file for each instead of one for all" },
        { "engine", OPTION_CHOICE, &o.engine, 0, 0, session_engines, "how files are read" },
        OPTION_REPEAT(&o),
        OPTION_RATE(&o),
    };
    options_parse(&command, options, sizeof options / sizeof *options, argc, argv, NULL);
    return run(&o);
}
