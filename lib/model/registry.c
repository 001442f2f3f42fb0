/* SPDX-License-Identifier: Apache-2.0 */
#include "model/registry.h"

#include <string.h>

#include "base/alloc.h"

static uint64_t hash_name(const char *name) /* FNV-1a */
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (; *name; name++)
        h = (h ^ (uint8_t)*name) * UINT64_C(0x100000001b3);
    return h;
}

static struct sgi__registry_entry **bucket(const struct sgi__registry *r, const char *name)
{
    return &r->buckets[hash_name(name) & (r->buckets_count - 1)];
}

static sgi_status grow(struct sgi__registry *r)
{
    struct sgi__registry old = *r;
    uint32_t             count = old.buckets_count ? old.buckets_count * 2 : 16;

    void *buckets = sgi__alloc_zero(count, sizeof(struct sgi__registry_entry *));
    if (!buckets)
        return SGI_E_NO_MEMORY;
    r->buckets = buckets;
    r->buckets_count = count;
    for (uint32_t n = 0; n < old.buckets_count; n++)
        for (struct sgi__registry_entry *e = old.buckets[n], *next; e; e = next) {
            struct sgi__registry_entry **at = bucket(r, e->name);
            next = e->next;
            e->next = *at;
            *at = e;
        }
    sgi__free(old.buckets);
    return SGI_OK;
}

sgi_status sgi__registry_add(struct sgi__registry *r, struct sgi__registry_entry *entry)
{
    if (sgi__registry_find(r, entry->name))
        return SGI_E_EXISTS;
    if (r->count >= r->buckets_count) {
        sgi_status st = grow(r);
        if (st != SGI_OK)
            return st;
    }
    struct sgi__registry_entry **at = bucket(r, entry->name);
    entry->next = *at;
    *at = entry;
    r->count++;
    return SGI_OK;
}

void sgi__registry_remove(struct sgi__registry *r, struct sgi__registry_entry *entry)
{
    struct sgi__registry_entry **at = bucket(r, entry->name);
    while (*at != entry)
        at = &(*at)->next;
    *at = entry->next;
    r->count--;
}

struct sgi__registry_entry *sgi__registry_find(const struct sgi__registry *r, const char *name)
{
    if (r->buckets_count == 0)
        return NULL;
    struct sgi__registry_entry *e = *bucket(r, name);
    while (e && strcmp(e->name, name) != 0)
        e = e->next;
    return e;
}

void sgi__registry_fini(struct sgi__registry *r)
{
    sgi__free(r->buckets);
    *r = (struct sgi__registry){ 0 };
}
