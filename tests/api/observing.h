/* SPDX-License-Identifier: Apache-2.0 */
/* A runtime under the test's clock with a reader of its events open, and what is asked of it. Each of these fails the
 * test when it does not go well. */
#ifndef TESTS_API_OBSERVING_H
#define TESTS_API_OBSERVING_H

#include "support/clock.h"
#include "support/host.h"

enum { IDLE_MS = 500, LINGER_MS = 200, HANG_MS = 5000, LAST_MAX = 16 };
#define MS UINT64_C(1000000)

struct fixture {
    struct test_clock  clock;
    struct test_engine engine; /* with prepare */
    sgi_runtime       *rt;
    sgi_events         events;
    sgi_event          last[LAST_MAX]; /* as expect() found them */
    sgi_error          err;
};

sgi_runtime_config observe_config(void);
void               open_over(struct fixture *f, const sgi_runtime_config *config, const struct sgi__place_ops *place);
void               set_up(struct fixture *f); /* observe_config() over the local place */
void               tear_down(struct fixture *f);
void               advance(struct fixture *f, uint64_t ms);

sgi_event next_event(struct fixture *f);                /* waits for it at the fd */
void      expect(struct fixture *f, const char *names); /* "queued admitted ...": these come next, all of them */
void      quiet(struct fixture *f);                     /* none waits */

struct text {
    char  *data;
    size_t bytes;
};
int         collect(void *user, const char *text, size_t bytes); /* for a struct text; grows it */
struct text metrics(sgi_runtime *rt);

double metric(sgi_runtime *rt, const char *series); /* its labels written as in the text */
void   is(struct fixture *f, const char *series, double wanted);
double acquires(struct fixture *f, const char *model, const char *result, const char *path);

#endif
