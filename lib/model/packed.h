/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a model's parts are stored, where that is more than that each is a file: in chunks that are checked, and that may
 * be encoded. Beside the manifest: that describes the parts as they are in memory, and this where their bytes are.
 * lib/format/PACK.md is the layout of a packed file. Files with checks beside them (lib/format/SUMS.md) are stored as
 * they are, in raw chunks.
 */
#ifndef SGI_MODEL_PACKED_H
#define SGI_MODEL_PACKED_H

#include <stdbool.h>

#include "base/fs.h"

#define SGI__PACK_ALIGN        UINT64_C(4096) /* of stored chunks in their file, and of chunks in their part */
#define SGI__PACK_TENSOR_ALIGN UINT64_C(256)  /* of tensors in a part that is no exact copy */

enum {
    SGI__PACK_CHUNK_BYTES = 2 << 20,      /* usual for a chunk, and at most what is made here */
    SGI__PACK_CHUNK_BYTES_MAX = 16 << 20, /* at most */
    SGI__PACK_CHUNKS_MAX = 1 << 22,       /* of a model */
    SGI__PACK_OTHERS_MAX = 64,
    SGI__PACK_SHA256_BYTES = 32,
};

/* Files that chunks of a packed file are read from. */
enum { SGI__PACK_ITSELF, SGI__PACK_BASE, SGI__PACK_STORES };

struct sgi__stored_chunk {
    uint64_t at;                  /* in the file that stores it */
    uint64_t offset;              /* in the part */
    uint32_t stored_bytes, bytes; /* before and after decoding */
    uint32_t part;
    uint32_t file;         /* that stores it */
    uint8_t  codec, width; /* SGI__CODEC_*; bytes of an element */
    bool     unchecked;    /* nobody knows its check: of a file without any, beside others that have them */
    uint64_t check;        /* XXH3 of what is stored */
    uint64_t digest[2];    /* XXH3-128 of what it becomes, low half first: equal chunks are found by it */
};

/* Of a part: the file that was packed. */
struct sgi__packed_part {
    bool     exact;        /* the part is that file byte for byte; else its tensors are aligned */
    uint64_t source_bytes; /* of that file */
    uint64_t source_data_offset;
    uint64_t digest[2];                      /* XXH3-128 of it */
    uint8_t  sha256[SGI__PACK_SHA256_BYTES]; /* all zero: not given */
};

/* A file that goes with them and holds no tensor: an index. */
struct sgi__packed_other {
    const char *name;
    const void *content;
    uint64_t    bytes;
};

struct sgi__pack_file {
    const char         *path;  /* resolved; what loads open */
    const char         *asked; /* what messages name */
    struct sgi__file_id id;
    uint64_t            check; /* XXH3 of its manifest: names what is in it */
};

struct sgi__packed {
    bool                      plain; /* the files are the parts, with checks */
    struct sgi__pack_file    *files;
    uint32_t                  files_count; /* of a packed file 1, 2 with a base */
    const char               *base_name;   /* as the pack has it; NULL: there is none */
    struct sgi__packed_part  *parts;       /* one for each file of the manifest */
    struct sgi__packed_other *others;
    uint32_t                  others_count;
    uint64_t                 *source_offsets; /* of each tensor, in the file that was packed */
    struct sgi__stored_chunk *chunks;         /* in the order they are stored and loaded */
    uint64_t                  chunks_count;
};

/* Chunks by how they are stored. */
struct sgi__stored_summary {
    uint64_t chunks[3], bytes;           /* raw, zstd, planes; and what they become */
    uint64_t base_chunks[3], base_bytes; /* those of them that the base has */
    uint64_t unchecked;
};
void sgi__stored_summary(const struct sgi__packed *packed, struct sgi__stored_summary *summary_out);

#endif
