/* SPDX-License-Identifier: Apache-2.0 */
/* The test place as its owner calls it: ops that take their time, calls that go to the life that has the instance. */
#include "test_place_state.h"

#include <assert.h>
#include <time.h>

#include "base/error.h"

struct test_place_settings test_place_next = { .seed = 1, .delay_us_max = 1500 };

static struct test_place *last;

struct gate *test_place_call_gate(struct test_place *tp)
{
    return &tp->call_gate;
}

struct gate *test_place_load_gate(struct test_place *tp)
{
    return &tp->load_gate;
}

struct test_place *test_place_last(void)
{
    return last;
}

/* ---------------------------------------------------------------------- ops */

static void carry_out(const struct op_job *j)
{
    struct sgi__place *p = j->life->inner;

    switch (j->what) {
    case OP_CHECK:
        inside->check_source(p, j->op, j->model);
        break;
    case OP_CONTEXT_OPEN:
        inside->context_open(p, j->op, j->device);
        break;
    case OP_CONTEXT_CLOSE:
        inside->context_close(p, j->op, j->device);
        break;
    case OP_PREPARE:
        inside->prepare(p, j->op, j->model);
        break;
    case OP_DISCARD:
        inside->discard(p, j->op, j->model);
        break;
    case OP_RESERVE:
        inside->reserve(p, j->op, j->model, j->instance, j->device, j->tier, j->packed, j->shared_bytes);
        break;
    case OP_LOAD:
        inside->load(p, j->op, j->model, j->instance, j->priority, j->keep, j->shared_bytes);
        break;
    case OP_PREFIX:
        inside->fill_prefix(p, j->op, j->model, j->instance);
        break;
    case OP_START:
        inside->engine_start(p, j->op, j->model, j->instance);
        break;
    case OP_STOP:
        inside->engine_stop(p, j->op, j->model, j->instance);
        break;
    case OP_FREE:
        inside->free(p, j->op, j->model, j->instance);
        break;
    case OP_KEEP:
        inside->keep(p, j->op, j->model, j->instance);
        break;
    case OP_DROP:
        inside->drop(p, j->op, j->model);
        break;
    }
}

static void run_op(struct sgi__job *job)
{
    struct op_job      *j = (struct op_job *)job;
    struct incarnation *life = j->life;
    struct test_place  *tp = life->tp;

    nanosleep(&(struct timespec){ .tv_nsec = (long)j->delay_us * 1000 }, NULL);
    if (j->what == OP_LOAD)
        gate_pass(&tp->load_gate);
    pthread_mutex_lock(&tp->mutex);
    while (!tp->stepped && steps_wait(tp, j) && !life->dead)
        steps_park(life);
    /* Once dead, it is lost with everything else; but loads still end, or the start that waits for them would not. */
    bool dead = life->dead && j->what != OP_LOAD && j->what != OP_PREFIX;
    if (dead) {
        life->out--;
        tp->lost++;
        pthread_cond_broadcast(&tp->changed);
    } else {
        life->running += !tp->stepped; /* stepped: counted where it was begun */
    }
    pthread_mutex_unlock(&tp->mutex);
    if (!dead)
        carry_out(j);
    free(j);
}

/* An op for something that went with an earlier life was on its way when that ended: it has no result any more. */
static bool knows(const struct incarnation *life, const struct op_job *j)
{
    const struct held_model *m = life_find_model(life, j->model);

    switch (j->what) {
    case OP_CONTEXT_OPEN:
    case OP_CONTEXT_CLOSE:
        return true;
    case OP_DROP:
        return m && m->residence;
    case OP_DISCARD:
        return m && m->prepared;
    case OP_RESERVE:
        return m && (j->tier != SGI_TIER_DRAM || m->residence);
    case OP_CHECK:
    case OP_PREPARE:
        return m != NULL;
    default:
        return life_find_instance(life, j->instance) != NULL;
    }
}

static void submit(struct sgi__place *p, struct op_job op)
{
    struct test_place *tp = (struct test_place *)p;
    struct op_job     *j = must(malloc(sizeof *j));

    *j = op;
    j->job.run = run_op;
    pthread_mutex_lock(&tp->mutex);
    tp->random = tp->random * UINT64_C(6364136223846793005) + 1442695040888963407u;
    j->delay_us = tp->delay_us_max ? (uint32_t)(tp->random >> 33) % tp->delay_us_max : 0;
    j->life = tp->live;
    bool good = j->life && knows(j->life, j);
    if (good)
        j->life->out++;
    if (good && j->what == OP_RESERVE && j->tier == SGI_TIER_DRAM)
        life_find_model(j->life, j->model)->borrower = j->instance;
    else
        tp->lost++;
    if (good)
        life_asked(j->life, j);
    bool waits = good && tp->stepped;
    if (waits)
        steps_add(tp, j);
    pthread_mutex_unlock(&tp->mutex);
    if (!good)
        free(j);
    else if (!waits && sgi__pool_submit(tp->pool, &j->job) != 0)
        abort();
}

static void check_source(struct sgi__place *p, uint64_t op, sgi_model model)
{
    submit(p, (struct op_job){ .what = OP_CHECK, .op = op, .model = model });
}

static void context_open(struct sgi__place *p, uint64_t op, int32_t device)
{
    submit(p, (struct op_job){ .what = OP_CONTEXT_OPEN, .op = op, .device = device });
}

static void context_close(struct sgi__place *p, uint64_t op, int32_t device)
{
    submit(p, (struct op_job){ .what = OP_CONTEXT_CLOSE, .op = op, .device = device });
}

static void prepare(struct sgi__place *p, uint64_t op, sgi_model model)
{
    submit(p, (struct op_job){ .what = OP_PREPARE, .op = op, .model = model });
}

static void discard(struct sgi__place *p, uint64_t op, sgi_model model)
{
    submit(p, (struct op_job){ .what = OP_DISCARD, .op = op, .model = model });
}

static void reserve(struct sgi__place *p, uint64_t op, sgi_model model, uint64_t instance, int32_t device,
                    uint32_t tier, bool packed, uint64_t shared_bytes)
{
    submit(p, (struct op_job){ .what = OP_RESERVE,
                               .op = op,
                               .model = model,
                               .instance = instance,
                               .device = device,
                               .tier = tier,
                               .packed = packed,
                               .shared_bytes = shared_bytes });
}

static void load(struct sgi__place *p, uint64_t op, sgi_model model, uint64_t instance, int32_t priority,
                 enum sgi__keep keep, uint64_t shared_bytes)
{
    submit(p, (struct op_job){ .what = OP_LOAD,
                               .op = op,
                               .model = model,
                               .instance = instance,
                               .priority = priority,
                               .keep = keep,
                               .shared_bytes = shared_bytes });
}

static void fill_prefix(struct sgi__place *p, uint64_t op, sgi_model model, uint64_t instance)
{
    submit(p, (struct op_job){ .what = OP_PREFIX, .op = op, .model = model, .instance = instance });
}

static void engine_start(struct sgi__place *p, uint64_t op, sgi_model model, uint64_t instance)
{
    submit(p, (struct op_job){ .what = OP_START, .op = op, .model = model, .instance = instance });
}

static void engine_stop(struct sgi__place *p, uint64_t op, sgi_model model, uint64_t instance)
{
    submit(p, (struct op_job){ .what = OP_STOP, .op = op, .model = model, .instance = instance });
}

static void free_instance(struct sgi__place *p, uint64_t op, sgi_model model, uint64_t instance)
{
    submit(p, (struct op_job){ .what = OP_FREE, .op = op, .model = model, .instance = instance });
}

static void keep(struct sgi__place *p, uint64_t op, sgi_model model, uint64_t instance)
{
    submit(p, (struct op_job){ .what = OP_KEEP, .op = op, .model = model, .instance = instance });
}

static void drop(struct sgi__place *p, uint64_t op, sgi_model model)
{
    submit(p, (struct op_job){ .what = OP_DROP, .op = op, .model = model });
}

/* ------------------------------------------------------------------ looking */

/* The life that has the instance, held so that it is not taken apart; NULL: it has gone. */
static struct incarnation *look(struct sgi__place *p, uint64_t instance)
{
    struct test_place *tp = (struct test_place *)p;

    pthread_mutex_lock(&tp->mutex);
    struct incarnation *life = tp->live && life_find_instance(tp->live, instance) ? tp->live : NULL;
    if (life)
        life->inside++;
    pthread_mutex_unlock(&tp->mutex);
    return life;
}

static void look_away(struct incarnation *life)
{
    pthread_mutex_lock(&life->tp->mutex);
    life->inside--;
    pthread_cond_broadcast(&life->tp->changed);
    pthread_mutex_unlock(&life->tp->mutex);
}

static sgi_status has_died(sgi_error *err)
{
    return sgi__error(err, SGI_E_DEVICE_LOST, "the place has died");
}

static void cancel(struct sgi__place *p, uint64_t instance)
{
    struct incarnation *life = look(p, instance);
    if (!life)
        return;
    inside->cancel(life->inner, instance);
    life_canceled(life, instance);
    look_away(life);
}

static void load_priority(struct sgi__place *p, uint64_t instance, int32_t priority)
{
    struct incarnation *life = look(p, instance);
    if (life) {
        inside->load_priority(life->inner, instance, priority);
        look_away(life);
    }
}

static sgi_status call(struct sgi__place *p, uint64_t call_id, uint64_t instance, const void *request, size_t bytes,
                       sgi_error *err)
{
    struct test_place *tp = (struct test_place *)p;

    gate_pass(&tp->call_gate);
    pthread_mutex_lock(&tp->mutex);
    struct incarnation *life = tp->live && life_find_instance(tp->live, instance) ? tp->live : NULL;
    if (life) {
        struct held_call *c = must(calloc(1, sizeof *c));
        *c = (struct held_call){ .id = call_id, .instance = instance, .next = life->calls };
        life->calls = c;
        life->out++;
        life->inside++;
    }
    pthread_mutex_unlock(&tp->mutex);
    if (!life)
        return has_died(err);
    sgi_status st = inside->call(life->inner, call_id, instance, request, bytes, err);
    if (st != SGI_OK) {
        pthread_mutex_lock(&tp->mutex);
        life_forget_call(life, call_id);
        life->out--;
        pthread_mutex_unlock(&tp->mutex);
    }
    look_away(life);
    return st;
}

static void call_cancel(struct sgi__place *p, uint64_t call_id, uint64_t instance)
{
    struct incarnation *life = look(p, instance);
    if (!life)
        return;
    inside->call_cancel(life->inner, call_id, instance);
    look_away(life);
}

static sgi_status tensor(struct sgi__place *p, uint64_t instance, uint64_t index, sgi_view *view_out, sgi_error *err)
{
    struct incarnation *life = look(p, instance);
    if (!life)
        return has_died(err);
    sgi_status st = inside->tensor(life->inner, instance, index, view_out, err);
    look_away(life);
    return st;
}

static sgi_status tensor_wait(struct sgi__place *p, uint64_t instance, uint64_t index, uint64_t deadline_ns,
                              sgi_error *err)
{
    struct incarnation *life = look(p, instance);
    if (!life)
        return has_died(err);
    sgi_status st = inside->tensor_wait(life->inner, instance, index, deadline_ns, err);
    look_away(life);
    return st;
}

static sgi_status tensor_digest(struct sgi__place *p, uint64_t instance, uint64_t index, uint64_t *xxh3_out,
                                sgi_error *err)
{
    struct incarnation *life = look(p, instance);
    if (!life)
        return has_died(err);
    sgi_status st = inside->tensor_digest(life->inner, instance, index, xxh3_out, err);
    look_away(life);
    return st;
}

static sgi_status tensor_read(struct sgi__place *p, uint64_t instance, uint64_t index, uint64_t offset, void *dst,
                              uint64_t bytes, sgi_error *err)
{
    struct incarnation *life = look(p, instance);
    if (!life)
        return has_died(err);
    sgi_status st = inside->tensor_read(life->inner, instance, index, offset, dst, bytes, err);
    look_away(life);
    return st;
}

static sgi_status image(struct sgi__place *p, uint64_t instance, uint32_t part, sgi_image *image_out, sgi_error *err)
{
    struct incarnation *life = look(p, instance);
    if (!life)
        return has_died(err);
    sgi_status st = inside->image(life->inner, instance, part, image_out, err);
    look_away(life);
    return st;
}

static sgi_status tensor_order(struct sgi__place *p, uint64_t instance, uint64_t index, void *stream, sgi_error *err)
{
    struct incarnation *life = look(p, instance);
    if (!life)
        return has_died(err);
    sgi_status st = inside->tensor_order(life->inner, instance, index, stream, err);
    look_away(life);
    return st;
}

static sgi_status run(struct sgi__place *p, uint64_t instance, uint32_t lease_slot, sgi_run_fn fn, void *user,
                      sgi_error *err)
{
    struct incarnation *life = look(p, instance);
    if (!life)
        return has_died(err);
    sgi_status st = inside->run(life->inner, instance, lease_slot, fn, user, err);
    look_away(life);
    return st;
}

static sgi_status stream(struct sgi__place *p, uint64_t instance, uint32_t lease_slot, void **stream_out,
                         sgi_error *err)
{
    struct incarnation *life = look(p, instance);
    if (!life)
        return has_died(err);
    sgi_status st = inside->stream(life->inner, instance, lease_slot, stream_out, err);
    look_away(life);
    return st;
}

static sgi_status instance_report(struct sgi__place *p, uint64_t instance, struct sgi__report *report_out)
{
    struct incarnation *life = look(p, instance);
    if (!life)
        return SGI_E_STALE;
    sgi_status st = inside->report(life->inner, instance, report_out);
    look_away(life);
    return st;
}

static sgi_status progress(struct sgi__place *p, uint64_t instance, struct sgi__place_progress *progress_out)
{
    struct incarnation *life = look(p, instance);
    if (!life)
        return SGI_E_STALE;
    sgi_status st = inside->progress(life->inner, instance, progress_out);
    look_away(life);
    return st;
}

static struct incarnation *look_at_live(struct test_place *tp)
{
    pthread_mutex_lock(&tp->mutex);
    struct incarnation *life = tp->live;
    if (life)
        life->inside++;
    pthread_mutex_unlock(&tp->mutex);
    return life;
}

static void spare_limit(struct sgi__place *p, uint64_t bytes)
{
    struct incarnation *life = look_at_live((struct test_place *)p);
    if (!life)
        return;
    inside->spare_limit(life->inner, bytes);
    look_away(life);
}

static void look_at_device(struct sgi__place *p, int32_t device)
{
    struct incarnation *life = look_at_live((struct test_place *)p);
    if (!life)
        return;
    inside->look(life->inner, device);
    look_away(life);
}

static uint32_t context(struct sgi__place *p, int32_t device, bool open)
{
    struct incarnation *life = look_at_live((struct test_place *)p);
    if (!life)
        return SGI_CONTEXT_NONE;
    uint32_t whose = inside->context(life->inner, device, open);
    look_away(life);
    return whose;
}

static uint64_t spare_bytes(struct sgi__place *p)
{
    struct incarnation *life = look_at_live((struct test_place *)p);
    if (!life)
        return 0;
    uint64_t bytes = inside->spare_bytes(life->inner);
    look_away(life);
    return bytes;
}

static uint32_t threads(struct sgi__place *p)
{
    struct test_place  *tp = (struct test_place *)p;
    struct incarnation *life = look_at_live(tp);
    uint32_t            count = sgi__pool_threads(tp->pool);
    if (life) {
        count += inside->threads(life->inner);
        look_away(life);
    }
    return count;
}

/* ---------------------------------------------------------- models, open, close */

static sgi_status model_add(struct sgi__place *p, const struct sgi__place_model *model, sgi_error *err)
{
    struct test_place  *tp = (struct test_place *)p;
    struct incarnation *life = look_at_live(tp);
    sgi_status          st = SGI_OK;

    if (life) {
        st = life_add_model(life, model, err);
        look_away(life);
    }
    if (st != SGI_OK)
        return st;
    struct known_model *k = must(calloc(1, sizeof *k));
    k->spec = *model;
    pthread_mutex_lock(&tp->mutex);
    k->next = tp->models;
    tp->models = k;
    pthread_mutex_unlock(&tp->mutex);
    return SGI_OK;
}

static void model_remove(struct sgi__place *p, sgi_model model)
{
    struct test_place *tp = (struct test_place *)p;

    pthread_mutex_lock(&tp->mutex);
    struct known_model **at = &tp->models;
    while ((*at)->spec.id != model)
        at = &(*at)->next;
    struct known_model *k = *at;
    *at = k->next;
    lives_wait_reaped(tp); /* what the spec points to goes now, and the dead ones still use it */
    struct incarnation *life = tp->live;
    struct held_model  *m = life ? life_find_model(life, model) : NULL;
    if (m) {
        assert(!m->residence && !m->prepared);
        struct held_model **from = &life->models;
        while (*from != m)
            from = &(*from)->next;
        *from = m->next;
        life->inside++;
    }
    pthread_mutex_unlock(&tp->mutex);
    if (m) {
        inside->model_remove(life->inner, model);
        look_away(life);
        free(m);
    }
    free(k);
}

static sgi_status open_place(const struct sgi__place_config *config, struct sgi__place **place_out, sgi_error *err)
{
    struct test_place *tp = must(calloc(1, sizeof *tp));

    tp->config = *config;
    tp->pool = must(sgi__pool_new("test-place", 256));
    tp->random = test_place_next.seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    tp->delay_us_max = test_place_next.delay_us_max;
    tp->stepped = test_place_next.stepped;
    pthread_mutex_init(&tp->mutex, NULL);
    pthread_cond_init(&tp->changed, NULL);
    gate_init(&tp->call_gate);
    gate_init(&tp->load_gate);
    tp->live = tp->lives = life_new(tp, err);
    if (!tp->live)
        abort();
    last = tp;
    *place_out = (struct sgi__place *)tp;
    return SGI_OK;
}

static void close_place(struct sgi__place *p)
{
    struct test_place *tp = (struct test_place *)p;

    test_place_wait_reaped(tp);
    sgi__pool_free(tp->pool);
    assert(!tp->held && !tp->models && !tp->waiting);
    if (tp->live) {
        assert(tp->live->out == 0 && tp->live->inside == 0 && (tp->deaths > 0 || !tp->live->instances));
        life_take_apart(tp->live);
    }
    while (tp->lives) {
        struct incarnation *life = tp->lives;
        tp->lives = life->next;
        free(life);
    }
    gate_fini(&tp->call_gate);
    gate_fini(&tp->load_gate);
    pthread_cond_destroy(&tp->changed);
    pthread_mutex_destroy(&tp->mutex);
    last = NULL;
    free(tp);
}

const struct sgi__place_ops test_place_ops = {
    .abi = SGI__PLACE_ABI,
    .name = "test",
    .open = open_place,
    .close = close_place,
    .model_add = model_add,
    .model_remove = model_remove,
    .check_source = check_source,
    .context_open = context_open,
    .context_close = context_close,
    .prepare = prepare,
    .discard = discard,
    .reserve = reserve,
    .load = load,
    .load_priority = load_priority,
    .fill_prefix = fill_prefix,
    .engine_start = engine_start,
    .engine_stop = engine_stop,
    .free = free_instance,
    .keep = keep,
    .drop = drop,
    .cancel = cancel,
    .spare_limit = spare_limit,
    .look = look_at_device,
    .call = call,
    .call_cancel = call_cancel,
    .tensor = tensor,
    .tensor_wait = tensor_wait,
    .tensor_digest = tensor_digest,
    .tensor_read = tensor_read,
    .image = image,
    .tensor_order = tensor_order,
    .run = run,
    .stream = stream,
    .context = context,
    .report = instance_report,
    .progress = progress,
    .spare_bytes = spare_bytes,
    .threads = threads,
};
