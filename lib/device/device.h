/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A device: one table over what instances need of it. `host` and `cuda` are behind it; who uses one asks `unified` and
 * otherwise need not know which it has.
 *
 * Ops may be called from any thread, under no lock of ours, and may block for as long as a driver does. Those on one
 * stream are never concurrent; those on different streams may be. Where an op says [inside], the context is open and
 * the device current on the thread: between enter and leave.
 *
 * What fails fills err with the driver's code. SGI_E_DEVICE_LOST means that nothing works any more on it, nor on
 * another device of its kind in this process; giving back has to be called all the same, and waits for nothing.
 */
#ifndef SGI_DEVICE_DEVICE_H
#define SGI_DEVICE_DEVICE_H

#include <stdbool.h>

#include <sgi/sgi.h>

struct sgi__stream; /* opaque: what is queued on it is done in order */
struct sgi__mark;   /* opaque: a point in a stream, reached or not yet */

/* Of its memory, as the driver has it for all processes together. total 0: it does not say. */
struct sgi__device_room {
    uint64_t free, total;
};

/* Memory under one range of addresses: made in one piece, grows at its end, goes as a whole. */
struct sgi__arena {
    uint64_t base;     /* address on the device */
    uint64_t bytes;    /* that are there */
    uint64_t reserved; /* of addresses */
    bool     shared;   /* the others that were named may read what was there when it was mapped first */
};

/* What was so on a thread. */
struct sgi__device_scope {
    void    *before; /* current */
    uint32_t mode;   /* what it may do while somebody captures */
};

struct sgi__device {
    const struct sgi__device_ops *ops;
    char                          name[32];   /* "cuda:0" */
    uint64_t                      bytes;      /* of its memory; 0: there is nobody to say */
    uint64_t                      page_bytes; /* what arenas are made of, and grow by */
};

struct sgi__device_ops {
    uint32_t    abi; /* SGI__DEVICE_ABI; a mismatch is refused */
    const char *kind;
    bool        unified; /* an image in host memory is memory of it: nothing is copied */
    bool        zeroed;  /* what an arena is made of and grows by reads as zeros */

    void (*close)(struct sgi__device *d); /* its context is closed; NULL is a no-op */
    struct sgi__device_room (*room)(struct sgi__device *d);
    bool (*others)(
        struct sgi__device *d); /* somebody else in this process has its context too, as far as can be seen */

    /* One of the two at a time. close: nothing is held that needs it but pins, which end with it. Returns what the
     * driver still has for this process, in bytes; 0 also where it does not tell. */
    sgi_status (*context_open)(struct sgi__device *d, sgi_error *err);
    uint64_t (*context_close)(struct sgi__device *d);

    /* new: takes the memory; needs no context. SGI_E_DEVICE_MEMORY: nothing was taken. map: from then on it can be
     * used [inside]. grow: new and map for more at its end [inside]. free: no copy to or from it is on its way;
     * returns the bytes that the driver did not take back. */
    sgi_status (*arena_new)(struct sgi__device *d, uint64_t bytes, uint64_t reserve_bytes,
                            struct sgi__arena **arena_out, sgi_error *err);
    sgi_status (*arena_map)(struct sgi__device *d, struct sgi__arena *arena, sgi_error *err);
    sgi_status (*arena_grow)(struct sgi__device *d, struct sgi__arena *arena, uint64_t bytes, sgi_error *err);
    uint64_t (*arena_free)(struct sgi__device *d, struct sgi__arena *arena, sgi_error *err); /* NULL is a no-op */

    /* Who else may be given copies of what is on it: named once, before there is an arena. reaches: such copies can be
     * queued on `d`, from a shared arena of the other. */
    void (*share_with)(struct sgi__device *d, struct sgi__device *const *others, uint32_t count);
    bool (*reaches)(const struct sgi__device *d, const struct sgi__device *other);

    /* Makes it current on this thread, and then what was current before. They nest. leave: SGI_E_ENGINE when what ran
     * between the two left something else current; it is put right all the same. */
    sgi_status (*enter)(struct sgi__device *d, struct sgi__device_scope *scope, sgi_error *err);
    sgi_status (*leave)(struct sgi__device *d, const struct sgi__device_scope *scope, sgi_error *err);
    /* Of an error with SGI_E_DEVICE_LOST: it is this device alone that is lost, for its context has been taken away. */
    bool (*lost_alone)(const struct sgi__device *d, const sgi_error *err);
    /* [inside] What runs until leave is somebody else's: but for what is current, the thread is as it was before. */
    void (*lend)(struct sgi__device *d, const struct sgi__device_scope *scope);

    sgi_status (*stream_new)(struct sgi__device *d, struct sgi__stream **stream_out, sgi_error *err); /* [inside] */
    void (*stream_free)(struct sgi__device *d, struct sgi__stream *stream); /* [inside]; NULL is a no-op */
    void *(*stream_native)(struct sgi__stream *stream);                     /* an engine's: CUstream, NULL on host */
    /* Until all that is queued is done, and what went wrong with any of it [inside]. */
    sgi_status (*stream_wait)(struct sgi__device *d, struct sgi__stream *stream, sgi_error *err);

    /* Queued [inside]. Memory of the host that is pinned stays as it is, that of the device is left alone, until a mark
     * set after it has been reached. What is not pinned is slower: copy_in has taken it when it returns. */
    sgi_status (*copy_in)(struct sgi__device *d, struct sgi__stream *stream, uint64_t dst, const void *src,
                          uint64_t bytes, sgi_error *err);
    sgi_status (*copy_out)(struct sgi__device *d, struct sgi__stream *stream, void *dst, uint64_t src, uint64_t bytes,
                           sgi_error *err);
    sgi_status (*copy_over)(struct sgi__device *d, struct sgi__stream *stream, uint64_t dst, uint64_t src,
                            uint64_t bytes, sgi_error *err); /* from another that it reaches, or its own */
    sgi_status (*zero)(struct sgi__device *d, struct sgi__stream *stream, uint64_t dst, uint64_t bytes, sgi_error *err);

    sgi_status (*mark_new)(struct sgi__device *d, struct sgi__mark **mark_out, sgi_error *err); /* [inside] */
    void (*mark_free)(struct sgi__device *d, struct sgi__mark *mark); /* [inside]; NULL is a no-op */
    sgi_status (*mark_set)(struct sgi__device *d, struct sgi__mark *mark, struct sgi__stream *stream,
                           sgi_error *err); /* [inside] */
    sgi_status (*mark_reached)(struct sgi__device *d, struct sgi__mark *mark,
                               sgi_error *err); /* SGI_E_WOULD_BLOCK: not yet [inside] */
    sgi_status (*mark_wait)(struct sgi__device *d, struct sgi__mark *mark, sgi_error *err); /* [inside] */
    /* What is queued from now on on a stream, ours or an engine's, begins once the mark is reached [inside]. */
    sgi_status (*mark_order)(struct sgi__device *d, struct sgi__mark *mark, void *native_stream, sgi_error *err);

    /* Whole pages of host memory that copies may be queued of [inside]. unpin [inside]: nothing is on its way from
     * there; no-op for what is not pinned (any more). */
    sgi_status (*pin)(struct sgi__device *d, void *at, uint64_t bytes, sgi_error *err);
    void (*unpin)(struct sgi__device *d, void *at);
};

#define SGI__DEVICE_ABI 3

/* `ordinal` is the number in "host:0", "cuda:0". SGI_E_UNSUPPORTED with the reason; SGI_E_NOT_FOUND: there is no such
 * device; SGI_E_NO_MEMORY. No context is opened. */
sgi_status sgi__device_host(uint32_t ordinal, struct sgi__device **device_out, sgi_error *err);
sgi_status sgi__device_cuda(uint32_t ordinal, struct sgi__device **device_out, sgi_error *err);

#endif
