/* SPDX-License-Identifier: Apache-2.0 */
/* A language model that holds nothing while nobody asks it: registered, asked, gone back to zero, asked again.
 *
 * The program is a host of libsgi like any other: it sees the public headers and the engine in examples/llama. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>
#include <sgi/sgi.h>

#include "../llama/llama_engine.h"
#include "ask.h"
#include "show.h"

static const char usage_text[] =
    "usage: generate --model FILE [options]\n"
    "\n"
    "  --model FILE        a GGUF model\n"
    "  --prompt TEXT       what to ask it (default: \"What is the capital of France?\")\n"
    "  --max-tokens N      the answer's length at most: 1 to 2147483647 (64)\n"
    "  --n-ctx N           tokens of prompt and answer together at most: 16 to 16777216 (512)\n"
    "  --temperature T     0 to 100; 0 is the likeliest answer, the same every time (0)\n"
    "  --raw               the prompt as it is, without the model's chat template\n"
    "  --threads N         that compute: 1 to the number of CPUs (one for each CPU but one)\n"
    "  --idle-ms N         how long the unused model stays loaded: 1 to 3600000 (500)\n"
    "  --json              one JSON object instead of text\n"
    "  --trace FILE        write the cold starts as a Chrome trace, for Perfetto\n";

enum { THREADS_MAX = 1024 };

struct options {
    const char                 *model, *prompt, *trace;
    FILE                       *trace_file;
    uint32_t                    max_tokens, idle_ms;
    double                      temperature;
    bool                        json;
    struct llama_engine_options engine;
};

/* Everything that is open; zeroed is nothing. */
struct session {
    const struct options *options;
    sgi_runtime          *rt;
    sgi_model             model;
    char                 *request;
    struct report         report;
};

/* ---------------------------------------------------------------------------------------------------------- options */

__attribute__((format(printf, 1, 2), noreturn)) static void usage_error(const char *format, ...)
{
    va_list args;

    fputs("generate: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(2);
}

/* llama.cpp's threads spin for each other: with more of them than CPUs a token takes seconds. */
static uint32_t cpus_usable(void)
{
    cpu_set_t usable;
    long      online = sysconf(_SC_NPROCESSORS_ONLN);

    if (sched_getaffinity(0, sizeof usable, &usable) == 0)
        return (uint32_t)CPU_COUNT(&usable);
    return online > 0 && online <= THREADS_MAX ? (uint32_t)online : THREADS_MAX;
}

/* Opened before the long way to it, and emptied by the trace only. */
static FILE *open_trace(const char *path)
{
    int   fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;

    if (f == NULL)
        usage_error("--trace: cannot write '%s': %s", path, strerror(errno));
    return f;
}

static uint32_t take_number(const char *option, const char *text, uint32_t min, uint32_t max)
{
    char *end;
    long  value;

    errno = 0;
    value = strtol(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || value < (long)min || value > (long)max)
        usage_error("%s takes a number from %u to %u, not '%s'", option, min, max, text);
    return (uint32_t)value;
}

static void take_options(struct options *o, int argc, char **argv)
{
    enum { MODEL = 256, PROMPT, MAX_TOKENS, N_CTX, TEMPERATURE, RAW, THREADS, IDLE_MS, JSON, TRACE, HELP };
    static const struct option known[] = {
        { "model", required_argument, NULL, MODEL },
        { "prompt", required_argument, NULL, PROMPT },
        { "max-tokens", required_argument, NULL, MAX_TOKENS },
        { "n-ctx", required_argument, NULL, N_CTX },
        { "temperature", required_argument, NULL, TEMPERATURE },
        { "raw", no_argument, NULL, RAW },
        { "threads", required_argument, NULL, THREADS },
        { "idle-ms", required_argument, NULL, IDLE_MS },
        { "json", no_argument, NULL, JSON },
        { "trace", required_argument, NULL, TRACE },
        { "help", no_argument, NULL, HELP },
        { NULL, 0, NULL, 0 },
    };
    uint32_t cpus = cpus_usable();
    char    *end;
    int      c;

    opterr = 0;
    while ((c = getopt_long(argc, argv, ":", known, NULL)) != -1) {
        switch (c) {
        case MODEL:
            o->model = optarg;
            break;
        case PROMPT:
            o->prompt = optarg;
            break;
        case MAX_TOKENS:
            o->max_tokens = take_number("--max-tokens", optarg, 1, INT_MAX);
            break;
        case N_CTX:
            o->engine.n_ctx = take_number("--n-ctx", optarg, 16, 1u << 24);
            break;
        case TEMPERATURE:
            o->temperature = strtod(optarg, &end);
            if (end == optarg || *end != '\0' || !(o->temperature >= 0 && o->temperature <= 100))
                usage_error("--temperature takes a number from 0 to 100, not '%s'", optarg);
            break;
        case RAW:
            o->engine.raw = 1;
            break;
        case THREADS:
            o->engine.threads = take_number("--threads", optarg, 1, THREADS_MAX);
            if (o->engine.threads > cpus)
                usage_error("--threads takes at most the number of CPUs, which is %u, not '%s'", cpus, optarg);
            break;
        case IDLE_MS:
            o->idle_ms = take_number("--idle-ms", optarg, 1, 3600000);
            break;
        case JSON:
            o->json = true;
            break;
        case TRACE:
            o->trace = optarg;
            break;
        case HELP:
            fputs(usage_text, stdout);
            exit(fflush(stdout) == 0 ? 0 : 1);
        case ':':
            usage_error("%s needs a value", argv[optind - 1]);
        default:
            usage_error("there is no option '%s' (--help lists them)", argv[optind - 1]);
        }
    }
    if (optind < argc)
        usage_error("'%s' is not an option (--help lists them)", argv[optind]);
    if (o->model == NULL)
        usage_error("--model is missing");
    if (o->model[0] == '\0')
        usage_error("--model is empty");
    json_t *prompt = json_string(o->prompt);
    if (prompt == NULL)
        usage_error("the prompt is not UTF-8");
    json_decref(prompt);
    if (o->trace != NULL)
        o->trace_file = open_trace(o->trace);
}

/* ---------------------------------------------------------------------------------------------- what is held, waits */

static uint64_t process_number(const char *key)
{
    char          line[256];
    unsigned long number = 0;
    FILE         *f = fopen("/proc/self/status", "re");

    if (f == NULL)
        return 0;
    while (fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, key, strlen(key)) == 0)
            number = strtoul(line + strlen(key), NULL, 10);
    fclose(f);
    return number;
}

static struct held held_now(sgi_runtime *rt)
{
    sgi_runtime_info runtime = { .struct_size = sizeof runtime };
    struct held      held = { 0 };
    uint32_t         threads;

    sgi_runtime_query(rt, &runtime);
    held.dram_bytes = runtime.dram_bytes;
    held.prepared_bytes = runtime.prepared_bytes;
    for (uint32_t i = 0; i < runtime.devices_count; i++) {
        sgi_device_info device = { .struct_size = sizeof device };

        sgi_device_query(rt, i, &device);
        held.device_bytes += device.bytes_used;
        held.engine_bytes += device.bytes_engine;
        held.instances += device.instances_count;
        held.contexts += device.context == SGI_CONTEXT_OURS || device.context == SGI_CONTEXT_SHARED;
    }
    threads = (uint32_t)process_number("Threads:");
    held.working_threads = runtime.threads_count - 1;
    held.engine_threads = threads > 1 + runtime.threads_count ? threads - 1 - runtime.threads_count : 0;
    held.rss_bytes = process_number("VmRSS:") * 1024;
    return held;
}

static bool is_zero(const struct held *held)
{
    return held->device_bytes == 0 && held->instances == 0 && held->contexts == 0 && held->working_threads == 0 &&
           held->engine_threads == 0;
}

/* Looking does not touch the idle timer, so looking often is fine. */
static sgi_status wait_for_zero(struct session *s, sgi_error *err)
{
    uint64_t start_ns = now_ns(), limit_ns = (s->options->idle_ms + 10000) * UINT64_C(1000000);

    for (;;) {
        s->report.idle = held_now(s->rt);
        s->report.idle_ns = now_ns() - start_ns;
        if (is_zero(&s->report.idle))
            return SGI_OK;
        if (s->report.idle_ns > limit_ns)
            break;
        nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    }
    show_held(&s->report.idle);
    err->code = SGI_E_TIMEOUT;
    snprintf(err->message, sizeof err->message, "the model is not back to zero %u ms after its idle time was over",
             10000);
    return err->code;
}

/* Drops the model's files from the page cache, so that what follows comes from the disk. */
static void make_cold(struct session *s)
{
    for (uint32_t i = 0; i < s->report.model.parts_count; i++) {
        sgi_model_part part = { .struct_size = sizeof part };
        int            fd;

        if (sgi_model_part_at(s->rt, s->model, i, &part) != SGI_OK)
            continue;
        fd = open(part.path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            continue;  /* the load will say so */
        fdatasync(fd); /* pages that are not on the disk yet would stay */
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        close(fd);
    }
}

/* ------------------------------------------------------------------------------------------------------------ story */

static char *make_request(const struct options *o)
{
    json_t *root = json_object();
    char   *text;

    json_object_set_new(root, "prompt", json_string(o->prompt));
    json_object_set_new(root, "max_tokens", json_integer(o->max_tokens));
    json_object_set_new(root, "temperature", json_real(o->temperature));
    if (o->engine.raw)
        json_object_set_new(root, "template", json_false());
    text = json_dumps(root, 0);
    json_decref(root);
    return text;
}

static sgi_status set_up(struct session *s, sgi_error *err)
{
    const struct options *o = s->options;
    const char           *name = strrchr(o->model, '/');
    sgi_runtime_config    runtime;
    sgi_model_config      config;
    sgi_engine            engine;
    sgi_status            st;

    sgi_runtime_config_init(&runtime, sizeof runtime);
    runtime.idle_timeout_ms = o->idle_ms;
    runtime.context_linger_ms = SGI_IDLE_NOW;
    st = sgi_runtime_open(&runtime, &s->rt, err);
    if (st != SGI_OK)
        return st;

    llama_engine_init(&engine, &o->engine);
    sgi_model_config_init(&config, sizeof config);
    config.name = name != NULL && name[1] != '\0' ? name + 1 : o->model;
    config.path = o->model;
    config.engine = &engine;
    config.flags = SGI_IMAGE_FD;
    st = sgi_model_register(s->rt, &config, &s->model, err);
    if (st != SGI_OK)
        return st;
    s->report.model.struct_size = sizeof s->report.model;
    return sgi_model_describe(s->rt, s->model, &s->report.model);
}

static sgi_status ask_once(struct session *s, int run, sgi_error *err)
{
    struct asker asker = {
        .rt = s->rt, .model = s->model, .request = s->request, .on_loading = show_loading, .on_piece = show_piece
    };
    sgi_status st = ask(&asker, &s->report.runs[run], err);

    show_answer_end();
    return st;
}

static sgi_status tell(struct session *s, sgi_error *err)
{
    const struct options *o = s->options;
    char                  text[160];
    sgi_status            st = set_up(s, err);

    if (st != SGI_OK)
        return st;
    s->report.registered = held_now(s->rt);
    show_model(&s->report);
    show_heading("registered", "the header was read, nothing else");
    show_held(&s->report.registered);

    make_cold(s);
    snprintf(text, sizeof text, "dropped from the page cache, then asked: \"%.80s\"", o->prompt);
    show_heading("cold", text);
    st = ask_once(s, RUN_COLD, err);
    if (st != SGI_OK)
        return st;
    s->report.ready = held_now(s->rt);
    show_held(&s->report.ready);
    show_timeline(&s->report.runs[RUN_COLD]);

    st = wait_for_zero(s, err);
    if (st != SGI_OK)
        return st;
    snprintf(text, sizeof text, "%.0f ms after the answer (the timer was set to %u ms)",
             (double)s->report.idle_ns / 1e6, o->idle_ms);
    show_heading("idle", text);
    show_held(&s->report.idle);

    show_heading("again", "the same question, from DRAM");
    st = ask_once(s, RUN_DRAM, err);
    if (st != SGI_OK)
        return st;
    show_heading("warm", "and at once again");
    st = ask_once(s, RUN_WARM, err);
    if (st != SGI_OK)
        return st;
    show_table(&s->report);
    return SGI_OK;
}

static int write_to_file(void *user, const char *text, size_t bytes)
{
    return fwrite(text, 1, bytes, user) != bytes;
}

static sgi_status write_trace(struct session *s, sgi_error *err)
{
    const char *path = s->options->trace;
    FILE       *f = s->options->trace_file;
    sgi_status  st;

    if (ftruncate(fileno(f), 0) != 0 && errno != EINVAL) /* a pipe or a terminal, which has no length */
        st = SGI_E_IO;
    else
        st = sgi_trace_write(s->rt, write_to_file, f);
    if (fflush(f) == 0 && st == SGI_OK)
        return SGI_OK;
    err->code = SGI_E_IO;
    snprintf(err->message, sizeof err->message, "cannot write the trace to %.150s: %s", path, strerror(errno));
    return SGI_E_IO;
}

/* What the engine calls n_ctx is an option here. */
static void complain(const sgi_error *err, sgi_status st)
{
    const char *text = err->message[0] != '\0' ? err->message : sgi_status_text(st);
    const char *field = strstr(text, "n_ctx");

    fflush(stdout);
    if (field != NULL)
        fprintf(stderr, "generate: %.*s--n-ctx%s (%s)\n", (int)(field - text), text, field + strlen("n_ctx"),
                sgi_status_name(st));
    else
        fprintf(stderr, "generate: %s (%s)\n", text, sgi_status_name(st));
}

static int end_output(void)
{
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout))
        return 0;
    fprintf(stderr, "generate: standard output could not be written%s%s\n", errno != 0 ? ": " : "",
            errno != 0 ? strerror(errno) : ""); /* of an earlier write that failed only the mark is left */
    return 1;
}

int main(int argc, char **argv)
{
    struct options o = {
        .prompt = "What is the capital of France?", .max_tokens = 64, .idle_ms = 500, .engine.n_ctx = 512
    };
    struct session s = { .options = &o };
    sgi_error      err = { .struct_size = sizeof err };
    sgi_status     st, closed = SGI_OK;

    take_options(&o, argc, argv);
    show_init(o.json);
    s.report.path = o.model;
    s.report.prompt = o.prompt;
    s.report.idle_ms = o.idle_ms;
    s.request = make_request(&o);
    if (s.request == NULL)
        usage_error("the prompt is not UTF-8");

    st = tell(&s, &err);
    if (st == SGI_OK && o.trace != NULL)
        st = write_trace(&s, &err);
    if (st == SGI_OK && o.json && show_json(&s.report) != 0 && !ferror(stdout)) { /* stdout: below */
        err.message[0] = '\0';
        st = SGI_E_NO_MEMORY;
    }
    if (st != SGI_OK)
        complain(&err, st);

    if (s.rt != NULL) {
        err.message[0] = '\0';
        closed = sgi_runtime_close(s.rt, 5000, &err);
        if (closed != SGI_OK && st == SGI_OK)
            complain(&err, closed);
    }
    for (int i = 0; i < RUN_COUNT; i++)
        free(s.report.runs[i].answer);
    free(s.request);
    if (o.trace_file != NULL)
        fclose(o.trace_file); /* was flushed */
    return end_output() == 0 && st == SGI_OK && closed == SGI_OK ? 0 : 1;
}
