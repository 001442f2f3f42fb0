/* SPDX-License-Identifier: Apache-2.0 */
/* The llama.cpp engine on the real library with a real model: $SGI_TEST_GGUF, SmolLM2-135M-Instruct. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <llama.h>
#include <sgi/sgi.h>

#include "llama_engine.h"
#include "llama_files.h"
#include "llama_reference.h"

static const char *model_path;

/* Of one test: a runtime with one model. */
struct fixture {
    sgi_runtime                *rt;
    sgi_model                   model;
    sgi_error                   err;
    struct llama_engine_options options;
};

static uint64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* ---------------------------------------------------------------------------------------------------------- fixture */

static void open_runtime(struct fixture *f, uint64_t device_bytes)
{
    sgi_runtime_config config;
    sgi_device_config  device;

    memset(f, 0, sizeof *f);
    f->err.struct_size = sizeof f->err;
    sgi_runtime_config_init(&config, sizeof config);
    sgi_device_config_init(&device, sizeof device);
    device.name = "host";
    device.bytes_max = device_bytes;
    config.devices = &device;
    config.devices_count = 1;
    config.idle_timeout_ms = SGI_IDLE_NEVER;
    config.context_linger_ms = SGI_IDLE_NOW;
    config.backoff_ms = 1;
    assert_int_equal(sgi_runtime_open(&config, &f->rt, &f->err), SGI_OK);
}

static sgi_status register_model(struct fixture *f, const char *path, const struct llama_engine_options *options,
                                 uint32_t flags)
{
    sgi_engine       engine;
    sgi_model_config config;

    f->options = options != NULL ? *options : (struct llama_engine_options){ 0 };
    f->options.threads = 1; /* more spin for each other: far too slow where tests share the CPUs */
    assert_int_equal(llama_engine_init(&engine, &f->options), SGI_OK);
    sgi_model_config_init(&config, sizeof config);
    config.name = "model";
    config.path = path;
    config.engine = &engine;
    config.flags = flags;
    return sgi_model_register(f->rt, &config, &f->model, &f->err);
}

static void set_up(struct fixture *f, const struct llama_engine_options *options)
{
    open_runtime(f, 0);
    assert_int_equal(register_model(f, model_path, options, SGI_IMAGE_FD), SGI_OK);
}

static void tear_down(struct fixture *f)
{
    assert_int_equal(sgi_runtime_close(f->rt, 10000, &f->err), SGI_OK);
}

static sgi_lease acquire(struct fixture *f, uint32_t tier)
{
    sgi_timing timing = { .struct_size = sizeof timing };
    sgi_lease  lease = 0;

    if (sgi_model_acquire_wait(f->rt, f->model, NULL, &lease, &f->err) != SGI_OK)
        fail_msg("acquire: %s", f->err.message);
    assert_int_equal(sgi_lease_timing(f->rt, lease, &timing), SGI_OK);
    assert_int_equal(timing.tier, tier);
    return lease;
}

static void evict(struct fixture *f, uint32_t tier)
{
    sgi_model_state state = { .struct_size = sizeof state };
    uint64_t        limit = now_ms() + 10000;

    assert_int_equal(sgi_model_evict(f->rt, f->model, tier), SGI_OK);
    do {
        nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
        assert_int_equal(sgi_model_query(f->rt, f->model, &state), SGI_OK);
        assert_true(now_ms() < limit);
    } while (state.state != SGI_MODEL_COLD || state.device_bytes != 0 ||
             (tier == SGI_EVICT_ALL && (state.dram_bytes != 0 || state.prepared_bytes != 0)));
}

struct reply {
    char     text[65536];
    size_t   bytes;
    uint64_t pieces;
    uint64_t broken; /* pieces that ended within a UTF-8 character */
};

static bool ends_whole(const char *text, size_t bytes)
{
    for (size_t back = 1; back <= 4 && back <= bytes; back++) {
        unsigned char c = (unsigned char)text[bytes - back];

        if (c < 0x80)
            return back == 1;
        if (c >= 0xc0)
            return back == (c >= 0xf0 ? 4u : c >= 0xe0 ? 3u : 2u);
    }
    return false;
}

static int on_piece(void *user, const void *piece, size_t bytes)
{
    struct reply *reply = user;

    assert_true(bytes < sizeof reply->text - reply->bytes);
    memcpy(reply->text + reply->bytes, piece, bytes);
    reply->bytes += bytes;
    reply->text[reply->bytes] = '\0';
    reply->pieces++;
    reply->broken += !ends_whole(piece, bytes);
    return 0;
}

/* What the engine said. The library keeps codes about its own requests for itself, and hands an engine's on beside. */
static sgi_status engine_said(sgi_status st, const sgi_error *err)
{
    return st == SGI_E_ENGINE && err->driver_code < 0 ? err->driver_code : st;
}

static sgi_status call(struct fixture *f, sgi_lease lease, const char *request, struct reply *reply)
{
    *reply = (struct reply){ .bytes = 0 };
    f->err.driver_code = 0;
    return engine_said(sgi_lease_call(f->rt, lease, request, strlen(request), SGI_FOREVER, on_piece, reply, &f->err),
                       &f->err);
}

static void release(struct fixture *f, sgi_lease lease)
{
    assert_int_equal(sgi_lease_release(f->rt, lease), SGI_OK);
}

/* ---------------------------------------------------------------------------------------------------------- answers */

/* The same request cold, from DRAM and warm, and llama.cpp on its own. */
static void compare(const struct reference *reference, const char *prompt)
{
    static struct reply   reply;
    struct fixture        f;
    char                 *want, *request = NULL;
    uint64_t              pieces;
    static const uint32_t tiers[] = { SGI_TIER_DISK, SGI_TIER_DRAM, SGI_TIER_DEVICE, SGI_TIER_DISK };

    want = reference_answer(reference, prompt, &pieces);
    assert_true(strlen(want) > 10);
    assert_true(asprintf(&request, "{\"prompt\": \"%s\", \"template\": %s, \"max_tokens\": %u}", prompt,
                         reference->use_template ? "true" : "false", reference->max_tokens) > 0);
    set_up(&f, &reference->options);
    for (size_t i = 0; i < sizeof tiers / sizeof *tiers; i++) {
        sgi_lease lease = acquire(&f, tiers[i]);

        if (call(&f, lease, request, &reply) != SGI_OK)
            fail_msg("call: %s", f.err.message);
        assert_string_equal(reply.text, want);
        /* The last may be one that max_tokens cut. */
        assert_int_equal(reply.broken, !ends_whole(want, strlen(want)));
        assert_true(reply.pieces <= pieces);
        if (strspn(want,
                   "\n !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]_`abcdefghijklmnopqrstuvwxyz") ==
            strlen(want))
            assert_int_equal(reply.pieces, pieces); /* one for each token, as it comes */
        release(&f, lease);
        if (tiers[i] != SGI_TIER_DRAM)
            evict(&f, i == 0 ? SGI_TIER_DRAM : SGI_EVICT_ALL);
    }
    tear_down(&f);
    free(request);
    free(want);
}

static void a_raw_prompt_is_answered_as_llama_does(void **state)
{
    struct reference reference = { .path = model_path, .max_tokens = 48 };

    (void)state;
    reference.options = (struct llama_engine_options){ .n_ctx = 512, .n_batch = 64, .n_ubatch = 64, .threads = 1 };
    compare(&reference, "Hello");
}

static void a_chat_is_answered_as_llama_does(void **state)
{
    struct reference reference = { .path = model_path, .max_tokens = 64, .use_template = true };

    (void)state;
    reference.options = (struct llama_engine_options){ .n_ctx = 1024, .n_batch = 512, .n_ubatch = 512, .threads = 1 };
    compare(&reference, "Name three rivers in Europe.");
}

static void a_prompt_of_many_batches_is_answered_as_llama_does(void **state)
{
    struct reference reference = { .path = model_path, .max_tokens = 24 };
    char             prompt[1200] = "";

    (void)state;
    for (int i = 0; i < 12; i++)
        snprintf(prompt + strlen(prompt), sizeof prompt - strlen(prompt),
                 "Line %d: the river runs past town number %d. ", i, i * 7);
    reference.options = (struct llama_engine_options){ .n_ctx = 512, .n_batch = 48, .n_ubatch = 16, .threads = 1 };
    compare(&reference, prompt);
}

static void characters_come_whole(void **state)
{
    struct reference reference = { .path = model_path, .max_tokens = 40 };

    (void)state;
    reference.options = (struct llama_engine_options){ .n_ctx = 512, .n_batch = 64, .n_ubatch = 64, .threads = 1 };
    compare(&reference, "\xf0\x9f\x98\x80 \xf0\x9f\x98\x80 \xe6\xb0\xb4 \xe6\xb0\xb4 \xe6\xb0\xb4 \xf0\x9f\x98\x80");
}

/* The one-file model answers, and then the split one has to give the same answer: cold, from DRAM and warm. */
static void a_split_model_is_answered_as_llama_does(void **state)
{
    const char      *whole = model_path;
    struct reference reference = { .path = whole, .max_tokens = 24, .use_template = true };

    (void)state;
    reference.options = (struct llama_engine_options){ .n_ctx = 512, .n_batch = 512, .n_ubatch = 512, .threads = 1 };
    for (int first_empty = 0; first_empty <= 1; first_empty++) {
        char *path = split_model(whole, "split", 3, first_empty);

        model_path = path;
        compare(&reference, "Name three rivers in Europe.");
        model_path = whole;
        split_remove(path, "split", 3);
    }
}

static void a_seed_fixes_what_is_drawn(void **state)
{
    static struct reply a, b, c, greedy;
    struct fixture      f;
    sgi_lease           lease;

    (void)state;
    set_up(&f, NULL);
    lease = acquire(&f, SGI_TIER_DISK);
    assert_int_equal(call(&f, lease,
                          "{\"prompt\":\"Tell me a story.\",\"max_tokens\":24,\"temperature\":1.5,\"seed\":7}", &a),
                     SGI_OK);
    assert_int_equal(call(&f, lease,
                          "{\"prompt\":\"Tell me a story.\",\"max_tokens\":24,\"temperature\":1.5,\"seed\":7}", &b),
                     SGI_OK);
    assert_string_equal(a.text, b.text);
    assert_int_equal(call(&f, lease,
                          "{\"prompt\":\"Tell me a story.\",\"max_tokens\":24,\"temperature\":1.5,\"seed\":8}", &c),
                     SGI_OK);
    assert_string_not_equal(a.text, c.text);
    /* Among one candidate there is no choice. */
    assert_int_equal(call(&f, lease, "{\"prompt\":\"Tell me a story.\",\"max_tokens\":24}", &greedy), SGI_OK);
    assert_int_equal(call(&f, lease,
                          "{\"prompt\":\"Tell me a story.\",\"max_tokens\":24,\"temperature\":1.5,\"top_k\":1}", &c),
                     SGI_OK);
    assert_string_equal(greedy.text, c.text);
    assert_int_equal(call(&f, lease,
                          "{\"prompt\":\"Tell me a story.\",\"max_tokens\":24,\"temperature\":1.5,\"top_p\":0}", &c),
                     SGI_OK);
    assert_string_equal(greedy.text, c.text);
    /* A conversation of one message is what a prompt is turned into. */
    assert_int_equal(call(&f, lease,
                          "{\"messages\":[{\"role\":\"user\",\"content\":\"Tell me a story.\"}],\"max_tokens\":24}",
                          &c),
                     SGI_OK);
    assert_string_equal(greedy.text, c.text);
    release(&f, lease);
    tear_down(&f);
}

struct client {
    struct fixture *f;
    sgi_model       model;
    struct reply    reply;
    sgi_error       err;
    sgi_status      status;
};

/* No asserts: they end a test only on its own thread. */
static void *run_client(void *user)
{
    static const char request[] = "{\"prompt\": \"Name three rivers in Europe.\", \"max_tokens\": 24}";
    struct client    *c = user;
    sgi_lease         lease;

    c->err.struct_size = sizeof c->err;
    c->status = sgi_model_acquire_wait(c->f->rt, c->model, NULL, &lease, &c->err);
    if (c->status != SGI_OK)
        return NULL;
    c->status = sgi_lease_call(c->f->rt, lease, request, sizeof request - 1, SGI_FOREVER, on_piece, &c->reply, &c->err);
    sgi_lease_release(c->f->rt, lease);
    return NULL;
}

static void two_models_start_and_answer_at_the_same_time(void **state)
{
    static struct client clients[2];
    struct fixture       f;
    sgi_engine           engine;
    sgi_model_config     config;
    pthread_t            threads[2];

    (void)state;
    set_up(&f, NULL);
    assert_int_equal(llama_engine_init(&engine, &f.options), SGI_OK);
    sgi_model_config_init(&config, sizeof config);
    config.name = "second";
    config.path = model_path;
    config.engine = &engine;
    config.flags = SGI_IMAGE_FD;
    clients[0].model = f.model;
    assert_int_equal(sgi_model_register(f.rt, &config, &clients[1].model, &f.err), SGI_OK);
    for (int i = 0; i < 2; i++) {
        clients[i].f = &f;
        assert_int_equal(pthread_create(&threads[i], NULL, run_client, &clients[i]), 0);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        if (clients[i].status != SGI_OK)
            fail_msg("client %d: %s", i, clients[i].err.message);
    }
    assert_int_equal(clients[0].reply.pieces, 24);
    assert_string_equal(clients[0].reply.text, clients[1].reply.text);
    tear_down(&f);
}

/* ----------------------------------------------------------------------------------------------------------- cancel */

static sgi_completion next_completion(struct fixture *f)
{
    sgi_completion c = { .struct_size = sizeof c };
    struct pollfd  p = { .events = POLLIN };
    sgi_status     st;

    assert_int_equal(sgi_completion_fd(f->rt, &p.fd), SGI_OK);
    while ((st = sgi_completion_next(f->rt, &c)) == SGI_E_WOULD_BLOCK)
        assert_int_equal(poll(&p, 1, 30000), 1);
    assert_int_equal(st, SGI_OK);
    return c;
}

/* Cancels a call that would take many seconds, at its first piece or at once, and expects it back within one. */
static void cancel_one(struct fixture *f, sgi_lease lease, const char *request, bool at_first_piece)
{
    char           piece[256];
    size_t         bytes;
    sgi_call       call_id;
    sgi_completion c;
    uint64_t       start;

    assert_int_equal(sgi_call_begin(f->rt, lease, request, strlen(request), 5, &call_id, &f->err), SGI_OK);
    if (at_first_piece) {
        c = next_completion(f);
        assert_int_equal(c.kind, SGI_COMPLETION_READABLE);
        assert_int_equal(sgi_call_read(f->rt, call_id, piece, sizeof piece, &bytes, &f->err), SGI_OK);
    }
    start = now_ms();
    assert_int_equal(sgi_call_cancel(f->rt, call_id), SGI_OK);
    do
        c = next_completion(f);
    while (c.kind != SGI_COMPLETION_CALL);
    assert_true(now_ms() - start < 1000);
    assert_int_equal(c.status, SGI_E_CANCELED);
    assert_true(c.call == call_id && c.tag == 5);
    assert_int_equal(sgi_call_end(f->rt, call_id), SGI_OK);
}

static char *long_prompt(unsigned sentences)
{
    char  *text = NULL;
    size_t bytes;
    FILE  *out = open_memstream(&text, &bytes);

    assert_non_null(out);
    fprintf(out, "{\"max_tokens\": 100000, \"template\": false, \"prompt\": \"");
    for (unsigned i = 0; i < sentences; i++)
        fprintf(out, "Once upon a time there was a king with %u daughters. ", i);
    fprintf(out, "\"}");
    assert_int_equal(fclose(out), 0);
    return text;
}

static void a_canceled_call_comes_back_and_the_next_one_is_unharmed(void **state)
{
    static const char   question[] = "{\"prompt\": \"Name three rivers in Europe.\", \"max_tokens\": 16}";
    static const char   endless[] = "{\"prompt\": \"Count: 1, 2, 3,\", \"template\": false, \"max_tokens\": 100000}";
    static struct reply before, after;
    struct fixture      f;
    char               *prompt = long_prompt(250);
    sgi_lease           lease;
    sgi_call            given_up;

    (void)state;
    set_up(&f, &(struct llama_engine_options){ .n_ctx = 4096 });
    lease = acquire(&f, SGI_TIER_DISK);
    assert_int_equal(call(&f, lease, question, &before), SGI_OK);
    cancel_one(&f, lease, endless, true);
    assert_int_equal(call(&f, lease, question, &after), SGI_OK);
    assert_string_equal(before.text, after.text);
    cancel_one(&f, lease, prompt, false);
    assert_int_equal(call(&f, lease, question, &after), SGI_OK);
    assert_string_equal(before.text, after.text);

    /* Given up without a word: the lease goes at once, and the next one gets an instance that is free again. */
    assert_int_equal(sgi_call_begin(f.rt, lease, endless, strlen(endless), 0, &given_up, &f.err), SGI_OK);
    assert_int_equal(sgi_call_end(f.rt, given_up), SGI_OK);
    release(&f, lease);
    lease = acquire(&f, SGI_TIER_DEVICE);
    if (call(&f, lease, question, &after) != SGI_OK)
        fail_msg("call: %s", f.err.message);
    assert_string_equal(before.text, after.text);
    release(&f, lease);
    free(prompt);
    tear_down(&f);
}

/* ----------------------------------------------------------------------------------------------------------- errors */

static void what_does_not_fit_the_context_is_refused_with_the_numbers(void **state)
{
    static struct reply reply;
    struct fixture      f;
    char               *prompt = long_prompt(60);
    sgi_lease           lease;

    (void)state;
    set_up(&f, &(struct llama_engine_options){ .n_ctx = 256, .n_batch = 64 });
    lease = acquire(&f, SGI_TIER_DISK);
    assert_int_equal(call(&f, lease, prompt, &reply), SGI_E_INVALID);
    assert_non_null(strstr(f.err.message, "n_ctx"));
    assert_non_null(strstr(f.err.message, "256"));
    assert_int_equal(reply.pieces, 0);

    /* An answer is handed over up to the end: 256 tokens in the cache, and one more that needs no place there. */
    assert_int_equal(call(&f, lease, "{\"prompt\": \"Count: 1, 2, 3,\", \"template\": false, \"max_tokens\": 100000}",
                          &reply),
                     SGI_E_INVALID);
    assert_non_null(strstr(f.err.message, "the context is full: 11 tokens of prompt and 246 of answer"));
    assert_int_equal(reply.pieces, 246);
    assert_int_equal(call(&f, lease, "{\"prompt\": \"Count: 1, 2, 3,\", \"max_tokens\": 4}", &reply), SGI_OK);
    release(&f, lease);
    free(prompt);
    tear_down(&f);
}

static void a_request_is_refused_by_the_name_of_what_is_wrong(void **state)
{
    static const struct {
        const char *request, *says;
    } cases[] = {
        { "", "not JSON" },
        { "[1, 2]", "not a JSON object" },
        { "{\"prompt\": \"a\", \"prompt\": \"b\"}", "duplicate" },
        { "{}", "either 'prompt' or 'messages'" },
        { "{\"prompt\": \"a\", \"messages\": [{\"role\": \"user\", \"content\": \"b\"}]}",
          "either 'prompt' or 'messages'" },
        { "{\"prompt\": 7}", "'prompt' must be a string" },
        { "{\"prompt\": \"\", \"template\": false}", "the prompt is empty" },
        { "{\"prompt\": \"a\", \"max_tokens\": 0}", "'max_tokens'" },
        { "{\"prompt\": \"a\", \"max_tokens\": 1.5}", "'max_tokens'" },
        { "{\"prompt\": \"a\", \"temperature\": -1}", "'temperature'" },
        { "{\"prompt\": \"a\", \"top_p\": 2}", "'top_p'" },
        { "{\"prompt\": \"a\", \"top_k\": -1}", "'top_k'" },
        { "{\"prompt\": \"a\", \"seed\": 4294967295}", "'seed'" },
        { "{\"prompt\": \"a\", \"template\": 1}", "'template'" },
        { "{\"prompt\": \"a\", \"top_kk\": 1}", "unknown field 'top_kk'" },
        { "{\"messages\": []}", "'messages'" },
        { "{\"messages\": [{\"role\": \"user\"}]}", "message 0" },
        { "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}], \"template\": false}",
          "'template' cannot be false" },
    };
    static struct reply reply;
    struct fixture      f;
    sgi_lease           lease;

    (void)state;
    set_up(&f, NULL);
    lease = acquire(&f, SGI_TIER_DISK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(call(&f, lease, cases[i].request, &reply), SGI_E_INVALID);
        if (strstr(f.err.message, cases[i].says) == NULL)
            fail_msg("'%s' gives '%s', where '%s' is missing", cases[i].request, f.err.message, cases[i].says);
    }
    release(&f, lease);
    tear_down(&f);
}

static void refuse_acquire(struct fixture *f, sgi_status status, uint32_t step, const char *says)
{
    sgi_device_info device = { .struct_size = sizeof device };
    uint64_t        limit = now_ms() + 5000;
    sgi_lease       lease;

    for (int i = 0; i < 2; i++) { /* it has to be the same answer again */
        sgi_status st = engine_said(sgi_model_acquire_wait(f->rt, f->model, NULL, &lease, &f->err), &f->err);

        if (st != status || strstr(f->err.message, says) == NULL)
            fail_msg("%s: %s", sgi_status_name(st), f->err.message);
        assert_int_equal(f->err.step, step);
    }
    do /* given back beside the answer, not before it */
        assert_int_equal(sgi_device_query(f->rt, 0, &device), SGI_OK);
    while (device.bytes_used != 0 && now_ms() < limit);
    assert_int_equal(device.bytes_used, 0);
}

static void an_unknown_chat_template_is_named_and_raw_goes_without(void **state)
{
    static struct reply reply;
    char               *path = patched_model(model_path, "tokenizer.chat_template", "<|im_start|>", "<|xx_xxxxx|>");
    struct fixture      f;
    sgi_lease           lease;

    (void)state;
    open_runtime(&f, 0);
    assert_int_equal(register_model(&f, path, NULL, SGI_IMAGE_FD), SGI_OK);
    refuse_acquire(&f, SGI_E_UNSUPPORTED, SGI_STEP_PREPARE, "does not know the model's chat template");
    tear_down(&f);

    open_runtime(&f, 0);
    assert_int_equal(register_model(&f, path, &(struct llama_engine_options){ .raw = 1 }, SGI_IMAGE_FD), SGI_OK);
    lease = acquire(&f, SGI_TIER_DISK);
    assert_int_equal(call(&f, lease, "{\"prompt\": \"Hello\", \"max_tokens\": 4}", &reply), SGI_OK);
    assert_int_equal(call(&f, lease, "{\"prompt\": \"Hello\", \"template\": true}", &reply), SGI_E_UNSUPPORTED);
    assert_non_null(strstr(f.err.message, "chat template"));
    release(&f, lease);
    tear_down(&f);
    remove_model(path);
}

static void a_model_llama_does_not_know_fails_in_its_words(void **state)
{
    char          *path = patched_model(model_path, "general.architecture", "llama", "lxama");
    struct fixture f;

    (void)state;
    open_runtime(&f, 0);
    assert_int_equal(register_model(&f, path, NULL, SGI_IMAGE_FD), SGI_OK);
    refuse_acquire(&f, SGI_E_FORMAT, SGI_STEP_PREPARE, "unknown model architecture: 'lxama'");
    tear_down(&f);
    remove_model(path);

    path = patched_model(model_path, NULL, "blk.3.attn_norm.weight", "blk.3.attn_nxrm.weight");
    open_runtime(&f, 0);
    assert_int_equal(register_model(&f, path, NULL, SGI_IMAGE_FD), SGI_OK);
    refuse_acquire(&f, SGI_E_ENGINE, SGI_STEP_START, "blk.3.attn_norm.weight");
    tear_down(&f);
    remove_model(path);
}

static void an_engine_that_does_not_fit_is_refused_with_the_numbers(void **state)
{
    struct fixture f;

    (void)state;
    open_runtime(&f, 120 << 20); /* the weights fit, and not 8192 tokens beside them */
    assert_int_equal(register_model(&f, model_path, &(struct llama_engine_options){ .n_ctx = 8192 }, SGI_IMAGE_FD),
                     SGI_OK);
    refuse_acquire(&f, SGI_E_DEVICE_MEMORY, SGI_STEP_START, "bytes beside the weights");
    tear_down(&f);
}

static void what_is_no_gguf_is_refused_at_register(void **state)
{
    static const char header[] = "{\"a\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8]}}";
    uint64_t          header_bytes = sizeof header - 1;
    struct fixture    f;
    FILE             *file = fopen("small.safetensors", "wb");

    (void)state;
    assert_non_null(file);
    fwrite(&header_bytes, 8, 1, file);
    fwrite(header, 1, header_bytes, file);
    fwrite("01234567", 1, 8, file);
    assert_int_equal(fclose(file), 0);
    open_runtime(&f, 0);
    assert_int_equal(register_model(&f, "small.safetensors", NULL, SGI_IMAGE_FD), SGI_E_ENGINE);
    assert_non_null(strstr(f.err.message, "llama.cpp reads GGUF models, and this one is safetensors"));
    unlink("small.safetensors");

    file = fopen("short.gguf", "wb");
    assert_non_null(file);
    fwrite("GGUF\3\0\0\0", 1, 8, file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(register_model(&f, "short.gguf", NULL, SGI_IMAGE_FD), SGI_E_FORMAT);
    unlink("short.gguf");
    tear_down(&f);
}

static void a_split_model_is_refused_by_its_other_files_and_of_too_many(void **state)
{
    enum { MANY = 257 };
    struct fixture f;
    char          *path = split_model(model_path, "many", MANY, false), *second = split_path("many", 2, MANY);

    (void)state;
    open_runtime(&f, 0);
    assert_int_equal(register_model(&f, second, NULL, SGI_IMAGE_FD), SGI_E_FORMAT);
    assert_non_null(strstr(f.err.message, "open the first, many-00001-of-00257.gguf"));
    assert_int_equal(register_model(&f, path, NULL, SGI_IMAGE_FD), SGI_E_ENGINE);
    assert_non_null(strstr(f.err.message, "the model has 257 files, at most 256 are supported"));
    tear_down(&f);
    free(second);
    split_remove(path, "many", MANY);
}

static void an_image_without_a_descriptor_is_refused(void **state)
{
    struct fixture f;

    (void)state;
    open_runtime(&f, 0);
    assert_int_equal(register_model(&f, model_path, NULL, 0), SGI_OK);
    refuse_acquire(&f, SGI_E_INVALID, SGI_STEP_START, "SGI_IMAGE_FD");
    tear_down(&f);
}

/* ------------------------------------------------------------------------------------------------- back to nothing */

static uint64_t own_memory_kib(void)
{
    char     line[256];
    uint64_t anonymous = 0, shared = 0;
    FILE    *f = fopen("/proc/self/status", "re");

    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL) {
        if (strncmp(line, "RssAnon:", 8) == 0)
            anonymous = strtoull(line + 8, NULL, 10);
        if (strncmp(line, "RssShmem:", 9) == 0)
            shared = strtoull(line + 9, NULL, 10);
    }
    fclose(f);
    return anonymous + shared;
}

static void the_engine_is_charged_and_leaves_nothing(void **state)
{
    static struct reply reply;
    struct fixture      f;
    uint64_t            first = 0;

    (void)state;
#ifdef SGI_SANITIZES_ADDRESS
    skip(); /* what is freed stays in its quarantine */
#endif
    set_up(&f, &(struct llama_engine_options){ .n_ctx = 512, .n_batch = 64 });
    for (int cycle = 0; cycle < 6; cycle++) {
        sgi_device_info device = { .struct_size = sizeof device };
        sgi_model_info  model = { .struct_size = sizeof model };
        sgi_model_state now = { .struct_size = sizeof now };
        sgi_lease       lease = acquire(&f, SGI_TIER_DISK);

        assert_int_equal(call(&f, lease, "{\"prompt\": \"Hello\", \"max_tokens\": 8}", &reply), SGI_OK);
        assert_int_equal(sgi_device_query(f.rt, 0, &device), SGI_OK);
        assert_int_equal(sgi_model_describe(f.rt, f.model, &model), SGI_OK);
        assert_int_equal(sgi_model_query(f.rt, f.model, &now), SGI_OK);
        /* The KV cache alone: 512 tokens, 30 layers, 2 * 3 heads of 64, 16 bits each. */
        assert_true(device.bytes_engine > 512 * 30 * 2 * 3 * 64 * 2);
        assert_true(device.bytes_engine < 64 << 20);
        assert_true(device.bytes_used >= model.image_bytes + device.bytes_engine);
        assert_true(now.prepared_bytes > 1 << 20);
        release(&f, lease);
        evict(&f, SGI_EVICT_ALL);
        assert_int_equal(sgi_device_query(f.rt, 0, &device), SGI_OK);
        assert_int_equal(device.bytes_used, 0);
        assert_int_equal(device.bytes_engine, 0);
        malloc_trim(0);
        if (cycle == 0)
            first = own_memory_kib();
        if (cycle > 0 && own_memory_kib() > first + 2048)
            fail_msg("cycle %d holds %llu KiB, the first held %llu", cycle, (unsigned long long)own_memory_kib(),
                     (unsigned long long)first);
    }
    tear_down(&f);
}

static void quiet(enum ggml_log_level level, const char *text, void *user)
{
    (void)user;
    if (level == GGML_LOG_LEVEL_ERROR)
        fputs(text, stderr);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_raw_prompt_is_answered_as_llama_does),
        cmocka_unit_test(a_chat_is_answered_as_llama_does),
        cmocka_unit_test(a_prompt_of_many_batches_is_answered_as_llama_does),
        cmocka_unit_test(characters_come_whole),
        cmocka_unit_test(a_split_model_is_answered_as_llama_does),
        cmocka_unit_test(a_seed_fixes_what_is_drawn),
        cmocka_unit_test(two_models_start_and_answer_at_the_same_time),
        cmocka_unit_test(a_canceled_call_comes_back_and_the_next_one_is_unharmed),
        cmocka_unit_test(what_does_not_fit_the_context_is_refused_with_the_numbers),
        cmocka_unit_test(a_request_is_refused_by_the_name_of_what_is_wrong),
        cmocka_unit_test(an_unknown_chat_template_is_named_and_raw_goes_without),
        cmocka_unit_test(a_model_llama_does_not_know_fails_in_its_words),
        cmocka_unit_test(an_engine_that_does_not_fit_is_refused_with_the_numbers),
        cmocka_unit_test(what_is_no_gguf_is_refused_at_register),
        cmocka_unit_test(a_split_model_is_refused_by_its_other_files_and_of_too_many),
        cmocka_unit_test(an_image_without_a_descriptor_is_refused),
        cmocka_unit_test(the_engine_is_charged_and_leaves_nothing),
    };

    model_path = getenv("SGI_TEST_GGUF");
    if (model_path == NULL || access(model_path, R_OK) != 0) {
        puts("SGI_TEST_GGUF names no model: examples/llama/setup.sh gets one");
        return 77;
    }
    llama_log_set(quiet, NULL);
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
