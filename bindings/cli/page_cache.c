/* SPDX-License-Identifier: Apache-2.0 */
#include "page_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "command.h"

/* cachestat(2), Linux 6.5; neither the number nor the structs are in the headers of Debian 12. mincore(2) is no help:
 * it calls every page resident where the file is neither ours nor writable to us. */
enum { SYS_CACHESTAT = 451 };
struct cachestat_range {
    uint64_t offset, bytes;
};
struct cachestat_pages {
    uint64_t cached, dirty, writeback, evicted, recently_evicted;
};

/* Pages that somebody touches while we drop them stay; the second look is at what is left of those. */
enum { ATTEMPTS = 3 };

static int open_regular(const char *path, uint64_t *bytes_out)
{
    /* O_NONBLOCK: should a FIFO stand there by now, it is told apart and not waited for. */
    int         fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    struct stat st;
    if (fd < 0) {
        failure_sys(path, errno, "open");
        return -1;
    }
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        failure(path, "is not a regular file any more");
        close(fd);
        return -1;
    }
    *bytes_out = (uint64_t)st.st_size;
    return fd;
}

int page_cache_drop(const char *path, struct cached *cached)
{
    uint64_t file_bytes;
    int      fd = open_regular(path, &file_bytes);
    if (fd < 0)
        return EXIT_FAILED;

    struct cachestat_range all = { 0, 0 }; /* 0 bytes: to the end */
    struct cachestat_pages found = { 0 };
    bool                   known = true;
    int                    code = EXIT_GOOD;
    for (int i = 0; i < ATTEMPTS; i++) {
        /* Dirty pages are not dropped. A file system without writing needs none written. */
        if (fdatasync(fd) != 0 && errno != EINVAL && errno != EROFS) {
            code = failure_sys(path, errno, "fdatasync");
            break;
        }
        int e = posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        if (e != 0) {
            code = failure_sys(path, e, "posix_fadvise");
            break;
        }
        known = syscall(SYS_CACHESTAT, fd, &all, &found, 0) == 0;
        if (!known || found.cached == 0)
            break;
    }
    close(fd);
    cached->known = cached->known && known;
    cached->file_bytes += file_bytes;
    cached->bytes += found.cached * (uint64_t)sysconf(_SC_PAGESIZE);
    return code;
}
