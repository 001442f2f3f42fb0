/* SPDX-License-Identifier: Apache-2.0 */
#include "measure.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "options.h"

uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

double seconds_now(void)
{
    return (double)now_ns() / 1e9;
}

double cpu_seconds(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6;
}

/* ---- memory ---- */

/* "Name:  1234 kB" of a file in /proc/self, in bytes. */
static uint64_t proc_field(const char *path, const char *name)
{
    char     line[256];
    uint64_t value = UINT64_MAX;
    FILE    *file = fopen(path, "re");

    while (file && value == UINT64_MAX && fgets(line, sizeof line, file))
        if (strncmp(line, name, strlen(name)) == 0)
            value = strtoull(line + strlen(name), NULL, 10) * 1024;
    if (file)
        fclose(file);
    if (value == UINT64_MAX)
        die("%s has no %s", path, name);
    return value;
}

uint64_t rss_bytes(void)
{
    return proc_field("/proc/self/smaps_rollup", "Rss:");
}

uint64_t rss_bytes_fast(void)
{
    unsigned long long pages = 0;
    FILE              *file = fopen("/proc/self/statm", "re");
    if (!file || fscanf(file, "%*u %llu", &pages) != 1)
        die("/proc/self/statm cannot be read");
    fclose(file);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t rss_peak_bytes(void)
{
    return proc_field("/proc/self/status", "VmHWM:");
}

void rss_peak_reset(void)
{
    int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "5", 1) != 1)
        die("/proc/self/clear_refs: %s", strerror(errno));
    close(fd);
}

uint64_t heap_bytes(void)
{
    struct mallinfo2 heap = mallinfo2();
    return heap.uordblks + heap.hblkhd;
}

/* ---- time ---- */

void nap_us(uint32_t us)
{
    nanosleep(&(struct timespec){ .tv_sec = us / 1000000, .tv_nsec = (long)(us % 1000000) * 1000 }, NULL);
}

void wait_until_ns(uint64_t ns)
{
    struct timespec at = { .tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u) };
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR) {
    }
}

uint64_t bucket_take(struct bucket *b, uint64_t bytes)
{
    static const double burst_ns = 50e6;
    double              now = (double)now_ns();

    if (b->bytes_per_s == 0)
        return 0;
    if (b->paid_ns < now - burst_ns)
        b->paid_ns = now - burst_ns;
    double begin = b->paid_ns;
    b->paid_ns += (double)bytes * 1e9 / (double)b->bytes_per_s;
    return (uint64_t)begin;
}

/* ---- files, turns ---- */

void drop_cached(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        die("%s: %s", path, strerror(errno));
    fdatasync(fd); /* dirty pages stay */
    int rc = posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    if (rc)
        die("posix_fadvise %s: %s", path, strerror(rc));
    close(fd);
}

bool next_turn(struct turns *t)
{
    char line[256];
    if (t->done == t->repeat || (t->on_line && !fgets(line, sizeof line, stdin)))
        return false;
    t->done++;
    return true;
}
