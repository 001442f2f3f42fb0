/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packing: each worker takes the next chunk, reads its bytes, encodes them, waits for its turn to know where they are
 * to be stored, and writes them there. So chunks lie in their order, and what is in memory is two buffers a worker.
 */
#include "pack/pack.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/text.h"
#include "format/format.h"
#include "format/pack.h"
#include "format/source.h"
#include "io/io.h"
#include "io/output.h"
#include "io/regular.h"
#include "pack/choose.h"
#include "load/chunk_reader.h"
#include "pack/equal.h"
#include "pack/lay.h"
#include "pack/passing.h"
#include "pack/progress.h"
#include "pack/workers.h"
#include "pack/written.h"

/* Of a chunk, with what fills its last page; those of a base may have been made elsewhere. */
#define BUFFER_BYTES ((size_t)SGI__PACK_CHUNK_BYTES)

static const struct sgi__io_kind packed_kind = { .what = "a packed file", .begins = sgi__pack_begins };

struct packing {
    const char *const       *paths; /* of the sources */
    uint32_t                 paths_count;
    const char              *path;
    sgi_pack_options         options;
    struct sgi__manifest    *m, *base; /* base: NULL, there is none */
    struct sgi__pack_source *sources;
    struct sgi__packed      *checks; /* of the sources, in the manifest's text; NULL: there are none */
    struct sgi__io_output    output;
    struct sgi__equal        in_base, here;
    sgi_pack_report          report;
    struct sgi__progress     progress;

    /* Of whose turn it is. */
    uint64_t            at;       /* where the next chunk is stored */
    struct sgi__passing source;   /* whose bytes come by */
    bool                in_order; /* they do in their order */
};

/* A thread's own. */
struct packer {
    struct sgi__encoder      *encoder;
    struct sgi__chunk_reader *base;
    uint8_t                  *raw, *stored;
    int                       fd; /* of the source it read last */
    uint32_t                  part;
};

static sgi_status no_memory(sgi_error *err)
{
    sgi__error(err, SGI_E_NO_MEMORY, "out of memory to pack a model");
    return SGI_E_NO_MEMORY;
}

/* Of a path; in the same text. */
static const char *last_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* ---- bytes of the sources ---- */

static sgi_status open_source(struct packing *p, struct packer *w, uint32_t part, sgi_error *err)
{
    if (w->fd >= 0 && w->part == part)
        return SGI_OK;
    if (w->fd >= 0)
        close(w->fd);
    w->fd = -1;
    w->part = part;
    return sgi__io_regular_open_same(p->sources[part].path, &p->sources[part].id, &w->fd, err);
}

static sgi_status read_raw(const struct packing *p, struct packer *w, const struct sgi__stored_chunk *c, sgi_error *err)
{
    struct sgi__pack_walk  walk = { .begun = false };
    struct sgi__pack_piece piece;
    sgi_status             st = SGI_OK;

    if (!p->m->packed->parts[c->part].exact)
        memset(w->raw, 0, c->bytes);
    while (st == SGI_OK && sgi__pack_piece(p->m, c, &walk, &piece))
        st = sgi__pread_all(w->fd, p->sources[c->part].path, w->raw + piece.at, piece.bytes, piece.source, err);
    return st;
}

static sgi_status pass_source(struct packing *p, const struct sgi__stored_chunk *c, const uint8_t *raw, sgi_error *err)
{
    struct sgi__packed_part *part = &p->m->packed->parts[c->part];
    struct sgi__pack_walk    walk = { .begun = false };
    struct sgi__pack_piece   piece;
    sgi_status               st = SGI_OK;

    if (c->offset == 0)
        sgi__passing_begin(&p->source, p->checks, c->part);
    while (st == SGI_OK && sgi__pack_piece(p->m, c, &walk, &piece))
        st = sgi__passing_more(&p->source, raw + piece.at, piece.bytes, err);
    if (p->source.bytes == part->source_bytes)
        sgi__hash128_so_far(&p->source.digest, part->digest);
    return st;
}

/* ---- one chunk ---- */

/* Is it in the base? The digest says so; its bytes have to, too. */
static sgi_status look_in_base(struct packing *p, struct packer *w, struct sgi__stored_chunk *c, bool *found_out,
                               sgi_error *err)
{
    const struct sgi__stored_chunk *there = p->base ? sgi__equal_find(&p->in_base, c) : NULL;

    *found_out = false;
    if (!there)
        return SGI_OK;
    sgi_status st = sgi__chunk_read(w->base, there, w->stored, err);
    if (st != SGI_OK || memcmp(w->stored, w->raw, c->bytes) != 0)
        return st;
    c->at = there->at;
    c->stored_bytes = there->stored_bytes;
    c->codec = there->codec;
    c->width = there->width;
    c->check = there->check;
    c->file = SGI__PACK_BASE;
    *found_out = true;
    return SGI_OK;
}

static void encode(const struct packing *p, struct packer *w, struct sgi__stored_chunk *c)
{
    struct sgi__choice choice = sgi__choose(w->encoder, p->options.codec, sgi__pack_width(p->m, c), w->raw, c->bytes,
                                            w->stored);

    c->codec = (uint8_t)choice.codec;
    c->width = (uint8_t)choice.width;
    c->stored_bytes = (uint32_t)choice.stored_bytes;
    c->file = SGI__PACK_ITSELF;
    if (choice.codec == SGI__CODEC_RAW) { /* the buffers change their names */
        uint8_t *raw = w->raw;
        w->raw = w->stored;
        w->stored = raw;
    }
    memset(w->stored + c->stored_bytes, 0, (size_t)(sgi__align_up(c->stored_bytes, SGI__PACK_ALIGN) - c->stored_bytes));
    c->check = sgi__hash(w->stored, c->stored_bytes);
}

static void count(struct packing *p, const struct sgi__stored_chunk *c, bool twice)
{
    uint64_t *const by_codec[] = { &p->report.chunks_raw, &p->report.chunks_zstd, &p->report.chunks_planes };

    p->report.chunks++;
    ++*by_codec[c->codec];
    if (c->file == SGI__PACK_BASE)
        p->report.base_bytes += c->bytes;
    else if (twice)
        p->report.twice_bytes += c->bytes;
}

/* In its turn: where it goes. One that is there, or on its way there, and like it; NULL: it is the first. */
static const struct sgi__stored_chunk *place(struct packing *p, struct sgi__stored_chunk *c)
{
    const struct sgi__stored_chunk *there = c->file == SGI__PACK_ITSELF ? sgi__equal_find(&p->here, c) : NULL;

    if (there && (there->stored_bytes != c->stored_bytes || there->check != c->check || there->codec != c->codec ||
                  there->width != c->width))
        there = NULL; /* of floats of another width, say: encoded in another way */
    if (there) {
        c->at = there->at;
    } else if (c->file == SGI__PACK_ITSELF) {
        c->at = p->at;
        p->at += sgi__align_up(c->stored_bytes, SGI__PACK_ALIGN);
        sgi__equal_add(&p->here, c);
    }
    count(p, c, there != NULL);
    return there;
}

/* Two chunks are stored once because their digests say that they are equal: are they? `raw` is one of the buffers. */
static sgi_status compare(struct packing *p, struct packer *w, const struct sgi__stored_chunk *c, uint8_t *raw,
                          const struct sgi__stored_chunk *there, sgi_error *err)
{
    uint8_t *other = raw == w->raw ? w->stored : w->raw;

    w->raw = other;
    w->stored = raw;
    sgi_status st = open_source(p, w, there->part, err);
    if (st == SGI_OK)
        st = read_raw(p, w, there, err);
    if (st == SGI_OK && memcmp(w->raw, raw, c->bytes) != 0)
        st = sgi__error(err, SGI_E_CHECK, "%s has parts that differ and have one digest: this cannot be packed",
                        p->paths[0]);
    return st;
}

static sgi_status pack_chunk(void *user, void *mine, struct sgi__workers *workers, uint64_t number, sgi_error *err)
{
    struct packing           *p = user;
    struct packer            *w = mine;
    struct sgi__stored_chunk *c = &p->m->packed->chunks[number];
    uint8_t                  *raw;
    bool                      in_base = false;

    sgi_status st = open_source(p, w, c->part, err);
    if (st == SGI_OK)
        st = read_raw(p, w, c, err);
    if (st != SGI_OK)
        return st;
    sgi__hash128(w->raw, c->bytes, c->digest);
    st = look_in_base(p, w, c, &in_base, err);
    if (st != SGI_OK)
        return st;
    raw = w->raw;
    if (!in_base)
        encode(p, w, c);
    if (!sgi__workers_turn(workers, number))
        return sgi__error(err, SGI_E_CANCELED, "canceled");
    const struct sgi__stored_chunk *there = place(p, c);
    if (p->in_order)
        st = pass_source(p, c, raw, err);
    sgi__workers_turn_over(workers);
    if (st != SGI_OK)
        return st;
    if (there)
        st = compare(p, w, c, raw, there, err);
    else if (!in_base)
        st = sgi__io_output_write(&p->output, w->stored, (size_t)sgi__align_up(c->stored_bytes, SGI__PACK_ALIGN), c->at,
                                  err);
    sgi__workers_done(workers, c->bytes);
    return st;
}

/* ---- a thread ---- */

static void end_packer(void *user, void *mine)
{
    struct packer *w = mine;

    (void)user;
    if (w->fd >= 0)
        close(w->fd);
    sgi__encoder_free(w->encoder);
    sgi__chunk_reader_close(w->base);
    sgi__free(w->raw);
    sgi__free(w->stored);
    sgi__free(w);
}

static sgi_status begin_packer(void *user, void **mine_out, sgi_error *err)
{
    struct packing *p = user;
    struct packer  *w = sgi__alloc_zero(1, sizeof *w);

    if (!w)
        return no_memory(err);
    *mine_out = w;
    w->fd = -1;
    w->raw = sgi__alloc(p->base ? SGI__PACK_CHUNK_BYTES_MAX : BUFFER_BYTES);
    w->stored = sgi__alloc(p->base ? SGI__PACK_CHUNK_BYTES_MAX : BUFFER_BYTES);
    sgi_status st = w->raw && w->stored ? sgi__encoder_new((int)p->options.level, &w->encoder, err) : no_memory(err);
    if (st == SGI_OK && p->base)
        st = sgi__chunk_reader_open(p->base, &w->base, err);
    return st;
}

/* ---- before and after ---- */

static sgi_status find_order(const struct packing *p, uint64_t **order_out, sgi_error *err)
{
    struct sgi__shown shown;
    uint64_t         *order = sgi__alloc_zero((size_t)p->options.order_count + 1, sizeof *order);

    if (!order)
        return no_memory(err);
    for (uint64_t n = 0; n < p->options.order_count; n++) {
        const char *name = p->options.order[n];
        int64_t     at = name ? sgi__manifest_find(p->m, name) : -1;
        if (at < 0) {
            sgi__free(order);
            return sgi__error(err, SGI_E_NOT_FOUND, "%s has no tensor '%s', which is number %" PRIu64 " of the order",
                              p->paths[0], sgi__show_name(&shown, name ? name : ""), n + 1);
        }
        order[n] = (uint64_t)at;
    }
    *order_out = order;
    return SGI_OK;
}

/* The index of shards is a file of the model too: the one that was parsed, which has set its length a limit. */
static sgi_status take_index(struct packing *p, sgi_error *err)
{
    struct sgi__packed       *packed = p->m->packed;
    struct sgi__packed_other *other;
    uint64_t                  bytes = p->m->index_id.bytes;
    void                     *content = NULL;
    int                       fd;

    if (!p->m->index)
        return SGI_OK;
    sgi_status st = sgi__io_regular_open_same(p->m->index, &p->m->index_id, &fd, err);
    if (st != SGI_OK)
        return st;
    other = packed->others = sgi__manifest_alloc(p->m, sizeof *packed->others);
    if (!other || !(content = sgi__manifest_alloc(p->m, bytes + 1)))
        st = no_memory(err);
    else
        st = sgi__pread_all(fd, p->m->index, content, (size_t)bytes, 0, err);
    close(fd);
    if (st != SGI_OK)
        return st;
    *other = (struct sgi__packed_other){ .name = last_of(p->m->index), .content = content, .bytes = bytes };
    packed->others_count = 1;
    return SGI_OK;
}

static sgi_status open_base(struct packing *p, sgi_error *err)
{
    struct sgi__packed *packed = p->m->packed;

    if (!p->options.base)
        return SGI_OK;
    sgi_status st = sgi__pack_open(p->options.base, NULL, &p->base, err);
    if (st != SGI_OK)
        return st;
    if (p->base->packed->base_name)
        return sgi__error(err, SGI_E_UNSUPPORTED, "%s: has a base itself (%s), so it cannot be one", p->options.base,
                          p->base->packed->base_name);
    if (!sgi__equal_init(&p->in_base, p->base->packed->chunks_count))
        return no_memory(err);
    for (uint64_t n = 0; n < p->base->packed->chunks_count; n++)
        sgi__equal_add(&p->in_base, &p->base->packed->chunks[n]);
    packed->files[SGI__PACK_BASE] = p->base->packed->files[SGI__PACK_ITSELF];
    packed->base_name = last_of(packed->files[SGI__PACK_BASE].asked); /* what was asked for may be its folder */
    return SGI_OK;
}

static sgi_status check_name(const char *path, const char *name, sgi_error *err)
{
    return sgi__utf8_valid(name, strlen(name))
               ? SGI_OK
               : sgi__refuse_path(path, err, "its name is not UTF-8, as names in a packed file are");
}

/* A reader refuses them, so that whoever shows a name or makes a file of it has text in its hands. */
static sgi_status check_names(const struct packing *p, sgi_error *err)
{
    const struct sgi__packed *packed = p->m->packed;
    sgi_status                st = SGI_OK;

    for (uint32_t n = 0; n < p->m->files_count && st == SGI_OK; n++)
        st = check_name(p->sources[n].asked, p->m->files[n].name, err);
    if (st == SGI_OK && packed->others_count > 0)
        st = check_name(p->m->index, packed->others[0].name, err);
    if (st == SGI_OK && packed->base_name)
        st = check_name(p->options.base, packed->base_name, err);
    return st;
}

/* Before any of it is packed: what is in the manifest may change yet, how long it is does not, but for a base that has
 * nothing of it. */
static sgi_status check_manifest(const struct packing *p, sgi_error *err)
{
    uint8_t *bytes = NULL;
    size_t   count;

    sgi_status st = sgi__pack_manifest_put(p->m, SGI__PACK_CHUNK_BYTES, &bytes, &count, err);
    sgi__free(bytes);
    return st;
}

/* It must not take the place of what it needs. Of its sources it cannot: they are not packed. */
static sgi_status check_output(const struct packing *p, sgi_error *err)
{
    struct sgi__shown shown, other;

    if (p->base && sgi__io_path_is(p->path, &p->base->packed->files[SGI__PACK_ITSELF].id))
        return sgi__error(err, SGI_E_INVALID, "%s: is the base, which what needs it cannot replace",
                          sgi__show_path(&shown, p->path));
    /* Readers look beside what asks for it first, and would find that itself. */
    if (p->base && strcmp(last_of(p->path), p->m->packed->base_name) == 0)
        return sgi__error(err, SGI_E_INVALID, "%s: has the name of its base, %s, so it would be taken for that",
                          sgi__show_path(&shown, p->path), sgi__show_path(&other, p->options.base));
    return SGI_OK;
}

static sgi_status open_all(struct packing *p, sgi_error *err)
{
    static const struct sgi__fs_posix everywhere;
    struct sgi__fs                    fs = sgi__fs_posix_table(&everywhere);
    struct sgi__format_options        options = { .flags = SGI__FORMAT_METADATA,
                                                  .folders = p->options.folders,
                                                  .folders_count = p->options.folders_count,
                                                  .checks_path = p->options.checks_path };
    struct sgi__shown                 shown;
    uint64_t                         *order = NULL;

    sgi_status st = sgi__format_open_several(&fs, p->paths, p->paths_count, &options, &p->m, err);
    if (st == SGI_OK && sgi__manifest_is_packed(p->m))
        st = sgi__error(err, SGI_E_UNSUPPORTED, "%s: is packed already", sgi__show_path(&shown, p->paths[0]));
    if (st == SGI_OK)
        st = find_order(p, &order, err);
    if (st == SGI_OK)
        p->checks = p->m->packed;
    if (st == SGI_OK)
        st = sgi__pack_lay(p->m, order, p->options.order_count, &p->sources, err);
    sgi__free(order);
    if (st == SGI_OK)
        st = take_index(p, err);
    if (st == SGI_OK)
        st = open_base(p, err);
    if (st == SGI_OK)
        st = check_output(p, err);
    if (st == SGI_OK)
        st = check_names(p, err);
    if (st == SGI_OK)
        st = check_manifest(p, err);
    if (st == SGI_OK && !sgi__equal_init(&p->here, p->m->packed->chunks_count))
        st = no_memory(err);
    return st;
}

/* The files are still those that were opened; and, where their bytes did not come by in order, what their digest is. */
static sgi_status check_sources(struct packing *p, sgi_error *err)
{
    sgi_status st = SGI_OK;

    for (uint32_t n = 0; n < p->m->files_count && st == SGI_OK; n++)
        st = sgi__io_path_check(p->sources[n].path, &p->sources[n].id, err);
    if (st == SGI_OK && p->m->index)
        st = sgi__io_path_check(p->m->index, &p->m->index_id, err);
    return st;
}

static sgi_status digest_source(struct packing *p, uint32_t part, uint8_t *buffer, sgi_error *err)
{
    struct sgi__packed_part *packed = &p->m->packed->parts[part];
    struct packer            w = { .fd = -1 };

    sgi_status st = open_source(p, &w, part, err);
    sgi__passing_begin(&p->source, p->checks, part);
    for (uint64_t at = 0; at < packed->source_bytes && st == SGI_OK; at += SGI__PACK_CHUNK_BYTES) {
        uint64_t left = packed->source_bytes - at;
        size_t   bytes = left < SGI__PACK_CHUNK_BYTES ? (size_t)left : SGI__PACK_CHUNK_BYTES;
        st = sgi__pread_all(w.fd, p->sources[part].path, buffer, bytes, at, err);
        if (st == SGI_OK)
            st = sgi__passing_more(&p->source, buffer, bytes, err);
        if (st == SGI_OK)
            st = sgi__progress_more(&p->progress, bytes, err);
    }
    if (w.fd >= 0)
        close(w.fd);
    if (st == SGI_OK)
        sgi__hash128_so_far(&p->source.digest, packed->digest);
    return st;
}

static sgi_status digest_sources(struct packing *p, sgi_error *err)
{
    uint8_t   *buffer = sgi__alloc(SGI__PACK_CHUNK_BYTES);
    sgi_status st = buffer ? SGI_OK : no_memory(err);

    for (uint32_t n = 0; n < p->m->files_count && st == SGI_OK; n++)
        st = digest_source(p, n, buffer, err);
    sgi__free(buffer);
    return st;
}

static sgi_status write_manifest(struct packing *p, sgi_error *err)
{
    uint8_t               head_bytes[SGI__PACK_HEAD_BYTES], *bytes;
    size_t                count;
    struct sgi__pack_head head = { .manifest_at = p->at, .based = p->m->packed->base_name != NULL };

    sgi_status st = sgi__pack_manifest_put(p->m, SGI__PACK_CHUNK_BYTES, &bytes, &count, err);
    if (st != SGI_OK)
        return st;
    head.manifest_bytes = count;
    head.manifest_check = sgi__hash(bytes, count);
    head.bytes = p->at + count;
    sgi__pack_head_put(&head, head_bytes);
    st = sgi__io_output_write(&p->output, bytes, count, p->at, err);
    if (st == SGI_OK)
        st = sgi__io_output_write(&p->output, head_bytes, sizeof head_bytes, 0, err);
    sgi__free(bytes);
    p->report.packed_bytes = head.bytes;
    return st;
}

static sgi_status pack_all(struct packing *p, sgi_error *err)
{
    struct sgi__work work = { .jobs = sgi__pack_jobs(p->options.jobs),
                              .count = p->m->packed->chunks_count,
                              .user = p,
                              .begin = begin_packer,
                              .each = pack_chunk,
                              .end = end_packer,
                              .progress = p->progress.tell ? sgi__progress_beside : NULL,
                              .progress_user = &p->progress };

    for (uint32_t n = 0; n < p->m->files_count; n++) {
        work.bytes += p->m->files[n].bytes;
        p->report.source_bytes += p->m->packed->parts[n].source_bytes;
    }
    p->at = SGI__PACK_HEAD_BYTES;
    p->in_order = p->options.order_count == 0;
    p->progress.total = work.bytes + (p->in_order ? 0 : p->report.source_bytes); /* they are read once more */
    sgi_status st = sgi__workers_run(&work, err);
    p->progress.before = work.bytes;
    if (st == SGI_OK && !p->in_order)
        st = digest_sources(p, err);
    if (st == SGI_OK)
        st = check_sources(p, err);
    if (p->report.base_bytes == 0) { /* nothing asks for it */
        p->m->packed->base_name = NULL;
        p->m->packed->files[SGI__PACK_BASE] = (struct sgi__pack_file){ .path = NULL };
    }
    return st == SGI_OK ? write_manifest(p, err) : st;
}

sgi_status sgi__pack(const char *const *sources, uint32_t sources_count, const char *path,
                     const sgi_pack_options *options, sgi_pack_report *report_out, sgi_error *err)
{
    struct packing p = { .paths = sources,
                         .paths_count = sources_count,
                         .path = path,
                         .options = *options,
                         .progress = { .tell = options->progress, .user = options->user } };

    if (p.options.level == 0)
        p.options.level = SGI__CODEC_LEVEL_MIN;
    sgi_status st = open_all(&p, err);
    if (st == SGI_OK) {
        st = sgi__io_output_open(path, &packed_kind, &p.output, err);
        if (st == SGI_OK)
            st = pack_all(&p, err);
        if (st == SGI_OK) /* what was there before can be read, so what takes its place has to be */
            st = sgi__pack_written(&p.output, path, p.m->packed->files[SGI__PACK_BASE].asked, err);
        if (st == SGI_OK)
            st = sgi__io_output_commit(&p.output, err);
        else
            sgi__io_output_discard(&p.output);
    }
    if (st == SGI_OK)
        *report_out = p.report;
    sgi__equal_fini(&p.in_base);
    sgi__equal_fini(&p.here);
    sgi__manifest_free(p.base);
    sgi__manifest_free(p.m);
    return st;
}
