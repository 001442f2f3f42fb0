/* SPDX-License-Identifier: Apache-2.0 */
/* What has to be true of a packed file's manifest, beside that its bytes are those that were written. SGI_E_FORMAT
 * naming `path` and the thing, everywhere. */
#ifndef SGI_FORMAT_PACK_CHECK_H
#define SGI_FORMAT_PACK_CHECK_H

#include "format/pack.h"

enum { SGI__FILE_NAME_BYTES_MAX = 255 };

sgi_status sgi__pack_check_part(const char *path, const struct sgi__file *f, const struct sgi__packed_part *part,
                                sgi_error *err);
/* Its dtype is one of `format`; where the writer did not know it, and we do, it gets the blocks that it has. */
sgi_status sgi__pack_check_tensor(const char *path, const char *format, struct sgi__tensor *t, const uint64_t *shape,
                                  sgi_error *err);

/* Of the finished manifest: names, tensors in their parts and in the files they come from, chunks in their parts and in
 * this file, whose manifest is at `manifest_at`. SGI_E_NO_MEMORY. */
sgi_status sgi__pack_check(const char *path, const struct sgi__manifest *m, uint64_t manifest_at, sgi_error *err);

/* Fills in where the base is. SGI_E_CHANGED where it is another than the one this was packed against. */
sgi_status sgi__pack_find_base(struct sgi__source *s, struct sgi__packed *packed, sgi_error *err);

#endif
