/* SPDX-License-Identifier: Apache-2.0 */
/* How a model is laid out to be packed: its parts, where tensors lie in them, and where they are cut into chunks. */
#ifndef SGI_PACK_LAY_H
#define SGI_PACK_LAY_H

#include "model/manifest.h"

/* A file that is packed, as it was before it became a part. */
struct sgi__pack_source {
    const char         *path, *asked;
    struct sgi__file_id id;
};

/* Makes of a finished manifest of files one of parts, cut into chunks that are not stored yet: `packed` is there, with
 * everything but places, codecs and checks. `order`: tensors whose chunks come first, by their index. sources_out: the
 * files, in the manifest's text. SGI_E_NO_MEMORY; SGI_E_FORMAT where there would be too many chunks. */
sgi_status sgi__pack_lay(struct sgi__manifest *m, const uint64_t *order, uint64_t order_count,
                         struct sgi__pack_source **sources_out, sgi_error *err);

/* Bytes of a chunk that are bytes of the file it comes from; what is between them is zero, and of no file. */
struct sgi__pack_piece {
    size_t   at, bytes; /* in the chunk */
    uint64_t source;    /* in the file */
};
struct sgi__pack_walk { /* zeroed at first */
    bool     begun;
    uint64_t tensor; /* the next */
};
/* The next piece of the chunk; false: there is none. */
bool sgi__pack_piece(const struct sgi__manifest *m, const struct sgi__stored_chunk *c, struct sgi__pack_walk *walk,
                     struct sgi__pack_piece *piece_out);

/* Bytes of an element of the floats that most of a chunk is, 0 where it is something else. */
uint32_t sgi__pack_width(const struct sgi__manifest *m, const struct sgi__stored_chunk *c);

#endif
