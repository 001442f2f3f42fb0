/* SPDX-License-Identifier: Apache-2.0 */
/* What most tests of a runtime on the fake driver begin and end with. Each fails the test when it does not go well. */
#ifndef TESTS_CUDA_HOST_H
#define TESTS_CUDA_HOST_H

#include "../conformance/cuda_fixture.h"
#include "support/clock.h"
#include "support/fake_cuda.h"
#include "support/host.h"

enum { IDLE_MS = 500, LINGER_MS = 200 };

struct fixture {
    struct test_clock clock;
    sgi_runtime      *rt;
    sgi_error         err;
};

extern struct test_folder cuda_folder;

int cuda_set_up(void **state); /* of a group: the fake, and a folder for files */
int cuda_tear_down(void **state);
int cuda_clear(void **state); /* before each test: no faults, streams let go */

/* Devices by name, "cuda:0 host"; at most 16. bytes_max: of each that is cuda; 0: the default. */
sgi_runtime_config cuda_config(const char *devices, uint64_t bytes_max);
void               cuda_open(struct fixture *f, const sgi_runtime_config *config);
/* Closes it, and nothing of the driver is held, nor was anything done that is not allowed. */
void cuda_close(struct fixture *f);
void cuda_advance(struct fixture *f, uint64_t ms);
void cuda_wait_zero(struct fixture *f, uint32_t device); /* no instance there, and no context of ours */

double cuda_metric(struct fixture *f, const char *family); /* one without labels */

/* Every tensor by digest, and as it lies on the device where `lease` is. */
void cuda_same_bytes(struct fixture *f, sgi_model model, sgi_lease lease, const struct test_file *file);

#endif
