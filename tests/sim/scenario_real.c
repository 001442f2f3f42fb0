/* SPDX-License-Identifier: Apache-2.0 */
/* A scenario on the real runtime, from beginning to end. Steps of users are taken by several threads in turn, and each
 * is over, with all that follows from it, before the next one is taken. */
#include "sim/scenario_real.h"

#include <stdlib.h>
#include <string.h>

#include <sgi/pack.h>

#include "base/fault.h"
#include "support/fake_cuda.h"

/* ---- files: made once, for they do not change ---- */

enum { FILES_MAX = 256 };

static struct {
    struct test_folder folder;
    bool               made;
    uint32_t           count;
    struct {
        uint32_t         model, units;
        bool             packed;
        struct test_file file;
    } at[FILES_MAX];
} files;

static void must(sgi_status st, const sgi_error *err, const char *what)
{
    if (st == SGI_OK)
        return;
    fprintf(stderr, "%s: %s: %s\n", what, sgi_status_name(st), err->message);
    abort();
}

/* Of a model alone, with room for what stands before its weights: an image of it fits into its units. On a cuda device
 * they are what they take in pages: there the last one is nearly empty, so that less is read, and what a model takes in
 * host memory is another number. */
static uint64_t weights_of(const struct scenario *s, uint32_t model)
{
    uint32_t units = s->models[model].units;
    return s->cuda ? scenario_bytes(s, units - 1) + 131072 - model : scenario_bytes(s, units) - 16384 - model;
}

static struct test_file *file_for(const struct scenario *s, uint32_t model)
{
    uint32_t  units = s->models[model].units;
    bool      packed = s->models[model].packed;
    char      name[64];
    sgi_error err = SGI_ERROR_INIT;

    if (!files.made)
        test_folder_make(&files.folder);
    files.made = true;
    for (uint32_t n = 0; n < files.count; n++)
        if (files.at[n].model == model && files.at[n].units == units && files.at[n].packed == packed)
            return &files.at[n].file;
    if (files.count == FILES_MAX)
        abort();
    files.at[files.count].model = model;
    files.at[files.count].units = units;
    files.at[files.count].packed = packed;
    snprintf(name, sizeof name, "%c%u-%u.safetensors", packed ? 'p' : 'm', model, units);
    test_file_make_one(&files.at[files.count].file, &files.folder, name, weights_of(s, model));
    if (packed) /* a prefetch does not look at a tensor's check */
        must(sgi_digest(files.at[files.count].file.path, NULL, &err), &err, "digest");
    return &files.at[files.count++].file;
}

void real_files_remove(void)
{
    for (uint32_t n = 0; n < files.count; n++)
        test_file_free(&files.at[n].file);
    if (files.made)
        test_folder_remove(&files.folder);
    files.made = false;
    files.count = 0;
}

/* ---- models ---- */

static sgi_status scenario_call(void *user, void *instance, const void *request, size_t bytes, sgi_reply *reply,
                                sgi_error *err)
{
    struct real_want *w;

    (void)user;
    (void)instance;
    (void)err;
    if (bytes != sizeof(struct real_want *))
        abort();
    memcpy(&w, request, sizeof w);
    gate_pass(&w->call_gate);
    return sgi_reply_canceled(reply) ? SGI_E_CANCELED : SGI_OK;
}

static void note_stage(void *user, sgi_stage *stage)
{
    struct real_model *m = user;
    m->stage = stage;
}

static void set_engine(struct real_model *m, const struct scenario_model *spec)
{
    test_engine_init(&m->engine, spec->prefix, spec->prepare);
    m->engine.table.call = scenario_call;
    m->engine.prepared_bytes = UINT64_C(1) << 20;
    m->engine.no_wait = m->x->stepped; /* its start is over before the next thing begins, as in the simulator */
    m->engine.look = !m->x->stepped && !m->x->scenario->cuda; /* the host does not see that memory */
    m->engine.in_start = m->x->stepped ? note_stage : NULL;   /* for GROW, which is no step of a crowd's */
    m->engine.user = m;
}

static void add_model(struct real *x, uint32_t n, struct scenario_image *image)
{
    const struct scenario_model *spec = &x->scenario->models[n];
    struct real_model           *m = &x->models[n];
    sgi_model_config             c;
    sgi_model_info               info = { .struct_size = sizeof info };
    sgi_error                    err = SGI_ERROR_INIT;
    char                         name[16];

    m->x = x;
    m->broken = WORKS;
    m->file = file_for(x->scenario, n);
    set_engine(m, spec);
    sgi_tensor_check check = { "w",
                               test_xxh3(m->file->data + m->file->data_offset, m->file->bytes - m->file->data_offset) };
    snprintf(name, sizeof name, "m%u", n);
    sgi_model_config_init(&c, sizeof c);
    c.name = name;
    c.path = m->file->path;
    c.engine = spec->engine ? &m->engine.table : NULL;
    c.engine_bytes = spec->engine ? scenario_bytes(x->scenario, spec->engine_units) : 0;
    c.idle_timeout_ms = spec->idle_ms;
    c.hang_timeout_ms = spec->hang_ms;
    c.leases_max = spec->leases_max;
    c.instances_max = spec->instances;
    c.residence = spec->packed ? SGI_RESIDENCE_PACKED : SGI_RESIDENCE_AUTO;
    c.checks = &check;
    c.checks_count = 1;
    must(sgi_model_register(x->rt, &c, &m->id, &err), &err, "register");
    must(sgi_model_describe(x->rt, m->id, &info), &err, "describe");
    *image = (struct scenario_image){ .bytes = info.image_bytes,
                                      .device_bytes = scenario_bytes(x->scenario, spec->units),
                                      .packed_bytes = spec->packed ? (m->file->bytes + 4095) / 4096 * 4096 : 0 };
}

/* ---- clients ---- */

static void *client(void *arg)
{
    struct client *c = arg;
    struct real   *x = c->x;

    pthread_mutex_lock(&x->mutex);
    while (!c->stop) {
        const struct step *step = c->step;
        if (!step) {
            pthread_cond_wait(&x->changed, &x->mutex);
            continue;
        }
        pthread_mutex_unlock(&x->mutex);
        int64_t said = real_user_step(x, step);
        pthread_mutex_lock(&x->mutex);
        c->said = said;
        c->step = NULL;
        pthread_cond_broadcast(&x->changed);
    }
    pthread_mutex_unlock(&x->mutex);
    return NULL;
}

static int64_t by_client(struct real *x, const struct step *step)
{
    struct client *c = &x->clients[x->steps++ % CLIENTS];

    pthread_mutex_lock(&x->mutex);
    c->step = step;
    pthread_cond_broadcast(&x->changed);
    while (c->step)
        pthread_cond_wait(&x->changed, &x->mutex);
    int64_t said = c->said;
    pthread_mutex_unlock(&x->mutex);
    return said;
}

/* ---- life ---- */

static sgi_runtime_config config_of(const struct scenario *s, sgi_device_config devices[DEVICES_MAX])
{
    static const char *const names[2][DEVICES_MAX] = { { "host:0", "host:1" }, { "cuda:0", "cuda:1" } };
    sgi_runtime_config       c;

    sgi_runtime_config_init(&c, sizeof c);
    for (uint32_t d = 0; d < scenario_devices(s); d++) {
        sgi_device_config_init(&devices[d], sizeof devices[d]);
        devices[d].name = names[s->cuda][d];
        devices[d].bytes_max = scenario_bytes(s, scenario_device_units(s, d));
    }
    c.devices = devices;
    c.devices_count = scenario_devices(s);
    c.dram_bytes_max = s->dram ? scenario_bytes(s, s->dram) : SGI_NONE;
    c.requests_max = s->requests_max ? s->requests_max : 64; /* the simulator's default */
    c.loads_max = s->loads_max;
    c.context_linger_ms = s->linger_ms;
    c.starve_ms = s->starve_ms;
    c.backoff_ms = s->backoff_ms;
    c.backoff_max_ms = s->backoff_max_ms;
    c.read_block_bytes = 256 * 1024;
    return c;
}

struct real *real_begin(const struct scenario *s, bool stepped, uint64_t seed, struct scenario_image images[MODELS_MAX])
{
    struct real       *x = calloc(1, sizeof *x);
    sgi_device_config  devices[DEVICES_MAX];
    sgi_runtime_config config = config_of(s, devices);
    sgi_error          err = SGI_ERROR_INIT;

    if (!x || (s->cuda && !fake_cuda_find()))
        abort();
    x->scenario = s;
    x->stepped = stepped;
    x->waiting_form = -1;
    x->models_count = scenario_models(s);
    x->devices_count = scenario_devices(s);
    pthread_mutex_init(&x->mutex, NULL);
    pthread_cond_init(&x->changed, NULL);
    test_clock_init(&x->clock);
    test_place_next = (struct test_place_settings){ .seed = seed,
                                                    .delay_us_max = stepped ? 0 : 200,
                                                    .stepped = stepped };
    must(sgi__runtime_open_with(&config, &test_place_ops, &x->clock.table, &x->rt, &err), &err, "open");
    x->tp = test_place_last();
    must(sgi_events_open(x->rt, SGI_EVENTS_RECORDS_MAX, 0, &x->events, &err), &err, "events");
    for (int32_t n = 0; n < WANTS_MAX; n++) {
        x->wants[n].x = x;
        x->wants[n].number = n;
        gate_init(&x->wants[n].call_gate);
    }
    for (uint32_t m = 0; m < x->models_count; m++)
        add_model(x, m, &images[m]);
    for (uint32_t n = 0; n < CLIENTS; n++) {
        x->clients[n].x = x;
        if (pthread_create(&x->clients[n].thread, NULL, client, &x->clients[n]) != 0)
            abort();
    }
    return x;
}

void real_end(struct real *x)
{
    sgi_error err = SGI_ERROR_INIT;

    pthread_mutex_lock(&x->mutex);
    for (uint32_t n = 0; n < CLIENTS; n++)
        x->clients[n].stop = true;
    pthread_cond_broadcast(&x->changed);
    pthread_mutex_unlock(&x->mutex);
    for (uint32_t n = 0; n < CLIENTS; n++)
        pthread_join(x->clients[n].thread, NULL);
    real_join(x);
    must(sgi_runtime_close(x->rt, TEST_HANG_SECONDS * 1000, &err), &err, "close");
    for (uint32_t m = 0; m < x->models_count; m++)
        test_engine_fini(&x->models[m].engine); /* fails on an instance that was not stopped */
    for (uint32_t n = 0; n < WANTS_MAX; n++)
        gate_fini(&x->wants[n].call_gate);
    pthread_cond_destroy(&x->changed);
    pthread_mutex_destroy(&x->mutex);
    sgi__fault_clear();
    if (x->scenario->cuda) {
        fake.fakecuda_faults_clear();
        fake_cuda_nothing_is_held(x->scenario->name, 0);
        fake_cuda_no_violations();
    }
    free(x);
}

/* ---- as an executor ---- */

static void *begin(const struct scenario *s, struct scenario_image images[MODELS_MAX])
{
    return real_begin(s, true, 1, images);
}

static int64_t step_(void *executor, const struct step *step)
{
    struct real *x = executor;
    int64_t      said = NOTHING;

    x->told_count = 0;
    x->waiting_form = -1;
    if (step->kind < STEP_ADVANCE)
        said = by_client(x, step);
    else
        real_world_step(x, step);
    real_settle(x);
    real_hear(x);
    return said;
}

static void observe(void *executor, struct seen *seen)
{
    real_observe(executor, seen);
}

static void end(void *executor)
{
    real_end(executor);
}

const struct executor scenario_real = { "runtime", begin, step_, observe, end };
