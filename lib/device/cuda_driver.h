/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CUDA driver of this machine, found at run time: the library links nothing of it, and is built where none is.
 * Opening it calls cuInit, which nothing undoes: from then on the process must not fork and go on using CUDA in the
 * child. No context is made here.
 */
#ifndef SGI_DEVICE_CUDA_DRIVER_H
#define SGI_DEVICE_CUDA_DRIVER_H

#include <stdbool.h>

#include "base/error.h"
#include "device/cuda_abi.h"

/* NOLINTNEXTLINE(bugprone-macro-parentheses): a list of parameters */
#define SGI__CUDA_MEMBER(name, parameters) cu_result(*name) parameters;
struct sgi__cuda {
    SGI__CUDA_CALLS(SGI__CUDA_MEMBER)
    int version; /* of CUDA, that the driver is for: 12040 is 12.4 */
    int devices_count;
};
#undef SGI__CUDA_MEMBER

/* The oldest driver that is used: 550. */
enum { SGI__CUDA_VERSION_MIN = 12040 };

/* SGI_E_UNSUPPORTED with the reason: no driver, the toolkit's stub, too old, no device. Blocks: the first time in a
 * process for as long as cuInit takes, which may be seconds. */
sgi_status sgi__cuda_open(struct sgi__cuda *cuda, sgi_error *err);

const char *sgi__cuda_code_name(cu_result code);
/* Once a call has said this there is no CUDA in the process any more, on no device, until it ends. */
bool sgi__cuda_is_over(cu_result code);

/* The one place that makes a status of a driver's code: SGI_E_DEVICE_LOST when it is over, SGI_E_DEVICE_MEMORY,
 * SGI_E_DEVICE. The text is followed by the code's name. */
sgi_status sgi__cuda_failed(sgi_error *err, cu_result code, const char *format, ...) SGI_PRINTF(3, 4);

#endif
