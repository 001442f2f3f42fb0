/* SPDX-License-Identifier: Apache-2.0 */
/* read_bytes_per_s_max: what loads make of it. Time is the test's; the limit makes a read of a block 32 ms. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include <sgi/pack.h>

#include "base/fault.h"
#include "observing.h"

#define BLOCK KIB(64)
enum { BLOCK_MS = 32, BLOCKS = 16, BURST_MS = 50, LOADS_MAX = 2 };
#define LIMIT (BLOCK * 1000 / BLOCK_MS)

static struct test_folder folder;
static struct test_file   file;

static void open_with_limit(struct fixture *f, uint64_t bytes_per_s)
{
    sgi_runtime_config config = observe_config();
    config.read_block_bytes = BLOCK;
    config.read_bytes_per_s_max = bytes_per_s;
    open_over(f, &config, NULL);
}

static void open_limited(struct fixture *f)
{
    open_with_limit(f, LIMIT);
}

static sgi_ticket ask(struct fixture *f, sgi_model model, int32_t priority)
{
    sgi_acquire_options o;
    sgi_ticket          ticket;
    sgi_acquire_options_init(&o, sizeof o);
    o.priority = priority;
    o.tag = model;
    assert_int_equal(sgi_model_acquire(f->rt, model, &o, &ticket, NULL, NULL, &f->err), SGI_OK);
    return ticket;
}

/* A load has come to where only time helps, `lines` of them. Or a request has ended. */
struct standstill {
    struct fixture *f;
    uint32_t        lines;
    sgi_completion  ended;
};

static bool stands_still(void *user)
{
    struct standstill *s = user;
    uint32_t           lines = 0;
    s->ended = (sgi_completion){ .struct_size = sizeof s->ended };
    if (sgi_completion_next(s->f->rt, &s->ended) == SGI_OK)
        return true;
    struct sgi__rate *rate = &s->f->rt->rate;
    pthread_mutex_lock(&rate->mutex);
    for (struct sgi__rate_turn *t = rate->first; t; t = t->next)
        lines++;
    pthread_mutex_unlock(&rate->mutex);
    return lines == s->lines;
}

/* Moves time on by single milliseconds until a request has ended; how many that took. */
static uint32_t until_end(struct fixture *f, uint32_t loads, sgi_completion *ended_out)
{
    struct standstill s = { .f = f, .lines = loads };
    for (uint32_t ms = 0;; ms++) {
        test_wait_until(stands_still, &s, "the load");
        if (s.ended.kind) {
            *ended_out = s.ended;
            return ms;
        }
        advance(f, 1);
    }
}

static void a_load_takes_its_bytes_over_the_limit(void **state)
{
    (void)state;
    struct fixture f;
    sgi_completion c;

    open_limited(&f);
    sgi_model m = host_add(f.rt, "m", file.path, NULL);
    ask(&f, m, 0);
    uint32_t ms = until_end(&f, 1, &c);
    assert_int_equal(c.status, SGI_OK);
    /* The last read begins when all before it are paid for; the header's tail comes with the first. */
    assert_in_range(ms, (BLOCKS - 1) * BLOCK_MS - BURST_MS, BLOCKS * BLOCK_MS - BURST_MS + 1);
    host_same_bytes(f.rt, m, c.lease, &file);
    assert_true(host_timing(f.rt, c.lease).limited_ns > 0);
    host_release(f.rt, c.lease);
    tear_down(&f);
}

/* The reads that were asked for are larger than what may come at once: they are made smaller. */
static void a_low_limit_holds_for_a_small_model_too(void **state)
{
    (void)state;
    static const struct {
        uint64_t bytes_per_s;
        uint32_t read_bytes;
    } limits[] = { { BLOCK, 4096 }, { BLOCK * 4, 12288 }, { 4096, 4096 } };
    struct test_file small;

    test_file_make_one(&small, &folder, "little.safetensors", KIB(48)); /* less than a block */
    for (size_t n = 0; n < sizeof limits / sizeof *limits; n++) {
        struct fixture f;
        sgi_completion c;
        open_with_limit(&f, limits[n].bytes_per_s);
        sgi_model m = host_add(f.rt, "m", small.path, NULL);
        ask(&f, m, 0);
        uint32_t ms = until_end(&f, 1, &c);
        assert_int_equal(c.status, SGI_OK);
        /* All but the last read is paid for, less the burst. */
        uint32_t whole = (uint32_t)(KIB(48) * 1000 / limits[n].bytes_per_s);
        uint32_t last = (uint32_t)(limits[n].read_bytes * 1000 / limits[n].bytes_per_s);
        assert_in_range(ms, whole - last - BURST_MS, whole + last + 1);
        host_same_bytes(f.rt, m, c.lease, &small);
        host_release(f.rt, c.lease);
        tear_down(&f);
    }
    test_file_free(&small);
}

/* A chunk that has a check of its own is one read without a limit. With one it takes as long as any other bytes, and so
 * does what is read again of it. */
static void what_is_stored_in_chunks_takes_as_long(void **state)
{
    (void)state;
    struct fixture f;
    sgi_completion c;
    char           sums[PATH_MAX];

    assert_int_equal(sgi_digest(file.path, NULL, NULL), SGI_OK);
    open_limited(&f);
    sgi_model m = host_add(f.rt, "m", file.path, NULL);
    ask(&f, m, 0);
    uint32_t ms = until_end(&f, 1, &c);
    assert_int_equal(c.status, SGI_OK);
    assert_in_range(ms, BLOCKS * BLOCK_MS - 2 * BURST_MS, BLOCKS * BLOCK_MS + 1);
    host_same_bytes(f.rt, m, c.lease, &file);
    host_release(f.rt, c.lease);
    assert_int_equal(sgi_model_evict(f.rt, m, SGI_EVICT_ALL), SGI_OK);
    host_wait_state(f.rt, m, SGI_MODEL_COLD);

    advance(&f, 1000);
    sgi__fault_plan(SGI__FAULT_CORRUPT, 3, 1, 1);
    ask(&f, m, 0);
    ms = until_end(&f, 1, &c);
    sgi__fault_clear();
    assert_int_equal(c.status, SGI_OK);
    assert_in_range(host_timing(f.rt, c.lease).reread_bytes, BLOCKS * BLOCK, BLOCKS * BLOCK + KIB(8));
    assert_in_range(ms, 2 * BLOCKS * BLOCK_MS - 2 * BURST_MS, 2 * BLOCKS * BLOCK_MS + 8);
    host_same_bytes(f.rt, m, c.lease, &file);
    host_release(f.rt, c.lease);
    tear_down(&f);
    snprintf(sums, sizeof sums, "%s.sgisum", file.path);
    unlink(sums);
}

struct tensor_comes {
    struct fixture *f;
    sgi_lease       lease;
    uint64_t        index;
};

static bool is_there(void *user)
{
    struct tensor_comes *t = user;
    return sgi_lease_tensor_wait(t->f->rt, t->lease, t->index, 1, NULL) == SGI_OK;
}

/* The chunk that comes after it waits for the limit, and not it for that. */
static void what_has_come_does_not_wait_for_the_limit(void **state)
{
    (void)state;
    const struct test_tensor tensors[] = { { "first", MIB(1) }, { "second", MIB(2) } };
    struct fixture           f;
    struct test_file         two;
    sgi_acquire_options      o;
    sgi_lease                lease;

    test_file_make(&two, &folder, "two.safetensors", 0, tensors, 2);
    assert_int_equal(sgi_digest(two.path, NULL, NULL), SGI_OK); /* a chunk of 2 MiB, and the rest */
    open_limited(&f);
    sgi_acquire_options_init(&o, sizeof o);
    o.flags = SGI_ACQUIRE_EARLY;
    assert_int_equal(sgi_model_acquire_wait(f.rt, host_add(f.rt, "two", two.path, NULL), &o, &lease, &f.err), SGI_OK);
    struct standstill s = { .f = &f, .lines = 1 };
    /* The first chunk has been read, and perhaps what the second one took of the burst. Its last read, of half a burst,
     * is not paid for yet. */
    for (uint32_t ms = 0; ms < 2 * BLOCKS * BLOCK_MS - BLOCK_MS / 2; ms++) {
        test_wait_until(stands_still, &s, "the load");
        advance(&f, 1);
    }
    struct tensor_comes first = { &f, lease, 0 }, second = { &f, lease, 1 };
    test_wait_until(is_there, &first, "the first chunk's tensor");
    assert_false(is_there(&second));
    host_release(f.rt, lease);
    tear_down(&f);
    test_file_free(&two);
}

/* And without one nothing is held back, though the clock stands still. */
static void without_a_limit_no_time_passes(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f);
    sgi_lease lease = host_acquire(f.rt, host_add(f.rt, "m", file.path, NULL));
    assert_int_equal(host_timing(f.rt, lease).limited_ns, 0);
    host_release(f.rt, lease);
    tear_down(&f);
}

static void two_loads_share_the_limit_and_the_urgent_one_is_first(void **state)
{
    (void)state;
    struct fixture f;
    sgi_completion first, second;

    open_limited(&f);
    sgi_model slow = host_add(f.rt, "slow", file.path, NULL), urgent = host_add(f.rt, "urgent", file.path, NULL);
    ask(&f, slow, 0);
    struct standstill s = { .f = &f, .lines = 1 };
    test_wait_until(stands_still, &s, "the slow load");
    ask(&f, urgent, 5);
    uint32_t ms = until_end(&f, 2, &first);
    assert_true(first.status == SGI_OK && first.tag == urgent);
    /* Of eight reads seven are the urgent one's. */
    assert_in_range(ms, BLOCKS * BLOCK_MS, (BLOCKS + BLOCKS / 7 + 2) * BLOCK_MS);
    ms += until_end(&f, 1, &second);
    assert_true(second.status == SGI_OK && second.tag == slow);
    assert_in_range(ms, (2 * BLOCKS - 2) * BLOCK_MS - BURST_MS, 2 * BLOCKS * BLOCK_MS);
    host_same_bytes(f.rt, urgent, first.lease, &file);
    host_same_bytes(f.rt, slow, second.lease, &file);
    host_release(f.rt, first.lease);
    host_release(f.rt, second.lease);
    tear_down(&f);
}

static void a_load_that_waits_for_the_limit_is_canceled_at_once(void **state)
{
    (void)state;
    struct fixture f;

    open_limited(&f);
    sgi_model         m = host_add(f.rt, "m", file.path, NULL);
    sgi_ticket        ticket = ask(&f, m, 0);
    struct standstill s = { .f = &f, .lines = 1 };
    test_wait_until(stands_still, &s, "the load");
    assert_int_equal(s.ended.kind, 0);
    assert_int_equal(sgi_acquire_cancel(f.rt, ticket), SGI_OK);
    assert_int_equal(host_next(f.rt).status, SGI_E_CANCELED);
    host_wait_state(f.rt, m, SGI_MODEL_COLD); /* no time has passed */
    tear_down(&f);
}

/* A read that fails has moved bytes for nothing, and one whose check fails is made again: both take their time. */
static void what_is_read_again_counts_again(void **state)
{
    (void)state;
    struct fixture f;
    sgi_completion c;

    open_limited(&f);
    sgi_model m = host_add(f.rt, "m", file.path, NULL);
    sgi__fault_plan(SGI__FAULT_READ, 3, 2, EIO);
    ask(&f, m, 0);
    uint32_t ms = until_end(&f, 1, &c);
    sgi__fault_clear();
    assert_int_equal(c.status, SGI_OK);
    assert_in_range(ms, (BLOCKS + 1) * BLOCK_MS - BURST_MS, (BLOCKS + 2) * BLOCK_MS - BURST_MS + 1);
    host_release(f.rt, c.lease);

    sgi_tensor_check check = { .name = "w", .xxh3 = test_xxh3(file.data + file.data_offset, BLOCKS * BLOCK) };
    sgi_model_config config = host_model("checked", file.path, NULL);
    config.checks = &check;
    config.checks_count = 1;
    m = host_register(f.rt, &config);
    advance(&f, 1000);
    sgi__fault_plan(SGI__FAULT_CORRUPT, 3, 1, 1);
    ask(&f, m, 0);
    ms = until_end(&f, 1, &c);
    sgi__fault_clear();
    assert_int_equal(c.status, SGI_OK);
    assert_int_equal(host_timing(f.rt, c.lease).reread_bytes, BLOCKS * BLOCK);
    assert_in_range(ms, (2 * BLOCKS - 1) * BLOCK_MS - BURST_MS, (2 * BLOCKS + 1) * BLOCK_MS - BURST_MS + 1);
    host_release(f.rt, c.lease);

    /* And of what is read again because of its check, what fails: three reads of one block for nothing. */
    assert_int_equal(sgi_model_evict(f.rt, m, SGI_EVICT_ALL), SGI_OK);
    host_wait_state(f.rt, m, SGI_MODEL_COLD);
    advance(&f, 1000);
    sgi__fault_plan(SGI__FAULT_CORRUPT, 3, 1, 1);
    sgi__fault_plan(SGI__FAULT_READ, BLOCKS + 4, 3, EIO);
    ask(&f, m, 0);
    ms = until_end(&f, 1, &c);
    sgi__fault_clear();
    assert_int_equal(c.status, SGI_OK);
    assert_int_equal(host_timing(f.rt, c.lease).reread_bytes, BLOCKS * BLOCK);
    assert_in_range(ms, (2 * BLOCKS + 2) * BLOCK_MS - BURST_MS, (2 * BLOCKS + 4) * BLOCK_MS - BURST_MS + 1);
    host_release(f.rt, c.lease);
    tear_down(&f);
}

/* A small model comes within the burst, and says nothing about how long a large one takes. */
static void an_estimate_knows_the_limit(void **state)
{
    (void)state;
    static const struct {
        uint64_t bytes_per_s, bytes_per_ms;
    } limits[] = { { LIMIT, LIMIT / 1000 }, { 500, 1 } }; /* the least that an estimate tells apart */
    struct test_file small;

    test_file_make_one(&small, &folder, "small.safetensors", KIB(2));
    for (size_t n = 0; n < sizeof limits / sizeof *limits; n++) {
        struct fixture f;
        sgi_estimate   e = { .struct_size = sizeof e };
        sgi_model_info info = { .struct_size = sizeof info };
        open_with_limit(&f, limits[n].bytes_per_s);
        sgi_model m = host_add(f.rt, "large", file.path, NULL), s = host_add(f.rt, "small", small.path, NULL);
        host_release(f.rt, host_acquire(f.rt, s)); /* one read comes at once: no time passes */
        assert_int_equal(sgi_model_estimate(f.rt, m, NULL, &e, NULL, 0), SGI_OK);
        assert_int_equal(sgi_model_describe(f.rt, m, &info), SGI_OK);
        assert_int_equal(e.expected_ns, info.image_bytes / limits[n].bytes_per_ms * MS);
        tear_down(&f);
    }
    test_file_free(&small);
}

static int make_files(void **state)
{
    (void)state;
    test_folder_make(&folder);
    test_file_make_one(&file, &folder, "w.safetensors", BLOCKS * BLOCK);
    return 0;
}

static int remove_files(void **state)
{
    (void)state;
    test_file_free(&file);
    test_folder_remove(&folder);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_load_takes_its_bytes_over_the_limit),
        cmocka_unit_test(a_low_limit_holds_for_a_small_model_too),
        cmocka_unit_test(what_is_stored_in_chunks_takes_as_long),
        cmocka_unit_test(what_has_come_does_not_wait_for_the_limit),
        cmocka_unit_test(without_a_limit_no_time_passes),
        cmocka_unit_test(two_loads_share_the_limit_and_the_urgent_one_is_first),
        cmocka_unit_test(a_load_that_waits_for_the_limit_is_canceled_at_once),
        cmocka_unit_test(what_is_read_again_counts_again),
        cmocka_unit_test(an_estimate_knows_the_limit),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
