/* SPDX-License-Identifier: Apache-2.0 */
/* What the library costs and how near it comes to what the machine can do, one subcommand a question. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "options.h"

static const struct {
    const char *name;
    int (*main)(int argc, char **argv);
    const char *question;
} commands[] = {
    { "raw", raw_main, "the ceiling: a file into memory, with no code of the library" },
    { "pages", pages_main, "what new memory costs by itself, nothing read" },
    { "load", load_main, "a model from its files, or from DRAM, onto a device" },
    { "warm", warm_main, "a lease on what is loaded already, and back" },
    { "idle", idle_main, "thousands of models that nobody calls" },
    { "swap", swap_main, "two models that do not fit together, in turn" },
    { "memory", memory_main, "peak memory of a load, and what stays of it" },
    { "release", release_main, "from the last release to nothing" },
};

enum { COMMANDS = sizeof commands / sizeof *commands };

static void put_help(FILE *to)
{
    fputs("sgi-bench COMMAND [OPTION]...\n\n", to);
    for (int n = 0; n < COMMANDS; n++)
        fprintf(to, "  %-8s %s\n", commands[n].name, commands[n].question);
    fputs("\nsgi-bench COMMAND --help lists its options. Results are lines of JSON, the last one with median, minimum "
          "and "
          "maximum\nand with facts about the machine.\n",
          to);
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN); /* a reader that has gone is an error of write, with a message */
    if (argc < 2) {
        fputs("sgi-bench: which command? sgi-bench --help lists them\n", stderr);
        return EXIT_USAGE;
    }
    for (int n = 0; n < COMMANDS; n++)
        if (strcmp(argv[1], commands[n].name) == 0)
            return commands[n].main(argc - 1, argv + 1);
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        put_help(stdout);
        return EXIT_GOOD;
    }
    fprintf(stderr, "sgi-bench: there is no command '%s'; sgi-bench --help lists them\n", argv[1]);
    return EXIT_USAGE;
}
