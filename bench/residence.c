/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A model that is in DRAM becomes an instance on the host device: every tensor has an address, no byte moves.
 *
 *     residence MODEL
 *
 * One turn for each line of input, one JSON object for each turn: `seconds` from the acquire to the address of the last
 * tensor, `touched_seconds` to the first byte of the last page.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <sgi/sgi.h>

enum { PAGE_BYTES = 4096, CLOSE_MS = 5000 };

static _Noreturn void die(const char *what, const char *why)
{
    fprintf(stderr, "residence: %s: %s\n", what, why);
    exit(1);
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Off the device, into DRAM. */
static void give_back(sgi_runtime *rt, sgi_model model, uint64_t bytes)
{
    sgi_model_state state = { .struct_size = sizeof state };

    for (;;) {
        sgi_model_evict(rt, model, SGI_TIER_DRAM);
        sgi_model_query(rt, model, &state);
        if (state.device_bytes == 0 && state.instances_count == 0)
            break;
        usleep(1000);
    }
    if (state.dram_bytes < bytes)
        die("evict", "the model does not stay in DRAM");
}

static uint64_t touch(const sgi_view *views, uint64_t count)
{
    uint64_t sum = 0;

    for (uint64_t n = 0; n < count; n++)
        for (uint64_t at = 0; at < views[n].bytes; at += PAGE_BYTES)
            sum += ((const volatile unsigned char *)views[n].data)[at];
    return sum;
}

static void take_turn(sgi_runtime *rt, sgi_model model, sgi_view *views, uint64_t count)
{
    sgi_error  err = SGI_ERROR_INIT;
    sgi_timing timing = { .struct_size = sizeof timing };
    sgi_lease  lease;
    double     start = now(), seconds, touched;

    if (sgi_model_acquire_wait(rt, model, NULL, &lease, &err) != SGI_OK)
        die("acquire", err.message);
    for (uint64_t n = 0; n < count; n++)
        if (sgi_lease_tensor(rt, lease, n, &views[n], &err) != SGI_OK)
            die("tensor", err.message);
    seconds = now() - start;
    touch(views, count);
    touched = now() - start;
    sgi_lease_timing(rt, lease, &timing);
    sgi_lease_release(rt, lease);
    printf("{\"seconds\": %.9f, \"touched_seconds\": %.9f, \"from\": \"%s\", \"tensors\": %llu}\n", seconds, touched,
           timing.tier == SGI_TIER_DRAM ? "dram" : "disk", (unsigned long long)count);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    sgi_error          err = SGI_ERROR_INIT;
    sgi_runtime_config rc;
    sgi_model_config   mc;
    sgi_model_info     info = { .struct_size = sizeof info };
    sgi_runtime       *rt;
    sgi_model          model;
    sgi_view          *views;
    char               line[64];

    if (argc != 2) {
        fputs("usage: residence MODEL\n", stderr);
        return 2;
    }
    sgi_runtime_config_init(&rc, sizeof rc);
    rc.idle_timeout_ms = SGI_IDLE_NEVER;
    rc.dram_bytes_max = UINT64_C(1) << 40; /* the machine's memory is the limit */
    if (sgi_runtime_open(&rc, &rt, &err) != SGI_OK)
        die("open", err.message);
    sgi_model_config_init(&mc, sizeof mc);
    mc.name = "bench";
    mc.path = argv[1];
    if (sgi_model_register(rt, &mc, &model, &err) != SGI_OK)
        die(argv[1], err.message);
    sgi_model_describe(rt, model, &info);
    views = calloc(info.tensors_count, sizeof *views);
    if (views == NULL)
        die("tensors", "no memory");
    for (uint64_t n = 0; n < info.tensors_count; n++)
        views[n].struct_size = sizeof *views;
    while (fgets(line, sizeof line, stdin) != NULL) { /* the first comes from the disk, and says so */
        take_turn(rt, model, views, info.tensors_count);
        give_back(rt, model, info.tensor_bytes);
    }
    free(views);
    return sgi_runtime_close(rt, CLOSE_MS, &err) == SGI_OK ? 0 : 1;
}
