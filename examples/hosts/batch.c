/* SPDX-License-Identifier: Apache-2.0 */
/* A batch job over twenty models, of which the device holds three at a time and host memory five more. Built as
 * host_batch; --help says how to use it.
 *
 * A job is the sum of a tensor, and its result is known. The jobs run twice: as they come, and grouped by model, with
 * the next model loading while the present one works. One model is hot: every fourth job is for it, so it is pinned.
 * A second thread watches all the time that both budgets hold; at the end all must be given back.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <sgi/sgi.h>

#include "make_model.h"
#include "program.h"

enum {
    MODELS = 20,
    MODEL_BYTES = 4 << 20,
    ON_DEVICE = 3,
    IN_DRAM = 5,
    HOT = 7,
    JOBS_DEFAULT = 300,
    JOBS_MAX = 1000000
};

static const program host = {
    .name = "host_batch",
    .usage =
        "usage: host_batch [JOBS]\n"
        "\n"
        "A batch over twenty small models, of which the device holds three at a time and host memory five more.\n"
        "Runs JOBS jobs (1 to 1000000; 300) twice: as they come, and grouped by model with the next model loading\n"
        "meanwhile. Every result is checked, and that both budgets hold.\n",
};

typedef struct job {
    unsigned model, tensor;
} job;

typedef struct batch {
    sgi_runtime *rt;
    model_folder files;
    sgi_model    models[MODELS];
    job         *jobs;
    unsigned     jobs_count;
    /* where the jobs of one run found their models, by tier */
    unsigned found[3];
    /* from the thread that watches */
    pthread_t  watcher;
    atomic_int watching;
    atomic_int over_budget;
    uint64_t   device_most, dram_most;
    unsigned   prefetched;
} batch;

static int fail(const char *what, sgi_status st, const sgi_error *err)
{
    return program_fail(&host, "%s: %s", what, err && err->message[0] ? err->message : sgi_status_text(st));
}

static double now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* ------------------------------------------------------------------- set up */

/* Budgets are given before a model is registered, so what an image takes beside the file is not known yet: half a
 * model more leaves room for that, and none for another model. */
static sgi_status set_up(batch *b, sgi_error *err)
{
    sgi_device_config  device;
    sgi_runtime_config config;
    sgi_model_config   model;
    sgi_status         st;

    sgi_device_config_init(&device, sizeof device);
    device.name = "host";
    device.bytes_max = (uint64_t)MODEL_BYTES * (2 * ON_DEVICE + 1) / 2;
    sgi_runtime_config_init(&config, sizeof config);
    config.devices = &device;
    config.devices_count = 1;
    config.dram_bytes_max = (uint64_t)MODEL_BYTES * (2 * IN_DRAM + 1) / 2;
    config.idle_timeout_ms = SGI_IDLE_NEVER; /* a batch has no idle times: a model goes when another needs its room */
    st = sgi_runtime_open(&config, &b->rt, err);

    for (unsigned i = 0; i < MODELS && st == SGI_OK; i++) {
        sgi_model_config_init(&model, sizeof model);
        model.name = b->files.files[i].name;
        model.path = b->files.files[i].path;
        st = sgi_model_register(b->rt, &model, &b->models[i], err);
    }
    /* A pin loads nothing: it holds from the first load on. */
    return st == SGI_OK ? sgi_model_pin(b->rt, b->models[HOT], SGI_TIER_DEVICE, err) : st;
}

/* Every fourth job is for the hot model, the others are for any. */
static int make_jobs(batch *b, unsigned count)
{
    uint32_t x = 2463534242u;

    b->jobs = calloc(count, sizeof *b->jobs);
    if (!b->jobs)
        return -1;
    for (unsigned i = 0; i < count; i++) {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        b->jobs[i].model = i % 4 == 0 ? HOT : x % MODELS;
        b->jobs[i].tensor = (x >> 8) % MODEL_TENSORS;
    }
    b->jobs_count = count;
    return 0;
}

static int by_model(const void *a, const void *b)
{
    const job *x = a, *y = b;

    return (x->model > y->model) - (x->model < y->model);
}

/* ----------------------------------------------------------------- watching */

static void *watch(void *arg)
{
    batch           *b = arg;
    sgi_device_info  device = { .struct_size = sizeof device };
    sgi_runtime_info info = { .struct_size = sizeof info };

    while (atomic_load(&b->watching)) {
        if (sgi_device_query(b->rt, 0, &device) != SGI_OK || device.bytes_used > device.bytes_max ||
            sgi_runtime_query(b->rt, &info) != SGI_OK || info.dram_bytes > info.dram_bytes_max)
            atomic_store(&b->over_budget, 1);
        if (device.bytes_used > b->device_most)
            b->device_most = device.bytes_used;
        if (info.dram_bytes > b->dram_most)
            b->dram_most = info.dram_bytes;
        usleep(50);
    }
    return NULL;
}

/* --------------------------------------------------------------------- work */

/* Have the next model loaded while this one works. Nobody needs to be told how that ends: its acquire will say. */
static sgi_status prefetch(batch *b, unsigned model, sgi_error *err)
{
    sgi_acquire_options options;

    sgi_acquire_options_init(&options, sizeof options);
    options.flags = SGI_PREFETCH_SILENT;
    b->prefetched++;
    return sgi_model_prefetch(b->rt, b->models[model], SGI_TIER_DEVICE, &options, NULL, NULL, NULL, err);
}

/* The model whose turn comes after job i's model, or the same if that is the last. */
static unsigned next_model(const batch *b, unsigned i)
{
    unsigned next = i;

    while (next + 1 < b->jobs_count && b->jobs[next].model == b->jobs[i].model)
        next++;
    return b->jobs[next].model;
}

static sgi_status acquire(batch *b, unsigned model, sgi_lease *lease_out, sgi_error *err)
{
    sgi_timing timing = { .struct_size = sizeof timing };
    sgi_status st = sgi_model_try_acquire(b->rt, b->models[model], NULL, lease_out);

    if (st == SGI_OK)
        b->found[SGI_TIER_DEVICE]++;
    if (st != SGI_E_WOULD_BLOCK)
        return st;
    st = sgi_model_acquire_wait(b->rt, b->models[model], NULL, lease_out, err);
    if (st == SGI_OK && sgi_lease_timing(b->rt, *lease_out, &timing) == SGI_OK)
        b->found[timing.tier]++;
    return st;
}

/* Take the sum of the tensor. `first`, `last`: of the jobs for this model, where the jobs are grouped. */
static int run_job(batch *b, unsigned i, int first, int last)
{
    const job *j = &b->jobs[i];
    sgi_view   view = { .struct_size = sizeof view };
    sgi_error  err = SGI_ERROR_INIT;
    sgi_lease  lease;
    sgi_status st = acquire(b, j->model, &lease, &err);
    unsigned   next = next_model(b, i);
    int        rc = 0;

    if (st != SGI_OK)
        return fail("acquire", st, &err);
    if (first && next != j->model)
        st = prefetch(b, next, &err);
    if (st != SGI_OK)
        rc = fail("prefetch", st, NULL);

    st = sgi_lease_tensor(b->rt, lease, j->tensor, &view, &err); /* tensors lie in the order of their names here */
    if (st != SGI_OK)
        rc = fail("tensor", st, &err);
    else if (model_sum(view.data, view.bytes) != b->files.files[j->model].sums[j->tensor])
        rc = fail("a tensor is not what was written", SGI_E_CHECK, NULL);
    sgi_lease_release(b->rt, lease);

    /* Nobody comes back to this model: give its room to the next load, and its bytes need no room in host memory. */
    if (rc == 0 && last && j->model != HOT) {
        st = sgi_model_evict(b->rt, b->models[j->model], SGI_TIER_DISK);
        if (st != SGI_OK)
            rc = fail("evict", st, NULL);
    }
    return rc;
}

static int run_jobs(batch *b, const char *how, int grouped)
{
    const job *jobs = b->jobs;
    double     start = now_ms();
    int        rc = 0;

    memset(b->found, 0, sizeof b->found);
    for (unsigned i = 0; i < b->jobs_count && rc == 0; i++)
        rc = run_job(b, i, grouped && (i == 0 || jobs[i - 1].model != jobs[i].model),
                     grouped && (i + 1 == b->jobs_count || jobs[i + 1].model != jobs[i].model));
    printf("%-12s %u jobs in %5.0f ms: %u found their model loaded, %u in host memory, %u on disk\n", how,
           b->jobs_count, now_ms() - start, b->found[SGI_TIER_DEVICE], b->found[SGI_TIER_DRAM],
           b->found[SGI_TIER_DISK]);
    return rc;
}

/* ---------------------------------------------------------------- give back */

/* No load may have failed, prefetches too; and the hot model must have been loaded once, and stayed. */
static int check_models(batch *b)
{
    sgi_model_state state = { .struct_size = sizeof state };
    sgi_status      st;

    for (unsigned i = 0; i < MODELS; i++) {
        st = sgi_model_query(b->rt, b->models[i], &state);
        if (st != SGI_OK || state.failures_count > 0)
            return fail("a load failed", st == SGI_OK ? state.last_error : st, NULL);
        if (i == HOT && (state.tier != SGI_TIER_DEVICE || state.loads_count != 1))
            return fail("the pinned model did not stay", st, NULL);
    }
    return 0;
}

/* An evict only begins to give back, and skips what is pinned or still loading: repeat until all is zero. */
static int give_back(batch *b)
{
    sgi_runtime_info info = { .struct_size = sizeof info };
    double           start = now_ms();

    sgi_model_pin(b->rt, b->models[HOT], SGI_TIER_DISK, NULL);
    do {
        sgi_runtime_evict(b->rt, SGI_EVICT_ALL);
        usleep(1000);
        if (now_ms() - start > 10000)
            return fail("not all is given back", SGI_E_TIMEOUT, NULL);
    } while (sgi_runtime_query(b->rt, &info) != SGI_OK || info.device_bytes || info.dram_bytes || info.loads_running ||
             info.requests_waiting);
    return info.leases_count ? fail("a lease is left", SGI_E_BUSY, NULL) : 0;
}

static int run(batch *b, unsigned jobs)
{
    sgi_error  err = SGI_ERROR_INIT;
    sgi_status st = set_up(b, &err);
    int        rc = st != SGI_OK ? fail("set up", st, &err) : 0;

    atomic_store(&b->watching, 1);
    if (rc == 0 && (make_jobs(b, jobs) != 0 || pthread_create(&b->watcher, NULL, watch, b) != 0))
        rc = fail("set up", SGI_E_NO_MEMORY, NULL);
    if (rc == 0) {
        rc = run_jobs(b, "as they come", 0);
        qsort(b->jobs, b->jobs_count, sizeof *b->jobs, by_model);
        if (rc == 0)
            rc = run_jobs(b, "grouped", 1);
        if (rc == 0)
            rc = check_models(b);
        if (rc == 0)
            rc = give_back(b);
        atomic_store(&b->watching, 0);
        pthread_join(b->watcher, NULL);
        printf("at most %.1f MiB on the device and %.1f MiB in host memory; %u prefetches\n",
               (double)b->device_most / 1048576, (double)b->dram_most / 1048576, b->prefetched);
    }
    st = b->rt ? sgi_runtime_close(b->rt, 5000, &err) : SGI_OK;
    if (st != SGI_OK)
        return fail("close", st, &err);
    if (rc == 0 && atomic_load(&b->over_budget))
        rc = fail("a budget was exceeded", SGI_E_NO_ROOM, NULL);
    return rc;
}

static unsigned take_jobs(const char *text)
{
    char *end;
    long  jobs = strtol(text, &end, 10); /* too large: LONG_MAX, which is refused too */

    if (end == text || *end != '\0' || jobs < 1 || jobs > JOBS_MAX) {
        program_fail(&host, "JOBS is a number from 1 to %d, not '%s'", JOBS_MAX, text);
        exit(2);
    }
    return (unsigned)jobs;
}

int main(int argc, char **argv)
{
    static batch b;
    const char  *argument = program_argument(&host, argc, argv);
    unsigned     jobs = argument ? take_jobs(argument) : JOBS_DEFAULT;
    int          rc;

    if (model_folder_make(&b.files, MODELS, MODEL_BYTES) != 0)
        return program_fail(&host, "the models cannot be written into %s: %s", model_folder_place(), strerror(errno));
    rc = run(&b, jobs);
    model_folder_remove(&b.files);
    free(b.jobs);
    return program_end(&host, rc);
}
