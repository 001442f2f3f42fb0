/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers in a packed file's manifest that its reader and its writer share. */
#ifndef SGI_FORMAT_PACK_LAYOUT_H
#define SGI_FORMAT_PACK_LAYOUT_H

enum sgi__pack_section {
    SGI__PACK_MODEL = 1,
    SGI__PACK_PARTS,
    SGI__PACK_TENSORS,
    SGI__PACK_METADATA,
    SGI__PACK_OTHERS,
    SGI__PACK_BASED,
    SGI__PACK_CHUNKS,
};

enum { SGI__PACK_REQUIRED = 1 }; /* of a section */

/* Bytes that one of them takes at least: how many there may be is known before anything is allocated for them. */
enum {
    SGI__PACK_PART_BYTES_MIN = 4 + 4 + 5 * 8 + 16 + 32,
    SGI__PACK_TENSOR_BYTES_MIN = 4 + 4 + 4 * 4 + 3 * 8,
    SGI__PACK_PAIR_BYTES_MIN = 4 + 1 + 1,
    SGI__PACK_OTHER_BYTES_MIN = 4 + 8,
    SGI__PACK_CHUNK_RECORD_BYTES = 2 * 8 + 3 * 4 + 4 + 8 + 16,
};

#endif
