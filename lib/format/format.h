/* SPDX-License-Identifier: Apache-2.0 */
/* Model files to manifest. Every byte read here is hostile: counts and offsets are checked before anything is
 * allocated or added for them, limits have names, and an error names the file and the tensor or key. Threads: any;
 * no state. */
#ifndef SGI_FORMAT_FORMAT_H
#define SGI_FORMAT_FORMAT_H

#include "model/manifest.h"

enum {
    SGI__FORMAT_METADATA = 1u << 0,  /* keep arrays and long strings too */
    SGI__FORMAT_UNCHECKED = 1u << 1, /* leave out checks that lie beside files */
    SGI__FORMAT_CHUNKS = 1u << 2     /* files are stored in chunks even where nothing has checks */
};

/* Limits beside those of the manifest. */
enum {
    SGI__SAFETENSORS_HEADER_MAX = 16 << 20, /* bytes, unless the options say otherwise; of an index too */
    SGI__GGUF_HEADER_MAX = 256 << 20,       /* of all files of a split model together */
    SGI__SHORT_TEXT_MAX = 1024,             /* bytes of a metadata string that is kept without SGI__FORMAT_METADATA */
    SGI__KEY_BYTES_MAX = 65535,             /* of a metadata key: GGUF's own limit */
    SGI__DTYPE_BYTES_MAX = 64,              /* of a dtype's name */
    SGI__ENTRY_BYTES_MAX = 64 << 10,        /* of what a safetensors header says about one tensor */
    SGI__JSON_DEPTH_MAX = 16,
    SGI__ARRAY_ITEMS_MAX = 8 << 20, /* in all metadata arrays of one model */
    SGI__GGUF_RANK_MAX = 4,         /* ggml's own limit */
    SGI__FOLDER_NAMES_MAX = 1 << 16,
    SGI__FOLDERS_MAX = 64 /* of the options */
};

struct sgi__format_options {
    uint32_t flags;
    uint64_t header_bytes_max; /* 0: 16 MiB for safetensors, 256 MiB for GGUF, 1 GiB for a packed file */

    /* Where the files that an index or a split model's first file leads to may be too, beside those. */
    const char *const *folders;
    uint32_t           folders_count;

    /* Where checks of the files are: a folder, or of a model in one file that of its checks. NULL: beside the files. */
    const char *checks_path;
};

/*
 * Open what stands at `path`: a .safetensors file, a .gguf file, the first of several .gguf files, a
 * *.safetensors.index.json, a packed .sgi file, or a folder that holds exactly one of: an index, one .safetensors file,
 * a complete set of x-00001-of-0000N.safetensors, one .gguf file, a complete set of x-00001-of-0000N.gguf, one .sgi
 * file; tried in this order. Files are told by their first bytes, not their names.
 *
 * Sharded safetensors: every tensor of the index must be in the shard it names. A shard's tensors that the index does
 * not name belong to the model too, as for every loader that reads whole shards. The metadata are those of all shards;
 * where two give one key, the first shard (by name) counts. The index's own "metadata" (a total size, often wrong) are
 * not used.
 *
 * Split GGUF: as llama.cpp has it, the first file leads to the others; another one is refused with the first's name.
 * The metadata are those of the first file, and all that is said about the set has to be true: see gguf_split.c.
 *
 * With folders, each such file has to be in exactly one of them and the one of the index or first file: it would be a
 * matter of luck which of two is the model. They play no part for models of another kind.
 *
 * On failure `err` names the path; the status is the fs's own, SGI_E_FORMAT, SGI_E_NO_MEMORY, or SGI_E_INVALID for
 * folders that are NULL, without a name or more than SGI__FOLDERS_MAX, and a checks_path that is no name or one file
 * for several. Of checks: those of sgi__sums_read(). SGI_E_UNSUPPORTED for a checks_path of a packed file.
 */
sgi_status sgi__format_open(const struct sgi__fs *fs, const char *path, const struct sgi__format_options *options,
                            struct sgi__manifest **manifest_out, sgi_error *err);

/* The safetensors files of one model, each by its path; one path is as above. The metadata are those of all files;
 * where two give one key, the first file counts. SGI_E_FORMAT where they are of another kind or two have one name;
 * SGI_E_INVALID for none, or a path that is missing. */
sgi_status sgi__format_open_several(const struct sgi__fs *fs, const char *const *paths, uint32_t paths_count,
                                    const struct sgi__format_options *options, struct sgi__manifest **manifest_out,
                                    sgi_error *err);

/*
 * The manifest as the JSON object, or the text, that sgi_inspect() promises.
 *
 * The JSON is always valid UTF-8: bytes that are none become U+FFFD. Numbers read back as what the file holds: a float
 * with as many digits as tell it from its neighbours, always with a point or an exponent. NaN and the infinities, for
 * which JSON has no number, are the strings "NaN", "Infinity" and "-Infinity". No memory is allocated. SGI_E_CANCELED
 * if `write` stopped it.
 */
sgi_status sgi__format_write_json(const struct sgi__manifest *m, sgi_write_fn write, void *user, sgi_error *err);
sgi_status sgi__format_write_text(const struct sgi__manifest *m, sgi_write_fn write, void *user, sgi_error *err);

#endif
