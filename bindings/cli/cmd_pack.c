/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include <sgi/pack.h>

#include "command.h"
#include "model_files.h"
#include "progress.h"
#include "warnings.h"

enum { OPTION_CODEC = OPTION_FIRST, OPTION_LEVEL, OPTION_JOBS, OPTION_ORDER, OPTION_BASE, OPTION_JSON };

static bool codec_parse(const char *text, uint32_t *codec_out)
{
    static const char *const names[] = {
        [SGI_PACK_AUTO] = "auto", [SGI_PACK_RAW] = "raw", [SGI_PACK_ZSTD] = "zstd", [SGI_PACK_PLANES] = "planes"
    };

    for (uint32_t n = 0; n < sizeof names / sizeof *names; n++)
        if (strcmp(text, names[n]) == 0) {
            *codec_out = n;
            return true;
        }
    usage_error(&command_pack, "--codec is one of auto, raw, zstd, planes, not '%s'", text);
    return false;
}

static bool take_option(int option, sgi_pack_options *o, const char **output, const char **order, bool *json)
{
    uint64_t number = 0;
    bool     good = true;

    switch (option) {
    case 'o':
        *output = optarg;
        break;
    case OPTION_CODEC:
        good = codec_parse(optarg, &o->codec);
        break;
    case OPTION_LEVEL:
        good = number_parse(&command_pack, "--level", optarg, 1, 19, &number);
        o->level = (uint32_t)number;
        break;
    case OPTION_JOBS:
        good = number_parse(&command_pack, "--jobs", optarg, 1, 256, &number);
        o->jobs = (uint32_t)number;
        break;
    case OPTION_ORDER:
        good = file_take(&command_pack, "--order", optarg, order);
        break;
    case OPTION_BASE:
        good = file_take(&command_pack, "--base", optarg, &o->base);
        break;
    default:
        *json = true;
        break;
    }
    return good;
}

static void put_report(struct output *out, const char *path, const sgi_pack_report *r)
{
    double share = r->source_bytes > 0 ? (double)r->packed_bytes / (double)r->source_bytes : 0;

    output_shown(out, path);
    output_format(out, ": %s -> %s (%.3f)\n", size_text(r->source_bytes).text, size_text(r->packed_bytes).text, share);
    output_format(out, "%llu %s: %llu planes, %llu zstd, %llu raw\n", (unsigned long long)r->chunks,
                  r->chunks == 1 ? "chunk" : "chunks", (unsigned long long)r->chunks_planes,
                  (unsigned long long)r->chunks_zstd, (unsigned long long)r->chunks_raw);
    if (r->base_bytes > 0)
        output_format(out, "of these in the base, and not stored again: %s of the model\n",
                      size_text(r->base_bytes).text);
    if (r->twice_bytes > 0)
        output_format(out, "more than once, stored once: %s\n", size_text(r->twice_bytes).text);
}

static void put_json(struct output *out, const char *path, const sgi_pack_report *r)
{
    const struct {
        const char *key;
        uint64_t    value;
    } numbers[] = {
        { "source_bytes", r->source_bytes }, { "packed_bytes", r->packed_bytes }, { "chunks", r->chunks },
        { "chunks_raw", r->chunks_raw },     { "chunks_zstd", r->chunks_zstd },   { "chunks_planes", r->chunks_planes },
        { "base_bytes", r->base_bytes },     { "twice_bytes", r->twice_bytes }
    };

    put_open(out, '{');
    put_key(out, "path");
    put_string(out, path);
    for (size_t n = 0; n < sizeof numbers / sizeof *numbers; n++) {
        put_key(out, numbers[n].key);
        put_u64(out, numbers[n].value);
    }
    put_close(out, '}');
    put_line_end(out);
}

static int pack(struct output *out, char **sources, int count, const char *path, sgi_pack_options *o, bool json)
{
    struct progress bar;
    sgi_pack_report report = { .struct_size = sizeof report };
    sgi_error       err = { .struct_size = sizeof err };

    progress_begin(&bar);
    o->progress = progress_told;
    o->user = &bar;
    sgi_status st = sgi_pack((const char *const *)sources, (uint32_t)count, path, o, &report, &err);
    progress_clear(&bar);
    if (st != SGI_OK)
        return failure_status(sources[0], st, &err);
    if (json)
        put_json(out, path, &report);
    else
        put_report(out, path, &report);
    return EXIT_GOOD;
}

static int run(struct output *out, int argc, char **argv)
{
    static const struct option table[] = {
        { "output", required_argument, NULL, 'o' },
        { "codec", required_argument, NULL, OPTION_CODEC },
        { "level", required_argument, NULL, OPTION_LEVEL },
        { "jobs", required_argument, NULL, OPTION_JOBS },
        { "order", required_argument, NULL, OPTION_ORDER },
        { "base", required_argument, NULL, OPTION_BASE },
        { "json", no_argument, NULL, OPTION_JSON },
        { "help", no_argument, NULL, OPTION_HELP },
        { 0 },
    };
    sgi_pack_options o;
    struct names     order = { .count = 0 };
    const char      *path = NULL, *order_path = NULL;
    bool             json = false;
    int              option;

    sgi_pack_options_init(&o, sizeof o);
    while ((option = option_next(out, &command_pack, argc, argv, table)) >= 0)
        if (!take_option(option, &o, &path, &order_path, &json))
            return EXIT_USAGE;
    if (option != OPTIONS_END)
        return option == OPTIONS_DONE ? EXIT_GOOD : EXIT_USAGE;
    if (optind == argc)
        return usage_error(&command_pack, "which model? A PATH is missing");
    for (int n = optind; n < argc; n++)
        if (!argv[n][0])
            return usage_error(&command_pack, "PATH is empty");
    if (!path || !*path)
        return usage_error(&command_pack, "where to? -o FILE is missing");
    if (strcmp(path, "-") == 0) /* whole or not at all: what has been put out cannot be taken back */
        return usage_error(&command_pack, "-o takes the path of a file: a packed one cannot go to standard output");
    warn_of_shard(argv[optind], argc - optind);
    int code = order_path ? order_read(order_path, &order) : EXIT_GOOD;
    o.order = (const char *const *)order.list;
    o.order_count = order.count;
    if (code == EXIT_GOOD)
        code = pack(out, argv + optind, argc - optind, path, &o, json);
    names_free(&order);
    return code;
}

const struct command command_pack = {
    .name = "pack",
    .summary = "a model as one file, checked and compressed: sgi pack PATH -o FILE",
    .help =
        "sgi pack PATH... -o FILE.sgi [--codec auto|raw|zstd|planes] [--level N] [--jobs N] [--order FILE]\n"
        "         [--base OTHER.sgi] [--json]\n"
        "\n"
        "Packs a model (PATH as for sgi inspect) into one file that is loaded like it: in chunks that are checked,\n"
        "and compressed without loss where that gains. sgi unpack gives back the files it was made from.\n"
        "\n"
        "  -o, --output FILE  where to. It appears whole or not at all, instead of what was there\n"
        "  --codec NAME       auto (each chunk as is best), raw (checked only), zstd, planes (floats by their bytes)\n"
        "  --level N          of zstd, 1 (the default) to 19; planes hardly gain from more than 1\n"
        "  --jobs N           threads; one for each core\n"
        "  --order FILE       these tensors first, in the file and when it is loaded: one name on each line\n"
        "  --base OTHER.sgi   what that has is not stored again. It has to stay beside FILE\n"
        "  --json             one JSON object: path, bytes before and after, chunks by how they are stored\n",
    .run = run,
};
