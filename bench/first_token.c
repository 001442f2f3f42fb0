/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From nothing on the device to the first token of an answer, libsgi and llama.cpp's own loader taking turns in one
 * process:
 *
 *     first_token MODEL.gguf [--threads N] [--n-ctx N]
 *
 * Each line of input is a way and a prompt, each answered by one JSON object on a line; nothing but what was asked for
 * happens in between, so whoever asks decides what the page cache holds. Ways:
 *
 *     sgi_disk     libsgi, no byte of the model in memory but what `prepare` made
 *     sgi_dram     libsgi, from its DRAM residence
 *     mmap         llama.cpp as it comes: mapped, weights repacked where that makes decoding faster
 *     mmap_plain   mapped and not repacked, as libsgi's engine uses it
 *     read         read into memory of its own
 *     direct       the same past the page cache
 *     vocabulary   llama.cpp reads the vocabulary and nothing else: a part of all loads of its own, and no answer
 *
 * and prompts: `hello` (one token, no template) and `chat` (through the model's template). All decode with the same
 * context: n_batch = n_ubatch = 64, one row of logits.
 *
 * phases_ms says where `seconds` went, the same for both sides:
 *
 *     request   until llama.cpp is asked to open the model: of libsgi, from the acquire to the engine's start
 *     open      llama.cpp opens the model, or the image of it
 *     context   llama.cpp makes its context, which touches context_faults pages for the first time
 *     grant     of libsgi, from there to the lease: for bytes that are still to come from the disk, and the hand-over
 *     decode    the prompt
 *     other     the rest: the call, tokens of the prompt, the answer's first one
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <llama.h>
#include <sgi/sgi.h>

#include "llama_engine.h"
#include "llama_marks.h"
#include "measure.h"
#include "options.h"
#include "session.h"

enum { N_BATCH = 64, PROMPT_TOKENS_MAX = N_BATCH, TEXT_MAX = 1024 };

static const char hello[] = "Hello";
static const char chat[] = "In one short sentence, what is the capital city of France?";

struct bench {
    const char                 *path;
    struct llama_engine_options options;
    sgi_runtime                *rt;
    sgi_model                   model;
};

/* One turn, and what it came to: until the first token, not what giving back takes. */
struct turn {
    double   start, cpu_start;
    double   seconds, cpu_seconds;
    double   granted; /* when; 0: there was no lease */
    uint32_t tokens;  /* of the prompt; 0: not known here */

    struct llama_marks marks;
    char               piece[64];
};

static void start_clock(struct turn *turn)
{
    llama_marks_clear();
    turn->cpu_start = cpu_seconds();
    turn->start = seconds_now();
}

static void stop_clock(struct turn *turn)
{
    turn->seconds = seconds_now() - turn->start;
    turn->cpu_seconds = cpu_seconds() - turn->cpu_start;
    turn->marks = llama_marks_read();
}

/* ----------------------------------------------------------------------------------------------------------- libsgi */

static void open_model(struct bench *b)
{
    sgi_error          err = SGI_ERROR_INIT;
    sgi_runtime_config rc = session_config("auto", 0);
    sgi_model_config   mc;
    sgi_engine         engine;

    rc.dram_bytes_max = SESSION_DRAM;
    b->rt = session_open(&rc);
    if (llama_engine_init(&engine, &b->options) != SGI_OK)
        die("engine: the options are not valid");
    sgi_model_config_init(&mc, sizeof mc);
    mc.name = "bench";
    mc.path = b->path;
    mc.engine = &engine;
    mc.flags = SGI_IMAGE_FD;
    if (sgi_model_register(b->rt, &mc, &b->model, &err) != SGI_OK)
        die("register: %s", err.message);
}

static void bring_to_dram(const struct bench *b)
{
    sgi_error  err = SGI_ERROR_INIT;
    sgi_ticket ticket;
    sgi_lease  none;

    session_evict(b->rt, b->model, SGI_TIER_DRAM); /* before the clock starts */
    if (sgi_model_prefetch(b->rt, b->model, SGI_TIER_DRAM, NULL, &ticket, NULL, NULL, &err) != SGI_OK ||
        sgi_ticket_wait(b->rt, ticket, SGI_FOREVER, &none, &err) != SGI_OK)
        die("prefetch: %s", err.message);
}

static int on_piece(void *user, const void *piece, size_t bytes)
{
    struct turn *turn = user;

    if (turn->seconds == 0) {
        stop_clock(turn);
        snprintf(turn->piece, sizeof turn->piece, "%.*s", (int)bytes, (const char *)piece);
    }
    return 0;
}

static void ask_sgi(const struct bench *b, bool templated, struct turn *turn)
{
    sgi_error err = SGI_ERROR_INIT;
    char      request[TEXT_MAX];

    snprintf(request, sizeof request, "{\"prompt\": \"%s\", \"template\": %s, \"max_tokens\": 1}",
             templated ? chat : hello, templated ? "true" : "false");
    start_clock(turn);
    sgi_lease lease = session_acquire(b->rt, b->model, NULL);
    turn->granted = seconds_now();
    if (sgi_lease_call(b->rt, lease, request, strlen(request), SGI_FOREVER, on_piece, turn, &err) != SGI_OK)
        die("call: %s", err.message);
    session_release(b->rt, lease);
}

/* -------------------------------------------------------------------------------------------------------- llama.cpp */

static struct llama_model *load(const char *path, enum llama_load_mode mode, bool repack)
{
    struct llama_model_params params = llama_model_default_params();
    struct llama_model       *model;

    params.load_mode = mode;
    params.use_extra_bufts = repack;
    params.n_gpu_layers = 0;
    model = llama_model_load_from_file(path, params);
    if (model == NULL)
        die("%s: llama.cpp cannot load it", path);
    return model;
}

static struct llama_context *make_context(struct llama_model *model, const struct llama_engine_options *options)
{
    struct llama_context_params params = llama_context_default_params();
    struct llama_context       *context;

    params.n_ctx = options->n_ctx;
    params.n_batch = options->n_batch;
    params.n_ubatch = options->n_ubatch;
    params.n_seq_max = 1;
    params.n_outputs_max = 1;
    params.n_threads = params.n_threads_batch = (int32_t)options->threads;
    params.no_perf = true;
    context = llama_init_from_model(model, params);
    if (context == NULL)
        die("context: llama.cpp cannot make one");
    return context;
}

static void decode_prompt(struct llama_context *context, bool templated, struct turn *turn)
{
    const struct llama_model *model = llama_get_model(context);
    struct llama_chat_message message = { .role = "user", .content = chat };
    llama_token               tokens[PROMPT_TOKENS_MAX];
    char                      text[TEXT_MAX];
    int32_t                   bytes = (int32_t)strlen(hello), count;

    if (templated)
        bytes = llama_chat_apply_template(llama_model_chat_template(model, NULL), &message, 1, true, text, sizeof text);
    if (bytes < 0 || (size_t)bytes >= sizeof text)
        die("prompt: the model's chat template does not take it");
    count = llama_tokenize(llama_model_get_vocab(model), templated ? text : hello, bytes, tokens, PROMPT_TOKENS_MAX,
                           true, true);
    if (count <= 0 || llama_decode(context, llama_batch_get_one(tokens, count)) != 0)
        die("prompt: llama.cpp cannot decode it");
    turn->tokens = (uint32_t)count;
}

static void ask_llama(const struct bench *b, enum llama_load_mode mode, bool repack, bool templated, struct turn *turn)
{
    struct llama_model   *model;
    struct llama_context *context;
    struct llama_sampler *sampler;
    llama_token           token;
    int32_t               bytes;

    start_clock(turn);
    model = load(b->path, mode, repack);
    context = make_context(model, &b->options);
    sampler = llama_sampler_init_greedy();
    decode_prompt(context, templated, turn);
    token = llama_sampler_sample(sampler, context, -1);
    bytes = llama_token_to_piece(llama_model_get_vocab(model), token, turn->piece, sizeof turn->piece - 1, 0, false);
    stop_clock(turn);
    turn->piece[bytes > 0 ? bytes : 0] = '\0';
    llama_sampler_free(sampler);
    llama_free(context);
    llama_model_free(model);
}

static void read_vocabulary(const struct bench *b, struct turn *turn)
{
    struct llama_model_params params = llama_model_default_params();
    struct llama_model       *model;

    params.vocab_only = true;
    start_clock(turn);
    model = llama_model_load_from_file(b->path, params);
    stop_clock(turn);
    if (model == NULL)
        die("%s: llama.cpp cannot read its vocabulary", b->path);
    llama_model_free(model);
}

/* ------------------------------------------------------------------------------------------------------------ turns */

static void take_turn(const struct bench *b, const char *way, bool templated, struct turn *turn)
{
    static const struct {
        const char          *name;
        enum llama_load_mode mode;
        bool                 repack;
    } loaders[] = {
        { "mmap", LLAMA_LOAD_MODE_MMAP, true },
        { "mmap_plain", LLAMA_LOAD_MODE_MMAP, false },
        { "read", LLAMA_LOAD_MODE_NONE, true },
        { "direct", LLAMA_LOAD_MODE_DIRECT_IO, true },
    };
    bool dram = strcmp(way, "sgi_dram") == 0;

    if (dram)
        bring_to_dram(b);
    else
        session_evict(b->rt, b->model, SGI_TIER_DISK);
    if (dram || strcmp(way, "sgi_disk") == 0) {
        ask_sgi(b, templated, turn);
    } else if (strcmp(way, "vocabulary") == 0) {
        read_vocabulary(b, turn);
    } else {
        size_t n = 0;

        while (n < sizeof loaders / sizeof *loaders && strcmp(way, loaders[n].name) != 0)
            n++;
        if (n == sizeof loaders / sizeof *loaders)
            die("%s: there is no such way", way);
        ask_llama(b, loaders[n].mode, loaders[n].repack, templated, turn);
    }
}

static void report_phases(const struct turn *turn)
{
    const struct llama_mark *open = &turn->marks.open, *context = &turn->marks.context, *decode = &turn->marks.decode;

    double opening = open->end - open->begin, making = context->end - context->begin;
    double decoding = decode->end - decode->begin, request = open->begin - turn->start;
    double grant = turn->granted > 0 ? turn->granted - context->end : 0;
    double other = turn->seconds - request - opening - making - grant - decoding;

    printf("\"phases_ms\": {\"request\": %.3f, \"open\": %.3f, \"context\": %.3f, \"grant\": %.3f, \"decode\": %.3f, "
           "\"other\": %.3f}, \"context_faults\": %llu, ",
           1e3 * request, 1e3 * opening, 1e3 * making, 1e3 * grant, 1e3 * decoding, 1e3 * other,
           (unsigned long long)context->faults);
}

/* The token as bytes in hexadecimal: a model may say what is no JSON. */
static void report(const char *way, const char *prompt, const struct turn *turn)
{
    printf("{\"way\": \"%s\", \"prompt\": \"%s\", \"seconds\": %.6f, \"cpu_seconds\": %.6f, \"tokens\": %u, ", way,
           prompt, turn->seconds, turn->cpu_seconds, turn->tokens);
    report_phases(turn);
    fputs("\"token\": \"", stdout);
    for (const char *c = turn->piece; *c != '\0'; c++)
        printf("%02x", (unsigned char)*c);
    puts("\"}");
    fflush(stdout);
}

static void serve(const struct bench *b)
{
    char line[128], way[32], prompt[32];

    while (fgets(line, sizeof line, stdin) != NULL) {
        struct turn turn = { 0 };

        if (sscanf(line, "%31s %31s", way, prompt) != 2 ||
            (strcmp(prompt, "hello") != 0 && strcmp(prompt, "chat") != 0))
            die("input: a line is a way and a prompt, hello or chat");
        take_turn(b, way, strcmp(prompt, "chat") == 0, &turn);
        report(way, prompt, &turn);
    }
}

static void parse(int argc, char **argv, struct bench *b)
{
    for (int n = 1; n < argc && argv[n] != NULL; n++) {
        const char *value = n + 1 < argc ? argv[n + 1] : NULL;

        if (strcmp(argv[n], "--threads") == 0 && value != NULL)
            b->options.threads = (uint32_t)strtoul(argv[++n], NULL, 10);
        else if (strcmp(argv[n], "--n-ctx") == 0 && value != NULL)
            b->options.n_ctx = (uint32_t)strtoul(argv[++n], NULL, 10);
        else if (argv[n][0] != '-' && b->path == NULL)
            b->path = argv[n];
        else
            b->options.threads = 0;
    }
    if (b->path == NULL || b->options.threads == 0 || b->options.n_ctx == 0) {
        fputs("usage: first_token MODEL.gguf [--threads N] [--n-ctx N]\n", stderr);
        exit(2);
    }
}

int main(int argc, char **argv)
{
    struct bench b = { .options = { .n_ctx = 512, .n_batch = N_BATCH, .n_ubatch = N_BATCH, .threads = 1 } };
    struct turn  first = { 0 };

    parse(argc, argv, &b);
    open_model(&b);
    ask_sgi(&b, false, &first); /* makes what `prepare` keeps, and silences llama.cpp */
    serve(&b);
    session_close(b.rt);
    return 0;
}
