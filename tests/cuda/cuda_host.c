/* SPDX-License-Identifier: Apache-2.0 */
#include "cuda_host.h"

#include <stdio.h>
#include <string.h>

#include "base/fault.h"

struct test_folder cuda_folder;

int cuda_set_up(void **state)
{
    (void)state;
    test_folder_make(&cuda_folder);
    return fake_cuda_find() ? 0 : -1;
}

int cuda_tear_down(void **state)
{
    (void)state;
    test_folder_remove(&cuda_folder);
    return 0;
}

int cuda_clear(void **state)
{
    (void)state;
    fake.fakecuda_faults_clear();
    fake.fakecuda_go();
    sgi__fault_clear();
    return 0;
}

sgi_runtime_config cuda_config(const char *devices, uint64_t bytes_max)
{
    static char              names[16][16];
    static sgi_device_config list[16];
    sgi_runtime_config       c;
    int                      used;

    assert_int_equal(sgi_runtime_config_init(&c, sizeof c), SGI_OK);
    c.idle_timeout_ms = IDLE_MS;
    c.context_linger_ms = LINGER_MS;
    c.dram_bytes_max = SGI_NONE;
    c.read_block_bytes = KIB(64);
    c.backoff_ms = c.backoff_max_ms = 1;
    c.devices = list;
    for (; sscanf(devices, "%15s%n", names[c.devices_count], &used) == 1; devices += used) {
        sgi_device_config *d = &list[c.devices_count];
        sgi_device_config_init(d, sizeof *d);
        d->name = names[c.devices_count++];
        d->bytes_max = strncmp(d->name, "cuda", 4) == 0 ? bytes_max : MIB(64);
    }
    return c;
}

void cuda_open(struct fixture *f, const sgi_runtime_config *config)
{
    memset(f, 0, sizeof *f);
    f->err = (sgi_error)SGI_ERROR_INIT;
    test_clock_init(&f->clock);
    if (sgi__runtime_open_with(config, NULL, &f->clock.table, &f->rt, &f->err) != SGI_OK)
        fail_msg("open: %s", f->err.message);
}

void cuda_close(struct fixture *f)
{
    host_close(f->rt);
    fake_cuda_nothing_is_held("a runtime", 0);
    fake_cuda_no_violations();
}

void cuda_advance(struct fixture *f, uint64_t ms)
{
    test_clock_advance_ms(&f->clock, f->rt, ms);
}

struct on_device {
    struct fixture *f;
    uint32_t        device;
};

/* Time goes on only once everything has come to rest: each of the two timers is set by what comes before it. */
static bool is_zero(void *user)
{
    struct on_device *d = user;
    sgi_device_info   info = host_device(d->f->rt, d->device);

    if (info.instances_count == 0 && info.context == SGI_CONTEXT_NONE)
        return true;
    cuda_advance(d->f, LINGER_MS);
    return false;
}

void cuda_wait_zero(struct fixture *f, uint32_t device)
{
    test_wait_until(is_zero, &(struct on_device){ f, device }, "a device does not come to zero");
}

struct wanted_sample {
    const char *family;
    double      value;
    bool        found;
};

static int is_it(void *user, const sgi_sample *sample)
{
    struct wanted_sample *w = user;
    if (strcmp(sample->name, w->family) == 0) {
        w->value = sample->value;
        w->found = true;
    }
    return 0;
}

double cuda_metric(struct fixture *f, const char *family)
{
    struct wanted_sample w = { .family = family };
    assert_int_equal(sgi_metrics_snapshot(f->rt, is_it, &w), SGI_OK);
    assert_true(w.found);
    return w.value;
}

void cuda_same_bytes(struct fixture *f, sgi_model model, sgi_lease lease, const struct test_file *file)
{
    static uint8_t seen[MIB(4)];
    sgi_tensor     t = { .struct_size = sizeof t };

    for (uint64_t n = 0; sgi_model_tensor_at(f->rt, model, n, &t) == SGI_OK; n++) {
        const uint8_t *want = file->data + t.file_offset;
        sgi_view       view = host_tensor(f->rt, lease, n);
        uint64_t       digest = 0;

        if (sgi_lease_tensor_digest(f->rt, lease, n, &digest, &f->err) != SGI_OK)
            fail_msg("digest: %s", f->err.message);
        if (digest != test_xxh3(want, t.bytes))
            fail_msg("tensor %s: its digest is not the file's", t.name);
        assert_int_equal(view.bytes, t.bytes);
        assert_true(t.bytes <= sizeof seen && (uintptr_t)view.data % 256 == 0);
        if (t.bytes > 0 &&
            (fake.fakecuda_peek((uintptr_t)view.data, seen, t.bytes) != 0 || memcmp(seen, want, t.bytes) != 0))
            fail_msg("tensor %s: its bytes are not the file's", t.name);
    }
}
