/* SPDX-License-Identifier: Apache-2.0 */
/* What happened, kept short: the last records for whoever has to find out, and a hash of all actions and replies. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "sim/sim_state.h"

static const char *const action_names[SIM_ACTS] = {
    "CHECK_SOURCE", "OPEN_CONTEXT",  "CLOSE_CONTEXT", "RESERVE",     "START_LOAD",   "FILL_PREFIX",
    "CANCEL_LOAD",  "LOAD_PRIORITY", "PREPARE",       "DISCARD",     "START_ENGINE", "STOP_ENGINE",
    "FREE",         "KEEP",          "DROP",          "SPARE_LIMIT", "LOOK",
};
static const char *const event_names[] = {
    "SOURCE_CHECKED", "CONTEXT_OPENED", "CONTEXT_CLOSED", "CONTEXT_LOST",   "CONTEXT_BACK", "RESERVED",
    "LOADED",         "PREFIX_FILLED",  "ENGINE_STARTED", "ENGINE_STOPPED", "PREPARED",     "DISCARDED",
    "FREED",          "KEPT",           "DROPPED",        "FOREIGN",        "PLACE_DIED",   "PLACE_UP",
};
static const char *const reply_names[] = { "GRANT", "REJECT", "OVERDUE", "WEDGED", "DRAINED", "CLOSED", "NOTE" };

/* Short names for 64-bit ids: their serial and slot. */
static void print_id(FILE *out, const char *what, uint64_t id)
{
    if (id)
        fprintf(out, " %s=%" PRIu64 ".%u", what, id >> 21 & ((UINT64_C(1) << 41) - 1), sgi__core_slot(id));
}

static void print_record(FILE *out, const struct record *r)
{
    fprintf(out, "%7" PRIu64 " %13.6f ms  ", r->event, (double)r->at / 1e6);
    switch (r->type) {
    case 'a':
        fprintf(out, "    -> %s", action_names[r->kind]);
        break;
    case 'r':
        fprintf(out, "    => %s", reply_names[r->kind]);
        break;
    case 'e':
        fprintf(out, "%s", event_names[r->kind]);
        break;
    case 't':
        fprintf(out, "tick");
        break;
    default:
        fprintf(out, "user %c", r->kind);
        break;
    }
    print_id(out, r->type == 'r' ? "ticket" : "model", r->a);
    print_id(out, r->type == 'r' ? "lease" : r->type == 'u' ? "id" : "instance", r->b);
    if (r->device != INT32_MIN)
        fprintf(out, " device=%" PRId32, r->device);
    if (r->c)
        fprintf(out, " %s=%" PRIu64, r->type == 'a' || r->type == 'e' ? "op" : "n", r->c);
    if (r->status)
        fprintf(out, " status=%" PRId32, r->status);
    fputc('\n', out);
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash ^= value + UINT64_C(0x9e3779b97f4a7c15) + (hash << 6) + (hash >> 2);
    return hash * UINT64_C(0xff51afd7ed558ccd);
}

void sim__log(struct sim *s, char type, uint8_t kind, int32_t device, sgi_status status, uint64_t a, uint64_t b,
              uint64_t c)
{
    struct record *r = &s->log[s->log_count++ % SIM_LOG];
    *r = (struct record){ s->now, s->event, type, kind, device, status, a, b, c };
    if (s->config.verbose)
        print_record(stderr, r);
    if (type != 'a' && type != 'r')
        return;
    uint64_t hash = mix(s->score.hash, s->now);
    hash = mix(hash, (uint64_t)kind << 32 | (uint32_t)status);
    hash = mix(hash, a);
    s->score.hash = mix(mix(hash, b), c ^ (uint64_t)(uint32_t)device);
}

/* What is there when a rule breaks: models in use, what waits for them, what they hold. */
static void print_state(FILE *out, const struct sim *s)
{
    static const char facts[] = { [NOT] = '-', [UNDER_WAY] = '~', [DONE] = '+', [FAILED] = '!' };

    for (uint32_t d = 0; d < s->devices_count; d++)
        fprintf(out, "  device %u: %" PRIu64 " of %" PRIu64 " MiB, foreign %" PRIu64 "%s\n", d,
                s->devices[d].used >> 20, s->devices[d].bytes_max >> 20, s->devices[d].foreign >> 20,
                s->devices[d].lost ? ", lost" : "");
    fprintf(out, "  starve %" PRIu64 " ms, loads %u at most, wants %u at most, ticks %s\n", s->config.starve_ms,
            s->config.loads_max, s->config.wants_max, s->habits.tick_late ? "late" : "in time");
    fprintf(out, "  dram: %" PRIu64 " of %" PRIu64 " MiB%s\n", s->dram_used >> 20, s->dram_max >> 20,
            s->up ? "" : "; the place is gone");
    for (uint32_t n = 0; n < s->models.size; n++) {
        const struct world_model *m = s->models.at[n];
        if (!m || !m->id || !(m->wants || m->leases || m->instances || m->dram_bytes))
            continue;
        fprintf(out, "  model %u: %" PRIu64 "+%" PRIu64 " MiB, wants %u, leases %u, checked %c, prepare %c%s%s%s", n,
                m->config.image_bytes >> 20, m->engine_bytes >> 20, m->wants, m->leases, facts[m->checked],
                facts[m->prepare],
                m->dram_bytes ? m->dropping  ? ", dropping"
                                : m->filling ? ", filling"
                                             : ", in DRAM"
                              : "",
                m->pinned_tier ? ", pinned" : "", m->draining ? ", draining" : "");
        if (m->config.instances_max > 1)
            fprintf(out, ", %u instances at most", m->config.instances_max);
        for (const struct world_instance *i = m->instances; i; i = i->next)
            fprintf(out,
                    "\n    on %d: reserve %c load %c prefix %c engine %c stop %c end %c, leases %u, calls %u, idle for "
                    "%.3f ms%s%s%s%s%s",
                    i->device, facts[i->reserve], facts[i->load], facts[i->prefix], facts[i->engine], facts[i->stop],
                    facts[i->end], i->leases, i->calls,
                    i->rest_known ? ((double)i->idle_until - (double)s->now) / 1e6 : -1, i->failed ? ", failed" : "",
                    i->lost ? ", lost" : "", i->hung ? ", hung" : "", i->canceled ? ", canceled" : "",
                    i->leaving ? ", leaving" : "");
        fputc('\n', out);
    }
    for (uint32_t n = 0; n < s->wants.size; n++) {
        const struct world_want *w = s->wants.at[n];
        if (w && w->id)
            fprintf(out, "  want %u: model %u, waits for %.3f ms, priority %d, hint %d%s%s%s\n", n,
                    sgi__core_slot(w->model->id), (double)(s->now - w->since) / 1e6, w->spec.priority,
                    w->spec.device_hint, w->spec.prefetch ? ", prefetch" : "",
                    w->spec.tier == SGI_TIER_DRAM ? " to DRAM" : "", w->spec.early ? ", early" : "");
    }
}

_Noreturn void sim__broken(const struct sim *s, const char *rule, ...)
{
    if (!s->config.quiet) {
        va_list  args;
        uint64_t first = s->log_count > 30 ? s->log_count - 30 : 0;
        for (uint64_t n = first; n < s->log_count; n++)
            print_record(stderr, &s->log[n % SIM_LOG]);
        print_state(stderr, s);
        fprintf(stderr, "sim: seed %" PRIu64 ", event %" PRIu64 ", %.6f ms: RULE BROKEN: ", s->config.seed, s->event,
                (double)s->now / 1e6);
        va_start(args, rule);
        vfprintf(stderr, rule, args);
        va_end(args);
        fputc('\n', stderr);
    }
    abort();
}
