/* SPDX-License-Identifier: Apache-2.0 */
#include <sgi/pack.h>

#include "command.h"
#include "progress.h"

enum { OPTION_JOBS = OPTION_FIRST };

static int draw(void *user, uint64_t done_bytes, uint64_t total_bytes)
{
    progress_draw(user, done_bytes, total_bytes);
    return 0;
}

static int run(struct output *out, int argc, char **argv)
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

    while ((option = option_next(out, &command_digest, argc, argv, table)) >= 0)
        if (!number_parse(&command_digest, "--jobs", optarg, 1, 256, &jobs))
            return EXIT_USAGE;
    if (option != OPTIONS_END)
        return option == OPTIONS_DONE ? EXIT_GOOD : EXIT_USAGE;
    const char *path = operand_path(&command_digest, argc, argv);
    if (!path)
        return EXIT_USAGE;
    progress_begin(&bar);
    sgi_status st = sgi_digest(path, (uint32_t)jobs, draw, &bar, &err);
    progress_clear(&bar);
    if (st != SGI_OK)
        return failure_status(path, st, &err);
    return EXIT_GOOD;
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
    .run = run,
};
