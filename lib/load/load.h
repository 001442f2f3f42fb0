/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One load: a model's files into an image, or on into a device's own memory. sgi__load_run() is the pipeline, on the
 * loader's own thread:
 *
 *     plan -> touch -> read -> verify -> (copy ->) tensor ready ... -> all ready
 *
 * Everything else here may be called from any thread while the load exists: waits, progress, cancel. The memory belongs
 * to the load until run has returned; then nothing of it touches that any more, whatever the outcome.
 */
#ifndef SGI_LOAD_LOAD_H
#define SGI_LOAD_LOAD_H

#include "device/image.h"
#include "io/io.h"
#include "load/decode.h"
#include "load/layout.h"
#include "load/pins.h"
#include "load/rate.h"
#include "load/share.h"

struct sgi__check {
    uint64_t tensor;
    uint64_t xxh3;
};

struct sgi__load_spec {
    const char                 *name; /* the model's, for errors */
    const struct sgi__manifest *manifest;
    const struct sgi__layout   *layout;
    const uint64_t             *order; /* tensors wished first */
    uint64_t                    order_count;
    const struct sgi__check    *checks; /* sorted by tensor */
    uint64_t                    checks_count;
    struct sgi__image          *image; /* NULL: bytes only pass through, on their way to the arena */
    /* NULL: the image is where they stay. Else they go to the arena; what is read into an image stays there too. */
    struct sgi__staging *staging;
    struct sgi__arena   *arena;      /* taken, not mapped */
    struct sgi__pins    *pins;       /* of the image */
    bool                 from_image; /* which has all of them already: nothing is read */
    uint64_t             from_arena; /* where another device has all of them, laid out alike; 0: nowhere */
    /* Where stored chunks stay in host memory: beside image or arena, or, without these, there alone. NULL: nowhere. */
    struct sgi__kept            *kept;
    bool                         from_kept;  /* which is complete: nothing is read */
    const struct sgi__io_engine *engine;     /* for files to be read from the disk */
    const struct sgi__io_engine *hot_engine; /* for files the page cache holds: copies run on several cores */
    uint64_t                     block_bytes;
    uint32_t                     depth, depth_max; /* reads in flight: at first, and at most if that is faster */
    struct sgi__share           *share;            /* of the disk, with the other loads; NULL: it is alone */
    struct sgi__rate            *rate;             /* the limit on all of them together; NULL: none */
    struct sgi__decoding        *decoding;         /* for packed models */
    int32_t                      priority;
    /* NULL: no prefixes */
    sgi_status (*prefix_fill)(void *user, uint32_t part, void *dst, uint64_t bytes, sgi_error *err);
    void *prefix_user;
};

/* Where the time went. Times are absolute (CLOCK_MONOTONIC); a step that was not needed has start 0. */
struct sgi__report {
    struct {
        uint64_t start_ns, ns;
    } steps[SGI_STEP_COUNT];
    uint64_t load_start_ns, load_end_ns;
    uint64_t bytes, cpu_ns, bounced_bytes, reread_bytes;
    uint64_t stored_bytes; /* that were read for those; the same where nothing is packed */
    uint64_t limited_ns;   /* reads were held back for the limit on the rate */
    uint32_t tier, direct;
    char     engine[16];
};

struct sgi__load; /* opaque */

/* What the spec points to must outlive the load; the spec itself is copied. SGI_E_NO_MEMORY. */
sgi_status sgi__load_new(const struct sgi__load_spec *spec, struct sgi__load **load_out, sgi_error *err);
/* A load of an image that has all its bytes already: done from the start. */
sgi_status sgi__load_new_done(const struct sgi__load_spec *spec, struct sgi__load **load_out, sgi_error *err);
/* Before run: what is read for the arena is to stay in this image too. */
void sgi__load_keep(struct sgi__load *load, struct sgi__image *image, struct sgi__pins *pins);
/* Likewise: its stored chunks are to stay. */
void sgi__load_keep_stored(struct sgi__load *load, struct sgi__kept *kept);
/* Likewise: another device has it all. Nothing is read, nothing kept. */
void sgi__load_from(struct sgi__load *load, uint64_t arena_base);
/* Nobody waits, run and prefixes have returned. With an arena: [inside], if it has ever begun. */
void sgi__load_free(struct sgi__load *load);

/* The pipeline; once. SGI_OK: every byte is there and verified. Steps in err: MEMORY, OPEN, READ, VERIFY, and for a
 * device with memory of its own CONTEXT, COPY. */
sgi_status sgi__load_run(struct sgi__load *load, sgi_error *err);
/* The engine's part, beside run, on another thread; once if there is a prefix_fill. Whichever of the two fails cancels
 * the other, and both return the first cause. */
sgi_status sgi__load_fill_prefixes(struct sgi__load *load, sgi_error *err);
void       sgi__load_cancel(struct sgi__load *load);
void       sgi__load_priority(struct sgi__load *load, int32_t priority); /* from now on, or from when it begins */
/* It will not come to its end, as when one of the two above cannot begin. Whoever waits for it is told why. */
void sgi__load_failed(struct sgi__load *load, sgi_status status, const sgi_error *err);

/* deadline_ns on CLOCK_MONOTONIC, UINT64_MAX: none. What the load failed with, SGI_E_TIMEOUT. */
sgi_status sgi__load_wait_tensor(struct sgi__load *load, uint64_t tensor, uint64_t deadline_ns, sgi_error *err);
/* What is queued on the device's stream from now on begins once the tensor is there [inside]. Waits until it is on its
 * way there, no longer. */
sgi_status sgi__load_order_tensor(struct sgi__load *load, uint64_t tensor, void *native_stream, sgi_error *err);
/* Until the device's memory can be used, though nothing is in it yet. */
sgi_status sgi__load_wait_begun(struct sgi__load *load, sgi_error *err);
bool       sgi__load_has_begun(struct sgi__load *load); /* it can, now; nothing is there before */
sgi_status sgi__load_wait_prefixes(struct sgi__load *load, sgi_error *err);
sgi_status sgi__load_wait(struct sgi__load *load, sgi_error *err); /* run and prefixes */
bool       sgi__load_canceled(struct sgi__load *load);
void       sgi__load_progress(struct sgi__load *load, uint64_t *done_out, uint64_t *total_out);
void sgi__load_report(struct sgi__load *load, struct sgi__report *report_out); /* complete once run has returned */

#endif
