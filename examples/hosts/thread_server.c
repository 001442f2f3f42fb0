/* SPDX-License-Identifier: Apache-2.0 */
/* A server with a thread for each request: deadlines, priorities, cancel, and a close while requests run.
 *
 *     thread_server           test itself: 32 threads on four models, every end checked
 *     thread_server -         read requests from stdin, one a line, "MODEL TENSOR PAUSE_MS REPEAT TEXT" (toy_engine.h)
 *
 * sgi_model_acquire_wait() and sgi_lease_call() cannot be ended from another thread. What to do where that is needed is
 * in acquire_cancelable() and on_piece().
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sgi/sgi.h>

#include "make_model.h"
#include "toy_engine.h"

enum { MODELS = 4, MODEL_BYTES = 1 << 20, THREADS = 32, ROUNDS = 10, LINES_MAX = 256, ANSWER_MAX = 2048 };

typedef struct request {
    sgi_runtime *rt;
    sgi_model    model;
    char         text[256];   /* for the engine */
    uint32_t     deadline_ms; /* for the grant */
    uint32_t     timeout_ms;  /* for the call */
    int32_t      priority;
    int          cancelable; /* while it waits for its lease, that is: a call can always be canceled */

    pthread_mutex_t lock; /* for what the canceling thread and the library's thread touch */
    pthread_cond_t  granted;
    sgi_ticket      ticket; /* while it waits */
    sgi_lease       lease;
    atomic_int      canceled;
    int             ended; /* of the acquire, when cancelable */

    sgi_status status;
    sgi_error  err;
    char       answer[ANSWER_MAX];
    size_t     answer_bytes;
    pthread_t  thread;
} request;

/* ------------------------------------------------------------ one request */

static void on_granted(void *user, const sgi_completion *completion)
{
    request *r = user;

    pthread_mutex_lock(&r->lock);
    r->lease = completion->lease;
    r->status = completion->status;
    r->err = completion->error;
    r->ended = 1;
    pthread_cond_signal(&r->granted);
    pthread_mutex_unlock(&r->lock);
}

/* sgi_model_acquire_wait(), for a request that another thread may cancel: only a ticket can be canceled. */
static sgi_status acquire_cancelable(request *r, const sgi_acquire_options *options)
{
    sgi_status st;

    pthread_mutex_lock(&r->lock); /* over the call, so that a cancel from now on finds the ticket */
    st = atomic_load(&r->canceled) ? SGI_E_CANCELED
                                   : sgi_model_acquire(r->rt, r->model, options, &r->ticket, on_granted, r);
    if (st == SGI_OK) {
        while (!r->ended)
            pthread_cond_wait(&r->granted, &r->lock);
        st = r->status;
    }
    r->ticket = 0;
    pthread_mutex_unlock(&r->lock);
    return st;
}

/* A call of sgi_lease_call() has no id, so a cancel is noticed here, when the next piece comes. */
static int on_piece(void *user, const void *piece, size_t bytes)
{
    request *r = user;

    if (bytes < sizeof r->answer - r->answer_bytes) {
        memcpy(r->answer + r->answer_bytes, piece, bytes);
        r->answer_bytes += bytes;
    }
    return atomic_load(&r->canceled);
}

static void *serve(void *arg)
{
    request            *r = arg;
    sgi_acquire_options options;

    sgi_acquire_options_init(&options, sizeof options);
    options.deadline_ms = r->deadline_ms;
    options.priority = r->priority;
    r->status = r->cancelable ? acquire_cancelable(r, &options)
                              : sgi_model_acquire_wait(r->rt, r->model, &options, &r->lease, &r->err);
    if (r->status == SGI_OK) {
        r->status = sgi_lease_call(r->rt, r->lease, r->text, strlen(r->text), r->timeout_ms, on_piece, r, &r->err);
        sgi_lease_release(r->rt, r->lease);
    }
    return NULL;
}

static void cancel(request *r)
{
    pthread_mutex_lock(&r->lock);
    atomic_store(&r->canceled, 1);
    if (r->ticket)
        sgi_acquire_cancel(r->rt, r->ticket); /* SGI_E_STALE if it was granted just now: then on_piece() sees it */
    pthread_mutex_unlock(&r->lock);
}

static request *request_new(sgi_runtime *rt, const char *name)
{
    sgi_model model;
    request  *r = sgi_model_find(rt, name, &model) == SGI_OK ? calloc(1, sizeof *r) : NULL;

    if (!r)
        return NULL;
    r->rt = rt;
    r->model = model;
    r->err.struct_size = sizeof r->err;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->granted, NULL);
    return r;
}

static void request_free(request *r)
{
    pthread_cond_destroy(&r->granted);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

/* ------------------------------------------------------------------- server */

static int fail(const char *what, const char *detail)
{
    fprintf(stderr, "thread_server: %s: %s\n", what, detail);
    return 1;
}

static int run_stdin(sgi_runtime *rt)
{
    static request *requests[LINES_MAX];
    sgi_error       err = { .struct_size = sizeof err };
    char            model[64], line[512], text[256];
    unsigned        count = 0;

    while (count < LINES_MAX && fgets(line, sizeof line, stdin)) {
        request *r = sscanf(line, "%63s %255[^\n]", model, text) == 2 ? request_new(rt, model) : NULL;

        if (!r)
            continue; /* not a request, or not for a model */
        memcpy(r->text, text, sizeof text);
        if (pthread_create(&r->thread, NULL, serve, r) != 0)
            exit(fail("no threads", line));
        requests[count++] = r;
    }
    for (unsigned i = 0; i < count; i++) { /* before the close, since a thread may not have come to its acquire yet */
        pthread_join(requests[i]->thread, NULL);
        printf("%s: %.*s\n", sgi_status_name(requests[i]->status), (int)requests[i]->answer_bytes, requests[i]->answer);
        request_free(requests[i]);
    }
    return sgi_runtime_close(rt, SGI_FOREVER, &err) == SGI_OK ? 0 : fail("close", err.message);
}

/* ---------------------------------------------------------------- self-test */

typedef enum kind { PLAIN, TIMEOUT, CANCEL_CALL, DEADLINE, CANCEL_WAIT, KINDS, CLOSING = KINDS } kind;

/* How often the text is repeated in the answer, 2 ms each: some of them nobody could wait for. */
static const unsigned repeats[] = { 5, 1000000, 1000000, 5, 5, 30 };

static request *make_request(sgi_runtime *rt, const model_file *model, unsigned n, kind k)
{
    request *r = request_new(rt, model->name);

    if (!r)
        return NULL;
    r->priority = (int32_t)(n % 3);
    r->timeout_ms = k == TIMEOUT ? 30 : SGI_FOREVER;
    r->deadline_ms = k == DEADLINE ? 5 : SGI_FOREVER;
    r->cancelable = k == CANCEL_WAIT;
    snprintf(r->text, sizeof r->text, "t%u 2 %u request %u", n % MODEL_TENSORS, repeats[k], n);
    return r;
}

/* Whether a request ended as its kind can end, with the right answer if it was answered. */
static int ended_well(const request *r, const model_file *model, unsigned n, kind k)
{
    static const sgi_status other_ends[] = { SGI_OK,        SGI_E_TIMEOUT,  SGI_E_CANCELED,
                                             SGI_E_TIMEOUT, SGI_E_CANCELED, SGI_E_CLOSED };
    char                    text[32];
    char                   *expected;
    int                     same;

    if (r->status != SGI_OK || k == TIMEOUT || k == CANCEL_CALL)
        return r->status == other_ends[k];
    snprintf(text, sizeof text, "request %u", n);
    expected = toy_answer(model->name, model->sums[n % MODEL_TENSORS], repeats[k], text);
    same = expected && strlen(expected) == r->answer_bytes && memcmp(expected, r->answer, r->answer_bytes) == 0;
    free(expected);
    return same;
}

/* Close while requests run. The lease held here keeps it from succeeding: with SGI_OK the runtime would be freed under
 * the threads that are still to use it. */
static int close_too_early(sgi_runtime *rt, sgi_lease held)
{
    sgi_runtime_info info = { .struct_size = sizeof info };
    sgi_error        err = { .struct_size = sizeof err };
    sgi_status       st;

    do
        usleep(1000);
    while (sgi_runtime_query(rt, &info) == SGI_OK && info.calls_count < MODELS - 1);
    st = sgi_runtime_close(rt, 5, &err);
    sgi_lease_release(rt, held);
    if (st != SGI_E_TIMEOUT || !strstr(err.message, "model-00"))
        return fail("a close while requests run does not say whose", err.message);
    printf("closing: %s\n", err.message);
    return 0;
}

/* One round: 32 requests at once, each on its thread. `held`: the runtime is closed in the middle, with this lease. */
static int run_round(sgi_runtime *rt, const model_folder *models, unsigned round, sgi_lease held, unsigned ends[2])
{
    request *requests[THREADS];
    kind     kinds[THREADS];
    int      rc = 0;

    for (unsigned i = 0; i < THREADS; i++) {
        kinds[i] = held ? CLOSING : (kind)((i / MODELS + round) % KINDS);
        requests[i] = make_request(rt, &models->files[i % MODELS], i, kinds[i]);
        if (!requests[i] || pthread_create(&requests[i]->thread, NULL, serve, requests[i]) != 0)
            exit(fail("no threads", "32 are needed"));
    }
    if (held)
        rc = close_too_early(rt, held);
    for (unsigned i = 0; i < THREADS && !held; i++) {
        usleep(1000);
        if (kinds[i] == CANCEL_CALL || kinds[i] == CANCEL_WAIT)
            cancel(requests[i]);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(requests[i]->thread, NULL);
        if (!ended_well(requests[i], &models->files[i % MODELS], i, kinds[i]))
            rc = fail(sgi_status_name(requests[i]->status), requests[i]->text);
        ends[requests[i]->status != SGI_OK]++;
        request_free(requests[i]);
    }
    return rc;
}

static int self_test(sgi_runtime *rt, const model_folder *models)
{
    sgi_error err = { .struct_size = sizeof err };
    unsigned  ends[2] = { 0, 0 }, last_ends[2] = { 0, 0 };
    sgi_model model;
    sgi_lease held;
    int       rc = 0;

    for (unsigned round = 0; round < ROUNDS && rc == 0; round++)
        rc = run_round(rt, models, round, 0, ends);
    printf("%u requests answered; %u timed out or were canceled\n", ends[0], ends[1]);
    if (rc == 0 && (sgi_model_find(rt, models->files[0].name, &model) != SGI_OK ||
                    sgi_model_acquire_wait(rt, model, NULL, &held, &err) != SGI_OK))
        rc = fail("acquire", err.message);
    if (rc == 0)
        rc = run_round(rt, models, 0, held, last_ends);
    printf("closing: %u requests answered, %u refused\n", last_ends[0], last_ends[1]);
    if (rc == 0 && (last_ends[0] < MODELS - 1 || last_ends[1] < THREADS / MODELS))
        rc = fail("closing", "the running requests should be answered, and the waiting ones refused");
    return sgi_runtime_close(rt, 5000, &err) == SGI_OK ? rc : fail("close", err.message);
}

int main(int argc, char **argv)
{
    static toy_counts counts;
    model_folder      models;
    sgi_runtime      *rt;
    sgi_error         err = { .struct_size = sizeof err };
    int               rc;

    if (model_folder_make(&models, MODELS, MODEL_BYTES) != 0)
        return fail("the models cannot be written", "is $TMPDIR a folder with room?");
    if (sgi_runtime_open(NULL, &rt, &err) != SGI_OK || toy_register(rt, &models, &counts, &err) != SGI_OK)
        rc = fail("set up", err.message);
    else
        rc = argc == 2 && strcmp(argv[1], "-") == 0 ? run_stdin(rt) : self_test(rt, &models);
    if (rc == 0 && atomic_load(&counts.started) != atomic_load(&counts.stopped))
        rc = fail("close", "an instance was not taken down");
    model_folder_remove(&models);
    return rc;
}
