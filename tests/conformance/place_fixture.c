/* SPDX-License-Identifier: Apache-2.0 */
#include "place_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/fault.h"

static struct test_folder folder;

static const struct test_tensor tensors[] = {
    { "embed", KIB(700) + 13 }, { "layer.0", MIB(3) }, { "empty", 0 }, { "head", 4097 }
};

sgi_runtime_config place_config(void)
{
    sgi_runtime_config c = host_config();
    c.idle_timeout_ms = IDLE_MS;
    c.context_linger_ms = LINGER_MS;
    c.hang_timeout_ms = HANG_MS;
    c.dram_bytes_max = MIB(16);
    c.read_block_bytes = KIB(256);
    return c;
}

void set_up_with(struct fixture *f, const struct subject *subject, const sgi_runtime_config *config)
{
    sgi_error err = { .struct_size = sizeof err };

    memset(f, 0, sizeof *f);
    test_clock_init(&f->clock);
    test_engine_init(&f->engine, true, true);
    f->engine.look = true;
    f->engine.prepared_bytes = 321;
    test_file_make(&f->file, &folder, "engine.safetensors", 0, tensors, sizeof tensors / sizeof *tensors);
    test_file_make_one(&f->plain_file, &folder, "plain.safetensors", MIB(2) + 77);
    test_place_next.seed = subject->seed;
    if (sgi__runtime_open_with(config, subject->ops, &f->clock.table, &f->rt, &err) != SGI_OK)
        fail_msg("open: %s", err.message);
    f->tp = subject->ops == &test_place_ops ? test_place_last() : NULL;
    sgi_model_config c = host_model("m", f->file.path, &f->engine);
    c.engine_bytes = MIB(1);
    f->model = host_register(f->rt, &c);
    f->plain = host_add(f->rt, "plain", f->plain_file.path, NULL);
}

void set_up(struct fixture *f, void **state)
{
    sgi_runtime_config config = place_config();
    set_up_with(f, *state, &config);
}

void tear_down(struct fixture *f)
{
    host_close(f->rt);
    test_engine_fini(&f->engine);
    test_file_free(&f->file);
    test_file_free(&f->plain_file);
}

void advance(struct fixture *f, uint64_t ms)
{
    test_clock_advance_ms(&f->clock, f->rt, ms);
}

uint64_t device_bytes(struct fixture *f)
{
    return host_info(f->rt).device_bytes;
}

bool context_closed(void *user)
{
    return host_device(user, 0).context == SGI_CONTEXT_NONE;
}

int make_folder(void **state)
{
    (void)state;
    test_folder_make(&folder);
    return 0;
}

int remove_folder(void **state)
{
    (void)state;
    test_folder_remove(&folder);
    return 0;
}

int clear_faults(void **state)
{
    (void)state;
    sgi__fault_clear();
    return 0;
}
