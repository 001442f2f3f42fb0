/* SPDX-License-Identifier: Apache-2.0 */
/* Between the four files that read GGUF. */
#ifndef SGI_FORMAT_GGUF_H
#define SGI_FORMAT_GGUF_H

#include "format/names.h"
#include "format/source.h"

/* What a file says about the set of files it is one of. */
struct sgi__gguf_set {
    bool              has_no, has_count, has_tensors, has_architecture;
    uint32_t          no, count;    /* no counts from 0 */
    int64_t           tensors;      /* of all files together */
    struct sgi__value architecture; /* a text, unless it was none or too long to be kept */
};

/* One file while it is read. */
struct sgi__gguf {
    struct sgi__source     *source;
    const struct sgi__gguf *first;        /* of the set; NULL: this is the first, or the only one */
    struct sgi__names       keys;         /* all of them, also those whose values are not kept */
    uint64_t                array_items;  /* so far, with those of the files before */
    uint64_t                tensor_first; /* its tensors in the manifest begin here, until that is finished */
    uint32_t                alignment;
    uint32_t                file;
    struct sgi__gguf_set    set;
};

/* The ggml type with this number. NULL: there is none; *removed_out then names one that there was once, or is NULL. */
const struct sgi__dtype *sgi__ggml_type(uint32_t number, const char **removed_out);

/* One file added to the manifest, which is not finished by this. Takes the bytes of its header from *header_left. */
sgi_status sgi__gguf_add(struct sgi__gguf *g, uint64_t *header_left, sgi_error *err);

/* One key and its value. The manifest gets those of the first file. */
sgi_status sgi__gguf_read_pair(struct sgi__gguf *g, sgi_error *err);

/* A length and as many bytes of UTF-8, at most `bytes_max` and that less than a window; kept in the manifest. */
sgi_status sgi__gguf_read_name(struct sgi__gguf *g, const char *part, uint32_t bytes_max, const char **name_out,
                               sgi_error *err);

/* Of gguf_split.c. Notes a key about the set, whose value is of the type that `u16` or `i32` tells. */
sgi_status sgi__gguf_note_set(struct sgi__gguf *g, const char *key, const struct sgi__value *value, bool u16, bool i32,
                              sgi_error *err);

/* Once all keys are read: whether this file is what its place in the set, and its name, make of it. */
sgi_status sgi__gguf_check_set(const struct sgi__gguf *g, sgi_error *err);

/* Adds the files behind the first one, if there are such. Their headers together have `header_left` bytes at most. */
sgi_status sgi__gguf_read_others(const struct sgi__gguf *first, uint64_t header_left, sgi_error *err);

#endif
