/* SPDX-License-Identifier: Apache-2.0 */
#include "format/sums.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/hash.h"
#include "base/text.h"
#include "model/packed.h"

enum {
    VERSION = 1,
    CHUNK_BYTES_MIN = 64 << 10,
    CHECK_AT = SGI__SUMS_HEAD_BYTES - 8,
};

static const uint8_t magic[8] = { 0x89, 'S', 'U', 'M', '\r', '\n', 0x1a, '\n' };

bool sgi__sums_begins(const void *bytes, size_t count)
{
    return count >= sizeof magic && memcmp(bytes, magic, sizeof magic) == 0;
}

static void put(uint8_t *at, uint64_t value, unsigned bytes)
{
    for (unsigned n = 0; n < bytes; n++)
        at[n] = (uint8_t)(value >> (8 * n));
}

uint64_t sgi__sums_count(uint64_t file_bytes, uint32_t chunk_bytes)
{
    return file_bytes / chunk_bytes + (file_bytes % chunk_bytes > 0);
}

void sgi__sums_put(const struct sgi__sums *sums, const uint8_t *table, uint64_t count, uint8_t *bytes)
{
    memset(bytes, 0, SGI__SUMS_HEAD_BYTES);
    memcpy(bytes, magic, sizeof magic);
    put(bytes + 8, VERSION, 4);
    put(bytes + 12, sums->chunk_bytes, 4);
    put(bytes + 16, sums->file_bytes, 8);
    put(bytes + 24, sums->header_bytes, 8);
    put(bytes + 32, sums->header_check, 8);
    put(bytes + 40, sgi__hash(table, count * 8), 8);
    put(bytes + CHECK_AT, sgi__hash(bytes, CHECK_AT), 8);
    memcpy(bytes + SGI__SUMS_HEAD_BYTES, table, count * 8);
}

/* ---- where they are ---- */

sgi_status sgi__sums_where(const struct sgi__fs *fs, const char *checks_path, uint32_t files_count, bool new_too,
                           bool *folder_out, sgi_error *err)
{
    enum sgi__fs_kind kind = SGI__FS_FILE;
    struct sgi__shown shown;
    sgi_error         own;

    sgi__error_init(&own);
    sgi_status st = fs->kind(fs->user, checks_path, &kind, &own);
    bool       none = st == SGI_E_IO && own.os_errno == ENOENT && new_too;
    if (none && files_count == 1)
        st = SGI_OK;
    else if (none)
        sgi__error_sys(&own, SGI_E_IO, ENOENT,
                       "checks_path: %s has to be a folder that is there: the model has %u files",
                       sgi__show_path(&shown, checks_path), files_count);
    if (st != SGI_OK)
        sgi__error_copy(err, &own);
    else if (kind == SGI__FS_FILE && files_count > 1)
        st = sgi__error(err, SGI_E_INVALID, "checks_path: %s is one file, but the model has %u: it has to be a folder",
                        sgi__show_path(&shown, checks_path), files_count);
    else
        *folder_out = kind == SGI__FS_FOLDER;
    return st;
}

char *sgi__sums_path(const struct sgi__file *f, const char *checks_path, bool folder)
{
    if (checks_path && !folder)
        return sgi__strdup(checks_path);
    const char *name = checks_path ? f->name : f->asked;
    size_t      folder_bytes = checks_path ? strlen(checks_path) : 0, room = folder_bytes + strlen(name) + 2;
    char       *path = sgi__alloc(room + sizeof SGI__SUMS_SUFFIX);
    if (path)
        snprintf(path, room + sizeof SGI__SUMS_SUFFIX, "%s%s%s" SGI__SUMS_SUFFIX, checks_path ? checks_path : "",
                 folder_bytes > 0 && checks_path[folder_bytes - 1] != '/' ? "/" : "", name);
    return path;
}

/* ---- reading one ---- */

static sgi_status damaged(const struct sgi__source *s, sgi_error *err)
{
    struct sgi__shown shown;
    return sgi__error(err, SGI_E_CHECK, "%s: these checks are damaged themselves", sgi__show_path(&shown, s->path));
}

static sgi_status of_another(const struct sgi__source *s, const struct sgi__file *f, const char *what, sgi_error *err)
{
    struct sgi__shown path, name;
    return sgi__error(err, SGI_E_CHANGED, "%s: checks of another file than this '%s': its %s differs",
                      sgi__show_path(&path, s->path), sgi__show_name(&name, f->name), what);
}

/* The table's check is in *table_check_out. */
static sgi_status read_head(struct sgi__source *s, const struct sgi__file *f, struct sgi__sums *sums_out,
                            uint64_t *table_check_out, sgi_error *err)
{
    const uint8_t     *head = NULL;
    const void        *view;
    struct sgi__cursor c;

    if (s->id.bytes < SGI__SUMS_HEAD_BYTES)
        return sgi__refuse(s, err, "too short for checks of a model file: %llu bytes", (unsigned long long)s->id.bytes);
    sgi_status st = sgi__source_view(s, SGI__SUMS_HEAD_BYTES, &view, err);
    if (st != SGI_OK)
        return st;
    head = view;
    if (!sgi__sums_begins(head, SGI__SUMS_HEAD_BYTES))
        return sgi__refuse(s, err, "not a file of checks, as sgi digest writes it");
    sgi__cursor_init(&c, head + CHECK_AT, 8);
    if (sgi__cursor_u64(&c) != sgi__hash(head, CHECK_AT))
        return damaged(s, err);
    sgi__cursor_init(&c, head + 8, CHECK_AT - 8);
    uint32_t version = sgi__cursor_u32(&c);
    sums_out->chunk_bytes = sgi__cursor_u32(&c);
    sums_out->file_bytes = sgi__cursor_u64(&c);
    sums_out->header_bytes = sgi__cursor_u64(&c);
    sums_out->header_check = sgi__cursor_u64(&c);
    *table_check_out = sgi__cursor_u64(&c);
    if (version != VERSION)
        return sgi__error(err, SGI_E_UNSUPPORTED, "%s: checks in version %u of their format; version %d is known here",
                          s->path, version, (int)VERSION);
    if (sums_out->chunk_bytes < CHUNK_BYTES_MIN || sums_out->chunk_bytes > SGI__PACK_CHUNK_BYTES_MAX ||
        (sums_out->chunk_bytes & (sums_out->chunk_bytes - 1)) != 0 || sgi__cursor_u64(&c) != 0)
        return sgi__refuse(s, err, "checks that are not as they should be");
    if (sums_out->file_bytes != f->bytes)
        return of_another(s, f, "size", err);
    if (sums_out->header_bytes != f->data_offset)
        return of_another(s, f, "header", err);
    return SGI_OK;
}

static sgi_status read_table(struct sgi__source *s, uint64_t count, uint64_t check, char **table_out, sgi_error *err)
{
    uint64_t bytes = count * 8;

    if (sgi__source_left(s) != bytes)
        return sgi__refuse(s, err, "%llu bytes of checks, where there are to be %llu",
                           (unsigned long long)sgi__source_left(s), (unsigned long long)bytes);
    sgi_status st = sgi__source_text(s, bytes, table_out, err);
    if (st == SGI_OK && sgi__hash(*table_out, (size_t)bytes) != check) {
        sgi__free(*table_out);
        *table_out = NULL;
        st = damaged(s, err);
    }
    return st;
}

/* The header was read by its parser, and is once more: it is what says where tensors are. */
static sgi_status check_header(const struct sgi__parse *p, const struct sgi__source *sums_source,
                               const struct sgi__file *f, const struct sgi__sums *sums, sgi_error *err)
{
    struct sgi__parse      own = *p;
    struct sgi__source     s;
    struct sgi__hash_state hash;
    const void            *view;

    sgi_status st = sgi__source_open(&own, f->asked, &s, err);
    if (st != SGI_OK)
        return st;
    sgi__hash_begin(&hash);
    for (uint64_t left = sums->header_bytes; left > 0 && st == SGI_OK;) {
        size_t bytes = left < SGI__SOURCE_WINDOW ? (size_t)left : SGI__SOURCE_WINDOW;
        st = sgi__source_view(&s, bytes, &view, err);
        if (st == SGI_OK)
            sgi__hash_more(&hash, view, bytes);
        left -= bytes;
    }
    sgi__source_close(&s);
    if (st == SGI_OK && sgi__hash_so_far(&hash) != sums->header_check)
        st = of_another(sums_source, f, "header", err);
    return st;
}

/* ---- all of them ---- */

struct found {
    struct sgi__sums sums;
    char            *table; /* NULL: there are none */
};

static sgi_status look(struct sgi__parse *p, const struct sgi__file *f, bool folder, struct found *found,
                       sgi_error *err)
{
    struct sgi__source s;
    sgi_error          own;
    uint64_t           check = 0;
    char              *path = sgi__sums_path(f, p->checks_path, folder);

    if (!path)
        return sgi__no_memory(f->asked, err);
    sgi__error_init(&own);
    sgi_status st = sgi__source_open(p, path, &s, &own);
    if (st != SGI_OK) {
        /* Where not even a name is to be had beside a file, nothing lies there. */
        bool none = !p->checks_path && st == SGI_E_IO && (own.os_errno == ENOENT || own.os_errno == ENAMETOOLONG);
        if (!none)
            sgi__error_copy(err, &own);
        sgi__free(path);
        return none ? SGI_OK : st;
    }
    st = read_head(&s, f, &found->sums, &check, err);
    if (st == SGI_OK)
        st = read_table(&s, sgi__sums_count(f->bytes, found->sums.chunk_bytes), check, &found->table, err);
    if (st == SGI_OK)
        st = check_header(p, &s, f, &found->sums, err);
    sgi__source_close(&s);
    sgi__free(path);
    return st;
}

static uint32_t chunk_bytes_of(const struct found *found)
{
    return found->table ? found->sums.chunk_bytes : SGI__SUMS_CHUNK_BYTES;
}

static void add_chunks(struct sgi__packed *packed, const struct sgi__file *f, uint32_t number,
                       const struct found *found)
{
    uint32_t           usual = chunk_bytes_of(found);
    struct sgi__cursor c;

    if (found->table)
        sgi__cursor_init(&c, found->table, (size_t)sgi__sums_count(f->bytes, usual) * 8);
    for (uint64_t at = 0; at < f->bytes; at += usual) {
        uint32_t bytes = f->bytes - at < usual ? (uint32_t)(f->bytes - at) : usual;
        packed->chunks[packed->chunks_count++] = (struct sgi__stored_chunk){ .at = at,
                                                                             .offset = at,
                                                                             .stored_bytes = bytes,
                                                                             .bytes = bytes,
                                                                             .part = number,
                                                                             .file = number,
                                                                             .unchecked = !found->table,
                                                                             .check = found->table ? sgi__cursor_u64(&c)
                                                                                                   : 0 };
    }
}

static void *room_for(struct sgi__manifest *m, uint64_t count, size_t bytes)
{
    void *room = sgi__manifest_alloc(m, count * bytes + 1);
    if (room)
        memset(room, 0, (size_t)(count * bytes));
    return room;
}

static sgi_status store(struct sgi__manifest *m, const struct found *found, sgi_error *err)
{
    struct sgi__packed *packed = room_for(m, 1, sizeof *packed);
    uint64_t            chunks = 0;

    for (uint32_t n = 0; n < m->files_count; n++)
        chunks += sgi__sums_count(m->files[n].bytes, chunk_bytes_of(&found[n]));
    if (chunks > SGI__PACK_CHUNKS_MAX)
        return sgi__refuse_path(m->files[0].asked, err, "%llu chunks, where the most is %d", (unsigned long long)chunks,
                                SGI__PACK_CHUNKS_MAX);
    if (packed) {
        packed->files = room_for(m, m->files_count, sizeof *packed->files);
        packed->chunks = room_for(m, chunks, sizeof *packed->chunks);
    }
    if (!packed || !packed->files || !packed->chunks)
        return sgi__no_memory(m->files[0].asked, err);
    packed->plain = true;
    packed->files_count = m->files_count;
    for (uint32_t n = 0; n < m->files_count; n++) {
        const struct sgi__file *f = &m->files[n];
        packed->files[n] = (struct sgi__pack_file){ .path = f->path, .asked = f->asked, .id = f->id };
        add_chunks(packed, f, n, &found[n]);
    }
    m->packed = packed;
    return SGI_OK;
}

sgi_status sgi__sums_read(struct sgi__parse *p, sgi_error *err)
{
    struct sgi__manifest *m = p->m;
    struct found         *found = sgi__alloc_zero(m->files_count, sizeof *found);
    sgi_status            st = SGI_OK;
    bool                  any = false, folder = false;

    if (!found)
        return sgi__no_memory(m->files[0].asked, err);
    if (p->checks_path)
        st = sgi__sums_where(p->fs, p->checks_path, m->files_count, false, &folder, err);
    for (uint32_t n = 0; n < m->files_count && st == SGI_OK; n++) {
        st = look(p, &m->files[n], folder, &found[n], err);
        any = any || found[n].table;
    }
    if (st == SGI_OK && (any || (p->flags & SGI__FORMAT_CHUNKS)))
        st = store(m, found, err);
    for (uint32_t n = 0; n < m->files_count; n++)
        sgi__free(found[n].table);
    sgi__free(found);
    return st;
}
