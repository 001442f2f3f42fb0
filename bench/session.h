/* SPDX-License-Identifier: Apache-2.0 */
/* A runtime as the measurements use it: what does not go well ends the program with the library's own words. */
#ifndef SGI_BENCH_SESSION_H
#define SGI_BENCH_SESSION_H

#include <jansson.h>
#include <sgi/sgi.h>

/* Host memory that nothing here exceeds. */
#define SESSION_DRAM (UINT64_C(1) << 46)

sgi_runtime_config session_config(const char *engine, uint64_t rate); /* nothing leaves by itself, no DRAM tier */
/* Its one device, instead of the host's. `device` is for as long as the configuration is used. */
void           session_on(sgi_runtime_config *config, sgi_device_config *device, const char *name);
sgi_runtime   *session_open(const sgi_runtime_config *config);
void           session_close(sgi_runtime *rt);
sgi_model      session_register(sgi_runtime *rt, const char *name, const char *path, uint32_t flags);
sgi_model_info session_info(sgi_runtime *rt, sgi_model model);
sgi_lease      session_acquire(sgi_runtime *rt, sgi_model model, sgi_timing *timing_out); /* timing: or NULL */
void           session_release(sgi_runtime *rt, sgi_lease lease);
/* Gives back what it holds beyond `tier`, and waits until that is done. */
void session_evict(sgi_runtime *rt, sgi_model model, uint32_t tier);
/* Nothing but the library's one sleeping thread, no context. */
void session_wait_idle(sgi_runtime *rt);

json_t *session_phases(const sgi_timing *timing); /* {step: ms} of those that took any time */

extern const char *const session_engines[]; /* for --engine */

#endif
