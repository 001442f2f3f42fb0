/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When llama.cpp last began and ended what both sides ask of it. The calls are wrapped at link time (CMakeLists.txt):
 * those that libsgi's engine makes, on a thread of the library, are timed by the same lines as our own.
 */
#ifndef SGI_BENCH_LLAMA_MARKS_H
#define SGI_BENCH_LLAMA_MARKS_H

#include <stdint.h>

/* One thread at a time writes them: nobody starts two models at once here. */
struct llama_mark {
    double   begin, end; /* seconds_now(); 0: not called */
    uint64_t faults;     /* of the process meanwhile: pages touched for the first time */
};

struct llama_marks {
    struct llama_mark open, context, decode;
};

void               llama_marks_clear(void);
struct llama_marks llama_marks_read(void);

#endif
