/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stored chunks checked and decoded, on threads that all loads share: as many as there are cores. A chunk is one job;
 * what a load has out at once is its own matter.
 */
#ifndef SGI_LOAD_DECODE_H
#define SGI_LOAD_DECODE_H

#include <stdbool.h>

#include "base/pool.h"
#include "load/store.h"

struct sgi__decoding; /* opaque; what is shared */

/* threads_max 0: as many as there are cores. NULL: out of memory. */
struct sgi__decoding *sgi__decoding_new(uint32_t threads_max);
void                  sgi__decoding_free(struct sgi__decoding *d);    /* no job is out; NULL is a no-op */
uint32_t              sgi__decoding_threads(struct sgi__decoding *d); /* there are just now */
uint32_t              sgi__decoding_threads_max(const struct sgi__decoding *d);

/* Around the jobs of a load: with the last one what decoders need goes. */
void sgi__decoding_join(struct sgi__decoding *d);
void sgi__decoding_leave(struct sgi__decoding *d);

struct sgi__decode_job {
    const struct sgi__stored_chunk *chunk;
    const uint8_t                  *stored;   /* as it was read, */
    bool                            padded;   /* to the end of its last page, which is to be zero */
    bool                            verified; /* before: it comes out of host memory */
    struct sgi__kept               *keep;     /* it is to stay there as well, once it is verified; NULL: it is not */
    uint8_t                        *raw; /* the same, for a raw chunk that is to stay where it is; NULL: not decoded */
    /* Out, before `done` is called: */
    const char *wrong;     /* NULL: it is good. Else static text, the end of a sentence */
    bool        is_broken; /* it matches its check and cannot be decoded: reading it again would not help */
    bool        no_memory; /* it was not decoded for want of that; `wrong` says so */
    uint64_t    start_ns, verify_ns, keep_ns, decode_ns, cpu_ns;

    void (*done)(struct sgi__decode_job *job); /* on the thread that did it. The job is the owner's again */
    void *user;

    struct sgi__decoding *decoding; /* its own */
    struct sgi__job       job;
};

/* Never fails: where no thread is to be had it is done here and now. */
void sgi__decode_submit(struct sgi__decoding *d, struct sgi__decode_job *job);

/* The same without a job. NULL, or what is wrong: of its check, and of a raw one that is copied to `raw`. */
const char *sgi__stored_wrong(const struct sgi__stored_chunk *c, const uint8_t *stored, bool padded);
const char *sgi__stored_take_raw(const struct sgi__stored_chunk *c, const uint8_t *stored, uint8_t *raw);

#endif
