/* SPDX-License-Identifier: Apache-2.0 */
/* Seeded clients and seeded trouble: what a busy server, impatient users and failing machines do to a runtime in a
 * day. */
#include <stdlib.h>

#include <base/fault.h>

#include "sim/sim_state.h"

enum { MODELS_MOST = 24 };

/* ---- choosing ---- */

static bool one_in(struct sim *s, uint64_t n)
{
    return sim__random(s, n) == 0;
}

static uint64_t from(struct sim *s, uint64_t min, uint64_t max)
{
    return sim__between(s, (struct range){ min, max });
}

/* A model that is there; the first ones are asked for more often. NULL when there is none. */
static struct world_model *some_model(struct sim *s)
{
    struct world_model *live[64];
    uint32_t            count = 0;
    for (uint32_t n = 0; n < s->models.size && count < 64; n++) {
        struct world_model *m = s->models.at[n];
        if (m && m->id)
            live[count++] = m;
    }
    if (count == 0)
        return NULL;
    uint64_t a = sim__random(s, count), b = sim__random(s, count);
    return live[a < b ? a : b];
}

static void *some_of(struct sim *s, const struct table *t)
{
    for (uint32_t tries = 0; t->size > 0 && tries < 8; tries++) {
        void *item = t->at[sim__random(s, t->size)];
        if (item && *(uint64_t *)item)
            return item;
    }
    return NULL;
}

static uint64_t some_idle_ms(struct sim *s)
{
    switch (sim__random(s, 10)) {
    case 0:
        return SIM_IDLE_NOW;
    case 1:
        return SIM_IDLE_NEVER;
    case 2:
    case 3:
    case 4:
        return from(s, 1, 100);
    default:
        return from(s, 100, 10000);
    }
}

/* ---- the world of a seed ---- */

/* Other seeds play as they did before there was that. */
static bool packs(uint64_t seed)
{
    return seed % 7 == 0;
}

static uint64_t common_of(uint32_t family)
{
    return MIB(24) << (2 * family);
}

/* Most gain by it, some lose; many have much in common. */
static void choose_packed(struct sim *s, struct sim_model *spec)
{
    struct sim dice = { .random = s->random_packed };

    if (!one_in(&dice, 4)) {
        spec->packed_bytes = from(&dice, spec->bytes / 2, spec->bytes + spec->bytes / 16) + 1;
        spec->residence = (uint32_t)sim__random(&dice, 3);
        spec->family = (uint32_t)sim__random(&dice, SIM_FAMILIES);
        if (s->config.seed % 2 == 0) /* nearly all are of one */
            spec->family = (uint32_t)(s->config.seed / 14 % SIM_FAMILIES);
        while (spec->family > 0 && common_of(spec->family) > spec->packed_bytes)
            spec->family--;
        spec->common_bytes = common_of(spec->family);
        if (one_in(&dice, 6) || spec->common_bytes > spec->packed_bytes)
            spec->common_bytes = 0;
    }
    s->random_packed = dice.random;
}

static void add_model(struct sim *s)
{
    uint64_t most = 0;
    for (uint32_t d = 0; d < s->devices_count; d++)
        if (s->devices[d].bytes_max > most)
            most = s->devices[d].bytes_max;
    /* One after the other: in an initializer the compiler chooses who draws first, and a seed would be another day. */
    struct sim_model spec = { 0 };
    spec.engine = one_in(s, 2);
    spec.hang_ms = one_in(s, 3) ? SIM_HANG_NEVER : from(s, 100, 2000);
    spec.idle_ms = some_idle_ms(s);
    spec.bytes = one_in(s, 20)  ? most + MIB(1)
                 : one_in(s, 3) ? from(s, most / 4, most * 3 / 4)
                                : from(s, most / 64, most / 3);
    if (s->habits.calm && spec.bytes > s->habits.image_max)
        spec.bytes = s->habits.image_max;
    if (spec.engine) {
        spec.prepare = one_in(s, 2);
        spec.prefix = one_in(s, 2);
        spec.engine_bytes = one_in(s, 2) ? 0 : from(s, MIB(1), most / 8);
    }
    if (one_in(s, 2))
        spec.leases_max = (uint32_t)from(s, 1, 4);
    if (s->devices_count > 1 && one_in(s, 2)) {
        spec.instances = (uint32_t)from(s, 2, s->devices_count);
        spec.leases_max = (uint32_t)from(s, 1, 2); /* so that there are queues */
    }
    if (s->habits.own_memory && one_in(s, 2)) {
        spec.device_bytes = from(s, spec.bytes * 3 / 4, spec.bytes * 5 / 4);
        if (s->habits.calm && spec.device_bytes > s->habits.image_max)
            spec.device_bytes = s->habits.image_max;
    }
    if (s->devices_count > 1 && one_in(s, 6))
        spec.devices = (uint32_t)from(s, 1, (1u << s->devices_count) - 1);
    if (s->random_packed)
        choose_packed(s, &spec);
    sim_model(s, &spec);
}

static void choose_durations(struct sim *s)
{
    static const struct range ns[SIM_ACTS] = {
        [SGI__ACT_CHECK_SOURCE] = { 100000, 2000000 },
        [SGI__ACT_OPEN_CONTEXT] = { 1000000, 200000000 },
        [SGI__ACT_CLOSE_CONTEXT] = { 1000000, 50000000 },
        [SGI__ACT_RESERVE] = { 50000, 5000000 },
        [SGI__ACT_START_LOAD] = { 1000000, 500000000 },
        [SGI__ACT_CANCEL_LOAD] = { 100000, 20000000 },
        [SGI__ACT_FILL_PREFIX] = { 100000, 400000000 },
        [SGI__ACT_PREPARE] = { 1000000, 300000000 },
        [SGI__ACT_DISCARD] = { 10000, 5000000 },
        [SGI__ACT_START_ENGINE] = { 1000000, 500000000 },
        [SGI__ACT_STOP_ENGINE] = { 100000, 100000000 },
        [SGI__ACT_FREE] = { 100000, 80000000 },
        [SGI__ACT_KEEP] = { 50000, 5000000 },
        [SGI__ACT_DROP] = { 100000, 100000000 },
        [SGI__ACT_LOOK] = { 10000, 20000000 },
    };
    for (uint32_t kind = 0; kind < SIM_ACTS; kind++)
        s->habits.takes[kind] = ns[kind];
    if (one_in(s, 8)) /* everything at once */
        for (uint32_t kind = 0; kind < SIM_ACTS; kind++)
            s->habits.takes[kind] = (struct range){ 0, 0 };
    if (one_in(s, 4)) /* one kind that takes its time */
        s->habits.takes[sim__random(s, SIM_ACTS_DRAWN)].max = MS(2000);
}

static void choose_trouble(struct sim *s)
{
    struct habits *h = &s->habits;
    if (h->calm)
        return;
    uint32_t some = one_in(s, 3) ? 0 : (uint32_t)from(s, 20, 1500);
    for (uint32_t kind = 0; kind < SIM_ACTS_DRAWN; kind++)
        if (one_in(s, 2))
            h->fail[kind] = some;
    uint32_t hangs = one_in(s, 2) ? 0 : (uint32_t)from(s, 20, 800);
    h->hang[SGI__ACT_START_ENGINE] = h->hang[SGI__ACT_STOP_ENGINE] = hangs;
    h->hang[SGI__ACT_PREPARE] = h->hang[SGI__ACT_DISCARD] = h->hang[SGI__ACT_FILL_PREFIX] = hangs;
    h->call_hang = hangs;
    h->never = hangs && s->config.seed % 3 == 1 ? 5000 : 0;
    h->hang_for = (struct range){ MS(500), MS(20000) };
    h->repeat = one_in(s, 2) ? 0 : 500;
    h->device_lost = one_in(s, 3) ? 30 : 0;
    h->place_dies = one_in(s, 4) ? 20 : 0;
    h->foreign = one_in(s, 3) ? 100 : 0;
    h->source_breaks = one_in(s, 3) ? 100 : 0;
    h->memory_short = one_in(s, 3) ? 200 : 0;
    h->tick_late = one_in(s, 4) ? MS(5) : 0;
    if (h->own_memory)
        h->no_copy = one_in(s, 3) ? 2000 : 0;
}

/* All devices have memory of their own, or some; draws that no other seed makes, which plays as it did before. */
static void choose_memory(struct sim *dice, struct sim_config *c)
{
    if (!c->discrete)
        return;
    if (c->devices_count == 1 && one_in(dice, 2)) {
        c->devices_count = 2;
        c->device_bytes[1] = MIB(from(dice, 256, 4096));
    }
    if (c->devices_count > 1 && one_in(dice, 2)) {
        c->discrete = false;
        c->discrete_devices = (uint32_t)from(dice, 1, (1u << c->devices_count) - 2);
    }
    for (uint32_t d = 0; d < c->devices_count; d++)
        if (one_in(dice, 2))
            c->total_bytes[d] = from(dice, c->device_bytes[d] * 3 / 4, c->device_bytes[d] * 3 / 2);
}

static struct sim *make(uint64_t seed, uint64_t events, bool quiet, bool verbose)
{
    struct sim_config c = { .seed = seed, .quiet = quiet, .verbose = verbose };
    struct sim        dice = { .random = seed * UINT64_C(0x2545f4914f6cdd1d) + 1 };

    c.devices_count = one_in(&dice, 2) ? 1 : (uint32_t)from(&dice, 2, one_in(&dice, 3) ? 8 : 3);
    for (uint32_t d = 0; d < c.devices_count; d++)
        c.device_bytes[d] = MIB(from(&dice, 256, 4096));
    c.discrete = one_in(&dice, 4);
    c.dram_bytes = one_in(&dice, 4) ? 0 : MIB(from(&dice, 128, 8192));
    c.disk_mib_s = one_in(&dice, 4) ? 0 : from(&dice, 500, 6000);
    c.link_mib_s = one_in(&dice, 2) ? 0 : from(&dice, 5000, 20000);
    c.linger_ms = from(&dice, 1, 2000);
    c.starve_ms = from(&dice, 50, 5000);
    c.wants_max = (uint32_t)from(&dice, 6, 48);
    c.loads_max = (uint32_t)from(&dice, 1, 4);
    c.failure_expiry_ms = from(&dice, 1000, 60000);
    choose_memory(&dice, &c);
    if (packs(seed) && one_in(&dice, 2)) /* where it is tight, it counts what they have in common */
        c.dram_bytes = MIB(from(&dice, 256, 1536));
    struct sim *s = sim_new(&c);

    s->random_never = seed;
    s->random_packed = packs(seed) ? seed + 1 : 0;
    struct habits *h = &s->habits;
    h->on = true;
    h->own_memory = c.discrete || c.discrete_devices != 0;
    h->events = events;
    h->calm = one_in(s, 4);
    h->pause = (struct range){ 0, MS(from(s, 1, 400)) };
    h->use = (struct range){ 0, MS(from(s, 1, 3000)) };
    h->image_max = c.device_bytes[0] * 3 / 4;
    choose_durations(s);
    choose_trouble(s);
    uint64_t patience = MS(1000) + 4 * h->use.max;
    for (uint32_t kind = 0; kind < SIM_ACTS; kind++)
        patience += 4 * h->takes[kind].max;
    if (c.disk_mib_s)
        patience += 4 * c.loads_max * (h->image_max / MIB(c.disk_mib_s) + 1) * MS(1000);
    if (c.link_mib_s)
        patience += 4 * c.devices_count * (h->image_max / MIB(c.link_mib_s) + 1) * MS(1000);
    h->patience = patience;

    uint64_t models = from(s, 2, MODELS_MOST - 4);
    for (uint64_t n = 0; n < models; n++)
        add_model(s);
    return s;
}

/* ---- what clients do ---- */

static struct sim_ask some_ask(struct sim *s)
{
    struct sim_ask ask = { 0 };
    if (one_in(s, 3))
        ask.deadline_ms = one_in(s, 3) ? from(s, 1, 50) : from(s, 50, 5000);
    if (!s->habits.calm && one_in(s, 3))
        ask.priority = (int32_t)sim__random(s, 5) - 2;
    if (one_in(s, 5))
        ask.device = 1 + (uint32_t)sim__random(s, s->devices_count);
    if (one_in(s, 5))
        ask.idle_ms = some_idle_ms(s);
    if (one_in(s, 5))
        ask.lease_ms = from(s, 1, 2000);
    return ask;
}

static void acquire(struct sim *s, struct world_model *m, struct sim_ask ask)
{
    sgi_ticket ticket = 0;
    bool       memory_short = sim__chance(s, s->habits.memory_short);

    ask.early = !ask.prefetch && !m->config.has_engine && one_in(s, 4);
    if (memory_short)
        sgi__fault_plan(SGI__FAULT_ALLOC, 1, UINT64_MAX, 1);
    sgi_status st = sim_ask_status(s, m->id, &ask, &ticket);
    if (memory_short)
        sgi__fault_plan(SGI__FAULT_ALLOC, 0, 0, 0);
    if (st == SGI_E_NO_MEMORY && !memory_short)
        sim__broken(s, "memory is short only when it is");
    if (st == SGI_OK && one_in(s, 6))
        sim__queue(s, &(struct queued){ .at = s->now + from(s, 0, MS(500)), .kind = Q_CANCEL, .a = ticket });
}

static void prefetch(struct sim *s, struct world_model *m)
{
    struct sim_ask ask = some_ask(s);
    ask.prefetch = true;
    ask.lease_ms = 0;
    ask.tier = one_in(s, 2) ? SGI_TIER_DRAM : SGI_TIER_DEVICE;
    acquire(s, m, ask);
}

static void try_acquire(struct sim *s, struct world_model *m)
{
    sgi_lease lease;
    uint64_t  lease_ns = one_in(s, 4) ? MS(from(s, 1, 1000)) : SGI__NEVER;
    uint64_t  idle_ns = one_in(s, 4) ? MS(from(s, 0, 1000)) : SGI__IDLE_OF_MODEL;
    sim__try_acquire(s, m->id, idle_ns, lease_ns, &lease);
}

/* Ids that name nothing: of another kind, of another runtime, from the past. */
static void nonsense(struct sim *s, const struct world_model *m)
{
    uint64_t   id = m->id ^ (UINT64_C(1) << (22 + sim__random(s, 30)));
    sgi_ticket ticket;
    if (sim__model(s, id))
        return;
    if (sim_ask_status(s, id, NULL, &ticket) != SGI_E_STALE || sim_evict(s, id, SGI_TIER_DISK) != SGI_E_STALE ||
        sim_pin(s, id, SGI_TIER_DEVICE) != SGI_E_STALE || sim_drain_model(s, id, SGI_E_CLOSED) != SGI_E_STALE)
        sim__broken(s, "a foreign id is stale");
    if (sim_release(s, m->id) != SGI_E_STALE || sim_cancel(s, m->id) != SGI_E_STALE)
        sim__broken(s, "an id of another kind is stale");
}

static void pin(struct sim *s, struct world_model *m)
{
    if (s->habits.calm || m->draining)
        return;
    sim_pin(s, m->id, one_in(s, 2) ? SGI_TIER_DEVICE : SGI_TIER_DRAM);
    sim__queue(s, &(struct queued){ .at = s->now + from(s, 0, MS(3000)), .kind = Q_UNPIN, .a = m->id });
}

static void grow_engine(struct sim *s, struct world_model *m)
{
    struct world_instance *i = m->instances;
    while (i && i->next && one_in(s, 2))
        i = i->next;
    if (!i || i->engine == NOT || i->engine == FAILED || i->stop != NOT || i->end != NOT || i->died || s->habits.calm)
        return;
    bool at_least = one_in(s, 2);
    sim__engine_bytes(s, i, from(s, 0, s->devices[i->device].bytes_max / 4), at_least, NULL);
}

/* A model goes for good; another comes. */
static void replace(struct sim *s, struct world_model *m)
{
    if (!m->draining && one_in(s, 4))
        sim_drain_model(s, m->id, one_in(s, 2) ? SGI_E_STALE : SGI_E_CLOSED);
    else if (!m->drained && one_in(s, 4) && sim_remove(s, m->id) != SGI_E_BUSY)
        sim__broken(s, "a model is removed after its drain");
}

/* The user unregistered it: it is removed as soon as it can be. */
static void sweep(struct sim *s)
{
    for (uint32_t n = 0; n < s->models.size; n++) {
        struct world_model *m = s->models.at[n];
        if (m && m->id && m->drained && one_in(s, 4)) {
            sim_remove(s, m->id);
            add_model(s);
        }
    }
}

static void client(struct sim *s)
{
    struct world_model *m = some_model(s);
    if (!m)
        return;
    uint64_t dice = sim__random(s, 100);
    if (dice < 55) {
        for (uint64_t herd = one_in(s, 10) ? from(s, 2, 12) : 1; herd > 0; herd--)
            acquire(s, m, some_ask(s));
    } else if (dice < 67) {
        try_acquire(s, m);
    } else if (dice < 75) {
        prefetch(s, m);
    } else if (dice < 80) {
        static const uint32_t tiers[] = { SGI_TIER_DRAM, SGI_TIER_DISK, SGI_EVICT_ALL };
        sim_evict(s, m->id, tiers[sim__random(s, 3)]);
    } else if (dice < 84) {
        pin(s, m);
    } else if (dice < 88) {
        struct world_want *w = some_of(s, &s->wants);
        if (w)
            sim_cancel(s, w->id);
    } else if (dice < 91) {
        nonsense(s, m);
    } else if (dice < 95) {
        grow_engine(s, m);
    } else if (dice < 97) {
        replace(s, m);
    } else { /* a timer thread that wakes for nothing */
        sim__tick(s);
    }
}

/* ---- trouble ---- */

static void trouble(struct sim *s)
{
    struct habits *h = &s->habits;
    uint32_t       d = (uint32_t)sim__random(s, s->devices_count);

    if (s->up && !s->devices[d].lost && sim__chance(s, h->device_lost)) {
        sim_lose_device(s, d);
        sim__queue(s, &(struct queued){ .at = s->now + from(s, 0, MS(3000)), .kind = Q_DEVICE_BACK, .a = d });
        s->score.faults++;
    }
    if (s->up && sim__chance(s, h->place_dies)) {
        sim_kill_place(s);
        sim__queue(s, &(struct queued){ .at = s->now + from(s, 0, MS(3000)), .kind = Q_PLACE_UP });
        s->score.faults++;
    }
    if (sim__chance(s, h->foreign)) {
        sim_foreign(s, d, from(s, 0, s->devices[d].bytes_max / 2));
        bool unseen = s->devices[d].own && one_in(s, 2);
        sim__queue(s, &(struct queued){
                          .at = s->now + from(s, 0, MS(5000)), .kind = unseen ? Q_FOREIGN_UNSEEN : Q_FOREIGN, .a = d });
        s->score.faults++;
    }
    struct world_model *m = some_model(s);
    if (m && sim__chance(s, h->source_breaks)) {
        m->source = one_in(s, 2) ? SGI_E_CHANGED : SGI_E_IO;
        sim__queue(s, &(struct queued){ .at = s->now + from(s, 0, MS(3000)), .kind = Q_MEND, .a = m->id });
    }
}

static void want_memory_back(struct sim *s)
{
    struct sim dice = { .random = s->random_packed };
    uint64_t   which = sim__random(&dice, 60), bytes = sim__random(&dice, s->dram_max + 1);

    s->random_packed = dice.random;
    if (which == 0)
        sim_pressure(s);
    else if (which == 1)
        sim_trim(s, bytes);
}

/* ---- leases and calls ---- */

void sim__client_granted(struct sim *s, struct world_lease *l)
{
    sim__queue(s, &(struct queued){ .at = s->now + sim__between(s, s->habits.use), .kind = Q_RELEASE, .a = l->id });
    if (l->model->config.has_engine && one_in(s, 2))
        sim__queue(s, &(struct queued){ .at = s->now + from(s, 0, MS(20)), .kind = Q_CALL, .a = l->id });
}

static void call(struct sim *s, sgi_lease lease)
{
    struct world_lease *l = sim__get(&s->leases, lease);
    if (!l)
        return;
    uint64_t   instance = l->instance;
    sgi_status st = sim_call_begin(s, lease);
    if (st != SGI_OK)
        return;
    bool     hangs = sim__chance(s, s->habits.call_hang);
    uint64_t takes = hangs ? sim__between(s, s->habits.hang_for) : sim__between(s, s->habits.use);
    s->score.faults += hangs;
    s->calls[s->calls_count - 1].never = hangs && sim__never(s);
    if (!s->calls[s->calls_count - 1].never)
        sim__queue(s, &(struct queued){ .at = s->now + takes, .kind = Q_CALL_BACK, .a = lease, .b = instance });
    if (one_in(s, 4))
        sim__queue(s, &(struct queued){ .at = s->now + from(s, 0, MS(500)), .kind = Q_CALL_CANCEL, .a = lease });
}

static void release(struct sim *s, sgi_lease lease)
{
    struct world_lease *l = sim__get(&s->leases, lease);
    if (!l)
        return;
    if (l->call_open && one_in(s, 4) && sim_release(s, lease) != SGI_E_BUSY)
        sim__broken(s, "a lease with an open call is not released");
    sim_call_detach(s, lease);
    sim_release(s, lease);
    if (one_in(s, 8) && sim_release(s, lease) != SGI_E_STALE)
        sim__broken(s, "a lease is released once");
    if (!s->habits.calm && one_in(s, 40)) { /* the user went on with another runtime's id */
        if (sim_release(s, lease ^ (UINT64_C(1) << 50)) != SGI_E_STALE)
            sim__broken(s, "a foreign id is stale");
    }
}

void sim__client(struct sim *s, const struct queued *q)
{
    struct world_model *m;

    switch (q->kind) {
    case Q_CLIENT:
        if (s->habits.stopped)
            break;
        trouble(s);
        if (s->random_packed)
            want_memory_back(s);
        sweep(s);
        client(s);
        sim__queue(s, &(struct queued){ .at = s->now + (one_in(s, 4) ? 0 : sim__between(s, s->habits.pause)),
                                        .kind = Q_CLIENT });
        break;
    case Q_RELEASE:
        release(s, q->a);
        break;
    case Q_CALL:
        call(s, q->a);
        break;
    case Q_CALL_CANCEL:
        sim_call_cancel(s, q->a);
        break;
    case Q_CANCEL:
        if (sim__get(&s->wants, q->a))
            sim_cancel(s, q->a);
        break;
    case Q_DEVICE_BACK:
        if (s->up && s->devices[q->a].lost)
            sim_device_back(s, (uint32_t)q->a);
        break;
    case Q_PLACE_UP:
        sim_place_up(s);
        break;
    case Q_FOREIGN:
        sim_foreign(s, (uint32_t)q->a, q->b);
        break;
    case Q_FOREIGN_UNSEEN:
        sim_foreign_unseen(s, (uint32_t)q->a, q->b);
        break;
    case Q_MEND:
        m = sim__model(s, q->a);
        if (m)
            m->source = SGI_OK;
        break;
    case Q_UNPIN:
        m = sim__model(s, q->a);
        if (m && !m->draining)
            sim_pin(s, q->a, SGI_TIER_DISK);
        break;
    default:
        break;
    }
}

/* ---- a whole life ---- */

/* ---- what never comes back ---- */

static bool is_wedged(const struct sim *s, const struct world_instance *i)
{
    struct sgi__core_instance_view v;
    return sgi__core_instance_view(s->core, i->id, &v) == SGI_OK && v.state == SGI_MODEL_WEDGED;
}

/* Its callback has been out for longer than it may: the instance is wedged, and holds what it held. */
static void check_wedged(const struct sim *s, uint64_t instance)
{
    const struct world_instance   *i = sim__get(&s->instances, instance);
    struct sgi__core_instance_view v = { 0 };

    if (!i || i->died || !sim__instance_hung(s, i))
        return;
    sgi__core_instance_view(s->core, instance, &v);
    if (v.state != SGI_MODEL_WEDGED)
        sim__broken(s, "an instance is wedged when a callback does not come back (%u)", v.state);
    if (i->device >= 0 && (i->image_bytes == 0 || v.device_bytes != i->image_bytes + i->engine_bytes))
        sim__broken(s, "what is wedged is charged until its callback is back");
}

/* Every instance that it may have is wedged, or what it is prepared with is. */
static bool is_wedged_wholly(const struct sim *s, const struct world_model *m)
{
    uint32_t count = 0;
    for (const struct world_instance *i = m->instances; i; i = i->next, count++)
        if (!is_wedged(s, i))
            return false;
    return count == 0 ? sim__prepare_hung(s, m) : count == m->config.instances_max;
}

/* It fits on some device beside what hangs there. */
static bool fits_beside(const struct sim *s, const struct world_model *m)
{
    for (uint32_t d = 0; d < s->devices_count; d++) {
        uint64_t stays = sim__foreign(s, d) + sim__need(s, m, d);
        for (uint32_t n = 0; n < s->instances.size; n++) {
            const struct world_instance *i = s->instances.at[n];
            if (i && i->id && !i->died && i->device == (int32_t)d && !sim__idle(i))
                stays += i->image_bytes + i->engine_bytes;
        }
        if (!s->devices[d].lost && sim__may_be_on(s, m, d) && stays <= s->devices[d].bytes_max)
            return true;
    }
    return false;
}

static bool something_never_returns(const struct sim *s)
{
    for (uint32_t n = 0; n < s->calls_count; n++)
        if (s->calls[n].never)
            return true;
    return s->held_count > 0;
}

/* It has no limit: it may come back still, so its room counts as on its way, and nobody else leaves for that. */
static bool something_may_return(const struct sim *s)
{
    for (uint32_t n = 0; n < s->held_count; n++)
        if (sim__model(s, s->held[n]->action.model)->config.hang_ns == SGI__NEVER)
            return true;
    for (uint32_t n = 0; n < s->calls_count; n++)
        if (s->calls[n].model->config.hang_ns == SGI__NEVER)
            return true;
    return false;
}

/* Nothing else goes on any more. What waits for ever is charged and says so, its models refuse, and the others start
 * beside it. */
static void check_never(struct sim *s)
{
    for (uint32_t n = 0; n < s->held_count; n++)
        check_wedged(s, s->held[n]->action.instance);
    for (uint32_t n = 0; n < s->calls_count; n++)
        check_wedged(s, s->calls[n].instance);
    for (uint32_t n = 0; n < s->models.size; n++) {
        struct world_model *m = s->models.at[n];
        sgi_ticket          ticket;
        if (!m || !m->id || m->draining || !s->up)
            continue;
        bool wedged = is_wedged_wholly(s, m);
        bool well = !sim__hung(s, m) && !m->instances && fits_beside(s, m) && !something_may_return(s);
        if ((!wedged && !well) || sim_ask_status(s, m->id, NULL, &ticket) != SGI_OK)
            continue;
        if (well)
            sim_run_out(s);
        if (!sim_outcome(s, ticket).ended || (wedged && sim_outcome(s, ticket).status != SGI_E_WEDGED))
            sim__broken(s, wedged ? "a model that is wedged wherever it may be refuses"
                                  : "what hangs does not keep others from where there is room beside it");
    }
}

/* Clients have stopped; what they left behind on purpose (pins, models that never idle) is taken back. */
static void become_quiet(struct sim *s)
{
    sim_run_out(s);
    if (something_never_returns(s))
        check_never(s);
    sim__let_return(s);
    sim_run_out(s);
    for (uint32_t n = 0; n < s->models.size; n++) {
        struct world_model *m = s->models.at[n];
        if (!m || !m->id)
            continue;
        if (!m->draining && m->pinned_tier != SGI_TIER_DISK)
            sim_pin(s, m->id, SGI_TIER_DISK);
        sgi_status st = m->instances ? sim_evict(s, m->id, one_in(s, 2) ? SGI_TIER_DISK : SGI_TIER_DRAM) : SGI_OK;
        if (st != SGI_OK)
            sim__broken(s, "a model that nobody uses can be evicted (%d)", st);
    }
    sim_run_out(s);
    if (s->wants_count > 0 || s->leases_count > 0)
        sim__broken(s, "every want ends when nothing is in its way");
    sim__check_quiet(s);
    if (sgi__core_wake_at(s->core) != SGI__NEVER)
        sim__broken(s, "no timer is set when nobody uses anything");
}

struct sim_score sim_play(uint64_t seed, uint64_t events, bool quiet, bool verbose)
{
    struct sim *s = make(seed, events, quiet, verbose);
    bool        abruptly = one_in(s, 3);

    sim__queue(s, &(struct queued){ .at = s->now, .kind = Q_CLIENT });
    while (s->event < events && sim__step(s, SGI__NEVER - 1))
        ;
    s->habits.stopped = true;
    s->habits.never = 0; /* what is out by now, and no more */
    if (!abruptly)
        become_quiet(s);
    sim__finish(s, false);
    struct sim_score score = s->score;
    sim__fini(s);
    return score;
}
