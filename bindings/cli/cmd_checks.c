/* SPDX-License-Identifier: Apache-2.0 */
/* sgi digest and sgi verify: checks are made, and compared. */
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sgi/pack.h>

#include "command.h"
#include "described.h"
#include "model_files.h"
#include "progress.h"

enum { OPTION_JOBS = OPTION_FIRST, OPTION_CHECKS };

struct asked {
    const char *path;
    const char *checks; /* NULL: beside the files */
    uint64_t    jobs;
};

/* EXIT_GOOD; EXIT_USAGE after the usage error; -1 when the help was asked for and has been put out. */
static int take(struct output *out, const struct command *command, const struct option *table, int argc, char **argv,
                struct asked *asked)
{
    int option;

    *asked = (struct asked){ .jobs = 0 };
    while ((option = option_next(out, command, argc, argv, table)) >= 0) {
        if (option == OPTION_JOBS) {
            if (!number_parse(command, "--jobs", optarg, 1, 256, &asked->jobs))
                return EXIT_USAGE;
        } else if (option == OPTION_CHECKS) {
            if (!checks_take(command, optarg, &asked->checks))
                return EXIT_USAGE;
        } else {
            asked->checks = optarg;
            if (!*optarg)
                return usage_error(command, "-o takes the path of a folder, or of the file to write");
        }
    }
    if (option != OPTIONS_END)
        return option == OPTIONS_DONE ? -1 : EXIT_USAGE;
    asked->path = operand_path(command, argc, argv);
    return asked->path ? EXIT_GOOD : EXIT_USAGE;
}

static sgi_model_config config_of(const struct asked *asked)
{
    sgi_model_config config;
    sgi_model_config_init(&config, sizeof config);
    config.path = asked->path;
    config.checks_path = asked->checks;
    return config;
}

/* Where each file's checks are now. A folder that the user named is one; what else he named is the file itself. */
static bool list_checks(const struct asked *asked, const struct described *d, struct names *files)
{
    struct stat st;
    const char *where = asked->checks ? asked->checks : asked->path;
    size_t      folder_bytes = asked->checks ? strlen(where) : folder_of(where);
    bool        added = true;

    if (asked->checks && stat(where, &st) == 0 && !S_ISDIR(st.st_mode))
        return names_add(files, where, strlen(where), 0);
    for (uint32_t n = 0; n < d->files.count && added; n++)
        added = names_add_path(files, where, folder_bytes, d->files.list[n], ".sgisum");
    return added;
}

static void put_checks(struct output *out, const struct asked *asked)
{
    struct described d;
    struct names     files = { .count = 0 };
    sgi_model_config config = config_of(asked);
    sgi_error        err = SGI_ERROR_INIT;

    if (describe(&config, &d, &err) != SGI_OK)
        return;
    if (list_checks(asked, &d, &files))
        for (uint32_t n = 0; n < files.count; n++)
            if (access(files.list[n], F_OK) == 0) { /* not beside an index that is a link to another folder's */
                output_shown(out, files.list[n]);
                output_text(out, "\n");
            }
    names_free(&files);
    described_free(&d);
}

static int run_digest(struct output *out, int argc, char **argv)
{
    static const struct option table[] = {
        { "output", required_argument, NULL, 'o' },
        { "jobs", required_argument, NULL, OPTION_JOBS },
        { "help", no_argument, NULL, OPTION_HELP },
        { 0 },
    };
    struct progress bar;
    struct asked    asked;
    sgi_error       err = { .struct_size = sizeof err };
    int             code = take(out, &command_digest, table, argc, argv, &asked);

    if (code != EXIT_GOOD)
        return code < 0 ? EXIT_GOOD : code;
    progress_begin(&bar);
    sgi_status st = sgi_digest(asked.path, asked.checks, (uint32_t)asked.jobs, progress_told, &bar, &err);
    progress_clear(&bar);
    if (st != SGI_OK)
        return failure_status(asked.path, st, &err);
    put_checks(out, &asked);
    return EXIT_GOOD;
}

struct verifying {
    struct progress bar;
    struct output  *out;
    uint64_t        bytes; /* of the model */
};

static int told(void *user, uint64_t done_bytes, uint64_t total_bytes)
{
    struct verifying *v = user;
    v->bytes = total_bytes;
    return progress_told(&v->bar, done_bytes, total_bytes);
}

/* The error has room for the first tensor only. */
static void put_damage(void *user, const sgi_damage *damage)
{
    struct output *out = ((struct verifying *)user)->out;

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

/* A model that is another by now has been verified all the same: then no more is said than that. */
static void put_good(struct output *out, const struct asked *asked, uint64_t bytes)
{
    struct described d;
    sgi_model_config config = config_of(asked);
    sgi_error        err = SGI_ERROR_INIT;

    output_shown(out, asked->path);
    output_text(out, ": good");
    if (describe(&config, &d, &err) == SGI_OK) {
        output_format(out, ": %" PRIu64 " %s", d.chunks, d.chunks == 1 ? "chunk" : "chunks");
        if (d.checked < d.chunks)
            output_format(out, ", %" PRIu64 " of them without a check", d.chunks - d.checked);
        output_format(out, ", %s", size_text(bytes).text);
        if (d.base) {
            output_format(out, ", %s of it in ", size_text(d.base_bytes).text);
            output_shown(out, d.base);
        }
        described_free(&d);
    }
    output_text(out, "\n");
}

static int run_verify(struct output *out, int argc, char **argv)
{
    static const struct option table[] = {
        { "checks", required_argument, NULL, OPTION_CHECKS },
        { "jobs", required_argument, NULL, OPTION_JOBS },
        { "help", no_argument, NULL, OPTION_HELP },
        { 0 },
    };
    struct verifying v = { .out = out };
    struct asked     asked;
    sgi_error        err = { .struct_size = sizeof err };
    int              code = take(out, &command_verify, table, argc, argv, &asked);

    if (code != EXIT_GOOD)
        return code < 0 ? EXIT_GOOD : code;
    progress_begin(&v.bar);
    sgi_status st = sgi_verify(asked.path, asked.checks, (uint32_t)asked.jobs, told, put_damage, &v, &err);
    progress_clear(&v.bar);
    if (st != SGI_OK)
        return failure_status(asked.path, st, &err);
    put_good(out, &asked, v.bytes);
    return EXIT_GOOD;
}

const struct command command_digest = {
    .name = "digest",
    .summary = "checks for a model's files, beside them: sgi digest PATH [-o PATH]",
    .help = "sgi digest PATH [-o PATH] [--jobs N]\n"
            "\n"
            "Writes FILE.sgisum beside each file of a model: a check for each two MiB. Where they are, every load\n"
            "compares what it reads with them, and sgi verify all of it. Checks find damage, not tampering.\n"
            "Puts out the path of each that it has written.\n"
            "\n"
            "  -o, --output PATH  where they go instead: a folder that is there, or for a model in one file the file\n"
            "                     to write. The other commands are told by --checks PATH\n"
            "  --jobs N           threads; one for each core\n",
    .run = run_digest,
};

const struct command command_verify = {
    .name = "verify",
    .summary = "whether a model with checks is whole: sgi verify PATH [--checks PATH]",
    .help =
        "sgi verify PATH [--checks PATH] [--jobs N]\n"
        "\n"
        "Reads a packed file to its last byte, and what it has in a base, and compares every chunk with its\n"
        "checks; or a model's files with those that sgi digest has put beside them.\n"
        "What was good is counted: chunks, bytes of the model, and how much of it is in the base.\n"
        "The first that is bad is named, with the tensors that it holds something of: on standard output, one line\n"
        "each, 8 at most and how many more. Checks find damage, not tampering.\n"
        "\n"
        "  --checks PATH  where sgi digest -o has put them\n"
        "  --jobs N       threads; one for each core\n",
    .run = run_verify,
};
