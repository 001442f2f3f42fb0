/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ceiling: a file into memory with nothing in between. No code of the library, so that what the library is measured
 * against cannot share its mistakes.
 *
 *     raw FILE [--engine uring|threads] [--block BYTES] [--depth N] [--memory touched|fresh|ring] [--buffered] [--cold]
 *              [--repeat N] [--stdin]
 *
 * One JSON object per repetition on stdout, flushed at once. With --stdin each repetition waits for a line of input, so
 * that another program can take turns with this one while the touched memory stays as it is.
 *
 * touched is the honest reference for a loader: image-sized, huge pages, written before. ring reuses depth * block
 * bytes, which is faster than anything that keeps what it read; fresh pays for its page faults.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifdef SGI_HAVE_URING
#include <liburing.h>
#endif

enum { DEPTH_MAX = 256 };
#define ALIGN     ((uint64_t)4096)
#define HUGE_PAGE ((uint64_t)2 << 20)
#define GIB       (1024.0 * 1024.0 * 1024.0)

struct options {
    const char *path, *engine, *memory;
    uint64_t    block;
    uint32_t    depth, repeat;
    bool        buffered, cold, on_line;
};

struct job {
    const struct options *options;
    int                   fd;
    uint64_t              file_bytes;
    uint8_t              *memory;
    bool                  ring; /* memory is depth blocks, used again and again */
    atomic_uint_fast64_t  next; /* offset of the next block; for the threads */
    atomic_uint_fast64_t  landed;
};

static _Noreturn void die(const char *what, int os_errno)
{
    fprintf(stderr, "raw: %s%s%s\n", what, os_errno ? ": " : "", os_errno ? strerror(os_errno) : "");
    exit(1);
}

static uint64_t round_up(uint64_t value, uint64_t align)
{
    return (value + align - 1) / align * align;
}

/* ------------------------------------------------------------------- memory */

static uint8_t *map_memory(uint64_t bytes)
{
    uint8_t *p = mmap(NULL, bytes + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
                      0);
    if (p == MAP_FAILED)
        die("mmap", errno);
    uint8_t *aligned = (uint8_t *)(uintptr_t)round_up((uintptr_t)p, HUGE_PAGE);
    if (aligned > p)
        munmap(p, (size_t)(aligned - p));
    if (aligned < p + HUGE_PAGE)
        munmap(aligned + bytes, (size_t)(p + HUGE_PAGE - aligned));
    madvise(aligned, bytes, MADV_HUGEPAGE); /* without huge pages it is slower, and still right */
    return aligned;
}

/* The block at `offset`: where it goes and how much of it to ask for. A direct read may end past the end of file. */
static uint8_t *place_of(const struct job *job, uint64_t offset, uint32_t slot)
{
    return job->memory + (job->ring ? slot * job->options->block : offset);
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
    if (result < 0)
        die("read", (int)-result);
    uint64_t left = job->file_bytes - offset;
    if ((uint64_t)result != (left < job->options->block ? left : job->options->block))
        die("short read", 0);
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
        ssize_t got = pread(job->fd, place_of(job, offset, worker->slot), length_at(job, offset), (off_t)offset);
        check(job, offset, got < 0 ? -errno : got);
        atomic_fetch_add(&job->landed, (uint64_t)got);
    }
}

static void run_threads(struct job *job)
{
    struct worker workers[DEPTH_MAX];
    for (uint32_t i = 0; i < job->options->depth; i++) {
        workers[i] = (struct worker){ .job = job, .slot = i };
        int rc = pthread_create(&workers[i].thread, NULL, pread_blocks, &workers[i]);
        if (rc)
            die("pthread_create", rc);
    }
    for (uint32_t i = 0; i < job->options->depth; i++)
        pthread_join(workers[i].thread, NULL);
}

/* ----------------------------------------------------------------- io_uring */

#ifdef SGI_HAVE_URING
static void run_uring(struct job *job)
{
    struct io_uring ring;
    uint64_t        offsets[DEPTH_MAX];
    int rc = io_uring_queue_init(job->options->depth, &ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
    if (rc == -EINVAL)
        rc = io_uring_queue_init(job->options->depth, &ring, 0);
    if (rc < 0)
        die("io_uring_setup", -rc);

    uint64_t next = 0, landed = 0;
    uint32_t unused[DEPTH_MAX], unused_count = 0;
    for (uint32_t i = 0; i < job->options->depth; i++)
        unused[unused_count++] = i;
    while (landed < job->file_bytes) {
        while (unused_count && next < job->file_bytes) {
            struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
            uint32_t             slot = unused[--unused_count];
            offsets[slot] = next;
            io_uring_prep_read(sqe, job->fd, place_of(job, next, slot), (unsigned)length_at(job, next), next);
            io_uring_sqe_set_data64(sqe, slot);
            next += job->options->block;
        }
        rc = io_uring_submit_and_wait(&ring, 1);
        if (rc < 0 && rc != -EINTR)
            die("io_uring_enter", -rc);

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
    die("this build has no io_uring", 0);
}
#endif

/* -------------------------------------------------------------- measurement */

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static double cpu_seconds(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6;
}

static void drop_cached(int fd)
{
    fdatasync(fd); /* dirty pages stay */
    int rc = posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    if (rc)
        die("posix_fadvise", rc);
}

static void measure(const struct options *o, int fd, uint64_t file_bytes)
{
    bool     ring = strcmp(o->memory, "ring") == 0, fresh = strcmp(o->memory, "fresh") == 0;
    uint64_t bytes = round_up(ring ? o->block * o->depth : file_bytes, HUGE_PAGE);
    uint8_t *memory = NULL;
    if (!fresh) {
        memory = map_memory(bytes);
        memset(memory, 1, bytes);
    }
    for (uint32_t i = 0; i < o->repeat; i++) {
        char line[256];
        if (o->on_line && !fgets(line, sizeof line, stdin))
            break;
        if (o->cold)
            drop_cached(fd);
        struct job job = { .options = o, .fd = fd, .file_bytes = file_bytes, .memory = memory, .ring = ring };
        double     cpu = cpu_seconds(), begin = seconds_now();
        if (fresh)
            job.memory = map_memory(bytes);
        if (strcmp(o->engine, "uring") == 0)
            run_uring(&job);
        else
            run_threads(&job);
        double seconds = seconds_now() - begin;
        cpu = cpu_seconds() - cpu;
        if (atomic_load(&job.landed) != file_bytes)
            die("bytes are missing", 0);
        if (fresh)
            munmap(job.memory, bytes);
        double gib = (double)file_bytes / GIB;
        printf("{\"what\":\"raw\",\"engine\":\"%s\",\"block\":%" PRIu64 ",\"depth\":%" PRIu32
               ",\"memory\":\"%s\",\"buffered\":%s,"
               "\"cold\":%s,\"bytes\":%" PRIu64 ",\"seconds\":%.6f,\"gib_s\":%.4f,\"cpu_core_s_per_gib\":%.5f}\n",
               o->engine, o->block, o->depth, o->memory, o->buffered ? "true" : "false", o->cold ? "true" : "false",
               file_bytes, seconds, gib / seconds, cpu / gib);
        fflush(stdout);
    }
    if (memory)
        munmap(memory, bytes);
}

/* ------------------------------------------------------------------ options */

static _Noreturn void usage(void)
{
    fputs("usage: raw FILE [--engine uring|threads] [--block BYTES] [--depth N] [--memory touched|fresh|ring]\n"
          "                [--buffered] [--cold] [--repeat N] [--stdin]\n",
          stderr);
    exit(2);
}

static uint64_t number(const char *text, uint64_t max)
{
    char *end = NULL;
    errno = 0;
    uint64_t value = text && *text >= '0' && *text <= '9' ? strtoull(text, &end, 10) : 0;
    if (!end || *end || errno || value < 1 || value > max)
        usage();
    return value;
}

static const char *one_of(const char *text, const char *const *words)
{
    for (; text && *words; words++) {
        if (strcmp(text, *words) == 0)
            return *words;
    }
    usage();
}

static struct options parse(char **argv)
{
    static const char *const engines[] = { "uring", "threads", NULL };
    static const char *const memories[] = { "touched", "fresh", "ring", NULL };
    struct options o = { .engine = "uring", .memory = "touched", .block = HUGE_PAGE, .depth = 8, .repeat = 1 };
#ifndef SGI_HAVE_URING
    o.engine = "threads";
#endif
    for (; *argv; argv++) {
        if (strcmp(*argv, "--buffered") == 0)
            o.buffered = true;
        else if (strcmp(*argv, "--cold") == 0)
            o.cold = true;
        else if (strcmp(*argv, "--stdin") == 0)
            o.on_line = true;
        else if (strncmp(*argv, "--", 2) != 0 && !o.path)
            o.path = *argv;
        else if (!argv[1])
            usage();
        else if (strcmp(*argv, "--engine") == 0)
            o.engine = one_of(*++argv, engines);
        else if (strcmp(*argv, "--memory") == 0)
            o.memory = one_of(*++argv, memories);
        else if (strcmp(*argv, "--block") == 0)
            o.block = number(*++argv, (uint64_t)1 << 30);
        else if (strcmp(*argv, "--depth") == 0)
            o.depth = (uint32_t)number(*++argv, DEPTH_MAX);
        else if (strcmp(*argv, "--repeat") == 0)
            o.repeat = (uint32_t)number(*++argv, 1000000);
        else
            usage();
    }
    if (!o.path)
        usage();
    if (!o.buffered && o.block % ALIGN)
        die("a direct read needs a --block that is a multiple of 4096", 0);
    return o;
}

int main(int argc, char **argv)
{
    (void)argc;
    struct options o = parse(argv + 1);
    struct stat    st;
    int            fd = open(o.path, O_RDONLY | O_CLOEXEC | (o.buffered ? 0 : O_DIRECT));
    if (fd < 0)
        die(o.path, errno);
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size == 0)
        die("not a regular file with something in it", 0);
    measure(&o, fd, (uint64_t)st.st_size);
    close(fd);
    return 0;
}
