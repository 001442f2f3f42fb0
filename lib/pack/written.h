/* SPDX-License-Identifier: Apache-2.0 */
/* Reading what was just written as everybody will read it, before it is put in its place. */
#ifndef SGI_PACK_WRITTEN_H
#define SGI_PACK_WRITTEN_H

#include "io/output.h"

/* Parses a packed file that is all written and has no name yet; `path` is the one it is to have. `base`: where its base
 * is, whichever folder that will be looked for in; NULL: it has none. What sgi__format_open() has to say about it:
 * where that is not SGI_OK, nobody could read it. */
sgi_status sgi__pack_written(const struct sgi__io_output *output, const char *path, const char *base, sgi_error *err);

#endif
