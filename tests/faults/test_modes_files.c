/* SPDX-License-Identifier: Apache-2.0 */
/* Failure modes of contents: wrong bytes under a right status, and files that change at any moment of a model's
 * life. A lease that is granted has the bytes that were registered, or there is none. README.md is the list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "io/io.h"
#include "modes.h"

/* ---- 17 ---- */

#if defined(SGI_SANITIZES_THREAD)
enum { CYCLES = 60 };
#else
enum { CYCLES = 120 };
#endif

static sgi_model add_of(struct modes *m, const char *name, uint32_t n, uint32_t flags, uint32_t tenant,
                        const sgi_tensor_check *check)
{
    sgi_model_config mc = host_model(name, modes_files[n].path, NULL);
    mc.flags = flags;
    mc.tenant = tenant;
    mc.checks = check;
    mc.checks_count = check ? 1 : 0;
    return host_register(m->rt, &mc);
}

/* 17. vLLM #29341, #16564 and many after them: after sleeping and waking up, or after weights were loaded again in
 * place, everything says OK and the answers are gibberish: the memory is there, and what is in it is not the model.
 * Here memory goes from model to model, some loads die half way, and models come back from DRAM and from disk. */
static void mode_17_the_bytes_are_right_however_often_memory_is_used_again(void **state)
{
    struct modes       m;
    sgi_runtime_config config = modes_config(1, MIB(2)); /* one image, so that one's memory is the next one's */
    const void        *last[2 * FILES] = { NULL };
    uint32_t           recycled = 0, died = 0, from_dram = 0;
    uint64_t           random = 7;
    (void)state;
    config.spare_bytes_max = MIB(8);
    config.dram_bytes_max = MIB(4);
    modes_open(&m, &config, NULL);
    sgi_model models[2 * FILES];
    for (uint32_t n = 0; n < 2 * FILES; n++) {
        char name[16];
        snprintf(name, sizeof name, "m%u", n);
        models[n] = add_of(&m, name, n % FILES, n < FILES ? 0 : SGI_IMAGE_FD, 0, NULL);
    }
    for (int cycle = 0; cycle < CYCLES; cycle++) {
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
        uint32_t  n = (uint32_t)(random >> 33) % (2 * FILES), how = (uint32_t)(random >> 45) % 8;
        sgi_lease lease = 0;
        if (how == 0) /* it dies at some read, with part of its bytes in memory that somebody had before */
            sgi__fault_plan(SGI__FAULT_READ, 1 + (random >> 50) % 12, UINT64_MAX, EIO);
        sgi_status st = sgi_model_acquire_wait(m.rt, models[n], NULL, &lease, &m.err);
        sgi__fault_clear();
        if (st != SGI_OK) {
            assert_true(how == 0 && st == SGI_E_IO);
            died++;
            modes_advance(&m, BACKOFF_MAX_MS);
            continue;
        }
        modes_same(&m, models[n], lease, n % FILES);
        from_dram += host_timing(m.rt, lease).tier == SGI_TIER_DRAM;
        const void *at = host_tensor(m.rt, lease, 0).data;
        for (uint32_t other = 0; other < 2 * FILES; other++)
            recycled += other != n && last[other] == at;
        last[n] = at;
        host_release(m.rt, lease);
        assert_int_equal(sgi_model_evict(m.rt, models[n], how % 2 ? SGI_TIER_DRAM : SGI_TIER_DISK), SGI_OK);
        host_wait_state(m.rt, models[n], SGI_MODEL_COLD);
        host_wait_threads(m.rt, 1); /* what is spare is known */
    }
    assert_true(recycled > CYCLES / 4 && died > 3 && from_dram > 3);
    modes_close(&m);
}

/* 17, by the disk's fault: a byte that came wrong is read again past the cache; one that stays wrong is no lease. */
static void mode_17_wrong_bytes_are_read_again_or_refused(void **state)
{
    struct modes       m;
    sgi_runtime_config config = modes_config(1, MIB(2));
    sgi_tensor_check   check = { .name = "w" };
    sgi_lease          lease = 0;
    uint64_t           k = 1;
    (void)state;
    modes_open(&m, &config, NULL);
    check.xxh3 = test_xxh3(modes_files[0].data + modes_files[0].data_offset, FILE_BYTES);
    sgi_model model = add_of(&m, "m", 0, 0, 0, &check);
    for (;; k++) {
        sgi__fault_plan(SGI__FAULT_CORRUPT, k, 1, 1);
        lease = host_acquire(m.rt, model);
        bool reached = sgi__fault_passed(SGI__FAULT_CORRUPT) >= k;
        sgi__fault_clear();
        modes_same(&m, model, lease, 0);
        assert_int_equal(host_timing(m.rt, lease).reread_bytes, reached ? FILE_BYTES : 0);
        host_release(m.rt, lease);
        modes_evict(&m, model);
        if (!reached)
            break;
        sgi__fault_plan(SGI__FAULT_CORRUPT, k, UINT64_MAX, 1);
        assert_int_equal(host_acquire_fails(m.rt, model, &m.err), SGI_E_CHECK);
        host_error_is(&m.err, SGI_E_CHECK, SGI_STEP_VERIFY, "'w'");
        sgi__fault_clear();
        modes_quiet(&m, model);
        assert_int_equal(host_info(m.rt).device_bytes, 0);
    }
    assert_true(k > 10);
    modes_close(&m);
}

/* 17, between tenants: nobody gets what another one's model has left. */
static void mode_17_memory_does_not_go_from_tenant_to_tenant(void **state)
{
    struct modes       m;
    sgi_runtime_config config = modes_config(1, MIB(2));
    (void)state;
    config.dram_bytes_max = config.spare_bytes_max = MIB(8);
    modes_open(&m, &config, NULL);
    sgi_model one = add_of(&m, "one", 0, 0, 1, NULL), two = add_of(&m, "two", 1, 0, 2, NULL);
    sgi_model also_one = add_of(&m, "also one", 2, 0, 1, NULL);
    modes_use(&m, one, 0);
    modes_evict(&m, one);
    uint64_t spare = host_info(m.rt).spare_bytes;
    assert_true(spare > 0);
    modes_use(&m, two, 1);
    assert_int_equal(host_info(m.rt).spare_bytes, spare); /* not taken */
    modes_evict(&m, two);
    modes_use(&m, also_one, 2);
    assert_int_equal(host_info(m.rt).spare_bytes, spare); /* of two, the one that was its own */
    modes_close(&m);
}

/* ---- 20 ---- */

enum change {
    REPLACED,  /* another file of the same size under the name */
    TRUNCATED, /* to its half */
    REWRITTEN, /* in place: the same size, other bytes */
    DELETED,
    CHANGES
};

/* A place whose reads wait at a gate, and which counts the sources it has checked. */
static struct gate            reads;
static struct sgi__place_sink owner;
static atomic_uint            sources_checked;
static struct sgi__io_engine  waiting_engine;

static void submit_after_gate(struct sgi__io_queue *queue, struct sgi__io_request **requests, uint32_t count)
{
    gate_pass(&reads);
    sgi__io_threads.submit(queue, requests, count);
}

static void tell_and_count(void *user, const struct sgi__place_event *event)
{
    (void)user;
    owner.event(owner.user, event);
    if (event->kind == SGI__PLACE_SOURCE_CHECKED)
        atomic_fetch_add(&sources_checked, 1);
}

static sgi_status open_with_gate(const struct sgi__place_config *config, struct sgi__place **place_out, sgi_error *err)
{
    struct sgi__place_config mine = *config;
    owner = config->sink;
    mine.sink.event = tell_and_count;
    waiting_engine = sgi__io_threads;
    waiting_engine.submit = submit_after_gate;
    mine.engine = mine.hot_engine = &waiting_engine;
    return sgi__place_local.open(&mine, place_out, err);
}

static bool are_checked(void *user)
{
    return atomic_load(&sources_checked) >= *(unsigned *)user;
}

static void wait_checked(unsigned count)
{
    test_wait_until(are_checked, &count, "a source is not checked");
}

/* The file that changes, what it was, and what it is after REPLACED or REWRITTEN. */
struct changing {
    struct modes     m;
    struct test_file was, is;
    sgi_model        model;
    sgi_tensor_check check;
};

static void open_changing(struct changing *c, bool with_check)
{
    static struct sgi__place_ops ops;
    sgi_runtime_config           config = modes_config(1, KIB(1300));

    ops = sgi__place_local;
    ops.open = open_with_gate;
    gate_init(&reads);
    atomic_store(&sources_checked, 0);
    config.dram_bytes_max = MIB(2);
    modes_open(&c->m, &config, &ops);
    test_file_make_one(&c->was, &modes_folder, "changing.safetensors", FILE_BYTES);
    test_file_make_one(&c->is, &modes_folder, "changed.safetensors", FILE_BYTES);
    const struct timespec old[] = { { 1000000000, 0 }, { 1000000000, 0 } }; /* the clock of files is coarse */
    assert_int_equal(utimensat(AT_FDCWD, c->was.path, old, 0), 0);
    c->check = (sgi_tensor_check){ .name = "w", .xxh3 = test_xxh3(c->was.data + c->was.data_offset, FILE_BYTES) };
    sgi_model_config mc = host_model("m", c->was.path, NULL);
    mc.checks = &c->check;
    mc.checks_count = with_check;
    c->model = host_register(c->m.rt, &mc);
}

static void close_changing(struct changing *c)
{
    modes_close(&c->m);
    gate_fini(&reads);
    test_file_free(&c->was);
    test_file_free(&c->is);
}

static void rewrite(const struct changing *c)
{
    int fd = open(c->was.path, O_WRONLY);
    assert_int_equal(pwrite(fd, c->is.data, c->is.bytes, 0), c->is.bytes);
    close(fd);
}

static void make_change(const struct changing *c, enum change change)
{
    switch (change) {
    case REPLACED:
        assert_int_equal(rename(c->is.path, c->was.path), 0);
        break;
    case TRUNCATED:
        assert_int_equal(truncate(c->was.path, FILE_BYTES / 2), 0);
        break;
    case REWRITTEN:
        rewrite(c);
        break;
    default:
        assert_int_equal(unlink(c->was.path), 0);
        break;
    }
}

/* The next start says what has become of the file, with the step at which it was seen, and keeps nothing. */
static void is_refused(struct changing *c, enum change change, sgi_status st, uint32_t step)
{
    assert_int_equal(st, change == DELETED ? SGI_E_IO : SGI_E_CHANGED);
    host_error_is(&c->m.err, st, step, "changing.safetensors");
    modes_quiet(&c->m, c->model);
    assert_int_equal(host_state(c->m.rt, c->model).device_bytes, 0);
    assert_int_equal(host_state(c->m.rt, c->model).dram_bytes, 0);
    assert_int_equal(host_state(c->m.rt, c->model).leases_count, 0);
}

static void same(struct changing *c, sgi_lease lease)
{
    host_same_bytes(c->m.rt, c->model, lease, &c->was);
}

/* 20. Ollama #4443 (a model that was deleted goes on), djl-serving #274 (one that was replaced goes on as before);
 * with mmap a truncated file is a SIGBUS, and one that is rewritten changes under the feet of whoever computes with
 * it. What is in memory here is a copy: it stays right in every tier, and the next load from disk says what has
 * changed. */
static void mode_20_a_file_that_changes_while_resident_and_before_a_reload(void **state)
{
    (void)state;
    for (enum change change = 0; change < CHANGES; change++) {
        struct changing c;
        sgi_runtime    *rt;
        open_changing(&c, false);
        rt = c.m.rt;
        sgi_lease lease = host_acquire(rt, c.model), second = 0;
        make_change(&c, change);
        same(&c, lease);
        assert_int_equal(sgi_model_try_acquire(rt, c.model, NULL, &second), SGI_OK); /* warm */
        same(&c, second);
        host_release(rt, second);
        host_release(rt, lease);
        assert_int_equal(sgi_model_evict(rt, c.model, SGI_TIER_DRAM), SGI_OK);
        host_wait_state(rt, c.model, SGI_MODEL_COLD);
        lease = host_acquire(rt, c.model);
        assert_int_equal(host_timing(rt, lease).tier, SGI_TIER_DRAM);
        same(&c, lease);
        host_release(rt, lease);
        modes_evict(&c.m, c.model);
        sgi_status st = host_acquire_fails(rt, c.model, &c.m.err);
        is_refused(&c, change, st, SGI_STEP_SOURCE);
        if (change == REPLACED || change == REWRITTEN) { /* registered anew it is what it is now */
            assert_int_equal(sgi_model_unregister(rt, c.model, HOST_WAIT_MS, &c.m.err), SGI_OK);
            c.model = host_add(rt, "m", c.was.path, NULL);
            lease = host_acquire(rt, c.model);
            host_same_bytes(rt, c.model, lease, &c.is);
            host_release(rt, lease);
        }
        close_changing(&c);
    }
}

/* 20, while its request waits for room: the source was good when it was looked at, and is opened later. */
static void mode_20_a_file_that_changes_while_queued(void **state)
{
    (void)state;
    for (enum change change = 0; change < CHANGES; change++) {
        struct changing c;
        sgi_lease       lease = 0;
        open_changing(&c, false);
        sgi_model  other = modes_add(&c.m, 1, false, 0);
        sgi_lease  held = host_acquire(c.m.rt, other);
        sgi_ticket ticket = modes_ask(&c.m, c.model);
        wait_checked(2);
        make_change(&c, change);
        host_release(c.m.rt, held);
        is_refused(&c, change, modes_end(&c.m, ticket, &lease), SGI_STEP_OPEN);
        modes_use(&c.m, other, 1);
        close_changing(&c);
    }
}

/* 20, in the middle of its load. */
static void mode_20_a_file_that_changes_during_its_load(void **state)
{
    (void)state;
    for (enum change change = 0; change < CHANGES; change++) {
        struct changing c;
        sgi_lease       lease = 0;
        open_changing(&c, false);
        gate_close(&reads);
        sgi_ticket ticket = modes_ask(&c.m, c.model);
        gate_wait_arrived(&reads, 1);
        make_change(&c, change);
        gate_open(&reads);
        is_refused(&c, change, modes_end(&c.m, ticket, &lease), SGI_STEP_READ);
        close_changing(&c);
    }
}

/* 20, by somebody who puts the times back too: only check values can tell. */
static void mode_20_a_file_rewritten_with_its_time_put_back_needs_checks(void **state)
{
    struct changing c;
    struct stat     st;
    (void)state;
    open_changing(&c, true);
    host_release(c.m.rt, host_acquire(c.m.rt, c.model));
    modes_evict(&c.m, c.model);
    assert_int_equal(stat(c.was.path, &st), 0);
    rewrite(&c);
    assert_int_equal(utimensat(AT_FDCWD, c.was.path, (struct timespec[]){ st.st_atim, st.st_mtim }, 0), 0);
    assert_int_equal(host_acquire_fails(c.m.rt, c.model, &c.m.err), SGI_E_CHECK);
    host_error_is(&c.m.err, SGI_E_CHECK, SGI_STEP_VERIFY, "'w'");
    close_changing(&c);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        MODE(mode_17_the_bytes_are_right_however_often_memory_is_used_again),
        MODE(mode_17_wrong_bytes_are_read_again_or_refused),
        MODE(mode_17_memory_does_not_go_from_tenant_to_tenant),
        MODE(mode_20_a_file_that_changes_while_resident_and_before_a_reload),
        MODE(mode_20_a_file_that_changes_while_queued),
        MODE(mode_20_a_file_that_changes_during_its_load),
        MODE(mode_20_a_file_rewritten_with_its_time_put_back_needs_checks),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("modes: files", tests, modes_set_up, modes_tear_down);
}
