/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From host memory on to a device's own: the copies of one load, on its loader thread.
 *
 * A chunk holds parts of tensors; neighbours that keep their distance go in one copy, small ones are put side by side
 * first. All copies of a load are queued on one stream, and counted; after each chunk's a mark is set. So one number
 * tells when a buffer may be used again, and what a tensor waits for.
 */
#ifndef SGI_LOAD_UPLOAD_H
#define SGI_LOAD_UPLOAD_H

#include "load/pins.h"
#include "load/plan.h"
#include "load/state.h"

struct sgi__upload {
    struct sgi__load        *load;
    struct sgi__staging     *staging;
    struct sgi__device      *device;
    struct sgi__device_scope scope;
    bool                     begun; /* the device is current on this thread */
    struct sgi__stream      *stream;
    struct sgi__buffer      *out;          /* copied from, or held by a hash */
    uint64_t                 queued, done; /* copies, counted by chunks */
};

/* Opens the gate for itself: waits for the context, maps the memory, makes a stream and marks. */
sgi_status sgi__upload_begin(struct sgi__upload *u, sgi_error *err);
/* Queues the chunk's copies from `bytes`, where its first byte lies. `buffer`: where that is, and is given back once
 * nobody needs it; NULL: in the image. */
sgi_status sgi__upload_chunk(struct sgi__upload *u, const struct sgi__chunk *chunk, const uint8_t *bytes,
                             struct sgi__buffer *buffer, sgi_error *err);
/* [from, to) of the arena from where another device has it. */
sgi_status sgi__upload_over(struct sgi__upload *u, uint64_t from, uint64_t to, sgi_error *err);
/* A part of a tensor once more, behind everything that is queued. It is counted with the next mark. */
sgi_status sgi__upload_again(struct sgi__upload *u, uint64_t tensor, uint64_t from, const uint8_t *bytes,
                             uint64_t count, sgi_error *err);
sgi_status sgi__upload_mark(struct sgi__upload *u, sgi_error *err);
/* Gives back the buffers that nobody needs any more. */
sgi_status sgi__upload_recycle(struct sgi__upload *u, sgi_error *err);
/* Waits for the oldest copy. False: none is on its way. */
bool       sgi__upload_wait_one(struct sgi__upload *u, sgi_status *status, sgi_error *err);
sgi_status sgi__upload_wait(struct sgi__upload *u, sgi_error *err); /* for all of them */
/* Nothing is on its way after this, whatever came before; the buffers are given back. */
void sgi__upload_end(struct sgi__upload *u);

#endif
