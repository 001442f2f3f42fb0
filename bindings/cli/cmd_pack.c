/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include <sgi/pack.h>

#include "command.h"
#include "model_files.h"
#include "progress.h"
#include "warnings.h"

enum {
    OPTION_CODEC = OPTION_FIRST,
    OPTION_LEVEL,
    OPTION_JOBS,
    OPTION_ORDER,
    OPTION_BASE,
    OPTION_CHECKS,
    OPTION_FOLDER,
    OPTION_JSON
};

struct asked {
    sgi_pack_options options;
    struct folders   folders;
    const char      *output, *order;
    bool             json;
};

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

static bool take_option(int option, struct asked *asked)
{
    sgi_pack_options *o = &asked->options;
    uint64_t          number = 0;
    bool              good = true;

    switch (option) {
    case 'o':
        asked->output = optarg;
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
        good = file_take(&command_pack, "--order", optarg, &asked->order);
        break;
    case OPTION_BASE:
        good = file_take(&command_pack, "--base", optarg, &o->base);
        break;
    case OPTION_CHECKS:
        good = checks_take(&command_pack, optarg, &o->checks_path);
        break;
    case OPTION_FOLDER:
        good = folder_add(&command_pack, &asked->folders, optarg);
        break;
    default:
        asked->json = true;
        break;
    }
    return good;
}

static void put_report(struct output *out, const char *path, const sgi_pack_report *r, const char *base)
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
    else if (base)
        output_text(out, "nothing of it is in the base, which is not asked for\n");
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

static int drop_text(void *user, const char *text, size_t bytes)
{
    (void)user, (void)text, (void)bytes;
    return 0;
}

/* The base is looked for beside it first, and in another folder only where that is named. */
static void warn_of_base(const char *path)
{
    sgi_error err = { .struct_size = sizeof err };

    if (sgi_inspect(path, SGI_INSPECT_TEXT, drop_text, NULL, &err) != SGI_OK)
        say_warning("the base is not beside it: until it is, it is found only where --folder says so");
}

static int pack(struct output *out, char **sources, int count, struct asked *asked)
{
    sgi_pack_options *o = &asked->options;
    struct progress   bar;
    sgi_pack_report   report = { .struct_size = sizeof report };
    sgi_error         err = { .struct_size = sizeof err };

    progress_begin(&bar);
    o->progress = progress_told;
    o->user = &bar;
    sgi_status st = sgi_pack((const char *const *)sources, (uint32_t)count, asked->output, o, &report, &err);
    progress_clear(&bar);
    if (st == SGI_E_NOT_FOUND) /* the order's fault, not the model's */
        return failure_status(asked->order, st, &err);
    if (st != SGI_OK)
        return failure_status(sources[0], st, &err);
    if (report.base_bytes > 0)
        warn_of_base(asked->output);
    if (asked->json)
        put_json(out, asked->output, &report);
    else
        put_report(out, asked->output, &report, o->base);
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
        { "checks", required_argument, NULL, OPTION_CHECKS },
        { "folder", required_argument, NULL, OPTION_FOLDER },
        { "json", no_argument, NULL, OPTION_JSON },
        { "help", no_argument, NULL, OPTION_HELP },
        { 0 },
    };
    struct asked asked = { .output = NULL };
    struct names order = { .count = 0 };
    int          option;

    sgi_pack_options_init(&asked.options, sizeof asked.options);
    while ((option = option_next(out, &command_pack, argc, argv, table)) >= 0)
        if (!take_option(option, &asked))
            return EXIT_USAGE;
    if (option != OPTIONS_END)
        return option == OPTIONS_DONE ? EXIT_GOOD : EXIT_USAGE;
    if (optind == argc)
        return usage_error(&command_pack, "which model? A PATH is missing");
    for (int n = optind; n < argc; n++)
        if (!argv[n][0])
            return usage_error(&command_pack, "PATH is empty");
    if (!asked.output || !*asked.output)
        return usage_error(&command_pack, "where to? -o FILE is missing");
    if (strcmp(asked.output, "-") == 0) /* whole or not at all: what has been put out cannot be taken back */
        return usage_error(&command_pack, "-o takes the path of a file: a packed one cannot go to standard output");
    warn_of_shard(argv[optind], argc - optind);
    int code = asked.order ? order_read(asked.order, &order) : EXIT_GOOD;
    asked.options.order = (const char *const *)order.list;
    asked.options.order_count = order.count;
    asked.options.folders = asked.folders.list;
    asked.options.folders_count = asked.folders.count;
    if (code == EXIT_GOOD)
        code = pack(out, argv + optind, argc - optind, &asked);
    names_free(&order);
    return code;
}

const struct command command_pack = {
    .name = "pack",
    .summary = "a model as one file, checked and compressed: sgi pack PATH -o FILE",
    .help =
        "sgi pack PATH... -o FILE.sgi [--codec auto|raw|zstd|planes] [--level N] [--jobs N] [--order FILE]\n"
        "         [--base OTHER.sgi] [--checks PATH] [--folder DIR]... [--json]\n"
        "\n"
        "Packs a model (PATH as for sgi inspect) into one file that is loaded like it: in chunks that are checked,\n"
        "and compressed without loss where that gains. sgi unpack gives back the files it was made from. What has\n"
        "checks (sgi digest) is packed only if it matches them.\n"
        "\n"
        "  -o, --output FILE  where to. It appears whole or not at all, instead of a packed file that was there\n"
        "  --codec NAME       auto (each chunk as is best), raw (checked only), zstd, planes (floats by their bytes)\n"
        "  --level N          of zstd, 1 (the default) to 19; planes hardly gain from more than 1\n"
        "  --jobs N           threads; one for each core\n"
        "  --order FILE       these tensors first, in the file and when it is loaded: one name on each line\n"
        "  --base OTHER.sgi   what that has is not stored again. It has to stay as it is, beside FILE or where "
        "--folder\n"
        "                     says when that is loaded\n"
        "  --checks PATH      where sgi digest -o has put the checks of the model's files\n"
        "  --folder DIR       where further files of the model are, beside the folder that PATH is in; up to 64 times\n"
        "  --json             one JSON object: path, bytes before and after, chunks by how they are stored\n",
    .run = run,
};
