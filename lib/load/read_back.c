/* SPDX-License-Identifier: Apache-2.0 */
#include "load/read_back.h"

#include "device/image.h"
#include "base/hash.h"

#define BLOCK_BYTES (UINT64_C(2) << 20)

sgi_status sgi__read_back(struct sgi__device *device, uint64_t at, void *dst, uint64_t bytes, sgi_error *err)
{
    struct sgi__stream *stream = NULL;
    sgi_status          st = device->ops->stream_new(device, &stream, err);

    if (st != SGI_OK)
        return st;
    st = device->ops->copy_out(device, stream, dst, at, bytes, err);
    sgi_status waited = device->ops->stream_wait(device, stream, st == SGI_OK ? err : NULL); /* it may be on its way */
    device->ops->stream_free(device, stream);
    return st == SGI_OK ? waited : st;
}

sgi_status sgi__read_back_hash(struct sgi__device *device, uint64_t at, uint64_t bytes, uint64_t *xxh3_out,
                               sgi_error *err)
{
    struct sgi__hash_state hash;
    void                  *block;
    sgi_status             st = sgi__scratch_new(BLOCK_BYTES, &block, err);

    if (st != SGI_OK)
        return st;
    sgi__hash_begin(&hash);
    for (uint64_t done = 0; done < bytes && st == SGI_OK;) {
        uint64_t count = bytes - done < BLOCK_BYTES ? bytes - done : BLOCK_BYTES;
        st = sgi__read_back(device, at + done, block, count, err);
        if (st == SGI_OK)
            sgi__hash_more(&hash, block, count);
        done += count;
    }
    *xxh3_out = sgi__hash_so_far(&hash);
    sgi__scratch_free(block, BLOCK_BYTES);
    return st;
}
