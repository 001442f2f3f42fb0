/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the 24 failure modes begin with: a runtime under the test's clock, over the local place or over
 * one whose results can be held back, and files whose bytes are known. README.md beside it says which mode is where. */
#ifndef TESTS_FAULTS_MODES_H
#define TESTS_FAULTS_MODES_H

#include "support/clock.h"
#include "support/host.h"
#include "support/test_place.h"

enum { IDLE_MS = 60000, STARVE_MS = 5000, BACKOFF_MS = 100, BACKOFF_MAX_MS = 1000, FILE_BYTES = 1 << 20, FILES = 3 };

struct modes {
    struct test_clock  clock;
    struct test_engine engine; /* with prefix and prepare; looks at every byte in start */
    sgi_runtime       *rt;
    struct test_place *tp; /* NULL over another place than the test's */
    sgi_error          err;
};

/* FILES files of one tensor of FILE_BYTES each, and two shards of together 4.4 MiB, which is enough for pages to be
 * touched ahead: made by modes_set_up(). */
extern struct test_folder modes_folder;
extern struct test_file   modes_files[FILES];
extern struct test_shards modes_shards;

/* What a start passes through, in this order where there is an order. */
enum { MODES_STEPS = 6 };
extern const enum sgi__place_event_kind modes_steps[MODES_STEPS];

/* Devices of `bytes_max` each; idle after IDLE_MS, contexts stay, nothing hangs, no DRAM tier. */
sgi_runtime_config modes_config(uint32_t devices_count, uint64_t bytes_max);
void               modes_open(struct modes *m, const sgi_runtime_config *config, const struct sgi__place_ops *place);
void               modes_close(struct modes *m);
void               modes_advance(struct modes *m, uint64_t ms);

/* A model over modes_files[n], with the engine or without. */
sgi_model modes_add(struct modes *m, uint32_t n, bool with_engine, uint32_t leases_max);

sgi_ticket modes_ask(struct modes *m, sgi_model model);
sgi_status modes_end(struct modes *m, sgi_ticket ticket, sgi_lease *lease_out);       /* waits; err has why */
sgi_lease  modes_granted(struct modes *m, sgi_ticket ticket);                         /* waits; must be OK */
void       modes_same(struct modes *m, sgi_model model, sgi_lease lease, uint32_t n); /* the bytes of modes_files[n] */
void       modes_use(struct modes *m, sgi_model model, uint32_t n);                   /* acquire, compare, release */
void       modes_evict(struct modes *m, sgi_model model);                             /* everything; until it is cold */
void       modes_quiet(struct modes *m, sgi_model model); /* until it is neither on its way up nor down */
void       modes_hold_nothing(struct modes *m);           /* no byte anywhere, no request, no thread but one */

/* ---- what the system says ---- */

bool     modes_mapped(const void *address); /* the page is memory of this process */
uint32_t modes_entries(const char *path);   /* of a folder: descriptors, threads */
uint32_t modes_image_maps(void);            /* maps of memfd images */
uint64_t modes_resident(void);              /* anonymous and shared memory, bytes; 0 under a sanitizer: it lies there */

/* Around each group, and after each test. */
int modes_set_up(void **state);
int modes_tear_down(void **state);
int modes_clear(void **state);

#define MODE(test) cmocka_unit_test_teardown(test, modes_clear)

#endif
