/* SPDX-License-Identifier: Apache-2.0 */
/* A copy of all that the metrics say. The mutex is held for a few models at a time, however many there are. */
#include <assert.h>
#include <string.h>

#include "base/alloc.h"
#include "runtime/runtime.h"

static_assert((int)SGI__METRICS_DEVICES == (int)SGI__DEVICES_MAX, "a row for each device");

enum { MODELS_AT_ONCE = 128, TRIES = 3 };

static void add_counts(struct sgi__model_counts *to, const struct sgi__model_counts *more)
{
    for (uint32_t n = 0; n < SGI__RESULT_COUNT; n++)
        to->acquires[n] += more->acquires[n];
}

static void add_model(const sgi_runtime *rt, const struct record *r, uint64_t now, struct sgi__metrics_snapshot *s)
{
    struct sgi__core_model_view v;
    struct sgi__metrics_model  *row = &s->rows[SGI__METRICS_ROWS - 1];

    if (sgi__core_model_view(rt->core, r->id, &v) != SGI_OK)
        return;
    if (r->has_series && s->rows_count < SGI_METRICS_MODELS_MAX) {
        row = &s->rows[s->rows_count++];
        memcpy(row->name, r->name, strnlen(r->name, sizeof row->name - 1));
    }
    add_counts(&row->counts, &r->counts);
    row->counts.acquires[SGI__RESULT_HIT] += v.hits;
    row->device_bytes += v.device_bytes;
    row->dram_bytes += v.dram_bytes;
    s->states[v.state == SGI_MODEL_COLD && v.failed_until > now ? SGI_MODEL_FAILED : v.state]++;
}

static void copy_devices(sgi_runtime *rt, struct sgi__metrics_snapshot *s)
{
    struct sgi__core_device_view v;

    sgi__rt_observe_devices(rt); /* what is zero now is counted up to now */
    s->devices_count = rt->core_config.devices_count;
    for (uint32_t n = 0; n < s->devices_count; n++) {
        sgi__core_device_view(rt->core, n, &v);
        s->devices[n] = (struct sgi__metrics_device){ .bytes_max = v.bytes_max,
                                                      .bytes_used = v.bytes_used,
                                                      .bytes_engine = v.bytes_engine,
                                                      .bytes_foreign = v.bytes_foreign,
                                                      .bytes_residue = v.bytes_residue,
                                                      .zero_ns = rt->zeros[n].ns,
                                                      .instances = v.instances,
                                                      .context_open = v.context_open,
                                                      .lost = v.lost };
        memcpy(s->devices[n].name, rt->devices[n]->name, sizeof s->devices[n].name);
    }
}

static void copy_totals(sgi_runtime *rt, struct sgi__metrics_snapshot *s)
{
    struct sgi__core_totals t;

    sgi__core_totals(rt->core, &t);
    s->counts = rt->metrics;
    s->waiting = t.wants;
    s->leases = t.leases;
    s->loads = t.loads;
    s->calls = rt->calls_count;
    s->overdue = rt->overdue_count;
    s->readers = rt->readers_count;
    s->dram_max = t.dram_bytes_max;
    s->dram_models = t.dram_bytes;
    s->dram_shared = t.shared_bytes;
    s->prepared = t.prepared_bytes;
    copy_devices(rt, s);
}

/* Under the mutex, which it leaves and takes again. false: a model was unregistered meanwhile, so that its counts may
 * be in here twice or not at all. */
static bool copy(sgi_runtime *rt, struct sgi__metrics_snapshot *s, uint32_t at_once)
{
    uint64_t removed = rt->models_removed, now = sgi__rt_now(rt);

    memset(s, 0, sizeof *s);
    for (uint32_t slot = 0; slot < rt->records_capacity; slot++) {
        if (rt->records[slot])
            add_model(rt, rt->records[slot], now, s);
        if (slot % at_once == at_once - 1) {
            pthread_mutex_unlock(&rt->mutex);
            pthread_mutex_lock(&rt->mutex);
        }
    }
    copy_totals(rt, s);
    if (removed != rt->models_removed)
        return false;
    s->rows[s->rows_count] = s->rows[SGI__METRICS_ROWS - 1]; /* the others follow right behind */
    add_counts(&s->rows[s->rows_count++].counts, &s->counts.removed);
    return true;
}

struct sgi__metrics_snapshot *sgi__rt_metrics(sgi_runtime *rt)
{
    struct sgi__metrics_snapshot *s = sgi__alloc(sizeof *s);
    if (!s)
        return NULL;
    pthread_mutex_lock(&rt->mutex);
    rt->inside++; /* the place does not go meanwhile */
    for (uint32_t n = 1; !copy(rt, s, n < TRIES ? MODELS_AT_ONCE : UINT32_MAX); n++) {
    }
    pthread_mutex_unlock(&rt->mutex);
    s->spare = rt->place_ops->spare_bytes(rt->place);
    s->threads = rt->place_ops->threads(rt->place) + sgi__pool_threads(rt->done_pool) + 1;
    pthread_mutex_lock(&rt->mutex);
    sgi__rt_outside(rt);
    pthread_mutex_unlock(&rt->mutex);
    return s;
}
