/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim_traces: the second mode of the simulator. Replays traces of requests; each run is one line of JSON.
 *
 *   sim_traces [options] FILE...     every file with every --ttl
 *   sim_traces --rows                the rows of research/policy.md, section 2.8, which must come out exactly, and a
 *                                    run of every other trace; 77 where the folder of traces is not there
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "sim/sim_replay.h"

enum { TTLS_MAX = 16, SKIPPED = 77 };

struct options {
    struct sim_trace_options read;
    struct sim_replay        replay;
    uint64_t                 ttls[TTLS_MAX]; /* ms */
    uint32_t                 ttls_count;
    double                   seconds_max; /* of CPU, for a run of --rows; 0: no limit */
    bool                     rows;
};

static const char usage[] =
    "usage: sim_traces [options] FILE...\n"
    "       sim_traces --rows [--seconds-max S]\n"
    "  --ttl S[,S...]         idle times; 'never'                    (300)\n"
    "  --devices N            how many devices                       (1)\n"
    "  --vram BYTES           of each; suffixes M G T Mi Gi Ti       (no limit)\n"
    "  --dram BYTES           for residences                         (0)\n"
    "  --bytes B[,B...]       of images, chosen by a model's name    (8G)\n"
    "  --load-ms N            any load takes so long                 (5000)\n"
    "  --disk-mib-s N         or loads share the disk instead\n"
    "  --link-mib-s N         and those from DRAM the link\n"
    "  --leases N             on an instance at a time               (no limit)\n"
    "  --instances N          of a model                             (1)\n"
    "  --loads N              at a time                              (4; no limit without --vram)\n"
    "  --wants N              waiting; past them one is refused      (1024)\n"
    "  --rate F               requests come F times faster           (1)\n"
    "  --warm-up S            what comes before is not counted       (0)\n"
    "  --overlap              who joins a load counts from its coming\n"
    "  --models N, --seed N   to draw from, where a trace has none   (100, 0)\n"
    "  --tokens-in F, --tokens-out F   a second, where a trace has no times   (5000, 50)\n"
    "  --use-ms N             a request takes, where a trace tells nothing    (1000)\n"
    "  --requests N           only the first                         (all)\n";

/* ---- options ---- */

static bool whole(const char *text, uint64_t max, uint64_t *out)
{
    char *end;
    errno = 0;
    if (*text < '0' || *text > '9')
        return false;
    *out = strtoull(text, &end, 10);
    return !errno && *end == '\0' && *out <= max;
}

static bool real(const char *text, double max, double *out)
{
    char *end;
    if (*text < '0' || *text > '9')
        return false;
    *out = strtod(text, &end);
    return *end == '\0' && *out > 0 && *out <= max;
}

static bool bytes(const char *text, uint64_t *out)
{
    static const char units[] = "MGT";
    char             *end;
    double            value;

    if (*text < '0' || *text > '9')
        return false;
    value = strtod(text, &end);
    const char *unit = *end ? strchr(units, *end) : NULL;
    if (unit) {
        bool binary = end[1] == 'i';
        value *= pow(binary ? 1024 : 1000, (double)(unit - units) + 2);
        end += 1 + binary;
    }
    if (*end != '\0' || !(value >= 1 && value <= 1e18))
        return false;
    *out = (uint64_t)value;
    return true;
}

static bool seconds(const char *text, uint64_t *ms_out)
{
    double s = 0;
    if (strcmp(text, "0") != 0 && !real(text, 1e9, &s))
        return false;
    *ms_out = (uint64_t)(s * 1000 + 0.5);
    return true;
}

static bool next_of_list(char **at, char **item)
{
    *item = *at;
    if (!*at)
        return false;
    *at = strchr(*at, ',');
    if (*at)
        *(*at)++ = '\0';
    return true;
}

static bool ttls(struct options *o, char *list)
{
    char *item;
    for (o->ttls_count = 0; next_of_list(&list, &item); o->ttls_count++) {
        if (o->ttls_count == TTLS_MAX)
            return false;
        uint64_t *ms = &o->ttls[o->ttls_count];
        if (strcmp(item, "never") == 0)
            *ms = SIM_IDLE_NEVER;
        else if (!seconds(item, ms))
            return false;
    }
    return true;
}

static bool sizes(struct sim_replay *r, char *list)
{
    char *item;
    for (r->sizes_count = 0; next_of_list(&list, &item); r->sizes_count++)
        if (r->sizes_count == SIM_REPLAY_SIZES_MAX || !bytes(item, &r->sizes[r->sizes_count]))
            return false;
    return true;
}

/* An option with a value. */
static bool option(struct options *o, const char *name, char *value)
{
    const struct {
        const char *name;
        uint64_t   *u64;
        uint32_t   *u32;
        uint64_t    max;
    } numbers[] = {
        { "--devices", NULL, &o->replay.devices_count, SGI__DEVICES_MAX },
        { "--load-ms", &o->replay.load_ms, NULL, 1000000000 },
        { "--disk-mib-s", &o->replay.disk_mib_s, NULL, 1 << 30 },
        { "--link-mib-s", &o->replay.link_mib_s, NULL, 1 << 30 },
        { "--leases", NULL, &o->replay.leases_max, UINT32_MAX },
        { "--instances", NULL, &o->replay.instances, SGI__DEVICES_MAX },
        { "--loads", NULL, &o->replay.loads_max, UINT32_MAX },
        { "--wants", NULL, &o->replay.wants_max, 1 << 16 },
        { "--models", NULL, &o->read.models, SIM_TRACE_MODELS_MAX },
        { "--seed", &o->read.seed, NULL, UINT64_MAX },
        { "--use-ms", &o->read.use_ms, NULL, 1000000000 },
        { "--requests", NULL, &o->read.requests, UINT32_MAX },
    };
    for (size_t n = 0; n < sizeof numbers / sizeof *numbers; n++) {
        uint64_t number;
        if (strcmp(name, numbers[n].name) != 0)
            continue;
        if (!whole(value, numbers[n].max, &number))
            return false;
        if (numbers[n].u64)
            *numbers[n].u64 = number;
        else
            *numbers[n].u32 = (uint32_t)number;
        return true;
    }
    return !strcmp(name, "--ttl")           ? ttls(o, value)
           : !strcmp(name, "--vram")        ? bytes(value, &o->replay.device_bytes)
           : !strcmp(name, "--dram")        ? bytes(value, &o->replay.dram_bytes)
           : !strcmp(name, "--bytes")       ? sizes(&o->replay, value)
           : !strcmp(name, "--rate")        ? real(value, 1e9, &o->replay.rate)
           : !strcmp(name, "--warm-up")     ? seconds(value, &o->replay.warm_up_ms)
           : !strcmp(name, "--tokens-in")   ? real(value, 1e9, &o->read.tokens_in_per_s)
           : !strcmp(name, "--tokens-out")  ? real(value, 1e9, &o->read.tokens_out_per_s)
           : !strcmp(name, "--seconds-max") ? real(value, 1e9, &o->seconds_max)
                                            : false;
}

/* The index of the first file; 0: not understood. */
static int parse(struct options *o, int argc, char **argv)
{
    int n = 1;
    for (; n < argc && strncmp(argv[n], "--", 2) == 0; n++) {
        if (strcmp(argv[n], "--rows") == 0) {
            o->rows = true;
        } else if (strcmp(argv[n], "--overlap") == 0) {
            o->replay.overlap = true;
        } else if (n + 1 == argc || !option(o, argv[n], argv[n + 1])) {
            fprintf(stderr, "sim_traces: %s %s\n", argv[n], n + 1 < argc ? argv[n + 1] : "");
            return 0;
        } else {
            n++;
        }
    }
    return o->rows == (n == argc) ? n : 0;
}

/* ---- one run, one line ---- */

static double in_s(uint64_t ns)
{
    return (double)ns / 1e9;
}

static json_t *or_null(bool there, double value)
{
    return there ? json_real(value) : json_null();
}

static json_t *settings_of(const struct sim_replay *replay, const struct sim_trace_options *read,
                           const struct sim_trace *trace)
{
    json_t *sizes_gb = json_array();
    for (uint32_t n = 0; n < replay->sizes_count; n++)
        json_array_append_new(sizes_gb, json_real((double)replay->sizes[n] / 1e9));
    if (replay->sizes_count == 0)
        json_array_append_new(sizes_gb, json_real(8));
    bool    shared = replay->disk_mib_s > 0;
    json_t *settings = json_pack("{s:o, s:i, s:o, s:f, s:o, s:o, s:I, s:I, s:I, s:I, s:f, s:f, s:b}", "ttl_s",
                                 or_null(replay->ttl_ms != SIM_IDLE_NEVER, (double)replay->ttl_ms / 1000), "devices",
                                 replay->devices_count ? (int)replay->devices_count : 1, "vram_gb",
                                 or_null(replay->device_bytes > 0, (double)replay->device_bytes / 1e9), "dram_gb",
                                 (double)replay->dram_bytes / 1e9, "image_gb", sizes_gb, "load_s",
                                 or_null(!shared, replay->load_ms ? (double)replay->load_ms / 1000 : 5), "disk_mib_s",
                                 (json_int_t)replay->disk_mib_s, "link_mib_s", (json_int_t)replay->link_mib_s,
                                 "leases_max", (json_int_t)replay->leases_max, "instances_max",
                                 (json_int_t)(replay->instances ? replay->instances : 1), "rate",
                                 replay->rate > 0 ? replay->rate : 1, "warm_up_s", (double)replay->warm_up_ms / 1000,
                                 "overlap", (int)replay->overlap);
    if (trace->drawn)
        json_object_set_new(settings, "drawn",
                            json_pack("{s:I, s:s, s:f}", "seed", (json_int_t)read->seed, "law", "zipf", "exponent",
                                      0.9));
    return settings;
}

static void write_line(const char *name, const struct sim_trace *trace, const struct options *o,
                       const struct sim_replay *replay, const struct sim_replay_result *r, double cpu_s)
{
    char    hash[20];
    json_t *waits = json_pack("{s:f, s:f, s:f, s:f}", "p50", in_s(r->wait_p50_ns), "p90", in_s(r->wait_p90_ns), "p99",
                              in_s(r->wait_p99_ns), "max", in_s(r->wait_max_ns));
    snprintf(hash, sizeof hash, "%016" PRIx64, r->hash);
    json_t *line = json_pack("{s:s, s:s, s:o, s:i, s:I, s:I, s:I, s:f, s:I, s:I, s:o, s:f, s:f, s:f, s:f, s:I, s:I, "
                             "s:f, s:I, s:s, s:f, s:I}",
                             "trace", name, "format", trace->format, "settings", settings_of(replay, &o->read, trace),
                             "models", (int)trace->models_count, "requests", (json_int_t)r->requests, "refused",
                             (json_int_t)r->refused, "cold", (json_int_t)r->cold, "cold_rate",
                             r->requests ? (double)r->cold / (double)r->requests : 0.0, "cold_from_dram",
                             (json_int_t)r->cold_from_dram, "joined", (json_int_t)r->joined, "wait_s", waits,
                             "idle_model_h", in_s(r->idle_ns) / 3600, "idle_gb_s", r->idle_gb_s, "idle_tail_model_h",
                             in_s(r->idle_tail_ns) / 3600, "idle_tail_gb_s", r->idle_tail_gb_s, "loads",
                             (json_int_t)r->loads, "evictions", (json_int_t)r->evictions, "virtual_s",
                             in_s(r->virtual_ns), "events", (json_int_t)r->events, "hash", hash, "cpu_s", cpu_s,
                             "events_per_cpu_s", (json_int_t)(cpu_s > 0 ? (double)r->events / cpu_s : 0));
    if (!line || json_dumpf(line, stdout, JSON_COMPACT | JSON_REAL_PRECISION(10)) != 0) {
        fputs("sim_traces: no memory for a line, or nowhere to write it\n", stderr);
        abort();
    }
    json_decref(line);
    putchar('\n');
    fflush(stdout);
}

/* Seconds of CPU. */
static double run(const char *name, const struct sim_trace *trace, const struct options *o, uint64_t ttl_ms,
                  struct sim_replay_result *result)
{
    struct sim_replay replay = o->replay;
    clock_t           start = clock();

    replay.ttl_ms = ttl_ms;
    sim_replay(trace, &replay, result);
    double cpu_s = (double)(clock() - start) / CLOCKS_PER_SEC;
    write_line(name, trace, o, &replay, result, cpu_s);
    return cpu_s;
}

static bool read_trace(const char *path, const struct sim_trace_options *options, struct sim_trace *out)
{
    char  error[512] = "";
    FILE *in = fopen(path, "r");

    if (!in) {
        fprintf(stderr, "sim_traces: %s: %s\n", path, strerror(errno));
        return false;
    }
    bool good = sim_trace_read(in, path, options, out, error, sizeof error);
    fclose(in);
    if (!good)
        fprintf(stderr, "sim_traces: %s\n", error);
    return good;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static int run_files(const struct options *o, int count, char **paths)
{
    static const uint64_t    otherwise[] = { 300000 };
    const uint64_t          *list = o->ttls_count ? o->ttls : otherwise;
    struct sim_replay_result result;
    struct sim_trace         trace;

    for (int n = 0; n < count; n++) {
        if (!read_trace(paths[n], &o->read, &trace))
            return 1;
        for (uint32_t t = 0; t < (o->ttls_count ? o->ttls_count : 1); t++)
            run(base_name(paths[n]), &trace, o, list[t], &result);
        sim_trace_fini(&trace);
    }
    return 0;
}

/* ---- the rows, and a run of everything else ---- */

static const struct row {
    uint64_t    ttl_s, cold;
    const char *idle_model_h;
} rows[] = {
    { 0, 21402, "0.0" },      { 60, 11133, "258.8" },   { 300, 5525, "743.4" },   { 600, 4023, "1125.3" },
    { 1200, 2854, "1669.3" }, { 3600, 1692, "3013.0" }, { 14400, 959, "6391.5" },
};

/* What must be true of a trace in any setting: no two runs of it differ. */
static const struct run_of {
    const char *file;
    uint64_t    ttl_s;
    uint32_t    models, requests; /* to draw from; the first, where all would take long */
    uint32_t    devices;
    uint64_t    vram_gb, dram_gb;
    double      rate;
    uint64_t    leases;
} others[] = {
    { "alibaba_gentd26_lora_request_trace.csv", 1200, 0, 5000, 2, 80, 160, 20, 1 },
    { "AzureLLMInferenceTrace_code.csv", 60, 100, 5000, 2, 40, 80, 1, 8 },
    { "AzureLLMInferenceTrace_conv.csv", 60, 100, 5000, 4, 80, 0, 1, 16 },
    { "mooncake_conversation_trace.jsonl", 60, 50, 5000, 4, 80, 200, 1, 16 },
    { "azure_functions_2021_first200.csv", 600, 0, 0, 1, 40, 0, 1, 0 },
    { "azure_functions_2019_example_invocations.csv", 60, 0, 5000, 1, 40, 0, 1, 0 },
};

static bool path_of(const char *file, char *out, size_t out_bytes)
{
    const char *folder = getenv("SGI_TRACES_DIR"), *source = getenv("SGI_SOURCE_DIR");
    int         n = folder ? snprintf(out, out_bytes, "%s/%s", folder, file)
                           : snprintf(out, out_bytes, "%s/../shared/traces/%s", source ? source : ".", file);
    return n > 0 && (size_t)n < out_bytes;
}

static bool run_rows(const struct options *given)
{
    struct options           o = *given;
    struct sim_replay_result result;
    struct sim_trace         trace;
    char                     path[4096], idle[32];
    bool                     good = true;

    o.replay.overlap = true;
    if (!path_of("alibaba_gentd26_lora_request_trace.csv", path, sizeof path) || !read_trace(path, &o.read, &trace))
        return false;
    for (size_t n = 0; n < sizeof rows / sizeof *rows; n++) {
        double cpu_s = run(base_name(path), &trace, &o, rows[n].ttl_s * 1000, &result);
        snprintf(idle, sizeof idle, "%.1f", in_s(result.idle_ns) / 3600);
        if (result.requests != 26823 || result.refused != 0 || result.cold != rows[n].cold ||
            strcmp(idle, rows[n].idle_model_h) != 0) {
            fprintf(stderr,
                    "sim_traces: idle time %" PRIu64 " s: %" PRIu64 " cold starts and %s idle model-hours, not %" PRIu64
                    " and %s\n",
                    rows[n].ttl_s, result.cold, idle, rows[n].cold, rows[n].idle_model_h);
            good = false;
        }
        if (o.seconds_max > 0 && cpu_s > o.seconds_max) {
            fprintf(stderr, "sim_traces: idle time %" PRIu64 " s: took %.2f s of CPU, not at most %.2f\n",
                    rows[n].ttl_s, cpu_s, o.seconds_max);
            good = false;
        }
    }
    sim_trace_fini(&trace);
    return good;
}

static bool run_other(const struct run_of *of)
{
    struct options o = {
        .read = { .seed = 1, .models = of->models, .requests = of->requests },
        .replay = { .devices_count = of->devices,
                    .device_bytes = of->vram_gb * 1000000000,
                    .dram_bytes = of->dram_gb * 1000000000,
                    .sizes = { 2000000000, 4000000000, 8000000000, 16000000000 },
                    .sizes_count = 4,
                    .disk_mib_s = 2000,
                    .link_mib_s = 20000,
                    .leases_max = (uint32_t)of->leases,
                    .rate = of->rate },
    };
    struct sim_replay_result result, again;
    struct sim_trace         trace;
    char                     path[4096];

    if (!path_of(of->file, path, sizeof path) || !read_trace(path, &o.read, &trace))
        return false;
    run(of->file, &trace, &o, of->ttl_s * 1000, &result);
    struct sim_replay replay = o.replay;
    replay.ttl_ms = of->ttl_s * 1000;
    sim_replay(&trace, &replay, &again);
    sim_trace_fini(&trace);
    /* NOLINTNEXTLINE(bugprone-suspicious-memory-comparison,cert-*): the same run is the same in every bit */
    if (memcmp(&result, &again, sizeof result) == 0)
        return true;
    fprintf(stderr, "sim_traces: two runs of %s differ\n", of->file);
    return false;
}

static int run_all(const struct options *o)
{
    char path[4096];

    if (!path_of("", path, sizeof path) || access(path, R_OK) != 0) {
        printf("skipped: no traces at %s (SGI_TRACES_DIR names another folder)\n", path);
        return SKIPPED;
    }
    bool good = run_rows(o);
    for (size_t n = 0; n < sizeof others / sizeof *others; n++)
        good = run_other(&others[n]) && good;
    return good ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct options o = { .rows = false };
    int            first = parse(&o, argc, argv);

    if (first == 0) {
        fputs(usage, stderr);
        return 2;
    }
    return o.rows ? run_all(&o) : run_files(&o, argc - first, argv + first);
}
