/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scenarios: what the simulator says of a scenario, the real runtime does.
 *
 *     scenarios [--named TEXT]               the written ones, or those whose name holds TEXT
 *     scenarios --seeds N [--first S]        seeded ones
 *     scenarios ... --crowd N                with everybody at once, N times each
 *     scenarios --cuda ...                   on cuda devices, which are the fake driver's (tests/fakecuda/run)
 *
 * All of them run in children, so that one that ends the process is known by its name or number; a seed that fails is
 * made short, each try in a child of its own, and printed as it can be pasted into a list.
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

static bool on_cuda;

/* As it is carried out here; NULL: nothing of it can be. */
static const struct scenario *placed(const struct scenario *s)
{
    static struct scenario there;

    if (!on_cuda)
        return s;
    return scenario_on_cuda(s, &there) ? &there : NULL;
}

/* ---- written ---- */

/* NULL: past the last. */
static const struct scenario *written_at(uint64_t n)
{
    const struct {
        const struct scenario *first;
        uint32_t               count;
    } lists[] = { { scenario_requests, scenario_requests_count },
                  { scenario_tiers, scenario_tiers_count },
                  { scenario_failures, scenario_failures_count },
                  { scenario_ends, scenario_ends_count },
                  { scenario_crowds, scenario_crowds_count } };

    for (uint32_t l = 0; l < sizeof lists / sizeof *lists; n -= lists[l].count, l++)
        if (n < lists[l].count)
            return &lists[l].first[n];
    return NULL;
}

static const struct scenario *seeded_at(uint64_t seed)
{
    static struct scenario s;
    scenario_random(seed, &s);
    return &s;
}

/* ---- in a child ---- */

static bool good_alone(const struct scenario *s, uint64_t crowd)
{
    bool good = true;

    if (crowd == 0)
        return scenario_agrees(s, stdout);
    for (uint64_t seed = 1; seed <= crowd && good; seed++)
        good = scenario_crowd(s, seed, stdout);
    return good;
}

static bool child_is_good(pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* From *at on, in shared memory. false: *at is the one that failed, which the child has not lived on after: two worlds
 * that disagree are not taken apart. */
static bool play(const struct scenario *(*get)(uint64_t n), volatile uint64_t *at, uint64_t end, uint64_t crowd)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid != 0)
        return child_is_good(pid);
    while (*at < end && good_alone(placed(get(*at)), crowd))
        (*at)++;
    real_files_remove();
    if (*at == end)
        exit(0); /* with a look for leaks, where there is one */
    fflush(NULL);
    _exit(1);
}

static int run_written(const char *text, uint64_t crowd, volatile uint64_t *at)
{
    uint64_t count = 0, failed = 0;

    for (uint64_t n = 0; written_at(n); n++) {
        if ((text && !strstr(written_at(n)->name, text)) || !placed(written_at(n)))
            continue;
        count++;
        *at = n;
        if (play(written_at, at, n + 1, crowd))
            continue;
        printf("FAILED: %s\n", written_at(n)->name);
        failed++;
    }
    printf("%" PRIu64 " scenarios%s, %" PRIu64 " failed\n", count, crowd ? " with everybody at once" : "", failed);
    return count == 0 || failed > 0;
}

/* ---- seeded ---- */

static bool fails(const struct scenario *s, bool quiet)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid != 0)
        return !child_is_good(pid);
    if (quiet && (!freopen("/dev/null", "w", stderr) || !freopen("/dev/null", "w", stdout)))
        _exit(2);
    bool good = scenario_agrees(s, stdout);
    fflush(NULL);
    real_files_remove();
    _exit(!good);
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

    s = *placed(seeded_at(seed));
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

static int run_seeds(uint64_t first, uint64_t count, uint64_t crowd, volatile uint64_t *at)
{
    double begin = seconds();

    *at = first;
    if (play(seeded_at, at, first + count, crowd)) {
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

    on_cuda = argc > 1 && strcmp(argv[1], "--cuda") == 0;
    for (int n = 1 + on_cuda; n < argc && good; n += 2) {
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
        fputs("usage: scenarios [--cuda] [--named TEXT] [--crowd N]\n"
              "       scenarios [--cuda] --seeds N [--first S] [--crowd N]\n",
              stderr);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    volatile uint64_t *at = mmap(NULL, sizeof *at, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        abort();
    return seeds > 0 ? run_seeds(first, seeds, crowd, at) : run_written(named, crowd, at);
}
