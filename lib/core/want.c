/* SPDX-License-Identifier: Apache-2.0 */
/* Wants: their order, and the one end each of them has. */
#include <assert.h>

#include "core/state.h"

/* Higher priority first, then older first. */
static bool goes_before(const struct want *a, const struct want *b)
{
    if (a->spec.priority != b->spec.priority)
        return a->spec.priority > b->spec.priority;
    return a->seq < b->seq;
}

static void pending_unlink(struct sgi__core *core, struct model *m)
{
    if (!m->is_pending)
        return;
    *(m->pending_prev ? &m->pending_prev->pending_next : &core->pending_head) = m->pending_next;
    *(m->pending_next ? &m->pending_next->pending_prev : &core->pending_tail) = m->pending_prev;
    m->pending_prev = m->pending_next = NULL;
    m->is_pending = false;
}

/* Puts a model where its first want belongs. Most come last, so the search starts at the tail. */
static void pending_place(struct sgi__core *core, struct model *m)
{
    pending_unlink(core, m);
    if (!m->wants_head)
        return;
    struct model *prev = core->pending_tail;
    while (prev && goes_before(m->wants_head, prev->wants_head))
        prev = prev->pending_prev;
    m->pending_prev = prev;
    m->pending_next = prev ? prev->pending_next : core->pending_head;
    *(m->pending_prev ? &m->pending_prev->pending_next : &core->pending_head) = m;
    *(m->pending_next ? &m->pending_next->pending_prev : &core->pending_tail) = m;
    m->is_pending = true;
}

/* ---- how urgent a load is ---- */

int32_t sgi__urgency(const struct instance *i)
{
    const struct want *first = i->model->coming == i ? i->model->wants_head : NULL; /* the most urgent of them */
    return first && first->spec.priority > i->priority_early ? first->spec.priority : i->priority_early;
}

void sgi__load_urgency(struct sgi__core *core, struct instance *i)
{
    bool due = i->op_load && i->tier == SGI_TIER_DISK && sgi__urgency(i) != i->priority;
    if (due == i->priority_due)
        return;
    i->priority_due = due;
    if (due) {
        i->due_next = core->priorities_due;
        core->priorities_due = i;
        return;
    }
    struct instance **at = &core->priorities_due;
    while (*at != i)
        at = &(*at)->due_next;
    *at = i->due_next;
}

/* ---- wants ---- */

void sgi__want_add(struct sgi__core *core, struct want *w)
{
    struct model *m = w->model;
    struct want  *prev = m->wants_tail;

    while (prev && goes_before(w, prev))
        prev = prev->prev;
    w->prev = prev;
    w->next = prev ? prev->next : m->wants_head;
    *(w->prev ? &w->prev->next : &m->wants_head) = w;
    *(w->next ? &w->next->prev : &m->wants_tail) = w;
    m->wants++;
    core->wants_count++;
    if (m->wants_head == w)
        pending_place(core, m);
    sgi__timer_init(&w->deadline, TIMER_WANT, w);
    sgi__timer_set(core, &w->deadline, w->spec.deadline);
    if (m->coming)
        sgi__load_urgency(core, m->coming);
    core->dirty = true;
}

/* The one place where a want ends. */
static void end(struct sgi__core *core, struct want *w, struct sgi__core_reply *reply)
{
    struct model *m = w->model;
    bool          was_first = m->wants_head == w;

    *(w->prev ? &w->prev->next : &m->wants_head) = w->next;
    *(w->next ? &w->next->prev : &m->wants_tail) = w->prev;
    m->wants--;
    core->wants_count--;
    if (was_first)
        pending_place(core, m);
    sgi__timer_remove(core, &w->deadline);
    if (m->coming)
        sgi__load_urgency(core, m->coming);

    reply->ticket = w->id;
    reply->model = m->id;
    sgi__core_reply(core, reply);
    sgi__slots_give(&core->wants, w);
}

void sgi__want_grant(struct sgi__core *core, uint64_t now, struct want *w, struct instance *i)
{
    struct sgi__core_reply reply = { .kind = SGI__REPLY_GRANT, .joined = w->joined, .tier = SGI_TIER_DEVICE };

    if (i) {
        bool was_there = w->seq > i->ready_seq && i->state != ST_LOADING;
        reply.instance = i->id;
        reply.tier = was_there && !w->spec.prefetch ? SGI_TIER_DEVICE : i->tier;
        reply.joined = w->joined && !was_there; /* else the load that it found under way was another one's */
        if (!w->spec.prefetch) {
            struct lease *l = sgi__lease_grant(core, now, i, w->spec.idle_ns, w->spec.lease_ns);
            l->requested_at = w->since;
            l->tier = (uint8_t)reply.tier;
            l->joined = reply.joined;
            if (i->state == ST_LOADING && w->spec.priority > i->priority_early)
                i->priority_early = w->spec.priority;
            reply.lease = l->id;
        }
    }
    end(core, w, &reply);
}

void sgi__want_reject(struct sgi__core *core, struct want *w, sgi_status status, uint32_t step, uint64_t retry_after_ns)
{
    assert(status != SGI_OK);
    end(core, w,
        &(struct sgi__core_reply){
            .kind = SGI__REPLY_REJECT, .status = status, .step = step, .retry_after_ns = retry_after_ns });
}

void sgi__wants_reject(struct sgi__core *core, struct model *m, sgi_status status, uint32_t step,
                       uint64_t retry_after_ns)
{
    while (m->wants_head)
        sgi__want_reject(core, m->wants_head, status, step, retry_after_ns);
}

uint32_t sgi__want_step(const struct sgi__core *core, const struct model *m)
{
    const struct instance *i = m->coming;
    switch (i ? (enum instance_state)i->state : ST_COLD) {
    case ST_QUEUED:
        return m->op_check && !i->source_ok ? SGI_STEP_SOURCE : SGI_STEP_QUEUE;
    case ST_RESERVING:
        return i->memory_ready ? SGI_STEP_CONTEXT : SGI_STEP_MEMORY;
    case ST_LOADING:
        return sgi__context_awaited(core, i) ? SGI_STEP_CONTEXT
               : !i->loaded                  ? (i->tier == SGI_TIER_DRAM ? SGI_STEP_COPY : SGI_STEP_READ)
               : !i->prefixed                ? SGI_STEP_PREFIX
               : i->op_start                 ? SGI_STEP_START
               : m->op_prepare               ? SGI_STEP_PREPARE
               : m->op_discard               ? SGI_STEP_STOP
                                             : SGI_STEP_START;
    default:
        return SGI_STEP_QUEUE;
    }
}
