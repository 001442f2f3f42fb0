/* SPDX-License-Identifier: Apache-2.0 */
/* Filling sgi_error: the first function that knows a cause does it, callers pass it on as it is.
 * `err` may be NULL everywhere; each function returns `code`, so that `return sgi__error(...)` reads well. */
#ifndef SGI_BASE_ERROR_H
#define SGI_BASE_ERROR_H

#include <sgi/sgi.h>

#define SGI_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

sgi_status sgi__error(sgi_error *err, sgi_status code, const char *format, ...) SGI_PRINTF(3, 4);

/* Adds ": <errno text>" and sets os_errno. */
sgi_status sgi__error_sys(sgi_error *err, sgi_status code, int os_errno, const char *format, ...) SGI_PRINTF(4, 5);

/* Sets driver_code. */
sgi_status sgi__error_driver(sgi_error *err, sgi_status code, int32_t driver_code, const char *format, ...)
    SGI_PRINTF(4, 5);

/* Names the step, if none is named yet; returns err->code or `code`. */
sgi_status sgi__error_step(sgi_error *err, sgi_status code, uint32_t step);

/* Puts `subject` before a message that does not begin with it. */
void sgi__error_prefix(sgi_error *err, const char *subject);
/* Likewise "model '<name>': ". */
void sgi__error_name_model(sgi_error *err, const char *name);

/* An error of ours, all fields zero and struct_size set. */
void sgi__error_init(sgi_error *err);

/* Copies `src` into a caller's error, up to the size it has. Either may be NULL. */
void sgi__error_copy(sgi_error *dst, const sgi_error *src);

/* The message of an error that may be empty: then the status text. */
const char *sgi__error_message(const sgi_error *err, sgi_status code);

#endif
