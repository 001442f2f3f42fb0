/* SPDX-License-Identifier: Apache-2.0 */
/* What sgi_inspect_config() says of a model, as far as commands need it. */
#ifndef SGI_CLI_DESCRIBED_H
#define SGI_CLI_DESCRIBED_H

#include <sgi/sgi.h>

#include "names.h"

struct described {
    struct names files;           /* names, without folders; of a packed model those of what was packed */
    uint64_t     chunks, checked; /* of a packed model, or one with checks, and those that have one; else 0 */
    uint64_t     base_bytes;      /* of the model, that are in its base */
    char        *base;            /* the name of that; NULL: there is none */
};

/* On SGI_OK to be freed. SGI_E_NO_MEMORY too; else as sgi_inspect_config(). */
sgi_status describe(const sgi_model_config *config, struct described *described_out, sgi_error *err);
void       described_free(struct described *described);

#endif
