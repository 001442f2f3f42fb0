/* SPDX-License-Identifier: Apache-2.0 */
/* UNTIL THE CUDA DEVICE IS IN THE RUNTIME: what ext.h and sgi.h will declare. Weak, so that the example is built and
 * tells what is missing. To be removed with its #include and with runs_on_cuda(). */
#ifndef UNTIL_MERGE_H
#define UNTIL_MERGE_H

#include <sgi/ext.h>

sgi_status sgi_stage_tensor_on(sgi_stage *stage, uint64_t index, void *stream, sgi_view *view_out, sgi_error *err)
    __attribute__((weak));

#define runs_on_cuda() (sgi_stage_tensor_on != NULL)

#endif
