/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the local place keeps for each device, model and instance; its files share it: local.c (tables, jobs, the table
 * of ops), contexts.c (devices), memory.c (images, arenas, loads), residence.c (what stays in host memory), engine.c
 * (callbacks), stage.c (what those call), look.c.
 */
#ifndef SGI_PLACE_INSTANCE_H
#define SGI_PLACE_INSTANCE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/pool.h"
#include "device/device.h"
#include "load/staging.h"
#include "place/place.h"

enum { LEASE_STREAMS_MAX = 64 };

struct place_device {
    struct sgi__device  *device;
    struct sgi__staging *staging; /* NULL: its memory is the host's */
    /* under the place's mutex */
    uint64_t begin_ns, ns;   /* how long its context took to open last */
    uint64_t arena_bytes;    /* taken for our instances, */
    uint64_t moving_bytes;   /* about to be, or being given back, */
    uint64_t reported_bytes; /* and taken by their engines in ways of their own */
    uint64_t foreign_bytes;  /* as it was last seen */
    uint64_t kept_bytes;     /* that the driver did not take back */
    uint64_t looks;
    bool     open, lost; /* lost: and said so */
    bool     peers_fail; /* a copy from another device has: models come from elsewhere from then on */
};

/* Engine memory from sgi_stage_alloc() in host memory. */
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
    int32_t                device; /* -1: it is to become a residence */
    struct place_device   *on;     /* NULL: in host memory, as its image */
    struct place_model    *model;
    struct sgi__image     *image; /* with `on`: what is to stay in DRAM, while it is loaded */
    struct sgi__kept      *kept;  /* instead of an image: what is to be a packed residence */
    struct sgi__arena     *arena; /* with `on` only */
    struct sgi__load      *load;
    bool                   from_dram;
    bool                   from_kept; /* where it is packed */
    void                  *engine_instance;
    struct sgi_stage       stage;
    struct sgi__stream    *stream;  /* its engine's, with `on` */
    bool                   whole;   /* under the place's mutex: all is there, and others may copy it, */
    uint32_t               copying; /* as so many do */
    struct place_instance *next;    /* in its bucket */

    pthread_mutex_t growing; /* its engine's memory, and the arena, of which so much is given out; held across calls of
                              * the device and of the sink */
    uint64_t        arena_used;

    pthread_mutex_t mutex;
    /* under the mutex: the stage's functions may be called from any thread of the engine */
    struct sgi_reply *replies;
    struct scratch   *scratches;
    uint64_t          scratch_bytes, reported_bytes;
    uint64_t          start_begin_ns, start_ns;
    bool              canceled; /* perhaps before there was a load to cancel */
    /* By the slot of a lease: ids in use have different ones, so that two share a stream only past so many at once. */
    struct sgi__stream *lease_streams[LEASE_STREAMS_MAX];
};

struct place_model {
    struct sgi__place_model spec;
    struct sgi__image      *residence;
    struct sgi__kept       *kept;    /* or it is packed */
    struct sgi__pins       *pins;    /* of the residence; NULL until a device has read it */
    bool                    is_read; /* under the place's mutex: by a load to a device with memory of its own */
    void                   *prepared;
    uint64_t                check_begin_ns, check_ns; /* under the place's mutex, like the next two */
    uint64_t                prepare_begin_ns, prepare_ns;
    struct place_model     *next; /* in its bucket */
};

enum { BUCKETS = 1024 };

struct sgi__place {
    struct sgi__place_config  config;
    struct sgi__pool         *pool;
    struct sgi__decoding     *decoding;
    struct sgi__pool         *context_pool; /* nobody who waits for a context keeps its opening from a thread */
    struct sgi__image_memory *memory;
    struct sgi__store        *store; /* of packed residences */
    struct sgi__share         share; /* of the disk, by the loads that run */
    pthread_mutex_t           mutex;
    /* under the mutex */
    struct place_model    *models[BUCKETS];
    struct place_instance *instances[BUCKETS];
    struct place_device   *devices; /* as many as there are; fixed but for what is under the mutex */
    pthread_cond_t         let_go;  /* fewer copy from an instance, or read a residence, than before */
};

/* A job of the place: work on a thread, and what it reports. */
struct job {
    struct sgi__job         job; /* first */
    struct sgi__place      *place;
    struct sgi__place_event event; /* what it will report */
    struct place_model     *model;
    struct place_instance  *instance;
    void (*work)(struct job *job, sgi_error *err);
    enum sgi__keep keep;   /* of a load */
    bool           packed; /* of a reserve */
    uint64_t       shared_bytes;
    bool           on_stack;
    bool           of_context; /* on a thread for those */
};

/* local.c */
struct place_model    *sgi__place_model(struct sgi__place *p, sgi_model id);
struct place_instance *sgi__place_instance(struct sgi__place *p, uint64_t id); /* NULL: there is none */
struct place_instance *sgi__place_instance_locked(struct sgi__place *p, uint64_t id);
void                   sgi__place_add(struct sgi__place *p, struct place_instance *i);
void                   sgi__place_remove(struct sgi__place *p, struct place_instance *i);
void                   sgi__place_report(struct sgi__place *p, const struct sgi__place_event *event);
/* `must`: it cannot fail, so when no thread is to be had it is done here and now. */
void sgi__place_start(struct sgi__place *p, const struct job *prototype, bool must);

/* contexts.c */
sgi_status sgi__contexts_init(struct sgi__place *p, sgi_error *err);
void       sgi__contexts_fini(struct sgi__place *p);
void       sgi__local_context_open(struct sgi__place *p, uint64_t op, int32_t device);
void       sgi__local_context_close(struct sgi__place *p, uint64_t op, int32_t device);
void       sgi__local_look(struct sgi__place *p, int32_t device);
uint32_t   sgi__local_context(struct sgi__place *p, int32_t device, bool open);
void       sgi__place_look(struct sgi__place *p, struct place_device *on); /* and tell the owner */
/* What a call of a device has said: with SGI_E_DEVICE_LOST the owner is told that it is, and those of its kind. err:
 * the words for it, or NULL. */
sgi_status sgi__place_said(struct sgi__place *p, struct place_device *on, sgi_status status, const sgi_error *err);
/* Makes the instance's device current. lend: what comes next is somebody else's code. leave: `status` is what was said
 * inside; if all is well with it, what was left behind is looked at: another context, an error on `stream`. */
sgi_status sgi__place_enter(struct sgi__place *p, struct place_instance *i, struct sgi__device_scope *scope,
                            sgi_error *err);
void       sgi__place_lend(const struct place_instance *i, const struct sgi__device_scope *scope);
sgi_status sgi__place_leave(struct sgi__place *p, struct place_instance *i, const struct sgi__device_scope *scope,
                            struct sgi__stream *stream, sgi_status status, sgi_error *err);

/* Likewise where `status` is the device's own word. */
sgi_status sgi__place_left(struct sgi__place *p, struct place_instance *i, const struct sgi__device_scope *scope,
                           sgi_status status, sgi_error *err);

/* memory.c */
void       sgi__local_reserve(struct sgi__place *p, uint64_t op, sgi_model model, uint64_t instance, int32_t device,
                              uint32_t tier, bool packed, uint64_t shared_bytes);
void       sgi__local_load(struct sgi__place *p, uint64_t op, sgi_model model, uint64_t instance, int32_t priority,
                           enum sgi__keep keep, uint64_t shared_bytes);
void       sgi__local_fill_prefix(struct sgi__place *p, uint64_t op, sgi_model model, uint64_t instance);
void       sgi__local_cancel(struct sgi__place *p, uint64_t instance);
void       sgi__local_load_priority(struct sgi__place *p, uint64_t instance, int32_t priority);
void       sgi__local_free(struct sgi__place *p, uint64_t op, sgi_model model, uint64_t instance);
void       sgi__local_spare_limit(struct sgi__place *p, uint64_t bytes);
bool       sgi__place_canceled(struct place_instance *i);
sgi_status sgi__place_zero(struct sgi__device *d, uint64_t at, uint64_t bytes, sgi_error *err); /* and waits [inside] */
/* Bytes of the device that are ours, and those that the driver is just taking or giving: whoever looks meanwhile is
 * not to take them for somebody else's. */
void sgi__place_count(struct sgi__place *p, struct place_device *on, int64_t ours, int64_t moving);

void sgi__place_instance_free(struct place_instance *i); /* its memory has been given on */
/* Memory for an image of the model. */
sgi_status sgi__place_new_image(struct sgi__place *p, const struct sgi__place_model *m, struct sgi__image **image_out,
                                sgi_error *err);

/* residence.c */
void sgi__local_keep(struct sgi__place *p, uint64_t op, sgi_model model, uint64_t instance);
void sgi__local_drop(struct sgi__place *p, uint64_t op, sgi_model model);
/* A load to a device with memory of its own is to read it: what that needs goes into the spec. */
sgi_status sgi__residence_read_in_place(struct sgi__place *p, struct place_instance *i, struct sgi__load_spec *spec,
                                        sgi_error *err);
/* One load reads a residence at a time, for its pins are one device's. False: this one has been given up. */
bool sgi__residence_begin_reading(struct sgi__place *p, struct place_instance *i);
void sgi__residence_end_reading(struct sgi__place *p, struct place_model *m);
/* Host memory for what is to stay of a load. NULL: there is none, and the bytes only pass through. */
struct sgi__pins *sgi__residence_make_room(struct sgi__place *p, struct place_instance *i); /* for its image, */
struct sgi__kept *sgi__residence_make_packed(struct sgi__place *p, struct place_instance *i,
                                             uint64_t shared_bytes);                   /* or as it is stored */
void              sgi__residence_end_filling(struct job *job, struct sgi__pins *pins); /* the load has ended */
void              sgi__residence_end_packing(struct job *job, struct sgi__kept *kept);

/* engine.c */
void       sgi__local_prepare(struct sgi__place *p, uint64_t op, sgi_model model);
void       sgi__local_discard(struct sgi__place *p, uint64_t op, sgi_model model);
void       sgi__local_engine_start(struct sgi__place *p, uint64_t op, sgi_model model, uint64_t instance);
void       sgi__local_engine_stop(struct sgi__place *p, uint64_t op, sgi_model model, uint64_t instance);
sgi_status sgi__local_call(struct sgi__place *p, uint64_t call, uint64_t instance, const void *request, size_t bytes,
                           sgi_error *err);
void       sgi__local_call_cancel(struct sgi__place *p, uint64_t call, uint64_t instance);
sgi_status sgi__prefix_fill(void *user, uint32_t part, void *dst, uint64_t bytes, sgi_error *err);

/* stage.c */
void sgi__stage_free(struct place_instance *i); /* what sgi_stage_alloc() gave */

/* look.c: the table's functions that only look */
const void *sgi__place_tensor(const struct place_instance *i, uint64_t index); /* where it lies; NULL: it is empty */
sgi_status  sgi__place_has_tensor(const struct place_instance *i, uint64_t index, sgi_error *err);
sgi_status sgi__place_no_image(const struct place_instance *i, sgi_error *err); /* SGI_E_UNSUPPORTED, with the reason */
sgi_status sgi__local_tensor(struct sgi__place *p, uint64_t instance, uint64_t index, sgi_view *view_out,
                             sgi_error *err);
sgi_status sgi__local_tensor_wait(struct sgi__place *p, uint64_t instance, uint64_t index, uint64_t deadline_ns,
                                  sgi_error *err);
sgi_status sgi__local_tensor_digest(struct sgi__place *p, uint64_t instance, uint64_t index, uint64_t *xxh3_out,
                                    sgi_error *err);
sgi_status sgi__local_tensor_read(struct sgi__place *p, uint64_t instance, uint64_t index, uint64_t offset, void *dst,
                                  uint64_t bytes, sgi_error *err);
sgi_status sgi__local_image(struct sgi__place *p, uint64_t instance, uint32_t part, sgi_image *image_out,
                            sgi_error *err);
sgi_status sgi__local_tensor_order(struct sgi__place *p, uint64_t instance, uint64_t index, void *stream,
                                   sgi_error *err);
sgi_status sgi__local_run(struct sgi__place *p, uint64_t instance, uint32_t lease_slot, sgi_run_fn fn, void *user,
                          sgi_error *err);
sgi_status sgi__local_stream(struct sgi__place *p, uint64_t instance, uint32_t lease_slot, void **stream_out,
                             sgi_error *err);
sgi_status sgi__local_report(struct sgi__place *p, uint64_t instance, struct sgi__report *report_out);
sgi_status sgi__local_progress(struct sgi__place *p, uint64_t instance, struct sgi__place_progress *progress_out);

#endif
