/* SPDX-License-Identifier: Apache-2.0 */
/* A runtime that has something to say: models with awkward names, cold from disk, from DRAM, warm, failed, evicted.
 * Writes what the argument asks for, "metrics" or "trace", to stdout, for readers that are not ours. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "support/host.h"

static int print(void *user, const char *text, size_t bytes)
{
    return fwrite(text, 1, bytes, user) == bytes ? 0 : 1;
}

static void live(sgi_runtime *rt, const char *name, const char *path, const struct test_engine *engine)
{
    sgi_model m = host_add(rt, name, path, engine);
    sgi_lease lease = host_acquire(rt, m), second = 0;

    if (sgi_model_try_acquire(rt, m, NULL, &second) == SGI_OK)
        host_release(rt, second);
    host_release(rt, lease);
    sgi_model_evict(rt, m, SGI_TIER_DRAM);
    host_wait_state(rt, m, SGI_MODEL_COLD);
    host_release(rt, host_acquire(rt, m));
}

int main(int argc, char **argv)
{
    static const char *const names[] = {
        "plain", "a \"quoted\" name", "back\\slash\\", "gr\xc3\xbc\xc3\x9f", "{le=\"1\"} 5",
    };
    struct test_folder folder;
    struct test_file   file;
    struct test_engine engine;
    sgi_runtime_config config = host_config();
    sgi_error          err = SGI_ERROR_INIT;
    sgi_lease          lease = 0;
    char               name[16];
    sgi_status         st;

    if (argc != 2)
        return 2;
    test_folder_make(&folder);
    test_file_make_one(&file, &folder, "m.safetensors", MIB(2) + 5);
    test_engine_init(&engine, true, true);
    config.dram_bytes_max = MIB(8);
    sgi_runtime *rt = host_open(&config);
    for (uint32_t n = 0; n < sizeof names / sizeof *names; n++)
        live(rt, names[n], file.path, NULL);
    live(rt, "engine", file.path, &engine);
    for (uint32_t n = 0; n < 150; n++) { /* more than have series of their own */
        snprintf(name, sizeof name, "m%u", n);
        host_add(rt, name, file.path, NULL);
    }
    struct test_engine fails;
    test_engine_init(&fails, false, false);
    atomic_store(&fails.fail[ENGINE_START], SGI_E_ENGINE);
    if (sgi_model_acquire_wait(rt, host_add(rt, "fails", file.path, &fails), NULL, &lease, &err) != SGI_E_ENGINE)
        return 1;
    st = strcmp(argv[1], "trace") == 0 ? sgi_trace_write(rt, print, stdout) : sgi_metrics_write(rt, print, stdout);
    host_close(rt);
    test_engine_fini(&fails);
    test_engine_fini(&engine);
    test_file_free(&file);
    test_folder_remove(&folder);
    return st == SGI_OK && fflush(stdout) == 0 ? 0 : 1;
}
