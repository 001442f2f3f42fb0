/* SPDX-License-Identifier: Apache-2.0 */
/* A list of names that it owns, for a parser's own use: keys seen, shards named, files found. Zeroed is empty. */
#ifndef SGI_FORMAT_NAMES_H
#define SGI_FORMAT_NAMES_H

#include <stdbool.h>
#include <stddef.h>

struct sgi__names {
    char **list;
    size_t count, room;
};

void sgi__names_free(struct sgi__names *names);
bool sgi__names_add(struct sgi__names *names, const char *name);    /* false: out of memory */
bool sgi__names_insert(struct sgi__names *names, const char *name); /* into a sorted list, unless it is there */
bool sgi__names_sort(struct sgi__names *names);
void sgi__names_keep_first(struct sgi__names *names);

/* In a sorted list: the index of a name, or -1; a name that is there twice, or NULL. */
ptrdiff_t   sgi__names_find(const struct sgi__names *names, const char *name);
const char *sgi__names_twice(const struct sgi__names *names);

#endif
