/* SPDX-License-Identifier: Apache-2.0 */
/* A load's own structure: load.c (what others see) and pipeline.c (what fills it, with its files) share it. */
#ifndef SGI_LOAD_STATE_H
#define SGI_LOAD_STATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "io/reader.h"
#include "load/load.h"

/* Copies of a load that may be on their way at once, each with a mark of its own. */
enum { SGI__LOAD_MARKS = 64 };

/* Of a tensor: not there yet; a copy's number, counted from 1: there once that is done; there. */
#define SGI__TENSOR_NOT  UINT32_C(0)
#define SGI__TENSOR_HERE UINT32_MAX

struct sgi__load {
    struct sgi__load_spec spec;
    uint64_t              total_bytes;
    struct sgi__rate_turn turn;       /* under the rate's own mutex */
    atomic_bool           canceled;   /* written by anybody, read by the pipeline between chunks */
    atomic_uint_fast64_t  done_bytes; /* for progress only */

    pthread_mutex_t mutex;
    pthread_cond_t  changed;
    /* under the mutex */
    struct sgi__reader *reader; /* while run has it open: so that cancel can wake it */
    uint32_t           *ready;  /* by tensor; NULL: all of them, from the start */
    bool                begun;  /* the device's memory is there, and the marks are made: fixed from then on */
    bool                run_done, prefixes_done;
    bool                shares; /* while run reads */
    struct sgi__sharer  sharer;
    uint32_t            waiters;
    sgi_status          failed;
    sgi_error           error;
    struct sgi__report  report;

    struct sgi__mark *marks[SGI__LOAD_MARKS]; /* the last ones set; copy n has number n modulo their count */
};

void sgi__load_begun(struct sgi__load *load);
void sgi__load_ready(struct sgi__load *load, uint64_t tensor, uint32_t how); /* a copy's number, or HERE */
/* How run ended: with `status`, or with what had gone wrong before. */
sgi_status sgi__load_run_done(struct sgi__load *load, sgi_status status, sgi_error *err);

#endif
