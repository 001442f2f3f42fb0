/* SPDX-License-Identifier: Apache-2.0 */
/* The public functions of sgi/pack.h: arguments. */
#include <sgi/pack.h>

#include "base/error.h"
#include "base/sized.h"
#include "base/thread.h"
#include "codec/codec.h"
#include "pack/pack.h"

enum { JOBS_MAX = 256 };

sgi_status sgi_pack_options_init(sgi_pack_options *options, uint32_t bytes)
{
    return sgi__sized_init(options, bytes) ? SGI_OK : SGI_E_INVALID;
}

sgi_status sgi_files_options_init(sgi_files_options *options, uint32_t bytes)
{
    return sgi__sized_init(options, bytes) ? SGI_OK : SGI_E_INVALID;
}

static sgi_status missing(const char *function, const char *what, sgi_error *err)
{
    return sgi__error(err, SGI_E_INVALID, "%s: %s is missing", function, what);
}

static sgi_status check_call(const char *function, const char *path, uint32_t jobs, sgi_error *err)
{
    if (!path || !*path)
        return missing(function, "path", err);
    if (jobs > JOBS_MAX)
        return sgi__error(err, SGI_E_INVALID, "%s: jobs: %u, more than %d", function, jobs, (int)JOBS_MAX);
    if (sgi__thread_in_library())
        return sgi__error(err, SGI_E_DEADLOCK, "%s: called from a callback of the library", function);
    return SGI_OK;
}

sgi_status sgi_pack(const char *const *sources, uint32_t sources_count, const char *path,
                    const sgi_pack_options *options, sgi_pack_report *report_out, sgi_error *err)
{
    sgi_pack_options o = { .struct_size = sizeof o };
    sgi_pack_report  report = { .struct_size = sizeof report };

    if (options && !sgi__sized_in(options, &o, sizeof o))
        return sgi__sized_refuse(err, __func__, "sgi_pack_options", options, sizeof o);
    if (report_out && !sgi__sized_is(report_out))
        return sgi__sized_refuse(err, __func__, "sgi_pack_report", report_out, sizeof report);
    sgi_status st = check_call(__func__, path, o.jobs, err);
    if (st != SGI_OK)
        return st;
    if (!sources || sources_count == 0)
        return missing(__func__, "sources", err);
    if (o.codec > SGI_PACK_PLANES)
        return sgi__error(err, SGI_E_INVALID, "sgi_pack: codec: there is no number %u", o.codec);
    if (o.level > SGI__CODEC_LEVEL_MAX)
        return sgi__error(err, SGI_E_INVALID, "sgi_pack: level: %u, not one of 1 to %d", o.level,
                          (int)SGI__CODEC_LEVEL_MAX);
    if (o.order_count > 0 && !o.order)
        return missing(__func__, "order", err);
    if (o.reserved0 != 0)
        return sgi__error(err, SGI_E_INVALID, "sgi_pack_options: reserved0 is not 0");
    st = sgi__pack(sources, sources_count, path, &o, &report, err);
    if (st == SGI_OK && report_out)
        sgi__sized_out(report_out, &report, sizeof report);
    return st;
}

/* What the caller asked for, or what most want. */
static sgi_status take_options(const char *function, const char *path, const sgi_files_options *options,
                               sgi_files_options *o_out, sgi_error *err)
{
    *o_out = (sgi_files_options){ .struct_size = sizeof *o_out };
    if (options && !sgi__sized_in(options, o_out, sizeof *o_out))
        return sgi__sized_refuse(err, function, "sgi_files_options", options, sizeof *o_out);
    sgi_status st = check_call(function, path, o_out->jobs, err);
    if (st != SGI_OK)
        return st;
    if (o_out->reserved0 != 0)
        return sgi__error(err, SGI_E_INVALID, "sgi_files_options: reserved0 is not 0");
    if (o_out->checks_path && !*o_out->checks_path)
        return sgi__error(err, SGI_E_INVALID, "checks_path: it is empty");
    return SGI_OK;
}

sgi_status sgi_verify(const char *path, const sgi_files_options *options, sgi_error *err)
{
    sgi_files_options o;
    sgi_status        st = take_options(__func__, path, options, &o, err);

    return st == SGI_OK ? sgi__pack_verify(path, &o, err) : st;
}

sgi_status sgi_unpack(const char *path, const char *folder, const sgi_files_options *options, sgi_error *err)
{
    sgi_files_options o;
    sgi_status        st = take_options(__func__, path, options, &o, err);

    if (st != SGI_OK)
        return st;
    if (!folder || !*folder)
        return missing(__func__, "folder", err);
    return sgi__unpack(path, folder, &o, err);
}

sgi_status sgi_digest(const char *path, const sgi_files_options *options, sgi_error *err)
{
    sgi_files_options o;
    sgi_status        st = take_options(__func__, path, options, &o, err);

    return st == SGI_OK ? sgi__digest(path, &o, err) : st;
}
