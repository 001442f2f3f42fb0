/* SPDX-License-Identifier: Apache-2.0 */
/* The files that a packed model was made from: one after the other, each by several threads. */
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/text.h"
#include "format/shard.h"
#include "io/io.h"
#include "io/output.h"
#include "load/chunk_reader.h"
#include "pack/lay.h"
#include "pack/pack.h"
#include "pack/progress.h"
#include "pack/workers.h"

struct unpacking {
    struct sgi__manifest            *m;
    uint32_t                         part;
    const struct sgi__stored_chunk **chunks; /* of the part */
    struct sgi__io_output            output;
    const char                      *folder;
    const sgi_files_options         *options;
    struct sgi__progress             progress;
};

struct unpacker {
    struct sgi__chunk_reader *reader;
    uint8_t                  *raw;
};

static sgi_status no_memory(sgi_error *err)
{
    sgi__error(err, SGI_E_NO_MEMORY, "out of memory to unpack a model");
    return SGI_E_NO_MEMORY;
}

static void end_unpacker(void *user, void *mine)
{
    struct unpacker *u = mine;

    (void)user;
    sgi__chunk_reader_close(u->reader);
    sgi__free(u->raw);
    sgi__free(u);
}

static sgi_status begin_unpacker(void *user, void **mine_out, sgi_error *err)
{
    struct unpacking *p = user;
    struct unpacker  *u = sgi__alloc_zero(1, sizeof *u);

    if (!u)
        return no_memory(err);
    *mine_out = u;
    u->raw = sgi__alloc(SGI__PACK_CHUNK_BYTES_MAX);
    return u->raw ? sgi__chunk_reader_open(p->m, &u->reader, err) : no_memory(err);
}

static sgi_status write_raw(const struct unpacking *p, const struct sgi__stored_chunk *c, const uint8_t *raw,
                            sgi_error *err)
{
    struct sgi__pack_walk  walk = { .begun = false };
    struct sgi__pack_piece piece;
    sgi_status             st = SGI_OK;

    while (st == SGI_OK && sgi__pack_piece(p->m, c, &walk, &piece))
        st = sgi__io_output_write(&p->output, raw + piece.at, piece.bytes, piece.source, err);
    return st;
}

static sgi_status unpack_chunk(void *user, void *mine, struct sgi__workers *w, uint64_t number, sgi_error *err)
{
    struct unpacking               *p = user;
    struct unpacker                *u = mine;
    const struct sgi__stored_chunk *c = p->chunks[number];

    sgi_status st = sgi__chunk_read(u->reader, c, u->raw, err);
    if (st == SGI_OK)
        st = sgi__chunk_compare(p->m, c, u->raw, err);
    if (st == SGI_OK)
        st = write_raw(p, c, u->raw, err);
    sgi__workers_done(w, c->bytes);
    return st;
}

/* ---- one file ---- */

/* It is what was packed: its own digest says so, whatever chunks it came in. */
static sgi_status check_file(struct unpacking *p, sgi_error *err)
{
    const struct sgi__packed_part *part = &p->m->packed->parts[p->part];
    struct sgi__hash_state         hash;
    struct sgi__shown              shown;
    uint64_t                       digest[2];
    uint8_t                       *buffer = sgi__alloc(SGI__PACK_CHUNK_BYTES);
    sgi_status                     st = buffer ? SGI_OK : no_memory(err);

    sgi__hash128_begin(&hash);
    for (uint64_t at = 0; at < part->source_bytes && st == SGI_OK; at += SGI__PACK_CHUNK_BYTES) {
        uint64_t left = part->source_bytes - at;
        size_t   bytes = left < SGI__PACK_CHUNK_BYTES ? (size_t)left : SGI__PACK_CHUNK_BYTES;
        st = sgi__io_output_read(&p->output, buffer, bytes, at, err);
        if (st == SGI_OK) {
            sgi__hash128_more(&hash, buffer, bytes);
            st = sgi__progress_more(&p->progress, bytes, err);
        }
    }
    sgi__free(buffer);
    if (st != SGI_OK)
        return st;
    sgi__hash128_so_far(&hash, digest);
    if (digest[0] != part->digest[0] || digest[1] != part->digest[1])
        return sgi__error(err, SGI_E_CHECK, "%s: '%s' does not become the file that was packed",
                          sgi__show_path(&shown, p->m->packed->files[0].asked), p->m->files[p->part].name);
    return SGI_OK;
}

static uint64_t chunks_of(const struct unpacking *p)
{
    uint64_t count = 0;

    for (uint64_t n = 0; n < p->m->packed->chunks_count; n++)
        if (p->m->packed->chunks[n].part == p->part)
            p->chunks[count++] = &p->m->packed->chunks[n];
    return count;
}

/* Of a file that comes out; the caller's. NULL: out of memory. */
static char *path_of(const struct unpacking *p, const char *name)
{
    return sgi__path_join(p->folder, name);
}

/* Whatever came of writing it. */
static sgi_status end_file(const struct unpacking *p, struct sgi__io_output *output, const char *path, uint64_t bytes,
                           sgi_status st, sgi_error *err)
{
    if (st != SGI_OK) {
        sgi__io_output_discard(output);
        return st;
    }
    st = sgi__io_output_commit(output, err);
    if (st == SGI_OK)
        sgi__file_done(p->options,
                       &(sgi_file_done){ .struct_size = sizeof(sgi_file_done), .path = path, .bytes = bytes });
    return st;
}

/* A file that is to come out may have the name of the one that it is in, or of the base. */
static sgi_status check_name(const struct unpacking *p, const char *name, sgi_error *err)
{
    const struct sgi__packed *packed = p->m->packed;
    struct sgi__shown         shown;
    char                     *path = path_of(p, name);
    sgi_status                st = path ? SGI_OK : no_memory(err);

    for (uint32_t n = 0; st == SGI_OK && n < packed->files_count; n++)
        if (sgi__io_path_is(path, &packed->files[n].id))
            st = sgi__error(err, SGI_E_INVALID, "%s: holds what is unpacked, and would be replaced by it",
                            sgi__show_path(&shown, path));
    sgi__free(path);
    return st;
}

/* Before any of them is written. */
static sgi_status check_names(const struct unpacking *p, sgi_error *err)
{
    const struct sgi__manifest *m = p->m;
    sgi_status                  st = SGI_OK;

    for (uint32_t n = 0; n < m->files_count && st == SGI_OK; n++)
        st = check_name(p, m->files[n].name, err);
    for (uint32_t n = 0; n < m->packed->others_count && st == SGI_OK; n++)
        st = check_name(p, m->packed->others[n].name, err);
    return st;
}

static sgi_status unpack_part(struct unpacking *p, sgi_error *err)
{
    struct sgi__work work = { .jobs = sgi__pack_jobs(p->options->jobs),
                              .count = chunks_of(p),
                              .bytes = p->m->files[p->part].bytes,
                              .user = p,
                              .begin = begin_unpacker,
                              .each = unpack_chunk,
                              .end = end_unpacker,
                              .progress = p->progress.tell ? sgi__progress_beside : NULL,
                              .progress_user = &p->progress };
    char            *path = path_of(p, p->m->files[p->part].name);

    if (!path)
        return no_memory(err);
    sgi_status st = sgi__io_output_open(path, NULL, &p->output, err);
    if (st == SGI_OK)
        st = sgi__workers_run(&work, err);
    p->progress.before += work.bytes;
    if (st == SGI_OK)
        st = check_file(p, err);
    st = end_file(p, &p->output, path, p->m->packed->parts[p->part].source_bytes, st, err);
    sgi__free(path);
    return st;
}

static sgi_status unpack_other(const struct unpacking *p, const struct sgi__packed_other *other, sgi_error *err)
{
    struct sgi__io_output output;
    char                 *path = path_of(p, other->name);

    if (!path)
        return no_memory(err);
    sgi_status st = sgi__io_output_open(path, NULL, &output, err);
    if (st == SGI_OK)
        st = sgi__io_output_write(&output, other->content, (size_t)other->bytes, 0, err);
    st = end_file(p, &output, path, other->bytes, st, err);
    sgi__free(path);
    return st;
}

sgi_status sgi__unpack(const char *path, const char *folder, const sgi_files_options *options, sgi_error *err)
{
    struct unpacking p = { .folder = folder,
                           .options = options,
                           .progress = { .tell = options->progress, .user = options->user } };

    sgi_status st = sgi__pack_open(path, options, &p.m, err);
    if (st != SGI_OK)
        return st;
    for (uint32_t n = 0; n < p.m->files_count; n++)
        p.progress.total += p.m->files[n].bytes + p.m->packed->parts[n].source_bytes; /* it is read once more */
    p.chunks = sgi__alloc_zero((size_t)p.m->packed->chunks_count + 1, sizeof(void *));
    st = p.chunks ? check_names(&p, err) : no_memory(err);
    for (; p.part < p.m->files_count && st == SGI_OK; p.part++)
        st = unpack_part(&p, err);
    for (uint32_t n = 0; n < p.m->packed->others_count && st == SGI_OK; n++)
        st = unpack_other(&p, &p.m->packed->others[n], err);
    sgi__free(p.chunks);
    sgi__manifest_free(p.m);
    return st;
}
