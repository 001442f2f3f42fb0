/* SPDX-License-Identifier: Apache-2.0 */
/* Every stored chunk read, checked, decoded, and compared with the digest of what it should become: those of the model,
 * and behind them those of its base that it has no use for. The base is verified whole, since others depend on it too,
 * and since nobody else would ever say that it is damaged. */
#include "base/alloc.h"
#include "base/error.h"
#include "io/regular.h"
#include "load/chunk_reader.h"
#include "load/chunk_tensors.h"
#include "pack/equal.h"
#include "pack/pack.h"
#include "pack/workers.h"

struct verifying {
    struct sgi__manifest            *m, *base; /* base: NULL, there is none */
    const struct sgi__stored_chunk **rest;     /* of the base */
    uint64_t                         rest_count;
};

struct verifier {
    struct sgi__chunk_reader *reader, *base_reader;
    uint8_t                  *raw;
};

static sgi_status no_memory(sgi_error *err)
{
    return sgi__error(err, SGI_E_NO_MEMORY, "out of memory to verify a packed model");
}

/* ---- the base ---- */

static bool stored_alike(const struct sgi__stored_chunk *a, const struct sgi__stored_chunk *b)
{
    return a->at == b->at && a->stored_bytes == b->stored_bytes && a->codec == b->codec && a->width == b->width &&
           a->check == b->check;
}

/* What the model has of the base is verified with the model, and not once more. */
static sgi_status find_rest(struct verifying *v, sgi_error *err)
{
    const struct sgi__packed *packed = v->m->packed, *base = v->base->packed;
    struct sgi__equal         used;

    v->rest = sgi__alloc_zero((size_t)base->chunks_count + 1, sizeof *v->rest);
    if (!v->rest || !sgi__equal_init(&used, packed->chunks_count))
        return no_memory(err);
    for (uint64_t n = 0; n < packed->chunks_count; n++)
        if (packed->chunks[n].file == SGI__PACK_BASE)
            sgi__equal_add(&used, &packed->chunks[n]);
    for (uint64_t n = 0; n < base->chunks_count; n++) {
        const struct sgi__stored_chunk *c = &base->chunks[n], *there = sgi__equal_find(&used, c);
        if (!there || !stored_alike(there, c))
            v->rest[v->rest_count++] = c;
    }
    sgi__equal_fini(&used);
    return SGI_OK;
}

static sgi_status open_base(struct verifying *v, sgi_error *err)
{
    const struct sgi__pack_file *file = &v->m->packed->files[SGI__PACK_BASE];

    if (v->m->packed->plain || !v->m->packed->base_name)
        return SGI_OK;
    sgi_status st = sgi__pack_open(file->asked, NULL, &v->base, err);
    if (st == SGI_OK) /* looked for by its path once more */
        st = sgi__io_id_compare(file->asked, &file->id, &v->base->packed->files[SGI__PACK_ITSELF].id, err);
    return st == SGI_OK ? find_rest(v, err) : st;
}

/* ---- chunks ---- */

static void end_verifier(void *user, void *mine)
{
    struct verifier *w = mine;

    (void)user;
    sgi__chunk_reader_close(w->reader);
    sgi__chunk_reader_close(w->base_reader);
    sgi__free(w->raw);
    sgi__free(w);
}

static sgi_status begin_verifier(void *user, void **mine_out, sgi_error *err)
{
    const struct verifying *v = user;
    struct verifier        *w = sgi__alloc_zero(1, sizeof *w);

    if (!w)
        return no_memory(err);
    *mine_out = w;
    w->raw = sgi__alloc(SGI__PACK_CHUNK_BYTES_MAX);
    sgi_status st = w->raw ? sgi__chunk_reader_open(v->m, &w->reader, err) : no_memory(err);
    return st == SGI_OK && v->rest_count > 0 ? sgi__chunk_reader_open(v->base, &w->base_reader, err) : st;
}

/* The chunk of that number, and whose it is. */
static const struct sgi__stored_chunk *chunk_of(const struct verifying *v, uint64_t number,
                                                const struct sgi__manifest **m_out)
{
    uint64_t own = v->m->packed->chunks_count;

    *m_out = number < own ? v->m : v->base;
    return number < own ? &v->m->packed->chunks[number] : v->rest[number - own];
}

static sgi_status verify_chunk(void *user, void *mine, struct sgi__workers *workers, uint64_t number, sgi_error *err)
{
    const struct verifying         *v = user;
    struct verifier                *w = mine;
    const struct sgi__manifest     *m;
    const struct sgi__stored_chunk *c = chunk_of(v, number, &m);

    sgi_status st = sgi__chunk_read(m == v->m ? w->reader : w->base_reader, c, w->raw, err);
    if (st == SGI_OK)
        st = sgi__chunk_compare(m, c, w->raw, err);
    sgi__workers_done(workers, c->bytes);
    return st;
}

/* After all threads have ended, so that it is on the caller's and about the first. */
static void tell_damage(const struct verifying *v, uint64_t number, const sgi_files_options *o)
{
    const struct sgi__manifest     *m;
    const struct sgi__stored_chunk *c = chunk_of(v, number, &m);
    struct sgi__chunk_tensors       tensors;

    sgi__chunk_tensors(m, c, &tensors);
    sgi_damage d = { .struct_size = sizeof d,
                     .file = m->packed->files[c->file].asked,
                     .chunk = (uint64_t)(c - m->packed->chunks),
                     .offset = c->at,
                     .bytes = c->stored_bytes,
                     .tensors_count = tensors.count };
    for (; d.tensors_named < SGI_DAMAGE_TENSORS_MAX && d.tensors_named < tensors.count; d.tensors_named++)
        d.tensors[d.tensors_named] = tensors.names[d.tensors_named];
    o->damage(o->user, &d);
}

/* Each file that has some of it, and what of it is good. */
static void tell_files(const struct verifying *v, const sgi_files_options *o)
{
    const struct sgi__packed *p = v->m->packed;

    for (uint32_t n = 0; n < p->files_count; n++) {
        bool          base = !p->plain && n == SGI__PACK_BASE;
        sgi_file_done done = { .struct_size = sizeof done,
                               .is_base = base,
                               .path = p->files[n].asked,
                               .bytes = p->files[n].id.bytes,
                               .chunks = base ? v->base->packed->chunks_count : 0 };
        for (uint64_t c = 0; c < p->chunks_count && !base; c++) {
            done.chunks += p->chunks[c].file == n;
            done.unchecked += p->chunks[c].file == n && p->chunks[c].unchecked;
        }
        sgi__file_done(o, &done);
    }
}

static sgi_status verify_all(struct verifying *v, const sgi_files_options *o, sgi_error *err)
{
    uint64_t         failed_at = UINT64_MAX;
    struct sgi__work work = { .jobs = sgi__pack_jobs(o->jobs),
                              .count = v->m->packed->chunks_count + v->rest_count,
                              .user = v,
                              .begin = begin_verifier,
                              .each = verify_chunk,
                              .end = end_verifier,
                              .progress = o->progress,
                              .progress_user = o->user,
                              .failed_at_out = &failed_at };

    for (uint32_t n = 0; n < v->m->files_count; n++)
        work.bytes += v->m->files[n].bytes;
    for (uint64_t n = 0; n < v->rest_count; n++)
        work.bytes += v->rest[n]->bytes;
    sgi_status st = sgi__workers_run(&work, err);
    if (st == SGI_E_CHECK && o->damage && failed_at < work.count)
        tell_damage(v, failed_at, o);
    return st;
}

sgi_status sgi__pack_verify(const char *path, const sgi_files_options *options, sgi_error *err)
{
    struct verifying v = { .base = NULL };

    sgi_status st = sgi__checked_open(path, options, &v.m, err);
    if (st != SGI_OK)
        return st;
    st = open_base(&v, err);
    if (st == SGI_OK)
        st = verify_all(&v, options, err);
    if (st == SGI_OK)
        tell_files(&v, options);
    sgi__free(v.rest);
    sgi__manifest_free(v.base);
    sgi__manifest_free(v.m);
    return st;
}
