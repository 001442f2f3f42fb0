/* SPDX-License-Identifier: Apache-2.0 */
#include "load/read_back.h"

#include "device/image.h"
#include "load/hash.h"

#define BLOCK_BYTES (UINT64_C(2) << 20)

static sgi_status hash_blocks(struct sgi__device *d, struct sgi__stream *stream, void *block, uint64_t at,
                              uint64_t bytes, uint64_t *xxh3_out, sgi_error *err)
{
    struct sgi__hash_state hash;
    sgi_status             st = SGI_OK;

    sgi__hash_begin(&hash);
    for (uint64_t done = 0; done < bytes && st == SGI_OK;) {
        uint64_t count = bytes - done < BLOCK_BYTES ? bytes - done : BLOCK_BYTES;
        st = d->ops->copy_out(d, stream, block, at + done, count, err);
        if (st == SGI_OK)
            st = d->ops->stream_wait(d, stream, err);
        if (st == SGI_OK)
            sgi__hash_more(&hash, block, count);
        done += count;
    }
    *xxh3_out = sgi__hash_so_far(&hash);
    return st;
}

sgi_status sgi__read_back_hash(struct sgi__device *device, uint64_t at, uint64_t bytes, uint64_t *xxh3_out,
                               sgi_error *err)
{
    struct sgi__stream *stream = NULL;
    void               *block;
    sgi_status          st = sgi__scratch_new(BLOCK_BYTES, &block, err);

    if (st != SGI_OK)
        return st;
    st = device->ops->stream_new(device, &stream, err);
    if (st == SGI_OK)
        st = hash_blocks(device, stream, block, at, bytes, xxh3_out, err);
    if (stream)
        device->ops->stream_wait(device, stream, NULL); /* a copy that failed to be waited for may still land */
    device->ops->stream_free(device, stream);
    sgi__scratch_free(block, BLOCK_BYTES);
    return st;
}
