/* SPDX-License-Identifier: Apache-2.0 */
#include "command.h"
#include "warnings.h"

enum { OPTION_JSON = OPTION_FIRST, OPTION_FOLDER, OPTION_CHECKS };

static int write_out(void *user, const char *text, size_t bytes)
{
    struct output *out = user;
    output_bytes(out, text, bytes);
    return out->os_errno; /* nobody is there to read the rest */
}

static int run(struct output *out, int argc, char **argv)
{
    static const struct option table[] = {
        { "json", no_argument, NULL, OPTION_JSON },
        { "folder", required_argument, NULL, OPTION_FOLDER },
        { "checks", required_argument, NULL, OPTION_CHECKS },
        { "help", no_argument, NULL, OPTION_HELP },
        { 0 },
    };
    struct folders folders = { .count = 0 };
    const char    *checks = NULL;
    uint32_t       flags = SGI_INSPECT_TEXT;
    int            option;
    while ((option = option_next(out, &command_inspect, argc, argv, table)) >= 0) {
        if (option == OPTION_JSON)
            flags = SGI_INSPECT_JSON;
        else if (option == OPTION_FOLDER ? !folder_add(&command_inspect, &folders, optarg)
                                         : !checks_take(&command_inspect, optarg, &checks))
            return EXIT_USAGE;
    }
    if (option != OPTIONS_END)
        return option == OPTIONS_DONE ? EXIT_GOOD : EXIT_USAGE;
    const char *path = operand_path(&command_inspect, argc, argv);
    if (!path)
        return EXIT_USAGE;
    warn_of_shard(path, 1);

    sgi_error        err = { .struct_size = sizeof err };
    sgi_model_config config;
    sgi_model_config_init(&config, sizeof config);
    config.path = path;
    config.folders = folders.list;
    config.folders_count = folders.count;
    config.checks_path = checks;
    sgi_status st = sgi_inspect_config(&config, flags, write_out, out, &err);
    if (st == SGI_OK || out->os_errno)
        return EXIT_GOOD; /* as far as the model goes */
    return failure_status(path, st, &err);
}

const struct command command_inspect = {
    .name = "inspect",
    .summary = "what is in a model file: sgi inspect PATH [--json] [--folder DIR]...",
    .help =
        "sgi inspect PATH [--json] [--checks PATH] [--folder DIR]...\n"
        "\n"
        "Describes a .safetensors or .gguf file (of several: the first, NAME-00001-of-0000N.gguf), a\n"
        "*.safetensors.index.json, a .sgi file as sgi pack makes it, or a folder with one model.\n"
        "Only headers are read; every one of their fields is checked.\n"
        "\n"
        "  --json         one JSON object: format, format_version (of GGUF), files ([{name, path, bytes, "
        "data_offset}]),\n"
        "                 tensors ([{name, dtype, shape, file, offset, bytes}]), metadata; of a packed model packed\n"
        "                 ({bytes, chunks, planes, zstd, raw, base, base_bytes}), of one with checks beside its files\n"
        "                 checks ({chunks, checked})\n"
        "  --checks PATH  where sgi digest -o has put the checks of the model's files\n"
        "  --folder DIR   where further files of the model are, beside the folder that PATH is in; up to 64 times\n",
    .run = run,
};
