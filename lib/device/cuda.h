/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the cuda device share. */
#ifndef SGI_DEVICE_CUDA_H
#define SGI_DEVICE_CUDA_H

#include <pthread.h>

#include "device/cuda_driver.h"
#include "device/device.h"
#include "device/nvml.h"

struct cuda_pin {
    void            *at;
    struct cuda_pin *next;
};

enum { CUDA_PEERS_MAX = 32 };

struct cuda_device {
    struct sgi__device base; /* first */
    struct sgi__cuda   cuda; /* the driver's functions */
    struct sgi__nvml   nvml;
    uint32_t           ordinal;
    cu_device          device;
    cu_device          peers[CUDA_PEERS_MAX]; /* that may read its arenas */
    uint32_t           peers_count;

    pthread_mutex_t mutex; /* a leaf; never held across a call of the driver */
    /* under the mutex */
    cu_context       context; /* retained; NULL: closed */
    bool             others;  /* somebody else had it open before we did */
    struct cuda_pin *pins;
};

static inline struct cuda_device *sgi__cuda_device(struct sgi__device *d)
{
    return (struct cuda_device *)d;
}

/* Whoever gives something back has nobody to tell that it does not work, and what stays, stays for good: it is tried
 * again, and `code` is what was said first. Not after an error that stays: it may be one of earlier work, and the thing
 * given back. */
#define SGI__CUDA_AT_LAST(code, call) \
    ((code) = (call), (code) == CU_OK || sgi__cuda_is_over(code) || (call) != CU_OK ? (code) : ((code) = CU_OK))

/* cuda.c: around calls that could spoil somebody's capture of a graph, if the driver did not know that ours do not. */
cu_capture_mode sgi__cuda_relax(struct cuda_device *c);
void            sgi__cuda_unrelax(struct cuda_device *c, cu_capture_mode mode);

/* cuda_memory.c */
sgi_status sgi__cuda_arena_new(struct sgi__device *d, uint64_t bytes, uint64_t reserve_bytes,
                               struct sgi__arena **arena_out, sgi_error *err);
sgi_status sgi__cuda_arena_map(struct sgi__device *d, struct sgi__arena *arena, sgi_error *err);
sgi_status sgi__cuda_arena_grow(struct sgi__device *d, struct sgi__arena *arena, uint64_t bytes, sgi_error *err);
uint64_t   sgi__cuda_arena_free(struct sgi__device *d, struct sgi__arena *arena, sgi_error *err);

/* cuda_pin.c */
sgi_status sgi__cuda_pin(struct sgi__device *d, void *at, uint64_t bytes, sgi_error *err);
void       sgi__cuda_unpin(struct sgi__device *d, void *at);
/* inside: the context is current; otherwise they are only forgotten. It is about to be given up. */
void sgi__cuda_unpin_all(struct sgi__device *d, bool inside);

/* cuda_stream.c */
sgi_status sgi__cuda_stream_new(struct sgi__device *d, struct sgi__stream **stream_out, sgi_error *err);
void       sgi__cuda_stream_free(struct sgi__device *d, struct sgi__stream *stream);
void      *sgi__cuda_stream_native(struct sgi__stream *stream);
sgi_status sgi__cuda_stream_wait(struct sgi__device *d, struct sgi__stream *stream, sgi_error *err);
sgi_status sgi__cuda_copy_in(struct sgi__device *d, struct sgi__stream *stream, uint64_t dst, const void *src,
                             uint64_t bytes, sgi_error *err);
sgi_status sgi__cuda_copy_out(struct sgi__device *d, struct sgi__stream *stream, void *dst, uint64_t src,
                              uint64_t bytes, sgi_error *err);
sgi_status sgi__cuda_copy_over(struct sgi__device *d, struct sgi__stream *stream, uint64_t dst, uint64_t src,
                               uint64_t bytes, sgi_error *err);
sgi_status sgi__cuda_zero(struct sgi__device *d, struct sgi__stream *stream, uint64_t dst, uint64_t bytes,
                          sgi_error *err);
sgi_status sgi__cuda_mark_new(struct sgi__device *d, struct sgi__mark **mark_out, sgi_error *err);
void       sgi__cuda_mark_free(struct sgi__device *d, struct sgi__mark *mark);
sgi_status sgi__cuda_mark_set(struct sgi__device *d, struct sgi__mark *mark, struct sgi__stream *stream,
                              sgi_error *err);
sgi_status sgi__cuda_mark_reached(struct sgi__device *d, struct sgi__mark *mark, sgi_error *err);
sgi_status sgi__cuda_mark_wait(struct sgi__device *d, struct sgi__mark *mark, sgi_error *err);
sgi_status sgi__cuda_mark_order(struct sgi__device *d, struct sgi__mark *mark, void *native_stream, sgi_error *err);

#endif
