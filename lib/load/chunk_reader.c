/* SPDX-License-Identifier: Apache-2.0 */
#include "load/chunk_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/text.h"
#include "io/regular.h"
#include "load/chunk_tensors.h"
#include "load/decode.h"

sgi_status sgi__pread_all(int fd, const char *path, void *to, size_t bytes, uint64_t offset, sgi_error *err)
{
    uint8_t *at = to;

    while (bytes > 0) {
        ssize_t n = pread(fd, at, bytes, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return sgi__error_sys(err, SGI_E_IO, errno, "read %s at offset %" PRIu64, sgi__io_path_shown(path), offset);
        if (n == 0)
            return sgi__error(err, SGI_E_CHANGED, "%s has changed: it ends at offset %" PRIu64,
                              sgi__io_path_shown(path), offset);
        at += n;
        offset += (uint64_t)n;
        bytes -= (size_t)n;
    }
    return SGI_OK;
}

static sgi_status no_memory(sgi_error *err)
{
    sgi__error(err, SGI_E_NO_MEMORY, "out of memory to read a packed model");
    return SGI_E_NO_MEMORY;
}

/* ---- open ---- */

static sgi_status open_file(struct sgi__chunk_reader *r, uint32_t number, int *fd_out, sgi_error *err)
{
    struct sgi__on_disk file = sgi__manifest_on_disk(r->m, number);
    int                *fd = &r->open[number % 2].fd;

    if (*fd >= 0 && r->open[number % 2].file != number) {
        close(*fd);
        *fd = -1;
    }
    if (*fd < 0) {
        sgi_status st = sgi__io_regular_open_same(file.path, file.id, fd, err);
        if (st != SGI_OK)
            return st;
        r->open[number % 2].file = number;
    }
    *fd_out = *fd;
    return SGI_OK;
}

sgi_status sgi__chunk_reader_open(const struct sgi__manifest *m, struct sgi__chunk_reader **reader_out, sgi_error *err)
{
    struct sgi__chunk_reader *r = sgi__alloc_zero(1, sizeof *r);
    if (!r)
        return no_memory(err);
    r->m = m;
    r->open[0].fd = r->open[1].fd = -1;
    r->stored = sgi__alloc(SGI__PACK_CHUNK_BYTES_MAX);
    sgi_status st = r->stored ? sgi__decoder_new(&r->decoder, err) : no_memory(err);
    if (st == SGI_OK)
        *reader_out = r;
    else
        sgi__chunk_reader_close(r);
    return st;
}

void sgi__chunk_reader_close(struct sgi__chunk_reader *r)
{
    if (!r)
        return;
    for (int n = 0; n < 2; n++)
        if (r->open[n].fd >= 0)
            close(r->open[n].fd);
    sgi__decoder_free(r->decoder);
    sgi__free(r->stored);
    sgi__free(r);
}

/* ---- read ---- */

/* "tensor 'a' and 3 more" */
static void name_tensors(const struct sgi__manifest *m, const struct sgi__stored_chunk *c, char *text, size_t room)
{
    struct sgi__chunk_tensors tensors;
    struct sgi__shown         shown;

    sgi__chunk_tensors(m, c, &tensors);
    if (tensors.count == 0)
        snprintf(text, room, "no tensor");
    else if (tensors.count == 1)
        snprintf(text, room, "tensor '%s'", sgi__show_name(&shown, tensors.names[0]));
    else
        snprintf(text, room, "tensor '%s' and %" PRIu64 " more", sgi__show_name(&shown, tensors.names[0]),
                 tensors.count - 1);
}

sgi_status sgi__chunk_refuse(const struct sgi__manifest *m, const struct sgi__stored_chunk *c, const char *what,
                             sgi_error *err)
{
    struct sgi__shown shown;
    char              tensors[96];

    name_tensors(m, c, tensors, sizeof tensors);
    return sgi__error(err, SGI_E_CHECK, "%s: chunk %" PRIu64 " at offset %" PRIu64 " is damaged: %s; it holds %s",
                      sgi__show_path(&shown, m->packed->files[c->file].asked), (uint64_t)(c - m->packed->chunks), c->at,
                      what, tensors);
}

sgi_status sgi__chunk_read(struct sgi__chunk_reader *r, const struct sgi__stored_chunk *c, void *raw, sgi_error *err)
{
    const struct sgi__pack_file *file = &r->m->packed->files[c->file];
    uint64_t    bytes = r->m->packed->plain ? c->stored_bytes : sgi__align_up(c->stored_bytes, SGI__PACK_ALIGN);
    const char *wrong = NULL;
    int         fd = -1;

    sgi_status st = open_file(r, c->file, &fd, err);
    for (int tries = 0; tries < 2 && st == SGI_OK; tries++) {
        if (wrong) /* what is in the cache may be what is wrong */
            posix_fadvise(fd, (off_t)c->at, (off_t)bytes, POSIX_FADV_DONTNEED);
        st = sgi__pread_all(fd, file->path, r->stored, (size_t)bytes, c->at, err);
        if (st == SGI_OK)
            wrong = sgi__stored_wrong(c, r->stored, !r->m->packed->plain);
        if (!wrong)
            break;
    }
    if (st != SGI_OK)
        return st;
    if (!wrong && c->codec == SGI__CODEC_RAW)
        wrong = sgi__stored_take_raw(c, r->stored, raw);
    else if (!wrong)
        wrong = sgi__decode(r->decoder, c->codec, c->width, r->stored, c->stored_bytes, raw, c->bytes);
    return wrong ? sgi__chunk_refuse(r->m, c, wrong, err) : SGI_OK;
}

sgi_status sgi__chunk_compare(const struct sgi__manifest *m, const struct sgi__stored_chunk *c, const void *raw,
                              sgi_error *err)
{
    uint64_t digest[2];

    if (m->packed->plain)
        return SGI_OK;
    sgi__hash128(raw, c->bytes, digest);
    if (digest[0] != c->digest[0] || digest[1] != c->digest[1])
        return sgi__chunk_refuse(m, c, "it does not become what was packed", err);
    return SGI_OK;
}

/* ---- some bytes of a part ---- */

static sgi_status read_plain(const struct sgi__file *f, uint64_t offset, void *dst, uint64_t bytes, sgi_error *err)
{
    int        fd;
    sgi_status st = sgi__io_regular_open_same(f->path, &f->id, &fd, err);

    if (st != SGI_OK)
        return st;
    st = sgi__pread_all(fd, f->path, dst, (size_t)bytes, offset, err);
    close(fd);
    return st;
}

static sgi_status read_stored(struct sgi__chunk_reader *r, uint32_t part, uint64_t offset, uint8_t *dst, uint64_t bytes,
                              uint8_t *raw, sgi_error *err)
{
    const struct sgi__packed *p = r->m->packed;
    sgi_status                st = SGI_OK;

    for (uint64_t n = 0; n < p->chunks_count && st == SGI_OK; n++) {
        const struct sgi__stored_chunk *c = &p->chunks[n];
        uint64_t                        end = c->offset + c->bytes;
        if (c->part != part || c->offset >= offset + bytes || end <= offset)
            continue;
        uint64_t from = c->offset > offset ? c->offset : offset;
        uint64_t to = end < offset + bytes ? end : offset + bytes;
        st = sgi__chunk_read(r, c, raw, err);
        if (st == SGI_OK)
            memcpy(dst + (from - offset), raw + (from - c->offset), (size_t)(to - from));
    }
    return st;
}

sgi_status sgi__part_read(const struct sgi__manifest *m, uint32_t part, uint64_t offset, void *dst, uint64_t bytes,
                          sgi_error *err)
{
    struct sgi__chunk_reader *r = NULL;
    uint8_t                  *raw;

    if (!m->packed)
        return read_plain(&m->files[part], offset, dst, bytes, err);
    sgi_status st = sgi__chunk_reader_open(m, &r, err);
    if (st != SGI_OK)
        return st;
    raw = sgi__alloc(SGI__PACK_CHUNK_BYTES_MAX);
    st = raw ? read_stored(r, part, offset, dst, bytes, raw, err) : no_memory(err);
    sgi__free(raw);
    sgi__chunk_reader_close(r);
    return st;
}
