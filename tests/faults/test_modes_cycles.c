/* SPDX-License-Identifier: Apache-2.0 */
/* Failure mode 24, exactly: after each of fifty cycles there is as much as after the one before. The library's own
 * allocations are counted one by one, which is why this program is linked with --wrap. The soak beside it does the
 * same for thousands of cycles, by what the system says. README.md is the list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "modes.h"

enum { CYCLES = 50, WARM_UP = 10 };

/* ---- what the library allocates ---- */

static atomic_int live;

/* The names are the linker's. */
void *__real_sgi__alloc(size_t bytes);
void *__real_sgi__alloc_zero(size_t count, size_t bytes);
void *__real_sgi__realloc_array(void *old, size_t count, size_t bytes);
char *__real_sgi__strdup(const char *text);
void  __real_sgi__free(void *memory);
void *__wrap_sgi__alloc(size_t bytes);
void *__wrap_sgi__alloc_zero(size_t count, size_t bytes);
void *__wrap_sgi__realloc_array(void *old, size_t count, size_t bytes);
char *__wrap_sgi__strdup(const char *text);
void  __wrap_sgi__free(void *memory);

static void *counted(void *memory)
{
    atomic_fetch_add(&live, memory != NULL);
    return memory;
}

void *__wrap_sgi__alloc(size_t bytes)
{
    return counted(__real_sgi__alloc(bytes));
}

void *__wrap_sgi__alloc_zero(size_t count, size_t bytes)
{
    return counted(__real_sgi__alloc_zero(count, bytes));
}

void *__wrap_sgi__realloc_array(void *old, size_t count, size_t bytes)
{
    void *memory = __real_sgi__realloc_array(old, count, bytes);
    return old ? memory : counted(memory);
}

char *__wrap_sgi__strdup(const char *text)
{
    return counted(__real_sgi__strdup(text));
}

void __wrap_sgi__free(void *memory)
{
    atomic_fetch_sub(&live, memory != NULL);
    __real_sgi__free(memory);
}

/* ---- what there is ---- */

struct holdings {
    int      allocations;
    uint32_t descriptors, threads, image_maps, maps;
};

/* 0 under a sanitizer, which has more and more of its own. */
static uint32_t count_maps(void)
{
    uint32_t count = 0;
#if !defined(SGI_SANITIZES_ADDRESS) && !defined(SGI_SANITIZES_THREAD)
    FILE *maps = fopen("/proc/self/maps", "r");
    char  line[512];
    while (maps && fgets(line, sizeof line, maps))
        count++;
    if (maps)
        fclose(maps);
#endif
    return count;
}

/* Who has left the library's count is still on its way out of the system's. */
static bool threads_are(void *user)
{
    return modes_entries("/proc/self/task") == *(uint32_t *)user;
}

static struct holdings take_stock(struct modes *m, uint32_t threads)
{
    modes_hold_nothing(m);
    test_wait_until(threads_are, &threads, "threads stay");
    return (struct holdings){ .allocations = atomic_load(&live),
                              .descriptors = modes_entries("/proc/self/fd"),
                              .threads = modes_entries("/proc/self/task"),
                              .image_maps = modes_image_maps(),
                              .maps = count_maps() };
}

/* ---- a cycle ---- */

static void use_with_call(struct modes *m, sgi_model model)
{
    struct test_request request = { .kind = REQUEST_EMIT, .pieces = 3, .piece_bytes = 100 };
    sgi_image           image = { .struct_size = sizeof image };
    char                answer[512];
    size_t              bytes = 0;

    sgi_lease lease = host_acquire(m->rt, model);
    modes_same(m, model, lease, 0);
    assert_int_equal(sgi_lease_image(m->rt, lease, 0, &image, &m->err), SGI_OK);
    close(image.fd);
    assert_int_equal(host_call(m->rt, lease, &request, sizeof request, answer, sizeof answer, &bytes, &m->err), SGI_OK);
    assert_int_equal(bytes, 300);
    host_release(m->rt, lease);
}

static void cancel_one(struct modes *m, sgi_model model)
{
    sgi_lease  lease = 0;
    sgi_ticket ticket = modes_ask(m, model);
    sgi_acquire_cancel(m->rt, ticket); /* or it is too late */
    if (modes_end(m, ticket, &lease) == SGI_OK)
        host_release(m->rt, lease);
    modes_quiet(m, model);
}

static int ignore_text(void *user, const char *text, size_t bytes)
{
    (void)user;
    (void)text;
    (void)bytes;
    return 0;
}

/* Register, up from disk, down to DRAM, up from there, a load that fails, one that is canceled, down, unregister. */
static void cycle(struct modes *m)
{
    sgi_events       events = 0;
    sgi_event        event = { .struct_size = sizeof event };
    sgi_model_config mc = host_model("m", modes_files[0].path, &m->engine);
    mc.flags = SGI_IMAGE_FD;
    mc.engine_bytes = KIB(64);

    sgi_model model = host_register(m->rt, &mc), plain = modes_add(m, 1, false, 0);
    assert_int_equal(sgi_events_open(m->rt, 64, 0, &events, &m->err), SGI_OK);
    use_with_call(m, model);
    assert_int_equal(sgi_model_evict(m->rt, model, SGI_TIER_DRAM), SGI_OK);
    host_wait_state(m->rt, model, SGI_MODEL_COLD);
    use_with_call(m, model);
    modes_evict(m, model);
    modes_use(m, plain, 1);
    modes_evict(m, plain);
    sgi__fault_plan(SGI__FAULT_READ, 3, UINT64_MAX, EIO);
    assert_int_equal(host_acquire_fails(m->rt, plain, &m->err), SGI_E_IO);
    sgi__fault_clear();
    modes_quiet(m, plain);
    cancel_one(m, plain);
    modes_evict(m, plain);
    assert_int_equal(sgi_metrics_write(m->rt, ignore_text, NULL), SGI_OK);
    while (sgi_events_read(m->rt, events, &event) == SGI_OK) {
    }
    assert_int_equal(sgi_events_close(m->rt, events), SGI_OK);
    assert_int_equal(sgi_model_unregister(m->rt, plain, HOST_WAIT_MS, &m->err), SGI_OK);
    assert_int_equal(sgi_model_unregister(m->rt, model, HOST_WAIT_MS, &m->err), SGI_OK);
}

/* 24. Triton #3320, #7727, #4528 and more: each load and unload leaves a little, and after days the server is out of
 * memory, with nothing loaded. */
static void mode_24_a_cycle_leaves_what_there_was_before_it(void **state)
{
    struct modes       m;
    sgi_runtime_config config = modes_config(1, MIB(8));
    struct holdings    first = { 0 }, now;
    uint32_t           maps_max = 0;
    int                before_all = atomic_load(&live);
    (void)state;
    config.dram_bytes_max = MIB(8);
    modes_open(&m, &config, NULL);
    int completion_fd; /* it is made when somebody first asks, which is not in every cycle */
    assert_int_equal(sgi_completion_fd(m.rt, &completion_fd), SGI_OK);
    uint32_t threads = modes_entries("/proc/self/task"); /* with the library's own; a sanitizer may have one too */
    m.engine.alloc_bytes = KIB(32);
    for (int n = 0; n < CYCLES; n++) {
        cycle(&m);
        now = take_stock(&m, threads);
        if (n == 0) /* what is made once: the trace, tables as large as they have to be */
            first = now;
        if (n < WARM_UP && now.maps > maps_max) /* stacks and heaps that the C library keeps */
            maps_max = now.maps;
        if (now.allocations != first.allocations || now.descriptors != first.descriptors ||
            now.threads != first.threads || now.image_maps != 0 || (n >= WARM_UP && now.maps > maps_max + 4))
            fail_msg("after cycle %d: %d allocations (first %d), %u descriptors (%u), %u threads (%u), %u images (0), "
                     "%u maps (at most %u)",
                     n, now.allocations, first.allocations, now.descriptors, first.descriptors, now.threads,
                     first.threads, now.image_maps, now.maps, maps_max);
    }
    assert_true(first.allocations > before_all); /* they are counted */
    modes_close(&m);
    assert_int_equal(atomic_load(&live), before_all);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        MODE(mode_24_a_cycle_leaves_what_there_was_before_it),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("modes: cycles", tests, modes_set_up, modes_tear_down);
}
