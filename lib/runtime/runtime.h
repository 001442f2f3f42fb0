/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The runtime: the core under its mutex, the place that does the work, the tables of what users hold, and the one
 * thread that sleeps until the next deadline. Only lib/runtime and lib/api include this.
 *
 * How anything happens: a thread takes the mutex, tells the core an event, and leaves through sgi__rt_leave(), which
 * hands replies to those who wait and carries the actions out, in their order, without the mutex. Whoever finds another
 * thread carrying actions out leaves its own to it. Places report back through sgi__rt_place_event(), which is the same
 * again.
 */
#ifndef SGI_RUNTIME_RUNTIME_H
#define SGI_RUNTIME_RUNTIME_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "base/pool.h"
#include "core/core.h"
#include "model/registry.h"
#include "observe/events.h"
#include "observe/metrics.h"
#include "observe/trace.h"
#include "place/place.h"
#include "runtime/pressure.h"

enum { CALL_BUFFER_BYTES = 64 * 1024, DONE_THREADS_MAX = 64, WORK_THREADS_MAX = 256 };

/* A registered model. Everything but last_error is fixed when it is registered. */
struct record {
    struct sgi__registry_entry entry; /* first */
    sgi_model                  id;
    char                      *name;
    struct sgi__manifest      *manifest;
    struct sgi__layout        *layout;
    sgi_engine                 engine;
    bool                       has_engine;
    sgi_source                 source;
    uint64_t                  *order;
    struct sgi__check         *checks;
    struct sgi__place_model    place_model;
    uint64_t                   hang_ns;
    uint32_t                   devices_mask;
    uint32_t                   residence;    /* SGI_RESIDENCE_AUTO, ... */
    uint64_t                   packed_bytes; /* that it takes in DRAM packed; 0: it cannot be */
    sgi_error                  last_error;   /* under the runtime's mutex: how its last failure reads */
    struct sgi__report         report;       /* likewise: how its last start went, for the trace */
    struct sgi__model_counts   counts;       /* likewise; warm hits are the core's */
    bool                       has_series;   /* likewise: metrics of its own */
    uint64_t                   queued_ns;    /* likewise: since when somebody waits for it to be admitted; 0: nobody */
};

/* The end of a request or a call, allocated when it is submitted, so that reporting it cannot fail. */
struct completion {
    struct sgi__job    job; /* first: a `done` callback is one */
    sgi_runtime       *rt;  /* from when its `done` is due: counted in `inside` until that has returned */
    sgi_completion     body;
    sgi_done_fn        done;
    void              *user;
    struct completion *next;
};

/* A thread in sgi_model_acquire_wait(). */
struct waiter {
    pthread_cond_t cond;
    bool           ended;
    sgi_status     status;
    sgi_lease      lease;
    sgi_error      error;
};

/* A want's other half, by the slot of its id. */
struct ticket {
    sgi_ticket         id;
    struct waiter     *waiter;     /* a thread that waits for it */
    struct completion *completion; /* NULL: only the thread, or nobody at all, is told */
    uint64_t           request_ns;
    uint32_t           deadline_ms;
    bool               prefetch;
};

/* Somebody who reads events. */
struct event_reader {
    sgi_events          id; /* 0: nobody */
    struct sgi__events *events;
    int                 fd; /* -1 until asked for */
};

/* What was seen of others' memory on a device last. */
struct look {
    uint64_t number, bytes;
};

/* How long nothing of ours has been on a device: `ns` up to `since_ns`, and from then on if it `is` so now. */
struct zero {
    uint64_t ns, since_ns;
    bool     is;
};

struct call {
    sgi_call  id;
    sgi_lease lease;
    sgi_model model;
    uint64_t  instance;
    uint64_t  tag;
    /* Under the runtime's mutex */
    uint32_t           refs;       /* the table's, the engine's, and each thread that looks at it */
    bool               canceled;   /* the core has been told */
    bool               handed;     /* the place has it */
    bool               died;       /* the place died before that */
    bool               detached;   /* its user has given it up; written under both, read under either */
    bool               back;       /* the engine has come back, or died with its place */
    bool               cancel_due; /* the place has not been told yet */
    bool               blocking;   /* sgi_lease_call(): no completions */
    bool               readable_queued;
    struct completion *readable; /* used again and again */
    struct completion *ended;    /* NULL once taken */
    /* Under its own mutex, taken after the runtime's or without it */
    pthread_mutex_t mutex;
    pthread_cond_t  changed;
    bool            done, unwanted;
    sgi_status      status;
    sgi_error       error;
    uint32_t        head, used; /* of the ring; pieces, each behind its length */
    uint8_t        *ring;
};

struct sgi_runtime {
    /* fixed after open */
    struct sgi__core_config      core_config;
    struct sgi__clock            clock;
    const struct sgi__place_ops *place_ops;
    struct sgi__place           *place;
    struct sgi__pool            *done_pool;
    const char                  *io_name;
    uint32_t                     calls_max;
    uint64_t                     hang_ns, idle_ns;
    struct sgi__device          *devices[SGI__DEVICES_MAX];
    char                       **roots;
    uint32_t                     roots_count;
    struct sgi__fs_posix         fs_config;
    struct sgi__rate             rate; /* of reading; has a mutex of its own */

    pthread_mutex_t      mutex; /* the core mutex: everything below */
    struct sgi__core    *core;
    struct record      **records; /* by slot */
    uint32_t             records_capacity;
    struct sgi__registry registry;
    struct ticket       *tickets; /* by slot */
    struct call        **calls;   /* calls_max of them, NULL when free */
    uint32_t             calls_count, cancels_due;
    uint64_t             overdue_count; /* leases that outlived their time, ever */
    uint64_t             call_serial;

    struct completion *completions_head, *completions_tail;
    uint32_t           completions_count;           /* waiting, or on their way to be */
    int                completion_fd;               /* -1 until asked for */
    struct completion *done_head, *done_tail;       /* to be given to the pool once the mutex is left */
    struct completion *orphans_head, *orphans_tail; /* the pool had no thread: the library's own runs them */

    bool           dispatching;
    uint32_t       inside; /* threads that will touch the runtime again, `done` callbacks due: close waits for them */
    bool           closing, closed; /* a thread is in close; the core has said CLOSED */
    pthread_cond_t changed;         /* drains and closes wait here */

    sgi_error          context_error; /* how the last context that did not open reads */
    struct look        looks[SGI__DEVICES_MAX];
    struct sgi__trace *trace; /* NULL until the first cold start */

    struct sgi__metrics metrics;
    struct zero         zeros[SGI__DEVICES_MAX];
    uint32_t            models_with_series;
    uint64_t            models_removed; /* ever */
    struct event_reader readers[SGI_EVENTS_READERS_MAX];
    uint32_t            readers_count; /* nobody reads: 0 */

    pthread_t      thread; /* the library's own */
    pthread_cond_t wake;
    uint64_t       armed; /* it sleeps until then at the latest */
    bool           stop;

    struct sgi__pressure pressure;
};

/* drive.c */
uint64_t   sgi__rt_now(const sgi_runtime *rt);
void       sgi__rt_enter(sgi_runtime *rt);
void       sgi__rt_leave(sgi_runtime *rt);
void       sgi__rt_outside(sgi_runtime *rt); /* for who waits inside: under the mutex, after raising `inside` by hand */
void       sgi__rt_place_event(void *user, const struct sgi__place_event *event);
sgi_status sgi__rt_engine_bytes(void *user, uint64_t instance, uint64_t bytes, bool at_least, uint64_t *before_out,
                                sgi_error *err);
sgi_status sgi__rt_thread_start(sgi_runtime *rt, sgi_error *err);
void       sgi__rt_thread_stop(sgi_runtime *rt);
void       sgi__rt_pressure(void *user);               /* host memory is short */
void       sgi__rt_poke(sgi_runtime *rt);              /* a clock that is not the real one has moved */
uint64_t   sgi__rt_wait_deadline(uint32_t timeout_ms); /* for condition waits: real time */

/* ids.c: the top two bits of an id, whoever gave it out */
enum sgi__id_kind { SGI__ID_MODEL, SGI__ID_LEASE, SGI__ID_TICKET, SGI__ID_CALL };
/* SGI_E_STALE, saying what the public function `function` was given and wanted. */
sgi_status sgi__rt_stale(sgi_error *err, const char *function, enum sgi__id_kind kind, uint64_t id);

/* models.c: all of them enter and leave by themselves */
sgi_status     sgi__rt_register(sgi_runtime *rt, const sgi_model_config *config, sgi_model *model_out, sgi_error *err);
sgi_status     sgi__rt_unregister(sgi_runtime *rt, sgi_model model, uint32_t timeout_ms, sgi_error *err);
sgi_status     sgi__rt_pin(sgi_runtime *rt, sgi_model model, uint32_t tier, sgi_error *err);
void           sgi__rt_record_free(struct record *record);
struct record *sgi__rt_record(const sgi_runtime *rt, sgi_model model); /* under the mutex; NULL: stale */
/* Likewise: the error that was just filled is about this model, if it is still there. */
void sgi__rt_name_model(const sgi_runtime *rt, sgi_model model, sgi_error *err);

/* requests.c */
sgi_status sgi__rt_acquire(sgi_runtime *rt, sgi_model model, const sgi_acquire_options *options, uint32_t tier,
                           bool prefetch, sgi_ticket *ticket_out, sgi_done_fn done, void *user, sgi_error *err);
sgi_status sgi__rt_acquire_wait(sgi_runtime *rt, sgi_model model, const sgi_acquire_options *options,
                                sgi_lease *lease_out, sgi_error *err);
sgi_status sgi__rt_ticket_wait(sgi_runtime *rt, sgi_ticket ticket, uint32_t timeout_ms, sgi_lease *lease_out,
                               sgi_error *err);
void       sgi__rt_granted(sgi_runtime *rt, const struct sgi__core_reply *reply);  /* under the mutex */
void       sgi__rt_rejected(sgi_runtime *rt, const struct sgi__core_reply *reply); /* likewise */
uint64_t   sgi__rt_idle_ns(uint32_t idle_timeout_ms, uint64_t of_default);
/* SGI_IDLE_NEVER: no limit; the other special idle times are just times. */
uint64_t sgi__rt_hang_ns(uint32_t hang_timeout_ms, uint64_t of_default);

/* completions.c, also for the readers of events: an eventfd that is readable while there is something to take.
 * -1: there is none to be had; setting or clearing that does nothing. Set and cleared under the mutex. */
int  sgi__ready_fd_open(bool ready);
void sgi__ready_fd_set(int fd);
void sgi__ready_fd_clear(int fd);

/* completions.c: under the mutex unless said otherwise */
struct completion *sgi__completion_new(uint32_t kind, uint64_t tag); /* NULL: out of memory; needs no mutex */
void               sgi__completion_post(sgi_runtime *rt, struct completion *c); /* to the queue, or to its `done` */
struct completion *sgi__completion_take_ticket(sgi_runtime *rt,
                                               sgi_ticket   ticket); /* out of the queue; NULL: it is not there */
void               sgi__completion_drop(sgi_runtime       *rt,
                                        struct completion *c); /* takes it out of the queue if it is there, and frees it
                                                                  */
void sgi__completions_run_orphans(sgi_runtime *rt); /* on the library thread; leaves the mutex and takes it again */
void sgi__completions_hand_over(sgi_runtime       *rt,
                                struct completion *list); /* `done` callbacks to their threads; without the mutex */
sgi_status sgi__completion_fd(sgi_runtime *rt, int *fd_out);
sgi_status sgi__completion_next(sgi_runtime *rt, sgi_completion *completion_out);

/* calls.c */
sgi_status sgi__rt_call_begin(sgi_runtime *rt, sgi_lease lease, const void *request, size_t bytes, uint64_t tag,
                              bool blocking, sgi_call *call_out, sgi_error *err);
sgi_status sgi__rt_call_read(sgi_runtime *rt, sgi_call call, void *buffer, size_t capacity, size_t *bytes_out,
                             sgi_error *err);
sgi_status sgi__rt_call_wait_piece(sgi_runtime *rt, sgi_call call, uint32_t timeout_ms, sgi_error *err);
sgi_status sgi__rt_lease_cancel(sgi_runtime *rt, sgi_lease lease);
sgi_status sgi__rt_call_cancel(sgi_runtime *rt, sgi_call call);
sgi_status sgi__rt_call_end(sgi_runtime *rt, sgi_call call);
sgi_status sgi__rt_call_wait(sgi_runtime *rt, sgi_lease lease, const void *request, size_t bytes, uint32_t timeout_ms,
                             sgi_piece_fn on_piece, void *user, sgi_error *err);
sgi_status sgi__rt_piece(void *user, uint64_t call, const void *piece, size_t bytes);
void       sgi__rt_called(sgi_runtime *rt, const struct sgi__place_event *event);
void       sgi__rt_calls_wedged(sgi_runtime *rt, sgi_model model, uint64_t instance); /* under the mutex */
uint32_t   sgi__rt_calls_open(const sgi_runtime *rt, sgi_model model); /* under the mutex; not given up */
void       sgi__rt_calls_died(sgi_runtime *rt);                 /* under the mutex: the place has, and they with it */
void       sgi__rt_call_completion_taken(struct completion *k); /* under the mutex */
void       sgi__rt_calls_tell_canceled(sgi_runtime *rt);        /* under the mutex, which it leaves and takes again */
void       sgi__rt_lease_overdue(sgi_runtime *rt, sgi_lease lease); /* under the mutex */

/* observe.c: under the mutex; metrics, and events where somebody reads them */
void       sgi__rt_tell(sgi_runtime *rt, const sgi_event *event); /* with the time */
void       sgi__rt_observe_registered(sgi_runtime *rt, struct record *record);
void       sgi__rt_observe_removed(sgi_runtime *rt, const struct record *record);
void       sgi__rt_observe_queued(sgi_runtime *rt, struct record *record, sgi_ticket ticket);
void       sgi__rt_observe_busy(sgi_runtime *rt, struct record *record, bool prefetch); /* it was not accepted */
void       sgi__rt_observe_end(sgi_runtime *rt, struct record *record, const struct ticket *ticket,
                               const struct sgi__core_reply *reply);
void       sgi__rt_observe_action(sgi_runtime *rt, const struct sgi__core_action *action);
void       sgi__rt_observe_place(sgi_runtime *rt, const struct sgi__core_event *event,
                                 const struct sgi__report *report); /* report: of a load, or NULL */
void       sgi__rt_observe_devices(sgi_runtime *rt); /* whether they hold anything of ours has perhaps changed */
void       sgi__rt_observe_wedged(sgi_runtime *rt, sgi_model model, uint32_t step);
void       sgi__rt_observe_note(sgi_runtime *rt, const struct sgi__core_reply *note);
void       sgi__rt_readers_free(sgi_runtime *rt);
sgi_status sgi__rt_events_open(sgi_runtime *rt, uint32_t records_max, uint64_t kinds, sgi_events *events_out,
                               sgi_error *err);
sgi_status sgi__rt_events_read(sgi_runtime *rt, sgi_events events, sgi_event *event_out);
sgi_status sgi__rt_events_fd(sgi_runtime *rt, sgi_events events, int *fd_out);
sgi_status sgi__rt_events_close(sgi_runtime *rt, sgi_events events);

/* metrics.c: a copy of everything, to be given to sgi__free(). NULL: out of memory. */
struct sgi__metrics_snapshot *sgi__rt_metrics(sgi_runtime *rt);

/* open.c */
enum { SGI__HOLDER_BYTES = 80 };
/* "2 leases, 1 overdue, 1 call open", "a callback of its engine": what keeps a model from ending. Under the mutex. */
void sgi__rt_holder(const sgi_runtime *rt, sgi_model model, const struct sgi__core_model_view *view, char *text,
                    size_t bytes);

/* As sgi_runtime_open(), with another place or clock: for tests of the seams. NULL: the real ones. */
sgi_status sgi__runtime_open_with(const sgi_runtime_config *config, const struct sgi__place_ops *place,
                                  const struct sgi__clock *clock, sgi_runtime **rt_out, sgi_error *err);
sgi_status sgi__runtime_close(sgi_runtime *rt, uint32_t timeout_ms, sgi_error *err);

/* ram.c */
uint64_t sgi__ram_bytes(void); /* min(physical, cgroup limit) */

#endif
