/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scenarios: what the simulator says of a scenario, the real runtime does.
 *
 *     scenarios [--named TEXT]               the written ones, or those whose name holds TEXT
 *     scenarios --seeds N [--first S]        seeded ones
 *     scenarios ... --crowd N                with everybody at once, N times each
 *
 * Seeds run in a child, so that one that ends the process is known by its number; what fails is made short, each try in
 * a child of its own, and printed as it can be pasted into a list.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sim/scenario_list.h"
#include "sim/scenario_real.h"

/* ---- written ---- */

static bool run_one(const struct scenario *s, uint64_t crowd)
{
    bool good = true;

    for (uint64_t seed = 1; seed <= crowd && good; seed++)
        good = scenario_crowd(s, seed, stdout);
    if (crowd == 0)
        good = scenario_agrees(s, stdout);
    if (!good)
        printf("FAILED: %s\n", s->name);
    return good;
}

static uint32_t run_named(const char *text, uint64_t crowd)
{
    const struct {
        const struct scenario *first;
        uint32_t               count;
    } lists[] = { { scenario_requests, scenario_requests_count },
                  { scenario_tiers, scenario_tiers_count },
                  { scenario_failures, scenario_failures_count },
                  { scenario_ends, scenario_ends_count },
                  { scenario_crowds, scenario_crowds_count } };
    uint32_t count = 0, failed = 0;

    for (uint32_t l = 0; l < sizeof lists / sizeof *lists; l++)
        for (uint32_t n = 0; n < lists[l].count; n++)
            if (!text || strstr(lists[l].first[n].name, text)) {
                count++;
                failed += !run_one(&lists[l].first[n], crowd);
            }
    printf("%" PRIu32 " scenarios%s, %" PRIu32 " failed\n", count, crowd ? " with everybody at once" : "", failed);
    return count == 0 ? 1 : failed;
}

/* ---- seeded ---- */

static bool fails(const struct scenario *s, bool quiet)
{
    int status = 0;

    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        if (quiet && (!freopen("/dev/null", "w", stderr) || !freopen("/dev/null", "w", stdout)))
            _exit(2);
        bool good = scenario_agrees(s, stdout);
        fflush(NULL);
        real_files_remove();
        _exit(!good);
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

static uint32_t steps_count(const struct scenario *s)
{
    uint32_t count = 0;
    while (count < STEPS_MAX && s->steps[count].kind != STEP_END)
        count++;
    return count;
}

static void without(const struct scenario *s, uint32_t from, uint32_t count, struct scenario *out)
{
    uint32_t all = steps_count(s);

    *out = *s;
    memmove(&out->steps[from], &out->steps[from + count], (all - from - count) * sizeof *out->steps);
    memset(&out->steps[all - count], 0, count * sizeof *out->steps);
}

/* Leaves out ever smaller runs of steps, as long as it goes on failing. */
static void shrink(struct scenario *s)
{
    static struct scenario shorter;

    for (uint32_t run = steps_count(s) / 2; run > 0; run = run > 1 ? run / 2 : 0)
        for (uint32_t from = 0; from + run <= steps_count(s);) {
            without(s, from, run, &shorter);
            if (fails(&shorter, true))
                *s = shorter;
            else
                from += run;
        }
}

static void report(uint64_t seed)
{
    static struct scenario s;

    scenario_random(seed, &s);
    printf("seed %" PRIu64 " FAILED\n", seed);
    if (!fails(&s, true)) {
        puts("and did not when it was run again");
        return;
    }
    shrink(&s);
    fails(&s, false);
    puts("for a list of scenarios:");
    scenario_print(&s, stdout);
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void play(uint64_t first, uint64_t count, uint64_t crowd, volatile uint64_t *at)
{
    static struct scenario s;

    for (*at = first; *at < first + count; (*at)++) {
        scenario_random(*at, &s);
        if (!run_one(&s, crowd)) {
            real_files_remove();
            fflush(NULL);
            _exit(1); /* two worlds that disagree are not taken apart */
        }
    }
    real_files_remove();
    exit(0); /* with a look for leaks, where there is one */
}

static int run_seeds(uint64_t first, uint64_t count, uint64_t crowd)
{
    volatile uint64_t *at = mmap(NULL, sizeof *at, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    double             begin = seconds();
    int                status = 0;

    if (at == MAP_FAILED)
        abort();
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        play(first, count, crowd, at);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        printf("%" PRIu64 " seeds %s, %.1f s\n", count, crowd ? "stay true with everybody at once" : "agree",
               seconds() - begin);
        return 0;
    }
    if (crowd == 0)
        report(*at);
    else
        printf("seed %" PRIu64 " FAILED with everybody at once\n", *at);
    return 1;
}

static bool number(const char *text, uint64_t *out)
{
    char *end = NULL;
    errno = 0;
    *out = text ? strtoull(text, &end, 0) : 0;
    return text && errno == 0 && end != text && *end == '\0';
}

int main(int argc, char **argv)
{
    uint64_t    seeds = 0, first = 1, crowd = 0;
    const char *named = NULL;
    bool        good = true;

    for (int n = 1; n < argc && good; n += 2) {
        uint64_t *value = !strcmp(argv[n], "--seeds")   ? &seeds
                          : !strcmp(argv[n], "--first") ? &first
                          : !strcmp(argv[n], "--crowd") ? &crowd
                                                        : NULL;
        if (!strcmp(argv[n], "--named") && n + 1 < argc)
            named = argv[n + 1];
        else
            good = value && number(argv[n + 1], value);
    }
    if (!good) {
        fputs("usage: scenarios [--named TEXT] [--crowd N]\n       scenarios --seeds N [--first S] [--crowd N]\n",
              stderr);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (seeds > 0)
        return run_seeds(first, seeds, crowd);
    uint32_t failed = run_named(named, crowd);
    real_files_remove();
    return failed > 0;
}
