/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where instances run: one table. The runtime carries the core's actions here; what comes of them is reported to the
 * sink, from any thread, under no lock of the place, perhaps before the op has returned. What goes in and out is plain
 * data and ids, so that a place may be another process. Looking at an instance (tensor, image, timing) is for places in
 * this process; others answer SGI_E_UNSUPPORTED.
 */
#ifndef SGI_PLACE_PLACE_H
#define SGI_PLACE_PLACE_H

#include "device/device.h"
#include "load/load.h"
#include "model/manifest.h"
#include <sgi/ext.h>

struct sgi__place; /* the implementation's own */

enum sgi__place_event_kind {
    SGI__PLACE_SOURCE_CHECKED,
    SGI__PLACE_CONTEXT_OPENED,
    SGI__PLACE_CONTEXT_CLOSED,
    SGI__PLACE_CONTEXT_LOST,
    SGI__PLACE_CONTEXT_BACK,
    SGI__PLACE_RESERVED,
    SGI__PLACE_LOADED,
    SGI__PLACE_PREFIX_FILLED,
    SGI__PLACE_ENGINE_STARTED,
    SGI__PLACE_ENGINE_STOPPED,
    SGI__PLACE_PREPARED,
    SGI__PLACE_DISCARDED,
    SGI__PLACE_FREED,
    SGI__PLACE_KEPT,
    SGI__PLACE_DROPPED,
    SGI__PLACE_DIED,
    SGI__PLACE_UP,
    SGI__PLACE_FOREIGN, /* no op: bytes on `device` are taken by others */
    SGI__PLACE_CALLED   /* a call has come back */
};

struct sgi__place_event {
    enum sgi__place_event_kind kind;
    sgi_status                 status;
    int32_t                    device;
    uint64_t                   op; /* of a call: its id */
    sgi_model                  model;
    uint64_t                   instance;
    uint64_t                   bytes;
    /* Of a residence. SOURCE_CHECKED: that would be there already, were it packed; LOADED, KEPT: that were; DROPPED:
     * that stay. */
    uint64_t         shared_bytes;
    uint64_t         scrub_bytes, scrub_ns; /* FREED: zeroed before, and how long that took */
    uint64_t         look;                  /* FOREIGN: what was seen later has a higher number */
    const sgi_error *error;                 /* when status is not SGI_OK; valid during the event */
};

/* What a place needs from its owner. */
struct sgi__place_sink {
    void *user;
    void (*event)(void *user, const struct sgi__place_event *event);
    /* The instance's engine takes so many bytes altogether (with `at_least`: no fewer than those), which until now it
     * took `before` of: SGI_OK, or SGI_E_DEVICE_MEMORY with the numbers. */
    sgi_status (*engine_bytes)(void *user, uint64_t instance, uint64_t bytes, bool at_least, uint64_t *before_out,
                               sgi_error *err);
    /* A piece of a call's answer. Waits while its buffer is full; SGI_E_CANCELED when nobody wants more. */
    sgi_status (*piece)(void *user, uint64_t call, const void *piece, size_t bytes);
};

/* A model, as far as a place has to know it. Everything it points to outlives model_remove. */
struct sgi__place_model {
    sgi_model                   id;
    const char                 *name;
    uint32_t                    flags, tenant;
    const struct sgi__manifest *manifest;
    const struct sgi__layout   *layout;
    const sgi_engine           *engine; /* NULL: weights only */
    const sgi_source           *source;
    const uint64_t             *order;
    uint64_t                    order_count;
    const struct sgi__check    *checks;
    uint64_t                    checks_count;
};

struct sgi__place_config {
    struct sgi__place_sink       sink;
    uint32_t                     devices_count;
    struct sgi__device *const   *devices; /* the owner's, and outlive the place */
    uint32_t                     threads_max;
    const struct sgi__io_engine *engine, *hot_engine;
    uint64_t                     block_bytes;
    uint32_t                     depth, depth_max;
    uint64_t                     spare_bytes_max;
    struct sgi__rate            *rate; /* of all reads together; NULL: no limit */
};

/* What is to stay of a load. */
enum sgi__keep { SGI__KEEP_NOTHING, SGI__KEEP_IMAGE, SGI__KEEP_PACKED };

struct sgi__place_progress {
    uint64_t done, total;
};

struct sgi__place_ops {
    uint32_t    abi; /* SGI__PLACE_ABI; a mismatch is refused */
    const char *name;
    sgi_status (*open)(const struct sgi__place_config *config, struct sgi__place **place_out, sgi_error *err);
    void (*close)(struct sgi__place *p); /* nothing is held, no op is out (asserted) */

    sgi_status (*model_add)(struct sgi__place *p, const struct sgi__place_model *model, sgi_error *err);
    void (*model_remove)(struct sgi__place *p, sgi_model model);

    /* Ops. Each ends in the event of its name, exactly once, whatever happens. */
    void (*check_source)(struct sgi__place *p, uint64_t op, sgi_model model);
    void (*context_open)(struct sgi__place *p, uint64_t op, int32_t device);
    void (*context_close)(struct sgi__place *p, uint64_t op, int32_t device);
    void (*prepare)(struct sgi__place *p, uint64_t op, sgi_model model);
    void (*discard)(struct sgi__place *p, uint64_t op, sgi_model model);
    /* Makes the instance. tier DRAM: it takes the model's residence, or on a device with memory of its own, or where
     * that is packed, will read it where it is; device -1: it is to become one, perhaps a packed one, of which others
     * have at least `shared_bytes` until that has ended. */
    void (*reserve)(struct sgi__place *p, uint64_t op, sgi_model model, uint64_t instance, int32_t device,
                    uint32_t tier, bool packed, uint64_t shared_bytes);
    /* keep: of a load from disk, a copy is to stay in host memory as the model's residence: its image, of one to a
     * device with memory of its own, or as it is stored, and then of it others have `shared_bytes` as above. LOADED
     * says in `bytes` how much of it does: 0 if there was no memory for that. */
    void (*load)(struct sgi__place *p, uint64_t op, sgi_model model, uint64_t instance, int32_t priority,
                 enum sgi__keep keep, uint64_t shared_bytes);
    void (*fill_prefix)(struct sgi__place *p, uint64_t op, sgi_model model, uint64_t instance); /* beside load */
    void (*engine_start)(struct sgi__place *p, uint64_t op, sgi_model model, uint64_t instance);
    void (*engine_stop)(struct sgi__place *p, uint64_t op, sgi_model model, uint64_t instance);
    void (*free)(struct sgi__place *p, uint64_t op, sgi_model model, uint64_t instance); /* ends the instance */
    void (*keep)(struct sgi__place *p, uint64_t op, sgi_model model,
                 uint64_t instance); /* likewise; its image becomes the residence */
    void (*drop)(struct sgi__place *p, uint64_t op, sgi_model model);
    /* A hurry-up for the instance's load, prefix and engine's start; no event of its own. */
    void (*cancel)(struct sgi__place *p, uint64_t instance);
    /* How urgent the instance's load is from now on, beside others; no event of its own. */
    void (*load_priority)(struct sgi__place *p, uint64_t instance, int32_t priority);
    void (*spare_limit)(struct sgi__place *p, uint64_t bytes); /* no event */
    void (*look)(struct sgi__place *p, int32_t device);        /* ends in FOREIGN, which may come at other times too */

    /* One inference; ends in SGI__PLACE_CALLED. The request is copied. */
    sgi_status (*call)(struct sgi__place *p, uint64_t call, uint64_t instance, const void *request, size_t bytes,
                       sgi_error *err);
    void (*call_cancel)(struct sgi__place *p, uint64_t call,
                        uint64_t instance); /* a wish; the call still ends in its event */

    /* Looking. The caller holds a lease, so the instance stays. */
    sgi_status (*tensor)(struct sgi__place *p, uint64_t instance, uint64_t tensor, sgi_view *view_out, sgi_error *err);
    sgi_status (*tensor_wait)(struct sgi__place *p, uint64_t instance, uint64_t tensor, uint64_t deadline_ns,
                              sgi_error *err);
    sgi_status (*tensor_digest)(struct sgi__place *p, uint64_t instance, uint64_t tensor, uint64_t *xxh3_out,
                                sgi_error *err);
    sgi_status (*tensor_read)(struct sgi__place *p, uint64_t instance, uint64_t tensor, uint64_t offset, void *dst,
                              uint64_t bytes, sgi_error *err);
    sgi_status (*image)(struct sgi__place *p, uint64_t instance, uint32_t part, sgi_image *image_out,
                        sgi_error *err); /* fd is the caller's */
    /* What is queued on the device's stream from now on begins once the tensor is there. */
    sgi_status (*tensor_order)(struct sgi__place *p, uint64_t instance, uint64_t tensor, void *stream, sgi_error *err);
    /* lease_slot: leases in use have different ones, and each a stream of its own. */
    sgi_status (*run)(struct sgi__place *p, uint64_t instance, uint32_t lease_slot, sgi_run_fn fn, void *user,
                      sgi_error *err);
    sgi_status (*stream)(struct sgi__place *p, uint64_t instance, uint32_t lease_slot, void **stream_out,
                         sgi_error *err);
    uint32_t (*context)(struct sgi__place *p, int32_t device, bool open); /* SGI_CONTEXT_*; open: ours is */
    /* These may find the instance gone: SGI_E_STALE. */
    sgi_status (*report)(struct sgi__place *p, uint64_t instance, struct sgi__report *report_out);
    sgi_status (*progress)(struct sgi__place *p, uint64_t instance, struct sgi__place_progress *progress_out);

    uint64_t (*spare_bytes)(struct sgi__place *p);
    uint32_t (*threads)(struct sgi__place *p);
};

#define SGI__PLACE_ABI 7

extern const struct sgi__place_ops sgi__place_local;

#endif
