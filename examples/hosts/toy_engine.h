/* SPDX-License-Identifier: Apache-2.0 */
/* The smallest engine with everything a real one does: it waits for its weights, answers in pieces, takes its time,
 * and notices when nobody wants more.
 *
 * Request: "TENSOR PAUSE_MS REPEAT TEXT". Answer: "MODEL SUM", then REPEAT times " TEXT", one piece each, PAUSE_MS
 * before each. SUM is model_sum() of the tensor's bytes as they lie on the device, in 16 hexadecimal digits.
 */
#ifndef TOY_ENGINE_H
#define TOY_ENGINE_H

#include <stdatomic.h>

#include <sgi/ext.h>

#include "make_model.h"

/* What the engine did, over all its models. */
typedef struct toy_counts {
    atomic_uint prepared, discarded;
    atomic_uint started, stopped;
    atomic_uint called, canceled;
} toy_counts;

/* Fill in the table. `counts` must outlive every model that is registered with it. */
void toy_engine(sgi_engine *engine, toy_counts *counts);

/* Register every model of the folder, under its name, with this engine. */
sgi_status toy_register(sgi_runtime *rt, const model_folder *models, toy_counts *counts, sgi_error *err);

/* The answer to expect; the caller frees it. NULL: no memory. */
char *toy_answer(const char *model, uint64_t sum, unsigned repeat, const char *text);

#endif
