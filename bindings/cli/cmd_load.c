/* SPDX-License-Identifier: Apache-2.0 */
/* `sgi load`: one model, brought up and given back as often as asked, through the interface every host has. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "command.h"
#include "load.h"
#include "model_files.h"
#include "progress.h"
#include "warnings.h"

/* Giving a model back is milliseconds; what takes this long is not going to end. */
enum { GIVE_BACK_MS = 60000, CLOSE_MS = 10000 };

/* One for each load, and they are read after each. */
enum { EVENTS_MAX = 16 };

struct load {
    const struct load_options *options;

    struct names   order; /* --order */
    struct names   files; /* --cold */
    sgi_runtime   *rt;
    sgi_events     events; /* what of an image was given back */
    sgi_model      model;
    sgi_model_info info;
    char           device[32];
    char           name[256];
    uint64_t      *digests; /* --digest: by tensor index */
    double        *load_ms; /* by repetition, for the summary */
};

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static double process_cpu_ms(void)
{
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1e3 +
           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) * 1e-3;
}

/* The model's name in the runtime is what its path ends with, as far as it may be a name. */
static void take_name(struct load *l)
{
    const char *path = l->options->path, *end = path + strlen(path);
    size_t      used = 0;
    while (end > path + 1 && end[-1] == '/')
        end--;
    const char *at = end;
    while (at > path && at[-1] != '/')
        at--;
    while (at < end && used < sizeof l->name - 5) {
        size_t step = utf8_step(at, true);
        memcpy(l->name + used, step ? at : "?", step ? step : 1);
        used += step ? step : 1;
        at += step ? step : 1;
    }
    if (used == 0) /* "/" */
        l->name[used++] = '/';
    l->name[used] = '\0';
}

/* The library says which model it was about; whoever called for one file knows that: "model 'NAME': cause", "model
 * 'NAME' needs ...". Of a long name it says the beginning. */
static const char *without_model(const struct load *l, const char *cause)
{
    size_t length = strlen(l->name);
    if (strncmp(cause, "model '", 7) != 0)
        return cause;
    const char *end = strncmp(cause + 7, l->name, length) == 0 ? cause + 7 + length : strchr(cause + 7, '\'');
    if (end && strncmp(end, "': ", 3) == 0)
        return end + 3;
    return end && strncmp(end, "' ", 2) == 0 ? end + 2 : cause;
}

static int failed(const struct load *l, sgi_status status, const sgi_error *err)
{
    return failure(l->options->path, without_model(l, err && err->message[0] ? err->message : sgi_status_text(status)));
}

/* ----------------------------------------------------------- open and close */

/* Which of the names it was that the model does not have: the order's fault, not the model's. */
static int order_refused(struct load *l, sgi_model_config *config, const sgi_error *refused)
{
    sgi_tensor tensor = { .struct_size = sizeof tensor };
    char       message[160];

    config->order_count = 0;
    if (sgi_model_register(l->rt, config, &l->model, NULL) != SGI_OK)
        return failed(l, refused->code, refused);
    for (uint32_t n = 0; n < l->order.count; n++)
        if (sgi_model_tensor_find(l->rt, l->model, l->order.list[n], &tensor) != SGI_OK) {
            snprintf(message, sizeof message, "line %u names a tensor that the model does not have: '%.90s'",
                     l->order.lines[n], l->order.list[n]);
            return failure(l->options->order_path, message);
        }
    return failed(l, refused->code, refused);
}

static int register_model(struct load *l)
{
    sgi_error        err = { .struct_size = sizeof err };
    sgi_model_config config;
    sgi_model_config_init(&config, sizeof config);
    config.name = l->name;
    config.path = l->options->path;
    config.idle_timeout_ms = SGI_IDLE_NEVER; /* it leaves when the repetition is over, not by the clock */
    config.order = (const char *const *)l->order.list;
    config.order_count = l->order.count;
    config.folders = l->options->folders.list;
    config.folders_count = l->options->folders.count;
    config.checks_path = l->options->checks_path;
    sgi_status st = sgi_model_register(l->rt, &config, &l->model, &err);
    if (st == SGI_E_INVALID && l->order.count > 0)
        return order_refused(l, &config, &err);
    if (st != SGI_OK)
        return failed(l, st, &err);

    l->info = (sgi_model_info){ .struct_size = sizeof l->info };
    st = sgi_model_describe(l->rt, l->model, &l->info);
    return st == SGI_OK ? EXIT_GOOD : failed(l, st, NULL);
}

static int close_runtime(struct load *l)
{
    sgi_error  err = { .struct_size = sizeof err };
    sgi_status st = l->rt ? sgi_runtime_close(l->rt, CLOSE_MS, &err) : SGI_OK;
    l->rt = NULL;
    return st == SGI_OK ? EXIT_GOOD : failed(l, st, &err);
}

/* What is wrong with the device is not the file's fault. The library calls it "cuda:0", however it was asked for. */
static int open_failed(const struct load *l, sgi_status status, const sgi_error *err)
{
    const char *device = l->options->device ? l->options->device : "host";
    size_t      length = strlen(device);
    const char *cause = err->message;
    char        option[64];

    snprintf(option, sizeof option, "--device %s", device);
    if (strncmp(cause, device, length) != 0)
        return failed(l, status, err);
    cause += length;
    if (!strchr(device, ':') && strncmp(cause, ":0", 2) == 0)
        cause += 2;
    return strncmp(cause, ": ", 2) == 0 ? failure(option, cause + 2) : failed(l, status, err);
}

static int open_runtime(struct load *l, uint64_t spare_bytes)
{
    sgi_error          err = { .struct_size = sizeof err };
    sgi_device_config  device;
    sgi_runtime_config config;
    sgi_device_config_init(&device, sizeof device);
    sgi_runtime_config_init(&config, sizeof config);
    device.name = l->options->device;
    config.io_engine = l->options->io_engine;
    config.devices = l->options->device ? &device : NULL;
    config.devices_count = l->options->device ? 1 : 0;
    /* What is loaded once goes straight to its device. Else the memory that is recycled counts in this budget; of what
     * goes to a GPU there is a copy in it, too, while it is there. */
    config.dram_bytes_max = spare_bytes ? spare_bytes : SGI_NONE;
    config.spare_bytes_max = spare_bytes;
    config.read_block_bytes = l->options->block_bytes;
    config.read_depth = l->options->depth;
    config.read_bytes_per_s_max = l->options->rate;
    sgi_status st = sgi_runtime_open(&config, &l->rt, &err);
    if (st != SGI_OK)
        return open_failed(l, st, &err);

    sgi_device_info info = { .struct_size = sizeof info };
    st = sgi_device_query(l->rt, 0, &info);
    memcpy(l->device, info.name, sizeof l->device);
    if (st == SGI_OK)
        st = sgi_events_open(l->rt, EVENTS_MAX, UINT64_C(1) << SGI_EVENT_RELEASED, &l->events, &err);
    return st == SGI_OK ? register_model(l) : failed(l, st, &err);
}

/* How much memory is to be recycled is known when the model is, and has to be said before. */
static int reopen_with_spare(struct load *l)
{
    enum { ROUNDING = 4 << 20 }; /* of each part to whole huge pages, and to the offset it has in the file */
    uint64_t spare_bytes = l->info.image_bytes + (uint64_t)l->info.parts_count * ROUNDING;
    int      code = close_runtime(l);
    return code == EXIT_GOOD ? open_runtime(l, spare_bytes) : code;
}

/* Everything that is the same in all repetitions. */
static int prepare(struct load *l)
{
    const struct load_options *o = l->options;
    int                        code = o->order_path ? order_read(o->order_path, &l->order) : EXIT_GOOD;
    if (code == EXIT_GOOD)
        code = open_runtime(l, 0);
    if (code == EXIT_GOOD && o->repeat > 1)
        code = reopen_with_spare(l);
    if (code == EXIT_GOOD && o->cold)
        code = model_files(o->path, l->rt, l->model, &l->info, &l->files);
    if (code != EXIT_GOOD)
        return code;

    l->load_ms = calloc(o->repeat, sizeof *l->load_ms);
    if (o->digest)
        l->digests = calloc(l->info.tensors_count + 1, sizeof *l->digests);
    return l->load_ms && (l->digests || !o->digest) ? EXIT_GOOD : failure(o->path, "out of memory");
}

/* -------------------------------------------------------------- repetitions */

/* One in a hundred bytes may stay: a header that somebody reads at this moment does not make a load hot. */
static int drop_cached(struct load *l, struct load_run *run)
{
    run->cached.known = true;
    for (uint32_t i = 0; i < l->files.count; i++)
        if (page_cache_drop(l->files.list[i], &run->cached) != EXIT_GOOD)
            return EXIT_FAILED;
    run->cold = run->cached.bytes <= run->cached.file_bytes / 100;
    return EXIT_GOOD;
}

static void draw(const struct load *l, struct progress *bar)
{
    sgi_model_state state = { .struct_size = sizeof state };
    if (sgi_model_query(l->rt, l->model, &state) == SGI_OK && state.state == SGI_MODEL_LOADING)
        progress_draw(bar, state.loaded_bytes, state.loading_bytes);
}

/* Not sgi_model_acquire_wait(): while it waits nobody draws. */
static int acquire(struct load *l, sgi_lease *lease_out)
{
    struct pollfd   ready = { .events = POLLIN };
    struct progress bar;
    sgi_completion  end = { .struct_size = sizeof end, .error = { .struct_size = sizeof end.error } };
    sgi_ticket      ticket;
    sgi_error       err = SGI_ERROR_INIT;
    sgi_status      st = sgi_completion_fd(l->rt, &ready.fd);
    if (st == SGI_OK)
        st = sgi_model_acquire(l->rt, l->model, NULL, &ticket, NULL, NULL, &err);
    if (st != SGI_OK)
        return failed(l, st, &err);

    progress_begin(&bar);
    while ((st = sgi_completion_next(l->rt, &end)) == SGI_E_WOULD_BLOCK)
        if (poll(&ready, 1, bar.terminal ? PROGRESS_INTERVAL_MS : -1) == 0)
            draw(l, &bar);
    progress_clear(&bar);
    if (st != SGI_OK)
        return failed(l, st, NULL);
    if (end.status != SGI_OK)
        return failed(l, end.status, &end.error);
    *lease_out = end.lease;
    return EXIT_GOOD;
}

static int look(struct load *l, sgi_lease lease, struct load_run *run)
{
    sgi_error err = { .struct_size = sizeof err };
    run->timing = (sgi_timing){ .struct_size = sizeof run->timing };
    sgi_status      st = sgi_lease_timing(l->rt, lease, &run->timing);
    sgi_model_state state = { .struct_size = sizeof state };
    if (st == SGI_OK)
        st = sgi_model_query(l->rt, l->model, &state);
    if (st != SGI_OK)
        return failed(l, st, NULL);
    run->kept_bytes = state.dram_bytes;
    if (!l->digests)
        return EXIT_GOOD;

    double begin_ms = now_ms();
    for (uint64_t i = 0; i < l->info.tensors_count && st == SGI_OK; i++)
        st = sgi_lease_tensor_digest(l->rt, lease, i, &l->digests[i], &err);
    run->digest_ms = now_ms() - begin_ms;
    run->digests = l->digests;
    return st == SGI_OK ? EXIT_GOOD : failed(l, st, &err);
}

/* What was left behind is known when its memory has gone. */
static int look_back(struct load *l, struct load_run *run)
{
    sgi_event released = { .struct_size = sizeof released };
    char      message[128];
    warnings_say();
    while (sgi_events_read(l->rt, l->events, &released) == SGI_OK)
        run->residue_bytes += released.residue_bytes;
    if (run->residue_bytes == 0)
        return EXIT_GOOD;
    snprintf(message, sizeof message, "%s could not be given back to %s", size_text(run->residue_bytes).text,
             l->device);
    return failure(l->options->path, message);
}

/* The next load must find the model on disk only. No completion tells when an eviction is done: the state does. */
static int give_back(struct load *l, struct load_run *run)
{
    sgi_model_state state = { .struct_size = sizeof state };
    sgi_status      st = sgi_model_evict(l->rt, l->model, SGI_TIER_DISK);
    double          end_ms = now_ms() + GIVE_BACK_MS;
    while (st == SGI_OK) {
        st = sgi_model_query(l->rt, l->model, &state);
        if (st != SGI_OK || (state.device_bytes == 0 && state.dram_bytes == 0))
            break;
        if (now_ms() > end_ms)
            return failure(l->options->path, "its memory was not given back within a minute");
        poll(NULL, 0, 1);
    }
    return st == SGI_OK ? look_back(l, run) : failed(l, st, NULL);
}

static int repetition(struct load *l, struct load_run *run)
{
    sgi_lease lease = 0;
    if (l->options->cold && drop_cached(l, run) != EXIT_GOOD)
        return EXIT_FAILED;
    double cpu_ms = process_cpu_ms();
    if (acquire(l, &lease) != EXIT_GOOD)
        return EXIT_FAILED;
    run->process_cpu_ms = process_cpu_ms() - cpu_ms;

    int        code = look(l, lease, run);
    sgi_status st = sgi_lease_release(l->rt, lease);
    if (code == EXIT_GOOD && st != SGI_OK)
        code = failed(l, st, NULL);
    return code;
}

static void report(struct output *out, const struct load *l, const struct load_run *run)
{
    if (l->options->json) {
        report_json(out, l->options, l->rt, l->model, &l->info, run);
    } else {
        if (run->number == 1) /* not before: a load that fails puts out nothing but its line on stderr */
            report_model(out, l->options, &l->info, l->device);
        report_run(out, run);
        if (run->digests)
            report_digests(out, l->rt, l->model, &l->info, run);
    }
    output_flush(out); /* a reader at the other end of a pipe follows along */
}

static int repeat(struct output *out, struct load *l)
{
    uint32_t count = l->options->repeat;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct load_run run = { .number = i + 1, .device = l->device };
        int             code = repetition(l, &run);
        if (code != EXIT_GOOD)
            return code;
        code = give_back(l, &run);
        report(out, l, &run); /* it was loaded, whatever became of it */
        if (code != EXIT_GOOD || out->os_errno)
            return code; /* of output that nobody reads main knows why */
        l->load_ms[i] = (double)run.timing.load_ns * 1e-6;
        bytes = run.timing.bytes;
    }
    if (count > 1 && !l->options->json)
        report_summary(out, l->load_ms, count, bytes);
    return EXIT_GOOD;
}

static int run(struct output *out, int argc, char **argv)
{
    struct load_options options;
    struct load         l = { .options = &options };
    int                 code = load_options_parse(out, argc, argv, &options);
    if (code != EXIT_GOOD)
        return code < 0 ? EXIT_GOOD : code;

    warn_of_shard(options.path, 1);
    take_name(&l);
    code = prepare(&l);
    if (code == EXIT_GOOD)
        code = repeat(out, &l);
    if (code == EXIT_GOOD)
        code = close_runtime(&l);
    else if (l.rt)
        sgi_runtime_close(l.rt, CLOSE_MS, NULL); /* the one line is about what went wrong before */
    names_free(&l.order);
    names_free(&l.files);
    free(l.digests);
    free(l.load_ms);
    return code;
}

const struct command command_load = {
    .name = "load",
    .summary = "bring a model into memory and say what the time went to: sgi load PATH [options]",
    .help = load_help,
    .run = run,
};
