/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fake driver's own functions, for tests. They are found by dlsym() in the library that is loaded already:
 *
 *     void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
 *     fakecuda_hold = dlsym(library, "fakecuda_hold");       NULL: this driver is a real one
 *
 * None of them counts as a call of the driver, waits for a fault, or needs a context. Any thread may call them.
 */
#ifndef FAKECUDA_H
#define FAKECUDA_H

#include "../../lib/device/cuda_abi.h"

/* What the process holds. All zero after the last release: what the fake asks of a process that ends. */
struct fakecuda_ledger {
    uint64_t contexts, retains; /* contexts that are alive; references to primary ones */
    uint64_t streams, events, modules;
    uint64_t handles, handle_bytes; /* by cuMemCreate or import, not yet released */
    uint64_t mappings, mapped_bytes;
    uint64_t reservations, reserved_bytes;
    uint64_t allocations, allocated_bytes; /* by cuMemAlloc */
    uint64_t pins, pinned_bytes;           /* by cuMemHostRegister */
    uint64_t host_allocations, host_bytes; /* by cuMemHostAlloc */

    uint64_t queued;     /* handed to a stream, not carried out yet */
    uint64_t unobserved; /* carried out or not: nobody has waited for it, so its memory must stay */
    uint64_t violations;
    uint64_t sticky; /* the error that every call ends with now, or 0 */
};

/* X(result, name, parameters) */
#define FAKECUDA_CONTROL(X)                                                                                      \
    X(void, fakecuda_ledger, (struct fakecuda_ledger * ledger))                                                  \
    /* Calls of a function so far, by its exported name, or "@any"; "@copy", "@set", "@kernel": of streams */    \
    X(uint64_t, fakecuda_calls, (const char *name))                                                              \
    X(uint64_t, fakecuda_used, (int device)) /* bytes of the device that all processes hold */                   \
    /* Arms a line of a fault plan (README.md), counted from now. 0, or -1 and a sentence on stderr. */          \
    X(int, fakecuda_fault, (const char *line))                                                                   \
    X(void, fakecuda_faults_clear, (void))                                                                       \
    /* Streams carry out nothing until they are let go; `step` lets them carry out so many of what is queued. */ \
    X(void, fakecuda_hold, (void))                                                                               \
    X(void, fakecuda_go, (void))                                                                                 \
    X(void, fakecuda_step, (unsigned int count))                                                                 \
    X(void, fakecuda_stream_hold, (cu_stream stream, int hold)) /* one stream; NULL: of the current context */   \
    X(uint64_t, fakecuda_stream_queued, (cu_stream stream))                                                      \
    X(void, fakecuda_idle, (void)) /* waits, without observing, until all that may be carried out is */          \
    X(void, fakecuda_pace, (unsigned int delay_us, unsigned int jitter_us, uint64_t seed))                       \
    /* What is in device memory now, past streams and access: 0, or -1 where nothing is mapped. */               \
    X(int, fakecuda_peek, (cu_ptr at, void *to, size_t bytes))                                                   \
    /* How many violations there were; the text of the last one. `forgive` makes it none. */                     \
    X(uint64_t, fakecuda_violations, (char *text, size_t room))                                                  \
    X(void, fakecuda_forgive, (void))                                                                            \
    X(void, fakecuda_strict, (int on))   /* from now on a violation does, or does not, end the process */        \
    X(void, fakecuda_leaks, (int count)) /* whether what is held at the end of the process is a violation */

#endif
