/* SPDX-License-Identifier: Apache-2.0 */
/* What a model's files contain, whatever their format: files, tensors, metadata. Built by lib/format from hostile
 * bytes, read-only afterwards and shared without a lock by everything that loads or describes the model. */
#ifndef SGI_MODEL_MANIFEST_H
#define SGI_MODEL_MANIFEST_H

#include <stdbool.h>

#include "model/packed.h"

enum {
    SGI__FILES_MAX = 4096, /* shards of one model */
    SGI__TENSORS_MAX = 1 << 20,
    SGI__NAME_BYTES_MAX = 1024,  /* of a tensor */
    SGI__METADATA_MAX = 1 << 16, /* keys of one model */
};

/* A dtype by the name its format gives it. A name the library does not know is kept as text with both numbers 0. */
struct sgi__dtype {
    const char *name;
    uint32_t    block_elements;
    uint32_t    block_bytes;
};

struct sgi__tensor {
    const char *name;  /* in the manifest's text */
    const char *dtype; /* likewise, or static */
    uint32_t    block_elements, block_bytes;
    uint32_t    file;
    uint32_t    rank;
    uint64_t    offset; /* of the first byte, in the file */
    uint64_t    bytes;
    uint64_t    shape_at; /* first dimension, in manifest.shapes */
};

/* All three texts are in the manifest's text. Of a packed model: a part of it, with the path and identity of the packed
 * file and the name of the file it was made from. */
struct sgi__file {
    const char         *path;  /* resolved; what loads open */
    const char         *asked; /* the path before symbolic links were followed; what messages name */
    const char         *name;  /* last component of `asked`, for people and JSON */
    struct sgi__file_id id;
    uint64_t            bytes;                      /* of the part; where it is a file of its own, that file's */
    uint64_t            data_offset;                /* tensors stand at or after it */
    uint64_t            alignment;                  /* and at multiples of this, where the format has one; else 0 */
    uint64_t            tensor_first, tensor_count; /* its tensors in manifest.tensors */
};

/* Typed metadata. Scalars and short strings are always kept; arrays and long strings (templates, vocabularies) only
 * where asked for, since they would cost megabytes for each registered model. */
enum sgi__value_kind {
    SGI__VALUE_U64,
    SGI__VALUE_I64,
    SGI__VALUE_F64,
    SGI__VALUE_F32,
    SGI__VALUE_BOOL,
    SGI__VALUE_TEXT,
    SGI__VALUE_ARRAY
};

struct sgi__value {
    enum sgi__value_kind kind;
    union {
        uint64_t u64;
        int64_t  i64;
        double   f64; /* F32 too: every float is a double */
        bool     boolean;
        struct {
            const char *text;
            uint64_t    bytes;
        } text; /* 0-terminated; may hold zeros and need not be UTF-8 */
        struct {
            struct sgi__value *items;
            uint64_t           count;
        } array;
    };
};

struct sgi__metadata {
    const char       *key;
    struct sgi__value value;
};

struct sgi__manifest {
    const char           *format; /* "safetensors", "gguf": static */
    struct sgi__file     *files;
    uint32_t              files_count;
    uint32_t              format_version; /* of GGUF; 0 where the format has none */
    struct sgi__tensor   *tensors;        /* by file, then by offset */
    uint64_t              tensors_count;
    uint64_t             *shapes;
    struct sgi__metadata *metadata;
    uint64_t              metadata_count;
    const char           *index; /* the path of an index of shards; NULL: none */
    struct sgi__file_id   index_id;
    struct sgi__packed   *packed;  /* in the text; NULL: parts are files */
    uint64_t             *by_name; /* tensor indices sorted by name, for the binary search */
    struct sgi__block    *text;    /* chunks of strings and values, freed together */

    uint64_t text_bytes; /* in all chunks */
    uint64_t shapes_count;
    uint64_t files_room, tensors_room, shapes_room, metadata_room; /* while it is being built */
};

struct sgi__manifest *sgi__manifest_new(void);                     /* NULL: out of memory */
void                  sgi__manifest_free(struct sgi__manifest *m); /* NULL is fine */

/* Memory that lives as long as the manifest; NULL: out of memory. */
void       *sgi__manifest_alloc(struct sgi__manifest *m, uint64_t bytes); /* aligned for any of the structs above */
const char *sgi__manifest_text(struct sgi__manifest *m, const char *text, uint64_t bytes); /* copied, 0-terminated */

/*
 * Building. Each copies its struct into the manifest and fails with SGI_E_NO_MEMORY, or with SGI_E_FORMAT at its
 * maximum above. Paths and shapes are copied; a tensor's name and dtype, and metadata, point to what lives as long as
 * the manifest.
 */
sgi_status sgi__manifest_add_file(struct sgi__manifest *m, const char *asked, const char *resolved,
                                  const struct sgi__file_id *id, uint32_t *index_out, sgi_error *err);
sgi_status sgi__manifest_add_tensor(struct sgi__manifest *m, const struct sgi__tensor *tensor, const uint64_t *shape,
                                    sgi_error *err);
sgi_status sgi__manifest_add_metadata(struct sgi__manifest *m, const char *key, const struct sgi__value *value,
                                      sgi_error *err);

/* Sorts tensors by file and offset (at one offset the empty ones first, otherwise as they were added), fills the
 * files' ranges and by_name, gives spare memory back, and checks what no format may break: names unique, tensors
 * within their files, not overlapping. An empty tensor overlaps nothing. SGI_E_FORMAT naming the tensor and the
 * file; SGI_E_NO_MEMORY. */
sgi_status sgi__manifest_finish(struct sgi__manifest *m, sgi_error *err);

bool sgi__manifest_is_packed(const struct sgi__manifest *m); /* in one file: parts are not files */

/* The files that loads open: one for each part, or those of the pack. */
struct sgi__on_disk {
    const char                *path, *asked; /* resolved, and as messages name it */
    const struct sgi__file_id *id;
};
uint32_t            sgi__manifest_disk_count(const struct sgi__manifest *m);
struct sgi__on_disk sgi__manifest_on_disk(const struct sgi__manifest *m, uint32_t index);

/* Index of the part's first tensor that ends behind the offset, which is in the part; of its end if there is none. */
uint64_t sgi__manifest_tensor_at(const struct sgi__manifest *m, uint32_t part, uint64_t offset);
/* Index of a tensor, or -1. */
int64_t sgi__manifest_find(const struct sgi__manifest *m, const char *name);

#endif
