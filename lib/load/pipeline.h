/* SPDX-License-Identifier: Apache-2.0 */
/* One run of a load: pipeline.c reads the chunks, arrivals.c counts and verifies what has landed and sends it on. */
#ifndef SGI_LOAD_PIPELINE_H
#define SGI_LOAD_PIPELINE_H

#include "load/depth.h"
#include "load/plan.h"
#include "load/state.h"
#include "load/touch.h"
#include "load/upload.h"
#include "load/verify.h"

struct slot {
    struct sgi__read         read;
    const struct sgi__chunk *chunk;
    struct sgi__buffer      *buffer; /* where it is to land; NULL: in the image */
    struct slot             *next;   /* free, to be read on, decoded, or in pieces */
    /* Of a packed model: */
    uint8_t               *read_to;               /* from here on its chunk is read, */
    uint64_t               read_done, read_bytes; /* so much of all that is to be */
    bool                   direct;
    struct sgi__decode_job job;
    struct pipeline       *pipeline;
    uint8_t               *stored, *raw; /* memory for a chunk before it is decoded, and after */
    bool                   again;        /* it has been read before */
    uint32_t               landed;       /* pieces of `raw` that have */
    uint64_t               landed_bytes;
};

/* A part's file: open from its first chunk to its last, or for a while at a time when a wished order visits many. */
struct open_part {
    struct sgi__io_file file;
    uint64_t            chunks_left;
    uint32_t            reads; /* in flight */
    bool                open, direct;
};

/* A chunk that has landed before the device's context was open. */
struct waiting {
    const struct sgi__chunk *chunk;
    struct sgi__buffer      *buffer;
};

struct pipeline {
    struct sgi__load   *load;
    struct sgi__plan   *plan;
    struct open_part   *parts;
    uint32_t            files_open, rest_at; /* rest_at: where the next one to close is looked for */
    uint64_t           *missing;             /* bytes by tensor that have not landed, */
    uint64_t           *unsent;              /* and that have not been sent on; NULL: they stay where they land */
    struct sgi__verify  verify;
    struct sgi__upload  upload;
    struct waiting     *waiting; /* in the order they landed: [waiting_first, waiting_end) */
    uint64_t            waiting_first, waiting_end;
    struct sgi__touch  *touch;
    struct sgi__ahead  *ahead;
    struct sgi__reader *reader;
    struct slot        *slots, *free_slots, *to_read; /* to_read: the rest of their chunks, or once more; in order */
    struct slot      *in_pieces, *in_pieces_last; /* decoded, more than a buffer takes: they land one after the other */
    struct sgi__depth depth;
    void             *bounce; /* a page for each slot, if the plan needs any */
    uint32_t          slots_count;
    uint32_t          decoding;    /* slots whose chunks are being decoded */
    uint64_t          slot_bytes;  /* of a slot's `stored` and `raw`, */
    void             *slot_memory; /* in here; NULL: nothing is stored in chunks */
    uint64_t          next;        /* chunk */
    uint64_t          held_ns;     /* since when the limit holds it back; 0: it does not */
    struct sgi__report report;     /* published at the end */

    pthread_mutex_t mutex;
    pthread_cond_t  some_decoded;
    struct slot    *decoded; /* under the mutex: those that are done */
    uint64_t        decode_cpu_ns;
};

void       sgi__pipeline_spent(struct pipeline *p, uint32_t step, uint64_t since);
sgi_status sgi__pipeline_canceled(const struct pipeline *p, sgi_error *err);

void                sgi__pipeline_begun(struct pipeline *p, uint32_t step); /* unless it has before */
struct sgi__on_disk sgi__pipeline_file(const struct pipeline *p, uint32_t file);
/* The last chunk of a file is there: was it the same file all the time? */
sgi_status sgi__pipeline_check(struct pipeline *p, uint32_t number, sgi_error *err);
void       sgi__pipeline_close(struct pipeline *p, struct open_part *part);
void       sgi__pipeline_count(struct pipeline *p, const struct sgi__chunk *c); /* for the progress */
/* What the limit on the rate says to a read of so many bytes; false: not now. Waits only where nothing else would end
 * the wait. */
bool sgi__pipeline_may_read(struct pipeline *p, uint64_t bytes);
/* Waits for a buffer, where nothing else would end the wait. */
sgi_status sgi__pipeline_buffer(struct pipeline *p, struct sgi__buffer **buffer_out, sgi_error *err);

/* Of a load into host memory as it is stored: nothing is decoded, nothing lands anywhere else. */
bool     sgi__pipeline_keeps_only(const struct pipeline *p);
uint8_t *sgi__slot_home(const struct pipeline *p, const struct slot *s); /* where its chunk's first byte is to land */
void     sgi__slot_free(struct pipeline *p, struct slot *s);
/* Reads in flight, and decoding, are counted by file; those into an image also by its memory. */
void sgi__slot_reads(struct pipeline *p, const struct sgi__chunk *c, int more);

/* stored.c */
/* Starts to read a chunk that is stored, or takes it from where it is kept; there is a free slot. `buffer` goes with
 * it. */
void     sgi__stored_start(struct pipeline *p, const struct sgi__chunk *c, struct sgi__buffer *buffer);
uint64_t sgi__stored_first_read(const struct pipeline *p, const struct sgi__chunk *c); /* bytes; its file is open */
/* Its read is back, well: it is decoded, or read on. */
void sgi__stored_has_read(struct pipeline *p, struct slot *s);
void sgi__stored_read_on(struct pipeline *p); /* what is to be, as far as the reader has room and the limit allows it */
/* One that has been decoded; NULL: none. Waits for one, while there is any, if asked to. */
struct slot *sgi__stored_take(struct pipeline *p, bool wait);
/* What came of it. The slot is free after this, or is to be read again. */
sgi_status sgi__stored_finish(struct pipeline *p, struct slot *s, sgi_error *err);
/* Lands what is in pieces, as far as there are buffers; waits for those if nothing else would end the wait (`idle`). */
sgi_status sgi__stored_land_pieces(struct pipeline *p, bool idle, sgi_error *err);

/* arrivals.c */
sgi_status sgi__arrivals_init(struct pipeline *p, sgi_error *err);
void       sgi__arrivals_fini(struct pipeline *p); /* nothing is on its way any more */
/* All of a chunk is there, from `bytes` on: in the image, or in `buffer`, which goes with it whatever comes of it. */
sgi_status sgi__arrived(struct pipeline *p, const struct sgi__chunk *c, const uint8_t *bytes,
                        struct sgi__buffer *buffer, sgi_error *err);
/* Likewise for one that has lain in the image, verified, since a load before: it goes to the device. */
sgi_status sgi__arrivals_pass(struct pipeline *p, const struct sgi__chunk *c, sgi_error *err);
/* All of it from another device's arena. */
sgi_status sgi__arrivals_over(struct pipeline *p, sgi_error *err);
/* Sends on what waits for the context, waiting for that if it must. */
sgi_status sgi__arrivals_send(struct pipeline *p, sgi_error *err);
/* Until all of it is on the device. */
sgi_status sgi__arrivals_end(struct pipeline *p, sgi_error *err);

#endif
