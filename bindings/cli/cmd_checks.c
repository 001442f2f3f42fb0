/* SPDX-License-Identifier: Apache-2.0 */
/* sgi digest and sgi verify: checks are made, and compared. */
#include <inttypes.h>

#include <sgi/pack.h>

#include "command.h"
#include "progress.h"

enum { OPTION_JOBS = OPTION_FIRST, OPTION_CHECKS, OPTION_FOLDER };

struct asked {
    const char       *path;
    struct folders    folders;
    struct telling    telling;
    sgi_files_options options;
};

/* EXIT_GOOD; EXIT_USAGE after the usage error; -1 when the help was asked for and has been put out. */
static int take(struct output *out, const struct command *command, const struct option *table, int argc, char **argv,
                struct asked *asked)
{
    sgi_files_options *o = &asked->options;
    uint64_t           jobs = 0;
    int                option;

    *asked = (struct asked){ .telling = { .out = out } };
    sgi_files_options_init(o, sizeof *o);
    while ((option = option_next(out, command, argc, argv, table)) >= 0) {
        if (option == OPTION_JOBS     ? !number_parse(command, "--jobs", optarg, 1, 256, &jobs)
            : option == OPTION_FOLDER ? !folder_add(command, &asked->folders, optarg)
                                      : !checks_take(command, optarg, &o->checks_path))
            return EXIT_USAGE;
    }
    if (option != OPTIONS_END)
        return option == OPTIONS_DONE ? -1 : EXIT_USAGE;
    o->jobs = (uint32_t)jobs;
    o->folders = asked->folders.list;
    o->folders_count = asked->folders.count;
    o->progress = progress_told;
    o->user = &asked->telling;
    asked->path = operand_path(command, argc, argv);
    return asked->path ? EXIT_GOOD : EXIT_USAGE;
}

static void put_written(void *user, const sgi_file_done *file)
{
    struct telling *t = user;

    progress_clear(&t->bar);
    output_shown(t->out, file->path);
    output_text(t->out, "\n");
}

static int run_digest(struct output *out, int argc, char **argv)
{
    static const struct option table[] = {
        { "output", required_argument, NULL, 'o' },
        { "jobs", required_argument, NULL, OPTION_JOBS },
        { "folder", required_argument, NULL, OPTION_FOLDER },
        { "help", no_argument, NULL, OPTION_HELP },
        { 0 },
    };
    struct asked asked;
    sgi_error    err = { .struct_size = sizeof err };
    int          code = take(out, &command_digest, table, argc, argv, &asked);

    if (code != EXIT_GOOD)
        return code < 0 ? EXIT_GOOD : code;
    asked.options.file = put_written;
    progress_begin(&asked.telling.bar);
    sgi_status st = sgi_digest(asked.path, &asked.options, &err);
    progress_clear(&asked.telling.bar);
    return st == SGI_OK ? EXIT_GOOD : failure_status(asked.path, st, &err);
}

/* The error has room for the first tensor only. */
static void put_damage(void *user, const sgi_damage *damage)
{
    struct telling *t = user;
    struct output  *out = t->out;

    progress_clear(&t->bar);

    output_shown(out, damage->file);
    output_format(out, ": damaged: chunk %" PRIu64 ", %" PRIu64 " bytes at offset %" PRIu64 "\n", damage->chunk,
                  damage->bytes, damage->offset);
    for (uint32_t n = 0; n < damage->tensors_named; n++) {
        output_text(out, "  tensor ");
        output_shown(out, damage->tensors[n]);
        output_text(out, "\n");
    }
    if (damage->tensors_count > damage->tensors_named)
        output_format(out, "  and %" PRIu64 " more\n", damage->tensors_count - damage->tensors_named);
}

static void put_good(void *user, const sgi_file_done *file)
{
    struct telling *t = user;

    progress_clear(&t->bar);
    output_shown(t->out, file->path);
    if (file->chunks > 0 && file->unchecked == file->chunks) /* beside others that have some */
        output_text(t->out, ": without checks: nobody knows\n");
    else
        output_format(t->out, "%s: %" PRIu64 " %s, %s\n", file->is_base ? ": good, the base" : ": good", file->chunks,
                      file->chunks == 1 ? "chunk" : "chunks", size_text(file->bytes).text);
}

static int run_verify(struct output *out, int argc, char **argv)
{
    static const struct option table[] = {
        { "checks", required_argument, NULL, OPTION_CHECKS },
        { "jobs", required_argument, NULL, OPTION_JOBS },
        { "folder", required_argument, NULL, OPTION_FOLDER },
        { "help", no_argument, NULL, OPTION_HELP },
        { 0 },
    };
    struct asked asked;
    sgi_error    err = { .struct_size = sizeof err };
    int          code = take(out, &command_verify, table, argc, argv, &asked);

    if (code != EXIT_GOOD)
        return code < 0 ? EXIT_GOOD : code;
    asked.options.file = put_good;
    asked.options.damage = put_damage;
    progress_begin(&asked.telling.bar);
    sgi_status st = sgi_verify(asked.path, &asked.options, &err);
    progress_clear(&asked.telling.bar);
    return st == SGI_OK ? EXIT_GOOD : failure_status(asked.path, st, &err);
}

const struct command command_digest = {
    .name = "digest",
    .summary = "checks for a model's files, beside them: sgi digest PATH [-o PATH]",
    .help = "sgi digest PATH [-o PATH] [--folder DIR]... [--jobs N]\n"
            "\n"
            "Writes FILE.sgisum beside each file of a model: a check for each two MiB. Where they are, every load\n"
            "compares what it reads with them, and sgi verify all of it. Checks find damage, not tampering.\n"
            "Puts out the path of each that it has written.\n"
            "\n"
            "  -o, --output PATH  where they go instead: a folder that is there, or for a model in one file the file\n"
            "                     to write. The other commands are told by --checks PATH\n"
            "  --folder DIR       where further files of the model are, beside the folder that PATH is in\n"
            "  --jobs N           threads; one for each core\n",
    .run = run_digest,
};

const struct command command_verify = {
    .name = "verify",
    .summary = "whether a model with checks is whole: sgi verify PATH [--checks PATH]",
    .help =
        "sgi verify PATH [--checks PATH] [--folder DIR]... [--jobs N]\n"
        "\n"
        "Reads a packed file to its last byte, and all of its base, and compares every chunk with its checks; or a\n"
        "model's files with those that sgi digest has put beside them. Each file that is good is put out.\n"
        "The first that is bad is named, with the tensors that it holds something of: on standard output, one line\n"
        "each, 8 at most and how many more. Checks find damage, not tampering.\n"
        "\n"
        "  --checks PATH  where sgi digest -o has put them\n"
        "  --folder DIR   where the base, or further files of the model, are, beside the folder that PATH is in\n"
        "  --jobs N       threads; one for each core\n",
    .run = run_verify,
};
