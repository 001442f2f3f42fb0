/* SPDX-License-Identifier: Apache-2.0 */
/* A manifest as JSON: one line per file, tensor and metadata key, so that line tools and diffs are of use too. */
#include "format/format.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "format/output.h"

static void put_escape(struct sgi__output *o, unsigned char c)
{
    char text[8];
    switch (c) {
    case '"':
        sgi__output_text(o, "\\\"");
        break;
    case '\\':
        sgi__output_text(o, "\\\\");
        break;
    case '\n':
        sgi__output_text(o, "\\n");
        break;
    case '\t':
        sgi__output_text(o, "\\t");
        break;
    default:
        snprintf(text, sizeof text, "\\u%04x", (unsigned)c);
        sgi__output_text(o, text);
        break;
    }
}

static void put_string(struct sgi__output *o, const char *text, uint64_t length)
{
    size_t bytes = (size_t)length, plain = 0; /* from `plain` on everything can be copied as it is */
    sgi__output_text(o, "\"");
    for (size_t at = 0; at < bytes;) {
        unsigned char c = (unsigned char)text[at];
        size_t        step = sgi__utf8_length(text + at, bytes - at);
        if (step > 1 || (step == 1 && c >= 0x20 && c != '"' && c != '\\' && c != 0x7f)) {
            at += step;
            continue;
        }
        sgi__output_bytes(o, text + plain, at - plain);
        if (step == 1)
            put_escape(o, c);
        else
            sgi__output_text(o, "\\ufffd");
        plain = ++at;
    }
    sgi__output_bytes(o, text + plain, bytes - plain);
    sgi__output_text(o, "\"");
}

static void put_text(struct sgi__output *o, const char *text)
{
    put_string(o, text, strlen(text));
}

static void put_float(struct sgi__output *o, double value)
{
    if (isnan(value))
        sgi__output_text(o, "\"NaN\"");
    else if (isinf(value))
        sgi__output_text(o, value > 0 ? "\"Infinity\"" : "\"-Infinity\"");
    else
        sgi__output_number(o, value);
}

/* Arrays hold no arrays: no reader makes such. */
static void put_scalar(struct sgi__output *o, const struct sgi__value *value)
{
    switch (value->kind) {
    case SGI__VALUE_U64:
        sgi__output_u64(o, value->u64);
        break;
    case SGI__VALUE_I64:
        sgi__output_i64(o, value->i64);
        break;
    case SGI__VALUE_F32:
    case SGI__VALUE_F64:
        put_float(o, value->f64);
        break;
    case SGI__VALUE_BOOL:
        sgi__output_text(o, value->boolean ? "true" : "false");
        break;
    case SGI__VALUE_TEXT:
        put_string(o, value->text.text, value->text.bytes);
        break;
    case SGI__VALUE_ARRAY:
        sgi__output_text(o, "null");
        break;
    }
}

static void put_value(struct sgi__output *o, const struct sgi__value *value)
{
    if (value->kind != SGI__VALUE_ARRAY) {
        put_scalar(o, value);
        return;
    }
    for (uint64_t i = 0; i < value->array.count && !o->stopped; i++) {
        sgi__output_text(o, i == 0 ? "[" : ", ");
        put_scalar(o, &value->array.items[i]);
    }
    sgi__output_text(o, value->array.count == 0 ? "[]" : "]");
}

static void put_file(struct sgi__output *o, const struct sgi__file *file)
{
    sgi__output_text(o, "{\"name\": ");
    put_text(o, file->name);
    sgi__output_text(o, ", \"path\": ");
    put_text(o, file->path);
    sgi__output_text(o, ", \"bytes\": ");
    sgi__output_u64(o, file->bytes);
    sgi__output_text(o, ", \"data_offset\": ");
    sgi__output_u64(o, file->data_offset);
    sgi__output_text(o, "}");
}

static void put_tensor(struct sgi__output *o, const struct sgi__manifest *m, const struct sgi__tensor *tensor)
{
    sgi__output_text(o, "{\"name\": ");
    put_text(o, tensor->name);
    sgi__output_text(o, ", \"dtype\": ");
    put_text(o, tensor->dtype);
    sgi__output_text(o, ", \"shape\": [");
    for (uint32_t i = 0; i < tensor->rank; i++) {
        if (i > 0)
            sgi__output_text(o, ", ");
        sgi__output_u64(o, m->shapes[tensor->shape_at + i]);
    }
    sgi__output_text(o, "], \"file\": ");
    put_text(o, m->files[tensor->file].name);
    sgi__output_text(o, ", \"offset\": ");
    sgi__output_u64(o, tensor->offset);
    sgi__output_text(o, ", \"bytes\": ");
    sgi__output_u64(o, tensor->bytes);
    sgi__output_text(o, "}");
}

/* What stands before item `i` of a list, and behind its last. */
static void put_between(struct sgi__output *o, uint64_t i)
{
    sgi__output_text(o, i == 0 ? "\n    " : ",\n    ");
}

static void put_close(struct sgi__output *o, uint64_t count, const char *close)
{
    if (count > 0)
        sgi__output_text(o, "\n  ");
    sgi__output_text(o, close);
}

static void put_number(struct sgi__output *o, const char *key, uint64_t value)
{
    sgi__output_text(o, key);
    sgi__output_u64(o, value);
}

static void put_stored(struct sgi__output *o, const struct sgi__packed *p)
{
    struct sgi__stored_summary s;

    sgi__stored_summary(p, &s);
    if (p->plain) {
        put_number(o, ",\n  \"checks\": {\"chunks\": ", p->chunks_count);
        put_number(o, ", \"checked\": ", p->chunks_count - s.unchecked);
        sgi__output_text(o, "}");
        return;
    }
    put_number(o, ",\n  \"packed\": {\"bytes\": ", p->files[SGI__PACK_ITSELF].id.bytes);
    put_number(o, ", \"chunks\": ", p->chunks_count);
    put_number(o, ", \"planes\": ", s.chunks[2]);
    put_number(o, ", \"zstd\": ", s.chunks[1]);
    put_number(o, ", \"raw\": ", s.chunks[0]);
    sgi__output_text(o, ", \"base\": ");
    if (p->base_name)
        put_text(o, p->base_name);
    else
        sgi__output_text(o, "null");
    put_number(o, ", \"base_bytes\": ", s.base_bytes);
    sgi__output_text(o, "}");
}

sgi_status sgi__format_write_json(const struct sgi__manifest *m, sgi_write_fn write, void *user, sgi_error *err)
{
    struct sgi__output o;
    sgi__output_begin(&o, write, user);
    sgi__output_text(&o, "{\n  \"format\": ");
    put_text(&o, m->format);
    if (m->format_version > 0) {
        sgi__output_text(&o, ",\n  \"format_version\": ");
        sgi__output_u64(&o, m->format_version);
    }
    sgi__output_text(&o, ",\n  \"files\": [");
    for (uint32_t i = 0; i < m->files_count && !o.stopped; i++) {
        put_between(&o, i);
        put_file(&o, &m->files[i]);
    }
    put_close(&o, m->files_count, "]");
    sgi__output_text(&o, ",\n  \"tensors\": [");
    for (uint64_t i = 0; i < m->tensors_count && !o.stopped; i++) {
        put_between(&o, i);
        put_tensor(&o, m, &m->tensors[i]);
    }
    put_close(&o, m->tensors_count, "]");
    sgi__output_text(&o, ",\n  \"metadata\": {");
    for (uint64_t i = 0; i < m->metadata_count && !o.stopped; i++) {
        put_between(&o, i);
        put_text(&o, m->metadata[i].key);
        sgi__output_text(&o, ": ");
        put_value(&o, &m->metadata[i].value);
    }
    put_close(&o, m->metadata_count, "}");
    if (m->packed)
        put_stored(&o, m->packed);
    sgi__output_text(&o, "\n}\n");
    return sgi__output_end(&o, err);
}
