/* SPDX-License-Identifier: Apache-2.0 */
/* What each of these programs does around its work: its one argument, its messages, and whether its output arrived. */
#ifndef PROGRAM_H
#define PROGRAM_H

typedef struct program {
    const char *name;  /* as built; messages begin with it */
    const char *usage; /* for --help */
} program;

/* The argument, or NULL where there is none. --help prints the usage and ends the program; an option that is none, or a
 * second argument, ends it with 2 and one sentence. "-" is an argument. */
const char *program_argument(const program *p, int argc, char **argv);

/* "NAME: ..." on stderr. Returns 1, to be returned from main. */
__attribute__((format(printf, 2, 3))) int program_fail(const program *p, const char *format, ...);

/* At the end: flush stdout. Returns `rc`, or 1 where something that was printed could not be written. */
int program_end(const program *p, int rc);

#endif
