/* SPDX-License-Identifier: Apache-2.0 */
/* Checks beside files: each file by several threads, one file after the other. */
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/text.h"
#include "format/format.h"
#include "format/sums.h"
#include "io/io.h"
#include "io/output.h"
#include "io/regular.h"
#include "load/chunk_reader.h"
#include "pack/pack.h"
#include "pack/progress.h"
#include "pack/workers.h"

struct digesting {
    const struct sgi__file  *file;
    uint8_t                 *table; /* a u64 for each chunk, each written by whoever has the chunk */
    const sgi_files_options *options;
    struct sgi__progress     progress;
    bool                     folder; /* that checks_path is */
};

/* Anything else is not replaced: nothing that checks are made from, nor what else has the name they were given. */
static const struct sgi__io_kind checks_kind = { .what = "a file of checks", .begins = sgi__sums_begins };

struct digester {
    int      fd;
    uint8_t *bytes;
};

static sgi_status no_memory(sgi_error *err)
{
    sgi__error(err, SGI_E_NO_MEMORY, "out of memory to make checks");
    return SGI_E_NO_MEMORY;
}

static sgi_status open_file(const struct sgi__file *f, int *fd_out, sgi_error *err)
{
    return sgi__io_regular_open_same(f->path, &f->id, fd_out, err);
}

static void end_digester(void *user, void *mine)
{
    struct digester *d = mine;

    (void)user;
    if (d->fd >= 0)
        close(d->fd);
    sgi__free(d->bytes);
    sgi__free(d);
}

static sgi_status begin_digester(void *user, void **mine_out, sgi_error *err)
{
    const struct digesting *p = user;
    struct digester        *d = sgi__alloc_zero(1, sizeof *d);

    if (!d)
        return no_memory(err);
    *mine_out = d;
    d->fd = -1;
    d->bytes = sgi__alloc(SGI__SUMS_CHUNK_BYTES);
    return d->bytes ? open_file(p->file, &d->fd, err) : no_memory(err);
}

static sgi_status digest_chunk(void *user, void *mine, struct sgi__workers *w, uint64_t number, sgi_error *err)
{
    struct digesting *p = user;
    struct digester  *d = mine;
    uint64_t          at = number * SGI__SUMS_CHUNK_BYTES, left = p->file->bytes - at;
    size_t            bytes = left < SGI__SUMS_CHUNK_BYTES ? (size_t)left : SGI__SUMS_CHUNK_BYTES;

    sgi_status st = sgi__pread_all(d->fd, p->file->path, d->bytes, bytes, at, err);
    if (st != SGI_OK)
        return st;
    uint64_t hash = sgi__hash(d->bytes, bytes);
    for (unsigned n = 0; n < 8; n++)
        p->table[number * 8 + n] = (uint8_t)(hash >> (8 * n));
    sgi__workers_done(w, bytes);
    return SGI_OK;
}

static sgi_status hash_header(const struct sgi__file *f, uint64_t *hash_out, sgi_error *err)
{
    struct sgi__hash_state hash;
    uint8_t               *bytes = sgi__alloc(SGI__SUMS_CHUNK_BYTES);
    int                    fd = -1;
    sgi_status             st = bytes ? open_file(f, &fd, err) : no_memory(err);

    sgi__hash_begin(&hash);
    for (uint64_t at = 0; at < f->data_offset && st == SGI_OK; at += SGI__SUMS_CHUNK_BYTES) {
        uint64_t left = f->data_offset - at;
        size_t   count = left < SGI__SUMS_CHUNK_BYTES ? (size_t)left : SGI__SUMS_CHUNK_BYTES;
        st = sgi__pread_all(fd, f->path, bytes, count, at, err);
        if (st == SGI_OK)
            sgi__hash_more(&hash, bytes, count);
    }
    if (fd >= 0)
        close(fd);
    sgi__free(bytes);
    *hash_out = sgi__hash_so_far(&hash);
    return st;
}

static sgi_status write_sums(const struct digesting *p, const struct sgi__sums *sums, uint64_t count, sgi_error *err)
{
    struct sgi__io_output output;
    size_t                bytes = (size_t)count * 8 + SGI__SUMS_HEAD_BYTES;
    uint8_t              *all = sgi__alloc(bytes);
    char                 *path = sgi__sums_path(p->file, p->options->checks_path, p->folder);
    sgi_status            st = all && path ? SGI_OK : no_memory(err);

    if (st == SGI_OK) {
        sgi__sums_put(sums, p->table, count, all);
        st = sgi__io_output_open(path, &checks_kind, &output, err);
        if (st == SGI_OK)
            st = sgi__io_output_write(&output, all, bytes, 0, err);
        if (st == SGI_OK)
            st = sgi__io_output_commit(&output, err);
        else
            sgi__io_output_discard(&output);
    }
    if (st == SGI_OK)
        sgi__file_done(p->options, &(sgi_file_done){ .struct_size = sizeof(sgi_file_done),
                                                     .path = path,
                                                     .bytes = p->file->bytes,
                                                     .chunks = count });
    sgi__free(all);
    sgi__free(path);
    return st;
}

static sgi_status digest_file(struct digesting *p, sgi_error *err)
{
    struct sgi__sums sums = { .chunk_bytes = SGI__SUMS_CHUNK_BYTES,
                              .file_bytes = p->file->bytes,
                              .header_bytes = p->file->data_offset };
    struct sgi__work work = { .jobs = sgi__pack_jobs(p->options->jobs),
                              .count = sgi__sums_count(p->file->bytes, SGI__SUMS_CHUNK_BYTES),
                              .bytes = p->file->bytes,
                              .user = p,
                              .begin = begin_digester,
                              .each = digest_chunk,
                              .end = end_digester,
                              .progress = p->progress.tell ? sgi__progress_beside : NULL,
                              .progress_user = &p->progress };

    p->table = sgi__alloc_zero((size_t)work.count + 1, 8);
    if (!p->table)
        return no_memory(err);
    sgi_status st = sgi__workers_run(&work, err);
    if (st == SGI_OK)
        st = hash_header(p->file, &sums.header_check, err);
    if (st == SGI_OK) /* nothing that was written meanwhile is said to be right */
        st = sgi__io_path_check(p->file->path, &p->file->id, err);
    if (st == SGI_OK)
        st = write_sums(p, &sums, work.count, err);
    sgi__free(p->table);
    p->progress.before += work.bytes;
    return st;
}

/* Before any of them is written. */
static sgi_status check_outputs(const struct digesting *p, const struct sgi__manifest *m, sgi_error *err)
{
    sgi_status st = SGI_OK;

    for (uint32_t n = 0; n < m->files_count && st == SGI_OK; n++) {
        char *path = sgi__sums_path(&m->files[n], p->options->checks_path, p->folder);
        st = path ? sgi__io_output_check(path, &checks_kind, err) : no_memory(err);
        sgi__free(path);
    }
    return st;
}

sgi_status sgi__digest(const char *path, const sgi_files_options *options, sgi_error *err)
{
    static const struct sgi__fs_posix everywhere;
    struct sgi__fs                    fs = sgi__fs_posix_table(&everywhere);
    struct sgi__format_options        format = { .flags = SGI__FORMAT_UNCHECKED,
                                                 .folders = options->folders,
                                                 .folders_count = options->folders_count };
    struct digesting      p = { .options = options, .progress = { .tell = options->progress, .user = options->user } };
    struct sgi__manifest *m;
    struct sgi__shown     shown;

    sgi_status st = sgi__format_open(&fs, path, &format, &m, err);
    if (st != SGI_OK)
        return st;
    if (m->packed)
        st = sgi__error(err, SGI_E_UNSUPPORTED, "%s: a packed file, which has its checks in it",
                        sgi__show_path(&shown, path));
    if (st == SGI_OK && options->checks_path)
        st = sgi__sums_where(&fs, options->checks_path, m->files_count, true, &p.folder, err);
    if (st == SGI_OK)
        st = check_outputs(&p, m, err);
    for (uint32_t n = 0; n < m->files_count; n++)
        p.progress.total += m->files[n].bytes;
    for (uint32_t n = 0; n < m->files_count && st == SGI_OK; n++) {
        p.file = &m->files[n];
        st = digest_file(&p, err);
    }
    sgi__manifest_free(m);
    return st;
}
