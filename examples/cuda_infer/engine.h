/* SPDX-License-Identifier: Apache-2.0 */
/* The network as an engine of libsgi: its start() queues a whole pass while the weights are still arriving. */
#ifndef ENGINE_H
#define ENGINE_H

#include <sgi/ext.h>

#include "gpu.h"

enum { STEPS_MAX = LAYERS_MAX + 1 }; /* the embedding, then the layers */

/* When a start began to queue, when the device had a step's weights, and when it had computed it: CLOCK_MONOTONIC. */
typedef struct infer_timeline {
    unsigned steps_count;
    double   begin_ms;
    double   there_ms[STEPS_MAX], computed_ms[STEPS_MAX];
} infer_timeline;

/* What one engine is. The timeline is that of its last start, to be read while a lease is held. */
typedef struct infer_engine {
    gpu            driver;
    infer_timeline timeline;
} infer_engine;

/* A request is up to TOKENS_MAX token ids (uint32_t), the reply one piece: the vector (float). */
void infer_engine_table(infer_engine *infer, sgi_engine *engine_out);

#endif
