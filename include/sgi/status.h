/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file status.h  Every status code and every step of a cold start, once.
 *
 * A status is 0 or negative. Codes are grouped by what is lost, so a caller can decide what to do
 * without knowing each one:
 *
 *     -1 ..  -99   this request only: the call had no effect, everything else is as before
 *   -100 .. -199   this model: it cannot be brought up (now); other models are not affected
 *   -200 .. -299   a device: what ran on it is gone
 *   -300 .. -399   the runtime: memory or threads are short, or it is closing
 *
 * The lists are macros so that names, texts and the tables of the language bindings come from one place.
 */
#ifndef SGI_STATUS_H
#define SGI_STATUS_H

#include <stdint.h>

/** 0 (SGI_OK) or one of the negative codes below. */
typedef int32_t sgi_status;

/* X(name, code, text) */
#define SGI_STATUS_LIST(X)                                                                        \
    X(SGI_OK, 0, "success")                                                                       \
    /* the request */                                                                             \
    X(SGI_E_INVALID, -1, "an argument is not valid")                                              \
    X(SGI_E_STALE, -2, "the id names nothing that exists (released, ended, or never given out)")  \
    X(SGI_E_UNSUPPORTED, -3, "not supported here")                                                \
    X(SGI_E_NOT_FOUND, -4, "no such thing")                                                       \
    X(SGI_E_EXISTS, -5, "the name is taken")                                                      \
    X(SGI_E_DEADLOCK, -6, "a blocking call from a library thread would wait for itself")          \
    X(SGI_E_WOULD_BLOCK, -7, "nothing to give right now")                                         \
    X(SGI_E_BUSY, -8, "in use, or a queue is at its maximum")                                     \
    X(SGI_E_TIMEOUT, -9, "the deadline passed first")                                             \
    X(SGI_E_CANCELED, -10, "canceled")                                                            \
    X(SGI_E_END, -11, "no more pieces: the call has finished")                                    \
    /* the model */                                                                               \
    X(SGI_E_IO, -100, "reading the model's files failed")                                         \
    X(SGI_E_FORMAT, -101, "the file is not a valid model file")                                   \
    X(SGI_E_CHANGED, -102, "the model's files changed after it was registered")                   \
    X(SGI_E_CHECK, -103, "bytes do not match their check value")                                  \
    X(SGI_E_NO_ROOM, -104, "the model does not fit on any device, even an empty one")             \
    X(SGI_E_ENGINE, -105, "an engine callback failed")                                            \
    X(SGI_E_WEDGED, -106, "an engine callback has not come back")                                 \
    X(SGI_E_DENIED, -107, "the path is outside the allowed roots, or access was refused")         \
    /* the device */                                                                              \
    X(SGI_E_DEVICE, -200, "a device operation failed")                                            \
    X(SGI_E_DEVICE_LOST, -201, "the device, or the process that drove it, is gone")               \
    X(SGI_E_DEVICE_MEMORY, -202, "device memory could not be had")                                \
    /* the runtime */                                                                             \
    X(SGI_E_NO_MEMORY, -300, "out of host memory")                                                \
    X(SGI_E_CLOSED, -301, "the runtime is closing")                                               \
    X(SGI_E_SYSTEM, -302, "the operating system refused a thread, a descriptor or a mapping")

#define SGI_STATUS_ENUM(name, code, text) name = (code),
enum { SGI_STATUS_LIST(SGI_STATUS_ENUM) SGI_STATUS_END_ = 1 };
#undef SGI_STATUS_ENUM

/* The steps of a cold start, in the order they usually end. They name where a failure happened
 * (sgi_error.step) and what time was spent on (sgi_timing.phases). X(name, number, text) */
#define SGI_STEP_LIST(X)                                                                          \
    X(SGI_STEP_NONE, 0, "none")                                                                   \
    X(SGI_STEP_QUEUE, 1, "queue")     /* waiting for admission, room or a free instance */        \
    X(SGI_STEP_SOURCE, 2, "source")   /* comparing the files with what was registered */          \
    X(SGI_STEP_CONTEXT, 3, "context") /* opening the device context */                            \
    X(SGI_STEP_MEMORY, 4, "memory")   /* reserving, touching, pinning image memory */             \
    X(SGI_STEP_OPEN, 5, "open")       /* opening files, setting up the reads */                   \
    X(SGI_STEP_READ, 6, "read")       /* first read submitted to last byte landed */              \
    X(SGI_STEP_VERIFY, 7, "verify")   /* hashing */                                               \
    X(SGI_STEP_DECODE, 8, "decode")   /* decompression */                                         \
    X(SGI_STEP_COPY, 9, "copy")       /* copies in host memory, or from host to device */         \
    X(SGI_STEP_PREFIX, 10, "prefix")  /* the engine's prefix_fill */                              \
    X(SGI_STEP_PREPARE, 11, "prepare")/* the engine's prepare */                                  \
    X(SGI_STEP_START, 12, "start")    /* the engine's start */                                    \
    X(SGI_STEP_CALL, 13, "call")      /* the engine's call */                                     \
    X(SGI_STEP_STOP, 14, "stop")      /* the engine's stop, and giving memory back */

#define SGI_STEP_ENUM(name, number, text) name = (number),
enum { SGI_STEP_LIST(SGI_STEP_ENUM) SGI_STEP_COUNT = 15 };
#undef SGI_STEP_ENUM

#endif
