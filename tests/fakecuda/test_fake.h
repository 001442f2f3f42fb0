/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the fake driver share: its own functions, and other processes of the same program. */
#ifndef TEST_FAKE_H
#define TEST_FAKE_H

#include <sys/types.h>

#include "../conformance/cuda_fixture.h"
#include "fakecuda.h"

/* NOLINTNEXTLINE(bugprone-macro-parentheses): a list of parameters */
#define FAKE_MEMBER(result, name, parameters) result(*name) parameters;
struct fake_functions {
    FAKECUDA_CONTROL(FAKE_MEMBER)
};
extern struct fake_functions fake;

bool fake_find(void);
bool has_tsan(void);    /* ThreadSanitizer is in the program, and does not see into the fake */
bool has_checked(void); /* it sees into the fake */

struct fakecuda_ledger ledger(void);
void                   assert_nothing_is_held(void);

/* Between the two, violations are counted and do not end the process. `end` gives how many there were, and the last. */
void        lax_begin(void);
uint64_t    lax_end(void);
const char *lax_text(void);
void        assert_one_violation(const char *begin); /* ends it too */

/* A process of this program in a role: `to` and `from` are its pipes, `errors` what it writes to stderr. */
struct role {
    pid_t pid;
    int   to, from, errors;
};

void role_start(struct role *role, const char *name, const char *variable); /* "NAME=VALUE" or NULL */
void role_go(struct role *role);                                            /* it waits for that */
void role_reached(struct role *role);                                       /* waits until it says so */
bool role_says_nothing(struct role *role, int ms);
int  role_end(struct role *role, char *errors, size_t room); /* its wait status */
int  role_run(const char *name, const char *variable, char *errors, size_t room);

int role_main(const char *name); /* the role's side */

/* Pinned memory, device memory and a stream: what most tests here need. */
struct lane {
    cu_context     context;
    cu_stream      stream;
    cu_event       event;
    cu_ptr         at;
    unsigned char *host;
    size_t         bytes;
};

void lane_open(struct lane *lane);
void lane_close(struct lane *lane);
void lane_copy(struct lane *lane); /* all of it, and the event recorded */

int fake_stream_tests(void);
int fake_memory_tests(void);
int fake_process_tests(void);

#endif
