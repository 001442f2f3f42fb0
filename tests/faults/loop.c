/* SPDX-License-Identifier: Apache-2.0 */
#include "loop.h"

#include <stdio.h>
#include <string.h>

enum { N_MAX = 3000 };

static struct files small, large;

const struct test_shards *loop_shards(void)
{
    return &small.shards;
}

const struct test_file *loop_file(void)
{
    return &small.plain;
}

const sgi_tensor_check *loop_shards_checks(void)
{
    return small.checks;
}

const sgi_tensor_check *loop_file_checks(void)
{
    return small.plain_checks;
}

/* ---- one run ---- */

int loop_clear(void **state)
{
    (void)state;
    sgi__fault_clear();
    test_calls_clear();
    return 0;
}

/* A test that fails leaves its runtime open, and what it holds would be laid at the next one's door. */
static bool inside;

static void begin(void)
{
    if (inside)
        fail_msg("not run: an earlier failure has left its runtime open");
    inside = true;
}

/* Whether the fault came at all. */
static bool one_run(const struct fault *f, uint64_t nth, uint64_t times, bool from_open)
{
    struct run    r = { .f = f, .files = f->large ? &large : &small, .nth = nth };
    struct ledger before = ledger_take();
    bool          came = true;

    begin();
    life_begin(&r);
    if (from_open)
        fault_plan(&r, nth, times);
    if (life_open(&r)) {
        life_register(&r);
        if (!from_open)
            fault_plan(&r, nth, times);
        life_live(&r);
        came = fault_passed(&r) >= nth || r.failures > 0;
        faults_clear(&r);
        life_goes_on(&r);
        host_close(r.rt);
    }
    faults_clear(&r);
    test_engine_fini(&r.engine);
    ledger_compare(&before, f->name);
    inside = false;
    return came;
}

/* The close itself, and the last release, with the fault on: giving back needs nothing that may fail. */
static void the_end_survives(const struct fault *f)
{
    struct run    r = { .f = f, .files = f->large ? &large : &small };
    struct ledger before = ledger_take();

    begin();
    life_begin(&r);
    assert_true(life_open(&r));
    life_register(&r);
    sgi_lease lease = host_acquire(r.rt, r.model);
    fault_plan(&r, 1, f->times ? f->times : UINT64_MAX);
    host_release(r.rt, lease);
    assert_int_equal(sgi_model_evict(r.rt, r.model, SGI_TIER_DRAM), SGI_OK);
    life_quiet(&r, r.model);
    host_close(r.rt);
    faults_clear(&r);
    test_engine_fini(&r.engine);
    ledger_compare(&before, f->name);
    inside = false;
}

/* ---- the tests ---- */

static bool uring_is_usable(void)
{
    sgi_feature uring = { .struct_size = sizeof uring };
    return sgi_feature_at(0, &uring) == SGI_OK && uring.usable;
}

static bool every; /* --every */

static uint64_t next_of(const struct fault *f, uint64_t nth, bool coarse)
{
    if (f->thin && !every)
        return nth + (nth < 6 ? 1 : 5);
    return nth + (coarse && !every && nth >= 20 ? 7 : 1);
}

static void skip_if_absent(const struct fault *f)
{
    bool of_ring = (f->kind == FAULT_POINT && f->which == SGI__FAULT_RING) ||
                   (f->kind == FAULT_CALL && (f->which == CALL_URING_PROBE || f->which == CALL_URING_ENTER));
    if ((!of_ring && f->io_engine != SGI_IO_URING) || uring_is_usable())
        return;
    print_message("skipped: io_uring is not usable here\n");
    skip();
}

static void every_passing_fails_once(void **state)
{
    const struct fault *f = *state;
    uint64_t            nth = 1;

    skip_if_absent(f);
    while (one_run(f, nth, 1, true))
        if ((nth = next_of(f, nth, false)) > N_MAX)
            fail_msg("%s: no end", f->name);
    if (nth == 1)
        fail_msg("%s: nothing passes there", f->name);
    print_message("%s: %s%llu passings\n", f->name, f->thin && !every ? "up to " : "", (unsigned long long)nth - 1);
}

static void every_passing_fails_from_there_on(void **state)
{
    const struct fault *f = *state;

    skip_if_absent(f);
    for (uint64_t nth = 1; one_run(f, nth, f->times ? f->times : UINT64_MAX, false);)
        if ((nth = next_of(f, nth, true)) > N_MAX)
            fail_msg("%s: no end", f->name);
    the_end_survives(f);
}

/* ---- around the group ---- */

static void find_checks(const char *path, const struct test_file *files, const char *const *names, uint32_t count,
                        sgi_tensor_check *checks)
{
    sgi_runtime *rt = host_open(NULL);
    sgi_model    model = host_add(rt, "m", path, NULL);

    for (uint32_t n = 0; n < count; n++) {
        sgi_tensor t = { .struct_size = sizeof t };
        assert_int_equal(sgi_model_tensor_find(rt, model, names[n], &t), SGI_OK);
        checks[n] = (sgi_tensor_check){ names[n], test_xxh3(files[t.part].data + t.file_offset, t.bytes) };
    }
    host_close(rt);
}

static void make_files(struct files *files, uint64_t tensor_bytes)
{
    static const char *const names[] = { "a", "b", "c", "d" }, *const plain_names[] = { "x", "y" };
    const struct test_tensor tensors[] = { { "x", tensor_bytes }, { "y", tensor_bytes / 3 + 5 } };

    test_folder_make(&files->folder);
    test_folder_make(&files->plain_folder);
    test_shards_make(&files->shards, &files->folder, tensor_bytes);
    test_file_make(&files->plain, &files->plain_folder, "plain.safetensors", 3, tensors, 2); /* 3: placed by a copy */
    find_checks(files->shards.path, files->shards.shards, names, 4, files->checks);
    find_checks(files->plain.path, &files->plain, plain_names, 2, files->plain_checks);
}

static void remove_files(struct files *files)
{
    test_shards_free(&files->shards);
    test_file_free(&files->plain);
    test_folder_remove(&files->folder);
    test_folder_remove(&files->plain_folder);
}

int loop_set_up(void **state)
{
    (void)state;
    make_files(&small, KIB(150));
    make_files(&large, KIB(2100));
    return 0;
}

int loop_tear_down(void **state)
{
    loop_clear(state);
    remove_files(&small);
    remove_files(&large);
    return 0;
}

enum { TESTS_MAX = 128, NAME_BYTES = 96 };

int loop_main(int argc, char **argv, const char *group, const struct fault *faults, size_t faults_count,
              const struct CMUnitTest *others, size_t others_count)
{
    static struct CMUnitTest tests[TESTS_MAX];
    static char              names[TESTS_MAX][NAME_BYTES];
    size_t                   count = 0;

    for (int n = 1; n < argc; n++)
        if (strcmp(argv[n], "--every") == 0)
            every = true;
        else
            cmocka_set_test_filter(argv[n]);
    assert_true(2 * faults_count + others_count <= TESTS_MAX);
    for (size_t n = 0; n < 2 * faults_count; n++) {
        const struct fault *f = &faults[n / 2];
        bool                once = n % 2 == 0;
        if (f->rare && !every)
            continue;
        snprintf(names[count], NAME_BYTES, "%s (%s)",
                 once ? "every_passing_fails_once" : "every_passing_fails_from_there_on", f->name);
        tests[count] = (struct CMUnitTest){ names[count],
                                            once ? every_passing_fails_once : every_passing_fails_from_there_on, NULL,
                                            loop_clear, (void *)(uintptr_t)f };
        count++;
    }
    for (size_t n = 0; n < others_count; n++)
        tests[count++] = others[n];
    return _cmocka_run_group_tests(group, tests, count, loop_set_up, loop_tear_down);
}
