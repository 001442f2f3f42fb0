/* SPDX-License-Identifier: Apache-2.0 */
/* sgi digest and sgi verify: checks are made, and compared. */
#include <sgi/pack.h>

#include "command.h"
#include "progress.h"

enum { OPTION_JOBS = OPTION_FIRST };

typedef sgi_status (*deed_fn)(const char *path, uint32_t jobs, sgi_progress_fn progress, void *user, sgi_error *err);

/* `good`: what is said of a path where it went well; NULL: nothing. */
static int run(struct output *out, const struct command *command, deed_fn deed, const char *good, int argc, char **argv)
{
    static const struct option table[] = {
        { "jobs", required_argument, NULL, OPTION_JOBS },
        { "help", no_argument, NULL, OPTION_HELP },
        { 0 },
    };
    struct progress bar;
    sgi_error       err = { .struct_size = sizeof err };
    uint64_t        jobs = 0;
    int             option;

    while ((option = option_next(out, command, argc, argv, table)) >= 0)
        if (!number_parse(command, "--jobs", optarg, 1, 256, &jobs))
            return EXIT_USAGE;
    if (option != OPTIONS_END)
        return option == OPTIONS_DONE ? EXIT_GOOD : EXIT_USAGE;
    const char *path = operand_path(command, argc, argv);
    if (!path)
        return EXIT_USAGE;
    progress_begin(&bar);
    sgi_status st = deed(path, (uint32_t)jobs, progress_told, &bar, &err);
    progress_clear(&bar);
    if (st != SGI_OK)
        return failure_status(path, st, &err);
    if (good) {
        output_shown(out, path);
        output_text(out, good);
    }
    return EXIT_GOOD;
}

static int run_digest(struct output *out, int argc, char **argv)
{
    return run(out, &command_digest, sgi_digest, NULL, argc, argv);
}

static int run_verify(struct output *out, int argc, char **argv)
{
    return run(out, &command_verify, sgi_verify, ": good\n", argc, argv);
}

const struct command command_digest = {
    .name = "digest",
    .summary = "checks for a model's files, beside them: sgi digest PATH",
    .help = "sgi digest PATH [--jobs N]\n"
            "\n"
            "Writes FILE.sgisum beside each file of a model: a check for each two MiB. Where they are, every load\n"
            "compares what it reads with them, and sgi verify all of it. Checks find damage, not tampering.\n"
            "\n"
            "  --jobs N  threads; one for each core\n",
    .run = run_digest,
};

const struct command command_verify = {
    .name = "verify",
    .summary = "whether a model with checks is whole: sgi verify PATH",
    .help = "sgi verify PATH [--jobs N]\n"
            "\n"
            "Reads a packed file to its last byte, and what it has in a base, and compares every chunk with its\n"
            "checks; or a model's files with those that sgi digest has put beside them.\n"
            "The first that is bad is named, with the tensors that it holds. Checks find damage, not tampering.\n"
            "\n"
            "  --jobs N  threads; one for each core\n",
    .run = run_verify,
};
