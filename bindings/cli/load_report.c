/* SPDX-License-Identifier: Apache-2.0 */
#include "load.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* What comes after the grant is no part of a load. */
enum { PHASE_FIRST = SGI_STEP_NONE + 1, PHASE_LAST = SGI_STEP_START, BAR_CELLS = 40 };

static double ms(uint64_t ns)
{
    return (double)ns * 1e-6;
}

double gib_per_s(uint64_t bytes, double time_ms)
{
    return time_ms > 0 ? (double)bytes / (double)(1u << 30) / (time_ms * 1e-3) : 0;
}

static const char *tier_name(uint32_t tier)
{
    static const char *const names[] = { "disk", "dram", "device" };
    return tier < sizeof names / sizeof *names ? names[tier] : "?";
}

/* sgi_timing.direct */
static const char *direct_name(uint32_t direct)
{
    static const char *const names[] = { "no", "yes", "part" };
    return direct < sizeof names / sizeof *names ? names[direct] : "?";
}

/* -------------------------------------------------------------------- text */

void report_model(struct output *out, const struct load_options *options, const sgi_model_info *info,
                  const char *device)
{
    output_shown(out, options->path);
    output_format(out, ": %s, %" PRIu32 " %s, %" PRIu64 " %s, %s -> %s\n", info->format, info->parts_count,
                  info->parts_count == 1 ? "file" : "files", info->tensors_count,
                  info->tensors_count == 1 ? "tensor" : "tensors", size_text(info->tensor_bytes).text, device);
}

static void put_phase(struct output *out, const char *name, const sgi_phase *phase, uint64_t total_ns)
{
    /* Phases overlap and none is longer than the whole: a bar in its place says more than a sum. */
    char   bar[BAR_CELLS];
    double cell = (double)(total_ns ? total_ns : 1) / BAR_CELLS;
    size_t from = (size_t)((double)phase->start_ns / cell);
    size_t to = (size_t)((double)(phase->start_ns + phase->duration_ns) / cell) + 1;
    if (from >= BAR_CELLS)
        from = BAR_CELLS - 1;
    if (to > BAR_CELLS)
        to = BAR_CELLS;
    memset(bar, ' ', from);
    memset(bar + from, '=', to - from);
    output_format(out, "    %-8s %10.2f ms  at %8.2f  ", name, ms(phase->duration_ns), ms(phase->start_ns));
    output_bytes(out, bar, to);
    output_text(out, "\n");
}

static void put_how(struct output *out, const struct load_run *run)
{
    const sgi_timing *t = &run->timing;
    output_format(out, "  %s", tier_name(t->tier));
    if (t->engine[0])
        output_format(out, ", %s, %s the page cache", t->engine,
                      t->direct == 1   ? "past"
                      : t->direct == 2 ? "partly past"
                                       : "through");
    if (run->cold)
        output_text(out, ", cold");
}

void report_run(struct output *out, const struct load_run *run)
{
    const sgi_timing *t = &run->timing;
    output_format(out, "#%-3" PRIu32 " %.2f GiB/s  load %.2f ms  total %.2f ms  cpu %.2f ms", run->number,
                  gib_per_s(t->bytes, ms(t->load_ns)), ms(t->load_ns), ms(t->total_ns), ms(t->cpu_ns));
    put_how(out, run);
    output_text(out, "\n");
    for (uint32_t step = PHASE_FIRST; step <= PHASE_LAST; step++)
        if (t->phases[step].duration_ns > 0)
            put_phase(out, sgi_step_name(step), &t->phases[step], t->total_ns);
    if (t->bounced_bytes)
        output_format(out, "    %s were copied in memory: the file's layout left no other way\n",
                      size_text(t->bounced_bytes).text);
    if (t->read_bytes > 0 && t->read_bytes < t->bytes)
        output_format(out, "    %s were read, %.3f of what they became\n", size_text(t->read_bytes).text,
                      (double)t->read_bytes / (double)t->bytes);
    if (t->reread_bytes)
        output_format(out, "    %s were read again after a failed check\n", size_text(t->reread_bytes).text);
    if (t->limited_ns)
        output_format(out, "    reads were held back for %.2f ms by --rate\n", ms(t->limited_ns));
    if (run->kept_bytes)
        output_format(out, "    %s are kept in DRAM beside those on the device\n", size_text(run->kept_bytes).text);
    if (run->residue_bytes)
        output_format(out, "    %s could not be given back\n", size_text(run->residue_bytes).text);
    if (run->cached.bytes)
        output_format(out, "    %s stayed in the page cache\n", size_text(run->cached.bytes).text);
}

void report_digests(struct output *out, sgi_runtime *rt, sgi_model model, const sgi_model_info *info,
                    const struct load_run *run)
{
    sgi_tensor tensor = { .struct_size = sizeof tensor };
    for (uint64_t i = 0; i < info->tensors_count && sgi_model_tensor_at(rt, model, i, &tensor) == SGI_OK; i++) {
        output_format(out, "%016" PRIx64 "  ", run->digests[i]);
        output_shown(out, tensor.name);
        output_text(out, "\n");
    }
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void report_summary(struct output *out, double *load_ms, uint32_t count, uint64_t bytes)
{
    qsort(load_ms, count, sizeof *load_ms, compare);
    double median = (load_ms[(count - 1) / 2] + load_ms[count / 2]) / 2;
    output_format(out, "median of %" PRIu32 ": %.2f GiB/s  load %.2f ms  (%.2f to %.2f)\n", count,
                  gib_per_s(bytes, median), median, load_ms[0], load_ms[count - 1]);
}

/* -------------------------------------------------------------------- JSON */

static void field_decimal(struct output *out, const char *key, double value)
{
    put_key(out, key);
    put_decimal(out, value, 3);
}

static void field_u64(struct output *out, const char *key, uint64_t value)
{
    put_key(out, key);
    put_u64(out, value);
}

static void field_string(struct output *out, const char *key, const char *value)
{
    put_key(out, key);
    put_string(out, value);
}

/* All of them, those that took no time too, so that a reader need not ask which are there. */
static void put_phases(struct output *out, const sgi_timing *t)
{
    put_key(out, "phases");
    put_open(out, '{');
    for (uint32_t step = PHASE_FIRST; step <= PHASE_LAST; step++) {
        put_key(out, sgi_step_name(step));
        put_open(out, '{');
        field_decimal(out, "start_ms", ms(t->phases[step].start_ns));
        field_decimal(out, "ms", ms(t->phases[step].duration_ns));
        put_close(out, '}');
    }
    put_close(out, '}');
}

static void put_digests(struct output *out, sgi_runtime *rt, sgi_model model, const sgi_model_info *info,
                        const struct load_run *run)
{
    sgi_tensor tensor = { .struct_size = sizeof tensor };
    field_decimal(out, "digest_ms", run->digest_ms);
    put_key(out, "tensors");
    put_open(out, '[');
    for (uint64_t i = 0; i < info->tensors_count && sgi_model_tensor_at(rt, model, i, &tensor) == SGI_OK; i++) {
        put_open(out, '{');
        field_string(out, "name", tensor.name);
        put_key(out, "xxh3");
        put_hex64(out, run->digests[i]);
        put_close(out, '}');
    }
    put_close(out, ']');
}

void report_json(struct output *out, const struct load_options *options, sgi_runtime *rt, sgi_model model,
                 const sgi_model_info *info, const struct load_run *run)
{
    const sgi_timing *t = &run->timing;
    put_open(out, '{');
    field_string(out, "path", options->path);
    field_u64(out, "repetition", run->number);
    field_u64(out, "bytes", t->bytes);
    field_decimal(out, "load_ms", ms(t->load_ns));
    field_decimal(out, "total_ms", ms(t->total_ns));
    field_decimal(out, "gib_s", gib_per_s(t->bytes, ms(t->load_ns)));
    field_decimal(out, "cpu_ms", ms(t->cpu_ns));
    field_decimal(out, "process_cpu_ms", run->process_cpu_ms);
    field_string(out, "engine", t->engine);
    field_string(out, "device", run->device);
    field_string(out, "tier", tier_name(t->tier));
    put_key(out, "cold");
    put_bool(out, run->cold);
    if (options->cold) {
        put_key(out, "cached_bytes");
        if (run->cached.known)
            put_u64(out, run->cached.bytes);
        else
            put_null(out);
    }
    field_string(out, "direct", direct_name(t->direct));
    field_u64(out, "bounced_bytes", t->bounced_bytes);
    field_u64(out, "read_bytes", t->read_bytes);
    field_u64(out, "reread_bytes", t->reread_bytes);
    field_decimal(out, "limited_ms", ms(t->limited_ns));
    field_u64(out, "kept_bytes", run->kept_bytes);
    field_u64(out, "residue_bytes", run->residue_bytes);
    put_phases(out, t);
    if (run->digests)
        put_digests(out, rt, model, info, run);
    put_close(out, '}');
    put_line_end(out);
}
