/* SPDX-License-Identifier: Apache-2.0 */
/* Stored chunks of a model, read and decoded one at a time, for those who do not load it. One thread's. */
#ifndef SGI_LOAD_CHUNK_READER_H
#define SGI_LOAD_CHUNK_READER_H

#include "codec/codec.h"
#include "model/manifest.h"

struct sgi__chunk_reader {
    const struct sgi__manifest *m;
    struct {
        int      fd; /* -1: none */
        uint32_t file;
    } open[2]; /* of the files, those that were read from last: one with an even number, one with an odd one */
    struct sgi__decoder *decoder;
    uint8_t             *stored; /* as it was read last, with what fills its last page */
};

/* SGI_E_CHANGED, SGI_E_IO, SGI_E_DENIED, SGI_E_NO_MEMORY. */
sgi_status sgi__chunk_reader_open(const struct sgi__manifest *m, struct sgi__chunk_reader **reader_out, sgi_error *err);
void       sgi__chunk_reader_close(struct sgi__chunk_reader *r); /* NULL is fine */

/* All c->bytes to `raw`. What does not match is read once more, past the cache. SGI_E_CHECK naming the chunk and what
 * it holds; SGI_E_IO. */
sgi_status sgi__chunk_read(struct sgi__chunk_reader *r, const struct sgi__stored_chunk *c, void *raw, sgi_error *err);

/* Is that what the chunk was made from? Its digest says so. SGI_E_CHECK. */
sgi_status sgi__chunk_compare(const struct sgi__manifest *m, const struct sgi__stored_chunk *c, const void *raw,
                              sgi_error *err);

/* SGI_E_CHECK: which chunk is damaged, how (the end of a sentence), and what it holds. */
sgi_status sgi__chunk_refuse(const struct sgi__manifest *m, const struct sgi__stored_chunk *c, const char *what,
                             sgi_error *err);

/* [offset, offset + bytes) of a part, however it is stored; of a plain file too. As the above, and SGI_E_CHANGED. */
sgi_status sgi__part_read(const struct sgi__manifest *m, uint32_t part, uint64_t offset, void *dst, uint64_t bytes,
                          sgi_error *err);

/* All of it from an open file. SGI_E_IO naming `path`. */
sgi_status sgi__pread_all(int fd, const char *path, void *to, size_t bytes, uint64_t offset, sgi_error *err);

#endif
