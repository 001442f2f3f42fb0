/* SPDX-License-Identifier: Apache-2.0 */
#include "modes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fault.h"

struct test_folder modes_folder;
struct test_file   modes_files[FILES];
struct test_shards modes_shards;

const enum sgi__place_event_kind modes_steps[MODES_STEPS] = { SGI__PLACE_SOURCE_CHECKED, SGI__PLACE_CONTEXT_OPENED,
                                                              SGI__PLACE_RESERVED,       SGI__PLACE_PREPARED,
                                                              SGI__PLACE_LOADED,         SGI__PLACE_ENGINE_STARTED };

sgi_runtime_config modes_config(uint32_t devices_count, uint64_t bytes_max)
{
    static sgi_device_config devices[2] = { { .struct_size = sizeof *devices, .name = "host:0" },
                                            { .struct_size = sizeof *devices, .name = "host:1" } };
    sgi_runtime_config       c = host_config();

    devices[0].bytes_max = devices[1].bytes_max = bytes_max;
    c.devices = devices;
    c.devices_count = devices_count;
    c.idle_timeout_ms = IDLE_MS;
    c.hang_timeout_ms = SGI_IDLE_NEVER;
    c.starve_ms = STARVE_MS;
    c.backoff_ms = BACKOFF_MS;
    c.backoff_max_ms = BACKOFF_MAX_MS;
    c.read_block_bytes = KIB(64);
    return c;
}

void modes_open(struct modes *m, const sgi_runtime_config *config, const struct sgi__place_ops *place)
{
    memset(m, 0, sizeof *m);
    m->err = (sgi_error)SGI_ERROR_INIT;
    test_clock_init(&m->clock);
    test_engine_init(&m->engine, true, true);
    m->engine.look = true;
    m->engine.prepared_bytes = 77;
    test_place_next = (struct test_place_settings){ .seed = 1 }; /* no delays: what is held is held by the test */
    if (sgi__runtime_open_with(config, place, &m->clock.table, &m->rt, &m->err) != SGI_OK)
        fail_msg("open: %s", m->err.message);
    m->tp = place == &test_place_ops ? test_place_last() : NULL;
}

void modes_close(struct modes *m)
{
    host_close(m->rt);
    test_engine_fini(&m->engine);
}

void modes_advance(struct modes *m, uint64_t ms)
{
    test_clock_advance_ms(&m->clock, m->rt, ms);
}

sgi_model modes_add(struct modes *m, uint32_t n, bool with_engine, uint32_t leases_max)
{
    static const char *const names[FILES] = { "a", "b", "c" };
    sgi_model_config         mc = host_model(names[n], modes_files[n].path, with_engine ? &m->engine : NULL);
    mc.leases_max = leases_max;
    return host_register(m->rt, &mc);
}

/* ---- requests ---- */

sgi_ticket modes_ask(struct modes *m, sgi_model model)
{
    sgi_ticket ticket = 0;
    if (sgi_model_acquire(m->rt, model, NULL, &ticket, NULL, NULL, &m->err) != SGI_OK)
        fail_msg("acquire: %s", m->err.message);
    return ticket;
}

sgi_status modes_end(struct modes *m, sgi_ticket ticket, sgi_lease *lease_out)
{
    m->err = (sgi_error)SGI_ERROR_INIT;
    sgi_status st = sgi_ticket_wait(m->rt, ticket, HOST_WAIT_MS, lease_out, &m->err);
    if (st == SGI_E_TIMEOUT)
        fail_msg("a request has no end");
    return st;
}

sgi_lease modes_granted(struct modes *m, sgi_ticket ticket)
{
    sgi_lease  lease = 0;
    sgi_status st = modes_end(m, ticket, &lease);
    if (st != SGI_OK)
        fail_msg("acquire: %s: %s", sgi_status_name(st), m->err.message);
    return lease;
}

void modes_same(struct modes *m, sgi_model model, sgi_lease lease, uint32_t n)
{
    host_same_bytes(m->rt, model, lease, &modes_files[n]);
}

void modes_use(struct modes *m, sgi_model model, uint32_t n)
{
    sgi_lease lease = modes_granted(m, modes_ask(m, model));
    modes_same(m, model, lease, n);
    host_release(m->rt, lease);
}

struct one {
    sgi_runtime *rt;
    sgi_model    model;
};

static bool is_quiet(void *user)
{
    const struct one *one = user;
    sgi_model_state   s = host_state(one->rt, one->model);
    return s.state != SGI_MODEL_STOPPING && s.state != SGI_MODEL_LOADING && s.state != SGI_MODEL_QUEUED;
}

void modes_quiet(struct modes *m, sgi_model model)
{
    test_wait_until(is_quiet, &(struct one){ m->rt, model }, "the model is stuck");
}

void modes_evict(struct modes *m, sgi_model model)
{
    modes_quiet(m, model);
    assert_int_equal(sgi_model_evict(m->rt, model, SGI_EVICT_ALL), SGI_OK);
    host_wait_state(m->rt, model, SGI_MODEL_COLD);
}

void modes_hold_nothing(struct modes *m)
{
    host_wait_threads(m->rt, 1);
    sgi_runtime_info info = host_info(m->rt);
    assert_int_equal(info.device_bytes, 0);
    assert_int_equal(info.dram_bytes, 0);
    assert_int_equal(info.prepared_bytes, 0);
    assert_int_equal(info.requests_waiting, 0);
    assert_int_equal(info.leases_count, 0);
    assert_int_equal(info.calls_count, 0);
    assert_int_equal(info.loads_running, 0);
}

/* ---- what the system says ---- */

bool modes_mapped(const void *address)
{
    void *page = (void *)((uintptr_t)address & ~(uintptr_t)4095);
    return msync(page, 4096, MS_ASYNC) == 0; /* ENOMEM where nothing is mapped */
}

uint32_t modes_entries(const char *path)
{
    DIR     *dir = opendir(path);
    uint32_t count = 0;
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

uint32_t modes_image_maps(void)
{
    FILE    *maps = fopen("/proc/self/maps", "r");
    char     line[512];
    uint32_t count = 0;
    while (maps && fgets(line, sizeof line, maps))
        count += strstr(line, "memfd:sgi-image") != NULL;
    if (maps)
        fclose(maps);
    return count;
}

uint64_t modes_resident(void)
{
    uint64_t sum = 0;
#if !defined(SGI_SANITIZES_ADDRESS) && !defined(SGI_SANITIZES_THREAD)
    FILE         *status = fopen("/proc/self/status", "r");
    char          line[256];
    unsigned long kib;
    while (status && fgets(line, sizeof line, status))
        if (sscanf(line, "RssAnon: %lu", &kib) == 1 || sscanf(line, "RssShmem: %lu", &kib) == 1)
            sum += KIB(kib);
    if (status)
        fclose(status);
#endif
    return sum;
}

/* ---- around the tests ---- */

int modes_set_up(void **state)
{
    static const char *const names[FILES] = { "a.safetensors", "b.safetensors", "c.safetensors" };
    (void)state;
    test_folder_make(&modes_folder);
    for (uint32_t n = 0; n < FILES; n++)
        test_file_make_one(&modes_files[n], &modes_folder, names[n], FILE_BYTES);
    test_shards_make(&modes_shards, &modes_folder, KIB(1600));
    return 0;
}

int modes_tear_down(void **state)
{
    (void)state;
    for (uint32_t n = 0; n < FILES; n++)
        test_file_free(&modes_files[n]);
    test_shards_free(&modes_shards);
    test_folder_remove(&modes_folder);
    return 0;
}

int modes_clear(void **state)
{
    (void)state;
    sgi__fault_clear();
    return 0;
}
