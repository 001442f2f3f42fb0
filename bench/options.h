/* SPDX-License-Identifier: Apache-2.0 */
/* A command's options as a table over getopt_long: what is wrong is named in one sentence, and the exit status is 2. */
#ifndef SGI_BENCH_OPTIONS_H
#define SGI_BENCH_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { EXIT_GOOD = 0, EXIT_BAD = 1, EXIT_USAGE = 2, OPTIONS_MAX = 24 };

enum option_kind {
    OPTION_FLAG,   /* value: bool */
    OPTION_NUMBER, /* uint64_t between min and max */
    OPTION_BYTES,  /* likewise; 2M and 2MiB are 2 MiB */
    OPTION_CHOICE, /* const char *, one of `choices` */
    OPTION_DEVICE  /* const char *, a name as the library has it; "cuda" becomes "cuda:0" */
};

struct bench_option {
    const char        *name;
    enum option_kind   kind;
    void              *value; /* holds the default */
    uint64_t           min, max;
    const char *const *choices; /* NULL at the end */
    const char        *help;
};

struct bench_command {
    const char *name, *operands; /* "FILE", "[FILE]", "" */
    const char *purpose;         /* whole lines */
    uint32_t    operands_min, operands_max;
};

/* Fills what the table points to and `operands` (NULL where none was given). --help puts out the help and exits with 0;
 * what is wrong exits with 2. */
void options_parse(const struct bench_command *command, const struct bench_option *options, size_t count, int argc,
                   char **argv, const char **operands);

/* What --help has put out has to have arrived: exits with 0, or with 1 where it cannot be written. */
_Noreturn void help_done(void);
_Noreturn void usage_error(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The measurement cannot be made: exits with 1. */
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* From now on die() names it too: one of several processes. Borrowed. */
void name_part(const char *name);

/* For every --help that has sizes. */
#define BYTES_HELP \
    "BYTES may end in K, M, G or T, or in KiB, MiB, GiB or TiB, which is the same: 2M is 2 MiB (2097152)."

/* What several commands take. */
#define OPTION_REPEAT(o)                                                     \
    {                                                                        \
        "repeat", OPTION_NUMBER, &(o)->repeat, 1, 1000000, NULL, "how often" \
    }
#define OPTION_RATE(o)                                                                                              \
    {                                                                                                               \
        "rate", OPTION_BYTES, &(o)->rate, 1, UINT64_C(1) << 40, NULL, "read no more than so many bytes in a second" \
    }
#define OPTION_WHERE_TO(o)                                            \
    {                                                                 \
        "device", OPTION_DEVICE, &(o)->device, 0, 0, NULL, "where to" \
    }
#define OPTION_COLD(o)                                                                                          \
    {                                                                                                           \
        "cold", OPTION_FLAG, &(o)->cold, 0, 0, NULL, "drop the file from the page cache before each repetition" \
    }
#define OPTION_STDIN(o)                                                                                             \
    {                                                                                                               \
        "stdin", OPTION_FLAG, &(o)->on_line, 0, 0, NULL, "each repetition waits for a line of input, to take turns" \
    }
#define OPTION_MODEL_BYTES(o)                                                              \
    {                                                                                      \
        "bytes", OPTION_BYTES, &(o)->bytes, 4096, UINT64_C(1) << 40, NULL,                 \
            "size of the model that is made without FILE, under SGI_BENCH_DIR or /var/tmp" \
    }

#endif
