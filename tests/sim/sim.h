/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulator: the real core, driven by a virtual clock, with everything it talks to modelled.
 *
 * The world plays the place (devices, contexts, loads that share bandwidth, engines, DRAM residences) and keeps its own
 * ledger of what each instance holds and who was promised what. After every event the two are compared and the rules of
 * DESIGN sections 1 and 3 are checked; the first one broken ends the process with the rule and the last events.
 *
 * Checked after every event, for all there is: bytes, loads, calls, leases and wants in total and by device; deadlines,
 * idle times, urgency; what is free and who waits for it; and the core's own structures. Only what the core tells of a
 * single model, instance or lease when it is looked at is sampled: after every 16th event all of them, after the others
 * the model that the event was about and one lease. Actions and replies are checked one by one, before all that.
 *
 * Tests script it with the functions below: time stands still until sim_advance_ms() or sim_wait() moves it, and what
 * takes no time has happened when a function returns. The seeded clients (sim_play) use the same world.
 */
#ifndef SGI_SIM_SIM_H
#define SGI_SIM_SIM_H

#include <core/core.h>

#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)
#define MS(n)  ((uint64_t)(n)*1000000u)

#define SIM_IDLE_NOW   (UINT64_MAX - 1)
#define SIM_IDLE_NEVER UINT64_MAX
#define SIM_HANG_NEVER UINT64_MAX

struct sim; /* opaque */

/* Zero is the default named in the comment. */
struct sim_config {
    uint64_t seed;
    uint32_t devices_count; /* 1 */
    uint64_t vram_bytes;    /* of every device that the next line leaves out; 1 GiB */
    uint64_t device_bytes[SGI__DEVICES_MAX];
    uint64_t total_bytes[SGI__DEVICES_MAX]; /* of its memory, for all processes; not known */
    bool     discrete;                      /* devices have memory of their own; else it is host memory */
    uint32_t discrete_devices;              /* those that do: a bit each. None, or with `discrete` all */
    uint64_t dram_bytes;                    /* no DRAM residences */
    uint32_t wants_max;                     /* 64 */
    uint32_t loads_max;                     /* 4 */
    uint64_t linger_ms;                     /* 1 s */
    uint64_t starve_ms;                     /* 5 s */
    uint64_t backoff_ms, backoff_max_ms;    /* 100 ms, 10 s */
    uint64_t failure_expiry_ms;             /* 60 s */
    uint64_t disk_mib_s, link_mib_s;        /* shared by the loads running; 0: loads take sim_takes_ms() */
    uint64_t id_seed;                       /* from the seed */
    bool     stepped;                       /* what takes no time waits for the clock too: see sim_told() */
    bool     quiet;                         /* print nothing when a rule breaks: for shrinking */
    bool     verbose;                       /* print every event */
};

struct sim_model {
    uint64_t bytes, engine_bytes;
    uint64_t device_bytes; /* of the image on a device with memory of its own; `bytes` */
    uint64_t packed_bytes; /* as a packed residence; there is no such */
    uint64_t common_bytes; /* of packed_bytes: what it has in common with its family; 0, or as much as they have */
    uint32_t family;
    uint32_t residence;  /* SGI_RESIDENCE_AUTO, ... */
    uint64_t idle_ms;    /* 10 s; SIM_IDLE_NOW, SIM_IDLE_NEVER */
    uint64_t hang_ms;    /* 60 s; SIM_HANG_NEVER */
    uint32_t leases_max; /* of an instance; 1 with an engine, else no limit */
    uint32_t instances;  /* at most; 1 */
    uint32_t devices;    /* a bit for each that it may be on; 0: all */
    bool     engine, prepare, prefix;
};

struct sim_ask {
    uint64_t deadline_ms; /* from now; none */
    int32_t  priority;
    uint32_t device;   /* hint: 1 + index; any */
    uint64_t idle_ms;  /* the model's; SIM_IDLE_NOW, SIM_IDLE_NEVER */
    uint64_t lease_ms; /* no limit */
    bool     early;
    bool     prefetch;
    uint32_t tier; /* SGI_TIER_DEVICE */
};

struct sim_outcome {
    bool       ended;
    sgi_status status; /* SGI_STATUS_END_ until it has ended */
    uint32_t   step, tier;
    bool       joined;
    sgi_lease  lease;
    uint64_t   instance;
    uint64_t   retry_after_ns;
    uint64_t   at; /* ns on the virtual clock */
};

/* ---- life ---- */

struct sim *sim_new(const struct sim_config *config);
/* Drains, runs everything out and fails on any leaked byte, context, timer, residence or lease. */
void sim_free(struct sim *s);
/* The same for a sim whose leases the test left open on purpose: releases them first. */
void sim_free_releasing(struct sim *s);

sgi_model  sim_model(struct sim *s, const struct sim_model *model);
sgi_status sim_model_status(struct sim *s, const struct sim_model *model, sgi_model *model_out);
sgi_status sim_remove(struct sim *s, sgi_model model);

/* ---- time ---- */

uint64_t sim_now(const struct sim *s);
void     sim_advance_ms(struct sim *s, uint64_t ms);
void     sim_advance_ns(struct sim *s, uint64_t ns);
/* Moves the clock from event to event until nothing is under way, not even a timer. */
void sim_run_out(struct sim *s);

/* ---- requests ---- */

sgi_status sim_ask_status(struct sim *s, sgi_model model, const struct sim_ask *ask, sgi_ticket *ticket_out);
sgi_ticket sim_ask(struct sim *s, sgi_model model, const struct sim_ask *ask); /* NULL: defaults; must be accepted */
struct sim_outcome sim_outcome(const struct sim *s, sgi_ticket ticket);
struct sim_outcome sim_wait(struct sim *s, sgi_ticket ticket);  /* moves the clock until it has ended */
sgi_lease          sim_acquire(struct sim *s, sgi_model model); /* ask, wait, must be granted */
sgi_status sim_acquire_status(struct sim *s, sgi_model model);  /* ask, wait, how it ended; a lease is released again */
sgi_status sim_try_acquire(struct sim *s, sgi_model model, sgi_lease *lease_out);
sgi_status sim_cancel(struct sim *s, sgi_ticket ticket);
sgi_status sim_release(struct sim *s, sgi_lease lease);
sgi_status sim_evict(struct sim *s, sgi_model model, uint32_t tier);
void       sim_evict_all(struct sim *s, uint32_t tier);
void       sim_trim(struct sim *s, uint64_t dram_bytes);
void       sim_pressure(struct sim *s);
sgi_status sim_pin(struct sim *s, sgi_model model, uint32_t tier);
sgi_status sim_drain_model(struct sim *s, sgi_model model, sgi_status reason);
void       sim_drain(struct sim *s);

sgi_status sim_call_begin(struct sim *s, sgi_lease lease);
void       sim_call_cancel(struct sim *s, sgi_lease lease);
void       sim_call_detach(struct sim *s, sgi_lease lease); /* gives the call up, canceling it if it runs still */
void       sim_call_back(struct sim *s, sgi_lease lease);   /* the lease may be released already */

/* ---- the world ---- */

void sim_takes_ms(struct sim *s, enum sgi__core_action_kind kind, uint64_t ms);    /* from now on; 0 at first */
void sim_sees_shared(struct sim *s);                                               /* checks of sources do */
void sim_hold(struct sim *s, enum sgi__core_action_kind kind);                     /* results do not come... */
void sim_let_go(struct sim *s, enum sgi__core_action_kind kind);                   /* ...until now, in their order */
void sim_hold_of(struct sim *s, enum sgi__core_action_kind kind, sgi_model model); /* likewise, of one model */
void sim_let_go_of(struct sim *s, enum sgi__core_action_kind kind, sgi_model model);
/* The next `times` actions of a kind end with `status` at `step`. */
void sim_fail(struct sim *s, enum sgi__core_action_kind kind, sgi_status status, uint32_t step, uint32_t times);
/* The world is a host with its files from now on. An action that is to fail does so when its result is due, not when it
 * is asked for. A load from disk compares the source once more. What comes from DRAM is neither read nor made room for:
 * it does not fail at that, and there is nothing to cancel. What is under way on a lost device ends well all the same,
 * in the host's memory. On a device with memory of its own a start begins once its load has passed the gate, or fails
 * with it; what another such device has whole is copied from there, not read; and what fails for lack of memory is what
 * asks the driver for some. */
void       sim_be_host(struct sim *s);
void       sim_break_source(struct sim *s, sgi_model model, sgi_status status); /* SGI_OK mends it */
void       sim_lose_device(struct sim *s, uint32_t device);
void       sim_device_back(struct sim *s, uint32_t device);
void       sim_foreign(struct sim *s, uint32_t device, uint64_t bytes);
void       sim_foreign_unseen(struct sim *s, uint32_t device, uint64_t bytes); /* nobody is told before he looks */
void       sim_residue(struct sim *s, uint32_t device, uint64_t bytes);        /* of contexts that close from now on */
void       sim_no_copies(struct sim *s, bool none); /* there is no host memory for those that loads are to leave */
void       sim_kill_place(struct sim *s);
void       sim_place_up(struct sim *s);
sgi_status sim_engine_bytes(struct sim *s, sgi_model model, uint64_t bytes, bool at_least,
                            uint64_t *free_out); /* of its newest instance */
/* Delivers the last result of a kind once more; true when the core took it. */
bool sim_repeat(struct sim *s, enum sgi__core_action_kind kind);

/* ---- looking: the world's ledger, and the core's views ---- */

uint64_t                    sim_vram_used(const struct sim *s); /* over all devices */
uint64_t                    sim_device_used(const struct sim *s, uint32_t device);
uint64_t                    sim_dram_used(const struct sim *s);
uint64_t                    sim_model_dram(const struct sim *s, sgi_model model);
bool                        sim_in_dram(const struct sim *s, sgi_model model); /* it has a residence, and keeps it */
uint32_t                    sim_kept(const struct sim *s);                     /* START_LOAD with `keep` so far */
bool                        sim_context_open(const struct sim *s, uint32_t device);
uint32_t                    sim_actions(const struct sim *s, enum sgi__core_action_kind kind); /* emitted so far */
uint32_t                    sim_actions_of(const struct sim *s, enum sgi__core_action_kind kind, sgi_model model);
uint32_t                    sim_overdue(const struct sim *s); /* SGI__REPLY_OVERDUE so far */
uint32_t                    sim_wedged(const struct sim *s);  /* SGI__REPLY_WEDGED so far */
uint32_t                    sim_drained(const struct sim *s); /* SGI__REPLY_DRAINED so far */
uint32_t                    sim_closed(const struct sim *s);  /* SGI__REPLY_CLOSED so far */
struct sgi__core           *sim_core(struct sim *s);
struct sgi__core_model_view sim_view(struct sim *s, sgi_model model);
uint64_t                    sim_on_device(const struct sim *s, sgi_model model,
                                          uint32_t device); /* its instance there, or on its way; 0: none */
uint32_t                    sim_state(struct sim *s, uint64_t instance); /* SGI_MODEL_*; _COLD: it has gone */

/* ---- clients of one's own ---- */

/* Every reply from now on, after it was checked. `told` looks, and calls nothing that moves the simulator. Who drives
 * it this way has asked for `stepped`: whatever is due at one moment then comes in the driver's order. */
void sim_told(struct sim *s, void (*told)(void *user, const struct sgi__core_reply *reply), void *user);

/* ---- seeded clients ---- */

struct sim_score {
    uint64_t events;
    uint64_t hash; /* over every action and reply */
    uint64_t granted, rejected, canceled, timeouts, loads, evictions, faults;
    uint64_t further; /* of the loads: beside another instance that served */
};

/* One seed from beginning to end: clients for about `events` events, then quiet, then drain. A broken rule aborts. */
struct sim_score sim_play(uint64_t seed, uint64_t events, bool quiet, bool verbose);

#endif
