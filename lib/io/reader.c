/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What to do with the outcome of a read, the same over every engine. All on the owner's thread but for _wake.
 *
 * A read moves pending -> flying (in the engine) -> ended, and from there back to its owner or to pending again. The
 * three together never exceed the depth.
 */
#include "io/reader.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/fault.h"
#include "io/regular.h"

/* One request of the engine; a multiple of every alignment, and below what the kernel reads at once. */
#define REQUEST_BYTES_MAX (UINT64_C(1) << 30)

/* Before trying again after EAGAIN; at most SGI__READ_AGAINS_MAX times in a row. */
static const struct timespec a_moment = { .tv_nsec = 1000000 };

struct sgi__reader {
    const struct sgi__io_engine *engine;
    struct sgi__io_queue        *queue;
    uint32_t                     depth;
    uint32_t                     in_flight; /* submitted by the owner and not returned */
    uint32_t                     flying;    /* of these: in the engine */
    bool                         canceled;
    bool                     backing_off; /* the kernel said EAGAIN: start nothing before something else has finished */
    struct sgi__io_request  *pending[SGI__IO_DEPTH_MAX];
    uint32_t                 pending_count;
    struct sgi__io_request  *ended[SGI__IO_DEPTH_MAX]; /* a ring; ended_at is the oldest */
    uint32_t                 ended_at, ended_count;
    struct sgi__reader_stats stats;
};

sgi_status sgi__reader_open(const struct sgi__io_engine *engine, uint32_t depth, struct sgi__reader **reader_out,
                            sgi_error *err)
{
    if (engine->abi != SGI__IO_ABI)
        return sgi__error(err, SGI_E_INVALID, "read engine %s has abi %" PRIu32 ", not %d", engine->name, engine->abi,
                          SGI__IO_ABI);
    if (depth < 1 || depth > SGI__IO_DEPTH_MAX)
        return sgi__error(err, SGI_E_INVALID, "read depth %" PRIu32 " is not in 1..%d", depth, SGI__IO_DEPTH_MAX);
    struct sgi__reader *r = sgi__alloc_zero(1, sizeof *r);
    if (!r)
        return sgi__error(err, SGI_E_NO_MEMORY, "no memory for a reader");
    r->engine = engine;
    r->depth = depth;
    sgi_status status = engine->open(depth, &r->queue, err);
    if (status != SGI_OK) {
        sgi__free(r);
        return status;
    }
    *reader_out = r;
    return SGI_OK;
}

bool sgi__reader_full(const struct sgi__reader *r)
{
    return r->in_flight == r->depth;
}

uint32_t sgi__reader_in_flight(const struct sgi__reader *r)
{
    return r->in_flight;
}

static void put_ended(struct sgi__reader *r, struct sgi__io_request *request)
{
    r->ended[(r->ended_at + r->ended_count++) % SGI__IO_DEPTH_MAX] = request;
}

static struct sgi__io_request *take_ended(struct sgi__reader *r)
{
    struct sgi__io_request *request = r->ended[r->ended_at];
    r->ended_at = (r->ended_at + 1) % SGI__IO_DEPTH_MAX;
    r->ended_count--;
    return request;
}

/* ----------------------------------------------------------------- starting */

/* The next request of a read: from what has landed to its end. Direct, that end is rounded up to the alignment and
 * no further: the kernel zeroes a buffer up to the end of the request, not of the file. */
static void prepare(struct sgi__read *read)
{
    struct sgi__io_request *request = &read->request;
    uint64_t                left = read->want - read->done;
    request->fd = read->file->cached_fd;
    if (read->direct) {
        assert(read->done % read->file->direct_align == 0);
        request->fd = read->file->direct_fd;
        left = sgi__align_up(left, read->file->direct_align);
    }
    request->offset = read->offset + read->done;
    request->dst = (char *)read->dst + read->done;
    request->bytes = left < REQUEST_BYTES_MAX ? left : REQUEST_BYTES_MAX;
}

static void start_pending(struct sgi__reader *r)
{
    if (!r->pending_count)
        return;
    if (r->backing_off && r->flying)
        return;                     /* until one of those has finished */
    if (r->backing_off)             /* nothing of ours is under way that could be waited for */
        nanosleep(&a_moment, NULL); /* lint: allow nanosleep: the kernel is short of memory and says no when */
    r->backing_off = false;

    for (uint32_t i = 0; i < r->pending_count; i++)
        prepare(r->pending[i]->user);
    uint32_t count = r->pending_count;
    r->pending_count = 0;
    r->flying += count;
    r->engine->submit(r->queue, r->pending, count);
}

void sgi__reader_submit(struct sgi__reader *r, struct sgi__read *read)
{
    const struct sgi__io_file *file = read->file;
    assert(!sgi__reader_full(r));
    read->done = read->tries = read->agains = 0;
    read->lost_bytes = 0;
    read->want = read->bytes;
    read->request = (struct sgi__io_request){ .user = read };
    if (read->direct) {
        assert(file->direct_fd >= 0);
        assert(((read->offset | read->bytes | (uintptr_t)read->dst) & (file->direct_align - 1)) == 0);
        uint64_t to_end = read->offset < file->id.bytes ? file->id.bytes - read->offset : 0;
        if (read->want > to_end)
            read->want = to_end;
    }

    r->in_flight++;
    if (read->want == 0 || r->canceled) {
        put_ended(r, &read->request);
        return;
    }
    r->pending[r->pending_count++] = &read->request;
    if (sgi__reader_full(r) && !r->backing_off)
        start_pending(r);
}

/* ------------------------------------------------------------------- ending */

/* What came back, as a test wants it; in a release build nothing. Here and not in the engines, so that the rules
 * below see it as if the kernel had done it. */
static void apply_faults(struct sgi__io_request *request)
{
    int fault = sgi__fault(SGI__FAULT_READ);
    if (fault)
        request->result = -fault;
    if (request->result > 1 && sgi__fault(SGI__FAULT_READ_SHORT))
        request->result /= 2;
    if (request->result > 0 && sgi__fault(SGI__FAULT_CORRUPT))
        ((uint8_t *)request->dst)[request->result / 2] ^= 0xff;
}

/* The device, or the way to it, failed: another try may go well. */
static bool may_pass(int os_errno)
{
    switch (os_errno) {
    case EIO:
    case ENOMEM:
    case ETIMEDOUT:
    case ENODATA: /* a medium error */
    case EILSEQ:  /* a protection error */
    case ENOLINK:
    case EREMOTEIO:
    case ECANCELED: /* nobody here asked for it */
        return true;
    default:
        return false;
    }
}

static void go_on_cached(struct sgi__reader *r, struct sgi__read *read)
{
    read->direct = false;
    r->stats.downgrades++;
}

/* True when the read goes on; else *status says how it ended. */
static bool goes_on_after_error(struct sgi__reader *r, struct sgi__read *read, int os_errno, sgi_status *status,
                                sgi_error *err)
{
    bool again = os_errno == EINTR || os_errno == EAGAIN;
    if (read->direct && (os_errno == EINVAL || os_errno == EOPNOTSUPP)) {
        /* Some file systems state an alignment, or take O_DIRECT, and then refuse. Only this read: for another the file
         * system may think otherwise, and asking costs microseconds. */
        go_on_cached(r, read);
        return true;
    }
    if (again && read->agains < SGI__READ_AGAINS_MAX) {
        read->agains++;
        r->stats.retries++;
        r->backing_off |= os_errno == EAGAIN;
        return true;
    }
    if (!again && may_pass(os_errno) && read->tries < SGI__READ_RETRIES_MAX) {
        read->tries++;
        read->lost_bytes += read->request.bytes;
        r->stats.retries++;
        return true;
    }
    *status = sgi__error_sys(err, SGI_E_IO, os_errno, "read %s at offset %" PRIu64, sgi__io_path_shown(read->path),
                             read->request.offset);
    return false;
}

static bool goes_on_after_bytes(struct sgi__reader *r, struct sgi__read *read, uint64_t landed, sgi_status *status)
{
    read->agains = 0;
    read->done += landed;
    if (read->done < read->want) {
        if (landed < read->request.bytes)
            r->stats.shorts++;
        /* A direct read that stops inside a block has met an end of file that should not be there, or a file system
         * with ideas of its own. It cannot go on from there, and from the block's start it would stop again. */
        if (read->direct && read->done % read->file->direct_align != 0)
            go_on_cached(r, read);
        return true;
    }
    /* Past the end of file: written by the kernel after a direct read, by nobody after a cached one. */
    read->done = read->want;
    uint64_t past = sgi__align_up(read->want, read->file->direct_align) - read->want;
    if (read->want < read->bytes)
        memset((char *)read->dst + read->want, 0, past);
    *status = SGI_OK;
    return false;
}

/* True when the read goes on. */
static bool goes_on(struct sgi__reader *r, struct sgi__read *read, sgi_status *status, sgi_error *err)
{
    int64_t result = read->request.result;
    if (r->canceled) {
        *status = sgi__error(err, SGI_E_CANCELED, "reading %s was canceled", sgi__io_path_shown(read->path));
        return false;
    }
    if (read->want == 0 && read->bytes > 0)
        result = 0; /* all of it past the end of file */
    else if (read->want == 0)
        return goes_on_after_bytes(r, read, 0, status);
    if (result < 0)
        return goes_on_after_error(r, read, (int)-result, status, err);
    if (result > 0)
        return goes_on_after_bytes(r, read, (uint64_t)result, status);
    *status = sgi__error(err, SGI_E_CHANGED,
                         "%s has changed: it ends at or before %" PRIu64 ", and had %" PRIu64 " bytes",
                         sgi__io_path_shown(read->path), read->offset + read->done, read->file->id.bytes);
    return false;
}

sgi_status sgi__reader_wait(struct sgi__reader *r, struct sgi__read **read_out, sgi_error *err)
{
    *read_out = NULL;
    for (;;) {
        start_pending(r);
        while (r->ended_count) {
            struct sgi__io_request *request = take_ended(r);
            sgi_status              status = SGI_OK;
            if (goes_on(r, request->user, &status, err)) {
                r->pending[r->pending_count++] = request;
                continue;
            }
            if (!r->backing_off)
                start_pending(r); /* what goes on must not wait for what the owner does with this one */
            r->in_flight--;
            *read_out = request->user;
            return status;
        }
        start_pending(r);
        if (!r->flying)
            return SGI_OK;

        struct sgi__io_request *done[SGI__IO_DEPTH_MAX];
        uint32_t                count = r->engine->reap(r->queue, done, r->depth);
        if (count == 0)
            return SGI_OK;
        r->flying -= count;
        for (uint32_t i = 0; i < count; i++) {
            apply_faults(done[i]);
            if (done[i]->result != -EAGAIN)
                r->backing_off = false;
            put_ended(r, done[i]);
        }
    }
}

void sgi__reader_wake(struct sgi__reader *r)
{
    r->engine->wake(r->queue);
}

void sgi__reader_cancel(struct sgi__reader *r)
{
    if (r->canceled)
        return;
    r->canceled = true;
    for (uint32_t i = 0; i < r->pending_count; i++)
        put_ended(r, r->pending[i]);
    r->pending_count = 0;
    r->engine->cancel(r->queue);
}

void sgi__reader_close(struct sgi__reader *r, struct sgi__reader_stats *stats_out)
{
    assert(r->in_flight == 0);
    r->engine->close(r->queue);
    if (stats_out)
        *stats_out = r->stats;
    sgi__free(r);
}
