/* SPDX-License-Identifier: Apache-2.0 */
/* The packed format, PACK.md: its head and its manifest, from bytes and to bytes. What is in the chunks is for those
 * who read them. */
#ifndef SGI_FORMAT_PACK_H
#define SGI_FORMAT_PACK_H

#include <stdbool.h>

#include "base/error.h"
#include "format/source.h"
#include "model/manifest.h"
#include "model/packed.h"

#define SGI__PACK_MANIFEST_MAX (UINT64_C(1) << 30) /* bytes, unless the options of a reader say otherwise */

enum {
    SGI__PACK_HEAD_BYTES = 4096,
    SGI__PACK_MAGIC_BYTES = 8,
};

/* Whether a file that begins so is a packed one. */
bool sgi__pack_begins(const void *bytes, size_t count);

struct sgi__pack_head {
    uint64_t bytes; /* of the file */
    uint64_t manifest_at, manifest_bytes, manifest_check;
    bool     based; /* some chunks are in a base */
};

void sgi__pack_head_put(const struct sgi__pack_head *head, uint8_t *bytes);
/* SGI_E_FORMAT naming `path`; SGI_E_CHECK where the head is damaged; SGI_E_UNSUPPORTED where it asks for more than is
 * known here. */
sgi_status sgi__pack_head_take(const char *path, const uint8_t *bytes, struct sgi__pack_head *head_out, sgi_error *err);

/* A finished manifest, with all of its metadata, and how it is stored. The caller's memory, to sgi__free().
 * SGI_E_NO_MEMORY; SGI_E_FORMAT where it would have more than SGI__PACK_MANIFEST_MAX bytes. */
sgi_status sgi__pack_manifest_put(const struct sgi__manifest *m, uint64_t chunk_bytes, uint8_t **bytes_out,
                                  size_t *count_out, sgi_error *err);

/* A packed file that is open, from its first byte: the manifest finished, and m->packed. A base is looked for beside it
 * and in the folders of the parse. As sgi__format_open(); SGI_E_CHECK and SGI_E_UNSUPPORTED as above; SGI_E_CHANGED
 * where the base is not the one that it was packed against. */
sgi_status sgi__pack_read(struct sgi__source *s, sgi_error *err);

#endif
