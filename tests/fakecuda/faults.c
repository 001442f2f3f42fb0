/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plan of faults: lines "CALL WHICH ACTION [VALUE]" of a file (FAKECUDA_FAULTS), of FAKECUDA_FAULT with ';' between
 * them, or of fakecuda_fault(). What went off is logged.
 *
 *     CALL    an exported name; @any, whatever is called; or @copy, @set, @kernel: what streams carry out
 *     WHICH   3 (the third since the line was armed), 3+ (from the third on), * (each), %10 (one in ten, by the seed)
 *     ACTION  error CODE · sticky CODE · delay MS · hang · abort · kill · corrupt (of a @copy: one bit arrives wrong)
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

enum { RULES_MAX = 64, LINE_MAX = 256, EXIT_USAGE = 2 };

enum which { WHICH_NTH, WHICH_FROM, WHICH_EACH, WHICH_PERCENT };
enum doing { DO_ERROR, DO_STICKY, DO_DELAY, DO_HANG, DO_ABORT, DO_KILL, DO_CORRUPT };

static struct rule {
    unsigned   counted;
    enum which which;
    uint64_t   number, since; /* of the count at which it was armed */
    enum doing doing;
    int        value;
} rules[RULES_MAX];
static unsigned rule_count;
static uint64_t random_state;

static const char *const done_names[] = { "@copy", "@set", "@kernel", "@any" };

static bool counted_of(const char *name, unsigned *counted)
{
    for (unsigned n = 0; n < COUNTED; n++) {
        if (strcmp(name, n < CALL_COUNT ? fc_call_name(n) : done_names[n - CALL_COUNT]) == 0) {
            *counted = n;
            return true;
        }
    }
    return false;
}

static bool which_of(const char *word, struct rule *rule)
{
    char *end;
    if (strcmp(word, "*") == 0) {
        rule->which = WHICH_EACH;
        return true;
    }
    bool percent = *word == '%';
    rule->number = strtoull(word + percent, &end, 10);
    rule->which = percent ? WHICH_PERCENT : *end == '+' ? WHICH_FROM : WHICH_NTH;
    end += rule->which == WHICH_FROM;
    return *end == '\0' && rule->number > 0 && (!percent || rule->number <= 100);
}

static const char *doing_of(const char *word, const char *value, struct rule *rule)
{
    static const struct {
        const char *name;
        bool        valued;
    } doings[] = { [DO_ERROR] = { "error", true },     [DO_STICKY] = { "sticky", true }, [DO_DELAY] = { "delay", true },
                   [DO_HANG] = { "hang", false },      [DO_ABORT] = { "abort", false },  [DO_KILL] = { "kill", false },
                   [DO_CORRUPT] = { "corrupt", false } };
    for (unsigned n = 0; n < sizeof doings / sizeof doings[0]; n++) {
        if (strcmp(word, doings[n].name) != 0)
            continue;
        char *end = NULL;
        rule->doing = (enum doing)n;
        rule->value = (int)strtol(value, &end, 10);
        if (doings[n].valued ? *value == '\0' || *end != '\0' || rule->value <= 0 : *value != '\0')
            return doings[n].valued ? "needs a number above 0" : "takes no number";
        if (rule->doing == DO_CORRUPT && rule->counted != DONE_COPY)
            return "corrupt is for @copy";
        if (rule->doing == DO_ERROR && rule->counted >= CALL_COUNT && rule->counted != ANY_CALL)
            return "what a stream carries out ends well or sticky";
        return NULL;
    }
    return "actions are error, sticky, delay, hang, abort, kill, corrupt";
}

/* NULL: it is armed, or says nothing. */
static const char *parse(const char *line)
{
    char        text[LINE_MAX], call[64] = "", which[32] = "", action[32] = "", value[32] = "", more[2] = "";
    struct rule rule = { .since = 0 };
    snprintf(text, sizeof text, "%.*s", (int)strcspn(line, "#\n"), line);
    int words = sscanf(text, "%63s %31s %31s %31s %1s", call, which, action, value, more);
    if (words <= 0)
        return NULL;
    if (words < 3 || words > 4)
        return "a line is CALL WHICH ACTION [VALUE]";
    if (!counted_of(call, &rule.counted))
        return "no such call";
    if (!which_of(which, &rule))
        return "which is N, N+, * or %N";
    const char *why = doing_of(action, value, &rule);
    if (!why && rule_count == RULES_MAX)
        why = "too many lines";
    if (why)
        return why;
    rule.since = fc.calls[rule.counted];
    rules[rule_count++] = rule;
    return NULL;
}

static void refuse(const char *line, const char *why)
{
    fprintf(stderr, "fakecuda: fault '%.*s': %s\n", (int)strcspn(line, "\n"), line, why);
}

static void arm_or_end(const char *line)
{
    const char *why = parse(line);
    if (!why)
        return;
    refuse(line, why);
    _exit(EXIT_USAGE); /* a test that runs without the fault it asked for would pass */
}

void fc_faults_read(void)
{
    const char *path = getenv("FAKECUDA_FAULTS"), *lines = getenv("FAKECUDA_FAULT");
    char        line[LINE_MAX];
    random_state = fc_config.seed ^ 0xFA017u;
    for (; lines && *lines; lines += strcspn(lines, ";"), lines += *lines == ';') {
        snprintf(line, sizeof line, "%.*s", (int)strcspn(lines, ";"), lines);
        arm_or_end(line);
    }
    FILE *file = path && *path ? fopen(path, "re") : NULL;
    if (path && *path && !file) {
        fprintf(stderr, "fakecuda: no plan of faults %s\n", path);
        _exit(EXIT_USAGE);
    }
    while (file && fgets(line, sizeof line, file))
        arm_or_end(line);
    if (file)
        fclose(file);
}

/* As soon as the library is loaded, and not only at the first call, which may never come. `run` loads it for that. */
__attribute__((constructor)) static void check_plan(void)
{
    fc_faults_read();
    rule_count = 0; /* armed by the first call, with what is in the environment then */
}

static bool is_now(const struct rule *rule, unsigned counted)
{
    if (rule->counted != counted && (rule->counted != ANY_CALL || counted >= CALL_COUNT))
        return false;
    uint64_t nth = fc.calls[rule->counted] - rule->since;
    switch (rule->which) {
    case WHICH_NTH:
        return nth == rule->number;
    case WHICH_FROM:
        return nth >= rule->number;
    case WHICH_PERCENT:
        return fc_random(&random_state) % 100 < rule->number;
    default:
        return true;
    }
}

static void hang(void)
{
    fc_unlock();
    for (;;)
        pause();
}

enum fault_action fc_fault_at(unsigned counted, int *value)
{
    static const char *const       says[] = { "error", "sticky", "delay", "hang", "abort", "kill", "corrupt" };
    static const enum fault_action actions[] = {
        [DO_ERROR] = FAULT_ERROR, [DO_STICKY] = FAULT_STICKY, [DO_DELAY] = FAULT_DELAY, [DO_CORRUPT] = FAULT_CORRUPT
    };
    for (unsigned n = 0; n < rule_count; n++) {
        if (!is_now(&rules[n], counted))
            continue;
        fc_log("%s %llu: %s %d (seed %llu)",
               counted < CALL_COUNT ? fc_call_name(counted) : done_names[counted - CALL_COUNT],
               (unsigned long long)fc.calls[counted], says[rules[n].doing], rules[n].value,
               (unsigned long long)fc_config.seed);
        if (rules[n].doing == DO_HANG)
            hang();
        if (rules[n].doing == DO_ABORT)
            abort();
        if (rules[n].doing == DO_KILL)
            kill(getpid(), SIGKILL);
        *value = rules[n].value;
        return actions[rules[n].doing];
    }
    return FAULT_NONE;
}

int fakecuda_fault(const char *line)
{
    fc_own_begin();
    fc_lock();
    const char *why = parse(line);
    fc_unlock();
    if (why)
        refuse(line, why);
    fc_own_end();
    return why ? -1 : 0;
}

void fakecuda_faults_clear(void)
{
    fc_lock();
    rule_count = 0;
    fc_unlock();
}

uint64_t fakecuda_calls(const char *name)
{
    unsigned counted;
    fc_own_begin();
    fc_lock();
    uint64_t count = counted_of(name, &counted) ? fc.calls[counted] : 0;
    fc_unlock();
    fc_own_end();
    return count;
}
