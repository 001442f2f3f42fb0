/* SPDX-License-Identifier: Apache-2.0 */
/* The world's ops: which are out, and when each of them ends. */
#include <stdlib.h>
#include <string.h>

#include "sim/sim_state.h"

/* ---- ops that are out ---- */

struct world_op *sim__op_out(struct sim *s, const struct sgi__core_action *action)
{
    struct world_op *op = calloc(1, sizeof *op);
    if (!op)
        abort();
    op->action = *action;
    op->since = s->now;
    s->out = sim__array_add(s->out, &s->out_count, &s->out_capacity, sizeof *s->out);
    s->out[s->out_count - 1] = op;
    return op;
}

void sim__op_forget(struct sim *s, const struct world_op *op)
{
    for (uint32_t n = 0; n < s->out_count; n++) {
        if (s->out[n] == op) {
            s->out[n] = s->out[--s->out_count];
            break;
        }
    }
}

void sim__op_in(struct sim *s, struct world_op *op)
{
    sim__op_forget(s, op);
    s->done[s->done_count++ % SIM_DONE_OPS] = *op;
    free(op);
}

struct world_op *sim__op_find(struct sim *s, enum sgi__core_action_kind kind, uint64_t instance)
{
    for (uint32_t n = 0; n < s->out_count; n++)
        if (s->out[n]->action.kind == kind && s->out[n]->action.instance == instance)
            return s->out[n];
    return NULL;
}

void sim__op_ends_at(struct sim *s, struct world_op *op, uint64_t at)
{
    const struct world_model *m = sim__model(s, op->action.model);
    if (op->never || s->hold[op->action.kind] || (m && m->hold[op->action.kind])) {
        s->held = sim__array_add(s->held, &s->held_count, &s->held_capacity, sizeof *s->held);
        s->held[s->held_count - 1] = op;
        return;
    }
    sim__queue(s, &(struct queued){ .at = at, .kind = Q_RESULT, .op = op });
}

/* Takes an op out of wherever its end is waiting. */
void sim__op_unschedule(struct sim *s, struct world_op *op)
{
    sim__queue_remove(s, op);
    for (uint32_t n = 0; n < s->held_count; n++) {
        if (s->held[n] == op) {
            memmove(&s->held[n], &s->held[n + 1], (s->held_count - n - 1) * sizeof *s->held);
            s->held_count--;
            break;
        }
    }
}

/* ---- loads that share a disk or a link ---- */

uint64_t sim__bandwidth(const struct sim *s, uint32_t tier) /* bytes per microsecond */
{
    uint64_t mib_s = tier == SGI_TIER_DISK ? s->config.disk_mib_s : s->config.link_mib_s;
    return MIB(mib_s) / 1000000;
}

/* Credits what was loaded since the last change, then finds out who ends first. */
static void share(struct sim *s, uint32_t tier, bool credit)
{
    uint64_t rate = sim__bandwidth(s, tier), left_min = UINT64_MAX, count = 0;
    uint64_t elapsed = s->now - s->shared_since[tier];

    for (uint32_t n = 0; n < s->out_count; n++)
        count += s->out[n]->shares && s->out[n]->action.tier == tier;
    for (uint32_t n = 0; n < s->out_count; n++) {
        struct world_op *op = s->out[n];
        if (!op->shares || op->action.tier != tier)
            continue;
        if (credit) {
            uint64_t loaded = elapsed * rate / 1000 / count;
            op->load_left -= loaded < op->load_left ? loaded : op->load_left;
        }
        if (op->load_left < left_min)
            left_min = op->load_left;
    }
    s->shared_since[tier] = s->now;
    s->shared_generation[tier]++;
    if (left_min != UINT64_MAX)
        sim__queue(s, &(struct queued){ .at = s->now + (left_min * count * 1000 + rate - 1) / rate,
                                        .kind = Q_LOADS,
                                        .tier = tier,
                                        .a = s->shared_generation[tier] });
}

void sim__load_joins(struct sim *s, struct world_op *op)
{
    share(s, op->action.tier, true);
    op->shares = true;
    share(s, op->action.tier, false);
}

void sim__load_leaves(struct sim *s, struct world_op *op)
{
    if (!op->shares)
        return;
    share(s, op->action.tier, true);
    op->shares = false;
    share(s, op->action.tier, false);
}

void sim__loads_end(struct sim *s, uint32_t tier, uint64_t generation)
{
    if (generation != s->shared_generation[tier])
        return;
    share(s, tier, true);
    for (uint32_t n = 0; n < s->out_count; n++) {
        struct world_op *op = s->out[n];
        if (op->shares && op->action.tier == tier && op->load_left == 0) {
            op->shares = false;
            sim__op_ends_at(s, op, s->now);
        }
    }
    share(s, tier, false);
}

/* ---- the context that a load or a start comes to need ---- */

static bool is_shut(const struct sim *s, const struct world_instance *i)
{
    return i->own && !i->lost && (s->devices[i->device].gate == NOT || s->devices[i->device].gate == UNDER_WAY);
}

/* A host's start begins once its load has come past the gate. Where that did not, it fails with it. */
static bool waits_for_load(struct world_op *op, const struct world_instance *i)
{
    op->at_gate = i->load == UNDER_WAY;
    if (i->load == FAILED && !i->begun) {
        op->status = i->load_status;
        op->step = i->load_step;
    }
    return op->at_gate;
}

/* On a device with memory of its own an op that is done waits until the context is open, and fails with it. What has
 * failed by itself, or was canceled, does not wait. */
bool sim__op_waits(struct sim *s, struct world_op *op, const struct world_instance *i)
{
    bool needs_it = op->action.kind == SGI__ACT_START_LOAD || op->action.kind == SGI__ACT_START_ENGINE;

    if (!needs_it || !i->own || i->lost || op->status != SGI_OK)
        return false;
    if (s->host && op->action.kind == SGI__ACT_START_ENGINE)
        return waits_for_load(op, i);
    if (s->devices[i->device].gate == FAILED) {
        op->status = s->devices[i->device].gate_status;
        op->step = SGI_STEP_CONTEXT;
    } else if (is_shut(s, i) && (i->canceled || i->load == FAILED)) {
        op->status = SGI_E_CANCELED;
        op->step = op->action.kind == SGI__ACT_START_LOAD ? SGI_STEP_READ : SGI_STEP_START;
    } else {
        op->at_gate = is_shut(s, i);
    }
    return op->at_gate;
}

void sim__op_leaves_gate(struct sim *s, struct world_op *op, uint64_t within_ns)
{
    if (!op || !op->at_gate)
        return;
    op->at_gate = false;
    sim__op_ends_at(s, op, s->now + (s->habits.on ? sim__random(s, within_ns) : 0));
}

static struct world_op *oldest_at_gate(const struct sim *s, int32_t device)
{
    struct world_op *oldest = NULL;

    for (uint32_t n = 0; n < s->out_count; n++)
        if (s->out[n]->at_gate && s->out[n]->action.device == device &&
            (!oldest || s->out[n]->action.op < oldest->action.op))
            oldest = s->out[n];
    return oldest;
}

/* Whoever waits there goes on: it is open now, or will not be. */
void sim__gate_moves(struct sim *s, uint32_t device, enum fact gate, sgi_status status)
{
    struct world_device *d = &s->devices[device];

    if (d->gate == gate)
        return;
    d->gate = gate;
    d->gate_status = status;
    for (struct world_op *op; s->host && (op = oldest_at_gate(s, (int32_t)device));)
        sim__op_leaves_gate(s, op, 0);
    for (uint32_t n = 0; n < s->out_count; n++)
        if (s->out[n]->action.device == (int32_t)device)
            sim__op_leaves_gate(s, s->out[n], gate == DONE ? MS(50) : MS(2));
}

void sim__gate_opens(struct sim *s, uint32_t device, uint64_t op)
{
    for (uint32_t n = 0; n < s->out_count; n++)
        if (s->out[n]->action.kind == SGI__ACT_OPEN_CONTEXT && s->out[n]->action.op == op)
            sim__gate_moves(s, device, s->out[n]->status == SGI_OK ? DONE : FAILED, s->out[n]->status);
}

/* A start may wait for its load, its prefix and the context. Its time counts from when the last of them has ended. */
void sim__start_counts(struct sim *s, const struct world_instance *i)
{
    const struct world_device *d = i->own && !i->lost ? &s->devices[i->device] : NULL;
    struct world_op           *start = sim__op_find(s, SGI__ACT_START_ENGINE, i->id);

    if (!start || start->counts || i->load == UNDER_WAY || i->prefix == UNDER_WAY ||
        (d && (d->context == UNDER_WAY || d->closing)))
        return;
    start->counts = true;
    start->since = s->now;
}
