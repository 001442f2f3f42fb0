/* SPDX-License-Identifier: Apache-2.0 */
/* Failure modes of memory and of what is said about it: given back when it is said to be, no residue, nobody kept
 * awake by looking, nothing left of a cycle. README.md is the list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "modes.h"

/* ---- a place that is looked at: the local one, as it reports ---- */

enum { WATCHED_MAX = 4 };

static struct sgi__place_sink owner;
static const void            *watched[WATCHED_MAX]; /* memory that has to be gone when FREED is told */
static atomic_uint            freed, still_there, reserved, reserved_too_early;
static uint64_t               residue; /* what FREED says could not be given back */

static unsigned watched_and_there(void)
{
    unsigned there = modes_image_maps();
    for (int n = 0; n < WATCHED_MAX; n++)
        there += watched[n] && modes_mapped(watched[n]);
    return there;
}

static void look_and_tell(void *user, const struct sgi__place_event *event)
{
    struct sgi__place_event said = *event;
    (void)user;
    if (event->kind == SGI__PLACE_FREED) {
        atomic_fetch_add(&still_there, watched_and_there());
        atomic_fetch_add(&freed, 1);
        said.bytes = residue;
    }
    owner.event(owner.user, &said);
}

static sgi_status open_looked_at(const struct sgi__place_config *config, struct sgi__place **place_out, sgi_error *err)
{
    struct sgi__place_config mine = *config;
    owner = config->sink;
    mine.sink.event = look_and_tell;
    return sgi__place_local.open(&mine, place_out, err);
}

static void reserve_looked_at(struct sgi__place *p, uint64_t op, sgi_model model, uint64_t instance, int32_t device,
                              uint32_t tier, bool packed, uint64_t shared_bytes)
{
    atomic_fetch_add(&reserved_too_early, watched_and_there());
    atomic_fetch_add(&reserved, 1);
    sgi__place_local.reserve(p, op, model, instance, device, tier, packed, shared_bytes);
}

static void open_over_looked_at(struct modes *m, const sgi_runtime_config *config)
{
    static struct sgi__place_ops ops;
    ops = sgi__place_local;
    ops.open = open_looked_at;
    ops.reserve = reserve_looked_at;
    memset(watched, 0, sizeof watched);
    atomic_store(&freed, 0);
    atomic_store(&still_there, 0);
    atomic_store(&reserved, 0);
    atomic_store(&reserved_too_early, 0);
    residue = 0;
    modes_open(m, config, &ops);
}

/* ---- 6 ---- */

static void take_scratch(void *user, sgi_stage *stage)
{
    sgi_error err = { .struct_size = sizeof err };
    void     *memory = NULL;
    (void)user;
    if (sgi_stage_alloc(stage, KIB(64), &memory, &err) == SGI_OK)
        memset(memory, 1, KIB(64));
    watched[1] = memory;
}

/* 6. llama-swap #97: the old process is gone and the new one starts before the driver has given the memory back: out
 * of memory. Ollama polls the driver for half a second to one and a half, and hopes. */
static void mode_06_unloaded_is_said_when_the_memory_is_gone(void **state)
{
    (void)state;
    for (uint32_t flags = 0; flags <= SGI_IMAGE_FD; flags += SGI_IMAGE_FD) {
        struct modes       m;
        sgi_runtime_config config = modes_config(1, KIB(1300)); /* one at a time */
        open_over_looked_at(&m, &config);
        m.engine.in_start = take_scratch;
        sgi_model_config mc = host_model("first", modes_files[0].path, &m.engine);
        mc.flags = flags;
        mc.engine_bytes = KIB(64);
        sgi_model first = host_register(m.rt, &mc), second = modes_add(&m, 1, false, 0);

        sgi_lease lease = host_acquire(m.rt, first);
        uint64_t  charged = host_info(m.rt).device_bytes;
        watched[0] = host_tensor(m.rt, lease, 0).data;
        assert_true(modes_mapped(watched[0]) && modes_mapped(watched[1]));
        assert_int_equal(atomic_exchange(&reserved, 0), 1);
        gate_close(&m.engine.gates[ENGINE_STOP]);
        sgi_ticket ticket = modes_ask(&m, second);
        host_release(m.rt, lease);
        gate_wait_arrived(&m.engine.gates[ENGINE_STOP], 1); /* evicted for the second, and not gone yet */
        assert_int_equal(host_info(m.rt).device_bytes, charged);
        assert_int_equal(host_state(m.rt, first).state, SGI_MODEL_STOPPING);
        assert_int_equal(atomic_load(&reserved), 0);
        assert_true(modes_mapped(watched[0]) && modes_mapped(watched[1]));
        gate_open(&m.engine.gates[ENGINE_STOP]);
        lease = modes_granted(&m, ticket);
        assert_true(atomic_load(&freed) == 1 && atomic_load(&still_there) == 0);
        assert_true(atomic_load(&reserved) == 1 && atomic_load(&reserved_too_early) == 0);
        modes_same(&m, second, lease, 1);
        host_release(m.rt, lease);
        modes_evict(&m, second);
        modes_evict(&m, first); /* what was prepared */
        modes_hold_nothing(&m);
        modes_close(&m);
    }
}

/* 6, with memory kept for the next load: it is not gone, and does not count as gone either. */
static void mode_06_what_is_kept_as_spare_is_said_to_be(void **state)
{
    struct modes       m;
    sgi_runtime_config config = modes_config(1, MIB(8));
    (void)state;
    config.dram_bytes_max = config.spare_bytes_max = MIB(8);
    modes_open(&m, &config, NULL);
    sgi_model model = modes_add(&m, 0, false, 0);
    sgi_lease lease = host_acquire(m.rt, model);
    uint64_t  charged = host_info(m.rt).device_bytes;
    host_release(m.rt, lease);
    modes_evict(&m, model);
    assert_int_equal(host_info(m.rt).device_bytes, 0);
    assert_int_equal(host_info(m.rt).spare_bytes, charged);
    assert_int_equal(host_info(m.rt).dram_bytes, charged);
    modes_close(&m);
}

/* ---- 8 ---- */

struct resizer {
    sgi_runtime *rt;
    sgi_model    model;
    uint64_t     bytes;
    uint32_t     wrong;
};

static void *load_and_unload(void *arg)
{
    struct resizer *r = arg;
    sgi_device_info info = { .struct_size = sizeof info };
    sgi_model_state s = { .struct_size = sizeof s };
    sgi_lease       lease;
    for (int n = 0; n < 50; n++) {
        r->wrong += sgi_model_acquire_wait(r->rt, r->model, NULL, &lease, NULL) != SGI_OK;
        sgi_device_query(r->rt, 0, &info);
        r->wrong += info.bytes_used != r->bytes;
        r->wrong += sgi_lease_release(r->rt, lease) != SGI_OK;
        r->wrong += sgi_model_evict(r->rt, r->model, SGI_EVICT_ALL) != SGI_OK;
        do
            sgi_model_query(r->rt, r->model, &s);
        while (s.state != SGI_MODEL_COLD);
        sgi_device_query(r->rt, 0, &info);
        r->wrong += info.bytes_used != 0;
    }
    return NULL;
}

/* 8. vLLM #37065: one server's process puts its model to sleep while another's wakes one up on the same GPU, and one
 * of them hangs in the kernel or dies. #55827: two that start at once take each other's memory for their own, and
 * one gets a tiny cache, the other none. Two processes and a GPU are not here; two runtimes are, and each counts its
 * own. */
static void mode_08_two_that_resize_at_once_count_their_own(void **state)
{
    struct modes   m[2];
    struct resizer r[2];
    pthread_t      threads[2];
    (void)state;
    for (uint32_t n = 0; n < 2; n++) {
        sgi_runtime_config config = modes_config(1, MIB(8));
        modes_open(&m[n], &config, NULL);
        r[n] = (struct resizer){ .rt = m[n].rt, .model = modes_add(&m[n], n, false, 0) };
        modes_use(&m[n], r[n].model, n);
        r[n].bytes = host_info(m[n].rt).device_bytes;
        modes_evict(&m[n], r[n].model);
    }
    for (int n = 0; n < 2; n++)
        assert_int_equal(pthread_create(&threads[n], NULL, load_and_unload, &r[n]), 0);
    for (int n = 0; n < 2; n++)
        pthread_join(threads[n], NULL);
    for (uint32_t n = 0; n < 2; n++) {
        assert_int_equal(r[n].wrong, 0);
        modes_use(&m[n], r[n].model, n);
        modes_close(&m[n]);
    }
}

/* ---- 12 ---- */

static int ignore_text(void *user, const char *text, size_t bytes)
{
    (void)user;
    (void)text;
    (void)bytes;
    return 0;
}

static int ignore_sample(void *user, const sgi_sample *sample)
{
    (void)user;
    (void)sample;
    return 0;
}

/* Everything that a monitor, a status page or a health check may call. */
static void look_at_everything(struct modes *m, sgi_model model, sgi_events events)
{
    sgi_model_info part_info = { .struct_size = sizeof part_info };
    sgi_model_part part = { .struct_size = sizeof part };
    sgi_tensor     tensor = { .struct_size = sizeof tensor };
    sgi_event      event = { .struct_size = sizeof event };
    sgi_estimate   e = { .struct_size = sizeof e };
    sgi_completion c = { .struct_size = sizeof c };
    sgi_model      found = 0;

    host_info(m->rt);
    host_device(m->rt, 0);
    host_state(m->rt, model);
    assert_int_equal(sgi_model_find(m->rt, "a", &found), SGI_OK);
    assert_int_equal(sgi_model_describe(m->rt, model, &part_info), SGI_OK);
    assert_int_equal(sgi_model_part_at(m->rt, model, 0, &part), SGI_OK);
    assert_int_equal(sgi_model_tensor_at(m->rt, model, 0, &tensor), SGI_OK);
    assert_int_equal(sgi_model_tensor_find(m->rt, model, "w", &tensor), SGI_OK);
    assert_int_equal(sgi_model_estimate(m->rt, model, NULL, &e, NULL, 0), SGI_OK);
    assert_int_equal(sgi_metrics_write(m->rt, ignore_text, NULL), SGI_OK);
    assert_int_equal(sgi_metrics_snapshot(m->rt, ignore_sample, NULL), SGI_OK);
    assert_int_equal(sgi_trace_write(m->rt, ignore_text, NULL), SGI_OK);
    assert_int_equal(sgi_completion_next(m->rt, &c), SGI_E_WOULD_BLOCK);
    assert_int_equal(sgi_inspect(modes_files[0].path, 0, ignore_text, NULL, &m->err), SGI_OK);
    while (sgi_events_read(m->rt, events, &event) == SGI_OK) {
    }
}

/* 12. llama.cpp #20227, #23096: Prometheus asks for metrics every few seconds; each time the idle timer starts anew,
 * and where the model has gone it is loaded again for the answer. */
static void mode_12_looking_neither_keeps_a_model_nor_brings_it_back(void **state)
{
    struct modes       m;
    sgi_runtime_config config = modes_config(1, MIB(8));
    sgi_events         events = 0;
    (void)state;
    modes_open(&m, &config, NULL);
    sgi_model model = modes_add(&m, 0, true, 1);
    assert_int_equal(sgi_events_open(m.rt, 0, 0, &events, &m.err), SGI_OK);
    modes_use(&m, model, 0);
    for (int n = 1; n < 10; n++) {
        modes_advance(&m, IDLE_MS / 10);
        look_at_everything(&m, model, events);
        assert_int_equal(host_state(m.rt, model).idle_left_ms, IDLE_MS - n * (IDLE_MS / 10));
    }
    modes_advance(&m, IDLE_MS / 10 - 1);
    look_at_everything(&m, model, events);
    assert_int_equal(host_state(m.rt, model).state, SGI_MODEL_READY);
    modes_advance(&m, 1);
    host_wait_state(m.rt, model, SGI_MODEL_COLD);
    look_at_everything(&m, model, events);
    assert_int_equal(host_state(m.rt, model).state, SGI_MODEL_COLD);
    assert_int_equal(host_state(m.rt, model).loads_count, 1);
    assert_int_equal(host_info(m.rt).device_bytes, 0);
    modes_close(&m);
}

/* ---- 18 ---- */

struct sum {
    double bytes;
    bool   seen;
};

static int sum_residue(void *user, const sgi_sample *sample)
{
    struct sum *sum = user;
    if (strcmp(sample->family, "sgi_unload_residual_bytes") == 0) {
        sum->bytes += sample->value;
        sum->seen = true;
    }
    return 0;
}

/* Takes a model up and down, the context with it: what was left is what the event and the metric say. */
static void leaves(struct modes *m, sgi_model model, sgi_events events, uint64_t bytes, double bytes_so_far)
{
    sgi_event  e = { .struct_size = sizeof e };
    struct sum sum = { 0 };

    modes_use(m, model, 0);
    modes_advance(m, IDLE_MS);
    host_wait_state(m->rt, model, SGI_MODEL_COLD);
    while (e.kind != SGI_EVENT_RELEASED)
        assert_int_equal(sgi_events_read(m->rt, events, &e), SGI_OK);
    assert_int_equal(e.residue_bytes, bytes);
    assert_int_equal(sgi_metrics_snapshot(m->rt, sum_residue, &sum), SGI_OK);
    assert_true(sum.seen && sum.bytes == bytes_so_far);
}

static bool is_device_zero(void *runtime)
{
    return host_device(runtime, 0).context == SGI_CONTEXT_NONE;
}

/* 18. mold #50 (700 MB stay after unload), tabbyAPI #144, mistral.rs #2113, openedai-speech #69; InvokeAI #9413 (256
 * MB before any model). What CUDA keeps needs a GPU; that here nothing stays, that nothing is taken before there is
 * a model, and that what a device could not give back is said, does not. */
static void mode_18_no_residue_and_what_there_is_is_told(void **state)
{
    struct modes       m;
    sgi_runtime_config config = modes_config(1, MIB(8));
    sgi_events         events = 0;
    (void)state;
    config.context_linger_ms = SGI_IDLE_NOW;
    uint64_t resident = modes_resident();
    open_over_looked_at(&m, &config);
    sgi_model model = modes_add(&m, 0, true, 1);
    modes_add(&m, 1, false, 0);
    assert_int_equal(sgi_events_open(m.rt, 0, 0, &events, &m.err), SGI_OK);
    assert_true(modes_resident() <= resident + KIB(700)); /* some of it the reader's ring */
    assert_true(is_device_zero(m.rt));
    assert_int_equal(host_info(m.rt).device_bytes, 0);
    assert_int_equal(host_info(m.rt).threads_count, 1);

    leaves(&m, model, events, 0, 0);
    test_wait_until(is_device_zero, m.rt, "the context stays");
    assert_int_equal(sgi_model_evict(m.rt, model, SGI_EVICT_ALL), SGI_OK);
    modes_hold_nothing(&m);
    assert_int_equal(modes_image_maps(), 0);
    residue = 4096 * 3;
    leaves(&m, model, events, 4096 * 3, 4096 * 3);
    residue = 100;
    leaves(&m, model, events, 100, 4096 * 3 + 100);
    modes_close(&m);
}

/* ---- 19 ---- */

/* 19. Somebody else's process takes the memory between two of our loads, or in the middle of one. What can be seen
 * of it without a GPU is that memory is not to be had although the books say so. The other half of this mode, where
 * it is seen beforehand, is in test_modes_turns.c. */
static void mode_19_memory_taken_by_others_is_told_and_waited_for(void **state)
{
    struct modes       m;
    sgi_runtime_config config = modes_config(1, MIB(8));
    uint64_t           tries = 0, waited = 0;
    (void)state;
    modes_open(&m, &config, NULL);
    sgi_model used = modes_add(&m, 0, false, 0), model = modes_add(&m, 1, false, 0);
    sgi_lease lease = host_acquire(m.rt, used);

    sgi__fault_plan(SGI__FAULT_RESERVE, 1, UINT64_MAX, 1); /* the other one is there */
    while (waited < 10000) {
        assert_int_equal(host_acquire_fails(m.rt, model, &m.err), SGI_E_DEVICE_MEMORY);
        host_error_is(&m.err, SGI_E_DEVICE_MEMORY, SGI_STEP_MEMORY, "'b'");
        assert_int_equal(sgi__fault_passed(SGI__FAULT_RESERVE), ++tries); /* no more often than it says */
        assert_int_equal(host_info(m.rt).device_bytes, host_state(m.rt, used).device_bytes);
        modes_same(&m, used, lease, 0);
        waited += m.err.retry_after_ms;
        modes_advance(&m, m.err.retry_after_ms);
    }
    assert_true(tries >= 10000 / BACKOFF_MAX_MS && tries <= 10000 / BACKOFF_MAX_MS + 6);
    sgi__fault_clear(); /* and gone */
    modes_use(&m, model, 1);
    host_release(m.rt, lease);
    modes_close(&m);
}

/* ---- 22 ---- */

/* 22. Snapshots of whole processes (cuda-checkpoint, CRIU) are taken while sockets are open or NCCL has its channels
 * up: they cannot be restored, or only where the peers still are. There are no such snapshots here yet; what is kept
 * of a model in DRAM is its bytes, and nothing of an engine that runs. */
static void mode_22_what_is_kept_holds_nothing_that_runs(void **state)
{
    struct modes       m;
    sgi_runtime_config config = modes_config(1, MIB(8));
    (void)state;
    config.dram_bytes_max = MIB(8);
    config.hang_timeout_ms = 1000;
    modes_open(&m, &config, NULL);
    sgi_model model = modes_add(&m, 0, true, 1);
    modes_use(&m, model, 0);
    modes_evict(&m, model);
    host_wait_threads(m.rt, 1);
    uint32_t descriptors = modes_entries("/proc/self/fd");

    modes_use(&m, model, 0);
    gate_close(&m.engine.gates[ENGINE_STOP]);
    modes_advance(&m, IDLE_MS);
    gate_wait_arrived(&m.engine.gates[ENGINE_STOP], 2);
    assert_int_equal(host_info(m.rt).dram_bytes, 0); /* not before the engine has let go */
    assert_int_not_equal(host_state(m.rt, model).tier, SGI_TIER_DRAM);
    gate_open(&m.engine.gates[ENGINE_STOP]);
    host_wait_state(m.rt, model, SGI_MODEL_COLD);
    assert_int_equal(host_state(m.rt, model).tier, SGI_TIER_DRAM);
    assert_int_equal(atomic_load(&m.engine.live), 0);
    host_wait_threads(m.rt, 1);
    assert_int_equal(modes_entries("/proc/self/fd"), descriptors);
    modes_use(&m, model, 0); /* from there, with an engine that is started anew */
    assert_int_equal(test_engine_count(&m.engine, ENGINE_START), 3);

    gate_close(&m.engine.gates[ENGINE_STOP]); /* one that does not let go: its bytes are not kept */
    modes_advance(&m, IDLE_MS);
    gate_wait_arrived(&m.engine.gates[ENGINE_STOP], 3);
    modes_advance(&m, 1000);
    assert_int_equal(host_state(m.rt, model).state, SGI_MODEL_WEDGED);
    gate_open(&m.engine.gates[ENGINE_STOP]);
    host_wait_state(m.rt, model, SGI_MODEL_COLD);
    host_wait_threads(m.rt, 1);
    assert_int_equal(host_state(m.rt, model).tier, SGI_TIER_DISK);
    assert_int_equal(host_info(m.rt).dram_bytes, 0);
    modes_close(&m);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        MODE(mode_06_unloaded_is_said_when_the_memory_is_gone),
        MODE(mode_06_what_is_kept_as_spare_is_said_to_be),
        MODE(mode_08_two_that_resize_at_once_count_their_own),
        MODE(mode_12_looking_neither_keeps_a_model_nor_brings_it_back),
        MODE(mode_18_no_residue_and_what_there_is_is_told),
        MODE(mode_19_memory_taken_by_others_is_told_and_waited_for),
        MODE(mode_22_what_is_kept_holds_nothing_that_runs),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("modes: memory", tests, modes_set_up, modes_tear_down);
}
