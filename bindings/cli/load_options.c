/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "command.h"
#include "load.h"

/* As the header promises them for read_block_bytes and read_depth. */
enum { BLOCK_STEP = 4096, BLOCK_MAX = 64 << 20, DEPTH_MAX = 64 };
#define RATE_MAX (UINT64_C(1) << 40)

enum {
    OPTION_ENGINE = OPTION_FIRST,
    OPTION_COLD,
    OPTION_DIGEST,
    OPTION_REPEAT,
    OPTION_ORDER,
    OPTION_JSON,
    OPTION_BLOCK,
    OPTION_DEPTH,
    OPTION_DEVICE,
    OPTION_FOLDER,
    OPTION_CHECKS,
    OPTION_RATE,
};

static const struct option table[] = {
    { "engine", required_argument, NULL, OPTION_ENGINE }, { "cold", no_argument, NULL, OPTION_COLD },
    { "digest", no_argument, NULL, OPTION_DIGEST },       { "repeat", required_argument, NULL, OPTION_REPEAT },
    { "order", required_argument, NULL, OPTION_ORDER },   { "json", no_argument, NULL, OPTION_JSON },
    { "block", required_argument, NULL, OPTION_BLOCK },   { "depth", required_argument, NULL, OPTION_DEPTH },
    { "device", required_argument, NULL, OPTION_DEVICE }, { "folder", required_argument, NULL, OPTION_FOLDER },
    { "checks", required_argument, NULL, OPTION_CHECKS }, { "rate", required_argument, NULL, OPTION_RATE },
    { "help", no_argument, NULL, OPTION_HELP },           { 0 },
};

const char load_help[] =
    "sgi load PATH [--engine uring|threads|auto] [--cold] [--digest] [--repeat N] [--order FILE] [--json]\n"
    "              [--block BYTES] [--depth N] [--rate BYTES] [--device NAME] [--checks PATH] [--folder DIR]...\n"
    "\n"
    "Brings a model into a device's memory as a server would, says what the time went to, and gives it back. What\n"
    "cannot be given back is said, and the exit status is 1.\n"
    "PATH is a .safetensors or .gguf file (of several: the first, NAME-00001-of-0000N.gguf), a\n"
    "*.safetensors.index.json, a .sgi file as sgi pack makes it, or a folder with one model.\n"
    "\n"
    "  --engine NAME  how files are read: uring, threads, or auto (default): uring for the disk where it works,\n"
    "                 threads for files in the page cache\n"
    "  --cold         drop the model's files, and a packed one's base, from the page cache before each repetition\n"
    "  --digest       put out the XXH3-64 of each tensor as it lies on the device\n"
    "  --repeat N     load it N times, each time from its files. In between the host memory of the image is kept, to\n"
    "                 be used again, and the context of a cuda device, for a second. What goes to cuda is copied\n"
    "                 into that memory too; a single load (the default) goes straight to the device\n"
    "  --order FILE   load these tensors first: one name on each line\n"
    "  --json         one JSON object for each repetition, each on one line\n"
    "  --block BYTES  size of one read (default 2M), a multiple of 4096 up to 64M; smaller at a low --rate\n"
    "  --depth N      reads in flight, up to 64 (default: 8, more while that is faster)\n"
    "  --rate BYTES   read no more than that in a second (default: no limit), but for 50 ms' worth that may come at\n"
    "                 once, and one read: no larger than 50 ms' worth either, or 4096 bytes where that is more\n"
    "  --device NAME  where to: host (default) or host:N, cuda or cuda:N, with N from 0 (as without) to 999\n"
    "  --checks PATH  where sgi digest -o has put the checks of the model's files\n"
    "  --folder DIR   where further files of the model are, beside the folder that PATH is in; up to 64 times\n"
    "\n"
    "BYTES is a number, or one with K, M, G or T behind it, of 1024: 2M, 2m and 2MiB are 2097152.\n"
    "Of an option that is given again the last one counts, but for --folder.\n"
    "\n"
    "load is from memory reserved to all bytes there, and what rates are taken from; total is from the\n"
    "request to the grant; cpu is that of the loading threads. Phases overlap.\n"
    "\n"
    "The JSON has path, repetition, bytes, load_ms, total_ms, gib_s, cpu_ms, process_cpu_ms, engine, device,\n"
    "tier (where the bytes came from), cold, direct (past the page cache: yes, part, no), bounced_bytes,\n"
    "read_bytes (fewer where it is packed), reread_bytes, limited_ms (reads were held back by --rate),\n"
    "kept_bytes (in DRAM, beside those on the device), residue_bytes (could not be given back) and phases\n"
    "({name: {start_ms, ms}}); with --cold cached_bytes, what stayed in the page cache all the same (null: this\n"
    "kernel does not tell; cold is false when it is more than 1 % of the files); with --digest digest_ms and\n"
    "tensors ([{name, xxh3}]).\n";

static bool engine_parse(const char *text, uint32_t *engine_out)
{
    static const struct {
        const char *name;
        uint32_t    engine;
    } engines[] = { { "auto", SGI_IO_AUTO }, { "uring", SGI_IO_URING }, { "threads", SGI_IO_THREADS } };

    for (size_t i = 0; i < sizeof engines / sizeof *engines; i++)
        if (strcmp(engines[i].name, text) == 0) {
            *engine_out = engines[i].engine;
            return true;
        }
    usage_error(&command_load, "--engine takes uring, threads or auto, not '%s'", text);
    return false;
}

/* As sgi_device_config.name has it: what comes behind "host" or "cuda". */
static bool is_ordinal(const char *text)
{
    size_t count = text[0] == ':' ? strspn(text + 1, "0123456789") : 0;
    return !text[0] || (count > 0 && count <= 3 && !text[1 + count] && (count == 1 || text[1] != '0'));
}

static bool device_parse(const char *text, const char **name_out)
{
    if ((strncmp(text, "host", 4) == 0 || strncmp(text, "cuda", 4) == 0) && is_ordinal(text + 4)) {
        *name_out = text;
        return true;
    }
    usage_error(&command_load, "--device takes host, host:N, cuda or cuda:N, with N from 0 to 999, not '%s'", text);
    return false;
}

static bool number(const char *option, uint64_t max, uint32_t *value_out)
{
    uint64_t value;
    if (!number_parse(&command_load, option, optarg, 1, max, &value))
        return false;
    *value_out = (uint32_t)value;
    return true;
}

static bool take(int option, struct load_options *o)
{
    uint64_t bytes;
    switch (option) {
    case OPTION_ENGINE:
        return engine_parse(optarg, &o->io_engine);
    case OPTION_COLD:
        return o->cold = true;
    case OPTION_DIGEST:
        return o->digest = true;
    case OPTION_REPEAT:
        return number("--repeat", LOAD_REPEAT_MAX, &o->repeat);
    case OPTION_ORDER:
        return file_take(&command_load, "--order", optarg, &o->order_path);
    case OPTION_JSON:
        return o->json = true;
    case OPTION_BLOCK:
        if (!bytes_parse(&command_load, "--block", optarg, BLOCK_STEP, BLOCK_MAX, &bytes))
            return false;
        o->block_bytes = (uint32_t)bytes;
        return true;
    case OPTION_DEPTH:
        return number("--depth", DEPTH_MAX, &o->depth);
    case OPTION_RATE:
        return bytes_parse(&command_load, "--rate", optarg, 1, RATE_MAX, &o->rate);
    case OPTION_FOLDER:
        return folder_add(&command_load, &o->folders, optarg);
    case OPTION_CHECKS:
        return checks_take(&command_load, optarg, &o->checks_path);
    default:
        return device_parse(optarg, &o->device);
    }
}

int load_options_parse(struct output *out, int argc, char **argv, struct load_options *options)
{
    int option;
    *options = (struct load_options){ .repeat = 1 };
    while ((option = option_next(out, &command_load, argc, argv, table)) >= 0)
        if (!take(option, options))
            return EXIT_USAGE;
    if (option != OPTIONS_END)
        return option == OPTIONS_DONE ? -1 : EXIT_USAGE;
    options->path = operand_path(&command_load, argc, argv);
    return options->path ? EXIT_GOOD : EXIT_USAGE;
}
