/* SPDX-License-Identifier: Apache-2.0 */
/* A manifest to bytes, section by section. */
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "format/pack.h"
#include "format/pack_layout.h"

/* Grows; once there is no memory, or more than a reader takes, it takes nothing more, and the end says so. */
struct out {
    uint8_t *bytes;
    size_t   used, room;
    bool     failed, too_long;
};

static void put(struct out *o, const void *from, size_t count)
{
    if (o->failed || count == 0)
        return;
    if (count > SGI__PACK_MANIFEST_MAX - o->used) {
        o->failed = o->too_long = true;
        return;
    }
    if (count > o->room - o->used) {
        size_t   room = o->room + o->room / 2 + count + 4096;
        uint8_t *more = sgi__realloc_array(o->bytes, room, 1);
        if (!more) {
            o->failed = true;
            return;
        }
        o->bytes = more;
        o->room = room;
    }
    memcpy(o->bytes + o->used, from, count);
    o->used += count;
}

static void put_number(struct out *o, uint64_t value, unsigned bytes)
{
    uint8_t le[8];
    for (unsigned n = 0; n < bytes; n++)
        le[n] = (uint8_t)(value >> (8 * n));
    put(o, le, bytes);
}

static void put_u8(struct out *o, uint8_t value)
{
    put_number(o, value, 1);
}

static void put_u32(struct out *o, uint32_t value)
{
    put_number(o, value, 4);
}

static void put_u64(struct out *o, uint64_t value)
{
    put_number(o, value, 8);
}

static void put_text(struct out *o, const char *text)
{
    size_t bytes = strlen(text);
    put_u32(o, (uint32_t)bytes);
    put(o, text, bytes);
}

/* Over a length that was put as 0. */
static void put_length(struct out *o, size_t at)
{
    uint64_t bytes = o->used - (at + 8);
    for (unsigned n = 0; n < 8 && !o->failed; n++)
        o->bytes[at + n] = (uint8_t)(bytes >> (8 * n));
}

static size_t begin_section(struct out *o, uint32_t kind)
{
    put_u32(o, kind);
    put_u32(o, SGI__PACK_REQUIRED);
    put_u64(o, 0);
    return o->used - 8;
}

static void end_section(struct out *o, size_t begun)
{
    static const uint8_t zeros[8];
    put(o, zeros, (size_t)(sgi__align_up(o->used, 8) - o->used));
    put_length(o, begun);
}

/* ---- what is in them ---- */

static void put_model(struct out *o, const struct sgi__manifest *m, uint64_t chunk_bytes)
{
    put_text(o, m->format);
    put_u32(o, m->format_version);
    put_u64(o, chunk_bytes);
}

static void put_parts(struct out *o, const struct sgi__manifest *m)
{
    put_u32(o, m->files_count);
    for (uint32_t n = 0; n < m->files_count; n++) {
        const struct sgi__file        *f = &m->files[n];
        const struct sgi__packed_part *part = &m->packed->parts[n];
        put_text(o, f->name);
        put_u32(o, part->exact);
        put_u64(o, f->bytes);
        put_u64(o, f->data_offset);
        put_u64(o, part->source_bytes);
        put_u64(o, part->source_data_offset);
        put_u64(o, f->alignment);
        put_u64(o, part->digest[0]);
        put_u64(o, part->digest[1]);
        put(o, part->sha256, sizeof part->sha256);
    }
}

static void put_tensors(struct out *o, const struct sgi__manifest *m)
{
    put_u64(o, m->tensors_count);
    for (uint64_t n = 0; n < m->tensors_count; n++) {
        const struct sgi__tensor *t = &m->tensors[n];
        put_text(o, t->name);
        put_text(o, t->dtype);
        put_u32(o, t->block_elements);
        put_u32(o, t->block_bytes);
        put_u32(o, t->file);
        put_u32(o, t->rank);
        put_u64(o, t->offset);
        put_u64(o, m->packed->source_offsets[n]);
        put_u64(o, t->bytes);
        for (uint32_t d = 0; d < t->rank; d++)
            put_u64(o, m->shapes[t->shape_at + d]);
    }
}

static void put_value(struct out *o, const struct sgi__value *v);

static void put_array(struct out *o, const struct sgi__value *v)
{
    put_u8(o, v->array.count > 0 ? (uint8_t)v->array.items[0].kind : 0);
    put_u64(o, v->array.count);
    put_u64(o, 0);
    size_t begun = o->used - 8;
    for (uint64_t n = 0; n < v->array.count; n++)
        put_value(o, &v->array.items[n]);
    put_length(o, begun);
}

static void put_value(struct out *o, const struct sgi__value *v)
{
    uint64_t bits;
    uint32_t bits32;
    float    f32;

    switch (v->kind) {
    case SGI__VALUE_U64:
        put_u64(o, v->u64);
        break;
    case SGI__VALUE_I64:
        put_u64(o, (uint64_t)v->i64);
        break;
    case SGI__VALUE_F64:
        memcpy(&bits, &v->f64, sizeof bits);
        put_u64(o, bits);
        break;
    case SGI__VALUE_F32:
        f32 = (float)v->f64;
        memcpy(&bits32, &f32, sizeof bits32);
        put_u32(o, bits32);
        break;
    case SGI__VALUE_BOOL:
        put_u8(o, v->boolean);
        break;
    case SGI__VALUE_TEXT:
        put_u64(o, v->text.bytes);
        put(o, v->text.text, (size_t)v->text.bytes);
        break;
    case SGI__VALUE_ARRAY:
        put_array(o, v);
        break;
    }
}

static void put_metadata(struct out *o, const struct sgi__manifest *m)
{
    put_u64(o, m->metadata_count);
    for (uint64_t n = 0; n < m->metadata_count; n++) {
        put_text(o, m->metadata[n].key);
        put_u8(o, (uint8_t)m->metadata[n].value.kind);
        put_value(o, &m->metadata[n].value);
    }
}

static void put_others(struct out *o, const struct sgi__packed *p)
{
    put_u32(o, p->others_count);
    for (uint32_t n = 0; n < p->others_count; n++) {
        put_text(o, p->others[n].name);
        put_u64(o, p->others[n].bytes);
        put(o, p->others[n].content, (size_t)p->others[n].bytes);
    }
}

static void put_base(struct out *o, const struct sgi__packed *p)
{
    put_text(o, p->base_name);
    put_u64(o, p->files[SGI__PACK_BASE].id.bytes);
    put_u64(o, p->files[SGI__PACK_BASE].check);
}

static void put_chunks(struct out *o, const struct sgi__packed *p)
{
    put_u64(o, p->chunks_count);
    for (uint64_t n = 0; n < p->chunks_count; n++) {
        const struct sgi__stored_chunk *c = &p->chunks[n];
        put_u64(o, c->at);
        put_u64(o, c->offset);
        put_u32(o, c->stored_bytes);
        put_u32(o, c->bytes);
        put_u32(o, c->part);
        put_u8(o, c->codec);
        put_u8(o, c->width);
        put_u8(o, (uint8_t)c->file);
        put_u8(o, 0);
        put_u64(o, c->check);
        put_u64(o, c->digest[0]);
        put_u64(o, c->digest[1]);
    }
}

sgi_status sgi__pack_manifest_put(const struct sgi__manifest *m, uint64_t chunk_bytes, uint8_t **bytes_out,
                                  size_t *count_out, sgi_error *err)
{
    struct out o = { .bytes = NULL };
    size_t     begun;

    for (uint32_t kind = SGI__PACK_MODEL; kind <= SGI__PACK_CHUNKS; kind++) {
        if (kind == SGI__PACK_BASED && !m->packed->base_name)
            continue;
        begun = begin_section(&o, kind);
        switch (kind) {
        case SGI__PACK_MODEL:
            put_model(&o, m, chunk_bytes);
            break;
        case SGI__PACK_PARTS:
            put_parts(&o, m);
            break;
        case SGI__PACK_TENSORS:
            put_tensors(&o, m);
            break;
        case SGI__PACK_METADATA:
            put_metadata(&o, m);
            break;
        case SGI__PACK_OTHERS:
            put_others(&o, m->packed);
            break;
        case SGI__PACK_BASED:
            put_base(&o, m->packed);
            break;
        default:
            put_chunks(&o, m->packed);
            break;
        }
        end_section(&o, begun);
    }
    if (o.failed) {
        sgi__free(o.bytes);
        if (o.too_long)
            return sgi__refuse_path(m->files[0].asked, err,
                                    "too large to be packed: its manifest would have more than %llu bytes",
                                    (unsigned long long)SGI__PACK_MANIFEST_MAX);
        return sgi__error(err, SGI_E_NO_MEMORY, "out of memory for the manifest of a packed model");
    }
    *bytes_out = o.bytes;
    *count_out = o.used;
    return SGI_OK;
}
