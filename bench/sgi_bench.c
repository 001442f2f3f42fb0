/* SPDX-License-Identifier: Apache-2.0 */
/* What the library costs and how near it comes to what the machine can do, one subcommand a question. */
#include <signal.h>
#include <stdbool.h>
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
    { "gpu", gpu_main, "a model onto a GPU, beside bare copies and bare reads, and back to nothing" },
};

enum { COMMANDS = sizeof commands / sizeof *commands };

static _Noreturn void help(void)
{
    fputs("sgi-bench COMMAND [OPTION]...\nsgi-bench help [COMMAND]\n\n", stdout);
    for (int n = 0; n < COMMANDS; n++)
        printf("  %-8s %s\n", commands[n].name, commands[n].question);
    fputs("\nsgi-bench COMMAND --help lists its options. Results are lines of JSON, the last one with median, minimum "
          "and\nmaximum and with facts about the machine.\n\nWithout FILE a command makes its own, in the folder that "
          "the environment variable SGI_BENCH_DIR names, else in /var/tmp,\nand takes them away.\n\n" BYTES_HELP
          "\n\nExit status: 0 good; 1 nothing could be measured; 2 wrong usage.\n",
          stdout);
    help_done();
}

/* NULL: there is none of that name. */
static int (*command_of(const char *name))(int argc, char **argv)
{
    for (int n = 0; n < COMMANDS; n++)
        if (strcmp(name, commands[n].name) == 0)
            return commands[n].main;
    return NULL;
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN); /* a reader that has gone is an error of write, with a message */
    if (argc < 2) {
        fputs("sgi-bench: which command? sgi-bench --help lists them\n", stderr);
        return EXIT_USAGE;
    }
    bool help_wanted = strcmp(argv[1], "help") == 0;
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || (help_wanted && argc == 2))
        help();
    if (help_wanted && argc > 3) {
        fputs("sgi-bench: help takes one command\n", stderr);
        return EXIT_USAGE;
    }
    int (*command)(int argc, char **argv) = command_of(argv[help_wanted ? 2 : 1]);
    if (command && help_wanted)
        return command(2, (char *[]){ argv[2], (char[]){ "--help" }, NULL });
    if (command)
        return command(argc - 1, argv + 1);
    fprintf(stderr, "sgi-bench: there is no command '%s'; sgi-bench --help lists them\n", argv[help_wanted ? 2 : 1]);
    return EXIT_USAGE;
}
