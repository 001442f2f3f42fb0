/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include <sgi/pack.h>

#include "command.h"
#include "progress.h"

enum { OPTION_JOBS = OPTION_FIRST, OPTION_FOLDER };

static void put_file(void *user, const sgi_file_done *file)
{
    struct telling *t = user;

    progress_clear(&t->bar);
    output_shown(t->out, file->path);
    output_format(t->out, ": %" PRIu64 " bytes\n", file->bytes);
}

static int run(struct output *out, int argc, char **argv)
{
    static const struct option table[] = {
        { "output", required_argument, NULL, 'o' },
        { "jobs", required_argument, NULL, OPTION_JOBS },
        { "folder", required_argument, NULL, OPTION_FOLDER },
        { "help", no_argument, NULL, OPTION_HELP },
        { 0 },
    };
    struct telling    telling = { .out = out };
    struct folders    folders = { .count = 0 };
    sgi_files_options options;
    sgi_error         err = { .struct_size = sizeof err };
    const char       *to = NULL;
    uint64_t          jobs = 0;
    int               option;

    while ((option = option_next(out, &command_unpack, argc, argv, table)) >= 0)
        if (option == 'o')
            to = optarg;
        else if (option == OPTION_FOLDER ? !folder_add(&command_unpack, &folders, optarg)
                                         : !number_parse(&command_unpack, "--jobs", optarg, 1, 256, &jobs))
            return EXIT_USAGE;
    if (option != OPTIONS_END)
        return option == OPTIONS_DONE ? EXIT_GOOD : EXIT_USAGE;
    const char *path = operand_path(&command_unpack, argc, argv);
    if (!path)
        return EXIT_USAGE;
    if (!to || !*to)
        return usage_error(&command_unpack, "where to? -o FOLDER is missing");
    sgi_files_options_init(&options, sizeof options);
    options.jobs = (uint32_t)jobs;
    options.folders = folders.list;
    options.folders_count = folders.count;
    options.progress = progress_told;
    options.file = put_file;
    options.user = &telling;
    progress_begin(&telling.bar);
    sgi_status st = sgi_unpack(path, to, &options, &err);
    progress_clear(&telling.bar);
    return st == SGI_OK ? EXIT_GOOD : failure_status(path, st, &err);
}

const struct command command_unpack = {
    .name = "unpack",
    .summary = "the files a packed one was made from: sgi unpack FILE -o FOLDER",
    .help =
        "sgi unpack FILE.sgi -o FOLDER [--folder DIR]... [--jobs N]\n"
        "\n"
        "Gives back the files that were packed, byte for byte, under their names. Each appears whole or not at all,\n"
        "instead of one of that name that was there. Puts out one line for each.\n"
        "\n"
        "  -o, --output FOLDER  where they go; it has to be there\n"
        "  --folder DIR         where the base is, beside the folder that FILE.sgi is in; up to 64 times\n"
        "  --jobs N             threads; one for each core\n",
    .run = run,
};
