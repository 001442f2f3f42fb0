/* SPDX-License-Identifier: Apache-2.0 */
/* The one process-wide setting: where log records go. */
#ifndef SGI_BASE_LOG_H
#define SGI_BASE_LOG_H

#include "base/error.h"

/* One line, at most 511 bytes. Not under a lock of ours: the sink is the host's code. */
void sgi__log(uint32_t severity, const char *format, ...) SGI_PRINTF(2, 3);

#endif
