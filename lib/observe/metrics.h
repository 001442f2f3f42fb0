/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters and histograms: plain numbers, guarded by the caller, changed where something happens. Reading takes a copy
 * (a snapshot, with what stands in no counter beside it), and walks that without any lock.
 */
#ifndef SGI_OBSERVE_METRICS_H
#define SGI_OBSERVE_METRICS_H

#include <stdbool.h>

#include "observe/events.h"

/* How an acquire ended. The first four are granted leases, by where the bytes were. */
enum sgi__result {
    SGI__RESULT_HIT, /* loaded already */
    SGI__RESULT_JOIN,
    SGI__RESULT_DRAM,
    SGI__RESULT_DISK,
    SGI__RESULT_TIMEOUT,
    SGI__RESULT_CANCELED,
    SGI__RESULT_BUSY,
    SGI__RESULT_FAILED,
    SGI__RESULT_COUNT,
    SGI__GRANTS = SGI__RESULT_TIMEOUT
};

enum { SGI__CALL_OK, SGI__CALL_CANCELED, SGI__CALL_FAILED, SGI__CALL_RESULTS };

enum { SGI__BUCKETS = 16, SGI__METRICS_DEVICES = 16, SGI__METRICS_STATES = SGI_MODEL_WEDGED + 1 };

/* Upper bounds are the same for all of a unit: see metrics.c. The last bucket has none. */
struct sgi__histogram {
    uint64_t count, sum_ns;
    uint64_t buckets[SGI__BUCKETS + 1]; /* not cumulative */
};

struct sgi__model_counts {
    uint64_t acquires[SGI__RESULT_COUNT];
};

struct sgi__metrics {
    struct sgi__model_counts removed; /* of models that are unregistered */
    uint64_t                 prefetches[SGI__RESULT_COUNT];
    struct sgi__histogram    wait[SGI__GRANTS];          /* request to grant, of those that were not granted at once */
    struct sgi__histogram    queue_wait;                 /* first request to admission, of starts */
    struct sgi__histogram    cold_start;                 /* request to grant, of those who began one */
    struct sgi__histogram    cold_steps[SGI_STEP_COUNT]; /* of these; steps overlap */
    struct sgi__histogram    load[2];                    /* by tier: memory reserved to all bytes there */
    uint64_t                 load_bytes[2], reread_bytes;
    uint64_t                 failures[SGI_STEP_COUNT];
    struct sgi__histogram    unload;
    uint64_t                 residue_bytes;
    uint64_t                 scrub_bytes, scrub_ns;
    uint64_t                 evictions[SGI__CAUSE_COUNT]; /* from a device */
    uint64_t                 drops[SGI__CAUSE_COUNT];     /* from host memory */
    struct sgi__histogram    age;                         /* of evictions: since the last use */
    uint64_t                 wedged, calls[SGI__CALL_RESULTS];
    uint64_t                 events_dropped;
};

/* Saturates: an end before its start counts as no time at all. */
void sgi__histogram_add(struct sgi__histogram *h, uint64_t ns);
void sgi__age_add(struct sgi__histogram *h, uint64_t ns); /* with bounds for ages */

enum sgi__result sgi__result_of(sgi_status status); /* of one that was not granted */

/* ---- reading ---- */

struct sgi__metrics_device {
    char     name[32];
    uint64_t bytes_max, bytes_used, bytes_engine, bytes_foreign, bytes_residue;
    uint64_t zero_ns; /* in which nothing of ours was on it, so far */
    uint32_t instances;
    bool     context_open, lost;
};

struct sgi__metrics_model {
    char                     name[256]; /* "": all the others */
    struct sgi__model_counts counts;
    uint64_t                 device_bytes, dram_bytes;
};

/* A metrics row for each model with series of its own, and one for the others. */
enum { SGI__METRICS_ROWS = SGI_METRICS_MODELS_MAX + 1 };

struct sgi__metrics_snapshot {
    struct sgi__metrics        counts;
    struct sgi__metrics_device devices[SGI__METRICS_DEVICES];
    uint32_t                   devices_count;
    uint32_t                   states[SGI__METRICS_STATES]; /* models */
    uint32_t                   waiting, leases, loads, calls, threads, readers;
    uint64_t                   overdue; /* leases, ever */
    uint64_t                   dram_max, dram_models, dram_shared, spare, prepared;
    uint32_t                   rows_count;
    struct sgi__metrics_model  rows[SGI__METRICS_ROWS]; /* the last is that of the others */
};

/* Both: SGI_E_CANCELED when what they call stops them. */
sgi_status sgi__metrics_each(const struct sgi__metrics_snapshot *s, sgi_sample_fn each, void *user);
sgi_status sgi__metrics_text(const struct sgi__metrics_snapshot *s, sgi_write_fn write, void *user);

/* One sample with its exact value, for the two above. */
struct sgi__sample {
    sgi_sample base; /* but for `value` */
    uint64_t   number;
    bool       is_ns; /* `number` are nanoseconds, the sample is seconds */
};
typedef int (*sgi__sample_fn)(void *user, const struct sgi__sample *sample);
sgi_status sgi__metrics_walk(const struct sgi__metrics_snapshot *s, sgi__sample_fn each, void *user);

#endif
