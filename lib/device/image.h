/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Image memory in the host: regions of anonymous memory or memfds, made of the largest pages to be had, recycled within
 * a limit.
 * An image is one region per part. It belongs to whoever has the pointer: a load, an instance, a residence, one after
 * the other.
 */
#ifndef SGI_DEVICE_IMAGE_H
#define SGI_DEVICE_IMAGE_H

#include <stdbool.h>

#include <sgi/sgi.h>

enum sgi__region_kind { SGI__REGION_ANON, SGI__REGION_MEMFD, SGI__REGION_HUGETLB };

struct sgi__region {
    uint8_t              *base;    /* aligned to 2 MiB; NULL for 0 bytes */
    uint64_t              bytes;   /* mapped */
    uint64_t              asked;   /* of them, in whole pages: what a recycled one has beyond is to be trimmed */
    int                   fd;      /* memfd, read-write, never handed out; -1 */
    int                   read_fd; /* the O_RDONLY reopen that is; -1 */
    bool                  fresh;   /* its pages have not been touched yet */
    bool                  shared;  /* a descriptor left the library: never recycled */
    bool                  sealed;  /* against all writing, ours too */
    uint32_t              reads;   /* in flight into it; the load's. Never freed or recycled before they are back */
    uint32_t              tenant;
    enum sgi__region_kind kind;
    struct sgi__region   *next; /* in the spare list */
};

struct sgi__image {
    uint32_t             parts_count;
    uint64_t             bytes;
    struct sgi__region **parts;
};

struct sgi__image_memory; /* one for each runtime: the spare regions and their limit */

struct sgi__image_memory *sgi__image_memory_new(uint64_t spare_bytes_max); /* NULL: out of memory */
void                      sgi__image_memory_free(struct sgi__image_memory *memory);
/* The budget leaves `bytes` for spare regions. Returns those beyond, to be freed where that may take its time. */
struct sgi__region *sgi__image_memory_limit(struct sgi__image_memory *memory, uint64_t bytes);
void                sgi__regions_free(struct sgi__region *regions);
uint64_t            sgi__image_memory_spare(struct sgi__image_memory *memory);

/* flags: SGI_IMAGE_FD, SGI_IMAGE_HUGETLB. SGI_E_DEVICE_MEMORY, SGI_E_NO_MEMORY, SGI_E_SYSTEM. Spare regions of the same
 * tenant are used first. */
sgi_status sgi__image_new(struct sgi__image_memory *memory, const uint64_t *parts_bytes, uint32_t parts_count,
                          uint32_t flags, uint32_t tenant, struct sgi__image **image_out, sgi_error *err);
/* Gives back what recycled regions have beyond what was asked for: before the image is used, where that may take its
 * time. */
void sgi__image_trim(struct sgi__image *image);
/* To the spare list as far as the limit goes, else back to the system. */
void sgi__image_free(struct sgi__image_memory *memory, struct sgi__image *image);

/* The region's read-only descriptor, opened at the first call; sealed against writing by anybody but us. */
sgi_status sgi__region_fd(struct sgi__region *region, int *fd_out, sgi_error *err);
/* A descriptor for somebody outside: no more writing at all, by us neither; the region is not recycled. Caller's to
 * close. */
sgi_status sgi__region_share(struct sgi__region *region, int *fd_out, sgi_error *err);

/* Anonymous zeroed memory for engines: page-aligned. */
sgi_status sgi__scratch_new(uint64_t bytes, void **memory_out, sgi_error *err);
void       sgi__scratch_is_large(void *memory, uint64_t bytes); /* of huge pages, if the system has them */
void       sgi__scratch_free(void *memory, uint64_t bytes);

#endif
