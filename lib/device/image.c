/* SPDX-License-Identifier: Apache-2.0 */
#include "device/image.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/fault.h"

#define PAGE_BYTES       UINT64_C(4096)
#define HUGE_PAGE_BYTES  (UINT64_C(2) << 20)
#define REGION_BYTES_MAX (UINT64_C(1) << 46)

struct sgi__image_memory {
    pthread_mutex_t mutex;
    uint64_t        spare_bytes_max; /* configured */
    /* under the mutex */
    uint64_t            limit; /* what the DRAM budget leaves */
    uint64_t            spare_bytes;
    struct sgi__region *spare; /* newest first */
};

/* ---- one region ---- */

/* Reserves more than asked for and gives the edges back, so that the base is aligned to a huge page. */
static void *map_aligned(uint64_t bytes, int fd)
{
    uint64_t span = bytes + HUGE_PAGE_BYTES;
    uint8_t *at = mmap(NULL, span, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED)
        return MAP_FAILED;
    uint8_t *base = (uint8_t *)sgi__align_up((uint64_t)(uintptr_t)at, HUGE_PAGE_BYTES);
    if (base > at)
        munmap(at, (size_t)(base - at));
    uint8_t *end = base + bytes;
    if (at + span > end)
        munmap(end, (size_t)(at + span - end));
    int   flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
    void *mapped = mmap(base, bytes, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd, 0);
    if (mapped == MAP_FAILED) {
        int e = errno;
        munmap(base, bytes);
        errno = e;
    }
    return mapped;
}

static void region_free(struct sgi__region *r)
{
    if (r->base)
        munmap(r->base, r->bytes);
    if (r->fd >= 0)
        close(r->fd);
    if (r->read_fd >= 0)
        close(r->read_fd);
    sgi__free(r);
}

static sgi_status map_failed(sgi_error *err, int e, uint64_t bytes)
{
    return sgi__error_sys(err, e == ENOMEM ? SGI_E_DEVICE_MEMORY : SGI_E_SYSTEM, e, "map %llu bytes of image memory",
                          (unsigned long long)bytes);
}

static sgi_status map_anon(struct sgi__region *r, sgi_error *err)
{
    int   fault = sgi__fault(SGI__FAULT_MAP);
    void *base = fault ? (errno = fault, MAP_FAILED) : map_aligned(r->bytes, -1);
    if (base == MAP_FAILED)
        return map_failed(err, errno, r->bytes);
    madvise(base, r->bytes, MADV_HUGEPAGE); /* refused where huge pages are off: then it is slower, not wrong */
    madvise(base, r->bytes, MADV_DONTDUMP);
    r->base = base;
    return SGI_OK;
}

/* A writer's map, and from then on nobody else can write, grow or shrink it. */
static sgi_status map_memfd(struct sgi__region *r, bool hugetlb, sgi_error *err)
{
    int      fault = sgi__fault(SGI__FAULT_MEMFD);
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING | (hugetlb ? MFD_HUGETLB | (21u << MAP_HUGE_SHIFT) : 0u);
    int      e;

    r->fd = fault ? (errno = fault, -1) : memfd_create("sgi-image", flags);
    if (r->fd < 0)
        return sgi__error_sys(err, SGI_E_SYSTEM, errno, "memfd_create");
    if (ftruncate(r->fd, (off_t)r->bytes) != 0) {
        e = errno;
        goto undo_fd;
    }
    fault = sgi__fault(SGI__FAULT_MAP);
    void *base = fault ? (errno = fault, MAP_FAILED) : map_aligned(r->bytes, r->fd);
    if (base == MAP_FAILED) {
        e = errno;
        goto undo_fd;
    }
    if (fcntl(r->fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_GROW | F_SEAL_SHRINK) != 0) {
        e = errno;
        munmap(base, r->bytes);
        goto undo_fd;
    }
    if (!hugetlb)
        madvise(base, r->bytes, MADV_HUGEPAGE);
    r->base = base;
    return SGI_OK;

undo_fd:
    close(r->fd);
    r->fd = -1;
    return map_failed(err, e, r->bytes);
}

static sgi_status region_new(uint64_t bytes, uint32_t flags, uint32_t tenant, struct sgi__region **out, sgi_error *err)
{
    struct sgi__region *r = sgi__alloc_zero(1, sizeof *r);
    sgi_status          st = SGI_OK;

    if (!r)
        return sgi__error(err, SGI_E_NO_MEMORY, "out of memory for an image");
    r->fd = r->read_fd = -1;
    r->tenant = tenant;
    r->fresh = true;
    r->kind = flags & SGI_IMAGE_FD ? SGI__REGION_MEMFD : SGI__REGION_ANON;
    r->bytes = r->asked = sgi__align_up(bytes, PAGE_BYTES);
    if (bytes == 0)
        goto done;
    if (!(flags & SGI_IMAGE_FD)) {
        st = map_anon(r, err);
        goto done;
    }
    if (flags & SGI_IMAGE_HUGETLB) {
        r->bytes = sgi__align_up(bytes, HUGE_PAGE_BYTES);
        r->kind = SGI__REGION_HUGETLB;
        if (map_memfd(r, true, NULL) == SGI_OK) /* the pool may be empty or too small: that is the usual case */
            goto done;
        r->kind = SGI__REGION_MEMFD;
        r->bytes = sgi__align_up(bytes, PAGE_BYTES);
    }
    st = map_memfd(r, false, err);
done:
    if (st != SGI_OK) {
        sgi__free(r);
        return st;
    }
    *out = r;
    return SGI_OK;
}

/* ---- descriptors ---- */

static int open_read_only(const struct sgi__region *r)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", r->fd);
    return open(path, O_RDONLY | O_CLOEXEC);
}

sgi_status sgi__region_fd(struct sgi__region *region, int *fd_out, sgi_error *err)
{
    if (region->fd < 0) {
        *fd_out = -1;
        return SGI_OK;
    }
    if (region->read_fd < 0) {
        region->read_fd = open_read_only(region);
        if (region->read_fd < 0)
            return sgi__error_sys(err, SGI_E_SYSTEM, errno, "reopen an image's memfd read-only (is /proc mounted?)");
    }
    *fd_out = region->read_fd;
    return SGI_OK;
}

sgi_status sgi__region_share(struct sgi__region *region, int *fd_out, sgi_error *err)
{
    if (region->fd < 0) {
        *fd_out = -1;
        return SGI_OK;
    }
    int fd = open_read_only(region);
    if (fd < 0)
        return sgi__error_sys(err, SGI_E_SYSTEM, errno, "reopen an image's memfd read-only (is /proc mounted?)");
    if (!region->sealed) {
        /* The write seal is refused while a writable map exists; one call replaces ours under any reader's eyes. */
        void *base = mmap(region->base, region->bytes, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0);
        region->shared |= base != MAP_FAILED; /* sealed or not: nobody can fill it again */
        if (base == MAP_FAILED || fcntl(region->fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SEAL) != 0) {
            int e = errno;
            close(fd);
            return sgi__error_sys(err, SGI_E_SYSTEM, e, "seal an image's memfd against writing");
        }
        region->sealed = true;
    }
    *fd_out = fd;
    return SGI_OK;
}

/* ---- the spare list ---- */

struct sgi__image_memory *sgi__image_memory_new(uint64_t spare_bytes_max)
{
    struct sgi__image_memory *m = sgi__alloc_zero(1, sizeof *m);
    if (!m)
        return NULL;
    pthread_mutex_init(&m->mutex, NULL);
    m->spare_bytes_max = spare_bytes_max;
    return m;
}

static uint64_t limit_of(const struct sgi__image_memory *m)
{
    return m->limit < m->spare_bytes_max ? m->limit : m->spare_bytes_max;
}

/* Takes the oldest regions off until the rest is within the limit; the caller frees them without the mutex. */
static struct sgi__region *take_excess(struct sgi__image_memory *m)
{
    struct sgi__region *excess = NULL;
    while (m->spare_bytes > limit_of(m)) {
        struct sgi__region **at = &m->spare;
        assert(*at); /* spare_bytes is the sum over the list */
        while ((*at)->next)
            at = &(*at)->next;
        struct sgi__region *r = *at;
        *at = NULL;
        m->spare_bytes -= r->bytes;
        r->next = excess;
        excess = r;
    }
    return excess;
}

void sgi__regions_free(struct sgi__region *regions)
{
    while (regions) {
        struct sgi__region *next = regions->next;
        region_free(regions);
        regions = next;
    }
}

struct sgi__region *sgi__image_memory_limit(struct sgi__image_memory *memory, uint64_t bytes)
{
    pthread_mutex_lock(&memory->mutex);
    memory->limit = bytes;
    struct sgi__region *excess = take_excess(memory);
    pthread_mutex_unlock(&memory->mutex);
    return excess;
}

uint64_t sgi__image_memory_spare(struct sgi__image_memory *memory)
{
    pthread_mutex_lock(&memory->mutex);
    uint64_t bytes = memory->spare_bytes;
    pthread_mutex_unlock(&memory->mutex);
    return bytes;
}

void sgi__image_memory_free(struct sgi__image_memory *memory)
{
    if (!memory)
        return;
    sgi__regions_free(memory->spare);
    pthread_mutex_destroy(&memory->mutex);
    sgi__free(memory);
}

/* A memfd is sealed against shrinking, so what it has must be what is asked for; other memory may be a little larger,
 * and is trimmed. */
static bool fits(const struct sgi__region *r, uint64_t bytes, uint32_t flags)
{
    bool fd = (flags & SGI_IMAGE_FD) != 0;
    if (fd != (r->fd >= 0) || (r->kind == SGI__REGION_HUGETLB && !(flags & SGI_IMAGE_HUGETLB)))
        return false;
    if (fd)
        return r->bytes == sgi__align_up(bytes, r->kind == SGI__REGION_HUGETLB ? HUGE_PAGE_BYTES : PAGE_BYTES);
    return r->bytes >= bytes && r->bytes - bytes <= bytes / 4 + HUGE_PAGE_BYTES;
}

/* The smallest spare region that fits. */
static struct sgi__region *take_spare(struct sgi__image_memory *m, uint64_t bytes, uint32_t flags, uint32_t tenant)
{
    struct sgi__region **best = NULL;

    pthread_mutex_lock(&m->mutex);
    for (struct sgi__region **at = &m->spare; *at; at = &(*at)->next)
        if ((*at)->tenant == tenant && fits(*at, bytes, flags) && (!best || (*at)->bytes < (*best)->bytes))
            best = at;
    struct sgi__region *r = best ? *best : NULL;
    if (r) {
        *best = r->next;
        m->spare_bytes -= r->bytes;
        r->next = NULL;
        r->fresh = false;
        r->asked = sgi__align_up(bytes, PAGE_BYTES);
    }
    pthread_mutex_unlock(&m->mutex);
    return r;
}

static void region_give(struct sgi__image_memory *m, struct sgi__region *r)
{
    assert(r->reads == 0);
    if (!r->base || r->shared || r->fresh) {
        region_free(r);
        return;
    }
    pthread_mutex_lock(&m->mutex);
    r->next = m->spare;
    m->spare = r;
    m->spare_bytes += r->bytes;
    struct sgi__region *excess = take_excess(m);
    pthread_mutex_unlock(&m->mutex);
    sgi__regions_free(excess);
}

/* ---- images ---- */

sgi_status sgi__image_new(struct sgi__image_memory *memory, const uint64_t *parts_bytes, uint32_t parts_count,
                          uint32_t flags, uint32_t tenant, struct sgi__image **image_out, sgi_error *err)
{
    sgi_status         st = SGI_OK;
    struct sgi__image *image = sgi__alloc_zero(1, sizeof *image);
    if (image)
        image->parts = sgi__alloc_zero(parts_count, sizeof(struct sgi__region *));
    if (!image || !image->parts) {
        sgi__free(image);
        return sgi__error(err, SGI_E_NO_MEMORY, "out of memory for an image of %u parts", parts_count);
    }
    if (sgi__fault(SGI__FAULT_RESERVE))
        st = sgi__error(err, SGI_E_DEVICE_MEMORY, "device memory is not to be had (injected)");
    for (uint32_t n = 0; n < parts_count && st == SGI_OK; n++) {
        if (parts_bytes[n] > REGION_BYTES_MAX) {
            st = map_failed(err, ENOMEM, parts_bytes[n]);
            break;
        }
        struct sgi__region *part = parts_bytes[n] ? take_spare(memory, parts_bytes[n], flags, tenant) : NULL;
        if (!part)
            st = region_new(parts_bytes[n], flags, tenant, &part, err);
        if (part) {
            image->parts[image->parts_count++] = part;
            image->bytes += part->bytes;
        }
    }
    if (st != SGI_OK) {
        sgi__image_free(memory, image);
        return sgi__error_step(err, st, SGI_STEP_MEMORY);
    }
    *image_out = image;
    return SGI_OK;
}

void sgi__image_trim(struct sgi__image *image)
{
    for (uint32_t n = 0; n < image->parts_count; n++) {
        struct sgi__region *r = image->parts[n];
        if (r->fd >= 0 || r->bytes <= r->asked)
            continue;
        munmap(r->base + r->asked, r->bytes - r->asked);
        image->bytes -= r->bytes - r->asked;
        r->bytes = r->asked;
    }
}

void sgi__image_free(struct sgi__image_memory *memory, struct sgi__image *image)
{
    if (!image)
        return;
    for (uint32_t n = 0; n < image->parts_count; n++)
        region_give(memory, image->parts[n]);
    sgi__free(image->parts);
    sgi__free(image);
}

/* ---- engines' memory ---- */

sgi_status sgi__scratch_new(uint64_t bytes, void **memory_out, sgi_error *err)
{
    int   fault = sgi__fault(SGI__FAULT_MAP);
    void *at = fault ? (errno = fault, MAP_FAILED)
                     : mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED)
        return sgi__error_sys(err, SGI_E_DEVICE_MEMORY, errno, "map %llu bytes of scratch memory",
                              (unsigned long long)bytes);
    *memory_out = at;
    return SGI_OK;
}

void sgi__scratch_is_large(void *memory, uint64_t bytes)
{
    madvise(memory, bytes, MADV_HUGEPAGE); /* refused where huge pages are off: then it is slower, not wrong */
}

void sgi__scratch_free(void *memory, uint64_t bytes)
{
    munmap(memory, bytes);
}
