/* SPDX-License-Identifier: Apache-2.0 */
/* The replay: requests of a trace become wants, leases and releases; what they cost is counted from the replies. */
#include "sim/sim_replay.h"

#include <stdlib.h>
#include <string.h>

#include "sim/sim_state.h"

/* A request whose want is out, by the slot of its ticket. */
struct asking {
    sgi_ticket ticket;
    uint64_t   use_ns, since;
    uint32_t   model;
    bool       open, counts;
};

/* An instance, by its slot: who uses it, and since when nobody does. */
struct instance {
    uint64_t id;
    uint32_t model, leases;
    uint64_t idle_since; /* NEVER: somebody does, or it had no lease yet */
};

struct model {
    sgi_model id;
    uint64_t  bytes;
    uint64_t  to_come; /* requests that have not ended */
};

struct held {
    uint64_t  until, seq;
    sgi_lease lease;
    uint64_t  instance;
};

struct run {
    const struct sim_trace  *trace;
    const struct sim_replay *replay;
    struct sim              *sim;
    uint64_t                 start; /* of the trace, on the virtual clock */
    uint64_t                 counts_from;
    struct model            *models;
    struct asking           *asking;
    struct asking            asked; /* whose ticket is not known yet: a warm lease comes within the call */
    struct instance         *instances;
    uint32_t                 asking_count, asking_capacity, instances_count, instances_capacity;

    struct held *held; /* a heap: the first to be released, then the first that was granted */
    uint32_t     held_count, held_capacity;
    uint64_t     held_seq;

    uint64_t *waits;
    uint32_t  waits_count;

    struct sim_replay_result result;
};

static void *must(void *memory)
{
    if (!memory) {
        fputs("sim_replay: out of memory\n", stderr);
        abort();
    }
    return memory;
}

/* ---- leases held ---- */

static bool before(const struct held *a, const struct held *b)
{
    return a->until != b->until ? a->until < b->until : a->seq < b->seq;
}

static void hold(struct run *r, const struct held *held)
{
    r->held = sim__array_add(r->held, &r->held_count, &r->held_capacity, sizeof *r->held);
    uint32_t at = r->held_count - 1;
    while (at > 0 && before(held, &r->held[(at - 1) / 2])) {
        r->held[at] = r->held[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    r->held[at] = *held;
}

static struct held first_held(struct run *r)
{
    struct held first = r->held[0], last = r->held[--r->held_count];
    uint32_t    at = 0;
    for (uint32_t child = 1; child < r->held_count; child = 2 * at + 1) {
        child += child + 1 < r->held_count && before(&r->held[child + 1], &r->held[child]);
        if (!before(&r->held[child], &last))
            break;
        r->held[at] = r->held[child];
        at = child;
    }
    r->held[at] = last; /* of none: itself */
    return first;
}

/* ---- what is told ---- */

static struct asking *asking_of(struct run *r, sgi_ticket ticket)
{
    uint32_t slot = sgi__core_slot(ticket);
    while (slot >= r->asking_count)
        r->asking = sim__array_add(r->asking, &r->asking_count, &r->asking_capacity, sizeof *r->asking);
    return &r->asking[slot];
}

/* NULL: it had no lease. */
static struct instance *instance_of(struct run *r, uint64_t id)
{
    uint32_t slot = sgi__core_slot(id);
    return slot < r->instances_count && r->instances[slot].id == id ? &r->instances[slot] : NULL;
}

static struct instance *first_lease_of(struct run *r, uint64_t id, uint32_t model)
{
    uint32_t slot = sgi__core_slot(id);
    while (slot >= r->instances_count)
        r->instances = sim__array_add(r->instances, &r->instances_count, &r->instances_capacity, sizeof *r->instances);
    r->instances[slot] = (struct instance){ .id = id, .model = model, .idle_since = SGI__NEVER };
    return &r->instances[slot];
}

static void idle_ends(struct run *r, struct instance *i)
{
    uint64_t            now = sim_now(r->sim);
    uint64_t            from = i->idle_since < r->counts_from ? r->counts_from : i->idle_since;
    const struct model *m = &r->models[i->model];

    i->idle_since = SGI__NEVER;
    if (from >= now)
        return;
    double gb_s = (double)m->bytes / 1e9 * ((double)(now - from) / 1e9);
    if (m->to_come > 0) {
        r->result.idle_ns += now - from;
        r->result.idle_gb_s += gb_s;
    } else {
        r->result.idle_tail_ns += now - from;
        r->result.idle_tail_gb_s += gb_s;
    }
}

static void granted(struct run *r, const struct sgi__core_reply *reply, const struct asking *a)
{
    uint64_t         now = sim_now(r->sim), from = now;
    struct instance *i = instance_of(r, reply->instance);
    bool             cold = !i, joined = i && reply->tier != SGI_TIER_DEVICE;

    if (cold)
        i = first_lease_of(r, reply->instance, a->model);
    if (i->idle_since != SGI__NEVER)
        idle_ends(r, i);
    i->leases++;
    if (joined && r->replay->overlap)
        from = a->since;
    uint64_t until = from + a->use_ns;
    hold(r, &(struct held){ .until = (until > now ? until : now) + 1, /* so that its last moment is busy too */
                            .seq = r->held_seq++,
                            .lease = reply->lease,
                            .instance = reply->instance });
    if (!a->counts)
        return;
    r->result.cold += cold;
    r->result.cold_from_dram += cold && reply->tier == SGI_TIER_DRAM;
    r->result.joined += joined;
    r->waits[r->waits_count++] = now - a->since;
}

static void told(void *user, const struct sgi__core_reply *reply)
{
    struct run      *r = user;
    struct instance *i;

    if (reply->kind == SGI__REPLY_GRANT || reply->kind == SGI__REPLY_REJECT) {
        struct asking *a = asking_of(r, reply->ticket);
        if (!a->open || a->ticket != reply->ticket)
            a = &r->asked;
        if (!a->open)
            sim__broken(r->sim, "a replay is told of its own requests");
        a->open = false;
        if (reply->kind == SGI__REPLY_GRANT)
            granted(r, reply, a);
        else
            r->result.refused += a->counts;
        r->models[a->model].to_come--;
        return;
    }
    if (reply->kind != SGI__REPLY_NOTE || reply->note != SGI__NOTE_STOPS)
        return;
    r->result.evictions += reply->cause == SGI_CAUSE_ROOM && sim_now(r->sim) >= r->counts_from;
    i = instance_of(r, reply->instance);
    if (!i)
        return;
    if (i->idle_since == SGI__NEVER || reply->ns != sim_now(r->sim) - i->idle_since)
        sim__broken(r->sim, "what stops has been idle since its last release");
    idle_ends(r, i);
    i->id = 0;
}

/* ---- what is done ---- */

static void release(struct run *r)
{
    struct held      held = first_held(r);
    struct instance *i = instance_of(r, held.instance);

    if (--i->leases == 0)
        i->idle_since = sim_now(r->sim);
    if (sim_release(r->sim, held.lease) != SGI_OK)
        sim__broken(r->sim, "a lease of a replay is released once");
}

static void ask(struct run *r, const struct sim_trace_request *request)
{
    struct model *m = &r->models[request->model];

    r->asked = (struct asking){
        .use_ns = request->use_ns,
        .since = sim_now(r->sim),
        .model = request->model,
        .open = true,
        .counts = sim_now(r->sim) >= r->counts_from,
    };
    r->result.requests += r->asked.counts;
    sgi_status st = sim_ask_status(r->sim, m->id, NULL, &r->asked.ticket);
    if (st == SGI_OK && r->asked.open)
        *asking_of(r, r->asked.ticket) = r->asked;
    if (st == SGI_OK)
        return;
    r->result.refused += r->asked.counts; /* wants_max */
    m->to_come--;
}

static uint64_t comes_at(const struct run *r, uint32_t n)
{
    uint64_t at = r->trace->requests[n].at_ns;
    double   rate = r->replay->rate;
    return r->start + (rate > 0 && rate != 1 ? (uint64_t)((double)at / rate) : at);
}

/* A moment has its requests first, then its releases, then what the world does. */
static void run(struct run *r)
{
    struct sim *s = r->sim;
    uint32_t    next = 0;

    for (;;) {
        uint64_t comes = next < r->trace->count ? comes_at(r, next) : SGI__NEVER;
        uint64_t ends = r->held_count > 0 ? r->held[0].until : SGI__NEVER;
        uint64_t at = comes < ends ? comes : ends;
        if (sim__step(s, at - 1))
            continue; /* it may have granted something */
        if (at == SGI__NEVER)
            return;
        s->now = at;
        if (comes <= ends)
            ask(r, &r->trace->requests[next++]);
        else
            release(r);
    }
}

/* ---- the whole ---- */

static uint64_t size_of(const struct sim_replay *replay, const char *name)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (; *name; name++)
        hash = (hash ^ (uint8_t)*name) * 16777619u;
    return replay->sizes_count ? replay->sizes[hash % replay->sizes_count] : UINT64_C(8000000000);
}

static struct sim *make_world(const struct sim_replay *replay)
{
    bool              limited = replay->device_bytes > 0;
    struct sim_config c = {
        .devices_count = replay->devices_count,
        .vram_bytes = limited ? replay->device_bytes : UINT64_C(1) << 60,
        .dram_bytes = replay->dram_bytes,
        .wants_max = replay->wants_max ? replay->wants_max : 1024,
        .loads_max = replay->loads_max ? replay->loads_max
                     : limited         ? 4
                                       : UINT32_MAX,
        .disk_mib_s = replay->disk_mib_s,
        .link_mib_s = replay->link_mib_s,
        .stepped = true,
    };
    struct sim *s = sim_new(&c);
    sim_takes_ms(s, SGI__ACT_START_LOAD, replay->load_ms ? replay->load_ms : 5000);
    return s;
}

static void add_models(struct run *r)
{
    const struct sim_replay *replay = r->replay;
    struct sim_model         spec = {
                .idle_ms = replay->ttl_ms ? replay->ttl_ms : SIM_IDLE_NOW,
                .hang_ms = SIM_HANG_NEVER,
                .leases_max = replay->leases_max,
                .instances = replay->instances,
    };
    for (uint32_t n = 0; n < r->trace->models_count; n++) {
        spec.bytes = r->models[n].bytes = size_of(replay, r->trace->models[n]);
        r->models[n].id = sim_model(r->sim, &spec);
    }
    for (uint32_t n = 0; n < r->trace->count; n++)
        r->models[r->trace->requests[n].model].to_come++;
}

static int by_size(const void *a, const void *b)
{
    uint64_t l = *(const uint64_t *)a, r = *(const uint64_t *)b;
    return l < r ? -1 : l > r;
}

/* The smallest that so many in 100 do not pass. */
static uint64_t wait_of(const struct run *r, uint64_t in_100)
{
    return r->waits_count ? r->waits[(r->waits_count * in_100 + 99) / 100 - 1] : 0;
}

static void count_up(struct run *r)
{
    struct sim_replay_result *result = &r->result;

    for (uint32_t n = 0; n < r->trace->models_count; n++)
        if (r->models[n].to_come > 0)
            sim__broken(r->sim, "every request of a replay ends");
    if (r->waits_count + result->refused != result->requests)
        sim__broken(r->sim, "a request is served or refused");
    qsort(r->waits, r->waits_count, sizeof *r->waits, by_size);
    result->wait_p50_ns = wait_of(r, 50);
    result->wait_p90_ns = wait_of(r, 90);
    result->wait_p99_ns = wait_of(r, 99);
    result->wait_max_ns = wait_of(r, 100);
    result->loads = r->sim->score.loads;
    result->events = r->sim->score.events;
    result->hash = r->sim->score.hash;
    result->virtual_ns = sim_now(r->sim) - r->start;
}

void sim_replay(const struct sim_trace *trace, const struct sim_replay *replay, struct sim_replay_result *out)
{
    struct run r = { .trace = trace, .replay = replay, .sim = make_world(replay) };

    r.start = sim_now(r.sim);
    r.counts_from = r.start + MS(replay->warm_up_ms);
    r.models = must(calloc(trace->models_count, sizeof *r.models));
    r.waits = must(calloc(trace->count, sizeof *r.waits));
    add_models(&r);
    sim_told(r.sim, told, &r);
    run(&r);
    sim__finish(r.sim, false); /* what never idles leaves now */
    count_up(&r);
    sim__fini(r.sim);
    free(r.models);
    free(r.asking);
    free(r.instances);
    free(r.held);
    free(r.waits);
    *out = r.result;
}
