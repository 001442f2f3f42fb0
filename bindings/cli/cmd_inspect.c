/* SPDX-License-Identifier: Apache-2.0 */
#include "command.h"

enum { OPTION_JSON = OPTION_FIRST };

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
        { "help", no_argument, NULL, OPTION_HELP },
        { 0 },
    };
    uint32_t flags = SGI_INSPECT_TEXT;
    int      option;
    while ((option = option_next(out, &command_inspect, argc, argv, table)) >= 0)
        if (option == OPTION_JSON)
            flags = SGI_INSPECT_JSON;
    if (option != OPTIONS_END)
        return option == OPTIONS_DONE ? EXIT_GOOD : EXIT_USAGE;
    const char *path = operand_path(&command_inspect, argc, argv);
    if (!path)
        return EXIT_USAGE;

    sgi_error  err = { .struct_size = sizeof err };
    sgi_status st = sgi_inspect(path, flags, write_out, out, &err);
    if (st == SGI_OK || out->os_errno)
        return EXIT_GOOD; /* as far as the model goes */
    return failure_status(path, st, &err);
}

const struct command command_inspect = {
    .name = "inspect",
    .summary = "what is in a model file: sgi inspect PATH [--json]",
    .help =
        "sgi inspect PATH [--json]\n"
        "\n"
        "Describes a .safetensors or .gguf file, a *.safetensors.index.json, or a folder with one model.\n"
        "Only headers are read; every one of their fields is checked.\n"
        "\n"
        "  --json  one JSON object: format, files, tensors ([{name, dtype, shape, file, offset, bytes}]), metadata\n",
    .run = run,
};
