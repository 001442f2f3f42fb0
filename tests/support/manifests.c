/* SPDX-License-Identifier: Apache-2.0 */
#include "manifests.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void manifest_add(struct sgi__manifest *m, uint64_t data_offset, const uint64_t *tensor_bytes, uint32_t tensors_count)
{
    struct sgi__file_id id = { .device = 1, .inode = m->files_count + 1, .bytes = data_offset };
    char                path[64], name[64];
    uint32_t            file;

    for (uint32_t n = 0; n < tensors_count; n++)
        id.bytes += tensor_bytes[n];
    snprintf(path, sizeof path, "/none/%u.safetensors", m->files_count);
    m->format = "safetensors";
    if (sgi__manifest_add_file(m, path, path, &id, &file, NULL) != SGI_OK)
        abort();
    m->files[file].data_offset = data_offset;
    uint64_t offset = data_offset;
    for (uint32_t n = 0; n < tensors_count; n++) {
        int                bytes = snprintf(name, sizeof name, "%u.%u", file, n);
        struct sgi__tensor t = { .name = sgi__manifest_text(m, name, (uint64_t)bytes),
                                 .dtype = "U8",
                                 .block_elements = 1,
                                 .block_bytes = 1,
                                 .file = file,
                                 .rank = 1,
                                 .offset = offset,
                                 .bytes = tensor_bytes[n] };
        if (sgi__manifest_add_tensor(m, &t, &t.bytes, NULL) != SGI_OK)
            abort();
        offset += t.bytes;
    }
}
