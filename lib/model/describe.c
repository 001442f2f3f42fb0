/* SPDX-License-Identifier: Apache-2.0 */
#include "model/describe.h"

#include "base/sized.h"

bool sgi__describe_tensor(const struct sgi__manifest *m, uint64_t index, sgi_tensor *tensor_out)
{
    const struct sgi__tensor *t = &m->tensors[index];
    sgi_tensor                full = {
                       .rank = t->rank,
                       .name = t->name,
                       .dtype = t->dtype,
                       .bytes = t->bytes,
                       .file_offset = t->offset,
                       .index = index,
                       .part = t->file,
                       .block_elements = t->block_elements,
                       .block_bytes = t->block_bytes,
    };
    for (uint32_t n = 0; n < t->rank && n < SGI_RANK_MAX; n++)
        full.shape[n] = m->shapes[t->shape_at + n];
    return sgi__sized_out(tensor_out, &full, sizeof full);
}
