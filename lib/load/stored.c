/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chunks that are stored: read like any other, then checked and decoded on threads that all loads share, then they have
 * landed. On the thread of the loader, but for what says that it is. One that stays as it is stored is read to its
 * place. The others are read into their slot's memory and decoded to their place; where that is smaller, or holds
 * something else that the chunk begins with, into the slot's memory too. What is kept in host memory is not read.
 */
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "codec/codec.h"
#include "load/chunk_reader.h"
#include "load/pipeline.h"

/* A stored chunk whose bytes are to be used as they are, where they are to be. */
static bool stays(const struct pipeline *p, const struct sgi__chunk *c)
{
    return !sgi__pipeline_keeps_only(p) && c->stored->codec == SGI__CODEC_RAW && c->pieces == 1 && c->skip == 0 &&
           !p->load->spec.layout->parts[c->part].realigned;
}

/* With what fills its last page, but past the end of a plain file there is nothing. */
static uint64_t bytes_to_read(const struct pipeline *p, const struct sgi__stored_chunk *c, bool direct)
{
    return direct || !p->load->spec.manifest->packed->plain ? sgi__align_up(c->stored_bytes, SGI__PACK_ALIGN)
                                                            : c->stored_bytes;
}

/* As much of it as one read may be: all of it, unless a low limit asks for less. */
static uint64_t one_read(const struct pipeline *p, uint64_t left)
{
    uint64_t most = sgi__rate_read_max(p->load->spec.rate);
    return left < most ? left : most;
}

static uint64_t next_read(const struct pipeline *p, const struct slot *s)
{
    return one_read(p, s->read_bytes - s->read_done);
}

uint64_t sgi__stored_first_read(const struct pipeline *p, const struct sgi__chunk *c)
{
    return one_read(p, bytes_to_read(p, c->stored, p->parts[c->file].direct));
}

static void submit_stored(struct pipeline *p, struct slot *s)
{
    const struct sgi__stored_chunk *c = s->chunk->stored;

    s->read = (struct sgi__read){ .file = &p->parts[s->chunk->file].file,
                                  .path = sgi__pipeline_file(p, s->chunk->file).path,
                                  .offset = c->at + s->read_done,
                                  .dst = s->read_to + s->read_done,
                                  .bytes = next_read(p, s),
                                  .direct = s->direct,
                                  .user = s };
    sgi__pipeline_begun(p, SGI_STEP_READ);
    sgi__reader_submit(p->reader, &s->read);
}

/* From its first byte. */
static void begin_reading(struct pipeline *p, struct slot *s, bool direct)
{
    const struct sgi__stored_chunk *c = s->chunk->stored;

    s->direct = direct;
    s->read_to = stays(p, s->chunk) ? sgi__slot_home(p, s) : s->stored;
    s->read_done = 0;
    s->read_bytes = bytes_to_read(p, c, direct);
}

/* On the thread that has decoded it: the loader goes on with it. */
static void decoded(struct sgi__decode_job *job)
{
    struct slot     *s = job->user;
    struct pipeline *p = s->pipeline;

    pthread_mutex_lock(&p->mutex);
    s->next = p->decoded;
    p->decoded = s;
    pthread_cond_signal(&p->some_decoded);
    if (p->reader)
        sgi__reader_wake(p->reader); /* under the mutex: the loader does not close it before it has taken this one */
    pthread_mutex_unlock(&p->mutex);
}

/* Where its bytes are to be after decoding; NULL: nowhere. */
static uint8_t *raw_of(const struct pipeline *p, const struct slot *s)
{
    if (sgi__pipeline_keeps_only(p))
        return NULL;
    return s->chunk->pieces > 1 || s->chunk->skip > 0 ? s->raw : sgi__slot_home(p, s);
}

static void decode(struct pipeline *p, struct slot *s)
{
    const struct sgi__load_spec    *spec = &p->load->spec;
    const struct sgi__stored_chunk *c = s->chunk->stored;

    s->pipeline = p;
    s->job = (struct sgi__decode_job){ .chunk = c,
                                       .stored = spec->from_kept ? sgi__kept_at(spec->kept, c) : s->read_to,
                                       .padded = !spec->manifest->packed->plain,
                                       .verified = spec->from_kept,
                                       .keep = spec->from_kept ? NULL : spec->kept,
                                       .raw = raw_of(p, s),
                                       .done = decoded,
                                       .user = s };
    p->decoding++;
    sgi__decode_submit(p->load->spec.decoding, &s->job);
}

void sgi__stored_start(struct pipeline *p, const struct sgi__chunk *c, struct sgi__buffer *buffer)
{
    struct slot *s = p->free_slots;

    p->free_slots = s->next;
    s->chunk = c;
    s->buffer = buffer;
    s->again = false;
    sgi__slot_reads(p, c, 1);
    if (!p->load->spec.from_kept) {
        begin_reading(p, s, p->parts[c->file].direct);
        submit_stored(p, s);
        return;
    }
    decode(p, s);
}

/* What comes first in the plan is to be there first. */
static void to_read(struct pipeline *p, struct slot *s)
{
    struct slot **at = &p->to_read;

    while (*at && (*at)->chunk < s->chunk)
        at = &(*at)->next;
    s->next = *at;
    *at = s;
}

void sgi__stored_has_read(struct pipeline *p, struct slot *s)
{
    s->read_done += s->read.bytes;
    if (s->read_done < s->read_bytes)
        to_read(p, s);
    else
        decode(p, s);
}

void sgi__stored_read_on(struct pipeline *p)
{
    while (p->to_read && !sgi__reader_full(p->reader) && sgi__pipeline_may_read(p, next_read(p, p->to_read))) {
        struct slot *s = p->to_read;
        p->to_read = s->next;
        submit_stored(p, s);
    }
}

/* ---- decoded ---- */

/* NULL: none is done. Waits for one if asked to. */
struct slot *sgi__stored_take(struct pipeline *p, bool wait)
{
    struct slot *s;

    if (p->decoding == 0)
        return NULL;
    pthread_mutex_lock(&p->mutex);
    while (!(s = p->decoded) && wait)
        pthread_cond_wait(&p->some_decoded, &p->mutex);
    if (s) {
        p->decoded = s->next;
        p->decoding--;
    }
    pthread_mutex_unlock(&p->mutex);
    return s;
}

static void count_job(struct pipeline *p, const struct sgi__decode_job *job)
{
    struct sgi__report *r = &p->report;

    if (r->steps[SGI_STEP_VERIFY].start_ns == 0)
        r->steps[SGI_STEP_VERIFY].start_ns = job->start_ns;
    r->steps[SGI_STEP_VERIFY].ns += job->verify_ns;
    if (job->keep && r->steps[SGI_STEP_COPY].start_ns == 0)
        r->steps[SGI_STEP_COPY].start_ns = job->start_ns + job->verify_ns;
    r->steps[SGI_STEP_COPY].ns += job->keep_ns;
    if (job->chunk->codec != SGI__CODEC_RAW && r->steps[SGI_STEP_DECODE].start_ns == 0)
        r->steps[SGI_STEP_DECODE].start_ns = job->start_ns + job->verify_ns + job->keep_ns;
    if (job->chunk->codec != SGI__CODEC_RAW)
        r->steps[SGI_STEP_DECODE].ns += job->decode_ns;
    p->decode_cpu_ns += job->cpu_ns;
}

/* ---- and arrived, or read again ---- */

/* What was wrong may be in the cache, or have come about on the way: once more, past it. */
static void read_again(struct pipeline *p, struct slot *s)
{
    const struct sgi__stored_chunk *c = s->chunk->stored;
    struct sgi__io_file            *file = &p->parts[s->chunk->file].file;

    s->again = true;
    p->report.reread_bytes += c->stored_bytes;
    sgi__io_file_uncache(file, c->at, sgi__align_up(c->stored_bytes, SGI__PACK_ALIGN));
    begin_reading(p, s, file->direct_fd >= 0 && file->direct_align <= SGI__PLACE_ALIGN);
    to_read(p, s);
}

/* It is the file's last: is that still the same file? */
static sgi_status check_last(struct pipeline *p, const struct sgi__chunk *c, sgi_error *err)
{
    bool last = p->parts[c->file].chunks_left == 1 && !p->load->spec.from_kept;
    return last ? sgi__pipeline_check(p, c->file, err) : SGI_OK;
}

/* The slot is free after this. */
static void has_landed(struct pipeline *p, struct slot *s)
{
    const struct sgi__chunk *c = s->chunk;
    struct open_part        *part = &p->parts[c->file];

    sgi__slot_reads(p, c, -1);
    if (--part->chunks_left == 0 && !p->load->spec.from_kept)
        sgi__pipeline_close(p, part);
    sgi__slot_free(p, s);
}

static sgi_status arrive(struct pipeline *p, struct slot *s, sgi_error *err)
{
    const struct sgi__chunk *c = s->chunk;
    struct sgi__buffer      *buffer = s->buffer;
    uint8_t                 *bytes = sgi__slot_home(p, s);

    if (c->skip > 0)
        memcpy(bytes, s->raw + c->skip, c->bytes);
    s->buffer = NULL;
    sgi_status st = sgi__arrived(p, c, bytes, buffer, err);
    sgi__pipeline_count(p, c);
    return st;
}

static sgi_status land(struct pipeline *p, struct slot *s, sgi_error *err)
{
    sgi_status st = check_last(p, s->chunk, err);

    if (st != SGI_OK)
        return st;
    if (!sgi__pipeline_keeps_only(p))
        return arrive(p, s, err);
    sgi__pipeline_count(p, s->chunk);
    return SGI_OK;
}

/* ---- in pieces ---- */

/* Not at once: a buffer may be to be had only when others of this load have been given back. */
static void begin_pieces(struct pipeline *p, struct slot *s)
{
    s->landed = 0;
    s->landed_bytes = 0;
    s->next = NULL;
    *(p->in_pieces ? &p->in_pieces_last->next : &p->in_pieces) = s;
    p->in_pieces_last = s;
}

static sgi_status buffer_for_piece(struct pipeline *p, bool idle, struct sgi__buffer **buffer_out, sgi_error *err)
{
    sgi_status st = SGI_OK;

    if (p->upload.begun)
        st = sgi__error_step(err, sgi__upload_recycle(&p->upload, err), SGI_STEP_COPY);
    if (st == SGI_OK && !(*buffer_out = sgi__staging_take(p->load->spec.staging)) && idle)
        st = sgi__error_step(err, sgi__pipeline_buffer(p, buffer_out, err), SGI_STEP_MEMORY);
    return st;
}

sgi_status sgi__stored_land_pieces(struct pipeline *p, bool idle, sgi_error *err)
{
    struct slot *s;

    while ((s = p->in_pieces) != NULL) {
        const struct sgi__chunk *c = &s->chunk[s->landed];
        struct sgi__buffer      *buffer = NULL;
        sgi_status               st = buffer_for_piece(p, idle, &buffer, err);
        if (st != SGI_OK || !buffer)
            return st;
        memcpy(buffer->at, s->raw + s->chunk->skip + s->landed_bytes, c->bytes);
        s->landed_bytes += c->bytes;
        if (++s->landed == s->chunk->pieces)
            st = check_last(p, s->chunk, err);
        if (st != SGI_OK) {
            sgi__staging_give(p->load->spec.staging, buffer);
            return st;
        }
        st = sgi__arrived(p, c, buffer->at, buffer, err);
        sgi__pipeline_count(p, c);
        if (st != SGI_OK)
            return st;
        if (s->landed == s->chunk->pieces) {
            p->in_pieces = s->next;
            has_landed(p, s);
        }
    }
    return SGI_OK;
}

/* ---- what has been decoded ---- */

/* The slot is free after it, unless it is read again or lands in pieces. */
sgi_status sgi__stored_finish(struct pipeline *p, struct slot *s, sgi_error *err)
{
    const struct sgi__chunk *c = s->chunk;
    sgi_status               st = SGI_OK;

    count_job(p, &s->job);
    if (s->job.wrong && !s->job.is_broken && !s->again) {
        read_again(p, s);
        return SGI_OK;
    }
    p->report.stored_bytes += c->stored->stored_bytes;
    if (s->job.no_memory)
        st = sgi__error_step(err, sgi__error(err, SGI_E_NO_MEMORY, "out of memory to decode a chunk"), SGI_STEP_DECODE);
    else if (s->job.wrong)
        st = sgi__error_step(err, sgi__chunk_refuse(p->load->spec.manifest, c->stored, s->job.wrong, err),
                             s->job.is_broken ? SGI_STEP_DECODE : SGI_STEP_VERIFY);
    if (st == SGI_OK && c->pieces > 1 && !sgi__pipeline_keeps_only(p)) {
        begin_pieces(p, s);
        return SGI_OK;
    }
    if (st == SGI_OK)
        st = land(p, s, err);
    has_landed(p, s);
    return st;
}
