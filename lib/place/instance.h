/* SPDX-License-Identifier: Apache-2.0 */
/* What the local place keeps for each model and each instance; its files share it. */
#ifndef SGI_PLACE_INSTANCE_H
#define SGI_PLACE_INSTANCE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/pool.h"
#include "place/place.h"

/* Engine memory from sgi_stage_alloc(). */
struct scratch {
    void           *memory;
    uint64_t        bytes;
    struct scratch *next;
};

/* What an engine sees of an instance. */
struct sgi_stage {
    struct sgi__place     *place;
    struct place_instance *instance;
};

/* A call on its way: what the sgi_reply functions need. In its instance's list from begin to the end of the
 * callback. */
struct sgi_reply {
    struct sgi__place *place;
    uint64_t           call;
    atomic_int         canceled;
    struct sgi_reply  *next;
};

/* Made by reserve, ended by free or keep. Between the two the core lets ops on it run beside each other only where they
 * may: load, prefixes and engine start. Fields are set by one op and read by those that the core lets follow it. */
struct place_instance {
    uint64_t               id;
    int32_t                device;
    struct place_model    *model;
    struct sgi__image     *image;
    struct sgi__load      *load;
    bool                   from_dram;
    void                  *engine_instance;
    struct sgi_stage       stage;
    struct place_instance *next; /* in its bucket */

    pthread_mutex_t mutex;
    /* under the mutex: the stage's functions may be called from any thread of the engine */
    struct sgi_reply *replies;
    struct scratch   *scratches;
    uint64_t          scratch_bytes, reported_bytes;
    uint64_t          start_begin_ns, start_ns;
    bool              canceled; /* perhaps before there was a load to cancel */
};

struct place_model {
    struct sgi__place_model spec;
    struct sgi__image      *residence;
    void                   *prepared;
    uint64_t                check_begin_ns, check_ns; /* under the place's mutex, like the next two */
    uint64_t                prepare_begin_ns, prepare_ns;
    struct place_model     *next; /* in its bucket */
};

/* How long a device's context took to open last. */
struct context_time {
    uint64_t begin_ns, ns;
};

enum { BUCKETS = 1024 };

struct sgi__place {
    struct sgi__place_config  config;
    struct sgi__pool         *pool;
    struct sgi__image_memory *memory;
    struct sgi__share         share; /* of the disk, by the loads that run */
    pthread_mutex_t           mutex;
    /* under the mutex */
    struct place_model    *models[BUCKETS];
    struct place_instance *instances[BUCKETS];
    struct context_time   *contexts; /* by device */
};

/* local.c */
struct place_instance *sgi__place_instance(struct sgi__place *p, uint64_t id); /* NULL: there is none */
struct place_instance *sgi__place_instance_locked(struct sgi__place *p, uint64_t id);
bool                   sgi__place_canceled(struct place_instance *i);
/* stage.c */
void sgi__stage_free(struct place_instance *i); /* what sgi_stage_alloc() gave */

/* look.c: the table's functions that only look */
sgi_status sgi__local_tensor(struct sgi__place *p, uint64_t instance, uint64_t index, sgi_view *view_out,
                             sgi_error *err);
sgi_status sgi__local_tensor_wait(struct sgi__place *p, uint64_t instance, uint64_t index, uint64_t deadline_ns,
                                  sgi_error *err);
sgi_status sgi__local_tensor_digest(struct sgi__place *p, uint64_t instance, uint64_t index, uint64_t *xxh3_out,
                                    sgi_error *err);
sgi_status sgi__local_image(struct sgi__place *p, uint64_t instance, uint32_t part, sgi_image *image_out,
                            sgi_error *err);
sgi_status sgi__local_run(struct sgi__place *p, uint64_t instance, sgi_run_fn fn, void *user, sgi_error *err);
sgi_status sgi__local_report(struct sgi__place *p, uint64_t instance, struct sgi__report *report_out);
sgi_status sgi__local_progress(struct sgi__place *p, uint64_t instance, struct sgi__place_progress *progress_out);

#endif
