/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of a runtime on a GPU share: cuda:0 and host:0 in one runtime, or the reason why there is none. */
#ifndef ON_GPU_H
#define ON_GPU_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "support/host.h"

enum { ON_GPU, ON_HOST, ON_DEVICES, ON_SKIPPED = 77 };

/* host_config() with these devices. */
sgi_runtime_config on_gpu_config(void);

/* Prints why there is no such runtime here. False: then the program ends with ON_SKIPPED. */
bool on_gpu_possible(void);

/* Weights only, on one of the devices. */
sgi_model on_gpu_add(sgi_runtime *rt, const char *name, const char *path, int device);

/* Every tensor as it lies on the device is what the file has. */
void on_gpu_same_bytes(sgi_runtime *rt, sgi_model model, sgi_lease lease, const struct test_file *files);

/* Until nothing of ours is on the device, its context included. */
void on_gpu_wait_zero(sgi_runtime *rt);

#endif
