/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loop that every kind of fault goes through: a runtime's whole life, from open to close, and in it the Nth passing
 * of one place fails, for N = 1, 2, ... until a run passes that place fewer than N times. Whatever fails says so truly,
 * nothing is left behind or stuck, and once the cause is gone the next acquire works.
 *
 * A program that uses it has one group of tests, with loop_set_up() and loop_tear_down() around it.
 */
#ifndef TESTS_FAULTS_LOOP_H
#define TESTS_FAULTS_LOOP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/fault.h"
#include "support/calls.h"
#include "support/clock.h"
#include "support/host.h"

enum fault_kind {
    FAULT_POINT,   /* enum sgi__fault_point */
    FAULT_CALL,    /* enum test_call */
    FAULT_CALLBACK /* enum engine_step; the value is a status */
};

enum { SAYS_MAX = 5 };

struct fault {
    const char     *name;
    enum fault_kind kind;
    int             which;
    int             value;             /* it fails with */
    sgi_status      may_say[SAYS_MAX]; /* what may be said when it does; none: it must be survived */
    uint32_t        io_engine;
    uint64_t        times; /* from there on it fails so often; 0: always */
    uint32_t        step;  /* it is said at; 0: at any */
    bool            thin;  /* many passings that are alike: only some of them, without --every */
    bool            large; /* the life is one of models whose memory is worth touching ahead */
    bool            cold;  /* nothing is in the page cache, so that files are read past it */
};

/* What the process holds; taken before and compared after. */
struct ledger {
    uint32_t descriptors, threads;
    int64_t  allocations, mapped;
};

struct ledger ledger_take(void);
/* Fails the test if anything is left; `what` says after what. Threads may still be on their way out: they are waited
 * for. */
void ledger_compare(const struct ledger *before, const char *what);

int loop_set_up(void **state); /* files, and what a first runtime leaves in any process */
int loop_tear_down(void **state);
int loop_clear(void **state); /* after each test: no plans */

/* The files of the models in a life, for other tests of the program: two shards behind an index, and one file. */
const struct test_shards *loop_shards(void);
const struct test_file   *loop_file(void);
const sgi_tensor_check   *loop_shards_checks(void); /* of "a" to "d" */
const sgi_tensor_check   *loop_file_checks(void);   /* of "x" and "y" */

/* The group: each of `faults` once and from there on, and further tests beside them. Arguments: --every, and a filter
 * of names. */
int loop_main(int argc, char **argv, const char *group, const struct fault *faults, size_t faults_count,
              const struct CMUnitTest *others, size_t others_count);

#endif
