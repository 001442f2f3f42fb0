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

#include "measure.h"
#include "options.h"
#include "session.h"

enum { PAGE_BYTES = 4096 };

/* Off the device, into DRAM. */
static void give_back(sgi_runtime *rt, sgi_model model, uint64_t bytes)
{
    sgi_model_state state = { .struct_size = sizeof state };

    session_evict(rt, model, SGI_TIER_DRAM);
    if (sgi_model_query(rt, model, &state) != SGI_OK || state.dram_bytes < bytes)
        die("the model does not stay in DRAM");
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
    double     start = seconds_now(), seconds, touched;
    sgi_lease  lease = session_acquire(rt, model, NULL);

    for (uint64_t n = 0; n < count; n++)
        if (sgi_lease_tensor(rt, lease, n, &views[n], &err) != SGI_OK)
            die("tensor: %s", err.message);
    seconds = seconds_now() - start;
    touch(views, count);
    touched = seconds_now() - start;
    sgi_lease_timing(rt, lease, &timing);
    session_release(rt, lease);
    printf("{\"seconds\": %.9f, \"touched_seconds\": %.9f, \"from\": \"%s\", \"tensors\": %llu}\n", seconds, touched,
           timing.tier == SGI_TIER_DRAM ? "dram" : "disk", (unsigned long long)count);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    sgi_runtime_config config = session_config("auto", 0);
    char               line[64];

    if (argc != 2) {
        fputs("usage: residence MODEL\n", stderr);
        return 2;
    }
    config.dram_bytes_max = SESSION_DRAM;
    sgi_runtime   *rt = session_open(&config);
    sgi_model      model = session_register(rt, "residence", argv[1], 0);
    sgi_model_info info = session_info(rt, model);
    sgi_view      *views = calloc(info.tensors_count, sizeof *views);
    if (views == NULL)
        die("no memory for %llu tensors", (unsigned long long)info.tensors_count);
    for (uint64_t n = 0; n < info.tensors_count; n++)
        views[n].struct_size = sizeof *views;
    while (fgets(line, sizeof line, stdin) != NULL) { /* the first comes from the disk, and says so */
        take_turn(rt, model, views, info.tensors_count);
        give_back(rt, model, info.tensor_bytes);
    }
    free(views);
    session_close(rt);
    return 0;
}
