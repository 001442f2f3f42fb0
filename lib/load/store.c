/* SPDX-License-Identifier: Apache-2.0 */
#include "load/store.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/fault.h"
#include "base/hash.h"
#include "load/touch.h"

#define LARGE_PAGE_BYTES (UINT64_C(2) << 20)

enum {
    BUCKETS_FIRST = 256,
    /* Only who makes checks that meet has more than one chunk with the same, or lists that are longer than a few: then
     * so many of them are compared with a new one, and looked at for that. */
    COMPARED_MAX = 8,
    LOOKED_AT_MAX = 64,
    SHARES_AT_ONCE = 256 /* chunks, for which nobody else finds any */
};

/* Addresses of a model's chunks. Large pages are only where chunks fill them, for what the kernel has behind these
 * addresses is to be no more than what is charged. */
struct extent {
    void          *mapped;
    uint64_t       mapped_bytes;
    uint8_t       *base;
    uint64_t       bytes, used;
    uint64_t       users;   /* chunks that lie here, and its model; */
    uint64_t       leaving; /* of them, those that are about to be none */
    bool           holes;   /* some have gone: no more large pages, or the kernel would fill these again */
    struct extent *next;    /* among those to be freed */
};

/* A chunk that is there. */
struct entry {
    struct sgi__stored_chunk chunk; /* how it is stored; where it was read from says nothing */
    uint64_t                 hash;  /* of what is stored */
    uint64_t                 serial;
    uint8_t                 *at; /* in its extent; not written any more */
    struct extent           *extent;
    uint64_t                 refs;     /* of models, for each time that they have it, and of who compares it */
    uint64_t                 complete; /* of them, by models that are complete */
    struct entry            *next;     /* in its bucket, or among those to be freed */
    struct entry           **link;     /* what points to it in its bucket */
    bool                     with_all; /* to be freed: its extent goes as a whole */
};

struct sgi__store {
    pthread_mutex_t mutex;
    /* all under the mutex, entries and extents too; what an entry points to does not change */
    struct entry **buckets;
    uint64_t       buckets_count, entries_count; /* the first a power of two */
    uint64_t       serial;
};

struct sgi__kept {
    struct sgi__store          *store;
    const struct sgi__manifest *m;
    const struct sgi__layout   *layout;
    struct extent              *extent;
    struct entry              **entries; /* by stored chunk; NULL: not there */
    bool                        complete;
    atomic_bool                 spoiled;
    atomic_uint_fast64_t own_left; /* bytes that it may still take, or have in common with what is not complete */
};

/* ---- what a chunk takes ---- */

static uint64_t pages(const struct sgi__stored_chunk *c)
{
    return sgi__align_up(c->stored_bytes, SGI__PACK_ALIGN);
}

static bool has_data(const struct sgi__layout *layout, const struct sgi__stored_chunk *c)
{
    return c->offset + c->bytes > layout->parts[c->part].data_offset;
}

uint64_t sgi__kept_bytes_max(const struct sgi__manifest *m, const struct sgi__layout *layout)
{
    uint64_t bytes = 0;
    for (uint64_t n = 0; n < m->packed->chunks_count; n++)
        if (has_data(layout, &m->packed->chunks[n]))
            bytes += pages(&m->packed->chunks[n]);
    return bytes;
}

/* ---- the store ---- */

struct sgi__store *sgi__store_new(void)
{
    struct sgi__store *s = sgi__alloc_zero(1, sizeof *s);

    if (s)
        s->buckets = sgi__alloc_zero(BUCKETS_FIRST, sizeof(struct entry *));
    if (!s || !s->buckets) {
        sgi__free(s);
        return NULL;
    }
    s->buckets_count = BUCKETS_FIRST;
    pthread_mutex_init(&s->mutex, NULL);
    return s;
}

void sgi__store_free(struct sgi__store *s)
{
    if (!s)
        return;
    assert(s->entries_count == 0);
    pthread_mutex_destroy(&s->mutex);
    sgi__free(s->buckets);
    sgi__free(s);
}

static void link_in(struct entry **bucket, struct entry *e)
{
    e->next = *bucket;
    e->link = bucket;
    if (e->next)
        e->next->link = &e->next;
    *bucket = e;
}

/* Without memory for more of them the lists are longer, that is all. */
static void grow(struct sgi__store *s)
{
    uint64_t       count = 2 * s->buckets_count;
    struct entry **grown = s->entries_count < count ? NULL : sgi__alloc_zero((size_t)count, sizeof(struct entry *));

    if (!grown)
        return;
    for (uint64_t n = 0; n < s->buckets_count; n++)
        for (struct entry *e = s->buckets[n], *next; e; e = next) {
            next = e->next;
            link_in(&grown[e->hash & (count - 1)], e);
        }
    sgi__free(s->buckets);
    s->buckets = grown;
    s->buckets_count = count;
}

static void insert(struct sgi__store *s, struct entry *e)
{
    grow(s);
    e->serial = ++s->serial;
    link_in(&s->buckets[e->hash & (s->buckets_count - 1)], e);
    s->entries_count++;
}

static void take_out(struct sgi__store *s, struct entry *e)
{
    *e->link = e->next;
    if (e->next)
        e->next->link = e->link;
    s->entries_count--;
}

/* The first of those like it that came after `serial`. */
static struct entry *newer(const struct sgi__store *s, const struct entry *like, uint64_t serial)
{
    struct entry *found = NULL, *e = s->buckets[like->hash & (s->buckets_count - 1)];

    for (int looked_at = 0; e && looked_at < LOOKED_AT_MAX; e = e->next, looked_at++) {
        const struct sgi__stored_chunk *a = &e->chunk, *b = &like->chunk;
        if (e->hash == like->hash && a->stored_bytes == b->stored_bytes && a->bytes == b->bytes &&
            a->codec == b->codec && a->width == b->width && e->serial > serial && (!found || e->serial < found->serial))
            found = e;
    }
    return found;
}

/* ---- memory ---- */

static sgi_status extent_new(uint64_t bytes, struct extent **extent_out, sgi_error *err)
{
    struct extent *e = sgi__alloc_zero(1, sizeof *e);
    int            fault = sgi__fault(SGI__FAULT_RESERVE);

    if (!e)
        return sgi__error(err, SGI_E_NO_MEMORY, "out of memory");
    e->mapped_bytes = bytes + LARGE_PAGE_BYTES;
    e->mapped = fault ? MAP_FAILED
                      : mmap(NULL, e->mapped_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                             -1, 0);
    if (e->mapped == MAP_FAILED) {
        int error = fault ? fault : errno;
        sgi__free(e);
        return sgi__error_sys(err, SGI_E_DEVICE_MEMORY, error, "map %llu bytes for stored chunks",
                              (unsigned long long)bytes);
    }
    e->base = e->mapped;
    e->base += sgi__align_up((uintptr_t)e->base, LARGE_PAGE_BYTES) - (uintptr_t)e->base;
    e->bytes = bytes;
    e->users = 1;
    madvise(e->base, bytes, MADV_NOHUGEPAGE);
    *extent_out = e;
    return SGI_OK;
}

static void has_holes(struct extent *e)
{
    if (!e->holes)
        madvise(e->base, e->bytes, MADV_NOHUGEPAGE);
    e->holes = true;
}

/* Pages of chunks that have gone, those of neighbours at once. */
struct gone {
    uint8_t *from, *to;
};

static void give_pages(struct gone *g)
{
    if (g->from < g->to)
        madvise(g->from, (size_t)(g->to - g->from), MADV_DONTNEED);
    g->from = g->to = NULL;
}

static void goes(struct gone *g, const struct entry *e)
{
    if (e->at != g->to)
        give_pages(g);
    if (!g->from)
        g->from = e->at;
    g->to = e->at + pages(&e->chunk);
}

/* One user less; the last one adds it to those that are to be freed. */
static void let_go(struct extent *e, struct extent **free_list)
{
    if (--e->users > 0)
        return;
    e->next = *free_list;
    *free_list = e;
}

static void free_extents(struct extent *list)
{
    for (struct extent *next; list; list = next) {
        next = list->next;
        munmap(list->mapped, list->mapped_bytes);
        sgi__free(list);
    }
}

/* Entries that nobody uses any more; each counts as leaving its extent. That is unmapped with the last of them. Where
 * others stay, their neighbours' pages go; of a large page that they share the kernel takes its time. */
static void free_entries(struct sgi__store *s, struct entry *list)
{
    struct gone    gone = { 0 };
    struct extent *extents = NULL;

    pthread_mutex_lock(&s->mutex);
    for (struct entry *e = list; e; e = e->next) {
        e->with_all = e->extent->leaving == e->extent->users;
        if (!e->with_all)
            has_holes(e->extent);
    }
    pthread_mutex_unlock(&s->mutex);
    for (struct entry *e = list; e; e = e->next)
        if (!e->with_all)
            goes(&gone, e);
    give_pages(&gone);
    pthread_mutex_lock(&s->mutex);
    for (struct entry *e = list; e; e = e->next) {
        e->extent->leaving--;
        let_go(e->extent, &extents);
    }
    pthread_mutex_unlock(&s->mutex);
    free_extents(extents);
    for (struct entry *next; list; list = next) {
        next = list->next;
        sgi__free(list);
    }
}

/* One user less; the last one puts it at the end of the list. Under the mutex. */
static void unuse(struct sgi__store *s, struct entry *e, struct entry ***end)
{
    if (--e->refs > 0)
        return;
    take_out(s, e);
    e->extent->leaving++;
    e->next = NULL;
    **end = e;
    *end = &e->next;
}

/* ---- a model's ---- */

static sgi_status no_memory(sgi_error *err)
{
    sgi__error(err, SGI_E_NO_MEMORY, "out of memory to keep stored chunks");
    return SGI_E_NO_MEMORY;
}

sgi_status sgi__kept_new(struct sgi__store *s, const struct sgi__manifest *m, const struct sgi__layout *layout,
                         uint64_t counts_on, struct sgi__kept **kept_out, sgi_error *err)
{
    struct sgi__kept *k = sgi__alloc_zero(1, sizeof *k);
    uint64_t          bytes = sgi__kept_bytes_max(m, layout);

    if (!k)
        return no_memory(err);
    k->entries = sgi__alloc_zero((size_t)m->packed->chunks_count, sizeof(struct entry *));
    sgi_status st = k->entries ? extent_new(bytes, &k->extent, err) : no_memory(err);
    if (st != SGI_OK) {
        sgi__free(k->entries);
        sgi__free(k);
        return st;
    }
    k->store = s;
    k->m = m;
    k->layout = layout;
    atomic_store(&k->own_left, bytes - (counts_on < bytes ? counts_on : bytes));
    *kept_out = k;
    return SGI_OK;
}

/* Looking for a chunk that is there already. */
struct search {
    struct entry  *own; /* it, as it would be put in */
    const uint8_t *stored;
    uint64_t       serial; /* those up to here have been compared, */
    int            compared;
    bool           complete; /* what was found is of a model that is */
};

/* The next that it may be equal to, in use from here on. NULL: there is none; it has been put in if it was to be. */
static struct entry *candidate(struct sgi__store *s, struct search *search, bool put)
{
    pthread_mutex_lock(&s->mutex);
    struct entry *found = search->compared < COMPARED_MAX ? newer(s, search->own, search->serial) : NULL;
    if (found) {
        found->refs++;
        search->complete = found->complete > 0;
        search->serial = found->serial;
        search->compared++;
    } else if (put) {
        search->own->extent->users++;
        insert(s, search->own);
    }
    pthread_mutex_unlock(&s->mutex);
    return found;
}

/* One that is equal, in use from here on; NULL: there is none. */
static struct entry *find(struct sgi__store *s, struct search *search, bool put)
{
    struct entry *found;

    while ((found = candidate(s, search, put))) {
        struct entry *last = NULL, **end = &last;
        if (memcmp(found->at, search->stored, found->chunk.stored_bytes) == 0)
            break;
        pthread_mutex_lock(&s->mutex);
        unuse(s, found, &end);
        pthread_mutex_unlock(&s->mutex);
        free_entries(s, last);
    }
    return found;
}

/* Behind what its extent has so far. False: the system has no memory for it. */
static bool copy(struct sgi__kept *k, struct entry *own, const uint8_t *stored)
{
    pthread_mutex_lock(&k->store->mutex);
    struct extent *extent = own->extent = k->extent;
    uint64_t       at = extent->used;
    own->at = extent->base + at;
    extent->used += pages(&own->chunk);
    assert(extent->used <= extent->bytes);
    uint64_t from = sgi__align_down(at, LARGE_PAGE_BYTES), to = sgi__align_down(extent->used, LARGE_PAGE_BYTES);
    if (!extent->holes && from < to)
        madvise(extent->base + from, to - from, MADV_HUGEPAGE);
    pthread_mutex_unlock(&k->store->mutex);
    if (sgi__touch_range(own->at, pages(&own->chunk), NULL) != 0)
        return false;
    memcpy(own->at, stored, own->chunk.stored_bytes);
    return true;
}

/* It is not to be there after all. Where nobody has taken room behind it, the addresses are free again. */
static void take_back(struct sgi__kept *k, struct entry *own)
{
    struct gone gone = { 0 };

    goes(&gone, own);
    pthread_mutex_lock(&k->store->mutex);
    bool last = own->at + pages(&own->chunk) == k->extent->base + k->extent->used;
    if (!last)
        has_holes(k->extent);
    give_pages(&gone);
    if (last)
        k->extent->used -= pages(&own->chunk);
    pthread_mutex_unlock(&k->store->mutex);
}

static struct entry *entry_new(const struct sgi__stored_chunk *c, const uint8_t *stored)
{
    struct entry *e = sgi__alloc_zero(1, sizeof *e);

    if (!e)
        return NULL;
    e->chunk = *c;
    e->hash = c->unchecked ? sgi__hash(stored, c->stored_bytes) : c->check;
    e->refs = 1;
    return e;
}

void sgi__kept_spoil(struct sgi__kept *k)
{
    atomic_store(&k->spoiled, true);
}

/* So many bytes more that are not those of others for certain. False: it counts on more of these than there are. */
static bool take_own(struct sgi__kept *k, uint64_t bytes)
{
    uint_fast64_t left = atomic_load(&k->own_left);

    while (left >= bytes)
        if (atomic_compare_exchange_weak(&k->own_left, &left, left - bytes))
            return true;
    sgi__kept_spoil(k);
    return false;
}

/* It is there, and in use from here on; NULL: it is not, and will not be. `search` has its own, which is used up. */
static struct entry *put(struct sgi__kept *k, struct search *search)
{
    struct entry *own = search->own, *found = find(k->store, search, false);

    if (found && search->complete)
        return found;
    if (!take_own(k, pages(&own->chunk)))
        return found; /* spoiled: it is not looked at any more */
    if (found)
        return found;
    /* Copying takes its time: then those are looked at that have come meanwhile. */
    bool copied = copy(k, own, search->stored);
    if (copied)
        found = find(k->store, search, true);
    if (found || !copied)
        take_back(k, own);
    return found || !copied ? found : own;
}

void sgi__kept_put(struct sgi__kept *k, const struct sgi__stored_chunk *c, const uint8_t *stored)
{
    struct search search = { .own = entry_new(c, stored), .stored = stored };

    if (!search.own)
        return;
    struct entry *e = put(k, &search);
    k->entries[c - k->m->packed->chunks] = e;
    if (e != search.own)
        sgi__free(search.own);
}

bool sgi__kept_is_whole(const struct sgi__kept *k)
{
    const struct sgi__packed *p = k->m->packed;

    if (atomic_load(&k->spoiled))
        return false;
    for (uint64_t n = 0; n < p->chunks_count; n++)
        if (!k->entries[n] && has_data(k->layout, &p->chunks[n]))
            return false;
    return true;
}

uint64_t sgi__kept_complete(struct sgi__kept *k)
{
    const struct sgi__packed *p = k->m->packed;
    uint64_t                  shared = 0;

    assert(sgi__kept_is_whole(k) && !k->complete);
    pthread_mutex_lock(&k->store->mutex);
    for (uint64_t n = 0; n < p->chunks_count; n++)
        if (k->entries[n] && k->entries[n]->complete++ > 0)
            shared += pages(&p->chunks[n]);
    pthread_mutex_unlock(&k->store->mutex);
    k->complete = true;
    return shared;
}

/* Whether it is likely that one like it would be found. Under the mutex. */
static bool is_complete(const struct sgi__store *s, const struct sgi__stored_chunk *c)
{
    struct entry like = { .chunk = *c, .hash = c->check };
    int          compared = 0;

    for (const struct entry *e = newer(s, &like, 0); e && compared < COMPARED_MAX; compared++) {
        if (e->complete > 0)
            return true;
        e = newer(s, &like, e->serial);
    }
    return false;
}

uint64_t sgi__store_shares(struct sgi__store *s, const struct sgi__manifest *m, const struct sgi__layout *layout)
{
    const struct sgi__packed *p = m->packed;
    uint64_t                  bytes = 0;

    for (uint64_t n = 0; n < p->chunks_count;) {
        pthread_mutex_lock(&s->mutex);
        for (uint64_t end = n + SHARES_AT_ONCE; n < p->chunks_count && n < end; n++)
            if (!p->chunks[n].unchecked && has_data(layout, &p->chunks[n]) && is_complete(s, &p->chunks[n]))
                bytes += pages(&p->chunks[n]);
        pthread_mutex_unlock(&s->mutex);
    }
    return bytes;
}

const uint8_t *sgi__kept_at(const struct sgi__kept *k, const struct sgi__stored_chunk *c)
{
    return k->entries[c - k->m->packed->chunks]->at;
}

uint64_t sgi__kept_free(struct sgi__kept *k)
{
    struct entry  *list = NULL, **end = &list;
    struct extent *extents = NULL;
    uint64_t       stays = 0;

    if (!k)
        return 0;
    struct sgi__store *s = k->store;
    pthread_mutex_lock(&s->mutex);
    for (uint64_t n = 0; n < k->m->packed->chunks_count; n++) {
        struct entry *e = k->entries[n];
        if (e && k->complete && --e->complete > 0)
            stays += pages(&e->chunk);
        if (e)
            unuse(s, e, &end);
    }
    let_go(k->extent, &extents);
    pthread_mutex_unlock(&s->mutex);
    free_entries(s, list);
    free_extents(extents);
    sgi__free(k->entries);
    sgi__free(k);
    return stays;
}
