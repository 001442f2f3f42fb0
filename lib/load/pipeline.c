/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pipeline of one load, on its loader thread: chunks of the plan are read as soon as there is memory for them, as
 * many at once as helps. Chunks land in any order. A load from an image reads nothing: all its chunks have landed.
 */
#include "load/pipeline.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/error.h"

enum {
    HOT_PER_MILLE = 900, /* of a file in the page cache: from here on it is read from there */
    FILES_OPEN_MAX = 96  /* at once: more than there are slots where there are more files, so that one is at rest */
};

/* Of all slots of a load of a packed model, before and after decoding. */
#define DECODE_BYTES_MAX (UINT64_C(128) << 20)
#define HUGE_PAGE_BYTES  (UINT64_C(2) << 20)

/* Of an image that is sent on: large enough that a copy's price is nothing, small enough that a cancel is soon. */
#define IMAGE_BLOCK_BYTES SGI__PIN_BYTES

void sgi__pipeline_begun(struct pipeline *p, uint32_t step)
{
    if (p->report.steps[step].start_ns == 0)
        p->report.steps[step].start_ns = sgi__clock_now_ns();
}

void sgi__pipeline_spent(struct pipeline *p, uint32_t step, uint64_t since)
{
    if (p->report.steps[step].start_ns == 0)
        p->report.steps[step].start_ns = since;
    p->report.steps[step].ns += sgi__clock_now_ns() - since;
}

struct sgi__on_disk sgi__pipeline_file(const struct pipeline *p, uint32_t file)
{
    return sgi__manifest_on_disk(p->load->spec.manifest, file);
}

static bool is_packed(const struct pipeline *p)
{
    return p->load->spec.manifest->packed != NULL;
}

bool sgi__pipeline_keeps_only(const struct pipeline *p)
{
    return !p->load->spec.image && !p->load->spec.staging;
}

/* Reads in flight. */
static uint32_t reads_out(const struct pipeline *p)
{
    return p->reader ? sgi__reader_in_flight(p->reader) : 0;
}

/* Nothing comes by itself that would have its buffer given back. */
static bool is_idle(const struct pipeline *p)
{
    return reads_out(p) == 0 && p->decoding == 0 && !p->to_read;
}

/* ---- files ---- */

void sgi__pipeline_close(struct pipeline *p, struct open_part *part)
{
    sgi__io_file_close(&part->file);
    part->open = false;
    p->files_open--;
}

/* Opening it again compares its identity again, so closing one in the middle loses nothing. */
static void close_one_at_rest(struct pipeline *p)
{
    for (;; p->rest_at = (p->rest_at + 1) % sgi__manifest_disk_count(p->load->spec.manifest))
        if (p->parts[p->rest_at].open && p->parts[p->rest_at].reads == 0) {
            sgi__pipeline_close(p, &p->parts[p->rest_at]);
            return;
        }
}

static sgi_status open_part(struct pipeline *p, uint32_t number, sgi_error *err)
{
    struct open_part       *part = &p->parts[number];
    struct sgi__on_disk     file = sgi__pipeline_file(p, number);
    const struct sgi__part *layout = is_packed(p) ? NULL : &p->load->spec.layout->parts[number];
    uint64_t from = layout ? layout->data_offset : 0, bytes = layout ? layout->data_bytes : file.id->bytes;
    uint64_t since = sgi__clock_now_ns();
    bool     realigned = layout && layout->realigned;

    if (part->open)
        return SGI_OK;
    if (p->files_open == FILES_OPEN_MAX)
        close_one_at_rest(p);
    sgi_status st = sgi__io_file_open(file.path, file.id, !realigned, &part->file, err);
    if (st != SGI_OK)
        return sgi__error_step(err, st, SGI_STEP_OPEN);
    part->open = true;
    p->files_open++;
    part->direct = part->file.direct_fd >= 0 && part->file.direct_align <= SGI__PLACE_ALIGN && !realigned &&
                   sgi__io_file_cached(&part->file, from, bytes) < HOT_PER_MILLE;
    p->report.direct |= part->direct ? 1u : 2u;
    sgi__pipeline_spent(p, SGI_STEP_OPEN, since);
    return SGI_OK;
}

/* The last chunk of a part is there: was it the same file all the time? */
sgi_status sgi__pipeline_check(struct pipeline *p, uint32_t number, sgi_error *err)
{
    struct sgi__on_disk file = sgi__pipeline_file(p, number);
    sgi_status          st = sgi__io_file_check(&p->parts[number].file, file.path, file.id, err);
    return st == SGI_OK ? st : sgi__error_step(err, st, SGI_STEP_READ);
}

/* The reader is made for the first file's way of reading: a hot file is copied on several cores, a cold one waits for
 * its disk. And for no more reads than there are: each may be a thread, and a small model is read before they run. */
static sgi_status open_reader(struct pipeline *p, sgi_error *err)
{
    const struct sgi__load_spec *spec = &p->load->spec;
    const struct sgi__io_engine *engine = p->parts[p->plan->chunks[0].file].direct ? spec->engine : spec->hot_engine;
    struct sgi__reader          *reader;
    uint64_t                     since = sgi__clock_now_ns(), chunks = p->plan->chunks_count;
    uint32_t                     depth = chunks < spec->depth_max ? (uint32_t)chunks : spec->depth_max;

    sgi_status st = sgi__reader_open(engine, depth, &reader, err);
    if (st != SGI_OK && engine != spec->hot_engine) { /* it was probed, but there may be no room for another ring now */
        engine = spec->hot_engine;
        st = sgi__reader_open(engine, depth, &reader, err);
    }
    if (st != SGI_OK)
        return sgi__error_step(err, st, SGI_STEP_OPEN);
    snprintf(p->report.engine, sizeof p->report.engine, "%s", engine->name);
    pthread_mutex_lock(&p->load->mutex);
    p->load->reader = p->reader = reader;
    pthread_mutex_unlock(&p->load->mutex);
    sgi__pipeline_spent(p, SGI_STEP_OPEN, since);
    return SGI_OK;
}

sgi_status sgi__pipeline_canceled(const struct pipeline *p, sgi_error *err)
{
    return sgi__error(err, SGI_E_CANCELED, "model '%s': its load was canceled", p->load->spec.name);
}

/* ---- chunks ---- */

void sgi__slot_free(struct pipeline *p, struct slot *s)
{
    if (s->buffer)
        sgi__staging_give(p->load->spec.staging, s->buffer);
    s->buffer = NULL;
    s->next = p->free_slots;
    p->free_slots = s;
}

/* Where a chunk's first byte is to land. */
uint8_t *sgi__slot_home(const struct pipeline *p, const struct slot *s)
{
    return s->buffer ? s->buffer->at : p->load->spec.image->parts[s->chunk->part]->base + s->chunk->dst;
}

/* Reads in flight are counted by file; those into an image also by its memory. */
void sgi__slot_reads(struct pipeline *p, const struct sgi__chunk *c, int more)
{
    p->parts[c->file].reads += (uint32_t)more;
    if (p->load->spec.image)
        p->load->spec.image->parts[c->part]->reads += (uint32_t)more;
}

static void start_read(struct pipeline *p, const struct sgi__chunk *c, struct sgi__buffer *buffer)
{
    struct slot            *s = p->free_slots;
    const struct open_part *part = &p->parts[c->file];
    uint64_t                offset = c->offset, bytes = c->bytes;

    p->free_slots = s->next;
    s->chunk = c;
    s->buffer = buffer;
    uint8_t *dst = sgi__slot_home(p, s);
    if (c->bounce) {
        dst = (uint8_t *)p->bounce + (size_t)(s - p->slots) * SGI__PLACE_ALIGN;
        offset = sgi__align_down(c->offset, SGI__PLACE_ALIGN);
        bytes = c->offset + c->bytes - offset;
    }
    if (part->direct)
        bytes = sgi__align_up(bytes, SGI__PLACE_ALIGN); /* to the end of the last block; there is room for it */
    s->read = (struct sgi__read){ .file = &part->file,
                                  .path = sgi__pipeline_file(p, c->file).path,
                                  .offset = offset,
                                  .dst = dst,
                                  .bytes = bytes,
                                  .direct = part->direct,
                                  .user = s };
    sgi__pipeline_begun(p, SGI_STEP_READ);
    sgi__slot_reads(p, c, 1);
    sgi__reader_submit(p->reader, &s->read);
}

/* The next one that is back, or NULL. */
static struct slot *take_back(struct pipeline *p, sgi_status *status, sgi_error *err)
{
    struct sgi__read *read;

    *status = sgi__reader_wait(p->reader, &read, err);
    if (!read)
        return NULL;
    struct slot *s = read->user;
    if (!s->chunk->stored) /* that one's memory is still used */
        sgi__slot_reads(p, s->chunk, -1);
    return s;
}

/* The header's tail came along with the first block. */
void sgi__pipeline_count(struct pipeline *p, const struct sgi__chunk *c)
{
    uint64_t data_offset = p->load->spec.layout->parts[c->part].data_offset;
    atomic_fetch_add(&p->load->done_bytes, c->offset < data_offset ? c->bytes - (data_offset - c->offset) : c->bytes);
}

static sgi_status finish_read(struct pipeline *p, struct slot *s, sgi_error *err)
{
    const struct sgi__chunk *c = s->chunk;
    struct sgi__buffer      *buffer = s->buffer;
    const uint8_t           *bytes = sgi__slot_home(p, s);

    if (c->bounce) {
        uint64_t since = sgi__clock_now_ns(), skip = c->offset % SGI__PLACE_ALIGN;
        memcpy(sgi__slot_home(p, s), (uint8_t *)s->read.dst + skip, c->bytes);
        p->report.bounced_bytes += c->bytes;
        sgi__pipeline_spent(p, SGI_STEP_COPY, since);
    } else if (p->load->spec.layout->parts[c->part].realigned) {
        p->report.bounced_bytes += c->bytes; /* by the kernel, out of the page cache */
    }
    struct open_part *part = &p->parts[c->part];
    sgi_status        st = SGI_OK;
    if (part->chunks_left == 1) /* first, so that whoever has waited for every tensor knows it too */
        st = sgi__pipeline_check(p, c->part, err);
    if (st == SGI_OK) {
        s->buffer = NULL;
        st = sgi__arrived(p, c, bytes, buffer, err);
    }
    if (st == SGI_OK && --part->chunks_left == 0)
        sgi__pipeline_close(p, part);
    sgi__pipeline_count(p, c);
    return st;
}

/* Nothing else would end the wait for a buffer: copies of ours that end; what hashes hold, for they may wait for bytes
 * that are to be read into it; or others' loads. */
sgi_status sgi__pipeline_buffer(struct pipeline *p, struct sgi__buffer **buffer_out, sgi_error *err)
{
    struct sgi__staging *staging = p->load->spec.staging;
    sgi_status           st = p->waiting_first < p->waiting_end ? sgi__arrivals_send(p, err) : SGI_OK;

    while (st == SGI_OK && !(*buffer_out = sgi__staging_take(staging))) {
        if (sgi__upload_wait_one(&p->upload, &st, err))
            continue;
        if (!sgi__verify_give_up(&p->verify))
            return sgi__staging_take_wait(staging, &p->load->canceled, buffer_out, err);
        st = sgi__upload_recycle(&p->upload, err);
    }
    return st;
}

/* ---- beside other loads ---- */

static void share_join(struct pipeline *p)
{
    struct sgi__load *load = p->load;
    if (!load->spec.share)
        return;
    pthread_mutex_lock(&load->mutex);
    sgi__share_join(load->spec.share, &load->sharer, load->spec.priority, p->depth.now);
    load->shares = true;
    pthread_mutex_unlock(&load->mutex);
}

static void share_leave(struct pipeline *p)
{
    struct sgi__load *load = p->load;
    pthread_mutex_lock(&load->mutex);
    if (load->shares)
        sgi__share_leave(load->spec.share, &load->sharer);
    load->shares = false;
    pthread_mutex_unlock(&load->mutex);
}

/* Reads that may be in flight now. */
static uint32_t reads_max(const struct pipeline *p)
{
    const struct sgi__load *load = p->load;
    uint32_t allowed = load->spec.share ? atomic_load_explicit(&load->sharer.allowed, memory_order_relaxed)
                                        : UINT32_MAX;
    return p->depth.now < allowed ? p->depth.now : allowed;
}

/* How many reads help is found out alone: beside others a load has too few for that. */
static void note_landed(struct pipeline *p, uint64_t bytes)
{
    struct sgi__load *load = p->load;
    uint32_t          before = p->depth.now;

    if (reads_max(p) < before)
        return;
    sgi__depth_landed(&p->depth, sgi__clock_now_ns(), bytes);
    if (load->spec.share && p->depth.now != before)
        sgi__share_wants(load->spec.share, &load->sharer, p->depth.now);
}

bool sgi__pipeline_may_read(struct pipeline *p, uint64_t bytes)
{
    struct sgi__load *load = p->load;

    if (!sgi__rate_take(load->spec.rate, &load->turn, bytes, false)) {
        if (p->held_ns == 0)
            p->held_ns = sgi__clock_now_ns();
        bool waits = reads_out(p) == 0 && p->decoding == 0;
        if (!waits || !sgi__rate_take(load->spec.rate, &load->turn, bytes, true))
            return false;
    }
    if (p->held_ns > 0)
        p->report.limited_ns += sgi__clock_now_ns() - p->held_ns;
    p->held_ns = 0;
    return true;
}

/* Memory for the next chunk to land in; *there_out: there is some. Waits only when nothing else would end the wait. */
static sgi_status memory_for_next(struct pipeline *p, struct sgi__buffer **buffer_out, bool *there_out, sgi_error *err)
{
    bool       idle = is_idle(p);
    sgi_status st = SGI_OK;

    *buffer_out = NULL;
    *there_out = !p->in_pieces; /* that comes first */
    if (sgi__pipeline_keeps_only(p) || p->in_pieces)
        return SGI_OK;
    if (!p->load->spec.image && p->plan->chunks[p->next].pieces > 1) /* it has a slot's, and then buffers */
        return SGI_OK;
    if (p->load->spec.image) {
        if (sgi__touch_ready(p->touch, p->next))
            return SGI_OK;
        if (idle)
            st = sgi__touch_wait(p->touch, p->next, err);
        *there_out = idle;
    } else {
        if (p->upload.begun)
            st = sgi__error_step(err, sgi__upload_recycle(&p->upload, err), SGI_STEP_COPY);
        if (st == SGI_OK && !(*buffer_out = sgi__staging_take(p->load->spec.staging))) {
            *there_out = idle;
            if (idle)
                st = sgi__pipeline_buffer(p, buffer_out, err);
        }
    }
    return st == SGI_OK ? st : sgi__error_step(err, st, SGI_STEP_MEMORY);
}

/* Submits what can be submitted now. */
static sgi_status submit_some(struct pipeline *p, sgi_error *err)
{
    while (p->next < p->plan->chunks_count && p->free_slots && sgi__reader_in_flight(p->reader) < reads_max(p)) {
        const struct sgi__chunk *c = &p->plan->chunks[p->next];
        struct sgi__buffer      *buffer;
        bool                     there;

        sgi_status st = memory_for_next(p, &buffer, &there, err);
        if (st != SGI_OK || !there)
            return st;
        st = open_part(p, c->file, err);
        if (st == SGI_OK && sgi__pipeline_may_read(p, c->stored ? sgi__stored_first_read(p, c) : c->bytes)) {
            if (!c->stored)
                start_read(p, c, buffer);
            else
                sgi__stored_start(p, c, buffer);
            p->next += c->stored ? c->pieces : 1;
            sgi__touch_submitted(p->touch, p->next);
            continue;
        }
        if (buffer)
            sgi__staging_give(p->load->spec.staging, buffer);
        return st;
    }
    return SGI_OK;
}

/* One read that is back, if there is one before somebody wakes us. */
static sgi_status take_read(struct pipeline *p, sgi_error *err)
{
    sgi_status   st;
    struct slot *s = take_back(p, &st, err);

    if (!s)
        return SGI_OK;
    note_landed(p, s->read.want);
    sgi__rate_charge(p->load->spec.rate, s->read.lost_bytes);
    if (st == SGI_OK && s->chunk->stored) {
        sgi__stored_has_read(p, s);
        return SGI_OK;
    }
    if (st == SGI_OK)
        st = finish_read(p, s, err);
    if (s->chunk->stored)
        sgi__slot_reads(p, s->chunk, -1);
    sgi__slot_free(p, s);
    return st;
}

static sgi_status read_all(struct pipeline *p, sgi_error *err)
{
    while (p->next < p->plan->chunks_count || reads_out(p) > 0 || p->decoding > 0 || p->to_read || p->in_pieces) {
        if (sgi__load_canceled(p->load))
            return sgi__pipeline_canceled(p, err);
        sgi_status st = sgi__stored_land_pieces(p, is_idle(p), err);
        if (st == SGI_OK)
            sgi__stored_read_on(p);
        if (st == SGI_OK && !p->to_read)
            st = submit_some(p, err);
        bool         reads = reads_out(p) > 0;
        struct slot *s = st == SGI_OK ? sgi__stored_take(p, !reads) : NULL;
        if (s)
            st = sgi__stored_finish(p, s, err);
        else if (st == SGI_OK && reads)
            st = take_read(p, err);
        if (st != SGI_OK)
            return sgi__error_step(err, st, SGI_STEP_READ);
    }
    p->report.steps[SGI_STEP_READ].ns = sgi__clock_now_ns() - p->report.steps[SGI_STEP_READ].start_ns;
    return SGI_OK;
}

/* From where they are kept, as fast as there is memory for them and somebody decodes them. */
static sgi_status submit_kept(struct pipeline *p, sgi_error *err)
{
    while (p->next < p->plan->chunks_count && p->free_slots) {
        const struct sgi__chunk *c = &p->plan->chunks[p->next];
        struct sgi__buffer      *buffer;
        bool                     there;

        sgi_status st = memory_for_next(p, &buffer, &there, err);
        if (st != SGI_OK || !there)
            return st;
        sgi__stored_start(p, c, buffer);
        p->next += c->pieces;
        sgi__touch_submitted(p->touch, p->next);
    }
    return SGI_OK;
}

static sgi_status decode_all(struct pipeline *p, sgi_error *err)
{
    while (p->next < p->plan->chunks_count || p->decoding > 0 || p->in_pieces) {
        if (sgi__load_canceled(p->load))
            return sgi__pipeline_canceled(p, err);
        sgi_status st = sgi__stored_land_pieces(p, is_idle(p), err);
        if (st == SGI_OK)
            st = submit_kept(p, err);
        struct slot *s = st == SGI_OK ? sgi__stored_take(p, true) : NULL;
        if (s)
            st = sgi__stored_finish(p, s, err);
        if (st != SGI_OK)
            return sgi__error_step(err, st, SGI_STEP_DECODE);
    }
    return SGI_OK;
}

static void free_slots(struct pipeline *p, struct slot **list)
{
    struct slot *s;

    while ((s = *list) != NULL) {
        *list = s->next;
        sgi__slot_reads(p, s->chunk, -1);
        sgi__slot_free(p, s);
    }
}

/* After this no read touches any memory any more, and nobody decodes. */
static void close_reader(struct pipeline *p)
{
    struct slot *decoded;

    while ((decoded = sgi__stored_take(p, true))) {
        sgi__slot_reads(p, decoded->chunk, -1);
        sgi__slot_free(p, decoded);
    }
    free_slots(p, &p->to_read);
    free_slots(p, &p->in_pieces);
    if (!p->reader)
        return;
    if (reads_out(p) > 0)
        sgi__reader_cancel(p->reader);
    while (reads_out(p) > 0) {
        sgi_status   st;
        struct slot *s = take_back(p, &st, NULL);
        if (s && s->chunk->stored)
            sgi__slot_reads(p, s->chunk, -1);
        if (s)
            sgi__slot_free(p, s);
    }
    pthread_mutex_lock(&p->load->mutex);
    p->load->reader = NULL;
    pthread_mutex_unlock(&p->load->mutex);
    sgi__reader_close(p->reader, NULL);
}

/* ---- one run ---- */

static sgi_status make_plan(struct pipeline *p, sgi_error *err)
{
    const struct sgi__load_spec *spec = &p->load->spec;

    if (is_packed(p) && !spec->from_image && !spec->from_arena)
        return sgi__plan_new_packed(spec->manifest, spec->layout,
                                    spec->staging && !spec->image ? spec->block_bytes : UINT64_MAX, spec->order,
                                    spec->order_count, &p->plan, err);
    return sgi__plan_new(spec->manifest, spec->layout, spec->from_image ? IMAGE_BLOCK_BYTES : spec->block_bytes,
                         spec->order, spec->order_count, &p->plan, err);
}

/* As many as are read at once; of a packed model so many more as are decoded meanwhile, as far as their memory goes. */
static void count_slots(struct pipeline *p)
{
    uint64_t largest = 0, slots = p->load->spec.depth_max;

    for (uint64_t n = 0; n < p->plan->chunks_count; n++) {
        const struct sgi__stored_chunk *c = p->plan->chunks[n].stored;
        if (c && c->bytes > largest)
            largest = c->bytes;
    }
    p->slot_bytes = sgi__align_up(largest, largest < HUGE_PAGE_BYTES / 2 ? SGI__PLACE_ALIGN : HUGE_PAGE_BYTES);
    if (largest > 0) {
        slots += 2 * (uint64_t)sgi__decoding_threads_max(p->load->spec.decoding);
        if (slots > DECODE_BYTES_MAX / p->slot_bytes)
            slots = DECODE_BYTES_MAX / p->slot_bytes;
    }
    if (slots >= FILES_OPEN_MAX && sgi__manifest_disk_count(p->load->spec.manifest) > FILES_OPEN_MAX)
        slots = FILES_OPEN_MAX - 1; /* each may be in a file of its own, and one is to be at rest */
    p->slots_count = (uint32_t)slots;
}

static uint64_t slot_memory_bytes(const struct pipeline *p)
{
    return p->slots_count * (2 * p->slot_bytes) + HUGE_PAGE_BYTES;
}

/* Of large pages: what is read into it, hashed and decoded goes through once, and that costs less there. What a load
 * does not need of it is never there. */
static sgi_status make_slot_memory(struct pipeline *p, sgi_error *err)
{
    if (p->slot_bytes == 0)
        return SGI_OK;
    sgi_status st = sgi__scratch_new(slot_memory_bytes(p), &p->slot_memory, err);
    if (st != SGI_OK)
        return sgi__error_step(err, st, SGI_STEP_MEMORY);
    uint8_t *at = p->slot_memory;
    sgi__scratch_is_large(at, slot_memory_bytes(p));
    at += sgi__align_up((uintptr_t)at, HUGE_PAGE_BYTES) - (uintptr_t)at;
    for (uint32_t n = 0; n < p->slots_count; n++, at += 2 * p->slot_bytes) {
        p->slots[n].stored = at;
        p->slots[n].raw = at + p->slot_bytes;
    }
    return SGI_OK;
}

static sgi_status set_up(struct pipeline *p, sgi_error *err)
{
    const struct sgi__load_spec *spec = &p->load->spec;
    bool                         bounce = false;

    sgi_status st = make_plan(p, err);
    if (st == SGI_OK)
        st = sgi__arrivals_init(p, err);
    if (st != SGI_OK || spec->from_image || spec->from_arena)
        return st;
    count_slots(p);
    p->parts = sgi__alloc_zero(sgi__manifest_disk_count(spec->manifest), sizeof *p->parts);
    p->slots = sgi__alloc_zero(p->slots_count, sizeof *p->slots);
    if (!p->parts || !p->slots)
        return sgi__error(err, SGI_E_NO_MEMORY, "model '%s': out of memory for its load", spec->name);
    st = make_slot_memory(p, err);
    if (st != SGI_OK)
        return st;
    sgi__depth_init(&p->depth, spec->depth, spec->depth_max);
    for (uint64_t n = 0; n < p->plan->chunks_count; n++) {
        const struct sgi__chunk *c = &p->plan->chunks[n];
        p->parts[c->file].chunks_left += !c->stored || c->pieces > 0;
        bounce |= c->bounce;
    }
    for (uint32_t n = p->slots_count; n-- > 0;)
        sgi__slot_free(p, &p->slots[n]);
    if (!bounce)
        return SGI_OK;
    return sgi__error_step(err, sgi__scratch_new(spec->depth_max * SGI__PLACE_ALIGN, &p->bounce, err), SGI_STEP_MEMORY);
}

static void take_down(struct pipeline *p)
{
    const struct sgi__load_spec *spec = &p->load->spec;
    struct sgi__touch_times      touch;

    close_reader(p);
    if (p->ahead)
        sgi__staging_stop_ahead(p->ahead, &touch);
    else
        sgi__touch_stop(p->touch, &touch);
    p->report.steps[SGI_STEP_MEMORY].start_ns = touch.start_ns;
    p->report.steps[SGI_STEP_MEMORY].ns = touch.busy_ns;
    p->report.cpu_ns += touch.cpu_ns;
    for (uint32_t n = 0; p->parts && n < sgi__manifest_disk_count(spec->manifest); n++)
        if (p->parts[n].open)
            sgi__pipeline_close(p, &p->parts[n]);
    if (p->slot_memory)
        sgi__scratch_free(p->slot_memory, slot_memory_bytes(p));
    if (p->bounce)
        sgi__scratch_free(p->bounce, spec->depth_max * SGI__PLACE_ALIGN);
    sgi__arrivals_fini(p);
    sgi__free(p->slots);
    sgi__free(p->parts);
    sgi__plan_free(p->plan);
}

static void publish(struct pipeline *p, sgi_status st)
{
    static const uint32_t        direct[] = { 0, 1, 0, 2 }; /* from the bits: past the cache 1, through it 2 */
    struct sgi__load            *load = p->load;
    const struct sgi__load_spec *spec = &load->spec;

    p->report.load_end_ns = sgi__clock_now_ns();
    p->report.bytes = atomic_load(&load->done_bytes);
    if (!is_packed(p))
        p->report.stored_bytes = p->report.bytes;
    p->report.direct = direct[p->report.direct];
    p->report.tier = spec->from_image || spec->from_kept ? SGI_TIER_DRAM : SGI_TIER_DISK;
    for (uint32_t n = 0; st == SGI_OK && spec->image && n < spec->layout->parts_count; n++)
        spec->image->parts[n]->fresh = false;
    pthread_mutex_lock(&load->mutex);
    p->report.steps[SGI_STEP_PREFIX].start_ns = load->report.steps[SGI_STEP_PREFIX].start_ns;
    p->report.steps[SGI_STEP_PREFIX].ns = load->report.steps[SGI_STEP_PREFIX].ns;
    load->report = p->report;
    pthread_mutex_unlock(&load->mutex);
}

static sgi_status run_files(struct pipeline *p, sgi_error *err)
{
    sgi_status st = SGI_OK;

    if (p->load->spec.image)
        st = sgi__touch_start(p->plan, p->load->spec.image, &p->touch, err);
    else if (p->load->spec.staging)
        p->ahead = sgi__staging_go_ahead(p->load->spec.staging, p->load->spec.layout->device_bytes);
    if (st != SGI_OK || p->plan->chunks_count == 0)
        return st;
    if (p->load->spec.from_kept)
        return decode_all(p, err);
    st = open_part(p, p->plan->chunks[0].file, err);
    if (st == SGI_OK)
        st = open_reader(p, err);
    if (st != SGI_OK)
        return st;
    share_join(p);
    st = read_all(p, err);
    share_leave(p);
    sgi__rate_leave(p->load->spec.rate, &p->load->turn);
    return st;
}

/* What was verified when it came into the image needs no second look. */
static sgi_status run_image(struct pipeline *p, sgi_error *err)
{
    sgi_status st = SGI_OK;

    for (uint64_t n = 0; n < p->plan->chunks_count && st == SGI_OK; n++) {
        const struct sgi__chunk *c = &p->plan->chunks[n];
        st = sgi__load_canceled(p->load) ? sgi__pipeline_canceled(p, err) : sgi__arrivals_pass(p, c, err);
        sgi__pipeline_count(p, c);
    }
    return st;
}

static sgi_status run_arena(struct pipeline *p, sgi_error *err)
{
    snprintf(p->report.engine, sizeof p->report.engine, "peer");
    return sgi__arrivals_over(p, err);
}

sgi_status sgi__load_run(struct sgi__load *load, sgi_error *err)
{
    struct pipeline p = { .load = load };
    uint64_t        cpu = sgi__clock_thread_cpu_ns();

    pthread_mutex_init(&p.mutex, NULL);
    pthread_cond_init(&p.some_decoded, NULL);
    if (is_packed(&p))
        sgi__decoding_join(load->spec.decoding);

    p.report.load_start_ns = sgi__clock_now_ns();
    sgi_status st = set_up(&p, err);
    if (st == SGI_OK)
        st = load->spec.from_arena   ? run_arena(&p, err)
             : load->spec.from_image ? run_image(&p, err)
                                     : run_files(&p, err);
    if (st == SGI_OK)
        st = sgi__arrivals_end(&p, err);
    p.report.cpu_ns = sgi__clock_thread_cpu_ns() - cpu;
    take_down(&p);
    p.report.cpu_ns += p.decode_cpu_ns;
    if (is_packed(&p))
        sgi__decoding_leave(load->spec.decoding);
    pthread_cond_destroy(&p.some_decoded);
    pthread_mutex_destroy(&p.mutex);
    publish(&p, st);
    if (st != SGI_OK) {
        sgi__error_step(err, st, SGI_STEP_READ);
        sgi__error_name_model(err, load->spec.name);
    }
    return sgi__load_run_done(load, st, err);
}
