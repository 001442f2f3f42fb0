/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim: many seeds of simulated traffic against the real core. Each share of the seeds runs in a process of its own, so
 * that a broken rule, a failed assertion or a crash ends that process only; its seed is then shrunk to a short prefix
 * that fails. Seeds that failed once are kept in a file, and each of them is run again.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sim/sim.h"

enum {
    WORKERS_MAX = 16,
    SHORTER_MAX = 4000, /* events: a prefix each, some milliseconds */
};

struct options {
    uint64_t    seeds, first, events, workers;
    uint64_t    rate_min; /* events a second of CPU; 0: any */
    const char *kept;     /* a file of seeds that failed once */
    bool        verbose;
};

/* What a worker tells its parent, in shared memory: it survives the worker. */
struct report {
    uint64_t         seed; /* the one it is at */
    uint64_t         seeds_done;
    struct sim_score score; /* summed; hash combined */
};

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Of the workers that have ended. Unlike the time on the wall it does not depend on what else the machine does. */
static double cpu_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_CHILDREN, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static bool number(const char *text, uint64_t *out)
{
    char *end;
    errno = 0;
    unsigned long long value = text ? strtoull(text, &end, 0) : 0;
    if (!text || errno || end == text || *end)
        return false;
    *out = value;
    return true;
}

static void add(struct sim_score *sum, const struct sim_score *s)
{
    sum->events += s->events;
    sum->hash += s->hash; /* in any order */
    sum->granted += s->granted;
    sum->rejected += s->rejected;
    sum->canceled += s->canceled;
    sum->timeouts += s->timeouts;
    sum->loads += s->loads;
    sum->further += s->further;
    sum->evictions += s->evictions;
    sum->faults += s->faults;
}

static void work(const struct options *o, uint64_t worker, struct report *report)
{
    for (uint64_t n = worker; n < o->seeds; n += o->workers) {
        report->seed = o->first + n;
        struct sim_score score = sim_play(report->seed, o->events, false, o->verbose);
        if (n < 8) { /* the same seed gives the same log */
            struct sim_score again = sim_play(report->seed, o->events, false, false);
            if (memcmp(&again, &score, sizeof score) != 0) {
                fprintf(stderr, "sim: seed %" PRIu64 " gave two logs: %016" PRIx64 " and %016" PRIx64 "\n",
                        report->seed, score.hash, again.hash);
                abort();
            }
        }
        add(&report->score, &score);
        report->seeds_done++;
    }
}

static bool fails(uint64_t seed, uint64_t events, bool quiet)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        if (quiet && !freopen("/dev/null", "w", stderr))
            _exit(2);
        sim_play(seed, events, quiet, false);
        _exit(0);
    }
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

/*
 * What fails while the clients are there fails with every longer prefix too, so halving finds the shortest. What fails
 * in the quiet after them may pass with some of these: so all shorter ones are tried, from the first, where they are
 * not too many.
 */
static void shrink(uint64_t seed, uint64_t events)
{
    uint64_t good = 0, bad = events, shorter = 1;

    if (!fails(seed, events, true)) {
        fprintf(stderr, "sim: seed %" PRIu64 " failed, and did not when it was run again\n", seed);
        return;
    }
    while (bad - good > 1) {
        uint64_t middle = good + (bad - good) / 2;
        if (fails(seed, middle, true))
            bad = middle;
        else
            good = middle;
    }
    while (bad <= SHORTER_MAX && shorter < bad && !fails(seed, shorter, true))
        shorter++;
    if (bad <= SHORTER_MAX)
        bad = shorter;
    fprintf(stderr, "sim: shortest failing prefix: --first %" PRIu64 " --seeds 1 --events %" PRIu64 "\n", seed, bad);
    fails(seed, bad, false);
    fprintf(stderr, "sim: once it is mended, tests/sim/kept_seeds.txt keeps it: %" PRIu64 " %" PRIu64 "\n", seed, bad);
}

/* ---- seeds that failed once ---- */

/* "seed events", "# ..." after it or alone. */
static bool kept_line(char *line, uint64_t *seed, uint64_t *events, bool *empty)
{
    char *rest = NULL, *words[3];
    line[strcspn(line, "#\n")] = '\0';
    for (uint32_t n = 0; n < 3; n++)
        words[n] = strtok_r(n == 0 ? line : NULL, " ", &rest);
    *empty = !words[0];
    return *empty || (number(words[0], seed) && number(words[1], events) && *events > 0 && !words[2]);
}

static int run_kept(const char *path)
{
    char     line[256];
    uint64_t seed = 0, events = 0, count = 0, failed = 0, at = 0;
    bool     empty;
    FILE    *in = fopen(path, "r");

    if (!in) {
        fprintf(stderr, "sim: %s: %s\n", path, strerror(errno));
        return 2;
    }
    while (fgets(line, sizeof line, in)) {
        at++;
        if (!kept_line(line, &seed, &events, &empty)) {
            fprintf(stderr, "sim: %s:%" PRIu64 ": not a seed and a number of events\n", path, at);
            fclose(in);
            return 2;
        }
        if (empty)
            continue;
        count++;
        if (fails(seed, events, false)) {
            printf("sim: %s:%" PRIu64 ": seed %" PRIu64 " FAILED again\n", path, at, seed);
            failed++;
        }
    }
    fclose(in);
    printf("sim: %" PRIu64 " kept seeds, %" PRIu64 " failed\n", count, failed);
    return failed > 0;
}

static int run(const struct options *o)
{
    struct report *reports = mmap(NULL, WORKERS_MAX * sizeof *reports, PROT_READ | PROT_WRITE,
                                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t          pids[WORKERS_MAX];
    double         start = seconds();
    struct report  sum = { 0 };
    uint64_t       failed = 0, failed_seed = 0;

    if (reports == MAP_FAILED) {
        perror("sim: mmap");
        return 2;
    }
    for (uint64_t w = 0; w < o->workers; w++) {
        fflush(NULL);
        pids[w] = fork();
        if (pids[w] == 0) {
            work(o, w, &reports[w]);
            _exit(0);
        }
    }
    for (uint64_t w = 0; w < o->workers; w++) {
        int status = 0;
        while (waitpid(pids[w], &status, 0) < 0 && errno == EINTR)
            ;
        add(&sum.score, &reports[w].score);
        sum.seeds_done += reports[w].seeds_done;
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
            continue;
        if (failed++ == 0 || reports[w].seed < failed_seed)
            failed_seed = reports[w].seed;
    }
    double took = seconds() - start, cpu = cpu_seconds();
    printf("sim: %" PRIu64 " seeds, %" PRIu64
           " events in %.2f s (%.0f events/s, %.0f a second of CPU), hash %016" PRIx64 "\n",
           sum.seeds_done, sum.score.events, took, (double)sum.score.events / took, (double)sum.score.events / cpu,
           sum.score.hash);
    printf("sim: granted %" PRIu64 ", refused %" PRIu64 " (canceled %" PRIu64 ", too late %" PRIu64 "), loads %" PRIu64
           " (further %" PRIu64 "), evictions %" PRIu64 ", faults %" PRIu64 "\n",
           sum.score.granted, sum.score.rejected, sum.score.canceled, sum.score.timeouts, sum.score.loads,
           sum.score.further, sum.score.evictions, sum.score.faults);
    munmap(reports, WORKERS_MAX * sizeof *reports);
    if (failed == 0 && o->rate_min > 0 && (double)sum.score.events / cpu < (double)o->rate_min) {
        printf("sim: slower than %" PRIu64 " events a second of CPU\n", o->rate_min);
        return 1;
    }
    if (failed == 0)
        return 0;
    printf("sim: seed %" PRIu64 " FAILED\n", failed_seed);
    shrink(failed_seed, o->events);
    return 1;
}

int main(int argc, char **argv)
{
    struct options o = { .seeds = 1000, .first = 1, .events = 1000, .workers = 1 };
    long           cpus = sysconf(_SC_NPROCESSORS_ONLN);

    if (cpus > 1)
        o.workers = cpus < WORKERS_MAX ? (uint64_t)cpus : WORKERS_MAX;
    for (int n = 1; n < argc; n++) {
        uint64_t *value = !strcmp(argv[n], "--seeds")      ? &o.seeds
                          : !strcmp(argv[n], "--rate-min") ? &o.rate_min
                          : !strcmp(argv[n], "--first")    ? &o.first
                          : !strcmp(argv[n], "--events")   ? &o.events
                          : !strcmp(argv[n], "--workers")  ? &o.workers
                                                           : NULL;
        if (!strcmp(argv[n], "--verbose")) {
            o.verbose = true;
        } else if (!strcmp(argv[n], "--kept") && n + 1 < argc) {
            o.kept = argv[++n];
        } else if (!value || !number(argv[++n], value) || o.workers < 1 || o.workers > WORKERS_MAX || o.events < 1) {
            fputs("usage: sim [--seeds N] [--first S] [--events M] [--workers W] [--rate-min R] [--verbose]\n"
                  "       sim --kept FILE\n",
                  stderr);
            return 2;
        }
    }
    return o.kept ? run_kept(o.kept) : run(&o);
}
