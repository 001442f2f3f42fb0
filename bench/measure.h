/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel says about this process and its files, and waiting for a turn. No code of the library. */
#ifndef SGI_BENCH_MEASURE_H
#define SGI_BENCH_MEASURE_H

#include <stdbool.h>
#include <stdint.h>

#define GIB (1024.0 * 1024.0 * 1024.0)

uint64_t now_ns(void); /* CLOCK_MONOTONIC */
double   seconds_now(void);
double   cpu_seconds(void); /* of this process, the kernel's threads for its reads too */

uint64_t rss_bytes(void);      /* exact: walks the page tables, milliseconds a GiB of small pages */
uint64_t rss_bytes_fast(void); /* to within some pages a thread */
uint64_t rss_peak_bytes(void); /* since the last rss_peak_reset() */
void     rss_peak_reset(void);
uint64_t heap_bytes(void); /* given out by malloc */

void nap_us(uint32_t us);
/* So that the next read of it comes from the disk; dirty pages are written first. */
void drop_cached(const char *path);

/* Repetitions: each waits for a line of input where that was asked for. */
struct turns {
    uint64_t repeat, done;
    bool     on_line;
};
bool next_turn(struct turns *t); /* false: that was the last */

/* The limit of --rate for reads that are not the library's, by the same rule: see read_bytes_per_s_max. One thread at
 * a time. */
struct bucket {
    uint64_t bytes_per_s; /* 0: no limit */
    double   paid_ns;
};
/* From when on a read of so many bytes may begin, for which it is paid. */
uint64_t bucket_take(struct bucket *b, uint64_t bytes);
void     wait_until_ns(uint64_t ns);

#endif
