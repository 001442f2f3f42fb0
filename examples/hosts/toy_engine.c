/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "toy_engine.h"

enum { REQUEST_MAX = 512 };

/* Made once per model: what a real engine would make from its files without their weights. */
typedef struct toy_prepared {
    char name[64];
} toy_prepared;

typedef struct toy_instance {
    const toy_prepared *prepared;
    sgi_stage          *stage; /* valid until `stop` has returned */
} toy_instance;

static sgi_status prepare(void *user, const sgi_source *source, void **prepared_out, uint64_t *bytes, sgi_error *err)
{
    toy_counts   *counts = user;
    toy_prepared *prepared = malloc(sizeof *prepared);

    if (!prepared)
        return sgi_error_set(err, SGI_E_NO_MEMORY, "toy engine: no memory to prepare");
    snprintf(prepared->name, sizeof prepared->name, "%s", source->name);
    atomic_fetch_add(&counts->prepared, 1);
    *prepared_out = prepared;
    *bytes = sizeof *prepared;
    return SGI_OK;
}

static void discard(void *user, void *prepared)
{
    toy_counts *counts = user;

    atomic_fetch_add(&counts->discarded, 1);
    free(prepared);
}

static sgi_status start(void *user, void *prepared, sgi_stage *stage, void **instance_out, sgi_error *err)
{
    toy_counts   *counts = user;
    toy_instance *instance;
    sgi_status    st = sgi_stage_wait(stage, err);

    if (st != SGI_OK)
        return st; /* the load failed; the library knows why */
    instance = malloc(sizeof *instance);
    if (!instance)
        return sgi_error_set(err, SGI_E_NO_MEMORY, "toy engine: no memory to start");
    instance->prepared = prepared;
    instance->stage = stage;
    atomic_fetch_add(&counts->started, 1);
    *instance_out = instance;
    return SGI_OK;
}

static void stop(void *user, void *instance)
{
    toy_counts *counts = user;

    atomic_fetch_add(&counts->stopped, 1);
    free(instance);
}

static sgi_status sum_tensor(sgi_stage *stage, const char *name, uint64_t *sum_out, sgi_error *err)
{
    sgi_tensor tensor = { .struct_size = sizeof tensor };
    sgi_view   view = { .struct_size = sizeof view };
    sgi_status st = sgi_source_tensor_find(sgi_stage_source(stage), name, &tensor);

    if (st != SGI_OK)
        return sgi_error_set(err, st, "toy engine: the model has no tensor of this name");
    st = sgi_stage_tensor(stage, tensor.index, &view, err);
    if (st == SGI_OK)
        *sum_out = model_sum(view.data, view.bytes);
    return st;
}

/* Sleep in short steps, since sleeping is where this engine spends its time. 1: canceled meanwhile. */
static int pause_for(sgi_reply *reply, unsigned ms)
{
    while (ms > 0 && !sgi_reply_canceled(reply)) {
        unsigned        step = ms < 2 ? ms : 2;
        struct timespec t = { .tv_nsec = (long)step * 1000000 };

        nanosleep(&t, NULL);
        ms -= step;
    }
    return sgi_reply_canceled(reply);
}

static sgi_status answer(const toy_instance *instance, const char *request, sgi_reply *reply, sgi_error *err)
{
    char       tensor[32], piece[REQUEST_MAX];
    unsigned   pause_ms, repeat;
    uint64_t   sum = 0;
    int        at = 0;
    sgi_status st;

    if (sscanf(request, "%31s %u %u %n", tensor, &pause_ms, &repeat, &at) != 3 || at == 0)
        return sgi_error_set(err, SGI_E_INVALID, "toy engine: a request is TENSOR PAUSE_MS REPEAT TEXT");
    st = sum_tensor(instance->stage, tensor, &sum, err);
    if (st != SGI_OK)
        return st;
    snprintf(piece, sizeof piece, "%s %016" PRIx64, instance->prepared->name, sum);
    st = sgi_reply_emit(reply, piece, strlen(piece));

    snprintf(piece, sizeof piece, " %s", request + at);
    for (unsigned i = 0; i < repeat && st == SGI_OK; i++) {
        if (pause_for(reply, pause_ms))
            return sgi_error_set(err, SGI_E_CANCELED, "toy engine: canceled");
        st = sgi_reply_emit(reply, piece, strlen(piece));
    }
    return st;
}

static sgi_status call(void *user, void *instance, const void *request, size_t bytes, sgi_reply *reply, sgi_error *err)
{
    toy_counts *counts = user;
    char        text[REQUEST_MAX - 1]; /* one less than a piece, which puts a space before it */
    sgi_status  st;

    atomic_fetch_add(&counts->called, 1);
    if (bytes >= sizeof text)
        return sgi_error_set(err, SGI_E_INVALID, "toy engine: the request is too long");
    memcpy(text, request, bytes);
    text[bytes] = '\0';
    st = answer(instance, text, reply, err);
    if (st == SGI_E_CANCELED)
        atomic_fetch_add(&counts->canceled, 1);
    return st;
}

void toy_engine(sgi_engine *engine, toy_counts *counts)
{
    sgi_engine_init(engine, sizeof *engine);
    engine->name = "toy";
    engine->user = counts;
    engine->prepare = prepare;
    engine->discard = discard;
    engine->start = start;
    engine->call = call;
    engine->stop = stop;
}

sgi_status toy_register(sgi_runtime *rt, const model_folder *models, toy_counts *counts, sgi_error *err)
{
    sgi_model_config config;
    sgi_engine       engine;
    sgi_model        model; /* hosts find it again by its name */
    sgi_status       st = SGI_OK;

    toy_engine(&engine, counts);
    for (unsigned i = 0; i < models->count && st == SGI_OK; i++) {
        sgi_model_config_init(&config, sizeof config);
        config.name = models->files[i].name;
        config.path = models->files[i].path;
        config.engine = &engine;
        st = sgi_model_register(rt, &config, &model, err);
    }
    return st;
}

char *toy_answer(const char *model, uint64_t sum, unsigned repeat, const char *text)
{
    size_t capacity = strlen(model) + 18 + repeat * (strlen(text) + 1);
    char  *expected = malloc(capacity);
    char  *at = expected;

    if (!expected)
        return NULL;
    at += snprintf(at, capacity, "%s %016" PRIx64, model, sum);
    for (unsigned i = 0; i < repeat; i++)
        at += snprintf(at, capacity - (size_t)(at - expected), " %s", text);
    return expected;
}
