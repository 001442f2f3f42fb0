/* SPDX-License-Identifier: Apache-2.0 */
/* Names to models. Entries are embedded in what they name. Guarded by the caller. */
#ifndef SGI_MODEL_REGISTRY_H
#define SGI_MODEL_REGISTRY_H

#include <stdint.h>

#include <sgi/sgi.h>

struct sgi__registry_entry {
    const char                 *name; /* the owner's */
    struct sgi__registry_entry *next;
};

struct sgi__registry {
    struct sgi__registry_entry **buckets;
    uint32_t                     buckets_count, count;
};

/* SGI_E_EXISTS, SGI_E_NO_MEMORY. */
sgi_status                  sgi__registry_add(struct sgi__registry *r, struct sgi__registry_entry *entry);
void                        sgi__registry_remove(struct sgi__registry *r, struct sgi__registry_entry *entry);
struct sgi__registry_entry *sgi__registry_find(const struct sgi__registry *r, const char *name); /* NULL */
void                        sgi__registry_fini(struct sgi__registry *r);

#endif
