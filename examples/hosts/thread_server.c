/* SPDX-License-Identifier: Apache-2.0 */
/* A server with a thread for each request: deadlines, priorities, cancel, and a close while requests run. Built as
 * host_threads; --help says how to use it.
 *
 * A request is ended from another thread wherever it is: by its ticket while it waits for its lease, by its lease from
 * then on. See cancel().
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sgi/sgi.h>

#include "make_model.h"
#include "program.h"
#include "toy_engine.h"

enum { MODELS = 4, MODEL_BYTES = 1 << 20, THREADS = 32, ROUNDS = 10, LINES_MAX = 256, ANSWER_MAX = 2048 };

static const program host = {
    .name = "host_threads",
    .usage = "usage: host_threads [-]\n"
             "\n"
             "A server with a thread for each request, over four small models.\n"
             "\n"
             "Without an argument it tests itself: ten rounds of 32 requests at once, most of them made to end early,\n"
             "by a deadline while they wait, a timeout while they are answered, or a cancel from another thread in\n"
             "either place; then a round during which the runtime is closed. Every end and every answer is checked.\n"
             "\n"
             "With - it reads requests from standard input, at most 256, one a line, \"MODEL TENSOR PAUSE_MS REPEAT\n"
             "TEXT\": model-00 to model-03, t0 to t2. The answer is the model's name and the tensor's sum, then TEXT\n"
             "as often as REPEAT says:\n"
             "\n"
             "  echo 'model-01 t0 100 5 hello' | host_threads -\n",
};

typedef struct request {
    sgi_runtime *rt;
    sgi_model    model;
    char         text[256];   /* for the engine */
    uint32_t     deadline_ms; /* for the grant */
    uint32_t     timeout_ms;  /* for the call */
    int32_t      priority;

    /* What cancel() looks at, from another thread. Ids are never used again: one that has had its time does no harm. */
    atomic_int         canceled;
    _Atomic sgi_ticket ticket;
    _Atomic sgi_lease  lease;

    sgi_status status;
    sgi_error  err;
    char       answer[ANSWER_MAX];
    size_t     answer_bytes;
    pthread_t  thread;
} request;

/* ------------------------------------------------------------ one request */

static sgi_status acquire(request *r)
{
    sgi_acquire_options options;
    sgi_ticket          ticket;
    sgi_lease           lease;
    sgi_status          st;

    sgi_acquire_options_init(&options, sizeof options);
    options.deadline_ms = r->deadline_ms;
    options.priority = r->priority;
    st = sgi_model_acquire(r->rt, r->model, &options, &ticket, NULL, NULL, &r->err);
    if (st != SGI_OK)
        return st;
    atomic_store(&r->ticket, ticket);
    if (atomic_load(&r->canceled)) /* before there was a ticket to be found */
        sgi_acquire_cancel(r->rt, ticket);
    st = sgi_ticket_wait(r->rt, ticket, SGI_FOREVER, &lease, &r->err);
    if (st == SGI_OK)
        atomic_store(&r->lease, lease);
    return st;
}

static int on_piece(void *user, const void *piece, size_t bytes)
{
    request *r = user;

    if (bytes < sizeof r->answer - r->answer_bytes) {
        memcpy(r->answer + r->answer_bytes, piece, bytes);
        r->answer_bytes += bytes;
    }
    return atomic_load(&r->canceled); /* before there was a call to be found on the lease */
}

static void *serve(void *arg)
{
    request  *r = arg;
    sgi_lease lease;

    r->status = acquire(r);
    if (r->status != SGI_OK)
        return NULL;
    lease = atomic_load(&r->lease);
    r->status = sgi_lease_call(r->rt, lease, r->text, strlen(r->text), r->timeout_ms, on_piece, r, &r->err);
    sgi_lease_release(r->rt, lease);
    return NULL;
}

static void cancel(request *r)
{
    atomic_store(&r->canceled, 1);
    sgi_acquire_cancel(r->rt, atomic_load(&r->ticket));
    sgi_lease_cancel(r->rt, atomic_load(&r->lease));
}

static request *request_new(sgi_runtime *rt, const char *name)
{
    sgi_model model;
    request  *r = sgi_model_find(rt, name, &model) == SGI_OK ? calloc(1, sizeof *r) : NULL;

    if (!r)
        return NULL;
    r->rt = rt;
    r->model = model;
    r->err = (sgi_error)SGI_ERROR_INIT;
    return r;
}

/* ------------------------------------------------------------------- server */

static int run_stdin(sgi_runtime *rt)
{
    static request *requests[LINES_MAX];
    sgi_error       err = SGI_ERROR_INIT;
    char            model[64], line[512], text[256];
    unsigned        count = 0;
    int             rc = 0;

    while (count < LINES_MAX && fgets(line, sizeof line, stdin)) {
        request *r = sscanf(line, "%63s %255[^\n]", model, text) == 2 ? request_new(rt, model) : NULL;

        if (!r) {
            program_fail(&host, "not a request for one of the models: %.*s", (int)strcspn(line, "\n"), line);
            rc = 1;
            continue;
        }
        memcpy(r->text, text, sizeof text);
        if (pthread_create(&r->thread, NULL, serve, r) != 0)
            exit(program_fail(&host, "no thread for the request %s", line));
        requests[count++] = r;
    }
    for (unsigned i = 0; i < count; i++) { /* before the close, since a thread may not have come to its acquire yet */
        pthread_join(requests[i]->thread, NULL);
        printf("%s: %.*s\n", sgi_status_name(requests[i]->status), (int)requests[i]->answer_bytes, requests[i]->answer);
        free(requests[i]);
    }
    return sgi_runtime_close(rt, SGI_FOREVER, &err) == SGI_OK ? rc : program_fail(&host, "close: %s", err.message);
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

static uint32_t calls_open(sgi_runtime *rt)
{
    sgi_runtime_info info = { .struct_size = sizeof info };

    return sgi_runtime_query(rt, &info) == SGI_OK ? info.calls_count : 0;
}

/* Close while requests run. With SGI_OK the runtime would be freed under the threads that are still to use it: so it is
 * drained, which frees nothing, and closed for good when all of them have come back. `endless` is what it runs into
 * before. */
static int close_too_early(sgi_runtime *rt, request *endless)
{
    sgi_error  err = SGI_ERROR_INIT;
    sgi_status st;

    while (calls_open(rt) < MODELS)
        usleep(1000);
    if (sgi_runtime_drain(rt) != SGI_OK)
        return program_fail(&host, "drain: it cannot fail");
    st = sgi_runtime_close(rt, 5, &err);
    cancel(endless);
    if (st != SGI_E_TIMEOUT || !strstr(err.message, "model-00"))
        return program_fail(&host, "a close while requests run does not say whose: %s", err.message);
    printf("closing: %s\n", err.message);
    return 0;
}

/* One round: 32 requests at once, each on its thread. `closing`: the runtime is closed in the middle, when the first of
 * them has its call, which does not end by itself. */
static int run_round(sgi_runtime *rt, const model_folder *models, unsigned round, int closing, unsigned ends[2])
{
    request *requests[THREADS];
    kind     kinds[THREADS];
    int      rc = 0;

    while (closing && calls_open(rt) > 0) /* given up in the round before, and not back yet */
        usleep(1000);
    for (unsigned i = 0; i < THREADS; i++) {
        kinds[i] = !closing ? (kind)((i / MODELS + round) % KINDS) : i == 0 ? CANCEL_CALL : CLOSING;
        requests[i] = make_request(rt, &models->files[i % MODELS], i, kinds[i]);
        if (!requests[i] || pthread_create(&requests[i]->thread, NULL, serve, requests[i]) != 0)
            exit(program_fail(&host, "no threads: %d are needed", THREADS));
        while (closing && i == 0 && calls_open(rt) == 0)
            usleep(1000);
    }
    if (closing)
        rc = close_too_early(rt, requests[0]);
    for (unsigned i = 0; i < THREADS && !closing; i++) {
        usleep(1000);
        if (kinds[i] == CANCEL_CALL || kinds[i] == CANCEL_WAIT)
            cancel(requests[i]);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(requests[i]->thread, NULL);
        if (!ended_well(requests[i], &models->files[i % MODELS], i, kinds[i]))
            rc = program_fail(&host, "%s: %s", sgi_status_name(requests[i]->status), requests[i]->text);
        ends[requests[i]->status != SGI_OK]++;
        free(requests[i]);
    }
    return rc;
}

static int self_test(sgi_runtime *rt, const model_folder *models)
{
    sgi_error err = SGI_ERROR_INIT;
    unsigned  ends[2] = { 0, 0 }, last_ends[2] = { 0, 0 };
    int       rc = 0;

    for (unsigned round = 0; round < ROUNDS && rc == 0; round++)
        rc = run_round(rt, models, round, 0, ends);
    if (rc == 0)
        printf("%u requests, %u at once: %u answered, %u timed out or canceled as they were made to\n",
               ends[0] + ends[1], (unsigned)THREADS, ends[0], ends[1]);
    if (rc == 0)
        rc = run_round(rt, models, 0, 1, last_ends);
    if (rc == 0)
        printf("closed meanwhile: %u running requests answered, %u that waited refused, or canceled\n", last_ends[0],
               last_ends[1]);
    if (rc == 0 && (last_ends[0] < MODELS - 1 || last_ends[1] < THREADS / MODELS))
        rc = program_fail(&host, "closing: the running requests should be answered, and the waiting ones refused");
    return sgi_runtime_close(rt, 5000, &err) == SGI_OK ? rc : program_fail(&host, "close: %s", err.message);
}

int main(int argc, char **argv)
{
    static toy_counts counts;
    const char       *source = program_argument(&host, argc, argv);
    model_folder      models;
    sgi_runtime      *rt;
    sgi_error         err = SGI_ERROR_INIT;
    int               rc;

    if (source && strcmp(source, "-") != 0) {
        program_fail(&host, "the argument can only be -, for standard input, and is '%s'", source);
        return 2;
    }
    if (model_folder_make(&models, MODELS, MODEL_BYTES) != 0)
        return program_fail(&host, "the models cannot be written into %s: %s", model_folder_place(), strerror(errno));
    if (sgi_runtime_open(NULL, &rt, &err) != SGI_OK || toy_register(rt, &models, &counts, &err) != SGI_OK)
        rc = program_fail(&host, "set up: %s", err.message);
    else
        rc = source ? run_stdin(rt) : self_test(rt, &models);
    if (rc == 0 && atomic_load(&counts.started) != atomic_load(&counts.stopped))
        rc = program_fail(&host, "an instance was not taken down");
    if (rc == 0 && !source)
        puts("every request ended as it should, with the right answer where it had one");
    model_folder_remove(&models);
    return program_end(&host, rc);
}
