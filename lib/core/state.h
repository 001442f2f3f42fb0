/* SPDX-License-Identifier: Apache-2.0 */
/* The core's own structures; only lib/core includes this. Everything here is guarded by the caller's one lock. */
#ifndef SGI_CORE_STATE_H
#define SGI_CORE_STATE_H

#include "core/core.h"

/* Ids are kind (2 bits) | serial (41) | slot (21). Serials start at the seed and are never used twice. */
enum id_kind { ID_MODEL, ID_LEASE, ID_TICKET, ID_INSTANCE };
enum { SLOT_BITS = 21, SERIAL_BITS = 41 };
#define SLOTS_MAX (1u << SLOT_BITS)
#define NO_SLOT   UINT32_MAX

/* Objects of one size behind ids. They are made ahead of need (sgi__slots_room), never moved, and reused. */
struct slots {
    void    **items; /* items[0 .. count): each begins with its uint64_t id, 0 while free */
    uint32_t *free;  /* stack of free slots */
    uint32_t  count, free_count, capacity;
    size_t    item_bytes;
};

/*
 * A deadline. `due` is the truth; `key` is where it stands in the heap, at or before `due`: moving a deadline later,
 * which every warm acquire and release does, touches one word, and the heap finds out when `key` comes up.
 */
enum timer_kind {
    TIMER_IDLE,
    TIMER_HANG,
    TIMER_WANT,
    TIMER_STARVE,
    TIMER_LEASE,
    TIMER_LINGER,
    TIMER_MODEL_HANG,
    TIMER_MODEL_MORE,
    TIMER_LOOK,
    TIMER_RELIEF
};

struct timer {
    uint64_t due; /* SGI__NEVER: not set */
    uint64_t key;
    uint32_t at; /* index in the heap, NO_SLOT: not in it */
    uint8_t  kind;
    void    *owner;
};

enum instance_state {
    ST_COLD,      /* it has not begun, or is over */
    ST_QUEUED,    /* checking the source, or waiting for room, a loader, a device */
    ST_RESERVING, /* charged; memory and context on their way */
    ST_LOADING,   /* bytes and engine on their way, perhaps the context too; leases only with EARLY */
    ST_READY,     /* nobody uses it */
    ST_BUSY,
    ST_STOPPING, /* ending: waits for what is out, then engine, then memory */
    ST_WEDGED,   /* ending, and a callback does not come back */
    ST_COUNT
};

enum instance_event {
    EV_WANTED,   /* somebody needs it brought up */
    EV_ADMITTED, /* charged; RESERVE is out */
    EV_REFUSED,  /* the memory was not there after all; it queues once more */
    EV_PLACED,   /* memory and, where a load cannot begin without, context are there; START_LOAD is out */
    EV_READY,    /* bytes, engine and context are there */
    EV_LEASED,
    EV_UNUSED, /* the last lease and call are gone */
    EV_STOP,
    EV_HUNG,
    EV_HEALED, /* what hung has come back */
    EV_GONE,   /* nothing is held any more */
    EV_COUNT
};

/* Callbacks of an instance's engine that may not be out for ever. */
enum callback { CB_PREFIX, CB_START, CB_STOP, CB_CALL, CB_COUNT };

/* One model brought up, or on its way there or back. */
struct instance {
    uint64_t         id; /* first: see slots */
    struct model    *model;
    struct instance *model_prev, *model_next; /* in model.instances */
    uint8_t          state;
    int32_t          device;      /* SGI__DRAM for a fill of the DRAM tier; meaningful from RESERVING on */
    uint8_t          tier;        /* where its bytes come from */
    bool             to_dram;     /* wanted only as a residence: no device, no engine */
    bool             counts_load; /* in core.loads */
    struct instance *device_prev, *device_next; /* in device.instances from RESERVING on */

    /* results that are out: the op each must carry, 0 for none */
    uint64_t op_reserve, op_load, op_prefix, op_start, op_stop, op_end;

    bool source_ok;             /* checked for this start, or not needed */
    bool memory_ready;          /* RESERVED has come: there is an image to give back */
    bool loaded, prefixed;      /* every byte of the files is there and verified; every byte of the engine's */
    bool start_sent, engine_up; /* engine_up: `stop` must be called */
    bool keep_waiting;          /* until a dropped residence has made room for its image in the DRAM tier */
    bool retried;               /* a refused reserve was tried again once */
    bool served;                /* has given a lease */
    bool promised;              /* room that is on its way, in this scheduling pass */
    bool chosen;                /* to make room for one that starves, in this scheduling pass, */
    bool yielding;              /* or was, in the one before */
    bool closing;               /* grants nothing more; stops when unused. */
    bool keep;                  /* its image may become the DRAM residence */
    bool borrows;               /* it has the model's residence, and will give it back */
    bool keeping;               /* KEEP is out: the model's residence is this image */
    bool fills;                 /* its load leaves a copy, which is to be the residence */
    bool packs;                 /* packed, as what is read into DRAM alone may be */
    bool reads;                 /* its bytes come from the residence, which stays where it is meanwhile */
    bool cancel_sent;
    bool lost;       /* device or place is gone */
    bool stops_said; /* with what follows: for observers */

    uint8_t  cause; /* SGI_CAUSE_* of who is about to stop it, where its state does not tell */
    uint64_t stopped_at, stopped_bytes;

    /* Bytes of it, packed, that residences have: when its source was checked, as of then (see packed_as_of); and that
     * its fill counts on, so that they stay until it has ended. */
    uint64_t shares_seen, shares_as_of, shares;
    uint64_t shares_come; /* packed_come as of then */
    uint64_t fill_number; /* of its packed fill, from when that begins; 0: none */
    uint64_t fills_ahead; /* those up to this one are waited for, since there was no room; 0: there was none yet */
    uint64_t drops_ahead; /* DROPs up to this op are waited for before it is asked again; 0: none was out yet */

    int32_t          priority;       /* of its load, as the place was told */
    int32_t          priority_early; /* of those who have a lease on it already */
    bool             priority_due;   /* another is to be told: in core.priorities_due */
    struct instance *due_next;
    struct instance *starving_next; /* during one scheduling pass */
    uint32_t         waited_on;     /* devices where it was blocked in this run of the scheduler: a bit each */

    sgi_status failed; /* why it ends, SGI_OK when it just ends */
    uint32_t   failed_step;

    uint64_t     charged;        /* bytes on the device, engine included */
    uint64_t     charged_engine; /* of them */
    uint32_t     leases;
    uint32_t     calls;          /* callbacks out, given up by their users or not */
    uint32_t     calls_detached; /* of them given up: each takes the place of a lease until it has come back */
    uint32_t     calls_ending;   /* of them canceled or detached */
    uint64_t     ending_last;    /* when the last of these was canceled */
    uint64_t     admitted_at, last_used;
    uint64_t     idle_ns;   /* the idle time that runs, for when a pin comes off */
    uint64_t     rest_ns;   /* as the last lease released asked for, when a call or the load outlives it */
    uint64_t     ready_seq; /* core.seq when it became ready: wants after it found it there */
    bool         blocked;   /* waits for room, on blocked_device, */
    int32_t      blocked_device;
    uint64_t     hung_at[CB_COUNT]; /* when each callback that is out counts as hung; 0: it does not */
    struct timer idle, hang, starve;
};

enum residence_state {
    RES_NONE,
    RES_KEEPING, /* KEEP is out; charged here already */
    RES_FILLING, /* likewise, while a load leaves a copy on its way to a device with memory of its own */
    RES_KEPT,
    RES_LENT,     /* an instance has the image; it is charged there */
    RES_DROPPING, /* DROP is out; still charged */
};

struct model {
    sgi_model                     id; /* first: see slots */
    struct sgi__core_model_config config;
    struct instance              *instances; /* newest first */
    uint32_t                      instances_count;
    struct instance              *coming;       /* of them: on its way up, QUEUED to LOADING. One at a time */
    uint64_t                      engine_bytes; /* configured, or as last reported */

    struct want  *wants_head, *wants_tail; /* by priority, then age */
    uint32_t      wants;
    uint64_t      op_check;                    /* CHECK_SOURCE is out; outlives an instance that was unqueued */
    uint64_t      check_as_of, check_come;     /* when that went out (see packed_as_of), and packed_come then */
    struct model *pending_prev, *pending_next; /* in core.pending while it has wants */
    bool          is_pending;

    enum residence_state residence;
    bool                 residence_packed;          /* while there is one */
    bool                 residence_spoiled;         /* it is not what it should be, and is to go */
    uint64_t             residence_used;            /* when it was last of use */
    uint64_t             residence_value;           /* while it is in core.kept */
    uint64_t             residence_serial;          /* the number of this one, of all so far */
    uint64_t             uses, uses_at;             /* starts, fading: as they counted then */
    uint32_t             residence_readers;         /* loads that read it in place: it stays until they have ended */
    struct model        *kept_prev, *kept_next;     /* in core.kept while RES_KEPT */
    struct model        *pinned_prev, *pinned_next; /* in core.pinned while pinned to DRAM */
    uint64_t             op_drop;
    bool                 evict_dram; /* drop the residence as soon as it is one */

    bool         prepared, discard_wanted;
    uint32_t     hung_step; /* PREPARE, or STOP for discard: it does not come back. 0: neither */
    uint64_t     prepared_bytes, op_prepare, op_discard;
    struct timer hang; /* of either */

    uint64_t     lease_ns; /* how long its leases are held: a moving average, 0 before the first has ended */
    uint64_t     start_ns[SGI_TIER_DEVICE]; /* how long its last start from a tier took, once it was admitted */
    struct timer more;                      /* another instance may be worth it then */

    uint32_t   pinned_tier;
    uint32_t   failures;     /* consecutive */
    uint64_t   failed_until; /* end of the last back-off; failure_expiry counts from it */
    sgi_status failed;
    uint32_t   failed_step;
    sgi_status last_error;
    uint64_t   loads_total, failures_total, hits_total;
    bool       draining, drained_said;
    uint32_t   leases, leases_overdue; /* over all instances */
};

struct want {
    sgi_ticket            id;
    struct model         *model;
    struct sgi__core_want spec;
    uint64_t              seq;
    uint64_t              since;
    bool                  joined; /* its load had begun for somebody else */
    struct want          *prev, *next;
    struct timer          deadline;
};

struct lease {
    sgi_lease        id;
    struct instance *instance;
    uint64_t         instance_id;
    uint64_t         idle_ns;
    uint64_t         requested_at, granted_at;
    uint8_t          tier;
    bool             joined;
    bool             call_open, is_overdue;
    uint32_t         holds;
    struct timer     overdue;
};

enum context_state { CTX_CLOSED, CTX_OPENING, CTX_OPEN, CTX_CLOSING };

struct device {
    uint64_t           bytes_max, bytes_total, used, used_engine, foreign, residue;
    bool               unified, lost;
    enum context_state context;
    uint64_t           op_context;
    struct instance   *instances; /* admitted to it, newest first */
    uint32_t           instances_count;
    struct timer       linger;
    struct timer       look;      /* while somebody waits for what others have taken */
    uint64_t           look_next; /* not before then */
    uint64_t           promised;  /* during one scheduling pass: to those for whom it is being emptied */
    struct instance   *kept_for;  /* during one scheduling pass: the one that starved longest */
};

#define SGI__DRAM (-1)

struct sgi__core {
    struct sgi__core_config config;
    struct device           devices[SGI__DEVICES_MAX];
    struct device           dram;                  /* only bytes_max, used, unified, and lost while the place is gone */
    struct model           *kept_head, *kept_tail; /* whose residence is KEPT, the least valuable first */
    uint64_t                dram_clock;            /* the value of the most valuable that has been dropped for room */
    struct model           *pinned_head;           /* pinned to DRAM: their images' bytes are reserved there */
    uint64_t                dram_leaving;          /* bytes of residences whose DROP is out */
    uint64_t                dram_ceiling;          /* what may be taken while memory is short; UINT64_MAX: it is not */
    uint64_t                dram_trim;             /* what is to be left of what there is; likewise */
    uint64_t                dram_trim_newest;      /* of the residences that there were then */
    uint64_t                residences;            /* so far */
    struct timer            relief;                /* then the ceiling rises */
    /* What residences have in common is there, and in dram.used, once. Below 0 while it is heard of a drop before it is
     * of a residence that shared with that one. */
    int64_t          dram_shared;
    uint64_t         packed_gone;    /* packed residences that were dropped so far, */
    uint64_t         packed_come;    /* and that became complete, */
    uint32_t         packed_leaving; /* and whose DROP is out */
    uint64_t         packed_fills;   /* begun so far */
    uint32_t         sharing;        /* fills that count on what packed residences have: none is dropped meanwhile */
    bool             sharing_over;   /* the last of them has ended: some may be to be dropped */
    bool             drop_waits;     /* for that: no other fill counts on them meanwhile */
    uint64_t         dram_lending; /* residences whose RESERVE is out: their room stays theirs, in case it is refused */
    struct instance *priorities_due; /* loads whose urgency has changed; only the newest counts, so it is not queued */
    uint64_t         spare_limit_said; /* as of the last SPARE_LIMIT taken */
    bool             spare_trim;       /* all of it is to go, once */
    uint32_t         looks_due;        /* a bit for each device; they are not queued either */
    uint32_t         keep_waiters;     /* instances with keep_waiting */

    struct slots  models, instances, wants, leases;
    uint32_t      instances_max;               /* over all models */
    struct model *pending_head, *pending_tail; /* models with wants, by their first want */
    uint32_t      wants_count, leases_count, loads, calls;
    uint64_t      prepared_bytes;

    struct timer **heap;
    uint32_t       heap_count, heap_capacity;

    struct sgi__core_action *actions; /* rings */
    uint32_t                 actions_capacity, actions_head, actions_count;
    struct sgi__core_reply  *replies;
    uint32_t                 replies_capacity, replies_head, replies_count;
    uint32_t                 notes_max, notes_count; /* of them: each kind of reply has its own room */

    uint64_t serial, op, seq, admitted;  /* the last: instances so far */
    uint64_t load_rate[SGI_TIER_DEVICE]; /* bytes a millisecond of the last start from each tier; 0: none yet */
    bool     devices_kept;               /* as of the last pass: for who starves, or for whom it is being emptied */
    bool     draining, closed_said;
    bool     dirty;     /* the scheduler has something to look at */
    bool     may_share; /* a model that may be packed has been there */
    bool     watched;
};

/* slots.c */
void *sgi__slots_get(const struct slots *s, uint64_t id, enum id_kind kind); /* NULL: stale, foreign, of another kind */
sgi_status sgi__slots_room(struct slots *s, uint32_t items); /* so many can be taken without allocating */
void      *sgi__slots_take(struct slots *s, struct sgi__core *core, enum id_kind kind); /* zeroed, its id set */
void       sgi__slots_give(struct slots *s, void *item);
void       sgi__slots_fini(struct slots *s);
uint64_t   sgi__core_new_id(struct sgi__core *core, enum id_kind kind, uint32_t slot);

/* core.c */
struct model    *sgi__core_model(const struct sgi__core *core, sgi_model id);
struct instance *sgi__core_instance(const struct sgi__core *core, sgi_model model, uint64_t id);
struct device   *sgi__core_device(struct sgi__core *core, int32_t device);         /* SGI__DRAM too */
struct instance *sgi__core_instance_of(const struct sgi__core *core, uint64_t id); /* by its own id alone */
/* The end of every event: whoever can go goes, then whatever is due happens, until nothing follows. */
void sgi__core_settle(struct sgi__core *core, uint64_t now);
/* Emits an action and returns its op. instance may be NULL. */
uint64_t sgi__core_act(struct sgi__core *core, enum sgi__core_action_kind kind, const struct model *m,
                       const struct instance *i);
void     sgi__core_act_context(struct sgi__core *core, enum sgi__core_action_kind kind, struct device *d);
void     sgi__core_reply(struct sgi__core *core, const struct sgi__core_reply *reply);

/* capacity.c: all that can be there at once, and room for it. Of leases all slots count, not those in use: who takes a
 * free one does not ask for room. */
struct crowd {
    uint32_t models, instances, leases;
};
sgi_status sgi__capacity(struct sgi__core *core, struct crowd c); /* SGI_E_NO_MEMORY */
bool       sgi__capacity_is_there(const struct sgi__core *core);  /* for what is there now; asserted */
uint32_t   sgi__models_in_use(const struct sgi__core *core);

/* room.c */
bool     sgi__model_may_be_on(const struct sgi__core_model_config *config, uint32_t device); /* by its mask alone */
uint64_t sgi__device_foreign(const struct device *d); /* what others have taken beyond what bytes_max leaves them */

/* timer.c */
void          sgi__timer_init(struct timer *t, enum timer_kind kind, void *owner);
sgi_status    sgi__timer_room(struct sgi__core *core, uint32_t timers);              /* so many more never allocate */
void          sgi__timer_set(struct sgi__core *core, struct timer *t, uint64_t due); /* later is lazy, earlier is not */
void          sgi__timer_unset(struct timer *t); /* lazy: leaves the heap when its key comes up */
void          sgi__timer_remove(struct sgi__core *core, struct timer *t); /* before its owner goes */
struct timer *sgi__timer_pop_due(struct sgi__core *core, uint64_t now);

/* lifecycle.c: one instance through its states, and the context under it */
void sgi__instance_move(struct instance *i, enum instance_event event);
void sgi__instance_start(struct sgi__core *core, uint64_t now, struct model *m, bool to_dram); /* m->coming is it */
void sgi__instance_admit(struct sgi__core *core, uint64_t now, struct instance *i, int32_t device);
void sgi__instance_check(struct sgi__core *core, struct instance *i);                 /* its source, while it queues */
void sgi__instance_advance(struct sgi__core *core, uint64_t now, struct instance *i); /* do what its facts allow next */
void sgi__instance_stop(struct sgi__core *core, uint64_t now, struct instance *i, bool keep);
void sgi__instance_fail(struct sgi__core *core, uint64_t now, struct instance *i, sgi_status status, uint32_t step);
void sgi__instance_abandon(struct sgi__core *core, uint64_t now, struct model *m,
                           bool canceled); /* the last want has gone */
void sgi__instance_rest(struct sgi__core *core, uint64_t now, struct instance *i,
                        uint64_t idle_ns); /* unused from now on */
void sgi__instance_event(struct sgi__core *core, uint64_t now, struct instance *i, const struct sgi__core_event *event);
/* From `since` on the callback may be out for as long as its model allows. */
void sgi__instance_watch(struct sgi__core *core, uint64_t since, struct instance *i, enum callback callback);
void sgi__instance_unwatch(struct sgi__core *core, struct instance *i, enum callback callback);
void sgi__instance_watch_start(struct sgi__core *core, uint64_t now,
                               struct instance *i); /* once it waits for nothing any more */
void sgi__instance_heal(struct sgi__core *core, uint64_t now, struct instance *i);
void sgi__instance_hung(struct sgi__core *core, uint64_t now, struct instance *i);
void sgi__instance_died(struct sgi__core *core, uint64_t now, struct instance *i);
void sgi__instance_less_used(struct sgi__core *core, uint64_t now, struct instance *i, uint64_t idle_ns);
bool sgi__instance_unused(const struct instance *i);
bool sgi__instance_serves(const struct instance *i); /* it is up, and its device there; full or yielding, too */
bool sgi__instance_pinned(const struct instance *i); /* to its device: the last of its model that serves */
bool sgi__model_serves(const struct model *m);       /* some instance does */
/* Its image stays in DRAM when it ends, if there is room. */
bool sgi__instance_keeps(const struct sgi__core *core, const struct instance *i);
/* Whose bytes are on their way to DRAM, or were, also as a copy of those for its device; NULL: nobody. */
const struct instance *sgi__model_filling(const struct model *m);
void                   sgi__instance_loan_ends(struct sgi__core *core, struct instance *i);
bool     sgi__instance_filled(const struct instance *i); /* every byte of its image is there and verified */
uint64_t sgi__image_on(const struct model *m, const struct device *d);         /* its bytes there; DRAM is one, too */
uint64_t sgi__image_of(const struct instance *i, const struct device *d);      /* likewise, packed if it is to be so */
uint64_t sgi__instance_need(const struct instance *i, const struct device *d); /* and with those of its engine */
void     sgi__prepare(struct sgi__core *core, uint64_t now, struct model *m);  /* if it has to be, and is not */
void     sgi__model_unwatch(uint64_t now, struct model *m); /* prepare or discard is back, or gone with its place */
void     sgi__model_failed(struct sgi__core *core, uint64_t now, struct model *m, sgi_status status, uint32_t step);
void     sgi__model_advance(struct sgi__core *core, uint64_t now,
                            struct model *m); /* what a drain or an evict still waits for */

/* context.c */
bool sgi__context_awaited(const struct sgi__core *core,
                          const struct instance  *i); /* its load may come to wait for it */
void sgi__context_need(struct sgi__core *core, uint64_t now, struct device *d);
void sgi__context_rest(struct sgi__core *core, uint64_t now, struct device *d); /* if unused: linger, then close */
void sgi__context_lingered(struct sgi__core *core, struct device *d);
void sgi__context_event(struct sgi__core *core, uint64_t now, const struct sgi__core_event *event);
void sgi__place_died(struct sgi__core *core, uint64_t now);

/* residence.c: the DRAM tier */
enum room { ROOM_NOW, ROOM_SOON, ROOM_NONE }; /* soon: residences are being dropped for it */
/* For its image, or the packed form of it; may begin to drop. */
enum room sgi__residence_room(struct sgi__core *core, const struct model *m, bool packed);
bool      sgi__residence_packs(const struct sgi__core *core, const struct model *m); /* a new one would be packed */
uint64_t  sgi__residence_bytes(const struct model *m, bool packed);
uint64_t  sgi__residence_least(const struct model *m);       /* of the forms that it may have */
uint64_t  sgi__residence_most(const struct model *m);        /* what a pin reserves: enough for whichever it will be */
bool      sgi__residence_only_packed(const struct model *m); /* an image is not kept, unless it is pinned */
void      sgi__residence_keep(struct sgi__core *core, struct instance *i); /* NONE, LENT -> KEEPING */
/* KEEPING -> KEPT */
void sgi__residence_kept(struct sgi__core *core, uint64_t now, struct model *m, uint64_t shared);
void sgi__residence_lend(struct sgi__core *core, struct model *m); /* KEPT -> LENT: RESERVE is out, */
void sgi__residence_lent(struct sgi__core *core, uint64_t now, struct model *m, bool taken); /* how it ended */
/* KEPT -> DROPPING; cause: SGI_CAUSE_* */
void sgi__residence_drop(struct sgi__core *core, struct model *m, uint32_t cause);
void sgi__residence_dropped(struct sgi__core *core, uint64_t now, struct model *m, uint64_t shared); /* -> NONE */
void sgi__residence_clear(struct sgi__core *core, struct model *m);                                  /* -> NONE */
void sgi__residence_revalue(struct sgi__core *core, uint64_t now, struct model *m);                  /* if it is kept */
void sgi__residence_used(struct sgi__core *core, uint64_t now, struct model *m,
                         uint64_t at);                                            /* by one that stood beside it */
void sgi__residence_wait(struct sgi__core *core, struct instance *i, bool waits); /* until one is dropped */
bool sgi__residence_may_go(struct sgi__core *core, const struct model *m); /* now; else once nobody needs it there */
/* Which packed residences there are: another number when one has gone. SGI__NEVER: one is going. */
uint64_t sgi__packed_as_of(const struct sgi__core *core);
/* Room for one that is wanted into DRAM, or for a copy; in which form is in i->packs. *shares_out: the bytes of it that
 * it then counts on: where those are most of it, what is unpacked goes for the rest, and not what has them. */
enum room sgi__fill_room(struct sgi__core *core, struct instance *i, uint64_t *shares_out);
/* There was no room; true: there may be, once what is under way is heard of. */
bool sgi__fill_may_fit(const struct sgi__core *core, struct instance *i);
/* There is not room for all of it, and others have come or gone since its source was checked: what it shares with them
 * is asked once more, before anything goes for it. Once those that are on their way out have gone. */
bool sgi__fill_asks_again(struct sgi__core *core, struct instance *i);
void sgi__fill_begins(struct sgi__core *core, struct instance *i);        /* it counts on i->shares, and is charged */
void sgi__shares_end(struct sgi__core *core, struct instance *i);         /* if it does */
void sgi__shares_over(struct sgi__core *core, uint64_t now);              /* at the end of each event */
bool sgi__residence_moves(const struct model *m, const struct device *d); /* to there; else it is read in place */
/* Beside an instance: a copy that its load leaves, or what its load reads. */
void sgi__copy_expect(struct sgi__core *core, struct instance *i); /* begins to make room for the copy */
bool sgi__copy_begin(struct sgi__core *core, struct instance *i);  /* for its load. False: wait for room */
void sgi__copy_left(struct sgi__core *core, struct instance *i, uint64_t bytes,
                    uint64_t shared);                                            /* 0: none, after all */
void sgi__copy_settle(struct sgi__core *core, uint64_t now, struct instance *i); /* its load or prefix has ended */
void sgi__read_begin(struct sgi__core *core, struct instance *i);
void sgi__read_end(struct sgi__core *core, struct instance *i); /* if it does */
/* Reserves the image's bytes. SGI_E_NO_ROOM: the pins together would not fit; SGI_E_BUSY: what is there cannot go. */
sgi_status sgi__residence_pin(struct sgi__core *core, struct model *m);
void       sgi__residence_unpin(struct sgi__core *core, struct model *m);

/* pressure.c: host memory that is wanted back */
uint64_t sgi__dram_max(const struct sgi__core *core); /* what residences may take for now, but for what pins reserve */
void     sgi__give_back(struct sgi__core *core);      /* begins to, as far as there is too much */
void     sgi__pressure_relieved(struct sgi__core *core, uint64_t now);
/* residence.c: drops until so many are left, none that is newer */
void sgi__residence_shrink(struct sgi__core *core, uint64_t bytes, uint64_t newest);

/* value.c: which residence goes first */
void     sgi__value_use(struct model *m, uint64_t now); /* one more start */
uint64_t sgi__value(const struct sgi__core *core, const struct model *m, uint64_t bytes, uint64_t now); /* in DRAM */
uint64_t sgi__start_ns(const struct sgi__core *core, const struct model *m, uint32_t tier); /* expected; NEVER */

/* note.c: what observers are told. Nothing here changes what the core decides */
void sgi__note_ready(struct sgi__core *core, const struct instance *i);
void sgi__note_idle(struct sgi__core *core, const struct instance *i, uint64_t idle_ns);
void sgi__note_stops(struct sgi__core *core, uint64_t now, struct instance *i); /* the first time */
void sgi__note_released(struct sgi__core *core, uint64_t now, const struct instance *i, uint64_t residue);
void sgi__note_drops(struct sgi__core *core, const struct model *m, uint32_t cause);
void sgi__note_failed(struct sgi__core *core, const struct model *m, sgi_status status, uint32_t step,
                      uint64_t retry_after_ns);

/* sched.c: who goes next */
void             sgi__sched_run(struct sgi__core *core, uint64_t now);
struct lease    *sgi__lease_grant(struct sgi__core *core, uint64_t now, struct instance *i, uint64_t idle_ns,
                                  uint64_t lease_ns); /* room was made */
bool             sgi__evict_one(struct sgi__core *core, uint64_t now,
                                struct device *d); /* begins to stop the idle one unused longest */
struct instance *sgi__model_grants(const struct model *m, int32_t hint); /* who would give a lease now; NULL: nobody */
bool sgi__fits_somewhere(const struct sgi__core *core, const struct model *m, bool to_dram, sgi_status *why_not);

/* Why nothing of a model that is not up would be started now; SGI_OK: nothing is in the way. */
sgi_status sgi__cold_refused(const struct sgi__core *core, uint64_t now, const struct model *m, bool to_dram,
                             uint32_t *step_out);
/* Likewise when all the instances it may have are there and none is up: they end, are lost (and there only for those
 * who still hold them), or hang. */
sgi_status sgi__ending_refused(const struct sgi__core *core, const struct model *m, bool to_dram, uint32_t *step_out);
/* How long the queue is, with `more` at its end: the last in it will wait so long if leases go on being held as long as
 * they were, and the first has waited for some time already, since `since_out`. What yields to one that starves takes
 * nobody more. 0: nobody waits whose time is not over. SGI__NEVER: nobody knows. */
uint64_t sgi__queue_ns(uint64_t now, const struct model *m, uint32_t more, uint64_t *since_out);
/* What bringing up one more will take, as far as is known: from DRAM if its bytes are there, else from disk. */
uint64_t sgi__next_start_ns(const struct model *m);

/* want.c */
int32_t sgi__urgency(const struct instance *i); /* of its load: that of the most urgent who waits for it */
void    sgi__load_urgency(struct sgi__core *core, struct instance *i); /* it may have changed, or its load has ended */
void    sgi__want_add(struct sgi__core *core, struct want *w);
void    sgi__want_grant(struct sgi__core *core, uint64_t now, struct want *w,
                        struct instance *i); /* i NULL: a DRAM prefetch */
void    sgi__want_reject(struct sgi__core *core, struct want *w, sgi_status status, uint32_t step,
                         uint64_t retry_after_ns);
void    sgi__wants_reject(struct sgi__core *core, struct model *m, sgi_status status, uint32_t step,
                          uint64_t retry_after_ns); /* all of it */
/* SGI_STEP_*: where its start is, for who gives up waiting. */
uint32_t sgi__want_step(const struct sgi__core *core, const struct model *m);

#endif
