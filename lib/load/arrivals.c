/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What has landed is counted against its tensors, and verified while it is warm in the cache; for a device with memory
 * of its own it is sent on, at once or as soon as the context is open. A tensor is ready when all of it is verified and
 * on its way. One that does not match its check is read once more, past the page cache.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/text.h"
#include "base/hash.h"
#include "load/pipeline.h"
#include "load/read_back.h"

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

/* Where a tensor lies in the image. */
static uint8_t *in_image(const struct pipeline *p, const struct sgi__tensor *t)
{
    const struct sgi__load_spec *spec = &p->load->spec;
    return spec->image->parts[t->file]->base + sgi__layout_tensor(spec->layout, t);
}

sgi_status sgi__arrivals_init(struct pipeline *p, sgi_error *err)
{
    const struct sgi__load_spec *spec = &p->load->spec;
    uint64_t                     tensors = spec->manifest->tensors_count;

    p->missing = sgi__alloc_zero((size_t)tensors, sizeof *p->missing);
    if (spec->staging) {
        p->unsent = sgi__alloc_zero((size_t)tensors, sizeof *p->unsent);
        p->waiting = sgi__alloc_zero((size_t)p->plan->chunks_count, sizeof *p->waiting);
        p->upload = (struct sgi__upload){ .load = p->load,
                                          .staging = spec->staging,
                                          .device = sgi__staging_device(spec->staging) };
    }
    if (!p->missing || (spec->staging && (!p->unsent || !p->waiting)))
        return sgi__error(err, SGI_E_NO_MEMORY, "model '%s': out of memory for its load", spec->name);
    for (uint64_t n = 0; n < tensors; n++) {
        p->missing[n] = spec->manifest->tensors[n].bytes;
        if (p->unsent)
            p->unsent[n] = p->missing[n];
    }
    return SGI_OK;
}

void sgi__arrivals_fini(struct pipeline *p)
{
    for (; p->waiting_first < p->waiting_end; p->waiting_first++)
        if (p->waiting[p->waiting_first].buffer)
            sgi__staging_give(p->load->spec.staging, p->waiting[p->waiting_first].buffer);
    if (p->load->spec.staging)
        sgi__upload_end(&p->upload);
    sgi__verify_fini(&p->verify);
    sgi__free(p->waiting);
    sgi__free(p->unsent);
    sgi__free(p->missing);
}

/* ---- on to the device ---- */

static void ready(struct pipeline *p, uint64_t tensor)
{
    if (p->missing[tensor] == 0 && (!p->unsent || p->unsent[tensor] == 0))
        sgi__load_ready(p->load, tensor, p->unsent ? (uint32_t)p->upload.queued : SGI__TENSOR_HERE);
}

static sgi_status send(struct pipeline *p, const struct waiting *w, sgi_error *err)
{
    const struct sgi__load_spec *spec = &p->load->spec;
    const uint8_t         *bytes = w->buffer ? w->buffer->at : spec->image->parts[w->chunk->part]->base + w->chunk->dst;
    struct sgi__chunk_part part;
    uint64_t               since = sgi__clock_now_ns();

    sgi_status st = sgi__upload_chunk(&p->upload, w->chunk, bytes, w->buffer, err);
    for (uint64_t t = sgi__manifest_tensor_at(spec->manifest, w->chunk->part, w->chunk->offset);
         st == SGI_OK && sgi__chunk_part(spec->manifest, w->chunk, t, &part); t++) {
        p->unsent[t] -= part.to - part.from;
        if (part.from < part.to)
            ready(p, t);
    }
    sgi__pipeline_spent(p, SGI_STEP_COPY, since);
    return st;
}

sgi_status sgi__arrivals_send(struct pipeline *p, sgi_error *err)
{
    sgi_status st = p->upload.begun ? SGI_OK : sgi__upload_begin(&p->upload, err);

    while (p->waiting_first < p->waiting_end && st == SGI_OK)
        st = send(p, &p->waiting[p->waiting_first++], err);
    return st;
}

sgi_status sgi__arrivals_end(struct pipeline *p, sgi_error *err)
{
    if (!p->load->spec.staging)
        return SGI_OK;
    sgi_status st = sgi__arrivals_send(p, err);
    uint64_t   since = sgi__clock_now_ns(); /* waiting for the context is not copying */
    if (st == SGI_OK)
        st = sgi__upload_wait(&p->upload, err);
    sgi__pipeline_spent(p, SGI_STEP_COPY, since);
    return st == SGI_OK ? st : sgi__error_step(err, st, SGI_STEP_COPY);
}

/* ---- a tensor that does not match its check ---- */

/* Where it is told the bytes of a tensor that is read again. */
struct again {
    uint64_t               tensor;
    struct sgi__hash_state hash;
};

static sgi_status take_again(struct pipeline *p, struct again *a, uint64_t from, const uint8_t *bytes, uint64_t count,
                             sgi_error *err)
{
    sgi__hash_more(&a->hash, bytes, count);
    if (p->load->spec.image)
        memcpy(in_image(p, &p->load->spec.manifest->tensors[a->tensor]) + from, bytes, count);
    if (!p->unsent)
        return SGI_OK;
    sgi_status st = sgi__upload_again(&p->upload, a->tensor, from, bytes, count, err);
    return st == SGI_OK ? sgi__upload_wait(&p->upload, err) : st; /* the next block comes to the same memory */
}

/* One block of a tensor, by way of `aside`: neighbours may be in use already, and direct reads come in whole pages. */
static sgi_status read_block_again(struct pipeline *p, struct sgi__reader *reader, struct again *a, uint64_t at,
                                   uint8_t *aside, sgi_error *err)
{
    const struct sgi__load_spec *spec = &p->load->spec;
    const struct sgi__tensor    *t = &spec->manifest->tensors[a->tensor];
    const struct open_part      *part = &p->parts[t->file];
    uint64_t                     end = t->offset + t->bytes, stop = at + spec->block_bytes;
    uint64_t                     begin = at > t->offset ? at : t->offset;
    struct sgi__read             read = {
                    .file = &part->file,
                    .path = spec->manifest->files[t->file].path,
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
    if (!sgi__rate_take(spec->rate, &p->load->turn, read.bytes, true))
        return sgi__pipeline_canceled(p, err);
    sgi__reader_submit(reader, &read);
    do
        st = sgi__reader_wait(reader, &done, err);
    while (!done);
    sgi__rate_charge(spec->rate, read.lost_bytes);
    return st == SGI_OK ? take_again(p, a, begin - t->offset, aside + (begin - at), stop - begin, err) : st;
}

/* Once more, past the cache, for what is in the cache may be what is wrong. */
static sgi_status read_again(struct pipeline *p, struct again *a, sgi_error *err)
{
    const struct sgi__load_spec *spec = &p->load->spec;
    const struct sgi__tensor    *t = &spec->manifest->tensors[a->tensor];
    struct sgi__reader          *reader = NULL;
    void                        *aside;

    sgi_status st = sgi__scratch_new(spec->block_bytes, &aside, err);
    if (st != SGI_OK)
        return sgi__error_step(err, st, SGI_STEP_MEMORY);
    st = sgi__reader_open(spec->hot_engine, 1, &reader, err);
    sgi__rate_leave(spec->rate, &p->load->turn); /* the next chunk lines up again behind this */
    for (uint64_t at = sgi__align_down(t->offset, SGI__PLACE_ALIGN); st == SGI_OK && at < t->offset + t->bytes;
         at += spec->block_bytes)
        st = sgi__load_canceled(p->load) ? sgi__pipeline_canceled(p, err)
                                         : read_block_again(p, reader, a, at, aside, err);
    if (reader)
        sgi__reader_close(reader, NULL);
    if (st == SGI_OK)
        p->report.reread_bytes += t->bytes;
    sgi__scratch_free(aside, spec->block_bytes);
    return st;
}

/* What was bad and is on its way to the device, or waits to be, gets there first: it is not to land on what is good,
 * nor to be read while that is written. */
static sgi_status mend(struct pipeline *p, uint64_t tensor, uint64_t *xxh3_out, sgi_error *err)
{
    struct again a = { .tensor = tensor };
    sgi_status   st = p->unsent ? sgi__arrivals_send(p, err) : SGI_OK;

    if (st == SGI_OK && p->unsent)
        st = sgi__upload_wait(&p->upload, err);
    sgi__hash_begin(&a.hash);
    if (st == SGI_OK)
        st = read_again(p, &a, err);
    if (st == SGI_OK && p->unsent)
        st = sgi__upload_mark(&p->upload, err);
    *xxh3_out = sgi__hash_so_far(&a.hash);
    return st;
}

/* ---- verify ---- */

/* What there was no room to hash while it landed: where it lies now. */
static sgi_status hash_whole(struct pipeline *p, uint64_t tensor, uint64_t *xxh3_out, sgi_error *err)
{
    const struct sgi__load_spec *spec = &p->load->spec;
    const struct sgi__tensor    *t = &spec->manifest->tensors[tensor];

    if (spec->image) {
        *xxh3_out = sgi__hash(in_image(p, t), t->bytes);
        return SGI_OK;
    }
    sgi_status st = sgi__arrivals_send(p, err);
    if (st == SGI_OK)
        st = sgi__upload_wait(&p->upload, err);
    return st == SGI_OK
               ? sgi__read_back_hash(p->upload.device, spec->arena->base + spec->layout->device_tensors[tensor],
                                     t->bytes, xxh3_out, err)
               : st;
}

static sgi_status verify(struct pipeline *p, uint64_t tensor, const struct sgi__check *check,
                         const struct sgi__piece *whole, bool may_mend, sgi_error *err)
{
    const struct sgi__load_spec *spec = &p->load->spec;
    const struct sgi__tensor    *t = &spec->manifest->tensors[tensor];
    sgi_status                   st = SGI_OK;
    uint64_t                     got = 0;

    if (whole)
        got = sgi__hash(whole->bytes, t->bytes);
    else if (!sgi__verify_end(&p->verify, tensor, t->bytes, &got))
        st = hash_whole(p, tensor, &got, err);
    if (st == SGI_OK && got != check->xxh3 && may_mend) {
        st = mend(p, tensor, &got, err);
        if (spec->kept) /* that has what was wrong */
            sgi__kept_spoil(spec->kept);
    }
    if (st == SGI_OK && got != check->xxh3) {
        struct sgi__shown path, name;
        st = sgi__error(err, SGI_E_CHECK, "%s: tensor '%s' has XXH3 %016llx, expected %016llx",
                        sgi__show_path(&path, spec->manifest->files[t->file].path), sgi__show_name(&name, t->name),
                        (unsigned long long)got, (unsigned long long)check->xxh3);
    }
    return st == SGI_OK ? st : sgi__error_step(err, st, SGI_STEP_VERIFY);
}

/* A part of a tensor that has a check: the last one ends it. */
static sgi_status verify_part(struct pipeline *p, uint64_t tensor, const struct sgi__check *check,
                              const struct sgi__piece *piece, bool may_mend, sgi_error *err)
{
    uint64_t   bytes = p->load->spec.manifest->tensors[tensor].bytes, since = sgi__clock_now_ns();
    uint64_t   left = p->missing[tensor] - (piece->to - piece->from);
    bool       whole = piece->to - piece->from == bytes;
    sgi_status st = SGI_OK;

    if (!whole)
        sgi__verify_landed(&p->verify, tensor, piece, p->missing[tensor] == bytes);
    if (left == 0)
        st = verify(p, tensor, check, whole ? piece : NULL, may_mend, err);
    if (st == SGI_OK)
        p->missing[tensor] = left; /* not before: it would be called ready */
    sgi__pipeline_spent(p, SGI_STEP_VERIFY, since);
    return st;
}

static sgi_status landed(struct pipeline *p, const struct sgi__chunk *c, const uint8_t *bytes, uint32_t *holds,
                         sgi_error *err)
{
    const struct sgi__load_spec *spec = &p->load->spec;
    const struct sgi__manifest  *m = spec->manifest;
    struct sgi__chunk_part       part;
    sgi_status                   st = SGI_OK;
    /* A stored chunk with a check has had its second try; what comes out of memory has none. */
    bool may_mend = !spec->from_kept && (!c->stored || c->stored->unchecked);

    for (uint64_t t = sgi__manifest_tensor_at(m, c->part, c->offset); sgi__chunk_part(m, c, t, &part) && st == SGI_OK;
         t++) {
        const struct sgi__check *check = check_of(spec, t);
        struct sgi__piece        piece = { .bytes = bytes + (part.from - c->offset),
                                           .from = part.from - m->tensors[t].offset,
                                           .to = part.to - m->tensors[t].offset,
                                           .holds = holds };
        if (part.from == part.to)
            continue;
        if (check)
            st = verify_part(p, t, check, &piece, may_mend, err);
        else
            p->missing[t] -= part.to - part.from;
        if (st == SGI_OK)
            ready(p, t);
    }
    return st;
}

sgi_status sgi__arrived(struct pipeline *p, const struct sgi__chunk *c, const uint8_t *bytes,
                        struct sgi__buffer *buffer, sgi_error *err)
{
    if (!p->unsent)
        return landed(p, c, bytes, NULL, err);
    /* It waits for the device first, so that whoever sends what waits sends this too. */
    p->waiting[p->waiting_end++] = (struct waiting){ .chunk = c, .buffer = buffer };
    if (buffer)
        buffer->holds++; /* it is looked at here, whoever may have sent it on meanwhile */
    sgi_status st = landed(p, c, bytes, buffer ? &buffer->holds : NULL, err);
    if (buffer)
        buffer->holds--;
    if (st == SGI_OK && (p->upload.begun || sgi__staging_is_open(p->load->spec.staging)))
        st = sgi__arrivals_send(p, err);
    return st;
}

sgi_status sgi__arrivals_pass(struct pipeline *p, const struct sgi__chunk *c, sgi_error *err)
{
    const struct sgi__manifest *m = p->load->spec.manifest;
    struct sgi__chunk_part      part;

    for (uint64_t t = sgi__manifest_tensor_at(m, c->part, c->offset); sgi__chunk_part(m, c, t, &part); t++)
        p->missing[t] -= part.to - part.from;
    p->waiting[p->waiting_end++] = (struct waiting){ .chunk = c };
    return sgi__arrivals_send(p, err);
}

/* Large enough that a copy's price is nothing, small enough that the first tensors are soon there, and a cancel too. */
#define OVER_BYTES (UINT64_C(64) << 20)

/* Tensors lie in their order: those that end before `to` are on their way. What was verified there is right here. */
sgi_status sgi__arrivals_over(struct pipeline *p, sgi_error *err)
{
    const struct sgi__load_spec *spec = &p->load->spec;
    uint64_t                     tensor = 0, count = spec->manifest->tensors_count, bytes = spec->layout->device_bytes;
    sgi_status                   st = sgi__arrivals_send(p, err);

    for (uint64_t from = 0; from < bytes && st == SGI_OK; from += OVER_BYTES) {
        uint64_t to = bytes - from < OVER_BYTES ? bytes : from + OVER_BYTES;
        st = sgi__load_canceled(p->load) ? sgi__pipeline_canceled(p, err) : sgi__upload_over(&p->upload, from, to, err);
        for (; st == SGI_OK && tensor < count &&
               spec->layout->device_tensors[tensor] + spec->manifest->tensors[tensor].bytes <= to;
             tensor++) {
            p->missing[tensor] = p->unsent[tensor] = 0;
            atomic_fetch_add(&p->load->done_bytes, spec->manifest->tensors[tensor].bytes);
            if (spec->manifest->tensors[tensor].bytes > 0)
                ready(p, tensor);
        }
    }
    return st;
}
