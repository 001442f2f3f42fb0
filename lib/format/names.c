/* SPDX-License-Identifier: Apache-2.0 */
#include "format/names.h"

#include <stdint.h>
#include <string.h>

#include "base/alloc.h"
#include "base/sort.h"

void sgi__names_free(struct sgi__names *names)
{
    for (size_t i = 0; i < names->count; i++)
        sgi__free(names->list[i]);
    sgi__free(names->list);
    *names = (struct sgi__names){ .list = NULL };
}

void sgi__names_keep_first(struct sgi__names *names)
{
    while (names->count > 1)
        sgi__free(names->list[--names->count]);
}

static bool insert_at(struct sgi__names *names, size_t at, const char *name)
{
    if (names->count == names->room) {
        size_t room = names->room ? 2 * names->room : 16;
        char **list = sgi__realloc_array(names->list, room, sizeof *list);
        if (!list)
            return false;
        names->list = list;
        names->room = room;
    }
    char *copy = sgi__strdup(name);
    if (!copy)
        return false;
    memmove(names->list + at + 1, names->list + at, (names->count - at) * sizeof *names->list);
    names->list[at] = copy;
    names->count++;
    return true;
}

/* The first index whose name is not before `name`. */
static size_t lower_bound(const struct sgi__names *names, const char *name)
{
    size_t low = 0, high = names->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(names->list[middle], name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool sgi__names_add(struct sgi__names *names, const char *name)
{
    return insert_at(names, names->count, name);
}

bool sgi__names_insert(struct sgi__names *names, const char *name)
{
    return sgi__names_find(names, name) >= 0 || insert_at(names, lower_bound(names, name), name);
}

static int compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

bool sgi__names_sort(struct sgi__names *names)
{
    const void **items = sgi__realloc_array(NULL, names->count, 2 * sizeof *items);
    if (!items)
        return false;
    for (size_t i = 0; i < names->count; i++)
        items[i] = names->list[i];
    sgi__sort(items, items + names->count, names->count, compare);
    for (size_t i = 0; i < names->count; i++)
        memcpy(&names->list[i], &items[i], sizeof items[i]); /* the same pointers, without their const again */
    sgi__free(items);
    return true;
}

ptrdiff_t sgi__names_find(const struct sgi__names *names, const char *name)
{
    size_t at = lower_bound(names, name);
    return at < names->count && strcmp(names->list[at], name) == 0 ? (ptrdiff_t)at : -1;
}

const char *sgi__names_twice(const struct sgi__names *names)
{
    for (size_t i = 1; i < names->count; i++)
        if (strcmp(names->list[i - 1], names->list[i]) == 0)
            return names->list[i];
    return NULL;
}
