/* SPDX-License-Identifier: Apache-2.0 */
/* Manifests without files behind them, for what computes with them only. Running out of memory aborts. */
#ifndef TESTS_SUPPORT_MANIFESTS_H
#define TESTS_SUPPORT_MANIFESTS_H

#include "model/manifest.h"

/* A file of `data_offset` bytes of header and tensors of the given sizes one behind the other. Call
 * sgi__manifest_finish() after the last. */
void manifest_add(struct sgi__manifest *m, uint64_t data_offset, const uint64_t *tensor_bytes, uint32_t tensors_count);

#endif
