/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ceiling: a file into memory with nothing in between. No code of the library, so that what the library is measured
 * against cannot share its mistakes.
 *
 * touched is the honest reference for a loader: image-sized, huge pages, written before. ring reuses depth * block
 * bytes, which is faster than anything that keeps what it read; fresh pays for its page faults; memfd is touched
 * too, in small pages that others can map, and fresh-memfd pays for those.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef SGI_HAVE_URING
#include <liburing.h>
#endif

#include "commands.h"
#include "mapped.h"
#include "measure.h"
#include "options.h"
#include "report.h"

enum { DEPTH_MAX = 256 };
#define ALIGN ((uint64_t)4096)

struct options {
    const char *path, *engine, *memory;
    uint64_t    block, depth, repeat, rate;
    bool        buffered, cold, on_line;
};

struct job {
    const struct options *options;
    int                   fd;
    uint64_t              file_bytes;
    uint8_t              *memory;
    bool                  ring;   /* memory is `slots` times `stride`, used again and again */
    uint32_t              slots;  /* reads in flight: `depth`, and no more than the file has blocks */
    uint64_t              stride; /* a block, and no more than the file */
    atomic_uint_fast64_t  next;   /* offset of the next block; for the threads */
    atomic_uint_fast64_t  landed;
    pthread_mutex_t       mutex;
    struct bucket         bucket; /* under the mutex, where there are threads */
};

static _Noreturn void failed(const char *what, int os_errno)
{
    die("%s%s%s", what, os_errno ? ": " : "", os_errno ? strerror(os_errno) : "");
}

static uint64_t round_up(uint64_t value, uint64_t align)
{
    return (value + align - 1) / align * align;
}

/* ------------------------------------------------------------------- blocks */

/* The block at `offset`: where it goes and how much of it to ask for. A direct read may end past the end of file. */
static uint8_t *place_of(const struct job *job, uint64_t offset, uint32_t slot)
{
    return job->memory + (job->ring ? slot * job->stride : offset);
}

static uint64_t length_at(const struct job *job, uint64_t offset)
{
    uint64_t left = job->file_bytes - offset;
    if (left >= job->options->block)
        return job->options->block;
    return job->options->buffered ? left : round_up(left, ALIGN);
}

static void check(const struct job *job, uint64_t offset, int64_t result)
{
    if (result == -EINVAL && !job->options->buffered)
        die("%s: %s (no direct reads here? --buffered reads through the page cache)", job->options->path,
            strerror(EINVAL));
    if (result < 0)
        failed(job->options->path, (int)-result);
    uint64_t left = job->file_bytes - offset;
    if ((uint64_t)result != (left < job->options->block ? left : job->options->block))
        die("%s: a read came back short: is it being written to?", job->options->path);
}

/* ------------------------------------------------------------------ threads */

struct worker {
    struct job *job;
    uint32_t    slot;
    pthread_t   thread;
};

static void *pread_blocks(void *user)
{
    struct worker *worker = user;
    struct job    *job = worker->job;
    for (;;) {
        uint64_t offset = atomic_fetch_add(&job->next, job->options->block);
        if (offset >= job->file_bytes)
            return NULL;
        pthread_mutex_lock(&job->mutex);
        uint64_t begin = bucket_take(&job->bucket, length_at(job, offset));
        pthread_mutex_unlock(&job->mutex);
        wait_until_ns(begin);
        ssize_t got = pread(job->fd, place_of(job, offset, worker->slot), length_at(job, offset), (off_t)offset);
        check(job, offset, got < 0 ? -errno : got);
        atomic_fetch_add(&job->landed, (uint64_t)got);
    }
}

static void run_threads(struct job *job)
{
    struct worker workers[DEPTH_MAX];
    for (uint32_t i = 0; i < job->slots; i++) {
        workers[i] = (struct worker){ .job = job, .slot = i };
        int rc = pthread_create(&workers[i].thread, NULL, pread_blocks, &workers[i]);
        if (rc)
            failed("pthread_create", rc);
    }
    for (uint32_t i = 0; i < job->slots; i++)
        pthread_join(workers[i].thread, NULL);
}

/* ----------------------------------------------------------------- io_uring */

#ifdef SGI_HAVE_URING
/* With --rate: a read whose time has not come waits while others are under way; when there are none it is waited for.
 * *begin: of the next read, 0 when it is not known yet. */
static bool may_begin(struct job *job, uint64_t *begin, uint64_t bytes, bool alone)
{
    if (job->options->rate == 0)
        return true;
    if (*begin == 0)
        *begin = bucket_take(&job->bucket, bytes);
    if (alone)
        wait_until_ns(*begin);
    return now_ns() >= *begin;
}

static void run_uring(struct job *job)
{
    struct io_uring ring;
    uint64_t        offsets[DEPTH_MAX];
    unsigned        depth = job->slots;
    int             rc = io_uring_queue_init(depth, &ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
    if (rc == -EINVAL)
        rc = io_uring_queue_init(depth, &ring, 0);
    if (rc < 0)
        failed("io_uring_setup", -rc);

    uint64_t next = 0, landed = 0, begin = 0;
    uint32_t unused[DEPTH_MAX], unused_count = 0;
    for (uint32_t i = 0; i < depth; i++)
        unused[unused_count++] = i;
    while (landed < job->file_bytes) {
        while (unused_count && next < job->file_bytes &&
               may_begin(job, &begin, length_at(job, next), unused_count == depth)) {
            struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
            uint32_t             slot = unused[--unused_count];
            offsets[slot] = next;
            io_uring_prep_read(sqe, job->fd, place_of(job, next, slot), (unsigned)length_at(job, next), next);
            io_uring_sqe_set_data64(sqe, slot);
            next += job->options->block;
            begin = 0;
        }
        rc = io_uring_submit_and_wait(&ring, 1);
        if (rc < 0 && rc != -EINTR)
            failed("io_uring_enter", -rc);

        struct io_uring_cqe *cqe;
        unsigned             head, seen = 0;
        io_uring_for_each_cqe(&ring, head, cqe)
        {
            uint32_t slot = (uint32_t)io_uring_cqe_get_data64(cqe);
            check(job, offsets[slot], cqe->res);
            landed += (uint64_t)cqe->res;
            unused[unused_count++] = slot;
            seen++;
        }
        io_uring_cq_advance(&ring, seen);
    }
    io_uring_queue_exit(&ring);
    atomic_store(&job->landed, landed);
}
#else
static void run_uring(struct job *job)
{
    (void)job;
    failed("this build has no io_uring", 0);
}
#endif

/* -------------------------------------------------------------- measurement */

static void put(const struct options *o, struct summary *summary, uint64_t file_bytes, double seconds, double cpu)
{
    double gib = (double)file_bytes / GIB;
    report_line(json_pack("{s:s, s:s, s:I, s:I, s:s, s:b, s:b, s:I, s:f, s:f, s:f}", "what", "raw", "engine", o->engine,
                          "block", (json_int_t)o->block, "depth", (json_int_t)o->depth, "memory", o->memory, "buffered",
                          o->buffered, "cold", o->cold, "bytes", (json_int_t)file_bytes, "seconds", seconds, "gib_s",
                          gib / seconds, "cpu_core_s_per_gib", cpu / gib));
    summary_add(summary, "seconds", seconds);
    summary_add(summary, "gib_s", gib / seconds);
    summary_add(summary, "cpu_core_s_per_gib", cpu / gib);
}

static uint8_t *map_of(const struct options *o, uint64_t bytes)
{
    return strstr(o->memory, "memfd") ? map_memfd(bytes) : map_anonymous(bytes);
}

static void once(const struct options *o, struct job *job, double *seconds_out, double *cpu_out)
{
    bool     fresh = !job->memory;
    uint64_t bytes = round_up(job->file_bytes, HUGE_PAGE);
    double   cpu = cpu_seconds(), begin = seconds_now();

    if (fresh)
        job->memory = map_of(o, bytes);
    if (strcmp(o->engine, "uring") == 0)
        run_uring(job);
    else
        run_threads(job);
    *seconds_out = seconds_now() - begin;
    *cpu_out = cpu_seconds() - cpu;
    if (atomic_load(&job->landed) != job->file_bytes)
        failed("bytes are missing", 0);
    if (fresh)
        munmap(job->memory, bytes);
}

static void measure(const struct options *o, int fd, uint64_t file_bytes)
{
    bool           ring = strcmp(o->memory, "ring") == 0, fresh = strncmp(o->memory, "fresh", 5) == 0;
    uint64_t       blocks = (file_bytes + o->block - 1) / o->block, slots = o->depth < blocks ? o->depth : blocks;
    uint64_t       whole = round_up(file_bytes, ALIGN), stride = o->block < whole ? o->block : whole;
    uint64_t       bytes = round_up(ring ? slots * stride : file_bytes, HUGE_PAGE);
    uint8_t       *memory = NULL;
    struct summary summary = { 0 };
    struct turns   turns = { .repeat = o->repeat, .on_line = o->on_line };

    refuse_more_than_fits(bytes, ring ? "a ring of --depth times --block bytes" : o->path);
    if (!fresh) {
        memory = map_of(o, bytes);
        memset(memory, 1, bytes);
    }
    while (next_turn(&turns)) {
        struct job job = { .options = o,
                           .fd = fd,
                           .file_bytes = file_bytes,
                           .memory = memory,
                           .ring = ring,
                           .slots = (uint32_t)slots,
                           .stride = stride,
                           .mutex = PTHREAD_MUTEX_INITIALIZER,
                           .bucket.bytes_per_s = o->rate };
        double     seconds, cpu;
        if (o->cold)
            drop_cached(o->path);
        once(o, &job, &seconds, &cpu);
        put(o, &summary, file_bytes, seconds, cpu);
    }
    if (memory)
        munmap(memory, bytes);
    if (!o->on_line)
        summary_report(&summary, "raw", o->path, NULL);
    summary_free(&summary);
}

static int run(const struct options *o)
{
    struct stat st;

    if (stat(o->path, &st) != 0) /* not opened yet: that would wait for the writer of a pipe */
        failed(o->path, errno);
    if (S_ISDIR(st.st_mode))
        die("%s: is a folder; raw reads a file", o->path);
    if (!S_ISREG(st.st_mode))
        die("%s: is not a regular file", o->path);
    if (st.st_size == 0)
        die("%s: is empty", o->path);
    int fd = open(o->path, O_RDONLY | O_CLOEXEC | (o->buffered ? 0 : O_DIRECT));
    if (fd < 0 && errno == EINVAL && !o->buffered)
        die("%s: this file system has no direct reads; --buffered reads through the page cache", o->path);
    if (fd < 0)
        failed(o->path, errno);
    measure(o, fd, (uint64_t)st.st_size);
    close(fd);
    return EXIT_GOOD;
}

/* ------------------------------------------------------------------ options */

static const struct options defaults = {
#ifdef SGI_HAVE_URING
    .engine = "uring",
#else
    .engine = "threads",
#endif
    .memory = "touched",
    .block = HUGE_PAGE,
    .depth = 8,
    .repeat = 1,
};

int raw_side_run(void *user)
{
    const struct raw_side *side = user;
    struct options         o = defaults;

    o.path = side->path;
    if (strcmp(side->engine, "auto") != 0)
        o.engine = side->engine;
    o.repeat = side->repeat;
    o.rate = side->rate;
    o.cold = side->cold;
    o.buffered = side->buffered;
    o.on_line = true;
    return run(&o);
}

int raw_main(int argc, char **argv)
{
    static const char *const          engines[] = { "uring", "threads", NULL };
    static const char *const          memories[] = { "touched", "fresh", "ring", "memfd", "fresh-memfd", NULL };
    static const struct bench_command command = {
        .name = "raw",
        .operands = "FILE",
        .operands_min = 1,
        .operands_max = 1,
        .purpose =
            "A file into memory: bare io_uring or pread loops, no code of the library. touched memory is as large as\n"
            "the file and was written before: what a loader can have. fresh memory pays for its page faults. A ring\n"
            "of depth * block bytes (no more than the file needs) is faster than anything that keeps what it read.\n"
            "memfd is touched memory of small pages, as an image that others can map; fresh-memfd pays for their\n"
            "faults too. What takes more than three quarters of the machine's memory is refused.\n",
    };
    struct options            o = defaults;
    const struct bench_option options[] = {
        { "engine", OPTION_CHOICE, &o.engine, 0, 0, engines, "how it is read" },
        { "memory", OPTION_CHOICE, &o.memory, 0, 0, memories, "where to" },
        { "block", OPTION_BYTES, &o.block, 1, UINT64_C(1) << 30, NULL, "of one read" },
        { "depth", OPTION_NUMBER, &o.depth, 1, DEPTH_MAX, NULL, "reads in flight" },
        { "buffered", OPTION_FLAG, &o.buffered, 0, 0, NULL, "through the page cache" },
        OPTION_COLD(&o),
        OPTION_REPEAT(&o),
        OPTION_RATE(&o),
        OPTION_STDIN(&o),
    };
    options_parse(&command, options, sizeof options / sizeof *options, argc, argv, &o.path);
#ifndef SGI_HAVE_URING
    if (strcmp(o.engine, "uring") == 0)
        die("this build has no io_uring");
#endif
    if (!o.buffered && o.block % ALIGN)
        usage_error("raw", "a direct read needs a --block that is a multiple of 4096, not %llu",
                    (unsigned long long)o.block);
    return run(&o);
}
