/* SPDX-License-Identifier: Apache-2.0 */
#include "engine.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { WARM_UP_TOKENS = 16 };

typedef struct instance {
    infer_engine   *infer;
    const network  *net;
    gpu             gpu; /* with the kernels of its context */
    gpu_stream      stream;
    network_weights weights;
    gpu_rows        rows;
} instance;

/* Marks that the device passes in the first pass. */
typedef struct marks {
    gpu_event begin, there[STEPS_MAX], computed[STEPS_MAX];
    double    begin_ms;
} marks;

/* ---------------------------------------------------------------------------------------------------------- prepare */

static sgi_status find_in_source(const void *from, const char *name, sgi_tensor *tensor_out)
{
    return sgi_source_tensor_find(from, name, tensor_out);
}

static sgi_status prepare(void *user, const sgi_source *source, void **prepared_out, uint64_t *bytes, sgi_error *err)
{
    network   *net = malloc(sizeof *net);
    sgi_status st;

    (void)user;
    if (!net)
        return sgi_error_set(err, SGI_E_NO_MEMORY, "no memory to prepare");
    st = network_find(net, find_in_source, source, err);
    if (st != SGI_OK) {
        free(net);
        return st;
    }
    *prepared_out = net;
    *bytes = sizeof *net;
    return SGI_OK;
}

static void discard(void *user, void *prepared)
{
    (void)user;
    free(prepared);
}

/* ------------------------------------------------------------------------------------------------------------ start */

static double now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* What is queued from here on begins when these tensors are on the device. This thread does not wait for them. */
static sgi_status order_behind(instance *in, sgi_stage *stage, const uint64_t *tensors, unsigned count,
                               const float **weights, sgi_error *err)
{
    sgi_view   view = { .struct_size = sizeof view };
    sgi_status st = SGI_OK;

    for (unsigned t = 0; t < count && st == SGI_OK; t++) {
        st = sgi_stage_tensor_on(stage, tensors[t], in->stream, &view, err);
        weights[t] = view.data;
    }
    return st;
}

static sgi_status mark(instance *in, gpu_event *event, sgi_error *err)
{
    sgi_status st = gpu_ended(&in->gpu, "cuEventCreate", in->gpu.cuEventCreate(event, 0), err);

    return st != SGI_OK ? st : gpu_ended(&in->gpu, "cuEventRecord", in->gpu.cuEventRecord(*event, in->stream), err);
}

/* The moment that the others are counted from: the stream has nothing to do yet. */
static sgi_status mark_begin(instance *in, marks *m, sgi_error *err)
{
    sgi_status st = mark(in, &m->begin, err);

    if (st == SGI_OK)
        st = gpu_ended(&in->gpu, "cuStreamSynchronize", in->gpu.cuStreamSynchronize(in->stream), err);
    m->begin_ms = now_ms();
    return st;
}

static sgi_status queue_step(instance *in, sgi_stage *stage, unsigned step, const uint32_t *ids, marks *m,
                             sgi_error *err)
{
    const network   *net = in->net;
    network_weights *w = &in->weights;
    sgi_status       st;

    if (step == 0)
        st = order_behind(in, stage, net->embedding, EMBEDDING_TENSORS, w->embedding, err);
    else
        st = order_behind(in, stage, net->layers[step - 1], LAYER_TENSORS, w->layers[step - 1], err);
    if (st == SGI_OK)
        st = mark(in, &m->there[step], err);
    if (st == SGI_OK)
        st = step == 0 ? gpu_embed(&in->gpu, in->stream, net, w, &in->rows, ids, WARM_UP_TOKENS, err)
                       : gpu_layer(&in->gpu, in->stream, net, w->layers[step - 1], &in->rows, WARM_UP_TOKENS, err);
    return st != SGI_OK ? st : mark(in, &m->computed[step], err);
}

static void read_marks(instance *in, const marks *m)
{
    infer_timeline *timeline = &in->infer->timeline;

    timeline->steps_count = in->net->layers_count + 1;
    timeline->begin_ms = m->begin_ms;
    for (unsigned n = 0; n < timeline->steps_count; n++) {
        float there = 0, computed = 0;

        in->gpu.cuEventElapsedTime(&there, m->begin, m->there[n]);
        in->gpu.cuEventElapsedTime(&computed, m->begin, m->computed[n]);
        timeline->there_ms[n] = m->begin_ms + there;
        timeline->computed_ms[n] = m->begin_ms + computed;
    }
}

static void forget_marks(instance *in, marks *m)
{
    if (m->begin)
        in->gpu.cuEventDestroy(m->begin);
    for (unsigned n = 0; n < STEPS_MAX; n++) {
        if (m->there[n])
            in->gpu.cuEventDestroy(m->there[n]);
        if (m->computed[n])
            in->gpu.cuEventDestroy(m->computed[n]);
    }
}

/* All of the pass is queued as fast as this thread can; layer by layer the device goes through it as weights arrive. */
static sgi_status warm_up(instance *in, sgi_stage *stage, sgi_error *err)
{
    uint32_t   ids[WARM_UP_TOKENS];
    float      out[WIDTH_MAX];
    marks      m = { .begin_ms = 0 };
    sgi_status st = mark_begin(in, &m, err);

    for (unsigned t = 0; t < WARM_UP_TOKENS; t++)
        ids[t] = t % in->net->vocabulary;
    for (unsigned step = 0; step <= in->net->layers_count && st == SGI_OK; step++)
        st = queue_step(in, stage, step, ids, &m, err);
    if (st == SGI_OK)
        st = gpu_pool(&in->gpu, in->stream, in->net, &in->rows, WARM_UP_TOKENS, out, err); /* waits */
    else
        in->gpu.cuStreamSynchronize(in->stream); /* nothing of it is to be out when the kernels go */
    if (st == SGI_OK)
        read_marks(in, &m);
    forget_marks(in, &m);
    return st;
}

static sgi_status bring_up(instance *in, sgi_stage *stage, sgi_error *err)
{
    void      *memory = NULL;
    sgi_status st = sgi_stage_alloc(stage, gpu_rows_bytes(in->net), &memory, err);

    if (st == SGI_OK)
        st = gpu_load(&in->gpu, err);
    if (st != SGI_OK)
        return st;
    in->rows = gpu_rows_at(in->net, memory);
    st = warm_up(in, stage, err);
    if (st != SGI_OK)
        gpu_unload(&in->gpu);
    return st;
}

static sgi_status start(void *user, void *prepared, sgi_stage *stage, void **instance_out, sgi_error *err)
{
    infer_engine *infer = user;
    instance     *in = calloc(1, sizeof *in);
    sgi_status    st;

    if (!in)
        return sgi_error_set(err, SGI_E_NO_MEMORY, "no memory to start");
    in->infer = infer;
    in->net = prepared;
    in->gpu = infer->driver;
    in->stream = sgi_stage_stream(stage);
    st = bring_up(in, stage, err);
    if (st != SGI_OK)
        free(in);
    else
        *instance_out = in;
    return st;
}

static void stop(void *user, void *instance_)
{
    instance *in = instance_;

    (void)user;
    gpu_unload(&in->gpu);
    free(in);
}

/* ------------------------------------------------------------------------------------------------------------- call */

static sgi_status compute(instance *in, const uint32_t *ids, unsigned tokens, float *out, sgi_error *err)
{
    sgi_status st = gpu_embed(&in->gpu, in->stream, in->net, &in->weights, &in->rows, ids, tokens, err);

    for (unsigned l = 0; l < in->net->layers_count && st == SGI_OK; l++)
        st = gpu_layer(&in->gpu, in->stream, in->net, in->weights.layers[l], &in->rows, tokens, err);
    return st != SGI_OK ? st : gpu_pool(&in->gpu, in->stream, in->net, &in->rows, tokens, out, err);
}

static sgi_status call(void *user, void *instance_, const void *request, size_t bytes, sgi_reply *reply, sgi_error *err)
{
    instance      *in = instance_;
    const network *net = in->net;
    unsigned       tokens = (unsigned)(bytes / sizeof(uint32_t));
    uint32_t       ids[TOKENS_MAX];
    float          out[WIDTH_MAX];
    sgi_status     st;

    (void)user;
    if (bytes == 0 || bytes % sizeof *ids != 0 || bytes > sizeof ids || tokens > net->positions)
        return sgi_error_set(err, SGI_E_INVALID, "a request is 1 to 128 token ids of 4 bytes");
    memcpy(ids, request, bytes);
    for (unsigned t = 0; t < tokens; t++)
        if (ids[t] >= net->vocabulary)
            return sgi_error_set(err, SGI_E_INVALID, "a token id is larger than the vocabulary");
    st = compute(in, ids, tokens, out, err);
    return st != SGI_OK ? st : sgi_reply_emit(reply, out, net->width * sizeof *out);
}

void infer_engine_table(infer_engine *infer, sgi_engine *engine_out)
{
    sgi_engine_init(engine_out, sizeof *engine_out);
    engine_out->name = "cuda_infer";
    engine_out->user = infer;
    engine_out->prepare = prepare;
    engine_out->discard = discard;
    engine_out->start = start;
    engine_out->call = call;
    engine_out->stop = stop;
}
