/* SPDX-License-Identifier: Apache-2.0 */
/* What is known about the runtime that the fuzz target plays with, and what has to be true of it at any time. */
#include "fuzz_api.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/gate.h"

_Noreturn void fuzz_broken(const char *truth, const char *file, int line)
{
    fprintf(stderr, "%s:%d: not true: %s\n", file, line, truth);
    abort();
}

/* -------------------------------------------------------------------------------------------------------- the input */

uint8_t take(struct world *w)
{
    return w->at < w->end ? *w->at++ : 0;
}

uint32_t below(struct world *w, uint32_t n)
{
    return take(w) % n;
}

bool one_in(struct world *w, uint32_t n)
{
    return take(w) % n == n - 1;
}

bool one_of_two(struct world *w)
{
    return one_in(w, 2);
}

/* -------------------------------------------------------------------------------------------------------------- ids */

bool room_for(const struct world *w, enum id_kind kind)
{
    return w->live_count[kind] < LIVE_MAX;
}

void seen(struct world *w, uint64_t id)
{
    CHECK(id != 0);
    pthread_mutex_lock(&w->mutex);
    for (uint32_t n = 0; n < w->ever_count; n++)
        CHECK(w->ever[n] != id);
    CHECK(w->ever_count < EVER_MAX);
    w->ever[w->ever_count++] = id;
    pthread_mutex_unlock(&w->mutex);
}

struct live *born(struct world *w, enum id_kind kind, uint64_t id, uint64_t of)
{
    seen(w, id);
    CHECK(room_for(w, kind));
    struct live *live = &w->live[kind][w->live_count[kind]++];
    *live = (struct live){ .id = id, .of = of };
    return live;
}

struct live *find(struct world *w, enum id_kind kind, uint64_t id)
{
    for (uint32_t n = 0; n < w->live_count[kind]; n++)
        if (w->live[kind][n].id == id)
            return &w->live[kind][n];
    return NULL;
}

void gone(struct world *w, enum id_kind kind, uint64_t id)
{
    struct live *live = find(w, kind, id);
    if (live)
        *live = w->live[kind][--w->live_count[kind]];
}

uint64_t pick(struct world *w, enum id_kind kind, enum known *known_out)
{
    uint8_t  which = take(w);
    uint64_t id = UINT64_MAX - which; /* never was */

    if (which < 224 && w->live_count[kind] > 0) {
        const struct live *live = &w->live[kind][which % w->live_count[kind]];
        *known_out = live->unsure ? UNSURE : LIVE;
        return live->id;
    }
    pthread_mutex_lock(&w->mutex);
    if (which % 8 == 0)
        id = 0;
    else if (which % 8 < 6 && w->ever_count > 0)
        id = w->ever[(which + take(w)) % w->ever_count];
    pthread_mutex_unlock(&w->mutex);
    const struct live *live = find(w, kind, id);
    *known_out = !live ? DEAD : live->unsure ? UNSURE : LIVE;
    return id;
}

/* --------------------------------------------------------------------------------------------------------- statuses */

sgi_error *err_of(struct world *w)
{
    uint8_t which = take(w);
    w->err = (sgi_error)SGI_ERROR_INIT;
    w->err_given = which % 8 != 7;
    if (which % 8 == 6)
        w->err.struct_size = which % 2 ? 0 : 8; /* 0: that of version 0.1 */
    return w->err_given ? &w->err : NULL;
}

void fuzz_one_of(struct world *w, sgi_status st, const sgi_status *allowed, size_t count, const char *file, int line)
{
    bool good = false;
    for (size_t n = 0; n < count; n++)
        good |= st == allowed[n];
    if (!good) {
        fprintf(stderr, "%s: %s\n", sgi_status_name(st), w->err.message);
        fuzz_broken("the status is one of those that the header lists", file, line);
    }
    if (st == SGI_E_WOULD_BLOCK || st == SGI_E_END) /* there is nothing to say about these */
        w->err_given = false;
    if (w->err_given && w->err.code != st) {
        fprintf(stderr, "%s, err: %s: %s\n", sgi_status_name(st), sgi_status_name(w->err.code), w->err.message);
        fuzz_broken("err.code is the status", file, line);
    }
    if (w->err_given && w->err.struct_size == sizeof w->err && (st == SGI_OK) != (w->err.message[0] == '\0'))
        fuzz_broken("err has a message where it failed", file, line);
    w->err_given = false;
}

void check_stale(enum known known, sgi_status st, sgi_status st_before)
{
    if (known == LIVE)
        CHECK(st != SGI_E_STALE);
    if (known == DEAD)
        CHECK(st == SGI_E_STALE || (st_before != SGI_OK && st == st_before));
}

/* --------------------------------------------------------------------------------------------------- output structs */

enum { CANARY = 0xa5 };

void *out_begin(struct world *w, struct out *o, size_t full)
{
    static const uint8_t sizes[] = { 0, 1, 4, 8, 12, 16 };
    uint8_t              which = take(w);

    memset(&o->any, CANARY, sizeof o->any);
    o->size = (uint32_t)full;
    if (which >= 240)
        o->size = which % 16 < sizeof sizes ? sizes[which % 16] : (uint32_t)full + which % 16 * 4;
    CHECK(o->size <= sizeof o->any);
    o->any.struct_size = o->size;
    return &o->any;
}

bool out_end(struct out *o, size_t full, sgi_status st)
{
    const uint8_t *bytes = (const uint8_t *)&o->any;
    size_t         from = st == SGI_OK && o->size > sizeof o->size ? o->size : sizeof o->size;

    CHECK(o->any.struct_size == o->size);
    CHECK(o->size > 0 || st == SGI_E_INVALID);
    for (size_t n = from; n < sizeof o->any; n++)
        CHECK(bytes[n] == CANARY);
    for (size_t n = full; st == SGI_OK && n < o->size; n++)
        CHECK(bytes[n] == 0); /* what a newer caller knows and the library does not */
    return st == SGI_OK && o->size >= full;
}

/* -------------------------------------------------------------------------------------------------------- the whole */

/* Names in a folder of /proc/self: threads or descriptors. */
static uint32_t entries(const char *path)
{
    uint32_t count = 0;
    DIR     *dir = opendir(path);
    CHECK(dir != NULL);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

static uint32_t fds_before, threads_before;

static bool threads_are_gone(void *user)
{
    (void)user;
    return entries("/proc/self/task") <= threads_before;
}

static void engines_begin(struct world *w)
{
    for (uint32_t n = 0; n < ENGINES; n++) {
        uint8_t             bits = take(w);
        struct test_engine *e = &w->engines[n];
        test_engine_init(e, bits & 1, bits & 2);
        e->prefix_bytes = bits & 4 ? 5000 : 24;
        e->prepared_bytes = bits & 8 ? 1 << 20 : 0;
        e->no_wait = bits & 16;
        e->look = bits & 32;
        e->alloc_bytes = bits & 64 ? 1000 : 0;
        if (bits & 128)
            e->report_bytes = (uint64_t)take(w) << 12;
        fuzz_api_engine(w, e);
    }
}

static const char *const device_names[] = { "host:0", "host:1", "host:2" };

void world_begin(struct world *w, const uint8_t *data, size_t size)
{
    sgi_runtime_config c;
    sgi_device_config  devices[3];

    *w = (struct world){ .at = data, .end = data + size };
    pthread_mutex_init(&w->mutex, NULL);
    fds_before = entries("/proc/self/fd");
    threads_before = entries("/proc/self/task");
    CHECK(sgi_runtime_config_init(&c, sizeof c) == SGI_OK);
    w->devices_count = c.devices_count = 1 + below(w, 3);
    for (uint32_t n = 0; n < c.devices_count; n++) {
        CHECK(sgi_device_config_init(&devices[n], sizeof devices[n]) == SGI_OK);
        devices[n].name = device_names[n];
        devices[n].bytes_max = (uint64_t)1 << (14 + below(w, 8)); /* 16 KiB to 2 MiB: not all models fit */
    }
    c.devices = devices;
    uint8_t bits = take(w);
    c.io_engine = bits & 1 ? SGI_IO_AUTO : SGI_IO_THREADS;
    c.dram_bytes_max = bits & 2 ? UINT64_C(300) << 10 : SGI_NONE;
    c.spare_bytes_max = bits & 4 ? 64 << 10 : 0;
    c.idle_timeout_ms = bits & 8 ? SGI_IDLE_NOW : bits & 16 ? 1 : SGI_IDLE_NEVER;
    c.context_linger_ms = bits & 32 ? SGI_IDLE_NOW : 1;
    c.requests_max = w->requests_max = bits & 64 ? 2 : 16;
    c.calls_max = w->calls_max = bits & 128 ? 1 : 8;
    bits = take(w);
    c.loads_max = 1 + bits % 4;
    c.starve_ms = 1 + (bits >> 2) % 4;
    c.backoff_ms = 1;
    c.backoff_max_ms = 2;
    c.hang_timeout_ms = bits & 128 ? 1 : 0;
    c.read_block_bytes = bits & 64 ? 4096 : 0;
    engines_begin(w);
    CHECK(sgi_runtime_open(&c, &w->rt, err_of(w)) == SGI_OK);
    w->err_given = false;
}

static uint32_t leases_of(const struct world *w, uint64_t model)
{
    uint32_t count = 0;
    for (uint32_t n = 0; n < w->live_count[ID_LEASE]; n++)
        count += w->live[ID_LEASE][n].of == model;
    return count;
}

static void check_model(struct world *w, uint64_t model)
{
    sgi_model_state s = { .struct_size = sizeof s };
    CHECK(sgi_model_query(w->rt, model, &s) == SGI_OK);
    CHECK(s.state <= SGI_MODEL_WEDGED && s.tier <= SGI_TIER_DEVICE && s.pinned_tier <= SGI_TIER_DEVICE);
    CHECK(s.device >= -1 && s.device < (int32_t)w->devices_count);
    CHECK(s.leases_count >= leases_of(w, model) && s.leases_overdue <= s.leases_count);
    CHECK(s.loaded_bytes <= s.loading_bytes);
    CHECK((s.leases_count == 0) || s.state == SGI_MODEL_BUSY || s.state == SGI_MODEL_LOADING ||
          s.state == SGI_MODEL_WEDGED || s.state == SGI_MODEL_STOPPING);
}

void world_check(struct world *w)
{
    sgi_runtime_info info = { .struct_size = sizeof info };
    uint64_t         bytes_max = 0;

    CHECK(sgi_runtime_query(w->rt, &info) == SGI_OK);
    CHECK(info.devices_count == w->devices_count);
    CHECK(info.models_count == w->live_count[ID_MODEL]);
    CHECK(info.calls_count >= w->live_count[ID_CALL]); /* those given up too, until the engine is back */
    CHECK(info.calls_count <= w->calls_max);
    CHECK(info.requests_waiting <= w->requests_max);
    CHECK(info.leases_count >= w->live_count[ID_LEASE]);
    CHECK(info.spare_bytes <= info.dram_bytes && info.dram_bytes <= info.dram_bytes_max);
    CHECK(info.threads_count >= 1);
    for (uint32_t n = 0; n < w->devices_count; n++) {
        sgi_device_info d = { .struct_size = sizeof d };
        CHECK(sgi_device_query(w->rt, n, &d) == SGI_OK);
        CHECK(strcmp(d.name, device_names[n]) == 0);
        CHECK(d.bytes_engine <= d.bytes_used && d.bytes_used <= d.bytes_max);
        CHECK(d.lost == 0 && (d.context == SGI_CONTEXT_NONE || d.context == SGI_CONTEXT_OURS));
        bytes_max += d.bytes_max;
    }
    CHECK(info.device_bytes <= bytes_max);
    for (uint32_t n = 0; n < w->live_count[ID_MODEL]; n++)
        check_model(w, w->live[ID_MODEL][n].id);
}

void took_completion(struct world *w, const sgi_completion *c)
{
    const struct live *ticket = find(w, ID_TICKET, c->ticket), *call = find(w, ID_CALL, c->call);

    switch (c->kind) {
    case SGI_COMPLETION_ACQUIRE:
    case SGI_COMPLETION_PREFETCH:
        CHECK(ticket && !ticket->unsure && c->call == 0 && c->tag == 7);
        CHECK((c->lease != 0) == (c->status == SGI_OK && c->kind == SGI_COMPLETION_ACQUIRE));
        if (c->lease && room_for(w, ID_LEASE)) {
            born(w, ID_LEASE, c->lease, ticket->of);
        } else if (c->lease) {
            seen(w, c->lease);
            CHECK(sgi_lease_release(w->rt, c->lease) == SGI_OK);
        }
        gone(w, ID_TICKET, c->ticket);
        break;
    case SGI_COMPLETION_READABLE:
    case SGI_COMPLETION_CALL:
        CHECK(call && call->of == c->lease && c->ticket == 0 && c->tag == 8);
        break;
    default:
        fuzz_broken("a kind of completion that the header has", __FILE__, __LINE__);
    }
    CHECK(c->status == SGI_OK || (c->error.code == c->status && c->error.message[0] != '\0'));
}

/* What has been granted and not read comes out, and goes back. */
static void let_go(struct world *w)
{
    sgi_completion c = { .struct_size = sizeof c };

    while (sgi_completion_next(w->rt, &c) == SGI_OK)
        took_completion(w, &c);
    while (w->live_count[ID_LEASE] > 0) {
        uint64_t lease = w->live[ID_LEASE][0].id;
        CHECK(sgi_lease_release(w->rt, lease) == SGI_OK);
        gone(w, ID_LEASE, lease);
    }
}

static bool nothing_is_held(void *user)
{
    struct world    *w = user;
    sgi_runtime_info info = { .struct_size = sizeof info };

    let_go(w);
    CHECK(sgi_runtime_query(w->rt, &info) == SGI_OK);
    return info.requests_waiting == 0 && info.calls_count == 0 && info.leases_count == 0 && info.device_bytes == 0 &&
           info.loads_running == 0 && info.dram_bytes == info.spare_bytes && info.prepared_bytes == 0;
}

static bool is_closed(void *user)
{
    struct world *w = user;

    let_go(w);
    sgi_status st = sgi_runtime_close(w->rt, 5, err_of(w));
    ONE_OF(w, st, SGI_E_TIMEOUT);
    return st == SGI_OK;
}

void world_end(struct world *w)
{
    for (uint32_t n = 0; n < ENGINES; n++)
        for (int step = 0; step < ENGINE_STEPS; step++)
            gate_open(&w->engines[n].gates[step]);
    while (w->rt && w->live_count[ID_CALL] > 0) {
        uint64_t call = w->live[ID_CALL][0].id;
        CHECK(sgi_call_end(w->rt, call) == SGI_OK);
        gone(w, ID_CALL, call);
    }
    if (w->rt && one_of_two(w)) {
        CHECK(sgi_runtime_drain(w->rt) == SGI_OK);
        test_wait_until(nothing_is_held, w, "a drained runtime that nobody uses gives everything back");
    }
    if (w->rt)
        test_wait_until(is_closed, w, "a runtime that nobody uses closes");
    CHECK(w->done_out == 0); /* every `done` has been called */
    for (uint32_t n = 0; n < ENGINES; n++)
        test_engine_fini(&w->engines[n]); /* no instance, and nothing prepared */
    CHECK(entries("/proc/self/fd") == fds_before);
    test_wait_until(threads_are_gone, NULL, "no thread of a closed runtime is left");
    sgi_log_set_sink(NULL, NULL, 0);
    pthread_mutex_destroy(&w->mutex);
}
