/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pipeline of one load, on its loader thread: chunks of the plan are read as soon as their memory is touched, as
 * many at once as helps; what lands is counted against its tensors; a tensor that is complete is verified and made
 * ready. Chunks land in any order.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/text.h"
#include "load/depth.h"
#include "load/hash.h"
#include "load/plan.h"
#include "load/state.h"
#include "load/touch.h"
#include "load/verify.h"

enum {
    HOT_PER_MILLE = 900, /* of a file in the page cache: from here on it is read from there */
    FILES_OPEN_MAX = 96  /* at once: more than there can be reads in flight, so that one of them is at rest */
};

struct slot {
    struct sgi__read         read;
    const struct sgi__chunk *chunk;
    struct slot             *next; /* free */
};

/* A part's file: open from its first chunk to its last, or for a while at a time when a wished order visits many. */
struct open_part {
    struct sgi__io_file file;
    uint64_t            chunks_left;
    bool                open, direct;
};

struct pipeline {
    struct sgi__load   *load;
    struct sgi__plan   *plan;
    struct open_part   *parts;
    uint32_t            files_open, rest_at; /* rest_at: where the next one to close is looked for */
    uint64_t           *missing;             /* bytes by tensor */
    struct sgi__verify  verify;
    struct sgi__touch  *touch;
    struct sgi__reader *reader;
    struct slot        *slots, *free_slots;
    struct sgi__depth   depth;
    void               *bounce;  /* a page for each slot, if the plan needs any */
    uint64_t            next;    /* chunk */
    uint64_t            held_ns; /* since when the limit holds it back; 0: it does not */
    struct sgi__report  report;  /* published at the end */
};

static void begin(struct pipeline *p, uint32_t step)
{
    if (p->report.steps[step].start_ns == 0)
        p->report.steps[step].start_ns = sgi__clock_now_ns();
}

static void spent(struct pipeline *p, uint32_t step, uint64_t since)
{
    if (p->report.steps[step].start_ns == 0)
        p->report.steps[step].start_ns = since;
    p->report.steps[step].ns += sgi__clock_now_ns() - since;
}

static const struct sgi__file *file_of(const struct pipeline *p, uint32_t part)
{
    return &p->load->spec.manifest->files[part];
}

/* ---- files ---- */

static void close_part(struct pipeline *p, struct open_part *part)
{
    sgi__io_file_close(&part->file);
    part->open = false;
    p->files_open--;
}

/* Opening it again compares its identity again, so closing one in the middle loses nothing. */
static void close_one_at_rest(struct pipeline *p)
{
    for (;; p->rest_at = (p->rest_at + 1) % p->load->spec.layout->parts_count)
        if (p->parts[p->rest_at].open && p->load->spec.image->parts[p->rest_at]->reads == 0) {
            close_part(p, &p->parts[p->rest_at]);
            return;
        }
}

static sgi_status open_part(struct pipeline *p, uint32_t number, sgi_error *err)
{
    struct open_part       *part = &p->parts[number];
    const struct sgi__file *file = file_of(p, number);
    const struct sgi__part *layout = &p->load->spec.layout->parts[number];
    uint64_t                since = sgi__clock_now_ns();

    if (part->open)
        return SGI_OK;
    if (p->files_open == FILES_OPEN_MAX)
        close_one_at_rest(p);
    sgi_status st = sgi__io_file_open(file->path, &file->id, !layout->realigned, &part->file, err);
    if (st != SGI_OK)
        return sgi__error_step(err, st, SGI_STEP_OPEN);
    part->open = true;
    p->files_open++;
    part->direct = part->file.direct_fd >= 0 && part->file.direct_align <= SGI__PLACE_ALIGN && !layout->realigned &&
                   sgi__io_file_cached(&part->file, layout->data_offset, layout->data_bytes) < HOT_PER_MILLE;
    p->report.direct |= part->direct ? 1u : 2u;
    spent(p, SGI_STEP_OPEN, since);
    return SGI_OK;
}

/* The last chunk of a part is there: was it the same file all the time? */
static sgi_status check_part(struct pipeline *p, uint32_t number, sgi_error *err)
{
    const struct sgi__file *file = file_of(p, number);
    sgi_status              st = sgi__io_file_check(&p->parts[number].file, file->path, &file->id, err);
    return st == SGI_OK ? st : sgi__error_step(err, st, SGI_STEP_READ);
}

/* The reader is made for the first file's way of reading: a hot file is copied on several cores, a cold one waits for
 * its disk. And for no more reads than there are: each may be a thread, and a small model is read before they run. */
static sgi_status open_reader(struct pipeline *p, sgi_error *err)
{
    const struct sgi__load_spec *spec = &p->load->spec;
    const struct sgi__io_engine *engine = p->parts[p->plan->chunks[0].part].direct ? spec->engine : spec->hot_engine;
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
    spent(p, SGI_STEP_OPEN, since);
    return SGI_OK;
}

/* ---- tensors ---- */

static const struct sgi__check *check_of(const struct sgi__load_spec *spec, uint64_t tensor)
{
    uint64_t low = 0, high = spec->checks_count;
    while (low < high) {
        uint64_t mid = low + (high - low) / 2;
        if (spec->checks[mid].tensor < tensor)
            low = mid + 1;
        else
            high = mid;
    }
    return low < spec->checks_count && spec->checks[low].tensor == tensor ? &spec->checks[low] : NULL;
}

static sgi_status canceled(const struct pipeline *p, sgi_error *err)
{
    return sgi__error(err, SGI_E_CANCELED, "model '%s': its load was canceled", p->load->spec.name);
}

/* One block of a tensor, by way of `aside`: neighbours may be in use already, and direct reads come in whole pages. */
static sgi_status read_block_again(struct pipeline *p, struct sgi__reader *reader, const struct sgi__tensor *t,
                                   uint64_t at, uint8_t *aside, uint8_t *dst, sgi_error *err)
{
    const struct open_part *part = &p->parts[t->file];
    uint64_t                end = t->offset + t->bytes, stop = at + p->load->spec.block_bytes;
    uint64_t                begin = at > t->offset ? at : t->offset;
    struct sgi__read        read = {
               .file = &part->file,
               .path = file_of(p, t->file)->path,
               .offset = at,
               .dst = aside,
               .direct = part->file.direct_fd >= 0 && part->file.direct_align <= SGI__PLACE_ALIGN,
    };
    struct sgi__read *done = NULL;
    sgi_status        st;

    if (stop > end)
        stop = end;
    read.bytes = (read.direct ? sgi__align_up(stop, SGI__PLACE_ALIGN) : stop) - at;
    if (!read.direct)
        sgi__io_file_uncache(&part->file, at, read.bytes);
    if (!sgi__rate_take(p->load->spec.rate, &p->load->turn, read.bytes, true))
        return canceled(p, err);
    sgi__reader_submit(reader, &read);
    do
        st = sgi__reader_wait(reader, &done, err);
    while (!done);
    sgi__rate_charge(p->load->spec.rate, read.lost_bytes);
    if (st == SGI_OK)
        memcpy(dst + (begin - t->offset), aside + (begin - at), stop - begin);
    return st;
}

/* Once more, past the cache, for what is in the cache may be what is wrong. */
static sgi_status read_again(struct pipeline *p, const struct sgi__tensor *t, uint8_t *dst, sgi_error *err)
{
    const struct sgi__load_spec *spec = &p->load->spec;
    struct sgi__reader          *reader = NULL;
    void                        *aside;

    sgi_status st = sgi__scratch_new(spec->block_bytes, &aside, err);
    if (st != SGI_OK)
        return sgi__error_step(err, st, SGI_STEP_MEMORY);
    st = sgi__reader_open(spec->hot_engine, 1, &reader, err);
    sgi__rate_leave(spec->rate, &p->load->turn); /* the next chunk lines up again behind this */
    for (uint64_t at = sgi__align_down(t->offset, SGI__PLACE_ALIGN); st == SGI_OK && at < t->offset + t->bytes;
         at += spec->block_bytes)
        st = sgi__load_canceled(p->load) ? canceled(p, err) : read_block_again(p, reader, t, at, aside, dst, err);
    if (reader)
        sgi__reader_close(reader, NULL);
    if (st == SGI_OK)
        p->report.reread_bytes += t->bytes;
    sgi__scratch_free(aside, spec->block_bytes);
    return st;
}

static sgi_status verify(struct pipeline *p, uint64_t tensor, const struct sgi__check *check, sgi_error *err)
{
    const struct sgi__load_spec *spec = &p->load->spec;
    const struct sgi__tensor    *t = &spec->manifest->tensors[tensor];
    uint8_t                     *at = spec->image->parts[t->file]->base + sgi__layout_tensor(spec->layout, t);
    uint64_t                     since = sgi__clock_now_ns();
    sgi_status                   st = SGI_OK;

    uint64_t got = sgi__verify_end(&p->verify, tensor, at, t->bytes);
    if (got != check->xxh3) {
        st = read_again(p, t, at, err);
        if (st == SGI_OK && (got = sgi__hash(at, t->bytes)) != check->xxh3) {
            struct sgi__shown path, name;
            st = sgi__error(err, SGI_E_CHECK, "%s: tensor '%s' has XXH3 %016llx, expected %016llx",
                            sgi__show_path(&path, file_of(p, t->file)->path), sgi__show_name(&name, t->name),
                            (unsigned long long)got, (unsigned long long)check->xxh3);
        }
    }
    spent(p, SGI_STEP_VERIFY, since);
    return st == SGI_OK ? st : sgi__error_step(err, st, SGI_STEP_VERIFY);
}

/* A part of a tensor: the rest of it is on its way, or waits for that. */
static void verify_part(struct pipeline *p, uint64_t tensor, uint64_t from, uint64_t to)
{
    const struct sgi__load_spec *spec = &p->load->spec;
    const struct sgi__tensor    *t = &spec->manifest->tensors[tensor];
    uint64_t                     since = sgi__clock_now_ns();

    sgi__verify_landed(&p->verify, tensor, spec->image->parts[t->file]->base + sgi__layout_tensor(spec->layout, t),
                       from - t->offset, to - t->offset);
    spent(p, SGI_STEP_VERIFY, since);
}

static sgi_status landed(struct pipeline *p, const struct sgi__chunk *c, sgi_error *err)
{
    const struct sgi__manifest *m = p->load->spec.manifest;
    const struct sgi__file     *file = file_of(p, c->part);
    uint64_t                    end = c->offset + c->bytes, low = file->tensor_first, high = low + file->tensor_count;
    uint64_t                    stop = high;

    while (low < high) { /* the first tensor that ends after the chunk begins; they are sorted and do not overlap */
        uint64_t mid = low + (high - low) / 2;
        if (m->tensors[mid].offset + m->tensors[mid].bytes <= c->offset)
            low = mid + 1;
        else
            high = mid;
    }
    for (; low < stop && m->tensors[low].offset < end; low++) {
        const struct sgi__tensor *t = &m->tensors[low];
        if (t->bytes == 0)
            continue;
        uint64_t                 from = t->offset > c->offset ? t->offset : c->offset;
        uint64_t                 to = t->offset + t->bytes < end ? t->offset + t->bytes : end;
        const struct sgi__check *check = check_of(&p->load->spec, low);
        if (check && to - from < t->bytes)
            verify_part(p, low, from, to);
        p->missing[low] -= to - from;
        if (p->missing[low] > 0)
            continue;
        sgi_status st = check ? verify(p, low, check, err) : SGI_OK;
        if (st != SGI_OK)
            return st;
        sgi__load_ready(p->load, low);
    }
    return SGI_OK;
}

/* ---- chunks ---- */

static void start_read(struct pipeline *p, const struct sgi__chunk *c)
{
    struct slot            *s = p->free_slots;
    const struct open_part *part = &p->parts[c->part];
    uint8_t                *dst = p->load->spec.image->parts[c->part]->base + c->dst;
    uint64_t                offset = c->offset, bytes = c->bytes;

    p->free_slots = s->next;
    s->chunk = c;
    if (c->bounce) {
        dst = (uint8_t *)p->bounce + (size_t)(s - p->slots) * SGI__PLACE_ALIGN;
        offset = sgi__align_down(c->offset, SGI__PLACE_ALIGN);
        bytes = c->offset + c->bytes - offset;
    }
    if (part->direct)
        bytes = sgi__align_up(bytes, SGI__PLACE_ALIGN); /* to the end of the last block; the region has room for it */
    s->read = (struct sgi__read){ .file = &part->file,
                                  .path = file_of(p, c->part)->path,
                                  .offset = offset,
                                  .dst = dst,
                                  .bytes = bytes,
                                  .direct = part->direct,
                                  .user = s };
    begin(p, SGI_STEP_READ);
    p->load->spec.image->parts[c->part]->reads++;
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
    p->load->spec.image->parts[s->chunk->part]->reads--;
    return s;
}

static sgi_status finish_read(struct pipeline *p, struct slot *s, sgi_error *err)
{
    const struct sgi__chunk *c = s->chunk;

    if (c->bounce) {
        uint64_t since = sgi__clock_now_ns(), skip = c->offset % SGI__PLACE_ALIGN;
        memcpy(p->load->spec.image->parts[c->part]->base + c->dst, (uint8_t *)s->read.dst + skip, c->bytes);
        p->report.bounced_bytes += c->bytes;
        spent(p, SGI_STEP_COPY, since);
    } else if (p->load->spec.layout->parts[c->part].realigned) {
        p->report.bounced_bytes += c->bytes; /* by the kernel, out of the page cache */
    }
    struct open_part *part = &p->parts[c->part];
    sgi_status        st = SGI_OK;
    if (part->chunks_left == 1) /* first, so that whoever has waited for every tensor knows it too */
        st = check_part(p, c->part, err);
    if (st == SGI_OK)
        st = landed(p, c, err);
    if (st == SGI_OK && --part->chunks_left == 0)
        close_part(p, part);
    uint64_t data_offset =
        p->load->spec.layout->parts[c->part].data_offset; /* the header's tail came along with the first block */
    atomic_fetch_add(&p->load->done_bytes, c->offset < data_offset ? c->bytes - (data_offset - c->offset) : c->bytes);
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

/* What the limit on the rate says to a read of so many bytes; false: not now. Waits only when nothing else would end
 * the wait. */
static bool may_read(struct pipeline *p, uint64_t bytes)
{
    struct sgi__load *load = p->load;

    if (!sgi__rate_take(load->spec.rate, &load->turn, bytes, false)) {
        if (p->held_ns == 0)
            p->held_ns = sgi__clock_now_ns();
        if (sgi__reader_in_flight(p->reader) > 0 || !sgi__rate_take(load->spec.rate, &load->turn, bytes, true))
            return false;
    }
    if (p->held_ns > 0)
        p->report.limited_ns += sgi__clock_now_ns() - p->held_ns;
    p->held_ns = 0;
    return true;
}

/* Submits what can be submitted now; waits for memory only when nothing else would end the wait. */
static sgi_status submit_some(struct pipeline *p, sgi_error *err)
{
    while (p->next < p->plan->chunks_count && sgi__reader_in_flight(p->reader) < reads_max(p)) {
        const struct sgi__chunk *c = &p->plan->chunks[p->next];
        if (!sgi__touch_ready(p->touch, p->next)) {
            if (sgi__reader_in_flight(p->reader) > 0)
                break;
            sgi_status st = sgi__touch_wait(p->touch, p->next, err);
            if (st != SGI_OK)
                return sgi__error_step(err, st, SGI_STEP_MEMORY);
        }
        sgi_status st = open_part(p, c->part, err);
        if (st != SGI_OK)
            return st;
        if (!may_read(p, c->bytes))
            break;
        start_read(p, c);
        p->next++;
        sgi__touch_submitted(p->touch, p->next);
    }
    return SGI_OK;
}

static sgi_status read_all(struct pipeline *p, sgi_error *err)
{
    while (p->next < p->plan->chunks_count || sgi__reader_in_flight(p->reader) > 0) {
        if (sgi__load_canceled(p->load))
            return canceled(p, err);
        sgi_status st = submit_some(p, err);
        if (st != SGI_OK)
            return st;
        struct slot *s = take_back(p, &st, err);
        if (!s)
            continue;
        note_landed(p, s->chunk->bytes);
        sgi__rate_charge(p->load->spec.rate, s->read.lost_bytes);
        if (st == SGI_OK)
            st = finish_read(p, s, err);
        s->next = p->free_slots;
        p->free_slots = s;
        if (st != SGI_OK)
            return sgi__error_step(err, st, SGI_STEP_READ);
    }
    p->report.steps[SGI_STEP_READ].ns = sgi__clock_now_ns() - p->report.steps[SGI_STEP_READ].start_ns;
    return SGI_OK;
}

/* After this no read touches any memory any more. */
static void close_reader(struct pipeline *p)
{
    if (!p->reader)
        return;
    if (sgi__reader_in_flight(p->reader) > 0)
        sgi__reader_cancel(p->reader);
    while (sgi__reader_in_flight(p->reader) > 0) {
        sgi_status st;
        take_back(p, &st, NULL);
    }
    pthread_mutex_lock(&p->load->mutex);
    p->load->reader = NULL;
    pthread_mutex_unlock(&p->load->mutex);
    sgi__reader_close(p->reader, NULL);
}

/* ---- one run ---- */

static sgi_status set_up(struct pipeline *p, sgi_error *err)
{
    const struct sgi__load_spec *spec = &p->load->spec;
    bool                         bounce = false;

    sgi_status st = sgi__plan_new(spec->manifest, spec->layout, spec->block_bytes, spec->order, spec->order_count,
                                  &p->plan, err);
    if (st != SGI_OK)
        return st;
    p->parts = sgi__alloc_zero(spec->layout->parts_count, sizeof *p->parts);
    p->missing = sgi__alloc_zero((size_t)spec->manifest->tensors_count, sizeof *p->missing);
    p->slots = sgi__alloc_zero(spec->depth_max, sizeof *p->slots);
    if (!p->parts || !p->missing || !p->slots)
        return sgi__error(err, SGI_E_NO_MEMORY, "model '%s': out of memory for its load", spec->name);
    sgi__depth_init(&p->depth, spec->depth, spec->depth_max);
    for (uint64_t n = 0; n < spec->manifest->tensors_count; n++)
        p->missing[n] = spec->manifest->tensors[n].bytes;
    for (uint64_t n = 0; n < p->plan->chunks_count; n++) {
        p->parts[p->plan->chunks[n].part].chunks_left++;
        bounce |= p->plan->chunks[n].bounce;
    }
    for (uint32_t n = spec->depth_max; n-- > 0;) {
        p->slots[n].next = p->free_slots;
        p->free_slots = &p->slots[n];
    }
    if (!bounce)
        return SGI_OK;
    return sgi__error_step(err, sgi__scratch_new(spec->depth_max * SGI__PLACE_ALIGN, &p->bounce, err), SGI_STEP_MEMORY);
}

static void take_down(struct pipeline *p)
{
    const struct sgi__load_spec *spec = &p->load->spec;
    struct sgi__touch_times      touch;

    close_reader(p);
    sgi__touch_stop(p->touch, &touch);
    p->report.steps[SGI_STEP_MEMORY].start_ns = touch.start_ns;
    p->report.steps[SGI_STEP_MEMORY].ns = touch.busy_ns;
    p->report.cpu_ns += touch.cpu_ns;
    for (uint32_t n = 0; p->parts && n < spec->layout->parts_count; n++)
        if (p->parts[n].open)
            close_part(p, &p->parts[n]);
    if (p->bounce)
        sgi__scratch_free(p->bounce, spec->depth_max * SGI__PLACE_ALIGN);
    sgi__verify_fini(&p->verify);
    sgi__free(p->slots);
    sgi__free(p->missing);
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
    p->report.direct = direct[p->report.direct];
    p->report.tier = SGI_TIER_DISK;
    for (uint32_t n = 0; st == SGI_OK && n < spec->layout->parts_count; n++)
        spec->image->parts[n]->fresh = false;
    pthread_mutex_lock(&load->mutex);
    p->report.steps[SGI_STEP_PREFIX].start_ns = load->report.steps[SGI_STEP_PREFIX].start_ns;
    p->report.steps[SGI_STEP_PREFIX].ns = load->report.steps[SGI_STEP_PREFIX].ns;
    load->report = p->report;
    pthread_mutex_unlock(&load->mutex);
}

sgi_status sgi__load_run(struct sgi__load *load, sgi_error *err)
{
    struct pipeline p = { .load = load };
    uint64_t        cpu = sgi__clock_thread_cpu_ns();

    p.report.load_start_ns = sgi__clock_now_ns();
    sgi_status st = set_up(&p, err);
    if (st == SGI_OK)
        st = sgi__touch_start(p.plan, load->spec.image, &p.touch, err);
    if (st == SGI_OK && p.plan->chunks_count > 0) {
        st = open_part(&p, p.plan->chunks[0].part, err);
        if (st == SGI_OK)
            st = open_reader(&p, err);
        if (st == SGI_OK) {
            share_join(&p);
            st = read_all(&p, err);
            share_leave(&p);
            sgi__rate_leave(load->spec.rate, &load->turn);
        }
    }
    p.report.cpu_ns = sgi__clock_thread_cpu_ns() - cpu;
    take_down(&p);
    publish(&p, st);
    if (st != SGI_OK) {
        sgi__error_step(err, st, SGI_STEP_READ);
        sgi__error_name_model(err, load->spec.name);
    }
    return sgi__load_run_done(load, st, err);
}
