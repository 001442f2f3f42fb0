/* SPDX-License-Identifier: Apache-2.0 */
#include "load/pins.h"

#include <string.h>

#include "base/alloc.h"

enum piece { PIECE_NOT, PIECE_PINNED, PIECE_REFUSED };

struct sgi__pins {
    const struct sgi__image *image;
    struct sgi__staging     *owner; /* NULL: nothing is pinned */
    uint64_t                 epoch; /* of the owner: another one since, and they have all ended */
    uint64_t                *first; /* piece of each part */
    uint64_t                 count;
    uint8_t                 *pieces;
};

static uint64_t pieces_of(const struct sgi__region *region)
{
    return (region->bytes + SGI__PIN_BYTES - 1) / SGI__PIN_BYTES;
}

struct sgi__pins *sgi__pins_new(const struct sgi__image *image)
{
    struct sgi__pins *pins = sgi__alloc_zero(1, sizeof *pins);

    if (!pins)
        return NULL;
    pins->image = image;
    pins->first = sgi__alloc_zero(image->parts_count, sizeof *pins->first);
    for (uint32_t n = 0; pins->first && n < image->parts_count; n++) {
        pins->first[n] = pins->count;
        pins->count += pieces_of(image->parts[n]);
    }
    pins->pieces = sgi__alloc_zero(pins->count, 1);
    if (!pins->first || !pins->pieces) {
        sgi__pins_free(pins);
        return NULL;
    }
    return pins;
}

void sgi__pins_free(struct sgi__pins *pins)
{
    if (!pins)
        return;
    sgi__free(pins->first);
    sgi__free(pins->pieces);
    sgi__free(pins);
}

static bool are_there(const struct sgi__pins *pins)
{
    return pins->owner && sgi__staging_epoch(pins->owner) == pins->epoch;
}

/* From now on they are this device's. */
static void take_over(struct sgi__pins *pins, struct sgi__staging *staging)
{
    sgi__pins_off(pins);
    pins->owner = staging;
    pins->epoch = sgi__staging_epoch(staging);
}

sgi_status sgi__pins_need(struct sgi__pins *pins, struct sgi__staging *staging, uint32_t part, uint64_t at,
                          sgi_error *err)
{
    const struct sgi__region *region = pins->image->parts[part];
    struct sgi__device       *device = sgi__staging_device(staging);
    uint64_t                  number = at / SGI__PIN_BYTES, from = number * SGI__PIN_BYTES;
    uint64_t                  bytes = region->bytes - from < SGI__PIN_BYTES ? region->bytes - from : SGI__PIN_BYTES;

    if (pins->owner != staging || !are_there(pins))
        take_over(pins, staging);
    uint8_t *piece = &pins->pieces[pins->first[part] + number];
    if (*piece != PIECE_NOT)
        return SGI_OK;
    sgi_status st = device->ops->pin(device, region->base + from, bytes, err);
    *piece = st == SGI_OK ? PIECE_PINNED : PIECE_REFUSED;
    return st == SGI_E_DEVICE_LOST ? st : SGI_OK;
}

static void each_off(struct sgi__pins *pins)
{
    struct sgi__device *device = sgi__staging_device(pins->owner);

    for (uint32_t part = 0; part < pins->image->parts_count; part++) {
        const struct sgi__region *region = pins->image->parts[part];
        for (uint64_t n = 0; n < pieces_of(region); n++)
            if (pins->pieces[pins->first[part] + n] == PIECE_PINNED)
                device->ops->unpin(device, region->base + n * SGI__PIN_BYTES);
    }
}

void sgi__pins_off(struct sgi__pins *pins)
{
    struct sgi__device_scope scope;

    /* With the context gone they are too: nobody is let in any more, or it is another one since. */
    if (pins->owner && sgi__staging_try_enter(pins->owner, &scope)) {
        if (are_there(pins))
            each_off(pins);
        sgi__staging_leave(pins->owner, &scope);
    }
    pins->owner = NULL;
    memset(pins->pieces, PIECE_NOT, pins->count);
}

uint64_t sgi__pins_bytes(const struct sgi__pins *pins)
{
    uint64_t bytes = 0;

    for (uint32_t part = 0; are_there(pins) && part < pins->image->parts_count; part++) {
        const struct sgi__region *region = pins->image->parts[part];
        for (uint64_t n = 0; n < pieces_of(region); n++)
            if (pins->pieces[pins->first[part] + n] == PIECE_PINNED)
                bytes += n + 1 < pieces_of(region) ? SGI__PIN_BYTES : region->bytes - n * SGI__PIN_BYTES;
    }
    return bytes;
}
