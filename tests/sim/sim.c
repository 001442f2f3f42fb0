/* SPDX-License-Identifier: Apache-2.0 */
/* The simulator from beginning to end: its clock and queue, one event of the core, what can be looked at. */
#include "sim/sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/sim_state.h"

/* ---- small tools ---- */

static void *must(void *memory)
{
    if (!memory) {
        fputs("sim: out of memory\n", stderr);
        abort();
    }
    return memory;
}

void *sim__array_add(void *array, uint32_t *count, uint32_t *capacity, size_t item_bytes)
{
    if (*count == *capacity) {
        *capacity = *capacity ? *capacity * 2 : 32;
        array = must(realloc(array, *capacity * item_bytes));
    }
    memset((char *)array + *count * item_bytes, 0, item_bytes);
    (*count)++;
    return array;
}

void *sim__slot(struct table *t, uint64_t id)
{
    uint32_t slot = sgi__core_slot(id);
    if (slot >= t->size) {
        uint32_t size = slot + 16;
        t->at = must(realloc(t->at, size * sizeof *t->at));
        memset(t->at + t->size, 0, (size - t->size) * sizeof *t->at);
        t->size = size;
    }
    if (!t->at[slot])
        t->at[slot] = must(calloc(1, t->item_bytes));
    return t->at[slot];
}

void *sim__get(const struct table *t, uint64_t id)
{
    uint32_t slot = sgi__core_slot(id);
    if (id == 0 || slot >= t->size || !t->at[slot])
        return NULL;
    return *(uint64_t *)t->at[slot] == id ? t->at[slot] : NULL;
}

static void table_fini(struct table *t)
{
    for (uint32_t n = 0; n < t->size; n++)
        free(t->at[n]);
    free(t->at);
}

struct world_model *sim__model(const struct sim *s, sgi_model id)
{
    return sim__get(&s->models, id);
}

uint64_t sim__random(struct sim *s, uint64_t below) /* splitmix64 */
{
    uint64_t z = s->random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    z ^= z >> 31;
    return below ? z % below : 0;
}

bool sim__chance(struct sim *s, uint32_t in_10000)
{
    return in_10000 > 0 && sim__random(s, 10000) < in_10000;
}

uint64_t sim__between(struct sim *s, struct range r)
{
    return r.max > r.min ? r.min + sim__random(s, r.max - r.min + 1) : r.min;
}

bool sim__packed_now(struct sim *s)
{
    uint64_t random = s->random;
    s->random = s->random_packed;
    bool now = sim__random(s, 2) > 0;
    s->random_packed = s->random;
    s->random = random;
    return now;
}

bool sim__never(struct sim *s)
{
    uint64_t random = s->random;
    s->random = s->random_never;
    bool never = sim__chance(s, s->habits.never);
    s->random_never = s->random;
    s->random = random;
    return never;
}

/* ---- queue: by time, then by the order it was filled in ---- */

static bool queued_before(const struct queued *a, const struct queued *b)
{
    return a->at != b->at ? a->at < b->at : a->seq < b->seq;
}

static void requeue(struct sim *s, const struct queued *q)
{
    s->queue = sim__array_add(s->queue, &s->queue_count, &s->queue_capacity, sizeof *s->queue);
    struct queued item = *q;
    uint32_t      at = s->queue_count - 1;
    while (at > 0 && queued_before(&item, &s->queue[(at - 1) / 2])) {
        s->queue[at] = s->queue[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    s->queue[at] = item;
}

void sim__queue(struct sim *s, const struct queued *q)
{
    struct queued item = *q;
    item.seq = ++s->queue_seq;
    requeue(s, &item);
}

static struct queued queue_pop(struct sim *s)
{
    struct queued first = s->queue[0], last = s->queue[--s->queue_count];
    uint32_t      at = 0;
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= s->queue_count)
            break;
        if (child + 1 < s->queue_count && queued_before(&s->queue[child + 1], &s->queue[child]))
            child++;
        if (!queued_before(&s->queue[child], &last))
            break;
        s->queue[at] = s->queue[child];
        at = child;
    }
    if (s->queue_count > 0)
        s->queue[at] = last;
    return first;
}

void sim__queue_remove(struct sim *s, const struct world_op *op)
{
    uint32_t kept = 0;
    for (uint32_t n = 0; n < s->queue_count; n++) /* the order among the rest does not change */
        if (s->queue[n].op != op)
            s->queue[kept++] = s->queue[n];
    if (kept == s->queue_count)
        return;
    struct queued *old = s->queue;
    s->queue = NULL;
    s->queue_count = s->queue_capacity = 0;
    for (uint32_t n = 0; n < kept; n++)
        requeue(s, &old[n]);
    free(old);
}

/* ---- one event of the core ---- */

void sim__begin(struct sim *s, char type, struct world_model *m)
{
    s->event++;
    s->score.events++;
    s->event_type = type;
    s->event_model = m;
    s->ceiling_before = s->ceiling;
    if (s->relief_at <= s->now) {
        uint64_t step = s->dram_max / 8 + 1;
        bool     over = s->ceiling + step >= s->dram_max;
        s->ceiling = over ? UINT64_MAX : s->ceiling + step;
        s->relief_at = over ? SGI__NEVER : s->now + SIM_RELIEF_NS;
    }
}

void sim__settle(struct sim *s)
{
    struct sgi__core_reply  reply;
    struct sgi__core_action action;
    sim__mark_hung(s);
    sim__mark_up(s);
    while (sgi__core_take_reply(s->core, &reply)) {
        sim__check_reply(s, &reply);
        if (s->told)
            s->told(s->told_user, &reply);
    }
    while (sgi__core_take_action(s->core, &action)) {
        sim__log(s, 'a', (uint8_t)action.kind, action.device, 0, action.model, action.instance, action.op);
        sim__check_action(s, &action);
        s->actions[action.kind]++;
        if (sim__model(s, action.model))
            sim__model(s, action.model)->actions[action.kind]++;
        sim__world_action(s, &action);
    }
    if (s->admitted_event == s->event) /* what was admitted may have been given up in the same event */
        sim__mark_hung(s);
    sim__check_all(s);
}

void sim__event(struct sim *s, const struct sgi__core_event *event, bool must_take)
{
    sim__begin(s, 'e', sim__model(s, event->model));
    s->event_kind = event->kind;
    sim__log(s, 'e', (uint8_t)event->kind, event->device, event->status, event->model, event->instance, event->op);
    bool taken = sgi__core_event(s->core, s->now, event);
    if (taken != must_take)
        sim__broken(s, must_take ? "the result of an action that is out is not dropped"
                                 : "a late, double or foreign result is dropped");
    sim__settle(s);
}

void sim__tick(struct sim *s)
{
    sim__begin(s, 't', NULL);
    sim__log(s, 't', 0, INT32_MIN, 0, 0, 0, 0);
    s->tick_at = SGI__NEVER;
    sgi__core_tick(s->core, s->now);
    if (sgi__core_wake_at(s->core) <= s->now)
        sim__broken(s, "a tick handles everything that is due");
    sim__settle(s);
}

static void handle(struct sim *s, const struct queued *q)
{
    switch (q->kind) {
    case Q_RESULT:
        sim__world_result(s, q->op);
        break;
    case Q_LOADS:
        sim__loads_end(s, q->tier, q->a);
        break;
    case Q_CALL_BACK:
        sim__call_back(s, q->a, q->b);
        break;
    case Q_REPEAT:
        sim__world_repeat(s, q->op);
        break;
    case Q_GATE:
        sim__gate_opens(s, (uint32_t)q->a, q->b);
        break;
    case Q_LOOKED:
        sim__world_looked(s, (uint32_t)q->a);
        break;
    default:
        sim__client(s, q);
        break;
    }
}

/* When the thread that minds the timers runs next. A late one is late by a fixed amount once it has to go. */
static uint64_t next_tick(struct sim *s)
{
    uint64_t wake = sgi__core_wake_at(s->core);
    if (wake == SGI__NEVER)
        return SGI__NEVER;
    if (wake < s->now)
        wake = s->now;
    if (s->habits.tick_late == 0)
        return wake;
    if (s->tick_at == SGI__NEVER || s->tick_at > wake + s->habits.tick_late)
        s->tick_at = wake + sim__random(s, s->habits.tick_late);
    return s->tick_at < wake ? wake : s->tick_at;
}

bool sim__step(struct sim *s, uint64_t until)
{
    uint64_t queued = s->queue_count ? s->queue[0].at : SGI__NEVER;
    uint64_t due = next_tick(s);
    uint64_t next = queued < due ? queued : due;
    if (next == SGI__NEVER || next > until)
        return false;
    if (next > s->now)
        s->now = next;
    if (due <= queued) {
        sim__tick(s);
        return true;
    }
    struct queued q = queue_pop(s);
    handle(s, &q);
    return true;
}

/* After a scripted step: what takes no time happens now. */
void sim__now_due(struct sim *s)
{
    if (s->habits.on || s->config.stepped)
        return;
    while (sim__step(s, s->now))
        ;
}

void sim_told(struct sim *s, void (*told)(void *user, const struct sgi__core_reply *reply), void *user)
{
    s->told = told;
    s->told_user = user;
}

/* ---- life ---- */

static uint64_t or_else(uint64_t value, uint64_t otherwise)
{
    return value ? value : otherwise;
}

uint64_t sim__ns(uint64_t ms)
{
    return ms == SIM_IDLE_NEVER ? SGI__NEVER : MS(ms);
}

struct sim *sim_new(const struct sim_config *config)
{
    struct sim *s = must(calloc(1, sizeof *s));
    s->config = *config;
    s->random = config->seed;
    s->now = MS(1000); /* not 0: nothing may take 0 for "never" */
    s->up = true;
    s->tick_at = SGI__NEVER;
    s->models.item_bytes = sizeof(struct world_model);
    s->instances.item_bytes = sizeof(struct world_instance);
    s->wants.item_bytes = sizeof(struct world_want);
    s->leases.item_bytes = sizeof(struct world_lease);
    s->devices_count = config->devices_count ? config->devices_count : 1;
    s->dram_max = config->dram_bytes;
    s->dram_trim = s->ceiling = s->ceiling_before = UINT64_MAX;
    s->relief_at = SGI__NEVER;

    struct sgi__core_config c = {
        .devices_count = s->devices_count,
        .dram_bytes_max = config->dram_bytes,
        .wants_max = (uint32_t)or_else(config->wants_max, 64),
        .loads_max = (uint32_t)or_else(config->loads_max, 4),
        .linger_ns = MS(or_else(config->linger_ms, 1000)),
        .starve_ns = MS(or_else(config->starve_ms, 5000)),
        .backoff_ns = MS(or_else(config->backoff_ms, 100)),
        .backoff_max_ns = MS(or_else(config->backoff_max_ms, 10000)),
        .failure_expiry_ns = MS(or_else(config->failure_expiry_ms, 60000)),
        .notes = true,
        .id_seed = config->id_seed ? config->id_seed : sim__random(s, 1u << 30),
    };
    s->config.wants_max = c.wants_max;
    s->config.loads_max = c.loads_max;
    s->config.starve_ms = or_else(config->starve_ms, 5000);
    for (uint32_t d = 0; d < s->devices_count; d++) {
        uint64_t bytes = or_else(config->device_bytes[d], or_else(config->vram_bytes, GIB(1)));
        s->devices[d].bytes_max = bytes;
        s->devices[d].bytes_total = config->total_bytes[d];
        s->devices[d].own = config->discrete || (config->discrete_devices >> d & 1);
        c.devices[d] = (struct sgi__core_device_config){ .bytes_max = bytes,
                                                         .bytes_total = config->total_bytes[d],
                                                         .unified = !s->devices[d].own };
    }
    s->core = must(sgi__core_new(&c));
    sgi__core_watch(s->core, true);
    return s;
}

void sim__fini(struct sim *s)
{
    table_fini(&s->models);
    table_fini(&s->instances);
    table_fini(&s->wants);
    table_fini(&s->leases);
    for (uint32_t n = 0; n < s->out_count; n++)
        free(s->out[n]);
    free(s->out);
    free(s->held);
    free(s->calls);
    for (uint32_t n = 0; n < s->queue_count; n++)
        if (s->queue[n].kind == Q_REPEAT)
            free(s->queue[n].op);
    free(s->queue);
    free(s);
}

static void release_all(struct sim *s)
{
    while (s->calls_count > 0)
        sim__call_back(s, s->calls[0].lease, s->calls[0].instance);
    for (uint32_t n = 0; n < s->leases.size; n++) {
        struct world_lease *l = s->leases.at[n];
        if (l && l->id)
            sim_call_detach(s, l->id);
        if (l && l->id && sim_release(s, l->id) != SGI_OK)
            sim__broken(s, "a lease without a call can be released");
    }
}

/* Whatever was held, or was never to come back, comes back. */
void sim__let_return(struct sim *s)
{
    for (uint32_t kind = 0; kind < SIM_ACTS; kind++)
        sim_let_go(s, (enum sgi__core_action_kind)kind);
    for (uint32_t n = 0; n < s->calls_count; n++) {
        struct world_call *call = &s->calls[n];
        if (call->never)
            sim__queue(s, &(struct queued){ .at = s->now, .kind = Q_CALL_BACK, .a = call->lease, .b = call->instance });
        call->never = false;
    }
}

void sim__finish(struct sim *s, bool releasing)
{
    sim__let_return(s);
    if (!s->closing)
        sim_drain(s);
    if (releasing)
        release_all(s);
    sim_run_out(s);
    if (s->leases_count > 0)
        sim__broken(s, "every lease was released by its user (%u are left)", s->leases_count);
    if (s->closed != 1)
        sim__broken(s, "a drain ends in one CLOSED (came %u times)", s->closed);
    if (s->wants_count > 0)
        sim__broken(s, "every want ends (%u did not)", s->wants_count);
    sim__check_quiet(s);
    if (sgi__core_wake_at(s->core) != SGI__NEVER)
        sim__broken(s, "no timer is set when nothing is held");
    for (uint32_t n = 0; n < s->models.size; n++) {
        struct world_model *m = s->models.at[n];
        if (m && m->id && (m->dram_bytes > 0 || m->prepare != NOT))
            sim__broken(s, "nothing is kept after a drain");
    }
    sgi__core_free(s->core);
    s->core = NULL;
}

void sim_free(struct sim *s)
{
    sim__finish(s, false);
    sim__fini(s);
}

void sim_free_releasing(struct sim *s)
{
    sim__finish(s, true);
    sim__fini(s);
}

sgi_status sim_model_status(struct sim *s, const struct sim_model *model, sgi_model *model_out)
{
    struct sgi__core_model_config c = {
        .image_bytes = model->bytes,
        .device_bytes = model->device_bytes,
        .engine_bytes = model->engine_bytes,
        .idle_ns = model->idle_ms == 0              ? MS(10000)
                   : model->idle_ms == SIM_IDLE_NOW ? 0
                                                    : sim__ns(model->idle_ms),
        .hang_ns = model->hang_ms == 0 ? MS(60000) : sim__ns(model->hang_ms),
        .leases_max = model->leases_max ? model->leases_max
                      : model->engine   ? 1
                                        : UINT32_MAX,
        .has_engine = model->engine,
        .has_prepare = model->prepare,
        .has_prefix = model->prefix,
        .instances_max = model->instances,
        .devices_mask = model->devices,
        .packed_bytes = model->packed_bytes,
        .residence = model->residence,
    };
    sgi_model id;
    sim__begin(s, 'u', NULL);
    sgi_status st = sgi__core_model_add(s->core, &c, &id);
    sim__log(s, 'u', 'm', INT32_MIN, st, st == SGI_OK ? id : 0, 0, model->bytes);
    if (st == SGI_OK) {
        struct world_model *m = sim__slot(&s->models, id);
        if (m->id)
            sim__broken(s, "ids in use have different slots");
        *m = (struct world_model){ .id = id, .spec = *model, .config = c };
        uint32_t devices = 0;
        for (uint32_t d = 0; d < s->devices_count; d++)
            devices += model->devices == 0 || (model->devices >> d & 1);
        m->config.instances_max = model->instances > devices ? devices : model->instances ? model->instances : 1;
        m->engine_bytes = model->engine_bytes;
        *model_out = id;
    }
    sim__settle(s);
    sim__now_due(s);
    return st;
}

sgi_model sim_model(struct sim *s, const struct sim_model *model)
{
    sgi_model  id = 0;
    sgi_status st = sim_model_status(s, model, &id);
    if (st != SGI_OK)
        sim__broken(s, "a model can be added (%d)", st);
    return id;
}

sgi_status sim_remove(struct sim *s, sgi_model model)
{
    struct world_model *m = sim__model(s, model);
    sim__begin(s, 'u', m);
    sgi_status st = sgi__core_model_remove(s->core, model);
    sim__log(s, 'u', 'x', INT32_MIN, st, model, 0, 0);
    if ((st == SGI_OK) != (m && m->drained))
        sim__broken(s, "a model can be removed once its drain was replied, and no sooner");
    if (st == SGI_OK) {
        m->id = 0;
        s->event_model = NULL;
    }
    sim__settle(s);
    sim__now_due(s);
    return st;
}

/* ---- time ---- */

uint64_t sim_now(const struct sim *s)
{
    return s->now;
}

void sim_advance_ns(struct sim *s, uint64_t ns)
{
    uint64_t until = s->now + ns;
    while (sim__step(s, until))
        ;
    s->now = until;
}

void sim_advance_ms(struct sim *s, uint64_t ms)
{
    sim_advance_ns(s, MS(ms));
}

void sim_run_out(struct sim *s)
{
    for (uint32_t n = 0; sim__step(s, SGI__NEVER - 1); n++)
        if (n > 10 * 1000 * 1000)
            sim__broken(s, "what is under way ends");
}

/* ---- looking ---- */

uint64_t sim_vram_used(const struct sim *s)
{
    uint64_t used = 0;
    for (uint32_t d = 0; d < s->devices_count; d++)
        used += s->devices[d].used;
    return used;
}

uint64_t sim_device_used(const struct sim *s, uint32_t device)
{
    return s->devices[device].used;
}

uint64_t sim_dram_used(const struct sim *s)
{
    return s->dram_used;
}

uint64_t sim_model_dram(const struct sim *s, sgi_model model)
{
    return sim__model(s, model)->dram_bytes;
}

bool sim_in_dram(const struct sim *s, sgi_model model)
{
    return sim__resident(sim__model(s, model));
}

uint32_t sim_kept(const struct sim *s)
{
    return s->kept;
}

bool sim_context_open(const struct sim *s, uint32_t device)
{
    return s->devices[device].context == DONE;
}

uint32_t sim_actions(const struct sim *s, enum sgi__core_action_kind kind)
{
    return s->actions[kind];
}

uint32_t sim_actions_of(const struct sim *s, enum sgi__core_action_kind kind, sgi_model model)
{
    return sim__model(s, model)->actions[kind];
}

uint32_t sim_overdue(const struct sim *s)
{
    return s->overdue;
}

uint32_t sim_wedged(const struct sim *s)
{
    return s->wedged;
}

uint32_t sim_drained(const struct sim *s)
{
    return s->drained;
}

uint32_t sim_closed(const struct sim *s)
{
    return s->closed;
}

struct sgi__core *sim_core(struct sim *s)
{
    return s->core;
}

struct sgi__core_model_view sim_view(struct sim *s, sgi_model model)
{
    struct sgi__core_model_view view;
    if (sgi__core_model_view(s->core, model, &view) != SGI_OK)
        sim__broken(s, "a model that is there can be looked at");
    return view;
}

uint64_t sim_on_device(const struct sim *s, sgi_model model, uint32_t device)
{
    const struct world_instance *i = sim__here(sim__model(s, model), (int32_t)device);
    return i ? i->id : 0;
}

uint32_t sim_state(struct sim *s, uint64_t instance)
{
    struct sgi__core_instance_view view;
    return sgi__core_instance_view(s->core, instance, &view) == SGI_OK ? view.state : SGI_MODEL_COLD;
}
