/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Extents of files into memory, over either engine: keeps the queue full, resumes short reads, retries EINTR and
 * EAGAIN, falls from direct to cached reads on EINVAL, clips at the rounded end of file, retries EIO within bounds,
 * cancels. One owner thread.
 */
#ifndef SGI_IO_READER_H
#define SGI_IO_READER_H

#include "io/io.h"

enum {
    SGI__READ_RETRIES_MAX = 3,  /* of one read after EIO and its like */
    SGI__READ_AGAINS_MAX = 100, /* of one read after EINTR and EAGAIN, in a row without a byte */
};

/* One piece of work; stays put from submit until it comes back. direct: offset, dst and bytes are multiples of the
 * file's direct_align (the last one of a file may end past the end of file by less than that: dst has room, and what
 * lies past the end is zero afterwards). */
struct sgi__read {
    const struct sgi__io_file *file;
    const char                *path; /* for errors */
    uint64_t                   offset;
    void                      *dst;
    uint64_t                   bytes;
    bool                       direct; /* cleared by the reader when it went on through the page cache */
    void                      *user;

    /* The reader's own. */
    uint64_t               want; /* bytes of the file to land; less than `bytes` only at the end of a file */
    uint64_t               done; /* bytes landed so far; on SGI_OK the same as want */
    uint32_t               tries;
    uint32_t               agains;
    uint64_t               lost_bytes; /* asked for in vain: tries that failed */
    struct sgi__io_request request;
};

struct sgi__reader; /* opaque */

struct sgi__reader_stats {
    uint64_t retries;    /* reads started again after EINTR, EAGAIN, EIO */
    uint64_t shorts;     /* reads that landed in part and were resumed */
    uint64_t downgrades; /* reads that went on through the page cache */
};

/* Called by the owner, on the thread that will use the reader. SGI_E_INVALID (depth, abi), SGI_E_NO_MEMORY, or what the
 * engine says. */
sgi_status sgi__reader_open(const struct sgi__io_engine *engine, uint32_t depth, struct sgi__reader **reader_out,
                            sgi_error *err);

bool sgi__reader_full(const struct sgi__reader *r);

/* Reads submitted and not yet returned. At 0 nothing touches any buffer. */
uint32_t sgi__reader_in_flight(const struct sgi__reader *r);

/* Queues a read (the reader is not full); batched, started by the next _wait or when the queue is full. */
void sgi__reader_submit(struct sgi__reader *r, struct sgi__read *read);

/* Starts what is queued, waits, and returns one finished read in *read_out with its status: SGI_OK with all bytes
 * landed, SGI_E_IO (path, offset, cause), SGI_E_CHANGED (the file became shorter), SGI_E_CANCELED. *read_out NULL with
 * SGI_OK: woken, or nothing in flight. */
sgi_status sgi__reader_wait(struct sgi__reader *r, struct sgi__read **read_out, sgi_error *err);

/* From any thread. Leads to one NULL from _wait, even when reads finish meanwhile. */
void sgi__reader_wake(struct sgi__reader *r);

/* By the owner: from now on reads come back SGI_E_CANCELED; keep waiting until in_flight is 0. */
void sgi__reader_cancel(struct sgi__reader *r);

/* Nothing is in flight (asserted). stats_out may be NULL. */
void sgi__reader_close(struct sgi__reader *r, struct sgi__reader_stats *stats_out);

#endif
