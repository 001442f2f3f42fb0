/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file sgi.h  Host many models on few devices; hold nothing for a model nobody is calling.
 *
 * The whole of it in eight lines (examples/quickstart is the same with its error checks):
 *
 *     sgi_runtime_open(NULL, &rt, &err);
 *     sgi_model_config_init(&mc, sizeof mc);
 *     mc.name = "embedder";  mc.path = "model.safetensors";
 *     sgi_model_register(rt, &mc, &model, &err);               // reads the header, holds nothing else
 *     sgi_model_acquire_wait(rt, model, NULL, &lease, &err);   // loads it if it is not loaded
 *     sgi_lease_tensor(rt, lease, 0, &view, &err);             // use the weights
 *     sgi_lease_release(rt, lease);                            // the idle timer starts here
 *     sgi_runtime_close(rt, 1000, &err);
 *
 * Conventions, true for every function unless it says otherwise:
 *
 *  - *Handles.* The runtime is the only pointer. Models, leases, tickets and calls are 64-bit ids that are
 *    never used again: a late, double or foreign id gives SGI_E_STALE. 0 is never a valid id.
 *  - *Threads.* Any function may be called from any thread, several at once. sgi_runtime_close() must be the
 *    last call on its runtime once it has returned SGI_OK.
 *  - *Blocking.* "Blocks: never" means microseconds: a lock that is held for short sections only. From a
 *    thread of the library (an engine callback, a `done` callback) the functions that wait for the library
 *    return SGI_E_DEADLOCK rather than wait for themselves, even where they would not have to:
 *    sgi_runtime_close(), sgi_model_unregister(), sgi_model_acquire_wait(), sgi_ticket_wait(),
 *    sgi_lease_tensor_wait(), sgi_lease_tensor_on(), sgi_lease_tensor_digest(), sgi_lease_tensor_read(),
 *    sgi_lease_call() and sgi_call_wait().
 *  - *Signals.* Threads of the library block all signals: your handlers run on your threads.
 *  - *Fork.* A runtime belongs to the process that opened it. In a forked child its threads are gone and its locks may
 *    be held for ever: call nothing there with it or its ids, not even sgi_runtime_close(), and leave its eventfds
 *    alone. The child may exec (the library's descriptors are all close-on-exec) or leave by _exit(). It may open
 *    runtimes of its own where the parent had none open when it forked: a server of several processes forks first.
 *    CUDA goes with no fork at all: the child of a process that has opened a cuda device, or has asked
 *    sgi_feature_at() for it, can use host devices only.
 *    While the child lives on, what the parent writes into image memory that was there at the fork is copied first.
 *  - *Structs* begin with `struct_size`. Input structs are set up by their init function, which takes the
 *    caller's sizeof; output structs have `struct_size` set by the caller before the call (0 is refused) and
 *    are filled up to that size. Zero in a field means its default. Callers may be newer than the library: of an
 *    output that is larger than the library's own the rest becomes 0; an input that is larger is taken as long as
 *    the rest is 0, and refused otherwise, for it asks for what this library cannot do.
 *  - *SGI_E_INVALID* for a NULL where none is allowed, or a struct_size that is not set, goes without saying; it
 *    is listed where there is more to it. So does SGI_E_NO_MEMORY for what returns an `err`.
 *  - *Outputs* are written only on success. Strings in output structs belong to the library; each struct says
 *    how long they live.
 *  - *Errors.* `err` may be NULL. When given, it says what happened, at which step, with the operating
 *    system's and the driver's own codes; a function without it has nothing to say beyond its status. Start it
 *    as `sgi_error err = SGI_ERROR_INIT;` (a struct_size of 0 counts as that of version 0.1). On SGI_OK it is
 *    left as it was. No thread-local state.
 *  - *CUDA devices* are numbered as CUDA_VISIBLE_DEVICES leaves them. Views hold addresses of the device, on which the
 *    host faults; there is no image (sgi_lease_image(), SGI_IMAGE_FD and prefixes are SGI_E_UNSUPPORTED), and models
 *    are charged in the driver's pages of 2 MiB. The context is the primary one, which other libraries in the process
 *    share: ours is a reference, taken for the first model and given up `context_linger_ms` after the last; nobody's
 *    context is ever reset. Check values are compared with what was read, before it is copied to the device;
 *    sgi_lease_tensor_digest() is of what lies there. Memory that other processes have taken is seen when a model
 *    comes or leaves; what they take in between is no wait but SGI_E_DEVICE_MEMORY, with the numbers.
 *    A fault that the driver goes on reporting (a kernel that read where nothing is) loses all cuda devices of the
 *    process: their leases are good for release only, requests get SGI_E_DEVICE_LOST with the cause, and only another
 *    process can use them again; memory and context go when this one ends. If somebody resets a device, that one alone
 *    is lost. Host devices go on. A call of the driver that does not come back has no limit of its own: a request's
 *    deadline and the timeout of sgi_runtime_close() end the waiting, not the call.
 *  - *Units.* `_ms`, `_ns`, `_bytes` end a name. Times are CLOCK_MONOTONIC. GiB are 2^30.
 */
#ifndef SGI_SGI_H
#define SGI_SGI_H

#include <stddef.h>
#include <stdint.h>

#include <sgi/status.h>
#include <sgi/version.h>

#if defined(SGI_STATIC)
#define SGI_API
#else
#define SGI_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sgi_runtime sgi_runtime; /**< devices, budgets, threads, registry; several per process share nothing */
typedef uint64_t sgi_model;             /**< a registered model */
typedef uint64_t sgi_lease;             /**< the right to use a loaded model until released */
typedef uint64_t sgi_ticket;            /**< an asynchronous request on its way */
typedef uint64_t sgi_call;              /**< one inference on a lease */

/** What went wrong. Filled by the first place that knows the cause. */
typedef struct sgi_error {
    uint32_t   struct_size;
    sgi_status code;
    int32_t    os_errno;       /**< errno, or 0 */
    int32_t    driver_code;    /**< the device driver's own code, or 0 */
    uint32_t   step;           /**< enum sgi_step: where in a cold start; SGI_STEP_NONE outside one */
    uint32_t   retry_after_ms; /**< when trying again can help: in how long; else 0 */
    char       message[256];   /**< one sentence in UTF-8 naming the thing, always terminated */
} sgi_error;

#define SGI_ERROR_INIT { (uint32_t)sizeof(sgi_error), 0, 0, 0, 0, 0, { 0 } }

/* ------------------------------------------------------------------ library */

/** The version of the library that is running, in the form of SGI_VERSION. Threads: any. Blocks: never. */
SGI_API uint32_t sgi_version(void);

/** "SGI_E_STALE" for -2; "SGI_E_?" for a number that is no status. The string is static. */
SGI_API const char *sgi_status_name(sgi_status status);

/** A sentence for a status, without a full stop. The string is static. */
SGI_API const char *sgi_status_text(sgi_status status);

/** "read" for SGI_STEP_READ; "?" for a number that is no step. The string is static. */
SGI_API const char *sgi_step_name(uint32_t step);

/** Something the library can use where it runs, or the reason why it cannot. */
typedef struct sgi_feature {
    uint32_t struct_size;
    uint32_t usable;      /**< 1 or 0 */
    char     name[32];    /**< "io_uring", "huge_pages", "hugetlb", "cuda", ... stable, for scripts */
    char     detail[192]; /**< what was found, or why it is not usable */
} sgi_feature;

/**
 * Probe one feature on this machine, now. Nothing is cached and nothing stays open; but asking for "cuda" loads and
 * initialises the driver where there is one, which may take seconds and stays so until the process ends.
 *
 * @param index  0, 1, ... until SGI_E_NOT_FOUND
 * @return SGI_OK · SGI_E_NOT_FOUND (past the last) · SGI_E_INVALID
 * Threads: any. Blocks: for the probe, milliseconds.
 */
SGI_API sgi_status sgi_feature_at(uint32_t index, sgi_feature *feature_out);

/** Receives text piece by piece; returns 0 to go on, anything else to stop. */
typedef int (*sgi_write_fn)(void *user, const char *text, size_t bytes);

/** Flags for sgi_inspect() and sgi_inspect_config(). */
enum {
    SGI_INSPECT_JSON = 0,      /**< one JSON object: format, files, tensors, metadata */
    SGI_INSPECT_TEXT = 1u << 0 /**< for people: a summary and a table of the tensors */
};

/**
 * Describe a model file (or a folder, an index of shards, the first of several files) without registering it.
 *
 * The JSON has `format`, `files`, `tensors` ([{name, dtype, shape, file, offset, bytes}], offset within its
 * file) and `metadata`, with names and shape order as the format's own Python reader gives them. A packed model has
 * `packed` too ({bytes, chunks, planes, zstd, raw, base, base_bytes}), files with checks beside them `checks` ({chunks,
 * checked}).
 *
 * @return SGI_OK · SGI_E_IO · SGI_E_FORMAT · SGI_E_DENIED (access was refused) · SGI_E_CANCELED (`write` stopped
 *         it) · SGI_E_INVALID (unknown flags)
 * Threads: any. Blocks: reads the headers.
 */
SGI_API sgi_status sgi_inspect(const char *path, uint32_t flags, sgi_write_fn write, void *user, sgi_error *err);

/** Severities of log records. */
enum { SGI_LOG_ERROR = 1, SGI_LOG_WARN = 2, SGI_LOG_INFO = 3, SGI_LOG_DEBUG = 4 };

/** Receives one log record: a single line without newline. Called on any thread, never under a lock. */
typedef void (*sgi_log_fn)(void *user, uint32_t severity, const char *text);

/**
 * Set where log records of the whole process go. NULL, the default, drops them.
 *
 * This is the one process-wide setting. Set it before the first runtime is opened; a change while others log
 * is safe, but a record being delivered may still reach the old sink. Threads: any. Blocks: never.
 */
SGI_API void sgi_log_set_sink(sgi_log_fn sink, void *user, uint32_t severity_max);

/* ------------------------------------------------------------------ runtime */

/** Idle times with a meaning of their own, for every `idle_timeout_ms` field. */
#define SGI_IDLE_DEFAULT 0u         /**< as the next larger scope says; 10 s in the end */
#define SGI_IDLE_NOW     0xfffffffeu /**< leave the device at the last release; host memory follows the DRAM budget */
#define SGI_IDLE_NEVER   0xffffffffu /**< stay until evicted */

/** For every `timeout_ms` and `deadline_ms`: wait as long as it takes. */
#define SGI_FOREVER 0u
/** For budgets: none at all, where 0 would mean the default. */
#define SGI_NONE UINT64_MAX

/** How model files are read. */
enum {
    SGI_IO_AUTO = 0,   /**< io_uring where it works, else threads; threads for files that are in the page cache */
    SGI_IO_URING = 1,  /**< io_uring; opening the runtime fails with the reason where it does not work */
    SGI_IO_THREADS = 2 /**< a few reading threads */
};

/** One device of a runtime. */
typedef struct sgi_device_config {
    uint32_t    struct_size;
    uint32_t    reserved0;
    const char *name;      /**< "host:0" to "host:999", "cuda:0" to "cuda:999": no leading zeros; "host" is short for
                                "host:0", "cuda" for "cuda:0" */
    uint64_t    bytes_max; /**< what models may take there. 0: half of RAM, shared evenly by the host devices; of a cuda
                                device all but a sixteenth, at most 1 GiB, for contexts and others */
} sgi_device_config;

/**
 * What a runtime is opened with.
 *
 * Models that no device uses stay in host memory, up to dram_bytes_max, until others need the room: there is no time
 * limit on them. Who saves least goes first: the time that a start from there saves, by how often there is one or a
 * prefetch (of those of a day before half count), by the bytes. For one that shares half of its bytes or more with
 * what is packed the unpacked go first, where that is enough. Memory of freed images is kept for the next load up to
 * spare_bytes_max, which counts inside the DRAM budget. With pressure_stall_ms a second sleeping thread listens to
 * the kernel (PSI: of this process's control group, or else of the machine). Each time it says that threads waited
 * for memory for so long, a quarter of what is there goes, pins aside, and spare memory all of it; in the next
 * minute and a half that may come back, an eighth of the budget every ten seconds.
 *
 * read_bytes_per_s_max leaves some of a disk to others. Every byte of a model's files counts, from the page cache too,
 * and again when it is read again. In any t seconds no more is read than the limit allows in t, 50 ms' worth for a
 * pause before, and one read. Reads are made smaller for that, down to 50 ms' worth or 4096 bytes, whichever is more:
 * n bytes take at least what n less one such read takes at the limit, less 50 ms. So the first 4096 bytes are not held
 * back at all. Requests of a higher priority are served first, but every eighth read goes to whoever has waited
 * longest, so each load goes on.
 *
 * A request that waits for room, or for one of the loads_max loads, may be passed by smaller models and by more
 * urgent requests for starve_ms, then no longer: those who have waited so long go first, the oldest of them before
 * all. A model that fails again and again is tried every backoff_ms, doubling up to backoff_max_ms; where only one of
 * the two is given, the other's default gives way to it. An engine
 * callback that is out for longer than hang_timeout_ms makes its model WEDGED (see ext.h).
 */
typedef struct sgi_runtime_config {
    uint32_t struct_size;
    uint32_t io_engine;         /**< SGI_IO_AUTO, ... */
    const sgi_device_config *devices; /**< NULL: one "host" */
    uint32_t devices_count;     /**< at most 16 */
    uint32_t idle_timeout_ms;   /**< default for models. SGI_IDLE_DEFAULT: 10 s */
    uint64_t dram_bytes_max;    /**< 0: a quarter of RAM; SGI_NONE: none */
    uint64_t spare_bytes_max;   /**< 0: none */
    uint32_t context_linger_ms; /**< a context stays open so long without instances. 0: 1 s; SGI_IDLE_NOW: not at all */
    uint32_t requests_max;      /**< acquires and prefetches waiting; past it SGI_E_BUSY. 0: 1024; at most 1048576 */
    uint32_t calls_max;         /**< calls open at once. 0: 256; at most 4096 */
    uint32_t loads_max;         /**< loads running at once. 0: 4; at most 256 */
    uint32_t starve_ms;         /**< 0: 5 s */
    uint32_t backoff_ms;        /**< 0: 100 ms, or backoff_max_ms where that is less */
    uint32_t backoff_max_ms;    /**< 0: 10 s, or backoff_ms where that is more. Less than that is refused */
    uint32_t hang_timeout_ms;   /**< 0: 60 s; SGI_IDLE_NEVER: no limit */
    uint32_t read_block_bytes;  /**< size of one read; of packed files, and of files with checks beside, it is a chunk.
                                     0: 2 MiB; a multiple of 4096 up to 64 MiB. Less at a low limit, for those too */
    uint32_t read_depth;        /**< reads in flight per load; at most 64. 0: 8, and up to 32 while that is faster */
    uint32_t allowed_roots_count; /**< at most 1024 */
    uint32_t reserved0;
    const char *const *allowed_roots; /**< if given: the resolved path of every file of a model, and of its checks, must
                                           be under one of these */
    uint64_t read_bytes_per_s_max; /**< what all loads together may read in a second. 0: no limit */
    uint32_t pressure_stall_ms;    /**< of 2 s; at most 2000. 0: nobody listens */
    uint32_t reserved1;
} sgi_runtime_config;

/** Set every field to 0 (its default) and struct_size to `size`. SGI_E_INVALID if `size` cannot hold struct_size. */
SGI_API sgi_status sgi_runtime_config_init(sgi_runtime_config *config, size_t size);
/** Likewise. */
SGI_API sgi_status sgi_device_config_init(sgi_device_config *config, size_t size);

/**
 * Open a runtime: one sleeping thread (two with pressure_stall_ms), no device context, no memory worth counting.
 *
 * @param config  NULL for defaults; copied
 * @return SGI_OK · SGI_E_INVALID (err names the field) ·
 *         SGI_E_UNSUPPORTED (a device or reader that is not usable here, or nobody tells of memory pressure; err says
 *         why) ·
 *         SGI_E_NOT_FOUND (a device of that number) · SGI_E_NO_MEMORY · SGI_E_SYSTEM
 * Threads: any. Blocks: for probes, milliseconds; the first with a cuda device also for cuInit().
 */
SGI_API sgi_status sgi_runtime_open(const sgi_runtime_config *config, sgi_runtime **rt_out, sgi_error *err);

/**
 * The first half of closing: refuse new requests, end waiting ones with SGI_E_CLOSED, give back what nobody
 * uses. Nothing is freed that anybody may still ask about: leases go on working, with new calls, until they
 * are released. There is no way back.
 *
 * @return SGI_OK · SGI_E_INVALID
 * Threads: any. Blocks: never.
 */
SGI_API sgi_status sgi_runtime_drain(sgi_runtime *rt);

/**
 * Close a runtime: refuse new requests, end waiting ones with SGI_E_CLOSED, wait until leases are released
 * and calls have ended, give everything back, free the runtime.
 *
 * On SGI_OK `stop` and `discard` have been called for everything there was, and every `done` callback has
 * returned. Completions not yet read are lost, and the completion fd is closed. A lease in one of them is held like any
 * other: read them first. On SGI_E_TIMEOUT nothing in
 * use was freed, and err names who holds what (the first holders, and how many). The runtime goes on refusing
 * new requests; call this again.
 *
 * Calls that other threads are in when it begins are waited for; no call may begin once it may have
 * succeeded. Where threads cannot know that, call sgi_runtime_drain() first, let them see SGI_E_CLOSED, join
 * them, then close.
 *
 * @param timeout_ms  SGI_FOREVER, which is 0: until everybody let go
 * @return SGI_OK · SGI_E_TIMEOUT · SGI_E_DEADLOCK · SGI_E_BUSY (another thread is closing it)
 * Threads: any. Blocks: up to `timeout_ms`.
 */
SGI_API sgi_status sgi_runtime_close(sgi_runtime *rt, uint32_t timeout_ms, sgi_error *err);

/** What the runtime holds right now. Reading it touches no idle timer. */
typedef struct sgi_runtime_info {
    uint32_t struct_size;
    uint32_t devices_count;
    uint32_t models_count;
    uint32_t requests_waiting;
    uint32_t leases_count;
    uint32_t calls_count;       /**< open, and those given up whose engine has not come back */
    uint32_t loads_running;
    uint32_t threads_count;     /**< of this runtime, its one sleeping thread included */
    uint64_t device_bytes;      /**< over all devices */
    uint64_t dram_bytes;        /**< models kept in host memory, spare included */
    uint64_t dram_bytes_max;
    uint64_t spare_bytes;       /**< of dram_bytes: freed memory kept for the next load */
    uint64_t prepared_bytes;    /**< as reported by engines' prepare; host memory */
    char     io_engine[16];     /**< "uring" or "threads" */
    uint64_t dram_shared_bytes; /**< saved in host memory: what models kept packed there have in common is there once */
} sgi_runtime_info;

/** SGI_OK · SGI_E_INVALID. Threads: any. Blocks: never. */
SGI_API sgi_status sgi_runtime_query(sgi_runtime *rt, sgi_runtime_info *info_out);

/** Whose context is open on a device. */
enum {
    SGI_CONTEXT_NONE = 0,
    SGI_CONTEXT_OURS = 1,
    SGI_CONTEXT_SHARED = 2, /**< ours and somebody else's in this process */
    SGI_CONTEXT_FOREIGN = 3
};

typedef struct sgi_device_info {
    uint32_t struct_size;
    uint32_t context;         /**< SGI_CONTEXT_NONE, ...; who joins after us is not to be seen */
    char     name[32];
    uint64_t bytes_max;       /**< what models may take */
    uint64_t bytes_used;      /**< charged to instances: images and engine bytes */
    uint64_t bytes_engine;    /**< of bytes_used: charged for engines */
    uint64_t bytes_foreign;   /**< taken by others, by contexts, and what was not given back, as last seen */
    uint32_t instances_count;
    uint32_t lost;            /**< 1: the device is gone for this process, and what we had there with it */
    uint64_t bytes_residue;   /**< what the driver kept for this process, for whomever in it, when our context was
                                   closed last; 0 where others have the context still. Of bytes_foreign */
} sgi_device_info;

/**
 * @param index  0 .. devices_count - 1
 * @return SGI_OK · SGI_E_NOT_FOUND · SGI_E_INVALID
 * Threads: any. Blocks: never.
 */
SGI_API sgi_status sgi_device_query(sgi_runtime *rt, uint32_t index, sgi_device_info *info_out);

/* -------------------------------------------------------------- completions */

/**
 * What a completion reports.
 *
 * READABLE says that a piece has come while no such record was waiting. Read until SGI_E_WOULD_BLOCK: it is
 * not said again for pieces that are there already.
 */
enum {
    SGI_COMPLETION_ACQUIRE = 1,  /**< an sgi_model_acquire() ended; on SGI_OK `lease` is yours */
    SGI_COMPLETION_PREFETCH = 2, /**< an sgi_model_prefetch() ended */
    SGI_COMPLETION_READABLE = 3, /**< a call has something to read */
    SGI_COMPLETION_CALL = 4      /**< a call has ended; read what is left, then sgi_call_end() */
};

typedef struct sgi_completion {
    uint32_t   struct_size;
    uint32_t   kind;   /**< SGI_COMPLETION_ACQUIRE, ... */
    sgi_status status;
    uint32_t   reserved0;
    sgi_ticket ticket; /**< for ACQUIRE and PREFETCH */
    sgi_lease  lease;  /**< for ACQUIRE with SGI_OK: yours; for READABLE and CALL: the call's lease */
    sgi_call   call;   /**< for READABLE and CALL */
    uint64_t   tag;    /**< as given. After sgi_call_end() no completion names that call or its tag any more */
    sgi_error  error;  /**< when status is not SGI_OK; whole, whatever its struct_size was */
} sgi_completion;

/**
 * An eventfd (non-blocking, close-on-exec, the same one each time) that polls readable while completions
 * wait. It belongs to the runtime: add it to your epoll set, do not read or close it. With a level-triggered
 * poll, draining sgi_completion_next() until SGI_E_WOULD_BLOCK is all there is to do.
 *
 * @return SGI_OK · SGI_E_SYSTEM (no descriptors left)
 * Threads: any. Blocks: never.
 */
SGI_API sgi_status sgi_completion_fd(sgi_runtime *rt, int *fd_out);

/**
 * Take the oldest completion. Every acquire and prefetch submitted without a `done` callback, and every call,
 * ends in exactly one; room for it was set aside when it was submitted, so none is ever lost.
 *
 * @return SGI_OK · SGI_E_WOULD_BLOCK (none waits)
 * Threads: any. Blocks: never.
 */
SGI_API sgi_status sgi_completion_next(sgi_runtime *rt, sgi_completion *completion_out);

/**
 * Receives the end of an asynchronous request, exactly once, on a thread of the library, under no lock: never
 * inside the submitting call, though it may run before that call is back on its own thread; *ticket_out is written
 * by then. `completion` is valid during the call. It may submit and release; functions that wait give
 * SGI_E_DEADLOCK. Up to 64 of a runtime run at once, others wait their turn: one that takes long should hand its
 * work to a thread of yours.
 */
typedef void (*sgi_done_fn)(void *user, const sgi_completion *completion);

/* -------------------------------------------------------------------- model */

typedef struct sgi_engine sgi_engine; /**< the callbacks that turn weights into answers: see ext.h */

/**
 * How image memory is made. SGI_IMAGE_HUGETLB is not for consumers that unmap pieces of the memfd at other
 * steps than 2 MiB.
 */
enum {
    SGI_IMAGE_ANY = 0,          /**< anonymous memory in huge pages: the fastest to fill and to free */
    SGI_IMAGE_FD = 1u << 0,     /**< a sealed memfd for each part, for consumers that open files */
    SGI_IMAGE_HUGETLB = 1u << 1, /**< that memfd may be of 2 MiB pages, where the system has them reserved */
    SGI_IMAGE_SCRUB = 1u << 2    /**< on a device with memory of its own it is zeroed before the driver has it back; the
                                      metrics say what that cost. Host memory needs none: the kernel gives it out
                                      zeroed, and the library reuses it for the same tenant only */
};

/** Tiers, from far to near. */
enum { SGI_TIER_DISK = 0, SGI_TIER_DRAM = 1, SGI_TIER_DEVICE = 2 };

/**
 * How a model stays in DRAM. Unpacked it is an image: on a host device a start from there is a mapping, on a GPU one
 * copy. Packed it is as its files store it (a packed model's chunks, or a plain one's bytes in chunks): a start decodes
 * or copies them, on all cores, and chunks that several models have in common are there once, however many those are.
 * That they are equal is found by comparing bytes as they are stored, never by a digest alone: packed files have chunks
 * in common with packed files, made with a base or not, and plain files with plain ones, but a packed and a plain copy
 * of the same weights have none. Where there is not room for all of a model with checks, it needs room only for what
 * others do not have; until it has been read none of those is dropped, whoever wants that (sgi_model_evict(),
 * sgi_model_unregister(), sgi_runtime_trim(), another model's need): what can wait does, and else SGI_E_BUSY says so.
 */
enum {
    SGI_RESIDENCE_AUTO = 0,     /**< unpacked. Of what is read for a GPU or by a prefetch: packed, if that is an eighth
                                     smaller at least and others would have to go for the whole of it */
    SGI_RESIDENCE_UNPACKED = 1,
    SGI_RESIDENCE_PACKED = 2    /**< always; on a host device too a load leaves it in DRAM, beside the image */
};

/** An expected hash of one tensor's bytes as they stand in the file. */
typedef struct sgi_tensor_check {
    const char *name;
    uint64_t    xxh3; /**< XXH3-64, seed 0 */
} sgi_tensor_check;

/**
 * What a model is registered with.
 *
 * A model has up to instances_max instances, each on a device of its own. leases_max says how many may use one
 * of them at once; above 1 the engine's `call` runs on several threads at once. Another instance is started
 * when the requests that wait for those there would wait longer than it takes: going by how long leases were
 * held so far and by how long they have waited. Names in `order` that the model does not have are refused.
 *
 * A model in several files is named by its *.safetensors.index.json, by the first of NAME-00001-of-00005.gguf and
 * so on, or by its folder. Shards that lie elsewhere, on several disks say, are found through `folders`: each has
 * to be in exactly one of these and the folder of the index or first file.
 *
 * `checks_path` is for weights that lie where nothing can be put beside them. It names a folder, with NAME.sgisum in it
 * for each file NAME of the model; or, where the model is one file, that of its checks. Each file has to have its own
 * there: none, or those of another file, are an error that names them. What lies beside the files is not looked at
 * then. A packed file has its checks in it and takes no others.
 */
typedef struct sgi_model_config {
    uint32_t    struct_size;
    uint32_t    flags;           /**< SGI_IMAGE_FD, SGI_IMAGE_HUGETLB, SGI_IMAGE_SCRUB */
    const char *name;            /**< unique in the runtime, 1 to 255 bytes of UTF-8 without control characters */
    const char *path;            /**< .safetensors, .gguf, *.safetensors.index.json, .sgi (packed, see pack.h), or a
                                      folder with one model */
    const sgi_engine *engine;    /**< NULL: weights only. The table is copied; its `user` must outlive the model */
    uint64_t    engine_bytes;    /**< device memory the engine will take beside the weights; reserved with them */
    uint32_t    idle_timeout_ms; /**< SGI_IDLE_DEFAULT: the runtime's */
    uint32_t    leases_max;      /**< leases at once. 0: 1 with an engine, no limit without */
    uint32_t    tenant;          /**< image memory is zeroed before another tenant's model gets it */
    uint32_t    hang_timeout_ms; /**< 0: the runtime's */
    const char *const *order;    /**< tensor names to load first, in this order */
    uint32_t    order_count;
    uint32_t    checks_count;
    const sgi_tensor_check *checks; /**< verified by every load from disk; a mismatch is read again, then refused */
    uint64_t    header_bytes_max; /**< refuse larger headers. 0: 16 MiB for safetensors, 256 MiB for a GGUF model, 1 GiB
                                       for a packed file */
    const char *const *folders;  /**< further folders to look for shards, or for a packed file's base, in. NULL: none */
    uint32_t    folders_count;   /**< at most 64 */
    uint32_t    instances_max;   /**< instances at once. 0: 1; at most 16, and never more than devices */
    uint32_t    devices_mask;    /**< where it may run: bit n for device number n. 0: on all of them */
    uint32_t    residence;       /**< SGI_RESIDENCE_AUTO, ...: how it stays in DRAM */
    const char *checks_path;     /**< where checks of its files are. NULL: beside them, where there are any */
} sgi_model_config;

/** Like sgi_runtime_config_init(). */
SGI_API sgi_status sgi_model_config_init(sgi_model_config *config, size_t size);

/**
 * Describe what sgi_model_register() would register: sgi_inspect() for a path that is not all there is to say.
 *
 * @param config  path, folders, header_bytes_max and checks_path are used, everything else is not looked at
 * @param flags   SGI_INSPECT_JSON, SGI_INSPECT_TEXT
 * @return as sgi_inspect(), and SGI_E_INVALID (err names the field)
 * Threads: any. Blocks: reads the headers.
 */
SGI_API sgi_status sgi_inspect_config(const sgi_model_config *config, uint32_t flags, sgi_write_fn write, void *user,
                                      sgi_error *err);

/**
 * Register a model: read and check its headers, note its files' identity. Nothing stays open and no device is
 * touched. The files must not change afterwards: every load from disk compares device, inode, size and mtime. One that
 * was written to, replaced by its like or merely touched ends it in SGI_E_CHANGED, each time, until the model is
 * unregistered and registered again.
 *
 * @param config  copied, with everything it points to except engine->user
 * @return SGI_OK · SGI_E_INVALID (err names the field) · SGI_E_EXISTS · SGI_E_IO · SGI_E_FORMAT ·
 *         SGI_E_DENIED · SGI_E_CHANGED (checks of another file) · SGI_E_CHECK (checks that are damaged themselves) ·
 *         SGI_E_UNSUPPORTED · SGI_E_ENGINE (prefix_bytes failed) · SGI_E_NO_MEMORY · SGI_E_CLOSED
 * Threads: any. Blocks: reads the headers, and calls the engine's prefix_bytes for each part.
 */
SGI_API sgi_status sgi_model_register(sgi_runtime *rt, const sgi_model_config *config, sgi_model *model_out,
                                      sgi_error *err);

/**
 * Unregister: refuse new requests and end waiting ones with SGI_E_STALE, wait until leases are released, give
 * back everything it holds, call the engine's discard. The name stays taken until this has returned SGI_OK.
 *
 * @return SGI_OK · SGI_E_STALE ·
 *         SGI_E_TIMEOUT (err names the holders; the model stays closed to new requests: call again) ·
 *         SGI_E_DEADLOCK
 * Threads: any. Blocks: up to `timeout_ms` (SGI_FOREVER: until everybody let go).
 */
SGI_API sgi_status sgi_model_unregister(sgi_runtime *rt, sgi_model model, uint32_t timeout_ms, sgi_error *err);

/** Find a model by its name. SGI_OK · SGI_E_NOT_FOUND. Threads: any. Blocks: never. */
SGI_API sgi_status sgi_model_find(sgi_runtime *rt, const char *name, sgi_model *model_out);

/** What does not change about a model. Strings live until the model is unregistered. */
typedef struct sgi_model_info {
    uint32_t    struct_size;
    uint32_t    parts_count;    /**< source files, each a part of the image */
    const char *name;
    const char *format;         /**< "safetensors" or "gguf" */
    uint64_t    tensors_count;
    uint64_t    file_bytes;     /**< of all files together */
    uint64_t    tensor_bytes;   /**< of all tensors together */
    uint64_t    image_bytes;    /**< of an instance without its engine: each part, in whole pages */
    uint64_t    engine_bytes;   /**< as configured, or as the engine last reported */
} sgi_model_info;

/** SGI_OK · SGI_E_STALE. Threads: any. Blocks: never. */
SGI_API sgi_status sgi_model_describe(sgi_runtime *rt, sgi_model model, sgi_model_info *info_out);

/** Where a model is in its life, the furthest of its instances. */
enum {
    SGI_MODEL_COLD = 0,
    SGI_MODEL_QUEUED = 1,   /**< wanted; waiting for room, a back-off or a loader */
    SGI_MODEL_LOADING = 2,
    SGI_MODEL_READY = 3,    /**< loaded, nobody uses it, its idle timer runs */
    SGI_MODEL_BUSY = 4,
    SGI_MODEL_STOPPING = 5,
    SGI_MODEL_FAILED = 6,   /**< failed several times; not tried again before retry_after_ms */
    SGI_MODEL_WEDGED = 7    /**< an engine callback has not come back; refused until it does */
};

typedef struct sgi_model_state {
    uint32_t   struct_size;
    uint32_t   state;           /**< SGI_MODEL_COLD, ... */
    int32_t    device;          /**< index of the device, or -1 */
    uint32_t   tier;            /**< nearest tier that holds all its bytes */
    uint32_t   leases_count;
    uint32_t   requests_waiting;
    uint32_t   pinned_tier;     /**< SGI_TIER_DISK: not pinned */
    uint32_t   idle_left_ms;    /**< when READY: until it is given back; SGI_IDLE_NEVER: no timer */
    uint64_t   device_bytes;
    uint64_t   dram_bytes;      /**< all of it, whether others have some of it too */
    uint64_t   prepared_bytes;
    uint64_t   loaded_bytes;    /**< while LOADING: how far it is */
    uint64_t   loading_bytes;   /**< while LOADING: of how many */
    uint64_t   loads_count;     /**< completed since it was registered */
    uint64_t   failures_count;
    sgi_status last_error;      /**< of the last load that failed, SGI_OK after one that succeeded */
    uint32_t   retry_after_ms;  /**< when FAILED */
    uint32_t   leases_overdue;  /**< of leases_count: past their lease_ms */
    uint32_t   calls_out;       /**< calls the engine has not come back from, those given up too */
    uint32_t   instances_count; /**< up, coming or going; state, device and idle_left_ms are of the furthest */
    uint32_t   residence;       /**< how it stays in DRAM just now: SGI_RESIDENCE_UNPACKED, _PACKED; 0: it does not */
} sgi_model_state;

/** Threads: any. Blocks: never. Touches no idle timer. SGI_OK · SGI_E_STALE · SGI_E_INVALID. */
SGI_API sgi_status sgi_model_query(sgi_runtime *rt, sgi_model model, sgi_model_state *state_out);

/**
 * One source file of a model, and its part of the image. The path lives until the model is unregistered.
 *
 * Of a packed model (sgi/pack.h): one of the files it was made from, as it is in memory, where `path` is that of the
 * packed file. GGUF is in memory as it was; the tensors of safetensors are moved apart, so that each lies at a multiple
 * of 256, and data_offset and sgi_tensor.file_offset say where they are then.
 */
typedef struct sgi_model_part {
    uint32_t    struct_size;
    uint32_t    reserved0;
    const char *path;         /**< resolved; of a packed model the packed file, for all of its parts */
    uint64_t    file_bytes;
    uint64_t    data_offset;  /**< where tensor data begins in it */
    uint64_t    prefix_bytes; /**< as in sgi_image */
    uint64_t    image_bytes;  /**< memory the part takes */
    const char *base;         /**< of a packed model: the file that has the rest of it, resolved. NULL: none */
} sgi_model_part;

/** SGI_OK · SGI_E_STALE · SGI_E_NOT_FOUND (past the last) · SGI_E_INVALID. Threads: any. Blocks: never. */
SGI_API sgi_status sgi_model_part_at(sgi_runtime *rt, sgi_model model, uint32_t part, sgi_model_part *part_out);

/** Dimensions of a tensor at most. */
#define SGI_RANK_MAX 8

/**
 * A tensor as the file describes it. Strings live until the model is unregistered.
 *
 * `shape` stands in the file's own order: outermost first in safetensors, innermost first in GGUF. A block is
 * the smallest unit of the dtype (1 element for F32, 32 for Q4_0); where its numbers are 0 the dtype is not
 * known, and element-wise use is not possible.
 */
typedef struct sgi_tensor {
    uint32_t    struct_size;
    uint32_t    rank;
    const char *name;
    const char *dtype;          /**< the file's own name for it: "BF16", "F8_E4M3", "Q4_K", ... */
    uint64_t    shape[SGI_RANK_MAX];
    uint64_t    bytes;
    uint64_t    file_offset;    /**< of its first byte, in file number `part` */
    uint64_t    index;          /**< 0 .. tensors_count - 1, in the file's order */
    uint32_t    part;
    uint32_t    block_elements;
    uint32_t    block_bytes;
    uint32_t    reserved0;
} sgi_tensor;

/** SGI_OK · SGI_E_STALE · SGI_E_NOT_FOUND (past the last) · SGI_E_INVALID. Threads: any. Blocks: never. */
SGI_API sgi_status sgi_model_tensor_at(sgi_runtime *rt, sgi_model model, uint64_t index, sgi_tensor *tensor_out);

/** SGI_OK · SGI_E_STALE · SGI_E_NOT_FOUND · SGI_E_INVALID. Threads: any. Blocks: never. */
SGI_API sgi_status sgi_model_tensor_find(sgi_runtime *rt, sgi_model model, const char *name, sgi_tensor *tensor_out);

/** For evict, in place of a tier: what `prepare` made goes too. */
#define SGI_EVICT_ALL 0xffffffffu

/**
 * Give back what a model holds beyond `tier`, if nobody uses it.
 *
 *  - SGI_TIER_DRAM: leave the device, keep the bytes in host memory as far as the budget allows.
 *  - SGI_TIER_DISK: keep no bytes.
 *  - SGI_EVICT_ALL: what `prepare` made goes too.
 *
 * A pin does not protect from this call: it is the stronger word.
 *
 * @return SGI_OK (it has begun, and the state shows when it is done; also when there is nothing to do) ·
 *         SGI_E_BUSY (leased or loading) · SGI_E_STALE · SGI_E_INVALID
 * Threads: any. Blocks: never.
 */
SGI_API sgi_status sgi_model_evict(sgi_runtime *rt, sgi_model model, uint32_t tier);

/**
 * sgi_model_evict() for every model that is not pinned, not in use, and not waited for.
 *
 * @return SGI_OK · SGI_E_INVALID
 * Threads: any. Blocks: never.
 */
SGI_API sgi_status sgi_runtime_evict(sgi_runtime *rt, uint32_t tier);

/**
 * Give host memory back: spare memory, and models kept there, those that save least first, until the others take no
 * more than `dram_bytes`. What is pinned, waited for or being read stays. Once: what leaves a device from now on may
 * stay there up to the budget again.
 *
 * @return SGI_OK (it has begun: sgi_runtime_info.dram_bytes shows how far it is) · SGI_E_INVALID
 * Threads: any. Blocks: never.
 */
SGI_API sgi_status sgi_runtime_trim(sgi_runtime *rt, uint64_t dram_bytes);

/**
 * Keep a model at `tier` or nearer once it is there: no idle timer and no other model's need takes it away.
 * It is not loaded by this call (see sgi_model_prefetch()). SGI_TIER_DISK takes the pin off.
 *
 * SGI_TIER_DRAM reserves the image's bytes in the DRAM budget while the pin is on, so that there is room for it
 * whenever it leaves a device; what others keep there goes if need be. (Not if you have it evicted from DRAM while
 * another one, in use there, shares its chunks: these stay.) A pin that is refused leaves the one before as it was.
 * With SGI_TIER_DEVICE, requests for others wait for as long as pinned models leave them no room: give those a
 * deadline.
 *
 * @return SGI_OK · SGI_E_NO_ROOM (SGI_TIER_DRAM: the pinned models together are larger than the budget) ·
 *         SGI_E_BUSY (SGI_TIER_DRAM: others in host memory are in use or on their way; try again) ·
 *         SGI_E_STALE · SGI_E_CLOSED · SGI_E_INVALID
 * Threads: any. Blocks: never.
 */
SGI_API sgi_status sgi_model_pin(sgi_runtime *rt, sgi_model model, uint32_t tier, sgi_error *err);

/* ------------------------------------------------------------------ acquire */

/** Flags of an acquire or a prefetch. SGI_ACQUIRE_EARLY is for models without an engine. */
enum {
    SGI_ACQUIRE_EARLY = 1u << 0,  /**< grant as soon as memory is there; each tensor must be waited for */
    SGI_PREFETCH_SILENT = 1u << 1 /**< for sgi_model_prefetch(), and refused where a lease is asked for: nobody is
                                       told how it ended, no `done` either */
};

/** For device_hint, and what init sets there. */
#define SGI_DEVICE_ANY (-1)

/**
 * How a lease is asked for.
 *
 * Of several leases on an instance, the idle time of the one released last counts. The hint says where to
 * load a model that is not loaded; one that is loaded is used where it is. lease_ms after its grant a lease
 * is overdue: its call is canceled, new ones are refused, and it is named so (leases_overdue,
 * sgi_runtime_close()). Its memory stays.
 */
typedef struct sgi_acquire_options {
    uint32_t struct_size;
    uint32_t flags;           /**< SGI_ACQUIRE_EARLY, SGI_PREFETCH_SILENT */
    uint32_t deadline_ms;     /**< from now, for the grant. SGI_FOREVER: none */
    int32_t  priority;        /**< higher goes first, and its load gets more of the disk; never interrupts anybody */
    uint32_t idle_timeout_ms; /**< the idle time that its release begins. SGI_IDLE_DEFAULT: the model's */
    int32_t  device_hint;     /**< index of a device, or SGI_DEVICE_ANY */
    uint32_t lease_ms;        /**< from the grant. SGI_FOREVER: never overdue */
    uint32_t reserved0;
    uint64_t tag;             /**< comes back in the completion */
} sgi_acquire_options;

/** Like sgi_runtime_config_init(), with device_hint SGI_DEVICE_ANY. */
SGI_API sgi_status sgi_acquire_options_init(sgi_acquire_options *options, size_t size);

/**
 * Take a lease if the model is loaded and free right now. Never loads, never waits; deadline, priority and
 * hint do not matter.
 *
 * @return SGI_OK · SGI_E_WOULD_BLOCK · SGI_E_STALE · SGI_E_CLOSED · SGI_E_INVALID
 * Threads: any. Blocks: never; well under a microsecond.
 */
SGI_API sgi_status sgi_model_try_acquire(sgi_runtime *rt, sgi_model model, const sgi_acquire_options *options,
                                         sgi_lease *lease_out);

/**
 * Take a lease, loading the model first if need be, and wait for it.
 *
 * @param options  NULL for defaults
 * @return SGI_OK (the lease is yours until sgi_lease_release()) · SGI_E_TIMEOUT (the deadline) ·
 *         SGI_E_BUSY (requests_max) · SGI_E_NO_ROOM (can never fit) · SGI_E_STALE · SGI_E_CLOSED ·
 *         SGI_E_DEADLOCK · SGI_E_INVALID ·
 *         what the load failed with: SGI_E_IO, _CHANGED, _CHECK, _ENGINE, _WEDGED, _DEVICE, ...
 * Threads: any. Blocks: until granted or refused.
 */
SGI_API sgi_status sgi_model_acquire_wait(sgi_runtime *rt, sgi_model model, const sgi_acquire_options *options,
                                          sgi_lease *lease_out, sgi_error *err);

/**
 * Ask for a lease. Ends exactly once: in a completion, or in `done` if that is given.
 *
 * @param done        NULL: the end comes through sgi_completion_next() or sgi_ticket_wait()
 * @param ticket_out  may be NULL
 * @return SGI_OK (accepted) · SGI_E_BUSY (requests_max reached, or that many completions wait unread) ·
 *         SGI_E_STALE · SGI_E_CLOSED · SGI_E_INVALID · SGI_E_NO_MEMORY
 * Threads: any. Blocks: never.
 */
SGI_API sgi_status sgi_model_acquire(sgi_runtime *rt, sgi_model model, const sgi_acquire_options *options,
                                     sgi_ticket *ticket_out, sgi_done_fn done, void *user, sgi_error *err);

/** What a request for a lease would meet. */
enum {
    SGI_ESTIMATE_WARM = 1,   /**< a lease at once */
    SGI_ESTIMATE_JOIN = 2,   /**< the model is on its way up */
    SGI_ESTIMATE_LOAD = 3,   /**< a start at once, into room that is there */
    SGI_ESTIMATE_EVICT = 4,  /**< a start after idle models have left */
    SGI_ESTIMATE_WAIT = 5,   /**< waiting for a lease, or for room that others have to give back */
    SGI_ESTIMATE_REFUSED = 6 /**< an end with `status` at once */
};

typedef struct sgi_estimate {
    uint32_t   struct_size;
    uint32_t   outlook;        /**< SGI_ESTIMATE_WARM, ... */
    sgi_status status;         /**< when REFUSED */
    uint32_t   retry_after_ms; /**< when REFUSED and trying again can help */
    int32_t    device;         /**< where it is or would be; SGI_DEVICE_ANY: not known */
    uint32_t   tier;           /**< where its bytes are or would come from */
    uint64_t   device_bytes;   /**< that it takes or would take there */
    uint64_t   lacking_bytes;  /**< of them, until others have left */
    uint64_t   expected_ns;    /**< until the lease, going by starts and leases so far. UINT64_MAX: not known */
    uint32_t   evicted_count;  /**< models that would be evicted for it */
    uint32_t   reserved0;
} sgi_estimate;

/**
 * Foretell what sgi_model_acquire() would meet if it were made now and nobody else came. Nothing is kept for it,
 * nothing changes, no file is looked at: a source that has gone bad shows only in a load. The decision itself is
 * made by the same functions.
 *
 * @param options      only device_hint matters. NULL: defaults
 * @param evicted      receives the models that would have to leave, in their order; may be NULL
 * @param evicted_max  room in `evicted`; estimate_out->evicted_count may be larger
 * @return SGI_OK (REFUSED is an answer too) · SGI_E_STALE · SGI_E_CLOSED · SGI_E_INVALID
 * Threads: any. Blocks: never.
 */
SGI_API sgi_status sgi_model_estimate(sgi_runtime *rt, sgi_model model, const sgi_acquire_options *options,
                                      sgi_estimate *estimate_out, sgi_model *evicted, uint32_t evicted_max);

/**
 * Bring a model's bytes to a tier ahead of need. At SGI_TIER_DEVICE it is loaded, started, and its idle timer
 * set; at SGI_TIER_DRAM its bytes are read into host memory within the budget. Ends exactly once, like an
 * acquire, with lease 0: in SGI_E_NO_ROOM where the tier's whole budget is too small, in SGI_E_BUSY where what takes
 * the rest of it cannot go, or memory is short just now. What stays packed in host memory is read as it is stored: the
 * model's own `checks` of tensors are looked at when it starts from there, and if one does not match, that start fails,
 * and the next one reads the files. options: deadline, priority, device_hint, idle_timeout_ms, tag,
 * SGI_PREFETCH_SILENT.
 *
 * @param ticket_out  may be NULL
 * @return as sgi_model_acquire() · SGI_E_INVALID for SGI_TIER_DISK
 * Threads: any. Blocks: never.
 */
SGI_API sgi_status sgi_model_prefetch(sgi_runtime *rt, sgi_model model, uint32_t tier,
                                      const sgi_acquire_options *options, sgi_ticket *ticket_out, sgi_done_fn done,
                                      void *user, sgi_error *err);

/**
 * Ask that an acquire or prefetch ends. It still ends exactly once: with SGI_E_CANCELED, or with what had
 * already happened. A load that others wait for too goes on.
 *
 * @return SGI_OK · SGI_E_STALE (it has ended)
 * Threads: any. Blocks: never.
 */
SGI_API sgi_status sgi_acquire_cancel(sgi_runtime *rt, sgi_ticket ticket);

/**
 * Wait for one asynchronous request on this thread instead of taking its completion: for a thread that wants
 * to be canceled from another one by sgi_acquire_cancel(). Consumes the completion.
 *
 * @param timeout_ms  SGI_FOREVER: until it ends. On SGI_E_TIMEOUT the request goes on: wait again
 * @param lease_out   written on SGI_OK; 0 for a prefetch
 * @return as sgi_model_acquire_wait() · SGI_E_TIMEOUT (with err->step SGI_STEP_NONE: `timeout_ms`; else: its own
 *         deadline, at that step, and it has ended) ·
 *         SGI_E_STALE (it has ended, and its completion was taken) ·
 *         SGI_E_BUSY (another thread waits for it) ·
 *         SGI_E_INVALID (it ends in a `done` callback, or silently) · SGI_E_CANCELED
 * Threads: any. Blocks: until it ends, or `timeout_ms`.
 */
SGI_API sgi_status sgi_ticket_wait(sgi_runtime *rt, sgi_ticket ticket, uint32_t timeout_ms, sgi_lease *lease_out,
                                   sgi_error *err);

/* -------------------------------------------------------------------- lease */
/*
 * A lease on something that is no more is good for release only: the functions below then say why, with
 * SGI_E_DEVICE_LOST, SGI_E_WEDGED (a callback of its engine has not come back), or, where it was granted early, what
 * the load ended with.
 */

/**
 * Give a lease back. With the last one the idle timer starts.
 *
 * @return SGI_OK · SGI_E_STALE ·
 *         SGI_E_BUSY (a call is open on it, or another thread is inside one of the sgi_lease_ functions with
 *         it, sgi_lease_run() too)
 * Threads: any. Blocks: never.
 */
SGI_API sgi_status sgi_lease_release(sgi_runtime *rt, sgi_lease lease);

/**
 * A tensor in memory. Valid until the lease is released.
 *
 * On cuda tensors lie at multiples of 256, one behind the other.
 *
 * Alignment on a host device: `data` lies at sgi_tensor.file_offset modulo 4096. Only where the file's data begins at
 * no multiple of 8 (sgi_model_part.data_offset) it is moved, to the beginning of a page: then `data` lies at
 * file_offset - data_offset modulo 4096. So it is as aligned as the file has it:
 *
 *  - GGUF: at a multiple of the file's general.alignment (32 where it names none; 8 at least), up to 4096.
 *  - safetensors: the format asks for none. Its usual writers begin the data at a multiple of 8 and put the tensors
 *    one behind the other, those of large elements first, so that elements are aligned to their own size; but a file
 *    may have an F32 at any address. Look before using instructions that mind.
 */
typedef struct sgi_view {
    uint32_t    struct_size;
    uint32_t    reserved0;
    const void *data;  /**< host: to read; else a device address. NULL for a tensor of 0 bytes */
    uint64_t    bytes;
} sgi_view;

/**
 * Where a tensor lies. With SGI_ACQUIRE_EARLY its bytes may be read only after sgi_lease_tensor_wait() on it.
 *
 * @return SGI_OK · SGI_E_STALE · SGI_E_NOT_FOUND · SGI_E_INVALID ·
 *         SGI_E_UNSUPPORTED (it lies in another process) · SGI_E_DEVICE_LOST
 * Threads: any. Blocks: never.
 */
SGI_API sgi_status sgi_lease_tensor(sgi_runtime *rt, sgi_lease lease, uint64_t index, sgi_view *view_out,
                                    sgi_error *err);

/**
 * Wait until a tensor's bytes are there and verified. Returns at once on a lease granted without EARLY.
 *
 * @return SGI_OK · SGI_E_STALE · SGI_E_NOT_FOUND · SGI_E_TIMEOUT · SGI_E_DEADLOCK · what the load failed with
 * Threads: any. Blocks: up to `timeout_ms` (SGI_FOREVER: until there or failed).
 */
SGI_API sgi_status sgi_lease_tensor_wait(sgi_runtime *rt, sgi_lease lease, uint64_t index, uint32_t timeout_ms,
                                         sgi_error *err);

/**
 * XXH3-64 (seed 0) of a tensor's bytes as they lie on the device.
 *
 * @return as sgi_lease_tensor_wait()
 * Threads: any. Blocks: until the tensor is there, then while hashing.
 */
SGI_API sgi_status sgi_lease_tensor_digest(sgi_runtime *rt, sgi_lease lease, uint64_t index, uint64_t *xxh3_out,
                                           sgi_error *err);

/**
 * Copy some of a tensor's bytes into host memory, wherever it lies.
 *
 * @param offset, bytes  within the tensor
 * @param dst            room for `bytes`; what is in it after an error is not said
 * @return as sgi_lease_tensor_wait() · SGI_E_INVALID (past the tensor's end)
 * Threads: any. Blocks: until the tensor is there, then while copying.
 */
SGI_API sgi_status sgi_lease_tensor_read(sgi_runtime *rt, sgi_lease lease, uint64_t index, uint64_t offset, void *dst,
                                         uint64_t bytes, sgi_error *err);

/**
 * One part of an image: [prefix][the file's bytes from its data start on].
 *
 * The prefix is what the engine filled. Without such an engine it is a few bytes of no meaning that keep the
 * data at its offset modulo 4096.
 */
typedef struct sgi_image {
    uint32_t    struct_size;
    int32_t     fd;           /**< with SGI_IMAGE_FD: read-only and sealed, yours to close; else -1 */
    const void *base;         /**< first byte of the prefix */
    uint64_t    bytes;        /**< prefix and data */
    uint64_t    prefix_bytes; /**< before the data */
    uint64_t    file_offset;  /**< where in the source file the byte after the prefix stands */
} sgi_image;

/**
 * One part of the image a lease holds, as a file descriptor too where the model was registered with
 * SGI_IMAGE_FD. Nothing writes to that memory any more, and what was handed out stays valid, and counted
 * against nobody, until it is closed and unmapped, even after the release. The first descriptor of a part
 * replaces the library's own map by one that only reads.
 *
 * @return SGI_OK · SGI_E_STALE · SGI_E_NOT_FOUND · SGI_E_BUSY (still loading) · SGI_E_SYSTEM ·
 *         SGI_E_INVALID · SGI_E_UNSUPPORTED
 * Threads: any. Blocks: for that, some 40 ms a GiB; else never.
 */
SGI_API sgi_status sgi_lease_image(sgi_runtime *rt, sgi_lease lease, uint32_t part, sgi_image *image_out,
                                   sgi_error *err);

/** Runs with the lease's device current on the calling thread. `stream` is the lease's: see sgi_lease_stream(). The
 * lease is in use meanwhile: it cannot be released, nor the runtime closed. */
typedef sgi_status (*sgi_run_fn)(void *user, void *stream, sgi_error *err);

/**
 * Run your code with the lease's device made current on this thread; what was current before comes back
 * afterwards, whatever your code left there. On a host device it is just the call. On cuda, what was queued on `stream`
 * is waited for, and what went wrong with it is told: a kernel that faults takes the device with it. Your code may
 * capture graphs, in any mode: what the library does on other threads meanwhile does not disturb that.
 *
 * @return what `fn` returned · SGI_E_STALE · SGI_E_INVALID · SGI_E_UNSUPPORTED · SGI_E_DEVICE ·
 *         SGI_E_DEVICE_LOST, whatever `fn` said · SGI_E_ENGINE (`fn` left another context current) ·
 *         what the load failed with
 * Threads: any. Blocks: for as long as `fn` and its stream do; on a lease granted EARLY also until the device is open.
 */
SGI_API sgi_status sgi_lease_run(sgi_runtime *rt, sgi_lease lease, sgi_run_fn fn, void *user, sgi_error *err);

/**
 * The lease's own stream: a CUstream on cuda, NULL on host. It is made when it is first asked for and belongs to the
 * library; what is queued there still when the model leaves is waited for. Where more than 64 leases of the runtime
 * are in use, two on one instance may share one.
 *
 * @return SGI_OK · SGI_E_STALE · SGI_E_INVALID · SGI_E_DEVICE · SGI_E_DEVICE_LOST · what the load failed with
 * Threads: any. Blocks: for the driver, the first time; on a lease granted EARLY until the device is open.
 */
SGI_API sgi_status sgi_lease_stream(sgi_runtime *rt, sgi_lease lease, void **stream_out, sgi_error *err);

/**
 * Let a stream of the lease's device wait for a tensor instead of this thread: what is queued on it from now on begins
 * once the tensor is there and verified. For leases granted EARLY, to compute on the first layers while the last ones
 * arrive. On a host device it is sgi_lease_tensor_wait().
 *
 * @param stream  a CUstream of that device; NULL: its default stream. Not looked at once the tensor is there. To wait
 *                in a stream that is captured is the driver's to refuse, with the capture
 * @return SGI_OK · SGI_E_STALE · SGI_E_NOT_FOUND · SGI_E_DEADLOCK · SGI_E_DEVICE · SGI_E_DEVICE_LOST ·
 *         what the load failed with
 * Threads: any. Blocks: until its last byte is on the way to the device, or the load has failed.
 */
SGI_API sgi_status sgi_lease_tensor_on(sgi_runtime *rt, sgi_lease lease, uint64_t index, void *stream, sgi_error *err);

/** One step of a cold start. */
typedef struct sgi_phase {
    uint64_t start_ns;    /**< from the request; steps overlap */
    uint64_t duration_ns; /**< 0 when the step was not needed */
} sgi_phase;

/** How a lease came about. */
typedef struct sgi_timing {
    uint32_t  struct_size;
    uint32_t  tier;           /**< where the bytes came from; SGI_TIER_DEVICE: it was loaded already */
    uint32_t  joined;         /**< 1: somebody else had started the load */
    uint32_t  direct;         /**< 1: read past the page cache, 2: part of it, 0: through it */
    uint64_t  request_ns;     /**< CLOCK_MONOTONIC when it was asked for */
    uint64_t  total_ns;       /**< from the request to the grant */
    uint64_t  load_ns;        /**< from memory reserved to all bytes there */
    uint64_t  bytes;          /**< bytes loaded for the instance */
    uint64_t  cpu_ns;         /**< processor time of the loading threads */
    uint64_t  bounced_bytes;  /**< copied in memory because the file's layout left no other way */
    uint64_t  reread_bytes;   /**< read again after a failed check */
    char      engine[16];     /**< what read the files: "uring", "threads"; "peer": another device had it; or "" */
    sgi_phase phases[16];     /**< by step: SGI_STEP_QUEUE, SGI_STEP_SOURCE, ... */
    uint64_t  limited_ns;     /**< of load_ns: reads were held back by read_bytes_per_s_max */
    uint64_t  read_bytes;     /**< that were read for those: fewer than `bytes` where the model is packed */
} sgi_timing;

/** SGI_OK · SGI_E_STALE · SGI_E_INVALID · SGI_E_BUSY (EARLY, still loading). Threads: any. Blocks: never. */
SGI_API sgi_status sgi_lease_timing(sgi_runtime *rt, sgi_lease lease, sgi_timing *timing_out);

/* -------------------------------------------------------------------- calls */

/**
 * Start one inference on a lease. The engine's `call` runs on a thread of the library; its pieces are read
 * with sgi_call_read(). Completions announce READABLE, and CALL at the end.
 *
 * @param request  copied
 * @return SGI_OK · SGI_E_STALE ·
 *         SGI_E_BUSY (a call is open on this lease, one given up has not come back, or calls_max) ·
 *         SGI_E_TIMEOUT (the lease is overdue) · SGI_E_UNSUPPORTED (the model has no engine) ·
 *         SGI_E_INVALID · SGI_E_NO_MEMORY · SGI_E_WEDGED · SGI_E_DEVICE_LOST
 * Threads: any. Blocks: never.
 */
SGI_API sgi_status sgi_call_begin(sgi_runtime *rt, sgi_lease lease, const void *request, size_t request_bytes,
                                  uint64_t tag, sgi_call *call_out, sgi_error *err);

/**
 * Read the next piece. A piece larger than `capacity`, or than 32 KiB, comes in several reads; one read never
 * joins two. When the call's buffer (64 KiB) is full the engine waits for you.
 *
 * @return SGI_OK · SGI_E_WOULD_BLOCK (none yet; `err` stays as it was, for SGI_E_END too) · SGI_E_END (finished well) ·
 *         SGI_E_CANCELED or what the engine failed with, once all pieces are read · SGI_E_STALE ·
 *         SGI_E_INVALID
 * Threads: any. Blocks: never.
 */
SGI_API sgi_status sgi_call_read(sgi_runtime *rt, sgi_call call, void *buffer, size_t capacity, size_t *bytes_out,
                                 sgi_error *err);

/**
 * Wait until sgi_call_read() has something to say other than SGI_E_WOULD_BLOCK: a piece, or the end. To look
 * without waiting call that one.
 *
 * @return SGI_OK · SGI_E_TIMEOUT · SGI_E_STALE · SGI_E_DEADLOCK
 * Threads: any. Blocks: up to `timeout_ms` (SGI_FOREVER: until there is something).
 */
SGI_API sgi_status sgi_call_wait(sgi_runtime *rt, sgi_call call, uint32_t timeout_ms, sgi_error *err);

/**
 * Ask the engine to stop; the call still ends in its CALL completion, whether its pieces are read or not. If
 * the engine does not come back within the model's hang_timeout_ms it ends in SGI_E_WEDGED.
 *
 * @return SGI_OK · SGI_E_STALE
 * Threads: any. Blocks: never.
 */
SGI_API sgi_status sgi_call_cancel(sgi_runtime *rt, sgi_call call);

/**
 * Give a call's id up, canceling it if it still runs. Pieces and completions not read are dropped, so it may
 * come as soon as sgi_call_read() has said SGI_E_END. The lease may be released at once: the instance stays
 * BUSY until the engine has come back (the next call waits for that: SGI_E_BUSY), and becomes WEDGED if it
 * does not.
 *
 * @return SGI_OK · SGI_E_STALE
 * Threads: any. Blocks: never.
 */
SGI_API sgi_status sgi_call_end(sgi_runtime *rt, sgi_call call);

/** Receives a piece on the thread that called sgi_lease_call(); returns 0 to go on, else the call is canceled. */
typedef int (*sgi_piece_fn)(void *user, const void *piece, size_t bytes);

/**
 * One inference from begin to end, pieces handed over as they come. No completions are made for it. When it ends
 * in SGI_E_TIMEOUT or because `on_piece` said so, the engine may be out still: the next call on the lease is
 * SGI_E_BUSY until it has come back (sgi_model_state.calls_out).
 *
 * @return as sgi_call_begin() · SGI_E_DEADLOCK · SGI_E_TIMEOUT (canceled at timeout_ms) · SGI_E_CANCELED ·
 *         what the engine failed with
 * Threads: any. Blocks: until the call has ended, or `timeout_ms`.
 */
SGI_API sgi_status sgi_lease_call(sgi_runtime *rt, sgi_lease lease, const void *request, size_t request_bytes,
                                  uint32_t timeout_ms, sgi_piece_fn on_piece, void *user, sgi_error *err);

/**
 * Cancel whatever call is open on a lease, one in sgi_lease_call() on another thread too: it ends with
 * SGI_E_CANCELED.
 *
 * @return SGI_OK (also when none is open) · SGI_E_STALE
 * Threads: any. Blocks: never.
 */
SGI_API sgi_status sgi_lease_cancel(sgi_runtime *rt, sgi_lease lease);

/* -------------------------------------------------------------- observation */

/*
 * Metrics for what goes on over time, events for what happens one by one, the trace for where the time of a cold
 * start went, the log (sgi_log_set_sink()) for people. Nothing here touches an idle timer or waits for a load, and
 * nothing of yours is called under a lock.
 */

/**
 * Write the cold starts of this runtime (the last 256) as Chrome trace JSON, for Perfetto or about:tracing.
 *
 * @return SGI_OK · SGI_E_CANCELED (`write` stopped it) · SGI_E_NO_MEMORY
 * Threads: any. Blocks: never on a load.
 */
SGI_API sgi_status sgi_trace_write(sgi_runtime *rt, sgi_write_fn write, void *user);

/** Models with series of their own at most. What the others did is summed under `model=""`. */
#define SGI_METRICS_MODELS_MAX 100

/**
 * Write all metrics in the Prometheus text format 0.0.4, to be served at /metrics by the host. Every family has its
 * HELP line, which is its documentation.
 *
 * The SGI_METRICS_MODELS_MAX models that were registered first have series of their own until they are
 * unregistered; then those that are registered next do. So the output is bounded, however many models there are,
 * and no counter ever goes back.
 *
 * @return SGI_OK · SGI_E_CANCELED (`write` stopped it) · SGI_E_NO_MEMORY · SGI_E_INVALID
 * Threads: any. Blocks: never on a load.
 */
SGI_API sgi_status sgi_metrics_write(sgi_runtime *rt, sgi_write_fn write, void *user);

enum { SGI_SAMPLE_COUNTER = 1, SGI_SAMPLE_GAUGE = 2, SGI_SAMPLE_HISTOGRAM = 3 };

/** Labels of a sample at most. */
#define SGI_LABELS_MAX 4

/** One line of what sgi_metrics_write() writes. Strings are valid during the call that hands it over. */
typedef struct sgi_sample {
    uint32_t    struct_size;
    uint32_t    type;         /**< SGI_SAMPLE_COUNTER, ... of the family */
    const char *family;       /**< "sgi_acquire_wait_seconds" */
    const char *help;
    const char *name;         /**< the family's; of a histogram with "_bucket", "_sum" or "_count" behind it */
    double      value;
    uint32_t    labels_count;
    uint32_t    reserved0;
    const char *label_names[SGI_LABELS_MAX];
    const char *label_values[SGI_LABELS_MAX]; /**< not escaped; a model's name is as it was registered */
} sgi_sample;

/** Receives one sample; returns 0 to go on, anything else to stop. */
typedef int (*sgi_sample_fn)(void *user, const sgi_sample *sample);

/**
 * The same metrics, one by one, for hosts that report them in another way. Samples of a family come together.
 *
 * @return as sgi_metrics_write()
 * Threads: any. Blocks: never on a load.
 */
SGI_API sgi_status sgi_metrics_snapshot(sgi_runtime *rt, sgi_sample_fn each, void *user);

/** What an event says. Fields that are not named here are 0, `device` -1. All but DEVICE_ name their `model`. */
enum {
    SGI_EVENT_REGISTERED = 1,
    SGI_EVENT_UNREGISTERED = 2,
    SGI_EVENT_QUEUED = 3,        /**< a request was accepted: ticket. What is up is granted right behind it */
    SGI_EVENT_GRANTED = 4,       /**< it has what it asked for: ticket, tier (as in sgi_timing), duration_ns since */
    SGI_EVENT_REFUSED = 5,       /**< it ended in `status`: ticket, step, duration_ns since (timeout, cancel, ...) */
    SGI_EVENT_OVERDUE = 6,       /**< a lease outlived its lease_ms */
    SGI_EVENT_ADMITTED = 7,      /**< room is set aside: device (-1: host memory), bytes of the image, tier it is in */
    SGI_EVENT_LOAD_START = 8,    /**< device, bytes, tier */
    SGI_EVENT_LOAD_DONE = 9,     /**< every byte is there and verified: bytes, tier, duration_ns */
    SGI_EVENT_CHECK_FAILED = 10, /**< bytes did not match their check: read again; FAILED follows if that was no use */
    SGI_EVENT_PREPARED = 11,     /**< the engine's prepare: bytes as reported */
    SGI_EVENT_READY = 12,        /**< loaded and started: device, tier, bytes charged */
    SGI_EVENT_FAILED = 13,       /**< it could not be brought up: status, step, duration_ns until it is tried again */
    SGI_EVENT_WEDGED = 14,       /**< an engine callback does not come back: step */
    SGI_EVENT_IDLE = 15,         /**< nobody uses it from now on: device, duration_ns of its timer (UINT64_MAX: none) */
    SGI_EVENT_STOPPING = 16,     /**< it leaves: cause, device, bytes charged, duration_ns since it was last used */
    SGI_EVENT_RELEASED = 17,     /**< it has left: as STOPPING, duration_ns since then, residue_bytes, tier now */
    SGI_EVENT_KEPT = 18,         /**< its bytes stay in host memory, or are there beside those on its device: bytes */
    SGI_EVENT_DROPPED = 19,      /**< they leave host memory: bytes, cause */
    SGI_EVENT_DISCARDED = 20,    /**< the engine's discard has been called */
    SGI_EVENT_DEVICE_OPEN = 21,  /**< our context is open on `device` */
    SGI_EVENT_DEVICE_ZERO = 22,  /**< nothing of ours is on `device` any more, no context either: residue_bytes */
    SGI_EVENT_DEVICE_LOST = 23,  /**< `device` is gone: for a cuda device, until the process ends */
    SGI_EVENT_DEVICE_BACK = 24   /**< never of a cuda device */
};

/** Why a model leaves a tier. */
enum {
    SGI_CAUSE_NONE = 0,
    SGI_CAUSE_IDLE = 1,     /**< its idle timer fired */
    SGI_CAUSE_ROOM = 2,     /**< others need the room */
    SGI_CAUSE_EVICT = 3,    /**< sgi_model_evict(), sgi_runtime_evict() */
    SGI_CAUSE_DRAIN = 4,    /**< its model is being unregistered, or the runtime closed */
    SGI_CAUSE_FAILED = 5,   /**< FAILED or WEDGED has said how */
    SGI_CAUSE_CANCELED = 6, /**< nobody wants it any more; it was not up yet */
    SGI_CAUSE_LOST = 7,     /**< the device is gone */
    SGI_CAUSE_PRESSURE = 8  /**< host memory was wanted back: sgi_runtime_trim(), pressure_stall_ms */
};

/** "load_start" for SGI_EVENT_LOAD_START; "?" for a number that is no event. The string is static. */
SGI_API const char *sgi_event_name(uint32_t kind);

/** "room" for SGI_CAUSE_ROOM; "?" for a number that is no cause. The string is static. */
SGI_API const char *sgi_cause_name(uint32_t cause);

typedef struct sgi_event {
    uint32_t   struct_size;
    uint32_t   kind;          /**< SGI_EVENT_LOAD_START, ... */
    uint64_t   time_ns;       /**< CLOCK_MONOTONIC */
    uint64_t   dropped;       /**< events right before this one that found the ring full, and are lost */
    sgi_model  model;
    sgi_ticket ticket;
    int32_t    device;        /**< index, or -1 */
    uint32_t   tier;
    sgi_status status;
    uint32_t   step;
    uint32_t   cause;         /**< SGI_CAUSE_IDLE, ... */
    uint32_t   reserved0;
    uint64_t   bytes;
    uint64_t   residue_bytes; /**< could not be given back: of `bytes`, or by the driver */
    uint64_t   duration_ns;
} sgi_event;

typedef uint64_t sgi_events; /**< a reader of events */

/** Readers of a runtime at most, and records that one of them may ask for. */
#define SGI_EVENTS_READERS_MAX 16
#define SGI_EVENTS_RECORDS_MAX 65536

/**
 * Read along from now on. Each reader has a ring of its own, allocated here; when it is full the oldest record makes
 * room for the newest, and the next one read says how many were lost: a slow reader holds nobody up. Readers that are
 * still open go with the runtime.
 *
 * Leases that sgi_model_try_acquire() or sgi_model_acquire_wait() give at once are no events; metrics count them.
 *
 * @param records_max  0: 1024
 * @param kinds        bit number `kind` for each that is wanted; 0: all
 * @return SGI_OK (end it with sgi_events_close()) · SGI_E_INVALID · SGI_E_NO_MEMORY ·
 *         SGI_E_BUSY (SGI_EVENTS_READERS_MAX)
 * Threads: any. Blocks: never.
 */
SGI_API sgi_status sgi_events_open(sgi_runtime *rt, uint32_t records_max, uint64_t kinds, sgi_events *events_out,
                                   sgi_error *err);

/**
 * Take the oldest record.
 *
 * @return SGI_OK · SGI_E_WOULD_BLOCK (none waits) · SGI_E_STALE · SGI_E_INVALID
 * Threads: any. Blocks: never.
 */
SGI_API sgi_status sgi_events_read(sgi_runtime *rt, sgi_events events, sgi_event *event_out);

/**
 * An eventfd that polls readable while records wait, as sgi_completion_fd(): it belongs to the reader and ends with
 * it; do not read or close it.
 *
 * @return SGI_OK · SGI_E_STALE · SGI_E_SYSTEM (no descriptors left) · SGI_E_INVALID
 * Threads: any. Blocks: never.
 */
SGI_API sgi_status sgi_events_fd(sgi_runtime *rt, sgi_events events, int *fd_out);

/** What was not read is lost. SGI_OK · SGI_E_STALE · SGI_E_INVALID. Threads: any. Blocks: never. */
SGI_API sgi_status sgi_events_close(sgi_runtime *rt, sgi_events events);

#ifdef __cplusplus
}
#endif
#endif
