/* SPDX-License-Identifier: Apache-2.0 */
#include <sgi/pack.h>

#include "command.h"
#include "progress.h"

enum { OPTION_JOBS = OPTION_FIRST };

static int run(struct output *out, int argc, char **argv)
{
    static const struct option table[] = {
        { "output", required_argument, NULL, 'o' },
        { "jobs", required_argument, NULL, OPTION_JOBS },
        { "help", no_argument, NULL, OPTION_HELP },
        { 0 },
    };
    struct progress bar;
    sgi_error       err = { .struct_size = sizeof err };
    const char     *folder = NULL;
    uint64_t        jobs = 0;
    int             option;

    while ((option = option_next(out, &command_unpack, argc, argv, table)) >= 0)
        if (option == 'o')
            folder = optarg;
        else if (!number_parse(&command_unpack, "--jobs", optarg, 1, 256, &jobs))
            return EXIT_USAGE;
    if (option != OPTIONS_END)
        return option == OPTIONS_DONE ? EXIT_GOOD : EXIT_USAGE;
    const char *path = operand_path(&command_unpack, argc, argv);
    if (!path)
        return EXIT_USAGE;
    if (!folder || !*folder)
        return usage_error(&command_unpack, "where to? -o FOLDER is missing");
    progress_begin(&bar);
    sgi_status st = sgi_unpack(path, folder, (uint32_t)jobs, progress_told, &bar, &err);
    progress_clear(&bar);
    return st == SGI_OK ? EXIT_GOOD : failure_status(path, st, &err);
}

const struct command command_unpack = {
    .name = "unpack",
    .summary = "the files a packed one was made from: sgi unpack FILE -o FOLDER",
    .help =
        "sgi unpack FILE.sgi -o FOLDER [--jobs N]\n"
        "\n"
        "Gives back the files that were packed, byte for byte, under their names. Each appears whole or not at all,\n"
        "instead of one of that name that was there.\n"
        "\n"
        "  -o, --output FOLDER  where they go; it has to be there\n"
        "  --jobs N             threads; one for each core\n",
    .run = run,
};
