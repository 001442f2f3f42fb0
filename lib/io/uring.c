/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads through io_uring. One ring per queue, entered only by the owner thread (SINGLE_ISSUER), which sleeps in the
 * kernel until something has finished: completions are picked up by waiting, never by peeking in a loop.
 *
 * Plain READs. Registered buffers gained nothing where it was measured (1 GiB, O_DIRECT, virtio), fail under the usual
 * 8 MiB memlock limit, and keep a memfd from being sealed.
 */
#include "io/io.h"

#ifdef SGI_HAVE_URING

#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/fault.h"

enum {
    EXTRA_ENTRIES = 2,                   /* the poll of the eventfd, and a cancel */
    ENTRIES_MAX = 2 * SGI__IO_DEPTH_MAX, /* depth and the extra ones, rounded up to a power of two */
    READ_BYTES_MAX = 0x7ffff000,         /* the kernel's own limit; a longer read comes back short */
};

struct sgi__io_queue {
    struct io_uring ring;
    uint32_t        in_flight; /* taken by submit and not yet returned by reap */

    /* A poll of this eventfd is kept in the ring. A poll and not a read: it owns no buffer the kernel could write
     * into after close, and reading the counter with read(2) is an ordering that ThreadSanitizer understands. */
    int  wake_fd;
    bool wake_armed;
    bool woken; /* seen in the ring, reap has not answered 0 for it yet */

    /* In the submission ring and not yet taken by the kernel, oldest first. Empty but for moments of kernel memory
     * shortage. */
    struct io_uring_sqe *unsent[ENTRIES_MAX];
    uint32_t             unsent_count;

    /* Could not be started; the next reap returns them. */
    struct sgi__io_request *refused[SGI__IO_DEPTH_MAX];
    uint32_t                refused_count;
};

static const struct timespec a_moment = { .tv_nsec = 1000000 };

/* user_data is the request, or this for the poll, or NULL for what nobody waits for. */
static char wake_tag;

/* ------------------------------------------------------------------- set up */

/* Newest first. DEFER_TASKRUN does the completion work in the owner's wait instead of interrupting it; the rest is
 * what older kernels have of that. SUBMIT_ALL goes on after a request that is refused. */
static int setup(struct io_uring *ring, uint32_t entries)
{
    static const unsigned flags[] = {
        IORING_SETUP_CLAMP | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
        IORING_SETUP_CLAMP | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN,
        IORING_SETUP_CLAMP,
    };
    int fault = sgi__fault(SGI__FAULT_RING);
    if (fault)
        return -fault;
    int rc = -EINVAL;
    for (size_t i = 0; rc == -EINVAL && i < sizeof flags / sizeof flags[0]; i++)
        rc = io_uring_queue_init(entries, ring, flags[i]);
    return rc;
}

static sgi_status setup_error(int rc, sgi_error *err)
{
    switch (-rc) {
    case ENOSYS:
        return sgi__error_sys(err, SGI_E_UNSUPPORTED, -rc,
                              "io_uring_setup: not in this kernel, or hidden by the sandbox");
    case EPERM:
    case EACCES:
        return sgi__error_sys(err, SGI_E_UNSUPPORTED, -rc,
                              "io_uring_setup: refused by seccomp or kernel.io_uring_disabled");
    case EINVAL:
    case EOPNOTSUPP:
        return sgi__error_sys(err, SGI_E_UNSUPPORTED, -rc, "io_uring_setup");
    default:
        return sgi__error_sys(err, SGI_E_SYSTEM, -rc, "io_uring_setup");
    }
}

static bool knows_ops(struct io_uring *ring)
{
    static const int       needed[] = { IORING_OP_READ, IORING_OP_POLL_ADD, IORING_OP_ASYNC_CANCEL };
    struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
    bool                   known = probe != NULL;
    for (size_t i = 0; known && i < sizeof needed / sizeof needed[0]; i++)
        known = io_uring_opcode_supported(probe, needed[i]);
    io_uring_free_probe(probe);
    return known;
}

/* A sandbox may allow the setup and refuse the entering. */
static int round_trip(struct io_uring *ring)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
    if (!sqe)
        return -EAGAIN;
    io_uring_prep_nop(sqe);
    int rc;
    do
        rc = io_uring_submit_and_wait(ring, 1);
    while (rc == -EINTR);
    return rc < 0 ? rc : 0;
}

static sgi_status uring_probe(sgi_error *err)
{
    struct io_uring ring;
    int             rc = setup(&ring, 4);
    if (rc < 0)
        return setup_error(rc, err);
    sgi_status status = SGI_OK;
    if (!knows_ops(&ring))
        status = sgi__error(err, SGI_E_UNSUPPORTED, "io_uring has no READ, POLL_ADD or ASYNC_CANCEL here");
    else if ((rc = round_trip(&ring)) < 0)
        status = sgi__error_sys(err, SGI_E_UNSUPPORTED, -rc, "io_uring_enter");
    io_uring_queue_exit(&ring);
    return status;
}

/* --------------------------------------------------------------- submission */

static struct io_uring_sqe *take_sqe(struct sgi__io_queue *q)
{
    struct io_uring_sqe *sqe = q->unsent_count < ENTRIES_MAX ? io_uring_get_sqe(&q->ring) : NULL;
    if (sqe)
        q->unsent[q->unsent_count++] = sqe;
    return sqe;
}

/* The only way into the kernel. Returns what it took, or -errno. */
static int enter(struct sgi__io_queue *q, unsigned wait_for)
{
    int rc = io_uring_submit_and_wait(&q->ring, wait_for);
    if (rc > 0) {
        uint32_t sent = (uint32_t)rc < q->unsent_count ? (uint32_t)rc : q->unsent_count;
        q->unsent_count -= sent;
        memmove(q->unsent, q->unsent + sent, q->unsent_count * sizeof q->unsent[0]);
    }
    assert(rc != -EEXIST); /* the owner is another thread */
    return rc;
}

static void refuse(struct sgi__io_queue *q, struct sgi__io_request *request, int os_errno)
{
    request->result = -os_errno;
    q->refused[q->refused_count++] = request;
}

/* Requests the kernel did not take go back to the owner. Their entries stay in the ring and would run later, over
 * memory that may be gone by then: they become no-ops. */
static void take_back(struct sgi__io_queue *q, int os_errno)
{
    for (uint32_t i = 0; i < q->unsent_count; i++) {
        struct io_uring_sqe *sqe = q->unsent[i];
        void                *data = (void *)(uintptr_t)sqe->user_data;
        if (!data || data == &wake_tag)
            continue;
        refuse(q, data, os_errno);
        io_uring_prep_nop(sqe);
        io_uring_sqe_set_data(sqe, NULL);
    }
}

static void uring_submit(struct sgi__io_queue *q, struct sgi__io_request **requests, uint32_t count)
{
    q->in_flight += count;
    for (uint32_t i = 0; i < count; i++) {
        struct sgi__io_request *request = requests[i];
        struct io_uring_sqe    *sqe = take_sqe(q);
        if (!sqe) {
            refuse(q, request, EAGAIN);
            continue;
        }
        unsigned bytes = request->bytes < READ_BYTES_MAX ? (unsigned)request->bytes : READ_BYTES_MAX;
        io_uring_prep_read(sqe, request->fd, request->dst, bytes, request->offset);
        io_uring_sqe_set_data(sqe, request);
    }
    while (q->unsent_count) {
        int rc = enter(q, 0);
        if (rc <= 0 && rc != -EINTR) {
            take_back(q, rc ? -rc : EAGAIN);
            return;
        }
    }
}

/* ------------------------------------------------------------------ waiting */

static void arm_wake(struct sgi__io_queue *q)
{
    struct io_uring_sqe *sqe = take_sqe(q);
    if (!sqe)
        return; /* the next reap tries again */
    io_uring_prep_poll_add(sqe, q->wake_fd, POLLIN);
    io_uring_sqe_set_data(sqe, &wake_tag);
    q->wake_armed = true;
}

/* Takes what has been counted so far; true when there was a wake. */
static bool drain_wakes(struct sgi__io_queue *q)
{
    uint64_t count;
    return read(q->wake_fd, &count, sizeof count) == (ssize_t)sizeof count;
}

static void take_wake(struct sgi__io_queue *q, int result)
{
    /* The counter goes to 0 before the poll is armed again, so a wake in between makes that one fire at once. A poll
     * that failed (other than by uring_cancel, which takes everything) answers too: one 0 too many is nothing, a
     * lost wake a hang. */
    q->wake_armed = false;
    if (drain_wakes(q) || (result < 0 && result != -ECANCELED))
        q->woken = true;
}

/* What has finished, without a system call. */
static uint32_t collect(struct sgi__io_queue *q, struct sgi__io_request **done, uint32_t max)
{
    struct io_uring_cqe *cqe;
    unsigned             head, seen = 0;
    uint32_t             taken = 0;
    io_uring_for_each_cqe(&q->ring, head, cqe)
    {
        if (taken == max)
            break;
        seen++;
        void *data = io_uring_cqe_get_data(cqe);
        if (data == &wake_tag) {
            take_wake(q, cqe->res);
        } else if (data) {
            done[taken] = data;
            done[taken++]->result = cqe->res;
        }
    }
    io_uring_cq_advance(&q->ring, seen);
    return taken;
}

static uint32_t uring_reap(struct sgi__io_queue *q, struct sgi__io_request **done, uint32_t max)
{
    for (;;) {
        uint32_t count = 0;
        while (q->refused_count && count < max)
            done[count++] = q->refused[--q->refused_count];
        count += collect(q, done + count, max - count);
        q->in_flight -= count;
        if (count)
            return count;
        if (q->woken || q->in_flight == 0) {
            drain_wakes(q); /* all until now are answered by this 0 */
            q->woken = false;
            return 0;
        }
        if (!q->wake_armed)
            arm_wake(q);

        int rc = enter(q, 1);
        if (rc >= 0 || rc == -EINTR)
            continue;
        /* The poll could not be sent; reads never wait here, submit has taken those back. Wait for the ones in
         * flight without it, and never spin on a kernel that is out of memory. */
        struct io_uring_cqe *cqe;
        rc = io_uring_wait_cqe(&q->ring, &cqe);
        if (rc < 0 && rc != -EINTR)
            nanosleep(&a_moment, NULL); /* lint: allow nanosleep: not even waiting works, and spinning would not help */
    }
}

static void uring_wake(struct sgi__io_queue *q)
{
    uint64_t one = 1;
    (void)!write(q->wake_fd, &one, sizeof one); /* EAGAIN: the counter is full, so it is readable */
}

static void uring_cancel(struct sgi__io_queue *q)
{
    struct io_uring_sqe *sqe = q->in_flight ? take_sqe(q) : NULL;
    if (!sqe)
        return; /* they end by themselves */
    /* Also takes the poll, which the next reap arms again. Where the kernel is too old for ANY the reads just go on. */
    io_uring_prep_cancel64(sqe, 0, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
    io_uring_sqe_set_data(sqe, NULL);
    enter(q, 0);
}

/* ------------------------------------------------------------- open, close */

static sgi_status uring_open(uint32_t depth, struct sgi__io_queue **queue_out, sgi_error *err)
{
    assert(depth >= 1 && depth <= SGI__IO_DEPTH_MAX);
    sgi_status            status;
    struct sgi__io_queue *q = sgi__alloc_zero(1, sizeof *q);
    if (!q)
        return sgi__error(err, SGI_E_NO_MEMORY, "no memory for a read queue");

    int fault = sgi__fault(SGI__FAULT_EVENTFD);
    q->wake_fd = fault ? -1 : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (q->wake_fd < 0) {
        status = sgi__error_sys(err, SGI_E_SYSTEM, fault ? fault : errno, "eventfd for a read queue");
        goto undo_alloc;
    }
    int rc = setup(&q->ring, depth + EXTRA_ENTRIES);
    if (rc < 0) {
        status = setup_error(rc, err);
        goto undo_eventfd;
    }
    arm_wake(q); /* goes in with the first submit */
    *queue_out = q;
    return SGI_OK;

undo_eventfd:
    close(q->wake_fd);
undo_alloc:
    sgi__free(q);
    return status;
}

static void uring_close(struct sgi__io_queue *q)
{
    assert(q->in_flight == 0);
    io_uring_queue_exit(&q->ring);
    close(q->wake_fd);
    sgi__free(q);
}

static const struct sgi__io_engine engine = {
    .abi = SGI__IO_ABI,
    .name = "uring",
    .probe = uring_probe,
    .open = uring_open,
    .submit = uring_submit,
    .reap = uring_reap,
    .wake = uring_wake,
    .cancel = uring_cancel,
    .close = uring_close,
};

const struct sgi__io_engine *sgi__io_uring(void)
{
    return &engine;
}

#else

const struct sgi__io_engine *sgi__io_uring(void)
{
    return NULL;
}

#endif
