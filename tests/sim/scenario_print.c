/* SPDX-License-Identifier: Apache-2.0 */
/* A scenario as C, to be pasted into a list of them. */
#include <inttypes.h>

#include "sim/scenario.h"

static const char *const works[WORKS] = { "SOURCE",  "CONTEXT", "MEMORY", "OPEN", "READ", "CHECK", "PREFIX",
                                          "PREPARE", "START",   "STOP",   "FREE", "KEEP", "DROP",  "CHANGED" };

static const char *tier_name(uint32_t tier)
{
    return tier == SGI_TIER_DISK     ? "SGI_TIER_DISK"
           : tier == SGI_TIER_DRAM   ? "SGI_TIER_DRAM"
           : tier == SGI_TIER_DEVICE ? "SGI_TIER_DEVICE"
                                     : "SGI_EVICT_ALL";
}

static void print_number(const char *name, int64_t value, FILE *out)
{
    if (value != 0)
        fprintf(out, ", .%s = %" PRId64, name, value);
}

static void print_idle(uint32_t ms, FILE *out)
{
    if (ms == NOW || ms == NEVER)
        fprintf(out, ", .idle_ms = %s", ms == NOW ? "NOW" : "NEVER");
    else
        print_number("idle_ms", ms, out);
}

static void print_ask(const char *word, const struct step *s, FILE *out)
{
    fprintf(out, "%s(%" PRId32 ", %d", word, s->want, s->model);
    if (s->tier)
        fprintf(out, ", .tier = %s", tier_name(s->tier));
    print_number("priority", s->priority, out);
    print_number("hint", s->hint, out);
    print_number("deadline_ms", s->deadline_ms, out);
    print_number("lease_ms", s->lease_ms, out);
    print_idle(s->idle_ms, out);
    if (s->early)
        fputs(", .early = true", out);
    fputs(")", out);
}

static void print_expected(const struct step *s, FILE *out)
{
    static const char *const words[] = { "ENDED",     "WAITS", "ON",    "CAME_FROM", "RETRY",   "STATE",
                                         "IN",        "BEGUN", "LOADS", "FAILURES",  "OUTLOOK", "LEFT",
                                         "INSTANCES", "GONE",  "EMPTY", "CALL",      "SAID" };

    fprintf(out, "EXPECT_(%s", words[s->what]);
    print_number("want", s->want, out);
    print_number("model", s->model, out);
    print_number("device", s->device, out);
    print_number("at", s->at, out);
    print_number("value", s->value, out);
    fputs(")", out);
}

void scenario_print_step(const struct step *s, FILE *out)
{
    switch ((enum step_kind)s->kind) {
    case STEP_ACQUIRE:
        print_ask("ACQUIRE", s, out);
        break;
    case STEP_TRY:
        print_ask("TRY", s, out);
        break;
    case STEP_PREFETCH:
        print_ask("PREFETCH", s, out);
        break;
    case STEP_CANCEL:
        fprintf(out, "CANCEL(%" PRId32 ")", s->want);
        break;
    case STEP_RELEASE:
        fprintf(out, "RELEASE(%" PRId32 ")", s->want);
        break;
    case STEP_EVICT:
        fprintf(out, "EVICT(%d, %s)", s->model, tier_name(s->tier));
        break;
    case STEP_TRIM:
        fprintf(out, "TRIM(%" PRIu32 ")", s->units);
        break;
    case STEP_EVICT_OTHERS:
        fprintf(out, "EVICT_OTHERS(%s)", tier_name(s->tier));
        break;
    case STEP_PIN:
        fprintf(out, "PIN(%d, %s)", s->model, tier_name(s->tier));
        break;
    case STEP_CALL:
        fprintf(out, "CALL(%" PRId32 ")", s->want);
        break;
    case STEP_CALL_CANCEL:
        fprintf(out, "CALL_CANCEL(%" PRId32 ")", s->want);
        break;
    case STEP_CALL_BACK:
        fprintf(out, "CALL_BACK(%" PRId32 ")", s->want);
        break;
    case STEP_CALL_END:
        fprintf(out, "CALL_END(%" PRId32 ")", s->want);
        break;
    case STEP_GROW:
        fprintf(out, "GROW(%d, %" PRIu32 ")", s->model, s->units);
        break;
    case STEP_UNREGISTER:
        fprintf(out, "UNREGISTER(%d)", s->model);
        break;
    case STEP_DRAIN:
        fputs("DRAIN()", out);
        break;
    case STEP_ADVANCE:
        fprintf(out, "ADVANCE(%" PRIu32 ")", s->ms);
        break;
    case STEP_HOLD:
    case STEP_LET_GO:
    case STEP_FAIL:
    case STEP_MEND:
        fprintf(out, "%s(%s, %d)",
                s->kind == STEP_HOLD     ? "HOLD"
                : s->kind == STEP_LET_GO ? "LET_GO"
                : s->kind == STEP_FAIL   ? "FAIL"
                                         : "MEND",
                works[s->what], s->model);
        break;
    case STEP_LOSE_DEVICE:
    case STEP_DEVICE_BACK:
        fprintf(out, "%s(%d)", s->kind == STEP_LOSE_DEVICE ? "LOSE_DEVICE" : "DEVICE_BACK", s->device);
        break;
    case STEP_PLACE_DIES:
        fputs("PLACE_DIES()", out);
        break;
    case STEP_PLACE_UP:
        fputs("PLACE_UP()", out);
        break;
    case STEP_EXPECT:
        print_expected(s, out);
        break;
    case STEP_END:
    case STEP_KINDS:
        break;
    }
}

static void print_model(const struct scenario_model *m, FILE *out)
{
    fprintf(out, "        { .units = %" PRIu32, m->units);
    print_number("engine_units", m->engine_units, out);
    print_idle(m->idle_ms, out);
    print_number("hang_ms", m->hang_ms, out);
    print_number("leases_max", m->leases_max, out);
    print_number("instances", m->instances, out);
    fprintf(out, "%s%s%s%s },\n", m->engine ? ", .engine = true" : "", m->prepare ? ", .prepare = true" : "",
            m->prefix ? ", .prefix = true" : "", m->packed ? ", .packed = true" : "");
}

void scenario_print(const struct scenario *s, FILE *out)
{
    fprintf(out, "{ .name = \"%s\"", s->name);
    fprintf(out, ",\n  .devices = { %" PRIu32 ", %" PRIu32 " }", s->devices[0], s->devices[1]);
    print_number("dram", s->dram, out);
    print_number("requests_max", s->requests_max, out);
    print_number("loads_max", s->loads_max, out);
    print_number("linger_ms", s->linger_ms, out);
    print_number("starve_ms", s->starve_ms, out);
    print_number("backoff_ms", s->backoff_ms, out);
    print_number("backoff_max_ms", s->backoff_max_ms, out);
    fputs(",\n  .models = {\n", out);
    for (uint32_t m = 0; m < scenario_models(s); m++)
        print_model(&s->models[m], out);
    fputs("  },\n  .steps = {\n", out);
    for (uint32_t n = 0; n < STEPS_MAX && s->steps[n].kind != STEP_END; n++) {
        fputs("        ", out);
        scenario_print_step(&s->steps[n], out);
        fputs(",\n", out);
    }
    fputs("  } },\n", out);
}
