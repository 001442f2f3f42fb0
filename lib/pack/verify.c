/* SPDX-License-Identifier: Apache-2.0 */
/* Every stored chunk read, checked, decoded, and compared with the digest of what it should become. */
#include <inttypes.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/text.h"
#include "load/chunk_reader.h"
#include "load/chunk_tensors.h"
#include "pack/pack.h"
#include "pack/workers.h"

struct verifier {
    struct sgi__chunk_reader *reader;
    uint8_t                  *raw;
};

static void end_verifier(void *user, void *mine)
{
    struct verifier *v = mine;

    (void)user;
    sgi__chunk_reader_close(v->reader);
    sgi__free(v->raw);
    sgi__free(v);
}

static sgi_status begin_verifier(void *user, void **mine_out, sgi_error *err)
{
    const struct sgi__manifest *m = user;
    struct verifier            *v = sgi__alloc_zero(1, sizeof *v);

    if (!v)
        return sgi__error(err, SGI_E_NO_MEMORY, "out of memory to verify a packed model");
    *mine_out = v;
    v->raw = sgi__alloc(SGI__PACK_CHUNK_BYTES_MAX);
    return v->raw ? sgi__chunk_reader_open(m, &v->reader, err)
                  : sgi__error(err, SGI_E_NO_MEMORY, "out of memory to verify a packed model");
}

static sgi_status verify_chunk(void *user, void *mine, struct sgi__workers *w, uint64_t number, sgi_error *err)
{
    const struct sgi__manifest     *m = user;
    struct verifier                *v = mine;
    const struct sgi__stored_chunk *c = &m->packed->chunks[number];

    sgi_status st = sgi__chunk_read(v->reader, c, v->raw, err);
    if (st == SGI_OK)
        st = sgi__chunk_compare(m, c, v->raw, err);
    sgi__workers_done(w, c->bytes);
    return st;
}

/* After all threads have ended, so that it is on the caller's and about the first. */
static void tell_damage(const struct sgi__manifest *m, uint64_t number, sgi_damage_fn damage, void *user)
{
    const struct sgi__stored_chunk *c = &m->packed->chunks[number];
    struct sgi__chunk_tensors       tensors;

    sgi__chunk_tensors(m, c, &tensors);
    sgi_damage d = { .struct_size = sizeof d,
                     .file = m->packed->files[c->file].asked,
                     .chunk = number,
                     .offset = c->at,
                     .bytes = c->stored_bytes,
                     .tensors_count = tensors.count };
    for (; d.tensors_named < SGI_DAMAGE_TENSORS_MAX && d.tensors_named < tensors.count; d.tensors_named++)
        d.tensors[d.tensors_named] = tensors.names[d.tensors_named];
    damage(user, &d);
}

sgi_status sgi__pack_verify(const char *path, const char *checks_path, uint32_t jobs, sgi_progress_fn progress,
                            sgi_damage_fn damage, void *user, sgi_error *err)
{
    struct sgi__manifest *m;
    uint64_t              failed_at = UINT64_MAX;
    struct sgi__work      work = { .jobs = sgi__pack_jobs(jobs),
                                   .begin = begin_verifier,
                                   .each = verify_chunk,
                                   .end = end_verifier,
                                   .progress = progress,
                                   .progress_user = user,
                                   .failed_at_out = &failed_at };

    sgi_status st = sgi__checked_open(path, checks_path, &m, err);
    if (st != SGI_OK)
        return st;
    work.user = m;
    work.count = m->packed->chunks_count;
    for (uint32_t n = 0; n < m->files_count; n++)
        work.bytes += m->files[n].bytes;
    st = sgi__workers_run(&work, err);
    if (st == SGI_E_CHECK && damage && failed_at < work.count)
        tell_damage(m, failed_at, damage, user);
    sgi__manifest_free(m);
    return st;
}
