/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What observers are told: facts that stand in no action, or only later than they come true. Nobody waits for them, and
 * nothing the core decides depends on them.
 */
#include "core/state.h"

void sgi__core_watch(struct sgi__core *core, bool watched)
{
    core->watched = watched;
}

static void note(struct sgi__core *core, enum sgi__core_note kind, const struct model *m, const struct instance *i,
                 struct sgi__core_reply *reply)
{
    if (core->notes_count >= core->notes_max) /* 0 without config.notes */
        return;
    core->notes_count++;
    reply->kind = SGI__REPLY_NOTE;
    reply->note = kind;
    reply->model = m->id;
    reply->instance = i ? i->id : 0;
    sgi__core_reply(core, reply);
}

/* Who stops it has said so where the instance itself does not show it. What is left without a word: nobody wants what
 * is on its way up any more, or one that starves needs the room. */
static uint32_t cause_of(const struct instance *i)
{
    if (i->lost || i->failed == SGI_E_DEVICE_LOST)
        return SGI_CAUSE_LOST;
    if (i->failed != SGI_OK)
        return SGI_CAUSE_FAILED;
    if (i->model->draining)
        return SGI_CAUSE_DRAIN;
    if (i->cause != SGI_CAUSE_NONE)
        return i->cause;
    return i->ready_seq == 0 ? SGI_CAUSE_CANCELED : SGI_CAUSE_ROOM;
}

void sgi__note_ready(struct sgi__core *core, const struct instance *i)
{
    if (i->to_dram) /* KEEP says that */
        return;
    note(core, SGI__NOTE_READY, i->model, i,
         &(struct sgi__core_reply){ .device = i->device, .tier = i->tier, .bytes = i->charged });
}

void sgi__note_idle(struct sgi__core *core, const struct instance *i, uint64_t idle_ns)
{
    note(core, SGI__NOTE_IDLE, i->model, i,
         &(struct sgi__core_reply){ .device = i->device, .bytes = i->charged, .ns = idle_ns });
}

void sgi__note_stops(struct sgi__core *core, uint64_t now, struct instance *i)
{
    bool was_up = i->ready_seq != 0;

    if (i->stops_said || (i->to_dram && was_up)) /* a filled residence: KEEP says that */
        return;
    i->stops_said = true;
    i->cause = (uint8_t)cause_of(i);
    i->stopped_at = now;
    i->stopped_bytes = i->charged;
    note(core, SGI__NOTE_STOPS, i->model, i,
         &(struct sgi__core_reply){ .device = i->device,
                                    .bytes = i->charged,
                                    .cause = i->cause,
                                    .ns = was_up ? now - i->last_used : 0,
                                    .was_up = was_up });
}

void sgi__note_released(struct sgi__core *core, uint64_t now, const struct instance *i, uint64_t residue)
{
    if (!i->stops_said)
        return;
    note(core, SGI__NOTE_RELEASED, i->model, i,
         &(struct sgi__core_reply){ .device = i->device,
                                    .bytes = i->stopped_bytes,
                                    .cause = i->cause,
                                    .ns = now - i->stopped_at,
                                    .residue = residue,
                                    .was_up = i->ready_seq != 0,
                                    .tier = i->model->residence == RES_KEPT ? SGI_TIER_DRAM : SGI_TIER_DISK });
}

void sgi__note_drops(struct sgi__core *core, const struct model *m, uint32_t cause)
{
    note(core, SGI__NOTE_DROPS, m, NULL,
         &(struct sgi__core_reply){
             .device = SGI__DRAM, .bytes = sgi__residence_bytes(m, m->residence_packed), .cause = cause });
}

void sgi__note_failed(struct sgi__core *core, const struct model *m, sgi_status status, uint32_t step,
                      uint64_t retry_after_ns)
{
    note(core, SGI__NOTE_FAILED, m, NULL,
         &(struct sgi__core_reply){
             .device = SGI__DRAM, .status = status, .step = step, .retry_after_ns = retry_after_ns });
}
