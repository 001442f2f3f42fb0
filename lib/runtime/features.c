/* SPDX-License-Identifier: Apache-2.0 */
/* What can be used on this machine, found out by trying. Here because it names the concrete readers, as open.c does. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <sgi/sgi.h>

#include "base/error.h"
#include "base/sized.h"
#include "device/cuda_driver.h"
#include "io/io.h"
#include "runtime/pressure.h"

typedef bool (*probe_fn)(char *detail, size_t bytes);

static bool probe_uring(char *detail, size_t bytes)
{
    const struct sgi__io_engine *uring = sgi__io_uring();
    sgi_error                    err;

    sgi__error_init(&err);
    if (!uring) {
        snprintf(detail, bytes, "this build has no liburing");
        return false;
    }
    if (uring->probe(&err) != SGI_OK) {
        snprintf(detail, bytes, "%.180s", err.message);
        return false;
    }
    snprintf(detail, bytes, "reads go through io_uring");
    return true;
}

static bool probe_threads(char *detail, size_t bytes)
{
    snprintf(detail, bytes, "reads through a few threads, where io_uring is refused");
    return true;
}

static bool probe_populate(char *detail, size_t bytes)
{
    enum { POPULATE_WRITE = 23, BYTES = 4096 }; /* Linux 5.14 */
    void *page = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bool  ok = page != MAP_FAILED && madvise(page, BYTES, POPULATE_WRITE) == 0;
    if (page != MAP_FAILED)
        munmap(page, BYTES);
    snprintf(detail, bytes,
             ok ? "memory is touched ahead of the reads"
                : "the kernel is older than 5.14: reads touch memory themselves");
    return ok;
}

static void first_line(const char *path, char *text, size_t bytes)
{
    FILE *file = fopen(path, "re");
    text[0] = '\0';
    if (file && fgets(text, (int)bytes, file))
        text[strcspn(text, "\n")] = '\0';
    if (file)
        fclose(file);
}

static bool probe_huge_anon(char *detail, size_t bytes)
{
    char setting[96];
    first_line("/sys/kernel/mm/transparent_hugepage/enabled", setting, sizeof setting);
    bool ok = setting[0] && !strstr(setting, "[never]");
    snprintf(detail, bytes, "transparent huge pages: %s", setting[0] ? setting : "not in this kernel");
    return ok;
}

static bool probe_huge_memfd(char *detail, size_t bytes)
{
    char setting[96];
    first_line("/sys/kernel/mm/transparent_hugepage/shmem_enabled", setting, sizeof setting);
    bool ok = strstr(setting, "[advise]") || strstr(setting, "[always]") || strstr(setting, "[within_size]") ||
              strstr(setting, "[force]");
    snprintf(detail, bytes, "huge pages for memfd images: %s", setting[0] ? setting : "not in this kernel");
    return ok;
}

static bool probe_hugetlb(char *detail, size_t bytes)
{
    char count[32];
    first_line("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", count, sizeof count);
    bool ok = count[0] && strcmp(count, "0") != 0;
    snprintf(detail, bytes, "reserved 2 MiB pages that are free: %s", count[0] ? count : "none");
    return ok;
}

static bool probe_pressure(char *detail, size_t bytes)
{
    sgi_error err;
    int       fd;

    sgi__error_init(&err);
    if (sgi__pressure_open("", SGI__PRESSURE_WINDOW_MS, &fd, &err) != SGI_OK) {
        snprintf(detail, bytes, "%.180s", err.message);
        return false;
    }
    close(fd);
    snprintf(detail, bytes, "the kernel says when threads wait for memory");
    return true;
}

static bool probe_cuda(char *detail, size_t bytes)
{
    struct sgi__cuda cuda;
    sgi_error        err;

    sgi__error_init(&err);
    if (sgi__cuda_open(&cuda, &err) != SGI_OK) {
        snprintf(detail, bytes, "%.180s", err.message);
        return false;
    }
    snprintf(detail, bytes, "a driver for CUDA %d.%d shows %d device%s", cuda.version / 1000, cuda.version % 1000 / 10,
             cuda.devices_count, cuda.devices_count == 1 ? "" : "s");
    return true;
}

static const struct {
    const char *name;
    probe_fn    probe;
} features[] = {
    { "io_uring", probe_uring },
    { "io_threads", probe_threads },
    { "populate", probe_populate },
    { "huge_pages", probe_huge_anon },
    { "huge_pages_memfd", probe_huge_memfd },
    { "hugetlb", probe_hugetlb },
    { "pressure", probe_pressure },
    { "cuda", probe_cuda },
};

sgi_status sgi_feature_at(uint32_t index, sgi_feature *feature_out)
{
    sgi_feature feature = { 0 };

    if (!sgi__sized_is(feature_out))
        return SGI_E_INVALID;
    if (index >= sizeof features / sizeof features[0])
        return SGI_E_NOT_FOUND;
    snprintf(feature.name, sizeof feature.name, "%s", features[index].name);
    feature.usable = features[index].probe(feature.detail, sizeof feature.detail);
    sgi__sized_out(feature_out, &feature, sizeof feature);
    return SGI_OK;
}
