/* SPDX-License-Identifier: Apache-2.0 */
/* How asynchronous requests end: records in a queue behind an eventfd, or `done` callbacks on threads of their own.
 * Each record was allocated when its request was submitted, so none can be lost. */
#include "runtime/runtime.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/fault.h"
#include "base/sized.h"
#include "base/thread.h"

struct completion *sgi__completion_new(uint32_t kind, uint64_t tag)
{
    struct completion *c = sgi__alloc_zero(1, sizeof *c);
    if (!c)
        return NULL;
    c->body.struct_size = sizeof c->body;
    c->body.kind = kind;
    c->body.tag = tag;
    sgi__error_init(&c->body.error);
    return c;
}

int sgi__ready_fd_open(bool ready)
{
    int fault = sgi__fault(SGI__FAULT_EVENTFD);
    return fault ? -1 : eventfd(ready, EFD_NONBLOCK | EFD_CLOEXEC);
}

void sgi__ready_fd_set(int fd)
{
    uint64_t one = 1;
    if (fd >= 0 && write(fd, &one, sizeof one) < 0) {
        /* EAGAIN: the counter is at its maximum, so it is readable all the same */
    }
}

void sgi__ready_fd_clear(int fd)
{
    uint64_t value;
    if (fd >= 0 && read(fd, &value, sizeof value) < 0) {
        /* EAGAIN: it was clear */
    }
}

void sgi__completion_post(sgi_runtime *rt, struct completion *c)
{
    struct completion **head = c->done ? &rt->done_head : &rt->completions_head;
    struct completion **tail = c->done ? &rt->done_tail : &rt->completions_tail;

    c->next = NULL;
    *(*tail ? &(*tail)->next : head) = c;
    *tail = c;
    if (c->done) {
        c->rt = rt;
        rt->inside++;
    } else if (*head == c) {
        sgi__ready_fd_set(rt->completion_fd);
    }
}

static void counted_off(sgi_runtime *rt, const struct completion *c)
{
    if (c->body.kind == SGI_COMPLETION_ACQUIRE || c->body.kind == SGI_COMPLETION_PREFETCH)
        rt->completions_count--;
}

static void unlink_after(sgi_runtime *rt, struct completion *prev, struct completion *c)
{
    *(prev ? &prev->next : &rt->completions_head) = c->next;
    if (rt->completions_tail == c)
        rt->completions_tail = prev;
    if (!rt->completions_head)
        sgi__ready_fd_clear(rt->completion_fd);
}

void sgi__completion_drop(sgi_runtime *rt, struct completion *c)
{
    struct completion *prev = NULL;

    for (struct completion *at = rt->completions_head; at; prev = at, at = at->next)
        if (at == c) {
            unlink_after(rt, prev, c);
            break;
        }
    sgi__free(c);
}

struct completion *sgi__completion_take_ticket(sgi_runtime *rt, sgi_ticket ticket)
{
    struct completion *prev = NULL;

    for (struct completion *at = rt->completions_head; at; prev = at, at = at->next)
        if (ticket != 0 && at->body.ticket == ticket) {
            unlink_after(rt, prev, at);
            counted_off(rt, at);
            return at;
        }
    return NULL;
}

static void run_done(struct sgi__job *job)
{
    struct completion *c = (struct completion *)job;
    sgi_runtime       *rt = c->rt;
    sgi__thread_enter_library();
    c->done(c->user, &c->body);
    sgi__thread_leave_library();
    sgi__free(c);
    pthread_mutex_lock(&rt->mutex);
    sgi__rt_outside(rt);
    pthread_mutex_unlock(&rt->mutex);
}

void sgi__completions_hand_over(sgi_runtime *rt, struct completion *list)
{
    struct completion *refused = NULL, **refused_tail = &refused;

    for (struct completion *c = list, *next; c; c = next) {
        next = c->next;
        c->next = NULL;
        c->job.run = run_done;
        if (sgi__pool_submit(rt->done_pool, &c->job) != 0) {
            *refused_tail = c;
            refused_tail = &c->next;
        }
    }
    if (!refused)
        return;
    /* No thread to be had at all: the library's own delivers them. */
    pthread_mutex_lock(&rt->mutex);
    *(rt->orphans_tail ? &rt->orphans_tail->next : &rt->orphans_head) = refused;
    while (refused->next)
        refused = refused->next;
    rt->orphans_tail = refused;
    pthread_cond_signal(&rt->wake);
    pthread_mutex_unlock(&rt->mutex);
}

void sgi__completions_run_orphans(sgi_runtime *rt)
{
    struct completion *list = rt->orphans_head;

    rt->orphans_head = rt->orphans_tail = NULL;
    pthread_mutex_unlock(&rt->mutex);
    for (struct completion *next; list; list = next) {
        next = list->next;
        run_done(&list->job);
    }
    pthread_mutex_lock(&rt->mutex);
}

sgi_status sgi__completion_fd(sgi_runtime *rt, int *fd_out)
{
    sgi_status st = SGI_OK;

    pthread_mutex_lock(&rt->mutex);
    if (rt->completion_fd < 0) {
        rt->completion_fd = sgi__ready_fd_open(rt->completions_head != NULL);
        if (rt->completion_fd < 0)
            st = SGI_E_SYSTEM;
    }
    if (st == SGI_OK)
        *fd_out = rt->completion_fd;
    pthread_mutex_unlock(&rt->mutex);
    return st;
}

sgi_status sgi__completion_next(sgi_runtime *rt, sgi_completion *completion_out)
{
    if (!sgi__sized_is(completion_out))
        return SGI_E_INVALID;
    pthread_mutex_lock(&rt->mutex);
    struct completion *c = rt->completions_head;
    bool               found = c != NULL;
    if (c) {
        rt->completions_head = c->next;
        if (!rt->completions_head) {
            rt->completions_tail = NULL;
            sgi__ready_fd_clear(rt->completion_fd);
        }
        counted_off(rt, c);
        if (c->body.kind == SGI_COMPLETION_READABLE || c->body.kind == SGI_COMPLETION_CALL)
            sgi__rt_call_completion_taken(c);
        sgi__sized_out(completion_out, &c->body, sizeof c->body);
        if (c->body.kind == SGI_COMPLETION_READABLE) /* that one belongs to its call, and may be queued again at once */
            c = NULL;
    }
    pthread_mutex_unlock(&rt->mutex);
    sgi__free(c);
    return found ? SGI_OK : SGI_E_WOULD_BLOCK;
}
