/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "epoll_loop.h"

enum { EVENTS = 32 };

typedef struct client {
    struct client *next_dead;
    int            fd;     /* -1: it has gone, and this waits for the library's last word on its request */
    sgi_ticket     ticket; /* at most one of these two is not 0 ... */
    sgi_call       call;
    sgi_lease      lease; /* ... and a call has a lease */
    int            ended; /* `out` holds the end of the answer */
    char           request[512];
    size_t         request_bytes;
    char           out[4096]; /* read from the call, not yet taken by the socket */
    size_t         out_bytes, out_sent;
} client;

typedef struct server {
    sgi_runtime *rt;
    int          epoll, listener, completions, signals;
    unsigned     clients;
    client      *dead; /* freed after a round of events, since a later event of the round may name them */
} server;

/* ------------------------------------------------------------------ clients */

static void watch(server *s, client *c, uint32_t events)
{
    struct epoll_event event = { .events = events, .data.ptr = c };

    epoll_ctl(s->epoll, EPOLL_CTL_MOD, c->fd, &event);
}

static void drop_lease(server *s, client *c)
{
    if (c->call)
        sgi_call_end(s->rt, c->call); /* drops its completions, so nothing names this client any more */
    if (c->lease)
        sgi_lease_release(s->rt, c->lease);
    c->call = 0;
    c->lease = 0;
}

static void bury(server *s, client *c)
{
    drop_lease(s, c);
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    c->next_dead = s->dead;
    s->dead = c;
    s->clients--;
}

/* The client closed its end. What runs for it is told to stop, and is buried when it has. */
static void client_gone(server *s, client *c)
{
    close(c->fd);
    c->fd = -1;
    if (c->ticket)
        sgi_acquire_cancel(s->rt, c->ticket);
    else if (c->call)
        sgi_call_cancel(s->rt, c->call);
    else
        bury(s, c);
}

static void finish(server *s, client *c, sgi_status st, const sgi_error *err)
{
    const char *detail = st != SGI_OK && err ? err->message : "";

    drop_lease(s, c);
    c->ended = 1;
    c->out_sent = 0;
    c->out_bytes = (size_t)snprintf(c->out, sizeof c->out, "\n%s%s%s\n", st == SGI_OK ? "ok" : sgi_status_name(st),
                                    *detail ? ": " : "", detail);
}

/* Move the answer from the call to the socket until one of them has to be waited for. */
static void pump(server *s, client *c)
{
    sgi_error  err = SGI_ERROR_INIT;
    sgi_status st;

    for (;;) {
        while (c->out_sent < c->out_bytes) {
            ssize_t n = send(c->fd, c->out + c->out_sent, c->out_bytes - c->out_sent, MSG_NOSIGNAL | MSG_DONTWAIT);

            if (n < 0 && errno == EAGAIN) {
                watch(s, c, EPOLLOUT | EPOLLRDHUP);
                return;
            }
            if (n < 0) {
                client_gone(s, c);
                return;
            }
            c->out_sent += (size_t)n;
        }
        if (c->ended) {
            bury(s, c);
            return;
        }
        c->out_sent = c->out_bytes = 0;
        st = sgi_call_read(s->rt, c->call, c->out, sizeof c->out, &c->out_bytes, &err);
        if (st == SGI_E_WOULD_BLOCK) {
            watch(s, c, EPOLLRDHUP); /* READABLE will come */
            return;
        }
        if (st != SGI_OK)
            finish(s, c, st == SGI_E_END ? SGI_OK : st, &err);
    }
}

static void ask(server *s, client *c)
{
    sgi_acquire_options options;
    char               *space = strchr(c->request, ' ');
    sgi_error           err = SGI_ERROR_INIT;
    sgi_model           model;
    sgi_status          st = SGI_E_INVALID;

    watch(s, c, EPOLLRDHUP);
    if (space) {
        *space = '\0';
        sgi_acquire_options_init(&options, sizeof options);
        options.tag = (uintptr_t)c;
        st = sgi_model_find(s->rt, c->request, &model);
        if (st == SGI_OK)
            st = sgi_model_acquire(s->rt, model, &options, &c->ticket, NULL, NULL, &err);
    }
    if (st != SGI_OK) {
        finish(s, c, st, &err);
        pump(s, c);
    }
}

static void on_client(server *s, client *c, uint32_t events)
{
    if (c->fd < 0)
        return; /* it went earlier in this round */
    if (events & EPOLLIN) {
        ssize_t n = recv(c->fd, c->request + c->request_bytes, sizeof c->request - 1 - c->request_bytes, MSG_DONTWAIT);
        char   *end;

        if (n > 0)
            c->request_bytes += (size_t)n;
        c->request[c->request_bytes] = '\0';
        end = strchr(c->request, '\n');
        if (end) {
            *end = '\0';
            ask(s, c);
        } else if (n == 0 || (n < 0 && errno != EAGAIN) || c->request_bytes == sizeof c->request - 1) {
            client_gone(s, c);
        }
    } else if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
        client_gone(s, c);
    } else if (events & EPOLLOUT) {
        pump(s, c);
    }
}

static void on_accept(server *s)
{
    int                fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    client            *c = fd < 0 ? NULL : calloc(1, sizeof *c);
    struct epoll_event event = { .events = EPOLLIN | EPOLLRDHUP, .data.ptr = c };

    if (!c) {
        if (fd >= 0)
            close(fd);
        return;
    }
    c->fd = fd;
    s->clients++;
    if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &event) != 0)
        bury(s, c);
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): epoll holds it, in event.data */
}

/* -------------------------------------------------------------- completions */

static void on_acquired(server *s, client *c, const sgi_completion *done)
{
    const char *rest = c->request + strlen(c->request) + 1;
    sgi_error   err = SGI_ERROR_INIT;
    sgi_status  st = done->status;

    c->ticket = 0;
    c->lease = done->lease;
    if (c->fd < 0) { /* it ended before the cancel got there, or because of it */
        bury(s, c);
        return;
    }
    if (st == SGI_OK)
        st = sgi_call_begin(s->rt, c->lease, rest, strlen(rest), (uintptr_t)c, &c->call, &err);
    else
        err = done->error;
    if (st != SGI_OK) {
        finish(s, c, st, &err);
        pump(s, c);
    }
}

static void on_completions(server *s)
{
    sgi_completion done = { .struct_size = sizeof done };

    while (sgi_completion_next(s->rt, &done) == SGI_OK) {
        client *c = (client *)(uintptr_t)done.tag;

        if (done.kind == SGI_COMPLETION_ACQUIRE)
            on_acquired(s, c, &done);
        else if (c->fd >= 0)
            pump(s, c); /* READABLE, or CALL: then the pump finds the end */
        else if (done.kind == SGI_COMPLETION_CALL)
            bury(s, c);
    }
}

/* --------------------------------------------------------------------- loop */

/* Until a signal has come and the clients of that time have been served. */
static void loop(server *s)
{
    struct epoll_event events[EVENTS];
    int                stopping = 0;

    while (!stopping || s->clients > 0) {
        int n = epoll_wait(s->epoll, events, EVENTS, -1);

        for (int i = 0; i < n; i++) {
            void *what = events[i].data.ptr;

            if (what == &s->listener) {
                on_accept(s);
            } else if (what == &s->completions) {
                on_completions(s);
            } else if (what == &s->signals) {
                stopping = 1;
                epoll_ctl(s->epoll, EPOLL_CTL_DEL, s->signals, NULL);
                epoll_ctl(s->epoll, EPOLL_CTL_DEL, s->listener, NULL);
            } else {
                on_client(s, what, events[i].events);
            }
        }
        while (s->dead) {
            client *next = s->dead->next_dead;

            free(s->dead);
            s->dead = next;
        }
    }
}

static int watch_fixed(server *s, int *fd)
{
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = fd };

    return epoll_ctl(s->epoll, EPOLL_CTL_ADD, *fd, &event);
}

int epoll_loop(sgi_runtime *rt, int listener)
{
    server   s = { .rt = rt, .listener = listener };
    sigset_t stop_signals;
    int      rc = -1;

    sigemptyset(&stop_signals);
    sigaddset(&stop_signals, SIGINT);
    sigaddset(&stop_signals, SIGTERM);
    s.epoll = epoll_create1(EPOLL_CLOEXEC);
    s.signals = signalfd(-1, &stop_signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (s.epoll >= 0 && s.signals >= 0 && sgi_completion_fd(rt, &s.completions) == SGI_OK &&
        watch_fixed(&s, &s.listener) == 0 && watch_fixed(&s, &s.completions) == 0 && watch_fixed(&s, &s.signals) == 0) {
        loop(&s);
        rc = 0;
    }
    if (s.signals >= 0)
        close(s.signals);
    if (s.epoll >= 0)
        close(s.epoll);
    return rc;
}
