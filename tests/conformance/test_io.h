/* SPDX-License-Identifier: Apache-2.0 */
/* What the suites over both engines share: a file with known bytes, the engine of a test, small helpers. Each test
 * program includes it once. */
#ifndef SGI_TEST_IO_H
#define SGI_TEST_IO_H

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/fault.h"
#include "io/io.h"

enum { PAGE = 4096, DEPTH_MAX = SGI__IO_DEPTH_MAX };
#define MIB        ((size_t)1 << 20)
#define FILE_BYTES (8 * MIB + 1234) /* ends inside a block of every size */

/* ------------------------------------------------------------------ fixture */

/* One engine, as the initial state of a test. */
struct subject {
    const char *name;
    const struct sgi__io_engine *(*engine)(void);
};

static inline const struct sgi__io_engine *threads_engine(void)
{
    return &sgi__io_threads;
}

static const struct subject uring = { "uring", sgi__io_uring };
static const struct subject threads = { "threads", threads_engine };

static char                path[4096];
static struct sgi__io_file file;

/* The reference: what stands at an offset of the file. */
static inline uint8_t expected_at(uint64_t offset)
{
    uint64_t x = (offset / 8 + 1) * UINT64_C(0x9e3779b97f4a7c15);
    x ^= x >> 29;
    return (uint8_t)(x >> (8 * (offset % 8)));
}

static inline void assert_bytes(const void *data, uint64_t offset, uint64_t bytes)
{
    const uint8_t *p = data;
    for (uint64_t i = 0; i < bytes; i++) {
        if (p[i] != expected_at(offset + i))
            fail_msg("byte %llu of the file is wrong in memory", (unsigned long long)(offset + i));
    }
}

static inline void assert_filled(const void *data, uint8_t value, size_t bytes)
{
    const uint8_t *p = data;
    for (size_t i = 0; i < bytes; i++) {
        if (p[i] != value)
            fail_msg("byte %zu is %02x, not %02x", i, p[i], value);
    }
}

static inline void *map_pages(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(p, MAP_FAILED);
    return p;
}

static inline int make_file(void **state)
{
    (void)state;
    const char *folder = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/sgi_io_XXXXXX", folder ? folder : "/tmp");
    int fd = mkstemp(path);
    if (fd < 0)
        return -1;
    uint8_t *data = malloc(FILE_BYTES);
    for (uint64_t i = 0; data && i < FILE_BYTES; i++)
        data[i] = expected_at(i);
    bool written = data && write(fd, data, FILE_BYTES) == (ssize_t)FILE_BYTES && fsync(fd) == 0;
    free(data);
    close(fd);
    return written ? sgi__io_file_open(path, NULL, true, &file, NULL) : -1;
}

static inline int remove_file(void **state)
{
    (void)state;
    sgi__io_file_close(&file);
    return unlink(path);
}

/* The engine of this test, or a skip by name. */
static inline const struct sgi__io_engine *engine_of(void **state)
{
    const struct subject        *subject = *state;
    const struct sgi__io_engine *engine = subject->engine();
    sgi_error                    err = { .struct_size = sizeof err };
    if (!engine) {
        print_message("skipped: this build has no %s engine\n", subject->name);
        skip();
    }
    if (engine->probe(&err) == SGI_E_UNSUPPORTED) {
        print_message("skipped: %s\n", err.message);
        skip();
    }
    return engine;
}

static inline void need_direct(void)
{
    if (file.direct_fd < 0) {
        print_message("skipped: no direct reads on the file system of %s: %s\n", path, file.direct_refused);
        skip();
    }
}

static inline struct sgi__io_queue *open_queue(const struct sgi__io_engine *engine, uint32_t depth)
{
    struct sgi__io_queue *queue = NULL;
    sgi_error             err = { .struct_size = sizeof err };
    if (engine->open(depth, &queue, &err) != SGI_OK)
        fail_msg("open: %s", err.message);
    return queue;
}

static inline struct sgi__io_request *reap_one(const struct sgi__io_engine *engine, struct sgi__io_queue *queue)
{
    struct sgi__io_request *done = NULL;
    assert_int_equal(engine->reap(queue, &done, 1), 1);
    return done;
}

static inline int64_t read_one(const struct sgi__io_engine *engine, struct sgi__io_queue *queue,
                               struct sgi__io_request request)
{
    struct sgi__io_request *p = &request;
    engine->submit(queue, &p, 1);
    assert_ptr_equal(reap_one(engine, queue), p);
    return request.result;
}

static inline struct sgi__io_request a_request(int fd, uint64_t offset, void *dst, uint64_t bytes)
{
    return (struct sgi__io_request){ .fd = fd, .offset = offset, .dst = dst, .bytes = bytes };
}

static inline uint32_t open_descriptors(void)
{
    uint32_t count = 0;
    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

/* `test` over one engine, or over both; `teardown` may be NULL. */
#define TEST_NAME(subject, test) #subject ": " #test
#define OVER(subject, test, teardown)                                      \
    {                                                                      \
        TEST_NAME(subject, test), test, NULL, teardown, (void *)&(subject) \
    }
#define BOTH(test, teardown) OVER(threads, test, teardown), OVER(uring, test, teardown)

#endif
