/* SPDX-License-Identifier: Apache-2.0 */
/* Models to measure with where none is given: safetensors files of bytes that no disk can guess, under $SGI_BENCH_DIR
 * or /var/tmp, gone when the program ends. */
#ifndef SGI_BENCH_FILES_H
#define SGI_BENCH_FILES_H

#include <stdint.h>

/* `bytes` of data in `tensors` equal tensors, on the disk when this returns. The path lives as long as the program. */
const char *model_file(uint64_t bytes, uint32_t tensors);
uint64_t    file_bytes(const char *path);

#endif
