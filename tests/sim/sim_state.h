/* SPDX-License-Identifier: Apache-2.0 */
/* What the simulator's files share. One thread, no locks; only tests/sim includes this. */
#ifndef SGI_SIM_STATE_H
#define SGI_SIM_STATE_H

#include "sim/sim.h"

enum {
    SIM_ACTS = SGI__ACT_LOOK + 1,
    SIM_FAMILIES = 3,                          /* of models that have something in common */
    SIM_ACTS_DRAWN = SGI__ACT_SPARE_LIMIT + 1, /* for which seeds draw: those that there were when they began */
    SIM_LOOK_NS = 250000000,
    SIM_LOG = 64,
    SIM_LOOK_ALL = 16,
    SIM_OUTCOMES = 4096,
    SIM_DONE_OPS = 64,
    SIM_STATUSES = 400,
    SIM_VICTIMS = 16
};

/* Records of one kind behind the core's ids: at[slot], made when a slot is first seen, never moved. */
struct table {
    void   **at;
    uint32_t size;
    size_t   item_bytes;
};

#define SIM_RELIEF_NS MS(10000) /* memory is short no more than so long after it was said */

enum fact { NOT, UNDER_WAY, DONE, FAILED }; /* as the core has been told */

/* An instance as the world holds it. */
struct world_instance {
    uint64_t               id; /* first: see table; 0 while unused */
    struct world_model    *model;
    struct world_instance *next;   /* of the model's */
    int32_t                device; /* -1: DRAM */
    uint32_t               tier;
    bool                   own;                       /* that device has memory of its own */
    uint64_t               image_bytes, engine_bytes; /* held, or promised by a RESERVE that is out */
    uint64_t               shares;                    /* that its fill counts on others for */
    enum fact              reserve, load, prefix, engine, stop, end;
    bool                   keeping;
    bool                   copies;     /* its load leaves a copy in DRAM */
    bool                   packed;     /* it is read into DRAM only, to stay there packed */
    bool                   in_place;   /* its bytes come from a residence that stays where it is */
    bool                   in_context; /* on a device with memory of its own: its context is open, or was */
    uint64_t               last_used;
    bool                   ready;    /* before the pin that is made in this event */
    bool                   lost;     /* with its device; the host side of it still has to be given back */
    bool                   died;     /* with its place; nothing is left but its leases */
    bool                   failed;   /* a step failed: it has to go */
    bool                   canceled; /* the last want for its load was canceled */
    bool                   begun;    /* its load has come past the gate; else it failed with */
    sgi_status             load_status;
    uint32_t               load_step;
    bool                   hung;           /* a callback was out for too long, and the core had the time to notice */
    bool                   wedged;         /* and it said so */
    bool                   unkept;         /* evicted to disk */
    int32_t                priority;       /* of its load, as told, */
    int32_t                priority_early; /* and of the leases granted before its end */
    bool                   leaving;        /* had a reason to go, and goes */
    uint32_t               leases;
    uint32_t               calls;      /* callbacks out in the world */
    bool                   rest_known; /* idle_until is exact */
    uint64_t               idle_ns;
    uint64_t               idle_due;             /* it does not leave before, counted from when it was last used, */
    uint64_t               idle_until;           /* and does not stay longer. NEVER while its pin holds it */
    uint64_t               admitted_seq, up_seq; /* the last want before each; up: 0 while it is not */
    uint64_t               admitted_event, up_event;
};

/* What the wants of a model ask for together; of no use where it has none. */
struct waiting {
    uint64_t oldest_seq;
    int32_t  priority; /* of the first of them, by priority and age, */
    uint64_t first_seq;
    uint64_t since;      /* of the oldest for a device that is in time; NEVER: none */
    uint64_t since_late; /* or late: nobody may have looked since */
};

struct world_model {
    sgi_model                     id;
    struct sim_model              spec;
    struct sgi__core_model_config config;
    struct world_instance        *instances; /* that take memory, newest first */
    sgi_status                    source;    /* what a check finds */
    enum fact                     checked;   /* for the start under way */
    enum fact                     prepare;
    uint64_t                      prepared_bytes;
    uint64_t                      dram_bytes; /* held as a residence, were it alone */
    bool                          packed;     /* it is, and */
    bool                          counted;    /* shares what it has in common with its family */
    bool                          filling;    /* that is a copy which a load leaves, and is not complete */
    bool                          spoiled;    /* it is, but for the engine's part, and will not be */
    uint64_t                      dram_used;  /* when it was last of use */
    uint64_t                      dram_event; /* of the last change in who needs it */
    bool                          dropping, discarding;
    uint32_t                      pinned_tier;
    uint32_t                      wants, leases;
    bool                          draining, drained;
    sgi_status                    drain_reason;
    bool                          evicted, evict_dram, evict_prepared; /* asked for, and nobody has wanted it since */
    uint64_t                      engine_bytes;                        /* as configured, or as the engine said last */
    uint64_t                      granted_event;                       /* of the last grant */
    uint64_t       failed_event[SIM_STATUSES]; /* when a step of it last failed with -status, by event; 0: never */
    uint32_t       actions[SIM_ACTS];
    bool           hold[SIM_ACTS]; /* by sim_hold_of() */
    bool           refused;        /* its memory was, for the start under way */
    struct waiting waiting;        /* as of this event */
    uint64_t       kept_event;     /* the first since it starves and is the oldest that waits, 0: it does not; */
    uint64_t       kept_seq;       /* which of its wants that is, */
    uint32_t       kept_devices;   /* and where it may be */
};

struct world_want {
    sgi_ticket            id;
    struct world_model   *model;
    struct sgi__core_want spec;
    uint64_t              since;
    uint64_t              seq;
    bool                  canceled;
};

struct world_lease {
    sgi_lease           id;
    struct world_model *model;
    uint64_t            instance;
    uint64_t            idle_ns;
    uint64_t            granted_at, granted_event, due; /* due: of the lease time */
    bool                overdue, early;
    bool                call_open;
};

/* A callback that is out: outlives its lease. */
struct world_call {
    sgi_lease           lease;
    uint64_t            instance;
    struct world_model *model;
    uint64_t            granted_event; /* of its lease */
    uint64_t            ending_since;  /* canceled or detached; NEVER: not */
    bool                detached;
    bool                never; /* comes back only when all is over */
};

struct world_device {
    uint64_t   bytes_max, bytes_total;
    bool       own;               /* memory of its own */
    uint64_t   foreign;           /* as the core was told, */
    uint64_t   foreign_now;       /* and as it is */
    uint64_t   looked_at;         /* when the core last asked for it; 0: never */
    uint64_t   used, used_engine; /* over the instances there */
    uint64_t   residue, residue_next;
    enum fact  context; /* DONE: open */
    bool       lost, closing;
    enum fact  gate; /* where what needs the context of a device with memory of its own waits for it: DONE: it is open;
                       FAILED: with gate_status. A moment before the core is told */
    sgi_status gate_status;
};

/* An action that is out, and the result it will have. */
struct world_op {
    struct sgi__core_action action;
    uint64_t                since;
    sgi_status              status;
    uint32_t                step;
    uint64_t                bytes;        /* to report */
    uint64_t                shared;       /* of them */
    bool                    shared_known; /* it was decided as the op began */
    uint64_t                load_left;    /* of a load that shares bandwidth */
    bool                    shares, hangs;
    bool                    at_gate; /* it is done but for the context that it waits for */
    bool                    counts;  /* a start that waits for nothing any more: since then it may hang */
    bool                    never;   /* comes back only when all is over */
};

enum queued_kind {
    Q_RESULT,  /* `op` ends */
    Q_LOADS,   /* the next of the loads sharing bandwidth `tier` ends; a: generation */
    Q_REPEAT,  /* a result comes once more; op holds it */
    Q_CLIENT,  /* the next thing a client does */
    Q_RELEASE, /* a: lease */
    Q_CALL,    /* a: lease: begins one */
    Q_CALL_CANCEL,
    Q_CALL_DETACH, /* and releases */
    Q_CALL_BACK,   /* a: lease, b: instance */
    Q_CANCEL,      /* a: ticket */
    Q_DEVICE_BACK, /* a: device */
    Q_PLACE_UP,
    Q_FOREIGN, /* a: device, b: bytes */
    Q_FOREIGN_UNSEEN,
    Q_GATE,   /* a: device, b: op of its OPEN_CONTEXT */
    Q_LOOKED, /* a: device */
    Q_MEND,   /* a: model: the source is good again */
    Q_UNPIN,  /* a: model */
};

struct queued {
    uint64_t         at, seq;
    enum queued_kind kind;
    uint32_t         tier;
    struct world_op *op;
    uint64_t         a, b;
};

/* One line of the log. */
struct record {
    uint64_t   at, event;
    char       type; /* 'u' user, 'e' event, 'a' action, 'r' reply, 't' tick */
    uint8_t    kind;
    int32_t    device;
    sgi_status status;
    uint64_t   a, b, c;
};

struct range {
    uint64_t min, max;
};

/* What the seeded clients do and how often; all chances are in 1/10000. */
struct habits {
    bool         on, stopped;
    bool         own_memory;      /* some devices have it */
    uint64_t     events;          /* clients stop at */
    bool         calm;            /* no trouble, no pins, one priority: then nobody may starve, */
    uint64_t     patience;        /* by this bound */
    struct range takes[SIM_ACTS]; /* ns */
    struct range pause, use, hang_for;
    uint64_t     image_max;
    uint32_t     fail[SIM_ACTS], hang[SIM_ACTS], repeat, call_hang;
    uint32_t     never; /* of what hangs */
    uint32_t     device_lost, place_dies, foreign, source_breaks, memory_short, no_copy;
    uint64_t     tick_late; /* the timer thread may be so late */
};

struct sim {
    struct sim_config config;
    struct sgi__core *core;
    uint64_t          now, random;
    uint64_t          random_packed; /* likewise; 0: nothing is packed */
    uint64_t          random_never;  /* draws of its own, or seeds would be other days than before there was a never */
    bool              up;            /* the place */
    bool              closing, ending;

    struct table        models, instances, wants, leases;
    struct world_device devices[SGI__DEVICES_MAX];
    uint32_t            devices_count;
    uint64_t            dram_max, dram_used, spare_limit;
    uint64_t            dram_shared; /* by residences, and in dram_used once only */
    uint32_t            sharing;     /* fills that count on some of that */
    bool                sees;        /* a check of a source says what would be shared; else it is left to chance */
    bool                trims;       /* in this event */
    uint64_t            dram_trim;   /* what a trim is to leave, until it has; UINT64_MAX */
    /* What pressure leaves to DRAM, as of the begin and the end of this event, and when that rises. */
    uint64_t           ceiling_before, ceiling, relief_at;
    uint32_t           families[SIM_FAMILIES]; /* residences that have what each has in common */
    uint32_t           wants_count, leases_count, calls_count, loads_count;
    struct world_call *calls;
    uint32_t           calls_capacity;

    struct queued *queue;
    uint32_t       queue_count, queue_capacity;
    uint64_t       queue_seq, want_seq;

    struct world_op **held; /* by sim_hold, in order */
    uint32_t          held_count, held_capacity;
    struct world_op **out; /* every op that has not ended */
    uint32_t          out_count, out_capacity;
    struct world_op   done[SIM_DONE_OPS]; /* the last that ended, for repeats */
    uint64_t          done_count;

    bool     hold[SIM_ACTS];
    bool     host;      /* by sim_be_host() */
    bool     no_copies; /* by sim_no_copies() */
    uint32_t kept;      /* START_LOAD with `keep` */
    uint64_t takes[SIM_ACTS];
    struct {
        sgi_status status;
        uint32_t   step, times;
    } fail[SIM_ACTS];
    uint32_t actions[SIM_ACTS];
    uint64_t shared_since[3], shared_generation[3]; /* bandwidth, by source tier */

    struct sim_outcome outcomes[SIM_OUTCOMES];
    sgi_ticket         outcome_tickets[SIM_OUTCOMES];
    uint64_t           outcomes_count;
    uint32_t           overdue, wedged, drained, closed;
    uint32_t           stopping; /* noted STOPS without their RELEASED */

    uint64_t                     event; /* number of the one being handled */
    char                         event_type;
    enum sgi__core_event_kind    event_kind; /* for 'e' */
    struct world_model          *event_model;
    uint64_t                     last_op;
    uint64_t                     tick_at;        /* when the late timer thread will run */
    uint64_t                     admitted_event; /* of the last RESERVE */
    uint64_t                     wedged_event;   /* of the last WEDGED */
    uint64_t                     upset_event;    /* the last that changed what can be had, beside starts and ends */
    uint64_t                     refused_event;  /* of the last refused reserve, */
    int32_t                      refused_device;
    uint64_t                     refused_image; /* of a prefetch into DRAM for which there was no room in this event */
    const struct world_instance *early;         /* granted early in this event */
    uint64_t                     oldest_seq, oldest_since; /* the starvation watch */
    struct record                log[SIM_LOG];
    uint64_t                     log_count;
    struct sim_score             score;
    struct habits                habits;
    void (*told)(void *user, const struct sgi__core_reply *reply); /* by sim_told(); NULL: nobody */
    void *told_user;
};

/* sim_log.c */
_Noreturn void sim__broken(const struct sim *s, const char *rule, ...) __attribute__((format(printf, 2, 3)));
void sim__log(struct sim *s, char type, uint8_t kind, int32_t device, sgi_status status, uint64_t a, uint64_t b,
              uint64_t c);

/* sim.c */
void               *sim__slot(struct table *t, uint64_t id);      /* of an id, live or not; makes it */
void               *sim__get(const struct table *t, uint64_t id); /* NULL unless live */
void               *sim__array_add(void *array, uint32_t *count, uint32_t *capacity, size_t item_bytes);
struct world_model *sim__model(const struct sim *s, sgi_model id);
uint64_t            sim__random(struct sim *s, uint64_t below);
bool                sim__chance(struct sim *s, uint32_t in_10000);
uint64_t            sim__between(struct sim *s, struct range r);
bool                sim__packed_now(struct sim *s); /* what is packed comes or goes as its op begins, not as it ends */
bool                sim__never(struct sim *s);      /* what hangs does not come back */
void                sim__let_return(struct sim *s); /* now it does */
uint64_t            sim__ns(uint64_t ms);           /* SGI__NEVER for SIM_IDLE_NEVER and SIM_HANG_NEVER */
void                sim__queue(struct sim *s, const struct queued *q);
void                sim__queue_remove(struct sim *s, const struct world_op *op);
void                sim__begin(struct sim *s, char type, struct world_model *m); /* an event for the core begins... */
void                sim__settle(struct sim *s); /* ...and what follows is taken and checked */
void                sim__event(struct sim *s, const struct sgi__core_event *event, bool must_take);
void                sim__tick(struct sim *s);
bool sim__step(struct sim *s, uint64_t until);   /* the next queued thing or tick at or before; false: none */
void sim__now_due(struct sim *s);                /* after a scripted step: what takes no time happens now */
void sim__finish(struct sim *s, bool releasing); /* drains, runs out, checks, and frees the core */
void sim__fini(struct sim *s);

/* sim_user.c */
sgi_status sim__try_acquire(struct sim *s, sgi_model model, uint64_t idle_ns, uint64_t lease_ns, sgi_lease *lease_out);
void       sim__lease_made(struct sim *s, sgi_lease id, struct world_instance *i, uint64_t idle_ns, uint64_t lease_ns);
void       sim__call_back(struct sim *s, uint64_t lease, uint64_t instance);

/* sim_ops.c */
struct world_op *sim__op_out(struct sim *s, const struct sgi__core_action *action);
void             sim__op_in(struct sim *s, struct world_op *op);           /* it has ended; frees it */
void             sim__op_forget(struct sim *s, const struct world_op *op); /* it is out no more */
struct world_op *sim__op_find(struct sim *s, enum sgi__core_action_kind kind, uint64_t instance);
void             sim__op_ends_at(struct sim *s, struct world_op *op, uint64_t at); /* or is held */
void             sim__op_unschedule(struct sim *s, struct world_op *op);
bool     sim__op_waits(struct sim *s, struct world_op *op, const struct world_instance *i); /* for what it needs */
void     sim__op_leaves_gate(struct sim *s, struct world_op *op, uint64_t within_ns);
void     sim__gate_moves(struct sim *s, uint32_t device, enum fact gate, sgi_status status);
void     sim__gate_opens(struct sim *s, uint32_t device, uint64_t op); /* by this OPEN_CONTEXT */
void     sim__start_counts(struct sim *s, const struct world_instance *i);
uint64_t sim__bandwidth(const struct sim *s, uint32_t tier);   /* bytes per microsecond; 0: loads take a time each */
void     sim__load_joins(struct sim *s, struct world_op *op);  /* who shares it */
void     sim__load_leaves(struct sim *s, struct world_op *op); /* or has no part in it */
void     sim__loads_end(struct sim *s, uint32_t tier, uint64_t generation);

/* sim_world.c */
void sim__world_action(struct sim *s, const struct sgi__core_action *action); /* it was checked; it is carried out */
void sim__world_result(struct sim *s, struct world_op *op);
void sim__world_repeat(struct sim *s, struct world_op *op);
void sim__world_loses_device(struct sim *s, uint32_t device);       /* nobody has been told */
void sim__world_dies(struct sim *s);                                /* likewise, the place */
struct sgi__core_event sim__world_event(const struct world_op *op); /* that its result is */

/* sim_script.c */
void       sim__world_looked(struct sim *s, uint32_t device);
sgi_status sim__engine_bytes(struct sim *s, struct world_instance *i, uint64_t bytes, bool at_least,
                             uint64_t *free_out);

/* sim_ledger.c: what the world holds, and what can be said of it */
void sim__charge(struct sim *s, struct world_instance *i, uint64_t image_bytes, uint64_t engine_bytes);
void sim__keep(struct sim *s, struct world_model *m, uint64_t dram_bytes);
bool sim__up(const struct world_instance *i);     /* every byte is there, and its engine runs or ran */
bool sim__idle(const struct world_instance *i);   /* and nobody uses it */
bool sim__coming(const struct world_instance *i); /* it is not up yet, and nothing keeps it from that */
bool sim__serves(const struct sim *s, const struct world_instance *i); /* it is up, and stays */
bool sim__held(const struct sim *s, const struct world_instance *i);   /* by a pin: it is the last that serves */
const struct world_instance *sim__here(const struct world_model *m, int32_t device);
const struct world_instance *sim__server(const struct sim *s, const struct world_model *m); /* some that serves */
const struct world_instance *sim__keeper(const struct world_model *m);   /* whose image becomes the residence */
const struct world_instance *sim__borrower(const struct world_model *m); /* who has the residence */
uint32_t                     sim__free_leases(const struct sim *s, const struct world_instance *i);
const struct world_instance *sim__filler(const struct world_model *m); /* whose load leaves a copy */
uint64_t                     sim__image_on(const struct sim *s, const struct world_model *m, int32_t device);
uint64_t sim__need(const struct sim *s, const struct world_model *m, uint32_t device); /* likewise, with its engine */
uint64_t sim__foreign(const struct sim *s, uint32_t device); /* what others have taken of what may be used there */
bool sim__may_be_on(const struct sim *s, const struct world_model *m, uint32_t device); /* and fits, were it empty */
uint32_t sim__instances_of(const struct sim *s, const struct world_model *m);
bool     sim__one_comes(const struct world_model *m);
bool     sim__waits_for_room(const struct sim *s, const struct world_model *m); /* its source is good, and none comes */
bool     sim__resident(const struct world_model *m); /* its image is in DRAM, and stays for now */
uint64_t sim__form_bytes(const struct world_model *m, bool packed);
bool     sim__packs(const struct world_model *m); /* it may be packed in DRAM; unless it has to, if that gains enough */
bool     sim__has_to_pack(const struct world_model *m);
uint64_t sim__least(const struct world_model *m); /* of what it may take there, */
uint64_t sim__most(const struct world_model *m);  /* and what a pin reserves */
uint64_t sim__share(struct sim         *s,
                    struct world_model *m); /* its residence is complete: bytes that were there already */
uint64_t sim__unshare(struct sim *s, struct world_model *m); /* it goes: bytes of it that stay */
bool     sim__reads(const struct world_instance *i);         /* a residence, which stays where it is */
bool     sim__is_read(const struct world_model *m);
enum gone { GONE_NONE, GONE_DROPPED, GONE_DROPPABLE }; /* once what is being dropped has gone, or all that may */
bool     sim__dram_fits(const struct sim *s, const struct world_model *m, uint64_t bytes, enum gone gone);
uint64_t sim__dram_leaving(const struct sim *s);        /* what is being dropped takes, were it alone */
uint64_t sim__dram_moving(const struct world_model *m); /* on its way to DRAM, or lent and perhaps coming back */
uint64_t sim__dram_taken(const struct world_model *m);  /* and what is there */
bool     sim__droppable(const struct sim         *s,
                        const struct world_model *m); /* what is there may be dropped, or is being dropped */
uint64_t sim__would_share(const struct sim *s, const struct world_model *m); /* were it packed there now */
bool     sim__instance_hung(const struct sim            *s,
                            const struct world_instance *i); /* a callback of it is out for longer than it may */
bool     sim__engine_hung(const struct sim *s, const struct world_instance *i); /* other than a call */
bool     sim__hung(const struct sim *s, const struct world_model *m);           /* of it or of its model */
bool     sim__prepare_hung(const struct sim *s, const struct world_model *m);
void     sim__mark_hung(struct sim *s);
void     sim__mark_up(struct sim *s);
void     sim__rests(const struct sim *s, struct world_instance *i); /* its idle time begins, if nobody uses it */

/* sim_check.c: actions */
void sim__check_action(struct sim *s, const struct sgi__core_action *action);
void sim__check_unseen(struct sim *s);                                 /* ends that no action shows yet */
bool sim__yields(const struct sim *s, const struct world_instance *i); /* somebody starves for its device */

/* sim_reply.c */
void     sim__check_reply(struct sim *s, const struct sgi__core_reply *reply); /* and ends what it ends */
void     sim__check_try(struct sim *s, struct world_model *m, const struct world_instance *i);
uint64_t sim__dram_left(const struct sim *s);

/* sim_waits.c: what must hold for those who wait, after every event */
void sim__check_waits(struct sim *s);

/* sim_after.c: what must hold after every event, and when all is quiet */
void sim__check_all(struct sim *s);
void sim__check_quiet(struct sim *s);

/* sim_client.c */
void sim__client(struct sim *s, const struct queued *q);
void sim__client_granted(struct sim *s, struct world_lease *lease);

#endif
