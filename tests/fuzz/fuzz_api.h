/* SPDX-License-Identifier: Apache-2.0 */
/* What the fuzz target of the public API knows about the runtime it plays with, and what it checks everywhere. Sees the
 * public headers only. Whatever is not as the headers say aborts. */
#ifndef TESTS_FUZZ_FUZZ_API_H
#define TESTS_FUZZ_FUZZ_API_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sgi/ext.h>

#include "support/engine.h"

#define CHECK(truth) ((truth) ? (void)0 : fuzz_broken(#truth, __FILE__, __LINE__))

_Noreturn void fuzz_broken(const char *truth, const char *file, int line);

enum id_kind { ID_MODEL, ID_LEASE, ID_TICKET, ID_CALL, ID_EVENTS, ID_KINDS };

/* What an id is known to be. UNSURE: a ticket whose end nobody is told of, a model that is on its way out. */
enum known { DEAD, UNSURE, LIVE };

enum { LIVE_MAX = 24, EVER_MAX = 4096, ENGINES = 3, OPS_MAX = 96 };

struct live {
    uint64_t id;
    uint64_t of;     /* the model of a lease or a ticket, the lease of a call */
    bool     unsure; /* see UNSURE */
    uint64_t order;  /* of a reader: the time of its last event */
};

struct world {
    const uint8_t *at, *end; /* of the input */
    sgi_runtime   *rt;
    uint32_t       devices_count, requests_max, calls_max;
    bool           draining;

    struct test_engine engines[ENGINES];

    struct live live[ID_KINDS][LIVE_MAX];
    uint32_t    live_count[ID_KINDS];

    pthread_mutex_t mutex; /* guards what follows: `done` callbacks add to it */
    uint64_t        ever[EVER_MAX];
    uint32_t        ever_count;
    uint32_t        done_out; /* requests whose callback has not come */

    sgi_error err; /* of the call that is being made */
    bool      err_given;
};

/* ---- the input: past its end everything is 0 ---- */

uint8_t  take(struct world *w);
uint32_t below(struct world *w, uint32_t n);  /* 0 .. n - 1 */
bool     one_in(struct world *w, uint32_t n); /* seldom; never past the end */
bool     one_of_two(struct world *w);

/* ---- ids ---- */

bool         room_for(const struct world *w, enum id_kind kind);
struct live *born(struct world *w, enum id_kind kind, uint64_t id, uint64_t of); /* one that there never was before */
void         seen(struct world *w, uint64_t id); /* likewise, for one that is not kept */
void         gone(struct world *w, enum id_kind kind, uint64_t id);
struct live *find(struct world *w, enum id_kind kind, uint64_t id);

/* One that is live where there is one; at times one that has ended, is of another kind, or never was. */
uint64_t pick(struct world *w, enum id_kind kind, enum known *known_out);

/* ---- statuses ---- */

/* For `err` of the next call: at times NULL, or that of an older caller. */
sgi_error *err_of(struct world *w);

/* `st` is SGI_OK or one of these, and `err` was filled if and only if it failed. */
#define ONE_OF(w, st, ...)                                          \
    fuzz_one_of(w, st, (const sgi_status[]){ SGI_OK, __VA_ARGS__ }, \
                sizeof((const sgi_status[]){ SGI_OK, __VA_ARGS__ }) / sizeof(sgi_status), __FILE__, __LINE__)
void fuzz_one_of(struct world *w, sgi_status st, const sgi_status *allowed, size_t count, const char *file, int line);

/* What sgi.h means by "what the load failed with". -150: the status of an engine's own that ours return. */
#define LOAD_FAILED                                                                                                    \
    SGI_E_IO, SGI_E_CHANGED, SGI_E_CHECK, SGI_E_ENGINE, SGI_E_WEDGED, SGI_E_DEVICE, SGI_E_DEVICE_MEMORY, SGI_E_SYSTEM, \
        SGI_E_INVALID, ENGINES_OWN
enum { ENGINES_OWN = -150 };

/* A known id is not stale, a dead one is, whatever else there is to say about the call (`st_before`: said first). */
void check_stale(enum known known, sgi_status st, sgi_status st_before);

/* ---- output structs ---- */

union out_any {
    uint32_t struct_size;
    uint64_t words[128];
};
struct out {
    union out_any any;
    uint32_t      size; /* as given */
};
void *out_begin(struct world *w, struct out *o, size_t full);
/* Written only on success, never past its size. False: nothing to read in it. */
bool out_end(struct out *o, size_t full, sgi_status st);

/* ---- input structs ---- */

struct options {
    sgi_acquire_options o;
    uint64_t            newer; /* what a newer header would have behind it */
};
const sgi_acquire_options *an_options(struct world *w, struct options *options, bool waits);

/* ---- engines ---- */

/* They ask for all that ext.h offers, with arguments that are not good too. */
void fuzz_api_engine(struct world *w, struct test_engine *e);

/* ---- the whole ---- */

void world_begin(struct world *w, const uint8_t *data, size_t size);
void world_check(struct world *w); /* what has to be true between any two calls */
void world_end(struct world *w);   /* everything given back, the runtime closed, nothing left behind */

/* The end of a request that is told in a completion; takes note of its lease. */
void took_completion(struct world *w, const sgi_completion *c);

/* Each does one thing that the input names. w->rt is NULL where that was the runtime's end. */
void fuzz_api_models(struct world *w); /* models, requests, the runtime itself */
void fuzz_api_leases(struct world *w); /* leases, calls, what is observed */
void fuzz_api_pack(struct world *w);   /* packs and checks */
void fuzz_api_asks(struct world *w);   /* estimates, and what the library says without a runtime */

/* Paths of the models there are: made once, for all inputs. */
enum { PATHS = 7 };
const char *fuzz_api_path(uint32_t n);
const char *fuzz_api_folder(void); /* for what is made meanwhile */
/* Where checks are, or might be; most often NULL. `written`: they will be, so it is no file that others need. */
const char *fuzz_api_checks(struct world *w, bool written);

#endif
