/* SPDX-License-Identifier: Apache-2.0 */
/* A lease on a model that is loaded, and back: sgi_model_try_acquire() and sgi_lease_release(), on one thread and on
 * several at once. Every pair is timed by itself; what a clock read costs, found out the same way, is taken off. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "files.h"
#include "measure.h"
#include "options.h"
#include "report.h"
#include "session.h"

enum { THREADS_MAX = 64, SECOND_NS = 1000000000 };

struct options {
    const char *path, *engine;
    uint64_t    pairs, threads, repeat, rate;
    bool        on_line;
};

struct warm {
    sgi_runtime *rt;
    sgi_model    model;
    uint64_t     pairs; /* of each thread */
    atomic_uint  ready; /* threads that wait for the start; pairs with `go` */
    atomic_bool  go;
};

struct worker {
    struct warm *warm;
    pthread_t    thread;
    uint32_t    *ns; /* of each pair */
    uint64_t     begin_ns, end_ns;
};

static void one_pair(struct warm *w)
{
    sgi_lease lease;
    if (sgi_model_try_acquire(w->rt, w->model, NULL, &lease) != SGI_OK || sgi_lease_release(w->rt, lease) != SGI_OK)
        die("the model did not stay loaded");
}

static void *timed_pairs(void *user)
{
    struct worker *k = user;
    struct warm   *w = k->warm;

    for (int n = 0; n < 1000; n++)
        one_pair(w);
    atomic_fetch_add(&w->ready, 1);
    while (!atomic_load(&w->go)) {
    }
    k->begin_ns = now_ns();
    for (uint64_t n = 0; n < w->pairs; n++) {
        uint64_t begin = now_ns();
        one_pair(w);
        uint64_t ns = now_ns() - begin;
        k->ns[n] = ns < UINT32_MAX ? (uint32_t)ns : UINT32_MAX;
    }
    k->end_ns = now_ns();
    return NULL;
}

static void *untimed_pairs(void *user)
{
    struct worker *k = user;
    struct warm   *w = k->warm;

    for (int n = 0; n < 1000; n++)
        one_pair(w);
    atomic_fetch_add(&w->ready, 1);
    while (!atomic_load(&w->go)) {
    }
    k->begin_ns = now_ns();
    for (uint64_t n = 0; n < w->pairs; n++)
        one_pair(w);
    k->end_ns = now_ns();
    return NULL;
}

/* What a pair of clock reads shows with nothing in between. */
static double clock_ns(void)
{
    struct samples s = { 0 };
    for (int n = 0; n < 10000; n++) {
        uint64_t begin = now_ns();
        samples_add(&s, (double)(now_ns() - begin));
    }
    double median = samples_at(&s, 0.5);
    samples_free(&s);
    return median;
}

static void run_threads(struct warm *w, struct worker *workers, uint32_t threads, void *(*pairs)(void *))
{
    atomic_store(&w->ready, 0);
    atomic_store(&w->go, false);
    for (uint32_t n = 0; n < threads; n++) {
        int rc = pthread_create(&workers[n].thread, NULL, pairs, &workers[n]);
        if (rc)
            die("pthread_create: %s", strerror(rc));
    }
    while (atomic_load(&w->ready) < threads)
        nap_us(100);
    atomic_store(&w->go, true);
    for (uint32_t n = 0; n < threads; n++)
        pthread_join(workers[n].thread, NULL);
}

/* Pairs a second of all threads together: those of the time in which all of them ran count as if they were even. */
static double pairs_per_s(const struct warm *w, const struct worker *workers, uint32_t threads)
{
    uint64_t begin = UINT64_MAX, end = 0;
    for (uint32_t n = 0; n < threads; n++) {
        begin = workers[n].begin_ns < begin ? workers[n].begin_ns : begin;
        end = workers[n].end_ns > end ? workers[n].end_ns : end;
    }
    return (double)w->pairs * threads * 1e9 / (double)(end - begin);
}

static void measure(struct warm *w, uint32_t threads, struct summary *summary)
{
    struct worker  workers[THREADS_MAX] = { 0 };
    struct samples ns = { 0 };
    double         clock = clock_ns();

    for (uint32_t n = 0; n < threads; n++) {
        workers[n] = (struct worker){ .warm = w, .ns = malloc(w->pairs * sizeof(uint32_t)) };
        if (!workers[n].ns)
            die("out of memory for the times of %llu pairs", (unsigned long long)w->pairs);
        memset(workers[n].ns, 1, w->pairs * sizeof(uint32_t)); /* its page faults are none of the library's */
    }
    run_threads(w, workers, threads, timed_pairs);
    for (uint32_t n = 0; n < threads; n++)
        for (uint64_t i = 0; i < w->pairs; i++)
            samples_add(&ns, workers[n].ns[i] > clock ? workers[n].ns[i] - clock : 0);
    run_threads(w, workers, threads, untimed_pairs);
    double p50 = samples_at(&ns, 0.5), p99 = samples_at(&ns, 0.99), rate = pairs_per_s(w, workers, threads);
    report_line(json_pack("{s:s, s:i, s:I, s:f, s:f, s:f, s:f, s:f, s:f}", "what", "warm", "threads", (int)threads,
                          "pairs", (json_int_t)w->pairs * (json_int_t)threads, "p50_ns", p50, "p99_ns", p99, "max_ns",
                          samples_at(&ns, 1), "mean_ns", threads * 1e9 / rate, "pairs_per_s", rate, "clock_ns", clock));
    summary_add(summary, "p50_ns", p50);
    summary_add(summary, "p99_ns", p99);
    summary_add(summary, "mean_ns", threads * 1e9 / rate);
    summary_add(summary, "pairs_per_s", rate);
    samples_free(&ns);
    for (uint32_t n = 0; n < threads; n++)
        free(workers[n].ns);
}

static int run(const struct options *o)
{
    sgi_runtime_config config = session_config(o->engine, o->rate);
    struct warm        w = { .pairs = o->pairs, .rt = session_open(&config) };
    struct summary     one = { 0 }, several = { 0 };
    struct turns       turns = { .repeat = o->repeat, .on_line = o->on_line };

    w.model = session_register(w.rt, "warm", o->path, 0);
    session_release(w.rt, session_acquire(w.rt, w.model, NULL));
    while (next_turn(&turns)) {
        measure(&w, 1, &one);
        if (o->threads > 1)
            measure(&w, (uint32_t)o->threads, &several);
    }
    if (!o->on_line)
        summary_report(&one, "warm", o->path,
                       json_pack("{s:I, s:o}", "threads", (json_int_t)o->threads, "several", summary_json(&several)));
    summary_free(&one);
    summary_free(&several);
    session_close(w.rt);
    return EXIT_GOOD;
}

int warm_main(int argc, char **argv)
{
    static const struct bench_command command = {
        .name = "warm",
        .operands = "[FILE]",
        .operands_max = 1,
        .purpose =
            "try_acquire and release of a loaded model, of FILE or a small one: with one thread, then with several on\n"
            "the same model. p50_ns and p99_ns are of single pairs, without what reading the clock costs; mean_ns\n"
            "(of each thread) and pairs_per_s (of all) are of a run without clock reads.\n",
    };
    struct options            o = { .engine = "auto", .pairs = 1000000, .threads = 2, .repeat = 5 };
    const struct bench_option options[] = {
        { "pairs", OPTION_NUMBER, &o.pairs, 1000, 100000000, NULL, "of each thread in one repetition" },
        { "threads", OPTION_NUMBER, &o.threads, 1, THREADS_MAX, NULL, "at once, beside the run with one" },
        { "engine", OPTION_CHOICE, &o.engine, 0, 0, session_engines, "how files are read" },
        OPTION_REPEAT(&o),
        OPTION_RATE(&o),
        OPTION_STDIN(&o),
    };
    options_parse(&command, options, sizeof options / sizeof *options, argc, argv, &o.path);
    if (!o.path)
        o.path = model_file(1 << 20, 8);
    return run(&o);
}
