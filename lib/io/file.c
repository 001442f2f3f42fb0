/* SPDX-License-Identifier: Apache-2.0 */
/* Source files opened for weights. Any thread; a sgi__io_file is constant between open and close. */
#include "io/io.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/error.h"
#include "io/regular.h"

/* What every file system that knows direct reads can do, asked when statx does not say. */
enum { ALIGN_PORTABLE = 4096, ALIGN_MIN = 512, ALIGN_MAX = 1 << 20 };

/* ------------------------------------------------------------ direct reads */

/* The alignment the file system states: 0 when it says nothing, -1 when it says that this file has no direct reads. */
static int64_t stated_align(int fd)
{
#ifdef STATX_DIOALIGN
    struct statx stx;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) != 0 || !(stx.stx_mask & STATX_DIOALIGN))
        return 0;
    uint32_t align = stx.stx_dio_mem_align > stx.stx_dio_offset_align ? stx.stx_dio_mem_align
                                                                      : stx.stx_dio_offset_align;
    if (stx.stx_dio_offset_align == 0 || align > ALIGN_MAX || (align & (align - 1)))
        return -1;
    return align < ALIGN_MIN ? ALIGN_MIN : align;
#else
    (void)fd;
    return 0;
#endif
}

/* One real aligned read. Some file systems take the flag at open and refuse every read. */
static bool reads_directly(int fd, uint64_t file_bytes)
{
    void *block = mmap(NULL, ALIGN_PORTABLE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED)
        return false;
    ssize_t wanted = file_bytes < ALIGN_PORTABLE ? (ssize_t)file_bytes : ALIGN_PORTABLE;
    ssize_t got;
    do
        got = pread(fd, block, ALIGN_PORTABLE, 0);
    while (got < 0 && errno == EINTR);
    munmap(block, ALIGN_PORTABLE);
    return got == wanted;
}

/* A descriptor of its own: toggling O_DIRECT on a shared one would race with reads in flight. */
static sgi_status open_direct(const char *path, struct sgi__io_file *file, sgi_error *err)
{
    /* O_NONBLOCK for the same reason as in regular.c; a file system that takes O_DIRECT has non-blocking reads, or
     * ignores it. */
    int fd;
    do
        fd = open(path, O_RDONLY | O_DIRECT | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        file->direct_refused = errno == EINVAL ? "the file system does not take O_DIRECT"
                                               : "opening with O_DIRECT failed";
        return SGI_OK;
    }

    struct stat st;
    if (fstat(fd, &st) != 0) {
        sgi_status status = sgi__io_path_error(path, errno, "fstat", err);
        close(fd);
        return status;
    }
    if ((uint64_t)st.st_ino != file->id.inode || (uint64_t)st.st_dev != file->id.device) {
        close(fd);
        return sgi__error(err, SGI_E_CHANGED, "%s was replaced while it was being opened", sgi__io_path_shown(path));
    }
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) != 0) {
        close(fd);
        file->direct_refused = "fcntl on the O_DIRECT descriptor failed";
        return SGI_OK;
    }

    int64_t align = stated_align(fd);
    if (align < 0)
        file->direct_refused = "the file system states that this file has no direct reads";
    else if (align == 0 && !reads_directly(fd, file->id.bytes))
        file->direct_refused = "a direct read that was tried did not work";
    if (file->direct_refused) {
        close(fd);
        return SGI_OK;
    }
    file->direct_fd = fd;
    file->direct_align = align ? (uint32_t)align : ALIGN_PORTABLE;
    return SGI_OK;
}

/* ---------------------------------------------------------- open and check */

sgi_status sgi__io_file_open(const char *path, const struct sgi__file_id *expected, bool want_direct,
                             struct sgi__io_file *file_out, sgi_error *err)
{
    struct sgi__io_file file = { .direct_fd = -1, .direct_align = ALIGN_PORTABLE };
    struct stat         st;
    sgi_status          status = sgi__io_regular_open(path, &file.cached_fd, &st, err);
    if (status != SGI_OK)
        return status;

    file.id = sgi__io_id(&st);
    if (expected)
        status = sgi__io_id_compare(path, expected, &file.id, err);
    if (status == SGI_OK && want_direct)
        status = open_direct(path, &file, err);
    else if (!want_direct)
        file.direct_refused = "not asked for";
    if (status != SGI_OK) {
        close(file.cached_fd);
        return status;
    }
    *file_out = file;
    return SGI_OK;
}

bool sgi__io_path_is(const char *path, const struct sgi__file_id *id)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return false;
    struct sgi__file_id there = sgi__io_id(&st);
    return there.device == id->device && there.inode == id->inode;
}

sgi_status sgi__io_path_check(const char *path, const struct sgi__file_id *expected, sgi_error *err)
{
    struct stat st;
    sgi_status  status = sgi__io_regular_stat(path, &st, err);
    if (status != SGI_OK)
        return status;
    struct sgi__file_id found = sgi__io_id(&st);
    return sgi__io_id_compare(path, expected, &found, err);
}

sgi_status sgi__io_file_check(const struct sgi__io_file *file, const char *path, const struct sgi__file_id *expected,
                              sgi_error *err)
{
    /* The open file says what was read, the path whether the next load would read the same. */
    struct stat st;
    if (fstat(file->cached_fd, &st) != 0)
        return sgi__io_path_error(path, errno, "fstat", err);
    struct sgi__file_id found = sgi__io_id(&st);
    sgi_status          status = sgi__io_id_compare(path, expected, &found, err);
    return status == SGI_OK ? sgi__io_path_check(path, expected, err) : status;
}

void sgi__io_file_close(struct sgi__io_file *file)
{
    if (file->direct_fd >= 0)
        close(file->direct_fd);
    if (file->cached_fd >= 0)
        close(file->cached_fd);
    file->direct_fd = file->cached_fd = -1;
}

/* ------------------------------------------------------- what is cached now */

/* cachestat(2), Linux 6.5; neither the number nor the structs are in the headers of Debian 12. */
enum { SYS_CACHESTAT = 451 };
struct cachestat_range {
    uint64_t offset, bytes;
};
struct cachestat_pages {
    uint64_t cached, dirty, writeback, evicted, recently_evicted;
};

/* A cold sample makes the kernel read ahead around it: few of them, and never twice at the same place, or the second
 * look finds what the first one brought in. */
enum { SAMPLES = 8 };

static uint32_t sample_cached(int fd, uint64_t first_page, uint64_t pages, uint64_t page_bytes)
{
    uint64_t random[SAMPLES];
    if (getrandom(random, sizeof random, GRND_NONBLOCK) != (ssize_t)sizeof random)
        return 0;
    uint32_t hits = 0;
    for (size_t i = 0; i < SAMPLES; i++) {
        uint8_t      byte;
        struct iovec one = { .iov_base = &byte, .iov_len = 1 };
        off_t        at = (off_t)((first_page + random[i] % pages) * page_bytes);
        if (preadv2(fd, &one, 1, at, RWF_NOWAIT) == 1)
            hits++;
    }
    return hits * 1000 / SAMPLES;
}

uint32_t sgi__io_file_cached(const struct sgi__io_file *file, uint64_t offset, uint64_t bytes)
{
    if (offset >= file->id.bytes || bytes == 0)
        return 0;
    if (bytes > file->id.bytes - offset)
        bytes = file->id.bytes - offset;
    uint64_t page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t first = offset / page_bytes;
    uint64_t pages = (offset + bytes - 1) / page_bytes - first + 1;

    struct cachestat_range range = { .offset = offset, .bytes = bytes };
    struct cachestat_pages found;
    if (syscall(SYS_CACHESTAT, file->cached_fd, &range, &found, 0) == 0)
        return found.cached >= pages ? 1000 : (uint32_t)(found.cached * 1000 / pages);
    /* ENOSYS on older kernels, EPERM for a file that is neither ours nor writable. mincore would answer there too, and
     * call every page resident. */
    return sample_cached(file->cached_fd, first, pages, page_bytes);
}

void sgi__io_file_uncache(const struct sgi__io_file *file, uint64_t offset, uint64_t bytes)
{
    posix_fadvise(file->cached_fd, (off_t)offset, (off_t)bytes, POSIX_FADV_DONTNEED);
}
