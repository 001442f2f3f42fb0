/* SPDX-License-Identifier: Apache-2.0 */
#include "load/upload.h"

#include <assert.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"

/* What is smaller goes side by side with its neighbours, if those are small too: a copy has a price of its own. */
#define SMALL_BYTES (UINT64_C(64) << 10)

/* A stretch of host memory that keeps its shape on the device. */
struct run {
    const uint8_t *from;
    uint64_t       to, bytes;
};

static struct sgi__mark *mark_of(const struct sgi__upload *u, uint64_t copy)
{
    return u->load->marks[copy % SGI__LOAD_MARKS];
}

/* ---- begin ---- */

static sgi_status make_marks(struct sgi__upload *u, sgi_error *err)
{
    sgi_status st = SGI_OK;

    for (uint32_t n = 0; n < SGI__LOAD_MARKS && st == SGI_OK; n++)
        st = u->device->ops->mark_new(u->device, &u->load->marks[n], err);
    return st;
}

sgi_status sgi__upload_begin(struct sgi__upload *u, sgi_error *err)
{
    sgi_status st = sgi__staging_enter(u->staging, &u->load->canceled, &u->scope, err);

    if (st != SGI_OK)
        return sgi__error_step(err, st, SGI_STEP_CONTEXT);
    u->begun = true;
    st = u->device->ops->arena_map(u->device, u->load->spec.arena, err);
    if (st != SGI_OK)
        return sgi__error_step(err, st, SGI_STEP_MEMORY);
    st = u->device->ops->stream_new(u->device, &u->stream, err);
    if (st == SGI_OK)
        st = make_marks(u, err);
    if (st != SGI_OK)
        return sgi__error_step(err, st, SGI_STEP_COPY);
    sgi__load_begun(u->load);
    return SGI_OK;
}

/* ---- what is out ---- */

static void give_back(struct sgi__upload *u, bool all)
{
    for (struct sgi__buffer **at = &u->out, *b; (b = *at) != NULL;) {
        if (!all && (b->copy > u->done || b->holds > 0)) {
            at = &b->next;
            continue;
        }
        *at = b->next;
        sgi__staging_give(u->staging, b);
    }
}

static void take_out(struct sgi__upload *u, struct sgi__buffer *buffer, uint64_t copy)
{
    buffer->copy = copy;
    buffer->next = u->out;
    u->out = buffer;
}

sgi_status sgi__upload_recycle(struct sgi__upload *u, sgi_error *err)
{
    sgi_status st = SGI_OK;

    while (u->done < u->queued) {
        st = u->device->ops->mark_reached(u->device, mark_of(u, u->done + 1), err);
        if (st != SGI_OK)
            break;
        u->done++;
    }
    give_back(u, false);
    return st == SGI_E_WOULD_BLOCK ? SGI_OK : st;
}

bool sgi__upload_wait_one(struct sgi__upload *u, sgi_status *status, sgi_error *err)
{
    if (u->done == u->queued)
        return false;
    *status = u->device->ops->mark_wait(u->device, mark_of(u, u->done + 1), err);
    if (*status == SGI_OK) {
        u->done++;
        give_back(u, false);
    }
    return true;
}

sgi_status sgi__upload_wait(struct sgi__upload *u, sgi_error *err)
{
    sgi_status st = u->device->ops->stream_wait(u->device, u->stream, err);
    if (st == SGI_OK) {
        u->done = u->queued;
        give_back(u, false);
    }
    return st;
}

/* ---- copies ---- */

static sgi_status copy(struct sgi__upload *u, const struct run *run, sgi_error *err)
{
    return u->device->ops->copy_in(u->device, u->stream, run->to, run->from, run->bytes, err);
}

/* From an image: piece by piece of what is pinned. */
static sgi_status copy_pinned(struct sgi__upload *u, uint32_t part, struct run run, sgi_error *err)
{
    const uint8_t *base = u->load->spec.image->parts[part]->base;
    sgi_status     st = SGI_OK;

    while (run.bytes > 0 && st == SGI_OK) {
        uint64_t   at = (uint64_t)(run.from - base), left = SGI__PIN_BYTES - at % SGI__PIN_BYTES;
        struct run here = { run.from, run.to, run.bytes < left ? run.bytes : left };
        st = sgi__pins_need(u->load->spec.pins, u->staging, part, at, err);
        if (st == SGI_OK)
            st = copy(u, &here, err);
        run.from += here.bytes;
        run.to += here.bytes;
        run.bytes -= here.bytes;
    }
    return st;
}

/* Small runs side by side in a buffer, at the distances that they have on the device. */
struct gathered {
    struct sgi__buffer *buffer;
    uint64_t            to, bytes;
};

struct chunk_copies {
    struct sgi__upload      *u;
    const struct sgi__chunk *chunk;
    bool                     in_image;
    struct run               run; /* bytes 0: there is none */
    struct gathered          gathered;
    bool                     alone; /* no buffer is to be had for gathering just now */
};

static sgi_status send_gathered(struct chunk_copies *c, sgi_error *err)
{
    struct gathered *g = &c->gathered;

    if (!g->buffer)
        return SGI_OK;
    sgi_status st = copy(c->u, &(struct run){ g->buffer->at, g->to, g->bytes }, err);
    take_out(c->u, g->buffer, c->u->queued + 1); /* also if it failed: what it did first is not known */
    g->buffer = NULL;
    return st;
}

/* False: it has to go by itself. What is between two is zero, for it was somebody else's. */
static bool gather(struct chunk_copies *c, sgi_status *status, sgi_error *err)
{
    struct gathered *g = &c->gathered;
    uint64_t         room = sgi__staging_buffer_bytes(c->u->staging);

    *status = SGI_OK;
    if (c->run.bytes >= SMALL_BYTES || c->alone || c->run.bytes > room)
        return false;
    if (g->buffer && (c->run.to < g->to || c->run.to + c->run.bytes - g->to > room))
        *status = send_gathered(c, err);
    if (*status != SGI_OK)
        return true;
    if (!g->buffer) {
        g->buffer = sgi__staging_take(c->u->staging);
        c->alone = g->buffer == NULL;
        if (c->alone)
            return false;
        g->to = c->run.to;
        g->bytes = 0;
        *status = sgi__staging_pin(c->u->staging, g->buffer, err);
    }
    uint64_t at = c->run.to - g->to;
    memset(g->buffer->at + g->bytes, 0, at - g->bytes);
    memcpy(g->buffer->at + at, c->run.from, c->run.bytes);
    g->bytes = at + c->run.bytes;
    return true;
}

static sgi_status send_run(struct chunk_copies *c, sgi_error *err)
{
    sgi_status st = SGI_OK;

    if (c->run.bytes == 0)
        return SGI_OK;
    if (!gather(c, &st, err)) {
        st = send_gathered(c, err);
        if (st == SGI_OK)
            st = c->in_image ? copy_pinned(c->u, c->chunk->part, c->run, err) : copy(c->u, &c->run, err);
    }
    c->run.bytes = 0;
    return st;
}

static bool joins(const struct run *run, const uint8_t *from, uint64_t to)
{
    uint64_t end = run->to + run->bytes;
    return run->bytes > 0 && to >= end && from - run->from == (ptrdiff_t)(to - run->to);
}

static sgi_status queue_copies(struct chunk_copies *c, const uint8_t *bytes, sgi_error *err)
{
    const struct sgi__load_spec *spec = &c->u->load->spec;
    const struct sgi__manifest  *m = spec->manifest;
    struct sgi__chunk_part       part;
    sgi_status                   st = SGI_OK;

    for (uint64_t t = sgi__manifest_tensor_at(m, c->chunk->part, c->chunk->offset);
         sgi__chunk_part(m, c->chunk, t, &part) && st == SGI_OK; t++) {
        const uint8_t *from = bytes + part.from - c->chunk->offset;
        uint64_t       to = spec->arena->base + spec->layout->device_tensors[t] + part.from - m->tensors[t].offset;
        if (part.from == part.to)
            continue;
        if (!joins(&c->run, from, to)) {
            st = send_run(c, err);
            c->run = (struct run){ from, to, 0 };
        }
        c->run.bytes = to + (part.to - part.from) - c->run.to;
    }
    if (st == SGI_OK)
        st = send_run(c, err);
    return st == SGI_OK ? send_gathered(c, err) : st;
}

/* Behind all that is queued: one copy more, as the load counts them. */
sgi_status sgi__upload_mark(struct sgi__upload *u, sgi_error *err)
{
    sgi_status st = SGI_OK;

    while (u->queued - u->done == SGI__LOAD_MARKS && st == SGI_OK)
        sgi__upload_wait_one(u, &st, err);
    if (st == SGI_OK)
        st = u->device->ops->mark_set(u->device, mark_of(u, u->queued + 1), u->stream, err);
    if (st == SGI_OK)
        u->queued++;
    return st == SGI_OK ? st : sgi__error_step(err, st, SGI_STEP_COPY);
}

sgi_status sgi__upload_chunk(struct sgi__upload *u, const struct sgi__chunk *chunk, const uint8_t *bytes,
                             struct sgi__buffer *buffer, sgi_error *err)
{
    struct chunk_copies c = { .u = u, .chunk = chunk, .in_image = !buffer };
    sgi_status          st = SGI_OK;

    if (buffer)
        st = sgi__staging_pin(u->staging, buffer, err);
    if (st == SGI_OK)
        st = queue_copies(&c, bytes, err);
    if (c.gathered.buffer)
        take_out(u, c.gathered.buffer, u->queued + 1);
    if (buffer)
        take_out(u, buffer, u->queued + 1);
    return st == SGI_OK ? sgi__upload_mark(u, err) : sgi__error_step(err, st, SGI_STEP_COPY);
}

sgi_status sgi__upload_over(struct sgi__upload *u, uint64_t from, uint64_t to, sgi_error *err)
{
    const struct sgi__load_spec *spec = &u->load->spec;
    sgi_status st = u->device->ops->copy_over(u->device, u->stream, spec->arena->base + from, spec->from_arena + from,
                                              to - from, err);
    return st == SGI_OK ? sgi__upload_mark(u, err) : sgi__error_step(err, st, SGI_STEP_COPY);
}

sgi_status sgi__upload_again(struct sgi__upload *u, uint64_t tensor, uint64_t from, const uint8_t *bytes,
                             uint64_t count, sgi_error *err)
{
    const struct sgi__load_spec *spec = &u->load->spec;
    uint64_t                     to = spec->arena->base + spec->layout->device_tensors[tensor] + from;

    sgi_status st = copy(u, &(struct run){ bytes, to, count }, err);
    return st == SGI_OK ? st : sgi__error_step(err, st, SGI_STEP_COPY);
}

/* ---- end ---- */

void sgi__upload_end(struct sgi__upload *u)
{
    if (u->stream)
        u->device->ops->stream_wait(u->device, u->stream, NULL); /* failed: nothing goes on either */
    give_back(u, true);
    if (u->stream)
        u->device->ops->stream_free(u->device, u->stream);
    u->stream = NULL;
    if (u->begun)
        sgi__staging_leave(u->staging, &u->scope);
    u->begun = false;
}
