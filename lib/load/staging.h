/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all loads into one device share: the gate where they wait for its context, and buffers of pinned memory that
 * bytes of files pass through on their way to it.
 *
 * Loads begin while the context opens, and read ahead until they come to the gate. Buffers are made as they are asked
 * for, up to a limit, and stay until the context closes. They are pinned once the gate is open. Nobody waits for a
 * buffer who has one that he is not copying from: so those who wait are served in the end.
 */
#ifndef SGI_LOAD_STAGING_H
#define SGI_LOAD_STAGING_H

#include <stdatomic.h>

#include "device/device.h"
#include "load/touch.h"

#define SGI__STAGING_BYTES_MAX (UINT64_C(256) << 20)

struct sgi__staging; /* opaque; one for each device with memory of its own */
struct sgi__ahead;   /* opaque; of one load */

struct sgi__buffer {
    uint8_t             *at;
    struct buffer_piece *piece;
    /* whose turn it is keeps these: */
    uint32_t            holds; /* hashes that wait for bytes in it */
    uint64_t            copy;  /* the number of the copy from it; 0: there is none yet */
    struct sgi__buffer *next;
};

/* bytes_max: of all buffers together, unless that were fewer than four. NULL: out of memory. */
struct sgi__staging *sgi__staging_new(struct sgi__device *device, uint64_t buffer_bytes, uint64_t bytes_max);
void                 sgi__staging_free(struct sgi__staging *s); /* its context is closed; NULL is a no-op */
struct sgi__device  *sgi__staging_device(const struct sgi__staging *s);

/* ---- the gate ---- */

/* The context is going to be opened; it is open, or why it is not; it will be closed: who comes from now on waits for
 * the next one; it is about to be closed, which waits until nobody is inside; it is closed: what was pinned is not any
 * more, and buffers that nobody has go. */
void sgi__staging_opens(struct sgi__staging *s);
void sgi__staging_opened(struct sgi__staging *s, sgi_status status, const sgi_error *err);
void sgi__staging_shuts(struct sgi__staging *s);
void sgi__staging_closes(struct sgi__staging *s);
void sgi__staging_closed(struct sgi__staging *s);

/* Makes the device current on this thread. Waits until its context is open; what it failed with; SGI_E_CANCELED once
 * `stop` is set and sgi__staging_wake() called. */
sgi_status sgi__staging_enter(struct sgi__staging *s, const atomic_bool *stop, struct sgi__device_scope *scope,
                              sgi_error *err);
/* Likewise, if it is open; one that is about to be closed is waited for, so that false means that there is none. */
bool sgi__staging_try_enter(struct sgi__staging *s, struct sgi__device_scope *scope);
void sgi__staging_leave(struct sgi__staging *s, const struct sgi__device_scope *scope);
bool sgi__staging_is_open(struct sgi__staging *s);
void sgi__staging_wake(struct sgi__staging *s);
/* Another one each time the context closes: what was pinned before is not pinned any more. */
uint64_t sgi__staging_epoch(struct sgi__staging *s);

/* ---- buffers ---- */

uint64_t sgi__staging_buffer_bytes(const struct sgi__staging *s);
/* NULL: none is free just now. */
struct sgi__buffer *sgi__staging_take(struct sgi__staging *s);
/* Waits for one. SGI_E_NO_MEMORY: there is no memory for a single one; SGI_E_CANCELED as above. */
sgi_status sgi__staging_take_wait(struct sgi__staging *s, const atomic_bool *stop, struct sgi__buffer **buffer_out,
                                  sgi_error *err);
void       sgi__staging_give(struct sgi__staging *s, struct sgi__buffer *buffer);
/* Makes buffers on a thread, a piece ahead of who takes them, for a load of so many bytes. NULL: it is not worth one,
 * or there is none to be had. stop: ends and joins it, and says what it took; 0 for NULL. */
struct sgi__ahead *sgi__staging_go_ahead(struct sgi__staging *s, uint64_t bytes);
void               sgi__staging_stop_ahead(struct sgi__ahead *ahead, struct sgi__touch_times *times_out);
/* Before the first copy from it [inside]. Where the driver has no room for pins the copies are slower: only
 * SGI_E_DEVICE_LOST is an error. */
sgi_status sgi__staging_pin(struct sgi__staging *s, const struct sgi__buffer *buffer, sgi_error *err);

#endif
