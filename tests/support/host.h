/* SPDX-License-Identifier: Apache-2.0 */
/* What most tests of a runtime begin and end with. Sees the public headers only. Each of these fails the test, with the
 * library's own message, when it does not go well; only on the test's own thread. */
#ifndef TESTS_SUPPORT_HOST_H
#define TESTS_SUPPORT_HOST_H

#include <sgi/ext.h>

#include "engine.h"
#include "model_files.h"

#define MIB(n) ((uint64_t)(n) << 20)
#define KIB(n) ((uint64_t)(n) << 10)

enum { HOST_WAIT_MS = TEST_HANG_SECONDS * 1000 };

/* With SGI_TEST_DEVICES="cuda:0 cuda:1" in the environment that is where the suite's models run. */
bool               host_is_host(void);
sgi_runtime_config host_config(void); /* init, no DRAM tier, idle and linger NEVER: nothing happens by itself */
sgi_runtime       *host_open(const sgi_runtime_config *config);
void               host_close(sgi_runtime *rt);

sgi_model_config host_model(const char *name, const char *path,
                            const struct test_engine *engine); /* engine NULL: none */
sgi_model        host_register(sgi_runtime *rt, const sgi_model_config *config);
sgi_model        host_add(sgi_runtime *rt, const char *name, const char *path, const struct test_engine *engine);

sgi_lease  host_acquire(sgi_runtime *rt, sgi_model model);
void       host_release(sgi_runtime *rt, sgi_lease lease);
sgi_status host_acquire_fails(sgi_runtime *rt, sgi_model model,
                              sgi_error *err); /* the status, and it is none of success */

sgi_model_state  host_state(sgi_runtime *rt, sgi_model model);
sgi_runtime_info host_info(sgi_runtime *rt);
sgi_device_info  host_device(sgi_runtime *rt, uint32_t index);
sgi_timing       host_timing(sgi_runtime *rt, sgi_lease lease);
void             host_wait_state(sgi_runtime *rt, sgi_model model, uint32_t state);
void             host_wait_threads(sgi_runtime *rt, uint32_t threads);
sgi_completion   host_next(sgi_runtime *rt); /* waits for it at the fd */

sgi_view host_tensor(sgi_runtime *rt, sgi_lease lease, uint64_t index);
/* Every tensor, in memory and by digest, equals the file's bytes. files: one for each part. */
void host_same_bytes(sgi_runtime *rt, sgi_model model, sgi_lease lease, const struct test_file *files);

/* An error says what it is: code, step, a message that holds `names`. */
void host_error_is(const sgi_error *err, sgi_status code, uint32_t step, const char *names);

/* Begins a call, reads all pieces into `out` (room for `room` bytes), ends it. The status at its end, SGI_OK for
 * SGI_E_END. Takes all completions. */
sgi_status host_call(sgi_runtime *rt, sgi_lease lease, const void *request, size_t bytes, void *out, size_t room,
                     size_t *bytes_out, sgi_error *err);

#endif
