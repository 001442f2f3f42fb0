/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A trace replayed against the real core, in the simulator's world and on its clock, with every rule checked.
 *
 * A request wants a plain lease when it comes, and releases it when it has been served for as long as the trace says.
 * What brings an instance up is cold: the first lease on it. An instance is idle from its last release to its next
 * lease or to its end, and the idle time after the last request of a model is counted apart: how long that is says
 * something about where the trace was cut, not about the policy.
 *
 * The rows of a fixed idle time (research/policy.md, section 2.8) come out exactly with this reading of it:
 *   - "requests overlapping a busy period extend it to max(end, t+exec)": a request that comes while another's load is
 *     under way counts from its coming, not from its lease, as if it had been served all along (`overlap`). It keeps
 *     its lease until max(grant, t+exec); who began the load keeps it for exec from the grant, 5 s later.
 *   - what comes at the very moment a busy period ends, or an idle time does, is warm. The core handles every timer
 *     that is due with whatever event comes next, even one of another model, so the order within a moment cannot
 *     express that: a lease is released one nanosecond after its last moment instead.
 *   - the idle hours are those between requests, without the ones after a model's last.
 * Counted from the lease instead, a load makes all who waited for it busy longer than the rows allow.
 */
#ifndef SGI_SIM_REPLAY_H
#define SGI_SIM_REPLAY_H

#include "sim/sim.h"
#include "sim/sim_trace.h"

enum { SIM_REPLAY_SIZES_MAX = 8 };

/* Zero is the default named in the comment. */
struct sim_replay {
    uint64_t ttl_ms;                      /* SIM_IDLE_NEVER; 0 is at once */
    uint32_t devices_count;               /* 1 */
    uint64_t device_bytes;                /* of each; no limit, neither on loads at once */
    uint64_t dram_bytes;                  /* no DRAM residences */
    uint64_t sizes[SIM_REPLAY_SIZES_MAX]; /* of images: a model's is chosen by its name */
    uint32_t sizes_count;                 /* one size of 8 GB */
    uint64_t load_ms;                     /* of any load; 5 s. Not with: */
    uint64_t disk_mib_s, link_mib_s;      /* shared by the loads running, from disk and from DRAM */
    uint32_t leases_max;                  /* of an instance; no limit */
    uint32_t instances;                   /* of a model at most; 1 */
    uint32_t loads_max;                   /* 4, or no limit */
    uint32_t wants_max;                   /* 1024; past them a request is refused */
    double   rate;                        /* how many times faster requests come; 1 */
    uint64_t warm_up_ms;                  /* what comes before is not counted */
    bool     overlap;                     /* see above */
};

struct sim_replay_result {
    uint64_t requests, refused;                                  /* that counted */
    uint64_t cold, cold_from_dram, joined;                       /* joined: waited for a load that another began */
    uint64_t wait_p50_ns, wait_p90_ns, wait_p99_ns, wait_max_ns; /* from the want to the lease */
    uint64_t idle_ns, idle_tail_ns;     /* over all models; tail: after a model's last request */
    double   idle_gb_s, idle_tail_gb_s; /* times the image; GB: 10^9 bytes */
    uint64_t loads, evictions;          /* evictions: what left because others needed the room */
    uint64_t events, hash;
    uint64_t virtual_ns;
};

/* A broken rule ends the process, as ever in the simulator. */
void sim_replay(const struct sim_trace *trace, const struct sim_replay *replay, struct sim_replay_result *out);

#endif
