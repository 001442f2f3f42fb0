/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The deterministic heart: event + now -> core -> replies and actions. No threads, no clock, no I/O; memory is taken
 * only where a function says so. The caller holds one lock around every call (the runtime's mutex; the simulator needs
 * none).
 *
 * Each call is an event. What follows from it is queued and taken by the caller afterwards:
 *   replies: ends of requests and drains; cheap, to be handed on before the lock is left;
 *   actions: work for a place, each with an op id that its result must carry. A result whose op is not the one
 *            expected is dropped, so late and double results cannot hurt. An action is emitted only when everything it
 *            needs has been reported; actions may therefore be carried out in any order, by any thread. One may wait
 *            for another that is out: what uses a device with memory of its own, for its context.
 */
#ifndef SGI_CORE_CORE_H
#define SGI_CORE_CORE_H

#include <stdbool.h>

#include <sgi/sgi.h>

#define SGI__NEVER UINT64_MAX

enum { SGI__DEVICES_MAX = 16 };

struct sgi__core; /* opaque */

struct sgi__core_device_config {
    uint64_t bytes_max;
    uint64_t bytes_total; /* of its memory, for all processes; 0: not known */
    bool     unified;     /* its memory is host memory: an image moves between device and DRAM without a copy */
};

struct sgi__core_config {
    uint32_t                       devices_count;
    struct sgi__core_device_config devices[SGI__DEVICES_MAX];
    uint64_t                       dram_bytes_max;
    uint64_t                       read_bytes_per_s_max; /* for estimates; 0: no limit */
    uint32_t                       wants_max;
    uint32_t                       loads_max;
    uint64_t                       linger_ns;
    uint64_t                       starve_ns;
    uint64_t                       backoff_ns, backoff_max_ns, failure_expiry_ns;
    uint64_t id_seed; /* where serial numbers start: differs by runtime, so that foreign ids are stale */
    bool     notes;   /* replies include SGI__REPLY_NOTE */
};

struct sgi__core_model_config {
    uint64_t image_bytes;
    uint64_t device_bytes; /* of the image on a device with memory of its own; 0: as image_bytes */
    uint64_t packed_bytes; /* of the model as it is stored: what a packed residence takes; 0: there is no such */
    uint64_t engine_bytes;
    uint64_t idle_ns;       /* SGI__NEVER: no timer */
    uint64_t hang_ns;       /* SGI__NEVER: no limit */
    uint32_t leases_max;    /* of an instance; UINT32_MAX: no limit */
    uint32_t instances_max; /* each on a device of its own, so no more than there are of these; 0: 1 */
    uint32_t devices_mask;  /* of the devices it may be on: bit n for number n; 0: all */
    uint32_t residence;     /* SGI_RESIDENCE_*: which of the two it is */
    bool     has_engine, has_prepare;
    bool     has_prefix; /* its engine fills a part of the image beside each load from disk */
};

/* ---- making and taking apart; these allocate and free ---- */

/* NULL: out of memory. */
struct sgi__core *sgi__core_new(const struct sgi__core_config *config);
void              sgi__core_free(struct sgi__core *core); /* nothing is held (asserted) */

sgi_status sgi__core_model_add(struct sgi__core *core, const struct sgi__core_model_config *config,
                               sgi_model *model_out);
/* SGI_E_BUSY until the drain of the model has been replied. */
sgi_status sgi__core_model_remove(struct sgi__core *core, sgi_model model);

/* ---- events from users ---- */

struct sgi__core_want {
    uint32_t tier;     /* what is wanted: SGI_TIER_DEVICE, or SGI_TIER_DRAM with `prefetch` */
    bool     prefetch; /* ends without a lease */
    bool     early;
    int32_t  priority;
    int32_t  device_hint; /* -1: any */
    uint64_t deadline;    /* absolute; SGI__NEVER */
    uint64_t idle_ns;     /* of the lease; UINT64_MAX - 1: the model's */
    uint64_t lease_ns;    /* SGI__NEVER */
};
#define SGI__IDLE_OF_MODEL (UINT64_MAX - 1)

/* WANT. Ends in exactly one reply, perhaps already queued on return. May allocate room for its lease.
 * SGI_E_STALE, _CLOSED, _BUSY (wants_max), _NO_MEMORY: nothing was queued. */
sgi_status sgi__core_want(struct sgi__core *core, uint64_t now, sgi_model model, const struct sgi__core_want *want,
                          sgi_ticket *ticket_out);
sgi_status sgi__core_try_acquire(struct sgi__core *core, uint64_t now, sgi_model model, uint64_t idle_ns,
                                 uint64_t lease_ns, sgi_lease *lease_out); /* may allocate room for the lease */
sgi_status sgi__core_cancel(struct sgi__core *core, uint64_t now, sgi_ticket ticket);
sgi_status sgi__core_release(struct sgi__core *core, uint64_t now, sgi_lease lease);
sgi_status sgi__core_evict(struct sgi__core *core, uint64_t now, sgi_model model, uint32_t tier);
void       sgi__core_evict_all(struct sgi__core *core, uint64_t now,
                               uint32_t tier); /* what nobody uses, waits for, or pinned */
/* Of host memory no more than so many bytes are to stay, spare memory none: what is worth least begins to go. */
void       sgi__core_trim(struct sgi__core *core, uint64_t now, uint64_t dram_bytes);
void       sgi__core_pressure(struct sgi__core *core, uint64_t now); /* others wait for host memory */
sgi_status sgi__core_pin(struct sgi__core *core, uint64_t now, sgi_model model, uint32_t tier);
/* DRAIN: refuses new wants, ends waiting ones with `reason`; SGI__REPLY_DRAINED follows once nothing is held. */
sgi_status sgi__core_model_drain(struct sgi__core *core, uint64_t now, sgi_model model, sgi_status reason);
void sgi__core_drain(struct sgi__core *core, uint64_t now); /* all models and contexts; SGI__REPLY_CLOSED follows */

/* A call begins on a lease, is asked to end, is given up by its user (the lease is free of it), has come back. */
sgi_status sgi__core_call_begin(struct sgi__core *core, uint64_t now, sgi_lease lease, uint64_t *instance_out);
void       sgi__core_call_cancel(struct sgi__core *core, uint64_t now,
                                 uint64_t instance); /* once for a call: from here it may count as hung */
/* Its user has given it up; `out`: the engine has not come back, so it goes on taking the place of a lease. */
void sgi__core_call_detach(struct sgi__core *core, uint64_t now, sgi_lease lease, bool out);
void sgi__core_call_back(struct sgi__core *core, uint64_t now, uint64_t instance, bool was_canceled, bool was_detached);

/* ---- events from places ---- */

enum sgi__core_event_kind {
    SGI__EV_SOURCE_CHECKED, /* status. shared_bytes: of the model as it would be packed in DRAM, that residences have
                               there which are complete by now */
    SGI__EV_CONTEXT_OPENED, /* status: SGI_OK, or why not */
    SGI__EV_CONTEXT_CLOSED, /* bytes: what the driver still holds in this process */
    SGI__EV_CONTEXT_LOST,   /* no op: the device is gone */
    SGI__EV_CONTEXT_BACK,   /* no op */
    SGI__EV_RESERVED,       /* status */
    SGI__EV_LOADED,         /* status: every byte of the files is there and verified, or which step failed. After a
                               START_LOAD with `keep`: bytes of the copy in DRAM; 0, or a failure: there is none.
                               shared_bytes: of them, that others had there already */
    SGI__EV_PREFIX_FILLED,  /* status */
    SGI__EV_ENGINE_STARTED, /* status */
    SGI__EV_ENGINE_STOPPED,
    SGI__EV_PREPARED, /* status, bytes */
    SGI__EV_DISCARDED,
    SGI__EV_FREED,      /* bytes: residue that could not be given back */
    SGI__EV_KEPT,       /* there is a residence now; status not OK: it was freed instead. shared_bytes as for LOADED */
    SGI__EV_DROPPED,    /* shared_bytes: of it, that stay, for others */
    SGI__EV_FOREIGN,    /* no op: bytes on `device` are taken by others. Answers LOOK, and may come at any time */
    SGI__EV_PLACE_DIED, /* no op: the place and all it held are gone */
    SGI__EV_PLACE_UP,   /* no op */
};

struct sgi__core_event {
    enum sgi__core_event_kind kind;
    sgi_status                status;
    uint32_t                  step;
    int32_t                   device; /* context and foreign events */
    uint64_t                  op;
    sgi_model                 model;
    uint64_t                  instance; /* 0 where there is none */
    uint64_t                  bytes, shared_bytes;
};

/* Returns false when the event was dropped as stale. */
bool sgi__core_event(struct sgi__core *core, uint64_t now, const struct sgi__core_event *event);

/* An engine's bytes: charged before, and that there is room for, those included. */
struct sgi__core_charge {
    uint64_t before, room;
};

/* ENGINE_BYTES: an instance's engine takes `bytes` altogether; with `at_least` a larger charge stays.
 * SGI_E_DEVICE_MEMORY: the difference does not fit, nothing changed. SGI_E_DEVICE_LOST, SGI_E_STALE: there is no such
 * device or instance any more. */
sgi_status sgi__core_engine_bytes(struct sgi__core *core, uint64_t now, uint64_t instance, uint64_t bytes,
                                  bool at_least, struct sgi__core_charge *charge_out);

/* TIMER: handle what is due. Call it when sgi__core_wake_at() has passed; earlier or later is harmless. */
void     sgi__core_tick(struct sgi__core *core, uint64_t now);
uint64_t sgi__core_wake_at(const struct sgi__core *core); /* SGI__NEVER: no timer is set */

/* ---- what follows ---- */

enum sgi__core_reply_kind {
    SGI__REPLY_GRANT,   /* ticket, lease (0 for a prefetch), instance, tier, joined */
    SGI__REPLY_REJECT,  /* ticket, status, step, retry_after_ns */
    SGI__REPLY_OVERDUE, /* lease: its time is over; cancel its calls */
    SGI__REPLY_WEDGED, /* model, instance, step: a callback does not come back; who waits for its calls waits in vain */
    SGI__REPLY_DRAINED, /* model */
    SGI__REPLY_CLOSED,  /* the runtime's drain is complete */
    SGI__REPLY_NOTE,    /* note, model, instance (0: not of one): only with config.notes */
};

/* What an observer could not tell from the actions. Owed to nobody: past a bound that one event hardly reaches they are
 * left out. */
enum sgi__core_note {
    SGI__NOTE_READY,    /* an instance is up: device, tier, bytes charged */
    SGI__NOTE_IDLE,     /* nobody uses it from now on: device, ns of its idle time. Only while watched */
    SGI__NOTE_STOPS,    /* it is on its way out: device, bytes charged, cause, ns since its last use, was_up */
    SGI__NOTE_RELEASED, /* it is gone: device, bytes and cause as then, ns since then, residue, tier that has it now */
    SGI__NOTE_DROPS,    /* the model's residence is on its way out: bytes, cause */
    SGI__NOTE_FAILED,   /* a start of the model has failed: status, step, retry_after_ns */
};

struct sgi__core_reply {
    enum sgi__core_reply_kind kind;
    sgi_status                status;
    uint32_t                  step;
    uint32_t                  tier; /* where the bytes came from: SGI_TIER_DEVICE when nothing was loaded for it */
    bool                      joined;
    sgi_ticket                ticket;
    sgi_lease                 lease;
    sgi_model                 model;
    uint64_t                  instance;
    uint64_t                  retry_after_ns;
    enum sgi__core_note       note;
    uint32_t                  cause; /* SGI_CAUSE_* */
    int32_t                   device;
    bool                      was_up;
    uint64_t                  bytes, ns, residue;
};

enum sgi__core_action_kind {
    SGI__ACT_CHECK_SOURCE,
    SGI__ACT_OPEN_CONTEXT,
    SGI__ACT_CLOSE_CONTEXT,
    SGI__ACT_RESERVE,     /* instance, device (-1: DRAM, and packed or not), tier the bytes will come from, bytes
                             there. shared_bytes: of them, that others have there, and keep until this is one too. From
                             DRAM to a device with memory of its own the residence stays, and is read until LOADED; a
                             packed one to any device */
    SGI__ACT_START_LOAD,  /* instance, tier, priority: of the most urgent who waits for it; keep: a copy, packed or
                             not, stays in DRAM as the model's residence; shared_bytes as for RESERVE. On a device with
                             memory of its own the context may be on its way still: the load, and the engine's start,
                             wait for it where they need it */
    SGI__ACT_FILL_PREFIX, /* instance: the engine's part of its image, beside the load */
    SGI__ACT_CANCEL_LOAD, /* instance: its load, prefix and engine's start are to end soon; all still report. No result
                             of its own */
    SGI__ACT_LOAD_PRIORITY, /* instance: how urgent its load is from now on. No result */
    SGI__ACT_PREPARE,
    SGI__ACT_DISCARD,
    SGI__ACT_START_ENGINE,
    SGI__ACT_STOP_ENGINE,
    SGI__ACT_FREE,        /* the instance's image and engine memory */
    SGI__ACT_KEEP,        /* the image, or what was read to be packed, becomes the residence; engine memory is freed */
    SGI__ACT_DROP,        /* free the model's DRAM residence */
    SGI__ACT_SPARE_LIMIT, /* bytes: freed image memory may be kept up to this; no result */
    SGI__ACT_LOOK,        /* device: say what others have taken of it. FOREIGN answers */
};

struct sgi__core_action {
    enum sgi__core_action_kind kind;
    int32_t                    device;
    uint32_t                   tier;
    int32_t                    priority;
    uint64_t                   op;
    sgi_model                  model;
    uint64_t                   instance;
    uint64_t                   bytes, shared_bytes;
    bool                       keep, packed;
};

bool sgi__core_take_reply(struct sgi__core *core, struct sgi__core_reply *reply_out);
bool sgi__core_take_action(struct sgi__core *core, struct sgi__core_action *action_out);

/* ---- looking; none of these changes anything ---- */

/* Somebody reads the events: say what is too frequent to be said for nobody. */
void sgi__core_watch(struct sgi__core *core, bool watched);

/* The slot of an id, for tables beside the core's; ids in use have different slots within their kind. */
uint32_t sgi__core_slot(uint64_t id);

struct sgi__core_lease_view {
    sgi_model  model;
    uint64_t   instance;
    int32_t    device;
    uint64_t   requested_at, granted_at;
    uint32_t   tier; /* where its bytes came from: SGI_TIER_DEVICE when nothing was loaded for it */
    bool       joined;
    bool       loading; /* granted early, and not every byte is there yet, or known to be */
    bool       lost;    /* the device or place is gone, or the load failed: good for release only */
    bool       call_open, overdue;
    sgi_status lost_status;
};
sgi_status sgi__core_lease_view(const struct sgi__core *core, sgi_lease lease, struct sgi__core_lease_view *view_out);

/* What a model that is not drained waits to get back, of which its user may see nothing. */
enum sgi__held {
    SGI__HELD_NOT,
    SGI__HELD_BY_CONTEXT,  /* that of its device opens or closes, and its load waits for it */
    SGI__HELD_BY_READS,    /* its files are being read or looked at */
    SGI__HELD_BY_LOAD,     /* to a device with memory of its own: reads, or copies */
    SGI__HELD_BY_CALLBACK, /* of its engine */
    SGI__HELD_BY_MEMORY,   /* taken, or given back */
};

struct sgi__core_model_view {
    uint32_t       state; /* SGI_MODEL_*, of the furthest instance, like device, tier and idle_deadline */
    uint32_t       instances;
    int32_t        device;
    uint32_t       tier;
    uint32_t       leases, leases_overdue, calls, wants, pinned_tier;
    uint64_t       idle_deadline; /* SGI__NEVER: none */
    uint64_t       device_bytes, dram_bytes, prepared_bytes, engine_bytes;
    uint64_t       pin_bytes;             /* that a pin to DRAM reserves */
    uint32_t       residence;             /* SGI_RESIDENCE_UNPACKED, _PACKED; 0: there is none that is kept */
    uint64_t       residence_value;       /* of one that is, or was just now: the least valuable goes first */
    uint64_t       loads, failures, hits; /* hits: leases that sgi__core_try_acquire() gave */
    uint64_t       instance;              /* the furthest; 0: none */
    sgi_status     last_error;
    uint64_t       failed_until; /* 0: not backing off */
    bool           draining, drained;
    enum sgi__held held;
};
sgi_status sgi__core_model_view(const struct sgi__core *core, sgi_model model, struct sgi__core_model_view *view_out);

struct sgi__core_instance_view {
    sgi_model model;
    uint32_t  state;  /* SGI_MODEL_* */
    int32_t   device; /* -1: DRAM, or none yet */
    uint32_t  leases, calls;
    uint64_t  device_bytes;
    uint64_t  idle_deadline; /* SGI__NEVER: none */
};
sgi_status sgi__core_instance_view(const struct sgi__core *core, uint64_t instance,
                                   struct sgi__core_instance_view *view_out);

struct sgi__core_device_view {
    uint64_t bytes_max, bytes_used, bytes_engine, bytes_foreign;
    uint64_t bytes_residue; /* what the driver holds here without a context, as of the last that closed */
    uint32_t instances;
    bool     context_open, lost;
};
void sgi__core_device_view(const struct sgi__core *core, uint32_t device, struct sgi__core_device_view *view_out);

struct sgi__core_totals {
    uint32_t models, wants, leases, loads, calls;
    uint64_t dram_bytes, dram_bytes_max, device_bytes, prepared_bytes;
    uint64_t shared_bytes; /* of residences, that are in DRAM once for several: not in dram_bytes */
};
void sgi__core_totals(const struct sgi__core *core, struct sgi__core_totals *totals_out);

/* While held, a lease is not released (SGI_E_BUSY): somebody is looking at its instance without the lock. */
sgi_status sgi__core_lease_hold(struct sgi__core *core, sgi_lease lease, struct sgi__core_lease_view *view_out);
void       sgi__core_lease_unhold(struct sgi__core *core, sgi_lease lease);

/* The `index`th model in use, or 0 past the last: for reports. */
sgi_model sgi__core_model_at(const struct sgi__core *core, uint32_t index);

/* What a request for a lease would meet now, if it were the next. The same functions decide. */
enum sgi__core_outlook {
    SGI__OUTLOOK_WARM,    /* granted at once */
    SGI__OUTLOOK_JOIN,    /* it is on its way up already */
    SGI__OUTLOOK_LOAD,    /* started at once, where there is room */
    SGI__OUTLOOK_EVICT,   /* likewise, after `victims` have left */
    SGI__OUTLOOK_WAIT,    /* for a lease, or for room that others have to give back */
    SGI__OUTLOOK_REFUSED, /* status, step, retry_after_ns */
};

struct sgi__core_estimate {
    enum sgi__core_outlook outlook;
    sgi_status             status;
    uint32_t               step;
    uint64_t               retry_after_ns;
    int32_t                device;        /* -1: not known */
    uint32_t               tier;          /* where its bytes would come from */
    uint64_t               bytes;         /* that it takes, or would take, on the device */
    uint64_t               lacking_bytes; /* of them, before somebody leaves */
    uint64_t               expected_ns;   /* SGI__NEVER: not known */
    uint32_t               victims_count; /* those past victims_max are counted only */
};
sgi_status sgi__core_estimate(const struct sgi__core *core, uint64_t now, sgi_model model, int32_t hint,
                              struct sgi__core_estimate *estimate_out, sgi_model *victims, uint32_t victims_max);

/* Every invariant the structures must keep; asserts. The simulator calls it after each event. */
void sgi__core_check(const struct sgi__core *core);

#endif
