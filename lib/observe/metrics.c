/* SPDX-License-Identifier: Apache-2.0 */
/* What is counted, and the walk over a snapshot of it: every family, in the order it is written. Names and labels are
 * an interface: keep them. */
#include "observe/metrics.h"

#include <stdio.h>
#include <string.h>

#define MS UINT64_C(1000000)
#define S  (1000 * MS)

struct bound {
    uint64_t    ns;
    const char *text; /* in seconds */
};

/* From a mapping out of DRAM to a large model from a slow disk. */
static const struct bound durations[SGI__BUCKETS] = {
    { MS / 10, "0.0001" }, { MS, "0.001" },     { 3 * MS, "0.003" }, { 10 * MS, "0.01" },
    { 30 * MS, "0.03" },   { 60 * MS, "0.06" }, { 100 * MS, "0.1" }, { 200 * MS, "0.2" },
    { 500 * MS, "0.5" },   { S, "1" },          { 2 * S, "2" },      { 5 * S, "5" },
    { 10 * S, "10" },      { 30 * S, "30" },    { 60 * S, "60" },    { 300 * S, "300" },
};
static const struct bound ages[SGI__BUCKETS] = {
    { S / 10, "0.1" },      { S, "1" },
    { 2 * S, "2" },         { 5 * S, "5" },
    { 10 * S, "10" },       { 30 * S, "30" },
    { 60 * S, "60" },       { 120 * S, "120" },
    { 300 * S, "300" },     { 600 * S, "600" },
    { 1800 * S, "1800" },   { 3600 * S, "3600" },
    { 7200 * S, "7200" },   { 21600 * S, "21600" },
    { 86400 * S, "86400" }, { 604800 * S, "604800" },
};

static void add(struct sgi__histogram *h, const struct bound *bounds, uint64_t ns)
{
    uint32_t n = 0;

    while (n < SGI__BUCKETS && ns > bounds[n].ns)
        n++;
    h->buckets[n]++;
    h->count++;
    h->sum_ns += ns;
}

void sgi__histogram_add(struct sgi__histogram *h, uint64_t ns)
{
    add(h, durations, ns);
}

void sgi__age_add(struct sgi__histogram *h, uint64_t ns)
{
    add(h, ages, ns);
}

enum sgi__result sgi__result_of(sgi_status status)
{
    switch (status) {
    case SGI_E_TIMEOUT:
        return SGI__RESULT_TIMEOUT;
    case SGI_E_CANCELED:
        return SGI__RESULT_CANCELED;
    case SGI_E_BUSY:
        return SGI__RESULT_BUSY;
    default:
        return SGI__RESULT_FAILED;
    }
}

/* ---- the walk ---- */

struct walk {
    sgi__sample_fn     each;
    void              *user;
    bool               stopped;
    struct sgi__sample sample;
    char               name[64];
};

static void family(struct walk *w, uint32_t type, const char *name, const char *help)
{
    w->sample = (struct sgi__sample){
        .base = { .struct_size = sizeof w->sample.base, .type = type, .family = name, .help = help, .name = name }
    };
}

/* Labels of the samples that follow: pairs, as many as the family has. */
static void label(struct walk *w, uint32_t n, const char *name, const char *value)
{
    w->sample.base.label_names[n] = name;
    w->sample.base.label_values[n] = value;
    w->sample.base.labels_count = n + 1;
}

static void put(struct walk *w, uint64_t number)
{
    w->sample.number = number;
    if (!w->stopped)
        w->stopped = w->each(w->user, &w->sample) != 0;
}

static void single(struct walk *w, uint32_t type, const char *name, const char *help, uint64_t number)
{
    family(w, type, name, help);
    put(w, number);
}

/* With the labels that are set already; `le` comes behind them. */
static void histogram(struct walk *w, const struct sgi__histogram *h, const struct bound *bounds)
{
    uint32_t    labels = w->sample.base.labels_count;
    const char *family_name = w->sample.base.family;
    uint64_t    sum = 0;

    w->sample.base.name = w->name;
    snprintf(w->name, sizeof w->name, "%s_bucket", family_name);
    for (uint32_t n = 0; n <= SGI__BUCKETS; n++) {
        sum += h->buckets[n];
        label(w, labels, "le", n < SGI__BUCKETS ? bounds[n].text : "+Inf");
        put(w, sum);
    }
    w->sample.base.labels_count = labels;
    snprintf(w->name, sizeof w->name, "%s_sum", family_name);
    w->sample.is_ns = true;
    put(w, h->sum_ns);
    w->sample.is_ns = false;
    snprintf(w->name, sizeof w->name, "%s_count", family_name);
    put(w, h->count);
    w->sample.base.name = family_name;
}

static const char *const result_names[SGI__RESULT_COUNT] = {
    [SGI__RESULT_HIT] = "ok",    [SGI__RESULT_JOIN] = "ok",         [SGI__RESULT_DRAM] = "ok",
    [SGI__RESULT_DISK] = "ok",   [SGI__RESULT_TIMEOUT] = "timeout", [SGI__RESULT_CANCELED] = "canceled",
    [SGI__RESULT_BUSY] = "busy", [SGI__RESULT_FAILED] = "failed",
};
static const char *const path_names[SGI__RESULT_COUNT] = {
    [SGI__RESULT_HIT] = "hit",   [SGI__RESULT_JOIN] = "join",    [SGI__RESULT_DRAM] = "ram",
    [SGI__RESULT_DISK] = "disk", [SGI__RESULT_TIMEOUT] = "none", [SGI__RESULT_CANCELED] = "none",
    [SGI__RESULT_BUSY] = "none", [SGI__RESULT_FAILED] = "none",
};
static const char *const tier_names[] = { "disk", "dram", "device" };

static void requests(struct walk *w, const struct sgi__metrics_snapshot *s)
{
    family(
        w, SGI_SAMPLE_COUNTER, "sgi_acquire_total",
        "Acquires that ended, by model, result, and where the bytes were: hit (loaded), join (of a load that somebody "
        "else began), ram, disk.");
    for (uint32_t n = 0; n < s->rows_count; n++)
        for (uint32_t r = 0; r < SGI__RESULT_COUNT; r++) {
            label(w, 0, "model", s->rows[n].name);
            label(w, 1, "result", result_names[r]);
            label(w, 2, "path", path_names[r]);
            put(w, s->rows[n].counts.acquires[r]);
        }
    family(w, SGI_SAMPLE_COUNTER, "sgi_prefetch_total", "Prefetches that ended, by result and where the bytes were.");
    for (uint32_t r = 0; r < SGI__RESULT_COUNT; r++) {
        label(w, 0, "result", result_names[r]);
        label(w, 1, "path", path_names[r]);
        put(w, s->counts.prefetches[r]);
    }
    family(w, SGI_SAMPLE_HISTOGRAM, "sgi_acquire_wait_seconds",
           "From an acquire to its lease, for those that had to wait.");
    for (uint32_t r = 0; r < SGI__GRANTS; r++) {
        label(w, 0, "path", path_names[r]);
        histogram(w, &s->counts.wait[r], durations);
    }
    single(w, SGI_SAMPLE_GAUGE, "sgi_queue_depth", "Acquires and prefetches waiting.", s->waiting);
    family(w, SGI_SAMPLE_HISTOGRAM, "sgi_queue_wait_seconds",
           "From the first request for a model that is not loaded to the room set aside for it.");
    histogram(w, &s->counts.queue_wait, durations);
    single(w, SGI_SAMPLE_GAUGE, "sgi_leases", "Leases held.", s->leases);
    single(w, SGI_SAMPLE_COUNTER, "sgi_leases_overdue_total", "Leases that outlived their lease_ms.", s->overdue);
    single(w, SGI_SAMPLE_GAUGE, "sgi_calls", "Calls open.", s->calls);
    static const char *const call_results[SGI__CALL_RESULTS] = { "ok", "canceled", "failed" };
    family(w, SGI_SAMPLE_COUNTER, "sgi_calls_total", "Calls that ended, by result.");
    for (uint32_t r = 0; r < SGI__CALL_RESULTS; r++) {
        label(w, 0, "result", call_results[r]);
        put(w, s->counts.calls[r]);
    }
}

static void starts(struct walk *w, const struct sgi__metrics_snapshot *s)
{
    family(w, SGI_SAMPLE_HISTOGRAM, "sgi_cold_start_seconds",
           "Cold starts from request to grant (phase total), and their steps, which overlap.");
    label(w, 0, "phase", "total");
    histogram(w, &s->counts.cold_start, durations);
    for (uint32_t step = SGI_STEP_QUEUE; step < SGI_STEP_CALL; step++) {
        label(w, 0, "phase", sgi_step_name(step));
        histogram(w, &s->counts.cold_steps[step], durations);
    }
    family(w, SGI_SAMPLE_HISTOGRAM, "sgi_load_seconds",
           "From memory reserved to all bytes there, by the tier they were in.");
    for (uint32_t tier = 0; tier < 2; tier++) {
        label(w, 0, "tier", tier_names[tier]);
        histogram(w, &s->counts.load[tier], durations);
    }
    family(w, SGI_SAMPLE_COUNTER, "sgi_load_bytes_total", "Bytes loaded, by the tier they were in.");
    for (uint32_t tier = 0; tier < 2; tier++) {
        label(w, 0, "tier", tier_names[tier]);
        put(w, s->counts.load_bytes[tier]);
    }
    single(w, SGI_SAMPLE_COUNTER, "sgi_load_reread_bytes_total", "Bytes read again because their check failed.",
           s->counts.reread_bytes);
    family(w, SGI_SAMPLE_COUNTER, "sgi_load_failures_total", "Starts that failed, by step.");
    for (uint32_t step = SGI_STEP_QUEUE; step < SGI_STEP_COUNT; step++) {
        label(w, 0, "step", sgi_step_name(step));
        put(w, s->counts.failures[step]);
    }
    single(w, SGI_SAMPLE_GAUGE, "sgi_loads_running", "Loads from disk running.", s->loads);
    single(w, SGI_SAMPLE_COUNTER, "sgi_wedged_total", "Times that an engine callback did not come back.",
           s->counts.wedged);
}

static void ends(struct walk *w, const struct sgi__metrics_snapshot *s)
{
    family(w, SGI_SAMPLE_COUNTER, "sgi_evictions_total",
           "Models that left a tier, by reason. From the device: those that were up.");
    for (uint32_t dram = 0; dram < 2; dram++)
        for (uint32_t cause = SGI_CAUSE_IDLE; cause < SGI__CAUSE_COUNT; cause++) {
            label(w, 0, "tier", tier_names[dram ? SGI_TIER_DRAM : SGI_TIER_DEVICE]);
            label(w, 1, "reason", sgi_cause_name(cause));
            put(w, dram ? s->counts.drops[cause] : s->counts.evictions[cause]);
        }
    family(w, SGI_SAMPLE_HISTOGRAM, "sgi_age_at_eviction_seconds", "Since the last use, of models that left a device.");
    histogram(w, &s->counts.age, ages);
    family(w, SGI_SAMPLE_HISTOGRAM, "sgi_unload_seconds",
           "From the decision to leave a device to all memory given back.");
    histogram(w, &s->counts.unload, durations);
    single(w, SGI_SAMPLE_GAUGE, "sgi_unload_residual_bytes",
           "Bytes that models which have left could not give back, over all of them.", s->counts.residue_bytes);
    single(w, SGI_SAMPLE_COUNTER, "sgi_scrub_bytes_total", "Device memory zeroed before it was given back.",
           s->counts.scrub_bytes);
    w->sample.is_ns = true;
    single(w, SGI_SAMPLE_COUNTER, "sgi_scrub_seconds_total", "Time that took.", s->counts.scrub_ns);
    w->sample.is_ns = false;
}

static void holdings(struct walk *w, const struct sgi__metrics_snapshot *s)
{
    static const char *const states[SGI__METRICS_STATES] = {
        [SGI_MODEL_COLD] = "cold",     [SGI_MODEL_QUEUED] = "queued", [SGI_MODEL_LOADING] = "loading",
        [SGI_MODEL_READY] = "ready",   [SGI_MODEL_BUSY] = "busy",     [SGI_MODEL_STOPPING] = "stopping",
        [SGI_MODEL_FAILED] = "failed", [SGI_MODEL_WEDGED] = "wedged",
    };
    family(w, SGI_SAMPLE_GAUGE, "sgi_models", "Models registered, by state.");
    for (uint32_t n = 0; n < SGI__METRICS_STATES; n++) {
        label(w, 0, "state", states[n]);
        put(w, s->states[n]);
    }
    family(w, SGI_SAMPLE_GAUGE, "sgi_resident_bytes", "Bytes a model takes, by tier.");
    for (uint32_t n = 0; n < s->rows_count; n++)
        for (uint32_t tier = SGI_TIER_DRAM; tier <= SGI_TIER_DEVICE; tier++) {
            label(w, 0, "model", s->rows[n].name);
            label(w, 1, "tier", tier_names[tier]);
            put(w, tier == SGI_TIER_DRAM ? s->rows[n].dram_bytes : s->rows[n].device_bytes);
        }
    single(w, SGI_SAMPLE_GAUGE, "sgi_dram_limit_bytes", "The budget for models kept in host memory, and spare memory.",
           s->dram_max);
    single(w, SGI_SAMPLE_GAUGE, "sgi_dram_bytes", "Models kept in host memory.", s->dram_models);
    single(w, SGI_SAMPLE_GAUGE, "sgi_dram_shared_bytes",
           "Saved in host memory: what models kept packed there have in common is there once.", s->dram_shared);
    single(w, SGI_SAMPLE_GAUGE, "sgi_spare_bytes", "Freed image memory kept for the next load.", s->spare);
    single(w, SGI_SAMPLE_GAUGE, "sgi_prepared_bytes", "Host memory that engines' prepare has reported.", s->prepared);
    single(w, SGI_SAMPLE_GAUGE, "sgi_threads", "Threads of the library.", s->threads);
    single(w, SGI_SAMPLE_GAUGE, "sgi_event_readers", "Readers of events that are open.", s->readers);
    single(w, SGI_SAMPLE_COUNTER, "sgi_events_dropped_total", "Events that a reader was too slow for.",
           s->counts.events_dropped);
}

static void each_device(struct walk *w, const struct sgi__metrics_snapshot *s, const char *name, const char *help,
                        uint64_t (*value)(const struct sgi__metrics_device *))
{
    family(w, SGI_SAMPLE_GAUGE, name, help);
    for (uint32_t n = 0; n < s->devices_count; n++) {
        label(w, 0, "device", s->devices[n].name);
        put(w, value(&s->devices[n]));
    }
}

static uint64_t context_of(const struct sgi__metrics_device *d)
{
    return d->context_open;
}

static uint64_t lost_of(const struct sgi__metrics_device *d)
{
    return d->lost;
}

static uint64_t instances_of(const struct sgi__metrics_device *d)
{
    return d->instances;
}

static void devices(struct walk *w, const struct sgi__metrics_snapshot *s)
{
    static const char *const kinds[] = { "total", "used", "engine", "foreign", "residue" };
    enum { KINDS = sizeof kinds / sizeof *kinds };

    family(w, SGI_SAMPLE_GAUGE, "sgi_device_bytes",
           "Device memory: total for models, used by them (engine: of that, for their engines), foreign, and what the "
           "driver still has for this process (residue) when no context of ours is open.");
    for (uint32_t n = 0; n < s->devices_count; n++) {
        const struct sgi__metrics_device *d = &s->devices[n];
        const uint64_t values[KINDS] = { d->bytes_max, d->bytes_used, d->bytes_engine, d->bytes_foreign,
                                         d->bytes_residue };
        for (uint32_t kind = 0; kind < KINDS; kind++) {
            label(w, 0, "device", d->name);
            label(w, 1, "kind", kinds[kind]);
            put(w, values[kind]);
        }
    }
    each_device(w, s, "sgi_device_contexts", "Contexts of ours that are open.", context_of);
    each_device(w, s, "sgi_device_instances", "Models on the device, on their way there, or on their way out.",
                instances_of);
    family(w, SGI_SAMPLE_COUNTER, "sgi_idle_zero_seconds_total",
           "Time in which nothing of ours was on the device: no model, none on its way, no context.");
    w->sample.is_ns = true;
    for (uint32_t n = 0; n < s->devices_count; n++) {
        label(w, 0, "device", s->devices[n].name);
        put(w, s->devices[n].zero_ns);
    }
    w->sample.is_ns = false;
    each_device(w, s, "sgi_device_lost", "1: the device is gone for this process.", lost_of);
}

sgi_status sgi__metrics_walk(const struct sgi__metrics_snapshot *s, sgi__sample_fn each, void *user)
{
    struct walk w = { .each = each, .user = user };

    requests(&w, s);
    starts(&w, s);
    ends(&w, s);
    holdings(&w, s);
    devices(&w, s);
    return w.stopped ? SGI_E_CANCELED : SGI_OK;
}

/* ---- for hosts ---- */

struct to_host {
    sgi_sample_fn each;
    void         *user;
};

static int hand_over(void *user, const struct sgi__sample *sample)
{
    const struct to_host *to = user;
    sgi_sample            shown = sample->base;

    shown.value = sample->is_ns ? (double)sample->number / 1e9 : (double)sample->number;
    return to->each(to->user, &shown);
}

sgi_status sgi__metrics_each(const struct sgi__metrics_snapshot *s, sgi_sample_fn each, void *user)
{
    return sgi__metrics_walk(s, hand_over, &(struct to_host){ each, user });
}
