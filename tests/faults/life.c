/* SPDX-License-Identifier: Apache-2.0 */
#include "life.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "support/calls.h"

/* ---- plans ---- */

void fault_plan(struct run *r, uint64_t nth, uint64_t times)
{
    const struct fault *f = r->f;

    switch (f->kind) {
    case FAULT_POINT:
        sgi__fault_plan((enum sgi__fault_point)f->which, nth, times, f->value);
        break;
    case FAULT_CALL:
        test_call_fail((enum test_call)f->which, nth, times, f->value);
        break;
    case FAULT_CALLBACK:
        atomic_store(&r->engine.outcomes[f->which], 0);
        atomic_store(&r->engine.fail_from[f->which], nth);
        atomic_store(&r->engine.fail_times[f->which], times);
        atomic_store(&r->engine.fail[f->which], f->value);
    }
}

uint64_t fault_passed(struct run *r)
{
    const struct fault *f = r->f;
    return f->kind == FAULT_POINT  ? sgi__fault_passed((enum sgi__fault_point)f->which)
           : f->kind == FAULT_CALL ? test_call_passed((enum test_call)f->which)
                                   : atomic_load(&r->engine.outcomes[f->which]);
}

void faults_clear(struct run *r)
{
    sgi__fault_clear();
    test_calls_clear();
    for (int n = 0; n < ENGINE_STEPS; n++)
        atomic_store(&r->engine.fail[n], SGI_OK);
}

/* ---- what may be said ---- */

static void wrong(const struct run *r, const char *what, sgi_status st, const sgi_error *err)
{
    fail_msg("%s, failing %llu: %s said %s at step %s, errno %d: '%s'", r->f->name, (unsigned long long)r->nth, what,
             sgi_status_name(st), err ? sgi_step_name(err->step) : "?", err ? err->os_errno : 0,
             err ? err->message : "");
}

/* The system said a number, and whoever looks for the cause wants it. */
static bool has_errno(const struct fault *f, sgi_status st)
{
    switch (f->kind) {
    case FAULT_CALL:
        return st != SGI_E_DENIED && st != SGI_E_UNSUPPORTED; /* these say in words what is not the case */
    case FAULT_POINT:
        return f->which == SGI__FAULT_MAP || f->which == SGI__FAULT_MEMFD || f->which == SGI__FAULT_OPEN ||
               f->which == SGI__FAULT_HEADER || f->which == SGI__FAULT_READ || f->which == SGI__FAULT_THREAD ||
               f->which == SGI__FAULT_TOUCH || f->which == SGI__FAULT_RING;
    default:
        return false;
    }
}

/* OK, or true: one of what the fault may lead to, with its errno and step, in words. */
static bool good(struct run *r, const char *what, sgi_status st, const sgi_error *err)
{
    const struct fault *f = r->f;
    bool                expected = false;

    if (st == SGI_OK)
        return true;
    r->failures++;
    for (int n = 0; n < SAYS_MAX; n++)
        expected |= f->may_say[n] != SGI_OK && f->may_say[n] == st;
    if (!expected || (err && (err->code != st || strlen(err->message) == 0)) ||
        (err && f->step && err->step != f->step) ||
        (err && (err->os_errno != 0 || has_errno(f, st)) && err->os_errno != f->value))
        wrong(r, what, st, err);
    return false;
}

/* ---- one life ---- */

static void use_lease(struct run *r, sgi_lease lease)
{
    struct test_request request = { .kind = REQUEST_EMIT, .pieces = 5, .piece_bytes = 100 };
    sgi_error           err = SGI_ERROR_INIT;
    sgi_image           image = { .struct_size = sizeof image };
    sgi_call            call = 0;
    char                buffer[512];
    size_t              bytes, total = 0;

    host_same_bytes(r->rt, r->model, lease, r->files->shards.shards); /* granted means right, whatever has failed */
    if (good(r, "image", sgi_lease_image(r->rt, lease, 0, &image, &err), &err))
        close(image.fd);
    if (good(r, "blocking call", sgi_lease_call(r->rt, lease, &request, sizeof request, SGI_FOREVER, NULL, NULL, &err),
             &err) &&
        good(r, "call", sgi_call_begin(r->rt, lease, &request, sizeof request, 0, &call, &err), &err)) {
        sgi_status st;
        do {
            assert_int_equal(sgi_call_wait(r->rt, call, SGI_FOREVER, &err), SGI_OK);
            st = sgi_call_read(r->rt, call, buffer, sizeof buffer, &bytes, &err);
            total += st == SGI_OK ? bytes : 0;
        } while (st == SGI_OK || st == SGI_E_WOULD_BLOCK);
        if (st == SGI_E_END)
            assert_int_equal(total, 500);
        else
            good(r, "the call's end", st, &err);
        assert_int_equal(sgi_call_end(r->rt, call), SGI_OK);
    }
}

struct done {
    struct gate gate;
    sgi_status  status;
    sgi_lease   lease;
    sgi_error   error;
};

static void on_done(void *user, const sgi_completion *c)
{
    struct done *d = user;
    d->status = c->status;
    d->lease = c->lease;
    d->error = c->error;
    gate_pass(&d->gate);
}

static bool has_passed(void *gate)
{
    return gate_passed(gate) > 0;
}

static void acquire_with_callback(struct run *r)
{
    struct done d = { .status = SGI_OK };

    gate_init(&d.gate);
    if (good(r, "acquire", sgi_model_acquire(r->rt, r->model, NULL, NULL, on_done, &d, NULL), NULL)) {
        test_wait_until(has_passed, &d.gate, "no `done` comes");
        if (good(r, "acquired", d.status, &d.error)) {
            host_same_bytes(r->rt, r->model, d.lease, r->files->shards.shards);
            host_release(r->rt, d.lease);
        }
    }
    gate_fini(&d.gate);
}

struct rest {
    sgi_runtime *rt;
    sgi_model    model;
};

static bool is_quiet(void *user)
{
    const struct rest *rest = user;
    uint32_t           state = host_state(rest->rt, rest->model).state;
    return state != SGI_MODEL_STOPPING && state != SGI_MODEL_LOADING && state != SGI_MODEL_QUEUED;
}

void life_quiet(struct run *r, sgi_model model)
{
    test_wait_until(is_quiet, &(struct rest){ r->rt, model }, "a model is stuck");
}

static void evict(struct run *r, sgi_model model, uint32_t tier)
{
    life_quiet(r, model);
    sgi_status      st = sgi_model_evict(r->rt, model, tier);
    sgi_model_state s = host_state(r->rt, model);
    if (st != SGI_OK)
        fail_msg("%s, failing %llu: evict said %s; state %u, %u leases, %u calls out, %u requests", r->f->name,
                 (unsigned long long)r->nth, sgi_status_name(st), s.state, s.leases_count, s.calls_out,
                 s.requests_waiting);
    life_quiet(r, model);
}

/* Granted before it is loaded: each tensor is there, or its wait says what the load failed with. */
static void acquire_early(struct run *r)
{
    sgi_acquire_options o;
    sgi_lease           lease = 0;
    sgi_error           err = SGI_ERROR_INIT;
    bool                loaded = true;

    sgi_acquire_options_init(&o, sizeof o);
    o.flags = SGI_ACQUIRE_EARLY;
    if (!good(r, "early acquire", sgi_model_acquire_wait(r->rt, r->plain, &o, &lease, &err), &err))
        return;
    for (uint64_t n = 0; n < 2 && loaded; n++)
        loaded = good(r, "tensor", sgi_lease_tensor_wait(r->rt, lease, n, SGI_FOREVER, &err), &err);
    if (loaded)
        host_same_bytes(r->rt, r->plain, lease, &r->files->plain);
    host_release(r->rt, lease);
}

/* Spare memory is used again, somebody looks on, and at last it is unregistered. */
static void live_plain(struct run *r)
{
    sgi_error  err = SGI_ERROR_INIT;
    sgi_lease  lease = 0;
    sgi_events events = 0;
    sgi_event  event = { .struct_size = sizeof event };

    if (!r->plain)
        return;
    bool reads = good(r, "events", sgi_events_open(r->rt, 16, 0, &events, &err), &err);
    acquire_early(r);
    evict(r, r->plain, SGI_TIER_DISK);
    if (good(r, "plain acquire", sgi_model_acquire_wait(r->rt, r->plain, NULL, &lease, &err), &err)) {
        host_same_bytes(r->rt, r->plain, lease, &r->files->plain);
        host_release(r->rt, lease);
    }
    if (reads) {
        assert_int_equal(sgi_events_read(r->rt, events, &event), SGI_OK);
        assert_int_equal(sgi_events_close(r->rt, events), SGI_OK);
    }
    assert_int_equal(sgi_model_unregister(r->rt, r->plain, HOST_WAIT_MS, &err), SGI_OK); /* it needs nothing */
    r->plain = 0;
}

void life_live(struct run *r)
{
    sgi_error  err = SGI_ERROR_INIT;
    sgi_lease  lease = 0;
    sgi_ticket ticket = 0;
    int        fd = -1;

    good(r, "completion fd", sgi_completion_fd(r->rt, &fd), NULL);
    if (good(r, "cold acquire", sgi_model_acquire_wait(r->rt, r->model, NULL, &lease, &err), &err)) {
        use_lease(r, lease);
        host_release(r->rt, lease);
    }
    evict(r, r->model, SGI_TIER_DRAM);
    if (good(r, "warm acquire", sgi_model_acquire_wait(r->rt, r->model, NULL, &lease, &err), &err))
        host_release(r->rt, lease);
    evict(r, r->model, SGI_EVICT_ALL);
    acquire_with_callback(r);
    evict(r, r->model, SGI_TIER_DISK);
    if (good(r, "prefetch", sgi_model_prefetch(r->rt, r->model, SGI_TIER_DRAM, NULL, &ticket, NULL, NULL, NULL), NULL))
        good(r, "prefetched", sgi_ticket_wait(r->rt, ticket, SGI_FOREVER, &lease, &err), &err);
    life_quiet(r, r->model);
    live_plain(r);
}

/* What the fault has left must be as good as new. */
void life_goes_on(struct run *r)
{
    sgi_lease lease = 0;
    sgi_error err = SGI_ERROR_INIT;

    while (sgi_model_acquire_wait(r->rt, r->model, NULL, &lease, &err) != SGI_OK)
        if (err.retry_after_ms == 0) /* else it is backing off */
            fail_msg("%s, failing %llu: afterwards: %s", r->f->name, (unsigned long long)r->nth, err.message);
    use_lease(r, lease);
    host_release(r->rt, lease);
    evict(r, r->model, SGI_EVICT_ALL);
    if (r->plain)
        evict(r, r->plain, SGI_EVICT_ALL);
    host_wait_threads(r->rt, 1);
    sgi_runtime_info info = host_info(r->rt);
    assert_int_equal(info.device_bytes, 0);
    assert_int_equal(info.dram_bytes, info.spare_bytes);
    assert_int_equal(info.prepared_bytes, 0);
    assert_true(info.leases_count == 0 && info.calls_count == 0 && info.requests_waiting == 0 &&
                info.loads_running == 0);
}

/* ---- from open to close ---- */

bool life_open(struct run *r)
{
    sgi_runtime_config config = host_config();
    sgi_error          err = SGI_ERROR_INIT;
    const char *const  roots[] = { r->files->folder.path, r->files->plain_folder.path };

    config.dram_bytes_max = MIB(32);
    config.spare_bytes_max = MIB(8);
    config.io_engine = r->f->io_engine;
    config.backoff_ms = config.backoff_max_ms = 1;
    config.read_block_bytes = r->f->large ? MIB(1) : KIB(64);
    config.requests_max = 8; /* what is made for each of them at open fails alike */
    config.calls_max = 4;
    config.allowed_roots = roots;
    config.allowed_roots_count = 2;
    bool opened = good(r, "open", sgi_runtime_open(&config, &r->rt, &err), &err);
    if (!opened)
        assert_null(r->rt);
    return opened;
}

/* One that could not be registered has left nothing, its name neither. */
static void register_model(struct run *r, const sgi_model_config *config, sgi_model *model_out)
{
    sgi_error err = SGI_ERROR_INIT;
    uint32_t  before = host_info(r->rt).models_count;

    if (good(r, "register", sgi_model_register(r->rt, config, model_out, &err), &err))
        return;
    assert_int_equal(*model_out, 0);
    assert_int_equal(host_info(r->rt).models_count, before);
    faults_clear(r);
    *model_out = host_register(r->rt, config);
}

/* So that the kernel reads them from the disk. */
static void uncache(const struct files *files)
{
    const char *const paths[] = { files->shards.shards[0].path, files->shards.shards[1].path, files->plain.path };
    for (size_t n = 0; n < sizeof paths / sizeof *paths; n++) {
        int fd = open(paths[n], O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        close(fd);
    }
}

void life_register(struct run *r)
{
    sgi_model_config mc = host_model("m", r->files->shards.path, &r->engine);

    mc.flags = SGI_IMAGE_FD;
    mc.engine_bytes = KIB(64);
    mc.checks = r->files->checks;
    mc.checks_count = 4;
    register_model(r, &mc, &r->model);
    mc = host_model("plain", r->files->plain_folder.path, NULL);
    mc.checks = r->files->plain_checks;
    mc.checks_count = 2;
    register_model(r, &mc, &r->plain);
    if (r->f->cold)
        uncache(r->files); /* reading the headers has read ahead */
}

void life_begin(struct run *r)
{
    test_engine_init(&r->engine, true, true);
    r->engine.alloc_bytes = KIB(16);
    r->engine.look = true;
}
