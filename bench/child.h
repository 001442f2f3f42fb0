/* SPDX-License-Identifier: Apache-2.0 */
/* A part of a measurement in a process of its own: it reads lines and answers with lines of JSON. So two things take
 * turns without sharing memory, threads or processor time. Started before this process has threads. */
#ifndef SGI_BENCH_CHILD_H
#define SGI_BENCH_CHILD_H

#include <jansson.h>
#include <stdio.h>
#include <sys/types.h>

struct child {
    const char *name;
    pid_t       pid;
    FILE       *to, *from;
};

/* `run` has the pipes as its stdin and stdout, and its exit status is what it returns. */
void    child_start(struct child *c, const char *name, int (*run)(void *user), void *user);
json_t *child_read(struct child *c); /* one line; exits where there is none, and leaves the reason
                                      * to who has said it */
json_t *child_turn(struct child *c); /* says that it is its turn, and reads */
void    child_end(struct child *c);  /* in the reverse order of their starts */

#endif
