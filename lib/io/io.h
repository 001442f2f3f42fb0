/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading weights: one table, two engines (uring, threads), the same behaviour, one conformance suite.
 *
 * A queue belongs to one load and is used by one thread, its owner, which opened it. Requests are the owner's memory
 * and stay put from submit until they come back. An engine reads once and reports the outcome; short reads, retries,
 * and the choice between direct and cached are made above, in reader.h, the same for both.
 */
#ifndef SGI_IO_IO_H
#define SGI_IO_IO_H

#include <stdbool.h>

#include "base/fs.h"

struct sgi__io_queue; /* the engine's own */

struct sgi__io_request {
    int      fd;
    uint64_t offset;
    void    *dst;
    uint64_t bytes;
    int64_t  result; /* out: bytes read, or -errno */
    void    *user;   /* the owner's */
};

struct sgi__io_engine {
    uint32_t    abi;  /* SGI__IO_ABI; the reader refuses another */
    const char *name; /* "uring", "threads": appears in reports, keep stable */
    /* Can it work here? SGI_OK, SGI_E_UNSUPPORTED with the reason, or SGI_E_SYSTEM: not now. Leaves nothing open. */
    sgi_status (*probe)(sgi_error *err);
    /* `depth` requests may be in flight at once (1..SGI__IO_DEPTH_MAX). SGI_E_UNSUPPORTED, SGI_E_SYSTEM,
     * SGI_E_NO_MEMORY. */
    sgi_status (*open)(uint32_t depth, struct sgi__io_queue **queue_out, sgi_error *err);
    /* Takes `count` requests (in flight + count <= depth). They start now. Never fails: what cannot be started comes
     * back with -errno. */
    void (*submit)(struct sgi__io_queue *queue, struct sgi__io_request **requests, uint32_t count);
    /* Waits until at least one request has come back, or `wake` was called; returns up to `max` finished ones, in
     * the order they finished. 0 means woken, or nothing in flight. */
    uint32_t (*reap)(struct sgi__io_queue *queue, struct sgi__io_request **done, uint32_t max);
    /* From any thread while the queue is open: makes a blocked reap, or one to come, return 0. Several count as one
     * until then; finished requests do not use a wake up. */
    void (*wake)(struct sgi__io_queue *queue);
    /* Asks that reads in flight end soon: with -ECANCELED, or as they would have. They still come back through reap,
     * all of them. Says nothing about later ones. */
    void (*cancel)(struct sgi__io_queue *queue);
    /* Nothing is in flight (asserted). */
    void (*close)(struct sgi__io_queue *queue);
};

#define SGI__IO_ABI 1
enum { SGI__IO_DEPTH_MAX = 64 };

extern const struct sgi__io_engine sgi__io_threads;
/* NULL where the build has no liburing. */
const struct sgi__io_engine *sgi__io_uring(void);

/* A source file opened for weights: once through the page cache, once past it where that works. */
struct sgi__io_file {
    int                 cached_fd;
    int                 direct_fd;      /* -1: no direct reads here; `direct_refused` says why */
    uint32_t            direct_align;   /* of offset, length and address; a power of two, at least 512 */
    const char         *direct_refused; /* static text */
    struct sgi__file_id id;
};

/* O_NONBLOCK|O_CLOEXEC, regular files only; compares with `expected` (NULL: no) and answers SGI_E_CHANGED naming
 * what differs. */
sgi_status sgi__io_file_open(const char *path, const struct sgi__file_id *expected, bool want_direct,
                             struct sgi__io_file *file_out, sgi_error *err);
/* The file at the path and the open one are still the one that was expected. */
sgi_status sgi__io_file_check(const struct sgi__io_file *file, const char *path, const struct sgi__file_id *expected,
                              sgi_error *err);
/* Like open + check + close, without opening: for SOURCE_CHECKED. */
sgi_status sgi__io_path_check(const char *path, const struct sgi__file_id *expected, sgi_error *err);
bool       sgi__io_path_is(const char *path, const struct sgi__file_id *id); /* it leads to that very file */
void       sgi__io_file_close(struct sgi__io_file *file);

/* How much of [offset, offset + bytes) the page cache holds, 0..1000 per mille: cachestat, else a few random
 * RWF_NOWAIT samples. */
uint32_t sgi__io_file_cached(const struct sgi__io_file *file, uint64_t offset, uint64_t bytes);

/* Asks the page cache to forget that range, so that the next read comes from the disk. Dirty and mapped pages stay. */
void sgi__io_file_uncache(const struct sgi__io_file *file, uint64_t offset, uint64_t bytes);

/* The real file system behind base/fs.h. roots NULL: no limits. The table and the roots must outlive its use. */
struct sgi__fs_posix {
    const char *const *roots; /* resolved by the caller */
    uint32_t           roots_count;
};
struct sgi__fs sgi__fs_posix_table(const struct sgi__fs_posix *config);

#endif
