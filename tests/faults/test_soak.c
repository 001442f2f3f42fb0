/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A host that has bad luck, for a long time: cycles of load, use and release over a few models, in each of which
 * something fails, now and then, by a seed. What is granted is right to the last byte, what is refused says why; when
 * all is quiet nothing is left, and the next acquire works.
 *
 *     faults_soak [--cycles N] [--seed S]
 */
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stand.h"
#include "support/reads.h"

#if defined(SGI_SANITIZES_ADDRESS) || defined(SGI_SANITIZES_THREAD)
enum { MEMORY_IS_TRUE = 0 }; /* the sanitizer's own grows */
#else
enum { MEMORY_IS_TRUE = 1 };
#endif

enum { LAP_CYCLES = 50, STUCK_MS = 20000, QUIET_CYCLES = 10, SLACK_KIB = 4096, MODELS = 4, ASKS_MAX = 3 };

static uint64_t cycles = 100, seed = 1;

/* ---- chance ---- */

static uint64_t state_of_chance;

static uint64_t chance(uint64_t below)
{
    uint64_t x = (state_of_chance += UINT64_C(0x9e3779b97f4a7c15));
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (x ^ (x >> 31)) % below;
}

/* ---- the host ---- */

struct soak {
    sgi_runtime            *rt;
    struct test_engine      engine;
    sgi_model               models[MODELS];
    const struct test_file *files[MODELS];
    bool                    spares; /* freed memory is kept for the next */
    struct ledger           quiet;  /* when nothing is up */
    uint64_t                cycle, granted, refused, canceled;
    char                    trouble[96]; /* this cycle's */
};

static struct test_folder folder;
static struct test_file   large, odd;

static void fail_cycle(const struct soak *s, const char *what, sgi_status st, const sgi_error *err)
{
    fail_msg("seed %llu, cycle %llu (%s): %s said %s: '%s'", (unsigned long long)seed, (unsigned long long)s->cycle,
             s->trouble, what, sgi_status_name(st), err ? err->message : "");
}

/* What may be said under trouble, with words. */
static void true_word(const struct soak *s, const char *what, sgi_status st, const sgi_error *err)
{
    static const sgi_status words[] = { SGI_E_IO,     SGI_E_CHECK,  SGI_E_ENGINE,        SGI_E_NO_MEMORY,
                                        SGI_E_SYSTEM, SGI_E_DEVICE, SGI_E_DEVICE_MEMORY, SGI_E_CANCELED,
                                        SGI_E_TIMEOUT };
    bool                    good = false;
    for (size_t n = 0; n < sizeof words / sizeof *words; n++)
        good |= st == words[n];
    if (!good || (err && (err->code != st || !err->message[0])))
        fail_cycle(s, what, st, err);
}

static sgi_model add(struct soak *s, const char *name, const char *path, bool engine, uint32_t flags,
                     const sgi_tensor_check *checks, uint32_t checks_count)
{
    sgi_model_config mc = host_model(name, path, engine ? &s->engine : NULL);

    mc.flags = flags;
    mc.engine_bytes = engine ? KIB(64) : 0;
    mc.checks = checks;
    mc.checks_count = checks_count;
    mc.leases_max = ASKS_MAX; /* asks are waited for one after the other, and may be granted in any order */
    return host_register(s->rt, &mc);
}

static sgi_tensor_check check_of(const struct test_file *file)
{
    return (sgi_tensor_check){ "w", test_xxh3(file->data + file->data_offset, file->bytes - file->data_offset) };
}

static void open_host(struct soak *s, const struct sgi__io_engine *reads)
{
    sgi_runtime_config config = stand_config();
    sgi_error          err = SGI_ERROR_INIT;

    config.hang_timeout_ms = 0;
    config.dram_bytes_max = MIB(24);
    config.spare_bytes_max = s->spares ? MIB(8) : 0;
    test_engine_init(&s->engine, true, true);
    s->engine.alloc_bytes = KIB(16);
    s->engine.look = true;
    if (sgi__runtime_open_with(&config, test_reads_place(reads), NULL, &s->rt, &err) != SGI_OK)
        fail_msg("open: %s", err.message);
    const sgi_tensor_check large_check = check_of(&large), odd_check = check_of(&odd);
    s->models[0] = add(s, "engine", loop_shards()->path, true, SGI_IMAGE_FD, loop_shards_checks(), 4);
    s->models[1] = add(s, "plain", loop_file()->path, false, 0, loop_file_checks(), 2);
    s->models[2] = add(s, "large", large.path, true, 0, &large_check, 1);
    s->models[3] = add(s, "odd", odd.path, false, SGI_IMAGE_FD, &odd_check, 1);
    const struct test_file *files[] = { loop_shards()->shards, loop_file(), &large, &odd };
    memcpy(s->files, files, sizeof files);
}

/* ---- trouble ---- */

static void fail_a_point(struct soak *s, uint64_t nth, uint64_t times)
{
    static const struct {
        enum sgi__fault_point point;
        const char           *name;
        int                   value;
    } points[] = {
        { SGI__FAULT_ALLOC, "alloc", ENOMEM },     { SGI__FAULT_MAP, "map", ENOMEM },
        { SGI__FAULT_MEMFD, "memfd", EMFILE },     { SGI__FAULT_OPEN, "open", EMFILE },
        { SGI__FAULT_READ, "read", EIO },          { SGI__FAULT_READ, "read again", EINTR },
        { SGI__FAULT_READ_SHORT, "short", 1 },     { SGI__FAULT_CORRUPT, "corrupt", 1 },
        { SGI__FAULT_RING, "ring", ENOMEM },       { SGI__FAULT_THREAD, "thread", EAGAIN },
        { SGI__FAULT_EVENTFD, "eventfd", EMFILE }, { SGI__FAULT_RESERVE, "reserve", ENOMEM },
        { SGI__FAULT_TOUCH, "touch", ENOMEM },     { SGI__FAULT_CONTEXT, "context", 1 },
    };
    uint64_t which = chance(sizeof points / sizeof *points);

    if (points[which].value == EINTR)
        times = 20; /* nobody is interrupted for ever */
    sgi__fault_plan(points[which].point, nth, times, points[which].value);
    snprintf(s->trouble, sizeof s->trouble, "point %s, passing %llu, %llu times", points[which].name,
             (unsigned long long)nth, (unsigned long long)times);
}

static void fail_a_call(struct soak *s, uint64_t nth, uint64_t times)
{
    static const struct {
        enum test_call call;
        const char    *name;
        int            os_errno;
    } calls[] = {
        { CALL_FCNTL, "fcntl", EIO },
        { CALL_FSTAT, "fstat", EIO },
        { CALL_FTRUNCATE, "ftruncate", ENOSPC },
        { CALL_MADVISE, "madvise", EINVAL },
        { CALL_MMAP, "mmap", ENOMEM },
        { CALL_OPEN, "open", EMFILE },
        { CALL_PREAD, "pread", EIO },
        { CALL_STAT, "stat", EIO },
        { CALL_STATX, "statx", ENOSYS },
        { CALL_SYSCALL, "cachestat", ENOSYS },
        { CALL_URING_ENTER, "io_uring_enter", ENOMEM },
    };
    uint64_t which = chance(sizeof calls / sizeof *calls);

    test_call_fail(calls[which].call, nth, times, calls[which].os_errno);
    snprintf(s->trouble, sizeof s->trouble, "call %s, passing %llu, %llu times", calls[which].name,
             (unsigned long long)nth, (unsigned long long)times);
}

static void fail_a_callback(struct soak *s, uint64_t nth, uint64_t times)
{
    static const enum engine_step steps[] = { ENGINE_PREPARE, ENGINE_PREFIX_FILL, ENGINE_START, ENGINE_CALL };
    enum engine_step              step = steps[chance(4)];

    atomic_store(&s->engine.outcomes[step], 0);
    atomic_store(&s->engine.fail_from[step], 1 + nth % 3);
    atomic_store(&s->engine.fail_times[step], times);
    atomic_store(&s->engine.fail[step], SGI_E_ENGINE);
    snprintf(s->trouble, sizeof s->trouble, "callback %d", (int)step);
}

/* Late ones and kept ones; these are let go before anybody is waited for. */
static void trouble_reads(struct soak *s, uint64_t nth)
{
    if (chance(2) == 0) {
        test_reads_put_off((uint32_t)(1 + chance(8)));
        snprintf(s->trouble, sizeof s->trouble, "late reads");
        return;
    }
    bool deaf = chance(2) == 0;
    test_reads_hold(nth, 1 + chance(6), deaf);
    snprintf(s->trouble, sizeof s->trouble, "reads kept from the %llu.%s", (unsigned long long)nth,
             deaf ? ", deaf" : "");
}

static void begin_trouble(struct soak *s)
{
    static const uint64_t often[] = { 1, 1, 1, 3, 20, UINT64_MAX };
    uint64_t              nth = 1 + chance(40), times = often[chance(6)];

    snprintf(s->trouble, sizeof s->trouble, "none");
    switch (chance(8)) {
    case 0:
        break;
    case 1:
    case 2:
    case 3:
        fail_a_point(s, nth, times);
        break;
    case 4:
    case 5:
        fail_a_call(s, nth, times);
        break;
    case 6:
        fail_a_callback(s, nth, times);
        break;
    default:
        trouble_reads(s, nth);
    }
}

static void end_trouble(struct soak *s)
{
    sgi__fault_clear();
    test_calls_clear();
    test_reads_put_off(0);
    for (int n = 0; n < ENGINE_STEPS; n++)
        atomic_store(&s->engine.fail[n], SGI_OK);
}

/* ---- a cycle ---- */

static void use(struct soak *s, uint64_t which, sgi_lease lease)
{
    struct test_request request = { .kind = REQUEST_EMIT, .pieces = 3, .piece_bytes = 50 };
    sgi_error           err = SGI_ERROR_INIT;
    sgi_image           image = { .struct_size = sizeof image };
    sgi_status          st = SGI_OK;

    s->granted++;
    host_same_bytes(s->rt, s->models[which], lease, s->files[which]);
    if (chance(3) == 0) {
        st = sgi_lease_image(s->rt, lease, 0, &image, &err);
        if (st != SGI_OK)
            true_word(s, "image", st, &err);
        else if (image.fd >= 0)
            close(image.fd);
    }
    if (which % 2 == 0) { /* those with an engine */
        st = sgi_lease_call(s->rt, lease, &request, sizeof request, SGI_FOREVER, NULL, NULL, &err);
        if (st != SGI_OK)
            true_word(s, "call", st, &err);
    }
    host_release(s->rt, lease);
}

struct ask {
    uint64_t   which;
    sgi_ticket ticket;
    bool       prefetch;
};

static bool begin_ask(struct soak *s, struct ask *ask)
{
    sgi_acquire_options o;
    sgi_error           err = SGI_ERROR_INIT;

    sgi_acquire_options_init(&o, sizeof o);
    o.deadline_ms = chance(4) == 0 ? (uint32_t)(1 + chance(4)) : SGI_FOREVER;
    o.priority = (int32_t)chance(3);
    *ask = (struct ask){ .which = chance(MODELS), .prefetch = chance(5) == 0 };
    sgi_status st = ask->prefetch
                        ? sgi_model_prefetch(s->rt, s->models[ask->which], chance(2) ? SGI_TIER_DRAM : SGI_TIER_DEVICE,
                                             &o, &ask->ticket, NULL, NULL, &err)
                        : sgi_model_acquire(s->rt, s->models[ask->which], &o, &ask->ticket, NULL, NULL, &err);
    if (st != SGI_OK)
        true_word(s, "ask", st, &err);
    return st == SGI_OK;
}

static void fail_stuck(struct soak *s, const struct ask *ask)
{
    for (uint64_t n = 0; n < MODELS; n++) {
        sgi_model_state m = host_state(s->rt, s->models[n]);
        print_message("model %llu: state %u, tier %u, %u leases, %u requests, %llu device bytes, %llu DRAM bytes\n",
                      (unsigned long long)n, m.state, m.tier, m.leases_count, m.requests_waiting,
                      (unsigned long long)m.device_bytes, (unsigned long long)m.dram_bytes);
    }
    print_message("model %llu, %s\n", (unsigned long long)ask->which, ask->prefetch ? "a prefetch" : "an acquire");
    fail_cycle(s, "an ask is stuck", SGI_E_TIMEOUT, NULL);
}

static void end_ask(struct soak *s, const struct ask *ask)
{
    sgi_error  err = SGI_ERROR_INIT;
    sgi_lease  lease = 0;
    sgi_status st = sgi_ticket_wait(s->rt, ask->ticket, STUCK_MS, &lease, &err);

    if (st == SGI_E_TIMEOUT && err.step == SGI_STEP_NONE)
        fail_stuck(s, ask);
    if (st == SGI_OK && !ask->prefetch) {
        use(s, ask->which, lease);
    } else if (st != SGI_OK) {
        s->refused++;
        true_word(s, "an ask's end", st, &err);
    }
}

static void one_cycle(struct soak *s)
{
    struct ask asks[ASKS_MAX];
    uint32_t   count = 0;

    begin_trouble(s);
    for (uint64_t n = 1 + chance(ASKS_MAX); n > 0; n--)
        count += begin_ask(s, &asks[count]);
    for (uint32_t n = 0; n < count; n++)
        if (chance(5) == 0)
            s->canceled += sgi_acquire_cancel(s->rt, asks[n].ticket) == SGI_OK;
    test_reads_let_go(chance(2) ? TEST_READS_REAL : TEST_READS_PATTERN);
    for (uint32_t n = 0; n < count; n++)
        end_ask(s, &asks[n]);
    static const uint32_t tiers[] = { SGI_TIER_DRAM, SGI_TIER_DISK, SGI_EVICT_ALL };
    if (chance(3) > 0)
        sgi_runtime_evict(s->rt, tiers[chance(3)]);
    end_trouble(s);
}

/* ---- nothing is left ---- */

static bool holds_nothing(void *user)
{
    struct soak *s = user;
    sgi_runtime_evict(s->rt, SGI_EVICT_ALL);
    sgi_runtime_info info = host_info(s->rt);
    return info.device_bytes == 0 && info.dram_bytes == info.spare_bytes && info.prepared_bytes == 0 &&
           info.threads_count == 1;
}

static void nothing_is_up(struct soak *s)
{
    test_wait_until(holds_nothing, s, "something stays");
    sgi_runtime_info info = host_info(s->rt);
    assert_true(info.leases_count == 0 && info.calls_count == 0 && info.requests_waiting == 0 &&
                info.loads_running == 0);
    assert_int_equal(atomic_load(&s->engine.live), 0);
    assert_int_equal(atomic_load(&s->engine.prepared_live), 0);
}

/* Spare regions are allocations, maps and descriptors: with them the books are closed after the lap only. */
static void compare_quiet(struct soak *s)
{
    char what[192];

    nothing_is_up(s);
    snprintf(what, sizeof what, "seed %llu, after cycle %llu (%s)", (unsigned long long)seed,
             (unsigned long long)s->cycle, s->trouble);
    if (!s->spares)
        ledger_compare(&s->quiet, what);
}

static void all_work(struct soak *s)
{
    for (uint64_t n = 0; n < MODELS; n++) {
        sgi_error err = SGI_ERROR_INIT;
        sgi_lease lease = 0;
        while (sgi_model_acquire_wait(s->rt, s->models[n], NULL, &lease, &err) != SGI_OK)
            if (err.retry_after_ms == 0) /* else it is backing off */
                fail_cycle(s, "afterwards", err.code, &err);
        use(s, n, lease);
    }
}

static uint64_t resident_kib(void)
{
    FILE         *status = fopen("/proc/self/status", "r");
    char          line[256];
    uint64_t      sum = 0;
    unsigned long value;

    malloc_trim(0);
    while (status && fgets(line, sizeof line, status))
        if (sscanf(line, "RssAnon: %lu", &value) == 1 || sscanf(line, "RssShmem: %lu", &value) == 1)
            sum += value;
    if (status)
        fclose(status);
    return sum;
}

/* A runtime from open to close, with so many cycles in it. */
static void lap(struct soak *s, uint64_t number, uint64_t count)
{
    const struct sgi__io_engine *uring = sgi__io_uring();
    bool                         ring = number % 2 == 1 && uring && uring->probe(NULL) == SGI_OK;
    struct ledger                before = ledger_take();

    s->spares = number % 4 >= 2;
    open_host(s, ring ? uring : &sgi__io_threads);
    all_work(s); /* what is made at the first need is made */
    nothing_is_up(s);
    s->quiet = ledger_take();
    s->quiet.threads = before.threads + 1; /* the library's own; others may still be on their way out */
    for (uint64_t n = 1; n <= count; n++) {
        s->cycle++;
        one_cycle(s);
        if (n % QUIET_CYCLES == 0)
            compare_quiet(s);
    }
    all_work(s);
    compare_quiet(s);
    host_close(s->rt);
    test_engine_fini(&s->engine);
    test_reads_clear();
    ledger_compare(&before, "after a lap");
}

static void bad_luck_leaves_nothing(void **state)
{
    struct soak s = { .cycle = 0 };
    uint64_t    after_first = 0;

    (void)state;
    state_of_chance = seed;
    print_message("seed %llu\n", (unsigned long long)seed);
    for (uint64_t number = 0; s.cycle < cycles; number++) {
        lap(&s, number, cycles - s.cycle < LAP_CYCLES ? cycles - s.cycle : LAP_CYCLES);
        uint64_t now = resident_kib();
        after_first = number == 0 ? now : after_first;
        if (MEMORY_IS_TRUE && now > after_first + SLACK_KIB)
            fail_msg("after cycle %llu %llu KiB are resident, after the first lap it were %llu",
                     (unsigned long long)s.cycle, (unsigned long long)now, (unsigned long long)after_first);
    }
    print_message("%llu cycles: %llu granted, %llu refused, %llu canceled\n", (unsigned long long)s.cycle,
                  (unsigned long long)s.granted, (unsigned long long)s.refused, (unsigned long long)s.canceled);
    assert_true(s.granted > s.cycle / 3 && s.refused > s.cycle / 20); /* it was bad luck, and not only that */
}

static int make_files(void **state)
{
    const struct test_tensor tensor = { "w", KIB(333) };

    loop_set_up(state);
    test_folder_make(&folder);
    test_file_make_one(&large, &folder, "large.safetensors", MIB(5));
    test_file_make(&odd, &folder, "odd.safetensors", 5, &tensor, 1);
    return 0;
}

static int remove_files(void **state)
{
    test_file_free(&large);
    test_file_free(&odd);
    test_folder_remove(&folder);
    return loop_tear_down(state);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test_teardown(bad_luck_leaves_nothing, loop_clear) };

    for (int n = 1; n + 1 < argc; n += 2) {
        if (strcmp(argv[n], "--cycles") == 0)
            cycles = strtoull(argv[n + 1], NULL, 10);
        else if (strcmp(argv[n], "--seed") == 0)
            seed = strtoull(argv[n + 1], NULL, 10);
    }
    return cmocka_run_group_tests_name("soak", tests, make_files, remove_files);
}
