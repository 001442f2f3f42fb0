/* SPDX-License-Identifier: Apache-2.0 */
/* Between the three files that read GGUF. */
#ifndef SGI_FORMAT_GGUF_H
#define SGI_FORMAT_GGUF_H

#include "format/names.h"
#include "format/source.h"

struct sgi__gguf {
    struct sgi__source *source;
    struct sgi__names   keys;        /* all of them, also those whose values are not kept */
    uint64_t            array_items; /* so far */
    uint32_t            alignment;
    uint32_t            file;
};

/* The ggml type with this number. NULL: there is none; *removed_out then names one that there was once, or is NULL. */
const struct sgi__dtype *sgi__ggml_type(uint32_t number, const char **removed_out);

/* One key and its value. */
sgi_status sgi__gguf_read_pair(struct sgi__gguf *g, sgi_error *err);

/* A length and as many bytes of UTF-8, at most `bytes_max` and that less than a window; kept in the manifest. */
sgi_status sgi__gguf_read_name(struct sgi__gguf *g, const char *part, uint32_t bytes_max, const char **name_out,
                               sgi_error *err);

#endif
