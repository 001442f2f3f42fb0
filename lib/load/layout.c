/* SPDX-License-Identifier: Apache-2.0 */
#include "load/layout.h"

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"

#define PREFIX_BYTES_MAX (UINT64_C(1) << 32)

/* Data that starts at a multiple of this in its file is usable where it stands: every format aligns tensors to it or
 * does not care. */
enum { DATA_ALIGN = 8 };

static sgi_status lay_part(const struct sgi__file *file, uint64_t wanted_prefix, uint64_t page_bytes,
                           struct sgi__part *part, sgi_error *err)
{
    if (wanted_prefix > PREFIX_BYTES_MAX)
        return sgi__error(err, SGI_E_ENGINE, "%s: the engine asks for a prefix of %llu bytes; the maximum is %llu",
                          file->name, (unsigned long long)wanted_prefix, (unsigned long long)PREFIX_BYTES_MAX);
    uint64_t lead = file->data_offset % SGI__PLACE_ALIGN;

    part->data_offset = file->data_offset;
    part->data_bytes = file->bytes - file->data_offset;
    part->realigned = part->data_bytes > 0 && file->data_offset % DATA_ALIGN != 0;
    part->engine_prefix = wanted_prefix > 0;
    if (part->realigned)
        part->prefix_bytes = sgi__align_up(wanted_prefix, SGI__PLACE_ALIGN);
    else if (wanted_prefix <= lead)
        part->prefix_bytes = lead;
    else
        part->prefix_bytes = sgi__align_up(wanted_prefix - lead, SGI__PLACE_ALIGN) + lead;
    part->bytes = part->prefix_bytes + part->data_bytes;
    part->region_bytes = part->data_bytes || part->engine_prefix ? sgi__align_up(part->bytes, page_bytes) : 0;
    return SGI_OK;
}

sgi_status sgi__layout_new(const struct sgi__manifest *m, const uint64_t *prefix_bytes, uint64_t page_bytes,
                           struct sgi__layout **layout_out, sgi_error *err)
{
    struct sgi__layout *layout = sgi__alloc_zero(1, sizeof *layout);
    if (layout)
        layout->parts = sgi__alloc_zero(m->files_count, sizeof *layout->parts);
    if (!layout || !layout->parts) {
        sgi__layout_free(layout);
        return sgi__error(err, SGI_E_NO_MEMORY, "out of memory for the layout of %u files", m->files_count);
    }
    layout->parts_count = m->files_count;
    for (uint32_t n = 0; n < m->files_count; n++) {
        sgi_status st = lay_part(&m->files[n], prefix_bytes ? prefix_bytes[n] : 0, page_bytes, &layout->parts[n], err);
        if (st != SGI_OK) {
            sgi__layout_free(layout);
            return st;
        }
        if (!sgi__add_u64(layout->image_bytes, layout->parts[n].region_bytes, &layout->image_bytes)) {
            sgi__layout_free(layout);
            return sgi__error(err, SGI_E_FORMAT, "%s: with it the files are absurdly large", m->files[n].name);
        }
        layout->data_bytes += layout->parts[n].data_bytes; /* of the image's */
        layout->engine_prefix |= layout->parts[n].engine_prefix;
    }
    *layout_out = layout;
    return SGI_OK;
}

sgi_status sgi__layout_for_devices(struct sgi__layout *layout, const struct sgi__manifest *m, uint64_t page_bytes,
                                   sgi_error *err)
{
    uint64_t at = 0;

    layout->device_tensors = sgi__alloc_zero((size_t)m->tensors_count, sizeof *layout->device_tensors);
    if (!layout->device_tensors)
        return sgi__error(err, SGI_E_NO_MEMORY, "out of memory for the layout of %llu tensors",
                          (unsigned long long)m->tensors_count);
    for (uint64_t n = 0; n < m->tensors_count; n++) {
        layout->device_tensors[n] = at;
        /* Its bytes are in a file, so that their sum is far from the end of the numbers. */
        at = sgi__align_up(at + m->tensors[n].bytes, SGI__TENSOR_ALIGN);
    }
    layout->device_bytes = sgi__align_up(at, page_bytes);
    return SGI_OK;
}

void sgi__layout_free(struct sgi__layout *layout)
{
    if (layout) {
        sgi__free(layout->parts);
        sgi__free(layout->device_tensors);
    }
    sgi__free(layout);
}

uint64_t sgi__layout_tensor(const struct sgi__layout *layout, const struct sgi__tensor *tensor)
{
    const struct sgi__part *part = &layout->parts[tensor->file];
    return part->prefix_bytes + (tensor->offset - part->data_offset);
}
