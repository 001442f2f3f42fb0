/* SPDX-License-Identifier: Apache-2.0 */
/* Calls of the fuzz target that are about models, requests and the runtime itself. */
#include "fuzz_api.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const uint32_t tiers[] = { SGI_TIER_DISK, SGI_TIER_DRAM, SGI_TIER_DEVICE, SGI_EVICT_ALL, 77 };

static uint32_t a_tier(struct world *w)
{
    return tiers[below(w, sizeof tiers / sizeof *tiers)];
}

/* ----------------------------------------------------------------------------------------------------------- models */

static void step_register(struct world *w)
{
    static const char *const names[] = { "a", "b", "c", "d", "e", "f", "", "\x01", "caf\xc3\xa9", "\xff" };
    static const char *const order[] = { "w", "x" };
    const sgi_tensor_check   check = { "w", 12345 };
    sgi_model_config         c;
    sgi_model                model = 0;
    uint32_t                 engine = below(w, ENGINES + 1);

    if (!room_for(w, ID_MODEL))
        return;
    CHECK(sgi_model_config_init(&c, sizeof c) == SGI_OK);
    c.name = names[below(w, sizeof names / sizeof *names)];
    c.path = fuzz_api_path(below(w, PATHS));
    c.engine = engine < ENGINES ? &w->engines[engine].table : NULL;
    uint8_t bits = take(w);
    c.flags = bits & 1 ? SGI_IMAGE_FD : 0;
    c.leases_max = (bits >> 1) % 4;
    c.instances_max = (bits >> 3) % 4;
    c.idle_timeout_ms = bits & 32 ? 1 : bits & 64 ? SGI_IDLE_NOW : SGI_IDLE_DEFAULT;
    if (bits & 128) {
        bits = take(w);
        c.engine_bytes = bits & 1 ? 10000 : 0;
        c.tenant = (bits >> 1) % 2;
        c.devices_mask = (bits >> 2) % 8; /* past the last device, too */
        c.order = order;
        c.order_count = (bits >> 2) % 3;
        c.checks = &check;
        c.checks_count = (bits >> 4) % 4 == 3;
        c.hang_timeout_ms = bits & 64 ? 1 : 0;
        c.flags |= bits & 128 ? 1u << (bits % 8) : 0;
        c.header_bytes_max = (bits >> 4) == 7 ? 10 : 0;
        c.checks_path = fuzz_api_checks(w, false);
        c.residence = take(w) % 4; /* past the last, too */
    }
    if (one_in(w, 64))
        c.struct_size = take(w) % (uint32_t)sizeof c & ~7u; /* that of an older caller: between two fields */
    sgi_status st = sgi_model_register(w->rt, &c, one_in(w, 200) ? NULL : &model, err_of(w));
    ONE_OF(w, st, SGI_E_INVALID, SGI_E_EXISTS, SGI_E_IO, SGI_E_FORMAT, SGI_E_DENIED, SGI_E_ENGINE, ENGINES_OWN,
           SGI_E_NO_MEMORY, SGI_E_CLOSED, SGI_E_CHANGED, SGI_E_CHECK, SGI_E_UNSUPPORTED);
    CHECK((st == SGI_OK) == (model != 0));
    CHECK(st != SGI_OK || !w->draining);
    if (st == SGI_OK)
        born(w, ID_MODEL, model, engine);
}

static void step_unregister(struct world *w)
{
    enum known known;
    sgi_model  model = pick(w, ID_MODEL, &known);
    sgi_status st = sgi_model_unregister(w->rt, model, 1 + below(w, 2), err_of(w));

    ONE_OF(w, st, SGI_E_STALE, SGI_E_TIMEOUT);
    check_stale(known, st, SGI_OK);
    if (st == SGI_OK) {
        for (uint32_t n = 0; n < w->live_count[ID_LEASE]; n++)
            CHECK(w->live[ID_LEASE][n].of != model);
        gone(w, ID_MODEL, model);
    } else if (st == SGI_E_TIMEOUT) {
        find(w, ID_MODEL, model)->unsure = true; /* closed to new requests, and still there */
    }
}

static void step_describe(struct world *w)
{
    struct out o;
    enum known known;
    sgi_model  model = pick(w, ID_MODEL, &known), found = 0;
    sgi_status st;
    void      *out;

    switch (below(w, 6)) {
    case 0:
        out = out_begin(w, &o, sizeof(sgi_model_info));
        st = sgi_model_describe(w->rt, model, out);
        if (out_end(&o, sizeof(sgi_model_info), st))
            CHECK(((sgi_model_info *)out)->parts_count > 0 && strlen(((sgi_model_info *)out)->name) > 0);
        break;
    case 1:
        out = out_begin(w, &o, sizeof(sgi_model_state));
        st = sgi_model_query(w->rt, model, out);
        out_end(&o, sizeof(sgi_model_state), st);
        break;
    case 2:
        out = out_begin(w, &o, sizeof(sgi_model_part));
        st = sgi_model_part_at(w->rt, model, below(w, 4), out);
        if (out_end(&o, sizeof(sgi_model_part), st))
            CHECK(((sgi_model_part *)out)->path[0] == '/');
        break;
    case 3:
        out = out_begin(w, &o, sizeof(sgi_tensor));
        st = sgi_model_tensor_at(w->rt, model, below(w, 5), out);
        if (out_end(&o, sizeof(sgi_tensor), st))
            CHECK(((sgi_tensor *)out)->rank == 1);
        break;
    case 4:
        out = out_begin(w, &o, sizeof(sgi_tensor));
        st = sgi_model_tensor_find(w->rt, model, one_of_two(w) ? "w" : "a", out);
        out_end(&o, sizeof(sgi_tensor), st);
        break;
    default:
        st = sgi_model_find(w->rt, one_of_two(w) ? "a" : "nobody", &found);
        ONE_OF(w, st, SGI_E_NOT_FOUND);
        CHECK((st == SGI_OK) == (found != 0) && (found == 0 || find(w, ID_MODEL, found)));
        return;
    }
    ONE_OF(w, st, SGI_E_STALE, SGI_E_INVALID, SGI_E_NOT_FOUND);
    check_stale(known, st, SGI_E_INVALID);
}

static void step_evict(struct world *w)
{
    enum known known;
    sgi_model  model = pick(w, ID_MODEL, &known);
    sgi_status st;

    if (one_in(w, 4)) {
        st = sgi_runtime_evict(w->rt, a_tier(w));
        sgi_runtime_trim(w->rt, st == SGI_OK ? 4096 : UINT64_MAX);
        ONE_OF(w, st, SGI_E_INVALID);
        return;
    }
    st = sgi_model_evict(w->rt, model, a_tier(w));
    ONE_OF(w, st, SGI_E_BUSY, SGI_E_STALE, SGI_E_INVALID);
    check_stale(known, st, SGI_E_INVALID);
}

static void step_pin(struct world *w)
{
    enum known known;
    sgi_model  model = pick(w, ID_MODEL, &known);
    sgi_status st = sgi_model_pin(w->rt, model, a_tier(w), err_of(w));

    ONE_OF(w, st, SGI_E_NO_ROOM, SGI_E_BUSY, SGI_E_STALE, SGI_E_CLOSED, SGI_E_INVALID);
    check_stale(known, st, st == SGI_E_CLOSED ? SGI_E_CLOSED : SGI_E_INVALID);
}

static int write_some(void *user, const char *text, size_t bytes)
{
    uint32_t *left = user;
    (void)text;
    (void)bytes;
    return (*left)-- == 0;
}

static void step_inspect(struct world *w)
{
    sgi_model_config c;
    uint32_t         pieces = one_of_two(w) ? 1000 : below(w, 4);
    CHECK(sgi_model_config_init(&c, sizeof c) == SGI_OK);
    c.path = fuzz_api_path(below(w, PATHS));
    uint32_t   flags = below(w, 3);
    sgi_status st = one_of_two(w) ? sgi_inspect(c.path, flags, write_some, &pieces, err_of(w))
                                  : sgi_inspect_config(&c, flags, write_some, &pieces, err_of(w));
    ONE_OF(w, st, SGI_E_IO, SGI_E_FORMAT, SGI_E_DENIED, SGI_E_CANCELED, SGI_E_INVALID);
    CHECK((st == SGI_E_INVALID) == (flags > 1));
}

/* --------------------------------------------------------------------------------------------------------- requests */

const sgi_acquire_options *an_options(struct world *w, struct options *options, bool waits)
{
    static const uint32_t idle[] = { SGI_IDLE_DEFAULT, SGI_IDLE_NOW, SGI_IDLE_NEVER, 1 };
    sgi_acquire_options  *o = &options->o;

    memset(options, 0, sizeof *options);
    CHECK(sgi_acquire_options_init(o, sizeof *o) == SGI_OK);
    uint8_t bits = take(w);
    o->tag = 7;
    o->deadline_ms = waits ? 1 + bits % 3 : bits % 4;
    o->idle_timeout_ms = idle[(bits >> 2) % 4];
    o->lease_ms = bits & 16 ? 1 : SGI_FOREVER;
    o->flags = (bits >> 5) == 7 ? SGI_ACQUIRE_EARLY : 0;
    bits = take(w);
    o->priority = (int8_t)bits % 4;
    if (bits >= 128)
        o->device_hint = bits % 5 - 1;
    if (bits % 32 == 31)
        o->flags |= 1u << (bits >> 5);
    if (bits % 32 == 30) {
        static const uint32_t sizes[] = { 0, 1, sizeof *options, sizeof *options };
        o->struct_size = sizes[(bits >> 5) % 4];
        options->newer = bits >> 7;
    }
    return o;
}

static void step_try_acquire(struct world *w)
{
    struct options options;
    enum known     known;
    sgi_model      model = pick(w, ID_MODEL, &known);
    sgi_lease      lease = 0;

    if (!room_for(w, ID_LEASE))
        return;
    sgi_status st = sgi_model_try_acquire(w->rt, model, an_options(w, &options, true), &lease);
    ONE_OF(w, st, SGI_E_WOULD_BLOCK, SGI_E_STALE, SGI_E_CLOSED, SGI_E_INVALID);
    CHECK((st == SGI_OK) == (lease != 0) && (st != SGI_OK || (known == LIVE && !w->draining)));
    check_stale(known, st, st == SGI_E_CLOSED ? SGI_E_CLOSED : SGI_E_INVALID);
    if (lease)
        born(w, ID_LEASE, lease, model);
}

static void step_acquire_wait(struct world *w)
{
    struct options options;
    enum known     known;
    sgi_model      model = pick(w, ID_MODEL, &known);
    sgi_lease      lease = 0;

    if (!room_for(w, ID_LEASE))
        return;
    const sgi_acquire_options *o = an_options(w, &options, true);
    sgi_status                 st = sgi_model_acquire_wait(w->rt, model, o, &lease, err_of(w));
    ONE_OF(w, st, SGI_E_TIMEOUT, SGI_E_BUSY, SGI_E_NO_ROOM, SGI_E_STALE, SGI_E_CLOSED, LOAD_FAILED);
    CHECK((st == SGI_OK) == (lease != 0) && (st != SGI_OK || (known == LIVE && !w->draining)));
    check_stale(known, st, st == SGI_E_CLOSED ? SGI_E_CLOSED : SGI_E_INVALID);
    if (lease)
        born(w, ID_LEASE, lease, model);
}

/* On a thread of the library. */
static void done(void *user, const sgi_completion *c)
{
    struct world *w = user;
    sgi_lease     lease = 0;

    CHECK(c->kind == SGI_COMPLETION_ACQUIRE || c->kind == SGI_COMPLETION_PREFETCH);
    CHECK(c->ticket != 0 && c->call == 0 && c->tag == 7);
    CHECK((c->lease != 0) == (c->status == SGI_OK && c->kind == SGI_COMPLETION_ACQUIRE));
    CHECK(c->status == SGI_OK || c->error.code == c->status);
    CHECK(sgi_model_acquire_wait(w->rt, 1, NULL, &lease, NULL) == SGI_E_DEADLOCK);
    CHECK(sgi_runtime_close(w->rt, 1, NULL) == SGI_E_DEADLOCK);
    if (c->lease) {
        seen(w, c->lease);
        CHECK(sgi_lease_release(w->rt, c->lease) == SGI_OK);
    }
    pthread_mutex_lock(&w->mutex);
    CHECK(w->done_out > 0);
    w->done_out--;
    pthread_mutex_unlock(&w->mutex);
}

static void count_done(struct world *w, uint32_t more)
{
    pthread_mutex_lock(&w->mutex);
    w->done_out += more;
    pthread_mutex_unlock(&w->mutex);
}

static void submit(struct world *w, bool prefetch)
{
    struct options options;
    enum known     known;
    sgi_model      model = pick(w, ID_MODEL, &known);
    sgi_ticket     ticket = 0;
    bool           with_done = one_in(w, 4);
    uint32_t       tier = prefetch ? a_tier(w) : SGI_TIER_DEVICE;
    sgi_status     st;

    if (!room_for(w, ID_TICKET))
        return;
    an_options(w, &options, false);
    if (prefetch && one_in(w, 4))
        options.o.flags ^= SGI_PREFETCH_SILENT;
    bool silent = options.o.flags & SGI_PREFETCH_SILENT; /* then a `done` is not told either */
    count_done(w, with_done && !silent);
    if (prefetch)
        st = sgi_model_prefetch(w->rt, model, tier, &options.o, &ticket, with_done ? done : NULL, w, err_of(w));
    else
        st = sgi_model_acquire(w->rt, model, &options.o, &ticket, with_done ? done : NULL, w, err_of(w));
    ONE_OF(w, st, SGI_E_BUSY, SGI_E_STALE, SGI_E_CLOSED, SGI_E_INVALID, SGI_E_NO_MEMORY);
    CHECK((st == SGI_OK) == (ticket != 0) && (st != SGI_OK || (known == LIVE && !w->draining)));
    check_stale(known, st, st == SGI_E_CLOSED ? SGI_E_CLOSED : SGI_E_INVALID);
    if (st != SGI_OK)
        count_done(w, with_done && !silent ? UINT32_MAX : 0);
    else
        born(w, ID_TICKET, ticket, model)->unsure = with_done || silent;
}

static void step_acquire(struct world *w)
{
    submit(w, false);
}

static void step_prefetch(struct world *w)
{
    submit(w, true);
}

static void step_cancel(struct world *w)
{
    enum known known;
    sgi_ticket ticket = pick(w, ID_TICKET, &known);
    sgi_status st = sgi_acquire_cancel(w->rt, ticket);

    ONE_OF(w, st, SGI_E_STALE);
    if (known == DEAD)
        CHECK(st == SGI_E_STALE);
    if (st == SGI_E_STALE && known == UNSURE)
        gone(w, ID_TICKET, ticket);
}

static void step_ticket_wait(struct world *w)
{
    enum known known;
    sgi_ticket ticket = pick(w, ID_TICKET, &known);
    sgi_lease  lease = 0;

    if (!room_for(w, ID_LEASE))
        return;
    w->err = (sgi_error)SGI_ERROR_INIT;
    w->err_given = true;
    sgi_status st = sgi_ticket_wait(w->rt, ticket, 1, &lease, &w->err);
    ONE_OF(w, st, SGI_E_TIMEOUT, SGI_E_STALE, SGI_E_CANCELED, SGI_E_NO_ROOM, SGI_E_CLOSED, LOAD_FAILED);
    if (known == DEAD)
        CHECK(st == SGI_E_STALE);
    if (known == UNSURE)
        CHECK(st == SGI_E_STALE || st == SGI_E_INVALID);
    if (known != LIVE || (st == SGI_E_TIMEOUT && w->err.step == SGI_STEP_NONE))
        return; /* it goes on */
    if (lease)
        born(w, ID_LEASE, lease, find(w, ID_TICKET, ticket)->of);
    gone(w, ID_TICKET, ticket);
}

static void step_completions(struct world *w)
{
    struct out o;
    int        fd = -1;

    CHECK(sgi_completion_fd(w->rt, &fd) == SGI_OK && (fcntl(fd, F_GETFL) & O_NONBLOCK));
    for (uint32_t n = 1 + below(w, 4); n > 0; n--) {
        sgi_completion *c = out_begin(w, &o, sizeof *c);
        if (o.size < sizeof *c && o.size > 0) /* would take one and not say whose lease it has */
            o.any.struct_size = o.size = sizeof *c;
        sgi_status st = sgi_completion_next(w->rt, c);
        ONE_OF(w, st, SGI_E_WOULD_BLOCK, SGI_E_INVALID);
        if (out_end(&o, sizeof *c, st))
            took_completion(w, c);
    }
}

/* ------------------------------------------------------------------------------------------------------ the runtime */

static void step_engine(struct world *w)
{
    static const sgi_status outcomes[] = { SGI_OK,        SGI_OK,        SGI_OK,      SGI_E_ENGINE,
                                           SGI_E_INVALID, SGI_E_TIMEOUT, ENGINES_OWN, 5 };
    struct test_engine     *e = &w->engines[below(w, ENGINES)];
    uint32_t                step = below(w, ENGINE_STEPS);

    if (one_of_two(w))
        atomic_store(&e->fail[step], outcomes[below(w, 8)]);
    else if (step != ENGINE_PREFIX_BYTES && one_of_two(w)) /* that one runs on this thread */
        gate_close(&e->gates[step]);
    else
        gate_open(&e->gates[step]);
}

static void step_touch(struct world *w)
{
    CHECK(utimensat(AT_FDCWD, fuzz_api_path(below(w, 3)), NULL, 0) == 0);
}

static void step_drain(struct world *w)
{
    if (!one_in(w, 16))
        return;
    CHECK(sgi_runtime_drain(w->rt) == SGI_OK);
    w->draining = true;
}

static void step_close(struct world *w)
{
    if (!one_in(w, 16))
        return;
    sgi_status st = sgi_runtime_close(w->rt, 1, err_of(w));
    ONE_OF(w, st, SGI_E_TIMEOUT);
    w->draining = true;
    if (st != SGI_OK)
        return;
    CHECK(w->live_count[ID_LEASE] == 0 && w->live_count[ID_CALL] == 0);
    w->rt = NULL;
}

static void step_query(struct world *w)
{
    struct out o;
    void      *out = out_begin(w, &o, sizeof(sgi_runtime_info));
    sgi_status st = sgi_runtime_query(w->rt, out);
    ONE_OF(w, st, SGI_E_INVALID);
    out_end(&o, sizeof(sgi_runtime_info), st);
    out = out_begin(w, &o, sizeof(sgi_device_info));
    st = sgi_device_query(w->rt, below(w, 5), out);
    ONE_OF(w, st, SGI_E_INVALID, SGI_E_NOT_FOUND);
    out_end(&o, sizeof(sgi_device_info), st);
}

static void step_nulls(struct world *w)
{
    enum known   known;
    sgi_runtime *rt = w->rt;
    sgi_model    model = pick(w, ID_MODEL, &known);
    sgi_lease    lease = pick(w, ID_LEASE, &known);
    sgi_call     call = pick(w, ID_CALL, &known);
    uint32_t     pieces = 1;
    size_t       bytes;
    char         buffer[4];
    const struct {
        sgi_status status;
    } all[] = {
        { sgi_runtime_open(NULL, NULL, NULL) },
        { sgi_runtime_query(rt, NULL) },
        { sgi_runtime_drain(NULL) },
        { sgi_model_register(rt, NULL, &model, NULL) },
        { sgi_model_find(rt, NULL, &model) },
        { sgi_model_query(rt, model, NULL) },
        { sgi_model_try_acquire(rt, model, NULL, NULL) },
        { sgi_model_acquire_wait(rt, model, NULL, NULL, NULL) },
        { sgi_model_acquire(NULL, model, NULL, NULL, NULL, NULL, NULL) },
        { sgi_ticket_wait(rt, model, 1, NULL, NULL) },
        { sgi_lease_tensor(rt, lease, 0, NULL, NULL) },
        { sgi_lease_tensor_digest(rt, lease, 0, NULL, NULL) },
        { sgi_lease_tensor_read(rt, lease, 0, 0, NULL, 1, NULL) },
        { sgi_lease_image(rt, lease, 0, NULL, NULL) },
        { sgi_lease_run(rt, lease, NULL, NULL, NULL) },
        { sgi_lease_stream(rt, lease, NULL, NULL) },
        { sgi_lease_timing(rt, lease, NULL) },
        { sgi_call_begin(rt, lease, NULL, 1, 0, &call, NULL) },
        { sgi_call_begin(rt, lease, "", 1, 0, NULL, NULL) },
        { sgi_call_read(rt, call, NULL, 1, &bytes, NULL) },
        { sgi_call_read(rt, call, buffer, 0, &bytes, NULL) },
        { sgi_lease_call(rt, lease, NULL, 1, 1, NULL, NULL, NULL) },
        { sgi_metrics_write(rt, NULL, &pieces) },
        { sgi_trace_write(rt, NULL, &pieces) },
        { sgi_events_read(rt, 1, NULL) },
        { sgi_inspect(NULL, 0, write_some, &pieces, NULL) },
    };
    for (size_t n = 0; n < sizeof all / sizeof *all; n++)
        CHECK(all[n].status == SGI_E_INVALID);
}

void fuzz_api_models(struct world *w)
{
    static void (*const steps[])(struct world *) = {
        step_register,    step_acquire_wait, step_acquire,      step_prefetch, step_try_acquire, step_completions,
        step_ticket_wait, step_cancel,       step_evict,        step_pin,      step_engine,      step_register,
        step_unregister,  step_describe,     step_inspect,      step_query,    step_nulls,       step_touch,
        step_drain,       step_close,        step_acquire_wait,
    };
    steps[below(w, sizeof steps / sizeof *steps)](w);
}
