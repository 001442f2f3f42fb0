/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include <sgi/pack.h>

#include "command.h"
#include "described.h"
#include "progress.h"

enum { OPTION_JOBS = OPTION_FIRST };

/* The model's files, as they are there now. */
static void put_files(struct output *out, const char *path, const char *folder)
{
    struct described d;
    struct names     files = { .count = 0 };
    sgi_model_config config;
    sgi_error        err = SGI_ERROR_INIT;
    struct stat      st;

    sgi_model_config_init(&config, sizeof config);
    config.path = path;
    if (describe(&config, &d, &err) != SGI_OK)
        return;
    for (uint32_t n = 0; n < d.files.count && names_add_path(&files, folder, strlen(folder), d.files.list[n], ""); n++)
        if (stat(files.list[n], &st) == 0) {
            output_shown(out, files.list[n]);
            output_format(out, ": %" PRIu64 " bytes\n", (uint64_t)st.st_size);
        }
    names_free(&files);
    described_free(&d);
}

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
    if (st != SGI_OK)
        return failure_status(path, st, &err);
    put_files(out, path, folder);
    return EXIT_GOOD;
}

const struct command command_unpack = {
    .name = "unpack",
    .summary = "the files a packed one was made from: sgi unpack FILE -o FOLDER",
    .help =
        "sgi unpack FILE.sgi -o FOLDER [--jobs N]\n"
        "\n"
        "Gives back the files that were packed, byte for byte, under their names. Each appears whole or not at all,\n"
        "instead of one of that name that was there. Puts out one line for each file with tensors; an index that was\n"
        "packed with them is there too.\n"
        "\n"
        "  -o, --output FOLDER  where they go; it has to be there\n"
        "  --jobs N             threads; one for each core\n",
    .run = run,
};
