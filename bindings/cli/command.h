/* SPDX-License-Identifier: Apache-2.0 */
/* What a command of `sgi` is, how it reads its arguments, and how it says that it failed. */
#ifndef SGI_CLI_COMMAND_H
#define SGI_CLI_COMMAND_H

#include <getopt.h>
#include <stdint.h>

#include <sgi/sgi.h>

#include "output.h"

enum { EXIT_GOOD = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

struct command {
    const char *name;
    const char *summary; /* one line for `sgi help` */
    const char *help;    /* all of `sgi help NAME` */
    /* argv[0] is the command's name. A command that could not write returns EXIT_GOOD: main looks at the output. */
    int (*run)(struct output *out, int argc, char **argv);
};

extern const struct command command_inspect, command_load, command_features, command_pack, command_verify,
    command_unpack, command_digest;

/* Codes of options without a letter begin here, out of the way of letters; --help has the same in every command. */
enum { OPTION_FIRST = 256, OPTION_HELP = 'h' };

/* The code of the next option, or one of these. Options and operands may be mixed. */
enum {
    OPTIONS_END = -1,
    OPTIONS_DONE = -2, /* the help was asked for and has been put out */
    OPTIONS_BAD = -3   /* the usage error has been printed */
};
int option_next(struct output *out, const struct command *command, int argc, char **argv, const struct option *table);

/* A whole number in range; for bytes with K, M or G (and iB) behind it. On failure the usage error has been printed. */
bool number_parse(const struct command *command, const char *option, const char *text, uint64_t min, uint64_t max,
                  uint64_t *out);
bool bytes_parse(const struct command *command, const char *option, const char *text, uint64_t min, uint64_t max,
                 uint64_t *out);

/* --folder, which may be given several times. On failure the usage error has been printed. */
enum { FOLDERS_MAX = 64 }; /* as sgi.h has it */
struct folders {
    const char *list[FOLDERS_MAX];
    uint32_t    count;
};
bool folder_add(const struct command *command, struct folders *folders, const char *path);

/* An option's path of a file to read, which is not empty. On failure the usage error has been printed. */
bool file_take(const struct command *command, const char *option, const char *text, const char **path_out);

/* --checks, a path that is not empty. On failure the usage error has been printed. */
bool checks_take(const struct command *command, const char *text, const char **path_out);

/* The one operand that is left, or NULL after the usage error. */
const char *operand_path(const struct command *command, int argc, char **argv);

/* One line on stderr with a pointer to the help. `command` NULL: of sgi itself. */
int usage_error(const struct command *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* One line on stderr: "sgi: warning: cause". */
void say_warning(const char *cause);

/* One line on stderr: "sgi: PATH: cause". The path is left out where the cause names it already. */
int failure(const char *path, const char *cause);
int failure_sys(const char *path, int os_errno, const char *doing);
int failure_status(const char *path, sgi_status status, const sgi_error *err);

#endif
