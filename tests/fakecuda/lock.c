/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lock, waiting, time, and what ThreadSanitizer is told.
 *
 * Two builds of this exist under ThreadSanitizer. The one that tests load is compiled without it, as the real driver
 * is: what it does to its own tables is not looked at, the copies it makes are, and order comes from fc_edge_in() and
 * fc_edge_out() alone. The other (FAKECUDA_CHECKED) is compiled with it, to show that the fake itself is right.
 */
#include <dlfcn.h>
#include <errno.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

static int word; /* 0: free, 1: held, 2: held and waited for */

static void futex_wait(int *at, int value)
{
    syscall(SYS_futex, at, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void futex_wake(int *at, int count)
{
    syscall(SYS_futex, at, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

void fc_lock(void)
{
    int expected = 0;
    if (__atomic_compare_exchange_n(&word, &expected, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        return;
    while (__atomic_exchange_n(&word, 2, __ATOMIC_ACQUIRE) != 0)
        futex_wait(&word, 2);
}

void fc_unlock(void)
{
    if (__atomic_exchange_n(&word, 0, __ATOMIC_RELEASE) == 2)
        futex_wake(&word, 1);
}

void fc_wait(struct fc_cond *cond)
{
    int turn = __atomic_load_n(&cond->turn, __ATOMIC_RELAXED);
    cond->waiting++;
    fc_unlock();
    futex_wait(&cond->turn, turn);
    fc_lock();
    cond->waiting--;
}

void fc_broadcast(struct fc_cond *cond)
{
    __atomic_fetch_add(&cond->turn, 1, __ATOMIC_RELAXED);
    if (cond->waiting > 0)
        futex_wake(&cond->turn, INT32_MAX);
}

uint64_t fc_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void fc_sleep_until(uint64_t ns)
{
    struct timespec until = { (time_t)(ns / 1000000000u), (long)(ns % 1000000000u) };
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR) {
    }
}

/* splitmix64 */
uint64_t fc_random(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* ------------------------------------------------------------------------------------------------------- sanitizer */

static struct {
    void (*acquire)(void *token), (*release)(void *token);
    void (*ignore_reads)(const char *file, int line), (*ignore_writes)(const char *file, int line);
    void (*see_reads)(const char *file, int line), (*see_writes)(const char *file, int line);
} tsan;

static void find(void *to, const char *name)
{
    void *found = dlsym(RTLD_DEFAULT, name);
    memcpy(to, &found, sizeof found);
}

/* Of the program's sanitizer, whatever this was compiled with; before anybody can call. */
__attribute__((constructor)) static void find_sanitizer(void)
{
    find(&tsan.acquire, "__tsan_acquire");
    find(&tsan.release, "__tsan_release");
#ifndef FAKECUDA_CHECKED
    find(&tsan.ignore_reads, "AnnotateIgnoreReadsBegin");
    find(&tsan.ignore_writes, "AnnotateIgnoreWritesBegin");
    find(&tsan.see_reads, "AnnotateIgnoreReadsEnd");
    find(&tsan.see_writes, "AnnotateIgnoreWritesEnd");
#endif
}

void fc_edge_in(void *token)
{
    if (tsan.release)
        tsan.release(token);
}

void fc_edge_out(void *token)
{
    if (tsan.acquire)
        tsan.acquire(token);
}

void fc_own_begin(void)
{
    if (tsan.ignore_reads && tsan.ignore_writes && tsan.see_reads && tsan.see_writes) {
        tsan.ignore_reads(__FILE__, __LINE__);
        tsan.ignore_writes(__FILE__, __LINE__);
    }
}

void fc_own_end(void)
{
    if (tsan.ignore_reads && tsan.ignore_writes && tsan.see_reads && tsan.see_writes) {
        tsan.see_writes(__FILE__, __LINE__);
        tsan.see_reads(__FILE__, __LINE__);
    }
}
