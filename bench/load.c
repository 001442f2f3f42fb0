/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A model from its files into the host device, through the library, again and again: what bench/raw does without it.
 *
 *     load PATH [--engine uring|threads|auto] [--memory reused|fresh] [--fd] [--cold] [--repeat N] [--stdin]
 *
 * One JSON object per repetition on stdout, flushed at once, with raw's field names. With --stdin each repetition waits
 * for a line of input, so that programs can take turns on one disk. The first repetition with reused memory pays for
 * its pages and is marked.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <sgi/sgi.h>

struct options {
    const char *path, *engine, *memory;
    uint32_t    repeat;
    bool        fd, cold, on_line;
};

static _Noreturn void die(const char *what, const sgi_error *err)
{
    fprintf(stderr, "load: %s: %s\n", what, err->message);
    exit(1);
}

static void usage(void)
{
    fputs("usage: load PATH [--engine uring|threads|auto] [--memory reused|fresh] [--fd] [--cold] [--repeat N] "
          "[--stdin]\n",
          stderr);
    exit(2);
}

static void parse(int argc, char **argv, struct options *o)
{
    *o = (struct options){ .engine = "auto", .memory = "reused", .repeat = 1 };
    for (int n = 1; n < argc; n++) {
        const char *arg = argv[n], *value = n + 1 < argc ? argv[n + 1] : NULL;
        if (strcmp(arg, "--fd") == 0)
            o->fd = true;
        else if (strcmp(arg, "--cold") == 0)
            o->cold = true;
        else if (strcmp(arg, "--stdin") == 0)
            o->on_line = true;
        else if (strcmp(arg, "--engine") == 0 && value)
            o->engine = argv[++n];
        else if (strcmp(arg, "--memory") == 0 && value)
            o->memory = argv[++n];
        else if (strcmp(arg, "--repeat") == 0 && value)
            o->repeat = (uint32_t)strtoul(argv[++n], NULL, 10);
        else if (arg[0] != '-' && !o->path)
            o->path = arg;
        else
            usage();
    }
    if (!o->path || o->repeat == 0)
        usage();
}

static double cpu_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void drop_pages(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    fdatasync(fd);
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    close(fd);
}

/* Back to nothing but spare memory. */
static void evict(sgi_runtime *rt, sgi_model model)
{
    sgi_model_state state = { .struct_size = sizeof state };
    do {
        sgi_model_evict(rt, model, SGI_TIER_DISK);
        usleep(1000);
        sgi_model_query(rt, model, &state);
    } while (state.device_bytes > 0 || state.dram_bytes > 0);
}

static void once(sgi_runtime *rt, sgi_model model, const struct options *o, uint32_t number)
{
    sgi_error  err = { .struct_size = sizeof err };
    sgi_timing t = { .struct_size = sizeof t };
    sgi_lease  lease;
    char       line[64];

    if (o->on_line && !fgets(line, sizeof line, stdin))
        exit(0);
    if (o->cold)
        drop_pages(o->path);
    double cpu = cpu_seconds();
    if (sgi_model_acquire_wait(rt, model, NULL, &lease, &err) != SGI_OK)
        die(o->path, &err);
    cpu = cpu_seconds() - cpu;
    sgi_lease_timing(rt, lease, &t);
    sgi_lease_release(rt, lease);
    evict(rt, model);

    bool   fresh = strcmp(o->memory, "fresh") == 0 || number == 0;
    double seconds = (double)t.load_ns / 1e9, gib = (double)t.bytes / (double)(1u << 30);
    printf("{\"engine\": \"%s\", \"memory\": \"%s\", \"bytes\": %llu, \"seconds\": %.6f, \"gib_s\": %.4f, "
           "\"cpu_core_s_per_gib\": %.4f, "
           "\"direct\": %u, \"total_seconds\": %.6f}\n",
           t.engine, fresh ? "fresh" : "reused", (unsigned long long)t.bytes, seconds, gib / seconds, cpu / gib,
           t.direct, (double)t.total_ns / 1e9);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct options     o;
    sgi_error          err = { .struct_size = sizeof err };
    sgi_runtime_config rc;
    sgi_model_config   mc;
    sgi_runtime       *rt;
    sgi_model          model;

    parse(argc, argv, &o);
    sgi_runtime_config_init(&rc, sizeof rc);
    rc.io_engine = strcmp(o.engine, "uring") == 0     ? SGI_IO_URING
                   : strcmp(o.engine, "threads") == 0 ? SGI_IO_THREADS
                                                      : SGI_IO_AUTO;
    if (strcmp(o.memory, "fresh") != 0)
        rc.spare_bytes_max = UINT64_MAX - 1;
    rc.dram_bytes_max = UINT64_C(1) << 40; /* the spare memory's ceiling; nothing else stays */
    if (sgi_runtime_open(&rc, &rt, &err) != SGI_OK)
        die("open", &err);
    sgi_model_config_init(&mc, sizeof mc);
    mc.name = "bench";
    mc.path = o.path;
    mc.flags = o.fd ? SGI_IMAGE_FD : 0;
    if (sgi_model_register(rt, &mc, &model, &err) != SGI_OK)
        die(o.path, &err);
    for (uint32_t n = 0; n < o.repeat; n++)
        once(rt, model, &o, n);
    return sgi_runtime_close(rt, 5000, &err) == SGI_OK ? 0 : 1;
}
