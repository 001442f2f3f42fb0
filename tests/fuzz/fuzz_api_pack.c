/* SPDX-License-Identifier: Apache-2.0 */
/* Calls of the fuzz target that make files: packs, checks, and back. */
#include "fuzz_api.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <sgi/pack.h>

static int stop_some(void *user, uint64_t done_bytes, uint64_t total_bytes)
{
    uint32_t *left = user;
    CHECK(done_bytes <= total_bytes);
    return (*left)-- == 0;
}

static void look_at_damage(void *user, const sgi_damage *damage)
{
    (void)user;
    CHECK(damage->struct_size == sizeof *damage && damage->file && damage->bytes > 0);
    CHECK(damage->tensors_named <= SGI_DAMAGE_TENSORS_MAX && damage->tensors_named <= damage->tensors_count);
    for (uint32_t n = 0; n < damage->tensors_named; n++)
        CHECK(strlen(damage->tensors[n]) < 65536);
}

static void look_at_file(void *user, const sgi_file_done *file)
{
    (void)user;
    CHECK(file->struct_size == sizeof *file && file->path && file->is_base <= 1 && file->unchecked <= file->chunks);
}

#define PACK_FAILED \
    SGI_E_IO, SGI_E_FORMAT, SGI_E_DENIED, SGI_E_CHANGED, SGI_E_CHECK, SGI_E_UNSUPPORTED, SGI_E_CANCELED, SGI_E_INVALID

static void check_pack(struct world *w, const char *path)
{
    static const char *const names[] = { "a", "c", "nobody" };
    uint32_t                 left = one_in(w, 4) ? 0 : 1000;
    sgi_pack_options         options;
    struct out               o;
    sgi_pack_report         *report = out_begin(w, &o, sizeof *report);

    CHECK(sgi_pack_options_init(&options, sizeof options) == SGI_OK);
    options.codec = below(w, 5);
    options.level = one_in(w, 8) ? 20 : below(w, 4);
    options.jobs = below(w, 3);
    options.order = one_in(w, 4) ? names : NULL;
    options.order_count = options.order ? below(w, 4) : 0;
    options.base = one_in(w, 4) ? path : one_in(w, 8) ? fuzz_api_path(below(w, PATHS)) : NULL;
    options.progress = one_of_two(w) ? stop_some : NULL;
    options.user = &left;
    bool        no_options = one_in(w, 4);
    const char *sources[] = { fuzz_api_path(below(w, PATHS)), fuzz_api_path(below(w, PATHS)) };
    sgi_status  st = sgi_pack(sources, one_in(w, 4) ? 2 : 1, path, no_options ? NULL : &options, report, err_of(w));
    ONE_OF(w, st, PACK_FAILED, SGI_E_NOT_FOUND);
    if (out_end(&o, sizeof *report, st) && o.size >= sizeof *report)
        CHECK(report->chunks == report->chunks_raw + report->chunks_zstd + report->chunks_planes);
}

const char *fuzz_api_checks(struct world *w, bool written)
{
    static char path[512];

    if (!one_in(w, 4))
        return NULL;
    snprintf(path, sizeof path, "%s/checks.sgisum", fuzz_api_folder());
    switch (below(w, 4)) {
    case 0:
        return fuzz_api_folder();
    case 1:
        return one_in(w, 4) ? "" : written ? path : fuzz_api_path(below(w, PATHS));
    default:
        return path;
    }
}

static sgi_files_options some_options(struct world *w, uint32_t *left, bool written)
{
    sgi_files_options options;

    CHECK(sgi_files_options_init(&options, sizeof options) == SGI_OK);
    options.jobs = one_in(w, 8) ? 300 : below(w, 3);
    options.checks_path = fuzz_api_checks(w, written);
    options.progress = one_of_two(w) ? stop_some : NULL;
    options.file = one_of_two(w) ? look_at_file : NULL;
    options.damage = one_of_two(w) ? look_at_damage : NULL;
    options.user = left;
    return options;
}

/* What was packed is whole, and what it is made from can be had back. */
void fuzz_api_pack(struct world *w)
{
    char              path[512];
    uint32_t          left = one_in(w, 4) ? 0 : 1000, what = below(w, 4);
    sgi_files_options options = some_options(w, &left, what == 3);
    const char       *some = one_of_two(w) ? path : fuzz_api_path(below(w, PATHS));
    sgi_status        st;

    snprintf(path, sizeof path, "%s/packed.sgi", fuzz_api_folder());
    if (what == 0)
        check_pack(w, path);
    if (what == 0)
        return;
    if (what == 1)
        st = sgi_verify(some, one_in(w, 8) ? NULL : &options, err_of(w));
    else if (what == 2)
        st = sgi_unpack(some, one_in(w, 8) ? path : fuzz_api_folder(), &options, err_of(w));
    else
        st = sgi_digest(fuzz_api_path(below(w, PATHS)), &options, err_of(w));
    ONE_OF(w, st, PACK_FAILED);
}
