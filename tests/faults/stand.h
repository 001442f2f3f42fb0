/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where something is slow or never comes back: a runtime on the test's clock with two models. Trouble comes to one, "m"
 * with its engine; "other", of one file and without an engine, must notice nothing of it.
 */
#ifndef TESTS_FAULTS_STAND_H
#define TESTS_FAULTS_STAND_H

#include "loop.h"
#include "support/clock.h"

enum { STAND_HANG_MS = 5000 };

struct stand {
    struct test_clock  clock;
    struct test_engine engine;
    struct ledger      before;
    sgi_runtime       *rt;
    sgi_model          model, other;
    sgi_error          err;
};

sgi_runtime_config stand_config(void);
/* place NULL: the local one; config NULL: stand_config(). */
void stand_open(struct stand *s, const struct sgi__place_ops *place, const sgi_runtime_config *config);
void stand_close(struct stand *s); /* and nothing is left */

sgi_ticket stand_ask(struct stand *s, sgi_model model, uint32_t deadline_ms);
/* How that ended; s->err says what it said. */
sgi_status stand_end(struct stand *s, sgi_ticket ticket, sgi_lease *lease_out);
bool       stand_has_ended(struct stand *s, sgi_ticket ticket); /* and its end has not been taken */

/* A lease with the right bytes, and back. */
void stand_serves(struct stand *s, sgi_model model);
/* The other model comes up, is right, and goes. */
void stand_others_go_on(struct stand *s);
/* Whoever closes now is told who holds what; nothing is freed. */
void stand_close_times_out(struct stand *s, const char *holder);

#endif
