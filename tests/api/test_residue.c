/* SPDX-License-Identifier: Apache-2.0 */
/* Twenty times up and down, and nothing stays: no device bytes, no thread, no descriptor, no memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

#include "support/host.h"

#if defined(SGI_SANITIZES_ADDRESS) || defined(SGI_SANITIZES_THREAD)
enum { MEMORY_IS_TRUE = 0 }; /* the sanitizer's own grows */
#else
enum { MEMORY_IS_TRUE = 1 };
#endif

enum { CYCLES = 20, SLACK_KIB = 2048 };

static struct test_folder folder;
static uint32_t           threads; /* before any of the library's */
static struct test_file   file;

static uint32_t entries(const char *path)
{
    DIR     *dir = opendir(path);
    uint32_t count = 0;
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

static uint64_t resident_kib(void)
{
    FILE         *status = fopen("/proc/self/status", "r");
    char          line[256];
    uint64_t      sum = 0;
    unsigned long value;
    while (status && fgets(line, sizeof line, status))
        if (sscanf(line, "RssAnon: %lu", &value) == 1 || sscanf(line, "RssShmem: %lu", &value) == 1)
            sum += value;
    if (status)
        fclose(status);
    return sum;
}

static bool holds_nothing(void *user)
{
    sgi_runtime_info info = host_info(user);
    return info.device_bytes == 0 && info.dram_bytes == 0 && info.prepared_bytes == 0 && info.threads_count == 1;
}

/* Who has left the library's count is still on its way out of the system's. */
static bool threads_are(void *user)
{
    return entries("/proc/self/task") == *(uint32_t *)user;
}

static void wait_threads(uint32_t count)
{
    test_wait_until(threads_are, &count, "threads stay");
}

static void twenty_cycles_leave_nothing(uint32_t flags, bool with_engine, uint32_t idle_ms)
{
    sgi_runtime_config  config = host_config();
    struct test_engine  engine;
    struct test_request request = { .kind = REQUEST_EMIT, .pieces = 3, .piece_bytes = 100 };
    sgi_error           err = { .struct_size = sizeof err };
    uint64_t            after_first = 0;
    uint32_t            descriptors = entries("/proc/self/fd");

    test_engine_init(&engine, true, true);
    engine.alloc_bytes = MIB(4);
    config.idle_timeout_ms = idle_ms;
    config.context_linger_ms = SGI_IDLE_NOW;
    sgi_runtime     *rt = host_open(&config);
    sgi_model_config mc = host_model("m", file.path, with_engine ? &engine : NULL);
    mc.flags = flags;
    sgi_model model = host_register(rt, &mc);

    for (int n = 0; n < CYCLES; n++) {
        sgi_lease lease = host_acquire(rt, model);
        host_same_bytes(rt, model, lease, &file);
        if (flags & SGI_IMAGE_FD) {
            sgi_image image = { .struct_size = sizeof image };
            assert_int_equal(sgi_lease_image(rt, lease, 0, &image, &err), SGI_OK);
            close(image.fd);
        }
        if (with_engine)
            assert_int_equal(sgi_lease_call(rt, lease, &request, sizeof request, SGI_FOREVER, NULL, NULL, &err),
                             SGI_OK);
        host_release(rt, lease);
        if (idle_ms == SGI_IDLE_NEVER)
            assert_int_equal(sgi_model_evict(rt, model, SGI_EVICT_ALL), SGI_OK);
        host_wait_state(rt, model, SGI_MODEL_COLD);
        if (idle_ms != SGI_IDLE_NEVER)
            assert_int_equal(sgi_model_evict(rt, model, SGI_EVICT_ALL), SGI_OK);
        test_wait_until(holds_nothing, rt, "something stays");
        wait_threads(threads + 1); /* the library's own */
        assert_int_equal(entries("/proc/self/fd"), descriptors);
        malloc_trim(0);
        uint64_t now = resident_kib();
        if (n == 0)
            after_first = now;
        else if (MEMORY_IS_TRUE && now > after_first + SLACK_KIB)
            fail_msg("after cycle %d %llu KiB are resident, after the first it were %llu", n, (unsigned long long)now,
                     (unsigned long long)after_first);
    }
    assert_int_equal(host_state(rt, model).loads_count, CYCLES);
    host_close(rt);
    test_engine_fini(&engine);
    wait_threads(threads);
    assert_int_equal(entries("/proc/self/fd"), descriptors);
}

static void anonymous_images_leave_nothing(void **state)
{
    (void)state;
    twenty_cycles_leave_nothing(0, true, SGI_IDLE_NEVER);
}

static void memfd_images_leave_nothing(void **state)
{
    (void)state;
    twenty_cycles_leave_nothing(SGI_IMAGE_FD, true, SGI_IDLE_NEVER);
}

static void weights_alone_leave_nothing_after_their_idle_time(void **state)
{
    (void)state;
    twenty_cycles_leave_nothing(0, false, 1);
    twenty_cycles_leave_nothing(SGI_IMAGE_FD, false, SGI_IDLE_NOW);
}

static void whole_runtimes_leave_nothing(void **state)
{
    (void)state;
    uint64_t after_first = 0;
    for (int n = 0; n < CYCLES; n++) {
        sgi_runtime *rt = host_open(NULL);
        sgi_model    model = host_add(rt, "m", file.path, NULL);
        host_release(rt, host_acquire(rt, model));
        host_close(rt);
        malloc_trim(0);
        uint64_t now = resident_kib();
        if (n == 0)
            after_first = now;
        else if (MEMORY_IS_TRUE)
            assert_true(now <= after_first + SLACK_KIB);
    }
}

static int make_files(void **state)
{
    (void)state;
    const struct test_tensor tensors[] = { { "a", MIB(30) + 3 }, { "none", 0 }, { "b", KIB(300) } };
    host_close(host_open(NULL)); /* a sanitizer's own thread is there from the first one on */
    threads = entries("/proc/self/task");
    test_folder_make(&folder);
    test_file_make(&file, &folder, "a.safetensors", 0, tensors, 3);
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
        cmocka_unit_test(anonymous_images_leave_nothing),
        cmocka_unit_test(memfd_images_leave_nothing),
        cmocka_unit_test(weights_alone_leave_nothing_after_their_idle_time),
        cmocka_unit_test(whole_runtimes_leave_nothing),
    };
    return cmocka_run_group_tests_name("residue", tests, make_files, remove_files);
}
