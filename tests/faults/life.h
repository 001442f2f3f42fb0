/* SPDX-License-Identifier: Apache-2.0 */
/* A runtime's whole life with a fault in it: what fails, what may be said then, and what is done. */
#ifndef TESTS_FAULTS_LIFE_H
#define TESTS_FAULTS_LIFE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/fault.h"
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
    bool            rare;  /* much like another one: only with --every */
    bool            large; /* the life is one of models whose memory is worth touching ahead */
    bool            cold;  /* nothing is in the page cache, so that files are read past it */
};

/* A model in two shards, with an engine and a memfd; and one of a single file in a folder, with neither. */
struct files {
    struct test_shards shards;
    struct test_file   plain;
    struct test_folder folder, plain_folder;
    sgi_tensor_check   checks[4], plain_checks[2];
};

struct run {
    const struct fault *f;
    const struct files *files;
    uint64_t            nth;      /* passing that fails, for what a failure of the test says */
    uint32_t            failures; /* of calls */
    struct test_engine  engine;
    sgi_runtime        *rt;
    sgi_model           model, plain;
};

/* From the nth passing on it fails `times` times. */
void     fault_plan(struct run *r, uint64_t nth, uint64_t times);
uint64_t fault_passed(struct run *r);
void     faults_clear(struct run *r);

/* One after the other. Each fails the test where something is said that is not true. */
void life_begin(struct run *r);
bool life_open(struct run *r);
void life_register(struct run *r);
void life_live(struct run *r);
void life_goes_on(struct run *r); /* without faults: what they have left must be as good as new */

void life_quiet(struct run *r, sgi_model model); /* waits until nothing of it is on its way */

#endif
