/* SPDX-License-Identifier: Apache-2.0 */
/* A manifest's tensor in the public struct. */
#ifndef SGI_MODEL_DESCRIBE_H
#define SGI_MODEL_DESCRIBE_H

#include "model/manifest.h"

/* false: tensor_out is NULL or its struct_size is not set. index < tensors_count. */
bool sgi__describe_tensor(const struct sgi__manifest *m, uint64_t index, sgi_tensor *tensor_out);

#endif
