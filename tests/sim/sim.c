/* SPDX-License-Identifier: Apache-2.0 */
/* The simulator's clock, queue and log, and the functions that tests script it with. */
#include "sim/sim.h"

#include <inttypes.h>
#include <stdarg.h>
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

/* ---- log ---- */

static const char *const action_names[SIM_ACTS] = {
    "CHECK_SOURCE", "OPEN_CONTEXT", "CLOSE_CONTEXT", "RESERVE", "START_LOAD", "CANCEL_LOAD", "PREPARE",
    "DISCARD",      "START_ENGINE", "STOP_ENGINE",   "FREE",    "KEEP",       "DROP",        "SPARE_LIMIT",
};
static const char *const event_names[] = {
    "SOURCE_CHECKED", "CONTEXT_OPENED", "CONTEXT_CLOSED", "CONTEXT_LOST", "CONTEXT_BACK", "RESERVED",
    "LOADED",         "ENGINE_STARTED", "ENGINE_STOPPED", "PREPARED",     "DISCARDED",    "FREED",
    "KEPT",           "DROPPED",        "FOREIGN",        "PLACE_DIED",   "PLACE_UP",
};
static const char *const reply_names[] = { "GRANT", "REJECT", "OVERDUE", "WEDGED", "DRAINED", "CLOSED" };

/* Short names for 64-bit ids: their serial and slot. */
static void print_id(FILE *out, const char *what, uint64_t id)
{
    if (id)
        fprintf(out, " %s=%" PRIu64 ".%u", what, id >> 21 & ((UINT64_C(1) << 41) - 1), sgi__core_slot(id));
}

static void print_record(FILE *out, const struct record *r)
{
    fprintf(out, "%7" PRIu64 " %13.6f ms  ", r->event, (double)r->at / 1e6);
    switch (r->type) {
    case 'a':
        fprintf(out, "    -> %s", action_names[r->kind]);
        break;
    case 'r':
        fprintf(out, "    => %s", reply_names[r->kind]);
        break;
    case 'e':
        fprintf(out, "%s", event_names[r->kind]);
        break;
    case 't':
        fprintf(out, "tick");
        break;
    default:
        fprintf(out, "user %c", r->kind);
        break;
    }
    print_id(out, r->type == 'r' ? "ticket" : "model", r->a);
    print_id(out, r->type == 'r' ? "lease" : r->type == 'u' ? "id" : "instance", r->b);
    if (r->device != INT32_MIN)
        fprintf(out, " device=%" PRId32, r->device);
    if (r->c)
        fprintf(out, " %s=%" PRIu64, r->type == 'a' || r->type == 'e' ? "op" : "n", r->c);
    if (r->status)
        fprintf(out, " status=%" PRId32, r->status);
    fputc('\n', out);
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash ^= value + UINT64_C(0x9e3779b97f4a7c15) + (hash << 6) + (hash >> 2);
    return hash * UINT64_C(0xff51afd7ed558ccd);
}

void sim__log(struct sim *s, char type, uint8_t kind, int32_t device, sgi_status status, uint64_t a, uint64_t b,
              uint64_t c)
{
    struct record *r = &s->log[s->log_count++ % SIM_LOG];
    *r = (struct record){ s->now, s->event, type, kind, device, status, a, b, c };
    if (s->config.verbose)
        print_record(stderr, r);
    if (type != 'a' && type != 'r')
        return;
    uint64_t hash = mix(s->score.hash, s->now);
    hash = mix(hash, (uint64_t)kind << 32 | (uint32_t)status);
    hash = mix(hash, a);
    s->score.hash = mix(mix(hash, b), c ^ (uint64_t)(uint32_t)device);
}

/* What is there when a rule breaks: models in use, what waits for them, what they hold. */
static void print_state(FILE *out, const struct sim *s)
{
    static const char facts[] = { [NOT] = '-', [UNDER_WAY] = '~', [DONE] = '+', [FAILED] = '!' };

    for (uint32_t d = 0; d < s->devices_count; d++)
        fprintf(out, "  device %u: %" PRIu64 " of %" PRIu64 " MiB, foreign %" PRIu64 "%s\n", d,
                s->devices[d].used >> 20, s->devices[d].bytes_max >> 20, s->devices[d].foreign >> 20,
                s->devices[d].lost ? ", lost" : "");
    fprintf(out, "  starve %" PRIu64 " ms, loads %u at most, wants %u at most, ticks %s\n", s->config.starve_ms,
            s->config.loads_max, s->config.wants_max, s->habits.tick_late ? "late" : "in time");
    fprintf(out, "  dram: %" PRIu64 " of %" PRIu64 " MiB%s\n", s->dram_used >> 20, s->dram_max >> 20,
            s->up ? "" : "; the place is gone");
    for (uint32_t n = 0; n < s->models.size; n++) {
        const struct world_model *m = s->models.at[n];
        if (!m || !m->id || !(m->wants || m->leases || m->instance || m->dram_bytes))
            continue;
        const struct world_instance *i = m->instance;
        fprintf(out, "  model %u: %" PRIu64 "+%" PRIu64 " MiB, wants %u, leases %u, checked %c, prepare %c%s%s%s", n,
                m->config.image_bytes >> 20, m->engine_bytes >> 20, m->wants, m->leases, facts[m->checked],
                facts[m->prepare], m->dram_bytes ? m->dropping ? ", dropping" : ", in DRAM" : "",
                m->pinned_tier ? ", pinned" : "", m->draining ? ", draining" : "");
        if (i)
            fprintf(
                out,
                "; on %d: reserve %c load %c engine %c stop %c end %c, leases %u, calls %u, idle for %.3f ms%s%s%s%s%s",
                i->device, facts[i->reserve], facts[i->load], facts[i->engine], facts[i->stop], facts[i->end],
                i->leases, i->calls, i->rest_known ? ((double)i->idle_until - (double)s->now) / 1e6 : -1,
                i->failed ? ", failed" : "", i->lost ? ", lost" : "", i->hung ? ", hung" : "",
                i->canceled ? ", canceled" : "", i->leaving ? ", leaving" : "");
        fputc('\n', out);
    }
    for (uint32_t n = 0; n < s->wants.size; n++) {
        const struct world_want *w = s->wants.at[n];
        if (w && w->id)
            fprintf(out, "  want %u: model %u, waits for %.3f ms, priority %d, hint %d%s%s%s\n", n,
                    sgi__core_slot(w->model->id), (double)(s->now - w->since) / 1e6, w->spec.priority,
                    w->spec.device_hint, w->spec.prefetch ? ", prefetch" : "",
                    w->spec.tier == SGI_TIER_DRAM ? " to DRAM" : "", w->spec.early ? ", early" : "");
    }
}

_Noreturn void sim__broken(const struct sim *s, const char *rule, ...)
{
    if (!s->config.quiet) {
        va_list  args;
        uint64_t first = s->log_count > 30 ? s->log_count - 30 : 0;
        for (uint64_t n = first; n < s->log_count; n++)
            print_record(stderr, &s->log[n % SIM_LOG]);
        print_state(stderr, s);
        fprintf(stderr, "sim: seed %" PRIu64 ", event %" PRIu64 ", %.6f ms: RULE BROKEN: ", s->config.seed, s->event,
                (double)s->now / 1e6);
        va_start(args, rule);
        vfprintf(stderr, rule, args);
        va_end(args);
        fputc('\n', stderr);
    }
    abort();
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
}

void sim__settle(struct sim *s)
{
    struct sgi__core_reply  reply;
    struct sgi__core_action action;
    while (sgi__core_take_reply(s->core, &reply))
        sim__check_reply(s, &reply);
    while (sgi__core_take_action(s->core, &action)) {
        sim__log(s, 'a', (uint8_t)action.kind, action.device, 0, action.model, action.instance, action.op);
        sim__check_action(s, &action);
        s->actions[action.kind]++;
        if (sim__model(s, action.model))
            sim__model(s, action.model)->actions[action.kind]++;
        sim__world_action(s, &action);
    }
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

static void call_back(struct sim *s, uint64_t lease, uint64_t instance);

static void handle(struct sim *s, const struct queued *q)
{
    switch (q->kind) {
    case Q_RESULT:
        sim__world_result(s, q->op);
        break;
    case Q_LOADS:
        sim__world_loads(s, q->tier, q->a);
        break;
    case Q_CALL_BACK:
        call_back(s, q->a, q->b);
        break;
    case Q_REPEAT:
        sim__world_repeat(s, q->op);
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
static void now_due(struct sim *s)
{
    if (s->habits.on)
        return;
    while (sim__step(s, s->now))
        ;
}

/* ---- life ---- */

static uint64_t or_else(uint64_t value, uint64_t otherwise)
{
    return value ? value : otherwise;
}

static uint64_t ms_or_never(uint64_t ms)
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
        .id_seed = config->id_seed ? config->id_seed : sim__random(s, 1u << 30),
    };
    s->config.wants_max = c.wants_max;
    s->config.loads_max = c.loads_max;
    for (uint32_t d = 0; d < s->devices_count; d++) {
        uint64_t bytes = or_else(config->device_bytes[d], or_else(config->vram_bytes, GIB(1)));
        s->devices[d].bytes_max = bytes;
        c.devices[d] = (struct sgi__core_device_config){ .bytes_max = bytes, .unified = !config->discrete };
    }
    s->core = must(sgi__core_new(&c));
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
        call_back(s, s->calls[0].lease, s->calls[0].instance);
    for (uint32_t n = 0; n < s->leases.size; n++) {
        struct world_lease *l = s->leases.at[n];
        if (l && l->id)
            sim_call_detach(s, l->id);
        if (l && l->id && sim_release(s, l->id) != SGI_OK)
            sim__broken(s, "a lease without a call can be released");
    }
}

void sim__finish(struct sim *s, bool releasing)
{
    for (uint32_t kind = 0; kind < SIM_ACTS; kind++)
        sim_let_go(s, (enum sgi__core_action_kind)kind);
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
        .engine_bytes = model->engine_bytes,
        .idle_ns = model->idle_ms == 0              ? MS(10000)
                   : model->idle_ms == SIM_IDLE_NOW ? 0
                                                    : ms_or_never(model->idle_ms),
        .hang_ns = model->hang_ms == 0 ? MS(60000) : ms_or_never(model->hang_ms),
        .leases_max = model->leases_max ? model->leases_max
                      : model->engine   ? 1
                                        : UINT32_MAX,
        .has_engine = model->engine,
        .has_prepare = model->prepare,
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
        m->engine_bytes = model->engine_bytes;
        *model_out = id;
    }
    sim__settle(s);
    now_due(s);
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
    now_due(s);
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

/* ---- requests ---- */

sgi_status sim_ask_status(struct sim *s, sgi_model model, const struct sim_ask *ask, sgi_ticket *ticket_out)
{
    static const struct sim_ask plain;
    struct world_model         *m = sim__model(s, model);
    const struct sim_ask       *a = ask ? ask : &plain;
    struct sgi__core_want       want = {
              .tier = a->tier ? a->tier : SGI_TIER_DEVICE,
              .prefetch = a->prefetch,
              .early = a->early,
              .priority = a->priority,
              .device_hint = (int32_t)a->device - 1,
              .deadline = a->deadline_ms ? s->now + MS(a->deadline_ms) : SGI__NEVER,
              .idle_ns = a->idle_ms == 0              ? SGI__IDLE_OF_MODEL
                         : a->idle_ms == SIM_IDLE_NOW ? 0
                                                      : ms_or_never(a->idle_ms),
              .lease_ns = a->lease_ms ? MS(a->lease_ms) : SGI__NEVER,
    };
    sgi_ticket ticket = 0;

    sim__begin(s, 'u', m);
    sgi_status st = sgi__core_want(s->core, s->now, model, &want, &ticket);
    sim__log(s, 'u', 'w', want.device_hint, st, model, ticket, want.prefetch);
    if (st == SGI_OK) {
        struct world_want *w = sim__slot(&s->wants, ticket);
        if (!m || m->draining || s->closing || s->wants_count >= s->config.wants_max)
            sim__broken(s, "a want is accepted only while its model and the queue are open");
        if (w->id)
            sim__broken(s, "ids in use have different slots");
        *w = (struct world_want){ .id = ticket, .model = m, .spec = want, .since = s->now, .seq = ++s->want_seq };
        s->wants_count++;
        m->wants++;
        m->evict_dram = m->evict_prepared = false; /* somebody needs it after all */
        if (ticket_out)
            *ticket_out = ticket;
    } else if ((st == SGI_E_STALE && m && !m->draining) || (st == SGI_E_BUSY && s->wants_count < s->config.wants_max) ||
               (st == SGI_E_CLOSED && !s->closing)) {
        sim__broken(s, "a want is refused for a reason that is true (%d)", st);
    }
    sim__settle(s);
    now_due(s);
    return st;
}

sgi_ticket sim_ask(struct sim *s, sgi_model model, const struct sim_ask *ask)
{
    sgi_ticket ticket = 0;
    sgi_status st = sim_ask_status(s, model, ask, &ticket);
    if (st != SGI_OK)
        sim__broken(s, "the want of a test is accepted (%d)", st);
    return ticket;
}

struct sim_outcome sim_outcome(const struct sim *s, sgi_ticket ticket)
{
    for (uint64_t n = s->outcomes_count; n > 0 && n + SIM_OUTCOMES > s->outcomes_count; n--)
        if (s->outcome_tickets[(n - 1) % SIM_OUTCOMES] == ticket)
            return s->outcomes[(n - 1) % SIM_OUTCOMES];
    return (struct sim_outcome){ .ended = false,
                                 .status = SGI_STATUS_END_ }; /* no status: nobody takes it for success */
}

struct sim_outcome sim_wait(struct sim *s, sgi_ticket ticket)
{
    while (!sim_outcome(s, ticket).ended)
        if (!sim__step(s, SGI__NEVER - 1))
            sim__broken(s, "a want ends while something can still happen");
    now_due(s);
    return sim_outcome(s, ticket);
}

sgi_lease sim_acquire(struct sim *s, sgi_model model)
{
    struct sim_outcome o = sim_wait(s, sim_ask(s, model, NULL));
    if (o.status != SGI_OK)
        sim__broken(s, "the acquire of a test is granted (%d)", o.status);
    return o.lease;
}

sgi_status sim_acquire_status(struct sim *s, sgi_model model)
{
    struct sim_outcome o = sim_wait(s, sim_ask(s, model, NULL));
    if (o.lease)
        sim_release(s, o.lease);
    return o.status;
}

/* A grant as a reply or try_acquire gave it; sim_check.c has looked at it. */
void sim__lease_made(struct sim *s, sgi_lease id, struct world_instance *i, uint64_t idle_ns, uint64_t lease_ns)
{
    struct world_model *m = i->model;
    struct world_lease *l = sim__slot(&s->leases, id);
    if (l->id)
        sim__broken(s, "ids in use have different slots");
    *l = (struct world_lease){
        .id = id,
        .model = m,
        .instance = i->id,
        .idle_ns = idle_ns == SGI__IDLE_OF_MODEL ? m->config.idle_ns : idle_ns,
        .granted_at = s->now,
        .due = lease_ns == SGI__NEVER ? SGI__NEVER : s->now + lease_ns,
        .early = i->load != DONE,
        .release_at = SGI__NEVER,
    };
    i->leases++;
    i->rest_known = false;
    m->leases++;
    s->leases_count++;
    if (s->habits.on)
        sim__client_granted(s, l);
}

sgi_status sim__try_acquire(struct sim *s, sgi_model model, uint64_t idle_ns, uint64_t lease_ns, sgi_lease *lease_out)
{
    struct world_model *m = sim__model(s, model);
    sgi_lease           lease = 0;

    sim__begin(s, 'u', m);
    sgi_status st = sgi__core_try_acquire(s->core, s->now, model, idle_ns, lease_ns, &lease);
    sim__log(s, 'u', 't', INT32_MIN, st, model, lease, 0);
    if (st == SGI_OK) {
        sim__check_try(s, m);
        sim__lease_made(s, lease, m->instance, idle_ns, lease_ns);
        *lease_out = lease;
    }
    sim__settle(s);
    now_due(s);
    return st;
}

sgi_status sim_try_acquire(struct sim *s, sgi_model model, sgi_lease *lease_out)
{
    return sim__try_acquire(s, model, SGI__IDLE_OF_MODEL, SGI__NEVER, lease_out);
}

sgi_status sim_cancel(struct sim *s, sgi_ticket ticket)
{
    struct world_want *w = sim__get(&s->wants, ticket);
    sim__begin(s, 'u', w ? w->model : NULL);
    if (w) {
        struct world_instance *i = w->model->instance;
        w->canceled = true;
        bool up = i && i->load == DONE && (!w->model->config.has_engine || i->engine == DONE);
        if (i && !up && w->model->wants == 1 && i->leases == 0)
            i->canceled = true;
    }
    sgi_status st = sgi__core_cancel(s->core, s->now, ticket);
    sim__log(s, 'u', 'c', INT32_MIN, st, w ? w->model->id : 0, ticket, 0);
    if (st != (w ? SGI_OK : SGI_E_STALE))
        sim__broken(s, "a ticket can be canceled until it has ended, and no longer (%d)", st);
    sim__settle(s);
    if (sim__get(&s->wants, ticket))
        sim__broken(s, "a canceled want ends");
    now_due(s);
    return st;
}

/* If nobody uses the instance, its idle time begins now. */
void sim__rests(const struct sim *s, struct world_instance *i)
{
    if (!sim__idle(i)) /* granted early and released early: the end of the load decides */
        return;
    i->rest_known = true;
    i->idle_until = i->idle_ns == SGI__NEVER ? SGI__NEVER : s->now + i->idle_ns;
}

sgi_status sim_release(struct sim *s, sgi_lease lease)
{
    struct world_lease *l = sim__get(&s->leases, lease);
    sim__begin(s, 'u', l ? l->model : NULL);
    sgi_status st = sgi__core_release(s->core, s->now, lease);
    sim__log(s, 'u', 'r', INT32_MIN, st, l ? l->model->id : 0, lease, 0);
    if (st != (!l ? SGI_E_STALE : l->call_open ? SGI_E_BUSY : SGI_OK))
        sim__broken(s, "a lease can be released once, with no call open on it (%d)", st);
    if (st == SGI_OK) {
        struct world_instance *i = sim__get(&s->instances, l->instance);
        if (i) {
            i->leases--;
            i->idle_ns = l->idle_ns; /* the last one released decides */
            sim__rests(s, i);
            if (i->died && i->leases == 0)
                i->id = 0;
        }
        l->model->leases--;
        s->leases_count--;
        l->id = 0;
    }
    sim__settle(s);
    now_due(s);
    return st;
}

sgi_status sim_evict(struct sim *s, sgi_model model, uint32_t tier)
{
    struct world_model *m = sim__model(s, model);
    sim__begin(s, 'u', m);
    if (m)
        m->evicted = true;
    sgi_status st = sgi__core_evict(s->core, s->now, model, tier);
    sim__log(s, 'u', 'e', INT32_MIN, st, model, 0, tier);
    if (st == SGI_E_STALE && m)
        sim__broken(s, "a model that is there can be evicted");
    if (st == SGI_OK) {
        if (m->leases > 0)
            sim__broken(s, "a leased model is not evicted");
        m->evict_dram = m->evict_dram || tier != SGI_TIER_DRAM;
        m->evict_prepared = m->evict_prepared || tier == SGI_EVICT_ALL;
    }
    sim__settle(s);
    if (m)
        m->evicted = false; /* what it makes leave is leaving by now */
    now_due(s);
    return st;
}

sgi_status sim_pin(struct sim *s, sgi_model model, uint32_t tier)
{
    struct world_model *m = sim__model(s, model);
    sim__begin(s, 'u', m);
    sgi_status st = sgi__core_pin(s->core, s->now, model, tier);
    sim__log(s, 'u', 'p', INT32_MIN, st, model, 0, tier);
    if (st == SGI_OK) {
        bool ends = m->pinned_tier == SGI_TIER_DEVICE && tier != SGI_TIER_DEVICE;
        m->pinned_tier = tier;
        if (ends && m->instance)
            sim__rests(s, m->instance);
    }
    sim__settle(s);
    now_due(s);
    return st;
}

sgi_status sim_drain_model(struct sim *s, sgi_model model, sgi_status reason)
{
    struct world_model *m = sim__model(s, model);
    sim__begin(s, 'u', m);
    if (m)
        m->draining = true;
    if (m && m->drain_reason == SGI_OK)
        m->drain_reason = reason;
    sgi_status st = sgi__core_model_drain(s->core, s->now, model, reason);
    sim__log(s, 'u', 'd', INT32_MIN, st, model, 0, 0);
    if (st != (m ? SGI_OK : SGI_E_STALE))
        sim__broken(s, "a model that is there can be drained (%d)", st);
    sim__settle(s);
    now_due(s);
    return st;
}

void sim_drain(struct sim *s)
{
    sim__begin(s, 'u', NULL);
    s->closing = true;
    sim__log(s, 'u', 'D', INT32_MIN, 0, 0, 0, 0);
    sgi__core_drain(s->core, s->now);
    sim__settle(s);
    now_due(s);
}

/* ---- calls ---- */

static struct world_call *find_call(struct sim *s, uint64_t lease, uint64_t instance)
{
    for (uint32_t n = 0; n < s->calls_count; n++)
        if (s->calls[n].lease == lease && (instance == 0 || s->calls[n].instance == instance))
            return &s->calls[n];
    return NULL;
}

sgi_status sim_call_begin(struct sim *s, sgi_lease lease)
{
    struct world_lease *l = sim__get(&s->leases, lease);
    uint64_t            instance = 0;

    sim__begin(s, 'u', l ? l->model : NULL);
    sgi_status st = sgi__core_call_begin(s->core, s->now, lease, &instance);
    sim__log(s, 'u', 'b', INT32_MIN, st, l ? l->model->id : 0, lease, 0);
    if (st == SGI_OK) {
        struct world_instance *i = sim__get(&s->instances, instance);
        if (!l || l->instance != instance || l->call_open || !i || i->lost || i->died || i->engine != DONE)
            sim__broken(s, "a call begins on a lease without one, whose engine runs");
        l->call_open = true;
        i->calls++;
        i->rest_known = false;
        s->calls = sim__array_add(s->calls, &s->calls_count, &s->calls_capacity, sizeof *s->calls);
        s->calls[s->calls_count - 1] = (struct world_call){
            .lease = lease, .instance = instance, .model = l->model, .ending_since = SGI__NEVER
        };
    }
    sim__settle(s);
    now_due(s);
    return st;
}

void sim_call_cancel(struct sim *s, sgi_lease lease)
{
    struct world_call *call = find_call(s, lease, 0);
    if (!call || call->ending_since != SGI__NEVER)
        return;
    sim__begin(s, 'u', call->model);
    sim__log(s, 'u', 'k', INT32_MIN, 0, call->model->id, lease, 0);
    sgi__core_call_cancel(s->core, s->now, call->instance);
    call->ending_since = s->now;
    sim__settle(s);
    now_due(s);
}

void sim_call_detach(struct sim *s, sgi_lease lease)
{
    struct world_lease *l = sim__get(&s->leases, lease);
    if (!l || !l->call_open)
        return;
    sim_call_cancel(s, lease); /* if it runs still */
    sim__begin(s, 'u', l->model);
    sim__log(s, 'u', 'y', INT32_MIN, 0, l->model->id, lease, 0);
    struct world_call *call = find_call(s, lease, 0);
    if (call)
        call->detached = true;
    sgi__core_call_detach(s->core, s->now, lease, call != NULL);
    l->call_open = false;
    sim__settle(s);
    now_due(s);
}

static void call_back(struct sim *s, uint64_t lease, uint64_t instance)
{
    struct world_call *call = find_call(s, lease, instance);
    if (!call)
        return;
    struct world_instance *i = sim__get(&s->instances, call->instance);
    struct world_call      gone = *call;

    sim__mark_hung(s, gone.model);
    *call = s->calls[--s->calls_count];
    sim__begin(s, 'u', gone.model);
    sim__log(s, 'u', 'B', INT32_MIN, 0, gone.model->id, lease, 0);
    if (i && !i->died) {
        i->calls--;
        sim__rests(s, i);
    }
    sgi__core_call_back(s->core, s->now, gone.instance, gone.ending_since != SGI__NEVER, gone.detached);
    sim__settle(s);
}

void sim_call_back(struct sim *s, sgi_lease lease)
{
    call_back(s, lease, 0);
    now_due(s);
}
