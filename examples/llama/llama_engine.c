/* SPDX-License-Identifier: Apache-2.0 */
/* See llama_engine.h. Here: a model's way up and down; llama_call.c has what happens in between. Every callback runs on
 * a thread of libsgi. Nothing is shared between models but llama.cpp itself. */
#include "llama_engine.h"

#include <ctype.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "gguf_strip.h"
#include "llama_internal.h"

enum {
    PARTS_MAX = 256, /* refused at register, by prefix_bytes */
    N_CTX_DEFAULT = 2048,
    N_BATCH_DEFAULT = 512,
    TRIM_BYTES = 128 << 10,    /* glibc's own default */
    PAGE_BYTES = 4096,         /* the library keeps a file's data at its offset modulo this */
    TOKEN_BYTES = 310,         /* host memory of a vocabulary, by its tokens: 14.4 MiB for 49,152 */
    INSTANCE_BYTES = 4u << 20, /* what llama.cpp allocates beside the buffers that it counts: graphs, tensor lists */
};

static const struct llama_engine_options defaults;

/* ----------------------------------------------------------------------------------------------------------- errors */

static _Thread_local char words[160];

sgi_status llama_refuse(sgi_error *err, sgi_status code, const char *format, ...)
{
    char    message[sizeof err->message];
    va_list args;

    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    return sgi_error_set(err, code, message);
}

void llama_words_clear(void)
{
    words[0] = '\0';
}

const char *llama_words(const char *otherwise)
{
    return words[0] != '\0' ? words : otherwise;
}

/* The first error names the cause, those after it only who passed it on. "load: error loading model: X" becomes "X". */
static void on_log(enum ggml_log_level level, const char *text, void *user)
{
    static const char preamble[] = "error loading model: ";
    size_t            name = 0, bytes;

    (void)user;
    if (level != GGML_LOG_LEVEL_ERROR || words[0] != '\0')
        return;
    while (isalnum((unsigned char)text[name]) || text[name] == '_')
        name++;
    if (name > 0 && strncmp(text + name, ": ", 2) == 0)
        text += name + 2;
    if (strncmp(text, preamble, sizeof preamble - 1) == 0)
        text += sizeof preamble - 1;
    bytes = strcspn(text, "\n");
    snprintf(words, sizeof words, "%.*s", (int)(bytes < sizeof words ? bytes : sizeof words), text);
}

static void set_up_llama(void)
{
    /* Freeing a large block (the KV cache) raises glibc's thresholds to its size. From then on what a stopped instance
     * or a discarded vocabulary leaves at the end of a thread's arena, 15 MiB and more, would stay: malloc_trim() looks
     * there only in the main arena. A threshold that was set is not raised. */
    mallopt(M_TRIM_THRESHOLD, TRIM_BYTES);
    llama_log_set(on_log, NULL);
    llama_backend_init();
}

/* ----------------------------------------------------------------------------------------------------------- prefix */

/* Of a part, whatever kind of file the model is in. */
struct header {
    uint8_t *bytes;
    uint64_t count;
};

static int64_t read_header(void *user, void *dst, size_t bytes, uint64_t offset)
{
    const struct header *h = user;

    size_t here = offset >= h->count ? 0 : bytes < h->count - offset ? bytes : (size_t)(h->count - offset);

    memcpy(dst, h->bytes + (here > 0 ? offset : 0), here);
    memset((uint8_t *)dst + here, 0, bytes - here); /* of tensors, which nobody looks at */
    return (int64_t)bytes;
}

/* free(h->bytes) after it. */
static sgi_status load_header(const sgi_source *source, uint32_t part, struct header *h, struct gguf_source *src,
                              sgi_error *err)
{
    h->count = source->files[part].data_offset;
    h->bytes = malloc(h->count + 1);
    if (h->bytes == NULL)
        return llama_refuse(err, SGI_E_NO_MEMORY, "no memory for the header of %s", source->files[part].path);
    *src = (struct gguf_source){ .read_at = read_header, .user = h, .bytes = source->files[part].bytes };
    sgi_status st = sgi_source_read(source, part, 0, h->bytes, h->count, err);
    if (st != SGI_OK)
        free(h->bytes);
    return st;
}

static sgi_status engine_prefix_bytes(void *user, const sgi_source *source, uint32_t part, uint64_t *bytes,
                                      sgi_error *err)
{
    struct gguf_source     src;
    struct gguf_strip_size size;
    struct header          header;
    char                   reason[sizeof err->message];

    (void)user;
    if (strcmp(source->format, "gguf") != 0)
        return llama_refuse(err, SGI_E_UNSUPPORTED, "llama.cpp reads GGUF models, and this one is %s", source->format);
    if (source->files_count > PARTS_MAX)
        return llama_refuse(err, SGI_E_UNSUPPORTED, "the model has %u files, at most %d are supported",
                            source->files_count, PARTS_MAX);
    sgi_status st = load_header(source, part, &header, &src, err);
    if (st != SGI_OK)
        return st;
    int rc = gguf_strip_measure(&src, &size, reason, sizeof reason);
    free(header.bytes);
    if (rc < 0)
        return llama_refuse(err, SGI_E_FORMAT, "%s: %s", source->files[part].path, reason);
    if (size.alignment > PAGE_BYTES)
        return llama_refuse(err, SGI_E_UNSUPPORTED, "%s: tensors aligned to %llu bytes, more than the %d of a page",
                            source->files[part].path, (unsigned long long)size.alignment, PAGE_BYTES);
    *bytes = size.bytes_min;
    return SGI_OK;
}

static sgi_status engine_prefix_fill(void *user, const sgi_source *source, uint32_t part, void *dst, uint64_t bytes,
                                     sgi_error *err)
{
    struct gguf_source src;
    struct header      header;
    char               reason[sizeof err->message];

    (void)user;
    sgi_status st = load_header(source, part, &header, &src, err);
    if (st != SGI_OK)
        return st;
    int rc = gguf_strip_fill(&src, dst, bytes, reason, sizeof reason);
    free(header.bytes);
    return rc < 0 ? llama_refuse(err, SGI_E_FORMAT, "%s: %s", source->files[part].path, reason) : SGI_OK;
}

/* ---------------------------------------------------------------------------------------------------------- prepare */

/* A file of a header and nothing behind it but its length: the vocabulary is in the header. -1: `err` says why. */
static int header_file(const sgi_source *source, uint32_t part, sgi_error *err)
{
    struct gguf_source src;
    struct header      header;
    int                fd = memfd_create("header", MFD_CLOEXEC);

    if (fd < 0 || load_header(source, part, &header, &src, err) != SGI_OK) {
        if (fd < 0)
            llama_refuse(err, SGI_E_SYSTEM, "memfd_create: %s", strerror(errno));
        else
            close(fd);
        return -1;
    }
    bool written = pwrite(fd, header.bytes, header.count, 0) == (ssize_t)header.count &&
                   ftruncate(fd, (off_t)source->files[part].bytes) == 0;
    free(header.bytes);
    if (written)
        return fd;
    llama_refuse(err, SGI_E_SYSTEM, "writing the header of %s to memory: %s", source->files[part].path,
                 strerror(errno));
    close(fd);
    return -1;
}

static struct llama_model *load_vocabulary(const sgi_source *source, sgi_error *err)
{
    struct llama_model_params params = llama_model_default_params();
    struct llama_model       *model = NULL;
    char                      names[PARTS_MAX][32];
    const char               *paths[PARTS_MAX];
    int                       fds[PARTS_MAX];
    uint32_t                  parts = 0;

    params.vocab_only = true;
    for (; parts < source->files_count; parts++) {
        fds[parts] = header_file(source, parts, err);
        if (fds[parts] < 0)
            break;
        snprintf(names[parts], sizeof names[parts], "/proc/self/fd/%d", fds[parts]);
        paths[parts] = names[parts];
    }
    if (parts == source->files_count) {
        model = parts == 1 ? llama_model_load_from_file(paths[0], params)
                           : llama_model_load_from_splits(paths, parts, params);
        if (model == NULL)
            llama_refuse(err, SGI_E_FORMAT, "llama.cpp cannot read the vocabulary of %s: %s", source->files[0].path,
                         llama_words("it does not say why"));
    }
    while (parts > 0)
        close(fds[--parts]);
    return model;
}

/* llama.cpp has no Jinja in its library: it recognises templates, and says so only when one is applied. */
static sgi_status check_template(const char *chat_template, sgi_error *err)
{
    struct llama_chat_message message = { .role = "user", .content = "Hello" };
    int                       shown = (int)strcspn(chat_template, "\r\n");

    if (llama_chat_apply_template(chat_template, &message, 1, true, NULL, 0) >= 0)
        return SGI_OK;
    return llama_refuse(err, SGI_E_UNSUPPORTED,
                        "llama.cpp does not know the model's chat template ('%.*s...'); it takes raw prompts only",
                        shown < 60 ? shown : 60, chat_template);
}

static void engine_discard(void *user, void *prepared)
{
    struct prepared *p = prepared;

    (void)user;
    llama_model_free(p->vocab_model);
    free(p);
    malloc_trim(0);
}

static sgi_status engine_prepare(void *user, const sgi_source *source, void **prepared, uint64_t *bytes, sgi_error *err)
{
    static pthread_once_t              once = PTHREAD_ONCE_INIT;
    const struct llama_engine_options *options = user;
    struct prepared                   *p;
    sgi_status                         st;

    pthread_once(&once, set_up_llama);
    p = calloc(1, sizeof *p);
    if (p == NULL)
        return llama_refuse(err, SGI_E_NO_MEMORY, "no memory for the model's vocabulary");

    llama_words_clear();
    p->files_count = source->files_count;
    p->vocab_model = load_vocabulary(source, err);
    if (p->vocab_model == NULL) {
        free(p);
        return err->code;
    }
    p->vocab = llama_model_get_vocab(p->vocab_model);
    if (!llama_model_has_decoder(p->vocab_model) || llama_model_has_encoder(p->vocab_model)) {
        st = llama_refuse(err, SGI_E_UNSUPPORTED, "only models that are a decoder alone can answer here");
        goto undo;
    }
    if (llama_vocab_type(p->vocab) == LLAMA_VOCAB_TYPE_NONE) {
        st = llama_refuse(err, SGI_E_UNSUPPORTED, "%s has no vocabulary", source->files[0].path);
        goto undo; /* any question about a token would end the process */
    }
    p->chat_template = options->raw ? NULL : llama_model_chat_template(p->vocab_model, NULL);
    if (p->chat_template != NULL) {
        st = check_template(p->chat_template, err);
        if (st != SGI_OK)
            goto undo;
    }
    *prepared = p;
    *bytes = (uint64_t)llama_vocab_n_tokens(p->vocab) * TOKEN_BYTES;
    return SGI_OK;

undo:
    engine_discard(user, p);
    return st;
}

/* --------------------------------------------------------------------------------------------------- start and stop */

/* Between tensors, while llama.cpp notes where they lie. */
static bool on_progress(float progress, void *user)
{
    struct instance *instance = user;

    (void)progress;
    return !sgi_stage_canceled(instance->stage);
}

/* At every node of a graph, on the thread that decodes. */
static bool on_abort_check(void *user)
{
    struct instance *instance = user;

    return instance->reply != NULL && sgi_reply_canceled(instance->reply);
}

static int32_t threads_count(const struct llama_engine_options *options)
{
    cpu_set_t usable;

    if (options->threads != 0)
        return (int32_t)options->threads;
    if (sched_getaffinity(0, sizeof usable, &usable) == 0 && CPU_COUNT(&usable) > 1)
        return CPU_COUNT(&usable) - 1;
    return 1;
}

static sgi_status open_model(struct instance *instance, sgi_error *err)
{
    uint32_t                  parts = instance->prepared->files_count;
    char                      names[PARTS_MAX][32];
    const char               *paths[PARTS_MAX];
    struct llama_model_params params = llama_model_default_params();

    for (uint32_t i = 0; i < parts; i++) {
        sgi_image  image = { .struct_size = sizeof image };
        sgi_status st = sgi_stage_image(instance->stage, i, &image, err);

        if (st != SGI_OK)
            return st;
        if (image.fd < 0)
            return llama_refuse(err, SGI_E_INVALID,
                                "llama.cpp opens files: the model has to be registered with SGI_IMAGE_FD");
        snprintf(names[i], sizeof names[i], "/proc/self/fd/%d", image.fd);
        paths[i] = names[i];
    }

    /* Mapped as it lies: no copy, no repacking, nothing read. That is why this may run before the weights are there. */
    params.load_mode = LLAMA_LOAD_MODE_MMAP;
    params.use_extra_bufts = false;
    params.check_tensors = false;
    params.n_gpu_layers = 0;
    params.progress_callback = on_progress;
    params.progress_callback_user_data = instance;
    llama_words_clear();
    instance->model = parts == 1 ? llama_model_load_from_file(paths[0], params)
                                 : llama_model_load_from_splits(paths, parts, params);
    if (instance->model != NULL)
        return SGI_OK;
    if (sgi_stage_canceled(instance->stage))
        return llama_refuse(err, SGI_E_CANCELED, "the start was given up");
    return llama_refuse(err, SGI_E_ENGINE, "llama.cpp cannot open the model: %s", llama_words("it does not say why"));
}

static sgi_status make_context(struct instance *instance, const struct llama_engine_options *options, sgi_error *err)
{
    struct llama_context_params params = llama_context_default_params();
    int32_t                     trained = llama_model_n_ctx_train(instance->prepared->vocab_model);

    params.n_ctx = options->n_ctx != 0 ? options->n_ctx : N_CTX_DEFAULT;
    if (options->n_ctx == 0 && trained > 0 && trained < N_CTX_DEFAULT)
        params.n_ctx = (uint32_t)trained;
    params.n_batch = options->n_batch != 0 ? options->n_batch : N_BATCH_DEFAULT;
    params.n_ubatch = options->n_ubatch != 0 ? options->n_ubatch : N_BATCH_DEFAULT;
    if (params.n_ubatch > params.n_batch)
        params.n_ubatch = params.n_batch;
    params.n_seq_max = 1;
    params.n_outputs_max = 1; /* one row of logits and not one for each token of a batch: 16 MiB instead of 103 */
    params.n_threads = params.n_threads_batch = threads_count(options);
    params.no_perf = true;
    params.abort_callback = on_abort_check;
    params.abort_callback_data = instance;
    llama_words_clear();
    instance->context = llama_init_from_model(instance->model, params);
    if (instance->context == NULL)
        return llama_refuse(err, SGI_E_ENGINE, "llama.cpp cannot make a context of %u tokens: %s", params.n_ctx,
                            llama_words("it does not say why"));
    return SGI_OK;
}

static void engine_stop(void *user, void *instance)
{
    struct instance *i = instance;

    (void)user;
    if (i->context != NULL)
        llama_free(i->context);
    if (i->model != NULL)
        llama_model_free(i->model);
    free(i);
    malloc_trim(0); /* llama.cpp's thousands of small blocks leave the heap's end free, and glibc keeps it */
}

static sgi_status engine_start(void *user, void *prepared, sgi_stage *stage, void **instance_out, sgi_error *err)
{
    struct instance *instance = calloc(1, sizeof *instance);
    sgi_status       st;

    if (instance == NULL)
        return llama_refuse(err, SGI_E_NO_MEMORY, "no memory for an instance");
    instance->prepared = prepared;
    instance->stage = stage;
    atomic_flag_clear(&instance->busy);

    st = open_model(instance, err);
    if (st == SGI_OK)
        st = make_context(instance, user, err);
    if (st == SGI_OK)
        st = sgi_stage_report_bytes(stage, llama_context_bytes(instance->context) + INSTANCE_BYTES, err);
    if (st == SGI_OK)
        st = sgi_stage_wait(stage, err);
    if (st != SGI_OK) {
        engine_stop(user, instance);
        return st;
    }
    instance->stage = NULL;
    *instance_out = instance;
    return SGI_OK;
}

sgi_status llama_engine_init(sgi_engine *engine, const struct llama_engine_options *options)
{
    sgi_status st = sgi_engine_init(engine, sizeof *engine);

    if (st != SGI_OK)
        return st;
    if (options == NULL)
        options = &defaults;
    if (options->n_ctx > INT32_MAX || options->n_batch > INT32_MAX || options->n_ubatch > INT32_MAX ||
        options->threads > 1024)
        return SGI_E_INVALID;
    engine->name = "llama.cpp";
    engine->user = (void *)(uintptr_t)options; /* only read */
    engine->prepare = engine_prepare;
    engine->discard = engine_discard;
    engine->prefix_bytes = engine_prefix_bytes;
    engine->prefix_fill = engine_prefix_fill;
    engine->start = engine_start;
    engine->call = llama_call;
    engine->stop = engine_stop;
    return SGI_OK;
}
