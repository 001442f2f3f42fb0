/* SPDX-License-Identifier: Apache-2.0 */
/**
 * Packed models: one file, NAME.sgi, that holds every byte of the files it was made from, in chunks that are checked
 * and, where it gains, compressed without loss. It is registered, inspected and loaded like any model file, often
 * faster than the files it was made from. lib/format/PACK.md has its layout.
 *
 * None of this needs a runtime. Every function here works on several threads of its own while it blocks, and leaves
 * none.
 *
 * A file that is written here appears whole or not at all. Any number may write to one path: all are good, and who ends
 * last stays. A process that is killed leaves what was there before; beside it at most a hidden file .sgi-*.tmp, which
 * the next write in that folder takes away. Where a file system has no locks it stays; where each host has locks of its
 * own, a folder is to be written from one host at a time.
 */
#ifndef SGI_PACK_H
#define SGI_PACK_H

#include <sgi/sgi.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Told every now and then how far it is, and last when all of it is done and not in its place yet. What has to be read
 * twice counts twice. Returns 0 to go on, anything else to stop: the call ends with SGI_E_CANCELED, and leaves what it
 * leaves on any failure. On the thread that called, under no lock.
 */
typedef int (*sgi_progress_fn)(void *user, uint64_t done_bytes, uint64_t total_bytes);

/** How chunks are stored, for sgi_pack_options.codec. */
enum {
    SGI_PACK_AUTO = 0,  /**< each as is smallest, and as it is where that gains less than a few per cent */
    SGI_PACK_RAW = 1,   /**< as they are: checked, not compressed */
    SGI_PACK_ZSTD = 2,  /**< zstd, where it gains anything */
    SGI_PACK_PLANES = 3 /**< floats taken apart by their bytes, where it gains anything; what is no float: zstd */
};

/** Zeroed is what most want; sgi_pack_options_init() does that. */
typedef struct sgi_pack_options {
    uint32_t           struct_size;
    uint32_t           codec;       /**< SGI_PACK_* */
    uint32_t           level;       /**< of zstd, 1 (fast, the default) to 19. 0: 1 */
    uint32_t           jobs;        /**< threads, at most 256. 0: one for each core */
    const char *const *order;       /**< names of tensors to be stored, and so to be loaded, first. NULL: none */
    uint64_t           order_count;
    const char        *base;        /**< a packed model: chunks that it has are not stored again. NULL: none.
                                         To be kept as it is, under its name: beside the packed file, or in one of
                                         the folders it is registered with. Not asked for where it has none */
    const char        *checks_path; /**< checks of the sources, as in sgi_model_config. NULL: those beside them */
    const char *const *folders;     /**< where else files of the model are, as in sgi_model_config. NULL: none */
    uint32_t           folders_count;
    uint32_t           reserved0;   /**< 0 */
    sgi_progress_fn    progress;    /**< NULL: none */
    void              *user;        /**< of `progress` */
} sgi_pack_options;

/** `bytes` is sizeof(sgi_pack_options). SGI_OK · SGI_E_INVALID. Threads: any. Blocks: never. */
SGI_API sgi_status sgi_pack_options_init(sgi_pack_options *options, uint32_t bytes);

/** What became of it. */
typedef struct sgi_pack_report {
    uint32_t struct_size;
    uint32_t reserved0;
    uint64_t source_bytes; /**< of the files that were packed */
    uint64_t packed_bytes; /**< of the packed file */
    uint64_t chunks;       /**< by how they are stored: */
    uint64_t chunks_raw;
    uint64_t chunks_zstd;
    uint64_t chunks_planes;
    uint64_t twice_bytes; /**< of chunks that the model has more than once, stored once */
    uint64_t base_bytes;  /**< of chunks that are in the base */
} sgi_pack_report;

/**
 * Pack a model into one file, which appears at `path` whole or not at all, instead of a packed file that was there
 * before, or an empty one. Any other file there is refused, and stays. Where the sources have checks (sgi_digest()),
 * what is packed matches them.
 *
 * @param sources  one: a model file, a folder, an index of shards, the first of several files, as for registering; or
 *                 the safetensors files of one model, each by its path
 * @param path     of the packed file
 * @param options  NULL for defaults; read only during this call
 * @param report_out  NULL: not wanted
 * @return SGI_OK · SGI_E_IO, SGI_E_FORMAT, SGI_E_DENIED (of the source or the base) · SGI_E_CHANGED (a source changed
 *         meanwhile, or checks are of another file) · SGI_E_NOT_FOUND (a name in `order`) · SGI_E_CHECK (a source or
 *         the base is damaged) · SGI_E_UNSUPPORTED (the source is a packed file, the base has a base) ·
 *         SGI_E_CANCELED · SGI_E_INVALID · SGI_E_NO_MEMORY · SGI_E_SYSTEM
 * Threads: any. Blocks: for all of it. Memory: a few MiB a thread, whatever the model's size.
 */
SGI_API sgi_status sgi_pack(const char *const *sources, uint32_t sources_count, const char *path,
                            const sgi_pack_options *options, sgi_pack_report *report_out, sgi_error *err);

/** Tensors that an sgi_damage names at most. */
#define SGI_DAMAGE_TENSORS_MAX 8

/** A chunk that does not match its checks. Strings are valid during the call that hands it over. */
typedef struct sgi_damage {
    uint32_t    struct_size;
    uint32_t    tensors_named; /**< of `tensors` */
    const char *file;          /**< that stores it: one of the model's, or the base */
    uint64_t    chunk;         /**< its number in the model, from 0. What only the base has: its number there, and
                                    its tensors those of the base */
    uint64_t    offset;        /**< of its first byte in `file` */
    uint64_t    bytes;         /**< as it is stored there */
    uint64_t    tensors_count; /**< that it holds something of. 0: it is header only */
    const char *tensors[SGI_DAMAGE_TENSORS_MAX]; /**< names of the first of them */
} sgi_damage;

/** Receives the first bad chunk, once, on the thread that called, under no lock. */
typedef void (*sgi_damage_fn)(void *user, const sgi_damage *damage);

/** A file that is done. Strings are valid during the call that hands it over. */
typedef struct sgi_file_done {
    uint32_t    struct_size;
    uint32_t    is_base;   /**< 1: the base of the model */
    const char *path;      /**< verified; else written */
    uint64_t    bytes;     /**< of the file. What was written of checks: of the file that they are for */
    uint64_t    chunks;    /**< verified, or that there are checks for; 0 of a file that was unpacked */
    uint64_t    unchecked; /**< of them, without a check, beside files that have some */
} sgi_file_done;

/** Told of each file once it is done, on the thread that called, under no lock. */
typedef void (*sgi_file_fn)(void *user, const sgi_file_done *file);

/** Of sgi_verify(), sgi_unpack() and sgi_digest(). Zeroed is what most want; sgi_files_options_init() does that. */
typedef struct sgi_files_options {
    uint32_t           struct_size;
    uint32_t           jobs;          /**< threads, at most 256. 0: one for each core */
    const char        *checks_path;   /**< of a model's files, as in sgi_model_config. NULL: beside them. A packed file
                                           takes none: SGI_E_UNSUPPORTED */
    const char *const *folders;       /**< where else files of the model, or its base, are, as there. NULL: none */
    uint32_t           folders_count;
    uint32_t           reserved0;     /**< 0 */
    sgi_progress_fn    progress;      /**< NULL: none */
    sgi_file_fn        file;          /**< NULL: not wanted */
    sgi_damage_fn      damage;        /**< of sgi_verify(); NULL: not wanted. Not called for what is no chunk: checks
                                           that are damaged themselves, say */
    void              *user;          /**< of all three */
} sgi_files_options;

/** `bytes` is sizeof(sgi_files_options). SGI_OK · SGI_E_INVALID. Threads: any. Blocks: never. */
SGI_API sgi_status sgi_files_options_init(sgi_files_options *options, uint32_t bytes);

/**
 * Read a packed file to its last byte and compare each chunk with its checks, and its base likewise, whole, whatever
 * the model has of it; or a model's files with their checks.
 *
 * @param options  NULL for defaults; read only during this call. `file` is told of all of them at the end, if all of it
 *                 is good
 * @return SGI_OK · SGI_E_CHECK (err names the first bad chunk and what it holds; what only the base has comes last) ·
 *         SGI_E_IO, SGI_E_FORMAT, SGI_E_DENIED · SGI_E_UNSUPPORTED (there are no checks, or of a newer library) ·
 *         SGI_E_CHANGED (the base is another, the checks are of another file) · SGI_E_CANCELED · SGI_E_INVALID ·
 *         SGI_E_NO_MEMORY · SGI_E_SYSTEM
 * Threads: any. Blocks: for all of it.
 */
SGI_API sgi_status sgi_verify(const char *path, const sgi_files_options *options, sgi_error *err);

/**
 * Give back the files that a packed file was made from, byte for byte, under their names.
 *
 * Each appears whole or not at all. A file of that name is replaced, unless it is the packed file itself or its base;
 * others in the folder stay as they are.
 *
 * @param folder   where they go; it is there
 * @param options  NULL for defaults; read only during this call. `file` is told of each as it is in its place
 * @return as sgi_verify(). On failure the files that were done before stay
 * Threads: any. Blocks: for all of it.
 */
SGI_API sgi_status sgi_unpack(const char *path, const char *folder, const sgi_files_options *options, sgi_error *err);

/**
 * Write a check for each part of a model's files, beside each of them, as FILE.sgisum; or elsewhere, for a model that
 * is registered with that as its `checks_path`. Where there are checks, every load compares what it reads with them: a
 * bad chunk is read once more, past the page cache, then refused by name. They are for files of exactly this size and
 * header; a file that becomes another needs others, and is refused until then.
 *
 * @param path     a model file, a folder, an index of shards, the first of several files: as for registering
 * @param options  NULL for defaults; read only during this call. checks_path: where they go, a folder that is there,
 *                 or of a model in one file the file to write; `file` is told of each as it is in its place
 * @return SGI_OK · SGI_E_IO, SGI_E_FORMAT, SGI_E_DENIED · SGI_E_UNSUPPORTED (a packed file has its checks in it) ·
 *         SGI_E_CHANGED (a file changed meanwhile) · SGI_E_CANCELED · SGI_E_INVALID (a file is there that is none of
 *         checks, and not empty: it stays) · SGI_E_NO_MEMORY · SGI_E_SYSTEM. On failure the files that `file` was told
 *         of have new checks, and of the others stay those that were there before
 * Threads: any. Blocks: for all of it.
 */
SGI_API sgi_status sgi_digest(const char *path, const sgi_files_options *options, sgi_error *err);

#ifdef __cplusplus
}
#endif

#endif
