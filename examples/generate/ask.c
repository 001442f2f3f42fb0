/* SPDX-License-Identifier: Apache-2.0 */
/* Everything here is asynchronous on one thread: submit, sleep in poll() on the runtime's completion fd, take what has
 * come. A server does the same with its own epoll set; sgi_model_acquire_wait() and sgi_lease_call() are the short
 * way. */
#include "ask.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TICK_MS = 40 };

uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static sgi_status failed(sgi_error *err, sgi_status code, const char *why)
{
    *err = (sgi_error){ .struct_size = sizeof *err, .code = code };
    snprintf(err->message, sizeof err->message, "%s", why);
    return code;
}

static void show_loading(const struct asker *asker)
{
    sgi_model_state state = { .struct_size = sizeof state };

    if (sgi_model_query(asker->rt, asker->model, &state) == SGI_OK && state.state == SGI_MODEL_LOADING)
        asker->on_loading(state.loaded_bytes, state.loading_bytes);
}

/* The next completion. Nothing else of this program waits on the runtime, so it belongs to the question. */
static sgi_status next_completion(const struct asker *asker, bool loading, sgi_completion *completion, sgi_error *err)
{
    struct pollfd fd = { .events = POLLIN };
    sgi_status    st = sgi_completion_fd(asker->rt, &fd.fd);

    if (st != SGI_OK)
        return failed(err, st, "no descriptor for completions");
    loading = loading && asker->on_loading != NULL;
    for (;;) {
        *completion = (sgi_completion){ .struct_size = sizeof *completion };
        st = sgi_completion_next(asker->rt, completion);
        if (st != SGI_E_WOULD_BLOCK)
            return st == SGI_OK ? st : failed(err, st, "cannot take a completion");
        if (poll(&fd, 1, loading ? TICK_MS : -1) < 0 && errno != EINTR)
            return failed(err, SGI_E_SYSTEM, strerror(errno));
        if (loading)
            show_loading(asker);
    }
}

static sgi_status acquire(const struct asker *asker, sgi_lease *lease, sgi_error *err)
{
    sgi_completion done;
    sgi_ticket     ticket;
    sgi_status     st = sgi_model_acquire(asker->rt, asker->model, NULL, &ticket, NULL, NULL, err);

    if (st != SGI_OK)
        return st;
    st = next_completion(asker, true, &done, err);
    if (asker->on_loading != NULL)
        asker->on_loading(0, 0);
    if (st != SGI_OK)
        return st;
    if (done.status != SGI_OK) {
        *err = done.error;
        return done.status;
    }
    *lease = done.lease;
    return SGI_OK;
}

/* What has come so far. SGI_OK: there may be more · SGI_E_END: that was all · what the call failed with. */
static sgi_status read_pieces(const struct asker *asker, sgi_call call, uint64_t asked_ns, struct asked *asked,
                              FILE *answer, sgi_error *err)
{
    char       piece[4096];
    size_t     bytes;
    sgi_status st;

    while ((st = sgi_call_read(asker->rt, call, piece, sizeof piece, &bytes, err)) == SGI_OK) {
        if (asked->pieces++ == 0)
            asked->first_ns = now_ns() - asked_ns;
        fwrite(piece, 1, bytes, answer);
        if (asker->on_piece != NULL)
            asker->on_piece(piece, bytes);
    }
    return st == SGI_E_WOULD_BLOCK ? SGI_OK : st;
}

static sgi_status converse(const struct asker *asker, sgi_lease lease, uint64_t asked_ns, struct asked *asked,
                           sgi_error *err)
{
    sgi_completion completion;
    sgi_call       call;
    FILE          *answer = open_memstream(&asked->answer, &asked->answer_bytes);
    sgi_status     st;

    if (answer == NULL)
        return failed(err, SGI_E_NO_MEMORY, "no memory for the answer");
    st = sgi_call_begin(asker->rt, lease, asker->request, strlen(asker->request), 0, &call, err);
    if (st != SGI_OK)
        goto undo_answer;
    while (st == SGI_OK) {
        st = next_completion(asker, false, &completion, err);
        if (st == SGI_OK)
            st = read_pieces(asker, call, asked_ns, asked, answer, err);
    }
    asked->end_ns = now_ns() - asked_ns;
    sgi_call_end(asker->rt, call);

undo_answer:
    if (fclose(answer) != 0 && st == SGI_E_END)
        st = failed(err, SGI_E_NO_MEMORY, "no memory for the answer");
    if (st == SGI_E_END && asked->pieces > 0)
        return SGI_OK;
    free(asked->answer);
    asked->answer = NULL;
    return st == SGI_E_END ? failed(err, SGI_E_ENGINE, "the model has nothing to say to this prompt") : st;
}

sgi_status ask(const struct asker *asker, struct asked *asked, sgi_error *err)
{
    uint64_t   asked_ns = now_ns();
    sgi_lease  lease;
    sgi_status st = acquire(asker, &lease, err);

    if (st != SGI_OK)
        return st;
    *asked = (struct asked){ .timing.struct_size = sizeof asked->timing, .lease_ns = now_ns() - asked_ns };
    st = converse(asker, lease, asked_ns, asked, err);
    if (st == SGI_OK)
        st = sgi_lease_timing(asker->rt, lease, &asked->timing);
    sgi_lease_release(asker->rt, lease);
    return st;
}
