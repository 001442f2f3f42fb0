/* SPDX-License-Identifier: Apache-2.0 */
/* Text on its way to a sgi_write_fn, gathered to pieces of a few KiB. After the first refusal nothing more is passed
 * on. */
#ifndef SGI_FORMAT_OUTPUT_H
#define SGI_FORMAT_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct sgi__output {
    sgi_write_fn write;
    void        *user;
    bool         stopped;
    size_t       used;
    char         buffer[4096];
};

void sgi__output_begin(struct sgi__output *o, sgi_write_fn write, void *user);
void sgi__output_text(struct sgi__output *o, const char *text);
void sgi__output_bytes(struct sgi__output *o, const char *text, size_t bytes);
void sgi__output_u64(struct sgi__output *o, uint64_t value);
void sgi__output_i64(struct sgi__output *o, int64_t value);

/* One of the shortest forms that reads back as the same double. Always with a point or an exponent, whatever the
 * locale. `value` is finite. */
void sgi__output_number(struct sgi__output *o, double value);

/* Everything passed on, or SGI_E_CANCELED. */
sgi_status sgi__output_end(struct sgi__output *o, sgi_error *err);

#endif
