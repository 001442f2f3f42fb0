/* SPDX-License-Identifier: Apache-2.0 */
/* A manifest for people: what it is in one line, its files, its metadata shortened, its tensors as a table. Names
 * from a file are shown without control characters: this goes to a terminal. */
#include "format/format.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "format/output.h"

enum { LINE_BYTES = 512, ITEMS_SHOWN = 4 };

static void put(struct sgi__output *o, const char *format, ...) SGI_PRINTF(2, 3);

static void put(struct sgi__output *o, const char *format, ...)
{
    char    line[LINE_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    sgi__output_text(o, line);
}

static void put_size(struct sgi__output *o, uint64_t bytes)
{
    static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB" };
    size_t                   unit = 0;
    double                   size = (double)bytes;
    while (size >= 1024 && unit + 1 < sizeof units / sizeof *units) {
        size /= 1024;
        unit++;
    }
    put(o, "%.*f %s", unit == 0 ? 0 : 1, size, units[unit]);
}

static void put_scalar(struct sgi__output *o, const struct sgi__value *value)
{
    struct sgi__shown shown;
    switch (value->kind) {
    case SGI__VALUE_U64:
        sgi__output_u64(o, value->u64);
        break;
    case SGI__VALUE_I64:
        sgi__output_i64(o, value->i64);
        break;
    case SGI__VALUE_F32:
    case SGI__VALUE_F64:
        put(o, "%g", value->f64);
        break;
    case SGI__VALUE_BOOL:
        sgi__output_text(o, value->boolean ? "true" : "false");
        break;
    case SGI__VALUE_TEXT:
        put(o, "\"%s\"", sgi__show_bytes(&shown, value->text.text, (size_t)value->text.bytes));
        break;
    case SGI__VALUE_ARRAY:
        sgi__output_text(o, "[]");
        break;
    }
}

static void put_value(struct sgi__output *o, const struct sgi__value *value)
{
    if (value->kind != SGI__VALUE_ARRAY) {
        put_scalar(o, value);
        return;
    }
    uint64_t count = value->array.count;
    for (uint64_t i = 0; i < count && i < ITEMS_SHOWN; i++) {
        sgi__output_text(o, i == 0 ? "[" : ", ");
        put_scalar(o, &value->array.items[i]);
    }
    if (count > ITEMS_SHOWN)
        put(o, ", ... %" PRIu64 " items]", count);
    else
        sgi__output_text(o, count == 0 ? "[]" : "]");
}

static void put_tensor(struct sgi__output *o, const struct sgi__manifest *m, const struct sgi__tensor *tensor,
                       int width)
{
    struct sgi__shown name, dtype;
    char              shape[SGI_RANK_MAX * 24] = "";
    size_t            used = 0;
    for (uint32_t i = 0; i < tensor->rank; i++) /* at most 22 bytes each */
        used += (size_t)snprintf(shape + used, sizeof shape - used, "%s%" PRIu64, i == 0 ? "" : ", ",
                                 m->shapes[tensor->shape_at + i]);
    put(o, "  %-*s  %-8s  %14" PRIu64 " %12" PRIu64 "  [%s]", width, sgi__show_name(&name, tensor->name),
        sgi__show_name(&dtype, tensor->dtype), tensor->offset, tensor->bytes, shape);
    if (m->files_count > 1)
        put(o, "  %u", tensor->file);
    sgi__output_text(o, "\n");
}

static int name_width(const struct sgi__manifest *m)
{
    size_t widest = strlen("tensor");
    for (uint64_t i = 0; i < m->tensors_count; i++) {
        size_t width = strlen(m->tensors[i].name);
        if (width > widest)
            widest = width;
    }
    return (int)(widest < SGI__SHOWN_NAME_BYTES ? widest : SGI__SHOWN_NAME_BYTES);
}

static void put_summary(struct sgi__output *o, const struct sgi__manifest *m)
{
    uint64_t bytes = 0;
    for (uint64_t i = 0; i < m->tensors_count; i++)
        bytes += m->tensors[i].bytes;
    put(o, "%s", m->format);
    if (m->format_version > 0)
        put(o, " version %u", m->format_version);
    put(o, ": %" PRIu64 " tensor%s, ", m->tensors_count, m->tensors_count == 1 ? "" : "s");
    put_size(o, bytes);
    put(o, " in %u file%s\n", m->files_count, m->files_count == 1 ? "" : "s");
}

/* What a file stores of a packed model: bytes on disk, and bytes that they become. */
static void put_store(struct sgi__output *o, const char *what, const struct sgi__pack_file *f, const uint64_t chunks[3],
                      uint64_t bytes)
{
    struct sgi__shown shown;
    uint64_t          count = chunks[0] + chunks[1] + chunks[2];

    put(o, "  %s: %s  ", what, sgi__show_path(&shown, f->path));
    put_size(o, f->id.bytes);
    put(o, "; of the model %" PRIu64 " chunk%s, ", count, count == 1 ? "" : "s");
    put_size(o, bytes);
    put(o, " unpacked: %" PRIu64 " planes, %" PRIu64 " zstd, %" PRIu64 " raw\n", chunks[2], chunks[1], chunks[0]);
}

static void put_stored(struct sgi__output *o, const struct sgi__packed *p)
{
    struct sgi__stored_summary s;
    uint64_t                   here[3];

    sgi__stored_summary(p, &s);
    if (p->plain) {
        put(o, "  checks: %" PRIu64 " of %" PRIu64 " chunk%s\n", p->chunks_count - s.unchecked, p->chunks_count,
            p->chunks_count == 1 ? "" : "s");
        return;
    }
    for (size_t n = 0; n < sizeof here / sizeof *here; n++)
        here[n] = s.chunks[n] - s.base_chunks[n];
    put_store(o, "packed", &p->files[SGI__PACK_ITSELF], here, s.bytes - s.base_bytes);
    if (p->base_name)
        put_store(o, "base", &p->files[SGI__PACK_BASE], s.base_chunks, s.base_bytes);
}

/* The files that were packed: as they were, and as their tensors lie in memory. */
static void put_parts(struct sgi__output *o, const struct sgi__manifest *m)
{
    struct sgi__shown shown;

    for (uint32_t i = 0; i < m->files_count && !o->stopped; i++) {
        const struct sgi__file *f = &m->files[i];
        uint64_t                source_bytes = m->packed->parts[i].source_bytes;
        put(o, "  %u  %s  %" PRIu64 " bytes", i, sgi__show_name(&shown, f->name), source_bytes);
        if (f->bytes != source_bytes)
            put(o, "; in memory %" PRIu64 " bytes", f->bytes);
        put(o, ", data at %" PRIu64 "\n", f->data_offset);
    }
}

static void put_files(struct sgi__output *o, const struct sgi__manifest *m)
{
    struct sgi__shown shown;

    for (uint32_t i = 0; i < m->files_count && !o->stopped; i++)
        put(o, "  %u  %s  %" PRIu64 " bytes, data at %" PRIu64 "\n", i, sgi__show_path(&shown, m->files[i].path),
            m->files[i].bytes, m->files[i].data_offset);
}

sgi_status sgi__format_write_text(const struct sgi__manifest *m, sgi_write_fn write, void *user, sgi_error *err)
{
    struct sgi__output o;
    struct sgi__shown  shown;
    int                width = name_width(m);
    sgi__output_begin(&o, write, user);
    put_summary(&o, m);
    if (sgi__manifest_is_packed(m))
        put_parts(&o, m);
    else
        put_files(&o, m);
    if (m->packed)
        put_stored(&o, m->packed);
    if (m->metadata_count > 0)
        sgi__output_text(&o, "\nmetadata\n");
    for (uint64_t i = 0; i < m->metadata_count && !o.stopped; i++) {
        put(&o, "  %s = ", sgi__show_name(&shown, m->metadata[i].key));
        put_value(&o, &m->metadata[i].value);
        sgi__output_text(&o, "\n");
    }
    if (m->tensors_count > 0)
        put(&o, "\n  %-*s  %-8s  %14s %12s  shape%s\n", width, "tensor", "dtype", "offset", "bytes",
            m->files_count > 1 ? "  file" : "");
    for (uint64_t i = 0; i < m->tensors_count && !o.stopped; i++)
        put_tensor(&o, m, &m->tensors[i], width);
    return sgi__output_end(&o, err);
}
