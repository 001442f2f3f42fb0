/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside the fake driver. One lock guards everything here that is not said to be otherwise: it is held from fc_enter()
 * to fc_leave(), and by a stream's thread except while it moves bytes, waits, or runs somebody's function.
 *
 * The lock is our own, of a futex: ThreadSanitizer does not see it where this is compiled without it (the module that
 * tests load), so that a program is told to be ordered only where a driver orders it. The edges that a driver gives,
 * and no others, are told to it by fc_edge_in() and fc_edge_out().
 */
#ifndef FAKECUDA_INTERNAL_H
#define FAKECUDA_INTERNAL_H

#include <stdbool.h>
#include <stdio.h>

#include "calls.h"
#include "fakecuda.h"
#include "ledger.h"

#define EXPORT __attribute__((visibility("default")))

#define FAKECUDA_DECLARE(name, parameters) EXPORT cu_result name parameters;
FAKECUDA_CALLS(FAKECUDA_DECLARE)
#define FAKECUDA_DECLARE_CONTROL(result, name, parameters) EXPORT result name parameters;
FAKECUDA_CONTROL(FAKECUDA_DECLARE_CONTROL)

#define FAKECUDA_CALL_ENUM(name, parameters) CALL_##name,
enum call { FAKECUDA_CALLS(FAKECUDA_CALL_ENUM) CALL_COUNT };
/* Counted beside the calls: what streams carry out. */
enum { DONE_COPY = CALL_COUNT, DONE_SET, DONE_KERNEL, ANY_CALL, COUNTED };

enum { DEVICES_MAX = FC_DEVICES_MAX, STACK_MAX = 32 };
#define GRANULE ((size_t)2 << 20)

/* -------------------------------------------------------------------------------------- lock, time, edges (lock.c) */

struct fc_cond {
    int turn, waiting;
};

void     fc_lock(void);
void     fc_unlock(void);
void     fc_wait(struct fc_cond *cond); /* gives up the lock meanwhile */
void     fc_broadcast(struct fc_cond *cond);
uint64_t fc_now_ns(void);
void     fc_sleep_until(uint64_t ns); /* without the lock */
uint64_t fc_random(uint64_t *state);

/* Everything done by the thread that tells it comes before what is done by the thread that has asked for it. */
void fc_edge_in(void *token);
void fc_edge_out(void *token);

/* Between them, what this thread reads and writes is the driver's own, which a sanitizer does not see of a real one. */
void fc_own_begin(void);
void fc_own_end(void);

/* ----------------------------------------------------------------------------------------- configuration (entry.c) */

struct fc_config {
    unsigned    devices;
    uint64_t    vram, context_bytes, foreign_bytes, pins_max;
    int         version; /* of CUDA, as cuDriverGetVersion says it */
    const char *without; /* names with commas around each */
    bool        stub, deaf, mps, peers, strict, count_leaks;
    unsigned    init_ms, delay_us, jitter_us, copy_us, link_mib_s;
    uint64_t    seed;
    uint32_t    poison;
    const char *checkpoint;
    FILE       *log;
};

enum fc_need {
    NEEDS_NOTHING = 0,
    NEEDS_INIT = 1,
    NEEDS_CONTEXT = 2 | NEEDS_INIT,
    SHOWS_STICKY = 4, /* ends with the error that the process has caught, if it has */
    USES_DEVICE = NEEDS_INIT | SHOWS_STICKY,
    USES_CONTEXT = NEEDS_CONTEXT | SHOWS_STICKY,
};

/* Every exported function begins with it; any result but CU_OK is its own, and the lock is not held then. */
cu_result   fc_enter(enum call call, unsigned need);
cu_result   fc_leave(cu_result code);
const char *fc_call_name(unsigned call);
bool        fc_is_without(const char *name);

extern struct fc_config fc_config;

/* --------------------------------------------------------------------------------------------- objects and handles */

enum fc_kind { KIND_CONTEXT = 1, KIND_STREAM, KIND_EVENT, KIND_MODULE, KIND_MEMORY, KIND_GRAPH, KIND_COUNT };

/* A handle is no address: what is not one, and what was one, is told apart from what is. */
uint64_t fc_handle_make(enum fc_kind kind, void *object); /* 0: too many */
void    *fc_handle_get(enum fc_kind kind, uint64_t handle);
void     fc_handle_drop(uint64_t handle);
void    *fc_handle_next(enum fc_kind kind, size_t *cursor); /* from *cursor = 0 to NULL */

struct context {
    cu_context     handle;
    int            device;
    bool           primary;
    int            charge; /* its overhead, in the ledger */
    struct stream *legacy; /* made when the NULL stream is first used */
};

struct module {
    cu_module       handle;
    unsigned        kernels; /* a bit for each that its image has */
    struct context *context;
};

/* What was recorded: a place in a stream. */
struct record {
    unsigned       refs;
    struct stream *stream;
    uint64_t       serial, done_ns;
    bool           implied; /* by the legacy default stream: all that its stream held then */
};

struct event {
    cu_event        handle;
    struct context *context;
    unsigned        flags;
    struct record  *record; /* NULL: never recorded */
};

/* A piece of device memory at an address, or of host memory that the driver knows. */
enum span_kind { SPAN_MAPPING, SPAN_ALLOCATION, SPAN_PIN, SPAN_HOST_ALLOCATION };

struct span {
    enum span_kind  kind;
    cu_ptr          at;
    size_t          bytes;
    char           *reach;   /* where the host reaches them: an alias, or the pinned memory itself */
    struct memory  *memory;  /* of a mapping or allocation */
    struct context *context; /* whose it is; a mapping is nobody's */
    unsigned char   access[DEVICES_MAX], host_access;
    unsigned        flags;
    unsigned        unobserved; /* work that uses it and that nobody has waited for */
    unsigned        refs;       /* its place in the list, and the work that uses it */
    bool            gone;
    struct span    *next; /* ordered by address */
};

/* Physical memory: refs are those of its handles and spans. */
struct memory {
    cu_handle handle; /* 0: only mapped any more, or by cuMemAlloc */
    int       fd;
    size_t    bytes;
    int       device; /* -1: of the host */
    bool      exportable, shared;
    unsigned  refs, handle_refs;
};

struct reservation {
    cu_ptr              at;
    size_t              bytes;
    struct reservation *next;
};

/* --------------------------------------------------------------------------------------------------------- streams */

struct part {
    struct span *span;
    char        *reach;
    size_t       bytes;
};

struct parts {
    struct part *list;
    unsigned     count;
};

struct work;

/* A stand-in for a kernel. `take` looks at the arguments when it is launched, `run` does what it does in stream order;
 * NULL: nothing. */
struct kernel {
    const char *name;
    bool        has_parameters;
    void (*take)(struct work *work, int device, void *const *parameters);
    void (*run)(const struct work *work);
};

enum work_kind { WORK_COPY, WORK_SET, WORK_KERNEL, WORK_RECORD, WORK_WAIT, WORK_HOST };

struct work {
    enum work_kind       kind;
    uint64_t             serial;
    struct parts         to, from;
    void                *staged; /* pageable bytes, taken when they were handed over */
    size_t               bytes;
    uint32_t             value;
    unsigned             value_bytes;
    cu_result            fault; /* what carrying it out comes to */
    struct record       *record;
    const struct kernel *kernel;
    uint64_t             words; /* of a kernel's arguments: those that its stand-in needs when it runs */
    uint32_t             numbers[4];
    cu_host_function     function;
    void                *user;
    struct work         *next;
};

struct stream {
    cu_stream       handle; /* NULL: the legacy default stream */
    struct context *context;
    int             device;
    unsigned        flags, refs;
    bool            held, ending, running; /* running: the head of the queue */
    struct work    *queue, **queue_end;
    struct work    *past, **past_end; /* carried out, not observed */
    uint64_t        submitted, done, observed, random;
    struct fc_cond  more;
    bool            captured, spoiled;
    cu_capture_mode capture_mode;
    const void     *captured_by; /* a thread */
    struct stream  *next;        /* of all that have a thread, or work nobody has waited for */
};

struct fc_state {
    bool                initialized, ending;
    bool                forked; /* of a process that had called cuInit; read without the lock */
    cu_result           sticky;
    struct context     *primary[DEVICES_MAX];
    unsigned            retains[DEVICES_MAX], primary_flags[DEVICES_MAX];
    struct span        *spans;
    struct reservation *reservations;
    uint64_t            host_pinned;
    bool                held;
    unsigned            steps; /* allowed while held */
    struct stream      *streams;
    struct fc_cond      done;
    unsigned            moving; /* streams at the program's bytes, without the lock */
    uint64_t            calls[COUNTED];
    uint64_t            link_free_ns[DEVICES_MAX];
    uint64_t            violations;
    char                violation[512];
    int                 visible[DEVICES_MAX], visible_count; /* ordinal -> device */
    struct fc_process  *process;
};

extern struct fc_state fc;

/* Of the calling thread: its contexts, whether it runs a function of somebody's for a stream, and what it may do while
 * others capture. */
struct fc_thread {
    cu_context      stack[STACK_MAX];
    unsigned        depth;
    bool            in_host_function;
    cu_capture_mode capture_mode;
    const char     *call;
};

extern _Thread_local struct fc_thread fc_thread;

/* context.c */
struct context *fc_current(void); /* NULL: none, or one that is gone */
cu_result       fc_context_destroy(struct context *context);
bool            fc_device_good(cu_device device);

/* address.c */
struct span *fc_span_at(cu_ptr at); /* what covers it, or NULL */
struct span *fc_span_add(const struct span *span);
void         fc_span_remove(struct span *span); /* gone from the list; lives as long as work uses it */
void         fc_span_unref(struct span *span);
bool         fc_span_overlaps(cu_ptr at, size_t bytes);
/* CU_OK and its parts; or the error of the call; *fault: what carrying it out comes to. */
cu_result fc_resolve(cu_ptr at, size_t bytes, int device, bool writing, struct parts *parts, cu_result *fault);
void      fc_parts_hold(const struct parts *parts);
void      fc_parts_drop(struct parts *parts);
char     *fc_reserve_address(size_t bytes, size_t align);

/* memory.c */
struct memory *fc_memory_new(int device, size_t bytes, cu_result *code);
void           fc_memory_unref(struct memory *memory);
char          *fc_memory_reach(const struct memory *memory);

/* pins.c */
struct span *fc_pin_of(const void *host, size_t bytes, const struct context *context, cu_result *code);
bool         fc_still_mapped(const void *at, size_t bytes);
void         fc_pins_check(const char *when); /* pinned memory that is not there any more */

/* stream.c */
struct stream *fc_stream_of(cu_stream handle, cu_result *code); /* of the current context */
struct stream *fc_stream_start(struct context *context, unsigned flags, cu_result *code);
void           fc_stream_end(struct stream *stream);
void           fc_stream_unref(struct stream *stream);
struct work   *fc_work_new(enum work_kind kind);
void           fc_work_free(struct work *work);
uint64_t       fc_submit(struct stream *stream, struct work *work);
void           fc_await(struct stream *stream, uint64_t serial); /* carried out, or sticky */
void           fc_observe(struct stream *stream, uint64_t serial);
struct record *fc_record_new(struct stream *stream, uint64_t serial);
bool           fc_record_is_done(const struct record *record);
void           fc_record_unref(struct record *record);
cu_result      fc_context_await(struct context *context);

/* work.c: what a stream's thread carries out; the lock is held, and given up meanwhile */
void fc_carry_out(struct stream *stream, struct work *work);
void fc_sticky(cu_result code, const char *why);
void fc_wake_streams(void);
void fc_settle(void); /* after an error: nothing of the program's is touched any more */

/* kernel.c: for the stand-ins */
void     fc_kernel_reads(struct work *work, int device, cu_ptr at, size_t bytes); /* one behind the other in `from` */
void     fc_kernel_writes(struct work *work, int device, cu_ptr at, size_t bytes);
uint64_t fc_kernel_u64(void *const *parameters, int n);
uint32_t fc_kernel_u32(void *const *parameters, int n);

enum { PROBE_KERNELS = 5, INFER_KERNELS = 5 };
extern const struct kernel fc_probe_kernels[PROBE_KERNELS]; /* kernel_probe.c */
extern const struct kernel fc_infer_kernels[INFER_KERNELS]; /* kernel_infer.c */

/* capture.c */
cu_result fc_capture_forbids(enum call call);

/* copy.c */
cu_result fc_stream_and_current(cu_stream handle, struct stream **stream);

/* faults.c */
enum fault_action { FAULT_NONE, FAULT_ERROR, FAULT_STICKY, FAULT_DELAY, FAULT_CORRUPT };
void              fc_faults_read(void);
enum fault_action fc_fault_at(unsigned counted, int *value); /* hangs, aborts and kills by itself */

/* report.c */
void fc_violation(const char *call, const char *format, ...) __attribute__((format(printf, 2, 3)));
void fc_log(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* checkpoint.c */
void fc_checkpoint_wait(void); /* while the process is locked by somebody */
void fc_process_open(void);
void fc_process_pending(int change);
bool fc_process_failed(void); /* by the fault of another, under MPS */

#endif
