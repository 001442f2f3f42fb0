/* SPDX-License-Identifier: Apache-2.0 */
#include "command.h"

enum { OPTION_JSON = OPTION_FIRST };

static void put_text(struct output *out, const sgi_feature *feature)
{
    output_format(out, "%-16s %-4s ", feature->name, feature->usable ? "yes" : "no");
    output_shown(out, feature->detail);
    output_text(out, "\n");
}

static void put_object(struct output *out, const sgi_feature *feature)
{
    put_open(out, '{');
    put_key(out, "name");
    put_string(out, feature->name);
    put_key(out, "usable");
    put_bool(out, feature->usable);
    put_key(out, "detail");
    put_string(out, feature->detail);
    put_close(out, '}');
}

static int run(struct output *out, int argc, char **argv)
{
    static const struct option table[] = {
        { "json", no_argument, NULL, OPTION_JSON },
        { "help", no_argument, NULL, OPTION_HELP },
        { 0 },
    };
    bool json = false;
    int  option;
    while ((option = option_next(out, &command_features, argc, argv, table)) >= 0)
        json = true;
    if (option != OPTIONS_END)
        return option == OPTIONS_DONE ? EXIT_GOOD : EXIT_USAGE;
    if (optind != argc)
        return usage_error(&command_features, "takes no PATH: '%s'", argv[optind]);

    if (json) {
        put_open(out, '{');
        put_key(out, "features");
        put_open(out, '[');
    }
    sgi_feature feature = { .struct_size = sizeof feature };
    sgi_status  st = SGI_OK;
    for (uint32_t i = 0; (st = sgi_feature_at(i, &feature)) == SGI_OK; i++)
        (json ? put_object : put_text)(out, &feature);
    if (json) {
        put_close(out, ']');
        put_close(out, '}');
        put_line_end(out);
    }
    return st == SGI_E_NOT_FOUND ? EXIT_GOOD : failure_status("features", st, NULL);
}

const struct command command_features = {
    .name = "features",
    .summary = "what libsgi can use on this machine, and why not the rest: sgi features [--json]",
    .help =
        "sgi features [--json]\n"
        "\n"
        "Probes, now and on this machine, what libsgi can make use of. What is not usable is listed with the reason.\n"
        "\n"
        "  --json  one JSON object: features ([{name, usable, detail}])\n",
    .run = run,
};
