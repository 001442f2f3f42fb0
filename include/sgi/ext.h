/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file ext.h  For those who write engines: the table a model's engine fills in, and what its callbacks may call.
 *
 * Order for one instance, each on a thread of the library, none under a lock:
 *
 *     prefix_bytes (at register) · prepare (first need, once) · prefix_fill · start · call... · stop
 *     · discard (at the end)
 *
 * `prepare`, `prefix_fill` and the reading of the weights run beside each other. A slow callback delays its
 * own model only. A callback that is out for longer than the model's hang_timeout_ms (`start`: counted from when its
 * weights are there; `call`: from its cancel, for an answer may take as long as it likes) makes the model WEDGED: its
 * memory stays where it is, its requests are refused, everything else goes on; should the callback come back after all,
 * the instance is stopped in order and the model is usable again.
 *
 * A callback that starts a process does it by posix_spawn(), or by fork and exec with nothing of the library in
 * between: the child has none of its threads, and no function of this header or of sgi.h may be called there for its
 * runtime, model, stage or call.
 */
#ifndef SGI_EXT_H
#define SGI_EXT_H

#include <sgi/sgi.h>

#ifdef __cplusplus
extern "C" {
#endif

/** One source file of a model. */
typedef struct sgi_source_file {
    const char *path;        /**< resolved; of a packed model that of the packed file */
    uint64_t    bytes;
    uint64_t    data_offset; /**< where tensor data begins; its header is what stands before */
} sgi_source_file;

/** A model as an engine sees it before there is an instance. Valid during the callback. */
typedef struct sgi_source {
    uint32_t    struct_size;
    uint32_t    files_count;
    const char *name;
    const char *format;
    const sgi_source_file *files;
    uint64_t    tensors_count;
    const void *library;     /**< the library's own, for the functions below */
} sgi_source;

/** Tensors of a source, in the file's order and by name. SGI_OK · SGI_E_NOT_FOUND · SGI_E_INVALID. */
SGI_API sgi_status sgi_source_tensor_at(const sgi_source *source, uint64_t index, sgi_tensor *tensor_out);
/** Likewise. */
SGI_API sgi_status sgi_source_tensor_find(const sgi_source *source, const char *name, sgi_tensor *tensor_out);

/**
 * Bytes of a source file, its header above all: of a packed model it has to be read so, for `path` leads to a file of
 * another kind. They are checked where there are checks.
 *
 * @param offset, bytes  within files[file].bytes
 * @return SGI_OK · SGI_E_INVALID (not within it) · SGI_E_NOT_FOUND (no such file) · SGI_E_IO, SGI_E_DENIED ·
 *         SGI_E_CHANGED · SGI_E_CHECK · SGI_E_NO_MEMORY
 * Threads: any. Blocks: for the read.
 */
SGI_API sgi_status sgi_source_read(const sgi_source *source, uint32_t file, uint64_t offset, void *dst, uint64_t bytes,
                                   sgi_error *err);

typedef struct sgi_stage sgi_stage; /**< an instance; valid from `start` to the end of `stop`, in `call` too */
typedef struct sgi_reply sgi_reply; /**< where a call's pieces go; valid during its `call` */

/**
 * The callbacks. Any of them may be NULL except `start`, `call` and `stop`, which come together. Each fills
 * `err` when it fails (err is never NULL here; sgi_error_set() helps) and returns a status: SGI_E_ENGINE, one
 * that speaks of the request (SGI_E_INVALID, _NOT_FOUND, _UNSUPPORTED), SGI_E_CANCELED when it was, or any
 * from -100 on. It is reported with the step and the model's name. Anything else is reported as SGI_E_ENGINE,
 * and stands in sgi_error.driver_code.
 */
struct sgi_engine {
    uint32_t    struct_size;
    uint32_t    reserved0;
    const char *name;
    void       *user; /**< first argument of every callback */

    /**
     * Make all that needs no weights and no device: tokenizer, graph, config. Single-flight, once per model,
     * kept while the model is cold. *bytes: host memory it holds, for the reports.
     */
    sgi_status (*prepare)(void *user, const sgi_source *source, void **prepared, uint64_t *bytes, sgi_error *err);
    /** Free what `prepare` made: at unregister, at close, on SGI_EVICT_ALL. No instance exists. */
    void (*discard)(void *user, void *prepared);

    /**
     * How many bytes to put before a part's data. Called by sgi_model_register() on its thread. The library
     * rounds up so that file data keeps its offset modulo 4096. A model whose engine has this callback runs on host
     * devices only: elsewhere there is no such image.
     */
    sgi_status (*prefix_bytes)(void *user, const sgi_source *source, uint32_t part, uint64_t *bytes, sgi_error *err);
    /** Fill exactly `bytes` bytes at `dst`. Runs beside the load, once per load from disk. */
    sgi_status (*prefix_fill)(void *user, const sgi_source *source, uint32_t part, void *dst, uint64_t bytes,
                              sgi_error *err);

    /**
     * Bring an instance up. On cuda the device's primary context is current, here and in `call` and `stop`: leave it
     * as it was. Weights may still be arriving: wait for what you need with the stage functions.
     * If the load fails those waits fail, and `start` must return; `stop` follows only a `start` that
     * returned SGI_OK.
     */
    sgi_status (*start)(void *user, void *prepared, sgi_stage *stage, void **instance, sgi_error *err);
    /**
     * One inference. On several threads at once only where the model's leases_max is above 1. Read the
     * request, emit pieces, come back soon after sgi_reply_canceled().
     */
    sgi_status (*call)(void *user, void *instance, const void *request, size_t bytes, sgi_reply *reply, sgi_error *err);
    /** Take an instance down, before its memory goes. Unmap and close all that came from the stage. */
    void (*stop)(void *user, void *instance);
};

/** Set struct_size and everything else to 0. SGI_E_INVALID if `size` cannot hold struct_size. */
SGI_API sgi_status sgi_engine_init(sgi_engine *engine, size_t size);

/** Fill an error with a message (copied, cut at 255 bytes) and return `code`. `err` may be NULL. */
SGI_API sgi_status sgi_error_set(sgi_error *err, sgi_status code, const char *message);

/** The model it is an instance of. Valid as long as the stage. */
SGI_API const sgi_source *sgi_stage_source(sgi_stage *stage);

/** The index of the device it is on. */
SGI_API int32_t sgi_stage_device(sgi_stage *stage);
/**
 * Its own stream there: a CUstream on cuda, NULL on host. When a callback has returned, what it has queued on it is
 * waited for, and what went wrong with it is taken for the callback's own failure.
 */
SGI_API void   *sgi_stage_stream(sgi_stage *stage);

/**
 * One part of the image. Waits until its prefix is filled, not until its data is there. The descriptor in it
 * belongs to the library and lives until `stop` has returned.
 *
 * @return SGI_OK · SGI_E_NOT_FOUND · SGI_E_UNSUPPORTED (on cuda there are tensors only) · what the load failed with
 */
SGI_API sgi_status sgi_stage_image(sgi_stage *stage, uint32_t part, sgi_image *image_out, sgi_error *err);

/** Wait for one tensor and say where it lies. SGI_OK · SGI_E_NOT_FOUND · what the load failed with. */
SGI_API sgi_status sgi_stage_tensor(sgi_stage *stage, uint64_t index, sgi_view *view_out, sgi_error *err);

/**
 * Where a tensor lies, waited for by the device instead of this thread: what is queued on `stream` from now on begins
 * once it is there and verified. So the first layers compute while the last ones arrive. On host as sgi_stage_tensor().
 *
 * @param stream  a CUstream of the instance's device: sgi_stage_stream(), or one of your own
 * @return SGI_OK · SGI_E_NOT_FOUND · SGI_E_INVALID · SGI_E_DEVICE · SGI_E_DEVICE_LOST · what the load failed with
 */
SGI_API sgi_status sgi_stage_tensor_on(sgi_stage *stage, uint64_t index, void *stream, sgi_view *view_out,
                                       sgi_error *err);

/** Wait until every byte is there and verified. SGI_OK · what the load failed with. */
SGI_API sgi_status sgi_stage_wait(sgi_stage *stage, sgi_error *err);

/** 1 when the start should be given up: the load failed, or nobody wants the instance any more. */
SGI_API int sgi_stage_canceled(sgi_stage *stage);

/**
 * Device memory for the instance (caches, scratch), zeroed, aligned 4096; freed by the library after `stop`.
 * It comes out of the engine_bytes reserved for the model; beyond that more is reserved, if there is room. On cuda it
 * is taken, and charged, in pieces of 2 MiB.
 *
 * @return SGI_OK · SGI_E_DEVICE_MEMORY (err has the numbers) · SGI_E_DEVICE_LOST · SGI_E_INVALID (`bytes` is 0 or
 *         absurd)
 */
SGI_API sgi_status sgi_stage_alloc(sgi_stage *stage, uint64_t bytes, void **memory_out, sgi_error *err);

/**
 * Say how many bytes the engine takes from the device by other ways than sgi_stage_alloc(). Replaces the
 * estimate in engine_bytes: beyond it the difference is reserved, and if that does not fit this fails and
 * `start` should too.
 *
 * @return SGI_OK · SGI_E_DEVICE_MEMORY (err has the numbers) · SGI_E_DEVICE_LOST · SGI_E_INVALID (`bytes` is absurd)
 */
SGI_API sgi_status sgi_stage_report_bytes(sgi_stage *stage, uint64_t bytes, sgi_error *err);

/**
 * Hand a piece of the answer over. Waits while the reader's buffer is full. An empty piece is SGI_OK and
 * nothing.
 *
 * @return SGI_OK · SGI_E_CANCELED (nobody wants more)
 */
SGI_API sgi_status sgi_reply_emit(sgi_reply *reply, const void *piece, size_t bytes);

/** 1 once the call was canceled. Cheap: made for abort callbacks in inner loops. */
SGI_API int sgi_reply_canceled(sgi_reply *reply);

#ifdef __cplusplus
}
#endif
#endif
