/* SPDX-License-Identifier: Apache-2.0 */
#include "mapped.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "options.h"

void refuse_more_than_fits(uint64_t bytes, const char *what)
{
    struct sysinfo machine;
    if (sysinfo(&machine) != 0)
        return;
    uint64_t most = (uint64_t)machine.totalram * machine.mem_unit / 4 * 3;
    if (bytes > most)
        die("%s would take %" PRIu64 " MiB of memory, and three quarters of this machine's are %" PRIu64 " MiB", what,
            bytes >> 20, most >> 20);
}

uint8_t *map_anonymous(uint64_t bytes)
{
    uint8_t *p = mmap(NULL, bytes + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
                      0);
    if (p == MAP_FAILED)
        die("mmap: %s", strerror(errno));
    uint8_t *aligned = (uint8_t *)(((uintptr_t)p + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE);
    if (aligned > p)
        munmap(p, (size_t)(aligned - p));
    if (aligned < p + HUGE_PAGE)
        munmap(aligned + bytes, (size_t)(p + HUGE_PAGE - aligned));
    madvise(aligned, bytes, MADV_HUGEPAGE); /* without huge pages it is slower, and still right */
    return aligned;
}

uint8_t *map_memfd(uint64_t bytes)
{
    int fd = memfd_create("bench", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)bytes) != 0)
        die("memfd: %s", strerror(errno));
    uint8_t *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        die("mmap: %s", strerror(errno));
    close(fd);
    return p;
}
