/* SPDX-License-Identifier: Apache-2.0 */
#include "calls.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef SGI_HAVE_URING
#include <liburing.h>
#endif

#include "gate.h"

/* ---- plans ---- */

struct plan {
    atomic_uint_fast64_t passed, nth, times, held_at, killed_at;
    atomic_int           os_errno;
};

static struct plan  plans[CALL_COUNT];
static struct gate  holding;
static atomic_int   held; /* threads at the gate */
static atomic_llong mapped;

__attribute__((constructor)) static void set_up(void)
{
    gate_init(&holding);
}

/* An errno when the call is to fail. Waits here when it is to be held. */
static int passes(enum test_call call)
{
    struct plan *plan = &plans[call];
    uint64_t     now = atomic_fetch_add(&plan->passed, 1) + 1;
    uint64_t     nth = atomic_load(&plan->nth);

    if (now == atomic_load(&plan->killed_at))
        raise(SIGKILL);
    if (now == atomic_load(&plan->held_at)) {
        atomic_fetch_add(&held, 1);
        gate_pass(&holding);
        atomic_fetch_sub(&held, 1);
    }
    if (nth == 0 || now < nth || now - nth >= atomic_load(&plan->times))
        return 0;
    return atomic_load(&plan->os_errno);
}

static void plan_new(enum test_call call, uint64_t nth, uint64_t times, uint64_t held_at, int os_errno)
{
    struct plan *plan = &plans[call];
    atomic_store(&plan->nth, 0);
    atomic_store(&plan->held_at, 0);
    atomic_store(&plan->killed_at, 0);
    atomic_store(&plan->passed, 0);
    atomic_store(&plan->times, times);
    atomic_store(&plan->os_errno, os_errno);
    atomic_store(&plan->held_at, held_at);
    atomic_store(&plan->nth, nth);
}

void test_call_fail(enum test_call call, uint64_t nth, uint64_t times, int os_errno)
{
    plan_new(call, nth, times, 0, os_errno);
}

void test_call_kill(enum test_call call, uint64_t nth)
{
    plan_new(call, 0, 0, 0, 0);
    atomic_store(&plans[call].killed_at, nth);
}

void test_call_hold(enum test_call call, uint64_t nth)
{
    gate_close(&holding);
    plan_new(call, 0, 0, nth, 0);
}

static bool somebody_is_held(void *user)
{
    (void)user;
    return test_call_is_held();
}

void test_call_wait_held(void)
{
    test_wait_until(somebody_is_held, NULL, "nobody comes to the call that is held");
}

bool test_call_is_held(void)
{
    return atomic_load(&held) > 0;
}

void test_call_let_go(void)
{
    gate_open(&holding);
}

uint64_t test_call_passed(enum test_call call)
{
    return atomic_load(&plans[call].passed);
}

void test_calls_clear(void)
{
    for (int n = 0; n < CALL_COUNT; n++)
        plan_new((enum test_call)n, 0, 0, 0, 0);
    test_call_let_go();
}

int64_t test_calls_mapped(void)
{
    return atomic_load(&mapped);
}

/* ---- what stands in the place of libc ---- */

/* Declares what the linker calls `symbol` from now on, and the real one. */
#define WRAP(type, symbol, ...)                                                 \
    type __real_##symbol(__VA_ARGS__); /* NOLINT: the names are the linker's */ \
    type __wrap_##symbol(__VA_ARGS__); /* NOLINT */                             \
    type __wrap_##symbol(__VA_ARGS__)  /* NOLINT */

/* In one of these: fails as the real one would, or goes on to it. */
#define FAIL(call, failed)           \
    do {                             \
        int os_errno = passes(call); \
        if (os_errno) {              \
            errno = os_errno;        \
            return (failed);         \
        }                            \
    } while (0)

WRAP(int, fcntl64, int fd, int command, ...)
{
    va_list args;
    va_start(args, command);
    long argument = va_arg(args, long);
    va_end(args);
    FAIL(CALL_FCNTL, -1);
    return __real_fcntl64(fd, command, argument);
}

WRAP(DIR *, fdopendir, int fd)
{
    FAIL(CALL_FDOPENDIR, NULL);
    return __real_fdopendir(fd);
}

WRAP(FILE *, fopen64, const char *path, const char *mode)
{
    FAIL(CALL_FOPEN, NULL);
    return __real_fopen64(path, mode);
}

WRAP(int, fstat64, int fd, struct stat *st)
{
    FAIL(CALL_FSTAT, -1);
    return __real_fstat64(fd, st);
}

WRAP(int, flock, int fd, int operation)
{
    FAIL(CALL_FLOCK, -1);
    return __real_flock(fd, operation);
}

WRAP(int, fstatat64, int folder, const char *path, struct stat *st, int flags)
{
    FAIL(CALL_FSTATAT, -1);
    return __real_fstatat64(folder, path, st, flags);
}

WRAP(int, fsync, int fd)
{
    FAIL(CALL_FSYNC, -1);
    return __real_fsync(fd);
}

WRAP(int, linkat, int from_folder, const char *from, int to_folder, const char *to, int flags)
{
    FAIL(CALL_LINKAT, -1);
    return __real_linkat(from_folder, from, to_folder, to, flags);
}

WRAP(int, openat64, int folder, const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = va_arg(args, mode_t);
    va_end(args);
    if ((flags & O_TMPFILE) == O_TMPFILE)
        FAIL(CALL_OPEN_UNNAMED, -1);
    FAIL(CALL_OPENAT, -1);
    return __real_openat64(folder, path, flags, mode);
}

WRAP(ssize_t, pwrite64, int fd, const void *from, size_t bytes, off_t offset)
{
    FAIL(CALL_PWRITE, -1);
    return __real_pwrite64(fd, from, bytes, offset);
}

WRAP(int, renameat, int from_folder, const char *from, int to_folder, const char *to)
{
    FAIL(CALL_RENAMEAT, -1);
    return __real_renameat(from_folder, from, to_folder, to);
}

WRAP(int, ftruncate64, int fd, off_t bytes)
{
    FAIL(CALL_FTRUNCATE, -1);
    return __real_ftruncate64(fd, bytes);
}

WRAP(ssize_t, getrandom, void *buffer, size_t bytes, unsigned flags)
{
    FAIL(CALL_GETRANDOM, -1);
    return __real_getrandom(buffer, bytes, flags);
}

WRAP(int, madvise, void *at, size_t bytes, int advice)
{
    FAIL(CALL_MADVISE, -1);
    return __real_madvise(at, bytes, advice);
}

static long long whole_pages(size_t bytes)
{
    return (long long)((bytes + 4095) & ~(size_t)4095);
}

WRAP(void *, mmap64, void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    FAIL(CALL_MMAP, MAP_FAILED);
    void *mapping = __real_mmap64(at, bytes, protection, flags, fd, offset);
    if (mapping != MAP_FAILED && !(flags & MAP_FIXED)) /* fixed ones lie over what is counted already */
        atomic_fetch_add(&mapped, whole_pages(bytes));
    return mapping;
}

WRAP(int, munmap, void *at, size_t bytes)
{
    int rc = __real_munmap(at, bytes);
    if (rc == 0)
        atomic_fetch_sub(&mapped, whole_pages(bytes));
    return rc;
}

WRAP(int, open64, const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = va_arg(args, mode_t);
    va_end(args);
    FAIL(CALL_OPEN, -1);
    return __real_open64(path, flags, mode);
}

WRAP(DIR *, opendir, const char *path)
{
    FAIL(CALL_OPENDIR, NULL);
    return __real_opendir(path);
}

WRAP(ssize_t, pread64, int fd, void *buffer, size_t bytes, off_t offset)
{
    FAIL(CALL_PREAD, -1);
    return __real_pread64(fd, buffer, bytes, offset);
}

WRAP(struct dirent *, readdir64, DIR *folder)
{
    FAIL(CALL_READDIR, NULL);
    return __real_readdir64(folder);
}

WRAP(ssize_t, readlink, const char *path, char *buffer, size_t bytes)
{
    FAIL(CALL_READLINK, -1);
    return __real_readlink(path, buffer, bytes);
}

WRAP(char *, realpath, const char *path, char *resolved)
{
    FAIL(CALL_REALPATH, NULL);
    return __real_realpath(path, resolved);
}

WRAP(int, stat64, const char *path, struct stat *st)
{
    FAIL(CALL_STAT, -1);
    return __real_stat64(path, st);
}

WRAP(int, statx, int fd, const char *path, int flags, unsigned mask, struct statx *st)
{
    FAIL(CALL_STATX, -1);
    return __real_statx(fd, path, flags, mask, st);
}

WRAP(long, syscall, long number, ...)
{
    long    arguments[4]; /* cachestat has so many, and nothing else comes here */
    va_list args;
    va_start(args, number);
    for (int n = 0; n < 4; n++)
        arguments[n] = va_arg(args, long);
    va_end(args);
    FAIL(CALL_SYSCALL, -1);
    return __real_syscall(number, arguments[0], arguments[1], arguments[2], arguments[3]);
}

#ifdef SGI_HAVE_URING

WRAP(struct io_uring_probe *, io_uring_get_probe_ring, struct io_uring *ring)
{
    return passes(CALL_URING_PROBE) ? NULL : __real_io_uring_get_probe_ring(ring);
}

WRAP(int, io_uring_submit_and_wait, struct io_uring *ring, unsigned wait_for)
{
    int os_errno = passes(CALL_URING_ENTER);
    return os_errno ? -os_errno : __real_io_uring_submit_and_wait(ring, wait_for);
}

#endif

WRAP(void *, ZSTD_createCCtx, void)
{
    return passes(CALL_ZSTD_ENCODER) ? NULL : __real_ZSTD_createCCtx();
}

WRAP(void *, ZSTD_createDCtx, void)
{
    return passes(CALL_ZSTD_DECODER) ? NULL : __real_ZSTD_createDCtx();
}
