/* SPDX-License-Identifier: Apache-2.0 */
/* Many threads do everything at once, in budgets that are too small, while the runtime closes over them. What each of
 * them sees must be true: right bytes while a lease is held, and a status that the header knows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "support/host.h"

enum { MODELS = 6, THREADS = 8 };

static struct test_folder folder;
static struct test_file   files[MODELS];

struct world {
    sgi_runtime *rt;
    sgi_model    models[MODELS];
    atomic_int   stop;
    atomic_uint  bad, granted, closed;
};

struct worker {
    struct world *w;
    uint64_t      random;
};

static uint32_t rng(struct worker *w, uint32_t below)
{
    w->random = w->random * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (uint32_t)(w->random >> 33) % below;
}

static bool bytes_are_right(struct world *w, sgi_lease lease, uint32_t n)
{
    sgi_view view = { .struct_size = sizeof view };
    uint64_t digest = 0;
    if (sgi_lease_tensor(w->rt, lease, 0, &view, NULL) != SGI_OK)
        return false;
    if (!host_is_host())
        return sgi_lease_tensor_digest(w->rt, lease, 0, &digest, NULL) == SGI_OK &&
               digest == test_xxh3(files[n].data + files[n].data_offset, view.bytes);
    return memcmp(view.data, files[n].data + files[n].data_offset, view.bytes) == 0;
}

/* One acquire in one of its forms. false: the runtime is closing. */
static bool one_acquire(struct worker *me, uint32_t n)
{
    struct world       *w = me->w;
    sgi_acquire_options o;
    sgi_lease           lease = 0;
    sgi_error           err = { .struct_size = sizeof err };

    sgi_acquire_options_init(&o, sizeof o);
    o.priority = (int32_t)rng(me, 3);
    o.deadline_ms = rng(me, 4) == 0 ? 1 + rng(me, 5) : SGI_FOREVER;
    o.idle_timeout_ms = rng(me, 3) == 0 ? SGI_IDLE_NOW : SGI_IDLE_DEFAULT;
    sgi_status st = rng(me, 3) == 0 ? sgi_model_try_acquire(w->rt, w->models[n], &o, &lease)
                                    : sgi_model_acquire_wait(w->rt, w->models[n], &o, &lease, &err);
    if (st == SGI_OK) {
        atomic_fetch_add(&w->granted, 1);
        if (!bytes_are_right(w, lease, n))
            atomic_fetch_add(&w->bad, 1);
        sgi_status released = sgi_lease_release(w->rt, lease), again = sgi_lease_release(w->rt, lease);
        if (released != SGI_OK || again != SGI_E_STALE)
            atomic_fetch_add(&w->bad, 1);
        return true;
    }
    if (lease != 0 || (st != SGI_E_TIMEOUT && st != SGI_E_WOULD_BLOCK && st != SGI_E_CLOSED)) {
        fprintf(stderr, "%s: %s\n", sgi_status_name(st), err.message);
        atomic_fetch_add(&w->bad, 1);
    }
    return st != SGI_E_CLOSED;
}

static void on_done(void *user, const sgi_completion *c)
{
    struct world *w = user;
    if (c->lease && sgi_lease_release(w->rt, c->lease) != SGI_OK)
        atomic_fetch_add(&w->bad, 1);
}

static void *work(void *arg)
{
    struct worker  *me = arg;
    struct world   *w = me->w;
    sgi_model_state s = { .struct_size = sizeof s };

    while (!atomic_load(&w->stop)) {
        uint32_t   n = rng(me, MODELS);
        sgi_ticket ticket = 0;
        switch (rng(me, 12)) {
        case 0:
            sgi_model_evict(w->rt, w->models[n], rng(me, 2) ? SGI_TIER_DRAM : SGI_EVICT_ALL);
            break;
        case 1:
            sgi_model_prefetch(w->rt, w->models[n], 1 + rng(me, 2), NULL, NULL, on_done, w, NULL);
            break;
        case 2:
            if (sgi_model_acquire(w->rt, w->models[n], NULL, &ticket, on_done, w, NULL) == SGI_OK && rng(me, 2))
                sgi_acquire_cancel(w->rt, ticket);
            break;
        case 3:
            sgi_model_pin(w->rt, w->models[n], rng(me, 4) == 0 ? SGI_TIER_DRAM : SGI_TIER_DISK, NULL);
            sgi_model_query(w->rt, w->models[n], &s);
            break;
        default:
            if (!one_acquire(me, n)) {
                atomic_fetch_add(&w->closed, 1);
                return NULL;
            }
        }
    }
    return NULL;
}

static void everything_at_once(struct world *w, uint64_t seed, uint32_t rounds)
{
    sgi_device_config  devices[] = { { .struct_size = sizeof *devices, .name = "host:0", .bytes_max = KIB(700) },
                                     { .struct_size = sizeof *devices, .name = "host:1", .bytes_max = KIB(400) } };
    sgi_runtime_config config = host_config();
    pthread_t          threads[THREADS];
    struct worker      workers[THREADS];
    char               name[16];

    memset(w, 0, sizeof *w);
    config.devices = devices;
    config.devices_count = 2;
    config.dram_bytes_max = KIB(500);
    config.spare_bytes_max = KIB(300);
    config.idle_timeout_ms = 2;
    config.context_linger_ms = 1;
    config.starve_ms = 5;
    config.loads_max = 2;
    w->rt = host_open(&config);
    for (uint32_t n = 0; n < MODELS; n++) {
        snprintf(name, sizeof name, "m%u", n);
        sgi_model_config mc = host_model(name, files[n].path, NULL);
        mc.leases_max = n % 3;
        mc.tenant = n % 2;
        mc.flags = n % 2 ? SGI_IMAGE_FD : 0;
        w->models[n] = host_register(w->rt, &mc);
    }
    for (uint32_t n = 0; n < THREADS; n++) {
        workers[n] = (struct worker){ .w = w, .random = seed * 1000 + n };
        pthread_create(&threads[n], NULL, work, &workers[n]);
    }
    for (uint32_t n = 0; n < rounds; n++) {
        sgi_lease lease = host_acquire(w->rt, w->models[n % MODELS]);
        assert_true(bytes_are_right(w, lease, n % MODELS));
        host_release(w->rt, lease);
    }
    atomic_store(&w->stop, 1);
    for (uint32_t n = 0; n < THREADS; n++)
        pthread_join(threads[n], NULL);
    host_close(w->rt);
    assert_int_equal(atomic_load(&w->bad), 0);
}

static void everything_at_once_stays_true(void **state)
{
    (void)state;
    struct world w;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        everything_at_once(&w, seed, 150);
        assert_true(atomic_load(&w.granted) > 0);
    }
}

/* A closer that gives up and comes again, while others acquire, wait and release. The workers hold the runtime as long
 * as they use it, so the last close comes after them. */
static void closing_over_users_lets_everyone_out(void **state)
{
    (void)state;
    for (int round = 0; round < 10; round++) {
        sgi_runtime_config config = host_config();
        struct world       w = { 0 };
        pthread_t          threads[THREADS];
        struct worker      workers[THREADS];
        sgi_error          err = { .struct_size = sizeof err };

        config.idle_timeout_ms = 1;
        w.rt = host_open(&config);
        for (uint32_t n = 0; n < MODELS; n++) {
            char name[16];
            snprintf(name, sizeof name, "m%u", n);
            w.models[n] = host_add(w.rt, name, files[n].path, NULL);
        }
        sgi_lease anchor = host_acquire(w.rt, w.models[0]); /* keeps it from closing before all are out */
        for (uint32_t n = 0; n < THREADS; n++) {
            workers[n] = (struct worker){ .w = &w, .random = (uint64_t)round * 100 + n };
            pthread_create(&threads[n], NULL, work, &workers[n]);
        }
        for (uint32_t n = 0; n < 20; n++)
            host_release(w.rt, host_acquire(w.rt, w.models[n % MODELS]));
        assert_int_equal(sgi_runtime_close(w.rt, 1, &err), SGI_E_TIMEOUT);
        for (uint32_t n = 0; n < THREADS; n++)
            pthread_join(threads[n], NULL); /* every one of them has seen CLOSED */
        assert_int_equal(atomic_load(&w.closed), THREADS);
        assert_int_equal(atomic_load(&w.bad), 0);
        host_release(w.rt, anchor);
        host_close(w.rt);
    }
}

struct releaser {
    sgi_runtime *rt;
    sgi_lease    lease;
    atomic_int  *go;
    sgi_status   status;
};

static void *release(void *arg)
{
    struct releaser *r = arg;
    while (!atomic_load(r->go)) {
    }
    r->status = sgi_lease_release(r->rt, r->lease);
    return NULL;
}

/* The last releases end the drain: the closer must not free the runtime under them. */
static void close_waits_for_the_threads_that_end_it(void **state)
{
    (void)state;
    for (int round = 0; round < 100; round++) {
        sgi_runtime_config config = host_config();
        sgi_runtime       *rt = host_open(&config);
        sgi_model          model = host_add(rt, "m", files[0].path, NULL);
        pthread_t          threads[4];
        struct releaser    r[4];
        atomic_int         go = 0;

        for (int n = 0; n < 4; n++) {
            r[n] = (struct releaser){ .rt = rt, .lease = host_acquire(rt, model), .go = &go };
            pthread_create(&threads[n], NULL, release, &r[n]);
        }
        atomic_store(&go, 1);
        host_close(rt);
        for (int n = 0; n < 4; n++) {
            pthread_join(threads[n], NULL);
            assert_int_equal(r[n].status, SGI_OK);
        }
    }
}

static int make_files(void **state)
{
    (void)state;
    char name[32];
    test_folder_make(&folder);
    for (uint32_t n = 0; n < MODELS; n++) {
        snprintf(name, sizeof name, "m%u.safetensors", n);
        test_file_make_one(&files[n], &folder, name, KIB(60) * (n + 1) + n);
    }
    return 0;
}

static int remove_files(void **state)
{
    (void)state;
    for (uint32_t n = 0; n < MODELS; n++)
        test_file_free(&files[n]);
    test_folder_remove(&folder);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_at_once_stays_true),
        cmocka_unit_test(closing_over_users_lets_everyone_out),
        cmocka_unit_test(close_waits_for_the_threads_that_end_it),
    };
    return cmocka_run_group_tests_name("stress", tests, make_files, remove_files);
}
