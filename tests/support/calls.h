/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The system under the library: each call of the list below goes through here on its way to libc, where a test can make
 * it fail or hold it up. The linker redirects them (--wrap, see wrapped_calls in tests/CMakeLists.txt), so nothing
 * of it is in lib/, and calls of the tests themselves pass here too: plan only around calls of the library.
 *
 * Named points (base/fault.h) are for what no system call stands for; these are for all that one does.
 */
#ifndef TESTS_SUPPORT_CALLS_H
#define TESTS_SUPPORT_CALLS_H

#include <stdbool.h>
#include <stdint.h>

enum test_call {
    CALL_FCNTL,
    CALL_FDOPENDIR,
    CALL_FLOCK,
    CALL_FOPEN,
    CALL_FSTAT,
    CALL_FSTATAT,
    CALL_FSYNC,
    CALL_FTRUNCATE,
    CALL_GETRANDOM,
    CALL_LINKAT,
    CALL_MADVISE,
    CALL_MMAP,
    CALL_OPEN,
    CALL_OPENAT,
    CALL_OPENDIR,
    CALL_OPEN_UNNAMED, /* openat with O_TMPFILE, which passes CALL_OPENAT too */
    CALL_PREAD,
    CALL_PWRITE,
    CALL_READDIR,
    CALL_READLINK,
    CALL_REALPATH,
    CALL_RENAMEAT,
    CALL_STAT,
    CALL_STATX,
    CALL_SYSCALL, /* cachestat */
    CALL_URING_PROBE,
    CALL_URING_ENTER,
    CALL_ZSTD_ENCODER,
    CALL_ZSTD_DECODER,
    CALL_COUNT
};

/* From the `nth` passing on (1 is the next) it fails `times` times with `os_errno`; nth 0 takes the plan off. */
void test_call_fail(enum test_call call, uint64_t nth, uint64_t times, int os_errno);

/* The `nth` passing from now on is the last thing that the process does: SIGKILL. */
void test_call_kill(enum test_call call, uint64_t nth);

/* The `nth` passing from now on waits until it is let go, and then does what it was called for. One at a time. */
void test_call_hold(enum test_call call, uint64_t nth);
void test_call_wait_held(void);
bool test_call_is_held(void);
void test_call_let_go(void);

uint64_t test_call_passed(enum test_call call); /* since the last plan for it */
void     test_calls_clear(void);                /* all plans off, and nobody waits */

/* Bytes that were mapped and not unmapped. */
int64_t test_calls_mapped(void);

#endif
