/* SPDX-License-Identifier: Apache-2.0 */
#include "load/chunk_tensors.h"

#include "base/alloc.h"

static void add(const struct sgi__manifest *m, uint64_t index, struct sgi__chunk_tensors *out)
{
    if (out->count < SGI_DAMAGE_TENSORS_MAX)
        out->names[out->count] = m->tensors[index].name;
    out->count++;
}

/* Marks them, or adds them right away where there are no marks. */
static void touch(const struct sgi__manifest *m, const struct sgi__stored_chunk *c, uint8_t *marks,
                  struct sgi__chunk_tensors *out)
{
    const struct sgi__file *f = &m->files[c->part];
    uint64_t                end = f->tensor_first + f->tensor_count;

    for (uint64_t n = sgi__manifest_tensor_at(m, c->part, c->offset);
         n < end && m->tensors[n].offset < c->offset + c->bytes; n++) {
        if (m->tensors[n].bytes == 0)
            continue;
        if (marks)
            marks[n / 8] |= (uint8_t)(1u << n % 8);
        else
            add(m, n, out);
    }
}

void sgi__chunk_tensors(const struct sgi__manifest *m, const struct sgi__stored_chunk *c,
                        struct sgi__chunk_tensors *tensors_out)
{
    uint8_t *marks = sgi__alloc_zero((size_t)(m->tensors_count / 8 + 1), 1);

    *tensors_out = (struct sgi__chunk_tensors){ .count = 0 };
    if (!marks) {
        touch(m, c, NULL, tensors_out);
        return;
    }
    for (uint64_t n = 0; n < m->packed->chunks_count; n++) {
        const struct sgi__stored_chunk *other = &m->packed->chunks[n];
        if (other->file == c->file && other->at == c->at)
            touch(m, other, marks, tensors_out);
    }
    for (uint64_t n = 0; n < m->tensors_count; n++)
        if (marks[n / 8] & 1u << n % 8)
            add(m, n, tensors_out);
    sgi__free(marks);
}
