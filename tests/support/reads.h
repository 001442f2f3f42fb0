/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk that does as it is told: a read engine around a real one that keeps reads back. A read that is kept has not
 * been started as far as the kernel goes; its memory may be written at any time until it comes back, and is, at the
 * last moment, when the test says so. One for the process.
 *
 * What comes back broken is for the points of base/fault.h (READ, READ_SHORT, CORRUPT).
 */
#ifndef TESTS_SUPPORT_READS_H
#define TESTS_SUPPORT_READS_H

#include <stddef.h>

#include "place/place.h"

/* The local place, reading through `engine` with the test between. For sgi__runtime_open_with(). */
const struct sgi__place_ops *test_reads_place(const struct sgi__io_engine *engine);
/* That engine itself, for a reader without a runtime. */
const struct sgi__io_engine *test_reads_engine(const struct sgi__io_engine *engine);

/* How a read that is kept ends. */
enum test_reads_end {
    TEST_READS_REAL,   /* it is started now, and ends as it would have */
    TEST_READS_PATTERN /* its memory is filled with TEST_READS_BYTE, and it ends in EIO */
};

enum { TEST_READS_BYTE = 0xee };

/* From the `nth` read on (1 is the next), `count` of them are kept until they are let go. Canceled, they come back as
 * such, untouched; `deaf` ones do not notice: they are what a hung disk is. */
void     test_reads_hold(uint64_t nth, uint64_t count, bool deaf);
void     test_reads_let_go(enum test_reads_end how); /* all that are kept, and those to come are not */
uint32_t test_reads_held(void);
void     test_reads_wait_held(uint32_t count); /* at least so many */
/* Whether a read that is kept would write into that memory. */
bool test_reads_held_over(const void *memory, size_t bytes);

/* Every read from now on is put off until so many others have come back, or none else is left. 0: no more. */
void test_reads_put_off(uint32_t others);

uint64_t test_reads_seen(void); /* since the last _clear */
void     test_reads_clear(void);

#endif
