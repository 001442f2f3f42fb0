/* SPDX-License-Identifier: Apache-2.0 */
/* What packing, verifying and unpacking begin with. */
#include <sched.h>

#include "base/error.h"
#include "base/text.h"
#include "format/format.h"
#include "io/io.h"
#include "pack/pack.h"

enum { JOBS_MAX = 256 };

uint32_t sgi__pack_jobs(uint32_t jobs)
{
    cpu_set_t cpus;

    if (jobs == 0 && sched_getaffinity(0, sizeof cpus, &cpus) == 0)
        jobs = (uint32_t)CPU_COUNT(&cpus);
    return jobs == 0 ? 1 : jobs < JOBS_MAX ? jobs : JOBS_MAX;
}

static sgi_status open_model(const char *path, const sgi_files_options *o, bool packed_only,
                             struct sgi__manifest **manifest_out, sgi_error *err)
{
    static const struct sgi__fs_posix everywhere;
    struct sgi__fs                    fs = sgi__fs_posix_table(&everywhere);
    struct sgi__format_options        options = { .flags = SGI__FORMAT_METADATA,
                                                  .folders = o ? o->folders : NULL,
                                                  .folders_count = o ? o->folders_count : 0,
                                                  .checks_path = o ? o->checks_path : NULL };
    struct sgi__manifest             *m;
    struct sgi__shown                 shown;

    sgi_status st = sgi__format_open(&fs, path, &options, &m, err);
    if (st != SGI_OK)
        return st;
    if (!m->packed || (packed_only && m->packed->plain)) {
        st = sgi__error(err, SGI_E_UNSUPPORTED,
                        packed_only ? "%s: a model in %s, not a packed one"
                                    : "%s: a model in %s, not a packed one, and without checks beside it",
                        sgi__show_path(&shown, path), m->format);
        sgi__manifest_free(m);
        return st;
    }
    *manifest_out = m;
    return SGI_OK;
}

sgi_status sgi__pack_open(const char *path, const sgi_files_options *options, struct sgi__manifest **manifest_out,
                          sgi_error *err)
{
    return open_model(path, options, true, manifest_out, err);
}

sgi_status sgi__checked_open(const char *path, const sgi_files_options *options, struct sgi__manifest **manifest_out,
                             sgi_error *err)
{
    return open_model(path, options, false, manifest_out, err);
}

void sgi__file_done(const sgi_files_options *options, const sgi_file_done *file)
{
    if (options->file)
        options->file(options->user, file);
}
