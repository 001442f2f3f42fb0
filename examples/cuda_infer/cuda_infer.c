/* SPDX-License-Identifier: Apache-2.0 */
/* A small language model on a GPU: its layers compute while the weights of the next ones arrive, its answer is compared
 * with the CPU's, and when nobody asks any more nothing of it is left on the device.
 *
 *     cuda_infer [MODEL]
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "../hosts/program.h"
#include "engine.h"
#include "random_model.h"

enum { TOKENS = 24, IDLE_MS = 200, LINGER_MS = 50, ZERO_MS_MAX = 20000, NO_DEVICE = 2 };
enum { GPU, HOST, DEVICES }; /* numbers of the runtime's devices */

/* Of numbers in a vector of length 1, from sums of hundreds of products in another order. */
static const float difference_max = 1e-4f;

static const program self = {
    .name = "cuda_infer",
    .usage = "usage: cuda_infer [MODEL]\n"
             "Runs the encoder of a BERT model in safetensors (all-MiniLM-L6-v2, say) on the first CUDA device, and\n"
             "says when each layer could compute. Without MODEL it makes one of random numbers, of that size.\n"
             "Exit status: 0 when all was as it should be, 1 when not, 2 where no CUDA device can be used.\n",
};

struct demo {
    sgi_runtime *rt;
    infer_engine infer;
    sgi_model    encoder; /* with the engine, on the GPU */
    sgi_model    weights; /* the same file without, on the host */
    network      net;
    uint32_t     ids[TOKENS];
    float        answer[WIDTH_MAX];
    size_t       answer_bytes;
};

static int failed(const char *what, sgi_status st, const sgi_error *err)
{
    return program_fail(&self, "%s: %s (%s)", what, err->message[0] ? err->message : sgi_status_text(st),
                        sgi_status_name(st));
}

static double now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* -------------------------------------------------------------------------------------------------------- one start */

/* When the last byte was on the device: the load begins where the waiting for room ends. */
static double loaded_ms(const sgi_timing *timing)
{
    const sgi_phase *queue = &timing->phases[SGI_STEP_QUEUE];

    return (double)(queue->start_ns + queue->duration_ns + timing->load_ns) / 1e6;
}

static void show_timeline(const infer_timeline *timeline, const sgi_timing *timing)
{
    static const char *const tiers[] = { "disk", "DRAM", "the device" };
    double                   request_ms = (double)timing->request_ns / 1e6, loaded = loaded_ms(timing);
    unsigned                 early = 0;

    printf("%.1f MiB from %s; ms from the request on\n\n%-12s %14s %10s\n", (double)timing->bytes / 1048576,
           tiers[timing->tier], "", "could begin", "computed");
    printf("%-12s %25.2f\n", "queued from", timeline->begin_ms - request_ms);
    for (unsigned n = 0; n < timeline->steps_count; n++) {
        char name[24] = "embedding";

        if (n > 0)
            snprintf(name, sizeof name, "layer %u", n - 1);
        printf("%-12s %14.2f %10.2f\n", name, timeline->there_ms[n] - request_ms,
               timeline->computed_ms[n] - request_ms);
        early += timeline->computed_ms[n] - request_ms < loaded;
    }
    printf("%-12s %14.2f: %u of %u had computed by then\n%-12s %14.2f\n\n", "load ended", loaded, early,
           timeline->steps_count, "lease", (double)timing->total_ns / 1e6);
}

static int take_piece(void *user, const void *piece, size_t bytes)
{
    struct demo *d = user;

    if (bytes > sizeof d->answer - d->answer_bytes)
        return 1;
    memcpy((char *)d->answer + d->answer_bytes, piece, bytes);
    d->answer_bytes += bytes;
    return 0;
}

/* Brings the model up, and asks it. */
static int ask(struct demo *d)
{
    sgi_error  err = SGI_ERROR_INIT;
    sgi_timing timing = { .struct_size = sizeof timing };
    sgi_lease  lease;
    sgi_status st = sgi_model_acquire_wait(d->rt, d->encoder, NULL, &lease, &err);

    if (st != SGI_OK)
        return failed("acquire", st, &err);
    sgi_lease_timing(d->rt, lease, &timing);
    show_timeline(&d->infer.timeline, &timing);
    d->answer_bytes = 0;
    st = sgi_lease_call(d->rt, lease, d->ids, sizeof d->ids, SGI_FOREVER, take_piece, d, &err);
    sgi_lease_release(d->rt, lease);
    return st == SGI_OK ? 0 : failed("call", st, &err);
}

/* ---------------------------------------------------------------------------------------------------- what is right */

static sgi_status view_of(struct demo *d, sgi_lease lease, uint64_t index, const float **at, sgi_error *err)
{
    sgi_view   view = { .struct_size = sizeof view };
    sgi_status st = sgi_lease_tensor(d->rt, lease, index, &view, err);

    *at = view.data;
    return st;
}

static sgi_status find_weights(struct demo *d, sgi_lease lease, network_weights *w, sgi_error *err)
{
    sgi_status st = SGI_OK;

    for (unsigned t = 0; t < EMBEDDING_TENSORS && st == SGI_OK; t++)
        st = view_of(d, lease, d->net.embedding[t], &w->embedding[t], err);
    for (unsigned l = 0; l < d->net.layers_count; l++)
        for (unsigned t = 0; t < LAYER_TENSORS && st == SGI_OK; t++)
            st = view_of(d, lease, d->net.layers[l][t], &w->layers[l][t], err);
    return st;
}

/* The same network by the CPU, from weights that are in host memory for it. */
static int compute_here(struct demo *d, float *out)
{
    sgi_error       err = SGI_ERROR_INIT;
    network_weights weights;
    sgi_lease       lease;
    int             rc = 0;
    sgi_status      st = sgi_model_acquire_wait(d->rt, d->weights, NULL, &lease, &err);

    if (st != SGI_OK)
        return failed("acquire on the host", st, &err);
    st = find_weights(d, lease, &weights, &err);
    if (st == SGI_OK && network_compute(&d->net, &weights, d->ids, TOKENS, out) != 0)
        rc = program_fail(&self, "no memory to compute on the CPU");
    sgi_lease_release(d->rt, lease);
    return st == SGI_OK ? rc : failed("a tensor", st, &err);
}

static int compare(struct demo *d)
{
    float right[WIDTH_MAX], largest = 0;

    if (d->answer_bytes != d->net.width * sizeof *d->answer)
        return program_fail(&self, "the answer has %zu bytes, not %zu", d->answer_bytes,
                            d->net.width * sizeof *d->answer);
    if (compute_here(d, right) != 0)
        return 1;
    for (unsigned n = 0; n < d->net.width; n++) /* what is no number is the largest */
        largest = fabsf(d->answer[n] - right[n]) <= largest ? largest : fabsf(d->answer[n] - right[n]);
    printf("answer       %u numbers, beginning %.4f %.4f %.4f; furthest from the CPU's by %.1e\n\n", d->net.width,
           (double)d->answer[0], (double)d->answer[1], (double)d->answer[2], (double)largest);
    return largest <= difference_max ? 0 : program_fail(&self, "the device has computed something else than the CPU");
}

/* ------------------------------------------------------------------------------------------------------------- zero */

static void nap(void)
{
    struct timespec t = { .tv_nsec = 1000000 };

    nanosleep(&t, NULL);
}

static int wait_for_zero(struct demo *d)
{
    static const char *const contexts[] = { "none", "ours", "ours and another's", "another's" };
    sgi_device_info          info = { .struct_size = sizeof info };
    double                   begin = now_ms();
    uint64_t                 used;

    sgi_device_query(d->rt, GPU, &info);
    used = info.bytes_used;
    while (info.bytes_used > 0 || info.context == SGI_CONTEXT_OURS || info.context == SGI_CONTEXT_SHARED) {
        if (now_ms() - begin > ZERO_MS_MAX)
            return program_fail(&self, "%s still holds %llu bytes after %d s", info.name,
                                (unsigned long long)info.bytes_used, ZERO_MS_MAX / 1000);
        nap();
        sgi_device_query(d->rt, GPU, &info);
    }
    printf("idle         %s held %.1f MiB; %.0f ms after the release: %llu bytes, %u instances, context: %s\n\n",
           info.name, (double)used / 1048576, now_ms() - begin, (unsigned long long)info.bytes_used,
           info.instances_count, contexts[info.context]);
    return 0;
}

/* ----------------------------------------------------------------------------------------------------------- set-up */

struct model_of {
    sgi_runtime *rt;
    sgi_model    model;
};

static sgi_status find_in_model(const void *from, const char *name, sgi_tensor *tensor_out)
{
    const struct model_of *m = from;

    return sgi_model_tensor_find(m->rt, m->model, name, tensor_out);
}

static sgi_status register_models(struct demo *d, const char *path, sgi_error *err)
{
    sgi_engine       engine;
    sgi_model_config config;
    sgi_status       st;

    infer_engine_table(&d->infer, &engine);
    sgi_model_config_init(&config, sizeof config);
    config.name = "encoder";
    config.path = path;
    config.engine = &engine;
    config.devices_mask = 1u << GPU;
    st = sgi_model_register(d->rt, &config, &d->encoder, err);
    if (st != SGI_OK)
        return st;
    config.name = "weights";
    config.engine = NULL;
    config.devices_mask = 1u << HOST;
    st = sgi_model_register(d->rt, &config, &d->weights, err);
    return st != SGI_OK ? st : network_find(&d->net, find_in_model, &(struct model_of){ d->rt, d->weights }, err);
}

/* SGI_E_UNSUPPORTED: there is nothing to run on here. */
static sgi_status open_runtime(struct demo *d, sgi_error *err)
{
    sgi_device_config  devices[DEVICES];
    sgi_runtime_config config;
    sgi_status         st = gpu_open(&d->infer.driver, err);

    if (st != SGI_OK)
        return st;
    for (int n = 0; n < DEVICES; n++)
        sgi_device_config_init(&devices[n], sizeof devices[n]);
    devices[GPU].name = "cuda:0";
    devices[HOST].name = "host:0";
    sgi_runtime_config_init(&config, sizeof config);
    config.devices = devices;
    config.devices_count = DEVICES;
    config.idle_timeout_ms = IDLE_MS;
    config.context_linger_ms = LINGER_MS;
    return sgi_runtime_open(&config, &d->rt, err);
}

/* From disk, then from DRAM; the device is empty in between and at the end. */
static int show(struct demo *d)
{
    float first[WIDTH_MAX];
    int   rc = ask(d);

    if (rc == 0)
        rc = wait_for_zero(d);
    if (rc == 0)
        rc = compare(d);
    memcpy(first, d->answer, sizeof first);
    if (rc == 0)
        rc = ask(d);
    if (rc == 0 && memcmp(first, d->answer, d->answer_bytes) != 0)
        rc = program_fail(&self, "the second answer is not the first");
    return rc == 0 ? wait_for_zero(d) : rc;
}

static int show_file(struct demo *d, const char *path)
{
    sgi_error  err = SGI_ERROR_INIT;
    sgi_status st = register_models(d, path, &err);

    if (st != SGI_OK)
        return failed("register", st, &err);
    for (uint32_t t = 0; t < TOKENS; t++) /* any will do: [CLS], words, [SEP] */
        d->ids[t] = (t == 0 ? 101 : t == TOKENS - 1 ? 102 : 1996 + 37 * t) % d->net.vocabulary;
    return show(d);
}

static int show_random(struct demo *d)
{
    random_model made;
    int          rc;

    if (random_model_make(&made) != 0)
        return program_fail(&self, "cannot make the model %s: %s", made.path, strerror(errno));
    rc = show_file(d, made.path);
    random_model_remove(&made);
    return rc;
}

static int run(const char *path)
{
    struct demo d = { .rt = NULL };
    sgi_error   err = SGI_ERROR_INIT;
    sgi_status  st = open_runtime(&d, &err);
    int         rc;

    if (st == SGI_E_UNSUPPORTED) {
        program_fail(&self, "%s", err.message);
        return NO_DEVICE;
    }
    if (st != SGI_OK)
        return failed("open", st, &err);
    rc = path ? show_file(&d, path) : show_random(&d);
    st = sgi_runtime_close(d.rt, SGI_FOREVER, &err);
    return st == SGI_OK ? rc : failed("close", st, &err);
}

int main(int argc, char **argv)
{
    const char *path = program_argument(&self, argc, argv);

    return program_end(&self, run(path));
}
